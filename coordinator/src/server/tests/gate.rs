//! Messages to clients about ends and continued runs, while the disk is slow or full.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use common::id::{RunId, SubmissionKey};
use common::run_settings::RunSettings;
use common::run_state::RunEnd;
use common::wire::message::{FromClient, RunEvent, ToClient};

use super::peers::{TestPeer, TestServer};
use super::test_model;
use crate::ledger::LedgerReader;
use crate::runs::{Files, OsFiles, RunsFolder, WriteFile};
use crate::server::ServerConfig;

const RUN: RunId = RunId(1);

/// The system's files, but a test decides when one is renamed or removed.
struct Hindered<F>(F);

impl<F> fmt::Debug for Hindered<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hindered")
    }
}

impl<F: Fn(&Path) -> io::Result<()> + Send + Sync> Files for Hindered<F> {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        OsFiles.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(to)?;
        OsFiles.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        OsFiles.sync_folder(folder)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        OsFiles.create_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        (self.0)(path)?;
        OsFiles.remove(path)
    }
}

/// A server with a gate before one of its files.
pub(super) struct Gated {
    pub(super) folder: tempfile::TempDir,
    pub(super) server: TestServer,
    reached: Receiver<()>,
    pub(super) open: Sender<io::Result<()>>,
}

impl Gated {
    /// With a gate before all files of this name.
    fn new(file: &'static str) -> Self {
        Self::on(tempfile::tempdir().unwrap(), file)
    }

    /// The same on an existing folder.
    pub(super) fn on(folder: tempfile::TempDir, file: &'static str) -> Self {
        let (reached_gate, reached) = channel();
        let (open, opened) = channel();
        let opened = Mutex::new(opened);
        let gate = Hindered(move |path: &Path| {
            if path.ends_with(file) {
                let _ = reached_gate.send(());
                opened.lock().unwrap().recv().unwrap_or(Ok(()))?;
            }
            Ok(())
        });
        let runs = RunsFolder::open_with(folder.path(), Arc::new(gate)).unwrap();
        let server = TestServer::start_on(runs, ServerConfig::default());
        Self { folder, server, reached, open }
    }

    /// With a gate before the ends of runs, with run 1 in the queue, and its client.
    async fn start() -> (Self, TestPeer) {
        Self::start_of("").await
    }

    /// The same for a run with these parameters.
    async fn start_of(parameters: &str) -> (Self, TestPeer) {
        let gated = Self::new("outcome.json");
        let mut client = gated.server.client().await;
        let accepted = ToClient::Accepted { run: RUN, passed_over: None };
        assert_eq!(client.submit(&test_model::spec(parameters), None).await, Some(accepted));
        (gated, client)
    }

    fn is_over_on_disk(&self) -> bool {
        self.folder.path().join("1/outcome.json").exists()
    }

    /// Waits until such a file is about to be created or removed.
    pub(super) async fn reached(self) -> Self {
        let waited = tokio::task::spawn_blocking(move || {
            self.reached.recv().unwrap();
            self
        });
        waited.await.unwrap()
    }
}

/// The status of run 1.
async fn state(client: &mut TestPeer) -> String {
    client.say(FromClient::Status).await;
    match client.hear_client().await {
        Some(ToClient::Status(status)) => status.runs[0].state.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_submission_that_is_being_written_is_found_too() {
    for written in [Ok(()), Err(io::ErrorKind::StorageFull.into())] {
        let gated = Gated::new("run.json");
        let key = SubmissionKey(7);
        let mut first = gated.server.client().await;
        let sent =
            tokio::spawn(async move { first.submit_as(key, &test_model::spec(""), None).await });
        let gated = gated.reached().await;
        let mut second = gated.server.client().await;
        let data = test_model::dataset();
        let (train, test) = (data.train.manifest(), data.test.manifest());
        let (spec, settings) = (test_model::spec("").to_toml(), RunSettings::default());
        let (state, replay) = (None, None);
        second
            .say(FromClient::Submit {
                key,
                spec,
                schema: String::new(),
                train,
                test,
                state,
                settings,
                replay,
            })
            .await;
        second.say(FromClient::Status).await;
        let answer = second.hear_client().await;
        assert!(matches!(answer, Some(ToClient::Status(_))), "nobody may know yet: {answer:?}");
        let is_written = written.is_ok();
        gated.open.send(written).unwrap();
        for answer in [sent.await.unwrap(), second.hear_client().await] {
            match answer {
                Some(ToClient::Accepted { run: RUN, .. }) => assert!(is_written),
                Some(ToClient::Rejected { bad_input: false, .. }) => assert!(!is_written),
                other => panic!("{other:?}"),
            }
        }
        gated.server.shut_down().await;
    }
}

#[tokio::test]
async fn a_run_is_cancelled_once_that_is_on_disk() {
    let (gated, mut client) = Gated::start().await;
    client.say(FromClient::Cancel { run: RUN }).await;
    let gated = gated.reached().await;
    assert_eq!(state(&mut client).await, "queued", "nobody may know yet");
    gated.open.send(Ok(())).unwrap();
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run: RUN }));
    assert!(gated.is_over_on_disk());
    // A client that asks now finds the same in the history.
    let known = LedgerReader::open(gated.folder.path()).unwrap().run(RUN).unwrap();
    assert_eq!(known.unwrap().state, Some(RunEnd::Cancelled));
    assert_eq!(state(&mut client).await, "cancelled");
    gated.server.shut_down().await;
}

#[tokio::test]
async fn a_run_has_finished_once_that_is_on_disk() {
    let (gated, mut client) = Gated::start().await;
    gated.server.worker("worker", usize::MAX).await;
    let gated = gated.reached().await;
    assert_eq!(state(&mut client).await, "running", "nobody may know yet");
    client.say(FromClient::Fetch { run: RUN }).await;
    let answer = client.hear_client().await;
    assert!(matches!(answer, Some(ToClient::Rejected { .. })), "{answer:?}");
    // A client that asks now is told the end, too.
    client.say(FromClient::Follow { run: RUN }).await;
    assert_eq!(state_behind_events(&mut client).await, "running");
    gated.open.send(Ok(())).unwrap();
    let end = last_event(&mut client).await;
    let RunEvent::Finished { unsaved, .. } = end else { panic!("{end:?}") };
    assert_eq!(unsaved, None);
    assert!(gated.is_over_on_disk());
    gated.server.shut_down().await;
}

#[tokio::test]
async fn a_run_has_failed_once_that_is_on_disk() {
    // A round has 20 examples.
    let (gated, mut client) = Gated::start_of("panic_at = 40").await;
    gated.server.worker("worker", usize::MAX).await;
    let gated = gated.reached().await;
    client.say(FromClient::Follow { run: RUN }).await;
    assert_eq!(state_behind_events(&mut client).await, "running", "nobody may know yet");
    assert!(!gated.is_over_on_disk());
    gated.open.send(Ok(())).unwrap();
    let end = last_event(&mut client).await;
    let RunEvent::Failed { reason, .. } = end else { panic!("{end:?}") };
    assert!(reason.contains("40 examples are too many"), "{reason}");
    assert!(gated.is_over_on_disk());
    gated.server.shut_down().await;
}

#[tokio::test]
async fn a_run_is_taken_up_again_once_its_end_is_gone_from_the_disk() {
    let (gated, mut client) = Gated::start().await;
    gated.open.send(Ok(())).unwrap();
    client.say(FromClient::Cancel { run: RUN }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run: RUN }));
    let gated = gated.reached().await;
    let (run, settings) = (RUN, RunSettings::default());
    client.say(FromClient::Resume { run, settings, fork: None }).await;
    let gated = gated.reached().await;
    assert_eq!(state(&mut client).await, "cancelled", "nobody may know yet");
    assert!(gated.is_over_on_disk());
    gated.open.send(Ok(())).unwrap();
    let accepted = ToClient::Accepted { run: RUN, passed_over: None };
    assert_eq!(client.hear_client().await, Some(accepted));
    assert!(!gated.is_over_on_disk());
    assert_eq!(state(&mut client).await, "queued");
    gated.server.shut_down().await;
}

#[tokio::test]
async fn a_fork_is_accepted_once_it_is_on_disk() {
    let gated = Gated::new("run.json");
    let mut client = gated.server.client().await;
    gated.open.send(Ok(())).unwrap();
    client.submit(&test_model::spec(""), None).await;
    let gated = gated.reached().await;
    let (settings, fork) = (RunSettings::default(), Some(Vec::new()));
    client.say(FromClient::Resume { run: RUN, settings, fork }).await;
    let gated = gated.reached().await;
    client.say(FromClient::Status).await;
    let answer = client.hear_client().await;
    let Some(ToClient::Status(status)) = answer else { panic!("nobody may know yet: {answer:?}") };
    assert_eq!(status.runs.len(), 1);
    gated.open.send(Ok(())).unwrap();
    let accepted = ToClient::Accepted { run: RunId(2), passed_over: None };
    assert_eq!(client.hear_client().await, Some(accepted));
    assert!(gated.folder.path().join("2/run.json").exists());
    gated.server.shut_down().await;
}

/// The last event of a run; earlier ones may still be on their way.
async fn last_event(client: &mut TestPeer) -> RunEvent {
    loop {
        match client.hear_client().await {
            Some(ToClient::Event(event)) if event.is_last() => return event,
            Some(ToClient::Event(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The same, behind events that are not the last one.
async fn state_behind_events(client: &mut TestPeer) -> String {
    client.say(FromClient::Status).await;
    loop {
        match client.hear_client().await {
            Some(ToClient::Event(event)) => assert!(!event.is_last(), "{event:?}"),
            Some(ToClient::Status(status)) => return status.runs[0].state.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_end_that_cannot_be_written_is_told_by_name_and_can_be_tried_again() {
    let (gated, mut client) = Gated::start().await;
    let mut follower = gated.server.client().await;
    follower.say(FromClient::Follow { run: RUN }).await;
    assert_eq!(state_behind_events(&mut follower).await, "queued");
    gated.open.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    client.say(FromClient::Cancel { run: RUN }).await;
    let answer = client.hear_client().await;
    let Some(ToClient::Rejected { bad_input: false, reason }) = answer else {
        panic!("{answer:?}")
    };
    let is_named = |text: &str| text.contains("outcome.json: ") && text.contains("cancel the run");
    assert!(is_named(&reason), "{reason}");
    let end = last_event(&mut follower).await;
    let RunEvent::Failed { reason, .. } = end else { panic!("{end:?}") };
    assert!(is_named(&reason), "{reason}");

    gated.open.send(Ok(())).unwrap();
    client.say(FromClient::Cancel { run: RUN }).await;
    assert_eq!(client.hear_client().await, Some(ToClient::Cancelled { run: RUN }));
    assert!(gated.is_over_on_disk());
    let told = client.follow(RUN).await;
    assert_eq!(told.last(), Some(&RunEvent::Cancelled { run: RUN }));
    gated.server.shut_down().await;
}

#[tokio::test]
async fn a_run_that_is_cancelled_and_resumed_goes_on_whatever_happens_then() {
    let (gated, mut client) = Gated::start().await;
    let mut other = gated.server.client().await;
    client.say(FromClient::Cancel { run: RUN }).await;
    let gated = gated.reached().await;
    let (run, settings) = (RUN, RunSettings::default());
    other.say(FromClient::Resume { run, settings, fork: None }).await;
    let (folder, open) = (gated.folder.path().to_owned(), gated.open.clone());
    // The engine has both before the disk continues.
    let mut third = gated.server.client().await;
    third.say(FromClient::Cancel { run: RUN }).await;
    let answer = third.hear_client().await;
    let Some(ToClient::Rejected { bad_input: false, reason }) = answer else {
        panic!("nobody may be told that it stays cancelled: {answer:?}")
    };
    assert!(reason.contains("is being resumed"), "{reason}");
    // Its end is written, and then removed.
    (0..2).for_each(|_| open.send(Ok(())).unwrap());
    let accepted = ToClient::Accepted { run: RUN, passed_over: None };
    assert_eq!(other.hear_client().await, Some(accepted));
    gated.server.shut_down().await;
    assert!(!folder.join("1/outcome.json").exists(), "it would be over for the next coordinator");
}

#[tokio::test]
async fn a_disk_that_stays_full_is_told_of_once() {
    let folder = tempfile::tempdir().unwrap();
    // There is no memory for any state.
    let full = Hindered(|path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("round-") { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let runs = RunsFolder::open_with(folder.path(), Arc::new(full)).unwrap();
    let server = TestServer::start_on(runs, ServerConfig::default());
    let mut client = server.client().await;
    client.submit(&test_model::spec(""), None).await;
    let mut follower = server.client().await;
    follower.say(FromClient::Follow { run: RUN }).await;
    server.worker("worker", usize::MAX).await;
    let (mut rounds, mut failures) = (0, 0);
    let last = loop {
        match follower.hear_client().await {
            Some(ToClient::Event(RunEvent::Round { .. })) => rounds += 1,
            Some(ToClient::Event(RunEvent::CheckpointFailed { .. })) => failures += 1,
            Some(ToClient::Event(event)) if event.is_last() => break event,
            Some(ToClient::Event(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(rounds > 1, "there was more than one to fail");
    assert_eq!(failures, 1);
    let RunEvent::Finished { unsaved, .. } = last else { panic!("{last:?}") };
    assert!(unsaved.is_some(), "the end says so once more");
    server.shut_down().await;
}
