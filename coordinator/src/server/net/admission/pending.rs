//! Connections that have not finished the handshake. There is a maximum; a new one
//! evicts the oldest. A legitimate peer finishes within milliseconds, so idle
//! connections cannot lock it out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) struct PendingHandshakes {
    most: usize,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    /// In the order in which they connected. Dropping a sender tells its slot that it is evicted.
    taken: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// A slot of a pending connection, released when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct PendingHandshake {
    pending: Arc<PendingHandshakes>,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl PendingHandshakes {
    /// With this many slots.
    pub(super) fn new(most: usize) -> Self {
        Self { most, slots: Mutex::default() }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot, that of the oldest connection if all are taken.
    pub(super) fn add(self: &Arc<Self>) -> PendingHandshake {
        let (sender, evicted) = oneshot::channel();
        let mut slots = self.slots();
        let number = slots.next;
        slots.next += 1;
        if slots.taken.len() >= self.most {
            slots.taken.pop_first();
        }
        slots.taken.insert(number, sender);
        PendingHandshake { pending: self.clone(), number, evicted }
    }
}

impl PendingHandshake {
    /// Waits until the slot is given to another connection. Cancel-safe.
    pub(super) async fn evicted(&mut self) {
        // Nothing is ever sent: this ends when the sender is dropped.
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for PendingHandshake {
    fn drop(&mut self) {
        self.pending.slots().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_when_one_more_comes() {
        let pending = Arc::new(PendingHandshakes::new(2));
        let mut first = pending.add();
        let second = pending.add();
        assert!(first.evicted.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let mut third = pending.add();
        first.evicted().await;
        drop(second);
        let fourth = pending.add();
        assert!(third.evicted.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let _fifth = pending.add();
        third.evicted().await;
        drop((first, third, fourth));
        assert_eq!(pending.slots().taken.len(), 1);
    }
}
