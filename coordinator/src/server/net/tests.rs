use std::sync::Arc;
use std::time::Duration;

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};
use common::limits;
use common::wire::codec::encode;
use common::wire::message::ToWorker;
use tokio::time::Instant;

use super::outbox::{Outbox, StateFrames};
use super::*;

fn handle() -> (Handle, Arc<Outbox>, Arc<LastActivity>) {
    let outbox = Arc::new(Outbox::new());
    let activity = Arc::new(LastActivity::new(Instant::now()));
    (Handle::new(outbox.clone(), activity.clone(), "here".into()), outbox, activity)
}

fn info(name: &str, process: u64) -> WorkerInfo {
    let (name, process) = (name.to_owned(), ProcessId(process));
    WorkerInfo { name, process, slots: 1, memory_limit: 1 << 30, cache_limit: 1 << 30 }
}

/// A worker that is connected, and what it is sent.
fn with_worker(name: &str) -> (Peers, Arc<Outbox>, Arc<LastActivity>) {
    let mut peers = Peers::default();
    let (handle, outbox, activity) = handle();
    peers.add_worker(WorkerId(1), info(name, 1), handle);
    (peers, outbox, activity)
}

#[test]
fn two_workers_of_one_name_get_names_that_differ() {
    let long = "ü".repeat(limits::NAME_BYTES / 2);
    let (mut peers, ..) = with_worker(&long);
    let again = peers.add_worker(WorkerId(2), info(&long, 1), handle().0);
    assert_eq!(again.name(), long, "it is the same process, which reconnects");
    let other = peers.add_worker(WorkerId(3), info(&long, 2), handle().0);
    assert!(other.name().ends_with(" (w3)") && other.name().len() <= limits::NAME_BYTES);
}

#[test]
fn a_worker_is_sent_the_base_of_a_step_once_and_told_of_its_end() {
    let (mut peers, outbox, _) = with_worker("one");
    let (run, block) = (RunId(1), Block::of_replica(0));
    let step = |index| StepId { run, index };
    peers.open_run(WorkerId(1), run, encode(ToWorker::CloseRun { run }));
    let assign = |peers: &mut Peers, id, step, bases: &mut u32| {
        let message = ToWorker::Revoke { assignment: AssignmentId(id) };
        peers.assign(WorkerId(1), AssignmentId(id), (step, block), message, || {
            *bases += 1;
            StateFrames::new(0, |_| unreachable!("it has no frames"))
        });
    };
    let mut bases = 0;
    assign(&mut peers, 1, step(0), &mut bases);
    assign(&mut peers, 2, step(0), &mut bases);
    assert_eq!(bases, 1);
    let worker = peers.worker(WorkerId(1)).unwrap();
    assert!(worker.has(AssignmentId(2)) && worker.was_given(block));
    assert!(!outbox.take_bytes().is_empty());
    // The next step has the same base.
    peers.end_step(step(0), Some(step(1)));
    let worker = peers.worker(WorkerId(1)).unwrap();
    assert!(!worker.has(AssignmentId(2)) && !worker.was_given(block));
    assign(&mut peers, 3, step(1), &mut bases);
    assert_eq!(bases, 1, "it has it");
    peers.end_step(step(1), None);
    assign(&mut peers, 4, step(2), &mut bases);
    assert_eq!(bases, 2);
    peers.close_run(run);
    assert!(!peers.worker(WorkerId(1)).unwrap().knows(run));
}

#[test]
fn a_peer_that_does_not_read_is_given_by_flush_once() {
    let (mut peers, ..) = with_worker("one");
    for _ in 0..=limits::CONTROL_QUEUE {
        peers.send_worker(WorkerId(1), ToWorker::Heartbeat);
    }
    assert_eq!(peers.flush(), Some(Peer::Worker(WorkerId(1))));
    let ended = peers.end_worker(WorkerId(1), Farewell::Lost, "its queue is full").unwrap();
    assert_eq!(ended.name(), "one");
    assert!(peers.worker(WorkerId(1)).is_none());
    assert!(peers.known_worker(WorkerId(1)).is_some(), "until the turn is over");
    assert_eq!(peers.flush(), None);
    assert!(peers.known_worker(WorkerId(1)).is_none());
}

#[test]
fn what_comes_is_a_sign_of_life_once() {
    let (mut peers, _, activity) = with_worker("one");
    assert_eq!(peers.active_workers(), [], "it has only joined");
    activity.set(5);
    assert_eq!(peers.active_workers(), [WorkerId(1)]);
    assert_eq!(peers.active_workers(), []);
    let client = ClientId(2);
    let (handle, _, activity) = handle();
    peers.add_client(client, handle);
    activity.set(0);
    assert_eq!(peers.silent_clients(Duration::from_secs(60)), []);
    assert!(peers.has_client(client) && peers.end_client(client, "bye").is_some());
    assert!(!peers.has_client(client));
}

#[test]
fn memory_is_named_for_a_worker_that_may_have_died_of_it() {
    for (farewell, is_named) in [(Farewell::Lost, true), (Farewell::Alive, false)] {
        let (mut peers, ..) = with_worker("one");
        peers.worker_mut(WorkerId(1)).unwrap().set_memory(1 << 30);
        let ended = peers.end_worker(WorkerId(1), farewell, "gone").unwrap();
        assert_eq!(ended.memory_at_last().is_some(), is_named, "{farewell:?}");
    }
}
