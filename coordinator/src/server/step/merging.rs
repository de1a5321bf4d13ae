//! The merge of a complete round: small partials are merged here, large ones segment by segment.

use std::time::Duration;

use common::id::{Block, StepId, WorkerId};
use common::state::NetworkState;
use common::wire::message::ToWorker;
use tokio::time::Instant;
use tracing::debug;

use super::active_run::{ActiveRun, Stage};
use super::block_outcome::BlockOutcome;
use super::effect::{Done, Effect, JobResult};
use super::executor::{SMALL_STATE, StepExecutor};
use super::merge::{
    Arrival, Content, FinishedSegment, JobDone, NextState, PartialSource, Payload, StepMerge,
    merge_inline, next_state, of_partial,
};

/// A merge's window is this fraction of the state: together with the base and the next state it
/// stays well under three states.
const WINDOW_SHARE: u64 = 32;

/// The smallest window in bytes, for any state: enough to keep a few connections busy.
const SMALL_WINDOW: u64 = 8 << 20;

/// Up to this number, inline partials are merged in the engine's own task.
const FEW_PARTS: usize = 256;

/// Partials that were requested and have not arrived.
#[derive(Debug)]
pub(in crate::server) struct Stalled {
    pub(in crate::server) step: StepId,
    /// How long the coordinator waited for them.
    pub(in crate::server) wait: Duration,
    /// The workers that keep them, and their blocks.
    pub(in crate::server) partials: Vec<(WorkerId, Block)>,
}

impl StepExecutor {
    pub(super) fn merge_round(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(active) = &mut self.active else { return effects };
        let is_new = matches!(active.stage, Stage::Working);
        let inline = active.parts.iter().all(|part| part.holder.is_none());
        let small = active.state.bytes() <= SMALL_STATE && active.parts.len() <= FEW_PARTS;
        if active.cut.segments.is_empty() || (is_new && inline && small) {
            let next = merge_here(active);
            return self.finalise(next).into_iter().collect();
        }
        if is_new {
            let window = (active.state.bytes() / WINDOW_SHARE).max(SMALL_WINDOW);
            let window = window.min(self.merge_memory);
            let spare = active.take_spare();
            let next = next_state(&active.state, spare);
            let (base, cut) = (active.state.clone(), active.cut.clone());
            let (step, frames) = (active.step_id(), active.begin_growth());
            let next = NextState::new(next, &cut, frames.clone());
            let merge = StepMerge::new(step, active.step.replicas, cut, base, next, window);
            active.stage = Stage::Merging(Box::new(merge));
            effects.extend(frames.map(|frames| Effect::SendGrowing(step, frames)));
        }
        let parts = active.parts.clone();
        if let Some(merge) = self.merge_mut() {
            merge.resume(parts);
        }
        // The last segment may have been finished during a pause.
        effects.extend(self.on_finished(now, &[]));
        effects
    }

    /// Handles finished segments: after the last one, the state is complete.
    fn on_finished(&mut self, now: Instant, segments: &[FinishedSegment]) -> Vec<Effect> {
        let Some(merge) = self.merge_mut() else { return Vec::new() };
        match merge.finished(segments) {
            Some((next, true)) => self.finalise_finite(next).into_iter().collect(),
            Some((next, false)) => self.finalise(next).into_iter().collect(),
            None if merge.wants_more() => self.fetch_pieces(now),
            None => {
                let mut effects = Vec::new();
                self.run_jobs(&mut effects);
                effects
            }
        }
    }

    /// Pauses the merge because a worker that keeps a partial is lost.
    pub(in crate::server) fn pause(&mut self, step: StepId) {
        if let Some(merge) = self.merge_mut().filter(|merge| merge.step == step) {
            merge.pause();
        }
    }

    /// Requests as many pieces as the window allows: consecutive pieces of one partial in one
    /// message.
    fn fetch_pieces(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut pulls: Vec<(WorkerId, Block, u32, u32)> = Vec::new();
        let Some(active) = &mut self.active else { return effects };
        let Stage::Merging(merge) = &mut active.stage else { return effects };
        let step = merge.step;
        while let Some(fetch) = merge.next_fetch(now) {
            let (block, segment) = (fetch.piece.block, fetch.segment as u32);
            let Some(holder) = fetch.piece.holder else {
                let outcome = active.outcomes.get(&block);
                let piece = outcome.and_then(|outcome| outcome.inline(fetch.segment).cloned());
                merge.take_in(fetch, Content::Decoded(piece));
                continue;
            };
            let is_next = |(to, of, first, count): &&mut (WorkerId, Block, u32, u32)| {
                (*to, *of, *first + *count) == (holder, block, segment)
            };
            match pulls.iter_mut().find(is_next) {
                Some((.., count)) => *count += 1,
                None => pulls.push((holder, block, segment, 1)),
            }
        }
        effects.extend(pulls.into_iter().map(|(holder, block, first, count)| {
            Effect::Send(holder, ToWorker::Pull { step, block, first, count })
        }));
        self.run_jobs(&mut effects);
        effects
    }

    /// Runs as many of the merge's jobs as there are cores.
    pub(super) fn run_jobs(&mut self, effects: &mut Vec<Effect>) {
        let Some(active) = &mut self.active else { return };
        let of = active.incarnation;
        let Stage::Merging(merge) = &mut active.stage else { return };
        while self.merging < self.cores {
            let Some(job) = merge.next_job() else { return };
            self.merging += 1;
            effects.push(Effect::Run(Box::new(move || Done {
                of,
                result: JobResult::Merged(job.run()),
            })));
        }
    }

    /// Handles a pulled segment of a partial. `was_run` tells whether the number of its run was
    /// given to a run.
    ///
    /// # Errors
    /// The reason to close the worker's connection: the segment was not requested.
    pub(in crate::server) fn on_segment(
        &mut self,
        now: Instant,
        worker: WorkerId,
        (step, block, segment): (StepId, Block, u32),
        payload: Payload,
        was_run: bool,
    ) -> Result<Vec<Effect>, String> {
        let out_of_turn =
            || format!("out of turn: segment {segment} of {block}, {step}, was not asked for");
        let Some(active) = self.active_run_mut(step.run) else {
            return if was_run { Ok(Vec::new()) } else { Err(out_of_turn()) };
        };
        // If the run goes on from before, the segment may have been requested in its earlier
        // life, which may have been at another step.
        let is_of_earlier_life = active.goes_on;
        let unrequested = || if is_of_earlier_life { Ok(Vec::new()) } else { Err(out_of_turn()) };
        if step.index < active.step.index {
            return Ok(Vec::new());
        }
        if step.index > active.step.index {
            return unrequested();
        }
        let index = segment as usize;
        let known = active.outcomes.get(&block).and_then(|outcome| outcome.hash(index));
        let merge = match &mut active.stage {
            Stage::Merging(merge) => merge,
            Stage::Working => return unrequested(),
            // The segment may arrive after the step is merged.
            _ => return Ok(Vec::new()),
        };
        // A piece without a hash was never requested.
        let content = Content::Encoded(payload, known.unwrap_or_default());
        let mut effects = Vec::new();
        match merge.receive(now, worker, block, index, content) {
            Arrival::Taken => self.run_jobs(&mut effects),
            Arrival::Late => debug!("late: segment {segment} of {block}, {step}"),
            Arrival::OutOfTurn => return unrequested(),
        }
        Ok(effects)
    }

    /// Handles the end of a merge job.
    pub(super) fn on_merged(&mut self, now: Instant, done: &JobDone) -> Vec<Effect> {
        let Some(merge) = self.merge_mut().filter(|merge| merge.step == done.step) else {
            return Vec::new();
        };
        merge.piece_done(done);
        let has_grown = merge.is_sent_meanwhile().then_some(Effect::HasGrown);
        match &done.outcome {
            Ok(finished) => {
                let mut effects = self.on_finished(now, finished);
                effects.extend(has_grown);
                effects
            }
            Err(_) if !merge.is_current(done) => Vec::new(),
            Err(error) => {
                let (step, PartialSource { block, holder, .. }) = (done.step, done.fetch.piece);
                let error = of_partial(step, block, error);
                vec![match holder {
                    Some(worker) => Effect::Altered { worker, step, block, error },
                    None => Effect::GiveUp(error),
                }]
            }
        }
    }

    /// Handles a worker's answer that it does not have a requested partial.
    pub(in crate::server) fn is_missing(&mut self, worker: WorkerId, step: StepId, block: Block) {
        if let Some(merge) = self.merge_mut().filter(|merge| merge.step == step) {
            merge.is_missing(worker, block);
        }
    }

    /// Handles the loss of a worker, and of all requests to it.
    pub(in crate::server) fn forget(&mut self, worker: WorkerId) {
        if let Some(merge) = self.merge_mut() {
            merge.forget(worker);
        }
    }

    /// Restarts the time of all requests: this coordinator itself was suspended.
    pub(in crate::server) fn restart_waits(&mut self, now: Instant) {
        if let Some(merge) = self.merge_mut() {
            merge.wait_anew(now);
        }
    }

    /// Partials that were requested long ago and have not arrived.
    pub(in crate::server) fn stalled(&mut self, now: Instant) -> Option<Stalled> {
        let merge = self.merge_mut()?;
        Some(Stalled {
            step: merge.step,
            wait: merge.stall_timeout(),
            partials: merge.stalled(now),
        })
    }
}

/// Merges, in this task, a step whose partials are all inline and small.
fn merge_here(active: &mut ActiveRun) -> NetworkState {
    let spare = active.take_spare();
    let mut next = next_state(&active.state, spare);
    let taken = |part: &PartialSource| {
        let outcome = active.outcomes.get_mut(&part.block);
        (part.block, outcome.map(BlockOutcome::take_inline).unwrap_or_default())
    };
    let parts = active.parts.iter().map(taken).collect();
    merge_inline(active.step.replicas, &active.cut, &active.state, parts, &mut next);
    next
}
