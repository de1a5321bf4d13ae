//! Pictures of a state. Pure: numbers in, pixels out, the same ones every time.
//!
//! ```text
//! fields   confusion   histogram   curve       the kinds of pictures
//!     ├ class_names        └── axes ──┘         names as they fit; scales, ticks, frames
//!     └─────────┴────── canvas ───────┘         pixels, lines, text
//!                          │
//!                       Picture ── preview      half blocks for a terminal
//! ```
//!
//! Nothing here calls the host's libm, so pictures are the same on every host.

mod axes;
mod canvas;
mod class_names;
mod confusion;
mod curve;
mod fields;
mod histogram;
mod preview;

pub(super) use canvas::Canvas;
pub(super) use class_names::ClassNames;
pub(super) use confusion::Confusion;
pub(super) use curve::{Chart, Panel, Series};
pub(super) use fields::Fields;
pub(super) use histogram::Histogram;
pub(super) use preview::preview;

/// Most pixels of a picture: 192 MiB of memory.
pub(super) const PICTURE_PIXELS: u64 = 1 << 26;

/// Red, green and blue.
pub(super) type Color = [u8; 3];

/// The background.
const PAPER: Color = [255, 255, 255];
/// Text and axes.
const INK: Color = [38, 40, 48];
/// Captions.
const FAINT: Color = [88, 92, 102];
/// Grid lines.
const GRID: Color = [228, 230, 234];

/// A part of a canvas, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    /// First column.
    pub(super) x: i32,
    /// First row.
    pub(super) y: i32,
    /// Columns.
    pub(super) width: i32,
    /// Rows.
    pub(super) height: i32,
}

/// A drawing, and the part for its small version.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Picture {
    /// The drawing.
    pub(super) canvas: Canvas,
    /// The part without margins and labels.
    pub(super) focus: Area,
    /// The caption, one line.
    pub(super) caption: String,
}

/// Why there is no picture.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum DrawError {
    /// The picture would take too much memory.
    #[error(
        "expected a picture of at most {PICTURE_PIXELS} pixels, found {width} × {height}: \
         draw a smaller tensor"
    )]
    Large {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
    },
    /// Rows of the fields would be longer than the fields.
    #[error("--width: expected 1 to {inputs}, the inputs of a neuron, found {width}")]
    Width {
        /// Values of a field.
        inputs: usize,
        /// The requested width.
        width: usize,
    },
    /// A confusion matrix is not square.
    #[error("expected a square confusion matrix, found {0} counts")]
    Matrix(usize),
    /// There are no numbers to draw.
    #[error("expected {0}, found none: the model does not report it")]
    Nothing(&'static str),
}

/// The color of a share from 0 to 1.
fn shade(share: f64) -> Color {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    colorous::VIRIDIS.eval_continuous(share).as_array()
}

/// Black or white, whichever is readable on a color.
fn readable_on(color: Color) -> Color {
    let [red, green, blue] = color.map(u32::from);
    if 299 * red + 587 * green + 114 * blue > 140_000 { [20, 20, 24] } else { [255, 255, 255] }
}
