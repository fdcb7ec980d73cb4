"""Changes of a network before it is realized: faults of the model, planted on purpose.

Each fault has a ladder of sizes, from hardly anything to gross, in the unit that its description names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    Population,
    Projection,
    Value,
)


@dataclass(frozen=True)
class ModelFault:
    """A fault of the model: ``apply(network, size)`` gives the faulty network.

    ``timestep`` (ms) is that of the faulty simulation, None for the study's. ``options`` are those
    of the emulator that differ.
    """

    description: str
    sizes: tuple[float, ...]
    apply: Callable[[Network, float], Network]
    timestep: float | None = None
    options: Mapping[str, int] = field(default_factory=dict)


def scaled_value(value: Value, factor: float) -> Value:
    """A quantity times ``factor``, distributions with their spread.

    RequestError for a distribution that is none of its kind when it is multiplied.
    """
    if factor == 1:
        return value
    if not isinstance(value, Distribution):
        return value * factor
    p = dict(value.parameters)
    names = {
        "normal": ("mu", "sigma"),
        "normal_clipped": ("mu", "sigma", "low", "high"),
        "normal_clipped_to_boundary": ("mu", "sigma", "low", "high"),
        "uniform": ("low", "high"),
        "gamma": ("theta",),
        "exponential": ("beta",),
    }
    if value.name == "lognormal":
        p["mu"] += float(np.log(factor))
    elif value.name in names:
        for name in names[value.name]:
            p[name] *= factor
    else:
        raise RequestError(
            f"numbers drawn from {value.name!r} cannot be scaled; allowed are lognormal, {', '.join(names)}"
        )
    return Distribution(value.name, p)


def _spread(value: Value, factor: float) -> Value:
    """A quantity with ``factor`` times the standard deviation, the same mean for normal ones."""
    if isinstance(value, Distribution) and "sigma" in value.parameters:
        p = dict(value.parameters)
        p["sigma"] *= factor
        return Distribution(value.name, p)
    if isinstance(value, np.ndarray):
        return value.mean() + factor * (value - value.mean())
    return value


def _each_projection(network: Network, change: Callable[[Projection], Projection]) -> Network:
    return replace(network, projections=tuple(change(p) for p in network.projections))


def _each_neuron(network: Network, change: Callable[[Population], Mapping[str, Value]]) -> Network:
    populations = tuple(
        p if p.is_source else replace(p, parameters={**p.parameters, **change(p)})
        for p in network.populations
    )
    return replace(network, populations=populations)


def _plus(value: Value, amount: float) -> Value:
    if isinstance(value, Distribution):
        return value
    return value + amount


def _weights_scaled(network: Network, size: float) -> Network:
    return _each_projection(network, lambda p: replace(p, weight=scaled_value(p.weight, 1 + size)))


def _weights_spread(network: Network, size: float) -> Network:
    return _each_projection(network, lambda p: replace(p, weight=_spread(p.weight, size)))


def _synapses_slower(network: Network, size: float) -> Network:
    return _each_neuron(
        network,
        lambda p: {
            n: scaled_value(p.parameters[n], 1 + size)
            for n in p.cell.synaptic_time_constants.values()
        },
    )


def _threshold_higher(network: Network, size: float) -> Network:
    return _each_neuron(network, lambda p: {"v_thresh": _plus(p.parameters["v_thresh"], size)})


def _refractory_longer(network: Network, size: float) -> Network:
    return _each_neuron(network, lambda p: {"tau_refrac": _plus(p.parameters["tau_refrac"], size)})


def _delays_swapped(network: Network, size: float) -> Network:
    """Excitatory projections get the delays of inhibitory ones onto the same target, and vice versa."""
    first: dict[tuple[str, str], Value] = {}
    for p in network.projections:
        first.setdefault((p.target, p.receptor), p.delay)

    def swapped(p: Projection) -> Projection:
        other = "inhibitory" if p.receptor == "excitatory" else "excitatory"
        delay = first.get((p.target, other), p.delay)
        return p if isinstance(delay, np.ndarray) else replace(p, delay=delay)

    return _each_projection(network, swapped)


def _projection_missing(network: Network, size: float) -> Network:
    """Without the projection at this place, from 0 to 1, in their order by number of synapses."""

    def synapses(p: Projection) -> float:
        return p.connector.expected_count(network.ends(p))

    ordered = sorted(network.projections, key=synapses)
    missing = ordered[round(size * (len(ordered) - 1))].label if ordered else None
    return replace(network, projections=tuple(p for p in network.projections if p.label != missing))


def _other_connectivity(network: Network, size: float) -> Network:
    """Fixed in-degrees become a fixed total number of synapses, and vice versa."""

    def other(p: Projection) -> Projection:
        return replace(p, connector=p.connector.with_other_indegrees(network.ends(p)))

    return _each_projection(network, other)


def _drive_stronger(network: Network, size: float) -> Network:
    return replace(
        network,
        drives=tuple(replace(d, rate=scaled_value(d.rate, 1 + size)) for d in network.drives),
    )


def _unchanged(network: Network, size: float) -> Network:
    return network


RELATIVE = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)

MODEL_FAULTS: Mapping[str, ModelFault] = {
    "weights stronger": ModelFault("all weights grow by this part", RELATIVE, _weights_scaled),
    "weights spread": ModelFault(
        "the standard deviation of weights is multiplied by this", (1.5, 2.0, 3.0), _weights_spread
    ),
    "synapses slower": ModelFault(
        "synaptic time constants grow by this part", RELATIVE, _synapses_slower
    ),
    "threshold higher": ModelFault(
        "the threshold is higher by this many mV", (0.05, 0.1, 0.2, 0.5, 1.0), _threshold_higher
    ),
    "refractory time longer": ModelFault(
        "the refractory time is longer by this many ms", (0.1, 0.5, 1.0, 2.0), _refractory_longer
    ),
    "drive stronger": ModelFault(
        "the rates of Poisson drives grow by this part", RELATIVE, _drive_stronger
    ),
    "drive saturated": ModelFault(
        "Poisson drives give a neuron at most one spike in a step",
        (1.0,),
        _unchanged,
        options={"drive_limit": 1},
    ),
    "delays swapped": ModelFault(
        "excitatory and inhibitory delays are exchanged", (1.0,), _delays_swapped
    ),
    "projection missing": ModelFault(
        "the projection at this place, from the smallest to the largest, is missing",
        (0.25, 0.5, 0.75, 1.0),
        _projection_missing,
    ),
    "wrong connectivity rule": ModelFault(
        "fixed in-degrees instead of a fixed total number of synapses, or vice versa",
        (1.0,),
        _other_connectivity,
    ),
    "1 ms steps": ModelFault("the time step is 1 ms", (1.0,), _unchanged, timestep=1.0),
}


def plant(network: Network, name: str, size: float) -> Network:
    """The network with the fault of the model that is called ``name``."""
    return MODEL_FAULTS[name].apply(network, size)
