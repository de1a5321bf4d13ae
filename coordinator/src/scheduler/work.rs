//! A step's blocks: handing them out, and taking them in.

use std::time::{Duration, Instant};

use common::id::{AssignmentId, Block, StepId, WorkerId};

use super::cover::{exists, size};
use super::hands::Assignment;
use super::membership::Member;
use super::pace::Paces;
use super::planted::Plant;
use super::share::{Candidate, share};
use super::step::{Care, Merge, Step};
use super::{Action, Part, Scheduler, WorkerNote};

/// News of a finished block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    pub(super) worker: WorkerId,
    pub(super) step: StepId,
    pub(super) block: Block,
    /// Whether the partial came along.
    pub(super) inline: bool,
    pub(super) compute: Duration,
}

/// How a block is put in a worker's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Beside others.
    Shared,
    /// As the only one.
    Alone,
    /// As the second copy of an audited shard.
    Audit,
}

impl Scheduler {
    pub(super) fn step_ready(
        &mut self,
        now: Instant,
        id: StepId,
        replicas: u32,
        audited: Vec<u32>,
    ) {
        let Some(active) = self.active.as_mut().filter(|active| active.run == id.run) else {
            return;
        };
        if active.step.is_some() || active.last.is_some_and(|last| last.index >= id.index) {
            return;
        }
        let before = active.last.replace(id);
        active.step = Some(Step::new(id, replicas, audited));
        if let Some(before) = before {
            let mean = self.paces().mean();
            for member in self.members.values_mut() {
                member.pace.age(before, mean);
            }
        }
        self.begin_gathering(now);
        self.end_gathering(now);
        self.hand_out(now);
    }

    pub(super) fn step_merged(&mut self, step: StepId) {
        let Some(active) = &mut self.active else { return };
        // A merge that was paused may have ended just before it heard so:
        // what it merged was complete.
        let is_over = |it: &Step| it.id == step && it.merge != Merge::Waiting;
        if active.step.as_ref().is_some_and(is_over) {
            self.revoke(|_, _| true);
            if let Some(active) = &mut self.active {
                active.step = None;
                active.gather = None;
                active.min_workers = 0;
            }
        }
    }

    pub(super) fn block_done(&mut self, now: Instant, done: Finished) {
        let is_ours = self.members.contains_key(&done.worker)
            && self.step_with(done.step, done.block).is_some();
        let taken = is_ours && self.take_in(&done);
        if done.inline {
            let Finished { step, block, .. } = done;
            self.actions.push_back(Action::Inline { step, block, keep: taken });
        }
        if !is_ours {
            return;
        }
        let audited = self.answer(done.worker, done.block);
        let was_assigned = self.end_assignment(&done);
        let Finished { worker, block, .. } = done;
        if !taken && audited {
            // Done twice on purpose.
        } else if !taken {
            let detail = format!("{}, replicas {block}, were done already", self.shards_of(block));
            self.note(worker, WorkerNote::Duplicate, detail);
        } else if !was_assigned {
            let run = done.step.run;
            self.actions.push_back(Action::Offered { run, worker, block });
        }
        self.revoke(Step::is_needless);
        self.hand_out(now);
    }

    /// How many shards of the step under way a block has, in words.
    pub(super) fn shards_of(&self, block: Block) -> String {
        in_words(self.step().map_or(0, |step| size(block, step.replicas)))
    }

    /// Enters a result in the cover. Says whether it was news.
    fn take_in(&mut self, done: &Finished) -> bool {
        let crash_limit = self.config.crash_limit;
        let twice = self.has(Plant::DuplicateTaken);
        let Some(step) = self.step_with(done.step, done.block) else { return false };
        let holder = (!done.inline).then_some(done.worker);
        let part = Part { block: done.block, holder };
        let taken = step.cover.take(part);
        if taken {
            step.settle(done.block, crash_limit);
        } else if twice {
            step.cover.count_twice(part.block);
        }
        taken
    }

    /// Ends the assignment of a finished block, and learns from it how fast
    /// its worker is. Says whether there was one.
    fn end_assignment(&mut self, done: &Finished) -> bool {
        let Some(step) = self.step_mut() else { return false };
        let (id, shards) = (step.id, size(done.block, step.replicas));
        let ended = step.hands.take(|it| it.worker == done.worker && it.block == done.block);
        if ended.is_empty() {
            return false;
        }
        step.audit.copies_ended(ended.iter().map(|(_, it)| it));
        if let Some(member) = self.members.get_mut(&done.worker) {
            member.pace.measure(id, shards, member.slots, done.compute);
        }
        true
    }

    pub(super) fn handed_back(&mut self, now: Instant, worker: WorkerId, id: AssignmentId) {
        // Only a worker that is about to leave gives work back. Were it given
        // more, it would only give that back, too.
        self.worker_draining(worker);
        if let Some(assignment) = self.remove_assignment(worker, id) {
            self.release(assignment.block);
            self.hand_out(now);
        }
    }

    /// Hands out all that waits, as far as there are workers for it, and has
    /// the step merged if nothing is left to hand out or to wait for.
    pub(super) fn hand_out(&mut self, now: Instant) {
        if !self.is_gathering() && !self.is_short() {
            self.hand_out_waiting(now);
            self.hand_out_audits(now);
        }
        self.merge_if_complete();
    }

    /// Hands all waiting blocks out.
    fn hand_out_waiting(&mut self, now: Instant) {
        let crash_limit = self.config.crash_limit;
        let Some(step) = self.step().filter(|step| !step.waiting.is_empty()) else { return };
        let mut candidates = self.candidates(step);
        let (careful, plain): (Vec<Block>, Vec<Block>) =
            step.waiting.values().partition(|block| step.care(**block, crash_limit) != Care::None);
        let replicas = step.replicas;
        let mut handed: Vec<(WorkerId, Block, Care)> = Vec::new();
        for block in careful {
            let care = step.care(block, crash_limit);
            let Some(at) = pick(step, block, care, &candidates) else { continue };
            candidates[at].load += size(block, replicas);
            handed.push((candidates[at].worker, block, care));
            if care == Care::Alone {
                candidates.remove(at);
            }
        }
        let done = if candidates.is_empty() { Vec::new() } else { plain };
        let settled: Vec<u64> = handed
            .iter()
            .map(|(_, block, _)| block.start())
            .chain(done.iter().map(|it| it.start()))
            .collect();
        let shared = share(done.into_iter(), replicas, &candidates);
        handed.extend(shared.into_iter().map(|(worker, block)| (worker, block, Care::None)));
        if let Some(step) = self.step_mut() {
            for start in settled {
                step.waiting.remove(&start);
            }
        }
        for (worker, block, care) in handed {
            let how = if care == Care::Alone { How::Alone } else { How::Shared };
            self.assign(now, worker, block, how);
        }
    }

    /// The workers that may be given work, with what they have already.
    pub(super) fn candidates(&self, step: &Step) -> Vec<Candidate> {
        let mean = self.paces().mean();
        let loads = step.loads();
        let available = self.members.iter().filter(|(_, member)| member.is_available());
        let candidate = |(worker, member): (&WorkerId, &Member)| {
            let load = loads.get(worker).copied().unwrap_or_default();
            (!load.is_reserved).then(|| Candidate {
                worker: *worker,
                slots: member.slots,
                nanos: member.pace.nanos(mean),
                load: load.replicas,
            })
        };
        let candidates: Vec<Candidate> = available.filter_map(candidate).collect();
        let lacked = |it: &Candidate| step.lacked.contains(&it.worker);
        match candidates.iter().all(lacked) {
            true => candidates,
            false => candidates.into_iter().filter(|it| !lacked(it)).collect(),
        }
    }

    /// Puts a block in a worker's hands.
    pub(super) fn assign(&mut self, now: Instant, worker: WorkerId, block: Block, how: How) {
        self.last_assignment += 1;
        let id = AssignmentId(self.last_assignment);
        let Some(step) = self.step_mut() else { return };
        let before = step.hands.iter().filter(|(_, it)| it.worker == worker);
        let before: u32 = before.map(|(_, it)| size(it.block, step.replicas)).sum();
        let queued = before + size(block, step.replicas);
        let (alone, is_audit) = (how == How::Alone, how == How::Audit);
        let assignment =
            Assignment { worker, block, since: now, queued, alone, is_audit, running: None };
        step.hands.insert(id, assignment);
        let step = step.id;
        self.actions.push_back(Action::Assign { worker, assignment: id, step, block });
    }

    /// Takes the assignments that `is_needless` out of their workers' hands.
    pub(super) fn revoke(&mut self, is_needless: impl Fn(&Step, &Assignment) -> bool) {
        let Some(active) = &mut self.active else { return };
        let Some(step) = &mut active.step else { return };
        let needless = step.hands.iter().filter(|(_, it)| is_needless(step, it));
        let needless: Vec<AssignmentId> = needless.map(|(id, _)| id).collect();
        for assignment in needless {
            if let Some(Assignment { worker, .. }) = step.hands.remove(assignment) {
                self.actions.push_back(Action::Revoke { worker, assignment });
            }
        }
    }

    /// What all workers' measurements say together.
    pub(super) fn paces(&self) -> Paces {
        Paces::of(self.members.values().map(|it| &it.pace), self.step().map(|step| step.id))
    }

    pub(super) fn remove_assignment(
        &mut self,
        worker: WorkerId,
        id: AssignmentId,
    ) -> Option<Assignment> {
        let step = self.step_mut()?;
        step.hands.get(id).filter(|it| it.worker == worker)?;
        let assignment = step.hands.remove(id)?;
        step.audit.copies_ended([&assignment]);
        Some(assignment)
    }

    /// The step under way, if it is this one and has this block. A block that
    /// a peer names may be any.
    pub(super) fn step_with(&mut self, id: StepId, block: Block) -> Option<&mut Step> {
        self.step_mut().filter(|step| step.id == id && exists(block, step.replicas))
    }

    pub(super) fn release(&mut self, block: Block) {
        let crash_limit = self.config.crash_limit;
        if let Some(step) = self.step_mut() {
            step.release(block, crash_limit);
        }
    }

    fn merge_if_complete(&mut self) {
        let early = self.has(Plant::MergeEarly);
        let skips = self.has(Plant::AuditSkipped);
        let Some(step) = self.step_mut() else { return };
        let is_due = step.is_complete()
            || (skips && step.cover.is_complete())
            || (early && step.cover.parts().count() > 0);
        if is_due && step.merge != Merge::UnderWay {
            step.merge = Merge::UnderWay;
            let (id, parts) = (step.id, step.cover.parts().collect());
            self.actions.push_back(Action::Merge { step: id, parts });
        }
    }
}

/// A number of shards.
pub(super) fn in_words(shards: u32) -> String {
    match shards {
        1 => "1 shard".into(),
        _ => format!("{shards} shards"),
    }
}

/// Who gets a block that needs care: of the workers where it has not failed,
/// or of all if it has failed on each, the one that would be done first.
fn pick(step: &Step, block: Block, care: Care, candidates: &[Candidate]) -> Option<usize> {
    let failed_on = |candidate: &Candidate| step.has_failed_on(block, candidate.worker);
    let everywhere = candidates.iter().all(failed_on);
    let fits = |candidate: &Candidate| {
        (everywhere || !failed_on(candidate)) && (care != Care::Alone || candidate.load == 0)
    };
    let fitting = candidates.iter().enumerate().filter(|(_, candidate)| fits(candidate));
    fitting.min_by_key(|(_, candidate)| candidate.done_at()).map(|(at, _)| at)
}
