"""NEST through pyNN.nest: the reference backend.

How a realization is lowered:

- ``spike_precision="on_grid"``: PyNN's default swaps in off-grid models (``iaf_psc_exp_ps``),
  which are not the reference model.
- Cells are PyNN standard cells, translated by PyNN and created in one call per population, as PyNN's
  own populations make Python objects per neuron (1.3 s instead of 0.3 s for 7,717 of them).
- Synapses are handed to ``nest.Connect`` as arrays, a chunk at a time, because PyNN's own connectors
  work neuron by neuron.
- A Poisson drive is a ``poisson_generator`` connected straight to the neurons; NEST gives every
  target its own spike train, so no parrot neurons are needed.
- A ``SpikeSourceArray`` is a ``spike_generator`` connected straight to its targets: a spike
  labelled t arrives at t + delay, as from a neuron. PyNN's parrot neurons would add a delay and
  shift the spike times.
- A ``SpikeSourcePoisson`` population that is not a drive needs parrot neurons, so that all its
  targets see the same spikes; its generators start one step early to make up for the parrots'
  delay.
- Spikes are read as integer steps. NEST labels a spike with the end of the step in which the
  threshold was reached, which is the harness's convention, so nothing is shifted.

Random input depends on the seed and the number of threads: every virtual process has a generator.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pynn_portability.backends import Backend, Capabilities, Estimate, Observations, Options
from pynn_portability.backends.ranges import Range, longest_delay, refuse_first
from pynn_portability.formats.number_format import HeldRealization, NumberFormat
from pynn_portability.model.cells import Receptor
from pynn_portability.model.network import Network, PoissonDrive, Population, Projection
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

MAX_CONNECTIONS_PER_VIRTUAL_PROCESS = 134_217_726
"""NEST 3.10 refuses more connections of one synapse model on one virtual process."""

TICK_MS = 0.001
"""Resolution of NEST's clock."""

RANGE = Range("NEST", currents=700.0, conductances=1e4, slowest=1e6, fastest=3.0, smallest=1e-3)
"""Beyond, propagators of currents are infinite inside or those of equal time constants, and 1000 times too large
or 0 in the end; the adaptive method for conductances has an absolute tolerance."""

SLICE_MS = 100.0
"""Simulated between two reports of progress; fixed, so that it cannot change the random input."""


class NestOptions(Options):
    """``[backends.nest]``"""

    threads: int = Field(
        1, ge=1, description="threads of one run; more than one pays off only for large networks"
    )


class NestBackend(Backend[NestOptions]):
    """NEST, in double precision."""

    options = NestOptions
    capabilities = Capabilities(
        "NEST",
        cells=(
            *("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha"),
            *("SpikeSourcePoisson", "SpikeSourceArray"),
        ),
        states=("float64",),
    )

    def available(self) -> str | None:
        """None when NEST and PyNN can be imported, otherwise what to install."""
        if importlib.util.find_spec("nest") is None:
            return "NEST is not installed; pip install 'pynn-portability[nest]' brings it"
        try:
            _imported()
        except Exception as error:
            reason = " ".join(str(error).split())
            return f"NEST cannot be imported: {type(error).__name__}: {reason}"
        return None

    def versions(self) -> dict[str, str]:
        """Versions of NEST and PyNN."""
        return {p: importlib.metadata.version(p) for p in ("nest-simulator", "PyNN")}

    def check(self, network: Network, number_format: NumberFormat, timestep: float) -> list[str]:
        """What of the network or the time step (ms) NEST cannot represent."""
        problems = []
        if round(timestep / TICK_MS) < 1 or not math.isclose(
            timestep / TICK_MS, round(timestep / TICK_MS)
        ):
            problems.append(
                f"a timestep of {timestep:g} ms is not allowed in NEST, whose time steps are "
                f"multiples of {TICK_MS:g} ms"
            )
        for population in network.populations:
            if population.cell.source == "poisson" and not all(
                isinstance(population.parameters[k], float) for k in ("start", "duration")
            ):
                problems.append(
                    f"population {population.label!r}: start and duration of {population.cell_type} "
                    "must be one number for all cells"
                )
        return problems + RANGE.refusals(Realization(network, 0, timestep))

    def threads(self, network: Network, options: NestOptions) -> int:
        """As many as asked, multiplied until every virtual process can hold its connections."""
        return _threads_for(Realization(network, 0, 0.1).n_synapses, options.threads)

    def estimate(
        self,
        network: Network,
        number_format: NumberFormat,
        options: NestOptions,
        n_steps: int,
        timestep: float,
    ) -> Estimate:
        """Memory and time from coefficients measured with NEST 3.10, at an assumed 3 spikes/s."""
        synapses = Realization(network, 0, timestep).n_synapses
        neurons = sum(p.size for p in network.populations)
        n_threads = min(self.threads(network, options), os.cpu_count() or 1)
        events = synapses * 3.0 * n_steps * timestep / 1000.0
        return Estimate(
            memory_bytes=250e6
            + 3e3 * neurons
            + 50.0 * synapses
            # a ring buffer for each receptor of every neuron
            + 16.0 * neurons * longest_delay(network, timestep),
            build_seconds=3.0 + 4e-7 * synapses,
            simulate_seconds=(6e-8 * neurons * n_steps + 1.1e-7 * events) / n_threads,
        )

    def simulation(self, held: HeldRealization, options: NestOptions) -> NestSimulation:
        """Build the realized network in NEST's kernel, which is reset first.

        RequestError for time constants that were drawn outside of `RANGE`.
        """
        refuse_first(RANGE.refusals(held.realization))
        return NestSimulation(held, self.threads(held.network, options))


BACKEND: Backend[NestOptions] = NestBackend()


def _threads_for(n_synapses: int, asked: int) -> int:
    needed = math.ceil(n_synapses / MAX_CONNECTIONS_PER_VIRTUAL_PROCESS)
    # a multiple of what was asked keeps the cores evenly loaded
    return asked * max(1, math.ceil(needed / asked))


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep NEST's banner and PyNN's failing attempt to compile extensions off the terminal."""
    with tempfile.TemporaryFile() as sink:
        kept = [os.dup(1), os.dup(2)]
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()  # the banner waits in Python's buffer when that is a pipe
            sys.stderr.flush()
            for copy, descriptor in zip(kept, (1, 2), strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)


@functools.cache
def _imported() -> tuple[Any, Any]:
    """NEST and pyNN.nest, imported at first use."""
    with _silenced():
        import nest  # noqa: PLC0415
        import pyNN.nest as sim  # noqa: PLC0415
    return nest, sim


class NestSimulation:
    """A network in NEST's kernel, which holds one: only the latest in a process is usable."""

    synapse_bytes = None
    observations: Observations = MappingProxyType({})

    def __init__(self, held: HeldRealization, n_threads: int) -> None:
        nest, sim = _imported()
        self._nest = nest
        self._sim = sim
        self._held = held
        self._realization = realization = held.realization
        self._network = realization.network
        self._timestep = realization.timestep
        sim.setup(
            timestep=self._timestep,
            spike_precision="on_grid",
            verbosity="error",
            threads=n_threads,
            rng_seed=_kernel_seed(realization.seed),
        )
        nest.SetDefaults("spike_generator", {"precise_times": False})
        self._first_id: dict[str, int] = {}
        self._model_of: dict[str, str] = {}
        self._first_source: dict[str, int] = {}
        # before all neurons, because of how they are connected (see _create)
        self._recorders = {
            p.label: nest.Create("spike_recorder", params={"time_in_steps": True})
            for p in self._network.recorded
            if p.cell.source != "given"
        }
        for population in self._network.populations:
            self._create(population)
        for projection in self._network.projections:
            self._connect(projection)
        for drive in self._network.drives:
            self._drive(drive)
        nest.Prepare()

    # --- building ---

    def _create(self, population: Population) -> None:
        nest, label = self._nest, population.label
        if population.cell.source == "given":
            nodes = self._create_spike_generators(population)
        elif population.cell.source == "poisson":
            nodes = self._create_poisson_sources(population)
        else:
            nodes = self._create_neurons(population)
        self._first_id[label] = nodes[0].global_id
        if label in self._recorders:
            # NEST sets aside room for 1024 synapses from each neuron to devices: 32 kB with
            # static_synapse, half of it with this model, which wants targets with small numbers
            nest.Connect(nodes, self._recorders[label], syn_spec="static_synapse_hpc")

    def _create_neurons(self, population: Population) -> Any:
        parameters = self._realization.parameters(population.label)
        cells = getattr(self._sim, population.cell_type)(
            **{name: _scalar_if_constant(values) for name, values in parameters.items()}
        )
        cells.parameter_space.shape = (population.size,)
        native = cells.native_parameters
        native.evaluate(simplify=True)
        initial = self._realization.initial_values(population.label)
        return self._nest.Create(
            cells.nest_name["on_grid"],
            population.size,
            {
                **dict(native.items()),
                **cells.extra_parameters,
                **{cells.variable_map[name]: values for name, values in initial.items()},
            },
        )

    def _create_spike_generators(self, population: Population) -> Any:
        neurons, steps = self._realization.spike_steps(population.label)
        order = np.argsort(neurons, kind="stable")
        trains = np.split(steps[order], np.cumsum(np.bincount(neurons, minlength=population.size)))
        parameters = [{"spike_times": train * self._timestep} for train in trains[:-1]]
        return self._nest.Create("spike_generator", population.size, params=parameters)

    def _create_poisson_sources(self, population: Population) -> Any:
        nest = self._nest
        parameters = self._realization.parameters(population.label)
        start = max(float(parameters["start"][0]) - self._timestep, 0.0)
        generators = nest.Create(
            "poisson_generator",
            population.size,
            params={
                "rate": parameters["rate"],
                "start": start,
                "stop": start + float(parameters["duration"][0]),
            },
        )
        parrots = nest.Create("parrot_neuron", population.size)
        nest.Connect(generators, parrots, "one_to_one", {"delay": self._timestep})
        return parrots

    def _connect(self, projection: Projection) -> None:
        label = projection.label
        unit = self._weight_unit(projection.target, projection.receptor)
        model, first_source = self._synapse_model(projection.source, projection.target)
        self._model_of[label], self._first_source[label] = model, first_source
        for chunk in self._held.synapses(label):
            self._nest.Connect(
                chunk.source.astype(np.int64) + first_source,
                chunk.target.astype(np.int64) + self._first_id[projection.target],
                "one_to_one",
                {
                    "synapse_model": model,
                    "weight": chunk.weight * unit,
                    "delay": chunk.delay * self._timestep,
                },
            )

    def _synapse_model(self, source: str, target: str) -> tuple[str, int]:
        """A synapse model and the first node to connect from.

        Parallel projections get a model of their own, to be told apart when read back. A device has
        one model for all its synapses, so spike generators are created once more instead.
        """
        built = [p for p in self._network.projections if p.label in self._model_of]
        earlier = sum((p.source, p.target) == (source, target) for p in built)
        if not earlier:
            return "static_synapse", self._first_id[source]
        population = self._network.population(source)
        if population.cell.source == "given":
            return "static_synapse", self._create_spike_generators(population)[0].global_id
        model = f"static_synapse_{earlier}"
        if model not in self._nest.synapse_models:
            self._nest.CopyModel("static_synapse", model)
        return model, self._first_id[source]

    def _weight_unit(self, target: str, receptor: Receptor) -> float:
        """pA per nA or nS per uS; NEST tells receptors apart by sign, for conductances too."""
        conductance_based = self._network.population(target).cell.conductance_based
        return -1000.0 if conductance_based and receptor == "inhibitory" else 1000.0

    def _drive(self, drive: PoissonDrive) -> None:
        nest = self._nest
        arrays = self._held.drive(drive.label)
        window = {"start": drive.start, "stop": drive.start + drive.duration}
        if not math.isfinite(window["stop"]):
            del window["stop"]
        size = len(arrays.rate)
        targets = np.arange(size) + self._first_id[drive.target]
        uniform = np.all(arrays.rate == arrays.rate[0])
        generators = nest.Create(
            "poisson_generator",
            1 if uniform else size,
            params={"rate": float(arrays.rate[0]) if uniform else arrays.rate, **window},
        )
        nest.Connect(
            np.broadcast_to(np.array(generators.tolist()), (size,)).copy(),
            targets,
            "one_to_one",
            {
                "synapse_model": "static_synapse",
                "weight": arrays.weight * self._weight_unit(drive.target, drive.receptor),
                "delay": arrays.delay * self._timestep,
            },
        )

    # --- reading back and running ---

    def connections(self, projection: str) -> Synapses:
        """Synapses as NEST's kernel holds them, in PyNN's units, sorted."""
        nest = self._nest
        described = self._network.projection(projection)
        first_source = self._first_source[projection]
        found = nest.GetConnections(
            self._nodes(described.source, first_source),
            self._nodes(described.target, self._first_id[described.target]),
            synapse_model=self._model_of[projection],
        )
        if not len(found):
            return Synapses.concatenate([])
        table = found.get(["source", "target", "weight", "delay"])
        unit = self._weight_unit(described.target, described.receptor)
        column = {name: np.atleast_1d(values) for name, values in table.items()}
        return Synapses(
            (column["source"] - first_source).astype(np.int32),
            (column["target"] - self._first_id[described.target]).astype(np.int32),
            column["weight"] / unit,
            np.rint(column["delay"] / self._timestep).astype(np.int32),
        ).sorted()

    def _nodes(self, label: str, first: int) -> Any:
        size = self._network.population(label).size
        return self._nest.NodeCollection(list(range(first, first + size)))

    def run(self, n_steps: int, progress: Callable[[float], None]) -> SpikeData:
        """Simulate ``n_steps`` steps and return the spikes of the recorded populations."""
        per_slice = max(1, round(SLICE_MS / self._timestep))
        for done in range(0, n_steps, per_slice):
            length = min(per_slice, n_steps - done)
            self._nest.Run(length * self._timestep)
            progress((done + length) / n_steps)
        self._nest.Cleanup()
        return SpikeData(
            self._timestep,
            n_steps,
            {p.label: self._recorded(p, n_steps) for p in self._network.recorded},
        )

    def _recorded(self, population: Population, n_steps: int) -> PopulationSpikes:
        if population.cell.source == "given":
            neurons, steps = self._realization.spike_steps(population.label)
            inside = steps <= n_steps
            return PopulationSpikes.from_unsorted(population.size, steps[inside], neurons[inside])
        events = self._recorders[population.label].events
        senders = np.asarray(events["senders"]) - self._first_id[population.label]
        return PopulationSpikes.from_unsorted(population.size, np.asarray(events["times"]), senders)


def _kernel_seed(seed: int) -> int:
    """A seed from 1 to 2**31 that differs between neighbouring study seeds in every bit pattern."""
    digest = hashlib.blake2b(f"nest kernel {seed}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (2**31 - 1) + 1


def _scalar_if_constant(values: NDArray[np.float64]) -> float | NDArray[np.float64]:
    return float(values[0]) if np.all(values == values[0]) else values
