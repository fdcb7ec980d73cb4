"""Connections, weights and delays that depend on where cells are, or on their indices.

Positions are numbers when a script connects cells, so that its functions and expressions are evaluated for every
pair at once: a network has probabilities, weights and delays of pairs, and nothing that could be executed.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyNN.connectors
import pyNN.core
import pyNN.random
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError
from pynn_portability.model.connectivity import (
    ConnectionRule,
    Draws,
    Ends,
    FromList,
    Indegrees,
    OwnRule,
    Pairs,
    Wiring,
)
from pynn_portability.model.kernels import KernelConnector
from pynn_portability.model.parts import Part

if TYPE_CHECKING:
    from pynn_portability.model.groups import Group

FloatArray = NDArray[np.float64]

MOST_PAIRS = 2**25
"""Pairs of cells in one projection for which a matrix is kept, eight bytes for each."""

MOST_LIKELY = 2**24
"""Pairs that may be connected, where there are more than `MOST_PAIRS` in all; sixteen bytes for each are kept."""

AT_ONCE = 2**21
"""Pairs for which a function is evaluated at once, where there are more than `MOST_PAIRS`."""

CONNECTORS: Mapping[str, str] = MappingProxyType(
    {
        "DistanceDependentProbabilityConnector": "an expression or a function of the distance d, never negative",
        "IndexBasedProbabilityConnector": "an IndexBasedExpression of the two indices",
        "DisplacementDependentProbabilityConnector": "a function of the displacements, shape (3, n)",
        "ArrayConnector": "an array of True and False, a row for each source",
        "FromFileConnector": "the name of a file with a list of pairs, as FromListConnector takes it",
        "CSAConnector": "a connection set of the Connection Set Algebra",
        "CloneConnector": "a projection between the same cells",
    }
)
"""Connectors of PyNN that are evaluated when a script makes a projection, and what their constructors take."""


@dataclass(frozen=True)
class PairProbability(OwnRule):
    """Every pair independently with a probability of its own, ``probability[source, target]``."""

    probability: FloatArray

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        return _Drawn(self.probability, draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        """Sums of independent choices, whose mean differs from target to target."""
        p = self.probability
        means = p.sum(axis=0)
        variance = float((p * (1 - p)).sum(axis=0).mean() + means.var())
        return Indegrees(float(means.mean()), variance, ends.n_sources, True)


@dataclass(frozen=True)
class LikelyPairs(OwnRule):
    """What `PairProbability` is, of many pairs that are not connected with certainty and some that may be.

    ``source``, ``target``, int32, and ``probability`` are of those that may be, shape ``(n,)``, source by source.
    Arrays of weights and delays have one row with a column for each of them.
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    probability: FloatArray

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        return _DrawnAmong(self, ends.n_targets, draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        """Sums of independent choices, whose mean differs from target to target."""
        p, n = self.probability, ends.n_targets
        means = np.bincount(self.target, p, n)
        variances = np.bincount(self.target, p * (1 - p), n)
        variance = float(variances.mean() + means.var())
        return Indegrees(float(means.mean()), variance, ends.n_sources, True)


@dataclass(frozen=True)
class _DrawnAmong(Wiring):
    likely: LikelyPairs
    n_targets: int
    draws: Draws

    @cached_property
    def _chosen(self) -> NDArray[np.int64]:
        """Which of the pairs are connected."""
        source, target, probability = (
            self.likely.source,
            self.likely.target,
            self.likely.probability,
        )
        chosen, chunk = [np.empty(0, np.int64)], 2**20
        for start in range(0, len(source), chunk):
            part = slice(start, start + chunk)
            pairs = source[part].astype(np.int64) * self.n_targets + target[part]
            drawn = self.draws.pair_uniforms_of(pairs) < probability[part]
            chosen.append(start + np.flatnonzero(drawn))
        return np.concatenate(chosen)

    @property
    def count(self) -> int:
        return len(self._chosen)

    def pairs(self, start: int, stop: int) -> Pairs:
        chosen = self._chosen[start:stop]
        return self.likely.source[chosen], self.likely.target[chosen]

    def places(self, start: int, stop: int) -> Pairs:
        chosen = self._chosen[start:stop].astype(np.int32)
        return np.zeros_like(chosen), chosen


@dataclass(frozen=True)
class _Drawn(Wiring):
    probability: FloatArray
    draws: Draws

    @cached_property
    def _chosen(self) -> Pairs:
        """Sources and targets of the pairs that are connected, row after row."""
        flat, chunk = self.probability.reshape(-1), 2**20
        chosen = [
            start
            + np.flatnonzero(
                self.draws.pair_uniforms(start, min(start + chunk, len(flat)))
                < flat[start : start + chunk]
            )
            for start in range(0, len(flat), chunk)
        ]
        row, column = np.divmod(np.concatenate(chosen), self.probability.shape[1])
        return row.astype(np.int32), column.astype(np.int32)

    @property
    def count(self) -> int:
        return len(self._chosen[0])

    def pairs(self, start: int, stop: int) -> Pairs:
        row, column = self._chosen
        return row[start:stop], column[start:stop]


class Spatial:
    """Two groups of cells in a space, between which something is evaluated for every pair."""

    def __init__(self, pre: Group, post: Group, space: Any, where: str) -> None:
        self.pre, self.post = pre, post
        self._space, self._where = space, where

    def listed(self, connector: Any) -> Any:
        """A connector that reads or evaluates a list, as one that has the list; others as they are."""
        name = type(connector).__name__
        if name == "FromFileConnector":
            return self._read(connector)
        if name == "CSAConnector":
            return self._connection_set(connector)
        if isinstance(connector, KernelConnector):
            return self._of_kernel(connector)
        return connector

    def _of_kernel(self, connector: KernelConnector) -> Any:
        source, target, row, column = connector.connected(self.pre.size, self.post.size)
        columns: list[NDArray[Any]] = [source, target]
        for name, kernel in connector.kernels.items():
            drawn = hasattr(kernel, "next")
            values = self._drawn_kernel(kernel, connector.kernel, name) if drawn else kernel
            columns.append(values[row, column])
        return self._list_of(np.stack(columns, axis=1), list(connector.kernels))

    def _drawn_kernel(self, given: Any, shape: tuple[int, int], name: str) -> FloatArray:
        self.pre.recorder.drawn_once(f"the {name} kernel of {self._where}")
        generator = pyNN.random.NumpyRNG(seed=self.pre.recorder.own_seed())
        drawn = pyNN.random.RandomDistribution(given.name, rng=generator, **given.parameters)
        return np.reshape(drawn.next(shape[0] * shape[1]), shape)

    def _read(self, connector: Any) -> Any:
        try:
            columns = list(
                connector.file.get_metadata().get("columns", ("i", "j", "weight", "delay"))
            )
            rows = np.atleast_2d(connector.file.read())
        except Exception as error:
            raise RequestError(
                f"FromFileConnector of {self._where}: the list cannot be read ({error})"
            ) from error
        names = [name for name in columns if name not in ("i", "j")]
        return self._list_of(rows, names[: rows.shape[1] - 2])

    def _connection_set(self, connector: Any) -> Any:
        import csa  # noqa: PLC0415 - who has a connection set has it

        self.pre.recorder.drawn_once(f"connections of {self._where}")
        before = random.getstate()
        random.seed(self.pre.recorder.own_seed())  # what random connection sets draw from
        finite = csa.cross(range(self.pre.size), range(self.post.size)) * connector.cset
        names = ["weight", "delay"] if csa.arity(connector.cset) == 2 else []
        pairs = list(finite)
        random.setstate(before)
        return self._list_of(pairs, names)

    def _list_of(self, rows: Any, names: list[str]) -> Any:
        try:
            return pyNN.connectors.FromListConnector(rows, column_names=names)
        except Exception as error:
            raise RequestError(f"the list of {self._where} is wrong: {error}") from error

    def rule(self, connector: Any) -> ConnectionRule | None:
        """The rule of a connector that is evaluated for all pairs; None for another one."""
        name = type(connector).__name__
        allowed = getattr(connector, "allow_self_connections", True)
        if name == "FixedProbabilityConnector" and allowed == "NoMutual":
            return self._pairwise(lambda d: connector.p_connect, connector)
        if name not in CONNECTORS:
            return None
        if name == "CloneConnector":
            return self._clone(connector.reference_projection)
        if name == "ArrayConnector":
            chosen = np.asarray(connector.array)
            shape = (self.pre.size, self.post.size)
            if chosen.shape != shape:
                raise RequestError(
                    f"ArrayConnector of {self._where} has an array of shape {chosen.shape}; allowed is "
                    f"True and False in shape {shape}"
                )
            if chosen.dtype.kind not in "biuf" or not np.isin(chosen, (0, 1)).all():
                raise RequestError(
                    f"ArrayConnector of {self._where} has an array of {chosen.dtype} with other values than 0 "
                    "and 1; allowed are True and False, or 1 and 0"
                )
            source, target = np.nonzero(chosen)
            return FromList(source.astype(np.int64), target.astype(np.int64))
        function = (
            connector.distance_function
            if name == "DistanceDependentProbabilityConnector"
            else connector.index_expression
        )
        return self._pairwise(function, connector)

    def _pairwise(self, function: Any, connector: Any) -> ConnectionRule:
        name = type(connector).__name__
        if connector.allow_self_connections == "NoMutual" and not np.array_equal(
            self.pre.ids, self.post.ids
        ):
            raise UnsupportedError(
                f'{name}(allow_self_connections="NoMutual") of {self._where} is not supported between '
                "different cells, as in PyNN; supported are True and False"
            )
        if self._many:
            return self._likely(function, connector)
        probability = self._probability(self._matrix(function, name), connector, 0)
        return PairProbability(self.pre.recorder.once(probability))

    def _probability(self, values: FloatArray, connector: Any, first: int) -> FloatArray:
        """The probabilities of rows from ``first`` on, of which a connector has given ``values``."""
        # PyNN connects where a uniform number from 0 to 1 is below the value
        probability = np.clip(values, 0.0, 1.0)
        rows, allowed = slice(first, first + len(values)), connector.allow_self_connections
        if allowed == "NoMutual":
            # as in PyNN, only a cell of a higher index is connected to one of a lower
            sources = np.arange(self.pre.size)[rows, np.newaxis]
            probability[sources <= np.arange(self.post.size)] = 0.0
        elif not allowed:
            probability[self.pre.ids[rows, np.newaxis] == self.post.ids] = 0.0
        return probability

    @property
    def _many(self) -> bool:
        return self.pre.size * self.post.size > MOST_PAIRS

    def _likely(self, function: Any, connector: Any) -> ConnectionRule:
        """The rule for more pairs than there is space for, if few enough may be connected."""
        name = type(connector).__name__
        if len(self.pre.members) > 1 or len(self.post.members) > 1:
            raise self._too_many(name, "connect their members, which are fewer cells")
        found: list[tuple[NDArray[Any], ...]] = []
        count = 0
        for first, last in self._pieces():
            probability = self._probability(
                self._rows(function, name, first, last), connector, first
            )
            row, column = np.nonzero(probability)
            count += len(row)
            if count > MOST_LIKELY:
                raise self._too_many(
                    name,
                    f"more are supported only if at most {MOST_LIKELY:,} of them may be connected",
                )
            found.append((row + first, column, probability[row, column]))
        source, target, probability = (np.concatenate(part) for part in zip(*found, strict=True))
        return LikelyPairs(source.astype(np.int32), target.astype(np.int32), probability)

    def _pieces(self) -> Iterator[tuple[int, int]]:
        """Rows that are evaluated together, the first and the one after the last."""
        step = max(AT_ONCE // self.post.size, 1)
        for first in range(0, self.pre.size, step):
            yield first, min(first + step, self.pre.size)

    def _too_many(self, what: str, sentence: str) -> UnsupportedError:
        return UnsupportedError(
            f"{what} of {self._where} would be evaluated for {self.pre.size * self.post.size:,} pairs of cells, "
            f"at most {MOST_PAIRS:,} are supported; {sentence}"
        )

    def _clone(self, original: Any) -> ConnectionRule:
        """A rule that draws the pairs of another projection again."""
        groups = ((self.pre, original.pre), (self.post, original.post))
        if not all(np.array_equal(a.ids, b.ids) for a, b in groups):
            raise RequestError(
                f"CloneConnector of {self._where}: allowed is {CONNECTORS['CloneConnector']}"
            )
        if len(self.pre.members) > 1 or len(self.post.members) > 1:
            raise UnsupportedError(
                f"CloneConnector of {self._where} is not supported between assemblies; connect their members"
            )
        if original.lacks_pairs:
            raise UnsupportedError(
                f"CloneConnector of {self._where} is not supported for a projection without self-connections "
                "between groups that share some of their cells"
            )
        if isinstance(original.rule, LikelyPairs):
            raise self._too_many("CloneConnector", "give the connector itself once more")
        everyone = np.arange(self.pre.size), np.arange(self.post.size)
        same = np.array_equal(self.pre.ids, self.post.ids)
        return Part(original.rule, *everyone, same, distinct=False, drawn_as=original.label)

    def evaluated(self, value: Any, rule: ConnectionRule) -> Any:
        """A lazy array of a weight or delay, with numbers in place of a function of distance or indices.

        Of many pairs, the numbers are those of the pairs that a rule lists.
        """
        base = getattr(value, "base_value", None)
        if not callable(base) or hasattr(base, "next"):
            return value
        if self._many and isinstance(rule, FromList | LikelyPairs):
            return self._of_pairs(value, rule)
        return self._lazily(value, self._matrix(base, "a function"))

    def _lazily(self, value: Any, matrix: FloatArray) -> FloatArray:
        """What a lazy array is when its function has given a matrix."""
        given = copy.copy(value)
        given.shape = matrix.shape
        given.base_value = matrix
        return np.asarray(given.evaluate(), np.float64)

    def _of_pairs(self, value: Any, rule: FromList | LikelyPairs) -> FloatArray:
        """The numbers of the pairs of a rule, in their order."""
        numbers = np.empty(len(rule.source))
        order = np.argsort(rule.source, kind="stable")
        sources = rule.source[order]
        for first, last in self._pieces():
            own = order[slice(*np.searchsorted(sources, (first, last)))]
            if len(own):
                matrix = self._rows(value.base_value, "a function", first, last)
                numbers[own] = self._lazily(value, matrix)[
                    rule.source[own] - first, rule.target[own]
                ]
        return numbers

    def placed(self, value: Any, rule: ConnectionRule) -> Any:
        """A weight or delay as the rule has it in a network."""
        if not isinstance(rule, LikelyPairs) or not isinstance(value, np.ndarray):
            return value
        own = value if value.ndim == 1 else value[rule.source, rule.target]
        return own[np.newaxis]

    def _matrix(self, function: Any, what: str) -> FloatArray:
        """The values of a function for every pair, shape ``(sources, targets)``."""
        if self._many:
            raise self._too_many(what, "connect smaller populations")
        return self._rows(function, what, 0, self.pre.size)

    def _rows(self, function: Any, what: str, first: int, last: int) -> FloatArray:
        """The values of a function for sources ``first`` to ``last`` (exclusive) and all targets."""
        n, m = last - first, self.post.size
        try:
            if isinstance(function, pyNN.core.IndexBasedExpression):
                expression = copy.copy(function)
                expression.projection = self
                values = expression(np.repeat(np.arange(first, last), m), np.tile(np.arange(m), n))
            else:
                # evaluated in two dimensions, as PyNN does
                distances = self._space.distances(
                    self.pre.positions.T[first:last], self.post.positions.T
                )
                values = function(distances.reshape(n, m))
            return np.array(
                np.broadcast_to(
                    np.reshape(values, (n, m)) if np.size(values) > 1 else values, (n, m)
                ),
                np.float64,
            )
        except RequestError:
            raise
        except Exception as error:
            raise RequestError(
                f"{what} of {self._where} cannot be evaluated for all pairs of cells at once: "
                f"{type(error).__name__}: {error}"
            ) from error
