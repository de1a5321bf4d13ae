"""``NetworkState``: a network's transferable state, as arrays of numpy by name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from . import _samebit
from .errors import InputError

__all__ = ["NetworkState"]

_KEPT = {"float32", "float64", "uint64", "int64"}


def to_numpy(name: str, value: Any) -> np.ndarray[Any, Any]:
    """An array of numpy from what people have: arrays, tensors of torch, columns of pandas, lists."""
    if hasattr(value, "detach"):
        value = value.detach()
        if hasattr(value, "cpu"):
            value = value.cpu()
        if str(getattr(value, "dtype", "")) == "torch.bfloat16":
            value = value.float()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name}: expected an array, found {type(value).__name__}: {error}") from None
    if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
        raise InputError(f"{name}: expected no masked values: fill them with .filled(value)")
    return array


def _tensor(name: str, value: Any) -> np.ndarray[Any, Any]:
    array = to_numpy(f"tensor `{name}`", value)
    kind = array.dtype.kind
    if kind not in "fiub":
        raise InputError(
            f"tensor `{name}`: expected numbers, found {array.dtype}: convert it with "
            '.astype("float32")'
        )
    if array.dtype.name in _KEPT and array.dtype.isnative:
        wanted = array.dtype.name
    elif kind == "f":
        wanted = "float64" if array.dtype.itemsize >= 8 else "float32"
    else:
        wanted = "int64" if kind == "i" else "uint64"
    return np.array(array, dtype=wanted, order="C", ndmin=1)


class NetworkState(Mapping[str, "np.ndarray[Any, Any]"]):
    """Named tensors: ``NetworkState(weights=w, theta=t)``.

    Arrays are copied. Each tensor is an attribute and an item: ``state.theta``, ``state["theta"]``;
    names with dots are items only. The arrays can be changed in place. Tensors have the types float32,
    float64, uint64 or int64; float16 becomes float32, and smaller whole numbers become the 64-bit ones.
    A run converts them to the types of its model.
    """

    _tensors: dict[str, np.ndarray[Any, Any]]
    _rules: dict[str, str]
    _origin: tuple[str | None, str | None, str | None]

    def __init__(self, *states: Mapping[str, Any], **tensors: Any) -> None:
        """A state of these tensors, by name, or of dictionaries such as torch's ``state_dict()``.

        Raises ``InputError`` for a value that is no array of finite numbers.
        """
        given: dict[str, Any] = {}
        for state in states:
            if not isinstance(state, Mapping):
                raise InputError(
                    f"expected a dictionary of arrays, found {type(state).__name__}: write "
                    "NetworkState(weights=array)"
                )
            given.update(state)
        given.update(tensors)
        copied = {}
        for name, value in given.items():
            if not isinstance(name, str):
                raise InputError(f"expected names of tensors that are texts, found {name!r}")
            copied[name] = _tensor(name, value)
        self._set(copied, {}, (None, None, None))

    def _set(
        self,
        tensors: dict[str, np.ndarray[Any, Any]],
        rules: dict[str, str],
        origin: tuple[str | None, str | None, str | None],
    ) -> None:
        object.__setattr__(self, "_tensors", tensors)
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "_origin", origin)

    @classmethod
    def _of(
        cls,
        tensors: Iterable[tuple[str, str, list[int], bytes, str]],
        origin: tuple[str | None, str | None, str | None],
    ) -> NetworkState:
        arrays, rules = {}, {}
        for name, dtype, shape, content, rule in tensors:
            arrays[name] = np.frombuffer(content, dtype=dtype).reshape(shape).copy()
            rules[name] = rule
        state = cls.__new__(cls)
        state._set(arrays, rules, origin)
        return state

    def _raw(self) -> list[tuple[str, str, list[int], bytes, str | None]]:
        raw = []
        for name, array in self._tensors.items():
            array = _tensor(name, array)
            rule = self._rules.get(name)
            raw.append((name, array.dtype.name, list(array.shape), array.tobytes(), rule))
        return raw

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        try:
            return self._tensors[name]
        except KeyError:
            raise KeyError(f"{name!r}: the state has {', '.join(self._tensors)}") from None

    def __setitem__(self, name: str, value: Any) -> None:
        self._tensors[name] = _tensor(name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __getattr__(self, name: str) -> np.ndarray[Any, Any]:
        tensors = self.__dict__.get("_tensors", {})
        if name in tensors:
            found: np.ndarray[Any, Any] = tensors[name]
            return found
        raise AttributeError(f"the state has no tensor {name!r}: it has {', '.join(tensors)}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NetworkState):
            return NotImplemented
        return self.keys() == other.keys() and all(
            self[name].dtype == other[name].dtype and np.array_equal(self[name], other[name])
            for name in self
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._tensors, self._rules, self._origin)

    def __repr__(self) -> str:
        tensors = (f"{name}: {it.dtype}{list(it.shape)}" for name, it in self._tensors.items())
        return f"NetworkState({', '.join(tensors)})"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for name in self._tensors if name.isidentifier())]

    def digest(self) -> str:
        """The SHA-256 of names, shapes, types, merge rules and every bit of the values, as hex.

        It is the digest that the command line prints if the state came from a run or its file.
        """
        return _samebit.digest(self._raw())

    def copy(self) -> NetworkState:
        """The same state with its own arrays."""
        return _restored({k: v.copy() for k, v in self.items()}, dict(self._rules), self._origin)

    def numpy(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of all arrays by name."""
        return {name: array.copy() for name, array in self.items()}

    def torch(self) -> dict[str, Any]:
        """The tensors for torch, by name. uint64 becomes int64, which torch can compute with."""
        import torch  # type: ignore[import-not-found, unused-ignore]

        return {
            name: torch.from_numpy(array.astype("int64") if array.dtype == "uint64" else array.copy())
            for name, array in self.items()
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a safetensors file, which the command line, numpy and torch can read."""
        _samebit.save(path, self._raw(), self._origin)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NetworkState:
        """Reads a safetensors file of any program. A digest in it is checked."""
        tensors, origin, _ = _samebit.load(path)
        return cls._of(tensors, origin)


def _restored(
    tensors: dict[str, np.ndarray[Any, Any]],
    rules: dict[str, str],
    origin: tuple[str | None, str | None, str | None],
) -> NetworkState:
    state = NetworkState.__new__(NetworkState)
    state._set(tensors, rules, origin)
    return state
