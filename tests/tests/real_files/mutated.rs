//! Thousands of damaged copies of the files of `tests/data`: each loads, with a line that fits its
//! examples, or is refused by an error that names its file.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use common::dataset::{Dataset, Examples, Schema};
use common::spec::DatasetSpec;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::cases::CASES;
use super::folder;

const FILES: u64 = 10_000;

/// Least number of files that still load, and of those that are refused.
const LEAST: usize = 1000;

/// Longest error, in bytes.
const ERROR_BYTES: usize = 2000;

/// All of it takes seconds: after this, something does not end.
const PATIENCE: Duration = Duration::from_secs(600);

/// What a field is exchanged for.
const FIELDS: [&str; 14] = [
    "",
    "?",
    "NA",
    "nan",
    "inf",
    "1e999",
    "-1e38",
    "1e-45",
    "99999999999999999999999999999999999999999",
    "18446744073709551615",
    "\"",
    "\u{e9}",
    "true",
    "0,5",
];

const SEPARATORS: &[u8] = b",;\t| ";

/// What is changed, by a random stream.
struct Change(ChaCha8Rng);

impl Change {
    /// A number below another one.
    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % end.max(1) as u64) as usize
    }

    /// A file after some changes; `other` is another file.
    fn all(&mut self, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
        for _ in 0..=self.below(3) {
            bytes = self.one(bytes, other);
        }
        bytes
    }

    fn one(&mut self, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
        let at = self.below(bytes.len());
        let end = (at + 1 + self.below(40)).min(bytes.len());
        match self.below(12) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 => {
                let new: Vec<u8> = (0..=self.below(8)).map(|_| self.0.next_u32() as u8).collect();
                bytes.splice(at..at, new);
            }
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => bytes.extend_from_slice(other),
            // Headers of arrays, mostly.
            5 if !bytes.is_empty() => {
                let at = self.below(bytes.len().min(128));
                bytes[at] = self.0.next_u32() as u8;
            }
            // Numbers of arrays.
            6 => {
                let number = [f64::NAN, f64::INFINITY, 1e300, -0.0, 5e-324][self.below(5)];
                let wide = number.to_le_bytes();
                let narrow = (number as f32).to_le_bytes();
                let number = if self.below(2) == 0 { &wide[..] } else { &narrow[..] };
                let at = at / 4 * 4;
                bytes.iter_mut().skip(at).zip(number).for_each(|(to, from)| *to = *from);
            }
            7 => {
                let (from, to) = (self.separator(), self.separator());
                bytes.iter_mut().filter(|it| **it == from).for_each(|it| *it = to);
            }
            kind => return self.line(bytes, kind),
        }
        bytes
    }

    /// Changes a line of a text.
    fn line(&mut self, bytes: Vec<u8>, kind: usize) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = bytes.split(|it| *it == b'\n').map(<[u8]>::to_vec).collect();
        // Every third one is the header.
        let at = if self.below(3) == 0 { 0 } else { self.below(lines.len()) };
        let other = self.below(lines.len());
        match kind {
            8 => lines.swap(at, other),
            9 => lines.insert(at, lines[other].clone()),
            10 => {
                let (from, to) = (self.separator(), self.separator());
                lines[at].iter_mut().filter(|it| **it == from).for_each(|it| *it = to);
            }
            _ => {
                let is_end = |it: &u8| SEPARATORS.contains(it);
                let mut fields: Vec<Vec<u8>> =
                    lines[at].split(is_end).map(<[u8]>::to_vec).collect();
                let separator = lines[at].iter().copied().find(|it| is_end(it)).unwrap_or(b',');
                let (field, other) = (self.below(fields.len()), self.below(fields.len()));
                fields[field] = match self.below(3) {
                    0 => fields[other].clone(),
                    _ => FIELDS[self.below(FIELDS.len())].into(),
                };
                lines[at] = fields.join(&separator);
            }
        }
        lines.join(&b'\n')
    }

    fn separator(&mut self) -> u8 {
        SEPARATORS[self.below(SEPARATORS.len())]
    }

    /// Fields of the dataset that a user may have set.
    fn choices(&mut self, spec: &mut DatasetSpec) {
        let text = match self.below(8) {
            0 => "label = \"first\"",
            1 => "label = \"last\"\nmissing = \"mean\"",
            2 => "missing = \"drop\"\nnormalise = \"standard\"",
            3 => "normalise = \"minmax\"\ntest_examples = 0.2\nsplit = \"stratified\"",
            4 => "classes = 3\nignore = []",
            5 => "separator = \",\"",
            6 => "test_examples = 10\nnormalise = \"standard\"",
            _ => "",
        };
        let text = format!("source = {:?}\n{text}", spec.source);
        *spec = toml::from_str(&text).expect("a dataset of a spec");
    }
}

/// The files of a source, by their paths in it.
fn files(of: &Path) -> Vec<PathBuf> {
    if of.is_file() {
        return vec![PathBuf::new()];
    }
    let entries = fs::read_dir(of).expect("a folder").map(|entry| entry.expect("an entry").path());
    let below = |path: PathBuf| {
        let name = PathBuf::from(path.file_name().unwrap_or_default());
        files(&path).into_iter().map(move |file| join(&name, &file)).collect::<Vec<_>>()
    };
    let mut files: Vec<PathBuf> = entries.flat_map(below).collect();
    files.sort();
    files
}

/// A path in a source; a file is its own only path.
fn join(source: &Path, file: &Path) -> PathBuf {
    if file.as_os_str().is_empty() { source.into() } else { source.join(file) }
}

/// Writes a changed copy of a source into a folder, and returns how it is loaded.
fn changed(number: u64, to: &Path) -> (Change, DatasetSpec) {
    let mut change = Change(ChaCha8Rng::seed_from_u64(number));
    let case = &CASES[number as usize % CASES.len()];
    let (from, other) = (folder(), &CASES[change.below(CASES.len())]);
    let all = files(&from.join(case.source));
    let target = change.below(all.len());
    let read =
        |source: &str, file: &Path| fs::read(join(&from.join(source), file)).expect("a file");
    for (at, file) in all.iter().enumerate() {
        let mut bytes = read(case.source, file);
        if at == target {
            let others = files(&from.join(other.source));
            let other = read(other.source, &others[change.below(others.len())]);
            bytes = change.all(bytes, &other);
        }
        let path = join(&to.join(case.source), file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let mut spec = DatasetSpec::new(case.source);
    change.choices(&mut spec);
    (change, spec)
}

/// Whether it loaded; an error if what was loaded is not right, or not what the error should be.
fn check(number: u64, to: &Path) -> Result<bool, String> {
    let (_, spec) = changed(number, to);
    match Dataset::load_as(&spec, to, None) {
        Ok((data, schema)) => {
            check_loaded(&spec, &data, &schema)?;
            check_again(&spec, to, &data, &schema)?;
            Ok(true)
        }
        Err(error) => {
            let error = error.to_string();
            let says = |part: &str| error.contains(part);
            let is_good = says(&spec.source) && says("expected ") && says("found ");
            if is_good && error.len() <= ERROR_BYTES { Ok(false) } else { Err(error) }
        }
    }
}

fn check_loaded(spec: &DatasetSpec, data: &Dataset, schema: &Schema) -> Result<(), String> {
    let all = data.train.len() + data.test.len();
    let end = if all == 1 { "" } else { "s" };
    let counts = format!("{}: {all} example{end}, ", spec.source);
    // A test split of the source may be left out for one that is drawn.
    let is_right = schema.understood.starts_with(&counts) || spec.test_examples.is_some();
    if !is_right || all == 0 {
        return Err(format!("{all} examples are not those of {:?}", schema.understood));
    }
    for split in [&data.train, &data.test] {
        check_split(split, schema)?;
    }
    let text = schema.to_json().map_err(|error| error.to_string())?;
    let again = Schema::from_json(&text).map_err(|error| error.to_string())?;
    if again == *schema { Ok(()) } else { Err(format!("another schema is read than {text}")) }
}

fn check_split(split: &Examples, schema: &Schema) -> Result<(), String> {
    let (mut values, mut are_finite) = (0, true);
    split.features().each_example(split.width() as usize, |row| {
        values += row.len();
        are_finite &= row.iter().all(|value| (value / split.scale()).is_finite());
    });
    if !are_finite {
        return Err("features are not finite".into());
    }
    let expected = split.len() * u64::from(split.width());
    if values as u64 != expected || schema.width() != u64::from(split.width()) {
        return Err(format!("{values} values, {expected} and {} expected", schema.width()));
    }
    let classes = schema.targets.outputs();
    let is_class = |label: &u32| *label < classes;
    let labels = split.labels().iter().all(is_class) && split.target_type() == schema.targets;
    if labels { Ok(()) } else { Err("labels are no classes".into()) }
}

/// By its schema, a file is read as it was before.
fn check_again(
    spec: &DatasetSpec,
    to: &Path,
    data: &Dataset,
    schema: &Schema,
) -> Result<(), String> {
    let again = Dataset::load_as(spec, to, Some(schema));
    let (again, _) = again.map_err(|error| format!("not read by its schema: {error}"))?;
    if again == *data { Ok(()) } else { Err("read as something else by its schema".into()) }
}

#[test]
fn ten_thousand_damaged_files_load_or_are_refused() {
    let running = Mutex::new(BTreeSet::new());
    let (done, wait) = mpsc::channel();
    let all = |running: &Mutex<BTreeSet<u64>>| -> Vec<Result<bool, String>> {
        let folder = tempfile::tempdir().expect("a folder");
        let numbers = (0..FILES).into_par_iter();
        numbers
            .map(|number| {
                let to = folder.path().join(number.to_string());
                running.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
                let result = catch_unwind(AssertUnwindSafe(|| check(number, &to)));
                running.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                let result = result.unwrap_or_else(|_| Err("a panic".into()));
                if result.is_ok() {
                    let _ = fs::remove_dir_all(&to);
                }
                result.map_err(|problem| format!("file {number}: {problem}"))
            })
            .collect()
    };
    let results = std::thread::scope(|scope| {
        let running = &running;
        scope.spawn(move || done.send(all(running)));
        wait.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            eprintln!("these files do not end: {running:?}");
            std::process::exit(1)
        })
    });
    let problems: Vec<&str> =
        results.iter().filter_map(|result| result.as_ref().err().map(String::as_str)).collect();
    let count = |is: bool| results.iter().filter(|result| **result == Ok(is)).count();
    let (loaded, refused) = (count(true), count(false));
    println!("{loaded} files load, {refused} are refused");
    let shown = problems.iter().take(20).copied().collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} problems:\n{shown}", problems.len());
    assert!(loaded >= LEAST && refused >= LEAST, "{loaded} files load, {refused} are refused");
}
