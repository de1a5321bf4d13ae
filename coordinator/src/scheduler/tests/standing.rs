//! Workers that fail again and again.

use super::*;

impl TestEnv {
    /// Step `index` begins, of eight replicas, and is done but for what `failing`
    /// has: that fails there, and is done by others. Gives the replicas that this
    /// worker was given.
    fn step_in_which(&mut self, index: u64, failing: Option<u64>) -> usize {
        let step = StepId { index, ..STEP };
        self.tell(Event::StepReady { step, replicas: 8, audited: Vec::new() });
        let share = |env: &Self| env.held(2).iter().map(|it| it.replicas(8).len()).sum::<usize>();
        let given = share(self);
        if let Some(worker) = failing.filter(|_| given > 0) {
            let replica = self.held(worker)[0].start() as u32;
            self.fail(worker, replica);
        }
        self.end(step);
        given
    }

    /// All that is still assigned of a step of eight replicas is done.
    fn end(&mut self, step: StepId) {
        while let Some((worker, _, block)) = self.assigned.first().copied() {
            self.assigned.remove(0);
            self.done_of(step, worker, block, true);
        }
        self.tell(Event::StepMerged { step });
    }

    fn done_of(&mut self, step: StepId, worker: WorkerId, block: Block, inline: bool) {
        let compute = Duration::from_millis(10) * block.replicas(8).len() as u32;
        self.block_done(BlockDone { worker, step, block, inline, compute });
    }

    fn steps_in_which(&mut self, indexes: std::ops::RangeInclusive<u64>, failing: Option<u64>) {
        for index in indexes {
            self.step_in_which(index, failing);
        }
    }
}

fn two_workers() -> TestEnv {
    let mut env = TestEnv::new(2, 2);
    env.all_done();
    env.tell(Event::StepMerged { step: STEP });
    env
}

#[test]
fn who_fails_in_step_after_step_gets_less_and_then_nothing() {
    let mut env = two_workers();
    let given: Vec<usize> = (1..=8).map(|index| env.step_in_which(index, Some(2))).collect();
    assert!(given[0] == 4 && given[2] < 4 && given[4] <= given[2], "{given:?}");
    assert_eq!(given[5..], [0, 0, 0]);
    assert!(env.scheduler.is_set_aside(WorkerId(2)) && !env.scheduler.is_set_aside(WorkerId(1)));
    let aside = Detail::SetAside { steps: 5, wait: Duration::from_secs(60) };
    let is_told = |it: &Action| matches!(it, Action::Note { detail, .. } if *detail == aside);
    assert_eq!(env.actions.iter().filter(|it| is_told(it)).count(), 1);
    // Its process is known, whatever its connection.
    env.go(2, Departure::Left);
    env.come_back(2, 3);
    assert!(env.scheduler.is_set_aside(WorkerId(3)));
}

#[test]
fn who_was_set_aside_is_tried_again_and_stands_well_in_the_end() {
    let mut env = two_workers();
    env.steps_in_which(1..=6, Some(2));
    env.now += Duration::from_secs(60);
    env.tell(Event::WasAway);
    assert_eq!(env.step_in_which(7, None), 1, "a fifth of what the other one gets");
    env.steps_in_which(8..=12, None);
    assert_eq!(env.step_in_which(13, None), 4);
    // One failure now and then is nothing.
    for index in 14..40 {
        let failing = (index % 2 == 0).then_some(2);
        assert!(env.step_in_which(index, failing) > 0, "step {index}");
    }
}

#[test]
fn a_lone_worker_works_however_often_it_fails() {
    let mut env = two_workers();
    env.steps_in_which(1..=6, Some(2));
    assert_eq!(env.step_in_which(7, None), 0);
    let step = StepId { index: 8, ..STEP };
    env.tell(Event::StepReady { step, replicas: 8, audited: Vec::new() });
    assert_eq!(env.held(2), []);
    env.crash(1);
    assert!(!env.held(2).is_empty());
}

#[test]
fn partials_that_are_missing_now_and_then_send_nobody_away() {
    let mut env = TestEnv::new(1, 1);
    for index in 0..20 {
        let step = StepId { index, ..STEP };
        env.tell(Event::StepReady { step, replicas: 1, audited: Vec::new() });
        let (worker, shard, compute) = (WorkerId(1), block(0, 0), Duration::from_millis(10));
        let done = BlockDone { worker, step, block: shard, inline: false, compute };
        env.block_done(done);
        env.tell(Event::PartialMissing { worker, step, block: shard });
        env.block_done(done);
        env.assigned.clear();
        env.tell(Event::StepMerged { step });
    }
    assert_eq!(env.workers().len(), 1);
}

/// Whether the second of two workers is set aside once the same happened to it in
/// five steps, each time with the first of the blocks that it has.
fn is_set_aside_by(injure: impl Fn(&mut TestEnv, StepId, WorkerId, Block)) -> bool {
    let mut env = two_workers();
    let second = |env: &TestEnv| *env.workers().last().expect("both are there");
    for index in 1..=5 {
        let worker = second(&env);
        assert!(!env.scheduler.is_set_aside(worker), "in step {index}");
        let step = StepId { index, ..STEP };
        env.tell(Event::StepReady { step, replicas: 8, audited: Vec::new() });
        let block = env.held(worker.0)[0];
        injure(&mut env, step, worker, block);
        env.end(step);
    }
    env.scheduler.is_set_aside(second(&env))
}

#[test]
fn who_is_lost_with_work_in_hand_in_step_after_step_is_set_aside() {
    // Whoever says goodbye may go as often as it likes.
    for (how, is_failure) in
        [(Departure::Parted, true), (Departure::Crashed, true), (Departure::Left, false)]
    {
        let is_aside = is_set_aside_by(|env, _, worker, _| {
            env.go(worker.0, how);
            env.come_back(2, worker.0 + 1);
        });
        assert_eq!(is_aside, is_failure, "{how:?}");
    }
}

#[test]
fn whose_partials_are_missing_in_step_after_step_is_set_aside() {
    assert!(is_set_aside_by(|env, step, worker, block| {
        env.assigned.retain(|(held_by, _, held)| (*held_by, *held) != (worker, block));
        env.done_of(step, worker, block, false);
        env.tell(Event::PartialMissing { worker, step, block });
    }));
}

#[test]
fn whose_partials_cannot_be_in_step_after_step_is_set_aside() {
    assert!(is_set_aside_by(|env, step, worker, block| {
        env.assigned.retain(|(held_by, _, held)| (*held_by, *held) != (worker, block));
        let error = "a bit flipped".to_owned();
        env.tell(Event::PartialAltered { worker, step, block, error });
    }));
}
