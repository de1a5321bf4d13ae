//! A complete step's merge: pieces asked for and taken in, jobs run, and the
//! model's last word on the merged state, or on a labelling.

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::digest::Digest;
use common::id::{Block, StepId};
use common::model::{self, Model};
use common::plan::StepKind;
use common::results::Results;
use common::state::NetworkState;
use common::wire::message::{RunEvent, ToWorker};
use tracing::debug;

use super::active::{ActiveRun, Outcome};
use super::engine::Engine;
use super::finished::of_partial;
use super::jobs::Found;
use super::merge::{Arrival, Content, JobDone, Piece, StepMerge, merge_inline, next_state};
use crate::scheduler::{self, Part, WorkerNote};

/// States up to this many bytes are merged and checked in the engine's own
/// task: handing them to another thread would take longer. What a model does with
/// one is done elsewhere all the same.
pub(super) const SMALL_STATE: u64 = 256 << 10;

/// A merge's window is this part of the state: with the base and the next
/// state it stays well under three states.
const WINDOW_SHARE: u64 = 4;

/// The smallest window, whatever the state, in bytes: enough to keep a few
/// connections busy.
const SMALL_WINDOW: u64 = 4 << 20;

/// Inline parts up to this number are merged in the engine's own task.
const FEW_PARTS: usize = 256;

/// A settled state.
#[derive(Debug)]
pub(super) struct Settled {
    step: StepId,
    /// The state, and its digest where somebody compares it.
    state: Result<(Box<NetworkState>, Option<Digest>), String>,
}

impl Engine {
    /// Begins, or goes on with, the merge of a complete step.
    pub(super) fn merge_step(&mut self, step: StepId, parts: &[Part]) {
        let waits = |active: &&mut ActiveRun| active.step_id() == step && !active.settling;
        let Some(active) = self.active.as_mut().filter(waits) else { return };
        let outcome = |block: &Block| active.outcomes.get(block);
        active.parts = parts
            .iter()
            .map(|part| Piece {
                block: part.block,
                weight: outcome(&part.block).map_or(0, |outcome| outcome.weight),
                holder: part.holder,
            })
            .collect();
        match active.step.kind {
            StepKind::Evaluate { .. } => self.step_merged(None),
            StepKind::Label { .. } => self.label(),
            StepKind::Train { .. } => self.merge_round(),
        }
    }

    fn merge_round(&mut self) {
        let Some(active) = &mut self.active else { return };
        let inline = active.parts.iter().all(|part| part.holder.is_none());
        let small = active.state.bytes() <= SMALL_STATE && active.parts.len() <= FEW_PARTS;
        let fresh = |active: &mut ActiveRun| {
            let spare = active.take_spare();
            next_state(&active.state, spare)
        };
        if active.cut.segments.is_empty() || (active.merge.is_none() && inline && small) {
            let mut next = fresh(active);
            let taken = |part: &Piece| {
                let outcome = active.outcomes.get_mut(&part.block);
                (part.block, outcome.map(Outcome::take_inline).unwrap_or_default())
            };
            let parts = active.parts.iter().map(taken).collect();
            merge_inline(active.step.replicas, &active.cut, &active.state, parts, &mut next);
            return self.settle(next);
        }
        let step = active.step_id();
        let window = (active.state.bytes() / WINDOW_SHARE).max(SMALL_WINDOW);
        let window = window.min(self.config.merge_memory);
        if active.merge.is_none() {
            let (replicas, cut) = (active.step.replicas, active.cut.clone());
            let (base, next) = (active.state.clone(), fresh(active));
            active.merge = Some(StepMerge::new(step, replicas, cut, base, next, window));
        }
        if let Some(merge) = &mut active.merge {
            merge.resume(active.parts.clone());
        }
        self.fetch_pieces();
    }

    /// Stops the merge: a holder is lost.
    pub(super) fn pause_merge(&mut self, step: StepId) {
        if let Some(active) = self.active.as_mut().filter(|active| active.step_id() == step)
            && let Some(merge) = &mut active.merge
        {
            merge.pause();
        }
    }

    /// Asks for as many pieces as the window has room for.
    fn fetch_pieces(&mut self) {
        loop {
            let Some(active) = &mut self.active else { return };
            let Some(merge) = &mut active.merge else { return };
            let Some(fetch) = merge.next_fetch(self.now) else { return };
            let (step, block) = (merge.step, fetch.piece.block);
            if let Some(holder) = fetch.piece.holder {
                let first = fetch.segment as u32;
                self.send_worker(holder, ToWorker::Pull { step, block, first, count: 1 });
                continue;
            }
            let outcome = active.outcomes.get(&block);
            let piece = outcome.and_then(|outcome| outcome.inline(fetch.segment).cloned());
            merge.take_in(fetch, Content::Decoded(piece));
            self.run_jobs();
        }
    }

    /// Runs as many of the merge's jobs as there are cores.
    pub(super) fn run_jobs(&mut self) {
        while self.merging < self.cores {
            let merge = self.active.as_mut().and_then(|active| active.merge.as_mut());
            let Some(job) = merge.and_then(StepMerge::next_job) else { return };
            self.merging += 1;
            self.spawn_for_run(move || Found::Merged(job.run()));
        }
    }

    /// Takes in a pulled piece.
    pub(super) fn on_piece(
        &mut self,
        worker: common::id::WorkerId,
        (step, block, segment): (StepId, Block, u32),
        payload: bytes::Bytes,
    ) -> Result<(), String> {
        let out_of_turn =
            || Err(format!("out of turn: segment {segment} of {block}, {step}, was not asked for"));
        let Some(active) = self.active.as_mut().filter(|active| active.run == step.run) else {
            return if step.run.0 <= self.last_run { Ok(()) } else { out_of_turn() };
        };
        if step.index < active.step.index {
            return Ok(());
        }
        let merge = active.merge.as_mut().filter(|merge| merge.step == step);
        let Some(merge) = merge else { return out_of_turn() };
        let segment = segment as usize;
        let known = active.outcomes.get(&block).and_then(|outcome| outcome.hash(segment));
        // A piece without one was never asked for.
        let content = Content::Encoded(payload, known.unwrap_or_default());
        match merge.arrived(self.now, worker, block, segment, content) {
            Arrival::Taken => self.run_jobs(),
            Arrival::Late => debug!("late: segment {segment} of {block}, {step}"),
            Arrival::OutOfTurn => return out_of_turn(),
        }
        Ok(())
    }

    /// Takes in the end of a merge job.
    pub(super) fn on_merged(&mut self, done: JobDone) {
        let Some(active) = &mut self.active else { return };
        let Some(merge) = active.merge.as_mut().filter(|merge| merge.is_current(&done)) else {
            return;
        };
        match &done.outcome {
            Ok(complete) => match merge.merged(&done, *complete) {
                Some(next) => self.settle(next),
                None => self.fetch_pieces(),
            },
            Err(error) => {
                let (step, Piece { block, holder, .. }) = (done.step, done.fetch.piece);
                match holder {
                    Some(holder) => self.on_altered(holder, step, block, error),
                    None => self.give_up(&of_partial(step, block, error)),
                }
            }
        }
    }

    /// Tells the scheduler of partials that were asked for long ago and do
    /// not come.
    pub(super) fn drop_stalled_pulls(&mut self) {
        let Some(merge) = self.active.as_ref().and_then(|active| active.merge.as_ref()) else {
            return;
        };
        let (step, seconds) = (merge.step, merge.patience().as_secs_f64());
        for (worker, block) in merge.stalled(self.now) {
            let detail = format!(
                "it was asked for its partial of replicas {block} of {step}, and sent nothing of \
                 it for {seconds:.1} s: others do that again"
            );
            self.publish_note(step.run, worker, WorkerNote::Failed, detail);
            self.pending.push_back(scheduler::Event::PartialMissing { worker, step, block });
        }
    }

    /// Lets the model settle a merged state, and checks it.
    fn settle(&mut self, next: NetworkState) {
        let Some(active) = &self.active else { return };
        let base = active.state.clone();
        self.settle_by(move |model| settle(model, &base, next));
    }

    /// Lets the model write labels into a copy of the base.
    fn label(&mut self) {
        let Some(active) = &mut self.active else { return };
        let (base, spare, results) = (active.state.clone(), active.take_spare(), active.results());
        self.settle_by(move |model| label(model, &base, spare, &results));
    }

    /// Has the model make the state of the next step on another thread: it may take
    /// long. Only where the model does nothing, and the state is small, it is done
    /// here.
    fn settle_by(
        &mut self,
        work: impl FnOnce(&dyn Model) -> Result<Box<NetworkState>, String> + Send + 'static,
    ) {
        let Some(active) = &mut self.active else { return };
        active.settling = true;
        let (step, model) = (active.step_id(), active.submission.model.clone());
        let is_replay = active.submission.is_replay;
        let work = move |model: &dyn Model| {
            let state = work(model)?;
            let digest = is_replay.then(|| state.digest());
            Ok((state, digest))
        };
        let is_round = matches!(active.step.kind, StepKind::Train { .. });
        if is_round && !model.settles() && active.state.bytes() <= SMALL_STATE {
            return self.on_settled(Settled { step, state: work(&*model) });
        }
        self.spawn_for_run(move || Found::Settled(Settled { step, state: work(&*model) }));
    }

    /// Takes in a settled state: the step is over.
    pub(super) fn on_settled(&mut self, settled: Settled) {
        let active = self.active.as_ref().filter(|active| active.step_id() == settled.step);
        let Some(active) = active else { return };
        match settled.state {
            Ok((state, digest)) => {
                self.step_merged(Some(*state));
                let StepId { run, index: step } = settled.step;
                if let Some(digest) = digest {
                    self.publish(run, RunEvent::State { run, step, digest });
                }
            }
            Err(cause) => {
                let what = match active.step.kind {
                    StepKind::Label { .. } => "labelled",
                    StepKind::Train { .. } | StepKind::Evaluate { .. } => "merged",
                };
                self.give_up(&format!("the {what} state of {}: {cause}", settled.step));
            }
        }
    }

    /// Fails the active run for a reason that the scheduler does not know.
    pub(super) fn give_up(&mut self, reason: &str) {
        let Some(run) = self.active.as_ref().map(|active| active.run) else { return };
        self.fail_run(run, reason.to_owned());
        self.pending.push_back(scheduler::Event::RunEnded { run });
    }
}

/// The model's last word on a merged state.
fn settle(
    model: &dyn Model,
    base: &NetworkState,
    mut state: NetworkState,
) -> Result<Box<NetworkState>, String> {
    let settle = || model::settle(model, base, &mut state).map_err(|error| error.to_string());
    catch_unwind(AssertUnwindSafe(settle))
        .unwrap_or_else(|panic| Err(panic_text("the model panicked in finish_round", &*panic)))?;
    Ok(Box::new(state))
}

/// The base with the labels that the model reads from a labelling's results.
/// `spare` is the memory of a former state.
fn label(
    model: &dyn Model,
    base: &NetworkState,
    spare: Option<NetworkState>,
    results: &Results,
) -> Result<Box<NetworkState>, String> {
    let reused = spare.and_then(|mut spare| spare.copy_from(base).ok().map(|()| spare));
    let mut state = reused.unwrap_or_else(|| base.clone());
    let label = || model::label(model, &mut state, results).map_err(|error| error.to_string());
    catch_unwind(AssertUnwindSafe(label)).unwrap_or_else(|panic| {
        Err(panic_text("the model panicked in finish_labelling", &*panic))
    })?;
    Ok(Box::new(state))
}

/// What a panic said.
pub(super) fn panic_text(where_: &str, panic: &(dyn std::any::Any + Send)) -> String {
    let text = (panic.downcast_ref::<&str>().copied())
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("{where_}: {}", text.unwrap_or("without a word"))
}
