//! The definition of a run, and the provenance of final states.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::{RunId, RunIdentity};
use common::model::Model;
use common::plan::RunPlan;
use common::spec::RunSpec;
use common::state::Layout;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::ToWorker;

use crate::runs::{HistorySoFar, Progress};

/// A submitted run, validated.
pub(in crate::server) struct RunDefinition {
    /// The run's identity.
    pub(in crate::server) identity: RunIdentity,
    /// The spec as the client wrote it.
    pub(in crate::server) text: String,
    /// What the examples mean, as JSON; empty if nothing is known.
    pub(in crate::server) schema: String,
    /// The same with all defaults, as it is sent to workers.
    pub(in crate::server) complete: String,
    /// The same, parsed.
    pub(in crate::server) spec: RunSpec,
    pub(in crate::server) model: Arc<dyn Model>,
    pub(in crate::server) plan: RunPlan,
    pub(in crate::server) train: SplitManifest,
    pub(in crate::server) test: SplitManifest,
    /// Identity of the initial state, if the client sent it.
    pub(in crate::server) initial: Option<Digest>,
    /// The steps to compute: all of them, unless it is a replay.
    pub(in crate::server) steps: Range<u64>,
    /// Whether the steps were computed before and are only compared: nothing of the run is kept.
    pub(in crate::server) is_replay: bool,
}

impl std::fmt::Debug for RunDefinition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunDefinition").field("model", &self.spec.model).finish_non_exhaustive()
    }
}

impl RunDefinition {
    /// The message that opens the run at a worker; `layout` is the layout of its states.
    pub(in crate::server) fn open_run(&self, run: RunId, layout: Layout) -> Frame {
        encode(ToWorker::OpenRun {
            run,
            identity: self.identity,
            spec: self.complete.clone(),
            model_version: self.model.version(),
            train: self.train.clone(),
            test: self.test.clone(),
            layout,
            initial: self.initial,
        })
    }
}

/// The provenance of a final state, which is stored in its file.
#[derive(Clone, Debug)]
pub(in crate::server) struct Provenance {
    /// The run's spec.
    pub(in crate::server) spec: String,
    /// What its examples mean, as JSON.
    pub(in crate::server) schema: String,
    /// The run's reports, as JSON.
    pub(in crate::server) history: Bytes,
}

impl Provenance {
    pub(in crate::server) fn new(spec: &str, schema: &str, history: &HistorySoFar) -> Self {
        let history = history.history().to_json().into();
        Self { spec: spec.to_owned(), schema: schema.to_owned(), history }
    }
}

/// The point from which a run continues.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Restart {
    /// The step that starts from its state.
    pub(in crate::server) step: u64,
    /// The number of workers that it had.
    pub(in crate::server) workers: u32,
    /// Its progress.
    pub(in crate::server) progress: Progress,
}
