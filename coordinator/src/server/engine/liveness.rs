//! Signs of life: who is heard, who has been silent for too long, and what
//! tells others that this coordinator is there.

use std::time::Duration;

use common::limits;
use tokio::time::Instant;

use super::Engine;
use crate::scheduler::{self, WorkerNote};
use crate::server::step::Stalled;

/// The engine was away itself when it wakes later than it asked for by this
/// part of the silence after which a peer is lost: its process was stopped, or
/// got no time. It wakes more often than that (see
/// [`Engine::sweep_interval`]), so that no more than this part of anybody's
/// time passes unnoticed.
const AWAY_PART: u32 = 4;

impl Engine {
    /// Whether this turn comes much later than it was asked for.
    pub(super) fn was_away(&self, asked_for: Instant) -> bool {
        let late = self.now.saturating_duration_since(asked_for);
        late > self.config.scheduler.heartbeat_timeout / AWAY_PART
    }

    /// Restarts everybody's silence: what came while this process was away
    /// may not even have been read.
    pub(super) fn restart_silences(&mut self) {
        self.peers.restart_silences();
        self.step.restart_waits(self.now);
        self.tell(scheduler::Event::WasAway);
    }

    /// Whatever is due: signs of life in both directions, and the scheduler's
    /// own time.
    pub(super) fn handle_time(&mut self) {
        let heard = self.peers.heard_workers().into_iter();
        self.pending.extend(heard.map(|worker| scheduler::Event::WorkerHeard { worker }));
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
        }
        self.scheduler.handle_timeout(self.now.into_std());
        self.pump();
    }

    /// How often silence is looked for.
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

    /// Tells the scheduler of partials that were asked for long ago and do
    /// not come.
    fn drop_stalled_pulls(&mut self) {
        let Some(Stalled { step, wait, partials }) = self.step.stalled(self.now) else { return };
        let seconds = wait.as_secs_f64();
        for (worker, block) in partials {
            let detail = format!(
                "it was asked for its partial of replicas {block} of {step}, and sent nothing of \
                 it for {seconds:.1} s: others do that again"
            );
            self.publish_note(step.run, worker, WorkerNote::Failed, detail);
            self.pending.push_back(scheduler::Event::PartialMissing { worker, step, block });
        }
    }
}
