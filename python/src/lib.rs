//! The extension module of the Python package `samebit`.
//!
//! ```text
//! python/package/samebit/*.py   what people import: arrays, exceptions, typed events
//! _samebit              this module: bytes in, bytes out, one thread for each run
//! coordinator, common   the client, the reference, states, data
//! ```
//!
//! A run works on threads of its own and sends messages over a channel. Python waits for them
//! without the GIL, and for short times only, so that Ctrl-C works.

mod convert;
mod error;
mod here;
mod run;
mod spec;
mod state;
mod there;
mod work;

use common::model::Registry;
use pyo3::prelude::*;

/// Names and descriptions of the models.
#[pyfunction]
fn models() -> Vec<(&'static str, &'static str)> {
    Registry::standard().list().collect()
}

#[pymodule]
fn _samebit(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<convert::Data>()?;
    module.add_class::<run::Job>()?;
    module.add_class::<work::Outcome>()?;
    module.add_function(wrap_pyfunction!(models, module)?)?;
    module.add_function(wrap_pyfunction!(there::status, module)?)?;
    module.add_function(wrap_pyfunction!(there::cancel, module)?)?;
    module.add_function(wrap_pyfunction!(state::digest, module)?)?;
    module.add_function(wrap_pyfunction!(state::save, module)?)?;
    module.add_function(wrap_pyfunction!(state::load, module)?)
}
