//! [`BlockPlan`]: what a plan says of one block, as an assignment carries it.

use serde::{Deserialize, Serialize};

use super::{RunPlan, Step, StepKind};
use crate::id::Block;
use crate::spec::Split;

/// What the shards of a step do with their examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Learn from them.
    Train,
    /// Watch them, so that the model's units get labels.
    Label,
    /// Evaluate them.
    Evaluate,
    /// Give the scores of each.
    Predict,
}

/// The part of a run's plan that concerns one block of one step: enough to
/// process the block without a plan of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockPlan {
    /// What the step does.
    pub task: Task,
    /// The split that it reads.
    pub split: Split,
    /// The epoch of a training round, from 0; for another step the number of whole
    /// epochs trained before it.
    pub epoch: u64,
    /// Where the position ranges of the block's replicas begin, in order, and where
    /// the last one ends: replica `i` of the block has `positions[i]..positions[i + 1]`.
    /// Positions refer to the epoch's order in a training round, and are the examples
    /// themselves in another step.
    pub positions: Vec<u64>,
}

impl BlockPlan {
    /// Names the first field in which the plan of an assignment, `self`, differs from
    /// `own`, the worker's plan of the same block, with both values. `None` where the
    /// two are equal.
    pub fn difference(&self, own: &Self) -> Option<String> {
        let differ = |field: &str, told: &dyn std::fmt::Debug, own: &dyn std::fmt::Debug| {
            Some(format!("expected `{field}` to be {own:?}, found {told:?}"))
        };
        if self.task != own.task {
            return differ("task", &self.task, &own.task);
        }
        if self.split != own.split {
            return differ("split", &self.split, &own.split);
        }
        if self.epoch != own.epoch {
            return differ("epoch", &self.epoch, &own.epoch);
        }
        let (told, own) = (&self.positions, &own.positions);
        if told.len() != own.len() {
            return differ("positions", &format!("{} numbers", told.len()), &own.len());
        }
        let place = told.iter().zip(own).position(|(told, own)| told != own)?;
        differ(&format!("positions[{place}]"), &told[place], &own[place])
    }
}

impl RunPlan {
    /// What the plan says of a block of a step. The block has at least one replica of
    /// the step.
    pub fn block(&self, step: &Step, block: Block) -> BlockPlan {
        let (task, epoch) = match step.kind {
            StepKind::Train { epoch, .. } => (Task::Train, epoch),
            StepKind::Label { epochs } => (Task::Label, epochs),
            StepKind::Evaluate { epochs, .. } => (Task::Evaluate, epochs),
            StepKind::Predict { .. } => (Task::Predict, 0),
        };
        let replicas = block.replicas(step.replicas);
        let first = self.positions(step, replicas.start).start;
        let ends = replicas.map(|replica| self.positions(step, replica).end);
        let positions = std::iter::once(first).chain(ends).collect();
        BlockPlan { task, split: step.split(), epoch, positions }
    }
}
