//! Effects of a step outside this room, and the results of its jobs.

use std::sync::Arc;

use common::digest::Digest;
use common::id::{Block, StepId, WorkerId};
use common::state::NetworkState;
use common::wire::message::ToWorker;

use super::merge::JobDone;
use crate::server::jobs::Incarnation;
use crate::server::net::StateFrames;

/// Work for a step, to be run on another thread.
pub(in crate::server) type Job = Box<dyn FnOnce() -> Done + Send>;

/// An effect outside this room.
// A message is large, and there are few effects at a time.
#[expect(clippy::large_enum_variant)]
pub(in crate::server) enum Effect {
    /// Send this message to a worker.
    Send(WorkerId, ToWorker),
    /// Send the base of the step after this one while it is merged, to the workers that have the
    /// base of this one.
    SendGrowing(StepId, Arc<StateFrames>),
    /// More of that base can be sent.
    HasGrown,
    /// Run this job, and pass its result to
    /// [`StepExecutor::on_done`](super::StepExecutor::on_done).
    Run(Job),
    /// The step is over. `next` is its state, if it made one; its digest is known if it is compared
    /// with others.
    Merged { next: Option<Box<NetworkState>>, digest: Option<Digest> },
    /// The final state has this digest.
    Digested(Digest),
    /// A worker's partial does not match the results of its shards; the string says why.
    Altered { worker: WorkerId, step: StepId, block: Block, error: String },
    /// The run fails for this reason, which the scheduler does not know.
    GiveUp(String),
}

/// The result of a [`Job`], with the incarnation of the run that ordered it.
#[derive(Debug)]
pub(in crate::server) struct Done {
    pub(super) of: Incarnation,
    pub(super) result: JobResult,
}

#[derive(Debug)]
pub(super) enum JobResult {
    /// A piece is merged, or cannot be.
    Merged(JobDone),
    /// The state after the step, and its digest if it is compared with others; or the error.
    Finalised(StepId, Result<(Box<NetworkState>, Option<Digest>), String>),
    /// The digest of the final state.
    Digested(Digest),
}
