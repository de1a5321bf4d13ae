//! A run as Python has it: a thread that works, and a channel of what it says.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::dataset::{Origin, Schema};
use common::model::Registry;
use common::spec::Split;
use common::state::{NetworkState, as_file_tensors};
use coordinator::client::{self, Fetched, InitialState, Loaded};
use pyo3::prelude::*;
use tokio::sync::watch;

use crate::convert::{Data, TensorIn, TensorOut, state_of, tensors_of};
use crate::error::Error;
use crate::spec::{Order, Place};
use crate::state::pool;
use crate::{here, there};

/// What a run says while it works.
#[derive(Debug)]
pub(crate) enum Message {
    /// An event, as JSON.
    Event(String),
    /// A sentence for people.
    Note(String),
    /// It has ended.
    End(Result<Box<Outcome>, Error>),
}

/// The result of a run.
#[pyclass(frozen, module = "samebit._samebit")]
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) fetched: Fetched,
    /// Resident memory of each process that computed, bytes, by its name.
    pub(crate) memory: Vec<(String, u64)>,
}

#[pymethods]
impl Outcome {
    /// The tensors of the final state.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Vec<TensorOut<'py>>> {
        Ok(tensors_of(py, &self.fetched.state)?)
    }

    /// The spec as TOML, and the data's meaning and the history as JSON.
    fn origin(&self) -> PyResult<(String, Option<String>, String)> {
        let schema = self.fetched.schema.as_ref().map(Schema::to_json);
        let schema = schema.transpose().map_err(Error::from)?;
        Ok((self.fetched.spec.to_toml(), schema, self.fetched.history.to_json()))
    }

    /// Resident memory of each process that computed.
    fn memory(&self) -> Vec<(String, u64)> {
        self.memory.clone()
    }
}

/// A run's input.
pub(crate) struct Work {
    pub(crate) registry: Registry,
    pub(crate) order: Order,
    /// The examples; `None`: the files that the spec names.
    data: Option<Arc<common::dataset::Arrays>>,
    /// The state, whether its tensors have rules, and what it was trained on.
    state: Option<(NetworkState, bool, Option<String>)>,
    pub(crate) out: Sender<Message>,
}

impl Work {
    /// Sends an event to Python, which may have stopped listening.
    pub(crate) fn tell(&self, event: &common::wire::message::RunEvent) {
        let text = serde_json::to_string(event).unwrap_or_default();
        let _ = self.out.send(Message::Event(text));
    }

    /// Sends a sentence.
    pub(crate) fn note(&self, text: String) {
        let _ = self.out.send(Message::Note(text));
    }

    /// Loads the data, and adapts the state to the model.
    pub(crate) fn load(&mut self) -> Result<Loaded, Error> {
        let spec = self.order.to_spec(&self.registry)?;
        let origin = match self.data.take() {
            Some(arrays) => Origin::Arrays(arrays),
            None => Origin::Files("".into()),
        };
        let initial = match self.state.take() {
            Some((state, has_rules, schema)) => {
                let trained_on = schema.map(|text| Schema::from_json(&text)).transpose()?;
                let tensors = as_file_tensors("the state", &state, has_rules);
                Some(InitialState { tensors, map: Vec::new(), trained_on })
            }
            None => None,
        };
        let mut loaded = client::load(&self.registry, spec, &origin, initial)?;
        if !loaded.spec.update_weights && self.order.any_split {
            let (train, test) = (loaded.dataset.train.len(), loaded.dataset.test.len());
            let split = &mut loaded.spec.evaluation.split;
            match *split {
                Split::Test if test == 0 && train > 0 => *split = Split::Train,
                Split::Train if train == 0 && test > 0 => *split = Split::Test,
                _ => {}
            }
        }
        self.note(loaded.schema.understood.clone());
        let sentences = loaded.schema.warnings.iter().chain(&loaded.messages);
        sentences.for_each(|sentence| self.note(sentence.clone()));
        Ok(loaded)
    }
}

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
    fn start(
        order: Order,
        data: Option<Arc<common::dataset::Arrays>>,
        state: Option<(NetworkState, bool, Option<String>)>,
    ) -> PyResult<Self> {
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
