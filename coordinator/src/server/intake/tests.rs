use std::sync::Arc;

use common::dataset::Dataset;
use common::id::{RunId, SubmissionKey};
use common::run_settings::RunSettings;
use common::spec::Split;
use common::wire::message::ToClient;
use tokio::sync::Semaphore;

use super::*;
use crate::server::net::{ClientId, Permit};
use crate::server::tests::test_model;

const CLIENT: ClientId = ClientId(7);

fn permit() -> Permit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

fn request(data: &Dataset) -> Request {
    Request {
        key: SubmissionKey(1),
        spec: test_model::spec("").to_toml(),
        schema: String::new(),
        train: data.train.manifest(),
        test: data.test.manifest(),
        state: None,
        settings: RunSettings::default(),
        replay: None,
    }
}

fn intake(data_memory: u64) -> Intake {
    Intake::new(test_model::registry(), data_memory)
}

/// Runs all jobs that come of an effect, and answers what is asked for with `data`; gives
/// what is left.
fn settle(intake: &mut Intake, first: Effect, data: &Dataset) -> Vec<Effect> {
    let (mut waiting, mut left) = (vec![first], Vec::new());
    while let Some(effect) = waiting.pop() {
        match effect {
            Effect::Run(job) => waiting.extend(intake.on_done(job()).1),
            Effect::Send(ToClient::NeedChunks { split, chunks }) => {
                for chunk in chunks {
                    let content = data.split(split).chunk(chunk as usize);
                    let place = (split, chunk);
                    let sent = intake.on_chunk(CLIENT, place, content, None, permit());
                    waiting.extend(sent.unwrap());
                }
            }
            other => left.push(other),
        }
    }
    left
}

#[test]
fn a_submission_becomes_a_run_once_all_of_it_is_here() {
    let (mut intake, data) = (intake(1 << 30), test_model::dataset());
    let first = intake.begin(CLIENT, request(&data), 0);
    assert!(intake.is_submitting(CLIENT));
    let mut left = settle(&mut intake, first, &data);
    let Some(Effect::Complete(mut complete)) = left.pop() else { panic!("it is all here") };
    assert!(left.is_empty() && !intake.is_submitting(CLIENT));
    let held = intake.store().bytes();
    assert!(held > 0, "its examples, and its state while it waits");
    let run = complete.make_run(RunId(3)).unwrap();
    assert_eq!((run.id(), run.key()), (RunId(3), Some(SubmissionKey(1))));
    assert!(run.state().is_some() && run.reserved() > 0);
    intake.drop_complete(&complete);
    assert_eq!(intake.store().bytes(), 0);
}

#[test]
fn what_does_not_become_a_run_gives_back_all_that_it_held() {
    let data = test_model::dataset();
    // It is rejected, for a chunk that is another one; its client goes away.
    for is_rejected in [true, false] {
        let mut intake = intake(1 << 30);
        let Effect::Run(job) = intake.begin(CLIENT, request(&data), 0) else { panic!("a job") };
        let (_, effects) = intake.on_done(job());
        let chunks = effects.iter().filter(|effect| matches!(effect, Effect::Send(_)));
        assert_eq!(chunks.count(), 2, "of both splits");
        let (split, wrong) = (Split::Train, bytes::Bytes::from_static(b"wrong"));
        let sent = intake.on_chunk(CLIENT, (split, 0), wrong, None, permit()).unwrap();
        if is_rejected {
            let [Effect::Run(job)] = <[Effect; 1]>::try_from(sent).ok().unwrap() else {
                panic!("it is checked")
            };
            let (_, effects) = intake.on_done(job());
            let is_bad =
                |effect: &Effect| matches!(effect, Effect::Reject(error) if error.is_bad_input());
            assert!(effects.iter().any(is_bad));
            // What still comes of it is dropped.
            let more = data.split(split).chunk(0);
            let sent = intake.on_chunk(CLIENT, (split, 0), more, None, permit());
            assert!(sent.is_ok_and(|effects| effects.is_empty()));
        } else {
            intake.forget(CLIENT);
        }
        // The state that the model makes comes late.
        for effect in effects {
            if let Effect::Run(job) = effect {
                assert!(intake.on_done(job()).1.is_empty());
            }
        }
        assert_eq!(intake.store().bytes(), 0, "rejected: {is_rejected}");
    }
}

#[test]
fn there_is_room_for_a_submission_or_it_is_rejected() {
    let data = test_model::dataset();
    let mut intake = intake(10);
    let rejected = intake.begin(CLIENT, request(&data), 0);
    let Effect::Reject(error) = rejected else { panic!("there is no room") };
    assert!(!error.is_bad_input() && error.to_string().contains("`data_memory`"), "{error}");
    let full = intake.begin(CLIENT, request(&data), common::limits::RUNS);
    assert!(matches!(full, Effect::Reject(error) if error.to_string().contains("runs are queued")));
    assert_eq!(intake.store().bytes(), 0);
}

#[test]
fn what_was_not_asked_for_ends_the_connection() {
    let (mut intake, data) = (intake(1 << 30), test_model::dataset());
    let chunk = || data.split(Split::Train).chunk(0);
    let sent = intake.on_chunk(CLIENT, (Split::Train, 0), chunk(), None, permit());
    assert!(sent.is_err_and(|error| error.contains("without a submission")));
    assert!(intake.on_state_segment(CLIENT, 0, &[]).is_err());
    let _ = intake.begin(CLIENT, request(&data), 0);
    let sent = intake.on_chunk(CLIENT, (Split::Train, 0), chunk(), None, permit());
    assert!(sent.is_err_and(|error| error.contains("was not asked for")));
    assert!(intake.on_state_segment(CLIENT, 0, &[]).is_err(), "the model makes the state");
}

#[test]
fn other_clients_of_a_submission_are_told_once_it_is_written() {
    let (mut intake, key) = (intake(1 << 30), SubmissionKey(1));
    assert!(!intake.joins_writing(key, ClientId(1)));
    intake.begin_writing(key);
    assert!(intake.joins_writing(key, ClientId(2)) && intake.joins_writing(key, ClientId(3)));
    let others: Vec<ClientId> = intake.end_writing(key).into_iter().collect();
    assert_eq!(others, [ClientId(2), ClientId(3)]);
    assert!(!intake.joins_writing(key, ClientId(4)));
}
