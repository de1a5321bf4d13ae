//! The network once more, slow and plain: every step of every neuron and every
//! synapse, in the order that [`super::super::presentation`] tells, without
//! groups, runs, tables or vectors.

use super::super::events::Events;
use super::super::parameters::{Settings, SpikesPerStep};

/// A network, `[inputs][neurons]`.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    pub(super) weights: Vec<Vec<f32>>,
    pub(super) theta: Vec<f32>,
    /// Spikes of each neuron in the last presentation.
    pub(super) spikes: Vec<u32>,
    neurons: Vec<Neuron>,
    inputs: Vec<Input>,
}

/// An input's trace, and how many steps ago it spiked.
#[derive(Clone, Copy, Debug, Default)]
struct Input {
    pre: f32,
    age: usize,
}

/// A neuron's variables.
#[derive(Clone, Copy, Debug, Default)]
struct Neuron {
    v: f32,
    ge: f32,
    gi: f32,
    post1: f32,
    post2: f32,
    /// Steps since it spiked.
    age: usize,
    /// Steps that it does not move in.
    refractory: usize,
    spikes_now: bool,
    spiked_before: bool,
}

impl Plain {
    pub(super) fn new(weights: Vec<Vec<f32>>, theta: Vec<f32>) -> Self {
        let (spikes, neurons) = (vec![0; theta.len()], Vec::new());
        Self { weights, theta, spikes, neurons, inputs: Vec::new() }
    }

    pub(super) fn spike_count(&self) -> u32 {
        self.spikes.iter().sum()
    }

    /// Presents events, rescales and decays.
    pub(super) fn learn(&mut self, settings: &Settings, events: &Events) {
        self.present(settings, events, true);
        for neuron in 0..self.theta.len() {
            if self.spikes[neuron] > 0 {
                let mut sums = [0.0_f32; 4];
                for (input, weights) in self.weights.iter().enumerate() {
                    sums[input % 4] += weights[neuron];
                }
                let sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
                for weights in &mut self.weights {
                    weights[neuron] *= settings.weight_sum as f32 / sum;
                }
            }
            self.theta[neuron] *= settings.theta_decay(settings.theta_step);
        }
    }

    pub(super) fn present(&mut self, settings: &Settings, events: &Events, learns: bool) {
        let s = settings;
        let above = |potential: f64| potential - s.excitatory_reversal;
        let leak = (s.dt / s.membrane_time) as f32;
        let keep = (1.0 - s.dt / s.membrane_time) as f32;
        let rest = (s.dt / s.membrane_time * above(s.rest_potential)) as f32;
        let inhibitory = (s.dt / s.membrane_time * above(s.inhibitory_reversal)) as f32;
        let euler = |time: f64| (1.0 - s.dt / time) as f32;
        let exact = |time: f64| libm::exp(-s.dt / time) as f32;
        let refractory = (s.refractory / s.dt).round() as usize;
        let flush = |x: f32| if x < 1e-20 { 0.0 } else { x };

        let mut neurons = std::mem::take(&mut self.neurons);
        let mut inputs = std::mem::take(&mut self.inputs);
        if s.clean_start || neurons.is_empty() {
            let start = Neuron { v: above(s.rest_potential) as f32, ..Neuron::default() };
            neurons = vec![start; self.theta.len()];
            inputs = vec![Input::default(); self.weights.len()];
        }
        self.spikes.fill(0);
        for step in 0..events.steps() {
            for input in &mut inputs {
                input.age += 1;
                input.pre *= if input.age < events.steps() { exact(s.pre_time) } else { 0.0 };
            }
            for neuron in &mut neurons {
                if step % 32 == 0 {
                    (neuron.ge, neuron.gi) = (flush(neuron.ge), flush(neuron.gi));
                }
                if neuron.refractory == 0 {
                    let factor = (keep - leak * neuron.gi) - leak * neuron.ge;
                    neuron.v = neuron.v * factor + (rest + inhibitory * neuron.gi);
                }
                neuron.ge *= euler(s.excitatory_time);
                neuron.gi *= euler(s.inhibitory_time);
                neuron.post1 *= exact(s.post1_time);
                neuron.age += 1;
                neuron.post2 *= if neuron.age < events.steps() { exact(s.post2_time) } else { 0.0 };
            }
            self.threshold(settings, &mut neurons);
            let before = neurons.iter().filter(|neuron| neuron.spiked_before).count();
            for neuron in &mut neurons {
                let others = before - usize::from(neuron.spiked_before);
                neuron.gi += s.inhibition as f32 * others as f32;
            }
            let spikes = events.of_step(step);
            for (index, neuron) in neurons.iter_mut().enumerate() {
                let mut weights = spikes.iter().map(|spike| self.weights[spike.input()][index]);
                if let Some(first) = weights.next() {
                    neuron.ge += weights.fold(first, |sum, weight| sum + weight);
                }
            }
            for input in spikes.iter().map(|spike| spike.input()) {
                inputs[input] = Input { pre: 1.0, age: 0 };
                for (weight, neuron) in self.weights[input].iter_mut().zip(&neurons) {
                    if learns && neuron.post1 > 0.0 {
                        *weight = (*weight - s.pre_rate as f32 * neuron.post1).max(0.0);
                    }
                }
            }
            for (index, neuron) in neurons.iter_mut().enumerate() {
                neuron.refractory = neuron.refractory.saturating_sub(1);
                neuron.spiked_before = std::mem::take(&mut neuron.spikes_now);
                if !neuron.spiked_before {
                    continue;
                }
                self.spikes[index] += 1;
                if learns {
                    let rate = s.post_rate as f32 * neuron.post2;
                    for (weights, input) in self.weights.iter_mut().zip(&inputs) {
                        if rate > 0.0 && input.pre > 0.0 {
                            weights[index] =
                                (weights[index] + rate * input.pre).min(s.weight_max as f32);
                        }
                    }
                    self.theta[index] += (s.theta_plus * s.theta_step) as f32;
                }
                neuron.post1 = 1.0;
                (neuron.post2, neuron.age) = (1.0, 0);
                neuron.v = above(s.reset_potential) as f32;
                neuron.refractory = refractory.saturating_sub(1);
            }
        }
        (self.neurons, self.inputs) = (neurons, inputs);
    }

    /// Says which neurons spike.
    fn threshold(&self, settings: &Settings, neurons: &mut [Neuron]) {
        let offset = (settings.threshold - settings.excitatory_reversal) as f32;
        let excess = |index: usize, neuron: &Neuron| {
            let threshold = self.theta[index] + offset;
            let crosses = neuron.refractory == 0 && neuron.v > threshold;
            crosses.then_some(neuron.v - threshold)
        };
        let mut best: Option<(f32, usize)> = None;
        for (index, neuron) in neurons.iter_mut().enumerate() {
            let Some(excess) = excess(index, neuron) else { continue };
            match settings.spikes_per_step {
                SpikesPerStep::All => neuron.spikes_now = true,
                SpikesPerStep::One if best.is_none_or(|(best, _)| excess > best) => {
                    best = Some((excess, index));
                }
                SpikesPerStep::One => {}
            }
        }
        if let Some((_, index)) = best {
            neurons[index].spikes_now = true;
        }
    }
}
