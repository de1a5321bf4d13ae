//! The merge of one training round, when its partials are too big to come
//! along with the news that they are done.
//!
//! Segment by segment, in order, every part's piece is *fetched* (pulled from
//! its holder, or taken from what came inline), decoded and put into the
//! segment's [`MergeTree`] by a [`Job`] on another thread; a complete tree is
//! finished into the next state and dropped. A window of bytes bounds what is
//! asked for and not yet merged, so memory does not grow with the number of
//! workers.
//!
//! [`StepMerge`] itself does no I/O: the engine sends what
//! [`StepMerge::next_fetch`] asks for, and runs the jobs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use common::id::{Block, StepId, WorkerId};
use common::limits;
use common::merge::{Contribution, MergeError, MergeTree, copy_kept, finish_segment};
use common::state::{Layout, NetworkState, Segment};
use tokio::time::Instant;

/// Most fetches under way at one time, however small they are: well below
/// [`limits::CONTROL_QUEUE`], as each is a message.
const FETCHES: usize = limits::CONTROL_QUEUE / 2;

/// A holder that was asked and sends no piece for this long is treated as if
/// it had lost the partial, however alive it is.
const PULL_TIMEOUT: Duration = Duration::from_secs(60);

/// What all steps of a run share.
#[derive(Debug)]
pub(super) struct Cut {
    /// The layout of the run's states.
    pub(super) layout: Layout,
    /// Its merge segments.
    pub(super) segments: Vec<Segment>,
}

impl Cut {
    /// Bytes that a part's piece of a segment is reckoned with.
    fn piece_bytes(&self, segment: usize) -> u64 {
        let segment = &self.segments[segment];
        let tensor = &self.layout.tensors[segment.tensor];
        let elements = match tensor.rule.by_unit() {
            true => segment.range.len() * tensor.unit_len(),
            false => segment.range.len(),
        };
        ((elements * tensor.element.bytes()).min(limits::PAYLOAD_BYTES) as u64).max(1)
    }
}

/// A part of the cover: a block, its weight, and who keeps its partial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) block: Block,
    pub(super) weight: u64,
    pub(super) holder: Option<WorkerId>,
}

/// A piece to get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fetch {
    /// Place among the merge segments.
    pub(super) segment: usize,
    /// Place among the parts.
    pub(super) part: usize,
    /// The part.
    pub(super) piece: Piece,
}

/// What came of a pulled segment.
#[derive(Debug)]
pub(super) enum Arrival {
    /// There is a job more.
    Taken,
    /// It was asked for before the merge was paused: drop it.
    Late,
    /// It was never asked for.
    OutOfTurn,
}

/// The tree of one segment, until it is complete.
type Tree = Arc<Mutex<Option<MergeTree<Contribution>>>>;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct StepMerge {
    pub(super) step: StepId,
    replicas: u32,
    cut: Arc<Cut>,
    base: Arc<NetworkState>,
    /// The state after the step. Taken out when every segment is in: a job of
    /// a paused merge that comes later finds nothing to write to.
    next: Arc<Mutex<Option<NetworkState>>>,
    window: u64,

    /// Counted up by every pause: tells results of jobs before it apart.
    generation: u64,
    parts: Vec<Piece>,
    finished: Vec<bool>,
    unfinished: usize,
    /// The next segment and part to fetch.
    cursor: (usize, usize),
    /// Bytes and number of fetches that are not merged.
    in_flight: (u64, usize),
    trees: BTreeMap<usize, Tree>,
    /// Jobs that wait for a thread.
    jobs: VecDeque<Job>,
    /// Pieces that the merge waits for: (segment, part).
    waiting: BTreeMap<(usize, Block), Fetch>,
    /// How often each piece was asked for and has not come, pauses or not.
    asked: BTreeMap<(WorkerId, Block, usize), u32>,
    /// When each holder was first asked, or last sent a piece.
    moved: BTreeMap<WorkerId, Instant>,
}

impl StepMerge {
    /// A merge of `base`'s segments into `next`, a state of the same layout.
    /// Nothing is fetched until [`StepMerge::resume`].
    pub(super) fn new(
        step: StepId,
        replicas: u32,
        cut: Arc<Cut>,
        base: Arc<NetworkState>,
        next: NetworkState,
        window: u64,
    ) -> Self {
        let segments = cut.segments.len();
        Self {
            step,
            replicas,
            cut,
            base,
            next: Arc::new(Mutex::new(Some(next))),
            window,
            generation: 0,
            parts: Vec::new(),
            finished: vec![false; segments],
            unfinished: segments,
            cursor: (segments, 0),
            in_flight: (0, 0),
            trees: BTreeMap::new(),
            jobs: VecDeque::new(),
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            moved: BTreeMap::new(),
        }
    }

    /// Goes on with these parts, which cover every replica once, in replica
    /// order. Finished segments stay: any cover gives the same bits.
    pub(super) fn resume(&mut self, parts: Vec<Piece>) {
        self.pause();
        self.parts = parts;
        self.cursor = (0, 0);
        self.moved.clear();
    }

    /// Stops: a holder is lost.
    pub(super) fn pause(&mut self) {
        self.generation += 1;
        self.cursor = (self.finished.len(), 0);
        self.in_flight = (0, 0);
        self.trees.clear();
        self.jobs.clear();
        self.waiting.clear();
    }

    /// A worker is gone, and whatever was asked of it.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.asked.retain(|(of, ..), _| *of != worker);
    }

    /// The next piece to get, if the window has room. A piece without a
    /// holder is to be given to [`StepMerge::take_in`] at once; one with a holder
    /// is to be pulled, and comes to [`StepMerge::arrived`].
    pub(super) fn next_fetch(&mut self, now: Instant) -> Option<Fetch> {
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
        self.cursor = match part + 1 == self.parts.len() {
            true => (segment + 1, 0),
            false => (segment, part + 1),
        };
        let fetch = Fetch { segment, part, piece };
        if let Some(holder) = piece.holder {
            self.waiting.insert((segment, piece.block), fetch);
            *self.asked.entry((holder, piece.block, segment)).or_default() += 1;
            self.moved.entry(holder).or_insert(now);
        }
        Some(fetch)
    }

    /// Takes in a pulled piece.
    pub(super) fn arrived(
        &mut self,
        now: Instant,
        holder: WorkerId,
        block: Block,
        segment: usize,
        payload: Bytes,
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
                self.take_in(fetch, Content::Encoded(payload));
                Arrival::Taken
            }
            _ => Arrival::Late,
        }
    }

    /// Makes the job that merges a piece.
    pub(super) fn take_in(&mut self, fetch: Fetch, content: Content) {
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
    pub(super) fn next_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// Takes in that a job has ended well. Gives the state once the last
    /// segment is in.
    pub(super) fn merged(&mut self, done: &JobDone, complete: bool) -> Option<NetworkState> {
        let segment = done.fetch.segment;
        if done.generation != self.generation {
            return None;
        }
        let (bytes, fetches) = self.in_flight;
        self.in_flight =
            (bytes.saturating_sub(self.cut.piece_bytes(segment)), fetches.saturating_sub(1));
        if complete && !std::mem::replace(&mut self.finished[segment], true) {
            self.trees.remove(&segment);
            self.unfinished -= 1;
        }
        if self.unfinished > 0 {
            return None;
        }
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The part of a job's result that is of this generation.
    pub(super) fn is_current(&self, done: &JobDone) -> bool {
        done.step == self.step && done.generation == self.generation
    }

    /// Blocks whose holders were asked long ago and send nothing.
    pub(super) fn stalled(&self, now: Instant) -> Vec<(WorkerId, Block)> {
        let mut stalled: Vec<_> = self
            .waiting
            .values()
            .filter_map(|fetch| Some((fetch.piece.holder?, fetch.piece.block)))
            .filter(|(holder, _)| {
                self.moved.get(holder).is_some_and(|moved| now - *moved > PULL_TIMEOUT)
            })
            .collect();
        stalled.sort_unstable();
        stalled.dedup();
        stalled
    }
}

/// A part's piece of one segment.
#[derive(Debug)]
pub(super) enum Content {
    /// As it came over the wire.
    Encoded(Bytes),
    /// As it was decoded when it came inline.
    Decoded(Option<Contribution>),
}

/// Merges one piece; to be run on a thread of its own. Not on the rayon pool:
/// merging is itself parallel there, and a pool thread that waits for that
/// takes up other work, which must not be another job that wants the same
/// locks.
#[derive(Debug)]
pub(super) struct Job {
    step: StepId,
    generation: u64,
    fetch: Fetch,
    content: Content,
    tree: Tree,
    cut: Arc<Cut>,
    base: Arc<NetworkState>,
    next: Arc<Mutex<Option<NetworkState>>>,
}

/// A job's end.
#[derive(Debug)]
pub(super) struct JobDone {
    /// The step.
    pub(super) step: StepId,
    generation: u64,
    /// The piece.
    pub(super) fetch: Fetch,
    /// Whether its segment is finished now, or what is wrong with the piece.
    pub(super) outcome: Result<bool, MergeError>,
}

impl Job {
    /// Decodes the piece, puts it into its segment's tree, and finishes the
    /// segment if it was the last one.
    pub(super) fn run(self) -> JobDone {
        let segment = &self.cut.segments[self.fetch.segment];
        let contribution = match self.content {
            Content::Decoded(contribution) => Ok(contribution),
            Content::Encoded(payload) => Contribution::decode(
                &self.cut.layout,
                self.fetch.segment,
                segment,
                self.fetch.piece.weight,
                &payload,
            ),
        };
        let outcome = contribution.map(|contribution| {
            let mut slot = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mut tree) = slot.take() else { return false };
            tree.insert(self.fetch.piece.block, contribution);
            if !tree.is_complete() {
                *slot = Some(tree);
                return false;
            }
            drop(slot);
            let merged = tree.into_root();
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = next.as_mut() {
                finish_segment(&self.base, segment, merged.as_ref(), next);
            }
            true
        });
        let Self { step, generation, fetch, .. } = self;
        JobDone { step, generation, fetch, outcome }
    }
}

/// Merges a step whose partials all came inline, and are small, right here.
pub(super) fn merge_inline(
    replicas: u32,
    cut: &Cut,
    base: &NetworkState,
    mut parts: Vec<(Block, Vec<Option<Contribution>>)>,
    next: &mut NetworkState,
) {
    for (index, segment) in cut.segments.iter().enumerate() {
        let mut tree = MergeTree::new(replicas);
        for (block, contributions) in &mut parts {
            tree.insert(*block, contributions.get_mut(index).and_then(Option::take));
        }
        finish_segment(base, segment, tree.into_root().as_ref(), next);
    }
}

/// A state to merge into: `spare` if there is one, and all that the merge
/// does not write (tensors under `keep`) as in `base`.
pub(super) fn next_state(base: &NetworkState, spare: Option<NetworkState>) -> NetworkState {
    let mut next = match spare {
        Some(spare) => spare,
        None => NetworkState::zeros(&base.layout()).expect("the layout of a state is valid"),
    };
    copy_kept(base, &mut next);
    next
}

/// Cuts an inline partial into its segments' contributions.
pub(super) fn decode_inline(
    cut: &Cut,
    weight: u64,
    mut inline: Bytes,
) -> Result<Vec<Option<Contribution>>, InlineError> {
    let mut contributions = Vec::with_capacity(cut.segments.len());
    for (index, segment) in cut.segments.iter().enumerate() {
        let short = InlineError::Short { segment: index, segments: cut.segments.len() };
        let Some((length, _)) = inline.split_first_chunk::<4>() else { return Err(short) };
        let length = u32::from_be_bytes(*length) as usize;
        if inline.len() - 4 < length {
            return Err(short);
        }
        let payload = inline.split_to(4 + length).slice(4..);
        contributions.push(Contribution::decode(&cut.layout, index, segment, weight, &payload)?);
    }
    match inline.len() {
        0 => Ok(contributions),
        left => Err(InlineError::Long(left)),
    }
}

/// What is wrong with a partial that came inline.
#[derive(Debug, thiserror::Error)]
pub(super) enum InlineError {
    /// It ends too early.
    #[error("an inline partial ends inside merge segment {segment} of {segments}")]
    Short {
        /// The segment.
        segment: usize,
        /// Segments of the layout.
        segments: usize,
    },
    /// It does not end.
    #[error("{0} bytes follow the last merge segment of an inline partial")]
    Long(usize),
    /// A segment is wrong.
    #[error(transparent)]
    Segment(#[from] MergeError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::RunId;
    use common::merge::{MergeRule, Partial, finish};
    use common::results::Results;
    use common::state::{Tensor, TensorData};
    use proptest::prelude::*;

    const REPLICAS: u32 = 5;
    const ELEMENTS: usize = 600_000;

    fn state(of: impl Fn(usize) -> f32) -> NetworkState {
        let values = ndarray::ArrayD::from_shape_fn(vec![ELEMENTS], |place| of(place[0]));
        let tensor = Tensor { data: TensorData::F32(values), rule: MergeRule::Mean };
        NetworkState::new([("w".into(), tensor)]).unwrap()
    }

    /// What each replica contributes, whole.
    fn partial(replica: u32) -> Partial {
        let values = (0..ELEMENTS).map(|at| (at as f32 + 1.0) / (replica as f32 + 3.0));
        let values = values.collect::<Vec<f32>>();
        let examples = u64::from(replica) + 1;
        let tensors = vec![Some(Contribution::Mean { examples, values: values.into() })];
        Partial { weight: examples, results: Results::default(), tensors }
    }

    fn block_partial(block: Block) -> Partial {
        let mut tree = MergeTree::of_block(block, REPLICAS);
        for replica in block.replicas(REPLICAS) {
            tree.insert(Block::of_replica(replica), Some(partial(replica)));
        }
        tree.into_root().unwrap()
    }

    /// A cover, each part with another holder, or with none.
    fn parts(blocks: &[(u8, u32)], first_holder: u64) -> Vec<Piece> {
        let piece = |(at, (level, index)): (usize, &(u8, u32))| {
            let block = Block { level: *level, index: *index };
            let holder = (at != 1).then_some(WorkerId(first_holder + at as u64));
            Piece { block, weight: block_partial(block).weight, holder }
        };
        blocks.iter().enumerate().map(piece).collect()
    }

    struct Bench {
        merge: StepMerge,
        layout: Layout,
        jobs: Vec<Job>,
        pulls: Vec<Fetch>,
        most: u64,
    }

    impl Bench {
        fn fetch(&mut self) {
            while let Some(fetch) = self.merge.next_fetch(Instant::now()) {
                if fetch.piece.holder.is_some() {
                    self.pulls.push(fetch);
                } else {
                    let segment = &self.layout.merge_segments()[fetch.segment];
                    let bytes = block_partial(fetch.piece.block).segment(&self.layout, segment);
                    self.merge.take_in(fetch, Content::Encoded(bytes.into()));
                }
            }
            self.most = self.most.max(self.merge.in_flight.0);
        }

        /// One of the things under way happens.
        fn advance(&mut self, choice: usize) -> Option<NetworkState> {
            self.jobs.extend(std::iter::from_fn(|| self.merge.next_job()));
            let choice = choice % (self.jobs.len() + self.pulls.len());
            if choice < self.jobs.len() {
                let done = self.jobs.swap_remove(choice).run();
                let complete = *done.outcome.as_ref().unwrap();
                return self.merge.merged(&done, complete);
            }
            let fetch = self.pulls.swap_remove(choice - self.jobs.len());
            let segment = &self.layout.merge_segments()[fetch.segment];
            let bytes = block_partial(fetch.piece.block).segment(&self.layout, segment);
            let (block, holder) = (fetch.piece.block, fetch.piece.holder.unwrap());
            let now = Instant::now();
            match self.merge.arrived(now, holder, block, fetch.segment, bytes.into()) {
                Arrival::Taken | Arrival::Late => {}
                Arrival::OutOfTurn => panic!("it was asked for"),
            }
            None
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        #[test]
        fn order_pauses_and_covers_change_no_bit(
            choices in proptest::collection::vec(any::<usize>(), 200),
            pause_at in 0_usize..8,
            window in prop_oneof![Just(1_u64), Just(3 << 20)],
        ) {
            let base = Arc::new(state(|at| at as f32));
            let layout = base.layout();
            let segments = layout.merge_segments();
            prop_assert_eq!(segments.len(), 3);
            let cut = Arc::new(Cut { layout: layout.clone(), segments });
            let step = StepId { run: RunId(1), index: 0 };
            let next = next_state(&base, None);
            let merge = StepMerge::new(step, REPLICAS, cut, base.clone(), next, window);
            let mut bench =
                Bench { merge, layout, jobs: Vec::new(), pulls: Vec::new(), most: 0 };
            bench.merge.resume(parts(&[(1, 0), (0, 2), (0, 3), (0, 4)], 10));
            let mut merged = None;
            for (turn, choice) in choices.into_iter().enumerate() {
                if turn == pause_at {
                    bench.merge.pause();
                    prop_assert!(bench.merge.next_fetch(Instant::now()).is_none());
                    bench.merge.resume(parts(&[(2, 0), (2, 1)], 10));
                }
                bench.fetch();
                merged = bench.advance(choice);
                if merged.is_some() {
                    break;
                }
            }
            prop_assert!(bench.most <= window.max(1 << 20));
            let expected = finish(&base, Some(&block_partial(Block::root(REPLICAS))));
            prop_assert_eq!(merged.map(|state| state.digest()), Some(expected.digest()));
        }
    }

    #[test]
    fn a_piece_that_nobody_asked_for_is_out_of_turn() {
        let base = Arc::new(state(|_| 0.0));
        let layout = base.layout();
        let cut = Arc::new(Cut { segments: layout.merge_segments(), layout });
        let step = StepId { run: RunId(1), index: 0 };
        let next = next_state(&base, None);
        let mut merge = StepMerge::new(step, REPLICAS, cut, base, next, 1);
        merge.resume(parts(&[(3, 0)], 10));
        let now = Instant::now();
        let fetch = merge.next_fetch(now).unwrap();
        assert_eq!(merge.next_fetch(now), None, "the window is full");
        assert!(merge.stalled(now + PULL_TIMEOUT).is_empty());
        let stalled = merge.stalled(now + 2 * PULL_TIMEOUT);
        assert_eq!(stalled, [(WorkerId(10), fetch.piece.block)]);
        let mut arrives =
            |segment| merge.arrived(now, WorkerId(10), fetch.piece.block, segment, Bytes::new());
        assert!(matches!(arrives(1), Arrival::OutOfTurn));
        assert!(matches!(arrives(0), Arrival::Taken));
        assert!(matches!(arrives(0), Arrival::OutOfTurn));
    }

    #[test]
    fn an_inline_partial_is_cut_strictly() {
        let layout = state(|_| 0.0).layout();
        let cut = Cut { segments: layout.merge_segments(), layout };
        let empty = Bytes::from(vec![0; 12]);
        assert_eq!(decode_inline(&cut, 1, empty.clone()).unwrap(), [None, None, None]);
        let error = |bytes: Bytes| decode_inline(&cut, 1, bytes).unwrap_err().to_string();
        assert!(error(empty.slice(..11)).contains("inside merge segment 2 of 3"));
        assert!(error(Bytes::from(vec![0; 13])).contains("1 bytes follow"));
        assert!(error(Bytes::from(vec![0, 0, 0, 9, 1])).contains("inside merge segment 0 of 3"));
        assert!(error(Bytes::from(vec![0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])).contains("`w`"));
    }
}
