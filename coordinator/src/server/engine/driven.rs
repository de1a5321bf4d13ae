//! An engine that a test drives event by event, without a task, a socket or a clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use super::inbox::Turn;
use crate::server::jobs::Done;
use crate::server::net;

impl Engine {
    /// From now on, jobs run when [`Engine::finish_job`] is called.
    pub(in crate::server) fn hold_jobs(&mut self) {
        self.jobs.hold();
        self.now = Instant::now();
    }

    /// Handles an event of a connection, and checks the scheduler's invariants.
    pub(in crate::server) fn drive(&mut self, event: net::Event) {
        self.take(Turn { net: vec![event], ..Turn::default() });
    }

    /// Runs the oldest waiting job, if there is one, and handles its result.
    pub(in crate::server) fn finish_job(&mut self) -> bool {
        let Some(found) = self.jobs.run_held() else { return false };
        self.take(Turn { jobs: vec![Done::With(found)], ..Turn::default() });
        true
    }

    /// Waits for the storage writer, and handles its events.
    pub(in crate::server) fn await_storage(&mut self) {
        let event = self.inbox.next_storage_event();
        self.take(Turn { storage: vec![event], ..Turn::default() });
    }

    /// Lets time pass.
    pub(in crate::server) fn elapse(&mut self, time: Duration) {
        self.now += time;
        self.take(Turn::default());
    }

    fn take(&mut self, mut turn: Turn) {
        self.take_turn(&mut turn);
        self.scheduler.check().unwrap();
    }
}
