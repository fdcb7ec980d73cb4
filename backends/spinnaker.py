"""SpiNNaker through sPyNNaker (pyNN.spiNNaker): a real board, or its virtual machine.

`simulation` runs on a board, which the user's own sPyNNaker configuration names: ``machine_name``,
``spalloc_server`` or ``remote_spinnaker_url`` in ``.spynnaker.cfg``, found and used as sPyNNaker does.
(A ``spynnaker.cfg`` in the working directory is not read, since every run has a working directory of
its own.) `dry_run` maps a network to sPyNNaker's virtual machine, which simulates nothing but tells
what the machine would hold; `pynn_portability.spinnaker.deployment` makes a sheet of it.

How a realization is lowered:

- Populations are ``IF_curr_exp``, ``SpikeSourceArray`` and ``SpikeSourcePoisson``; initial values are
  arrays, because the machine would draw a distribution itself.
- Synapses are lists (``FromListConnector``), sorted by source, then target: of unsorted ones,
  sPyNNaker loses some. Delays are whole steps. A projection whose delays are all equal is given one
  number, which is what sPyNNaker's choice of a weight scale looks at.
- Weights are as the model says. sPyNNaker rounds their magnitudes to 16 bits, and the receptor decides
  whether they are added or subtracted.
- A Poisson drive is a ``SpikeSourcePoisson`` population with a list of one synapse per neuron, so that
  the weights and delays on the board are those of the dry run. (``OneToOneConnector`` would have the
  board generate them, with another rounding.)

Time. In the machine a spike of step t with delay d acts in step t + d, where NEST's acts in step
t + d + 1. The port is reported as it is: nothing compensates for this. sPyNNaker labels a spike with
the beginning of its step; the labels returned are those of the harness, the end of the step. A spike
of a ``SpikeSourceArray`` has the time that the model gives it, and acts as in NEST.

Nothing here has been tried on a real board; tests replace the board's answers.
"""

from __future__ import annotations

import configparser
import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pynn_portability.backends import Backend, Capabilities, Estimate, Observations, Options
from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import SpinnakerArithmetic
from pynn_portability.formats.machines import MachineWeights, load_machine
from pynn_portability.formats.number_format import HeldRealization, NumberFormat
from pynn_portability.formats.spinnaker import (
    DELAY_STAGES,
    LARGEST_PARAMETER,
    LARGEST_RATE,
    MOST_NEURONS_PER_CORE,
    RATE,
    SIGMA,
    delay_slots,
)
from pynn_portability.formats.weights import WeightFormat
from pynn_portability.model.cells import RECEPTORS, Receptor
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
    Value,
)
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

FOREVER_MS = 1e9
"""Poisson sources that end later than this never end; sPyNNaker cannot say all larger numbers."""
GENERATED_ON_CHIP = (
    "uniform",
    "uniform_int",
    "normal",
    "normal_clipped",
    "normal_clipped_to_boundary",
    "exponential",
)
"""Distributions that cores can draw weights and delays from."""

CORES = {
    "PopulationMachineVertex": "neurons and synapses",
    "PopulationNeuronsMachineVertex": "neurons",
    "PopulationSynapsesMachineVertexLead": "synapses",
    "PopulationSynapsesMachineVertexShared": "synapses",
    "SpikeSourcePoissonMachineVertex": "Poisson sources",
    "SpikeSourceArrayMachineVertex": "spike source arrays",
    "DelayExtensionMachineVertex": "delay extensions",
}
"""What a core does, by the name of sPyNNaker's class; all others are monitors, on every chip."""


class SpinnakerOptions(Options):
    """``[backends.spinnaker]``"""

    neurons_per_core: int = Field(
        MOST_NEURONS_PER_CORE,
        ge=1,
        description="most neurons on one core, up to 256; fewer give more delay slots",
    )
    time_scale_factor: int = Field(
        1,
        ge=1,
        description="wall time per model time; above 1 the cores get more time for each step",
    )
    spikes_per_second: float = Field(
        RATE, ge=0.0, description="rate (1/s) of every source that sPyNNaker plans with"
    )
    ring_buffer_sigma: float = Field(
        SIGMA, ge=0.0, description="how many SD above its mean the summed input may be"
    )
    summed_excitatory: float = Field(
        0.0,
        ge=0.0,
        description="largest sum of weights (nA) in one step; with 0 for both, sPyNNaker decides",
    )
    summed_inhibitory: float = Field(
        0.0, ge=0.0, description="the same for inhibitory input; give both or neither"
    )

    @property
    def summed(self) -> list[float]:
        """Largest sums of weights (nA), excitatory and inhibitory."""
        return [self.summed_excitatory, self.summed_inhibitory]


class SpinnakerBackend(Backend[SpinnakerOptions]):
    """A SpiNNaker board, in its own arithmetic."""

    options = SpinnakerOptions
    capabilities = Capabilities(
        "SpiNNaker",
        cells=("IF_curr_exp", "SpikeSourceArray", "SpikeSourcePoisson"),
        states=("spinnaker",),
        advice="allowed is 'spinnaker-full', or 'spinnaker-full-N' with N sub-steps per time step",
    )

    def available(self) -> str | None:
        """None when sPyNNaker can be imported, otherwise what to install."""
        if importlib.util.find_spec("spynnaker") is None:
            return "sPyNNaker is not installed; pip install 'pynn-portability[spinnaker]' brings it"
        try:
            _imported()
        except Exception as error:
            reason = " ".join(str(error).split())
            return f"sPyNNaker cannot be imported: {type(error).__name__}: {reason}"
        return None

    def skipped(self, options: SpinnakerOptions) -> str | None:
        """Why no board takes part here, though nothing is wrong: none is configured."""
        files = [f for f in _configuration_files() if f.is_file()]
        if not files:
            return (
                "no SpiNNaker board is configured: there is no sPyNNaker configuration file "
                f"{_configuration_files()[-1]}, which would name a machine"
            )
        machine = _machine_section(files[0])
        if machine.get("virtualboard", "").lower() in ("true", "1", "yes", "y", "t", "on"):
            return (
                f"no SpiNNaker board is configured: {files[0]} asks for a virtual board, which "
                "simulates nothing"
            )
        keys = ("machinename", "spallocserver", "remotespinnakerurl")
        if all(machine.get(key, "none").lower() in ("", "none") for key in keys):
            return (
                f"no SpiNNaker board is configured: {files[0]} has no machine_name, spalloc_server "
                "or remote_spinnaker_url in its section [Machine]"
            )
        return None

    def versions(self) -> dict[str, str]:
        """Versions of sPyNNaker and PyNN."""
        return {p: importlib.metadata.version(p) for p in ("sPyNNaker", "PyNN")}

    def check(self, network: Network, number_format: NumberFormat, timestep: float) -> list[str]:
        """What of the network, the weights or the time step (ms) SpiNNaker cannot represent."""
        problems = []
        if number_format.fingerprint != _own_weights().fingerprint:
            problems.append(
                "a SpiNNaker board holds weights and delays in its own way and not as format "
                f"{number_format.name!r} says; {self.capabilities.advice}"
            )
        return problems + unmappable(network, timestep)

    def estimate(
        self,
        network: Network,
        number_format: NumberFormat,
        options: SpinnakerOptions,
        n_steps: int,
        timestep: float,
    ) -> Estimate:
        """Memory and time of one run on a board: mapping as measured in dry runs, and model time.

        Loading and reading back depend on the board and its network and were not measured.
        """
        synapses = Realization(network, 0, timestep).n_synapses
        neurons = sum(p.size for p in network.populations)
        mapping = 5.0 + 8e-4 * neurons + 2.5e-5 * synapses
        return Estimate(
            memory_bytes=300e6 + 300.0 * synapses,
            build_seconds=3.0 + 1e-6 * synapses,
            simulate_seconds=mapping + options.time_scale_factor * n_steps * timestep / 1000.0,
        )

    def simulation(self, held: HeldRealization, options: SpinnakerOptions) -> BoardSimulation:
        """Describe the realized network to sPyNNaker; the board is asked for when it runs.

        Raises RequestError without a configured board, and for delays that are too long or that make
        sPyNNaker lose synapses.
        """
        if reason := self.available() or self.skipped(options):
            raise RequestError(reason)
        state, realization = held.format.state, held.realization
        assert isinstance(state, SpinnakerArithmetic)
        simulation = BoardSimulation(realization, options, state.substeps)
        for p in realization.network.projections:
            if p.label in simulation.projections and loses_synapses(
                realization.network.population(p.source),
                math.ceil(realization.delay_range(p.label)[1] / simulation.slots(p.target)) - 1,
                options.neurons_per_core,
            ):
                raise RequestError(
                    f"projection {p.label!r}: with delays that need two stages of delay extension, "
                    "sPyNNaker loses or misplaces synapses of sources on several cores; take fewer "
                    "neurons per core (neurons_per_core in [backends.spinnaker]) or shorter delays"
                )
        return simulation


BACKEND: Backend[SpinnakerOptions] = SpinnakerBackend()


def _own_weights() -> WeightFormat:
    """What a board does to weights and delays, whatever the file is called that says so."""
    return MachineWeights(load_machine("spinnaker"))


def unmappable(network: Network, timestep: float) -> list[str]:
    """What of the network or the time step (ms) cannot be put on SpiNNaker, in any run.

    For networks of what `SpinnakerBackend` declares.
    """
    problems = []
    if not math.isclose(timestep * 1000, round(timestep * 1000)) or timestep < 0.0005:
        problems.append(
            f"a timestep of {timestep:g} ms is not allowed on SpiNNaker, whose time steps are whole "
            "microseconds"
        )
    for p in network.populations:
        for name, value in {**p.parameters, **p.initial_values}.items():
            limit = LARGEST_RATE if name == "rate" else LARGEST_PARAMETER
            ends = p.cell.source == "poisson" and name != "rate"
            if not isinstance(value, Distribution) and not ends and np.max(np.abs(value)) >= limit:
                problems.append(
                    f"population {p.label!r}: {name} = {np.max(np.abs(value)):g} is not allowed on "
                    f"SpiNNaker, whose numbers are below {limit:g}"
                )
    for d in network.drives:
        if not isinstance(d.rate, Distribution) and np.max(d.rate) >= LARGEST_RATE:
            problems.append(
                f"Poisson drive {d.label!r}: a rate of {np.max(d.rate):g} Hz is not allowed on "
                f"SpiNNaker, whose rates are below {LARGEST_RATE:g} Hz; split it between two "
                "populations of sources"
            )
    return problems


def loses_synapses(source: Population, stages: int, neurons_per_core: int) -> bool:
    """Whether sPyNNaker 7.4.1 loses or misplaces synapses whose spikes are delayed in ``stages``.

    It mixes up the rows of two and more stages unless all sources are on one core, or on one core of
    delay extensions.
    """
    return stages > 1 and source.size > (
        MOST_NEURONS_PER_CORE if source.is_source else neurons_per_core
    )


# --- Configuration ---


def _configuration_files() -> list[Path]:
    """Where sPyNNaker looks for the user's configuration; the home folder is the last."""
    if sys.platform == "darwin":
        folders = [
            Path("/Library/Application Support"),
            Path("~/Library/Application Support").expanduser(),
        ]
    else:
        folders = [
            Path((os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)[0]),
            Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()),
        ]
    return [folder / ".spynnaker.cfg" for folder in [*folders, Path("~").expanduser()]]


def _machine_section(file: Path) -> dict[str, str]:
    """Section ``[Machine]`` by option, in lower case and without underscores, as sPyNNaker reads it."""
    parser = configparser.RawConfigParser()
    parser.optionxform = lambda option: option.lower().replace("_", "")  # type: ignore[assignment]
    try:
        parser.read(file, encoding="utf-8")
        if other := parser.get("Machine", "machine_spec_file", fallback=None):
            parser.read(Path(other).expanduser(), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise RequestError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    return dict(parser["Machine"]) if parser.has_section("Machine") else {}


@functools.cache
def _imported() -> Any:
    """pyNN.spiNNaker, imported at first use."""
    return importlib.import_module("pyNN.spiNNaker")


def _data_view() -> Any:
    """sPyNNaker's view of what it has mapped."""
    return importlib.import_module("spynnaker.pyNN.data").SpynnakerDataView


# --- Building ---


class MappedNetwork:
    """A network described to sPyNNaker, which holds one: only the latest in a process is usable.

    ``substeps`` are parts of a time step in which neurons are integrated. With ``generated``,
    projections are the model's own connectors and distributions, which cores would draw, otherwise
    lists of the realized synapses.
    """

    def __init__(
        self,
        realization: Realization,
        options: SpinnakerOptions,
        substeps: int = 1,
        generated: bool = False,
    ) -> None:
        self._sim = sim = _imported()
        self._realization = realization
        self._network = network = realization.network
        self._timestep = realization.timestep
        self._substeps = substeps
        self._options = options
        if options.neurons_per_core > MOST_NEURONS_PER_CORE:
            raise RequestError(
                f"backends.spinnaker.neurons_per_core: at most {MOST_NEURONS_PER_CORE} are allowed, "
                f"not {options.neurons_per_core}"
            )
        if any(options.summed) and not all(options.summed):
            raise RequestError(
                "backends.spinnaker: summed_excitatory and summed_inhibitory belong together, give "
                "both or neither"
            )
        self._refuse_long_delays()
        sim.setup(timestep=self._timestep, time_scale_factor=options.time_scale_factor)
        self.populations = {p.label: self._population(p) for p in network.populations}
        self.projections: dict[str, Any] = {}
        for projection in network.projections:
            if realization.synapse_count(projection.label):
                own = generated and generated_on_chip(projection)
                connect = self._connect_generated if own else self._connect_listed
                self.projections[projection.label] = connect(projection)
        self.drives = {drive.label: self._drive(drive) for drive in network.drives}

    def _refuse_long_delays(self) -> None:
        for p in self._network.projections:
            if not self._realization.synapse_count(p.label):
                continue
            slots = self.slots(p.target)
            longest = self._realization.delay_range(p.label)[1]
            if longest > (DELAY_STAGES + 1) * slots:
                raise RequestError(
                    f"projection {p.label!r}: a delay of {longest * self._timestep:g} ms is longer "
                    f"than SpiNNaker's limit of {(DELAY_STAGES + 1) * slots * self._timestep:g} ms "
                    f"with {self._options.neurons_per_core} neurons per core and a timestep of "
                    f"{self._timestep:g} ms; take fewer neurons per core (neurons_per_core in "
                    "[backends.spinnaker]) or a longer timestep"
                )

    def slots(self, population: str) -> int:
        """Delay slots of the cores of a population."""
        size = self._network.population(population).size
        return delay_slots(size, self._options.neurons_per_core)

    def _population(self, p: Population) -> Any:
        cells: Any
        additional: dict[str, Any] = {}
        if p.cell.source == "given":
            cells = self._sim.SpikeSourceArray(spike_times=self._spike_times(p))
        elif p.cell.source == "poisson":
            parameters = self._realization.parameters(p.label)
            cells = self._poisson(*(parameters[k] for k in ("rate", "start", "duration")))
            additional["seed"] = self._seed(p.label)
        else:
            parameters = self._realization.parameters(p.label)
            cells = self._sim.IF_curr_exp(
                **{name: _scalar_if_constant(values) for name, values in parameters.items()}
            )
            options = self._options
            additional = {
                "seed": self._seed(p.label),
                "neurons_per_core": options.neurons_per_core,
                "spikes_per_second": options.spikes_per_second,
                "ring_buffer_sigma": options.ring_buffer_sigma,
                "n_steps_per_timestep": self._substeps,
            }
            if any(options.summed):
                additional["max_expected_summed_weight"] = options.summed
        population = self._sim.Population(
            p.size, cells, label=p.label, additional_parameters=additional
        )
        if not p.is_source:
            initial = self._realization.initial_values(p.label)
            population.initialize(**{name: list(v) for name, v in initial.items()})
        if p.recorded and p.cell.source != "given":
            population.record("spikes")
        return population

    def _seed(self, label: str) -> int:
        digest = hashlib.blake2b(f"{self._realization.seed} {label}".encode(), digest_size=4)
        return int.from_bytes(digest.digest(), "little") >> 1

    def _spike_times(self, p: Population) -> list[Any]:
        neurons, steps = self._realization.spike_steps(p.label)
        if not len(steps):
            return []  # sPyNNaker fails on a list of empty lists
        order = np.argsort(neurons, kind="stable")
        trains = np.split(steps[order], np.cumsum(np.bincount(neurons, minlength=p.size)))[:-1]
        return [(train * self._timestep).tolist() for train in trains]

    def _poisson(
        self,
        rate: NDArray[np.float64],
        start: NDArray[np.float64],
        duration: NDArray[np.float64],
    ) -> Any:
        times: dict[str, Any] = {"start": _scalar_if_constant(start)}
        if not np.all(start + duration > FOREVER_MS):
            times["duration"] = _scalar_if_constant(np.minimum(duration, FOREVER_MS))
        return self._sim.SpikeSourcePoisson(rate=_scalar_if_constant(rate), **times)

    def _connect_listed(self, p: Projection) -> Any:
        synapses = Synapses.concatenate(list(self._realization.synapses(p.label)))
        return self._projection(p.label, self.populations[p.source], p.target, p.receptor, synapses)

    def _projection(
        self, label: str, sources: Any, target: str, receptor: Receptor, synapses: Synapses
    ) -> Any:
        weight, delay = synapses.weight, synapses.delay
        if weight.min() < 0 < weight.max():
            raise RequestError(
                f"projection {label!r} has weights of both signs ({weight.min():g} to "
                f"{weight.max():g}), of which SpiNNaker would take the magnitudes; allowed is one sign"
            )
        order = np.lexsort((synapses.target, synapses.source))
        columns = [synapses.source[order], synapses.target[order], np.abs(weight[order])]
        names, synapse = ["weight"], self._sim.StaticSynapse(delay=int(delay[0]) * self._timestep)
        if np.any(delay != delay[0]):
            columns.append(delay[order] * self._timestep)
            names, synapse = ["weight", "delay"], self._sim.StaticSynapse()
        return self._sim.Projection(
            sources,
            self.populations[target],
            self._sim.FromListConnector(np.column_stack(columns), column_names=names),
            synapse,
            receptor_type=receptor,
            label=label,
        )

    def _drive(self, drive: PoissonDrive) -> Any:
        arrays = self._realization.drive(drive.label)
        size = len(arrays.rate)
        name = self._unused(f"{drive.label} (sources)")
        times = (np.full(size, drive.start), np.full(size, drive.duration))
        sources = self._sim.Population(
            size,
            self._poisson(arrays.rate, *times),
            label=name,
            additional_parameters={"seed": self._seed(name)},
        )
        index = np.arange(size, dtype=np.int32)
        synapses = Synapses(index, index, arrays.weight, arrays.delay)
        return self._projection(drive.label, sources, drive.target, drive.receptor, synapses)

    def _unused(self, name: str) -> str:
        """A name of sources that no population has, as sPyNNaker tells its vertices apart by name."""
        return name if name not in self.populations else self._unused(name + "'")

    def _connect_generated(self, p: Projection) -> Any:
        return self._sim.Projection(
            self.populations[p.source],
            self.populations[p.target],
            p.connector.to_pynn(self._sim),
            self._sim.StaticSynapse(
                weight=self._random(p.weight, magnitude=True), delay=self._random(p.delay)
            ),
            receptor_type=p.receptor,
            label=p.label,
        )

    def _random(self, value: Value, magnitude: bool = False) -> Any:
        if not isinstance(value, Distribution):
            return abs(value) if magnitude else value
        return self._sim.RandomDistribution(value.name, **dict(value.parameters))

    # --- reading back ---

    def connections(self, projection: str) -> Synapses:
        """Synapses as sPyNNaker holds them, in PyNN's units, sorted; after a run only."""
        described = self._network.projection(projection)
        if projection not in self.projections:
            return Synapses.concatenate([])
        synapses = self.read(projection)
        sign = self._network.population(described.target).cell.sign(described.receptor)
        return replace(synapses, weight=sign * synapses.weight).sorted()

    def read(self, projection: str) -> Synapses:
        """Synapses of a projection with magnitudes of weights, in sPyNNaker's order."""
        return self._read(self.projections[projection])

    def read_drive(self, drive: str) -> Synapses:
        """Synapses of a drive, as from `read`."""
        return self._read(self.drives[drive])

    def _read(self, projection: Any) -> Synapses:
        held = projection.get(["weight", "delay"], "list")
        table = np.concatenate(held.connections)
        return Synapses(
            table["source"].astype(np.int32),
            table["target"].astype(np.int32),
            table["weight"].astype(np.float64),
            np.rint(table["delay"] / self._timestep).astype(np.int32),
        )


def generated_on_chip(projection: Projection) -> bool:
    """Whether cores could draw the projection: its connector, and its distributions."""

    def drawn(value: Value) -> bool:
        if isinstance(value, Distribution):
            return value.name in GENERATED_ON_CHIP
        return isinstance(value, float)

    return not projection.connector.listed and drawn(projection.weight) and drawn(projection.delay)


def _scalar_if_constant(values: NDArray[np.float64]) -> float | list[float]:
    return float(values[0]) if np.all(values == values[0]) else values.tolist()


# --- Dry run ---


def own_home(folder: Path) -> None:
    """Let this process use ``folder`` as its home, with a virtual board in the configuration.

    Must come before sPyNNaker is imported. What sPyNNaker writes stays in ``folder``.
    """
    os.environ |= {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CONFIG_DIRS": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    (folder / ".spynnaker.cfg").write_text(
        f"[Machine]\nvirtual_board = True\nversion = 5\n"
        f"[Reports]\ndefault_report_file_path = {folder}\n",
        encoding="utf-8",
    )


class DryRun(MappedNetwork):
    """A network mapped to the virtual machine; the process must have called `own_home`.

    Raises RequestError when the network cannot be mapped.
    """

    def __init__(
        self, realization: Realization, options: SpinnakerOptions, generated: bool = False
    ) -> None:
        noticed = _Warnings()
        logging.getLogger().addHandler(noticed)
        if generated:
            _generate_on_virtual_cores()
        try:
            super().__init__(realization, options, generated=generated)
            self._sim.run(self._timestep)
        except Exception as error:
            if sentence := unmapped(error):
                raise RequestError(sentence) from error
            raise
        finally:
            logging.getLogger().removeHandler(noticed)
        self.warnings = list(dict.fromkeys(noticed.messages))
        """What sPyNNaker warned of, each once."""

    def machine(self, n_steps: int) -> dict[str, Any]:
        """What the whole network takes, for a run of ``n_steps`` steps; SDRAM in bytes."""
        view = _data_view()
        kinds: dict[str, dict[str, Any]] = {}
        for placement in view.iterate_placemements():
            vertex = placement.vertex
            kind = CORES.get(type(vertex).__name__)
            if kind is None:
                continue
            row = kinds.setdefault(
                kind, {"kind": kind, "cores": 0, "sdram_fixed": 0, "sdram_per_step": 0}
            )
            row["cores"] += 1
            row["sdram_fixed"] += int(vertex.sdram_required.fixed)
            row["sdram_per_step"] += int(vertex.sdram_required.per_timestep)
        tables = [t.number_of_entries for t in view.get_uncompressed().routing_tables]
        fixed = sum(row["sdram_fixed"] for row in kinds.values())
        per_step = sum(row["sdram_per_step"] for row in kinds.values())
        machine = view.get_machine()
        needed = re.search(r"(\d+) Chips", view.get_chips_boards_required_str())
        return {
            "boards": len(machine.ethernet_connected_chips),
            "chips": int(needed[1]) if needed else machine.n_chips,
            "cores": sum(row["cores"] for row in kinds.values()),
            "kinds": sorted(kinds.values(), key=lambda row: row["kind"]),
            "sdram_fixed": fixed,
            "sdram_per_step": per_step,
            "sdram_total": fixed + per_step * n_steps,
            "routing_entries": sum(tables),
            "routing_entries_per_chip": max(tables, default=0),
        }

    def neurons(self, label: str) -> dict[str, Any]:
        """How the cores of a population of neurons are laid out, and the scales of its weights (nA)."""
        vertex = self.populations[label]._vertex
        combined = bool(vertex.use_combined_core)
        counts = Counter(CORES[type(m).__name__] for m in vertex.machine_vertices)
        shifts = [int(s) for s in vertex.get_ring_buffer_shifts()]
        return {
            "neurons_per_core": max(m.vertex_slice.n_atoms for m in vertex.machine_vertices),
            "cores": dict(sorted(counts.items())),
            "layout": "combined" if combined else "split",
            "synapse_cores": 0 if combined else int(vertex.n_synapse_cores_required),
            "delay_slots": int(vertex.max_delay_steps),
            "delay_slots_used": int(vertex.max_delay_steps_incoming),
            "receptors": [
                {
                    "receptor": receptor,
                    "shift": shift,
                    "scale": float(scale),
                    "step": 1 / float(scale),
                }
                for receptor, shift, scale in zip(
                    RECEPTORS, shifts, vertex.get_weight_scales(shifts), strict=True
                )
            ],
        }

    def sources(self, label: str) -> dict[str, Any]:
        """How the cores of a population of spike sources are laid out."""
        vertices = self.populations[label]._vertex.machine_vertices
        return {
            "neurons_per_core": max(m.vertex_slice.n_atoms for m in vertices),
            "cores": dict(Counter(CORES[type(m).__name__] for m in vertices)),
        }

    def delay_stages(self) -> dict[str, int]:
        """Stages of delay extension by the label of the population whose spikes they delay."""
        return {
            str(vertex.source_vertex.label): int(vertex.n_delay_stages)
            for vertex in _data_view().iterate_vertices()
            if type(vertex).__name__ == "DelayExtensionVertex"
        }


class _Warnings(logging.Handler):
    """Keeps what sPyNNaker warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(" ".join(record.getMessage().split()))


def _generate_on_virtual_cores() -> None:
    """Plan as for a board, where cores draw synapses: in a virtual machine the host would do it."""
    module = importlib.import_module("spynnaker.pyNN.models.neural_projections.synapse_information")
    connectors = importlib.import_module("spynnaker.pyNN.models.neural_projections.connectors")
    on_machine = connectors.AbstractGenerateConnectorOnMachine

    def may_generate_on_machine(information: Any) -> bool:
        connector = information.connector
        return isinstance(connector, on_machine) and connector.generate_on_machine(information)

    module.SynapseInformation.may_generate_on_machine = may_generate_on_machine


# --- Board ---


class BoardSimulation(MappedNetwork):
    """A network for the configured board, ready to run once.

    Spikes sent and received on a real board were not tested.
    """

    synapse_bytes = None

    @property
    def observations(self) -> Observations:
        """Nothing: what the machine noticed is in sPyNNaker's own provenance."""
        return {}

    def run(self, n_steps: int, progress: Callable[[float], None]) -> SpikeData:
        """Map, load and simulate ``n_steps`` steps on the board; returns recorded spikes.

        Raises RequestError when the board cannot be reached or the network not be mapped, and
        RuntimeError when the board holds fewer synapses than it was given.
        """
        try:
            self._sim.run(n_steps * self._timestep)
        except Exception as error:
            if sentence := _unreachable(error) or unmapped(error):
                raise RequestError(sentence) from error
            raise
        progress(1.0)
        spikes = {p.label: self._recorded(p, n_steps) for p in self._network.recorded}
        for p in self._network.projections:
            given, held = self._realization.synapse_count(p.label), len(self.connections(p.label))
            if held != given:
                raise RuntimeError(
                    f"projection {p.label!r} has {held} synapses on the board and should have {given}"
                )
        self._sim.end()
        return SpikeData(self._timestep, n_steps, spikes)

    def _recorded(self, p: Population, n_steps: int) -> PopulationSpikes:
        if p.cell.source == "given":
            neurons, steps = self._realization.spike_steps(p.label)
        else:
            trains = self.populations[p.label].get_data("spikes").segments[-1].spiketrains
            times = [np.asarray(train.rescale("ms").magnitude) for train in trains]
            indices = [int(train.annotations["source_index"]) for train in trains]
            neurons = np.repeat(np.array(indices, np.int64), [len(t) for t in times])
            # labelled with the beginning of their step
            steps = np.rint(np.concatenate([np.empty(0), *times]) / self._timestep).astype(np.int64)
            steps += 1
        inside = steps <= n_steps
        return PopulationSpikes.from_unsorted(p.size, steps[inside], neurons[inside])


def _unreachable(error: BaseException) -> str | None:
    """A sentence for an error that came from the way to the board, not from what ran on it."""
    module = type(error).__module__.partition(".")[0]
    if module not in ("spinnman", "spalloc", "requests", "websocket") and not isinstance(
        error, OSError
    ):
        return None
    if _data_view().has_machine():
        return None
    return (
        "the SpiNNaker board cannot be reached, see the sPyNNaker configuration and the board's "
        f"power and network ({type(error).__name__}: {' '.join(str(error).split())})"
    )


def unmapped(error: BaseException) -> str | None:
    """A sentence for sPyNNaker's refusal to map a network, None for any other error."""
    name, said = type(error).__name__, " ".join(str(error).split())
    if name == "SynapseRowTooBigException":
        return (
            "the network cannot be mapped, a neuron has more than 256 synapses onto the neurons of "
            f"one core; take fewer neurons per core (neurons_per_core in [backends.spinnaker]): {said}"
        )
    module = type(error).__module__.partition(".")[0]
    if module in ("pacman", "spynnaker") or name == "ConfigurationException":
        return f"the network cannot be mapped to SpiNNaker: {name}: {said}"
    return None
