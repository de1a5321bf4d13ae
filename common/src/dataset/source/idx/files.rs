//! The files of an idx dataset in a folder, by their names:
//! `[PREFIX-]{train,t10k,test}-{images,labels}-idxN-TYPE[.gz]`, or with `.idxN-TYPE`, or another
//! end of packed files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::dataset::DatasetError;
use crate::dataset::source::Reading;
use crate::dataset::source::listing::{Listing, missing, shown};
use crate::spec::TargetKind;

/// Folders below the given one in which the files may be, as torchvision makes them. Each line
/// is searched only if nothing is found in the ones before.
const FOLDERS: [&[&str]; 3] = [
    &["."],
    &["raw"],
    &["MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "QMNIST/raw", "EMNIST/raw"],
];

/// The names that were looked for, in errors.
const EXPECTED: &str = "the files train-images-idx3-ubyte and train-labels-idx1-ubyte, or with a \
                        prefix as emnist-letters-, with .idx for -idx, or packed, as with .gz";

/// Ends of the names of packed files.
const PACKED: [&str; 5] = [".gz", ".bz2", ".xz", ".zst", ".zip"];

/// The files of one split.
#[derive(Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) images: PathBuf,
    pub(super) labels: Option<PathBuf>,
}

/// The files of both splits.
#[derive(Debug, PartialEq)]
pub(super) struct Files {
    pub(super) train: Pair,
    pub(super) test: Option<Pair>,
}

/// Finds the files of a dataset in a folder, those of labels only if they are wanted.
pub(super) fn find(folder: &Path, reading: Reading) -> Result<Files, DatasetError> {
    let with_labels = reading.targets != TargetKind::None;
    let is_idx =
        |name: &str| Name::parse(name).is_some_and(|name| with_labels || name.what == What::Images);
    let here = Listing::of(folder, is_idx)?;
    for below in FOLDERS {
        let mut found = Vec::new();
        for name in below {
            let folder = if *name == "." { folder.to_path_buf() } else { folder.join(name) };
            if !folder.is_dir() {
                continue;
            }
            let mut sets = Sets::new(&Listing::of(&folder, is_idx)?);
            if !reading.to_train && !sets.0.values().any(Set::can_train) {
                sets.0.values_mut().for_each(Set::make_test_all);
            }
            if sets.0.values().any(Set::can_train) {
                found.push((*name, folder, sets));
            }
        }
        if let Some((_, folder, sets)) = found.pop() {
            if found.is_empty() {
                return sets.files(&folder);
            }
            let names = shown(found.iter().map(|(name, ..)| *name));
            let found = format!("{} and {names}: name one of them", folder.display());
            return Err(missing(&folder, "one dataset", &found));
        }
    }
    Err(missing(folder, EXPECTED, &here.found()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Split {
    Train,
    T10k,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Images,
    Labels,
}

/// What a file's name says.
#[derive(Debug, PartialEq)]
struct Name<'a> {
    prefix: &'a str,
    split: Split,
    what: What,
    /// Whether it is packed, and whether it has `.idx` for `-idx`: the smaller is preferred.
    variant: (bool, bool),
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let unpacked = PACKED.iter().find_map(|end| name.strip_suffix(end));
        let (stem, packed) = (unpacked.unwrap_or(name), unpacked.is_some());
        let (stem, end) = stem.rsplit_once("idx")?;
        let (dimensions, kind) = end.split_once('-')?;
        let is_number = !dimensions.is_empty() && dimensions.bytes().all(|b| b.is_ascii_digit());
        let is_kind = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_number || !is_kind {
            return None;
        }
        let dotted = stem.ends_with('.');
        let stem = stem.strip_suffix(['-', '.'])?;
        let whats = [("-images", What::Images), ("-labels", What::Labels)];
        let (stem, what) = one_of(stem, &whats)?;
        let splits = [("train", Split::Train), ("t10k", Split::T10k), ("test", Split::Test)];
        let (prefix, split) = one_of(stem, &splits)?;
        let whole = prefix.is_empty() || prefix.ends_with('-');
        whole.then_some(Self { prefix, split, what, variant: (packed, dotted) })
    }
}

/// What is before one of some endings, and the ending's meaning.
fn one_of<'a, T: Copy>(text: &'a str, endings: &[(&str, T)]) -> Option<(&'a str, T)> {
    endings.iter().find_map(|(ending, meaning)| Some((text.strip_suffix(ending)?, *meaning)))
}

/// The files with one prefix.
#[derive(Default)]
struct Set(BTreeMap<(Split, What), ((bool, bool), String)>);

impl Set {
    fn file(&self, split: Split, what: What) -> Option<&str> {
        self.0.get(&(split, what)).map(|(_, name)| name.as_str())
    }

    fn can_train(&self) -> bool {
        self.file(Split::Train, What::Images).is_some()
    }

    /// Makes the test split all that there is.
    fn make_test_all(&mut self) {
        let tests = [Split::T10k, Split::Test].map(|split| (split, What::Images));
        if let Some((split, _)) = tests.into_iter().find(|it| self.0.contains_key(it)) {
            let files = [What::Images, What::Labels]
                .map(|what| Some(((Split::Train, what), self.0.remove(&(split, what))?)));
            self.0 = files.into_iter().flatten().collect();
        }
    }

    fn has_labels(&self) -> bool {
        self.0.keys().any(|(_, what)| *what == What::Labels)
    }

    /// The files of a split; `None` if there are none.
    fn pair(&self, folder: &Path, split: Split) -> Result<Option<Pair>, DatasetError> {
        let half = |there: &str, lacks: &str| {
            let expected = format!("a file of {lacks} beside {there}");
            Err(missing(folder, &expected, &format!("none: add it, or remove {there}")))
        };
        match (self.file(split, What::Images), self.file(split, What::Labels)) {
            (None, None) => Ok(None),
            (None, Some(labels)) => half(labels, "images"),
            (Some(images), None) if self.has_labels() => half(images, "labels"),
            (Some(images), labels) => Ok(Some(Pair {
                images: folder.join(images),
                labels: labels.map(|labels| folder.join(labels)),
            })),
        }
    }
}

/// The files of a folder, by prefix.
struct Sets(BTreeMap<String, Set>);

impl Sets {
    fn new(listing: &Listing) -> Self {
        let mut sets = BTreeMap::<String, Set>::new();
        for file in &listing.names {
            let Some(name) = Name::parse(file) else { continue };
            let new = (name.variant, file.clone());
            let best = &mut sets.entry(name.prefix.into()).or_default().0;
            let best = best.entry((name.split, name.what)).or_insert_with(|| new.clone());
            if new < *best {
                *best = new;
            }
        }
        Self(sets)
    }

    /// The files of the dataset without a prefix, or of the only one.
    fn files(&self, folder: &Path) -> Result<Files, DatasetError> {
        let mut usable = self.0.iter().filter(|(_, set)| set.can_train());
        let Some((prefix, set)) = usable.next() else {
            return Err(missing(folder, EXPECTED, "none"));
        };
        if !prefix.is_empty() && usable.next().is_some() {
            let found = shown(self.0.keys().map(String::as_str));
            let found = format!("those of {found}: move each into a folder of its own");
            return Err(missing(folder, "the files of one dataset", &found));
        }
        let Some(train) = set.pair(folder, Split::Train)? else {
            return Err(missing(folder, EXPECTED, "none"));
        };
        let t10k = set.pair(folder, Split::T10k);
        let test = match t10k {
            Ok(Some(pair)) => Some(pair),
            // A complete pair of the other name will do.
            _ => match set.pair(folder, Split::Test)? {
                Some(pair) => Some(pair),
                None => t10k?,
            },
        };
        Ok(Files { train, test })
    }
}
