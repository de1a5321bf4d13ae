"""The events of a run. Their fields are those of ``samebit run --json``."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Cancelled",
    "Checkpoint",
    "CheckpointFailed",
    "Evaluation",
    "Event",
    "Failed",
    "Finished",
    "Labelled",
    "Note",
    "Other",
    "Predicted",
    "Queued",
    "Resumed",
    "Round",
    "Started",
    "Submitted",
    "Worker",
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Any event."""

    #: The number of the run; 0 in this process.
    run: int = 0


@dataclass(frozen=True, kw_only=True)
class Note(Event):
    """A sentence for people: what the data was taken for, or what may be wrong with it."""

    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Submitted(Event):
    """The coordinator has accepted the run."""


@dataclass(frozen=True, kw_only=True)
class Queued(Event):
    """The run waits for others, or for workers."""

    ahead: int = 0
    workers: int = 0
    min_workers: int = 0


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The run has begun."""

    model: str = ""
    rounds: int = 0
    state_bytes: int = 0
    workers: int = 0


@dataclass(frozen=True, kw_only=True)
class Round(Event):
    """A training round is merged. Times are in milliseconds."""

    round: int = 0
    rounds: int = 0
    epoch: int = 0
    examples: int = 0
    loss: float | None = None
    accuracy: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    partial_bytes: int = 0
    compute_ms: float = 0.0
    synchronisation_ms: float = 0.0
    examples_per_second: float = 0.0
    workers: int = 0


@dataclass(frozen=True, kw_only=True)
class Labelled(Event):
    """The units of a model that learns without labels have their classes."""

    epochs: int = 0
    examples: int = 0


@dataclass(frozen=True, kw_only=True)
class Predicted(Event):
    """A part of a prediction is done."""

    examples: int = 0
    of: int = 0


@dataclass(frozen=True, kw_only=True)
class Evaluation(Event):
    """An evaluation is done. ``results`` has sums and counts over examples."""

    epochs: int = 0
    split: str = ""
    results: dict[str, Any] = field(default_factory=dict)
    loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Worker(Event):
    """A worker joined, left, was lost, or its work went to another one."""

    worker: str = ""
    what: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """The run continues after its coordinator was restarted."""

    round: int = 0
    rounds: int = 0
    passed_over: str | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Event):
    """The state after a round is on disk."""

    round: int = 0
    digest: str = ""
    bytes: int = 0
    ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CheckpointFailed(Event):
    """A checkpoint could not be written."""

    round: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The run has succeeded."""

    digest: str = ""
    rounds: int = 0
    examples: int = 0
    seconds: float = 0.0
    loss: float | None = None
    accuracy: float | None = None
    synchronisation_share: float = 0.0
    warnings: dict[str, int] = field(default_factory=dict)
    offered: int = 0
    audited: int = 0
    unaudited: int = 0
    unsaved: str | None = None


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """The run has failed."""

    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Cancelled(Event):
    """The run was cancelled."""


@dataclass(frozen=True, kw_only=True)
class Other(Event):
    """An event that this version does not know."""

    name: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


_CLASSES: dict[str, type[Event]] = {
    "submitted": Submitted,
    "queued": Queued,
    "started": Started,
    "round": Round,
    "labelled": Labelled,
    "predicted": Predicted,
    "evaluation": Evaluation,
    "worker": Worker,
    "resumed": Resumed,
    "checkpoint": Checkpoint,
    "checkpoint_failed": CheckpointFailed,
    "finished": Finished,
    "failed": Failed,
    "cancelled": Cancelled,
}


def event_of(text: str) -> Event:
    """The event that a coordinator has sent as JSON."""
    ((name, fields),) = json.loads(text).items()
    kind = _CLASSES.get(name)
    if kind is None:
        return Other(run=fields.get("run", 0), name=name, fields=fields)
    known = {it.name for it in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in fields.items() if key in known})
