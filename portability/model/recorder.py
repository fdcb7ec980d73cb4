"""Record what a PyNN script builds, as a ``Network``, without any simulator.

``capture`` hands the script an object with the PyNN API. Arguments, defaults and names are checked
by PyNN's own standard models and connectors; nothing is drawn and nothing is simulated. The harness
sets up, runs and ends the simulation, and draws every random quantity from the study's seeds, so
``rng`` arguments are accepted but do not decide any number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyNN.connectors
import pyNN.models
import pyNN.parameters
import pyNN.random
import pyNN.space
import pyNN.standardmodels.cells
import pyNN.standardmodels.synapses
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError
from pynn_portability.model.cells import CELL_TYPES, CellType, Receptor
from pynn_portability.model.connectivity import (
    RULES,
    ConnectionRule,
    Ends,
    FixedProbability,
    connection_rule,
    listed_columns,
)
from pynn_portability.model.network import (
    Distribution,
    Network,
    Population,
    Projection,
    Value,
    recognise_drives,
)

DISTRIBUTIONS = tuple(sorted(pyNN.random.available_distributions))

MAX_CELLS = 2**31 - 1
"""Largest population: cells are numbered in 32 bits."""

_SYNTAX = {
    "RandomDistribution": "the name of a distribution and its parameters, as in "
    'RandomDistribution("normal", mu=0.0, sigma=1.0)'
} | {name: rule.allowed for name, rule in RULES.items()}

_SHARED = (
    pyNN.standardmodels.cells,
    pyNN.standardmodels.synapses,
    pyNN.connectors,
    pyNN.space,
    pyNN.parameters,
    pyNN.random,
)
"""Modules of PyNN that every simulator offers; what of them is not supported is refused where it is used."""

_PLACEMENT = frozenset(
    (
        "additional_parameters",
        "add_placement_constraint",
        "annotate",
        "in_partitions",
        "max_rate",
        "n_colour_bits",
        "n_synapse_cores",
        "neurons_per_core",
        "seed",
        "set_constraint",
        "set_mapping_constraint",
        "set_max_atoms_per_core",
        "set_number_of_neurons_per_core",
        "set_number_of_neurons_per_dimension_per_core",
        "set_number_of_synapse_cores",
        "set_allow_delay_extensions",
        "splitter",
        "use_fixed_atoms_per_core",
    )
)
"""What sPyNNaker takes to place cells on cores and what else decides no spikes: calls and keywords."""

_POSITIONS = {
    "SpikeSourceArray": ("spike_times",),
    "SpikeSourcePoisson": ("rate", "start", "duration"),
}
"""Names of parameters that sPyNNaker takes without them."""


@dataclass
class _Population:
    """What a script gets for ``sim.Population``: a description that it may still change."""

    recorder: Recorder
    label: str
    size: int
    cell: CellType
    parameters: dict[str, Value]
    spike_times: tuple[NDArray[np.float64], ...]
    recordable: tuple[str, ...]
    initial_values: dict[str, Value] = field(default_factory=dict)
    recorded: bool = False
    left_out: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return self.size

    def initialize(self, **initial_values: Any) -> None:
        """Set initial values of state variables."""
        self.recorder._changing(f"initialize of population {self.label!r}")
        for name, value in initial_values.items():
            if name not in self.cell.state:
                known = ", ".join(self.cell.state) or "nothing, as it has no state"
                raise UnsupportedError(
                    f"initialize({name}=...) of population {self.label!r} is not supported; supported "
                    f"of {self.cell.name} is {known}"
                )
            self.initial_values[name] = _value(
                value, (self.size,), f"{self.label!r}: initial {name}"
            )

    def set(self, **parameters: Any) -> None:
        """Change cell parameters."""
        self.recorder._changing(f"set of population {self.label!r}")
        # sPyNNaker takes initial values here, too
        initial = {name: parameters.pop(name) for name in self.cell.state if name in parameters}
        self.initialize(**initial)
        known = [*self.parameters, *(["spike_times"] if self.cell.source == "given" else [])]
        for name, value in parameters.items():
            if name not in known:
                raise RequestError(
                    f"set({name}=...): {self.cell.name} of population {self.label!r} has no such "
                    f"parameter; it has {', '.join(known)}"
                )
            if name == "spike_times":
                cells = pyNN.standardmodels.cells.SpikeSourceArray(spike_times=value)
                self.spike_times = _spike_times(cells, self.size, repr(self.label))
            else:
                self.parameters[name] = _value(value, (self.size,), f"{self.label!r}: {name}")

    def record(
        self,
        variables: str | list[str] | None,
        to_file: object = None,
        sampling_interval: object = None,
        **_: object,
    ) -> None:
        """Record spikes; other variables are left out. Files and intervals change no spikes.

        As in PyNN, ``None`` ends all recording.
        """
        self.recorder._changing(f"record of population {self.label!r}")
        if variables is None:
            self.recorded, self.left_out = False, set()
            return
        names = [variables] if isinstance(variables, str) else list(variables)
        for name in names:
            if name == "spikes":
                self.recorded = True
            elif name in self.recordable:
                self.left_out.add(name)
            else:
                raise RequestError(
                    f"record({_shown(name)}) of population {self.label!r}: {self.cell.name} records "
                    f"{', '.join(self.recordable)}"
                )

    def __getitem__(self, index: Any) -> None:
        raise UnsupportedError(
            f"a part of population {self.label!r} (PopulationView) is not supported; "
            "make it a population of its own"
        )

    def __add__(self, other: Any) -> None:
        raise UnsupportedError(
            f"the assembly {self.label!r} + ... is not supported; connect populations one by one"
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _PLACEMENT:
            return self.recorder._leaving_out(f"Population.{name}")
        return self.recorder._unknown(
            f"Population.{name} is not supported; supported are size, label, initialize, set and "
            "record"
        )

    def described(self) -> Population:
        return Population(
            self.label,
            self.size,
            self.cell.name,
            dict(self.parameters),
            dict(self.initial_values),
            self.recorded,
            self.spike_times,
        )


@dataclass(eq=False)
class _Projection:
    """What a script gets for ``sim.Projection``: a description that it may still change."""

    recorder: Recorder
    label: str
    pre: _Population
    post: _Population
    receptor: Receptor
    rule: ConnectionRule
    shape: tuple[int, ...]
    values: dict[str, Value]

    def set(self, **attributes: Any) -> None:
        """Change weights or delays of all synapses."""
        self.recorder._changing(f"set of projection {self.label!r}")
        for name, value in attributes.items():
            if name not in self.values:
                raise RequestError(
                    f"set({name}=...) of projection {self.label!r}: a static synapse has weight and delay"
                )
            self.values[name] = _value(value, self.shape, f"{self.label!r}: {name}")

    def size(self, gather: bool = False) -> int:
        """Number of synapses, where it is the same whatever is drawn."""
        ends = Ends(self.pre.size, self.post.size, self.pre is self.post)
        if isinstance(self.rule, FixedProbability) and 0 < self.rule.probability < 1:
            raise UnsupportedError(
                f"the size of projection {self.label!r} is drawn for each seed of a study, so that there "
                "is no number while the network is described"
            )
        return round(self.rule.expected_count(ends))

    __len__ = size

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.recorder._unknown(
            f"Projection.{name} of {self.label!r} is not supported, as synapses are drawn later, for each "
            "seed of a study; supported are pre, post, label, size and set"
        )

    def described(self) -> Projection:
        return Projection(
            self.label,
            self.pre.label,
            self.post.label,
            self.receptor,
            self.rule,
            self.values["weight"],
            self.values["delay"],
        )


class Recorder:
    """The ``sim`` that a model script is called with: the supported part of the PyNN API."""

    NumpyRNG = pyNN.random.NumpyRNG
    dialect = "PyNN"
    """Whose rules hold where sPyNNaker's differ from PyNN's."""

    def __init__(self, timestep: float) -> None:
        self._timestep = self._min_delay = timestep
        self._populations: list[_Population] = []
        self._projections: list[_Projection] = []
        self._numbered: list[str] = []
        self._left_out: dict[str, None] = {}
        recorder = self
        for name in CELL_TYPES:
            setattr(self, name, self._cells(name))
        for name in RULES:
            setattr(self, name, _explained(getattr(pyNN.connectors, name)))
        self.RandomDistribution = _explained(pyNN.random.RandomDistribution)

        class StaticSynapse(pyNN.standardmodels.synapses.StaticSynapse):
            def _get_minimum_delay(self) -> float:
                return recorder._min_delay

            # as in sPyNNaker, where scripts make one synapse type from another
            weight = property(lambda synapse: synapse.parameter_space["weight"].base_value)
            delay = property(lambda synapse: synapse.parameter_space["delay"].base_value)

        self.StaticSynapse = StaticSynapse

    def _cells(self, name: str) -> type:
        """PyNN's class of cells, which takes positions and keywords as sPyNNaker's does, too."""
        pynn_class: Any = getattr(pyNN.standardmodels.cells, name)

        def constructor(cells: Any, *args: Any, **kwargs: Any) -> None:
            kwargs = {**dict(zip(_POSITIONS.get(name, ()), args, strict=False)), **kwargs}
            extra = [key for key in kwargs if key in _PLACEMENT]
            self._leave_out(name, {key: kwargs.pop(key) for key in extra})
            pynn_class.__init__(cells, **kwargs)

        return type(name, (pynn_class,), {"__init__": constructor, "__doc__": pynn_class.__doc__})

    def _shared(self, found: Any) -> Any:
        """What PyNN has for all simulators; types of synapses get the shortest delay that they ask for."""
        if isinstance(found, type) and issubclass(found, pyNN.models.BaseSynapseType):
            shortest = {"_get_minimum_delay": lambda synapse: self._min_delay}
            return type(found.__name__, (found,), shortest)
        return found

    def _leave_out(self, call: str, keywords: Mapping[str, object]) -> None:
        """Take down that keywords change no spikes; raises RequestError for unknown ones."""
        for key in keywords:
            if key not in _PLACEMENT:
                raise RequestError(f"{call} has no argument {key!r}")
            self._left_out[f"{call}({key}=)"] = None

    def _leaving_out(self, call: str) -> Callable[..., None]:
        """A function that does nothing, which is taken down."""
        self._left_out[call] = None

        def nothing(*_: object, **__: object) -> None:
            pass

        return nothing

    def _changing(self, what: str) -> None:
        """Told before ``what`` changes the network."""

    def _unknown(self, sentence: str) -> Any:
        """The answer to what is not supported, for which ``sentence`` has the words."""
        raise UnsupportedError(sentence)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _PLACEMENT:
            return self._leaving_out(f"sim.{name}")
        for module in _SHARED:
            if hasattr(module, name):
                return self._shared(getattr(module, name))
        if name in ("run", "run_for", "run_until", "reset", "end"):
            raise UnsupportedError(
                f"sim.{name} does not belong in a build function; the harness runs the simulation"
            )
        raise UnsupportedError(
            f"sim.{name} is not supported; supported are Population, Projection, StaticSynapse, "
            f"RandomDistribution, NumpyRNG, create, connect, initialize, set, record, setup, "
            f"get_time_step, get_min_delay, the "
            f"cells {', '.join(CELL_TYPES)} and the connectors {', '.join(RULES)}"
        )

    def setup(
        self, timestep: float | None = None, min_delay: float | str = "auto", *_: Any, **__: Any
    ) -> int:
        """Accepted when it agrees with the study's time step.

        As in PyNN, synapses without a delay have the ``min_delay`` (ms), or a time step if it is "auto".
        """
        if timestep is not None and timestep != self._timestep:
            raise RequestError(
                f"setup(timestep={timestep}) contradicts the study, whose timestep is "
                f"{self._timestep} ms"
            )
        if min_delay != "auto":
            shortest = _value(min_delay, (), "setup: min_delay")
            if not isinstance(shortest, float) or not self._timestep <= shortest < np.inf:
                raise RequestError(
                    f"setup(min_delay={_shown(min_delay)}): allowed is a number of ms from the time step, "
                    f'{self._timestep} ms, on, or "auto"'
                )
            self._min_delay = shortest
        return 0

    def get_time_step(self) -> float:
        """The time step, ms."""
        return self._timestep

    def get_min_delay(self) -> float:
        """The delay of synapses for which none is given, ms."""
        return self._min_delay

    def rank(self) -> int:
        return 0

    def num_processes(self) -> int:
        return 1

    def Population(  # noqa: N802 (the name is PyNN's)
        self,
        size: int,
        cellclass: Any,
        cellparams: Mapping[str, Any] | None = None,
        structure: None = None,
        initial_values: Mapping[str, Any] | None = None,
        label: str | None = None,
        **placement: object,
    ) -> _Population:
        self._leave_out("Population", placement)
        self._changing("another population")
        label = f"population{len(self._populations)}" if label is None else label
        taken = {p.label for p in self._populations}
        if label in taken:
            # results are told apart by label
            label = next(c for n in range(2, len(taken) + 2) if (c := f"{label} #{n}") not in taken)
            self._numbered.append(label)
        if not isinstance(label, str):
            raise RequestError(f"the label of a population is {label!r}; allowed is a string")
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not whole or not 1 <= size <= MAX_CELLS:
            raise RequestError(
                f"population {label!r} has size {_shown(size)}; allowed is a whole number from 1 to "
                f"{MAX_CELLS}"
            )
        if structure is not None:
            raise UnsupportedError(
                f"Population(structure=...) of {label!r} is not supported; supported are "
                "populations without positions"
            )
        cells = cellclass(**(cellparams or {})) if isinstance(cellclass, type) else cellclass
        cell = CELL_TYPES.get(type(cells).__name__)
        if cell is None:
            raise UnsupportedError(
                f"cell type {type(cells).__name__} of population {label!r} is not supported; supported "
                f"are {', '.join(CELL_TYPES)}"
            )
        spike_times = _spike_times(cells, int(size), repr(label)) if cell.source == "given" else ()
        parameters = {
            name: _value(array, (int(size),), f"{label!r}: {name}")
            for name, array in cells.parameter_space.items()
            if name != "spike_times"
        }
        recordable = tuple(cells.recordable)
        population = _Population(self, label, int(size), cell, parameters, spike_times, recordable)
        population.initialize(**{name: cells.default_initial_values[name] for name in cell.state})
        population.initialize(**(initial_values or {}))
        self._populations.append(population)
        return population

    def Projection(  # noqa: N802
        self,
        presynaptic_population: _Population,
        postsynaptic_population: _Population,
        connector: Any,
        synapse_type: Any = None,
        source: None = None,
        receptor_type: str | None = None,
        space: None = None,
        label: str | None = None,
        **placement: object,
    ) -> _Projection:
        self._leave_out("Projection", placement)
        self._changing("another projection")
        pre, post = presynaptic_population, postsynaptic_population
        for population in (pre, post):
            if population not in self._populations:
                raise UnsupportedError(
                    "Projection is supported between whole populations made by sim.Population"
                )
        label = self._projection_label(label or f"{pre.label}->{post.label}")
        if source is not None or space is not None:
            raise UnsupportedError(
                f"source and space of projection {label!r} are not supported; leave them out"
            )
        if post.cell.source is not None:
            raise RequestError(f"projection {label!r} targets spike sources, which take no input")
        synapse = synapse_type or self.StaticSynapse()
        if not isinstance(synapse, pyNN.standardmodels.synapses.StaticSynapse):
            raise UnsupportedError(
                f"synapse type {type(synapse).__name__} of projection {label!r} is not supported; "
                "supported is StaticSynapse"
            )
        ends = Ends(pre.size, post.size, pre is post)
        where = f"projection {label!r}"
        rule = connection_rule(connector, ends, where)
        columns = listed_columns(connector, where)
        shape = (pre.size, post.size)
        values = {
            name: columns.get(
                name, _value(synapse.parameter_space[name], shape, f"{label!r}: {name}")
            )
            for name in ("weight", "delay")
        }
        receptor = _receptor(receptor_type, values["weight"], label)
        if self.dialect == "sPyNNaker" and post.cell.sign(receptor) < 0:
            values["weight"] = self._negative(values["weight"])
        projection = _Projection(self, label, pre, post, receptor, rule, shape, values)
        self._projections.append(projection)
        return projection

    def _negative(self, weight: Value) -> Value:
        """Weights of an inhibitory projection, which sPyNNaker takes without their sign."""
        if isinstance(weight, Distribution):
            parameters = dict(weight.parameters)
            if weight.name == "uniform" and parameters["low"] >= 0:
                low, high = -parameters["high"], -parameters["low"]
                return Distribution("uniform", {"low": low, "high": high})
            if weight.name == "normal" and parameters["mu"] > 0:
                return Distribution("normal", {**parameters, "mu": -parameters["mu"]})
            return weight
        return weight if np.any(np.asarray(weight) < 0) else -weight

    def _projection_label(self, label: str) -> str:
        taken = {p.label for p in self._projections}
        candidates = [label, *(f"{label} #{n}" for n in range(2, len(taken) + 2))]
        return next(c for c in candidates if c not in taken)

    def create(
        self, cellclass: Any, cellparams: Mapping[str, Any] | None = None, n: int = 1
    ) -> _Population:
        """A population without a label, as in PyNN's procedural interface."""
        return self.Population(n, cellclass, cellparams)

    def connect(
        self,
        pre: _Population,
        post: _Population,
        weight: Any = 0.0,
        delay: Any = None,
        receptor_type: str | None = None,
        p: float = 1,
        rng: object = None,
    ) -> _Projection:
        """A projection with every pair at probability ``p``, as in PyNN's procedural interface."""
        given = {"weight": weight} if delay is None else {"weight": weight, "delay": delay}
        connector = getattr(self, FixedProbability.connector)(p)
        return self.Projection(
            pre, post, connector, self.StaticSynapse(**given), receptor_type=receptor_type
        )

    def initialize(self, cells: _Population, **initial_values: Any) -> None:
        cells.initialize(**initial_values)

    def set(self, cells: _Population, **parameters: Any) -> None:
        cells.set(**parameters)

    def record(
        self,
        variables: Any,
        source: _Population,
        filename: object = None,
        sampling_interval: object = None,
        annotations: object = None,
    ) -> None:
        source.record(variables, filename, sampling_interval)

    def network(self) -> Network:
        """What was recorded, with Poisson drives recognised; RequestError if nothing can be compared."""
        notes = list(self._notes())
        if not any(p.recorded for p in self._populations):
            neurons = [p for p in self._populations if p.cell.source is None]
            if not neurons:
                raise RequestError(
                    "the model records no spikes and has no neurons; there is nothing to compare"
                )
            for population in neurons:
                population.recorded = True
            notes.append("the model records no spikes, so all populations of neurons are compared")
        populations = tuple(p.described() for p in self._populations)
        projections = tuple(p.described() for p in self._projections)
        return recognise_drives(Network(populations, projections, (), tuple(notes)))

    def _notes(self) -> Iterator[str]:
        """What was left out or decided, a sentence each."""
        if self._numbered:
            labels = ", ".join(map(repr, self._numbered))
            yield f"populations with the same label are told apart by numbers: {labels}"
        names = sorted({name for p in self._populations for name in p.left_out})
        if names:
            yield f"only spikes are compared; recordings of {', '.join(names)} are left out"
        if self._left_out:
            yield f"what places cells on a machine is left out: {', '.join(self._left_out)}"


# --- Values ---


def _explained(pynn_class: Any) -> type:
    """A class of PyNN whose constructor says what is allowed where PyNN only asserts it."""
    name = pynn_class.__name__

    def constructor(self: Any, *args: Any, **kwargs: Any) -> None:
        # PyNN does not take NumPy's whole numbers for whole numbers
        args = tuple(a.item() if isinstance(a, np.generic) else a for a in args)
        kwargs = {k: v.item() if isinstance(v, np.generic) else v for k, v in kwargs.items()}
        try:
            pynn_class.__init__(self, *args, **kwargs)
        except Exception as error:
            given = [_shown(a) for a in args] + [f"{k}={_shown(v)}" for k, v in kwargs.items()]
            reason = f" ({error})" if str(error) else ""
            raise RequestError(
                f"{name}({', '.join(given)}){reason}: allowed is {_SYNTAX[name]}"
            ) from error

    return type(name, (pynn_class,), {"__init__": constructor, "__doc__": pynn_class.__doc__})


def _shown(value: Any) -> str:
    """A value of a script as Python writes it, shortened."""
    try:
        text = repr(value)
    except Exception:  # a whole number of many thousand digits, or an object of the script's
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _value(value: Any, shape: tuple[int, ...], where: str) -> Value:
    """A parameter as PyNN accepts it: a number, one number per cell or pair, or a distribution."""
    if hasattr(value, "base_value"):
        if value.operations:
            raise UnsupportedError(f"{where} is a computed lazy array; pass its values as an array")
        value = value.base_value
    if isinstance(value, pyNN.random.RandomDistribution):
        if value.name not in DISTRIBUTIONS:
            raise UnsupportedError(
                f"{where}: RandomDistribution({value.name!r}) is not supported; supported are "
                f"{', '.join(DISTRIBUTIONS)}"
            )
        return Distribution(
            value.name, {k: _number(v, f"{where}: {k}") for k, v in value.parameters.items()}
        )
    try:
        array = np.asarray(value)
        # text and whole numbers beyond 64 bits have other kinds
        if array.dtype.kind not in "biuf":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UnsupportedError(
            f"{where} is {_shown(value)}; supported are a number, an array and a RandomDistribution"
        ) from None
    if array.ndim == 0:
        return float(array)
    if array.shape != shape:
        raise RequestError(f"{where} has shape {array.shape}; allowed is a number or shape {shape}")
    return array


def _number(value: Any, where: str) -> float:
    """A parameter of a distribution."""
    number = _value(value, (), where)
    if not isinstance(number, float):
        raise UnsupportedError(f"{where} is {_shown(value)}; supported is a number")
    return number


def _spike_times(cells: Any, size: int, where: str) -> tuple[NDArray[np.float64], ...]:
    """Spike times (ms) of every cell, from one sequence for all or one each."""
    value = cells.parameter_space["spike_times"].base_value
    if isinstance(value, np.ndarray):
        if value.shape != (size,):
            raise RequestError(
                f"{where}: spike_times are given for {len(value)} cells, allowed is one sequence for all "
                f"or one for each of {size}"
            )
        sequences = list(value)
    elif callable(value) and not isinstance(value, pyNN.parameters.Sequence):
        sequences = list(value(np.arange(size)))
    else:
        sequences = [value] * size
    times = tuple(np.array(getattr(s, "value", s), dtype=np.float64).reshape(-1) for s in sequences)
    if len(times) != size:
        raise RequestError(f"{where}: spike_times are those of {len(times)} cells, not of {size}")
    return times


def _receptor(receptor_type: str | None, weight: Value, label: str) -> Receptor:
    """The receptor that was named, otherwise PyNN's rule: negative weights are inhibitory."""
    if receptor_type in (None, "default"):
        return "inhibitory" if _bounds(weight)[1] <= 0 and _bounds(weight)[0] < 0 else "excitatory"
    if receptor_type not in ("excitatory", "inhibitory"):
        raise RequestError(
            f"receptor_type {receptor_type!r} of projection {label!r} is unknown; allowed are "
            "excitatory and inhibitory"
        )
    return "inhibitory" if receptor_type == "inhibitory" else "excitatory"


_NEVER_NEGATIVE = ("lognormal", "gamma", "exponential", "poisson", "binomial")
"""Distributions whose parameters say nothing of a sign."""


def _bounds(weight: Value) -> tuple[float, float]:
    """Smallest and largest weight as far as it is certain; a distribution's centre otherwise."""
    if isinstance(weight, Distribution):
        if weight.name in _NEVER_NEGATIVE:
            return (0.0, np.inf)
        p = weight.parameters
        centre = p.get("mu", (p.get("low", 0.0) + p.get("high", 0.0)) / 2)
        return (float(centre), float(centre))
    array = np.asarray(weight)
    return (
        (float(array.min(initial=np.inf)), float(array.max(initial=-np.inf)))
        if array.size
        else (0, 0)
    )
