//! What a coordinator finds in the runs folder as it starts: runs that have
//! ended, to be told of, and runs that have not, which go on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::RunId;
use common::limits;
use common::model::{DataShape, Registry};
use common::plan::RunPlan;
use common::spec::RunSpec;
use common::state::NetworkState;
use common::wire::message::RunEvent;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::durable::{Durable, RunsConfig};
use super::ending;
use super::engine::{Engine, Event};
use super::history::run_row;
use super::lifecycle::RUNS_WITH_EVENTS;
use super::recorder::Recorder;
use super::run::{Phase, Restart, Run, Submission};
use super::upload::make_model;
use crate::ledger::{Ledger, LedgerError, LedgerReader, Record};
use crate::runs::{OutcomeState, RunsError, RunsFolder, SubmissionRecord};

/// A run of the folder, whole.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) run: Run,
    /// Its chunks of examples, if it is to go on.
    chunks: Vec<(Digest, Bytes)>,
    /// What its followers are told last, if it is over.
    end: Option<RunEvent>,
}

impl Recovered {
    /// A new run over the same data, from a state of its own.
    pub(super) fn forked(
        self,
        record: &SubmissionRecord,
        submission: Submission,
        state: NetworkState,
    ) -> Self {
        let (submission, state) = (Some(Arc::new(submission)), Some(Arc::new(state)));
        let run = Run { submission, state, ..remembered(record, Phase::Queued) };
        Self { run, ..self }
    }
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoverError {
    #[error(transparent)]
    Folder(#[from] RunsError),
    #[error(transparent)]
    Spec(#[from] common::spec::SpecError),
    #[error(transparent)]
    State(#[from] common::state::StateError),
    #[error("{0}")]
    Model(String),
}

/// All runs of a folder that are remembered, in order. What is wrong with one
/// keeps none of the others from going on.
pub(super) fn recover(
    folder: &RunsFolder,
    registry: &Registry,
) -> (Vec<Recovered>, Option<Ledger>) {
    if let Err(error) = folder.clean() {
        warn!("the runs folder is not tidied: {error}");
    }
    let runs = folder.runs().unwrap_or_else(|error| {
        error!("no run is taken up: {error}");
        Vec::new()
    });
    let old = runs.len().saturating_sub(limits::RUNS);
    let runs = runs[old..].iter().filter_map(|run| recover_run(folder, registry, *run));
    let mut runs: Vec<Recovered> = runs.collect();
    let mut ledger = open_ledger(folder);
    if let Some(open) = &mut ledger
        && let Err(error) = remember(folder, open, &mut runs)
    {
        error!("the history of runs is not recorded, runs go on: {error}");
        ledger = None;
    }
    for Recovered { run, end, .. } in &mut runs {
        if let Some(end) = end.take() {
            run.record(end);
        }
    }
    (runs, ledger)
}

/// The history of the folder's runs, a new one where it is damaged.
fn open_ledger(folder: &RunsFolder) -> Option<Ledger> {
    match Ledger::open(folder.path()) {
        Ok((ledger, notice)) => {
            if let Some(notice) = notice {
                error!("{notice}");
            }
            Some(ledger)
        }
        Err(error) => {
            error!("the history of runs is not recorded, runs go on: {error}");
            None
        }
    }
}

/// Takes the history of runs that go on back to where they go on from, and
/// gives runs the events that their followers were told, without the last one:
/// a history may lack that, or be lost.
fn remember(
    folder: &RunsFolder,
    ledger: &mut Ledger,
    runs: &mut [Recovered],
) -> Result<(), LedgerError> {
    let mut records = Vec::new();
    for Recovered { run, .. } in runs.iter() {
        let Some(submission) = &run.submission else { continue };
        let step = run.restart.as_ref().map_or(0, |restart| restart.step);
        records.push(Record::Run(run_row(run, submission, None)));
        records.push(Record::Rewind { run: run.id, step });
    }
    ledger.record(&records)?;
    let reader = LedgerReader::open(folder.path())?;
    for (age, Recovered { run, .. }) in runs.iter_mut().rev().enumerate() {
        if run.phase.is_over() && age >= RUNS_WITH_EVENTS {
            continue;
        }
        let events = reader.run_events(run.id)?;
        if let (Some(state), false) = (&run.state, events.is_empty()) {
            let (id, model) = (run.id, run.model_name.clone());
            let (rounds, state_bytes) = (run.rounds, state.bytes());
            run.record(RunEvent::Started { run: id, model, rounds, state_bytes, workers: 0 });
            run.is_told_of = true;
        }
        let events = events.into_iter().filter(|event| !event.is_last());
        events.for_each(|event| drop(run.record(event)));
    }
    Ok(())
}

fn recover_run(folder: &RunsFolder, registry: &Registry, id: RunId) -> Option<Recovered> {
    let known = folder.submission(id).and_then(|known| Ok((known, folder.outcome(id)?)));
    let (record, outcome) = match known {
        Ok(known) => known,
        Err(error) => {
            error!("run {id} cannot be taken up: {error}");
            return None;
        }
    };
    let Some(mut outcome) = outcome else {
        return Some(match unfinished(folder, registry, &record) {
            Ok(recovered) => recovered,
            Err(error) => {
                error!("run {id} cannot go on: {error}");
                let mut run = remembered(&record, Phase::Failed);
                run.unsaved = Some(error.to_string());
                let end = Some(cannot_go_on(id, &error.to_string()));
                Recovered { run, chunks: Vec::new(), end }
            }
        });
    };
    let phase = match outcome.state {
        OutcomeState::Finished => Phase::Finished,
        OutcomeState::Failed => Phase::Failed,
        OutcomeState::Cancelled => Phase::Cancelled,
    };
    let run = Run {
        round: outcome.round,
        loss: outcome.loss,
        digest: outcome.digest,
        checkpoint: folder.checkpoints(id).ok().and_then(|rounds| rounds.last().copied()),
        ..remembered(&record, phase)
    };
    if outcome.progress.is_none() {
        // It was written before outcomes held this; the last checkpoint does.
        let last = folder.checkpoint_record(&record, outcome.round).ok();
        outcome.progress = last.map(|last| last.progress);
    }
    let end = Some(ending::of_outcome(id, run.rounds, &outcome));
    Some(Recovered { run, chunks: Vec::new(), end })
}

/// The last event of a run that is not over, but cannot go on here and now.
fn cannot_go_on(run: RunId, error: &str) -> RunEvent {
    let reason = format!(
        "it cannot go on: {error}; once that is mended, start the coordinator again, or \
         `coordinator resume {run}`"
    );
    RunEvent::Failed { run, reason }
}

/// What is known of every run.
fn remembered(record: &SubmissionRecord, phase: Phase) -> Run {
    let spec = RunSpec::from_toml(&record.spec).ok();
    let plan = spec
        .as_ref()
        .and_then(|spec| RunPlan::new(spec, record.train.examples, record.test.examples).ok());
    Run {
        id: record.run,
        phase,
        settings: record.settings.clone(),
        restart: None,
        is_replay: false,
        is_told_of: false,
        is_rereading: false,
        submission: None,
        model_name: spec.map(|spec| spec.model).unwrap_or_default(),
        rounds: plan.map_or(0, |plan| plan.rounds()),
        final_spec: None,
        state: None,
        reserved: 0,
        round: 0,
        loss: None,
        digest: None,
        checkpoint: None,
        unsaved: None,
        events: VecDeque::new(),
        followers: BTreeSet::new(),
    }
}

/// A run as it stands at its last checkpoint that is whole.
pub(super) fn unfinished(
    folder: &RunsFolder,
    registry: &Registry,
    record: &SubmissionRecord,
) -> Result<Recovered, RecoverError> {
    let (submission, own) = prepare(registry, record)?;
    let mut chunks = Vec::new();
    for manifest in [&submission.train, &submission.test] {
        read_chunks(folder, manifest, &mut chunks)?;
    }
    let found = folder.restart(record, u64::MAX)?;
    for error in &found.damaged {
        warn!("run {}: a checkpoint is passed over: {error}", record.run);
    }
    let mut run =
        Run { submission: Some(Arc::new(submission)), ..remembered(record, Phase::Queued) };
    let mut state = match folder.start(record)? {
        Some(mut start) => {
            start.set_rules(&RunSpec::from_toml(&record.spec)?.merge)?;
            start
        }
        None => own,
    };
    match found.checkpoint {
        Some(checkpoint) => {
            state.check_same_tensors(&checkpoint.state)?;
            state = checkpoint.state;
            let record = checkpoint.record;
            info!("run {} goes on after round {} of {}", run.id, record.round, run.rounds);
            (run.round, run.loss) = (record.round, record.progress.loss);
            run.checkpoint = Some(record.round);
            let (step, workers, progress) = (record.step, record.workers, record.progress);
            run.restart = Some(Restart { step, workers, progress });
        }
        None => {
            info!("run {} begins again: it has no checkpoint", run.id);
            let workers = run.min_workers();
            run.restart = Some(Restart { workers, ..Restart::default() });
        }
    }
    run.state = Some(Arc::new(state));
    Ok(Recovered { run, chunks, end: None })
}

/// A run's submission and its model's own initial state.
pub(super) fn prepare(
    registry: &Registry,
    record: &SubmissionRecord,
) -> Result<(Submission, NetworkState), RecoverError> {
    let spec = RunSpec::from_toml(&record.spec)?;
    let (train, test) = (record.train.clone(), record.test.clone());
    let plan = RunPlan::new(&spec, train.examples, test.examples)?;
    let shape = DataShape {
        features: train.features.max(test.features) as usize,
        classes: train.classes.max(test.classes) as usize,
    };
    let made = make_model(registry, &spec, shape).map_err(RecoverError::Model)?;
    let mut state = made.state;
    state.set_rules(&spec.merge)?;
    let steps = 0..plan.steps();
    let submission = Submission {
        text: record.spec.clone(),
        model_name: spec.model,
        model: made.model,
        plan,
        train,
        test,
        initial: record.initial,
        steps,
        is_replay: false,
    };
    Ok((submission, state))
}

fn read_chunks(
    folder: &RunsFolder,
    manifest: &SplitManifest,
    chunks: &mut Vec<(Digest, Bytes)>,
) -> Result<(), RecoverError> {
    let mut seen: BTreeSet<Digest> = chunks.iter().map(|(digest, _)| *digest).collect();
    for (index, digest) in manifest.chunks.iter().enumerate() {
        if seen.insert(*digest) {
            chunks.push((*digest, folder.chunk(manifest, index)?));
        }
    }
    Ok(())
}

impl Engine {
    /// Keeps runs from now on, and takes in those that were kept.
    pub(super) fn keep_runs(
        &mut self,
        config: RunsConfig,
        events: mpsc::Sender<Event>,
        ledger: Option<Ledger>,
        recovered: Vec<Recovered>,
    ) -> std::io::Result<()> {
        let recorder = Recorder::start(config.folder.clone(), ledger, events)?;
        self.durable = Some(Durable { config, recorder });
        self.take_up(recovered);
        Ok(())
    }

    /// Takes in what the runs folder has.
    fn take_up(&mut self, recovered: Vec<Recovered>) {
        for mut recovered in recovered {
            let id = recovered.run.id;
            self.last_run = self.last_run.max(id.0);
            if recovered.run.phase == Phase::Queued
                && let Err(error) = self.make_room(&mut recovered)
            {
                error!("run {id} cannot go on now: {error}");
                let run = &mut recovered.run;
                (run.phase, run.submission, run.state) = (Phase::Failed, None, None);
                run.record(cannot_go_on(id, &error));
                run.unsaved = Some(error);
            }
            let is_queued = recovered.run.phase == Phase::Queued;
            self.runs.insert(id, recovered.run);
            if is_queued {
                self.queue_run(id);
            }
        }
    }

    /// Takes what a run needs of the store's bound, and puts its chunks in.
    pub(super) fn make_room(&mut self, recovered: &mut Recovered) -> Result<(), String> {
        let run = &mut recovered.run;
        let Some(submission) = &run.submission else { return Ok(()) };
        let bytes = run.state.as_ref().map_or(0, |state| state.bytes());
        self.store.reserve(bytes).map_err(|error| error.to_string())?;
        if let Err(error) = self.refer_both(&submission.train, &submission.test) {
            self.store.unreserve(bytes);
            return Err(error.to_string());
        }
        run.reserved = bytes;
        for (digest, content) in std::mem::take(&mut recovered.chunks) {
            self.store.insert(digest, content);
        }
        Ok(())
    }
}
