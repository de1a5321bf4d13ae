use common::digest::Digest;
use common::id::{RunId, SubmissionKey};
use common::limits;
use common::run_state::{RunEnd, RunState};
use common::state::NetworkState;
use common::wire::message::RunEvent;
use std::sync::Arc;

use super::*;
use crate::runs::LAST_NUMBER;
use crate::server::net::ClientId;

fn queued(id: u64) -> Run {
    Run::new(NewRun::queued(RunId(id)))
}

/// Ends a run, and tells of it.
fn end(table: &mut RunTable, id: u64, end: RunEnd) {
    let run = RunId(id);
    let event = RunEvent::Cancelled { run };
    table.get_mut(run).unwrap().end(end, event.clone(), None).unwrap();
    table.get_mut(run).unwrap().take_ending().unwrap();
    table.record(run, event);
}

#[test]
fn no_number_is_given_twice_and_they_end() {
    let mut table = RunTable::default();
    assert_eq!(table.next_number(), Ok(RunId(1)));
    table.set_last_number(7);
    assert!(table.was_given(RunId(7)) && !table.was_given(RunId(8)));
    assert_eq!(table.next_number(), Ok(RunId(8)));
    table.set_last_number(LAST_NUMBER);
    assert!(table.next_number().is_err_and(|error| error.contains("no number is left")));
}

#[test]
fn an_end_that_is_not_on_disk_is_told_to_nobody() {
    let mut table = RunTable::default();
    table.insert(queued(1));
    let run = table.get_mut(RunId(1)).unwrap();
    assert!(!run.wait_for_ending(ClientId(1)), "it has not ended");
    let event = RunEvent::Cancelled { run: RunId(1) };
    assert!(run.end(RunEnd::Cancelled, event.clone(), None).is_some());
    assert_eq!((run.phase(), run.told_phase()), (RunState::Cancelled, RunState::Queued));
    assert!(run.status(None).digest.is_none());
    // Each request is answered.
    assert!(run.wait_for_ending(ClientId(2)) && run.wait_for_ending(ClientId(2)));
    assert!(run.end(RunEnd::Failed, event, None).is_none(), "it ends once");
    let ending = run.take_ending().unwrap();
    assert_eq!(ending.waiting.into_iter().collect::<Vec<_>>(), [ClientId(2), ClientId(2)]);
    assert_eq!(run.told_phase(), RunState::Cancelled);
}

#[test]
fn a_run_that_is_taken_up_again_goes_on_with_its_events_but_for_the_last_one() {
    let mut table = RunTable::default();
    table.insert(queued(1));
    let run = RunId(1);
    table.record(run, RunEvent::Labelled { run, epochs: 1, examples: 2 });
    end(&mut table, 1, RunEnd::Cancelled);
    assert_eq!(table.get_mut(run).unwrap().follow(ClientId(1)).count(), 2);
    table.insert(queued(1));
    assert_eq!(table.get_mut(run).unwrap().follow(ClientId(1)).count(), 1);
}

#[test]
fn a_replay_is_abandoned_by_its_last_follower() {
    let mut table = RunTable::default();
    let key = SubmissionKey(7);
    let replay = NewRun { is_replay: true, key: Some(key), ..NewRun::queued(RunId(1)) };
    table.insert(Run::new(replay));
    for client in [1, 2] {
        let _ = table.get_mut(RunId(1)).unwrap().follow(ClientId(client));
    }
    assert_eq!(table.unfollow(ClientId(1)), []);
    assert!(table.find(key).is_some());
    assert_eq!(table.unfollow(ClientId(2)), [RunId(1)]);
    end(&mut table, 1, RunEnd::Cancelled);
    assert!(table.find(key).is_none(), "it is done again when it is submitted again");
}

#[test]
fn little_is_kept_of_runs_that_are_over_and_all_of_others() {
    let mut table = RunTable::default();
    let all = limits::RUNS as u64 + 3;
    for id in 1..=all {
        table.insert(queued(id));
        if id > 2 {
            let state = Arc::new(NetworkState::default());
            table.get_mut(RunId(id)).unwrap().set_final(state, Digest::of(b"state"));
            end(&mut table, id, RunEnd::Finished);
        }
    }
    table.forget_old();
    assert_eq!(table.iter().count(), limits::RUNS);
    let waits = |id| table.get(RunId(id)).is_some_and(|run| run.phase() == RunState::Queued);
    assert!(waits(1) && waits(2), "they are not over");
    assert!(table.get(RunId(3)).is_none() && table.get(RunId(all)).is_some());
    let kept = table.iter().filter(|run| run.state().is_some()).count();
    assert_eq!(kept, 8, "the last few can be fetched");
}
