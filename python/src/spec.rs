//! What Python orders: a run's spec and where it runs.

use std::path::PathBuf;

use common::model::Registry;
use common::spec::RunSpec;
use serde::Deserialize;
use toml::{Table, Value};

use crate::error::Error;

/// A run that Python orders, as JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// The fields of the spec that the caller sets.
    spec: Table,
    /// Whether the fields are all that the caller says of the run. If so, the run is what the command
    /// line makes of the same flags without a spec's file.
    as_flags: bool,
    /// The folder of relative paths in the spec; empty for the one of the process.
    pub(crate) base: PathBuf,
    /// Where it runs.
    pub(crate) place: Place,
    /// Workers to wait for.
    pub(crate) min_workers: Option<u32>,
    /// Whether an equal run that the coordinator knows is followed instead.
    pub(crate) once: bool,
    /// Whether the other split is evaluated if the one in the spec has no examples.
    pub(crate) any_split: bool,
    /// A run that exists, to follow it in place of a new one.
    pub(crate) follow: Option<u64>,
    /// How long to try to reach the coordinator, in seconds.
    pub(crate) patience: u64,
}

/// Where a run is computed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Place {
    /// In this process.
    Here {},
    /// By worker processes on this host, which end with the run.
    Local {
        /// Their number.
        workers: u32,
        /// The program `samebit`.
        program: PathBuf,
    },
    /// By the workers of a coordinator.
    At {
        /// Its `HOST:PORT`.
        address: String,
        /// The keys file.
        keys: Option<PathBuf>,
    },
}

impl Order {
    /// Reads an order.
    pub(crate) fn from_json(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| Error::BadInput(error.to_string()))
    }

    /// The whole spec, with the defaults of its model.
    pub(crate) fn to_spec(&self, registry: &Registry) -> Result<RunSpec, Error> {
        let mut table = self.spec.clone();
        let example = || RunSpec::example().parse::<Table>().unwrap_or_default();
        let names_model = |table: &Table| table.get("model").cloned();
        if self.as_flags {
            // The example's values are for its own model.
            let is_own = names_model(&table).is_none_or(|it| Some(it) == names_model(&example()));
            for (key, value) in example() {
                let fits = is_own && (key != "epochs" || !table.contains_key("rounds"));
                match (table.get_mut(&key), value) {
                    _ if !fits => {}
                    (Some(Value::Table(own)), Value::Table(rest)) if key != "dataset" => {
                        rest.into_iter().for_each(|(key, value)| {
                            own.entry(key).or_insert(value);
                        });
                    }
                    (Some(_), _) => {}
                    (None, value) => {
                        table.insert(key, value);
                    }
                }
            }
        }
        registry.complete(&mut table);
        if let Some(Value::Table(dataset)) = table.get_mut("dataset") {
            dataset.entry("split").or_insert_with(|| "stratified".into());
        }
        let trains = table.get("update_weights").and_then(Value::as_bool) != Some(false);
        let is_timed = table.contains_key("epochs") || table.contains_key("rounds");
        if self.as_flags && trains && !is_timed {
            table.extend(example().remove_entry("epochs"));
        }
        Ok(RunSpec::from_table(table)?)
    }
}
