//! Properties of the wire as a whole.

use std::fmt::Debug;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::arbitrary;
use super::codec::{FrameReader, HEAD_BYTES, decode, encode, frame_of};
use super::message::{
    BlockDone, FromClient, FromWorker, Hello, NUMERIC_PROFILE, Progress, Role, ShardDone, ToClient,
    ToWorker, Welcome,
};
use super::{Frame, FrameError, Message, handshake};
use crate::id::{AssignmentId, Block, ProcessId, RunId, StepId};
use crate::limits::{
    BLOCK_REPLICAS, DATASET_CHUNKS, EXAMPLES, FRAME_BYTES, HANDSHAKE_FRAME_BYTES,
    INLINE_PARTIAL_BYTES, MERGE_SEGMENTS, NAME_BYTES, PARTIAL_RESULT_COUNTS, PAYLOAD_BYTES,
    RESULT_COUNTS, RESULT_NAMES, SLOTS, STEP_SCORES, TEXT_BYTES,
};
use crate::plan::{BlockPlan, Task};
use crate::results::Results;
use crate::spec::Split;

fn bytes_of(frame: &Frame) -> Bytes {
    [&frame.head[..], &frame.body[..]].concat().into()
}

/// Properties of every message: it decodes to an equal one, it fits into a frame, and no part of it
/// decodes as a message.
fn check<M: Message + Clone + PartialEq + Debug>(message: M) -> Result<(), TestCaseError> {
    let bytes = bytes_of(&encode(message.clone()));
    let content = bytes.slice(HEAD_BYTES..);
    prop_assert!(content.len() <= FRAME_BYTES);
    prop_assert_eq!(u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize, content.len());
    let decoded: M = decode(&content)?;
    prop_assert_eq!(decoded, message);
    // All cuts near the ends, some in between.
    let stride = (content.len() / 256).max(1);
    for end in
        (0..content.len()).step_by(stride).chain(content.len().saturating_sub(64)..content.len())
    {
        prop_assert!(decode::<M>(&content.slice(..end)).is_err(), "cut at {}", end);
    }
    let longer = Bytes::from([&content[..], &[0xc0]].concat());
    prop_assert!(matches!(decode::<M>(&longer), Err(FrameError::Trailing(_))));
    Ok(())
}

fn decode_as_anything(content: &Bytes) {
    let _ = decode::<Hello>(content);
    let _ = decode::<Welcome>(content);
    let _ = decode::<FromWorker>(content);
    let _ = decode::<ToWorker>(content);
    let _ = decode::<FromClient>(content);
    let _ = decode::<ToClient>(content);
}

proptest! {
    #[test]
    fn hello_comes_back(message in arbitrary::hello()) { check(message)?; }

    #[test]
    fn welcome_comes_back(message in arbitrary::welcome()) { check(message)?; }

    #[test]
    fn from_worker_comes_back(message in arbitrary::from_worker()) { check(message)?; }

    #[test]
    fn to_worker_comes_back(message in arbitrary::to_worker()) { check(message)?; }

    #[test]
    fn from_client_comes_back(message in arbitrary::from_client()) { check(message)?; }

    #[test]
    fn to_client_comes_back(message in arbitrary::to_client()) { check(message)?; }

    #[test]
    fn random_bytes_give_an_error_or_a_message(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_as_anything(&bytes.into());
    }

    #[test]
    fn damaged_messages_give_an_error_or_a_message(
        message in arbitrary::to_worker(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = bytes_of(&encode(message)).to_vec().split_off(HEAD_BYTES);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        decode_as_anything(&bytes.into());
    }

    #[test]
    fn frames_read_the_same_however_they_are_cut(
        messages in prop::collection::vec(arbitrary::from_worker(), 0..6),
        pieces in prop::collection::vec(1usize..3000, 1..40),
    ) {
        let frames: Vec<_> = messages.iter().cloned().map(encode).collect();
        let stream: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
        let total = stream.len() as u64;
        let stream = Pieces { bytes: stream, pieces, turn: 0, is_due: false };
        let mut reader = FrameReader::new(stream, FRAME_BYTES);
        for message in messages {
            let content = next(&mut reader)?.expect("a frame");
            prop_assert_eq!(decode::<FromWorker>(&content)?, message);
        }
        prop_assert!(next(&mut reader)?.is_none());
        prop_assert_eq!(reader.received(), total);
    }
}

/// A stream that returns its bytes in pieces, and is not ready before each.
struct Pieces {
    bytes: Vec<u8>,
    pieces: Vec<usize>,
    turn: usize,
    is_due: bool,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.is_due = !self.is_due;
        if self.is_due {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.pieces[self.turn % self.pieces.len()];
        self.turn += 1;
        let count = piece.min(out.remaining()).min(self.bytes.len());
        out.put_slice(&self.bytes[..count]);
        self.bytes.drain(..count);
        Poll::Ready(Ok(()))
    }
}

/// The next frame, with a new call of `next` for every poll: each call but the last is cancelled,
/// and must lose nothing.
fn next<R: AsyncRead + Unpin>(reader: &mut FrameReader<R>) -> Result<Option<Bytes>, FrameError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _clock = runtime.enter();
    let mut context = Context::from_waker(std::task::Waker::noop());
    loop {
        if let Poll::Ready(outcome) = pin!(reader.next()).poll(&mut context) {
            return outcome;
        }
    }
}

#[test]
fn a_length_above_the_limit_is_refused_before_memory_is_taken() {
    let mut reader = FrameReader::new(&b"\xff\xff\xff\xff"[..], FRAME_BYTES);
    let error = next(&mut reader).unwrap_err();
    assert_eq!(error.to_string(), "a frame of 4294967295 bytes: expected at most 1114112 bytes");
    let long = bytes_of(&frame_of(&[0xc0; (16 << 10) + 1]));
    let mut reader = FrameReader::new(&long[..], HANDSHAKE_FRAME_BYTES);
    assert!(matches!(next(&mut reader), Err(FrameError::TooLong { found: 16_385, .. })));
    reader.set_limit(FRAME_BYTES);
    assert_eq!(next(&mut reader).unwrap().unwrap().len(), 16_385);
}

#[test]
fn a_connection_that_ends_inside_a_frame_is_an_error() {
    let bytes = bytes_of(&encode(ToWorker::Heartbeat));
    for end in 1..bytes.len() {
        let mut reader = FrameReader::new(&bytes[..end], FRAME_BYTES);
        assert!(matches!(next(&mut reader), Err(FrameError::Truncated)), "cut at {end}");
    }
}

#[test]
fn no_bit_of_a_frame_can_change_and_be_believed() {
    let (step, block) = (StepId { run: RunId(1), index: 2 }, Block { level: 0, index: 0 });
    let payload = Bytes::from_static(&[1, 2, 3, 4]);
    let message = FromWorker::PartialSegment { step, block, segment: 0, payload };
    let mut bytes = bytes_of(&encode(message)).to_vec();
    // Heartbeats fill up a frame that has become longer.
    let end = bytes.len();
    for _ in 0..8 {
        bytes.extend(bytes_of(&encode(ToWorker::Heartbeat)));
    }
    for bit in 0..8 * end {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let found = next(&mut FrameReader::new(&bytes[..], FRAME_BYTES));
        let is_length = bit < 32;
        assert!(
            match found {
                Err(FrameError::Checksum { .. }) => true,
                Err(FrameError::TooLong { .. } | FrameError::Truncated) => is_length,
                _ => false,
            },
            "bit {bit}: {found:?}"
        );
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(next(&mut FrameReader::new(&bytes[..], FRAME_BYTES)).unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_never_ends_has_a_deadline_whatever_trickles_in() {
    for (length, seconds) in [([0, 0, 1, 0], 30), ([0, 0x10, 0, 0], 30 + 128)] {
        let (mut near, far) = tokio::io::duplex(64);
        let heartbeats = async {
            let mut bytes = length.to_vec();
            loop {
                near.write_all(&bytes).await.unwrap();
                bytes = vec![0; 1];
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let mut reader = FrameReader::new(far, FRAME_BYTES);
        let begun = tokio::time::Instant::now();
        // Like its callers: with a new call whenever something else is due.
        let next = async {
            loop {
                tokio::select! {
                    biased;
                    next = reader.next() => break next,
                    () = tokio::time::sleep(Duration::from_secs(7)) => {}
                }
            }
        };
        let error = tokio::select! {
            next = next => next.unwrap_err().to_string(),
            () = heartbeats => unreachable!(),
        };
        assert!(
            error.contains(&format!("did not arrive completely within {seconds} s")),
            "{error}"
        );
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn a_peer_of_a_later_protocol_is_told_so_whatever_else_it_says() {
    let later = [
        &b"\x84\xa5magic\xa7samebit\xa8protocol\xcd\x01\x00\xa3new\x92\xc0\xc3"[..],
        b"\xa4role\xa8Anything",
    ];
    let bytes = bytes_of(&frame_of(&later.concat()));
    let mut reader = FrameReader::new(&bytes[..], HANDSHAKE_FRAME_BYTES);
    let error = handshake::hear(&mut reader).await.unwrap_err().to_string();
    assert!(error.contains("has protocol 12, the peer has 256: install the same"), "{error}");
}

#[test]
fn declared_counts_and_nesting_are_not_believed() {
    let string = |text: &str| [&[0xa0 | text.len() as u8], text.as_bytes()].concat();
    let list = [0xdd, 0xff, 0xff, 0xff, 0xff];
    let map = [0xdf, 0xff, 0xff, 0xff, 0xff];
    let heartbeat = |value: &[u8]| {
        [&[0x81][..], &string("Heartbeat"), &[0x82], &string("progress"), value].concat()
    };
    for bytes in [
        list.to_vec(),
        map.to_vec(),
        heartbeat(&list),
        heartbeat(&[&list[..], &[0x81], &string("running"), &list].concat()),
        heartbeat(&[0x91; 100_000]),
        vec![0x81; 100_000],
        [&[0x81][..], &string("Unknown"), &[0xc6, 0xff, 0xff, 0xff, 0xff]].concat(),
    ] {
        decode_as_anything(&bytes.clone().into());
        assert!(decode::<FromWorker>(&bytes.into()).is_err());
    }
}

#[test]
fn what_is_unknown_twice_or_of_another_direction_is_refused() {
    let string = |text: &str| [&[0xa0 | text.len() as u8], text.as_bytes()].concat();
    let run = |fields: &[&str]| {
        let mut bytes = [&[0x81][..], &string("CloseRun"), &[0x80 | fields.len() as u8]].concat();
        for field in fields {
            bytes.extend([&string(field)[..], &[1]].concat());
        }
        Bytes::from(bytes)
    };
    assert!(decode::<ToWorker>(&run(&["run"])).is_ok());
    for (fields, word) in
        [(&["run", "x"][..], "unknown field"), (&["run", "run"], "duplicate"), (&[], "missing")]
    {
        let error = decode::<ToWorker>(&run(fields)).unwrap_err().to_string();
        assert!(error.contains("not a ToWorker") && error.contains(word), "{error}");
    }
    assert!(decode::<FromWorker>(&run(&["run"])).is_err());
    let long = string("long").repeat(10_000);
    assert!(decode::<ToWorker>(&long.into()).unwrap_err().to_string().len() < 1000);
}

#[test]
fn fields_out_of_bounds_are_refused_by_name() {
    let step = StepId { run: RunId(1), index: 0 };
    let block = Block { level: 0, index: 0 };
    let far = Block { level: 200, index: 1 };
    let long: Bytes = vec![0; PAYLOAD_BYTES + 1].into();
    let done = |results, is_inline, inline: &'static [u8]| {
        let digest = crate::digest::Digest::of(b"");
        let (weight, partial_bytes, compute_us) = (1, 1 << 40, 1);
        let payload = Bytes::from_static(inline);
        let done = BlockDone {
            step,
            block,
            weight,
            results,
            digest,
            shards: Vec::new(),
            partial_bytes,
            compute_us,
            is_inline,
            payload,
        };
        FromWorker::BlockDone(done)
    };
    let counts = |count| Results {
        counts: [("confusion".into(), vec![0; count])].into(),
        ..Default::default()
    };
    let named =
        |name: &str| Results { counts: [(name.into(), vec![1])].into(), ..Default::default() };
    let scores = |scores: Vec<f32>| Results { scores, ..Default::default() };
    let shards = |count| {
        let FromWorker::BlockDone(done) = done(counts(0), false, b"") else { unreachable!() };
        let shard = ShardDone { digest: done.digest, compute_us: 1 };
        FromWorker::BlockDone(BlockDone { shards: vec![shard; count], ..done })
    };
    let beside = |partial_bytes, count| {
        let FromWorker::BlockDone(done) = done(counts(count), true, b"") else { unreachable!() };
        FromWorker::BlockDone(BlockDone { partial_bytes, ..done })
    };
    let assignment = AssignmentId(1);
    let busy =
        Progress { assignment, running: vec![0; SLOTS as usize], shards_done: 0, examples_done: 0 };
    let progress = vec![busy.clone(), busy];
    let (run, split) = (RunId(1), Split::Train);
    for (message, field) in [
        (FromWorker::PartialMissing { step, block: far }, "block"),
        (FromWorker::PartialSegment { step, block, segment: 0, payload: long }, ""),
        (FromWorker::Heartbeat { memory: 0, progress }, "progress.running"),
        (FromWorker::NeedChunks { run, split, chunks: vec![0; DATASET_CHUNKS + 1] }, "chunks"),
        (FromWorker::NeedChunks { run, split, chunks: vec![DATASET_CHUNKS as u32] }, "chunks"),
        (done(counts(PARTIAL_RESULT_COUNTS + 1), false, b""), "results.counts"),
        (beside(0, RESULT_COUNTS + 1), "results.counts"),
        (done(scores(vec![0.5; STEP_SCORES + 1]), true, b""), "results.scores"),
        (done(scores(vec![f32::NAN]), true, b""), "results.scores"),
        (done(counts(0), false, b"x"), "payload"),
        (done(counts(0), false, &[0; 16 * (MERGE_SEGMENTS + 1)]), "payload"),
        (shards(BLOCK_REPLICAS as usize + 1), "shards"),
        (done(named("warning.two\nlines"), true, b""), "results.counts"),
        (done(counts(0), true, b"x"), "partial_bytes"),
        (beside(INLINE_PARTIAL_BYTES, PARTIAL_RESULT_COUNTS + 1), "results.counts"),
    ] {
        let content = bytes_of(&encode(message)).slice(HEAD_BYTES..);
        let error = decode::<FromWorker>(&content).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("expected"), "{error}");
    }
    let assign = |positions| {
        let plan = BlockPlan { task: Task::Train, split, epoch: 0, positions };
        ToWorker::Assign { assignment, step, block, plan, confirm: false }
    };
    for (message, field) in [
        (ToWorker::Pull { step, block, first: u32::MAX, count: 2 }, "count"),
        (assign(vec![0]), "plan.positions"),
        (assign(vec![1, 0]), "plan.positions"),
        (assign(vec![0, EXAMPLES + 1]), "plan.positions"),
        (assign(vec![0; BLOCK_REPLICAS as usize + 2]), "plan.positions"),
    ] {
        let content = bytes_of(&encode(message)).slice(HEAD_BYTES..);
        let error = decode::<ToWorker>(&content).unwrap_err().to_string();
        assert!(error.contains(field) && error.contains("expected"), "{error}");
    }
}

#[test]
fn the_largest_results_fit_a_frame() {
    let names = || (0..RESULT_NAMES).map(|at| format!("{at:0>NAME_BYTES$}"));
    let each =
        |counts: usize| names().map(move |name| (name, vec![u64::MAX; counts / RESULT_NAMES]));
    let shard = ShardDone { digest: crate::digest::Digest::of(b""), compute_us: u64::MAX };
    for (counts, inline, scores) in [
        (RESULT_COUNTS, 0, 0),
        (PARTIAL_RESULT_COUNTS, INLINE_PARTIAL_BYTES as usize, 0),
        (PARTIAL_RESULT_COUNTS, 0, STEP_SCORES),
    ] {
        let done = BlockDone {
            step: StepId { run: RunId(u64::MAX), index: u64::MAX },
            block: Block { level: 0, index: 0 },
            weight: u64::MAX,
            results: Results {
                examples: u64::MAX,
                sums: names().map(|name| (name, 0.1)).collect(),
                counts: each(counts).collect(),
                scores: vec![0.1; scores],
            },
            digest: crate::digest::Digest::of(b""),
            shards: vec![shard; BLOCK_REPLICAS as usize],
            partial_bytes: inline as u64,
            compute_us: u64::MAX,
            is_inline: true,
            // The lengths of a few hundred merge segments are added.
            payload: vec![0; inline + 4096].into(),
        };
        let content = bytes_of(&encode(FromWorker::BlockDone(done))).slice(HEAD_BYTES..);
        assert!(content.len() <= FRAME_BYTES, "{} bytes", content.len());
        decode::<FromWorker>(&content).unwrap();
    }
}

#[test]
fn long_errors_are_cut_not_refused() {
    let error = "é".repeat(TEXT_BYTES);
    let step = StepId { run: RunId(1), index: 0 };
    let assignment = AssignmentId(1);
    let message = FromWorker::ShardFailed { assignment, step, replica: 0, fatal: false, error };
    match decode(&bytes_of(&encode(message)).slice(HEAD_BYTES..)) {
        Ok(FromWorker::ShardFailed { error, .. }) => assert_eq!(error.len(), TEXT_BYTES),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_numeric_profile_names_the_libm_that_is_built_in() {
    let (_, libm) = NUMERIC_PROFILE.split_once("/libm-").expect("it names one");
    let pinned = format!("\nlibm = \"={libm}\"\n");
    assert!(include_str!("../../../Cargo.toml").contains(&pinned), "{pinned}");
    let locked = format!("\nname = \"libm\"\nversion = \"{libm}\"\n");
    assert!(include_str!("../../../Cargo.lock").contains(&locked), "{locked}");
}

#[test]
fn the_refusal_says_what_to_change() {
    let role = |name: &str, slots, memory_limit| Role::Worker {
        name: name.into(),
        process: ProcessId(5),
        slots,
        memory_limit,
        cache_limit: 0,
    };
    let good = handshake::hello(role("one", 4, 1 << 30));
    assert_eq!(handshake::judge(&good), Ok(()));
    let other = Hello { build: "9.9.9".into(), ..good.clone() };
    assert_eq!(handshake::judge(&other), Ok(()), "builds that agree in all else work together");
    assert_eq!(handshake::judge(&handshake::hello(Role::Client)), Ok(()));
    let ours = env!("CARGO_PKG_VERSION");
    for (hello, words) in [
        (Hello { protocol: 0, ..good.clone() }, ours),
        (Hello { magic: "http".into(), ..good.clone() }, "which program connects"),
        (Hello { protocol: 99, ..good.clone() }, "has protocol 12, the peer has 99"),
        (Hello { numeric_profile: "x".into(), ..good.clone() }, "numeric profile"),
        (handshake::hello(role("", 4, 1)), "--name"),
        (handshake::hello(role(&"x".repeat(NAME_BYTES + 1), 4, 1)), "--name"),
        (handshake::hello(role("a\nb", 4, 1)), "--name"),
        (handshake::hello(role("one", 0, 1)), "--slots"),
        (handshake::hello(role("one", SLOTS + 1, 1)), "--slots"),
        (handshake::hello(role("one", 4, 0)), "--memory-limit"),
    ] {
        let reason = handshake::judge(&hello).unwrap_err();
        assert!(reason.contains(words), "{reason:?} lacks {words:?}");
    }
}

#[tokio::test]
async fn both_sides_shake_hands() {
    for refuse in [false, true] {
        let (near, far) = tokio::io::duplex(64);
        let (near_read, mut near_write) = tokio::io::split(near);
        let (far_read, mut far_write) = tokio::io::split(far);
        let coordinator = async {
            let mut reader = FrameReader::new(far_read, HANDSHAKE_FRAME_BYTES);
            let hello = handshake::hear(&mut reader).await.unwrap();
            let welcome = if refuse {
                Welcome::Refused { reason: "full".into(), may_pass: false }
            } else {
                Welcome::Accepted { build: hello.build, worker: None, heartbeat_timeout_ms: 10_000 }
            };
            super::codec::write(&mut far_write, &encode(welcome)).await.unwrap();
        };
        let client = async {
            let mut reader = FrameReader::new(near_read, HANDSHAKE_FRAME_BYTES);
            handshake::ask(&mut reader, &mut near_write, handshake::hello(Role::Client)).await
        };
        let (_, outcome) = tokio::join!(coordinator, client);
        match outcome {
            Ok(accepted) => assert!(!refuse && accepted.heartbeat_timeout.as_secs() == 10),
            Err(error) => assert_eq!(error.to_string(), "the coordinator refuses: full"),
        }
    }
}
