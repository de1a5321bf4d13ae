//! [`Weights`]: how the weights lie in memory, and which of them were touched.
//!
//! ```text
//! matrix  [inputs, neurons]             the tensor `weights`
//! lines   [groups][inputs][GROUP]       what presentations work on
//! ```
//!
//! A line is what one input's spike gives to one group. The lines of a group
//! lie together, so that those of the inputs that spike stay in the fastest
//! memory while the group is taken through many steps.

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
    /// Groups as they were loaded, where they were touched since.
    loaded: Vec<Line>,
    is_touched: Vec<bool>,
}

impl Weights {
    /// Zero weights.
    pub(super) fn new(inputs: usize, neurons: usize) -> Self {
        let groups = neurons.div_ceil(GROUP);
        let lines = || zeroed_lines(groups * inputs);
        Self { inputs, neurons, loaded: lines(), lines: lines(), is_touched: vec![false; groups] }
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
        self.is_touched.len()
    }

    /// The lines of all groups.
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The lines of all groups, to change those of groups that are touched.
    pub(super) fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.lines
    }

    /// The lines of one group.
    pub(super) fn group(&self, group: usize) -> &[Line] {
        &self.lines[self.range(group)]
    }

    /// The lines of one group, to change. The group is touched.
    pub(super) fn group_mut(&mut self, group: usize) -> &mut [Line] {
        self.touch(group);
        let range = self.range(group);
        &mut self.lines[range]
    }

    /// Remembers a group as it was loaded: called before its lines change.
    pub(super) fn touch(&mut self, group: usize) {
        if !std::mem::replace(&mut self.is_touched[group], true) {
            let range = self.range(group);
            self.loaded[range.clone()].copy_from_slice(&self.lines[range]);
        }
    }

    /// A neuron's weights as they were loaded, and as they are. The neuron's
    /// group is a touched one.
    pub(super) fn changes(&self, neuron: usize) -> impl Iterator<Item = (f32, f32)> + '_ {
        let (group, lane) = place(neuron);
        assert!(self.is_touched[group], "only touched groups are remembered");
        let lines = self.loaded[self.range(group)].iter().zip(self.group(group));
        lines.map(move |(loaded, line)| (loaded.0[lane], line.0[lane]))
    }

    /// Takes over a matrix `[inputs, neurons]`; no group is touched then.
    pub(super) fn load(&mut self, matrix: &[f32]) {
        assert_eq!(matrix.len(), self.inputs * self.neurons, "a matrix of this shape");
        self.is_touched.fill(false);
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

    fn range(&self, group: usize) -> std::ops::Range<usize> {
        group * self.inputs..(group + 1) * self.inputs
    }
}
