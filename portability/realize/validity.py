"""What of a network no simulator may run, and what the time grid changes in it, in words.

Every number that enters a network is finite and physical, drawn ones included: of a distribution whose
values may all be, nothing is drawn; otherwise the draws of all the study's seeds are looked at.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import listing
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
    Value,
)
from pynn_portability.realize.distributions import malformed, quantile
from pynn_portability.realize.realization import Realization
from pynn_portability.realize.streams import LARGEST_UNIFORM, SMALLEST_UNIFORM

FloatArray = NDArray[np.float64]

MAX_DELAY_STEPS = 1_000_000
"""Longest delay: simulators keep the input of so many steps for every neuron."""

LARGEST, SMALLEST = 1e12, 1e-9
"""Magnitudes that no quantity of a network has in PyNN's units; beyond, simulators compute infinities."""

NAMED = 3
"""Most objects that a sentence names."""

ON_GRID = 1e-6
"""Times are on the grid when they are as near to a step as this, in steps."""


@dataclass(frozen=True)
class Allowed:
    """Which numbers are allowed, and how a sentence says so; none may be beyond `LARGEST`."""

    words: str
    holds: Callable[[FloatArray], NDArray[np.bool_]]

    def __call__(self, values: FloatArray) -> NDArray[np.bool_]:
        return (np.abs(values) <= LARGEST) & self.holds(values)


FINITE = Allowed(f"finite numbers up to {LARGEST:g}", lambda x: np.full(np.shape(x), True))
POSITIVE = Allowed(f"positive numbers from {SMALLEST:g} to {LARGEST:g}", lambda x: x >= SMALLEST)
NOT_NEGATIVE = Allowed(f"zero and positive numbers up to {LARGEST:g}", lambda x: x >= 0)
NOT_POSITIVE = Allowed(f"zero and negative numbers down to -{LARGEST:g}", lambda x: x <= 0)


def violations(network: Network, seeds: Sequence[int], timestep: float) -> list[str]:
    """Why a network cannot be run with these seeds on a grid of ``timestep`` ms, a sentence each."""
    found = list(_labels(network))
    if found:
        return found
    realizations = [Realization(network, seed, timestep) for seed in seeds]
    for population in network.populations:
        found += _of_population(population, realizations)
    for projection in network.projections:
        found += _of_projection(projection, network, realizations)
    for drive in network.drives:
        found += _of_drive(drive, network, realizations)
    return found


def _labels(network: Network) -> Iterator[str]:
    kinds = {
        "population": [p.label for p in network.populations],
        "projection": [p.label for p in network.projections],
        "drive": [d.label for d in network.drives],
    }
    for kind, labels in kinds.items():
        for label in labels:
            reason = None
            if not label:
                reason = "is empty"
            elif "\0" in label:
                reason = "holds a NUL character"
            elif any(unicodedata.category(c) == "Cs" for c in label):
                reason = "holds half of a surrogate pair, which no file can hold"
            if reason:
                yield f"the label {label!r} of a {kind} {reason}; allowed is any other text"


def _of_population(population: Population, realizations: list[Realization]) -> Iterator[str]:
    label, cell = population.label, population.cell
    where = f"population {label!r}"
    clean = True
    for name, value in population.parameters.items():
        allowed = FINITE
        if name in cell.positive:
            allowed = POSITIVE
        elif name in cell.not_negative:
            allowed = NOT_NEGATIVE
        for sentence in _unphysical(
            f"{where}: {name}",
            value,
            allowed,
            realizations,
            partial(Realization.parameter, population=label, name=name),
        ):
            clean = False
            yield sentence
    for name, value in population.initial_values.items():
        yield from _unphysical(
            f"{where}: initial {name}",
            value,
            FINITE,
            realizations,
            partial(Realization.initial_value, population=label, name=name),
        )
    if clean:
        for lower, upper in cell.ascending:
            yield from _not_ascending(population, lower, upper, realizations)
    for index, times in enumerate(population.spike_times):
        bad = times[~(np.isfinite(times) & (times >= 0))]
        if bad.size:
            yield (
                f"{where}: spike_times of cell {index} hold {bad[0]:g} ms; allowed are finite times from "
                "0 on"
            )
            return


def _not_ascending(
    population: Population, lower: str, upper: str, realizations: list[Realization]
) -> Iterator[str]:
    """What makes the parameter ``lower`` of a cell no smaller than ``upper``, one sentence at most."""
    values = [population.parameters[name] for name in (lower, upper)]
    drawn = any(isinstance(value, Distribution) for value in values)
    for realization in realizations if drawn else realizations[:1]:
        low, high = (realization.parameter(population.label, name) for name in (lower, upper))
        wrong = np.flatnonzero(low >= high)
        if wrong.size:
            cell = wrong[0]
            seed = f" with seed {realization.seed}" if drawn else ""
            yield (
                f"population {population.label!r}: {lower} of cell {cell} is {low[cell]:g} and {upper} "
                f"{high[cell]:g}{seed}; {lower} must be below {upper}"
            )
            return


def _of_projection(
    projection: Projection, network: Network, realizations: list[Realization]
) -> Iterator[str]:
    where = f"projection {projection.label!r}"

    def draws(name: Literal["weight", "delay"]) -> Callable[[Realization], FloatArray]:
        def extremes(realization: Realization) -> FloatArray:
            if not realization.synapse_count(projection.label):
                return np.empty(0)
            return realization.extremes(projection.label, name)

        return extremes

    yield from _unphysical(
        f"{where}: weight",
        projection.weight,
        _sign(projection, network),
        realizations,
        draws("weight"),
    )
    yield from _unphysical(
        f"{where}: delay",
        projection.delay,
        _delays(realizations[0].timestep),
        realizations,
        draws("delay"),
    )


def _of_drive(
    drive: PoissonDrive, network: Network, realizations: list[Realization]
) -> Iterator[str]:
    label = drive.label
    where = f"Poisson drive {label!r}"
    ranges = {
        "rate": NOT_NEGATIVE,
        "weight": _sign(drive, network),
        "delay": _delays(realizations[0].timestep),
    }
    for name, allowed in ranges.items():
        yield from _unphysical(
            f"{where}: {name}",
            getattr(drive, name),
            allowed,
            realizations,
            partial(Realization.drive_value, label=label, name=name),
        )
    for name in ("start", "duration"):
        value = getattr(drive, name)
        if np.isnan(value) or value < 0 or (name == "start" and np.isinf(value)):
            yield f"{where}: {name} is {value:g}; allowed are {NOT_NEGATIVE.words}"


def _sign(item: Projection | PoissonDrive, network: Network) -> Allowed:
    """PyNN's sign convention for weights."""
    cell = network.population(item.target).cell
    kind = NOT_POSITIVE if cell.sign(item.receptor) < 0 else NOT_NEGATIVE
    reason = f"for {item.receptor} weights ({cell.weight_unit}) onto {cell.name}"
    return Allowed(f"{kind.words} {reason}", kind.holds)


def _delays(timestep: float) -> Allowed:
    longest = MAX_DELAY_STEPS * timestep
    return Allowed(
        f"delays from 0 to {longest:g} ms, that is {MAX_DELAY_STEPS} steps",
        lambda x: (x >= 0) & (x <= longest),
    )


def _unphysical(
    what: str,
    value: Value,
    allowed: Allowed,
    realizations: list[Realization],
    draws: Callable[[Realization], FloatArray],
) -> Iterator[str]:
    """What is not allowed of a value, one sentence at most; ``draws`` has its extremes, if it is drawn."""
    if not isinstance(value, Distribution):
        array = np.asarray(value, dtype=np.float64)
        wrong = np.argwhere(~allowed(array))
        if len(wrong):
            index = tuple(int(i) for i in wrong[0])
            which = " of entry " + ", ".join(map(str, index)) if index else ""
            yield f"{what}{which} is {array[index]:g}; allowed are {allowed.words}"
        return
    shown = f"{value.name}({', '.join(f'{k}={v:g}' for k, v in value.parameters.items())})"
    if reason := malformed(value):
        yield f"{what} is drawn from {shown}, which {reason}"
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if allowed(quantile(value, np.array([SMALLEST_UNIFORM, LARGEST_UNIFORM]))).all():
            return
        for realization in realizations:
            drawn = draws(realization)
            refused = drawn[~allowed(drawn)]
            if refused.size:
                yield (
                    f"{what} is drawn from {shown} and is {refused[0]:g} with seed {realization.seed}; "
                    f"allowed are {allowed.words}" + _advice(value)
                )
                return


def _advice(distribution: Distribution) -> str:
    return ", as from normal_clipped with bounds" if distribution.name == "normal" else ""


# --- The time grid ---


def adjustments(network: Network, timestep: float, n_steps: int) -> list[str]:
    """What a run of ``n_steps`` steps of ``timestep`` ms moves, rounds or leaves out, a sentence each.

    Of numbers that the model gives. Drawn ones become whole steps, too, which needs no saying, but for
    those that would be none.
    """
    step = f"{timestep:g} ms"
    moved: dict[str, list[str]] = {}

    def say(sentence: str, label: str) -> None:
        moved.setdefault(sentence, []).append(label)

    items: list[Projection | PoissonDrive] = [*network.projections, *network.drives]
    for item in items:
        shortest = _smallest(item.delay)
        if shortest is not None and shortest < timestep / 2:
            say(f"delays shorter than half a time step become one, {step}", item.label)
        elif not isinstance(item.delay, Distribution) and _off_grid(item.delay, timestep):
            say(f"delays are rounded to steps of {step}", item.label)
    for population in network.populations:
        for name in population.cell.on_grid:
            value = population.parameters[name]
            if not isinstance(value, Distribution) and _off_grid(value, timestep):
                say(f"{name} is rounded to steps of {step}, at least one", population.label)
        for sentence in _moved_spikes(population, timestep, n_steps):
            say(sentence, population.label)
    return [
        f"{sentence}: {listing([repr(label) for label in labels], NAMED)}"
        for sentence, labels in moved.items()
    ]


def _smallest(value: Value) -> float | None:
    """The smallest that a value can be; None for no values."""
    if isinstance(value, Distribution):
        return float(quantile(value, np.array([SMALLEST_UNIFORM]))[0])
    array = np.asarray(value, dtype=np.float64)
    return float(array.min()) if array.size else None


def _off_grid(value: Value, timestep: float) -> bool:
    steps = np.asarray(value, dtype=np.float64) / timestep
    return bool((np.abs(steps - np.rint(steps)) > ON_GRID).any())


def _moved_spikes(population: Population, timestep: float, n_steps: int) -> Iterator[str]:
    if not population.spike_times:
        return
    steps = np.concatenate(population.spike_times) / timestep
    late = steps >= n_steps + 0.5
    if late.any():
        yield f"spike times after the end of the run, {n_steps * timestep:g} ms, are left out"
    early = steps < 0.5
    if early.any():
        yield f"spike times before the end of the first time step are moved there, {timestep:g} ms"
    rest = steps[~late & ~early]
    if (np.abs(rest - np.rint(rest)) > ON_GRID).any():
        yield f"spike times are rounded to steps of {timestep:g} ms"
