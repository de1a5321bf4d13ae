//! One image, as PNG or JPEG has it, as bytes.
//!
//! JPEG is decoded by whole numbers only, without instructions that some CPUs lack: the same bytes on
//! every host. Other decoders give a little different ones.

use std::io::Cursor;

use jpeg_decoder::PixelFormat;
use png::{BitDepth, ColorType, Limits, Transformations};

use crate::limits;

/// An image: its shape as `[height, width]` or `[height, width, channels]`, and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Image {
    pub(super) shape: Vec<u32>,
    pub(super) bytes: Vec<u8>,
}

/// Why bytes are no image that can be read: what was expected, and what was found.
#[derive(Debug, PartialEq)]
pub(super) struct NoImage {
    pub(super) expected: String,
    pub(super) found: String,
}

/// First bytes of images of other formats, and their names.
const OTHERS: [(&[u8], &str); 6] = [
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"RIFF", "WebP"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
];

/// Largest file of an image: far more than its pixels need.
pub(super) const FILE_BYTES: usize = 4 << 20;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const JPEG: &[u8] = b"\xff\xd8\xff";

/// Memory for what a PNG decoder keeps beside the pixels, in bytes.
const PNG_BYTES: usize = 8 << 20;

/// Whether bytes begin as an image.
pub(super) fn is_image(bytes: &[u8]) -> bool {
    let others = OTHERS.iter().map(|(start, _)| *start);
    others.chain([PNG, JPEG]).any(|start| bytes.starts_with(start))
}

/// Decodes an image.
pub(super) fn decode(bytes: &[u8]) -> Result<Image, NoImage> {
    if bytes.len() > FILE_BYTES {
        let expected = format!("an image in a file of at most {FILE_BYTES} bytes");
        return Err(NoImage { expected, found: "a larger one".into() });
    }
    if bytes.starts_with(PNG) {
        return png(bytes);
    }
    if bytes.starts_with(JPEG) {
        return jpeg(bytes);
    }
    let other = OTHERS.iter().find(|(start, _)| bytes.starts_with(start));
    let start = bytes[..bytes.len().min(8)].escape_ascii();
    let found = other.map_or(format!("bytes that begin with {start}"), |(_, name)| (*name).into());
    Err(NoImage { expected: "an image as PNG or JPEG".into(), found })
}

fn png(bytes: &[u8]) -> Result<Image, NoImage> {
    let damaged = |error: png::DecodingError| damaged("PNG", &error);
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: PNG_BYTES });
    // Palettes and pixels of less than 8 bits become bytes.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (color, depth) = reader.output_color_type();
    if depth == BitDepth::Sixteen {
        let found = "pixels of 16 bits: convert the images, or save them as arrays of numbers";
        return Err(NoImage { expected: "pixels of 8 bits".into(), found: found.into() });
    }
    let channels = match color {
        ColorType::Grayscale | ColorType::Indexed => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
    };
    let (width, height) = reader.info().size();
    let (shape, size) = shape(height, width, channels)?;
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels).map_err(damaged)?;
    Ok(Image { shape, bytes: pixels })
}

fn jpeg(bytes: &[u8]) -> Result<Image, NoImage> {
    let damaged = |error: jpeg_decoder::Error| damaged("JPEG", &error);
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(bytes));
    decoder.set_max_decoding_buffer_size(limits::FEATURES as usize);
    decoder.read_info().map_err(damaged)?;
    let info = decoder.info();
    let channels = match info.map(|info| info.pixel_format) {
        Some(PixelFormat::L8) => 1,
        Some(PixelFormat::RGB24) => 3,
        other => {
            let found = other.map_or("none".into(), |format| format!("{format:?}"));
            return Err(NoImage { expected: "grey or RGB pixels of 8 bits".into(), found });
        }
    };
    let (height, width) = info.map_or((0, 0), |info| (info.height, info.width));
    let (shape, size) = shape(height.into(), width.into(), channels)?;
    let pixels = decoder.decode().map_err(damaged)?;
    if pixels.len() != size {
        let expected = format!("{size} bytes of pixels");
        return Err(NoImage { expected, found: pixels.len().to_string() });
    }
    Ok(Image { shape, bytes: pixels })
}

/// The shape of an image and its number of bytes, which is checked before any are allocated.
fn shape(height: u32, width: u32, channels: u32) -> Result<(Vec<u32>, usize), NoImage> {
    let size = u64::from(height) * u64::from(width) * u64::from(channels);
    if !(1..=u64::from(limits::FEATURES)).contains(&size) {
        let expected = format!("an image of 1 to {} bytes of pixels", limits::FEATURES);
        let found = format!("{height} × {width} × {channels}: make the images smaller");
        return Err(NoImage { expected, found });
    }
    let mut shape = vec![height, width];
    shape.extend((channels > 1).then_some(channels));
    Ok((shape, size as usize))
}

fn damaged(format: &str, error: &dyn std::fmt::Display) -> NoImage {
    NoImage { expected: format!("a {format} image"), found: format!("a damaged one ({error})") }
}

#[cfg(test)]
mod tests;
