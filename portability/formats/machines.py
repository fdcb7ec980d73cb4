"""Machines: what their weights and delays can be, as small tables in TOML.

A table says how many magnitudes a stored weight has, what one of them is worth (one scale for all
weights of a ``scope``), how a host rounds to them, which delays there are, and what a number format
named after the machine does *not* model. Every number of a shipped table has its source in it.

A weight's magnitude, divided by the scale, is rounded to a level; that level times the scale, with the
sign, is what the network is simulated with. Scales follow from the weights, so they are known only
with a realization. Poisson drives take part like projections.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator

from pynn_portability.errors import RequestError, listing
from pynn_portability.formats.arithmetic import SINGLE
from pynn_portability.formats.ring_buffers import ring_buffers
from pynn_portability.formats.weights import (
    MAX_CODES,
    CodeBook,
    HeldWeights,
    Represent,
    WeightFormat,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, PoissonDrive, Projection
from pynn_portability.realize.distributions import mean_and_sd, quantile
from pynn_portability.realize.realization import Realization
from pynn_portability.realize.streams import Stream
from pynn_portability.tables import Section, choices, read_table

FloatArray = NDArray[np.float64]

SHIPPED = Path(__file__).parent / "profiles"
MAX_BITS = 16
MAX_DELAY = 2**31 - 1
RARE = 0.001
"""Longer delays than all but this fraction are not reported as too long for a machine."""

LATER_KEYS = ("full_scale", "multiple", "threshold_limit", "threshold_factor")
"""Of ``[weights]``, added after there were runs."""

EVIDENCE = ("proven bit for bit", "proven in part", "from sources only")
"""What the numbers of a machine rest on."""

NAMED = 3
"""Most projections that a sentence names."""

Rounding = Literal["nearest_even", "nearest", "zero", "floor", "stochastic"]


class Weights(Section):
    """``[weights]``: stored magnitudes, what they are worth, and how weights become them."""

    number: Literal["float32", "double"] | None = Field(
        default=None, description='"float32" or "double", for weights in floating point'
    )
    bits: int | None = Field(
        default=None, ge=1, le=MAX_BITS, description=f"a whole number from 1 to {MAX_BITS}"
    )
    levels: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        default=None,
        min_length=2,
        max_length=MAX_CODES,
        description=f"a list of 2 to {MAX_CODES} strengths, each larger than the one before",
    )
    scale: Literal["largest", "power_of_two", "expected_sum", "mean_and_sd", "fixed"] | None = (
        Field(
            default=None,
            description='"largest", "power_of_two", "expected_sum", "mean_and_sd" or "fixed"',
        )
    )
    scope: Literal["network", "target", "neuron", "receptor", "source", "projection"] = Field(
        default="projection",
        description='"network", "target", "neuron", "receptor", "source" or "projection"',
    )
    unit: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a positive number (nA or uS)"
    )
    full_scale: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a positive number of levels"
    )
    refinement: int = Field(default=0, ge=0, le=30, description="a whole number from 0 to 30")
    multiple: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a positive number of levels"
    )
    threshold_limit: int | None = Field(
        default=None, gt=0, lt=2**31, description="a positive whole number"
    )
    threshold_factor: Literal["any", "power_of_two"] = Field(
        default="any", description='"any" or "power_of_two"'
    )
    sign: Literal["receptor", "synapse", "absolute"] = Field(
        default="receptor", description='"receptor", "synapse" or "absolute"'
    )
    rounding: Rounding = Field(
        default="nearest_even",
        description='"nearest_even", "nearest", "zero", "floor" or "stochastic"',
    )
    overflow: Literal["clip", "wrap"] = Field(default="clip", description='"clip" or "wrap"')

    @model_validator(mode="after")
    def _consistent(self) -> Weights:
        given = self.model_fields_set
        if self.number is not None:
            _only(given, {"number"}, "number, which says everything")
            return self
        if self.scale is None:
            raise ValueError("scale: is missing, only weights with number have none")
        if self.scale == "mean_and_sd":
            _only(given, {"scale", "scope"}, f"scale = {self.scale!r}, which has two values")
            return self
        if (self.bits is None) == (self.levels is None):
            raise ValueError("bits: exactly one of bits and levels must be given")
        if self.levels is not None and (np.diff(self.levels) <= 0).any():
            raise ValueError("levels: each must be larger than the one before")
        if (self.unit is None) == (self.scale == "fixed"):
            raise ValueError('unit: must be given with scale = "fixed" and only with it')
        if self.scale != "largest":
            only_largest = {"full_scale", "multiple", "threshold_limit", "threshold_factor"}
            _only(given & only_largest, set(), 'another scale than "largest"')
        if self.scope == "neuron" and self.scale != "largest":
            raise ValueError('scope: may be "neuron" only with scale = "largest"')
        if self.scope == "neuron":
            _only(
                given & {"refinement", "multiple", "threshold_factor"}, set(), "a scale per neuron"
            )
        if self.scale == "expected_sum" and (self.scope, self.bits) != ("receptor", 16):
            raise ValueError(
                'scope: must be "receptor", with bits = 16, where scale = "expected_sum", which is '
                "the rule of SpiNNaker's ring buffers"
            )
        return self

    @cached_property
    def menu(self) -> FloatArray:
        """Magnitudes of the levels, in units of the scale, ascending."""
        if self.levels is not None:
            return np.array(self.levels, dtype=np.float64)
        return np.arange(2 ** (self.bits or 0), dtype=np.float64)


class Delays(Section):
    """``[delays]``: whole multiples of ``unit`` ms, or of the time step, from minimum to maximum."""

    unit: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        allow_inf_nan=False,
        description="a positive number of milliseconds",
    )
    minimum: int = Field(default=1, ge=0, le=MAX_DELAY, description="a whole number, zero or more")
    maximum: int = Field(
        default=MAX_DELAY, ge=0, le=MAX_DELAY, description="a whole number, zero or more"
    )
    rounding: Literal["nearest_even", "nearest", "zero"] = Field(
        default="nearest", description='"nearest_even", "nearest" or "zero"'
    )

    @model_validator(mode="after")
    def _consistent(self) -> Delays:
        if self.minimum > self.maximum:
            raise ValueError("minimum: must not be larger than maximum")
        return self


class Time(Section):
    """``[time]``"""

    step: float | None = Field(
        default=None,
        gt=0,
        le=1e4,
        allow_inf_nan=False,
        description="a positive number of milliseconds",
    )


class State(Section):
    """``[state]``"""

    arithmetic: str = Field(
        default="double", description='the state of a number format, such as "float32" or "s16.15"'
    )


class Machine(Section):
    """A machine as its file describes it."""

    title: str = Field(min_length=1, max_length=100, description="a line of at most 100 characters")
    sources: list[str] = Field(min_length=1, description="a list of at least one citation")
    not_modelled: list[str] = Field(description="a list of sentences")
    evidence: Literal["proven bit for bit", "proven in part", "from sources only"] = Field(
        default="from sources only", description=", ".join(f'"{words}"' for words in EVIDENCE)
    )
    proof: str = Field(default="", description="a sentence: what was compared with what")
    weights: Weights
    delays: Delays = Delays()
    time: Time = Time()
    state: State = State()

    _file: Path = PrivateAttr()

    @property
    def file(self) -> Path:
        return self._file

    @model_validator(mode="after")
    def _proof_of_evidence(self) -> Machine:
        if self.evidence != "from sources only" and not self.proof:
            raise ValueError(f"proof: is missing, what is {self.evidence} says against what")
        return self

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides a simulation."""
        words = {"title", "sources", "not_modelled", "evidence", "proof"}
        content = self.model_dump(mode="json", exclude=words)
        # keys that came later count where they are used, so that earlier runs keep their identity
        for name in LATER_KEYS:
            if content["weights"][name] == Weights.model_fields[name].default:
                del content["weights"][name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class MachineWeights(WeightFormat):
    """Weights and delays as a machine holds them."""

    machine: Machine

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        return self.machine.fingerprint

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        machine = self.machine
        evidence = f"Evidence for the numbers of this machine: {machine.evidence}."
        return (" ".join([evidence, machine.proof]).strip(), *machine.not_modelled)

    @property
    def shared_by_network(self) -> bool:  # type: ignore[override]
        return self.machine.weights.scope == "network"

    @property
    def drawn_beforehand(self) -> bool:  # type: ignore[override]
        weights = self.machine.weights
        return weights.scale == "expected_sum" or weights.scope == "neuron"

    changes_delays = True

    def on(
        self, item: Projection | PoissonDrive, realization: Realization, represent: Represent
    ) -> HeldWeights:
        """Weights of a projection or drive as the machine holds them."""
        weights = self.machine.weights
        if weights.number is not None:
            return _Floating(item, represent, weights.number)
        if weights.scale == "mean_and_sd":
            return _TwoValues(item, represent, realization, weights)
        if weights.scope == "neuron":
            return _PerNeuron(item, represent, realization, weights)
        return Levelled(item, represent, realization, weights)

    def whole_units(self, realization: Realization) -> dict[str, float]:
        """What weights onto a population are whole multiples of (nA), by label; 0 without weights."""
        units = {p.label: 0.0 for p in realization.network.populations}
        for item in _items(realization.network):
            held = self.on(item, realization, lambda weights: weights)
            if isinstance(held, Levelled) and held.multiple:
                units[item.target] = held.multiple
        return units

    def delay_steps(self, milliseconds: FloatArray, timestep: float) -> NDArray[np.int32]:
        """Delays (ms) as the machine has them, in steps of ``timestep`` ms, at least one."""
        delays = self.machine.delays
        unit = delays.unit or timestep
        # 0.15 / 0.1 is 1.4999999999999998 in binary; decimal halves count as halves
        units = _rounded(np.round(np.asarray(milliseconds) / unit, 9), delays.rounding)
        units = np.clip(units, delays.minimum, delays.maximum)
        return np.clip(np.rint(units * unit / timestep), 1, MAX_DELAY).astype(np.int32)

    def restrictions(self, network: Network, timestep: float) -> list[str]:
        """One sentence about delays of a network that are too long for the machine, if any are."""
        delays = self.machine.delays
        unit = delays.unit or timestep
        longest = max(delays.maximum * unit, timestep)
        too_long: dict[str, float] = {}
        for item in _items(network):
            delay = item.delay
            if isinstance(delay, Distribution):
                delay = quantile(delay, np.array([1 - RARE]))
            needed = float(np.max(delay, initial=0.0))
            if needed > longest + unit / 2:
                too_long[item.label] = needed
        if not too_long:
            return []
        names = listing([repr(label) for label in too_long], NAMED)
        return [
            f"Delays of {names} reach {max(too_long.values()):.3g} ms; the machine has none "
            f"longer than {longest:.3g} ms, which they become."
        ]


class _Floating(HeldWeights):
    """Weights stored in floating point."""

    def __init__(
        self,
        item: Projection | PoissonDrive,
        represent: Represent,
        number: Literal["float32", "double"],
    ) -> None:
        super().__init__(item, represent)
        self._single = number == "float32"

    def _hold(self, weights: FloatArray, start: int) -> FloatArray:
        return SINGLE.represent(weights) if self._single else weights


class _Scaled(HeldWeights):
    """Weights whose values follow from a scale that the realization decides."""

    def __init__(
        self,
        item: Projection | PoissonDrive,
        represent: Represent,
        realization: Realization,
        weights: Weights,
    ) -> None:
        super().__init__(item, represent)
        self._realization = realization
        self._weights = weights
        self._sign = realization.network.population(item.target).cell.sign(item.receptor)

    @property
    @abstractmethod
    def values(self) -> FloatArray:
        """The values that weights can take, ascending, before the state arithmetic rounds them."""

    def _code_book(self) -> CodeBook:
        values = self.values
        return CodeBook(
            self._represent(values),
            lambda weights: np.searchsorted(values, self._hold(weights, 0)).astype(np.int64),
        )

    @property
    def _given(self) -> FloatArray | None:
        """The extremes of the realized weights, None without any."""
        return _extremes(self.item, self._realization)

    def largest(self) -> float:
        given = self._given
        if given is None:
            return 0.0
        return float(np.abs(self(given)).max())


class _TwoValues(_Scaled):
    """Mean minus and plus SD of the magnitudes of a scope."""

    def _hold(self, weights: FloatArray, start: int) -> FloatArray:
        low, mean, high = self._levels
        return self._sign * np.where(self._sign * weights >= mean, high, low) + 0.0

    def most_values(self) -> int | None:
        return 1 if isinstance(self.item.weight, float) else 2

    @property
    def values(self) -> FloatArray:
        low, _, high = self._levels
        return np.unique(self._sign * np.array([low, high]) + 0.0)

    @cached_property
    def _levels(self) -> tuple[float, float, float]:
        """Magnitudes of the lower value, of the mean and of the upper value of the scope."""
        if _largest(self.item, self._realization) == 0:
            return 0.0, 0.0, 0.0
        moments = []
        for member in _members(self.item, self._weights.scope, self._realization.network):
            # what has no weight is left out, and so has no part in the two values of the others
            if _largest(member, self._realization) > 0:
                mean, sd = mean_and_sd(member.weight)
                moments.append((_count(member, self._realization), abs(mean), sd))
        counts, means, sds = np.array(moments).T
        mean = float(np.average(means, weights=counts))
        square = float(np.average(sds**2 + means**2, weights=counts))
        sd = math.sqrt(max(0.0, square - mean**2))
        return max(0.0, mean - sd), mean, mean + sd


class Levelled(_Scaled):
    """Magnitudes that are levels times a scale."""

    def _hold(self, weights: FloatArray, start: int) -> FloatArray:
        if self.unit == 0:
            return np.zeros_like(weights)
        signs, level = self._levels(weights, self.unit, start)
        positive, negative = self._magnitudes
        magnitudes = positive[level]
        if positive is not negative:
            magnitudes = np.where(signs > 0, magnitudes, negative[level])
        # what is added turns -0 into 0
        return signs * magnitudes + 0.0

    def _levels(
        self, weights: FloatArray, unit: FloatArray | float, start: int
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """Signs of the weights as they are held, and their levels, indices into the menu."""
        rule, sign = self._weights, self._sign
        signs = np.where(weights < 0, -1.0, 1.0) if rule.sign == "synapse" else np.float64(sign)
        magnitudes = np.abs(weights)
        if rule.sign == "receptor":
            magnitudes = np.maximum(sign * weights, 0.0)
        position = magnitudes / unit
        if rule.levels is not None:
            position = np.interp(position, rule.menu, np.arange(len(rule.menu)))
        if rule.rounding == "stochastic":
            stream = Stream.named(self._realization.seed, "rounding", self.item.label)
            u = stream.uniforms(start, start + weights.size)[0].reshape(weights.shape)
            level = np.floor(position) + (u < position % 1)
        else:
            level = _rounded(signs * position, rule.rounding) * signs
        size = len(rule.menu)
        level = level % size if rule.overflow == "wrap" else np.clip(level, 0, size - 1)
        return signs, level.astype(np.int64)

    @cached_property
    def _magnitudes(self) -> tuple[FloatArray, FloatArray]:
        """What the levels of positive and of negative weights are worth, in nA or uS, ascending."""
        menu, multiple = self._weights.menu, self.multiple
        if not multiple:
            magnitudes = menu * self.unit
            return magnitudes, magnitudes
        rounding = self._weights.rounding
        again = "nearest_even" if rounding == "stochastic" else rounding
        finer = self.unit / multiple
        if self._weights.multiple is None and self._weights.threshold_factor == "any":
            magnitudes = np.abs(_rounded(menu * finer, again)) * multiple
            return magnitudes, magnitudes
        # rounded up beyond the highest level, a weight has that level, whose bits are dropped
        highest = float(menu[-1]) * finer
        positive = np.minimum(_rounded(menu * finer, again), np.floor(highest)) * multiple
        return positive, np.minimum(-_rounded(-menu * finer, again), np.ceil(highest)) * multiple

    def most_values(self) -> int | None:
        rule = self._weights
        if rule.rounding == "stochastic":
            return None
        if isinstance(self.item.weight, float):
            return 1
        # a weight that wraps does not grow with what it stands for
        if rule.overflow == "wrap":
            return None
        size = len(rule.menu)
        if rule.sign == "synapse":
            size = 2 * size - (rule.menu[0] == 0)
        return size if size <= MAX_CODES else None

    @property
    def values(self) -> FloatArray:
        positive, negative = self._magnitudes
        if self._weights.sign == "synapse":
            return np.unique(np.concatenate([-negative, positive]) + 0.0)
        return np.unique((positive if self._sign > 0 else -negative) + 0.0)

    def largest(self) -> float:
        """A bound, mostly reached, on the magnitude of the held weights (nA or uS)."""
        given, rule = self._given, self._weights
        if given is None or self.unit == 0:
            return 0.0
        position = float(np.abs(given).max()) / self.unit
        if rule.overflow == "wrap" and position > rule.menu[-1]:
            highest = len(rule.menu) - 1
        elif rule.rounding == "stochastic":
            # any weight may become the level above it
            highest = min(int(np.searchsorted(rule.menu, position)), len(rule.menu) - 1)
        else:
            return super().largest()
        magnitude = max(float(magnitudes[highest]) for magnitudes in self._magnitudes)
        return float(np.abs(self._represent(np.array([-magnitude, magnitude]))).max())

    @cached_property
    def unit(self) -> float:
        """What one unit of the scale is worth, in nA or uS; 0 where all that it would scale is 0."""
        rule, item, realization = self._weights, self.item, self._realization
        # where the lowest level is not zero, only synapses that are left out have no weight
        if rule.menu[0] > 0 and _largest(item, realization) == 0:
            return 0.0
        if rule.scale == "expected_sum":
            return ring_buffers(realization)[item.target, item.receptor].unit
        if rule.unit is not None:
            return rule.unit
        unit = self._shared_unit
        if rule.scale == "power_of_two" and unit:
            return 2.0 ** math.ceil(math.log2(unit))
        own = _largest(item, realization)
        if rule.refinement and own > 0:
            unit /= 2.0 ** min(rule.refinement, _powers_of_two(self._largest_of_scope, own))
        return unit

    @cached_property
    def multiple(self) -> float | None:
        """What all values are whole multiples of, in nA or uS; None if of nothing but `unit`."""
        rule = self._weights
        step = self._shared_unit * (rule.multiple or 1.0)
        if rule.threshold_limit is None or step == 0:
            return step if rule.multiple else None
        needed = self._threshold / step
        if needed <= rule.threshold_limit:
            return step if rule.multiple else None
        if math.isinf(needed):
            return self._threshold / rule.threshold_limit
        if rule.threshold_factor == "power_of_two":
            return step * 2.0 ** math.ceil(math.log2(needed / rule.threshold_limit))
        # the tool rounds the threshold before it sees that it is too large
        return step * float(np.rint(needed)) / rule.threshold_limit

    @cached_property
    def _largest_of_scope(self) -> float:
        members = _members(self.item, self._weights.scope, self._realization.network)
        return max(_largest(m, self._realization) for m in members)

    @property
    def _shared_unit(self) -> float:
        """What a level is worth for all of the scope; the smallest numbers may become 0."""
        return self._largest_of_scope / (self._weights.full_scale or float(self._weights.menu[-1]))

    @cached_property
    def _threshold(self) -> float:
        """The largest of the scope's thresholds, as `threshold_weight`."""
        members = _members(self.item, self._weights.scope, self._realization.network)
        targets = dict.fromkeys(m.target for m in members)
        return max((threshold_weight(t, self._realization) for t in targets), default=0.0)


class _PerNeuron(Levelled):
    """Magnitudes that are levels times a scale of the target neuron."""

    def _hold(self, weights: FloatArray, start: int) -> FloatArray:
        if self._weights.menu[0] > 0 and _largest(self.item, self._realization) == 0:
            return np.zeros_like(weights)
        units = self._units[self._targets(start, weights.size)].reshape(weights.shape)
        # a neuron without weights has any unit
        signs, level = self._levels(weights, np.where(units > 0, units, 1.0), start)
        return signs * (self._weights.menu[level] * units) + 0.0

    def _targets(self, start: int, size: int) -> NDArray[np.int64]:
        """Target neurons of synapses from ``start`` on; after the last one comes the first again."""
        index = start + np.arange(size)
        if isinstance(self.item, PoissonDrive):
            return index % len(self._units)
        count = self._realization.synapse_count(self.item.label)
        if not count:
            return np.zeros(size, np.int64)
        first, stop = (0, count) if start + size > count else (start, start + size)
        chunk = self._realization.synapse_range(
            self.item.label, first, stop, weights=False, delays=False
        )
        return chunk.target.astype(np.int64)[index % count - first]

    def most_values(self) -> int | None:
        return None

    def largest(self) -> float:
        highest = float(self._weights.menu[-1]) * float(self._units.max(initial=0.0))
        return float(np.abs(self._represent(np.array([-highest, highest]))).max())

    @cached_property
    def _units(self) -> FloatArray:
        """What a level is worth for each target neuron, in nA or uS, shape ``(n,)``; 0 without weights."""
        rule = self._weights
        largest = _largest_per_neuron(self.item.target, self._realization)
        units = largest / (rule.full_scale or float(rule.menu[-1]))
        if rule.threshold_limit is None:
            return units
        threshold = threshold_weights(self.item.target, self._realization)
        with np.errstate(over="ignore"):
            needed = np.rint(threshold / np.where(units > 0, units, np.inf))
        return np.where(needed > rule.threshold_limit, threshold / rule.threshold_limit, units)


_known_largest: WeakKeyDictionary[Realization, dict[str, FloatArray]] = WeakKeyDictionary()


def _largest_per_neuron(population: str, realization: Realization) -> FloatArray:
    """The largest magnitude among the weights onto each neuron, shape ``(n,)``; draws them all once."""
    known = _known_largest.setdefault(realization, {})
    if population not in known:
        largest = np.zeros(realization.network.population(population).size)
        for item in _items(realization.network):
            if item.target != population:
                continue
            if isinstance(item, PoissonDrive):
                np.maximum(largest, np.abs(realization.drive(item.label).weight), out=largest)
                continue
            for chunk in realization.synapses(item.label):
                np.maximum.at(largest, chunk.target, np.abs(chunk.weight))
        known[population] = largest
    return known[population]


def threshold_weight(population: str, realization: Realization) -> float:
    """The largest of `threshold_weights`, 0 without neurons."""
    return float(threshold_weights(population, realization).max(initial=0.0))


def threshold_weights(population: str, realization: Realization) -> FloatArray:
    """The weight (nA), for each neuron, of the one spike that a machine reaches the threshold with, without any leak.

    A synaptic current that decays by exp(-dt / tau_syn) per step sums up to
    tau_syn (1 - exp(-dt / tau_syn)) / dt times less than a spike's charge, tau_syn w, so this is
    cm (v_thresh - v_rest) / (tau_syn (1 - exp(-dt / tau_syn))), the larger one of the receptors;
    shape ``(n,)``, 0 for populations that have no such threshold, or synapses of another kind.
    """
    described = realization.network.population(population)
    if described.is_source or described.cell.conductance_based:
        return np.zeros(described.size)
    parameters = realization.parameters(population)
    if not parameters.keys() >= {"cm", "v_thresh", "v_rest"}:
        return np.zeros(described.size)
    charge = parameters["cm"] * (parameters["v_thresh"] - parameters["v_rest"])
    found = np.zeros(described.size)
    for tau in (parameters[n] for n in described.cell.synaptic_time_constants.values()):
        found = np.maximum(found, charge / (tau * -np.expm1(-realization.timestep / tau)))
    return found


def load_machine(name: str, base: Path = Path()) -> Machine:
    """The shipped machine called ``name``, or the one described by the TOML file of that path.

    Paths are relative to ``base``. Raises RequestError for what is wrong with a file, and for an
    unknown name.
    """
    if name.endswith(".toml"):
        file = base / name
    elif name in shipped_machines():
        file = SHIPPED / f"{name}.toml"
    else:
        raise RequestError(f"unknown machine {name!r}{choices(name, shipped_machines())}")
    machine = read_table(file, Machine, "description of a machine")
    machine._file = file
    return machine


def shipped_machines() -> tuple[str, ...]:
    """Names of the machines that are part of the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def _only(given: set[str], allowed: set[str], beside: str) -> None:
    """Raise ValueError for the first of other keys ``given``."""
    for name in sorted(given - allowed):
        raise ValueError(f"{name}: is not allowed beside {beside}")


def _items(network: Network) -> Iterator[Projection | PoissonDrive]:
    yield from network.projections
    yield from network.drives


def _members(
    item: Projection | PoissonDrive, scope: str, network: Network
) -> Iterator[Projection | PoissonDrive]:
    """Projections and drives that share a scale with ``item``, itself included."""
    for other in _items(network):
        match scope:
            case "network":
                same = True
            case "target" | "neuron":
                same = other.target == item.target
            case "receptor":
                same = (other.target, other.receptor) == (item.target, item.receptor)
            case "source" if isinstance(item, Projection) and isinstance(other, Projection):
                same = other.source == item.source
            case _:
                same = other is item
        if same:
            yield other


def _count(item: Projection | PoissonDrive, realization: Realization) -> int:
    """Number of synapses."""
    if isinstance(item, Projection):
        return realization.synapse_count(item.label)
    return realization.network.population(item.target).size


def _extremes(item: Projection | PoissonDrive, realization: Realization) -> FloatArray | None:
    """Smallest and largest realized weight, shape ``(2,)``; None if there are none."""
    if isinstance(item, PoissonDrive):
        weights = realization.drive(item.label).weight
        return np.array([weights.min(), weights.max()]) if weights.size else None
    if not realization.synapse_count(item.label):
        return None
    return np.array(realization.weight_range(item.label))


def _largest(item: Projection | PoissonDrive, realization: Realization) -> float:
    """The largest magnitude among the realized weights, 0 if there are none."""
    found = _extremes(item, realization)
    return 0.0 if found is None else float(np.abs(found).max())


def _powers_of_two(largest: float, own: float) -> int:
    """How often ``own`` can be doubled without exceeding ``largest``."""
    ratio = largest / own  # infinite where ``own`` is one of the smallest numbers
    if math.isinf(ratio):
        return math.frexp(largest)[1] - math.frexp(own)[1] - 1
    return math.floor(math.log2(ratio))


def _rounded(values: FloatArray, rounding: str) -> FloatArray:
    """Whole numbers; ``nearest`` takes halves away from zero, ``floor`` goes towards minus infinity."""
    match rounding:
        case "nearest_even":
            return np.rint(values)
        case "nearest":
            return np.copysign(np.floor(np.abs(values) + 0.5), values)
        # what is a whole number but for rounding in binary counts as one
        case "zero":
            return np.copysign(np.floor(np.abs(values) + 1e-9), values)
        case _:
            return np.floor(values + 1e-9)
