"""Writes the files of this folder with pandas, numpy, PyTorch and R. It was run once, and needs not run again.

    python make.py CASES PENGUINS

CASES has copies of some files that are kept as they are. PENGUINS is penguins.csv of the
package palmerpenguins. Needs numpy, pandas, scikit-learn, torch (in any Python 3, named by the
variable TORCH_PYTHON) and Rscript.
"""

import csv
import gzip
import os
import pathlib
import shutil
import subprocess
import sys

import numpy
import pandas
import sklearn.datasets

HERE = pathlib.Path(__file__).parent
CASES, PENGUINS = map(pathlib.Path, sys.argv[1:])
COPIED = {
    "iris_uci.data": "iris.data",
    "iris_pandas_index.csv": "iris_index.csv",
    "iris_quote_all.csv": "iris_quoted.csv",
    "digits_labelfirst.csv": "digits_label_first.csv",
    "digits_pandas.csv": "digits_numbered.csv",
    "one_class.csv": "refused/one_class.csv",
}


def path(name):
    file = HERE / name
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def copies():
    for source, name in COPIED.items():
        shutil.copyfile(CASES / source, path(name))
        path(name).chmod(0o644)
    of_scikit_learn = pathlib.Path(sklearn.datasets.__file__).parent / "data"
    shutil.copyfile(of_scikit_learn / "iris.csv", path("iris_counts.csv"))
    with gzip.GzipFile(path("breast_cancer.csv.gz"), "wb", mtime=0) as file:
        file.write((of_scikit_learn / "breast_cancer.csv").read_bytes())


def by_pandas():
    wine = sklearn.datasets.load_wine(as_frame=True).frame
    # As UCI has it: no header, the label first, and from 1.
    first = wine[["target", *wine.columns[:-1]]].assign(target=wine.target + 1)
    first.to_csv(path("wine.data"), header=False, index=False)
    wine.to_csv(path("wine_semicolon.csv"), sep=";", decimal=",", index=False)
    iris = sklearn.datasets.load_iris(as_frame=True)
    named = iris.data.assign(species=iris.target_names[iris.target])
    named.to_csv(path("iris_utf16.txt"), sep="\t", index=False, encoding="utf-16", lineterminator="\r\n")
    cancer = sklearn.datasets.load_breast_cancer(as_frame=True)
    some = cancer.data[["mean radius", "mean texture", "mean smoothness", "mean symmetry"]]
    some = some.assign(malignant=cancer.target == 0)
    some.to_csv(path("cancer_bool.csv.xz"), index=False, quoting=csv.QUOTE_NONNUMERIC)
    penguins = pandas.read_csv(PENGUINS)
    penguins = penguins.sample(frac=1, random_state=1).drop(columns="year")
    penguins.to_csv(path("penguins.csv"))


def by_numpy():
    iris, wine = sklearn.datasets.load_iris(), sklearn.datasets.load_wine()
    numpy.save(path("iris_f8/X_train.npy"), iris.data)
    numpy.save(path("iris_f8/y_train.npy"), iris.target.reshape(-1, 1).astype("f8"))
    numpy.save(path("wine_fortran/data.npy"), numpy.asfortranarray(wine.data.astype(">f4")))
    numpy.save(path("wine_fortran/target.npy"), wine.target_names[wine.target])
    half = numpy.arange(150) % 2 == 0
    numpy.savez_compressed(
        path("iris.npz"),
        x_train=iris.data[half].astype("f4"), y_train=numpy.eye(3, dtype=bool)[iris.target[half]],
        x_test=iris.data[~half].astype("f4"), y_test=numpy.eye(3, dtype=bool)[iris.target[~half]],
    )
    signs = numpy.where(sklearn.datasets.load_breast_cancer().target == 0, 1, -1)
    cancer = sklearn.datasets.load_breast_cancer().data[:, :6]
    numpy.savez(path("cancer.npz"), X=cancer.astype("f4"), y=signs.astype("i1"))
    numpy.savetxt(path("wine.txt"), numpy.c_[wine.data[:, :6], wine.target], fmt="%.6g")


TORCH = """
import sys, numpy, torch
data = numpy.load(sys.argv[1] + "/iris_f8/X_train.npy")
labels = numpy.load(sys.argv[1] + "/iris_f8/y_train.npy").reshape(-1)
features = torch.from_numpy(data).float()
labels = torch.from_numpy(labels).long()
numpy.save(sys.argv[1] + "/iris_torch/train_data.npy", features)
numpy.save(sys.argv[1] + "/iris_torch/train_labels.npy", labels)
torch.save({"data": features, "labels": labels}, sys.argv[1] + "/refused/iris.pt")
"""


def by_torch():
    path("iris_torch/-"), path("refused/-")
    python = os.environ.get("TORCH_PYTHON", sys.executable)
    subprocess.run([python, "-c", TORCH, str(HERE)], check=True)
    # As torchvision keeps MNIST.
    digits = sklearn.datasets.load_digits()
    for name, part in ("train", slice(0, 300)), ("t10k", slice(300, 400)):
        images = digits.images[part].astype("u1")
        idx(f"digits_idx/MNIST/raw/{name}-images-idx3-ubyte", images)
        idx(f"digits_idx/MNIST/raw/{name}-labels-idx1-ubyte", digits.target[part].astype("u1"))


def idx(name, array):
    header = bytes([0, 0, 8, array.ndim]) + numpy.array(array.shape, ">u4").tobytes()
    path(name).write_bytes(header + array.tobytes())


R = """
write.csv(iris, "iris_r.csv")
write.csv2(iris, "iris_r2.csv", row.names = FALSE)
write.table(iris, "iris_r.txt")
penguins <- read.csv("penguins.csv", row.names = 1, stringsAsFactors = TRUE)
write.table(penguins, "penguins_r.tsv", sep = "\\t", quote = FALSE, row.names = FALSE)
"""


def by_r():
    subprocess.run(["Rscript", "--vanilla", "-e", R], cwd=HERE, check=True)


copies()
by_pandas()
by_numpy()
by_torch()
by_r()
