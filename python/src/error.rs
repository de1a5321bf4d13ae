//! Errors, as exceptions of `samebit.errors`.

use common::dataset::DatasetError;
use common::model::ModelError;
use common::spec::SpecError;
use common::state::StateError;
use coordinator::client::{ClientError, SubmissionError};
use coordinator::local::LocalError;
use coordinator::reference::ReferenceError;
use pyo3::prelude::*;

/// Why a call failed: one variant for each class of exceptions.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something that the caller gave is wrong.
    #[error("{0}")]
    BadInput(String),
    /// The run failed, or the coordinator refused.
    #[error("{0}")]
    Failed(String),
    /// No coordinator answers, or the connection to it was lost.
    #[error("{0}")]
    Lost(String),
    /// The run was cancelled.
    #[error("{0}")]
    Cancelled(String),
    /// The threads of this package are in another process.
    #[error(
        "this process was forked from one that had used samebit, and the threads of samebit do not \
         exist here: start processes with multiprocessing.get_context(\"spawn\"), or use samebit \
         in the new processes only"
    )]
    Forked,
}

impl Error {
    /// The name of its class in `samebit.errors`.
    fn class(&self) -> &'static str {
        match self {
            Self::BadInput(_) => "InputError",
            Self::Failed(_) => "RunFailed",
            Self::Lost(_) => "ConnectionLost",
            Self::Cancelled(_) => "RunCancelled",
            Self::Forked => "ForkError",
        }
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| {
            let class = py.import("samebit.errors").and_then(|it| it.getattr(error.class()));
            match class.and_then(|class| class.call1((error.to_string(),))) {
                Ok(exception) => Self::from_value(exception),
                Err(other) => other,
            }
        })
    }
}

macro_rules! bad_input {
    ($($error:ty),*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::BadInput(error.to_string())
            }
        })*
    };
}

bad_input!(SpecError, DatasetError, StateError, SubmissionError, ModelError, LocalError);

impl From<ReferenceError> for Error {
    fn from(error: ReferenceError) -> Self {
        match error {
            ReferenceError::Shard { .. } => Self::Failed(error.to_string()),
            _ => Self::BadInput(error.to_string()),
        }
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Connect { .. } | ClientError::Lost { .. } => Self::Lost(text),
            ClientError::Rejected { bad_input: true, .. } | ClientError::TooLarge { .. } => {
                Self::BadInput(text)
            }
            _ => Self::Failed(text),
        }
    }
}
