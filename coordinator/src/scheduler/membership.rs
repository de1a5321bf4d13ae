//! Workers that join, leave or are lost.

use std::time::Instant;

use common::id::{AssignmentId, Block, ProcessId, WorkerId};
use common::worker_event::WorkerEvent;

use super::completed_set::size;
use super::deaths::Death;
use super::event::{Action, Departure};
use super::failure_record::{FailureRecord, Ground};
use super::in_flight::Assignment;
use super::injected_bugs::InjectedBug;
use super::member::Member;
use super::reason::{Detail, LossReason, RunFailure};
use super::state::Scheduler;
use super::step::{Merge, Step};
use super::throughput::Throughput;

impl Scheduler {
    pub(super) fn worker_joined(
        &mut self,
        now: Instant,
        worker: WorkerId,
        process: ProcessId,
        slots: u32,
    ) {
        let member = Member {
            process,
            slots: slots.clamp(1, common::limits::SLOTS),
            joined: now,
            heard: now,
            draining: false,
            stalled: false,
            unfit: false,
            throughput: Throughput::default(),
            missing: 0,
        };
        if self.members.contains_key(&worker) {
            return;
        }
        self.members.insert(worker, member);
        self.clear_suspicion(process);
        self.note(worker, WorkerEvent::Joined, Detail::Slots(slots));
        self.start_next();
        self.hand_out(now);
    }

    pub(super) fn heard(&mut self, now: Instant, worker: WorkerId) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.heard = member.heard.max(now);
        if std::mem::take(&mut member.stalled) {
            self.hand_out(now);
        }
    }

    pub(super) fn worker_draining(&mut self, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.draining = true;
        }
    }

    /// Records which replicas a worker reports as running, in case it dies.
    pub(super) fn progress(
        &mut self,
        worker: WorkerId,
        assignment: AssignmentId,
        running: &[u32],
        shards_done: u32,
    ) {
        let Some(step) = self.step_mut() else { return };
        let replicas = step.replicas;
        let Some(found) = step.in_flight.get_mut(assignment) else { return };
        // A report without running replicas does not tell which may be running by now.
        if found.worker == worker && (shards_done > 0 || !running.is_empty()) {
            let block = found.block.replicas(replicas);
            let known = block.filter(|replica| running.contains(replica)).collect();
            found.running = Some(known);
            found.is_begun = true;
        }
    }

    /// Records that a worker announces the start of its only block.
    pub(super) fn started(&mut self, worker: WorkerId, assignment: AssignmentId) {
        let found = self.step_mut().and_then(|step| step.in_flight.get_mut(assignment));
        if let Some(found) = found.filter(|it| it.worker == worker) {
            found.is_begun = true;
        }
    }

    /// When the next worker will have been silent for too long.
    pub(super) fn silence_deadline(&self) -> Option<Instant> {
        if self.has(InjectedBug::SilenceForgiven) {
            return None;
        }
        self.members.values().map(|member| member.heard + self.config.heartbeat_timeout).min()
    }

    /// Restarts the silence of all workers, as the coordinator itself was suspended.
    pub(super) fn was_away(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.heard = member.heard.max(now);
        }
    }

    /// Declares all silent workers lost before any of their work is handed to others, so that
    /// none of it goes to another silent worker.
    pub(super) fn lose_silent(&mut self, now: Instant) {
        if self.silence_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let timeout = self.config.heartbeat_timeout;
        let is_silent = |member: &Member| member.heard + timeout <= now;
        let silent: Vec<WorkerId> = self
            .members
            .iter()
            .filter(|(_, member)| is_silent(member))
            .map(|(worker, _)| *worker)
            .collect();
        for worker in silent {
            let reason = LossReason::Silent { timeout };
            self.actions.push_back(Action::Disconnect { worker, reason });
            self.forget(now, worker, Departure::Silent, Detail::GivenUp(reason));
        }
        self.go_on_without_lost(now);
    }

    /// Removes a worker. Its assignments, and the partials that only it has, are handed to
    /// others.
    pub(super) fn worker_gone(
        &mut self,
        now: Instant,
        worker: WorkerId,
        how: Departure,
        reason: Detail,
    ) {
        self.forget(now, worker, how, reason);
        self.go_on_without_lost(now);
    }

    /// Continues the step after workers were lost.
    fn go_on_without_lost(&mut self, now: Instant) {
        self.pause_if_broken();
        self.clear_lost_together();
        if !self.fail_on_crashes(now) && !self.fail_on_deaths() {
            self.hand_out(now);
        }
    }

    /// Removes a worker. Its assignments, and the partials that only it has, wait from now on.
    fn forget(&mut self, now: Instant, worker: WorkerId, how: Departure, reason: Detail) {
        let Some(member) = self.members.remove(&worker) else { return };
        let what = if how == Departure::Left { WorkerEvent::Left } else { WorkerEvent::Lost };
        self.note(worker, what, reason);
        let forgets = self.has(InjectedBug::LostBlockForgotten);
        let blames_all = self.has(InjectedBug::UnstartedBlamed);
        // It may have reconnected before the end of its old connection was noticed.
        let is_back = self.members.values().any(|it| it.process == member.process);
        let Some(step) = self.step_mut() else { return };
        let mut lost: Vec<Block> = Vec::new();
        let replicas = step.replicas;
        let held = step.in_flight.take(worker, |_| true);
        step.audit.copies_ended(&held);
        let may_have_run = |it: &&Assignment| match how {
            Departure::Crashed => true,
            Departure::Silent => it.since < member.heard,
            Departure::Left | Departure::Parted => false,
        };
        if !is_back {
            let may_have_run: Vec<&Assignment> = held.iter().filter(may_have_run).collect();
            let (alone, shared): (Vec<&Assignment>, Vec<&Assignment>) =
                may_have_run.into_iter().partition(|it| it.alone);
            suspect(step, &shared, &member);
            let is_guilty = |it: &&Assignment| it.is_begun || blames_all;
            for assignment in alone.into_iter().filter(is_guilty) {
                for record in troubles_of(step, assignment.block) {
                    record.died.insert(member.process);
                }
            }
            let at = match how {
                Departure::Crashed => Some(now),
                Departure::Silent => Some(member.heard),
                Departure::Left | Departure::Parted => None,
            };
            if let Some(at) = at {
                let was_busy = !held.is_empty();
                step.deaths.insert(member.process, Death { at, joined: member.joined, was_busy });
            }
        }
        for assignment in &held {
            // After a crash the block is split in halves, to isolate the replica
            // that may have caused it.
            match assignment.block.halves() {
                Some((left, right)) if step.is_suspect(assignment.block) => {
                    lost.extend([left, right]);
                }
                _ => lost.push(assignment.block),
            }
        }
        for block in step.completed.kept_by(worker) {
            step.completed.remove(block);
            lost.push(block);
        }
        if !forgets {
            for block in &lost {
                step.release(*block);
            }
        }
        if !held.is_empty() && how != Departure::Left {
            self.count_failure(now, worker, member.process);
        }
        if !lost.is_empty() {
            let shards = lost.iter().map(|block| size(*block, replicas)).sum();
            let detail = Detail::HandedOver { shards, blocks: lost };
            self.note(worker, WorkerEvent::Reassigned, detail);
        }
    }

    /// Stops a merge whose parts are no longer complete.
    pub(super) fn pause_if_broken(&mut self) {
        let Some(step) = self.step_mut() else { return };
        if step.merge == Merge::UnderWay && !step.completed.is_complete() {
            step.merge = Merge::Paused;
            let step = step.id;
            self.actions.push_back(Action::PauseMerge { step });
        }
    }

    /// When the first replica that reached the crash limit may fail the run. By then it is
    /// certain whether the last of its processes was lost together with all others, in which
    /// case the replica is not suspected.
    pub(super) fn crashes_deadline(&self) -> Option<Instant> {
        let step = self.step()?;
        let known = |(_, record): (u32, &FailureRecord)| step.deaths.known_at(&record.died);
        step.deadly(self.config.crash_limit).filter_map(known).min()
    }

    /// Fails the run if a replica was running on too many workers when they died. Returns whether
    /// it failed.
    pub(super) fn fail_on_crashes(&mut self, now: Instant) -> bool {
        let limit = self.config.crash_limit.max(1);
        let Some(step) = self.step() else { return false };
        let is_known = |(_, record): &(u32, &FailureRecord)| {
            step.deaths.known_at(&record.died).is_some_and(|known_at| known_at <= now)
        };
        let replicas: Vec<u32> =
            step.deadly(limit).filter(is_known).map(|(replica, _)| replica).collect();
        if replicas.is_empty() {
            return false;
        }
        let reason = RunFailure::Crashes { step: step.id, replicas, workers: limit };
        self.fail_run(reason);
        true
    }
}

/// Suspects the replicas that may have been running on a worker when it died: those it last
/// reported as running, or all its replicas if it had reported none.
fn suspect(step: &mut Step, held: &[&Assignment], member: &Member) {
    let spoke = held.iter().any(|assignment| assignment.running.is_some());
    let mut all_suspects: Vec<u32> = Vec::new();
    for assignment in held {
        let all = assignment.block.replicas(step.replicas);
        let suspects: Vec<u32> = match &assignment.running {
            Some(running) if !running.is_empty() => running.clone(),
            // It had just finished the reported replicas of this block, so the running
            // one is unknown.
            Some(_) => all.collect(),
            None if spoke => continue,
            None => all.collect(),
        };
        all_suspects.extend(suspects);
    }
    let is_narrow = all_suspects.len() <= member.slots as usize;
    let ground = if is_narrow { Ground::Narrow } else { Ground::Wide };
    for replica in all_suspects {
        for record in troubles_of(step, Block::of_replica(replica)) {
            record.lost_with.insert(member.process, ground);
        }
    }
}

/// The failure records of the replicas of a block that are not done.
fn troubles_of(step: &mut Step, block: Block) -> impl Iterator<Item = &mut FailureRecord> {
    for replica in block.replicas(step.replicas) {
        if !step.completed.covers(Block::of_replica(replica)) {
            step.failures.entry(replica).or_default();
        }
    }
    let (cover, range) = (&step.completed, block.replicas(step.replicas));
    let found = step.failures.range_mut(range);
    let undone = found.filter(|(replica, _)| !cover.covers(Block::of_replica(**replica)));
    undone.map(|(_, record)| record)
}
