"""The extension module. The other modules of this package are what people use."""

from os import PathLike
from typing import Any, Final, final

__all__ = [
    "Data",
    "Job",
    "Outcome",
    "__version__",
    "cancel",
    "digest",
    "load",
    "models",
    "save",
    "status",
]

__version__: Final[str]

_TensorIn = tuple[str, str, list[int], bytes, str | None]
_TensorOut = tuple[str, str, list[int], bytes, str]
_Split = tuple[str, str, list[int], bytes, str, str, Any, int]
_Origin = tuple[str | None, str | None, str | None]

@final
class Data:
    def __new__(cls, train: _Split, test: _Split | None = None) -> Data: ...

@final
class Outcome:
    def tensors(self) -> list[_TensorOut]: ...
    def origin(self) -> tuple[str, str | None, str]: ...
    def memory(self) -> list[tuple[str, int]]: ...

@final
class Job:
    def __new__(
        cls,
        order: str,
        data: Data | None = None,
        state: list[_TensorIn] | None = None,
        schema: str | None = None,
    ) -> Job: ...
    def next(self, seconds: float) -> tuple[str, str, Outcome | None] | None: ...
    def cancel(self) -> None: ...

def models() -> list[tuple[str, str]]: ...
def status(address: str, keys: str | PathLike[str] | None = None) -> str: ...
def cancel(address: str, run: int, keys: str | PathLike[str] | None = None) -> None: ...
def digest(tensors: list[_TensorIn]) -> str: ...
def save(path: str | PathLike[str], tensors: list[_TensorIn], origin: _Origin) -> None: ...
def load(path: str | PathLike[str]) -> tuple[list[_TensorOut], _Origin, list[str]]: ...
