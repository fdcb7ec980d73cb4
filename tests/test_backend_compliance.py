"""Rules that every backend follows, one test each, run on each backend that is installed.

A backend takes part by its name in `pynn_portability.backends.names()`; a SpiNNaker board has rules of its
own (test_spinnaker.py). What is expected comes from closed-form solutions or from
`compliance.reference_spikes`, never from another backend.

Tests on random input are decided at `TOLERANCE` standard errors: each of their 200 comparisons
fails by chance for one seed in 150,000, so all together for one in 700. The seeds are fixed.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from compliance import (
    COUNTED,
    CURRENT_BASED,
    STRONG,
    Simulator,
    cells,
    connection,
    counters,
    drive,
    pairs,
    recurrent,
    reference_spikes,
    sources,
    steps,
    steps_to_threshold,
)

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import FixedNumberPre, FixedTotalNumber
from pynn_portability.model.network import Distribution, Network, Population, Projection
from pynn_portability.realize.realization import Realization, Synapses

TOLERANCE = 4.5

CELL_TYPES = ("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha")
RECEPTORS: tuple[Receptor, Receptor] = ("excitatory", "inhibitory")

# interpreted code starts sooner; what is compiled instead is tested where that makes a difference
QUICK_OPTIONS = {"brian2": {"codegen": "numpy"}}
# a SpiNNaker board computes in no other arithmetic than its own, and acts one step earlier
RULED = [name for name in backends.names() if name != "spinnaker"]
SIMULATORS = [(name, QUICK_OPTIONS.get(name, {})) for name in RULED]
# with three threads, some have no neuron of a small population
ALL_VARIANTS = [*SIMULATORS, ("brian2", {"codegen": "cython"}), ("emulator", {"threads": 3})]

PACKAGED = ("nest", "brian2")
"""Backends that need a package of their name; they represent all cell types, in floating point."""


def _name(variant: tuple[str, dict[str, Any]]) -> str:
    return "-".join([variant[0], *map(str, variant[1].values())])


def _simulator(variant: tuple[str, dict[str, Any]]) -> Simulator:
    name, options = variant
    reason = backends.load(name).available()
    if reason is not None:
        pytest.skip(reason)
    return Simulator(name, **options)


@pytest.fixture(params=SIMULATORS, ids=_name)
def simulator(request: pytest.FixtureRequest) -> Simulator:
    return _simulator(request.param)


@pytest.fixture(params=ALL_VARIANTS, ids=_name)
def any_variant(request: pytest.FixtureRequest) -> Simulator:
    return _simulator(request.param)


def _represents(simulator: Simulator, cell_type: str) -> bool:
    network = Network((cells("a", 1, cell_type),), ())
    return backends.refusals(simulator.backend, network, number_format("double"), 0.1) == []


def _or_else(simulator: Simulator, cell_type: str) -> str:
    """``cell_type``, or the one that every backend has."""
    return cell_type if _represents(simulator, cell_type) else "IF_curr_exp"


# --- Time ---


@pytest.mark.parametrize("timestep", [0.1, 0.05, 0.25])
def test_source_label_to_effect(simulator: Simulator, timestep: float) -> None:
    """A source spike labelled k arrives at k + delay and can make its target spike one step later."""
    labels = [1, 2, 40, 101]
    delays = [1, 2, 3, 7, 15, 33]
    network = Network(
        (
            sources("input", [[k * timestep] for k in labels]),
            cells("targets", len(labels) * len(delays)),
        ),
        (
            connection(
                "p",
                ("input", "targets"),
                [(j // len(delays), j) for j in range(len(labels) * len(delays))],
                STRONG,
                np.tile(delays, len(labels)) * timestep,
            ),
        ),
    )
    spikes = simulator.run(network, 150, timestep=timestep).populations
    assert pairs(spikes["input"]) == [(k, i) for i, k in enumerate(labels)]
    for j in range(len(labels) * len(delays)):
        expected = labels[j // len(delays)] + delays[j % len(delays)] + 1
        assert steps(spikes["targets"], j) == [expected]


def test_delay_between_neurons(simulator: Simulator) -> None:
    """A spike of a neuron labelled k arrives at k + delay."""
    delays = [1, 2, 3, 7, 15, 33, 100]
    network = Network(
        (cells("driver", 1, i_offset=0.5), cells("targets", len(delays))),
        (
            connection(
                "p",
                ("driver", "targets"),
                [(0, j) for j in range(len(delays))],
                STRONG,
                np.array(delays) * 0.1,
            ),
        ),
    )
    spikes = simulator.run(network, 290).populations
    k = steps_to_threshold(0.5)
    assert steps(spikes["driver"]) == [k]
    assert [steps(spikes["targets"], j) for j in range(len(delays))] == [
        [k + delay + 1] for delay in delays
    ]


def test_refractory_time(any_variant: Simulator) -> None:
    """The potential is held for tau_refrac, so intervals are tau_refrac longer than the rise."""
    # 2.04 ms is 2.0 ms on the grid
    tau_refrac = np.array([0.1, 0.2, 0.5, 1.0, 2.0, 2.04, 5.0])
    network = Network(
        (
            cells("a", len(tau_refrac), i_offset=0.5, tau_refrac=tau_refrac),
            cells("b", 2, i_offset=0.5, tau_refrac=3.0),
        ),
        (),
    )
    spikes = any_variant.run(network, 1000).populations
    rise = steps_to_threshold(0.5)
    for j, held in enumerate([1, 2, 5, 10, 20, 20, 50]):
        assert steps(spikes["a"], j) == list(range(rise, 1001, rise + held))
    assert steps(spikes["b"], 1) == list(range(rise, 1001, rise + 30))


def test_last_step_is_included(simulator: Simulator) -> None:
    """A run of n steps has the spikes labelled 1 to n, of neurons and of sources."""
    k = steps_to_threshold(0.5)
    network = Network(
        (cells("a", 2, i_offset=0.5), sources("input", [[0.1 * k], [0.1 * k + 0.1]])), ()
    )
    data = simulator.run(network, k)
    assert (data.n_steps, data.timestep) == (k, 0.1)
    assert pairs(data.populations["a"]) == [(k, 0), (k, 1)]
    assert pairs(data.populations["input"]) == [(k, 0)]
    assert pairs(simulator.run(network, k - 1).populations["a"]) == []


# --- Neurons ---


def test_response_to_a_constant_current(simulator: Simulator) -> None:
    """The first spike comes in the step in which the closed-form solution reaches the threshold."""
    currents = np.array([0.376, 0.4, 0.5, 0.77, 1.3, 5.0, 40.0])
    network = Network((cells("a", len(currents), i_offset=currents),), ())
    spikes = simulator.run(network, 1000).populations["a"]
    for j, current in enumerate(currents):
        assert steps(spikes, j)[0] == steps_to_threshold(current)


def test_subthreshold_current_makes_no_spike(simulator: Simulator) -> None:
    """0.375 nA lead to the threshold exactly, but not in finite time."""
    network = Network((cells("a", 2, i_offset=np.array([0.3, 0.3749])),), ())
    assert pairs(simulator.run(network, 2000).populations["a"]) == []


def test_initial_potential(simulator: Simulator) -> None:
    """Neurons start from their own initial values, in the order of the population."""
    v = np.array([-80.0, -65.0, -58.3, -50.7, -50.1])
    network = Network((cells("a", len(v), v=v, i_offset=0.5),), ())
    spikes = simulator.run(network, 300).populations["a"]
    for j, start in enumerate(v):
        assert steps(spikes, j)[0] == steps_to_threshold(0.5, v=start)


def test_threshold_is_reached_by_equality(any_variant: Simulator) -> None:
    """A potential that equals the threshold spikes; one that stays below it does not."""
    below = np.nextafter(-50.0, -51.0)
    network = Network(
        (
            cells("at", 2, v=-50.0, v_rest=-50.0),
            cells("below", 2, v=below, v_rest=below - 1e-9),
        ),
        (),
    )
    spikes = any_variant.run(network, 20).populations
    assert pairs(spikes["at"]) == [(1, 0), (1, 1)]
    assert pairs(spikes["below"]) == []


# --- Synapses ---


def test_sign_of_inhibition(simulator: Simulator) -> None:
    """An inhibitory spike delays the next spike, an excitatory one advances it."""
    populations = [sources("input", [[5.0]])]
    projections = []
    cell_types = [c for c in CELL_TYPES if _represents(simulator, c)]
    assert "IF_curr_exp" in cell_types
    for cell_type in cell_types:
        for receptor in RECEPTORS:
            label = f"{cell_type} {receptor}"
            conductance_based = cell_type.startswith("IF_cond")
            weight = 0.01 if conductance_based else 0.2
            if receptor == "inhibitory" and not conductance_based:
                weight = -weight
            populations.append(cells(label, 1, cell_type, i_offset=0.5))
            projections.append(connection(label, ("input", label), [(0, 0)], weight, 0.1, receptor))
    spikes = simulator.run(Network(tuple(populations), tuple(projections)), 250).populations
    for cell_type in cell_types:
        assert steps(spikes[f"{cell_type} excitatory"])[0] < steps_to_threshold(0.5)
        assert steps(spikes[f"{cell_type} inhibitory"])[0] > steps_to_threshold(0.5)


def test_multapses_keep_their_own_weights_and_delays(simulator: Simulator) -> None:
    """Of several synapses between one pair, each acts with its own weight at its own delay."""
    weak = STRONG / 1000
    network = Network(
        (sources("input", [[1.0], [1.0]]), cells("targets", 3)),
        (
            connection(
                "p",
                ("input", "targets"),
                [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (0, 2), (0, 2)],
                np.array([STRONG, weak, STRONG, weak, STRONG, STRONG / 3, STRONG / 3, STRONG / 3]),
                np.array([0.5, 3.0, 9.0, 2.0, 6.0, 4.0, 4.0, 4.0]),
            ),
        ),
    )
    spikes = simulator.run(network, 200).populations["targets"]
    assert [steps(spikes, j) for j in range(3)] == [[10 + 5 + 1, 10 + 90 + 1], [71], [51]]


def test_autapses(simulator: Simulator) -> None:
    """A neuron that excites itself spikes again after its own delay."""
    network = Network(
        (cells("a", 2, i_offset=np.array([0.5, 0.5])),),
        (connection("p", ("a", "a"), [(0, 0)], STRONG, 4.0),),
    )
    spikes = simulator.run(network, 200).populations["a"]
    k = steps_to_threshold(0.5)
    assert steps(spikes, 0) == [k, k + 41]
    assert steps(spikes, 1) == [k]


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_time_constants_belong_to_their_receptor(simulator: Simulator, cell_type: str) -> None:
    """Excitatory input decays with tau_syn_E, inhibitory with tau_syn_I; tau_m may equal one."""
    if not _represents(simulator, cell_type):
        pytest.skip(f"this backend does not represent {cell_type}")
    weights = {"excitatory": 0.3, "inhibitory": -0.3}
    if cell_type.startswith("IF_cond"):
        weights = {"excitatory": 0.01, "inhibitory": 0.01}
    populations = [sources("input", [[1.0, 6.0, 8.0]], recorded=False)]
    projections = []
    for receptor in RECEPTORS:
        populations.append(
            cells(
                receptor,
                8,
                cell_type,
                i_offset=np.linspace(0.45, 0.55, 8),
                tau_m=np.array([5.0, 8.0, 10.0, 10.0, 2.0, 10.0, 10.0, 20.0]),
                tau_syn_E=np.array([0.5, 0.5, 3.0, 5.0, 2.0, 1.0, 10.0, 10.0]),
                tau_syn_I=np.array([2.0, 8.0, 0.5, 1.0, 0.2, 10.0, 3.0, 20.0]),
                cm=0.2,
            )
        )
        one_to_all = [(0, j) for j in range(8)]
        projections.append(
            connection(receptor, ("input", receptor), one_to_all, weights[receptor], 0.7, receptor)
        )
    _assert_as_reference(simulator, Network(tuple(populations), tuple(projections)), 500)


# --- Networks ---


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_recurrent_network_spikes_in_the_same_steps(simulator: Simulator, cell_type: str) -> None:
    """A deterministic recurrent network has the spikes of the direct integration, every one."""
    if not _represents(simulator, cell_type):
        pytest.skip(f"this backend does not represent {cell_type}")
    counts = _assert_as_reference(simulator, recurrent(cell_type, seed=5), 800)
    assert min(counts.values()) > 20


def test_many_spikes_on_their_way(any_variant: Simulator) -> None:
    """Thousands of spikes in a step, with delays from one step to hundreds, all arrive in time."""
    rng = np.random.default_rng(4)
    n = 3000
    trains = [np.sort(rng.choice(60, 20, replace=False) + 1) * 0.1 for _ in range(n)]
    ends = list(zip(range(n), rng.integers(0, 7, n).tolist(), strict=True))
    weights = 2.0**-9 * rng.integers(1, 9, n)
    network = Network(
        (sources("input", trains), cells("a", 7)),
        (connection("p", ("input", "a"), ends, weights, rng.integers(1, 400, n) * 0.1),),
    )
    counts = _assert_as_reference(any_variant, network, 500)
    assert counts == {"input": 20 * n, "a": counts["a"]}
    assert counts["a"] > 20


def test_compiled_code_spikes_in_the_same_steps() -> None:
    """As above, for Brian2's default way to run."""
    simulator = _simulator(("brian2", {"codegen": "cython"}))
    _assert_as_reference(simulator, recurrent("IF_curr_exp", seed=6), 1200)


def test_cell_types_in_one_network(simulator: Simulator) -> None:
    """Cells of all types, interleaved, drive each other; only recorded populations are returned."""
    order = ["IF_cond_exp", "IF_curr_exp", "IF_curr_alpha", "IF_curr_exp", "IF_cond_alpha"]
    order = [_or_else(simulator, cell_type) for cell_type in order]
    populations = [
        cells(f"p{j}", j + 2, cell_type, i_offset=0.5 if j == 0 else 0.2, recorded=j != 1)
        for j, cell_type in enumerate(order)
    ]
    projections = [
        connection(
            f"{j}->{j + 1}",
            (f"p{j}", f"p{j + 1}"),
            [(i, i + 1) for i in range(j + 2)],
            0.3 if target.startswith("IF_cond") else 20.0,
            0.4 * (j + 1),
        )
        for j, target in enumerate(order[1:])
    ]
    counts = _assert_as_reference(simulator, Network(tuple(populations), tuple(projections)), 400)
    assert set(counts) == {"p0", "p2", "p3", "p4"}
    assert min(counts.values()) > 0


def _assert_as_reference(simulator: Simulator, network: Network, n_steps: int) -> dict[str, int]:
    """Run and compare with direct integration; numbers of spikes by population."""
    spikes = simulator.run(network, n_steps).populations
    expected = reference_spikes(Realization(network, 1, 0.1), n_steps)
    for population in network.recorded:
        assert pairs(spikes[population.label]) == expected[population.label]
        assert spikes[population.label].size == population.size
    assert set(spikes) == {p.label for p in network.recorded}
    return {label: len(s.steps) for label, s in spikes.items()}


# --- Poisson input ---


@pytest.mark.parametrize("rate", [1_600.0, 16_000.0, 200_000.0])
def test_poisson_count_of_one_step(any_variant: Simulator, rate: float) -> None:
    """Counts of a single step are Poisson distributed, also far above one spike per step."""
    mean = rate * 1e-4
    law = scipy.stats.poisson(mean)
    lowest, highest = max(1, int(law.ppf(1e-3))), int(law.ppf(1 - 1e-3))
    thresholds = np.unique(np.linspace(lowest, highest, 8).astype(np.int64))
    repeats = 500
    network = Network(
        (counters("a", np.repeat(thresholds, repeats)),),
        (),
        (drive("d", "a", rate, COUNTED, start=1.0, duration=0.1),),
    )
    reached = _fraction_reached(any_variant, network, 120, repeats)
    expected = law.sf(thresholds - 1)
    error = np.sqrt(expected * (1 - expected) / repeats)
    assert np.all(np.abs(reached - expected) < TOLERANCE * error + 3 / repeats)


def test_poisson_mean_and_variance_at_16_khz(any_variant: Simulator) -> None:
    """Counts of 10 ms have mean and variance 160, so different steps are independent, too.

    The standard error of the mean is 0.2 %, that of the variance 5 %.
    """
    rate = 16_000.0
    law = scipy.stats.poisson(rate * 0.01)
    lowest, highest = int(law.ppf(1e-6)), int(law.ppf(1 - 1e-6))
    thresholds = np.arange(lowest + 1, highest + 1)
    repeats = 60
    network = Network(
        (counters("a", np.repeat(thresholds, repeats)),),
        (),
        (drive("d", "a", rate, COUNTED, start=1.0, duration=10.0),),
    )
    reached = _fraction_reached(any_variant, network, 250, repeats)
    p = law.sf(thresholds - 1)
    # with X the count and q_k the probability of X >= k: E[X - lowest] is the sum of q_k and
    # E[(X - lowest)**2] the sum of (2 (k - lowest) - 1) q_k
    offset = thresholds - lowest
    mean = lowest + reached.sum()
    variance = np.sum((2 * offset - 1) * reached) - reached.sum() ** 2
    scatter = p * (1 - p) / repeats
    mean_error = math.sqrt(scatter.sum())
    variance_error = math.sqrt(np.sum((2 * offset - 1 - 2 * p.sum()) ** 2 * scatter))
    assert abs(mean - law.mean()) < TOLERANCE * mean_error
    assert abs(variance - law.var()) < TOLERANCE * variance_error


def test_poisson_rates_of_their_own(any_variant: Simulator) -> None:
    """Each neuron receives its own rate; drives on other populations do not mix in."""
    thresholds = np.arange(40, 361, 20)
    repeats = 150
    half = np.repeat(thresholds, repeats)
    rates = np.repeat([8_000.0, 24_000.0], len(half))
    network = Network(
        (counters("slow", half), counters("a", np.concatenate([half, half]))),
        (),
        (
            drive("d", "a", rates, COUNTED, start=1.0, duration=10.0),
            drive("e", "slow", 4_000.0, COUNTED, start=1.0, duration=20.0),
        ),
    )
    spikes = any_variant.run(network, 350).populations
    for label, part, mean in (
        ("a", slice(0, len(half)), 80.0),
        ("a", slice(len(half), None), 240.0),
        ("slow", slice(None), 80.0),
    ):
        fired = np.isin(np.arange(spikes[label].size), spikes[label].neurons)[part]
        expected = scipy.stats.poisson(mean).sf(thresholds - 1)
        error = np.sqrt(expected * (1 - expected) / repeats)
        reached = fired.reshape(-1, repeats).mean(axis=1)
        assert np.all(np.abs(reached - expected) < TOLERANCE * error + 3 / repeats)


def _fraction_reached(
    simulator: Simulator, network: Network, n_steps: int, repeats: int
) -> np.ndarray:
    spikes = simulator.run(network, n_steps).populations["a"]
    assert len(np.unique(spikes.neurons)) == len(spikes.neurons)
    fired = np.isin(np.arange(spikes.size), spikes.neurons)
    return fired.reshape(-1, repeats).mean(axis=1)


RELIABLE = 1e6
"""A rate (Hz) that is never silent: a step of 0.1 ms has no spike with probability exp(-100)."""


def _relays(label: str, size: int) -> Population:
    """Cells that spike at once and forget at once, every other step while they have input."""
    return cells(label, size, tau_refrac=0.1, tau_syn_E=0.01)


RELAYED = 1e3
"""Weight (nA) of which one spike lets a relay spike; what is left one step later does not."""


def test_poisson_start_duration_and_delay(any_variant: Simulator) -> None:
    """A drive has labels from start + 2 steps, for as many steps as its duration, plus a delay."""
    delays = np.array([1, 2, 7, 30])
    windows = {"from the first step": (0, 10), "even": (30, 10), "odd": (30, 11)}
    network = Network(
        tuple(_relays(label, len(delays)) for label in windows),
        (),
        tuple(
            drive(f"to {label}", label, RELIABLE, RELAYED, delays * 0.1, begin * 0.1, length * 0.1)
            for label, (begin, length) in windows.items()
        ),
    )
    spikes = any_variant.run(network, 120).populations
    for label, (begin, length) in windows.items():
        for j, delay in enumerate(delays):
            # arrival at label + delay, spike one step later, then one step refractory
            first = begin + 2 + int(delay) + 1
            assert steps(spikes[label], j) == list(range(first, first + length, 2))


def test_poisson_drives_add_up(any_variant: Simulator) -> None:
    """Two drives on the same neurons act one after the other; an inhibitory one silences them."""
    network = Network(
        (_relays("a", 2), cells("b", 2, i_offset=1.0)),
        (),
        (
            drive("1", "a", RELIABLE, RELAYED, start=1.0, duration=0.5),
            drive("2", "a", RELIABLE, RELAYED, start=4.0, duration=0.3),
            drive("3", "b", RELIABLE, -0.002, duration=10.0, receptor="inhibitory"),
        ),
    )
    spikes = any_variant.run(network, 200).populations
    assert steps(spikes["a"], 1) == [14, 16, 18, 44, 46]
    assert min(steps(spikes["b"], 1)) > 100


def test_poisson_source_population(simulator: Simulator) -> None:
    """A shared Poisson source: rate and window are kept, and all its targets see the same spikes."""
    rate, size = 400.0, 100
    source = Population(
        "source",
        size,
        "SpikeSourcePoisson",
        {"rate": rate, "start": 10.0, "duration": 500.0},
        recorded=True,
    )
    delays = np.tile([0.1, 1.3], size)
    network = Network(
        (source, _relays("targets", 2 * size)),
        (
            connection(
                "p", ("source", "targets"), [(j // 2, j) for j in range(2 * size)], RELAYED, delays
            ),
        ),
    )
    spikes = simulator.run(network, 6000).populations
    emitted = spikes["source"]
    assert (emitted.steps.min(), emitted.steps.max()) == (102, 5101)
    expected = rate * 0.5 * size
    assert abs(len(emitted.steps) - expected) < TOLERANCE * math.sqrt(expected)
    counts = np.bincount(emitted.neurons, minlength=size)
    # at most one spike per step takes 4 % off the variance
    fano = counts.var(ddof=1) / counts.mean()
    assert abs(fano - 0.98) < 0.02 + TOLERANCE * math.sqrt(2 / size)
    for j in range(2 * size):
        sent = sorted(set(steps(emitted, j // 2)))
        got = steps(spikes["targets"], j)
        delay = round(delays[j] / 0.1)
        assert set(got) <= {k + delay + 1 for k in sent}
        # a spike is lost only in the refractory step after another
        assert len(got) >= len(sent) - np.count_nonzero(np.diff(sent) == 1)


# --- Randomness ---


def _noisy_network() -> Network:
    return Network(
        (cells("E", 40, v=Distribution("uniform", {"low": -70.0, "high": -55.0})), cells("I", 10)),
        (
            Projection(
                "I->E",
                "I",
                "E",
                "inhibitory",
                FixedNumberPre(5),
                Distribution("normal", {"mu": -0.3, "sigma": 0.03}),
                Distribution("uniform", {"low": 0.2, "high": 2.0}),
            ),
        ),
        (drive("to E", "E", 8_000.0, 0.12, 1.5), drive("to I", "I", 8_000.0, 0.12, 1.5)),
    )


def test_seeds(any_variant: Simulator) -> None:
    """The same seed gives the same spikes, another seed others; a longer run begins the same."""
    network = _noisy_network()
    first = any_variant.run(network, 700, seed=1).populations
    again = any_variant.run(network, 700, seed=1).populations
    other = any_variant.run(network, 700, seed=2).populations
    longer = any_variant.run(network, 1300, seed=1).populations
    for label in ("E", "I"):
        assert len(first[label].steps) > 10
        assert pairs(first[label]) == pairs(again[label])
        assert pairs(first[label]) != pairs(other[label])
        assert pairs(first[label]) == [(k, i) for k, i in pairs(longer[label]) if k <= 700]


def test_seeds_are_independent_for_the_input_alone(any_variant: Simulator) -> None:
    """With everything else fixed, neighbouring seeds give Poisson input without a correlation."""
    network = Network((_relays("a", 400),), (), (drive("d", "a", 2_000.0, RELAYED),))
    trains = []
    for seed in (1, 2):
        spikes = any_variant.run(network, 200, seed=seed).populations["a"]
        counts = np.zeros((400, 20))
        np.add.at(counts, (spikes.neurons, (spikes.steps - 1) // 10), 1)
        trains.append(counts[:, 1:].ravel())
    correlation = np.corrcoef(trains[0], trains[1])[0, 1]
    assert abs(correlation) < TOLERANCE / math.sqrt(len(trains[0]))


def test_progress(simulator: Simulator) -> None:
    """Progress is told in fractions from 0 to 1, which grow."""
    told: list[float] = []
    simulator.run(_noisy_network(), 1500, progress=told.append)
    assert told == sorted(told)
    assert told[0] >= 0.0
    assert told[-1] == pytest.approx(1.0)


# --- Reading back ---


@pytest.mark.parametrize(
    "text", ["double", "float32", "moments-2", "naive-5", "moments-2/float32", "s16.15"]
)
def test_connections_are_those_realized(simulator: Simulator, text: str) -> None:
    """What the simulator reports is what was realized and discretised, synapse by synapse."""
    _assert_connections(simulator, text)


def _assert_connections(simulator: Simulator, text: str, weight_error: float = 0.0) -> None:
    """``weight_error`` is absolute (nA) and comes on top of rounding by the state arithmetic."""
    normal = Distribution("normal", {"mu": 0.0878, "sigma": 0.00878})
    inhibitory = Distribution("normal", {"mu": -0.3512, "sigma": 0.03512})
    delay = Distribution("normal_clipped", {"mu": 1.5, "sigma": 0.75, "low": 0.1, "high": math.inf})
    network = Network(
        (
            sources("input", [[1.0], [2.0], [3.0]]),
            cells("E", 60),
            cells("I", 20),
            cells("G", 15, _or_else(simulator, "IF_cond_exp")),
        ),
        (
            # 900 synapses between 60 x 20 pairs: many multapses
            Projection("E->I", "E", "I", "excitatory", FixedTotalNumber(900), normal, delay),
            Projection("I->E", "I", "E", "inhibitory", FixedNumberPre(7), inhibitory, delay),
            Projection("E->E", "E", "E", "excitatory", FixedTotalNumber(700), normal, delay),
            # parallel to the one before, and of the same kind
            Projection("E->E twice", "E", "E", "excitatory", FixedTotalNumber(300), normal, 0.3),
            Projection("I->G", "I", "G", "inhibitory", FixedTotalNumber(80), normal, delay),
            connection("input->E", ("input", "E"), [(2, 5), (0, 5), (2, 5)], 1.5, 2.0),
            connection("input->E twice", ("input", "E"), [(2, 5), (1, 7)], 0.5, 1.0),
            Projection("none", "E", "I", "excitatory", FixedTotalNumber(0), normal, delay),
        ),
    )
    number = number_format(text)
    if backends.refusals(simulator.backend, network, number, 0.1):
        pytest.skip(f"this backend does not represent {text}")
    simulation = simulator.build(network, seed=3, text=text)
    realization = Realization(network, 3, 0.1)
    held = number.on(realization)
    for projection in network.projections:
        drawn = Synapses.concatenate(list(realization.synapses(projection.label)))
        expected = Synapses(
            drawn.source,
            drawn.target,
            held.weights(projection.label)(drawn.weight),
            drawn.delay,
        ).sorted()
        found = simulation.connections(projection.label)
        np.testing.assert_array_equal(found.source, expected.source)
        np.testing.assert_array_equal(found.target, expected.target)
        np.testing.assert_array_equal(found.delay, expected.delay)
        # unit conversion rounds, to the precision in which weights are held
        rtol = 1.2e-7 if number.state.kind == "float32" else 1e-15
        np.testing.assert_allclose(found.weight, expected.weight, rtol=rtol, atol=weight_error)
        assert found.weight.dtype == np.float64


def test_connections_of_a_projection_that_is_empty_by_chance(simulator: Simulator) -> None:
    """A receptor without any synapse is no obstacle."""
    network = Network(
        (cells("a", 3, i_offset=0.5),),
        (Projection("none", "a", "a", "excitatory", FixedTotalNumber(0), 1.0, 1.0),),
    )
    simulation = simulator.build(network)
    assert len(simulation.connections("none")) == 0
    assert len(simulation.run(200, lambda fraction: None).populations["a"].steps) == 3


# --- Formats ---


def test_single_precision_state(any_variant: Simulator) -> None:
    """In float32 a potential 1e-7 mV below the threshold is at the threshold, unlike in double.

    This holds for the potential itself and for its distance from rest, 15 mV away. Without a leak
    it stays where it is.
    """
    network = Network((cells("a", 2, v=-50.0 - 1e-7, tau_m=1e9),), ())
    if backends.refusals(any_variant.backend, network, number_format("float32"), 0.1):
        pytest.skip("this backend has no single-precision state")
    assert pairs(any_variant.run(network, 20, text="float32").populations["a"])[0] == (1, 0)
    # in this order, because the format must not stick
    assert pairs(any_variant.run(network, 20).populations["a"]) == []


def test_single_precision_hardly_changes_a_network(any_variant: Simulator) -> None:
    """Most spikes of a recurrent network stay in their steps with a state in float32."""
    network = recurrent("IF_curr_exp", seed=6)
    if backends.refusals(any_variant.backend, network, number_format("float32"), 0.1):
        pytest.skip("this backend has no single-precision state")
    spikes = any_variant.run(network, 600, text="float32").populations["E"]
    expected = reference_spikes(Realization(network, 1, 0.1), 600)["E"]
    assert len(set(pairs(spikes)) & set(expected)) > 0.9 * len(expected)


# --- What a backend says it can represent ---


@pytest.mark.parametrize("name", PACKAGED)
def test_nest_and_brian2_have_all_cell_types(name: str) -> None:
    """No test above is skipped for them because of a cell type."""
    backend = _simulator((name, {})).backend
    network = Network(tuple(cells(c, 2, c) for c in CELL_TYPES), ())
    assert backends.refusals(backend, network, number_format("moments-2"), 0.1) == []


@pytest.mark.parametrize("name", PACKAGED)
@pytest.mark.parametrize("text", ["s16.15", "naive-2/s8.7-floor-wrap"])
def test_nest_and_brian2_refuse_fixed_point(name: str, text: str) -> None:
    backend = _simulator((name, {})).backend
    (problem,) = backends.refusals(backend, Network((cells("a", 2),), ()), number_format(text), 0.1)
    assert repr(text) in problem


# --- Brian2 ---


@pytest.fixture
def brian2() -> Iterator[backends.Backend]:
    yield _simulator(("brian2", QUICK_OPTIONS["brian2"])).backend


def test_brian2_names_what_it_cannot_represent(brian2: backends.Backend) -> None:
    fine = Network((cells("a", 2), cells("b", 2, "IF_cond_alpha")), ())
    assert backends.refusals(brian2, fine, number_format("moments-4"), 0.1) == []
    foreign = Network((Population("h", 2, "HH_cond_exp", {}),), ())
    (problem,) = backends.refusals(brian2, foreign, number_format("double"), 0.1)
    assert "'h'" in problem and "HH_cond_exp" in problem and "IF_curr_exp" in problem


def test_brian2_refuses_a_poisson_source_beyond_its_range(brian2: backends.Backend) -> None:
    """Beyond one spike in ten steps its source would lose too many spikes, silently."""
    allowed, refused = (
        Network(
            (
                Population(
                    "fast",
                    2,
                    "SpikeSourcePoisson",
                    {"rate": rate, "start": 0.0, "duration": 1e10},
                ),
            ),
            (),
        )
        for rate in (1000.0, 1010.0)
    )
    assert backends.refusals(brian2, allowed, number_format("double"), 0.1) == []
    assert backends.refusals(brian2, refused, number_format("double"), 0.05) == []
    (problem,) = backends.refusals(brian2, refused, number_format("double"), 0.1)
    assert "'fast'" in problem and "1010 Hz" in problem and "at most 1000 Hz" in problem
    with pytest.raises(RequestError, match="1010 Hz"):
        Simulator("brian2").build(refused)


def test_brian2_refuses_two_spikes_of_a_source_in_one_step(brian2: backends.Backend) -> None:
    network = Network((sources("input", [[1.0], [0.5, 2.0, 2.04]]),), ())
    assert backends.refusals(brian2, network, number_format("double"), 0.02) == []
    (problem,) = backends.refusals(brian2, network, number_format("double"), 0.1)
    assert "'input': cell 1 " in problem and " 2 ms" in problem and "0.1 ms" in problem


# --- The emulator ---


WEIGHTS = ("float64", "float32", "int16")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "text",
    [
        "double",
        "moments-1",
        "moments-2",
        "naive-4",
        "moments-16/float32",
        "naive-100",
        "naive-2/s16.15",
    ],
)
def test_emulator_connections_for_every_code_and_thread(text: str, threads: int) -> None:
    """Codes of 0 to 8 bits, and blocks of neurons that differ by thread."""
    _assert_connections(Simulator("emulator", threads=threads), text)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("text", ["double", "float32", "moments-2", "naive-300"])
def test_emulator_connections_for_every_number(text: str, weights: str, threads: int) -> None:
    """Weights held as numbers are rounded to them."""
    # int16 numbers count in units of the largest weight that can be drawn (1.5 nA here) / 32767
    error = {"float64": 0.0, "float32": 1.2e-7 * 1.5, "int16": 0.5 * 1.5 / 32767}
    simulator = Simulator("emulator", weights=weights, threads=threads)
    _assert_connections(simulator, text, error[weights])


def _balanced_network() -> Network:
    """Recurrent networks whose neurons add up weights that have no exact sum."""
    normal = Distribution("normal", {"mu": 0.1, "sigma": 0.02})
    inhibitory = Distribution("normal", {"mu": -0.4, "sigma": 0.04})
    delay = Distribution("uniform", {"low": 0.1, "high": 3.0})
    return Network(
        (
            sources("input", [np.arange(1, 50) * 0.7] * 5),
            cells("E", 81, v=Distribution("uniform", {"low": -70.0, "high": -50.0})),
            cells("I", 20, tau_refrac=np.linspace(0.5, 3.0, 20)),
            # fewer neurons than threads
            cells("one", 1, i_offset=0.5),
        ),
        (
            Projection("input->E", "input", "E", "excitatory", FixedNumberPre(2), normal, delay),
            Projection("E->E", "E", "E", "excitatory", FixedTotalNumber(2000), normal, delay),
            Projection("E->I", "E", "I", "excitatory", FixedNumberPre(20), normal, delay),
            Projection("I->E", "I", "E", "inhibitory", FixedNumberPre(8), inhibitory, delay),
            Projection("I->I", "I", "I", "inhibitory", FixedNumberPre(5), inhibitory, delay),
            Projection("E->one", "E", "one", "excitatory", FixedNumberPre(80), normal, delay),
            Projection("one->E", "one", "E", "excitatory", FixedNumberPre(1), normal, 0.1),
        ),
        (drive("to E", "E", 8_000.0, 0.12, 1.5), drive("to I", "I", 8_000.0, 0.12, 1.5)),
    )


@pytest.mark.parametrize("text", ["double", "float32", "moments-2", "s8.12"])
def test_emulator_spikes_do_not_depend_on_threads(text: str) -> None:
    """Not one spike moves, whichever thread sums the input."""
    network = _balanced_network()
    alone, *shared = (
        Simulator("emulator", threads=n).run(network, 1000, text=text).populations
        for n in (1, 2, 3)
    )
    assert min(len(spikes.steps) for spikes in alone.values()) >= 5
    for spikes in shared:
        for label in alone:
            assert pairs(spikes[label]) == pairs(alone[label])


def test_emulator_spikes_do_not_depend_on_how_the_same_weights_are_held() -> None:
    """A code stands for exactly the number that would be there; integers add up in any order."""
    network = _balanced_network()
    codes, numbers = (
        Simulator("emulator", weights=w).run(network, 1000, text="moments-4/s8.12").populations
        for w in ("auto", "int16")
    )
    for label in codes:
        assert pairs(codes[label]) == pairs(numbers[label])


def test_emulator_names_what_it_cannot_represent() -> None:
    backend = backends.load("emulator")
    assert backend.available() is None
    fine = Network((cells("a", 2), sources("b", [[1.0]])), ())
    for text in ("double", "float32", "moments-4", "naive-2/s8.7-floor-wrap"):
        assert backends.refusals(backend, fine, number_format(text), 0.1) == []
    foreign = Network((cells("a", 2), cells("c", 2, "IF_cond_exp")), ())
    (problem,) = backends.refusals(backend, foreign, number_format("double"), 0.1)
    assert "'c'" in problem and "IF_cond_exp" in problem and "IF_curr_exp" in problem
    with pytest.raises(RequestError, match="IF_cond_exp"):
        Simulator("emulator").build(foreign)


# --- Importing and missing packages ---


_IMPORT = """
import sys
{before}
from pynn_portability import backends
backend = backends.load({name!r})
assert not any(m in sys.modules for m in ("brian2", "nest")), "imported before it is used"
reason = backend.available()
print("reason:", reason)
"""


@pytest.mark.parametrize("name", backends.names())
def test_importing_a_backend_prints_nothing(name: str) -> None:
    run = _import(name, before="")
    assert run.stdout.startswith("reason: ")
    assert (run.stdout.count("\n"), run.stderr) == (1, "")


@pytest.mark.parametrize("name", PACKAGED)
def test_a_missing_simulator_is_named(name: str) -> None:
    """The reason is one sentence with the command that helps."""
    before = f"""
import importlib.util as u
find = u.find_spec
u.find_spec = lambda n, *a: None if n == {name!r} else find(n, *a)
"""
    reason = _import(name, before).stdout
    assert "is not installed" in reason
    assert f"pip install 'pynn-portability[{name}]'" in reason


def test_numpy_that_is_too_new_for_brian2_is_named(brian2: backends.Backend) -> None:
    """NumPy 2.4 removed what Brian2 up to 2.9 needs; here Brian2 fails in the same words."""
    before = """
import builtins
real = builtins.__import__
def fake(name, *arguments, **keywords):
    if name == "brian2":
        raise AttributeError("type object 'numpy.ndarray' has no attribute 'ptp'")
    return real(name, *arguments, **keywords)
builtins.__import__ = fake
"""
    reason = _import("brian2", before).stdout
    assert "pip install 'numpy<2.4'" in reason
    assert "cannot be imported" in reason


def test_brian2_without_a_compiler(brian2: backends.Backend, tmp_path: Path) -> None:
    """The sentence names the option that does without."""
    code = """
from compliance import Simulator, cells
from pynn_portability.model.network import Network
Simulator("brian2").build(Network((cells("a", 2),), ()))
"""
    no_compiler = {name: "/nowhere/compiler" for name in ("CC", "CXX")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
        env=os.environ | no_compiler | {"CYTHON_CACHE_DIR": str(tmp_path)},
    )
    assert "RequestError: Brian2 found no working C++ compiler" in run.stderr
    assert 'codegen = "numpy"' in run.stderr


def _import(name: str, before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _IMPORT.format(name=name, before=before)],
        cwd=Path(__file__).parent,  # the repository's folder would shadow the installed package
        capture_output=True,
        text=True,
        check=True,
    )


def test_constants_of_the_tests() -> None:
    """STRONG fires within a step of 0.05 ms, and 0.5 nA is above rheobase."""
    assert STRONG * 0.05 / CURRENT_BASED["cm"] > 15
    assert steps_to_threshold(0.5) == 139
