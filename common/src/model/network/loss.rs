//! The losses of a chunk of examples: softmax and cross-entropy, or the squared error.

use std::collections::BTreeMap;

use ndarray::{ArrayView2, ArrayViewMut2, s};

use crate::model::Targets;
use crate::results::{CONFUSION, CORRECT, LOSS, Results};

/// Most classes for which a confusion matrix is reported: it has that number squared of counts, and
/// must fit into a message.
const CONFUSION_CLASSES: usize = 128;

/// Name of the sum of the mean absolute errors of all examples.
const ABSOLUTE_ERROR: &str = "absolute_error";

/// What a network minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Loss {
    /// The cross-entropy of the class, by the softmax of the outputs.
    CrossEntropy,
    /// The mean of the squared errors of the outputs.
    SquaredError,
}

/// Sums over a batch's examples, in their order.
#[derive(Debug)]
pub(super) enum Tally {
    /// Of classes.
    Classes(ClassTally),
    /// Of vectors.
    Vectors(VectorTally),
}

impl Tally {
    /// For a network with so many outputs.
    pub(super) fn new(loss: Loss, outputs: usize) -> Self {
        match loss {
            Loss::CrossEntropy => Self::Classes(ClassTally::new(outputs)),
            Loss::SquaredError => Self::Vectors(VectorTally::default()),
        }
    }

    /// Adds the last layer's outputs `[examples, outputs]`, and replaces them with the gradient of
    /// each example's loss. The targets are those of the whole batch, of which the examples begin
    /// at `first`; they were checked before.
    pub(super) fn add(
        &mut self,
        outputs: &mut ArrayViewMut2<'_, f32>,
        targets: &Targets<'_>,
        first: usize,
    ) {
        let end = first + outputs.nrows();
        match (self, targets) {
            (Self::Classes(tally), Targets::Classes(labels)) => {
                tally.add(outputs, &labels[first..end]);
            }
            (Self::Vectors(tally), Targets::Vectors(vectors)) => {
                tally.add(outputs, vectors.slice(s![first..end, ..]));
            }
            _ => unreachable!("the targets of a batch are checked before"),
        }
    }

    pub(super) fn into_results(self) -> Results {
        match self {
            Self::Classes(tally) => tally.into_results(),
            Self::Vectors(tally) => tally.into_results(),
        }
    }
}

/// The squared error. With `d[j] = output[j] − target[j]` in f32, the loss of an example is
/// `((d[0]² + d[1]²) + …) ÷ n`, and its absolute error `((|d[0]| + |d[1]|) + …) ÷ n`, in f64 and in
/// the order of the `n` outputs. The gradient by an output is `d[j] · (2 ÷ n)` in f32.
#[derive(Debug, Default)]
pub(super) struct VectorTally {
    squared: f64,
    absolute: f64,
    examples: u64,
}

impl VectorTally {
    fn add(&mut self, outputs: &mut ArrayViewMut2<'_, f32>, targets: ArrayView2<'_, f32>) {
        for (mut outputs, targets) in outputs.rows_mut().into_iter().zip(targets.rows()) {
            let count = outputs.len();
            let factor = 2.0 / count as f32;
            let (mut squared, mut absolute) = (0.0, 0.0);
            for (output, target) in outputs.iter_mut().zip(targets) {
                let error = *output - target;
                let exact = f64::from(error);
                squared += exact * exact;
                absolute += exact.abs();
                *output = error * factor;
            }
            self.examples += 1;
            self.squared += squared / count as f64;
            self.absolute += absolute / count as f64;
        }
    }

    fn into_results(self) -> Results {
        let sums = [(LOSS, self.squared), (ABSOLUTE_ERROR, self.absolute)];
        let sums = sums.map(|(name, sum)| (name.to_owned(), sum)).into();
        Results { examples: self.examples, sums, ..Results::default() }
    }
}

/// Softmax and cross-entropy.
#[derive(Debug)]
pub(super) struct ClassTally {
    loss: f64,
    correct: u64,
    confusion: Vec<u64>,
    classes: usize,
    examples: u64,
}

impl ClassTally {
    fn new(classes: usize) -> Self {
        let matrix = if classes <= CONFUSION_CLASSES { classes * classes } else { 0 };
        Self { loss: 0.0, correct: 0, confusion: vec![0; matrix], classes, examples: 0 }
    }

    fn add(&mut self, outputs: &mut ArrayViewMut2<'_, f32>, labels: &[u32]) {
        for (mut outputs, label) in outputs.rows_mut().into_iter().zip(labels) {
            let outputs = outputs.as_slice_mut().expect("outputs are in standard layout");
            self.add_example(outputs, *label as usize);
        }
    }

    fn add_example(&mut self, outputs: &mut [f32], label: usize) {
        let found = first_largest(outputs);
        let above = outputs[found] - outputs[label];
        let sum = softmax(outputs, found);
        outputs[label] -= 1.0;

        self.examples += 1;
        self.loss += libm::log(f64::from(sum)) + f64::from(above);
        self.correct += u64::from(found == label);
        if let Some(count) = self.confusion.get_mut(label * self.classes + found) {
            *count += 1;
        }
    }

    fn into_results(self) -> Results {
        let mut counts = BTreeMap::from([(CORRECT.to_owned(), vec![self.correct])]);
        if !self.confusion.is_empty() {
            counts.insert(CONFUSION.to_owned(), self.confusion);
        }
        Results {
            examples: self.examples,
            sums: BTreeMap::from([(LOSS.to_owned(), self.loss)]),
            counts,
            scores: Vec::new(),
        }
    }
}

/// The place of the largest output, the first one of equals.
fn first_largest(outputs: &[f32]) -> usize {
    let mut found = 0;
    for (class, output) in outputs.iter().enumerate() {
        if *output > outputs[found] {
            found = class;
        }
    }
    found
}

/// Replaces an example's outputs with the probabilities of the classes, the first largest of which
/// is at `largest`. Returns the sum by which they were divided.
fn softmax(outputs: &mut [f32], largest: usize) -> f32 {
    let (largest, mut sum) = (outputs[largest], 0.0);
    for output in outputs.iter_mut() {
        // The largest becomes 1, so that nothing overflows.
        *output = libm::expf(*output - largest);
        sum += *output;
    }
    for output in outputs.iter_mut() {
        *output /= sum;
    }
    sum
}

/// Replaces outputs `[examples, classes]` with the probabilities of the classes.
pub(super) fn probabilities(outputs: &mut ArrayViewMut2<'_, f32>) {
    for mut outputs in outputs.rows_mut() {
        let outputs = outputs.as_slice_mut().expect("outputs are in standard layout");
        softmax(outputs, first_largest(outputs));
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn the_squared_error_is_a_mean_over_the_outputs() {
        let mut tally = Tally::new(Loss::SquaredError, 2);
        let targets = array![[9.0, 9.0], [0.5, 4.0], [1.0, 1.0]];
        let mut outputs = array![[1.0, 2.0], [1.0, 0.0]];
        tally.add(&mut outputs.view_mut(), &Targets::Vectors(targets.view()), 1);
        assert_eq!(outputs, array![[0.5, -2.0], [0.0, -1.0]]);
        let results = tally.into_results();
        assert_eq!((results.examples, results.counts.len()), (2, 0));
        // (0.25 + 4) ÷ 2 and (0 + 1) ÷ 2; (0.5 + 2) ÷ 2 and (0 + 1) ÷ 2.
        assert_eq!(results.loss(), Some(1.3125));
        assert_eq!(results.metrics(), [(ABSOLUTE_ERROR.to_owned(), 0.875)].into());
    }
}
