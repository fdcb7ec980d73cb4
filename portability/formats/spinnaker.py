"""What SpiNNaker does to numbers: the one home of its formats, limits, constants and rounding.

All of it is that of SpiNNaker 1 with sPyNNaker 7.4.1. Numbers are s16.15 (signed, 32 bits, 15 of them
fraction bits) or u0.32 (unsigned, 32 fraction bits), here as integers in units of the last bit. Currents
are in nA, voltages in mV, times in ms, as in PyNN. The scale of weights is in
`pynn_portability.formats.ring_buffers`, the order of operations in `pynn_portability.backends.emulator.spinnaker`.

Constants of ``IF_curr_exp``. A host rounds parameters to s16.15; the rest is computed by the cores when
they load them, with divisions rounded down and exponentials cut off. For sub-steps of ts = floor(dt / n)::

    R     = tau_m / cm             P    = exp(-ts / tau_m)
    D     = exp(-ts / tau_syn)     init = (tau_syn / ts) (1 - D)
    T_ref = ceil(tau_refrac / ts)
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError

FloatArray = NDArray[np.float64]

CONSTANTS = (
    *("rest", "resistance", "decay", "offset", "threshold", "reset"),
    *("decay_e", "init_e", "shift_e", "decay_i", "init_i", "shift_i"),
)
"""Rows of `constants`; decay is P of the equations above."""

PARAMETERS = {
    "tau_m": "ms",
    "cm": "nF",
    "tau_syn_E": "ms",
    "tau_syn_I": "ms",
    "tau_refrac": "ms",
    "i_offset": "nA",
    "v_rest": "mV",
    "v_thresh": "mV",
    "v_reset": "mV",
}

FRACTION_BITS = 15
ONE = 2**FRACTION_BITS
LARGEST = 2**31 - 1
ULR_LARGEST = 2**32 - 1
"""Of u0.32, where it stands for 1."""
LARGEST_CELL = 2**16 - 1
"""Largest stored weight, and where a cell of a ring buffer saturates."""
CONDUCTANCE_SCALE = 1024.0
"""Conductances are held in units of 1/1024 uS."""
RING_BUFFER_BITS = 14
"""Address bits of a core's ring buffers, for slot, receptor and neuron."""
MOST_NEURONS_PER_CORE = 256
DELAY_STAGES = 8
"""How often the longest delay of the ring buffers can be added by delay extensions."""
LARGEST_PARAMETER = 2.0**16
"""Parameters are s16.15 numbers."""
LARGEST_RATE = 2.0**16
"""Rates of Poisson sources (Hz) are u16.16 numbers."""
SIGMA = 5.0
"""SD above its mean that the summed input of a step may be: configuration key ``ring_buffer_sigma``."""
RATE = 30.0
"""Rate (1/s) that is expected of every source: configuration key ``spikes_per_second``."""
LONGEST_REFRACTORY = 2**16 - 1
"""Sub-steps; the quotient of two s16.15 numbers is one."""
SLOW, FAST = 655, 10 * 2**16
"""Mean spikes per step, with 16 fraction bits, below which Poisson sources are slow or fast."""


def encode(values: FloatArray | float, what: str) -> NDArray[np.int64]:
    """``values`` as s16.15, shape kept: the nearest integer of the decimal number, ties to even.

    Raises RequestError, beginning with ``what``, for values that s16.15 cannot hold.
    """
    given = np.asarray(values, dtype=np.float64)
    scaled = given * ONE
    nearest = np.rint(scaled)
    outside = ~((nearest >= -LARGEST - 1) & (nearest <= LARGEST))
    if outside.any():
        raise RequestError(
            f"{what} = {given[outside].flat[0]:g} is not allowed in the arithmetic of SpiNNaker, "
            f"whose numbers are from {(-LARGEST - 1) / ONE:g} to {LARGEST / ONE:.5f}"
        )
    integers = nearest.astype(np.int64)
    # the decimal number that is written may lie on the other side of a tie than the binary one
    close = np.abs(np.abs(scaled - nearest) - 0.5) < 1e-6
    for index in np.argwhere(close):
        at = tuple(index)
        integers[at] = int(
            (Decimal(str(float(given[at]))) * ONE).to_integral_value("ROUND_HALF_EVEN")
        )
    return integers


def constants(
    parameters: dict[str, FloatArray],
    timestep: float,
    substeps: int,
    shifts: tuple[int, int],
    population: str,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Constants of neurons, rows as in ``CONSTANTS``, shape (12, n), and T_ref, shape (n,).

    ``parameters`` are those of PyNN's ``IF_curr_exp``, shape (n,) each; ``timestep`` is in ms;
    ``shifts`` are those of the population's ring buffers, excitatory and inhibitory. u0.32 numbers
    stand as the int32 of the same bits. Neurons with equal parameters share columns: n is 1 when all
    are equal.

    Raises RequestError, naming the parameter, for what the machine cannot compute with.
    """
    table = np.stack([encode(parameters[p], _name(p, population)) for p in PARAMETERS])
    if (table == table[:, :1]).all():
        table = table[:, :1]
    distinct, column = np.unique(table, axis=1, return_inverse=True)
    dt = int(encode(timestep, "a time step (ms)"))
    rows, steps = [], []
    for values in distinct.T.tolist():
        held = dict(zip(PARAMETERS, values, strict=True))
        step = dt // substeps
        _check(held, step, population)
        resistance = divide(held["tau_m"], held["cm"])
        membrane_decay = exponential(-divide(step, held["tau_m"])) >> 17
        receptors = []
        for name, shift in zip(("tau_syn_E", "tau_syn_I"), shifts, strict=True):
            decay = exponential(-divide(step, held[name])) & ULR_LARGEST
            init = divide(held[name], step) * (ULR_LARGEST - decay) >> FRACTION_BITS
            receptors += [decay, init & ULR_LARGEST, shift]
        level = (held["i_offset"], held["v_thresh"], held["v_reset"])
        rows.append((held["v_rest"], resistance, membrane_decay, *level, *receptors))
        steps.append(-(-divide(held["tau_refrac"], step) // ONE))
    if len(rows) > 1:
        rows, steps = ([list_[i] for i in column.ravel()] for list_ in (rows, steps))
    bits = np.array(rows, np.int64).reshape(-1, len(CONSTANTS)).T.astype(np.uint32)
    return np.ascontiguousarray(bits).view(np.int32), np.array(steps, np.int32)


def divide(a: int, b: int) -> int:
    """The quotient of two positive s16.15 numbers, rounded down."""
    return (a << FRACTION_BITS) // b


def exponential(x: int) -> int:
    """e to the power of an s16.15 number that is not positive, with 32 fraction bits.

    By a table of e^z for whole z, one of e^(-i/16) and a polynomial for the rest, all of them rounded
    in between as the machine's library does.
    """
    if x < SMALLEST_EXPONENT:
        return 0
    whole, fraction = x >> FRACTION_BITS, x & (ONE - 1)
    if fraction == 0:
        return WHOLE_POWERS[whole]
    below = ONE - fraction
    result = WHOLE_POWERS[whole + 1]
    result -= _scale(result, SIXTEENTHS[below >> 11])
    y = (below & 2047) << 17
    polynomial = C_1 - ((C_2 * y) >> 32)
    polynomial = ((polynomial * y) >> 32) + C_0
    return result - _scale(result, polynomial)


def _scale(x: int, y: int) -> int:
    """x y with both in 32 fraction bits; of the product, only its lower part is rounded."""
    low = (x & ULR_LARGEST) * y
    return (x >> 32) * y + (low >> 32) + ((low & ULR_LARGEST) >= 0x7FFFFFFF)


def _table(exponents: list[Decimal]) -> list[Decimal]:
    context = Context(prec=40)
    return [context.multiply(context.exp(x), 2**32) for x in exponents]


SMALLEST_EXPONENT = -340695
C_0, C_1, C_2 = 5294, 4293434720, 2081624032
WHOLE_POWERS = {
    z: int(power.to_integral_value())
    for z, power in zip(range(-13, 1), _table([Decimal(z) for z in range(-13, 1)]), strict=True)
}
"""e^z with 32 fraction bits."""
SIXTEENTHS = [
    int((2**32 - power).to_integral_value())
    for power in _table([Decimal(-i) / 16 for i in range(16)])
]
"""1 - e^(-i / 16) with 32 fraction bits."""


def poisson_mean(rate: float, timestep: float, drive: str) -> tuple[float, bool]:
    """Spikes per step of a Poisson source of ``rate`` Hz, and whether their number is Gaussian.

    Below 10 per step, numbers are Poisson distributed with the mean returned: intervals between
    spikes are rounded down to steps on average for slow sources, and exp(-mean) to 16 bits for fast
    ones. From 10 on, the number is (z / 2 + sqrt(mean))^2, rounded, with z from the standard normal
    distribution. Raises RequestError, naming ``drive``, for a rate that the machine cannot hold.
    """
    hertz = round(rate * 2**16)
    if not 0 <= hertz < 2**32:
        raise RequestError(
            f"{drive}: a rate of {rate:g} Hz is not allowed in the arithmetic of SpiNNaker, whose "
            f"rates are below {2**16} Hz"
        )
    mean = hertz * round(timestep / 1000 * 2**32) >> 32
    if hertz == 0:
        return 0.0, False
    if mean < SLOW:
        return 1 / (int(1000 / timestep * 2**16) // hertz), False
    if mean < FAST:
        return -math.log((exponential(-(mean >> 1)) >> 16) / 2**16), False
    return mean / 2**16, True


def _name(parameter: str, population: str) -> str:
    return f"population {population!r}: {parameter} ({PARAMETERS[parameter]})"


def _check(held: dict[str, int], step: int, population: str) -> None:
    """Raise RequestError for encoded parameters of one neuron that the machine fails on."""

    def refuse(parameter: str, allowed: str) -> None:
        raise RequestError(
            f"{_name(parameter, population)} = {held[parameter] / ONE:g} is not allowed in the "
            f"arithmetic of SpiNNaker, {allowed}"
        )

    if step == 0:
        raise RequestError("a time step that is 0 in the arithmetic of SpiNNaker is not allowed")
    # the quotient of step and time constant must be a number above 0
    shortest, longest = (step * ONE >> 31) + 1, min(step * ONE, LARGEST)
    for name in ("tau_m", "tau_syn_E", "tau_syn_I"):
        if not shortest <= held[name] <= longest:
            refuse(
                name, f"which allows {shortest / ONE:g} to {longest / ONE:g} ms at this time step"
            )
    if held["cm"] <= 0 or divide(held["tau_m"], held["cm"]) > LARGEST:
        refuse("cm", f"which allows positive values with tau_m / cm up to {LARGEST / ONE:g} MOhm")
    if divide(held["tau_refrac"], step) > LARGEST or held["tau_refrac"] < 0:
        refuse("tau_refrac", f"which allows up to {LONGEST_REFRACTORY} (sub-)steps")
    if held["v_reset"] >= held["v_thresh"]:
        refuse("v_reset", "where it has to be below v_thresh, or the neuron spikes in every step")


def delay_steps_on_chip(milliseconds: NDArray[Any], timestep: float) -> NDArray[np.int32]:
    """Delays as cores round those that they draw themselves: s16.15 numbers, rounded down."""
    per_step = int(encode(1.0 / timestep, "steps per millisecond"))
    fixed = np.rint(np.asarray(milliseconds) * ONE).astype(np.int64)
    return np.maximum((fixed * per_step) >> (2 * FRACTION_BITS), 1).astype(np.int32)


def delay_slots(size: int, neurons_per_core: int) -> int:
    """Steps that the ring buffers of a core hold, for a population of ``size`` neurons."""
    neuron_bits = max(0, math.ceil(math.log2(min(size, neurons_per_core))))
    return 2 ** (RING_BUFFER_BITS - neuron_bits - 1)
