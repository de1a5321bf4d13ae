//! What is known of a run that is read before its state is: by its submission, and
//! by its model. And the reading itself.

use std::sync::Arc;

use bytes::Bytes;
use common::digest::Digest;
use common::id::RunIdentity;
use common::model::{DataShape, Registry};
use common::plan::RunPlan;
use common::spec::RunSpec;
use common::state::NetworkState;
use tracing::{info, warn};

use super::super::recover::{RecoverError, remembered};
use super::super::run::{Phase, Restart, Run, Submission};
use super::super::upload::Design;
use super::Wish;
use crate::runs::{RunsFolder, SubmissionRecord};

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct Draft {
    /// The run as it was submitted, with the settings that it is to go on with.
    pub(super) record: SubmissionRecord,
    design: Design,
    /// Of the run that is to be; all but `initial` where that is a fork.
    submission: Submission,
    /// What a fork is: another spec over the same examples.
    fork: Option<SubmissionRecord>,
    /// Bytes taken from the store's bound for the state.
    pub(super) reserved: u64,
}

/// What a run goes on from.
#[derive(Debug)]
pub(in crate::server) struct Contents {
    /// The run; without a state where its model is to make that.
    pub(super) run: Run,
    /// Those of its chunks of examples that were missing.
    pub(super) chunks: Vec<(Digest, Bytes)>,
}

impl Draft {
    /// Makes the model of a run, and that of its fork.
    pub(super) fn new(
        registry: &Registry,
        wish: &Wish,
        record: SubmissionRecord,
    ) -> Result<Self, String> {
        let prepared = prepare(registry, &record);
        let (submission, design) = prepared.map_err(|error| wish.text(record.run, &error))?;
        let draft = Self { record, design, submission, fork: None, reserved: 0 };
        match wish {
            Wish::Fork(_, run, changes) => {
                let record = forked(&draft.record, changes)?;
                let record = SubmissionRecord { run: *run, ..record };
                draft.fork_as(registry, record).map_err(|error| error.to_string())
            }
            Wish::Turn(_) | Wish::Resume(_) => Ok(draft),
        }
    }

    fn fork_as(self, registry: &Registry, fork: SubmissionRecord) -> Result<Self, RecoverError> {
        let (submission, design) = prepare(registry, &fork)?;
        design.layout.check_same_tensors(&self.design.layout)?;
        Ok(Self { submission, fork: Some(fork), ..self })
    }

    /// Bytes of its states.
    pub(super) fn state_bytes(&self) -> u64 {
        self.design.layout.bytes()
    }

    /// Reads what it goes on from, and those of its chunks that are missing, by split
    /// and place.
    pub(super) fn read(
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

    /// The run as it stands at its last checkpoint that is whole.
    fn read_run(&mut self, folder: &RunsFolder) -> Result<Run, RecoverError> {
        let found = folder.restart(&self.record, u64::MAX)?;
        let mut run = remembered(&self.record, Phase::Queued);
        run.passed_over = found.passed_over();
        if let Some(what) = &run.passed_over {
            warn!("run {}: a damaged checkpoint is passed over: {what}", run.id);
        }
        let state = match found.checkpoint {
            Some(checkpoint) => {
                let record = checkpoint.record;
                info!("run {} goes on after round {} of {}", run.id, record.round, run.rounds);
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
        run.state = state.map(|state| self.begin_from(state)).transpose()?.map(Arc::new);
        Ok(run)
    }

    /// The model's own state.
    pub(super) fn first_state(&mut self) -> Result<NetworkState, RecoverError> {
        let state = self.design.initial_state().map_err(RecoverError::Model)?;
        self.begin_from(state)
    }

    /// Checks a state, and gives it the rules of the run that begins from it. A fork
    /// is known by it.
    fn begin_from(&mut self, mut state: NetworkState) -> Result<NetworkState, RecoverError> {
        self.design.layout.check_same_tensors(&state.layout())?;
        state.set_rules(&RunSpec::from_toml(&self.submission.text)?.merge)?;
        if self.fork.is_some() {
            self.submission.initial = Some(state.digest());
        }
        Ok(state)
    }

    /// The run that is to be, of the one that was read, and what is on disk of that.
    pub(super) fn into_run(self, read: Run) -> (Run, SubmissionRecord) {
        let Self { record, submission, fork, reserved, .. } = self;
        let run = match fork {
            Some(fork) => {
                let Run { state, passed_over, .. } = read;
                Run { state, passed_over, ..remembered(&fork, Phase::Queued) }
            }
            None => read,
        };
        (Run { submission: Some(Arc::new(submission)), reserved, ..run }, record)
    }
}

/// A new run of a changed spec, in all but its number.
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
pub(in crate::server) fn prepare(
    registry: &Registry,
    record: &SubmissionRecord,
) -> Result<(Submission, Design), RecoverError> {
    record.check_numeric_profile()?;
    let spec = RunSpec::from_toml(&record.spec)?;
    let (train, test) = (record.train.clone(), record.test.clone());
    let plan = RunPlan::new(&spec, train.size(), test.examples)?;
    let plan = plan.with_audit(record.settings.audit);
    let shape = DataShape::of(&train, &test);
    let design = Design::new(registry, &spec, shape).map_err(RecoverError::Model)?;
    record.check_model(&spec.model, design.model.version())?;
    let steps = 0..plan.steps();
    let submission = Submission {
        identity: record.identity,
        text: record.spec.clone(),
        model_name: spec.model,
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
