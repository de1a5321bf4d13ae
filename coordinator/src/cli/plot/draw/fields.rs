//! Receptive fields: the weights of each neuron, as a small picture of its inputs.

use super::canvas::{Canvas, LABEL_HEIGHT, Letters, Side};
use super::class_names::{ClassNames, columns};
use super::{Area, DrawError, FAINT, INK, PAPER, Picture, axes, shade};

/// Columns, and rows, of all fields together, unless they need more.
const GRID_SIZE: u64 = 1200;
/// Least columns of a picture, so that its title has room.
const LEAST_WIDTH: u64 = 640;
/// Empty columns and rows at the edges.
const MARGIN: u64 = 28;
/// Rows of the title.
const HEADER: u64 = 60;
/// Fewest columns for the classes of a row.
const CLASSES: u64 = 72;
/// Columns between the classes of a row and its fields.
const BESIDE_CLASSES: u64 = 14;
/// Columns for the scale of colors.
const SCALE: u64 = 116;
/// Most rows of the scale of colors.
const SCALE_HEIGHT: i32 = 420;

/// The label of a neuron without a class.
const UNLABELLED: u64 = u64::MAX;

/// The columns of a matrix, each as a picture.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Fields<'a> {
    /// The tensor's name.
    pub(in super::super) name: &'a str,
    /// `[inputs, neurons]`, row by row.
    pub(in super::super) values: &'a [f32],
    /// Columns of the matrix.
    pub(in super::super) neurons: usize,
    /// The class of each neuron, `u64::MAX` for none. They sort the fields.
    pub(in super::super) labels: Option<&'a [u64]>,
    /// Names of these classes.
    pub(in super::super) classes: ClassNames<'a>,
    /// Columns of a field; `None`: as many as make it a square.
    pub(in super::super) width: Option<usize>,
}

/// The layout of the fields, in pixels unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Grid {
    /// Columns and rows of a field, in values.
    field: (usize, usize),
    /// Columns and rows of the grid, in fields.
    fields: (usize, usize),
    /// Pixels of a value, each way.
    scale: u64,
    /// Pixels between fields.
    gap: u64,
}

impl Grid {
    /// The grid of this number of fields that is closest to a square.
    fn new(inputs: usize, neurons: usize, width: Option<usize>) -> Result<Self, DrawError> {
        let width = width.unwrap_or_else(|| ceiling_root(inputs as u64) as usize);
        if width == 0 || width > inputs {
            return Err(DrawError::Width { inputs, width });
        }
        let field = (width, inputs.div_ceil(width));
        let squares = (neurons as u64 * field.1 as u64).div_ceil(field.0 as u64);
        let columns = (ceiling_root(squares) as usize).clamp(1, neurons);
        let fields = (columns, neurons.div_ceil(columns));
        let mut grid = Self { field, fields, scale: 1, gap: 1 };
        // Twice the gap if there is room for it.
        let fits = |scale| {
            let (width, height) = Self { scale, gap: 2, ..grid }.size();
            width <= GRID_SIZE && height <= GRID_SIZE
        };
        if let Some(scale) = (2..=GRID_SIZE).take_while(|scale| fits(*scale)).last() {
            (grid.scale, grid.gap) = (scale, 2);
        }
        Ok(grid)
    }

    /// Pixels from one field to the next.
    fn pitch(&self) -> (u64, u64) {
        let of = |values: usize| values as u64 * self.scale + self.gap;
        (of(self.field.0), of(self.field.1))
    }

    /// Pixels of the whole grid. No gap around it.
    fn size(&self) -> (u64, u64) {
        let pitch = self.pitch();
        let of = |fields: usize, pitch: u64| (fields as u64).saturating_mul(pitch) - self.gap;
        (of(self.fields.0, pitch.0), of(self.fields.1, pitch.1))
    }
}

/// The smallest whole number whose square is no smaller.
fn ceiling_root(square: u64) -> u64 {
    let root = square.isqrt();
    if root * root < square { root + 1 } else { root }
}

impl Fields<'_> {
    /// Draws all fields, those of a class together.
    pub(in super::super) fn draw(&self) -> Result<Picture, DrawError> {
        if self.values.is_empty() || self.neurons == 0 {
            return Err(DrawError::Nothing("a matrix with values"));
        }
        let inputs = self.values.len() / self.neurons;
        let grid = Grid::new(inputs, self.neurons, self.width)?;
        let labels = self.labels.filter(|labels| labels.iter().any(|label| *label != UNLABELLED));
        let (width, height) = grid.size();
        let order = order(self.neurons, labels);
        let rows: Vec<String> = match labels {
            Some(labels) => {
                let rows = order.chunks(grid.fields.0);
                rows.map(|neurons| classes(neurons, labels, self.classes)).collect()
            }
            None => Vec::new(),
        };
        let left = MARGIN + if rows.is_empty() { 0 } else { room(&rows) };
        let whole = (left + width.max(LEAST_WIDTH) + SCALE, HEADER + MARGIN + height + MARGIN);
        let mut canvas = Canvas::new(whole.0, whole.1, PAPER)?;
        let left = left + width.max(LEAST_WIDTH).saturating_sub(width) / 2;
        let focus = Area {
            x: left as i32,
            y: (HEADER + MARGIN) as i32,
            width: width as i32,
            height: height as i32,
        };
        let caption = self.caption(&grid, labels.is_some());
        canvas.text(&caption, (MARGIN as i32, MARGIN as i32), Side::Left, Letters::Title, INK);
        let range = range_of(self.values);
        for (place, neuron) in order.iter().enumerate() {
            self.draw_field(&mut canvas, &grid, focus, place, *neuron, range);
        }
        draw_scale(&mut canvas, focus, range);
        draw_classes(&mut canvas, &grid, focus, &rows);
        Ok(Picture { canvas, focus, caption })
    }

    fn caption(&self, grid: &Grid, sorted: bool) -> String {
        let plural = if self.neurons == 1 { "" } else { "s" };
        format!(
            "{}: {} field{plural} of {} × {}{}",
            self.name,
            self.neurons,
            grid.field.0,
            grid.field.1,
            if sorted { ", by class" } else { "" }
        )
    }

    fn draw_field(
        &self,
        canvas: &mut Canvas,
        grid: &Grid,
        focus: Area,
        place: usize,
        neuron: usize,
        (low, high): (f32, f32),
    ) {
        let (column, row) = (place % grid.fields.0, place / grid.fields.0);
        let pitch = grid.pitch();
        let left = focus.x + (column as u64 * pitch.0) as i32;
        let top = focus.y + (row as u64 * pitch.1) as i32;
        let scale = grid.scale as i32;
        let values = self.values.iter().skip(neuron).step_by(self.neurons);
        for (input, value) in values.enumerate() {
            let share = f64::from(value - low) / f64::from(high - low);
            let x = left + (input % grid.field.0) as i32 * scale;
            let y = top + (input / grid.field.0) as i32 * scale;
            canvas.fill(Area { x, y, width: scale, height: scale }, shade(share));
        }
    }
}

/// The values of the darkest and the brightest color.
fn range_of(values: &[f32]) -> (f32, f32) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let smallest = values.iter().copied().fold(0.0, f32::min);
    if largest > smallest { (smallest, largest) } else { (smallest, smallest + 1.0) }
}

/// The neurons by class, then by number; those without a class at the end.
fn order(neurons: usize, labels: Option<&[u64]>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..neurons).collect();
    if let Some(labels) = labels {
        order.sort_by_key(|neuron| labels.get(*neuron).copied().unwrap_or(UNLABELLED));
    }
    order
}

/// The scale of colors, at the right of the fields.
fn draw_scale(canvas: &mut Canvas, focus: Area, (low, high): (f32, f32)) {
    let height = focus.height.clamp(1, SCALE_HEIGHT);
    let x = canvas.width() as i32 - SCALE as i32 + 24;
    for row in 0..height {
        let share = 1.0 - f64::from(row) / f64::from((height - 1).max(1));
        canvas.fill(Area { x, y: focus.y + row, width: 14, height: 1 }, shade(share));
    }
    let numbers = match height {
        ..24 => 0,
        24..160 => 1,
        _ => 4,
    };
    let decimals = decimals_for(f64::from(low.abs().max(high.abs())));
    for tick in (0..=numbers).filter(|_| numbers > 0) {
        let share = f64::from(tick) / f64::from(numbers);
        let value = f64::from(low) + share * f64::from(high - low);
        let y = focus.y + ((1.0 - share) * f64::from(height - 1)) as i32 - LABEL_HEIGHT / 2;
        canvas.text(&axes::number(value, decimals), (x + 22, y), Side::Left, Letters::Label, FAINT);
    }
}

/// Digits behind the point of numbers up to a size: three digits or so in all.
fn decimals_for(size: f64) -> usize {
    match size {
        ..0.1 => 4,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    }
}

/// Columns for the classes of the rows.
fn room(rows: &[String]) -> u64 {
    CLASSES.max(columns(rows) as u64 + BESIDE_CLASSES)
}

/// The classes of each row, at its left, if there are any.
fn draw_classes(canvas: &mut Canvas, grid: &Grid, focus: Area, rows: &[String]) {
    if rows.is_empty() {
        return;
    }
    let (_, pitch) = grid.pitch();
    let right = focus.x - BESIDE_CLASSES as i32;
    // Rows may be lower than letters: then some of them have no class.
    let every = (LABEL_HEIGHT as u64 + 1).div_ceil(pitch) as usize;
    for (row, text) in rows.iter().enumerate().step_by(every) {
        let y = focus.y + (row as u64 * pitch + (pitch - grid.gap) / 2) as i32 - LABEL_HEIGHT / 2;
        canvas.text(text, (right, y), Side::Right, Letters::Label, FAINT);
    }
    let above = (right, focus.y - LABEL_HEIGHT - 6);
    canvas.text("class", above, Side::Right, Letters::Label, INK);
}

/// The classes of the neurons of a row, from the first one's to the last one's.
fn classes(neurons: &[usize], labels: &[u64], names: ClassNames<'_>) -> String {
    let label = |neuron: Option<&usize>| {
        neuron.and_then(|neuron| labels.get(*neuron)).copied().unwrap_or(UNLABELLED)
    };
    let (first, last) = (label(neurons.first()), label(neurons.last()));
    let name = |label: u64| if label == UNLABELLED { "none".into() } else { names.of(label) };
    if first == last { name(first) } else { format!("{}-{}", name(first), name(last)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'a>(values: &'a [f32], neurons: usize, labels: Option<&'a [u64]>) -> Fields<'a> {
        let classes = ClassNames::default();
        Fields { name: "weights", values, neurons, labels, classes, width: None }
    }

    /// The color of the value at a place of a field at a place of the grid.
    fn color(picture: &Picture, grid: &Grid, field: (u64, u64), value: (u64, u64)) -> [u8; 3] {
        let of = |field: u64, pitch: u64, value: u64| {
            (field * pitch + value * grid.scale + grid.scale / 2) as i32
        };
        let pitch = grid.pitch();
        let x = picture.focus.x + of(field.0, pitch.0, value.0);
        let y = picture.focus.y + of(field.1, pitch.1, value.1);
        picture.canvas.get(x, y).unwrap()
    }

    #[test]
    fn every_value_has_its_place_and_color() {
        // Two neurons of 2 × 2 inputs.
        let values = [0.0, 0.5, 0.25, 0.0, 0.0, 0.0, 0.5, 0.125];
        let picture = fields(&values, 2, None).draw().unwrap();
        let grid = Grid::new(4, 2, None).unwrap();
        assert_eq!((grid.field, grid.fields), ((2, 2), (2, 1)));
        assert_eq!(color(&picture, &grid, (0, 0), (0, 0)), shade(0.0));
        assert_eq!(color(&picture, &grid, (0, 0), (1, 0)), shade(0.5));
        assert_eq!(color(&picture, &grid, (0, 0), (1, 1)), shade(1.0));
        assert_eq!(color(&picture, &grid, (1, 0), (0, 0)), shade(1.0));
        assert_eq!(color(&picture, &grid, (1, 0), (1, 1)), shade(0.25));
        let gap = picture.focus.x + (grid.pitch().0 - 1) as i32;
        assert_eq!(picture.canvas.get(gap, picture.focus.y), Some(PAPER));
        assert_eq!(picture.caption, "weights: 2 fields of 2 × 2");
    }

    #[test]
    fn classes_lie_together_and_neurons_without_one_at_the_end() {
        let labels = [UNLABELLED, 7, 2, 7, 2];
        assert_eq!(order(5, Some(&labels)), [2, 4, 1, 3, 0]);
        assert_eq!(order(3, None), [0, 1, 2]);
        // One input each: the brightness is the neuron's number.
        let values = [0.0, 0.25, 0.5, 0.75, 1.0];
        let picture = fields(&values, 5, Some(&labels)).draw().unwrap();
        let grid = Grid::new(1, 5, None).unwrap();
        assert_eq!(grid.fields, (3, 2));
        for (place, neuron) in [2, 4, 1, 3, 0].into_iter().enumerate() {
            let field = (place as u64 % 3, place as u64 / 3);
            let share = f64::from(values[neuron]);
            assert_eq!(color(&picture, &grid, field, (0, 0)), shade(share));
        }
        assert!(picture.caption.ends_with(", by class"));
        let none = fields(&values, 5, Some(&[UNLABELLED; 5])).draw().unwrap();
        assert_eq!(none.canvas, fields(&values, 5, None).draw().unwrap().canvas);
    }

    #[test]
    fn rows_have_the_names_of_their_classes() {
        let labels = [0, 1, UNLABELLED];
        let row = |neurons: &[usize], names| classes(neurons, &labels, ClassNames(names));
        assert_eq!(row(&[1, 1], &[]), "1");
        assert_eq!(row(&[0, 1], &[]), "0-1");
        assert_eq!(row(&[1, 2], &[]), "1-none");
        assert_eq!(row(&[2], &[]), "none");
        let names = ["a long name of a class", "b"].map(str::to_owned);
        assert_eq!(row(&[0, 1], &names), "a long na..class-b");
        let (values, labels) = ([0.5; 3], Some(&labels[..]));
        let plain = fields(&values, 3, labels);
        let named = Fields { classes: ClassNames(&names), ..plain }.draw().unwrap();
        let plain = plain.draw().unwrap();
        let more = i64::from(named.canvas.width()) - i64::from(plain.canvas.width());
        assert_eq!(more, 18 * 9 + BESIDE_CLASSES as i64 - CLASSES as i64);
        assert_eq!(named.focus, Area { x: plain.focus.x + more as i32, ..plain.focus });
    }

    #[test]
    fn fields_that_are_no_squares_end_in_paper() {
        let values = [1.0; 10];
        let one = Fields { width: Some(4), ..fields(&values, 1, None) };
        let (picture, grid) = (one.draw().unwrap(), Grid::new(10, 1, Some(4)).unwrap());
        assert_eq!((grid.field, grid.fields), ((4, 3), (1, 1)));
        assert_eq!(color(&picture, &grid, (0, 0), (1, 2)), shade(1.0));
        assert_eq!(color(&picture, &grid, (0, 0), (2, 2)), PAPER);
        assert_eq!(Grid::new(10, 1, None).unwrap().field, (4, 3));
        let wide = Fields { width: Some(11), ..one }.draw().unwrap_err();
        assert_eq!(wide, DrawError::Width { inputs: 10, width: 11 });
        assert!(Fields { width: Some(0), ..one }.draw().is_err());
    }

    #[test]
    fn negative_values_are_darkest_and_equal_ones_all_dark() {
        assert_eq!(range_of(&[-2.0, 0.0, 6.0]), (-2.0, 6.0));
        assert_eq!(range_of(&[0.5, 0.25]), (0.0, 0.5));
        assert_eq!(range_of(&[0.0, 0.0]), (0.0, 1.0));
        assert_eq!(range_of(&[-3.0, -1.0]), (-3.0, -1.0));
    }

    #[test]
    fn many_neurons_get_a_smaller_scale_and_too_many_an_error() {
        assert_eq!(Grid::new(784, 400, None).unwrap().scale, 2);
        assert_eq!(Grid::new(784, 100, None).unwrap().scale, 4);
        assert_eq!(Grid::new(784, 6400, None).unwrap().scale, 1);
        assert_eq!(Grid::new(1, 1, None).unwrap().scale, GRID_SIZE);
        let values = vec![0.0; 1 << 26];
        let error = fields(&values, 1 << 20, None).draw().unwrap_err();
        assert!(matches!(error, DrawError::Large { .. }), "{error}");
        assert!(fields(&[], 0, None).draw().is_err());
    }
}
