//! An open run: its plan, its model, and the segments of its states.

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

/// The coordinator's message that opens a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    /// The run.
    pub(super) run: RunId,
    /// Its identity: data kept of another run with this number is dropped.
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
    /// Identity of its initial state, if the model does not make it.
    pub(super) initial: Option<Digest>,
}

/// See the [module](self).
pub(super) struct OpenRun {
    /// Its plan.
    pub(super) plan: RunPlan,
    /// Layout of its states.
    pub(super) layout: Layout,
    /// The segments of states.
    pub(super) state_segments: Vec<Segment>,
    /// The segments of partials.
    pub(super) merge_segments: Vec<Segment>,
    train: Arc<SplitManifest>,
    test: Arc<SplitManifest>,
    spec: RunSpec,
    /// The coordinator's version of its model.
    model_version: u32,
    /// Set by [`OpenRun::build`], before the first shard.
    model: OnceLock<Box<dyn Model>>,
    /// Idle instances: never more than the most shards that ran at once.
    idle: Mutex<Vec<Box<dyn Replica>>>,
    /// Reusable memory for partials.
    pub(super) spare: BufferPool,
}

impl std::fmt::Debug for OpenRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRun").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl OpenRun {
    /// Checks the coordinator's message. The error says why the run cannot be worked on here.
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

    /// Makes the model, which may take any time; returns the memory of one running instance, in
    /// bytes. The error says why the run cannot be worked on here, and what to do.
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
        // It is built only once.
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

    /// An instance for a shard: an idle one, or a new one.
    pub(super) fn take_replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        let idle = self.idle.lock().expect("no code panics under this lock").pop();
        let model = || self.model.get().expect("shards run once their model is built");
        idle.map_or_else(|| model().replica(), Ok)
    }

    /// Keeps an instance for a later shard.
    pub(super) fn give_replica(&self, replica: Box<dyn Replica>) {
        self.idle.lock().expect("no code panics under this lock").push(replica);
    }
}

/// The reason why a model cannot be built, and what to do about it.
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
    /// Idle instances.
    pub(super) fn idle_replicas(&self) -> usize {
        self.idle.lock().unwrap().len()
    }
}

/// The order of the examples in the current epoch.
#[derive(Debug, Default)]
pub(super) struct CurrentOrder {
    ready: Option<(u64, Arc<EpochOrder>)>,
    coming: Option<u64>,
}

/// The answer for a step that needs an order.
#[derive(Debug)]
pub(super) enum Ordered {
    /// The order is known; `None` if the step reads the split in its own order.
    Ready(Option<Arc<EpochOrder>>),
    /// It is being computed.
    Coming,
    /// The caller must compute it, and then call [`CurrentOrder::insert`].
    Missing,
}

impl CurrentOrder {
    /// The order for a step. After [`Ordered::Missing`] the caller must compute it.
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

    /// Stores a computed order.
    pub(super) fn insert(&mut self, epoch: u64, order: Arc<EpochOrder>) {
        self.coming.take_if(|coming| *coming == epoch);
        self.ready = Some((epoch, order));
    }
}
