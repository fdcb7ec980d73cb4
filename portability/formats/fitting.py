"""Bins for weights that are not normally distributed, whose values keep mean and SD all the same.

Dasbach et al. (2021) choose the half-width a of N bins around the mean such that *normal* weights keep
their SD when each takes the centre of its bin; by symmetry, they keep their mean. Neither holds for other
distributions: of lognormal weights with sigma = 1, two such values have 0.71 times the mean. Here the bins
stay of equal width and the values stay equally spaced, but spacing and position of the values are free.
With I the number, 0 to N - 1, of the bin that a weight W falls into, the value of bin i is::

    w_i = E[W] + SD[W] (i - E[I]) / SD[I]

which has the mean and the SD of W whatever the bins are. For normal weights in the bins of the paper,
w_i is the centre of bin i; wherever these centres keep mean and SD, the bins are those of the paper.
Otherwise the bins cover [E[W] - a SD[W], E[W] + a SD[W]] where W has any values, or
reach farther away from zero by a power of 2^(1/4). Of all these, those are taken whose values differ least
from the weights: since mean and SD are kept, the mean square of the difference is
2 SD[W]^2 (1 - corr[I, W]), so that corr[I, W] is made as large as possible. Weights of one sign keep it:
bins with a value across zero are not taken (with bins that reach farther, there always are others).

Probabilities and partial means of the bins are exact: closed forms for continuous distributions, sums over
values for discrete ones and for explicit weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts at first use; most runs need no scipy.special
from numpy.typing import NDArray

from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Value
from pynn_portability.realize.distributions import NEGLIGIBLE_BOUND, mean_and_sd, quantile

FloatArray = NDArray[np.float64]
Upper = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""P(W >= e) and E[W; W >= e] at edges e, shape kept."""

EDGES_AT_ONCE = 2**16
MOST_COARSE = 2**12
"""Most bins, and values of explicit weights, with which intervals are compared."""
PATIENCE = 8
"""Intervals that are compared after the best one so far."""
LARGEST_QUANTILE = 1 - 2.0**-53
KEPT = 1e-9
"""Relative to the SD, by which mean and SD may differ and count as kept."""
TOLERANCE = 1e-12
"""Relative to the mean, by which rounding may carry a value across zero."""


@dataclass(frozen=True)
class Bins:
    """``bins`` bins of equal ``width`` around ``centre``, values ``spacing`` apart around ``middle``."""

    bins: int
    centre: float
    width: float
    middle: float
    spacing: float

    def index(self, weights: FloatArray) -> FloatArray:
        """The bin of each weight, as a float: exact up to 2^53, and one array less."""
        last = self.bins - 1
        index = np.clip(np.floor((weights - self.centre) / self.width + self.bins / 2), 0, last)
        index += (weights >= self.lower_edge(index + 1)) & (index < last)
        index -= (weights < self.lower_edge(index)) & (index > 0)
        return index

    def lower_edge(self, index: FloatArray) -> FloatArray:
        """Where bins begin."""
        return self.centre + (index - self.bins / 2) * self.width

    def value(self, index: FloatArray) -> FloatArray:
        """The values of bins."""
        return self.middle + (index - (self.bins - 1) / 2) * self.spacing


class Law(ABC):
    """The distribution of weights: mean, SD, and between which two numbers they are."""

    mean: float
    sd: float
    low: float
    high: float

    @abstractmethod
    def index_moments(self, bins: Bins) -> tuple[float, float, float]:
        """Mean and SD of the bin's number, and the mean of its product with the weight."""


@dataclass(frozen=True)
class Atoms(Law):
    """Single values with their probabilities, shape ``(n,)`` each."""

    values: FloatArray
    probabilities: FloatArray
    mean: float
    sd: float

    @property
    def low(self) -> float:  # type: ignore[override]
        return float(self.values.min())

    @property
    def high(self) -> float:  # type: ignore[override]
        return float(self.values.max())

    def index_moments(self, bins: Bins) -> tuple[float, float, float]:
        index = bins.index(self.values)
        mean = float(np.dot(self.probabilities, index))
        variance = float(np.dot(self.probabilities, (index - mean) ** 2))
        product = float(np.dot(self.probabilities * index, self.values))
        return mean, float(np.sqrt(variance)), product

    def coarse(self) -> Atoms:
        """About as many values as are enough to compare intervals, the extremes among them."""
        step = len(self.values) // MOST_COARSE
        if step < 2:
            return self
        chosen = np.sort(self.values)[np.append(np.arange(0, len(self.values) - 1, step), -1)]
        even = np.full(len(chosen), 1 / len(chosen))
        return Atoms(chosen, even, *mean_and_sd(chosen))


@dataclass(frozen=True)
class Continuous(Law):
    """A distribution with closed forms for what lies above an edge."""

    upper: Upper
    mean: float
    sd: float
    low: float
    high: float

    def index_moments(self, bins: Bins) -> tuple[float, float, float]:
        # a weight in bin i lies above the lower edges of bins 1 to i
        first = second = product = 0.0
        for start in range(1, bins.bins, EDGES_AT_ONCE):
            index = np.arange(start, min(start + EDGES_AT_ONCE, bins.bins), dtype=np.float64)
            probability, partial_mean = self.upper(bins.lower_edge(index))
            first += float(probability.sum())
            second += float(np.dot(2 * index - 1, probability))
            product += float(partial_mean.sum())
        return first, float(np.sqrt(max(0.0, second - first**2))), product


def is_normal(value: Value) -> bool:
    """Whether weights are normal, bounds that are too far away to matter aside."""
    if not isinstance(value, Distribution):
        return False
    p = value.parameters
    if value.name == "normal":
        return True
    if value.name not in ("normal_clipped", "normal_clipped_to_boundary") or p["sigma"] <= 0:
        return False
    reach = NEGLIGIBLE_BOUND * p["sigma"]
    return bool(p["low"] <= p["mu"] - reach and p["high"] >= p["mu"] + reach)


def fit(value: Value, bins: int, half_width: float) -> Bins:
    """The bins of the head of this module for weights with an SD above 0 and 2 bins or more.

    ``half_width`` is that of the interval around the mean, in SD. Raises RequestError for a
    distribution whose mean and SD are not known.
    """
    law = law_of(value)
    paper = _of_paper(law, bins, half_width)
    if _keeps(law, paper):
        return paper
    coarse = law.coarse() if isinstance(law, Atoms) else law
    few = min(bins, MOST_COARSE)
    best, most, since = None, -1.0, 0
    for low, high in _intervals(coarse, few, half_width):
        found, correlation = _bins(coarse, few, low, high)
        since += 1
        if found is not None and correlation > most:
            best, most, since = (low, high), correlation, 0
        if best is not None and since > PATIENCE:
            break
    low, high = best or next(_intervals(law, bins, half_width))
    # with more bins or more weights, the lowest value may lie across zero
    fitted, _ = _bins(law, bins, low, high)
    while fitted is None and high - low < bins * (law.high - law.low) and best is not None:
        low, high = _extended(law, low, high, 2.0)
        fitted, _ = _bins(law, bins, low, high)
    return fitted or paper


def law_of(value: Value) -> Law:
    """The distribution of weights; RequestError for one whose mean and SD are not known."""
    mean, sd = mean_and_sd(value)
    if not isinstance(value, Distribution):
        weights = np.ravel(np.asarray(value, dtype=np.float64))
        return Atoms(weights, np.full(weights.size, 1 / weights.size), mean, sd)
    p = value.parameters
    ends = quantile(value, np.array([2.0**-54, LARGEST_QUANTILE]))
    low, high = float(ends[0]), float(ends[1])
    if value.name in ("uniform_int", "poisson", "binomial"):
        values = np.arange(low, high + 1, dtype=np.float64)
        law = {
            "uniform_int": lambda: np.full(values.size, 1 / values.size),
            "poisson": lambda: scipy.stats.poisson.pmf(values, p["lambda_"]),
            "binomial": lambda: scipy.stats.binom.pmf(values, p["n"], p["p"]),
        }[value.name]()
        return Atoms(values, law, mean, sd)
    if value.name in ("lognormal", "gamma", "exponential"):
        low = 0.0
    return Continuous(_upper(value), mean, sd, low, high)


def _upper(distribution: Distribution) -> Upper:
    p = distribution.parameters
    match distribution.name:
        case "lognormal":
            mu, sigma = p["mu"], p["sigma"]
            mean = np.exp(mu + sigma**2 / 2)

            def lognormal(e: FloatArray) -> tuple[FloatArray, FloatArray]:
                z = (np.log(np.maximum(e, 1e-300)) - mu) / sigma
                return scipy.special.ndtr(-z), mean * scipy.special.ndtr(sigma - z)

            return lognormal
        case "uniform":
            low, high = sorted((p["low"], p["high"]))

            def uniform(e: FloatArray) -> tuple[FloatArray, FloatArray]:
                inside = np.clip(e, low, high)
                share = (high - inside) / (high - low)
                return share, share * (high + inside) / 2

            return uniform
        case "exponential" | "gamma":
            k, theta = (1.0, p["beta"]) if "beta" in p else (p["k"], p["theta"])

            def gamma(e: FloatArray) -> tuple[FloatArray, FloatArray]:
                x = np.maximum(e, 0.0) / theta
                above = scipy.special.gammaincc(k, x)
                return above, k * theta * scipy.special.gammaincc(k + 1, x)

            return gamma
    return _upper_normal(p, redrawn=distribution.name != "normal_clipped_to_boundary")


def _upper_normal(p: Mapping[str, float], redrawn: bool) -> Upper:
    """Of normal weights which, outside their bounds, are redrawn or moved to the bound."""
    mu, sigma = p["mu"], p["sigma"]
    a, b = (p.get("low", -np.inf) - mu) / sigma, (p.get("high", np.inf) - mu) / sigma

    def density(z: FloatArray | float) -> FloatArray:
        return np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi)

    def between(z: FloatArray | float) -> FloatArray:
        """Probability from z to b, from the tail that is the smaller one."""
        if a > 0:
            return scipy.special.ndtr(-np.asarray(z)) - scipy.special.ndtr(-b)
        return scipy.special.ndtr(b) - scipy.special.ndtr(z)

    def upper(e: FloatArray) -> tuple[FloatArray, FloatArray]:
        z = np.clip((e - mu) / sigma, a, b)
        share = between(z)
        partial = mu * share + sigma * (density(z) - density(b))
        if redrawn:
            return share / between(a), partial / between(a)
        above = scipy.special.ndtr(-b)
        share, partial = share + above, partial + (p["high"] * above if above else 0.0)
        below = e <= p["low"]
        under = scipy.special.ndtr(a)
        share = np.where(below, 1.0, np.where(e > p["high"], 0.0, share))
        partial = np.where(e > p["high"], 0.0, partial)
        return share, partial + np.where(below, p["low"] * under if under else 0.0, 0.0)

    return upper


def _intervals(law: Law, bins: int, half_width: float) -> Iterator[tuple[float, float]]:
    """Intervals in the order of their length, until all weights are in one or two bins."""
    reach = half_width * law.sd
    low, high = max(law.mean - reach, law.low), min(law.mean + reach, law.high)
    longest = bins * (law.high - law.low)
    while high - low < longest:
        yield low, high
        low, high = _extended(law, low, high, 2.0**0.25)
    if law.mean >= 0:
        yield law.low, law.low + longest
    else:
        yield law.high - longest, law.high


def _extended(law: Law, low: float, high: float, factor: float) -> tuple[float, float]:
    """An interval that is longer by a factor, away from zero."""
    if law.mean >= 0:
        return low, low + (high - low) * factor
    return high - (high - low) * factor, high


def _bins(law: Law, bins: int, low: float, high: float) -> tuple[Bins | None, float]:
    """Bins of an interval and how their number correlates with the weight; None if a value is not allowed."""
    centre, width = (low + high) / 2, (high - low) / bins
    if not width > 0:
        return None, -1.0
    empty = Bins(bins, centre, width, 0.0, 0.0)
    mean, sd, product = law.index_moments(empty)
    if not sd > 0:
        return None, -1.0
    spacing = law.sd / sd
    found = Bins(bins, centre, width, law.mean + ((bins - 1) / 2 - mean) * spacing, spacing)
    if _changes_sign(law, found):
        return None, -1.0
    return found, (product - law.mean * mean) / (law.sd * sd)


def _changes_sign(law: Law, bins: Bins) -> bool:
    """Whether a value lies across zero, of weights that do not."""
    if law.low * law.high < 0:
        return False
    nearest = bins.value(np.array([0.0 if law.mean >= 0 else bins.bins - 1.0]))[0]
    return bool(nearest * np.sign(law.mean) < -TOLERANCE * abs(law.mean))


def _of_paper(law: Law, bins: int, half_width: float) -> Bins:
    """Bins around the mean with their centres as values."""
    width = 2 * half_width * law.sd / bins
    return Bins(bins, law.mean, width, law.mean, width)


def _keeps(law: Law, bins: Bins) -> bool:
    """Whether these values have the mean and the SD of the weights."""
    mean, sd, _ = law.index_moments(bins)
    shift = bins.middle + (mean - (bins.bins - 1) / 2) * bins.spacing - law.mean
    stretch = sd * bins.spacing - law.sd
    return max(abs(shift), abs(stretch)) <= KEPT * law.sd and not _changes_sign(law, bins)
