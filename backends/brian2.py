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
- ``IF_cond_exp`` and ``IF_cond_alpha`` are integrated with the fourth-order Runge-Kutta method at
  the time step; pyNN.brian2 takes Euler's. NEST's method is adaptive (Runge-Kutta-Fehlberg), so a
  spike can differ by a step where the membrane potential grazes the threshold.
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
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyNN.connectors
from numpy.typing import NDArray
from scipy.special import exprel

from pynn_portability.backends import Estimate, Observations, Option
from pynn_portability.errors import RequestError
from pynn_portability.formats.number_format import FixedPoint, NumberFormat
from pynn_portability.model.network import Network, PoissonDrive, Projection
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

OPTIONS = {
    "codegen": Option(
        str,
        "cython",
        "how Brian2 runs the model: compiled by way of Cython, or interpreted with NumPy",
        ("cython", "numpy"),
    )
}

CELL_TYPES = ("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha")
SOURCE_TYPES = ("SpikeSourceArray", "SpikeSourcePoisson")

MAX_SPIKES_PER_STEP = 0.1
"""Mean above which a Poisson group with at most one spike per cell and step is refused."""

REPORT_SECONDS = 0.5
"""Wall time between two reports of progress."""

FloatArray = NDArray[np.float64]


def available() -> str | None:
    """None when Brian2 and pyNN.brian2 can be imported, otherwise what is wrong and what to do."""
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


def skipped(options: Mapping[str, Any]) -> str | None:
    """None: whoever asks for a run gets one."""
    return None


def versions() -> dict[str, str]:
    """Versions of the packages whose code decides the result."""
    return {p: importlib.metadata.version(p) for p in ("Brian2", "PyNN", "numpy", "Cython")}


def check(network: Network, number_format: NumberFormat, timestep: float) -> list[str]:
    """What of the network and the number format Brian2 cannot represent on a grid of ``timestep`` ms."""
    return _problems(Realization(network, 0, timestep), number_format)


def _problems(realization: Realization, number_format: NumberFormat) -> list[str]:
    problems = []
    if isinstance(number_format.state, FixedPoint):
        problems.append(
            f"Brian2 computes in floating point and cannot run the state arithmetic of format "
            f"{number_format.name!r}"
        )
    timestep = realization.timestep
    for population in realization.network.populations:
        label = population.label
        if population.cell_type not in CELL_TYPES + SOURCE_TYPES:
            problems.append(
                f"population {label!r}: Brian2 is not set up for {population.cell_type}; supported "
                f"are {', '.join(CELL_TYPES + SOURCE_TYPES)}"
            )
        elif population.cell_type == "SpikeSourcePoisson":
            rate = realization.parameters(label)["rate"].max()
            if rate * timestep / 1000 > MAX_SPIKES_PER_STEP:
                problems.append(
                    f"population {label!r}: a shared or recorded SpikeSourcePoisson emits at most "
                    f"one spike per step in Brian2, so its rate of {rate:g} Hz is not allowed; at a "
                    f"timestep of {timestep:g} ms at most "
                    f"{MAX_SPIKES_PER_STEP * 1000 / timestep:g} Hz are"
                )
        elif population.cell_type == "SpikeSourceArray":
            cells, steps = realization.spike_steps(label)
            twice = (np.diff(steps) == 0) & (np.diff(cells) == 0)
            if twice.any():
                problems.append(
                    f"population {label!r}: cell {cells[1:][twice][0]} spikes more than once at "
                    f"{steps[1:][twice][0] * timestep:g} ms; in Brian2 a spike source is allowed "
                    f"one spike per step of {timestep:g} ms"
                )
    return problems


def building() -> str:
    """What building a simulation does, as a phase of a run."""
    return "building"


def threads(network: Network, options: Mapping[str, Any]) -> int:
    """Always 1: Brian2's runtime mode does not use threads."""
    return 1


def estimate(
    network: Network,
    number_format: NumberFormat,
    options: Mapping[str, Any],
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
    slower = 1.0 if options["codegen"] == "cython" else 5.0
    return Estimate(
        memory_bytes=280e6 + 2e3 * neurons + 50.0 * synapses,
        build_seconds=2.5 + 3e-7 * synapses,
        simulate_seconds=3e-5 * n_steps + slower * (2.5e-8 * neurons * n_steps + 2e-8 * events),
    )


def simulation(
    realization: Realization, number_format: NumberFormat, options: Mapping[str, Any]
) -> Brian2Simulation:
    """Build the realized network in Brian2.

    Raises ``RequestError`` when no compiler is found or for what `check` finds.
    """
    return Brian2Simulation(realization, number_format, options["codegen"])


class Brian2Simulation:
    """A network in Brian2. Only the latest one in a process is usable: PyNN holds one network."""

    synapse_bytes = None
    observations: Observations = MappingProxyType({})

    def __init__(self, realization: Realization, number_format: NumberFormat, codegen: str) -> None:
        problems = _problems(realization, number_format)
        if problems:
            raise RequestError(problems[0])
        brian2, sim, self._cells = _imported()
        self._brian2, self._sim = brian2, sim
        if codegen == "cython" and not _can_compile():
            raise RequestError(
                'Brian2 found no working C++ compiler; install one or set codegen = "numpy" in '
                "[backends.brian2]"
            )
        self._realization = realization
        self._network = realization.network
        self._timestep = realization.timestep
        # lets go of an earlier network, so that names, and thus compiled code, are the same again
        sim.simulator.state.clear()
        gc.collect()
        # building is a few array operations, not worth compiling
        brian2.prefs.codegen.target = "numpy"
        self._float = np.dtype(np.float32 if number_format.state == "float32" else np.float64)
        brian2.prefs.core.default_float_dtype = self._float.type
        sim.setup(timestep=self._timestep, min_delay=self._timestep)
        self._groups: dict[str, Any] = {}
        self._first_index: dict[str, int] = {}
        self._monitors: dict[str, Any] = {}
        self._synapses: dict[str, tuple[Any, slice]] = {}
        for cell_type in dict.fromkeys(p.cell_type for p in self._network.populations):
            self._create(cell_type)
        self._connect_all(number_format)
        self._drive_all(number_format)
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
        if cell_type == "SpikeSourceArray":
            self._set_spikes([p.label for p in members])
        elif cell_type in CELL_TYPES:
            initial = [self._realization.initial_values(p.label) for p in members]
            for name in initial[0]:
                cells.initialize(**{name: np.concatenate([values[name] for values in initial])})
        # PyNN's array of cells refers back to the population; Python could never collect the two
        cells.all_cells = None
        if any(p.recorded for p in members):
            monitor = self._brian2.SpikeMonitor(cells.brian2_group)
            self._sim.simulator.state.network.add(monitor)
            self._monitors[cell_type] = monitor

    def _set_spikes(self, populations: list[str]) -> None:
        indices, steps = [], []
        for label in populations:
            cells, labels = self._realization.spike_steps(label)
            indices.append(cells + self._first_index[label])
            steps.append(labels)
        group = self._groups["SpikeSourceArray"].brian2_group
        # a spike labelled k is emitted in the step that ends at k
        begin = (np.concatenate(steps) - 1) * self._timestep
        group.set_spikes(np.concatenate(indices), begin * self._brian2.ms)

    def _connect_all(self, number_format: NumberFormat) -> None:
        bundles: dict[tuple[str, str, str], list[Projection]] = {}
        for p in self._network.projections:
            source, target = (self._network.population(end) for end in (p.source, p.target))
            key = (source.cell_type, target.cell_type, p.receptor)
            # a Synapses object without synapses would stop Brian2
            if self._realization.synapse_count(p.label):
                bundles.setdefault(key, []).append(p)
        for (source_type, target_type, receptor), projections in bundles.items():
            self._connect(source_type, target_type, receptor, projections, number_format)

    def _connect(
        self,
        source_type: str,
        target_type: str,
        receptor: str,
        projections: list[Projection],
        number_format: NumberFormat,
    ) -> None:
        """One PyNN projection for all between two groups with the same receptor."""
        fused = self._sim.Projection(
            self._groups[source_type],
            self._groups[target_type],
            _ArrayConnector(self._bundle(projections, number_format), self._timestep),
            self._sim.StaticSynapse(),
            receptor_type=receptor,
        )
        begin = 0
        for p in projections:
            end = begin + self._realization.synapse_count(p.label)
            self._synapses[p.label] = (fused._brian2_synapses[0][0], slice(begin, end))
            begin = end

    def _bundle(self, projections: list[Projection], number_format: NumberFormat) -> Synapses:
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
            discretise = number_format.discretiser(p, self._realization)
            begin = position
            for chunk in self._realization.synapses(p.label):
                part = slice(position, position + len(chunk))
                bundle.source[part] = chunk.source + self._first_index[p.source]
                bundle.target[part] = chunk.target + self._first_index[p.target]
                bundle.weight[part] = discretise(
                    chunk.weight, position - begin
                ) * self._weight_unit(p.target)
                bundle.delay[part] = chunk.delay
                position = part.stop
            order = np.argsort(bundle.source[begin:position], kind="stable")
            for column in (bundle.source, bundle.target, bundle.weight, bundle.delay):
                column[begin:position] = column[begin:position][order]
        return bundle

    def _weight_unit(self, population: str) -> float:
        """Ampere per nA or siemens per uS."""
        return 1e-6 if self._network.population(population).conductance_based else 1e-9

    def _drive_all(self, number_format: NumberFormat) -> None:
        # only drives on the same neurons and receptor need arrays and code of their own
        layers: dict[tuple[str, str, int], list[PoissonDrive]] = {}
        count = Counter[tuple[str, str]]()
        for drive in self._network.drives:
            cell_type = self._network.population(drive.target).cell_type
            layer = count[drive.target, drive.receptor]
            count[drive.target, drive.receptor] += 1
            layers.setdefault((cell_type, drive.receptor, layer), []).append(drive)
        for (cell_type, receptor, layer), drives in layers.items():
            self._drive(cell_type, receptor, f"{receptor}_{layer}", drives, number_format)

    def _drive(
        self,
        cell_type: str,
        receptor: str,
        suffix: str,
        drives: list[PoissonDrive],
        number_format: NumberFormat,
    ) -> None:
        cells = self._groups[cell_type]
        mean, weight = np.zeros(cells.size), np.zeros(cells.size)
        start, stop = np.zeros(cells.size, np.int32), np.zeros(cells.size, np.int32)
        for drive in drives:
            arrays = self._realization.drive(drive.label)
            first = self._first_index[drive.target]
            part = slice(first, first + len(arrays.rate))
            mean[part] = arrays.rate * self._timestep / 1000
            weights = number_format.drive_weights(drive.label, self._realization)
            weight[part] = weights * self._weight_unit(drive.target)
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
        described = next(p for p in self._network.projections if p.label == projection)
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
    # Brian2 installs one that asks for a bug report at every uncaught exception
    sys.excepthook = hook
    # its file of diagnostics costs more than many a simulation here
    logging.getLogger("brian2").setLevel(logging.ERROR)
    return brian2, sim, _cell_types(brian2, sim)


def _cell_types(brian2: Any, sim: Any) -> Mapping[str, type]:
    """pyNN.brian2's cell types, lowered as the module's docstring says."""
    from brian2.core.functions import DEFAULT_FUNCTIONS  # noqa: PLC0415
    from pyNN.brian2.cells import BaseNeuronGroup  # noqa: PLC0415
    from pyNN.brian2.standardmodels.cells import leaky_iaf  # noqa: PLC0415

    poisson_count = brian2.Function(
        lambda mean, none, n: np.random.poisson(mean),  # noqa: NPY002 (the generator that Brian2 seeds)
        arg_units=[1, 1],
        return_unit=1,
        return_type="integer",
        stateless=False,
        auto_vectorise=True,
    )
    poisson_count.implementations.add_implementation(
        "cython",
        code=_POISSON_COUNT,
        name="_poisson_count",
        dependencies={name: DEFAULT_FUNCTIONS[name[1:]] for name in ("_rand", "_poisson")},
    )

    class Neurons(BaseNeuronGroup):
        """Integrate-and-fire neurons whose refractory time and threshold are those of NEST."""

        declarations = _DECLARATIONS
        integration: Any = "rk4"

        def __init__(self, n: int, equations: Any, **parameters: Any) -> None:
            dt = sim.simulator.state.network.clock.dt
            held_steps = np.rint(parameters.pop("tau_refrac") / dt)
            BaseNeuronGroup.__init__(
                self,
                n,
                equations + brian2.Equations(self.declarations),
                threshold="v >= v_thresh",
                reset="v = v_reset\nheld_until = t_in_timesteps + 1 + held_steps",
                refractory="t_in_timesteps < held_until",
                method=self.integration,
                held_steps=held_steps,
                **parameters,
                **self.propagators(dt, parameters),
            )
            self.namespace["poisson_count"] = poisson_count

        @staticmethod
        def propagators(dt: Any, p: Mapping[str, Any]) -> dict[str, Any]:
            return {}

    class ExponentialNeurons(Neurons):
        declarations = _DECLARATIONS + _EXPONENTIAL_DECLARATIONS
        integration = staticmethod(lambda equations, variables, options: _EXPONENTIAL_UPDATE)
        propagators = staticmethod(_exponential_propagators)

    class AlphaNeurons(Neurons):
        declarations = _DECLARATIONS + _EXPONENTIAL_DECLARATIONS + _ALPHA_DECLARATIONS
        integration = staticmethod(lambda equations, variables, options: _ALPHA_UPDATE)
        propagators = staticmethod(_alpha_propagators)

    class SpikeGenerators(brian2.SpikeGeneratorGroup):
        """Spike sources on the simulation's clock; their spikes are set afterwards, as arrays."""

        def __init__(self, n: int, equations: None, spike_time_sequences: Any) -> None:
            clock = sim.simulator.state.network.clock
            brian2.SpikeGeneratorGroup.__init__(self, n, [], [] * brian2.ms, clock=clock)

        def initialize(self) -> None:
            """Called by PyNN; there is no state."""

    class PoissonSources(brian2.PoissonGroup):
        """Poisson sources whose labels go from start + 2 steps to start + duration + 1 step."""

        def __init__(
            self, n: int, equations: None, firing_rate: Any, start_time: Any, duration: Any
        ) -> None:
            clock = sim.simulator.state.network.clock
            brian2.PoissonGroup.__init__(self, n, rates=firing_rate, clock=clock)
            never = np.iinfo(np.int32).max
            for name, time in (("start", start_time), ("stop", start_time + duration)):
                steps = np.minimum(np.rint(np.asarray(time / clock.dt)) + 1, never)
                self.variables.add_array(
                    f"{name}_step", size=n, values=steps, dtype=np.int32, constant=True
                )
            self.events = {
                "spike": "t_in_timesteps >= start_step and t_in_timesteps < stop_step"
                " and rand() < rates * dt"
            }

        def initialize(self) -> None:
            """Called by PyNN; there is no state."""

    changes: Mapping[str, Mapping[str, Any]] = {
        "IF_curr_exp": {"brian2_model": ExponentialNeurons},
        "IF_curr_alpha": {
            "brian2_model": AlphaNeurons,
            "eqs": leaky_iaf + brian2.Equations(_ALPHA_CURRENTS),
        },
        "IF_cond_exp": {"brian2_model": Neurons},
        "IF_cond_alpha": {"brian2_model": Neurons},
        "SpikeSourceArray": {"brian2_model": SpikeGenerators},
        "SpikeSourcePoisson": {"brian2_model": PoissonSources},
    }
    return {name: type(name, (getattr(sim, name),), {**changes[name]}) for name in changes}


# Brian2 equations and code; a current is ie or ii, its receptor's time constant tau_syn_e or tau_syn_i

_DECLARATIONS = """
    v_thresh : volt (constant)
    v_reset : volt (constant)
    held_steps : integer (constant)
    held_until : integer
"""

_EXPONENTIAL_DECLARATIONS = """
    v_infinity : volt (constant)
    v_decay : 1 (constant)
    v_from_ie : ohm (constant)
    v_from_ii : ohm (constant)
    ie_decay : 1 (constant)
    ii_decay : 1 (constant)
"""

_EXPONENTIAL_UPDATE = """
    v_next = v_infinity + v_decay * (v - v_infinity) + v_from_ie * ie + v_from_ii * ii
    v = int(not_refractory) * v_next + int(not not_refractory) * v
    ie *= ie_decay
    ii *= ii_decay
"""

_ALPHA_CURRENTS = """
    i_syn = ie + ii : amp
    die/dt = (exp(1) * ye - ie) / tau_syn_e : amp
    dye/dt = -ye / tau_syn_e : amp
    dii/dt = (exp(1) * yi - ii) / tau_syn_i : amp
    dyi/dt = -yi / tau_syn_i : amp
    tau_syn_e : second
    tau_syn_i : second
"""

_ALPHA_DECLARATIONS = """
    v_from_ye : ohm (constant)
    v_from_yi : ohm (constant)
    ie_from_ye : 1 (constant)
    ii_from_yi : 1 (constant)
"""

_ALPHA_UPDATE = """
    v_synaptic = v_from_ie * ie + v_from_ii * ii + v_from_ye * ye + v_from_yi * yi
    v_next = v_infinity + v_decay * (v - v_infinity) + v_synaptic
    v = int(not_refractory) * v_next + int(not not_refractory) * v
    ie = ie_decay * ie + ie_from_ye * ye
    ii = ii_decay * ii + ii_from_yi * yi
    ye *= ie_decay
    yi *= ii_decay
"""

# a count by inversion from one uniform number, none being exp(-mean); Brian2's own poisson() draws
# and multiplies count + 1 of them
_POISSON_COUNT = """
cdef int32_t _poisson_count(double mean, double none, int32_t _idx):
    cdef double left, probability
    cdef int32_t count = 0
    if mean >= 10:
        return _poisson(mean, _idx)
    left = _rand(_idx)
    probability = none
    # the second condition ends a search that rounding would let go on
    while left > probability and probability > 1e-20:
        left -= probability
        count += 1
        probability *= mean / count
    return count
"""


def _exponential_propagators(dt: Any, p: Mapping[str, Any]) -> dict[str, Any]:
    """Propagators over one step of a leaky membrane with decaying currents, shape ``(size,)`` each.

    A current I that decays with tau_s adds to the membrane potential I / C times the integral of
    exp(-(dt - s) / tau_m) exp(-s / tau_s) over s from 0 to dt (Rotter and Diesmann 1999, section
    3.1.2), here in a form that holds for tau_s = tau_m as well.
    """
    v_decay = np.exp(-dt / p["tau_m"])
    return {
        "v_infinity": p["v_rest"] + p["i_offset"] * p["tau_m"] / p["c_m"],
        "v_decay": v_decay,
        "v_from_ie": dt / p["c_m"] * v_decay * exprel(-_excess(dt, p["tau_syn_e"], p["tau_m"])),
        "v_from_ii": dt / p["c_m"] * v_decay * exprel(-_excess(dt, p["tau_syn_i"], p["tau_m"])),
        "ie_decay": np.exp(-dt / p["tau_syn_e"]),
        "ii_decay": np.exp(-dt / p["tau_syn_i"]),
    }


def _alpha_propagators(dt: Any, p: Mapping[str, Any]) -> dict[str, Any]:
    """Propagators as in `_exponential_propagators`, and from y, which feeds e y / tau_s to a current.

    y adds to the membrane potential e y / (C tau_s) times the integral of
    exp(-(dt - s) / tau_m) s exp(-s / tau_s) over s from 0 to dt.
    """
    result = _exponential_propagators(dt, p)
    for receptor in "ei":
        tau_syn = p[f"tau_syn_{receptor}"]
        moment = dt * dt * result["v_decay"] * _first_moment(_excess(dt, tau_syn, p["tau_m"]))
        result[f"v_from_y{receptor}"] = math.e * moment / (p["c_m"] * tau_syn)
        result[f"i{receptor}_from_y{receptor}"] = (
            math.e * dt / tau_syn * result[f"i{receptor}_decay"]
        )
    return result


def _excess(dt: Any, tau_syn: Any, tau_m: Any) -> FloatArray:
    """By how much a current's decay exponent exceeds the membrane's."""
    return np.asarray(dt / tau_syn - dt / tau_m)


def _first_moment(x: FloatArray) -> FloatArray:
    """Integral of s exp(-x s) over s from 0 to 1, that is (1 - (1 + x) exp(-x)) / x**2."""
    small = np.abs(x) < 1e-2  # where the closed form cancels
    series = 1 / 2 + x * (-1 / 3 + x * (1 / 8 + x * (-1 / 30 + x * (1 / 144 - x / 840))))
    divisor = np.where(small, 1.0, x)
    return np.where(small, series, (exprel(-divisor) - np.exp(-divisor)) / divisor)
