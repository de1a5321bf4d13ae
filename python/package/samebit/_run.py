"""A run from its order to its result."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _samebit, errors
from ._data import Source
from .events import (
    Cancelled,
    Evaluation,
    Event,
    Failed,
    Finished,
    Note,
    Round,
    Started,
    Submitted,
    event_of,
)
from .state import NetworkState

__all__ = ["Result", "Run"]

#: Longest wait for the next event before Python looks for signals, in seconds.
_WAIT = 0.1
#: Longest wait for a cancelled run to end, in seconds.
_CANCEL = 15.0


@dataclass(frozen=True)
class Result:
    """What a run gives."""

    #: The final state.
    state: NetworkState
    #: Its digest, as the command line prints it.
    digest: str
    #: Mean loss of the last evaluation, or of the last round without one.
    loss: float | None
    #: Share of examples that were classified correctly, of the same.
    accuracy: float | None
    #: ``[true class, found class]`` of the last evaluation.
    confusion: np.ndarray[Any, Any] | None
    #: Training rounds.
    rounds: list[Round]
    #: Evaluations.
    evaluations: list[Evaluation]
    #: Seconds from start to end.
    seconds: float
    #: Examples processed in training.
    examples: int
    #: Share of the training time that was not computing, 0 to 1.
    synchronisation_share: float
    #: Resident memory of each process that computed, bytes, at the end.
    memory: dict[str, int]
    #: Examples that the model warns about, by warning.
    warnings: dict[str, int]
    #: Sentences about the data and the state.
    notes: list[str] = field(default_factory=list)
    #: The number of the run at its coordinator.
    run: int = 0

    def history(self) -> list[dict[str, Any]]:
        """The training rounds, one row each."""
        names = ("round", "epoch", "examples", "loss", "accuracy", "compute_ms", "synchronisation_ms")
        return [{name: getattr(it, name) for name in names} for it in self.rounds]

    def to_pandas(self) -> Any:
        """The training rounds as a frame of pandas, which must be installed."""
        import pandas  # type: ignore[import-untyped, import-not-found, unused-ignore]

        return pandas.DataFrame(self.history())

    def to_polars(self) -> Any:
        """The training rounds as a frame of polars, which must be installed."""
        import polars  # type: ignore[import-not-found, unused-ignore]

        return polars.DataFrame(self.history())

    def save(self, path: Any) -> None:
        """Writes the final state with its spec and history, as ``samebit run --output`` does."""
        self.state.save(path)


class Run:
    """A run that was submitted. Its events are kept, so they can be read several times."""

    def __init__(self, job: _samebit.Job) -> None:
        self._job = job
        self._events: list[Event] = []
        self._outcome: _samebit.Outcome | None = None
        self._error: BaseException | None = None
        self._result: Result | None = None
        # Several threads may read the events.
        self._lock = threading.Lock()

    @property
    def number(self) -> int:
        """The number of the run at its coordinator; 0 in this process, or before it is accepted."""
        return next((it.run for it in self._events if isinstance(it, Submitted)), 0)

    def _step(self, seconds: float = _WAIT) -> bool:
        """Waits for the next message; whether there was one, or the run has ended."""
        with self._lock:
            if self._has_ended:
                return True
            try:
                message = self._job.next(seconds)
            except errors.SamebitError as error:
                self._error = error
                return True
            if message is None:
                return False
            kind, text, outcome = message
            if kind == "event":
                self._events.append(event_of(text))
            elif kind == "note":
                self._events.append(Note(text=text))
            else:
                self._outcome = outcome
            return True

    @property
    def _has_ended(self) -> bool:
        return self._outcome is not None or self._error is not None

    def events(self) -> Iterator[Event]:
        """All events, from the first one, as they come. They end with the run."""
        at = 0
        while True:
            while at < len(self._events):
                yield self._events[at]
                at += 1
            if self._has_ended:
                return
            self._step()

    @property
    def status(self) -> str:
        """``queued``, ``running``, ``finished``, ``failed`` or ``cancelled``."""
        while not self._has_ended and self._step(0.0):
            pass
        if self._outcome is not None:
            return "finished"
        if self._error is not None:
            return "cancelled" if isinstance(self._error, errors.RunCancelled) else "failed"
        for event in reversed(self._events):
            if isinstance(event, Cancelled):
                return "cancelled"
            if isinstance(event, Failed):
                return "failed"
            if isinstance(event, (Started, Round, Evaluation)):
                return "running"
        return "queued"

    def cancel(self) -> None:
        """Cancels the run, and waits until it has ended."""
        self._job.cancel()
        end = time.monotonic() + _CANCEL
        while not self._has_ended and time.monotonic() < end:
            self._step()

    def result(self, progress: bool | None = None) -> Result:
        """Waits for the end of the run.

        ``progress`` shows a line on standard error; by default if that is a terminal. Ctrl-C cancels
        the run and raises ``KeyboardInterrupt``. Raises ``RunFailed``, ``RunCancelled``,
        ``ConnectionLost`` or ``InputError``.
        """
        if self._result is None:
            shown = sys.stderr.isatty() if progress is None else progress
            line = _Line() if shown else None
            try:
                for event in self.events():
                    if line is not None:
                        line.show(event)
            except KeyboardInterrupt:
                self.cancel()
                raise
            finally:
                if line is not None:
                    line.close()
            if self._error is not None:
                raise self._error
            self._result = self._finish()
        return self._result

    def _finish(self) -> Result:
        outcome = self._outcome
        assert outcome is not None
        rounds = [it for it in self._events if isinstance(it, Round)]
        evaluations = [it for it in self._events if isinstance(it, Evaluation)]
        last = next(it for it in reversed(self._events) if isinstance(it, Finished))
        source = evaluations[-1] if evaluations else rounds[-1] if rounds else None
        state = NetworkState._of(outcome.tensors(), outcome.origin())
        return Result(
            state=state,
            digest=last.digest,
            loss=source.loss if source else None,
            accuracy=source.accuracy if source else None,
            confusion=_confusion(evaluations),
            rounds=rounds,
            evaluations=evaluations,
            seconds=last.seconds,
            examples=last.examples,
            synchronisation_share=last.synchronisation_share,
            memory=dict(outcome.memory()),
            warnings=last.warnings,
            notes=[it.text for it in self._events if isinstance(it, Note)],
            run=last.run,
        )


def _confusion(evaluations: list[Evaluation]) -> np.ndarray[Any, Any] | None:
    if not evaluations:
        return None
    counts = evaluations[-1].results.get("counts", {}).get("confusion")
    if not counts:
        return None
    classes = int(round(len(counts) ** 0.5))
    return np.array(counts, dtype="uint64").reshape(classes, -1)


class _Line:
    """The line about a run that works."""

    def __init__(self) -> None:
        self._is_open = False

    def show(self, event: Event) -> None:
        if isinstance(event, Round):
            loss = "" if event.loss is None else f"  loss {event.loss:.4f}"
            share = "" if event.accuracy is None else f"  accuracy {event.accuracy:.2%}"
            text = f"round {event.round}/{event.rounds}{loss}{share}"
        elif isinstance(event, Evaluation) and event.accuracy is not None:
            text = f"{event.split} accuracy {event.accuracy:.2%}"
        else:
            return
        print(f"\r{text:<72}", end="", file=sys.stderr, flush=True)
        self._is_open = True

    def close(self) -> None:
        if self._is_open:
            print(file=sys.stderr)


def start(
    spec: dict[str, Any],
    source: Source | None,
    state: NetworkState | None,
    place: dict[str, Any],
    **more: Any,
) -> Run:
    """Starts a run of a spec's fields. ``more`` are the other fields of an order."""
    order = {
        "spec": _without_none(spec),
        "as_flags": False,
        "base": "",
        "place": place,
        "min_workers": None,
        "once": False,
        "any_split": False,
        "patience": 60,
        "follow": None,
        **more,
    }
    try:
        text = json.dumps(order, default=_plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise errors.InputError(f"the settings of the run: {error}") from None
    job = _samebit.Job(
        text,
        None if source is None else source.arrays,
        None if state is None else state._raw(),
        None if state is None else state._origin[1],
    )
    return Run(job)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(it) for key, it in value.items() if it is not None}
    return value


def _plain(value: Any) -> Any:
    """Numbers of numpy, and tuples, as JSON has them."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if hasattr(value, "items"):
        return dict(value)
    raise TypeError(f"expected numbers, texts and lists of them, found {type(value).__name__}")
