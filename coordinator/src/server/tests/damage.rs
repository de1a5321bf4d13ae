//! Damaged files of a runs folder: the result is the same, or clients are told the reason.

use std::fs;
use std::path::Path;

use common::id::RunId;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::durable::finished;
use super::peers::TestServer;
use super::test_model;
use crate::runs::RunsFolder;
use crate::server::ServerConfig;

/// Flips a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The events of run 1 from a coordinator that starts on the folder, with a worker.
async fn followed(folder: &Path) -> Vec<RunEvent> {
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let events = server.client().await.follow(RunId(1)).await;
    server.shut_down().await;
    events
}

#[tokio::test]
async fn a_run_with_damaged_records_ends_as_it_would_and_says_what_was_passed_over() {
    for files in [&["outcome.json"][..], &["run.json"], &["run.json", "outcome.json"]] {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let expected = finished(folder).await;
        let Some(RunEvent::Finished { digest: expected, .. }) = expected.last() else { panic!() };
        files.iter().for_each(|file| damage(&folder.join("1").join(file)));
        let events = followed(folder).await;
        let Some(RunEvent::Finished { digest, .. }) = events.last() else { panic!("{events:?}") };
        assert_eq!(digest, expected, "{files:?}");
        if files.contains(&"outcome.json") {
            let told = events.iter().find_map(|event| match event {
                RunEvent::Resumed { passed_over, .. } => passed_over.clone(),
                _ => None,
            });
            let told = told.expect("what was skipped");
            assert!(files.iter().all(|file| told.contains(file)), "{told}");
        }
        let runs = RunsFolder::read(folder).unwrap();
        let outcome = runs.outcome(&runs.submission(RunId(1)).unwrap()).unwrap().unwrap();
        assert_eq!(outcome.digest, Some(*expected), "it is on disk again");
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_restored_is_set_aside_and_its_number_stays_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    finished(folder).await;
    let run = folder.join("1");
    for entry in fs::read_dir(&run).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("round-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    damage(&run.join("run.json"));
    let before = fs::read(run.join("run.json")).unwrap();
    let server = TestServer::start_in(folder, ServerConfig::default());
    server.worker("worker", usize::MAX).await;
    let mut client = server.client().await;
    let told = client.follow(RunId(1)).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    assert!(reason.contains("run.json: expected an intact record"), "{reason}");
    client.submit(&test_model::spec(""), None).await;
    let events = client.follow(RunId(2)).await;
    assert!(matches!(events.last(), Some(RunEvent::Finished { .. })), "{events:?}");
    server.shut_down().await;
    assert_eq!(fs::read(run.join("run.json")).unwrap(), before);
}

#[tokio::test]
async fn a_run_that_is_set_aside_can_be_cancelled_where_its_records_can_be_written() {
    for is_readable in [true, false] {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let server = TestServer::start_in(folder, ServerConfig::default());
        server.client().await.submit(&test_model::spec(""), None).await;
        server.shut_down().await;
        let data = folder.join("data");
        if is_readable {
            fs::rename(&data, folder.join("elsewhere")).unwrap();
        } else {
            damage(&folder.join("1/run.json"));
        }
        let server = TestServer::start_in(folder, ServerConfig::default());
        let mut client = server.client().await;
        client.say(FromClient::Cancel { run: RunId(1) }).await;
        let answer = client.hear_client().await;
        if is_readable {
            assert_eq!(answer, Some(ToClient::Cancelled { run: RunId(1) }));
            let told = client.follow(RunId(1)).await;
            assert_eq!(told.last(), Some(&RunEvent::Cancelled { run: RunId(1) }));
        } else {
            let Some(ToClient::Rejected { reason, .. }) = answer else { panic!("{answer:?}") };
            assert!(reason.contains("is set aside, and its records cannot be read"), "{reason}");
        }
        server.shut_down().await;
        if is_readable {
            // Also after the damage is repaired.
            fs::remove_dir(&data).unwrap();
            fs::rename(folder.join("elsewhere"), &data).unwrap();
            let told = followed(folder).await;
            assert_eq!(told.last(), Some(&RunEvent::Cancelled { run: RunId(1) }));
        }
    }
}

#[tokio::test]
async fn a_record_of_another_format_is_set_aside_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    finished(folder).await;
    let old = "{\"format\": 1, \"run\": 1}";
    fs::write(folder.join("1/run.json"), old).unwrap();
    let told = followed(folder).await;
    let Some(RunEvent::Failed { reason, .. }) = told.last() else { panic!("{told:?}") };
    assert!(reason.contains("expected a record of format 2, found format 1"), "{reason}");
    assert_eq!(fs::read_to_string(folder.join("1/run.json")).unwrap(), old);
}
