//! What a step wants done outside, and the results of its jobs.

use common::digest::Digest;
use common::id::{Block, StepId, WorkerId};
use common::state::NetworkState;
use common::wire::message::ToWorker;

use super::merge::JobDone;
use crate::server::jobs::Incarnation;

/// Work for a step, to be run on another thread.
pub(in crate::server) type Job = Box<dyn FnOnce() -> Done + Send>;

/// What is to be done outside.
pub(in crate::server) enum Effect {
    /// Send this to a worker.
    Send(WorkerId, ToWorker),
    /// Run this, and give its result to
    /// [`StepExecutor::on_done`](super::StepExecutor::on_done).
    Run(Job),
    /// The step is over. `next` is its state, if it made one; the digest of that is
    /// known if somebody compares it.
    Merged { next: Option<Box<NetworkState>>, digest: Option<Digest> },
    /// The final state has this digest.
    Digested(Digest),
    /// A worker's partial is not what its shards gave; the sentence says so.
    Altered { worker: WorkerId, step: StepId, block: Block, error: String },
    /// The run fails for this reason, which the scheduler does not know.
    GiveUp(String),
}

/// The result of a [`Job`], for the life of the run that ordered it.
#[derive(Debug)]
pub(in crate::server) struct Done {
    pub(super) of: Incarnation,
    pub(super) result: JobResult,
}

#[derive(Debug)]
pub(super) enum JobResult {
    /// A piece of a merge is done.
    Merged(JobDone),
    /// The state after the step, and its digest where somebody compares it; or why
    /// there is none.
    Finalised(StepId, Result<(Box<NetworkState>, Option<Digest>), String>),
    /// The final state has its digest.
    Digested(Digest),
}
