"""The emulator: our own simulator, for any number format, in compiled code (Numba).

It runs networks of ``IF_curr_exp`` neurons with static synapses, Poisson drives and spike sources,
with state in double or single precision, in fixed point or in the arithmetic of SpiNNaker, and with
weights that take the memory their number format needs.

Time. As in NEST on grid, step t ends at t dt, a spike is labelled with the end of the step in which
the threshold was reached, and a spike labelled s arrives through a synapse with delay d at the end
of step s + d: it changes the current there, and the voltage one step later. The order of operations
is in `pynn_portability.backends.emulator.engine`, the equations are in
`pynn_portability.backends.emulator.arithmetic`. With the same input, spikes are those of NEST's
``iaf_psc_exp``, as long as sums of weights are exact: NEST adds them up in another order. SpiNNaker's
order of operations differs, see `pynn_portability.backends.emulator.spinnaker`.

- A ``SpikeSourceArray`` acts like a neuron with the same spikes.
- Poisson input is described in `pynn_portability.backends.emulator.drive`. The first spikes of a drive
  that starts at s are labelled s + 2 steps, as those of NEST's ``poisson_generator``.
- A ``SpikeSourcePoisson`` population that is not a drive can emit several spikes in a step.

Results depend on the seed, the number format and the option ``weights``, not on ``threads``.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import Field

from pynn_portability.backends import Backend, Capabilities, Estimate, Observations, Options
from pynn_portability.backends.emulator import engine
from pynn_portability.backends.emulator.arithmetic import (
    COEFFICIENTS,
    Arithmetic,
    arithmetic,
    propagators,
)
from pynn_portability.backends.emulator.drive import (
    LABEL_AFTER_START,
    DriveTables,
    drive_tables,
    spikes_per_step,
)
from pynn_portability.backends.emulator.loihi import Compartments
from pynn_portability.backends.emulator.spinnaker import Cores
from pynn_portability.backends.emulator.synapses import (
    Block,
    CompressedSynapses,
    Storage,
    weight_storage,
)
from pynn_portability.backends.ranges import longest_delay
from pynn_portability.errors import RequestError
from pynn_portability.formats import loihi
from pynn_portability.formats.arithmetic import (
    FixedPoint,
    LoihiArithmetic,
    SpinnakerArithmetic,
)
from pynn_portability.formats.machines import MachineWeights
from pynn_portability.formats.number_format import HeldRealization, NumberFormat
from pynn_portability.formats.ring_buffers import shifts
from pynn_portability.formats.spinnaker import constants
from pynn_portability.model.cells import RECEPTORS
from pynn_portability.model.network import Network, Population
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.realize.streams import Stream
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

MAX_POPULATIONS = 2**16 - 1
"""Populations are numbered in 16 bits."""

SLICE_SECONDS = 0.2
"""Wall time between two reports of progress, about; also how fast an interruption is noticed."""

FIRST_ROOM = 2**10
"""Spikes per pathway that the queue has room for at first."""


class EmulatorOptions(Options):
    """``[backends.emulator]``"""

    threads: int = Field(1, ge=1, description="threads of one run; spikes do not depend on it")
    weights: Storage = Field(
        "auto",
        description="how weights are held: auto takes no room for up to 4 values per projection, "
        "codes of 4 or 8 bits for up to 256, and otherwise numbers of the state arithmetic; the rest "
        "are numbers whatever the format, int16 in units of a scale per projection",
    )
    drive_limit: int = Field(
        0,
        ge=0,
        description="most spikes that a Poisson drive gives a neuron in one step, as simulators have "
        "it whose sources spike once in a step; 0 for any number",
    )


class EmulatorBackend(Backend[EmulatorOptions]):
    """The emulator, in any arithmetic."""

    options = EmulatorOptions
    capabilities = Capabilities(
        "the emulator",
        cells=("IF_curr_exp", "SpikeSourceArray", "SpikeSourcePoisson"),
        states=("float64", "float32", "fixed-point", "spinnaker", "loihi"),
    )

    def available(self) -> str | None:
        """None: it needs nothing but what the package itself needs."""
        return None

    def versions(self) -> dict[str, str]:
        """Versions of the packages whose code decides the result."""
        return {p: importlib.metadata.version(p) for p in ("pynn-portability", "numba", "numpy")}

    def check(self, network: Network, number_format: NumberFormat, timestep: float) -> list[str]:
        """What of the network the arithmetic of SpiNNaker or Loihi cannot represent."""
        if len(network.populations) > MAX_POPULATIONS:
            return [
                f"there are {len(network.populations)} populations, the emulator is allowed "
                f"{MAX_POPULATIONS}; make one of those that are alike"
            ]
        if isinstance(number_format.state, SpinnakerArithmetic):
            return _beyond_spinnaker(network, number_format.state, timestep)
        if isinstance(number_format.state, LoihiArithmetic):
            return _beyond_loihi(number_format.on(Realization(network, 0, timestep)))
        return []

    def building(self) -> str:
        """What building does: the first run on a machine compiles."""
        folder = engine.simulate.stats.cache_path
        compiled = folder is not None and any(Path(folder).glob("engine.simulate-*.nbi"))
        return "building" if compiled else "compiling (once, about 20 s) and building"

    def threads(self, network: Network, options: EmulatorOptions) -> int:
        """As many as asked."""
        return options.threads

    def estimate(
        self,
        network: Network,
        number_format: NumberFormat,
        options: EmulatorOptions,
        n_steps: int,
        timestep: float,
    ) -> Estimate:
        """Memory and time of one run, at an assumed 3 spikes/s per neuron.

        Coefficients measured on the microcircuit at scales 0.1 to 1 on two cores. The first run of each
        state arithmetic on a machine compiles for about 20 s.
        """
        held = number_format.on(Realization(network, 0, timestep))
        synapses = held.realization.n_synapses
        neurons = sum(p.size for p in network.populations)
        # which storage it is does not depend on the neurons
        if isinstance(number_format.state, SpinnakerArithmetic):
            state: Arithmetic | Cores | Compartments = Cores(number_format.state.substeps, {})
        elif isinstance(number_format.state, LoihiArithmetic):
            state = Compartments({}, {}, timestep)
        else:
            state = arithmetic(number_format.state, np.empty((len(COEFFICIENTS), 0)))
        storage = weight_storage(held, state, options.weights)
        n_threads = min(options.threads, len(network.projections) or 1)
        events = synapses * 3.0 * n_steps * timestep / 1000.0
        bytes_per_synapse = 2 + storage.bits_beside / 8
        build_seconds = 1.0 + 1e-7 * synapses / n_threads
        if number_format.weights.drawn_beforehand:
            build_seconds += 7e-8 * synapses  # in one thread
        return Estimate(
            memory_bytes=300e6
            + 1500.0 * neurons
            + bytes_per_synapse * synapses
            # where the synapses of each delay begin, for every source
            + 4.0 * neurons * longest_delay(network, timestep),
            build_seconds=build_seconds,
            simulate_seconds=(1.5e-9 * neurons * n_steps + 2.5e-9 * events) / n_threads,
        )

    def simulation(self, held: HeldRealization, options: EmulatorOptions) -> EmulatorSimulation:
        """Draw the realized network into compressed form.

        Raises RequestError for a network that does not fit into memory.
        """
        return EmulatorSimulation(held, options)


BACKEND: Backend[EmulatorOptions] = EmulatorBackend()


def _beyond_spinnaker(network: Network, state: SpinnakerArithmetic, timestep: float) -> list[str]:
    """Parameters and rates that SpiNNaker's cores cannot compute with; drawn ones as with seed 0."""
    realization = Realization(network, 0, timestep)
    problems = []
    rates = [(f"drive {d.label!r}", realization.drive(d.label).rate) for d in network.drives]
    for p in network.populations:
        if p.cell.source == "poisson":
            rates.append((f"population {p.label!r}", realization.parameters(p.label)["rate"]))
        if not p.is_source:
            try:
                constants(
                    realization.parameters(p.label), timestep, state.substeps, (0, 0), p.label
                )
            except RequestError as error:
                problems.append(str(error))
    for name, rate in rates:
        try:
            spikes_per_step(Cores(state.substeps, {}), rate, timestep, name)
        except RequestError as error:
            problems.append(str(error))
    return problems


def _beyond_loihi(held: HeldRealization) -> list[str]:
    """Parameters that Loihi's neurons do not have; drawn ones as with seed 0."""
    compartments, problems = _compartments(held), []
    for p in held.network.populations:
        if p.cell_type == "IF_curr_exp":
            try:
                compartments.columns(held.parameters(p.label), held.timestep, p.label)
            except RequestError as error:
                problems.append(str(error))
    return problems


def _compartments(held: HeldRealization) -> Compartments:
    weights = held.format.weights
    # a name's state is that of Loihi only where its weights are those of a machine
    assert isinstance(weights, MachineWeights)
    receptors = {
        p.label: loihi.receptors_of(held.network, p.label) for p in held.network.populations
    }
    return Compartments(weights.whole_units(held.realization), receptors, held.timestep)


def _arithmetic(held: HeldRealization) -> Arithmetic | Cores | Compartments:
    state = held.format.state
    if isinstance(state, LoihiArithmetic):
        return _compartments(held)
    if isinstance(state, SpinnakerArithmetic):
        return Cores(state.substeps, shifts(held.realization))
    nanoampere = isinstance(state, FixedPoint)
    coefficients = [np.empty((len(COEFFICIENTS), 0))]
    for population in held.network.populations:
        if not population.is_source:
            parameters = held.parameters(population.label)
            coefficients.append(propagators(parameters, held.timestep, nanoampere)[0])
    return arithmetic(state, np.concatenate(coefficients, axis=1))


class EmulatorSimulation:
    """A network in compressed form, ready to run once."""

    def __init__(self, held: HeldRealization, options: EmulatorOptions) -> None:
        self._held = held
        self._realization = held.realization
        self._network = held.network
        self._arithmetic = _arithmetic(held)
        self._n_threads = n_threads = options.threads
        self._drive_limit = options.drive_limit
        self._observations: Observations = {}
        self._joint = isinstance(self._arithmetic, Compartments) or (
            self._arithmetic.state == np.float32 and self._currents_decay_alike()
        )
        storage = weight_storage(held, self._arithmetic, options.weights)
        self._synapses = CompressedSynapses(held, self._arithmetic, storage, n_threads)
        needed = self._synapses.planned_bytes
        free = psutil.virtual_memory().available
        if needed > free:
            raise RequestError(
                f"the synapses need {needed / 2**30:.1f} GiB of memory and this machine has "
                f"{free / 2**30:.1f} GiB free; take a smaller scale or a number format with fewer "
                "weight values"
            )
        self._synapses.draw()
        # compiles, or loads what was compiled before, which belongs to building
        workers = [self._worker(thread) for thread in range(n_threads)]
        with ThreadPoolExecutor(n_threads) as pool:
            exchange = self._exchange(workers, 0, np.zeros(2, np.int64))
            self._simulate_slice(pool, workers, 1, 0, self._sources(0), exchange)

    def connections(self, projection: str) -> Synapses:
        """Synapses as the compressed tables hold them, sorted."""
        return self._synapses.connections(projection)

    @property
    def synapse_bytes(self) -> int:
        """Memory allocated for synapses: targets, weights, and where they begin and end."""
        return self._synapses.allocated_bytes

    @property
    def observations(self) -> Observations:
        """SpiNNaker's cells that saturated: one count per neuron, receptor and step."""
        return self._observations

    # --- running ---

    def run(self, n_steps: int, progress: Callable[[float], None]) -> SpikeData:
        """Simulate ``n_steps`` steps and return the spikes of the recorded populations."""
        workers = [self._worker(thread) for thread in range(self._n_threads)]
        sources = self._sources(n_steps)
        barrier = np.zeros(2, np.int64)
        recorded: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
        slice_steps, done = 1, 0
        with ThreadPoolExecutor(self._n_threads) as pool:
            while done < n_steps:
                begin = time.perf_counter()
                length = min(slice_steps, n_steps - done)
                exchange = self._exchange(workers, length, barrier)
                self._simulate_slice(pool, workers, done + 1, length, sources, exchange)
                recorded.extend(_published(exchange, done + 1))
                done += length
                progress(done / n_steps)
                # compilation or loading makes the first slices slow; they must not stay short
                pace = SLICE_SECONDS / (time.perf_counter() - begin)
                slice_steps = max(1, min(round(length * pace), 10 * length))
        if isinstance(self._arithmetic, Cores):
            self._observations = {"saturated_inputs": self._saturated(workers)}
        return self._spike_data(n_steps, recorded)

    def _saturated(self, workers: list[Worker]) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {
            p.label: dict.fromkeys(RECEPTORS, 0)
            for p in self._network.populations
            if not p.is_source
        }
        for worker in workers:
            columns = worker.neurons.saturated.T.tolist()
            for population, column in zip(worker.populations, columns, strict=True):
                for receptor, count in zip(RECEPTORS, column, strict=True):
                    counts[population][receptor] += count
        return counts

    def _simulate_slice(
        self,
        pool: ThreadPoolExecutor,
        workers: list[Worker],
        first_step: int,
        length: int,
        sources: engine.Sources,
        exchange: engine.Exchange,
    ) -> None:
        completed = -1
        while completed < length:
            running = []
            try:
                for thread, worker in enumerate(workers):
                    running.append(
                        pool.submit(
                            engine.simulate,
                            thread,
                            first_step,
                            length,
                            completed,
                            sources,
                            exchange,
                            worker.neurons,
                            worker.drives,
                            worker.lines,
                            worker.queue,
                            self._synapses.tables,
                            self._synapses.storage.values,
                            self._arithmetic.rules,
                        )
                    )
                finished, _ = wait(running, return_when=FIRST_EXCEPTION)
                completed = min(future.result() for future in finished)
            except BaseException:
                # the others would wait for it forever
                exchange.barrier[1] = 1
                raise
            if completed < length:
                for worker in workers:
                    worker.queue = _with_more_room(worker.queue)

    def _exchange(
        self, workers: list[Worker], length: int, barrier: NDArray[np.int64]
    ) -> engine.Exchange:
        """Room for the most spikes that a slice can have; only what is used takes memory."""
        updates = length * self._arithmetic.substeps
        most = max(worker.most_spikes(updates) for worker in workers)
        return engine.Exchange(
            np.empty((self._n_threads, most), np.int32),
            np.zeros((self._n_threads, length + 1), np.int64),
            barrier,
        )

    def _sources(self, n_steps: int) -> engine.Sources:
        populations = self._network.populations
        sizes = [p.size for p in populations]
        first = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        self._first_source = {p.label: int(i) for p, i in zip(populations, first[:-1], strict=True)}
        pathways = self._synapses.pathways
        owner = [pathway.source for pathway in pathways]
        counts = [owner.count(p.label) for p in populations]
        given = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        self._given: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for population in populations:
            if population.is_source:
                cells, steps = self._source_spikes(population, n_steps)
                self._given[population.label] = cells, steps
                given.append((cells + self._first_source[population.label], steps))
        cells, steps = (np.concatenate(column) for column in zip(*given, strict=True))
        order = np.lexsort((cells, steps))
        return engine.Sources(
            np.repeat(np.arange(len(populations), dtype=np.uint16), sizes),
            first,
            np.concatenate(([0], np.cumsum(counts, dtype=np.int64))),
            np.array([p.shortest for p in pathways], np.int64),
            np.array([p.longest for p in pathways], np.int64),
            cells[order].astype(np.int32),
            # sources act when their labels say, in the arithmetic of SpiNNaker, too
            steps[order] + self._arithmetic.lead,
        )

    def _source_spikes(
        self, population: Population, n_steps: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells and steps of a spike source's spikes, in no particular order."""
        label = population.label
        if population.cell.source == "given":
            cells, steps = self._realization.spike_steps(label)
        else:
            cells, steps = _poisson_spikes(self._realization, self._arithmetic, label, n_steps)
        inside = steps <= n_steps
        return cells[inside], steps[inside]

    def _worker(self, thread: int) -> Worker:
        blocks = [b for b in self._synapses.blocks if b.thread == thread]
        neurons = self._neurons(blocks)
        lines = self._lines(thread)
        n_pathways = len(self._synapses.pathways)
        queue = engine.Queue(
            np.empty((n_pathways, FIRST_ROOM), np.int64),
            np.zeros(n_pathways, engine.BOUNDS),
            np.empty((len(lines.table), FIRST_ROOM), np.int64),
            np.empty((len(lines.table), FIRST_ROOM), np.int64),
        )
        drives = drive_tables(
            self._held,
            self._arithmetic,
            blocks,
            self._joint,
            self._drive_limit,
        )
        populations = [part.population for block in blocks for part in block.parts]
        return Worker(populations, neurons, drives, lines, queue)

    def _neurons(self, blocks: list[Block]) -> engine.Neurons:
        arithmetic, size = self._arithmetic, sum(block.size for block in blocks)
        state = {name: np.zeros(size, arithmetic.state) for name in ("v", "isyn_exc", "isyn_inh")}
        parts, coefficients, refractory_steps, columns = [], [], [], 0
        first_source = 0
        tables = {}
        for p in self._network.populations:
            if not p.is_source:
                tables[p.label] = (
                    first_source,
                    arithmetic.columns(
                        self._realization.parameters(p.label), self._realization.timestep, p.label
                    ),
                    self._initial_values(p.label),
                )
            first_source += p.size
        for block in blocks:
            for part in block.parts:
                first = block.offset + part.offset
                source, (own_columns, steps), initial = tables[part.population]
                own = len(steps) > 1
                chosen = slice(part.first, part.last) if own else slice(None)
                coefficients.append(own_columns[:, chosen])
                refractory_steps.append(steps[chosen])
                parts.append((first, first + part.size, source + part.first, columns, own))
                columns += part.size if own else 1
                for name, values in initial.items():
                    variable = "isyn_exc" if self._joint and name == "isyn_inh" else name
                    state[variable][first : first + part.size] += values[part.first : part.last]
        held = np.concatenate([np.empty(0, np.int32), *refractory_steps])
        counter = np.uint16 if held.max(initial=0) < 2**16 else np.int32
        single = arithmetic.state == np.float32
        return engine.Neurons(
            state["v"],
            np.stack([state["isyn_exc"], state["isyn_inh"]]),
            np.zeros((2, 0 if single else size), arithmetic.accumulator),
            np.zeros(size, counter),
            np.array(parts, engine.PART),
            np.concatenate([np.empty((arithmetic.rows, 0), arithmetic.state), *coefficients], 1),
            held.astype(counter),
            int(self._joint),
            np.zeros((2, len(parts)), np.int64),
        )

    def _currents_decay_alike(self) -> bool:
        """Whether the currents of both receptors can be one, in arithmetic that sums as it goes."""
        drawn = (
            self._realization.parameters(p.label)
            for p in self._network.populations
            if not p.is_source
        )
        return all(np.array_equal(d["tau_syn_E"], d["tau_syn_I"]) for d in drawn)

    def _initial_values(self, population: str) -> dict[str, NDArray[Any]]:
        values = self._realization.initial_values(population)
        if isinstance(self._arithmetic, Compartments):
            parameters = self._realization.parameters(population)
            return self._arithmetic.initial_values(values, parameters, population)
        rest = self._realization.parameters(population)["v_rest"]
        convert = self._arithmetic.current
        return {
            name: self._arithmetic.voltage(v, rest) if name == "v" else convert(v)
            for name, v in values.items()
        }

    def _lines(self, thread: int) -> engine.Lines:
        synapses = self._synapses
        own = [
            i
            for i, line in enumerate(synapses.lines)
            if synapses.blocks[line.block].thread == thread
        ]
        table = []
        for i in own:
            line = synapses.lines[i]
            pathway = synapses.pathways[line.pathway]
            table.append(
                (
                    line.pathway,
                    line.row,
                    line.end,
                    synapses.row_width(pathway),
                    int(pathway.inhibitory and not self._joint),
                    synapses.blocks[line.block].offset,
                )
            )
        rows = np.array(table, engine.LINE)
        counts = np.bincount(rows["pathway"], minlength=len(synapses.pathways))
        return engine.Lines(
            rows,
            synapses.books()[own],
            np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        )

    def _spike_data(
        self, n_steps: int, recorded: list[tuple[NDArray[np.int64], NDArray[np.int32]]]
    ) -> SpikeData:
        steps = np.concatenate([np.empty(0, np.int64), *(r[0] for r in recorded)])
        sources = np.concatenate([np.empty(0, np.int32), *(r[1] for r in recorded)])
        populations = {}
        for p in self._network.recorded:
            if p.is_source:
                cells, own_steps = self._given[p.label]
            else:
                first = self._first_source[p.label]
                own = (sources >= first) & (sources < first + p.size)
                cells, own_steps = sources[own].astype(np.int64) - first, steps[own]
            populations[p.label] = PopulationSpikes.from_unsorted(p.size, own_steps, cells)
        return SpikeData(self._realization.timestep, n_steps, populations)


@dataclass
class Worker:
    """What one thread works on; ``populations`` are the labels of the parts of its neurons."""

    populations: list[str]
    neurons: engine.Neurons
    drives: DriveTables
    lines: engine.Lines
    queue: engine.Queue

    def most_spikes(self, n_updates: int) -> int:
        """The largest number of spikes its neurons can have in so many (sub-)steps."""
        total = 0
        for first, last, _, column, own in self.neurons.parts.tolist():
            steps = self.neurons.refractory_steps[column : column + (last - first if own else 1)]
            spikes = n_updates // (steps.astype(np.int64) + 1) + 1
            total += int(spikes.sum() if own else spikes[0] * (last - first))
        return total


def _with_more_room(queue: engine.Queue) -> engine.Queue:
    """The same queue with twice the room."""
    room = queue.step.shape[1]
    wider = [np.empty((len(a), 2 * room), np.int64) for a in (queue.step, queue.row, queue.end)]
    # a place in the smaller ring is that in the larger one, or one room before
    for old, new in zip((queue.step, queue.row, queue.end), wider, strict=True):
        new[:, :room] = old
        new[:, room:] = old
    return engine.Queue(wider[0], queue.bounds, wider[1], wider[2])


def _published(
    exchange: engine.Exchange, first_step: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """Steps and sources of a slice's spikes, thread by thread."""
    found = []
    for sources, ends in zip(exchange.sources, exchange.ends, strict=True):
        steps = np.repeat(first_step + np.arange(len(ends) - 1), np.diff(ends))
        found.append((steps, sources[: ends[-1]].copy()))
    return found


POISSON_BLOCK = 10_000
"""Steps of a Poisson source that are drawn at once, so that a longer run begins like a shorter."""


def _poisson_spikes(
    realization: Realization,
    arithmetic: Arithmetic | Cores | Compartments,
    label: str,
    n_steps: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells and steps of the spikes of a ``SpikeSourcePoisson`` population, several per step if due."""
    parameters = realization.parameters(label)
    begin = np.rint(parameters["start"] / realization.timestep)
    end = np.rint((parameters["start"] + parameters["duration"]) / realization.timestep)
    source = f"population {label!r}"
    law = spikes_per_step(arithmetic, parameters["rate"], realization.timestep, source)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for block in range(0, n_steps, POISSON_BLOCK):
        key = Stream.named(realization.seed, "source", label, str(block)).key
        generator = np.random.Generator(np.random.Philox(key=key.view(np.uint64)))
        counts = generator.poisson(law[0] * POISSON_BLOCK)
        cells = np.repeat(np.arange(len(counts)), counts)
        steps = block + 1 + generator.integers(POISSON_BLOCK, size=len(cells))
        # a spike labelled k is of the step that ends at k
        active = (steps >= begin[cells] + LABEL_AFTER_START) & (
            steps < end[cells] + LABEL_AFTER_START
        )
        found.append((cells[active], steps[active]))
    cells, steps = (np.concatenate(column) for column in zip(*found, strict=True))
    return cells, steps
