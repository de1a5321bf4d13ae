//! A client's retries while its coordinator is unreachable (`--patience`).

use std::time::Duration;

use clap::Args;
use common::id::RunId;
use common::limits;
use common::wire::message::{RunEvent, Status};
use common::wire::tls::CallerTls;
use tokio::time::{Instant, sleep};

use super::progress::tell;
use crate::client::{Client, ClientError, Deduplication, Fetched, Submission};

/// Longest time to retry an unreachable coordinator, in seconds.
const LONGEST_PATIENCE: u64 = 7 * 24 * 3600;

/// How long to retry an unreachable coordinator.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct ReconnectTimeout {
    /// How long to retry if the coordinator cannot be reached, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(..=LONGEST_PATIENCE))]
    patience: u64,
}

impl ReconnectTimeout {
    /// The time.
    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

/// The time spent on retries: from when the connection was lost, even if the coordinator
/// comes back and is lost again before it has sent anything.
#[derive(Debug)]
pub(super) struct Wait {
    patience: Duration,
    end: Option<Instant>,
}

impl Wait {
    /// The coordinator is reachable.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, end: None }
    }

    /// The remaining time, for a coordinator that is unreachable now.
    fn left(&mut self, now: Instant) -> Duration {
        let end = *self.end.get_or_insert_with(|| now + self.patience);
        end.saturating_duration_since(now)
    }

    /// The remaining time after an error, which is printed. Returns the error if retries
    /// cannot help.
    pub(super) async fn for_another(
        &mut self,
        error: ClientError,
    ) -> Result<Duration, ClientError> {
        let patience = self.left(Instant::now());
        if !error.may_pass() || patience.is_zero() {
            return Err(error);
        }
        tell(&[format!("{error}; trying again for {:.0} s", patience.as_secs_f64())]);
        // Without a pause, a coordinator that accepts and drops connections would be
        // asked in a busy loop.
        sleep(limits::RECONNECT_MIN).await;
        Ok(patience)
    }
}

/// A connection to a coordinator that may be unreachable at first.
pub(super) async fn connect(
    address: &str,
    tls: Option<&CallerTls>,
    wait: &mut Wait,
) -> Result<Client, ClientError> {
    match Client::connect(address, tls).await {
        Err(error) => {
            let patience = wait.for_another(error).await?;
            Client::connect_within(address, tls, patience).await
        }
        connected => connected,
    }
}

/// Submits a run to a coordinator that may be unreachable for a while. A submission that
/// was accepted but not confirmed is not made twice.
pub(super) async fn submit(
    (address, tls): (&str, Option<&CallerTls>),
    submission: &Submission,
    wait: &mut Wait,
) -> Result<(Client, RunId), ClientError> {
    let mut client = connect(address, tls, wait).await?;
    loop {
        match client.submit(submission).await {
            Err(error) => come_back(&mut client, error, wait).await?,
            Ok(run) => return Ok((client, run)),
        }
    }
}

/// The next new event. If the coordinator is lost, it may come back and continue the run:
/// this retries, however often it is lost, until `patience` is over.
pub(super) async fn next_event(
    client: &mut Client,
    run: RunId,
    patience: Duration,
    seen: &mut Deduplication,
) -> Result<RunEvent, ClientError> {
    let mut wait = Wait::new(patience);
    loop {
        match client.next_event().await {
            Ok(event) if seen.is_news(&event) => return Ok(event),
            // The coordinator is reachable and sends events of the run.
            Ok(_) => {
                wait = Wait::new(patience);
                continue;
            }
            Err(error) => come_back(client, error, &mut wait).await?,
        }
        seen.reconnected();
        follow_on(client, run).await?;
    }
}

/// The final state of a run and its metadata, from a coordinator that may be unreachable
/// for a while.
pub(super) async fn fetch(
    client: &mut Client,
    run: RunId,
    patience: Duration,
) -> Result<Fetched, ClientError> {
    let mut wait = Wait::new(patience);
    loop {
        match client.fetch(run).await {
            Err(error) => come_back(client, error, &mut wait).await?,
            fetched => return fetched,
        }
    }
}

/// Asks for a run's events. If the coordinator is already lost, reading the next event
/// fails.
pub(super) async fn follow_on(client: &mut Client, run: RunId) -> Result<(), ClientError> {
    match client.follow(run).await {
        Err(ClientError::Lost { .. }) => Ok(()),
        followed => followed,
    }
}

/// The runs of a coordinator that may be unreachable for a while.
pub(super) async fn status(client: &mut Client, wait: &mut Wait) -> Result<Status, ClientError> {
    loop {
        match client.status().await {
            Err(error) => come_back(client, error, wait).await?,
            status => return status,
        }
    }
}

/// Waits for a coordinator that was lost. Returns any other error.
async fn come_back(
    client: &mut Client,
    error: ClientError,
    wait: &mut Wait,
) -> Result<(), ClientError> {
    let patience = wait.for_another(error).await?;
    client.reconnect(patience).await
}

#[cfg(test)]
mod tests {
    use common::model::Registry;
    use common::run_settings::RunSettings;
    use common::spec::RunSpec;
    use common::wire::codec::{self, FrameReader};
    use common::wire::message::{FromClient, Hello, ToClient, Welcome};
    use tokio::net::TcpListener;
    use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

    use super::*;

    #[test]
    fn patience_begins_with_the_loss_and_not_again_with_the_next() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut wait = Wait::new(60 * second);
        // Silence of an hour before the loss does not shorten the time.
        let lost = start + 3600 * second;
        assert_eq!(wait.left(lost), 60 * second);
        assert_eq!(wait.left(lost + 50 * second), 10 * second);
        assert_eq!(wait.left(lost + 61 * second), Duration::ZERO);
        assert_eq!(Wait::new(Duration::ZERO).left(lost), Duration::ZERO);
    }

    /// Takes the next connection; gives its messages, the first of which is read.
    async fn accept(
        listener: &TcpListener,
    ) -> (FrameReader<OwnedReadHalf>, OwnedWriteHalf, FromClient) {
        let (read, mut write) = listener.accept().await.unwrap().0.into_split();
        let mut reader = FrameReader::new(read, limits::HANDSHAKE_FRAME_BYTES);
        let _: Hello = codec::decode(&reader.next().await.unwrap().unwrap()).unwrap();
        let (build, worker, heartbeat_timeout_ms) = ("test".into(), None, 60_000);
        let welcome = Welcome::Accepted { build, worker, heartbeat_timeout_ms };
        codec::write(&mut write, &codec::encode(welcome)).await.unwrap();
        reader.set_limit(limits::FRAME_BYTES);
        loop {
            match codec::decode(&reader.next().await.unwrap().unwrap()).unwrap() {
                FromClient::Heartbeat => {}
                message => return (reader, write, message),
            }
        }
    }

    #[tokio::test]
    async fn a_submission_is_sent_again_by_its_key_until_it_is_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let coordinator = tokio::spawn(async move {
            drop(listener.accept().await.unwrap());
            let (reader, write, first) = accept(&listener).await;
            drop((reader, write));
            let (reader, mut write, second) = accept(&listener).await;
            assert_eq!(first, second);
            let FromClient::Submit { key, .. } = second else { panic!("{second:?}") };
            let accepted = ToClient::Accepted { run: RunId(7), passed_over: None };
            codec::write(&mut write, &codec::encode(accepted)).await.unwrap();
            (key, reader, write)
        });
        let submission = Submission::prepare(
            &Registry::standard(),
            RunSpec::default_digits(),
            None,
            RunSettings::default(),
        );
        let submission = submission.unwrap();
        // A bound on hanging, not an expectation.
        let mut wait = Wait::new(Duration::from_secs(600));
        let submitted = submit((&address, None), &submission, &mut wait).await;
        assert_eq!(submitted.unwrap().1, RunId(7));
        coordinator.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_asks_of_a_run_asks_again_when_the_coordinator_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let coordinator = tokio::spawn(async move {
            let (reader, write, first) = accept(&listener).await;
            drop((reader, write));
            let (reader, mut write, second) = accept(&listener).await;
            assert_eq!((first, second), (FromClient::Status, FromClient::Status));
            let status = Status {
                build: "test".into(),
                insecure: false,
                refused: 0,
                unrecorded: None,
                thinned: false,
                workers: Vec::new(),
                runs: Vec::new(),
            };
            codec::write(&mut write, &codec::encode(ToClient::Status(status))).await.unwrap();
            (reader, write)
        });
        // A bound on hanging, not an expectation.
        let mut wait = Wait::new(Duration::from_secs(600));
        let mut client = connect(&address, None, &mut wait).await.unwrap();
        assert_eq!(status(&mut client, &mut wait).await.unwrap().build, "test");
        coordinator.await.unwrap();
    }

    #[tokio::test]
    async fn a_coordinator_that_is_not_there_yet_is_waited_for() {
        // Of an address that no other test has, so that nobody takes the port meanwhile.
        let listener = TcpListener::bind("127.0.24.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        // A bound on hanging, not an expectation.
        let mut wait = Wait::new(Duration::from_secs(600));
        let address_text = address.to_string();
        let mut connecting = Box::pin(connect(&address_text, None, &mut wait));
        // Its first attempt has failed, as no coordinator was listening.
        tokio::select! {
            biased;
            connected = &mut connecting => panic!("nobody is there: {connected:?}"),
            () = std::future::ready(()) => {}
        }
        let listener = TcpListener::bind(address).await.unwrap();
        let coordinator = tokio::spawn(async move { accept(&listener).await.2 });
        let mut client = connecting.await.unwrap();
        client.follow(RunId(7)).await.unwrap();
        assert_eq!(coordinator.await.unwrap(), FromClient::Follow { run: RunId(7) });
    }

    #[tokio::test]
    async fn whoever_has_no_patience_is_told_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = connect(&address, None, &mut Wait::new(Duration::ZERO)).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    }
}
