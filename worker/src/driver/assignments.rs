//! The life of an assignment: its examples, its shards, its finished block.

use std::collections::BTreeSet;

use common::id::{AssignmentId, RunId, StepId};
use common::wire::message::FromWorker;

use super::Engine;
use super::compute::Input;
use super::examples::{CopiedExamples, needed_examples};
use super::held::{Fetching, HeldAssignment, Kept};
use super::run::Ordered;
use crate::session::Event;

impl Engine {
    /// The assignments of a run that match a condition.
    pub(super) fn assignments_of(
        &self,
        run: RunId,
        such: fn(&HeldAssignment) -> bool,
    ) -> Vec<AssignmentId> {
        let assignments = self.assignments.iter();
        let such = assignments.filter(|(_, it)| it.work.step.run == run && such(it));
        such.map(|(id, _)| *id).collect()
    }

    /// Collects the examples of an assignment: at once if the order of its epoch is known,
    /// otherwise as soon as it is.
    pub(super) fn fetch_data(&mut self, id: AssignmentId) {
        let Some(assignment) = self.assignments.get_mut(&id) else { return };
        let work = &assignment.work;
        let Some(opened) = self.runs.get_mut(&work.step.run) else { return };
        let order = match opened.order.of(&work.plan_step) {
            Ordered::Ready(order) => order,
            Ordered::Coming => return,
            Ordered::Missing => {
                self.compute.compute_order(work.step.run, work.run.clone(), work.plan_step);
                return;
            }
        };
        let split = work.plan_step.split();
        let manifest = work.run.manifest(split);
        let mut missing = BTreeSet::new();
        let (plan, step) = (&work.run.plan, &work.plan_step);
        let needed = needed_examples(plan, step, work.block, order.as_deref());
        let mut data = CopiedExamples::new(split, manifest.clone(), needed);
        for place in data.chunks() {
            match self.cache.get(&manifest.chunks[place]) {
                Some(chunk) => data.copy_from(place, &chunk),
                None => {
                    self.requests.want((work.step.run, split, place as u32));
                    missing.insert(place);
                }
            }
        }
        assignment.fetching = Some(Fetching { order, data: Some(data), missing });
        self.leave_room();
        self.data_ready(id);
        self.request_chunks();
    }

    /// Reduces the cache by the memory of waiting examples and kept partials, so that all of it
    /// stays within the memory limit.
    pub(super) fn leave_room(&mut self) {
        let examples: u64 = self.assignments.values().map(HeldAssignment::bytes).sum();
        let kept: u64 = self.kept.values().map(Kept::bytes).sum();
        self.cache.leave_room(examples.saturating_add(kept));
    }

    /// Tells the session if all of the assignment's examples are available.
    pub(super) fn data_ready(&mut self, id: AssignmentId) {
        let Some(assignment) = self.assignments.get_mut(&id) else { return };
        let here = assignment.fetching.as_ref().is_some_and(|fetching| fetching.missing.is_empty());
        if here
            && let Some(fetching) = &mut assignment.fetching
            && let Some(data) = fetching.data.take()
        {
            let input = Input { order: fetching.order.take(), data };
            // Set only once: a second set of the same examples changes nothing.
            if assignment.work.input.set(input).is_ok() {
                self.pending.push_back(Event::DataReady { assignment: id });
            }
        }
    }

    pub(super) fn request_chunks(&mut self) {
        while self.connection.is_some()
            && let Some((run, split, chunks)) = self.requests.next()
        {
            self.send(FromWorker::NeedChunks { run, split, chunks });
        }
    }

    pub(super) fn run_shard(&mut self, id: AssignmentId, step: StepId, replica: u32) {
        let (Some(assignment), Some(base)) = (self.assignments.get(&id), self.bases.get(step))
        else {
            let error = format!("the base state of {step} is missing");
            let event = Event::ShardFailed { assignment: id, replica, fatal: false, error };
            self.pending.push_back(event);
            return;
        };
        self.compute.run_shard(assignment.work.clone(), base, replica);
    }

    pub(super) fn finish_block(&mut self, id: AssignmentId) {
        let Some(assignment) = self.assignments.remove(&id) else { return };
        self.work.remove(id);
        let work = assignment.work;
        let (done, partial) =
            work.finished.get().cloned().expect("the last shard to end has finished its block");
        self.send(done.clone());
        let kept = Kept { done, partial, run: work.run.clone() };
        self.kept.insert((work.step, work.block), kept);
        self.leave_room();
    }

    pub(super) fn forget_assignment(&mut self, id: AssignmentId) {
        self.work.remove(id);
        if let Some(assignment) = self.assignments.remove(&id) {
            assignment.work.cancel();
        }
    }
}
