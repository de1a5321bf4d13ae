//! Zip archives with one file of data.

use std::cell::Cell;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::rc::Rc;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

/// Ends of names of the file that is wanted, if there are several.
const WANTED: [&str; 5] = [".csv", ".tsv", ".txt", ".data", ".npy"];

/// Limit of the bytes that are read for the list of files, which is kept in memory: enough for ten
/// thousand of them.
const LIST_BYTES: u64 = 1 << 20;

/// Most names, and most characters of each, in an error.
const NAMES: usize = 8;
const NAME_CHARS: usize = 60;

/// Why an archive cannot be read.
#[derive(Debug)]
pub(super) enum UnpackError {
    /// It cannot be read, or is damaged.
    Damage(io::Error),
    /// It does not hold one file of data.
    Content { expected: String, found: String },
}

impl From<io::Error> for UnpackError {
    fn from(error: io::Error) -> Self {
        Self::Damage(error)
    }
}

impl From<zip::result::ZipError> for UnpackError {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Damage(error.into())
    }
}

/// Opens an archive: reads the list of its files.
pub(super) fn opened<R: Read + Seek>(
    archive: R,
) -> Result<ZipArchive<Limited<R>>, zip::result::ZipError> {
    let left = Rc::new(Cell::new(LIST_BYTES));
    let archive = ZipArchive::new(Limited { file: archive, left: Rc::clone(&left) })?;
    left.set(u64::MAX);
    Ok(archive)
}

/// A file of which no more than some bytes may be read.
pub(super) struct Limited<R> {
    file: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("too long a list of files"))?);
        Ok(read)
    }
}

impl<R: Seek> Seek for Limited<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Opens the file of an archive that is wanted: the only one, or the only one with the name of
/// a file of data.
pub(super) fn open<R: Read + Seek>(archive: R) -> Result<impl Read, UnpackError> {
    let mut archive = opened(archive)?;
    let index = wanted(&names(&archive)?)?;
    let entry = archive.by_index_data(index)?;
    if entry.encrypted() {
        return Err(content("a file without a password", "one with a password: unpack it first"));
    }
    let deflated = match entry.compression() {
        CompressionMethod::Stored => false,
        CompressionMethod::Deflated => true,
        other => {
            let found = format!("one packed with {other}: unpack it with `7z x` first");
            return Err(content("a file that is stored or deflated", found));
        }
    };
    let (size, crc) = (entry.size(), entry.crc32());
    let raw = archive.by_index_raw(index)?;
    let bytes = raw.compressed_size();
    let start = raw.data_start().ok_or_else(|| damage("a file without a start"))?;
    drop(raw);
    let mut archive = archive.into_inner();
    archive.seek(SeekFrom::Start(start))?;
    let data = BufReader::new(archive.take(bytes));
    let data =
        if deflated { Data::Deflated(DeflateDecoder::new(data)) } else { Data::Stored(data) };
    Ok(Entry { data, size, crc, read: 0, sum: Crc::new() })
}

/// The files of an archive, with their index, without those that systems add by themselves.
fn names<R: Read + Seek>(archive: &ZipArchive<R>) -> Result<Vec<(usize, String)>, UnpackError> {
    let mut names = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_data(index)?;
        let name = String::from_utf8_lossy(entry.name_raw());
        let last = name.rsplit('/').next().unwrap_or_default();
        if !entry.is_dir() && !name.starts_with("__MACOSX/") && last != ".DS_Store" {
            names.push((index, name.into_owned()));
        }
    }
    Ok(names)
}

/// The index of the file that is wanted.
fn wanted(names: &[(usize, String)]) -> Result<usize, UnpackError> {
    if names.iter().any(|(_, name)| name.starts_with("xl/")) {
        return Err(content("a file of data", "an Excel workbook: save the sheet as CSV"));
    }
    if names.iter().any(|(_, name)| name == "data.pkl" || name.ends_with("/data.pkl")) {
        let found = "a file of PyTorch: save its tensors with `numpy.save`";
        return Err(content("a file of data", found));
    }
    if let [(index, _)] = names {
        return Ok(*index);
    }
    let is_wanted = |name: &str| {
        let name = name.to_ascii_lowercase();
        WANTED.iter().any(|end| name.ends_with(end))
    };
    let mut wanted = names.iter().filter(|(_, name)| is_wanted(name));
    if let (Some((index, _)), None) = (wanted.next(), wanted.next()) {
        return Ok(*index);
    }
    let expected =
        format!("a zip archive with one file, or one that ends in {}", WANTED.join(", "));
    Err(content(expected, list(names)))
}

/// The files of an archive, for errors.
fn list(names: &[(usize, String)]) -> String {
    if names.is_empty() {
        return "no file in it".to_owned();
    }
    let shown: Vec<String> = names.iter().take(NAMES).map(|(_, name)| shorten(name)).collect();
    let more = match names.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} files: {}{more}: unpack it and give one of them", names.len(), shown.join(", "))
}

/// A name in quotes, with its end if it is long.
fn shorten(name: &str) -> String {
    let Some(over) = name.chars().count().checked_sub(NAME_CHARS + 1) else {
        return format!("{name:?}");
    };
    let end: String = name.chars().skip(over + 1).collect();
    format!("…{end:?}")
}

fn content(expected: impl ToString, found: impl ToString) -> UnpackError {
    UnpackError::Content { expected: expected.to_string(), found: found.to_string() }
}

fn damage(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// The packed bytes of a file.
enum Data<R> {
    Stored(BufReader<io::Take<R>>),
    Deflated(DeflateDecoder<BufReader<io::Take<R>>>),
}

/// A file of an archive, checked as it is read.
struct Entry<R> {
    data: Data<R>,
    /// The size and the checksum that the archive names.
    size: u64,
    crc: u32,
    /// The bytes read so far, and their checksum.
    read: u64,
    sum: Crc,
}

impl<R: Read> Read for Entry<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.data {
            Data::Stored(data) => data.read(out)?,
            Data::Deflated(data) => data.read(out)?,
        };
        self.read += read as u64;
        self.sum.update(&out[..read]);
        if self.read > self.size || (read == 0 && !out.is_empty() && self.read < self.size) {
            return Err(damage("a file with another size than the archive names"));
        }
        if read == 0 && !out.is_empty() && self.sum.sum() != self.crc {
            return Err(damage("a file with another checksum than the archive names"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};
    use zip::write::{SimpleFileOptions, ZipWriter};

    /// An archive of files with their contents; a name that ends in `/` is a folder.
    fn zip(files: &[(&str, &str)], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (name, content) in files {
            if name.ends_with('/') {
                zip.add_directory(*name, options).unwrap();
            } else {
                zip.start_file(*name, options).unwrap();
                zip.write_all(content.as_bytes()).unwrap();
            }
        }
        zip.finish().unwrap().into_inner()
    }

    fn read(zip: &[u8]) -> Result<String, String> {
        let mut text = String::new();
        let mut file = open(Cursor::new(zip)).map_err(|problem| match problem {
            UnpackError::Damage(error) => error.to_string(),
            UnpackError::Content { expected, found } => {
                format!("expected {expected}, found {found}")
            }
        })?;
        file.read_to_string(&mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Result<&str, &str>) {
        for method in [CompressionMethod::Deflated, CompressionMethod::Stored] {
            let found = read(&zip(files, method));
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        }
    }

    #[test]
    fn reads_the_only_file() {
        let long = "1,2\n".repeat(50_000);
        check(&[("anything", &long)], Ok(&long));
        check(
            &[
                ("data/", ""),
                ("data/a.CSV", "1"),
                ("__MACOSX/data/._a.csv", "2"),
                (".DS_Store", "3"),
            ],
            Ok("1"),
        );
        check(&[("README.md", "2"), ("a.csv", "1"), ("LICENSE", "3")], Ok("1"));
        check(&[("empty.csv", "")], Ok(""));
    }

    #[test]
    fn lists_the_files_if_it_is_not_clear() {
        check(
            &[("a.csv", ""), ("b.npy", "")],
            Err("expected a zip archive with one file, or one that ends in .csv, .tsv, .txt, \
                 .data, .npy, found 2 files: \"a.csv\", \"b.npy\": unpack it and give one of them"),
        );
        check(
            &[("folder/", "")],
            Err("expected a zip archive with one file, or one that ends in .csv, .tsv, .txt, \
                 .data, .npy, found no file in it"),
        );
        let names: Vec<String> = (0..10).map(|i| format!("{}{i}\n", "long".repeat(20))).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        let error = read(&zip(&files, CompressionMethod::Stored)).unwrap_err();
        assert!(error.contains(r#"found 10 files: …"nglong"#), "{error}");
        assert!(error.contains(r#"long7\n" and 2 more: unpack it"#), "{error}");
        assert!(error.len() < 800, "{error}");
    }

    #[test]
    fn names_other_programs_archives() {
        let workbook = [("[Content_Types].xml", ""), ("xl/workbook.xml", "")];
        check(
            &workbook,
            Err("expected a file of data, found an Excel workbook: save the sheet as CSV"),
        );
        let error = "expected a file of data, found a file of PyTorch: save its tensors with \
                     `numpy.save`";
        check(&[("mnist/data.pkl", ""), ("mnist/data/0", "")], Err(error));
    }

    /// `printf 'a,b\n1,2\n' > a.csv; zip -X -P x - a.csv`
    const ENCRYPTED: &[u8] =
        b"PK\x03\x04\x0a\0\x09\0\0\0\x96\x5c~]{\x07\x97\x0a\x14\0\0\0\x08\0\0\0\x05\0\0\0a.csv\
        \xee|\0\xd8\xb1\x98L\xd3\xa7\xfb\xbe\xaf\x9bd\x9c\x0a\xde\xa5\xbb+PK\x07\x08{\x07\
        \x97\x0a\x14\0\0\0\x08\0\0\0PK\x01\x02\x1e\x03\x0a\0\x09\0\0\0\x96\x5c~]{\x07\x97\
        \x0a\x14\0\0\0\x08\0\0\0\x05\0\0\0\0\0\0\0\x01\0\0\0\xa4\x81\0\0\0\0a.csvPK\x05\x06\
        \0\0\0\0\x01\0\x01\x003\0\0\0G\0\0\0\0\0";

    #[test]
    fn refuses_passwords_and_other_methods() {
        let error = read(ENCRYPTED).unwrap_err();
        let expected =
            "expected a file without a password, found one with a password: unpack it first";
        assert_eq!(error, expected);
        let mut other = zip(&[("a.csv", "1,2")], CompressionMethod::Stored);
        let directory = other.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
        other[directory + 10] = 14;
        let error = read(&other).unwrap_err();
        assert!(
            error.starts_with("expected a file that is stored or deflated, found one packed with "),
            "{error}"
        );
        assert!(error.ends_with(": unpack it with `7z x` first"), "{error}");
    }

    #[test]
    fn lists_of_files_are_bounded() {
        let name = "n".repeat(1000);
        let names: Vec<String> = (0..1100).map(|at| format!("{name}{at}")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        let whole = zip(&files, CompressionMethod::Stored);
        assert!(read(&whole).unwrap_err().contains("too long a list of files"));
        // The end of the list may claim any number of files.
        let mut few = zip(&[("a.csv", "1")], CompressionMethod::Stored);
        let end = few.len() - 22;
        few[end + 8..end + 12].fill(0xff);
        let _ = read(&few);
    }

    #[test]
    fn finds_damage() {
        let whole = zip(&[("a.csv", "1,2\n3,4\n")], CompressionMethod::Stored);
        let at = whole.windows(3).position(|at| at == b"3,4").unwrap();
        let mut damaged = whole.clone();
        damaged[at] = b'5';
        assert!(read(&damaged).unwrap_err().contains("another checksum"));
        // The size in the directory, which is packed and unpacked.
        let directory = whole.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
        for size in [7, 9] {
            let mut damaged = whole.clone();
            damaged[directory + 24] = size;
            assert!(read(&damaged).unwrap_err().contains("another size"));
        }
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
    }
}
