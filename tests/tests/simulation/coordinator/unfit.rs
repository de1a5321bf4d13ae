//! Workers that cannot work on the active run: they get nothing of it, and count for
//! nothing in it.

use super::*;

impl Coordinator {
    /// A worker says that it cannot work on a run.
    pub(super) fn cannot(&mut self, context: &mut Context, worker: WorkerId, run: RunId) {
        if self.active.as_ref().is_some_and(|active| active.run == run) {
            context.faults.fired(Fault::Unfit);
            self.unfit.insert(worker);
            self.causes.cannot(worker, run);
        }
        let reason = "its build lacks the model".into();
        self.tell(context, scheduler::Event::WorkerCannot { worker, run, reason });
    }

    /// Workers that may be given work of the active run.
    pub(super) fn fit(&self) -> impl Iterator<Item = WorkerId> {
        let staying = self.connections.keys().filter(|worker| !self.draining.contains(worker));
        staying.filter(|worker| !self.unfit.contains(worker)).copied()
    }

    /// Whoever is given work can do it; and a run that waits for some workers begins
    /// with as many that can. Until then, only what is in hands is given to another, too.
    pub(super) fn check_fit(
        &self,
        context: &mut Context,
        worker: WorkerId,
        step: StepId,
        block: Block,
    ) {
        let is_unfit = self.unfit.contains(&worker);
        context.ensure(!is_unfit, || format!("{worker} cannot work on {step}, and is to"));
        let is_first = self.active.as_ref().is_some_and(|it| it.first == step.index);
        let is_there = |worker: &WorkerId| self.connections.contains_key(worker);
        let is_new = !self.causes.is_in_hands(step, block);
        if is_first && is_new && self.unfit.iter().any(is_there) {
            let (fit, wanted) = (self.fit().count(), self.submitted[&step.run] as usize);
            context.ensure(fit >= wanted, || format!("{step} begins with {fit} of {wanted}"));
        }
    }
}
