"""One realization of a network: synapses, delays, parameters and initial values as arrays.

Every draw is a pure function of (seed, name of the object, what is drawn, index), see
`pynn_portability.realize.streams`. Arrays are therefore the same for every chunk size, thread, order of
evaluation and backend, and different objects and seeds draw from independent streams. Random quantities
are quantiles of one uniform number each, so a truncated distribution needs no redraws.

Time becomes integer steps here, once, before any simulator sees it: the nearest step, halves up, at
least one (so a delay of 0.15 ms is two steps of 0.1 ms, as in NEST). A machine may have another rule
for delays. A refractory time of exactly 0 stays 0. What this changes, `pynn_portability.realize.validity`
puts into words.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pynn_portability.model.connectivity import Wiring
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, Value
from pynn_portability.realize.distributions import quantile
from pynn_portability.realize.draws import ProjectionDraws
from pynn_portability.realize.streams import Levels, Stream, fill_levels

FloatArray = NDArray[np.float64]
CHUNK_SIZE = 2**17
MAX_STEPS = 2**31 - 1  # steps are 32-bit integers inside simulators


@dataclass(frozen=True)
class Synapses:
    """Synapses of one projection, or a chunk of them; every array has shape ``(n,)``.

    ``source`` and ``target`` are int32 indices within their populations, ``weight`` is float64 (nA
    or uS, signed as in PyNN), ``delay`` is int32 (steps).
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: FloatArray
    delay: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.source)

    def sorted(self) -> Synapses:
        """The same synapses ordered by target, source, delay and weight."""
        order = np.lexsort((self.weight, self.delay, self.source, self.target))
        return Synapses(
            self.source[order], self.target[order], self.weight[order], self.delay[order]
        )

    @classmethod
    def concatenate(cls, chunks: list[Synapses]) -> Synapses:
        if not chunks:
            return cls(*(np.empty(0, dtype) for dtype in (np.int32, np.int32, float, np.int32)))
        return cls(
            np.concatenate([c.source for c in chunks]),
            np.concatenate([c.target for c in chunks]),
            np.concatenate([c.weight for c in chunks]),
            np.concatenate([c.delay for c in chunks]),
        )


DelayRule = Callable[[FloatArray, float], NDArray[np.int32]]


@dataclass(frozen=True)
class DriveArrays:
    """A Poisson drive: rate (Hz), weight (nA or uS), delay (steps) per target neuron."""

    rate: FloatArray
    weight: FloatArray
    delay: NDArray[np.int32]


def to_steps(milliseconds: FloatArray, timestep: float) -> NDArray[np.int32]:
    """Times on the grid: nearest step, halves up, at least one.

    Raises OverflowError for times that are not finite or more steps than `MAX_STEPS`.
    """
    steps = _nearest_steps(milliseconds, timestep)
    if not (steps <= MAX_STEPS).all():
        raise OverflowError(f"{np.max(milliseconds):g} ms are too many steps of {timestep:g} ms")
    return steps.astype(np.int32)


def _nearest_steps(milliseconds: FloatArray, timestep: float) -> FloatArray:
    # 0.15 / 0.1 is 1.4999999999999998 in binary; the margin lets decimal halves count as halves
    steps = np.floor(np.asarray(milliseconds, np.float64) / timestep + (0.5 + 1e-9))
    return np.maximum(steps, 1)


class Realization:
    """The network drawn with one seed on a time grid of ``timestep`` ms.

    Nothing is stored but small per-neuron tables: synapses are computed when they are asked for.
    """

    def __init__(self, network: Network, seed: int, timestep: float) -> None:
        self.network = network
        self.seed = seed
        self.timestep = timestep
        self._steps_of_delay: DelayRule = to_steps
        self._extremes: dict[str, FloatArray] = {}

    def with_delays(self, rule: DelayRule) -> Realization:
        """The same realization with delays that become steps by another ``rule``.

        ``rule`` turns delays (ms) and the time step (ms) into steps, at least one; it must never decrease.
        """
        if rule == self._steps_of_delay:
            return self
        other = copy.copy(self)
        other._steps_of_delay = rule
        return other

    def with_expected_extremes(self) -> Realization:
        """The same realization, whose smallest and largest weights and delays are not looked for.

        They are the quantiles 1 / (n + 1) and n / (n + 1) of a projection of n synapses: those of the
        expected smallest and largest of n uniform numbers. For networks that are not worth drawing.
        """
        other = copy.copy(self)
        other._extremes = {}
        for projection in self.network.projections:
            n = self.synapse_count(projection.label)
            ends = np.array([1 / (n + 1), n / (n + 1)])
            other._extremes[projection.label] = np.stack([ends, ends])
        return other

    def _delay_steps(self, milliseconds: FloatArray) -> NDArray[np.int32]:
        return self._steps_of_delay(np.asarray(milliseconds), self.timestep)

    # --- populations ---

    def parameters(self, population: str) -> dict[str, FloatArray]:
        """Cell parameters by PyNN name, shape ``(size,)``; those that become steps are on the grid."""
        description = self.network.population(population)
        arrays = {name: self.parameter(population, name) for name in description.parameters}
        for name in description.cell.on_grid:
            steps = np.where(arrays[name] == 0, 0, to_steps(arrays[name], self.timestep))
            arrays[name] = steps * self.timestep
        return arrays

    def parameter(self, population: str, name: str) -> FloatArray:
        """One cell parameter as it was drawn, not yet on the grid, shape ``(size,)``."""
        description = self.network.population(population)
        value = description.parameters[name]
        return self._values(value, description.size, "parameter", population, name)

    def initial_values(self, population: str) -> dict[str, FloatArray]:
        """Initial values by PyNN state variable, each of shape ``(size,)``."""
        names = self.network.population(population).initial_values
        return {name: self.initial_value(population, name) for name in names}

    def initial_value(self, population: str, name: str) -> FloatArray:
        """Initial values of one state variable, shape ``(size,)``."""
        description = self.network.population(population)
        value = description.initial_values[name]
        return self._values(value, description.size, "initial value", population, name)

    def spike_steps(self, population: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Spikes of a ``SpikeSourceArray``: neurons and steps, sorted by step, then by neuron.

        Those later than any run can last (`MAX_STEPS`) are left out.
        """
        times = self.network.population(population).spike_times
        neurons = np.repeat(np.arange(len(times)), [len(t) for t in times])
        all_steps = _nearest_steps(np.concatenate([np.empty(0), *times]), self.timestep)
        reached = all_steps <= MAX_STEPS
        neurons, steps = neurons[reached], all_steps[reached].astype(np.int64)
        order = np.lexsort((neurons, steps))
        return neurons[order], steps[order]

    def drive(self, label: str) -> DriveArrays:
        """Rates, weights and delays of one Poisson drive."""
        return DriveArrays(
            self.drive_value(label, "rate"),
            self.drive_value(label, "weight"),
            self._delay_steps(self.drive_value(label, "delay")),
        )

    def drive_value(self, label: str, name: str) -> FloatArray:
        """The ``rate`` (Hz), ``weight`` (nA or uS) or ``delay`` (ms) of one drive, by target neuron."""
        drive = self.network.drive(label)
        size = self.network.population(drive.target).size
        return self._values(getattr(drive, name), size, "drive", label, name)

    def _values(self, value: Value, size: int, *names: str) -> FloatArray:
        if isinstance(value, Distribution):
            return quantile(value, Stream.named(self.seed, *names).uniforms(0, size)[0])
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (size,)).copy()

    # --- projections ---

    def synapse_count(self, projection: str) -> int:
        return self._wirings[projection].count

    @property
    def n_synapses(self) -> int:
        """Synapses of all projections."""
        return sum(self.synapse_count(p.label) for p in self.network.projections)

    def synapses(self, projection: str, chunk_size: int = CHUNK_SIZE) -> Iterator[Synapses]:
        """All synapses of a projection, in chunks of at most ``chunk_size``."""
        count = self.synapse_count(projection)
        for start in range(0, count, chunk_size):
            yield self.synapse_range(projection, start, min(start + chunk_size, count))

    def synapse_range(
        self, projection: str, start: int, stop: int, weights: bool = True, delays: bool = True
    ) -> Synapses:
        """Synapses ``start`` to ``stop``; the same whatever was asked for before.

        Without ``weights`` or ``delays``, that array has shape ``(0,)`` and nothing is spent on it.
        """
        source, target = self._wirings[projection].pairs(start, stop)
        first, second = Stream.named(self.seed, "synapse", projection).uniforms(start, stop)
        description = self.network.projection(projection)

        def values(value: Value, u: FloatArray) -> FloatArray:
            if isinstance(value, Distribution):
                return quantile(value, u)
            if isinstance(value, np.ndarray):
                if value.ndim == 1:
                    return value[start:stop]
                row, column = self._wirings[projection].places(start, stop)
                return value[row, column]
            return np.full(stop - start, value)

        weight = values(description.weight, first) if weights else np.empty(0)
        delay = np.empty(0, np.int32)
        if delays:
            delay = self._delay_steps(values(description.delay, second))
        return Synapses(source, target, weight, delay)

    def weight_levels(
        self, projection: str, encode: Callable[[FloatArray], NDArray[np.int64]]
    ) -> Levels:
        """The code of a drawn weight, for an ``encode`` that is a nondecreasing function of it."""
        weight = self.network.projection(projection).weight
        if isinstance(weight, Distribution):
            return Levels.of(lambda u: encode(quantile(weight, u)))
        return Levels.of(lambda u: encode(np.full_like(u, weight)))

    def delay_levels(self, projection: str) -> Levels:
        """The delay (steps) of a drawn synapse."""
        delay = self.network.projection(projection).delay
        if isinstance(delay, Distribution):
            return Levels.of(lambda u: self._delay_steps(quantile(delay, u)).astype(np.int64))
        return Levels.of(lambda u: self._delay_steps(np.full_like(u, delay)).astype(np.int64))

    def coded_range(
        self, projection: str, start: int, stop: int, weights: Levels, delays: Levels
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]:
        """Sources, targets, codes of weights and delays (steps) of synapses ``start`` to ``stop``.

        The same as from `synapse_range`, several times faster, as no quantile is computed. Not for
        projections whose weights or delays are given one by one.
        """
        source, target = self._wirings[projection].pairs(start, stop)
        code, delay = np.empty(len(source), np.uint8), np.empty(len(source), np.int32)
        fill_levels(
            Stream.named(self.seed, "synapse", projection).key,
            start,
            weights,
            code,
            delays,
            delay,
        )
        return source, target, code, delay

    def delay_range(self, projection: str) -> tuple[int, int]:
        """Shortest and longest delay (steps) of a projection with at least one synapse."""
        steps = self._delay_steps(self.extremes(projection, "delay"))
        return int(steps.min()), int(steps.max())

    def weight_range(self, projection: str) -> tuple[float, float]:
        """Smallest and largest weight (nA or uS) of a projection with at least one synapse."""
        weights = self.extremes(projection, "weight")
        return float(weights.min()), float(weights.max())

    def extremes(self, projection: str, name: Literal["weight", "delay"]) -> FloatArray:
        """Weights (nA or uS) or delays (ms) of a projection among which are the extremes.

        The projection has at least one synapse.
        """
        value = getattr(self.network.projection(projection), name)
        if not isinstance(value, Distribution):
            return np.asarray(value, dtype=np.float64)
        if projection not in self._extremes:
            stream = Stream.named(self.seed, "synapse", projection)
            self._extremes[projection] = stream.extremes(self.synapse_count(projection))
        # a quantile grows with its argument; the first of two uniform numbers draws the weight
        return quantile(value, self._extremes[projection][0 if name == "weight" else 1])

    @cached_property
    def _wirings(self) -> dict[str, Wiring]:
        network = self.network
        return {
            p.label: p.connector.wiring(network.ends(p), ProjectionDraws(self.seed, p.label))
            for p in network.projections
        }
