//! Errors between a client and its coordinator.

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No coordinator answers at the address.
    #[error(
        "cannot reach a coordinator at {address}: {error}: start one there with `coordinator serve`, \
         or name another address with --coordinator"
    )]
    Connect {
        /// The address.
        address: String,
        /// The error of the system.
        error: std::io::Error,
    },
    /// The connection ended, or the coordinator went silent.
    #[error("lost the connection to the coordinator at {address}: {reason}")]
    Lost {
        /// The address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The coordinator refuses this client.
    #[error("the coordinator refuses: {reason}")]
    Refused {
        /// What to change.
        reason: String,
    },
    /// The keys of both sides do not match.
    #[error("cannot use the coordinator at {address}: {reason}")]
    Keys {
        /// The address.
        address: String,
        /// What to change.
        reason: String,
    },
    /// The coordinator rejects the request.
    #[error("{reason}")]
    Rejected {
        /// Whether the request itself is wrong.
        bad_input: bool,
        /// Why.
        reason: String,
    },
    /// The submission does not fit into one message.
    #[error("the submission without its data: expected at most {limit} bytes, found {found}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// Its size.
        found: usize,
    },
    /// The peer sent an unexpected message: it is not a coordinator, or has a defect.
    #[error("the coordinator at {address} sent an unexpected message: {what}")]
    Unexpected {
        /// The address.
        address: String,
        /// The message.
        what: String,
    },
}

impl ClientError {
    /// Whether a retry may help: the coordinator could not be reached, or was lost, but has
    /// not refused.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Lost { .. } => true,
            Self::Refused { .. }
            | Self::Keys { .. }
            | Self::Rejected { .. }
            | Self::TooLarge { .. }
            | Self::Unexpected { .. } => false,
        }
    }
}
