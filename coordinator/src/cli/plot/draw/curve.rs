//! The course of quantities over a run.

use super::axes::{Axis, Frame};
use super::canvas::{Canvas, LABEL_HEIGHT, LETTER_WIDTH, Letters, Side};
use super::{Area, Color, DrawError, FAINT, INK, PAPER, Picture};

/// Columns of the picture, and the first and the last one of diagrams.
const WIDTH: i32 = 1200;
const LEFT: i32 = 104;
const RIGHT: i32 = WIDTH - 40;
/// Rows above the first diagram: title, legend, upper axis.
const HEADER: i32 = 138;
/// Rows of a diagram if there is one, and if there are more.
const HEIGHTS: (i32, i32) = (520, 330);
/// Rows between diagrams.
const BETWEEN: i32 = 48;
/// Rows below the last one.
const FOOTER: i32 = 92;
/// Columns between marks of the upper axis, so that their numbers have room.
const MARK_ROOM: f32 = 56.0;
/// Points up to which each gets a disc.
const DISCS: usize = 64;

/// Diagrams over one lower axis.
#[derive(Clone, Debug)]
pub(in super::super) struct Chart {
    /// The title.
    pub(in super::super) title: String,
    /// What the lower axis counts.
    pub(in super::super) across: &'static str,
    /// What the upper axis counts, and where its marks are.
    pub(in super::super) above: (&'static str, Vec<(f64, u64)>),
    /// The diagrams, one below another; those without a point are left out.
    pub(in super::super) panels: Vec<Panel>,
}

/// One diagram.
#[derive(Clone, Debug)]
pub(in super::super) struct Panel {
    /// What its upright axis measures.
    pub(in super::super) name: &'static str,
    /// Its lines.
    pub(in super::super) series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug)]
pub(in super::super) struct Series {
    /// Its name. Lines of one name share a color.
    pub(in super::super) name: String,
    /// Its color.
    pub(in super::super) color: Color,
    /// Whether its points are worth a disc each.
    pub(in super::super) marked: bool,
    /// Across and up, from left to right.
    pub(in super::super) points: Vec<(f64, f64)>,
}

impl Chart {
    /// Draws all diagrams with points.
    pub(in super::super) fn draw(&self) -> Result<Picture, DrawError> {
        let panels: Vec<Panel> = self.panels.iter().filter_map(Panel::with_points).collect();
        let all = || panels.iter().flat_map(|panel| &panel.series).flat_map(|line| &line.points);
        let (low, high) = range(all().map(|point| point.0))
            .ok_or(DrawError::Nothing("losses or accuracies in the history"))?;
        let across = Axis::new(low.min(1.0), high, 10, true);

        let rows = if panels.len() == 1 { HEIGHTS.0 } else { HEIGHTS.1 };
        let pitch = rows + BETWEEN;
        let height = HEADER + pitch * panels.len() as i32 - BETWEEN + FOOTER;
        let mut canvas = Canvas::new(WIDTH as u64, height as u64, PAPER)?;
        canvas.text(&self.title, (28, 28), Side::Left, Letters::Title, INK);
        draw_legend(&mut canvas, &panels);
        for (index, panel) in panels.iter().enumerate() {
            let y = HEADER + pitch * index as i32;
            let area = Area { x: LEFT, y, width: RIGHT - LEFT, height: rows };
            panel.draw(&mut canvas, area, &across);
            if index == 0 {
                self.draw_marks(&mut canvas, area, &across);
            }
        }
        let below = ((LEFT + RIGHT) / 2, height - FOOTER + 44);
        canvas.text(self.across, below, Side::Middle, Letters::Label, INK);
        let height = height - FOOTER - HEADER;
        let focus = Area { x: LEFT, y: HEADER, width: RIGHT - LEFT, height };
        Ok(Picture { canvas, focus, caption: self.title.clone() })
    }

    /// The upper axis. Marks that are too close to the previous one have no number.
    fn draw_marks(&self, canvas: &mut Canvas, area: Area, across: &Axis) {
        let (name, marks) = &self.above;
        let x = |mark: &(f64, u64)| {
            area.x as f32 + (across.share(mark.0) * f64::from(area.width - 1)) as f32
        };
        let shown = spread(&marks.iter().map(x).collect::<Vec<_>>());
        let y = area.y - 1;
        for index in &shown {
            let x = x(&marks[*index]).round() as i32;
            canvas.fill(Area { x, y: y - 5, width: 1, height: 6 }, INK);
            let text = marks[*index].1.to_string();
            let place = (x, y - 9 - LABEL_HEIGHT);
            canvas.text(&text, place, Side::Middle, Letters::Label, FAINT);
        }
        if !shown.is_empty() {
            canvas.fill(Area { y, height: 1, ..area }, INK);
            let place = ((LEFT + RIGHT) / 2, y - 14 - 2 * LABEL_HEIGHT);
            canvas.text(name, place, Side::Middle, Letters::Label, INK);
        }
    }
}

/// Which of some places have room for a number: every n-th from the first.
fn spread(places: &[f32]) -> Vec<usize> {
    let fits = |every: usize| {
        let kept: Vec<f32> = places.iter().step_by(every).copied().collect();
        kept.windows(2).all(|pair| pair[1] - pair[0] >= MARK_ROOM)
    };
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500];
    let every = steps.into_iter().find(|every| fits(*every)).unwrap_or(1000);
    // Epochs are counted from the first evaluation, which is mostly after one
    // of them: the marks are at 5, 10, 15, not at 1, 6, 11.
    (0..places.len()).skip(every - 1).step_by(every).collect()
}

impl Panel {
    /// The panel without lines that have no points.
    fn with_points(&self) -> Option<Self> {
        let mut panel = self.clone();
        panel.series.retain(|line| !line.points.is_empty());
        (!panel.series.is_empty()).then_some(panel)
    }

    fn draw(&self, canvas: &mut Canvas, area: Area, across: &Axis) {
        let values = self.series.iter().flat_map(|line| &line.points).map(|point| point.1);
        let (low, high) = range(values).unwrap_or((0.0, 1.0));
        let up = Axis::new(low, high, 6, false);
        let frame = Frame { area, across: across.clone(), up };
        frame.draw(canvas, true);
        for line in &self.series {
            line.draw(canvas, &frame);
        }
        canvas.text_upwards(self.name, (28, area.y + area.height / 2), Side::Middle, INK);
    }
}

impl Series {
    fn draw(&self, canvas: &mut Canvas, frame: &Frame) {
        let places: Vec<(f32, f32)> =
            self.points.iter().map(|point| frame.place(point.0, point.1)).collect();
        canvas.line(&places, if self.marked { 2.4 } else { 1.4 }, self.color);
        // A line of one point is no line.
        if self.marked && places.len() <= DISCS || places.len() == 1 {
            for place in places {
                canvas.disc(place, 5.5, PAPER);
                canvas.disc(place, 4.0, self.color);
            }
        }
    }
}

/// The names of all lines, at the right of the title.
fn draw_legend(canvas: &mut Canvas, panels: &[Panel]) {
    let mut names: Vec<&Series> = Vec::new();
    for line in panels.iter().flat_map(|panel| &panel.series) {
        if names.iter().all(|known| known.name != line.name) {
            names.push(line);
        }
    }
    let mut right = RIGHT;
    for line in names.into_iter().rev() {
        canvas.text(&line.name, (right, 56), Side::Right, Letters::Label, INK);
        right -= line.name.chars().count() as i32 * LETTER_WIDTH + 12;
        let y = 56.0 + LABEL_HEIGHT as f32 / 2.0;
        canvas.line(&[((right - 30) as f32, y), (right as f32, y)], 2.4, line.color);
        if line.marked {
            canvas.disc(((right - 15) as f32, y), 4.0, line.color);
        }
        right -= 60;
    }
}

/// The lowest and the highest; `None` of none.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Color = [200, 0, 0];

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        let line = Series { name: "training".into(), color: RED, marked: false, points };
        let empty = Panel { name: "loss", series: vec![Series { points: vec![], ..line.clone() }] };
        Chart {
            title: "mlp".into(),
            across: "round",
            above: ("epoch", vec![(5.0, 1), (10.0, 2)]),
            panels: vec![empty, Panel { name: "accuracy", series: vec![line] }],
        }
    }

    #[test]
    fn a_line_goes_through_its_points() {
        let picture = chart(vec![(1.0, 0.0), (10.0, 1.0)]).draw().unwrap();
        let Area { x, y, width, height } = picture.focus;
        assert_eq!(height, HEIGHTS.0, "a diagram without points is left out");
        let near = |x: i32, y: i32| {
            let all = (-3..=3).flat_map(|dx| (-3..=3).map(move |dy| (x + dx, y + dy)));
            all.into_iter().any(|(x, y)| picture.canvas.get(x, y) == Some(RED))
        };
        assert!(near(x, y + height - 1) && near(x + width - 1, y));
        assert!(near(x + width / 2, y + height / 2));
        assert!(!near(x + width / 2, y + 20) && !near(x + 40, y + 40));
    }

    #[test]
    fn a_line_of_one_point_is_seen_and_one_of_none_is_an_error() {
        let picture = chart(vec![(1.0, 0.5)]).draw().unwrap();
        let red = |row: &[u8]| row.chunks(3).any(|pixel| pixel == RED);
        let rows = picture.canvas.bytes().chunks(WIDTH as usize * 3);
        assert!(rows.skip(HEADER as usize).any(red));
        let error = chart(vec![]).draw().unwrap_err().to_string();
        assert!(error.contains("losses or accuracies"), "{error}");
    }

    #[test]
    fn marks_keep_their_distance() {
        assert_eq!(spread(&[0.0, 60.0, 120.0]), [0, 1, 2]);
        let near: Vec<f32> = (0..20).map(|place| place as f32 * 30.0).collect();
        assert_eq!(spread(&near), [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
        assert_eq!(spread(&[]), [] as [usize; 0]);
    }
}
