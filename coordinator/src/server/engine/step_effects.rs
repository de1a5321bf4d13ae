//! The effects of a step.

use common::state::NetworkState;

use super::{Engine, Found};
use crate::server::step::Effect;

impl Engine {
    /// Performs the effects of a step.
    pub(super) fn perform_step(&mut self, effects: impl IntoIterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(worker, message) => self.peers.send_worker(worker, message),
                Effect::SendGrowing(step, frames) => self.peers.send_growing(step, &frames),
                Effect::HasGrown => self.peers.has_grown(),
                Effect::Run(job) => self.jobs.spawn(move || Found::Step(job())),
                Effect::Merged { next, digest } => {
                    self.step_merged(next.map(|next: Box<NetworkState>| *next), digest);
                }
                Effect::Digested(digest) => self.on_digested(digest),
                Effect::Altered { worker, step, block, error } => {
                    self.on_altered(worker, step, block, error);
                }
                Effect::GiveUp(reason) => self.give_up(&reason),
            }
        }
    }
}
