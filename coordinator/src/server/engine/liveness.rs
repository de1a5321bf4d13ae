//! Signs of life: which peers were active, which were silent for too long, and the heartbeats of
//! this coordinator, with which it also notes its memory.

use std::time::Duration;

use common::limits;
use common::worker_event::WorkerEvent;
use tokio::time::Instant;

use super::Engine;
use crate::scheduler;
use crate::server::step::Stalled;

/// Fraction of the silence timeout. If the engine wakes later than planned by more than this, it
/// was suspended itself: its process was stopped, or got no CPU time. It wakes more often than that
/// (see [`Engine::sweep_interval`]), so at most this fraction of a peer's timeout passes unnoticed.
const AWAY_PART: u32 = 4;

impl Engine {
    /// Whether this turn starts much later than planned.
    pub(super) fn was_away(&self, asked_for: Instant) -> bool {
        let late = self.now.saturating_duration_since(asked_for);
        late > self.config.scheduler.heartbeat_timeout / AWAY_PART
    }

    /// Restarts the silence of all peers: messages that came while this process was suspended may
    /// be unread.
    pub(super) fn restart_silences(&mut self) {
        self.peers.restart_silences();
        self.step.restart_waits(self.now);
        self.tell(scheduler::Event::WasAway);
    }

    /// Does what is due: checks silence, sends heartbeats, and runs the scheduler's timers.
    pub(super) fn handle_time(&mut self) {
        let active = self.peers.active_workers().into_iter();
        self.pending.extend(active.map(|worker| scheduler::Event::WorkerHeard { worker }));
        self.pump();
        if self.now >= self.next_sweep {
            self.next_sweep = self.now + self.sweep_interval();
            self.drop_silent_clients();
            self.drop_stalled_pulls();
            self.pump();
        }
        if self.now >= self.next_heartbeat {
            self.next_heartbeat = self.now + limits::HEARTBEAT_INTERVAL;
            self.peers.send_heartbeats();
            if let (Some(active), Some(journal)) = (self.step.active(), &self.journal) {
                journal.note_memory(active.run());
            }
        }
        self.scheduler.handle_timeout(self.now.into_std());
        self.pump();
    }

    /// Interval of the checks for silence.
    fn sweep_interval(&self) -> Duration {
        (self.config.scheduler.heartbeat_timeout / 8)
            .clamp(Duration::from_millis(10), limits::HEARTBEAT_INTERVAL)
    }

    fn drop_silent_clients(&mut self) {
        let limit = self.config.scheduler.heartbeat_timeout;
        for client in self.peers.silent_clients(limit) {
            self.close_client(client, &format!("it was silent for {:.1} s", limit.as_secs_f64()));
        }
    }

    /// Tells the scheduler of partials that were requested long ago and have not arrived.
    fn drop_stalled_pulls(&mut self) {
        let Some(Stalled { step, wait, partials }) = self.step.stalled(self.now) else { return };
        let seconds = wait.as_secs_f64();
        for (worker, block) in partials {
            let detail = format!(
                "its partial of replicas {block} of {step} was requested, and it sent nothing of \
                 it for {seconds:.1} s: others compute it again"
            );
            self.publish_note(step.run, worker, WorkerEvent::Failed, detail);
            self.pending.push_back(scheduler::Event::PartialMissing { worker, step, block });
        }
    }
}
