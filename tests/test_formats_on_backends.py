"""Every shipped number format on every backend: refused with a sentence, or computed as named."""

from __future__ import annotations

import numpy as np
import pytest

from pynn_portability import backends
from pynn_portability.formats.arithmetic import FixedPoint, FloatingPoint, LoihiArithmetic, State
from pynn_portability.formats.names import machine_formats, number_format
from pynn_portability.model.network import Network
from pynn_portability.probe.compliance import Simulator, assert_connections, cells, steps

SHIPPED = (
    *("double", "float32", "s16.15", "s8.12-floor-wrap", "naive-2", "moments-16", "moments-1024"),
    *("naive-2/float32", "moments-4/s8.12-zero", "double@0.2ms", "spinnaker/float32"),
    *("spinnaker-full-2", *machine_formats()),
)
STATES = {
    "nest": {"float64"},
    "brian2": {"float64", "float32"},
    "emulator": {"float64", "float32", "fixed-point", "spinnaker", "loihi"},
    "spinnaker": {"spinnaker"},
}
"""What each backend computes in: with any other state, a format has to be refused."""

QUICK = {"brian2": {"codegen": "numpy"}}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("text", SHIPPED)
def test_refused_or_computed_as_named(name: str, text: str) -> None:
    number = number_format(text)
    timestep = number.timestep or 0.1
    simulator = Simulator(name, **QUICK.get(name, {}))
    network = _neurons(number.state)
    refused = backends.refusals(simulator.backend, network, number, timestep)
    if number.state.kind not in STATES[name]:
        (sentence,) = refused
        assert repr(text) in sentence and "cannot run the state arithmetic" in sentence
        with pytest.raises(ValueError, match="cannot run the state arithmetic"):
            simulator.build(network, text=text, timestep=timestep)
        return
    assert refused == []
    if name == "spinnaker":
        return  # a board is needed to compute it
    if reason := simulator.backend.available():
        pytest.skip(reason)
    assert_connections(simulator, text)
    spikes = simulator.run(network, 20, text=text, timestep=timestep).populations["a"]
    assert [steps(spikes, j)[:1] for j in range(2)] == _expected(number.state)


def _neurons(state: State) -> Network:
    """Two neurons a hair below their threshold, less and more than what a state can tell apart.

    Of floating-point numbers, the potential is 1e-7 and 1e-4 mV below, of which double precision can tell
    both from the threshold, and single precision the latter. Of numbers with F fraction bits, the threshold is
    0.4 and 0.6 of 2^-F mV above the resting potential, and is rounded to the nearest. On Loihi, a threshold 15 mV
    above rest is 2^22 without any weights; the potential is 0.6 and 0.4 above it, is rounded to the nearest, and has to
    be larger.
    """
    if isinstance(state, FloatingPoint):
        return Network((cells("a", 2, v=-50.0 - np.array([1e-7, 1e-4]), tau_m=1e9),), ())
    if isinstance(state, LoihiArithmetic):
        above = np.array([0.6, 0.4]) * 15 * 2.0**-22
        return Network((cells("a", 2, v=-50.0 + above, tau_m=1e9),), ())
    fraction_bits = state.fraction_bits if isinstance(state, FixedPoint) else 15
    threshold = -50.0 + np.array([0.4, 0.6]) * 2.0**-fraction_bits
    return Network((cells("a", 2, v=-50.0, v_rest=-50.0, v_thresh=threshold, v_reset=-60.0),), ())


def _expected(state: State) -> list[list[int]]:
    """First spikes: in the first step, or none."""
    double = isinstance(state, FloatingPoint) and state.kind == "float64"
    return [[], []] if double else [[1], []]
