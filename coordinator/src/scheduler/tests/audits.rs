//! Audits by example.

use super::UnauditedReason::*;
use super::*;

/// A cluster whose first step has audited shards.
fn audited(workers: u64, replicas: u32, audited: &[u32]) -> TestEnv {
    let mut env = TestEnv::new(0, 0);
    env.scheduler = Scheduler::new(SchedulerConfig::default());
    (1..=workers).for_each(|worker| env.join(worker));
    env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait: None });
    env.tell(Event::StepReady { step: STEP, replicas, audited: audited.to_vec() });
    env
}

impl TestEnv {
    /// The replicas that two processes have answered, and those that go without, and why.
    fn audits(&self) -> (Vec<u32>, Vec<(u32, UnauditedReason)>) {
        let (mut audited, mut unaudited) = (Vec::new(), Vec::new());
        for action in &self.actions {
            match action {
                Action::Audited { replica, .. } => audited.push(*replica),
                Action::Unaudited { replica, reason, .. } => unaudited.push((*replica, *reason)),
                _ => {}
            }
        }
        (audited, unaudited)
    }
}

#[test]
fn an_audited_shard_is_answered_by_two_before_its_step_is_merged() {
    let mut env = audited(2, 4, &[1, 2]);
    env.done(1, block(1, 0), true);
    assert_eq!(env.held(2), [block(1, 1), block(0, 1)]);
    env.done(2, block(1, 1), true);
    assert_eq!(env.held(1), [block(0, 2)]);
    env.done(1, block(0, 2), true);
    assert!(env.merges().is_empty(), "replica 1 has one answer");
    env.done(2, block(0, 1), true);
    assert_eq!((env.audits(), env.merges().len()), ((vec![2, 1], vec![]), 1));
    assert_eq!(env.verdicts, [true, true, false, false], "the first answer is merged");
    let duplicates = |it: &Action| matches!(it, Action::Note { what: WorkerEvent::Duplicate, .. });
    assert!(!env.actions.iter().any(duplicates));
}

#[test]
fn a_lone_worker_is_not_audited_and_not_held_up() {
    let mut env = audited(1, 2, &[0, 1]);
    env.all_done();
    assert_eq!(
        (env.audits(), env.merges().len()),
        ((vec![], vec![(0, NoWorker), (1, NoWorker)]), 1)
    );
    // The same process on two connections is one.
    let mut env = audited(1, 2, &[0]);
    env.come_back(1, 2);
    env.all_done();
    assert_eq!((env.audits(), env.merges().len()), ((vec![], vec![(0, NoWorker)]), 1));
}

#[test]
fn an_audit_goes_on_elsewhere_or_without_when_its_worker_goes() {
    let mut env = audited(3, 1, &[0]);
    env.done(1, block(0, 0), true);
    assert_eq!(env.held(2), [block(0, 0)]);
    env.crash(2);
    assert_eq!(env.held(3), [block(0, 0)]);
    env.assigned.clear();
    env.tell(Event::WorkerDraining { worker: WorkerId(3) });
    assert!(env.merges().is_empty(), "it may still end its work");
    let (worker, reason) = (WorkerId(3), "it said goodbye".to_owned());
    env.tell(Event::WorkerGone { worker, how: Departure::Left, reason });
    assert_eq!((env.audits(), env.merges().len()), ((vec![], vec![(0, NoWorker)]), 1));
}

#[test]
fn the_last_other_worker_that_drains_ends_the_wait() {
    let mut env = audited(2, 1, &[0]);
    env.tell(Event::WorkerDraining { worker: WorkerId(2) });
    env.done(1, block(0, 0), true);
    assert_eq!((env.audits(), env.merges().len()), ((vec![], vec![(0, NoWorker)]), 1));
}

#[test]
fn a_second_copy_that_failed_goes_to_somebody_else() {
    let mut env = audited(3, 1, &[0]);
    env.done(1, block(0, 0), true);
    for worker in [2, 3] {
        assert_eq!(env.held(worker), [block(0, 0)]);
        env.fail(worker, 0);
    }
}

#[test]
fn what_failed_or_killed_is_not_given_to_a_second_worker() {
    for crashes in [false, true] {
        let mut env = audited(2, 1, &[0]);
        let first = if env.held(1).is_empty() { 2 } else { 1 };
        if crashes {
            env.crash(first);
            env.join(9);
        } else {
            env.fail(first, 0);
        }
        let other = 3 - first;
        assert_eq!(env.held(other), [block(0, 0)]);
        env.done(other, block(0, 0), true);
        assert_eq!((env.audits(), env.merges().len()), ((vec![], vec![(0, ShardFailed)]), 1));
    }
}

#[test]
fn a_second_copy_that_gives_no_answer_is_given_up() {
    // By errors, which do not fail a shard that has been done.
    let mut env = audited(2, 1, &[0]);
    env.done(1, block(0, 0), true);
    for _ in 0..3 {
        let (worker, assignment, _) = env.assigned.remove(0);
        let error = "out of memory".to_owned();
        env.tell(Event::ShardFailed { worker, assignment, replica: 0, fatal: false, error });
    }
    assert_eq!((env.audits(), env.merges().len()), ((vec![], vec![(0, NoResult)]), 1));
    assert!(env.failure().is_none());
    // By silence: a worker that beats and does nothing.
    let mut env = audited(2, 1, &[0]);
    env.done(1, block(0, 0), true);
    env.pass(Duration::from_secs(60), &[]);
    assert_eq!((env.audits(), env.merges().len()), ((vec![], vec![(0, NoResult)]), 1));
    assert!(env.assigned.is_empty() && env.workers().len() == 2);
}

#[test]
fn the_second_answer_is_merged_where_the_first_is_lost() {
    let mut env = audited(2, 1, &[0]);
    env.done(1, block(0, 0), false);
    assert_eq!(env.held(2), [block(0, 0)]);
    env.crash(1);
    assert_eq!(env.held(2), [block(0, 0)], "it is in hands, and not handed out again");
    env.done(2, block(0, 0), false);
    assert_eq!(env.merges(), [vec![PartialRef { block: block(0, 0), holder: Some(WorkerId(2)) }]]);
    assert_eq!(env.audits(), (vec![0], vec![]));
}

#[test]
fn what_is_offered_after_a_restart_is_audited_too() {
    let mut env = TestEnv::new(0, 0);
    env.scheduler = Scheduler::new(SchedulerConfig::default());
    env.join(1);
    let rejoin_wait = Some(RejoinWait { workers: 2, wait: Duration::from_secs(5) });
    env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait });
    env.tell(Event::StepReady { step: STEP, replicas: 2, audited: vec![1] });
    env.done(1, block(1, 0), true);
    assert!(env.merges().is_empty() && env.assigned.is_empty(), "the other one may come back");
    env.tell(Event::RunOpened { worker: WorkerId(1), run: RUN });
    env.join(2);
    env.tell(Event::RunOpened { worker: WorkerId(2), run: RUN });
    assert_eq!(env.held(2), [block(0, 1)]);
    env.all_done();
    assert_eq!((env.audits(), env.merges().len()), ((vec![1], vec![]), 1));
}

#[test]
fn a_worker_gets_only_so_many_second_copies_in_a_step() {
    let replicas = 600;
    let mut env = audited(1, replicas, &(0..replicas).collect::<Vec<_>>());
    env.join(2);
    env.done(1, Block::root(replicas), true);
    assert_eq!(env.held(2).len(), common::limits::ASSIGNMENTS, "so many at a time");
    env.all_done();
    let (answered, without) = env.audits();
    assert_eq!((answered.len(), without.len(), env.merges().len()), (256, 600 - 256, 1));
    assert!(without.iter().all(|(_, reason)| *reason == NoRoom), "{without:?}");
    // A third one has room for more.
    let mut env = audited(1, replicas, &(0..replicas).collect::<Vec<_>>());
    env.join(2);
    env.join(3);
    env.done(1, Block::root(replicas), true);
    env.all_done();
    assert_eq!(env.audits().0.len(), 512);
}
