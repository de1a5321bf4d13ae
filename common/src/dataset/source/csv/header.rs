//! The first records of a file that are no examples: a header, or scikit-learn's line of counts.

use super::cell::{Cell, Notation};
use super::dialect::Dialect;
use super::records::Record;

/// Records that are looked at to tell a header from an example.
const SAMPLE_RECORDS: usize = 500;

/// Fields of all these records together, if the records are long.
const SAMPLE_FIELDS: usize = 1 << 19;

/// Bytes of all these records together, if the fields are long.
const SAMPLE_BYTES: usize = 16 << 20;

/// Least number of names that are numbers for a header of such names.
const NUMBERED: usize = 3;

/// How far steps that are written as equal may differ.
const ROUNDED: f64 = 1e-6;

/// Names that hardly are texts of examples.
const CERTAIN_NAMES: [&str; 4] = ["label", "class", "target", "species"];

/// Texts above columns of numbers that are names for certain.
pub(super) const CERTAIN: usize = 2;

/// What a file says before its examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::dataset) struct Header {
    /// Names of the columns; empty without a header. An unnamed column has an empty name. With no
    /// records to skip, they are from a comment.
    pub(in crate::dataset) names: Vec<String>,
    /// The header's own fields, by which a repeated header is known.
    pub(in crate::dataset) fields: Vec<String>,
    /// Names of the classes, in scikit-learn's line of counts.
    pub(in crate::dataset) classes: Vec<String>,
    /// Number of columns of the examples.
    pub(in crate::dataset) columns: usize,
    /// Records to skip.
    pub(in crate::dataset) records: usize,
    /// Whether the header's own fields have a text: those that are numbers may be an example's, too.
    pub(in crate::dataset) has_texts: bool,
}

impl Header {
    /// Of a text.
    pub(in crate::dataset) fn of(text: &str, dialect: Dialect) -> Self {
        let mut records = dialect.records(text.as_bytes());
        let (mut sample, mut record, mut fields) = (Vec::new(), Record::default(), 0);
        let mut bytes = 0;
        while sample.len() < SAMPLE_RECORDS
            && fields < SAMPLE_FIELDS
            && bytes < SAMPLE_BYTES
            && records.next(&mut record)
        {
            fields += record.len();
            bytes += record.size();
            sample.push(record.clone());
        }
        let Some((first, rest)) = sample.split_first() else { return Self::default() };
        let columns = usual_length(if rest.len() < 2 { &sample } else { rest });
        let fields = first.fields().map(str::to_owned).collect::<Vec<_>>();
        if is_counts(&fields, columns) && fields[0] == (count(text, dialect) - 1).to_string() {
            let classes = fields[2..].iter().filter(|name| !name.is_empty()).cloned().collect();
            let (names, has_texts) = (Vec::new(), true);
            return Self { fields, classes, columns, records: 1, names, has_texts };
        }
        // A file that was put together from several repeats its header.
        let others: Vec<&Record<'_>> =
            rest.iter().filter(|record| !record.equals(&fields)).collect();
        if !is_header(first, &others, columns, dialect.notation()) {
            return Self { columns, ..Self::default() };
        }
        let names = names(&fields, rest, columns);
        let has_texts = fields.iter().any(|field| may_be_name(field, dialect.notation()));
        Self { names, fields, columns, records: 1, classes: Vec::new(), has_texts }
    }

    /// Whether the names may as well be an example: most are numbers, and no other name tells.
    pub(super) fn are_doubtful(&self) -> bool {
        let numbers = self.names.iter().filter(|name| name.parse::<f64>().is_ok()).count();
        let is_certain =
            |name: &String| CERTAIN_NAMES.iter().any(|it| name.eq_ignore_ascii_case(it));
        self.records > 0 && numbers >= NUMBERED && !self.names.iter().any(is_certain)
    }

    /// The same with these fields as the header, if it is not one already.
    pub(super) fn of_names(self, fields: Vec<String>) -> Self {
        if self.records > 0 {
            return self;
        }
        let (names, columns) = (fields.clone(), fields.len());
        let has_texts = fields.iter().any(|field| field.parse::<f64>().is_err());
        Self { names, fields, columns, records: 1, has_texts, ..self }
    }
}

/// The length that most records have; of two, the larger.
fn usual_length(records: &[Record<'_>]) -> usize {
    let mut lengths: Vec<usize> = records.iter().map(Record::len).collect();
    lengths.sort_unstable();
    let runs = lengths.chunk_by(|a, b| a == b);
    runs.max_by_key(|run| run.len()).map_or(0, |run| run[0])
}

fn count(text: &str, dialect: Dialect) -> usize {
    let (mut records, mut record) = (dialect.records(text.as_bytes()), Record::default());
    std::iter::from_fn(|| records.next(&mut record).then_some(())).count()
}

/// Whether this may be scikit-learn's first line: `150,4,setosa,versicolor,virginica`.
fn is_counts(fields: &[String], columns: usize) -> bool {
    fields.len() > 3
        && fields[0].parse::<usize>().is_ok()
        && fields[1].parse() == Ok(columns.saturating_sub(1))
        && fields[2..].iter().all(|name| name.parse::<f64>().is_err())
}

/// Whether the first record has names, in view of the others.
fn is_header(first: &Record<'_>, rest: &[&Record<'_>], columns: usize, notation: Notation) -> bool {
    // In R's files, a header has no name for the column of row names.
    let shift = usize::from(first.len() + 1 == columns);
    let column_has_numbers = |at: usize| {
        let cells = || rest.iter().map(|record| notation.cell(record.field(at + shift)));
        cells().any(|cell| matches!(cell, Cell::Number(_)))
            && cells().all(|cell| cell != Cell::Other)
    };
    let (mut names, mut numbers, mut texts) = (0, 0, Vec::new());
    for at in 0..first.len() {
        let field = first.field(at);
        match (may_be_name(field, notation), column_has_numbers(at)) {
            (true, true) => names += 1,
            (true, false) => texts.push(at),
            (false, true) => numbers += usize::from(notation.cell(field) != Cell::Missing),
            (false, false) => {}
        }
    }
    if names >= CERTAIN && numbers == 0 {
        return true;
    }
    // Of an example, most fields are what the columns have, and a text of it stands in others, too.
    let stands_again =
        |at: &usize| rest.iter().any(|record| record.field(at + shift) == first.field(*at));
    let is_example = texts.iter().any(stands_again);
    let empty = first.fields().filter(|field| field.is_empty()).count();
    !is_example
        && (names > 0 && names >= numbers
            || first
                .fields()
                .any(|field| CERTAIN_NAMES.iter().any(|it| field.eq_ignore_ascii_case(it)))
            || !rest.is_empty() && are_numbered(first, notation)
            || !texts.is_empty() && texts.len() + empty == first.len())
}

/// Whether a field may be the name of a column that is none of its numbers.
fn may_be_name(field: &str, notation: Notation) -> bool {
    notation.cell(field) == Cell::Other && notation.number::<f64>(field).is_none()
}

/// Whether the fields are numbers in equal steps, as years and wavelengths are, with texts between, or
/// the names that pandas gives: `0,1,2`, perhaps with an empty one before.
fn are_numbered(first: &Record<'_>, notation: Notation) -> bool {
    let (mut numbers, mut texts) = (Vec::new(), 0);
    for (at, field) in first.fields().enumerate() {
        match notation.number::<f64>(field) {
            Some(number) => numbers.push(number),
            None if may_be_name(field, notation) => texts += 1,
            None if field.is_empty() && at == 0 => {}
            None => return false,
        }
    }
    let steps: Vec<f64> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let Some(step) = steps.first().filter(|step| **step != 0.0) else { return false };
    let are_equal = steps.iter().all(|it| (it - step).abs() <= step.abs() * ROUNDED);
    let counts = *step == 1.0 && [0.0, 1.0].contains(&numbers[0]);
    numbers.len() >= NUMBERED && are_equal && texts <= 2 && (counts || texts > 0)
}

/// A name for each column.
fn names(fields: &[String], rest: &[Record<'_>], columns: usize) -> Vec<String> {
    let mut names = fields.to_vec();
    if names.len() + 1 == columns {
        let is_last_empty = rest.iter().all(|record| record.field(columns - 1).is_empty());
        names.insert(if is_last_empty { names.len() } else { 0 }, String::new());
    }
    while names.len() > columns && names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Header {
        let (text, dialect) = Dialect::of_text(text.into(), None);
        Header::of(&text, dialect)
    }

    #[test]
    fn headers_are_told_from_examples() {
        for (text, names) in [
            ("a,b\n1,2\n", "a b"),
            ("a,b,label\n1,NA,x\n2,3,y\n", "a b label"),
            ("label,1x1\n3,0\n", "label 1x1"),
            ("0,1,2,3\n5,1,7,0\n", "0 1 2 3"),
            (",0,1,2,target\n0,5,1,7,a\n", " 0 1 2 target"),
            ("color,size\nred,large\nblue,small\nred,small\n", "color size"),
            ("1,2\n3,4\n", ""),
            ("5.1,3.5,setosa\n4.9,3.0,setosa\n", ""),
            ("red,large\nblue,small\nred,small\n", ""),
            ("a,b\n1,2,3\n4,5,6\n", " a b"),
            ("a,b,c\n1,2,3,\n4,5,6,\n", "a b c "),
            ("a,b,\n1,2\n4,5\n", "a b"),
            ("\"a\" \"b\"\n\"1\" 5.1 \"x\"\n\"2\" 3 \"y\"\n", " a b"),
            ("?,1\n2,3\n", ""),
            ("5.l,3.5,1.4,setosa\n5.1,3.0,1.4,setosa\n", ""),
            ("5.l,setosa\n5.1,setosa\n4.9,other\n", ""),
            ("inf,inf,0\n1,2,0\n", ""),
            ("1,2,3,B\n5,1,7,A\n5,6,7,B\n", ""),
            ("land,2019,2020,2021,label\nDE,5,6,7,a\nFR,5,6,7,b\n", "land 2019 2020 2021 label"),
            ("2.5,1,2,3\n1.5,4,2,0\n0.5,3,2,1\n", ""),
            ("0,1,NA,2\n1,4,2,0\n", ""),
            ("0,0.5,1,2\n1,4,2,0\n", ""),
            (",color,label\n0,red,yes\n1,red,no\n2,blue,no\n", " color label"),
            (",color,label\nr1,red,yes\nr2,red,no\nr3,blue,no\n", " color label"),
            ("red,,yes\nred,a,no\nblue,b,yes\n", ""),
            ("400,402,404,label\n0.1,0.2,0.3,1\n0.2,0.2,0.3,0\n", "400 402 404 label"),
            ("400.5,401.5,402.5,kind\n0.1,0.2,0.3,1\n", "400.5 401.5 402.5 kind"),
            ("2021,2020,2019,region\n0,1,2,FR\n3,1,2,DE\n", "2021 2020 2019 region"),
            ("color,7,label\nred,1,yes\nred,2,no\n", "color 7 label"),
            ("red,7,yes\nblue,8,no\nred,8,yes\n", ""),
            ("smoker,age,bmi\nsmoker,50,20\nother,40,21\n", "smoker age bmi"),
            ("a,label\n1,x\n2,y\n", "a label"),
            ("a,b,label\n", "a b label"),
        ] {
            let found = header(text);
            assert_eq!(found.names.join(" "), names, "{text:?}");
            assert_eq!(found.records, usize::from(!names.is_empty()), "{text:?}");
        }
    }

    #[test]
    fn numbers_of_any_length_are_no_names() {
        for text in ["0.123456,0.654321\n0.111111,0.222222\n", "12345,67890\n"] {
            assert_eq!(header(text).records, 0, "{text:?}");
        }
    }

    #[test]
    fn a_line_of_counts_is_no_example() {
        let text = "3,2,setosa,virginica\n5.1,3.5,0\n4.9,3.0,1\n4.7,3.2,1\n";
        let found = header(text);
        assert_eq!((found.classes.join(" "), found.columns), ("setosa virginica".into(), 3));
        assert_eq!(header(&text.replace("3,2,", "4,2,")).classes, [""; 0]);
    }
}
