//! The model's part after a merge (`finish_round`), and after a labelling
//! (`finish_labelling`).

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::model::{self, Model};
use common::results::Results;
use common::state::NetworkState;

use crate::server::text::panic_text;

/// The merged state after the model has finalised it.
///
/// # Errors
/// The model failed, or made a state with a wrong layout.
pub(super) fn finalise(
    model: &dyn Model,
    base: &NetworkState,
    mut state: NetworkState,
) -> Result<Box<NetworkState>, String> {
    let run = || model::finalise(model, base, &mut state).map_err(|error| error.to_string());
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(panic_text("the model panicked in finish_round", &*panic)))?;
    Ok(Box::new(state))
}

/// The base with the labels that the model derives from a labelling's results. `spare` is the
/// memory of an earlier state.
///
/// # Errors
/// As for [`finalise`].
pub(super) fn label(
    model: &dyn Model,
    base: &NetworkState,
    spare: Option<NetworkState>,
    results: &Results,
) -> Result<Box<NetworkState>, String> {
    let reused = spare.and_then(|mut spare| spare.copy_from(base).ok().map(|()| spare));
    let mut state = reused.unwrap_or_else(|| base.clone());
    let label = || model::label(model, &mut state, results).map_err(|error| error.to_string());
    catch_unwind(AssertUnwindSafe(label)).unwrap_or_else(|panic| {
        Err(panic_text("the model panicked in finish_labelling", &*panic))
    })?;
    Ok(Box::new(state))
}
