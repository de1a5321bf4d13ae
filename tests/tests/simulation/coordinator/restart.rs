//! A coordinator that takes another's place.

use super::*;

/// A scheduler, with a bug if there is one to be caught.
pub(super) fn scheduler(
    plant: Option<InjectedBug>,
    config: scheduler::SchedulerConfig,
) -> Scheduler {
    match plant {
        Some(plant) => Scheduler::with_bug(config, plant),
        None => Scheduler::new(config),
    }
}

impl Coordinator {
    /// Queues a run, which is durable from then on.
    pub(in super::super) fn submit(
        &mut self,
        context: &mut Context,
        run: RunId,
        min_workers: u32,
        rejoin_wait: Option<RejoinWait>,
    ) {
        self.submitted.insert(run, min_workers);
        self.tell(context, scheduler::Event::RunSubmitted { run, min_workers, rejoin_wait });
    }

    /// Forgets all but what is durable: how runs ended, and of those that have
    /// not, the last durable step. They go on once as many workers are back as
    /// there were, or it is time.
    pub(in super::super) fn restart(&mut self, context: &mut Context) {
        let workers = self.connections.len() as u32;
        let last_assignment = self.last_assignment.0 + 1000;
        let config = scheduler::SchedulerConfig { last_assignment, ..self.config };
        let runs = std::mem::take(&mut self.runs);
        *self = Self {
            runs,
            submitted: std::mem::take(&mut self.submitted),
            durable: std::mem::take(&mut self.durable),
            outcomes: std::mem::take(&mut self.outcomes),
            deaths: std::mem::take(&mut self.deaths),
            last_assignment: self.last_assignment,
            life: self.life + 1,
            ..Self::new(self.plant, config, self.audit)
        };
        let submitted: Vec<(RunId, u32)> =
            self.submitted.iter().map(|(run, workers)| (*run, *workers)).collect();
        for (run, min_workers) in submitted {
            if !self.outcomes.contains_key(&run) {
                let wait = std::time::Duration::from_secs(2);
                let rejoin_wait = Some(RejoinWait { workers, wait });
                self.submit(context, run, min_workers, rejoin_wait);
            }
        }
    }
}
