//! Specs: all of them are found wrong before a coordinator is asked.

use super::case::{Case, check};

/// A spec that is right.
const RIGHT: &str = "\
model = \"mlp\"
seed = 1
replicas = 2
batch_size = 10
update_interval = 1
epochs = 1
[parameters]
learning_rate = 0.1
[dataset]
source = \"digits\"
";

/// `coordinator run` with this spec.
fn with_spec(name: &str, text: impl Into<Vec<u8>>) -> Case {
    let args = "run DIR/spec.toml --coordinator 127.0.0.1:1";
    Case::coordinator(name, args).file("spec.toml", text)
}

/// The right spec with one part replaced.
fn but(name: &str, part: &str, by: &str) -> Case {
    assert!(RIGHT.contains(part), "{part:?} is no part of the spec");
    with_spec(name, RIGHT.replacen(part, by, 1))
}

#[test]
fn texts() {
    let huge = format!("{RIGHT}# {}\n", "x".repeat(64 << 10));
    let deep = format!("{RIGHT}[merge]\nx = {}1{}", "[".repeat(30_000), "]".repeat(30_000));
    check(vec![
        with_spec("empty", "").says(&["missing field `model`", "DIR/spec.toml"]),
        with_spec("not TOML", "model: mlp").says(&["spec DIR/spec.toml", "line 1"]),
        with_spec("not text", [0xff, 0xfe, 0xfd]).says(&["spec DIR/spec.toml", "UTF-8"]),
        with_spec("huge", huge).says(&["spec DIR/spec.toml", "at most 65536 bytes"]),
        with_spec("deep", deep).says(&["spec DIR/spec.toml", "recursion depth"]),
        but("a key twice", "seed = 1", "seed = 1\nseed = 2").says(&["duplicate key", "seed"]),
        but("no model", "model = \"mlp\"\n", "").says(&["missing field `model`"]),
        but("no data", "[dataset]\nsource = \"digits\"\n", "").says(&["missing field `dataset`"]),
        but("an unknown field", "seed = 1", "sed = 1").says(&["unknown field `sed`", "`seed`"]),
        but("an unknown field inside", "source", "sauce")
            .says(&["unknown field `sauce`", "`source`"]),
        but("a text for a number", "replicas = 2", "replicas = \"two\"")
            .says(&["replicas", "\"two\""]),
        but("a fraction for a count", "batch_size = 10", "batch_size = 1.5")
            .says(&["batch_size", "1.5"]),
    ]);
}

#[test]
fn fields() {
    check(vec![
        but("an empty name", "\"mlp\"", "\"\"").says(&["`model`", "1 to 128 bytes"]),
        but("a negative seed", "seed = 1", "seed = -1").says(&["seed", "-1"]),
        but("no replicas", "replicas = 2", "replicas = 0").says(&["`replicas`", "1 to 65536", "0"]),
        but("too many replicas", "replicas = 2", "replicas = 65537").says(&[
            "`replicas`",
            "1 to 65536",
            "65537",
        ]),
        but("no batch", "batch_size = 10", "batch_size = 0").says(&["`batch_size`", "found 0"]),
        but("no interval", "update_interval = 1", "update_interval = 0")
            .says(&["`update_interval`", "found 0"]),
        but("no epoch", "epochs = 1", "epochs = 0").says(&["`epochs`", "found 0"]),
        but("no round", "epochs = 1", "rounds = 0").says(&["`rounds`", "found 0"]),
        but("no end", "epochs = 1", "").says(&["`epochs`", "exactly one", "neither"]),
        but("two ends", "epochs = 1", "epochs = 1\nrounds = 2").says(&[
            "`rounds`",
            "exactly one",
            "epochs = 1 and rounds = 2",
        ]),
        but(
            "rounds beyond all bounds",
            "batch_size = 10\nupdate_interval = 1",
            "batch_size = 4294967295\nupdate_interval = 4294967295",
        )
        .says(&["`batch_size`", "below 2^63", "2 × 4294967295 × 4294967295"]),
        with_spec("no examples to a shard", format!("{RIGHT}[evaluation]\nshard_size = 0"))
            .says(&["`evaluation.shard_size`", "found 0"]),
        with_spec("a split that is none", format!("{RIGHT}[evaluation]\nsplit = \"dev\"")).says(&[
            "unknown variant `dev`",
            "`train`",
            "`test`",
        ]),
        but("a scale of zero", "\"digits\"", "\"digits\"\nscale = 0.0")
            .says(&["`dataset.scale`", "above 0"]),
        but("an endless scale", "\"digits\"", "\"digits\"\nscale = inf").says(&[
            "`dataset.scale`",
            "finite",
            "inf",
        ]),
        but("no classes", "\"digits\"", "\"digits\"\nclasses = 0")
            .says(&["`dataset.classes`", "found 0"]),
    ]);
}

#[test]
fn models_and_merge_rules() {
    let merge = |name: &str, rules: &str| with_spec(name, format!("{RIGHT}[merge]\n{rules}"));
    let rate = "learning_rate = 0.1";
    check(vec![
        but("an unknown model", "\"mlp\"", "\"transformer\"")
            .says(&["`transformer`", "mlp, softmax"]),
        but("an unknown parameter", rate, "learning_speed = 1")
            .says(&["`learning_speed`", "`learning_rate`"]),
        but("a parameter out of range", rate, "learning_rate = -0.5").says(&[
            "`learning_rate`",
            "from",
            "-0.5",
        ]),
        but("a parameter of the wrong type", rate, "learning_rate = \"fast\"")
            .says(&["`learning_rate`", "\"fast\""]),
        but("a parameter that is no number", rate, "learning_rate = nan").says(&[
            "`parameters.learning_rate`",
            "finite",
            "NaN",
        ]),
        but("a word that is none", rate, "momentum_state = \"global\"").says(&[
            "`momentum_state`",
            "`local`",
            "global",
        ]),
        but("a layer of nothing", rate, "hidden = [16, 0]")
            .says(&["`hidden`", "from 1", "[16, 0]"]),
        but("layers without end", rate, &format!("hidden = {:?}", [8; 33]))
            .says(&["`hidden`", "at most 32"]),
        but("a network too large", rate, "hidden = [65536, 65536]")
            .says(&["weights together", "4299948042"]),
        merge("an unknown rule", "\"layer1.bias\" = \"median\"").says(&[
            "unknown variant `median`",
            "`mean`",
            "`fold`",
        ]),
        merge("a rule of no tensor", "weights = \"mean\"").says(&["`merge`", "weights"]),
        merge("a rule that counters cannot have", "examples = \"mean\"").says(&[
            "`merge`",
            "`examples`",
            "`mean`",
            "u64",
        ]),
        merge("a rule with an empty name", "\"\" = \"mean\"").says(&["merge", "1 to 128 bytes"]),
    ]);
}
