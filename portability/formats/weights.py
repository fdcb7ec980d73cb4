"""Weights as a number format holds them, for one projection or drive of a realization."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, PoissonDrive, Projection
from pynn_portability.realize.distributions import quantile
from pynn_portability.realize.realization import Realization, to_steps
from pynn_portability.realize.streams import LARGEST_UNIFORM, SMALLEST_UNIFORM

FloatArray = NDArray[np.float64]
Represent = Callable[[FloatArray], FloatArray]
"""How the state arithmetic rounds weights."""

MAX_CODES = 2**8
"""Most values of a code book."""


@dataclass(frozen=True)
class CodeBook:
    """The few values that a projection's weights take, and the code of each weight.

    ``values`` has shape ``(n,)``, n <= 256, in the unit of the weights; ``encode`` turns weights of
    any shape into their codes, indices into ``values`` (int64).
    """

    values: FloatArray
    encode: Callable[[FloatArray], NDArray[np.int64]]

    @classmethod
    def of_one(cls, value: FloatArray) -> CodeBook:
        """The book of weights that are all equal; ``value`` has shape ``(1,)``."""
        return cls(value, lambda weights: np.zeros(np.shape(weights), np.int64))


class HeldWeights(ABC):
    """Weights of one projection or drive, before and after a format has rounded them."""

    def __init__(self, item: Projection | PoissonDrive, represent: Represent) -> None:
        self.item = item
        self._represent = represent

    @abstractmethod
    def _hold(self, weights: FloatArray, start: int) -> FloatArray:
        """Weights before the state arithmetic rounds them."""

    def __call__(self, weights: FloatArray, start: int = 0) -> FloatArray:
        """Realized weights (nA or uS) as the format holds them.

        ``start`` is the index of the first of them within the projection, which decides stochastic
        rounding. Shape and unit are kept, each weight is treated by itself (chunks of any size give the
        same result), and the argument is not modified.
        """
        return self._represent(self._hold(weights, start))

    def most_values(self) -> int | None:
        """How many values the weights take at most, None when there is no code book."""
        return 1 if isinstance(self.item.weight, float) else None

    def code_book(self) -> CodeBook | None:
        """The values of the weights, None when there can be more than 256.

        ``book.values[book.encode(weights)]`` is what a call makes of the weights.
        """
        if self.most_values() is None:
            return None
        if isinstance(self.item.weight, float):
            return CodeBook.of_one(self(np.array([self.item.weight])))
        return self._code_book()

    def _code_book(self) -> CodeBook:
        """The book of weights that differ, where `most_values` says that there is one."""
        raise NotImplementedError

    def largest(self) -> float:
        """A bound on the magnitude of the weights as they are held (nA or uS)."""
        weight = self.item.weight
        if isinstance(weight, Distribution):
            # holding never decreases, so the extremes of all draws are enough
            weight = quantile(weight, np.array([SMALLEST_UNIFORM, LARGEST_UNIFORM]))
        held = self(np.atleast_1d(np.asarray(weight, np.float64)))
        return float(np.abs(held).max(initial=0.0))


class WeightFormat(ABC):
    """What a number format does to weights and delays, before it is bound to a realization.

    Unless a subclass says otherwise, a format has nothing to explain and leaves delays as they are.
    """

    fingerprint: str | None = None
    """A hash of what the format's name does not say; None when it says everything."""
    notes: tuple[str, ...] = ()
    """What a verdict on this format does not cover, a sentence each."""
    single_valued: bool = False
    """Whether all weights of a projection become one value."""
    shared_by_network: bool = False
    """Whether what a weight becomes depends on the weights of the whole network."""
    drawn_beforehand: bool = False
    """Whether the scale of weights takes drawing all of them once before."""
    changes_delays: bool = False
    """Whether delays may become others than whole steps make them."""

    @abstractmethod
    def on(
        self, item: Projection | PoissonDrive, realization: Realization, represent: Represent
    ) -> HeldWeights:
        """The weights of a projection or drive; RequestError where the format cannot hold them."""

    def delay_steps(self, milliseconds: FloatArray, timestep: float) -> NDArray[np.int32]:
        """Delays (ms) on the grid of ``timestep`` ms as this format holds them, in steps."""
        return to_steps(milliseconds, timestep)

    def restrictions(self, network: Network, timestep: float) -> list[str]:
        """What of a network this format cannot have and replaces, a sentence each."""
        return []


@dataclass(frozen=True)
class ExactWeights(WeightFormat):
    """Weights as drawn, rounded by nothing but the state arithmetic."""

    def on(
        self, item: Projection | PoissonDrive, realization: Realization, represent: Represent
    ) -> HeldWeights:
        """Weights as they are."""
        return _Exact(item, represent)


class _Exact(HeldWeights):
    def _hold(self, weights: FloatArray, start: int) -> FloatArray:
        return weights
