//! The settings of the network, with the values of Diehl & Cook 2015.

use std::ops::RangeInclusive;

use super::events;
use super::kernel::Rates;
use crate::limits;
use crate::model::{DataShape, ModelError, Parameters, TargetType};

/// Inputs of the published network. With fewer, rates rise and the sum of a
/// neuron's weights falls with the square root of their number, so that the
/// product, which drives a neuron, stays: if only the sum fell, a neuron would
/// learn only a few of the inputs of an example.
const PUBLISHED_INPUTS: f64 = 784.0;

/// Neurons under which thresholds rise by less: in equilibrium a network makes
/// `neurons · theta / 1000` spikes a presentation at the published rise, which
/// has to be more than the least number of spikes.
const SCALED_NEURONS: f64 = 400.0;

/// Most presentations of an example.
const ATTEMPTS: usize = 1 << 10;

/// A time in ms that something decays with.
const TIMES: RangeInclusive<f64> = 1e-3..=1e12;
/// A potential in mV.
const POTENTIALS: RangeInclusive<f64> = -1e3..=1e3;
/// A factor that has no unit.
const FACTORS: RangeInclusive<f64> = 1e-3..=1e6;

/// How many neurons may spike in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpikesPerStep {
    /// The one that is furthest above its threshold.
    One,
    /// All that are above their thresholds, as published.
    All,
}

/// The settings as a user gives them: times in ms, potentials in mV, rates in
/// Hz. docs/SPIKING.md describes them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) inputs: usize,
    /// 0 if the examples have none.
    pub(super) classes: usize,
    pub(super) neurons: usize,
    pub(super) dt: f64,
    pub(super) presentation: f64,
    pub(super) rest: f64,
    pub(super) rate: f64,
    pub(super) intensity: f64,
    pub(super) intensity_step: f64,
    pub(super) intensity_limit: f64,
    pub(super) least_spikes: u32,
    pub(super) spikes_per_step: SpikesPerStep,
    pub(super) clean_start: bool,
    pub(super) rest_potential: f64,
    pub(super) reset_potential: f64,
    pub(super) threshold: f64,
    pub(super) excitatory_reversal: f64,
    pub(super) inhibitory_reversal: f64,
    pub(super) membrane_time: f64,
    pub(super) excitatory_time: f64,
    pub(super) inhibitory_time: f64,
    pub(super) refractory: f64,
    pub(super) inhibition: f64,
    pub(super) theta_start: f64,
    pub(super) theta_plus: f64,
    pub(super) theta_time: f64,
    pub(super) theta_step: f64,
    pub(super) pre_time: f64,
    pub(super) post1_time: f64,
    pub(super) post2_time: f64,
    pub(super) pre_rate: f64,
    pub(super) post_rate: f64,
    pub(super) initial_weight: f64,
    pub(super) weight_max: f64,
    pub(super) weight_sum: f64,
    /// All of them, as they apply.
    pub(super) parameters: toml::Table,
}

impl Settings {
    /// Reads and checks them.
    pub(super) fn read(table: &toml::Table, shape: DataShape) -> Result<Self, ModelError> {
        let mut parameters = Parameters::new(table);
        let read = &mut parameters;
        let classes = match shape.targets {
            TargetType::None => 0,
            _ => shape.classes()?,
        };
        let scale = libm::sqrt(PUBLISHED_INPUTS / shape.features.max(1) as f64);
        let most = most_neurons(shape.features, classes);
        let neurons = read
            .about("", "neurons that learn")
            .whole_number("neurons", 400, 1..=most)
            .map_err(|error| with_reason(error, classes))?;
        if neurons > most {
            // The default.
            let parameter = "neurons".into();
            let (expected, found) = (format!("at most {most}"), neurons.to_string());
            return Err(with_reason(ModelError::Parameter { parameter, expected, found }, classes));
        }
        let theta_plus = 0.05 * (neurons as f64 / SCALED_NEURONS).min(1.0);
        let mut settings =
            Self {
                inputs: shape.features,
                classes,
                neurons,
                dt: read.about("ms", "a time step").number("dt_ms", 0.5, 1e-3..=1e3)?,
                presentation: read.about("ms", "how long an example is shown").number(
                    "presentation_ms",
                    350.0,
                    1e-3..=1e6,
                )?,
                rest: read.about("ms", "rest behind each example").number(
                    "rest_ms",
                    150.0,
                    0.0..=1e6,
                )?,
                rate: read.about("Hz", "spikes of the brightest input, at intensity 1").number(
                    "rate_hz",
                    31.875 * scale,
                    0.0..=1e6,
                )?,
                intensity: read
                    .about("", "factor of all rates, in the first presentation")
                    .number("intensity", 2.0, FACTORS)?,
                intensity_step: read
                    .about("", "what each further presentation of an example adds")
                    .number("intensity_step", 1.0, FACTORS)?,
                intensity_limit: read.about("", "no presentation has more").number(
                    "intensity_limit",
                    32.0,
                    FACTORS,
                )?,
                least_spikes: read
                    .about("", "with fewer spikes, an example is shown again")
                    .whole_number("least_spikes", 5, 0..=1 << 20)?
                    as u32,
                spikes_per_step: match read
                    .about("", "how many neurons may spike in one step")
                    .choice("spikes_per_step", &["one", "all"])?
                {
                    "all" => SpikesPerStep::All,
                    _ => SpikesPerStep::One,
                },
                clean_start: read
                    .about("", "whether each presentation starts at rest")
                    .flag("clean_start", true)?,
                rest_potential: read.about("mV", "where a membrane rests").number(
                    "rest_potential_mv",
                    -65.0,
                    POTENTIALS,
                )?,
                reset_potential: read.about("mV", "where it is after a spike").number(
                    "reset_potential_mv",
                    -65.0,
                    POTENTIALS,
                )?,
                threshold: read.about("mV", "a neuron spikes above this and its theta").number(
                    "threshold_mv",
                    -72.0,
                    POTENTIALS,
                )?,
                excitatory_reversal: read
                    .about("mV", "where excitation draws the membrane")
                    .number("excitatory_reversal_mv", 0.0, POTENTIALS)?,
                inhibitory_reversal: read
                    .about("mV", "where inhibition draws the membrane")
                    .number("inhibitory_reversal_mv", -100.0, POTENTIALS)?,
                membrane_time: read.about("ms", "time constant of the membrane").number(
                    "membrane_time_ms",
                    100.0,
                    TIMES,
                )?,
                excitatory_time: read.about("ms", "time constant of excitation").number(
                    "excitatory_time_ms",
                    1.0,
                    TIMES,
                )?,
                inhibitory_time: read.about("ms", "time constant of inhibition").number(
                    "inhibitory_time_ms",
                    2.0,
                    TIMES,
                )?,
                refractory: read.about("ms", "pause after a spike").number(
                    "refractory_ms",
                    5.0,
                    0.0..=1e6,
                )?,
                inhibition: read
                    .about("", "what a spike adds to the inhibition of all others")
                    .number("inhibition", 17.0, 0.0..=1e6)?,
                theta_start: read.about("mV", "theta before the first spike").number(
                    "theta_start_mv",
                    20.0,
                    POTENTIALS,
                )?,
                theta_plus: read.about("mV", "what a spike adds to theta").number(
                    "theta_plus_mv",
                    theta_plus,
                    0.0..=1e3,
                )?,
                theta_time: read.about("ms", "time constant of theta").number(
                    "theta_time_ms",
                    1e7,
                    TIMES,
                )?,
                theta_step: read.about("", "factor by which theta moves in a replica").number(
                    "theta_step",
                    1.0,
                    FACTORS,
                )?,
                pre_time: read.about("ms", "time constant of the pre-synaptic trace").number(
                    "pre_time_ms",
                    20.0,
                    TIMES,
                )?,
                post1_time: read
                    .about("ms", "time constant of the first post-synaptic trace")
                    .number("post1_time_ms", 20.0, TIMES)?,
                post2_time: read
                    .about("ms", "time constant of the second post-synaptic trace")
                    .number("post2_time_ms", 40.0, TIMES)?,
                pre_rate: read.about("", "learning rate on an input spike").number(
                    "pre_rate",
                    1e-4,
                    0.0..=1.0,
                )?,
                post_rate: read.about("", "learning rate on an output spike").number(
                    "post_rate",
                    1e-2,
                    0.0..=1.0,
                )?,
                initial_weight: read.about("", "largest weight before the first round").number(
                    "initial_weight",
                    0.3,
                    0.0..=1e3,
                )?,
                weight_max: read.about("", "no weight is larger").number(
                    "weight_max",
                    1.0,
                    1e-6..=1e3,
                )?,
                weight_sum: read.about("", "sum of the weights of a neuron").number(
                    "weight_sum",
                    78.0 / scale,
                    1e-6..=1e6,
                )?,
                parameters: toml::Table::new(),
            };
        settings.parameters = parameters.finish()?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks what depends on several of them.
    fn check(&self) -> Result<(), ModelError> {
        let wrong = |parameter: &str, expected: String, found: f64| {
            let (parameter, found) = (parameter.into(), found.to_string());
            Err(ModelError::Parameter { parameter, expected, found })
        };
        if self.inputs == 0 || self.inputs > events::INPUTS {
            return Err(ModelError::Data {
                expected: format!("1 to {} features", events::INPUTS),
                found: format!("{} features", self.inputs),
            });
        }
        let most = events::STEPS as f64 * self.dt;
        if !(self.dt..=most).contains(&self.presentation) {
            let expected = format!("1 to {} steps of `dt_ms` = {}", events::STEPS, self.dt);
            return wrong("presentation_ms", expected, self.presentation);
        }
        if !self.clean_start && self.presentation + self.rest > most - self.dt {
            let (steps, dt) = (events::STEPS, self.dt);
            let expected = format!(
                "with `clean_start` = false, less than {steps} steps of `dt_ms` = {dt} together \
                 with `presentation_ms` = {}",
                self.presentation
            );
            return wrong("rest_ms", expected, self.rest);
        }
        // Forward Euler would overshoot.
        let times = [
            ("membrane_time_ms", self.membrane_time),
            ("excitatory_time_ms", self.excitatory_time),
            ("inhibitory_time_ms", self.inhibitory_time),
        ];
        for (name, time) in times {
            if time < self.dt {
                return wrong(name, format!("at least `dt_ms` = {}", self.dt), time);
            }
        }
        if self.intensity_limit < self.intensity {
            let expected = format!("at least `intensity` = {}", self.intensity);
            return wrong("intensity_limit", expected, self.intensity_limit);
        }
        Ok(())
    }

    /// Steps of a presentation.
    pub(super) fn steps(&self) -> usize {
        libm::round(self.presentation / self.dt) as usize
    }

    /// Steps of the rest after it, if state is carried through it.
    pub(super) fn rest_steps(&self) -> usize {
        if self.clean_start { 0 } else { libm::round(self.rest / self.dt) as usize }
    }

    /// The probability of a spike in a step, of the brightest inputs, for each
    /// presentation that an example may have.
    pub(super) fn probabilities(&self) -> Vec<f64> {
        let intensity = |attempt: usize| self.intensity + self.intensity_step * attempt as f64;
        (0..ATTEMPTS)
            .map(intensity)
            .take_while(|intensity| *intensity <= self.intensity_limit)
            .map(|intensity| self.rate * intensity * self.dt * 1e-3)
            .collect()
    }

    /// Decay factor of thresholds for a presentation and its rest, at a theta step.
    pub(super) fn theta_decay(&self, step: f64) -> f32 {
        libm::exp(-step * (self.presentation + self.rest) / self.theta_time) as f32
    }

    /// A generous estimate of the input spikes of a presentation.
    pub(super) fn expected_spikes(&self) -> u64 {
        let probability = self.probabilities().last().copied().unwrap_or(0.0).min(1.0);
        (self.inputs as f64 * self.steps() as f64 * probability) as u64
    }
}

/// Most neurons for data of this shape: the state has its bound, and so have the counts that labels
/// are made of. A worker reports them in one message.
fn most_neurons(features: usize, classes: usize) -> usize {
    let state = limits::STATE_ELEMENTS as usize / (features + 2).max(1);
    let counts = (limits::RESULT_COUNTS - limits::RESULT_NAMES) / classes.max(1);
    state.min(counts.saturating_sub(1)).max(1)
}

/// Says why there is a limit to the number of neurons.
fn with_reason(error: ModelError, classes: usize) -> ModelError {
    match error {
        ModelError::Parameter { parameter, expected, found } => {
            let expected = format!(
                "{expected} (for {classes} classes: a labelling counts the spikes of each neuron by \
                 class, and a message holds {} counts)",
                limits::RESULT_COUNTS
            );
            ModelError::Parameter { parameter, expected, found }
        }
        error => error,
    }
}

/// The settings in the form that the steps use.
#[derive(Clone, Debug)]
pub(super) struct Dynamics {
    /// Rates of a step.
    pub(super) rates: Rates,
    /// Potential at rest, above the excitatory reversal potential [mV], as the
    /// two that follow.
    pub(super) start: f32,
    /// Potential after a spike.
    pub(super) reset: f32,
    /// Potential that a neuron with `theta` 0 spikes at.
    pub(super) threshold: f32,
    /// Steps from a spike to the first in which the neuron moves again.
    pub(super) refractory_steps: usize,
    /// What a spike adds to `gi` of all others.
    pub(super) inhibition: f32,
    /// What a spike adds to the neuron's threshold [mV].
    pub(super) theta_plus: f32,
    /// Decay factor of thresholds per presentation.
    pub(super) theta_decay: f32,
    /// Learning rate on an output spike.
    pub(super) post_rate: f32,
    /// Largest weight.
    pub(super) weight_max: f32,
    /// How many neurons may spike in a step.
    pub(super) spikes_per_step: SpikesPerStep,
    /// The pre-synaptic trace by the number of steps since the spike; zero after the last entry.
    pub(super) pre: Vec<f32>,
    /// The same of the post-synaptic trace 2.
    pub(super) post2: Vec<f32>,
}

impl Dynamics {
    pub(super) fn new(settings: &Settings) -> Self {
        let dt = settings.dt;
        let leak = dt / settings.membrane_time;
        // Potentials count from the excitatory reversal potential, which then
        // needs no term of its own.
        let above = |potential: f64| potential - settings.excitatory_reversal;
        let decay = |time: f64| libm::exp(-dt / time) as f32;
        let trace = |time: f64| {
            // As a trace decays that is multiplied step by step.
            let next = |left: &f32| Some(left * decay(time));
            std::iter::successors(Some(1.0), next)
                .take(settings.steps() + settings.rest_steps())
                .collect()
        };
        Self {
            rates: Rates {
                keep: (1.0 - leak) as f32,
                leak: leak as f32,
                rest: (leak * above(settings.rest_potential)) as f32,
                inhibitory: (leak * above(settings.inhibitory_reversal)) as f32,
                excitatory_decay: (1.0 - dt / settings.excitatory_time) as f32,
                inhibitory_decay: (1.0 - dt / settings.inhibitory_time) as f32,
                post1_decay: decay(settings.post1_time),
                pre_rate: settings.pre_rate as f32,
            },
            start: above(settings.rest_potential) as f32,
            reset: above(settings.reset_potential) as f32,
            threshold: above(settings.threshold) as f32,
            refractory_steps: libm::round(settings.refractory / dt) as usize,
            inhibition: settings.inhibition as f32,
            theta_plus: (settings.theta_plus * settings.theta_step) as f32,
            theta_decay: settings.theta_decay(settings.theta_step),
            post_rate: settings.post_rate as f32,
            weight_max: settings.weight_max as f32,
            spikes_per_step: settings.spikes_per_step,
            pre: trace(settings.pre_time),
            post2: trace(settings.post2_time),
        }
    }
}
