//! From one step to the next: the report of a step's end, and the end of the run after the last
//! step.

use common::digest::Digest;
use common::id::RunId;
use common::plan::StepKind;
use common::run_state::RunEnd;
use common::state::NetworkState;
use common::wire::event::TOLD;
use common::wire::message::RunEvent;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Engine;
use crate::scheduler;
use crate::server::run_table::finished;
use crate::server::step::StepOutcome;
use crate::server::text::rounded;

impl Engine {
    /// Reports a merged step. The next step begins when the scheduler knows of the merge. `digest`
    /// is the digest of the step's state, if clients compare it.
    pub(super) fn step_merged(&mut self, next: Option<NetworkState>, digest: Option<Digest>) {
        let workers = self.peers.worker_count();
        let Some(outcome) = self.step.outcome(Instant::now(), workers) else { return };
        let StepOutcome { event, warnings } = outcome;
        let Some(active) = self.step.active() else { return };
        let (run, step) = (active.run(), active.step_id());
        for (warning, count) in warnings {
            let s = if count == 1 { "" } else { "s" };
            warn!(target: TOLD, "{step}: the model warns of {count} example{s}: {warning}");
        }
        self.record_step(&event);
        if active.submission().is_replay {
            for shards in self.step.shard_events() {
                self.publish(run, shards);
            }
        }
        if let Some(active) = self.step.active_mut() {
            active.take_outcome(&event, next);
        }
        self.log_step(&event);
        if let (RunEvent::Round { round, loss, .. }, Some(run)) = (&event, self.runs.get_mut(run)) {
            run.advance(*round, *loss);
        }
        self.publish(run, event);
        self.checkpoint_if_due();
        self.pending.push_back(scheduler::Event::StepMerged { step });
        if let Some(digest) = digest {
            self.publish(run, RunEvent::State { run, step: step.index, digest });
        }
    }

    /// Continues with the next step, after the scheduler was told of the merge.
    pub(super) fn next_step(&mut self) {
        let Some(active) = self.step.active_mut() else { return };
        let (done, kind) = (active.step_id(), active.kind());
        let more = active.next_step(self.now);
        let (step, ready) = (active.step_id(), active.step_ready());
        let same_base =
            matches!(kind, StepKind::Evaluate { .. } | StepKind::Predict { .. }) && more;
        self.peers.end_step(done, same_base.then_some(step));
        if more {
            self.pending.push_back(ready);
        } else {
            let effect = self.step.digest();
            self.perform_step(effect);
        }
    }

    /// Handles the final state's digest. The run has finished once that state is on disk, if there
    /// is a runs folder.
    pub(super) fn on_digested(&mut self, digest: Digest) {
        let Some(active) = self.step.active_mut() else { return };
        let run = active.run();
        if self.journal.is_none() || !active.is_kept() {
            return self.finish_run(run, digest);
        }
        active.begin_saving(digest);
        if !active.is_checkpoint_under_way() {
            self.begin_checkpoint(Some(digest));
        }
    }

    /// Ends a run that finished.
    pub(super) fn finish_run(&mut self, run: RunId, digest: Digest) {
        let Some(active) = self.step.active_run(run) else { return };
        let Some(of) = self.runs.get_mut(run) else { return };
        let (progress, unsaved) = (active.progress(of, self.now), of.unsaved().cloned());
        let rounds = active.submission().plan.rounds();
        let event = finished(run, rounds, digest, &progress, unsaved);
        of.set_final(active.state().clone(), digest);
        info!(
            loss = progress.evaluation_loss.map(rounded),
            accuracy = progress.evaluation_accuracy.map(rounded),
            "run {run} finished: {digest}"
        );
        self.end_run(run, RunEnd::Finished, event);
        self.pending.push_back(scheduler::Event::RunEnded { run });
    }
}
