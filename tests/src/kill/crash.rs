//! A coordinator that is killed at one of its writes to the runs folder, and
//! what comes of its run when it is started again.

use std::path::Path;
use std::time::{Duration, Instant};

use common::digest::Digest;
use coordinator::runs::RunsFolder;
use nix::sys::signal::Signal;

use super::check;
use super::trace::Traced;
pub use super::trace::{Call, Point};
use crate::client::{Client, Next};
use crate::cluster::{self, Cluster, log_file};

/// Every round has a checkpoint, and one is kept, so that old ones go.
const FLAGS: [&str; 6] =
    ["--checkpoint-every", "1", "--keep-checkpoints", "1", "--resume-wait", "1"];

/// Any port of this host.
const ANYWHERE: &str = "127.0.0.1:0";

/// Longest wait for an event before it is seen that the coordinator is gone.
const LOOK: Duration = Duration::from_millis(5);

/// Longest time of a run under a tracer, and longest wait for an event of one
/// that goes on: a bound on hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest time that a coordinator may take to leave when it is asked to.
const LEAVING: Duration = Duration::from_secs(20);

/// Runs a spec in an empty folder, where logs and the runs folder stay, with a
/// coordinator that is killed at a point and started again. Gives the call that
/// it was killed at; nothing if it left before it came there. Says what was
/// wrong, if anything was.
pub fn crash(
    spec: &str,
    expected: Digest,
    point: Point,
    folder: &Path,
) -> Result<Option<Call>, String> {
    let (spec_path, runs) = (folder.join("spec.toml"), folder.join("runs"));
    std::fs::write(&spec_path, spec).map_err(|error| error.to_string())?;

    let command = cluster::serve_command(ANYWHERE, &runs, &FLAGS.map(str::to_owned));
    let (traced, stdout) = Traced::start(&command, log_file(folder, "traced"), &runs, point);
    let address = cluster::address_of(stdout);
    let worker = address.as_ref().map(|it| cluster::start_worker(it, 1, "test-1", Some(folder)));
    let mut client = address.as_ref().map(|it| Client::submit_in(folder, it, &spec_path));
    let end = Instant::now() + PATIENCE;
    while let (Some(client), false) = (&mut client, traced.is_gone() || Instant::now() > end) {
        if matches!(client.next_within(LOOK), Next::End) {
            break;
        }
    }
    if !traced.is_gone() {
        traced.terminate();
    }
    let Some(call) = traced.wait(LEAVING).map_err(|what| format!("{point:?}: {what}"))? else {
        return Ok(None);
    };

    let mut cluster = Cluster::start_in(folder, address.as_deref().unwrap_or(ANYWHERE), &FLAGS);
    match worker {
        Some(worker) => cluster.workers.push(worker),
        None => drop(cluster.add_worker(1)),
    }
    // Whoever was told that his run is taken sees it end. Others ask again.
    let is_taken = client.map_or(Ok(false), |client| see_through(client, &call))?;
    if !is_taken && !see_through(Client::submit_in(folder, &cluster.address, &spec_path), &call)? {
        return Err(format!("killed at {call}, the coordinator takes no run any more"));
    }
    let found = RunsFolder::read(&runs).and_then(|folder| folder.runs());
    let numbers: Vec<u64> =
        found.map_err(|error| error.to_string())?.into_iter().map(|run| run.0).collect();
    for run in &numbers {
        see_through(Client::follow_in(folder, &cluster.address, *run), &call)?;
    }
    cluster.coordinator.signal(Signal::SIGTERM);
    match cluster.coordinator.wait_for(LEAVING) {
        Some(status) if status.success() => {}
        status => return Err(format!("killed at {call}, then left with {status:?}")),
    }
    check::runs_folder(&runs, spec, expected, &numbers)
        .and_then(|_| check::no_complaints(folder))
        .map_err(|what| format!("killed at {call}: {what}"))?;
    Ok(Some(call))
}

/// Waits until a client leaves. Says whether its run was taken, and has ended.
fn see_through(mut client: Client, call: &Call) -> Result<bool, String> {
    loop {
        match client.next_within(PATIENCE) {
            Next::Event(_) => {}
            Next::End => break,
            Next::Nothing => {
                let last = client.events.last();
                return Err(format!("killed at {call}: no event for {PATIENCE:?}; last: {last:?}"));
            }
        }
    }
    let status = client.wait();
    if status.success() {
        return Ok(true);
    }
    match client.events.last() {
        None => Ok(false),
        last => Err(format!("killed at {call}: the client left with {status}; last: {last:?}")),
    }
}
