//! Runs that were started with the numeric profile of another build: this build computes no step of
//! them.

use std::path::Path;

use common::id::{RunId, RunIdentity};
use common::run_settings::RunSettings;
use common::wire::message::{FromClient, NUMERIC_PROFILE, RunEvent, ToClient};

use super::durable::finished;
use super::peers::TestServer;
use super::test_model;
use crate::rerun::Rerun;
use crate::runs::{RunsFolder, SubmissionRecord};
use crate::server::ServerConfig;

/// Run 1 has finished, run 2 has not begun.
const RUNS: [RunId; 2] = [RunId(1), RunId(2)];

/// That of builds in which what decayed stayed subnormal.
const ANOTHER: &str = "samebit-f32-1/libm-0.2.16";

/// A folder with both, of another profile.
async fn of_another_profile(folder: &Path) {
    finished(folder).await;
    let runs = RunsFolder::open(folder).unwrap();
    let submission = runs.submission(RUNS[0]).unwrap();
    assert_eq!(submission.numeric_profile, NUMERIC_PROFILE);
    let submission = SubmissionRecord { numeric_profile: ANOTHER.into(), ..submission };
    runs.update_submission(&submission).unwrap();
    let (run, identity) = (RUNS[1], RunIdentity(2));
    runs.write_submission(&SubmissionRecord { run, identity, ..submission }, None).unwrap();
}

fn is_named(reason: &str) -> bool {
    let expected = format!("expected numeric profile {ANOTHER:?}");
    reason.contains(&expected) && reason.contains(NUMERIC_PROFILE)
}

#[tokio::test]
async fn a_run_of_another_numeric_profile_is_set_aside() {
    let scratch = tempfile::tempdir().unwrap();
    of_another_profile(scratch.path()).await;
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let mut client = server.client().await;
    client.say(FromClient::Status).await;
    let Some(ToClient::Status(status)) = client.hear_client().await else { panic!("a status") };
    let states: Vec<(RunId, &str)> =
        status.runs.iter().map(|run| (run.id, run.state.name())).collect();
    assert!(states.contains(&(RUNS[1], "set aside")), "{states:?}");
    let told = client.follow(RUNS[1]).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    assert!(is_named(reason), "{reason}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_run_of_another_numeric_profile_is_not_taken_up() {
    let scratch = tempfile::tempdir().unwrap();
    of_another_profile(scratch.path()).await;
    let server = TestServer::start_in(scratch.path(), ServerConfig::default());
    let mut client = server.client().await;
    for (run, fork) in [(RUNS[0], Some(Vec::new())), (RUNS[1], None)] {
        let settings = RunSettings::default();
        client.say(FromClient::Resume { run, settings, fork }).await;
        let answer = client.hear_client().await;
        let Some(ToClient::Rejected { bad_input: true, reason }) = answer else {
            panic!("{answer:?}")
        };
        assert!(is_named(&reason), "{reason}");
    }
    server.shut_down().await;
}

/// Like `verify` and `replay`.
#[tokio::test]
async fn a_run_of_another_numeric_profile_is_not_done_again() {
    let scratch = tempfile::tempdir().unwrap();
    finished(scratch.path()).await;
    let open = || {
        let folder = RunsFolder::read(scratch.path()).unwrap();
        Rerun::open(folder, &test_model::registry(), RUNS[0]).map_err(|error| error.to_string())
    };
    open().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    of_another_profile(elsewhere.path()).await;
    let folder = RunsFolder::read(elsewhere.path()).unwrap();
    let error = Rerun::open(folder, &test_model::registry(), RUNS[0]).unwrap_err().to_string();
    assert!(is_named(&error), "{error}");
}
