//! A step's blocks: assignment and completion.

use std::time::Instant;

use common::id::{AssignmentId, Block, StepId, WorkerId};
use common::worker_event::WorkerEvent;

use super::completed_set::{exists, size};
use super::event::{Action, BlockDone, PartialRef, Verdict};
use super::in_flight::{Assignment, How};
use super::injected_bugs::InjectedBug;
use super::member::Member;
use super::reason::Detail;
use super::share::{Candidate, share};
use super::state::Scheduler;
use super::step::{Merge, Placement, Step};
use super::throughput::Throughputs;

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
        self.standings.step_begins(now);
        self.members.values_mut().for_each(|member| member.missing = 0);
        if let Some(before) = before {
            let mean = self.throughputs().mean();
            for member in self.members.values_mut() {
                member.throughput.age(before, mean);
            }
        }
        self.begin_rejoin_wait(now);
        self.end_rejoin_wait(now);
        self.hand_out(now);
    }

    pub(super) fn step_merged(&mut self, step: StepId) {
        let Some(active) = &mut self.active else { return };
        // A paused merge may have ended just before the pause: its parts were complete.
        let is_over = |it: &Step| it.id == step && it.merge != Merge::Waiting;
        if active.step.as_ref().is_some_and(is_over) {
            self.revoke_all();
            if let Some(active) = &mut self.active {
                active.step = None;
                active.rejoin = None;
                active.min_workers = 0;
            }
        }
    }

    pub(super) fn take_block(&mut self, now: Instant, done: BlockDone) -> Verdict {
        let is_ours = self.members.contains_key(&done.worker)
            && self.step_with(done.step, done.block).is_some();
        let taken = is_ours && self.take_in(&done);
        if !is_ours {
            return Verdict::Drop;
        }
        let audited = self.answer(done.worker, done.block);
        let was_assigned = self.end_assignment(&done);
        let BlockDone { worker, block, .. } = done;
        if let Some(member) = self.members.get(&worker) {
            self.standings.worked(member.process);
        }
        if !taken && audited {
            // An audited shard is done twice on purpose.
        } else if !taken {
            let detail = Detail::DoneAlready { shards: self.shards_of(block), block };
            self.note(worker, WorkerEvent::Duplicate, detail);
        } else if !was_assigned {
            let run = done.step.run;
            self.actions.push_back(Action::Offered { run, worker, block });
        }
        self.revoke_needless(block);
        self.hand_out(now);
        if taken { Verdict::Keep } else { Verdict::Drop }
    }

    /// The number of shards of a block in the current step.
    pub(super) fn shards_of(&self, block: Block) -> u32 {
        self.step().map_or(0, |step| size(block, step.replicas))
    }

    /// Adds a result to the finished blocks. Returns whether it was new.
    fn take_in(&mut self, done: &BlockDone) -> bool {
        let twice = self.has(InjectedBug::DuplicateTaken);
        let Some(step) = self.step_with(done.step, done.block) else { return false };
        let holder = (!done.inline).then_some(done.worker);
        let part = PartialRef { block: done.block, holder };
        let taken = step.completed.take(part);
        if taken {
            step.finish_block(done.block);
        } else if twice {
            step.completed.count_twice(part.block);
        }
        taken
    }

    /// Ends the assignment of a finished block, and updates the estimate of its worker's speed.
    /// Returns whether there was an assignment.
    fn end_assignment(&mut self, done: &BlockDone) -> bool {
        let Some(step) = self.step_mut() else { return false };
        let (id, shards) = (step.id, size(done.block, step.replicas));
        let ended = step.in_flight.take(done.worker, |it| it.block == done.block);
        if ended.is_empty() {
            return false;
        }
        step.audit.copies_ended(&ended);
        if let Some(member) = self.members.get_mut(&done.worker) {
            member.throughput.measure(id, shards, member.slots, done.compute);
        }
        true
    }

    pub(super) fn handed_back(&mut self, now: Instant, worker: WorkerId, id: AssignmentId) {
        // Only a leaving worker hands work back. It would hand back further work, too.
        self.worker_draining(worker);
        if let Some(assignment) = self.remove_assignment(worker, id) {
            self.release(assignment.block);
        }
        self.hand_out(now);
    }

    /// Hands out all waiting blocks, as far as there are workers for them. If no block is waiting
    /// or assigned, starts the merge of the step.
    pub(super) fn hand_out(&mut self, now: Instant) {
        if !self.is_gathering() && !self.is_short() {
            // A worker with a suspected block gets nothing else: other workers take its place.
            while self.hand_out_waiting(now) {}
            self.hand_out_audits(now);
        }
        self.merge_if_complete();
    }

    /// Hands out waiting blocks, as many as workers may hold. Returns whether it handed out any.
    fn hand_out_waiting(&mut self, now: Instant) -> bool {
        let Some(step) = self.step().filter(|step| !step.waiting.is_empty()) else { return false };
        let mut candidates = self.candidates(step);
        if candidates.iter().all(|it| it.room == 0) {
            return false;
        }
        if let Some(step) = self.step_mut() {
            step.join_waiting();
        }
        let Some(step) = self.step() else { return false };
        let (careful, plain): (Vec<Block>, Vec<Block>) =
            step.waiting.values().partition(|block| step.placement(**block) != Placement::Any);
        let replicas = step.replicas;
        let mut handed: Vec<(WorkerId, Block, Placement)> = Vec::new();
        for block in careful {
            if step.is_deadly(block, self.config.crash_limit) {
                continue;
            }
            let placement = step.placement(block);
            let Some(at) = pick(step, block, placement, &candidates) else { continue };
            candidates[at].take(size(block, replicas));
            handed.push((candidates[at].worker, block, placement));
            if placement == Placement::Isolated {
                candidates.remove(at);
            }
        }
        let mut settled: Vec<Block> = handed.iter().map(|(_, block, _)| *block).collect();
        settled.extend(&plain);
        let (shared, left) = share(plain.into_iter(), replicas, &candidates);
        handed.extend(shared.into_iter().map(|(worker, block)| (worker, block, Placement::Any)));
        if let Some(step) = self.step_mut() {
            for block in settled {
                step.waiting.remove(&block.start());
            }
            step.waiting.extend(left.into_iter().map(|block| (block.start(), block)));
        }
        let has_handed = !handed.is_empty();
        for (worker, block, placement) in handed {
            let how = if placement == Placement::Isolated { How::Alone } else { How::Shared };
            self.assign(now, worker, block, how);
        }
        has_handed
    }

    /// The workers that may get work, with the blocks that they have.
    pub(super) fn candidates(&self, step: &Step) -> Vec<Candidate> {
        let mut candidates = self.all_candidates(step);
        if self.has_reliable() {
            candidates.retain(|it| !self.is_set_aside(it.worker));
        }
        candidates
    }

    /// The same, including workers that are set aside.
    pub(super) fn all_candidates(&self, step: &Step) -> Vec<Candidate> {
        let mean = self.throughputs().mean();
        let available = self.members.iter().filter(|(_, member)| member.is_available());
        let candidate = |(worker, member): (&WorkerId, &Member)| {
            let load = step.in_flight.load(*worker);
            (!load.is_reserved).then(|| Candidate {
                worker: *worker,
                slots: member.slots,
                nanos: self.nanos_of(member, mean),
                load: load.replicas,
                room: self.config.room_beside(load.blocks),
            })
        };
        let candidates: Vec<Candidate> = available.filter_map(candidate).collect();
        let lacked = |it: &Candidate| step.lacked.contains(&it.worker);
        if candidates.iter().all(lacked) {
            candidates
        } else {
            candidates.into_iter().filter(|it| !lacked(it)).collect()
        }
    }

    /// The expected time of a shard on a worker; a worker with failures counts as slower.
    fn nanos_of(&self, member: &Member, mean: u64) -> u64 {
        let strikes = u64::from(self.standings.strikes(member.process));
        member.throughput.nanos(mean).saturating_mul(1 + strikes)
    }

    /// Assigns a block to a worker.
    pub(super) fn assign(&mut self, now: Instant, worker: WorkerId, block: Block, how: How) {
        self.last_assignment += 1;
        let id = AssignmentId(self.last_assignment);
        let Some(step) = self.step_mut() else { return };
        let queued = step.in_flight.load(worker).replicas + size(block, step.replicas);
        let (alone, is_audit) = (how == How::Alone, how == How::Audit);
        let assignment = Assignment {
            worker,
            block,
            since: now,
            queued,
            alone,
            is_begun: false,
            is_audit,
            running: None,
        };
        step.in_flight.insert(id, assignment);
        let (step, confirm) = (step.id, alone);
        self.actions.push_back(Action::Assign { worker, assignment: id, step, block, confirm });
    }

    /// Revokes all assignments.
    pub(super) fn revoke_all(&mut self) {
        let all = self.step().into_iter().flat_map(|step| step.in_flight.iter());
        let all: Vec<AssignmentId> = all.map(|(id, _)| id).collect();
        self.revoke(all);
    }

    /// Revokes the assignments that are no longer needed now that this block is done.
    fn revoke_needless(&mut self, done: Block) {
        let Some(step) = self.step() else { return };
        let is_needless = |id: &AssignmentId| {
            step.in_flight.get(*id).is_some_and(|assignment| step.is_needless(assignment))
        };
        let touched = step.in_flight.overlapping(done);
        let needless: Vec<AssignmentId> = touched.into_iter().filter(is_needless).collect();
        self.revoke(needless);
    }

    fn revoke(&mut self, needless: Vec<AssignmentId>) {
        let Some(active) = &mut self.active else { return };
        let Some(step) = &mut active.step else { return };
        for assignment in needless {
            if let Some(Assignment { worker, .. }) = step.in_flight.remove(assignment) {
                self.actions.push_back(Action::Revoke { worker, assignment });
            }
        }
    }

    /// The combined measurements of all workers.
    pub(super) fn throughputs(&self) -> Throughputs {
        Throughputs::of(
            self.members.values().map(|it| &it.throughput),
            self.step().map(|step| step.id),
        )
    }

    pub(super) fn remove_assignment(
        &mut self,
        worker: WorkerId,
        id: AssignmentId,
    ) -> Option<Assignment> {
        let step = self.step_mut()?;
        step.in_flight.get(id).filter(|it| it.worker == worker)?;
        let assignment = step.in_flight.remove(id)?;
        step.audit.copies_ended([&assignment]);
        Some(assignment)
    }

    /// The current step, if it is this one and has this block, which a peer may have invented.
    pub(super) fn step_with(&mut self, id: StepId, block: Block) -> Option<&mut Step> {
        self.step_mut().filter(|step| step.id == id && exists(block, step.replicas))
    }

    pub(super) fn release(&mut self, block: Block) {
        if let Some(step) = self.step_mut() {
            step.release(block);
        }
    }

    fn merge_if_complete(&mut self) {
        let early = self.has(InjectedBug::MergeEarly);
        let skips = self.has(InjectedBug::AuditSkipped);
        let Some(step) = self.step_mut() else { return };
        let is_due = step.is_complete()
            || (skips && step.completed.is_complete())
            || (early && step.completed.parts().count() > 0);
        if is_due && step.merge != Merge::UnderWay {
            step.merge = Merge::UnderWay;
            let (id, parts) = (step.id, step.completed.parts().collect());
            self.actions.push_back(Action::Merge { step: id, parts });
        }
    }
}

/// The worker for a block with failures: of the workers where it has not failed (or of all, if it
/// has failed on each), the one that would finish it first.
fn pick(
    step: &Step,
    block: Block,
    placement: Placement,
    candidates: &[Candidate],
) -> Option<usize> {
    let has_time =
        |it: &Candidate| it.room > 0 && (placement != Placement::Isolated || it.load == 0);
    if !candidates.iter().any(has_time) {
        return None;
    }
    let failed_on = step.failed_on(block);
    let has_failed = |it: &Candidate| failed_on.contains(&it.worker);
    let everywhere = candidates.iter().all(has_failed);
    let fits = |it: &Candidate| has_time(it) && (everywhere || !has_failed(it));
    let fitting = candidates.iter().enumerate().filter(|(_, candidate)| fits(candidate));
    fitting.min_by_key(|(_, candidate)| candidate.done_at()).map(|(at, _)| at)
}
