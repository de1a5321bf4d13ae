//! The server, as its peers see it.

mod crowds;
mod damage;
mod driven;
mod durable;
mod fake_worker;
mod gate;
mod harness;
mod history;
mod incarnation;
mod liveness;
mod parting;
mod peers;
mod predict;
mod profile;
mod queue;
mod reading;
mod refused;
mod restart;
mod room;
mod standing;
mod starts;
mod submitted;
pub(super) mod test_model;
mod unfit;

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::{Block, ProcessId, RunId, StepId};
use common::plan::StepKind;
use common::run_settings::CheckpointEvery;
use common::spec::{RunSpec, Split};
use common::state::NetworkState;
use common::wire::codec::{encode, frame_of, write};
use common::wire::handshake::{self, HandshakeError};
use common::wire::message::{FromClient, FromWorker, Hello, Role, RunEvent, ToClient, ToWorker};
use common::worker_event::WorkerEvent;
use tokio::io::AsyncWriteExt;

use self::fake_worker::Lie;
use self::peers::TestServer;
use super::engine::Engine;
use super::persistence::recover;
use super::{RunsConfig, ServerConfig};
use crate::reference::{ParallelBatchProcessor, StepResults};
use crate::runs::RunsFolder;

/// The result of the one-process reference.
fn reference(spec: &RunSpec) -> NetworkState {
    reference_steps(spec).0
}

fn reference_steps(spec: &RunSpec) -> (NetworkState, Vec<StepResults>) {
    let processor = ParallelBatchProcessor::new(1, 1).with_registry(test_model::registry());
    processor.run_spec(spec, &test_model::dataset(), None).unwrap()
}

/// Keeps the runs of a server in a folder, and continues those of the folder. There is a checkpoint
/// after each round, and no wait for the workers of an earlier life.
fn keep_runs(engine: &mut Engine, folder: RunsFolder) {
    let runs = RunsConfig {
        checkpoint_every: CheckpointEvery::Rounds(1),
        resume_wait: Duration::ZERO,
        ..RunsConfig::new(folder)
    };
    let (recovered, history) = recover(&runs.folder, runs.history_bytes);
    engine.keep_runs(runs, history, recovered).unwrap();
}

/// The kinds of events that are in the same order in every run of a spec.
fn kinds(events: &[RunEvent]) -> Vec<&'static str> {
    let kind = |event: &RunEvent| match event {
        RunEvent::Started { .. } => "started",
        RunEvent::Round { .. } => "round",
        RunEvent::Labelled { .. } => "labelled",
        RunEvent::Evaluation { .. } => "evaluation",
        RunEvent::Predicted { .. } => "predicted",
        RunEvent::Finished { .. } => "finished",
        _ => "other",
    };
    events.iter().map(kind).filter(|kind| *kind != "other").collect()
}

/// Runs a spec on a cluster with this many workers, and compares every bit with the reference.
async fn check_run(spec: &RunSpec, mut config: ServerConfig, workers: usize, mortal: usize) {
    // These peers send no heartbeats, and the machine may be busy.
    config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let mut client = server.client().await;
    for index in 0..mortal {
        server.worker(&format!("mortal-{index}"), 2 + index).await;
    }
    for index in 0..workers {
        server.worker(&format!("worker-{index}"), usize::MAX).await;
    }
    let answer = client.submit(spec, None).await;
    assert_eq!(answer, Some(ToClient::Accepted { run: RunId(1), passed_over: None }));
    let events = client.follow(RunId(1)).await;
    let (expected, steps) = reference_steps(spec);
    let Some(RunEvent::Finished { digest, rounds, examples, .. }) = events.last() else {
        panic!("{events:#?}");
    };
    assert_eq!((*digest, *rounds, *examples), (expected.digest(), 6, 106));
    let round = ["round"; 3];
    let labelling = if spec.evaluation.labelling { &["labelled"][..] } else { &[] };
    let epoch = [&round[..], labelling, &["evaluation"]].concat();
    assert_eq!(kinds(&events), [&["started"], &epoch[..], &epoch, &["finished"]].concat());

    check_results(&events, &steps);

    client.say(FromClient::Fetch { run: RunId(1) }).await;
    let Some(ToClient::State { layout, digest: of, history_bytes, .. }) =
        client.hear_client().await
    else {
        panic!("a state");
    };
    let mut state = NetworkState::zeros(&layout).unwrap();
    for (index, segment) in layout.state_segments().iter().enumerate() {
        let Some(ToClient::StateSegment { payload, .. }) = client.hear_client().await else {
            panic!("a state segment");
        };
        state.write_segment(index, segment, &payload).unwrap();
    }
    assert_eq!((&state, of), (&expected, *digest));
    let Some(ToClient::History { piece: 0, payload }) = client.hear_client().await else {
        panic!("a history");
    };
    assert_eq!(payload.len() as u64, history_bytes);
    assert_eq!(client.follow(RunId(1)).await, events, "a run can be followed once it is over");
    server.shut_down().await;
}

/// Compares the results in events with the reference.
fn check_results(events: &[RunEvent], steps: &[StepResults]) {
    let mut steps_told = events.iter().filter(|event| {
        let kind = kinds(std::slice::from_ref(*event));
        matches!(kind[..], ["round" | "labelled" | "evaluation"])
    });
    let mut warnings = BTreeMap::new();
    for StepResults { step, results } in steps {
        match steps_told.next().unwrap() {
            RunEvent::Round { loss, metrics, .. } => {
                assert_eq!((*loss, metrics), (results.loss(), &results.metrics()));
                assert_eq!(metrics.keys().collect::<Vec<_>>(), ["batches"]);
            }
            RunEvent::Labelled { examples, .. } => assert_eq!(*examples, results.examples),
            RunEvent::Evaluation { results: told, .. } => assert_eq!(told, results),
            event => panic!("{event:?}"),
        }
        for (name, count) in results.warnings() {
            let of_kind = std::mem::discriminant(&step.kind);
            let is_last =
                |other: &&StepResults| std::mem::discriminant(&other.step.kind) == of_kind;
            let last = steps.iter().rfind(is_last).unwrap().step;
            if matches!(step.kind, StepKind::Train { .. }) || last == *step {
                *warnings.entry(name.to_owned()).or_default() += count;
            }
        }
    }
    let Some(RunEvent::Finished { warnings: told, .. }) = events.last() else { panic!() };
    assert_eq!((told, warnings["odd"]), (&warnings, 2 * 3 + 1));
}

#[tokio::test]
async fn inline_partials_give_the_bits_of_the_reference() {
    for workers in [1, 2, 3] {
        check_run(&test_model::spec(""), ServerConfig::default(), workers, 0).await;
    }
}

/// 2.4 MB: three merge segments of `w`, which must be pulled.
const BIG: &str = "size = 600000";

#[tokio::test]
async fn pulled_partials_give_the_bits_of_the_reference() {
    for (workers, merge_memory) in [(1, 1), (2, 64 << 20), (3, 2 << 20)] {
        let config = ServerConfig { merge_memory, ..ServerConfig::default() };
        check_run(&test_model::spec(BIG), config, workers, 0).await;
    }
}

#[tokio::test]
async fn tensors_of_f64_and_i64_give_the_bits_of_the_reference() {
    let wide = |more: &str| test_model::spec(&format!("wide = true\n{more}"));
    for workers in [1, 3] {
        check_run(&wide(""), ServerConfig::default(), workers, 0).await;
        check_run(&wide(BIG), ServerConfig::default(), workers, 1).await;
    }
}

#[tokio::test]
async fn lost_workers_change_no_bit() {
    check_run(&test_model::spec(""), ServerConfig::default(), 1, 2).await;
    check_run(&test_model::spec(BIG), ServerConfig::default(), 2, 2).await;
}

#[tokio::test]
async fn a_bit_that_flips_on_its_way_reaches_no_result() {
    for size in ["", BIG] {
        let server = TestServer::start(ServerConfig::default());
        let mut client = server.client().await;
        server.altered_worker("noisy").await;
        server.worker("other", usize::MAX).await;
        let spec = test_model::spec(size);
        client.submit(&spec, None).await;
        let events = client.follow(RunId(1)).await;
        let is_told = |event: &&RunEvent| match event {
            RunEvent::Worker { worker, what, detail, .. } => {
                let is_it = detail.contains("it does not have the digest that came with it");
                worker == "noisy" && *what == WorkerEvent::Failed && is_it
            }
            _ => false,
        };
        assert_eq!(events.iter().filter(is_told).count(), 1, "{events:#?}");
        let (expected, steps) = reference_steps(&spec);
        let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
        assert_eq!(*digest, expected.digest());
        check_results(&events, &steps);
        server.shut_down().await;
    }
}

#[tokio::test]
async fn only_what_was_done_before_a_reconnect_is_said_to_be_so() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let liar = server.liar(Lie::Failure).await;
    server.worker("other", usize::MAX).await;
    client.submit(&test_model::spec(""), None).await;
    let events = client.follow(RunId(1)).await;
    let Some(RunEvent::Finished { offered: 0, .. }) = events.last() else { panic!("{events:#?}") };
    let is_of = |kind: WorkerEvent| {
        let is_it = |it: &&RunEvent| matches!(it, RunEvent::Worker { what, .. } if *what == kind);
        events.iter().filter(is_it).count()
    };
    assert!(is_of(WorkerEvent::Failed) > 0, "{events:#?}");
    let others = [WorkerEvent::Offered, WorkerEvent::Lost].map(is_of);
    assert_eq!(others, [0, 0], "{events:#?}");
    server.shut_down().await;
    liar.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_sent_away_is_told_the_words_of_the_event() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let mut wrong = server.idle_worker("wrong").await;
    client.submit(&test_model::spec(""), None).await;
    let chunks = FromWorker::NeedChunks { run: RunId(9), split: Split::Train, chunks: vec![] };
    wrong.say(chunks).await;
    let reason = loop {
        match wrong.hear(&ToWorker::Heartbeat).await {
            Some(ToWorker::Goodbye { reason }) => break reason,
            Some(_) => {}
            None => panic!("it is told why"),
        }
    };
    server.worker("other", usize::MAX).await;
    let events = client.follow(RunId(1)).await;
    let is_it = |event: &&RunEvent| match event {
        RunEvent::Worker { worker, what, detail, .. } => {
            (worker.as_str(), *what, detail) == ("wrong", WorkerEvent::Lost, &reason)
        }
        _ => false,
    };
    assert_eq!(events.iter().filter(is_it).count(), 1, "{reason}: {events:#?}");
    server.shut_down().await;
}

#[tokio::test]
async fn who_hands_back_and_does_not_leave_is_sent_away() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let mut wrong = server.idle_worker("wrong").await;
    client.submit(&test_model::spec(""), None).await;
    let reason = loop {
        match wrong.hear(&ToWorker::Heartbeat).await.expect("it is told why") {
            ToWorker::Assign { assignment, .. } => {
                wrong.say(FromWorker::HandedBack { assignment }).await;
            }
            ToWorker::Goodbye { reason } => break reason,
            _ => {}
        }
    };
    assert!(reason.contains("did not announce that it drains"), "{reason}");
    server.worker("other", usize::MAX).await;
    let events = client.follow(RunId(1)).await;
    assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{events:#?}");
    server.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_partial_that_does_not_come_is_told_of_and_done_by_others() {
    let mut config = ServerConfig::default();
    config.scheduler.heartbeat_timeout = Duration::from_secs(3600);
    let server = TestServer::start(config);
    let mut client = server.client().await;
    let mute = server.liar(Lie::Mute).await;
    server.worker("other", usize::MAX).await;
    let spec = test_model::spec(BIG);
    client.submit(&spec, None).await;
    let events = client.follow(RunId(1)).await;
    let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:#?}") };
    assert_eq!(*digest, reference(&spec).digest());
    let is_told = |event: &&RunEvent| match event {
        RunEvent::Worker { worker, what, detail, .. } => {
            let is_it = detail.contains("sent nothing of it for 1");
            worker == "liar" && *what == WorkerEvent::Failed && is_it
        }
        _ => false,
    };
    assert!(events.iter().any(|event| is_told(&event)), "{events:#?}");
    server.shut_down().await;
    mute.await.unwrap();
}

#[tokio::test]
async fn a_lone_worker_that_says_what_cannot_be_fails_its_run() {
    let cases = [
        (BIG, Lie::NotANumber, "finite values, found NaN"),
        ("", Lie::NotANumber, "finite values, found NaN"),
        ("", Lie::Weight, "expected a weight of 4 examples, found 5"),
        ("", Lie::Shards, "expected 1 shards, found 0"),
    ];
    for (size, lie, words) in cases {
        let server = TestServer::start(ServerConfig::default());
        let mut client = server.client().await;
        let mut liar = server.liar(lie).await;
        client.submit(&test_model::spec(size), None).await;
        let events = tokio::select! {
            events = client.follow(RunId(1)) => events,
            _ = &mut liar => panic!("{lie:?}: it was sent away, and would be back at once"),
        };
        let Some(RunEvent::Failed { reason, .. }) = events.last() else { panic!("{events:#?}") };
        assert!(reason.contains(words), "{lie:?}: {reason}");
        assert!(reason.contains(" 2 times, the last time on worker "), "{lie:?}: {reason}");
        server.shut_down().await;
    }
}

#[tokio::test]
async fn audits_change_no_bit() {
    for (size, workers, mortal) in [("", 1, 0), ("", 3, 2), (BIG, 2, 0), (BIG, 2, 2)] {
        let spec = RunSpec { audit: 1.0, ..test_model::labelling_spec(size) };
        check_run(&spec, ServerConfig::default(), workers, mortal).await;
    }
}

#[tokio::test]
async fn labels_are_those_of_the_reference() {
    for size in ["", BIG] {
        for (workers, mortal) in [(1, 0), (3, 0), (1, 2)] {
            check_run(&test_model::labelling_spec(size), ServerConfig::default(), workers, mortal)
                .await;
        }
    }
}

#[tokio::test]
async fn a_labelling_that_fails_fails_its_run() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    server.worker("worker", usize::MAX).await;
    for (run, size) in [(RunId(1), ""), (RunId(2), BIG)] {
        client
            .submit(&test_model::labelling_spec(&format!("panic_labels = 53\n{size}")), None)
            .await;
        let events = client.follow(run).await;
        let Some(RunEvent::Failed { reason, .. }) = events.last() else { panic!("{events:?}") };
        let place = format!("the labelled state of run {run} step 3");
        assert!(reason.contains(&place) && reason.contains("finish_labelling"), "{reason}");
        assert!(reason.contains("53 examples are too many"), "{reason}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_state_that_does_not_fit_is_rejected_and_one_that_fits_is_taken() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let spec = test_model::spec("");
    let small = reference(&test_model::spec(""));
    let other = reference(&test_model::spec("size = 4"));
    let answer = client.submit(&spec, Some(&other)).await;
    let Some(ToClient::Rejected { bad_input: true, reason }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("`w`"), "{reason}");
    server.worker("worker", usize::MAX).await;
    let answer = client.submit(&spec, Some(&small)).await;
    assert_eq!(answer, Some(ToClient::Accepted { run: RunId(1), passed_over: None }));
    let events = client.follow(RunId(1)).await;
    let processor = ParallelBatchProcessor::new(1, 1).with_registry(test_model::registry());
    let expected =
        processor.run_spec(&spec, &test_model::dataset(), Some(&small)).unwrap().0.digest();
    assert!(
        matches!(events.last(), Some(RunEvent::Finished { digest, .. }) if *digest == expected)
    );
    server.shut_down().await;
}

#[tokio::test]
async fn bad_submissions_are_rejected_with_the_cause() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let mut unknown = test_model::spec("");
    unknown.model = "nothing".into();
    let mut unmerged = test_model::spec("");
    unmerged.merge.insert("nothing".into(), common::merge::MergeRule::Max);
    for (spec, word) in
        [(unknown, "unknown model `nothing`: expected one of toy"), (unmerged, "nothing")]
    {
        let answer = client.submit(&spec, None).await;
        let Some(ToClient::Rejected { bad_input: true, reason }) = answer else {
            panic!("{answer:?}")
        };
        assert!(reason.contains(word), "{reason}");
    }
    client.say(FromClient::Fetch { run: RunId(7) }).await;
    let answer = client.hear_client().await;
    let Some(ToClient::Rejected { bad_input: true, reason }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("run 7 is unknown"), "{reason}");
    server.shut_down().await;
}

#[tokio::test]
async fn too_much_data_is_rejected_before_it_is_sent() {
    let config = ServerConfig { data_memory: 100, ..ServerConfig::default() };
    let server = TestServer::start(config);
    let mut client = server.client().await;
    let answer = client.submit(&test_model::spec(""), None).await;
    let Some(ToClient::Rejected { bad_input: false, reason }) = answer else {
        panic!("{answer:?}")
    };
    assert!(reason.contains("100 bytes"), "{reason}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_state_that_there_is_no_room_for_is_never_made() {
    let config = ServerConfig { data_memory: 1 << 20, ..ServerConfig::default() };
    let server = TestServer::start(config);
    let mut client = server.client().await;
    let answer = client.submit(&test_model::spec("size = 600000\nunaffordable = true"), None).await;
    let Some(ToClient::Rejected { bad_input: false, reason }) = answer else {
        panic!("{answer:?}")
    };
    assert!(reason.contains("found 2400016; wait for other runs to end"), "{reason}");
    // All reserved memory was released.
    let answer = client.submit(&test_model::spec("size = 200000"), None).await;
    assert_eq!(answer, Some(ToClient::Accepted { run: RunId(1), passed_over: None }));
    server.shut_down().await;
}

#[tokio::test]
async fn a_model_that_changes_what_its_state_consists_of_fails_the_run() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    server.worker("worker", usize::MAX).await;
    for (run, size) in [(RunId(1), ""), (RunId(2), BIG)] {
        client.submit(&test_model::spec(&format!("grow_at = 20\n{size}")), None).await;
        let events = client.follow(run).await;
        let Some(RunEvent::Failed { reason, .. }) = events.last() else { panic!("{events:?}") };
        let place = format!("the merged state of run {run} step 0: the model's `finish_round`");
        assert!(reason.contains(&place) && reason.contains("expected `w` of f32 ["), "{reason}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_model_that_panics_fails_the_run_alone() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    server.worker("worker", usize::MAX).await;
    // A round has 20 examples.
    client.submit(&test_model::spec("panic_at = 40"), None).await;
    let events = client.follow(RunId(1)).await;
    let Some(RunEvent::Failed { reason, .. }) = events.last() else { panic!("{events:?}") };
    assert!(reason.contains("run 1 step 1") && reason.contains("too many"), "{reason}");
    client.submit(&test_model::spec(""), None).await;
    let events = client.follow(RunId(2)).await;
    assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{events:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_waiting_run_can_be_cancelled() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    client.submit(&test_model::spec(""), None).await;
    client.say(FromClient::Cancel { run: RunId(1) }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run: RunId(1) }));
    let events = client.follow(RunId(1)).await;
    assert_eq!(events.last(), Some(&RunEvent::Cancelled { run: RunId(1) }));
    client.say(FromClient::Fetch { run: RunId(1) }).await;
    let answer = client.hear_client().await;
    assert!(matches!(answer, Some(ToClient::Rejected { bad_input: true, .. })), "{answer:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn unfit_peers_are_told_why() {
    let server = TestServer::start(ServerConfig::default());
    let fit = || handshake::hello(Role::Client);
    let worker = |slots| Role::Worker {
        name: "w".into(),
        process: ProcessId(5),
        slots,
        memory_limit: 1,
        cache_limit: 0,
    };
    let cases: [(Hello, &str); 3] = [
        (Hello { protocol: 99, ..fit() }, "the peer has 99"),
        (Hello { numeric_profile: "other".into(), ..fit() }, "\"other\""),
        (handshake::hello(worker(0)), "0 slots"),
    ];
    for (hello, word) in cases {
        let mut peer = server.connect();
        let answer = handshake::ask(&mut peer.frames, &mut peer.writer, hello).await;
        let Err(HandshakeError::Refused(reason)) = answer else { panic!("{answer:?}") };
        assert!(reason.contains(word), "{reason}");
        assert!(peer.frames.next().await.unwrap().is_none(), "closed after {reason}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn floods_and_messages_out_of_turn_disturb_nobody_else() {
    let server = TestServer::start(ServerConfig::default());
    let mut client = server.client().await;
    let step = StepId { run: RunId(3), index: 0 };
    let block = Block { level: 0, index: 0 };
    let payload = bytes::Bytes::new();
    let piece = FromWorker::PartialSegment { step, block, segment: 0, payload };
    let chunks =
        FromWorker::NeedChunks { run: RunId(9), split: Default::default(), chunks: vec![] };
    let bytes = |message| encode(message).head.to_vec();
    let noise = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let wrong: [(Vec<u8>, &str); 6] = [
        (bytes(piece), "was not asked for"),
        (bytes(chunks), "no run 9 was opened"),
        (vec![0xff; 8], "a frame of 4294967295 bytes"),
        // A valid length without a message.
        (frame_of(&[0xc1; 4]).head.to_vec(), "a frame that is not a FromWorker"),
        // A message that only clients may send.
        (encode(FromClient::Status).head.to_vec(), "a frame that is not a FromWorker"),
        (noise, ""),
    ];
    for (bytes, words) in wrong {
        let mut peer = server.idle_worker("wrong").await;
        peer.writer.write_all(&bytes).await.unwrap();
        let last = peer.hear(&ToWorker::Heartbeat).await;
        let Some(ToWorker::Goodbye { reason }) = last else { panic!("{last:?}") };
        assert!(reason.contains(words), "{reason}");
        assert_eq!(peer.hear(&ToWorker::Heartbeat).await, None, "closed after {reason}");
        assert!(client.is_served().await);
    }
    client.say(FromClient::StateSegment { segment: 0, payload: Default::default() }).await;
    let last = client.hear_client().await;
    assert!(matches!(&last, Some(ToClient::Goodbye { reason }) if reason.contains("out of turn")));
    assert_eq!(client.hear_client().await, None);
    let mut stray = server.connect();
    stray.writer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let refused = stray.frames.next().await.unwrap();
    assert!(refused.is_some() && stray.frames.next().await.unwrap().is_none());
    server.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_and_silence_end_a_connection() {
    let server = TestServer::start(ServerConfig::default());
    let mut mute = server.connect();
    let mut half_hello = server.connect();
    half_hello.writer.write_all(&[0, 0]).await.unwrap();
    let mut half_client = server.client().await;
    half_client.writer.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
    let mut half_worker = server.idle_worker("half").await;
    half_worker.writer.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
    let mut alive = server.client().await;
    let heartbeat = encode(FromClient::Heartbeat);
    for _ in 0..15 {
        write(&mut alive.writer, &heartbeat).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // The answer to both is a refusal, then the end.
    for peer in [&mut mute, &mut half_hello] {
        assert!(peer.frames.next().await.unwrap().is_some());
        assert!(peer.frames.next().await.unwrap().is_none());
    }
    let reason = "it was silent for 10.0 s".to_owned();
    assert_eq!(half_client.hear_client().await, Some(ToClient::Goodbye { reason: reason.clone() }));
    assert_eq!(half_client.hear_client().await, None);
    assert_eq!(half_worker.hear(&ToWorker::Heartbeat).await, Some(ToWorker::Goodbye { reason }));
    assert_eq!(half_worker.hear(&ToWorker::Heartbeat).await, None);
    assert!(alive.is_served().await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_shutdown_says_goodbye() {
    let server = TestServer::start(ServerConfig::default());
    let mut worker = server.idle_worker("worker").await;
    let mut client = server.client().await;
    server.shut_down().await;
    let reason = "the coordinator is going away".to_owned();
    let goodbye = ToWorker::Goodbye { reason: reason.clone() };
    assert_eq!(worker.hear(&ToWorker::Heartbeat).await, Some(goodbye));
    assert_eq!(worker.hear(&ToWorker::Heartbeat).await, None);
    assert_eq!(client.hear_client().await, Some(ToClient::Goodbye { reason }));
    assert_eq!(client.hear_client().await, None);
}
