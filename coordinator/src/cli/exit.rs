//! Exit codes, and the error message of a command.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use super::visible;
use crate::client::{ClientError, SubmissionError};
use crate::ledger::LedgerError;

/// Exit codes. `docs/CLI.md` and `coordinator --help` list the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// A flag, spec, file or request is wrong: change it.
    BadInput = 2,
    /// The run failed, or the coordinator refused this build.
    Failed = 3,
    /// No coordinator answers, or the connection to it was lost.
    Lost = 4,
    /// The run succeeded, but its final state is not in the runs folder.
    Unsaved = 5,
    /// Cancelled or interrupted, by Ctrl-C or by another client.
    Cancelled = 130,
}

/// The exit codes in `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    success
  2    bad input: a flag, spec, file or request is wrong
  3    the run failed, or the coordinator refused
  4    no coordinator answers, or the connection was lost
  5    the run succeeded, but the coordinator could not save its final state
  130  cancelled, or interrupted";

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// The input is wrong: the user has to change it.
    pub(crate) fn bad_input(message: impl Display) -> Self {
        Self { exit: Exit::BadInput, message: message.to_string() }
    }

    /// The run, or the system, failed.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self { exit: Exit::Failed, message: message.to_string() }
    }

    /// The run succeeded, but its final state is not on disk.
    pub(crate) fn unsaved(error: &str) -> Self {
        let message = format!("the final state is not in the runs folder: {error}");
        Self { exit: Exit::Unsaved, message }
    }

    /// A user ended it.
    pub(crate) fn cancelled(message: impl Display) -> Self {
        Self { exit: Exit::Cancelled, message: message.to_string() }
    }

    /// Adds a sentence to the message.
    pub(crate) fn and(mut self, more: impl Display) -> Self {
        self.message = format!("{}; {more}", self.message);
        self
    }

    /// Adds another failure to the message.
    pub(crate) fn and_also(self, other: Self) -> Self {
        self.and(other.message)
    }

    /// Its exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Prints the message on standard error, and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            // If this cannot be written, there is no other place to report it.
            let _ = io::Write::write_all(
                &mut io::stderr(),
                format!("error: {}\n", visible::lines(self.message.trim_end())).as_bytes(),
            );
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Connect { .. } | ClientError::Lost { .. } => Exit::Lost,
            ClientError::Refused { .. } | ClientError::Rejected { bad_input: false, .. } => {
                Exit::Failed
            }
            ClientError::Keys { .. } | ClientError::Unexpected { .. } => Exit::Failed,
            ClientError::Rejected { bad_input: true, .. } | ClientError::TooLarge { .. } => {
                Exit::BadInput
            }
        };
        Self { exit, message: error.to_string() }
    }
}

impl From<SubmissionError> for Failure {
    /// Names of classes and tensors are what somebody chose: errors with them stay on one line.
    /// Errors in TOML show the place over several lines.
    fn from(error: SubmissionError) -> Self {
        match &error {
            SubmissionError::Dataset(_)
            | SubmissionError::State(_)
            | SubmissionError::StateForData { .. } => {
                Self::bad_input(visible::line(&error.to_string()))
            }
            _ => Self::bad_input(error),
        }
    }
}

impl From<LedgerError> for Failure {
    /// An error in reading a history that the user has named is bad input: the user has
    /// to name another one, or repair it.
    fn from(error: LedgerError) -> Self {
        Self::bad_input(error)
    }
}

impl From<io::Error> for Failure {
    /// An error in writing to standard output. A reader that closes it (`| head`) is not
    /// an error.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { exit: Exit::Ok, message: String::new() }
        } else {
            Self::failed(format!("standard output: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use common::state::StateError;

    use super::*;

    #[test]
    fn help_lists_every_code() {
        for exit in
            [Exit::Ok, Exit::BadInput, Exit::Failed, Exit::Lost, Exit::Unsaved, Exit::Cancelled]
        {
            let line = format!("\n  {:<3}  ", exit as u8);
            assert!(EXIT_CODES.contains(&line), "{exit:?}");
        }
    }

    #[test]
    fn errors_of_the_client_have_their_codes() {
        let exit = |error: ClientError| Failure::from(error).exit();
        let address = String::from("h:1");
        let error = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = ClientError::Connect { address: address.clone(), error: error() };
        assert_eq!(exit(connect), Exit::Lost);
        let lost = ClientError::Lost { address: address.clone(), reason: "silent".into() };
        assert_eq!(exit(lost), Exit::Lost);
        assert_eq!(exit(ClientError::Refused { reason: "old".into() }), Exit::Failed);
        let keys = ClientError::Keys { address: address.clone(), reason: "foreign".into() };
        assert_eq!(exit(keys), Exit::Failed);
        let rejected = |bad_input| ClientError::Rejected { bad_input, reason: "no".into() };
        assert_eq!(exit(rejected(true)), Exit::BadInput);
        assert_eq!(exit(rejected(false)), Exit::Failed);
    }

    #[test]
    fn names_in_errors_stay_on_one_line() {
        let error = StateError::File { path: "a\nb".into(), message: "\x1b[2J".into() };
        let failure = Failure::from(SubmissionError::State(error));
        assert!(failure.message.ends_with("a\\nb: \\u{1b}[2J"), "{}", failure.message);
        assert_eq!(failure.exit(), Exit::BadInput);
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.message.as_str()), (Exit::Ok, ""));
    }
}
