"""Where a run is computed. It never reaches the bits of a result."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from .errors import InputError

__all__: list[str] = []


def place_of(workers: str | None, keys: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """The place as an order names it.

    ``None`` is the coordinator of ``SAMEBIT_COORDINATOR`` if that is set, or this process;
    ``"here"`` is this process; ``"local:4"`` starts four workers on this host; anything else is the
    ``HOST:PORT`` of a coordinator.
    """
    if workers is None:
        workers = os.environ.get("SAMEBIT_COORDINATOR") or "here"
    if not isinstance(workers, str):
        raise InputError(f'expected workers=None, "here", "local:N" or "HOST:PORT", found {workers!r}')
    if workers == "here":
        return {"here": {}}
    host, _, number = workers.rpartition(":")
    if not host or not number.isdecimal():
        raise InputError(f'expected workers="here", "local:N" or "HOST:PORT", found {workers!r}')
    if host == "local":
        if not 1 <= int(number) <= 256:
            raise InputError(f'expected workers="local:N" of 1 to 256 workers, found {workers!r}')
        return {"local": {"workers": int(number), "program": str(program())}}
    given = os.environ.get("SAMEBIT_KEYS") if keys is None else os.fspath(keys)
    return {"at": {"address": workers, "keys": given or None}}


def address_of(workers: str | None, keys: str | os.PathLike[str] | None) -> tuple[str, str | None]:
    """The address of a coordinator, and the keys file."""
    found = place_of(workers, keys).get("at")
    if found is None:
        raise InputError(
            'expected the coordinator\'s address: workers="HOST:PORT", or SAMEBIT_COORDINATOR in the '
            "environment"
        )
    return found["address"], found["keys"]


def program() -> Path:
    """The program ``samebit`` of this package."""
    name = os.environ.get("SAMEBIT_PROGRAM")
    if name:
        return Path(name)
    beside = Path(sysconfig.get_path("scripts")) / "samebit"
    if beside.is_file():
        return beside
    user = Path(sysconfig.get_path("scripts", f"{os.name}_user")) / "samebit"
    if user.is_file():
        return user
    found = shutil.which("samebit")
    if found is None:
        raise InputError(
            "the program `samebit` is not beside this Python: install the package again, or set "
            "SAMEBIT_PROGRAM to its path"
        )
    return Path(found)
