//! [`Weights`]: how the weights lie in memory, and how those of a shard are taken back.
//!
//! ```text
//! matrix  [inputs, neurons]             the tensor `weights`
//! lines   [groups][inputs][GROUP]       what presentations work on
//! saved   [touched neurons][inputs]     their columns as they were loaded
//! ```
//!
//! A line is what one input's spike gives to one group. The lines of a group
//! lie together, so that those of the inputs that spike stay in the fastest
//! memory while the group is taken through many steps.
//!
//! Shards are short, and most shards of a round start from the same matrix as the
//! one before. So only columns of neurons that spiked are saved and restored, and
//! the lines stay in the cache from shard to shard.

use super::kernel::pages::zeroed_lines;
use super::lanes::{GROUP, Line, place};

/// Inputs that a matrix is copied by: their rows are read side by side, so that
/// a group's lines are written in runs.
const TOGETHER: usize = 16;

/// The weights of all neurons, group by group. Lanes that are no neurons have
/// zero weights.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    inputs: usize,
    neurons: usize,
    lines: Vec<Line>,
    /// Columns of the touched neurons as they were loaded.
    saved: Vec<f32>,
    /// The touched neurons, in the order of `saved`.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    /// Whether only touched neurons can have changed. Learning sets negative
    /// weights (and −0) of a whole group to zero.
    is_restorable: bool,
}

impl Weights {
    /// Zero weights.
    pub(super) fn new(inputs: usize, neurons: usize) -> Self {
        Self {
            inputs,
            neurons,
            lines: zeroed_lines(neurons.div_ceil(GROUP) * inputs),
            // Memory that is never used costs nothing.
            saved: Vec::with_capacity(inputs * neurons),
            touched: Vec::with_capacity(neurons),
            is_touched: vec![false; neurons],
            is_restorable: false,
        }
    }

    /// Bytes of the weights of this number of neurons.
    pub(super) fn bytes(inputs: usize, neurons: usize) -> u64 {
        2 * (neurons.div_ceil(GROUP) as u64) * (inputs * size_of::<Line>()) as u64
    }

    /// Number of inputs: lines of a group.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.neurons.div_ceil(GROUP)
    }

    /// The lines of all groups.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The lines of all groups, to change: see [`Weights::group_mut`].
    pub(super) fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.lines
    }

    /// The lines of one group.
    pub(super) fn group(&self, group: usize) -> &[Line] {
        &self.lines[self.range(group)]
    }

    /// The lines of one group, to change the weights of touched neurons. Those of other neurons
    /// may at most be raised to zero.
    pub(super) fn group_mut(&mut self, group: usize) -> &mut [Line] {
        let range = self.range(group);
        &mut self.lines[range]
    }

    /// Saves a neuron's column as it was loaded: called before it changes.
    pub(super) fn touch(&mut self, neuron: usize) {
        if std::mem::replace(&mut self.is_touched[neuron], true) {
            return;
        }
        self.touched.push(neuron);
        let (group, lane) = place(neuron);
        let lines = &self.lines[group * self.inputs..(group + 1) * self.inputs];
        self.saved.extend(lines.iter().map(|line| line.0[lane]));
    }

    /// The weights of some neurons, each of which must be touched, as they were loaded and as they
    /// are: for each neuron an iterator over its inputs.
    pub(super) fn changes(
        &self,
        neurons: impl Iterator<Item = usize>,
    ) -> impl Iterator<Item = impl Iterator<Item = (f32, f32)>> {
        let mut places = vec![usize::MAX; self.neurons];
        self.touched.iter().enumerate().for_each(|(at, neuron)| places[*neuron] = at);
        neurons.map(move |neuron| {
            let (group, lane) = place(neuron);
            let saved = &self.saved[places[neuron] * self.inputs..][..self.inputs];
            saved.iter().zip(self.group(group)).map(move |(loaded, line)| (*loaded, line.0[lane]))
        })
    }

    /// Takes over a matrix `[inputs, neurons]`; no neuron is touched then.
    pub(super) fn load(&mut self, matrix: &[f32]) {
        assert_eq!(matrix.len(), self.inputs * self.neurons, "a matrix of this shape");
        self.forget_touched();
        for (block, rows) in matrix.chunks(TOGETHER * self.neurons).enumerate() {
            for group in 0..self.groups() {
                let first = group * self.inputs + block * TOGETHER;
                for (line, row) in self.lines[first..].iter_mut().zip(rows.chunks(self.neurons)) {
                    let values = &row[group * GROUP..self.neurons.min((group + 1) * GROUP)];
                    match <&[f32; GROUP]>::try_from(values) {
                        // A copy of a length that the compiler knows.
                        Ok(values) => line.0 = *values,
                        Err(_) => line.0[..values.len()].copy_from_slice(values),
                    }
                }
            }
        }
        let signs = matrix.iter().fold(0, |signs, weight| signs | weight.to_bits());
        self.is_restorable = signs & (-0.0_f32).to_bits() == 0;
    }

    /// Takes over the matrix that was loaded last.
    pub(super) fn reload(&mut self, matrix: &[f32]) {
        if !self.is_restorable {
            return self.load(matrix);
        }
        let columns = self.touched.iter().zip(self.saved.chunks_exact(self.inputs));
        for (neuron, column) in columns {
            let (group, lane) = place(*neuron);
            let lines = &mut self.lines[group * self.inputs..(group + 1) * self.inputs];
            for (line, weight) in lines.iter_mut().zip(column) {
                line.0[lane] = *weight;
            }
        }
        self.forget_touched();
    }

    /// Writes to a matrix `[inputs, neurons]`.
    pub(super) fn store(&self, matrix: &mut [f32]) {
        assert_eq!(matrix.len(), self.inputs * self.neurons, "a matrix of this shape");
        for (input, row) in matrix.chunks_exact_mut(self.neurons).enumerate() {
            let lines = self.lines[input..].iter().step_by(self.inputs);
            for (line, values) in lines.zip(row.chunks_mut(GROUP)) {
                values.copy_from_slice(&line.0[..values.len()]);
            }
        }
    }

    fn forget_touched(&mut self) {
        self.is_touched.fill(false);
        self.touched.clear();
        self.saved.clear();
    }

    fn range(&self, group: usize) -> std::ops::Range<usize> {
        group * self.inputs..(group + 1) * self.inputs
    }
}
