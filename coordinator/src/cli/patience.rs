//! A coordinator that goes and comes back, as whoever follows a run sees it.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use common::id::RunId;
use common::limits;
use common::spec::RunSpec;
use common::state::NetworkState;
use common::wire::message::RunEvent;
use tokio::time::{Instant, sleep};

use crate::client::{Client, ClientError};

/// Longest wait for a coordinator that is gone to come back, in seconds.
const LONGEST_PATIENCE: u64 = 7 * 24 * 3600;

/// How long a coordinator is waited for that is gone.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Patience {
    /// Wait so long for a coordinator that is gone to come back, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(..=LONGEST_PATIENCE))]
    pub(super) patience: u64,
}

/// The wait for a coordinator that is gone: from when it went on, however often
/// it comes back and goes again before it has said anything.
#[derive(Debug)]
struct Wait {
    patience: Duration,
    end: Option<Instant>,
}

impl Wait {
    /// Nobody is waited for yet.
    fn new(patience: Duration) -> Self {
        Self { patience, end: None }
    }

    /// What is left of it, for a coordinator that is gone now.
    fn left(&mut self, now: Instant) -> Duration {
        let end = *self.end.get_or_insert_with(|| now + self.patience);
        end.saturating_duration_since(now)
    }
}

/// The next event. A coordinator that is gone may come back, and go on with
/// the run: it is waited for, however often it goes, until `patience` is over.
pub(super) async fn next_event(
    client: &mut Client,
    run: RunId,
    patience: Duration,
) -> Result<RunEvent, ClientError> {
    let mut wait = Wait::new(patience);
    loop {
        match client.next_event().await {
            Err(error) => come_back(client, error, &mut wait).await?,
            event => return event,
        }
        follow_on(client, run).await?;
    }
}

/// The final state of a run and its spec, from a coordinator that may be gone
/// for a while.
pub(super) async fn fetch(
    client: &mut Client,
    run: RunId,
    patience: Duration,
) -> Result<(NetworkState, RunSpec), ClientError> {
    let mut wait = Wait::new(patience);
    loop {
        match client.fetch(run).await {
            Err(error) => come_back(client, error, &mut wait).await?,
            fetched => return fetched,
        }
    }
}

/// Asks for a run's events. Whether the coordinator is lost already, the next
/// event will tell.
pub(super) async fn follow_on(client: &mut Client, run: RunId) -> Result<(), ClientError> {
    match client.follow(run).await {
        Err(ClientError::Lost { .. }) => Ok(()),
        followed => followed,
    }
}

/// Waits for a coordinator that was lost. Gives back any other error.
async fn come_back(
    client: &mut Client,
    error: ClientError,
    wait: &mut Wait,
) -> Result<(), ClientError> {
    let patience = wait.left(Instant::now());
    let ClientError::Lost { address, reason } = &error else { return Err(error) };
    if patience.is_zero() {
        return Err(error);
    }
    // Whoever closed standard error does not want to know.
    let _ = writeln!(
        std::io::stderr(),
        "lost the coordinator at {address} ({reason}): trying again for {:.0} s",
        patience.as_secs_f64()
    );
    // One that takes connections and drops them is not asked without a pause.
    sleep(limits::RECONNECT_MIN).await;
    client.reconnect(patience).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_begins_with_the_loss_and_not_again_with_the_next() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut wait = Wait::new(60 * second);
        // Whoever was silent for an hour before it was lost has all of it.
        let lost = start + 3600 * second;
        assert_eq!(wait.left(lost), 60 * second);
        assert_eq!(wait.left(lost + 50 * second), 10 * second);
        assert_eq!(wait.left(lost + 61 * second), Duration::ZERO);
        assert_eq!(Wait::new(Duration::ZERO).left(lost), Duration::ZERO);
    }
}
