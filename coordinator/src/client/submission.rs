//! A run, ready to be submitted. Errors of the user are found here, before a coordinator is
//! contacted.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::dataset::{DataDigests, Dataset, DatasetError, Schema, SplitManifest};
use common::digest::Digest;
use common::id::SubmissionKey;
use common::model::{ModelError, Registry};
use common::plan::RunPlan;
use common::run_settings::RunSettings;
use common::spec::{RunSpec, SpecError, Split};
use common::state::{NetworkState, StateError};
use common::wire::message::Replay;

use crate::rerun::{KeptExamples, Rerun};

/// A run with its data.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The key, which stays the same if the submission is repeated.
    pub(super) key: SubmissionKey,
    pub(super) spec: RunSpec,
    /// What the examples mean, as JSON.
    pub(super) schema: String,
    pub(super) source: Source,
    pub(super) train: SplitManifest,
    pub(super) test: SplitManifest,
    pub(super) state: Option<NetworkState>,
    pub(super) settings: RunSettings,
    pub(super) replay: Option<Replay>,
}

/// The examples.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Loaded from the spec's dataset. A chunk is made when it is sent.
    Loaded(Arc<Dataset>),
    /// Read from the runs folder.
    Kept(KeptExamples),
}

/// An error of a submission.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmissionError {
    /// The spec.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The data.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The model or its parameters.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The merge rules of the spec.
    #[error("spec field `merge`: {0}")]
    Merge(StateError),
    /// The random key cannot be generated.
    #[error("cannot generate a random key for the submission: {0}")]
    Key(#[from] std::io::Error),
    /// The initial state.
    #[error("the initial state does not fit the model: {0}")]
    State(StateError),
    /// The initial state, for data that may have been taken for something else than it is.
    #[error("the initial state does not fit the model for these examples ({understood}): {error}")]
    StateForData {
        /// What is wrong with the state.
        error: StateError,
        /// What the data was taken for.
        understood: String,
    },
}

impl Submission {
    /// Loads the data of `spec` and checks everything: model, parameters, merge rules, plan,
    /// and the initial state (`None`: the model creates one). Blocks while it reads files.
    pub fn prepare(
        registry: &Registry,
        spec: RunSpec,
        state: Option<NetworkState>,
        settings: RunSettings,
    ) -> Result<Self, SubmissionError> {
        spec.validate()?;
        let loaded = Dataset::load_as(&spec.dataset, Path::new(""), None)?;
        Self::of(registry, spec, loaded, state, settings)
    }

    /// The same of data that is loaded already.
    pub fn of(
        registry: &Registry,
        spec: RunSpec,
        (dataset, mut schema): (Dataset, Schema),
        state: Option<NetworkState>,
        settings: RunSettings,
    ) -> Result<Self, SubmissionError> {
        spec.validate()?;
        let model = registry.build(&spec.model, &spec.parameters, dataset.shape(), spec.seed)?;
        RunPlan::new(&spec, dataset.train.size(), dataset.test.len())?;
        let mut state = state;
        if state.is_some() || !spec.merge.is_empty() {
            let mut layout = model.layout()?;
            layout.set_rules(&spec.merge).map_err(SubmissionError::Merge)?;
            if let Some(state) = &mut state {
                layout.check_same_tensors(&state.layout()).map_err(SubmissionError::State)?;
                state.set_rules(&spec.merge).map_err(SubmissionError::State)?;
            }
        }
        let (train, test) = (dataset.train.manifest(), dataset.test.manifest());
        let source = Source::Loaded(Arc::new(dataset));
        if spec.update_weights {
            schema.data = Some(DataDigests { train: train.digest(), test: test.digest() });
        }
        let schema = schema.to_json()?;
        let key = SubmissionKey::draw()?;
        Ok(Self { key, spec, schema, source, train, test, state, settings, replay: None })
    }

    /// Sets a key derived from its content: spec, data and initial state. A coordinator that
    /// knows such a run does not run it again.
    #[must_use]
    pub fn only_once(mut self) -> Self {
        let spec = Digest::of(self.spec.to_toml().as_bytes());
        let state = self.state.as_ref().map(NetworkState::digest);
        let parts = [spec, self.train.digest(), self.test.digest()];
        self.key =
            SubmissionKey::of(Digest::of_digests(b"only once\0", parts.iter().chain(&state)));
        self
    }

    /// What tells its data from other data.
    pub fn data(&self) -> DataDigests {
        DataDigests { train: self.train.digest(), test: self.test.digest() }
    }

    /// The spec.
    pub fn spec(&self) -> &RunSpec {
        &self.spec
    }

    /// Steps of a stored run to repeat, from a state (`None`: the model creates one).
    pub fn replay(
        rerun: &Rerun,
        replay: Replay,
        state: Option<NetworkState>,
        settings: RunSettings,
    ) -> Result<Self, SubmissionError> {
        Ok(Self {
            key: SubmissionKey::draw()?,
            spec: rerun.spec().clone(),
            schema: rerun.record().schema.clone(),
            source: Source::Kept(rerun.examples().clone()),
            train: rerun.record().train.clone(),
            test: rerun.record().test.clone(),
            state,
            settings,
            replay: Some(replay),
        })
    }

    /// A chunk of examples of a split.
    pub(super) fn chunk(&self, split: Split, index: usize) -> Bytes {
        match &self.source {
            Source::Loaded(dataset) => dataset.split(split).chunk(index),
            Source::Kept(examples) => examples.chunk(split, index),
        }
    }
}
