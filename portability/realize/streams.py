"""Random streams: a counter-based generator whose numbers are a pure function of name and index.

The generator is Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405). Its key and the upper
half of its counter are a hash of the study's seed and of the names of what is drawn, so that different
objects and seeds draw from independent streams.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
GUIDE_BITS = 12
WORDS_AT_ONCE = 1024  # fit into the L1 cache
SMALLEST_UNIFORM = 2.0**-54
LARGEST_UNIFORM = 1 - 2.0**-53


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

    def uniforms_at(self, indices: NDArray[np.int64]) -> FloatArray:
        """The first of the `uniforms` of each of these indices, shape ``(n,)``."""
        first = np.empty(len(indices))
        _fill_uniforms_at(self.key, indices, first)
        return first

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
def words_at(key, index):
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
def below(word, n):
    """A number from 0 to n - 1 (n < 2**32) out of 64 random bits; the bias is at most n / 2**64."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    bound = np.uint64(n)
    return np.int64(((word >> shift) * bound + (((word & mask) * bound) >> shift)) >> shift)


@njit(cache=True, nogil=True, inline="always")
def below_many(word, n):
    """A number from 0 to n - 1 (n < 2**63) out of 64 random bits; the bias is at most n / 2**64."""
    mask = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    bound = np.uint64(n)
    # the upper half of the product, of halves of both, none of which overflows
    high, low = word >> shift, word & mask
    carried = high * (bound & mask) + ((low * (bound & mask)) >> shift)
    middle = low * (bound >> shift) + (carried & mask)
    return np.int64(high * (bound >> shift) + (carried >> shift) + (middle >> shift))


@njit(cache=True, nogil=True, inline="always")
def _uniform(bits):
    """The middle of one of 2**53 equal cells, so never 0; the last is rounded to 1, but may not be."""
    return min((bits + 0.5) * 2.0**-53, LARGEST_UNIFORM)


@njit(cache=True, nogil=True)
def _fill_uniforms(key, start, first, second):
    for k in range(len(first)):
        word0, word1 = words_at(key, start + k)
        first[k] = _uniform(word0 >> np.uint64(11))
        second[k] = _uniform(word1 >> np.uint64(11))


@njit(cache=True, nogil=True)
def _fill_uniforms_at(key, indices, first):
    for k in range(len(first)):
        word, _ = words_at(key, indices[k])
        first[k] = _uniform(word >> np.uint64(11))


@njit(cache=True, nogil=True)
def fill_words(key, start, first, second):
    for k in range(len(first)):
        first[k], second[k] = words_at(key, start + k)


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
def fill_levels(key, start, levels0, first, levels1, second):
    words0, words1 = np.empty(WORDS_AT_ONCE, np.uint64), np.empty(WORDS_AT_ONCE, np.uint64)
    for begin in range(0, len(first), WORDS_AT_ONCE):
        end = min(begin + WORDS_AT_ONCE, len(first))
        w0, w1 = words0[: end - begin], words1[: end - begin]
        fill_words(key, start + begin, w0, w1)
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
        word0, word1 = words_at(key, index)
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
