//! The test vectors of `docs/PROTOCOL.md`, held to what the code computes.

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayD};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::digest::Digest;
use crate::id::Block;
use crate::merge::{
    Contribution, Merge, MergeRule, Partial, Real, RealContribution, Values, segment_hash,
};
use crate::model::{Batch, DataShape, Registry, TargetType};
use crate::plan::{EpochOrder, RunPlan};
use crate::results::Results;
use crate::spec::RunSpec;
use crate::state::{NetworkState, Tensor, TensorData};
use crate::wire::examples::{DOCUMENT, block_done, chunk, layout, values};

/// The document's vectors by name: lines `name = value` of blocks fenced as
/// `vectors`. A line that is indented goes on with the value before it.
fn documented() -> BTreeMap<String, String> {
    let blocks = DOCUMENT.split("```vectors\n").skip(1);
    let mut found = BTreeMap::new();
    let mut name = String::new();
    for line in blocks.flat_map(|rest| rest.split("```").next().unwrap().lines()) {
        if let Some(more) = line.strip_prefix(' ') {
            let value: &mut String = found.get_mut(&name).expect("a value to go on with");
            *value = format!("{value} {}", more.trim());
            continue;
        }
        let (key, value) = line.split_once(" = ").expect("`name = value`");
        name = key.trim().to_owned();
        assert_eq!(found.insert(name.clone(), value.trim().to_owned()), None, "{name} twice");
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn numbers<T: ToString>(numbers: impl IntoIterator<Item = T>) -> String {
    numbers.into_iter().map(|it| it.to_string()).collect::<Vec<_>>().join(" ")
}

/// Values by their bits.
fn bits(values: impl IntoIterator<Item = f32>) -> String {
    values.into_iter().map(|value| format!("{:08x}", value.to_bits())).collect::<Vec<_>>().join(" ")
}

type Vectors = BTreeMap<String, String>;

fn put(into: &mut Vectors, name: &str, value: impl Into<String>) {
    assert_eq!(into.insert(name.to_owned(), value.into()), None, "{name} twice");
}

fn digests(into: &mut Vectors) {
    let (layout, done) = (layout(), block_done());
    let payload = values();
    let segment = segment_hash(&payload);
    let state = {
        let data = TensorData::F32(ArrayD::from_shape_vec(vec![2], vec![1.0, -0.5]).unwrap());
        let rule = layout.tensors[0].rule;
        NetworkState::new([("bias".to_owned(), Tensor { data, rule })]).unwrap()
    };
    put(into, "chunk digest", Digest::of(&chunk()).to_string());
    put(into, "layout", hex(&layout.encode()));
    put(into, "state segment", hex(&payload));
    put(into, "state digest", state.digest().to_string());
    put(into, "results digest", done.results.digest().to_string());
    put(into, "segment XXH3-128", format!("{segment:032x}"));
    put(into, "partial digest", Partial::digest_of(done.weight, [segment]).to_string());
    put(into, "shard digest", done.shards[0].digest.to_string());
    put(into, "block digest", done.digest.to_string());
    put(into, "empty results digest", Results::default().digest().to_string());
    put(into, "empty shard digest", Partial::shard_digest(None, &layout).to_string());
}

/// A state with the types of 8 bytes that may be negative.
fn wide_types(into: &mut Vectors) {
    let moments = ArrayD::from_shape_vec(vec![2], vec![1.0, -0.5]).unwrap();
    let balance = ArrayD::from_shape_vec(vec![1], vec![-2]).unwrap();
    let state = NetworkState::new([
        ("balance".to_owned(), Tensor { data: TensorData::I64(balance), rule: MergeRule::Sum }),
        ("moments".to_owned(), Tensor { data: TensorData::F64(moments), rule: MergeRule::Mean }),
    ]);
    let state = state.unwrap();
    let layout = state.layout();
    put(into, "layout of f64 and i64", hex(&layout.encode()));
    for (name, segment) in ["balance", "moments"].iter().zip(layout.state_segments()) {
        put(into, &format!("state segment of {name}"), hex(&state.segment_bytes(&segment)));
    }
    put(into, "state digest of f64 and i64", state.digest().to_string());
}

fn plan(into: &mut Vectors) {
    let spec = "model = 'softmax'\nreplicas = 3\nbatch_size = 2\nupdate_interval = 2\nepochs = 2\n\
                dataset.source = 'digits'\nevaluation.every = 1\n";
    let spec = RunSpec::from_toml(spec).unwrap();
    let plan = RunPlan::new(&spec, 25, 300).unwrap();
    assert_eq!(plan.steps(), 8);
    for index in 0..plan.steps() {
        let step = plan.step(index).unwrap();
        let told = plan.block(&step, Block::root(step.replicas));
        let task = format!("{:?}", told.task).to_lowercase();
        let value = format!("{task}, epoch {}, {}", told.epoch, numbers(told.positions));
        put(into, &format!("step {index}"), value);
    }
}

fn orders(into: &mut Vectors) {
    let mut key = [0; 32];
    key[0] = 1;
    key[16..].copy_from_slice(b"samebit/order/01");
    let mut stream = ChaCha8Rng::from_seed(key);
    put(into, "key", hex(&key));
    put(into, "words", numbers((0..6).map(|_| stream.next_u32())));
    let order = EpochOrder::new(1, 0, 10);
    put(into, "order", numbers(order.examples(0..10)));
    let order = EpochOrder::windowed(1, 0, (11, 2), 2);
    put(into, "order in windows", numbers(order.examples(0..11)));
}

fn merge(into: &mut Vectors) {
    let mean = |values: [f32; 4], examples| {
        let values = values.to_vec().into();
        Contribution::F32(RealContribution::Mean { examples, values })
    };
    let (left, right) = ([1.0, 0.1, -0.0, 3e38], [2.0, 0.7, 0.0, -1e37]);
    put(into, "left", bits(left));
    put(into, "right", bits(right));
    let merged = mean(left, 30).merge(mean(right, 20));
    let Some(RealContribution::Mean { examples: 50, values: Values::Owned(values) }) =
        f32::of(&merged)
    else {
        panic!("{merged:?}")
    };
    put(into, "mean of 30 and 20 examples", bits(values.iter().copied()));
}

fn merge_of_f64(into: &mut Vectors) {
    let bits = |values: &[f64]| {
        values.iter().map(|value| format!("{:016x}", value.to_bits())).collect::<Vec<_>>().join(" ")
    };
    let mean = |values: [f64; 4], examples| {
        let values = values.to_vec().into();
        Contribution::F64(RealContribution::Mean { examples, values })
    };
    let (left, right) = ([1.0, 0.1, -0.0, 1e308], [2.0, 0.7, 0.0, -1e307]);
    put(into, "left of f64", bits(&left));
    put(into, "right of f64", bits(&right));
    let merged = mean(left, 30).merge(mean(right, 20));
    let Some(RealContribution::Mean { examples: 50, values: Values::Owned(values) }) =
        f64::of(&merged)
    else {
        panic!("{merged:?}")
    };
    put(into, "mean of f64 of 30 and 20 examples", bits(values));
}

fn functions(into: &mut Vectors) {
    for x in [-0.0f32, -1e-5, -0.1, -0.5, -1.0, -3.0, -20.0, -87.5, -100.0, -104.0, 0.5, 2.0] {
        put(into, &format!("exp {:08x}", x.to_bits()), bits([libm::expf(x)]));
    }
    for x in [1.0f64, 1.25, 2.0, 3.75, 9.5, 1000.1] {
        let value = format!("{:016x}", libm::log(x).to_bits());
        put(into, &format!("ln {:016x}", x.to_bits()), value);
    }
}

fn softmax(into: &mut Vectors) {
    let parameters = "learning_rate = 0.5\nweight_decay = 0.01\n".parse().unwrap();
    let shape = DataShape::new(2, TargetType::Classes(3));
    let model = Registry::standard().build("softmax", &parameters, shape, 1).unwrap();
    let mut base = model.initial_state().unwrap();
    let weights = [0.5, -0.25, 0.125, 1.0, 0.0, -1.5];
    base.f32_mut("weights").unwrap().as_slice_mut().unwrap().copy_from_slice(&weights);
    base.f32_mut("bias").unwrap().as_slice_mut().unwrap().copy_from_slice(&[0.1, 0.2, -0.3]);
    let features = Array2::from_shape_vec((2, 2), vec![0.25, 0.5, 1.0, 0.0]).unwrap();
    let (labels, examples) = ([2, 0], [0, 1]);
    let batch = Batch {
        features: features.view(),
        targets: crate::model::Targets::Classes(&labels),
        examples: &examples,
        epoch: 0,
    };
    let mut replica = model.replica().unwrap();
    replica.begin(&base).unwrap();
    let results = replica.process_batch(&batch).unwrap();
    let of = |state: &NetworkState, name| bits(state.f32(name).unwrap().iter().copied());
    put(into, "features", bits(features.iter().copied()));
    put(into, "labels", numbers(labels));
    put(into, "weights before", of(&base, "weights"));
    put(into, "bias before", of(&base, "bias"));
    put(into, "weights after", of(replica.state(), "weights"));
    put(into, "bias after", of(replica.state(), "bias"));
    put(into, "loss", format!("{:016x}", results.sums["loss"].to_bits()));
    put(into, "correct", numbers(&results.counts["correct"]));
    put(into, "confusion", numbers(&results.counts["confusion"]));
}

/// What a whole run comes to, which the tests of all programs compute.
const ELSEWHERE: &str = "final digest";

#[test]
fn the_documented_vectors_are_what_the_code_computes() {
    let mut found = documented();
    assert!(found.remove(ELSEWHERE).is_some(), "docs/PROTOCOL.md has no `{ELSEWHERE}`");
    let mut expected = Vectors::new();
    for add in [digests, wide_types, plan, orders, merge, merge_of_f64, functions, softmax] {
        add(&mut expected);
    }
    // Where a long value is broken makes no difference.
    let plain = |vectors: &Vectors| -> Vectors {
        let plain = |(name, value): (&String, &String)| (name.clone(), value.replace(' ', ""));
        vectors.iter().map(plain).collect()
    };
    if plain(&found) != plain(&expected) {
        let is_there = |name: &String| found.get(name).map(|it| it.replace(' ', ""));
        let wrong =
            expected.iter().filter(|(name, value)| is_there(name) != Some(value.replace(' ', "")));
        let wrong: Vec<String> = wrong.map(|(name, value)| format!("{name} = {value}")).collect();
        let extra: Vec<_> = found.keys().filter(|name| !expected.contains_key(*name)).collect();
        panic!("docs/PROTOCOL.md should have these:\n{}\nand not {extra:?}", wrong.join("\n"));
    }
}
