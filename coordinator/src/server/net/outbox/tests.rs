use std::borrow::Cow;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use common::merge::MergeRule;
use common::state::{NetworkState, Segment, Tensor, TensorData};
use common::wire::FramePool;
use common::wire::shared_memory::StateSlots;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::timeout;

use super::writing::{GATHERED, WRITE_BYTES, advance};
use super::*;

fn frame(text: &'static str) -> Frame {
    Frame { head: Bytes::from_static(text.as_bytes()), body: Bytes::new() }
}

fn step(index: u64) -> StepId {
    StepId { run: RunId(1), index }
}

fn state(index: u64, frames: &[&'static str]) -> Transfer {
    let frames = frames.iter().map(|text| frame(text)).collect();
    Transfer::State { step: Some(step(index)), frames: made_of(frames), next: 0 }
}

fn made_of(frames: Vec<Frame>) -> Arc<StateFrames> {
    StateFrames::new(frames.len(), move |place| frames[place].clone())
}

/// The content of one write.
fn taken(outbox: &Outbox) -> String {
    let mut pieces = VecDeque::new();
    outbox.fill(&mut pieces);
    pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

#[test]
fn a_turn_goes_out_in_one_write_with_control_first() {
    let outbox = Outbox::new();
    outbox.data(state(0, &["s0", "s1"]));
    outbox.control(frame("assign"));
    assert_eq!(taken(&outbox), "assigns0s1");
    assert_eq!(taken(&outbox), "");
}

#[test]
fn control_goes_between_big_data_frames() {
    let outbox = Outbox::new();
    let big = Bytes::from(vec![b'x'; WRITE_BYTES]);
    let frames = vec![Frame { head: Bytes::from_static(b"h"), body: big }; 2];
    outbox.data(Transfer::State { step: None, frames: made_of(frames), next: 0 });
    assert!(taken(&outbox).starts_with("hx"));
    outbox.control(frame("pull"));
    assert!(taken(&outbox).starts_with("pullhx"));
}

#[test]
fn a_states_frames_are_made_as_they_go_out_and_once_for_all() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let frames = StateFrames::new(2, move |place| {
        count.fetch_add(1, Ordering::Relaxed);
        let body = Bytes::from(vec![place as u8; WRITE_BYTES]);
        Frame { head: Bytes::from_static(b"h"), body }
    });
    let outboxes = [Outbox::new(), Outbox::new()];
    for outbox in &outboxes {
        let frames = frames.clone();
        outbox.data(Transfer::State { step: None, frames, next: 0 });
    }
    assert_eq!(made.load(Ordering::Relaxed), 0, "the engine makes none");
    for round in 1..=2 {
        let [one, other] = outboxes.each_ref().map(taken);
        assert_eq!((one.len(), &one), (1 + WRITE_BYTES, &other));
        assert_eq!(made.load(Ordering::Relaxed), round);
    }
    assert!(outboxes.iter().all(|outbox| taken(outbox).is_empty()));
}

#[test]
fn a_merged_steps_state_is_forgotten() {
    let outbox = Outbox::new();
    outbox.data(state(0, &["old"]));
    outbox.data(state(1, &["new"]));
    outbox.drop_states(step(0));
    assert_eq!(taken(&outbox), "new");
}

#[test]
fn an_equal_base_is_not_said_without_the_base() {
    let same = || Transfer::Same {
        step: step(1),
        both: Bytes::from_static(b"same,done"),
        done: frame("done"),
    };
    let outbox = Outbox::new();
    outbox.data(state(0, &["s"]));
    outbox.data(same());
    assert_eq!(taken(&outbox), "ssame,done");
    outbox.data(state(0, &["s"]));
    outbox.data(same());
    outbox.drop_states(step(1));
    assert_eq!(taken(&outbox), "done");
}

#[test]
fn the_writer_lets_go_of_a_state_that_it_is_writing() {
    let outbox = Outbox::new();
    let memory = Bytes::from(b"values".to_vec());
    let frames = vec![Frame { head: Bytes::from_static(b"h"), body: memory.clone() }];
    outbox.data(Transfer::State { step: Some(step(0)), frames: made_of(frames), next: 0 });
    let mut pieces = VecDeque::new();
    outbox.fill(&mut pieces);
    advance(&mut pieces, 3).unwrap();
    assert!(!memory.is_unique());
    outbox.drop_states(step(0));
    outbox.fill(&mut pieces);
    assert_eq!(pieces, [Bytes::from_static(b"lues")]);
    assert!(memory.is_unique());
}

#[test]
fn a_chunk_waits_once() {
    let outbox = Outbox::new();
    let key = |chunk| (RunId(1), Split::Train, chunk);
    outbox.chunks([(key(1), Bytes::new()), (key(2), Bytes::new())].into_iter());
    outbox.chunks([(key(2), Bytes::new()), (key(3), Bytes::new())].into_iter());
    let mut lanes = outbox.lanes();
    let [Transfer::Chunks(chunks)] = &*lanes.data.make_contiguous() else { panic!() };
    assert_eq!(chunks.len(), 3);
}

#[test]
fn lanes_are_bounded() {
    let outbox = Outbox::new();
    for _ in 0..limits::CONTROL_QUEUE {
        outbox.control(frame("c"));
    }
    assert_eq!(outbox.flush(), Ok(()));
    outbox.control(frame("c"));
    assert_eq!(outbox.flush(), Err(Overflow));
}

#[test]
fn events_that_wait_are_bounded_in_bytes() {
    let event = || Frame { head: Bytes::from(vec![0; 1 << 20]), body: Bytes::new() };
    let most = WAITING_EVENT_BYTES >> 20;
    let outbox = Outbox::new();
    outbox.events((0..most).map(|_| event()));
    assert_eq!(outbox.flush(), Ok(()));
    // As many frames as one write takes are gone.
    taken(&outbox);
    outbox.events(std::iter::once(event()));
    assert_eq!(outbox.flush(), Ok(()));
    outbox.data(state(0, &["s"]));
    outbox.events(std::iter::once(event()));
    assert_eq!(outbox.flush(), Err(Overflow));
}

#[tokio::test]
async fn last_words_come_behind_nothing_but_the_frame_that_is_being_written() {
    let outbox = Outbox::new();
    let (ours, mut theirs) = tokio::io::duplex(4);
    outbox.control(frame("begun"));
    let reading = async {
        let mut begun = [0; 2];
        tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut begun).await.unwrap();
        outbox.control(frame("waits"));
        outbox.data(state(0, &["state"]));
        outbox.part(frame("why"));
        outbox.finish();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut theirs, &mut text).await.unwrap();
        text
    };
    let (written, text) = tokio::join!(outbox.write_to(ours), reading);
    written.unwrap();
    assert_eq!(text, "gunwhy");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_no_connection_open() {
    let outbox = Outbox::new();
    let (ours, _theirs) = tokio::io::duplex(4);
    outbox.control(frame("much"));
    outbox.part(frame("much more than fits"));
    outbox.write_to(ours).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_written_before_the_end() {
    let outbox = Outbox::new();
    let (ours, mut theirs) = tokio::io::duplex(4);
    outbox.control(frame("goodbye"));
    outbox.finish();
    let reading = async {
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut theirs, &mut text).await.unwrap();
        text
    };
    let (written, text) = tokio::join!(outbox.write_to(ours), reading);
    written.unwrap();
    assert_eq!(text, "goodbye");
}

#[tokio::test]
async fn nothing_stays_in_a_buffer_while_the_writer_waits() {
    let (stream, mut other) = tokio::io::duplex(1 << 10);
    let outbox = Outbox::new();
    outbox.control(frame("word"));
    let (mut heard, writer) = ([0; 4], tokio::io::BufWriter::new(stream));
    tokio::select! {
        done = outbox.write_to(writer) => panic!("the connection goes on: {done:?}"),
        heard = other.read_exact(&mut heard) => drop(heard.unwrap()),
    }
    assert_eq!(&heard, b"word");
}

/// An endless sink.
struct Endless;

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_taken_is_not_waited_for() {
    let outbox = Outbox::new();
    outbox.control(frame("last word"));
    outbox.finish();
    // With the paused clock, time jumps to the deadline when nothing else can run.
    let written = timeout(10 * CLOSE_GRACE, outbox.write_to(Endless)).await;
    written.expect("it gives up by itself").unwrap();
}

/// A base of so many segments of a MiB that is being merged.
fn growing(segments: usize) -> Arc<StateFrames> {
    let values = limits::PAYLOAD_BYTES / 4;
    let of = |at| Segment { tensor: 0, range: at * values..(at + 1) * values };
    StateFrames::of_growing(step(1), (0..segments).map(of).collect(), FramePool::default())
}

fn to(count: usize, remote: usize, memory: Option<Arc<StateSlots>>) -> Receivers {
    Receivers { count, remote, memory }
}

/// The values of the segments before this one.
fn until(end: usize) -> impl Fn(usize) -> Option<Cow<'static, [u8]>> {
    move |place| (place < end).then(|| vec![place as u8; limits::PAYLOAD_BYTES].into())
}

/// The numbers of the segments that are written next.
fn sent(outbox: &Outbox) -> Vec<u8> {
    let (mut numbers, mut pieces) = (Vec::new(), VecDeque::new());
    while matches!(outbox.fill(&mut pieces), writing::Fill::Write) {
        let long = |piece: &Bytes| piece.len() == limits::PAYLOAD_BYTES;
        numbers.extend(pieces.drain(..).filter(long).map(|piece| piece[0]));
    }
    numbers
}

#[test]
fn a_state_is_sent_as_it_grows() {
    let frames = growing(20);
    let outboxes = [Outbox::new(), Outbox::new()];
    for outbox in &outboxes {
        outbox.data(Transfer::State { step: Some(step(1)), frames: frames.clone(), next: 0 });
    }
    frames.grow(until(2));
    assert!(outboxes.iter().all(|outbox| sent(outbox).is_empty()), "nobody receives it");
    frames.send_to(to(2, 2, None));
    frames.grow(until(2));
    assert!(outboxes.iter().all(|outbox| sent(outbox) == [0, 1]));
    frames.grow(until(20));
    assert_eq!(sent(&outboxes[0]), (2..10).collect::<Vec<u8>>(), "eight may wait");
    frames.grow(until(20));
    assert!(sent(&outboxes[0]).is_empty(), "the other one has not sent them");
    assert_eq!(sent(&outboxes[1]), (2..10).collect::<Vec<u8>>());
    frames.grow(until(12));
    assert_eq!(sent(&outboxes[0]), [10, 11]);
    let chunk = (RunId(1), Split::Train, 0);
    outboxes[0].chunks([(chunk, Bytes::from_static(b"chunk"))].into_iter());
    assert!(taken(&outboxes[0]).contains("chunk"), "before what is not merged");
    let values = ndarray::ArrayD::zeros(vec![20 * limits::PAYLOAD_BYTES / 4]);
    let tensor = Tensor { data: TensorData::F32(values), rule: MergeRule::Mean };
    let state = Arc::new(NetworkState::new([("w".into(), tensor)]).unwrap());
    frames.end_growth(state.clone());
    assert_eq!(sent(&outboxes[0]), [0; 8], "the rest comes from the state");
    assert_eq!(sent(&outboxes[1]), [0; 10], "even what was ready before");
    drop(outboxes);
    drop(frames);
    assert!(Arc::try_unwrap(state).is_ok(), "its memory can be used again");
}

#[test]
fn the_last_segment_of_a_growing_state_waits_for_the_whole() {
    let (frames, outbox) = (growing(3), Outbox::new());
    outbox.data(Transfer::State { step: Some(step(1)), frames: frames.clone(), next: 0 });
    frames.send_to(to(1, 1, None));
    frames.grow(until(3));
    assert_eq!(sent(&outbox), [0, 1], "whoever has all three may forget the step before");
}

#[test]
#[cfg(target_os = "linux")]
fn a_segment_of_a_growing_state_is_written_once_for_all_who_share_memory() {
    use common::wire::shared_memory::{PartialReader, STATE_SLOTS};
    let frames = growing(4);
    let memory = StateSlots::new().unwrap();
    let outboxes = [Outbox::new(), Outbox::new(), Outbox::new()];
    for outbox in &outboxes {
        outbox.data(Transfer::State { step: Some(step(1)), frames: frames.clone(), next: 0 });
    }
    for outbox in &outboxes[..2] {
        outbox.share_memory(memory.clone(), PartialReader::new().unwrap().into());
    }
    frames.send_to(to(3, 1, Some(memory.clone())));
    frames.grow(until(2));
    let free = || (0..).map_while(|_| memory.write(b"x")).collect::<Vec<_>>().len();
    assert_eq!(free(), STATE_SLOTS as usize - 2);
    assert_eq!(sent(&outboxes[2]), [0, 1], "who shares nothing is sent the values");
    for outbox in &outboxes[..2] {
        assert!(sent(outbox).is_empty(), "others are told of slots");
    }
    assert_eq!(free(), STATE_SLOTS as usize - 2, "they are the same for both");
    for outbox in &outboxes[..2] {
        assert!(outbox.states_read(&[0, 1]));
    }
    assert_eq!(free(), STATE_SLOTS as usize);
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_others_but_for_nothing_else() {
    let outbox = Outbox::new();
    let event = || std::iter::once(frame("e"));
    outbox.events(event());
    assert_eq!(taken(&outbox), "e", "the first one goes at once");
    outbox.events(event());
    assert_eq!(taken(&outbox), "");
    outbox.events(event());
    assert_eq!(taken(&outbox), "");
    outbox.control(frame("answer"));
    assert_eq!(taken(&outbox), "answeree", "an answer takes them along");
    outbox.events(event());
    assert_eq!(taken(&outbox), "");
    outbox.events((0..GATHERED).map(|_| frame("e")));
    assert_eq!(taken(&outbox), "e".repeat(GATHERED + 1), "there are many");
    outbox.events(event());
    assert_eq!(taken(&outbox), "");
    outbox.finish();
    assert_eq!(taken(&outbox), "e", "the connection ends");
}

#[tokio::test(start_paused = true)]
async fn events_that_wait_are_written_in_time_and_nobody_wakes_the_writer() {
    let outbox = Arc::new(Outbox::new());
    let (stream, mut peer) = tokio::io::duplex(64);
    let writer = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.write_to(stream).await }
    });
    let mut read = [0; 3];
    outbox.events([frame("1")].into_iter());
    outbox.flush().unwrap();
    peer.read_exact(&mut read[..1]).await.unwrap();
    for text in ["2", "3"] {
        outbox.events([frame(text)].into_iter());
        outbox.flush().unwrap();
        // The writer runs, and goes to sleep.
        tokio::task::yield_now().await;
    }
    peer.read_exact(&mut read[1..]).await.unwrap();
    assert_eq!(&read, b"123");
    drop(peer);
    outbox.abort();
    writer.await.unwrap().unwrap();
}
