//! What the engine holds of each assignment and of each finished block, and how many
//! bytes that takes.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::merge::Partial;
use common::plan::EpochOrder;
use common::wire::message::FromWorker;

use super::compute::RunningBlock;
use super::examples::CopiedExamples;
use super::run::OpenRun;

/// An assignment whose examples may still be on their way.
#[derive(Debug)]
pub(super) struct HeldAssignment {
    pub(super) work: Arc<RunningBlock>,
    /// Whether the examples are known and wanted.
    pub(super) fetching: Option<Fetching>,
}

/// The examples of an assignment, as far as they are here.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) order: Option<Arc<EpochOrder>>,
    /// Until they are all here.
    pub(super) data: Option<CopiedExamples>,
    /// Chunks that they lie in and that have not come.
    pub(super) missing: BTreeSet<usize>,
}

impl HeldAssignment {
    /// Bytes of its examples.
    pub(super) fn bytes(&self) -> u64 {
        let waiting = self.fetching.as_ref().and_then(|fetching| fetching.data.as_ref());
        let here = || self.work.input.get().map(|input| &input.data);
        waiting.or_else(here).map_or(0, CopiedExamples::bytes)
    }
}

/// A finished block.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) done: FromWorker,
    pub(super) partial: Arc<Partial>,
    pub(super) run: Arc<OpenRun>,
}

impl Kept {
    /// Bytes of its partial, about.
    pub(super) fn bytes(&self) -> u64 {
        let has_tensors = self.partial.tensors.iter().any(Option::is_some);
        if has_tensors { self.run.layout.bytes() } else { 0 }
    }
}
