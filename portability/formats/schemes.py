"""Discretisation schemes: the weights of a projection take N values, by Dasbach et al. (2021).

The two schemes are those of Dasbach, Tetzlaff, Diesmann and Senk (2021), Front. Neurosci. 15:757790,
section 2.2. The N values are the centres of N bins of equal width D = 2 a SD / N around the mean of the
projection's weight distribution. ``naive`` takes the half-width a = 5. ``moments`` takes the a for which
normally distributed weights keep their standard deviation, see `first_root`; the mean is kept by
symmetry. Other weights keep both by the construction of `pynn_portability.formats.fitting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np
import scipy  # loads its parts at first use; most runs need no optimisation
from numpy.typing import NDArray

from pynn_portability.formats.fitting import Bins, fit, is_normal
from pynn_portability.formats.weights import (
    MAX_CODES,
    CodeBook,
    ExactWeights,
    HeldWeights,
    Represent,
    WeightFormat,
)
from pynn_portability.model.network import PoissonDrive, Projection
from pynn_portability.realize.distributions import mean_and_sd
from pynn_portability.realize.realization import Realization

FloatArray = NDArray[np.float64]
Scheme = Literal["naive", "moments"]

MAX_BINS = 2**24
NAIVE_HALF_WIDTH = 5.0
# from here on Dasbach et al. do not solve for the half-width: the naive interval is then as good
MOMENTS_BINS_LIMIT = 2**16


@dataclass(frozen=True)
class BinnedWeights(WeightFormat):
    """At most ``bins`` values for the weights of each projection, placed by a scheme."""

    scheme: Scheme
    bins: int

    @property
    def single_valued(self) -> bool:  # type: ignore[override]
        return self.bins == 1

    def values(self, mean: float, sd: float) -> FloatArray:
        """The values normal weights can take, ascending, shape ``(bins,)``, in the unit of ``mean``.

        Values whose sign opposes that of ``mean`` are 0 (Dale's rule).
        """
        width = self.width(sd)
        bins = Bins(self.bins, mean, width, mean, width)
        return _dale(bins.value(np.arange(self.bins, dtype=np.float64)), mean)

    def width(self, sd: float) -> float:
        """Width of a bin for weights of this SD, in its unit."""
        return 2 * half_width(self.scheme, self.bins) * sd / self.bins

    def on(
        self, item: Projection | PoissonDrive, realization: Realization, represent: Represent
    ) -> HeldWeights:
        """Weights of a projection in its bins; drives keep theirs.

        - The bins are centred on the mean of the projection's weight distribution, or on that of
          its explicit weights. In ``moments``, weights that are not normal have other bins, see
          `pynn_portability.formats.fitting`.
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
        if isinstance(item, PoissonDrive):
            return ExactWeights().on(item, realization, represent)
        return _Binned(item, represent, self)


class _Binned(HeldWeights):
    def __init__(self, item: Projection, represent: Represent, binned: BinnedWeights) -> None:
        super().__init__(item, represent)
        self._scheme, self._n = binned.scheme, binned.bins
        self._mean, self._sd = mean_and_sd(item.weight)
        self._width = binned.width(self._sd)

    @cached_property
    def _bins(self) -> Bins:
        if self._scheme == "moments" and self._n > 1 and not is_normal(self.item.weight):
            return fit(self.item.weight, self._n, half_width("moments", self._n))
        return Bins(self._n, self._mean, self._width, self._mean, self._width)

    def _hold(self, weights: FloatArray, start: int) -> FloatArray:
        if self._width == 0:
            # the mean is each of them, but for the smallest numbers, whose SD is 0 in doubles
            return np.full_like(weights, self._mean)
        return _dale(self._bins.value(self._bins.index(weights)), self._mean)

    def most_values(self) -> int | None:
        if isinstance(self.item.weight, float):
            return 1
        if self._n > MAX_CODES:
            return None
        return self._n if self._width else 1

    def _code_book(self) -> CodeBook:
        if self._width == 0:
            return CodeBook.of_one(self._represent(np.array([self._mean])))
        bins = self._bins
        values = bins.value(np.arange(self._n, dtype=np.float64))
        return CodeBook(
            self._represent(_dale(values, self._mean)),
            lambda weights: bins.index(weights).astype(np.int64),
        )


def half_width(scheme: Scheme, bins: int) -> float:
    """Half the width of the interval that ``bins`` bins cover, in SD of the weights.

    5 for ``naive``, and for ``moments`` with 1 bin (which has no SD to preserve) or with 2^16 and
    more; otherwise `first_root`. Dasbach et al. 2021, sections 2.2.1 and 2.2.2.
    """
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


def _dale(weights: FloatArray, mean: float) -> FloatArray:
    if mean > 0:
        return np.maximum(weights, 0.0)
    if mean < 0:
        return np.minimum(weights, 0.0)
    return weights
