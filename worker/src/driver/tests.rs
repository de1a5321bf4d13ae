//! The driver with a coordinator that the test plays, over loopback.

mod refused;

use std::time::Duration;

use bytes::Bytes;
use common::id::{AssignmentId, Block, ProcessId, RunIdentity, StepId, WorkerId};
use common::limits::HANDSHAKE_FRAME_BYTES;
use common::merge::Partial;
use common::plan::{BlockPlan, Task};
use common::spec::Split;
use common::wire::codec::{self, FrameReader};
use common::wire::handshake;
use common::wire::message::{BlockDone, FromWorker, Role, ToWorker, Welcome};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::run::Opening;
use super::test_model::{HELD, TestRun};
use super::{End, WorkerConfig};

/// A test that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running worker, and the listener that it connects to.
struct Stage {
    listener: TcpListener,
    signals: mpsc::Sender<()>,
    worker: JoinHandle<End>,
}

impl Stage {
    async fn new(test_run: &TestRun) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = WorkerConfig {
            share_memory: None,
            coordinator: listener.local_addr().unwrap().to_string(),
            tls: None,
            name: "test".into(),
            slots: 2,
            memory_limit: 1 << 30,
            cache_limit: 1 << 20,
            process: ProcessId(7),
            drain_timeout: Duration::from_secs(8),
        };
        let (signals, receiver) = mpsc::channel(2);
        let worker = tokio::spawn(super::run(test_run.registry.clone(), config, receiver));
        Self { listener, signals, worker }
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        Peer::welcome(stream).await
    }

    async fn end(self) -> End {
        tokio::time::timeout(PATIENCE, self.worker).await.unwrap().unwrap()
    }
}

/// The coordinator's end of a connection.
struct Peer {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Peer {
    async fn welcome(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let mut peer = Self { reader: FrameReader::new(reader, HANDSHAKE_FRAME_BYTES), writer };
        let hello = handshake::hear(&mut peer.reader).await.unwrap();
        assert!(matches!(hello.role, Role::Worker { slots: 2, .. }), "{hello:?}");
        let welcome = Welcome::Accepted {
            build: handshake::BUILD.into(),
            worker: Some(WorkerId(1)),
            heartbeat_timeout_ms: 10_000,
        };
        codec::write(&mut peer.writer, &codec::encode(welcome)).await.unwrap();
        peer
    }

    async fn say(&mut self, message: ToWorker) {
        codec::write(&mut self.writer, &codec::encode(message)).await.unwrap();
    }

    /// The next message except heartbeats; `None` once the worker has closed.
    async fn next(&mut self) -> Option<FromWorker> {
        loop {
            let content = tokio::time::timeout(PATIENCE, self.reader.next()).await.unwrap();
            match codec::decode(&content.unwrap()?).unwrap() {
                FromWorker::Heartbeat { .. } => {}
                message => return Some(message),
            }
        }
    }

    /// The worker hangs up; its reason contains these words.
    async fn hears_why(&mut self, words: &str) {
        let last = self.next().await;
        let Some(FromWorker::HangsUp { reason }) = &last else { panic!("{words}: {last:?}") };
        assert!(reason.contains(words), "{reason}");
        assert_eq!(self.next().await, None);
    }

    /// The next message except heartbeats and requests for chunks, which are answered.
    async fn next_answer(&mut self, test_run: &TestRun) -> FromWorker {
        loop {
            match self.next().await.unwrap() {
                FromWorker::NeedChunks { run, split, chunks } => {
                    for chunk in chunks {
                        let payload = test_run.chunk(split, chunk);
                        self.say(ToWorker::Chunk { run, split, chunk, payload }).await;
                    }
                }
                message => return message,
            }
        }
    }

    /// Opens the run; returns the blocks that the worker offers.
    async fn open_run(&mut self, test_run: &TestRun) -> Vec<BlockDone> {
        self.say(test_run.open_run()).await;
        let mut offered = Vec::new();
        loop {
            match self.next().await.unwrap() {
                FromWorker::BlockDone(done) => offered.push(done),
                FromWorker::Opened { run } if run == test_run.opening.run => return offered,
                message => panic!("expected an opened run, found {message:?}"),
            }
        }
    }

    async fn send_base(&mut self, test_run: &TestRun, step: StepId) {
        let mut payload = Vec::new();
        for (segment, place) in (0..).zip(&test_run.run.state_segments) {
            test_run.base.read_segment(place, &mut payload);
            let payload = Bytes::from(payload.clone());
            self.say(ToWorker::StateSegment { step, segment, payload }).await;
        }
    }

    async fn block_done(&mut self, test_run: &TestRun) -> BlockDone {
        match self.next_answer(test_run).await {
            FromWorker::BlockDone(done) => done,
            message => panic!("expected a finished block, found {message:?}"),
        }
    }

    /// Pulls a partial, segment by segment, and compares each.
    async fn pull(&mut self, test_run: &TestRun, done: &BlockDone, expected: &Partial) {
        let (step, block) = (done.step, done.block);
        let count = test_run.run.merge_segments.len() as u32;
        self.say(ToWorker::Pull { step, block, first: 0, count }).await;
        for (place, segment) in (0..).zip(&test_run.run.merge_segments) {
            let payload = expected.segment(&test_run.run.layout, segment).into();
            let expected = FromWorker::PartialSegment { step, block, segment: place, payload };
            assert_eq!(self.next().await, Some(expected));
        }
    }
}

#[tokio::test]
async fn a_run_from_handshake_to_goodbye() {
    for size in [3, 600_000] {
        let test_run = TestRun::new(size, "");
        let stage = Stage::new(&test_run).await;
        let mut peer = stage.accept().await;
        peer.open_run(&test_run).await;
        let mut first = None;
        for index in 0..test_run.run.plan.steps() {
            let step = StepId { run: test_run.opening.run, index };
            // The base of the test run stays, so that every other step may refer to it.
            match first {
                Some(as_of) if index % 2 == 1 => {
                    peer.say(ToWorker::SameState { step, as_of }).await;
                }
                _ => {
                    peer.send_base(&test_run, step).await;
                    first = Some(step);
                }
            }
            let block = test_run.run.plan.step(index).unwrap().root();
            peer.say(test_run.assign(index, index, block)).await;
            let done = peer.block_done(&test_run).await;
            let expected = test_run.expected(index, block);
            assert_eq!((done.step, done.block, done.weight), (step, block, expected.weight));
            assert_eq!(done.results, expected.results);
            assert_eq!(done.digest, done.digest_of(expected.segment_hashes(&test_run.run.layout)));
            if !done.is_inline {
                peer.pull(&test_run, &done, &expected).await;
            }
            peer.say(ToWorker::StepDone { step }).await;
        }
        peer.say(ToWorker::CloseRun { run: test_run.opening.run }).await;
        stage.signals.send(()).await.unwrap();
        assert_eq!(peer.next().await, Some(FromWorker::Draining));
        assert_eq!(peer.next().await, Some(FromWorker::Goodbye));
        assert_eq!(peer.next().await, None);
        drop(peer);
        assert_eq!(stage.end().await, End::Left);
    }
}

#[tokio::test]
async fn a_lost_coordinator_is_offered_what_was_finished() {
    let test_run = TestRun::new(600_000, "");
    let stage = Stage::new(&test_run).await;
    let step = StepId { run: test_run.opening.run, index: 0 };
    let block = test_run.run.plan.step(0).unwrap().root();
    let mut peer = stage.accept().await;
    peer.open_run(&test_run).await;
    peer.send_base(&test_run, step).await;
    peer.say(test_run.assign(1, 0, block)).await;
    let done = peer.block_done(&test_run).await;
    drop(peer);
    let mut peer = stage.accept().await;
    assert_eq!(peer.open_run(&test_run).await, std::slice::from_ref(&done));
    peer.pull(&test_run, &done, &test_run.expected(0, block)).await;
    let elsewhere = Block { level: 0, index: 1 };
    peer.say(ToWorker::Pull { step, block: elsewhere, first: 0, count: 1 }).await;
    assert_eq!(peer.next().await, Some(FromWorker::PartialMissing { step, block: elsewhere }));
}

#[tokio::test]
async fn what_is_kept_to_be_merged_takes_the_room_of_chunks() {
    // A partial that is larger than the cache's limit.
    let test_run = TestRun::new(600_000, "");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    peer.open_run(&test_run).await;
    let step = |index| StepId { run: test_run.opening.run, index };
    let assign =
        |index| test_run.assign(index, index, test_run.run.plan.step(index).unwrap().root());
    peer.send_base(&test_run, step(0)).await;
    peer.say(assign(0)).await;
    assert!(!peer.block_done(&test_run).await.is_inline);
    // The next round reads from the same chunk, which was evicted.
    peer.say(ToWorker::SameState { step: step(1), as_of: step(0) }).await;
    peer.say(assign(1)).await;
    let asked = peer.next().await;
    assert!(matches!(asked, Some(FromWorker::NeedChunks { .. })), "{asked:?}");
}

#[tokio::test]
async fn what_was_finished_of_another_run_of_the_same_number_is_not_offered() {
    let mut test_run = TestRun::new(600_000, "");
    let stage = Stage::new(&test_run).await;
    let step = StepId { run: test_run.opening.run, index: 0 };
    let block = test_run.run.plan.step(0).unwrap().root();
    let mut peer = stage.accept().await;
    peer.open_run(&test_run).await;
    peer.send_base(&test_run, step).await;
    peer.say(test_run.assign(1, 0, block)).await;
    peer.block_done(&test_run).await;
    drop(peer);
    let mut peer = stage.accept().await;
    // The same in everything else, like a run that is repeated.
    test_run.opening.identity = RunIdentity(2);
    assert_eq!(peer.open_run(&test_run).await, []);
}

#[tokio::test]
async fn what_may_kill_a_worker_begins_once_that_is_said() {
    let test_run = TestRun::new(3, "panic_at = 5");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    peer.open_run(&test_run).await;
    let step = StepId { run: test_run.opening.run, index: 0 };
    let block = test_run.run.plan.step(0).unwrap().root();
    let assignment = AssignmentId(1);
    let plan = test_run.run.plan.block(&test_run.run.plan.step(0).unwrap(), block);
    peer.say(ToWorker::Assign { assignment, step, block, plan, confirm: true }).await;
    // Without the base it does not begin, and sends nothing.
    peer.send_base(&test_run, step).await;
    assert_eq!(peer.next_answer(&test_run).await, FromWorker::Started { assignment });
    let failure = peer.next_answer(&test_run).await;
    assert!(matches!(failure, FromWorker::ShardFailed { .. }), "{failure:?}");
}

#[tokio::test]
async fn what_fails_is_told() {
    let test_run = TestRun::new(3, "panic_at = 5");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    peer.open_run(&test_run).await;
    let step = StepId { run: test_run.opening.run, index: 0 };
    let block = test_run.run.plan.step(0).unwrap().root();
    peer.send_base(&test_run, step).await;
    peer.say(test_run.assign(1, 0, block)).await;
    let failure = peer.next_answer(&test_run).await;
    let FromWorker::ShardFailed { assignment, fatal, error, .. } = failure else {
        panic!("{failure:?}")
    };
    assert_eq!((assignment, fatal), (AssignmentId(1), false));
    assert!(error.contains("example 5 is too much"), "{error}");
}

#[tokio::test]
async fn a_run_that_cannot_be_opened_is_said_to_be_so() {
    let test_run = TestRun::new(3, "");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    let opening = |spec: String, model_version| {
        let Opening { run, identity, train, test, layout, .. } = TestRun::new(3, "").opening;
        let initial = None;
        ToWorker::OpenRun { run, identity, spec, model_version, train, test, layout, initial }
    };
    let (run, spec) = (test_run.opening.run, test_run.opening.spec.clone());
    let step = StepId { run, index: 0 };
    let block = test_run.run.plan.step(0).unwrap().root();
    for (open, words) in [
        (
            opening(spec.replace("\"toy\"", "\"joy\""), 1),
            "unknown model `joy`: expected one of toy",
        ),
        (opening(spec, 2), "`toy`: expected version 2, which the run has, found version 1"),
    ] {
        peer.say(open).await;
        peer.send_base(&test_run, step).await;
        peer.say(test_run.assign(1, 0, block)).await;
        let answer = peer.next_answer(&test_run).await;
        let FromWorker::Cannot { run: of, reason } = answer else { panic!("{answer:?}") };
        assert_eq!(of, run);
        assert!(reason.contains(words), "{reason}");
        assert!(reason.contains("start your own worker binary"), "{reason}");
        peer.say(ToWorker::CloseRun { run }).await;
    }
    // The connection stays open for runs that it can work on.
    peer.open_run(&test_run).await;
}

#[tokio::test]
async fn a_plan_that_is_not_the_workers_own_is_refused_by_name() {
    let test_run = TestRun::new(3, "");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    let run = test_run.opening.run;
    let block = test_run.run.plan.step(0).unwrap().root();
    type Change = fn(&mut BlockPlan);
    let wrong: [(Change, &str); 5] = [
        (|plan| plan.task = Task::Label, "expected `task` to be Train, found Label"),
        (|plan| plan.split = Split::Test, "expected `split` to be Train, found Test"),
        (|plan| plan.epoch += 1, "expected `epoch` to be 0, found 1"),
        (|plan| plan.positions[1] -= 1, "expected `positions[1]` to be "),
        (|plan| plan.positions.truncate(2), "expected `positions` to be "),
    ];
    for (change, words) in wrong {
        peer.open_run(&test_run).await;
        let mut assign = test_run.assign(1, 0, block);
        let ToWorker::Assign { plan, .. } = &mut assign else { unreachable!() };
        change(plan);
        peer.say(assign).await;
        let answer = peer.next_answer(&test_run).await;
        let FromWorker::Cannot { run: of, reason } = answer else { panic!("{answer:?}") };
        assert_eq!(of, run);
        assert!(reason.contains(words), "{reason}");
        // Nothing more of the run is answered, and the connection stays open for other runs.
        peer.say(test_run.assign(2, 0, block)).await;
        peer.say(ToWorker::CloseRun { run }).await;
    }
    peer.open_run(&test_run).await;
    peer.send_base(&test_run, StepId { run, index: 0 }).await;
    peer.say(test_run.assign(3, 0, block)).await;
    assert_eq!(peer.block_done(&test_run).await.block, block);
}

#[tokio::test]
async fn a_model_takes_its_time_and_the_worker_is_there() {
    async fn meet() {
        tokio::task::spawn_blocking(|| HELD.wait()).await.unwrap();
    }
    let mut test_run = TestRun::new(3, "");
    test_run.opening.spec += "held = 1\n";
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    let step = StepId { run: test_run.opening.run, index: 0 };
    let block = test_run.run.plan.step(0).unwrap().root();
    peer.say(test_run.open_run()).await;
    meet().await;
    // Messages in the meantime are received and answered.
    peer.send_base(&test_run, step).await;
    peer.say(test_run.assign(1, 0, block)).await;
    peer.say(ToWorker::Pull { step, block, first: 0, count: 1 }).await;
    assert_eq!(peer.next_answer(&test_run).await, FromWorker::PartialMissing { step, block });
    meet().await;
    assert_eq!(peer.next_answer(&test_run).await, FromWorker::Opened { run: step.run });
    let done = peer.block_done(&test_run).await;
    assert_eq!((done.step, done.block), (step, block));
}

#[tokio::test]
async fn a_chunk_that_is_another_one_ends_the_connection() {
    let test_run = TestRun::new(3, "");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    peer.open_run(&test_run).await;
    let block = test_run.run.plan.step(0).unwrap().root();
    peer.say(test_run.assign(1, 0, block)).await;
    let asked = peer.next().await;
    let Some(FromWorker::NeedChunks { run, split, chunks }) = asked else { panic!("{asked:?}") };
    let mut payload = test_run.chunk(split, chunks[0]).to_vec();
    payload[0] ^= 1;
    let payload = Bytes::from(payload);
    peer.say(ToWorker::Chunk { run, split, chunk: chunks[0], payload }).await;
    peer.hears_why("an invalid message").await;
    stage.accept().await;
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_not_the_worker() {
    let test_run = TestRun::new(3, "");
    let step = StepId { run: test_run.opening.run, index: 0 };
    let beyond = StepId { index: u64::MAX, ..step };
    let block = Block { level: 0, index: 0 };
    let assignment = AssignmentId(1);
    let stage = Stage::new(&test_run).await;
    let assign = |step, block| {
        let plan = test_run
            .run
            .plan
            .block(&test_run.run.plan.step(0).unwrap(), Block { level: 0, index: 0 });
        ToWorker::Assign { assignment, step, block, plan, confirm: false }
    };
    for nonsense in [
        assign(beyond, block),
        assign(step, Block { level: 3, index: 0 }),
        assign(step, Block { level: 0, index: 3 }),
        ToWorker::SameState { step, as_of: step },
        ToWorker::StateSegment { step, segment: 0, payload: Bytes::from_static(b"short") },
        ToWorker::StateSegment { step, segment: 1, payload: Bytes::new() },
        ToWorker::StateSegment { step, segment: u32::MAX, payload: Bytes::new() },
    ] {
        let mut peer = stage.accept().await;
        peer.open_run(&test_run).await;
        peer.say(nonsense).await;
        peer.hears_why("the coordinator sent an invalid message: ").await;
    }
    stage.accept().await;
}

#[tokio::test]
async fn a_damaged_frame_is_told_of_while_the_worker_goes_on() {
    let test_run = TestRun::new(3, "");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    peer.open_run(&test_run).await;
    let mut frame = codec::encode(ToWorker::CloseRun { run: test_run.opening.run }).head.to_vec();
    *frame.last_mut().unwrap() ^= 1;
    peer.writer.write_all(&frame).await.unwrap();
    let mut next = stage.accept().await;
    next.open_run(&test_run).await;
    // More than fits between the two: unread, it would discard the final message.
    peer.writer.write_all(&vec![0; 32 << 20]).await.unwrap();
    peer.hears_why("expected the checksum").await;
}

#[tokio::test]
async fn a_worker_that_leaves_sees_its_last_words_out() {
    let test_run = TestRun::new(3, "");
    let stage = Stage::new(&test_run).await;
    let mut peer = stage.accept().await;
    let step = StepId { run: test_run.opening.run, index: 0 };
    let block = test_run.run.plan.step(0).unwrap().root();
    peer.open_run(&test_run).await;
    // A kept partial that is not merged is a reason to stay.
    peer.say(test_run.assign(1, 0, block)).await;
    peer.send_base(&test_run, step).await;
    peer.block_done(&test_run).await;
    stage.signals.send(()).await.unwrap();
    assert_eq!(peer.next().await, Some(FromWorker::Draining));
    let (assignment, beyond) = (AssignmentId(2), StepId { index: u64::MAX, ..step });
    let plan = test_run.run.plan.block(&test_run.run.plan.step(0).unwrap(), block);
    peer.say(ToWorker::Assign { assignment, step: beyond, block, plan, confirm: false }).await;
    peer.hears_why("an invalid message").await;
    assert!(!stage.worker.is_finished());
    drop(peer);
    assert_eq!(stage.end().await, End::Left);
}

#[tokio::test]
async fn told_twice_a_worker_leaves_at_once() {
    let test_run = TestRun::new(3, "");
    let stage = Stage::new(&test_run).await;
    // The kernel accepts the connection; no `Welcome` is sent.
    stage.signals.send(()).await.unwrap();
    stage.signals.send(()).await.unwrap();
    let end = stage.end().await;
    assert!(matches!(end, End::Left | End::Cancelled), "{end:?}");
}
