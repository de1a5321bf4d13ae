//! Runs of a model with tensors of f64 and i64, against their merge by hand.

use common::merge::UnitMaps;
use common::model::{DataShape, TargetType};
use common::state::{ElementType, Layout, TensorLayout};
use ndarray::Array2;

use super::*;

const FEATURES: [f32; 6] = [0.3, -1.7, 2.9, 0.1, 5.5, -0.6];

/// Learns one example in each shard: `Values::learn` says what.
#[derive(Clone, Debug)]
struct Wide {
    state: NetworkState,
    /// The feature of the last example.
    seen: f64,
}

/// The values of the model's tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Values {
    mean: f64,
    sum: f64,
    max: f64,
    /// Two units.
    fold: [f64; 2],
    mean_by: [f64; 2],
    balance: i64,
    highest: i64,
    kept: i64,
}

/// Near the ends of its types.
const FIRST: Values = Values {
    mean: 0.1,
    sum: 1e15,
    max: -1.0,
    fold: [0.2, -0.7],
    mean_by: [0.4, 1.0 / 3.0],
    balance: i64::MAX - 20,
    highest: i64::MIN,
    kept: -8,
};

/// The unit that an example changes.
fn unit_of(feature: f64) -> usize {
    feature.abs() as usize % 2
}

impl Values {
    fn learn(&mut self, feature: f64) {
        let (unit, whole) = (unit_of(feature), (10.0 * feature) as i64);
        self.mean += 0.1 * (feature - self.mean);
        self.sum += feature / 3.0;
        self.max = self.max.max(feature);
        self.fold[unit] = 0.5 * self.fold[unit] + feature;
        self.mean_by[unit] += feature;
        self.balance = self.balance.wrapping_add(whole);
        self.highest = self.highest.max(whole);
    }

    fn of(state: &NetworkState) -> Result<Self, StateError> {
        let pair = |name: &str| {
            let values = state.f64(name)?;
            Ok::<_, StateError>([values[[0, 0]], values[[0, 1]]])
        };
        Ok(Self {
            mean: state.f64("mean")?[[0]],
            sum: state.f64("sum")?[[0]],
            max: state.f64("max")?[[0]],
            fold: pair("fold")?,
            mean_by: pair("mean_by")?,
            balance: state.i64("balance")?[[0]],
            highest: state.i64("highest")?[[0]],
            kept: state.i64("kept")?[[0]],
        })
    }

    fn write(&self, state: &mut NetworkState) -> Result<(), StateError> {
        state.f64_mut("mean")?[[0]] = self.mean;
        state.f64_mut("sum")?[[0]] = self.sum;
        state.f64_mut("max")?[[0]] = self.max;
        for unit in 0..2 {
            state.f64_mut("fold")?[[0, unit]] = self.fold[unit];
            state.f64_mut("mean_by")?[[0, unit]] = self.mean_by[unit];
        }
        state.i64_mut("balance")?[[0]] = self.balance;
        state.i64_mut("highest")?[[0]] = self.highest;
        state.i64_mut("kept")?[[0]] = self.kept;
        Ok(())
    }
}

impl Model for Wide {
    fn layout(&self) -> Result<Layout, ModelError> {
        Ok(self.state.layout())
    }
    fn initial_state(&self) -> Result<NetworkState, ModelError> {
        Ok(self.state.clone())
    }
    fn replica(&self) -> Result<Box<dyn Replica>, ModelError> {
        Ok(Box::new(self.clone()))
    }
    fn replica_bytes(&self) -> u64 {
        self.state.bytes()
    }
}

impl Replica for Wide {
    fn begin(&mut self, base: &NetworkState) -> Result<(), ModelError> {
        Ok(self.state.copy_from(base)?)
    }
    fn process_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        self.seen = batch.features[[0, 0]].into();
        let mut values = Values::of(&self.state)?;
        values.learn(self.seen);
        values.write(&mut self.state)?;
        Ok(Results { examples: 1, ..Results::default() })
    }
    fn evaluate_batch(&mut self, batch: &Batch<'_>) -> Result<Results, ModelError> {
        Ok(Results { examples: batch.examples.len() as u64, ..Results::default() })
    }
    fn state(&self) -> &NetworkState {
        &self.state
    }
    fn state_to_take(&mut self) -> Option<&mut NetworkState> {
        Some(&mut self.state)
    }
    fn unit_maps_f64(&self, tensor: &str) -> Option<UnitMaps<f64>> {
        assert_eq!(tensor, "fold");
        Some(UnitMaps { units: vec![unit_of(self.seen) as u32], a: vec![0.5], b: vec![self.seen] })
    }
}

fn build(_: &toml::Table, shape: DataShape, _: u64) -> Result<Box<dyn Model>, ModelError> {
    assert_eq!(shape.targets, TargetType::Classes(1));
    let real = |name, shape: &[usize], rule| TensorLayout::new(name, ElementType::F64, shape, rule);
    let whole = |name, rule| TensorLayout::new(name, ElementType::I64, &[1], rule);
    let layout = Layout::new([
        real("mean", &[1], MergeRule::Mean),
        real("sum", &[1], MergeRule::Sum),
        real("max", &[1], MergeRule::Max),
        real("fold", &[1, 2], MergeRule::Fold),
        real("mean_by", &[1, 2], MergeRule::MeanBy),
        whole("balance", MergeRule::Sum),
        whole("highest", MergeRule::Max),
        whole("kept", MergeRule::Keep),
    ])?;
    let mut state = NetworkState::zeros(&layout)?;
    FIRST.write(&mut state)?;
    Ok(Box::new(Wide { state, seen: 0.0 }))
}

/// A round of three replicas with one example each, whose tree is (0 1) 2.
fn round_by_hand(base: &Values, features: [f64; 3]) -> Values {
    let ended = features.map(|feature| {
        let mut values = *base;
        values.learn(feature);
        values
    });
    let average = |left: f64, right: f64, share: f64| left + share * (right - left);
    let sums = ended.map(|it| it.sum - base.sum);
    let mut next = Values {
        mean: average(average(ended[0].mean, ended[1].mean, 0.5), ended[2].mean, 1.0 / 3.0),
        sum: base.sum + ((sums[0] + sums[1]) + sums[2]),
        max: ended.iter().map(|it| it.max).fold(f64::MIN, f64::max),
        balance: ended
            .iter()
            .fold(base.balance, |sum, it| sum.wrapping_add(it.balance.wrapping_sub(base.balance))),
        highest: ended.iter().map(|it| it.highest).max().unwrap(),
        ..*base
    };
    for unit in 0..2 {
        // Those that touched it: each with its value, and its map.
        let touched = ended.iter().zip(features).filter(|(_, feature)| unit_of(*feature) == unit);
        let mut mean: Option<(f64, f64)> = None;
        let mut map: Option<(f64, f64)> = None;
        for (it, feature) in touched {
            let right = it.mean_by[unit];
            mean = Some(mean.map_or((1.0, right), |(count, left)| {
                (count + 1.0, average(left, right, 1.0 / (count + 1.0)))
            }));
            map = Some(map.map_or((0.5, feature), |(a, b)| (0.5 * a, 0.5 * b + feature)));
        }
        next.mean_by[unit] = mean.map_or(base.mean_by[unit], |(_, mean)| mean);
        next.fold[unit] = map.map_or(base.fold[unit], |(a, b)| a * base.fold[unit] + b);
    }
    next
}

#[test]
fn a_run_with_f64_and_i64_is_its_merge_by_hand() {
    let mut registry = Registry::empty();
    registry.register("wide", "for this test", build);
    let processor = ParallelBatchProcessor::new(3, 1).with_registry(registry);
    let params = Params { model: "wide".into(), epochs: 2, ..Params::default() };
    let examples = Array2::from_shape_vec((6, 1), FEATURES.to_vec()).unwrap();
    let (state, steps) = processor.run_parallel(examples.view(), &[0; 6], None, &params).unwrap();
    let is_round = |it: &&StepResults| matches!(it.step.kind, StepKind::Train { .. });
    assert_eq!(steps.iter().filter(is_round).count(), 4);

    let mut expected = FIRST;
    for epoch in 0..2 {
        let order: Vec<u64> = EpochOrder::new(params.seed, epoch, 6).examples(0..6).collect();
        for round in order.chunks(3) {
            let feature = |place: usize| f64::from(FEATURES[round[place] as usize]);
            expected = round_by_hand(&expected, [0, 1, 2].map(feature));
        }
    }
    assert_eq!(Values::of(&state).unwrap(), expected);
    assert!(expected.balance != FIRST.balance && expected.highest == 55);
}

#[test]
fn the_time_that_shards_take_is_added_up() {
    let text = "model = \"softmax\"\nreplicas = 2\nrounds = 2\ndataset.source = \"digits\"";
    let spec = RunSpec::from_toml(text).unwrap();
    let data = Dataset::load(&spec.dataset).unwrap();
    let model = Registry::standard().build("softmax", &spec.parameters, data.shape(), 1).unwrap();
    let plan = RunPlan::new(&spec, data.train.size(), data.test.len()).unwrap();
    let mut state = model.initial_state().unwrap();
    let mut steps = Steps::new(&plan, &*model, &data);
    assert_eq!(steps.computing(), Duration::ZERO);
    steps.run(0, &mut state).unwrap();
    let first = steps.computing();
    steps.run(1, &mut state).unwrap();
    assert!(Duration::ZERO < first && first < steps.computing());
}
