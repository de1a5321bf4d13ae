//! Calls the model's final functions on a state, and checks that they keep the layout, on which all
//! later steps rely.

use super::{Model, ModelError};
use crate::results::Results;
use crate::state::{Layout, NetworkState};

/// Lets the model finish a merged state of the round that began from `base`.
pub fn finalise(
    model: &dyn Model,
    base: &NetworkState,
    state: &mut NetworkState,
) -> Result<(), ModelError> {
    model.finish_round(base, state)?;
    check(&base.layout(), state, "finish_round")
}

/// Lets the model write the labels that it derives from a labelling's results.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge_rule::MergeRule;
    use crate::model::Replica;
    use crate::state::{Tensor, TensorData};

    fn state(values: &[f32]) -> NetworkState {
        let data = TensorData::F32(ndarray::arr1(&vec![0.0; values.len()]).into_dyn());
        let tensor = Tensor { data, rule: MergeRule::Mean };
        let mut state = NetworkState::new([("w".into(), tensor)]).unwrap();
        // What a model leaves may be anything.
        state.f32_mut("w").unwrap().assign(&ndarray::arr1(values).into_dyn());
        state
    }

    /// Writes these values in every function.
    struct Leaves(&'static [f32]);

    impl Model for Leaves {
        fn layout(&self) -> Result<Layout, ModelError> {
            Ok(state(&[0.0]).layout())
        }

        fn initial_state(&self) -> Result<NetworkState, ModelError> {
            Ok(state(&[0.0]))
        }

        fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
            Err(ModelError::NoLabels)
        }

        fn replica_bytes(&self) -> u64 {
            0
        }

        fn finish_round(
            &self,
            _: &NetworkState,
            left: &mut NetworkState,
        ) -> Result<(), ModelError> {
            *left = state(self.0);
            Ok(())
        }

        fn finish_labelling(&self, left: &mut NetworkState, _: &Results) -> Result<(), ModelError> {
            *left = state(self.0);
            Ok(())
        }
    }

    #[test]
    fn the_last_word_is_on_values_and_not_on_what_a_state_consists_of() {
        let base = state(&[0.0]);
        let last_words = |model: &Leaves| {
            let round = finalise(model, &base, &mut base.clone());
            [round, label(model, &mut base.clone(), &Results::default())]
        };
        for (word, function) in last_words(&Leaves(&[1.0, 2.0])).into_iter().zip(FUNCTIONS) {
            assert!(
                matches!(word, Err(ModelError::Changed { function: found, .. })
                if found == function),
                "{function}: {word:?}"
            );
        }
        for word in last_words(&Leaves(&[f32::NAN])) {
            assert!(matches!(word, Err(ModelError::State(_))), "{word:?}");
        }
        assert!(last_words(&Leaves(&[1.0])).iter().all(Result::is_ok));
    }

    const FUNCTIONS: [&str; 2] = ["finish_round", "finish_labelling"];
}
