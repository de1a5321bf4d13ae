//! A client's connection to its coordinator.

use std::time::Duration;

use common::dataset::Schema;
use common::id::RunId;
use common::limits;
use common::run_settings::RunSettings;
use common::spec::{RunSpec, Split};
use common::state::{Layout, NetworkState};
use common::wire::Frame;
use common::wire::codec::{self, FrameReader};
use common::wire::handshake::{self, HandshakeError};
use common::wire::message::{FromClient, Role, RunEvent, Status, ToClient};
use common::wire::stream::{Reader, Writer};
use common::wire::tls::CallerTls;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::error::ClientError;
use super::submission::Submission;
use crate::runs::History;

/// Time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The final state of a run, and its metadata.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The state.
    pub state: NetworkState,
    /// The run's spec.
    pub spec: RunSpec,
    /// What its examples mean, if that is known.
    pub schema: Option<Schema>,
    /// The run's history.
    pub history: History,
}

/// A client's connection to its coordinator. Dropping it closes it.
#[derive(Debug)]
pub struct Client {
    address: String,
    tls: Option<CallerTls>,
    reader: FrameReader<Reader>,
    outbox: mpsc::Sender<Frame>,
    silence: Duration,
}

impl Client {
    /// Connects to `HOST:PORT` and performs the handshake, under TLS if there are keys.
    pub async fn connect(address: &str, tls: Option<&CallerTls>) -> Result<Self, ClientError> {
        let connect_error = |error| ClientError::Connect { address: address.into(), error };
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(connect_error)?;
        stream.set_nodelay(true).map_err(connect_error)?;
        let called = handshake::call(stream, tls, handshake::hello(Role::Client)).await;
        let (reader, write, accepted) = called.map_err(|error| match error {
            HandshakeError::Refused(reason) => ClientError::Refused { reason },
            HandshakeError::Keys(reason) | HandshakeError::Stale(reason) => {
                ClientError::Keys { address: address.into(), reason }
            }
            error => ClientError::Lost { address: address.into(), reason: error.of_caller() },
        })?;
        let silence = accepted.heartbeat_timeout.max(limits::HEARTBEAT_INTERVAL);
        let (outbox, queue) = mpsc::channel(limits::DATA_QUEUE);
        tokio::spawn(write_frames(write, queue));
        Ok(Self { address: address.into(), tls: tls.cloned(), reader, outbox, silence })
    }

    /// Connects, retrying for up to `patience`.
    pub async fn connect_within(
        address: &str,
        tls: Option<&CallerTls>,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let end = Instant::now() + patience;
        let mut wait = limits::RECONNECT_MIN;
        loop {
            match Self::connect(address, tls).await {
                Err(error) if error.may_pass() && Instant::now() + wait < end => sleep(wait).await,
                connected => return connected,
            }
            wait = (2 * wait).min(limits::RECONNECT_MAX);
        }
    }

    /// Reconnects, retrying for up to `patience`.
    pub async fn reconnect(&mut self, patience: Duration) -> Result<(), ClientError> {
        *self = Self::connect_within(&self.address, self.tls.as_ref(), patience).await?;
        Ok(())
    }

    /// Submits a run and sends the chunks of data that the coordinator lacks.
    pub async fn submit(&mut self, submission: &Submission) -> Result<RunId, ClientError> {
        let frame = codec::encode(FromClient::Submit {
            key: submission.key,
            spec: submission.spec.to_toml(),
            schema: submission.schema.clone(),
            train: submission.train.clone(),
            test: submission.test.clone(),
            state: submission.state.as_ref().map(NetworkState::layout),
            settings: submission.settings.clone(),
            replay: submission.replay,
        });
        let found = frame.head.len() + frame.body.len();
        if found > limits::FRAME_BYTES {
            return Err(ClientError::TooLarge { limit: limits::FRAME_BYTES, found });
        }
        let mut upload = Upload::new(submission);
        let mut next = Some(frame);
        let outbox = self.outbox.clone();
        loop {
            tokio::select! {
                // A rejection must not wait for the rest of the data, so both
                // directions are served while there is something to send.
                permit = outbox.reserve(), if next.is_some() => {
                    match (permit, next.take()) {
                        (Ok(permit), Some(frame)) => permit.send(frame),
                        // The writer is gone; the reader returns the reason.
                        _ => upload.clear(),
                    }
                    next = upload.next_frame();
                }
                message = self.next_message() => match message? {
                    ToClient::NeedChunks { split, chunks } => {
                        if let Some(bad) = upload.want(split, &chunks) {
                            let what = format!("a request for chunk {bad} of the {split:?} split, which does not exist");
                            return Err(self.unexpected(what));
                        }
                        if next.is_none() {
                            next = upload.next_frame();
                        }
                    }
                    ToClient::Accepted { run, .. } => return Ok(run),
                    other => return Err(self.refused_or_unexpected(other)),
                }
            }
        }
    }

    /// Resumes a run that has ended, or forks it, with changes of its spec. Returns the
    /// number of the continuing run, and the damaged checkpoints that were skipped.
    pub async fn resume(
        &mut self,
        run: RunId,
        settings: RunSettings,
        fork: Option<Vec<(String, String)>>,
    ) -> Result<(RunId, Option<String>), ClientError> {
        self.send(FromClient::Resume { run, settings, fork }).await?;
        match self.next_message().await? {
            ToClient::Accepted { run, passed_over } => Ok((run, passed_over)),
            other => Err(self.refused_or_unexpected(other)),
        }
    }

    /// Asks for the events of a run, from its beginning.
    pub async fn follow(&mut self, run: RunId) -> Result<(), ClientError> {
        self.send(FromClient::Follow { run }).await
    }

    /// The next event of the followed run. The confirmation that the run was cancelled on
    /// our request counts as one. Cancel-safe.
    pub async fn next_event(&mut self) -> Result<RunEvent, ClientError> {
        match self.next_message().await? {
            ToClient::Event(event) => Ok(event),
            ToClient::Cancelled { run } => Ok(RunEvent::Cancelled { run }),
            other => Err(self.refused_or_unexpected(other)),
        }
    }

    /// Requests that a run is cancelled; [`Client::next_event`] confirms it.
    pub async fn request_cancel(&mut self, run: RunId) -> Result<(), ClientError> {
        self.send(FromClient::Cancel { run }).await
    }

    /// Cancels a run of any client, and waits until it is cancelled.
    pub async fn cancel(&mut self, run: RunId) -> Result<(), ClientError> {
        self.request_cancel(run).await?;
        match self.next_message().await? {
            ToClient::Cancelled { .. } => Ok(()),
            other => Err(self.refused_or_unexpected(other)),
        }
    }

    /// The cluster's status.
    pub async fn status(&mut self) -> Result<Status, ClientError> {
        self.send(FromClient::Status).await?;
        match self.next_message().await? {
            ToClient::Status(status) => Ok(status),
            other => Err(self.refused_or_unexpected(other)),
        }
    }

    /// Fetches the final state of a run and its metadata, and checks the digest.
    pub async fn fetch(&mut self, run: RunId) -> Result<Fetched, ClientError> {
        self.send(FromClient::Fetch { run }).await?;
        let (spec, schema, layout, digest, history_bytes) = match self.next_message().await? {
            ToClient::State { spec, schema, layout, digest, history_bytes, .. } => {
                (spec, schema, layout, digest, history_bytes)
            }
            other => return Err(self.refused_or_unexpected(other)),
        };
        let state = self.receive_state(&layout).await?;
        let found = state.digest();
        if found != digest {
            let what = format!("a state of digest {found}, expected digest {digest}");
            return Err(self.unexpected(what));
        }
        let history = self.receive_history(history_bytes as usize).await?;
        let spec = RunSpec::from_toml(&spec).map_err(|error| self.unexpected(error.to_string()))?;
        let schema =
            Some(&schema).filter(|text| !text.is_empty()).map(|text| Schema::from_json(text));
        let schema = schema.transpose().map_err(|error| self.unexpected(error.to_string()))?;
        Ok(Fetched { state, spec, schema, history })
    }

    /// Receives a history of this length, which has been checked.
    async fn receive_history(&mut self, bytes: usize) -> Result<History, ClientError> {
        let mut text = Vec::with_capacity(bytes);
        for (index, start) in (0..bytes).step_by(limits::PAYLOAD_BYTES).enumerate() {
            let expected = limits::PAYLOAD_BYTES.min(bytes - start);
            match self.next_message().await? {
                ToClient::History { piece, payload }
                    if (piece as usize, payload.len()) == (index, expected) =>
                {
                    text.extend_from_slice(&payload);
                }
                other => return Err(self.refused_or_unexpected(other)),
            }
        }
        let text = String::from_utf8(text).map_err(|error| self.unexpected(error.to_string()))?;
        History::from_json(&text).map_err(|error| self.unexpected(error.to_string()))
    }

    async fn receive_state(&mut self, layout: &Layout) -> Result<NetworkState, ClientError> {
        let mut state = layout
            .validate()
            .and_then(|()| NetworkState::zeros(layout))
            .map_err(|error| self.unexpected(error.to_string()))?;
        for (index, expected) in layout.state_segments().iter().enumerate() {
            match self.next_message().await? {
                ToClient::StateSegment { segment, payload } if segment as usize == index => state
                    .write_segment(index, expected, &payload)
                    .map_err(|error| self.unexpected(error.to_string()))?,
                other => return Err(self.refused_or_unexpected(other)),
            }
        }
        Ok(state)
    }

    async fn send(&mut self, message: FromClient) -> Result<(), ClientError> {
        let sent = self.outbox.send(codec::encode(message)).await;
        sent.map_err(|_| self.lost("it has closed the connection"))
    }

    /// The next message other than a heartbeat. Cancel-safe.
    async fn next_message(&mut self) -> Result<ToClient, ClientError> {
        loop {
            let content = match timeout(self.silence, self.reader.next()).await {
                Ok(Ok(Some(content))) => content,
                Ok(Ok(None)) => return Err(self.lost("it has closed the connection")),
                // Bytes that changed in transit may be right in the next attempt.
                Ok(Err(error)) => return Err(self.lost(&error.to_string())),
                Err(_) => {
                    let silence = self.silence.as_secs_f64();
                    return Err(self.lost(&format!("it was silent for {silence} s")));
                }
            };
            match codec::decode(&content) {
                Ok(ToClient::Heartbeat) => {}
                Ok(ToClient::Goodbye { reason }) => {
                    return Err(self.lost(&format!("it closes the connection: {reason}")));
                }
                Ok(message) => return Ok(message),
                Err(error) => return Err(self.unexpected(error.to_string())),
            }
        }
    }

    fn lost(&self, reason: &str) -> ClientError {
        ClientError::Lost { address: self.address.clone(), reason: reason.into() }
    }

    fn unexpected(&self, what: String) -> ClientError {
        ClientError::Unexpected { address: self.address.clone(), what }
    }

    fn refused_or_unexpected(&self, message: ToClient) -> ClientError {
        if let ToClient::Rejected { bad_input, reason } = message {
            return ClientError::Rejected { bad_input, reason };
        }
        let text = format!("{message:?}");
        self.unexpected(text.chars().take(80).collect())
    }
}

/// Writes queued messages, with heartbeats in between, until the client is dropped or the
/// connection fails (which the reader notices).
async fn write_frames(mut write: Writer, mut queue: mpsc::Receiver<Frame>) {
    let mut beat = interval(limits::HEARTBEAT_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            frame = queue.recv() => match frame {
                Some(frame) => frame,
                None => return,
            },
            _ = beat.tick() => codec::encode(FromClient::Heartbeat),
        };
        if codec::write(&mut write, &frame).await.is_err() {
            return;
        }
    }
}

/// The remaining chunks of a submission, encoded one frame at a time, so that only a few
/// are in memory.
struct Upload<'a> {
    submission: &'a Submission,
    state: std::iter::Enumerate<std::vec::IntoIter<common::state::Segment>>,
    chunks: std::collections::VecDeque<(Split, u32)>,
}

impl<'a> Upload<'a> {
    fn new(submission: &'a Submission) -> Self {
        let state = submission.state.as_ref().map(|state| state.layout().state_segments());
        Self {
            submission,
            state: state.unwrap_or_default().into_iter().enumerate(),
            chunks: Default::default(),
        }
    }

    fn clear(&mut self) {
        self.state = Vec::new().into_iter().enumerate();
        self.chunks.clear();
    }

    /// Queues the chunks that the coordinator lacks; returns a requested chunk that does not
    /// exist, if any.
    fn want(&mut self, split: Split, chunks: &[u32]) -> Option<u32> {
        let manifest = match split {
            Split::Train => &self.submission.train,
            Split::Test => &self.submission.test,
        };
        let known = manifest.chunks.len();
        // More requests than chunks means that some were requested twice.
        let room = limits::DATASET_CHUNKS * 2 - self.chunks.len();
        if let Some(bad) = chunks.iter().find(|chunk| **chunk as usize >= known) {
            return Some(*bad);
        }
        if chunks.len() > room {
            return chunks.first().copied();
        }
        self.chunks.extend(chunks.iter().map(|chunk| (split, *chunk)));
        None
    }

    fn next_frame(&mut self) -> Option<Frame> {
        if let (Some(state), Some((index, segment))) = (&self.submission.state, self.state.next()) {
            let mut payload = Vec::new();
            state.read_segment(&segment, &mut payload);
            let message =
                FromClient::StateSegment { segment: index as u32, payload: payload.into() };
            return Some(codec::encode(message));
        }
        let (split, chunk) = self.chunks.pop_front()?;
        let payload = self.submission.chunk(split, chunk as usize);
        Some(codec::encode(FromClient::Chunk { split, chunk, payload }))
    }
}

#[cfg(test)]
mod tests;
