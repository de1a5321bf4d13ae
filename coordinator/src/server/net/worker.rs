//! A connected worker: its own description, and what it was sent on this connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};
use common::limits;
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{ToWorker, WorkerStatus};

use super::outbox::{Outbox, StateFrames, Transfer};
use super::peer::{Handle, WorkerInfo};
use crate::server::text::used_memory;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct Worker {
    info: WorkerInfo,
    /// Resident memory, from its last heartbeat.
    memory: u64,
    handle: Handle,
    /// The time of its last bytes when that was last read.
    last_activity: u64,
    /// The run that it was told of.
    run: Option<RunId>,
    /// The last step whose base was sent to it.
    base: Option<StepId>,
    /// The step after that, if its base is sent while it is merged.
    growing: Option<StepId>,
    /// Blocks that were handed to it and are not finished.
    assignments: BTreeMap<AssignmentId, (StepId, Block)>,
    /// All blocks of the current step that were handed to it on this connection.
    given: BTreeSet<Block>,
    shards_done: u64,
    /// The reason why it cannot work on the run that it was told of.
    cannot: Option<String>,
    is_draining: bool,
    /// Whether its connection was ended while it was alive.
    has_parted: bool,
}

impl Worker {
    pub(super) fn new(info: WorkerInfo, handle: Handle) -> Self {
        Self {
            info,
            memory: 0,
            last_activity: handle.activity().at(),
            handle,
            run: None,
            base: None,
            growing: None,
            assignments: BTreeMap::new(),
            given: BTreeSet::new(),
            shards_done: 0,
            cannot: None,
            is_draining: false,
            has_parted: false,
        }
    }

    pub(in crate::server) fn name(&self) -> &str {
        &self.info.name
    }

    pub(in crate::server) fn process(&self) -> ProcessId {
        self.info.process
    }

    /// Shards that it runs at the same time.
    pub(in crate::server) fn slots(&self) -> u32 {
        self.info.slots
    }

    /// Bytes of examples that its cache holds.
    pub(in crate::server) fn cache_limit(&self) -> u64 {
        self.info.cache_limit
    }

    /// Resident memory in bytes, from its last heartbeat.
    pub(in crate::server) fn memory(&self) -> u64 {
        self.memory
    }

    /// The address that it connected from.
    pub(in crate::server) fn address(&self) -> &str {
        self.handle.address()
    }

    /// Whether it was told of a run.
    pub(in crate::server) fn knows(&self, run: RunId) -> bool {
        self.run == Some(run)
    }

    /// Whether this block of the current step was handed to it on this connection.
    pub(in crate::server) fn was_given(&self, block: Block) -> bool {
        self.given.contains(&block)
    }

    /// Whether an assignment is one of its unfinished ones.
    pub(in crate::server) fn has(&self, assignment: AssignmentId) -> bool {
        self.assignments.contains_key(&assignment)
    }

    /// Whether it is leaving and takes no more work.
    pub(in crate::server) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Notes that it takes no more work.
    pub(in crate::server) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Notes the memory that it uses, in bytes.
    pub(in crate::server) fn set_memory(&mut self, memory: u64) {
        self.memory = memory;
    }

    /// Notes a block that it has finished or offers.
    pub(in crate::server) fn finish(&mut self, step: StepId, block: Block) {
        self.assignments.retain(|_, assigned| *assigned != (step, block));
    }

    /// Counts shards of its blocks that were accepted.
    pub(in crate::server) fn count_shards(&mut self, count: u64) {
        self.shards_done += count;
    }

    /// Removes an assignment from its unfinished ones; `None` if the assignment was revoked, or is
    /// from before a reconnect.
    pub(in crate::server) fn take_assignment(
        &mut self,
        assignment: AssignmentId,
    ) -> Option<(StepId, Block)> {
        self.assignments.remove(&assignment)
    }

    /// Notes that it cannot work on the run that it was told of: it gets no more work of the run.
    pub(in crate::server) fn cannot_work(&mut self, run: RunId, reason: &str) {
        self.assignments.clear();
        self.outbox().drop_run(run);
        self.cannot = Some(common::text::beginning(reason, limits::STATUS_REASON_BYTES).to_owned());
    }

    pub(super) fn outbox(&self) -> &Outbox {
        self.handle.outbox()
    }

    pub(super) fn handle_mut(&mut self) -> &mut Handle {
        &mut self.handle
    }

    pub(super) fn note_parted(&mut self) {
        self.has_parted = true;
    }

    /// Whether bytes have come since the last call.
    pub(super) fn was_active(&mut self) -> bool {
        let at = self.handle.activity().at();
        at != std::mem::replace(&mut self.last_activity, at)
    }

    pub(super) fn open_run(&mut self, run: RunId, open: Frame) {
        self.outbox().control(open);
        self.run = Some(run);
    }

    pub(super) fn assign(
        &mut self,
        assignment: AssignmentId,
        (step, block): (StepId, Block),
        message: Frame,
        base: impl FnOnce() -> Arc<StateFrames>,
    ) {
        if self.base != Some(step) {
            if self.growing != Some(step) {
                self.outbox().data(Transfer::State { step: Some(step), frames: base(), next: 0 });
            }
            (self.base, self.growing) = (Some(step), None);
            self.given.clear();
        }
        self.outbox().control(message);
        self.assignments.insert(assignment, (step, block));
        self.given.insert(block);
    }

    /// Begins to send it the base of the step after `step`, if it has the base of `step`. Returns
    /// whether it does.
    pub(super) fn send_growing(&mut self, step: StepId, frames: &Arc<StateFrames>) -> bool {
        let takes_part = self.base == Some(step) && self.cannot.is_none() && !self.is_draining;
        if takes_part {
            let next = StepId { index: step.index + 1, ..step };
            let frames = frames.clone();
            self.outbox().data(Transfer::State { step: Some(next), frames, next: 0 });
            self.growing = Some(next);
        }
        takes_part
    }

    /// Whether it is being sent a base that is merged meanwhile.
    pub(super) fn is_sent_growing(&self) -> bool {
        self.growing.is_some()
    }

    /// See [`Peers::end_step`](super::peers::Peers::end_step). Returns whether the worker was told.
    pub(super) fn end_step(
        &mut self,
        done: StepId,
        same_as: Option<StepId>,
        frame: &Frame,
    ) -> bool {
        if !self.knows(done.run) {
            return false;
        }
        self.assignments.retain(|_, (step, _)| *step != done);
        self.given.clear();
        match same_as {
            Some(step) if self.base == Some(done) || self.growing == Some(done) => {
                let same = encode(ToWorker::SameState { step, as_of: done });
                let both = [&same.head[..], &frame.head].concat().into();
                self.outbox().data(Transfer::Same { step, both, done: frame.clone() });
                (self.base, self.growing) = (Some(step), None);
            }
            _ => {
                self.outbox().drop_states(done);
                self.outbox().control(frame.clone());
            }
        }
        true
    }

    /// See [`Peers::close_run`](super::peers::Peers::close_run). Returns whether the worker was
    /// told.
    pub(super) fn close_run(&mut self, run: RunId, frame: &Frame) -> bool {
        self.assignments.retain(|_, (step, _)| step.run != run);
        self.given.clear();
        let knows = self.knows(run);
        if knows {
            self.outbox().drop_run(run);
            (self.run, self.base, self.growing, self.cannot) = (None, None, None, None);
            self.outbox().control(frame.clone());
        }
        knows
    }

    /// Its row in `coordinator status`.
    pub(in crate::server) fn status(&self, id: WorkerId, is_set_aside: bool) -> WorkerStatus {
        let state = match (self.is_draining, is_set_aside, self.assignments.is_empty()) {
            (true, ..) => "draining",
            (false, true, _) => "set aside",
            (false, false, true) => "idle",
            (false, false, false) => "busy",
        };
        WorkerStatus {
            id,
            name: self.info.name.clone(),
            address: self.address().to_owned(),
            slots: self.info.slots,
            shares_memory: self.outbox().shares_memory(),
            memory: self.memory,
            memory_limit: self.info.memory_limit,
            state: state.into(),
            cannot: self.cannot.clone(),
            shards_done: self.shards_done,
            last_heard_ms: self.handle.activity().silence().as_millis() as u64,
        }
    }

    /// Its memory at the last heartbeat, as a hint at why it was lost.
    pub(in crate::server) fn memory_at_last(&self) -> Option<String> {
        (self.memory > 0 && !self.has_parted).then(|| {
            format!("it had used {}", used_memory(self.memory, self.info.memory_limit, false))
        })
    }
}
