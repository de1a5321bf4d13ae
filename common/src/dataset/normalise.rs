//! Scaling of features by what the training examples have.

use serde::{Deserialize, Serialize};

use super::error::{DatasetError, invalid};
use super::features::Features;
use crate::spec::Normalise;

/// What each feature is scaled by: `(value − shift) ÷ range`, in f64, then rounded to f32. `value`
/// is divided by the dataset's scale before, in f32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Normalisation {
    pub(super) shift: Vec<f64>,
    pub(super) range: Vec<f64>,
}

/// What a feature has in all examples.
#[derive(Clone, Copy)]
struct Values {
    /// The sum, in the order of the examples.
    sum: f64,
    least: f64,
    most: f64,
}

impl Normalisation {
    /// Of the training examples, `[examples, width]`. A feature that is the same in all examples
    /// becomes 0.
    pub(super) fn of(
        features: &Features,
        width: usize,
        scale: f32,
        how: Normalise,
    ) -> Option<Self> {
        if how == Normalise::None {
            return None;
        }
        let none = Values { sum: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY };
        let mut all = vec![none; width];
        features.each_example(width, |row| {
            for (values, value) in all.iter_mut().zip(row) {
                let value = f64::from(*value / scale);
                values.sum += value;
                (values.least, values.most) = (values.least.min(value), values.most.max(value));
            }
        });
        if how == Normalise::Minmax {
            return Some(Self {
                shift: all.iter().map(|values| values.least).collect(),
                range: all.iter().map(|values| range(values.most - values.least)).collect(),
            });
        }
        let examples = (features.len() / width.max(1)).max(1) as f64;
        let mean = |values: &Values| {
            if values.least == values.most { values.least } else { values.sum / examples }
        };
        let shift: Vec<f64> = all.iter().map(mean).collect();
        let mut squares = vec![0.0; width];
        features.each_example(width, |row| {
            for ((square, mean), value) in squares.iter_mut().zip(&shift).zip(row) {
                let difference = f64::from(*value / scale) - mean;
                *square += difference * difference;
            }
        });
        let range = squares.iter().map(|square: &f64| range((square / examples).sqrt())).collect();
        Some(Self { shift, range })
    }

    /// Checks what another program may have written.
    pub(super) fn check(&self, width: u64) -> Result<(), DatasetError> {
        let found = (self.shift.len() as u64, self.range.len() as u64);
        if found != (width, width) {
            let found = format!("{} shifts and {} ranges", found.0, found.1);
            return Err(invalid(format!("scales of {width} features"), found));
        }
        let is_range = |range: &f64| *range > 0.0 && range.is_finite();
        if !self.shift.iter().all(|shift| shift.is_finite()) || !self.range.iter().all(is_range) {
            return Err(invalid("finite shifts, and ranges above 0", "others"));
        }
        Ok(())
    }

    /// Scales all values, `[examples, width]`. The result needs no scale.
    pub(super) fn apply(&self, features: Features, scale: f32) -> Features {
        let scaled = |value: f32, (shift, range): (&f64, &f64)| {
            ((f64::from(value / scale) - shift) / range) as f32
        };
        let columns = || self.shift.iter().zip(&self.range);
        let width = self.shift.len().max(1);
        match features {
            Features::U8(values) => {
                let mut all = Vec::with_capacity(values.len());
                for row in values.chunks_exact(width) {
                    all.extend(row.iter().zip(columns()).map(|(it, of)| scaled((*it).into(), of)));
                }
                Features::F32(all)
            }
            Features::F32(mut values) => {
                for row in values.chunks_exact_mut(width) {
                    row.iter_mut().zip(columns()).for_each(|(it, of)| *it = scaled(*it, of));
                }
                Features::F32(values)
            }
            Features::Table(table) => Features::Table(
                table.scale(|at, value| scaled(value, (&self.shift[at], &self.range[at]))),
            ),
        }
    }
}

/// A range to divide by: 1 for none.
fn range(of: f64) -> f64 {
    if of > 0.0 { of } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(values: &[f32], how: Normalise) -> Vec<f32> {
        let features = Features::F32(values.to_vec());
        let found = Normalisation::of(&features, 2, 1.0, how).unwrap();
        let mut all = Vec::new();
        found.apply(features, 1.0).each_example(2, |row| all.extend_from_slice(row));
        all
    }

    #[test]
    fn features_are_scaled_each_by_its_own_values() {
        let values = [1.0, 7.0, 3.0, 7.0, 5.0, 7.0];
        assert_eq!(scaled(&values, Normalise::Minmax), [0.0, 0.0, 0.5, 0.0, 1.0, 0.0]);
        let two = (2.0 / (8.0f64 / 3.0).sqrt()) as f32;
        assert_eq!(scaled(&values, Normalise::Standard), [-two, 0.0, 0.0, 0.0, two, 0.0]);
        let bytes = Features::U8(vec![0, 10, 255, 30]);
        let found = Normalisation::of(&bytes, 2, 255.0, Normalise::Minmax).unwrap();
        assert_eq!(found.apply(bytes.clone(), 255.0), Features::F32(vec![0.0, 0.0, 1.0, 1.0]));
        assert_eq!(Normalisation::of(&bytes, 2, 1.0, Normalise::None), None);
        assert_eq!(bytes.largest(), 255.0);
    }

    #[test]
    fn values_stay_finite_whatever_they_are() {
        let most = f32::MAX;
        for values in [[most, 0.0, -most, 1e-45], [1e-45, 0.0, 0.0, 0.0], [most; 4]] {
            for how in [Normalise::Standard, Normalise::Minmax] {
                let found = scaled(&values, how);
                assert!(found.iter().all(|value| value.is_finite()), "{values:?}: {found:?}");
            }
        }
    }
}
