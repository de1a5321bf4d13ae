//! Sizes such as `512MiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Units that sizes are shown in, and their bytes, the largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// A number of bytes, written as `512MiB`, `2GiB`, `1.5GiB`, `4096`. Units are B, KiB,
/// MiB, GiB, TiB, and the decimal KB, MB, GB, TB, in any case. It is shown exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact =
            UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (unit, bytes) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_size::parse_size(text.trim()).map(Self).map_err(|error| {
            let text: String = text.chars().take(40).collect();
            format!("expected a size such as 512MiB, 2GiB or 4096, found {text:?}: {error}")
        })
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("7B", 7),
            ("512MiB", 512 << 20),
            ("2 GiB", 2 << 30),
            ("1tib", 1 << 40),
            ("3KB", 3_000),
            ("5MB", 5_000_000),
            ("1GB", 1_000_000_000),
            ("1.5GiB", 3 << 29),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes(1 << 30).to_string(), "1GiB");
        assert_eq!(Bytes(1000).to_string(), "1000B");
        assert_eq!(Bytes(0).to_string(), "0B");
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_form_expected() {
        for text in [
            "",
            " ",
            "-1",
            "+1",
            "GiB",
            "12XB",
            "0x10",
            "16777216TiB",
            "9é",
            "99999999999999999999",
            "1GiB1",
        ] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert!(error.starts_with("expected a size such as 512MiB"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn shown_sizes_read_back(bytes: u64, shift in 0u32..64) {
            let size = Bytes(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn any_text_gives_a_size_or_an_error(text in ".*") {
            let _ = text.parse::<Bytes>();
        }
    }
}
