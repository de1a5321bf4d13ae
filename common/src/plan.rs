//! The plan of a run: its steps, and the examples of each replica in each step. A pure function
//! of spec and data size.
//!
//! ```text
//! epoch      |------ 0 ------|------ 1 ------|------ 2 ------|
//! round      | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 |10 |11 |     the last
//! position   0   …         train  0 …                              is short
//! step         0   1   2   3   4   5   6   7 [8]  9  10  11  12 [13]
//!                                             evaluation, every = 2
//! ```
//!
//! If the spec asks for labels, a labelling step precedes each evaluation. A run that predicts has
//! steps of another kind only.
//!
//! Every step can be computed from its index alone, so that a restarted coordinator, a new
//! worker and a replay can start at any step.

mod audit;
mod block;
mod order;
mod prediction;

use std::ops::Range;

use crate::dataset::SplitSize;
use crate::id::Block;
use crate::limits;
use crate::spec::{RunSpec, SpecError, Split};

use audit::is_audited;
pub use block::{BlockPlan, Task};
pub use order::{EpochOrder, Shuffle};
use prediction::Prediction;
pub use prediction::SCORES;

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A training round: all replicas start from the state, learn, and are merged.
    Train {
        /// The round, from 0, over the whole run.
        round: u64,
        /// The epoch, from 0.
        epoch: u64,
        /// First position of the round in its epoch's permutation.
        first: u64,
    },
    /// A pass over the training split without learning, from which the model labels its
    /// units. Its shards are numbered like replicas, and their results are combined over the
    /// same kind of tree.
    Label {
        /// Whole epochs trained before it.
        epochs: u64,
    },
    /// A pass over a split without learning. Its shards are numbered like replicas, and their
    /// results are combined over the same kind of tree.
    Evaluate {
        /// The split.
        split: Split,
        /// Whole epochs trained before it.
        epochs: u64,
    },
    /// A part of a prediction: the scores of some examples of a split, without learning. Its shards
    /// are numbered like replicas, and their scores are combined over the same kind of tree.
    Predict {
        /// The split.
        split: Split,
        /// The first example of the step in its split.
        first: u64,
    },
}

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Index in the run.
    pub index: u64,
    /// Its kind.
    pub kind: StepKind,
    /// Number of shards: replicas of a training round, or ranges of the split of a pass.
    pub replicas: u32,
}

impl Step {
    /// The block of all shards.
    pub fn root(&self) -> Block {
        Block::root(self.replicas)
    }

    /// The split that the step reads.
    pub fn split(&self) -> Split {
        match self.kind {
            StepKind::Train { .. } | StepKind::Label { .. } => Split::Train,
            StepKind::Evaluate { split, .. } | StepKind::Predict { split, .. } => split,
        }
    }
}

/// A run's plan.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    seed: u64,
    audit: f64,
    replicas: u32,
    batch_size: u32,
    update_interval: u32,
    /// Training examples.
    train: u64,
    /// Their shuffling in an epoch.
    shuffle: Shuffle,
    /// Training rounds of the run.
    rounds: u64,
    /// Rounds of an epoch; 0 if the run does not train.
    epoch_rounds: u64,
    /// Rounds between two evaluations (or labellings); all rounds if there is one only at the
    /// end.
    every: u64,
    /// The labelling before each evaluation, or alone at the end.
    labelling: Option<Pass>,
    /// The evaluations; `None` if there is nothing to evaluate.
    evaluation: Option<Pass>,
    /// The prediction, in place of everything else.
    prediction: Option<Prediction>,
}

/// A pass over a split without learning.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pass {
    split: Split,
    /// Examples of the split, at least one.
    examples: u64,
    /// Examples of a shard.
    shard: u64,
}

impl Pass {
    /// A pass in shards of at least `shard` examples, or more if there would be too many
    /// shards.
    fn new(split: Split, examples: u64, shard: u32) -> Self {
        let least = examples.div_ceil(u64::from(limits::MAX_REPLICAS));
        Self { split, examples, shard: u64::from(shard).max(least) }
    }

    fn shards(&self) -> u32 {
        self.examples.div_ceil(self.shard) as u32
    }
}

impl RunPlan {
    /// The plan of `spec` for a training split of this size and this number of test examples.
    /// Fails if the spec is not valid or there is nothing to do (no training examples,
    /// nothing to evaluate).
    pub fn new(spec: &RunSpec, train: impl Into<SplitSize>, test: u64) -> Result<Self, SpecError> {
        spec.validate()?;
        let size = train.into();
        let train = size.examples;
        for (split, examples) in [("training", train), ("test", test)] {
            if examples > limits::EXAMPLES {
                let expected = format!("at most {} {split} examples", limits::EXAMPLES);
                return Err(SpecError::field("dataset.source", expected, examples));
            }
        }
        let mut plan = Self {
            seed: spec.seed,
            audit: spec.audit,
            replicas: spec.replicas,
            batch_size: spec.batch_size,
            update_interval: spec.update_interval,
            train,
            shuffle: Shuffle::of(size, spec.dataset.shuffle_window),
            rounds: 0,
            epoch_rounds: 0,
            every: 0,
            labelling: None,
            evaluation: None,
            prediction: None,
        };
        if spec.predict {
            let examples = if spec.evaluation.split == Split::Train { train } else { test };
            let size = SplitSize { examples, ..size };
            plan.prediction = Some(Prediction::new(&spec.evaluation, size)?);
            return Ok(plan);
        }
        if spec.update_weights {
            if train == 0 {
                return Err(SpecError::field(
                    "dataset.source",
                    "training examples (`dataset.test_examples` may hold out all)",
                    "none",
                ));
            }
            plan.epoch_rounds = train.div_ceil(plan.round_examples());
            plan.rounds = match (spec.rounds, spec.epochs) {
                (Some(rounds), _) => rounds,
                (None, epochs) => u64::from(epochs.unwrap_or(0)) * plan.epoch_rounds,
            };
        }
        plan.every = plan.rounds;
        let spec = &spec.evaluation;
        let examples = match spec.split {
            Split::Train => train,
            Split::Test => test,
        };
        if examples > 0 {
            plan.evaluation = Some(Pass::new(spec.split, examples, spec.shard_size));
            let every = u64::from(spec.every) * plan.epoch_rounds;
            plan.every = if every == 0 { plan.rounds } else { every };
        } else if plan.rounds == 0 {
            let expected = "a split with examples, since the run only evaluates";
            return Err(SpecError::field("evaluation.split", expected, "one without any"));
        }
        if spec.labelling {
            if train == 0 {
                let expected = "training examples to label by, or `false`";
                return Err(SpecError::field("evaluation.labelling", expected, "none"));
            }
            plan.labelling = Some(Pass::new(Split::Train, train, spec.shard_size));
        }
        let passes = plan.passes().checked_mul(plan.pauses());
        if passes.and_then(|passes| passes.checked_add(plan.rounds)).is_none() {
            let expected = "rounds, labellings and evaluations below 2^64 together";
            return Err(SpecError::field("rounds", expected, plan.rounds));
        }
        Ok(plan)
    }

    /// The same plan with another share of audited shards, if one is given.
    pub fn with_audit(self, share: Option<f64>) -> Self {
        Self { audit: share.unwrap_or(self.audit), ..self }
    }

    /// Number of steps: the training rounds, the evaluations between them and at the end, each
    /// with its labelling.
    pub fn steps(&self) -> u64 {
        match &self.prediction {
            Some(prediction) => prediction.steps(),
            None => self.rounds + self.passes() * self.pauses(),
        }
    }

    /// Number of consecutive steps between two training rounds.
    fn passes(&self) -> u64 {
        u64::from(self.labelling.is_some()) + u64::from(self.evaluation.is_some())
    }

    /// How often they occur, including the end.
    fn pauses(&self) -> u64 {
        self.rounds.div_ceil(self.every.max(1)).max(1)
    }

    /// Number of training rounds.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Training rounds completed before a step; all of them past the end.
    pub fn rounds_before(&self, index: u64) -> u64 {
        if index >= self.steps() || self.prediction.is_some() {
            return self.rounds;
        }
        let cycle = self.every + self.passes();
        let (before, place) = (index / cycle * self.every, index % cycle);
        (before + place.min(self.every)).min(self.rounds)
    }

    /// The step at an index; `None` past the end.
    pub fn step(&self, index: u64) -> Option<Step> {
        if index >= self.steps() {
            return None;
        }
        if let Some(prediction) = &self.prediction {
            return Some(prediction.at(index));
        }
        // A cycle consists of rounds (fewer in the last cycle) and the steps after them.
        let cycle = self.every + self.passes();
        let (before, place) = (index / cycle * self.every, index % cycle);
        let rounds = self.every.min(self.rounds - before);
        let round = before + place.min(rounds);
        let (epoch, first) = match self.epoch_rounds {
            0 => (0, 0),
            rounds => (round / rounds, round % rounds * self.round_examples()),
        };
        let (kind, replicas) = match (self.labelling, self.evaluation) {
            _ if place < rounds => (StepKind::Train { round, epoch, first }, self.replicas),
            (Some(pass), _) if place == rounds => {
                (StepKind::Label { epochs: epoch }, pass.shards())
            }
            (_, pass) => {
                let pass = pass.expect("a step past the rounds and the labelling evaluates");
                (StepKind::Evaluate { split: pass.split, epochs: epoch }, pass.shards())
            }
        };
        Some(Step { index, kind, replicas })
    }

    /// The positions that shard `replica` of `step` processes: in the epoch's order for a
    /// training round, otherwise in the split itself. Empty for a replica without examples in
    /// a short last round.
    pub fn positions(&self, step: &Step, replica: u32) -> Range<u64> {
        let (first, shard, end) = self.extent(step);
        let clip = |replica: u64| first.saturating_add(replica.saturating_mul(shard)).min(end);
        clip(u64::from(replica))..clip(u64::from(replica) + 1)
    }

    /// The order to which the positions of a training round refer; `None` for other steps,
    /// whose positions are the examples themselves. Costs O(examples): reuse it for the epoch.
    pub fn order(&self, step: &Step) -> Option<EpochOrder> {
        match step.kind {
            StepKind::Train { epoch, .. } => Some(self.shuffle.order(self.seed, epoch)),
            StepKind::Label { .. } | StepKind::Evaluate { .. } | StepKind::Predict { .. } => None,
        }
    }

    /// Approximate bytes of the chunks with the examples of a training round (a round at the
    /// end of a window also has some of the next window). 0 if the run does not train.
    pub fn window_bytes(&self) -> u64 {
        if self.rounds > 0 { self.shuffle.window_bytes() } else { 0 }
    }

    /// Examples that the whole step processes.
    pub fn examples(&self, step: &Step) -> u64 {
        let (first, shard, end) = self.extent(step);
        u64::from(step.replicas).saturating_mul(shard).min(end.saturating_sub(first))
    }

    /// The audited shards of a step, in order.
    pub fn audited(&self, step: &Step) -> Vec<u32> {
        let audit = |replica: &u32| is_audited(self.audit, self.seed, step.index, *replica);
        (0..step.replicas).filter(audit).collect()
    }

    /// Examples in a batch.
    pub fn batch_size(&self) -> u32 {
        self.batch_size
    }

    /// Batches of a replica between two merges.
    pub fn update_interval(&self) -> u32 {
        self.update_interval
    }

    /// A step's first position, a shard's size, and the end of the positions.
    fn extent(&self, step: &Step) -> (u64, u64, u64) {
        let pass = match step.kind {
            StepKind::Train { first, .. } => return (first, self.shard_examples(), self.train),
            StepKind::Label { .. } => self.labelling,
            StepKind::Evaluate { .. } => self.evaluation,
            StepKind::Predict { first, .. } => {
                return self.prediction.map_or((0, 0, 0), |all| all.extent(first));
            }
        };
        pass.map_or((0, 0, 0), |pass| (0, pass.shard, pass.examples))
    }

    /// Examples of a replica in a full round.
    fn shard_examples(&self) -> u64 {
        u64::from(self.update_interval) * u64::from(self.batch_size)
    }

    /// Examples of a full round. `RunSpec::validate` has checked that it fits.
    fn round_examples(&self) -> u64 {
        u64::from(self.replicas) * self.shard_examples()
    }
}

#[cfg(test)]
mod tests;
