//! Compares the examples of `docs/PROTOCOL.md` with the bytes that are really sent.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::codec::{Frame, HEAD_BYTES, Message, decode, encode};
use super::handshake;
use super::message::{
    BlockDone, FromClient, FromWorker, Progress, Role, ShardDone, ToClient, ToWorker, Welcome,
};
use crate::dataset::{FeatureType, SplitManifest, TargetType};
use crate::digest::Digest;
use crate::id::{AssignmentId, Block, ProcessId, RunId, RunIdentity, StepId, WorkerId};
use crate::merge::{MergeRule, Partial, segment_hash};
use crate::plan::{BlockPlan, Task};
use crate::results::Results;
use crate::spec::Split;
use crate::state::{ElementType, Layout, TensorLayout};

pub(crate) const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

/// The document's examples by name: blocks fenced as `hex`, each with its name
/// in the first line. `#` begins a comment.
fn documented() -> BTreeMap<String, Vec<u8>> {
    let blocks = DOCUMENT.split("```hex\n").skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let example = |block: &str| {
        let name = block.lines().next().unwrap().trim_start_matches("# ").to_owned();
        let bytes = block
            .lines()
            .flat_map(|line| line.split('#').next().unwrap().split_whitespace())
            .map(|digits| u8::from_str_radix(digits, 16).unwrap());
        (name, bytes.collect())
    };
    blocks.map(example).collect()
}

/// A message's bytes on the wire, after checking that they read back.
fn wire<M: Message + Clone + PartialEq + std::fmt::Debug>(message: M) -> Vec<u8> {
    let Frame { head, body } = encode(message.clone());
    let bytes = [&head[..], &body[..]].concat();
    assert_eq!(decode::<M>(&Bytes::from(bytes[HEAD_BYTES..].to_vec())).unwrap(), message);
    bytes
}

/// The layout of the examples: one tensor.
pub(crate) fn layout() -> Layout {
    let (name, shape) = ("bias".into(), vec![2]);
    Layout {
        tensors: vec![TensorLayout {
            name,
            shape,
            element: ElementType::F32,
            rule: MergeRule::Mean,
        }],
    }
}

/// Its values, as a state segment and as a merge segment.
pub(crate) fn values() -> Bytes {
    [1.0f32, -0.5].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into()
}

/// The chunk of the examples: feature `f` of example `e` is `(e + f) mod 17`, and
/// its label is `e`.
pub(crate) fn chunk() -> Vec<u8> {
    let features = (0..3u8).flat_map(|example| (0..64).map(move |at| (example + at) % 17));
    features.chain((0..3u32).flat_map(u32::to_le_bytes)).collect()
}

/// The result of one replica, alone in its block.
pub(crate) fn block_done() -> BlockDone {
    let (values, weight) = (values(), 40);
    let results = Results {
        examples: weight,
        sums: [("loss".into(), 1.5)].into(),
        counts: [("correct".into(), vec![38])].into(),
        scores: Vec::new(),
    };
    let segment = segment_hash(&values);
    let partial = Partial::digest_of(weight, [segment]);
    let digest = Partial::shard_digest_of(partial, results.digest());
    let done = BlockDone {
        step: StepId { run: RunId(1), index: 3 },
        block: Block { level: 1, index: 2 },
        weight,
        results,
        digest: Digest::of(b""),
        shards: vec![ShardDone { digest, compute_us: 1250 }],
        partial_bytes: 8,
        compute_us: 1250,
        is_inline: true,
        payload: [&8u32.to_be_bytes()[..], &values].concat().into(),
    };
    BlockDone { digest: done.digest_of([segment]), ..done }
}

fn examples() -> BTreeMap<String, Vec<u8>> {
    let role = Role::Worker {
        name: "w1".into(),
        process: ProcessId(5),
        slots: 4,
        memory_limit: 2 << 30,
        cache_limit: 512 << 20,
    };
    let hello = super::message::Hello { build: "0.1.0".into(), ..handshake::hello(role) };
    let accepted = Welcome::Accepted {
        build: "0.1.0".into(),
        worker: Some(WorkerId(7)),
        heartbeat_timeout_ms: 10_000,
    };
    let run = RunId(1);
    let step = StepId { run, index: 3 };
    let block = Block { level: 1, index: 2 };
    let assignment = AssignmentId(9);
    let progress =
        vec![Progress { assignment, running: vec![4], shards_done: 1, examples_done: 130 }];
    let (task, positions) = (Task::Train, vec![160, 200]);
    let plan = BlockPlan { task, split: Split::Train, epoch: 1, positions };
    let manifest = |examples, chunks: &[&[u8]]| SplitManifest {
        examples,
        features: 64,
        shape: vec![8, 8],
        targets: TargetType::Classes(10),
        element: FeatureType::U8,
        scale: 16.0,
        chunk_examples: 15_420,
        chunks: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
    };
    let open = ToWorker::OpenRun {
        run,
        identity: RunIdentity(0x0123_4567_89ab_cdef_0011_2233_4455_6677),
        spec: "model = \"softmax\"\n".into(),
        model_version: 1,
        train: manifest(3, &[&chunk()]),
        test: manifest(0, &[]),
        layout: layout(),
        initial: None,
    };
    let values = values();
    [
        ("Hello of a worker", wire(hello)),
        ("Welcome: accepted", wire(accepted)),
        ("Welcome: refused", wire(Welcome::Refused { reason: "no".into(), may_pass: false })),
        ("ToWorker: Heartbeat", wire(ToWorker::Heartbeat)),
        ("FromWorker: Heartbeat", wire(FromWorker::Heartbeat { memory: 9_000_000, progress })),
        ("ToWorker: OpenRun", wire(open)),
        (
            "ToWorker: StateSegment",
            wire(ToWorker::StateSegment { step, segment: 0, payload: values.clone() }),
        ),
        (
            "ToWorker: Assign",
            wire(ToWorker::Assign { assignment, step, block, plan, confirm: false }),
        ),
        (
            "FromWorker: NeedChunks",
            wire(FromWorker::NeedChunks { run, split: Split::Train, chunks: vec![0] }),
        ),
        ("FromWorker: BlockDone", wire(FromWorker::BlockDone(block_done()))),
        ("ToWorker: Pull", wire(ToWorker::Pull { step, block, first: 0, count: 1 })),
        (
            "FromWorker: PartialSegment",
            wire(FromWorker::PartialSegment { step, block, segment: 0, payload: values }),
        ),
        ("FromClient: Follow", wire(FromClient::Follow { run })),
        (
            "ToClient: Rejected",
            wire(ToClient::Rejected { bad_input: true, reason: "no run 5".into() }),
        ),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

#[test]
fn the_documented_bytes_are_those_on_the_wire() {
    let (found, expected) = (documented(), examples());
    for (name, bytes) in &expected {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            found.get(name),
            Some(bytes),
            "docs/PROTOCOL.md should have, with any line breaks and comments:\n# {name}\n{}",
            hex.join(" ")
        );
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
}
