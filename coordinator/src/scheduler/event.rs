//! The scheduler's inputs (events) and outputs (actions).

use std::time::Duration;

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};
use common::worker_event::WorkerEvent;

use super::reason::{Detail, LossReason, RunFailure, UnauditedReason};

/// The wait of a restored run before its first step is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejoinWait {
    /// Number of workers it had: the wait ends when as many have reported their kept blocks.
    pub workers: u32,
    /// Longest wait, from when the step is ready.
    pub wait: Duration,
}

/// News of a block that a worker has finished, or offers again after a reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDone {
    /// The worker.
    pub worker: WorkerId,
    /// The step.
    pub step: StepId,
    /// The block.
    pub block: Block,
    /// Whether the partial came along: the worker's loss cannot lose it.
    pub inline: bool,
    /// Time that it took.
    pub compute: Duration,
}

/// What is to be done with the partial of a block that came inline. It judges the
/// message that has just come, never a partial that was kept before: that one stays
/// until its step is merged or its run ends, because [`Action::Merge`] may name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is part of the step.
    Keep,
    /// Its replicas are done already, or its step is over.
    Drop,
}

/// An input of the scheduler.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker has finished its handshake.
    WorkerJoined {
        /// Its id, new for every connection.
        worker: WorkerId,
        /// Its process id, which stays the same after a reconnect.
        process: ProcessId,
        /// Shards that it runs at the same time.
        slots: u32,
    },
    /// Bytes were received from the worker.
    WorkerHeard {
        /// The worker.
        worker: WorkerId,
    },
    /// The coordinator itself was suspended for a while, so workers may have sent messages in
    /// that time. The silence of all workers starts again.
    WasAway,
    /// The worker announces the start of an assignment, as it was asked to.
    Started {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
    },
    /// The progress of one assignment, from a heartbeat.
    Progress {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
        /// Replicas that are running.
        running: Vec<u32>,
        /// Shards finished.
        shards_done: u32,
    },
    /// The worker is leaving and takes no more work.
    WorkerDraining {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker's connection is gone.
    WorkerGone {
        /// The worker.
        worker: WorkerId,
        /// The way it ended.
        how: Departure,
        /// The reason, which the worker is told, too.
        reason: String,
    },
    /// The worker hands back an unfinished assignment.
    HandedBack {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A run to queue.
    RunSubmitted {
        /// The run.
        run: RunId,
        /// Workers to wait for before it starts.
        min_workers: u32,
        /// The wait before its first step, if workers may have finished blocks of it.
        rejoin_wait: Option<RejoinWait>,
    },
    /// A run is cancelled.
    RunCancelled {
        /// The run.
        run: RunId,
    },
    /// The state of the next step of the active run is ready: its shards may
    /// be handed out.
    StepReady {
        /// The step.
        step: StepId,
        /// Its shards.
        replicas: u32,
        /// The audited ones, in order.
        audited: Vec<u32>,
    },
    /// A worker has opened the run, and has reported its kept blocks.
    RunOpened {
        /// The worker.
        worker: WorkerId,
        /// The run.
        run: RunId,
    },
    /// A worker cannot work on the run, and has begun nothing of it.
    WorkerCannot {
        /// The worker.
        worker: WorkerId,
        /// The run.
        run: RunId,
        /// What it lacks, in a sentence.
        reason: String,
    },
    /// A shard failed on a worker.
    ShardFailed {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
        /// The replica.
        replica: u32,
        /// Whether a retry on the same worker cannot help.
        fatal: bool,
        /// The error.
        error: String,
    },
    /// A worker lacks a partial that was to be pulled.
    PartialMissing {
        /// The worker.
        worker: WorkerId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// A finished block cannot be used: its bytes changed in the worker's memory or in transit,
    /// or no shard can have this result.
    PartialAltered {
        /// The worker.
        worker: WorkerId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// The problem, in a sentence.
        error: String,
    },
    /// The step's partials are merged.
    StepMerged {
        /// The step.
        step: StepId,
    },
    /// The active run has no further step, or the driver has ended it.
    RunEnded {
        /// The run.
        run: RunId,
    },
}

/// A block of a complete step, and where its partial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialRef {
    /// The block.
    pub block: Block,
    /// The worker that keeps the partial; `None` if it was sent inline.
    pub holder: Option<WorkerId>,
}

/// An output of the scheduler.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The run is active: prepare it and say [`Event::StepReady`] for its
    /// first step.
    StartRun {
        /// The run.
        run: RunId,
    },
    /// Hand a block to a worker.
    Assign {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// Whether the worker must announce the start before it begins.
        confirm: bool,
    },
    /// Tell a worker that an assignment is no longer needed.
    Revoke {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
    },
    /// All shards are done: merge these partials, which cover every replica exactly once, in
    /// replica order. If this is emitted again for the same step, a worker with a partial was
    /// lost in between: continue the merge with the new parts.
    Merge {
        /// The step.
        step: StepId,
        /// The parts.
        parts: Vec<PartialRef>,
    },
    /// Stop merging this step: a worker with a partial was lost. [`Action::Merge`] follows when
    /// the step is complete again.
    PauseMerge {
        /// The step.
        step: StepId,
    },
    /// The worker is lost: close its connection.
    Disconnect {
        /// The worker.
        worker: WorkerId,
        /// The reason.
        reason: LossReason,
    },
    /// The run has failed. It is no longer active; no `RunEnded` is needed.
    FailRun {
        /// The run.
        run: RunId,
        /// Why.
        reason: RunFailure,
    },
    /// The cancelled run is no longer queued or active.
    RunCancelled {
        /// The run.
        run: RunId,
    },
    /// A partial was accepted for a block that is no longer assigned to its worker: the worker
    /// finished it before it lost its connection, or before the block was revoked. These shards
    /// are not computed again.
    Offered {
        /// The run.
        run: RunId,
        /// The worker.
        worker: WorkerId,
        /// The block.
        block: Block,
    },
    /// Two processes have computed an audited shard.
    Audited {
        /// The step.
        step: StepId,
        /// The shard.
        replica: u32,
    },
    /// The step continues without the audit of a shard.
    Unaudited {
        /// The step.
        step: StepId,
        /// The shard.
        replica: u32,
        /// Why.
        reason: UnauditedReason,
    },
    /// An event of a worker in the active run, for people.
    Note {
        /// The run.
        run: RunId,
        /// The worker.
        worker: WorkerId,
        /// The kind of event.
        what: WorkerEvent,
        /// Details.
        detail: Detail,
    },
}

/// How a worker's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It left in order.
    Left,
    /// It or the coordinator closed the connection with a reason. The worker was alive, so no
    /// shard is suspected.
    Parted,
    /// The connection ended without a reason: the shards running on it are suspected until its
    /// process comes back.
    Crashed,
    /// It was silent for too long, as the scheduler itself finds. Only the shards that it had
    /// before its last sign of life are suspected: it may never have received later ones.
    Silent,
}
