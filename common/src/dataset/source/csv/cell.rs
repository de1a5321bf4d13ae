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
        let is_decimal = self.decimal_commas && field.bytes().filter(|it| *it == b',').count() == 1;
        is_decimal.then(|| field.replace('.', "").replace(',', ".").parse().ok())?
    }
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
        assert_eq!(comma.cell("1,2,3"), Cell::Other);
        assert!(is_missing_text("?") && !is_missing_text("None"));
    }
}
