//! Who is there, and who is lost.

use std::time::Instant;

use common::id::{AssignmentId, Block, ProcessId, WorkerId};

use super::cover::size;
use super::deaths::Death;
use super::hands::Assignment;
use super::pace::Pace;
use super::planted::Plant;
use super::step::{Merge, Step};
use super::work::in_words;
use super::{Action, Scheduler, WorkerNote};

/// A connected worker.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) process: ProcessId,
    pub(super) slots: u32,
    pub(super) joined: Instant,
    /// When it was last heard.
    pub(super) heard: Instant,
    /// Whether it takes no more work.
    pub(super) draining: bool,
    /// Whether it was found slow and not heard since: it may be stopped, and
    /// gets no more work until it is heard.
    pub(super) stalled: bool,
    pub(super) pace: Pace,
    /// Partials that it said it had, and then had not.
    pub(super) missing: u32,
}

impl Member {
    /// Whether it may be given work.
    pub(super) fn is_available(&self) -> bool {
        !self.draining && !self.stalled
    }
}

/// How a worker went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// It said goodbye.
    Left,
    /// It did not: whatever was running on it is under suspicion, until its
    /// process comes back.
    Crashed,
    /// Nothing was heard of it for too long. Only what it had before its last
    /// sign of life is under suspicion: what came later it may never have
    /// seen.
    Silent,
    /// It was sent away.
    Expelled,
}

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
            pace: Pace::default(),
            missing: 0,
        };
        if self.members.contains_key(&worker) {
            return;
        }
        self.members.insert(worker, member);
        self.acquit(process);
        self.note(
            worker,
            WorkerNote::Joined,
            match slots {
                1 => "it has 1 slot".into(),
                slots => format!("it has {slots} slots"),
            },
        );
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

    /// Remembers what a worker says is running, for the day that it dies.
    pub(super) fn progress(
        &mut self,
        worker: WorkerId,
        assignment: AssignmentId,
        running: &[u32],
        shards_done: u32,
    ) {
        let Some(step) = self.step_mut() else { return };
        let replicas = step.replicas;
        let Some(found) = step.hands.get_mut(assignment) else { return };
        // An assignment that is not begun says nothing about what may be
        // running by now.
        if found.worker == worker && (shards_done > 0 || !running.is_empty()) {
            let block = found.block.replicas(replicas);
            let known = block.filter(|replica| running.contains(replica)).collect();
            found.running = Some(known);
        }
    }

    /// When the next worker has been silent for too long.
    pub(super) fn silence_deadline(&self) -> Option<Instant> {
        if self.has(Plant::SilenceForgiven) {
            return None;
        }
        self.members.values().map(|member| member.heard + self.config.heartbeat_timeout).min()
    }

    /// Begins everybody's silence anew: it was this coordinator that was away.
    pub(super) fn was_away(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            member.heard = member.heard.max(now);
        }
    }

    /// Declares the silent lost: all of them, before anything that they had is
    /// given to others, so that none of it is given to one of them.
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
            let reason = format!("it was silent for {:.1} s", timeout.as_secs_f64());
            self.actions.push_back(Action::Disconnect { worker, reason: reason.clone() });
            self.forget(now, worker, Departure::Silent, &reason);
        }
        self.go_on_without_lost(now);
    }

    /// Forgets a worker. What it worked on and what only it has is given to
    /// others.
    pub(super) fn worker_gone(
        &mut self,
        now: Instant,
        worker: WorkerId,
        how: Departure,
        reason: &str,
    ) {
        self.forget(now, worker, how, reason);
        self.go_on_without_lost(now);
    }

    /// Goes on with the step after workers were lost.
    fn go_on_without_lost(&mut self, now: Instant) {
        self.pause_if_broken();
        self.acquit_lost_together();
        if !self.fail_on_crashes() && !self.fail_on_deaths() {
            self.hand_out(now);
        }
    }

    /// Forgets a worker. What it worked on and what only it has waits from now
    /// on.
    fn forget(&mut self, now: Instant, worker: WorkerId, how: Departure, reason: &str) {
        let Some(member) = self.members.remove(&worker) else { return };
        let what = if how == Departure::Left { WorkerNote::Left } else { WorkerNote::Lost };
        self.note(worker, what, reason.to_owned());
        let crash_limit = self.config.crash_limit;
        let forgets = self.has(Plant::LostBlockForgotten);
        let blames_all = self.has(Plant::LateWorkBlamed);
        // It may have reconnected before its old connection was seen to end.
        let is_back = self.members.values().any(|it| it.process == member.process);
        let Some(step) = self.step_mut() else { return };
        let mut lost: Vec<Block> = Vec::new();
        let replicas = step.replicas;
        let held = step.hands.take(|it| it.worker == worker);
        let held: Vec<Assignment> = held.into_iter().map(|(_, it)| it).collect();
        step.audit.copies_ended(&held);
        let may_have_run = |it: &&Assignment| match how {
            Departure::Crashed => true,
            Departure::Silent => it.since < member.heard || blames_all,
            Departure::Left | Departure::Expelled => false,
        };
        if !is_back {
            let may_have_run: Vec<&Assignment> = held.iter().filter(may_have_run).collect();
            suspect(step, &may_have_run, member.process);
            let at = match how {
                Departure::Crashed => Some(now),
                Departure::Silent => Some(member.heard),
                Departure::Left | Departure::Expelled => None,
            };
            if let Some(at) = at {
                let was_busy = !held.is_empty();
                step.deaths.insert(member.process, Death { at, joined: member.joined, was_busy });
            }
        }
        for assignment in &held {
            // After a crash the block goes on in halves, so that the replica
            // that may have caused it is cornered.
            match assignment.block.halves() {
                Some((left, right)) if is_suspect(step, assignment.block) => {
                    lost.extend([left, right]);
                }
                _ => lost.push(assignment.block),
            }
        }
        for block in step.cover.kept_by(worker) {
            step.cover.remove(block);
            lost.push(block);
        }
        if !forgets {
            for block in &lost {
                step.release(*block, crash_limit);
            }
        }
        if !lost.is_empty() {
            let count: u32 = lost.iter().map(|block| size(*block, replicas)).sum();
            let lost: Vec<String> = lost.iter().map(Block::to_string).collect();
            let count = in_words(count);
            let detail = format!("{count}, replicas {}, to be done by others", lost.join(", "));
            self.note(worker, WorkerNote::Reassigned, detail);
        }
    }

    /// Stops a merge whose parts are not all there any more.
    pub(super) fn pause_if_broken(&mut self) {
        let Some(step) = self.step_mut() else { return };
        if step.merge == Merge::UnderWay && !step.cover.is_complete() {
            step.merge = Merge::Paused;
            let step = step.id;
            self.actions.push_back(Action::PauseMerge { step });
        }
    }

    /// Takes back what a process was taken to have died of: it is back, so only
    /// its connection had died.
    fn acquit(&mut self, process: ProcessId) {
        let Some(step) = self.step_mut() else { return };
        step.deaths.remove(process);
        for trouble in step.trouble.values_mut() {
            trouble.died.remove(&process);
        }
    }

    /// Fails the run where a replica was running on too many workers as they
    /// died. Says whether it did.
    fn fail_on_crashes(&mut self) -> bool {
        let limit = self.config.crash_limit.max(1);
        let Some(step) = self.step_mut() else { return false };
        let over = step.trouble.iter().filter(|(_, it)| it.crashes() >= limit);
        let guilty: Vec<u32> = over.map(|(replica, _)| *replica).collect();
        let Some(first) = guilty.first().copied() else { return false };
        let workers = if limit == 1 { "1 worker".into() } else { format!("{limit} workers") };
        let reason = format!(
            "{}: {workers} died while replica {} was running there, so the shard is taken to be \
             what kills them; look into their last log lines (out of memory? a crash in the \
             model?), then submit the run again",
            step.id,
            guilty.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        );
        let shard = Some((step.id, first));
        self.fail_run(reason, shard);
        true
    }
}

/// Counts a crash for what was running on a worker as it died: by its last
/// word, or, if it had said nothing, all that it had.
fn suspect(step: &mut Step, held: &[&Assignment], process: ProcessId) {
    let spoke = held.iter().any(|assignment| assignment.running.is_some());
    for assignment in held {
        let all = assignment.block.replicas(step.replicas);
        let suspects: Vec<u32> = match &assignment.running {
            Some(running) if !running.is_empty() => running.clone(),
            // It ran something of this block, and had just ended what is
            // known of: what it began next is anyone's guess.
            Some(_) => all.collect(),
            None if spoke => continue,
            None => all.collect(),
        };
        for replica in suspects {
            if !step.cover.covers(Block::of_replica(replica)) {
                step.trouble.entry(replica).or_default().died.insert(process);
            }
        }
    }
}

fn is_suspect(step: &Step, block: Block) -> bool {
    let mut troubles = step.trouble.range(block.replicas(step.replicas));
    troubles.any(|(_, trouble)| trouble.crashes() > 0)
}
