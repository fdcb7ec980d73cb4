"""Values as a script gives them to PyNN, and as a network has them; what is wrong with one is said."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyNN.parameters
import pyNN.random
import pyNN.standardmodels.cells
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import RULES
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Value
from pynn_portability.model.spatial import CONNECTORS

DISTRIBUTIONS = tuple(sorted(pyNN.random.available_distributions))

_SYNTAX = (
    {
        "RandomDistribution": "the name of a distribution and its parameters, as in "
        'RandomDistribution("normal", mu=0.0, sigma=1.0)'
    }
    | {name: rule.allowed for name, rule in RULES.items()}
    | dict(CONNECTORS)
)


def explained_class(pynn_class: Any) -> type:
    """A class of PyNN whose constructor says what is allowed where PyNN only asserts it."""
    name = pynn_class.__name__

    def constructor(self: Any, *args: Any, **kwargs: Any) -> None:
        # PyNN does not take NumPy's whole numbers for whole numbers
        args = tuple(a.item() if isinstance(a, np.generic) else a for a in args)
        kwargs = {k: v.item() if isinstance(v, np.generic) else v for k, v in kwargs.items()}
        try:
            pynn_class.__init__(self, *args, **kwargs)
        except Exception as error:
            given = [shown(a) for a in args] + [f"{k}={shown(v)}" for k, v in kwargs.items()]
            reason = f" ({error})" if str(error) else ""
            raise RequestError(
                f"{name}({', '.join(given)}){reason}: allowed is {_SYNTAX[name]}"
            ) from error

    return type(name, (pynn_class,), {"__init__": constructor, "__doc__": pynn_class.__doc__})


def shown(value: Any) -> str:
    """A value of a script as Python writes it, shortened."""
    try:
        text = repr(value)
    except Exception:  # a whole number of many thousand digits, or an object of the script's
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def unused_label(label: str, taken: Collection[str]) -> str:
    """The label itself, or with the first number that makes it another one than those ``taken``."""
    candidates = (label, *(f"{label} #{n}" for n in range(2, len(taken) + 3)))
    return next(candidate for candidate in candidates if candidate not in taken)


def given_value(value: Any, shape: tuple[int, ...], where: str) -> Value:
    """A parameter as PyNN accepts it: a number, one number per cell or pair, or a distribution."""
    if hasattr(value, "base_value"):
        if value.operations:
            raise UnsupportedError(f"{where} is a computed lazy array; pass its values as an array")
        value = value.base_value
    if isinstance(value, pyNN.random.RandomDistribution):
        if value.name not in DISTRIBUTIONS:
            raise UnsupportedError(
                f"{where}: RandomDistribution({value.name!r}) is not supported; supported are "
                f"{', '.join(DISTRIBUTIONS)}"
            )
        return Distribution(
            value.name, {k: given_number(v, f"{where}: {k}") for k, v in value.parameters.items()}
        )
    if callable(value) and len(shape) == 1:
        try:
            value = value(np.arange(shape[0]))
        except Exception as error:
            raise RequestError(
                f"{where} is a function that cannot be evaluated for all indices at once: {error}"
            ) from error
    try:
        array = np.asarray(value)
        # text and whole numbers beyond 64 bits have other kinds
        if array.dtype.kind not in "biuf":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UnsupportedError(
            f"{where} is {shown(value)}; supported are a number, an array and a RandomDistribution"
        ) from None
    if array.ndim == 0:
        return float(array)
    if array.shape != shape:
        raise RequestError(f"{where} has shape {array.shape}; allowed is a number or shape {shape}")
    return array


def given_number(value: Any, where: str) -> float:
    """A parameter of a distribution."""
    number = given_value(value, (), where)
    if not isinstance(number, float):
        raise UnsupportedError(f"{where} is {shown(value)}; supported is a number")
    return number


def given_spike_times(cells: Any, size: int, where: str) -> tuple[NDArray[np.float64], ...]:
    """Spike times (ms) of every cell, from one sequence for all or one each."""
    value = cells.parameter_space["spike_times"].base_value
    if isinstance(value, np.ndarray):
        if value.shape != (size,):
            raise RequestError(
                f"{where}: spike_times are given for {len(value)} cells, allowed is one sequence for all "
                f"or one for each of {size}"
            )
        sequences = list(value)
    elif callable(value) and not isinstance(value, pyNN.parameters.Sequence):
        sequences = list(value(np.arange(size)))
    else:
        sequences = [value] * size
    times = tuple(np.array(getattr(s, "value", s), dtype=np.float64).reshape(-1) for s in sequences)
    if len(times) != size:
        raise RequestError(f"{where}: spike_times are those of {len(times)} cells, not of {size}")
    return times


def receptor_of(receptor_type: str | None, weight: Value, label: str) -> Receptor:
    """The receptor that was named, otherwise PyNN's rule: negative weights are inhibitory."""
    if receptor_type in (None, "default"):
        return "inhibitory" if _bounds(weight)[1] <= 0 and _bounds(weight)[0] < 0 else "excitatory"
    if receptor_type not in ("excitatory", "inhibitory"):
        raise RequestError(
            f"receptor_type {receptor_type!r} of projection {label!r} is unknown; allowed are "
            "excitatory and inhibitory"
        )
    return "inhibitory" if receptor_type == "inhibitory" else "excitatory"


_NEVER_NEGATIVE = ("lognormal", "gamma", "exponential", "poisson", "binomial")
"""Distributions whose parameters say nothing of a sign."""


def _bounds(weight: Value) -> tuple[float, float]:
    """Smallest and largest weight as far as it is certain; a distribution's centre otherwise."""
    if isinstance(weight, Distribution):
        if weight.name in _NEVER_NEGATIVE:
            return (0.0, np.inf)
        p = weight.parameters
        centre = p.get("mu", (p.get("low", 0.0) + p.get("high", 0.0)) / 2)
        return (float(centre), float(centre))
    array = np.asarray(weight)
    return (
        (float(array.min(initial=np.inf)), float(array.max(initial=-np.inf)))
        if array.size
        else (0, 0)
    )
