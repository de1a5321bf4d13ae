//! Every bound of Samebit, by name. A length, count, queue or wait that has
//! no name here (or beside the one place that uses it) is a defect.

use std::time::Duration;

/// Largest payload of one data message: a segment of a state or of a partial,
/// or a chunk of a dataset, in bytes.
pub const PAYLOAD_BYTES: usize = 1 << 20;

/// Largest frame on the wire once a peer is known, in bytes: a payload and
/// what is said around it.
pub const FRAME_BYTES: usize = PAYLOAD_BYTES + (64 << 10);

/// Largest frame of the handshake, in bytes.
pub const HANDSHAKE_FRAME_BYTES: usize = 16 << 10;

/// Partials up to this many bytes ride along with the news that they are done.
pub const INLINE_PARTIAL_BYTES: u64 = 512 << 10;

/// Most bytes in a name (of a tensor, worker, model, dataset source).
pub const NAME_BYTES: usize = 128;

/// Most bytes of a spec's text.
pub const SPEC_BYTES: usize = 64 << 10;

/// Most bytes of a text in a message: an error, a reason, a detail.
pub const TEXT_BYTES: usize = 16 << 10;

/// Most named sums, and most named counts, in the results of a shard.
pub const RESULT_NAMES: usize = 64;

/// Most counts in the results of a shard, those of all names together: more
/// than a confusion matrix of 256 classes, or what 11,000 units saw of 10
/// classes each. A count takes up to 9 bytes in a frame of [`FRAME_BYTES`].
pub const RESULT_COUNTS: usize = 112 << 10;

/// Most counts beside a partial that is not empty: it, or what its segments are
/// known by, takes half a frame.
pub const PARTIAL_RESULT_COUNTS: usize = RESULT_COUNTS / 2;

/// Longest history of a run, in bytes of JSON: 512 rounds, 512 evaluations and
/// [`RESULT_COUNTS`] counts.
pub const HISTORY_BYTES: usize = 3 << 20;

/// Most workers that a status names, those with the lowest ids first.
pub const STATUS_WORKERS: usize = 2048;

/// Most of them of whom a status says why they cannot work on the active run.
pub const STATUS_UNFIT: usize = 16;

/// Most bytes of what it says of each.
pub const STATUS_REASON_BYTES: usize = 1 << 10;

/// Most tensors in a state.
pub const TENSORS: usize = 256;

/// Most dimensions of a tensor.
pub const DIMENSIONS: usize = 8;

/// Most merge segments of a state: what they are known by, 16 bytes each, takes
/// half a frame.
pub const MERGE_SEGMENTS: usize = 32 << 10;

/// Most elements of all tensors of a state together (16 GiB of f32).
pub const STATE_ELEMENTS: u64 = 1 << 32;

/// Most replicas of a block that is handed to a worker: what is said of each of
/// its shards must fit the message that says it is done.
pub const BLOCK_REPLICAS: u32 = 1 << 10;

/// Most replicas of a run.
pub const REPLICAS: u32 = 1 << 16;

/// Most examples in one split of a dataset.
pub const EXAMPLES: u64 = 1 << 31;

/// Most features of one example.
pub const FEATURES: u32 = 1 << 18;

/// Most classes of a dataset.
pub const CLASSES: u32 = 1 << 16;

/// Most chunks of one split of a dataset.
pub const DATASET_CHUNKS: usize = 16 << 10;

/// Largest window in which examples are shuffled, in MiB of chunks: all chunks
/// of a split.
pub const SHUFFLE_WINDOW: u32 = 16 << 10;

/// Most slots that a worker may offer.
pub const SLOTS: u32 = 1024;

/// Time that a connection has to say who it is, TLS included.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a worker and its coordinator say that they live.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Silence after which a peer counts as lost, unless configured.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);

/// Workers that may die while running one shard before it fails the run,
/// unless configured.
pub const CRASH_LIMIT: u32 = 3;

/// Times that a shard may report an error before it fails the run.
pub const SHARD_ERROR_LIMIT: u32 = 2;

/// Copies of one block that may run at the same time.
pub const BLOCK_COPIES: usize = 2;

/// Most connections of workers and clients at one time, once they are known.
pub const CONNECTIONS: usize = 4096;

/// Most connections at one time that have not said who they are. One more takes
/// the place of the oldest one.
pub const HANDSHAKES: usize = 1024;

/// Control messages that may wait for one connection.
pub const CONTROL_QUEUE: usize = 1024;

/// Data transfers (whole states, partials, chunk lists) that may wait for one
/// connection.
pub const DATA_QUEUE: usize = 64;

/// Blocks that a worker has in hands at one time, unless configured. What is left
/// over waits at the coordinator.
pub const ASSIGNMENTS: usize = 128;

/// Pulls that a coordinator has under way at one time, at all workers together.
pub const PULLS: usize = 512;

/// Finished blocks that a worker offers at once, and, of steps before the latest
/// one, keeps.
pub const OFFERS: usize = 512;

/// Control messages beside those of blocks: heartbeats, runs that open and close,
/// steps that are over, of which as many may have waited as data.
pub const OTHER_CONTROL: usize = 2 * DATA_QUEUE;

// A worker that loses all it has in hands, is given as much again and is asked for
// every piece of a merge hears of all that in one turn of its coordinator.
const _: () = assert!(2 * ASSIGNMENTS + PULLS + OTHER_CONTROL <= CONTROL_QUEUE);

// A worker that reconnects offers what it kept, and may then end, or give back, all
// that it is given.
const _: () = assert!(OFFERS + 2 * ASSIGNMENTS + OTHER_CONTROL <= CONTROL_QUEUE);

// A peer that is heard as often as it should be is not lost for one word that is late.
const _: () = assert!(HEARTBEAT_TIMEOUT.as_millis() >= 3 * HEARTBEAT_INTERVAL.as_millis());

// What is said of a finished block fits its frame: counts of up to 9 bytes, and half
// a frame of what its partial, or its segments, are known by.
const _: () = assert!(9 * RESULT_COUNTS <= FRAME_BYTES);
const _: () = assert!(INLINE_PARTIAL_BYTES as usize + 9 * PARTIAL_RESULT_COUNTS <= FRAME_BYTES);
const _: () = assert!(16 * MERGE_SEGMENTS + 9 * PARTIAL_RESULT_COUNTS <= FRAME_BYTES);

/// Runs that may wait or be remembered at one time.
pub const RUNS: usize = 1024;

/// Longest wait between two tries to reach the coordinator.
pub const RECONNECT_MAX: Duration = Duration::from_secs(5);

/// First wait before a worker tries again to reach the coordinator.
pub const RECONNECT_MIN: Duration = Duration::from_millis(50);
