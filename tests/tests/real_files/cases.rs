//! The files of `tests/data`, and what each of them is to be taken for.

/// A source of data, and the line about it.
pub(super) struct Case {
    pub(super) source: &'static str,
    /// Fields of the dataset in a spec, as TOML.
    pub(super) fields: &'static str,
    /// The line that says what was understood.
    pub(super) line: &'static str,
}

const fn case(source: &'static str, fields: &'static str, line: &'static str) -> Case {
    Case { source, fields, line }
}

/// All sources that load.
pub(super) const CASES: [Case; 23] = [
    case(
        "iris.data",
        "",
        "iris.data: 150 examples, 4 features, label column 5 (last column; Iris-setosa, \
         Iris-versicolor, Iris-virginica), split 120/30 by class",
    ),
    case(
        "iris_counts.csv",
        "",
        "iris_counts.csv: 150 examples, 4 features, label column 5 (last column; setosa, \
         versicolor, virginica), split 120/30 by class",
    ),
    case(
        "iris_index.csv",
        "",
        "iris_index.csv: 150 examples, 4 features, label \"label\" (by its name; 3 classes), \
         split 120/30 by class; column 1 numbers the examples and is left out",
    ),
    case(
        "iris_quoted.csv",
        "",
        "iris_quoted.csv: 150 examples, 4 features, label \"label\" (by its name; 3 \
         classes), split 120/30 by class",
    ),
    case(
        "iris_utf16.txt",
        "",
        "iris_utf16.txt: 150 examples, 4 features, label \"species\" (by its name; setosa, \
         versicolor, virginica), split 120/30 by class",
    ),
    case(
        "iris_r.csv",
        "",
        "iris_r.csv: 150 examples, 4 features, label \"Species\" (by its name; setosa, \
         versicolor, virginica), split 120/30 by class; column 1 numbers the examples and is \
         left out",
    ),
    case(
        "iris_r2.csv",
        "",
        "iris_r2.csv: 150 examples, 4 features, label \"Species\" (by its name; setosa, \
         versicolor, virginica), split 120/30 by class; numbers have decimal commas",
    ),
    case(
        "iris_r.txt",
        "",
        "iris_r.txt: 150 examples, 4 features, label \"Species\" (by its name; setosa, \
         versicolor, virginica), split 120/30 by class; column 1 numbers the examples and is \
         left out",
    ),
    case("iris_f8", "", "iris_f8: 150 examples, 4 features, 3 classes, split 120/30 by class"),
    case(
        "iris_torch",
        "",
        "iris_torch: 150 examples, 4 features, 3 classes, split 120/30 by class",
    ),
    case("iris.npz", "", "iris.npz: 75 examples, 4 features, 3 classes, split 60/15 by class"),
    case(
        "wine.data",
        "",
        "wine.data: 178 examples, 13 features, label column 1 (first column; 1, 2, 3), split \
         142/36 by class",
    ),
    case(
        "wine_semicolon.csv",
        "",
        "wine_semicolon.csv: 178 examples, 13 features, label \"target\" (by its name; 3 \
         classes), split 142/36 by class; numbers have decimal commas",
    ),
    case(
        "wine.txt",
        "",
        "wine.txt: 178 examples, 6 features, label column 7 (last column; 3 classes), split \
         142/36 by class",
    ),
    case(
        "wine_fortran",
        "",
        "wine_fortran: 178 examples, 13 features, class_0, class_1, class_2, split 142/36 by \
         class",
    ),
    case(
        "breast_cancer.csv.gz",
        "",
        "breast_cancer.csv.gz: 569 examples, 30 features, label column 31 (last column; \
         malignant, benign), split 455/114 by class",
    ),
    case(
        "cancer_bool.csv.xz",
        "",
        "cancer_bool.csv.xz: 569 examples, 4 features, label \"malignant\" (last column; \
         False, True), split 455/114 by class",
    ),
    case("cancer.npz", "", "cancer.npz: 569 examples, 6 features, -1, 1, split 455/114 by class"),
    case(
        "penguins.csv",
        "label = \"species\"\nmissing = \"drop\"",
        "penguins.csv: 333 examples, 9 features, label \"species\" (Adelie, Chinstrap, \
         Gentoo), split 266/67 by class; column 1 numbers the examples and is left out; \
         \"island\" becomes 3 features, one each text; \"sex\" becomes 2 features, one each \
         text; left out: 11 examples with missing values",
    ),
    case(
        "penguins_r.tsv",
        "missing = \"drop\"",
        "penguins_r.tsv: 333 examples, 9 features, label \"species\" (by its name; Adelie, \
         Chinstrap, Gentoo), split 266/67 by class; \"island\" becomes 3 features, one each \
         text; \"sex\" becomes 2 features, one each text; left out: 11 examples with missing \
         values",
    ),
    case(
        "digits_label_first.csv",
        "",
        "digits_label_first.csv: 200 examples, 64 features, label \"label\" (by its name; 10 \
         classes), split 160/40 by class",
    ),
    case(
        "digits_numbered.csv",
        "",
        "digits_numbered.csv: 200 examples, 64 features, label \"64\" (last column; 10 \
         classes), split 160/40 by class; the first line counts the columns and is no example",
    ),
    case(
        "digits_idx",
        "",
        "digits_idx: 300 examples, 8 × 8 features, 10 classes, split 240/60 by class",
    ),
];

/// Sources that are refused, and how.
pub(super) const REFUSED: [(&str, &str, &str); 3] = [
    (
        "refused/iris.pt",
        "",
        "refused/iris.pt, byte 0: expected a file of data, found a file of PyTorch: save its \
         tensors with `numpy.save`",
    ),
    (
        "refused/one_class.csv",
        "",
        "refused/one_class.csv, line 1: expected a column of labels, of two or more classes \
         with five examples each on average: name it by `dataset.label`, as in --set \
         dataset.label=NAME (for numbers to predict, --set dataset.targets=vector), found \
         \"label\" with one value in 40 examples",
    ),
    (
        "penguins.csv",
        "label = \"species\"",
        "penguins.csv, line 200: expected a value in column 4 (\"bill_length_mm\"), or \
         `dataset.missing` set to \"drop\" or \"mean\", found none",
    ),
];
