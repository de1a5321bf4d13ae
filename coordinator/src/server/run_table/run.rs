//! The record of one run.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::digest::Digest;
use common::id::{RunId, SubmissionKey};
use common::run_settings::RunSettings;
use common::run_state::{RunEnd, RunState};
use common::state::NetworkState;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{RunEvent, RunStatus, ToClient};

use super::events::Events;
use super::new_run::{NewRun, Started};
use super::submission::{Provenance, Restart, RunDefinition};
use crate::runs::{HistorySoFar, Outcome, SubmissionRecord};
use crate::server::jobs::Incarnation;
use crate::server::net::ClientId;

/// The end of a run while it is being written: clients are told once it is on disk.
#[derive(Debug)]
pub(in crate::server) struct Ending {
    /// The state that is reported for the run until then.
    was: RunState,
    /// The last event for its followers.
    pub(in crate::server) event: RunEvent,
    /// Clients that wait for the cancellation.
    pub(in crate::server) waiting: Vec<ClientId>,
}

/// The record of one run.
#[derive(Debug)]
pub(in crate::server) struct Run {
    about: NewRun,
    /// Its end, while that is being written.
    ending: Option<Ending>,
    /// Its end, if that could not be written.
    unkept: Option<Box<Outcome>>,
    /// Whether its followers were told that it started.
    is_told_of: bool,
    /// Whether it is being read from the folder in order to resume it.
    is_rereading: bool,
    /// The incarnation in which it is being read for its turn.
    loading: Option<Incarnation>,
    /// Provenance of its final state.
    provenance: Option<Provenance>,
    /// Whether its start is counted on disk, and was not forgotten.
    is_counted: bool,
    events: Events,
    followers: BTreeSet<ClientId>,
}

impl Run {
    pub(in crate::server) fn new(about: NewRun) -> Self {
        Self {
            about,
            ending: None,
            unkept: None,
            is_told_of: false,
            is_rereading: false,
            loading: None,
            provenance: None,
            is_counted: false,
            events: Events::default(),
            followers: BTreeSet::new(),
        }
    }

    pub(in crate::server) fn id(&self) -> RunId {
        self.about.id
    }

    /// Its state, whether that is on disk or not.
    pub(in crate::server) fn phase(&self) -> RunState {
        self.about.phase
    }

    /// Its state, as it may be reported.
    pub(in crate::server) fn told_phase(&self) -> RunState {
        self.ending.as_ref().map_or(self.about.phase, |ending| ending.was)
    }

    pub(in crate::server) fn settings(&self) -> &RunSettings {
        &self.about.settings
    }

    /// Workers to wait for before it starts.
    pub(in crate::server) fn min_workers(&self) -> u32 {
        self.about.min_workers()
    }

    /// See [`NewRun::is_replay`].
    pub(in crate::server) fn is_replay(&self) -> bool {
        self.about.is_replay
    }

    /// The key of its submission.
    pub(in crate::server) fn key(&self) -> Option<SubmissionKey> {
        self.about.key
    }

    /// Its submission as it is on disk, if it is.
    pub(in crate::server) fn submission_record(&self) -> Option<&SubmissionRecord> {
        self.about.record.as_ref()
    }

    /// Sets its submission on disk.
    pub(in crate::server) fn set_submission_record(&mut self, record: SubmissionRecord) {
        self.about.record = Some(record);
    }

    /// Notes the client that last submitted it.
    pub(in crate::server) fn set_submitter(&mut self, client: ClientId) {
        self.about.submitter = Some(client);
    }

    /// Its definition, while the run is not over, and in memory.
    pub(in crate::server) fn submission(&self) -> Option<&Arc<RunDefinition>> {
        self.about.submission.as_ref()
    }

    pub(in crate::server) fn model_name(&self) -> &str {
        &self.about.model_name
    }

    /// Number of rounds.
    pub(in crate::server) fn rounds(&self) -> u64 {
        self.about.rounds
    }

    /// Rounds that are complete.
    pub(in crate::server) fn round(&self) -> u64 {
        self.about.round
    }

    /// Loss of the last round.
    pub(in crate::server) fn loss(&self) -> Option<f64> {
        self.about.loss
    }

    /// Digest of its final state.
    pub(in crate::server) fn digest(&self) -> Option<Digest> {
        self.about.digest
    }

    /// The point from which it continues when its turn comes.
    pub(in crate::server) fn restart(&self) -> Option<&Restart> {
        self.about.restart.as_ref()
    }

    /// See [`NewRun::passed_over`].
    pub(in crate::server) fn passed_over(&self) -> Option<&String> {
        self.about.passed_over.as_ref()
    }

    /// The initial state, while the run is queued; the final state, once it is over.
    pub(in crate::server) fn state(&self) -> Option<&Arc<NetworkState>> {
        self.about.state.as_ref()
    }

    /// Bytes reserved for it in the store.
    pub(in crate::server) fn reserved(&self) -> u64 {
        self.about.reserved
    }

    /// The reason why its last checkpoint, or its end, is not on disk.
    pub(in crate::server) fn unsaved(&self) -> Option<&String> {
        self.about.unsaved.as_ref()
    }

    /// Whether its final state can be read from the runs folder.
    pub(in crate::server) fn is_final_state_on_disk(&self) -> bool {
        let about = &self.about;
        let is_kept = about.record.is_some() && !about.is_replay && self.unkept.is_none();
        is_kept && about.unsaved.is_none() && self.told_phase() == RunState::Finished
    }

    /// Its final state and provenance, while they are in memory.
    pub(in crate::server) fn final_state(&self) -> Option<(Arc<NetworkState>, Provenance)> {
        self.about.state.clone().zip(self.provenance.clone())
    }

    /// Its row in `coordinator status`, and what it waits for.
    pub(in crate::server) fn status(&self, waits_for: Option<String>) -> RunStatus {
        let about = &self.about;
        RunStatus {
            id: about.id,
            model: about.model_name.clone(),
            state: self.told_phase(),
            waits_for,
            round: about.round,
            rounds: about.rounds,
            loss: about.loss,
            digest: about.digest.filter(|_| self.ending.is_none()),
            checkpoint: about.checkpoint,
            unsaved: about.unsaved.is_some(),
            replay: about.is_replay,
        }
    }
}

/// Loading, start, progress and end.
impl Run {
    /// Whether it must be read from the runs folder before it can start.
    pub(in crate::server) fn needs_loading(&self) -> bool {
        self.about.submission.is_none() && !self.about.phase.is_over()
    }

    /// Notes that it is being read, in this incarnation.
    pub(in crate::server) fn begin_loading(&mut self, life: Incarnation) {
        self.loading = Some(life);
    }

    /// Whether it is being read in this incarnation, for a turn that has not ended.
    pub(in crate::server) fn is_loading(&self, life: Incarnation) -> bool {
        self.loading == Some(life) && !self.about.phase.is_over()
    }

    /// Its reading has ended: its turn comes again.
    pub(in crate::server) fn stop_loading(&mut self) {
        self.loading = None;
    }

    /// Sets the data that was read.
    pub(in crate::server) fn load(&mut self, read: NewRun) {
        self.about.pass_over(read.passed_over);
        let about = &mut self.about;
        (about.submission, about.state) = (read.submission, read.state);
        (about.restart, about.checkpoint) = (read.restart, read.checkpoint);
        (about.round, about.loss) = (read.round, read.loss);
    }

    /// Starts the run. Returns the data that it held while it was queued; `None` if anything is
    /// missing.
    pub(in crate::server) fn start(&mut self) -> Option<Started> {
        let about = &mut self.about;
        let (submission, state) = (about.submission.clone()?, about.state.take()?);
        about.phase = RunState::Running;
        Some(Started {
            submission,
            state,
            reserved: std::mem::take(&mut about.reserved),
            restart: about.restart.take(),
            passed_over: about.passed_over.take(),
            was_told: std::mem::replace(&mut self.is_told_of, true),
        })
    }

    /// Notes a complete round.
    pub(in crate::server) fn advance(&mut self, round: u64, loss: Option<f64>) {
        (self.about.round, self.about.loss) = (round, loss);
    }

    /// The run finished with this state; the end is not reported yet.
    pub(in crate::server) fn set_final(&mut self, state: Arc<NetworkState>, digest: Digest) {
        (self.about.state, self.about.digest) = (Some(state), Some(digest));
    }

    /// Ends the run; clients are told once the end is on disk. `history` are its reports, if its
    /// final state is kept. Returns what the run held: its submission, and bytes of the store.
    /// `None` if it is over already.
    pub(in crate::server) fn end(
        &mut self,
        end: RunEnd,
        event: RunEvent,
        history: Option<&HistorySoFar>,
    ) -> Option<(Option<Arc<RunDefinition>>, u64)> {
        if self.about.phase.is_over() {
            return None;
        }
        let was = std::mem::replace(&mut self.about.phase, end.into());
        self.ending = Some(Ending { was, event, waiting: Vec::new() });
        if end != RunEnd::Finished {
            self.about.state = None;
        }
        let submission = self.about.submission.take();
        if let Some(submission) = &submission {
            let history = history.filter(|_| self.about.state.is_some());
            self.provenance = history
                .map(|history| Provenance::new(&submission.text, &submission.schema, history));
        }
        Some((submission, std::mem::take(&mut self.about.reserved)))
    }

    /// The end is on disk, or cannot be written: it is to be reported now.
    pub(in crate::server) fn take_ending(&mut self) -> Option<Ending> {
        self.ending.take()
    }

    /// Adds a client that waits for the end that is being written. `false` if none is being
    /// written.
    pub(in crate::server) fn wait_for_ending(&mut self, client: ClientId) -> bool {
        self.ending.as_mut().is_some_and(|ending| {
            ending.waiting.push(client);
            true
        })
    }

    /// Notes that its end could not be written.
    pub(in crate::server) fn keep_unwritten(&mut self, outcome: Box<Outcome>, error: String) {
        (self.unkept, self.about.unsaved) = (Some(outcome), Some(error));
    }

    /// Retries an end that could not be written; `event` makes its last event from the number of
    /// rounds. Returns the outcome to write, if there is such an end.
    pub(in crate::server) fn retry_end(
        &mut self,
        event: impl FnOnce(u64, &Outcome) -> RunEvent,
    ) -> Option<Box<Outcome>> {
        let outcome = self.unkept.take()?;
        // The last event said that the end is not on disk.
        self.events.pop();
        self.about.unsaved = outcome.unsaved.clone();
        let event = event(self.about.rounds, &outcome);
        self.ending = Some(Ending { was: self.about.phase, event, waiting: Vec::new() });
        Some(outcome)
    }

    /// Notes that its last checkpoint is the one of this round.
    pub(in crate::server) fn set_checkpoint(&mut self, round: u64) {
        (self.about.checkpoint, self.about.unsaved) = (Some(round), None);
    }

    /// Notes that a checkpoint could not be written.
    pub(in crate::server) fn set_unsaved(&mut self, error: String) {
        self.about.unsaved = Some(error);
    }

    /// Whether it is over here, but not on disk: it cannot continue, or it killed its coordinators.
    pub(in crate::server) fn is_aside(&self) -> bool {
        self.about.phase == RunState::SetAside
    }

    /// Sets the run aside: nothing on disk says that it is over.
    pub(in crate::server) fn set_aside(&mut self, reason: String) {
        (self.about.phase, self.about.unsaved) = (RunState::SetAside, Some(reason));
    }

    /// Undoes setting it aside, so that it can be ended.
    pub(in crate::server) fn end_aside(&mut self) {
        // The last event said that it cannot continue.
        self.events.pop();
        (self.about.phase, self.about.unsaved) = (RunState::Queued, None);
    }

    /// Whether it is being read from the folder in order to resume it.
    pub(in crate::server) fn is_rereading(&self) -> bool {
        self.is_rereading
    }

    pub(in crate::server) fn set_rereading(&mut self, is_rereading: bool) {
        self.is_rereading = is_rereading;
    }

    /// Whether its start is counted on disk, and was not forgotten.
    pub(in crate::server) fn is_counted(&self) -> bool {
        self.is_counted
    }

    pub(in crate::server) fn set_counted(&mut self, is_counted: bool) {
        self.is_counted = is_counted;
    }
}

/// Its events, and its followers.
impl Run {
    /// Keeps an event, and returns it encoded.
    pub(in crate::server) fn record(&mut self, event: RunEvent) -> Frame {
        let frame = encode(ToClient::Event(event));
        self.events.push(frame.clone());
        frame
    }

    /// Notes that an earlier coordinator told the followers of its start.
    pub(in crate::server) fn set_told_of(&mut self) {
        self.is_told_of = true;
    }

    /// Restores the events from before the run was resumed.
    pub(super) fn succeed(&mut self, before: Self) {
        self.events = before.events;
        // The last event said that the run was over.
        self.events.pop();
        self.is_told_of = before.is_told_of;
    }

    /// Its events so far. Later ones are sent to this client as well, unless the run is over.
    pub(in crate::server) fn follow(&mut self, client: ClientId) -> impl Iterator<Item = Frame> {
        if !self.told_phase().is_over() {
            self.followers.insert(client);
        }
        self.events.iter().cloned()
    }

    pub(super) fn followers(&self) -> &BTreeSet<ClientId> {
        &self.followers
    }

    /// Removes all followers: the run is over.
    pub(in crate::server) fn clear_followers(&mut self) {
        self.followers.clear();
    }

    /// Removes a client. Returns whether it was the last follower of a replay.
    pub(super) fn unfollow(&mut self, client: ClientId) -> bool {
        let was_followed = self.followers.remove(&client) || self.about.submitter == Some(client);
        let is_abandoned = was_followed && self.followers.is_empty();
        is_abandoned && self.about.is_replay && !self.about.phase.is_over()
    }

    /// Keeps only its last few events: it ended long ago.
    pub(super) fn age_events(&mut self) {
        self.events.age();
    }

    /// Removes its final state from memory.
    pub(super) fn drop_state(&mut self) {
        (self.about.state, self.provenance) = (None, None);
    }
}
