//! Failures: shards that return errors, partials that are missing or changed, and workers that
//! are lost repeatedly for an unknown reason.

use std::time::Instant;

use common::id::{AssignmentId, Block, StepId, WorkerId};
use common::worker_event::WorkerEvent;

use super::event::{Action, Departure, PartialRef};
use super::in_flight::Assignment;
use super::reason::{Detail, LossReason, RunFailure};
use super::state::Scheduler;

/// Number of reported partials that a worker may lack in one step before it is disconnected: it
/// would prevent the step from ending.
const MISSING_LIMIT: u32 = 8;

/// A run fails if workers were lost in one step on this many times the crash limit of occasions,
/// whatever the cause.
const OCCASIONS: u32 = 10;

/// Limit of a worker's error text, in bytes.
const ERROR_BYTES: usize = 2048;

impl Scheduler {
    pub(super) fn shard_failed(
        &mut self,
        now: Instant,
        (worker, id): (WorkerId, AssignmentId),
        replica: u32,
        fatal: bool,
        error: &str,
    ) {
        let replicas = self.step().map_or(0, |step| step.replicas);
        let is_its =
            |it: &Assignment| it.worker == worker && it.block.replicas(replicas).contains(&replica);
        let assignment = self.step().and_then(|step| step.in_flight.get(id));
        if !assignment.is_some_and(is_its) {
            return;
        }
        let Some(assignment) = self.remove_assignment(worker, id) else { return };
        let limit = self.config.shard_error_limit;
        let has_judge = self.has_judge(worker);
        let Some(step) = self.step_mut() else { return };
        let is_done = step.completed.covers(Block::of_replica(replica));
        let record = step.failures.entry(replica).or_default();
        if !is_done {
            record.errors += 1;
            record.failed_on.insert(worker);
        }
        let is_confirmed = !has_judge || record.failed_on.len() > 1;
        let (step, errors, error) = (step.id, record.errors, shortened(error));
        let detail = Detail::ShardFailed { replica, error: error.clone() };
        self.note(worker, WorkerEvent::Failed, detail);
        if errors >= limit.max(1) || (fatal && is_confirmed) {
            let reason = RunFailure::ShardFailed { step, replica, errors, worker, fatal, error };
            self.fail_run(reason);
            return;
        }
        self.worker_failed(now, worker);
        self.release(assignment.block);
        self.hand_out(now);
    }

    /// Whether there is another process that may confirm a failure, as the worker's memory or
    /// build may be the cause.
    fn has_judge(&self, worker: WorkerId) -> bool {
        let process = self.members.get(&worker).map(|member| member.process);
        let mut others = self.members.values().filter(|other| Some(other.process) != process);
        others.any(|other| !other.draining && !other.unfit)
    }

    /// A block that arrived altered or impossible counts as not done. It goes to other
    /// workers, if there are any, as the worker's memory or build may be faulty.
    pub(super) fn partial_altered(
        &mut self,
        now: Instant,
        worker: WorkerId,
        (id, block): (StepId, Block),
        error: &str,
    ) {
        if !self.members.contains_key(&worker) {
            return;
        }
        let limit = self.config.shard_error_limit.max(1);
        let part = PartialRef { block, holder: Some(worker) };
        let Some(step) = self.step_with(id, block) else { return };
        if step.completed.get(block) == Some(part) {
            step.completed.remove(block);
        }
        let ended = step.in_flight.take(worker, |it| it.block == block);
        step.audit.copies_ended(&ended);
        let mut times = 0;
        for replica in block.replicas(step.replicas) {
            if !step.completed.covers(Block::of_replica(replica)) {
                let record = step.failures.entry(replica).or_default();
                record.altered += 1;
                record.failed_on.insert(worker);
                times = times.max(record.altered);
            }
        }
        let error = shortened(error);
        self.note(worker, WorkerEvent::Failed, Detail::Text(error.clone()));
        if times >= limit {
            self.fail_run(RunFailure::Altered { error, times, worker });
            return;
        }
        self.worker_failed(now, worker);
        self.release(block);
        self.pause_if_broken();
        self.hand_out(now);
    }

    pub(super) fn partial_missing(
        &mut self,
        now: Instant,
        worker: WorkerId,
        id: StepId,
        block: Block,
    ) {
        let part = PartialRef { block, holder: Some(worker) };
        let Some(step) = self.step_with(id, block) else { return };
        if step.completed.get(block) != Some(part) {
            return;
        }
        step.completed.remove(block);
        step.lacked.insert(worker);
        self.release(block);
        self.pause_if_broken();
        self.worker_failed(now, worker);
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.missing += 1;
        if member.missing >= MISSING_LIMIT {
            let reason = LossReason::MissingPartials { partials: MISSING_LIMIT };
            self.actions.push_back(Action::Disconnect { worker, reason });
            self.worker_gone(now, worker, Departure::Parted, Detail::GivenUp(reason));
        } else {
            self.hand_out(now);
        }
    }

    /// Fails the run if workers were lost repeatedly in one step. Returns whether it failed.
    pub(super) fn fail_on_deaths(&mut self) -> bool {
        let limit = self.config.crash_limit.max(1).saturating_mul(OCCASIONS);
        let Some(step) = self.step() else { return false };
        if step.deaths.occasions() < limit {
            return false;
        }
        let reason = RunFailure::Losses { step: step.id, times: limit };
        self.fail_run(reason);
        true
    }
}

fn shortened(error: &str) -> String {
    let mut end = error.len().min(ERROR_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].to_owned()
}
