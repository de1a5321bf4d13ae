//! A run's input, what it says while it works, and its result.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use common::dataset::{Arrays, Origin, Schema};
use common::model::Registry;
use common::spec::Split;
use common::state::{NetworkState, as_file_tensors};
use common::wire::message::RunEvent;
use coordinator::client::{self, Fetched, InitialState, Loaded};
use pyo3::prelude::*;

use crate::convert::{TensorOut, tensors_of};
use crate::error::Error;
use crate::spec::Order;

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

/// A state, whether its tensors have rules, and what it was trained on, as JSON.
pub(crate) type Initial = (NetworkState, bool, Option<String>);

/// A run's input.
pub(crate) struct Work {
    pub(crate) registry: Registry,
    pub(crate) order: Order,
    /// The examples; `None`: the files that the spec names.
    pub(crate) data: Option<Arc<Arrays>>,
    /// The state to start from; `None`: the model makes one.
    pub(crate) state: Option<Initial>,
    pub(crate) out: Sender<Message>,
}

impl Work {
    /// Sends an event to Python, which may have stopped listening.
    pub(crate) fn tell(&self, event: &RunEvent) {
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
            None => Origin::Files(self.order.base.clone()),
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
