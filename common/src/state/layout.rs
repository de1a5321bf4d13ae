//! [`Layout`]: a state without its numbers, and its division into segments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ElementType, StateError};
use crate::limits;
use crate::merge::MergeRule;

/// Name, shape, element type and rule of one tensor: a tensor without its
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorLayout {
    /// The tensor's name.
    pub name: String,
    /// Its shape; the last axis runs over units.
    pub shape: Vec<u64>,
    /// The type of its elements.
    pub element: ElementType,
    /// Its merge rule.
    pub rule: MergeRule,
}

/// A state without its numbers: the tensors in order of their names. From it, both sides of the
/// wire derive the same segments of a state or a partial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// In the order of the names.
    pub tensors: Vec<TensorLayout>,
}

/// A range of one tensor that fits into one data message.
///
/// For a tensor whose rule works unit by unit (`mean_by`, `fold`) a *merge*
/// segment is a range of units, for any other a range of elements; a *state*
/// segment is always a range of elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index of the tensor in the layout.
    pub tensor: usize,
    /// Elements or units.
    pub range: std::ops::Range<usize>,
}

/// Prefix of [`Layout::encode`], so that the digest of something else, or of another version of
/// the encoding, is not mistaken for a state's.
const ENCODING: &[u8] = b"samebit-state-1\n";

/// Most bytes of the values of one unit under a rule that works unit by unit: a unit fits into one
/// message, with its number and its count or factor.
const UNIT_BYTES: usize = limits::PAYLOAD_BYTES - 16;

impl Layout {
    /// The layout of these tensors, in the order of their names. Checks it.
    pub fn new(tensors: impl IntoIterator<Item = TensorLayout>) -> Result<Self, StateError> {
        let mut tensors: Vec<TensorLayout> = tensors.into_iter().collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let layout = Self { tensors };
        layout.validate()?;
        Ok(layout)
    }

    /// Replaces merge rules by tensor name. If one is not valid, none is replaced.
    pub fn set_rules(&mut self, rules: &BTreeMap<String, MergeRule>) -> Result<(), StateError> {
        let mut changed = self.clone();
        for (name, rule) in rules {
            match changed.tensors.iter_mut().find(|tensor| tensor.name == *name) {
                Some(tensor) => tensor.rule = *rule,
                None => {
                    return Err(StateError::Layout {
                        expected: format!("a rule for one of the tensors {}", self.names()),
                        found: format!("a rule for `{name}`"),
                    });
                }
            }
        }
        changed.validate()?;
        *self = changed;
        Ok(())
    }

    /// Checks that `other` has the same names, shapes and element types.
    pub fn check_same_tensors(&self, other: &Self) -> Result<(), StateError> {
        let (expected, found) = (self.tensors.len(), other.tensors.len());
        if expected != found {
            return Err(StateError::Layout {
                expected: format!("the {expected} tensors {}", self.names()),
                found: format!("the {found} tensors {}", other.names()),
            });
        }
        for (own, other) in self.tensors.iter().zip(&other.tensors) {
            if (&own.name, own.element, &own.shape) != (&other.name, other.element, &other.shape) {
                let describe =
                    |it: &TensorLayout| format!("`{}` of {} {:?}", it.name, it.element, it.shape);
                return Err(StateError::Layout { expected: describe(own), found: describe(other) });
            }
        }
        Ok(())
    }

    /// Checks that `other` has the same tensors under the same rules.
    pub fn check_same(&self, other: &Self) -> Result<(), StateError> {
        self.check_same_tensors(other)?;
        for (own, other) in self.tensors.iter().zip(&other.tensors) {
            if own.rule != other.rule {
                return Err(StateError::Layout {
                    expected: format!("`{}` under the rule `{}`", own.name, own.rule),
                    found: format!("`{}`", other.rule),
                });
            }
        }
        Ok(())
    }

    /// All names, comma separated, for errors.
    fn names(&self) -> String {
        let names = self.tensors.iter().map(|tensor| format!("`{}`", tensor.name));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Checks names, order, shapes, rules and sizes that a peer sent.
    pub fn validate(&self) -> Result<(), StateError> {
        if self.tensors.len() > limits::TENSORS {
            return Err(too_many_tensors(self.tensors.len()));
        }
        for tensor in &self.tensors {
            tensor.validate()?;
        }
        for pair in self.tensors.windows(2) {
            if pair[0].name >= pair[1].name {
                return Err(StateError::Layout {
                    expected: "every tensor once, in the order of the names".into(),
                    found: format!("`{}` before `{}`", pair[0].name, pair[1].name),
                });
            }
        }
        let elements: u64 = self.tensors.iter().map(|tensor| tensor.elements() as u64).sum();
        if elements > limits::STATE_ELEMENTS {
            return Err(StateError::Layout {
                expected: format!("at most {} elements in all tensors", limits::STATE_ELEMENTS),
                found: format!("{elements}"),
            });
        }
        let segments = self.merge_segments().len();
        if segments > limits::MERGE_SEGMENTS {
            return Err(StateError::Layout {
                expected: format!("at most {} merge segments", limits::MERGE_SEGMENTS),
                found: format!("{segments}: make the state smaller"),
            });
        }
        Ok(())
    }

    /// Bytes of all tensors' numbers.
    pub fn bytes(&self) -> u64 {
        let bytes =
            |tensor: &TensorLayout| tensor.elements().saturating_mul(tensor.element.bytes());
        self.tensors.iter().fold(0, |sum, tensor| sum.saturating_add(bytes(tensor) as u64))
    }

    /// The segments of a state for the wire and the digest: element ranges of at most
    /// [`crate::limits::PAYLOAD_BYTES`].
    pub fn state_segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (place, tensor) in self.tensors.iter().enumerate() {
            let longest = limits::PAYLOAD_BYTES / tensor.element.bytes();
            cut(place, tensor.elements(), longest, &mut segments);
        }
        segments
    }

    /// The segments in which partials are sent and merged: ranges of elements, or of units if
    /// the rule works unit by unit. A replica's contribution to a segment never exceeds
    /// [`crate::limits::PAYLOAD_BYTES`]. There are as few segments as that allows, of even
    /// lengths, so that they take equally long. Tensors under `keep` have none.
    pub fn merge_segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (place, tensor) in self.tensors.iter().enumerate() {
            let (length, longest) = match tensor.rule {
                MergeRule::Keep => continue,
                MergeRule::MeanBy | MergeRule::Fold => {
                    (tensor.units(), (limits::PAYLOAD_BYTES - 4) / tensor.encoded_unit_bytes())
                }
                MergeRule::Mean | MergeRule::Sum | MergeRule::Max => {
                    (tensor.elements(), limits::PAYLOAD_BYTES / tensor.element.bytes())
                }
            };
            let pieces = length.div_ceil(longest).max(1);
            cut(place, length, length.div_ceil(pieces).max(1), &mut segments);
        }
        segments
    }

    /// The canonical encoding, for digests. All numbers little-endian: the 16
    /// bytes `samebit-state-1\n`; number of tensors, u32; for each tensor the
    /// length of its name, u32, its name, its element type, u8 (0 f32, 1 u64,
    /// 2 f64, 3 i64), its rule, u8 (0 mean, 1 mean_by, 2 sum, 3 max, 4 fold,
    /// 5 keep), the number of its axes, u32, and the length of each, u64.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ENCODING.to_vec();
        out.extend((self.tensors.len() as u32).to_le_bytes());
        for tensor in &self.tensors {
            out.extend((tensor.name.len() as u32).to_le_bytes());
            out.extend(tensor.name.as_bytes());
            out.push(match tensor.element {
                ElementType::F32 => 0,
                ElementType::U64 => 1,
                ElementType::F64 => 2,
                ElementType::I64 => 3,
            });
            out.push(match tensor.rule {
                MergeRule::Mean => 0,
                MergeRule::MeanBy => 1,
                MergeRule::Sum => 2,
                MergeRule::Max => 3,
                MergeRule::Fold => 4,
                MergeRule::Keep => 5,
            });
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            out.extend(tensor.shape.iter().flat_map(|axis| axis.to_le_bytes()));
        }
        out
    }
}

/// Divides `0..length` of a tensor into ranges of at most `longest`.
fn cut(tensor: usize, length: usize, longest: usize, segments: &mut Vec<Segment>) {
    let starts = (0..length).step_by(longest);
    segments
        .extend(starts.map(|start| Segment { tensor, range: start..length.min(start + longest) }));
}

pub(super) fn too_many_tensors(found: usize) -> StateError {
    StateError::Layout {
        expected: format!("at most {} tensors", limits::TENSORS),
        found: format!("{found}"),
    }
}

impl TensorLayout {
    /// One tensor; the last axis of `shape` runs over units.
    pub fn new(name: &str, element: ElementType, shape: &[usize], rule: MergeRule) -> Self {
        let shape = shape.iter().map(|axis| *axis as u64).collect();
        Self { name: name.to_owned(), shape, element, rule }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, axis| product.saturating_mul(*axis as usize))
    }

    /// Number of units: the length of the last axis (1 for a scalar).
    pub fn units(&self) -> usize {
        self.shape.last().copied().unwrap_or(1) as usize
    }

    /// Values of one unit.
    pub fn unit_len(&self) -> usize {
        self.elements() / self.units().max(1)
    }

    /// Bytes of one unit in an encoded merge segment, for the rules that work
    /// unit by unit.
    pub(crate) fn encoded_unit_bytes(&self) -> usize {
        let bytes = self.element.bytes();
        let factor = if self.rule == MergeRule::MeanBy { 8 } else { bytes };
        4 + factor + bytes * self.unit_len()
    }

    fn validate(&self) -> Result<(), StateError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let length = self.name.len();
        if !(1..=limits::NAME_BYTES).contains(&length)
            || !self.name.bytes().all(allowed)
            || self.name == "__metadata__"
        {
            return Err(StateError::Name(self.name.chars().take(limits::NAME_BYTES).collect()));
        }
        let shape_error = |expected: String| StateError::Shape {
            tensor: self.name.clone(),
            expected,
            found: self.shape.iter().copied().take(limits::DIMENSIONS + 1).collect(),
        };
        if !(1..=limits::DIMENSIONS).contains(&self.shape.len()) {
            return Err(shape_error(format!(
                "1 to {} axes (a scalar has shape [1])",
                limits::DIMENSIONS
            )));
        }
        if self.shape.contains(&0) {
            return Err(shape_error("axes of length 1 or more".into()));
        }
        if self.elements() as u64 > limits::STATE_ELEMENTS {
            return Err(shape_error(format!("at most {} elements", limits::STATE_ELEMENTS)));
        }
        let is_exact = matches!(self.rule, MergeRule::Sum | MergeRule::Max | MergeRule::Keep);
        if !self.element.is_real() && !is_exact {
            return Err(StateError::Rule {
                tensor: self.name.clone(),
                rule: self.rule,
                element: self.element,
            });
        }
        // A unit is never divided: it must fit into one message.
        let longest = UNIT_BYTES / self.element.bytes();
        if self.rule.by_unit() && self.unit_len() > longest {
            return Err(shape_error(format!(
                "at most {longest} values in a unit (all axes but the last), as the rule \
                 `{}` works unit by unit",
                self.rule
            )));
        }
        Ok(())
    }
}
