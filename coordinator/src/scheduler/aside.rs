//! Sets workers aside: a process that fails in several steps gets no work for a while, if there
//! are others.

use std::time::Instant;

use common::id::{ProcessId, WorkerId};
use common::worker_event::WorkerEvent;

use super::reason::Detail;
use super::standing::STRIKES;
use super::state::Scheduler;

impl Scheduler {
    /// Whether a worker has failed so often that it gets no work while there are others.
    pub fn is_set_aside(&self, worker: WorkerId) -> bool {
        self.members.get(&worker).is_some_and(|member| self.standings.is_aside(member.process))
    }

    /// Whether there is a worker that is not set aside and not leaving.
    pub(super) fn has_reliable(&self) -> bool {
        let mut staying = self.members.values().filter(|member| !member.draining);
        staying.any(|member| !self.standings.is_aside(member.process))
    }

    /// Records a failure of a worker's process.
    pub(super) fn count_failure(&mut self, now: Instant, worker: WorkerId, process: ProcessId) {
        if let Some(wait) = self.standings.failed(now, process) {
            let detail = Detail::SetAside { steps: STRIKES, wait };
            self.note(worker, WorkerEvent::Failed, detail);
        }
    }

    /// Records a failure of a worker.
    pub(super) fn worker_failed(&mut self, now: Instant, worker: WorkerId) {
        if let Some(process) = self.members.get(&worker).map(|member| member.process) {
            self.count_failure(now, worker, process);
        }
    }
}
