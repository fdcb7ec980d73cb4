"""One realization of a network: synapses, delays, parameters and initial values as arrays.

Every draw is a pure function of (seed, name of the object, what is drawn, index), computed with the
counter-based generator Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405). Arrays are
therefore the same for every chunk size, thread, order of evaluation and backend, and different
objects and seeds draw from independent streams. Random quantities are quantiles of one uniform
number each, so a truncated distribution needs no redraws.

Time becomes integer steps here, once, before any simulator sees it: the nearest step, halves up, at
least one (so a delay of 0.15 ms is two steps of 0.1 ms, as in NEST). A machine may have another rule
for delays.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import scipy  # loads its parts at first use; most networks need no scipy.stats
from numba import njit
from numpy.typing import NDArray

from pynn_portability.model.network import (
    AllToAll,
    Distribution,
    FixedNumberPost,
    FixedNumberPre,
    FixedProbability,
    FixedTotalNumber,
    FromList,
    Network,
    OneToOne,
    Population,
    Projection,
    Value,
)
from pynn_portability.realize.distributions import quantile

FloatArray = NDArray[np.float64]
CHUNK_SIZE = 2**17
GUIDE_BITS = 12
WORDS_AT_ONCE = 1024  # fit into the L1 cache
LARGEST_UNIFORM = 1 - 2.0**-53


@dataclass(frozen=True)
class Synapses:
    """Synapses of one projection, or a chunk of them; every array has shape ``(n,)``.

    ``source`` and ``target`` are int32 indices within their populations, ``weight`` is float64 (nA
    or uS, signed as in PyNN), ``delay`` is int32 (steps).
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    weight: FloatArray
    delay: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.source)

    def sorted(self) -> Synapses:
        """The same synapses ordered by target, source, delay and weight."""
        order = np.lexsort((self.weight, self.delay, self.source, self.target))
        return Synapses(
            self.source[order], self.target[order], self.weight[order], self.delay[order]
        )

    @classmethod
    def concatenate(cls, chunks: list[Synapses]) -> Synapses:
        if not chunks:
            return cls(*(np.empty(0, dtype) for dtype in (np.int32, np.int32, float, np.int32)))
        return cls(
            np.concatenate([c.source for c in chunks]),
            np.concatenate([c.target for c in chunks]),
            np.concatenate([c.weight for c in chunks]),
            np.concatenate([c.delay for c in chunks]),
        )


@dataclass(frozen=True)
class DriveArrays:
    """A Poisson drive: rate (Hz), weight (nA or uS), delay (steps) per target neuron."""

    rate: FloatArray
    weight: FloatArray
    delay: NDArray[np.int32]


def to_steps(milliseconds: FloatArray, timestep: float) -> NDArray[np.int32]:
    """Times on the grid: nearest step, halves up, at least one."""
    # 0.15 / 0.1 is 1.4999999999999998 in binary; the margin lets decimal halves count as halves
    steps = np.floor(np.asarray(milliseconds) / timestep + (0.5 + 1e-9))
    return np.maximum(steps, 1).astype(np.int32)


# --- Counter-based random numbers ---


@dataclass(frozen=True)
class Stream:
    """An independent stream of random numbers: the Philox key and the upper half of its counter."""

    key: NDArray[np.uint32]

    @classmethod
    def named(cls, seed: int, *names: str) -> Stream:
        text = "\0".join((str(seed), *names)).encode()
        digest = hashlib.blake2b(text, digest_size=16).digest()
        return cls(np.frombuffer(digest, dtype="<u4"))

    def uniforms(self, start: int, stop: int) -> tuple[FloatArray, FloatArray]:
        """Two independent uniform numbers in (0, 1) for each index from ``start`` to ``stop``."""
        first = np.empty(stop - start)
        second = np.empty(stop - start)
        _fill_uniforms(self.key, start, first, second)
        return first, second

    def extremes(self, stop: int) -> FloatArray:
        """Smallest and largest of the first and of the second `uniforms` up to ``stop``, (2, 2)."""
        return _extremes(self.key, stop)


@njit(cache=True, nogil=True, inline="always")
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: 128-bit counter and 64-bit key (32-bit words) to two 64-bit words."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    for _ in range(10):
        product0 = np.uint64(0xD2511F53) * c0
        product1 = np.uint64(0xCD9E8D57) * c2
        c0 = (product1 >> shift) ^ c1 ^ k0
        c1 = product1 & mask
        c2 = (product0 >> shift) ^ c3 ^ k1
        c3 = product0 & mask
        k0 = (k0 + np.uint64(0x9E3779B9)) & mask
        k1 = (k1 + np.uint64(0xBB67AE85)) & mask
    return (c0 << shift) | c1, (c2 << shift) | c3


@njit(cache=True, nogil=True, inline="always")
def _words(key, index):
    """The two 64-bit words of a stream at ``index``."""
    counter = np.uint64(index)
    return philox(
        counter & np.uint64(0xFFFFFFFF),
        counter >> np.uint64(32),
        np.uint64(key[2]),
        np.uint64(key[3]),
        np.uint64(key[0]),
        np.uint64(key[1]),
    )


@njit(cache=True, nogil=True, inline="always")
def _below(word, n):
    """A number from 0 to n - 1 (n < 2**32) out of 64 random bits; the bias is at most n / 2**64."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    bound = np.uint64(n)
    return np.int64(((word >> shift) * bound + (((word & mask) * bound) >> shift)) >> shift)


@njit(cache=True, nogil=True, inline="always")
def _uniform(bits):
    """The middle of one of 2**53 equal cells, so never 0; the last is rounded to 1, but may not be."""
    return min((bits + 0.5) * 2.0**-53, LARGEST_UNIFORM)


@njit(cache=True, nogil=True)
def _fill_uniforms(key, start, first, second):
    for k in range(len(first)):
        word0, word1 = _words(key, start + k)
        first[k] = _uniform(word0 >> np.uint64(11))
        second[k] = _uniform(word1 >> np.uint64(11))


@njit(cache=True, nogil=True)
def _fill_words(key, start, first, second):
    for k in range(len(first)):
        first[k], second[k] = _words(key, start + k)


@njit(cache=True, nogil=True)
def _fill_level(words, levels, level):
    """The level of each word."""
    lowest, thresholds, guide = levels
    n = len(thresholds) - 1
    for k in range(len(words)):
        bits = words[k] >> np.uint64(11)
        cell = bits >> np.uint64(53 - GUIDE_BITS)
        reached = guide[cell]
        # rarely true, so that the processor's guess is right; the rest has no branches
        while guide[cell + np.uint64(1)] - reached > 1 and bits >= thresholds[reached]:
            reached += 1
        level[k] = lowest + reached + (bits >= thresholds[min(reached, n)])


@njit(cache=True, nogil=True)
def _fill_levels(key, start, levels0, first, levels1, second):
    words0, words1 = np.empty(WORDS_AT_ONCE, np.uint64), np.empty(WORDS_AT_ONCE, np.uint64)
    for begin in range(0, len(first), WORDS_AT_ONCE):
        end = min(begin + WORDS_AT_ONCE, len(first))
        w0, w1 = words0[: end - begin], words1[: end - begin]
        _fill_words(key, start + begin, w0, w1)
        _fill_level(w0, levels0, first[begin:end])
        _fill_level(w1, levels1, second[begin:end])


@njit(cache=True, nogil=True)
def _extremes(key, stop):
    low0, high0, low1, high1 = (
        np.uint64(2**64 - 1),
        np.uint64(0),
        np.uint64(2**64 - 1),
        np.uint64(0),
    )
    for index in range(stop):
        word0, word1 = _words(key, index)
        low0, high0 = min(low0, word0), max(high0, word0)
        low1, high1 = min(low1, word1), max(high1, word1)
    found = np.empty((2, 2))
    found[0, 0], found[0, 1] = _uniform(low0 >> np.uint64(11)), _uniform(high0 >> np.uint64(11))
    found[1, 0], found[1, 1] = _uniform(low1 >> np.uint64(11)), _uniform(high1 >> np.uint64(11))
    return found


class Levels(NamedTuple):
    """A whole number as a nondecreasing function of a uniform number.

    It is ``lowest`` plus the number of ``thresholds`` (ascending, uint64, and at the end one that is
    never reached) that the 53 leading bits of the random word reach. ``guide`` holds, for every
    value of the 12 leading bits and the end, how many thresholds are certainly reached.
    """

    lowest: int
    thresholds: NDArray[np.uint64]
    guide: NDArray[np.int64]

    @classmethod
    def of(cls, function: Callable[[FloatArray], NDArray[np.int64]]) -> Levels:
        """Find the thresholds of a function of uniform numbers by bisection."""

        def at(bits: NDArray[np.uint64]) -> NDArray[np.int64]:
            uniforms = (bits.astype(np.float64) + 0.5) * 2.0**-53
            return function(np.minimum(uniforms, LARGEST_UNIFORM))

        last = 2**53 - 1
        lowest, highest = at(np.array([0, last], np.uint64)).tolist()
        wanted = np.arange(lowest + 1, highest + 1)
        below = np.zeros(len(wanted), np.uint64)
        reached = np.full(len(wanted), last, np.uint64)
        for _ in range(53):
            middle = (below + reached) // np.uint64(2)
            high = at(middle) >= wanted
            reached = np.where(high, middle, reached)
            below = np.where(high, below, middle)
        first = np.arange(2**GUIDE_BITS + 1, dtype=np.uint64) << np.uint64(53 - GUIDE_BITS)
        guide = np.searchsorted(reached, first, side="right")
        return cls(lowest, np.append(reached, np.uint64(2**64 - 1)), guide)


# --- Connectivity ---


@njit(cache=True, nogil=True)
def _fill_pairs(key, start, n_sources, n_targets, distinct, source, target):
    """Source and target of each synapse drawn uniformly; with ``distinct`` never equal."""
    words0, words1 = np.empty(WORDS_AT_ONCE, np.uint64), np.empty(WORDS_AT_ONCE, np.uint64)
    for begin in range(0, len(source), WORDS_AT_ONCE):
        end = min(begin + WORDS_AT_ONCE, len(source))
        _fill_words(key, start + begin, words0[: end - begin], words1[: end - begin])
        for k in range(begin, end):
            i = _below(words0[k - begin], n_sources)
            j = _below(words1[k - begin], n_targets - 1 if distinct else n_targets)
            source[k] = i
            target[k] = j + 1 if distinct and j >= i else j


@njit(cache=True, nogil=True)
def _fill_rows_with_replacement(key, offsets, first_row, n, distinct, row_of, partner):
    """For each synapse of consecutive rows a partner drawn uniformly from ``n`` cells."""
    begin = offsets[first_row]
    row = first_row
    words, unused = np.empty(WORDS_AT_ONCE, np.uint64), np.empty(WORDS_AT_ONCE, np.uint64)
    for start in range(0, len(row_of), WORDS_AT_ONCE):
        stop = min(start + WORDS_AT_ONCE, len(row_of))
        _fill_words(key, begin + start, words[: stop - start], unused[: stop - start])
        for k in range(start, stop):
            while offsets[row + 1] <= begin + k:
                row += 1
            j = _below(words[k - start], n - 1 if distinct else n)
            row_of[k] = row
            partner[k] = j + 1 if distinct and j >= row else j


@njit(cache=True, nogil=True)
def _fill_rows_without_replacement(key, offsets, first_row, n, distinct, row_of, partner):
    """For each row a uniformly drawn subset of ``n`` cells (Bentley and Floyd 1987)."""
    begin = offsets[first_row]
    available = n - 1 if distinct else n
    taken = np.zeros(available, np.uint8)
    row = first_row
    position = 0
    while position < len(row_of):
        count = offsets[row + 1] - offsets[row]
        for c in range(count):
            last = available - count + c
            word0, _ = _words(key, begin + position + c)
            pick = _below(word0, last + 1)
            if taken[pick]:
                pick = last
            taken[pick] = 1
            row_of[position + c] = row
            partner[position + c] = pick
        for c in range(count):
            pick = partner[position + c]
            taken[pick] = 0
            if distinct and pick >= row:
                partner[position + c] = pick + 1
        position += count
        row += 1


@njit(cache=True, nogil=True)
def _log_choose(n, k):
    return math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)


@njit(cache=True, nogil=True)
def _partition_counts(uniforms, row_size, total):
    """Numbers per row when ``total`` cells of ``len(uniforms)`` equal rows are drawn once each.

    Row after row, the count is hypergeometric given what is left; drawn by inversion, outcomes
    taken in order of their distance from the mode.
    """
    n_rows = len(uniforms)
    counts = np.zeros(n_rows, np.int64)
    left = total
    for row in range(n_rows):
        others = (n_rows - row - 1) * row_size
        lowest = max(0, left - others)
        highest = min(row_size, left)
        mode = (left + 1) * (row_size + 1) // (row_size + others + 2)
        mode = min(max(mode, lowest), highest)
        probability = np.exp(
            _log_choose(row_size, mode)
            + _log_choose(others, left - mode)
            - _log_choose(row_size + others, left)
        )
        rest = uniforms[row] - probability
        up = down = mode
        p_up = p_down = probability
        count = mode
        while rest > 0 and (up < highest or down > lowest):
            if up < highest:
                p_up *= (row_size - up) * (left - up) / ((up + 1.0) * (others - left + up + 1.0))
                up += 1
                count = up
                rest -= p_up
                if rest <= 0:
                    break
            if down > lowest:
                p_down *= (
                    down * (others - left + down) / ((row_size - down + 1.0) * (left - down + 1.0))
                )
                down -= 1
                count = down
                rest -= p_down
        counts[row] = count
        left -= count
    return counts


class Realization:
    """The network drawn with one seed on a time grid of ``timestep`` ms.

    ``delay_steps`` turns delays (ms) and the time step (ms) into steps, at least one; it must never
    decrease. Nothing is stored but small per-neuron tables: synapses are computed when they are
    asked for.
    """

    def __init__(
        self,
        network: Network,
        seed: int,
        timestep: float,
        delay_steps: Callable[[FloatArray, float], NDArray[np.int32]] = to_steps,
    ) -> None:
        self.network = network
        self.seed = seed
        self.timestep = timestep
        self._steps_of_delay = delay_steps
        self._extremes: dict[str, FloatArray] = {}

    def _delay_steps(self, milliseconds: FloatArray) -> NDArray[np.int32]:
        return self._steps_of_delay(np.asarray(milliseconds), self.timestep)

    # --- populations ---

    def parameters(self, population: str) -> dict[str, FloatArray]:
        """Cell parameters by PyNN name, shape ``(size,)``; ``tau_refrac`` is on the grid."""
        description = self.network.population(population)
        arrays = {
            name: self._values(value, description.size, "parameter", population, name)
            for name, value in description.parameters.items()
        }
        if "tau_refrac" in arrays:
            steps = to_steps(arrays["tau_refrac"], self.timestep).astype(np.float64)
            arrays["tau_refrac"] = steps * self.timestep
        return arrays

    def initial_values(self, population: str) -> dict[str, FloatArray]:
        """Initial values by PyNN state variable, each of shape ``(size,)``."""
        description = self.network.population(population)
        return {
            name: self._values(value, description.size, "initial value", population, name)
            for name, value in description.initial_values.items()
        }

    def spike_steps(self, population: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Spikes of a ``SpikeSourceArray``: neurons and steps, sorted by step, then by neuron."""
        times = self.network.population(population).spike_times
        neurons = np.repeat(np.arange(len(times)), [len(t) for t in times])
        steps = to_steps(np.concatenate([np.empty(0), *times]), self.timestep).astype(np.int64)
        order = np.lexsort((neurons, steps))
        return neurons[order], steps[order]

    def drive(self, label: str) -> DriveArrays:
        """Rates, weights and delays of one Poisson drive."""
        drive = next(d for d in self.network.drives if d.label == label)
        size = self.network.population(drive.target).size
        return DriveArrays(
            self._values(drive.rate, size, "drive", label, "rate"),
            self._values(drive.weight, size, "drive", label, "weight"),
            self._delay_steps(self._values(drive.delay, size, "drive", label, "delay")),
        )

    def _values(self, value: Value, size: int, *names: str) -> FloatArray:
        if isinstance(value, Distribution):
            return quantile(value, Stream.named(self.seed, *names).uniforms(0, size)[0])
        return np.broadcast_to(np.asarray(value, dtype=np.float64), (size,)).copy()

    # --- projections ---

    def synapse_count(self, projection: str) -> int:
        return self._wiring(projection).count

    @property
    def n_synapses(self) -> int:
        """Synapses of all projections."""
        return sum(self.synapse_count(p.label) for p in self.network.projections)

    def synapses(self, projection: str, chunk_size: int = CHUNK_SIZE) -> Iterator[Synapses]:
        """All synapses of a projection, in chunks of at most ``chunk_size``."""
        count = self.synapse_count(projection)
        for start in range(0, count, chunk_size):
            yield self.synapse_range(projection, start, min(start + chunk_size, count))

    def synapse_range(
        self, projection: str, start: int, stop: int, weights: bool = True, delays: bool = True
    ) -> Synapses:
        """Synapses ``start`` to ``stop``; the same whatever was asked for before.

        Without ``weights`` or ``delays``, that array has shape ``(0,)`` and nothing is spent on it.
        """
        wiring = self._wiring(projection)
        source, target = wiring.pairs(start, stop)
        first, second = Stream.named(self.seed, "synapse", projection).uniforms(start, stop)
        description = wiring.projection

        def values(value: Value, u: FloatArray) -> FloatArray:
            if isinstance(value, Distribution):
                return quantile(value, u)
            if isinstance(value, np.ndarray):
                return value[start:stop] if value.ndim == 1 else value[source, target]
            return np.full(stop - start, value)

        weight = values(description.weight, first) if weights else np.empty(0)
        delay = np.empty(0, np.int32)
        if delays:
            delay = self._delay_steps(values(description.delay, second))
        return Synapses(source, target, weight, delay)

    def weight_levels(
        self, projection: str, encode: Callable[[FloatArray], NDArray[np.int64]]
    ) -> Levels:
        """The code of a drawn weight, for an ``encode`` that is a nondecreasing function of it."""
        weight = self._wiring(projection).projection.weight
        if isinstance(weight, Distribution):
            return Levels.of(lambda u: encode(quantile(weight, u)))
        return Levels.of(lambda u: encode(np.full_like(u, weight)))

    def delay_levels(self, projection: str) -> Levels:
        """The delay (steps) of a drawn synapse."""
        delay = self._wiring(projection).projection.delay
        if isinstance(delay, Distribution):
            return Levels.of(lambda u: self._delay_steps(quantile(delay, u)).astype(np.int64))
        return Levels.of(lambda u: self._delay_steps(np.full_like(u, delay)).astype(np.int64))

    def coded_range(
        self, projection: str, start: int, stop: int, weights: Levels, delays: Levels
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]:
        """Sources, targets, codes of weights and delays (steps) of synapses ``start`` to ``stop``.

        The same as from `synapse_range`, several times faster, as no quantile is computed. Not for
        projections whose weights or delays are given one by one.
        """
        source, target = self._wiring(projection).pairs(start, stop)
        code, delay = np.empty(len(source), np.uint8), np.empty(len(source), np.int32)
        _fill_levels(
            Stream.named(self.seed, "synapse", projection).key,
            start,
            weights,
            code,
            delays,
            delay,
        )
        return source, target, code, delay

    def delay_range(self, projection: str) -> tuple[int, int]:
        """Shortest and longest delay (steps) of a projection with at least one synapse."""
        steps = self._delay_steps(self._range(projection, self._described(projection).delay, 1))
        return int(steps.min()), int(steps.max())

    def weight_range(self, projection: str) -> tuple[float, float]:
        """Smallest and largest weight (nA or uS) of a projection with at least one synapse."""
        weights = self._range(projection, self._described(projection).weight, 0)
        return float(weights.min()), float(weights.max())

    def _range(self, projection: str, value: Value, which: int) -> FloatArray:
        """Values among which are the extremes; ``which`` of the two uniform numbers draws them."""
        if not isinstance(value, Distribution):
            return np.asarray(value, dtype=np.float64)
        if projection not in self._extremes:
            stream = Stream.named(self.seed, "synapse", projection)
            self._extremes[projection] = stream.extremes(self.synapse_count(projection))
        # a quantile grows with its argument
        return quantile(value, self._extremes[projection][which])

    def _described(self, projection: str) -> Projection:
        return self._wiring(projection).projection

    @cached_property
    def _wirings(self) -> dict[str, _Wiring]:
        population = self.network.population
        return {
            p.label: _Wiring(p, population(p.source), population(p.target), self.seed)
            for p in self.network.projections
        }

    def _wiring(self, projection: str) -> _Wiring:
        return self._wirings[projection]


class _Wiring:
    """Which cells one projection connects: how many synapses, source and target of each."""

    def __init__(
        self, projection: Projection, source: Population, target: Population, seed: int
    ) -> None:
        self.projection = projection
        self.n_sources = source.size
        self.n_targets = target.size
        self.seed = seed
        connector = projection.connector
        self.distinct = source.label == target.label and not getattr(
            connector, "self_connections", True
        )
        self._key = Stream.named(seed, "connection", projection.label).key

    @cached_property
    def count(self) -> int:
        match self.projection.connector:
            case FixedTotalNumber(n=n):
                return n
            case OneToOne():
                return min(self.n_sources, self.n_targets)
            case FromList(source=source):
                return len(source)
        return int(self._offsets[-1])

    @property
    def _rows_are_targets(self) -> bool:
        return isinstance(self.projection.connector, FixedNumberPre)

    @property
    def _row_size(self) -> int:
        """Number of partners that a row can choose from, before an autapse is excluded."""
        return self.n_sources if self._rows_are_targets else self.n_targets

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        """Index of each row's first synapse (a row is one source's or target's), and the total."""
        n_rows = self.n_targets if self._rows_are_targets else self.n_sources
        available = self._row_size - self.distinct
        stream = Stream.named(self.seed, "row size", self.projection.label)
        match self.projection.connector:
            case AllToAll():
                counts = np.full(n_rows, available)
            case FixedProbability(probability=probability):
                counts = scipy.stats.binom.ppf(
                    stream.uniforms(0, n_rows)[0], available, probability
                )
            case FixedTotalNumber(n=n):
                counts = _partition_counts(stream.uniforms(0, n_rows)[0], available, n)
            case FixedNumberPre(n=n) | FixedNumberPost(n=n):
                counts = np.full(n_rows, n)
        return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))

    def pairs(self, start: int, stop: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        n = stop - start
        connector = self.projection.connector
        if isinstance(connector, OneToOne):
            index = np.arange(start, stop, dtype=np.int32)
            return index, index.copy()
        if isinstance(connector, AllToAll):
            row, partner = np.divmod(np.arange(start, stop), self.n_targets - self.distinct)
            partner += self.distinct & (partner >= row)
            return row.astype(np.int32), partner.astype(np.int32)
        if isinstance(connector, FromList):
            return (
                connector.source[start:stop].astype(np.int32),
                connector.target[start:stop].astype(np.int32),
            )
        if isinstance(connector, FixedTotalNumber) and connector.with_replacement:
            source = np.empty(n, np.int32)
            target = np.empty(n, np.int32)
            _fill_pairs(
                self._key, start, self.n_sources, self.n_targets, self.distinct, source, target
            )
            return source, target
        # whole rows, because a subset is drawn as one; then the part that was asked for
        first_row = int(np.searchsorted(self._offsets, start, side="right")) - 1
        last_row = int(np.searchsorted(self._offsets, stop, side="left"))
        begin = int(self._offsets[first_row])
        size = int(self._offsets[last_row]) - begin
        row = np.empty(size, np.int32)
        partner = np.empty(size, np.int32)
        fill = (
            _fill_rows_with_replacement
            if getattr(connector, "with_replacement", False)
            else _fill_rows_without_replacement
        )
        fill(self._key, self._offsets, first_row, self._row_size, self.distinct, row, partner)
        part = slice(start - begin, stop - begin)
        if self._rows_are_targets:
            return partner[part], row[part]
        return row[part], partner[part]
