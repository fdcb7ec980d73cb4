"""What Loihi's neurons compute with: constants of the bit-accurate public model, from a cell's parameters.

The model is that of lava-nc 0.10.0 (``proc/lif/models.py``, fixed point) and of nengo-loihi 1.1.0. Current u and
voltage v are whole numbers of 24 bits. One step, with ``trunc`` towards zero::

    u   <-  trunc(u (4095 - du) / 4096) + 64 (sum of weights)      wraps around at 24 bits
    v   <-  trunc(v (4096 - dv) / 4096) + u + bias                 saturates at 24 bits
    v > 64 vth: a spike, v <- 0

du and dv have 12 bits, vth has 17, the bias is a number of up to 12 bits times 2^0 to 2^7. Which of them stand for
a cell's parameters is a matter of units. A weight of 1 is the unit of the machine's weights onto a population. One
of v is such that a spike's charge is kept: it adds up to 64 w 4096 / (du + 1) in v and moves the membrane by
w tau_syn / cm. The constants are the nearest to 1 - exp(-dt / tau), and the bias reaches the steady state of i_offset::

    du + 1 = 4096 (1 - exp(-dt / tau_syn))      dv = 4096 (1 - exp(-dt / tau_m))
    v per mV = 64 * 4096 cm / ((du + 1) tau_syn unit)
    bias = i_offset tau_m / cm (v per mV) dv / 4096
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.model.cells import Receptor
from pynn_portability.model.network import Network

FloatArray = NDArray[np.float64]

CONSTANTS = ("decay_u", "decay_v", "bias", "threshold")
"""Rows of `constants`: 4095 - du, 4096 - dv, the bias, and 64 vth."""

ONE = 2**12
"""Of decay constants."""
WEIGHT = 2**6
"""What a weight of 1 adds to u."""
WORD = 2**23
"""Half the range of u and v."""
LARGEST_THRESHOLD = 2**17 - 1
LARGEST_MANTISSA, LARGEST_EXPONENT = 2**12 - 1, 7
LONGEST_REFRACTORY = 64
"""Steps."""
TYPICAL_THRESHOLD = 2**16
"""vth of a population without weights, whose unit nothing decides."""


def receptors_of(network: Network, population: str) -> set[Receptor]:
    """Which receptors of a population take input."""
    projections = {p.receptor for p in network.projections if p.target == population}
    return projections | {d.receptor for d in network.drives if d.target == population}


def of_one_current(
    parameters: dict[str, FloatArray], receptors: Collection[Receptor]
) -> dict[str, FloatArray]:
    """Parameters of cells of which only these receptors take input: the others' time constant is theirs."""
    if "excitatory" in receptors or not receptors:
        used, unused = "tau_syn_E", "tau_syn_I"
    else:
        used, unused = "tau_syn_I", "tau_syn_E"
    return parameters if len(receptors) == 2 else parameters | {unused: parameters[used]}


def current_decay(parameters: dict[str, FloatArray], timestep: float) -> NDArray[np.int64]:
    """du of cells, shape ``(n,)``."""
    du = np.rint(ONE * -np.expm1(-timestep / parameters["tau_syn_E"])) - 1
    return np.clip(du, 0, ONE - 1).astype(np.int64)


def per_millivolt(parameters: dict[str, FloatArray], timestep: float, unit: float) -> FloatArray:
    """What 1 mV is in v, shape ``(n,)``; ``unit`` (nA) is that of weights.

    With a ``unit`` of 0, that of a population without weights, it is such that the threshold fits.
    """
    if unit == 0:
        above = parameters["v_thresh"] - parameters["v_rest"]
        return WEIGHT * TYPICAL_THRESHOLD / np.maximum(above, 1e-3)
    charge = (current_decay(parameters, timestep) + 1) * parameters["tau_syn_E"] * unit
    return WEIGHT * ONE * parameters["cm"] / charge


def constants(
    parameters: dict[str, FloatArray], timestep: float, unit: float, population: str
) -> NDArray[np.int32]:
    """Constants of cells, rows as in ``CONSTANTS``, shape (4, n).

    ``parameters`` are those of PyNN's ``IF_curr_exp``, shape (n,) each, ``timestep`` is in ms, ``unit`` in nA.
    Raises RequestError, naming the population and the parameter, for what the chip does not have.
    """
    _refuse(parameters, timestep, population)
    scale = per_millivolt(parameters, timestep, unit)
    dv = np.rint(ONE * -np.expm1(-timestep / parameters["tau_m"]))
    threshold = np.rint((parameters["v_thresh"] - parameters["v_rest"]) * scale / WEIGHT)
    # the tool's estimate of the threshold, which the unit follows from, is that before rounding of du
    threshold = np.minimum(threshold, LARGEST_THRESHOLD)
    leak = np.where(dv > 0, parameters["tau_m"] * dv / ONE, timestep)
    wanted = parameters["i_offset"] / parameters["cm"] * scale * leak
    exponent = np.ceil(np.log2(np.maximum(np.abs(wanted) / LARGEST_MANTISSA, 1)))
    if exponent.max(initial=0) > LARGEST_EXPONENT:
        raise _refused("i_offset", float(np.abs(parameters["i_offset"]).max()), population, "less")
    bias = np.rint(wanted / 2.0**exponent) * 2.0**exponent
    rows = [ONE - 1 - current_decay(parameters, timestep), ONE - dv, bias, WEIGHT * threshold]
    return np.stack([np.asarray(row, np.float64) for row in rows]).astype(np.int32)


def _refuse(parameters: dict[str, FloatArray], timestep: float, population: str) -> None:
    """Raise RequestError for the first parameter that the chip does not have."""
    for name, other, meaning in (
        ("tau_syn_I", "tau_syn_E", "tau_syn_E, as there is one current"),
        ("v_reset", "v_rest", "v_rest"),
    ):
        differs = parameters[name] != parameters[other]
        if differs.any():
            raise _refused(name, float(parameters[name][differs][0]), population, meaning)
    longest = float(parameters["tau_refrac"].max(initial=0.0))
    if np.rint(longest / timestep) > LONGEST_REFRACTORY:
        most = f"at most {LONGEST_REFRACTORY} time steps"
        raise _refused("tau_refrac", longest, population, most)


def _refused(name: str, value: float, population: str, allowed: str) -> RequestError:
    return RequestError(
        f"population {population!r}: {name} = {value:g} is not allowed in the arithmetic of Loihi; "
        f"allowed is {allowed}"
    )
