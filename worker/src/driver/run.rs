//! An open run: its plan, its model and how its states are cut.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::{RunId, RunIdentity};
use common::merge::BufferPool;
use common::model::{DataShape, Model, ModelError, Registry, Replica};
use common::plan::{EpochOrder, RunPlan, Step, StepKind};
use common::spec::{RunSpec, Split};
use common::state::{Layout, Segment};

use super::panics::panic_text;

/// What the coordinator says of a run when it opens it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    /// The run.
    pub(super) run: RunId,
    /// Its identity: what is kept of another run of this number is of no use.
    pub(super) identity: RunIdentity,
    /// Its spec, as TOML.
    pub(super) spec: String,
    /// Version of its model.
    pub(super) model_version: u32,
    /// Training examples.
    pub(super) train: SplitManifest,
    /// Test examples.
    pub(super) test: SplitManifest,
    /// Layout of its states.
    pub(super) layout: Layout,
    /// Identity of the state that it starts from, where the model does not
    /// make it.
    pub(super) initial: Option<Digest>,
}

/// See the [module](self).
pub(super) struct OpenRun {
    /// Its plan.
    pub(super) plan: RunPlan,
    /// Layout of its states.
    pub(super) layout: Layout,
    /// How states are cut.
    pub(super) state_segments: Vec<Segment>,
    /// How partials are cut.
    pub(super) merge_segments: Vec<Segment>,
    train: Arc<SplitManifest>,
    test: Arc<SplitManifest>,
    spec: RunSpec,
    /// Version of its model at the coordinator.
    model_version: u32,
    /// Set by [`OpenRun::build`], before the first shard.
    model: OnceLock<Box<dyn Model>>,
    /// Instances between two shards: never more than shards ran at once.
    idle: Mutex<Vec<Box<dyn Replica>>>,
    /// Memory for partials.
    pub(super) spare: BufferPool,
}

impl std::fmt::Debug for OpenRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRun").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl OpenRun {
    /// Checks what the coordinator said. The error says why the run
    /// cannot be worked on here.
    pub(super) fn new(opening: &Opening) -> Result<Self, String> {
        let spec = RunSpec::from_toml(&opening.spec).map_err(|error| error.to_string())?;
        opening.layout.validate().map_err(|error| error.to_string())?;
        for (name, manifest) in [("training", &opening.train), ("test", &opening.test)] {
            manifest.validate().map_err(|error| format!("the {name} manifest: {error}"))?;
        }
        let (train, test) = (&opening.train, &opening.test);
        let plan =
            RunPlan::new(&spec, train.size(), test.examples).map_err(|error| error.to_string())?;
        Ok(Self {
            plan,
            state_segments: opening.layout.state_segments(),
            merge_segments: opening.layout.merge_segments(),
            layout: opening.layout.clone(),
            train: Arc::new(opening.train.clone()),
            test: Arc::new(opening.test.clone()),
            spec,
            model_version: opening.model_version,
            model: OnceLock::new(),
            idle: Mutex::default(),
            spare: BufferPool::default(),
        })
    }

    /// Makes the model, which may take as long as it likes; gives the memory of one
    /// instance at work, in bytes. The error says why the run cannot be worked on here,
    /// and what to do.
    pub(super) fn build(&self, registry: &Registry) -> Result<u64, String> {
        let RunSpec { model: name, parameters, seed, .. } = &self.spec;
        let shape = DataShape::of(&self.train, &self.test);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let model = registry.build(name, parameters, shape, *seed)?;
            let (expected, found) = (self.model_version, model.version());
            if found != expected {
                return Err(ModelError::Version { name: name.clone(), expected, found });
            }
            let replica_bytes = model.replica_bytes();
            Ok((model, replica_bytes))
        }));
        let (model, replica_bytes) = built
            .map_err(|panic| format!("model `{name}` panicked: {}", panic_text(&*panic)))?
            .map_err(|error| lacking(&error))?;
        // It is built once.
        let _ = self.model.set(model);
        Ok(replica_bytes)
    }

    /// The manifest of a split.
    pub(super) fn manifest(&self, split: Split) -> &Arc<SplitManifest> {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// An instance to run a shard on: an idle one, or a new one.
    pub(super) fn take_replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        let idle = self.idle.lock().expect("no code panics under this lock").pop();
        let model = || self.model.get().expect("shards run once their model is built");
        idle.map_or_else(|| model().replica(), Ok)
    }

    /// Keeps an instance for the next shard.
    pub(super) fn give_replica(&self, replica: Box<dyn Replica>) {
        self.idle.lock().expect("no code panics under this lock").push(replica);
    }
}

/// Why a model cannot be built, and what to do about it.
fn lacking(error: &ModelError) -> String {
    match error {
        ModelError::Unknown { .. } => {
            format!("{error}: this worker's build lacks the model; start your own worker binary")
        }
        ModelError::Version { .. } => {
            format!("{error}: start your own worker binary, of the coordinator's build")
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
impl OpenRun {
    /// Instances that wait for a shard.
    pub(super) fn idle_replicas(&self) -> usize {
        self.idle.lock().unwrap().len()
    }
}

/// The order of the examples in the epoch at hand.
#[derive(Debug, Default)]
pub(super) struct CurrentOrder {
    ready: Option<(u64, Arc<EpochOrder>)>,
    coming: Option<u64>,
}

/// What the order says to a step.
#[derive(Debug)]
pub(super) enum Ordered {
    /// Here it is; `None` where the step reads the split as it stands.
    Ready(Option<Arc<EpochOrder>>),
    /// It is being computed.
    Coming,
    /// Somebody has to compute it, and then say [`CurrentOrder::arrived`].
    Missing,
}

impl CurrentOrder {
    /// The order for a step. After [`Ordered::Missing`] it is coming.
    pub(super) fn of(&mut self, step: &Step) -> Ordered {
        let StepKind::Train { epoch, .. } = step.kind else { return Ordered::Ready(None) };
        match &self.ready {
            Some((ready, order)) if *ready == epoch => Ordered::Ready(Some(order.clone())),
            _ if self.coming == Some(epoch) => Ordered::Coming,
            _ => {
                self.coming = Some(epoch);
                Ordered::Missing
            }
        }
    }

    /// Takes in a computed order.
    pub(super) fn arrived(&mut self, epoch: u64, order: Arc<EpochOrder>) {
        self.coming.take_if(|coming| *coming == epoch);
        self.ready = Some((epoch, order));
    }
}
