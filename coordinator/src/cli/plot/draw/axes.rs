//! Scales, ticks, and the frame of a diagram.

use super::canvas::{Canvas, LABEL_HEIGHT, Letters, Side};
use super::{Area, FAINT, GRID, INK};

/// Longest number that is written out.
const NUMBER_LETTERS: usize = 8;

/// A range of values with ticks at round numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// The lowest value.
    pub(super) low: f64,
    /// The highest value.
    pub(super) high: f64,
    /// Where the ticks are.
    pub(super) ticks: Vec<f64>,
    /// Digits behind the point that tell them apart.
    decimals: usize,
}

impl Axis {
    /// An axis over `low..=high`, with at most `steps` steps between ticks. Its ends stay if they
    /// are `tight`; otherwise they move out to the next ticks.
    pub(super) fn new(low: f64, high: f64, most: u32, tight: bool) -> Self {
        let (low, high) = widened(low, high);
        let (step, decimals) = round_step((high - low) / f64::from(most));
        // Sums of steps would gather errors; products of whole numbers do not.
        let (first, last) = if tight {
            ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor())
        } else {
            ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil())
        };
        // More than the ticks of any reasonable axis; a limit for numbers that are
        // too large to be distinguished.
        let count = (last - first).clamp(0.0, f64::from(most) + 2.0) as u32;
        let ticks: Vec<f64> = (0..=count).map(|tick| (first + f64::from(tick)) * step).collect();
        if tight {
            return Self { low, high, ticks, decimals };
        }
        Self { low: first * step, high: last * step, ticks, decimals }
    }

    /// Where a value lies, 0 at the low end to 1 at the high end.
    pub(super) fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// A tick's number.
    pub(super) fn label(&self, tick: f64) -> String {
        number(tick, self.decimals)
    }
}

/// A range that has a length.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let margin = (low.abs().max(high.abs()) * 1e-6).max(1e-12);
    if high - low > margin {
        (low, high)
    } else {
        (low - 0.5_f64.max(margin), high + 0.5_f64.max(margin))
    }
}

/// The smallest of …, 0.1, 0.2, 0.5, 1, 2, 5, 10, … that is no smaller, and
/// how many digits it has behind the point.
fn round_step(least: f64) -> (f64, usize) {
    let (mut power, mut decimals) = (1.0_f64, 0_usize);
    while 1.0 / power >= least && decimals < 300 {
        power *= 10.0;
        decimals += 1;
    }
    if decimals > 0 {
        let whole = [1.0, 2.0, 5.0].into_iter().find(|whole| whole / power >= least);
        return match whole {
            Some(whole) => (whole / power, decimals),
            None => (10.0 / power, decimals - 1),
        };
    }
    loop {
        let found = [1.0, 2.0, 5.0].into_iter().find(|whole| whole * power >= least);
        match found {
            Some(whole) => return (whole * power, 0),
            None if power < 1e300 => power *= 10.0,
            None => return (power, 0),
        }
    }
}

/// A number for people: written out where that is short.
pub(super) fn number(value: f64, decimals: usize) -> String {
    // Negative zero is zero.
    let plain = format!("{:.decimals$}", value + 0.0);
    if plain.len() <= NUMBER_LETTERS { plain } else { format!("{value:.2e}") }
}

/// Two axes around an area.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The area of the values.
    pub(super) area: Area,
    /// From left to right.
    pub(super) across: Axis,
    /// From below to above.
    pub(super) up: Axis,
}

impl Frame {
    /// The place of a value.
    pub(super) fn place(&self, x: f64, y: f64) -> (f32, f32) {
        let Area { x: left, y: top, width, height } = self.area;
        let across = f64::from(left) + self.across.share(x) * f64::from(width - 1);
        let down = f64::from(top) + (1.0 - self.up.share(y)) * f64::from(height - 1);
        (across as f32, down as f32)
    }

    /// Draws lines at the ticks, and numbers beside them; those of the lower
    /// axis where it is `labelled`.
    pub(super) fn draw(&self, canvas: &mut Canvas, labelled: bool) {
        let Area { x: left, y: top, width, height } = self.area;
        let bottom = top + height - 1;
        for tick in &self.up.ticks {
            let y = self.place(self.across.low, *tick).1.round() as i32;
            canvas.fill(Area { x: left, y, width, height: 1 }, GRID);
            let place = (left - 10, y - LABEL_HEIGHT / 2);
            canvas.text(&self.up.label(*tick), place, Side::Right, Letters::Label, FAINT);
        }
        for tick in &self.across.ticks {
            let x = self.place(*tick, self.up.low).0.round() as i32;
            canvas.fill(Area { x, y: bottom, width: 1, height: 6 }, INK);
            if labelled {
                let text = self.across.label(*tick);
                canvas.text(&text, (x, bottom + 10), Side::Middle, Letters::Label, FAINT);
            }
        }
        canvas.fill(Area { x: left, y: bottom, width, height: 1 }, INK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, tight: bool) -> Vec<String> {
        let axis = Axis::new(low, high, 5, tight);
        axis.ticks.iter().map(|tick| axis.label(*tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(0.0, 1.0, true), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(3.0, 98.0, true), ["20", "40", "60", "80"]);
        assert_eq!(labels(3.0, 98.0, false), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(0.0, 0.013, true), ["0.000", "0.005", "0.010"]);
        assert_eq!(labels(-2e9, 2e9, true), ["-2.00e9", "-1.00e9", "0", "1.00e9", "2.00e9"]);
        assert_eq!(labels(1.0, 5.0, true), ["1", "2", "3", "4", "5"]);
    }

    #[test]
    fn any_range_makes_an_axis() {
        for (low, high) in [(0.0, 0.0), (7.0, 7.0), (-1e30, 1e30), (1e15, 1e15), (0.0, 1e-30)] {
            for tight in [true, false] {
                let axis = Axis::new(low, high, 5, tight);
                assert!(axis.high > axis.low, "{axis:?}");
                assert!((1..=8).contains(&axis.ticks.len()), "{axis:?}");
                assert!((0.0..=1.0).contains(&axis.share(low)));
            }
        }
    }
}
