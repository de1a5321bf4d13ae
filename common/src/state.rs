//! [`NetworkState`]: a network's transferable state.
//!
//! [`Layout`] is a state without its numbers; a [`Segment`] is a part of it that fits into one
//! message. Files are safetensors.

mod adapt;
mod file;
mod layout;
mod number;
mod revision;
mod segment;
mod tensor;
pub(crate) mod values;

use std::collections::BTreeMap;

use ndarray::{ArrayD, ArrayViewMutD};
use rayon::prelude::*;

use crate::digest::Digest;
use crate::limits;
use crate::merge::MergeRule;

pub use adapt::{Mapping, MappingError, adapt};
pub use file::{FileTensors, as_file_tensors};
pub use layout::{Layout, Segment, TensorLayout};
pub use number::Number;
pub(crate) use number::for_element;
pub(crate) use revision::Revision;
pub use segment::shared_segment;
pub use tensor::{ElementType, Tensor, TensorData};

/// A network's transferable state: named tensors in the order of their names.
///
/// The *units* of a tensor (neurons, mostly) run along its last axis: a
/// `[n_inputs, n_neurons]` weight matrix has `n_neurons` units of `n_inputs`
/// values each.
#[derive(Clone, Debug, Default)]
pub struct NetworkState {
    tensors: BTreeMap<String, Tensor>,
    /// Replaced whenever `tensors` may change.
    revision: Revision,
}

impl PartialEq for NetworkState {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors
    }
}

/// An error of a state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A name is empty, too long, has characters outside `[A-Za-z0-9_.-]`, or is the name that
    /// safetensors files reserve.
    #[error("tensor name {0:?}: expected 1 to 128 of [A-Za-z0-9_.-], other than `__metadata__`")]
    Name(String),
    /// A shape has too many dimensions, a zero, or too many elements.
    #[error("tensor `{tensor}`: expected {expected}, found shape {found:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The expected value.
        expected: String,
        /// The value found.
        found: Vec<u64>,
    },
    /// A value is NaN or infinite.
    #[error("tensor `{tensor}` element {element}: expected a finite value, found {found}")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Index in row-major order.
        element: usize,
        /// The value found.
        found: f64,
    },
    /// The rule does not support the element type.
    #[error("tensor `{tensor}`: the rule `{rule}` does not support {element} elements")]
    Rule {
        /// The tensor.
        tensor: String,
        /// The rule.
        rule: MergeRule,
        /// The element type.
        element: ElementType,
    },
    /// Two states that should have the same tensors differ.
    #[error("the state does not fit: expected {expected}, found {found}")]
    Layout {
        /// The expected value, in words.
        expected: String,
        /// The value found, in words.
        found: String,
    },
    /// A segment's payload has the wrong length or content.
    #[error("segment {segment} of tensor `{tensor}`: expected {expected}, found {found}")]
    Segment {
        /// Index of the segment.
        segment: usize,
        /// The tensor.
        tensor: String,
        /// The expected value, in words.
        expected: String,
        /// The value found, in words.
        found: String,
    },
    /// The values of a safetensors file do not match the digest in its metadata.
    #[error(
        "{path}: expected a state with digest {expected:?}, as its metadata `samebit.digest` says, \
         found {found}: the file is damaged; if it was changed on purpose, remove that metadata"
    )]
    Digest {
        /// The file.
        path: String,
        /// The digest in its metadata.
        expected: String,
        /// The digest of its values.
        found: Digest,
    },
    /// A safetensors file cannot be read.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: String,
        /// Expected and found, in words.
        message: String,
    },
}

impl NetworkState {
    /// A state of these tensors. Checks names, shapes, rules and that all values are finite.
    pub fn new(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self, StateError> {
        let mut state = Self { revision: Revision::next(), ..Self::default() };
        for (name, mut tensor) in tensors {
            tensor.data.make_standard();
            if state.tensors.len() == limits::TENSORS {
                return Err(layout::too_many_tensors(limits::TENSORS + 1));
            }
            if state.tensors.insert(name.clone(), tensor).is_some() {
                return Err(StateError::Layout {
                    expected: "every tensor once".into(),
                    found: format!("`{name}` twice"),
                });
            }
        }
        state.layout().validate()?;
        state.check_finite()?;
        Ok(state)
    }

    /// A state of this layout, all zero, into which segments can be received.
    pub fn zeros(layout: &Layout) -> Result<Self, StateError> {
        layout.validate()?;
        let tensors = layout.tensors.iter().map(|tensor| {
            let data = TensorData::zeros(tensor.element, &tensor.shape);
            (tensor.name.clone(), Tensor { data, rule: tensor.rule })
        });
        Ok(Self { tensors: tensors.collect(), revision: Revision::next() })
    }

    /// What tells that this state has not changed.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The tensors in the order of their names.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The f32 tensor of this name.
    pub fn f32(&self, name: &str) -> Result<&ArrayD<f32>, StateError> {
        self.array(name)
    }

    /// The f32 tensor of this name, to change in place. Its shape stays.
    pub fn f32_mut(&mut self, name: &str) -> Result<ArrayViewMutD<'_, f32>, StateError> {
        self.array_mut(name)
    }

    /// The f64 tensor of this name.
    pub fn f64(&self, name: &str) -> Result<&ArrayD<f64>, StateError> {
        self.array(name)
    }

    /// The f64 tensor of this name, to change in place. Its shape stays.
    pub fn f64_mut(&mut self, name: &str) -> Result<ArrayViewMutD<'_, f64>, StateError> {
        self.array_mut(name)
    }

    /// The u64 tensor of this name.
    pub fn u64(&self, name: &str) -> Result<&ArrayD<u64>, StateError> {
        self.array(name)
    }

    /// The u64 tensor of this name, to change in place. Its shape stays.
    pub fn u64_mut(&mut self, name: &str) -> Result<ArrayViewMutD<'_, u64>, StateError> {
        self.array_mut(name)
    }

    /// The i64 tensor of this name.
    pub fn i64(&self, name: &str) -> Result<&ArrayD<i64>, StateError> {
        self.array(name)
    }

    /// The i64 tensor of this name, to change in place. Its shape stays.
    pub fn i64_mut(&mut self, name: &str) -> Result<ArrayViewMutD<'_, i64>, StateError> {
        self.array_mut(name)
    }

    /// The values of two different f32 tensors, to change in place.
    pub(crate) fn f32_pair_mut(&mut self, names: [&str; 2]) -> Result<[&mut [f32]; 2], StateError> {
        for name in names {
            self.f32(name)?;
        }
        let mut pair = [None, None];
        for (name, tensor) in &mut self.tensors {
            if let Some(place) = names.iter().position(|it| it == name) {
                pair[place] = Some(tensor.data.slice_mut());
            }
        }
        Ok(pair.map(|values| values.expect("two names, just found")))
    }

    fn array<T: Number>(&self, name: &str) -> Result<&ArrayD<T>, StateError> {
        let found = self.tensors.get(name).map(|tensor| &tensor.data);
        found.and_then(T::array).ok_or_else(|| self.no_tensor(T::ELEMENT, name, found))
    }

    fn array_mut<T: Number>(&mut self, name: &str) -> Result<ArrayViewMutD<'_, T>, StateError> {
        self.array::<T>(name)?;
        self.revision = Revision::next();
        let found = self.tensors.get_mut(name).and_then(|tensor| T::array_mut(&mut tensor.data));
        Ok(found.expect("just found").view_mut())
    }

    fn no_tensor(
        &self,
        element: ElementType,
        name: &str,
        found: Option<&TensorData>,
    ) -> StateError {
        let expected = format!("an {element} tensor `{name}`");
        let found = match found {
            Some(data) => format!("an {} tensor of that name", data.element()),
            None if self.tensors.is_empty() => "no tensors".into(),
            None => format!("the tensors {}", self.names()),
        };
        StateError::Layout { expected, found }
    }

    /// All names, comma separated, for errors.
    fn names(&self) -> String {
        self.tensors.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }

    /// Replaces merge rules by tensor name. If one is not valid, none is replaced.
    pub fn set_rules(&mut self, rules: &BTreeMap<String, MergeRule>) -> Result<(), StateError> {
        let mut layout = self.layout();
        layout.set_rules(rules)?;
        self.revision = Revision::next();
        for (tensor, layout) in self.tensors.values_mut().zip(&layout.tensors) {
            tensor.rule = layout.rule;
        }
        Ok(())
    }

    /// The state without its numbers.
    pub fn layout(&self) -> Layout {
        let tensors = self.tensors.iter().map(|(name, tensor)| TensorLayout {
            name: name.clone(),
            shape: tensor.data.shape().iter().map(|axis| *axis as u64).collect(),
            element: tensor.data.element(),
            rule: tensor.rule,
        });
        Layout { tensors: tensors.collect() }
    }

    /// Copies values and rules from a state with the same names, shapes and element types,
    /// without allocating.
    pub fn copy_from(&mut self, other: &Self) -> Result<(), StateError> {
        self.check_same_tensors(other)?;
        self.revision = other.revision;
        for (own, other) in self.tensors.values_mut().zip(other.tensors.values()) {
            own.rule = other.rule;
            for_element!(other.data.element(), T => {
                own.data.slice_mut::<T>().copy_from_slice(other.data.slice::<T>());
            });
        }
        Ok(())
    }

    /// The values of a tensor, in row-major order, in exchange for as many others.
    ///
    /// # Panics
    /// There is no such tensor, or it has another type or number of values.
    pub(crate) fn exchange_values<T: Number>(&mut self, name: &str, others: Vec<T>) -> Vec<T> {
        self.revision = Revision::next();
        let tensor = self.tensors.get_mut(name).expect("a tensor of the state");
        let array = T::array_mut(&mut tensor.data).expect("a tensor of this type");
        let length = array.len();
        let others = ArrayD::from_shape_vec(array.raw_dim(), others).expect("as many values");
        let (values, first) = std::mem::replace(array, others).into_raw_vec_and_offset();
        match first {
            None | Some(0) if values.len() == length => values,
            // An array may own more than it shows.
            first => values.into_iter().skip(first.unwrap_or(0)).take(length).collect(),
        }
    }

    /// Checks that `other` has the same names, shapes and element types.
    pub fn check_same_tensors(&self, other: &Self) -> Result<(), StateError> {
        let is_same =
            |((name, own), (other_name, other)): ((&String, &Tensor), (&String, &Tensor))| {
                let (own, other) = (&own.data, &other.data);
                let same_type = own.element() == other.element();
                name == other_name && same_type && own.shape() == other.shape()
            };
        if self.tensors.len() == other.tensors.len()
            && self.tensors.iter().zip(&other.tensors).all(is_same)
        {
            return Ok(());
        }
        self.layout().check_same_tensors(&other.layout())
    }

    /// Bytes of all tensors' numbers.
    pub fn bytes(&self) -> u64 {
        let bytes = |data: &TensorData| (data.len() * data.element().bytes()) as u64;
        self.tensors.values().map(|tensor| bytes(&tensor.data)).sum()
    }

    /// The canonical digest: names, shapes, types, rules and the bits of every
    /// value. SHA-256 over the layout ([`Layout::encode`]) and the SHA-256 of
    /// each state segment's little-endian bytes, in order, so that it is
    /// computed in parallel.
    pub fn digest(&self) -> Digest {
        let layout = self.layout();
        let segments = layout.state_segments();
        let leaves: Vec<Digest> =
            segments.par_iter().map(|segment| Digest::of(&self.segment_bytes(segment))).collect();
        Digest::of_digests(&layout.encode(), &leaves)
    }

    /// Checks that every f32 and f64 is finite.
    pub fn check_finite(&self) -> Result<(), StateError> {
        for (name, tensor) in &self.tensors {
            let found = for_element!(tensor.data.element(), T => {
                let values = tensor.data.slice::<T>();
                values::first_not_finite(values).map(|place| (place, values[place].to_f64()))
            });
            if let Some((element, found)) = found {
                return Err(StateError::NotFinite { tensor: name.clone(), element, found });
            }
        }
        Ok(())
    }

    /// The tensor at an index of the layout, to which segments refer.
    pub(crate) fn tensor_at(&self, place: usize) -> (&str, &Tensor) {
        let (name, tensor) = self.tensors.iter().nth(place).expect("the segment is of this layout");
        (name, tensor)
    }

    /// The tensor at a place of the layout, to change.
    pub(crate) fn tensor_at_mut(&mut self, place: usize) -> &mut Tensor {
        self.revision = Revision::next();
        self.tensors.values_mut().nth(place).expect("the segment is of this layout")
    }
}

#[cfg(test)]
mod tests;
