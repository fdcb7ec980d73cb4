"""Connections between parts of populations: what becomes of views and assemblies of a script.

A script may connect some cells of a population, or cells of several as one group. In a network, projections are
between whole populations; `Part` is the rule that says which of their cells belong to the groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pynn_portability.model.connectivity import (
    ConnectionRule,
    Draws,
    Ends,
    FixedNumber,
    FixedTotalNumber,
    Indegrees,
    OwnRule,
    Pairs,
    Wiring,
)


@dataclass(frozen=True)
class Part(OwnRule):
    """What another rule connects between two groups of cells, as far as it is in two populations.

    - ``rule`` connects the groups.
    - ``sources``, ``targets``: for every cell of a group its index in the population that the projection
      comes from or goes to, -1 for a cell of another population; int64, one dimension.
    - ``same``: the groups are the same cells in the same order.
    - ``distinct``: no cell is connected to itself, where the groups share some cells.
    - ``drawn_as``: random numbers are those of this name, so that parts of one connector fit together.
    """

    rule: ConnectionRule
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    same: bool
    distinct: bool
    drawn_as: str

    @property
    def _ends(self) -> Ends:
        return Ends(len(self.sources), len(self.targets), self.same)

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        inner = self.rule.wiring(self._ends, draws.named(self.drawn_as))
        whole = (self.sources >= 0).all() and (self.targets >= 0).all()
        if whole and not self.distinct:
            return _Translated(inner, self.sources, self.targets)
        return _Selected(inner, self.sources, self.targets, self.distinct and ends.same)

    def indegrees(self, ends: Ends) -> Indegrees:
        """Over all targets of the population, of which those outside the group have no input."""
        inner = self.rule.indegrees(self._ends)
        present = float((self.sources >= 0).mean()) if len(self.sources) else 0.0
        reached = float((self.targets >= 0).sum()) / ends.n_targets
        # inputs from this population among all: hypergeometric if they are distinct, else binomial
        others = max(inner.sources - 1, 1)
        spread = (
            (inner.sources * inner.mean - inner.variance - inner.mean**2) / others
            if inner.distinct
            else inner.mean
        )
        mean = inner.mean * present
        variance = inner.variance * present**2 + present * (1 - present) * max(spread, 0.0)
        overall = reached * mean
        return Indegrees(
            overall,
            reached * (variance + mean**2) - overall**2,
            int((self.sources >= 0).sum()),
            inner.distinct,
        )

    def expected_count(self, ends: Ends) -> float:
        present = (self.sources >= 0).sum() * (self.targets >= 0).sum()
        pairs = max(len(self.sources) * len(self.targets), 1)
        return float(self.rule.expected_count(self._ends) * present / pairs)


@dataclass(frozen=True)
class Apart(OwnRule):
    """A rule with fixed numbers of synapses between groups that share some cells, none of which meets itself.

    ``itself`` is that of `Ends`.
    """

    rule: FixedNumber | FixedTotalNumber
    itself: NDArray[np.int64]

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        return self.rule.wiring(replace(ends, itself=self.itself), draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        return self.rule.indegrees(replace(ends, itself=self.itself))


@dataclass(frozen=True)
class _Translated(Wiring):
    """The synapses of groups whose cells all are in the populations."""

    inner: Wiring
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]

    @property
    def count(self) -> int:
        return self.inner.count

    def pairs(self, start: int, stop: int) -> Pairs:
        source, target = self.inner.pairs(start, stop)
        return self.sources[source].astype(np.int32), self.targets[target].astype(np.int32)

    def places(self, start: int, stop: int) -> Pairs:
        return self.inner.places(start, stop)


@dataclass(frozen=True)
class _Selected(Wiring):
    """Those synapses of groups that are between cells of the populations."""

    inner: Wiring
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    distinct: bool

    @cached_property
    def _kept(self) -> Pairs:
        """Their sources and targets in the groups."""
        kept: list[Pairs] = []
        chunk = 2**20
        for start in range(0, self.inner.count, chunk):
            source, target = self.inner.pairs(start, min(start + chunk, self.inner.count))
            own_source, own_target = self.sources[source], self.targets[target]
            own = (own_source >= 0) & (own_target >= 0)
            if self.distinct:
                own &= own_source != own_target
            kept.append((source[own], target[own]))
        if not kept:
            return np.empty(0, np.int32), np.empty(0, np.int32)
        return np.concatenate([k[0] for k in kept]), np.concatenate([k[1] for k in kept])

    @property
    def count(self) -> int:
        return len(self._kept[0])

    def pairs(self, start: int, stop: int) -> Pairs:
        source, target = self.places(start, stop)
        return self.sources[source].astype(np.int32), self.targets[target].astype(np.int32)

    def places(self, start: int, stop: int) -> Pairs:
        source, target = self._kept
        return source[start:stop], target[start:stop]
