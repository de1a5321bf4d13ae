//! A run's model, and the layout of its states: known before memory is reserved for a state.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use common::merge_rule::MergeRule;
use common::model::{DataShape, Model, ModelError, Registry};
use common::spec::RunSpec;
use common::state::{Layout, NetworkState};

use crate::server::text::panic_text;

/// See the [module](self).
#[derive(Clone)]
pub(in crate::server) struct Design {
    pub(in crate::server) model: Arc<dyn Model>,
    /// The layout of all states, with the spec's merge rules.
    pub(in crate::server) layout: Layout,
    rules: BTreeMap<String, MergeRule>,
    /// The spec as it is sent to workers: with all defaults.
    pub(in crate::server) spec: String,
}

impl std::fmt::Debug for Design {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Design").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Design {
    /// Makes the model of a spec. Panics of the model are caught.
    pub(in crate::server) fn new(
        registry: &Registry,
        spec: &RunSpec,
        shape: DataShape,
    ) -> Result<Self, String> {
        caught(|| {
            let model = registry.build(&spec.model, &spec.parameters, shape, spec.seed)?;
            let mut layout = model.layout()?;
            layout.validate()?;
            layout.set_rules(&spec.merge)?;
            let complete = spec.to_complete_toml(&model.parameters()).map_err(|error| {
                ModelError::Other(format!("with all defaults of its model, {error}"))
            })?;
            let rules = spec.merge.clone();
            Ok(Self { model: Arc::from(model), layout, rules, spec: complete })
        })
    }

    /// The model's initial state, with the spec's merge rules. It has as many bytes as the layout.
    pub(in crate::server) fn initial_state(&self) -> Result<NetworkState, String> {
        caught(|| {
            let mut state = self.model.initial_state()?;
            let same = self.layout.check_same_tensors(&state.layout());
            same.map_err(|error| ModelError::Changed { function: "initial_state", error })?;
            state.set_rules(&self.rules)?;
            state.check_finite()?;
            Ok(state)
        })
    }
}

fn caught<T>(make: impl FnOnce() -> Result<T, ModelError>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(make))
        .map_err(|panic| panic_text("the model panicked as it was made", &*panic))?
        .map_err(|error| error.to_string())
}
