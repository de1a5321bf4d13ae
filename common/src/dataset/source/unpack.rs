//! Files that are packed as one stream: gzip, bzip2, xz and zstd.
//!
//! What follows the last stream of a file is treated as by the format's own tool: `gzip` and
//! `bzip2` ignore it, for `xz` and `zstd` it is damage.

use std::error::Error;
use std::io::{self, ErrorKind, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::ahead::Ahead;

/// Limit of the memory for the bytes to which packed data may refer: `zstd` unpacks no more by
/// default, and `xz -9` needs half of it.
const WINDOW_BYTES: u64 = 128 << 20;

/// Memory that an xz decoder needs besides its window, in KiB.
const XZ_OWN_KIB: u32 = 1 << 10;

/// First four bytes of a zstd frame, little-endian.
const ZSTD_FRAME: u32 = 0xfd2f_b528;

/// First four bytes of a zstd frame to skip, with any last four bits, little-endian.
const ZSTD_SKIPPED: u32 = 0x184d_2a50;

/// Unpacks gzip data of one or more members.
pub(super) fn gzip<R: Read>(packed: Ahead<R>) -> impl Read {
    Streams { current: Some(GzDecoder::new(packed)) }
}

/// Unpacks bzip2 data of one or more streams.
pub(super) fn bzip2<R: Read>(packed: Ahead<R>) -> impl Read {
    Streams { current: Some(BzDecoder::new(packed)) }
}

/// Unpacks xz data of one or more streams.
pub(super) fn xz<R: Read>(packed: Ahead<R>) -> impl Read {
    let limit = (WINDOW_BYTES >> 10) as u32 + XZ_OWN_KIB;
    XzReader::new_mem_limit(packed, true, limit)
}

/// Unpacks zstd data of one or more frames.
pub(super) fn zstd<R: Read>(packed: Ahead<R>) -> impl Read {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_BYTES);
    Frames { packed, decoder, open: false, unpacked: 0 }
}

/// What is wrong with packed data that did not unpack, for errors.
pub(super) fn problem(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::OutOfMemory => format!(
            "data that needs more than {} MiB of memory to unpack: pack it again with the \
             packer's defaults",
            WINDOW_BYTES >> 20
        ),
        ErrorKind::Unsupported => error.to_string(),
        _ => format!("damage ({error})"),
    }
}

/// The system's error that is the cause of this one, if a file could not be read.
pub(super) fn system_error(error: &io::Error) -> Option<io::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        cause = match error.downcast_ref::<io::Error>() {
            Some(error) => match error.raw_os_error() {
                Some(code) => return Some(io::Error::from_raw_os_error(code)),
                // Its `source` would leave out the error inside.
                None => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            },
            None => error.source(),
        };
    }
    None
}

/// A decoder of one stream.
trait Stream<R>: Read {
    fn start(packed: Ahead<R>) -> Self;
    /// What follows, once the stream is read.
    fn finish(self) -> Ahead<R>;
    /// Whether another stream starts with these bytes.
    fn follows(start: &[u8]) -> bool;
}

impl<R: Read> Stream<R> for GzDecoder<Ahead<R>> {
    fn start(packed: Ahead<R>) -> Self {
        Self::new(packed)
    }

    fn finish(self) -> Ahead<R> {
        self.into_inner()
    }

    fn follows(start: &[u8]) -> bool {
        start.starts_with(&[0x1f, 0x8b])
    }
}

impl<R: Read> Stream<R> for BzDecoder<Ahead<R>> {
    fn start(packed: Ahead<R>) -> Self {
        Self::new(packed)
    }

    fn finish(self) -> Ahead<R> {
        self.into_inner()
    }

    fn follows(start: &[u8]) -> bool {
        matches!(start, [b'B', b'Z', b'h', b'1'..=b'9', ..])
    }
}

/// Streams one after the other. What follows the last one is ignored.
struct Streams<D> {
    current: Option<D>,
}

impl<R: Read> Read for Streams<GzDecoder<Ahead<R>>> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        next_bytes(&mut self.current, out)
    }
}

impl<R: Read> Read for Streams<BzDecoder<Ahead<R>>> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        next_bytes(&mut self.current, out)
    }
}

fn next_bytes<R: Read, D: Stream<R>>(current: &mut Option<D>, out: &mut [u8]) -> io::Result<usize> {
    while let Some(stream) = current {
        let read = stream.read(out)?;
        if read > 0 || out.is_empty() {
            return Ok(read);
        }
        let Some(mut packed) = current.take().map(D::finish) else { break };
        if D::follows(packed.peek(4)?) {
            *current = Some(D::start(packed));
        }
    }
    Ok(0)
}

/// Frames of zstd, one after the other.
struct Frames<R> {
    packed: Ahead<R>,
    decoder: FrameDecoder,
    /// Whether the decoder is in a frame.
    open: bool,
    /// Bytes of this frame that are unpacked.
    unpacked: u64,
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        while self.open || self.open_next()? {
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.packed, one).map_err(frame_error)?;
            }
            let read = self.decoder.read(out)?;
            self.unpacked += read as u64;
            if read > 0 {
                return Ok(read);
            }
            self.close()?;
        }
        Ok(0)
    }
}

impl<R: Read> Frames<R> {
    /// Opens the next frame with data; `false` at the end of the file.
    fn open_next(&mut self) -> io::Result<bool> {
        loop {
            let start = self.packed.peek(8)?;
            if start.is_empty() {
                return Ok(false);
            }
            let word = |at| start.get(at..at + 4).and_then(|word| word.try_into().ok());
            let word = |at| word(at).map(u32::from_le_bytes);
            match (word(0), word(4)) {
                (Some(ZSTD_FRAME), _) => break,
                (Some(magic), Some(bytes)) if magic & !0xf == ZSTD_SKIPPED => {
                    self.skip(8 + u64::from(bytes))?;
                }
                _ => return Err(damage("something else behind the last frame")),
            }
        }
        self.decoder.init(&mut self.packed).map_err(frame_error)?;
        (self.open, self.unpacked) = (true, 0);
        Ok(true)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.packed.by_ref().take(bytes), &mut io::sink())?;
        if skipped < bytes { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Checks a frame that is read: the decoder leaves that to its caller.
    fn close(&mut self) -> io::Result<()> {
        self.open = false;
        let size = self.decoder.content_size();
        // 0 where the frame does not name it.
        if size != 0 && size != self.unpacked {
            return Err(damage("a frame with another size than it names"));
        }
        let sum = self.decoder.get_checksum_from_data();
        if sum.is_some() && sum != self.decoder.get_calculated_checksum() {
            return Err(damage("a frame with another checksum than it names"));
        }
        Ok(())
    }
}

fn frame_error(error: FrameDecoderError) -> io::Error {
    match error {
        FrameDecoderError::WindowSizeTooBig { .. } => ErrorKind::OutOfMemory.into(),
        FrameDecoderError::DictNotProvided { .. } => io::Error::new(
            ErrorKind::Unsupported,
            "data that needs a dictionary: pack it again without one",
        ),
        error => io::Error::other(error),
    }
}

fn damage(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
