//! Text of a file, whatever program wrote it.

use encoding_rs::{DecoderResult, Encoding as Code, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::dataset::DatasetError;

/// Bytes in which UTF-16 without a mark is looked for: two characters at least.
const SAMPLE: std::ops::RangeInclusive<usize> = 4..=64;

/// How a text is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// UTF-8, with or without a mark of byte order.
    Utf8,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
    /// Not valid UTF-8, and read as Latin-1 (windows-1252), which gives each byte a character:
    /// the caller says so.
    Latin1 {
        /// The first byte that is not valid UTF-8.
        byte: u64,
    },
}

/// The text that the bytes of the file `name` encode, without a mark of byte order. Bytes that
/// are UTF-8 are not copied.
pub(super) fn decode(name: &str, bytes: Vec<u8>) -> Result<(String, Encoding), DatasetError> {
    match bytes[..] {
        [0xff, 0xfe, ..] => return Ok((utf16(name, &bytes, 2, UTF_16LE)?, Encoding::Utf16Le)),
        [0xfe, 0xff, ..] => return Ok((utf16(name, &bytes, 2, UTF_16BE)?, Encoding::Utf16Be)),
        _ => {}
    }
    match zeros(&bytes) {
        Some(0) => return Ok((utf16(name, &bytes, 0, UTF_16BE)?, Encoding::Utf16Be)),
        Some(_) => return Ok((utf16(name, &bytes, 0, UTF_16LE)?, Encoding::Utf16Le)),
        None => {}
    }
    if bytes.contains(&0) {
        let at = bytes.iter().take_while(|byte| **byte != 0).count();
        return Err(zero(name, at as u64));
    }
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            Ok((text, Encoding::Utf8))
        }
        Err(error) => {
            let byte = error.utf8_error().valid_up_to() as u64;
            let (text, _) = WINDOWS_1252.decode_without_bom_handling(error.as_bytes());
            Ok((text.into_owned(), Encoding::Latin1 { byte }))
        }
    }
}

/// Whether every second byte of the start is 0, and no other: 0 if the first is, 1 if the second.
fn zeros(bytes: &[u8]) -> Option<usize> {
    let sample = &bytes[..bytes.len().min(*SAMPLE.end())];
    if sample.len() < *SAMPLE.start() {
        return None;
    }
    let only = |zero| sample.iter().enumerate().all(|(at, byte)| (*byte == 0) == (at % 2 == zero));
    [0, 1].into_iter().find(|zero| only(*zero))
}

/// The UTF-16 text after the first `mark` bytes.
fn utf16(
    name: &str,
    bytes: &[u8],
    mark: usize,
    code: &'static Code,
) -> Result<String, DatasetError> {
    let units = &bytes[mark..];
    let mut decoder = code.new_decoder_without_bom_handling();
    let Some(capacity) = decoder.max_utf8_buffer_length_without_replacement(units.len()) else {
        return Err(wrong(name, 0, "UTF-16 text", "too much of it"));
    };
    let mut text = String::with_capacity(capacity);
    let (result, read) = decoder.decode_to_string_without_replacement(units, &mut text, true);
    match result {
        DecoderResult::InputEmpty => {}
        DecoderResult::Malformed(broken, after) => {
            let at = (mark + read).saturating_sub(usize::from(broken) + usize::from(after));
            return Err(wrong(name, at as u64, "UTF-16 text", "half a character"));
        }
        // Not with this capacity.
        DecoderResult::OutputFull => {
            return Err(wrong(name, (mark + read) as u64, "UTF-16 text", "too much of it"));
        }
    }
    if let Some((before, _)) = text.split_once('\0') {
        return Err(zero(name, (mark + 2 * before.encode_utf16().count()) as u64));
    }
    Ok(text)
}

fn zero(name: &str, byte: u64) -> DatasetError {
    wrong(name, byte, "text", "a byte 0 (a binary file?)")
}

fn wrong(name: &str, byte: u64, expected: &str, found: &str) -> DatasetError {
    DatasetError::Content {
        path: name.to_owned(),
        place: format!("byte {byte}"),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(bytes: &[u8], text: &str, encoding: Encoding) {
        assert_eq!(decode("a.csv", bytes.to_vec()).unwrap(), (text.to_owned(), encoding));
    }

    #[track_caller]
    fn fails(bytes: &[u8], message: &str) {
        let error = decode("a.csv", bytes.to_vec()).unwrap_err();
        assert_eq!(error.to_string(), format!("a.csv, {message}"));
    }

    fn units(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn utf8_keeps_its_memory() {
        check(b"", "", Encoding::Utf8);
        check("a,ß\n".as_bytes(), "a,ß\n", Encoding::Utf8);
        check(b"\xef\xbb\xbfa,b", "a,b", Encoding::Utf8);
        check(b"\xef\xbb\xbf", "", Encoding::Utf8);
        let bytes = b"a,b\n1,2\n".to_vec();
        let start = bytes.as_ptr();
        assert_eq!(decode("a.csv", bytes).unwrap().0.as_ptr(), start);
    }

    #[test]
    fn utf16_with_and_without_a_mark() {
        for text in ["a,ß\n1,😀\n", ""] {
            let marked = format!("\u{feff}{text}");
            check(&units(&marked, u16::to_le_bytes), text, Encoding::Utf16Le);
            check(&units(&marked, u16::to_be_bytes), text, Encoding::Utf16Be);
        }
        check(&units("a,b", u16::to_le_bytes), "a,b", Encoding::Utf16Le);
        check(&units("a,b", u16::to_be_bytes), "a,b", Encoding::Utf16Be);
        let late = format!("{}€", "a".repeat(40));
        check(&units(&late, u16::to_le_bytes), &late, Encoding::Utf16Le);
    }

    #[test]
    fn other_bytes_are_latin1() {
        check(b"caf\xe9,\x80\n", "café,€\n", Encoding::Latin1 { byte: 3 });
    }

    #[test]
    fn errors_name_the_byte() {
        fails(b"ab\0c", "byte 2: expected text, found a byte 0 (a binary file?)");
        fails(b"ab\xff\0", "byte 3: expected text, found a byte 0 (a binary file?)");
        fails(b"a\0", "byte 1: expected text, found a byte 0 (a binary file?)");
        fails(b"\xff\xfea\0\0\0b\0", "byte 4: expected text, found a byte 0 (a binary file?)");
        fails(b"\xff\xfea\0b", "byte 4: expected UTF-16 text, found half a character");
        fails(b"\xff\xfea\0\0\xd8b\0", "byte 4: expected UTF-16 text, found half a character");
        fails(b"\xfe\xff\0a\xdc\0\0b", "byte 4: expected UTF-16 text, found half a character");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok((text, encoding)) = decode("a.csv", bytes.clone()) {
                prop_assert!(!text.contains('\0'));
                prop_assert!(encoding != Encoding::Utf8 || bytes.ends_with(text.as_bytes()));
            }
        }

        #[test]
        fn reads_what_was_written(text in "[^\0\u{feff}]{0,40}") {
            let marked = format!("\u{feff}{text}");
            for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
                prop_assert_eq!(&decode("a.csv", units(&marked, bytes)).unwrap().0, &text);
            }
            prop_assert_eq!(decode("a.csv", marked.into_bytes()).unwrap().0, text);
        }
    }
}
