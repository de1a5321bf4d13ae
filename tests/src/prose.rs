//! Separates the prose of Rust source (comments and string literals) from its code, and finds
//! words in either.

/// The prose and the code of a source file. Both have the line breaks of the file, so that lines
/// keep their numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Comments, doc comments and string literals; escape sequences are spaces.
    pub prose: String,
    /// Everything else.
    pub code: String,
}

/// Where the scanner is in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    LineComment,
    /// A block comment of this depth.
    BlockComment(usize),
    /// A string literal; for a raw one, its number of `#`.
    String(Option<usize>),
}

impl Source {
    /// Scans the text of a file.
    pub fn scan(text: &str) -> Self {
        let (mut source, mut place, mut rest) = (Self::default(), Place::Code, text);
        while let Some(char) = rest.chars().next() {
            let (taken, next) = step(place, rest);
            for char in rest[..taken].chars() {
                let (prose, code) = match (char, place) {
                    ('\n', _) => ('\n', '\n'),
                    // What begins or ends a place is neither.
                    _ if next != place => (' ', ' '),
                    (_, Place::Code) => (' ', char),
                    (_, Place::String(None)) if taken > char.len_utf8() => (' ', ' '),
                    _ => (char, ' '),
                };
                source.prose.push(prose);
                source.code.push(code);
            }
            debug_assert!(taken >= char.len_utf8(), "the scanner goes forward");
            (place, rest) = (next, &rest[taken..]);
        }
        source
    }
}

/// The number of bytes to take from `rest`, and the place after them.
fn step(place: Place, rest: &str) -> (usize, Place) {
    let one = rest.chars().next().map_or(1, char::len_utf8);
    match place {
        Place::Code if rest.starts_with("//") => (2, Place::LineComment),
        Place::Code if rest.starts_with("/*") => (2, Place::BlockComment(1)),
        Place::Code if rest.starts_with('"') => (1, Place::String(None)),
        Place::Code if rest.starts_with('\'') => (character(rest), Place::Code),
        Place::Code => raw_string(rest).unwrap_or_else(|| (word(rest), Place::Code)),
        Place::LineComment if rest.starts_with('\n') => (1, Place::Code),
        Place::BlockComment(depth) if rest.starts_with("*/") => {
            (2, if depth == 1 { Place::Code } else { Place::BlockComment(depth - 1) })
        }
        Place::BlockComment(depth) if rest.starts_with("/*") => (2, Place::BlockComment(depth + 1)),
        Place::String(None) if rest.starts_with('\\') => {
            (1 + rest[1..].chars().next().map_or(0, char::len_utf8), place)
        }
        Place::String(None) if rest.starts_with('"') => (1, Place::Code),
        Place::String(Some(hashes)) if rest.starts_with(&format!("\"{}", "#".repeat(hashes))) => {
            (1 + hashes, Place::Code)
        }
        _ => (one, place),
    }
}

/// The length of a character literal, or of the `'` of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let after = at + escaped.len_utf8();
            rest[after..].find('\'').map_or(1, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// The begin of a raw string, if `rest` starts with one.
fn raw_string(rest: &str) -> Option<(usize, Place)> {
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let quote = rest.len() - raw.len() + hashes;
    rest[quote..].starts_with('"').then_some((quote + 1, Place::String(Some(hashes))))
}

/// The length of the word at the start, so that its end is not taken for the `r` of a raw string;
/// of another character, if there is no word.
fn word(rest: &str) -> usize {
    let end = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
    if end == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { end }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// Where some words stand in a text: their line, from 1, and the words as they were searched for.
///
/// A phrase matches across line breaks and punctuation, and in any case. A word never matches a
/// part of a longer one; `_` belongs to a word.
pub fn phrases<'a>(text: &str, wanted: &[&'a str]) -> Vec<(usize, &'a str)> {
    let lowered = text.to_lowercase();
    let text = words(&lowered);
    let mut found = Vec::new();
    for phrase in wanted {
        let parts = words(phrase);
        for at in text.windows(parts.len()) {
            if at.iter().zip(&parts).all(|((_, word), (_, part))| word == part) {
                found.push((at[0].0, *phrase));
            }
        }
    }
    found
}

/// Where an identifier stands in code, by line from 1.
pub fn identifiers(code: &str, wanted: &str) -> Vec<usize> {
    words(code).into_iter().filter(|(_, word)| *word == wanted).map(|(line, _)| line).collect()
}

/// The words of a text with their lines, from 1.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = line.split(|char| !is_word(char)).filter(|word| !word.is_empty());
        found.extend(words.map(|word| (number + 1, word)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_told_from_code() {
        let text = "//! Head.\nlet a = \"one\\\"two\"; // Tail 'x\n/* a /* b */ c */ fn f<'a>() {}\n\
                    let c = ('\"', '\\'', r#\"raw \"word\"#, b\"bytes\");\n";
        let source = Source::scan(text);
        let prose = words(&source.prose);
        let expected = [
            (1, "Head"),
            (2, "one"),
            (2, "two"),
            (2, "Tail"),
            (2, "x"),
            (3, "a"),
            (3, "b"),
            (3, "c"),
            (4, "raw"),
            (4, "word"),
            (4, "bytes"),
        ];
        assert_eq!(prose, expected);
        assert_eq!(identifiers(&source.code, "f"), [3]);
        assert_eq!(identifiers(&source.code, "c"), [4]);
        assert!(identifiers(&source.code, "word").is_empty());
    }

    #[test]
    fn phrases_are_found_across_lines_and_not_inside_words() {
        let text = "It was all\n/// the Same. A canew, anew_one, and a-new one;\nAnew!";
        assert_eq!(phrases(text, &["all the same", "anew"]), [(1, "all the same"), (3, "anew")]);
    }
}
