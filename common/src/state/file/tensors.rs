//! [`FileTensors`]: what a safetensors file has, which any program may have written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ndarray::ArrayD;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::super::{Layout, NetworkState, Number, StateError, Tensor, TensorData};
use super::numbers::{self, Misfit};
use super::{DIGEST, default_rule};
use super::{check_digest, file_error, layout_of, metadata_of, read_header, rule_given};
use crate::digest::Digest;
use crate::limits;
use crate::merge::MergeRule;
use crate::state::ElementType;

/// The tensors of a file, as the file has them. [`adapt`](crate::state::adapt) makes a model's
/// state of them.
#[derive(Clone, Debug)]
pub struct FileTensors {
    /// The file, as it is named in errors.
    pub(in crate::state) path: String,
    pub(in crate::state) tensors: BTreeMap<String, FileTensor>,
}

/// One tensor of a file.
#[derive(Clone, Debug)]
pub(in crate::state) struct FileTensor {
    pub(in crate::state) dtype: Dtype,
    pub(in crate::state) shape: Vec<usize>,
    /// The rule in the file's metadata.
    pub(in crate::state) rule: Option<MergeRule>,
    bytes: Vec<u8>,
}

impl FileTensors {
    /// Reads a file. If its metadata has a digest of its tensors, it is checked.
    pub fn load(path: &Path) -> Result<Self, StateError> {
        let file = File::open(path).map_err(|error| file_error(path, error.to_string()))?;
        let (mut file, header) = read_header(path, file)?;
        let infos: BTreeMap<String, &TensorInfo> = header.tensors().into_iter().collect();
        let elements = |info: &&TensorInfo| info.shape.iter().product::<usize>() as u64;
        let all = infos.values().map(elements).fold(0, u64::saturating_add);
        if all > limits::STATE_ELEMENTS {
            let most = limits::STATE_ELEMENTS;
            let message = format!("expected at most {most} elements in all tensors, found {all}");
            return Err(file_error(path, message));
        }
        let mut order: Vec<&String> = infos.keys().collect();
        order.sort_by_key(|name| infos[*name].data_offsets);
        let mut tensors = BTreeMap::new();
        for name in order {
            let info = infos[name];
            let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
            file.read_exact(&mut bytes).map_err(|error| {
                file_error(path, format!("tensor `{}`: {error}", name.escape_debug()))
            })?;
            let rule = rule_given(path, &header, name)?;
            let shape = info.shape.clone();
            tensors.insert(name.clone(), FileTensor { dtype: info.dtype, shape, rule, bytes });
        }
        let found = Self { path: path.display().to_string(), tensors };
        found.check_digest(path, &header)?;
        Ok(found)
    }

    /// Checks the digest in a file's metadata, which a file of Samebit has. One with numbers of
    /// other types was changed since, and is not checked.
    fn check_digest(&self, path: &Path, header: &Metadata) -> Result<(), StateError> {
        let is_own = |tensor: &FileTensor| element_of(tensor.dtype).is_some();
        if metadata_of(header, DIGEST).is_none() || !self.tensors.values().all(is_own) {
            return Ok(());
        }
        let (layout, _) = layout_of(path, header)?;
        let segments = layout.state_segments();
        let tensors: Vec<&FileTensor> = self.tensors.values().collect();
        let leaf = |segment: &super::super::Segment| {
            let size = layout.tensors[segment.tensor].element.bytes();
            let range = segment.range.start * size..segment.range.end * size;
            Digest::of(&tensors[segment.tensor].bytes[range])
        };
        let leaves: Vec<Digest> = segments.par_iter().map(leaf).collect();
        check_digest(path, header, || Digest::of_digests(&layout.encode(), &leaves))
    }

    /// The state that these tensors are by themselves, without a model: those that Samebit wrote (they
    /// have a rule) as they are; of others, whole numbers as u64, and the rest as f32. With a sentence
    /// about each kind of change.
    pub fn into_state(self) -> Result<(NetworkState, Vec<String>), StateError> {
        let (mut tensors, mut messages) = (Vec::new(), Vec::new());
        for (name, tensor) in self.tensors {
            let element = tensor.own_element();
            let rule = tensor.rule.unwrap_or_else(|| default_rule(element));
            let layout = super::super::TensorLayout::new(&name, element, &tensor.shape, rule);
            let (dtype, shown) = (tensor.dtype, name.escape_debug().to_string());
            let read = Layout::new([layout]).map_err(|error| error.to_string()).and_then(|_| {
                tensor.data(element, false).map_err(|misfit| misfit_text(&shown, element, &misfit))
            });
            match read {
                Ok(data) => {
                    if dtype != own_type(element) {
                        messages.push(format!("converted from {dtype:?} to {element}: `{shown}`"));
                    }
                    tensors.push((name, Tensor { data, rule }));
                }
                Err(error) => messages.push(format!("`{shown}` is left out: {error}")),
            }
        }
        let messages = messages.into_iter().map(|it| format!("{}: {it}", self.path)).collect();
        Ok((NetworkState::new(tensors)?, messages))
    }
}

/// The tensors of a state in memory as [`adapt`](crate::state::adapt) takes them, as if they were
/// read from a file. `name` stands for the file in errors. Without `rules`, each tensor is merged by
/// the rule of the model, whatever its own is.
pub fn as_file_tensors(name: &str, state: &NetworkState, rules: bool) -> FileTensors {
    let layout = state.layout();
    let mut bytes: Vec<Vec<u8>> = vec![Vec::new(); layout.tensors.len()];
    for segment in layout.state_segments() {
        bytes[segment.tensor].extend_from_slice(&state.segment_bytes(&segment));
    }
    let tensors = layout.tensors.into_iter().zip(bytes).map(|(tensor, bytes)| {
        let dtype = own_type(tensor.element);
        let shape = tensor.shape.iter().map(|axis| *axis as usize).collect();
        let rule = rules.then_some(tensor.rule);
        (tensor.name, FileTensor { dtype, shape, rule, bytes })
    });
    FileTensors { path: name.into(), tensors: tensors.collect() }
}

/// The type that tensors of this element type have in files of Samebit.
pub(in crate::state) fn own_type(element: ElementType) -> Dtype {
    match element {
        ElementType::F32 => Dtype::F32,
        ElementType::U64 => Dtype::U64,
        ElementType::F64 => Dtype::F64,
        ElementType::I64 => Dtype::I64,
    }
}

/// The element type that has this type in files of Samebit.
pub(in crate::state) fn element_of(dtype: Dtype) -> Option<ElementType> {
    match dtype {
        Dtype::F32 => Some(ElementType::F32),
        Dtype::U64 => Some(ElementType::U64),
        Dtype::F64 => Some(ElementType::F64),
        Dtype::I64 => Some(ElementType::I64),
        _ => None,
    }
}

/// The sentence about a value that does not fit.
pub(in crate::state) fn misfit_text(name: &str, element: ElementType, misfit: &Misfit) -> String {
    let expected = match element {
        ElementType::F32 => "a finite value that f32 can hold",
        ElementType::U64 => "a whole number from 0, as a counter is",
        ElementType::F64 => "a finite value",
        ElementType::I64 => "a whole number that i64 can hold",
    };
    format!("tensor `{name}` element {}: expected {expected}, found {}", misfit.0, misfit.1)
}

impl FileTensor {
    /// The numbers as counters; none if they are not all counters.
    pub(in crate::state) fn counters(&self) -> Vec<u64> {
        numbers::to_u64(self.dtype, &self.bytes).unwrap_or_default()
    }

    /// The numbers as a model has them, transposed (a matrix) or not. They are in row-major order.
    pub(in crate::state) fn data(
        self,
        element: ElementType,
        transposed: bool,
    ) -> Result<TensorData, Misfit> {
        let mut shape = self.shape;
        if shape.is_empty() {
            // A scalar.
            shape.push(1);
        }
        let rows = if transposed { shape.first().copied() } else { None };
        if transposed {
            shape.reverse();
        }
        let (dtype, bytes) = (self.dtype, &self.bytes);
        Ok(match element {
            ElementType::F32 => tensor(shape, rows, numbers::to_f32(dtype, bytes)?),
            ElementType::U64 => tensor(shape, rows, numbers::to_u64(dtype, bytes)?),
            ElementType::F64 => tensor(shape, rows, numbers::to_f64(dtype, bytes)?),
            ElementType::I64 => tensor(shape, rows, numbers::to_i64(dtype, bytes)?),
        })
    }

    /// The element type without a model.
    fn own_element(&self) -> ElementType {
        match (self.rule, element_of(self.dtype)) {
            (Some(_), Some(element)) => element,
            _ if numbers::is_whole(self.dtype) => ElementType::U64,
            _ => ElementType::F32,
        }
    }
}

/// A tensor of a file's values. `rows` is that of a matrix that is to be transposed.
fn tensor<T: Number>(shape: Vec<usize>, rows: Option<usize>, values: Vec<T>) -> TensorData {
    // The shape has as many elements as the file has numbers: its header was checked.
    let array = ArrayD::from_shape_vec(shape, in_columns(values, rows));
    T::tensor(array.expect("a tensor's bytes are those of its shape"))
}

/// A matrix of so many rows, column by column; without that, the values as they are.
fn in_columns<T: Copy>(values: Vec<T>, rows: Option<usize>) -> Vec<T> {
    let Some(rows) = rows.filter(|rows| *rows > 1) else { return values };
    let columns = values.len() / rows;
    let place = |column: usize| (0..rows).map(move |row| row * columns + column);
    (0..columns).flat_map(place).map(|at| values[at]).collect()
}
