//! Arbitrary bytes through the decoder of every direction: no panic, no
//! hang, and what decodes is encoded and decoded to the same again.
#![no_main]

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use common::limits::HANDSHAKE_FRAME_BYTES;
use common::wire::codec::{FrameReader, HEAD_BYTES, decode, encode};
use common::wire::message::{FromClient, FromWorker, Hello, ToClient, ToWorker, Welcome};
use common::wire::{Frame, Message, handshake};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

/// For the clock by which a frame must have come whole.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

fuzz_target!(|data: &[u8]| {
    check_all(&Bytes::copy_from_slice(data));
    for frame in frames(data) {
        check_all(&frame);
    }
});

fn check_all(content: &Bytes) {
    check::<Hello>(content);
    check::<Welcome>(content);
    check::<FromWorker>(content);
    check::<ToWorker>(content);
    check::<FromClient>(content);
    check::<ToClient>(content);
    if let Ok(hello) = decode(content) {
        let _ = handshake::judge(&hello);
    }
}

fn check<M: Message>(content: &Bytes) {
    let Ok(message) = decode::<M>(content) else { return };
    let first = encode(message);
    let again = decode::<M>(&content_of(&first)).expect("what is encoded decodes");
    // Frames, not messages, are compared: they may hold NaN.
    assert_eq!(encode(again), first);
}

fn content_of(frame: &Frame) -> Bytes {
    [&frame.head[HEAD_BYTES..], &frame.body[..]].concat().into()
}

/// The frames that a reader finds in `data`.
fn frames(data: &[u8]) -> Vec<Bytes> {
    let _clock = RUNTIME.enter();
    let mut reader = FrameReader::new(data, HANDSHAKE_FRAME_BYTES);
    let mut frames = Vec::new();
    loop {
        let next = pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop()));
        match next {
            Poll::Ready(Ok(Some(frame))) => frames.push(frame),
            Poll::Ready(Ok(None) | Err(_)) => return frames,
            Poll::Pending => panic!("memory is always ready"),
        }
    }
}
