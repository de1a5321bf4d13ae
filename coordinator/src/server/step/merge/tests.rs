use super::*;
use common::digest::Digest;
use common::id::RunId;
use common::merge::{Contribution, MergeRule, Partial, RealContribution, finish, segment_hash};
use common::results::Results;
use common::state::{Tensor, TensorData};
use common::wire::message::{BlockDone, ShardDone};
use proptest::prelude::*;

const MAX_REPLICAS: u32 = 5;
const ELEMENTS: usize = 600_000;

fn state(of: impl Fn(usize) -> f32) -> NetworkState {
    let values = ndarray::ArrayD::from_shape_fn(vec![ELEMENTS], |place| of(place[0]));
    let tensor = Tensor { data: TensorData::F32(values), rule: MergeRule::Mean };
    NetworkState::new([("w".into(), tensor)]).unwrap()
}

/// The contribution of each replica, in one piece.
fn partial(replica: u32) -> Partial {
    let values = (0..ELEMENTS).map(|at| (at as f32 + 1.0) / (replica as f32 + 3.0));
    let values = values.collect::<Vec<f32>>();
    let examples = u64::from(replica) + 1;
    let mean = RealContribution::Mean { examples, values: values.into() };
    let tensors = vec![Some(Contribution::F32(mean))];
    Partial { weight: examples, results: Results::default(), tensors }
}

fn block_partial(block: Block) -> Partial {
    let mut tree = MergeTree::of_block(block, MAX_REPLICAS);
    for replica in block.replicas(MAX_REPLICAS) {
        tree.insert(Block::of_replica(replica), Some(partial(replica)));
    }
    tree.into_root().unwrap()
}

/// A division into parts, each with another holder, or with none.
fn parts(blocks: &[(u8, u32)], first_holder: u64) -> Vec<PartialSource> {
    let piece = |(at, (level, index)): (usize, &(u8, u32))| {
        let block = Block { level: *level, index: *index };
        let holder = (at != 1).then_some(WorkerId(first_holder + at as u64));
        PartialSource { block, weight: block_partial(block).weight, holder }
    };
    blocks.iter().enumerate().map(piece).collect()
}

/// A piece as it is sent.
fn whole(bytes: Vec<u8>) -> Content {
    let hash = segment_hash(&bytes);
    Content::Encoded(Payload::Sent(bytes.into()), hash)
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
                self.merge.take_in(fetch, whole(bytes));
            }
        }
        self.most = self.most.max(self.merge.in_flight.0);
    }

    /// Performs one of the possible events.
    fn advance(&mut self, choice: usize) -> Option<NetworkState> {
        self.jobs.extend(std::iter::from_fn(|| self.merge.next_job()));
        let choice = choice % (self.jobs.len() + self.pulls.len());
        if choice < self.jobs.len() {
            let done = self.jobs.swap_remove(choice).run();
            self.merge.piece_done(&done);
            return self.merge.finished(done.outcome.as_ref().unwrap()).map(|(next, _)| next);
        }
        let fetch = self.pulls.swap_remove(choice - self.jobs.len());
        let segment = &self.layout.merge_segments()[fetch.segment];
        let bytes = block_partial(fetch.piece.block).segment(&self.layout, segment);
        let (block, holder) = (fetch.piece.block, fetch.piece.holder.unwrap());
        let now = Instant::now();
        match self.merge.receive(now, holder, block, fetch.segment, whole(bytes)) {
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
        let cut = Arc::new(Cut::new(&layout));
        let step = StepId { run: RunId(1), index: 0 };
        let next = next_state(&base, None);
        let next = NextState::new(next, &cut, None);
        let merge = StepMerge::new(step, MAX_REPLICAS, cut, base.clone(), next, window);
        let mut bench =
            Bench { merge, layout, jobs: Vec::new(), pulls: Vec::new(), most: 0 };
        bench.merge.resume(parts(&[(1, 0), (0, 2), (0, 3), (0, 4)], 10));
        let mut merged = None;
        for (turn, choice) in choices.into_iter().enumerate() {
            if turn == pause_at {
                bench.merge.pause();
                prop_assert!(bench.merge.next_fetch(Instant::now()).is_none());
                // A job that was running goes on meanwhile.
                if let Some(job) = bench.jobs.pop() {
                    let done = job.run();
                    bench.merge.piece_done(&done);
                    let finished = bench.merge.finished(done.outcome.as_ref().unwrap());
                    prop_assert!(finished.is_none(), "a paused merge ends once it goes on");
                }
                bench.merge.resume(parts(&[(2, 0), (2, 1)], 10));
                merged = bench.merge.finished(&[]).map(|(next, _)| next);
                if merged.is_some() {
                    break;
                }
            }
            bench.fetch();
            merged = bench.advance(choice);
            if merged.is_some() {
                break;
            }
        }
        prop_assert!(bench.most <= window.max(1 << 20));
        let expected = finish(&base, Some(&block_partial(Block::root(MAX_REPLICAS))));
        prop_assert_eq!(merged.map(|state| state.digest()), Some(expected.digest()));
    }
}

#[test]
fn a_job_that_finds_the_state_in_use_leaves_its_segment_there() {
    let base = state(|_| 1.0);
    let layout = base.layout();
    let cut = Cut::new(&layout);
    let next = NextState::new(next_state(&base, None), &cut, None);
    let finish = |segment| next.finish((&cut, &base), segment, None);
    next.in_use(|| assert_eq!(finish(2), []));
    let finished = finish(0);
    assert_eq!(finished.iter().map(|it| it.segment).collect::<Vec<_>>(), [2, 0]);
    assert!(finished.iter().all(|it| it.is_finite));
    finish(1);
    assert_eq!(next.take(), Some(base.clone()));
    assert_eq!(finish(1), [], "the state was taken");
}

#[test]
fn a_segment_of_the_state_is_finished_with_the_last_merge_segment_that_it_has_values_of() {
    let tensor = |elements: &[usize], rule| {
        let data = TensorData::F32(ndarray::ArrayD::zeros(elements.to_vec()));
        Tensor { data, rule }
    };
    let state = NetworkState::new([
        ("a".into(), tensor(&[600_000], MergeRule::Mean)),
        ("b".into(), tensor(&[7], MergeRule::Keep)),
        ("c".into(), tensor(&[300, 2000], MergeRule::MeanBy)),
        ("d".into(), tensor(&[7], MergeRule::Sum)),
    ])
    .unwrap();
    let cut = Cut::new(&state.layout());
    let of = |tensor: usize, all: &[Segment]| {
        all.iter().filter(|it| it.tensor == tensor).map(|it| it.range.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of(0, &cut.segments), [0..200_000, 200_000..400_000, 400_000..600_000]);
    assert_eq!(of(0, &cut.state_segments), [0..262_144, 262_144..524_288, 524_288..600_000]);
    assert_eq!((of(2, &cut.segments).len(), of(2, &cut.state_segments).len()), (3, 3));
    assert_eq!(cut.needs, [2, 3, 3, 0, 6, 6, 6, 7]);
}

/// A merge of one part, which worker 10 holds; one piece is pulled at a time.
fn merge_of_one_part() -> StepMerge {
    let base = Arc::new(state(|_| 0.0));
    let layout = base.layout();
    let cut = Arc::new(Cut::new(&layout));
    let step = StepId { run: RunId(1), index: 0 };
    let next = NextState::new(next_state(&base, None), &cut, None);
    let mut merge = StepMerge::new(step, MAX_REPLICAS, cut, base, next, 1);
    merge.resume(parts(&[(3, 0)], 10));
    merge
}

#[test]
fn a_piece_that_nobody_asked_for_is_out_of_turn() {
    let mut merge = merge_of_one_part();
    let now = Instant::now();
    let fetch = merge.next_fetch(now).unwrap();
    assert_eq!(merge.next_fetch(now), None, "the window is full");
    let mut arrives =
        |segment| merge.receive(now, WorkerId(10), fetch.piece.block, segment, whole(Vec::new()));
    assert!(matches!(arrives(1), Arrival::OutOfTurn));
    assert!(matches!(arrives(0), Arrival::Taken));
    assert!(matches!(arrives(0), Arrival::OutOfTurn));
}

/// A finished block with a correct digest.
#[test]
fn a_holder_is_waited_for_as_long_as_what_it_was_asked_for_takes() {
    let mut merge = merge_of_one_part();
    assert_eq!(merge.stall_timeout(), PULL_WAIT);
    let now = Instant::now();
    let fetch = merge.next_fetch(now).unwrap();
    let holder = WorkerId(10);
    merge.in_flight.0 = 5 * PULL_RATE;
    let stall_timeout = PULL_WAIT + Duration::from_secs(5);
    assert!(merge.stalled(now + stall_timeout).is_empty());
    let late = now + stall_timeout + Duration::from_millis(1);
    assert_eq!(merge.stalled(late), [(holder, fetch.piece.block)]);
    // Another holder is lost: this gives no additional time.
    merge.resume(parts(&[(3, 0)], 10));
    merge.next_fetch(late).unwrap();
    assert_eq!(merge.stalled(late), [(holder, fetch.piece.block)]);
    // Each piece restarts its time.
    let content = whole(Vec::new());
    merge.receive(late, holder, fetch.piece.block, fetch.segment, content);
    assert!(merge.stalled(late).is_empty());
    // It has answered that it has no partial: later requests are separate.
    merge.is_missing(holder, fetch.piece.block);
    merge.resume(parts(&[(3, 0)], 10));
    let later = late + stall_timeout;
    merge.next_fetch(later).unwrap();
    assert!(merge.stalled(later + PULL_WAIT / 2).is_empty());
}

fn done(is_inline: bool, weight: u64, payload: Vec<u8>, hashes: &[u128]) -> BlockDone {
    let mut done = BlockDone {
        step: StepId { run: RunId(1), index: 0 },
        block: Block::of_replica(0),
        weight,
        results: Results { examples: weight, ..Results::default() },
        digest: Digest::of(b""),
        shards: Vec::new(),
        partial_bytes: 0,
        compute_us: 1,
        is_inline,
        payload: payload.into(),
    };
    let partial = Partial::digest_of(weight, hashes.iter().copied());
    let digest = Partial::shard_digest_of(partial, done.results.digest());
    done.shards.push(ShardDone { digest, compute_us: 1 });
    done.digest = done.digest_of(hashes.iter().copied());
    done
}

/// The properties of a block of one replica with one example.
const EXPECTED: Expected = Expected { weight: 1, shards: 1, learns: true, scores: 0 };

#[test]
fn an_inline_partial_is_cut_strictly() {
    let layout = state(|_| 0.0).layout();
    let cut = Cut::new(&layout);
    let empty = [segment_hash(b""); 3];
    let results_alone = Expected { learns: false, ..EXPECTED };
    let opened = decode_partial(&cut, &done(true, 1, vec![0; 12], &empty), results_alone).unwrap();
    assert_eq!(opened, DecodedPartial::Inline(vec![None, None, None]));
    let error = |bytes: &[u8], hashes: &[u128]| {
        decode_partial(&cut, &done(true, 1, bytes.into(), hashes), EXPECTED)
            .unwrap_err()
            .to_string()
    };
    assert!(error(&[0; 11], &empty).contains("inside merge segment 2 of 3"));
    assert!(error(&[0; 13], &empty).contains("1 bytes follow"));
    assert!(error(&[0, 0, 0, 9, 1], &empty).contains("inside merge segment 0 of 3"));
    let one = [segment_hash(&[1]), empty[1], empty[2]];
    let one_byte = [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(error(&one_byte, &one).contains("`w`"));
    let found = decode_partial(&cut, &done(true, 1, one_byte.into(), &one), results_alone);
    assert!(matches!(found, Err(PartialError::NotEmpty { segment: 0 })), "{found:?}");
    assert!(error(&[0; 12], &empty).contains("under the rule `mean` of 1 examples, found nothing"));
}

#[test]
fn any_byte_of_a_finished_block_that_changed_is_noticed() {
    let layout = state(|_| 0.0).layout();
    let cut = Cut::new(&layout);
    let partial = block_partial(Block::of_replica(2));
    let hashes = partial.segment_hashes(&cut.layout);
    let known: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
    let kept = done(false, partial.weight, known, &hashes);
    let expected = Expected { weight: partial.weight, ..EXPECTED };
    assert_eq!(decode_partial(&cut, &kept, expected).unwrap(), DecodedPartial::Kept(hashes));
    let altered = |change: &dyn Fn(&mut BlockDone)| {
        let mut done = kept.clone();
        change(&mut done);
        matches!(decode_partial(&cut, &done, expected), Err(PartialError::Altered))
    };
    assert!(!altered(&|done| done.compute_us += 1), "times are no part of it");
    assert!(altered(&|done| done.payload = done.payload.iter().map(|byte| byte ^ 1).collect()));
    assert!(altered(&|done| done.weight += 1));
    assert!(altered(&|done| done.step.index += 1));
    assert!(altered(&|done| done.block.index += 1));
    assert!(altered(&|done| done.results.examples += 1));
    assert!(altered(&|done| done.shards[0].digest.0[31] ^= 1));
    assert!(altered(&|done| done.digest.0[0] ^= 1));
    let short = BlockDone { payload: kept.payload.slice(16..), ..kept.clone() };
    let error = decode_partial(&cut, &short, expected).unwrap_err().to_string();
    assert_eq!(error, "expected 16 bytes for each of 3 merge segments, found 32 bytes");
}

#[test]
fn what_a_block_says_of_itself_fits_together() {
    let layout = state(|_| 0.0).layout();
    let cut = Cut::new(&layout);
    let hashes = [segment_hash(b""); 3];
    let error = |change: &dyn Fn(&mut BlockDone)| {
        let mut done = done(false, 1, vec![0; 48], &hashes);
        done.payload = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
        change(&mut done);
        done.digest = done.digest_of(hashes);
        decode_partial(&cut, &done, EXPECTED).unwrap_err().to_string()
    };
    assert!(error(&|done| done.weight = 2).contains("a weight of 1 examples, found 2"));
    assert!(error(&|done| done.results.examples = 2).contains("of 1 examples, found 2"));
    assert!(error(&|done| done.shards[0].digest.0[0] ^= 1).contains("its only shard"));
    assert!(error(&|done| done.shards.clear()).contains("expected 1 shards, found 0"));
}

#[test]
fn a_pulled_piece_that_changed_is_not_merged() {
    let (mut merge, layout) = (merge_of_one_part(), state(|_| 0.0).layout());
    let now = Instant::now();
    let fetch = merge.next_fetch(now).unwrap();
    let mut bytes = block_partial(fetch.piece.block).segment(&layout, &layout.merge_segments()[0]);
    let hash = segment_hash(&bytes);
    bytes[5] ^= 1;
    let content = Content::Encoded(Payload::Sent(bytes.into()), hash);
    let taken = merge.receive(now, WorkerId(10), fetch.piece.block, fetch.segment, content);
    assert!(matches!(taken, Arrival::Taken));
    let done = merge.next_job().unwrap().run();
    assert!(matches!(done.outcome, Err(PartialError::Altered)), "{done:?}");
}
