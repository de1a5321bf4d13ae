//! The plan of a run: which steps it has, and which examples each replica
//! processes in each. A pure function of spec and data size.
//!
//! ```text
//! epoch      |------ 0 ------|------ 1 ------|------ 2 ------|
//! round      | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 |10 |11 |     the last
//! position   0   …         train  0 …                              is short
//! step         0   1   2   3   4   5   6   7 [8]  9  10  11  12 [13]
//!                                             evaluation, every = 2
//! ```
//!
//! Every step can be computed from its index alone: a coordinator that
//! resumes, a worker that joins and a replay all start anywhere.

mod order;

use std::ops::Range;

use crate::id::Block;
use crate::limits;
use crate::spec::{RunSpec, SpecError, Split};

pub use order::EpochOrder;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A training round: all replicas start from the state, learn, and merge.
    Train {
        /// The round, from 0, over the whole run.
        round: u64,
        /// The epoch, from 0.
        epoch: u64,
        /// First position of the round in its epoch's permutation.
        first: u64,
    },
    /// A pass over a split without learning. Its shards are numbered like
    /// replicas and their results combine over the same kind of tree.
    Evaluate {
        /// The split.
        split: Split,
        /// Whole epochs trained before it.
        epochs: u64,
    },
}

/// One step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Place in the run.
    pub index: u64,
    /// What it does.
    pub kind: StepKind,
    /// Shards: replicas of a training round, or ranges of an evaluation.
    pub replicas: u32,
}

impl Step {
    /// The block of all shards.
    pub fn root(&self) -> Block {
        Block::root(self.replicas)
    }

    /// Which split the step reads.
    pub fn split(&self) -> Split {
        match self.kind {
            StepKind::Train { .. } => Split::Train,
            StepKind::Evaluate { split, .. } => split,
        }
    }
}

/// A run's plan.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    seed: u64,
    replicas: u32,
    batch_size: u32,
    update_interval: u32,
    /// Training examples.
    train: u64,
    /// Training rounds of the run.
    rounds: u64,
    /// Rounds of an epoch; 0 if the run does not train.
    epoch_rounds: u64,
    /// The evaluations; `None` where there is nothing to evaluate.
    evaluation: Option<Evaluation>,
}

/// How a plan evaluates.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Evaluation {
    split: Split,
    /// Examples of the split, at least one.
    examples: u64,
    /// Examples of a shard.
    shard: u64,
    /// Rounds from one evaluation to the next; `None` for only at the end.
    every: Option<u64>,
}

impl RunPlan {
    /// The plan of `spec` over splits of these sizes. Fails where the spec is
    /// not valid or there is nothing to do (no training examples, nothing to
    /// evaluate).
    pub fn new(spec: &RunSpec, train: u64, test: u64) -> Result<Self, SpecError> {
        spec.validate()?;
        for (split, examples) in [("training", train), ("test", test)] {
            if examples > limits::EXAMPLES {
                let expected = format!("at most {} {split} examples", limits::EXAMPLES);
                return Err(SpecError::field("dataset.source", expected, examples));
            }
        }
        let mut plan = Self {
            seed: spec.seed,
            replicas: spec.replicas,
            batch_size: spec.batch_size,
            update_interval: spec.update_interval,
            train,
            rounds: 0,
            epoch_rounds: 0,
            evaluation: None,
        };
        if spec.update_weights {
            if train == 0 {
                return Err(SpecError::field("dataset.source", "training examples", "none"));
            }
            plan.epoch_rounds = train.div_ceil(plan.round_examples());
            plan.rounds = match (spec.rounds, spec.epochs) {
                (Some(rounds), _) => rounds,
                (None, epochs) => u64::from(epochs.unwrap_or(0)) * plan.epoch_rounds,
            };
        }
        let examples = match spec.evaluation.split {
            Split::Train => train,
            Split::Test => test,
        };
        if examples > 0 {
            let shard = u64::from(spec.evaluation.shard_size);
            plan.evaluation = Some(Evaluation {
                split: spec.evaluation.split,
                examples,
                shard: shard.max(examples.div_ceil(u64::from(limits::REPLICAS))),
                every: match u64::from(spec.evaluation.every) * plan.epoch_rounds {
                    0 => None,
                    rounds => Some(rounds),
                },
            });
        } else if !spec.update_weights {
            let expected = "a split with examples, since the run only evaluates";
            return Err(SpecError::field("evaluation.split", expected, "one without any"));
        }
        Ok(plan)
    }

    /// Number of steps: the training rounds, the evaluations between them,
    /// and one at the end unless one is there already.
    pub fn steps(&self) -> u64 {
        let evaluations = match self.evaluation {
            None => 0,
            Some(Evaluation { every: None, .. }) => 1,
            Some(Evaluation { every: Some(every), .. }) => self.rounds.div_ceil(every),
        };
        self.rounds + evaluations
    }

    /// Number of training rounds.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// The step at a place; `None` past the end.
    pub fn step(&self, index: u64) -> Option<Step> {
        if index >= self.steps() {
            return None;
        }
        // How many rounds lie before this step, and whether it is a round.
        let (round, trains) = match self.evaluation.and_then(|evaluation| evaluation.every) {
            None => (index, index < self.rounds),
            Some(every) => {
                let (cycle, place) = (index / (every + 1), index % (every + 1));
                let round = cycle * every + place;
                (round, place < every && round < self.rounds)
            }
        };
        let (epoch, first) = match self.epoch_rounds {
            0 => (0, 0),
            rounds => (round / rounds, round % rounds * self.round_examples()),
        };
        Some(match self.evaluation {
            Some(evaluation) if !trains => Step {
                index,
                kind: StepKind::Evaluate { split: evaluation.split, epochs: epoch },
                replicas: evaluation.examples.div_ceil(evaluation.shard) as u32,
            },
            _ => Step {
                index,
                kind: StepKind::Train { round, epoch, first },
                replicas: self.replicas,
            },
        })
    }

    /// Positions that shard `replica` of `step` processes: in the epoch's
    /// order for a training round, in the split itself for an evaluation.
    /// Empty for a replica that a short last round leaves without any.
    pub fn positions(&self, step: &Step, replica: u32) -> Range<u64> {
        let (first, shard, end) = self.extent(step);
        let clip = |replica: u64| first.saturating_add(replica.saturating_mul(shard)).min(end);
        clip(u64::from(replica))..clip(u64::from(replica) + 1)
    }

    /// The order that the positions of a training round refer to; `None` for
    /// an evaluation, whose positions are the examples themselves. Costs
    /// O(examples): keep it for the epoch.
    pub fn order(&self, step: &Step) -> Option<EpochOrder> {
        match step.kind {
            StepKind::Train { epoch, .. } => Some(EpochOrder::new(self.seed, epoch, self.train)),
            StepKind::Evaluate { .. } => None,
        }
    }

    /// Examples that the whole step processes.
    pub fn examples(&self, step: &Step) -> u64 {
        let (first, shard, end) = self.extent(step);
        u64::from(step.replicas).saturating_mul(shard).min(end.saturating_sub(first))
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
        match (step.kind, self.evaluation) {
            (StepKind::Train { first, .. }, _) => (first, self.shard_examples(), self.train),
            (StepKind::Evaluate { .. }, Some(evaluation)) => {
                (0, evaluation.shard, evaluation.examples)
            }
            (StepKind::Evaluate { .. }, None) => (0, 0, 0),
        }
    }

    /// Examples of a replica in a full round.
    fn shard_examples(&self) -> u64 {
        u64::from(self.update_interval) * u64::from(self.batch_size)
    }

    /// Examples of a full round. `RunSpec::validate` has seen that it fits.
    fn round_examples(&self) -> u64 {
        u64::from(self.replicas) * self.shard_examples()
    }
}

#[cfg(test)]
mod tests;
