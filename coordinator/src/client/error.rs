//! What can go wrong between a client and its coordinator.

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers at the address.
    #[error(
        "cannot reach a coordinator at {address}: {error}; is `coordinator serve` running there?"
    )]
    Connect {
        /// The address.
        address: String,
        /// What the system said.
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
    /// The coordinator does not let this client in.
    #[error("the coordinator refuses: {reason}")]
    Refused {
        /// What to change.
        reason: String,
    },
    /// The keys of both sides do not fit.
    #[error("cannot use the coordinator at {address}: {reason}")]
    Keys {
        /// The address.
        address: String,
        /// What to change.
        reason: String,
    },
    /// The coordinator does not serve the request.
    #[error("{reason}")]
    Rejected {
        /// Whether the request itself is wrong.
        bad_input: bool,
        /// Why.
        reason: String,
    },
    /// The submission does not fit one message.
    #[error("the submission takes {found} bytes without its data: expected at most {limit}")]
    TooLarge {
        /// Most that fits.
        limit: usize,
        /// What it takes.
        found: usize,
    },
    /// The peer said something out of turn or out of range: not our
    /// coordinator, or a defect.
    #[error("the coordinator at {address} said something unexpected: {what}")]
    Unexpected {
        /// The address.
        address: String,
        /// What it said.
        what: String,
    },
}

impl ClientError {
    /// Whether the coordinator may be there again in a moment: it is not reached, or
    /// was lost, and has not said no.
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
