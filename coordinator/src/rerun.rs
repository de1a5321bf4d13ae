//! Repeats a run of the runs folder: in this process, or as a submission to a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::dataset::{DatasetError, ExampleBuffer, ExampleSource, SplitManifest};
use common::digest::Digest;
use common::id::RunId;
use common::merge::Partial;
use common::model::{DataShape, Model, ModelError, Registry};
use common::plan::{RunPlan, StepKind};
use common::shard::ShardError;
use common::spec::{RunSpec, SpecError, Split};
use common::state::{NetworkState, StateError};
use tracing::{info, warn};

use crate::reference::{ReferenceError, Steps};
use crate::runs::{RunsError, RunsFolder, SubmissionRecord};

/// Why a run cannot be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RerunError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] RunsError),
    /// The spec of the run.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A step before the requested one failed.
    #[error("in an earlier step: {0}")]
    Reference(#[from] ReferenceError),
    /// The run has no such round.
    #[error("run {run}: expected a round from 1 to {rounds}, found {found}")]
    Round {
        /// The run.
        run: RunId,
        /// Its rounds.
        rounds: u64,
        /// The requested value.
        found: u64,
    },
    /// The round has no such replica.
    #[error("round {round} of run {run}: expected a replica from 0 to {last}, found {found}")]
    Replica {
        /// The run.
        run: RunId,
        /// The round.
        round: u64,
        /// Its last replica.
        last: u32,
        /// The requested value.
        found: u32,
    },
}

/// All chunks of a run's examples, in memory.
#[derive(Clone, Debug)]
pub struct KeptExamples {
    train: (SplitManifest, Vec<Bytes>),
    test: (SplitManifest, Vec<Bytes>),
}

impl KeptExamples {
    /// Reads and checks them.
    pub fn read(folder: &RunsFolder, record: &SubmissionRecord) -> Result<Self, RunsError> {
        let read = |manifest: &SplitManifest| {
            let chunks = (0..manifest.chunks.len()).map(|index| folder.chunk(manifest, index));
            Ok::<_, RunsError>((manifest.clone(), chunks.collect::<Result<_, _>>()?))
        };
        Ok(Self { train: read(&record.train)?, test: read(&record.test)? })
    }

    fn split(&self, split: Split) -> &(SplitManifest, Vec<Bytes>) {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// A chunk of a split, as a client sends it.
    pub fn chunk(&self, split: Split, index: usize) -> Bytes {
        self.split(split).1[index].clone()
    }
}

impl ExampleSource for KeptExamples {
    fn gather(
        &self,
        split: Split,
        examples: &[u64],
        into: &mut ExampleBuffer,
    ) -> Result<(), DatasetError> {
        let (manifest, chunks) = self.split(split);
        for example in examples {
            let place = manifest.chunk_of(*example);
            let chunk = chunks.get(place).ok_or(DatasetError::MissingChunk(place, split))?;
            manifest.read_example(chunk, *example, into);
        }
        Ok(())
    }
}

/// See the [module](self).
pub struct Rerun {
    folder: RunsFolder,
    record: SubmissionRecord,
    spec: RunSpec,
    plan: RunPlan,
    model: Arc<dyn Model>,
    examples: KeptExamples,
}

impl std::fmt::Debug for Rerun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rerun").field("run", &self.record.run).finish_non_exhaustive()
    }
}

impl Rerun {
    /// Reads a run's submission, data and plan.
    pub fn open(folder: RunsFolder, registry: &Registry, run: RunId) -> Result<Self, RerunError> {
        let record = folder.submission(run)?;
        record.check_numeric_profile()?;
        let spec = RunSpec::from_toml(&record.spec)?;
        let (train, test) = (&record.train, &record.test);
        let plan = RunPlan::new(&spec, train.size(), test.examples)?;
        let shape = DataShape::of(train, test);
        let model = registry.build(&spec.model, &spec.parameters, shape, spec.seed)?;
        record.check_model(&spec.model, model.version())?;
        let examples = KeptExamples::read(&folder, &record)?;
        Ok(Self { folder, spec, plan, model: Arc::from(model), examples, record })
    }

    /// The run's submission.
    pub fn record(&self) -> &SubmissionRecord {
        &self.record
    }

    /// Its spec.
    pub fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// Its plan.
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// Its examples.
    pub fn examples(&self) -> &KeptExamples {
        &self.examples
    }

    /// The step of a training round, from 1.
    pub fn step_of_round(&self, round: u64) -> Result<u64, RerunError> {
        let is_it = |index: &u64| {
            let kind = self.plan.step(*index).map(|step| step.kind);
            matches!(kind, Some(StepKind::Train { round: it, .. }) if it + 1 == round)
        };
        // Between two rounds there are at most a labelling and an evaluation.
        let places = round.saturating_sub(1)..self.plan.steps().min(round.saturating_mul(3));
        let unknown =
            || RerunError::Round { run: self.record.run, rounds: self.plan.rounds(), found: round };
        places.into_iter().find(is_it).ok_or_else(unknown)
    }

    /// The last intact state on disk that is the base of `step` or of an earlier step, and
    /// that step; `None` for the model's initial state.
    pub fn nearest(&self, step: u64) -> Result<(u64, Option<NetworkState>), RerunError> {
        let mut rounds = self.folder.checkpoints(self.record.run)?;
        while let Some(round) = rounds.pop() {
            let record = self.folder.checkpoint_record(&self.record, round);
            if record.as_ref().is_ok_and(|record| record.step > step) {
                continue;
            }
            match self.folder.checkpoint(&self.record, round) {
                Ok(found) => return Ok((found.record.step, Some(found.state))),
                Err(error) => warn!("skipped: {error}"),
            }
        }
        Ok((0, self.start()?))
    }

    /// The digests of the states on disk, by the step that begins from each, and that of the
    /// final state, if the run has succeeded. A replay can begin at each of these steps
    /// except that of the final state.
    pub fn states(&self) -> Result<BTreeMap<u64, Digest>, RerunError> {
        let run = self.record.run;
        let rounds = self.folder.checkpoints(run)?;
        let records = rounds.iter().map(|it| self.folder.checkpoint_record(&self.record, *it));
        let states = records.flatten().map(|record| (record.step, record.digest));
        let ended = self.folder.outcome(&self.record)?.and_then(|outcome| outcome.digest);
        Ok(ended.map(|digest| (self.plan.steps(), digest)).into_iter().chain(states).collect())
    }

    /// The initial state that a client sent.
    fn start(&self) -> Result<Option<NetworkState>, RerunError> {
        let mut state = self.folder.start(&self.record)?;
        if let Some(state) = &mut state {
            state.set_rules(&self.spec.merge)?;
        }
        Ok(state)
    }

    /// The base of a step: computed from the nearest earlier state on disk.
    pub fn base(&self, step: u64) -> Result<NetworkState, RerunError> {
        let (from, state) = self.nearest(step)?;
        let mut state = match state {
            Some(state) => state,
            None => {
                let mut state = self.model.initial_state()?;
                state.set_rules(&self.spec.merge)?;
                state
            }
        };
        if from < step {
            info!("repeating steps {from} to {} for the initial state of step {step}", step - 1);
        }
        let mut steps = Steps::new(&self.plan, &*self.model, &self.examples);
        for index in from..step {
            steps.run(index, &mut state)?;
        }
        Ok(state)
    }

    /// Runs one shard from its base; returns its digest as a worker would report it, and its
    /// results.
    pub fn shard(
        &self,
        step: u64,
        replica: u32,
        base: &NetworkState,
        after_batch: &mut dyn FnMut(u64, u64) -> std::ops::ControlFlow<()>,
    ) -> Result<(Digest, Option<Partial>), ShardError> {
        let mut steps = Steps::new(&self.plan, &*self.model, &self.examples);
        let partial = steps.run_shard(step, replica, base, after_batch)?;
        Ok((Partial::shard_digest(partial.as_ref(), &base.layout()), partial))
    }
}
