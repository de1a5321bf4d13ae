//! `.npz` archives of NumPy: a zip file whose members are `.npy` files, with the names of
//! [`pairs`].

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::ahead::PEEK_BYTES;
use super::archive::{self, Limited};
use super::array::{self, Bytes};
use super::kind;
use super::listing::{Listing, missing, shown};
use super::npy::{self, Arrays};
use super::pairs::{self, NoChoice};
use super::{Reading, Splits};
use crate::dataset::DatasetError;

/// Loads the arrays of an archive. The test split may be missing, and so may all labels; an
/// archive of one array has features only, whatever its name.
pub(super) fn load(path: &Path, reading: Reading) -> Result<Splits, DatasetError> {
    let mut archive = Archive::open(path)?;
    let members = archive.members();
    if let [name] = &members[..]
        && !pairs::is_labels(name)
    {
        let name_shown = archive.shown(name);
        let examples = npy::features(&mut *archive.open(name)?, name_shown)?;
        return array::agree(examples.with(None), None);
    }
    let has = |name: &str| members.iter().any(|member| member == name);
    let chosen = pairs::choose(reading, has).map_err(|NoChoice { expected, remark }| {
        let found = shown(members.iter().map(String::as_str));
        let found = format!("{found}: {remark}, with numpy.savez(path, NAME=array)");
        missing(path, &format!("{expected} (arrays of the archive)"), &found)
    })?;
    npy::load(&mut archive, &chosen, reading.targets)
}

/// The archive of a folder that has one, and no other arrays.
pub(super) fn only(folder: &Path) -> Result<Option<PathBuf>, DatasetError> {
    let listing = Listing::of(folder, |name| name.ends_with(".npy") || name.ends_with(".npz"))?;
    match &listing.names[..] {
        [name] if name.ends_with(".npz") => Ok(Some(folder.join(name))),
        _ => Ok(None),
    }
}

/// An open archive.
struct Archive {
    path: String,
    zip: ZipArchive<Limited<BufReader<File>>>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, DatasetError> {
        let name = path.display().to_string();
        let io = |error| DatasetError::Io { path: name.clone(), error };
        // Checked before opening, which would wait on a pipe without a writer.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(io::Error::other("expected a file, found something else")));
        }
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let mut start = Vec::new();
        file.by_ref().take(PEEK_BYTES as u64).read_to_end(&mut start).map_err(io)?;
        if let Some(found) = kind::foreign(&start) {
            return Err(wrong_archive(&name, found.to_owned()));
        }
        file.rewind().map_err(io)?;
        let zip = archive::opened(file).map_err(|error| wrong_zip(&name, error))?;
        Ok(Self { path: name, zip })
    }

    /// The names of the arrays in the archive, sorted.
    fn members(&self) -> Vec<String> {
        let names = self.zip.file_names().filter_map(Result::ok);
        let arrays = names.filter_map(|name| name.strip_suffix(".npy").map(String::from));
        let mut arrays: Vec<String> = arrays.collect();
        arrays.sort_unstable();
        arrays
    }
}

impl Arrays for Archive {
    fn open(&mut self, name: &str) -> Result<Box<dyn Bytes + '_>, DatasetError> {
        let shown = self.shown(name);
        let file = self.zip.by_name(&format!("{name}.npy"));
        let file = file.map_err(|error| wrong_zip(&shown, error))?;
        Ok(Box::new(Member { name: shown, reader: BufReader::new(file), offset: 0 }))
    }

    fn shown(&self, name: &str) -> String {
        format!("{} ({name}.npy)", self.path)
    }
}

/// The error for an archive, or the start of a member, that cannot be read.
fn wrong_zip(path: &str, error: ZipError) -> DatasetError {
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() => {
            DatasetError::Io { path: path.to_owned(), error }
        }
        error => wrong_archive(path, format!("another or a damaged file ({error})")),
    }
}

fn wrong_archive(path: &str, found: String) -> DatasetError {
    DatasetError::Content {
        path: path.to_owned(),
        place: "byte 0".into(),
        expected: "a .npz archive of numpy.savez or numpy.savez_compressed".into(),
        found,
    }
}

/// A member of an archive, unpacked as it is read.
struct Member<'a> {
    name: String,
    reader: BufReader<ZipFile<'a, Limited<BufReader<File>>>>,
    /// Bytes read so far.
    offset: u64,
}

impl Member<'_> {
    /// The error of a failed read: of the system, or damaged data.
    fn broken(&self, error: io::Error) -> DatasetError {
        if error.raw_os_error().is_some() {
            return DatasetError::Io { path: self.name.clone(), error };
        }
        let found = format!("damage ({error})");
        self.wrong_byte(self.offset, "zip data that unpacks".into(), found)
    }
}

impl Bytes for Member<'_> {
    fn take(&mut self, bytes: u64, what: &str) -> Result<Vec<u8>, DatasetError> {
        let mut taken = Vec::new();
        let result = self.reader.by_ref().take(bytes).read_to_end(&mut taken);
        let start = self.offset;
        self.offset += taken.len() as u64;
        result.map_err(|error| self.broken(error))?;
        if (taken.len() as u64) < bytes {
            let expected = format!("{bytes} bytes of {what} from byte {start} on");
            let found = format!("the end of the file after {} of them", taken.len());
            return Err(self.wrong_byte(self.offset, expected, found));
        }
        Ok(taken)
    }

    fn end(&mut self) -> Result<(), DatasetError> {
        let rest = self.reader.fill_buf().map(|rest| rest.len());
        match rest.map_err(|error| self.broken(error))? {
            0 => Ok(()),
            _ => {
                let (expected, found) = ("the end of the file", "more bytes");
                Err(self.wrong_byte(self.offset, expected.into(), found.into()))
            }
        }
    }

    fn wrong_byte(&self, byte: u64, expected: String, found: String) -> DatasetError {
        let place = format!("byte {byte}");
        DatasetError::Content { path: self.name.clone(), place, expected, found }
    }
}

#[cfg(test)]
mod tests;
