//! Models by name, open to other crates.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{DataShape, Model, ModelError};

/// Makes a model from its parameters, the data's shape and the run's seed.
pub type Factory =
    dyn Fn(&toml::Table, DataShape, u64) -> Result<Box<dyn Model>, ModelError> + Send + Sync;

/// A registered model.
#[derive(Clone)]
struct Entry {
    about: &'static str,
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

    /// The models that come with Samebit: `softmax` and `mlp`.
    pub fn standard() -> Self {
        let mut registry = Self::empty();
        registry.register("softmax", super::softmax::ABOUT, super::softmax::Softmax::build);
        registry.register("mlp", super::mlp::ABOUT, super::mlp::Mlp::build);
        registry
    }

    /// Adds a model; one of the same name is replaced. `about` is one line
    /// for `coordinator models`.
    pub fn register<F>(&mut self, name: &'static str, about: &'static str, factory: F)
    where
        F: Fn(&toml::Table, DataShape, u64) -> Result<Box<dyn Model>, ModelError>
            + Send
            + Sync
            + 'static,
    {
        self.models.insert(name, Entry { about, factory: Arc::new(factory) });
    }

    /// Makes the model `name`.
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
