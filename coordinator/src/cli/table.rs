//! Tables that fit a terminal: if it is too narrow, some columns are cut, some wrap, and
//! some are left out, as a line below the table says. Pure.

use super::report::GAP;
use super::visible;

/// Number of first rows that set the widths; later rows that are wider stick out.
const SET_BY: usize = 256;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    narrow: Narrow,
}

/// What to do with a column if there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrow {
    /// It stays as it is.
    Stays,
    /// Its texts are cut to no less than this.
    Cut(usize),
    /// Its texts wrap, in columns of no less than this.
    Wraps(usize),
    /// It is left out, the columns of the lowest number first.
    Goes(u8),
}

/// A column that is always shown whole.
pub(super) const fn stays(name: &'static str) -> Column {
    Column { name, narrow: Narrow::Stays }
}

/// A column whose texts may be cut, to no less than `least`.
pub(super) const fn cut(name: &'static str, least: usize) -> Column {
    Column { name, narrow: Narrow::Cut(least) }
}

/// The last column, whose texts may wrap at no less than `least`.
pub(super) const fn wraps(name: &'static str, least: usize) -> Column {
    Column { name, narrow: Narrow::Wraps(least) }
}

/// A column that may be left out; of several, the lowest `order` goes first.
pub(super) const fn goes(name: &'static str, order: u8) -> Column {
    Column { name, narrow: Narrow::Goes(order) }
}

/// A table whose columns are as wide as its first rows need, if there is room.
#[derive(Debug)]
pub(super) struct Table {
    columns: &'static [Column],
    room: Option<usize>,
    /// Rows that arrived before the widths were known.
    waiting: Vec<Vec<String>>,
    /// The width of each column; `None` for a column that is left out.
    widths: Option<Vec<Option<usize>>>,
}

impl Table {
    /// A table for a screen of this width; `None` for unlimited width.
    pub(super) fn new(columns: &'static [Column], room: Option<usize>) -> Self {
        let header = columns.iter().map(|column| column.name.to_owned()).collect();
        Self { columns, room, waiting: vec![header], widths: None }
    }

    /// Adds a row. Rows whose widths are known go to `text`.
    pub(super) fn push(&mut self, row: Vec<String>, text: &mut String) {
        self.waiting.push(row.iter().map(|cell| visible::line(cell).into_owned()).collect());
        if self.widths.is_some() || self.waiting.len() > SET_BY {
            self.set(text);
        }
    }

    fn set(&mut self, text: &mut String) {
        let widths = self.widths.take().unwrap_or_else(|| self.lay_out());
        for row in std::mem::take(&mut self.waiting) {
            *text += &self.line(row, &widths);
        }
        self.widths = Some(widths);
    }

    /// Adds the remaining rows. Returns whether there was a row.
    pub(super) fn finish(mut self, text: &mut String) -> bool {
        let is_empty = self.widths.is_none() && self.waiting.len() == 1;
        if !is_empty {
            self.set(text);
            let widths = self.widths.iter().flatten();
            let left_out = self.columns.iter().zip(widths).filter(|(_, width)| width.is_none());
            let names: Vec<_> = left_out.map(|(column, _)| column.name).collect();
            if !names.is_empty() {
                *text += &format!("(left out: {}; --json has all columns)\n", names.join(", "));
            }
        }
        !is_empty
    }

    /// How wide the columns are.
    fn lay_out(&self) -> Vec<Option<usize>> {
        let widest = |column| {
            let cells = self.waiting.iter().filter_map(|line| line.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<_> =
            (0..self.columns.len()).map(|column| Some(widest(column))).collect();
        let Some(room) = self.room else { return widths };
        let mut may_go: Vec<_> = self.columns.iter().enumerate().collect();
        may_go.retain(|(_, column)| matches!(column.narrow, Narrow::Goes(_)));
        may_go.sort_by_key(|(_, column)| match column.narrow {
            Narrow::Goes(order) => order,
            _ => u8::MAX,
        });
        let mut may_go = may_go.into_iter();
        loop {
            if let Some(fitting) = self.narrowed(&widths, room) {
                return fitting;
            }
            match may_go.next() {
                Some((gone, _)) => widths[gone] = None,
                // Leaving out more columns cannot help.
                None => return self.narrowed(&widths, 0).unwrap_or(widths),
            }
        }
    }

    /// Widths that fit, by cutting and wrapping only; the least widths if nothing fits.
    fn narrowed(&self, widths: &[Option<usize>], room: usize) -> Option<Vec<Option<usize>>> {
        let shown = widths.iter().flatten();
        let whole = shown.clone().sum::<usize>() + GAP.len() * shown.count().saturating_sub(1);
        let mut excess = whole.saturating_sub(room);
        let mut narrowed = widths.to_vec();
        for (column, width) in self.columns.iter().zip(&mut narrowed) {
            if let (Narrow::Cut(least) | Narrow::Wraps(least), Some(width)) = (column.narrow, width)
            {
                let won = excess.min(width.saturating_sub(least));
                *width -= won;
                excess -= won;
            }
        }
        (excess == 0 || room == 0).then_some(narrowed)
    }

    /// A row with its ends of lines; no spaces before them.
    fn line(&self, row: Vec<String>, widths: &[Option<usize>]) -> String {
        let (mut line, mut below) = (String::new(), Vec::new());
        let mut indent = 0;
        for ((cell, width), column) in row.into_iter().zip(widths).zip(self.columns) {
            let Some(width) = *width else { continue };
            let length = cell.chars().count();
            let cell = match column.narrow {
                Narrow::Cut(_) if self.room.is_some() && length > width => {
                    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
                }
                Narrow::Wraps(_) if self.room.is_some() && length > width => {
                    let mut lines = wrapped(&cell, width);
                    let first = lines.remove(0);
                    below = lines;
                    first
                }
                _ => cell,
            };
            if below.is_empty() {
                indent += width + GAP.len();
            }
            line += &format!("{cell:<width$}{GAP}");
        }
        let mut line = line.trim_end().to_owned() + "\n";
        for more in below {
            line += &format!("{:indent$}{more}\n", "");
        }
        line
    }
}

/// A text in lines of at most `width` characters, broken between words if possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let last = lines.last_mut().expect("there is a line");
            let used = last.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                last.extend(std::iter::repeat_n(' ', gap).chain(word));
                break;
            }
            if used > 0 {
                lines.push(String::new());
            } else {
                last.extend(word.drain(..width));
                lines.push(String::new());
            }
        }
    }
    lines
}

/// A whole table.
pub(super) fn table(
    columns: &'static [Column],
    rows: impl Iterator<Item = Vec<String>>,
    room: Option<usize>,
) -> String {
    let (mut table, mut text) = (Table::new(columns, room), String::new());
    rows.for_each(|row| table.push(row, &mut text));
    table.finish(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] =
        &[stays("name"), goes("b", 2), goes("first", 1), cut("digest", 6), wraps("detail", 8)];

    fn row() -> Vec<String> {
        ["one", "22", "333", "0123456789", "words that go on"].map(str::to_owned).to_vec()
    }

    fn in_room(room: Option<usize>) -> String {
        table(COLUMNS, std::iter::once(row()), room)
    }

    #[test]
    fn all_is_shown_where_there_is_room() {
        let whole = "name  b   first  digest      detail\n\
                     one   22  333    0123456789  words that go on\n";
        assert_eq!(in_room(None), whole);
        assert_eq!(in_room(Some(45)), whole);
    }

    #[test]
    fn columns_are_cut_and_wrapped_and_left_out_as_far_as_needed() {
        assert_eq!(
            in_room(Some(44)).lines().nth(1).unwrap(),
            "one   22  333    01234567…  words that go on"
        );
        let narrow = "name  b   first  digest  detail\n\
                      one   22  333    01234…  words\n                         that go\n\
                      \x20                        on\n";
        assert_eq!(in_room(Some(33)), narrow);
        let narrower = in_room(Some(32));
        assert!(narrower.starts_with("name  b   digest  detail\n"), "{narrower}");
        assert!(narrower.ends_with("\n(left out: first; --json has all columns)\n"), "{narrower}");
        let least = in_room(Some(1));
        assert!(least.starts_with("name  digest  detail\none   01234…  words\n"), "{least}");
        assert!(least.contains("(left out: b, first;"), "{least}");
        for room in 24..60 {
            let text = in_room(Some(room));
            let table = text.lines().filter(|line| !line.starts_with('('));
            assert!(table.clone().all(|line| line.chars().count() <= room), "{room}: {text}");
        }
    }

    #[test]
    fn words_that_are_too_long_are_broken() {
        assert_eq!(wrapped("a bcdefgh i", 4), ["a", "bcde", "fgh", "i"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn long_tables_are_set_by_their_first_rows() {
        const TWO: &[Column] = &[stays("name"), stays("n")];
        let (mut table, mut text) = (Table::new(TWO, None), String::new());
        for index in 0..SET_BY - 1 {
            assert_eq!(text, "", "{index}");
            table.push(vec!["a".into(), index.to_string()], &mut text);
        }
        table.push(vec!["a".into(), "7".into()], &mut text);
        assert_eq!(text.lines().count(), SET_BY + 1);
        table.push(vec!["much wider".into(), "7".into()], &mut text);
        assert!(text.starts_with("name  n\na     0\n"), "{text}");
        assert!(text.ends_with("\nmuch wider  7\n"), "{text}");
        assert!(table.finish(&mut text));
        assert!(!Table::new(TWO, None).finish(&mut text));
    }
}
