//! Signs of life: who is heard, who has been silent for too long, and what
//! tells others that we are here.

use std::time::Duration;

use common::limits;
use tokio::time::Instant;

use super::connection::Peer;
use super::engine::Engine;
use crate::scheduler;

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

    /// Begins everybody's silence anew: what came while this process was away
    /// may not even have been read.
    pub(super) fn begin_silences_anew(&mut self) {
        for about in self.clients.values() {
            about.link.heard.stamp();
        }
        if let Some(merge) = self.active.as_mut().and_then(|active| active.merge.as_mut()) {
            merge.wait_anew(self.now);
        }
        self.tell(scheduler::Event::WasAway);
    }

    /// Whatever is due: signs of life in both directions, and the scheduler's
    /// own time.
    pub(super) fn handle_time(&mut self) {
        self.hear_workers();
        self.pump();
        if self.now >= self.next_sweep {
            self.next_sweep = self.now + self.sweep_interval();
            self.drop_silent_clients();
            self.drop_stalled_pulls();
            self.pump();
        }
        if self.now >= self.next_heartbeat {
            self.next_heartbeat = self.now + limits::HEARTBEAT_INTERVAL;
            self.send_heartbeats();
        }
        self.scheduler.handle_timeout(self.now.into_std());
        self.pump();
    }

    /// How often silence is looked for.
    fn sweep_interval(&self) -> Duration {
        (self.config.scheduler.heartbeat_timeout / 8)
            .clamp(Duration::from_millis(10), limits::HEARTBEAT_INTERVAL)
    }

    /// Tells the scheduler whose bytes came since the last time: half a state
    /// segment on a slow link is life as well.
    fn hear_workers(&mut self) {
        for (worker, about) in &mut self.workers {
            let at = about.link.heard.at();
            if at != std::mem::replace(&mut about.heard_at, at) {
                self.pending.push_back(scheduler::Event::WorkerHeard { worker: *worker });
            }
        }
    }

    fn drop_silent_clients(&mut self) {
        let limit = self.config.scheduler.heartbeat_timeout;
        let silent: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, about)| about.link.heard.silence() > limit)
            .map(|(client, _)| *client)
            .collect();
        for client in silent {
            self.close_client(client, &format!("it was silent for {:.1} s", limit.as_secs_f64()));
        }
    }

    fn send_heartbeats(&mut self) {
        let peers: Vec<_> = (self.workers.keys().copied().map(Peer::Worker))
            .chain(self.clients.keys().copied().map(Peer::Client))
            .collect();
        for peer in peers {
            let frame = match peer {
                Peer::Worker(_) => self.worker_heartbeat.clone(),
                Peer::Client(_) => self.client_heartbeat.clone(),
            };
            if let Some(link) = self.link(peer) {
                link.outbox.heartbeat(&frame);
            }
            self.mark(peer);
        }
    }
}
