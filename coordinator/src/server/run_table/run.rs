//! What is known of one run.

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

/// The end of a run on its way to disk: clients are told once it is there.
#[derive(Debug)]
pub(in crate::server) struct Ending {
    /// What the run is until then, as far as anyone is told.
    was: RunState,
    /// The last event that its followers are sent.
    pub(in crate::server) event: RunEvent,
    /// Clients who wait to hear that it is cancelled.
    pub(in crate::server) waiting: BTreeSet<ClientId>,
}

/// What is known of a run.
#[derive(Debug)]
pub(in crate::server) struct Run {
    about: NewRun,
    /// Its end, while that is not on disk.
    ending: Option<Ending>,
    /// Its end, if that could not be written.
    unkept: Option<Box<Outcome>>,
    /// Whether its followers were told that it started.
    is_told_of: bool,
    /// Whether it is being read from the folder, to be taken up again.
    is_rereading: bool,
    /// The life in which it is being read for its turn.
    loading: Option<Incarnation>,
    /// Of its final state.
    provenance: Option<Provenance>,
    /// Whether its start is counted on disk, and not forgotten.
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

    /// Where it stands, whether that is on disk or not.
    pub(in crate::server) fn phase(&self) -> RunState {
        self.about.phase
    }

    /// Where it stands, as far as anyone may be told.
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

    /// Its submission on disk is this one.
    pub(in crate::server) fn set_submission_record(&mut self, record: SubmissionRecord) {
        self.about.record = Some(record);
    }

    /// This client sent it last.
    pub(in crate::server) fn set_submitter(&mut self, client: ClientId) {
        self.about.submitter = Some(client);
    }

    /// What it consists of, while it is not over, and in memory.
    pub(in crate::server) fn submission(&self) -> Option<&Arc<RunDefinition>> {
        self.about.submission.as_ref()
    }

    pub(in crate::server) fn model_name(&self) -> &str {
        &self.about.model_name
    }

    /// Rounds that are to be done.
    pub(in crate::server) fn rounds(&self) -> u64 {
        self.about.rounds
    }

    /// Rounds that are done.
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

    /// From where it goes on when its turn comes.
    pub(in crate::server) fn restart(&self) -> Option<&Restart> {
        self.about.restart.as_ref()
    }

    /// See [`NewRun::passed_over`].
    pub(in crate::server) fn passed_over(&self) -> Option<&String> {
        self.about.passed_over.as_ref()
    }

    /// The state that it begins from, while it waits; its final state, once it is over.
    pub(in crate::server) fn state(&self) -> Option<&Arc<NetworkState>> {
        self.about.state.as_ref()
    }

    /// Bytes that it holds of the store's bound.
    pub(in crate::server) fn reserved(&self) -> u64 {
        self.about.reserved
    }

    /// Why its last checkpoint, or its end, is not on disk.
    pub(in crate::server) fn unsaved(&self) -> Option<&String> {
        self.about.unsaved.as_ref()
    }

    /// Its final state and where that comes from, while it is in memory.
    pub(in crate::server) fn final_state(&self) -> Option<(Arc<NetworkState>, Provenance)> {
        self.about.state.clone().zip(self.provenance.clone())
    }

    /// What `coordinator status` says of it, and of what it waits for.
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

/// Its way: it is read, starts, goes on, and ends.
impl Run {
    /// Whether it is to be read from the runs folder before it can start.
    pub(in crate::server) fn needs_loading(&self) -> bool {
        self.about.submission.is_none() && !self.about.phase.is_over()
    }

    /// It is being read, in this life.
    pub(in crate::server) fn begin_loading(&mut self, life: Incarnation) {
        self.loading = Some(life);
    }

    /// Whether it is being read in this life, for a turn that has not ended.
    pub(in crate::server) fn is_loading(&self, life: Incarnation) -> bool {
        self.loading == Some(life) && !self.about.phase.is_over()
    }

    /// It is not read any more: its turn comes again.
    pub(in crate::server) fn stop_loading(&mut self) {
        self.loading = None;
    }

    /// Takes in what was read of it.
    pub(in crate::server) fn load(&mut self, read: NewRun) {
        self.about.pass_over(read.passed_over);
        let about = &mut self.about;
        (about.submission, about.state) = (read.submission, read.state);
        (about.restart, about.checkpoint) = (read.restart, read.checkpoint);
        (about.round, about.loss) = (read.round, read.loss);
    }

    /// Starts it. Gives what it held while it waited; nothing if it lacks anything.
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

    /// A round is done.
    pub(in crate::server) fn advance(&mut self, round: u64, loss: Option<f64>) {
        (self.about.round, self.about.loss) = (round, loss);
    }

    /// It has ended well, with this state; that is all there is to say of it yet.
    pub(in crate::server) fn set_final(&mut self, state: Arc<NetworkState>, digest: Digest) {
        (self.about.state, self.about.digest) = (Some(state), Some(digest));
    }

    /// Ends it; clients are told once that is on disk. `history` is what it has
    /// reported, where its final state is kept. Gives what it held: its submission, and
    /// bytes of the store's bound. Nothing if it is over already.
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
        self.ending = Some(Ending { was, event, waiting: BTreeSet::new() });
        if end != RunEnd::Finished {
            self.about.state = None;
        }
        let submission = self.about.submission.take();
        if let Some(submission) = &submission {
            let history = history.filter(|_| self.about.state.is_some());
            self.provenance = history.map(|history| Provenance::new(&submission.text, history));
        }
        Some((submission, std::mem::take(&mut self.about.reserved)))
    }

    /// Its end is on disk, or cannot be: it is to be told now.
    pub(in crate::server) fn take_ending(&mut self) -> Option<Ending> {
        self.ending.take()
    }

    /// The end that is on its way to disk is told to this client as well. `false` if
    /// there is none.
    pub(in crate::server) fn wait_for_ending(&mut self, client: ClientId) -> bool {
        self.ending.as_mut().is_some_and(|ending| {
            ending.waiting.insert(client);
            true
        })
    }

    /// Its end could not be written.
    pub(in crate::server) fn keep_unwritten(&mut self, outcome: Box<Outcome>, error: String) {
        (self.unkept, self.about.unsaved) = (Some(outcome), Some(error));
    }

    /// An end that could not be written is tried again; `event` makes the last event
    /// of it, of a run of so many rounds. Gives what is to be written, if there is such
    /// an end.
    pub(in crate::server) fn retry_end(
        &mut self,
        event: impl FnOnce(u64, &Outcome) -> RunEvent,
    ) -> Option<Box<Outcome>> {
        let outcome = self.unkept.take()?;
        // The last event said that the end is not on disk.
        self.events.pop();
        self.about.unsaved = outcome.unsaved.clone();
        let event = event(self.about.rounds, &outcome);
        self.ending = Some(Ending { was: self.about.phase, event, waiting: BTreeSet::new() });
        Some(outcome)
    }

    /// Its last checkpoint is that of this round.
    pub(in crate::server) fn set_checkpoint(&mut self, round: u64) {
        (self.about.checkpoint, self.about.unsaved) = (Some(round), None);
    }

    /// A checkpoint could not be written.
    pub(in crate::server) fn set_unsaved(&mut self, error: String) {
        self.about.unsaved = Some(error);
    }

    /// Whether it is over here, and not on disk: it cannot go on, or its coordinators
    /// did not survive it.
    pub(in crate::server) fn is_aside(&self) -> bool {
        self.about.phase == RunState::SetAside
    }

    /// Sets it aside: nothing on disk says that it is over.
    pub(in crate::server) fn set_aside(&mut self, reason: String) {
        (self.about.phase, self.about.unsaved) = (RunState::SetAside, Some(reason));
    }

    /// It is not set aside any more, and can be ended.
    pub(in crate::server) fn end_aside(&mut self) {
        // The last event said that it cannot go on.
        self.events.pop();
        (self.about.phase, self.about.unsaved) = (RunState::Queued, None);
    }

    /// Whether it is being read from the folder, to be taken up again.
    pub(in crate::server) fn is_rereading(&self) -> bool {
        self.is_rereading
    }

    pub(in crate::server) fn set_rereading(&mut self, is_rereading: bool) {
        self.is_rereading = is_rereading;
    }

    /// Whether its start is counted on disk, and not forgotten.
    pub(in crate::server) fn is_counted(&self) -> bool {
        self.is_counted
    }

    pub(in crate::server) fn set_counted(&mut self, is_counted: bool) {
        self.is_counted = is_counted;
    }
}

/// Its events, and those who follow them.
impl Run {
    /// Keeps an event, and gives it encoded.
    pub(in crate::server) fn record(&mut self, event: RunEvent) -> Frame {
        let frame = encode(ToClient::Event(event));
        self.events.push(frame.clone());
        frame
    }

    /// Its followers were told of its start by a coordinator that is gone.
    pub(in crate::server) fn set_told_of(&mut self) {
        self.is_told_of = true;
    }

    /// Takes over what followers were told before it was taken up again.
    pub(super) fn succeed(&mut self, before: Self) {
        self.events = before.events;
        // The last event said that it was over.
        self.events.pop();
        self.is_told_of = before.is_told_of;
    }

    /// Its events so far; those to come go to this client as well, unless it is over.
    pub(in crate::server) fn follow(&mut self, client: ClientId) -> impl Iterator<Item = Frame> {
        if !self.told_phase().is_over() {
            self.followers.insert(client);
        }
        self.events.iter().cloned()
    }

    pub(super) fn followers(&self) -> &BTreeSet<ClientId> {
        &self.followers
    }

    /// Nobody follows it any more: it is over.
    pub(in crate::server) fn clear_followers(&mut self) {
        self.followers.clear();
    }

    /// A client is gone. Whether it was the last one to whom a replay is of use.
    pub(super) fn unfollow(&mut self, client: ClientId) -> bool {
        let was_followed = self.followers.remove(&client) || self.about.submitter == Some(client);
        let is_abandoned = was_followed && self.followers.is_empty();
        is_abandoned && self.about.is_replay && !self.about.phase.is_over()
    }

    /// Only its last few events are kept: it ended long ago.
    pub(super) fn age_events(&mut self) {
        self.events.age();
    }

    /// Its final state is not kept in memory any more.
    pub(super) fn drop_state(&mut self) {
        (self.about.state, self.provenance) = (None, None);
    }
}
