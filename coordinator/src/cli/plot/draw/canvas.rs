//! Pixels in memory, with functions to draw shapes and letters.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::mono_font::iso_8859_1::{FONT_9X15, FONT_9X18_BOLD};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{Dimensions, DrawTarget, Drawable, Point, RgbColor, Size};
use embedded_graphics::primitives::Rectangle;
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

use super::{Area, Color, DrawError, PICTURE_PIXELS};

/// Rows of a label's letters.
pub(super) const LABEL_HEIGHT: i32 = 15;

/// Columns of a letter, of labels and titles alike.
pub(super) const LETTER_WIDTH: i32 = 9;

/// A picture in memory, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Canvas {
    width: u32,
    height: u32,
    /// Three bytes a pixel.
    bytes: Vec<u8>,
}

/// The part of a text that is at its given position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// The text begins there.
    Left,
    /// The text's middle is there.
    Middle,
    /// The text ends there.
    Right,
}

/// The style of a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Letters {
    /// Small and plain.
    Label,
    /// Bold.
    Title,
}

impl Letters {
    fn font(self) -> &'static MonoFont<'static> {
        match self {
            Self::Label => &FONT_9X15,
            Self::Title => &FONT_9X18_BOLD,
        }
    }
}

impl Canvas {
    /// An empty picture of one color.
    pub(super) fn new(width: u64, height: u64, color: Color) -> Result<Self, DrawError> {
        if width.saturating_mul(height) > PICTURE_PIXELS {
            return Err(DrawError::Large { width, height });
        }
        let bytes = color.repeat((width * height) as usize);
        Ok(Self { width: width as u32, height: height as u32, bytes })
    }

    /// Columns.
    pub(in super::super) fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub(in super::super) fn height(&self) -> u32 {
        self.height
    }

    /// Three bytes a pixel, row by row.
    pub(in super::super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn place(&self, x: i32, y: i32) -> Option<usize> {
        let (x, y) = (u32::try_from(x).ok()?, u32::try_from(y).ok()?);
        let inside = x < self.width && y < self.height;
        inside.then(|| (y as usize * self.width as usize + x as usize) * 3)
    }

    /// The color of a pixel; `None` outside of the picture.
    pub(super) fn get(&self, x: i32, y: i32) -> Option<Color> {
        let place = self.place(x, y)?;
        Some([self.bytes[place], self.bytes[place + 1], self.bytes[place + 2]])
    }

    /// Colors a pixel. Does nothing outside of the picture.
    pub(super) fn set(&mut self, x: i32, y: i32, color: Color) {
        if let Some(place) = self.place(x, y) {
            self.bytes[place..place + 3].copy_from_slice(&color);
        }
    }

    /// Colors an area.
    pub(super) fn fill(&mut self, area: Area, color: Color) {
        let columns = area.x.max(0)..(area.x + area.width).min(self.width as i32);
        for y in area.y.max(0)..(area.y + area.height).min(self.height as i32) {
            for x in columns.clone() {
                self.set(x, y, color);
            }
        }
    }

    /// Mixes a color into a pixel.
    fn blend(&mut self, x: i32, y: i32, color: Color, share: f32) {
        if let Some(below) = self.get(x, y) {
            let mix = |channel: usize| {
                let (below, above) = (f32::from(below[channel]), f32::from(color[channel]));
                (below + (above - below) * share + 0.5) as u8
            };
            self.set(x, y, [mix(0), mix(1), mix(2)]);
        }
    }

    /// A smooth line through points. Where it crosses itself it is no darker.
    pub(super) fn line(&mut self, points: &[(f32, f32)], width: f32, color: Color) {
        let mut covered = vec![0.0_f32; self.width as usize * self.height as usize];
        for pair in points.windows(2) {
            self.cover(&mut covered, pair[0], pair[1], width / 2.0);
        }
        let columns = self.width as usize;
        for (place, share) in covered.into_iter().enumerate().filter(|(_, share)| *share > 0.0) {
            self.blend((place % columns) as i32, (place / columns) as i32, color, share);
        }
    }

    /// A smooth disc.
    pub(super) fn disc(&mut self, centre: (f32, f32), radius: f32, color: Color) {
        let reach = radius + 1.0;
        for y in (centre.1 - reach) as i32..=(centre.1 + reach) as i32 {
            for x in (centre.0 - reach) as i32..=(centre.0 + reach) as i32 {
                let share = coverage((x as f32, y as f32), centre, centre, radius);
                self.blend(x, y, color, share);
            }
        }
    }

    /// Records how much of each pixel a piece of a line covers.
    fn cover(&self, covered: &mut [f32], from: (f32, f32), to: (f32, f32), radius: f32) {
        let reach = radius + 1.0;
        let rows = (from.1.min(to.1) - reach) as i32..=(from.1.max(to.1) + reach) as i32;
        let columns = (from.0.min(to.0) - reach) as i32..=(from.0.max(to.0) + reach) as i32;
        for y in rows {
            for x in columns.clone() {
                let Some(place) = self.place(x, y) else { continue };
                let share = coverage((x as f32, y as f32), from, to, radius);
                covered[place / 3] = covered[place / 3].max(share);
            }
        }
    }

    /// Writes a line of text whose upper edge is at `y`.
    pub(super) fn text(
        &mut self,
        text: &str,
        (x, y): (i32, i32),
        side: Side,
        letters: Letters,
        color: Color,
    ) {
        write(&mut Upright(self), text, (x, y), side, letters, color);
    }

    /// Writes a label upwards. Its upper edge, which is on the left, is at `x`; `side` is at `y`.
    pub(super) fn text_upwards(
        &mut self,
        text: &str,
        (x, y): (i32, i32),
        side: Side,
        color: Color,
    ) {
        write(&mut Upwards(self, x, y), text, (0, 0), side, Letters::Label, color);
    }
}

/// How much of a pixel lies within `radius` of a piece of a line, 0 to 1.
fn coverage(pixel: (f32, f32), from: (f32, f32), to: (f32, f32), radius: f32) -> f32 {
    let (along_x, along_y) = (to.0 - from.0, to.1 - from.1);
    let (away_x, away_y) = (pixel.0 - from.0, pixel.1 - from.1);
    let length = along_x * along_x + along_y * along_y;
    let nearest = if length > 0.0 {
        ((away_x * along_x + away_y * along_y) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let (x, y) = (away_x - nearest * along_x, away_y - nearest * along_y);
    (radius + 0.5 - (x * x + y * y).sqrt()).clamp(0.0, 1.0)
}

fn write<T>(
    target: &mut T,
    text: &str,
    (x, y): (i32, i32),
    side: Side,
    letters: Letters,
    color: Color,
) where
    T: DrawTarget<Color = Rgb888, Error = Infallible>,
{
    let [red, green, blue] = color;
    let character = MonoTextStyle::new(letters.font(), Rgb888::new(red, green, blue));
    let alignment = match side {
        Side::Left => Alignment::Left,
        Side::Middle => Alignment::Center,
        Side::Right => Alignment::Right,
    };
    let style = TextStyleBuilder::new().baseline(Baseline::Top).alignment(alignment).build();
    let Ok(_) = Text::with_text_style(text, Point::new(x, y), character, style).draw(target);
}

/// Horizontal letters.
struct Upright<'a>(&'a mut Canvas);

/// Letters turned by a quarter, around a place.
struct Upwards<'a>(&'a mut Canvas, i32, i32);

/// Letters may be anywhere; parts outside of the picture are dropped.
const ANYWHERE: Rectangle =
    Rectangle::new(Point::new(i32::MIN / 4, i32::MIN / 4), Size::new(u32::MAX / 4, u32::MAX / 4));

impl Dimensions for Upright<'_> {
    fn bounding_box(&self) -> Rectangle {
        ANYWHERE
    }
}

impl Dimensions for Upwards<'_> {
    fn bounding_box(&self) -> Rectangle {
        ANYWHERE
    }
}

impl DrawTarget for Upright<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(Point { x, y }, color) in pixels {
            self.0.set(x, y, [color.r(), color.g(), color.b()]);
        }
        Ok(())
    }
}

impl DrawTarget for Upwards<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(Point { x, y }, color) in pixels {
            self.0.set(self.1 + y, self.2 - x, [color.r(), color.g(), color.b()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Color = [255; 3];
    const BLACK: Color = [0; 3];

    fn dark(canvas: &Canvas) -> Vec<(i32, i32)> {
        let width = canvas.width as i32;
        let places = (0..width * canvas.height as i32).map(|place| (place % width, place / width));
        places.filter(|(x, y)| canvas.get(*x, *y) == Some(BLACK)).collect()
    }

    #[test]
    fn nothing_is_drawn_beside_the_picture() {
        let mut canvas = Canvas::new(4, 3, WHITE).unwrap();
        canvas.fill(Area { x: -2, y: 1, width: 100, height: 1 }, BLACK);
        canvas.line(&[(-9.0, -9.0), (-3.0, -4.0)], 2.0, BLACK);
        canvas.text("out", (-100, 50), Side::Left, Letters::Title, BLACK);
        assert_eq!(dark(&canvas), [(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(canvas.get(4, 0), None);
    }

    #[test]
    fn lines_and_discs_are_where_they_should_be() {
        let mut canvas = Canvas::new(9, 5, WHITE).unwrap();
        canvas.line(&[(1.0, 2.0), (7.0, 2.0)], 1.0, BLACK);
        assert_eq!(dark(&canvas), (1..8).map(|x| (x, 2)).collect::<Vec<_>>());
        let mut canvas = Canvas::new(5, 5, WHITE).unwrap();
        canvas.disc((2.0, 2.0), 1.0, BLACK);
        let [centre, edge, corner] = [(2, 2), (3, 2), (0, 0)].map(|(x, y)| canvas.get(x, y));
        assert_eq!((centre, corner), (Some(BLACK), Some(WHITE)));
        assert_ne!(edge, Some(WHITE));
    }

    #[test]
    fn letters_stand_upright_or_run_upwards() {
        let mut upright = Canvas::new(40, 40, WHITE).unwrap();
        upright.text("L", (10, 10), Side::Left, Letters::Label, BLACK);
        let mut upwards = Canvas::new(40, 40, WHITE).unwrap();
        upwards.text_upwards("L", (10, 20), Side::Middle, BLACK);
        let (one, other) = (dark(&upright), dark(&upwards));
        assert!(one.len() > 8 && one.len() == other.len());
        assert!(one.iter().all(|(x, y)| (10..19).contains(x) && (10..25).contains(y)));
        assert!(other.iter().all(|(x, y)| (10..25).contains(x) && (15..26).contains(y)));
    }

    #[test]
    fn letters_are_as_large_as_layouts_believe() {
        for letters in [Letters::Label, Letters::Title] {
            assert_eq!(letters.font().character_size.width as i32, LETTER_WIDTH);
        }
        assert_eq!(Letters::Label.font().character_size.height as i32, LABEL_HEIGHT);
    }

    #[test]
    fn a_picture_is_bounded() {
        let error = Canvas::new(1 << 14, (1 << 12) + 1, WHITE).unwrap_err();
        assert!(error.to_string().contains("at most 67108864 pixels, found 16384 × 4097"));
        assert!(Canvas::new(u64::MAX, u64::MAX, WHITE).is_err());
    }
}
