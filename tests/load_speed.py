"""Measures how fast MNIST loads, beside polars and numpy: prints a table in Markdown.

    python tests/load_speed.py FOLDER [TURNS]

FOLDER has the files of MNIST (idx, packed by gzip). Each turn runs every program once, each in a
process of its own, which measures the call only: a change of the machine's load meets all of them.
A figure is the median of the turns (5), and a ratio the median of the ratios of each turn. Needs
polars and numpy.
"""

import gzip
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]

POLARS = """
import sys, time, polars
start = time.perf_counter()
frame = polars.read_csv(sys.argv[1] + "/mnist.csv")
print(time.perf_counter() - start)
assert frame.shape == (60000, 785)
"""

NUMPY = """
import hashlib, sys, time, numpy
start = time.perf_counter()
for name in "x_train", "y_train":
    array = numpy.load(f"{sys.argv[1]}/npy/{name}.npy")
    hashlib.sha256(array.data).hexdigest()
print(time.perf_counter() - start)
"""


def write_all(source, to):
    """MNIST's training split as CSV, npy and idx."""
    arrays = []
    for name, header in zip(NAMES, (16, 8)):
        data = gzip.decompress((source / f"{name}.gz").read_bytes())
        (to / "idx").mkdir(exist_ok=True)
        (to / "idx" / name).write_bytes(data)
        arrays.append(numpy.frombuffer(data, "u1", offset=header))
    images, labels = arrays[0].reshape(-1, 28, 28), arrays[1]
    (to / "npy").mkdir()
    numpy.save(to / "npy/x_train.npy", images)
    numpy.save(to / "npy/y_train.npy", labels)
    table = numpy.c_[labels, images.reshape(len(images), -1)]
    names = ",".join(["label", *(f"pixel{number}" for number in range(784))])
    numpy.savetxt(to / "mnist.csv", table, "%d", ",", header=names, comments="")


def python(code, folder):
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
    command = [sys.executable, "-c", code, str(folder)]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(output.stdout)


def samebit(source):
    command = ["cargo", "bench", "--locked", "-q", "-p", "samebit-common", "--bench", "loading", "--", source]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded, hashed = output.split()[1:3]
    return float(loaded), float(hashed)


def turn(folder):
    csv, with_digests = samebit(f"csv:{folder}/mnist.csv")
    _, npy = samebit(f"npy:{folder}/npy")
    _, idx = samebit(f"idx:{folder}/idx")
    polars, numpy_ = python(POLARS, folder), python(NUMPY, folder)
    return {"csv": csv, "csv and digests": with_digests, "npy and digests": npy,
            "idx and digests": idx, "polars": polars, "numpy and digests": numpy_}


def main(source, turns=5):
    with tempfile.TemporaryDirectory() as folder:
        write_all(pathlib.Path(source), pathlib.Path(folder))
        turn(folder)  # Builds, and fills the system's cache.
        results = [turn(folder) for _ in range(int(turns))]
    print("| MNIST, 60,000 examples | seconds | beside | seconds | ratio | target |\n|---|---|---|---|---|---|")
    for name, beside, target in [("csv", "polars", 2), ("csv and digests", "polars", ""),
                                 ("npy and digests", "numpy and digests", 1.5),
                                 ("idx and digests", "numpy and digests", 1.5)]:
        median = lambda value: statistics.median(value(result) for result in results)
        ours, theirs = median(lambda it: it[name]), median(lambda it: it[beside])
        ratio = median(lambda it: it[name] / it[beside])
        print(f"| {name} | {ours:.3f} | {beside} | {theirs:.3f} | {ratio:.2f} | {target} |")


main(*sys.argv[1:])
