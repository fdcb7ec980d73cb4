"""Statistics of single neurons and pairs, as in Dasbach et al. (2021), equations 12 to 18.

``rate``: time-averaged firing rate; ``cv``: coefficient of variation of the interspike intervals;
``cc``: Pearson correlation coefficient of spike counts. All are counted on integer steps: spikes
of a simulation on a time grid lie on the edges of bins, where rounded times in milliseconds would
decide at random.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

STATISTICS = ("rate", "cv", "cc")
CORRELATION_BIN = 2.0
"""Width of the bins of ``cc`` in ms: that of Dasbach et al. (2021), their refractory time."""
CORRELATION_NEURONS = 200
"""Neurons per population among which ``cc`` is computed."""

Sample = NDArray[np.float64]
Statistics = Mapping[str, Mapping[str, Sample]]
"""One run: by population, then by statistic."""


def statistics(spikes: SpikeData, warmup: float) -> dict[str, dict[str, Sample]]:
    """All statistics of every population of a run, without its first ``warmup`` ms.

    The analysed window is half-open: spikes with ``step > warmup / timestep`` count, to the end.

    - ``rate`` (1/s), shape ``(size,)``: every neuron, silent ones included.
    - ``cv``: one value per neuron with at least three spikes in the window, in the order of the
      neurons; population standard deviation of its interspike intervals over their mean.
    - ``cc``: one value per pair, ``n (n - 1) / 2`` in all, of the ``n`` neurons among
      ``correlation_neurons(size)`` whose spike count varies over the 2 ms bins (that of a silent
      neuron does not); rounded to 12 decimals, so that equal coefficients compare equal.

    A sample without such neurons or pairs is empty; no sample ever holds NaN or infinity.

    Raises ``RequestError`` when the run is not longer than ``warmup``.
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
        window = slice(*np.searchsorted(population.steps, [skipped, spikes.n_steps], side="right"))
        neurons = population.neurons[window].astype(np.intp)
        steps = population.steps[window] - skipped  # 1 .. n_steps
        counts = np.bincount(neurons, minlength=population.size)
        result[label] = {
            "rate": counts / (n_steps * spikes.timestep / 1000.0),
            "cv": _interval_variation(neurons, steps, counts),
            "cc": _correlations(population, neurons, steps, n_steps, spikes.timestep),
        }
    return result


def correlation_neurons(size: int) -> NDArray[np.intp]:
    """The neurons of a population of ``size`` that enter ``cc``: up to 200, evenly spaced.

    They depend on nothing but ``size``, so that all runs of a network use the same ones.
    """
    n = min(size, CORRELATION_NEURONS)
    return np.arange(n) * size // max(n, 1)


def _interval_variation(
    neurons: NDArray[np.intp], steps: NDArray[np.int64], counts: NDArray[np.intp]
) -> Sample:
    order = np.argsort(neurons, kind="stable")
    neurons, steps = neurons[order], steps[order]
    same = neurons[1:] == neurons[:-1]
    owner = neurons[1:][same]
    intervals = np.diff(steps)[same].astype(np.float64)
    # Sums of whole numbers below 2^53 are exact, so that trains with the same intervals in another
    # order have the same value to the last bit.
    total = np.bincount(owner, intervals, counts.size)
    squares = np.bincount(owner, intervals**2, counts.size)
    # Three spikes in one step, possible for a Poisson source, have no mean interval to divide by.
    defined = (counts >= 3) & (total > 0)
    n, total, squares = counts[defined] - 1, total[defined], squares[defined]
    return np.sqrt(np.maximum(n * squares - total**2, 0.0)) / total


def _correlations(
    population: PopulationSpikes,
    neurons: NDArray[np.intp],
    steps: NDArray[np.int64],
    n_steps: int,
    timestep: float,
) -> Sample:
    # Elephant and its dependencies take more than a second to import.
    import quantities as pq  # noqa: PLC0415
    from elephant.conversion import BinnedSpikeTrainView  # noqa: PLC0415
    from elephant.spike_train_correlation import correlation_coefficient  # noqa: PLC0415
    from scipy import sparse  # noqa: PLC0415

    bin_steps = max(round(CORRELATION_BIN / timestep), 1)
    n_bins = n_steps // bin_steps
    chosen = correlation_neurons(population.size)
    row = np.full(population.size, -1)
    row[chosen] = np.arange(chosen.size)
    rows, columns = row[neurons], (steps - 1) // bin_steps
    inside = (rows >= 0) & (columns < n_bins)  # an incomplete last bin is left out
    counts = sparse.csr_matrix(
        (np.ones(int(inside.sum()), dtype=np.int64), (rows[inside], columns[inside])),
        shape=(chosen.size, n_bins),
    )
    counts.sum_duplicates()
    total = np.asarray(counts.sum(axis=1)).ravel()
    squares = np.asarray(counts.multiply(counts).sum(axis=1)).ravel()
    counts = counts[n_bins * squares > total**2]  # Pearson's coefficient divides by the variance
    if counts.shape[0] < 2:
        return np.empty(0)
    # BinnedSpikeTrain itself takes spike trains or dense arrays; its view takes sparse counts as
    # they are, which is a hundredth of the memory for minutes of activity.
    width = bin_steps * timestep
    binned = BinnedSpikeTrainView(0.0, n_bins * width, width, pq.ms, counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # Elephant uses numpy.matrix
        coefficients = correlation_coefficient(binned, fast=False)
    return np.round(coefficients[np.triu_indices_from(coefficients, k=1)], 12)


def ks_distance(a: Sample, b: Sample) -> float:
    """Kolmogorov-Smirnov distance: largest difference of two cumulative distributions.

    Between 0 and 1. Two empty samples have distance 0, an empty and a non-empty one 1: a
    population without any neuron to measure is as far as can be from one with such neurons.
    """
    if a.size == 0 or b.size == 0:
        return 0.0 if a.size == b.size else 1.0
    if a is b:
        return 0.0
    # scipy.stats.ks_2samp gives the same, but spends most of its time on a p-value that is not used,
    # and warns about samples of one value.
    a, b = np.sort(a), np.sort(b)
    values = np.concatenate((a, b))
    below_a = np.searchsorted(a, values, side="right") / a.size
    below_b = np.searchsorted(b, values, side="right") / b.size
    return float(np.abs(below_a - below_b).max())


def histogram_edges(
    reference: Sample, low: float, high: float, quantum: float = 0.0, max_bins: int = 200
) -> Sample:
    """Edges of equal bins from ``low`` to ``high`` or a little beyond, for all curves of a figure.

    Their width is that of Freedman and Diaconis (1981) for the reference sample, twice its
    interquartile range over the cube root of its size, or more where it would need over
    ``max_bins`` bins. A statistic that only takes multiples of ``quantum``, such as a rate (1/s)
    in a window of ``1/quantum`` s, gets bins of whole quanta centred on them, since any other
    width draws a comb that is not in the data.
    """
    extent = high - low
    width = 0.0
    if reference.size:
        quartiles = np.percentile(reference, [25, 75])
        width = 2.0 * float(quartiles[1] - quartiles[0]) / float(np.cbrt(reference.size))
    if width <= 0:  # more than half of the sample is one value, such as the rate of silent neurons
        width = extent / 20 if extent > 0 else max(quantum, abs(low) / 10, 1e-3)
    width = max(width, extent / max_bins)
    start = low
    if quantum > 0:
        width = math.ceil(width / quantum - 1e-9) * quantum
        start = (math.floor(low / quantum + 1e-9) - 0.5) * quantum
    n_bins = max(math.ceil((high - start) / width + 1e-9), 1)
    return start + width * np.arange(n_bins + 1, dtype=np.float64)
