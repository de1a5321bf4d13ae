//! `coordinator status` and `coordinator cancel`.

use clap::Args;
use common::id::RunId;
use common::run_state::RunState;
use common::wire::message::{RunStatus, Status, WorkerStatus};

use super::Address;
use super::exit::Failure;
use super::listing::loss;
use super::report::bytes;
use super::screen;
use super::table::{Column, cut, goes, stays, table};
use crate::client::Client;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coordinator status
  coordinator status --coordinator 10.0.0.1:7700 --json
  coordinator status --quiet && echo healthy")]
pub(super) struct StatusFlags {
    #[command(flatten)]
    address: Address,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print nothing; the exit code says whether a coordinator answers
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

/// Prints workers and runs.
pub(super) fn status(flags: &StatusFlags) -> Result<(), Failure> {
    let Address { coordinator, .. } = &flags.address;
    let tls = flags.address.tls()?;
    let status = super::runtime()?
        .block_on(async { Client::connect(coordinator, tls.as_ref()).await?.status().await })?;
    if flags.quiet {
        Ok(())
    } else if flags.json {
        let text = serde_json::to_string(&status).map_err(Failure::failed)?;
        super::print_raw(&format!("{text}\n"))
    } else {
        super::print(&tables(&status, screen::columns()))
    }
}

/// Cancels any client's run, and prints its state, as it may have ended already.
pub(super) fn cancel(run: RunId, address: &Address) -> Result<(), Failure> {
    let tls = address.tls()?;
    let status = super::runtime()?.block_on(async {
        let mut client = Client::connect(&address.coordinator, tls.as_ref()).await?;
        client.cancel(run).await?;
        client.status().await
    })?;
    let state = status.runs.into_iter().find(|known| known.id == run).map(|known| known.state);
    super::print(&format!("run {run} is {}\n", state.unwrap_or(RunState::Cancelled)))
}

const WORKERS: &[Column] = &[
    cut("worker", 12),
    goes("address", 1),
    goes("states by", 3),
    stays("slots"),
    stays("memory"),
    stays("state"),
    goes("shards done", 2),
    stays("last heard"),
];

const RUNS: &[Column] = &[
    stays("run"),
    cut("model", 8),
    stays("state"),
    stays("round"),
    goes("on disk", 1),
    stays("loss"),
    cut("digest", 12),
];

fn tables(status: &Status, room: Option<usize>) -> String {
    let workers = if status.workers.is_empty() {
        "no workers\n".to_owned()
    } else {
        table(WORKERS, status.workers.iter().map(worker_row), room)
    };
    let cannot = |worker: &WorkerStatus| {
        let reason = worker.cannot.as_ref()?;
        Some(format!("worker {} cannot work on the active run: {reason}\n", worker.name))
    };
    let cannot: String = status.workers.iter().filter_map(cannot).collect();
    let runs = if status.runs.is_empty() {
        "no runs\n".to_owned()
    } else {
        table(RUNS, status.runs.iter().map(run_row), room)
    };
    let waits = status.runs.iter().filter_map(|run| {
        let what = run.waits_for.as_ref()?;
        Some(format!("run {} waits for {what}\n", run.id))
    });
    let waits: String = waits.collect();
    let insecure = if status.insecure {
        "INSECURE: everyone who can reach this coordinator's port can use the cluster; \
             `coordinator keys --help` explains how to change that\n\n"
    } else {
        ""
    };
    let refused = match status.refused {
        0 => String::new(),
        refused => format!("\n{refused} connections were refused: the log says why\n"),
    };
    let unrecorded = match &status.unrecorded {
        None => String::new(),
        Some(problem) => format!("\nthe history of runs is NOT RECORDED: {problem}\n"),
    };
    let thinned = if status.thinned {
        "\nthe history of runs was thinned to its limit (--history-size): `coordinator show RUN` \
         counts the steps without shards\n"
    } else {
        ""
    };
    let aside = status.runs.iter().filter(|run| run.state == RunState::SetAside).map(|run| {
        let id = run.id;
        format!("\nrun {id} is set aside: `coordinator follow {id}` says why\n")
    });
    let aside: String = aside.collect();
    let over: String = status.workers.iter().filter_map(over_limit).collect();
    format!("{insecure}{workers}{cannot}\n{runs}{waits}{aside}{refused}{unrecorded}{thinned}{over}")
}

fn worker_row(worker: &WorkerStatus) -> Vec<String> {
    vec![
        worker.name.clone(),
        worker.address.clone(),
        if worker.shares_memory { "memory" } else { "network" }.to_owned(),
        worker.slots.to_string(),
        format!("{} of {}", bytes(worker.memory), bytes(worker.memory_limit)),
        worker.state.clone(),
        worker.shards_done.to_string(),
        format!("{:.1} s ago", worker.last_heard_ms as f64 / 1000.0),
    ]
}

/// A warning for a worker that uses more memory than its limit.
fn over_limit(worker: &WorkerStatus) -> Option<String> {
    (worker.memory > worker.memory_limit).then(|| {
        format!(
            "\nworker {} uses MORE MEMORY than its --memory-limit, {} of {}: raise the limit, or \
             lower its --slots\n",
            worker.name,
            bytes(worker.memory),
            bytes(worker.memory_limit)
        )
    })
}

fn run_row(run: &RunStatus) -> Vec<String> {
    let none = || "–".to_owned();
    vec![
        run.id.to_string(),
        run.model.clone(),
        if run.replay { format!("{} (replay)", run.state) } else { run.state.to_string() },
        format!("{}/{}", run.round, run.rounds),
        match (run.checkpoint, run.unsaved) {
            (round, true) => format!("{} (FAILING)", round.unwrap_or(0)),
            (Some(round), false) => round.to_string(),
            (None, false) => none(),
        },
        loss(run.loss),
        run.digest.map_or_else(none, |digest| digest.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::WorkerId;

    #[test]
    fn tables_name_all_that_people_ask_for() {
        let status = Status {
            build: "0.1.0".into(),
            insecure: false,
            refused: 0,
            unrecorded: None,
            thinned: false,
            workers: vec![WorkerStatus {
                id: WorkerId(1),
                name: "local-1".into(),
                address: "127.0.0.1:40000".into(),
                slots: 2,
                shares_memory: true,
                memory: 12 << 20,
                memory_limit: 2 << 30,
                state: "busy".into(),
                cannot: None,
                shards_done: 40,
                last_heard_ms: 300,
            }],
            runs: vec![RunStatus {
                id: RunId(3),
                model: "mlp".into(),
                state: RunState::Running,
                waits_for: Some("workers: 1 of 3 connected".into()),
                round: 2,
                rounds: 9,
                loss: Some(0.25),
                digest: None,
                checkpoint: Some(1),
                unsaved: true,
                replay: false,
            }],
        };
        let text = tables(&status, None);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("worker   address "), "{text}");
        assert!(lines[1].contains("12.0 MiB of 2.0 GiB  busy   40"), "{text}");
        assert!(lines[1].ends_with("0.3 s ago"), "{text}");
        assert_eq!(lines[5], "run 3 waits for workers: 1 of 3 connected");
        assert_eq!(lines[4], "3    mlp    running  2/9    1 (FAILING)  0.2500  –");
        let mut unfit = status.clone();
        unfit.workers[0].cannot = Some("model `x` is unknown".into());
        let told = tables(&unfit, None);
        let line = "\nworker local-1 cannot work on the active run: model `x` is unknown\n";
        assert!(told.contains(line), "{told}");
        assert!(!text.contains("MORE MEMORY"), "{text}");
        let mut over = status.clone();
        over.workers[0].memory = 3 << 30;
        let end = "\nworker local-1 uses MORE MEMORY than its --memory-limit, 3.0 GiB of 2.0 GiB: \
                   raise the limit, or lower its --slots\n";
        assert!(tables(&over, None).ends_with(end), "{}", tables(&over, None));
        let again = RunStatus { replay: true, ..status.runs[0].clone() };
        assert_eq!(run_row(&again)[2], "running (replay)");
        let aside = RunStatus { state: RunState::SetAside, ..status.runs[0].clone() };
        let text = tables(&Status { runs: vec![aside], ..status.clone() }, None);
        assert!(
            text.ends_with("\nrun 3 is set aside: `coordinator follow 3` says why\n"),
            "{text}"
        );
        let none = Status {
            build: String::new(),
            insecure: false,
            refused: 0,
            unrecorded: None,
            thinned: false,
            workers: vec![],
            runs: vec![],
        };
        assert_eq!(tables(&none, None), "no workers\n\nno runs\n");
        let unrecorded = Some("no room".into());
        let open = tables(&Status { insecure: true, refused: 7, unrecorded, ..none.clone() }, None);
        assert!(open.starts_with("INSECURE: "), "{open}");
        let end = "\n7 connections were refused: the log says why\n\n\
                   the history of runs is NOT RECORDED: no room\n";
        assert!(open.ends_with(end), "{open}");
        let thinned = tables(&Status { thinned: true, ..none }, None);
        assert!(thinned.contains("\nthe history of runs was thinned "), "{thinned}");
    }
}
