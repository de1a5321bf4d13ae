//! The input spikes of one presentation, in the order of their steps.

use std::ops::Range;

use crate::model::Random;

/// Most inputs of a network: an input's number takes half of a [`Spike`].
pub(super) const INPUTS: usize = 1 << 16;
/// Most steps of a presentation: so does the step after one.
pub(super) const STEPS: usize = (1 << 16) - 1;

/// Random bits that choose a step, three times from a word: steps differ in
/// probability by less than one part in a thousand.
const STEP_BITS: u32 = 21;

/// An input spike: the step after it in the high 16 bits, the input in the low
/// ones. Zero is no spike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Spike(u32);

impl Spike {
    const NONE: Self = Self(0);

    /// The input.
    #[inline(always)]
    pub(super) fn input(self) -> usize {
        usize::from(self.0 as u16)
    }

    /// The step after the one in which it spikes.
    #[inline(always)]
    pub(super) fn time(self) -> u32 {
        self.0 >> 16
    }
}

/// The input spikes of one presentation: for each step the inputs that spike,
/// ascending.
#[derive(Debug)]
pub(super) struct Events {
    inputs: usize,
    /// Steps in which inputs may spike; those behind are silent.
    lit_steps: usize,
    /// The inputs that are not dark, ascending.
    lit: Vec<u32>,
    /// How many spikes each of them has.
    counts: Vec<u32>,
    /// Spikes as they were thrown, input by input.
    thrown: Vec<Spike>,
    /// Where each step's spikes begin in `spikes`; at last where they all end.
    starts: Vec<u32>,
    /// Where each step's spikes end while they are put in order.
    ends: Vec<u32>,
    /// The spikes, step by step, behind one that is none.
    spikes: Vec<Spike>,
}

impl Events {
    /// No spikes, with these numbers of inputs and of steps with and without input.
    pub(super) fn new(inputs: usize, (lit_steps, silent_steps): (usize, usize)) -> Self {
        let steps = lit_steps + silent_steps;
        assert!(inputs <= INPUTS && steps <= STEPS, "a spike is packed in 32 bits");
        Self {
            inputs,
            lit_steps,
            lit: Vec::with_capacity(inputs),
            counts: Vec::with_capacity(inputs),
            thrown: Vec::new(),
            starts: vec![0; steps + 1],
            ends: vec![0; steps],
            spikes: Vec::new(),
        }
    }

    /// Number of inputs.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// The inputs that are not dark, ascending: no other one spikes.
    pub(super) fn lit(&self) -> &[u32] {
        &self.lit
    }

    /// Number of steps.
    pub(super) fn steps(&self) -> usize {
        self.ends.len()
    }

    /// Number of steps in which inputs may spike: the first ones.
    pub(super) fn lit_steps(&self) -> usize {
        self.lit_steps
    }

    /// Where each step's spikes begin in [`Events::all`], and at last where they
    /// all end.
    pub(super) fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// All spikes as [`Events::starts`] refers to them: every one is of an input
    /// below [`Events::inputs`].
    pub(super) fn all(&self) -> &[Spike] {
        &self.spikes
    }

    /// The spikes of a step, by input.
    pub(super) fn of_step(&self, step: usize) -> &[Spike] {
        self.of_steps(step..step + 1)
    }

    /// The spikes of steps, step by step.
    pub(super) fn of_steps(&self, steps: Range<usize>) -> &[Spike] {
        &self.spikes[self.starts[steps.start] as usize..self.starts[steps.end] as usize]
    }

    /// Draws new spikes. `draw` returns the number of spikes of an input with this brightness,
    /// before spikes on the same step are merged.
    pub(super) fn draw(
        &mut self,
        levels: &[u8],
        random: &mut Random,
        mut draw: impl FnMut(u8, &mut Random) -> u32,
    ) {
        assert_eq!(levels.len(), self.inputs, "a level for every input");
        self.lit.clear();
        let lit = (0u32..).zip(levels).filter(|(_, level)| **level > 0);
        self.lit.extend(lit.map(|(input, _)| input));
        self.counts.clear();
        let counts = self.lit.iter().map(|input| draw(levels[*input as usize], random));
        self.counts.extend(counts);
        self.throw(random);
        self.sort();
    }

    /// Assigns the spikes to random steps.
    fn throw(&mut self, random: &mut Random) {
        const MASK: u64 = (1 << STEP_BITS) - 1;
        let steps = self.lit_steps as u64;
        let all: u32 = self.counts.iter().sum();
        // A word assigns three spikes; surplus ones are overwritten.
        self.thrown.resize(all as usize + 2, Spike::NONE);
        let mut first = 0;
        for (input, count) in self.lit.iter().zip(&self.counts) {
            let (mut at, end) = (first, first + *count as usize);
            while at < end {
                let word = random.word();
                let spike = |shift: u32| {
                    let step = (((word >> shift) & MASK) * steps) >> STEP_BITS;
                    Spike(((step as u32 + 1) << 16) | input)
                };
                self.thrown[at..at + 3].copy_from_slice(&[
                    spike(0),
                    spike(STEP_BITS),
                    spike(2 * STEP_BITS),
                ]);
                at += 3;
            }
            first = end;
        }
        self.thrown.truncate(first);
    }

    /// Sorts the spikes by step; several spikes of one input on one step become one.
    fn sort(&mut self) {
        let (thrown, spikes) = (&self.thrown[..], &mut self.spikes);
        let (starts, ends) = (&mut self.starts[..], &mut self.ends[..]);
        ends.fill(0);
        for spike in thrown {
            ends[spike.time() as usize - 1] += 1;
        }
        let mut place = 1;
        for (start, end) in starts.iter_mut().zip(ends.iter_mut()) {
            *start = place;
            place += *end;
            *end = *start;
        }
        starts[ends.len()] = place;
        spikes.clear();
        spikes.resize(place as usize, Spike::NONE);
        let places = &mut spikes[..];
        for spike in thrown {
            let end = &mut ends[spike.time() as usize - 1];
            let place = *end as usize;
            places[place] = *spike;
            // A spike that repeats the last one of its step is overwritten.
            *end += u32::from(places[place - 1] != *spike);
        }
        // The remaining spikes are moved together.
        let (mut first, mut gap) = (1, 0);
        for (end, next) in ends.iter().zip(&mut starts[1..]) {
            if end != next {
                places.copy_within(first..*end as usize, first - gap as usize);
                first = *next as usize;
                gap += *next - end;
            }
            *next -= gap;
        }
        places.copy_within(first.., first - gap as usize);
        spikes.truncate(spikes.len() - gap as usize);
    }
}
