//! The coordinator's sockets, timers and tensors, divided into rooms. Each room has private fields.
//! Only the engine knows more than one room, and imports only go down:
//!
//! ```text
//! engine        the one loop: what happens goes in, what is to be done comes out
//! step  intake  persistence        a step's merge; submissions; the runs folder
//! run_table                        what is known of each run
//! net                              connections: admission, reading, writing, liveness
//! jobs  config  rate_limit  text  wall_clock
//! ```

mod config;
mod engine;
mod intake;
mod jobs;
mod net;
mod persistence;
mod rate_limit;
mod run_table;
mod step;
#[cfg(test)]
mod tests;
mod text;
mod wall_clock;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::model::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use config::{KEEP_CHECKPOINTS, LogBy, OnCheckpointError, RunsConfig, ServerConfig};
use engine::Engine;
use net::{Admission, ConnectionLimits, MemorySharing, MemorySocket, Refusals};

/// First wait after a connection could not be accepted; doubled with each failure up to
/// [`ACCEPT_WAIT_MAX`].
const ACCEPT_WAIT: Duration = Duration::from_millis(10);

/// Longest wait after a connection could not be accepted (usually for lack of file descriptors).
const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(1);

/// Time for connections to send what is queued before a shutdown.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Serves workers and clients on `listener` until `shutdown`, then says goodbye to all peers and
/// returns.
///
/// # Errors
/// The runs folder cannot be used, or the system cannot start a thread.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let refusals = Arc::new(Refusals::default());
    let mut engine = Engine::new(config.clone(), registry, refusals.clone());
    let sharing = config.share_memory.and_then(|directory| share_memory(&directory, &listener));
    let admission = Admission::new(
        engine.net_events(),
        config.scheduler.heartbeat_timeout,
        config.tls,
        ConnectionLimits::of_this_process(),
        refusals,
    );
    let sharing_memory = sharing.as_ref().map(|(sharing, _)| sharing.clone());
    let admission = Arc::new(admission.with_sharing(sharing_memory));
    if let Some(runs) = config.runs {
        let (folder, bytes) = (runs.folder.clone(), runs.history_bytes);
        let reading = tokio::task::spawn_blocking(move || persistence::recover(&folder, bytes));
        let (recovered, history) = tokio::select! {
            read = reading => read.map_err(std::io::Error::other)?,
            () = &mut shutdown => {
                info!("stopped while the runs folder was being read");
                return Ok(());
            }
        };
        engine.keep_runs(runs, history, recovered)?;
    }
    let (stop, stopped) = oneshot::channel();
    let mut engine = tokio::spawn(engine.run(stopped));
    let mut connections = JoinSet::new();
    info!("listening on {}", listener.local_addr()?);
    let ended = tokio::select! {
        () = accept(&listener, &admission, &mut connections) => None,
        () = hand_out_memory(&sharing) => None,
        () = &mut shutdown => None,
        ended = &mut engine => Some(ended),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // If the engine has ended already, awaiting its task below shows that.
            let _ = stop.send(());
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
        warn!("not all connections could be closed properly within {FLUSH_TIME:?}");
    }
    Ok(())
}

/// Memory for workers on this host, and its socket.
type Sharing = (Arc<MemorySharing>, MemorySocket);

/// Opens the socket at which workers on this host fetch memory. Without it, workers are sent
/// everything.
fn share_memory(directory: &Path, listener: &TcpListener) -> Option<Sharing> {
    let opened = listener.local_addr().and_then(|address| MemorySharing::open(directory, address));
    let log = |error: &std::io::Error| {
        warn!(
            "workers on this host cannot share memory, and are sent everything: {error}; \
             --socket-dir names another directory"
        );
    };
    opened.inspect_err(log).ok()
}

/// Hands memory to workers on this host until the task is dropped.
async fn hand_out_memory(sharing: &Option<Sharing>) {
    if let Some((sharing, socket)) = sharing {
        sharing.serve(socket).await;
    }
    std::future::pending().await
}

/// Accepts connections until the task is dropped, without waiting for any of them.
async fn accept(listener: &TcpListener, admission: &Arc<Admission>, connections: &mut JoinSet<()>) {
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
        let (admission, handshake) = (admission.clone(), admission.begin_handshake());
        connections.spawn(async move { admission.receive(stream, address, handshake).await });
    }
}
