//! The plan of a prediction.

use ndarray::ArrayD;

use super::{Pass, RunPlan, Step, StepKind};
use crate::dataset::SplitSize;
use crate::limits;
use crate::merge_rule::MergeRule;
use crate::spec::{EvaluationSpec, SpecError};
use crate::state::{ElementType, Layout, NetworkState, Tensor, TensorData, TensorLayout};

/// Name of the tensor of a prediction's scores.
pub const SCORES: &str = "scores";

/// A prediction: a pass in several steps, so that the scores of one fit into a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prediction {
    pass: Pass,
    /// Examples of a step: some shards.
    step: u64,
    /// Scores of an example.
    outputs: u32,
}

impl Prediction {
    /// The prediction of a split of this size.
    pub(super) fn new(spec: &EvaluationSpec, size: SplitSize) -> Result<Self, SpecError> {
        let SplitSize { examples, outputs, .. } = size;
        if examples == 0 {
            let expected = "a split with examples, since the run only predicts";
            return Err(SpecError::field("evaluation.split", expected, "one without any"));
        }
        if outputs == 0 {
            let expected = "false for data without targets, of which a model gives no scores";
            return Err(SpecError::field("predict", expected, true));
        }
        if examples.saturating_mul(outputs.into()) > limits::SCORES {
            let most = limits::SCORES / u64::from(outputs);
            let expected = format!("at most {most} examples of {outputs} scores in one prediction");
            return Err(SpecError::field("dataset.source", expected, examples));
        }
        let most = (limits::STEP_SCORES as u64 / u64::from(outputs)).max(1);
        let shard = u64::from(spec.shard_size).min(most);
        let shards = (most / shard).min(limits::MAX_REPLICAS.into());
        let pass = Pass { split: spec.split, examples, shard };
        Ok(Self { pass, step: shard * shards, outputs })
    }

    /// Number of steps.
    pub(super) fn steps(&self) -> u64 {
        self.pass.examples.div_ceil(self.step)
    }

    /// A step that exists.
    pub(super) fn at(&self, index: u64) -> Step {
        let first = index * self.step;
        let examples = self.step.min(self.pass.examples - first);
        let kind = StepKind::Predict { split: self.pass.split, first };
        Step { index, kind, replicas: examples.div_ceil(self.pass.shard) as u32 }
    }

    /// The first example of the step that begins there, a shard's size, and the end of the step.
    pub(super) fn extent(&self, first: u64) -> (u64, u64, u64) {
        (first, self.pass.shard, first.saturating_add(self.step).min(self.pass.examples))
    }

    fn layout(&self) -> Layout {
        let tensor = TensorLayout {
            name: SCORES.into(),
            shape: vec![self.pass.examples, self.outputs.into()],
            element: ElementType::F32,
            rule: MergeRule::Keep,
        };
        Layout { tensors: vec![tensor] }
    }
}

impl RunPlan {
    /// Whether the run predicts: its final state is a tensor of scores.
    pub fn predicts(&self) -> bool {
        self.prediction.is_some()
    }

    /// Number of scores of each example of a step; 0 unless it predicts.
    pub fn outputs(&self, step: &Step) -> u32 {
        match (step.kind, &self.prediction) {
            (StepKind::Predict { .. }, Some(prediction)) => prediction.outputs,
            _ => 0,
        }
    }

    /// Examples of a prediction; 0 if the run does not predict.
    pub fn predicted(&self) -> u64 {
        self.prediction.map_or(0, |prediction| prediction.pass.examples)
    }

    /// The layout of a prediction's final state: the tensor `scores`, `[examples, outputs]`.
    pub fn scores_layout(&self) -> Option<Layout> {
        self.prediction.map(|prediction| prediction.layout())
    }

    /// The final state of a prediction with all these scores. `None` if the run does not predict, or
    /// has other steps than these.
    pub fn scores_state(&self, scores: Vec<f32>) -> Option<NetworkState> {
        let layout = self.scores_layout()?;
        let shape: Vec<usize> = layout.tensors[0].shape.iter().map(|it| *it as usize).collect();
        let values = ArrayD::from_shape_vec(shape, scores).ok()?;
        let tensor = Tensor { data: TensorData::F32(values), rule: MergeRule::Keep };
        NetworkState::new([(SCORES.to_owned(), tensor)]).ok()
    }
}
