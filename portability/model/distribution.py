"""Random quantities of a network, which the realization draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Distribution:
    """A random quantity, named and parametrised as in ``pyNN.random.RandomDistribution``."""

    name: str
    parameters: Mapping[str, float]
