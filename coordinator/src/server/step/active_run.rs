//! The active run: its current step, and its results so far.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use common::digest::Digest;
use common::id::{Block, ProcessId, RunId, StepId};
use common::limits;
use common::merge::MergeTree;
use common::plan::{BlockPlan, Step, StepKind};
use common::results::Results;
use common::run_settings::CheckpointEvery;
use common::state::NetworkState;
use common::wire::Frame;
use common::wire::message::{RunEvent, ShardDone};
use tokio::time::Instant;

use super::block_outcome::BlockOutcome;
use super::merge::{Cut, PartialSource, StepMerge};
use super::shard_log::ShardLog;
use super::timing::Timing;
use crate::ledger::ShardRow;
use crate::runs::{HistorySoFar, Progress};
use crate::scheduler;
use crate::server::jobs::Incarnation;
use crate::server::net::StateFrames;
use crate::server::run_table::{Run, RunDefinition, Warnings};

/// The stage of the current step.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its blocks are being computed.
    Working,
    /// It is complete, and its partials are being merged. A merge that waits for a repeated block
    /// keeps its finished segments.
    Merging(Box<StepMerge>),
    /// The model finalises the merged state, or writes labels.
    Finalising,
    /// It is over. The next one begins once the scheduler knows of the merge.
    Merged,
    /// It was the last one: the digest of the final state is being computed.
    Digesting,
    /// The final state, with this digest, is being written.
    Saving(Digest),
}

/// The progress of the run's checkpoints.
#[derive(Debug)]
struct Checkpoints {
    /// Time and round of the last checkpoint that was started.
    begun: (Instant, u64),
    /// Whether a checkpoint is being written.
    is_under_way: bool,
    /// The step that starts from the last checkpoint that was started.
    step: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(in crate::server) struct ActiveRun {
    run: RunId,
    pub(super) incarnation: Incarnation,
    pub(super) submission: Arc<RunDefinition>,
    pub(super) cut: Arc<Cut>,
    /// The message that opens the run at a worker.
    open: Frame,
    /// The base state of the current step; between two steps, of the next.
    pub(super) state: Arc<NetworkState>,
    /// The step that starts from `state`.
    base_step: u64,
    /// The steps that the run is to compute.
    steps: Range<u64>,
    /// The base before it, whose memory is reused for the next state.
    spare: Option<Arc<NetworkState>>,
    pub(super) step: Step,
    pub(super) stage: Stage,
    /// The base state of the current step, as messages; made when first needed.
    frames: Option<Arc<StateFrames>>,
    /// Those of the next step, if they are sent while the current step is merged.
    growing: Option<Arc<StateFrames>>,
    pub(super) outcomes: BTreeMap<Block, BlockOutcome>,
    /// Results of the current step's replicas, combined as they arrive: results may be large, and
    /// blocks many.
    observed: MergeTree<Results>,
    /// The scores of the steps so far, if the run predicts.
    pub(super) scores: Vec<f32>,
    /// The parts of the current or last merge.
    pub(super) parts: Vec<PartialSource>,
    pub(super) timing: Timing,
    warnings: Warnings,
    /// The run's reports.
    history: HistorySoFar,
    /// The shards of the current step.
    pub(super) shards: ShardLog,
    /// Whether workers may have worked on it for an earlier coordinator.
    pub(super) goes_on: bool,
    /// Shards that were taken from workers instead of being computed again.
    offered: u64,
    /// Shards that two workers computed for an audit, and shards whose audit failed to take place.
    audited: u64,
    unaudited: u64,
    checkpoints: Checkpoints,
}

impl ActiveRun {
    /// A run at the step that starts from `state`; `None` if there is no such step. `restart` says
    /// whether it continues.
    pub(super) fn new(
        (run, incarnation): (RunId, Incarnation),
        submission: Arc<RunDefinition>,
        state: Arc<NetworkState>,
        (start, goes_on): (u64, bool),
        progress: &Progress,
        now: Instant,
    ) -> Option<Self> {
        let layout = state.layout();
        let steps = start..submission.steps.end;
        let step = submission.plan.step(start.min(steps.end.checked_sub(1)?))?;
        Some(Self {
            run,
            incarnation,
            open: submission.open_run(run, layout.clone()),
            cut: Arc::new(Cut::new(&layout)),
            goes_on: goes_on && !submission.is_replay,
            submission,
            state,
            spare: None,
            observed: MergeTree::new(step.replicas),
            step,
            stage: Stage::Working,
            frames: None,
            growing: None,
            outcomes: BTreeMap::new(),
            scores: Vec::new(),
            parts: Vec::new(),
            timing: Timing::resume(progress, now),
            warnings: Warnings::of_progress(progress),
            history: progress.history.clone(),
            shards: ShardLog::new(step.replicas),
            offered: progress.offered,
            audited: progress.audited,
            unaudited: progress.unaudited,
            checkpoints: Checkpoints {
                begun: (now, progress.round),
                is_under_way: false,
                step: start,
            },
            base_step: start,
            steps,
        })
    }

    pub(in crate::server) fn run(&self) -> RunId {
        self.run
    }

    pub(in crate::server) fn submission(&self) -> &Arc<RunDefinition> {
        &self.submission
    }

    /// The message that opens the run at a worker.
    pub(in crate::server) fn open(&self) -> &Frame {
        &self.open
    }

    /// The base state of the current step; between two steps, of the next.
    pub(in crate::server) fn state(&self) -> &Arc<NetworkState> {
        &self.state
    }

    /// The step that starts from [`ActiveRun::state`].
    pub(in crate::server) fn base_step(&self) -> u64 {
        self.base_step
    }

    /// The current step.
    pub(in crate::server) fn step_id(&self) -> StepId {
        StepId { run: self.run, index: self.step.index }
    }

    /// The kind of the current step.
    pub(in crate::server) fn kind(&self) -> StepKind {
        self.step.kind
    }

    /// The run's reports.
    pub(in crate::server) fn history(&self) -> &HistorySoFar {
        &self.history
    }

    /// Whether it continues after an earlier coordinator, and is at its first step: workers may
    /// have finished some of that step already.
    pub(in crate::server) fn is_resumed_step(&self) -> bool {
        self.goes_on && self.step.index == self.steps.start
    }

    /// Whether the run is kept in the runs folder, if there is one.
    pub(in crate::server) fn is_kept(&self) -> bool {
        !self.submission.is_replay
    }

    /// Whether all its steps are complete.
    pub(in crate::server) fn is_done(&self) -> bool {
        self.base_step >= self.steps.end
    }

    /// Whether a checkpoint at this step has the final state.
    pub(in crate::server) fn is_last_base(&self, step: u64) -> bool {
        step >= self.steps.end
    }

    /// Whether the current step is over, and the next one may begin.
    pub(in crate::server) fn is_merged(&self) -> bool {
        matches!(self.stage, Stage::Merged)
    }

    /// The digest of the final state, while that is written.
    pub(in crate::server) fn saving(&self) -> Option<Digest> {
        match self.stage {
            Stage::Saving(digest) => Some(digest),
            _ => None,
        }
    }

    /// The final state, with this digest, is to be written.
    pub(in crate::server) fn begin_saving(&mut self, digest: Digest) {
        self.stage = Stage::Saving(digest);
    }

    /// The run's progress.
    pub(in crate::server) fn progress(&self, run: &Run, now: Instant) -> Progress {
        let [training_warnings, labelling_warnings, evaluation_warnings] =
            self.warnings.parts().map(Clone::clone);
        Progress {
            round: run.round(),
            loss: run.loss(),
            training_warnings,
            labelling_warnings,
            evaluation_warnings,
            offered: self.offered,
            audited: self.audited,
            unaudited: self.unaudited,
            history: self.history.clone(),
            ..self.timing.progress(now)
        }
    }

    /// The event that tells the scheduler that the current step is ready. A replay is compared with
    /// the earlier results, and not audited.
    pub(in crate::server) fn step_ready(&self) -> scheduler::Event {
        let (step, replicas) = (self.step_id(), self.step.replicas);
        let RunDefinition { plan, is_replay, .. } = &*self.submission;
        let audited = if *is_replay { Vec::new() } else { plan.audited(&self.step) };
        scheduler::Event::StepReady { step, replicas, audited }
    }

    /// The messages of the current step's base.
    pub(in crate::server) fn frames(&mut self) -> Arc<StateFrames> {
        let step = self.step_id();
        let (state, segments) = (&self.state, &self.cut.state_segments);
        let of_base = || StateFrames::of_base(step, state.clone(), segments.clone());
        self.frames.get_or_insert_with(of_base).clone()
    }

    /// Whether the merged state is the next step's base as it is: the model does not change it, and
    /// nobody compares it with an earlier one.
    pub(super) fn is_base_as_merged(&self) -> bool {
        !self.submission.model.has_finish_round() && !self.submission.is_replay
    }

    /// The messages of the next step's base, to be sent while it is merged, if there is such a step.
    /// Small states are sent at once.
    pub(super) fn begin_growth(&mut self) -> Option<Arc<StateFrames>> {
        let next = StepId { run: self.run, index: self.step.index + 1 };
        let is_wanted = self.is_base_as_merged()
            && next.index < self.steps.end
            && self.state.bytes() > limits::PAYLOAD_BYTES as u64;
        let (segments, spare) = (&self.cut.state_segments, &self.cut.spare);
        let growing = || StateFrames::of_growing(next, segments.clone(), spare.clone());
        self.growing = is_wanted.then(growing);
        self.growing.clone()
    }

    /// The work of a block's replicas in the current step.
    pub(in crate::server) fn block_plan(&self, block: Block) -> BlockPlan {
        self.submission.plan.block(&self.step, block)
    }

    /// Notes that a block of the current step is handed to a process.
    pub(in crate::server) fn give(&mut self, block: Block, process: ProcessId) {
        self.shards.give(block, process);
    }

    /// Counts a block that was done before its worker reconnected. Returns the number of its
    /// shards.
    pub(in crate::server) fn count_offered(&mut self, block: Block) -> u64 {
        let shards = block.replicas(self.step.replicas).len() as u64;
        self.offered += shards;
        shards
    }

    /// Counts a shard for which two processes have the same bits.
    pub(in crate::server) fn count_audited(&mut self) {
        self.audited += 1;
    }

    /// Counts a shard whose audit did not take place. Returns whether it is the run's first one.
    pub(in crate::server) fn count_unaudited(&mut self) -> bool {
        self.unaudited += 1;
        self.unaudited == 1
    }

    /// Number of audited shards, and of shards whose audit did not take place.
    pub(in crate::server) fn audits(&self) -> (u64, u64) {
        (self.audited, self.unaudited)
    }

    /// The results of the current step's shards, in replica order.
    pub(in crate::server) fn shards_done(&self) -> Vec<ShardDone> {
        self.shards.all().map(|(_, shard)| shard.done).collect()
    }

    /// The same for the history, and the digest of all shards.
    pub(in crate::server) fn shard_rows(&self) -> (Digest, Vec<ShardRow>) {
        let rows = self.shards.all().map(|(replica, shard)| ShardRow {
            replica,
            worker: shard.worker.clone(),
            attempt: shard.attempt,
            digest: shard.done.digest,
            compute_us: shard.done.compute_us,
        });
        (self.shards.digest(), rows.collect())
    }

    /// Number of examples in a block of the current step.
    pub(super) fn weight(&self, block: Block) -> u64 {
        let plan = &self.submission.plan;
        let examples = |replica| {
            let positions = plan.positions(&self.step, replica);
            positions.end - positions.start
        };
        block.replicas(self.step.replicas).map(examples).sum()
    }

    /// Bytes of the partials that are merged in the step.
    pub(super) fn partial_bytes(&self) -> u64 {
        let bytes = |part: &PartialSource| {
            self.outcomes.get(&part.block).map_or(0, |outcome| outcome.bytes)
        };
        self.parts.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Adds a block's results, and keeps the rest of its report.
    pub(super) fn keep(&mut self, block: Block, outcome: BlockOutcome, results: Results) {
        self.observed.offer(block, (outcome.weight > 0).then_some(results));
        self.outcomes.insert(block, outcome);
    }

    /// The results of all replicas of the merged step.
    pub(super) fn results(&self) -> Results {
        self.observed.root().cloned().unwrap_or_default()
    }

    /// New warnings of the merged step: number of examples, by warning.
    pub(super) fn new_warnings(&mut self, results: &Results) -> Vec<(String, u64)> {
        self.warnings.take(self.step.kind, results)
    }

    /// The memory of the state before the current one, if nothing else refers to it.
    pub(super) fn take_spare(&mut self) -> Option<NetworkState> {
        Arc::try_unwrap(self.spare.take()?).ok()
    }

    /// Adds the result of a step: an event, and a state if the step made one. The next step starts
    /// from it.
    pub(in crate::server) fn take_outcome(&mut self, event: &RunEvent, next: Option<NetworkState>) {
        self.history.take(event);
        self.base_step = self.step.index + 1;
        self.stage = Stage::Merged;
        if let Some(next) = next {
            self.frames = None;
            self.spare = Some(std::mem::replace(&mut self.state, Arc::new(next)));
            if let Some(growing) = &self.growing {
                growing.end_growth(self.state.clone());
            }
        }
    }

    /// Makes the scores of a prediction the final state. A run that continues after its last step
    /// has them already.
    pub(super) fn take_scores(&mut self) {
        if let Some(state) = self.submission.plan.scores_state(std::mem::take(&mut self.scores)) {
            self.state = Arc::new(state);
        }
    }

    /// Advances to the next step; `false` if there is none.
    pub(in crate::server) fn next_step(&mut self, now: Instant) -> bool {
        self.outcomes.clear();
        self.parts.clear();
        self.stage = Stage::Working;
        self.frames = self.growing.take();
        self.base_step = self.step.index + 1;
        if self.is_done() {
            return false;
        }
        let Some(step) = self.submission.plan.step(self.base_step) else { return false };
        self.step = step;
        self.shards = ShardLog::new(step.replicas);
        self.observed = MergeTree::new(step.replicas);
        self.timing.begin_step(now);
        true
    }
}

/// Checkpoints.
impl ActiveRun {
    /// Whether a checkpoint is due, after this many rounds.
    pub(in crate::server) fn is_checkpoint_due(
        &self,
        every: CheckpointEvery,
        rounds: u64,
        now: Instant,
    ) -> bool {
        let is_possible = self.is_kept() && !self.submission.plan.predicts();
        if self.checkpoints.is_under_way || !is_possible || self.is_done() {
            return false;
        }
        let (begun, round) = self.checkpoints.begun;
        every.is_due(rounds.saturating_sub(round), now - begun)
    }

    /// Whether it has progress that is in no checkpoint.
    pub(in crate::server) fn is_unsaved(&self) -> bool {
        // A prediction has its scores in memory until its end: it begins again.
        let has_progress = self.base_step > 0 && !self.submission.plan.predicts();
        self.is_kept() && has_progress && self.checkpoints.step != self.base_step
    }

    /// Whether a checkpoint is being written.
    pub(in crate::server) fn is_checkpoint_under_way(&self) -> bool {
        self.checkpoints.is_under_way
    }

    /// Notes that a checkpoint is started, after this many rounds.
    pub(in crate::server) fn begin_checkpoint(&mut self, rounds: u64, now: Instant) {
        self.checkpoints =
            Checkpoints { begun: (now, rounds), is_under_way: true, step: self.base_step };
    }

    /// Notes that the checkpoint is written, or could not be.
    pub(in crate::server) fn end_checkpoint(&mut self) {
        self.checkpoints.is_under_way = false;
    }
}
