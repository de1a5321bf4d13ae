//! Workers that say what they may not.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::digest::Digest;
use common::id::{AssignmentId, Block, RunId, StepId};
use common::results::Results;
use common::spec::Split;
use common::wire::message::{BlockDone, FromClient, FromWorker, Progress};

use super::case::noise;
use super::live::meet;
use super::stranger::Stranger;

/// A run that does not exist.
const NO_RUN: RunId = RunId(999_999);
const NO_STEP: StepId = StepId { run: NO_RUN, index: 0 };
const NO_ASSIGNMENT: AssignmentId = AssignmentId(u64::MAX);
const BLOCK: Block = Block { level: 0, index: 0 };

fn worker(name: &str, message: FromWorker) -> Stranger {
    Stranger::worker(name).message(message)
}

/// A finished block but for one thing.
fn done(name: &str, change: impl FnOnce(&mut BlockDone)) -> Stranger {
    let mut done = BlockDone {
        step: NO_STEP,
        block: BLOCK,
        weight: 1,
        results: Results::default(),
        digest: Digest::of(b""),
        shards: Vec::new(),
        partial_bytes: 0,
        compute_us: 1,
        is_inline: false,
        payload: Bytes::new(),
    };
    change(&mut done);
    worker(name, FromWorker::BlockDone(done))
}

#[test]
fn frames() {
    meet(vec![
        Stranger::worker("a length of 4 GiB")
            .bytes([0xff; 4])
            .ends_closed(&["a frame of 4294967295 bytes", "at most 1114112"]),
        Stranger::worker("a frame just past the limit")
            .bytes(1_114_113u32.to_be_bytes())
            .ends_closed(&["a frame of 1114113 bytes"]),
        Stranger::worker("a flood of noise").bytes(noise(1 << 20)).ends_closed(&["a frame of"]),
        Stranger::worker("noise in a frame").frame(&noise(1000)).ends_closed(&["not a FromWorker"]),
        Stranger::worker("an empty frame").frame(&[]).ends_closed(&["not a FromWorker"]),
        Stranger::worker("half a frame, then silence")
            .bytes([0, 0, 1, 0, 0x81])
            .ends_closed(&["silent for 10"]),
        Stranger::worker("half a frame, then the end")
            .bytes([0, 0, 1, 0, 0x81])
            .finish()
            .ends_closed(&["ended inside a frame"]),
        Stranger::worker("the end without goodbye").finish().ends_closed(&["closed by the peer"]),
        Stranger::worker("the end with a reason")
            .message(FromWorker::HangsUp { reason: "it was all noise".into() })
            .ends_closed(&["it hung up: it was all noise"]),
        Stranger::worker("a client's message")
            .message(FromClient::Status)
            .ends_closed(&["not a FromWorker", "Status"]),
    ]);
}

#[test]
fn messages_out_of_turn_or_out_of_bounds() {
    let progress =
        |running| Progress { assignment: NO_ASSIGNMENT, running, shards_done: 1, examples_done: 1 };
    let beat = |progress| FromWorker::Heartbeat { memory: 1, progress };
    let need = |run, chunks| FromWorker::NeedChunks { run, split: Split::Train, chunks };
    let piece = |step, payload: Vec<u8>| FromWorker::PartialSegment {
        step,
        block: BLOCK,
        segment: 7,
        payload: payload.into(),
    };
    let failed = |error| FromWorker::ShardFailed {
        assignment: NO_ASSIGNMENT,
        step: NO_STEP,
        replica: 0,
        fatal: true,
        error,
    };
    let names = (0..65).map(|name| (name.to_string(), 0.0));
    let results = Results { sums: BTreeMap::from_iter(names), ..Results::default() };
    meet(vec![
        done("a block of a run that does not exist", |_| {}).ends_closed(&[
            "out of turn",
            "999999",
            "has not begun",
        ]),
        done("a block of more replicas than there can be", |done| done.block.level = 60)
            .ends_closed(&["FromWorker message, field `block`", "below 2^32"]),
        done("segments known by half", |done| done.payload = Bytes::from_static(b"x"))
            .ends_closed(&["field `payload`", "16 bytes a segment"]),
        done("a partial too large to be inline", |done| {
            (done.is_inline, done.partial_bytes) = (true, u64::MAX);
        })
        .ends_closed(&["field `partial_bytes`", "at most 524288"]),
        done("results without end", |done| done.results = results)
            .ends_closed(&["field `results.sums`", "at most 64 names"]),
        worker("a segment nobody asked for", piece(NO_STEP, vec![0; 4]))
            .ends_closed(&["out of turn: segment 7", "was not asked for"]),
        worker("a segment too long", piece(NO_STEP, vec![0; (1 << 20) + 1])).ends_closed(&[
            "not a FromWorker",
            "at most 1048576 bytes",
            "1048577",
        ]),
        worker("examples of a run that does not exist", need(NO_RUN, vec![0]))
            .ends_closed(&["out of turn: no run 999999 was opened"]),
        worker("examples that no run can have", need(RunId(1), vec![u32::MAX])).ends_closed(&[
            "field `chunks`",
            "below 16384",
            "4294967295",
        ]),
        worker("progress on more than there can be", beat(vec![progress(vec![0]); 2000]))
            .ends_closed(&["field `progress`", "at most 1024"]),
        worker("more replicas at once than slots", beat(vec![progress(vec![0; 2000])]))
            .ends_closed(&["field `progress.running`", "at most 1024"]),
        worker("progress on nothing", beat(vec![progress(vec![3])])).ends_ignored(),
        worker("a failure of nothing", failed("no reason".into())).ends_ignored(),
        worker("a failure with a long story", failed("x".repeat(1 << 20))).ends_ignored(),
        worker("work handed back that it never had", {
            FromWorker::HandedBack { assignment: NO_ASSIGNMENT }
        })
        .ends_closed(&["out of turn", "did not announce that it drains"]),
        worker("the lack of what nobody asked for", {
            FromWorker::PartialMissing { step: NO_STEP, block: BLOCK }
        })
        .ends_ignored(),
        worker("draining twice", FromWorker::Draining).message(FromWorker::Draining).ends_ignored(),
    ]);
}
