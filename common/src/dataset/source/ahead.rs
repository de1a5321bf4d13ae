//! [`Ahead`]: a reader whose next bytes can be seen before they are read.

use std::io::{self, BufRead, ErrorKind, Read};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Most bytes that can be seen before they are read.
pub(super) const PEEK_BYTES: usize = 512;

/// A buffered reader whose next bytes can be seen before they are read, even where the source
/// gives a few bytes at a time, as pipes do. An error is reported after the bytes before it,
/// and the source is not read again after its end or an error.
pub(super) struct Ahead<R> {
    source: R,
    buffer: Box<[u8]>,
    /// The bytes of the buffer that are read but not yet used.
    start: usize,
    end: usize,
    state: State,
}

enum State {
    Open,
    Ended,
    /// With the error until it is reported.
    Failed(Option<io::Error>),
}

impl<R: Read> Ahead<R> {
    pub(super) fn new(source: R) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, state: State::Open }
    }

    /// The next bytes: at least `bytes` (which are at most [`PEEK_BYTES`]) unless the source ends
    /// or fails before. An error is reported once no bytes before it are left.
    pub(super) fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let bytes = bytes.min(PEEK_BYTES);
        while self.end - self.start < bytes && matches!(self.state, State::Open) {
            self.fill();
        }
        if self.start == self.end {
            self.check()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Reads once more behind the bytes that are left.
    fn fill(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.source.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.state = State::Ended,
            Ok(read) => self.end += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => self.state = State::Failed(Some(error)),
        }
    }

    fn check(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Open | State::Ended => Ok(()),
            State::Failed(error) => Err(error
                .take()
                .unwrap_or_else(|| io::Error::other("an earlier part could not be read"))),
        }
    }
}

impl<R: Read> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)
    }

    fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }
}

impl<R: Read> Read for Ahead<R> {
    /// Fills the first [`PEEK_BYTES`] of `out` unless the source ends before.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Large reads go past the buffer.
        if self.start == self.end && out.len() >= BUFFER_BYTES && matches!(self.state, State::Open)
        {
            let result = self.source.read(out);
            match &result {
                Ok(0) => self.state = State::Ended,
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    self.state = State::Failed(None);
                }
                _ => {}
            }
            return result;
        }
        let ready = self.peek(out.len())?;
        let read = ready.len().min(out.len());
        out[..read].copy_from_slice(&ready[..read]);
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, then an error, and panics when it is read after that.
    struct Drops(u8);

    impl Read for Drops {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).expect("not read after the error");
            match self.0 {
                0 => Err(io::Error::other("gone")),
                left if left % 2 == 0 => Err(ErrorKind::Interrupted.into()),
                left => {
                    out[0] = left;
                    Ok(1)
                }
            }
        }
    }

    #[test]
    fn sees_bytes_before_they_are_read() {
        let mut ahead = Ahead::new(Drops(10));
        assert_eq!(ahead.peek(3).unwrap(), [9, 7, 5]);
        let mut out = [0; 2];
        assert_eq!(ahead.read(&mut out).unwrap(), 2);
        assert_eq!(out, [9, 7]);
        assert_eq!(ahead.peek(500).unwrap(), [5, 3, 1]);
        ahead.consume(3);
        assert_eq!(ahead.peek(1).unwrap_err().to_string(), "gone");
        assert!(ahead.peek(1).is_err());
        assert!(ahead.read(&mut vec![0; BUFFER_BYTES]).is_err());
    }

    #[test]
    fn large_reads_pass_the_buffer() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let mut ahead = Ahead::new(&bytes[..]);
        assert_eq!(ahead.peek(4).unwrap()[..4], bytes[..4]);
        let mut read = Vec::new();
        ahead.read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert!(ahead.peek(1).unwrap().is_empty());
    }
}
