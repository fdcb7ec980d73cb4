"""Statistics of single neurons and of pairs of them: one value each.

Firing rates, coefficients of variation and correlation coefficients are those of Dasbach et al. (2021),
equations 12 to 18, local variation is that of Shinomoto et al. (2003).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from pynn_portability.judge.window import Sample, Window

CORRELATION_BIN = 2.0
"""Width of the bins of ``cc`` in ms: that of Dasbach et al. (2021), their refractory time."""
CORRELATION_NEURONS = 200
"""Neurons per population among which ``cc`` is computed."""


def rate(window: Window) -> Sample:
    """Time-averaged firing rate (1/s), shape ``(size,)``, silent neurons included."""
    return window.counts / window.seconds


def interval_variation(window: Window) -> Sample:
    """Coefficient of variation of the interspike intervals of every neuron with at least three spikes.

    In the order of the neurons; population standard deviation of the intervals over their mean.
    """
    owner, intervals = _intervals(window)
    # Sums of whole numbers below 2^53 are exact, so that trains with the same intervals in another
    # order have the same value to the last bit.
    total = np.bincount(owner, intervals, window.size)
    squares = np.bincount(owner, intervals**2, window.size)
    # Three spikes in one step, possible for a Poisson source, have no mean interval to divide by.
    defined = (window.counts >= 3) & (total > 0)
    n, total, squares = window.counts[defined] - 1, total[defined], squares[defined]
    return np.sqrt(np.maximum(n * squares - total**2, 0.0)) / total


def local_variation(window: Window) -> Sample:
    """Local variation of the interspike intervals I of every neuron with at least three spikes.

    Three times the mean of ``((I[k] - I[k+1]) / (I[k] + I[k+1]))**2`` over its pairs of neighbouring
    intervals (Shinomoto, Shima and Tanji 2003, equation 2.2): 0 for a regular train, 1 for a Poisson
    process, whether or not its rate changes slowly. Two intervals of 0 are alike.
    """
    owner, intervals = _intervals(window)
    same = owner[1:] == owner[:-1]
    first, second = intervals[:-1][same], intervals[1:][same]
    contrast = np.zeros(first.size)
    np.divide(first - second, first + second, out=contrast, where=first + second > 0)
    total = np.bincount(owner[1:][same], contrast**2, window.size)
    defined = window.counts >= 3
    return 3.0 * total[defined] / (window.counts[defined] - 2)


def _intervals(window: Window) -> tuple[NDArray[np.intp], Sample]:
    """Neuron and length (steps) of every interspike interval, by neuron, then by time."""
    order = np.argsort(window.neurons, kind="stable")
    neurons, steps = window.neurons[order], window.steps[order]
    same = neurons[1:] == neurons[:-1]
    return neurons[1:][same], np.diff(steps)[same].astype(np.float64)


def correlation_neurons(size: int) -> NDArray[np.intp]:
    """The neurons of a population of ``size`` that enter ``cc``: up to 200, evenly spaced.

    They depend on nothing but ``size``, so that all runs of a network use the same ones.
    """
    n = min(size, CORRELATION_NEURONS)
    return np.arange(n) * size // max(n, 1)


def correlations(window: Window) -> Sample:
    """Pearson correlation coefficient of spike counts in bins of 2 ms.

    One value per pair, ``n (n - 1) / 2`` in all, of the ``n`` neurons among ``correlation_neurons(size)``
    whose spike count varies over the bins (that of a silent neuron does not); rounded to 12 decimals, so
    that equal coefficients compare equal.
    """
    # Elephant and its dependencies take more than a second to import.
    import quantities as pq  # noqa: PLC0415
    from elephant.conversion import BinnedSpikeTrainView  # noqa: PLC0415
    from elephant.spike_train_correlation import correlation_coefficient  # noqa: PLC0415
    from scipy import sparse  # noqa: PLC0415

    n_bins = window.n_bins(CORRELATION_BIN)
    chosen = correlation_neurons(window.size)
    row = np.full(window.size, -1)
    row[chosen] = np.arange(chosen.size)
    rows, columns = row[window.neurons], window.bins(CORRELATION_BIN)
    inside = (rows >= 0) & (columns < n_bins)
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
    width = window.bin_steps(CORRELATION_BIN) * window.timestep
    binned = BinnedSpikeTrainView(0.0, n_bins * width, width, pq.ms, counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # Elephant uses numpy.matrix
        coefficients = correlation_coefficient(binned, fast=False)
    return np.round(coefficients[np.triu_indices_from(coefficients, k=1)], 12)
