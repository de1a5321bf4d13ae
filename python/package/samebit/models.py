"""The models of this package, with the names that users of BindsNET know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from . import _samebit
from .errors import InputError

__all__ = ["DiehlAndCook2015", "Model", "names"]


def names() -> dict[str, str]:
    """The models by name, with a line about each."""
    return dict(_samebit.models())


@dataclass(frozen=True)
class Model:
    """A model and its parameters, for ``model=``."""

    #: Its name.
    name: str
    #: Its parameters.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: The shape of one example; arrays are checked to have it.
    shape: tuple[int, ...] | None = None


def check_shape(model: str | Model | None, features: int | None) -> None:
    """Raises ``InputError`` if a model says how many features it has, and the examples have others."""
    if not isinstance(model, Model) or model.shape is None or features is None:
        return
    expected = int(np.prod(model.shape))
    if expected != features:
        raise InputError(
            f"expected examples of {expected} features, as the model has, found {features}"
        )


def DiehlAndCook2015(
    n_inpt: int,
    n_neurons: int = 100,
    exc: float = 22.5,
    inh: float = 17.5,
    dt: float = 1.0,
    norm: float = 78.4,
    theta_plus: float = 0.05,
    inpt_shape: Sequence[int] | None = None,
    **parameters: Any,
) -> Model:
    """The network of Diehl and Cook, ``spiking`` here, by the arguments that BindsNET has for it.

    ==============  =====================================================================
    argument        here
    ==============  =====================================================================
    ``n_inpt``      the number of features; arrays are checked to have it
    ``n_neurons``   ``neurons``
    ``exc``         has no effect: excitatory and inhibitory neurons are one layer here
    ``inh``         ``inhibition``
    ``dt``          ``dt_ms``
    ``norm``        ``weight_sum``
    ``theta_plus``  ``theta_plus_mv``
    ``inpt_shape``  the shape of an example; checked to have ``n_inpt`` numbers
    ==============  =====================================================================

    Further arguments are parameters of ``spiking``, such as ``presentation_ms=350``.
    """
    shape = tuple(inpt_shape) if inpt_shape is not None else None
    if shape is not None and int(np.prod(shape)) != n_inpt:
        raise InputError(f"inpt_shape: expected {n_inpt} numbers, found shape {list(shape)}")
    given = {
        "neurons": _number("n_neurons", n_neurons, int),
        "inhibition": _number("inh", inh, float),
        "dt_ms": _number("dt", dt, float),
        "weight_sum": _number("norm", norm, float),
        "theta_plus_mv": _number("theta_plus", theta_plus, float),
    }
    return Model("spiking", {**given, **parameters}, (_number("n_inpt", n_inpt, int),))


_Number = TypeVar("_Number", int, float)


def _number(name: str, value: Any, kind: type[_Number]) -> _Number:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"{name}: expected {what}, found {type(value).__name__}") from None


@dataclass(frozen=True)
class Inferred:
    """What a state says about its model."""

    name: str
    parameters: dict[str, Any]
    #: The number of classes, if the shapes of tensors say it.
    classes: int | None


def infer(name: str | None, state: Mapping[str, Any]) -> Inferred:
    """The model of a state: the named one, or the one that has tensors of these names."""
    if name is not None and not isinstance(name, str):
        raise InputError(f"model: expected a name or a Model, found {type(name).__name__}")
    shapes = {tensor: np.shape(array) for tensor, array in state.items()}
    layers = sorted(
        (it for it in shapes if it.startswith("layer") and it.endswith(".weights")),
        key=lambda it: (len(it), it),
    )
    if name is None:
        if {"weights", "theta"} <= shapes.keys():
            name = "spiking"
        elif {"weights", "bias"} <= shapes.keys() <= {"weights", "bias", "examples"}:
            name = "softmax"
        elif layers:
            name = "mlp"
        else:
            models = ", ".join(names())
            found = ", ".join(shapes) or "no tensors"
            raise InputError(
                f"the tensors of the state do not tell its model ({found}): name it with "
                f"model=, one of {models}"
            )
    parameters: dict[str, Any] = {}
    classes = None
    if name == "spiking" and "theta" in shapes and shapes["theta"]:
        parameters["neurons"] = int(shapes["theta"][-1])
    elif name == "softmax" and len(shapes.get("weights", ())) == 2:
        classes = int(shapes["weights"][1])
    elif name == "mlp" and layers and all(len(shapes[it]) == 2 for it in layers):
        widths = [int(shapes[it][1]) for it in layers]
        parameters["hidden"] = widths[:-1]
        classes = widths[-1]
    return Inferred(name, parameters, classes)
