//! The rooms together, event by event, in an order that a test decides.

use std::time::Duration;

use common::id::{RunId, StepId};
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, FromWorker, RunEvent, ToClient, ToWorker};
use common::worker_event::WorkerEvent;

use super::fake_worker::Lie;
use super::harness::Harness;
use super::{BIG, reference, test_model};
use crate::server::ServerConfig;

const RUN: RunId = RunId(1);

fn accepted() -> ToClient {
    ToClient::Accepted { run: RUN, passed_over: None }
}

/// The digest that a run ended with.
fn digest_of(events: &[RunEvent]) -> common::digest::Digest {
    match events.last() {
        Some(RunEvent::Finished { digest, .. }) => *digest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_goes_from_its_submission_to_its_end() {
    for (size, workers) in [("", 1), ("", 3), (BIG, 1), (BIG, 3)] {
        let spec = test_model::spec(size);
        let mut server = Harness::new(ServerConfig::default());
        let client = server.client();
        assert_eq!(server.submit(client, &spec), accepted());
        for worker in 0..workers {
            server.worker(&format!("worker-{worker}"));
        }
        server.settle();
        let events = server.events(RUN);
        assert_eq!(digest_of(&events), reference(&spec).digest(), "{size} on {workers}");
    }
}

#[test]
fn whoever_is_lost_at_whatever_moment_the_bits_are_the_same() {
    for (size, moments) in [("", 0..12), (BIG, 1..6)] {
        let spec = test_model::spec(size);
        let expected = reference(&spec).digest();
        for moment in moments {
            let mut server = Harness::new(ServerConfig::default());
            let client = server.client();
            server.submit(client, &spec);
            let (mortal, other) = (server.worker("mortal"), server.worker("other"));
            for _ in 0..moment {
                server.let_work(mortal);
                server.finish_job();
                server.let_work(other);
            }
            server.lose(mortal);
            server.settle();
            assert_eq!(digest_of(&server.events(RUN)), expected, "{size} at {moment}");
        }
    }
}

/// A run with a large state whose first incarnation is cancelled while this many of its jobs wait,
/// on a server that has resumed it and has it at the same point.
fn taken_up_with(folder: &std::path::Path) -> Harness {
    let mut server = Harness::on(folder, ServerConfig::default());
    let client = server.client();
    assert_eq!(server.submit(client, &test_model::spec(BIG)), accepted());
    let worker = server.worker("worker");
    // Its pieces have arrived, and none is merged.
    while server.let_work(worker) {}
    server.ask(client, FromClient::Cancel { run: RUN });
    wait_for(&mut server, client, &ToClient::Cancelled { run: RUN });
    let settings = RunSettings::default();
    server.ask(client, FromClient::Resume { run: RUN, settings, fork: None });
    server
}

/// Waits for the disk until a client is sent this; no job runs meanwhile.
fn wait_for(server: &mut Harness, client: crate::server::net::ClientId, message: &ToClient) {
    while !server.told(client).contains(message) {
        server.await_storage();
    }
}

#[test]
fn pieces_that_were_merged_before_a_cancel_are_in_no_state_of_the_resumed_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = taken_up_with(folder.path());
    // The jobs of the first incarnation end while the second one is made, and during it.
    let mut ended = 0;
    let is_over = |event: &RunEvent| matches!(event, RunEvent::Finished { .. });
    while !server.events(RUN).last().is_some_and(is_over) {
        ended += u32::from(server.finish_job());
        server.settle_or_await();
    }
    assert!(ended > 0, "there were some");
    let events = server.events(RUN);
    assert_eq!(digest_of(&events), reference(&test_model::spec(BIG)).digest());
    let firsts = events.iter().filter(|event| matches!(event, RunEvent::Round { round: 1, .. }));
    assert_eq!(firsts.count(), 1, "the work of the first life was cancelled");
}

#[test]
fn a_holder_that_sends_nothing_is_done_without() {
    let spec = test_model::spec(BIG);
    let mut server = Harness::new(ServerConfig::default());
    let client = server.client();
    server.submit(client, &spec);
    let mute = server.liar("mute", Lie::Mute);
    while server.let_work(mute) {}
    server.worker("other");
    server.settle();
    assert!(!matches!(server.events(RUN).last(), Some(RunEvent::Finished { .. })));
    let is_over = |event: &RunEvent| matches!(event, RunEvent::Finished { .. });
    for _ in 0..600 {
        if server.events(RUN).last().is_some_and(is_over) {
            break;
        }
        server.elapse(Duration::from_secs(1));
        server.settle();
    }
    assert_eq!(digest_of(&server.events(RUN)), reference(&spec).digest());
}

#[test]
fn a_worker_that_claims_what_it_was_not_given_is_sent_away() {
    let mut server = Harness::new(ServerConfig::default());
    let client = server.client();
    server.submit(client, &test_model::spec(""));
    let liar = server.liar("liar", Lie::Beside);
    let honest = server.worker("honest");
    server.settle();
    let reason = server.goodbye(liar).expect("it lied");
    assert!(reason.contains("which it was not given"), "{reason}");
    assert_eq!(server.goodbye(honest), None);
    assert_eq!(digest_of(&server.events(RUN)), reference(&test_model::spec("")).digest());
}

/// A worker has answered a pull of a run that was cancelled, and its answer arrives when the
/// run has been resumed.
#[test]
fn a_late_segment_of_the_life_before_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = taken_up_with(folder.path());
    let worker = server.first_worker();
    let assigned = |sent: &[ToWorker]| {
        sent.iter().find_map(|message| match message {
            ToWorker::Assign { step, block, .. } => Some((*step, *block)),
            _ => None,
        })
    };
    let (step, block) = loop {
        if let Some(found) = assigned(&server.hear(worker)) {
            break found;
        }
        if !server.finish_job() {
            server.await_storage();
        }
    };
    let late = |server: &mut Harness, step| {
        let payload = vec![0; 4].into();
        server.say(worker, FromWorker::PartialSegment { step, block, segment: 0, payload });
    };
    let later = StepId { index: step.index + 1, ..step };
    late(&mut server, step);
    late(&mut server, later);
    // Its block is done, and its partial is pulled.
    while !server.let_work(worker) {}
    late(&mut server, later);
    while !server.events(RUN).last().is_some_and(RunEvent::is_last) {
        server.settle_or_await();
    }
    let events = server.events(RUN);
    assert_eq!(digest_of(&events), reference(&test_model::spec(BIG)).digest());
    assert_eq!(server.goodbye(worker), None);
    let blamed = |event: &RunEvent| matches!(event, RunEvent::Worker { what, .. } if *what == WorkerEvent::Failed);
    assert!(!events.iter().any(blamed), "{events:#?}");
}

/// The steps of the segments of states in these messages.
fn segments(sent: &[ToWorker]) -> Vec<u64> {
    let step = |message: &ToWorker| match message {
        ToWorker::StateSegment { step, .. } => Some(step.index),
        _ => None,
    };
    sent.iter().filter_map(step).collect()
}

#[test]
fn the_next_state_leaves_as_it_is_merged_whoever_is_lost_meanwhile() {
    let spec = test_model::spec(&format!("{BIG}\nas_merged = true"));
    let expected = reference(&spec).digest();
    let mut seen = Vec::new();
    for jobs in 0..12 {
        let mut server = Harness::new(ServerConfig::default());
        let (mortal, other) = (server.worker("mortal"), server.worker("other"));
        let client = server.client();
        server.submit(client, &spec);
        // All pieces are there, and none is merged.
        while server.let_work(mortal) | server.let_work(other) {}
        (0..jobs).take_while(|_| server.finish_job()).count();
        let sent = server.hear(other);
        let is_over = |message: &ToWorker| matches!(message, ToWorker::StepDone { .. });
        if !sent.iter().any(is_over) {
            seen.push(segments(&sent).iter().filter(|step| **step == 1).count());
        }
        // Jobs that run go on, even after the merge is paused.
        server.lose(mortal);
        server.settle();
        assert_eq!(digest_of(&server.events(RUN)), expected, "after {jobs} jobs");
    }
    // Two small tensors, and a large one of three segments, of which the last one has to wait.
    assert!(seen.is_sorted() && seen.first() == Some(&0), "{seen:?}");
    assert!(seen.contains(&2) && seen.contains(&3) && !seen.contains(&5), "{seen:?}");
}
