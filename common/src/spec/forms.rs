//! Values of a spec that have more than one form: [`LabelColumns`], [`TestExamples`]. An error says
//! what was found, which serde does not say of an untagged enum.

use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// Columns that are the label, or the numbers of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LabelColumns {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl LabelColumns {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

impl From<&str> for LabelColumns {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

/// How many training examples are held out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum TestExamples {
    /// So many.
    Count(u64),
    /// This share of all, below 1.
    Share(f64),
}

impl fmt::Display for TestExamples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

/// The name of a column, which may be a number.
struct Name(String);

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a column (in quotes, as in '\"1.5\"', unless it is a word or a whole number)")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
        Ok(Name(name.to_owned()))
    }

    fn visit_i64<E: Error>(self, name: i64) -> Result<Name, E> {
        Ok(Name(name.to_string()))
    }

    fn visit_u64<E: Error>(self, name: u64) -> Result<Name, E> {
        Ok(Name(name.to_string()))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = LabelColumns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NameVisitor.expecting(f)?;
        f.write_str(", or a list of names")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<LabelColumns, E> {
        Ok(name.into())
    }

    fn visit_i64<E: Error>(self, name: i64) -> Result<LabelColumns, E> {
        Ok(LabelColumns::One(name.to_string()))
    }

    fn visit_u64<E: Error>(self, name: u64) -> Result<LabelColumns, E> {
        Ok(LabelColumns::One(name.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<LabelColumns, A::Error> {
        let mut all = Vec::new();
        while let Some(Name(name)) = names.next_element()? {
            all.push(name);
        }
        Ok(LabelColumns::Several(all))
    }
}

impl<'de> Deserialize<'de> for LabelColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ColumnsVisitor)
    }
}

/// Reads a list of columns, of which one may stand alone.
pub(super) fn columns<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    LabelColumns::deserialize(deserializer).map(|columns| Some(columns.names().to_vec()))
}

struct TestExamplesVisitor;

impl Visitor<'_> for TestExamplesVisitor {
    type Value = TestExamples;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count of examples, or a share of them such as 0.2")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<TestExamples, E> {
        Ok(TestExamples::Count(count))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<TestExamples, E> {
        let wrong = |_| E::invalid_value(Unexpected::Signed(count), &self);
        u64::try_from(count).map(TestExamples::Count).map_err(wrong)
    }

    fn visit_f64<E: Error>(self, share: f64) -> Result<TestExamples, E> {
        Ok(TestExamples::Share(share))
    }
}

impl<'de> Deserialize<'de> for TestExamples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TestExamplesVisitor)
    }
}
