"""Samebit trains networks on many ordinary machines and gives the same bits every time.

>>> import samebit
>>> result = samebit.run("digits", "softmax", epochs=5)
>>> result.digest
"""

from . import errors, events, models
from ._run import Result, Run
from ._samebit import __version__
from .client import Predictions, cancel, evaluate, follow, predict, run, status, submit
from .errors import ConnectionLost, ForkError, InputError, RunCancelled, RunFailed, SamebitError
from .models import Model
from .processor import ParallelBatchProcessor, Results
from .state import NetworkState

__all__ = [
    "ConnectionLost",
    "ForkError",
    "InputError",
    "Model",
    "NetworkState",
    "ParallelBatchProcessor",
    "Predictions",
    "Result",
    "Results",
    "Run",
    "RunCancelled",
    "RunFailed",
    "SamebitError",
    "__version__",
    "cancel",
    "errors",
    "evaluate",
    "events",
    "follow",
    "models",
    "predict",
    "run",
    "status",
    "submit",
]
