//! Predictions in files: for each example the class that the model finds, and its scores; or the
//! numbers that it predicts.

use std::io::{self, Write};
use std::path::Path;

use common::dataset::{Schema, TargetType};
use common::plan::SCORES;
use common::state::StateError;
use serde_json::{Map, Value, json};

use super::connection::Fetched;
use super::destination;

/// Classes that [`Predictions::counts`] names.
const COUNTED: usize = 10;

/// How predictions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A table with a header: `prediction`, then a column of scores for each class. Of numbers, a
    /// column for each.
    Csv,
    /// NumPy's array of records: `class` (text) and `scores` (f32). Of numbers, an array of f32.
    Npy,
    /// A JSON object a line: `class` (null if there is none) and `scores` by class. Of numbers, each
    /// by its name.
    JsonLines,
}

impl Format {
    /// The format of a file, by its name. Standard output gets CSV.
    pub(crate) fn of(path: &Path) -> Result<Self, StateError> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            _ if destination::is_standard_output(path) => Ok(Self::Csv),
            Some("csv") => Ok(Self::Csv),
            Some("npy") => Ok(Self::Npy),
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            _ => Err(StateError::File {
                path: path.display().to_string(),
                message: format!(
                    "expected an output that ends in .csv, .npy or .jsonl, found {}",
                    extension.map_or("none of them".into(), |it| format!(".{it}"))
                ),
            }),
        }
    }
}

/// The predictions of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Predictions {
    /// Names of the classes, or of the numbers.
    names: Vec<String>,
    /// Whether they are those of classes.
    are_classes: bool,
    /// `[examples, names]`.
    scores: Vec<f32>,
}

impl Predictions {
    /// Those in the final state of a prediction.
    pub(crate) fn of(fetched: &Fetched) -> Result<Self, StateError> {
        let scores = fetched.state.f32(SCORES)?;
        let width = scores.shape().get(1).copied().unwrap_or(1);
        let targets = fetched.schema.as_ref().map(|schema| schema.targets);
        let are_classes = !matches!(targets, Some(TargetType::Vector(_)));
        let target_names = fetched.schema.as_ref().map(Schema::target_names).unwrap_or_default();
        let name = |place: u32| match &fetched.schema {
            Some(schema) if are_classes => schema.class(place),
            Some(_) if target_names.len() == width => target_names[place as usize].to_string(),
            Some(_) => format!("target {}", place + 1),
            None => place.to_string(),
        };
        let names = (0..width as u32).map(name).collect();
        Ok(Self { names, are_classes, scores: scores.iter().copied().collect() })
    }

    /// The scores of each example.
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.scores.chunks_exact(self.names.len().max(1))
    }

    /// The name of the class with the first largest score; `None` if all are 0.
    fn class(&self, scores: &[f32]) -> Option<&str> {
        found(scores).map(|class| self.names[class].as_str())
    }

    /// How many examples were found to be of each class, as a sentence; for numbers, how many there
    /// are.
    pub(crate) fn counts(&self) -> String {
        if !self.are_classes {
            return format!(
                "{} for each of {} examples",
                self.names.join(", "),
                self.rows().count()
            );
        }
        let (mut counts, mut none) = (vec![0_u64; self.names.len()], 0_u64);
        for scores in self.rows() {
            *found(scores).map_or(&mut none, |class| &mut counts[class]) += 1;
        }
        let mut by_class: Vec<(&str, u64)> =
            self.names.iter().map(String::as_str).zip(counts).collect();
        let more = by_class.len().saturating_sub(COUNTED);
        by_class.truncate(COUNTED);
        let mut pieces: Vec<String> =
            by_class.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if more > 0 {
            pieces.push(format!("and {more} more classes"));
        }
        if none > 0 {
            pieces.push(format!("no class {none}"));
        }
        pieces.join(", ")
    }

    /// Writes them. A regular file is replaced at once. If a reader closes standard output, the
    /// writing ends, like other printing.
    pub(crate) fn write(&self, path: &Path, format: Format) -> Result<(), StateError> {
        let content = |out: &mut dyn Write| match format {
            Format::Csv => self.to_csv(out),
            Format::Npy => self.to_npy(out),
            Format::JsonLines => self.to_json_lines(out),
        };
        match destination::write(path, content) {
            Err(error) if !ends_printing(path, &error) => Err(StateError::File {
                path: path.display().to_string(),
                message: format!("cannot be written: {error}"),
            }),
            _ => Ok(()),
        }
    }

    fn to_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = csv::Writer::from_writer(out);
        let first = self.are_classes.then_some("prediction");
        let header = first.into_iter().chain(self.names.iter().map(String::as_str));
        table.write_record(header).map_err(of_system)?;
        for scores in self.rows() {
            let class = self.class(scores).unwrap_or_default().to_owned();
            // The shortest text that is read as the same number.
            let scores = scores.iter().map(|score| format!("{score:?}"));
            let row = self.are_classes.then_some(class).into_iter().chain(scores);
            table.write_record(row).map_err(of_system)?;
        }
        table.flush()
    }

    fn to_json_lines(&self, out: &mut dyn Write) -> io::Result<()> {
        for scores in self.rows() {
            let by_name = self.names.iter().zip(scores);
            let by_name: Map<String, Value> =
                by_name.map(|(name, score)| (name.clone(), json!(score))).collect();
            let line = if self.are_classes {
                json!({ "class": self.class(scores), "scores": by_name })
            } else {
                Value::Object(by_name)
            };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Version 1 of the format: names in UCS-4, all little-endian.
    fn to_npy(&self, out: &mut dyn Write) -> io::Result<()> {
        let (count, width) = (self.rows().count(), self.names.len());
        let length = self.names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(1);
        let (descr, shape, length) = if self.are_classes {
            let fields = format!("[('class', '<U{length}'), ('scores', '<f4', ({width},))]");
            (fields, format!("({count},)"), length)
        } else {
            ("'<f4'".to_owned(), format!("({count}, {width})"), 0)
        };
        let mut header =
            format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
        // The values begin at a multiple of 64 bytes.
        let begin = b"\x93NUMPY\x01\x00".len() + 2;
        while !(begin + header.len() + 1).is_multiple_of(64) {
            header.push(' ');
        }
        header.push('\n');
        out.write_all(b"\x93NUMPY\x01\x00")?;
        out.write_all(&(header.len() as u16).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for scores in self.rows() {
            let class = self.class(scores).unwrap_or_default().chars().map(u32::from);
            for value in class.chain(std::iter::repeat(0)).take(length) {
                out.write_all(&value.to_le_bytes())?;
            }
            for score in scores {
                out.write_all(&score.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

/// Whether an error in writing means that nobody reads any more.
fn ends_printing(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe && destination::is_standard_output(path)
}

/// The error of the system in an error of a table: converted as a whole, it would lose its kind.
fn of_system(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// The class with the first largest score; `None` if all are 0.
fn found(scores: &[f32]) -> Option<usize> {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    scores.iter().any(|score| *score != 0.0).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions() -> Predictions {
        let classes = ["no", "yes, \"sure\"", "Größe"].map(str::to_owned).to_vec();
        let scores = vec![0.25, 0.5, 0.25, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0];
        Predictions { names: classes, are_classes: true, scores }
    }

    fn written(write: impl Fn(&Predictions, &mut dyn Write) -> io::Result<()>) -> Vec<u8> {
        let mut out = Vec::new();
        write(&predictions(), &mut out).unwrap();
        out
    }

    #[test]
    fn each_format_has_class_and_scores() {
        let csv = String::from_utf8(written(Predictions::to_csv)).unwrap();
        assert_eq!(
            csv,
            "prediction,no,\"yes, \"\"sure\"\"\",Größe\n\
             \"yes, \"\"sure\"\"\",0.25,0.5,0.25\nno,0.1,0.1,0.0\n,0.0,0.0,0.0\n"
        );
        let json = String::from_utf8(written(Predictions::to_json_lines)).unwrap();
        let lines: Vec<Value> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["class"], "yes, \"sure\"");
        assert_eq!(lines[0]["scores"]["Größe"], 0.25);
        assert_eq!((&lines[2]["class"], lines.len()), (&Value::Null, 3));
        assert_eq!(predictions().counts(), "no 1, yes, \"sure\" 1, Größe 0, no class 1");
    }

    #[test]
    fn a_reader_that_is_gone_is_told_from_other_errors() {
        /// Nobody reads it.
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut all = predictions();
        // More than a buffer.
        all.scores = all.scores.repeat(4096);
        for write in [Predictions::to_csv, Predictions::to_json_lines, Predictions::to_npy] {
            let error = write(&all, &mut Closed).unwrap_err();
            assert!(ends_printing(Path::new("-"), &error), "{error}");
            assert!(!ends_printing(Path::new("a.csv"), &error));
            assert!(!ends_printing(Path::new("-"), &io::ErrorKind::StorageFull.into()));
        }
    }

    #[test]
    fn an_array_of_records_has_rows_of_one_size() {
        let npy = written(Predictions::to_npy);
        let length = u16::from_le_bytes([npy[8], npy[9]]) as usize;
        assert_eq!((10 + length) % 64, 0);
        let header = String::from_utf8(npy[10..10 + length].to_vec()).unwrap();
        assert!(header.contains("('class', '<U11'), ('scores', '<f4', (3,))"), "{header}");
        let rows = &npy[10 + length..];
        let row = 11 * 4 + 3 * 4;
        assert_eq!(rows.len(), 3 * row);
        assert_eq!(rows[row..row + 8], [b'n', 0, 0, 0, b'o', 0, 0, 0]);
        assert_eq!(rows[44..48], 0.25f32.to_le_bytes());
    }

    #[test]
    fn numbers_have_no_class() {
        let names = ["price", "age"].map(str::to_owned).to_vec();
        let all = Predictions { names, are_classes: false, scores: vec![1.5, -2.0, 0.0, 0.0] };
        let written = |write: &dyn Fn(&mut dyn Write) -> io::Result<()>| {
            let mut out = Vec::new();
            write(&mut out).unwrap();
            out
        };
        let csv = written(&|out| all.to_csv(out));
        assert_eq!(String::from_utf8(csv).unwrap(), "price,age\n1.5,-2.0\n0.0,0.0\n");
        let json = String::from_utf8(written(&|out| all.to_json_lines(out))).unwrap();
        let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!((&first["price"], &first["age"]), (&json!(1.5), &json!(-2.0)));
        let npy = written(&|out| all.to_npy(out));
        let header = String::from_utf8_lossy(&npy[10..128]);
        assert!(header.contains("'descr': '<f4'") && header.contains("(2, 2)"), "{header}");
        assert_eq!(npy.len(), 128 + 16);
        assert_eq!(all.counts(), "price, age for each of 2 examples");
    }

    #[test]
    fn names_of_outputs_tell_the_format() {
        for (name, format) in [
            ("-", Format::Csv),
            ("a.csv", Format::Csv),
            ("a.npy", Format::Npy),
            ("a.b.jsonl", Format::JsonLines),
        ] {
            assert_eq!(Format::of(Path::new(name)).unwrap(), format, "{name}");
        }
        let error = Format::of(Path::new("a.parquet")).unwrap_err().to_string();
        assert!(error.contains(".npy") && error.ends_with("found .parquet"), "{error}");
    }
}
