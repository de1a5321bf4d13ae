//! Workers with keys that do not say what they computed, and what becomes of
//! their runs. Each is a worker whose words are bent on their way.

use bytes::Bytes;
use common::digest::Digest;
use common::keys::{Keys, Member};
use common::limits::FRAME_BYTES;
use common::merge::{Partial, segment_hash};
use common::wire::codec::{self, FrameReader};
use common::wire::message::{BlockDone, FromWorker};
use common::wire::tls::CallerTls;
use tests::client::Client;
use tests::expected;
use tests::logged::Logged;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::{KeyFiles, coordinator, text};
use crate::cluster::SOFTMAX;
use crate::commands::{DIVERGING, alone};

/// What a liar says in place of a finished block.
type Lie = fn(BlockDone) -> Vec<BlockDone>;

/// What must come of a lie.
enum Outcome {
    /// The run fails, and says all of this.
    Fails(&'static [&'static str]),
    /// The run ends in the right bits, and the log says this of the liar.
    TurnedAway(&'static str),
}

/// The digests of other bits, for all shards. What comes of a single shard is
/// other, too, or it would not fit its digest.
fn wrong_bits(mut done: BlockDone) -> Vec<BlockDone> {
    done.shards.iter_mut().for_each(|shard| shard.digest = Digest::of(&shard.digest.0));
    if let [shard] = &mut done.shards[..] {
        done.results.counts.entry("invented".into()).or_default().push(1);
        let partial = Partial::digest_of(done.weight, hashes(&done.payload));
        shard.digest = Partial::shard_digest_of(partial, done.results.digest());
    }
    vec![sealed(done)]
}

/// Other bits under the digests of the right ones.
fn altered(mut done: BlockDone) -> Vec<BlockDone> {
    done.payload = with_end(&done.payload, [0, 0, 0, 1]);
    vec![done]
}

/// What the other worker was given, beside what it was given itself.
fn not_its_own(done: BlockDone) -> Vec<BlockDone> {
    let mut claimed = done.clone();
    claimed.block.index ^= 1;
    vec![claimed, done]
}

/// No lie.
fn as_it_is(done: BlockDone) -> Vec<BlockDone> {
    vec![done]
}

/// A number that is none, in the partial that rides along.
fn not_a_number(mut done: BlockDone) -> Vec<BlockDone> {
    let [a, b, c, d] = f32::NAN.to_le_bytes();
    done.payload = with_end(&done.payload, [a, b, c, d]);
    vec![sealed(done)]
}

/// A payload with other bytes at its end.
fn with_end(payload: &[u8], end: [u8; 4]) -> Bytes {
    let kept = payload.len().checked_sub(4).expect("a partial came along");
    [&payload[..kept], &end].concat().into()
}

/// The block with the digest of what it says by now.
fn sealed(mut done: BlockDone) -> BlockDone {
    done.digest = done.digest_of(hashes(&done.payload));
    done
}

/// The hashes of the segments of a partial that came along.
fn hashes(payload: &Bytes) -> Vec<u128> {
    let (mut payload, mut hashes) = (payload.clone(), Vec::new());
    while let Some((length, _)) = payload.split_first_chunk::<4>() {
        let end = 4 + u32::from_be_bytes(*length) as usize;
        hashes.push(segment_hash(&payload.split_to(end)[4..]));
    }
    hashes
}

#[test]
fn a_worker_that_lies_is_found_or_turned_away() {
    let audited = format!("audit = 1.0\n{SOFTMAX}");
    let rows: [(&str, Lie, &str, Outcome); 5] = [
        (
            "wrong bits",
            wrong_bits,
            &audited,
            Outcome::Fails(&[
                "replica ",
                "of run 1 step 0 had digest ",
                " on worker honest",
                " on worker liar",
                "`coordinator replay 1 --round 1 --replica ",
            ]),
        ),
        (
            "bits that changed on the way",
            altered,
            SOFTMAX,
            Outcome::TurnedAway("it does not have the digest that came with it"),
        ),
        (
            "shards that it was not given",
            not_its_own,
            SOFTMAX,
            Outcome::TurnedAway("of run 1 step 0, which it was not given"),
        ),
        (
            "what is no number, as computed",
            as_it_is,
            DIVERGING,
            Outcome::Fails(&[
                "replica ",
                "run 1 step ",
                "tensor `",
                "`coordinator replay 1 --round ",
            ]),
        ),
        ("what is no number", not_a_number, SOFTMAX, Outcome::TurnedAway("finite")),
    ];
    for (name, lie, spec, outcome) in rows {
        let files = KeyFiles::new();
        let keys = files.new_cluster("cluster.pem");
        let (mut coordinator, address) = coordinator(&keys);
        let (runtime, between) = liar(&keys, &address, lie);
        let flags = ["--keys", text(keys.path())];
        let mut honest = Logged::worker("honest", &address, &flags);
        let mut lying = Logged::worker("liar", &between, &[]);
        let flags = [&["--coordinator", &address, "--min-workers", "2"][..], &flags].concat();
        let mut client = Client::start(spec, &flags);
        match outcome {
            Outcome::Fails(words) => {
                let failed = client.wait_for("failed");
                let reason = failed["reason"].as_str().expect("a reason");
                println!("{name}: {reason}");
                let missing = words.iter().find(|words| !reason.contains(**words));
                assert_eq!(missing, None, "{name}: {reason}");
                assert_eq!(client.wait().code(), Some(3), "{name}");
            }
            Outcome::TurnedAway(words) => {
                assert_eq!(client.finish(), expected::digest(spec), "{name}");
                let is_it = |line: &serde_json::Value| {
                    line["message"].as_str().is_some_and(|text| text.contains(words))
                };
                let said = coordinator.log.wait_for(is_it).expect("the liar is turned away");
                println!("{name}: {}", said["message"]);
            }
        }
        lying.leave();
        honest.leave();
        coordinator.leave();
        drop(runtime);
    }
}

/// Other values than the shards gave, as a merge on the worker that goes wrong
/// would have: nothing tells.
fn wrong_merge(mut done: BlockDone) -> Vec<BlockDone> {
    // An evaluation contributes nothing.
    if done.partial_bytes == 0 {
        return vec![done];
    }
    done.payload = with_end(&done.payload, [0, 0, 0, 1]);
    vec![sealed(done)]
}

#[test]
fn a_merge_that_went_wrong_is_found_later_and_no_worker_named_for_it() {
    // All checkpoints, and the one at the end alone.
    for (every, words) in [
        ("1", "the state after step 0 (round 1) is not as recorded"),
        ("1000000", "or an earlier merge was wrong: that of step 0 (round 1)."),
    ] {
        let files = KeyFiles::new();
        let keys = files.new_cluster("cluster.pem");
        let flags = ["--keys", text(keys.path()), "--checkpoint-every", every];
        let (mut coordinator, address) = Logged::coordinator(&flags);
        let (runtime, between) = liar(&keys, &address, wrong_merge);
        let mut lying = Logged::worker("liar", &between, &[]);
        let flags = ["--coordinator", &address, "--keys", text(keys.path())];
        let digest = Client::start(SOFTMAX, &flags).finish();
        assert_ne!(digest, expected::digest(SOFTMAX), "{every}");
        lying.leave();
        coordinator.leave();
        drop(runtime);
        let runs = text(coordinator.runs());
        let verified = alone(&["verify", "1", "--local", "1", "--quiet", "--runs", runs]);
        let error = String::from_utf8_lossy(&verified.stderr);
        println!("{error}");
        assert_eq!(verified.status.code(), Some(3), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

/// Stands between a worker without keys and its coordinator, shows a worker's
/// certificate there, and lies of the blocks that the worker finishes on
/// its first connection. Gives where it listens.
fn liar(keys: &Keys, address: &str, lie: Lie) -> (Runtime, String) {
    let tls = CallerTls::new(keys, Member::Worker).expect("keys of a worker");
    let runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let between = listener.local_addr().expect("it is bound").to_string();
    let address = address.to_owned();
    runtime.spawn(async move {
        let mut lie = Some(lie);
        while let Ok((worker, _)) = listener.accept().await {
            let Ok(coordinator) = TcpStream::connect(&address).await else { return };
            let Ok((from_coordinator, to_coordinator)) = tls.secure(coordinator).await else {
                return;
            };
            let (from_worker, to_worker) = worker.into_split();
            // Whichever direction ends first ends the connection.
            tokio::select! {
                () = carry(from_worker, to_coordinator, lie.take()) => {}
                () = carry(from_coordinator, to_worker, None) => {}
            }
        }
    });
    (runtime, between)
}

/// Carries frames, and bends those that say that a block is done.
async fn carry(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, lie: Option<Lie>) {
    let mut frames = FrameReader::new(from, FRAME_BYTES);
    while let Ok(Some(content)) = frames.next().await {
        let bytes = match (lie, codec::decode(&content)) {
            (Some(lie), Ok(FromWorker::BlockDone(done))) => {
                let said = lie(done).into_iter().map(FromWorker::BlockDone);
                said.map(|message| bytes_of(codec::encode(message))).collect::<Vec<_>>().concat()
            }
            _ => codec::frame_of(&content).head.to_vec(),
        };
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

fn bytes_of(frame: codec::Frame) -> Bytes {
    [frame.head, frame.body].concat().into()
}
