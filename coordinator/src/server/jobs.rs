//! Work that may take long, on threads of its own. What it found comes back as an
//! event, and counts only for the life of the run that it was begun in.

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::digest::Digest;
use tracing::debug;

use super::engine::{Engine, Event};
use super::merge::JobDone;
use super::settle::Settled;

/// One life of a run. A run that was over and is taken up again has another one:
/// it may be at the same step, but what was begun before is none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Incarnation(u64);

impl Incarnation {
    /// One that nothing has had before.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What was found for the active run.
#[derive(Debug)]
pub(super) enum Found {
    /// A piece of a step's merge is done.
    Merged(JobDone),
    /// A merged state is settled, or cannot be.
    Settled(Settled),
    /// The final state has its digest.
    Digested(Digest),
}

impl Engine {
    /// Does work for the active run on another thread.
    pub(super) fn spawn_for_run(&self, work: impl FnOnce() -> Found + Send + 'static) {
        let Some(active) = &self.active else { return };
        let of = active.incarnation;
        self.spawn(move || Event::Found { of, found: work() });
    }

    /// Runs work on another thread; what it gives comes back as an event.
    pub(super) fn spawn(&self, work: impl FnOnce() -> Event + Send + 'static) {
        let events = self.events.clone();
        tokio::task::spawn_blocking(move || {
            let event = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(Event::Panicked);
            // The engine may have gone before: then nobody asks.
            let _ = events.blocking_send(event);
        });
    }

    /// Takes in what was found, if the run that it was done for is active.
    pub(super) fn on_found(&mut self, of: Incarnation, found: Found) {
        if matches!(found, Found::Merged(_)) {
            // Its thread is free again, whoever it was for.
            self.merging -= 1;
            self.run_jobs();
        }
        if self.active.as_ref().is_none_or(|active| active.incarnation != of) {
            debug!("dropped, as its run was ended meanwhile: {found:?}");
            return;
        }
        match found {
            Found::Merged(done) => self.on_merged(done),
            Found::Settled(settled) => self.on_settled(settled),
            Found::Digested(digest) => self.on_digested(digest),
        }
    }
}
