//! Those who have come and not said who they are: so many at most, and the
//! oldest one goes when there is one more. Who means it needs milliseconds to
//! say so, and gets in however many others stand there and say nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

#[derive(Debug)]
pub(super) struct Threshold {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// In the order they came. What is dropped tells its place that it is lost.
    taken: BTreeMap<u64, oneshot::Sender<()>>,
    next: u64,
}

/// A place on the threshold, given back when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Place {
    threshold: Arc<Threshold>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Threshold {
    /// With so many places.
    pub(super) fn new(most: usize) -> Self {
        Self { most, places: Mutex::default() }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if need be that of the oldest one.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        let (sender, lost) = oneshot::channel();
        let mut places = self.places();
        let number = places.next;
        places.next += 1;
        if places.taken.len() >= self.most {
            places.taken.pop_first();
        }
        places.taken.insert(number, sender);
        Place { threshold: self.clone(), number, lost }
    }
}

impl Place {
    /// Waits until somebody else has it. Cancel-safe.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.threshold.places().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_when_one_more_comes() {
        let threshold = Arc::new(Threshold::new(2));
        let mut first = threshold.enter();
        let second = threshold.enter();
        assert!(first.lost.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let mut third = threshold.enter();
        first.lost().await;
        drop(second);
        let fourth = threshold.enter();
        assert!(third.lost.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let _fifth = threshold.enter();
        third.lost().await;
        drop((first, third, fourth));
        assert_eq!(threshold.places().taken.len(), 1);
    }
}
