"""SpiNNaker's scale of weights: the rule by which sPyNNaker 7.4.1 shifts ring buffers.

On SpiNNaker 1 the input of one step adds up in a 16-bit cell per neuron and receptor (a slot of a
ring buffer), and what comes out is shifted left by s bits to become a number with 15 fraction bits.
A weight is therefore held in units of 2^(s - 15) nA (or 2^(s - 15) / 1024 uS), with one s per target
population and receptor that must leave room for the sum. sPyNNaker derives s from what it expects
the largest sum W to be: s = max(0, ceil(log2 W)), plus 1 if 2^s <= W.

W comes from n, the largest number of synapses of a projection onto one neuron, and from mean, SD and
maximum of its weights' magnitudes:

- in the worst case every synapse delivers in the same step: W = sum of n * maximum;
- if delays vary, a Poisson process of N * rate * dt spikes per step with weights of the pooled mean
  m and SD, and W is its mean plus 5 SD, but not more than the worst case nor less than the largest
  single weight.

The worst case holds whenever delays vary within none of the projections, even if they differ
between projections. Weights are then held with far fewer bits.

Rates are 30 spikes/s for every source. sPyNNaker means to use the rate of Poisson sources, but asks
the cores and not the populations for it, so that in version 7.4.1 it has no effect, as neither have
the times of a ``SpikeSourceArray``.

The source of the rule is ``get_ring_buffer_shifts`` in ``spynnaker/pyNN/models/neuron/
population_vertex.py``. It is meant for networks handed over synapse by synapse (``FromListConnector``)
with one number for delays that are all equal, and for drives as one-to-one projections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import scipy
from numpy.typing import NDArray

from pynn_portability.formats.spinnaker import CONDUCTANCE_SCALE, FRACTION_BITS, RATE, SIGMA
from pynn_portability.model.cells import RECEPTORS, Receptor
from pynn_portability.model.network import Projection
from pynn_portability.realize.realization import CHUNK_SIZE, Realization

POISSON_SIGMA = 3.0
"""How many SD above the mean number of spikes the variance due to weights is summed up to."""
LARGEST_EXPONENT = 701.0
"""Beyond, sPyNNaker takes the variance due to weights to be 0."""

Key = tuple[str, Receptor]


@dataclass(frozen=True)
class Input:
    """What the rule knows of one projection or drive; weights are magnitudes in nA or uS.

    ``in_degree`` is the largest number of synapses onto one neuron. The variance has the divisor n, as
    in sPyNNaker. ``constant_delay`` tells that all delays are the same number of steps.
    """

    label: str
    in_degree: int
    weight_mean: float
    weight_variance: float
    weight_maximum: float
    constant_delay: bool


@dataclass(frozen=True)
class RingBuffer:
    """The scale of weights onto one receptor of a population, and why it is what it is.

    Weights are in nA, or in 1/1024 uS if ``conductance_based``. ``expected_mean`` and ``expected_sd``
    are of the input in one step, ``worst_case`` is the sum of everything at once (in uS for
    conductances), ``largest_weight`` is a single synapse, ``bound`` is W of the module. The worst case decided
    if ``constant_delays``: delays vary within none of ``inputs``.
    """

    inputs: tuple[Input, ...]
    conductance_based: bool
    expected_mean: float
    expected_sd: float
    worst_case: float
    largest_weight: float
    constant_delays: bool
    bound: float
    shift: int

    @property
    def unit(self) -> float:
        """Weight of the last bit, in nA or uS."""
        unit = 2.0 ** (self.shift - FRACTION_BITS)
        return unit / CONDUCTANCE_SCALE if self.conductance_based else unit


_known: WeakKeyDictionary[Realization, dict[Key, RingBuffer]] = WeakKeyDictionary()


def shifts(realization: Realization) -> dict[Key, int]:
    """Shift by (label of the target population, receptor), 0 where nothing arrives.

    Weights and delays (steps) are those of the realization, so this draws every weight once.
    """
    return {key: buffer.shift for key, buffer in ring_buffers(realization).items()}


def ring_buffers(realization: Realization) -> dict[Key, RingBuffer]:
    """Scale and statistics by (label of the target population, receptor), for all neurons."""
    if realization not in _known:
        _known[realization] = _compute(realization)
    return _known[realization]


def _compute(realization: Realization) -> dict[Key, RingBuffer]:
    network = realization.network
    # sPyNNaker adds up source by source, which decides the last bit of a sum
    by_source: dict[str, list[tuple[Key, Input]]] = {}
    for p in network.projections:
        if not network.population(p.target).is_source and realization.synapse_count(p.label):
            found = _projection(realization, p)
            by_source.setdefault(p.source, []).append(((p.target, p.receptor), found))
    drives = [((d.target, d.receptor), _drive(realization, d.label)) for d in network.drives]
    inputs: dict[Key, list[Input]] = {
        (p.label, receptor): []
        for p in network.populations
        if not p.is_source
        for receptor in RECEPTORS
    }
    for entries in (*by_source.values(), drives):
        for key, entry in entries:
            inputs[key].append(entry)
    return {
        key: ring_buffer(
            found, network.population(key[0]).cell.conductance_based, realization.timestep
        )
        for key, found in inputs.items()
    }


def _projection(realization: Realization, projection: Projection) -> Input:
    label = projection.label
    equal_weights = isinstance(projection.weight, float)
    in_degree = np.zeros(realization.network.population(projection.target).size, np.int64)
    weights = _Moments()
    count = realization.synapse_count(label)
    for start in range(0, count, CHUNK_SIZE):
        stop = min(start + CHUNK_SIZE, count)
        # of delays, only the extremes matter
        chunk = realization.synapse_range(label, start, stop, not equal_weights, delays=False)
        in_degree += np.bincount(chunk.target, minlength=len(in_degree))
        weights.add(chunk.weight)
    if equal_weights:
        weights.add(np.array([projection.weight]))
    shortest, longest = realization.delay_range(label)
    return weights.input(label, int(in_degree.max()), shortest == longest)


def _drive(realization: Realization, label: str) -> Input:
    drive = realization.drive(label)
    weights = _Moments()
    weights.add(drive.weight)
    return weights.input(label, 1, bool((drive.delay == drive.delay[0]).all()))


class _Moments:
    """Mean, variance (divisor n) and maximum of magnitudes of weights that come in parts.

    Deviations are taken from the first number, so that equal numbers have variance 0 exactly.
    """

    def __init__(self) -> None:
        self._count, self._origin, self._sum, self._squares, self._maximum = 0, 0.0, 0.0, 0.0, 0.0

    def add(self, weights: NDArray[np.float64]) -> None:
        if not len(weights):
            return
        magnitudes = np.abs(weights)
        self._maximum = max(self._maximum, float(magnitudes.max()))
        if not self._count:
            self._origin = float(magnitudes[0])
        magnitudes -= self._origin
        self._count += len(weights)
        self._sum += float(magnitudes.sum())
        self._squares += float(np.dot(magnitudes, magnitudes))

    def input(self, label: str, in_degree: int, constant_delay: bool) -> Input:
        mean = self._sum / self._count
        variance = max(0.0, self._squares / self._count - mean**2)
        return Input(label, in_degree, self._origin + mean, variance, self._maximum, constant_delay)


def ring_buffer(
    inputs: Sequence[Input],
    conductance_based: bool,
    timestep: float,
    rate: float = RATE,
    sigma: float = SIGMA,
) -> RingBuffer:
    """The scale of one receptor from all that arrives there: the rule at the head of the module.

    ``rate`` (1/s) is that of every source, ``sigma`` how many SD above its mean the input may be.
    """
    scale = CONDUCTANCE_SCALE if conductance_based else 1.0
    count = sum(i.in_degree for i in inputs)
    mean, variance = _pooled(inputs)
    mean, sd = mean * scale, math.sqrt(variance) * scale
    # for conductances, sPyNNaker scales everything but this sum
    worst_case = sum((i.weight_maximum * i.in_degree for i in inputs), 0.0)
    largest = max((i.weight_maximum * scale for i in inputs), default=0.0)
    # a projection of one synapse per neuron has no part in a pooled variance
    constant = all(i.constant_delay or i.in_degree == 1 for i in inputs)
    spikes = count * rate * timestep / 1000
    spread = math.sqrt(spikes * mean**2 + _weight_variance(spikes, sd))
    bound = worst_case
    if not constant:
        bound = min(spikes * mean + sigma * spread, worst_case)
    bound = max(bound, largest)
    shift = 0
    if bound > 0:
        shift = math.ceil(max(0.0, math.log2(bound)))
        shift += 2.0**shift <= bound
    return RingBuffer(
        tuple(inputs),
        conductance_based,
        spikes * mean,
        spread,
        worst_case,
        largest,
        constant,
        bound,
        shift,
    )


def _pooled(inputs: Sequence[Input]) -> tuple[float, float]:
    """Mean and variance of all weights together, each projection counted ``in_degree`` times."""
    count = sum(i.in_degree for i in inputs)
    if not count:
        return 0.0, 0.0
    mean = sum(i.weight_mean * i.in_degree for i in inputs) / count
    if count == 1:
        return mean, 0.0
    within = sum(i.weight_variance * (i.in_degree - 1) for i in inputs)
    between = sum((i.weight_mean - mean) ** 2 * i.in_degree for i in inputs)
    return mean, (within + between) / (count - 1)


def _weight_variance(spikes: float, sd: float) -> float:
    """What varying weights add to the variance of a Poisson sum of ``spikes`` on average.

    The sum over numbers of spikes ends 3 SD above their mean: spikes * sd^2 * P(fewer than that).
    """
    most = round(spikes + POISSON_SIGMA * math.sqrt(spikes))
    if sd == 0 or most == 0:
        return 0.0
    if abs(most * math.log(spikes) - math.lgamma(1 + most)) >= LARGEST_EXPONENT:
        return 0.0
    return spikes * sd**2 * float(scipy.special.gammaincc(most, spikes))
