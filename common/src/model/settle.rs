//! The model's last word on a state, checked: what all later steps rely on.

use super::{Model, ModelError};
use crate::results::Results;
use crate::state::{Layout, NetworkState};

/// Lets the model settle a merged state of the round that began from `base`.
pub fn settle(
    model: &dyn Model,
    base: &NetworkState,
    state: &mut NetworkState,
) -> Result<(), ModelError> {
    model.finish_round(base, state)?;
    check(&base.layout(), state, "finish_round")
}

/// Lets the model write the labels that it reads from a labelling's results.
pub fn label(
    model: &dyn Model,
    state: &mut NetworkState,
    results: &Results,
) -> Result<(), ModelError> {
    let layout = state.layout();
    model.finish_labelling(state, results)?;
    check(&layout, state, "finish_labelling")
}

fn check(layout: &Layout, state: &NetworkState, function: &'static str) -> Result<(), ModelError> {
    let same = layout.check_same(&state.layout());
    same.map_err(|error| ModelError::Changed { function, error })?;
    Ok(state.check_finite()?)
}
