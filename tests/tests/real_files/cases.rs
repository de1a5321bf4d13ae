//! The files of `tests/data`, and what each of them is to be taken for.

/// A source of data, and the line about it.
pub(super) struct Case {
    pub(super) source: &'static str,
    /// Fields of the dataset in a spec, as TOML.
    pub(super) fields: &'static str,
    /// The line that says what was understood, without the part about the test split.
    pub(super) line: &'static str,
}

const fn case(source: &'static str, fields: &'static str, line: &'static str) -> Case {
    Case { source, fields, line }
}

/// All sources that load.
pub(super) const CASES: [Case; 23] = [
    case("iris.data", "", ""),
    case("iris_counts.csv", "", ""),
    case("iris_index.csv", "", ""),
    case("iris_quoted.csv", "", ""),
    case("iris_utf16.txt", "", ""),
    case("iris_r.csv", "", ""),
    case("iris_r2.csv", "", ""),
    case("iris_r.txt", "", ""),
    case("iris_f8", "", ""),
    case("iris_torch", "", ""),
    case("iris.npz", "", ""),
    case("wine.data", "", ""),
    case("wine_semicolon.csv", "", ""),
    case("wine.txt", "", ""),
    case("wine_fortran", "", ""),
    case("breast_cancer.csv.gz", "", ""),
    case("cancer_bool.csv.xz", "", ""),
    case("cancer.npz", "", ""),
    case("penguins.csv", "label = \"species\"\nmissing = \"drop\"", ""),
    case("penguins_r.tsv", "missing = \"drop\"", ""),
    case("digits_label_first.csv", "", ""),
    case("digits_numbered.csv", "", ""),
    case("digits_idx", "", ""),
];

/// Sources that are refused, and how.
pub(super) const REFUSED: [(&str, &str, &str); 3] = [
    ("refused/iris.pt", "", ""),
    ("refused/one_class.csv", "", ""),
    ("penguins.csv", "label = \"species\"", ""),
];
