"""Smaller networks in place of large ones: fewer neurons, fewer inputs, and what is done about it.

The methods are those that van Albada et al. compare (Bernstein Conference 2013; 2015, PLoS Comput Biol
11:e1004490). With K the number of inputs of a neuron, J their weights, f = K'/K, and nu the rates of their sources:

- ``N=0.5``: fewer neurons with as many inputs each. Mean and variance of the input stay, inputs are shared more.
- ``K=0.5:sqrt``: J' = J / sqrt(f), which keeps the variance of the recurrent input, and a direct current that makes up
  for its mean. Drives stay.
- ``K=0.5:resolve``: excitatory weights times a, inhibitory ones times b, such that mean and variance of all input stay
  without a current. Poisson drives count as excitatory inputs, f times as many.
- ``K=0.5:linear``: J' = J / f, which keeps the mean and the effective connectivity. The variance of the recurrent input
  grows to 1/f of what it was, which Poisson drives make up for: weight times s, rate over s.

Mean and variance of the input current are those of filtered Poisson processes (Campbell 1909): sums over inputs of
K J nu times the area of the postsynaptic current, and of K <J^2> nu times the area of its square. In-degrees are whole
numbers where a connector wants them, and weights and currents follow the in-degrees that result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
    Value,
)
from pynn_portability.model.transforms import scaled_value
from pynn_portability.realize.distributions import mean_and_sd

METHODS = ("sqrt", "resolve", "linear")
FORMS = "N=0.5, K=0.5:sqrt, K=0.5:resolve, K=0.5:linear, or N=0.5,K=0.5:sqrt"
_TEXT = re.compile(r"(?:N=(?P<n>[0-9.]+))?(?P<comma>,)?(?:K=(?P<k>[0-9.]+):(?P<method>[a-z]+))?")
SMALLEST_POPULATION = 2
BISECTIONS = 40


@dataclass(frozen=True)
class Scaling:
    """Neurons and inputs of each, relative to the whole network, and the ``method`` for the latter."""

    text: str
    neurons: float = 1.0
    inputs: float = 1.0
    method: str = ""

    @classmethod
    def parse(cls, text: str) -> Scaling:
        """What a user types, such as ``N=0.5,K=0.5:sqrt``; RequestError, with what is allowed, for anything else."""
        match = _TEXT.fullmatch(text)
        both = match and match["n"] and match["k"]
        if not match or not (match["n"] or match["k"]) or bool(match["comma"]) != bool(both):
            raise RequestError(f"{text!r} is no scaling, allowed are {FORMS}")
        found = {}
        for name, given in (("N", match["n"]), ("K", match["k"])):
            try:
                found[name] = 1.0 if given is None else float(given)
            except ValueError:
                raise RequestError(f"{text!r} is no scaling, {given!r} is no number") from None
            if not 0 < found[name] <= 1:
                raise RequestError(f"{text!r}: {name} must be above 0 and at most 1")
        method = match["method"] or ""
        if method and method not in METHODS:
            raise RequestError(f"{text!r}: {method!r} is no method, there are {', '.join(METHODS)}")
        return cls(text, found["N"], found["K"], method)

    @property
    def needs_rates(self) -> bool:
        """Whether it depends on how often neurons spike."""
        return self.inputs < 1


@dataclass(frozen=True)
class Row:
    """What becomes of a population: sizes, inputs per neuron by projections, and what makes up for them.

    ``current`` (nA) is added to each neuron; ``excitatory``, ``inhibitory`` and ``drive`` are factors of mean weights,
    and ``drive_rate`` one of the rates of drives.
    """

    population: str
    size: int
    scaled_size: int
    inputs: float
    scaled_inputs: float
    current: float = 0.0
    excitatory: float = 1.0
    inhibitory: float = 1.0
    drive: float = 1.0
    drive_rate: float = 1.0


@dataclass(frozen=True)
class Downscaled:
    """A smaller network, what became of each population of neurons, and what is to be said, a sentence each.

    ``rates`` (1/s) are those that it was made with, none if it did not need them.
    """

    network: Network
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    rates: Mapping[str, float] = field(default_factory=dict)


def downscale(
    network: Network, scaling: Scaling, rates: Mapping[str, float] | None = None
) -> Downscaled:
    """The network with fewer neurons, or fewer inputs, or both.

    ``rates`` (1/s) are those of populations in the whole network, by label; those of Poisson sources are known. At
    N = 1 and K = 1 the network is as it was.

    Raises RequestError, which names the population or projection, for what has no smaller counterpart, for a method
    that cannot reach the scale (with the smallest one that it can), and for a missing rate.
    """
    fewer = _fewer_neurons(network, scaling) if scaling.neurons < 1 else network
    changes: dict[str, _Change] = {}
    result, used = fewer, {}
    if scaling.needs_rates:
        known = _known_rates(network, rates or {})
        result = _fewer_inputs(fewer, scaling, known, changes)
        used = {p.source: known[p.source] for p in network.projections}
    rows = _rows(network, result, changes)
    return Downscaled(result, rows, _notes(network, result, rows), used)


def sources_without_rate(network: Network) -> list[str]:
    """Labels of the populations whose rates fewer inputs depend on and that do not say them themselves."""
    known = _poisson_rates(network)
    return list(dict.fromkeys(p.source for p in network.projections if p.source not in known))


def _poisson_rates(network: Network) -> dict[str, float]:
    return {
        p.label: mean_and_sd(p.parameters["rate"])[0]
        for p in network.populations
        if p.cell.source == "poisson"
    }


def _known_rates(network: Network, rates: Mapping[str, float]) -> dict[str, float]:
    labels = {p.label for p in network.populations}
    for label, rate in rates.items():
        if label not in labels:
            raise RequestError(
                f"rates: there is no population {label!r}, allowed are {', '.join(sorted(labels))}"
            )
        if not (math.isfinite(rate) and rate >= 0):
            raise RequestError(
                f"rates: {label} = {rate} is no rate, allowed are numbers from 0 on (1/s)"
            )
    missing = [label for label in sources_without_rate(network) if label not in rates]
    if missing:
        raise RequestError(
            f"rates: the rate of {missing[0]!r} is not known (it is not recorded as a whole, or its spikes are given); "
            f"give it, such as rates = {{{missing[0]} = 5.0}}"
        )
    return _poisson_rates(network) | dict(rates)


def _fewer_neurons(network: Network, scaling: Scaling) -> Network:
    for recording in network.recordings:
        raise RequestError(
            f"{scaling.text}: a part of population {recording.population!r} is recorded, as {recording.label!r}, and "
            "it is not clear which part of a smaller one stands for it; record the whole population"
        )
    sizes = {}
    for p in network.populations:
        sizes[p.label] = p.size
        if p.is_source:
            continue
        sizes[p.label] = round(scaling.neurons * p.size)
        if sizes[p.label] < SMALLEST_POPULATION:
            raise RequestError(
                f"{scaling.text}: population {p.label!r} of {p.size} would have {sizes[p.label]} neurons, at least "
                f"{SMALLEST_POPULATION} are allowed"
            )
        for name, value in (*p.parameters.items(), *p.initial_values.items()):
            _refuse_array(scaling, f"{name} of population {p.label!r}", value)
    for drive in network.drives:
        for name in ("rate", "weight", "delay"):
            _refuse_array(scaling, f"{name} of drive {drive.label!r}", getattr(drive, name))
    smaller = replace(
        network,
        populations=tuple(replace(p, size=sizes[p.label]) for p in network.populations),
    )
    projections = []
    for projection in network.projections:
        for name in ("weight", "delay"):
            what = f"{name} of projection {projection.label!r}"
            _refuse_array(scaling, what, getattr(projection, name))
        inputs = projection.connector.indegrees(network.ends(projection)).mean
        projections.append(_with_inputs(projection, smaller, inputs, scaling))
    return replace(smaller, projections=tuple(projections))


def _refuse_array(scaling: Scaling, what: str, value: Value) -> None:
    if isinstance(value, np.ndarray) and value.ndim:
        raise RequestError(
            f"{scaling.text}: {what} is given one by one, and it is not clear which of them a smaller network has; "
            "give a number or a distribution"
        )


def _with_inputs(p: Projection, network: Network, inputs: float, scaling: Scaling) -> Projection:
    try:
        connector = p.connector.with_inputs(inputs, network.ends(p))
    except RequestError as error:
        raise RequestError(f"{scaling.text}: projection {p.label!r}: {error}") from None
    return replace(p, connector=connector)


@dataclass
class _Change:
    """What is done to the inputs of a population."""

    current: float = 0.0
    excitatory: float = 1.0
    inhibitory: float = 1.0
    drive: float = 1.0
    drive_rate: float = 1.0


@dataclass
class _Moments:
    """Mean (nA) and variance (nA²) of input currents, by receptor."""

    mean: dict[str, float] = field(default_factory=lambda: {"excitatory": 0.0, "inhibitory": 0.0})
    variance: dict[str, float] = field(
        default_factory=lambda: {"excitatory": 0.0, "inhibitory": 0.0}
    )

    def add(
        self, receptor: str, inputs: float, weight: Value, rate: float, cell: Population
    ) -> None:
        """Inputs of the same ``rate`` (1/s) each; weights in nA."""
        mean, sd = mean_and_sd(weight)
        area, energy = _kernel(cell, receptor)
        self.mean[receptor] += area * inputs * mean * rate
        self.variance[receptor] += energy * inputs * (mean**2 + sd**2) * rate

    @property
    def means(self) -> float:
        return sum(self.mean.values())

    @property
    def variances(self) -> float:
        return sum(self.variance.values())


def _kernel(population: Population, receptor: str) -> tuple[float, float]:
    """Area of a postsynaptic current of amplitude 1, and that of its square, in s."""
    cell = population.cell
    tau, spread = mean_and_sd(population.parameters[cell.synaptic_time_constants[receptor]])  # type: ignore[index]
    if spread > 0:
        raise RequestError(
            f"synaptic time constants differ between neurons of {population.label!r}, and fewer inputs are "
            "made up for in the same way in all of them; give one number"
        )
    tau *= 1e-3
    if cell.synaptic_kernel == "alpha":
        return math.e * tau, math.e**2 * tau / 4
    return tau, tau / 2


def _fewer_inputs(
    network: Network, scaling: Scaling, rates: Mapping[str, float], changes: dict[str, _Change]
) -> Network:
    thinned = {}
    for p in network.projections:
        if network.population(p.target).cell.conductance_based:
            raise RequestError(
                f"{scaling.text}: {p.target!r} has conductance-based synapses, whose input is not linear in the "
                "weights, so that fewer of them cannot be made up for; N alone is possible"
            )
        if p.dynamics != "static":
            raise RequestError(f"{scaling.text}: the weights of projection {p.label!r} are plastic")
        inputs = p.connector.indegrees(network.ends(p)).mean
        thinned[p.label] = _with_inputs(p, network, scaling.inputs * inputs, scaling)
    drives = {d.label: d for d in network.drives}
    populations: list[Population] = []
    projections = dict(thinned)
    infeasible: dict[str, float] = {}
    for population in network.populations:
        own = [p for p in network.projections if p.target == population.label]
        driven = [d for d in network.drives if d.target == population.label]
        if population.is_source or not own:
            populations.append(population)
            continue
        target = _Target(network, population, own, driven, rates)
        try:
            change = target.solved(scaling, [thinned[p.label] for p in own])
        except _InfeasibleError:
            infeasible[population.label] = target.smallest(scaling)
            continue
        changes[population.label] = change
        for p in own:
            factor = target.factor(scaling, change, p, thinned[p.label])
            projections[p.label] = replace(thinned[p.label], weight=scaled_value(p.weight, factor))
        for d in driven:
            drives[d.label] = replace(
                d,
                weight=scaled_value(d.weight, target.drive_factor(scaling, change, d)),
                rate=scaled_value(d.rate, change.drive_rate),
            )
        populations.append(_with_current(population, change.current, scaling))
    if infeasible:
        worst = max(infeasible, key=lambda label: infeasible[label])
        if not infeasible[worst] < 1:
            raise RequestError(
                f"{scaling.text}: {_NEEDS[scaling.method]}, and {worst!r} has none that is strong enough at any scale"
            )
        smallest = math.ceil(1000 * infeasible[worst]) / 1000
        raise RequestError(
            f"{scaling.text}: mean and variance of the input of {worst!r} cannot be kept by this method; the "
            f"smallest K for which those of all populations can is {smallest:g}"
        )
    return replace(
        network,
        populations=tuple(populations),
        projections=tuple(projections[p.label] for p in network.projections),
        drives=tuple(drives.values()),
    )


_NEEDS = {
    "linear": "this method lowers the variance of a Poisson drive",
    "resolve": "this method needs excitatory and inhibitory input",
}


class _InfeasibleError(Exception):
    """The method cannot keep mean and variance at this scale."""


class _Target:
    """A population's inputs, in the network with all of them."""

    def __init__(
        self,
        network: Network,
        population: Population,
        projections: Sequence[Projection],
        drives: Sequence[PoissonDrive],
        rates: Mapping[str, float],
    ) -> None:
        self._network, self._population, self._rates = network, population, rates
        self._projections = projections
        self._internal = self._moments(projections)
        self._external = _Moments()
        for d in drives:
            self._external.add(d.receptor, 1.0, d.weight, mean_and_sd(d.rate)[0], population)

    def _inputs(self, p: Projection) -> float:
        return p.connector.indegrees(self._network.ends(p)).mean

    def _moments(self, projections: Sequence[Projection]) -> _Moments:
        found = _Moments()
        for p in projections:
            rate = self._rates[p.source]
            found.add(p.receptor, self._inputs(p), p.weight, rate, self._population)
        return found

    def factor(
        self, scaling: Scaling, change: _Change, before: Projection, after: Projection
    ) -> float:
        """By which the weights of a projection change, with the in-degree that it has got."""
        if scaling.method == "resolve":
            return change.excitatory if before.receptor == "excitatory" else change.inhibitory
        ratio = self._inputs(before) / self._inputs(after) if self._inputs(after) else 1.0
        return math.sqrt(ratio) if scaling.method == "sqrt" else ratio

    def drive_factor(self, scaling: Scaling, change: _Change, drive: PoissonDrive) -> float:
        """By which the weight of a drive changes."""
        if scaling.method == "resolve" and drive.receptor == "inhibitory":
            return change.inhibitory
        return change.drive

    def solved(self, scaling: Scaling, thinned: Sequence[Projection]) -> _Change:
        """What is done to the inputs; raises _InfeasibleError."""
        if scaling.method == "resolve":
            return self._resolved(self._moments(thinned), scaling.inputs)
        reweighted = [
            replace(
                after,
                weight=scaled_value(before.weight, self.factor(scaling, _Change(), before, after)),
            )
            for before, after in zip(self._projections, thinned, strict=True)
        ]
        after = self._moments(reweighted)
        average = scaling.inputs ** (-0.5 if scaling.method == "sqrt" else -1.0)
        change = _Change(excitatory=average, inhibitory=average)
        change.current = self._internal.means - after.means
        if scaling.method == "linear":
            return self._quieter(change, after)
        return change

    def _quieter(self, change: _Change, after: _Moments) -> _Change:
        """With a drive that makes up for the variance, and no current, as the mean is as it was."""
        change.current = 0.0
        external = self._external.variances
        left = self._internal.variances + external - after.variances
        if not left > 0 or not external > 0:
            raise _InfeasibleError
        change.drive = left / external
        change.drive_rate = 1.0 / change.drive
        return change

    def _resolved(self, after: _Moments, fraction: float) -> _Change:
        """Factors a and b of excitatory and inhibitory weights.

        They solve a m_E + b m_I = M and a² v_E + b² v_I = V, with m and v the moments of what inputs are left, at
        weights as they were, and M and V those of all. Inserting b makes it a quadratic equation in a.
        """
        mean = self._internal.means + self._external.means
        variance = self._internal.variances + self._external.variances
        m, v = (
            {r: kept[r] + fraction * outside[r] for r in kept}
            for kept, outside in (
                (after.mean, self._external.mean),
                (after.variance, self._external.variance),
            )
        )
        m_e, m_i, v_e, v_i = m["excitatory"], m["inhibitory"], v["excitatory"], v["inhibitory"]
        if not m_e > 0 or not m_i < 0:
            raise _InfeasibleError
        r = v_i / m_i**2
        quadratic = (v_e + r * m_e**2, -2 * r * mean * m_e, r * mean**2 - variance)
        root = quadratic[1] ** 2 - 4 * quadratic[0] * quadratic[2]
        if root < 0:
            raise _InfeasibleError
        for sign in (1.0, -1.0):
            a = (-quadratic[1] + sign * math.sqrt(root)) / (2 * quadratic[0])
            b = (mean - a * m_e) / m_i
            if a > 0 and b > 0:
                return _Change(excitatory=a, inhibitory=b, drive=a, drive_rate=fraction)
        raise _InfeasibleError

    def smallest(self, scaling: Scaling) -> float:
        """The smallest fraction of inputs for which there is a solution, in-degrees not rounded; 1 if there is none."""
        if scaling.method == "linear":
            internal, external = self._internal.variances, self._external.variances
            return internal / (internal + external) if internal + external > 0 else 1.0

        def feasible(fraction: float) -> bool:
            kept = _Moments(
                {r: fraction * x for r, x in self._internal.mean.items()},
                {r: fraction * x for r, x in self._internal.variance.items()},
            )
            try:
                self._resolved(kept, fraction)
            except _InfeasibleError:
                return False
            return True

        low, high = 0.0, 1.0
        if not feasible(high):
            return 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if feasible(middle) else (middle, high)
        return high


def _with_current(population: Population, current: float, scaling: Scaling) -> Population:
    if current == 0:
        return population
    own = population.parameters["i_offset"]
    if isinstance(own, Distribution):
        raise RequestError(
            f"{scaling.text}: i_offset of population {population.label!r} is drawn, and a current has to be added; "
            "give a number"
        )
    return replace(population, parameters={**population.parameters, "i_offset": own + current})


def _total_inputs(network: Network, label: str) -> float:
    return sum(
        p.connector.indegrees(network.ends(p)).mean
        for p in network.projections
        if p.target == label
    )


def _rows(before: Network, after: Network, changes: Mapping[str, _Change]) -> tuple[Row, ...]:
    return tuple(
        Row(
            p.label,
            p.size,
            after.population(p.label).size,
            _total_inputs(before, p.label),
            _total_inputs(after, p.label),
            **vars(changes.get(p.label, _Change())),
        )
        for p in before.populations
        if not p.is_source
    )


def _notes(before: Network, after: Network, rows: Sequence[Row]) -> tuple[str, ...]:
    """A sentence on each population that became smaller, and on connectors that changed in kind."""
    sentences = []
    for row in rows:
        parts = [f"{row.size} -> {row.scaled_size} neurons"] if row.size != row.scaled_size else []
        if row.inputs != row.scaled_inputs:
            parts.append(f"{row.inputs:.4g} -> {row.scaled_inputs:.4g} inputs each")
        if row.current:
            parts.append(f"a current of {row.current:+.4g} nA")
        if row.excitatory != row.inhibitory:
            parts.append(
                f"excitatory weights times {row.excitatory:.4g}, inhibitory ones times {row.inhibitory:.4g}"
            )
        elif row.excitatory != 1:
            parts.append(f"weights times {row.excitatory:.4g}")
        if row.drive != 1 or row.drive_rate != 1:
            parts.append(f"drive: weight times {row.drive:.4g}, rate times {row.drive_rate:.4g}")
        if parts:
            sentences.append(f"{row.population}: {'; '.join(parts)}")
    for p in before.projections:
        connector = after.projection(p.label).connector
        alike = type(connector) is type(p.connector)
        if not alike or vars(connector).get("with_replacement") != vars(p.connector).get(
            "with_replacement"
        ):
            sentences.append(
                f"{p.label}: more inputs than there are sources, so that a pair may have several synapses"
            )
    sources = [p.label for p in before.populations if p.is_source]
    if sources and any(r.size != r.scaled_size for r in rows):
        sentences.append(f"spike sources are as many as they were: {', '.join(sources)}")
    return tuple(sentences)
