//! A histogram of values.

use super::axes::{Axis, Frame, number};
use super::canvas::{Canvas, Letters, Side};
use super::{Area, DrawError, FAINT, INK, PAPER, Picture, shade};

/// Columns and rows of the picture.
const SIZE: (u64, u64) = (1200, 720);
/// Where the bars are.
const BARS: Area = Area { x: 104, y: 116, width: 1056, height: 510 };
/// Fewest and most bars.
const BAR_COUNT: (usize, usize) = (8, 60);

/// Values of one tensor.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Histogram<'a> {
    /// What they are, with their unit.
    pub(in super::super) name: &'a str,
    /// What has one of them each, in the plural.
    pub(in super::super) owners: &'a str,
    /// The values.
    pub(in super::super) values: &'a [f32],
}

impl Histogram<'_> {
    /// Draws a bar for each range of values.
    pub(in super::super) fn draw(&self) -> Result<Picture, DrawError> {
        let mut sorted: Vec<f64> = self.values.iter().map(|value| f64::from(*value)).collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else {
            return Err(DrawError::Nothing("a tensor with values"));
        };
        let mut across = Axis::new(*low, *high, 10, false);
        let counts = count(&sorted, &across);
        let most = counts.iter().copied().max().unwrap_or(0);
        across.ticks.retain(|tick| (across.low..=across.high).contains(tick));
        let up = Axis::new(0.0, most as f64, 6.min(most as u32).max(1), false);
        let frame = Frame { area: BARS, across, up };

        let mut canvas = Canvas::new(SIZE.0, SIZE.1, PAPER)?;
        frame.draw(&mut canvas, true);
        draw_bars(&mut canvas, &frame, &counts);
        let caption = format!("{} of {} {}", self.name, sorted.len(), self.owners);
        canvas.text(&caption, (BARS.x, 28), Side::Left, Letters::Title, INK);
        canvas.text(&summary(&sorted), (BARS.x, 58), Side::Left, Letters::Label, FAINT);
        let middle = (BARS.x + BARS.width / 2, BARS.y + BARS.height + 44);
        canvas.text(self.name, middle, Side::Middle, Letters::Label, INK);
        canvas.text_upwards(self.owners, (28, BARS.y + BARS.height / 2), Side::Middle, INK);
        Ok(Picture { canvas, focus: BARS, caption })
    }
}

/// How many values are in each of equally long ranges.
fn count(sorted: &[f64], axis: &Axis) -> Vec<u64> {
    let bars = (sorted.len().isqrt() * 2).clamp(BAR_COUNT.0, BAR_COUNT.1);
    let mut counts = vec![0; bars];
    for value in sorted {
        let bar = (axis.share(*value) * bars as f64) as usize;
        counts[bar.min(bars - 1)] += 1;
    }
    counts
}

fn draw_bars(canvas: &mut Canvas, frame: &Frame, counts: &[u64]) {
    let Area { x: left, y: top, width, height } = frame.area;
    let edge = |bar: usize| left + (bar * width as usize / counts.len()) as i32;
    for (bar, count) in counts.iter().enumerate() {
        let rows = (frame.up.share(*count as f64) * f64::from(height - 1)).round() as i32;
        let (x, next) = (edge(bar), edge(bar + 1));
        let area = Area { x, y: top + height - 1 - rows, width: next - x - 1, height: rows };
        canvas.fill(area, shade(0.45));
    }
}

/// A summary of the values, one line.
fn summary(sorted: &[f64]) -> String {
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let [least, median, most, mean] = [at(0.0), at(0.5), at(1.0), mean].map(|it| number(it, 2));
    format!("least {least}   median {median}   mean {mean}   most {most}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_there_are_values() {
        let values: Vec<f32> = (0..30).map(|value| if value < 20 { 1.0 } else { 9.0 }).collect();
        let histogram = Histogram { name: "theta (mV)", owners: "neurons", values: &values };
        let picture = histogram.draw().unwrap();
        assert_eq!(picture.caption, "theta (mV) of 30 neurons");
        // From 1 to 9 on an axis of that length: the outermost of 10 bars.
        let bar = |x: i32, count: f64| {
            let y = BARS.y + BARS.height - 2 - (count / 20.0 * f64::from(BARS.height)) as i32;
            picture.canvas.get(x, y).unwrap() == shade(0.45)
        };
        let (first, last) = (BARS.x + 20, BARS.x + BARS.width - 20);
        assert!(bar(first, 1.0) && bar(first, 19.0));
        assert!(bar(last, 9.0) && !bar(last, 11.0));
        assert!(!bar(BARS.x + BARS.width / 2, 1.0));
    }

    #[test]
    fn one_value_and_none() {
        let histogram = |values| Histogram { name: "theta", owners: "neurons", values }.draw();
        assert!(histogram(&[0.0]).is_ok());
        assert!(histogram(&[1e30, 1e30]).is_ok());
        assert!(histogram(&[]).is_err());
        assert_eq!(summary(&[1.0, 2.0, 6.0]), "least 1.00   median 2.00   mean 3.00   most 6.00");
    }
}
