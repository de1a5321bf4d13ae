//! Texts are written in plain modern English, and code uses the field's terms: words that were
//! replaced do not come back.
//!
//! What it checks is a list of words, so it cannot find every sentence that is hard to read.

use std::fs;
use std::path::Path;

use tests::binaries::workspace;
use tests::examples::texts;
use tests::prose::{Source, identifiers, phrases};

/// Idioms that stand in no text: documents, `--help`, comments, and string literals of the
/// program.
const IDIOMS: &[&str] = &[
    "all the same",
    "albeit",
    "anew",
    "as it were",
    "at hand",
    "be it there or not",
    "befall",
    "befallen",
    "befalls",
    "befell",
    "betimes",
    "brings it home",
    "brings its state home",
    "brought home",
    "come of it",
    "comes of it",
    "comes to nothing",
    "ere",
    "for ever",
    "forthwith",
    "has no use",
    "henceforth",
    "hither",
    "in hands",
    "in vain",
    "lest",
    "nought",
    "of no use",
    "seldom",
    "so it is with",
    "thence",
    "thereof",
    "thither",
    "turn away",
    "turned away",
    "turns away",
    "what came of",
    "what comes of",
    "whatever comes of",
    "whence",
    "whereof",
    "whoever",
    "whoso",
    "whosoever",
    "without a word",
];

/// An identifier that was replaced.
struct Replaced {
    old: &'static str,
    better: &'static str,
    /// The modules in which it must not stand; none for all of them.
    paths: &'static [&'static str],
}

/// Identifiers that were replaced, and what takes their place.
const IDENTIFIERS: &[Replaced] = &[
    Replaced { old: "Cover", better: "CompletedSet", paths: &["coordinator/src/scheduler"] },
    Replaced { old: "Hands", better: "InFlight", paths: &["coordinator/src/scheduler"] },
    Replaced { old: "Care", better: "Placement", paths: &["coordinator/src/scheduler"] },
    Replaced {
        old: "Trouble",
        better: "FailureRecord",
        paths: &["coordinator/src/scheduler", "common/src"],
    },
    Replaced { old: "acquit", better: "clear_suspicion", paths: &[] },
    Replaced { old: "Gathering", better: "RejoinWait", paths: &[] },
    Replaced { old: "Pace", better: "Throughput", paths: &["coordinator/src/scheduler"] },
    Replaced { old: "Plant", better: "InjectedBug", paths: &[] },
    Replaced { old: "Door", better: "Admission", paths: &[] },
    Replaced { old: "Guest", better: "Accepted", paths: &["coordinator/src"] },
    Replaced { old: "Greeted", better: "Identity", paths: &[] },
    Replaced { old: "LAST_WORDS", better: "CLOSE_GRACE", paths: &[] },
    Replaced { old: "Stamped", better: "ActivityReader", paths: &[] },
    Replaced { old: "Introduction", better: "WorkerInfo", paths: &[] },
    Replaced { old: "Seldom", better: "RateLimit", paths: &[] },
    Replaced { old: "Recorder", better: "Writer", paths: &["coordinator/src/server"] },
    Replaced { old: "Lent", better: "Pooled", paths: &[] },
    Replaced { old: "SpareFrames", better: "FramePool", paths: &[] },
    Replaced { old: "in_words", better: "shards", paths: &[] },
    Replaced { old: "befalls", better: "test_faults", paths: &[] },
    Replaced {
        old: "toy",
        better: "test_model",
        paths: &["coordinator/src/server", "worker/src/driver"],
    },
    Replaced { old: "REPLICAS", better: "MAX_REPLICAS", paths: &[] },
    Replaced { old: "supply", better: "offer", paths: &["common/src", "coordinator/src"] },
];

/// Whether `file` is the module `path` (`a/b.rs`) or lies below it (`a/b/…`).
fn below(file: &str, path: &str) -> bool {
    file.strip_prefix(path).is_some_and(|rest| matches!(rest, "" | ".rs") || rest.starts_with('/'))
}

/// One line for each idiom in a text. Names of source files are no prose.
fn idioms(place: &str, text: &str) -> Vec<String> {
    let words = text.split_inclusive(char::is_whitespace);
    let text: String = words
        .map(|word| if word.contains(".rs") { &word[word.trim_end().len()..] } else { word })
        .collect();
    let found = phrases(&text, IDIOMS).into_iter();
    found.map(|(line, phrase)| format!("{place}:{line}: \"{phrase}\"")).collect()
}

/// One line for each replaced identifier in the code of a file.
fn old_names(file: &str, code: &str, list: &[Replaced]) -> Vec<String> {
    let applies =
        |name: &&Replaced| name.paths.is_empty() || name.paths.iter().any(|path| below(file, path));
    let lines = |name: &Replaced| {
        let found = identifiers(code, name.old).into_iter();
        found.map(|line| format!("{file}:{line}: `{}`, now {}", name.old, name.better)).collect()
    };
    list.iter().filter(applies).flat_map(|name| -> Vec<String> { lines(name) }).collect()
}

/// The source files of the program, and of the examples.
fn sources() -> Vec<(String, Source)> {
    let mut found = Vec::new();
    for package in ["common", "coordinator", "worker", "samebit", "python", "examples"] {
        collect(&workspace().join(package), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, Source)>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().unwrap_or_default();
        if path.is_dir() && name != "target" && name != "tests" {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            let file = path.strip_prefix(workspace()).expect("below the workspace");
            let text = fs::read_to_string(&path).expect("a source file");
            found.push((file.to_string_lossy().into_owned(), Source::scan(&text)));
        }
    }
}

#[test]
fn documents_and_help_are_free_of_old_idioms() {
    let texts = texts();
    for place in ["README.md", "CHANGELOG.md", "docs/CLI.md", "samebit worker --help"] {
        assert!(texts.iter().any(|(known, _)| known == place), "{place} is not read");
    }
    let found: Vec<String> = texts.iter().flat_map(|(place, text)| idioms(place, text)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn comments_and_strings_are_free_of_old_idioms() {
    let sources = sources();
    assert!(sources.len() > 100, "only {} files are read", sources.len());
    let found = sources.iter().flat_map(|(file, source)| idioms(file, &source.prose));
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn replaced_identifiers_do_not_come_back() {
    let found = sources();
    let found = found.iter().flat_map(|(file, source)| old_names(file, &source.code, IDENTIFIERS));
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn old_words_are_found() {
    let text = "//! It was in\n//! vain.\nfn anew() {\n    let seldom = \"it is \\\n     Anew\"; // lest it\n}\n";
    let source = Source::scan(text);
    let mut found = idioms("here.rs", &source.prose);
    found.sort();
    let expected = ["here.rs:1: \"in vain\"", "here.rs:5: \"anew\"", "here.rs:5: \"lest\""];
    assert_eq!(found, expected);
    assert_eq!(idioms("README.md", "Whoever\nruns it"), ["README.md:1: \"whoever\""]);
    assert!(idioms("README.md", "a newer one, or whoevers").is_empty());
    assert!(idioms("README.md", "see `a/seldom.rs`,").is_empty());

    let everywhere = Replaced { old: "seldom", better: "`rate_limited`", paths: &[] };
    let elsewhere = Replaced { old: "anew", better: "`again`", paths: &["elsewhere"] };
    let found = old_names("here.rs", &source.code, &[everywhere, elsewhere]);
    assert_eq!(found, ["here.rs:4: `seldom`, now `rate_limited`"]);
    let here = Replaced { old: "anew", better: "`again`", paths: &["here"] };
    assert_eq!(old_names("here.rs", &source.code, &[here]), ["here.rs:3: `anew`, now `again`"]);
}
