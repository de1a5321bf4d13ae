//! The examples of every `--help` and document, gathered where they stand.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{binaries, workspace};

/// An example: a line, or the lines of a block that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Where it stands.
    pub place: String,
    /// What a person would type.
    pub text: String,
}

/// All of them.
pub fn examples() -> Vec<Example> {
    let of = |(place, text): (String, String)| {
        if place.ends_with(".md") { of_document(&place, &text) } else { of_help(&place, &text) }
    };
    texts().into_iter().flat_map(of).collect()
}

/// The `--help` of every command, by where it stands, and the documents.
pub fn texts() -> Vec<(String, String)> {
    // `coordinator` and `worker` are aliases: their texts differ in their names alone.
    let mut found = helps("samebit", &binaries().samebit, &[]);
    for document in documents() {
        let text = std::fs::read_to_string(workspace().join(&document)).expect("a document");
        found.push((document.display().to_string(), text));
    }
    found
}

/// The help of a command, and of those below it.
fn helps(name: &str, binary: &Path, path: &[&str]) -> Vec<(String, String)> {
    let output = Command::new(binary).args(path).arg("--help").output().expect("help");
    let text = String::from_utf8(output.stdout).expect("text");
    let place = format!("{} --help", [&[name], path].concat().join(" "));
    let mut found = vec![(place, text.clone())];
    for line in section(&text, "Commands:") {
        // Names are further to the left than what is said of them.
        let name_here = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
        if let Some(below) = name_here.and_then(|line| line.split(' ').next())
            && below != "help"
        {
            found.extend(helps(name, binary, &[path, &[below]].concat()));
        }
    }
    found
}

/// The lines of a help below a title.
fn section<'a>(text: &'a str, title: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = text.lines().skip_while(move |line| *line != title).skip(1);
    lines.take_while(|line| !line.is_empty())
}

/// The examples in the help of a command.
fn of_help(place: &str, text: &str) -> Vec<Example> {
    let example = |line: &str| {
        // What stands far to the right says what it is.
        let text = line.trim().split("   ").next().unwrap_or_default().to_owned();
        Example { place: place.to_owned(), text }
    };
    section(text, "Examples:").map(example).collect()
}

/// All documents, relative to the workspace.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docker", "examples/custom_model"] {
        let entries = std::fs::read_dir(workspace().join(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        found.extend(names.map(|name| Path::new(folder).join(name)));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.sort();
    found
}

/// The shell blocks of a document, and the commands within its sentences.
fn of_document(place: &str, text: &str) -> Vec<Example> {
    let example = |text: &str| Example { place: place.to_owned(), text: text.to_owned() };
    let (mut found, mut prose) = (Vec::new(), String::new());
    for (index, part) in text.split("\n```").enumerate() {
        // Every second part is a block, which begins with its language.
        if index % 2 == 0 {
            prose += part;
        } else if let Some(block) = part.strip_prefix("sh\n") {
            found.push(example(block));
        }
    }
    let spans = prose.split('`').skip(1).step_by(2);
    let spans = spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "));
    found.extend(spans.filter(|span| is_whole(span)).map(|span| example(&span)));
    found
}

/// Whether a command in a sentence is one to type: it has arguments, and they say which
/// run or file is meant.
fn is_whole(span: &str) -> bool {
    let mut words = span.split(' ');
    let is_ours = matches!(words.next(), Some("coordinator" | "worker" | "samebit"));
    let is_form = |word: &str| {
        let letters = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
        word.contains('…') || !letters.is_empty() && letters.chars().all(|c| c.is_ascii_uppercase())
    };
    let is_argument = |word: &str| word.contains(|c: char| "-.".contains(c) || c.is_ascii_digit());
    is_ours && words.clone().any(is_argument) && !words.any(is_form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_commands_are_found_and_forms_are_not() {
        let text = "Do `coordinator show 3\n--events`, not `coordinator show N` nor `coordinator`\n\
                    nor `coordinator keys show`.\n\
                    ```sh\na \\\n  b\n```\nthen `coordinator --help`\n```text\nc\n```\n";
        let found = of_document("here", text);
        let texts: Vec<&str> = found.iter().map(|example| example.text.as_str()).collect();
        assert_eq!(texts, ["a \\\n  b", "coordinator show 3 --events", "coordinator --help"]);
    }
}
