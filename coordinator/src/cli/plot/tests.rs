use std::collections::BTreeMap;

use clap::Parser;
use common::merge::MergeRule;
use common::state::{Tensor, TensorData};
use ndarray::{Array, ArrayD, IxDyn};

use super::*;
use crate::cli::exit::Exit;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    flags: PlotFlags,
}

/// Three neurons of four inputs, of the classes 1, none and 0.
fn state() -> NetworkState {
    let weights = (0..12).map(|value| value as f32 / 11.0).collect();
    let weights = ArrayD::from_shape_vec(IxDyn(&[4, 3]), weights).unwrap();
    let theta = Array::from_vec(vec![1.0, 2.0, 4.0]).into_dyn();
    let labels = Array::from_vec(vec![1, u64::MAX, 0]).into_dyn();
    let real = |data| Tensor { data: TensorData::F32(data), rule: MergeRule::Mean };
    let whole = |data| Tensor { data: TensorData::U64(data), rule: MergeRule::Keep };
    NetworkState::new([
        ("weights".to_owned(), real(weights)),
        ("theta".to_owned(), real(theta)),
        ("labels".to_owned(), whole(labels)),
    ])
    .unwrap()
}

/// `plot STATE MORE`, the state saved without any metadata.
fn plot_with(folder: &Path, more: &[&str]) -> Result<(), Failure> {
    let path = folder.join("state.safetensors");
    state().save(&path, &BTreeMap::new()).unwrap();
    let args = ["plot", path.to_str().unwrap()].into_iter().chain(more.iter().copied());
    plot(&Command::try_parse_from(args).unwrap().flags)
}

#[test]
fn what_can_be_drawn_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    let out = out.to_str().unwrap();
    let never = ["--out", out, "--preview", "never"];
    for more in [&[][..], &["--width", "3"], &["--what", "theta"], &["--tensor", "weights"]] {
        plot_with(folder.path(), &[&never, more].concat()).unwrap();
        assert!(std::fs::read(out).unwrap().starts_with(b"\x89PNG\r\n\x1a\n"), "{more:?}");
        std::fs::remove_file(out).unwrap();
    }
    assert_eq!(
        fields(&state(), WEIGHTS, None, None).unwrap().caption,
        "weights: 3 fields of 2 × 2, by class"
    );
    let schema = |shape: &str| {
        let json =
            format!(r#"{{"understood":"","shape":{shape},"scale":1.0,"targets":{{"classes":2}}}}"#);
        Schema::from_json(&json).unwrap()
    };
    for (shape, expected) in [("[1,4,1]", "2 × 2"), ("[4,1,1]", "2 × 2"), ("[1,2,2]", "2 × 2")] {
        let picture = fields(&state(), WEIGHTS, None, Some(&schema(shape))).unwrap();
        assert!(picture.caption.contains(expected), "{shape}: {}", picture.caption);
    }
}

#[test]
fn tensors_of_f64_are_drawn_like_those_of_f32() {
    let folder = tempfile::tempdir().unwrap();
    let wide = |name: &str| {
        let values = state().f32(name).unwrap().mapv(f64::from);
        (name.to_owned(), Tensor { data: TensorData::F64(values), rule: MergeRule::Mean })
    };
    let wide = NetworkState::new(["weights", "theta"].map(wide)).unwrap();
    let path = folder.path().join("state.safetensors");
    wide.save(&path, &BTreeMap::new()).unwrap();
    for what in ["fields", "theta"] {
        let out = folder.path().join(what).with_extension("png");
        let (path, out) = (path.to_str().unwrap(), out.to_str().unwrap());
        let args = ["plot", path, "--what", what, "--out", out, "--preview", "never"];
        plot(&Command::try_parse_from(args).unwrap().flags).unwrap();
    }
    let caption = fields(&wide, WEIGHTS, None, None).unwrap().caption;
    assert_eq!(caption, "weights: 3 fields of 2 × 2");
}

#[test]
fn examples_with_columns_give_them_to_pictures() {
    for (shape, expected) in [
        (&[64][..], None),
        (&[20, 30], Some(30)),
        (&[28, 20, 1], Some(20)),
        (&[1, 28, 20], Some(20)),
        (&[32, 16, 3], Some(48)),
        (&[3, 32, 16], Some(16)),
        (&[], None),
    ] {
        assert_eq!(columns(shape), expected, "{shape:?}");
    }
}

#[test]
fn a_matrix_that_is_not_there_has_a_reason() {
    let schema = |targets: &str| {
        let json = format!(r#"{{"understood":"","shape":[4],"scale":1.0,"targets":{targets}}}"#);
        Schema::from_json(&json).unwrap()
    };
    let mut history = History::default();
    let many = schema("{\"classes\":200}");
    let text = no_matrix(&history, Some(&many));
    assert!(text.contains("nothing was evaluated") && text.contains("test_examples"), "{text}");
    let evaluation = r#"{"round":1,"epochs":1,"split":"test","examples":3}"#;
    history.evaluations.push(serde_json::from_str(evaluation).unwrap());
    assert!(no_matrix(&history, Some(&many)).contains("none of 200 classes"));
    let numbers = schema("{\"vector\":2}");
    assert!(no_matrix(&history, Some(&numbers)).contains("targets are numbers"));
    assert!(no_matrix(&history, None).ends_with("the model does not report it"));
}

#[test]
fn what_cannot_be_drawn_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.png");
    let out = out.to_str().unwrap();
    let state = folder.path().join("state.safetensors");
    for (more, expected) in [
        (&["--preview", "never"][..], "expected --out FILE.png"),
        (&["--out", out, "--tensor", "layer1.weights"], "found the tensors `labels`, `theta`"),
        (&["--out", out, "--tensor", "theta"], "two dimensions [inputs, neurons], found shape [3]"),
        (&["--out", out, "--tensor", "labels"], "an f32 tensor `labels`"),
        (&["--out", out, "--width", "5"], "--width: expected 1 to 4"),
        (&["--out", out, "--what", "theta", "--width", "2"], "belong to --what fields"),
        (&["--out", out, "--what", "curve"], "`coordinator run --output`"),
        (&["--out", out, "--what", "confusion"], "the history of a run, found none"),
        (&["--out", "missing/out.png"], "missing/out.png: cannot be written"),
        (&["--out", state.to_str().unwrap()], "another flag names the same file"),
    ] {
        let failure = plot_with(folder.path(), more).unwrap_err();
        assert_eq!(failure.exit(), Exit::BadInput, "{more:?}");
        let text = format!("{failure:?}").replace('\\', "");
        assert!(text.contains(expected), "{more:?}: {text}");
        assert!(!Path::new(out).exists(), "{more:?}");
    }
}

#[test]
fn the_picture_of_a_run_fails_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.png");
    draw_final(&state(), None, &path).unwrap();
    assert!(path.exists());
    let failure = draw_final(&NetworkState::default(), None, &path).unwrap_err();
    assert_eq!(failure.exit(), Exit::BadInput);
    assert!(format!("{failure:?}").contains("the run itself has succeeded"), "{failure:?}");
    assert!(check_plot(None, &[None]).is_ok());
    assert!(check_plot(Some(&path), &[None, Some(&path)]).is_err());
}
