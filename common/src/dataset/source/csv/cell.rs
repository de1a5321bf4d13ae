//! The value of a field.

/// What stands for a missing number.
const MISSING: [&str; 11] =
    ["", "?", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A"];

/// What stands for a missing text: fewer words, as the others (`None`, `null`) may be texts.
const MISSING_TEXT: [&str; 8] = ["", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan"];

/// The value of a field in a column of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::dataset) enum Cell {
    Number(f32),
    Missing,
    /// A text, or a number that no f32 has, such as infinity.
    Other,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Notation {
    /// A comma may stand for the point, as in `1,5` and `1.234,5`.
    pub(in crate::dataset) decimal_commas: bool,
}

impl Notation {
    /// The value of a field without blanks around it.
    pub(in crate::dataset) fn cell(self, field: &str) -> Cell {
        match small(field.as_bytes()) {
            Some(number) => Cell::Number(number.into()),
            None => self.other(field),
        }
    }

    /// The value of a field that is no small number.
    pub(super) fn other(self, field: &str) -> Cell {
        if MISSING.contains(&field) {
            return Cell::Missing;
        }
        match self.number::<f32>(field) {
            Some(value) if value.is_finite() => Cell::Number(value),
            Some(_) => Cell::Other,
            None if field.eq_ignore_ascii_case("true") => Cell::Number(1.0),
            None if field.eq_ignore_ascii_case("false") => Cell::Number(0.0),
            None => Cell::Other,
        }
    }

    /// A field as a number; `None` if it is none.
    pub(in crate::dataset) fn number<T: std::str::FromStr>(self, field: &str) -> Option<T> {
        if let Ok(value) = field.parse() {
            return Some(value);
        }
        let (whole, fraction) = match field.split_once(',') {
            _ if !self.decimal_commas => return None,
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (field, None),
        };
        let is_whole = !whole.contains('.') || are_grouped(whole);
        let has_point = fraction.is_some_and(|fraction| fraction.contains(['.', ',']));
        (is_whole && !has_point).then(|| field.replace('.', "").replace(',', ".").parse().ok())?
    }
}

/// What a point in a number stands for, where commas may be decimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// It has none.
    None,
    /// It stands before the fraction, as in `1.5`.
    Fraction,
    /// It separates thousands, as in `1.234.567`, or would, as in `1,5`.
    Thousands,
    /// Either, as in `1.234`.
    Unclear,
}

impl Point {
    /// Of a field that is a number.
    pub(super) fn of(field: &str) -> Self {
        match field.split_once('.') {
            _ if field.contains(',') => Self::Thousands,
            Some(_) if !are_grouped(field) => Self::Fraction,
            Some((_, after)) if after.contains('.') => Self::Thousands,
            Some(_) => Self::Unclear,
            None => Self::None,
        }
    }
}

/// Whether points separate the thousands of a number, as in `1.234`.
fn are_grouped(number: &str) -> bool {
    let mut groups = number.trim_start_matches(['+', '-']).split('.');
    let are_digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().unwrap_or_default();
    let is_first = (1..=3).contains(&first.len()) && !first.starts_with('0') && are_digits(first);
    is_first && groups.all(|group| group.len() == 3 && are_digits(group))
}

/// Whether a text would be a number without what stands around it or between its digits, such as
/// `$3.50`, `42 %` and `1,234`.
pub(super) fn looks_like_number(text: &str) -> bool {
    let around = |c: char| !c.is_alphanumeric();
    let core = text.trim_matches(around);
    let between =
        |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '\'' | '_' | ' ' | '\u{a0}');
    !core.is_empty() && core.chars().all(between)
}

/// Whether a field of a column of texts has none.
pub(in crate::dataset) fn is_missing_text(field: &str) -> bool {
    MISSING_TEXT.contains(&field)
}

/// A number of up to three digits and nothing else, as most pixels are.
#[inline]
pub(super) fn small(field: &[u8]) -> Option<u16> {
    let digit = |byte: &u8| Some(u16::from(*byte).wrapping_sub(48)).filter(|digit| *digit < 10);
    match field {
        [a] => digit(a),
        [a, b] => Some(digit(a)? * 10 + digit(b)?),
        [a, b, c] => Some(digit(a)? * 100 + digit(b)? * 10 + digit(c)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_numbers_missing_or_texts() {
        let point = Notation { decimal_commas: false };
        let comma = Notation { decimal_commas: true };
        for (field, value) in [
            ("0", 0.0),
            ("007", 7.0),
            ("255", 255.0),
            ("-1.5e3", -1500.0),
            ("+2", 2.0),
            (".5", 0.5),
        ] {
            assert_eq!(point.cell(field), Cell::Number(value), "{field}");
            assert_eq!(comma.cell(field), Cell::Number(value), "{field}");
        }
        assert_eq!(comma.cell("1,5"), Cell::Number(1.5));
        assert_eq!(comma.cell("1.234,5"), Cell::Number(1234.5));
        assert_eq!(point.cell("TRUE"), Cell::Number(1.0));
        for field in ["1,5", "setosa", "inf", "1e39", "-infinity", "1 2", "0x10"] {
            assert_eq!(point.cell(field), Cell::Other, "{field}");
        }
        for field in MISSING {
            assert_eq!(point.cell(field), Cell::Missing, "{field}");
        }
        for field in ["1,2,3", "1.2,5", "0.234,5", "1234.567,5", "1,5.2", "1.23.456"] {
            assert_eq!(comma.cell(field), Cell::Other, "{field}");
        }
        assert_eq!(comma.cell("-1.234.567"), Cell::Number(-1_234_567.0));
        assert!(is_missing_text("?") && !is_missing_text("None"));
    }

    #[test]
    fn points_of_numbers_with_decimal_commas() {
        for (fields, point) in [
            (["12", "-7"], Point::None),
            (["1.5", "0.125"], Point::Fraction),
            (["1,5", "1.234.567"], Point::Thousands),
            (["1.234", "-12.345"], Point::Unclear),
        ] {
            assert_eq!(fields.map(Point::of), [point; 2], "{fields:?}");
        }
    }

    #[test]
    fn numbers_with_something_around_them() {
        for text in ["$3.50", "42%", "42 %", "1,5", "1,234", "€ 7", "(3)", "~5", "12", "1 234"] {
            assert!(looks_like_number(text), "{text}");
        }
        for text in ["A12", "3 kg", "2020-01-01", "12:30", "Q1", "", "-", "1e5x", "x"] {
            assert!(!looks_like_number(text), "{text}");
        }
    }
}
