"""Rules that every backend follows, as tests that anybody can run on a backend of their own.

With pytest, a module of four lines tests an installed backend::

    from pynn_portability.probe.compliance import BackendCompliance

    class TestMine(BackendCompliance):
        backend = "mine"

What is expected comes from closed-form solutions or from `reference_spikes`, which writes out the convention
that every backend has to reproduce: spikes, delays and refractory times on a grid of steps, as in NEST. It
never comes from another backend. Cell types that a backend does not declare are left out.

Tests on random input are decided at `TOLERANCE` standard errors: each of their 200 comparisons fails by
chance for one seed in 150,000, so all together for one in 700. The seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from numpy.typing import NDArray

from pynn_portability import backends
from pynn_portability.formats.names import number_format
from pynn_portability.formats.number_format import HeldRealization
from pynn_portability.model.cells import CELL_TYPES as CELLS
from pynn_portability.model.cells import RECEPTORS, Receptor
from pynn_portability.model.connectivity import FixedNumberPre, FixedTotalNumber
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, Population, Projection
from pynn_portability.probe.probes import (
    CURRENT_BASED,
    cells,
    connection,
    drive,
    sources,
    steps,
)
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

FloatArray = NDArray[np.float64]
Spikes = list[tuple[int, int]]

DOUBLE = number_format("double")

STRONG = 100.0
"""A current (nA) that takes a resting cell beyond its threshold within one step of 0.05 ms or more."""


# --- Networks ---


def recurrent(cell_type: str, seed: int, size: int = 64) -> Network:
    """Excitatory and inhibitory cells under input from spike sources; everything is heterogeneous.

    Weights are multiples of a power of two, and in part several synapses connect the same pair.
    """
    rng = np.random.default_rng(seed)
    conductance_based = CELLS[cell_type].conductance_based
    unit = {"excitatory": 2.0**-8, "inhibitory": -(2.0**-7)}
    if conductance_based:
        unit = {"excitatory": 2.0**-14, "inhibitory": 2.0**-12}
    sizes = {"input": 16, "E": size, "I": size // 4}

    def synapses(source: str, target: str, receptor: Receptor, in_degree: int) -> Projection:
        n = in_degree * sizes[target]
        pairs = zip(
            rng.integers(0, sizes[source], n).tolist(),
            rng.integers(0, sizes[target], n).tolist(),
            strict=True,
        )
        weight = unit[receptor] * rng.integers(1, 128, n)
        delay = rng.integers(1, 40, n) * 0.1
        label = f"{source}->{target}"
        return connection(label, (source, target), list(pairs), weight, delay, receptor)

    trains = [np.sort(rng.choice(1500, 40, replace=False)) * 0.1 + 0.1 for _ in range(16)]
    excitatory = cells(
        "E",
        size,
        cell_type,
        v=np.round(rng.uniform(-70, -55, size), 3),
        tau_refrac=rng.integers(5, 40, size) * 0.1,
        tau_m=np.round(rng.uniform(8, 20, size), 2),
        i_offset=np.round(rng.uniform(0.1, 0.3, size), 3),
        tau_syn_E=0.7,
        tau_syn_I=2.0,
    )
    inhibitory = cells(
        "I", size // 4, cell_type, tau_refrac=1.0, i_offset=0.2, tau_syn_E=0.7, tau_syn_I=2.0
    )
    return Network(
        (sources("input", trains), excitatory, inhibitory),
        (
            synapses("input", "E", "excitatory", 4),
            synapses("input", "I", "excitatory", 4),
            synapses("E", "E", "excitatory", 8),
            synapses("E", "I", "excitatory", 8),
            synapses("I", "E", "inhibitory", 8),
            synapses("I", "I", "inhibitory", 8),
        ),
    )


# --- Simulating with a backend ---


class Simulator:
    """A backend with options, and shorthands for tests."""

    def __init__(self, name: str, **options: Any) -> None:
        self.backend = backends.load(name)
        self.options = backends.checked_options(name, options, "")

    def build(
        self, network: Network, seed: int = 1, text: str = "double", timestep: float = 0.1
    ) -> backends.Simulation:
        held = number_format(text).on(Realization(network, seed, timestep))
        return backends.build(self.backend, held, self.options)

    def run(
        self,
        network: Network,
        n_steps: int,
        seed: int = 1,
        text: str = "double",
        timestep: float = 0.1,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> SpikeData:
        return self.build(network, seed, text, timestep).run(n_steps, progress)


def pairs(spikes: PopulationSpikes) -> Spikes:
    """Spikes as (step, neuron), in order."""
    return list(zip(spikes.steps.tolist(), spikes.neurons.tolist(), strict=True))


# --- What must come out ---


def steps_to_threshold(
    current: float, v: float = -65.0, timestep: float = 0.1, p: Mapping[str, float] = CURRENT_BASED
) -> int:
    """Steps that a constant current (nA) takes from ``v`` to the threshold: closed-form solution."""
    final = p["v_rest"] + current * p["tau_m"] / p["cm"]
    exact = p["tau_m"] / timestep * math.log((final - v) / (final - p["v_thresh"]))
    # a test whose answer hangs on rounding would prove nothing
    assert abs(exact - round(exact)) > 1e-6
    return math.ceil(exact)


def reference_spikes(held: HeldRealization, n_steps: int) -> dict[str, Spikes]:
    """Spikes of every population by direct integration; the meaning of steps, delays and labels.

    Step k goes from time (k - 1) dt to k dt. In it, for each neuron that is not refractory, the
    membrane potential is integrated over the step with the synaptic variables that decay from their
    values at its beginning. Input that arrives at k is added to them afterwards, so it acts on the
    potential from the next step on. Then a potential at or above the threshold makes a spike labelled
    k: the potential is reset and held for tau_refrac / dt steps. A spike labelled k, of a neuron or of
    a spike source, arrives at k + delay.
    """
    network, realization = held.network, held.realization
    neurons = {
        p.label: _Neurons(p, realization, n_steps) for p in network.populations if not p.is_source
    }
    wiring = [(p, Synapses.concatenate(list(held.synapses(p.label)))) for p in network.projections]
    emitted: dict[str, Spikes] = {p.label: [] for p in network.populations}
    planned = {
        p.label: realization.spike_steps(p.label)
        for p in network.populations
        if p.cell.source == "given"
    }
    for k in range(1, n_steps + 1):
        spiking = {label: cells_[steps_ == k] for label, (cells_, steps_) in planned.items()}
        spiking |= {label: group.step(k) for label, group in neurons.items()}
        for label, indices in spiking.items():
            emitted[label] += [(k, int(i)) for i in np.sort(indices)]
        for projection, synapses in wiring:
            sent = np.isin(synapses.source, spiking[projection.source])
            arrivals = neurons[projection.target].arrivals[projection.receptor]
            when = np.minimum(k + synapses.delay[sent], n_steps + 1)
            np.add.at(arrivals, (when, synapses.target[sent]), synapses.weight[sent])
    return emitted


class _Neurons:
    """State of one population: column 0 is v, the others are synaptic variables."""

    def __init__(self, population: Population, realization: Realization, n_steps: int) -> None:
        self.p = realization.parameters(population.label)
        self.dt = realization.timestep
        self.receives = {"excitatory": 1, "inhibitory": 2}
        n_variables = 3
        if population.cell.synaptic_kernel == "alpha":
            self.receives = {"excitatory": 3, "inhibitory": 4}
            n_variables = 5
        self.state = np.zeros((population.size, n_variables))
        self.state[:, 0] = realization.initial_values(population.label)["v"]
        self.arrivals = {r: np.zeros((n_steps + 2, population.size)) for r in self.receives}
        self.held_until = np.zeros(population.size, np.int64)
        self.refractory_steps = np.rint(self.p["tau_refrac"] / self.dt).astype(np.int64)
        self.conductance_based = population.cell.conductance_based
        if not self.conductance_based:
            # cells that differ in nothing but their threshold have one propagator
            systems, of_cell = np.unique(self._linear_system(), axis=0, return_inverse=True)
            self.propagator = scipy.linalg.expm(systems * self.dt)[of_cell.ravel()]

    def step(self, k: int) -> NDArray[np.int64]:
        free = k > self.held_until
        held_v = self.state[~free, 0]
        if self.conductance_based:
            self.state = _runge_kutta(self._derivative, self.state, self.dt)
        else:
            padded = np.hstack([self.state, np.ones((len(self.state), 1))])
            self.state = np.einsum("nij,nj->ni", self.propagator, padded)[:, :-1]
        self.state[~free, 0] = held_v
        for receptor, column in self.receives.items():
            self.state[:, column] += self.arrivals[receptor][k]
        spiking = np.flatnonzero(free & (self.state[:, 0] >= self.p["v_thresh"]))
        self.state[spiking, 0] = self.p["v_reset"][spiking]
        self.held_until[spiking] = k + self.refractory_steps[spiking]
        return spiking

    def _linear_system(self) -> FloatArray:
        """Derivative of (v, synaptic variables, 1) as a matrix for each cell."""
        p, (size, n) = self.p, self.state.shape
        a = np.zeros((size, n + 1, n + 1))
        a[:, 0, 0] = -1 / p["tau_m"]
        a[:, 0, n] = p["v_rest"] / p["tau_m"] + p["i_offset"] / p["cm"]
        for column, tau in ((1, p["tau_syn_E"]), (2, p["tau_syn_I"])):
            a[:, 0, column] = 1 / p["cm"]
            a[:, column, column] = -1 / tau
            if n > 3:
                # alpha function: peak of the current equals the weight
                a[:, column, column + 2] = math.e / tau
                a[:, column + 2, column + 2] = -1 / tau
        return a

    def _derivative(self, state: FloatArray) -> FloatArray:
        p, v = self.p, state[:, 0]
        d = np.empty_like(state)
        current = (
            p["i_offset"] + state[:, 1] * (p["e_rev_E"] - v) + state[:, 2] * (p["e_rev_I"] - v)
        )
        d[:, 0] = (p["v_rest"] - v) / p["tau_m"] + current / p["cm"]
        # while a potential is held, its conductances go on; they do not depend on it
        for column, tau in ((1, p["tau_syn_E"]), (2, p["tau_syn_I"])):
            d[:, column] = -state[:, column] / tau
            if state.shape[1] > 3:
                d[:, column] += math.e * state[:, column + 2] / tau
                d[:, column + 2] = -state[:, column + 2] / tau
        return d


def _runge_kutta(
    derivative: Callable[[FloatArray], FloatArray], state: FloatArray, dt: float, parts: int = 4
) -> FloatArray:
    """Fourth-order Runge-Kutta over ``dt``, in substeps much finer than a backend's."""
    h = dt / parts
    for _ in range(parts):
        k1 = derivative(state)
        k2 = derivative(state + h / 2 * k1)
        k3 = derivative(state + h / 2 * k2)
        k4 = derivative(state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


# --- Poisson input ---


def counters(label: str, thresholds: NDArray[np.int64]) -> Population:
    """Cells that spike if and only if they have received at least ``thresholds`` input spikes.

    They are integrators: time constants of 10**7 ms lose nothing, each input spike of weight
    `COUNTED` adds 1 mV, and the threshold lies half-way between two counts.
    """
    return cells(
        label,
        len(thresholds),
        tau_m=1e7,
        tau_refrac=1e4,
        v_thresh=-65.0 + thresholds - 0.5,
    )


COUNTED = CURRENT_BASED["cm"] / CURRENT_BASED["tau_syn_E"]
"""Weight (nA) whose charge takes a leakless cell up by 1 mV."""


TOLERANCE = 4.5

CELL_TYPES = ("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha")

RELIABLE = 1e6
"""A rate (Hz) that is never silent: a step of 0.1 ms has no spike with probability exp(-100)."""

RELAYED = 1e3
"""Weight (nA) of which one spike lets a relay spike; what is left one step later does not."""


def represents(simulator: Simulator, cell_type: str) -> bool:
    network = Network((cells("a", 1, cell_type),), ())
    return backends.refusals(simulator.backend, network, number_format("double"), 0.1) == []


def or_else(simulator: Simulator, cell_type: str) -> str:
    """``cell_type``, or the one that every backend has."""
    return cell_type if represents(simulator, cell_type) else "IF_curr_exp"


def assert_as_reference(simulator: Simulator, network: Network, n_steps: int) -> dict[str, int]:
    """Run and compare with direct integration; numbers of spikes by population."""
    spikes = simulator.run(network, n_steps).populations
    expected = reference_spikes(DOUBLE.on(Realization(network, 1, 0.1)), n_steps)
    for population in network.recorded:
        assert pairs(spikes[population.label]) == expected[population.label]
        assert spikes[population.label].size == population.size
    assert set(spikes) == {p.label for p in network.recorded}
    return {label: len(s.steps) for label, s in spikes.items()}


def _fraction_reached(
    simulator: Simulator, network: Network, n_steps: int, repeats: int
) -> np.ndarray:
    spikes = simulator.run(network, n_steps).populations["a"]
    assert len(np.unique(spikes.neurons)) == len(spikes.neurons)
    fired = np.isin(np.arange(spikes.size), spikes.neurons)
    return fired.reshape(-1, repeats).mean(axis=1)


def _relays(label: str, size: int) -> Population:
    """Cells that spike at once and forget at once, every other step while they have input."""
    return cells(label, size, tau_refrac=0.1, tau_syn_E=0.01)


def noisy_network() -> Network:
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


def assert_connections(simulator: Simulator, text: str, weight_error: float = 0.0) -> None:
    """``weight_error`` is absolute (nA) and comes on top of rounding by the state arithmetic."""
    normal = Distribution("normal", {"mu": 0.0878, "sigma": 0.00878})
    inhibitory = Distribution("normal", {"mu": -0.3512, "sigma": 0.03512})
    delay = Distribution("normal_clipped", {"mu": 1.5, "sigma": 0.75, "low": 0.1, "high": math.inf})
    network = Network(
        (
            sources("input", [[1.0], [2.0], [3.0]]),
            cells("E", 60),
            cells("I", 20),
            cells("G", 15, or_else(simulator, "IF_cond_exp")),
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
    timestep = number.timestep or 0.1
    if backends.refusals(simulator.backend, network, number, timestep):
        pytest.skip(f"this backend does not represent {text}")
    simulation = simulator.build(network, seed=3, text=text, timestep=timestep)
    held = number.on(Realization(network, 3, timestep))
    for projection in network.projections:
        expected = Synapses.concatenate(list(held.synapses(projection.label))).sorted()
        found = simulation.connections(projection.label)
        np.testing.assert_array_equal(found.source, expected.source)
        np.testing.assert_array_equal(found.target, expected.target)
        np.testing.assert_array_equal(found.delay, expected.delay)
        # unit conversion rounds, to the precision in which weights are held
        rtol = 1.2e-7 if number.state.kind == "float32" else 1e-15
        np.testing.assert_allclose(found.weight, expected.weight, rtol=rtol, atol=weight_error)
        assert found.weight.dtype == np.float64


# --- Rules ---


class OptionsCompliance:
    """Rules that an option of a backend might break; a part of `BackendCompliance`.

    ``backend`` is the name under which it is installed, ``options`` those of ``[backends.<name>]`` that are
    not the default.
    """

    backend: str
    options: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @pytest.fixture
    def simulator(self) -> Simulator:
        """The backend under test; tests are skipped where it is not available."""
        reason = backends.load(self.backend).available()
        if reason is not None:
            pytest.skip(reason)
        return Simulator(self.backend, **self.options)

    def test_refractory_time(self, simulator: Simulator) -> None:
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
        spikes = simulator.run(network, 1000).populations
        rise = steps_to_threshold(0.5)
        for j, held in enumerate([1, 2, 5, 10, 20, 20, 50]):
            assert steps(spikes["a"], j) == list(range(rise, 1001, rise + held))
        assert steps(spikes["b"], 1) == list(range(rise, 1001, rise + 30))

    def test_threshold_is_reached_by_equality(self, simulator: Simulator) -> None:
        """A potential that equals the threshold spikes; one that stays below it does not."""
        below = np.nextafter(-50.0, -51.0)
        network = Network(
            (
                cells("at", 2, v=-50.0, v_rest=-50.0),
                cells("below", 2, v=below, v_rest=below - 1e-9),
            ),
            (),
        )
        spikes = simulator.run(network, 20).populations
        assert pairs(spikes["at"]) == [(1, 0), (1, 1)]
        assert pairs(spikes["below"]) == []

    def test_many_spikes_on_their_way(self, simulator: Simulator) -> None:
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
        counts = assert_as_reference(simulator, network, 500)
        assert counts == {"input": 20 * n, "a": counts["a"]}
        assert counts["a"] > 20

    @pytest.mark.parametrize("rate", [1_600.0, 16_000.0, 200_000.0])
    def test_poisson_count_of_one_step(self, simulator: Simulator, rate: float) -> None:
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
        reached = _fraction_reached(simulator, network, 120, repeats)
        expected = law.sf(thresholds - 1)
        error = np.sqrt(expected * (1 - expected) / repeats)
        assert np.all(np.abs(reached - expected) < TOLERANCE * error + 3 / repeats)

    def test_poisson_mean_and_variance_at_16_khz(self, simulator: Simulator) -> None:
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
        reached = _fraction_reached(simulator, network, 250, repeats)
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

    def test_poisson_rates_of_their_own(self, simulator: Simulator) -> None:
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
        spikes = simulator.run(network, 350).populations
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

    def test_poisson_start_duration_and_delay(self, simulator: Simulator) -> None:
        """A drive has labels from start + 2 steps, for as many steps as its duration, plus a delay."""
        delays = np.array([1, 2, 7, 30])
        windows = {"from the first step": (0, 10), "even": (30, 10), "odd": (30, 11)}
        network = Network(
            tuple(_relays(label, len(delays)) for label in windows),
            (),
            tuple(
                drive(
                    f"to {label}", label, RELIABLE, RELAYED, delays * 0.1, begin * 0.1, length * 0.1
                )
                for label, (begin, length) in windows.items()
            ),
        )
        spikes = simulator.run(network, 120).populations
        for label, (begin, length) in windows.items():
            for j, delay in enumerate(delays):
                # arrival at label + delay, spike one step later, then one step refractory
                first = begin + 2 + int(delay) + 1
                assert steps(spikes[label], j) == list(range(first, first + length, 2))

    def test_poisson_drives_add_up(self, simulator: Simulator) -> None:
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
        spikes = simulator.run(network, 200).populations
        assert steps(spikes["a"], 1) == [14, 16, 18, 44, 46]
        assert min(steps(spikes["b"], 1)) > 100

    def test_seeds(self, simulator: Simulator) -> None:
        """The same seed gives the same spikes, another seed others; a longer run begins the same."""
        network = noisy_network()
        first = simulator.run(network, 700, seed=1).populations
        again = simulator.run(network, 700, seed=1).populations
        other = simulator.run(network, 700, seed=2).populations
        longer = simulator.run(network, 1300, seed=1).populations
        for label in ("E", "I"):
            assert len(first[label].steps) > 10
            assert pairs(first[label]) == pairs(again[label])
            assert pairs(first[label]) != pairs(other[label])
            assert pairs(first[label]) == [(k, i) for k, i in pairs(longer[label]) if k <= 700]

    def test_seeds_are_independent_for_the_input_alone(self, simulator: Simulator) -> None:
        """With everything else fixed, neighbouring seeds give Poisson input without a correlation."""
        network = Network((_relays("a", 400),), (), (drive("d", "a", 2_000.0, RELAYED),))
        trains = []
        for seed in (1, 2):
            spikes = simulator.run(network, 200, seed=seed).populations["a"]
            counts = np.zeros((400, 20))
            np.add.at(counts, (spikes.neurons, (spikes.steps - 1) // 10), 1)
            trains.append(counts[:, 1:].ravel())
        correlation = np.corrcoef(trains[0], trains[1])[0, 1]
        assert abs(correlation) < TOLERANCE / math.sqrt(len(trains[0]))

    def test_single_precision_state(self, simulator: Simulator) -> None:
        """In float32 a potential 1e-7 mV below the threshold is at the threshold, unlike in double.

        This holds for the potential itself and for its distance from rest, 15 mV away. Without a leak
        it stays where it is.
        """
        network = Network((cells("a", 2, v=-50.0 - 1e-7, tau_m=1e9),), ())
        if backends.refusals(simulator.backend, network, number_format("float32"), 0.1):
            pytest.skip("this backend has no single-precision state")
        assert pairs(simulator.run(network, 20, text="float32").populations["a"])[0] == (1, 0)
        # in this order, because the format must not stick
        assert pairs(simulator.run(network, 20).populations["a"]) == []

    def test_single_precision_hardly_changes_a_network(self, simulator: Simulator) -> None:
        """Most spikes of a recurrent network stay in their steps with a state in float32."""
        network = recurrent("IF_curr_exp", seed=6)
        if backends.refusals(simulator.backend, network, number_format("float32"), 0.1):
            pytest.skip("this backend has no single-precision state")
        spikes = simulator.run(network, 600, text="float32").populations["E"]
        expected = reference_spikes(DOUBLE.on(Realization(network, 1, 0.1)), 600)["E"]
        assert len(set(pairs(spikes)) & set(expected)) > 0.9 * len(expected)


class BackendCompliance(OptionsCompliance):
    """All rules."""

    @pytest.mark.parametrize("timestep", [0.1, 0.05, 0.25])
    def test_source_label_to_effect(self, simulator: Simulator, timestep: float) -> None:
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

    def test_delay_between_neurons(self, simulator: Simulator) -> None:
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

    def test_last_step_is_included(self, simulator: Simulator) -> None:
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

    def test_response_to_a_constant_current(self, simulator: Simulator) -> None:
        """The first spike comes in the step in which the closed-form solution reaches the threshold."""
        currents = np.array([0.376, 0.4, 0.5, 0.77, 1.3, 5.0, 40.0])
        network = Network((cells("a", len(currents), i_offset=currents),), ())
        spikes = simulator.run(network, 1000).populations["a"]
        for j, current in enumerate(currents):
            assert steps(spikes, j)[0] == steps_to_threshold(current)

    def test_subthreshold_current_makes_no_spike(self, simulator: Simulator) -> None:
        """0.375 nA lead to the threshold exactly, but not in finite time."""
        network = Network((cells("a", 2, i_offset=np.array([0.3, 0.3749])),), ())
        assert pairs(simulator.run(network, 2000).populations["a"]) == []

    def test_initial_potential(self, simulator: Simulator) -> None:
        """Neurons start from their own initial values, in the order of the population."""
        v = np.array([-80.0, -65.0, -58.3, -50.7, -50.1])
        network = Network((cells("a", len(v), v=v, i_offset=0.5),), ())
        spikes = simulator.run(network, 300).populations["a"]
        for j, start in enumerate(v):
            assert steps(spikes, j)[0] == steps_to_threshold(0.5, v=start)

    def test_sign_of_inhibition(self, simulator: Simulator) -> None:
        """An inhibitory spike delays the next spike, an excitatory one advances it."""
        populations = [sources("input", [[5.0]])]
        projections = []
        cell_types = [c for c in CELL_TYPES if represents(simulator, c)]
        assert "IF_curr_exp" in cell_types
        for cell_type in cell_types:
            for receptor in RECEPTORS:
                label = f"{cell_type} {receptor}"
                conductance_based = CELLS[cell_type].conductance_based
                weight = 0.01 if conductance_based else 0.2
                if receptor == "inhibitory" and not conductance_based:
                    weight = -weight
                populations.append(cells(label, 1, cell_type, i_offset=0.5))
                projections.append(
                    connection(label, ("input", label), [(0, 0)], weight, 0.1, receptor)
                )
        spikes = simulator.run(Network(tuple(populations), tuple(projections)), 250).populations
        for cell_type in cell_types:
            assert steps(spikes[f"{cell_type} excitatory"])[0] < steps_to_threshold(0.5)
            assert steps(spikes[f"{cell_type} inhibitory"])[0] > steps_to_threshold(0.5)

    def test_multapses_keep_their_own_weights_and_delays(self, simulator: Simulator) -> None:
        """Of several synapses between one pair, each acts with its own weight at its own delay."""
        weak = STRONG / 1000
        network = Network(
            (sources("input", [[1.0], [1.0]]), cells("targets", 3)),
            (
                connection(
                    "p",
                    ("input", "targets"),
                    [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 2), (0, 2), (0, 2)],
                    np.array(
                        [STRONG, weak, STRONG, weak, STRONG, STRONG / 3, STRONG / 3, STRONG / 3]
                    ),
                    np.array([0.5, 3.0, 9.0, 2.0, 6.0, 4.0, 4.0, 4.0]),
                ),
            ),
        )
        spikes = simulator.run(network, 200).populations["targets"]
        assert [steps(spikes, j) for j in range(3)] == [[10 + 5 + 1, 10 + 90 + 1], [71], [51]]

    def test_autapses(self, simulator: Simulator) -> None:
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
    def test_time_constants_belong_to_their_receptor(
        self, simulator: Simulator, cell_type: str
    ) -> None:
        """Excitatory input decays with tau_syn_E, inhibitory with tau_syn_I; tau_m may equal one."""
        if not represents(simulator, cell_type):
            pytest.skip(f"this backend does not represent {cell_type}")
        weights = {"excitatory": 0.3, "inhibitory": -0.3}
        if CELLS[cell_type].conductance_based:
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
                connection(
                    receptor, ("input", receptor), one_to_all, weights[receptor], 0.7, receptor
                )
            )
        assert_as_reference(simulator, Network(tuple(populations), tuple(projections)), 500)

    @pytest.mark.parametrize("cell_type", CELL_TYPES)
    def test_recurrent_network_spikes_in_the_same_steps(
        self, simulator: Simulator, cell_type: str
    ) -> None:
        """A deterministic recurrent network has the spikes of the direct integration, every one."""
        if not represents(simulator, cell_type):
            pytest.skip(f"this backend does not represent {cell_type}")
        counts = assert_as_reference(simulator, recurrent(cell_type, seed=5), 800)
        assert min(counts.values()) > 20

    def test_cell_types_in_one_network(self, simulator: Simulator) -> None:
        """Cells of all types, interleaved, drive each other; only recorded populations are returned."""
        order = ["IF_cond_exp", "IF_curr_exp", "IF_curr_alpha", "IF_curr_exp", "IF_cond_alpha"]
        order = [or_else(simulator, cell_type) for cell_type in order]
        populations = [
            cells(f"p{j}", j + 2, cell_type, i_offset=0.5 if j == 0 else 0.2, recorded=j != 1)
            for j, cell_type in enumerate(order)
        ]
        projections = [
            connection(
                f"{j}->{j + 1}",
                (f"p{j}", f"p{j + 1}"),
                [(i, i + 1) for i in range(j + 2)],
                0.3 if CELLS[target].conductance_based else 20.0,
                0.4 * (j + 1),
            )
            for j, target in enumerate(order[1:])
        ]
        counts = assert_as_reference(
            simulator, Network(tuple(populations), tuple(projections)), 400
        )
        assert set(counts) == {"p0", "p2", "p3", "p4"}
        assert min(counts.values()) > 0

    def test_poisson_source_population(self, simulator: Simulator) -> None:
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
                    "p",
                    ("source", "targets"),
                    [(j // 2, j) for j in range(2 * size)],
                    RELAYED,
                    delays,
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

    def test_progress(self, simulator: Simulator) -> None:
        """Progress is told in fractions from 0 to 1, which grow."""
        told: list[float] = []
        simulator.run(noisy_network(), 1500, progress=told.append)
        assert told == sorted(told)
        assert told[0] >= 0.0
        assert told[-1] == pytest.approx(1.0)

    @pytest.mark.parametrize(
        "text", ["double", "float32", "moments-2", "naive-5", "moments-2/float32", "s16.15"]
    )
    def test_connections_are_those_realized(self, simulator: Simulator, text: str) -> None:
        """What the simulator reports is what was realized and discretised, synapse by synapse."""
        assert_connections(simulator, text)

    def test_connections_of_a_projection_that_is_empty_by_chance(
        self, simulator: Simulator
    ) -> None:
        """A receptor without any synapse is no obstacle."""
        network = Network(
            (cells("a", 3, i_offset=0.5),),
            (Projection("none", "a", "a", "excitatory", FixedTotalNumber(0), 1.0, 1.0),),
        )
        simulation = simulator.build(network)
        assert len(simulation.connections("none")) == 0
        assert len(simulation.run(200, lambda fraction: None).populations["a"].steps) == 3
