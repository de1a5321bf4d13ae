//! Reads rows, one page at a time.

use std::fmt;

use super::error::LedgerError;

/// Rows of one page.
pub(super) const PAGE: usize = 1024;

/// Fetches the rows after those that it has fetched, at most [`PAGE`].
type Fetch<'a, Row> = Box<dyn FnMut() -> Result<Vec<Row>, LedgerError> + 'a>;

/// Rows of the history, with one page in memory at a time. Between two pages no transaction
/// is open: a slow reader (`| less`) does not prevent the writer from truncating its log. So
/// rows that change in the meantime are returned in their new form. After an error no rows
/// follow.
pub struct Pages<'a, Row> {
    fetch: Fetch<'a, Row>,
    page: std::vec::IntoIter<Row>,
    is_last: bool,
}

impl<'a, Row> Pages<'a, Row> {
    pub(super) fn new(fetch: impl FnMut() -> Result<Vec<Row>, LedgerError> + 'a) -> Self {
        Self { fetch: Box::new(fetch), page: Vec::new().into_iter(), is_last: false }
    }
}

impl<Row> Iterator for Pages<'_, Row> {
    type Item = Result<Row, LedgerError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.is_last {
            match (self.fetch)() {
                Ok(rows) => {
                    self.is_last = rows.len() < PAGE;
                    self.page = rows.into_iter();
                }
                Err(error) => {
                    self.is_last = true;
                    return Some(Err(error));
                }
            }
        }
        self.page.next().map(Ok)
    }
}

impl<Row> fmt::Debug for Pages<'_, Row> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("is_last", &self.is_last).finish_non_exhaustive()
    }
}
