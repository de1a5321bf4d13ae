//! Runs: what is remembered of each, and the one that is active.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::dataset::SplitManifest;
use common::digest::Digest;
use common::id::{Block, RunId, StepId, WorkerId};
use common::merge::{Contribution, MergeTree};
use common::model::Model;
use common::plan::{RunPlan, Step};
use common::results::Results;
use common::state::{NetworkState, Segment, shared_segment};
use common::wire::Frame;
use common::wire::codec::encode;
use common::wire::message::{RunEvent, RunStatus, ToClient, ToWorker};
use tokio::time::Instant;

use super::connection::ClientId;
use super::merge::{Cut, Piece, StepMerge};
use super::warnings::Warnings;

/// Most events of a run that are kept for those who follow it later: the
/// first ones go first.
const EVENTS: usize = 16 << 10;

/// Events that are kept of a run that ended long ago.
pub(super) const OLD_EVENTS: usize = 16;

/// A submitted run, all checked.
pub(super) struct Submission {
    /// The spec as the client wrote it.
    pub(super) text: String,
    /// Name of its model.
    pub(super) model_name: String,
    pub(super) model: Arc<dyn Model>,
    pub(super) plan: RunPlan,
    pub(super) train: SplitManifest,
    pub(super) test: SplitManifest,
    /// Identity of the state to start from, where it came from the client.
    pub(super) initial: Option<Digest>,
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Submission").field("model", &self.model_name).finish_non_exhaustive()
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Queued,
    Running,
    Finished,
    Failed,
    Cancelled,
}

impl Phase {
    /// Whether the run is over.
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What is remembered of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) phase: Phase,
    pub(super) min_workers: u32,
    /// Until the run is over.
    pub(super) submission: Option<Arc<Submission>>,
    pub(super) model_name: String,
    pub(super) rounds: u64,
    /// The spec, as long as the final state is kept.
    pub(super) final_spec: Option<String>,
    /// The state to start from while it waits, the final one once it has
    /// finished.
    pub(super) state: Option<Arc<NetworkState>>,
    /// Bytes of the waiting state, as taken from the store's bound.
    pub(super) reserved: u64,
    pub(super) round: u64,
    pub(super) loss: Option<f64>,
    pub(super) digest: Option<Digest>,
    pub(super) events: VecDeque<Frame>,
    pub(super) followers: BTreeSet<ClientId>,
}

impl Run {
    /// Keeps an event, and gives it encoded.
    pub(super) fn record(&mut self, event: RunEvent) -> Frame {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        let frame = encode(ToClient::Event(event));
        self.events.push_back(frame.clone());
        frame
    }

    /// What `coordinator status` says of it.
    pub(super) fn status(&self) -> RunStatus {
        RunStatus {
            id: self.id,
            model: self.model_name.clone(),
            state: self.phase.name().into(),
            round: self.round,
            rounds: self.rounds,
            loss: self.loss,
            digest: self.digest,
        }
    }
}

/// What a worker said of a block that it finished.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) weight: u64,
    /// Of its results, which are combined into [`ActiveRun::observed`].
    pub(super) results_digest: Digest,
    pub(super) digest: Digest,
    /// Bytes of the partial.
    pub(super) bytes: u64,
    /// The worker that said so first.
    pub(super) worker: WorkerId,
    /// The partial, by merge segment, where it came inline.
    pub(super) inline: Option<Vec<Option<Contribution>>>,
}

/// The run that workers work on.
#[derive(Debug)]
pub(super) struct ActiveRun {
    pub(super) run: RunId,
    pub(super) submission: Arc<Submission>,
    pub(super) cut: Arc<Cut>,
    state_segments: Vec<Segment>,
    /// The message that tells a worker of the run.
    pub(super) open: Frame,
    /// The base state of the current step.
    pub(super) state: Arc<NetworkState>,
    /// The base before it, whose memory the next state is made in.
    spare: Option<Arc<NetworkState>>,
    pub(super) step: Step,
    /// The base state of the current step, as messages; made when first
    /// needed.
    frames: Option<Arc<[Frame]>>,
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
}

impl ActiveRun {
    /// A run at its first step; `None` if it has no step.
    pub(super) fn new(
        run: RunId,
        submission: Arc<Submission>,
        state: Arc<NetworkState>,
        now: Instant,
    ) -> Option<Self> {
        let layout = state.layout();
        let step = submission.plan.step(0)?;
        let segments = layout.merge_segments();
        Some(Self {
            run,
            open: open_run(run, &submission, &state),
            cut: Arc::new(Cut { segments, layout: layout.clone() }),
            state_segments: layout.state_segments(),
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
            clock: Clock::new(now),
            warnings: Warnings::default(),
        })
    }

    /// The current step.
    pub(super) fn step_id(&self) -> StepId {
        StepId { run: self.run, index: self.step.index }
    }

    /// The messages of the current step's base.
    pub(super) fn frames(&mut self) -> Arc<[Frame]> {
        let step = self.step_id();
        let frame = |(index, segment): (usize, &Segment)| {
            let payload = shared_segment(&self.state, segment);
            encode(ToWorker::StateSegment { step, segment: index as u32, payload })
        };
        self.frames
            .get_or_insert_with(|| self.state_segments.iter().enumerate().map(frame).collect())
            .clone()
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

    /// Takes the state that a step gave: the base of the next one.
    pub(super) fn take_state(&mut self, next: NetworkState) {
        self.frames = None;
        self.spare = Some(std::mem::replace(&mut self.state, Arc::new(next)));
    }

    /// Goes on to the next step; `false` if there is none.
    pub(super) fn next_step(&mut self, now: Instant) -> bool {
        self.outcomes.clear();
        self.parts.clear();
        self.merge = None;
        self.settling = false;
        self.frames = None;
        let Some(step) = self.submission.plan.step(self.step.index + 1) else { return false };
        self.step = step;
        self.observed = MergeTree::new(step.replicas);
        self.clock.begin_step(now);
        true
    }
}

/// The message that tells a worker of a run.
pub(super) fn open_run(run: RunId, submission: &Submission, state: &NetworkState) -> Frame {
    encode(ToWorker::OpenRun {
        run,
        spec: submission.text.clone(),
        train: submission.train.clone(),
        test: submission.test.clone(),
        layout: state.layout(),
        initial: submission.initial,
    })
}

/// How long things take. Figures for people: no decision hangs on them.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    step_started: Instant,
    /// Per worker: time that it computed in this step, and until when.
    busy: BTreeMap<WorkerId, (Duration, Instant)>,
    training: Duration,
    computing: Duration,
    /// Examples of all training rounds.
    pub(super) examples: u64,
    /// Loss and accuracy of the last evaluation.
    pub(super) evaluated: (Option<f64>, Option<f64>),
}

impl Clock {
    fn new(now: Instant) -> Self {
        Self {
            started: now,
            step_started: now,
            busy: BTreeMap::new(),
            training: Duration::ZERO,
            computing: Duration::ZERO,
            examples: 0,
            evaluated: (None, None),
        }
    }

    fn begin_step(&mut self, now: Instant) {
        self.step_started = now;
        self.busy.clear();
    }

    /// A worker has finished a block that it computed for so long. Blocks
    /// that overlapped count once.
    pub(super) fn computed(&mut self, now: Instant, worker: WorkerId, compute: Duration) {
        let (busy, until) = self.busy.entry(worker).or_insert((Duration::ZERO, self.step_started));
        let begun = now.checked_sub(compute).unwrap_or(*until).max(*until);
        *busy += now.saturating_duration_since(begun);
        *until = now;
    }

    /// Ends a training round: the longest compute time of a worker, and the
    /// time of the whole round.
    pub(super) fn end_round(&mut self, now: Instant, examples: u64) -> (Duration, Duration) {
        let round = now - self.step_started;
        let compute = self.busy.values().map(|(busy, _)| *busy).max().unwrap_or_default();
        let compute = compute.min(round);
        self.training += round;
        self.computing += compute;
        self.examples += examples;
        (compute, round)
    }

    /// Seconds since the run began.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        (now - self.started).as_secs_f64()
    }

    /// Share of the training time that was not computing.
    pub(super) fn synchronisation_share(&self) -> f64 {
        match self.training.as_secs_f64() {
            0.0 => 0.0,
            training => (1.0 - self.computing.as_secs_f64() / training).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_blocks_count_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::new(start);
        let worker = WorkerId(1);
        clock.computed(at(10), worker, Duration::from_millis(8));
        clock.computed(at(12), worker, Duration::from_millis(9));
        clock.computed(at(11), WorkerId(2), Duration::from_secs(9));
        let (compute, round) = clock.end_round(at(20), 5);
        assert_eq!((compute, round), (Duration::from_millis(11), Duration::from_millis(20)));
        assert!((clock.synchronisation_share() - 0.45).abs() < 1e-9);
    }
}
