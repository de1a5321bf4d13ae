//! Softmax and cross-entropy of a chunk of examples.

use std::collections::BTreeMap;

use ndarray::ArrayViewMut2;

use crate::results::{CONFUSION, CORRECT, LOSS, Results};

/// Most classes for which a confusion matrix is reported: it has that number squared of counts, and
/// must fit into a message.
const CONFUSION_CLASSES: usize = 128;

/// Sums over a batch's examples, in their order.
#[derive(Debug)]
pub(super) struct Tally {
    loss: f64,
    correct: u64,
    confusion: Vec<u64>,
    classes: usize,
    examples: u64,
}

impl Tally {
    pub(super) fn new(classes: usize) -> Self {
        let matrix = if classes <= CONFUSION_CLASSES { classes * classes } else { 0 };
        Self { loss: 0.0, correct: 0, confusion: vec![0; matrix], classes, examples: 0 }
    }

    /// Adds the last layer's outputs `[examples, classes]`, and replaces them with the gradient of
    /// each example's loss.
    pub(super) fn add(&mut self, outputs: &mut ArrayViewMut2<'_, f32>, labels: &[u32]) {
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

    pub(super) fn into_results(self) -> Results {
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
