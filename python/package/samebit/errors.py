"""The exceptions of this package. Their texts are the sentences of the command line."""

__all__ = ["ConnectionLost", "ForkError", "InputError", "RunCancelled", "RunFailed", "SamebitError"]


class SamebitError(Exception):
    """Any error of this package."""


class InputError(SamebitError, ValueError):
    """Something that was given is wrong. The text says what was expected and what was found."""


class RunFailed(SamebitError, RuntimeError):
    """The run failed, or the coordinator refused it."""


class RunCancelled(SamebitError):
    """The run was cancelled."""


class ConnectionLost(SamebitError, ConnectionError):
    """No coordinator answers, or the connection to it was lost."""


class ForkError(SamebitError, RuntimeError):
    """This process was forked from one whose threads it would need."""
