//! Audits: some shards are answered by two processes before their step is
//! merged, so that the driver can compare the answers.
//!
//! The second copy is a block of its own. It is handed out once the first
//! answer is there: a shard that kills its workers, or fails, is not given to
//! two for the audit's sake. No audit holds a step up for ever: where no other
//! process is there, or copies end without an answer, the step goes on without.

use std::collections::BTreeMap;
use std::time::Instant;

use common::id::{AssignmentId, Block, ProcessId, WorkerId};

use super::event::{Action, WorkerNote};
use super::hands::{Assignment, How};
use super::planted::Plant;
use super::second_answers::Open;
use super::share::Candidate;
use super::state::Scheduler;
use super::step::Step;
use super::trouble::Trouble;

/// Second copies of a shard that are handed out at most.
const COPIES: u32 = 3;

/// A second copy is taken back when it takes this many times as long as makes
/// a block slow: longer than any machine that works would need.
const PATIENCE: u32 = 10;

/// Why a step goes on without an answer.
const NOBODY: &str = "there is no second worker";
const NO_ROOM: &str = "all other workers have as many second copies in this step as they may";
const SILENCE: &str = "the workers that had it for a second time gave no answer";
const TROUBLE: &str = "it had failed on a worker, or killed one, in this step";

/// What is to be done about an audit.
#[derive(Debug)]
enum Next {
    /// Its second copy goes to this worker.
    HandOut(WorkerId),
    /// The step goes on without it.
    GoWithout(&'static str),
}

impl Scheduler {
    /// Takes in an answer. Says whether it was the second one of some shard.
    pub(super) fn answer(&mut self, worker: WorkerId, block: Block) -> bool {
        let Some(process) = self.members.get(&worker).map(|member| member.process) else {
            return false;
        };
        // A planted bug: whoever answers is taken for somebody else.
        let process = if self.has(Plant::AuditByOne) { ProcessId(worker.0) } else { process };
        let Some(step) = self.step_mut() else { return false };
        let id = step.id;
        let answered = step.audit.answer(block.replicas(step.replicas), process);
        let audited =
            answered.iter().map(|replica| Action::Audited { step: id, replica: *replica });
        self.actions.extend(audited);
        !answered.is_empty()
    }

    /// Hands out the second copies that are due, and goes on without those for
    /// which there is nobody.
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

    /// Whether something is left to do about audits.
    pub(super) fn may_hand_out_audits(&self, step: &Step) -> bool {
        !self.next_of_audits(step).is_empty()
    }

    fn next_of_audits(&self, step: &Step) -> Vec<(u32, Next)> {
        if step.audit.due.is_empty() {
            return Vec::new();
        }
        // Second copies that each process may still be given.
        let staying = self.members.values().filter(|it| !it.draining && !it.unfit);
        let mut room: BTreeMap<ProcessId, u32> =
            staying.map(|member| (member.process, step.audit.room(member.process))).collect();
        let process_of = |it: Candidate| Some((it, self.members.get(&it.worker)?.process));
        let mut candidates: Vec<(Candidate, ProcessId)> =
            self.all_candidates(step).into_iter().filter_map(process_of).collect();
        candidates.retain(|(_, process)| room.get(process).is_some_and(|room| *room > 0));
        let is_complete = step.cover.is_complete();
        let mut next = Vec::new();
        for replica in &step.audit.due {
            // What is not done, because its worker was lost since, is first of
            // all handed out like any other.
            if !step.cover.covers(Block::of_replica(*replica)) {
                continue;
            }
            if step.trouble.get(replica).is_some_and(Trouble::is_of_shard) {
                next.push((*replica, Next::GoWithout(TROUBLE)));
                continue;
            }
            let Some(Open { first, copies, tried }) = step.audit.open.get(replica) else {
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
                    SILENCE
                } else if !room.keys().any(is_other) {
                    NOBODY
                } else if room.iter().all(|(it, room)| *room == 0 || !is_other(it)) {
                    NO_ROOM
                } else {
                    // Somebody may have time for it soon.
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

    /// Takes second copies back that have taken too long.
    pub(super) fn end_overdue_audits(&mut self, now: Instant) {
        let overdue = self.second_copies().filter(|(_, overdue_at)| *overdue_at <= now);
        let overdue: Vec<AssignmentId> = overdue.map(|(id, _)| id).collect();
        for assignment in &overdue {
            let Some(worker) = self.step().and_then(|step| step.hands.get(*assignment)) else {
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
            let seconds = now.duration_since(since).as_secs_f64();
            let detail = format!("1 shard, replica {block}, audited, after {seconds:.1} s");
            self.note(worker, WorkerNote::Slow, detail);
        }
        if !overdue.is_empty() {
            self.hand_out(now);
        }
    }

    /// The second copies in workers' hands, and when each has taken too long.
    fn second_copies(&self) -> impl Iterator<Item = (AssignmentId, Instant)> {
        let step = self.step().filter(|step| !step.audit.is_over());
        let copies = step.map(|step| {
            let paces = self.paces();
            let copies = step.hands.iter().filter(|(_, it)| it.is_audit);
            copies.map(move |(id, it)| (id, it.since + PATIENCE * self.patience(step, &paces, it)))
        });
        copies.into_iter().flatten()
    }
}
