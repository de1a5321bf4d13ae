//! Where pictures go: files, and terminals that can show them.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use super::draw::Canvas;
use crate::client::destination::{self, is_standard_output};

/// Columns assumed if a terminal does not report its width.
const COLUMNS: u16 = 80;

/// Writes a PNG file. A regular file is replaced atomically.
pub(super) fn png(path: &Path, canvas: &Canvas) -> Result<(), String> {
    let written =
        encode(canvas).and_then(|bytes| destination::write(path, |out| out.write_all(&bytes)));
    written.map_err(|error| format!("{}: cannot be written: {error}", path.display()))
}

/// The picture as PNG: no time, no name of a program, the same bytes every
/// time.
fn encode(canvas: &Canvas) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, canvas.width(), canvas.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(canvas.bytes())?;
    writer.finish()?;
    Ok(bytes)
}

/// Whether both names mean the same file, which need not exist.
pub(super) fn same_file(one: &Path, other: &Path) -> bool {
    (is_standard_output(one) && is_standard_output(other))
        || one == other
        || resolved(one).is_some_and(|one| resolved(other) == Some(one))
}

/// The path without links and `..`.
fn resolved(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().or_else(|| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).ok()?;
        Some(folder.join(path.file_name()?))
    })
}

/// Whether standard output is a terminal that reports colors.
pub(super) fn terminal_shows_colors() -> bool {
    io::stdout().is_terminal() && says_colors(|name| std::env::var(name).ok())
}

fn says_colors(variable: impl Fn(&str) -> Option<String>) -> bool {
    let said = |name: &str| variable(name).filter(|value| !value.is_empty());
    let colors = said("COLORTERM").is_some_and(|value| value == "truecolor" || value == "24bit");
    colors && said("NO_COLOR").is_none() && said("TERM").is_none_or(|term| term != "dumb")
}

/// How wide the terminal is.
pub(super) fn terminal_columns() -> u16 {
    terminal_size::terminal_size().map_or(COLUMNS, |(terminal_size::Width(columns), _)| columns)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::draw::{ClassNames, Fields};
    use super::*;

    #[test]
    fn a_file_is_whole_and_the_same_every_time() {
        let values = [0.0, 0.25, 0.5, 1.0];
        let classes = ClassNames::default();
        let fields =
            Fields { name: "w", values: &values, neurons: 1, labels: None, classes, width: None };
        let picture = fields.draw().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one.png", "other.png"].map(|name| folder.path().join(name));
        png(&one, &picture.canvas).unwrap();
        png(&other, &fields.draw().unwrap().canvas).unwrap();
        assert!(fs::read(&one).unwrap() == fs::read(&other).unwrap());
        let mut reader =
            png::Decoder::new(io::BufReader::new(File::open(&one).unwrap())).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut bytes).unwrap();
        assert!(bytes == picture.canvas.bytes());
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "nothing temporary is left");
        let error = png(&folder.path().join("missing/p.png"), &picture.canvas).unwrap_err();
        assert!(error.contains("missing/p.png: cannot be written"), "{error}");
    }

    #[test]
    fn one_file_may_have_several_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("inner")).unwrap();
        assert!(same_file(&path("new"), &path("inner/../new")));
        assert!(!same_file(&path("new"), &path("inner/new")));
        fs::write(path("state"), b"").unwrap();
        std::os::unix::fs::symlink(path("state"), path("link")).unwrap();
        assert!(same_file(&path("link"), &path("state")));
        assert!(same_file(Path::new("-"), Path::new("/dev/stdout")));
    }

    #[test]
    fn a_terminal_has_to_say_that_it_shows_colors() {
        let says = |variables: &[(&str, &str)]| {
            says_colors(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(says(&[("COLORTERM", "truecolor"), ("TERM", "xterm")]));
        assert!(says(&[("COLORTERM", "24bit"), ("NO_COLOR", "")]));
        assert!(!says(&[("COLORTERM", "yes")]) && !says(&[]));
        assert!(!says(&[("COLORTERM", "truecolor"), ("NO_COLOR", "1")]));
        assert!(!says(&[("COLORTERM", "truecolor"), ("TERM", "dumb")]));
    }
}
