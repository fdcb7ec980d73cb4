"""The emulator's SpiNNaker arithmetic: equal to the machine code of sPyNNaker's cores, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray
from spinnaker_core import (
    COMBINED_CORE,
    NEURON_CORE,
    POISSON_CORE,
    SYNAPSE_CORE,
    Binary,
    Core,
)

from pynn_portability import backends
from pynn_portability.backends import emulator
from pynn_portability.backends.emulator import EmulatorSimulation, engine
from pynn_portability.backends.emulator.drive import drive_tables
from pynn_portability.backends.emulator.spinnaker import Cores
from pynn_portability.backends.emulator.synapses import Block, Part
from pynn_portability.errors import RequestError
from pynn_portability.formats import machines, ring_buffers, spinnaker
from pynn_portability.formats.names import number_format
from pynn_portability.formats.number_format import NumberFormat
from pynn_portability.formats.ring_buffers import Key, RingBuffer
from pynn_portability.formats.spinnaker import CONSTANTS, encode
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import FromList, OneToOne
from pynn_portability.model.network import Network, PoissonDrive, Population, Projection, Value
from pynn_portability.realize.realization import Realization
from pynn_portability.spikes.data import SpikeData

RECEPTORS: tuple[Receptor, Receptor] = ("excitatory", "inhibitory")

CELL = {
    "cm": 0.25,
    "tau_m": 10.0,
    "tau_syn_E": 0.5,
    "tau_syn_I": 0.5,
    "tau_refrac": 2.0,
    "v_rest": -65.0,
    "v_reset": -65.0,
    "v_thresh": -50.0,
    "i_offset": 0.0,
}


def full(substeps: int = 1) -> NumberFormat:
    return number_format("spinnaker-full" if substeps == 1 else f"spinnaker-full-{substeps}")


def realize(network: Network, timestep: float, seed: int = 1) -> Realization:
    return full().on(Realization(network, seed, timestep)).realization


def simulation(
    network: Network, timestep: float, substeps: int = 1, threads: int = 1
) -> EmulatorSimulation:
    built = backends.build(
        emulator.BACKEND,
        full(substeps).on(realize(network, timestep)),
        emulator.EmulatorOptions(threads=threads),
    )
    assert isinstance(built, EmulatorSimulation)
    return built


def set_shifts(monkeypatch: pytest.MonkeyPatch, shifts: Sequence[int]) -> None:
    """Give all ring buffers these shifts, excitatory and inhibitory."""

    def given(realization: Realization) -> dict[Key, RingBuffer]:
        return {
            (label, receptor): replace(buffer, shift=shifts[RECEPTORS.index(receptor)])
            for (label, receptor), buffer in original(realization).items()
        }

    original = ring_buffers.ring_buffers
    monkeypatch.setattr(ring_buffers, "ring_buffers", given)
    monkeypatch.setattr(machines, "ring_buffers", given)


def simulate(network: Network, n_steps: int, timestep: float = 0.1, **options: int) -> SpikeData:
    return simulation(network, timestep, **options).run(n_steps, lambda fraction: None)


def spike_pairs(spikes: SpikeData, population: str = "a") -> list[tuple[int, int]]:
    found = spikes.populations[population]
    return list(zip(found.steps.tolist(), found.neurons.tolist(), strict=True))


# --- Constants ---


@pytest.mark.parametrize(
    ("timestep", "tau", "decay", "synaptic_decay", "init"),
    [
        (0.1, 0.5, 26827, 3516383004, 3892683849),
        (0.1, 2.0, 31170, 4085544196, 4188206336),
        (0.1, 5.0, 32119, 4209972212, 4249494765),
        (0.1, 10.0, 32442, 4252324052, 4264064026),
        (0.1, 20.0, 32605, 4273656398, 4261919257),
        (1.0, 0.5, 4434, 581260615, 1856853340),
        (1.0, 2.0, 19874, 2605026136, 3379882318),
        (1.0, 5.0, 26828, 3516490311, 3892384920),
        (1.0, 10.0, 29650, 3886339153, 4086281420),
        (1.0, 20.0, 31170, 4085544196, 4188461980),
    ],
)
def test_constants(timestep, tau, decay, synaptic_decay, init) -> None:
    """As read from a core's memory for some of these time constants."""
    parameters = CELL | {"tau_m": tau, "tau_syn_E": tau}
    rows, refractory = constants(parameters, timestep)
    assert rows["decay"] == decay
    assert rows["decay_e"] == synaptic_decay
    assert rows["init_e"] == init
    assert rows["resistance"] == tau / 0.25 * 2**15
    assert refractory == round(2.0 / timestep)


def constants(parameters: Mapping[str, float], timestep: float, substeps: int = 1):
    arrays = {name: np.array([value]) for name, value in parameters.items()}
    rows, refractory = spinnaker.constants(arrays, timestep, substeps, (0, 0), "a")
    return dict(zip(CONSTANTS, unsigned(rows)[:, 0].tolist(), strict=True)), int(refractory[0])


def unsigned(rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """With the u0.32 numbers among the constants as they are meant."""
    table = rows.astype(np.int64)
    for name in ("decay_e", "init_e", "decay_i", "init_i"):
        table[CONSTANTS.index(name)] %= 2**32
    return table


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0.1, 3277),
        (-65.0, -2129920),
        (1.5 / 2**15, 2),
        (2.5 / 2**15, 2),
        (-2.5 / 2**15, -2),
        (65535.99997, 2**31 - 1),
        (-65536.0, -(2**31)),
        # as a binary number a tie that goes to ...416, but what is written lies below
        (1000.6535491943359, 32789415),
    ],
)
def test_host_rounding(value: float, encoded: int) -> None:
    assert encode(np.array([value]), "x")[0] == encoded


def test_exponentials_are_those_of_numbers_until_they_are_cut_off() -> None:
    """Within 2^-19 of the number, and 0 below the smallest exponent, where 2^17 of 2^32 are left."""
    smallest = -340_695
    for x in (*range(smallest, 0, 997), -1, 0):
        assert spinnaker.exponential(x) / 2**32 == pytest.approx(np.exp(x / 2**15), abs=2**-19)
    assert spinnaker.exponential(smallest) >> 17 == 1
    assert spinnaker.exponential(smallest - 1) == 0


def test_stored_weights_have_16_bits() -> None:
    """What a host writes is the lower half of a word, so that 2 nA at a shift of 0 is nothing."""
    cores = Cores(1, {("a", "excitatory"): 0, ("a", "inhibitory"): 1})
    given = np.array([0.25, 1.99, 2.0, 2.5])
    assert cores.weights(given, "a", "excitatory").tolist() == [8192, 65208, 0, 16384]
    assert cores.weights(-given, "a", "inhibitory").tolist() == [4096, 32604, 32768, 40960]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau_m": 4000.0}, r"'a': tau_m \(ms\) = 4000 .* 3\.0.*e-05 to 3277 ms at this time step"),
        ({"tau_syn_I": 1e-9}, r"tau_syn_I \(ms\) = 0 is not allowed"),
        ({"cm": 1e-4}, r"cm \(nF\) = .* tau_m / cm up to 65536 MOhm"),
        ({"v_rest": -7e4}, r"v_rest \(mV\) = -70000 .* from -65536 to 65535\.99997"),
        ({"v_reset": -40.0}, r"v_reset \(mV\) = -40 .* below v_thresh"),
        ({"v_reset": -50.0, "v_thresh": -50.0}, r"v_reset \(mV\) = -50 .* below v_thresh"),
        ({"tau_refrac": 6600.0}, r"tau_refrac \(ms\) = 6600 .* up to 65535 \(sub-\)steps"),
        ({"i_offset": float("nan")}, r"i_offset \(nA\) = nan is not allowed"),
    ],
)
def test_parameters_that_the_machine_fails_on(change: Mapping[str, float], message: str) -> None:
    network = Network((Population("a", 2, "IF_curr_exp", CELL | change),), ())
    with pytest.raises(RequestError, match=message):
        simulation(network, 0.1)
    (problem,) = emulator.BACKEND.check(network, full(), 0.1)
    assert "\n" not in problem


# --- Neurons ---


@dataclass
class Neurons:
    """Random neurons, and the engine that simulates them when given the input of each step."""

    parameters: dict[str, NDArray[Any]]
    initial: dict[str, NDArray[Any]]
    timestep: float
    substeps: int
    shifts: tuple[int, int]

    @classmethod
    def random(cls, seed: int, n: int, timestep: float, substeps: int, own: bool) -> Neurons:
        rng = np.random.default_rng(seed)
        bounds = {
            "tau_m": (timestep, 40.0),
            "cm": (0.05, 1.0),
            "tau_syn_E": (timestep / 4, 20.0),
            "tau_syn_I": (timestep / 4, 20.0),
            "i_offset": (0.0, 1.5),
            "v_rest": (-70.0, -60.0),
            "v_reset": (-85.0, -60.0),
            "v_thresh": (-55.0, -40.0),
        }
        parameters = {name: rng.uniform(*b, n if own else 1) for name, b in bounds.items()}
        parameters["tau_refrac"] = rng.integers(1, 20, n if own else 1) * timestep
        initial = {
            "v": rng.uniform(-80.0, -45.0, n),
            "isyn_exc": rng.uniform(0.0, 1.0, n),
            "isyn_inh": rng.uniform(0.0, 1.0, n),
        }
        shifts = int(rng.integers(3, 7)), int(rng.integers(0, 4))
        return cls(
            {k: np.broadcast_to(v, n) for k, v in parameters.items()},
            initial,
            timestep,
            substeps,
            shifts,
        )

    @property
    def size(self) -> int:
        return len(self.initial["v"])

    def drawn(self) -> dict[str, NDArray[np.float64]]:
        """Parameters as backends get them: refractory times are on the grid."""
        cells = Population("a", self.size, "IF_curr_exp", self.parameters)
        return realize(Network((cells,), ()), self.timestep).parameters("a")

    def engine(self, monkeypatch: pytest.MonkeyPatch) -> Engine:
        set_shifts(monkeypatch, self.shifts)
        cells = Population("a", self.size, "IF_curr_exp", self.parameters, self.initial, True)
        return Engine(Network((cells,), ()), self.timestep, self.substeps)

    def core(self, binary: Binary) -> Core:
        """A core loaded with these neurons, all of whose numbers the host rounds."""
        core = Core(binary)
        held = {name: encode(x, name) for name, x in (self.drawn() | self.initial).items()}
        zero, dt = np.zeros(self.size, np.int64), encode(np.full(self.size, self.timestep), "dt")
        names = ("v", "v_rest", "cm", "tau_m", "i_offset", "v_reset", "tau_refrac")
        neurons = np.stack([*(held[name] for name in names), zero, dt], axis=1)
        names = ("tau_syn_E", "isyn_exc", "tau_syn_I", "isyn_inh")
        synapses = np.stack([*(held[name] for name in names), dt], axis=1)
        core.load_neurons(neurons, held["v_thresh"], synapses, self.substeps, self.shifts)
        return core


class Engine:
    """The compiled simulator, step by step, with input put where synapses would have put it."""

    def __init__(self, network: Network, timestep: float, substeps: int) -> None:
        self._simulation = made = simulation(network, timestep, substeps)
        self._worker, self._sources = made._worker(0), made._sources(0)
        self.neurons, self.saturated = self._worker.neurons, self._worker.neurons.saturated

    def step(self, arriving: NDArray[np.int64]) -> list[int]:
        """Neurons that spike, with input of any size."""
        made, worker = self._simulation, self._worker
        self.neurons.arrived[:] = arriving
        exchange = made._exchange([worker], 1, np.zeros(2, np.int64))
        engine.simulate(
            *(0, 1, 1, -1, self._sources, exchange),
            *(worker.neurons, worker.drives, worker.lines, worker.queue),
            *(made._synapses.tables, made._synapses.storage.values, made._arithmetic.rules),
        )
        return exchange.sources[0, : exchange.ends[0, 1]].tolist()

    def state(self) -> tuple[NDArray[Any], ...]:
        """Voltages, timers, excitatory and inhibitory currents."""
        return self.neurons.v, self.neurons.refractory, *self.neurons.currents


def arriving(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """Sums of stored weights; now and then more than a cell holds."""
    means = np.array([[3000.0], [1000.0]])
    small = rng.exponential(means, (2, size)) * (rng.random((2, size)) < 0.2)
    large = rng.integers(0, 200_000, (2, size)) * (rng.random((2, size)) < 0.002)
    return small.astype(np.int64) + large


def assert_equal_states(ours: Iterable[NDArray[Any]], theirs: Iterable[NDArray[Any]]) -> None:
    names = ("voltage", "refractory timer", "excitatory current", "inhibitory current")
    for name, a, b in zip(names, ours, theirs, strict=True):
        np.testing.assert_array_equal(a.astype(np.int64), b, err_msg=name)


SETTINGS = [(timestep, substeps) for timestep in (0.1, 1.0) for substeps in (1, 2, 3)]


class Model:
    """Neurons in Python's integers, by the equations that the emulator documents."""

    def __init__(self, neurons: Neurons) -> None:
        drawn = neurons.drawn()
        rows, refractory = spinnaker.constants(
            drawn, neurons.timestep, neurons.substeps, neurons.shifts, "a"
        )
        shape = (len(CONSTANTS), neurons.size)
        held = np.broadcast_to(unsigned(rows), shape).astype(object)
        self._c = dict(zip(CONSTANTS, held, strict=True))
        self._refractory = np.broadcast_to(refractory, neurons.size).astype(object)
        self._substeps = neurons.substeps
        self._v, *self._currents = (
            encode(neurons.initial[name], name).astype(object)
            for name in ("v", "isyn_exc", "isyn_inh")
        )
        self._timer = np.zeros(neurons.size, object)

    def step(self, sums: NDArray[np.int64]) -> list[int]:
        c, spiking = self._c, np.zeros(len(self._v), bool)
        for k, name in enumerate("ei"):
            cell = np.minimum(sums[k], 65535).astype(object) << c[f"shift_{name}"]
            self._currents[k] = wrap(self._currents[k] + (wrap(cell) * c[f"init_{name}"] >> 32))
        for _ in range(self._substeps):
            current = wrap(self._currents[0] - self._currents[1] + c["offset"])
            target = wrap(wrap(current * c["resistance"] >> 15) + c["rest"])
            moved = wrap(target - wrap(c["decay"] * wrap(target - self._v) >> 15))
            waiting = self._timer > 0
            self._v = np.where(waiting, self._v, moved)
            self._timer = np.where(waiting, self._timer - 1, self._timer)
            spikes = self._v >= c["threshold"]
            self._v = np.where(spikes, c["reset"], self._v)
            self._timer = np.where(spikes, self._refractory, self._timer)
            spiking |= spikes
            for k, name in enumerate("ei"):
                self._currents[k] = self._currents[k] * c[f"decay_{name}"] >> 32
        return np.flatnonzero(spiking).tolist()

    def state(self) -> tuple[NDArray[Any], ...]:
        return self._v, self._timer, *self._currents


def wrap(x: NDArray[Any]) -> NDArray[Any]:
    return (x + 2**31) % 2**32 - 2**31


@pytest.mark.parametrize("own", [True, False], ids=["own parameters", "equal parameters"])
@pytest.mark.parametrize(("timestep", "substeps"), SETTINGS)
def test_neurons_as_documented(
    timestep: float, substeps: int, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    neurons = Neurons.random(7, 60, timestep, substeps, own)
    compare(Model(neurons), neurons.engine(monkeypatch), 200)


@pytest.mark.parametrize("own", [True, False], ids=["own parameters", "equal parameters"])
@pytest.mark.parametrize(("timestep", "substeps"), SETTINGS)
def test_neurons_as_in_machine_code(
    timestep: float, substeps: int, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = SETTINGS.index((timestep, substeps)) + 1
    neurons = Neurons.random(seed, 200, timestep, substeps, own)
    compare(Machine(neurons.core(NEURON_CORE)), neurons.engine(monkeypatch), 300)


@pytest.mark.parametrize(("timestep", "substeps"), SETTINGS)
def test_neurons_of_the_combined_core(
    timestep: float, substeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that sPyNNaker takes for steps of 1 ms."""
    neurons = Neurons.random(8, 200, timestep, substeps, True)
    compare(Machine(neurons.core(COMBINED_CORE)), neurons.engine(monkeypatch), 300)


class Machine:
    """A core, with input of any size."""

    def __init__(self, core: Core) -> None:
        self._core, self._time = core, -1
        self.state = core.state

    def step(self, sums: NDArray[np.int64]) -> list[int]:
        self._time += 1
        self._core.take_input(np.minimum(sums, 65535))
        return self._core.update(self._time)


def compare(theirs: Model | Machine, ours: Engine, n_steps: int) -> int:
    """Voltages, timers, currents and spikes after each step, with random input."""
    rng = np.random.default_rng(5)
    n_spikes = n_saturated = 0
    for _ in range(n_steps):
        sums = arriving(rng, len(ours.neurons.v))
        n_saturated += np.count_nonzero(sums > 65535)
        spikes = theirs.step(sums)
        assert ours.step(sums) == spikes
        assert_equal_states(ours.state(), theirs.state())
        n_spikes += len(spikes)
    assert n_spikes > 100
    assert ours.saturated.sum() == n_saturated
    return n_spikes


def test_constants_as_in_machine_code() -> None:
    """Of 12,000 random neurons, with time constants over all the range that is allowed."""
    rng = np.random.default_rng(1)
    for timestep, substeps in SETTINGS:
        for _ in range(10):
            neurons = Neurons.random(int(rng.integers(2**31)), 200, timestep, substeps, True)
            longest = min(timestep * 30_000 / substeps, 60_000.0)
            for name in ("tau_m", "tau_syn_E", "tau_syn_I"):
                times = np.exp(rng.uniform(np.log(timestep / 50), np.log(longest), 200))
                neurons.parameters[name] = times
            neurons.parameters["cm"] = np.maximum(
                rng.uniform(0.01, 1.0, 200), neurons.parameters["tau_m"] / 6e4
            )
            rows, refractory = spinnaker.constants(
                neurons.drawn(), timestep, substeps, neurons.shifts, "a"
            )
            theirs = neurons.core(NEURON_CORE).constants()
            ours = dict(zip(CONSTANTS, unsigned(rows), strict=True)) | {"T_ref": refractory}
            for name, values in theirs.items():
                np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_currents_and_voltages_wrap_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shifts that take a cell to the sign bit and beyond."""
    rng = np.random.default_rng(2)
    for shifts in ((15, 14), (16, 17)):
        neurons = Neurons.random(1, 200, 1.0, 1, True)
        neurons.shifts = shifts
        theirs, ours = Machine(neurons.core(NEURON_CORE)), neurons.engine(monkeypatch)
        smallest = 0
        for _ in range(200):
            cells = rng.integers(0, 65536, (2, 200))
            assert ours.step(cells) == theirs.step(cells)
            assert_equal_states(ours.state(), theirs.state())
            smallest = min(smallest, ours.neurons.currents.min())
        assert smallest < -(2**30)


# --- Synapses ---


@pytest.mark.parametrize("binary", [SYNAPSE_CORE, COMBINED_CORE], ids=lambda binary: binary.file)
def test_ring_buffers_saturate_as_in_machine_code(binary: Binary) -> None:
    """Cells are saturated sums, and every addition that a cell could not hold is counted."""
    rng = np.random.default_rng(3)
    n_neurons, n_slots, n_steps = 200, 16, 400
    core = Core(binary)
    core.load_synapses(n_neurons, n_slots)
    n_saturated = 0
    rows = []
    for _ in range(60):
        n = int(rng.integers(1, 250))
        largest = 2 ** rng.integers(4, 17, n)
        synapses = (
            rng.integers(n_neurons, size=n),
            rng.integers(2, size=n),
            rng.integers(1, n_slots + 1, n),
            rng.integers(largest),
        )
        rows.append((core.row(*synapses), synapses))
    sums = np.zeros((n_steps + n_slots + 1, 2, n_neurons), np.int64)
    for time in range(n_steps):
        np.testing.assert_array_equal(
            core.ring_buffer(time)[:, :n_neurons], np.minimum(sums[time], 65535)
        )
        n_saturated += np.count_nonzero(sums[time] > 65535)
        for spike in rng.integers(60, size=rng.poisson(3)):
            address, (targets, receptors, delays, weights) = rows[spike]
            core.process_row(time, address)
            np.add.at(sums, (time + delays, receptors, targets), weights)
    assert n_saturated > 100
    # two additions can fail in one cell
    assert core.saturations >= n_saturated


def recurrent_network(seed: int, timestep: float, strength: float) -> Network:
    """100 neurons and 50 sources with given spikes, which now and then come all at once."""
    rng = np.random.default_rng(seed)
    trains = []
    together = rng.integers(1, 1500, 20)
    for _ in range(50):
        alone = rng.integers(1, 1500, 15)
        trains.append(np.unique(np.concatenate([alone, together])) * timestep)
    times = tuple(trains)
    sources = Population("sources", 50, "SpikeSourceArray", {}, spike_times=times)
    own = {
        "tau_m": rng.uniform(5.0, 20.0, 100),
        "tau_syn_E": rng.uniform(0.3, 3.0, 100),
        "i_offset": rng.uniform(0.0, 0.35, 100),
        "tau_refrac": rng.integers(1, 20, 100) * timestep,
    }
    cells = Population("a", 100, "IF_curr_exp", CELL | own, {"v": rng.uniform(-65, -50, 100)}, True)
    projections = []
    for source in (sources, cells):
        for receptor, sign in zip(RECEPTORS, (1.0, -1.0), strict=True):
            n = 1500
            projections.append(
                Projection(
                    f"{source.label} {receptor}",
                    source.label,
                    "a",
                    receptor,
                    FromList(rng.integers(source.size, size=n), rng.integers(100, size=n)),
                    sign * strength * rng.uniform(0.0, 1.0, n),
                    rng.integers(1, 17, n) * timestep,
                )
            )
    return Network((sources, cells), tuple(projections))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("timestep", "strength", "shift"), [(0.1, 1.5, None), (1.0, 1.5, None), (1.0, 1.99, 0)]
)
def test_network_as_in_machine_code(
    timestep: float, strength: float, shift: int | None, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spike for spike: a recurrent network on one combined core.

    With shifts of 0, weights take all of their 16 bits.
    """
    n_steps, n = 1500, 100
    realization = realize(recurrent_network(seed, timestep, strength), timestep)
    network = realization.network
    if shift is not None:
        set_shifts(monkeypatch, (shift, shift))
    shifts = ring_buffers.shifts(realization)
    zero = {name: np.zeros(n) for name in ("isyn_exc", "isyn_inh")}
    neurons = Neurons(
        realization.parameters("a"),
        realization.initial_values("a") | zero,
        timestep,
        1,
        (shifts["a", "excitatory"], shifts["a", "inhibitory"]),
    )
    core = neurons.core(COMBINED_CORE)
    core.load_synapses(n, 16)
    synapses = stored_synapses(realization, shifts)
    assert (synapses["weight"].max() > 2**15) == (shift == 0)
    rows = []
    for source in range(150):
        own = synapses["source"] == source
        rows.append(core.row(*(synapses[k][own] for k in ("target", "type", "delay", "weight"))))

    given_cells, given_steps = realization.spike_steps("sources")
    expected, n_saturated = [], 0
    sums = np.zeros((n_steps + 17, 2, n), np.int64)
    for time in range(n_steps):
        n_saturated += np.count_nonzero(sums[time] > 65535)
        core.take_input(time)
        spikes = core.update(time)
        # the harness labels a spike with the end of its step
        expected += [(time + 1, neuron) for neuron in sorted(spikes)]
        for source in [*spikes, *(n + given_cells[given_steps == time])]:
            core.process_row(time, rows[source])
            own = synapses["source"] == source
            acting = time + synapses["delay"][own]
            cells = acting, synapses["type"][own], synapses["target"][own]
            np.add.at(sums, cells, synapses["weight"][own])
    made = simulation(network, timestep)
    found = spike_pairs(made.run(n_steps, lambda fraction: None))
    assert len(expected) > 500
    assert found == expected
    # with steps of 1 ms, the shifts that sPyNNaker chooses leave room enough
    assert (n_saturated > 0) == (timestep == 0.1 or shift == 0)
    assert n_saturated <= core.saturations
    counts = made.observations["saturated_inputs"]["a"]
    assert sum(counts.values()) == n_saturated


def stored_synapses(
    realization: Realization, shifts: Mapping[tuple[str, str], int]
) -> dict[str, NDArray[np.int64]]:
    """All synapses as rows hold them; sources with given spikes come after the 100 neurons."""
    columns: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("source", "target", "delay", "type", "weight")
    }
    for p in realization.network.projections:
        (chunk,) = realization.synapses(p.label)
        columns["source"].append(chunk.source + (100 if p.source == "sources" else 0))
        columns["target"].append(chunk.target)
        columns["delay"].append(chunk.delay)
        columns["type"].append(np.full(len(chunk), RECEPTORS.index(p.receptor)))
        scale = 2.0 ** (15 - shifts["a", p.receptor])
        columns["weight"].append(np.rint(np.abs(chunk.weight) * scale))
    return {name: np.concatenate(parts).astype(np.int64) for name, parts in columns.items()}


# --- Networks ---


def one_to_one(
    label: str, ends: tuple[str, str], receptor: Receptor, weight: Value, delay: float
) -> Projection:
    return Projection(label, *ends, receptor, OneToOne(), weight, delay)


def kicked(weight: float = 100.0, delay: float = 0.3) -> Network:
    """A source's spike labelled 10 makes neuron a spike, which makes neuron b spike."""
    source = Population("s", 1, "SpikeSourceArray", {}, spike_times=(np.array([1.0]),))
    cells = [Population(k, 1, "IF_curr_exp", CELL, {"v": -65.0}, True) for k in "ab"]
    return Network(
        (source, *cells),
        (
            one_to_one("sa", ("s", "a"), "excitatory", weight, 0.5),
            one_to_one("ab", ("a", "b"), "excitatory", weight, delay),
        ),
    )


@pytest.mark.parametrize("delay", [0.1, 0.3, 2.0])
def test_spikes_of_neurons_act_one_step_earlier(delay: float) -> None:
    spikes = simulate(kicked(delay=delay), 60)
    # input arrives at the end of step 10 + 5 and is in the voltage one step later, as in NEST
    assert spike_pairs(spikes, "a") == [(16, 0)]
    # label + delay in NEST; one step earlier here
    assert spike_pairs(spikes, "b") == [(16 + round(delay * 10), 0)]


def test_one_step_earlier_whatever_the_number_of_threads() -> None:
    for threads in (2, 3):
        assert spike_pairs(simulate(kicked(), 60, threads=threads), "b") == [(19, 0)]


@pytest.mark.parametrize(
    ("timestep", "refractory", "substeps", "interval"),
    [
        (0.1, 0.1, 1, 2),
        (0.1, 2.0, 1, 21),
        (1.0, 2.0, 1, 3),
        # half of 3277 is rounded down to 1638, of which 2 ms are 40.01
        (0.1, 2.0, 2, 42),
        # likewise, a third of a millisecond is 6.0004 times in 2 ms
        (1.0, 2.0, 3, 8),
    ],
)
def test_refractory_steps(timestep: float, refractory: float, substeps: int, interval: int) -> None:
    """A current that takes a neuron over the threshold in the first update after refractoriness."""
    parameters = CELL | {"i_offset": 500.0, "tau_refrac": refractory}
    cells = Population("a", 1, "IF_curr_exp", parameters, {"v": -65.0}, True)
    spikes = spike_pairs(simulate(Network((cells,), ()), 200, timestep, substeps=substeps))
    updates = np.arange(0, 200 * substeps, interval)
    assert [step for step, _ in spikes] == (updates // substeps + 1).tolist()


def saturating(weights: Sequence[float]) -> Network:
    """Sources that spike together, three times, onto five neurons; the inhibitory ones once."""
    times = (np.array([1.0, 2.0, 3.0]),) * len(weights)
    sources = Population("e", len(weights), "SpikeSourceArray", {}, spike_times=times)
    inhibitory = Population("i", 3, "SpikeSourceArray", {}, spike_times=(np.array([2.0]),) * 3)
    cells = Population("a", 5, "IF_curr_exp", CELL | {"v_thresh": 1000.0}, {"v": -65.0}, True)
    other = Population("b", 2, "IF_curr_exp", CELL, {"v": -65.0}, True)

    def all_to_all(source: Population, receptor: Receptor, weights: Value) -> Projection:
        pairs = np.divmod(np.arange(source.size * 5), 5)
        delays = np.where(np.arange(source.size * 5) == 0, 0.2, 0.1)
        return Projection(receptor, source.label, "a", receptor, FromList(*pairs), weights, delays)

    return Network(
        (sources, inhibitory, cells, other),
        (
            all_to_all(sources, "excitatory", np.repeat(weights, 5)),
            all_to_all(inhibitory, "inhibitory", np.linspace(-0.9, -0.1, 15)),
        ),
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("weights", "excitatory"),
    [
        # without a shift, 65535 fit into a cell, and 65536 do not
        ([1.0, 32767 / 32768], 0),
        # one of the synapses onto the first neuron comes a step later
        ([1.0, 1.0], 12),
        ([0.9, 0.9, 0.9], 12),
        ([0.9, 0.9, 0.9, 0.9], 15),
    ],
)
def test_saturated_inputs_are_counted(
    weights: Sequence[float], excitatory: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_shifts(monkeypatch, (0, 0))
    made = simulation(saturating(weights), 0.1, threads=threads)
    assert made.observations == {}
    made.run(100, lambda fraction: None)
    assert made.observations == {
        "saturated_inputs": {
            "a": {"excitatory": excitatory, "inhibitory": 0},
            "b": {"excitatory": 0, "inhibitory": 0},
        }
    }


def test_spikes_do_not_depend_on_threads() -> None:
    network = recurrent_network(1, 0.1, 1.5)
    drive = PoissonDrive("d", "a", "excitatory", 2000.0, 0.1, 0.1)
    network = Network(network.populations, network.projections, (drive,))
    made = simulation(network, 0.1, substeps=2)
    one = spike_pairs(made.run(3000, lambda fraction: None))
    assert len(one) > 1000
    assert made.observations["saturated_inputs"]["a"]["excitatory"] > 0
    for threads in (2, 3):
        other = simulation(network, 0.1, substeps=2, threads=threads)
        assert spike_pairs(other.run(3000, lambda fraction: None)) == one
        assert other.observations == made.observations


def test_weights_are_held_in_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 65535 units, as magnitudes; the receptor tells the sign."""
    set_shifts(monkeypatch, (0, 3))
    n = 300
    given = {"excitatory": np.linspace(0.0, 1.99, n), "inhibitory": np.linspace(-15.9, 0.0, n)}
    cells = Population("a", n, "IF_curr_exp", CELL, {"v": -65.0})
    projections = [
        Projection(r, "a", "a", r, FromList(np.arange(n), np.arange(n)), given[r], 0.1)
        for r in RECEPTORS
    ]
    made = simulation(Network((cells,), tuple(projections)), 0.1)
    assert made.synapse_bytes == pytest.approx(2 * n * (4 + 12), abs=300)
    for receptor, unit in (("excitatory", 2.0**-15), ("inhibitory", 2.0**-12)):
        held = made.connections(receptor).weight
        np.testing.assert_array_equal(held, np.rint(given[receptor] / unit) * unit)
    assert made.connections("excitatory").weight.max() / 2.0**-15 > 65_000


def test_other_weights_are_refused() -> None:
    with pytest.raises(RequestError, match=r"weights = 'float32' .* 'spinnaker-full'; .* 'auto'"):
        emulator.BACKEND.simulation(
            full().on(realize(kicked(), 0.1)), emulator.EmulatorOptions(weights="float32")
        )


# --- Poisson sources ---


def counts_per_step(rate: float, timestep: float, n: int, n_steps: int) -> NDArray[np.int64]:
    """Spikes of a drive that arrive at ``n`` neurons in each step."""
    cells = Population("a", n, "IF_curr_exp", CELL)
    drive = PoissonDrive("d", "a", "excitatory", rate, 0.5, timestep)
    realization = realize(Network((cells,), (), (drive,)), timestep)
    cores = Cores(1, {("a", "excitatory"): 0})
    tables = drive_tables(full().on(realization), cores, [Block(0, 0, [Part("a", 0, n, 0)])], False)
    words = np.empty(2 * (engine.CHUNK // engine.GROUP + 1), np.uint64)
    counts = np.empty(engine.CHUNK, np.uint16)
    inputs = np.zeros((n_steps, 2, n), np.int64)
    for step in range(n_steps):
        engine._add_poisson_input(step + 3, tables, words, counts, inputs[step])
    assert not (inputs % 2**14).any()
    return inputs[:, 0] // 2**14


@pytest.mark.parametrize(
    ("rate", "timestep", "mean"),
    [
        # slow: intervals of floor(10000 / 99) steps
        (99.0, 0.1, 1 / 101),
        # fast: exp(-mean) has 16 bits
        (1600.0, 0.1, 0.15998),
        (10_000.0, 0.1, 1.00001),
        (65_535.0, 0.1, 6.55776),
        (9999.0, 1.0, 10.39721),
    ],
)
def test_poisson_means(rate: float, timestep: float, mean: float) -> None:
    """False-alarm rate 1e-4 for each."""
    assert spinnaker.poisson_mean(rate, timestep, "d") == (pytest.approx(mean, abs=1e-5), False)
    counts = counts_per_step(rate, timestep, 2000, 500)
    law = scipy.stats.poisson(counts.size * mean)
    assert 5e-5 < law.cdf(counts.sum()) < 1 - 5e-5


def test_poisson_means_as_in_machine_code() -> None:
    core = Core(POISSON_CORE)
    rates = 10 ** np.random.default_rng(1).uniform(-0.5, np.log10(65_535.0), 2000)
    kinds = np.zeros(3, np.int64)
    for timestep in (0.1, 1.0):
        core.load_poisson(timestep)
        for rate in rates.tolist():
            interval, exponential, root = core.set_rate(rate)
            mean, gaussian = spinnaker.poisson_mean(rate, timestep, "d")
            if interval:
                assert mean == 1 / interval
            elif exponential:
                assert mean == pytest.approx(-np.log(exponential), rel=1e-12)
            else:
                assert root == pytest.approx(np.sqrt(mean), abs=2**-14)
            assert gaussian == (root > 0)
            kinds += [interval > 0, exponential > 0, root > 0]
    assert kinds.min() > 100


@pytest.mark.parametrize("rate", [10_100.0, 20_000.0, 60_000.0])
def test_many_spikes_per_step_are_a_squared_gaussian(rate: float) -> None:
    """Of 1 ms; against the law written out with random numbers. False-alarm rate 1e-4."""
    counts = counts_per_step(rate, 1.0, 2000, 200).ravel()
    normal = np.random.default_rng(1).standard_normal(counts.size)
    expected = np.rint((0.5 * normal + np.sqrt(rate / 1000)) ** 2)
    edges = np.unique(np.quantile(expected, np.linspace(0, 1, 21)[1:-1]))
    table = [
        np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in (counts, expected)
    ]
    assert scipy.stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("what", ["drive", "population"])
def test_rates_that_the_machine_cannot_hold(what: str) -> None:
    cells = Population("a", 2, "IF_curr_exp", CELL)

    def network(rate: float) -> Network:
        if what == "drive":
            return Network((cells,), (), (PoissonDrive("d", "a", "excitatory", rate, 0.5, 0.1),))
        given = {"rate": np.array([10.0, rate]), "start": 0.0, "duration": 100.0}
        return Network((cells, Population("d", 2, "SpikeSourcePoisson", given)), ())

    (problem,) = emulator.BACKEND.check(network(70_000.0), full(), 0.1)
    assert problem.startswith(f"{what} 'd': a rate of 70000 Hz is not allowed")
    assert problem.endswith("below 65536 Hz")
    with pytest.raises(RequestError, match="a rate of 70000 Hz"):
        simulation(network(70_000.0), 0.1)
    assert emulator.BACKEND.check(network(65_535.9), full(), 0.1) == []
    assert emulator.BACKEND.check(network(70_000.0), number_format("double"), 0.1) == []
