"""Connection rules: one class each, which owns its number of synapses, its pairs and its in-degree law.

A rule knows PyNN's connector of the same meaning, in both directions. What it draws comes from `Draws`,
which is implemented where random streams are (`pynn_portability.realize.draws`). A new rule is a new class
in `RULES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError
from pynn_portability.model.distribution import Distribution

FloatArray = NDArray[np.float64]
MAX_SYNAPSES = 2**62  # numbers of synapses are 64-bit integers
Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Sources and targets, shape ``(n,)`` each."""


@dataclass(frozen=True)
class Ends:
    """Sizes of the populations that a projection connects, and whether they are one and the same.

    Of groups that are not the same and share some cells, ``itself`` says where every source stands among the targets,
    -1 if it is none of them; int64, shape ``(n_sources,)``.
    """

    n_sources: int
    n_targets: int
    same: bool = False
    itself: NDArray[np.int64] | None = field(default=None, compare=False)


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

    def row_numbers(self, distribution: Distribution, n_rows: int) -> FloatArray:
        """A number of synapses for every row, shape ``(n_rows,)``."""

    def partition(self, row_sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
        """Numbers per row when ``total`` cells of rows of such sizes are drawn once each, shape ``(n_rows,)``."""

    def pairs(self, start: int, stop: int, ends: Ends, distinct: bool) -> Pairs:
        """Pairs drawn uniformly and independently; with ``distinct`` never a cell and itself."""

    def partners(self, rows: Rows, first_row: int, last_row: int) -> Pairs:
        """Row and partner of all synapses of rows ``first_row`` to ``last_row`` (exclusive)."""

    def pair_uniforms(self, start: int, stop: int) -> FloatArray:
        """Uniform numbers in (0, 1) for pairs ``start`` to ``stop`` (exclusive)."""

    def pair_uniforms_of(self, pairs: NDArray[np.int64]) -> FloatArray:
        """Uniform numbers in (0, 1) for pairs with these indices, the same shape."""

    def named(self, projection: str) -> Draws:
        """The random numbers of another projection of the same realization."""


@dataclass(frozen=True)
class Rows:
    """Synapses by row, a row being one source's or one target's.

    Row i has the synapses from ``offsets[i]`` to ``offsets[i + 1]``, each with one of ``n_partners``
    cells, drawn with or without replacement, but never with cell ``itself[i]``; it is -1 where there is none, and
    the array is empty where no row has one. Rows that are longer than there are partners have all of them before
    one is drawn again.
    """

    offsets: NDArray[np.int64]
    n_partners: int
    itself: NDArray[np.int64]
    with_replacement: bool

    @classmethod
    def of(
        cls,
        counts: NDArray[Any],
        n_partners: int,
        itself: NDArray[np.int64],
        with_replacement: bool = False,
    ) -> Rows:
        """Rows of so many synapses each, shape ``(n_rows,)``."""
        offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        return cls(offsets, n_partners, itself, with_replacement)


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

    def with_inputs(self, inputs: float, ends: Ends) -> ConnectionRule:
        """A rule of its kind by which a target neuron has so many ``inputs`` on average.

        As nearly as whole numbers allow, and at least one where there are any. More inputs than there are sources
        are multapses. RequestError for a rule that has no such number.
        """
        raise RequestError(
            f"{self.connector} says who is connected with whom, and not how many inputs a neuron has"
        )


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
        return _OfSources(Rows.of(counts, ends.n_targets, _itself(self, ends)), draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        sources, p = ends.n_sources - _without_itself(self, ends), self.probability
        return Indegrees(sources * p, sources * p * (1 - p), sources, True)

    def with_inputs(self, inputs: float, ends: Ends) -> ConnectionRule:
        sources = ends.n_sources - _without_itself(self, ends)
        if inputs <= sources:
            return replace(self, probability=inputs / sources if sources else 0.0)
        return FixedNumberPre(_at_least_one(inputs), True, self.self_connections)


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
        self_connections = _self_connections(connector, where)
        rule = cls(_number(connector, where), bool(connector.with_replacement), self_connections)
        available = rule._available(ends)
        if rule.n > available and (not rule.with_replacement or available == 0):
            raise RequestError(
                f"{cls.connector}({rule.n}) of {where}: only {available} can be chosen without replacement"
            )
        return rule

    def to_pynn(self, sim: Any) -> Any:
        return sim.FixedTotalNumberConnector(
            self.n, self.self_connections, with_replacement=self.with_replacement
        )

    def _available(self, ends: Ends) -> int:
        """Number of pairs that may be connected."""
        return ends.n_sources * ends.n_targets - _shared(self, ends)

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        itself = _itself(self, ends)
        if self.with_replacement:
            return _Independent(self.n, ends, bool(len(itself)), draws)
        sizes = np.full(ends.n_sources, ends.n_targets)
        sizes[: len(itself)] -= itself >= 0
        counts = draws.partition(sizes, self.n)
        return _OfSources(Rows.of(counts, ends.n_targets, itself), draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        """Binomial (Dasbach et al. 2021, section 3.4), or hypergeometric without replacement."""
        shared, pairs = _shared(self, ends), max(self._available(ends), 1)
        laws = []
        for targets, sources in (
            (shared, ends.n_sources - 1),
            (ends.n_targets - shared, ends.n_sources),
        ):
            share = sources / pairs
            variance = self.n * share * (1 - share)
            if not self.with_replacement:
                variance *= (pairs - self.n) / max(pairs - 1, 1)
            laws.append((targets, self.n * share, variance))
        return Indegrees(*_mixed(laws), _most_sources(self, ends), not self.with_replacement)

    def with_other_indegrees(self, ends: Ends) -> ConnectionRule:
        return FixedNumberPre(round(self.n / ends.n_targets), with_replacement=True)

    def with_inputs(self, inputs: float, ends: Ends) -> ConnectionRule:
        n = _at_least_one(inputs * ends.n_targets)
        enough = n <= self._available(ends)
        return replace(self, n=n, with_replacement=self.with_replacement or not enough)


@dataclass(frozen=True)
class FixedNumber(ConnectionRule):
    """So many partners for every cell of one population, each drawn anew: the others of a row.

    ``n`` is a number for all, or a distribution of whole numbers from which each cell's is drawn. Without
    replacement nobody is chosen another time before everybody was, as in PyNN.
    """

    n: int | Distribution
    with_replacement: bool = False
    self_connections: bool = True

    @classmethod
    def from_pynn(cls, connector: Any, ends: Ends, where: str) -> FixedNumber:
        self_connections = _self_connections(connector, where)
        given = connector.n
        n = _whole_numbers(given, where) if hasattr(given, "next") else _number(connector, where)
        rule = cls(n, bool(connector.with_replacement), self_connections)
        if n != 0 and not rule.available(ends):
            raise RequestError(f"{cls.connector}({given}) of {where}: there is no cell to choose")
        return rule

    def to_pynn(self, sim: Any) -> Any:
        n = self.n
        if isinstance(n, Distribution):
            n = sim.RandomDistribution(n.name, **n.parameters)
        connector = getattr(sim, self.connector)
        return connector(n, self.self_connections, with_replacement=self.with_replacement)

    @abstractmethod
    def available(self, ends: Ends) -> int:
        """Number of cells that each chooses from; the smallest where it differs."""

    def _with_number(self, n: int, ends: Ends) -> FixedNumber:
        """With ``n`` partners of each cell, several times the same where there are not so many."""
        if isinstance(self.n, Distribution):
            raise RequestError(f"{self.connector} draws its numbers from a distribution")
        repeated = self.with_replacement or n > self.available(ends)
        return replace(self, n=n, with_replacement=repeated)

    def _rows(self, n_rows: int, n_partners: int, itself: NDArray[np.int64], draws: Draws) -> Rows:
        numbers = (
            draws.row_numbers(self.n, n_rows)
            if isinstance(self.n, Distribution)
            else np.full(n_rows, self.n)
        )
        return Rows.of(numbers, n_partners, itself, self.with_replacement)

    def _numbers(self) -> tuple[FloatArray, FloatArray]:
        """The numbers that a cell may have, and their probabilities."""
        if not isinstance(self.n, Distribution):
            return np.array([float(self.n)]), np.ones(1)
        return whole_numbers(self.n)

    def _moments(self) -> tuple[float, float]:
        """Mean and variance of a cell's number."""
        numbers, probability = self._numbers()
        mean = float(numbers @ probability)
        return mean, float((numbers - mean) ** 2 @ probability)


@dataclass(frozen=True)
class FixedNumberPre(FixedNumber):
    """``n`` sources for every target (fixed in-degree)."""

    connector = "FixedNumberPreConnector"
    allowed = "a whole number of sources, zero or more, or a distribution of whole numbers"

    def available(self, ends: Ends) -> int:
        return ends.n_sources - bool(_shared(self, ends))

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        itself = _itself(self, ends)
        if len(itself):
            # by target, as rows are
            there = np.flatnonzero(itself >= 0)
            of_targets = np.full(ends.n_targets, -1)
            of_targets[itself[there]] = there
            itself = of_targets
        return _OfTargets(self._rows(ends.n_targets, ends.n_sources, itself, draws), draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        mean, variance = self._moments()
        largest = self._numbers()[0].max(initial=0.0)
        distinct = not self.with_replacement and largest <= self.available(ends)
        return Indegrees(mean, variance, _most_sources(self, ends), bool(distinct))

    def with_other_indegrees(self, ends: Ends) -> ConnectionRule:
        return FixedTotalNumber(round(self._moments()[0] * ends.n_targets))

    def with_inputs(self, inputs: float, ends: Ends) -> ConnectionRule:
        return self._with_number(_at_least_one(inputs), ends)


@dataclass(frozen=True)
class FixedNumberPost(FixedNumber):
    """``n`` targets for every source (fixed out-degree)."""

    connector = "FixedNumberPostConnector"
    allowed = "a whole number of targets, zero or more, or a distribution of whole numbers"

    def available(self, ends: Ends) -> int:
        return ends.n_targets - bool(_shared(self, ends))

    def wiring(self, ends: Ends, draws: Draws) -> Wiring:
        itself = _itself(self, ends)
        return _OfSources(self._rows(ends.n_sources, ends.n_targets, itself, draws), draws)

    def indegrees(self, ends: Ends) -> Indegrees:
        """Sums over sources, each of which chooses a target once with a probability, or more often."""
        shared = _shared(self, ends)
        among, beside = self._choices(ends.n_targets - 1), self._choices(ends.n_targets)
        others = ends.n_sources - shared
        laws = [
            (targets, *(sources * a + others * b for a, b in zip(among, beside, strict=True)))
            for targets, sources in ((shared, shared - 1), (ends.n_targets - shared, shared))
        ]
        largest = self._numbers()[0].max(initial=0.0)
        distinct = not self.with_replacement and largest <= self.available(ends)
        return Indegrees(*_mixed(laws), _most_sources(self, ends), bool(distinct))

    def _choices(self, targets: int) -> tuple[float, float]:
        """How often a source chooses each of so many targets: mean and variance."""
        if not targets:
            return 0.0, 0.0
        numbers, probability = self._numbers()
        per_target = numbers / targets
        part = per_target % 1
        within = per_target * (1 - 1 / targets) if self.with_replacement else part * (1 - part)
        mean = float(per_target @ probability)
        return mean, float((within + (per_target - mean) ** 2) @ probability)

    def with_inputs(self, inputs: float, ends: Ends) -> ConnectionRule:
        partners = inputs * ends.n_targets / max(ends.n_sources, 1)
        return self._with_number(_at_least_one(partners), ends)


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


def _at_least_one(number: float) -> int:
    """The nearest whole number, but not zero for anything above it."""
    return max(round(number), 1) if number > 0 else 0


def connection_rule(connector: Any, ends: Ends, where: str) -> ConnectionRule:
    """The rule of a connector object of PyNN; ``where`` names the projection.

    Raises UnsupportedError for a connector that is not known here, and RequestError as the rule does.
    """
    name = type(connector).__name__
    if name not in RULES:
        raise UnsupportedError(f"{name} of {where} is not supported")
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


def _number(connector: Any, where: str) -> int:
    """Number of synapses of a connector."""
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
    return int(connector.n)


WHOLE = {"uniform_int": ("low", "high"), "poisson": ("lambda_",), "binomial": ("n", "p")}
"""Distributions of whole numbers, and their parameters."""


def _whole_numbers(given: Any, where: str) -> Distribution:
    """The distribution of a number of synapses; RequestError if it is not one of numbers from 0 on."""
    p = {name: float(value) for name, value in given.parameters.items()}
    match given.name:
        case "uniform_int":
            valid = 0 <= p["low"] <= p["high"] - 1 <= MAX_SYNAPSES
        case "poisson":
            valid = 0 <= p["lambda_"] <= MAX_SYNAPSES
        case "binomial":
            valid = 0 <= p["p"] <= 1 and 0 <= p["n"] <= MAX_SYNAPSES and p["n"].is_integer()
        case _:
            valid = False
    if not valid:
        text = ", ".join(f"{name}={value:g}" for name, value in p.items())
        raise RequestError(
            f"the number of synapses of {where} is drawn from {given.name}({text}); allowed are {', '.join(WHOLE)}, "
            "with parameters that give whole numbers from 0 on"
        )
    return Distribution(given.name, p)


def whole_numbers(distribution: Distribution) -> tuple[FloatArray, FloatArray]:
    """Values of one of `WHOLE` and their probabilities, but for values less likely than 1e-12 in all."""
    import scipy.stats  # noqa: PLC0415 - takes long to import, and few networks need it

    p = distribution.parameters
    if distribution.name == "uniform_int":
        values = np.arange(p["low"], p["high"], dtype=np.float64)
        return values, np.full(len(values), 1 / len(values))
    law = (
        scipy.stats.poisson(p["lambda_"])
        if distribution.name == "poisson"
        else scipy.stats.binom(p["n"], p["p"])
    )
    low, high = law.ppf(5e-13), law.ppf(1 - 5e-13)
    values = np.arange(low, high + 1, dtype=np.float64)
    probability = np.asarray(law.pmf(values), np.float64)
    return values, probability / probability.sum()


def _without_itself(
    rule: AllToAll | FixedProbability | FixedTotalNumber | FixedNumber,
    ends: Ends,
) -> bool:
    """Whether the rule keeps a cell from connecting to itself where it could."""
    return ends.same and not rule.self_connections


def _itself(
    rule: FixedProbability | FixedTotalNumber | FixedNumber, ends: Ends
) -> NDArray[np.int64]:
    """For every source the target that it must not choose, -1 for none; empty if that is so for all."""
    if not rule.self_connections and ends.itself is not None:
        return ends.itself
    return np.arange(ends.n_sources if _without_itself(rule, ends) else 0)


def _shared(rule: FixedTotalNumber | FixedNumber, ends: Ends) -> int:
    """Number of sources that have a target which they must not choose."""
    return int((_itself(rule, ends) >= 0).sum())


def _most_sources(rule: FixedTotalNumber | FixedNumber, ends: Ends) -> int:
    """Number of cells from which a target's inputs may come; the largest where it differs."""
    return ends.n_sources - (_shared(rule, ends) == ends.n_targets)


def _mixed(laws: list[tuple[Any, ...]]) -> tuple[float, float]:
    """Mean and variance over targets of several kinds: their numbers, means and variances."""
    number, mean, variance = np.array(laws, np.float64).T
    share = number / number.sum()
    overall = float(share @ mean)
    return overall, float(share @ (variance + (mean - overall) ** 2))


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
