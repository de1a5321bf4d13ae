//! A picture in letters: half blocks, whose upper and lower halves have a color
//! each.

use std::fmt::Write as _;

use super::{Area, Color, Picture};

/// Most columns of a preview: a larger one is slow to print, and no clearer.
const PREVIEW_COLUMNS: u16 = 120;

/// The picture's focus in at most `columns` columns, with two rows of pixels per line. Each pixel is
/// the mean of the pixels that it represents.
pub(in super::super) fn preview(picture: &Picture, columns: u16) -> String {
    let focus = picture.focus;
    let width = i32::from(columns.clamp(1, PREVIEW_COLUMNS)).min(focus.width);
    let height = ((i64::from(focus.height) * i64::from(width)) / i64::from(focus.width)).max(1);
    let height = height.min(i64::from(focus.height)) as i32;
    let mean = |column: i32, row: i32| {
        let (x, next_x) = piece(focus.width, width, column);
        let (y, next_y) = piece(focus.height, height, row);
        let (x, next_x, y, next_y) = (focus.x + x, focus.x + next_x, focus.y + y, focus.y + next_y);
        mean_color(picture, Area { x, y, width: next_x - x, height: next_y - y })
    };
    let mut text = String::new();
    for row in (0..height).step_by(2) {
        for column in 0..width {
            let [red, green, blue] = mean(column, row);
            let _ = write!(text, "\x1b[38;2;{red};{green};{blue}m");
            if row + 1 < height {
                let [red, green, blue] = mean(column, row + 1);
                let _ = write!(text, "\x1b[48;2;{red};{green};{blue}m");
            }
            text.push('▀');
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

/// Where a piece of `length` begins and ends, that is cut into `pieces`.
fn piece(length: i32, pieces: i32, index: i32) -> (i32, i32) {
    let edge = |index: i32| (i64::from(length) * i64::from(index) / i64::from(pieces)) as i32;
    (edge(index), edge(index + 1))
}

fn mean_color(picture: &Picture, area: Area) -> Color {
    let mut sums = [0_u64; 3];
    for y in area.y..area.y + area.height {
        for x in area.x..area.x + area.width {
            let color = picture.canvas.get(x, y).unwrap_or_default();
            sums.iter_mut().zip(color).for_each(|(sum, channel)| *sum += u64::from(channel));
        }
    }
    let count = (area.width as u64 * area.height as u64).max(1);
    sums.map(|sum| ((sum + count / 2) / count) as u8)
}

#[cfg(test)]
mod tests {
    use super::super::Canvas;
    use super::*;

    fn picture(width: i32, height: i32) -> Picture {
        let mut canvas = Canvas::new(10, 10, [9, 9, 9]).unwrap();
        let focus = Area { x: 2, y: 3, width, height };
        canvas.fill(focus, [0, 0, 0]);
        Picture { canvas, focus, caption: String::new() }
    }

    #[test]
    fn a_tiny_picture_is_printed_pixel_by_pixel() {
        let mut picture = picture(2, 3);
        picture.canvas.set(3, 3, [1, 2, 3]);
        picture.canvas.set(2, 5, [255, 0, 7]);
        let black = "\x1b[38;2;0;0;0m";
        let expected = format!(
            "{black}\x1b[48;2;0;0;0m▀\x1b[38;2;1;2;3m\x1b[48;2;0;0;0m▀\x1b[0m\n\
             \x1b[38;2;255;0;7m▀{black}▀\x1b[0m\n"
        );
        assert_eq!(preview(&picture, 80), expected);
    }

    #[test]
    fn a_larger_picture_is_averaged() {
        let mut picture = picture(4, 4);
        for (x, y) in [(2, 3), (3, 3), (2, 4)] {
            picture.canvas.set(x, y, [200, 100, 50]);
        }
        let text = preview(&picture, 2);
        assert!(text.starts_with("\x1b[38;2;150;75;38m\x1b[48;2;0;0;0m▀"), "{text:?}");
        assert_eq!(text.matches('▀').count(), 2);
        assert_eq!(preview(&picture, 0).matches('▀').count(), 1);
    }
}
