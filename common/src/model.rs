//! [`Model`]: the interface of a network that Samebit trains, and the registry of models by
//! name.

mod batch;
mod finalise;
pub mod kernel;
pub mod mlp;
mod network;
mod parameters;
mod random;
pub mod registry;
pub mod softmax;
pub mod spiking;
mod vector;

use crate::merge::{UnitCounts, UnitMaps};
use crate::results::Results;
use crate::state::{Layout, NetworkState, StateError};

pub use crate::dataset::{DataShape, TargetType};
pub use batch::{Batch, Targets};
pub use finalise::{finalise, label};
pub use network::EXAMPLES;
pub use parameters::{Parameter, Parameters};
pub use random::Random;
pub use registry::Registry;

/// A network that can be trained by replicas.
///
/// A model may not
///
/// - read a clock, a file, the environment or a thread count;
/// - keep anything in a replica from one shard to the next that could change a result;
/// - use random numbers that are not keyed by seed, purpose, epoch and example;
/// - add floats in an order that depends on the machine;
/// - call the host's `exp` or `ln`.
pub trait Model: Send + Sync {
    /// The layout of its states. It allocates no memory for them: before a state is created,
    /// the layout tells whether it fits into memory.
    fn layout(&self) -> Result<Layout, ModelError>;

    /// The initial state, of that layout: a function of the seed, the parameters and the
    /// data's shape.
    fn initial_state(&self) -> Result<NetworkState, ModelError>;

    /// A network instance, to be used for one shard after another.
    fn replica(&self) -> Result<Box<dyn Replica>, ModelError>;

    /// Version of the computation, to be increased with every change that may alter a bit
    /// of a run. Coordinator and workers compare name and version for each run; so does a
    /// coordinator that restores a run.
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

    /// Memory that one instance uses, in bytes. Workers run as many at once as fit their
    /// memory limit.
    fn replica_bytes(&self) -> u64;

    /// Finishes a merged state (clip, normalise), once per round, on the coordinator.
    /// `base` is the state before the round; units that did not change have the same bits
    /// in both. The layout must not change. It may run in parallel by unit.
    fn finish_round(
        &self,
        base: &NetworkState,
        state: &mut NetworkState,
    ) -> Result<(), ModelError> {
        let _ = (base, state);
        Ok(())
    }

    /// Whether [`Model::finish_round`] does anything. It runs on a separate thread, as it
    /// may take long; if it does nothing, it is not always called, and the state is sent to
    /// workers while it is merged.
    fn has_finish_round(&self) -> bool {
        true
    }

    /// Writes the labels of the model's units into the state, once per labelling, on the
    /// coordinator, from the results of [`Replica::label_batch`] over the whole training
    /// split. Only called if the spec asks for labels.
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
    /// Starts a shard from the round's base state. Earlier shards of this instance must not
    /// influence the result.
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError>;

    /// Learns from a batch in place, and returns its results.
    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError>;

    /// Evaluates a batch without learning.
    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError>;

    /// Processes a batch without learning, and returns the results from which units are
    /// labelled. [`Model::finish_labelling`] gets the sum over all batches; counts are exact.
    fn label_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        let _ = batch;
        Err(ModelError::NoLabels)
    }

    /// Appends the scores of each example of a batch to `scores`, example by example, without
    /// learning: for each class one, of which the first largest is the class that the model finds,
    /// and all 0 if it finds none; or the numbers that it predicts, if targets are numbers. They must
    /// be finite. The batch's own targets have no meaning.
    fn predict_batch(
        &mut self,
        batch: &Batch<'_>,
        scores: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let _ = (batch, scores);
        Err(ModelError::NoScores)
    }

    /// The instance's current state, with the layout of the base.
    fn state(&self) -> &NetworkState;

    /// [`Replica::state`], if its f32 and f64 values may be exchanged for others after the last
    /// batch of a shard: then they become the contribution as they are, and are not copied.
    /// Whatever is found there instead has no meaning until the next [`Replica::begin`].
    fn state_to_take(&mut self) -> Option<&mut NetworkState> {
        None
    }

    /// Updates a tensor of [`Replica::state`]. It is called before a tensor is read
    /// there, so that an instance may compute on values stored elsewhere.
    fn refresh(&mut self, tensor: &str) {
        let _ = tensor;
    }

    /// For a tensor under `mean_by`: how often its units were touched since
    /// `begin`.
    fn unit_counts(&self, tensor: &str) -> Option<UnitCounts> {
        let _ = tensor;
        None
    }

    /// For an f32 tensor under `fold`: the units' changes since `begin`.
    fn unit_maps(&self, tensor: &str) -> Option<UnitMaps> {
        let _ = tensor;
        None
    }

    /// [`Replica::unit_maps`] for an f64 tensor.
    fn unit_maps_f64(&self, tensor: &str) -> Option<UnitMaps<f64>> {
        let _ = tensor;
        None
    }
}

/// An error of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No model of this name is registered.
    #[error("unknown model `{name}`: expected one of {known}")]
    Unknown {
        /// The requested name.
        name: String,
        /// All names, comma separated.
        known: String,
    },
    /// The model's version in this build is not that of the run.
    #[error(
        "model `{name}`: expected version {expected}, which the run has, found version {found} in \
         this build: use the same build on all hosts"
    )]
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
        /// The expected value.
        expected: String,
        /// The value found.
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
        /// The expected value.
        expected: String,
        /// The value found.
        found: String,
    },
    /// The model has changed the layout of a state.
    #[error("the model's `{function}` has changed the layout of its state: {error}")]
    Changed {
        /// The function of [`Model`].
        function: &'static str,
        /// The expected and the found layout.
        error: StateError,
    },
    /// The spec asks for labels, and the model has no units to give any.
    #[error(
        "spec field `evaluation.labelling`: this model has no labelling; set the field to false"
    )]
    NoLabels,
    /// The spec asks for scores, and the model gives none.
    #[error("spec field `predict`: this model gives no scores of examples; set the field to false")]
    NoScores,
    /// A score of an example is NaN or infinite.
    #[error(
        "example {example}: expected finite scores, found {found}: the state or the features have \
         values that are too large"
    )]
    NotFinite {
        /// Its place in its split.
        example: u64,
        /// The score.
        found: f32,
    },
    /// Any other error of a model.
    #[error("{0}")]
    Other(String),
}
