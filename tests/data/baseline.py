"""Writes baseline.csv: right answers of scikit-learn's logistic regression on each file of this folder.

    SAMEBIT_EXPORT_SPLITS=/tmp/splits cargo test -p tests --test integration real_files::a_model
    python tests/data/baseline.py /tmp/splits

The first command writes the splits (and fails while baseline.csv lacks a row). Each file is read here
again, by pandas or numpy: both splits together must have the same examples, as single-precision
numbers. Then features are standardised by the training split. Needs numpy, pandas and scikit-learn.
"""

import pathlib
import sys

import numpy
import pandas
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
SEEDS = range(1, 6)


def table(name, label=-1, drop=(), **options):
    frame = pandas.read_csv(HERE / name, **options).drop(columns=list(drop)).dropna()
    label = frame.columns[label] if isinstance(label, int) else label
    features = pandas.get_dummies(frame.drop(columns=label))
    # Categories stand where their column was.
    order = [column for of in frame.columns for column in features.columns
             if column == of or str(column).startswith(f"{of}_") and column not in frame.columns]
    return features[order].to_numpy("f4"), frame[label].to_numpy()


def arrays(features, labels):
    labels = labels.reshape(len(labels), -1)
    return features.reshape(len(features), -1).astype("f4"), labels.argmax(1) if labels.shape[1] > 1 else labels[:, 0]


def folder(name, features, labels):
    return arrays(numpy.load(HERE / name / features), numpy.load(HERE / name / labels))


def archive(name, features, labels):
    file = numpy.load(HERE / name)
    return arrays(file[features], file[labels])


def idx(name, split):
    def read(what, start, shape):
        data = (HERE / name / f"MNIST/raw/{split}-{what}-ubyte").read_bytes()
        return numpy.frombuffer(data, "u1", offset=start).reshape(shape)
    return arrays(read("images-idx3", 16, (-1, 64)), read("labels-idx1", 8, -1))


SOURCES = {
    "iris.data": lambda name: table(name, header=None),
    "iris_counts.csv": lambda name: table(name, header=None, skiprows=1),
    "iris_index.csv": lambda name: table(name, index_col=0),
    "iris_quoted.csv": table,
    "iris_utf16.txt": lambda name: table(name, sep="\t", encoding="utf-16"),
    "iris_r.csv": lambda name: table(name, index_col=0),
    "iris_r2.csv": lambda name: table(name, sep=";", decimal=","),
    "iris_r.txt": lambda name: table(name, sep=" ", index_col=0),
    "iris_f8": lambda name: folder(name, "X_train.npy", "y_train.npy"),
    "iris_torch": lambda name: folder(name, "train_data.npy", "train_labels.npy"),
    "iris.npz": lambda name: archive(name, "x_train", "y_train"),
    "wine.data": lambda name: table(name, label=0, header=None),
    "wine_semicolon.csv": lambda name: table(name, sep=";", decimal=","),
    "wine.txt": lambda name: table(name, sep=" ", header=None),
    "wine_fortran": lambda name: folder(name, "data.npy", "target.npy"),
    "breast_cancer.csv.gz": lambda name: table(name, header=None, skiprows=1),
    "cancer_bool.csv.xz": table,
    "cancer.npz": lambda name: archive(name, "X", "y"),
    "penguins.csv": lambda name: table(name, label="species", index_col=0),
    "penguins_r.tsv": lambda name: table(name, label="species", sep="\t"),
    "digits_label_first.csv": lambda name: table(name, label=0),
    "digits_numbered.csv": table,
    "digits_idx": lambda name: idx(name, "train"),
}


def split(file):
    rows = numpy.loadtxt(file, delimiter=",", ndmin=2)
    return rows[:, :-1].astype("f4"), rows[:, -1].astype(int)


def same_examples(name, read, found):
    """Fails unless both have the same examples, in any order."""
    features, labels = read
    classes = {label: number for number, label in enumerate(sorted(set(labels.tolist())))}
    read = numpy.c_[features, [classes[label] for label in labels.tolist()]]
    read, found = (rows[numpy.lexsort(rows.T)] for rows in (read, found))
    if read.shape != found.shape or not numpy.array_equal(read, found):
        sys.exit(f"{name}: read {read.shape}, found {found.shape}, or other numbers:\n{read}\n{found}")


def main(folder):
    lines = [
        f"# Right answers of LogisticRegression of scikit-learn {sklearn.__version__}, for test splits"
        f" of seeds {SEEDS[0]} to {SEEDS[-1]}: see baseline.py",
        "source,test_examples," + ",".join(f"seed_{seed}" for seed in SEEDS),
    ]
    for name, read in SOURCES.items():
        counts = []
        for seed in SEEDS:
            (train, train_labels), (test, labels) = (
                split(folder / name / f"{seed}-{part}.csv") for part in ("train", "test"))
            both = numpy.r_[numpy.c_[train, train_labels], numpy.c_[test, labels]]
            same_examples(name, read(name), both)
            scaler = StandardScaler().fit(train.astype("f8"))
            model = LogisticRegression(max_iter=1000).fit(scaler.transform(train), train_labels)
            counts.append(int((model.predict(scaler.transform(test)) == labels).sum()))
        lines.append(",".join(map(str, [name, len(labels), *counts])))
    (HERE / "baseline.csv").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


main(pathlib.Path(sys.argv[1]))
