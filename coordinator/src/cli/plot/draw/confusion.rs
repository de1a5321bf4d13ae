//! The confusion matrix.

use super::canvas::{Canvas, LABEL_HEIGHT, LETTER_WIDTH, Letters, Side};
use super::{Area, DrawError, FAINT, INK, PAPER, Picture, readable_on, shade};

/// Pixels that the matrix may take each way.
const MATRIX: i32 = 860;
/// Fewest and most pixels of a cell, each way.
const CELL: (i32, i32) = (4, 86);
/// Fewest pixels of the matrix, so that the title has room.
const LEAST: i32 = 560;
/// The first column and row of the matrix.
const CORNER: (i32, i32) = (104, 132);
/// Columns at the right, for the share of each class that was found.
const RIGHT: i32 = 116;

/// Counts by true and found class.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Confusion<'a> {
    /// `[true class, found class]`, row by row.
    pub(in super::super) counts: &'a [u64],
    /// Where the examples are from, as in `test split after 3 epochs`.
    pub(in super::super) of: &'a str,
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
        let (width, height) = (CORNER.0 + size.max(LEAST) + RIGHT, CORNER.1 + size + 40);
        let mut canvas = Canvas::new(width as u64, height as u64, PAPER)?;
        let focus = Area { x: CORNER.0, y: CORNER.1, width: size, height: size };

        let caption = self.caption(classes);
        canvas.text(&caption, (28, 28), Side::Left, Letters::Title, INK);
        let most = self.counts.iter().copied().max().unwrap_or(0);
        let letters = most.to_string().len() as i32;
        let numbered = letters * LETTER_WIDTH + 4 <= cell && LABEL_HEIGHT + 2 <= cell;
        for (row, counts) in self.counts.chunks(classes).enumerate() {
            draw_row(&mut canvas, focus, cell, (row, counts), numbered);
        }
        draw_classes(&mut canvas, focus, cell, classes);
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

/// The numbers of the classes, as many as fit.
fn draw_classes(canvas: &mut Canvas, focus: Area, cell: i32, classes: usize) {
    let letters = (classes - 1).to_string().len() as i32;
    let room = (letters * LETTER_WIDTH + 6).max(LABEL_HEIGHT + 2);
    let every = [1, 2, 5, 10, 20, 50].into_iter().find(|every| every * cell >= room);
    for class in (0..classes).step_by(every.unwrap_or(100) as usize) {
        let middle = class as i32 * cell + cell / 2;
        let text = class.to_string();
        let above = (focus.x + middle, focus.y - LABEL_HEIGHT - 8);
        canvas.text(&text, above, Side::Middle, Letters::Label, FAINT);
        let beside = (focus.x - 12, focus.y + middle - LABEL_HEIGHT / 2);
        canvas.text(&text, beside, Side::Right, Letters::Label, FAINT);
    }
    let above = (focus.x + focus.width / 2, focus.y - 2 * LABEL_HEIGHT - 18);
    canvas.text("found class", above, Side::Middle, Letters::Label, INK);
    canvas.text_upwards("true class", (28, focus.y + focus.height / 2), INK);
    if cell > LABEL_HEIGHT {
        let place = (focus.x + focus.width + 72, focus.y - LABEL_HEIGHT - 8);
        canvas.text("found", place, Side::Right, Letters::Label, FAINT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(counts: &[u64]) -> Result<Picture, DrawError> {
        Confusion { counts, of: "test split" }.draw()
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
}
