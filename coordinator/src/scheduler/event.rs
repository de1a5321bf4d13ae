//! What the scheduler is told, and what it wants done.

use std::time::Duration;

use common::id::{AssignmentId, Block, ProcessId, RunId, StepId, WorkerId};

/// What a run waits for before its first step is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// Workers that it had: when as many have said what they kept, it goes on.
    pub workers: u32,
    /// Longest wait for them, from when the step is ready.
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

/// What the scheduler is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker has shaken hands.
    WorkerJoined {
        /// Its id, new for every connection.
        worker: WorkerId,
        /// Its process: the same after a reconnect.
        process: ProcessId,
        /// Shards that it runs at the same time.
        slots: u32,
    },
    /// Any bytes came from the worker.
    WorkerHeard {
        /// The worker.
        worker: WorkerId,
    },
    /// The coordinator itself did not run for a while: whoever was not heard in
    /// that time may have spoken. Everybody's silence begins anew.
    WasAway,
    /// The worker begins an assignment that it is to say so of.
    Started {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
    },
    /// A heartbeat's news of one running assignment.
    Progress {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
        /// Replicas that are running right now.
        running: Vec<u32>,
        /// Shards finished.
        shards_done: u32,
    },
    /// The worker takes no more work.
    WorkerDraining {
        /// The worker.
        worker: WorkerId,
    },
    /// The worker's connection is gone.
    WorkerGone {
        /// The worker.
        worker: WorkerId,
        /// How it went.
        how: Departure,
        /// Why, in words that it is told, too.
        reason: String,
    },
    /// The worker gives an assignment back unfinished.
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
        /// What its first step waits for, where workers may have finished
        /// some of it.
        gathering: Option<Gathering>,
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
        /// Those of them that two processes are to answer, in order.
        audited: Vec<u32>,
    },
    /// A worker has opened the run, and has said what it kept of it.
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
        /// Whether trying again on the same worker cannot help.
        fatal: bool,
        /// What went wrong.
        error: String,
    },
    /// A partial that was to be pulled is not there.
    PartialMissing {
        /// The worker.
        worker: WorkerId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
    },
    /// A finished block cannot be used: its bytes changed in its worker's memory
    /// or on the way, or they are what no shard can give.
    PartialAltered {
        /// The worker.
        worker: WorkerId,
        /// The step.
        step: StepId,
        /// The block.
        block: Block,
        /// What is wrong, in a sentence.
        error: String,
    },
    /// The step's partials are merged.
    StepMerged {
        /// The step.
        step: StepId,
    },
    /// The active run has no further step, or the driver has given it up.
    RunEnded {
        /// The run.
        run: RunId,
    },
}

/// A block of a complete step, and where its partial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The block.
    pub block: Block,
    /// The worker that keeps the partial; `None` where it came inline.
    pub holder: Option<WorkerId>,
}

/// What the scheduler wants done.
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
        /// Whether the worker is to say that it begins, before it does.
        confirm: bool,
    },
    /// Tell a worker that an assignment is no longer needed.
    Revoke {
        /// The worker.
        worker: WorkerId,
        /// The assignment.
        assignment: AssignmentId,
    },
    /// All shards are done: merge these partials, which cover every replica
    /// exactly once, in replica order. If said again for the same step, a
    /// holder was lost in between: go on with the new parts from where the
    /// merge stands.
    Merge {
        /// The step.
        step: StepId,
        /// The parts.
        parts: Vec<Part>,
    },
    /// Stop merging this step: a holder was lost. [`Action::Merge`] follows
    /// when the step is complete again.
    PauseMerge {
        /// The step.
        step: StepId,
    },
    /// The worker is lost: close its connection.
    Disconnect {
        /// The worker.
        worker: WorkerId,
        /// Why: for it, for the log and for the event that it is lost.
        reason: String,
    },
    /// The run has failed. It is no longer active; no `RunEnded` is needed.
    FailRun {
        /// The run.
        run: RunId,
        /// Which shard, which error, what to do.
        reason: String,
        /// The shard that failed it, if one did.
        shard: Option<(StepId, u32)>,
    },
    /// The cancelled run is no longer queued or active.
    RunCancelled {
        /// The run.
        run: RunId,
    },
    /// A partial was taken of a block that its worker does not have any more: it
    /// was finished before the worker lost its connection, or was taken back
    /// from it. These shards are not computed again.
    Offered {
        /// The run.
        run: RunId,
        /// The worker.
        worker: WorkerId,
        /// The block.
        block: Block,
    },
    /// A shard that is audited was answered by two processes.
    Audited {
        /// The step.
        step: StepId,
        /// The shard.
        replica: u32,
    },
    /// A shard was to be audited, and the step goes on without.
    Unaudited {
        /// The step.
        step: StepId,
        /// The shard.
        replica: u32,
        /// Why.
        reason: &'static str,
    },
    /// Something that a person may want to know of a worker in the active run.
    Note {
        /// The run.
        run: RunId,
        /// The worker.
        worker: WorkerId,
        /// What happened.
        what: WorkerNote,
        /// More, in a sentence.
        detail: String,
    },
}

/// How a worker went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It said goodbye.
    Left,
    /// It or the coordinator ended the connection, for a reason that was told. It
    /// was alive: nothing that it had may have killed it.
    Parted,
    /// It went without a word: whatever was running on it is under suspicion, until
    /// its process comes back.
    Crashed,
    /// Nothing was heard of it for too long, as the scheduler itself finds. Only
    /// what it had before its last sign of life is under suspicion: what came later
    /// it may never have seen.
    Silent,
}

/// What happened to a worker during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerNote {
    /// It joined.
    Joined,
    /// It left, by its own will.
    Left,
    /// It was lost: its blocks go elsewhere.
    Lost,
    /// It is slow: a block of it is run twice.
    Slow,
    /// A shard failed on it.
    Failed,
    /// It cannot work on the run.
    Cannot,
    /// What it had to do goes to others.
    Reassigned,
    /// What it has done was done already.
    Duplicate,
}
