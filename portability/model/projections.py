"""Projections as a script handles them: descriptions that it may still change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import (
    AllToAll,
    ConnectionRule,
    Ends,
    FixedNumber,
    FixedProbability,
    FixedTotalNumber,
    FromList,
    OneToOne,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.groups import (
    Group,
    Indices,
    Member,
    RecordedPopulation,
    View,
    places_among,
    same_cells,
    share_cells,
)
from pynn_portability.model.network import Projection, Value
from pynn_portability.model.parts import Apart, Part
from pynn_portability.model.values import given_value, unused_label

if TYPE_CHECKING:
    import pandas as pd

    from pynn_portability.model.recorder import Recorder


@dataclass(eq=False)
class RecordedProjection:
    """What a script gets for ``sim.Projection``: a description that it may still change."""

    recorder: Recorder
    label: str
    pre: Group
    post: Group
    receptor: Receptor
    rule: ConnectionRule
    shape: tuple[int, ...]
    values: dict[str, Value]

    @property
    def lacks_pairs(self) -> bool:
        """Whether it is without self-connections between groups that share some of their cells only."""
        forbidden = not getattr(self.rule, "self_connections", True)
        return (
            forbidden and not same_cells(self.pre, self.post) and share_cells(self.pre, self.post)
        )

    def set(self, **attributes: Any) -> None:
        """Change weights or delays of all synapses."""
        self.recorder.changing(f"set of projection {self.label!r}")
        for name, value in attributes.items():
            if name not in self.values:
                raise RequestError(
                    f"set({name}=...) of projection {self.label!r}: a static synapse has weight and delay"
                )
            self.values[name] = given_value(value, self.shape, f"{self.label!r}: {name}")

    def size(self, gather: bool = False) -> int:
        """Number of synapses; where it is drawn, that of the study's first seed."""
        ends = Ends(self.pre.size, self.post.size, same_cells(self.pre, self.post))
        drawn = isinstance(getattr(self.rule, "n", None), Distribution)
        lacks = self.lacks_pairs and isinstance(self.rule, PAIRWISE)
        if lacks or drawn or not isinstance(self.rule, _COUNTED):
            return len(self._synapses(f"the size of projection {self.label!r}"))
        return round(self.rule.expected_count(ends))

    __len__ = size

    def get(
        self,
        attribute_names: Any,
        format: str = "list",
        gather: object = True,
        with_address: bool = True,
        multiple_synapses: str = "sum",
    ) -> Any:
        """Weights (nA or uS) and delays (ms), in PyNN's formats; drawn ones are those of the first seed.

        ``"list"``: a tuple for each synapse, with indices of source and target unless ``with_address`` is False.
        ``"array"``: a matrix of source and target, NaN where there is no synapse; of several between two cells
        their sum, or what ``multiple_synapses`` says.
        """
        if self.recorder.simulated:
            return self.recorder.unknown("")
        single = isinstance(attribute_names, str)
        names = [attribute_names] if single else list(attribute_names)
        if format not in ("list", "array") or not set(names) <= {"weight", "delay"}:
            raise RequestError(
                f"get({attribute_names!r}, format={format!r}) of projection {self.label!r}: allowed are weight "
                "and delay, as list and array"
            )
        table = self._synapses(f"what projection {self.label!r} has")
        if format == "list":
            columns = (
                [table["source"].astype(int), table["target"].astype(int)] if with_address else []
            )
            rows = zip(*(c.tolist() for c in [*columns, *(table[n] for n in names)]), strict=True)
            return [row[0] for row in rows] if single and not with_address else list(rows)
        matrices = [self._matrix(table, name, multiple_synapses) for name in names]
        return matrices[0] if single else matrices

    def _matrix(self, table: pd.DataFrame, name: str, several: str) -> NDArray[np.float64]:
        matrix = np.full((self.pre.size, self.post.size), np.nan)
        found = table.groupby(["source", "target"])[name].agg(several).reset_index()
        matrix[found["source"], found["target"]] = found[name]
        return matrix

    def _synapses(self, what: str) -> pd.DataFrame:
        """Synapses by index in the groups, weights in nA or uS and delays in ms."""
        import pandas as pd  # noqa: PLC0415 - takes long to import, and few scripts ask

        values = self.values.values()
        sources = {population.cell.source for population in self.pre.populations_in}
        if "poisson" in sources and any(isinstance(value, Distribution) for value in values):
            raise UnsupportedError(
                f"{what} is drawn for each seed of a study, and differently if a simulator has Poisson input of "
                "its own, so that there is no number while the network is described"
            )
        described = self.described()
        drawing = self.recorder.drawing(described, what)
        pairs = [(a, b) for a in self.pre.members for b in self.post.members]
        frames = []
        for part, (source, target) in zip(described, pairs, strict=True):
            row, column = _numbers(self.pre, source), _numbers(self.post, target)
            for piece in drawing.synapses(part.label):
                frames.append(
                    pd.DataFrame(
                        {
                            "source": row[piece.source],
                            "target": column[piece.target],
                            "weight": piece.weight,
                            "delay": piece.delay * self.recorder.get_time_step(),
                        }
                    )
                )
        if not frames:
            return pd.DataFrame(
                {n: [] for n in ("source", "target", "weight", "delay")}, dtype=float
            )
        return pd.concat(frames, ignore_index=True)

    def __getattr__(self, name: str) -> Any:
        return self.recorder.absent(
            "Projection",
            name,
            f"of {self.label!r} is not supported, as synapses are drawn later, for each seed of a study; "
            "supported are pre, post, label, size, get and set",
        )

    def described(self) -> list[Projection]:
        """As a network has it: a projection for every pair of populations that it connects."""
        if isinstance(self.pre, RecordedPopulation) and isinstance(self.post, RecordedPopulation):
            return [self._between(self.pre, self.post, self.label, self.rule)]
        pairs = [(a, b) for a in self.pre.members for b in self.post.members]
        whole = all(
            len(m.cells) == m.population.size for m in (*self.pre.members, *self.post.members)
        )
        if len(pairs) == 1 and whole and _ordered(self.pre) and _ordered(self.post):
            source, target = pairs[0]
            return [self._between(source.population, target.population, self.label, self.rule)]
        made: list[Projection] = []
        for source, target in pairs:
            label = self.label
            if len(pairs) > 1:
                label = f"{label} ({source.population.label}->{target.population.label})"
            label = unused_label(label, [p.label for p in made])
            if len(pairs) > 1 and isinstance(self.rule, PAIRWISE):
                # pairs are independent, so that those of two members are what the rule says of them alone
                made += self._alone(source, target, label).described()
            else:
                made.append(self._part(source, target, label))
        return made

    def _alone(self, source: Member, target: Member, label: str) -> RecordedProjection:
        """The projection between two members, as if the script had made it."""
        sources, targets = _places(self.pre, source), _places(self.post, target)
        own = np.ix_(np.flatnonzero(sources >= 0), np.flatnonzero(targets >= 0))
        values = {
            name: value[own] if isinstance(value, np.ndarray) else value
            for name, value in self.values.items()
        }
        pre, post = View(*source, None), View(*target, None)
        return replace(
            self, label=label, pre=pre, post=post, shape=(pre.size, post.size), values=values
        )

    def _part(self, source: Member, target: Member, label: str) -> Projection:
        """The part from the cells of one population to those of another."""
        sources, targets = _places(self.pre, source), _places(self.post, target)
        if isinstance(self.rule, FromList | OneToOne):
            return self._listed_part(source, target, sources, targets, label)
        same = same_cells(self.pre, self.post)
        rule, distinct = self.rule, self.lacks_pairs
        itself = places_among(self.pre, self.post) if distinct else None
        if itself is not None and isinstance(rule, FixedNumber | FixedTotalNumber):
            rule, distinct = Apart(rule, itself), False
        rule = Part(rule, sources, targets, same, distinct, self.label)
        return self._between(source.population, target.population, label, rule)

    def _listed_part(
        self, source: Member, target: Member, sources: Indices, targets: Indices, label: str
    ) -> Projection:
        """The part of a list of pairs, which stays one."""
        if isinstance(self.rule, FromList):
            pre, post = self.rule.source, self.rule.target
        else:
            pre = post = np.arange(min(self.pre.size, self.post.size))
        own = (sources[pre] >= 0) & (targets[post] >= 0)
        values = {}
        for name, value in self.values.items():
            values[name] = value
            if isinstance(value, np.ndarray):
                values[name] = value[own] if value.ndim == 1 else value[pre[own], post[own]]
        rule = FromList(sources[pre[own]], targets[post[own]])
        return self._between(source.population, target.population, label, rule, values)

    def _between(
        self,
        source: RecordedPopulation,
        target: RecordedPopulation,
        label: str,
        rule: ConnectionRule,
        values: Mapping[str, Value] | None = None,
    ) -> Projection:
        values = self.values if values is None else values
        weight, delay = values["weight"], values["delay"]
        return Projection(label, source.label, target.label, self.receptor, rule, weight, delay)


_COUNTED = (AllToAll, OneToOne, FixedTotalNumber, FixedNumber, FromList)
"""Rules with the same number of synapses for every seed."""


def _numbers(group: Group, member: Member) -> Indices:
    """For every cell of the member's population its index in the group."""
    places = _places(group, member)
    numbers = np.full(member.population.size, -1, np.int64)
    own = places >= 0
    numbers[places[own]] = np.flatnonzero(own)
    return numbers


PAIRWISE = (AllToAll, FixedProbability)
"""Rules that treat every pair of cells independently."""


def refuse_doubles(projection: RecordedProjection) -> None:
    """Raise UnsupportedError where one cell of a group would have to be left out at several places of another."""
    fixed = isinstance(projection.rule, FixedNumber | FixedTotalNumber)
    for group in (projection.pre, projection.post):
        if fixed and projection.lacks_pairs and len(np.unique(group.ids)) < group.size:
            raise UnsupportedError(
                f"projection {projection.label!r} is between groups that share some of their cells, without "
                f"self-connections, and {group.label!r} holds a cell twice; this is supported of AllToAllConnector "
                "and FixedProbabilityConnector only"
            )


def _places(group: Group, member: Member) -> Indices:
    """For every cell of a group its index in the member's population, -1 if it is not the member's."""
    places, start = np.full(group.size, -1, np.int64), 0
    for other in group.members:
        stop = start + len(other.cells)
        if other is member or (
            other.population is member.population and np.array_equal(other.cells, member.cells)
        ):
            places[start:stop] = member.cells
        start = stop
    return places


def _is_whole(member: Member) -> bool:
    return np.array_equal(member.cells, member.population.indices)


def _ordered(group: Group) -> bool:
    return all(_is_whole(member) for member in group.members)
