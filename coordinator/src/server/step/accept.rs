//! Finished blocks as they are reported: whether each can be valid, and whether it matches other
//! answers for the same shards.

use std::time::Duration;

use common::id::{Block, StepId, WorkerId};
use common::plan::StepKind;
use common::results::Results;
use common::wire::message::BlockDone;
use tokio::time::Instant;
use tracing::debug;

use super::active_run::ActiveRun;
use super::block_outcome::BlockOutcome;
use super::executor::StepExecutor;
use super::merge::{DecodedPartial, Expected, PartialError, decode_partial, of_partial};
use super::shard_log::Difference;
use crate::server::net::Worker;

/// The classification of a finished block.
#[derive(Debug)]
pub(in crate::server) enum Accepted {
    /// Ignored: it came early, or was not requested.
    Ignored,
    /// Its step is over: its worker may forget it.
    Late,
    /// It does not match the results of its shards; the string says why.
    Altered(String),
    /// Two workers computed different bits for a shard.
    Differs(Box<Difference>),
    /// Two workers merged equal shards into different bits; the string is the message.
    Disagrees(String),
    /// A block of the current step.
    Block(Box<FinishedBlock>),
}

/// A block of the current step, until the scheduler has decided whether to keep it.
#[derive(Debug)]
pub(in crate::server) struct FinishedBlock {
    block: Block,
    outcome: BlockOutcome,
    results: Results,
    /// Whether the partial was sent inline, so that losing the worker cannot lose it.
    pub(in crate::server) is_inline: bool,
    /// Time to compute it.
    pub(in crate::server) compute: Duration,
    /// Its shards.
    pub(in crate::server) shards: u64,
}

impl StepExecutor {
    /// Handles a finished block. `was_run` tells whether the number of its run was given to a run.
    ///
    /// # Errors
    /// The reason to close the worker's connection: its message is impossible.
    pub(in crate::server) fn accept(
        &mut self,
        now: Instant,
        (id, worker): (WorkerId, &Worker),
        done: BlockDone,
        was_run: bool,
    ) -> Result<Accepted, String> {
        let Some(active) = self.active_run_mut(done.step.run) else {
            return if was_run { Ok(Accepted::Ignored) } else { Err(not_begun(done.step)) };
        };
        if let Some(useless) = classify(active, id, worker, &done)? {
            return Ok(useless);
        }
        let partial = match decode(active, &done) {
            Ok(partial) => partial,
            Err(error) => return Ok(Accepted::Altered(of_partial(done.step, done.block, &error))),
        };
        let BlockDone { block, digest, .. } = done;
        if let Err(difference) = active.shards.take(worker.name(), block, &done.shards) {
            return Ok(Accepted::Differs(difference));
        }
        // Equal shards merge into the same bits everywhere.
        let other = active.outcomes.get(&block).filter(|first| first.digest != digest);
        if let Some(first) = other {
            return Ok(Accepted::Disagrees(disagreement(first, worker.name(), &done)));
        }
        let compute = Duration::from_micros(done.compute_us);
        active.timing.computed(now, id, compute);
        Ok(Accepted::Block(Box::new(FinishedBlock {
            block,
            is_inline: matches!(partial, DecodedPartial::Inline(_)),
            outcome: BlockOutcome {
                weight: done.weight,
                digest,
                bytes: done.partial_bytes,
                worker_name: worker.name().to_owned(),
                partial,
            },
            compute,
            shards: done.shards.len() as u64,
            results: done.results,
        })))
    }

    /// Keeps a finished block of the current step if the scheduler accepted it. A partial that
    /// stays on its worker may be needed later, so its record is kept in any case.
    pub(in crate::server) fn keep(&mut self, finished: FinishedBlock, is_taken: bool) {
        let FinishedBlock { block, outcome, results, is_inline, .. } = finished;
        let Some(active) = self.active_mut() else { return };
        let is_wanted = if is_inline { is_taken } else { !active.outcomes.contains_key(&block) };
        if is_wanted {
            active.keep(block, outcome, results);
        }
    }
}

/// Classifies a block that is ignored or late; `None` for a block of the current step that its
/// worker was given.
fn classify(
    active: &ActiveRun,
    id: WorkerId,
    worker: &Worker,
    done: &BlockDone,
) -> Result<Option<Accepted>, String> {
    let BlockDone { step, block, .. } = *done;
    if step.index > active.step.index && !active.goes_on {
        return Err(not_begun(step));
    }
    if !worker.knows(step.run) {
        // The worker's partials may be from another coordinator's run of this number.
        return Err(format!("out of turn: run {} was not opened here", step.run));
    }
    if step.index > active.step.index {
        // The run went back to an earlier step: the partial that the worker keeps can be used when
        // the run reaches this step again.
        debug!("early: replicas {block} of {step} from worker {id}");
        return Ok(Some(Accepted::Ignored));
    }
    if step.index < active.step.index {
        debug!("late: replicas {block} of {step} from worker {id}");
        return Ok(Some(Accepted::Late));
    }
    if !active.step.root().contains(block) || block.replicas(active.step.replicas).is_empty() {
        return Err(format!("{step} has {} replicas, not {block}", active.step.replicas));
    }
    // Work that was started for an earlier coordinator is just as valid, and usually belongs to the
    // step from which the run continues. If the earlier coordinator had got further, no step waits
    // for the block yet.
    if !active.is_resumed_step() && !active.shards.was_given(block, worker.process()) {
        if active.goes_on {
            debug!("not requested: replicas {block} of {step} from worker {id}");
            return Ok(Some(Accepted::Ignored));
        }
        return Err(format!(
            "out of turn: it claims replicas {block} of {step}, which it was not given"
        ));
    }
    Ok(None)
}

/// The partial of a block of the current step, if it matches the results of its shards.
fn decode(active: &ActiveRun, done: &BlockDone) -> Result<DecodedPartial, PartialError> {
    let weight = active.weight(done.block);
    let expected = Expected {
        weight,
        scores: weight * u64::from(active.submission().plan.outputs(&active.step)),
        shards: done.block.replicas(active.step.replicas).len(),
        learns: matches!(active.step.kind, StepKind::Train { .. }),
    };
    decode_partial(&active.cut, done, expected)
}

fn disagreement(first: &BlockOutcome, second: &str, done: &BlockDone) -> String {
    let BlockDone { step, block, digest, .. } = done;
    format!(
        "replicas {block} of {step} had digest {} on worker {}, but {digest} on worker {second}, \
         from equal shards: merging must give the same bits everywhere; look for two builds, or \
         for a faulty machine",
        first.digest, first.worker_name
    )
}

fn not_begun(step: StepId) -> String {
    format!("out of turn: {step} has not begun")
}
