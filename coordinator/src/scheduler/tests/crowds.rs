//! Many workers, many shards: what is handed out in one turn is bounded.

use common::limits::{ASSIGNMENTS, CONTROL_QUEUE, OTHER_CONTROL, PULLS};

use super::*;

impl TestEnv {
    /// Messages that a worker was sent since `before`.
    fn said_to(&self, worker: u64, before: usize) -> usize {
        let is_said = |action: &&Action| match action {
            Action::Assign { worker: to, .. } | Action::Revoke { worker: to, .. } => to.0 == worker,
            _ => false,
        };
        self.actions[before..].iter().filter(is_said).count()
    }
}

#[test]
fn who_survives_all_others_is_given_what_it_can_take_in() {
    const WORKERS: u64 = 121;
    const MAX_REPLICAS: u32 = 3720;
    for how in [Departure::Left, Departure::Crashed] {
        let mut env = TestEnv::new(WORKERS, MAX_REPLICAS);
        let room = CONTROL_QUEUE - PULLS - OTHER_CONTROL;
        let mut before = env.actions.len();
        for worker in 2..=WORKERS {
            env.go(worker, how);
            let said = env.said_to(1, before);
            assert!(said <= room, "{said} messages in one turn");
            before = env.actions.len();
        }
        assert!(env.held(1).len() <= ASSIGNMENTS);
        assert_eq!(env.failure(), None);
        env.all_done();
        assert_eq!(env.merges().len(), 1);
    }
}

#[test]
fn siblings_that_wait_are_joined_again() {
    let mut env = TestEnv::new(3, 24);
    env.tell(Event::WorkerDraining { worker: WorkerId(3) });
    let held: Vec<_> = env.assigned.clone();
    env.tell(Event::WorkerDraining { worker: WorkerId(1) });
    env.tell(Event::WorkerDraining { worker: WorkerId(2) });
    env.assigned.clear();
    for (worker, assignment, _) in held {
        env.tell(Event::HandedBack { worker, assignment });
    }
    env.join(4);
    assert_eq!(env.held(4), [block(5, 0)], "24 of 32 replicas exist");
}

#[test]
fn what_cannot_be_joined_is_handed_out_bit_by_bit() {
    const MAX_REPLICAS: u32 = 1024;
    let mut env = TestEnv::new(0, 0);
    env.scheduler = Scheduler::new(SchedulerConfig::default());
    env.join(1);
    let rejoin_wait = Some(RejoinWait { workers: 1, wait: Duration::from_secs(5) });
    env.tell(Event::RunSubmitted { run: RUN, min_workers: 0, rejoin_wait });
    env.tell(Event::StepReady { step: STEP, replicas: MAX_REPLICAS, audited: Vec::new() });
    for replica in (0..MAX_REPLICAS).step_by(2) {
        env.done(1, block(0, replica), true);
    }
    env.tell(Event::RunOpened { worker: WorkerId(1), run: RUN });
    assert_eq!(env.held(1).len(), ASSIGNMENTS);
    env.join(2);
    assert_eq!(env.held(2).len(), ASSIGNMENTS);
    while let Some((worker, _, block)) = env.assigned.first().copied() {
        env.done(worker.0, block, true);
        assert!([1, 2].into_iter().all(|worker| env.held(worker).len() <= ASSIGNMENTS));
    }
    assert_eq!(env.merges().len(), 1);
}
