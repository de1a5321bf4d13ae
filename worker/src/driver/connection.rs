//! One connection to the coordinator: the handshake, the task that writes, and the task that sends
//! heartbeats.
//!
//! ```text
//! engine ──── control ───▶ ┌────────┐
//! heartbeat ─ control ───▶ │ writer │ ──▶ socket      control goes first
//! engine ──── transfers ─▶ └────────┘
//! engine ◀─── reader ──────────────────── socket
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use common::id::{AssignmentId, Block, MemoryToken, StepId};
use common::limits::{CONTROL_QUEUE, HANDSHAKE_TIMEOUT, HEARTBEAT_INTERVAL, PULLS};
use common::memory;
use common::merge::Partial;
use common::wire::codec::{self, Frame, FrameReader};
use common::wire::handshake::{self, Accepted, HandshakeError};
use common::wire::message::{FromWorker, Role};
use common::wire::shared_memory::{LEAST_BYTES, PartialSlots};
use common::wire::stream::{Reader, Writer};
use common::wire::tls::CallerTls;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::compute::{Report, WorkTable};
use super::regions::SharedMemory;
use super::run::OpenRun;

/// Most waiting pulls. A pull is a few bytes; the coordinator may request one segment of very many
/// blocks at a time.
const PULL_QUEUE: usize = 4096;

// A merge that is paused and continued requests its missing segments again.
const _: () = assert!(4 * PULLS <= PULL_QUEUE);

/// How long sending the final message may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Merge segments of a kept partial, to be sent.
#[derive(Debug)]
pub(super) struct Pull {
    /// The step.
    pub(super) step: StepId,
    /// The block.
    pub(super) block: Block,
    /// The partial.
    pub(super) partial: Arc<Partial>,
    /// Its run, for the layout.
    pub(super) run: Arc<OpenRun>,
    /// Indexes of the segments, all in range.
    pub(super) segments: std::ops::Range<u32>,
}

/// The reason why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The coordinator refuses this worker, or this worker refuses the coordinator: a retry without
    /// a change cannot help.
    #[error("{0}")]
    Refused(String),
    /// The coordinator cannot be reached now.
    #[error("cannot reach the coordinator at {address}: {error}")]
    Unreachable {
        /// Its configured address.
        address: String,
        /// The error.
        error: String,
    },
}

/// See the [module](self). Dropping it closes the connection at once.
#[derive(Debug)]
pub(super) struct Connection {
    /// Frames from the coordinator.
    pub(super) reader: FrameReader<Reader>,
    /// Count of received bytes, including those that the reader sees only later.
    beneath: Option<Arc<AtomicU64>>,
    control: mpsc::Sender<Control>,
    pulls: mpsc::Sender<Pull>,
    writer: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
    /// The offer of memory that is being fetched.
    pub(super) offered: Option<MemoryToken>,
    memory: Arc<OnceLock<SharedMemory>>,
}

/// A control message.
#[derive(Debug)]
struct Control {
    frame: Frame,
    /// The assignment that may begin once this message is written.
    starts: Option<AssignmentId>,
}

impl Control {
    fn new(message: FromWorker) -> Self {
        Self { frame: codec::encode(message), starts: None }
    }
}

/// The queue is full or the socket is closed: the connection cannot be used any more.
#[derive(Debug)]
pub(super) struct Stuck;

impl Connection {
    /// Connects and does the handshake.
    pub(super) async fn open(
        address: String,
        tls: Option<CallerTls>,
        role: Role,
        work: WorkTable,
        reports: mpsc::Sender<Report>,
    ) -> Result<(Self, Accepted), ConnectError> {
        let unreachable =
            |error: String| ConnectError::Unreachable { address: address.clone(), error };
        let stream = timeout(HANDSHAKE_TIMEOUT, TcpStream::connect(&address))
            .await
            .map_err(|_| unreachable(format!("no answer in {} s", HANDSHAKE_TIMEOUT.as_secs())))?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| unreachable(error.to_string()))?;
        let called = handshake::call(stream, tls.as_ref(), handshake::hello(role)).await;
        let (mut reader, writer, accepted) = called.map_err(|error| match error {
            HandshakeError::Refused(reason) => {
                ConnectError::Refused(format!("refused by the coordinator: {reason}"))
            }
            HandshakeError::Keys(reason) => ConnectError::Refused(format!(
                "cannot work for the coordinator at {address}: {reason}"
            )),
            error => unreachable(error.of_caller()),
        })?;
        let (control, control_queue) = mpsc::channel(CONTROL_QUEUE);
        let (pulls, pull_queue) = mpsc::channel(PULL_QUEUE);
        let memory = Arc::new(OnceLock::new());
        let heartbeat = tokio::spawn(say_that_we_live(control.clone(), work, memory.clone()));
        let shared = memory.clone();
        let writer = tokio::spawn(async move {
            let queues = (control_queue, pull_queue);
            if let Err(error) = write_frames(writer, queues, &shared, reports).await {
                tracing::debug!("writing to the coordinator: {error}");
            }
        });
        let beneath = reader.stream_mut().beneath();
        let offered = None;
        let connection =
            Self { reader, beneath, control, pulls, writer, heartbeat, offered, memory };
        Ok((connection, accepted))
    }

    /// Bytes received so far; any of them is a sign of life.
    pub(super) fn received(&self) -> u64 {
        match &self.beneath {
            Some(received) => received.load(Ordering::Relaxed),
            None => self.reader.received(),
        }
    }

    /// Shares this memory with the coordinator. Returns whether none was shared before.
    pub(super) fn share(&self, memory: SharedMemory) -> bool {
        self.memory.set(memory).is_ok()
    }

    /// The memory that is shared with the coordinator.
    pub(super) fn memory(&self) -> Option<&SharedMemory> {
        self.memory.get()
    }

    /// Queues a control message.
    pub(super) fn send(&self, message: FromWorker) -> Result<(), Stuck> {
        self.control.try_send(Control::new(message)).map_err(|_| Stuck)
    }

    /// Queues the message that an assignment begins; [`Report::StartSaid`] is sent once it is
    /// written.
    pub(super) fn send_started(&self, assignment: AssignmentId) -> Result<(), Stuck> {
        let news = Control::new(FromWorker::Started { assignment });
        let news = Control { starts: Some(assignment), ..news };
        self.control.try_send(news).map_err(|_| Stuck)
    }

    /// Queues segments, behind all control messages.
    pub(super) fn send_segments(&self, pull: Pull) -> Result<(), Stuck> {
        self.pulls.try_send(pull).map_err(|_| Stuck)
    }

    /// Writes the queued control messages and the final message, and closes after the coordinator
    /// has closed: otherwise the coordinator's remaining messages would reach a closed socket, and
    /// the final message might be lost with the connection. The remaining messages are ignored.
    pub(super) async fn close(mut self, last: FromWorker) {
        self.heartbeat.abort();
        let closing = async {
            let _ = self.control.send(Control::new(last)).await;
            let (nobody, _) = mpsc::channel(1);
            self.control = nobody;
            let _ = (&mut self.writer).await;
            let _ = tokio::io::copy(self.reader.stream_mut(), &mut tokio::io::sink()).await;
        };
        if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::debug!("the coordinator did not read the last message in time");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.heartbeat.abort();
        self.writer.abort();
    }
}

/// Sends a heartbeat with the worker's progress every second, independently of everything else.
/// Ends with the connection.
async fn say_that_we_live(
    control: mpsc::Sender<Control>,
    work: WorkTable,
    shared: Arc<OnceLock<SharedMemory>>,
) {
    let mut ticks = interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Its slots of partials are its own. Those of states are the coordinator's.
        let shared = shared.get().map_or(0, |memory| memory.partials.used_bytes());
        let memory = memory::unshared() + shared;
        let message = FromWorker::Heartbeat { memory, progress: work.progress() };
        if control.send(Control::new(message)).await.is_err() {
            return;
        }
    }
}

/// Writes control messages, and segments between them, until there is no sender of control messages
/// any more.
async fn write_frames(
    mut stream: Writer,
    (mut control, mut pulls): (mpsc::Receiver<Control>, mpsc::Receiver<Pull>),
    memory: &OnceLock<SharedMemory>,
    reports: mpsc::Sender<Report>,
) -> std::io::Result<()> {
    let mut pull: Option<Pull> = None;
    loop {
        let Control { frame, starts } = tokio::select! {
            biased;
            control = control.recv() => match control {
                Some(control) => control,
                None => return Ok(()),
            },
            frame = segment(&mut pull, &mut pulls, memory) => Control { frame, starts: None },
        };
        codec::write(&mut stream, &frame).await?;
        if let Some(assignment) = starts {
            // If the worker is leaving, nothing receives reports any more.
            let _ = reports.send(Report::StartSaid(assignment)).await;
        }
    }
}

/// The next segment of the current pull or of the next one. Cancel-safe: nothing is taken before
/// the last wait.
async fn segment(
    pull: &mut Option<Pull>,
    pulls: &mut mpsc::Receiver<Pull>,
    memory: &OnceLock<SharedMemory>,
) -> Frame {
    loop {
        if let Some(pull) = pull
            && !pull.segments.is_empty()
        {
            let slot = match memory.get().filter(|_| pull.is_large()) {
                Some(memory) => Some((&*memory.partials, memory.partials.take().await)),
                None => None,
            };
            return pull.encode_next(slot);
        }
        // It refers to a partial, whose memory may be needed.
        *pull = None;
        match pulls.recv().await {
            Some(next) => *pull = Some(next),
            None => std::future::pending().await,
        }
    }
}

impl Pull {
    /// The values of the next segment: usually the partial's own memory, otherwise a copy of at
    /// most one payload.
    fn payload(&self) -> Bytes {
        let place = &self.run.merge_segments[self.segments.start as usize];
        self.partial.shared_segment(&self.run.layout, place)
    }

    /// Whether the next segment is worth a slot of shared memory.
    fn is_large(&self) -> bool {
        self.payload().len() >= LEAST_BYTES
    }

    /// The message with the next segment, or the one that it lies in this slot of shared memory.
    fn encode_next(&mut self, slot: Option<(&PartialSlots, u32)>) -> Frame {
        let payload = self.payload();
        let (step, block, segment) = (self.step, self.block, self.segments.start);
        self.segments.start += 1;
        if let Some((slots, slot)) = slot {
            if slots.write(slot, &payload).is_ok() {
                let bytes = payload.len() as u32;
                let message = FromWorker::SegmentInMemory { step, block, segment, slot, bytes };
                return codec::encode(message);
            }
            slots.read(&[slot]);
        }
        codec::encode(FromWorker::PartialSegment { step, block, segment, payload })
    }
}

#[cfg(test)]
mod tests {
    use common::wire::stream;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Whether the message that an assignment begins could be written, on an open or closed
    /// connection, and the reports that the engine received.
    async fn write_started(is_open: bool) -> (bool, Option<Report>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_reader, mut writer) = stream::plain(stream);
        if !is_open {
            writer.shutdown().await.unwrap();
        }
        let (control, control_queue) = mpsc::channel(1);
        let (_pulls, pull_queue) = mpsc::channel(1);
        let (reports, mut told) = mpsc::channel(1);
        let assignment = AssignmentId(1);
        let news = Control::new(FromWorker::Started { assignment });
        control.send(Control { starts: Some(assignment), ..news }).await.unwrap();
        drop(control);
        let queues = (control_queue, pull_queue);
        let written = write_frames(writer, queues, &OnceLock::new(), reports).await;
        (written.is_ok(), told.recv().await)
    }

    #[tokio::test]
    async fn only_what_is_written_was_said() {
        let (is_written, told) = write_started(true).await;
        assert!(is_written && matches!(told, Some(Report::StartSaid(AssignmentId(1)))));
        let (is_written, told) = write_started(false).await;
        assert!(!is_written && told.is_none(), "the start must not be reported: {told:?}");
    }
}
