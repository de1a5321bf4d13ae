//! [`Model`]: what a network must offer to be trained by Samebit, and the
//! registry of models by name.

mod batch;
pub mod kernel;
pub mod mlp;
mod network;
mod parameters;
mod random;
pub mod registry;
mod settle;
pub mod softmax;
pub mod spiking;
mod vector;

use crate::merge::{UnitCounts, UnitMaps};
use crate::results::Results;
use crate::state::{Layout, NetworkState, StateError};

pub use crate::dataset::DataShape;
pub use batch::{Batch, Targets};
pub use network::EXAMPLES;
pub use parameters::{Parameter, Parameters};
pub use random::Random;
pub use registry::Registry;
pub use settle::{label, settle};

/// A network that can be trained by replicas.
///
/// What a model may not do: read a clock, a file, the environment or a thread
/// count; keep anything in a replica from one shard to the next that could
/// change a result; draw randomness that is not keyed by seed, purpose, epoch
/// and example; add floats in an order that depends on the machine; call the
/// host's `exp` or `ln`.
pub trait Model: Send + Sync {
    /// What its states consist of. It takes no memory for them: who makes a
    /// state asks this first, whether there is room.
    fn layout(&self) -> Result<Layout, ModelError>;

    /// The state before the first round, of that layout: a function of the
    /// seed, the parameters and the data's shape.
    fn initial_state(&self) -> Result<NetworkState, ModelError>;

    /// A network instance, to be used for one shard after another.
    fn replica(&self) -> Result<Box<dyn Replica>, ModelError>;

    /// Version of what the model computes: counted up with every change by which
    /// any bit of a run may differ. Beside the name it is what coordinator and
    /// workers compare for each run, and what a run that goes on is compared by.
    fn version(&self) -> u32 {
        1
    }

    /// All parameters of the model with the values that they have, defaults
    /// included, as [`Parameters::finish`] gives them. They are written into the spec
    /// that workers get, so that a worker needs to know no default. Building the model
    /// from them gives the same model. A model that leaves this out says nothing of its
    /// defaults, and workers get the parameters that the user has set.
    fn parameters(&self) -> toml::Table {
        toml::Table::new()
    }

    /// Memory of one instance at work, in bytes. Workers run only so many at
    /// once as fit their memory limit.
    fn replica_bytes(&self) -> u64;

    /// Settles a merged state (clip, normalise), once a round, on the
    /// coordinator. `base` is the state before the round: units that did not
    /// change have its bits. What the state consists of stays as it is. In
    /// parallel by unit where it is worth it.
    fn finish_round(
        &self,
        base: &NetworkState,
        state: &mut NetworkState,
    ) -> Result<(), ModelError> {
        let _ = (base, state);
        Ok(())
    }

    /// Whether [`Model::finish_round`] does anything. It runs on a thread of its own,
    /// as nobody knows how long it takes; where there is nothing to do, a small state
    /// goes on without that way round.
    fn settles(&self) -> bool {
        true
    }

    /// Writes the labels of the model's units into the state, once a
    /// labelling, on the coordinator: from what [`Replica::label_batch`] saw
    /// over the whole training split. Only where the spec asks for labels.
    fn finish_labelling(
        &self,
        state: &mut NetworkState,
        results: &Results,
    ) -> Result<(), ModelError> {
        let _ = (state, results);
        Err(ModelError::NoLabels)
    }
}

/// One network instance.
pub trait Replica: Send {
    /// Starts a shard: takes over the round's base state. Whatever the
    /// instance did before must not show.
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError>;

    /// Learns from a batch in place, and returns what it saw on the way.
    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError>;

    /// Judges a batch without learning.
    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError>;

    /// Watches a batch without learning, and returns what the units' labels
    /// come from. The results of all batches add up to what
    /// [`Model::finish_labelling`] gets; counts are exact.
    fn label_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let _ = batch;
        Err(ModelError::NoLabels)
    }

    /// Where the instance stands: the same layout as the base.
    fn state(&self) -> &NetworkState;

    /// Brings a tensor of [`Replica::state`] up to date. Whoever reads an f32
    /// tensor there calls this first, so that an instance may work on values
    /// that lie elsewhere.
    fn refresh(&mut self, tensor: &str) {
        let _ = tensor;
    }

    /// For a tensor under `mean_by`: how often its units were touched since
    /// `begin`.
    fn unit_counts(&self, tensor: &str) -> Option<UnitCounts> {
        let _ = tensor;
        None
    }

    /// For a tensor under `fold`: the units' changes since `begin`.
    fn unit_maps(&self, tensor: &str) -> Option<UnitMaps> {
        let _ = tensor;
        None
    }
}

/// What went wrong in a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No model of this name is registered.
    #[error("model `{name}` is unknown; known are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// All names, comma separated.
        known: String,
    },
    /// The model of this name computes otherwise in another build.
    #[error("model `{name}` has version {found} here, and version {expected} in the run")]
    Version {
        /// Its name.
        name: String,
        /// The run's.
        expected: u32,
        /// That of this build.
        found: u32,
    },
    /// A parameter is of the wrong type, or out of range.
    #[error("model parameter `{parameter}`: expected {expected}, found {found}")]
    Parameter {
        /// Its name.
        parameter: String,
        /// What would be right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A parameter that the model does not have.
    #[error(
        "model parameter `{parameter}`: expected {}, found a name that the model does not know",
        parameters::names(known)
    )]
    UnknownParameter {
        /// The name that was given.
        parameter: String,
        /// All parameters that the model has.
        known: Vec<Parameter>,
    },
    /// The state does not fit the model.
    #[error(transparent)]
    State(#[from] StateError),
    /// The data does not fit the model.
    #[error("the data does not fit the model: expected {expected}, found {found}")]
    Data {
        /// What would be right.
        expected: String,
        /// What was there.
        found: String,
    },
    /// The model has changed what a state consists of.
    #[error("the model's `{function}` has changed what its states consist of: {error}")]
    Changed {
        /// The function of [`Model`].
        function: &'static str,
        /// What it should be, and what it is.
        error: StateError,
    },
    /// The spec asks for labels, and the model has no units to give any.
    #[error("spec field `evaluation.labelling`: this model gives no labels; set it to false")]
    NoLabels,
    /// Anything else that a model has to say.
    #[error("{0}")]
    Other(String),
}
