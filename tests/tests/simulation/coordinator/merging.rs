//! Pulling a complete step's partials and merging them.

use super::*;

impl Coordinator {
    /// Begins or goes on with a merge. The parts must be a partition.
    pub(super) fn merge(&mut self, context: &mut Context, step: StepId, parts: Vec<PartialRef>) {
        let Some((current, replicas)) = self.current() else {
            context.ensure(false, || format!("{step} is merged, but none is open"));
            return;
        };
        context.ensure(step == current, || format!("{step} is merged during {current}"));
        let covered: Vec<u32> = parts.iter().flat_map(|it| it.block.replicas(replicas)).collect();
        context.ensure(covered.iter().copied().eq(0..replicas), || {
            format!("{step}: of {replicas} replicas, {covered:?} enter the merge")
        });
        let Some(active) = &mut self.active else { return };
        let audited = active.answers.are_audited();
        context.ensure(audited.is_ok(), || format!("{step}: {audited:?}"));
        context.ensure(active.merging.is_none(), || format!("{step} is merged twice at once"));
        active.merging = Some(parts);
        self.pull(context);
    }

    /// Asks for the current segment of all parts.
    fn pull(&mut self, context: &mut Context) {
        let Some((step, _)) = self.current() else { return };
        let Some(active) = &mut self.active else { return };
        active.gathered.clear();
        let segment = active.segment;
        let mut pulls = Vec::new();
        for part in active.merging.iter().flatten() {
            match part.holder {
                Some(holder) => pulls.push((holder, part.block)),
                None => {
                    let stored = active.stored.get(&part.block);
                    context.ensure(stored.is_some(), || format!("{} was not kept", part.block));
                    active.gathered.extend(stored.map(|partial| (part.block, partial.clone())));
                }
            }
        }
        for (holder, block) in pulls {
            context.ensure(self.connections.contains_key(&holder), || format!("{holder} is gone"));
            self.tell_worker(context, holder, Message::Pull { step, block, segment });
        }
        self.merge_segment(context);
    }

    pub(super) fn gather(
        &mut self,
        context: &mut Context,
        worker: WorkerId,
        block: Block,
        segment: u32,
        partial: Partial,
    ) {
        let Some((step, _)) = self.current() else { return };
        let Some(active) = &mut self.active else { return };
        let part = PartialRef { block, holder: Some(worker) };
        let is_wanted = active.merging.as_ref().is_some_and(|parts| parts.contains(&part));
        if is_wanted
            && segment == active.segment
            && partial.step == step
            && !self.is_altered(context, worker, step, block)
            && let Some(active) = &mut self.active
        {
            active.gathered.insert(block, partial);
            self.merge_segment(context);
        }
    }

    /// Merges the current segment, if all of it is here: each replica of the
    /// step exactly once.
    fn merge_segment(&mut self, context: &mut Context) {
        let Some((step, replicas)) = self.current() else { return };
        let Some(active) = &mut self.active else { return };
        let Some(parts) = &active.merging else { return };
        if active.gathered.len() < parts.len() || active.segment == SEGMENTS {
            return;
        }
        let partials = active.gathered.values();
        let is_right = partials.clone().all(|partial| partial.step == step);
        let mut merged: Vec<u32> = partials.flat_map(|it| it.replicas.clone()).collect();
        merged.sort_unstable();
        context.ensure(is_right && merged.iter().copied().eq(0..replicas), || {
            format!("{step}: of {replicas} replicas, the merge had {merged:?}")
        });
        active.segment += 1;
        if active.segment < SEGMENTS {
            self.pull(context);
        } else {
            context.after(500, Event::Merged(step, self.life));
        }
    }

    pub(in super::super) fn merged(&mut self, context: &mut Context, step: StepId) {
        let is_current = self.current().is_some_and(|(current, _)| current == step);
        let Some(active) = self.active.as_mut().filter(|_| is_current) else { return };
        let in_vain = active.answers.audited_in_vain();
        context.ensure(in_vain.is_none(), || format!("{step}: {in_vain:?} is wrong, and audited"));
        active.merged += 1;
        if context.random.chance(500) {
            self.durable.insert(step.run, active.merged);
        }
        active.ready = false;
        active.merging = None;
        active.segment = 0;
        active.stored.clear();
        active.stated.clear();
        let next = StepId { run: step.run, index: active.merged };
        let is_last = active.merged as usize == self.runs[&step.run].len();
        self.broadcast(context, &Message::StepDone(step));
        self.tell(context, scheduler::Event::StepMerged { step });
        if is_last {
            self.end(context, step.run, Outcome::Finished);
            self.tell(context, scheduler::Event::RunEnded { run: step.run });
        } else {
            context.after(300, Event::StepReady(next, self.life));
        }
    }
}
