//! Long work on separate threads. The result is sent to the engine as a message.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::mpsc;

/// Most results that may wait for the engine; beyond that, the threads wait.
pub(super) const RESULTS: usize = 1024;

/// One life of a run. When a run that has ended is resumed, it gets a new incarnation: the run may
/// be at the same step, but results of work that was started in the earlier life are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Incarnation(u64);

impl Incarnation {
    /// An incarnation that was not used before.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The end of a job.
#[derive(Debug)]
pub(super) enum Done<T> {
    /// The result.
    With(T),
    /// The job panicked: a bug of ours, as panics of models are caught earlier.
    Panicked(Box<dyn Any + Send>),
}

/// Runs jobs whose results are `T`.
#[derive(Debug)]
pub(super) struct Jobs<T> {
    done: mpsc::Sender<Done<T>>,
    /// For tests that choose when jobs run.
    #[cfg(test)]
    held: held::Held<T>,
}

impl<T: Send + 'static> Jobs<T> {
    /// Jobs that send their results to this channel.
    pub(super) fn new(done: mpsc::Sender<Done<T>>) -> Self {
        Self {
            done,
            #[cfg(test)]
            held: Default::default(),
        }
    }

    /// Runs work on another thread.
    pub(super) fn spawn(&self, work: impl FnOnce() -> T + Send + 'static) {
        #[cfg(test)]
        let Some(work) = self.held.hold(work) else { return };
        let done = self.done.clone();
        tokio::task::spawn_blocking(move || {
            let result =
                catch_unwind(AssertUnwindSafe(work)).map_or_else(Done::Panicked, Done::With);
            // If the engine has ended, the result is not needed.
            let _ = done.blocking_send(result);
        });
    }
}

#[cfg(test)]
pub(super) mod held {
    //! Jobs that wait until a test runs them.

    use std::collections::VecDeque;
    use std::fmt;
    use std::sync::Mutex;

    use super::Jobs;

    type Job<T> = Box<dyn FnOnce() -> T + Send>;

    /// Empty unless a test holds jobs.
    pub(super) struct Held<T>(Mutex<Option<VecDeque<Job<T>>>>);

    impl<T> Default for Held<T> {
        fn default() -> Self {
            Self(Mutex::new(None))
        }
    }

    impl<T> fmt::Debug for Held<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Held")
        }
    }

    impl<T> Held<T> {
        /// Returns the work if it is not held.
        pub(super) fn hold<W>(&self, work: W) -> Option<W>
        where
            W: FnOnce() -> T + Send + 'static,
        {
            match &mut *self.0.lock().unwrap() {
                Some(jobs) => jobs.push_back(Box::new(work)),
                None => return Some(work),
            }
            None
        }
    }

    impl<T> Jobs<T> {
        /// Holds all jobs from now on.
        pub(in crate::server) fn hold(&self) {
            *self.held.0.lock().unwrap() = Some(VecDeque::new());
        }

        /// Runs the oldest held job, and returns its result.
        pub(in crate::server) fn run_held(&self) -> Option<T> {
            let job = self.held.0.lock().unwrap().as_mut()?.pop_front()?;
            Some(job())
        }
    }
}
