//! The end of a connection: the message to the coordinator, and the data that is dropped.

use common::wire::message::FromWorker;

use super::Engine;
use crate::session::Event;

impl Engine {
    /// The coordinator has sent an invalid message.
    pub(super) fn makes_no_sense(&mut self, wrong: &str) {
        self.hang_up(&format!("the coordinator sent an invalid message: {wrong}"));
    }

    /// The connection cannot be used any more, but the coordinator may be able to receive the
    /// reason.
    pub(super) fn hang_up(&mut self, why: &str) {
        if self.connection.is_some() {
            self.part(why);
            self.pending.push_back(Event::Disconnected);
        }
    }

    /// The connection is lost.
    pub(super) fn lost(&mut self, why: &str) {
        if self.connection.is_some() {
            tracing::warn!("{why}; reconnecting");
            self.disconnect();
            self.pending.push_back(Event::Disconnected);
        }
    }

    /// Closes the connection. The coordinator is sent the reason while the worker continues: a
    /// later connection that ends the same way replaces this one.
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

    /// Says goodbye, and waits until all queued messages are sent.
    pub(super) async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.close(FromWorker::Goodbye).await;
        }
        if let Some(parting) = self.parting.take() {
            let _ = parting.await;
        }
    }
}
