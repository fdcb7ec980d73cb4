"""Statistics of a population's activity: numbers and curves, one per run.

They see what distributions over neurons and pairs are blind to: oscillations, correlations at other lags
than zero, and activity that changes in time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pynn_portability.judge.window import Sample, Window

SYNCHRONY_BIN = 3.0
"""Width of the bins of the population count (ms): that of Potjans and Diesmann (2014), figure 8."""
ACTIVITY_BIN = 1.0
"""Width of the bins of spectra and covariances (ms)."""
SEGMENT = 256
"""Bins of a segment of Welch's method: about 4 Hz apart, up to 500 Hz."""
LARGEST_LAG = 50
"""Bins up to which covariances are computed."""


def synchrony(window: Window) -> Sample:
    """Fano factor of the population's spike count in bins of 3 ms, shape ``(1,)``: variance over mean.

    1 for independent Poisson processes. Empty without a spike.
    """
    counts = window.population_counts(SYNCHRONY_BIN)
    if not counts.any():
        return np.empty(0)
    return np.array([counts.var() / counts.mean()])


def spectrum(window: Window) -> Sample:
    """Power spectral density of the population's rate per neuron (1/s), shape ``(128,)``.

    By Welch's method, in bins of 1 ms: Hann windows of 256 bins that overlap by half, without their mean.
    Frequencies as `frequencies` gives them. Empty for a window of fewer than 256 bins.
    """
    from scipy.signal import welch  # noqa: PLC0415 - slow to import

    counts = window.population_counts(ACTIVITY_BIN)
    if counts.size < SEGMENT or not window.size:
        return np.empty(0)
    per_second = 1000.0 / _width(window)
    rates = counts / window.size * per_second
    _, power = welch(rates, fs=per_second, window="hann", nperseg=SEGMENT, noverlap=SEGMENT // 2)
    return np.asarray(power[1:], np.float64)


def frequencies(timestep: float) -> Sample:
    """Frequencies (1/s) of `spectrum`, shape ``(128,)``: above zero, to half the rate of the bins."""
    width = max(round(ACTIVITY_BIN / timestep), 1) * timestep
    return np.arange(1, SEGMENT // 2 + 1) * np.float64(1000.0 / (SEGMENT * width))


@lru_cache(maxsize=1)  # its size and its shape follow for the same window
def covariance(window: Window) -> Sample:
    """Cross-covariance of spike counts in bins of 1 ms, averaged over all pairs of different neurons.

    In 1/s², shape ``(51,)``: at lags from 0 to 50 ms; over ordered pairs it is the same at negative lags. The
    covariance of the population's count is that of all pairs; those of neurons with themselves are taken off
    (Tetzlaff et al. 2012, section 4). Empty for fewer than two neurons, or a window not longer than the lags.
    """
    n_bins, size = window.n_bins(ACTIVITY_BIN), window.size
    if size < 2 or n_bins <= LARGEST_LAG:
        return np.empty(0)
    counts = window.population_counts(ACTIVITY_BIN)
    deviation = counts - counts.mean()
    lags = range(LARGEST_LAG + 1)
    of_all = np.array([deviation[lag:] @ deviation[: n_bins - lag] for lag in lags])
    pairs = size * (size - 1)
    of_pairs = (of_all - _with_themselves(window, n_bins)) / (n_bins - np.arange(len(lags))) / pairs
    return np.asarray(of_pairs * (1000.0 / _width(window)) ** 2)


def covariance_size(window: Window) -> Sample:
    """Root mean square of `covariance` over its lags (1/s²), shape ``(1,)`` or empty."""
    curve = covariance(window)
    return np.sqrt([np.mean(curve**2)]) if curve.size else curve


def covariance_shape(window: Window) -> Sample:
    """`covariance` over its root mean square, so that only its shape is left; zeros for none."""
    curve = covariance(window)
    size = np.sqrt(np.mean(curve**2)) if curve.size else 0.0
    return curve / size if size > 0 else curve


def lags(timestep: float) -> Sample:
    """Lags (ms) of `covariance`, shape ``(51,)``."""
    return np.arange(LARGEST_LAG + 1, dtype=np.float64) * (
        max(round(ACTIVITY_BIN / timestep), 1) * timestep
    )


def epochs(window: Window, width: float) -> Sample:
    """Rate of the population per neuron (1/s) in epochs of ``width`` ms, one value each."""
    counts = window.population_counts(width)
    if not window.size:
        return np.empty(0)
    return counts / window.size * (1000.0 / (window.bin_steps(width) * window.timestep))


def _width(window: Window) -> float:
    return window.bin_steps(ACTIVITY_BIN) * window.timestep


def _with_themselves(window: Window, n_bins: int) -> NDArray[np.float64]:
    """Sums over neurons and bins of the product of a neuron's centred counts at each lag.

    With c the counts of a neuron and m their mean, the sum of (c[t] - m)(c[t + lag] - m) is the number of its pairs
    of spikes so far apart, less m times the spikes that are at least the lag from the end, and from the begin, plus m²
    for every product.
    """
    bins = window.bins(ACTIVITY_BIN)
    inside = bins < n_bins
    neurons, bins = window.neurons[inside], bins[inside]
    mean = np.bincount(neurons, minlength=window.size) / n_bins
    pairs = _spike_pairs(neurons, bins)
    weighted = np.bincount(bins, mean[neurons], n_bins)  # sum of m over spikes, by bin
    total = weighted.sum()
    late = total - np.concatenate(([0.0], np.cumsum(weighted[:LARGEST_LAG])))
    early = total - np.concatenate(([0.0], np.cumsum(weighted[::-1][:LARGEST_LAG])))
    products = n_bins - np.arange(LARGEST_LAG + 1)
    return pairs - late - early + products * (mean**2).sum()


def _spike_pairs(neurons: NDArray[np.intp], bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Ordered pairs of spikes of the same neuron that are so many bins apart, by lag.

    At lag 0 a spike is paired with itself, and every two spikes in one bin in both orders.
    """
    order = np.argsort(neurons, kind="stable")
    neurons, bins = neurons[order], bins[order]
    pairs = np.zeros(LARGEST_LAG + 1)
    pairs[0] = bins.size
    apart = 1
    while apart < bins.size:
        near = neurons[apart:] == neurons[:-apart]
        distance = (bins[apart:] - bins[:-apart])[near]
        distance = distance[distance <= LARGEST_LAG]
        if not distance.size:  # spikes farther apart in order are farther apart in time
            break
        found = np.bincount(distance, minlength=LARGEST_LAG + 1)
        pairs += found
        pairs[0] += found[0]
        apart += 1
    return pairs
