"""The emulator: equal to NEST, equal for any number of threads, and right to the last bit."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import scipy.stats
from numpy.typing import NDArray

from pynn_portability.backends import emulator
from pynn_portability.backends.emulator import engine
from pynn_portability.backends.emulator.arithmetic import arithmetic, propagators
from pynn_portability.backends.emulator.drive import drive_tables
from pynn_portability.backends.emulator.synapses import Block, Part
from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import FixedPoint
from pynn_portability.formats.names import number_format
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import AllToAll, FixedTotalNumber, FromList
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
)
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.probe.compliance import Simulator, pairs
from pynn_portability.realize.realization import Realization
from pynn_portability.spikes.data import SpikeData

CELL = {
    "cm": 0.25,
    "tau_m": 10.0,
    "tau_syn_E": 0.5,
    "tau_syn_I": 2.0,
    "tau_refrac": 2.0,
    "v_rest": -65.0,
    "v_reset": -65.0,
    "v_thresh": -50.0,
    "i_offset": 0.0,
}


def simulate(
    realization: Realization, text: str, n_steps: int, backend: str = "emulator", **options: Any
) -> SpikeData:
    network, seed = realization.network, realization.seed
    return Simulator(backend, **options).run(network, n_steps, seed, text, realization.timestep)


def spike_pairs(spikes: SpikeData) -> dict[str, list[tuple[int, int]]]:
    return {label: pairs(p) for label, p in spikes.populations.items()}


def microcircuit(scale: float = 0.02, **parameters: Any) -> Network:
    build = load_model("microcircuit", Path())
    return capture(build, {"scale": scale, "connectivity": "fixed_indegree", **parameters}, 0.1)


@pytest.mark.parametrize("own_parameters", [False, True])
@pytest.mark.parametrize(
    "text", ["double", "float32", "s16.15", "spinnaker-full", "spinnaker-full-4"]
)
@pytest.mark.parametrize("tau_refrac", [0.0, 0.1, 2.0])
def test_no_cell_writes_beyond_its_room(text: str, own_parameters: bool, tau_refrac: float) -> None:
    """Cells that are reset above their threshold spike as often as there is room for, and no more.

    Such cells are refused before; what is compiled must not depend on that.
    """
    size, n_steps = 3000, 200
    # SpiNNaker's arithmetic is refused with such a reset; there, the input is as strong
    lowest, highest = (-60.0, -51.0) if text.startswith("spinnaker") else (-50.0, -40.0)
    reset = np.linspace(lowest, highest, size) if own_parameters else highest
    parameters = {**CELL, "v_reset": reset, "i_offset": 60.0, "tau_refrac": tau_refrac}
    cells = Population("E", size, "IF_curr_exp", parameters, {"v": -40.0}, True)
    synapses = Projection("E->E", "E", "E", "excitatory", FixedTotalNumber(9000), 0.01, 0.1)
    realization = Realization(Network((cells,), (synapses,)), 1, 0.1)
    for threads in (1, 2):
        found = simulate(realization, text, n_steps, threads=threads).populations["E"]
        held = round(tau_refrac / 0.1)
        counts = np.bincount(found.neurons, minlength=size)
        # spikes in (sub-)steps 1, 2 + held, 3 + 2 held, ...
        substeps = 4 if text.endswith("-4") else 1
        assert counts.max() <= min(n_steps, -(-n_steps * substeps // (held * substeps + 1)))
        assert counts.min() >= n_steps // (held + 2)
        assert ((found.steps >= 1) & (found.steps <= n_steps)).all()


# --- The same as NEST ---


def dyadic_projection(
    rng: np.random.Generator,
    ends: tuple[Population, Population],
    indegree: int,
    weight: float,
    receptor: Receptor,
) -> Projection:
    """Random synapses whose weights are multiples of 1/256 pA, so that every sum is exact."""
    source, target = ends
    n = target.size * indegree
    weights = np.round(weight * rng.uniform(0.5, 1.5, n) * 1000 * 256) / 256 / 1000
    return Projection(
        f"{source.label}->{target.label}",
        source.label,
        target.label,
        receptor,
        FromList(rng.integers(source.size, size=n), np.repeat(np.arange(target.size), indegree)),
        weights,
        rng.integers(1, 40, n) * 0.1,
    )


def recurrent_network(seed: int, duration: float) -> Network:
    """1,000 recurrently connected neurons and 400 sources with given spikes, no Poisson input."""
    rng = np.random.default_rng(seed)
    times = tuple(
        np.unique(rng.integers(1, round(duration * 10), round(duration * 0.04))) * 0.1
        for _ in range(400)
    )
    sources = Population("sources", 400, "SpikeSourceArray", {}, spike_times=times)
    spread = Distribution("uniform", {"low": -65.0, "high": -50.0})
    excitatory = Population("E", 800, "IF_curr_exp", CELL, {"v": spread}, recorded=True)
    scattered = {"tau_m": rng.uniform(8, 12, 200), "i_offset": rng.uniform(0, 0.1, 200)}
    inhibitory = Population("I", 200, "IF_curr_exp", CELL | scattered, {"v": -60.0}, recorded=True)
    return Network(
        (sources, excitatory, inhibitory),
        (
            dyadic_projection(rng, (sources, excitatory), 40, 0.6, "excitatory"),
            dyadic_projection(rng, (sources, inhibitory), 40, 0.5, "excitatory"),
            dyadic_projection(rng, (excitatory, excitatory), 40, 0.08, "excitatory"),
            dyadic_projection(rng, (excitatory, inhibitory), 40, 0.1, "excitatory"),
            dyadic_projection(rng, (inhibitory, excitatory), 20, -0.15, "inhibitory"),
            dyadic_projection(rng, (inhibitory, inhibitory), 20, -0.15, "inhibitory"),
        ),
    )


@pytest.mark.skipif(importlib.util.find_spec("nest") is None, reason="NEST is not installed")
@pytest.mark.parametrize("seed", [1, 2])
def test_spike_for_spike_equal_to_nest(seed: int) -> None:
    realization = Realization(recurrent_network(seed, 10_000.0), 1, 0.1)
    nest = spike_pairs(simulate(realization, "double", 100_000, "nest"))
    assert len(nest["E"]) > 100_000
    assert len(nest["I"]) > 10_000
    assert spike_pairs(simulate(realization, "double", 100_000)) == nest


# --- The same for any number of threads ---


@pytest.mark.parametrize("text", ["double", "float32", "moments-2/float32", "naive-16", "s16.15"])
def test_spikes_do_not_depend_on_threads(text: str) -> None:
    realization = Realization(microcircuit(), 3, 0.1)
    one = simulate(realization, text, 6000)
    assert sum(len(p.steps) for p in one.populations.values()) > 500
    for threads in (2, 3):
        assert spike_pairs(simulate(realization, text, 6000, threads=threads)) == spike_pairs(one)


def synchronous(n: int, weight: float = 0.0) -> Network:
    """``n`` neurons that all spike in the same steps, connected all-to-all with one delay."""
    cells = Population("a", n, "IF_curr_exp", CELL | {"i_offset": 2.0}, {"v": -65.0}, True)
    return Network((cells,), (Projection("p", "a", "a", "excitatory", AllToAll(), weight, 10.0),))


def test_queue_grows_with_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that starts with room for one spike ends with the same result."""
    realization = Realization(synchronous(300, 1e-4), 1, 0.1)
    expected = simulate(realization, "double", 1000)
    assert len(expected.populations["a"].steps) > 3000
    monkeypatch.setattr(emulator, "FIRST_ROOM", 1)
    for threads in (1, 2):
        grown = simulate(realization, "double", 1000, threads=threads)
        assert spike_pairs(grown) == spike_pairs(expected)


@pytest.mark.parametrize("text", ["moments-3/float32", "naive-9/float32", "float32"])
def test_more_synapses_at_once_than_are_gathered(text: str) -> None:
    """All synapses act in one step, 160,000 of them; single precision shows the order of summing."""
    network = synchronous(400)
    weight = Distribution("normal", {"mu": 1e-4, "sigma": 1e-5})
    network = replace(network, projections=(replace(network.projections[0], weight=weight),))
    realization = Realization(network, 5, 0.1)
    one = simulate(realization, text, 600)
    assert len(set(one.populations["a"].steps.tolist())) > 3
    assert spike_pairs(simulate(realization, text, 600, threads=3)) == spike_pairs(one)


def test_more_synapses_in_a_row_than_16_bits_count() -> None:
    """One source with 140,000 synapses onto two neurons of which half act at once."""
    count = 140_000
    source = Population("s", 1, "SpikeSourceArray", {}, spike_times=(np.array([1.0]),))
    targets = Population("t", 2, "IF_curr_exp", CELL, {"v": -65.0}, True)
    delay = Distribution("uniform_int", {"low": 1.0, "high": 3.0})
    projection = Projection("p", "s", "t", "excitatory", FixedTotalNumber(count), 3e-4, delay)
    realization = Realization(Network((source, targets), (projection,)), 1, 1.0)
    simulation = emulator.BACKEND.simulation(
        number_format("double").on(realization), emulator.EmulatorOptions()
    )
    held = simulation.connections("p")
    assert len(held) == count
    assert np.all(np.bincount(held.delay)[1:] > 2**16)
    # 10 nA arrive in step 2 and take both over the threshold in step 3
    assert spike_pairs(simulation.run(5, lambda f: None))["t"] == [(3, 0), (3, 1)]


# --- Fixed point ---


def fixed_product(x: int, c: int, text: str) -> int:
    state = number_format(text).state
    assert isinstance(state, FixedPoint)
    rules = arithmetic(number_format(text).state, np.array([[0.5]] * 8)).rules
    return int(engine._product(np.int64(x), np.int64(c), rules))


HALF = 2**30  # of a propagator with 31 fraction bits


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        # 3/2, 1/2, -1/2, -3/2, 5/4, -5/4 in units of the last bit
        ("", [2, 1, 0, -1, 1, -1]),
        ("-floor", [1, 0, -1, -2, 1, -2]),
        ("-zero", [1, 0, 0, -1, 1, -1]),
    ],
)
def test_rounding_of_products(rounding: str, expected: list[int]) -> None:
    cases = [(3, HALF), (1, HALF), (-1, HALF), (-3, HALF), (5, HALF // 2), (-5, HALF // 2)]
    assert [fixed_product(x, c, "s16.15" + rounding) for x, c in cases] == expected


def test_exact_products_are_not_rounded() -> None:
    for rounding in ("", "-floor", "-zero"):
        for x in (-(2**31), -4, 0, 6, 2**31 - 2):
            assert fixed_product(x, HALF, "s16.15" + rounding) == x // 2


@pytest.mark.parametrize(
    ("text", "sums"),
    [
        ("s4.3", {127: 127, 128: 127, 1000: 127, -128: -128, -129: -128, -1000: -128}),
        ("s4.3-wrap", {127: 127, 128: -128, 256: 0, -128: -128, -129: 127, 255: -1}),
        ("s16.15", {2**31 - 1: 2**31 - 1, 2**31: 2**31 - 1, -(2**33): -(2**31)}),
        ("s16.15-wrap", {2**31: -(2**31), 2**32 + 5: 5, -(2**31) - 1: 2**31 - 1}),
    ],
)
def test_saturation_and_wrapping_of_sums(text: str, sums: Mapping[int, int]) -> None:
    rules = arithmetic(number_format(text).state, np.array([[0.5]] * 8)).rules
    assert {x: int(engine._bounded(np.int64(x), rules)) for x in sums} == sums


class FixedPointNeuron:
    """One neuron in Python's integers and fractions, by the rules that the emulator documents."""

    def __init__(self, state: FixedPoint, parameters: Mapping[str, float], timestep: float) -> None:
        arrays = {name: np.array([value]) for name, value in parameters.items()}
        rows, steps = propagators(arrays, timestep, nanoampere=True)
        self.state = state
        self.p_m, self.p_e, self.p_i, _, self.d_e, self.d_i = (
            Fraction(round(float(x) * 2**31), 2**31) for x in rows[:6, 0]
        )
        self.p_0, self.threshold, self.reset = (int(state.quantise(rows[k, 0])) for k in (3, 6, 7))
        self.held_steps = int(steps[0])
        self.v = self.i_e = self.i_i = self.held = 0

    def product(self, x: int, c: Fraction) -> int:
        exact = x * c
        if self.state.rounding == "nearest":
            return (exact + Fraction(1, 2)).__floor__()
        return exact.__floor__() if self.state.rounding == "floor" else int(exact)

    def bounded(self, x: int) -> int:
        if self.state.overflow == "saturate":
            return min(max(x, -self.state.largest - 1), self.state.largest)
        return (x + self.state.largest + 1) % (2 * self.state.largest + 2) - self.state.largest - 1

    def step(self, arriving_e: int, arriving_i: int) -> bool:
        if self.held:
            self.held -= 1
        else:
            total = self.product(self.v, self.p_m) + self.p_0
            total += self.product(self.i_e, self.p_e) + self.product(self.i_i, self.p_i)
            self.v = self.bounded(total)
        self.i_e = self.bounded(self.product(self.i_e, self.d_e) + arriving_e)
        self.i_i = self.bounded(self.product(self.i_i, self.d_i) + arriving_i)
        if self.v < self.threshold:
            return False
        self.v, self.held = self.reset, self.held_steps
        return True


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("own_parameters", [False, True])
@pytest.mark.parametrize(
    "text", ["s16.15", "s16.15-floor", "s8.12-zero", "s5.10", "s4.9-floor-wrap", "s5.20-wrap"]
)
def test_fixed_point_neurons_to_the_last_bit(text: str, own_parameters: bool, seed: int) -> None:
    """Input that saturates or wraps the smaller formats now and then, 2,000 steps."""
    rng = np.random.default_rng(seed)
    n, n_steps = 40, 2000
    state = number_format(text).state
    assert isinstance(state, FixedPoint)
    parameters: dict[str, Any] = dict(CELL)
    if own_parameters:
        parameters |= {"tau_m": rng.uniform(5, 30, n), "v_reset": rng.uniform(-70, -60, n)}
        parameters |= {
            "i_offset": rng.uniform(0, 0.3, n),
            "tau_refrac": rng.integers(1, 30, n) * 0.1,
        }
    arriving = {}
    populations = [Population("a", n, "IF_curr_exp", parameters, {"v": -65.0}, True)]
    projections = []
    receptors: tuple[Receptor, Receptor] = ("excitatory", "inhibitory")
    for receptor, largest in zip(receptors, (15.0, -5.0), strict=True):
        times = tuple(np.unique(rng.integers(1, n_steps, 250)) * 0.1 for _ in range(n))
        weight = largest * rng.uniform(0.05, 1.0, n)
        populations.append(Population(receptor, n, "SpikeSourceArray", {}, spike_times=times))
        one_to_one = FromList(np.arange(n), np.arange(n))
        projections.append(Projection(receptor, receptor, "a", receptor, one_to_one, weight, 0.1))
        arriving[receptor] = np.zeros((n_steps + 2, n), np.int64)
        for i, train in enumerate(times):
            arriving[receptor][np.rint(train * 10).astype(int) + 1, i] = state.quantise(weight[i])
    realization = Realization(Network(tuple(populations), tuple(projections)), 1, 0.1)

    expected = []
    drawn = realization.parameters("a")
    for i in range(n):
        neuron = FixedPointNeuron(state, {k: float(v[i]) for k, v in drawn.items()}, 0.1)
        for step in range(1, n_steps + 1):
            inputs = (int(arriving[receptor][step, i]) for receptor in receptors)
            if neuron.step(*inputs):
                expected.append((step, i))
    assert len(expected) > 100
    assert spike_pairs(simulate(realization, text, n_steps))["a"] == sorted(expected)


# --- Poisson input ---


def poisson_counts(
    rate: float, n: int, n_steps: int, seed: int, first: int = 0, limit: int = 0
) -> NDArray[Any]:
    """Counts of ``n_steps`` steps of 0.1 ms for neurons from ``first`` to ``n``."""
    cells = Population("a", n, "IF_curr_exp", CELL)
    drive = PoissonDrive("d", "a", "excitatory", rate, 1e-3, 0.1)
    realization = Realization(Network((cells,), (), (drive,)), seed, 0.1)
    block = Block(0, 0, [Part("a", first, n, 0)])
    number = number_format("double")
    state = arithmetic(number.state, np.empty((8, 0)))
    tables = drive_tables(number.on(realization), state, [block], False, limit)
    words = np.empty(2 * (engine.CHUNK // engine.GROUP + 1), np.uint64)
    counts = np.empty(engine.CHUNK, np.uint16)
    inputs = np.zeros((n_steps, 2, n - first))
    for step in range(n_steps):
        # the first spikes, labelled 2, arrive in step 3
        engine._add_poisson_input(step + 3, tables, words, counts, inputs[step])
    assert not inputs[:, 1].any()
    return np.rint(inputs[:, 0]).astype(np.int64)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("mean", [1e-6, 0.16, 1.7, 40.0])
def test_poisson_counts_have_the_right_law(mean: float, seed: int) -> None:
    """False-alarm rate 1e-4 for each of the three tests."""
    counts = poisson_counts(mean * 1e4, 3000, 700, seed)
    law = scipy.stats.poisson(mean)
    n = counts.size
    assert scipy.stats.poisson(n * mean).cdf(counts.sum()) == pytest.approx(0.5, abs=0.49995)
    edges = np.unique(law.ppf(np.linspace(0, 1, 21)[1:-1]))
    observed = np.bincount(np.searchsorted(edges, counts.ravel()), minlength=len(edges) + 1)
    expected = np.diff([0.0, *law.cdf(edges), 1.0]) * n
    assert expected.min() > 1 or mean < 1e-3
    if mean > 1e-3:
        assert scipy.stats.chisquare(observed, expected).pvalue > 1e-4
        # over neurons, of the sum over all steps: a wrong variance or dependent steps show here
        per_neuron = counts.sum(axis=0)
        dispersion = ((per_neuron - 700 * mean) ** 2 / (700 * mean)).sum()
        assert 5e-5 < scipy.stats.chi2(3000).cdf(dispersion) < 1 - 5e-5


@pytest.mark.parametrize("limit", [1, 2])
def test_a_limit_cuts_counts_off(limit: int) -> None:
    counts = poisson_counts(1.7e4, 2000, 300, 1)
    np.testing.assert_array_equal(
        poisson_counts(1.7e4, 2000, 300, 1, limit=limit), np.minimum(counts, limit)
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("mean", [0.16, 1.7])
def test_poisson_counts_are_independent(mean: float, seed: int) -> None:
    """Between neurons, near and far, and between steps. False-alarm rate 1e-4 for each pair."""
    counts = poisson_counts(mean * 1e4, 1000, 3000, seed) - mean
    for lag in (1, 2, 3, 7, 8, 9, 16, 500):
        for a, b in (
            (counts[:, lag:], counts[:, :-lag]),
            (counts[lag:], counts[:-lag]),
            (counts[lag:, lag:], counts[:-lag, :-lag]),
        ):
            z = (a * b).sum() / (mean * np.sqrt(a.size))
            assert abs(z) < scipy.stats.norm.isf(0.5e-4)


def test_a_steps_total_is_poisson_too() -> None:
    """Rounding probabilities alike for all neurons must not make them spike together.

    False-alarm rate 1e-4.
    """
    totals = poisson_counts(1600.0, 7700, 2000, 3).sum(axis=1)
    mean = 7700 * 0.16
    dispersion = ((totals - mean) ** 2 / mean).sum()
    assert 5e-5 < scipy.stats.chi2(2000).cdf(dispersion) < 1 - 5e-5


def test_poisson_counts_do_not_depend_on_the_division_into_blocks() -> None:
    whole = poisson_counts(20_000.0, 2500, 20, 4)
    for first in (1, 7, 8, 1237):
        assert np.array_equal(poisson_counts(20_000.0, 2500, 20, 4, first), whole[:, first:])


# --- Memory ---


@pytest.mark.parametrize(
    ("text", "weights", "bytes_per_synapse"),
    [
        ("moments-1", "auto", 2),
        ("moments-2", "auto", 2),
        ("naive-4", "auto", 2),
        ("naive-16", "auto", 2.5),
        ("naive-64", "auto", 3),
        ("float32", "auto", 6),
        ("double", "auto", 10),
        ("double", "int16", 4),
        ("double", "float32", 6),
    ],
)
def test_allocated_memory(text: str, weights: str, bytes_per_synapse: float) -> None:
    """Beside targets and weights: 8 bytes for a row, 2 for each of its delays and values."""
    weight = Distribution("normal", {"mu": 1e-4, "sigma": 1e-5})
    delay = Distribution("uniform_int", {"low": 1.0, "high": 11.0})
    cells = Population("a", 1500, "IF_curr_exp", CELL)
    projection = Projection("p", "a", "a", "excitatory", AllToAll(), weight, delay)
    simulation = emulator.BACKEND.simulation(
        number_format(text).on(Realization(Network((cells,), (projection,)), 1, 1.0)),
        emulator.EmulatorOptions(weights=weights),  # type: ignore[arg-type]
    )
    values = {"moments-2": 2, "naive-4": 4}.get(text, 1)
    rows = 1500 * (8 + 2 * (10 * values + 1))
    expected = 1500**2 * bytes_per_synapse + rows
    assert simulation.synapse_bytes == pytest.approx(expected, abs=300)


def test_a_network_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(available=2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(RequestError, match=r"need 0\.0 GiB of memory .* 0\.0 GiB free"):
        emulator.BACKEND.simulation(
            number_format("double").on(Realization(synchronous(1000), 1, 0.1)),
            emulator.EmulatorOptions(),
        )


def test_floating_point_weights_need_a_floating_point_state() -> None:
    with pytest.raises(RequestError, match=r"weights = 'float32' is not allowed .* 's16.15'"):
        simulate(Realization(synchronous(10), 1, 0.1), "s16.15", 10, weights="float32")


def test_interruption_ends_at_the_next_report() -> None:
    """Ctrl-C reaches Python between two slices of steps."""
    reported = []

    def interrupt(fraction: float) -> None:
        reported.append(fraction)
        raise KeyboardInterrupt

    simulation = emulator.BACKEND.simulation(
        number_format("double").on(Realization(synchronous(10), 1, 0.1)),
        emulator.EmulatorOptions(threads=2),
    )
    with pytest.raises(KeyboardInterrupt):
        simulation.run(10**9, interrupt)
    assert 0 < reported[0] < 0.5


def test_a_thread_that_fails_does_not_leave_the_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation = emulator.BACKEND.simulation(
        number_format("double").on(Realization(synchronous(10), 1, 0.1)),
        emulator.EmulatorOptions(threads=3),
    )
    compiled = engine.simulate

    def fail_in_one(thread: int, *arguments: Any) -> int:
        if thread == 1:
            raise MemoryError("no room")
        return compiled(thread, *arguments)

    monkeypatch.setattr(engine, "simulate", fail_in_one)
    with pytest.raises(MemoryError, match="no room"):
        simulation.run(100, lambda fraction: None)


def test_the_first_start_says_that_it_compiles(tmp_path: Path) -> None:
    program = """
from pathlib import Path
from pynn_portability.backends import emulator
from pynn_portability.model.network import Network, Population
from pynn_portability.formats.names import number_format
from pynn_portability.realize.realization import Realization
print(emulator.BACKEND.building())
network = Network((Population("a", 1, "SpikeSourceArray", {}, spike_times=([1.0],)),), ())
emulator.BACKEND.simulation(
    number_format("float32").on(Realization(network, 1, 0.1)), emulator.EmulatorOptions()
)
print(emulator.BACKEND.building())
"""
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said == ["compiling (once, about 20 s) and building", "building"]
