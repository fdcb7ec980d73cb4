"""Cell types of pyNN.brian2, lowered as the docstring of this package says.

Importing this module imports Brian2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import brian2
import numpy as np
import pyNN.brian2 as sim
from brian2.core.functions import DEFAULT_FUNCTIONS
from numpy.typing import NDArray
from pyNN.brian2.cells import BaseNeuronGroup
from pyNN.brian2.standardmodels.cells import leaky_iaf
from scipy.special import exprel

from pynn_portability.backends.brian2.conductances import function as membrane_step

FloatArray = NDArray[np.float64]

# Brian2 equations and code; a current is ie or ii, its receptor's time constant tau_syn_e or tau_syn_i

_DECLARATIONS = """
    v_thresh : volt (constant)
    v_reset : volt (constant)
    held_steps : integer (constant)
    held_until : integer
"""

_EXPONENTIAL_DECLARATIONS = """
    v_infinity : volt (constant)
    v_decay : 1 (constant)
    v_from_ie : ohm (constant)
    v_from_ii : ohm (constant)
    ie_decay : 1 (constant)
    ii_decay : 1 (constant)
"""

_EXPONENTIAL_UPDATE = """
    v_next = v_infinity + v_decay * (v - v_infinity) + v_from_ie * ie + v_from_ii * ii
    v = int(not_refractory) * v_next + int(not not_refractory) * v
    ie *= ie_decay
    ii *= ii_decay
"""

_ALPHA_CURRENTS = """
    i_syn = ie + ii : amp
    die/dt = (exp(1) * ye - ie) / tau_syn_e : amp
    dye/dt = -ye / tau_syn_e : amp
    dii/dt = (exp(1) * yi - ii) / tau_syn_i : amp
    dyi/dt = -yi / tau_syn_i : amp
    tau_syn_e : second
    tau_syn_i : second
"""

_ALPHA_DECLARATIONS = """
    v_from_ye : ohm (constant)
    v_from_yi : ohm (constant)
    ie_from_ye : 1 (constant)
    ii_from_yi : 1 (constant)
"""

_ALPHA_UPDATE = """
    v_synaptic = v_from_ie * ie + v_from_ii * ii + v_from_ye * ye + v_from_yi * yi
    v_next = v_infinity + v_decay * (v - v_infinity) + v_synaptic
    v = int(not_refractory) * v_next + int(not not_refractory) * v
    ie = ie_decay * ie + ie_from_ye * ye
    ii = ii_decay * ii + ii_from_yi * yi
    ye *= ie_decay
    yi *= ii_decay
"""

# membrane_step has time in steps, conductances times dt / C, and no units
_CONDUCTANCE_DECLARATIONS = """
    g_scale : ohm (constant)
    leak : 1 (constant)
    volts_per_step : 1 (constant)
    ge_rate : 1 (constant)
    gi_rate : 1 (constant)
    ge_decay : 1 (constant)
    gi_decay : 1 (constant)
"""


def _conductance_step(slope_e: str, slope_i: str) -> str:
    excitatory = f"g_scale * ge, {slope_e}, ge_rate, e_rev_e / volt"
    inhibitory = f"g_scale * gi, {slope_i}, gi_rate, e_rev_i / volt"
    return f"""
    v_next = volt * membrane_step(v / volt, {excitatory}, {inhibitory}, leak, volts_per_step)
    v = int(not_refractory) * v_next + int(not not_refractory) * v
"""


_EXPONENTIAL_CONDUCTANCE_UPDATE = (
    _conductance_step(slope_e="0.0", slope_i="0.0")
    + """
    ge *= ge_decay
    gi *= gi_decay
"""
)

_ALPHA_CONDUCTANCE_UPDATE = (
    _conductance_step(
        slope_e="exp(1.0) * ge_rate * g_scale * ye", slope_i="exp(1.0) * gi_rate * g_scale * yi"
    )
    + """
    ge = ge_decay * (ge + exp(1.0) * ge_rate * ye)
    gi = gi_decay * (gi + exp(1.0) * gi_rate * yi)
    ye *= ge_decay
    yi *= gi_decay
"""
)

# a count by inversion from one uniform number, none being exp(-mean); Brian2's own poisson() draws
# and multiplies count + 1 of them
_POISSON_COUNT = """
cdef int32_t _poisson_count(double mean, double none, int32_t _idx):
    cdef double left, probability
    cdef int32_t count = 0
    if mean >= 10:
        return _poisson(mean, _idx)
    left = _rand(_idx)
    probability = none
    # the second condition ends a search that rounding would let go on
    while left > probability and probability > 1e-20:
        left -= probability
        count += 1
        probability *= mean / count
    return count
"""


def _exponential_propagators(dt: Any, p: Mapping[str, Any]) -> dict[str, Any]:
    """Propagators over one step of a leaky membrane with decaying currents, shape ``(size,)`` each.

    A current I that decays with tau_s adds to the membrane potential I / C times the integral of
    exp(-(dt - s) / tau_m) exp(-s / tau_s) over s from 0 to dt (Rotter and Diesmann 1999, section
    3.1.2), here in a form that holds for tau_s = tau_m as well.
    """
    v_decay = np.exp(-dt / p["tau_m"])
    return {
        "v_infinity": p["v_rest"] + p["i_offset"] * p["tau_m"] / p["c_m"],
        "v_decay": v_decay,
        "v_from_ie": dt / p["c_m"] * _from_current(dt, p["tau_syn_e"], p["tau_m"]),
        "v_from_ii": dt / p["c_m"] * _from_current(dt, p["tau_syn_i"], p["tau_m"]),
        "ie_decay": np.exp(-dt / p["tau_syn_e"]),
        "ii_decay": np.exp(-dt / p["tau_syn_i"]),
    }


def _alpha_propagators(dt: Any, p: Mapping[str, Any]) -> dict[str, Any]:
    """Propagators as in `_exponential_propagators`, and from y, which feeds e y / tau_s to a current.

    y adds to the membrane potential e y / (C tau_s) times the integral of
    exp(-(dt - s) / tau_m) s exp(-s / tau_s) over s from 0 to dt.
    """
    result = _exponential_propagators(dt, p)
    for receptor in "ei":
        tau_syn = p[f"tau_syn_{receptor}"]
        moment = dt * dt * _from_slope(dt, tau_syn, p["tau_m"])
        result[f"v_from_y{receptor}"] = math.e * moment / (p["c_m"] * tau_syn)
        result[f"i{receptor}_from_y{receptor}"] = (
            math.e * dt / tau_syn * result[f"i{receptor}_decay"]
        )
    return result


def _conductance_constants(dt: Any, p: Mapping[str, Any]) -> dict[str, Any]:
    """What `membrane_step` needs of a neuron, shape ``(size,)`` each."""
    rates = {f"g{r}_rate": np.asarray(dt / p[f"tau_syn_{r}"]) for r in "ei"}
    per_step = p["v_rest"] * (dt / p["tau_m"]) + p["i_offset"] * dt / p["c_m"]
    return {
        "g_scale": dt / p["c_m"],
        "leak": np.asarray(dt / p["tau_m"]),
        "volts_per_step": np.asarray(per_step / brian2.volt),
        **rates,
        **{f"g{r}_decay": np.exp(-rates[f"g{r}_rate"]) for r in "ei"},
    }


def _from_current(dt: Any, tau_syn: Any, tau_m: Any) -> FloatArray:
    """Integral of exp(-a (1 - s)) exp(-b s) over s from 0 to 1, where a = dt / tau_m and b = dt / tau_syn."""
    a, b = np.asarray(dt / tau_m), np.asarray(dt / tau_syn)
    # the slower of the two in front: the other form is infinity times 0 for short time constants
    return np.asarray(np.exp(-np.minimum(a, b)) * exprel(-np.abs(a - b)))


def _from_slope(dt: Any, tau_syn: Any, tau_m: Any) -> FloatArray:
    """Integral of exp(-a (1 - s)) s exp(-b s) over s from 0 to 1, with a and b as in `_from_current`."""
    a, b = np.asarray(dt / tau_m), np.asarray(dt / tau_syn)
    x = np.abs(a - b)
    # with r = 1 - s where the membrane is the faster
    moment = np.where(a > b, exprel(-x) - _first_moment(x), _first_moment(x))
    return np.asarray(np.exp(-np.minimum(a, b)) * moment)


def _first_moment(x: FloatArray) -> FloatArray:
    """Integral of s exp(-x s) over s from 0 to 1, that is (1 - (1 + x) exp(-x)) / x**2."""
    small = np.abs(x) < 1e-2  # where the closed form cancels
    series = 1 / 2 + x * (-1 / 3 + x * (1 / 8 + x * (-1 / 30 + x * (1 / 144 - x / 840))))
    divisor = np.where(small, 1.0, x)
    return np.where(small, series, (exprel(-divisor) - np.exp(-divisor)) / divisor)


poisson_count = brian2.Function(
    lambda mean, none, n: np.random.poisson(mean),  # noqa: NPY002 (the generator that Brian2 seeds)
    arg_units=[1, 1],
    return_unit=1,
    return_type="integer",
    stateless=False,
    auto_vectorise=True,
)
poisson_count.implementations.add_implementation(
    "cython",
    code=_POISSON_COUNT,
    name="_poisson_count",
    dependencies={name: DEFAULT_FUNCTIONS[name[1:]] for name in ("_rand", "_poisson")},
)


class Neurons(BaseNeuronGroup):
    """Integrate-and-fire neurons whose refractory time and threshold are those of NEST."""

    declarations = _DECLARATIONS
    integration: Any

    def __init__(self, n: int, equations: Any, **parameters: Any) -> None:
        dt = sim.simulator.state.network.clock.dt
        held_steps = np.rint(parameters.pop("tau_refrac") / dt)
        BaseNeuronGroup.__init__(
            self,
            n,
            equations + brian2.Equations(self.declarations),
            threshold="v >= v_thresh",
            reset="v = v_reset\nheld_until = t_in_timesteps + 1 + held_steps",
            refractory="t_in_timesteps < held_until",
            method=self.integration,
            held_steps=held_steps,
            **parameters,
            **self.propagators(dt, parameters),
        )
        self.namespace["poisson_count"] = poisson_count
        self.namespace["membrane_step"] = membrane_step

    @staticmethod
    def propagators(dt: Any, p: Mapping[str, Any]) -> dict[str, Any]:
        """Constants of the update, shape ``(size,)`` each."""
        raise NotImplementedError


class ExponentialNeurons(Neurons):
    declarations = _DECLARATIONS + _EXPONENTIAL_DECLARATIONS
    integration = staticmethod(lambda equations, variables, options: _EXPONENTIAL_UPDATE)
    propagators = staticmethod(_exponential_propagators)


class AlphaNeurons(Neurons):
    declarations = _DECLARATIONS + _EXPONENTIAL_DECLARATIONS + _ALPHA_DECLARATIONS
    integration = staticmethod(lambda equations, variables, options: _ALPHA_UPDATE)
    propagators = staticmethod(_alpha_propagators)


class ExponentialConductanceNeurons(Neurons):
    declarations = _DECLARATIONS + _CONDUCTANCE_DECLARATIONS
    integration = staticmethod(
        lambda equations, variables, options: _EXPONENTIAL_CONDUCTANCE_UPDATE
    )
    propagators = staticmethod(_conductance_constants)


class AlphaConductanceNeurons(Neurons):
    declarations = _DECLARATIONS + _CONDUCTANCE_DECLARATIONS
    integration = staticmethod(lambda equations, variables, options: _ALPHA_CONDUCTANCE_UPDATE)
    propagators = staticmethod(_conductance_constants)


class SpikeGenerators(brian2.SpikeGeneratorGroup):
    """Spike sources on the simulation's clock; their spikes are set afterwards, as arrays."""

    def __init__(self, n: int, equations: None, spike_time_sequences: Any) -> None:
        clock = sim.simulator.state.network.clock
        brian2.SpikeGeneratorGroup.__init__(self, n, [], [] * brian2.ms, clock=clock)

    def initialize(self) -> None:
        """Called by PyNN; there is no state."""


class PoissonSources(brian2.PoissonGroup):
    """Poisson sources whose labels go from start + 2 steps to start + duration + 1 step."""

    def __init__(
        self, n: int, equations: None, firing_rate: Any, start_time: Any, duration: Any
    ) -> None:
        clock = sim.simulator.state.network.clock
        brian2.PoissonGroup.__init__(self, n, rates=firing_rate, clock=clock)
        never = np.iinfo(np.int32).max
        for name, time in (("start", start_time), ("stop", start_time + duration)):
            steps = np.minimum(np.rint(np.asarray(time / clock.dt)) + 1, never)
            self.variables.add_array(
                f"{name}_step", size=n, values=steps, dtype=np.int32, constant=True
            )
        self.events = {
            "spike": "t_in_timesteps >= start_step and t_in_timesteps < stop_step"
            " and rand() < rates * dt"
        }

    def initialize(self) -> None:
        """Called by PyNN; there is no state."""


_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "IF_curr_exp": {"brian2_model": ExponentialNeurons},
    "IF_curr_alpha": {
        "brian2_model": AlphaNeurons,
        "eqs": leaky_iaf + brian2.Equations(_ALPHA_CURRENTS),
    },
    "IF_cond_exp": {"brian2_model": ExponentialConductanceNeurons},
    "IF_cond_alpha": {"brian2_model": AlphaConductanceNeurons},
    "SpikeSourceArray": {"brian2_model": SpikeGenerators},
    "SpikeSourcePoisson": {"brian2_model": PoissonSources},
}
CELLS: Mapping[str, type] = {
    name: type(name, (getattr(sim, name),), {**changes}) for name, changes in _CHANGES.items()
}
"""PyNN's cell types for Brian2 by name, lowered as here."""
