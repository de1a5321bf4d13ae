//! The columns of a table: what each is to the model. Kept with a state, so that later files are
//! read in the same way.

use serde::{Deserialize, Serialize};

use super::error::{DatasetError, invalid};

/// Texts of a column, of any program: each is told by 16 bits, and one more stands for none.
const TEXTS: usize = u16::MAX as usize;

/// A column of a table. In JSON, one of numbers is its name alone, as there may be many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub(in crate::dataset) struct Column {
    /// Its name; empty without one.
    pub(in crate::dataset) name: String,
    pub(in crate::dataset) role: Role,
}

/// A column as it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    /// The name of a column of numbers, none of which may be missing.
    Number(String),
    Any(Any),
}

/// A column of any role.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Any {
    name: String,
    role: Role,
}

impl From<Written> for Column {
    fn from(written: Written) -> Self {
        match written {
            Written::Number(name) => Self { name, role: Role::Number { missing: None } },
            Written::Any(Any { name, role }) => Self { name, role },
        }
    }
}

impl From<Column> for Written {
    fn from(Column { name, role }: Column) -> Self {
        match role {
            Role::Number { missing: None } => Self::Number(name),
            role => Self::Any(Any { name, role }),
        }
    }
}

/// What a column is to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::dataset) enum Role {
    /// One feature. A missing value is replaced by this, if there is one.
    Number { missing: Option<f32> },
    /// A feature for each of these texts, in order: 1 for the one that an example has, otherwise 0.
    /// For a missing text, they are the shares of the texts.
    Categories { values: Vec<String>, missing: Option<Vec<f32>> },
    /// The label.
    Label,
    /// A number of the target.
    Target,
    /// Left out.
    Ignored,
}

impl Column {
    /// Number of features.
    pub(in crate::dataset) fn width(&self) -> usize {
        match &self.role {
            Role::Number { .. } => 1,
            Role::Categories { values, .. } => values.len(),
            Role::Label | Role::Target | Role::Ignored => 0,
        }
    }

    /// Its texts that are features.
    pub(in crate::dataset) fn texts(&self) -> &[String] {
        match &self.role {
            Role::Categories { values, .. } => values,
            _ => &[],
        }
    }

    /// Whether it is the label, or a number of the target.
    pub(in crate::dataset) fn is_target(&self) -> bool {
        matches!(self.role, Role::Label | Role::Target)
    }

    /// Checks what another program may have written.
    pub(in crate::dataset) fn check(&self) -> Result<(), DatasetError> {
        let Role::Categories { values, missing } = &self.role else { return Ok(()) };
        if values.is_empty() || values.len() > TEXTS {
            let expected = format!("1 to {TEXTS} texts of the column {:?}", self.name);
            return Err(invalid(expected, values.len()));
        }
        let is_sorted = values.windows(2).all(|pair| pair[0] < pair[1]);
        let shares = missing.as_ref().map_or(values.len(), Vec::len);
        if !is_sorted || shares != values.len() {
            let expected =
                format!("sorted texts of the column {:?}, and a share for each", self.name);
            return Err(invalid(expected, format!("{} texts, {shares} shares", values.len())));
        }
        Ok(())
    }

    /// The column for a sentence: by its name, or its place, from 0.
    pub(in crate::dataset) fn title(&self, at: usize) -> String {
        if self.name.is_empty() { format!("column {}", at + 1) } else { format!("{:?}", self.name) }
    }
}

/// A column for a sentence, by its number and, if it has one, its name.
pub(in crate::dataset) fn with_number(at: usize, title: &str) -> String {
    let number = format!("column {}", at + 1);
    if title == number { number } else { format!("{number} ({title})") }
}
