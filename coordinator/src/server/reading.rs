//! A run on its way from the runs folder into memory. Each part of it is done where
//! it holds up nobody: the model is made on a thread of its own, as that may take
//! long; the engine takes room for the state and the examples; only then the recorder
//! reads them, in order with what it writes; and a state that is not on disk is made
//! by the model, on a thread of its own again. Whatever goes wrong, the room is given
//! back.

pub(super) mod draft;

use std::sync::Arc;

use common::id::RunId;

use self::draft::{Contents, Draft};
use super::connection::ClientId;
use super::engine::{Engine, Event};
use super::jobs::Incarnation;
use super::store::StoreFull;
use crate::runs::SubmissionRecord;

/// Why a run is read.
#[derive(Debug)]
pub(super) enum Wish {
    /// Its turn has come, in this life of it.
    Turn(Incarnation),
    /// It is over, and a client wants it to go on.
    Resume(ClientId),
    /// A client wants a new run of this number to start from its state, with these
    /// changes of the spec.
    Fork(ClientId, RunId, Vec<(String, String)>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) run: RunId,
    pub(super) wish: Wish,
    pub(super) stage: Stage,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its submission is read, or cannot be.
    Found(Result<Box<SubmissionRecord>, String>),
    /// Its model is made, or cannot be.
    Drafted(Result<Box<Draft>, String>),
    /// Room is taken, and what it goes on from is there, or cannot be.
    Read(Box<Draft>, Result<Box<Contents>, String>),
}

impl Wish {
    /// What whoever has it is told of an error.
    fn text(&self, run: RunId, error: &dyn std::fmt::Display) -> String {
        match self {
            Self::Turn(_) => error.to_string(),
            Self::Resume(_) | Self::Fork(..) => cannot_be_taken_up(run, error),
        }
    }
}

/// That a run cannot go on as a client wants it to.
pub(super) fn cannot_be_taken_up(run: RunId, error: &dyn std::fmt::Display) -> String {
    format!("run {run} cannot be taken up: {error}")
}

impl Engine {
    /// Goes on with a run that is read.
    pub(super) fn on_reading(&mut self, reading: Reading) {
        let Reading { run, wish, stage } = reading;
        let is_wanted = self.is_wanted(run, &wish);
        match stage {
            Stage::Read(draft, _) if !is_wanted => self.give_back(&draft),
            _ if !is_wanted => {}
            Stage::Found(Err(reason)) | Stage::Drafted(Err(reason)) => {
                self.cannot_read(run, wish, true, reason);
            }
            Stage::Found(Ok(record)) => self.draft(wish, *record),
            Stage::Drafted(Ok(draft)) => self.read(run, wish, draft),
            Stage::Read(draft, Err(reason)) => {
                self.give_back(&draft);
                self.cannot_read(run, wish, true, reason);
            }
            Stage::Read(draft, Ok(contents)) if contents.run.state.is_none() => {
                self.make_first_state(run, wish, draft, contents);
            }
            Stage::Read(draft, Ok(contents)) => self.take_in(run, wish, *draft, *contents),
        }
    }

    /// Whether a run is to be read still: not where its turn is over, whatever has
    /// become of it since.
    fn is_wanted(&self, run: RunId, wish: &Wish) -> bool {
        let Wish::Turn(life) = wish else { return true };
        let is_it = |run: &super::run::Run| run.loading == Some(*life) && !run.phase.is_over();
        self.runs.get(&run).is_some_and(is_it)
    }

    /// Has the model of a run made, away from the engine and the recorder.
    pub(super) fn draft(&self, wish: Wish, record: SubmissionRecord) {
        let registry = self.registry.clone();
        self.spawn(move || {
            let run = record.run;
            let draft = Draft::new(&registry, &wish, record).map(Box::new);
            Event::Reading(Box::new(Reading { run, wish, stage: Stage::Drafted(draft) }))
        });
    }

    /// Takes room for a run's state and examples, and has them read.
    fn read(&mut self, run: RunId, wish: Wish, mut draft: Box<Draft>) {
        if let Err(error) = self.take_room(&wish, &mut draft) {
            return match wish {
                Wish::Turn(_) if self.store.bytes() > 0 => self.put_off(run, &error),
                _ => self.cannot_read(run, wish, false, error.to_string()),
            };
        }
        let splits = [&draft.record.train, &draft.record.test];
        let missing = splits.map(|manifest| self.store.missing(manifest));
        let Some(durable) = &self.durable else { return };
        durable.recorder.enqueue(move |folder| {
            let contents = draft.read(folder, &missing).map(Box::new);
            let contents = contents.map_err(|error| wish.text(run, &error));
            Event::Reading(Box::new(Reading { run, wish, stage: Stage::Read(draft, contents) }))
        });
    }

    /// Takes what a run needs of the store's bound. The state of a run that begins is
    /// beside it.
    fn take_room(&mut self, wish: &Wish, draft: &mut Draft) -> Result<(), StoreFull> {
        let bytes = if matches!(wish, Wish::Turn(_)) { 0 } else { draft.state_bytes() };
        self.store.reserve(bytes)?;
        let (train, test) = (&draft.record.train, &draft.record.test);
        self.refer_both(train, test).inspect_err(|_| self.store.unreserve(bytes))?;
        draft.reserved = bytes;
        Ok(())
    }

    fn give_back(&mut self, draft: &Draft) {
        self.store.unreserve(draft.reserved);
        self.store.release(&draft.record.train);
        self.store.release(&draft.record.test);
    }

    /// Has the model make the state to begin from.
    fn make_first_state(
        &self,
        run: RunId,
        wish: Wish,
        mut draft: Box<Draft>,
        mut contents: Box<Contents>,
    ) {
        self.spawn(move || {
            let made = draft.first_state().map_err(|error| wish.text(run, &error));
            let contents = made.map(|state| {
                contents.run.state = Some(Arc::new(state));
                contents
            });
            Event::Reading(Box::new(Reading { run, wish, stage: Stage::Read(draft, contents) }))
        });
    }

    /// Takes in a run that is whole.
    fn take_in(&mut self, of: RunId, wish: Wish, draft: Draft, contents: Contents) {
        let Contents { run, chunks } = contents;
        for (digest, content) in chunks {
            self.store.insert(digest, content);
        }
        let round = run.round;
        let (run, record) = draft.into_run(run);
        match wish {
            Wish::Turn(_) => self.on_loaded(of, run),
            Wish::Resume(client) => {
                self.has_taken_up(client);
                self.keep_resumed(client, run, record);
            }
            Wish::Fork(client, ..) => {
                self.has_taken_up(client);
                self.keep_submission(client, run, Some((of, round)));
            }
        }
    }

    fn cannot_read(&mut self, run: RunId, wish: Wish, bad_input: bool, reason: String) {
        match wish {
            Wish::Turn(_) => self.cannot_start(run, reason),
            Wish::Resume(client) => {
                if let Some(run) = self.runs.get_mut(&run) {
                    run.is_rereading = false;
                }
                self.has_taken_up(client);
                self.reject(client, bad_input, reason);
            }
            Wish::Fork(client, ..) => {
                self.has_taken_up(client);
                self.reject(client, bad_input, reason);
            }
        }
    }
}
