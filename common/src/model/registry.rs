//! Models by name, open to other crates.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{DataShape, Model, ModelError, Parameter};

/// Builds a model from its parameters, the data's shape and the run's seed.
pub type Factory =
    dyn Fn(&toml::Table, DataShape, u64) -> Result<Box<dyn Model>, ModelError> + Send + Sync;

/// Adds a model's defaults to a spec's table.
pub type Defaults = dyn Fn(&mut toml::Table) + Send + Sync;

/// A registered model.
#[derive(Clone)]
struct Entry {
    about: &'static str,
    defaults: Option<Arc<Defaults>>,
    factory: Arc<Factory>,
}

/// Models by name. Coordinator and workers must have the same ones.
#[derive(Clone, Default)]
pub struct Registry {
    models: BTreeMap<&'static str, Entry>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.models.keys()).finish()
    }
}

impl Registry {
    /// No models.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The models that come with Samebit: `softmax`, `mlp` and `spiking`.
    pub fn standard() -> Self {
        let mut registry = Self::empty();
        registry.register("softmax", super::softmax::ABOUT, super::softmax::Softmax::build);
        registry.register("mlp", super::mlp::ABOUT, super::mlp::Mlp::build);
        let (about, complete) = (super::spiking::ABOUT, super::spiking::Spiking::complete);
        registry.register_with_defaults("spiking", about, complete, super::spiking::Spiking::build);
        registry
    }

    /// Adds a model; replaces a model of the same name. `about` is its line in
    /// `coordinator models`.
    pub fn register<F>(&mut self, name: &'static str, about: &'static str, factory: F)
    where
        F: Fn(&toml::Table, DataShape, u64) -> Result<Box<dyn Model>, ModelError>
            + Send
            + Sync
            + 'static,
    {
        self.models.insert(name, Entry { about, defaults: None, factory: Arc::new(factory) });
    }

    /// Adds a model with its own defaults for a spec. `defaults` gets the table of the whole
    /// spec before it is validated, and adds fields such as `batch_size`,
    /// `evaluation.labelling` or `parameters.x`. It cannot override the user's values
    /// ([`Registry::complete`]).
    pub fn register_with_defaults<D, F>(
        &mut self,
        name: &'static str,
        about: &'static str,
        defaults: D,
        factory: F,
    ) where
        D: Fn(&mut toml::Table) + Send + Sync + 'static,
        F: Fn(&toml::Table, DataShape, u64) -> Result<Box<dyn Model>, ModelError>
            + Send
            + Sync
            + 'static,
    {
        let defaults: Option<Arc<Defaults>> = Some(Arc::new(defaults));
        self.models.insert(name, Entry { about, defaults, factory: Arc::new(factory) });
    }

    /// The parameters of a model, in the order in which it reads them, with the defaults
    /// and ranges that they have for data of this shape.
    ///
    /// # Errors
    /// The model is unknown, cannot be made for such data, or does not read its
    /// parameters by [`Parameters`](super::Parameters).
    pub fn parameters(&self, name: &str, shape: DataShape) -> Result<Vec<Parameter>, ModelError> {
        // No parameter has this name: what refuses it knows all that there are.
        let table = toml::Table::from_iter([(String::new(), toml::Value::Boolean(true))]);
        match self.build(name, &table, shape, 0) {
            Err(ModelError::UnknownParameter { known, .. }) => Ok(known),
            Err(error) => Err(error),
            Ok(_) => Err(ModelError::Other(format!(
                "model `{name}` does not say which parameters it has: it does not read them by \
                 `Parameters`, or does not call `finish`"
            ))),
        }
    }

    /// Adds its model's own defaults to a spec's table. Existing fields stay as they are, and
    /// are not validated here.
    pub fn complete(&self, table: &mut toml::Table) {
        let name = table.get("model").and_then(toml::Value::as_str);
        let entry = name.and_then(|name| self.models.get(name));
        let Some(defaults) = entry.and_then(|entry| entry.defaults.as_ref()) else { return };
        let mut suits = table.clone();
        defaults(&mut suits);
        let trains = table.get("update_weights").and_then(toml::Value::as_bool) != Some(false);
        if !trains || table.contains_key("epochs") || table.contains_key("rounds") {
            // A spec has either `epochs` or `rounds`.
            suits.remove("epochs");
            suits.remove("rounds");
        }
        fill(table, suits);
    }

    /// Builds the model `name`.
    pub fn build(
        &self,
        name: &str,
        parameters: &toml::Table,
        shape: DataShape,
        seed: u64,
    ) -> Result<Box<dyn Model>, ModelError> {
        let entry = self.models.get(name).ok_or_else(|| ModelError::Unknown {
            name: name.into(),
            known: self.models.keys().copied().collect::<Vec<_>>().join(", "),
        })?;
        (entry.factory)(parameters, shape, seed)
    }

    /// Names and descriptions, in the order of the names.
    pub fn list(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.models.iter().map(|(name, entry)| (*name, entry.about))
    }
}

/// Adds the missing entries of a table, recursively.
fn fill(table: &mut toml::Table, suits: toml::Table) {
    for (key, value) in suits {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) => fill(inner, value),
            (Some(_), _) => {}
            (None, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(text: &str) -> String {
        let mut registry = Registry::standard();
        let defaults = |table: &mut toml::Table| {
            *table = "replicas = 2\nbatch_size = 3\nepochs = 4\nevaluation.labelling = true\n\
                      [parameters]\nrate = 0.5\nlayers = [1]\n"
                .parse()
                .unwrap();
        };
        registry.register_with_defaults(
            "own",
            "for tests",
            defaults,
            super::super::mlp::Mlp::build,
        );
        let mut table = text.parse().unwrap();
        registry.complete(&mut table);
        table.to_string()
    }

    fn check(text: &str, expected: &str) {
        let expected = expected.parse::<toml::Table>().unwrap().to_string();
        assert_eq!(completed(text), expected, "{text}");
    }

    #[test]
    fn what_the_user_left_out_is_added_and_nothing_else() {
        let all = "batch_size = 3\nepochs = 4\nevaluation.labelling = true\n\
                   parameters = {rate = 0.5, layers = [1]}\n";
        check("model = 'own'", &format!("model = 'own'\nreplicas = 2\n{all}"));
        check("model = 'own'\nreplicas = 9", &format!("model = 'own'\nreplicas = 9\n{all}"));
        let said = "model = 'own'\nreplicas = 'x'\nbatch_size = 0\nrounds = 1\nevaluation = 7\n\
                    parameters = {rate = 1, layers = []}\n";
        check(said, said);
        let inner = "model = 'own'\nreplicas = 1\nbatch_size = 1\nupdate_weights = false\n";
        check(
            &format!("{inner}evaluation.every = 1\nparameters.rate = 2"),
            &format!(
                "{inner}evaluation = {{every = 1, labelling = true}}\n\
                 parameters = {{rate = 2, layers = [1]}}"
            ),
        );
        for other in ["model = 'mlp'", "model = 'unknown'", "model = 3", "replicas = 1"] {
            check(other, other);
        }
    }
}
