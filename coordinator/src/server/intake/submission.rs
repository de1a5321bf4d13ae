//! One submission in progress, the run that it becomes, and the reasons to reject one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use common::dataset::{DatasetError, SplitManifest};
use common::digest::Digest;
use common::id::{RunId, RunIdentity, SubmissionKey};
use common::limits;
use common::plan::RunPlan;
use common::run_settings::RunSettings;
use common::spec::{RunSpec, SpecError, Split};
use common::state::{Layout, NetworkState, Segment, StateError};
use common::wire::message::Replay;

use super::chunk_store::StoreFull;
use crate::runs::RunsError;
use crate::server::run_table::{Design, NewRun, Restart, Run, RunDefinition};

/// A submission in progress.
#[derive(Debug)]
pub(super) struct PendingUpload {
    /// Distinguishes the jobs of this submission from those of others.
    pub(in crate::server) serial: u64,
    pub(in crate::server) key: SubmissionKey,
    pub(in crate::server) text: String,
    pub(in crate::server) schema: String,
    pub(in crate::server) spec: RunSpec,
    pub(in crate::server) plan: RunPlan,
    pub(in crate::server) train: SplitManifest,
    pub(in crate::server) test: SplitManifest,
    pub(in crate::server) settings: RunSettings,
    pub(in crate::server) replay: Option<Replay>,
    /// The state that the client sends.
    pub(in crate::server) incoming: Option<Incoming>,
    /// The model, once made.
    pub(in crate::server) design: Option<Design>,
    /// The model's initial state, if the client sends none.
    pub(in crate::server) own: Option<NetworkState>,
    /// Chunks that were requested and have not arrived.
    pub(in crate::server) needed: BTreeSet<(Split, u32)>,
    /// Chunks that arrived and are being checked.
    pub(in crate::server) checking: usize,
    /// Bytes reserved in the store for the state.
    pub(in crate::server) reserved: u64,
}

/// A state that the client sends.
#[derive(Debug)]
pub(in crate::server) struct Incoming {
    pub(in crate::server) state: NetworkState,
    pub(in crate::server) segments: Vec<Segment>,
    pub(in crate::server) next: usize,
    /// Digests of the segments received so far.
    pub(in crate::server) digests: Vec<Digest>,
}

/// The content of a client's request.
#[derive(Debug)]
pub(in crate::server) struct Request {
    pub(in crate::server) key: SubmissionKey,
    /// The spec, as TOML.
    pub(in crate::server) spec: String,
    /// What the examples mean, as JSON.
    pub(in crate::server) schema: String,
    pub(in crate::server) train: SplitManifest,
    pub(in crate::server) test: SplitManifest,
    /// The layout of the state that the client sends, if any.
    pub(in crate::server) state: Option<Layout>,
    pub(in crate::server) settings: RunSettings,
    pub(in crate::server) replay: Option<Replay>,
}

/// The reason why a submission is rejected.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum UploadError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("{0:?} split: {1}")]
    Split(Split, DatasetError),
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
    #[error("{0} runs are queued already: try again when some have ended")]
    Runs(usize),
}

impl UploadError {
    /// Whether the submission itself is wrong, so that a retry cannot help.
    pub(in crate::server) fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Full(_) | Self::Runs(_) | Self::Folder(_) | Self::Identity(_))
    }
}

impl PendingUpload {
    pub(super) fn manifest(&self, split: Split) -> &SplitManifest {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
        }
    }

    /// The steps to compute.
    fn steps(&self) -> Range<u64> {
        match self.replay {
            Some(Replay { first, steps }) => first..first + steps,
            None => 0..self.plan.steps(),
        }
    }

    /// Its model and its state, once these and all chunks are available.
    pub(super) fn take_parts(&mut self) -> Option<(Design, NetworkState, Option<Vec<Digest>>)> {
        let is_here = self.needed.is_empty() && self.checking == 0;
        let has_state = match &self.incoming {
            Some(incoming) => incoming.next == incoming.segments.len(),
            None => self.own.is_some(),
        };
        if !is_here || !has_state {
            return None;
        }
        let design = self.design.take()?;
        match self.incoming.take() {
            Some(incoming) => Some((design, incoming.state, Some(incoming.digests))),
            None => Some((design, self.own.take()?, None)),
        }
    }
}

/// A complete submission.
#[derive(Debug)]
pub(in crate::server) struct Complete {
    pub(super) open: Box<PendingUpload>,
    pub(super) design: Design,
    pub(super) state: NetworkState,
    /// Digests of the state's segments, if the client sent it.
    pub(super) digests: Option<Vec<Digest>>,
}

impl Complete {
    /// Its key.
    pub(in crate::server) fn key(&self) -> SubmissionKey {
        self.open.key
    }

    /// The run with this number. The run takes over the reservations in the store.
    ///
    /// # Errors
    /// The reason why it cannot become a run.
    pub(in crate::server) fn make_run(&mut self, id: RunId) -> Result<Run, UploadError> {
        let open = &self.open;
        self.state.set_rules(&open.spec.merge)?;
        // The digest of the state as it is kept: with the spec's merge rules.
        let encode =
            |digests: &Vec<Digest>| Digest::of_digests(&self.state.layout().encode(), digests);
        let initial = self.digests.as_ref().map(encode);
        let identity = RunIdentity::draw().map_err(UploadError::Identity)?;
        let submission = RunDefinition {
            identity,
            text: open.text.clone(),
            schema: open.schema.clone(),
            complete: self.design.spec.clone(),
            spec: open.spec.clone(),
            model: self.design.model.clone(),
            plan: open.plan.clone(),
            train: open.train.clone(),
            test: open.test.clone(),
            initial,
            steps: open.steps(),
            is_replay: open.replay.is_some(),
        };
        let found = submission.open_run(id, self.state.layout()).size();
        if found > limits::FRAME_BYTES {
            return Err(UploadError::TooLong { limit: limits::FRAME_BYTES, found });
        }
        let restart = |replay: Replay| Restart { step: replay.first, ..Restart::default() };
        let state = std::mem::take(&mut self.state);
        Ok(Run::new(NewRun {
            key: Some(open.key),
            settings: open.settings.clone(),
            restart: open.replay.map(restart),
            is_replay: submission.is_replay,
            model_name: submission.spec.model.clone(),
            rounds: submission.plan.rounds(),
            submission: Some(Arc::new(submission)),
            state: Some(Arc::new(state)),
            reserved: open.reserved,
            ..NewRun::queued(id)
        }))
    }
}

impl Incoming {
    pub(super) fn new(layout: &Layout) -> Result<Self, StateError> {
        let state = NetworkState::zeros(layout)?;
        Ok(Self { state, segments: layout.state_segments(), next: 0, digests: Vec::new() })
    }
}
