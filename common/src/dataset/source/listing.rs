//! The files of a folder, by name.

use std::fs;
use std::io;
use std::path::Path;

use crate::dataset::DatasetError;

/// Most names of one folder that a loader looks at.
const NAMES: usize = 10_000;

/// Most names in an error.
const SHOWN: usize = 10;

/// The files of a folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Regular files with content whose names are wanted, sorted.
    pub(super) names: Vec<String>,
    /// Files and folders that have a wanted name but no content of their own.
    passed_over: Vec<String>,
}

impl Listing {
    /// Lists the entries of a folder whose names are `wanted`.
    pub(super) fn of(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, DatasetError> {
        let io = |error| DatasetError::Io { path: folder.display().to_string(), error };
        let mut listing = Self::default();
        for entry in fs::read_dir(folder).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let Some(name) = name.to_str().filter(|name| wanted(name)) else { continue };
            if listing.names.len() + listing.passed_over.len() == NAMES {
                let message = format!("expected at most {NAMES} files of a dataset, found more");
                return Err(io(io::Error::other(message)));
            }
            match fs::metadata(folder.join(name)) {
                Ok(found) if found.is_file() && found.len() > 0 => listing.names.push(name.into()),
                Ok(found) if found.is_file() => listing.passed_over.push(format!("{name} (empty)")),
                Ok(_) => listing.passed_over.push(format!("{name} (not a file)")),
                Err(error) => listing.passed_over.push(format!("{name} ({error})")),
            }
        }
        listing.names.sort_unstable();
        listing.passed_over.sort_unstable();
        Ok(listing)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names.binary_search_by(|other| other.as_str().cmp(name)).is_ok()
    }

    /// A list of what was found, for errors.
    pub(super) fn found(&self) -> String {
        shown(self.names.iter().chain(&self.passed_over).map(String::as_str))
    }
}

/// The first names, and how many more there are.
pub(super) fn shown<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let shown: Vec<&str> = names.clone().take(SHOWN).collect();
    match names.skip(SHOWN).count() {
        _ if shown.is_empty() => "none".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The error of a folder or an archive that lacks what is needed.
pub(super) fn missing(path: &Path, expected: &str, found: &str) -> DatasetError {
    DatasetError::Missing {
        path: path.display().to_string(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}
