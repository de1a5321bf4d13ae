//! A run as Python has it: a thread that works, and a channel of what it says.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::dataset::Arrays;
use common::model::Registry;
use pyo3::prelude::*;
use tokio::sync::watch;

use crate::convert::{Data, TensorIn, state_of};
use crate::error::Error;
use crate::spec::{Order, Place};
use crate::state::pool;
use crate::work::{Initial, Message, Outcome, Work};
use crate::{here, there};

/// A run that works on a thread of its own.
#[pyclass(frozen, module = "samebit._samebit")]
#[derive(Debug)]
pub(crate) struct Job {
    process: u32,
    messages: Mutex<Receiver<Message>>,
    cancel: watch::Sender<bool>,
}

#[pymethods]
impl Job {
    /// Starts a run. `order` is the JSON of an [`Order`]; `schema` says what the data meant that the
    /// state was trained on.
    #[new]
    #[pyo3(signature = (order, data=None, state=None, schema=None))]
    fn new(
        order: &str,
        data: Option<&Bound<'_, Data>>,
        state: Option<Vec<TensorIn<'_>>>,
        schema: Option<String>,
    ) -> PyResult<Self> {
        let order = Order::from_json(order)?;
        let state = state.map(state_of).transpose()?;
        let state = state.map(|(state, has_rules)| (state, has_rules, schema));
        let data = data.map(|data| Arc::clone(&data.get().0));
        Self::start(order, data, state)
    }

    /// What the run says next; `None` if it says nothing for so many seconds. The kind is `event`,
    /// `note` or `end`.
    fn next(
        &self,
        py: Python<'_>,
        seconds: f64,
    ) -> PyResult<Option<(&'static str, String, Option<Outcome>)>> {
        if self.process != std::process::id() {
            return Err(Error::Forked.into());
        }
        let wait = Duration::from_secs_f64(seconds.clamp(0.0, 1.0));
        let received = py.detach(|| {
            self.messages.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(wait)
        });
        match received {
            Ok(Message::Event(text)) => Ok(Some(("event", text, None))),
            Ok(Message::Note(text)) => Ok(Some(("note", text, None))),
            Ok(Message::End(Ok(outcome))) => Ok(Some(("end", String::new(), Some(*outcome)))),
            Ok(Message::End(Err(error))) => Err(error.into()),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let text = "the thread of the run has ended unexpectedly: this is a bug of samebit";
                Err(Error::Failed(text.into()).into())
            }
        }
    }

    /// Cancels the run. It ends with an error soon.
    fn cancel(&self) {
        self.cancel.send_replace(true);
    }
}

impl Job {
    fn start(order: Order, data: Option<Arc<Arrays>>, state: Option<Initial>) -> PyResult<Self> {
        let pool = pool()?;
        let (out, messages) = channel();
        let (cancel, cancelled) = watch::channel(false);
        let work = Work { registry: Registry::standard(), order, data, state, out: out.clone() };
        let run = move || {
            let outcome = match work.order.place {
                Place::Here {} => pool.install(|| here::run(work, &cancelled)),
                Place::Local { .. } | Place::At { .. } => there::run(work, cancelled),
            };
            // Python may have stopped listening.
            let _ = out.send(Message::End(outcome.map(Box::new)));
        };
        let thread = std::thread::Builder::new().name("samebit-run".into());
        let started = thread.spawn(run);
        started.map_err(|error| Error::Failed(format!("cannot start a thread: {error}")))?;
        Ok(Self { process: std::process::id(), messages: Mutex::new(messages), cancel })
    }
}
