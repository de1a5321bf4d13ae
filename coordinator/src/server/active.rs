//! The run that workers work on: its current step, and all that came of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use common::digest::Digest;
use common::id::{Block, RunId, StepId};
use common::merge::{Contribution, MergeTree};
use common::plan::Step;
use common::results::Results;
use common::state::{NetworkState, Segment, shared_segment};
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{RunEvent, ToWorker};
use tokio::time::Instant;

use super::clock::Clock;
use super::durable::Saving;
use super::jobs::Incarnation;
use super::merge::{Cut, Opened, Piece, StepMerge};
use super::outbox::StateFrames;
use super::run::{Run, Submission};
use super::shards::Shards;
use super::warnings::Warnings;
use crate::runs::{HistorySoFar, Progress};
use crate::scheduler;

/// What a worker said of a block that it finished. Its results are combined into
/// [`ActiveRun::observed`].
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) weight: u64,
    pub(super) digest: Digest,
    /// Bytes of the partial.
    pub(super) bytes: u64,
    /// Name of the worker that said so first.
    pub(super) worker_name: String,
    /// The partial, or what its merge segments are known by.
    pub(super) partial: Opened,
}

impl Outcome {
    /// What came inline, to be merged and forgotten.
    pub(super) fn take_inline(&mut self) -> Vec<Option<Contribution>> {
        match &mut self.partial {
            Opened::Inline(contributions) => std::mem::take(contributions),
            Opened::Kept(_) => Vec::new(),
        }
    }

    /// What came inline of a merge segment.
    pub(super) fn inline(&self, segment: usize) -> Option<&Contribution> {
        match &self.partial {
            Opened::Inline(contributions) => contributions.get(segment)?.as_ref(),
            Opened::Kept(_) => None,
        }
    }

    /// What a merge segment that is pulled must be known by.
    pub(super) fn hash(&self, segment: usize) -> Option<u128> {
        match &self.partial {
            Opened::Inline(_) => None,
            Opened::Kept(hashes) => hashes.get(segment).copied(),
        }
    }
}

/// The run that workers work on.
#[derive(Debug)]
pub(super) struct ActiveRun {
    pub(super) run: RunId,
    pub(super) incarnation: Incarnation,
    pub(super) submission: Arc<Submission>,
    pub(super) cut: Arc<Cut>,
    state_segments: Arc<[Segment]>,
    /// The message that tells a worker of the run.
    pub(super) open: Frame,
    /// The base state of the current step; between two steps, of the next.
    pub(super) state: Arc<NetworkState>,
    /// The step that begins from `state`.
    pub(super) base_step: u64,
    /// The steps that the run is to do.
    pub(super) steps: Range<u64>,
    /// The base before it, whose memory the next state is made in.
    spare: Option<Arc<NetworkState>>,
    pub(super) step: Step,
    /// The base state of the current step, as messages; made when first
    /// needed.
    frames: Option<Arc<StateFrames>>,
    /// By block.
    pub(super) outcomes: BTreeMap<Block, Outcome>,
    /// What the replicas of the current step observed, combined as it comes:
    /// results may be large, and blocks many.
    observed: MergeTree<Results>,
    /// The parts that are, or were, merged last.
    pub(super) parts: Vec<Piece>,
    pub(super) merge: Option<StepMerge>,
    /// The step is merged, and its state is with the model.
    pub(super) settling: bool,
    pub(super) clock: Clock,
    pub(super) warnings: Warnings,
    /// What the run has reported.
    pub(super) history: HistorySoFar,
    /// Who did what in the current step.
    pub(super) shards: Shards,
    /// Whether workers may have worked on it for a coordinator that was here
    /// before.
    pub(super) goes_on: bool,
    /// Whether they may have finished some of this step for that one.
    pub(super) is_first_step: bool,
    /// Shards that were taken from workers instead of computed again.
    pub(super) offered: u64,
    /// Shards that two workers computed for an audit, and those that were to
    /// be, and were not.
    pub(super) audited: u64,
    pub(super) unaudited: u64,
    pub(super) saving: Saving,
    /// Digest of the final state, while that is being written.
    pub(super) final_digest: Option<Digest>,
}

impl ActiveRun {
    /// A run at the step that begins from `state`, which is not past its
    /// last one; `None` if there is no such step.
    pub(super) fn new(
        (run, incarnation): (RunId, Incarnation),
        submission: Arc<Submission>,
        state: Arc<NetworkState>,
        start: u64,
        progress: &Progress,
        now: Instant,
    ) -> Option<Self> {
        let layout = state.layout();
        let steps = start..submission.steps.end;
        let step = submission.plan.step(start.min(steps.end.checked_sub(1)?))?;
        let segments = layout.merge_segments();
        Some(Self {
            run,
            incarnation,
            open: open_run(run, &submission, &state),
            cut: Arc::new(Cut { segments, layout: layout.clone() }),
            state_segments: layout.state_segments().into(),
            submission,
            state,
            spare: None,
            observed: MergeTree::new(step.replicas),
            step,
            frames: None,
            outcomes: BTreeMap::new(),
            parts: Vec::new(),
            merge: None,
            settling: false,
            clock: Clock::resume(progress, now),
            warnings: Warnings::of_progress(progress),
            history: progress.history.clone(),
            shards: Shards::new(step.replicas),
            goes_on: false,
            is_first_step: false,
            offered: progress.offered,
            audited: progress.audited,
            unaudited: progress.unaudited,
            saving: Saving { begun: (now, progress.round), under_way: false, step: Some(start) },
            final_digest: None,
            base_step: start,
            steps,
        })
    }

    /// Whether the run is kept in the runs folder, if there is one.
    pub(super) fn is_kept(&self) -> bool {
        !self.submission.is_replay
    }

    /// Whether all its steps are done.
    pub(super) fn is_done(&self) -> bool {
        self.base_step >= self.steps.end
    }

    /// What the run has come to.
    pub(super) fn progress(&self, run: &Run, now: Instant) -> Progress {
        let [training_warnings, labelling_warnings, evaluation_warnings] =
            self.warnings.parts().map(Clone::clone);
        Progress {
            round: run.round,
            loss: run.loss,
            training_warnings,
            labelling_warnings,
            evaluation_warnings,
            offered: self.offered,
            audited: self.audited,
            unaudited: self.unaudited,
            history: self.history.clone(),
            ..self.clock.progress(now)
        }
    }

    /// The current step.
    pub(super) fn step_id(&self) -> StepId {
        StepId { run: self.run, index: self.step.index }
    }

    /// That the current step is ready, for the scheduler. What is replayed is
    /// compared with what it gave before, and not audited.
    pub(super) fn step_ready(&self) -> scheduler::Event {
        let (step, replicas) = (self.step_id(), self.step.replicas);
        let plan = &self.submission.plan;
        let is_replay = self.submission.is_replay;
        let audited = if is_replay { Vec::new() } else { plan.audited(&self.step) };
        scheduler::Event::StepReady { step, replicas, audited }
    }

    /// The messages of the current step's base.
    pub(super) fn frames(&mut self) -> Arc<StateFrames> {
        let step = self.step_id();
        let (state, segments) = (&self.state, &self.state_segments);
        let frames = self.frames.get_or_insert_with(|| {
            let (state, segments) = (state.clone(), segments.clone());
            StateFrames::new(segments.len(), move |place| {
                let payload = shared_segment(&state, &segments[place]);
                encode(ToWorker::StateSegment { step, segment: place as u32, payload })
            })
        });
        frames.clone()
    }

    /// The examples that a block holds in the current step.
    pub(super) fn weight(&self, block: Block) -> u64 {
        let plan = &self.submission.plan;
        let examples = |replica| {
            let positions = plan.positions(&self.step, replica);
            positions.end - positions.start
        };
        block.replicas(self.step.replicas).map(examples).sum()
    }

    /// Bytes of the partials that the step is merged of.
    pub(super) fn partial_bytes(&self) -> u64 {
        let bytes =
            |part: &Piece| self.outcomes.get(&part.block).map_or(0, |outcome| outcome.bytes);
        self.parts.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Keeps what a block observed, and what else was said of it.
    pub(super) fn keep(&mut self, block: Block, outcome: Outcome, results: Results) {
        self.observed.supply(block, (outcome.weight > 0).then_some(results));
        self.outcomes.insert(block, outcome);
    }

    /// What all replicas of the merged step observed.
    pub(super) fn results(&self) -> Results {
        self.observed.root().cloned().unwrap_or_default()
    }

    /// Memory of the state before the current one, if nobody else reads it.
    pub(super) fn take_spare(&mut self) -> Option<NetworkState> {
        Arc::try_unwrap(self.spare.take()?).ok()
    }

    /// Takes what a step gave: an event, and a state where it made one. The next
    /// step begins from there.
    pub(super) fn take_outcome(&mut self, event: &RunEvent, next: Option<NetworkState>) {
        self.history.take(event);
        self.base_step = self.step.index + 1;
        if let Some(next) = next {
            self.frames = None;
            self.spare = Some(std::mem::replace(&mut self.state, Arc::new(next)));
        }
    }

    /// Goes on to the next step; `false` if there is none.
    pub(super) fn next_step(&mut self, now: Instant) -> bool {
        self.outcomes.clear();
        self.parts.clear();
        self.merge = None;
        self.settling = false;
        self.frames = None;
        self.base_step = self.step.index + 1;
        self.is_first_step = false;
        if self.is_done() {
            return false;
        }
        let Some(step) = self.submission.plan.step(self.base_step) else { return false };
        self.step = step;
        self.shards = Shards::new(step.replicas);
        self.observed = MergeTree::new(step.replicas);
        self.clock.begin_step(now);
        true
    }
}

/// The message that tells a worker of a run.
pub(super) fn open_run(run: RunId, submission: &Submission, state: &NetworkState) -> Frame {
    encode(ToWorker::OpenRun {
        run,
        identity: submission.identity,
        spec: submission.text.clone(),
        model_version: submission.model.version(),
        train: submission.train.clone(),
        test: submission.test.clone(),
        layout: state.layout(),
        initial: submission.initial,
    })
}
