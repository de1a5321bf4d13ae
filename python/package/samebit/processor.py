"""``ParallelBatchProcessor``: replicas that train in parallel and are merged."""

from __future__ import annotations

import hashlib
import logging
import tomllib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._data import Source, source_of
from ._place import place_of
from ._run import Result, start
from .errors import InputError
from .models import Inferred, Model, check_shape, infer
from .state import NetworkState

__all__ = ["ParallelBatchProcessor", "Results"]

_log = logging.getLogger("samebit")

#: ``pre_rate`` of ``spiking`` for a ``post_rate`` of 1.
_PRE = 0.01
#: Parameters that are fields of the spec.
_FIELDS = ("seed", "epochs", "rounds", "merge", "update_interval")
_LARGEST_SEED = 2**63 - 1


class Results(Mapping[str, Any]):
    """The results of a call: attributes and items of the same names."""

    _NAMES = (
        "accuracy",
        "loss",
        "confusion",
        "examples",
        "seconds",
        "seconds_per_batch",
        "memory",
        "synchronisation_share",
        "rounds",
        "warnings",
        "digest",
    )

    #: Share of examples that were classified correctly: of the evaluation at the end, or of the
    #: last round if there is none. ``None`` if the model does not report it.
    accuracy: float | None
    #: Mean loss, of the same.
    loss: float | None
    #: ``[true class, found class]``, of the evaluation.
    confusion: np.ndarray[Any, Any] | None
    #: Examples that were learnt from, or evaluated.
    examples: int
    #: Seconds of the whole call.
    seconds: float
    #: Seconds of each round, divided by the batches that a replica processes in it.
    seconds_per_batch: list[float]
    #: Resident memory of each process, bytes.
    memory: dict[str, int]
    #: Share of the training time that was not computing, 0 to 1.
    synchronisation_share: float
    #: The training rounds.
    rounds: list[Any]
    #: Examples that the model warns about.
    warnings: dict[str, int]
    #: The digest of the final state.
    digest: str

    def __init__(self, result: Result, batches: int) -> None:
        self.accuracy = result.accuracy
        self.loss = result.loss
        self.confusion = result.confusion
        evaluated = result.evaluations[-1].results.get("examples", 0) if result.evaluations else 0
        self.examples = result.examples or evaluated
        self.seconds = result.seconds
        times = [(it.compute_ms + it.synchronisation_ms) / 1e3 for it in result.rounds]
        self.seconds_per_batch = [seconds / max(batches, 1) for seconds in times]
        self.memory = result.memory
        self.synchronisation_share = result.synchronisation_share
        self.rounds = result.rounds
        self.warnings = result.warnings
        self.digest = result.digest

    def __getitem__(self, name: str) -> Any:
        if name not in self._NAMES:
            raise KeyError(f"{name!r}: expected one of {', '.join(self._NAMES)}")
        return getattr(self, name)

    def __iter__(self) -> Any:
        return iter(self._NAMES)

    def __len__(self) -> int:
        return len(self._NAMES)

    def __repr__(self) -> str:
        shown = ("accuracy", "loss", "examples", "seconds", "digest")
        return f"Results({', '.join(f'{name}={self[name]!r}' for name in shown)})"


class ParallelBatchProcessor:
    """Trains ``num_processes`` replicas of a network in parallel, and merges their states.

    ``num_processes`` is the number of replicas, and influences the result; how many of them run at
    once does not. ``batch_size`` is the number of examples in a batch, ``update_interval`` the number
    of batches that a replica processes between two merges. ``model`` is the name of a model or a
    ``Model``; without it, the names of the state's tensors tell it. ``workers`` says where it is
    computed: ``None``, ``"here"``, ``"local:4"`` or ``"HOST:PORT"``.
    """

    def __init__(
        self,
        num_processes: int = 4,
        batch_size: int = 50,
        *,
        update_interval: int | None = None,
        model: str | Model | None = None,
        workers: str | None = None,
    ) -> None:
        self.num_processes = _whole("num_processes", num_processes)
        self.batch_size = _whole("batch_size", batch_size)
        interval = update_interval
        self.update_interval = None if interval is None else _whole("update_interval", interval)
        self.model = model
        self.workers = workers

    def run_parallel(
        self,
        examples: Any,
        labels: Any = None,
        initial_state: NetworkState | Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[NetworkState, Results]:
        """Trains on examples, or only evaluates them, and returns the final state and the results.

        ``params`` has ``update_weights`` (default ``True``), ``learning_rate``, ``update_interval``,
        ``epochs`` (default 1) or ``rounds``, ``seed``, ``merge``, ``classes``, ``scale``,
        ``evaluate`` (default ``True``: the examples are evaluated at the end), and the parameters of
        the model. The arguments are not changed.
        """
        _log.info("Starting parallel processing with %d processes", self.num_processes)
        state, results = self._perform(
            examples, labels, initial_state, params, self.num_processes, place_of(self.workers)
        )
        _log.info("Parallel processing completed in %.2f seconds", results.seconds)
        return state, results

    def process_batch(
        self,
        examples: Any,
        labels: Any = None,
        state: NetworkState | Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        *,
        initial_state: NetworkState | Mapping[str, Any] | None = None,
    ) -> tuple[NetworkState, Results]:
        """One replica processes examples in batches, and returns the next state and the results.

        It is computed in this process. The randomness is keyed by the state's own counter
        ``examples``, so that a loop of calls does not draw the same numbers twice. The examples are
        not evaluated afterwards, unless ``params`` says ``evaluate=True``.
        """
        state = initial_state if state is None else state
        _check("state", state)
        _check("params", params)
        params = {"evaluate": False, **(params or {})}
        counter = 0
        if state is not None and "examples" in state:
            counter = int(np.asarray(state["examples"]).reshape(-1)[0])
        params["seed"] = _seed_after(params.get("seed", 1), counter)
        return self._perform(examples, labels, state, params, 1, {"here": {}})

    def _perform(
        self,
        examples: Any,
        labels: Any,
        initial: NetworkState | Mapping[str, Any] | None,
        params: Mapping[str, Any] | None,
        replicas: int,
        place: dict[str, Any],
    ) -> tuple[NetworkState, Results]:
        _check("initial_state", initial)
        _check("params", params)
        if initial is not None and not isinstance(initial, NetworkState):
            initial = NetworkState(initial)
        rest = {} if params is None else dict(params)
        targets = rest.pop("targets", "class")
        source = source_of(examples, labels, targets=targets)
        named = rest.pop("model", self.model)
        check_shape(named, source.features)
        spec = _spec(self, source, initial, named, rest, replicas)
        spec["dataset"]["targets"] = targets
        run = start(spec, source, initial, place)
        result = run.result(progress=False)
        for note in result.notes[1:]:
            _log.warning("%s", note)
        interval = tomllib.loads(result.state._origin[0] or "").get("update_interval", 1)
        for number, it in enumerate(result.rounds):
            _log.debug("Batch %d: loss %s, accuracy %s", number, it.loss, it.accuracy)
        return result.state, Results(result, interval)


def _check(name: str, value: Any) -> None:
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"{name}: expected a dictionary, found {type(value).__name__}")


def _spec(
    processor: ParallelBatchProcessor,
    source: Source,
    state: NetworkState | None,
    named: str | Model | None,
    rest: dict[str, Any],
    replicas: int,
) -> dict[str, Any]:
    """The fields of the spec. Takes what it knows out of ``rest``: that is of the model."""
    model = named if isinstance(named, Model) else None
    name = named.name if isinstance(named, Model) else named
    found = infer(name, state or {})
    learns = bool(rest.pop("update_weights", True))
    evaluates = bool(rest.pop("evaluate", True)) or not learns
    fields = {name: rest.pop(name) for name in _FIELDS if name in rest}
    fields.setdefault("update_interval", processor.update_interval)
    if learns and "rounds" not in fields:
        fields.setdefault("epochs", 1)
    if not learns:
        fields.pop("epochs", None)
        fields.pop("rounds", None)
    dataset = {
        "source": source.source,
        "classes": rest.pop("classes", found.classes or source.classes),
        "scale": rest.pop("scale", None),
        "normalise": rest.pop("normalise", None),
    }
    labels = {} if learns and evaluates else {"labelling": False}
    evaluation = {"split": "train" if evaluates else "test", **labels}
    given = {**found.parameters, **(dict(model.parameters) if model else {})}
    return {
        "model": found.name,
        "replicas": replicas,
        "batch_size": processor.batch_size,
        "update_weights": learns,
        "dataset": dataset,
        "evaluation": evaluation,
        "parameters": {**given, **_parameters(found, rest)},
        **fields,
    }


def _parameters(found: Inferred, rest: dict[str, Any]) -> dict[str, Any]:
    rate = rest.pop("learning_rate", None)
    if rate is None:
        return rest
    if found.name == "spiking":
        return {"post_rate": float(rate), "pre_rate": float(rate) * _PRE, **rest}
    return {"learning_rate": float(rate), **rest}


def _seed_after(seed: int, examples: int) -> int:
    """The seed of the examples behind so many others: the run's own for the first ones."""
    if examples == 0:
        return seed
    text = f"samebit process_batch {seed} {examples}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") & _LARGEST_SEED


def _whole(name: str, value: Any) -> int:
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or value < 1:
        raise InputError(f"{name}: expected a whole number from 1, found {value!r}")
    return int(value)
