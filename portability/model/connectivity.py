"""Connection rules: one class each, which owns its number of synapses, its pairs and its in-degree law.

A rule knows PyNN's connector of the same meaning, in both directions. What it draws comes from `Draws`,
which is implemented where random streams are (`pynn_portability.realize.draws`). A new rule is a new class
in `RULES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError

FloatArray = NDArray[np.float64]
MAX_SYNAPSES = 2**62  # numbers of synapses are 64-bit integers
Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Sources and targets, shape ``(n,)`` each."""


@dataclass(frozen=True)
class Ends:
    """Sizes of the populations that a projection connects, and whether they are one and the same."""

    n_sources: int
    n_targets: int
    same: bool = False


class Indegrees(NamedTuple):
    """Number of inputs over the neurons of a target population.

    They come from ``sources`` cells, each at most once if ``distinct``, otherwise independently.
    """

    mean: float
    variance: float
    sources: int
    distinct: bool

    @property
    def pairs(self) -> float:
        """Mean number of ordered pairs of different inputs of a neuron."""
        return self.variance + self.mean**2 - self.mean


class Draws(Protocol):
    """Random numbers for the wiring of one projection in one realization.

    Everything is a pure function of its arguments: the same whatever was asked for before.
    """

    def row_uniforms(self, n_rows: int) -> FloatArray:
        """A uniform number in (0, 1) for every row, shape ``(n_rows,)``."""

    def partition(self, n_rows: int, row_size: int, total: int) -> NDArray[np.int64]:
        """Numbers per row when ``total`` cells of equal rows are drawn once each, shape ``(n_rows,)``."""

    def pairs(self, start: int, stop: int, ends: Ends, distinct: bool) -> Pairs:
        """Pairs drawn uniformly and independently; with ``distinct`` never a cell and itself."""

    def partners(self, rows: Rows, first_row: int, last_row: int) -> Pairs:
        """Row and partner of all synapses of rows ``first_row`` to ``last_row`` (exclusive)."""

    def pair_uniforms(self, start: int, stop: int) -> FloatArray:
        """Uniform numbers in (0, 1) for pairs ``start`` to ``stop`` (exclusive)."""

    def named(self, projection: str) -> Draws:
        """The random numbers of another projection of the same realization."""


@dataclass(frozen=True)
class Rows:
    """Synapses by row, a row being one source's or one target's.

    Row i has the synapses from ``offsets[i]`` to ``offsets[i + 1]``, each with one of ``n_partners``
    cells, drawn with or without replacement; with ``distinct`` not with the cell of the row's own number.
    """

    offsets: NDArray[np.int64]
    n_partners: int
    distinct: bool
    with_replacement: bool

    @classmethod
    def of(
        cls,
        counts: NDArray[Any],
        n_partners: int,
        distinct: bool = False,
        with_replacement: bool = False,
    ) -> Rows:
        """Rows of so many synapses each, shape ``(n_rows,)``."""
        offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        return cls(offsets, n_partners, distinct, with_replacement)


class Wiring(ABC):
    """Which cells one projection of a realization connects."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of synapses."""

    @abstractmethod
    def pairs(self, start: int, stop: int) -> Pairs:
        """Source and target of synapses ``start`` to ``stop`` (exclusive)."""

    def places(self, start: int, stop: int) -> Pairs:
        """Row and column of these synapses in matrices of weights and delays."""
        return self.pairs(start, stop)


class ConnectionRule(ABC):
    """Who is connected with whom."""

    connector: ClassVar[str]
    """PyNN's class."""
    allowed: ClassVar[str]
    """What its constructor takes, as the end of a sentence."""
    listed: ClassVar[bool] = False
    """Whether simulators get every pair, as none of their connectors means the same."""

    @classmethod
    @abstractmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> ConnectionRule:
        """The rule of a connector object of PyNN.

        ``where`` names the projection. Raises RequestError for what cannot be drawn between such ends.
        """

    @abstractmethod
    def to_pynn(self, sim: Any) -> Any:
        """A connector object of a PyNN simulator; ValueError for a rule that is ``listed``."""

    @abstractmethod
    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        """The synapses of one realization."""

    @abstractmethod
    def indegrees(self, ends: Ends) -> Indegrees:
        """Mean and variance of the number of inputs of a target neuron."""

    def expected_count(self, ends: Ends) -> float:
        """Mean number of synapses over realizations."""
        return self.indegrees(ends).mean * ends.n_targets

    def with_other_indegrees(self, ends: Ends) -> ConnectionRule:
        """A rule with as many synapses and another law of in-degrees, if there is one, else itself."""
        return self


class OwnRule(ConnectionRule):
    """A rule for which PyNN has no connector: simulators get its pairs."""

    connector = "no connector of PyNN"
    allowed = "nothing"
    listed = True

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> ConnectionRule:
        raise NotImplementedError("PyNN has no such connector")

    def to_pynn(self, sim: Any) -> Any:
        raise ValueError(f"{type(self).__name__} is not drawn by a connector")


@dataclass(frozen=True)
class AllToAll(ConnectionRule):
    """Every pair once."""

    self_connections: bool = True
    connector = "AllToAllConnector"
    allowed = "allow_self_connections as True or False"

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> AllToAll:
        return cls(_self_connections(connector, where))

    def to_pynn(self, sim: Any) -> Any:
        return sim.AllToAllConnector(allow_self_connections=self.self_connections)

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        return _Complete(ends.n_sources, ends.n_targets, _without_itself(self, ends))

    def indegrees(self, ends: Ends) -> Indegrees:
        sources = ends.n_sources - _without_itself(self, ends)
        return Indegrees(sources, 0.0, sources, True)


@dataclass(frozen=True)
class OneToOne(ConnectionRule):
    """Cell i to cell i, as far as the smaller population reaches."""

    connector = "OneToOneConnector"
    allowed = "no argument"

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> OneToOne:
        return cls()

    def to_pynn(self, sim: Any) -> Any:
        return sim.OneToOneConnector()

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        return _Diagonal(min(ends.n_sources, ends.n_targets))

    def indegrees(self, ends: Ends) -> Indegrees:
        mean = min(ends.n_sources, ends.n_targets) / ends.n_targets
        return Indegrees(mean, mean * (1 - mean), ends.n_sources, True)


@dataclass(frozen=True)
class FixedProbability(ConnectionRule):
    """Every pair independently with probability ``probability``."""

    probability: float
    self_connections: bool = True
    connector = "FixedProbabilityConnector"
    allowed = "a probability from 0 to 1"

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> FixedProbability:
        self_connections = _self_connections(connector, where)
        if not 0 <= connector.p_connect <= 1:
            raise RequestError(
                f"{cls.connector}({connector.p_connect}) of {where}: allowed is {cls.allowed}"
            )
        return cls(float(connector.p_connect), self_connections)

    def to_pynn(self, sim: Any) -> Any:
        return sim.FixedProbabilityConnector(
            self.probability, allow_self_connections=self.self_connections
        )

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        import scipy.stats  # noqa: PLC0415 - takes long to import, and few networks need it

        distinct = _without_itself(self, ends)
        counts = scipy.stats.binom.ppf(
            draws.row_uniforms(ends.n_sources), ends.n_targets - distinct, self.probability
        )
        return _OfSources(Rows.of(counts, ends.n_targets, distinct), draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        sources, p = ends.n_sources - _without_itself(self, ends), self.probability
        return Indegrees(sources * p, sources * p * (1 - p), sources, True)


@dataclass(frozen=True)
class FixedTotalNumber(ConnectionRule):
    """Exactly ``n`` synapses, sources and targets drawn uniformly."""

    n: int
    with_replacement: bool = True
    self_connections: bool = True
    connector = "FixedTotalNumberConnector"
    allowed = "a whole number of synapses, zero or more"

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> FixedTotalNumber:
        rule = cls(*_number(connector, where))
        available = ends.n_sources * (ends.n_targets - _without_itself(rule, ends))
        _refuse_too_many(rule.n, available, rule.with_replacement, cls.connector, where)
        return rule

    def to_pynn(self, sim: Any) -> Any:
        return sim.FixedTotalNumberConnector(
            self.n, self.self_connections, with_replacement=self.with_replacement
        )

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        distinct = _without_itself(self, ends)
        if self.with_replacement:
            return _Independent(self.n, ends, distinct, draws)
        counts = draws.partition(ends.n_sources, ends.n_targets - distinct, self.n)
        return _OfSources(Rows.of(counts, ends.n_targets, distinct), draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        """Binomial (Dasbach et al. 2021, section 3.4), or hypergeometric without replacement."""
        sources = ends.n_sources - _without_itself(self, ends)
        mean = self.n / ends.n_targets
        variance = mean * (1 - 1 / ends.n_targets)
        if not self.with_replacement:
            pairs = sources * ends.n_targets
            variance *= (pairs - self.n) / max(pairs - 1, 1)
        return Indegrees(mean, variance, sources, not self.with_replacement)

    def with_other_indegrees(self, ends: Ends) -> ConnectionRule:
        return FixedNumberPre(round(self.n / ends.n_targets), with_replacement=True)


@dataclass(frozen=True)
class FixedNumberPre(ConnectionRule):
    """Exactly ``n`` sources for every target (fixed in-degree)."""

    n: int
    with_replacement: bool = False
    self_connections: bool = True
    connector = "FixedNumberPreConnector"
    allowed = "a whole number of sources, zero or more"

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> FixedNumberPre:
        rule = cls(*_number(connector, where))
        available = ends.n_sources - _without_itself(rule, ends)
        _refuse_too_many(rule.n, available, rule.with_replacement, cls.connector, where)
        return rule

    def to_pynn(self, sim: Any) -> Any:
        return sim.FixedNumberPreConnector(
            self.n, self.self_connections, with_replacement=self.with_replacement
        )

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        rows = Rows.of(
            np.full(ends.n_targets, self.n),
            ends.n_sources,
            _without_itself(self, ends),
            self.with_replacement,
        )
        return _OfTargets(rows, draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        sources = ends.n_sources - _without_itself(self, ends)
        return Indegrees(self.n, 0.0, sources, not self.with_replacement)

    def with_other_indegrees(self, ends: Ends) -> ConnectionRule:
        return FixedTotalNumber(self.n * ends.n_targets)


@dataclass(frozen=True)
class FixedNumberPost(ConnectionRule):
    """Exactly ``n`` targets for every source (fixed out-degree)."""

    n: int
    with_replacement: bool = False
    self_connections: bool = True
    connector = "FixedNumberPostConnector"
    allowed = "a whole number of targets, zero or more"

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> FixedNumberPost:
        rule = cls(*_number(connector, where))
        available = ends.n_targets - _without_itself(rule, ends)
        _refuse_too_many(rule.n, available, rule.with_replacement, cls.connector, where)
        return rule

    def to_pynn(self, sim: Any) -> Any:
        return sim.FixedNumberPostConnector(
            self.n, self.self_connections, with_replacement=self.with_replacement
        )

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        rows = Rows.of(
            np.full(ends.n_sources, self.n),
            ends.n_targets,
            _without_itself(self, ends),
            self.with_replacement,
        )
        return _OfSources(rows, draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        itself = _without_itself(self, ends)
        sources, targets = ends.n_sources - itself, ends.n_targets - itself
        mean = sources * self.n / targets
        variance = mean * (1 - (1 if self.with_replacement else self.n) / targets)
        return Indegrees(mean, variance, sources, not self.with_replacement)


@dataclass(frozen=True)
class FromList(ConnectionRule):
    """Explicit pairs: ``source`` and ``target`` indices, int64, shape ``(n,)`` each."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    connector = "FromListConnector"
    allowed = "a list of (source, target) or (source, target, weight, delay), all numbers"
    listed = True

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> FromList:
        pairs = _table(connector)[:, :2]
        for column, size, end in zip(
            pairs.T, (ends.n_sources, ends.n_targets), ("source", "target"), strict=True
        ):
            outside = (column < 0) | (column >= size) | (column != np.floor(column))
            if outside.any():
                raise RequestError(
                    f"the list of {where} holds index {column[outside][0]:g} of the {end} population; "
                    f"allowed are 0 to {size - 1}"
                )
        source, target = pairs.T.astype(np.int64)
        return cls(source, target)

    def to_pynn(self, sim: Any) -> Any:
        raise ValueError("a list of pairs is not drawn by a connector")

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        return _Listed(self.source, self.target)

    def indegrees(self, ends: Ends) -> Indegrees:
        counts = np.bincount(self.target, minlength=ends.n_targets)
        return Indegrees(float(counts.mean()), float(counts.var()), ends.n_sources, True)


RULES: Mapping[str, type[ConnectionRule]] = {
    rule.connector: rule
    for rule in (
        AllToAll,
        OneToOne,
        FixedProbability,
        FixedTotalNumber,
        FixedNumberPre,
        FixedNumberPost,
        FromList,
    )
}
"""Rules by the name of PyNN's connector, in the order in which they are listed to users."""


def connection_rule(connector: Any, ends: Ends, where: str) -> ConnectionRule:
    """The rule of a connector object of PyNN; ``where`` names the projection.

    Raises RequestError for a connector that is not known here, and as the rule does.
    """
    name = type(connector).__name__
    if name not in RULES:
        raise UnsupportedError(
            f"{name} of {where} is not supported; supported are {', '.join(RULES)}"
        )
    return RULES[name].from_pynn(connector, ends, where)


def listed_columns(connector: Any, where: str) -> dict[str, FloatArray]:
    """Weights (nA or uS) and delays (ms) that a connector itself gives, one per synapse, by name.

    Raises RequestError for other columns of a list.
    """
    if type(connector).__name__ not in RULES or not RULES[type(connector).__name__].listed:
        return {}
    table = _table(connector)
    names = tuple(getattr(connector, "column_names", ())) if len(table) else ()
    unknown = [name for name in names if name not in ("weight", "delay")]
    if unknown:
        raise UnsupportedError(
            f"column {unknown[0]!r} of the list of {where} is not supported; supported are weight and "
            "delay"
        )
    return {name: table[:, 2 + k].copy() for k, name in enumerate(names)}


def _table(connector: Any) -> FloatArray:
    """The list of a connector, a row per synapse."""
    if not len(connector.conn_list):
        return np.empty((0, 2))
    return np.asarray(connector.conn_list, dtype=np.float64).reshape(len(connector.conn_list), -1)


def _self_connections(connector: Any, where: str) -> bool:
    allowed = connector.allow_self_connections
    if not isinstance(allowed, bool):
        raise UnsupportedError(
            f"{type(connector).__name__}(allow_self_connections={allowed!r}) of {where} is not "
            "supported; supported are True and False"
        )
    return allowed


def _number(connector: Any, where: str) -> tuple[int, bool, bool]:
    """Number of synapses of a connector, whether it draws with replacement, and self-connections."""
    self_connections = _self_connections(connector, where)
    name = type(connector).__name__
    if not isinstance(connector.n, int | np.integer) or isinstance(connector.n, bool):
        raise UnsupportedError(
            f"{name}(n={connector.n!r}) of {where} is not supported; supported is "
            f"{RULES[name].allowed}"
        )
    if not 0 <= connector.n <= MAX_SYNAPSES:
        raise RequestError(
            f"{name}({connector.n:g}) of {where}: allowed is {RULES[name].allowed}, and at most "
            f"{MAX_SYNAPSES}"
        )
    return int(connector.n), bool(connector.with_replacement), self_connections


def _refuse_too_many(
    n: int, available: int, with_replacement: bool, connector: str, where: str
) -> None:
    if n > available and (not with_replacement or available == 0):
        raise RequestError(
            f"{connector}({n}) of {where}: only {available} can be chosen without replacement"
        )


def _without_itself(
    rule: AllToAll | FixedProbability | FixedTotalNumber | FixedNumberPre | FixedNumberPost,
    ends: Ends,
) -> bool:
    """Whether the rule keeps a cell from connecting to itself where it could."""
    return ends.same and not rule.self_connections


# --- Wirings ---


@dataclass(frozen=True)
class _Complete(Wiring):
    n_sources: int
    n_targets: int
    distinct: bool

    @property
    def count(self) -> int:
        return self.n_sources * (self.n_targets - self.distinct)

    def pairs(self, start: int, stop: int) -> Pairs:
        row, partner = np.divmod(np.arange(start, stop), self.n_targets - self.distinct)
        partner += self.distinct & (partner >= row)
        return row.astype(np.int32), partner.astype(np.int32)


@dataclass(frozen=True)
class _Diagonal(Wiring):
    size: int

    @property
    def count(self) -> int:
        return self.size

    def pairs(self, start: int, stop: int) -> Pairs:
        index = np.arange(start, stop, dtype=np.int32)
        return index, index.copy()


@dataclass(frozen=True)
class _Independent(Wiring):
    n: int
    ends: Ends
    distinct: bool
    draws: Draws

    @property
    def count(self) -> int:
        return self.n

    def pairs(self, start: int, stop: int) -> Pairs:
        return self.draws.pairs(start, stop, self.ends, self.distinct)


@dataclass(frozen=True)
class _Listed(Wiring):
    source: NDArray[np.int64]
    target: NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.source)

    def pairs(self, start: int, stop: int) -> Pairs:
        return self.source[start:stop].astype(np.int32), self.target[start:stop].astype(np.int32)


@dataclass(frozen=True)
class _OfSources(Wiring):
    """Rows are those of sources, and partners are targets."""

    rows: Rows
    draws: Draws

    @cached_property
    def count(self) -> int:
        return int(self.rows.offsets[-1])

    def pairs(self, start: int, stop: int) -> Pairs:
        # whole rows, because a subset is drawn as one; then the part that was asked for
        offsets = self.rows.offsets
        first_row = int(np.searchsorted(offsets, start, side="right")) - 1
        last_row = int(np.searchsorted(offsets, stop, side="left"))
        row, partner = self.draws.partners(self.rows, first_row, last_row)
        part = slice(start - int(offsets[first_row]), stop - int(offsets[first_row]))
        return row[part], partner[part]


class _OfTargets(_OfSources):
    """Rows are those of targets, and partners are sources."""

    def pairs(self, start: int, stop: int) -> Pairs:
        row, partner = super().pairs(start, stop)
        return partner, row
