"""The statistics that runs are compared by, and how far two runs are apart in one of them.

Which of them a study is judged by is its own choice; by default it is by those of Dasbach et al. (2021). How
each is computed is in `pynn_portability.judge.neurons` and `pynn_portability.judge.activity`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Literal

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.judge import activity, neurons
from pynn_portability.judge.window import Sample, Window, windows
from pynn_portability.spikes.data import SpikeData

STATISTICS = ("rate", "cv", "cc")
"""What a study is judged by unless it says otherwise."""

Statistics = Mapping[str, Mapping[str, Sample]]
"""One run: by population, then by the name of a statistic."""

Kind = Literal["sample", "number", "curve"]


@dataclass(frozen=True)
class Statistic:
    """One of them.

    ``kind``: a ``sample`` has a value per neuron or pair, in any number; a ``number`` has one value; a ``curve``
    has values at the points that ``axis`` gives for their number and the time step, whose name is ``along``.
    ``of_rates`` are those that are decided by how often each neuron spikes, whenever it does.

    ``width`` (ms) is that of its bins, where all runs must have the same, and ``shortest`` (ms) the least that it can
    be computed from.
    """

    name: str
    title: str
    unit: str
    kind: Kind
    compute: Callable[[Window], Sample]
    meaning: str
    of_rates: bool = False
    width: float | None = None
    shortest: float = 0.0
    along: str = ""
    axis: Callable[[int, float], Sample] | None = None

    @property
    def word(self) -> str:
        """Its name in a sentence."""
        return self.name.upper() if self.name in ("cv", "cc", "lv") else self.name


_COVARIANCE = Statistic(
    "covariance",
    "Cross-covariance",
    "1/s²",
    "curve",
    activity.covariance,
    "pair-averaged cross-covariance of spike trains at lags from 0 to 50 ms",
    width=activity.ACTIVITY_BIN,
    shortest=(activity.LARGEST_LAG + 1) * activity.ACTIVITY_BIN,
    along="ms",
    axis=lambda _, timestep: activity.lags(timestep),
)
_CATALOGUE = (
    Statistic(
        "rate",
        "Firing rate",
        "1/s",
        "sample",
        neurons.rate,
        "spikes per second of each neuron",
        True,
    ),
    Statistic(
        "cv",
        "CV of interspike intervals",
        "",
        "sample",
        neurons.interval_variation,
        "coefficient of variation of the interspike intervals of each neuron with at least 3 spikes",
    ),
    Statistic(
        "cc",
        "Correlation coefficient",
        "",
        "sample",
        neurons.correlations,
        "correlation of spike counts in bins of 2 ms of each pair of up to 200 neurons",
    ),
    Statistic(
        "lv",
        "Local variation",
        "",
        "sample",
        neurons.local_variation,
        "local variation of the interspike intervals of each neuron with at least 3 spikes",
    ),
    Statistic(
        "synchrony",
        "Synchrony",
        "",
        "number",
        activity.synchrony,
        "Fano factor of the population's spike count in bins of 3 ms",
        width=activity.SYNCHRONY_BIN,
        shortest=2 * activity.SYNCHRONY_BIN,
    ),
    Statistic(
        "spectrum",
        "Power spectrum of the rate",
        "1/s",
        "curve",
        activity.spectrum,
        "power spectral density of the population's rate from 4 to 500 Hz",
        width=activity.ACTIVITY_BIN,
        shortest=activity.SEGMENT * activity.ACTIVITY_BIN,
        along="Hz",
        axis=lambda _, timestep: activity.frequencies(timestep),
    ),
    _COVARIANCE,
    replace(
        _COVARIANCE,
        name="covariance-size",
        title="Size of the cross-covariance",
        kind="number",
        compute=activity.covariance_size,
        meaning="root mean square of the pair-averaged cross-covariance",
        along="",
        axis=None,
    ),
    replace(
        _COVARIANCE,
        name="covariance-shape",
        title="Shape of the cross-covariance",
        unit="",
        compute=activity.covariance_shape,
        meaning="pair-averaged cross-covariance over its root mean square",
    ),
)
_BY_NAME = {statistic.name: statistic for statistic in _CATALOGUE}
_EPOCHS = re.compile(r"epochs-(\d{1,9}(?:\.\d{1,6})?)")
EPOCHS = "epochs-MS"

CHOICES = (*_BY_NAME, EPOCHS)
"""Names that a study may choose; MS stands for a number of milliseconds."""


@cache
def statistic(name: str) -> Statistic:
    """The statistic of this name; RequestError, which says what there is, for any other."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    match = _EPOCHS.fullmatch(name)
    width = float(match[1]) if match else 0.0
    if not width > 0:
        raise RequestError(f"{name!r} is no statistic, there are {', '.join(CHOICES)}")
    return Statistic(
        name,
        f"Rate in epochs of {width:g} ms",
        "1/s",
        "curve",
        partial(activity.epochs, width=width),
        f"rate of the population in each epoch of {width:g} ms",
        width=width,
        shortest=width,
        along="ms",
        axis=lambda n, _: (np.arange(n, dtype=np.float64) + 0.5) * width,
    )


def meanings() -> dict[str, str]:
    """What each statistic is, by the name that a study chooses it by."""
    found = {name: chosen.meaning for name, chosen in _BY_NAME.items()}
    return found | {EPOCHS: "rate of the population in each epoch of so many ms"}


def statistics(
    spikes: SpikeData, warmup: float, names: Sequence[str] = STATISTICS
) -> dict[str, dict[str, Sample]]:
    """Statistics of every population of a run, without its first ``warmup`` ms.

    A sample without neurons or pairs to measure is empty; none ever holds NaN or infinity. Raises
    ``RequestError`` when the run is not longer than ``warmup``, and for unknown names.
    """
    chosen = [statistic(name) for name in names]
    return {
        label: {one.name: one.compute(window) for one in chosen}
        for label, window in windows(spikes, warmup).items()
    }


def distance(name: str, a: Sample, b: Sample) -> float:
    """How far two runs are apart in the statistic ``name``, from 0 to 1.

    Samples by `ks_distance`, numbers and curves by `relative_difference`.
    """
    return ks_distance(a, b) if statistic(name).kind == "sample" else relative_difference(a, b)


def relative_difference(a: Sample, b: Sample) -> float:
    """Sum of the absolute differences of two curves over the sum of their absolute values.

    Between 0 and 1 (Bray and Curtis 1957, for values of any sign). Of curves of different length the common
    part counts. Two that are empty or zero have distance 0, and one of them from another one 1.
    """
    if a.size == 0 or b.size == 0:
        return 0.0 if a.size == b.size else 1.0
    n = min(a.size, b.size)
    a, b = a[:n], b[:n]
    largest = float(max(np.abs(a).max(), np.abs(b).max()))
    if largest == 0:
        return 0.0
    a, b = a / largest, b / largest
    return float(np.abs(a - b).sum() / (np.abs(a) + np.abs(b)).sum())


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
