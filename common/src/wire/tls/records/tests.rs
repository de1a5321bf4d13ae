//! Both directions over loopback, against themselves and against rustls's own
//! streams.

use std::io::{Read, Write};
use std::net::TcpListener as StdListener;
use std::path::Path;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::keys::{Keys, Member};
use crate::wire::tls::{CallerTls, CoordinatorTls, FIRST_BYTE};

fn keys() -> Keys {
    Keys::generate(Path::new("cluster.pem"), 1).unwrap()
}

/// Bytes that are the same for the same number, and repeat nowhere.
fn bytes(number: u64, count: usize) -> Vec<u8> {
    let mix = |at: usize| (at as u64 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    (0..count).map(|at| mix(at) as u8).collect()
}

fn halves(
    pair: (crate::wire::stream::Reader, crate::wire::stream::Writer),
) -> (TlsReader, TlsWriter) {
    use crate::wire::stream::{Reader, Writer};
    match pair {
        (Reader::Tls(reader), Writer::Tls(writer)) => (reader, writer),
        other => panic!("{other:?}"),
    }
}

/// A worker's halves, and its coordinator's.
async fn connected() -> [(TlsReader, TlsWriter); 2] {
    let keys = keys();
    let (caller, coordinator) =
        (CallerTls::new(&keys, Member::Worker).unwrap(), CoordinatorTls::new(&keys).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let handshake = coordinator.shake_hands(&mut stream).await.unwrap();
        assert_eq!(handshake.member, Member::Worker);
        halves(handshake.split(stream).unwrap())
    };
    let connect = async {
        let stream = TcpStream::connect(address).await.unwrap();
        halves(caller.secure(stream).await.unwrap())
    };
    let (ours, theirs) = tokio::join!(connect, accept);
    [ours, theirs]
}

/// Writes all of it in pieces of odd sizes, several at a time.
async fn write_all(writer: &mut TlsWriter, mut all: &[u8]) {
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

async fn carries(reader: &mut TlsReader, writer: &mut TlsWriter, number: u64) {
    let sent = bytes(number, 3_000_000);
    let mut received = vec![0; sent.len()];
    let (_, count) =
        tokio::join!(write_all(writer, &sent), async { reader.read_exact(&mut received).await });
    count.unwrap();
    assert!(received == sent, "{number}");
}

#[tokio::test]
async fn all_bytes_arrive_in_both_directions_at_once() {
    let [(mut reader, mut writer), (mut their_reader, mut their_writer)] = connected().await;
    tokio::join!(
        carries(&mut their_reader, &mut writer, 1),
        carries(&mut reader, &mut their_writer, 2)
    );
    writer.shutdown().await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(their_reader.read_to_end(&mut rest).await.unwrap(), 0);
    // Without a last word, it is a loss.
    drop((their_writer, their_reader));
    let error = reader.read_to_end(&mut rest).await.unwrap_err();
    assert!(
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
        "{error}"
    );
}

#[tokio::test]
async fn keys_change_when_they_have_served() {
    let [(mut reader, mut writer), (mut their_reader, mut their_writer)] = connected().await;
    (writer.last, their_writer.last) = (3, 5);
    carries(&mut their_reader, &mut writer, 1).await;
    carries(&mut reader, &mut their_writer, 2).await;
    assert!(their_reader.sequence <= 3 && reader.sequence <= 5, "{reader:?} {their_reader:?}");
}

#[tokio::test]
async fn key_changes_without_end_end_the_connection() {
    let [(_, mut writer), (mut their_reader, _)] = connected().await;
    for _ in 0..=KEY_UPDATES {
        writer.encrypt(ContentType::Handshake, OutboundChunks::Single(&KEY_UPDATE)).unwrap();
        (writer.sequence, writer.encrypter) = writer.shared.next_to_send().unwrap();
    }
    writer.flush().await.unwrap();
    let error = their_reader.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("TooManyKeyUpdateRequests"), "{error}");
}

#[tokio::test]
async fn what_is_no_record_ends_the_connection() {
    for (bytes, words) in [
        (&[FIRST_BYTE, 3, 3, 0, 1, 0][..], "InvalidContentType"),
        (&[23, 3, 3, 0xff, 0xff], "MessageTooLarge"),
        (
            &[
                23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                20,
            ],
            "decrypt",
        ),
    ] {
        let [(_reader, mut writer), (mut their_reader, _)] = connected().await;
        writer.stream.write_all(bytes).await.unwrap();
        let error = their_reader.read_u8().await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
}

/// rustls's own stream at the other end: it reads and writes the same records,
/// and changes its key in between.
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
    let (mut stream, _) = listener.accept().await.unwrap();
    let handshake = CoordinatorTls::new(&keys).unwrap().shake_hands(&mut stream).await.unwrap();
    assert_eq!(handshake.member, Member::Client);
    let (mut reader, mut writer) = halves(handshake.split(stream).unwrap());
    let mut received = vec![0; COUNT];
    reader.read_exact(&mut received).await.unwrap();
    assert!(received == bytes(3, COUNT));
    writer.last = writer.sequence + 3;
    write_all(&mut writer, &bytes(4, COUNT)).await;
    assert_eq!(reader.read(&mut received).await.unwrap(), 0);
    other.join().unwrap();
}
