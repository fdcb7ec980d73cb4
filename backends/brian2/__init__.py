"""Brian2 through pyNN.brian2.

Brian2 generates, compiles and schedules code for every group and every projection. So all
populations of one cell type become one PyNN population, and all projections between two of these
with the same receptor become one PyNN projection, whose synapses Brian2 receives as whole arrays.
(PyNN's own connectors work neuron by neuron, and give all synapses of a pair of neurons the weight
and delay of the last one.)

How a realization is lowered, so that spikes fall into the same steps as in NEST on grid:

- Labels. Brian2 labels a spike with the begin of the step in which the threshold was reached, the
  harness with its end: a spike in Brian2's step k is read as step k + 1. A ``SpikeSourceArray``
  emits one step before its label, so that it reaches its targets at label + delay, like a neuron.
  Its clock is that of the simulation (pyNN.brian2 leaves it at 0.1 ms). Brian2 allows a source one
  spike per step; more are refused.
- Refractory time. Brian2's ``refractory=n*dt`` holds the membrane potential for n - 1 steps, and
  pyNN.brian2 takes one value for a whole population. Here every neuron counts its own n steps, as
  integers.
- Threshold. ``v >= v_thresh``; pyNN.brian2 has ``v > v_thresh``.
- Delays are set as multiples of the time step, which Brian2 turns back into the same integers.
- Initial values of the membrane potential are set as realized.
- ``IF_curr_exp`` and ``IF_curr_alpha`` are integrated exactly (Rotter and Diesmann 1999, Biol.
  Cybern. 81:381), with propagators computed once per neuron. Brian2's own ``exact`` method
  evaluates the same exponentials in every step, which is three times slower, and divides by zero
  for tau_m = tau_syn.
- In pyNN.brian2's ``IF_curr_alpha`` inhibitory currents decay with tau_syn_E, here with tau_syn_I.
- ``IF_cond_exp`` and ``IF_cond_alpha`` are integrated with exact conductances in as many parts of the
  time step as that takes (`pynn_portability.backends.brian2.conductances`); pyNN.brian2 takes Euler's
  method. NEST's method is adaptive (Runge-Kutta-Fehlberg, with an error of up to 0.001 mV), so a spike can
  differ by a step where the membrane potential grazes the threshold.
- Poisson drive. In every step every neuron receives its weight times a Poisson count with mean
  rate * dt, through code in Brian2's synapse slot. The labels of a drive that starts at s begin
  with s + 2 steps, as those of NEST's ``poisson_generator``. Brian2's ``PoissonInput`` is not used:
  it is a binomial approximation (a normal one above 5 spikes per step), needs code of its own for
  every population (20 s of compilation for the eight of the cortical microcircuit instead of 3 s),
  and knows neither rates that differ within a population nor a start. Nor is pyNN.brian2's Poisson
  group: it emits at most one spike per cell and step, 10 kHz of an input of 16 kHz.
- A ``SpikeSourcePoisson`` population that is not a drive is such a group. Up to 0.1 spikes per step
  its mean is right and the variance of its counts at most 10 % too small; beyond, it is refused.

The number format ``float32`` holds membrane potentials, currents, weights and propagators in single
precision. Random input depends on the seed and on the option ``codegen``.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import importlib.metadata
import importlib.util
import io
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pyNN.connectors
from numpy.typing import NDArray
from pydantic import Field

from pynn_portability.backends import Backend, Capabilities, Estimate, Observations, Options
from pynn_portability.backends.ranges import Range, refuse_first
from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import SINGLE
from pynn_portability.formats.number_format import HeldRealization, NumberFormat
from pynn_portability.model.cells import Receptor
from pynn_portability.model.network import Network, PoissonDrive, Projection
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

MAX_SPIKES_PER_STEP = 0.1
"""Mean above which a Poisson group with at most one spike per cell and step is refused."""

RANGE = Range("Brian2", currents=None, conductances=1e4)

REPORT_SECONDS = 0.5
"""Wall time between two reports of progress."""

FloatArray = NDArray[np.float64]


class Brian2Options(Options):
    """``[backends.brian2]``"""

    codegen: Literal["cython", "numpy"] = Field(
        "cython",
        description="how Brian2 runs the model: compiled by way of Cython, or interpreted with NumPy",
    )


class Brian2Backend(Backend[Brian2Options]):
    """Brian2, in floating point."""

    options = Brian2Options
    capabilities = Capabilities(
        "Brian2",
        cells=(
            *("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha"),
            *("SpikeSourceArray", "SpikeSourcePoisson"),
        ),
        states=("float64", "float32"),
    )

    def available(self) -> str | None:
        """None when Brian2 and pyNN.brian2 can be imported, otherwise what is wrong."""
        if importlib.util.find_spec("brian2") is None:
            return "Brian2 is not installed; pip install 'pynn-portability[brian2]' brings it"
        try:
            _imported()
        except Exception as error:
            installed = f"Brian2 {importlib.metadata.version('brian2')} with NumPy {np.__version__}"
            # np.ndarray.ptp is gone since NumPy 2.4, Brian2 up to 2.9 uses it
            if "ptp" in str(error):
                return (
                    f"{installed} cannot be imported, Brian2 up to 2.9 needs NumPy below 2.4; "
                    "pip install 'numpy<2.4'"
                )
            reason = " ".join(str(error).split())
            return f"{installed} cannot be imported: {type(error).__name__}: {reason}"
        return None

    def versions(self) -> dict[str, str]:
        """Versions of the packages whose code decides the result."""
        return {p: importlib.metadata.version(p) for p in ("Brian2", "PyNN", "numpy", "Cython")}

    def check(self, network: Network, number_format: NumberFormat, timestep: float) -> list[str]:
        """What of the sources Brian2 cannot represent on a grid of ``timestep`` ms."""
        realization = Realization(network, 0, timestep)
        problems = RANGE.refusals(realization)
        for population in network.populations:
            label = population.label
            if population.cell.source == "poisson":
                rate = realization.parameters(label)["rate"].max()
                if rate * timestep / 1000 > MAX_SPIKES_PER_STEP:
                    problems.append(
                        f"population {label!r}: a shared or recorded {population.cell_type} emits at "
                        f"most one spike per step in Brian2, so its rate of {rate:g} Hz is not allowed; "
                        f"at a timestep of {timestep:g} ms at most "
                        f"{MAX_SPIKES_PER_STEP * 1000 / timestep:g} Hz are"
                    )
            elif population.cell.source == "given":
                cells, steps = realization.spike_steps(label)
                twice = (np.diff(steps) == 0) & (np.diff(cells) == 0)
                if twice.any():
                    problems.append(
                        f"population {label!r}: cell {cells[1:][twice][0]} spikes more than once at "
                        f"{steps[1:][twice][0] * timestep:g} ms; in Brian2 a spike source is allowed "
                        f"one spike per step of {timestep:g} ms"
                    )
        return problems

    def estimate(
        self,
        network: Network,
        number_format: NumberFormat,
        options: Brian2Options,
        n_steps: int,
        timestep: float,
    ) -> Estimate:
        """Memory and time of one run, at an assumed 3 spikes/s per neuron.

        Coefficients measured with Brian2 2.9 on the microcircuit at scales 0.02 to 0.25, one core. The
        first run of a kind of model takes about 20 s more, to compile; Brian2 keeps the code on disk.
        """
        realization = Realization(network, 0, timestep)
        synapses = realization.n_synapses
        neurons = sum(p.size for p in network.populations)
        events = synapses * 3.0 * n_steps * timestep / 1000.0
        slower = 1.0 if options.codegen == "cython" else 5.0
        return Estimate(
            memory_bytes=280e6 + 2e3 * neurons + 50.0 * synapses,
            build_seconds=2.5 + 3e-7 * synapses,
            simulate_seconds=3e-5 * n_steps + slower * (2.5e-8 * neurons * n_steps + 2e-8 * events),
        )

    def simulation(self, held: HeldRealization, options: Brian2Options) -> Brian2Simulation:
        """Build the realized network in Brian2.

        RequestError when no compiler is found, and for time constants that were drawn outside of `RANGE`.
        """
        refuse_first(RANGE.refusals(held.realization))
        return Brian2Simulation(held, options.codegen)


BACKEND: Backend[Brian2Options] = Brian2Backend()


class Brian2Simulation:
    """A network in Brian2. Only the latest one in a process is usable: PyNN holds one network."""

    synapse_bytes = None
    observations: Observations = MappingProxyType({})

    def __init__(self, held: HeldRealization, codegen: str) -> None:
        brian2, sim, self._cells = _imported()
        self._brian2, self._sim = brian2, sim
        if codegen == "cython" and not _can_compile():
            raise RequestError(
                'Brian2 found no working C++ compiler; install one or set codegen = "numpy" in '
                "[backends.brian2]"
            )
        self._held = held
        self._realization = realization = held.realization
        self._network = realization.network
        self._timestep = realization.timestep
        # lets go of an earlier network, so that names, and thus compiled code, are the same again
        sim.simulator.state.clear()
        gc.collect()
        # building is a few array operations, not worth compiling
        brian2.prefs.codegen.target = "numpy"
        self._float = np.dtype(np.float32 if held.format.state == SINGLE else np.float64)
        brian2.prefs.core.default_float_dtype = self._float.type
        sim.setup(timestep=self._timestep, min_delay=self._timestep)
        self._groups: dict[str, Any] = {}
        self._first_index: dict[str, int] = {}
        self._monitors: dict[str, Any] = {}
        self._synapses: dict[str, tuple[Any, slice]] = {}
        for cell_type in dict.fromkeys(p.cell_type for p in self._network.populations):
            self._create(cell_type)
        self._connect_all()
        self._drive_all()
        brian2.prefs.codegen.target = codegen
        # a run without steps generates and compiles the code, which belongs to building
        sim.simulator.state.network.run(0 * brian2.ms, namespace={})

    # --- building ---

    def _create(self, cell_type: str) -> None:
        """One group for all populations of a cell type."""
        members = [p for p in self._network.populations if p.cell_type == cell_type]
        ends = np.cumsum([p.size for p in members])
        for population, end in zip(members, ends, strict=True):
            self._first_index[population.label] = int(end) - population.size
        drawn = [self._realization.parameters(p.label) for p in members]
        fused = {name: np.concatenate([d[name] for d in drawn]) for name in drawn[0]}
        cells = self._sim.Population(int(ends[-1]), self._cells[cell_type](**fused))
        self._groups[cell_type] = cells
        if members[0].cell.source == "given":
            self._set_spikes(cells, [p.label for p in members])
        elif members[0].cell.state:
            initial = [self._realization.initial_values(p.label) for p in members]
            for name in initial[0]:
                cells.initialize(**{name: np.concatenate([values[name] for values in initial])})
        # PyNN's array of cells refers back to the population; Python could never collect the two
        cells.all_cells = None
        if any(p.recorded for p in members):
            monitor = self._brian2.SpikeMonitor(cells.brian2_group)
            self._sim.simulator.state.network.add(monitor)
            self._monitors[cell_type] = monitor

    def _set_spikes(self, source: Any, populations: list[str]) -> None:
        indices, steps = [], []
        for label in populations:
            cells, labels = self._realization.spike_steps(label)
            indices.append(cells + self._first_index[label])
            steps.append(labels)
        # a spike labelled k is emitted in the step that ends at k
        begin = (np.concatenate(steps) - 1) * self._timestep
        source.brian2_group.set_spikes(np.concatenate(indices), begin * self._brian2.ms)

    def _connect_all(self) -> None:
        bundles: dict[tuple[str, str, Receptor], list[Projection]] = {}
        for p in self._network.projections:
            source, target = (self._network.population(end) for end in (p.source, p.target))
            key = (source.cell_type, target.cell_type, p.receptor)
            # a Synapses object without synapses would stop Brian2
            if self._realization.synapse_count(p.label):
                bundles.setdefault(key, []).append(p)
        for (source_type, target_type, receptor), projections in bundles.items():
            self._connect(source_type, target_type, receptor, projections)

    def _connect(
        self,
        source_type: str,
        target_type: str,
        receptor: Receptor,
        projections: list[Projection],
    ) -> None:
        """One PyNN projection for all between two groups with the same receptor."""
        fused = self._sim.Projection(
            self._groups[source_type],
            self._groups[target_type],
            _ArrayConnector(self._bundle(projections), self._timestep),
            self._sim.StaticSynapse(),
            receptor_type=receptor,
        )
        begin = 0
        for p in projections:
            end = begin + self._realization.synapse_count(p.label)
            self._synapses[p.label] = (fused._brian2_synapses[0][0], slice(begin, end))
            begin = end

    def _bundle(self, projections: list[Projection]) -> Synapses:
        """Synapses of several projections, one after the other, with indices within their groups.

        Each projection's synapses are sorted by source: a spike then reads consecutive memory, and
        delivery takes half the time that it takes in the order in which synapses were drawn.
        """
        total = sum(self._realization.synapse_count(p.label) for p in projections)
        bundle = Synapses(
            np.empty(total, np.int32),
            np.empty(total, np.int32),
            np.empty(total, self._float),
            np.empty(total, np.int32),
        )
        position = 0
        for p in projections:
            begin = position
            for chunk in self._held.synapses(p.label):
                part = slice(position, position + len(chunk))
                bundle.source[part] = chunk.source + self._first_index[p.source]
                bundle.target[part] = chunk.target + self._first_index[p.target]
                bundle.weight[part] = chunk.weight * self._weight_unit(p.target)
                bundle.delay[part] = chunk.delay
                position = part.stop
            order = np.argsort(bundle.source[begin:position], kind="stable")
            for column in (bundle.source, bundle.target, bundle.weight, bundle.delay):
                column[begin:position] = column[begin:position][order]
        return bundle

    def _weight_unit(self, population: str) -> float:
        """Ampere per nA or siemens per uS."""
        return 1e-6 if self._network.population(population).cell.conductance_based else 1e-9

    def _drive_all(self) -> None:
        # only drives on the same neurons and receptor need arrays and code of their own
        layers: dict[tuple[str, str, int], list[PoissonDrive]] = {}
        count = Counter[tuple[str, str]]()
        for drive in self._network.drives:
            cell_type = self._network.population(drive.target).cell_type
            layer = count[drive.target, drive.receptor]
            count[drive.target, drive.receptor] += 1
            layers.setdefault((cell_type, drive.receptor, layer), []).append(drive)
        for (cell_type, receptor, layer), drives in layers.items():
            self._drive(cell_type, receptor, f"{receptor}_{layer}", drives)

    def _drive(
        self,
        cell_type: str,
        receptor: str,
        suffix: str,
        drives: list[PoissonDrive],
    ) -> None:
        cells = self._groups[cell_type]
        mean, weight = np.zeros(cells.size), np.zeros(cells.size)
        start, stop = np.zeros(cells.size, np.int32), np.zeros(cells.size, np.int32)
        for drive in drives:
            arrays = self._held.drive(drive.label)
            first = self._first_index[drive.target]
            part = slice(first, first + len(arrays.rate))
            mean[part] = arrays.rate * self._timestep / 1000
            weight[part] = arrays.weight * self._weight_unit(drive.target)
            delay = arrays.delay.astype(np.int64)
            start[part] = self._first_step(drive.start, delay)
            stop[part] = self._first_step(drive.start + drive.duration, delay)
        group = cells.brian2_group
        variable = cells.celltype.post_synaptic_variables[receptor]
        add = functools.partial(group.variables.add_array, size=cells.size, constant=True)
        add(f"mean_{suffix}", values=mean)
        add(f"none_{suffix}", values=np.exp(-mean))
        add(f"weight_{suffix}", values=weight, dimensions=group.variables[variable].dim)
        add(f"start_{suffix}", values=start, dtype=np.int32)
        add(f"stop_{suffix}", values=stop, dtype=np.int32)
        group.run_regularly(
            f"{variable} += weight_{suffix} * poisson_count(mean_{suffix}, none_{suffix})"
            f" * int(t_in_timesteps >= start_{suffix} and t_in_timesteps < stop_{suffix})",
            when="synapses",
        )

    def _first_step(self, start: float, delay: NDArray[np.int64]) -> NDArray[np.int64]:
        """Brian2's step in which the first Poisson spikes act; 32 bits, beyond them is never."""
        # their label is start + 2 steps; what acts in Brian2's step k has label + delay = k + 1
        return np.minimum(np.rint(start / self._timestep) + 1 + delay, np.iinfo(np.int32).max)

    # --- reading back and running ---

    def connections(self, projection: str) -> Synapses:
        """Synapses as Brian2 holds them, in PyNN's units, sorted."""
        if projection not in self._synapses:
            return Synapses.concatenate([])
        described = self._network.projection(projection)
        synapses, part = self._synapses[projection]
        delay = np.asarray(synapses.delay)[part] / (self._timestep * 1e-3)
        return Synapses(
            np.asarray(synapses.i)[part] - np.int32(self._first_index[described.source]),
            np.asarray(synapses.j)[part] - np.int32(self._first_index[described.target]),
            np.asarray(synapses.weight, np.float64)[part] / self._weight_unit(described.target),
            np.rint(delay).astype(np.int32),
        ).sorted()

    def run(self, n_steps: int, progress: Callable[[float], None]) -> SpikeData:
        """Simulate ``n_steps`` steps and return the spikes of the recorded populations."""
        self._brian2.seed(_seed(self._realization.seed))
        # not by way of PyNN's run(), which first copies the whole network for a later reset()
        self._sim.simulator.state.network.run(
            n_steps * self._timestep * self._brian2.ms,
            report=lambda elapsed, completed, start, duration: progress(float(completed)),
            report_period=REPORT_SECONDS * self._brian2.second,
            namespace={},
        )
        return SpikeData(
            self._timestep,
            n_steps,
            {p.label: self._recorded(p.label) for p in self._network.recorded},
        )

    def _recorded(self, label: str) -> PopulationSpikes:
        population = self._network.population(label)
        monitor = self._monitors[population.cell_type]
        neurons = np.asarray(monitor.i) - self._first_index[label]
        own = (neurons >= 0) & (neurons < population.size)
        begin = np.asarray(monitor.t)[own] / (self._timestep * 1e-3)
        return PopulationSpikes.from_unsorted(
            population.size, np.rint(begin).astype(np.int64) + 1, neurons[own]
        )


class _ArrayConnector(pyNN.connectors.Connector):
    """Hands whole arrays to the one ``Synapses`` object of a pyNN.brian2 projection."""

    def __init__(self, synapses: Synapses, timestep: float) -> None:
        super().__init__()
        self._arrays = synapses
        self._timestep = timestep

    def connect(self, projection: Any) -> None:
        arrays = self._arrays
        synapses = projection._brian2_synapses[0][0]
        # numbering the synapses of each pair is slow and needs memory, and serves nothing here
        synapses.multisynaptic_index = None
        synapses.connect(i=arrays.source, j=arrays.target)
        synapses.variables["weight"].set_value(arrays.weight)
        synapses.pre.variables["delay"].set_value(arrays.delay * (self._timestep * 1e-3))


def _seed(seed: int) -> int:
    """A seed of 32 bits for Brian2; neighbouring study seeds differ in every bit pattern."""
    return int.from_bytes(hashlib.blake2b(f"brian2 {seed}".encode(), digest_size=4).digest(), "big")


def _can_compile() -> bool:
    """Whether Brian2 can compile here: its own trial, whose result it keeps on disk."""
    from brian2.codegen.runtime.cython_rt.cython_rt import CythonCodeObject  # noqa: PLC0415

    return CythonCodeObject.is_available()


@functools.cache
def _imported() -> tuple[Any, Any, Mapping[str, type]]:
    """Brian2, pyNN.brian2 and this backend's cell types by PyNN name, imported at first use."""
    hook = sys.excepthook
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import brian2  # noqa: PLC0415
        import pyNN.brian2 as sim  # noqa: PLC0415

        from pynn_portability.backends.brian2.cells import CELLS  # noqa: PLC0415
    # Brian2 installs one that asks for a bug report at every uncaught exception
    sys.excepthook = hook
    # its file of diagnostics costs more than many a simulation here
    logging.getLogger("brian2").setLevel(logging.ERROR)
    return brian2, sim, CELLS
