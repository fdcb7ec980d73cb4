"""What SpiNNaker's cores compute, bit for bit.

The arithmetic is that of sPyNNaker 7.4.1 for ``IF_curr_exp``; numbers, constants and laws of sources are in
`pynn_portability.formats.spinnaker`.

Input. Weights are 16-bit magnitudes; the receptor tells the sign. What arrives in a step adds up in a
16-bit cell, which saturates; once per step, cells enter the currents, shifted left by what the ring
buffers of the population and receptor need (`pynn_portability.formats.ring_buffers`)::

    I   <-  I + floor((cell << shift) init)

A sub-step then is, with every product rounded down and every sum wrapping around at 32 bits::

    A   <-  (I_e - I_i + I_offset) R + V_rest
    V   <-  A - P (A - V)                     unless refractory
    V >= threshold: a spike, V <- V_reset, refractory for T_ref sub-steps
    I_e <-  I_e D_e, likewise I_i

Input acts before the voltage of the same step changes, and a neuron's spike that is sent in one step
acts, with a delay of d steps, d steps later: one step earlier than in NEST. That is what the machine
does, and it is not compensated. Spikes of sources act as in NEST.

Poisson sources follow the laws of the machine's generators, `poisson_mean` of that module, but are drawn
with the generator of all drives, not with that of the machine. Sources that are not a drive are Poisson
with the mean of these laws, however many spikes there are in a step.

Not modelled: packets that are late or lost, sums of several synapse cores (which carry into a
neighbour instead of saturating), and whether the machine keeps up with real time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynn_portability.formats.ring_buffers import Key
from pynn_portability.formats.spinnaker import (
    CONSTANTS,
    FRACTION_BITS,
    LARGEST_CELL,
    constants,
    encode,
)
from pynn_portability.model.cells import Receptor

FloatArray = NDArray[np.float64]


class Rules(NamedTuple):
    """Tells compiled code what to compute."""

    substeps: int


@dataclass(frozen=True)
class Cores:
    """How cores hold states and weights; ``shifts`` by label of the population and receptor.

    Has what `pynn_portability.backends.emulator.arithmetic.Arithmetic` has.
    """

    substeps: int
    shifts: Mapping[Key, int]

    state: ClassVar[np.dtype[Any]] = np.dtype(np.int32)
    accumulator: ClassVar[np.dtype[Any]] = np.dtype(np.int64)
    rows: ClassVar[int] = len(CONSTANTS)
    lead: ClassVar[int] = 1

    @property
    def rules(self) -> Rules:
        return Rules(self.substeps)

    def current(self, nanoampere: FloatArray) -> NDArray[np.int64]:
        """Currents (nA) as s16.15, shape kept."""
        return encode(nanoampere, "a current (nA)")

    def voltage(self, millivolt: FloatArray, rest: FloatArray) -> NDArray[np.int64]:
        """Voltages (mV) as s16.15, shape kept; they are not relative to the resting potential."""
        return encode(millivolt, "a membrane potential (mV)")

    def weights(
        self, nanoampere: FloatArray, population: str, receptor: Receptor
    ) -> NDArray[np.int64]:
        """Stored magnitudes of weights (nA) onto a population, shape kept, as the host rounds them."""
        scale = 2.0 ** (FRACTION_BITS - self.shifts[population, receptor])
        return np.rint(np.abs(nanoampere) * scale).astype(np.int64) & LARGEST_CELL

    def nanoampere(self, weights: NDArray[Any], population: str, receptor: Receptor) -> FloatArray:
        """The inverse of `weights`."""
        unit = 2.0 ** (self.shifts[population, receptor] - FRACTION_BITS)
        # what is added turns -0 into 0
        return weights * (-unit if receptor == "inhibitory" else unit) + 0.0

    def columns(
        self, parameters: dict[str, FloatArray], timestep: float, population: str
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """`constants` of a population."""
        shifts = self.shifts[population, "excitatory"], self.shifts[population, "inhibitory"]
        return constants(parameters, timestep, self.substeps, shifts, population)
