//! What can happen between a worker and its coordinator: a TCP proxy that
//! resets connections, delays and splits frames, flips bits, and repeats
//! messages.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::wire::codec::{self, HEAD_BYTES};
use common::wire::message::FromWorker;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What the proxy does to what a worker says. What the coordinator says passes
/// in pieces under [`Fault::Split`], with a bit flipped in every other connection
/// under [`Fault::Flip`], and untouched otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Closes a connection for good after so many bytes from the worker; each
    /// later connection lives for twice as many.
    Reset {
        /// Bytes that the first connection lives for.
        after: u64,
    },
    /// Sends everything in pieces of at most so many bytes, with a pause after
    /// each.
    Split {
        /// Bytes in a piece.
        piece: usize,
        /// Pause.
        pause: Duration,
    },
    /// Sends each finished block twice at once, and once more when the next
    /// one is finished: a duplicate, and a late result.
    Repeat,
    /// Flips one bit of each connection, in one direction and then in the other,
    /// within the first bytes: as often within the first 8 as within the first
    /// 64 KiB.
    Flip {
        /// Seed of the places.
        seed: u64,
    },
}

/// A proxy before a coordinator. It runs until the test's process ends.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where workers connect.
    pub address: String,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    resets: AtomicU64,
    pieces: AtomicU64,
    duplicates: AtomicU64,
    late: AtomicU64,
    flips: [AtomicU64; 2],
}

impl Proxy {
    /// A proxy before the coordinator at `target`.
    pub fn start(target: &str, fault: Fault) -> Self {
        let target: SocketAddr = target.parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        std::thread::spawn(move || {
            for worker in listener.incoming().map_while(Result::ok) {
                let counts = shared.clone();
                std::thread::spawn(move || {
                    let Ok(coordinator) = TcpStream::connect(target) else { return };
                    let _ = carry(&worker, &coordinator, fault, &counts);
                    let _ = worker.shutdown(Shutdown::Both);
                    let _ = coordinator.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, counts }
    }

    /// Connections that it closed.
    pub fn resets(&self) -> u64 {
        self.counts.resets.load(Ordering::SeqCst)
    }

    /// Pieces that it sent.
    pub fn pieces(&self) -> u64 {
        self.counts.pieces.load(Ordering::SeqCst)
    }

    /// Finished blocks that it sent a second time at once.
    pub fn duplicates(&self) -> u64 {
        self.counts.duplicates.load(Ordering::SeqCst)
    }

    /// Bits that it flipped in what workers said, and in what the coordinator
    /// said.
    pub fn flips(&self) -> [u64; 2] {
        self.counts.flips.each_ref().map(|flips| flips.load(Ordering::SeqCst))
    }

    /// Finished blocks that it sent again after a later one.
    pub fn late(&self) -> u64 {
        self.counts.late.load(Ordering::SeqCst)
    }
}

/// Carries one connection until either side ends it, or the fault does.
fn carry(
    worker: &TcpStream,
    coordinator: &TcpStream,
    fault: Fault,
    counts: &Arc<Counts>,
) -> io::Result<()> {
    worker.set_nodelay(true)?;
    coordinator.set_nodelay(true)?;
    let (mut from, mut to) = (coordinator.try_clone()?, worker.try_clone()?);
    let downward = counts.clone();
    let connection = counts.connections.fetch_add(1, Ordering::SeqCst);
    std::thread::spawn(move || {
        let _ = match fault {
            Fault::Flip { seed } if connection % 2 == 1 => {
                flipping(&mut from, &mut to, seed ^ connection, &downward.flips[1])
            }
            Fault::Split { piece, pause } => in_pieces(&mut from, &mut to, piece, pause, &downward),
            Fault::Reset { .. } | Fault::Repeat | Fault::Flip { .. } => {
                io::copy(&mut from, &mut to).map(drop)
            }
        };
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (worker.try_clone()?, coordinator.try_clone()?);
    match fault {
        Fault::Reset { after } => {
            let life = after.saturating_mul(1 << connection.min(32));
            let carried = io::copy(&mut from.take(life), &mut to)?;
            if carried == life {
                counts.resets.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
        Fault::Split { piece, pause } => in_pieces(&mut from, &mut to, piece, pause, counts),
        Fault::Repeat => repeating(&mut from, &mut to, counts),
        Fault::Flip { seed } if connection.is_multiple_of(2) => {
            flipping(&mut from, &mut to, seed ^ connection, &counts.flips[0])
        }
        Fault::Flip { .. } => io::copy(&mut from, &mut to).map(drop),
    }
}

fn flipping(
    from: &mut TcpStream,
    to: &mut TcpStream,
    seed: u64,
    flips: &AtomicU64,
) -> io::Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let longest = 1_u64 << (3 + random.next_u64() % 14);
    let place = random.next_u64() % longest;
    if io::copy(&mut from.take(place), to)? == place {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        to.write_all(&[byte[0] ^ 1 << (random.next_u64() % 8)])?;
        flips.fetch_add(1, Ordering::SeqCst);
    }
    io::copy(from, to).map(drop)
}

fn in_pieces(
    from: &mut TcpStream,
    to: &mut TcpStream,
    piece: usize,
    pause: Duration,
    counts: &Counts,
) -> io::Result<()> {
    let mut buffer = vec![0; piece];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
        counts.pieces.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(pause);
    }
}

fn repeating(from: &mut TcpStream, to: &mut TcpStream, counts: &Counts) -> io::Result<()> {
    let mut before: Option<Bytes> = None;
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let mut frame = length.to_vec();
        frame.resize(HEAD_BYTES + u32::from_be_bytes(length) as usize, 0);
        from.read_exact(&mut frame[length.len()..])?;
        let frame = Bytes::from(frame);
        to.write_all(&frame)?;
        let content = frame.slice(HEAD_BYTES..);
        if !matches!(codec::decode::<FromWorker>(&content), Ok(FromWorker::BlockDone(_))) {
            continue;
        }
        to.write_all(&frame)?;
        counts.duplicates.fetch_add(1, Ordering::SeqCst);
        if let Some(before) = before.replace(frame) {
            to.write_all(&before)?;
            counts.late.fetch_add(1, Ordering::SeqCst);
        }
    }
}
