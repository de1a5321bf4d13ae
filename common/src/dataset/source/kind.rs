//! What a file is, by its first bytes and whatever its name.

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Not at all.
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Zip,
}

impl Packing {
    /// How a file that starts with these bytes is packed.
    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // Then the number of a block, or of the end: "BZh" alone may be a text.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, 0x41 | 0x72, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            // A first file, no file at all, and one of several parts.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] => Self::Zip,
            _ => Self::Plain,
        }
    }

    /// Its name in errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Zip => "zip",
        }
    }
}

/// First bytes of files that hold no data that can be read, what they are, and what to do.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it with `7z x` and give one of its files"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it with `unrar x` and give one of its files"),
    (b"\x1f\x9d", "a file packed by `compress`: unpack it with `gzip -d`"),
    (b"\x5d\0\0", "an lzma file: unpack it with `xz -d`"),
    (b"\x04\x22\x4d\x18", "an lz4 file: unpack it with `lz4 -d`"),
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`",
    ),
    (b"ARROW1\0\0", "an Arrow (Feather) file: save it as CSV or with `numpy.save`"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file: save its arrays with `numpy.save`"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file: save its arrays with `numpy.save`"),
    (b"SQLite format 3\0", "an SQLite database: save the table as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls): save the sheet as CSV"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image: save the images as one array with `numpy.save`"),
    (b"\xff\xd8\xff", "a JPEG image: save the images as one array with `numpy.save`"),
    (b"%PDF-", "a PDF document"),
];

/// First words of web pages and of errors of file servers, in small letters.
const PAGES: &[(&[u8], &str)] = &[
    (b"<!doctype html", "an HTML page: download the file itself, not the page that shows it"),
    (b"<html", "an HTML page: download the file itself, not the page that shows it"),
    (b"<head", "an HTML page: download the file itself, not the page that shows it"),
    (b"<?xml", "an XML file, such as an error of a file server: download the file again"),
];

/// What a file that starts with these bytes is, and what to do, if it cannot hold data.
/// [`super::ahead::PEEK_BYTES`] of the file are enough.
pub(super) fn foreign(start: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(what);
    }
    match start {
        // A text may have the same four letters, but no control character behind them.
        [b'P', b'A', b'R', b'1', next, ..] if next.is_ascii_control() && !is_space(*next) => {
            Some("a Parquet file: give it as parquet:FILE")
        }
        [0x80, 2..=5, ..] => Some("a Python pickle: save its arrays with `numpy.save`"),
        _ if is_tar(start) => {
            Some("a tar archive: unpack it with `tar -xf` and give one of its files")
        }
        _ => page(start),
    }
}

fn page(start: &[u8]) -> Option<&'static str> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let is = |word: &[u8]| start.get(..word.len()).is_some_and(|at| at.eq_ignore_ascii_case(word));
    PAGES.iter().find(|(word, _)| is(word)).map(|(_, what)| *what)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\r' | b'\n')
}

/// Whether the bytes start with the header of a tar archive: a block of 512 bytes with the sum
/// of its bytes as an octal number at byte 148, in which those of the number count as spaces.
fn is_tar(start: &[u8]) -> bool {
    let Some(header) = start.get(..512) else { return false };
    let (before, sum, after) = (&header[..148], &header[148..156], &header[156..]);
    let end = sum.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
    let digits = sum[..end].trim_ascii_start();
    if header[0] == 0 || digits.is_empty() {
        return false;
    }
    let Some(sum) = digits.iter().try_fold(0u32, |sum, digit| match digit {
        b'0'..=b'7' => Some(sum * 8 + u32::from(digit - b'0')),
        _ => None,
    }) else {
        return false;
    };
    let rest: u32 = before.iter().chain(after).map(|byte| u32::from(*byte)).sum();
    rest + 8 * u32::from(b' ') == sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_packed_files() {
        for (start, packing) in [
            (&b"\x1f\x8b\x08\0"[..], Packing::Gzip),
            (b"BZh91AY&SY", Packing::Bzip2),
            (b"BZh9\x17\x72\x45\x38\x50\x90", Packing::Bzip2),
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x28\xb5\x2f\xfd", Packing::Zstd),
            (b"\x50\x2a\x4d\x18", Packing::Zstd),
            (b"PK\x03\x04", Packing::Zip),
            (b"BZh9,width", Packing::Plain),
            (b"PK,name", Packing::Plain),
            (b"", Packing::Plain),
            (b"\0\0\x08\x03", Packing::Plain),
            (b"\x93NUMPY", Packing::Plain),
        ] {
            assert_eq!(Packing::of(start), packing, "{start:?}");
        }
    }

    #[test]
    fn names_foreign_files() {
        for (start, what) in [
            (&b"7z\xbc\xaf\x27\x1c\0\x04"[..], "a 7z archive"),
            (b"Rar!\x1a\x07\x01\0", "a RAR archive"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a pointer of Git LFS"),
            (b"PAR1\x15\0\x15", "a Parquet file"),
            (b"\x80\x04\x95", "a Python pickle"),
            (b"\xef\xbb\xbf\r\n <!DOCTYPE HTML>", "an HTML page"),
            (b"<html lang=en>", "an HTML page"),
            (b"<?xml version=\"1.0\"?><Error>", "an XML file"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
        ] {
            let found = foreign(start).unwrap_or_default();
            assert!(found.starts_with(what), "{start:?}: {found}");
        }
        let texts: [&[u8]; 6] =
            [b"a,b\n", b"PAR1,PAR2\n", b"PAR1\n", b"", b"version\n1", b"<1,2\n"];
        for text in texts {
            assert_eq!(foreign(text), None, "{text:?}");
        }
    }

    #[test]
    fn recognises_tar_by_its_sum() {
        let mut header = [0; 512];
        header[..5].copy_from_slice(b"a.csv");
        header[124..136].copy_from_slice(b"00000000010\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(foreign(&header).is_some_and(|what| what.starts_with("a tar archive")));
        header[3] += 1;
        assert_eq!(foreign(&header), None);
        assert_eq!(foreign(&[0; 512]), None);
        assert_eq!(foreign(&[b' '; 512]), None);
        assert_eq!(foreign(&[b'7'; 512]), None);
    }
}
