//! The channels on which the engine receives messages.

use tokio::sync::mpsc::{self, Receiver, Sender};

use super::{Found, Written};
use crate::server::jobs::{self, Done, Jobs};
use crate::server::{net, persistence};

/// Most messages of one channel that are handled in one turn, before the results are sent.
const TURN: usize = 256;

/// The messages of one turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) net: Vec<net::Event>,
    pub(super) jobs: Vec<Done<Found>>,
    pub(super) storage: Vec<persistence::Event<Written>>,
}

/// The channels' receivers. A sender of each is kept here, so that no channel closes by itself.
#[derive(Debug)]
pub(super) struct Inbox {
    net: (Sender<net::Event>, Receiver<net::Event>),
    jobs: Receiver<Done<Found>>,
    storage: (Sender<persistence::Event<Written>>, Receiver<persistence::Event<Written>>),
}

impl Inbox {
    /// Creates the channels, and the jobs that send their results to one of them.
    pub(super) fn new() -> (Self, Jobs<Found>) {
        let (results, jobs) = mpsc::channel(jobs::RESULTS);
        let net = mpsc::channel(net::EVENTS);
        (Self { net, jobs, storage: mpsc::channel(persistence::EVENTS) }, Jobs::new(results))
    }

    pub(super) fn net_events(&self) -> Sender<net::Event> {
        self.net.0.clone()
    }

    pub(super) fn storage_events(&self) -> Sender<persistence::Event<Written>> {
        self.storage.0.clone()
    }

    /// Waits for a message on any channel, and takes it with those queued behind it. Messages of
    /// peers are taken last. Cancel-safe.
    pub(super) async fn wait(&mut self, turn: &mut Turn) {
        tokio::select! {
            biased;
            _ = self.storage.1.recv_many(&mut turn.storage, TURN) => {}
            _ = self.jobs.recv_many(&mut turn.jobs, TURN) => {}
            _ = self.net.1.recv_many(&mut turn.net, TURN) => {}
        }
    }

    /// Takes all waiting messages, from each channel at most its capacity.
    pub(super) fn take_all(&mut self, turn: &mut Turn) {
        take(&mut self.storage.1, &mut turn.storage, persistence::EVENTS);
        take(&mut self.jobs, &mut turn.jobs, jobs::RESULTS);
        take(&mut self.net.1, &mut turn.net, net::EVENTS);
    }

    /// Waits for the storage writer.
    #[cfg(test)]
    pub(super) fn next_storage_event(&mut self) -> persistence::Event<Written> {
        self.storage.1.blocking_recv().expect("the inbox has a sender itself")
    }

    /// Stops receiving: senders find the channel closed.
    pub(super) fn close(&mut self) {
        self.storage.1.close();
        self.jobs.close();
        self.net.1.close();
    }
}

fn take<T>(from: &mut Receiver<T>, into: &mut Vec<T>, most: usize) {
    for _ in 0..most {
        let Ok(message) = from.try_recv() else { return };
        into.push(message);
    }
}
