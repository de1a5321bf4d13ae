"""Writes the files beside it."""


import io

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import save_file

NAMES = ["zero", "one", "two"]


def image(row, mode):
    """An 8×8 image: its brightness is its class, a gradient tells the rows apart."""
    pixels = np.full((8, 8), 40 * (row % 3), "u1") + np.arange(8, dtype="u1") * (row // 3)
    if mode == "RGB":
        pixels = np.stack([pixels, pixels.T, 255 - pixels], axis=2)
    return Image.fromarray(pixels)


def images(name, count, kind, mode):
    def packed(row):
        buffer = io.BytesIO()
        image(row, mode).save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}))
        return {"bytes": buffer.getvalue(), "path": f"{row}.{kind.lower()}"}

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    rows = {"image": [packed(row) for row in range(count)], "label": [r % 3 for r in range(count)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(name)


def table():
    """Like iris, with all kinds of columns, and a value that is missing."""
    random = np.random.default_rng(1)
    kinds = np.arange(30) % 3
    table = pd.DataFrame({
        "length": (5 + kinds + random.normal(0, 0.1, 30)).round(3),
        "width": (3 - kinds + random.normal(0, 0.1, 30)).astype("f4"),
        "count": (kinds * 10 + np.arange(30)).astype("u1"),
        "wild": np.arange(30) % 2 == 0,
        "color": pd.Categorical(np.array(["red", "blue"])[np.arange(30) % 2]),
        "seen": pd.date_range("2026-01-01", periods=30),
        "species": np.array(["setosa", "versicolor", "virginica"])[kinds],
    })
    table.loc[7, "length"] = None
    return table


images("png.parquet", 20, "PNG", "L")
images("jpeg.parquet", 6, "JPEG", "RGB")
image(1, "L").save("grey.jpg", quality=90)
image(1, "RGB").save("progressive.jpg", quality=90, progressive=True)

iris = table()
iris.to_csv("table.csv", index=False)
iris.to_parquet("table.parquet", index=False)
for packing in ["gzip", "zstd", "brotli"]:
    iris.to_parquet(f"table-{packing}.parquet", index=False, compression=packing)
pq.write_table(
    pa.Table.from_pandas(iris), "table-v2.parquet", data_page_version="2.0", row_group_size=7,
    use_dictionary=False, version="1.0", coerce_timestamps="ms",
)
pl.from_pandas(iris).write_parquet("table-polars.parquet")
duckdb.sql("copy iris to 'table-duckdb.parquet' (format parquet)")

vectors = pa.table({
    "vector": pa.array([[float(row % 2), row / 4, None if row == 5 else 1.0] for row in range(10)]),
    "y": pa.array([row % 2 for row in range(10)], pa.int8()),
    "half": pa.array(np.arange(10, dtype="f2") / 2),
})
pq.write_table(vectors, "lists.parquet")

arrays = {
    "x_train": (np.arange(24, dtype="f2") / 4).reshape(4, 2, 3),
    "y_train": np.array([[0, 1], [1, 0], [0, 1], [1, 0]], "u1"),
    "x_test": np.ones((2, 2, 3), "f8"),
    "y_test": np.array([1, 0]),
}
save_file(arrays, "arrays.safetensors", {"format": "np"})
