//! The writing of an [`Outbox`]: the task of a connection that empties the lanes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::memory::SharedLanes;
use super::{CLOSE_GRACE, Ending, Outbox, Transfer};

/// Bytes of data frames in one write, unless a single frame is larger: small enough not to delay
/// control messages.
pub(super) const WRITE_BYTES: usize = 256 << 10;

/// Most pieces of memory in one vectored write.
const WRITE_PIECES: usize = 64;

/// How long events wait for others, to be written with them, after the last write of events: there
/// may be thousands of short steps per second, and each write wakes the client.
const GATHERING: Duration = Duration::from_millis(1);

/// Most events that wait for others.
pub(super) const GATHERED: usize = WRITE_PIECES / 2;

impl Outbox {
    /// Writes queued messages until the connection ends or fails.
    pub(in crate::server) async fn write_to<W: AsyncWrite + Unpin>(
        &self,
        stream: W,
    ) -> std::io::Result<()> {
        let writing = self.write_all_to(stream);
        tokio::pin!(writing);
        tokio::select! {
            biased;
            done = &mut writing => return done,
            () = self.parting.notified() => {}
        }
        // A peer that does not read does not get the final message either.
        timeout(CLOSE_GRACE, writing).await.unwrap_or(Ok(()))
    }

    async fn write_all_to<W: AsyncWrite + Unpin>(&self, mut stream: W) -> std::io::Result<()> {
        let mut pieces = VecDeque::new();
        let mut flushed = true;
        loop {
            match self.fill(&mut pieces) {
                Fill::End => {
                    // A peer that does not read does not get the final message either.
                    let end = timeout(CLOSE_GRACE, stream.shutdown()).await;
                    return end.unwrap_or(Ok(()));
                }
                // Encrypted bytes may still wait in TLS for the socket.
                Fill::Wait(until) => tokio::select! {
                    biased;
                    done = stream.flush(), if !flushed => {
                        done?;
                        flushed = true;
                    }
                    () = self.wake.notified() => {}
                    () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
                },
                Fill::Write => {
                    flushed = false;
                    let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
                    let count = slices.len().min(pieces.len());
                    for (slice, piece) in slices.iter_mut().zip(&pieces) {
                        *slice = IoSlice::new(piece);
                    }
                    tokio::select! {
                        biased;
                        written = stream.write_vectored(&slices[..count]) => {
                            advance(&mut pieces, written?)?;
                        }
                        // Wakes for an end or a state to release; everything else waits until these
                        // pieces are written.
                        () = self.wake.notified() => {}
                    }
                }
            }
        }
    }

    /// Takes the next frames to write, once all earlier ones are written.
    pub(super) fn fill(&self, pieces: &mut VecDeque<Bytes>) -> Fill {
        let mut lanes = self.lanes();
        if lanes.ending == Ending::Now {
            return Fill::End;
        }
        if !pieces.is_empty() {
            if std::mem::take(&mut lanes.detach) {
                for piece in pieces {
                    *piece = Bytes::copy_from_slice(piece);
                }
            }
            return Fill::Write;
        }
        lanes.writing = None;
        lanes.detach = false;
        lanes.gathers = false;
        if let Some(Transfer::Events(_)) = lanes.data.front() {
            let now = Instant::now();
            let until = lanes.events_wait.filter(|until| *until > now);
            lanes.gathers = until.is_some() && lanes.may_gather();
            if lanes.gathers {
                return Fill::Wait(until);
            }
            lanes.events_wait = Some(now + GATHERING);
        }
        let mut bytes = 0;
        while pieces.len() + 2 <= WRITE_PIECES && bytes < WRITE_BYTES {
            let (frame, step) = match lanes.next_control() {
                Some(frame) => (frame, None),
                None => match lanes.next_data() {
                    Some(next) => next,
                    None => break,
                },
            };
            lanes.writing = step.or(lanes.writing);
            bytes += frame.head.len() + frame.body.len();
            pieces.push_back(frame.head);
            if !frame.body.is_empty() {
                pieces.push_back(frame.body);
            }
            // Written into memory under this lock, which must not be held for long.
            if lanes.memory.as_mut().is_some_and(SharedLanes::take_written) {
                break;
            }
        }
        match (pieces.is_empty(), lanes.ending) {
            (false, _) => Fill::Write,
            (true, Ending::Open) => Fill::Wait(None),
            (true, _) => Fill::End,
        }
    }
}

/// The writer's next action.
pub(super) enum Fill {
    Write,
    /// For a new message, or until then.
    Wait(Option<Instant>),
    End,
}

/// Drops the first `written` bytes of the pieces.
pub(super) fn advance(pieces: &mut VecDeque<Bytes>, mut written: usize) -> std::io::Result<()> {
    if written == 0 {
        return Err(std::io::ErrorKind::WriteZero.into());
    }
    while written > 0 {
        let Some(piece) = pieces.front_mut() else { break };
        let taken = written.min(piece.len());
        piece.advance(taken);
        written -= taken;
        if piece.is_empty() {
            pieces.pop_front();
        }
    }
    Ok(())
}
