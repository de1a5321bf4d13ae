//! The coordinator's sockets, timers and tensors.
//!
//! ```text
//! door ─▶ connection (reads, checks) ─▶ engine (decides) ─▶ outbox (writes)
//!                                         │    ▲
//!                                         ▼    │
//!                                    jobs on other threads
//! ```
//!
//! | file | what |
//! |---|---|
//! | `door` | who is let in, and how long that may take |
//! | `connection` | reading, signs of life |
//! | `outbox` | what waits to be sent: control before data |
//! | `liveness` | who is heard, and who no longer |
//! | `engine` | the one loop: events in, the scheduler's actions out |
//! | `worker`, `client` | what is made of their messages |
//! | `lifecycle` | a run starts, ends, and is forgotten |
//! | `upload`, `submitted`, `store` | submissions on their way in; chunks of examples |
//! | `run`, `active`, `shards`, `clock` | what is remembered of a run; the active one |
//! | `durable`, `history`, `recorder` | what is written to the runs folder, and when |
//! | `seldom` | what is not logged every time it happens |
//! | `recover`, `remember`, `resume` | runs that go on, and their history |
//! | `starts` | runs that their coordinator does not survive |
//! | `events` | what those who follow a run later are told |
//! | `merge`, `settle` | from partials to the next state |
//! | `jobs` | work on other threads, and for which life of a run it counts |
//! | `steps`, `ending` | from one step to the next; the end of a run |

mod active;
mod audit;
mod client;
mod clock;
mod connection;
mod door;
mod durable;
mod ending;
mod engine;
mod events;
mod finished;
mod history;
mod jobs;
mod lifecycle;
mod liveness;
mod load;
mod merge;
mod outbox;
mod parting;
mod reading;
mod recorder;
mod recover;
mod remember;
mod resume;
mod run;
mod seldom;
mod settle;
mod shards;
mod starts;
mod step_log;
mod steps;
mod store;
mod submitted;
#[cfg(test)]
mod tests;
mod upload;
mod warnings;
mod worker;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::model::Registry;
use common::wire::tls::CoordinatorTls;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use door::{Bounds, Door};
pub use durable::{KEEP_CHECKPOINTS, OnCheckpointError, RunsConfig};
use engine::{Engine, Event};

/// Changes what is logged while a run is active; `None` goes back.
pub type LogBy = fn(Option<&str>) -> Result<(), String>;

/// Settings of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Settings of the scheduler.
    pub scheduler: crate::scheduler::Config,
    /// Most bytes of pulled segments in memory at one time; less for a state
    /// that is small itself.
    pub merge_memory: u64,
    /// Most bytes of example data, and of states that wait with their runs.
    pub data_memory: u64,
    /// Where runs are kept; without it, they end with this coordinator.
    pub runs: Option<RunsConfig>,
    /// Logs by a run's own filter; without it, runs have none.
    pub log_by: Option<LogBy>,
    /// What the coordinator proves itself by; without it, everybody is let in.
    pub tls: Option<CoordinatorTls>,
    /// Whether other hosts can reach it although it has no keys. Every status
    /// says so.
    pub insecure: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler: Default::default(),
            merge_memory: 64 << 20,
            data_memory: 8 << 30,
            runs: None,
            log_by: None,
            tls: None,
            insecure: false,
        }
    }
}

/// First wait after a connection could not be accepted; doubled up to
/// [`ACCEPT_WAIT_MAX`].
const ACCEPT_WAIT: Duration = Duration::from_millis(10);

/// Longest wait after a connection could not be accepted (no file descriptor
/// left, mostly).
const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Time that connections have to take what was sent to them before a
/// shutdown.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Serves workers and clients on `listener` until `shutdown`, then says
/// goodbye to all and returns.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let (events, inbox) = mpsc::channel(engine::EVENTS);
    let door = Arc::new(Door::new(events.clone(), &config, Bounds::of_this_process()));
    let refusals = door.refusals.clone();
    let mut engine = Engine::new(config.clone(), registry.clone(), events.clone(), refusals);
    if let Some(runs) = config.runs {
        let folder = runs.folder.clone();
        let bytes = runs.history_bytes;
        let reading = tokio::task::spawn_blocking(move || recover::recover(&folder, bytes));
        let (recovered, history) = tokio::select! {
            read = reading => read.map_err(std::io::Error::other)?,
            () = &mut shutdown => {
                info!("stopped while the runs folder was being read");
                return Ok(());
            }
        };
        engine.keep_runs(runs, events.clone(), history, recovered)?;
    }
    let mut engine = tokio::spawn(engine.run(inbox));
    let mut connections = JoinSet::new();
    info!("listening on {}", listener.local_addr()?);
    let ended = tokio::select! {
        () = accept(&listener, &door, &mut connections) => None,
        () = &mut shutdown => None,
        ended = &mut engine => Some(ended),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // If the engine is gone by now, that comes out below.
            let _ = events.send(Event::Shutdown).await;
            engine.await
        }
    };
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
    let flushed = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FLUSH_TIME, flushed).await.is_err() {
        warn!("not all connections took their goodbye within {FLUSH_TIME:?}");
    }
    Ok(())
}

/// Accepts connections for ever, and waits for none of them.
async fn accept(listener: &TcpListener, door: &Arc<Door>, connections: &mut JoinSet<()>) {
    let mut wait = ACCEPT_WAIT;
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("cannot accept a connection: {error}; trying again in {wait:?}");
                tokio::time::sleep(wait).await;
                wait = (2 * wait).min(ACCEPT_WAIT_MAX);
                continue;
            }
        };
        wait = ACCEPT_WAIT;
        if let Err(error) = stream.set_nodelay(true) {
            warn!(peer = %address, "TCP_NODELAY cannot be set: {error}");
        }
        let (door, place) = (door.clone(), door.enter());
        connections.spawn(async move { door.receive(stream, address, place).await });
    }
}
