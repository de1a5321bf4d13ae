//! What Python can do with a state by itself: its digest and its file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use common::dataset::Schema;
use common::spec::RunSpec;
use coordinator::client::{Fetched, History, StateFile};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::convert::{TensorIn, TensorOut, state_of, tensors_of};
use crate::error::Error;

/// What a state's file says of its origin: the spec as TOML, the data's meaning and the history as
/// JSON.
type Origin = (Option<String>, Option<String>, Option<String>);

/// The threads that compute in this process. They start when they are needed first.
///
/// # Errors
/// This process was forked after that, or threads cannot be started.
pub(crate) fn pool() -> Result<&'static ThreadPool, Error> {
    static POOL: OnceLock<(u32, Result<ThreadPool, String>)> = OnceLock::new();
    let (process, pool) = POOL.get_or_init(|| {
        let built = ThreadPoolBuilder::new().thread_name(|at| format!("samebit-{at}")).build();
        (std::process::id(), built.map_err(|error| error.to_string()))
    });
    if *process != std::process::id() {
        return Err(Error::Forked);
    }
    pool.as_ref().map_err(|error| Error::Failed(format!("cannot start threads: {error}")))
}

/// The digest of a state.
#[pyfunction]
pub(crate) fn digest(py: Python<'_>, tensors: Vec<TensorIn<'_>>) -> PyResult<String> {
    let pool = pool()?;
    let (state, _) = state_of(tensors)?;
    Ok(py.detach(|| pool.install(|| state.digest().to_string())))
}

/// Writes a state's file.
#[pyfunction]
pub(crate) fn save(
    py: Python<'_>,
    path: PathBuf,
    tensors: Vec<TensorIn<'_>>,
    origin: Origin,
) -> PyResult<()> {
    let pool = pool()?;
    let (state, _) = state_of(tensors)?;
    let saved: Result<(), Error> = py.detach(|| {
        pool.install(|| {
            let (Some(spec), schema, history) = origin else {
                return Ok(state.save(&path, &BTreeMap::new())?);
            };
            let spec = RunSpec::from_toml(&spec)?;
            let schema = schema.map(|text| Schema::from_json(&text)).transpose()?;
            let history = history.map(|text| History::from_json(&text)).transpose();
            let history = history.map_err(|error| Error::BadInput(error.to_string()))?;
            let history = history.unwrap_or_default();
            Ok(StateFile::save(&path, &Fetched { state, spec, schema, history })?)
        })
    });
    Ok(saved?)
}

/// Reads a state's file, which any program may have written. With a sentence about each tensor that
/// has another type there.
#[pyfunction]
pub(crate) fn load(
    py: Python<'_>,
    path: PathBuf,
) -> PyResult<(Vec<TensorOut<'_>>, Origin, Vec<String>)> {
    let pool = pool()?;
    let loaded: Result<_, Error> = py.detach(|| {
        pool.install(|| {
            let file = StateFile::load(&path)?;
            let spec = file.spec.as_ref().map(RunSpec::to_toml);
            let schema = file.schema.as_ref().map(Schema::to_json).transpose()?;
            let history = file.history().ok().map(|history| history.to_json());
            let (state, messages) = file.into_state()?;
            Ok((state, (spec, schema, history), messages))
        })
    });
    let (state, origin, messages) = loaded?;
    Ok((tensors_of(py, &state)?, origin, messages))
}
