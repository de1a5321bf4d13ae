//! Runs: what is remembered of each.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::{RunId, RunIdentity, SubmissionKey};
use common::model::Model;
use common::plan::RunPlan;
use common::run_settings::RunSettings;
use common::state::NetworkState;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{RunEvent, RunStatus, ToClient};

use super::connection::ClientId;
use super::events::Events;
use super::jobs::Incarnation;
use crate::runs::{HistorySoFar, Outcome, Progress, SubmissionRecord};

/// What the status calls a run that is over here, and not on disk.
const ASIDE: &str = "set aside";

/// A submitted run, all checked.
pub(super) struct Submission {
    /// The run's identity.
    pub(super) identity: RunIdentity,
    /// The spec as the client wrote it.
    pub(super) text: String,
    /// Name of its model.
    pub(super) model_name: String,
    pub(super) model: Arc<dyn Model>,
    pub(super) plan: RunPlan,
    pub(super) train: SplitManifest,
    pub(super) test: SplitManifest,
    /// Identity of the state to start from, where it came from the client.
    pub(super) initial: Option<Digest>,
    /// The steps to do: all of them, unless it is a replay.
    pub(super) steps: Range<u64>,
    /// Whether the steps were done before and are only compared: nothing of
    /// the run is kept.
    pub(super) is_replay: bool,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("model", &self.model_name).finish_non_exhaustive()
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Queued,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl Phase {
    /// Whether the run is over.
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// What people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The end of a run on its way to disk: told once it is there.
#[derive(Debug)]
pub(super) struct Ending {
    /// What the run is until then, as far as anyone is told.
    pub(super) was: Phase,
    /// What its followers are told last.
    pub(super) event: RunEvent,
    /// Clients who wait to hear that it is cancelled.
    pub(super) waiting: BTreeSet<ClientId>,
}

/// What is remembered of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) phase: Phase,
    /// Its end, while that is not on disk.
    pub(super) ending: Option<Ending>,
    /// Its end, if that could not be written.
    pub(super) unkept: Option<Box<Outcome>>,
    /// How it is carried out.
    pub(super) settings: RunSettings,
    /// From where it goes on, if it does not start anew.
    pub(super) restart: Option<Restart>,
    pub(super) is_replay: bool,
    /// What its client knows its submission by, where a client sent it.
    pub(super) key: Option<SubmissionKey>,
    /// What is on disk of its submission; nothing of a replay, of a run that is not
    /// kept, and of one whose records are damaged.
    pub(super) record: Option<SubmissionRecord>,
    /// Who submitted it to this coordinator.
    pub(super) submitter: Option<ClientId>,
    /// Whether its followers know that it has started.
    pub(super) is_told_of: bool,
    /// Whether it is being read from the runs folder, to be taken up again.
    pub(super) is_rereading: bool,
    /// The life of it that it is read for, once its turn has come.
    pub(super) loading: Option<Incarnation>,
    /// Until the run is over.
    pub(super) submission: Option<Arc<Submission>>,
    pub(super) model_name: String,
    pub(super) rounds: u64,
    /// Where the final state comes from, as long as that is kept.
    pub(super) provenance: Option<Provenance>,
    /// The state to start from while it waits, the final one once it has
    /// finished.
    pub(super) state: Option<Arc<NetworkState>>,
    /// Bytes of the waiting state, as taken from the store's bound.
    pub(super) reserved: u64,
    pub(super) round: u64,
    pub(super) loss: Option<f64>,
    pub(super) digest: Option<Digest>,
    /// The last round that is on disk.
    pub(super) checkpoint: Option<u64>,
    /// Why the last checkpoint is not on disk.
    pub(super) unsaved: Option<String>,
    /// Checkpoints that it does not go on from, as they are damaged, until it is
    /// told.
    pub(super) passed_over: Option<String>,
    /// Whether its start is counted on disk, and not forgotten.
    pub(super) is_counted: bool,
    /// Whether it is over here, and not on disk: it cannot go on, or its coordinators
    /// did not survive it.
    pub(super) is_aside: bool,
    pub(super) events: Events,
    pub(super) followers: BTreeSet<ClientId>,
}

/// Where a final state comes from: what is in its file beside it.
#[derive(Clone, Debug)]
pub(super) struct Provenance {
    /// The run's spec.
    pub(super) spec: String,
    /// What the run reported on its way, as JSON.
    pub(super) history: Bytes,
}

impl Provenance {
    pub(super) fn new(spec: &str, history: &HistorySoFar) -> Self {
        Self { spec: spec.to_owned(), history: history.history().to_json().into() }
    }
}

/// From where a run goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Restart {
    /// The step that begins from its state.
    pub(super) step: u64,
    /// Workers that it had.
    pub(super) workers: u32,
    /// What it had come to.
    pub(super) progress: Progress,
}

impl Run {
    /// A run of which nothing else is known.
    pub(super) fn new(id: RunId, phase: Phase) -> Self {
        Self {
            id,
            phase,
            settings: RunSettings::default(),
            restart: None,
            is_replay: false,
            key: None,
            record: None,
            submitter: None,
            is_told_of: false,
            ending: None,
            unkept: None,
            is_rereading: false,
            loading: None,
            submission: None,
            model_name: String::new(),
            rounds: 0,
            provenance: None,
            state: None,
            reserved: 0,
            round: 0,
            loss: None,
            digest: None,
            checkpoint: None,
            unsaved: None,
            passed_over: None,
            is_counted: false,
            is_aside: false,
            events: Events::default(),
            followers: BTreeSet::new(),
        }
    }

    /// Workers to wait for before it starts.
    pub(super) fn min_workers(&self) -> u32 {
        self.settings.min_workers.unwrap_or(1)
    }

    /// Where it stands, as far as anyone may be told.
    pub(super) fn told_phase(&self) -> Phase {
        self.ending.as_ref().map_or(self.phase, |ending| ending.was)
    }

    /// Keeps an event, and gives it encoded.
    pub(super) fn record(&mut self, event: RunEvent) -> Frame {
        let frame = encode(ToClient::Event(event));
        self.events.push(frame.clone());
        frame
    }

    /// What `coordinator status` says of it, and of what it waits for.
    pub(super) fn status(&self, waits_for: Option<String>) -> RunStatus {
        RunStatus {
            id: self.id,
            model: self.model_name.clone(),
            state: if self.is_aside { ASIDE } else { self.told_phase().name() }.into(),
            waits_for,
            round: self.round,
            rounds: self.rounds,
            loss: self.loss,
            digest: self.digest.filter(|_| self.ending.is_none()),
            checkpoint: self.checkpoint,
            unsaved: self.unsaved.is_some(),
            replay: self.is_replay,
        }
    }
}
