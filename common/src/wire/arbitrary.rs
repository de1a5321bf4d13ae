//! Strategies for messages: every variant, in and at the edge of its bounds.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::dataset::{FeatureType, SplitManifest, TargetType};
use crate::digest::Digest;
use crate::id::{AssignmentId, Block, ProcessId, RunId, StepId, SubmissionKey, WorkerId};
use crate::limits::{BLOCK_REPLICAS, EXAMPLES, HISTORY_BYTES, NAME_BYTES, SLOTS};
use crate::merge::MergeRule;
use crate::plan::{BlockPlan, Task};
use crate::results::Results;
use crate::run_settings::{CheckpointEvery, RunSettings};
use crate::run_state::{RunEnd, RunState};
use crate::spec::Split;
use crate::state::{ElementType, Layout, TensorLayout};
use crate::wire::message::{
    BlockDone, FromClient, FromWorker, Hello, Progress, Replay, Role, RunEvent, RunStatus,
    ShardDone, Status, ToClient, ToWorker, Welcome, WorkerStatus,
};
use crate::wire::shared_memory::{PARTIAL_SLOTS, SLOT_BYTES, STATE_SLOTS, UNREAD_STATE_SLOTS};
use crate::worker_event::WorkerEvent;

fn run() -> impl Strategy<Value = RunId> + Clone {
    any::<u64>().prop_map(RunId)
}

fn worker() -> impl Strategy<Value = WorkerId> {
    any::<u64>().prop_map(WorkerId)
}

fn assignment() -> impl Strategy<Value = AssignmentId> + Clone {
    any::<u64>().prop_map(AssignmentId)
}

fn step() -> impl Strategy<Value = StepId> + Clone {
    (run(), any::<u64>()).prop_map(|(run, index)| StepId { run, index })
}

fn block() -> impl Strategy<Value = Block> + Clone {
    (0u8..=32).prop_flat_map(|level| {
        (0..=u32::MAX >> level.min(31) >> (level / 32))
            .prop_map(move |index| Block { level, index })
    })
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn split() -> impl Strategy<Value = Split> + Clone {
    prop_oneof![Just(Split::Train), Just(Split::Test)]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.-]{1,12}", "\\PC{0,20}", Just("x".repeat(NAME_BYTES))]
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,80}"
}

/// Payloads around the sizes where MessagePack changes the length's form.
fn payload() -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![0usize..40, 250usize..260, Just(65_535), Just(65_536)];
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length].into())
}

fn results() -> impl Strategy<Value = Results> {
    let sums = btree_map(name(), any::<f64>(), 0..3);
    let counts = btree_map(name(), vec(any::<u64>(), 0..20), 0..3);
    let scores = vec(-1e30f32..1e30, 0..4);
    (any::<u64>(), sums, counts, scores).prop_map(|(examples, sums, counts, scores)| Results {
        examples,
        sums,
        counts,
        scores,
    })
}

fn layout() -> impl Strategy<Value = Layout> {
    let kind = prop_oneof![
        Just((ElementType::F32, MergeRule::Mean)),
        Just((ElementType::F32, MergeRule::MeanBy)),
        Just((ElementType::F32, MergeRule::Fold)),
        Just((ElementType::F32, MergeRule::Keep)),
        Just((ElementType::U64, MergeRule::Sum)),
        Just((ElementType::U64, MergeRule::Max)),
        Just((ElementType::F64, MergeRule::Mean)),
        Just((ElementType::F64, MergeRule::Fold)),
        Just((ElementType::I64, MergeRule::Sum)),
        Just((ElementType::I64, MergeRule::Keep)),
    ];
    let tensor = (vec(1u64..50, 1..4), kind);
    btree_map("[A-Za-z0-9_.-]{1,12}", tensor, 0..5).prop_map(|tensors| {
        let tensors = tensors.into_iter().map(|(name, (shape, (element, rule)))| TensorLayout {
            name,
            shape,
            element,
            rule,
        });
        Layout { tensors: tensors.collect() }
    })
}

fn manifest() -> impl Strategy<Value = SplitManifest> {
    let element = prop_oneof![Just(FeatureType::U8), Just(FeatureType::F32)];
    let targets = prop_oneof![
        Just(TargetType::None),
        (1u32..100).prop_map(TargetType::Classes),
        (1u32..10).prop_map(TargetType::Vector),
    ];
    let (shape, chunks) = (vec(1u32..10, 1..4), vec(digest(), 0..6));
    (shape, targets, element, 1u32..200, chunks, any::<bool>()).prop_map(
        |(shape, targets, element, chunk_examples, chunks, is_last_full)| {
            let full = chunks.len() as u64 * u64::from(chunk_examples);
            let missing = if is_last_full { 0 } else { u64::from(chunk_examples) - 1 };
            let examples = full.saturating_sub(missing);
            SplitManifest {
                examples,
                features: shape.iter().product(),
                shape,
                targets,
                element,
                scale: 255.0,
                chunk_examples,
                chunks,
            }
        },
    )
}

fn chunk_places() -> impl Strategy<Value = Vec<u32>> {
    vec(0u32..16_384, 0..40)
}

fn progress() -> impl Strategy<Value = Progress> {
    (assignment(), vec(any::<u32>(), 0..8), any::<u32>(), any::<u64>()).prop_map(
        |(assignment, running, shards_done, examples_done)| Progress {
            assignment,
            running,
            shards_done,
            examples_done,
        },
    )
}

fn block_done() -> impl Strategy<Value = BlockDone> {
    let numbers = (any::<u64>(), 0u64..65_536, any::<u64>());
    let digests = (digest(), vec(shard_done(), 0..6));
    (step(), block(), results(), digests, numbers, option::of(payload())).prop_map(
        |(step, block, results, (digest, shards), (weight, partial_bytes, compute_us), inline)| {
            // Scores are never beside a partial.
            let scores = if partial_bytes > 0 { Vec::new() } else { results.scores };
            let results = Results { scores, ..results };
            BlockDone {
                step,
                block,
                weight,
                results,
                digest,
                shards,
                partial_bytes,
                compute_us,
                is_inline: inline.is_some(),
                payload: inline.unwrap_or_default(),
            }
        },
    )
}

pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let limits = any::<[u64; 2]>();
    let worker = (name(), any::<u64>().prop_map(ProcessId), 1..=SLOTS, limits);
    let role = prop_oneof![
        Just(Role::Client),
        worker.prop_map(|(name, process, slots, [memory_limit, cache_limit])| Role::Worker {
            name,
            process,
            slots,
            memory_limit,
            cache_limit,
        }),
    ];
    (name(), any::<u32>(), name(), name(), role).prop_map(
        |(magic, protocol, build, numeric_profile, role)| Hello {
            magic,
            protocol,
            build,
            numeric_profile,
            role,
        },
    )
}

pub(crate) fn welcome() -> impl Strategy<Value = Welcome> {
    prop_oneof![
        (name(), option::of(worker()), 1..=u64::MAX).prop_map(
            |(build, worker, heartbeat_timeout_ms)| Welcome::Accepted {
                build,
                worker,
                heartbeat_timeout_ms
            }
        ),
        (text(), any::<bool>())
            .prop_map(|(reason, may_pass)| Welcome::Refused { reason, may_pass }),
    ]
}

pub(crate) fn from_worker() -> impl Strategy<Value = FromWorker> {
    prop_oneof![
        (any::<u64>(), vec(progress(), 0..6))
            .prop_map(|(memory, progress)| FromWorker::Heartbeat { memory, progress }),
        (run(), split(), chunk_places()).prop_map(|(run, split, chunks)| FromWorker::NeedChunks {
            run,
            split,
            chunks
        }),
        block_done().prop_map(FromWorker::BlockDone),
        run().prop_map(|run| FromWorker::Opened { run }),
        (run(), text()).prop_map(|(run, reason)| FromWorker::Cannot { run, reason }),
        (assignment(), step(), any::<u32>(), any::<bool>(), text()).prop_map(
            |(assignment, step, replica, fatal, error)| FromWorker::ShardFailed {
                assignment,
                step,
                replica,
                fatal,
                error,
            }
        ),
        assignment().prop_map(|assignment| FromWorker::Started { assignment }),
        assignment().prop_map(|assignment| FromWorker::HandedBack { assignment }),
        (step(), block(), any::<u32>(), payload()).prop_map(|(step, block, segment, payload)| {
            FromWorker::PartialSegment { step, block, segment, payload }
        }),
        (step(), block()).prop_map(|(step, block)| FromWorker::PartialMissing { step, block }),
        (step(), block(), any::<u32>(), 0..PARTIAL_SLOTS, 0..=SLOT_BYTES as u32).prop_map(
            |(step, block, segment, slot, bytes)| FromWorker::SegmentInMemory {
                step,
                block,
                segment,
                slot,
                bytes,
            }
        ),
        Just(FromWorker::SharesMemory),
        vec(0..STATE_SLOTS, 0..UNREAD_STATE_SLOTS)
            .prop_map(|slots| FromWorker::SlotsRead { slots }),
        Just(FromWorker::Draining),
        Just(FromWorker::Goodbye),
        text().prop_map(|reason| FromWorker::HangsUp { reason }),
    ]
}

/// Of one replica, of some, and of as many as a block may have.
fn block_plan() -> impl Strategy<Value = BlockPlan> {
    let task = prop_oneof![
        Just(Task::Train),
        Just(Task::Label),
        Just(Task::Evaluate),
        Just(Task::Predict)
    ];
    let few = vec(0..=EXAMPLES, 2..8).prop_map(|mut positions| {
        positions.sort_unstable();
        positions
    });
    let most = Just((EXAMPLES - u64::from(BLOCK_REPLICAS)..=EXAMPLES).collect::<Vec<_>>());
    (task, split(), any::<u64>(), prop_oneof![few, most])
        .prop_map(|(task, split, epoch, positions)| BlockPlan { task, split, epoch, positions })
}

fn opening() -> impl Strategy<Value = (RunId, u128, String, u32)> {
    (run(), any::<u128>(), text(), any::<u32>())
}

pub(crate) fn to_worker() -> impl Strategy<Value = ToWorker> {
    prop_oneof![
        Just(ToWorker::Heartbeat),
        (opening(), manifest(), manifest(), layout(), option::of(digest())).prop_map(
            |((run, identity, spec, model_version), train, test, layout, initial)| {
                ToWorker::OpenRun {
                    run,
                    identity: crate::id::RunIdentity(identity),
                    spec,
                    model_version,
                    train,
                    test,
                    layout,
                    initial,
                }
            }
        ),
        run().prop_map(|run| ToWorker::CloseRun { run }),
        (step(), any::<u32>(), payload()).prop_map(|(step, segment, payload)| {
            ToWorker::StateSegment { step, segment, payload }
        }),
        (name(), any::<u128>()).prop_map(|(socket, token)| ToWorker::OffersMemory {
            socket,
            token: crate::id::MemoryToken(token),
        }),
        (step(), any::<u32>(), 0..STATE_SLOTS, any::<u64>()).prop_map(
            |(step, segment, slot, hash)| ToWorker::StateInMemory { step, segment, slot, hash }
        ),
        vec(0..PARTIAL_SLOTS, 0..PARTIAL_SLOTS as usize)
            .prop_map(|slots| ToWorker::SlotsRead { slots }),
        (step(), step()).prop_map(|(step, as_of)| ToWorker::SameState { step, as_of }),
        (assignment(), step(), block(), block_plan(), any::<bool>()).prop_map(
            |(assignment, step, block, plan, confirm)| ToWorker::Assign {
                assignment,
                step,
                block,
                plan,
                confirm
            }
        ),
        assignment().prop_map(|assignment| ToWorker::Revoke { assignment }),
        (run(), split(), 0u32..16_384, payload()).prop_map(|(run, split, chunk, payload)| {
            ToWorker::Chunk { run, split, chunk, payload }
        }),
        (step(), block(), any::<u32>(), 1u32..100).prop_map(|(step, block, first, count)| {
            ToWorker::Pull { step, block, first: first.min(u32::MAX - count), count }
        }),
        step().prop_map(|step| ToWorker::StepDone { step }),
        text().prop_map(|reason| ToWorker::Goodbye { reason }),
    ]
}

fn settings() -> impl Strategy<Value = RunSettings> {
    let every = prop_oneof![
        (1..=u64::MAX).prop_map(CheckpointEvery::Rounds),
        (1u64..600_000).prop_map(CheckpointEvery::Seconds),
    ];
    let kept = option::of(1..=u32::MAX);
    let audit = option::of(0.0..=1.0);
    (option::of(0u32..100), option::of(every), kept, option::of(name()), audit).prop_map(
        |(min_workers, checkpoint_every, keep_checkpoints, log_level, audit)| RunSettings {
            min_workers,
            checkpoint_every,
            keep_checkpoints,
            log_level,
            audit,
        },
    )
}

fn replay() -> impl Strategy<Value = Option<Replay>> {
    option::of((any::<u32>(), 1..=u64::from(u32::MAX)))
        .prop_map(|steps| steps.map(|(first, steps)| Replay { first: first.into(), steps }))
}

fn shard_done() -> impl Strategy<Value = ShardDone> {
    (digest(), any::<u64>()).prop_map(|(digest, compute_us)| ShardDone { digest, compute_us })
}

fn key() -> impl Strategy<Value = SubmissionKey> {
    any::<u128>().prop_map(SubmissionKey)
}

pub(crate) fn from_client() -> impl Strategy<Value = FromClient> {
    prop_oneof![
        Just(FromClient::Heartbeat),
        (
            key(),
            (text(), text()),
            manifest(),
            manifest(),
            option::of(layout()),
            settings(),
            replay()
        )
            .prop_map(|(key, (spec, schema), train, test, state, settings, replay)| {
                FromClient::Submit { key, spec, schema, train, test, state, settings, replay }
            }),
        (run(), settings(), option::of(vec((name(), text()), 0..3)))
            .prop_map(|(run, settings, fork)| FromClient::Resume { run, settings, fork }),
        (split(), 0u32..16_384, payload()).prop_map(|(split, chunk, payload)| FromClient::Chunk {
            split,
            chunk,
            payload
        }),
        (any::<u32>(), payload())
            .prop_map(|(segment, payload)| FromClient::StateSegment { segment, payload }),
        run().prop_map(|run| FromClient::Follow { run }),
        run().prop_map(|run| FromClient::Fetch { run }),
        run().prop_map(|run| FromClient::Cancel { run }),
        Just(FromClient::Status),
    ]
}

pub(crate) fn to_client() -> impl Strategy<Value = ToClient> {
    prop_oneof![
        Just(ToClient::Heartbeat),
        text().prop_map(|reason| ToClient::Goodbye { reason }),
        (split(), chunk_places())
            .prop_map(|(split, chunks)| ToClient::NeedChunks { split, chunks }),
        (run(), option::of(text()))
            .prop_map(|(run, passed_over)| ToClient::Accepted { run, passed_over }),
        (any::<bool>(), text())
            .prop_map(|(bad_input, reason)| ToClient::Rejected { bad_input, reason }),
        event().prop_map(ToClient::Event),
        (run(), (any::<String>(), text()), layout(), digest(), 0..=HISTORY_BYTES as u64).prop_map(
            |(run, (spec, schema), layout, digest, history_bytes)| ToClient::State {
                run,
                spec,
                schema,
                layout,
                digest,
                history_bytes,
            }
        ),
        (any::<u32>(), payload()).prop_map(|(piece, payload)| ToClient::History { piece, payload }),
        (any::<u32>(), payload())
            .prop_map(|(segment, payload)| ToClient::StateSegment { segment, payload }),
        status().prop_map(ToClient::Status),
        run().prop_map(|run| ToClient::Cancelled { run }),
    ]
}

fn number() -> impl Strategy<Value = Option<f64>> {
    option::of(any::<f64>())
}

fn metrics() -> impl Strategy<Value = BTreeMap<String, f64>> {
    btree_map(name(), any::<f32>().prop_map(f64::from), 0..3)
}

fn warnings() -> impl Strategy<Value = BTreeMap<String, u64>> {
    btree_map(name(), any::<u64>(), 0..3)
}

fn event() -> impl Strategy<Value = RunEvent> {
    let counts = || any::<[u64; 4]>();
    prop_oneof![
        (run(), any::<u64>(), any::<u32>(), any::<u32>()).prop_map(
            |(run, ahead, workers, min_workers)| RunEvent::Queued {
                run,
                ahead,
                workers,
                min_workers
            }
        ),
        (run(), name(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(run, model, rounds, state_bytes, workers)| RunEvent::Started {
                run,
                model,
                rounds,
                state_bytes,
                workers,
            }
        ),
        (run(), counts(), number(), number(), metrics(), any::<[f32; 3]>(), any::<u32>()).prop_map(
            |(run, [round, rounds, epoch, examples], loss, accuracy, metrics, times, workers)| {
                let [compute_ms, synchronisation_ms, examples_per_second] =
                    times.map(|time| if time.is_nan() { 0.0 } else { f64::from(time) });
                RunEvent::Round {
                    run,
                    round,
                    rounds,
                    epoch,
                    examples,
                    loss,
                    accuracy,
                    metrics,
                    partial_bytes: examples,
                    compute_ms,
                    synchronisation_ms,
                    examples_per_second,
                    workers,
                }
            }
        ),
        (run(), any::<u64>(), any::<u64>())
            .prop_map(|(run, epochs, examples)| RunEvent::Labelled { run, epochs, examples }),
        (run(), any::<u64>(), any::<u64>()).prop_map(|(run, examples, of)| RunEvent::Predicted {
            run,
            examples,
            of
        }),
        (run(), any::<u64>(), split(), results(), number(), number()).prop_map(
            |(run, epochs, split, results, loss, accuracy)| RunEvent::Evaluation {
                run,
                epochs,
                split,
                results,
                loss,
                accuracy,
            }
        ),
        (run(), name(), select(&WorkerEvent::ALL[..]), text()).prop_map(
            |(run, worker, what, detail)| { RunEvent::Worker { run, worker, what, detail } }
        ),
        (run(), digest(), counts(), number(), number(), warnings()).prop_map(
            |(run, digest, [rounds, examples, ..], loss, accuracy, warnings)| RunEvent::Finished {
                run,
                digest,
                rounds,
                examples,
                seconds: 1.5,
                loss,
                accuracy,
                synchronisation_share: 0.25,
                warnings,
                offered: rounds,
                audited: rounds / 2,
                unaudited: examples / 2,
                unsaved: (examples % 2 == 0).then(|| "no room".into()),
            }
        ),
        (run(), any::<[u64; 2]>(), option::of(text())).prop_map(
            |(run, [round, rounds], passed_over)| RunEvent::Resumed {
                run,
                round,
                rounds,
                passed_over
            }
        ),
        (run(), any::<[u64; 2]>(), digest()).prop_map(|(run, [round, bytes], digest)| {
            RunEvent::Checkpoint { run, round, digest, bytes, ms: 0.5 }
        }),
        (run(), any::<u64>(), text()).prop_map(|(run, round, error)| RunEvent::CheckpointFailed {
            run,
            round,
            error
        }),
        (run(), any::<u64>(), any::<u32>(), vec(shard_done(), 0..4))
            .prop_map(|(run, step, first, shards)| RunEvent::Shards { run, step, first, shards }),
        (run(), any::<u64>(), digest()).prop_map(|(run, step, digest)| RunEvent::State {
            run,
            step,
            digest
        }),
        (run(), text()).prop_map(|(run, reason)| RunEvent::Failed { run, reason }),
        run().prop_map(|run| RunEvent::Cancelled { run }),
    ]
}

fn status() -> impl Strategy<Value = Status> {
    let who = (worker(), name(), name(), name(), option::of(text()));
    let worker = (who, any::<(u32, bool)>(), any::<[u64; 4]>()).prop_map(
        |(who, (slots, shares_memory), [memory, memory_limit, shards_done, last_heard_ms])| {
            let (id, name, address, state, cannot) = who;
            WorkerStatus {
                id,
                name,
                address,
                slots,
                shares_memory,
                memory,
                memory_limit,
                state,
                cannot,
                shards_done,
                last_heard_ms,
            }
        },
    );
    let saved = (option::of(any::<u64>()), any::<[bool; 2]>());
    let digest = option::of(digest());
    let states = [RunEnd::Finished, RunEnd::Failed, RunEnd::Cancelled].map(RunState::from);
    let states = [&states[..], &[RunState::Queued, RunState::Running, RunState::SetAside]].concat();
    let named = (run(), name(), select(states), option::of(name()));
    let run = (named, any::<[u64; 2]>(), number(), digest, saved).prop_map(
        |(named, [round, rounds], loss, digest, (checkpoint, [unsaved, replay]))| {
            let (id, model, state, waits_for) = named;
            RunStatus {
                id,
                model,
                state,
                waits_for,
                round,
                rounds,
                loss,
                digest,
                checkpoint,
                unsaved,
                replay,
            }
        },
    );
    let admission = (any::<bool>(), any::<u64>(), option::of(text()), any::<bool>());
    let all = (name(), admission, vec(worker, 0..4), vec(run, 0..4));
    all.prop_map(|(build, (insecure, refused, unrecorded, thinned), workers, runs)| Status {
        insecure,
        refused,
        unrecorded,
        thinned,
        build,
        workers,
        runs,
    })
}
