"""Number formats: what a machine does to weights and to the arithmetic of the neurons' state.

A format is named by a short string. ``double`` is the reference. ``float32`` rounds every weight
to single precision and integrates the state in it. ``naive-N`` and ``moments-N`` allow the weights
of each projection only N different values (both with double-precision state): the two schemes of
Dasbach, Tetzlaff, Diesmann and Senk (2021), Front. Neurosci. 15:757790, section 2.2.

The N values are the centres of N bins of equal width D = 2 a SD / N around the mean of the
projection's weight distribution. ``naive-N`` takes the half-width a = 5. ``moments-N`` takes the a
for which normally distributed weights keep their standard deviation, see `first_root`; the mean is
kept by symmetry.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import scipy  # loads its parts at first use; most runs need neither statistics nor optimisation
from numpy.typing import NDArray

from portability.errors import RequestError
from portability.network import Distribution, Projection, Value

Weights = NDArray[np.float64]
Scheme = Literal["exact", "naive", "moments"]

FORMATS = ("double", "float32", "naive-N", "moments-N")
MAX_BINS = 2**24
NAIVE_HALF_WIDTH = 5.0
# from here on Dasbach et al. do not solve for the half-width: the naive interval is then as good
MOMENTS_BINS_LIMIT = 2**16
# a bound farther away than this (in SD) cuts off less than 1e-15 of a normal distribution
NEGLIGIBLE_BOUND = 8.0


@dataclass(frozen=True)
class NumberFormat:
    """How weights and neuron state are represented; made by `number_format`.

    ``bins`` is the number of values per projection, None when the weights are not discretised
    (``scheme == "exact"``). ``state`` is the floating-point type in which neurons are integrated.
    """

    name: str
    scheme: Scheme
    bins: int | None
    state: Literal["float64", "float32"]

    def values(self, mean: float, sd: float) -> Weights:
        """The values a weight can take, ascending, shape ``(bins,)``, in the unit of ``mean``.

        Values whose sign opposes that of ``mean`` are 0 (Dale's rule). Raises ValueError for a
        format that does not discretise.
        """
        if self.bins is None:
            raise ValueError(f"the number format {self.name} does not discretise weights")
        width = 2 * half_width(self.scheme, self.bins) * sd / self.bins
        index = np.arange(self.bins, dtype=np.float64)
        return _dale(_centre(index, mean, width, self.bins), mean)

    def discretiser(self, projection: Projection) -> Callable[[Weights], Weights]:
        """A function from realized weights of ``projection`` to weights as this format holds them.

        It keeps shape and unit, treats each weight by itself (chunks of any size give the same
        result) and does not modify its argument.

        - The bins are centred on the mean of the projection's weight distribution, or on that of
          its explicit weights.
        - A weight belongs to the last bin whose lower edge it reaches, so that a tie goes to the
          larger value: for inhibitory weights, the weaker one. The inner edges are the
          double-precision results of ``mean + (k - N/2) * D``, and a bin found by division is
          corrected where rounding put it on the wrong side of such an edge.
        - Weights outside all bins get the first or the last value.
        - Dale's rule: values whose sign opposes that of the mean become 0. The mean tells the sign,
          not the receptor, because inhibitory weights are negative only on current-based targets.
        - Weights that are all equal (SD 0) need one value only and are not discretised.

        Raises RequestError for a weight distribution whose mean and SD are not known here.
        """
        if self.bins is None:
            return _as_float32 if self.state == "float32" else _unchanged
        bins = self.bins
        mean, sd = mean_and_sd(projection.weight)
        width = 2 * half_width(self.scheme, bins) * sd / bins
        if width == 0:
            return _unchanged

        def discretise(weights: Weights) -> Weights:
            # indices stay floats: exact up to 2^53, and one array less
            index = np.clip(np.floor((weights - mean) / width + bins / 2), 0, bins - 1)
            index += (weights >= _lower_edge(index + 1, mean, width, bins)) & (index < bins - 1)
            index -= (weights < _lower_edge(index, mean, width, bins)) & (index > 0)
            return _dale(_centre(index, mean, width, bins), mean)

        return discretise


def number_format(text: str) -> NumberFormat:
    """The number format called ``text``; RequestError, listing what is allowed, if none is."""
    if text == "double":
        return NumberFormat(text, "exact", None, "float64")
    if text == "float32":
        return NumberFormat(text, "exact", None, "float32")
    # no leading zeros: a format has one spelling, because its name is part of a run's identity
    match = re.fullmatch(r"(naive|moments)-([1-9][0-9]{0,8})", text, re.ASCII)
    if match is None or int(match[2]) > MAX_BINS:
        raise RequestError(
            f"unknown number format {text!r}: allowed are {', '.join(FORMATS)}, "
            f"where N is a number of bins from 1 to {MAX_BINS}"
        )
    scheme: Scheme = "naive" if match[1] == "naive" else "moments"
    return NumberFormat(text, scheme, int(match[2]), "float64")


def half_width(scheme: Scheme, bins: int) -> float:
    """Half the width of the interval that ``bins`` bins cover, in SD of the weights.

    5 for ``naive``, and for ``moments`` with 1 bin (which has no SD to preserve) or with 2^16 and
    more; otherwise `first_root`. Dasbach et al. 2021, sections 2.2.1 and 2.2.2. Raises ValueError
    for ``exact``.
    """
    if scheme == "exact":
        raise ValueError("the scheme exact has no bins")
    if scheme == "naive" or bins == 1 or bins >= MOMENTS_BINS_LIMIT:
        return NAIVE_HALF_WIDTH
    return first_root(bins)


@cache
def first_root(bins: int) -> float:
    """Smallest half-width (in SD) at which ``bins`` >= 2 bins preserve the SD of a normal variable.

    Solves SD_N(a) = SD by Brent's method (Dasbach et al. 2021, section 2.2.2). Odd N have a second
    root farther out. Raises ValueError for fewer than 2 bins.
    """
    if bins < 2:
        raise ValueError(f"{bins} bins cannot preserve a standard deviation, at least 2 can")
    # no value lies beyond a, so SD_N(1) < 1; steps of 0.5 cannot jump over both roots, which are
    # 3 apart for N = 3 and farther for larger N
    upper = 1.5
    while discretised_sd(bins, upper) <= 1:
        upper += 0.5
    root = scipy.optimize.brentq(
        lambda a: discretised_sd(bins, a) - 1, upper - 0.5, upper, xtol=1e-14
    )
    return float(root)


def sd_ratio(scheme: Scheme, bins: int) -> float:
    """SD of normal weights after discretisation, relative to before; 2.5 for ``naive``, 2 bins."""
    return discretised_sd(bins, half_width(scheme, bins))


def discretised_sd(bins: int, half: float) -> float:
    """SD of a standard normal variable discretised to ``bins`` values in the interval +- ``half``.

    Dasbach et al. 2021, equations 8, 10 and 11. By symmetry only positive values are summed, with
    upper-tail probabilities, which keeps the relative precision of the rare outer values.
    """
    width = 2 * half / bins
    first_edge = 0.0 if bins % 2 == 0 else width / 2
    edges = first_edge + width * np.arange(bins // 2)
    tails = np.append(scipy.special.ndtr(-edges), 0.0)
    return float(np.sqrt(-2 * np.sum(np.diff(tails) * (edges + width / 2) ** 2)))


def mean_and_sd(value: Value) -> tuple[float, float]:
    """Mean and SD of a number (SD 0), of an array (over its entries) or of a distribution.

    The SD is that of the whole population (divisor n). Raises RequestError for a distribution whose
    mean and SD are not known here.
    """
    if isinstance(value, Distribution):
        return _distribution_mean_and_sd(value)
    array = np.asarray(value, dtype=np.float64)
    if array.size == 0:
        return 0.0, 0.0
    # in floating point the SD of equal numbers need not be 0
    if array.min() == array.max():
        return float(array.flat[0]), 0.0
    return float(array.mean()), float(array.std())


def _distribution_mean_and_sd(distribution: Distribution) -> tuple[float, float]:
    """Analytic mean and SD; parameters as in ``pyNN.random.RandomDistribution``."""
    p = distribution.parameters
    match distribution.name:
        case "normal":
            return p["mu"], p["sigma"]
        case "normal_clipped":
            return _bounded_normal(p["mu"], p["sigma"], p["low"], p["high"], redrawn=True)
        case "normal_clipped_to_boundary":
            return _bounded_normal(p["mu"], p["sigma"], p["low"], p["high"], redrawn=False)
        case "lognormal":
            frozen = scipy.stats.lognorm(s=p["sigma"], scale=np.exp(p["mu"]))
        case "uniform":
            frozen = scipy.stats.uniform(loc=p["low"], scale=p["high"] - p["low"])
        case "uniform_int":
            frozen = scipy.stats.randint(p["low"], p["high"])
        case "gamma":
            frozen = scipy.stats.gamma(a=p["k"], scale=p["theta"])
        case "exponential":
            frozen = scipy.stats.expon(scale=p["beta"])
        case "poisson":
            frozen = scipy.stats.poisson(p["lambda_"])
        case "binomial":
            frozen = scipy.stats.binom(p["n"], p["p"])
        case other:
            raise RequestError(
                f"weights drawn from {other!r} cannot be discretised: allowed are normal, "
                "normal_clipped, normal_clipped_to_boundary, lognormal, uniform, uniform_int, "
                "gamma, exponential, poisson and binomial"
            )
    return float(frozen.mean()), float(frozen.std())


def _bounded_normal(
    mu: float, sigma: float, low: float, high: float, redrawn: bool
) -> tuple[float, float]:
    """Mean and SD of a normal draw which, outside [low, high], is redrawn or moved to the bound."""
    if sigma == 0:
        return float(np.clip(mu, low, high)), 0.0
    a, b = (low - mu) / sigma, (high - mu) / sigma
    if a <= -NEGLIGIBLE_BOUND and b >= NEGLIGIBLE_BOUND:
        return mu, sigma
    if redrawn:
        truncated = scipy.stats.truncnorm(a, b, loc=mu, scale=sigma)
        return float(truncated.mean()), float(truncated.std())
    density_a, density_b = np.exp(-np.square([a, b]) / 2) / np.sqrt(2 * np.pi)
    below, above = scipy.special.ndtr(a), scipy.special.ndtr(-b)
    # an infinite bound is never reached: its terms are 0, not infinity times 0
    a, b = (x if np.isfinite(x) else 0.0 for x in (a, b))
    first = a * below + b * above + density_a - density_b
    second = a**2 * below + b**2 * above + 1 - below - above + a * density_a - b * density_b
    return float(mu + sigma * first), float(sigma * np.sqrt(second - first**2))


def _lower_edge(index: Weights, mean: float, width: float, bins: int) -> Weights:
    return mean + (index - bins / 2) * width


def _centre(index: Weights, mean: float, width: float, bins: int) -> Weights:
    return mean + (index - (bins - 1) / 2) * width


def _dale(weights: Weights, mean: float) -> Weights:
    if mean > 0:
        return np.maximum(weights, 0.0)
    if mean < 0:
        return np.minimum(weights, 0.0)
    return weights


def _unchanged(weights: Weights) -> Weights:
    return weights


def _as_float32(weights: Weights) -> Weights:
    return weights.astype(np.float32).astype(np.float64)
