"""Number formats: what a machine does to weights, to the arithmetic of the neurons' state, and to time.

A format is composed of a `WeightFormat`, a `State` arithmetic and, if it has one of its own, a time step.
It is bound once to a realization; what comes out, a `HeldRealization`, is what a backend lowers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import listing
from pynn_portability.formats.arithmetic import State
from pynn_portability.formats.weights import HeldWeights, WeightFormat
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Projection,
    Value,
)
from pynn_portability.realize.distributions import mean_and_sd, quantile
from pynn_portability.realize.realization import CHUNK_SIZE, DriveArrays, Realization, Synapses

FloatArray = NDArray[np.float64]

QUANTILES = 2**16
"""Weights that stand for those of a distribution."""
MOST_EXPLICIT = 2**20
"""Most explicit weights whose mean and SD are taken."""
VISIBLE_CHANGE = 0.01
"""Relative change of a mean weight that is worth a sentence."""
MOST_DRAWN = 2**24
"""Synapses of a network whose largest weights are looked for."""


@dataclass(frozen=True)
class NumberFormat:
    """How weights, neuron state and time are represented; made by `pynn_portability.formats.names`.

    ``state`` is the arithmetic in which neurons are integrated. ``timestep`` (ms) is the format's own,
    None when a study decides.
    """

    name: str
    weights: WeightFormat
    state: State
    timestep: float | None = None

    @property
    def fingerprint(self) -> str | None:
        """A hash of what the name does not say; None when it says everything."""
        return self.weights.fingerprint

    @property
    def notes(self) -> tuple[str, ...]:
        """What a verdict on this format does not cover, a sentence each."""
        return self.weights.notes

    def restrictions(self, network: Network, timestep: float) -> list[str]:
        """What of a network this format cannot have and replaces, a sentence each."""
        return self.weights.restrictions(network, timestep)

    def delay_steps(self, milliseconds: FloatArray, timestep: float) -> NDArray[np.int32]:
        """Delays (ms) on the grid of ``timestep`` ms as this format holds them, in steps."""
        return self.weights.delay_steps(milliseconds, timestep)

    def weight_moments(self, network: Network, seed: int, timestep: float) -> list[WeightMoments]:
        """What becomes of mean and SD of the weights of all projections and drives.

        See `HeldRealization.weight_moments`; ``seed`` decides scales that follow from drawn weights.
        """
        return self.on(Realization(network, seed, self.timestep or timestep)).weight_moments()

    def on(self, realization: Realization) -> HeldRealization:
        """The realization as this format holds it."""
        return HeldRealization(self, realization.with_delays(self.weights.delay_steps))


@dataclass(frozen=True)
class WeightMoments:
    """Mean and SD of the weights of a projection or drive, before and after, in its unit (nA or uS).

    Those after are None where the format's scale would take drawing a very large network.
    """

    label: str
    drive: bool
    unit: str
    mean: float
    sd: float
    held_mean: float | None
    held_sd: float | None


class HeldRealization:
    """A realization as a number format holds it: what a backend lowers.

    ``realization`` has the format's delays; its weights are those that were drawn, and those here are as
    the format holds them. Projections and drives are named by their labels.
    """

    def __init__(self, number_format: NumberFormat, realization: Realization) -> None:
        self.format = number_format
        self.realization = realization
        self._weights: dict[str, HeldWeights] = {}

    @property
    def network(self) -> Network:
        """What was realized."""
        return self.realization.network

    @property
    def timestep(self) -> float:
        """Time step, ms."""
        return self.realization.timestep

    def weights(self, projection: str) -> HeldWeights:
        """What the format does to the weights of a projection.

        Raises RequestError for a weight distribution whose mean and SD are needed and not known.
        """
        if projection not in self._weights:
            self._weights[projection] = self._hold(self.network.projection(projection))
        return self._weights[projection]

    def weight_moments(self) -> list[WeightMoments]:
        """Mean and SD of weights before and after, for every projection and drive.

        Before and after are taken from the same weights: 2^16 quantiles of a distribution, in the middle
        of cells of equal probability, or up to 2^20 explicit weights, evenly spaced. No synapse is
        drawn for them. A scale that follows from the largest weight is that of the realization; in networks
        of more than 2^24 synapses it is that of the largest weight to be expected, and a scale that
        takes drawing all weights is not known.
        """
        held = self
        large = self.realization.n_synapses > MOST_DRAWN
        if large and not self.format.weights.drawn_beforehand:
            held = HeldRealization(self.format, self.realization.with_expected_extremes())
        unknown = large and self.format.weights.drawn_beforehand
        items: list[Projection | PoissonDrive] = [*self.network.projections, *self.network.drives]
        found = []
        for item in items:
            weights = _typical(item.weight)
            after = None if unknown else held._hold(item)(weights)
            found.append(
                WeightMoments(
                    item.label,
                    isinstance(item, PoissonDrive),
                    self.network.population(item.target).cell.weight_unit,
                    *mean_and_sd(weights),
                    *((None, None) if after is None else mean_and_sd(after)),
                )
            )
        return found

    def _hold(self, item: Projection | PoissonDrive) -> HeldWeights:
        return self.format.weights.on(item, self.realization, self.format.state.represent)

    def synapses(self, projection: str, chunk_size: int = CHUNK_SIZE) -> Iterator[Synapses]:
        """All synapses of a projection, weights and delays as they are held, in chunks."""
        held, start = self.weights(projection), 0
        for chunk in self.realization.synapses(projection, chunk_size):
            yield replace(chunk, weight=held(chunk.weight, start))
            start += len(chunk)

    def drive(self, drive: str) -> DriveArrays:
        """Rates (Hz) of a drive, its weights and delays (steps) as they are held, shape ``(size,)``."""
        arrays = self.realization.drive(drive)
        return replace(arrays, weight=self._hold(self.network.drive(drive))(arrays.weight))

    def parameters(self, population: str) -> dict[str, FloatArray]:
        """Cell parameters by PyNN name, shape ``(size,)`` each."""
        return self.realization.parameters(population)

    def initial_values(self, population: str) -> dict[str, FloatArray]:
        """Initial values by PyNN state variable, shape ``(size,)`` each."""
        return self.realization.initial_values(population)


def changed_means(weights: Sequence[WeightMoments]) -> list[str]:
    """A sentence about the projections and drives whose mean weight a format changes visibly."""
    changes = {
        entry.label: entry.held_mean / entry.mean - 1
        for entry in weights
        if entry.held_mean is not None and entry.mean
    }
    named = [
        f"{label!r} ({change:+.1%})"
        for label, change in sorted(changes.items(), key=lambda item: -abs(item[1]))
        if abs(change) > VISIBLE_CHANGE
    ]
    if not named:
        return []
    return [f"The format changes mean weights: {listing(named)}."]


def _typical(weight: Value) -> FloatArray:
    """Weights that stand for all of a projection or drive, shape ``(n,)``."""
    if isinstance(weight, Distribution):
        return quantile(weight, (np.arange(QUANTILES) + 0.5) / QUANTILES)
    if isinstance(weight, np.ndarray):
        given = weight.ravel()
        return given[:: max(1, -(-given.size // MOST_EXPLICIT))].astype(np.float64)
    # many equal ones, because rounding may be a matter of chance
    return np.full(QUANTILES, float(weight))
