//! From one step to the next: what a step's end is reported as, who is told,
//! and how a run ends.

use common::digest::Digest;
use common::id::{RunId, StepId};
use common::limits;
use common::plan::StepKind;
use common::state::NetworkState;
use common::wire::codec::encode;
use common::wire::event::TOLD;
use common::wire::message::{RunEvent, ShardDone, ToWorker};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::connection::Peer;
use super::ending;
use super::engine::Engine;
use super::jobs::Found;
use super::outbox::Transfer;
use super::run::Phase;
use super::settle::SMALL_STATE;
use super::step_log::rounded;
use crate::scheduler;

impl Engine {
    /// Reports a merged step. The next one begins when the scheduler knows.
    pub(super) fn step_merged(&mut self, next: Option<NetworkState>) {
        let Some(active) = &mut self.active else { return };
        let (run, results) = (active.run, active.results());
        let (loss, accuracy) = (results.loss(), results.accuracy());
        let step = active.step_id();
        for (warning, count) in active.warnings.take(active.step.kind, &results) {
            let s = if count == 1 { "" } else { "s" };
            warn!(target: TOLD, "{step}: the model warns of {count} example{s}: {warning}");
        }
        let event = match active.step.kind {
            StepKind::Train { round, epoch, .. } => {
                let examples = active.submission.plan.examples(&active.step);
                let now = Instant::now();
                let (compute, whole) = active.clock.end_round(now, examples);
                let rounds = active.submission.plan.rounds();
                let compute_ms = compute.as_secs_f64() * 1e3;
                RunEvent::Round {
                    run,
                    round: round + 1,
                    rounds,
                    epoch: epoch + 1,
                    examples,
                    loss,
                    accuracy,
                    metrics: results.metrics(),
                    partial_bytes: active.partial_bytes(),
                    compute_ms,
                    synchronisation_ms: whole.as_secs_f64() * 1e3 - compute_ms,
                    examples_per_second: examples as f64 / whole.as_secs_f64().max(1e-9),
                    workers: self.workers.len() as u32,
                }
            }
            StepKind::Label { epochs } => {
                RunEvent::Labelled { run, epochs, examples: results.examples }
            }
            StepKind::Evaluate { split, epochs } => {
                active.clock.evaluated = (loss, accuracy);
                RunEvent::Evaluation { run, epochs, split, results, loss, accuracy }
            }
        };
        self.record_step(&event);
        let Some(active) = &mut self.active else { return };
        if active.submission.is_replay {
            self.publish_shards();
        }
        let Some(active) = &mut self.active else { return };
        active.take_outcome(&event, next);
        self.log_step(&event);
        if let (RunEvent::Round { round, loss, .. }, Some(run)) = (&event, self.runs.get_mut(&run))
        {
            (run.round, run.loss) = (*round, *loss);
        }
        self.publish(run, event);
        self.checkpoint_if_due();
        self.pending.push_back(scheduler::Event::StepMerged { step });
        self.advance = true;
    }

    /// Goes on to the next step, after the scheduler was told of the merge.
    pub(super) fn next_step(&mut self) {
        let Some(active) = &mut self.active else { return };
        let done = active.step_id();
        let kind = active.step.kind;
        let more = active.next_step(self.now);
        let (step, ready) = (active.step_id(), active.step_ready());
        let same_base = matches!(kind, StepKind::Evaluate { .. }) && more;
        self.tell_step_done(done, same_base.then_some(step));
        if more {
            self.pending.push_back(ready);
        } else {
            self.digest();
        }
    }

    /// Tells all workers that a step is over. If the next one has the same
    /// base, those who have it are told so first, and behind the state that
    /// may still be on its way to them.
    fn tell_step_done(&mut self, done: StepId, same_as: Option<StepId>) {
        let frame = encode(ToWorker::StepDone { step: done });
        let mut told = Vec::new();
        for (worker, about) in &mut self.workers {
            if about.run != Some(done.run) {
                continue;
            }
            about.assignments.retain(|_, (step, _)| *step != done);
            about.given.clear();
            told.push(*worker);
            let outbox = &about.link.outbox;
            match same_as {
                Some(step) if about.base == Some(done) => {
                    let same = encode(ToWorker::SameState { step, as_of: done });
                    let both = [&same.head[..], &frame.head].concat().into();
                    outbox.data(Transfer::Same { step, both, done: frame.clone() });
                    about.base = Some(step);
                }
                _ => {
                    outbox.drop_states(done);
                    outbox.control(frame.clone());
                }
            }
        }
        for worker in told {
            self.mark(Peer::Worker(worker));
        }
    }

    /// Has the final state's digest made.
    pub(super) fn digest(&mut self) {
        let Some(active) = &self.active else { return };
        let state = active.state.clone();
        if state.bytes() <= SMALL_STATE {
            return self.on_digested(state.digest());
        }
        self.spawn_for_run(move || Found::Digested(state.digest()));
    }

    /// Takes in the final state's digest. The run has ended well once that
    /// state is on disk, where there is one to write to.
    pub(super) fn on_digested(&mut self, digest: Digest) {
        let Some(active) = &mut self.active else { return };
        let run = active.run;
        if self.durable.is_none() || !active.is_kept() {
            return self.finish_run(run, digest);
        }
        active.final_digest = Some(digest);
        if !active.saving.under_way {
            self.begin_checkpoint(Some(digest));
        }
    }

    /// Ends a run well.
    pub(super) fn finish_run(&mut self, run: RunId, digest: Digest) {
        let Some(active) = self.active.as_ref().filter(|active| active.run == run) else { return };
        let Some(of) = self.runs.get_mut(&run) else { return };
        let (progress, unsaved) = (active.progress(of, self.now), of.unsaved.clone());
        let rounds = active.submission.plan.rounds();
        let event = ending::finished(run, rounds, digest, &progress, unsaved);
        (of.state, of.digest) = (Some(active.state.clone()), Some(digest));
        info!(
            loss = progress.evaluation_loss.map(rounded),
            accuracy = progress.evaluation_accuracy.map(rounded),
            "run {run} finished: {digest}"
        );
        self.end_run(run, Phase::Finished, event);
        self.pending.push_back(scheduler::Event::RunEnded { run });
    }

    /// Ends a run that failed.
    pub(super) fn fail_run(&mut self, run: RunId, reason: String) {
        error!(target: TOLD, "run {run} failed: {reason}");
        self.end_run(run, Phase::Failed, RunEvent::Failed { run, reason });
    }

    /// Tells what the shards of a replayed step gave.
    fn publish_shards(&mut self) {
        let Some(active) = &self.active else { return };
        let (run, step) = (active.run, active.step.index);
        let all: Vec<ShardDone> = active.shards.all().map(|(_, shard)| shard.done).collect();
        for (place, shards) in all.chunks(limits::BLOCK_REPLICAS as usize).enumerate() {
            let first = place as u32 * limits::BLOCK_REPLICAS;
            self.publish(run, RunEvent::Shards { run, step, first, shards: shards.to_vec() });
        }
    }
}
