//! Clients that say what they may not.

use bytes::Bytes;
use common::dataset::{Examples, Features, SplitManifest, TargetType};
use common::digest::Digest;
use common::id::{RunId, SubmissionKey};
use common::merge::MergeRule;
use common::run_settings::RunSettings;
use common::spec::Split;
use common::state::{ElementType, Layout, TensorLayout};
use common::wire::handshake;
use common::wire::message::{FromClient, FromWorker, Replay, Role};

use super::case::noise;
use super::live::meet;
use super::stranger::Stranger;

/// A run that does not exist.
const NO_RUN: RunId = RunId(999_999);

const SPEC: &str = "\
model = \"softmax\"
replicas = 2
batch_size = 1
epochs = 1
[dataset]
source = \"csv:nowhere.csv\"
";

/// Examples that no other run has.
fn examples() -> Examples {
    let features = Features::U8(vec![91, 92, 93, 94, 95, 96]);
    Examples::new(features, vec![0, 1, 1], 2, 2, 255.0).expect("the examples are right")
}

fn no_examples() -> SplitManifest {
    SplitManifest { examples: 0, chunks: Vec::new(), ..examples().manifest() }
}

/// What a submission is made of.
struct Parts {
    spec: String,
    train: SplitManifest,
    test: SplitManifest,
    state: Option<Layout>,
    settings: RunSettings,
    replay: Option<Replay>,
}

impl Parts {
    /// A submission that is right but for one thing.
    fn but(change: impl FnOnce(&mut Self)) -> FromClient {
        let (spec, train, test) = (SPEC.to_owned(), examples().manifest(), no_examples());
        let settings = RunSettings::default();
        let mut parts = Self { spec, train, test, state: None, settings, replay: None };
        change(&mut parts);
        let Self { spec, train, test, state, settings, replay } = parts;
        let key = SubmissionKey(7);
        FromClient::Submit {
            key,
            spec,
            schema: String::new(),
            train,
            test,
            state,
            settings,
            replay,
        }
    }
}

/// A client whose submission is wrong.
fn submits(name: &str, change: impl FnOnce(&mut Parts)) -> Stranger {
    Stranger::client(name).message(Parts::but(change))
}

fn tensor(name: &str, shape: &[u64]) -> TensorLayout {
    let (element, rule) = (ElementType::F32, MergeRule::Mean);
    TensorLayout { name: name.into(), shape: shape.to_vec(), element, rule }
}

/// What `softmax` makes of [`examples`].
fn layout() -> Layout {
    let mut counter = tensor("examples", &[1]);
    (counter.element, counter.rule) = (ElementType::U64, MergeRule::Sum);
    Layout { tensors: vec![tensor("bias", &[2]), counter, tensor("weights", &[2, 2])] }
}

fn chunk(chunk: u32, payload: impl Into<Bytes>) -> FromClient {
    FromClient::Chunk { split: Split::Train, chunk, payload: payload.into() }
}

fn segment(segment: u32, payload: &[u8]) -> FromClient {
    FromClient::StateSegment { segment, payload: payload.to_vec().into() }
}

#[test]
fn frames() {
    meet(vec![
        Stranger::client("a length of 4 GiB")
            .bytes([0xff; 4])
            .ends_closed(&["a frame of 4294967295 bytes", "at most 1114112"]),
        Stranger::client("a flood of noise").bytes(noise(1 << 20)).ends_closed(&["a frame of"]),
        Stranger::client("noise in a frame").frame(&noise(1000)).ends_closed(&["not a FromClient"]),
        Stranger::client("an empty frame").frame(&[]).ends_closed(&["not a FromClient"]),
        Stranger::client("half a frame, then silence")
            .bytes([0, 0, 1, 0, 0x81])
            .ends_closed(&["silent for 10"]),
        Stranger::client("half a frame, then the end")
            .bytes([0, 0, 1, 0, 0x81])
            .finish()
            .ends_closed(&["ended inside a frame"]),
        Stranger::client("silence").ends_closed(&["silent for 10"]),
        Stranger::client("a worker's message")
            .message(FromWorker::Draining)
            .ends_closed(&["not a FromClient", "Draining"]),
        Stranger::client("a second introduction")
            .message(handshake::hello(Role::Client))
            .ends_closed(&["not a FromClient"]),
        Stranger::client("a chunk without a submission")
            .message(chunk(0, vec![1]))
            .ends_closed(&["out of turn: a chunk without a submission"]),
        Stranger::client("a state without a submission")
            .message(segment(0, &[0; 8]))
            .ends_closed(&["out of turn: state segment 0"]),
        Stranger::client("a chunk too long")
            .message(chunk(0, vec![0; (1 << 20) + 1]))
            .ends_closed(&["not a FromClient", "at most 1048576 bytes"]),
    ]);
}

#[test]
fn requests() {
    let follow = FromClient::Follow { run: NO_RUN };
    meet(vec![
        Stranger::client("no such run to follow")
            .message(follow)
            .ends_rejected(&["run 999999 is unknown", "coordinator status"]),
        Stranger::client("no such run to fetch")
            .message(FromClient::Fetch { run: NO_RUN })
            .ends_rejected(&["run 999999 is unknown"]),
        Stranger::client("no such run to cancel")
            .message(FromClient::Cancel { run: NO_RUN })
            .ends_rejected(&["run 999999 is unknown"]),
    ]);
}

#[test]
fn submissions() {
    let mut wrong = examples().chunk(0).to_vec();
    wrong[0] ^= 1;
    let strange = [vec![0; 6], 7u32.to_le_bytes().repeat(3)].concat();
    let odd = Examples::new(Features::U8(vec![1, 2, 3]), vec![0], 3, 2, 255.0);
    let odd = odd.expect("the examples are right").manifest();
    let with_state = |name: &str| submits(name, |parts| parts.state = Some(layout()));
    meet(vec![
        submits("a spec that is no TOML", |parts| parts.spec = "model".into())
            .ends_rejected(&["the spec is not valid"]),
        submits("a spec of no replicas", |parts| {
            parts.spec = SPEC.replace("replicas = 2", "replicas = 0");
        })
        .ends_rejected(&["spec field `replicas`", "1 to 65536"]),
        submits("a spec too long", |parts| parts.spec += &"#".repeat(65 << 10))
            .ends_closed(&["FromClient message, field `spec`", "at most 65536"]),
        submits("an unknown model", |parts| parts.spec = SPEC.replace("softmax", "oracle"))
            .ends_rejected(&["oracle", "mlp, softmax"]),
        submits("a rule of no tensor", |parts| parts.spec += "[merge]\nnothing = \"sum\"\n")
            .ends_rejected(&["nothing"]),
        submits("nothing to learn from", |parts| parts.train = no_examples())
            .ends_rejected(&["training"]),
        submits("other examples to test with", |parts| parts.test = odd).ends_rejected(&[
            "Test split",
            "one shape in both splits, [2]",
            "[3] in the other",
        ]),
        submits("targets of another kind to test with", |parts| {
            parts.test = SplitManifest { targets: TargetType::Vector(1), ..parts.train.clone() };
        })
        .ends_rejected(&[
            "Test split",
            "one kind in both splits, 2 classes",
            "a number in the",
        ]),
        submits("a shape of other features", |parts| parts.train.shape = vec![3]).ends_closed(&[
            "field `train`",
            "a shape of 2 features",
            "3 in [3]",
        ]),
        submits("more numbers than a target may have", |parts| {
            parts.train.targets = TargetType::Vector(u32::MAX);
        })
        .ends_closed(&["field `train`", "numbers in a target from 1 to 65536"]),
        submits("fewer chunks than it says", |parts| parts.train.chunks.clear())
            .ends_closed(&["field `train`", "1 chunks"]),
        submits("more examples than there can be", |parts| parts.train.examples = u64::MAX)
            .ends_closed(&["field `train`", "18446744073709551615"]),
        submits("a scale of zero", |parts| parts.train.scale = 0.0)
            .ends_closed(&["field `train`", "scale"]),
        submits("more workers than can connect", |parts| {
            parts.settings.min_workers = Some(5000);
        })
        .ends_closed(&["field `min_workers`", "at most 4096"]),
        submits("a tensor twice", |parts| {
            parts.state = Some(Layout { tensors: vec![tensor("a", &[1]), tensor("a", &[1])] });
        })
        .ends_closed(&["field `state`", "every tensor once"]),
        submits("a tensor beyond all bounds", |parts| {
            parts.state = Some(Layout { tensors: vec![tensor("a", &[u64::MAX, u64::MAX])] });
        })
        .ends_closed(&["field `state`", "`a`"]),
        submits("a state larger than all memory", |parts| {
            parts.state = Some(Layout { tensors: vec![tensor("a", &[1 << 32])] });
        })
        .ends_rejected(&["bytes"]),
        submits("a state of another model", |parts| {
            parts.state = Some(Layout { tensors: vec![tensor("a", &[1])] });
        })
        .ends_rejected(&["the state does not fit"]),
        with_state("a segment too short").message(segment(0, &[0])).ends_rejected(&["`bias`"]),
        with_state("a segment out of turn")
            .message(segment(1, &[0; 8]))
            .ends_closed(&["out of turn: state segment 1"]),
        with_state("a segment that is not finite")
            .message(segment(0, &[0xff; 8]))
            .ends_rejected(&["`bias`", "finite", "NaN"]),
        submits("a chunk that was changed", |_| {})
            .hear_need()
            .message(chunk(0, wrong))
            .ends_rejected(&["Train split", "digest"]),
        submits("a chunk cut short", |_| {})
            .hear_need()
            .message(chunk(0, vec![1]))
            .ends_rejected(&["Train split", "bytes in chunk 0"]),
        submits("a label of no class", |parts| parts.train.chunks = vec![Digest::of(&strange)])
            .hear_need()
            .message(chunk(0, strange.clone()))
            .ends_rejected(&["labels below 2", "found 7"]),
        submits("a chunk that nobody asked for", |_| {})
            .hear_need()
            .message(chunk(5, vec![1]))
            .ends_closed(&["chunk 5", "was not asked for"]),
        submits("two submissions at once", |_| {})
            .message(Parts::but(|_| {}))
            .ends_closed(&["out of turn", "another is under way"]),
    ]);
}
