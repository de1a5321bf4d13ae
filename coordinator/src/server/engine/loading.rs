//! Loading of a run from the runs folder. Each part is done where it delays nobody: the model is
//! made on a separate thread, as that may take long; the engine reserves memory for the state and
//! the examples; only then does the storage writer read them, in order with its writes; and a state
//! that is not on disk is made by the model, on a separate thread again. If anything fails, the
//! reserved memory is released.

use common::id::RunId;

use super::{Engine, Found, Written};
use crate::runs::SubmissionRecord;
use crate::server::intake::StoreFull;
use crate::server::jobs::Incarnation;
use crate::server::net::ClientId;
use crate::server::persistence::{Contents, Draft};
use crate::server::run_table::Run;

/// The reason to read a run.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Its turn has come, in this incarnation of it.
    Turn(Incarnation),
    /// The run is over, and a client wants to resume it.
    Resume(ClientId),
    /// A client wants a new run of this number that starts from its state, with these changes of
    /// the spec.
    Fork(ClientId, RunId, Vec<(String, String)>),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Loading {
    pub(super) run: RunId,
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
}

/// The stages of loading.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its submission was read, or could not be.
    Found(Result<Box<SubmissionRecord>, String>),
    /// Its model was made, or could not be.
    Drafted(Result<Box<Draft>, String>),
    /// Memory is reserved, and the state to continue from is available, or cannot be.
    Read(Box<Draft>, Result<Box<Contents>, String>),
}

impl Purpose {
    /// An error, as it is reported to the client that waits for the run.
    fn text(&self, run: RunId, error: &dyn std::fmt::Display) -> String {
        match self {
            Self::Turn(_) => error.to_string(),
            Self::Resume(_) | Self::Fork(..) => cannot_be_taken_up(run, error),
        }
    }

    /// The client that waits for the run.
    fn client(&self) -> Option<ClientId> {
        match self {
            Self::Turn(_) => None,
            Self::Resume(client) | Self::Fork(client, ..) => Some(*client),
        }
    }
}

/// Tells a client that a run cannot be resumed.
pub(super) fn cannot_be_taken_up(run: RunId, error: &dyn std::fmt::Display) -> String {
    format!("run {run} cannot be resumed: {error}")
}

impl Engine {
    /// Continues loading a run.
    pub(super) fn on_loading(&mut self, loading: Loading) {
        let Loading { run, purpose, stage } = loading;
        let is_wanted = self.is_wanted(run, &purpose);
        match stage {
            Stage::Read(draft, _) if !is_wanted => self.give_back(&draft),
            _ if !is_wanted => {}
            Stage::Found(Err(reason)) | Stage::Drafted(Err(reason)) => {
                self.cannot_load(run, &purpose, true, reason);
            }
            Stage::Found(Ok(record)) => self.draft(purpose, *record),
            Stage::Drafted(Ok(draft)) => self.read(run, purpose, draft),
            Stage::Read(draft, Err(reason)) => {
                self.give_back(&draft);
                self.cannot_load(run, &purpose, true, reason);
            }
            Stage::Read(draft, Ok(contents)) if !contents.has_state() => {
                self.make_first_state(run, purpose, draft, contents);
            }
            Stage::Read(draft, Ok(contents)) => self.take_in(run, purpose, *draft, *contents),
        }
    }

    /// Whether the run is still to be loaded: not if its turn has ended in the meantime.
    fn is_wanted(&self, run: RunId, purpose: &Purpose) -> bool {
        match purpose {
            Purpose::Turn(life) => self.runs.get(run).is_some_and(|run| run.is_loading(*life)),
            Purpose::Resume(_) | Purpose::Fork(..) => true,
        }
    }

    /// Makes the model of a run, and of its fork, on another thread.
    pub(super) fn draft(&self, purpose: Purpose, record: SubmissionRecord) {
        let registry = self.intake.registry().clone();
        self.jobs.spawn(move || {
            let run = record.run;
            let draft = Draft::new(&registry, record).map_err(|error| purpose.text(run, &error));
            let draft = match &purpose {
                Purpose::Fork(_, number, changes) => {
                    draft.and_then(|draft| draft.fork(&registry, *number, changes))
                }
                Purpose::Turn(_) | Purpose::Resume(_) => draft,
            };
            let stage = Stage::Drafted(draft.map(Box::new));
            Found::Loading(Box::new(Loading { run, purpose, stage }))
        });
    }

    /// Reserves memory for a run's state and examples, and has them read.
    fn read(&mut self, run: RunId, purpose: Purpose, mut draft: Box<Draft>) {
        if let Err(error) = self.take_room(&purpose, &mut draft) {
            return match purpose {
                Purpose::Turn(_) if self.intake.store().bytes() > 0 => self.put_off(run, &error),
                _ => self.cannot_load(run, &purpose, false, error.to_string()),
            };
        }
        let (train, test) = draft.splits();
        let missing = [train, test].map(|manifest| self.intake.store().missing(manifest));
        let Some(journal) = &self.journal else { return };
        journal.enqueue(move |folder| {
            let contents = draft.read(folder, &missing).map(Box::new);
            let contents = contents.map_err(|error| purpose.text(run, &error));
            let stage = Stage::Read(draft, contents);
            Written::Loading(Box::new(Loading { run, purpose, stage }))
        });
    }

    /// Reserves a run's memory under the store's bound. The state of a run whose turn has come does
    /// not count.
    fn take_room(&mut self, purpose: &Purpose, draft: &mut Draft) -> Result<(), StoreFull> {
        let bytes = if matches!(purpose, Purpose::Turn(_)) { 0 } else { draft.state_bytes() };
        let store = self.intake.store_mut();
        store.reserve(bytes)?;
        let (train, test) = draft.splits();
        store.refer_both(train, test).inspect_err(|_| store.unreserve(bytes))?;
        draft.set_reserved(bytes);
        Ok(())
    }

    fn give_back(&mut self, draft: &Draft) {
        let store = self.intake.store_mut();
        store.unreserve(draft.reserved());
        let (train, test) = draft.splits();
        store.release_both(train, test);
    }

    /// Has the model make the initial state.
    fn make_first_state(
        &self,
        run: RunId,
        purpose: Purpose,
        mut draft: Box<Draft>,
        mut contents: Box<Contents>,
    ) {
        self.jobs.spawn(move || {
            let made = draft.make_first_state(&mut contents);
            let contents = made.map(|()| contents).map_err(|error| purpose.text(run, &error));
            let stage = Stage::Read(draft, contents);
            Found::Loading(Box::new(Loading { run, purpose, stage }))
        });
    }

    /// Handles a completely loaded run.
    fn take_in(&mut self, of: RunId, purpose: Purpose, draft: Draft, contents: Contents) {
        let (read, chunks) = contents.into_parts();
        for (digest, content) in chunks {
            self.intake.store_mut().insert(digest, content);
        }
        let round = read.round;
        let (run, record) = draft.into_run(read);
        if let Some(client) = purpose.client() {
            self.resuming.remove(&client);
        }
        match purpose {
            Purpose::Turn(_) => self.on_loaded(of, run),
            Purpose::Resume(client) => self.keep_resumed(client, Run::new(run), record),
            Purpose::Fork(client, ..) => {
                self.keep_submission(client, Run::new(run), Some((of, round)));
            }
        }
    }

    fn cannot_load(&mut self, run: RunId, purpose: &Purpose, bad_input: bool, reason: String) {
        let Some(client) = purpose.client() else { return self.cannot_start(run, reason) };
        if matches!(purpose, Purpose::Resume(_))
            && let Some(run) = self.runs.get_mut(run)
        {
            run.set_rereading(false);
        }
        self.resuming.remove(&client);
        self.reject(client, bad_input, reason);
    }
}
