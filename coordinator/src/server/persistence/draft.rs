//! A run whose submission and model are known, before its state is read; and the code that reads
//! the state.

use std::sync::Arc;

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::{RunId, RunIdentity};
use common::model::{DataShape, Registry};
use common::plan::RunPlan;
use common::run_state::RunState;
use common::spec::RunSpec;
use common::state::NetworkState;
use tracing::{info, warn};

use super::recovered::{RecoverError, recorded};
use crate::runs::{RunsFolder, SubmissionRecord};
use crate::server::run_table::{Design, NewRun, Restart, RunDefinition};

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct Draft {
    /// The run as it was submitted, with the settings with which it continues.
    record: SubmissionRecord,
    design: Design,
    /// The definition of the run; `initial` of a fork is set once the state is read.
    submission: RunDefinition,
    /// The submission of a fork: a changed spec with the same examples.
    fork: Option<SubmissionRecord>,
    /// Bytes reserved in the store for the state.
    reserved: u64,
}

/// The data from which a run continues.
#[derive(Debug)]
pub(in crate::server) struct Contents {
    /// The run; it has no state yet if the model is to make it.
    run: NewRun,
    /// Its missing chunks of examples.
    chunks: Vec<(Digest, Bytes)>,
}

impl Draft {
    /// Makes the model of a run.
    pub(in crate::server) fn new(
        registry: &Registry,
        record: SubmissionRecord,
    ) -> Result<Self, RecoverError> {
        let (submission, design) = prepare(registry, &record)?;
        Ok(Self { record, design, submission, fork: None, reserved: 0 })
    }

    /// The same for a new run of this number, which starts from this run's state with these changes
    /// of the spec.
    pub(in crate::server) fn fork(
        self,
        registry: &Registry,
        run: RunId,
        changes: &[(String, String)],
    ) -> Result<Self, String> {
        let fork = SubmissionRecord { run, ..forked(&self.record, changes)? };
        self.fork_as(registry, fork).map_err(|error| error.to_string())
    }

    fn fork_as(self, registry: &Registry, fork: SubmissionRecord) -> Result<Self, RecoverError> {
        let (submission, design) = prepare(registry, &fork)?;
        design.layout.check_same_tensors(&self.design.layout)?;
        Ok(Self { submission, fork: Some(fork), ..self })
    }

    /// The splits of its examples.
    pub(in crate::server) fn splits(&self) -> (&SplitManifest, &SplitManifest) {
        (&self.record.train, &self.record.test)
    }

    /// Bytes reserved in the store for its state.
    pub(in crate::server) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Notes that this many bytes are reserved in the store for its state.
    pub(in crate::server) fn set_reserved(&mut self, bytes: u64) {
        self.reserved = bytes;
    }

    /// Bytes of its states.
    pub(in crate::server) fn state_bytes(&self) -> u64 {
        self.design.layout.bytes()
    }

    /// Reads the state from which the run continues, and its missing chunks, by split and index.
    pub(in crate::server) fn read(
        &mut self,
        folder: &RunsFolder,
        missing: &[Vec<u32>; 2],
    ) -> Result<Contents, RecoverError> {
        let run = self.read_run(folder)?;
        let mut chunks = Vec::new();
        for (manifest, missing) in [&self.record.train, &self.record.test].into_iter().zip(missing)
        {
            for index in missing.iter().map(|index| *index as usize) {
                chunks.push((manifest.chunks[index], folder.chunk(manifest, index)?));
            }
        }
        Ok(Contents { run, chunks })
    }

    /// The run at its last intact checkpoint.
    fn read_run(&mut self, folder: &RunsFolder) -> Result<NewRun, RecoverError> {
        let found = folder.restart(&self.record, u64::MAX)?;
        let mut run = self.recorded(&self.record);
        run.passed_over = found.passed_over();
        if let Some(what) = &run.passed_over {
            warn!("run {}: a damaged checkpoint is skipped: {what}", run.id);
        }
        let state = match found.checkpoint {
            Some(checkpoint) => {
                let record = checkpoint.record;
                info!("run {} continues after round {} of {}", run.id, record.round, run.rounds);
                (run.round, run.loss) = (record.round, record.progress.loss);
                run.checkpoint = Some(record.round);
                let (step, workers, progress) = (record.step, record.workers, record.progress);
                run.restart = Some(Restart { step, workers, progress });
                Some(checkpoint.state)
            }
            None => {
                info!("run {} begins again: it has no checkpoint", run.id);
                let workers = run.min_workers();
                run.restart = Some(Restart { workers, ..Restart::default() });
                folder.start(&self.record)?
            }
        };
        let step = run.restart.as_ref().map_or(0, |restart| restart.step);
        run.state = match state {
            Some(state) if self.has_scores(step) => {
                self.check_scores(&state)?;
                Some(Arc::new(state))
            }
            Some(state) => Some(Arc::new(self.begin_from(state)?)),
            None => None,
        };
        Ok(run)
    }

    /// Has the model make the initial state, if none was read.
    pub(in crate::server) fn make_first_state(
        &mut self,
        contents: &mut Contents,
    ) -> Result<(), RecoverError> {
        let state = self.design.initial_state().map_err(RecoverError::Model)?;
        contents.run.state = Some(Arc::new(self.begin_from(state)?));
        Ok(())
    }

    /// Whether the state at a step is a prediction's scores.
    fn has_scores(&self, step: u64) -> bool {
        let plan = &self.submission.plan;
        self.fork.is_none() && plan.predicts() && step >= plan.steps()
    }

    fn check_scores(&self, state: &NetworkState) -> Result<(), RecoverError> {
        let layout = self.submission.plan.scores_layout().unwrap_or_default();
        Ok(layout.check_same_tensors(&state.layout())?)
    }

    /// Checks a state, and sets the merge rules of the run that begins from it. Also sets the
    /// identity of a fork.
    fn begin_from(&mut self, mut state: NetworkState) -> Result<NetworkState, RecoverError> {
        self.design.layout.check_same_tensors(&state.layout())?;
        state.set_rules(&self.submission.spec.merge)?;
        if self.fork.is_some() {
            self.submission.initial = Some(state.digest());
        }
        Ok(state)
    }

    /// The data of a record's run: this run, or its fork.
    fn recorded(&self, record: &SubmissionRecord) -> NewRun {
        let RunDefinition { spec, plan, .. } = &self.submission;
        recorded(record, spec.model.clone(), plan.rounds(), RunState::Queued)
    }

    /// The resulting run, and its submission record on disk.
    pub(in crate::server) fn into_run(self, read: NewRun) -> (NewRun, SubmissionRecord) {
        let run = match &self.fork {
            Some(fork) => {
                let NewRun { state, passed_over, .. } = read;
                NewRun { state, passed_over, ..self.recorded(fork) }
            }
            None => read,
        };
        let Self { record, submission, reserved, .. } = self;
        (NewRun { submission: Some(Arc::new(submission)), reserved, ..run }, record)
    }
}

impl Contents {
    /// Whether the initial state is available.
    pub(in crate::server) fn has_state(&self) -> bool {
        self.run.state.is_some()
    }

    /// The run, and its chunks of examples that were missing.
    pub(in crate::server) fn into_parts(self) -> (NewRun, Vec<(Digest, Bytes)>) {
        (self.run, self.chunks)
    }
}

/// A new run with a changed spec, without a number.
fn forked(
    record: &SubmissionRecord,
    changes: &[(String, String)],
) -> Result<SubmissionRecord, String> {
    let mut table: toml::Table =
        record.spec.parse().map_err(|error| format!("the spec of run {}: {error}", record.run))?;
    for (key, value) in changes {
        RunSpec::set(&mut table, key, value).map_err(|error| error.to_string())?;
    }
    let spec = RunSpec::from_table(table).map_err(|error| error.to_string())?.to_toml();
    let identity = RunIdentity::draw().map_err(|error| format!("no identity: {error}"))?;
    Ok(SubmissionRecord { identity, key: None, spec, ..record.clone() })
}

/// A run's submission and its model.
fn prepare(
    registry: &Registry,
    record: &SubmissionRecord,
) -> Result<(RunDefinition, Design), RecoverError> {
    record.check_numeric_profile()?;
    let spec = RunSpec::from_toml(&record.spec)?;
    let (train, test) = (record.train.clone(), record.test.clone());
    let plan = RunPlan::new(&spec, train.size(), test.examples)?;
    let plan = plan.with_audit(record.settings.audit);
    let shape = DataShape::of(&train, &test);
    let design = Design::new(registry, &spec, shape).map_err(RecoverError::Model)?;
    record.check_model(&spec.model, design.model.version())?;
    let steps = 0..plan.steps();
    let submission = RunDefinition {
        identity: record.identity,
        text: record.spec.clone(),
        schema: record.schema.clone(),
        complete: design.spec.clone(),
        spec,
        model: design.model.clone(),
        plan,
        train,
        test,
        initial: record.initial,
        steps,
        is_replay: false,
    };
    Ok((submission, design))
}
