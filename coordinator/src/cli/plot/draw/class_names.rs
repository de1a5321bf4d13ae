//! Names of classes, as they fit into pictures.

use super::canvas::LETTER_WIDTH;

/// Most letters of a name.
const LETTERS: usize = 16;
/// Letters of a cut name before and after [`CUT`].
const KEPT: (usize, usize) = (9, 5);
/// What stands for the letters that are cut out.
const CUT: &str = "..";

/// Names of the classes 0, 1, …; none if they are numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct ClassNames<'a>(pub(in super::super) &'a [String]);

impl ClassNames<'_> {
    /// The name of a class, without its middle if it is long. A class without a name, or with one
    /// for which the font has no letters, keeps its number.
    pub(super) fn of(&self, class: u64) -> String {
        let name = usize::try_from(class).ok().and_then(|class| self.0.get(class));
        let letters: Vec<char> = name.map(|name| name.trim().chars().collect()).unwrap_or_default();
        if letters.is_empty() || !letters.iter().all(is_drawn) {
            return class.to_string();
        }
        if letters.len() <= LETTERS {
            return letters.into_iter().collect();
        }
        let (first, last) = (&letters[..KEPT.0], &letters[letters.len() - KEPT.1..]);
        first.iter().chain(&CUT.chars().collect::<Vec<_>>()).chain(last).collect()
    }
}

/// Whether the font, which is that of ISO 8859-1, has this letter.
fn is_drawn(letter: &char) -> bool {
    matches!(letter, ' '..='~' | '\u{a0}'..='\u{ff}')
}

/// Columns of the longest text.
pub(super) fn columns(texts: &[String]) -> i32 {
    texts.iter().map(|text| text.chars().count()).max().unwrap_or(0) as i32 * LETTER_WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_strange_ones_are_numbers() {
        let names = ["Zürich", "a class of 20 letters", "猫", " ", "tab\tbed"].map(str::to_owned);
        let names = ClassNames(&names);
        let shown: Vec<String> = (0..6).map(|class| names.of(class)).collect();
        assert_eq!(shown, ["Zürich", "a class o..tters", "2", "3", "4", "5"]);
        assert_eq!(columns(&shown), 16 * LETTER_WIDTH);
        assert_eq!(ClassNames::default().of(u64::MAX), u64::MAX.to_string());
    }
}
