//! Carries a scenario out with the real binaries.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::scenario::HEARTBEAT_TIMEOUT;
use super::{Fault, Planned, Scenario, Tally, check, files, reference};
use crate::binaries::binaries;
use crate::client::{Client, Next};
use crate::cluster::Cluster;

/// Longest time that a run may take: a bound on hanging.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest time that a coordinator may take to leave when it is asked to.
const LEAVING: Duration = Duration::from_secs(20);

/// Longest wait before it is seen that a run is not wanted any more.
const LOOK: Duration = Duration::from_millis(200);

/// The run that is watched: the first one of its folder.
const RUN: u64 = 1;

/// How a run fails whose workers were killed three times in one shard, as if it
/// had killed them.
const BLAME: &str = "probably kills";

/// Workers that must have been killed for that.
const CRASH_LIMIT: u64 = 3;

/// What became of a run that went well.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Faults that struck a living process of a run that was not over.
    pub fired: Tally,
    /// Faults that came too late.
    pub missed: u64,
    /// Shards that were offered again, and not computed twice.
    pub offered: u64,
    /// Times that the run failed by the name of a shard whose workers were
    /// killed, and was resumed.
    pub blamed: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Runs a scenario in an empty folder, where logs and the runs folder stay.
/// Says what was wrong, if anything was. No process outlives this, also when
/// `stop` is set meanwhile.
pub fn ride(scenario: &Scenario, folder: &Path, stop: &AtomicBool) -> Result<Report, String> {
    let started = Instant::now();
    let expected = reference(&scenario.spec.text);
    // What the harness expects of the binaries, it expects by panicking.
    let ridden = catch_unwind(AssertUnwindSafe(|| {
        let reference = files::reference(&scenario.spec.text);
        let mut ride = Ride::start(scenario, folder);
        ride.ride_out(stop)?;
        let told = ride.told()?;
        // One who comes later is told of everything, too; and if the coordinator
        // was killed in the last moment, the run ends again meanwhile.
        ride.follow_anew();
        ride.ride_out(stop)?;
        let told_later = ride.told()?;
        ride.leave()?;
        let offered = check::runs_folder(&ride.runs, &scenario.spec.text, expected, &[RUN])?;
        for told in [told, told_later] {
            check::told(&told, scenario.spec.rounds, expected, offered)?;
        }
        check::no_complaints(folder)?;
        files::compare(folder, &reference)?;
        let (fired, missed, blamed) = (ride.fired.clone(), ride.missed, ride.blamed);
        Ok(Report { fired, missed, offered, blamed, seconds: started.elapsed().as_secs_f64() })
    }));
    ridden.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("the harness panicked: {}", text.unwrap_or_default()))
    })
}

/// What is to be done at a time.
#[derive(Clone, Debug)]
enum Act {
    Strike(Planned),
    StartCoordinator,
    StartWorker(usize),
    /// Of the process of this id.
    ContinueCoordinator(u32),
    ContinueWorker(usize, u32),
}

impl Act {
    /// Whether it lets a process go on that was stopped: one that is stopped
    /// again stays so until it is time for that.
    fn continues(&self, process: u32) -> bool {
        match self {
            Self::ContinueCoordinator(id) | Self::ContinueWorker(_, id) => *id == process,
            Self::Strike(_) | Self::StartCoordinator | Self::StartWorker(_) => false,
        }
    }
}

struct Ride<'a> {
    scenario: &'a Scenario,
    cluster: Cluster,
    follower: Client,
    runs: PathBuf,
    /// Faults whose round has not come.
    ahead: Vec<Planned>,
    due: Vec<(Instant, Act)>,
    is_coordinator_gone: bool,
    gone_workers: BTreeSet<usize>,
    fired: Tally,
    missed: u64,
    /// Workers that were killed.
    killed: u64,
    blamed: u64,
}

impl<'a> Ride<'a> {
    /// Starts all processes, submits, and follows.
    fn start(scenario: &'a Scenario, folder: &Path) -> Self {
        let timeout = HEARTBEAT_TIMEOUT.to_string();
        let flags = ["--checkpoint-every", "1", "--resume-wait", "1", "--heartbeat-timeout"];
        let sent: &[&str] = if scenario.shares_memory { &[] } else { &["--no-shared-memory"] };
        let flags = [&flags[..], &[&timeout], sent].concat();
        let mut cluster = Cluster::start_in(folder, "127.0.0.1:0", &flags);
        for slots in &scenario.slots {
            cluster.add_worker(*slots);
        }
        let spec = folder.join("spec.toml");
        std::fs::write(&spec, &scenario.spec.text).expect("a spec can be written");
        submit(&cluster.address, &spec, scenario.slots.len());
        let follower = files::follow(folder, &cluster.address, RUN);
        let runs = cluster.runs().to_owned();
        Self {
            scenario,
            cluster,
            follower,
            runs,
            ahead: scenario.faults.clone(),
            due: Vec::new(),
            is_coordinator_gone: false,
            gone_workers: BTreeSet::new(),
            fired: Tally::default(),
            missed: 0,
            killed: 0,
            blamed: 0,
        }
    }

    /// Follows the run from its start, in the place of who followed it before.
    fn follow_anew(&mut self) {
        let folder = self.runs.parent().expect("it is in the scenario's folder");
        self.follower = files::follow(folder, &self.cluster.address, RUN);
    }

    /// Does what is planned until the follower says no more.
    fn ride_out(&mut self, stop: &AtomicBool) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            if stop.load(Ordering::Relaxed) {
                return Err("interrupted".into());
            }
            let now = Instant::now();
            if now >= end {
                let last = self.follower.events.last();
                return Err(format!("the run has not ended after {PATIENCE:?}; last: {last:?}"));
            }
            let next = self.due.iter().map(|(at, _)| *at).min();
            let wait = next.map_or(LOOK, |at| at.saturating_duration_since(now).min(LOOK));
            match self.follower.next_within(wait) {
                Next::Event(event) => self.see(&event),
                Next::Nothing => {}
                Next::End if self.is_blamed()? => {
                    self.order("resume")?;
                    self.follow_anew();
                }
                Next::End => break,
            }
            self.do_what_is_due()?;
        }
        self.missed += self.ahead.len() as u64;
        for (_, act) in std::mem::take(&mut self.due) {
            match act {
                Act::Strike(_) => self.missed += 1,
                other => self.act(other)?,
            }
        }
        Ok(())
    }

    /// Plans the faults that an event is the time of.
    fn see(&mut self, event: &Value) {
        let round = match event["event"].as_str() {
            Some("started") => 0,
            Some("round") => event["round"].as_u64().expect("a round has a number"),
            _ => return,
        };
        let now = Instant::now();
        let (come, ahead) = self.ahead.drain(..).partition(|planned| planned.round <= round);
        self.ahead = ahead;
        let strikes = Vec::into_iter(come);
        self.due.extend(strikes.map(|it: Planned| (now + it.delay, Act::Strike(it))));
    }

    fn do_what_is_due(&mut self) -> Result<(), String> {
        let now = Instant::now();
        while let Some(place) = self.due.iter().position(|(at, _)| *at <= now) {
            let (_, act) = self.due.remove(place);
            self.act(act)?;
        }
        self.check_alive()
    }

    fn act(&mut self, act: Act) -> Result<(), String> {
        match act {
            Act::Strike(planned) => self.strike(planned)?,
            Act::StartCoordinator => {
                self.cluster.restart();
                self.is_coordinator_gone = false;
            }
            Act::StartWorker(worker) => {
                self.cluster.restart_worker(worker, self.scenario.slots[worker]);
                self.gone_workers.remove(&worker);
            }
            Act::ContinueCoordinator(id) => {
                if self.cluster.coordinator.id() == id {
                    self.cluster.coordinator.signal(Signal::SIGCONT);
                }
            }
            Act::ContinueWorker(worker, id) => {
                if self.cluster.workers[worker].id() == id {
                    self.cluster.workers[worker].signal(Signal::SIGCONT);
                }
            }
        }
        Ok(())
    }

    /// Strikes, and plans what undoes it.
    fn strike(&mut self, planned: Planned) -> Result<(), String> {
        let Planned { fault, workers, gone, place, .. } = planned;
        let workers: Vec<usize> =
            workers.into_iter().filter(|worker| !self.gone_workers.contains(worker)).collect();
        let is_there = (!fault.is_of_coordinator() || !self.is_coordinator_gone)
            && (!fault.is_of_workers() || !workers.is_empty());
        if !is_there {
            self.missed += 1;
            return Ok(());
        }
        if fault == Fault::CancelAndResume {
            return self.cancel_and_resume();
        }
        let (back, cluster) = (Instant::now() + gone, &mut self.cluster);
        if fault.kills() {
            // All at once: nobody is waited for before everyone is struck.
            let mut struck = Vec::new();
            if fault.is_of_coordinator() {
                cluster.coordinator.signal(Signal::SIGKILL);
                struck.push((&mut cluster.coordinator, Act::StartCoordinator));
                self.is_coordinator_gone = true;
            }
            for (index, worker) in cluster.workers.iter_mut().enumerate() {
                if fault.is_of_workers() && workers.contains(&index) {
                    worker.signal(Signal::SIGKILL);
                    struck.push((worker, Act::StartWorker(index)));
                    self.gone_workers.insert(index);
                    self.killed += 1;
                }
            }
            for (process, act) in struck {
                let status = process.wait();
                if status.signal() != Some(Signal::SIGKILL as i32) {
                    return Err(format!(
                        "a process ended by itself before it was killed: {status}"
                    ));
                }
                self.due.push((back, act));
            }
            if fault == Fault::DamageRecord && !files::damage(&self.runs, RUN, place) {
                self.missed += 1;
                return Ok(());
            }
        } else if fault.is_of_coordinator() {
            cluster.coordinator.stop();
            let id = cluster.coordinator.id();
            self.due.retain(|(_, act)| !act.continues(id));
            self.due.push((back, Act::ContinueCoordinator(id)));
        } else {
            let all = 0..cluster.workers.len();
            let stopped: Vec<usize> = match fault {
                Fault::StopAllWorkersLong => {
                    all.filter(|worker| !self.gone_workers.contains(worker)).collect()
                }
                _ => vec![workers[0]],
            };
            for worker in stopped {
                cluster.workers[worker].stop();
                let id = cluster.workers[worker].id();
                self.due.retain(|(_, act)| !act.continues(id));
                self.due.push((back, Act::ContinueWorker(worker, id)));
            }
        }
        // Whoever is killed writes no more: then the run was not over.
        if !is_over(&self.runs) {
            self.fired.add(fault)
        } else {
            self.missed += 1
        }
        Ok(())
    }

    /// Cancels the run and takes it up again, if there is a coordinator that
    /// answers and the run has not ended.
    fn cancel_and_resume(&mut self) -> Result<(), String> {
        let id = self.cluster.coordinator.id();
        let is_stopped = self.due.iter().any(|(_, act)| act.continues(id));
        if is_stopped || is_over(&self.runs) || self.order("cancel").is_err() {
            self.missed += 1;
            return Ok(());
        }
        match self.order("resume") {
            Ok(()) => self.fired.add(Fault::CancelAndResume),
            // Whoever cancels a run that has just ended is told that it is over.
            Err(error) if error.contains("is finished") => self.missed += 1,
            Err(error) => return Err(error),
        }
        self.follow_anew();
        Ok(())
    }

    /// Has the coordinator do something with the run.
    fn order(&self, what: &str) -> Result<(), String> {
        let output = Command::new(&binaries().coordinator)
            .args([what, &RUN.to_string(), "--coordinator", &self.cluster.address])
            .stdin(Stdio::null())
            .output()
            .expect("the client starts");
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// Whether the run has failed by the name of a shard whose workers were
    /// killed as often as it takes.
    fn is_blamed(&mut self) -> Result<bool, String> {
        let last = self.follower.events.last();
        let reason = last.filter(|event| event["event"] == "failed").map(|it| &it["reason"]);
        let Some(reason) = reason.and_then(Value::as_str).map(str::to_owned) else {
            return Ok(false);
        };
        self.blamed += 1;
        if reason.contains(BLAME) && self.killed >= CRASH_LIMIT * self.blamed {
            Ok(true)
        } else {
            Err(format!("{} workers were killed, and it failed: {reason}", self.killed))
        }
    }

    /// That nobody has ended who was not killed.
    fn check_alive(&mut self) -> Result<(), String> {
        if !self.is_coordinator_gone
            && let Some(status) = self.cluster.coordinator.try_wait()
        {
            return Err(format!("the coordinator ended by itself: {status}"));
        }
        for (index, worker) in self.cluster.workers.iter_mut().enumerate() {
            if !self.gone_workers.contains(&index)
                && let Some(status) = worker.try_wait()
            {
                return Err(format!("worker test-{} ended by itself: {status}", index + 1));
            }
        }
        Ok(())
    }

    /// All that the follower was told, who has left in peace.
    fn told(&mut self) -> Result<Vec<Value>, String> {
        let status = self.follower.wait();
        if status.success() {
            return Ok(std::mem::take(&mut self.follower.events));
        }
        let last = self.follower.events.last();
        Err(format!("the follower ended with {status}; its last event: {last:?}"))
    }

    /// Has the coordinator leave.
    fn leave(&mut self) -> Result<(), String> {
        self.check_alive()?;
        self.cluster.coordinator.signal(Signal::SIGTERM);
        match self.cluster.coordinator.wait_for(LEAVING) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("the coordinator left with {status}")),
            None => Err(format!("the coordinator has not left {LEAVING:?} after SIGTERM")),
        }
    }
}

/// Whether the run's end is on disk.
fn is_over(runs: &Path) -> bool {
    runs.join(RUN.to_string()).join("outcome.json").exists()
}

/// Submits a spec that waits for all workers.
fn submit(address: &str, spec: &Path, workers: usize) {
    let output = Command::new(&binaries().coordinator)
        .arg("run")
        .arg(spec)
        .args(["--detach", "--coordinator", address, "--min-workers", &workers.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("the client starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"1\n", "submitting: {errors}");
}
