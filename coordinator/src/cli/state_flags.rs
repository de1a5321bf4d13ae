//! States that commands begin with, which any program may have written.

use std::path::Path;

use clap::Args;
use common::dataset::Schema;
use common::spec::RunSpec;
use common::state::Mapping;

use super::exit::Failure;
use crate::client::{InitialState, StateFile};

/// How the tensors of a state's file become those of a model.
#[derive(Debug, Default, Args)]
pub(super) struct MapFlags {
    /// Take the state's tensor of another name for one of the model, as in
    /// 'layer1.weights=fc1.weight^T'; ^T transposes it
    #[arg(long, value_name = "TENSOR=NAME")]
    pub(super) map: Vec<Mapping>,
}

/// Where a state comes from, if its file says so.
#[derive(Debug)]
pub(super) struct Origin {
    /// The spec of its run.
    pub(super) spec: Option<RunSpec>,
    /// What its data meant.
    pub(super) schema: Option<Schema>,
}

/// Reads the state that a command begins with.
pub(super) fn initial_state(
    path: &Path,
    flags: &MapFlags,
) -> Result<(InitialState, Origin), Failure> {
    let StateFile { tensors, spec, schema, .. } =
        StateFile::load(path).map_err(Failure::bad_input)?;
    let state = InitialState { tensors, map: flags.map.clone(), known: None };
    Ok((state, Origin { spec, schema }))
}
