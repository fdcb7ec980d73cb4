"""The null model of a run, and parts of a run.

The null model is that of Dasbach et al. (2021), section 2.3.2: every neuron keeps its number of
spikes, and their times are drawn uniformly from the analysed window. Rates stay as they are;
whatever the correlations and interspike intervals of the data say beyond rates is gone.
"""

from __future__ import annotations

import numpy as np

from pynn_portability.spikes.data import PopulationSpikes, SpikeData


def rate_matched_noise(spikes: SpikeData, warmup: float, seed: int) -> SpikeData:
    """The null model of a run: the same spikes per neuron in the window after ``warmup`` (ms).

    Every spike gets a step of the window, all equally likely and independent of each other, which
    on a time grid is what Elephant's ``randomise_spikes`` does. Spikes before the window are left
    out. The same ``seed`` gives the same spikes.
    """
    skipped = round(warmup / spikes.timestep)
    generator = np.random.default_rng([seed, skipped])
    populations = {}
    for label, population in spikes.populations.items():
        neurons = population.neurons[population.steps > skipped]
        steps = generator.integers(skipped + 1, spikes.n_steps + 1, size=neurons.size)
        populations[label] = PopulationSpikes.from_unsorted(population.size, steps, neurons)
    return SpikeData(spikes.timestep, spikes.n_steps, populations)


def part(spikes: SpikeData, warmup: float, begin: float, end: float) -> SpikeData:
    """The run as if its window after ``warmup`` (ms) held only its part from ``begin`` to ``end``.

    Both are fractions of the window. Spikes before the part are left out, those of the part come
    ``warmup`` after the start.
    """
    skipped = round(warmup / spikes.timestep)
    first, last = (round((spikes.n_steps - skipped) * fraction) for fraction in (begin, end))
    populations = {}
    for label, population in spikes.populations.items():
        inside = slice(
            *np.searchsorted(population.steps, [skipped + first, skipped + last], "right")
        )
        populations[label] = PopulationSpikes(
            population.size, population.steps[inside] - first, population.neurons[inside]
        )
    return SpikeData(spikes.timestep, skipped + last - first, populations)
