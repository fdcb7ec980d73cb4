"""Number formats: what a machine does to weights, to the arithmetic of the neurons' state, and to time.

A format is composed of a `WeightFormat`, a `State` arithmetic and, if it has one of its own, a time step.
It is bound once to a realization; what comes out, a `HeldRealization`, is what a backend lowers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pynn_portability.formats.arithmetic import State
from pynn_portability.formats.weights import HeldWeights, WeightFormat
from pynn_portability.model.network import Network
from pynn_portability.realize.realization import CHUNK_SIZE, DriveArrays, Realization, Synapses

FloatArray = NDArray[np.float64]


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

    def on(self, realization: Realization) -> HeldRealization:
        """The realization as this format holds it."""
        return HeldRealization(self, realization.with_delays(self.weights.delay_steps))


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
            self._weights[projection] = self.format.weights.on(
                self.network.projection(projection), self.realization, self.format.state.represent
            )
        return self._weights[projection]

    def synapses(self, projection: str, chunk_size: int = CHUNK_SIZE) -> Iterator[Synapses]:
        """All synapses of a projection, weights and delays as they are held, in chunks."""
        held, start = self.weights(projection), 0
        for chunk in self.realization.synapses(projection, chunk_size):
            yield replace(chunk, weight=held(chunk.weight, start))
            start += len(chunk)

    def drive(self, drive: str) -> DriveArrays:
        """Rates (Hz) of a drive, its weights and delays (steps) as they are held, shape ``(size,)``."""
        arrays = self.realization.drive(drive)
        held = self.format.weights.on(
            self.network.drive(drive), self.realization, self.format.state.represent
        )
        return replace(arrays, weight=held(arrays.weight))

    def parameters(self, population: str) -> dict[str, FloatArray]:
        """Cell parameters by PyNN name, shape ``(size,)`` each."""
        return self.realization.parameters(population)

    def initial_values(self, population: str) -> dict[str, FloatArray]:
        """Initial values by PyNN state variable, shape ``(size,)`` each."""
        return self.realization.initial_values(population)
