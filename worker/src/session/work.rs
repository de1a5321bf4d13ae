//! Assignments, from their arrival to a kept partial.

use std::collections::BTreeSet;
use std::time::Instant;

use common::id::{AssignmentId, Block, RunId, StepId};
use common::limits::MAX_REPLICAS;

use super::{Action, Session};

/// An assignment.
#[derive(Clone, Debug)]
pub(super) struct SessionBlock {
    pub(super) step: StepId,
    pub(super) block: Block,
    /// Shards that have not started.
    pub(super) to_run: std::ops::Range<u32>,
    /// Replicas that are running.
    pub(super) running: BTreeSet<u32>,
    /// Shards done.
    pub(super) done: u32,
    pub(super) has_data: bool,
    pub(super) start: Start,
    pub(super) use_of: Use,
}

/// Whether an assignment's shards may start. The start of one that may kill this process is
/// announced to the coordinator first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// They may.
    Free,
    /// The start must be announced first.
    ToSay,
    /// The announcement is being sent.
    Saying,
}

/// Whether the result of an assignment is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The coordinator waits for it.
    Wanted,
    /// Its connection is gone, and so is its id. The block's result is still valid.
    Orphan,
    /// Not needed: its shards were told to stop.
    Nothing,
}

/// A run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Shards that fit in memory at once.
    pub(super) parallel: u32,
    /// Whether it was opened on this connection.
    pub(super) is_open: bool,
}

impl SessionBlock {
    /// Whether any of its shards has started.
    pub(super) fn is_begun(&self) -> bool {
        self.done > 0 || !self.running.is_empty()
    }

    /// Whether it is assigned on this connection.
    pub(super) fn is_wanted(&self) -> bool {
        self.use_of == Use::Wanted
    }
}

impl Session {
    pub(super) fn run_opened(&mut self, run: RunId, parallel: u32) {
        // One run is active at a time: runs that are not open on this connection have ended
        // while this worker was disconnected.
        let others = self.runs.iter().filter(|(other, it)| !it.is_open && **other != run);
        let over: Vec<RunId> = others.map(|(other, _)| *other).collect();
        for other in over {
            self.run_closed(other);
        }
        self.runs.insert(run, Run { parallel: parallel.max(1), is_open: true });
        self.offer_kept(run);
        self.actions.push_back(Action::SayOpened { run });
    }

    pub(super) fn run_closed(&mut self, run: RunId) {
        self.runs.remove(&run);
        self.forget(|step| step.run == run);
    }

    pub(super) fn step_done(&mut self, done: StepId) {
        self.forget(|step| step.run == done.run && step.index <= done.index);
    }

    pub(super) fn assigned(
        &mut self,
        now: Instant,
        assignment: AssignmentId,
        step: StepId,
        block: Block,
        replicas: u32,
        start: Start,
    ) {
        if !self.link.is_open() {
            return;
        }
        let is_known = self.works.contains_key(&assignment);
        if is_known || block.level > 32 || self.works.len() >= MAX_REPLICAS as usize {
            // The coordinator was restarted and numbers from the beginning, while an
            // earlier shard still runs under this number: reconnect when it has ended.
            // Otherwise the coordinator is faulty. Only a leaving worker may hand back
            // work, so this disconnects instead.
            if !is_known {
                self.actions.push_back(Action::DropAssignment { assignment });
            }
            self.actions.push_back(Action::Disconnect);
            self.disconnected(now);
            return;
        }
        if self.leaving.is_some() {
            self.actions.push_back(Action::HandBack { assignment });
            self.actions.push_back(Action::DropAssignment { assignment });
            return;
        }
        self.forget_before(step);
        if let Some(kept) = self.kept.around(step, block) {
            self.actions.push_back(Action::DropAssignment { assignment });
            self.actions.push_back(Action::Offer { step, block: kept });
            return;
        }
        let work = SessionBlock {
            step,
            block,
            to_run: block.replicas(replicas),
            running: BTreeSet::new(),
            done: 0,
            has_data: false,
            start,
            use_of: Use::Wanted,
        };
        if work.to_run.is_empty() {
            self.actions.push_back(Action::FinishBlock { assignment, step, block });
            self.keep(step, block);
            return;
        }
        self.works.insert(assignment, work);
        self.actions.push_back(Action::FetchData { assignment, step, block });
    }

    pub(super) fn state_ready(&mut self, step: StepId) {
        self.forget_before(step);
        self.states.insert(step);
    }

    pub(super) fn start_said(&mut self, assignment: AssignmentId) {
        if let Some(work) = self.works.get_mut(&assignment) {
            work.start = Start::Free;
        }
    }

    pub(super) fn data_ready(&mut self, assignment: AssignmentId) {
        if let Some(work) = self.works.get_mut(&assignment) {
            work.has_data = true;
        }
    }

    pub(super) fn shard_done(&mut self, assignment: AssignmentId, replica: u32) {
        let Some(work) = self.works.get_mut(&assignment) else { return };
        if !work.running.remove(&replica) {
            return;
        }
        work.done += 1;
        if work.use_of == Use::Nothing {
            self.drop_if_stopped(assignment);
        } else if work.running.is_empty() && work.to_run.is_empty() {
            let (step, block) = (work.step, work.block);
            self.works.remove(&assignment);
            self.actions.push_back(Action::FinishBlock { assignment, step, block });
            self.keep(step, block);
        }
    }

    pub(super) fn shard_stopped(&mut self, assignment: AssignmentId, replica: u32) {
        let Some(work) = self.works.get_mut(&assignment) else { return };
        if work.use_of != Use::Nothing {
            let error = "it stopped without a request".to_owned();
            self.shard_failed(assignment, replica, false, error);
        } else if work.running.remove(&replica) {
            self.drop_if_stopped(assignment);
        }
    }

    pub(super) fn shard_failed(
        &mut self,
        assignment: AssignmentId,
        replica: u32,
        fatal: bool,
        error: String,
    ) {
        let Some(work) = self.works.get_mut(&assignment) else { return };
        if !work.running.remove(&replica) {
            return;
        }
        if work.is_wanted() {
            let step = work.step;
            let failure = Action::ReportFailure { assignment, step, replica, fatal, error };
            self.actions.push_back(failure);
        }
        self.stop(assignment);
    }

    /// Gives up an assignment: its running shards are told to stop, and it is dropped when they
    /// have stopped.
    pub(super) fn stop(&mut self, assignment: AssignmentId) {
        let Some(work) = self.works.get_mut(&assignment) else { return };
        let was_told = std::mem::replace(&mut work.use_of, Use::Nothing) == Use::Nothing;
        if !was_told && !work.running.is_empty() {
            self.actions.push_back(Action::StopShards { assignment });
        }
        self.drop_if_stopped(assignment);
    }

    /// Hands an assignment that has not started back to the coordinator.
    pub(super) fn hand_back(&mut self, assignment: AssignmentId) {
        if let Some(work) = self.works.remove(&assignment) {
            if work.is_wanted() {
                self.actions.push_back(Action::HandBack { assignment });
            }
            self.actions.push_back(Action::DropAssignment { assignment });
        }
    }

    /// Called when the connection is lost. Started assignments continue, as their results stay
    /// valid; the others will be handed out again.
    pub(super) fn disconnected(&mut self, now: Instant) {
        self.link.lost(now);
        for run in self.runs.values_mut() {
            run.is_open = false;
        }
        let ids: Vec<AssignmentId> = self.works.keys().copied().collect();
        for assignment in ids {
            let Some(work) = self.works.get_mut(&assignment) else { continue };
            if !work.is_wanted() {
                continue;
            }
            if work.is_begun() {
                work.use_of = Use::Orphan;
            } else {
                self.works.remove(&assignment);
                self.actions.push_back(Action::DropAssignment { assignment });
            }
        }
        self.drop_states(|_| true);
        if self.leaving.is_some() {
            self.leave();
        }
    }

    /// Starts as many shards as there is room for, of the oldest assignments first.
    pub(super) fn run_shards(&mut self) {
        let running: usize = self.works.values().map(|work| work.running.len()).sum();
        let mut room = (self.config.slots.max(1) as usize).saturating_sub(running);
        let ids: Vec<AssignmentId> = self.works.keys().copied().collect();
        for assignment in ids {
            if room == 0 || self.is_over() {
                return;
            }
            room = self.run_shards_of(assignment, room);
        }
    }

    /// Starts up to `room` shards of one assignment, and returns the remaining room.
    fn run_shards_of(&mut self, assignment: AssignmentId, mut room: usize) -> usize {
        let Some(work) = self.works.get(&assignment) else { return room };
        let is_ready = work.has_data && self.states.contains(&work.step);
        if work.use_of == Use::Nothing || !is_ready || self.is_superseded(assignment, work) {
            return room;
        }
        let in_memory: usize = self.works.values().map(|work| work.running.len()).sum();
        let parallel = self.runs.get(&work.step.run).map_or(0, |run| run.parallel as usize);
        room = room.min(parallel.saturating_sub(in_memory));
        let Some(work) = self.works.get_mut(&assignment) else { return room };
        let step = work.step;
        if work.start != Start::Free {
            if room > 0 && work.start == Start::ToSay {
                work.start = Start::Saying;
                self.actions.push_back(Action::SayStarted { assignment });
            }
            return room;
        }
        while room > 0
            && let Some(replica) = work.to_run.next()
        {
            work.running.insert(replica);
            self.actions.push_back(Action::RunShard { assignment, step, replica });
            room -= 1;
        }
        room
    }

    /// Whether an older assignment, or a kept partial, contains this assignment's block: then the
    /// coordinator will soon revoke it.
    fn is_superseded(&self, assignment: AssignmentId, work: &SessionBlock) -> bool {
        let has_it = |other: &SessionBlock| {
            other.use_of != Use::Nothing
                && other.step == work.step
                && other.block.contains(work.block)
        };
        self.works.range(..assignment).any(|(_, other)| has_it(other))
            || self.kept.around(work.step, work.block).is_some()
    }

    fn drop_if_stopped(&mut self, assignment: AssignmentId) {
        let is_stopped =
            |work: &SessionBlock| work.use_of == Use::Nothing && work.running.is_empty();
        if self.works.get(&assignment).is_some_and(is_stopped) {
            self.works.remove(&assignment);
            self.actions.push_back(Action::DropAssignment { assignment });
        }
    }

    /// A step has a base only once all before it are merged.
    fn forget_before(&mut self, step: StepId) {
        self.forget(|other| other.run == step.run && other.index < step.index);
    }

    /// Drops everything of some steps.
    fn forget(&mut self, is_over: impl Fn(StepId) -> bool) {
        let works = self.works.iter().filter(|(_, work)| is_over(work.step));
        let works: Vec<AssignmentId> = works.map(|(id, _)| *id).collect();
        for assignment in works {
            self.stop(assignment);
        }
        self.drop_kept(|(step, _)| is_over(step));
        self.drop_states(is_over);
    }

    /// Drops base states, except those that a started assignment still needs.
    fn drop_states(&mut self, is_over: impl Fn(StepId) -> bool) {
        let needs = |step: StepId| {
            let mut works = self.works.values();
            works.any(|work| work.step == step && work.use_of != Use::Nothing)
        };
        let over = self.states.iter().filter(|step| is_over(**step) && !needs(**step));
        let over: Vec<StepId> = over.copied().collect();
        for step in over {
            self.states.remove(&step);
            self.actions.push_back(Action::DropState { step });
        }
    }
}
