//! Talks to a coordinator: submits runs, follows them, downloads states.
//!
//! ```text
//! Client ── connect ── submit ── follow ── next_event … ── fetch
//!                         │
//!                      Submission: loaded and checked before anything is sent
//! ```

mod connection;
mod deduplication;
pub(crate) mod destination;
mod error;
mod initial_state;
mod predictions;
mod state_file;
mod submission;

pub use crate::runs::{EvaluationPoint, HISTORY_POINTS, History, HistoryError, RoundPoint};
pub use connection::{Client, Fetched};
pub use deduplication::Deduplication;
pub(crate) use destination::is_standard_output;
pub use error::ClientError;
pub use initial_state::{InitialState, Loaded, load, other_data};
pub(crate) use predictions::{Format, Predictions};
pub use state_file::{StateFile, check_output};
pub use submission::{Submission, SubmissionError};
