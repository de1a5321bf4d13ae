//! One simulated cluster, from its seed to its end: a phase with faults, then
//! healing, then everything must come to its end in bounded time.

mod inject;

use std::time::Duration;

use common::id::{RunId, StepId};
use coordinator::scheduler::injected_bugs::InjectedBug;
use coordinator::scheduler::{RejoinWait, SchedulerConfig};

use super::context::{Context, Event};
use super::coordinator::{Coordinator, Outcome};
use super::faults::{Fault, Faults};
use super::network::{ConnectionId, Direction, Message};
use super::process::{Fate, Machine, Process, Wrongs};

/// Virtual time after healing by which all runs must have ended, beside four
/// times the time that the slowest worker would need for all of their shards:
/// each may be audited.
const LIVENESS: u64 = 200_000_000;

/// Events of one cluster at most: more is a livelock.
const EVENTS: u64 = 3_000_000;

/// What a cluster is like, and what befalls it.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) seed: u64,
    pub(super) machines: Vec<Machine>,
    pub(super) config: SchedulerConfig,
    /// Workers to wait for, and the replicas of each step, of each run.
    pub(super) runs: Vec<(u32, Vec<u32>)>,
    pub(super) wrongs: Wrongs,
    /// So many in a thousand shards are audited.
    pub(super) audit: u64,
    /// Faults and their times.
    pub(super) faults: Vec<(u64, Fault)>,
    pub(super) cancel: Option<(u64, RunId)>,
    pub(super) heal_at: u64,
    pub(super) plant: Option<InjectedBug>,
}

/// How a cluster ended.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) faults: Faults,
    pub(super) outcomes: Vec<(RunId, Outcome)>,
    pub(super) events: u64,
    /// Virtual seconds.
    pub(super) seconds: f64,
}

/// Runs a cluster to its end. The error says which invariant broke.
pub(super) fn run(setup: Setup) -> Result<Report, String> {
    let mut cluster = Cluster::new(setup);
    let mut events = 0;
    while cluster.context.broken.is_none() && !cluster.is_over() {
        let Some(event) = cluster.context.next_event() else {
            return Err("nothing will ever happen again".into());
        };
        events += 1;
        if events > EVENTS || cluster.context.now > cluster.end_by {
            return Err(format!("no end in sight, {}", cluster.story()));
        }
        cluster.happen(event);
    }
    match cluster.context.broken.take() {
        Some(broken) => Err(broken),
        None => cluster.judge().map(|()| Report {
            outcomes: cluster.coordinator.outcomes.clone().into_iter().collect(),
            seconds: cluster.context.now as f64 / 1e6,
            faults: cluster.context.faults,
            events,
        }),
    }
}

struct Cluster {
    context: Context,
    coordinator: Coordinator,
    /// Events that wait for a stopped coordinator to go on.
    stopped: Option<Vec<Event>>,
    processes: Vec<Process>,
    min_workers: Vec<u32>,
    wrongs: Wrongs,
    heal_at: u64,
    /// When all runs must have ended.
    end_by: u64,
    is_healed: bool,
}

impl Cluster {
    fn new(setup: Setup) -> Self {
        let mut context = Context::new(setup.seed);
        let mut coordinator = Coordinator::new(setup.plant, setup.config, setup.audit);
        for (at, (_, steps)) in setup.runs.iter().enumerate() {
            let run = RunId(at as u64 + 1);
            coordinator.runs.insert(run, steps.clone());
            let wait = context.random.within(0..3_000_000);
            context.after(wait, Event::Submit(run));
        }
        for (at, fault) in &setup.faults {
            context.after(*at, Event::Fault(*fault));
        }
        if let Some((at, run)) = setup.cancel {
            context.after(at, Event::Cancel(run));
        }
        context.after(setup.heal_at, Event::Heal);
        context.after(0, Event::CoordinatorBeat);
        let machines = setup.machines.iter().enumerate();
        let slow = setup.machines.iter().map(|machine| machine.shard_time).min().unwrap_or(0);
        let mut processes = Vec::new();
        for (index, machine) in machines {
            if machine.shard_time > 5 * slow {
                context.faults.fired(Fault::SlowWorker);
            }
            processes.push(Process::start(&mut context, index, 0, *machine));
        }
        let shards = setup.runs.iter().flat_map(|(_, steps)| steps).map(|it| u64::from(*it));
        let shards: u64 = shards.sum();
        let slowest = setup.machines.iter().map(|it| it.shard_time).max().unwrap_or(0);
        Self {
            context,
            coordinator,
            stopped: None,
            processes,
            min_workers: setup.runs.iter().map(|(min_workers, _)| *min_workers).collect(),
            wrongs: setup.wrongs,
            heal_at: setup.heal_at,
            end_by: setup.heal_at + LIVENESS + 4 * shards * slowest,
            is_healed: false,
        }
    }

    /// Whether the faults are over and all runs have ended.
    fn is_over(&self) -> bool {
        self.is_healed && self.coordinator.outcomes.len() == self.coordinator.runs.len()
    }

    fn story(&self) -> String {
        format!(
            "after {} s with {} processes, healed at {} s, {} of {} runs ended: {:?}; {:#?}",
            self.context.now / 1_000_000,
            self.processes.len(),
            self.heal_at / 1_000_000,
            self.coordinator.outcomes.len(),
            self.coordinator.runs.len(),
            self.coordinator.outcomes,
            self.coordinator.scheduler,
        )
    }

    fn happen(&mut self, event: Event) {
        let context = &mut self.context;
        if !matches!(event, Event::SchedulerTimer) {
            self.coordinator.idle_timeouts = 0;
        }
        if let Some(stopped) = self.stopped.as_mut().filter(|_| event.is_of_coordinator()) {
            stopped.push(event);
            return;
        }
        match event {
            Event::Deliver(connection, Direction::ToCoordinator) => {
                if let Some(message) = context.receive(connection, Direction::ToCoordinator) {
                    self.coordinator.on_message(context, connection, message);
                }
            }
            Event::Deliver(connection, Direction::ToWorker) => self.deliver_to_worker(connection),
            Event::SchedulerTimer => self.coordinator.on_timer(context),
            Event::CoordinatorBeat => self.coordinator.beat(context),
            Event::Submit(run) => {
                let min_workers = self.min_workers[run.0 as usize - 1];
                // Every other run is one that goes on.
                let (workers, wait) = (min_workers + 1, Duration::from_secs(2));
                let rejoin_wait = (run.0 % 2 == 0).then_some(RejoinWait { workers, wait });
                self.coordinator.submit(context, run, min_workers, rejoin_wait);
            }
            Event::Cancel(run) => {
                if !self.coordinator.outcomes.contains_key(&run) {
                    context.faults.fired(Fault::Cancel);
                    let event = coordinator::scheduler::Event::RunCancelled { run };
                    self.coordinator.tell(context, event);
                }
            }
            Event::StepReady(step, life) if life == self.coordinator.life => {
                self.coordinator.step_ready(context, step);
            }
            Event::Merged(step, life) if life == self.coordinator.life => {
                self.coordinator.merged(context, step);
            }
            // The coordinator that this was for is gone.
            Event::StepReady(..) | Event::Merged(..) => {}
            Event::Fault(fault) => self.fault(fault),
            Event::Restart(index) => self.restart(index),
            Event::Resume(index) => self.resume(index),
            Event::CoordinatorResume => self.resume_coordinator(),
            Event::Heal => self.heal(),
            Event::Process(index, incarnation, inner) => {
                let process = &mut self.processes[index];
                if process.incarnation != incarnation || !process.is_alive {
                    return;
                }
                if let Some(stopped) = &mut process.stopped {
                    stopped.push(Event::Process(index, incarnation, inner));
                } else if process.on_event(context, inner, &mut self.wrongs) == Fate::Dies {
                    self.die(index, true);
                }
            }
        }
        if self.stopped.is_none() {
            self.coordinator.check_silence(&mut self.context);
        }
    }

    fn deliver_to_worker(&mut self, connection: ConnectionId) {
        let Some(found) = self.context.network.get(connection) else { return };
        let (index, incarnation) = (found.process, found.incarnation);
        let process = &mut self.processes[index];
        let is_its = process.incarnation == incarnation && process.connection == Some(connection);
        if let Some(stopped) = process.stopped.as_mut().filter(|_| is_its) {
            stopped.push(Event::Deliver(connection, Direction::ToWorker));
            return;
        }
        if let Some(message) = self.context.receive(connection, Direction::ToWorker)
            && is_its
            && process.is_alive
        {
            process.on_message(&mut self.context, message);
        }
    }

    /// Whether each run ended as it may. That a failed one had a cause was
    /// judged as it failed.
    fn judge(&self) -> Result<(), String> {
        for (run, outcome) in &self.coordinator.outcomes {
            let is_of =
                |shard: Option<(StepId, u32)>| shard.is_some_and(|(step, _)| step.run == *run);
            let is_broken = is_of(self.wrongs.broken);
            let is_poisoned = is_of(self.wrongs.poison);
            if *outcome == Outcome::Finished && (is_broken || is_poisoned) {
                return Err(format!("run {run} finished in spite of a shard that cannot"));
            }
        }
        Ok(())
    }
}
