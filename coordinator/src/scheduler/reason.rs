//! Why the scheduler does something, as data. The engine turns it into sentences for people.

use std::time::Duration;

use common::id::{Block, RunId, StepId, WorkerId};

/// Details of an event of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A text that came with the event: why a connection ended, what a worker lacks, or what is
    /// wrong with its finished block.
    Text(String),
    /// The slots of a worker that joined.
    Slots(u32),
    /// Why the scheduler gave the worker up.
    GivenUp(LossReason),
    /// A lost worker's blocks, which go to other workers.
    HandedOver {
        /// Shards in them.
        shards: u32,
        /// The blocks.
        blocks: Vec<Block>,
    },
    /// A finished block whose replicas were done already.
    DoneAlready {
        /// Shards in it.
        shards: u32,
        /// The block.
        block: Block,
    },
    /// A slow block, of which idle workers get copies.
    Duplicated {
        /// Shards in it.
        shards: u32,
        /// The block.
        block: Block,
        /// Time since it was assigned.
        after: Duration,
    },
    /// The second copy of an audited shard took too long, and is revoked.
    AuditOverdue {
        /// The block, of one replica.
        block: Block,
        /// Time since it was assigned.
        after: Duration,
    },
    /// A shard failed.
    ShardFailed {
        /// The replica.
        replica: u32,
        /// The model's error, shortened.
        error: String,
    },
    /// The worker's process failed in many steps, and gets no work while there are other workers.
    SetAside {
        /// Number of steps.
        steps: u32,
        /// For how long.
        wait: Duration,
    },
}

/// Why the scheduler gives up a worker that is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Nothing was received from it for too long.
    Silent {
        /// The longest silence that is allowed.
        timeout: Duration,
    },
    /// It lacked partials that it had reported.
    MissingPartials {
        /// Number of partials.
        partials: u32,
    },
}

/// Why a run fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunFailure {
    /// The queue of runs is full.
    QueueFull {
        /// The run that was submitted.
        run: RunId,
        /// Most runs in the queue.
        limit: usize,
    },
    /// A shard returned errors.
    ShardFailed {
        /// The step.
        step: StepId,
        /// The replica.
        replica: u32,
        /// How often.
        errors: u32,
        /// The worker of the last error.
        worker: WorkerId,
        /// Whether a retry cannot help.
        fatal: bool,
        /// The last error, shortened.
        error: String,
    },
    /// Finished blocks arrived altered, or were impossible.
    Altered {
        /// The last error, shortened.
        error: String,
        /// How often one replica was concerned.
        times: u32,
        /// The worker of the last one.
        worker: WorkerId,
    },
    /// Workers died while running the same replicas.
    Crashes {
        /// The step.
        step: StepId,
        /// The replicas, in order.
        replicas: Vec<u32>,
        /// Number of workers for each.
        workers: u32,
    },
    /// Workers were lost repeatedly in one step, and no shard is known to be the cause.
    Losses {
        /// The step.
        step: StepId,
        /// On how many occasions.
        times: u32,
    },
}

impl RunFailure {
    /// The shard that caused it, if it is known; of several the first one.
    pub fn shard(&self) -> Option<(StepId, u32)> {
        match self {
            Self::ShardFailed { step, replica, .. } => Some((*step, *replica)),
            Self::Crashes { step, replicas, .. } => Some((*step, *replicas.first()?)),
            Self::QueueFull { .. } | Self::Altered { .. } | Self::Losses { .. } => None,
        }
    }
}

/// Why a step continues without the second result of an audited shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnauditedReason {
    /// There is no second worker.
    NoWorker,
    /// All other workers have the maximum of second copies in this step.
    NoRoom,
    /// No worker that had its second copy gave a result.
    NoResult,
    /// The shard had failed on a worker, or killed one, in this step.
    ShardFailed,
}
