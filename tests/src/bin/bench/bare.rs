//! The same bytes through bare TCP sockets, as the baseline.
//!
//! As in a round, every peer receives a whole state into memory, and sends one back from memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one read or write.
const PIECE: usize = 1 << 20;

/// Median time for a state of `bytes` to go to each of `workers` peers, and
/// then one from each of them back.
pub(crate) fn exchange(bytes: usize, workers: u32, rounds: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let peer = move || {
        let mut stream = TcpStream::connect(address).expect("the listener is there");
        let mut state = vec![1; bytes];
        for _ in 0..rounds {
            receive(&mut stream, &mut state);
            send(&mut stream, &state);
        }
    };
    let peers = (0..workers).map(|_| thread::spawn(peer)).collect::<Vec<_>>();
    let accept = |_| (listener.accept().expect("a peer connects").0, vec![1; bytes]);
    let mut connections = (0..workers).map(accept).collect::<Vec<_>>();
    let state = vec![1; bytes];
    let mut times = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            thread::scope(|scope| {
                for (stream, partial) in &mut connections {
                    scope.spawn(|| {
                        send(stream, &state);
                        receive(stream, partial);
                    });
                }
            });
            start.elapsed()
        })
        .collect::<Vec<_>>();
    for peer in peers {
        peer.join().expect("a peer ends well");
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn send(stream: &mut TcpStream, state: &[u8]) {
    for piece in state.chunks(PIECE) {
        stream.write_all(piece).expect("the peer reads");
    }
}

fn receive(stream: &mut TcpStream, state: &mut [u8]) {
    for piece in state.chunks_mut(PIECE) {
        stream.read_exact(piece).expect("the peer writes");
    }
}
