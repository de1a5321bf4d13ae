//! What is known of a submission on its way in, and why one is rejected.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use common::dataset::{DatasetError, SplitManifest};
use common::digest::Digest;
use common::id::SubmissionKey;
use common::plan::RunPlan;
use common::run_settings::RunSettings;
use common::spec::{RunSpec, SpecError, Split};
use common::state::{Layout, NetworkState, Segment, StateError};
use common::wire::message::Replay;

use super::super::connection::ClientId;
use super::super::store::StoreFull;
use super::design::Design;
use crate::runs::RunsError;

/// What a client is submitting.
#[derive(Debug)]
pub(in crate::server) enum Upload {
    /// Nothing.
    None,
    /// Nothing any more: what is still on its way of a submission that was rejected,
    /// or known already, is dropped.
    Answered,
    /// A submission.
    Open(Box<Open>),
}

/// A submission under way.
#[derive(Debug)]
pub(in crate::server) struct Open {
    /// Tells what jobs find about it from what they find about others.
    pub(super) serial: u64,
    pub(super) key: SubmissionKey,
    pub(super) text: String,
    pub(super) spec: RunSpec,
    pub(super) plan: RunPlan,
    pub(super) train: SplitManifest,
    pub(super) test: SplitManifest,
    pub(super) settings: RunSettings,
    pub(super) replay: Option<Replay>,
    /// The state that comes from the client.
    pub(super) incoming: Option<Incoming>,
    /// The model, once made.
    pub(super) design: Option<Design>,
    /// The state that the model makes, where none comes from the client.
    pub(super) own: Option<NetworkState>,
    /// Chunks that were asked for and have not come.
    pub(super) needed: BTreeSet<(Split, u32)>,
    /// Chunks that came and are being checked.
    pub(super) checking: usize,
    /// Bytes taken from the store's bound for the state.
    pub(super) reserved: u64,
}

/// A state that comes from a client.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) state: NetworkState,
    pub(super) segments: Vec<Segment>,
    pub(super) next: usize,
    /// Of the segments so far.
    pub(super) digests: Vec<Digest>,
}

/// A model that was made for a submission, or why it could not be.
#[derive(Debug)]
pub(in crate::server) struct Designed {
    pub(super) client: ClientId,
    pub(super) serial: u64,
    pub(super) outcome: Result<Design, String>,
}

/// A state that a model made for a submission, or why it could not.
#[derive(Debug)]
pub(in crate::server) struct Prepared {
    pub(super) client: ClientId,
    pub(super) serial: u64,
    /// Bytes that were taken from the store's bound for it.
    pub(super) bytes: u64,
    pub(super) outcome: Result<NetworkState, String>,
}

/// A chunk that was checked.
#[derive(Debug)]
pub(in crate::server) struct CheckedChunk {
    pub(super) client: ClientId,
    pub(super) serial: u64,
    pub(super) split: Split,
    pub(super) chunk: u32,
    pub(super) outcome: Result<Bytes, UploadError>,
}

/// Why a submission is rejected.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum UploadError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{0:?} split: {1}")]
    Split(Split, DatasetError),
    #[error(
        "the test examples have {found} features: expected {expected}, as the training examples have"
    )]
    Features { expected: u32, found: u32 },
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    Model(String),
    #[error(
        "the manifests and the layout take {found} bytes: expected at most {limit}; use fewer, \
         larger chunks or fewer tensors"
    )]
    TooLong { limit: usize, found: usize },
    #[error(transparent)]
    Full(#[from] StoreFull),
    #[error("the examples cannot be kept: {0}")]
    Folder(RunsError),
    #[error("the run has {steps} steps: expected a replay of these, found one up to step {end}")]
    Replay { steps: u64, end: u64 },
    #[error("the system gives no random numbers for the run's identity: {0}")]
    Identity(std::io::Error),
    #[error("{0} runs wait already: try again when some have ended")]
    Runs(usize),
}

impl UploadError {
    /// Whether the submission itself is wrong.
    pub(super) fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Full(_) | Self::Runs(_) | Self::Folder(_) | Self::Identity(_))
    }
}

impl Open {
    /// The steps to do.
    pub(super) fn steps(&self) -> Range<u64> {
        match self.replay {
            Some(Replay { first, steps }) => first..first + steps,
            None => 0..self.plan.steps(),
        }
    }

    /// Whether model, chunks and state are here.
    pub(super) fn is_complete(&self) -> bool {
        let has_state = match &self.incoming {
            Some(incoming) => incoming.next == incoming.segments.len(),
            None => self.own.is_some(),
        };
        self.design.is_some() && has_state && self.needed.is_empty() && self.checking == 0
    }
}

impl Incoming {
    pub(super) fn new(layout: &Layout) -> Result<Self, StateError> {
        let state = NetworkState::zeros(layout)?;
        Ok(Self { state, segments: layout.state_segments(), next: 0, digests: Vec::new() })
    }
}
