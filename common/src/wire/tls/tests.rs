//! Both directions over loopback, against themselves and against another program's
//! streams.

use std::io::{IoSlice, Read, Write};
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::{ClientConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn keys() -> Keys {
    Keys::generate(Path::new("cluster.pem"), 1).unwrap()
}

/// Bytes that are the same for the same number, and repeat nowhere.
fn bytes(number: u64, count: usize) -> Vec<u8> {
    let mix = |at: usize| (at as u64 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (0..count).map(|at| mix(at) as u8).collect()
}

/// A worker's halves and its socket, its coordinator's halves, and how often the coordinator was
/// notified of bytes.
struct Connected {
    ours: (Reader, Writer),
    socket: std::net::TcpStream,
    theirs: (Reader, Writer),
    heard: Arc<AtomicU64>,
}

async fn connected() -> Connected {
    let keys = keys();
    let (caller, coordinator) =
        (CallerTls::new(&keys, Member::Worker).unwrap(), CoordinatorTls::new(&keys).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(AtomicU64::new(0));
    let ear = heard.clone();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        let hear = move || {
            ear.fetch_add(1, Ordering::Relaxed);
        };
        let handshake = coordinator.shake_hands(stream, hear).await.unwrap();
        assert_eq!(handshake.member, Member::Worker);
        handshake.split()
    };
    let connect = async {
        let stream = TcpStream::connect(address).await.unwrap().into_std().unwrap();
        let socket = stream.try_clone().unwrap();
        (caller.secure(TcpStream::from_std(stream).unwrap()).await.unwrap(), socket)
    };
    let ((ours, socket), theirs) = tokio::join!(connect, accept);
    Connected { ours, socket, theirs, heard }
}

/// Writes all of it in pieces of odd sizes, several at a time.
async fn write_all(writer: &mut Writer, mut all: &[u8]) {
    let mut size = 1;
    while !all.is_empty() {
        size = (size * 7 + 3) % 90_001;
        let (first, rest) = all.split_at(size.min(all.len()));
        let second = &rest[..rest.len().min(17)];
        let pieces = [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(second)];
        let written = writer.write_vectored(&pieces).await.unwrap();
        all = &all[written..];
    }
    writer.flush().await.unwrap();
}

async fn carries(reader: &mut Reader, writer: &mut Writer, number: u64) {
    let sent = bytes(number, 3_000_000);
    let mut received = vec![0; sent.len()];
    let (_, count) =
        tokio::join!(write_all(writer, &sent), async { reader.read_exact(&mut received).await });
    count.unwrap();
    assert!(received == sent, "{number}");
}

#[tokio::test]
async fn all_bytes_arrive_in_both_directions_at_once() {
    let connected = connected().await;
    let (mut reader, mut writer) = connected.ours;
    let (mut their_reader, mut their_writer) = connected.theirs;
    tokio::join!(
        carries(&mut their_reader, &mut writer, 1),
        carries(&mut reader, &mut their_writer, 2)
    );
    writer.shutdown().await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(their_reader.read_to_end(&mut rest).await.unwrap(), 0);
    // Without a closing message, the connection counts as lost.
    drop((their_writer, their_reader));
    let error = reader.read_to_end(&mut rest).await.unwrap_err();
    assert!(
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
        "{error}"
    );
}

/// A record arrives byte by byte: each byte is a sign of life, before anything can be decrypted.
#[tokio::test]
async fn a_part_of_a_record_is_a_sign_of_life() {
    let Connected { ours: (reader, _writer), mut socket, theirs, heard } = connected().await;
    let (mut their_reader, mut their_writer) = theirs;
    let before = heard.load(Ordering::Relaxed);
    socket.write_all(&[23, 3, 3, 0, 100, 1]).unwrap();
    let mut one = [0];
    let reading = their_reader.read(&mut one);
    tokio::pin!(reading);
    while heard.load(Ordering::Relaxed) == before {
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), &mut reading);
        assert!(waiting.await.is_err(), "nothing can be read yet");
    }
    // The other side counts the same bytes.
    let beneath = reader.beneath().unwrap();
    let before = beneath.load(Ordering::Relaxed);
    their_writer.write_all(b"word").await.unwrap();
    their_writer.flush().await.unwrap();
    let mut reader = reader;
    let mut word = [0; 4];
    reader.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"word");
    assert!(beneath.load(Ordering::Relaxed) > before + 4);
}

#[tokio::test]
async fn what_is_no_record_ends_the_connection() {
    let short = [&[23, 3, 3, 0, 20][..], &[1; 20]].concat();
    for bytes in [&[FIRST_BYTE, 3, 3, 0, 1, 0][..], &[23, 3, 3, 0xff, 0xff], &short] {
        let Connected { ours: _ours, mut socket, theirs: (mut their_reader, _), .. } =
            connected().await;
        socket.write_all(bytes).unwrap();
        let error = their_reader.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}: {error}");
    }
}

/// The other end is rustls's own stream, which changes its key on the way.
#[tokio::test]
async fn other_streams_speak_the_same_records() {
    const COUNT: usize = 1_000_000;
    let keys = keys();
    let config = CallerTls::new(&keys, Member::Client).unwrap().config;
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let other = std::thread::spawn(move || {
        let name = ServerName::try_from(Member::Coordinator.host()).unwrap();
        let session = ClientConnection::new(config, name).unwrap();
        let mut stream = StreamOwned::new(session, std::net::TcpStream::connect(address).unwrap());
        let sent = bytes(3, COUNT);
        stream.write_all(&sent[..COUNT / 2]).unwrap();
        stream.conn.refresh_traffic_keys().unwrap();
        stream.write_all(&sent[COUNT / 2..]).unwrap();
        let mut received = vec![0; COUNT];
        stream.read_exact(&mut received).unwrap();
        assert!(received == bytes(4, COUNT));
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    let (stream, _) = listener.accept().await.unwrap();
    let coordinator = CoordinatorTls::new(&keys).unwrap();
    let handshake = coordinator.shake_hands(stream, || {}).await.unwrap();
    assert_eq!(handshake.member, Member::Client);
    let (mut reader, mut writer) = handshake.split();
    let mut received = vec![0; COUNT];
    reader.read_exact(&mut received).await.unwrap();
    assert!(received == bytes(3, COUNT));
    write_all(&mut writer, &bytes(4, COUNT)).await;
    assert_eq!(reader.read(&mut received).await.unwrap(), 0);
    other.join().unwrap();
}

/// A caller whose handshake is altered at any byte is not accepted.
#[tokio::test]
async fn changed_handshakes_fail() {
    let keys = keys();
    let caller = TlsConnector::from(CallerTls::new(&keys, Member::Worker).unwrap().config);
    let coordinator = TlsAcceptor::from(CoordinatorTls::new(&keys).unwrap().config);
    let (mut let_in, mut kept_out) = (0, 0);
    for at in (0..2_400).step_by(7) {
        let (ours, mut between) = tokio::io::duplex(1 << 16);
        let (mut behind, theirs) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from(Member::Coordinator.host()).unwrap();
        let altered = std::cell::Cell::new(false);
        let carry = async {
            let (mut from_us, mut to_us) = tokio::io::split(&mut between);
            let (mut from_them, mut to_them) = tokio::io::split(&mut behind);
            let there = async {
                let (mut piece, mut carried) = (vec![0; 1 << 16], 0);
                while let Ok(count @ 1..) = from_us.read(&mut piece).await {
                    if (carried..carried + count).contains(&at) {
                        piece[at - carried] ^= 1 << (at % 8);
                        altered.set(true);
                    }
                    carried += count;
                    let written = to_them.write_all(&piece[..count]).await;
                    // A reader that waits learns of the end.
                    if altered.get() || written.is_err() {
                        break;
                    }
                }
                let _ = to_them.shutdown().await;
            };
            let back = async {
                let _ = tokio::io::copy(&mut from_them, &mut to_us).await;
                let _ = to_us.shutdown().await;
            };
            tokio::join!(there, back)
        };
        let (asked, answered, _) = tokio::join!(
            async { caller.connect(name, ours).await.map(drop) },
            async { coordinator.accept(theirs).await.map(drop) },
            carry
        );
        if !altered.get() {
            assert!(asked.is_ok() && answered.is_ok(), "{at}: {asked:?} {answered:?}");
            let_in += 1;
        } else {
            kept_out += usize::from(answered.is_err())
        }
    }
    // The versions in the heads of records say nothing in TLS 1.3.
    assert!(let_in > 0 && kept_out > 100, "{let_in} {kept_out}");
}
