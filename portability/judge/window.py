"""The analysed window of a run, as statistics count in it.

All is counted on integer steps: spikes of a simulation on a time grid lie on the edges of bins, where
rounded times in milliseconds would decide at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.spikes.data import SpikeData

Sample = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Window:
    """Spikes of a population of ``size`` neurons in ``n_steps`` steps of ``timestep`` ms, by time.

    Windows are told apart by identity. ``steps`` are 1 to ``n_steps``: a spike carries the step at whose end it
    happened.
    """

    size: int
    neurons: NDArray[np.intp]
    steps: NDArray[np.int64]
    n_steps: int
    timestep: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.n_steps * self.timestep / 1000.0

    @cached_property
    def counts(self) -> NDArray[np.intp]:
        """Spikes of each neuron, shape ``(size,)``."""
        return np.bincount(self.neurons, minlength=self.size)

    def bin_steps(self, width: float) -> int:
        """Steps of a bin of ``width`` ms, at least one."""
        return max(round(width / self.timestep), 1)

    def n_bins(self, width: float) -> int:
        """Bins of ``width`` ms; an incomplete last one is left out."""
        return self.n_steps // self.bin_steps(width)

    def bins(self, width: float) -> NDArray[np.int64]:
        """The bin of each spike, also of spikes in an incomplete last one."""
        return (self.steps - 1) // self.bin_steps(width)

    def population_counts(self, width: float) -> NDArray[np.int64]:
        """Spikes of all neurons together in every bin of ``width`` ms, shape ``(n_bins,)``."""
        n_bins = self.n_bins(width)
        return np.bincount(self.bins(width), minlength=n_bins)[:n_bins].astype(np.int64)


def windows(spikes: SpikeData, warmup: float) -> dict[str, Window]:
    """Every population of a run without its first ``warmup`` ms.

    The window is half-open: spikes with ``step > warmup / timestep`` count, to the end. Raises
    ``RequestError`` when the run is not longer than ``warmup``.
    """
    skipped = round(warmup / spikes.timestep)
    n_steps = spikes.n_steps - skipped
    if n_steps < 1:
        raise RequestError(
            f"A warmup of {warmup:g} ms leaves nothing to analyse of a run of "
            f"{spikes.n_steps * spikes.timestep:g} ms; it must be shorter than the run."
        )
    result = {}
    for label, population in spikes.populations.items():
        inside = slice(*np.searchsorted(population.steps, [skipped, spikes.n_steps], side="right"))
        result[label] = Window(
            population.size,
            population.neurons[inside].astype(np.intp),
            population.steps[inside] - skipped,
            n_steps,
            spikes.timestep,
        )
    return result
