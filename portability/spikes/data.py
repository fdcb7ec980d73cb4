"""Spikes in memory.

Inside the harness a spike time is an integer number of steps: a spike with step ``k`` happened at
the end of the ``k``-th step, at ``k * timestep`` ms, as NEST labels it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PopulationSpikes:
    """Spikes of one population of ``size`` neurons, sorted by step, then by neuron.

    ``steps`` is int64 and ``neurons`` int32, both of shape ``(n_spikes,)``; neurons count from 0.
    """

    size: int
    steps: NDArray[np.int64]
    neurons: NDArray[np.int32]

    @classmethod
    def from_unsorted(cls, size: int, steps: NDArray, neurons: NDArray) -> PopulationSpikes:
        order = np.lexsort((neurons, steps))
        return cls(size, steps[order].astype(np.int64), neurons[order].astype(np.int32))

    def of(self, cells: NDArray[np.int64]) -> PopulationSpikes:
        """The spikes of some cells, ascending indices, which become 0, 1, ..."""
        place = np.full(self.size, -1, np.int32)
        place[cells] = np.arange(len(cells), dtype=np.int32)
        own = place[self.neurons] >= 0
        return PopulationSpikes(len(cells), self.steps[own], place[self.neurons[own]])


@dataclass(frozen=True)
class SpikeData:
    """Spikes of the recorded populations in a run of ``n_steps`` steps of ``timestep`` ms."""

    timestep: float
    n_steps: int
    populations: Mapping[str, PopulationSpikes]

    def reduced(self, cells: Mapping[str, NDArray[np.int64]]) -> SpikeData:
        """With those cells only, ascending indices, of the populations that are named."""
        populations = dict(self.populations)
        for label, indices in cells.items():
            populations[label] = populations[label].of(indices)
        return SpikeData(self.timestep, self.n_steps, populations)


def whole_steps(times: NDArray[np.float64], timestep: float) -> NDArray[np.int64]:
    """Times (ms) as whole numbers of steps; ``ValueError`` when they are off the grid."""
    if not (np.isfinite(timestep) and timestep > 0):
        raise ValueError(f"the timestep must be positive and is {timestep:g} ms")
    exact = np.asarray(times, dtype=np.float64) / timestep
    steps = np.rint(exact)
    off_grid = ~(np.abs(exact - steps) < 1e-3)  # also true of NaN and infinity
    if off_grid.any():
        first = np.asarray(times)[off_grid][0]
        raise ValueError(f"a spike at {first:g} ms is not on the grid of {timestep:g} ms")
    return steps.astype(np.int64)
