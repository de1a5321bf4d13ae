"""Runs by their spec: ``run``, ``submit``, ``evaluate``, ``predict``, and a coordinator's runs."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _samebit
from ._data import Source, source_of
from ._place import address_of, place_of
from ._run import Result, Run, start
from .errors import InputError
from .models import Model, check_shape
from .state import NetworkState

__all__ = ["Predictions", "cancel", "evaluate", "follow", "predict", "run", "status", "submit"]

_FIELDS = {
    "seed",
    "replicas",
    "batch_size",
    "update_interval",
    "epochs",
    "rounds",
    "audit",
    "parameters",
    "merge",
    "evaluation",
    "dataset",
}
#: What a state's spec says of its own examples, and not of those to predict.
_OF_TRAINING = ("test_source", "test_examples", "split", "split_seed", "shuffle_window")

_Path = str | os.PathLike[str]


def submit(
    data: Any = None,
    model: str | Model | None = None,
    *,
    labels: Any = None,
    test: Any = None,
    label: str | None = None,
    spec: Mapping[str, Any] | _Path | None = None,
    state: NetworkState | _Path | None = None,
    workers: str | None = None,
    keys: _Path | None = None,
    min_workers: int = 1,
    once: bool = False,
    patience: int = 60,
    **settings: Any,
) -> Run:
    """Starts a run, and returns at once.

    ``data`` is the name of a file or folder (``samebit datasets`` lists the kinds), a pair of arrays
    (features, labels), a frame, or a dataset of torch or Hugging Face; without it, the embedded
    digits. ``test`` has test examples in the same forms. ``settings`` are fields of a spec: ``seed``,
    ``replicas``, ``batch_size``, ``update_interval``, ``epochs``, ``rounds``, ``audit``,
    ``parameters``, ``merge``, ``evaluation`` and ``dataset``, and parameters of the model. The run is
    that of ``samebit run`` with the same flags. ``spec`` is a whole spec: a dictionary or a TOML file.
    """
    table = _table(spec)
    _apply(table, model, settings)
    source = None
    if data is not None or labels is not None:
        targets = table.get("dataset", {}).get("targets", "class")
        source = source_of(data, labels, test, label, targets)
        given = settings.get("dataset") or {}
        kept = {key: it for key, it in table.get("dataset", {}).items() if key == "targets"}
        base = table.get("dataset", {}) if source.arrays is not None and spec is not None else kept
        table["dataset"] = {**base, **given, "source": source.source}
        if source.arrays is None and label is not None:
            table["dataset"]["label"] = label
    place = place_of(workers, keys)
    if source is not None:
        check_shape(model, source.features)
    base = os.path.dirname(spec) if isinstance(spec, (str, os.PathLike)) and source is None else ""
    more = {"min_workers": min_workers, "once": once, "patience": patience, "base": os.fspath(base)}
    return start(table, source, _state(state), place, as_flags=spec is None, **more)


def run(
    data: Any = None, model: str | Model | None = None, *, progress: bool | None = None, **more: Any
) -> Result:
    """``submit``, and waits for the result. ``progress`` shows a line on standard error."""
    return submit(data, model, **more).result(progress)


def evaluate(
    state: NetworkState | Result | _Path,
    data: Any = None,
    *,
    labels: Any = None,
    label: str | None = None,
    split: str | None = None,
    model: str | Model | None = None,
    workers: str | None = None,
    keys: _Path | None = None,
    **settings: Any,
) -> Result:
    """Evaluates a state on examples, which are read as the state's own were.

    Without ``data``, they are the test examples of the files that it was trained on.
    """
    used, table, source = _use(state, data, labels, label, model, settings)
    is_own = source is None
    table["evaluation"] = {**table.get("evaluation", {}), "split": split or "test"}
    any_split = split is None and not is_own
    order = start(table, source, used, place_of(workers, keys), any_split=any_split)
    return order.result(progress=False)


@dataclass(frozen=True)
class Predictions:
    """The predictions for examples, in their order."""

    #: ``[examples, outputs]``.
    scores: np.ndarray[Any, Any]
    #: The names of the outputs: classes, or targets.
    names: list[str]
    #: Whether the outputs are classes.
    are_classes: bool

    @property
    def classes(self) -> np.ndarray[Any, Any]:
        """The class of each example: its number if the classes are numbers from 0, or its name."""
        if not self.are_classes:
            raise InputError("the model predicts numbers, not classes: use .scores")
        found: np.ndarray[Any, Any] = self.scores.argmax(axis=1)
        if self.names == [str(number) for number in range(len(self.names))]:
            return found
        named: np.ndarray[Any, Any] = np.array(self.names)[found]
        return named

    def __len__(self) -> int:
        return len(self.scores)

    def to_pandas(self) -> Any:
        """A frame of pandas, with the class and the scores of each example."""
        import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]

        frame = pandas.DataFrame(self.scores, columns=self.names)
        if self.are_classes:
            frame.insert(0, "prediction", self.classes)
        return frame


def predict(
    state: NetworkState | Result | _Path,
    data: Any,
    *,
    label: str | None = None,
    split: str | None = None,
    model: str | Model | None = None,
    workers: str | None = None,
    keys: _Path | None = None,
    **settings: Any,
) -> Predictions:
    """The scores of each example. Labels are not needed, and not read; ``label`` is their column in a
    frame that has them."""
    used, table, source = _use(state, data, None, label, model, settings)
    for key in _OF_TRAINING:
        table["dataset"].pop(key, None)
    table["predict"] = True
    table["evaluation"] = {"split": split or "train", "labelling": False}
    result = start(table, source, used, place_of(workers, keys)).result(progress=False)
    scores = result.state["scores"]
    schema = json.loads(result.state._origin[1] or "{}")
    targets = schema.get("targets", {})
    are_classes = not (isinstance(targets, dict) and "vector" in targets)
    columns = [it for it in schema.get("columns", []) if isinstance(it, dict)]
    names = schema.get("classes") or [it["name"] for it in columns if it["role"] == "target"]
    if not all(names) or len(names) != scores.shape[1]:
        names = [str(number) for number in range(scores.shape[1])]
    return Predictions(scores, names, are_classes)


def follow(
    number: int, *, workers: str | None = None, keys: _Path | None = None, patience: int = 60
) -> Run:
    """A run that a coordinator has, whoever submitted it. Ctrl-C in ``result()`` cancels it."""
    place = place_of(workers, keys)
    if "at" not in place:
        address_of(workers, keys)
    return start({}, None, None, place, follow=int(number), patience=patience)


def status(*, workers: str | None = None, keys: _Path | None = None) -> dict[str, Any]:
    """The workers and runs of a coordinator, with the fields of ``samebit status --json``."""
    found: dict[str, Any] = json.loads(_samebit.status(*address_of(workers, keys)))
    return found


def cancel(number: int, *, workers: str | None = None, keys: _Path | None = None) -> None:
    """Cancels a run of a coordinator, whoever submitted it."""
    address, found = address_of(workers, keys)
    _samebit.cancel(address, int(number), found)


def _table(spec: Mapping[str, Any] | _Path | None) -> dict[str, Any]:
    if spec is None:
        return {}
    if isinstance(spec, Mapping):
        return json.loads(json.dumps(dict(spec), default=str))  # type: ignore[no-any-return]
    try:
        with open(spec, "rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"spec {os.fspath(spec)}: {error}") from None


def _apply(table: dict[str, Any], model: str | Model | None, settings: dict[str, Any]) -> None:
    """Sets the model, fields of the spec, and parameters of the model."""
    if model is not None:
        name = model.name if isinstance(model, Model) else model
        if table.get("model") != name:
            table.pop("parameters", None)
            table.pop("merge", None)
        table["model"] = name
        if isinstance(model, Model):
            table["parameters"] = {**table.get("parameters", {}), **model.parameters}
    for key, value in settings.items():
        if key not in _FIELDS:
            table["parameters"] = {**table.get("parameters", {}), key: value}
        elif isinstance(value, Mapping):
            table[key] = {**table.get(key, {}), **value}
        elif value is not None:
            if key in ("epochs", "rounds"):
                table.pop("rounds" if key == "epochs" else "epochs", None)
            table[key] = value


def _state(state: NetworkState | Result | _Path | None) -> NetworkState | None:
    if isinstance(state, Result):
        return state.state
    if isinstance(state, (str, os.PathLike)):
        return NetworkState.load(state)
    return state


def _use(
    state: NetworkState | Result | _Path,
    data: Any,
    labels: Any,
    label: str | None,
    model: str | Model | None,
    settings: dict[str, Any],
) -> tuple[NetworkState, dict[str, Any], Source | None]:
    """What a state that is not trained, its spec, and the examples are."""
    used = _state(state)
    if not isinstance(used, NetworkState):
        raise InputError(
            f"expected a NetworkState, a Result or the name of a file, found {type(state).__name__}"
        )
    table = tomllib.loads(used._origin[0] or "")
    _apply(table, model, settings)
    for key in ("epochs", "rounds", "evaluation", "predict"):
        table.pop(key, None)
    table["update_weights"] = False
    if "model" not in table:
        raise InputError('the state does not say its model: add model="NAME"')
    if data is None:
        if table.get("dataset", {}).get("source", "arrays") == "arrays":
            raise InputError("the state does not say its data: add data=")
        return used, table, None
    targets = table.get("dataset", {}).get("targets", "class")
    source = source_of(data, labels, None, label, targets)
    if table.get("dataset", {}).get("source") != source.source or source.arrays is not None:
        table["dataset"] = {"targets": targets, **(settings.get("dataset") or {})}
    table["dataset"]["source"] = source.source
    return used, table, source
