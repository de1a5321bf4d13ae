//! All limits of Samebit, by name. A length, count, queue or wait without a name here (or
//! beside its only use) is a defect.

use std::time::Duration;

/// Largest payload of one data message: a segment of a state or of a partial,
/// or a chunk of a dataset, in bytes.
pub const PAYLOAD_BYTES: usize = 1 << 20;

/// Largest frame on the wire after the handshake, in bytes: a payload and the rest of its
/// message.
pub const FRAME_BYTES: usize = PAYLOAD_BYTES + (64 << 10);

/// Largest frame of the handshake, in bytes.
pub const HANDSHAKE_FRAME_BYTES: usize = 16 << 10;

/// Partials up to this size are sent with the message that reports the block.
pub const INLINE_PARTIAL_BYTES: u64 = 512 << 10;

/// Most bytes in a name (of a tensor, worker, model, dataset source).
pub const NAME_BYTES: usize = 128;

/// Most bytes of a spec's text.
pub const SPEC_BYTES: usize = 64 << 10;

/// Limit of a schema, the names and scales of a dataset's columns and classes, in bytes of JSON.
pub const SCHEMA_BYTES: usize = 384 << 10;

/// Most bytes of a text in a message: an error, a reason, a detail.
pub const TEXT_BYTES: usize = 16 << 10;

/// Most named sums, and most named counts, in the results of a shard.
pub const RESULT_NAMES: usize = 64;

/// Most counts in the results of a shard, of all names together: more than a confusion matrix
/// of 256 classes, or counts of 10 classes for 11,000 units. A count takes up to 9 bytes in a
/// frame of [`FRAME_BYTES`].
pub const RESULT_COUNTS: usize = 112 << 10;

/// Most counts beside a partial that is not empty: the partial, or the hashes of its segments,
/// take half a frame.
pub const PARTIAL_RESULT_COUNTS: usize = RESULT_COUNTS / 2;

/// Most scores of one step of a prediction, in f32: encoded, with 5 bytes each, they take half a
/// frame. A step has the scores of at least one example.
pub const STEP_SCORES: usize = PAYLOAD_BYTES / 2 / 5;

/// Most scores of all examples of a prediction together: 1 GiB of f32.
pub const SCORES: u64 = 1 << 28;

/// Longest history of a run, in bytes of JSON: 512 rounds, 512 evaluations and
/// [`RESULT_COUNTS`] counts.
pub const HISTORY_BYTES: usize = 3 << 20;

/// Most workers that a status names, those with the lowest ids first.
pub const STATUS_WORKERS: usize = 2048;

/// Most workers for which a status says why they cannot work on the active run.
pub const STATUS_UNFIT: usize = 16;

/// Most bytes of that reason.
pub const STATUS_REASON_BYTES: usize = 1 << 10;

/// Most tensors in a state.
pub const TENSORS: usize = 256;

/// Most dimensions of a tensor.
pub const DIMENSIONS: usize = 8;

/// Most merge segments of a state: their hashes, 16 bytes each, take half a frame.
pub const MERGE_SEGMENTS: usize = 32 << 10;

/// Most elements of all tensors of a state together (16 GiB of f32, 32 GiB of other types).
pub const STATE_ELEMENTS: u64 = 1 << 32;

/// Most replicas of a block that is handed to a worker: the message that reports it has an
/// entry for each of its shards.
pub const BLOCK_REPLICAS: u32 = 1 << 10;

/// Most replicas of a run.
pub const MAX_REPLICAS: u32 = 1 << 16;

/// Most examples in one split of a dataset.
pub const EXAMPLES: u64 = 1 << 31;

/// Most features of one example.
pub const FEATURES: u32 = 1 << 18;

/// Most classes of a dataset.
pub const CLASSES: u32 = 1 << 16;

/// Most numbers in the target of one example.
pub const TARGET_NUMBERS: u32 = 1 << 16;

/// Most chunks of one split of a dataset.
pub const DATASET_CHUNKS: usize = 16 << 10;

/// Largest window in which examples are shuffled, in MiB of chunks: all chunks
/// of a split.
pub const SHUFFLE_WINDOW: u32 = 16 << 10;

/// Most slots that a worker may offer.
pub const SLOTS: u32 = 1024;

/// Time limit of a handshake, including TLS.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval of heartbeats.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Default silence after which a peer counts as lost.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// Default number of workers that may die while running one shard before it fails the run.
pub const CRASH_LIMIT: u32 = 3;

/// Times that a shard may report an error before it fails the run.
pub const SHARD_ERROR_LIMIT: u32 = 2;

/// Copies of one block that may run at the same time.
pub const BLOCK_COPIES: usize = 2;

/// Most connections of workers and clients at one time, after the handshake.
pub const CONNECTIONS: usize = 4096;

/// Most connections that have not finished the handshake. A new one evicts the oldest. A
/// legitimate peer finishes within milliseconds, so idle connections cannot lock it out.
pub const HANDSHAKES: usize = 1024;

/// Control messages that may wait for one connection.
pub const CONTROL_QUEUE: usize = 1024;

/// Data transfers (whole states, partials, chunk lists) that may wait for one
/// connection.
pub const DATA_QUEUE: usize = 64;

/// Default number of blocks that are in flight at a worker. Further blocks wait at the
/// coordinator.
pub const ASSIGNMENTS: usize = 128;

/// Most pulls in flight, over all workers.
pub const PULLS: usize = 512;

/// Most finished blocks that a worker offers at once, and most that it keeps of steps before
/// the latest one.
pub const OFFERS: usize = 512;

/// Control messages other than those about blocks: heartbeats, opened and closed runs, finished
/// steps. As many may have waited as data transfers.
pub const OTHER_CONTROL: usize = 2 * DATA_QUEUE;

// In one turn the coordinator may revoke all blocks of a worker, assign as many again, and
// request every segment of a merge.
const _: () = assert!(2 * ASSIGNMENTS + PULLS + OTHER_CONTROL <= CONTROL_QUEUE);

// A worker that reconnects offers its kept blocks, and may then finish or return all blocks
// that it gets.
const _: () = assert!(OFFERS + 2 * ASSIGNMENTS + OTHER_CONTROL <= CONTROL_QUEUE);

// One late heartbeat must not make a peer count as lost.
const _: () = assert!(HEARTBEAT_TIMEOUT.as_millis() >= 3 * HEARTBEAT_INTERVAL.as_millis());

// The report of a finished block fits into its frame: counts of up to 9 bytes, and half a
// frame for its partial or for the hashes of its segments.
const _: () = assert!(9 * RESULT_COUNTS <= FRAME_BYTES);
const _: () = assert!(INLINE_PARTIAL_BYTES as usize + 9 * PARTIAL_RESULT_COUNTS <= FRAME_BYTES);
const _: () = assert!(16 * MERGE_SEGMENTS + 9 * PARTIAL_RESULT_COUNTS <= FRAME_BYTES);
const _: () = assert!(5 * STEP_SCORES + 9 * PARTIAL_RESULT_COUNTS <= FRAME_BYTES);

// An example of a prediction has a score for each class, or the numbers of a target.
const _: () = assert!(CLASSES as usize <= STEP_SCORES && TARGET_NUMBERS as usize <= STEP_SCORES);

/// Most runs that a coordinator queues or remembers.
pub const RUNS: usize = 1024;

/// Longest wait between two attempts to reach the coordinator.
pub const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// Wait before the first retry to reach the coordinator.
pub const RECONNECT_MIN: Duration = Duration::from_millis(50);
