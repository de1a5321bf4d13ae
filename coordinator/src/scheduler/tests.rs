//! The scheduler by example. Every event goes through [`TestEnv::tell`],
//! which checks all invariants.

mod audits;
mod crowds;
mod failures;
mod standing;

use std::time::{Duration, Instant};

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};
use common::worker_event::WorkerEvent;

use super::injected_bugs::InjectedBug;
use super::{
    Action, BlockDone, Departure, Detail, Event, LossReason, PartialRef, RejoinWait, RunFailure,
    Scheduler, SchedulerConfig, UnauditedReason, Verdict,
};

const RUN: RunId = RunId(1);
const STEP: StepId = StepId { run: RUN, index: 0 };

struct TestEnv {
    scheduler: Scheduler,
    now: Instant,
    /// Assignments that were not revoked.
    assigned: Vec<(WorkerId, AssignmentId, Block)>,
    actions: Vec<Action>,
    /// Whether each partial that came inline was kept.
    verdicts: Vec<bool>,
}

/// The failure of a run after the default number of workers died with one replica.
fn crashes(replica: u32) -> RunFailure {
    RunFailure::Crashes { step: STEP, replicas: vec![replica], workers: 3 }
}

fn block(level: u8, index: u32) -> Block {
    Block { level, index }
}

impl TestEnv {
    /// Run 1 is active on workers 1 to `workers`, each with one slot, and its
    /// first step has `replicas`.
    fn new(workers: u64, replicas: u32) -> Self {
        Self::with(Scheduler::new(SchedulerConfig::default()), workers, replicas)
    }

    fn with(scheduler: Scheduler, workers: u64, replicas: u32) -> Self {
        let (assigned, actions, verdicts) = (Vec::new(), Vec::new(), Vec::new());
        let mut env = Self { scheduler, now: Instant::now(), assigned, actions, verdicts };
        for worker in 1..=workers {
            env.join(worker);
        }
        env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait: None });
        env.tell(Event::StepReady { step: STEP, replicas, audited: Vec::new() });
        env
    }

    fn tell(&mut self, event: Event) {
        self.scheduler.handle_event(self.now, event);
        self.settle();
    }

    /// Lets time pass, with all timeouts on the way. Workers beside `silent`
    /// are heard.
    fn pass(&mut self, time: Duration, silent: &[u64]) {
        let end = self.now + time;
        while self.now < end {
            self.now = end.min(self.now + Duration::from_millis(100));
            for worker in self.workers().into_iter().filter(|it| !silent.contains(&it.0)) {
                self.tell(Event::WorkerHeard { worker });
            }
            if self.scheduler.poll_timeout().is_some_and(|due| due <= self.now) {
                self.scheduler.handle_timeout(self.now);
                self.settle();
            }
        }
    }

    fn workers(&self) -> Vec<WorkerId> {
        self.scheduler.members.keys().copied().collect()
    }

    fn block_done(&mut self, done: BlockDone) {
        let verdict = self.scheduler.block_done(self.now, done);
        if done.inline {
            self.verdicts.push(verdict == Verdict::Keep);
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(action) = self.scheduler.poll_action() {
            match &action {
                Action::Assign { worker, assignment, block, .. } => {
                    self.assigned.push((*worker, *assignment, *block));
                }
                Action::Revoke { assignment, .. } => {
                    self.assigned.retain(|(_, id, _)| id != assignment);
                }
                _ => {}
            }
            self.actions.push(action);
        }
        self.scheduler.check().unwrap();
    }

    fn join(&mut self, worker: u64) {
        self.come_back(worker, worker);
    }

    /// The process of worker `as_was` connects as worker `worker`.
    fn come_back(&mut self, as_was: u64, worker: u64) {
        let (worker, process) = (WorkerId(worker), ProcessId(as_was));
        self.tell(Event::WorkerJoined { worker, process, slots: 1 });
    }

    /// A worker says that it begins what it has.
    fn start(&mut self, worker: u64) {
        let its = self.assigned.clone().into_iter().filter(|(held_by, ..)| held_by.0 == worker);
        for (worker, assignment, _) in its {
            self.tell(Event::Started { worker, assignment });
        }
    }

    fn crash(&mut self, worker: u64) {
        self.go(worker, Departure::Crashed);
    }

    fn go(&mut self, worker: u64, how: Departure) {
        self.assigned.retain(|(held_by, ..)| *held_by != WorkerId(worker));
        let (worker, reason) = (WorkerId(worker), "closed by the peer".to_owned());
        self.tell(Event::WorkerGone { worker, how, reason });
    }

    fn done(&mut self, worker: u64, block: Block, inline: bool) {
        let worker = WorkerId(worker);
        self.assigned.retain(|(held_by, _, held)| (*held_by, *held) != (worker, block));
        let compute = Duration::from_millis(10);
        self.block_done(BlockDone { worker, step: STEP, block, inline, compute });
    }

    /// A replica in a worker's hands gives an error.
    fn fail(&mut self, worker: u64, replica: u32) {
        let is_its = |(held_by, _, held): &(WorkerId, AssignmentId, Block)| {
            held_by.0 == worker && held.contains(Block::of_replica(replica))
        };
        let place = self.assigned.iter().position(is_its).expect("it is in these hands");
        let (worker, assignment, _) = self.assigned.remove(place);
        let error = "out of memory".to_owned();
        self.tell(Event::ShardFailed { worker, assignment, replica, fatal: false, error });
    }

    /// All that is assigned is done.
    fn all_done(&mut self) {
        while let Some((worker, _, block)) = self.assigned.first().copied() {
            self.done(worker.0, block, false);
        }
    }

    /// The blocks in workers' hands of which it is to be said that they begin.
    fn to_confirm(&self) -> Vec<Block> {
        let is_held = |id: &AssignmentId| self.assigned.iter().any(|(_, held, _)| held == id);
        let to_confirm = self.actions.iter().filter_map(|action| match action {
            Action::Assign { assignment, block, confirm: true, .. } => Some((assignment, *block)),
            _ => None,
        });
        to_confirm.filter(|(id, _)| is_held(id)).map(|(_, block)| block).collect()
    }

    /// The blocks in a worker's hands.
    fn held(&self, worker: u64) -> Vec<Block> {
        let held = self.assigned.iter().filter(|(held_by, ..)| *held_by == WorkerId(worker));
        held.map(|(_, _, block)| *block).collect()
    }

    fn merges(&self) -> Vec<Vec<PartialRef>> {
        let merge = |action: &Action| match action {
            Action::Merge { parts, .. } => Some(parts.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(merge).collect()
    }

    fn failure(&self) -> Option<&RunFailure> {
        self.actions.iter().find_map(|action| match action {
            Action::FailRun { reason, .. } => Some(reason),
            _ => None,
        })
    }
}

#[test]
fn a_step_is_shared_and_merged() {
    let mut env = TestEnv::new(3, 8);
    let sizes = |worker| env.held(worker).iter().map(|it| it.replicas(8).len()).sum::<usize>();
    assert_eq!([sizes(1), sizes(2), sizes(3)], [3, 3, 2]);
    env.all_done();
    assert_eq!(env.merges().len(), 1);
    env.tell(Event::StepMerged { step: STEP });
    env.tell(Event::RunEnded { run: RUN });
    assert!(env.scheduler.active.is_none() && env.scheduler.poll_action().is_none());
}

#[test]
fn runs_wait_for_each_other_and_for_workers() {
    let mut env = TestEnv::new(1, 1);
    env.tell(Event::RunSubmitted { run: RunId(2), min_workers: 2, rejoin_wait: None });
    env.tell(Event::RunSubmitted { run: RunId(3), min_workers: 0, rejoin_wait: None });
    env.tell(Event::RunSubmitted { run: RunId(4), min_workers: 0, rejoin_wait: None });
    env.tell(Event::RunCancelled { run: RUN });
    assert_eq!(env.actions.last(), Some(&Action::StartRun { run: RunId(3) }), "it has enough");
    assert!(!env.actions.contains(&Action::StartRun { run: RunId(2) }));
    env.join(2);
    env.tell(Event::RunEnded { run: RunId(3) });
    assert_eq!(env.actions.last(), Some(&Action::StartRun { run: RunId(2) }), "it came first");
    env.tell(Event::RunEnded { run: RunId(2) });
    assert_eq!(env.actions.last(), Some(&Action::StartRun { run: RunId(4) }));
}

#[test]
fn a_larger_block_takes_the_place_of_its_parts() {
    let mut env = TestEnv::new(2, 4);
    env.done(1, block(0, 0), true);
    env.done(2, block(1, 0), true);
    env.done(1, block(0, 1), true);
    env.done(2, block(1, 1), true);
    assert_eq!(env.verdicts, [true, true, false, true]);
    let part = |index| PartialRef { block: block(1, index), holder: None };
    assert_eq!(env.merges(), [vec![part(0), part(1)]]);
}

#[test]
fn a_late_offer_of_another_connection_counts() {
    let mut env = TestEnv::new(1, 8);
    env.crash(1);
    env.join(2);
    assert_eq!(env.held(2).len(), 2, "a block goes on in halves after a crash");
    env.done(2, block(3, 0), false);
    assert!(env.assigned.is_empty(), "the halves are revoked");
    assert_eq!(env.merges(), [vec![PartialRef { block: block(3, 0), holder: Some(WorkerId(2)) }]]);
}

#[test]
fn the_clipped_end_of_a_step_may_be_said_in_many_ways() {
    let mut env = TestEnv::new(1, 5);
    env.done(1, block(0, 4), true);
    env.done(1, block(2, 1), true);
    env.done(1, block(2, 0), true);
    assert_eq!(env.verdicts, [true, false, true]);
    assert_eq!(env.merges().len(), 1);
}

#[test]
fn nonsense_changes_nothing() {
    let mut env = TestEnv::new(1, 4);
    let before = env.actions.len();
    let worker = WorkerId(1);
    for block in [block(255, u32::MAX), block(3, 0), block(0, 4), block(2, 1)] {
        env.done(1, block, false);
        env.tell(Event::PartialMissing { worker, step: STEP, block });
    }
    env.done(77, block(2, 0), false);
    let other = StepId { run: RunId(9), index: u64::MAX };
    env.tell(Event::StepMerged { step: STEP });
    env.tell(Event::StepMerged { step: other });
    env.tell(Event::StepReady { step: other, replicas: 3, audited: Vec::new() });
    env.tell(Event::RunEnded { run: RunId(9) });
    env.tell(Event::Progress {
        worker,
        assignment: AssignmentId(1),
        running: vec![9, u32::MAX],
        shards_done: u32::MAX,
    });
    env.tell(Event::ShardFailed {
        worker,
        assignment: AssignmentId(1),
        replica: 4,
        fatal: true,
        error: String::new(),
    });
    assert_eq!(env.actions.len(), before);
}

#[test]
fn the_silent_are_lost_exactly_in_time() {
    let mut env = TestEnv::new(1, 4);
    let timeout = SchedulerConfig::default().heartbeat_timeout;
    assert_eq!(env.scheduler.poll_timeout(), Some(env.now + timeout));
    env.pass(timeout - Duration::from_millis(100), &[1]);
    assert_eq!(env.workers().len(), 1);
    env.pass(Duration::from_millis(100), &[1]);
    assert!(env.workers().is_empty());
    let is_disconnect = |it: &Action| matches!(it, Action::Disconnect { .. });
    assert!(env.actions.iter().any(is_disconnect));
}

#[test]
fn slow_blocks_are_run_again_on_idle_workers() {
    let mut env = TestEnv::new(2, 2);
    env.done(1, block(0, 0), false);
    env.pass(Duration::from_millis(200), &[2]);
    assert!(env.held(1).is_empty());
    env.pass(Duration::from_millis(100), &[2]);
    assert_eq!(env.held(1), [block(0, 1)]);
    let is_slow = |it: &Action| matches!(it, Action::Note { what: WorkerEvent::Slow, .. });
    assert_eq!(env.actions.iter().filter(|it| is_slow(it)).count(), 1);
    env.done(1, block(0, 1), false);
    assert!(env.assigned.is_empty(), "the slow copy is revoked");
    // A stopped worker gets nothing new until it is heard.
    env.tell(Event::StepMerged { step: STEP });
    env.tell(Event::StepReady {
        step: StepId { index: 1, ..STEP },
        replicas: 2,
        audited: Vec::new(),
    });
    assert_eq!(env.held(1), [block(1, 0)]);
}

#[test]
fn who_is_heard_after_long_is_given_work_by_what_it_says() {
    let news: [fn(WorkerId) -> Event; 2] = [
        |worker| {
            let error = "a bit flipped".into();
            Event::PartialAltered { worker, step: STEP, block: block(0, 1), error }
        },
        |worker| Event::WorkerCannot { worker, run: RUN, reason: "the model is unknown".into() },
    ];
    for (news, given) in news.into_iter().zip([1, 0]) {
        let mut env = TestEnv::new(2, 2);
        env.done(1, block(0, 0), true);
        env.pass(Duration::from_millis(300), &[2]);
        // The copy is there first, and lost.
        env.done(1, block(0, 1), false);
        env.crash(1);
        assert!(env.assigned.is_empty());
        env.tell(news(WorkerId(2)));
        assert_eq!(env.held(2).len(), given);
    }
}

#[test]
fn who_hands_back_gets_nothing_more() {
    let mut env = TestEnv::new(2, 2);
    let (worker, assignment, _) = env.assigned.remove(0);
    env.tell(Event::WorkerDraining { worker });
    env.tell(Event::HandedBack { worker, assignment });
    assert_eq!(env.held(2).len(), 2);
    env.all_done();
    assert_eq!(env.merges().len(), 1);
}

#[test]
fn check_finds_injected_bugs() {
    let mut env = TestEnv::with(
        Scheduler::with_bug(SchedulerConfig::default(), InjectedBug::MergeEarly),
        2,
        2,
    );
    let compute = Duration::from_millis(10);
    let (worker, block) = (WorkerId(1), block(0, 0));
    let done = BlockDone { worker, step: STEP, block, inline: true, compute };
    let _ = env.scheduler.block_done(env.now, done);
    assert!(env.scheduler.check().is_err());
}

#[test]
fn what_was_finished_before_a_restart_is_not_handed_out_again() {
    let wait = Duration::from_secs(5);
    let mut env = TestEnv::new(0, 0);
    env.scheduler = Scheduler::new(SchedulerConfig::default());
    env.join(1);
    let rejoin_wait = Some(RejoinWait { workers: 2, wait });
    env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait });
    env.tell(Event::StepReady { step: STEP, replicas: 4, audited: Vec::new() });
    env.done(1, block(1, 1), true);
    env.tell(Event::RunOpened { worker: WorkerId(1), run: RUN });
    assert!(env.assigned.is_empty(), "the other worker may come back");
    env.join(2);
    env.tell(Event::RunOpened { worker: WorkerId(2), run: RUN });
    let handed: Vec<Block> = env.assigned.iter().map(|(_, _, block)| *block).collect();
    assert_eq!(handed, [block(0, 0), block(0, 1)]);
    let offered = |action: &&Action| matches!(action, Action::Offered { block: it, .. } if *it == block(1, 1));
    assert_eq!(env.actions.iter().filter(offered).count(), 1);
    env.all_done();
    assert_eq!(env.merges().len(), 1);
}

#[test]
fn what_an_offer_leaves_undone_is_handed_out() {
    for offered in [block(0, 0), block(0, 3), block(1, 0), block(1, 1), block(2, 1)] {
        let wait = Duration::from_secs(5);
        let mut env = TestEnv::new(0, 0);
        env.scheduler = Scheduler::new(SchedulerConfig::default());
        env.join(1);
        let rejoin_wait = Some(RejoinWait { workers: 1, wait });
        env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait });
        env.tell(Event::StepReady { step: STEP, replicas: 8, audited: Vec::new() });
        env.done(1, offered, true);
        env.tell(Event::RunOpened { worker: WorkerId(1), run: RUN });
        env.all_done();
        assert_eq!(env.merges().len(), 1, "{offered}");
    }
}

#[test]
fn nobody_waits_for_ever_for_those_who_do_not_come_back() {
    let mut env = TestEnv::new(0, 0);
    env.scheduler = Scheduler::new(SchedulerConfig::default());
    env.join(1);
    let rejoin_wait = Some(RejoinWait { workers: 2, wait: Duration::from_secs(5) });
    env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait });
    env.tell(Event::StepReady { step: STEP, replicas: 4, audited: Vec::new() });
    env.tell(Event::RunOpened { worker: WorkerId(1), run: RUN });
    env.pass(Duration::from_millis(4900), &[]);
    assert!(env.assigned.is_empty());
    env.pass(Duration::from_millis(200), &[]);
    assert_eq!(env.held(1), [block(2, 0)]);
    // All at once: nothing is left to hand out.
    let mut env = TestEnv::new(0, 0);
    env.scheduler = Scheduler::new(SchedulerConfig::default());
    env.join(1);
    env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait });
    env.tell(Event::StepReady { step: STEP, replicas: 4, audited: Vec::new() });
    env.done(1, block(2, 0), false);
    assert_eq!(env.merges().len(), 1);
    env.tell(Event::StepMerged { step: STEP });
    env.tell(Event::StepReady {
        step: StepId { run: RUN, index: 1 },
        replicas: 4,
        audited: Vec::new(),
    });
    assert_eq!(env.held(1), [block(2, 0)], "the next step waits for nobody");
}
