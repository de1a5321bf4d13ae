//! The session by example. Every event goes through [`TestEnv::tell`], which
//! checks all invariants.

use std::time::{Duration, Instant};

use common::id::{AssignmentId, Block, RunId, StepId};
use common::limits::{RECONNECT_MAX, RECONNECT_MIN};

use super::{Action, Event, Session, SessionConfig};

const RUN: RunId = RunId(1);
const STEP: StepId = StepId { run: RUN, index: 0 };
const TIMEOUT: Duration = Duration::from_secs(10);
const DRAIN: Duration = Duration::from_secs(8);

struct TestEnv {
    session: Session,
    now: Instant,
}

fn id(id: u64) -> AssignmentId {
    AssignmentId(id)
}

/// Replicas 0 to 3.
const FOUR: Block = Block { level: 2, index: 0 };

impl TestEnv {
    /// A session with two slots that has not connected yet.
    fn new() -> Self {
        let session =
            Session::new(SessionConfig { slots: 2, seed: 1, kept_blocks: 2, drain_timeout: DRAIN });
        Self { session, now: Instant::now() }
    }

    /// A session on which run 1 is open and whose step 0 has its state.
    fn ready() -> Self {
        let mut env = Self::new();
        assert_eq!(env.actions(), [Action::Connect]);
        env.connect();
        env.tell(Event::StateReady { step: STEP });
        env
    }

    fn connect(&mut self) {
        self.tell(Event::Connected { heartbeat_timeout: TIMEOUT });
        self.tell(Event::RunOpened { run: RUN, parallel: 8 });
    }

    fn actions(&mut self) -> Vec<Action> {
        self.session.check().unwrap();
        std::iter::from_fn(|| self.session.poll_action()).collect()
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.session.handle_event(self.now, event);
        self.actions()
    }

    /// Lets time pass to the next timeout.
    fn timeout(&mut self) -> Vec<Action> {
        self.now = self.session.poll_timeout().unwrap().max(self.now);
        self.session.handle_timeout(self.now);
        self.actions()
    }

    fn assign(&mut self, assignment: u64, block: Block) -> Vec<Action> {
        let assignment = id(assignment);
        self.tell(Event::Assigned { assignment, step: STEP, block, replicas: 4, confirm: false })
    }

    fn data(&mut self, assignment: u64) -> Vec<Action> {
        self.tell(Event::DataReady { assignment: id(assignment) })
    }

    fn done(&mut self, assignment: u64, replica: u32) -> Vec<Action> {
        self.tell(Event::ShardDone { assignment: id(assignment), replica })
    }

    /// Assignment 1, of one replica, is done and its partial kept.
    fn keep_one(&mut self) {
        self.assign(1, Block::of_replica(0));
        self.data(1);
        self.done(1, 0);
    }
}

fn run(assignment: u64, replica: u32) -> Action {
    Action::RunShard { assignment: id(assignment), step: STEP, replica }
}

#[test]
fn shards_run_as_slots_are_free_oldest_assignment_first() {
    let mut env = TestEnv::ready();
    let fetch = Action::FetchData { assignment: id(1), step: STEP, block: FOUR };
    assert_eq!(env.assign(1, FOUR), [fetch]);
    assert_eq!(env.data(1), [run(1, 0), run(1, 1)]);
    assert_eq!(env.done(1, 1), [run(1, 2)]);
    assert_eq!(env.session.progress(), [(id(1), vec![0, 2], 1)]);
    assert_eq!(env.done(1, 0), [run(1, 3)]);
    assert_eq!(env.done(1, 2), []);
    let finish = Action::FinishBlock { assignment: id(1), step: STEP, block: FOUR };
    assert_eq!(env.done(1, 3), [finish]);
    let drop = Action::DropPartial { step: STEP, block: FOUR };
    assert_eq!(env.tell(Event::StepDone { step: STEP }), [drop, Action::DropState { step: STEP }]);
}

#[test]
fn memory_bounds_what_runs_at_once() {
    let mut env = TestEnv::ready();
    env.tell(Event::RunOpened { run: RUN, parallel: 1 });
    env.assign(1, FOUR);
    assert_eq!(env.data(1), [run(1, 0)]);
}

#[test]
fn a_block_without_replicas_is_done_at_once() {
    let mut env = TestEnv::ready();
    let block = Block { level: 1, index: 2 };
    let finish = Action::FinishBlock { assignment: id(1), step: STEP, block };
    assert_eq!(env.assign(1, block), [finish]);
}

#[test]
fn what_is_begun_survives_the_connection() {
    let mut env = TestEnv::ready();
    env.assign(1, FOUR);
    env.data(1);
    env.assign(2, FOUR);
    assert_eq!(env.tell(Event::Disconnected), [Action::DropAssignment { assignment: id(2) }]);
    assert_eq!(env.done(1, 0), [run(1, 2)]);
    assert_eq!(env.timeout(), [Action::Connect]);
    env.done(1, 1);
    env.done(1, 2);
    env.done(1, 3);
    env.tell(Event::Connected { heartbeat_timeout: TIMEOUT });
    let offer = Action::Offer { step: STEP, block: FOUR };
    let opened = env.tell(Event::RunOpened { run: RUN, parallel: 8 });
    assert_eq!(opened, [offer.clone(), Action::SayOpened { run: RUN }]);
    // What is kept answers an assignment of the same replicas.
    let drop = Action::DropAssignment { assignment: id(3) };
    assert_eq!(env.assign(3, Block::of_replica(2)), [drop, offer]);
}

#[test]
fn another_run_ends_what_was_missed() {
    let mut env = TestEnv::ready();
    env.keep_one();
    env.tell(Event::Disconnected);
    env.timeout();
    env.tell(Event::Connected { heartbeat_timeout: TIMEOUT });
    let drop = Action::DropPartial { step: STEP, block: Block::of_replica(0) };
    let opened = Action::SayOpened { run: RunId(2) };
    assert_eq!(env.tell(Event::RunOpened { run: RunId(2), parallel: 8 }), [drop, opened]);
}

#[test]
fn a_revoked_assignment_goes_when_its_shards_have_stopped() {
    let mut env = TestEnv::ready();
    env.assign(1, Block { level: 1, index: 0 });
    env.data(1);
    let revoked = env.tell(Event::Revoked { assignment: id(1) });
    assert_eq!(revoked, [Action::StopShards { assignment: id(1) }]);
    assert_eq!(env.done(1, 0), []);
    let stopped = env.tell(Event::ShardStopped { assignment: id(1), replica: 1 });
    assert_eq!(stopped, [Action::DropAssignment { assignment: id(1) }]);
}

#[test]
fn a_failure_is_reported_and_forgotten() {
    let mut env = TestEnv::ready();
    env.assign(1, FOUR);
    env.data(1);
    let (assignment, error) = (id(1), "panicked".to_owned());
    let failed = Event::ShardFailed { assignment, replica: 0, fatal: false, error: error.clone() };
    let report = Action::ReportFailure { assignment, step: STEP, replica: 0, fatal: false, error };
    assert_eq!(env.tell(failed), [report, Action::StopShards { assignment }]);
    let stopped = env.tell(Event::ShardStopped { assignment, replica: 1 });
    assert_eq!(stopped, [Action::DropAssignment { assignment }]);
}

#[test]
fn silence_breaks_the_connection_and_waits_grow() {
    let mut env = TestEnv::ready();
    let start = env.now;
    assert_eq!(env.timeout().first(), Some(&Action::Disconnect));
    assert_eq!(env.now, start + TIMEOUT);
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let lost_at = env.now;
        assert_eq!(env.timeout(), [Action::Connect]);
        let wait = env.now - lost_at;
        assert!(wait >= RECONNECT_MIN / 2 && wait <= RECONNECT_MAX);
        longest = longest.max(wait);
        env.tell(Event::Disconnected);
    }
    assert!(longest > RECONNECT_MAX / 2);
}

#[test]
fn what_is_to_be_confirmed_begins_once_that_is_said() {
    let mut env = TestEnv::ready();
    let (assignment, block) = (id(1), Block::of_replica(2));
    env.tell(Event::Assigned { assignment, step: STEP, block, replicas: 4, confirm: true });
    assert_eq!(env.data(1), [Action::SayStarted { assignment }]);
    assert_eq!(env.tell(Event::Heard), [], "it is said once");
    assert_eq!(env.session.progress(), []);
    assert_eq!(env.tell(Event::StartSaid { assignment }), [run(1, 2)]);
    // Not on a connection that is gone.
    let mut env = TestEnv::ready();
    env.tell(Event::Assigned { assignment, step: STEP, block, replicas: 4, confirm: true });
    env.data(1);
    assert_eq!(
        env.tell(Event::Disconnected),
        [Action::DropAssignment { assignment }, Action::DropState { step: STEP },]
    );
    assert_eq!(env.tell(Event::StartSaid { assignment }), []);
}

#[test]
fn one_step_has_more_partials_than_are_offered_at_once() {
    let mut env = TestEnv::ready();
    let kept = 2;
    let replicas = kept as u32 + 3;
    for replica in 0..replicas {
        let (assignment, block) = (id(u64::from(replica) + 1), Block::of_replica(replica));
        env.tell(Event::Assigned { assignment, step: STEP, block, replicas, confirm: false });
        env.tell(Event::DataReady { assignment });
        env.tell(Event::ShardDone { assignment, replica });
    }
    env.tell(Event::Disconnected);
    env.timeout();
    env.tell(Event::Connected { heartbeat_timeout: TIMEOUT });
    let is_offer = |action: &&Action| matches!(action, Action::Offer { .. });
    let actions = env.tell(Event::RunOpened { run: RUN, parallel: 8 });
    assert_eq!(actions.iter().filter(is_offer).count(), kept);
    let block = Block::of_replica(replicas - 1);
    let assigned = env.tell(Event::Assigned {
        assignment: id(1000),
        step: STEP,
        block,
        replicas,
        confirm: false,
    });
    assert!(assigned.contains(&Action::Offer { step: STEP, block }), "{assigned:?}");
}

#[test]
fn draining_hands_back_ends_and_waits_for_the_merge() {
    let mut env = TestEnv::ready();
    env.keep_one();
    env.assign(2, Block::of_replica(1));
    env.data(2);
    env.assign(3, Block::of_replica(2));
    let (back, drop) =
        (Action::HandBack { assignment: id(3) }, Action::DropAssignment { assignment: id(3) });
    assert_eq!(env.tell(Event::Drain), [Action::SayDraining, back, drop]);
    env.done(2, 1);
    let ended = env.tell(Event::StepDone { step: STEP });
    assert_eq!(ended.last(), Some(&Action::Leave));
    assert_eq!(env.session.poll_timeout(), None);
}

#[test]
fn draining_has_one_deadline_for_shards_and_partials() {
    for is_running in [false, true] {
        let mut env = TestEnv::ready();
        env.keep_one();
        if is_running {
            env.assign(2, Block::of_replica(1));
            env.data(2);
        }
        let end = env.now + DRAIN;
        env.tell(Event::Drain);
        let mut actions = Vec::new();
        while !actions.contains(&Action::Leave) {
            env.tell(Event::Heard);
            actions = env.timeout();
            assert!(env.now <= end, "running: {is_running}");
        }
        assert_eq!(env.now, end, "running: {is_running}");
    }
}

#[test]
fn partials_of_ended_steps_do_not_delay_leaving() {
    let mut env = TestEnv::ready();
    env.keep_one();
    env.tell(Event::StateReady { step: StepId { run: RUN, index: 1 } });
    assert_eq!(env.tell(Event::Drain), [Action::SayDraining, Action::Leave]);
}

#[test]
fn a_second_drain_or_no_connection_leaves_at_once() {
    let mut env = TestEnv::ready();
    env.keep_one();
    env.tell(Event::Drain);
    assert_eq!(env.tell(Event::Drain), [Action::Leave]);
    let mut env = TestEnv::new();
    env.actions();
    assert_eq!(env.tell(Event::Drain), [Action::Leave]);
}

#[test]
fn a_refusal_is_final() {
    let mut env = TestEnv::new();
    env.actions();
    assert_eq!(env.tell(Event::Refused), [Action::GiveUp]);
    assert_eq!(env.tell(Event::Disconnected), []);
}

#[test]
fn a_number_in_use_makes_it_come_back_later() {
    let mut env = TestEnv::ready();
    env.assign(1, FOUR);
    env.data(1);
    assert_eq!(env.assign(1, FOUR).first(), Some(&Action::Disconnect));
}
