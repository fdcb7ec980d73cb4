"""The arithmetic of ``loihi-full``: against the equations in plain integers, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynn_portability import backends
from pynn_portability.backends.emulator import engine
from pynn_portability.backends.emulator.loihi import Rules
from pynn_portability.formats.arithmetic import LoihiArithmetic
from pynn_portability.formats.loihi import WORD, constants
from pynn_portability.formats.names import number_format
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import AllToAll, FromList
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
)
from pynn_portability.probe.compliance import Simulator
from pynn_portability.realize.realization import Realization

NEURON = {
    **{"cm": 0.25, "tau_m": 10.0, "tau_refrac": 2.0, "tau_syn_E": 0.5, "tau_syn_I": 0.5},
    **{"v_rest": -65.0, "v_reset": -65.0, "v_thresh": -50.0, "i_offset": 0.0},
}


def toward_zero(x: int, factor: int) -> int:
    return (abs(x) * factor // 4096) * (1 if x >= 0 else -1)


def model(
    arrived: np.ndarray, decay_u: int, decay_v: int, bias: int, threshold: int, refractory: int = 0
) -> np.ndarray:
    """v, u and spikes of one neuron by step, shape (steps, 3), from what is added to u in each step."""
    v = u = held = 0
    found = []
    for a in arrived.tolist():
        u = toward_zero(u, decay_u) + a
        while u > WORD:
            u -= 2 * WORD
        while u <= -WORD:
            u += 2 * WORD
        v = max(1 - WORD, min(WORD - 1, toward_zero(v, decay_v) + u + bias))
        spike = not held and v > threshold
        if spike or held:
            v = 0
        held = refractory if spike else max(held - 1, 0)
        found.append((v, u, spike))
    return np.array(found)


def compiled(arrived: np.ndarray, columns: np.ndarray, refractory: int = 0) -> np.ndarray:
    """v, u and spikes by the emulator's step, shape (steps, n, 3); ``columns`` has shape (4, n or 1)."""
    n = arrived.shape[1]
    own = columns.shape[1] > 1
    neurons = engine.Neurons(
        np.zeros(n, np.int32),
        np.zeros((2, n), np.int32),
        np.zeros((2, n), np.int64),
        np.zeros(n, np.uint16),
        np.array([(0, n, 0, 0, own)], engine.PART),
        columns.astype(np.int32),
        np.full(columns.shape[1], refractory, np.uint16),
        1,
        np.zeros((2, 1), np.int64),
    )
    spiking = np.zeros(n, np.uint8)
    found = np.empty((*arrived.shape, 3), np.int64)
    for step, row in enumerate(arrived):
        neurons.arrived[0] = row
        count = engine._update_compartments(0, n, 0, own, neurons, Rules(WORD), spiking)
        assert count == spiking.sum()
        found[step] = np.stack([neurons.v, neurons.currents[0], spiking], axis=1)
    return found


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("largest", [200, 20_000, 300_000, 40_000_000])
def test_the_compiled_step_is_the_equation(seed: int, largest: int):
    """Small sums, sums that make spikes, that saturate the voltage, and that wrap the current around."""
    rng = np.random.default_rng(seed)
    n, steps = 20, 400
    columns = np.stack(
        [
            rng.integers(0, 4096, n),
            rng.integers(0, 4097, n),
            rng.integers(-5000, 5000, n),
            rng.integers(1, 2**17, n) * 64,
        ]
    )
    arrived = 64 * rng.integers(-largest // 64, largest // 64 + 1, (steps, n))
    refractory = int(rng.integers(0, 4))
    found = compiled(arrived, columns, refractory)
    for i in range(n):
        expected = model(arrived[:, i], *columns[:, i].tolist(), refractory)
        np.testing.assert_array_equal(found[:, i], expected)
    shared = compiled(arrived, columns[:, :1], refractory)
    np.testing.assert_array_equal(shared[:, 0], found[:, 0])
    if largest == 40_000_000:
        # otherwise nothing tells saturation from wrapping around
        assert (np.abs(found[..., 0]) == WORD - 1).any()
        assert (np.abs(np.diff(found[..., 1], axis=0)) > WORD).any()


def test_constants_of_the_microcircuit():
    """By hand: 4096 (1 - exp(-0.2)) is 742.5, 4096 (1 - exp(-0.01)) is 40.8."""
    parameters = {name: np.full(3, value) for name, value in NEURON.items()}
    unit = 0.3512 / 255
    rows = constants(parameters, 0.1, unit, "E")
    # 15 mV are 0.25 * 15 * 4096 / (742 * 0.5 * unit) = 30,060 thresholds
    threshold = 64 * round(0.25 * 15 * 4096 / (742 * 0.5 * unit))
    assert rows[:, 0].tolist() == [4095 - 741, 4096 - 41, 0, threshold]
    assert threshold // 64 == pytest.approx(30_060, abs=2)
    parameters["i_offset"] = np.full(3, 0.3)
    (bias,) = set(constants(parameters, 0.1, unit, "E")[2].tolist())
    # the steady state is 12 mV, of which the bias refills what leaks; it has 12 bits
    assert bias == pytest.approx(12 / 15 * threshold * 41 / 4096, rel=1 / 4096)
    assert bias % 4 == 0


def cells(label: str, size: int, **changed: Any) -> Population:
    return Population(label, size, "IF_curr_exp", NEURON | changed, {"v": -65.0}, True)


def network(seed: int) -> Network:
    """Sources with given spikes onto two neurons, with weights of both signs and several delays."""
    rng = np.random.default_rng(seed)
    times = tuple(np.unique(rng.integers(1, 1000, 120)) * 0.1 for _ in range(3))
    sources = Population("S", 3, "SpikeSourceArray", {}, spike_times=times)
    excitatory = FromList(np.array([0, 1, 0, 2]), np.array([0, 0, 1, 1]))
    inhibitory = FromList(np.array([2, 1]), np.array([0, 1]))
    return Network(
        (sources, cells("T", 2)),
        (
            Projection(
                "e", "S", "T", "excitatory", excitatory, np.array([0.9, 2.0, 1.5, 2.5]),
                np.array([0.1, 0.3, 1.0, 0.2]),
            ),
            Projection(
                "i", "S", "T", "inhibitory", inhibitory, np.array([-0.7, -0.4]), np.array([0.5, 0.1])
            ),
        ),
        (),
    )  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_network_on_the_emulator_is_the_model(seed: int):
    number = number_format("loihi-full")
    assert number.state == LoihiArithmetic()
    described = network(seed)
    held = number.on(Realization(described, seed, 0.1))
    simulation = backends.build(Simulator("emulator").backend, held, Simulator("emulator").options)
    steps = 1100
    spikes = simulation.run(steps, lambda fraction: None).populations["T"]
    unit = 2.5 / 255
    parameters = {name: np.full(2, value) for name, value in NEURON.items()}
    columns = constants(parameters, 0.1, unit, "T")
    arrived = np.zeros((steps + 100, 2), np.int64)
    for label in "ei":
        for synapses in held.synapses(label):
            for source, target, weight, delay in zip(
                synapses.source, synapses.target, synapses.weight, synapses.delay, strict=True
            ):
                counts = weight / unit
                assert counts == pytest.approx(round(counts))
                times = described.population("S").spike_times[source]
                for step in np.rint(np.asarray(times) / 0.1).astype(int):
                    # it arrives at the end of step + delay, and acts in the next one
                    arrived[step + delay, target] += 64 * round(counts)
    expected = [
        np.flatnonzero(model(arrived[:steps, i], *columns[:, 0].tolist(), 20)[:, 2]) + 1
        for i in range(2)
    ]
    for i in range(2):
        np.testing.assert_array_equal(spikes.steps[spikes.neurons == i], expected[i])
        assert len(expected[i]) > 3


@pytest.mark.parametrize("threads", [1, 2])
def test_drives_and_drawn_weights_run(threads: int):
    weight = Distribution("normal", {"mu": 0.1, "sigma": 0.01})
    described = Network(
        (cells("A", 60), cells("without input", 3, i_offset=0.5)),
        (Projection("p", "A", "A", "excitatory", AllToAll(), weight, 1.5),),
        (
            PoissonDrive("e", "A", "excitatory", 15_000.0, 0.0878, 1.5),
            PoissonDrive("i", "A", "inhibitory", 2_000.0, -0.3512, 1.5),
        ),
    )
    held = number_format("loihi-full").on(Realization(described, 1, 0.1))
    backend = Simulator("emulator").backend
    options = backend.options(threads=threads)
    spikes = backends.build(backend, held, options).run(2000, lambda fraction: None).populations
    exact = number_format("loihi").on(Realization(described, 1, 0.1))
    others = backends.build(backend, exact, options).run(2000, lambda fraction: None).populations
    for label in ("A", "without input"):
        assert len(spikes[label].steps) > 10
        # the same network in double precision, roughly
        assert len(spikes[label].steps) == pytest.approx(len(others[label].steps), rel=0.15)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tau_syn_I": 0.6}, "tau_syn_I = 0.6 is not allowed"),
        ({"v_reset": -70.0}, "v_reset = -70 is not allowed"),
        ({"tau_refrac": 6.5}, "at most 64 time steps"),
        ({"i_offset": 500.0}, "i_offset = 500 is not allowed"),
    ],
)
def test_what_the_chip_does_not_have_is_refused(changed: dict[str, float], words: str):
    described = Network(
        (cells("X", 2, **changed),),
        (
            Projection("p", "X", "X", "excitatory", AllToAll(), 0.1, 1.0),
            Projection("q", "X", "X", "inhibitory", AllToAll(), -0.1, 1.0),
        ),
        (),
    )
    number = number_format("loihi-full")
    (sentence,) = backends.refusals(backends.load("emulator"), described, number, 0.1)
    assert "population 'X'" in sentence
    assert words in sentence
    assert "\n" not in sentence
    assert (
        backends.refusals(backends.load("emulator"), described, number_format("loihi"), 0.1) == []
    )


@pytest.mark.parametrize(("receptor", "tau"), [("excitatory", 0.7), ("inhibitory", 0.3)])
def test_a_receptor_without_input_has_no_say(receptor: Receptor, tau: float):
    """The one current decays with the time constant of the receptor that is used."""
    sign = 1 if receptor == "excitatory" else -1
    described = Network(
        (cells("X", 2, tau_syn_E=0.7, tau_syn_I=0.3),),
        (Projection("p", "X", "X", receptor, AllToAll(), sign * 0.1, 1.0),),
        (),
    )
    number, backend = number_format("loihi-full"), backends.load("emulator")
    assert backends.refusals(backend, described, number, 0.1) == []
    held = number.on(Realization(described, 1, 0.1))
    simulation = backends.build(backend, held, Simulator("emulator").options)
    columns, _ = simulation._arithmetic.columns(held.parameters("X"), 0.1, "X")  # type: ignore[attr-defined]
    assert columns[0, 0] == 4095 - (round(4096 * (1 - np.exp(-0.1 / tau))) - 1)


@pytest.mark.parametrize("name", ["nest", "brian2"])
def test_others_refuse_it(name: str):
    backend = backends.load(name)
    if reason := backend.available():
        pytest.skip(reason)
    described = Network((cells("X", 2),), (), ())
    (sentence,) = backends.refusals(backend, described, number_format("loihi-full"), 0.1)
    assert "the arithmetic of Loihi's neurons" in sentence


def test_a_threshold_that_does_not_fit_coarsens_the_unit():
    """Weights ten times weaker put the threshold beyond 17 bits; two doublings bring it back."""
    described = Network(
        (cells("X", 2),),
        (Projection("p", "X", "X", "excitatory", AllToAll(), 0.03512, 1.0),),
        (),
    )
    held = number_format("loihi-full").on(Realization(described, 1, 0.1))
    units = held.format.weights.whole_units(held.realization)  # type: ignore[attr-defined]
    assert units["X"] == pytest.approx(4 * 0.03512 / 255)
    parameters = held.parameters("X")
    threshold = constants(parameters, 0.1, units["X"], "X")[3, 0]
    assert threshold / 64 == pytest.approx(30_060 * 10 / 4, rel=1e-4)
    assert held.weights("p").code_book().values == pytest.approx([0.03512 / 255 * 252])
