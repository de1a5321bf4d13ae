//! Failures by example: workers that die, shards that give errors, partials that are
//! not there or not as they were.

use super::*;
use crate::scheduler::deaths::TOGETHER;
use crate::scheduler::failure_record::FailureRecord;

#[test]
fn a_lost_holder_pauses_the_merge() {
    let mut env = TestEnv::new(2, 2);
    env.done(1, block(0, 0), false);
    env.done(2, block(0, 1), true);
    env.crash(1);
    assert!(env.actions.contains(&Action::PauseMerge { step: STEP }));
    assert_eq!(env.held(2), [block(0, 0)]);
    env.done(2, block(0, 0), false);
    assert_eq!(env.merges().len(), 2);
    env.tell(Event::PartialMissing { worker: WorkerId(2), step: STEP, block: block(0, 0) });
    assert_eq!(env.held(2), [block(0, 0)]);
    env.done(2, block(0, 0), true);
    env.crash(2);
    assert_eq!(env.merges().len(), 3, "what came inline outlives its worker");
}

#[test]
fn who_does_not_give_its_partial_gets_no_more_of_the_step_while_others_can() {
    let mut env = TestEnv::new(2, 4);
    let [first, second] = [1, 2].map(|worker| env.held(worker)[0]);
    env.done(1, first, false);
    env.done(2, second, false);
    env.tell(Event::PartialMissing { worker: WorkerId(1), step: STEP, block: first });
    assert_eq!((env.held(1), env.held(2)), (vec![], vec![first]));
    env.crash(2);
    assert!(!env.held(1).is_empty(), "nobody else is there");
}

#[test]
fn who_did_not_give_its_partial_works_on_while_the_others_are_alone_with_a_suspect() {
    let config = SchedulerConfig { assignments: 1, ..SchedulerConfig::default() };
    let mut env = TestEnv::with(Scheduler::new(config), 3, 4);
    let [first, second] = [block(1, 0), block(0, 2)];
    env.done(1, first, false);
    env.tell(Event::PartialMissing { worker: WorkerId(1), step: STEP, block: first });
    let (worker, assignment, _) = *env.assigned.iter().find(|(by, ..)| by.0 == 3).unwrap();
    let (running, shards_done) = (vec![3], 0);
    env.tell(Event::Progress { worker, assignment, running, shards_done });
    env.crash(3);
    assert!(env.held(1).is_empty(), "another one will have time");
    env.done(2, second, true);
    assert_eq!((env.held(2), env.held(1)), (vec![block(0, 3)], vec![first]));
}

#[test]
fn a_worker_that_lacks_what_it_claims_is_sent_away() {
    let mut env = TestEnv::new(1, 1);
    for _ in 0..8 {
        env.done(1, block(0, 0), false);
        let (worker, block) = (WorkerId(1), block(0, 0));
        env.tell(Event::PartialMissing { worker, step: STEP, block });
    }
    assert!(env.workers().is_empty());
    assert!(env.failure().is_none());
    let reason = LossReason::MissingPartials { partials: 8 };
    assert!(env.actions.contains(&Action::Disconnect { worker: WorkerId(1), reason }));
}

#[test]
fn what_came_altered_goes_to_others_and_fails_the_run_when_it_comes_again() {
    let altered = |env: &mut TestEnv, worker: u64, block: Block| {
        let error = "a bit flipped".to_owned();
        env.assigned.retain(|(held_by, _, held)| (held_by.0, *held) != (worker, block));
        env.tell(Event::PartialAltered { worker: WorkerId(worker), step: STEP, block, error });
    };
    let mut env = TestEnv::new(2, 4);
    altered(&mut env, 1, block(1, 0));
    assert!(env.held(1).is_empty());
    assert_eq!(env.held(2), [block(1, 1), block(0, 0), block(0, 1)], "one by one, elsewhere");
    env.done(2, block(1, 1), false);
    env.done(2, block(0, 0), false);
    env.done(2, block(0, 1), false);
    assert_eq!(env.merges().len(), 1);
    // Found while it is merged.
    altered(&mut env, 2, block(1, 1));
    assert!(env.actions.contains(&Action::PauseMerge { step: STEP }));
    assert_eq!(env.held(1), [block(0, 2), block(0, 3)]);
    // Of what is done by now, it does not matter.
    env.done(1, block(0, 2), true);
    altered(&mut env, 2, block(0, 2));
    assert!(env.failure().is_none());
    altered(&mut env, 1, block(0, 3));
    let error = "a bit flipped".to_owned();
    let altered = RunFailure::Altered { error, times: 2, worker: WorkerId(1) };
    assert_eq!(env.failure(), Some(&altered), "twice is too often");
}

#[test]
fn what_failed_on_a_worker_is_not_copied_back_to_it() {
    let mut env = TestEnv::new(2, 2);
    env.fail(1, 0);
    assert_eq!(env.held(2), [block(0, 1), block(0, 0)]);
    env.done(2, block(0, 1), false);
    env.pass(Duration::from_secs(60), &[]);
    assert!(env.held(1).is_empty(), "it is slow, but would fail again");
    env.join(3);
    env.pass(Duration::from_secs(1), &[]);
    assert_eq!((env.held(1), env.held(3)), (vec![], vec![block(0, 0)]));
}

#[test]
fn a_poison_shard_is_cornered_and_fails_the_run() {
    let poison = 5;
    let mut env = TestEnv::new(2, 8);
    let mut worker = 2;
    while env.failure().is_none() {
        let held = env.assigned.iter().find(|(.., it)| it.replicas(8).contains(&poison));
        let Some((victim, ..)) = held.copied() else {
            env.pass(TOGETHER, &[]);
            break;
        };
        // The others get their work done first.
        let others = env.assigned.clone().into_iter().filter(|(held_by, ..)| *held_by != victim);
        for (held_by, _, block) in others.collect::<Vec<_>>() {
            env.done(held_by.0, block, true);
        }
        env.start(victim.0);
        env.crash(victim.0);
        worker += 1;
        env.join(worker);
        assert!(worker < 8, "the poison is not found");
    }
    assert_eq!(env.failure(), Some(&crashes(poison)));
    assert_eq!(env.failure().and_then(RunFailure::shard), Some((STEP, poison)));
    assert!(env.assigned.is_empty());
}

#[test]
fn workers_that_fall_silent_together_fail_nothing() {
    let mut env = TestEnv::new(6, 6);
    env.pass(Duration::from_secs(1), &[]);
    let handed_out = env.assigned.len();
    env.pass(SchedulerConfig::default().heartbeat_timeout, &[1, 2, 3, 4, 5, 6]);
    assert!(env.workers().is_empty());
    assert_eq!(env.assigned.len(), handed_out, "none of it went to another silent one");
    assert_eq!(env.failure(), None);
    env.assigned.clear();
    env.join(7);
    env.all_done();
    assert_eq!(env.merges().len(), 1);
}

#[test]
fn what_a_silent_worker_was_given_after_its_last_sign_of_life_is_not_suspected() {
    let timeout = SchedulerConfig::default().heartbeat_timeout;
    let mut env = TestEnv::new(1, 1);
    for worker in 1..8 {
        assert_eq!(env.held(worker), [block(0, 0)]);
        env.pass(timeout, &[worker]);
        env.assigned.clear();
        env.join(worker + 1);
    }
    assert_eq!(env.failure(), None);
    // What they had before their last sign of life is another matter.
    for worker in 8..12 {
        assert_eq!(env.failure(), None);
        env.pass(Duration::from_secs(1), &[]);
        env.start(worker);
        env.pass(timeout, &[worker]);
        env.assigned.clear();
        env.join(worker + 1);
    }
    assert!(env.failure().is_some());
}

#[test]
fn workers_that_all_die_within_a_second_count_for_no_shard() {
    let mut env = TestEnv::new(6, 6);
    for first in [1, 7, 13, 19] {
        for worker in first..first + 6 {
            env.now += Duration::from_millis(100);
            env.crash(worker);
        }
        assert_eq!(env.failure(), None);
        env.now += Duration::from_secs(2);
        (first + 6..first + 12).for_each(|worker| env.join(worker));
    }
    env.all_done();
    assert_eq!(env.merges().len(), 1);
}

#[test]
fn deaths_of_one_shard_in_all_workers_count_however_fast_they_are() {
    let mut env = TestEnv::new(4, 1);
    for worker in 1..5 {
        assert_eq!(env.held(worker), [block(0, 0)]);
        env.start(worker);
        env.crash(worker);
    }
    env.pass(TOGETHER, &[]);
    assert_eq!(env.failure(), Some(&crashes(0)), "it may have killed all three");
}

#[test]
fn who_did_not_say_that_it_begins_a_suspect_has_not_died_of_it() {
    let mut env = TestEnv::new(1, 1);
    for worker in 1..20 {
        env.now += Duration::from_secs(2);
        env.crash(worker);
        env.join(worker + 1);
        assert_eq!(
            (env.held(worker + 1), env.to_confirm()),
            (vec![block(0, 0)], vec![block(0, 0)])
        );
    }
    assert_eq!(env.failure(), None);
    env.done(20, block(0, 0), true);
    assert_eq!(env.merges().len(), 1);
}

#[test]
fn who_parted_with_a_reason_has_died_of_nothing() {
    let mut env = TestEnv::new(1, 1);
    for worker in 1..20 {
        env.start(worker);
        env.go(worker, Departure::Parted);
        env.join(worker + 1);
        assert_eq!((env.held(worker + 1), env.to_confirm()), (vec![block(0, 0)], vec![]));
    }
    // Nor does it take back that others may have.
    env.crash(20);
    env.join(21);
    env.start(21);
    env.go(21, Departure::Parted);
    env.join(22);
    assert_eq!(env.to_confirm(), [block(0, 0)]);
    assert_eq!(env.failure(), None);
}

#[test]
fn suspects_are_handed_out_one_by_one_and_by_themselves() {
    let mut env = TestEnv::new(3, 12);
    let (worker, assignment, mine) = env.assigned[0];
    let running = vec![mine.start() as u32 + 1];
    env.tell(Event::Progress { worker, assignment, running, shards_done: 1 });
    let suspect = Block::of_replica(mine.start() as u32 + 1);
    env.crash(worker.0);
    assert_eq!(env.to_confirm(), [], "nobody is free for it");
    let (holder, _, _) = env.assigned[0];
    for held in env.held(holder.0) {
        env.done(holder.0, held, true);
    }
    assert_eq!((env.held(holder.0), env.to_confirm()), (vec![suspect], vec![suspect]));
    // It is nothing any more once its worker is back.
    env.come_back(worker.0, 9);
    env.crash(holder.0);
    assert_eq!(env.to_confirm(), []);
    env.all_done();
    assert_eq!(env.merges().len(), 1);
}

#[test]
fn what_took_many_at_once_was_no_shard_of_one_of_them() {
    let mut env = TestEnv::new(5, 10);
    for worker in 1..5 {
        env.now += Duration::from_millis(200);
        env.crash(worker);
    }
    assert_eq!(env.to_confirm(), []);
    let step = env.scheduler.step().unwrap();
    assert!(!step.failures.values().any(FailureRecord::is_suspect), "{:?}", step.failures);
    // Two may have died of something.
    let mut env = TestEnv::new(5, 10);
    env.crash(1);
    env.crash(2);
    assert!(!env.scheduler.step().unwrap().failures.is_empty());
}

#[test]
fn losses_without_end_fail_the_run_and_say_so() {
    let timeout = SchedulerConfig::default().heartbeat_timeout;
    let mut env = TestEnv::new(1, 1);
    let mut worker = 1;
    // None is heard after it was given the shard, so that none is suspected to
    // have died of it.
    while env.failure().is_none() && worker < 100 {
        env.pass(timeout, &[worker]);
        env.assigned.clear();
        worker += 1;
        env.join(worker);
    }
    let losses = RunFailure::Losses { step: STEP, times: 30 };
    assert_eq!(env.failure(), Some(&losses), "it must end at some time");
    assert_eq!(worker, 31);
}

#[test]
fn a_coordinator_that_was_away_loses_nobody() {
    let timeout = SchedulerConfig::default().heartbeat_timeout;
    let mut env = TestEnv::new(3, 3);
    env.now += 3 * timeout;
    env.tell(Event::WasAway);
    env.scheduler.handle_timeout(env.now);
    env.settle();
    assert_eq!(env.workers().len(), 3);
    env.pass(timeout - Duration::from_millis(100), &[1, 2, 3]);
    assert_eq!(env.workers().len(), 3, "their time begins anew");
    env.pass(Duration::from_millis(100), &[1, 2, 3]);
    assert!(env.workers().is_empty());
}

#[test]
fn a_worker_that_comes_back_has_not_died() {
    let mut env = TestEnv::new(1, 1);
    let mut worker = 1;
    for _ in 0..20 {
        assert_eq!(env.held(worker), [block(0, 0)]);
        env.crash(worker);
        worker += 1;
        env.come_back(1, worker);
    }
    // Back before the old connection is seen to end.
    env.come_back(1, worker + 1);
    env.crash(worker);
    assert_eq!(env.held(worker + 1), [block(0, 0)]);
    assert!(env.failure().is_none());
    // One that does not come back makes a suspect, and three more are three deaths.
    env.crash(worker + 1);
    for process in 100..103 {
        assert!(env.failure().is_none());
        env.join(process);
        env.start(process);
        env.crash(process);
    }
    env.pass(TOGETHER, &[]);
    assert!(env.failure().is_some());
}

#[test]
fn the_last_of_too_many_deaths_waits_for_who_else_is_lost() {
    let ready = || {
        let mut env = TestEnv::new(1, 1);
        env.crash(1);
        for worker in 2..4 {
            env.pass(2 * TOGETHER, &[]);
            env.join(worker);
            env.start(worker);
            env.crash(worker);
        }
        env.pass(2 * TOGETHER, &[]);
        (4..7).for_each(|worker| env.join(worker));
        assert_eq!(env.held(4), [block(0, 0)]);
        env.start(4);
        env.crash(4);
        assert!(env.held(5).is_empty() && env.held(6).is_empty(), "too many had it");
        env
    };
    // It was the power.
    let mut env = ready();
    env.pass(TOGETHER / 2, &[]);
    [5, 6].into_iter().for_each(|worker| env.crash(worker));
    env.pass(2 * TOGETHER, &[]);
    assert_eq!(env.failure(), None);
    env.join(7);
    assert_eq!((env.held(7), env.to_confirm().pop()), (vec![block(0, 0)], Some(block(0, 0))));
    env.done(7, block(0, 0), true);
    assert_eq!(env.merges().len(), 1);
    // It was the shard.
    let mut env = ready();
    env.pass(TOGETHER - Duration::from_millis(100), &[]);
    assert_eq!(env.failure(), None);
    env.pass(Duration::from_millis(100), &[]);
    assert_eq!(env.failure(), Some(&crashes(0)));
    // Whoever comes back has not died of it.
    let mut env = ready();
    env.come_back(4, 7);
    env.pass(2 * TOGETHER, &[]);
    assert_eq!(env.failure(), None);
    env.all_done();
    assert_eq!(env.merges().len(), 1);
}

/// A worker says that it cannot work on the run.
fn cannot(env: &mut TestEnv, worker: u64) {
    env.assigned.retain(|(held_by, ..)| held_by.0 != worker);
    let (worker, reason) = (WorkerId(worker), "the model is unknown".into());
    env.tell(Event::WorkerCannot { worker, run: RUN, reason });
}

#[test]
fn one_innocent_death_spares_a_deadly_shard_for_a_moment_only() {
    let mut env = TestEnv::new(1, 1);
    cannot(&mut env, 1);
    // A supervisor starts a worker again, as soon as one has died.
    let mut worker = 100;
    for turn in 1..40 {
        env.join(worker);
        if !env.held(worker).is_empty() {
            env.start(worker);
            env.crash(worker);
            worker += 1;
        }
        if turn == 2 {
            // A bystander dies beside it, and nobody is left.
            env.crash(1);
        }
        env.pass(TOGETHER / 10, &[]);
    }
    assert_eq!(env.failure(), Some(&crashes(0)), "the shard is found all the same");
}

#[test]
fn deaths_of_others_do_not_delay_the_end_of_a_run_whose_shard_is_deadly() {
    let mut env = TestEnv::new(1, 1);
    cannot(&mut env, 1);
    for worker in 2..6 {
        env.pass(2 * TOGETHER, &[]);
        env.join(worker);
        env.start(worker);
        env.crash(worker);
    }
    // From now on others die again and again, one soon after the other.
    let pause = TOGETHER * 2 / 5;
    for other in 6..9 {
        assert_eq!(env.failure(), None);
        env.join(other);
        cannot(&mut env, other);
        env.pass(pause, &[]);
        env.crash(other);
    }
    assert_eq!(env.failure(), Some(&crashes(0)), "a second is over");
}

#[test]
fn a_fatal_error_fails_the_run_once_another_worker_has_confirmed_it() {
    let fatal = |env: &mut TestEnv, worker: u64| {
        let held = |it: &(WorkerId, AssignmentId, Block)| it.0.0 == worker && it.2 == block(0, 0);
        let at = env.assigned.iter().position(held).expect("it is in these hands");
        let (worker, assignment, _) = env.assigned.remove(at);
        let error = "not finite".to_owned();
        env.tell(Event::ShardFailed { worker, assignment, replica: 0, fatal: true, error });
    };
    let failed = |errors, worker| {
        let (worker, error) = (WorkerId(worker), "not finite".to_owned());
        RunFailure::ShardFailed { step: STEP, replica: 0, errors, worker, fatal: true, error }
    };
    let mut alone = TestEnv::new(1, 1);
    fatal(&mut alone, 1);
    assert_eq!(alone.failure(), Some(&failed(1, 1)));
    let mut env = TestEnv::new(2, 2);
    fatal(&mut env, 1);
    assert!(env.failure().is_none(), "the worker may be what is wrong");
    assert_eq!(env.held(2), [block(0, 1), block(0, 0)]);
    fatal(&mut env, 2);
    assert_eq!(env.failure(), Some(&failed(2, 2)));
}

#[test]
fn what_a_worker_cannot_do_is_done_by_others() {
    let cannot = |env: &mut TestEnv, worker: u64| {
        env.assigned.retain(|(held_by, ..)| held_by.0 != worker);
        let (worker, reason) = (WorkerId(worker), "the model is unknown".to_owned());
        env.tell(Event::WorkerCannot { worker, run: RUN, reason });
    };
    let mut env = TestEnv::new(2, 2);
    cannot(&mut env, 1);
    assert_eq!(env.held(2), [block(0, 1), block(0, 0)]);
    let is_told = |it: &Action| match it {
        Action::Note { worker, what: WorkerEvent::Cannot, detail, .. } => {
            worker.0 == 1 && *detail == Detail::Text("the model is unknown".into())
        }
        _ => false,
    };
    assert_eq!(env.actions.iter().filter(|it| is_told(it)).count(), 1);
    cannot(&mut env, 2);
    assert!(env.assigned.is_empty() && env.failure().is_none(), "it waits for one that can");
    env.join(3);
    env.all_done();
    assert_eq!(env.merges().len(), 1);
    // The next run is another one.
    env.tell(Event::RunEnded { run: RUN });
    env.tell(Event::RunSubmitted { run: RunId(2), min_workers: 0, rejoin_wait: None });
    let step = StepId { run: RunId(2), index: 0 };
    env.tell(Event::StepReady { step, replicas: 3, audited: Vec::new() });
    assert_eq!([1, 2, 3].map(|worker| env.held(worker).len()), [1, 1, 1]);
}

#[test]
fn who_cannot_work_on_a_run_does_not_count_for_its_start() {
    let mut env = TestEnv::new(2, 1);
    env.tell(Event::RunEnded { run: RUN });
    let run = RunId(2);
    env.assigned.clear();
    env.tell(Event::RunSubmitted { run, min_workers: 2, rejoin_wait: None });
    let step = StepId { run, index: 0 };
    env.tell(Event::StepReady { step, replicas: 2, audited: Vec::new() });
    env.assigned.retain(|(held_by, ..)| held_by.0 != 1);
    let reason = "the model is unknown".to_owned();
    env.tell(Event::WorkerCannot { worker: WorkerId(1), run, reason });
    assert_eq!(env.held(2), [block(0, 1)], "nothing more before there are two");
    env.join(3);
    assert_eq!(env.held(3), [block(0, 0)]);
}

#[test]
fn an_error_is_tried_elsewhere_and_then_fails_the_run() {
    let mut env = TestEnv::new(2, 2);
    let fail = |env: &mut TestEnv, worker: u64, replica: u32| {
        let at = env
            .assigned
            .iter()
            .position(|(held_by, _, it)| held_by.0 == worker && it.start() == u64::from(replica));
        let (worker, assignment, _) = env.assigned.remove(at.unwrap());
        let error = "loss is NaN".to_owned();
        env.tell(Event::ShardFailed { worker, assignment, replica, fatal: false, error });
    };
    fail(&mut env, 1, 0);
    assert_eq!(env.held(2), [block(0, 1), block(0, 0)]);
    fail(&mut env, 2, 0);
    let failed = RunFailure::ShardFailed {
        step: STEP,
        replica: 0,
        errors: 2,
        worker: WorkerId(2),
        fatal: false,
        error: "loss is NaN".into(),
    };
    assert_eq!(env.failure(), Some(&failed));
    assert_eq!(failed.shard(), Some((STEP, 0)));
    assert!(env.assigned.is_empty());
}
