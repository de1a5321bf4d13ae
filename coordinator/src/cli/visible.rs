//! Text for a terminal. Names of classes, files and peers may hold control characters, which would move
//! its cursor, change its colours, begin a line or turn the direction of its text: they are printed as in `\u{1b}`. Everything that
//! commands print for people passes here. Pure.

use std::borrow::Cow;

/// Text of several lines: ends of lines and tabs stay.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_hidden(c) && !['\n', '\t'].contains(&c))
}

/// Text within a line.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden)
}

/// Whether a character is not shown but changes how others are: those of terminals, and Unicode's marks
/// of direction (UAX #9).
fn is_hidden(c: char) -> bool {
    let is_direction = matches!(c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_direction
}

fn escaped(text: &str, hides: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hides) {
        return text.into();
    }
    let mut visible = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if hides(c) { visible.extend(c.escape_debug()) } else { visible.push(c) }
    }
    visible.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(line("Größe \"a\" \\ 🦀"), "Größe \"a\" \\ 🦀");
        assert_eq!(line("\x1b[31mred\n\t\u{9b}2J\x7f"), "\\u{1b}[31mred\\n\\t\\u{9b}2J\\u{7f}");
        assert_eq!(line("exe.\u{202e}vsc\u{2069}"), "exe.\\u{202e}vsc\\u{2069}");
        assert_eq!(lines("a\tb\r\n\x1b[2J\n"), "a\tb\\r\n\\u{1b}[2J\n");
    }
}
