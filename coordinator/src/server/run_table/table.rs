//! All known runs, and their numbers.

use std::collections::BTreeMap;

use common::id::{RunId, SubmissionKey};
use common::limits;
use common::run_state::RunState;
use common::wire::Frame;
use common::wire::message::RunEvent;

use super::run::Run;
use crate::runs::LAST_NUMBER;
use crate::server::net::ClientId;

/// Most final states of ended runs that are kept in memory: of those that are in no runs folder.
const KEPT_STATES: usize = 8;

/// Most bytes of these states together; the latest one is kept whatever its size.
const KEPT_STATE_BYTES: u64 = 1 << 30;

/// Ended runs that keep all their events; runs that ended earlier keep only the last few.
pub(in crate::server) const RUNS_WITH_EVENTS: usize = 16;

/// See the [module](self).
#[derive(Debug, Default)]
pub(in crate::server) struct RunTable {
    runs: BTreeMap<RunId, Run>,
    /// The last number given to a run.
    last_number: u64,
}

impl RunTable {
    /// The number of the next run. A number is never used twice.
    ///
    /// # Errors
    /// No number is left.
    pub(in crate::server) fn next_number(&mut self) -> Result<RunId, String> {
        if self.last_number >= LAST_NUMBER {
            return Err(format!(
                "no number is left for a run: the last one is {LAST_NUMBER}; remove the folder of \
                 that name from the runs folder while no coordinator runs, if it is no run"
            ));
        }
        self.last_number += 1;
        Ok(RunId(self.last_number))
    }

    /// Notes that numbers up to this one are taken.
    pub(in crate::server) fn set_last_number(&mut self, last: u64) {
        self.last_number = last;
    }

    /// Whether a run has had this number.
    pub(in crate::server) fn was_given(&self, run: RunId) -> bool {
        run.0 <= self.last_number
    }

    /// A run.
    pub(in crate::server) fn get(&self, run: RunId) -> Option<&Run> {
        self.runs.get(&run)
    }

    /// A run, mutable.
    pub(in crate::server) fn get_mut(&mut self, run: RunId) -> Option<&mut Run> {
        self.runs.get_mut(&run)
    }

    /// All runs, in the order of their numbers.
    pub(in crate::server) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Number of runs before this one.
    pub(in crate::server) fn before(&self, run: RunId) -> impl Iterator<Item = &Run> {
        self.runs.range(..run).map(|(_, run)| run)
    }

    /// Adds a run. If a run of this number had ended, its events are continued.
    pub(in crate::server) fn insert(&mut self, mut run: Run) {
        if let Some(before) = self.runs.remove(&run.id()) {
            run.succeed(before);
        }
        self.runs.insert(run.id(), run);
    }

    /// The run of a submission. A replay ends with its last follower; once it is over, its
    /// submission counts as new.
    pub(in crate::server) fn find(&mut self, key: SubmissionKey) -> Option<&mut Run> {
        let is_it =
            |run: &&mut Run| run.key() == Some(key) && !(run.is_replay() && run.phase().is_over());
        self.runs.values_mut().find(is_it)
    }

    /// The first queued run.
    pub(in crate::server) fn first_queued(&self) -> Option<RunId> {
        let queued = self.runs.values().find(|run| run.phase() == RunState::Queued);
        queued.map(Run::id)
    }

    /// Keeps an event of a run. Returns it encoded, with the clients to send it to.
    pub(in crate::server) fn record(
        &mut self,
        run: RunId,
        event: RunEvent,
    ) -> Option<(Frame, Vec<ClientId>)> {
        let run = self.runs.get_mut(&run)?;
        let frame = run.record(event);
        Some((frame, run.followers().iter().copied().collect()))
    }

    /// Removes a client. Returns the replays that nobody follows any more.
    pub(in crate::server) fn unfollow(&mut self, client: ClientId) -> Vec<RunId> {
        let abandoned = self.runs.values_mut().filter_map(|run| {
            let is_abandoned = run.unfollow(client);
            is_abandoned.then(|| run.id())
        });
        abandoned.collect()
    }

    /// Bounds the data kept of ended runs.
    pub(in crate::server) fn forget_old(&mut self) {
        let mut bytes = 0;
        let over = self.runs.values_mut().rev().filter(|run| run.told_phase().is_over());
        for (age, run) in over.enumerate() {
            if age >= RUNS_WITH_EVENTS {
                run.age_events();
            }
            if run.is_final_state_on_disk() {
                run.drop_state();
            }
            bytes += run.state().map_or(0, |state| state.bytes());
            if age >= KEPT_STATES || (age > 0 && bytes > KEPT_STATE_BYTES) {
                run.drop_state();
            }
        }
        while self.runs.len() > limits::RUNS {
            let oldest = self.runs.values().find(|run| run.told_phase().is_over()).map(Run::id);
            let Some(oldest) = oldest else { return };
            self.runs.remove(&oldest);
        }
    }
}
