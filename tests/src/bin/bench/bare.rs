//! The same bytes through bare TCP sockets: what no exchange can beat.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one write.
const PIECE: usize = 1 << 20;

/// Median time for `bytes` to go to each of `workers` peers, and then from
/// each of them back.
pub(crate) fn exchange(bytes: usize, workers: u32, rounds: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let peers = (0..workers)
        .map(|_| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("the listener is there");
                for _ in 0..rounds {
                    receive(&mut stream, bytes);
                    send(&mut stream, bytes);
                }
            })
        })
        .collect::<Vec<_>>();
    let mut streams =
        (0..workers).map(|_| listener.accept().expect("a peer connects").0).collect::<Vec<_>>();
    let mut times = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            thread::scope(|scope| {
                for stream in &mut streams {
                    scope.spawn(|| {
                        send(stream, bytes);
                        receive(stream, bytes);
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

fn send(stream: &mut TcpStream, bytes: usize) {
    let piece = vec![7; PIECE.min(bytes)];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(piece.len());
        stream.write_all(&piece[..length]).expect("the peer reads");
        left -= length;
    }
}

fn receive(stream: &mut TcpStream, bytes: usize) {
    let mut piece = vec![0; PIECE.min(bytes)];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(piece.len());
        stream.read_exact(&mut piece[..length]).expect("the peer writes");
        left -= length;
    }
}
