"""Faults of spikes, planted on purpose, to see which of them a study's verdict notices.

They change the spikes of a run that is there already; faults of the model are in
`pynn_portability.model.transforms`. Each has a ladder of sizes, from hardly anything to gross, in the unit
that its description names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynn_portability.spikes.data import PopulationSpikes, SpikeData

Spikes = tuple[NDArray[np.int64], NDArray[np.int32]]
"""Steps and neurons, of equal length."""


class Window(NamedTuple):
    """The analysed part of a run: first and last step, and the time step (ms)."""

    first: int
    last: int
    timestep: float


@dataclass(frozen=True)
class SpikeFault:
    """A fault of spikes: ``apply`` gives steps and neurons of the faulty spikes, in any order."""

    description: str
    sizes: tuple[float, ...]
    apply: Callable[[PopulationSpikes, float, Window, np.random.Generator], Spikes]


def faulty_spikes(
    spikes: SpikeData, fault: SpikeFault, size: float, warmup: float, seed: int
) -> SpikeData:
    """The run with a fault in the window after ``warmup`` (ms); the same ``seed``, the same spikes."""
    window = Window(round(warmup / spikes.timestep) + 1, spikes.n_steps, spikes.timestep)
    populations = {}
    for number, (label, population) in enumerate(spikes.populations.items()):
        inside = population.steps >= window.first
        analysed = PopulationSpikes(
            population.size, population.steps[inside], population.neurons[inside]
        )
        generator = np.random.default_rng([seed, number])
        steps, neurons = fault.apply(analysed, size, window, generator)
        populations[label] = PopulationSpikes.from_unsorted(population.size, steps, neurons)
    return SpikeData(spikes.timestep, spikes.n_steps, populations)


def _lost(
    population: PopulationSpikes, size: float, window: Window, generator: np.random.Generator
) -> Spikes:
    kept = generator.random(population.steps.size) >= size
    return population.steps[kept], population.neurons[kept]


def _jittered(
    population: PopulationSpikes, size: float, window: Window, generator: np.random.Generator
) -> Spikes:
    first, last, timestep = window
    reach = round(size / timestep)
    moved = population.steps + generator.integers(-reach, reach + 1, population.steps.size)
    # what would leave the window is reflected into it
    moved = np.where(moved < first, 2 * first - moved, moved)
    return np.clip(np.where(moved > last, 2 * last - moved, moved), first, last), population.neurons


def _shuffled_intervals(
    population: PopulationSpikes, size: float, window: Window, generator: np.random.Generator
) -> Spikes:
    order = np.argsort(population.neurons, kind="stable")
    neurons, steps = population.neurons[order], population.steps[order]
    ends = np.cumsum(np.bincount(neurons, minlength=population.size))
    for train in np.split(steps, ends[:-1]):  # views, so that steps changes
        if train.size > 2 and generator.random() < size:
            intervals = generator.permutation(np.diff(train))
            train[1:] = train[0] + np.cumsum(intervals)
    return steps, neurons


def _synchronized(
    population: PopulationSpikes, size: float, window: Window, generator: np.random.Generator
) -> Spikes:
    """Part of every neuron's spikes are taken from one train that all neurons share."""
    counts = np.bincount(population.neurons, minlength=population.size)
    kept_steps, kept_neurons = _lost(population, size, window, generator)
    most = int(counts.max(initial=0))
    common = generator.integers(window.first, window.last + 1, round(size * most))
    # the odds that keep every neuron's expected number of spikes
    reached = generator.random((population.size, common.size)) * most < counts[:, None]
    neurons, which = np.nonzero(reached)
    return (
        np.concatenate([kept_steps, common[which]]),
        np.concatenate([kept_neurons, neurons.astype(np.int32)]),
    )


SPIKE_FAULTS: Mapping[str, SpikeFault] = {
    "spikes lost": SpikeFault(
        "every spike is lost with this probability",
        (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        _lost,
    ),
    "intervals shuffled": SpikeFault(
        "the interspike intervals of this part of the neurons are put in random order",
        (0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
        _shuffled_intervals,
    ),
    "spikes jittered": SpikeFault(
        "every spike moves by up to this many ms", (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 50.0), _jittered
    ),
    "common spikes": SpikeFault(
        "this part of a neuron's spikes comes from one train per population that all share",
        (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1),
        _synchronized,
    ),
}
