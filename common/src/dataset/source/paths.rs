//! The files that a path or a pattern names.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use crate::dataset::DatasetError;

/// Most files of one pattern.
const FILES: usize = 4096;

/// As in a shell: `*` and `?` match neither `/` nor the dot of a hidden file.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The files that `pattern` names, in the order of the bytes of their paths, on every machine.
///
/// `*` stands for any characters of a name, `?` for one, `[…]` for one of several, and a name
/// `**` for any folders. A path that exists, or has none of these, is taken as it is. Folders
/// are left out.
pub(super) fn files(pattern: &str) -> Result<Vec<PathBuf>, DatasetError> {
    let path = Path::new(pattern);
    if !pattern.contains(['*', '?', '[']) || path.symlink_metadata().is_ok() {
        return Ok(vec![path.to_owned()]);
    }
    let fail = |error| DatasetError::Io { path: pattern.to_owned(), error };
    let paths = glob::glob_with(pattern, OPTIONS).map_err(|error| {
        let message = format!("expected a path or a pattern of paths, found an error: {error}");
        fail(io::Error::new(ErrorKind::InvalidInput, message))
    })?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|error| DatasetError::Io {
            path: error.path().display().to_string(),
            error: error.into(),
        })?;
        if path.is_dir() {
            continue;
        }
        if files.len() == FILES {
            let message = format!("expected a pattern of at most {FILES} files, found more");
            return Err(fail(io::Error::new(ErrorKind::InvalidInput, message)));
        }
        files.push(path);
    }
    if files.is_empty() {
        let message = "expected a file that matches, found none";
        return Err(fail(io::Error::new(ErrorKind::NotFound, message)));
    }
    files.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    /// A folder with these files.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        folder
    }

    /// The names of the files that a pattern in a folder names, or the error.
    fn names(folder: &tempfile::TempDir, pattern: &str) -> Result<Vec<String>, String> {
        let pattern = folder.path().join(pattern);
        let found = files(pattern.to_str().unwrap()).map_err(|error| error.to_string())?;
        let folder = folder.path();
        Ok(found
            .iter()
            .map(|path| path.strip_prefix(folder).unwrap().display().to_string())
            .collect())
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        let folder = folder(&["a[1].csv", "a1.csv", "b*.csv", "bb.csv"]);
        assert_eq!(names(&folder, "a[1].csv").unwrap(), ["a[1].csv"]);
        assert_eq!(names(&folder, "b*.csv").unwrap(), ["b*.csv"]);
        assert_eq!(names(&folder, "missing.csv").unwrap(), ["missing.csv"]);
        assert_eq!(files("-").unwrap(), [Path::new("-")]);
        assert_eq!(files("").unwrap(), [Path::new("")]);
    }

    #[test]
    fn matches_are_sorted_by_bytes() {
        let folder =
            folder(&["b.csv", "a10.csv", "a2.csv", "B.csv", "ä.csv", ".hidden.csv", "a.npy"]);
        fs::create_dir(folder.path().join("folder.csv")).unwrap();
        let all = ["B.csv", "a10.csv", "a2.csv", "b.csv", "ä.csv"];
        assert_eq!(names(&folder, "*.csv").unwrap(), all);
        assert_eq!(names(&folder, "a?.csv").unwrap(), ["a2.csv"]);
        assert_eq!(names(&folder, "[ab].*").unwrap(), ["a.npy", "b.csv"]);
        assert_eq!(names(&folder, "**/b.csv").unwrap(), ["b.csv"]);
    }

    #[test]
    fn errors() {
        let folder = folder(&["a.csv"]);
        let error = names(&folder, "*.tsv").unwrap_err();
        assert!(error.contains("*.tsv: expected a file that matches, found none"), "{error}");
        let error = names(&folder, "[").unwrap_err();
        assert!(error.contains("expected a path or a pattern of paths, found an error"), "{error}");
        for number in 0..FILES {
            fs::write(folder.path().join(format!("{number}.dat")), "").unwrap();
        }
        assert_eq!(names(&folder, "*.dat").unwrap().len(), FILES);
        fs::write(folder.path().join("more.dat"), "").unwrap();
        let error = names(&folder, "*.dat").unwrap_err();
        assert!(error.contains("at most 4096 files, found more"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(pattern in "[ab*?\\[\\]!./-]{0,12}") {
            let folder = folder(&["a", "b"]);
            // Within the folder, not up from it.
            if !pattern.contains("..") && !pattern.starts_with('/') {
                let _ = names(&folder, &pattern);
            }
        }
    }
}
