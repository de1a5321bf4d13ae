//! The merge of one training round whose partials are too large to be sent inline.
//!
//! Segment by segment, in order, every part's piece is *fetched* (pulled from its worker, or taken
//! from an inline partial), decoded and inserted into the segment's [`MergeTree`] by a [`Job`] on
//! another thread. A complete tree is finished into the next state and dropped. A window of bytes
//! bounds the data that is requested and not yet merged, so memory does not grow with the number of
//! workers.
//!
//! [`StepMerge`] itself does no I/O: the engine performs the fetches of [`StepMerge::next_fetch`],
//! and runs the jobs.

mod job;
mod partial;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::id::{Block, StepId, WorkerId};
use common::limits;
use common::merge::{MergeRule, MergeTree};
use common::state::{Layout, NetworkState, Segment};
use common::wire::FramePool;
use tokio::time::Instant;

use job::Tree;
pub(in crate::server) use job::{Content, FinishedSegment, Job, JobDone, NextState, Payload};
pub(in crate::server) use partial::{
    DecodedPartial, Expected, PartialError, decode_partial, merge_inline, next_state,
};

/// Most fetches in progress at one time, however small they are: each may be a message.
const FETCHES: usize = limits::PULLS;

/// If a worker sends no piece for this long, plus the time that the requested bytes take at
/// [`PULL_RATE`], it is treated as if it had lost the partial, even if it is alive.
const PULL_WAIT: Duration = Duration::from_secs(10);

/// Assumed minimum rate in bytes per second, from all workers together: a fifth of the rate of a 10
/// Mbit/s link.
const PULL_RATE: u64 = 256 << 10;

/// Data that all steps of a run share.
#[derive(Debug)]
pub(in crate::server) struct Cut {
    /// The layout of the run's states.
    pub(in crate::server) layout: Layout,
    /// Its merge segments.
    pub(in crate::server) segments: Vec<Segment>,
    /// Its state segments.
    pub(in crate::server) state_segments: Arc<[Segment]>,
    /// How many merge segments, from the first one on, are to be finished before each state segment
    /// is.
    needs: Vec<usize>,
    /// Memory for segments that are copied from shared memory.
    pub(in crate::server) spare: FramePool,
}

impl Cut {
    /// Of a run's states.
    pub(in crate::server) fn new(layout: &Layout) -> Self {
        let (segments, state_segments) = (layout.merge_segments(), layout.state_segments());
        let needs = state_segments.iter().map(|it| needs(layout, &segments, it)).collect();
        let (layout, spare) = (layout.clone(), FramePool::default());
        Self { layout, segments, state_segments: state_segments.into(), needs, spare }
    }

    /// Bytes that one part's piece of a segment counts for.
    fn piece_bytes(&self, segment: usize) -> u64 {
        let segment = &self.segments[segment];
        let tensor = &self.layout.tensors[segment.tensor];
        let elements = if tensor.rule.by_unit() {
            segment.range.len() * tensor.unit_len()
        } else {
            segment.range.len()
        };
        ((elements * tensor.element.bytes()).min(limits::PAYLOAD_BYTES) as u64).max(1)
    }
}

/// How many merge segments are to be finished before a state segment is.
fn needs(layout: &Layout, merged: &[Segment], of: &Segment) -> usize {
    let tensor = &layout.tensors[of.tensor];
    // Units lie beside each other in every row of their tensor.
    let is_before = |it: &Segment| {
        it.tensor < of.tensor
            || (it.tensor == of.tensor && (tensor.rule.by_unit() || it.range.start < of.range.end))
    };
    match tensor.rule {
        MergeRule::Keep => 0,
        _ => merged.partition_point(is_before),
    }
}

/// A part of the step: a block, its weight, and the worker that keeps its partial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::server) struct PartialSource {
    pub(in crate::server) block: Block,
    pub(in crate::server) weight: u64,
    pub(in crate::server) holder: Option<WorkerId>,
}

/// A piece to fetch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::server) struct Fetch {
    /// Index of the merge segment.
    pub(in crate::server) segment: usize,
    /// Index of the part.
    pub(in crate::server) part: usize,
    /// The part.
    pub(in crate::server) piece: PartialSource,
}

/// The classification of a pulled segment.
#[derive(Debug)]
pub(in crate::server) enum Arrival {
    /// It was accepted: there is one more job.
    Taken,
    /// It was requested before the merge was paused: drop it.
    Late,
    /// It was never requested.
    OutOfTurn,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct StepMerge {
    pub(in crate::server) step: StepId,
    replicas: u32,
    cut: Arc<Cut>,
    base: Arc<NetworkState>,
    next: Arc<NextState>,
    window: u64,

    /// Increased by every pause: distinguishes results of jobs from before it.
    generation: u64,
    parts: Vec<PartialSource>,
    finished: Vec<bool>,
    unfinished: usize,
    /// Whether all finished segments are finite.
    is_finite: bool,
    /// The next segment and part to fetch.
    cursor: (usize, usize),
    /// Bytes and number of fetches that are not merged yet.
    in_flight: (u64, usize),
    trees: BTreeMap<usize, Tree>,
    /// Jobs that wait for a thread.
    jobs: VecDeque<Job>,
    /// Pieces that the merge waits for, by (segment, part).
    waiting: BTreeMap<(usize, Block), Fetch>,
    /// How many requests for each piece are unanswered, pauses or not.
    asked: BTreeMap<(WorkerId, Block, usize), u32>,
    /// When each worker was first asked, or last sent a piece.
    moved: BTreeMap<WorkerId, Instant>,
}

impl StepMerge {
    /// A merge of `base`'s segments into `next`, a state of the same layout. Nothing is fetched
    /// until [`StepMerge::resume`].
    pub(in crate::server) fn new(
        step: StepId,
        replicas: u32,
        cut: Arc<Cut>,
        base: Arc<NetworkState>,
        next: Arc<NextState>,
        window: u64,
    ) -> Self {
        let segments = cut.segments.len();
        Self {
            step,
            replicas,
            cut,
            base,
            next,
            window,
            generation: 0,
            parts: Vec::new(),
            finished: vec![false; segments],
            unfinished: segments,
            is_finite: true,
            cursor: (segments, 0),
            in_flight: (0, 0),
            trees: BTreeMap::new(),
            jobs: VecDeque::new(),
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            moved: BTreeMap::new(),
        }
    }

    /// Continues with these parts, which cover every replica once, in replica order. Finished
    /// segments are kept: any division into parts gives the same bits.
    pub(in crate::server) fn resume(&mut self, parts: Vec<PartialSource>) {
        self.pause();
        self.parts = parts;
        self.cursor = (0, 0);
        // A worker that still owes an earlier piece gets no additional time for the new requests.
        let owing: BTreeSet<WorkerId> = self.asked.keys().map(|(holder, ..)| *holder).collect();
        self.moved.retain(|holder, _| owing.contains(holder));
    }

    /// Pauses, because a worker that keeps a partial is lost.
    pub(in crate::server) fn pause(&mut self) {
        self.generation += 1;
        self.parts.clear();
        self.cursor = (self.finished.len(), 0);
        self.in_flight = (0, 0);
        self.trees.clear();
        self.jobs.clear();
        self.waiting.clear();
    }

    /// Drops a worker and all requests to it.
    pub(in crate::server) fn forget(&mut self, worker: WorkerId) {
        self.asked.retain(|(of, ..), _| *of != worker);
        self.moved.remove(&worker);
    }

    /// Handles a worker's answer that it does not have a partial.
    pub(in crate::server) fn is_missing(&mut self, holder: WorkerId, block: Block) {
        self.asked.retain(|(of, at, _), _| (*of, *at) != (holder, block));
    }

    /// The next piece to fetch, if the window allows. An inline piece (without a holder) must be
    /// passed to [`StepMerge::take_in`] at once; a piece with a holder must be pulled, and is
    /// passed to [`StepMerge::receive`] when it arrives.
    pub(in crate::server) fn next_fetch(&mut self, now: Instant) -> Option<Fetch> {
        while *self.finished.get(self.cursor.0)? {
            self.cursor = (self.cursor.0 + 1, 0);
        }
        let (segment, part) = self.cursor;
        let bytes = self.cut.piece_bytes(segment);
        let (in_flight, fetches) = self.in_flight;
        if fetches >= FETCHES || (fetches > 0 && in_flight + bytes > self.window) {
            return None;
        }
        let piece = *self.parts.get(part)?;
        self.in_flight = (in_flight + bytes, fetches + 1);
        self.cursor =
            if part + 1 == self.parts.len() { (segment + 1, 0) } else { (segment, part + 1) };
        let fetch = Fetch { segment, part, piece };
        if let Some(holder) = piece.holder {
            // A worker that owed nothing was not asked, and not silent.
            if !self.owes(holder) {
                self.moved.insert(holder, now);
            }
            self.waiting.insert((segment, piece.block), fetch);
            *self.asked.entry((holder, piece.block, segment)).or_default() += 1;
        }
        Some(fetch)
    }

    /// Whether a worker was asked for a piece that has not arrived.
    fn owes(&self, holder: WorkerId) -> bool {
        let first = (holder, Block { level: 0, index: 0 }, 0);
        self.asked.range(first..).next().is_some_and(|((of, ..), _)| *of == holder)
    }

    /// Handles a pulled piece.
    pub(in crate::server) fn receive(
        &mut self,
        now: Instant,
        holder: WorkerId,
        block: Block,
        segment: usize,
        content: Content,
    ) -> Arrival {
        match self.asked.get_mut(&(holder, block, segment)) {
            None => return Arrival::OutOfTurn,
            Some(1) => {
                self.asked.remove(&(holder, block, segment));
            }
            Some(times) => *times -= 1,
        }
        self.moved.insert(holder, now);
        match self.waiting.get(&(segment, block)) {
            Some(fetch) if fetch.piece.holder == Some(holder) => {
                let fetch = *fetch;
                self.waiting.remove(&(segment, block));
                self.take_in(fetch, content);
                Arrival::Taken
            }
            _ => Arrival::Late,
        }
    }

    /// Makes the job that merges a piece.
    pub(in crate::server) fn take_in(&mut self, fetch: Fetch, content: Content) {
        let replicas = self.replicas;
        let tree = || Arc::new(Mutex::new(Some(MergeTree::new(replicas))));
        self.jobs.push_back(Job {
            step: self.step,
            generation: self.generation,
            fetch,
            content,
            tree: self.trees.entry(fetch.segment).or_insert_with(tree).clone(),
            cut: self.cut.clone(),
            base: self.base.clone(),
            next: self.next.clone(),
        });
    }

    /// The next job to run.
    pub(in crate::server) fn next_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// Handles the end of a job's piece, if it was requested after the last pause.
    pub(in crate::server) fn piece_done(&mut self, done: &JobDone) {
        if done.generation == self.generation {
            let (bytes, fetches) = self.in_flight;
            let piece = self.cut.piece_bytes(done.fetch.segment);
            self.in_flight = (bytes.saturating_sub(piece), fetches.saturating_sub(1));
        }
    }

    /// Handles finished segments, whichever job finished them: those of a job from before a pause
    /// have the same bits. After the last one, unless the merge is paused, returns the state, and
    /// whether all merged values are finite.
    pub(in crate::server) fn finished(
        &mut self,
        segments: &[FinishedSegment],
    ) -> Option<(NetworkState, bool)> {
        for FinishedSegment { segment, is_finite } in segments {
            if !std::mem::replace(&mut self.finished[*segment], true) {
                self.trees.remove(segment);
                self.unfinished -= 1;
                self.is_finite &= is_finite;
            }
        }
        if self.unfinished > 0 || self.parts.is_empty() {
            return None;
        }
        self.next.take().map(|next| (next, self.is_finite))
    }

    /// Whether it is worth asking for more pieces: half of the window is free, so that a request is
    /// for many pieces.
    pub(in crate::server) fn wants_more(&self) -> bool {
        let (bytes, fetches) = self.in_flight;
        bytes <= self.window / 2 && fetches <= FETCHES / 2
    }

    /// Whether finished segments are sent before the others are finished.
    pub(in crate::server) fn is_sent_meanwhile(&self) -> bool {
        self.next.is_sent_meanwhile()
    }

    /// Whether a job's piece was requested after the last pause.
    pub(in crate::server) fn is_current(&self, done: &JobDone) -> bool {
        done.generation == self.generation
    }

    /// Restarts the time of all requests: this coordinator itself was suspended.
    pub(in crate::server) fn wait_anew(&mut self, now: Instant) {
        self.moved.values_mut().for_each(|moved| *moved = now);
    }

    /// How long a worker that owes a piece may be silent.
    pub(in crate::server) fn stall_timeout(&self) -> Duration {
        PULL_WAIT + Duration::from_millis(self.in_flight.0.saturating_mul(1000) / PULL_RATE)
    }

    /// Blocks whose workers were asked long ago and send nothing.
    pub(in crate::server) fn stalled(&self, now: Instant) -> Vec<(WorkerId, Block)> {
        let stall_timeout = self.stall_timeout();
        let mut stalled: Vec<_> = self
            .waiting
            .values()
            .filter_map(|fetch| Some((fetch.piece.holder?, fetch.piece.block)))
            .filter(|(holder, _)| {
                self.moved.get(holder).is_some_and(|moved| now - *moved > stall_timeout)
            })
            .collect();
        stalled.sort_unstable();
        stalled.dedup();
        stalled
    }
}

/// An error message about a partial.
pub(in crate::server) fn of_partial(step: StepId, block: Block, error: &PartialError) -> String {
    format!("the partial of replicas {block} of {step}: {error}")
}
