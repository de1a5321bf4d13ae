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

/// The next event. A coordinator that is gone may come back, and go on with
/// the run: it is waited for, however often it goes, until `patience` is over.
pub(super) async fn next_event(
    client: &mut Client,
    run: RunId,
    patience: Duration,
) -> Result<RunEvent, ClientError> {
    let end = Instant::now() + patience;
    loop {
        match client.next_event().await {
            Err(error) => come_back(client, error, end).await?,
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
    let end = Instant::now() + patience;
    loop {
        match client.fetch(run).await {
            Err(error) => come_back(client, error, end).await?,
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

/// Waits for a coordinator that was lost, until `end`. Gives back any other
/// error.
async fn come_back(
    client: &mut Client,
    error: ClientError,
    end: Instant,
) -> Result<(), ClientError> {
    let patience = end.saturating_duration_since(Instant::now());
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
