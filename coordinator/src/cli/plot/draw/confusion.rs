//! The confusion matrix.

use super::canvas::{Canvas, LABEL_HEIGHT, LETTER_WIDTH, Letters, Side};
use super::class_names::{ClassNames, columns};
use super::{Area, DrawError, FAINT, INK, PAPER, Picture, readable_on, shade};

/// Pixels that the matrix may take each way.
const MATRIX: i32 = 860;
/// Fewest and most pixels of a cell, each way.
const CELL: (i32, i32) = (4, 86);
/// Fewest pixels of the matrix, so that the title has room.
const LEAST: i32 = 560;
/// The first column and row of the matrix, unless names of classes need more.
const CORNER: (i32, i32) = (104, 132);
/// Columns beside the names of classes, and rows above and below them.
const BESIDE_NAMES: (i32, i32) = (64, 117);
/// Columns at the right, for the share of each class that was found.
const RIGHT: i32 = 116;

/// Counts by true and found class.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Confusion<'a> {
    /// `[true class, found class]`, row by row.
    pub(in super::super) counts: &'a [u64],
    /// Where the examples are from, as in `test split after 3 epochs`.
    pub(in super::super) of: &'a str,
    /// Names of the classes.
    pub(in super::super) names: ClassNames<'a>,
}

/// Names of classes beside and above the matrix.
struct Names {
    all: Vec<String>,
    /// Columns of the longest one.
    columns: i32,
    /// Whether those above the matrix run upwards, as they are longer than a cell.
    upwards: bool,
}

impl Names {
    fn new(names: ClassNames<'_>, classes: usize, cell: i32) -> Self {
        let all: Vec<String> = (0..classes as u64).map(|class| names.of(class)).collect();
        let columns = columns(&all);
        // Numbers are left out where they are too many.
        let upwards = !names.0.is_empty() && columns + 6 > cell;
        Self { all, columns, upwards }
    }

    /// The first column and row of the matrix.
    fn corner(&self) -> (i32, i32) {
        let rows = if self.upwards { BESIDE_NAMES.1 + self.columns } else { CORNER.1 };
        (CORNER.0.max(BESIDE_NAMES.0 + self.columns), CORNER.1.max(rows))
    }
}

impl Confusion<'_> {
    /// Draws a cell for each pair of classes. Its color is the square root of its share of the
    /// true class's examples: classes with few examples are as visible as others, and so are a
    /// few examples in a wrong cell.
    pub(in super::super) fn draw(&self) -> Result<Picture, DrawError> {
        let classes = self.counts.len().isqrt();
        if classes == 0 {
            return Err(DrawError::Nothing("a confusion matrix in the history"));
        }
        if classes * classes != self.counts.len() {
            return Err(DrawError::Matrix(self.counts.len()));
        }
        let cell = (MATRIX / classes as i32).clamp(CELL.0, CELL.1);
        let size = cell * classes as i32;
        let names = Names::new(self.names, classes, cell);
        let (x, y) = names.corner();
        let (width, height) = (x + size.max(LEAST) + RIGHT, y + size + 40);
        let mut canvas = Canvas::new(width as u64, height as u64, PAPER)?;
        let focus = Area { x, y, width: size, height: size };

        let caption = self.caption(classes);
        canvas.text(&caption, (28, 28), Side::Left, Letters::Title, INK);
        let most = self.counts.iter().copied().max().unwrap_or(0);
        let letters = most.to_string().len() as i32;
        let numbered = letters * LETTER_WIDTH + 4 <= cell && LABEL_HEIGHT + 2 <= cell;
        for (row, counts) in self.counts.chunks(classes).enumerate() {
            draw_row(&mut canvas, focus, cell, (row, counts), numbered);
        }
        draw_classes(&mut canvas, focus, cell, &names);
        Ok(Picture { canvas, focus, caption })
    }

    fn caption(&self, classes: usize) -> String {
        let all = sum(self.counts.iter());
        let right = sum(self.counts.iter().step_by(classes + 1));
        let share = right as f64 / (all as f64).max(1.0) * 100.0;
        format!("{}: {right} of {all} found, {share:.2} %", self.of)
    }
}

/// Counts of a damaged file may be anything.
fn sum<'a>(counts: impl Iterator<Item = &'a u64>) -> u128 {
    counts.map(|count| u128::from(*count)).sum()
}

/// Draws the cells of a true class, with their counts if all of them fit.
fn draw_row(
    canvas: &mut Canvas,
    focus: Area,
    cell: i32,
    (row, counts): (usize, &[u64]),
    numbered: bool,
) {
    let all = (sum(counts.iter()) as f64).max(1.0);
    let y = focus.y + row as i32 * cell;
    // Cells that are large enough get a line of paper between them.
    let gap = i32::from(cell >= 12);
    for (column, count) in counts.iter().enumerate() {
        let color = shade((*count as f64 / all).sqrt());
        let x = focus.x + column as i32 * cell;
        canvas.fill(Area { x, y, width: cell - gap, height: cell - gap }, color);
        if numbered && *count > 0 {
            let place = (x + cell / 2, y + (cell - LABEL_HEIGHT) / 2);
            canvas.text(
                &count.to_string(),
                place,
                Side::Middle,
                Letters::Label,
                readable_on(color),
            );
        }
    }
    if cell > LABEL_HEIGHT {
        let found = counts.get(row).copied().unwrap_or(0) as f64 / all * 100.0;
        let place = (focus.x + focus.width + 72, y + (cell - LABEL_HEIGHT) / 2);
        canvas.text(&format!("{found:.1} %"), place, Side::Right, Letters::Label, FAINT);
    }
}

/// The names or numbers of the classes, as many as fit.
fn draw_classes(canvas: &mut Canvas, focus: Area, cell: i32, names: &Names) {
    let across = if names.upwards { 0 } else { names.columns + 6 };
    let room = across.max(LABEL_HEIGHT + 2);
    let every = [1, 2, 5, 10, 20, 50].into_iter().find(|every| every * cell >= room);
    for (class, name) in names.all.iter().enumerate().step_by(every.unwrap_or(100) as usize) {
        let middle = class as i32 * cell + cell / 2;
        if names.upwards {
            let above = (focus.x + middle - LABEL_HEIGHT / 2, focus.y - 8);
            canvas.text_upwards(name, above, Side::Left, FAINT);
        } else {
            let above = (focus.x + middle, focus.y - LABEL_HEIGHT - 8);
            canvas.text(name, above, Side::Middle, Letters::Label, FAINT);
        }
        let beside = (focus.x - 12, focus.y + middle - LABEL_HEIGHT / 2);
        canvas.text(name, beside, Side::Right, Letters::Label, FAINT);
    }
    let names_end = focus.y - if names.upwards { names.columns } else { LABEL_HEIGHT };
    let above = (focus.x + focus.width / 2, names_end - LABEL_HEIGHT - 18);
    canvas.text("found class", above, Side::Middle, Letters::Label, INK);
    canvas.text_upwards("true class", (28, focus.y + focus.height / 2), Side::Middle, INK);
    if cell > LABEL_HEIGHT {
        let place = (focus.x + focus.width + 72, focus.y - LABEL_HEIGHT - 8);
        canvas.text("found", place, Side::Right, Letters::Label, FAINT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(counts: &[u64], names: &[String]) -> Result<Picture, DrawError> {
        Confusion { counts, of: "test split", names: ClassNames(names) }.draw()
    }

    fn draw(counts: &[u64]) -> Result<Picture, DrawError> {
        named(counts, &[])
    }

    #[test]
    fn a_cell_has_the_color_of_its_share_of_the_true_class() {
        let picture = draw(&[8, 0, 5, 15]).unwrap();
        let cell = CELL.1;
        let at = |row: i32, column: i32| {
            picture.canvas.get(CORNER.0 + column * cell + 2, CORNER.1 + row * cell + 2).unwrap()
        };
        assert_eq!((at(0, 0), at(0, 1)), (shade(1.0), shade(0.0)));
        assert_eq!((at(1, 0), at(1, 1)), (shade(0.5), shade(0.75_f64.sqrt())));
        assert_eq!(picture.caption, "test split: 23 of 28 found, 82.14 %");
    }

    #[test]
    fn any_number_of_classes_and_any_counts() {
        for classes in [1, 10, 100, 256] {
            let picture = draw(&vec![u64::MAX; classes * classes]).unwrap();
            assert!(picture.focus.width as usize >= classes * 3);
        }
        assert!(draw(&[0; 9]).is_ok());
        assert_eq!(draw(&[1, 2, 3]).unwrap_err(), DrawError::Matrix(3));
        assert!(draw(&[]).unwrap_err().to_string().contains("a confusion matrix"));
    }
    /// Whether an area has anything but paper.
    fn is_drawn(picture: &Picture, x: std::ops::Range<i32>, y: std::ops::Range<i32>) -> bool {
        let mut places = x.flat_map(|x| y.clone().map(move |y| (x, y)));
        places.any(|(x, y)| picture.canvas.get(x, y) != Some(PAPER))
    }

    #[test]
    fn names_of_classes_have_the_room_they_need() {
        let short = ["cat", "dog"].map(str::to_owned);
        let long = ["Iris-versicolor", "dog"].map(str::to_owned);
        let plain = draw(&[8, 0, 5, 15]).unwrap();
        let picture = named(&[8, 0, 5, 15], &short).unwrap();
        assert_eq!(picture.focus, plain.focus);
        assert_ne!(picture.canvas, plain.canvas);
        let picture = named(&[8, 0, 5, 15], &long).unwrap();
        let (x, y) = (picture.focus.x, picture.focus.y);
        let columns = 15 * LETTER_WIDTH;
        assert_eq!((x, y), (BESIDE_NAMES.0 + columns, BESIDE_NAMES.1 + columns));
        // The long name is written whole beside the first row and above the first column, and
        // touches neither "true class" nor "found class".
        let middle = CELL.1 / 2;
        let row = y + middle - 8..y + middle + 8;
        let column = x + middle - 8..x + middle + 8;
        assert!(is_drawn(&picture, x - 12 - columns..x - columns, row.clone()));
        assert!(!is_drawn(&picture, x - 21 - columns..x - 12 - columns, y..y + CELL.1));
        assert!(is_drawn(&picture, column.clone(), y - 8 - columns..y - columns));
        assert!(!is_drawn(&picture, x..x + 2 * CELL.1, y - 17 - columns..y - 8 - columns));
        // The short one is beside the second row only as long as it is.
        let second = y + CELL.1 + middle - 8..y + CELL.1 + middle + 8;
        assert!(!is_drawn(&picture, x - 12 - columns..x - 40, second));
    }
}
