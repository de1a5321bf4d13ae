"""Examples, from what people have: arrays, tensors, frames, datasets, names of files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _samebit
from .errors import InputError
from .state import to_numpy

__all__: list[str] = []

#: Columns that are taken for the labels if nobody names one, the first ones preferred: those of tables.
_LABELS = ("label", "class", "target", "y", "species")
#: Whole numbers are exact in double precision below this (2^53).
_EXACT = 9_007_199_254_740_992
#: Columns of Hugging Face's datasets that are taken for the features.
_FEATURES = ("image", "img", "features", "x")


@dataclass
class Source:
    """Examples: arrays, or the name of a file."""

    #: ``None`` for files.
    arrays: _samebit.Data | None
    #: ``dataset.source`` of the spec.
    source: str
    #: The largest label plus one, if the labels are whole numbers from 0.
    classes: int | None = None
    #: Features of one example, if they are known.
    features: int | None = None


def source_of(
    data: Any, labels: Any = None, test: Any = None, label: str | None = None, targets: str = "class"
) -> Source:
    """The examples in ``data``. ``test`` is a second set, in the same forms.

    Raises ``InputError`` if it is nothing that holds examples, or a value in it does not fit.
    """
    if isinstance(data, (str, os.PathLike)):
        if labels is not None or test is not None:
            raise InputError(
                "expected no labels and no test examples beside the name of a file: name its column "
                'with label="NAME", and a second file with dataset={"test_source": "FILE"}'
            )
        return Source(None, os.fspath(data))
    if isinstance(data, Mapping) and "train" in data and labels is None:
        test = data.get("test", test)
        data = data["train"]
    train = _split("examples", "labels", *_pair("examples", data, labels, label), targets)
    second = None
    if test is not None:
        names = ("test examples", "test labels")
        second = _split(*names, *_pair("test examples", test, None, label), targets)
    features = int(np.prod(train[2]))
    return Source(_samebit.Data(train, second), "arrays", _classes(train, second), features)


def _classes(*splits: tuple[Any, ...] | None) -> int | None:
    largest = -1
    for split in splits:
        if split is None or split[5] != "numbers" or not split[6]:
            continue
        values = np.frombuffer(split[6], dtype="float64")
        if not np.isfinite(values).all() or (values < 0).any() or (values % 1 != 0).any():
            return None
        largest = max(largest, int(values.max()))
    return largest + 1 if largest >= 0 else None


def _pair(name: str, data: Any, labels: Any, label: str | None) -> tuple[Any, Any]:
    """Features and labels, which may be ``None``."""
    if labels is not None:
        return data, labels
    if isinstance(data, tuple):
        if len(data) != 2:
            raise InputError(
                f"{name}: expected a pair (features, labels), found a tuple of {len(data)}"
            )
        return data[0], data[1]
    if hasattr(data, "column_names") and hasattr(data, "with_format"):
        return _of_hugging_face(name, data, label)
    if isinstance(data, Mapping):
        raise InputError(
            f'{name}: expected an array, a pair (features, labels), a frame or a dataset, or {{"train": '
            f"…, \"test\": …}}, found a dictionary of {', '.join(map(str, data))}"
        )
    if hasattr(data, "columns") and hasattr(data, "to_numpy"):
        return _of_frame(name, data, label)
    is_array = hasattr(data, "dtype") or hasattr(data, "__array__")
    if not is_array and hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        if not isinstance(data, Sequence) or _holds_pairs(data):
            return _of_items(name, data)
    return data, None


def _holds_pairs(data: Sequence[Any]) -> bool:
    return len(data) > 0 and isinstance(data[0], tuple) and len(data[0]) == 2


def _column(name: str, columns: list[str], label: str | None) -> str | None:
    if label is not None:
        if label not in columns:
            raise InputError(f"{name}: expected a column {label!r}, found {', '.join(columns)}")
        return label
    for wanted in _LABELS:
        for column in columns:
            if column.strip().lower() == wanted:
                return column
    return None


def _of_frame(name: str, frame: Any, label: str | None) -> tuple[Any, Any]:
    columns = [str(column) for column in frame.columns]
    if len(set(columns)) != len(columns):
        raise InputError(f"{name}: expected columns of different names, found {', '.join(columns)}")
    found = _column(name, columns, label)
    if found is None:
        return frame.to_numpy(), None
    place = columns.index(found)
    rest = [column for at, column in enumerate(frame.columns) if at != place]
    return frame[rest].to_numpy(), frame[frame.columns[place]].to_numpy()


def _of_hugging_face(name: str, data: Any, label: str | None) -> tuple[Any, Any]:
    columns = list(data.column_names)
    found = _column(name, columns, label)
    rest = [column for column in columns if column != found]
    chosen = next((column for column in _FEATURES if column in rest), None)
    if chosen is None and len(rest) != 1:
        raise InputError(
            f"{name}: expected one column of features, found {', '.join(rest)}: choose one with "
            ".select_columns([...])"
        )
    plain = data.with_format(None)
    features = np.stack([np.asarray(item) for item in plain[chosen or rest[0]]])
    return features, None if found is None else plain[found]


def _of_items(name: str, data: Any) -> tuple[Any, Any]:
    """A dataset of torch: items that are pairs."""
    features, labels = [], []
    for place in range(len(data)):
        item = data[place]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise InputError(
                f"{name}, item {place}: expected a pair (features, label), found {type(item).__name__}"
            )
        features.append(to_numpy(f"{name}, item {place}", item[0]))
        label = item[1]
        labels.append(label.item() if hasattr(label, "item") and np.ndim(label) == 0 else label)
    if not features:
        raise InputError(f"{name}: expected at least one example, found none")
    try:
        return np.stack(features), np.asarray(labels)
    except ValueError as error:
        raise InputError(f"{name}: expected items of one shape: {error}") from None


def _split(
    name: str, label_name: str, features: Any, labels: Any, targets: str
) -> tuple[str, str, list[int], bytes, str, str, Any, int]:
    array = _features(name, features)
    shape = list(array.shape[1:]) or [1]
    kind, values, width = _targets(label_name, labels, targets)
    return name, array.dtype.name, shape, array.tobytes(), label_name, kind, values, width


def _features(name: str, value: Any) -> np.ndarray[Any, Any]:
    array = to_numpy(name, value)
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: expected numbers, found {array.dtype}: convert them with "
            '.astype("float32"), or write a table to a CSV file and give its name'
        )
    if array.ndim == 0 or array.shape[0] == 0:
        raise InputError(
            f"{name}: expected an array of shape [examples, features], found {list(array.shape)}"
        )
    if array.dtype == "bool" or array.dtype == "uint8":
        return np.ascontiguousarray(array, dtype="uint8")
    with np.errstate(over="ignore", invalid="ignore"):
        single = np.ascontiguousarray(array, dtype="float32")
    lost = np.isinf(single) & np.isfinite(array)
    if lost.any():
        place = tuple(int(axis) for axis in np.argwhere(lost)[0])
        raise InputError(
            f"{name}, place {list(place)}: expected a number that float32 can hold, found "
            f"{array[place]}: scale the features first"
        )
    return single


def _targets(name: str, labels: Any, targets: str) -> tuple[str, Any, int]:
    if labels is None or targets == "none":
        return "none", b"", 0
    array = to_numpy(name, labels)
    if targets == "vector":
        if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or array.size == 0:
            raise InputError(
                f"{name}: expected an array of numbers of shape [examples, targets], found "
                f"{array.dtype}{list(array.shape)}"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            vectors = np.ascontiguousarray(array.reshape(len(array), -1), dtype="float32")
        return "vectors", vectors.tobytes(), vectors.shape[1]
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise InputError(
            f"{name}: expected one label for each example, found shape {list(array.shape)}: of "
            'one-hot labels take .argmax(axis=1); for vectors set targets="vector"'
        )
    if array.dtype.kind == "U":
        return "texts", array.tolist(), 0
    if array.dtype.kind == "O":
        texts = array.tolist()
        wrong = next((text for text in texts if not isinstance(text, str)), None)
        if wrong is None and texts:
            return "texts", texts, 0
        raise InputError(
            f"{name}: expected numbers or texts, found an object array with {wrong!r}: convert it "
            'with .astype("int64") or .astype(str)'
        )
    if array.dtype.kind == "b":
        # As a table has them.
        return "texts", np.where(array, "True", "False").tolist(), 0
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name}: expected numbers or texts, found {array.dtype}")
    numbers = np.ascontiguousarray(array, dtype="float64")
    if array.dtype.kind != "f" and len(numbers) and np.abs(numbers).max() >= _EXACT:
        raise InputError(
            f"{name}: expected labels between -{_EXACT} and {_EXACT}: number the classes from 0 on"
        )
    return "numbers", numbers.tobytes(), 0
