//! What a run consists of, and where final states come from.

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

/// A submitted run, all checked.
pub(in crate::server) struct RunDefinition {
    /// The run's identity.
    pub(in crate::server) identity: RunIdentity,
    /// The spec as the client wrote it.
    pub(in crate::server) text: String,
    /// The same with every default, as workers get it.
    pub(in crate::server) complete: String,
    /// The same, read.
    pub(in crate::server) spec: RunSpec,
    pub(in crate::server) model: Arc<dyn Model>,
    pub(in crate::server) plan: RunPlan,
    pub(in crate::server) train: SplitManifest,
    pub(in crate::server) test: SplitManifest,
    /// Identity of the state to start from, where it came from the client.
    pub(in crate::server) initial: Option<Digest>,
    /// The steps to do: all of them, unless it is a replay.
    pub(in crate::server) steps: Range<u64>,
    /// Whether the steps were done before and are only compared: nothing of
    /// the run is kept.
    pub(in crate::server) is_replay: bool,
}

impl std::fmt::Debug for RunDefinition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunDefinition").field("model", &self.spec.model).finish_non_exhaustive()
    }
}

impl RunDefinition {
    /// The message that tells a worker of the run; `layout` is that of its states.
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

/// Where a final state comes from: what is in its file beside it.
#[derive(Clone, Debug)]
pub(in crate::server) struct Provenance {
    /// The run's spec.
    pub(in crate::server) spec: String,
    /// What the run reported on its way, as JSON.
    pub(in crate::server) history: Bytes,
}

impl Provenance {
    pub(in crate::server) fn new(spec: &str, history: &HistorySoFar) -> Self {
        Self { spec: spec.to_owned(), history: history.history().to_json().into() }
    }
}

/// From where a run goes on.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Restart {
    /// The step that begins from its state.
    pub(in crate::server) step: u64,
    /// Workers that it had.
    pub(in crate::server) workers: u32,
    /// What it had come to.
    pub(in crate::server) progress: Progress,
}
