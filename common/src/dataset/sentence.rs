//! Parts of sentences about a dataset.

use std::borrow::Cow;

/// Characters of a name in a sentence.
const SHOWN: usize = 40;

/// A number of things: `1 example`, `2 examples`.
pub(super) fn counted(count: u64, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}

/// The beginning of a name or of another text, for a sentence.
pub(super) fn beginning(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// The first names, and that there are more.
pub(super) fn listed(names: &[String], most: usize) -> String {
    let first = names.iter().take(most).map(|name| beginning(name)).collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{first}, … ({} in all)", names.len()) } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([counted(0, "example"), counted(1, "example")], ["0 examples", "1 example"]);
    }

    #[test]
    fn long_names_are_cut() {
        let names = ["ä".repeat(41), "b".repeat(40)];
        assert_eq!(listed(&names, 2), format!("{}…, {}", "ä".repeat(40), names[1]));
    }
}
