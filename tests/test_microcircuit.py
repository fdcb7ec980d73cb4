"""The microcircuit against published numbers, on pyNN.mock and on the stock pyNN.nest."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyNN.mock as sim
import pytest
from pyNN.random import NumpyRNG

from pynn_portability.model.distribution import Distribution
from pynn_portability.model.scripts import capture
from pynn_portability.models import microcircuit
from pynn_portability.models.microcircuit import POPULATIONS, SIZES, build

# Dasbach et al. 2021, equation 2, with the connection probabilities of the reference implementation
INDEGREES = [
    [2200, 1080, 980, 468, 160, 0, 110, 0],
    [2991, 861, 704, 290, 381, 0, 61, 0],
    [160, 35, 1118, 795, 33, 1, 668, 0],
    [1481, 17, 1814, 954, 17, 0, 1609, 0],
    [2189, 375, 1136, 32, 421, 497, 297, 0],
    [1166, 160, 571, 13, 301, 405, 125, 0],
    [326, 39, 468, 92, 286, 22, 582, 753],
    [767, 6, 75, 3, 137, 9, 980, 460],
]
# pA, computed with INM-6's reference implementation (PyPI package microcircuit 1.0,
# helpers.adjust_weights_and_input_to_synapse_scaling) for K_scaling = 0.1
DIRECT_CURRENT = {
    "poisson": (29.035, 112.371, 112.970, 114.990, 125.418, 151.684, 43.847, 153.710),
    "dc": (206.747, 278.976, 346.217, 326.023, 347.558, 362.717, 365.950, 386.957),
}
RHEOBASE = 375.0  # pA: C_m (theta - E_L) / tau_m


def synapses(projection: Any) -> np.ndarray:
    """Columns source, target, weight, delay of a projection on pyNN.mock."""
    rows = [
        (c.presynaptic_index, c.postsynaptic_index, c.WEIGHT, c.DELAY)
        for c in projection.connections
    ]
    return np.array(rows)


@pytest.fixture
def projections(monkeypatch):
    """Projections by label, as they are made on pyNN.mock with a time step of 0.1 ms."""
    made = {}

    class Projection(sim.Projection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            assert self.label not in made
            made[self.label] = self

    monkeypatch.setattr(sim, "Projection", Projection)
    sim.setup(timestep=0.1)
    yield made
    sim.end()


def test_full_scale_totals():
    assert SIZES.sum() == 77169
    # the number printed by Dasbach et al. 2021, section 4
    assert microcircuit.synapse_numbers().sum() == 298_880_941
    assert (microcircuit.indegrees() * SIZES[:, np.newaxis]).sum() == 299_149_995


def test_full_scale_indegrees():
    assert microcircuit.indegrees().tolist() == INDEGREES


def test_tenth_of_the_model_has_the_numbers_of_the_reference_implementation():
    # microcircuit 1.0 with N_scaling = K_scaling = 0.1: Network.num_neurons, Network.num_synapses
    assert microcircuit.population_sizes(0.1).tolist() == [
        2068,
        583,
        2192,
        548,
        485,
        106,
        1440,
        295,
    ]
    numbers = microcircuit.synapse_numbers(0.1, 0.1)
    assert numbers.sum() == 2_988_807
    assert numbers[0].tolist() == [454998, 223236, 202536, 96709, 32936, 0, 22714, 0]


def test_indegrees_are_scaled_before_they_are_rounded_up():
    scaled = microcircuit.indegrees(0.1)
    assert (scaled <= np.ceil(np.array(INDEGREES) / 10)).all()
    assert (scaled * 10 >= np.array(INDEGREES) - 1).all()
    # 2.74 / 10 and 0.32 / 10 still leave one synapse, unconnected pairs none
    assert scaled[7, 3] == scaled[2, 5] == 1
    assert (scaled == 0).tolist() == (np.array(INDEGREES) == 0).tolist()


def test_weight_evokes_a_potential_of_150_microvolts():
    weight = microcircuit.PSP * microcircuit.psc_per_psp()
    assert weight * 1e3 == pytest.approx(87.8085, abs=5e-5)
    # the membrane equation, integrated in steps of 0.1 us over 5 ms
    neuron, step = microcircuit.NEURON, 1e-4
    times = np.arange(0, 5, step)
    currents = weight * np.exp(-times / neuron["tau_syn_E"])
    potential = np.cumsum(currents * np.exp(times / neuron["tau_m"])) * step / neuron["cm"]
    potential *= np.exp(-times / neuron["tau_m"])
    assert potential.max() == pytest.approx(0.15, rel=2e-4)
    assert times[potential.argmax()] == pytest.approx(1.5767, abs=1e-3)


def test_mean_weights():
    weights = microcircuit.weights() * 1e3
    expected = np.tile([87.8085, -351.234], (8, 4))
    expected[0, 2] = 175.617
    assert weights == pytest.approx(expected, abs=1e-3)
    assert microcircuit.weights(0.25) * 1e3 == pytest.approx(2 * expected, abs=2e-3)


@pytest.mark.parametrize("drive", ["poisson", "dc"])
def test_direct_current_is_that_of_the_reference_implementation(drive):
    current = microcircuit.direct_current(0.1, "fixed_total_number", drive)
    assert current * 1e3 == pytest.approx(DIRECT_CURRENT[drive], abs=1e-3)


def test_direct_current_at_full_scale():
    for connectivity in microcircuit.CONNECTIVITIES:
        assert np.all(microcircuit.direct_current(1.0, connectivity, "poisson") == 0)
        background = microcircuit.direct_current(1.0, connectivity, "dc") * 1e3
        assert background == pytest.approx((562, 527, 738, 667, 702, 667, 1019, 738), abs=0.6)


def test_direct_current_reaches_the_rheobase_at_the_known_scales():
    # (1 - (I_rheobase - I_ext) / mu_local)^2, the smallest scale at which DC alone drives spikes
    smallest = (0.410, 0.338, 0.134, 0.172, 0.136, 0.118, 0.106, 0.086)
    for i, k_scale in enumerate(smallest):
        below, above = (
            microcircuit.direct_current(k, "fixed_total_number", "dc")[i] * 1e3
            for k in (k_scale - 0.001, k_scale + 0.001)
        )
        assert below < RHEOBASE < above
    tenth = microcircuit.direct_current(0.1, "fixed_total_number", "dc") * 1e3
    assert (tenth < RHEOBASE).sum() == 7


@pytest.mark.parametrize("k_scale", [0.01, 0.1, 0.5])
def test_rounded_indegrees_keep_the_mean_input(k_scale):
    def mean_input(indegrees, scale, background):
        recurrent = (indegrees * microcircuit.weights(scale)) @ microcircuit.FULL_SCALE_RATES
        return 0.5e-3 * (recurrent + background * 8.0 * microcircuit.background_weight(scale))

    external = microcircuit.BACKGROUND_INDEGREES
    full = mean_input(np.array(INDEGREES), 1.0, external)
    scaled = mean_input(microcircuit.indegrees(k_scale), k_scale, k_scale * external)
    current = microcircuit.direct_current(k_scale, "fixed_indegree", "poisson")
    assert scaled + current == pytest.approx(full, abs=1e-12)


def test_populations_on_a_simulator(projections):
    populations = build(sim, scale=0.002, rng=NumpyRNG(seed=1))
    assert tuple(populations) == POPULATIONS
    currents = microcircuit.direct_current(0.002, "fixed_total_number", "poisson")
    for i, (label, population) in enumerate(populations.items()):
        assert population.label == label
        assert population.size == round(SIZES[i] * 0.002)
        assert population.recorder.recorded
        parameters = population.get(
            ["cm", "tau_m", "tau_syn_E", "tau_syn_I", "tau_refrac", "v_rest", "v_reset", "v_thresh"]
        )
        assert parameters == [0.25, 10.0, 0.5, 0.5, 2.0, -65.0, -65.0, -50.0]
        assert population.get("i_offset") == pytest.approx(currents[i])


@pytest.mark.parametrize(
    ("initial_voltages", "l23e", "l6i"),
    [("optimized", (-68.28, 5.36), (-61.43, 4.48)), ("original", (-58.0, 10.0), (-58.0, 10.0))],
)
def test_initial_voltages(projections, initial_voltages, l23e, l6i):
    rng = NumpyRNG(seed=1)
    populations = build(sim, scale=0.002, initial_voltages=initial_voltages, drive="dc", rng=rng)
    for label, (mean, sd) in (("L23E", l23e), ("L6I", l6i)):
        drawn = populations[label].initial_values["v"].base_value
        assert (drawn.name, drawn.parameters) == ("normal", {"mu": mean, "sigma": sd})
        assert drawn.rng is rng


def test_fixed_total_number_on_a_simulator(projections):
    build(sim, scale=0.004, k_scale=0.002, rng=NumpyRNG(seed=1))
    numbers = microcircuit.synapse_numbers(0.004, 0.002)
    expected = {
        f"{source}->{target}": numbers[i, j]
        for i, target in enumerate(POPULATIONS)
        for j, source in enumerate(POPULATIONS)
        if numbers[i, j] > 0
    }
    recurrent = {k: len(p) for k, p in projections.items() if not k.startswith("background")}
    assert recurrent == expected
    assert sum(recurrent.values()) == pytest.approx(298_880_941 * 8e-6, abs=32)


def test_fixed_indegree_on_a_simulator(projections):
    populations = build(sim, scale=0.002, connectivity="fixed_indegree", rng=NumpyRNG(seed=1))
    for i, target in enumerate(POPULATIONS):
        for j, source in enumerate(POPULATIONS):
            label = f"{source}->{target}"
            indegree = microcircuit.indegrees(0.002)[i, j]
            if indegree == 0:
                assert label not in projections
                continue
            inputs = np.bincount(
                synapses(projections[label])[:, 1].astype(int), minlength=populations[target].size
            )
            assert (inputs == indegree).all()


@pytest.mark.parametrize("connectivity", ["fixed_total_number", "fixed_indegree"])
def test_weights_and_delays_on_a_simulator(projections, connectivity):
    build(sim, scale=0.006, k_scale=0.01, connectivity=connectivity, rng=NumpyRNG(seed=1))
    for label, mean, receptor, delay in (
        ("L4E->L4E", 0.878085, "excitatory", 1.547),
        ("L4E->L23E", 1.75617, "excitatory", 1.547),
        ("L4I->L4E", -3.51234, "inhibitory", 0.777),
    ):
        projection = projections[label]
        assert projection.receptor_type == receptor
        _, _, weights, delays = synapses(projection).T
        assert len(weights) > 800
        error = 5 / np.sqrt(len(weights))
        assert weights.mean() == pytest.approx(mean, rel=0.1 * error)
        assert weights.std() == pytest.approx(0.1 * abs(mean), rel=error)
        # the mean exceeds 1.5 and 0.75 ms because delays below half a step are redrawn
        assert delays.min() >= 0.05
        assert delays.mean() == pytest.approx(delay, rel=0.5 * error)


def test_wrong_signs_become_zero(projections):
    build(sim, scale=0.002, relative_weight_sd=1.0, rng=NumpyRNG(seed=1))
    excitatory = synapses(projections["L4E->L4E"])[:, 2]
    inhibitory = synapses(projections["L4I->L4E"])[:, 2]
    assert excitatory.min() == 0 and inhibitory.max() == 0
    assert (excitatory == 0).mean() == pytest.approx(0.16, abs=0.12)


def test_no_weight_spread(projections):
    build(sim, scale=0.002, relative_weight_sd=0, rng=NumpyRNG(seed=1))
    weights = synapses(projections["L23E->L23E"])[:, 2]
    assert len(set(weights)) == 1
    assert weights[0] == pytest.approx(0.0878085 / np.sqrt(0.002), rel=1e-6)


def test_poisson_drive_on_a_simulator(projections):
    populations = build(sim, scale=0.002, k_scale=0.01, rng=NumpyRNG(seed=1))
    for label, indegree in zip(POPULATIONS, microcircuit.BACKGROUND_INDEGREES, strict=True):
        projection = projections[f"background->{label}"]
        assert projection.post is populations[label]
        assert projection.pre.get("rate") == pytest.approx(0.01 * indegree * 8)
        size = populations[label].size
        sources, targets, weights, delays = synapses(projection).T
        assert sources.tolist() == targets.tolist() == list(range(size))
        assert weights == pytest.approx(0.878085, rel=1e-6)
        assert (delays == 1.5).all()


def test_dc_drive_has_no_sources(projections):
    populations = build(sim, scale=0.002, k_scale=0.01, drive="dc", rng=NumpyRNG(seed=1))
    assert not any(label.startswith("background") for label in projections)
    currents = [p.get("i_offset") for p in populations.values()]
    expected = microcircuit.direct_current(0.01, "fixed_total_number", "dc")
    assert currents == pytest.approx(expected)


def test_the_generator_decides_the_network(projections):
    def network(seed):
        projections.clear()
        build(sim, scale=0.002, rng=NumpyRNG(seed=seed))
        return {label: synapses(p) for label, p in projections.items()}

    first, again, other = network(1), network(1), network(2)
    assert all(np.array_equal(first[label], again[label]) for label in first)
    assert not np.array_equal(first["L4E->L4E"], other["L4E->L4E"])
    # two projections of the same sizes do not share their draws
    assert microcircuit.synapse_numbers(0.002, 0.002)[2, 2] == len(first["L4E->L4E"])
    n = min(len(first["L23E->L23E"]), len(first["L4E->L4E"]))
    assert not np.array_equal(first["L23E->L23E"][:n, 3], first["L4E->L4E"][:n, 3])


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("scale", 0, "numbers from 0.002 to 1"),
        ("scale", 1.5, "numbers from 0.002 to 1"),
        ("scale", float("nan"), "numbers from 0.002 to 1"),
        ("scale", "0.1", "numbers from 0.002 to 1"),
        ("scale", True, "numbers from 0.002 to 1"),
        ("k_scale", 0.0, "numbers from 0.002 to 1"),
        ("k_scale", -1, "numbers from 0.002 to 1"),
        ("relative_weight_sd", -0.1, "numbers from 0 to 1"),
        ("connectivity", "fixed", "'fixed_total_number' and 'fixed_indegree'"),
        ("connectivity", ["fixed_indegree"], "'fixed_total_number' and 'fixed_indegree'"),
        ("drive", "DC", "'poisson' and 'dc'"),
        ("initial_voltages", None, "'optimized' and 'original'"),
        ("rng", 42, "random generators of pyNN.random"),
    ],
)
def test_parameters_are_checked(parameter, value, allowed):
    # no simulator is touched before all parameters are known to be good
    with pytest.raises(ValueError) as caught:
        build(None, **{parameter: value})
    message = str(caught.value)
    assert message.startswith(f"{parameter}={value!r} is not allowed")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize("connectivity", ["fixed_total_number", "fixed_indegree"])
def test_the_harness_can_carry_the_model(connectivity):
    network = capture(build, {"connectivity": connectivity}, timestep=0.1)
    assert [p.label for p in network.recorded] == list(POPULATIONS)
    assert [d.target for d in network.drives] == list(POPULATIONS)
    connectors: dict[str, Any] = {p.label: p.connector for p in network.projections}
    assert all(connector.with_replacement for connector in connectors.values())
    if connectivity == "fixed_total_number":
        assert sum(connector.n for connector in connectors.values()) == 298_880_941
    else:
        sizes = dict(zip(POPULATIONS, SIZES, strict=True))
        total = sum(connectors[p.label].n * sizes[p.target] for p in network.projections)
        assert total == 299_149_995
    # L5I reaches layers 4 to 6 and L6I layer 6 only
    assert len(network.projections) == 64 - 9


@pytest.mark.parametrize("timestep", [0.1, 0.5])
def test_delays_reach_down_to_half_a_step(timestep):
    network = capture(build, {}, timestep)
    delays = {p.label: p.delay for p in network.projections}
    for label, mean in (("L4E->L23E", 1.5), ("L5I->L6E", 0.75)):
        bounds = {"low": timestep / 2, "high": float("inf")}
        parameters = {"mu": mean, "sigma": mean / 2, **bounds}
        assert delays[label] == Distribution("normal_clipped", parameters)


STOCK_SCRIPT = """
import pyNN.nest as sim
from pyNN.random import NumpyRNG
from pynn_portability.models import microcircuit

sim.setup(timestep=0.1, spike_precision="on_grid")
populations = microcircuit.build(
    sim, scale=0.004, k_scale=0.02, connectivity="{connectivity}", rng=NumpyRNG(seed=3)
)
sim.run(200.0)
counts = [sum(p.get_spike_counts().values()) for p in populations.values()]
print("spikes:", sum(counts))
sim.end()
"""


@pytest.mark.skipif(importlib.util.find_spec("nest") is None, reason="NEST is not installed")
@pytest.mark.parametrize("connectivity", ["fixed_total_number", "fixed_indegree"])
def test_it_is_an_ordinary_script_for_stock_nest(connectivity):
    done = subprocess.run(
        [sys.executable, "-c", STOCK_SCRIPT.format(connectivity=connectivity)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=Path(__file__).parent,  # the repository's folder would shadow the installed package
    )
    assert done.returncode == 0, done.stderr
    spikes = int(done.stdout.rpartition("spikes:")[2])
    # 308 neurons, 200 ms, on average 3 spikes per second at full scale; synchrony would be 100
    assert 20 < spikes < 1000
