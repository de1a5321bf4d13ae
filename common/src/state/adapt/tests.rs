use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::*;
use crate::merge::MergeRule;

/// A tensor of a file under test: name, type, shape, bytes.
type Given<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);

fn file(given: &[Given<'_>]) -> FileTensors {
    let views = given.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    FileTensors { path: "x.safetensors".into(), ..FileTensors::load(&path).unwrap() }
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// One layer from 3 inputs to 2 outputs, with a velocity and a counter.
fn layout() -> Layout {
    let f32 =
        |name, shape: &[usize]| TensorLayout::new(name, ElementType::F32, shape, MergeRule::Mean);
    let examples = TensorLayout::new("examples", ElementType::U64, &[1], MergeRule::Sum);
    let tensors =
        [f32("weights", &[3, 2]), f32("bias", &[2]), f32("bias.velocity", &[2]), examples];
    Layout::new(tensors).unwrap()
}

fn initial() -> Result<NetworkState, StateError> {
    let mut state = NetworkState::zeros(&layout())?;
    state.u64_mut("examples")?.fill(5);
    state.f32_mut("bias")?.fill(9.0);
    Ok(state)
}

fn adapted(file: FileTensors, map: &[&str]) -> Result<(NetworkState, Vec<String>), String> {
    let map: Vec<Mapping> = map.iter().map(|text| text.parse().unwrap()).collect();
    adapt(file, &layout(), &map, initial).map_err(|error: StateError| error.to_string())
}

fn error(given: &[Given<'_>], map: &[&str]) -> String {
    adapted(file(given), map).unwrap_err()
}

const WEIGHTS: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

fn weights<'a>() -> Given<'a> {
    ("weights", Dtype::F32, &[3, 2], f32s(&WEIGHTS))
}

fn bias<'a>() -> Given<'a> {
    ("bias", Dtype::F32, &[2], f32s(&[0.5, -0.5]))
}

fn values(state: &NetworkState, name: &str) -> Vec<f32> {
    state.f32(name).unwrap().iter().copied().collect()
}

#[test]
fn what_fits_is_taken_and_nothing_is_said() {
    let examples = ("examples", Dtype::U64, &[1][..], 7_u64.to_le_bytes().to_vec());
    let velocity = ("bias.velocity", Dtype::F32, &[2][..], f32s(&[1.0, 2.0]));
    let file = file(&[weights(), bias(), examples, velocity]);
    let never = || -> Result<NetworkState, StateError> { panic!("nothing is missing") };
    let (state, messages) = adapt(file, &layout(), &[], never).unwrap();
    assert_eq!(messages, Vec::<String>::new());
    assert_eq!(values(&state, "weights"), WEIGHTS);
    assert_eq!(state.u64("examples").unwrap()[[0]], 7);
    assert_eq!(state.layout(), layout());
}

#[test]
fn types_are_converted_and_what_is_missing_or_extra_is_named() {
    let examples = ("examples", Dtype::I64, &[][..], 7_i64.to_le_bytes().to_vec());
    let half = ("bias", Dtype::F16, &[2][..], vec![0x00, 0x38, 0x00, 0xb8]);
    let wide = ("weights", Dtype::F64, &[3, 2][..], f64s(&WEIGHTS.map(f64::from)));
    let other = ("running\nmean", Dtype::C64, &[1][..], vec![0; 8]);
    let (state, messages) = adapted(file(&[examples, half, wide, other]), &[]).unwrap();
    assert_eq!(values(&state, "weights"), WEIGHTS);
    assert_eq!(values(&state, "bias"), [0.5, -0.5]);
    assert_eq!(values(&state, "bias.velocity"), [0.0, 0.0]);
    assert_eq!(state.u64("examples").unwrap()[[0]], 7);
    let expected = [
        "converted from F16 to f32: `bias`",
        "converted from F64 to f32: `weights`",
        "converted from I64 to u64: `examples`",
        "not in the file, so as in a new state of the model: `bias.velocity`",
        "not in the model, so left out: `running\\nmean`",
    ];
    assert_eq!(messages, expected.map(|text| format!("x.safetensors: {text}")));
    // Both kinds of what may be missing, from the model's own state.
    let (state, messages) = adapted(file(&[weights(), bias()]), &[]).unwrap();
    assert_eq!(state.u64("examples").unwrap()[[0]], 5);
    assert_eq!(values(&state, "bias"), [0.5, -0.5]);
    assert!(messages[0].ends_with("`bias.velocity`, `examples`"), "{messages:?}");
}

#[test]
fn values_that_do_not_fit_are_errors_with_their_place() {
    let infinite = ("bias", Dtype::F64, &[2][..], f64s(&[1.0, 1e300]));
    let found = error(&[weights(), infinite], &[]);
    assert!(found.contains("x.safetensors: tensor `bias` element 1: expected a finite value"));
    assert!(found.ends_with("found 1e300"), "{found}");
    let negative = ("examples", Dtype::I32, &[1][..], (-3_i32).to_le_bytes().to_vec());
    let found = error(&[weights(), bias(), negative], &[]);
    assert!(
        found.contains("tensor `examples` element 0") && found.ends_with("found -3"),
        "{found}"
    );
    let complex = ("bias", Dtype::C64, &[2][..], vec![0; 16]);
    let found = error(&[weights(), complex], &[]);
    assert!(found.contains("tensor `bias`") && found.contains("found C64"), "{found}");
}

/// One tensor of each wide type, the first of them a matrix.
fn wide_layout() -> Layout {
    Layout::new([
        TensorLayout::new("m", ElementType::F64, &[3, 2], MergeRule::Mean),
        TensorLayout::new("n", ElementType::I64, &[2], MergeRule::Sum),
    ])
    .unwrap()
}

fn adapted_wide(given: &[Given<'_>], map: &[&str]) -> Result<(NetworkState, Vec<String>), String> {
    let map: Vec<Mapping> = map.iter().map(|text| text.parse().unwrap()).collect();
    let initial = || NetworkState::zeros(&wide_layout());
    let adapted = adapt(file(given), &wide_layout(), &map, initial);
    adapted.map_err(|error: StateError| error.to_string())
}

#[test]
fn a_model_of_wide_types_takes_what_fits_them() {
    let wide = WEIGHTS.map(|value| f64::from(value) + 0.1);
    let m = ("m", Dtype::F64, &[3, 2][..], f64s(&wide));
    let whole = |values: [i64; 2]| values.map(i64::to_le_bytes).concat();
    let n = ("n", Dtype::I64, &[2][..], whole([i64::MIN, 5]));
    let (state, messages) = adapted_wide(&[m.clone(), n], &[]).unwrap();
    assert_eq!(messages, Vec::<String>::new());
    assert!(state.f64("m").unwrap().iter().eq(&wide));
    assert_eq!(state.i64("n").unwrap().as_slice(), Some(&[i64::MIN, 5][..]));

    // Other types are converted, and a matrix is transposed.
    let turned = ("t", Dtype::F32, &[2, 3][..], f32s(&[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]));
    let floats = ("n", Dtype::F64, &[2][..], f64s(&[-3.0, 4.0]));
    let (state, messages) = adapted_wide(&[turned, floats], &["m=t^T"]).unwrap();
    assert!(state.f64("m").unwrap().iter().eq(&WEIGHTS.map(f64::from)));
    assert_eq!(state.i64("n").unwrap().as_slice(), Some(&[-3, 4][..]));
    let expected = ["converted from F32 to f64: `t`", "converted from F64 to i64: `n`"];
    assert_eq!(messages, expected.map(|text| format!("x.safetensors: {text}")));

    // Whole numbers may be missing, as counters may.
    let (state, messages) = adapted_wide(std::slice::from_ref(&m), &[]).unwrap();
    assert_eq!(state.i64("n").unwrap().as_slice(), Some(&[0, 0][..]));
    assert!(messages[0].ends_with("as in a new state of the model: `n`"), "{messages:?}");
    let missing = adapted_wide(&[], &[]).unwrap_err();
    assert!(missing.contains("the file lacks `m` f64 [3, 2] of the model"), "{missing}");

    let large = ("n", Dtype::U64, &[2][..], [1, 1 << 63].map(u64::to_le_bytes).concat());
    let found = adapted_wide(&[m.clone(), large], &[]).unwrap_err();
    let expected = "x.safetensors: tensor `n` element 1: expected a whole number that i64 can hold, \
                    found 9223372036854775808";
    assert_eq!(found, expected);
    let broken = ("n", Dtype::F32, &[2][..], f32s(&[0.5, 1.0]));
    let found = adapted_wide(&[m, broken], &[]).unwrap_err();
    assert!(found.ends_with("`n` element 0: expected a whole number that i64 can hold, found 0.5"));
    let infinite = ("m", Dtype::F64, &[3, 2][..], f64s(&[0.0, 0.0, 0.0, f64::NAN, 0.0, 0.0]));
    let found = adapted_wide(&[infinite], &[]).unwrap_err();
    assert!(found.ends_with("tensor `m` element 3: expected a finite value, found NaN"), "{found}");
}

#[test]
fn a_state_dict_is_mapped() {
    let turned = ("fc1.weight", Dtype::F32, &[2, 3][..], f32s(&[1.0, 3.0, 5.0, 2.0, 4.0, 6.0]));
    let shift = ("fc1.bias", Dtype::F32, &[2][..], f32s(&[0.5, -0.5]));
    let map = ["weights=fc1.weight^T", "bias=fc1.bias"];
    let (state, messages) = adapted(file(&[turned.clone(), shift.clone()]), &map).unwrap();
    assert_eq!(values(&state, "weights"), WEIGHTS);
    assert_eq!(values(&state, "bias"), [0.5, -0.5]);
    assert!(messages.len() == 1 && messages[0].contains("`bias.velocity`, `examples`"));
    // One tensor may stand for several.
    let map = ["weights=fc1.weight^T", "bias=fc1.bias", "bias.velocity=fc1.bias"];
    let (state, _) = adapted(file(&[turned, shift]), &map).unwrap();
    assert_eq!(values(&state, "bias.velocity"), [0.5, -0.5]);
}

#[test]
fn a_wrong_shape_says_both_and_when_transposing_helps() {
    let given = [("fc1.weight", Dtype::F32, &[2, 3][..], f32s(&WEIGHTS)), bias()];
    let found = error(&given, &["weights=fc1.weight"]);
    assert!(found.contains("expected shape [3, 2], found shape [2, 3] of `fc1.weight`"), "{found}");
    assert!(found.contains("`--map 'weights=fc1.weight^T'` transposes it"), "{found}");
    let found = error(&[weights(), bias()], &["weights=weights^T"]);
    assert!(found.contains("transposed: `--map 'weights=weights'`, without ^T, fits"), "{found}");
    let found = error(&[("weights", Dtype::F32, &[6], f32s(&WEIGHTS)), bias()], &[]);
    assert!(found.ends_with("tensor `weights`: expected shape [3, 2], found shape [6]"), "{found}");
    let found = error(&[weights(), bias()], &["bias=bias^T"]);
    assert!(found.contains("expected a matrix to transpose, found shape [2]"), "{found}");
}

#[test]
fn flags_that_name_what_is_not_there_say_what_is() {
    let given = [weights(), bias()];
    let found = error(&given, &["weight=weights"]);
    assert!(found.contains("--map 'weight=weights': expected a tensor of the model"), "{found}");
    assert!(found.contains("`bias`, `bias.velocity`, `examples`, `weights`"), "{found}");
    let found = error(&given, &["weights=w"]);
    assert!(found.contains("a tensor of the file, which has `bias` F32 [2], `weights`"), "{found}");
    let found = error(&given, &["weights=weights", "weights=weights"]);
    assert!(found.contains("each tensor of the model once"), "{found}");
}

#[test]
fn missing_weights_are_listed_with_what_there_is() {
    let found = error(&[weights()], &[]);
    let expected = "x.safetensors: the file lacks `bias` f32 [2] of the model; it has `weights` \
                    F32 [3, 2]; `--map 'bias=NAME'` takes";
    assert!(found.starts_with(expected), "{found}");
    let found = error(&[], &[]);
    assert!(found.contains("it has no tensors"), "{found}");
}

#[test]
fn for_a_file_of_pytorch_the_error_has_all_flags() {
    let turned = ("net.0.weight", Dtype::F32, &[2, 3][..], f32s(&WEIGHTS));
    let shift = ("net.0.bias", Dtype::F32, &[2][..], f32s(&[0.5, -0.5]));
    let given = [turned, shift];
    let found = error(&given, &[]);
    let flags = "it seems to be of PyTorch, then add \
                 --map 'weights=net.0.weight^T' --map 'bias=net.0.bias'";
    assert!(found.ends_with(flags), "{found}");
    // The flags are right.
    let map = ["weights=net.0.weight^T", "bias=net.0.bias"];
    assert_eq!(values(&adapted(file(&given), &map).unwrap().0, "bias"), [0.5, -0.5]);
}

#[test]
fn layers_are_taken_in_order_and_by_their_shapes() {
    let f32 = |name: &str, shape: &[usize]| {
        TensorLayout::new(name, ElementType::F32, shape, MergeRule::Mean)
    };
    let model = |sizes: &[usize]| {
        let layers = (1..).zip(sizes.windows(2)).flat_map(|(number, sizes)| {
            let name = |what: &str| format!("layer{number}.{what}");
            [f32(&name("weights"), sizes), f32(&name("bias"), &sizes[1..])]
        });
        Layout::new(layers).unwrap()
    };
    let of = |names: &[(&str, usize, usize)]| {
        let tensors: Vec<(String, Vec<usize>)> = names
            .iter()
            .flat_map(|(name, inputs, outputs)| {
                [
                    (format!("{name}.weight"), vec![*outputs, *inputs]),
                    (format!("{name}.bias"), vec![*outputs]),
                ]
            })
            .collect();
        let given: Vec<Given<'_>> = tensors
            .iter()
            .map(|(name, shape)| {
                let count = shape.iter().product::<usize>();
                (name.as_str(), Dtype::F32, &shape[..], vec![0; 4 * count])
            })
            .collect();
        file(&given)
    };
    let asked = |file: FileTensors, layout: &Layout| {
        let never = || -> Result<NetworkState, StateError> { panic!("weights are missing") };
        adapt(file, layout, &[], never).unwrap_err().to_string()
    };
    let file = of(&[("fc2", 4, 4), ("fc10", 4, 2), ("fc1", 3, 4)]);
    let found = asked(file, &model(&[3, 4, 4, 2]));
    let expected = "--map 'layer1.weights=fc1.weight^T' --map 'layer1.bias=fc1.bias' \
                    --map 'layer2.weights=fc2.weight^T' --map 'layer2.bias=fc2.bias' \
                    --map 'layer3.weights=fc10.weight^T' --map 'layer3.bias=fc10.bias'";
    assert!(found.ends_with(expected), "{found}");
    // In the order of the alphabet, the output comes before what it is made from.
    let found = asked(of(&[("hidden", 3, 4), ("a", 4, 2)]), &model(&[3, 4, 2]));
    assert!(found.contains("layer2.weights=a.weight^T"), "{found}");
    let found = asked(of(&[("fc1", 3, 8), ("fc2", 8, 2)]), &model(&[3, 4, 2]));
    assert!(found.contains("with layers 3 × 8, 8 × 2, and the model has 3 × 4, 4 × 2"), "{found}");
}

#[test]
fn the_axes_and_counters_of_a_file_are_known() {
    let labels = [3, u64::MAX, 7].map(u64::to_le_bytes).concat();
    let file = file(&[weights(), bias(), ("labels", Dtype::U64, &[3], labels)]);
    assert_eq!(file.lengths(), [2, 3]);
    assert_eq!((file.largest_counter("labels"), file.largest_counter("bias")), (Some(7), None));
    assert!(file.fits(&layout(), &[]));
    assert!(!file.fits(&layout(), &["bias=labels".parse().unwrap()]));
}

#[test]
fn a_rule_of_the_file_is_kept_and_others_are_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let mut state = initial().unwrap();
    state.set_rules(&[("bias".to_owned(), MergeRule::Max)].into()).unwrap();
    state.save(&path, &BTreeMap::new()).unwrap();
    let file = FileTensors::load(&path).unwrap();
    let never = || -> Result<NetworkState, StateError> { panic!("nothing is missing") };
    assert_eq!(adapt(file, &layout(), &[], never).unwrap().0, state);
}
