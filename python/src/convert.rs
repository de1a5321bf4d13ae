//! Arrays of numpy, as bytes with a type and a shape, and tensors and examples here. All bytes are
//! copied while Python waits, so that nobody can change them later.

use std::sync::Arc;

use bytemuck::AnyBitPattern;
use common::dataset::{ArrayTargets, Arrays, Features, SplitArrays};
use common::merge::MergeRule;
use common::state::{NetworkState, Number, Tensor, TensorData};
use ndarray::ArrayD;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::error::Error;

/// A tensor from Python: name, type, shape, bytes, and the name of its merge rule if it has one.
pub(crate) type TensorIn<'py> = (String, String, Vec<usize>, Bound<'py, PyBytes>, Option<String>);

/// The same for Python.
pub(crate) type TensorOut<'py> = (String, &'static str, Vec<usize>, Bound<'py, PyBytes>, String);

/// One split from Python: its name in errors, type, shape and bytes; the name of the targets in
/// errors, their kind, the values, and how many there are for each example.
pub(crate) type SplitIn<'py> =
    (String, String, Vec<u64>, Bound<'py, PyBytes>, String, String, Bound<'py, PyAny>, u32);

/// A state, and whether all of its tensors came with rules.
pub(crate) fn state_of(tensors: Vec<TensorIn<'_>>) -> Result<(NetworkState, bool), Error> {
    let has_rules = !tensors.is_empty() && tensors.iter().all(|tensor| tensor.4.is_some());
    let mut all = Vec::with_capacity(tensors.len());
    for (name, dtype, shape, bytes, rule) in tensors {
        let bytes = bytes.as_bytes();
        let data = match dtype.as_str() {
            "float32" => tensor::<f32>(&name, shape, bytes),
            "float64" => tensor::<f64>(&name, shape, bytes),
            "uint64" => tensor::<u64>(&name, shape, bytes),
            "int64" => tensor::<i64>(&name, shape, bytes),
            _ => Err(Error::BadInput(format!(
                "tensor `{name}`: expected numbers of float32, float64, uint64 or int64, found \
                 {dtype}: convert it with .astype(\"float32\")"
            ))),
        }?;
        let rule = match rule {
            Some(rule) => rule_of(&name, &rule)?,
            None if data.element().is_real() => MergeRule::Mean,
            None => MergeRule::Sum,
        };
        all.push((name, Tensor { data, rule }));
    }
    Ok((NetworkState::new(all)?, has_rules))
}

fn tensor<T: Number + AnyBitPattern>(
    name: &str,
    shape: Vec<usize>,
    bytes: &[u8],
) -> Result<TensorData, Error> {
    let values = collect::<T>(bytes);
    let array = ArrayD::from_shape_vec(shape, values)
        .map_err(|error| Error::BadInput(format!("tensor `{name}`: {error}")))?;
    Ok(T::tensor(array))
}

fn rule_of(name: &str, rule: &str) -> Result<MergeRule, Error> {
    serde_json::from_value(rule.into()).map_err(|_| {
        Error::BadInput(format!(
            "tensor `{name}`: expected the rule mean, mean_by, sum, max, fold or keep, found {rule:?}"
        ))
    })
}

/// The tensors of a state, for Python.
pub(crate) fn tensors_of<'py>(
    py: Python<'py>,
    state: &NetworkState,
) -> Result<Vec<TensorOut<'py>>, Error> {
    let out = |(name, tensor): (&String, &Tensor)| {
        let (dtype, bytes) = match &tensor.data {
            TensorData::F32(array) => ("float32", bytes(py, array)),
            TensorData::F64(array) => ("float64", bytes(py, array)),
            TensorData::U64(array) => ("uint64", bytes(py, array)),
            TensorData::I64(array) => ("int64", bytes(py, array)),
            other => {
                let element = other.element();
                let text = format!("tensor `{name}`: numpy has no type for {element} yet");
                return Err(Error::Failed(text));
            }
        };
        let shape = tensor.data.shape().to_vec();
        Ok((name.clone(), dtype, shape, bytes, tensor.rule.to_string()))
    };
    state.tensors().iter().map(out).collect()
}

fn bytes<'py, T: bytemuck::NoUninit>(py: Python<'py>, array: &ArrayD<T>) -> Bound<'py, PyBytes> {
    match array.as_slice() {
        Some(values) => PyBytes::new(py, bytemuck::cast_slice(values)),
        None => {
            let values: Vec<T> = array.iter().copied().collect();
            PyBytes::new(py, bytemuck::cast_slice(&values))
        }
    }
}

/// Examples in memory.
#[pyclass(frozen, module = "samebit._samebit")]
#[derive(Debug)]
pub(crate) struct Data(pub(crate) Arc<Arrays>);

#[pymethods]
impl Data {
    #[new]
    #[pyo3(signature = (train, test=None))]
    fn new(train: SplitIn<'_>, test: Option<SplitIn<'_>>) -> PyResult<Self> {
        let (train, test) = (split_of(train)?, test.map(split_of).transpose()?);
        Ok(Self(Arc::new(Arrays { train, test })))
    }
}

fn split_of(split: SplitIn<'_>) -> Result<SplitArrays, Error> {
    let (name, dtype, shape, bytes, target_name, kind, values, width) = split;
    let bytes = bytes.as_bytes();
    let features = match dtype.as_str() {
        "uint8" => Features::U8(bytes.to_vec()),
        _ => Features::F32(collect(bytes)),
    };
    let axes = shape.iter().map(|axis| u32::try_from(*axis)).collect::<Result<Vec<u32>, _>>();
    let shape = axes.map_err(|_| Error::BadInput(format!("{name}: the shape is too large")))?;
    let wrong = |error: PyErr| Error::BadInput(format!("{target_name}: {error}"));
    let numbers = || values.cast::<PyBytes>().map_err(|error| wrong(error.into()));
    let targets = match kind.as_str() {
        "numbers" => ArrayTargets::Numbers(collect(numbers()?.as_bytes())),
        "vectors" => ArrayTargets::Vectors { values: collect(numbers()?.as_bytes()), width },
        "texts" => {
            let texts = values.cast::<PyList>().map_err(|error| wrong(error.into()))?;
            ArrayTargets::Texts(texts.extract().map_err(wrong)?)
        }
        _ => ArrayTargets::None,
    };
    Ok(SplitArrays { name, features, shape, target_name, targets })
}

/// Numbers of their bytes, which need no alignment.
fn collect<T: AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}
