//! Samebit trains networks on many ordinary machines and gives **the same bits every time**: a
//! run's final state is a pure function of its spec and its data, whatever the number of workers,
//! and whatever machines fail on the way.
//!
//! This crate has everything that users need:
//!
//! - [`main`]: a whole program, `samebit`, with models of your own. [`guide`] explains how to write
//!   one.
//! - [`in_process`]: runs without any cluster, in this process, with the same bits.
//! - [`client`]: submits runs to a coordinator, follows them, and fetches their states.
//!
//! ```
//! use samebit::in_process::{ParallelBatchProcessor, Params};
//! use samebit::ndarray::array;
//!
//! let examples = array![[0.0, 1.0], [1.0, 0.0], [0.1, 0.9], [0.8, 0.3]];
//! let params = Params { epochs: 20, ..Params::default() };
//! let (state, results) = ParallelBatchProcessor::new(2, 1)
//!     .run_parallel(examples.view(), &[0, 1, 0, 1], None, &params)?;
//! assert_eq!(results.last().unwrap().results.accuracy(), Some(1.0));
//! println!("{}", state.digest());
//! # Ok::<(), samebit::in_process::ReferenceError>(())
//! ```

pub mod client;
#[doc = include_str!("guide.md")]
pub mod guide {}
mod program;

pub use ndarray;
pub use program::main;
pub use toml;

/// Datasets, in memory.
pub mod dataset {
    pub use common::dataset::{
        Dataset, DatasetError, Examples, Features, Schema, TableFeatures, TargetValues, sources,
    };
}

/// Whole runs in this process, without a coordinator or a worker. They start no process
/// and open no socket.
pub mod in_process {
    pub use common::plan::{Step, StepKind};
    pub use common::shard::ShardError;
    pub use coordinator::reference::{ParallelBatchProcessor, Params, ReferenceError, StepResults};
}

/// The merge rules: how the states of replicas become one.
pub mod merge {
    pub use common::merge::{MergeRule, UnitCounts, UnitMaps};
}

/// The traits of models, and the registry of models by name.
pub mod model {
    pub use common::model::{
        Batch, DataShape, Model, ModelError, Parameter, Parameters, Random, Registry, Replica,
        TargetType, Targets,
    };
}

/// The results that a model reports: sums and counts over examples.
pub mod results {
    pub use common::results::{CONFUSION, CORRECT, LOSS, Results, WARNING};
}

/// The spec of a run: model, data, rounds, and everything else that its bits depend on.
pub mod spec {
    pub use common::spec::{
        DatasetSpec, EvaluationSpec, LabelColumns, Missing, Normalise, RunSpec, SpecError, Split,
        SplitBy, TargetKind, TestExamples,
    };
}

/// A network's transferable state: named tensors, each with its merge rule.
pub mod state {
    pub use common::digest::Digest;
    pub use common::state::{
        ElementType, FileTensors, Layout, Mapping, NetworkState, StateError, Tensor, TensorData,
        TensorLayout, adapt,
    };
    pub use coordinator::client::StateFile;
}
