//! Neurons in groups of [`GROUP`] lanes: one line holds a value for each neuron of
//! a group.

/// Neurons of a group: the lanes of the widest vector, a cache line.
pub(super) const GROUP: usize = 16;

/// One value for each neuron of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; GROUP]);

impl Line {
    pub(super) const ZERO: Self = Self([0.0; GROUP]);
}

/// Number of lines for this number of neurons.
pub(super) fn lines(neurons: usize, value: f32) -> Vec<Line> {
    vec![Line([value; GROUP]); neurons.div_ceil(GROUP)]
}

/// The group and the lane of a neuron.
pub(super) fn place(neuron: usize) -> (usize, usize) {
    (neuron / GROUP, neuron % GROUP)
}
