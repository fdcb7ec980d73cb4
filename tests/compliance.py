"""Networks for the backend compliance tests, and what must come out of them, without any simulator.

The convention that every backend has to reproduce is written out in `reference_spikes`: spikes, delays
and refractory times on a grid of steps, as in NEST.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from pynn_portability import backends
from pynn_portability.formats.names import number_format
from pynn_portability.model.cells import CELL_TYPES, Receptor
from pynn_portability.model.network import Network, Population, Projection
from pynn_portability.probe.probes import (  # noqa: F401 - tests find all that networks are made of here
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

STRONG = 100.0
"""A current (nA) that takes a resting cell beyond its threshold within one step of 0.05 ms or more."""


# --- Networks ---


def recurrent(cell_type: str, seed: int, size: int = 64) -> Network:
    """Excitatory and inhibitory cells under input from spike sources; everything is heterogeneous.

    Weights are multiples of a power of two, and in part several synapses connect the same pair.
    """
    rng = np.random.default_rng(seed)
    conductance_based = CELL_TYPES[cell_type].conductance_based
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


def reference_spikes(realization: Realization, n_steps: int) -> dict[str, Spikes]:
    """Spikes of every population by direct integration; the meaning of steps, delays and labels.

    Step k goes from time (k - 1) dt to k dt. In it, for each neuron that is not refractory, the
    membrane potential is integrated over the step with the synaptic variables that decay from their
    values at its beginning. Input that arrives at k is added to them afterwards, so it acts on the
    potential from the next step on. Then a potential at or above the threshold makes a spike labelled
    k: the potential is reset and held for tau_refrac / dt steps. A spike labelled k, of a neuron or of
    a spike source, arrives at k + delay.
    """
    network = realization.network
    neurons = {
        p.label: _Neurons(p, realization, n_steps) for p in network.populations if not p.is_source
    }
    wiring = [
        (p, Synapses.concatenate(list(realization.synapses(p.label)))) for p in network.projections
    ]
    emitted: dict[str, Spikes] = {p.label: [] for p in network.populations}
    planned = {
        p.label: realization.spike_steps(p.label)
        for p in network.populations
        if p.cell_type == "SpikeSourceArray"
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
        if population.cell_type.endswith("alpha"):
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
