//! The data with which a run enters the table, and with which it starts.

use std::sync::Arc;

use common::digest::Digest;
use common::id::{RunId, SubmissionKey};
use common::run_settings::RunSettings;
use common::run_state::RunState;
use common::state::NetworkState;

use super::submission::{Restart, RunDefinition};
use crate::runs::SubmissionRecord;
use crate::server::net::ClientId;

/// A run as it enters the table.
#[derive(Debug)]
pub(in crate::server) struct NewRun {
    pub(in crate::server) id: RunId,
    pub(in crate::server) phase: RunState,
    pub(in crate::server) settings: RunSettings,
    /// The point from which it continues, if it does.
    pub(in crate::server) restart: Option<Restart>,
    /// Whether its steps were computed before and are only compared: nothing of it is kept.
    pub(in crate::server) is_replay: bool,
    pub(in crate::server) key: Option<SubmissionKey>,
    /// Its submission record on disk.
    pub(in crate::server) record: Option<SubmissionRecord>,
    /// The client that sent it last.
    pub(in crate::server) submitter: Option<ClientId>,
    /// Set until it is over; for a run in the runs folder, from its turn on.
    pub(in crate::server) submission: Option<Arc<RunDefinition>>,
    pub(in crate::server) model_name: String,
    pub(in crate::server) rounds: u64,
    /// The initial state, while the run is queued.
    pub(in crate::server) state: Option<Arc<NetworkState>>,
    /// Bytes of that state, as reserved in the store.
    pub(in crate::server) reserved: u64,
    pub(in crate::server) round: u64,
    pub(in crate::server) loss: Option<f64>,
    pub(in crate::server) digest: Option<Digest>,
    /// The last round that is on disk.
    pub(in crate::server) checkpoint: Option<u64>,
    /// Damaged checkpoints that were skipped, until this is reported.
    pub(in crate::server) passed_over: Option<String>,
    /// The reason why its last checkpoint, or its end, is not on disk.
    pub(in crate::server) unsaved: Option<String>,
}

impl NewRun {
    /// A queued run of which nothing else is known.
    pub(in crate::server) fn queued(id: RunId) -> Self {
        Self {
            id,
            phase: RunState::Queued,
            settings: RunSettings::default(),
            restart: None,
            is_replay: false,
            key: None,
            record: None,
            submitter: None,
            submission: None,
            model_name: String::new(),
            rounds: 0,
            state: None,
            reserved: 0,
            round: 0,
            loss: None,
            digest: None,
            checkpoint: None,
            passed_over: None,
            unsaved: None,
        }
    }

    /// Workers to wait for before it starts.
    pub(in crate::server) fn min_workers(&self) -> u32 {
        self.settings.min_workers.unwrap_or(1)
    }

    /// Notes damage that was skipped, after earlier notes.
    pub(in crate::server) fn pass_over(&mut self, what: impl IntoIterator<Item = String>) {
        let all = self.passed_over.take().into_iter().chain(what);
        self.passed_over = all.reduce(|all, one| format!("{all}; {one}"));
    }
}

/// A run that starts: the data that it held while it was queued.
#[derive(Debug)]
pub(in crate::server) struct Started {
    pub(in crate::server) submission: Arc<RunDefinition>,
    pub(in crate::server) state: Arc<NetworkState>,
    /// Bytes to release in the store.
    pub(in crate::server) reserved: u64,
    pub(in crate::server) restart: Option<Restart>,
    pub(in crate::server) passed_over: Option<String>,
    /// Whether its followers were told of its start before.
    pub(in crate::server) was_told: bool,
}
