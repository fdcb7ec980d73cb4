"""State arithmetics: in what numbers neurons are integrated, and how weights become such numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

Kind = Literal["float64", "float32", "fixed-point", "spinnaker", "loihi"]
"""What a backend declares that it can compute in."""
Rounding = Literal["nearest", "floor", "zero"]
Overflow = Literal["saturate", "wrap"]


@dataclass(frozen=True)
class FloatingPoint:
    """IEEE 754 numbers of double (``float64``) or single (``float32``) precision."""

    kind: Literal["float64", "float32"]

    def represent(self, weights: FloatArray) -> FloatArray:
        """Weights as this arithmetic can hold them; shape and unit are kept."""
        return weights if self.kind == "float64" else weights.astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class FixedPoint:
    """Two's complement numbers: a sign, ``integer_bits`` and ``fraction_bits``, at most 32 together.

    ``rounding`` is what happens to the bits of a product beyond the last fraction bit: ``nearest``
    (halves up), ``floor`` (the bits are dropped, as by a shift) or ``zero`` (towards zero).
    ``overflow`` is what happens to a sum out of range: ``saturate`` takes the nearest value,
    ``wrap`` drops the upper bits.
    """

    integer_bits: int
    fraction_bits: int
    rounding: Rounding = "nearest"
    overflow: Overflow = "saturate"

    kind: ClassVar[Kind] = "fixed-point"

    @property
    def word(self) -> int:
        """Bits of a number."""
        return 1 + self.integer_bits + self.fraction_bits

    @property
    def largest(self) -> int:
        """The largest number, in units of the last fraction bit; the smallest is -largest - 1."""
        return 2 ** (self.word - 1) - 1

    def quantise(self, values: FloatArray) -> NDArray[np.int64]:
        """``values`` as integers in units of the last fraction bit: nearest, halves up, saturated.

        This is how a host loads parameters, whatever the machine's own rounding.
        """
        # whole halves first: the sum of 1/2 and the largest number below it is 1
        halves = np.floor(np.asarray(values, dtype=np.float64) * 2.0 ** (self.fraction_bits + 1))
        nearest = np.floor((halves + 1) / 2)
        return np.clip(nearest, -self.largest - 1, self.largest).astype(np.int64)

    def represent(self, weights: FloatArray) -> FloatArray:
        """Weights as this arithmetic can hold them; shape and unit are kept."""
        return self.quantise(weights) * np.float64(2.0**-self.fraction_bits)


@dataclass(frozen=True)
class SpinnakerArithmetic:
    """What the cores of SpiNNaker compute, bit for bit, in ``substeps`` parts of a time step."""

    substeps: int = 1

    kind: ClassVar[Kind] = "spinnaker"

    def represent(self, weights: FloatArray) -> FloatArray:
        """Unchanged: what a core can hold is the machine's scale of weights."""
        return weights


@dataclass(frozen=True)
class LoihiArithmetic:
    """What Loihi's neurons compute, by its bit-accurate public model."""

    kind: ClassVar[Kind] = "loihi"

    def represent(self, weights: FloatArray) -> FloatArray:
        """Unchanged: what the chip can hold is the machine's scale of weights."""
        return weights


State = FloatingPoint | FixedPoint | SpinnakerArithmetic | LoihiArithmetic

DOUBLE = FloatingPoint("float64")
SINGLE = FloatingPoint("float32")
