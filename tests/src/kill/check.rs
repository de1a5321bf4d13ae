//! What must hold of a runs folder, whatever happened while it was written.

use std::path::Path;

use common::dataset::Dataset;
use common::digest::Digest;
use common::id::RunId;
use common::plan::RunPlan;
use common::run_state::RunEnd;
use common::spec::RunSpec;
use common::worker_event::WorkerEvent;
use coordinator::ledger::{EventKind, LedgerReader};
use coordinator::runs::RunsFolder;
use serde_json::Value;

/// First bytes under the digest of a step's shards.
const STEP: &[u8] = b"samebit-step-1\n";

/// Logs of coordinators; the second one where it was traced.
const COORDINATOR_LOGS: [&str; 2] = ["coordinator.log", "traced.log"];

/// What a peer is told that does what it must not.
const COMPLAINT: &str = "out of turn";

/// That a folder has these runs of a spec and no others, that all have ended
/// in `expected`, and that all their shards are recorded once. Gives the
/// shards that were offered again.
pub fn runs_folder(
    runs: &Path,
    spec: &str,
    expected: Digest,
    numbers: &[u64],
) -> Result<u64, String> {
    let of = |error: String| format!("{}: {error}", runs.display());
    let folder = RunsFolder::read(runs).map_err(|error| error.to_string())?;
    let ledger = LedgerReader::open(runs).map_err(|error| error.to_string())?;
    let wanted: Vec<RunId> = numbers.iter().copied().map(RunId).collect();
    let found = folder.runs().map_err(|error| error.to_string())?;
    let recorded: Result<Vec<_>, _> = ledger.runs().collect();
    let recorded = recorded.map_err(|error| error.to_string())?;
    let recorded: Vec<RunId> = recorded.iter().map(|run| run.run).collect();
    if (&found, &recorded) != (&wanted, &wanted) {
        return Err(of(format!("runs {found:?}, recorded {recorded:?}, expected {wanted:?}")));
    }
    let mut offered = 0;
    for run in wanted {
        kept(&folder, run, expected).map_err(of)?;
        offered += recorded_once(&ledger, run, spec, expected).map_err(of)?;
    }
    Ok(offered)
}

/// That a run's end and its last checkpoint are on disk.
fn kept(folder: &RunsFolder, run: RunId, expected: Digest) -> Result<(), String> {
    let submission = folder.submission(run).map_err(|error| error.to_string())?;
    let outcome = folder.outcome(&submission).map_err(|error| error.to_string())?;
    let ended = outcome.as_ref().map(|outcome| (outcome.state, outcome.digest));
    if ended != Some((RunEnd::Finished, Some(expected))) {
        return Err(format!("run {run} did not end in {expected}: {outcome:?}"));
    }
    let restart = folder.restart(&submission, u64::MAX).map_err(|error| error.to_string())?;
    let last = restart.checkpoint.as_ref().map(|found| found.record.digest);
    if last != Some(expected) || !restart.damaged.is_empty() {
        return Err(format!(
            "run {run}: its last checkpoint is of {last:?}, expected {expected}; damaged: {:?}",
            restart.damaged
        ));
    }
    Ok(())
}

/// That the history has each step and each of its shards once.
fn recorded_once(
    ledger: &LedgerReader,
    run: RunId,
    spec: &str,
    expected: Digest,
) -> Result<u64, String> {
    let text = |error: coordinator::ledger::LedgerError| error.to_string();
    let row = ledger.run(run).map_err(text)?.ok_or_else(|| format!("run {run} is not recorded"))?;
    if (row.state, row.digest) != (Some(RunEnd::Finished), Some(expected)) {
        return Err(format!("run {run} is recorded as {} with {:?}", row.state_name(), row.digest));
    }
    let plan = plan(spec);
    let steps = ledger.steps(run).collect::<Result<Vec<_>, _>>().map_err(text)?;
    let numbers: Vec<u64> = steps.iter().map(|step| step.step).collect();
    let wanted: Vec<u64> = (0..plan.steps()).collect();
    if numbers != wanted {
        let count = plan.steps();
        return Err(format!("run {run} has {count} steps, recorded are {numbers:?}"));
    }
    let shards = ledger.shards(run, 0..u64::MAX).collect::<Result<Vec<_>, _>>().map_err(text)?;
    let mut rest = &shards[..];
    for step in &steps {
        let replicas = plan.step(step.step).map_or(0, |step| step.replicas);
        let end = rest.iter().take_while(|shard| shard.step == step.step).count();
        let (of_step, after) = rest.split_at(end);
        rest = after;
        let found: Vec<u32> = of_step.iter().map(|shard| shard.shard.replica).collect();
        if found != (0..replicas).collect::<Vec<_>>() {
            let step = step.step;
            return Err(format!(
                "step {step} of run {run} has {replicas} replicas, recorded are {found:?}"
            ));
        }
        let digest = Digest::of_digests(STEP, of_step.iter().map(|shard| &shard.shard.digest));
        if digest != step.digest {
            let (step, recorded) = (step.step, step.digest);
            return Err(format!(
                "the shards of step {step} of run {run} have digest {digest}, recorded is {recorded}"
            ));
        }
    }
    if let Some(more) = rest.first() {
        return Err(format!("run {run} has no step of the recorded {more:?}"));
    }
    let events = ledger.events(run).collect::<Result<Vec<_>, _>>().map_err(text)?;
    let offers =
        events.iter().filter(|event| event.kind == EventKind::Worker(WorkerEvent::Offered));
    // The detail begins with their number.
    let count = |detail: &str| detail.split(' ').next().and_then(|word| word.parse::<u64>().ok());
    Ok(offers.map(|event| count(&event.detail).unwrap_or(1)).sum())
}

fn plan(spec: &str) -> RunPlan {
    let spec = RunSpec::from_toml(spec).expect("the test's spec is right");
    let dataset = Dataset::load(&spec.dataset).expect("the test's dataset loads");
    RunPlan::new(&spec, dataset.train.size(), dataset.test.len())
        .expect("the test's spec has a plan")
}

/// That whoever followed a run from its start to its end was told of each
/// round once, and of the right end. A follower knows of no more shards that
/// were `offered` than are recorded.
pub fn told(events: &[Value], rounds: u64, expected: Digest, offered: u64) -> Result<(), String> {
    let of_kind = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
    let told: Vec<u64> = of_kind("round").filter_map(|event| event["round"].as_u64()).collect();
    if told != (1..=rounds).collect::<Vec<_>>() {
        return Err(format!("a follower was not told of each round once: {told:?}"));
    }
    let ends: Vec<&Value> = of_kind("finished").collect();
    let [end] = ends[..] else { return Err(format!("{} ends were told", ends.len())) };
    if end["digest"] != expected.to_string() {
        return Err(format!("the run ended in {}, expected {expected}", end["digest"]));
    }
    match end["offered"].as_u64() {
        Some(of_run) if of_run <= offered && end["unsaved"].is_null() => Ok(()),
        _ => Err(format!("{offered} offered shards are recorded, the follower was told {end}")),
    }
}

/// That no coordinator took a worker for one that does what it must not.
pub fn no_complaints(logs: &Path) -> Result<(), String> {
    for log in COORDINATOR_LOGS.map(|name| logs.join(name)).iter().filter(|log| log.exists()) {
        let text = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
        if let Some(line) = text.lines().find(|line| line.contains(COMPLAINT)) {
            return Err(format!("an honest worker was turned away: {line}"));
        }
    }
    Ok(())
}
