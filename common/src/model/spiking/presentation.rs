//! One presentation: the network processes an example's input spikes, spikes itself, and optionally
//! learns.
//!
//! In every step of `dt`, in this order (`gi` counts in units of the leak's
//! conductance, as `ge` does):
//!
//! ```text
//! v  += dt/τ · ((rest − v) + ge·(E_exc − v) + gi·(E_inh − v))    unless refractory
//! ge −= dt/τe · ge        gi −= dt/τi · gi        post1 −= …
//! a neuron with v > theta + offset spikes: the one with the largest excess
//! gi += inhibition, of all but the neuron that spiked in the step before
//! ge += Σ w of the inputs that spike;   w −= pre_rate · post1  for these
//! the neuron that spikes: w += post_rate · pre · post2, post1 = post2 = 1,
//!                         v = reset, theta += theta_plus, refractory
//! ```
//!
//! The steps are taken in *runs* that end with the first spike. Neurons of
//! active groups (see [`super::kernel`]) go first, step by step; then the quiet
//! groups, tile by tile, through the whole run. If a quiet neuron spikes before the run's end, the
//! run ends there, and groups that went further are repeated: a group restarts from its state before
//! the run, and a log has the weights that active groups changed.

use super::events::Events;
use super::inhibition::{Inhibition, RUN_STEPS};
use super::kernel::{self, ActiveRun, QuietRun, Variables};
use super::lanes::{GROUP, Line, lines, place};
use super::parameters::{Dynamics, SpikesPerStep};
use super::plasticity::Traces;
use super::weights::Weights;
use crate::model::kernel::Isa;

/// The weights and thresholds that a presentation works on.
#[derive(Debug)]
pub(super) struct Network<'a> {
    /// The weights.
    pub(super) weights: &'a mut Weights,
    /// `[neurons]` [mV].
    pub(super) theta: &'a mut [f32],
}

/// One presentation's task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task<'a> {
    /// The input spikes.
    pub(super) events: &'a Events,
    /// How the network moves.
    pub(super) dynamics: &'a Dynamics,
    /// Whether it learns.
    pub(super) learns: bool,
    /// Whether it continues from the end of the last one, and through the rest after it. If not,
    /// it starts from a network at rest.
    pub(super) carries: bool,
}

/// Presents examples, and owns the memory that this takes.
#[derive(Debug)]
pub(super) struct Presenter {
    isa: Isa,
    neurons: usize,
    /// Where the neurons stand.
    now: Variables,
    /// Where they stand after the run at work.
    next: Variables,
    /// `theta + offset`, above the excitatory reversal potential [mV];
    /// infinite in lanes that are no neurons.
    threshold: Vec<Line>,
    /// First step in which each neuron is no longer refractory.
    until: Vec<Line>,
    /// `gi` of all neurons of quiet groups.
    gi: f32,
    /// What quiet neurons see of inhibition in the steps of the run.
    inhibition: Inhibition,
    /// The quiet groups, ascending.
    quiet: Vec<usize>,
    /// The active groups, in the order of their first spikes.
    active: Vec<usize>,
    /// Quiet groups with a neuron above its threshold at the end of the run.
    crossing: Vec<usize>,
    /// Those of them that have just been found.
    suspects: Vec<usize>,
    /// Neurons that spiked in the step before.
    before: Vec<usize>,
    /// When neurons and inputs last spiked.
    traces: Traces,
    /// Inhibition that arrives in the run's first step, for each active group.
    kicks: Vec<Line>,
    /// The weights that active groups changed in the run, as they were.
    log: Vec<Line>,
    /// Spikes of each neuron.
    spikes: Vec<u32>,
    /// All inputs.
    every_input: Vec<u32>,
}

impl Presenter {
    /// For a network of this size.
    pub(super) fn new(isa: Isa, inputs: usize, neurons: usize) -> Self {
        Self {
            isa,
            neurons,
            now: Variables::new(neurons),
            next: Variables::new(neurons),
            threshold: lines(neurons, f32::INFINITY),
            until: lines(neurons, 0.0),
            gi: 0.0,
            inhibition: Inhibition::default(),
            quiet: Vec::new(),
            active: Vec::new(),
            crossing: Vec::new(),
            suspects: Vec::new(),
            before: Vec::new(),
            traces: Traces::new(inputs, neurons),
            kicks: Vec::new(),
            log: Vec::new(),
            spikes: vec![0; neurons],
            every_input: (0..inputs as u32).collect(),
        }
    }

    /// Spikes of each neuron in the last presentation.
    pub(super) fn spikes(&self) -> &[u32] {
        &self.spikes
    }

    /// The groups with neurons that have spiked since the network was at rest.
    pub(super) fn active(&self) -> &[usize] {
        &self.active
    }

    /// Presents the task's events. Returns the number of spikes.
    pub(super) fn present(&mut self, network: &mut Network<'_>, task: &Task<'_>) -> u32 {
        if !task.carries {
            self.rest(task.dynamics);
        }
        for (line, theta) in self.threshold.iter_mut().zip(network.theta.chunks(GROUP)) {
            for (threshold, theta) in line.0.iter_mut().zip(theta) {
                *threshold = *theta + task.dynamics.threshold;
            }
        }
        self.spikes.fill(0);
        let all = if task.carries { task.events.steps() } else { task.events.lit_steps() };
        let (mut step, mut spikes) = (0, 0);
        while step < all {
            let most = RUN_STEPS.min(all - step);
            let (steps, crossed) = self.run(network, task, (step, most));
            if task.learns {
                self.traces.hear(task.events, step..step + steps);
            }
            step += steps;
            self.before.clear();
            if crossed {
                spikes += self.spike(network, task, step - 1);
            }
        }
        if task.carries {
            self.carry(all);
        }
        spikes
    }

    /// Puts all neurons to rest.
    pub(super) fn rest(&mut self, dynamics: &Dynamics) {
        self.now.v.fill(Line([dynamics.start; GROUP]));
        self.now.ge.fill(Line::ZERO);
        self.until.fill(Line::ZERO);
        self.gi = 0.0;
        self.quiet.clear();
        self.quiet.extend(0..self.neurons.div_ceil(GROUP));
        self.active.clear();
        self.before.clear();
        self.traces.clear();
    }

    /// Counts steps from the end of a presentation of `steps` steps.
    fn carry(&mut self, steps: usize) {
        for until in self.until.iter_mut().flat_map(|line| &mut line.0) {
            *until -= steps as f32;
        }
        self.traces.carry(steps);
    }

    /// Takes all neurons through at most `most` steps from `first`, up to the
    /// first step after which one is above its threshold. Returns the number of
    /// steps, and whether there was one; `now` and `gi` are then after the last
    /// step.
    fn run(
        &mut self,
        network: &mut Network<'_>,
        task: &Task<'_>,
        (first, most): (usize, usize),
    ) -> (usize, bool) {
        let kick = task.dynamics.inhibition * self.before.len() as f32;
        self.inhibition.plan(task.dynamics, first..first + most, self.gi, kick);
        let (taken, mut crossed) = self.run_active(network, task, first..first + most);
        let mut steps = taken;
        self.crossing.clear();
        let run = |steps: usize| QuietRun {
            isa: self.isa,
            weights: network.weights,
            events: task.events,
            steps: first..first + steps,
            keep: &self.inhibition.keep,
            pull: &self.inhibition.pull,
            rates: &task.dynamics.rates,
            from: &self.now,
            threshold: &self.threshold,
        };
        // How many groups are done, and how many of these went too far.
        let (mut done, mut too_far) = (0, 0);
        while done < self.quiet.len() {
            self.suspects.clear();
            let groups = &self.quiet[done..];
            done += kernel::quiet(&run(steps), groups, &mut self.next, &mut self.suspects);
            if self.suspects.is_empty() {
                continue;
            }
            crossed = true;
            let until =
                |group: &usize| kernel::quiet_until_crossing(&run(steps), *group, &mut self.next);
            let shortest = self.suspects.iter().map(until).min().unwrap_or(steps);
            if shortest < steps {
                (steps, too_far) = (shortest, done);
                self.crossing.clear();
            }
            self.crossing.extend(&self.suspects);
        }
        let mut again = 0;
        while again < too_far {
            let groups = &self.quiet[again..too_far];
            again += kernel::quiet(&run(steps), groups, &mut self.next, &mut self.suspects);
        }
        if steps < taken {
            self.undo(network, task, first..first + taken);
            self.run_active(network, task, first..first + steps);
        }
        std::mem::swap(&mut self.now, &mut self.next);
        self.gi = self.inhibition.after[steps - 1];
        (steps, crossed)
    }

    /// Takes the active groups through steps, up to the first after which a
    /// neuron is above its threshold. Returns the number of steps, and whether
    /// there was one.
    fn run_active(
        &mut self,
        network: &mut Network<'_>,
        task: &Task<'_>,
        steps: std::ops::Range<usize>,
    ) -> (usize, bool) {
        self.log.clear();
        if self.active.is_empty() {
            return (steps.len(), false);
        }
        for group in &self.active {
            self.next.copy_group(&self.now, *group);
        }
        self.kick(task.dynamics);
        let run = ActiveRun {
            isa: self.isa,
            events: task.events,
            steps,
            rates: &task.dynamics.rates,
            groups: &self.active,
            kicks: &self.kicks,
            threshold: &self.threshold,
            until: &self.until,
        };
        let log = task.learns.then_some(&mut self.log);
        kernel::active(&run, network.weights, &mut self.next, log)
    }

    /// Makes the inhibition that active groups get from the step before.
    fn kick(&mut self, dynamics: &Dynamics) {
        let all = self.before.len();
        self.kicks.clear();
        self.kicks.resize(self.active.len(), Line([dynamics.inhibition * all as f32; GROUP]));
        for neuron in &self.before {
            let (group, lane) = place(*neuron);
            let others = dynamics.inhibition * (all - 1) as f32;
            if let Some(place) = self.active.iter().position(|active| *active == group) {
                self.kicks[place].0[lane] = others;
            }
        }
    }

    /// Takes back what active groups changed of the weights in these steps.
    fn undo(&mut self, network: &mut Network<'_>, task: &Task<'_>, steps: std::ops::Range<usize>) {
        if self.log.is_empty() {
            return;
        }
        for step in steps.rev() {
            for groups in self.active.chunks(kernel::ACTIVE_TOGETHER).rev() {
                for spike in task.events.of_step(step).iter().rev() {
                    for group in groups.iter().rev() {
                        let line = &mut network.weights.group_mut(*group)[spike.input()];
                        *line = self.log.pop().expect("a line for every change");
                    }
                }
            }
        }
    }

    /// Lets the neurons spike that have passed their thresholds in `step`, or
    /// the foremost of them. Returns how many did.
    fn spike(&mut self, network: &mut Network<'_>, task: &Task<'_>, step: usize) -> u32 {
        let dynamics = task.dynamics;
        self.find_spiking(dynamics.spikes_per_step, step);
        for at in 0..self.before.len() {
            let neuron = self.before[at];
            let (group, lane) = place(neuron);
            self.activate(group);
            if task.learns {
                network.weights.touch(neuron);
                let inputs = if task.carries { &self.every_input } else { task.events.lit() };
                self.traces.learn(network.weights, inputs, dynamics, neuron, step);
                network.theta[neuron] += dynamics.theta_plus;
                self.threshold[group].0[lane] = network.theta[neuron] + dynamics.threshold;
            }
            self.now.post1[group].0[lane] = 1.0;
            self.now.v[group].0[lane] = dynamics.reset;
            self.until[group].0[lane] = (step + dynamics.refractory_steps) as f32;
            self.spikes[neuron] += 1;
        }
        self.before.len() as u32
    }

    /// Finds the neurons that spike in a step, ascending.
    fn find_spiking(&mut self, spikes_per_step: SpikesPerStep, step: usize) {
        let mut best = f32::NEG_INFINITY;
        for group in self.active.iter().chain(&self.crossing) {
            let (v, threshold) = (&self.now.v[*group], &self.threshold[*group]);
            let until = &self.until[*group];
            for lane in 0..GROUP {
                let refractory = until.0[lane] > step as f32;
                if v.0[lane] <= threshold.0[lane] || refractory {
                    continue;
                }
                let (neuron, excess) = (group * GROUP + lane, v.0[lane] - threshold.0[lane]);
                if spikes_per_step == SpikesPerStep::One {
                    let first = self.before.first().is_none_or(|first| neuron < *first);
                    if excess < best || (excess == best && !first) {
                        continue;
                    }
                    self.before.clear();
                    best = excess;
                }
                self.before.push(neuron);
            }
        }
        self.before.sort_unstable();
        self.before.dedup();
    }

    /// Makes a group an active one.
    fn activate(&mut self, group: usize) {
        if let Ok(place) = self.quiet.binary_search(&group) {
            self.quiet.remove(place);
            self.active.push(group);
            self.now.gi[group] = Line([self.gi; GROUP]);
            self.now.post1[group] = Line::ZERO;
        }
    }
}
