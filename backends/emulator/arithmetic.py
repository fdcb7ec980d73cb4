"""Neurons in floating-point and in fixed-point arithmetic.

The neuron is that of NEST's ``iaf_psc_exp``: a leaky membrane with two exponentially decaying
currents, integrated exactly on the grid (Rotter and Diesmann 1999, Biol. Cybern. 81:381, section
3.1). One step from t to t + dt, V relative to the resting potential::

    V   <-  V P_m + I_e P_e + I_i P_i + I_offset P_0     unless refractory
    I_e <-  I_e D_e + input that arrives at t + dt, likewise I_i
    V >= threshold: a spike labelled t + dt, V <- V_reset, refractory for tau_refrac / dt steps

In floating point the propagators and the order of the operations are NEST's, in NEST's units (mV,
pA, pF), so that equal input gives equal bits in double precision. In single precision, input is
added to the currents one by one, and the two currents are one where their time constants agree:
less memory has to pass through the processor.

In fixed point, currents are in nA and voltages in mV, as in PyNN. Propagators are 32-bit words with
as many fraction bits as the largest of them leaves, 31 when all are below 1. Every product is exact
and then rounded to the format's last fraction bit; the sum of one line above is exact and then
saturates or wraps. Input of one step is summed exactly before it is added. Parameters are loaded
rounded to the nearest value.

The arithmetic of a machine, SpiNNaker's, is in `pynn_portability.backends.emulator.spinnaker`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynn_portability.formats.arithmetic import FixedPoint, FloatingPoint
from pynn_portability.model.cells import Receptor

FloatArray = NDArray[np.float64]
Array = NDArray[Any]

COEFFICIENTS = ("P_m", "P_e", "P_i", "P_0", "D_e", "D_i", "threshold", "reset")
"""Rows of `propagators`; P_0 stands for I_offset P_0, in mV."""
PROPAGATORS = [0, 1, 2, 4, 5]
"""Those of the rows that are factors, held with more fraction bits in fixed point."""

PICO_PER_NANO = 1000.0
WORD_BITS = 32


class Rules(NamedTuple):
    """What compiled code rounds and bounds fixed-point numbers by; all 0 in floating point.

    ``shift``: fraction bits of the propagators. ``added``: what is added to a product before its surplus
    bits are dropped, ``added_if_negative``: what is added besides when it is negative. ``smallest`` and
    ``largest`` value. ``surplus``: bits above the word's when sums wrap, otherwise 0.
    """

    shift: int = 0
    added: int = 0
    added_if_negative: int = 0
    smallest: int = 0
    largest: int = 0
    surplus: int = 0


@dataclass(frozen=True)
class Arithmetic:
    """How states, weights and propagators are held; ``rules`` parametrises the engine."""

    state: np.dtype[Any]
    fixed: FixedPoint | None
    rules: Rules

    rows: ClassVar[int] = len(COEFFICIENTS)
    lead: ClassVar[int] = 0
    """Steps by which a neuron's spike acts earlier than its label says."""
    substeps: ClassVar[int] = 1

    @property
    def accumulator(self) -> np.dtype[Any]:
        """In which the input of one step is summed; integers cannot overflow here."""
        return np.dtype(np.int64) if self.fixed else self.state

    def current(self, nanoampere: FloatArray) -> Array:
        """Currents and weights (nA) as the state arithmetic holds them, shape kept."""
        if self.fixed:
            return self.fixed.quantise(nanoampere)
        return (np.asarray(nanoampere) * PICO_PER_NANO).astype(self.state)

    def weights(self, nanoampere: FloatArray, population: str, receptor: Receptor) -> Array:
        """Weights (nA) onto a population and receptor as they are added up, shape kept."""
        return self.current(nanoampere)

    def nanoampere(self, weights: Array, population: str, receptor: Receptor) -> FloatArray:
        """The inverse of `weights`."""
        if self.fixed:
            return weights * 2.0**-self.fixed.fraction_bits
        return weights.astype(np.float64) / PICO_PER_NANO

    def voltage(self, millivolt: FloatArray, rest: FloatArray) -> Array:
        """Voltages (mV) as the state arithmetic holds them: relative to the resting potential."""
        relative = millivolt - rest
        if self.fixed:
            return self.fixed.quantise(relative).astype(self.state)
        return relative.astype(self.state)

    def columns(
        self, parameters: dict[str, FloatArray], timestep: float, population: str
    ) -> tuple[Array, NDArray[np.int32]]:
        """`propagators` as the state arithmetic holds them, and refractory steps."""
        rows, steps = propagators(parameters, timestep, nanoampere=self.fixed is not None)
        if not self.fixed:
            return rows.astype(self.state), steps
        held = self.fixed.quantise(rows)
        held[PROPAGATORS] = np.floor(rows[PROPAGATORS] * 2.0**self.rules.shift + 0.5)
        return held.astype(self.state), steps


def arithmetic(state: FloatingPoint | FixedPoint, propagators: FloatArray) -> Arithmetic:
    """A state arithmetic for neurons with these `propagators`, in nA for fixed point."""
    if isinstance(state, FloatingPoint):
        return Arithmetic(np.dtype(state.kind), None, Rules())
    fixed = state
    largest = np.abs(propagators[PROPAGATORS]).max(initial=0.0)
    shift = WORD_BITS - 1
    while shift and math.floor(largest * 2.0**shift + 0.5) >= 2 ** (WORD_BITS - 1):
        shift -= 1
    added = {"nearest": (1 << shift) >> 1, "floor": 0, "zero": 0}[fixed.rounding]
    if_negative = (1 << shift) - 1 if fixed.rounding == "zero" else 0
    wrap = 64 - fixed.word if fixed.overflow == "wrap" else 0
    # when sums wrap, nothing is left to saturate
    return Arithmetic(
        np.dtype(np.int32),
        fixed,
        Rules(shift, added, if_negative, -fixed.largest - 1, fixed.largest, wrap),
    )


LARGEST_EXPONENT = 700.0
"""Below the logarithm of the largest number of double precision."""


def propagators(
    parameters: dict[str, FloatArray], timestep: float, nanoampere: bool
) -> tuple[FloatArray, NDArray[np.int32]]:
    """Coefficients of neurons, rows as in ``COEFFICIENTS``, shape (8, n), and refractory steps (n,).

    ``parameters`` are those of PyNN's ``IF_curr_exp``, shape (n,) each; ``timestep`` is in ms.
    Currents are in pA, or in nA if ``nanoampere``. Neurons with equal parameters share columns: n is
    1 when all are equal.
    """
    names = ("tau_m", "cm", "tau_syn_E", "tau_syn_I", "i_offset", "v_rest", "v_thresh", "v_reset")
    table = np.stack([parameters[name] for name in names])
    steps = np.rint(parameters["tau_refrac"] / timestep)
    steps = np.minimum(steps, np.iinfo(np.int32).max).astype(np.int32)
    if table.size and (table == table[:, :1]).all() and (steps == steps[0]).all():
        table, steps = table[:, :1], steps[:1]
    unit = 1.0 if nanoampere else PICO_PER_NANO
    rows = [_column(*column, timestep, unit) for column in table.T.tolist()]
    return np.array(rows, dtype=np.float64).reshape(-1, len(COEFFICIENTS)).T, steps


@cache
def _column(
    tau_m: float,
    cm: float,
    tau_syn_e: float,
    tau_syn_i: float,
    i_offset: float,
    v_rest: float,
    v_thresh: float,
    v_reset: float,
    timestep: float,
    unit: float,
) -> tuple[float, ...]:
    c_m = cm * unit
    p_m = math.exp(-timestep / tau_m)
    return (
        p_m,
        _from_current(tau_syn_e, tau_m, c_m, timestep),
        _from_current(tau_syn_i, tau_m, c_m, timestep),
        i_offset * unit * (tau_m / c_m * (1.0 - p_m)),
        math.exp(-timestep / tau_syn_e),
        math.exp(-timestep / tau_syn_i),
        v_thresh - v_rest,
        v_reset - v_rest,
    )


def _from_current(tau_syn: float, tau_m: float, c_m: float, timestep: float) -> float:
    """Voltage after one step per current at its begin, in the form and order of NEST's propagator."""
    if tau_m != tau_syn:
        beta = tau_syn * tau_m / (tau_m - tau_syn)
        inverse = (tau_m - tau_syn) / (tau_syn * tau_m)
        if timestep * inverse > LARGEST_EXPONENT:  # the product below would be 0 times infinity
            return beta / c_m * (math.exp(-timestep / tau_m) - math.exp(-timestep / tau_syn))
        result = beta / c_m * math.exp(-timestep * (1 / tau_syn)) * math.expm1(timestep * inverse)
        if result > 0:
            return result
    return timestep * (1 / c_m) * math.exp(-timestep * (1 / tau_m))
