"""Poisson input: how many spikes arrive at each neuron in each step.

The count is the number of tail probabilities P(n >= k), k = 1, 2, ..., that exceed a uniform number.
Uniform numbers have 16 bits, so that many fit into one instruction; so have the probabilities, which
are rounded up or down at random, anew in each step and alike for all neurons of a drive, with the
odds that make every neuron's counts exactly Poisson distributed. (This correlates the neurons of a
drive by less than 1e-9.)

SpiNNaker's sources have laws of their own, see `pynn_portability.backends.emulator.spinnaker`.

The numbers are a pure function of seed, drive, neuron and step, drawn with the same counter-based
generator as everything else (Philox4x32-10, eight neurons at a time).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from pynn_portability.backends.emulator.arithmetic import Arithmetic
from pynn_portability.backends.emulator.engine import RUN, DriveTables
from pynn_portability.backends.emulator.loihi import Compartments
from pynn_portability.backends.emulator.spinnaker import Cores
from pynn_portability.backends.emulator.synapses import Block
from pynn_portability.errors import RequestError
from pynn_portability.formats.number_format import HeldRealization
from pynn_portability.formats.spinnaker import poisson_mean
from pynn_portability.realize.streams import Stream

NEGLIGIBLE_TAIL = 1e-15
MOST_SPIKES = 10_000  # counts have 16 bits
NEVER = np.iinfo(np.int64).max
# a poisson generator's first spikes are labelled two steps after its start, as those of NEST
LABEL_AFTER_START = 2


def drive_tables(
    held: HeldRealization,
    arithmetic: Arithmetic | Cores | Compartments,
    blocks: list[Block],
    joint: bool,
    limit: int = 0,
) -> DriveTables:
    """The tables of the thread that owns ``blocks``.

    With ``joint``, both receptors are the first. ``limit`` is the largest number of spikes in a
    step, 0 if there is none.
    """
    runs: list[tuple[int, ...]] = []
    weights: list[Any] = []
    tails = _Tails(limit)
    drives, timestep = held.network.drives, held.timestep
    for number, drive in enumerate(drives):
        arrays = held.drive(drive.label)
        weight = arithmetic.weights(arrays.weight, drive.target, drive.receptor)
        law = spikes_per_step(arithmetic, arrays.rate, timestep, f"drive {drive.label!r}")
        if law[0].max() > MOST_SPIKES:
            raise RequestError(
                f"drive {drive.label!r}: a rate of {arrays.rate.max():g} Hz is not allowed in the "
                f"emulator, whose largest mean is {MOST_SPIKES} spikes per step"
            )
        delay = arrays.delay.astype(np.int64)
        begin = _first_step(drive.start, delay, timestep)
        end = _first_step(drive.start + drive.duration, delay, timestep)
        receptor = int(drive.receptor == "inhibitory" and not joint)
        table = np.stack([*law, arrays.weight, delay])
        for first, low, high in _alike(table, drive.target, blocks):
            place = tails.place(float(law[0, low]), bool(law[1, low]))
            last = first + high - low
            active = int(begin[low]), int(end[low])
            runs.append((first, last, number, low, *place, receptor, *active))
            weights.append(weight[low])
    order = sorted(range(len(runs)), key=lambda i: runs[i])
    return DriveTables(
        np.array([runs[i] for i in order], RUN),
        np.array([weights[i] for i in order], arithmetic.accumulator),
        np.array(tails.probabilities),
        np.array(
            [Stream.named(held.realization.seed, "drive", d.label, "counts").key for d in drives],
            np.uint32,
        ).reshape(-1, 4),
    )


def _alike(
    table: NDArray[np.float64], population: str, blocks: list[Block]
) -> Iterator[tuple[int, int, int]]:
    """Runs of neurons of a population whose columns of ``table`` are equal.

    Number of the first in the thread, then first and last (exclusive) in the population.
    """
    for block in blocks:
        for part in block.parts:
            if part.population == population:
                own = table[:, part.first : part.last]
                changes = np.flatnonzero((np.diff(own) != 0).any(axis=0)) + 1
                for low, high in itertools.pairwise([0, *changes.tolist(), part.size]):
                    first = block.offset + part.offset + low
                    yield first, part.first + low, part.first + high


class _Tails:
    """Tail probabilities of all laws, one after the other, up to ``limit`` of each (0: all)."""

    def __init__(self, limit: int) -> None:
        self.probabilities: list[float] = []
        self._limit = limit or None
        self._places: dict[tuple[float, bool], tuple[int, int]] = {}

    def place(self, mean: float, gaussian: bool) -> tuple[int, int]:
        """Where those of a law begin and end."""
        if (mean, gaussian) not in self._places:
            begin = len(self.probabilities)
            self.probabilities.extend(_tails(mean, gaussian)[: self._limit])
            self._places[mean, gaussian] = begin, len(self.probabilities)
        return self._places[mean, gaussian]


def _first_step(start: float, delay: NDArray[np.int64], timestep: float) -> NDArray[np.int64]:
    """The step at whose end the first spikes of a generator started at ``start`` (ms) arrive."""
    if np.isinf(start):
        return np.full(len(delay), NEVER)
    return np.rint(start / timestep).astype(np.int64) + LABEL_AFTER_START + delay


def spikes_per_step(
    arithmetic: Arithmetic | Cores | Compartments,
    rate: NDArray[np.float64],
    timestep: float,
    drive: str,
) -> NDArray[np.float64]:
    """Mean of the number of spikes in a step, and 1 where it is Gaussian, shape (2, n).

    ``rate`` is in Hz, shape (n,); ``drive`` names it if it is not allowed.
    """
    if not isinstance(arithmetic, Cores):
        return np.stack([rate * timestep / 1000, np.zeros(len(rate))])
    distinct, index = np.unique(rate, return_inverse=True)
    laws = [poisson_mean(r, timestep, drive) for r in distinct.tolist()]
    return np.array(laws, np.float64).T[:, index]


def _tails(mean: float, gaussian: bool) -> list[float]:
    """P(n >= k) of the number of spikes for k = 1, 2, ... until negligible."""
    if mean == 0:
        return []
    if gaussian:
        # n >= k where |z / 2 + sqrt(mean)| >= sqrt(k - 1/2)
        edges = np.sqrt(np.arange(1, MOST_SPIKES) - 0.5)
        normal = scipy.special.ndtr
        tails = normal(2 * (np.sqrt(mean) - edges)) + normal(-2 * (np.sqrt(mean) + edges))
        return tails[tails > NEGLIGIBLE_TAIL].tolist()
    last = int(scipy.stats.poisson.isf(NEGLIGIBLE_TAIL, mean)) + 1
    return scipy.stats.poisson.sf(np.arange(last), mean).tolist()
