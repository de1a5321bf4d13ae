//! The thread pool, and the shards that run on it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use common::digest::Digest;
use common::id::{AssignmentId, Block, MemoryToken, RunId, StepId};
use common::merge::Partial;
use common::model::Registry;
use common::plan::{EpochOrder, Step, StepKind};
use common::shard::{self, ShardError, ShardInput};
use common::state::NetworkState;
use common::wire::Message;
use common::wire::message::{FromWorker, Progress, ShardDone};
use tokio::sync::mpsc;

use super::block::{self, BlockMerge};
use super::examples::{CopiedExamples, Wanted};
use super::panics::panic_text;
use super::regions::SharedMemory;
use super::run::OpenRun;
use crate::session::Event;

/// Reports of the pool and of the writing task.
#[derive(Debug)]
pub(super) enum Report {
    /// The message that an assignment begins was written to the socket.
    StartSaid(AssignmentId),
    /// A shard has ended, successfully or not.
    Shard(Event),
    /// The order of an epoch is computed.
    Order {
        /// The run.
        run: RunId,
        /// The epoch.
        epoch: u64,
        /// The order.
        order: Arc<EpochOrder>,
    },
    /// Memory that the coordinator offered with this token was received.
    Shared {
        /// The token.
        token: MemoryToken,
        /// The memory.
        memory: SharedMemory,
    },
    /// The model of a run is made, or could not be.
    Built {
        /// The run.
        run: Arc<OpenRun>,
        /// Identifies this opening of the run.
        id: RunId,
        /// Bytes of one running instance.
        outcome: Result<u64, String>,
    },
    /// A chunk of examples was checked.
    Checked {
        /// The chunk.
        chunk: Wanted,
        /// The digest that it should have, and its bytes if they match.
        digest: Digest,
        /// The mismatch, otherwise.
        outcome: Result<Bytes, String>,
    },
}

/// The input of shards besides the base state.
#[derive(Debug)]
pub(super) struct Input {
    /// The epoch's order, for a training round.
    pub(super) order: Option<Arc<EpochOrder>>,
    /// The examples.
    pub(super) data: CopiedExamples,
}

/// A running assignment, shared by its shards and the heartbeat.
#[derive(Debug)]
pub(super) struct RunningBlock {
    /// The assignment.
    pub(super) assignment: AssignmentId,
    /// The step.
    pub(super) step: StepId,
    /// The step in the plan.
    pub(super) plan_step: Step,
    /// The block.
    pub(super) block: Block,
    /// The run.
    pub(super) run: Arc<OpenRun>,
    /// Set once the examples are available, before the first shard.
    pub(super) input: OnceLock<Input>,
    /// The report of the finished block and its partial: set by the shard that completes it.
    pub(super) finished: OnceLock<(FromWorker, Arc<Partial>)>,
    cancelled: AtomicBool,
    merge: BlockMerge<Partial>,
    /// The reports of the finished shards.
    shards: Mutex<BTreeMap<u32, ShardDone>>,
    first_start: OnceLock<Instant>,
    running: Mutex<BTreeSet<u32>>,
    shards_done: AtomicU32,
    examples_done: AtomicU64,
}

impl RunningBlock {
    /// An assignment of which no shard has run.
    pub(super) fn new(
        assignment: AssignmentId,
        step: StepId,
        plan_step: Step,
        block: Block,
        run: Arc<OpenRun>,
    ) -> Self {
        Self {
            assignment,
            step,
            plan_step,
            block,
            run,
            input: OnceLock::new(),
            finished: OnceLock::new(),
            cancelled: AtomicBool::new(false),
            merge: BlockMerge::new(block, plan_step.replicas),
            shards: Mutex::default(),
            first_start: OnceLock::new(),
            running: Mutex::default(),
            shards_done: AtomicU32::new(0),
            examples_done: AtomicU64::new(0),
        }
    }

    /// Tells its shards to stop after their current batch.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<u32>> {
        self.running.lock().expect("no code panics under this lock")
    }

    fn shards(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, ShardDone>> {
        self.shards.lock().expect("no code panics under this lock")
    }

    fn progress(&self) -> Progress {
        Progress {
            assignment: self.assignment,
            running: self.running().iter().copied().collect(),
            shards_done: self.shards_done.load(Ordering::Relaxed),
            examples_done: self.examples_done.load(Ordering::Relaxed),
        }
    }
}

/// The running assignments, for the heartbeat.
#[derive(Clone, Debug, Default)]
pub(super) struct WorkTable(Arc<Mutex<BTreeMap<AssignmentId, Arc<RunningBlock>>>>);

impl WorkTable {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AssignmentId, Arc<RunningBlock>>> {
        self.0.lock().expect("no code panics under this lock")
    }

    /// Adds an assignment.
    pub(super) fn insert(&self, work: Arc<RunningBlock>) {
        self.lock().insert(work.assignment, work);
    }

    /// Removes an assignment.
    pub(super) fn remove(&self, assignment: AssignmentId) {
        self.lock().remove(&assignment);
    }

    /// The progress of each assignment.
    pub(super) fn progress(&self) -> Vec<Progress> {
        self.lock().values().map(|work| work.progress()).collect()
    }
}

/// The pool. Its threads start with the first run, so that an idle worker uses little memory.
#[derive(Debug)]
pub(super) struct Compute {
    slots: u32,
    pool: Option<rayon::ThreadPool>,
    reports: mpsc::Sender<Report>,
}

impl Compute {
    /// A pool of `slots` threads that reports to `reports`.
    pub(super) fn new(slots: u32, reports: mpsc::Sender<Report>) -> Self {
        Self { slots, pool: None, reports }
    }

    /// The channel for reports.
    pub(super) fn reports(&self) -> mpsc::Sender<Report> {
        self.reports.clone()
    }

    /// Starts the threads, once.
    pub(super) fn start(&mut self) -> Result<(), String> {
        if self.pool.is_none() {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(self.slots as usize)
                .thread_name(|slot| format!("slot-{slot}"))
                .build()
                .map_err(|error| format!("{} threads cannot be started: {error}", self.slots))?;
            self.pool = Some(pool);
        }
        Ok(())
    }

    fn spawn(&self, job: impl FnOnce() -> Option<Report> + Send + 'static) {
        let reports = self.reports.clone();
        let pool = self.pool.as_ref().expect("the pool starts with the first run");
        pool.spawn(move || {
            if let Some(report) = job() {
                // If the worker is leaving, nothing receives reports any more.
                let _ = reports.blocking_send(report);
            }
        });
    }

    /// Runs a shard. All that it borrowed is returned before its end is reported.
    pub(super) fn run_shard(&self, work: Arc<RunningBlock>, base: Arc<NetworkState>, replica: u32) {
        work.running().insert(replica);
        self.spawn(move || {
            let event = run_shard(&work, &base, replica);
            work.running().remove(&replica);
            if matches!(event, Event::ShardDone { .. }) {
                work.shards_done.fetch_add(1, Ordering::Relaxed);
            }
            Some(Report::Shard(event))
        });
    }

    /// Makes the model of a run on a separate thread: the slots may be busy for long, and a model
    /// may take any time.
    pub(super) fn build(&self, registry: Registry, id: RunId, run: Arc<OpenRun>) {
        self.beside(move || {
            let outcome = run.build(&registry);
            Report::Built { run, id, outcome }
        });
    }

    /// Checks a chunk of examples, without using a slot.
    pub(super) fn check_chunk(&self, chunk: Wanted, run: &OpenRun, payload: Bytes) {
        let manifest = run.manifest(chunk.1).clone();
        let place = chunk.2 as usize;
        // An index out of range has no digest to compare with.
        let digest = manifest.chunks.get(place).copied().unwrap_or_else(|| Digest::of(b""));
        self.beside(move || {
            let checked = manifest.check_chunk(place, &payload);
            // A separate copy: the frame's memory may be larger than the chunk, and the cache
            // counts only the bytes it keeps.
            let outcome = checked.map(|()| Bytes::copy_from_slice(&payload));
            let outcome = outcome.map_err(|error| error.to_string());
            Report::Checked { chunk, digest, outcome }
        });
    }

    /// Runs work that needs no slot on another thread.
    fn beside(&self, job: impl FnOnce() -> Report + Send + 'static) {
        let reports = self.reports.clone();
        tokio::task::spawn_blocking(move || {
            // If the worker is leaving, nothing receives reports any more.
            let _ = reports.blocking_send(job());
        });
    }

    /// Computes the order of the examples in a training round's epoch.
    pub(super) fn compute_order(&self, id: RunId, run: Arc<OpenRun>, step: Step) {
        self.spawn(move || {
            let StepKind::Train { epoch, .. } = step.kind else { return None };
            let order = Arc::new(run.plan.order(&step)?);
            Some(Report::Order { run: id, epoch, order })
        });
    }
}

fn run_shard(work: &RunningBlock, base: &NetworkState, replica: u32) -> Event {
    let assignment = work.assignment;
    work.first_start.get_or_init(Instant::now);
    let failed = |fatal, error| Event::ShardFailed { assignment, replica, fatal, error };
    let started = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let hashed = learn(work, base, replica)?;
        let compute_us = started.elapsed().as_micros() as u64;
        let digest = match &hashed {
            Some((partial, hashes)) => partial.shard_digest_with(hashes.iter().copied()),
            None => Partial::shard_digest(None, &work.run.layout),
        };
        let (partial, hashes) = hashed.unzip();
        work.shards().insert(replica, ShardDone { digest, compute_us });
        // The results of a single shard are the block's own.
        let hashes = hashes.filter(|_| work.block.level == 0);
        Ok(match work.merge.insert(replica, partial) {
            Some(root) => finish(work, root, hashes),
            None => Ok(()),
        })
    }));
    match outcome {
        Ok(Ok(Ok(()))) => Event::ShardDone { assignment, replica },
        Ok(Ok(Err(error))) => failed(true, error),
        Ok(Err(ShardError::Stopped)) => Event::ShardStopped { assignment, replica },
        // A retry on another worker would compute the same values.
        Ok(Err(error @ ShardError::Merge(_))) => failed(true, error.to_string()),
        Ok(Err(error)) => failed(false, error.to_string()),
        Err(panic) => failed(false, format!("the model panicked: {}", panic_text(&*panic))),
    }
}

/// Runs the shard on an instance, which is kept unless something failed.
fn learn(
    work: &RunningBlock,
    base: &NetworkState,
    replica: u32,
) -> Result<Option<(Partial, Vec<u128>)>, ShardError> {
    if work.cancelled.load(Ordering::Relaxed) {
        return Err(ShardError::Stopped);
    }
    let shard = work.input.get().expect("shards run once their examples are available");
    let input = ShardInput {
        plan: &work.run.plan,
        step: &work.plan_step,
        order: shard.order.as_deref(),
        base,
        data: &shard.data,
    };
    // The clock is only read if the log line is enabled.
    let mut since = tracing::enabled!(tracing::Level::DEBUG).then(Instant::now);
    let mut instance = work.run.take_replica()?;
    let spare = &work.run.spare;
    let outcome =
        shard::run_in(spare, &input, replica, instance.as_mut(), &mut |batch, examples| {
            work.examples_done.fetch_add(examples, Ordering::Relaxed);
            if let Some(since) = &mut since {
                let ms = since.elapsed().as_secs_f64() * 1e3;
                let id = format!("{}.{replica}.{batch}", work.step.index);
                tracing::debug!("Batch {id}: processed {examples} examples in {ms:.3} ms");
                *since = Instant::now();
            }
            if work.cancelled.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    if matches!(outcome, Ok(_) | Err(ShardError::Stopped)) {
        work.run.give_replica(instance);
    }
    outcome
}

/// The block is complete: its report is made here, on the pool, so that computing a large digest
/// does not delay anything else. The error is the reason why it cannot be reported: the sum of the
/// replicas overflows, or the model's results exceed the limit of a message.
fn finish(
    work: &RunningBlock,
    root: Option<Partial>,
    hashes: Option<Vec<u128>>,
) -> Result<(), String> {
    if let Some(partial) = root.as_ref().filter(|_| work.block.level > 0) {
        partial.check_finite(&work.run.layout, work.block).map_err(|error| error.to_string())?;
    }
    let elapsed = work.first_start.get().map(Instant::elapsed).unwrap_or_default();
    let (done, partial) = block::finish(
        work.step,
        work.block,
        (root, hashes),
        matches!(work.plan_step.kind, StepKind::Train { .. }),
        &work.run.layout,
        &work.run.merge_segments,
        (work.shards().values().copied().collect(), elapsed.as_micros() as u64),
    );
    let message = FromWorker::BlockDone(done);
    message.validate().map_err(|error| error.to_string())?;
    // Each replica is inserted once, so this is the only one that finishes.
    let _ = work.finished.set((message, Arc::new(partial)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_model::TestRun;
    use super::*;

    fn run_all(test_run: &TestRun, work: &Arc<RunningBlock>, slots: u32) -> Vec<Event> {
        let replicas: Vec<u32> = work.block.replicas(work.plan_step.replicas).collect();
        let (sender, mut reports) = mpsc::channel(1);
        let mut compute = Compute::new(slots, sender);
        compute.start().unwrap();
        for replica in &replicas {
            compute.run_shard(work.clone(), test_run.base.clone(), *replica);
        }
        let next = |_| match reports.blocking_recv() {
            Some(Report::Shard(event)) => event,
            report => panic!("{report:?}"),
        };
        (0..replicas.len()).map(next).collect()
    }

    #[test]
    fn a_block_is_the_subtree_of_its_shards() {
        for (size, inline) in [(3, true), (200_000, false)] {
            let test_run = TestRun::new(size, "");
            for step in 0..test_run.run.plan.steps() {
                let plan_step = test_run.run.plan.step(step).unwrap();
                let halves = plan_step.root().halves();
                let blocks =
                    [Some(plan_step.root()), halves.map(|both| both.0), halves.map(|both| both.1)];
                for block in blocks.into_iter().flatten() {
                    if block.replicas(plan_step.replicas).is_empty() {
                        continue;
                    }
                    let work = test_run.work(step, block);
                    for event in run_all(&test_run, &work, 3) {
                        assert!(matches!(event, Event::ShardDone { .. }), "{event:?}");
                    }
                    let (message, partial) = work.finished.get().cloned().unwrap();
                    let FromWorker::BlockDone(done) = message else { panic!("{message:?}") };
                    let expected = test_run.expected(step, block);
                    assert_eq!(partial.tensors, expected.tensors, "step {step}, block {block}");
                    assert_eq!(done.results, expected.results);
                    assert_eq!(done.weight, expected.weight);
                    let hashes = expected.segment_hashes(&test_run.run.layout);
                    assert_eq!(done.digest, done.digest_of(hashes));
                    assert_eq!(done.shards.len(), block.replicas(plan_step.replicas).len());
                    if block.level == 0 {
                        let shard = (expected.weight > 0).then_some(&expected);
                        let digest = Partial::shard_digest(shard, &test_run.run.layout);
                        assert_eq!(done.shards[0].digest, digest);
                    }
                    let learnt = matches!(plan_step.kind, StepKind::Train { .. });
                    assert_eq!(done.is_inline, inline || !learnt || done.weight == 0);
                    assert_eq!(done.partial_bytes > 0, learnt && done.weight > 0);
                    assert_eq!(
                        work.progress().shards_done,
                        work.block.replicas(plan_step.replicas).len() as u32
                    );
                    assert_eq!(work.progress().examples_done, done.weight);
                }
            }
        }
    }

    #[test]
    fn panics_and_errors_are_reported_and_their_instances_thrown_away() {
        for (parameters, expected, fatal) in [
            ("panic_at = 5", "the model panicked: example 5 is too much", false),
            ("fail_at = 5", "example 5 is wrong", false),
            ("nan_at = 5", "tensor `w` of replica", true),
            ("huge = 1", "tensor `w`: the contributions of replicas", true),
        ] {
            let test_run = TestRun::new(3, parameters);
            let work = test_run.work(0, test_run.run.plan.step(0).unwrap().root());
            let events = run_all(&test_run, &work, 1);
            let failures: Vec<_> = events
                .iter()
                .filter_map(|event| match event {
                    Event::ShardFailed { fatal, error, .. } => Some((*fatal, error.as_str())),
                    _ => None,
                })
                .collect();
            let [(was_fatal, error)] = failures[..] else { panic!("{events:?}") };
            assert!(error.contains(expected), "{error}");
            assert_eq!(was_fatal, fatal);
            assert!(work.finished.get().is_none());
            let done = events.iter().filter(|event| matches!(event, Event::ShardDone { .. }));
            assert_eq!(done.count(), events.len() - 1, "the pool continues after a failure");
        }
    }

    #[test]
    fn a_cancelled_assignment_stops_and_instances_are_used_again() {
        let test_run = TestRun::new(3, "");
        let root = test_run.run.plan.step(0).unwrap().root();
        let work = test_run.work(0, root);
        work.cancel();
        for event in run_all(&test_run, &work, 2) {
            assert!(matches!(event, Event::ShardStopped { .. }), "{event:?}");
        }
        run_all(&test_run, &test_run.work(0, root), 1);
        assert_eq!(test_run.run.idle_replicas(), 1, "one slot needs one instance");
    }
}
