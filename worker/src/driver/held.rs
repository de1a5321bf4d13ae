//! Data that the engine holds for each assignment and each finished block, and its size.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::merge::Partial;
use common::plan::EpochOrder;
use common::wire::message::FromWorker;

use super::compute::RunningBlock;
use super::examples::CopiedExamples;
use super::run::OpenRun;

/// An assignment whose examples may not have arrived yet.
#[derive(Debug)]
pub(super) struct HeldAssignment {
    pub(super) work: Arc<RunningBlock>,
    /// Whether the examples are known and requested.
    pub(super) fetching: Option<Fetching>,
}

/// The examples of an assignment that have arrived.
#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) order: Option<Arc<EpochOrder>>,
    /// Set until all have arrived.
    pub(super) data: Option<CopiedExamples>,
    /// Chunks that contain its examples and have not arrived.
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
    /// Approximate size of its partial in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let has_tensors = self.partial.tensors.iter().any(Option::is_some);
        if has_tensors { self.run.layout.bytes() } else { 0 }
    }
}
