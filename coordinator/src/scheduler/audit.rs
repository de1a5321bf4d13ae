//! Audits: two processes compute some shards before their step is merged, so that the driver can
//! compare the results.
//!
//! The second copy is a separate block. It is handed out once the first result has arrived, so
//! that a shard that fails or kills its workers is not handed to two of them for an audit. No
//! audit delays a step forever: if there is no other process, or copies end without a result, the
//! step continues without the second result.

use std::collections::BTreeMap;
use std::time::Instant;

use common::id::{AssignmentId, Block, ProcessId, WorkerId};
use common::worker_event::WorkerEvent;

use super::event::Action;
use super::failure_record::FailureRecord;
use super::in_flight::{Assignment, How};
use super::injected_bugs::InjectedBug;
use super::reason::{Detail, UnauditedReason};
use super::second_answers::OpenAudit;
use super::share::Candidate;
use super::state::Scheduler;
use super::step::Step;

/// Most second copies of one shard.
const COPIES: u32 = 3;

/// A second copy is revoked after this many times the time after which a block counts as slow:
/// longer than any working machine needs.
const PATIENCE: u32 = 10;

/// The next action of an audit.
#[derive(Debug)]
enum Next {
    /// Hand its second copy to this worker.
    HandOut(WorkerId),
    /// Continue the step without it.
    GoWithout(UnauditedReason),
}

impl Scheduler {
    /// Records a result. Returns whether it was the second one of a shard.
    pub(super) fn answer(&mut self, worker: WorkerId, block: Block) -> bool {
        let Some(process) = self.members.get(&worker).map(|member| member.process) else {
            return false;
        };
        // An injected bug: the process counts as another one.
        let process = if self.has(InjectedBug::AuditByOne) { ProcessId(worker.0) } else { process };
        let Some(step) = self.step_mut() else { return false };
        let id = step.id;
        let answered = step.audit.answer(block.replicas(step.replicas), process);
        let audited =
            answered.iter().map(|replica| Action::Audited { step: id, replica: *replica });
        self.actions.extend(audited);
        !answered.is_empty()
    }

    /// Hands out the second copies that are due, and gives up those without a worker.
    pub(super) fn hand_out_audits(&mut self, now: Instant) {
        let Some(step) = self.step() else { return };
        let id = step.id;
        for (replica, next) in self.next_of_audits(step) {
            match next {
                Next::HandOut(worker) => {
                    let Some(process) = self.members.get(&worker).map(|it| it.process) else {
                        continue;
                    };
                    if let Some(step) = self.step_mut() {
                        step.audit.handed_out(replica, process);
                    }
                    self.assign(now, worker, Block::of_replica(replica), How::Audit);
                }
                Next::GoWithout(reason) => {
                    if let Some(step) = self.step_mut() {
                        step.audit.close(replica);
                    }
                    self.actions.push_back(Action::Unaudited { step: id, replica, reason });
                }
            }
        }
    }

    /// Whether an audit needs an action.
    pub(super) fn may_hand_out_audits(&self, step: &Step) -> bool {
        !self.next_of_audits(step).is_empty()
    }

    fn next_of_audits(&self, step: &Step) -> Vec<(u32, Next)> {
        if step.audit.due.is_empty() {
            return Vec::new();
        }
        // Second copies that each process may still get.
        let staying = self.members.values().filter(|it| !it.draining && !it.unfit);
        let mut room: BTreeMap<ProcessId, u32> =
            staying.map(|member| (member.process, step.audit.room(member.process))).collect();
        let process_of = |it: Candidate| Some((it, self.members.get(&it.worker)?.process));
        let mut candidates: Vec<(Candidate, ProcessId)> =
            self.all_candidates(step).into_iter().filter_map(process_of).collect();
        candidates.retain(|(_, process)| room.get(process).is_some_and(|room| *room > 0));
        let is_complete = step.completed.is_complete();
        let mut next = Vec::new();
        for replica in &step.audit.due {
            // If the first result is gone, because its worker was lost, the shard is
            // first handed out like any other.
            if !step.completed.covers(Block::of_replica(*replica)) {
                continue;
            }
            if step.failures.get(replica).is_some_and(FailureRecord::is_of_shard) {
                next.push((*replica, Next::GoWithout(UnauditedReason::ShardFailed)));
                continue;
            }
            let Some(OpenAudit { first, copies, tried }) = step.audit.open.get(replica) else {
                continue;
            };
            let is_other = |process: &ProcessId| Some(*process) != *first;
            let is_spent = *copies >= COPIES;
            let fits = |(candidate, process): &&mut (Candidate, ProcessId)| {
                !is_spent && candidate.room > 0 && is_other(process)
            };
            let others = candidates.iter_mut().filter(fits);
            let order = |(it, process): &&mut (Candidate, ProcessId)| {
                (tried.contains(process), it.done_at())
            };
            if let Some((candidate, process)) = others.min_by_key(order) {
                candidate.take(1);
                next.push((*replica, Next::HandOut(candidate.worker)));
                if let Some(room) = room.get_mut(process) {
                    *room -= 1;
                }
                candidates.retain(|(_, it)| room.get(it).is_some_and(|room| *room > 0));
            } else if is_complete {
                let reason = if is_spent {
                    UnauditedReason::NoResult
                } else if !room.keys().any(is_other) {
                    UnauditedReason::NoWorker
                } else if room.iter().all(|(it, room)| *room == 0 || !is_other(it)) {
                    UnauditedReason::NoRoom
                } else {
                    // Another worker may be free soon.
                    continue;
                };
                next.push((*replica, Next::GoWithout(reason)));
            }
        }
        next
    }

    /// When the next second copy has taken too long.
    pub(super) fn audit_deadline(&self) -> Option<Instant> {
        self.second_copies().map(|(_, overdue_at)| overdue_at).min()
    }

    /// Revokes second copies that have taken too long.
    pub(super) fn end_overdue_audits(&mut self, now: Instant) {
        let overdue = self.second_copies().filter(|(_, overdue_at)| *overdue_at <= now);
        let overdue: Vec<AssignmentId> = overdue.map(|(id, _)| id).collect();
        for assignment in &overdue {
            let Some(worker) = self.step().and_then(|step| step.in_flight.get(*assignment)) else {
                continue;
            };
            let worker = worker.worker;
            let Some(Assignment { block, since, .. }) = self.remove_assignment(worker, *assignment)
            else {
                continue;
            };
            self.actions.push_back(Action::Revoke { worker, assignment: *assignment });
            if let Some(member) = self.members.get_mut(&worker) {
                member.stalled = true;
            }
            self.release(block);
            let detail = Detail::AuditOverdue { block, after: now.duration_since(since) };
            self.note(worker, WorkerEvent::Slow, detail);
        }
        if !overdue.is_empty() {
            self.hand_out(now);
        }
    }

    /// The assigned second copies, and when each has taken too long.
    fn second_copies(&self) -> impl Iterator<Item = (AssignmentId, Instant)> {
        let step = self.step().filter(|step| !step.audit.is_over());
        let copies = step.map(|step| {
            let throughputs = self.throughputs();
            let copies = step.in_flight.iter().filter(|(_, it)| it.is_audit);
            copies.map(move |(id, it)| {
                (id, it.since + PATIENCE * self.patience(step, &throughputs, it))
            })
        });
        copies.into_iter().flatten()
    }
}
