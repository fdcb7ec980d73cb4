"""What connection rules draw from (`pynn_portability.model.connectivity.Draws`), compiled.

Subsets (rules without replacement) are drawn row by row with Floyd's algorithm (Bentley and Floyd 1987),
row sizes by inversion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pynn_portability.model.connectivity import Ends, Pairs, Rows
from pynn_portability.model.distribution import Distribution
from pynn_portability.realize.distributions import quantile
from pynn_portability.realize.streams import (
    WORDS_AT_ONCE,
    Stream,
    below,
    below_many,
    fill_words,
    words_at,
)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ProjectionDraws:
    """The random numbers that decide who is connected in one projection (label) of one realization."""

    seed: int
    projection: str

    def row_uniforms(self, n_rows: int) -> FloatArray:
        """A uniform number in (0, 1) for every row, shape ``(n_rows,)``."""
        return Stream.named(self.seed, "row size", self.projection).uniforms(0, n_rows)[0]

    def row_numbers(self, distribution: Distribution, n_rows: int) -> FloatArray:
        """A number of synapses for every row, shape ``(n_rows,)``."""
        return quantile(distribution, self.row_uniforms(n_rows))

    def partition(self, row_sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
        """Numbers per row when ``total`` cells of rows of such sizes are drawn once each, shape ``(n_rows,)``."""
        return _partition_counts(self.row_uniforms(len(row_sizes)), row_sizes, total)

    def pairs(self, start: int, stop: int, ends: Ends, distinct: bool) -> Pairs:
        """Pairs drawn uniformly and independently; with ``distinct`` never a cell and itself."""
        source, target = np.empty(stop - start, np.int32), np.empty(stop - start, np.int32)
        if distinct and ends.itself is not None:
            free = np.flatnonzero(ends.itself < 0)
            _fill_pairs_apart(self._key, start, ends.n_targets, ends.itself, free, source, target)
        else:
            _fill_pairs(self._key, start, ends.n_sources, ends.n_targets, distinct, source, target)
        return source, target

    def partners(self, rows: Rows, first_row: int, last_row: int) -> Pairs:
        """Row and partner of all synapses of rows ``first_row`` to ``last_row`` (exclusive)."""
        size = int(rows.offsets[last_row] - rows.offsets[first_row])
        row, partner = np.empty(size, np.int32), np.empty(size, np.int32)
        fill = (
            _fill_rows_with_replacement if rows.with_replacement else _fill_rows_without_replacement
        )
        fill(self._key, rows.offsets, first_row, rows.n_partners, rows.itself, row, partner)
        return row, partner

    def pair_uniforms(self, start: int, stop: int) -> FloatArray:
        """Uniform numbers in (0, 1) for pairs ``start`` to ``stop`` (exclusive)."""
        return Stream.named(self.seed, "pair", self.projection).uniforms(start, stop)[0]

    def pair_uniforms_of(self, pairs: NDArray[np.int64]) -> FloatArray:
        """Uniform numbers in (0, 1) for pairs with these indices, the same shape."""
        return Stream.named(self.seed, "pair", self.projection).uniforms_at(pairs)

    def named(self, projection: str) -> ProjectionDraws:
        """The random numbers of another projection of the same realization."""
        return ProjectionDraws(self.seed, projection)

    @property
    def _key(self) -> NDArray[np.uint32]:
        return Stream.named(self.seed, "connection", self.projection).key


@njit(cache=True, nogil=True)
def _fill_pairs(key, start, n_sources, n_targets, distinct, source, target):
    """Source and target of each synapse drawn uniformly; with ``distinct`` never equal."""
    words0, words1 = np.empty(WORDS_AT_ONCE, np.uint64), np.empty(WORDS_AT_ONCE, np.uint64)
    for begin in range(0, len(source), WORDS_AT_ONCE):
        end = min(begin + WORDS_AT_ONCE, len(source))
        fill_words(key, start + begin, words0[: end - begin], words1[: end - begin])
        for k in range(begin, end):
            i = below(words0[k - begin], n_sources)
            j = below(words1[k - begin], n_targets - 1 if distinct else n_targets)
            source[k] = i
            target[k] = j + 1 if distinct and j >= i else j


@njit(cache=True, nogil=True)
def _fill_pairs_apart(key, start, n_targets, itself, free, source, target):
    """Source and target of each synapse drawn uniformly, never a source and ``itself`` among the targets.

    Each source has one target fewer than there are, and the ``free`` ones, which are no targets, have one more.
    """
    fewer = n_targets - 1
    common = len(itself) * fewer
    for k in range(len(source)):
        word, _ = words_at(key, start + k)
        pair = below_many(word, common + len(free))
        if pair < common:
            i, j = pair // fewer, pair % fewer
            source[k] = i
            target[k] = j + 1 if 0 <= itself[i] <= j else j
        else:
            source[k] = free[pair - common]
            target[k] = fewer


@njit(cache=True, nogil=True)
def _fill_rows_with_replacement(key, offsets, first_row, n, itself, row_of, partner):
    """For each synapse of consecutive rows a partner drawn uniformly from ``n`` cells but ``itself``."""
    begin = offsets[first_row]
    row = first_row
    words, unused = np.empty(WORDS_AT_ONCE, np.uint64), np.empty(WORDS_AT_ONCE, np.uint64)
    for start in range(0, len(row_of), WORDS_AT_ONCE):
        stop = min(start + WORDS_AT_ONCE, len(row_of))
        fill_words(key, begin + start, words[: stop - start], unused[: stop - start])
        for k in range(start, stop):
            while offsets[row + 1] <= begin + k:
                row += 1
            own = itself[row] if len(itself) else -1
            j = below(words[k - start], n - 1 if own >= 0 else n)
            row_of[k] = row
            partner[k] = j + 1 if 0 <= own <= j else j


@njit(cache=True, nogil=True)
def _fill_rows_without_replacement(key, offsets, first_row, n, itself, row_of, partner):
    """For each row a uniformly drawn subset of ``n`` cells but ``itself``, or all and a subset.

    Subsets are drawn as Bentley and Floyd (1987) do.
    """
    begin = offsets[first_row]
    taken = np.zeros(n, np.uint8)
    row = first_row
    position = 0
    while position < len(row_of):
        own = itself[row] if len(itself) else -1
        available = n - 1 if own >= 0 else n
        count = offsets[row + 1] - offsets[row]
        beyond = (count - 1) // available * available if count > available else 0
        for c in range(beyond):
            pick = c % available
            row_of[position + c] = row
            partner[position + c] = pick + 1 if 0 <= own <= pick else pick
        position += beyond
        count -= beyond
        for c in range(count):
            last = available - count + c
            word0, _ = words_at(key, begin + position + c)
            pick = below(word0, last + 1)
            if taken[pick]:
                pick = last
            taken[pick] = 1
            row_of[position + c] = row
            partner[position + c] = pick
        for c in range(count):
            pick = partner[position + c]
            taken[pick] = 0
            if 0 <= own <= pick:
                partner[position + c] = pick + 1
        position += count
        row += 1


@njit(cache=True, nogil=True)
def _log_choose(n, k):
    return math.lgamma(n + 1.0) - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0)


@njit(cache=True, nogil=True)
def _partition_counts(uniforms, row_sizes, total):
    """Numbers per row when ``total`` cells of rows of ``row_sizes`` are drawn once each.

    Row after row, the count is hypergeometric given what is left; drawn by inversion, outcomes
    taken in order of their distance from the mode.
    """
    n_rows = len(uniforms)
    counts = np.zeros(n_rows, np.int64)
    left = total
    others = row_sizes.sum()
    for row in range(n_rows):
        row_size = row_sizes[row]
        others -= row_size
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
