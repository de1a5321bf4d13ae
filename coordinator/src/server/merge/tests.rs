use super::*;
use common::id::RunId;
use common::merge::{Contribution, MergeRule, Partial, finish};
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
