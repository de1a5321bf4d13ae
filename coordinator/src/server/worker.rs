//! The engine's view of a worker, and what it makes of a worker's messages.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};
use common::limits;
use common::spec::Split;
use common::wire::codec::encode;
use common::wire::message::{FromWorker, Progress, ToWorker, WorkerStatus};
use tracing::{debug, info};

use super::connection::{Introduction, Link, Peer};
use super::engine::Engine;
use super::outbox::Transfer;
use crate::ledger::{EventKind, KILLED_FOR_MEMORY};
use crate::scheduler::{self, Departure};

/// Memory in use, in percent of the limit, from which on a worker that is lost may
/// have been killed for it.
const NEAR_LIMIT: u64 = 90;

/// A connected worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) process: ProcessId,
    slots: u32,
    memory_limit: u64,
    /// Bytes of examples that it keeps.
    cache_limit: u64,
    /// Resident memory, as its last heartbeat said.
    pub(super) memory: u64,
    pub(super) link: Link,
    /// When bytes had come by the time the scheduler was last told so.
    pub(super) heard_at: u64,
    /// The run that it knows of.
    pub(super) run: Option<RunId>,
    /// The last step whose base it was sent.
    pub(super) base: Option<StepId>,
    /// What it was handed and has not finished.
    pub(super) assignments: BTreeMap<AssignmentId, (StepId, Block)>,
    /// All that it was handed of the step under way, on this connection.
    pub(super) given: BTreeSet<Block>,
    pub(super) shards_done: u64,
    /// Why it cannot work on the run that it knows of.
    pub(super) cannot: Option<String>,
    pub(super) draining: bool,
    /// Whether it is gone, and did not die.
    pub(super) has_parted: bool,
}

impl Worker {
    pub(super) fn new(about: Introduction, link: Link) -> Self {
        let Introduction { name, process, slots, memory_limit, cache_limit } = about;
        Self {
            name,
            process,
            slots,
            memory_limit,
            cache_limit,
            memory: 0,
            heard_at: link.heard.at(),
            link,
            run: None,
            base: None,
            assignments: BTreeMap::new(),
            given: BTreeSet::new(),
            shards_done: 0,
            cannot: None,
            draining: false,
            has_parted: false,
        }
    }

    /// What `coordinator status` says of it.
    pub(super) fn status(&self, id: WorkerId, is_set_aside: bool) -> WorkerStatus {
        let state = match (self.draining, is_set_aside, self.assignments.is_empty()) {
            (true, ..) => "draining",
            (false, true, _) => "set aside",
            (false, false, true) => "idle",
            (false, false, false) => "busy",
        };
        WorkerStatus {
            id,
            name: self.name.clone(),
            address: self.link.address.clone(),
            slots: self.slots,
            memory: self.memory,
            memory_limit: self.memory_limit,
            state: state.into(),
            cannot: self.cannot.clone(),
            shards_done: self.shards_done,
            last_heard_ms: self.link.heard.silence().as_millis() as u64,
        }
    }

    /// What its last heartbeat said of its memory, for an account of what it may have
    /// died of.
    pub(super) fn memory_at_last(&self) -> Option<String> {
        (self.memory > 0 && !self.has_parted)
            .then(|| describe_memory(self.memory, self.memory_limit))
    }
}

/// The name of a worker whose own name another one has, in as many bytes as a name may
/// have.
fn told_apart(name: &str, worker: WorkerId) -> String {
    let number = format!(" ({worker})");
    let room = limits::NAME_BYTES - number.len();
    format!("{}{number}", &name[..name.floor_char_boundary(room)])
}

impl Engine {
    /// Lets a worker in. If a run is active it is told at once, for it may
    /// have finished blocks of it before it lost its last connection.
    pub(super) fn join(&mut self, worker: WorkerId, mut about: Worker) {
        let is_other = |it: &Worker| it.name == about.name && it.process != about.process;
        if self.workers.values().any(is_other) {
            // Two that nobody could tell apart, in what is told and recorded.
            about.name = told_apart(&about.name, worker);
        }
        info!(peer = %about.link.address, "worker {worker} ({}) joined", about.name);
        if let Some(active) = &self.active {
            about.link.outbox.control(active.open.clone());
            about.run = Some(active.run);
        }
        let (process, slots) = (about.process, about.slots);
        self.workers.insert(worker, about);
        self.note_small_cache(worker);
        self.mark(Peer::Worker(worker));
        self.tell(scheduler::Event::WorkerJoined { worker, process, slots });
        self.publish_queued();
    }

    /// Records that a worker fetches the chunks of the active run again and again,
    /// if it does.
    pub(super) fn note_small_cache(&self, worker: WorkerId) {
        let (Some(active), Some(about)) = (&self.active, self.workers.get(&worker)) else { return };
        if let Some(detail) =
            describe_cache(about.cache_limit, active.submission.plan.window_bytes())
        {
            let name = Some(about.name.clone());
            self.record_event(active.run, EventKind::SmallCache, name, detail);
        }
    }

    /// Hands a block to a worker, with all that it lacks to begin.
    pub(super) fn assign(
        &mut self,
        worker: WorkerId,
        assignment: AssignmentId,
        step: StepId,
        block: Block,
        confirm: bool,
    ) {
        let Some(active) = self.active.as_mut().filter(|active| active.step_id() == step) else {
            return;
        };
        let Some(about) = self.workers.get_mut(&worker) else { return };
        debug!("{assignment}: replicas {block} of {step} to worker {worker} ({})", about.name);
        let outbox = &about.link.outbox;
        let is_new_to_it = about.run != Some(step.run);
        if is_new_to_it {
            outbox.control(active.open.clone());
            about.run = Some(step.run);
        }
        if about.base != Some(step) {
            let frames = active.frames();
            outbox.data(Transfer::State { step: Some(step), frames, next: 0 });
            about.base = Some(step);
            about.given.clear();
        }
        outbox.control(encode(ToWorker::Assign { assignment, step, block, confirm }));
        active.shards.give(block, about.process);
        about.assignments.insert(assignment, (step, block));
        about.given.insert(block);
        self.mark(Peer::Worker(worker));
        if is_new_to_it {
            self.note_small_cache(worker);
        }
    }

    /// Takes in a worker's message. An error ends its connection.
    pub(super) fn on_worker_message(
        &mut self,
        worker: WorkerId,
        message: FromWorker,
    ) -> Result<(), String> {
        match message {
            FromWorker::Heartbeat { memory, progress } => {
                if let Some(about) = self.workers.get_mut(&worker) {
                    about.memory = memory;
                }
                progress.into_iter().for_each(|progress| self.on_progress(worker, progress));
            }
            FromWorker::Opened { run } => {
                self.tell(scheduler::Event::RunOpened { worker, run });
            }
            FromWorker::Cannot { run, reason } => return self.on_cannot(worker, run, reason),
            FromWorker::NeedChunks { run, split, chunks } => {
                return self.send_chunks(worker, run, split, &chunks);
            }
            FromWorker::BlockDone(done) => return self.on_block_done(worker, done),
            FromWorker::ShardFailed { assignment, step, replica, fatal, error } => {
                let Some((_, block)) = self.take_assignment(worker, assignment) else {
                    return Ok(());
                };
                if !(block.start()..block.end()).contains(&u64::from(replica)) {
                    return Err(format!(
                        "out of turn: replica {replica} failed in {assignment}, which is {block}"
                    ));
                }
                debug!("replica {replica} of {step} failed on worker {worker}: {error}");
                self.tell(scheduler::Event::ShardFailed {
                    worker,
                    assignment,
                    replica,
                    fatal,
                    error,
                });
            }
            FromWorker::Started { assignment } => {
                self.tell(scheduler::Event::Started { worker, assignment });
            }
            FromWorker::HandedBack { assignment } => {
                // Were it given the work anew, it would only give that back, too.
                if !self.workers.get(&worker).is_some_and(|about| about.draining) {
                    return Err(format!(
                        "out of turn: it hands {assignment} back, and has not said that it drains"
                    ));
                }
                if self.take_assignment(worker, assignment).is_some() {
                    self.tell(scheduler::Event::HandedBack { worker, assignment });
                }
            }
            FromWorker::PartialSegment { step, block, segment, payload } => {
                return self.on_piece(worker, (step, block, segment), payload);
            }
            FromWorker::PartialMissing { step, block } => {
                let merge = self.active.as_mut().and_then(|active| active.merge.as_mut());
                if let Some(merge) = merge.filter(|merge| merge.step == step) {
                    merge.is_missing(worker, block);
                }
                if self.active.as_ref().is_some_and(|active| active.step_id() == step) {
                    self.tell(scheduler::Event::PartialMissing { worker, step, block });
                }
            }
            FromWorker::Draining => {
                if let Some(about) = self.workers.get_mut(&worker) {
                    about.draining = true;
                }
                self.tell(scheduler::Event::WorkerDraining { worker });
            }
            FromWorker::Goodbye => {
                self.close_worker(worker, Departure::Left, "it said goodbye");
            }
            FromWorker::HangsUp { reason } => {
                let cause = format!("it hung up: {reason}");
                self.close_worker(worker, Departure::Parted, &cause);
            }
        }
        Ok(())
    }

    /// An assignment that the worker has, or had: what comes after the
    /// assignment was revoked, or from before a reconnect, is of no interest.
    fn take_assignment(
        &mut self,
        worker: WorkerId,
        assignment: AssignmentId,
    ) -> Option<(StepId, Block)> {
        self.workers.get_mut(&worker)?.assignments.remove(&assignment)
    }

    /// Takes in that a worker cannot work on a run: it gets nothing more of it.
    fn on_cannot(&mut self, worker: WorkerId, run: RunId, reason: String) -> Result<(), String> {
        let Some(about) = self.workers.get_mut(&worker) else { return Ok(()) };
        if about.run != Some(run) {
            let past = run.0 <= self.last_run;
            return if past { Ok(()) } else { Err(not_opened(run)) };
        }
        about.assignments.clear();
        about.link.outbox.drop_run(run);
        let end = reason.floor_char_boundary(limits::STATUS_REASON_BYTES);
        about.cannot = Some(reason[..end].to_owned());
        self.tell(scheduler::Event::WorkerCannot { worker, run, reason });
        Ok(())
    }

    fn on_progress(&mut self, worker: WorkerId, progress: Progress) {
        let Progress { assignment, running, shards_done, .. } = progress;
        let about = self.workers.get(&worker);
        if about.is_some_and(|about| about.assignments.contains_key(&assignment)) {
            self.tell(scheduler::Event::Progress { worker, assignment, running, shards_done });
        }
    }

    /// Queues the chunks that a worker lacks.
    fn send_chunks(
        &mut self,
        worker: WorkerId,
        run: RunId,
        split: Split,
        chunks: &[u32],
    ) -> Result<(), String> {
        let Some(active) = self.active.as_ref().filter(|active| active.run == run) else {
            let past = run.0 <= self.last_run;
            return if past { Ok(()) } else { Err(not_opened(run)) };
        };
        let manifest = match split {
            Split::Train => &active.submission.train,
            Split::Test => &active.submission.test,
        };
        let found = |chunk: &u32| {
            let content = manifest.chunks.get(*chunk as usize).and_then(|of| self.store.get(of));
            content.map(|content| ((run, split, *chunk), content.clone())).ok_or_else(|| {
                format!(
                    "the {split:?} split of run {run} has {} chunks: chunk {chunk} was asked for",
                    manifest.chunks.len()
                )
            })
        };
        let found: Vec<_> = chunks.iter().map(found).collect::<Result<_, _>>()?;
        if let Some(about) = self.workers.get_mut(&worker) {
            about.link.outbox.chunks(found.into_iter());
            self.mark(Peer::Worker(worker));
        }
        Ok(())
    }
}

fn not_opened(run: RunId) -> String {
    format!("out of turn: no run {run} was opened")
}

const MIB: u64 = 1 << 20;

/// What is to be said of a cache of so many bytes where the examples of a round lie
/// in `window` bytes of chunks, if anything is.
fn describe_cache(cache: u64, window: u64) -> Option<String> {
    let (keeps, lie) = (cache / MIB, window.div_ceil(MIB));
    let text = || {
        format!("it keeps {keeps} MiB of examples, and those of a round lie in {lie} MiB of chunks")
    };
    (cache < window).then(text)
}

/// How many bytes a worker used of how many. Close to its limit, it may have been
/// killed for that: the kernel tells nobody but the worker's own host.
fn describe_memory(used: u64, limit: u64) -> String {
    let guess = match used >= limit / 100 * NEAR_LIMIT {
        true => format!(" and {KILLED_FOR_MEMORY}"),
        false => String::new(),
    };
    format!("it had used {} of {} MiB of memory{guess}", used / MIB, limit / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_named_that_is_smaller_than_the_window() {
        assert_eq!(describe_cache(64 << 20, 64 << 20), None);
        assert_eq!(describe_cache(0, 0), None, "nothing is learnt");
        let text = "it keeps 8 MiB of examples, and those of a round lie in 64 MiB of chunks";
        assert_eq!(describe_cache(8 << 20, (64 << 20) - 5).as_deref(), Some(text));
    }

    #[test]
    fn only_a_worker_close_to_its_limit_may_have_been_killed_for_memory() {
        let describe = |used: u64| describe_memory(used << 20, 256 << 20);
        assert_eq!(describe(128), "it had used 128 of 256 MiB of memory");
        assert_eq!(describe(230), "it had used 230 of 256 MiB of memory");
        let killed = "it had used 231 of 256 MiB of memory and may have been killed for that";
        assert_eq!(describe(231), killed);
        assert!(describe_memory(u64::MAX, u64::MAX).ends_with(KILLED_FOR_MEMORY));
    }
}
