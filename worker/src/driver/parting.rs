//! The end of a connection: what the coordinator is told of it, and what is forgotten.

use common::wire::message::FromWorker;

use super::Engine;
use crate::session::Event;

impl Engine {
    /// The coordinator has said what it may not.
    pub(super) fn makes_no_sense(&mut self, wrong: &str) {
        self.hang_up(&format!("the coordinator sent an invalid message: {wrong}"));
    }

    /// The connection is of no use any more, and the coordinator may be there to hear
    /// why.
    pub(super) fn hang_up(&mut self, why: &str) {
        if self.connection.is_some() {
            self.part(why);
            self.pending.push_back(Event::Disconnected);
        }
    }

    /// The connection is gone.
    pub(super) fn lost(&mut self, why: &str) {
        if self.connection.is_some() {
            tracing::warn!("{why}; reconnecting");
            self.disconnect();
            self.pending.push_back(Event::Disconnected);
        }
    }

    /// Ends the connection. The coordinator hears why, beside all that follows: only
    /// the next connection that ends so takes its time from it.
    pub(super) fn part(&mut self, why: &str) {
        if let Some(connection) = self.connection.take() {
            tracing::warn!("{why}; reconnecting");
            let last = FromWorker::HangsUp { reason: why.to_owned() };
            let parting = tokio::spawn(connection.close(last));
            if let Some(before) = self.parting.replace(parting) {
                before.abort();
            }
        }
        self.disconnect();
    }

    fn disconnect(&mut self) {
        self.connecting = None;
        self.connection = None;
        self.runs.values_mut().for_each(|opened| opened.awaited = false);
        self.bases.disconnected();
        self.requests.disconnected();
    }

    /// Says goodbye, and sees out whatever is still to be said.
    pub(super) async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close(FromWorker::Goodbye).await;
        }
        if let Some(parting) = self.parting.take() {
            let _ = parting.await;
        }
    }
}
