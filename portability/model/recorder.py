"""Record what a PyNN script builds, as a ``Network``, without any simulator.

``capture`` hands the script an object with the PyNN API. Arguments, defaults and names are checked
by PyNN's own standard models and connectors; nothing is drawn and nothing is simulated. The harness
sets up, runs and ends the simulation, and draws every random quantity from the study's seeds, so
``rng`` arguments are accepted but do not decide any number.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyNN.connectors
import pyNN.models
import pyNN.parameters
import pyNN.random
import pyNN.space
import pyNN.standardmodels.cells
import pyNN.standardmodels.electrodes
import pyNN.standardmodels.synapses
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError, listing
from pynn_portability.model.cells import CELL_TYPES
from pynn_portability.model.connectivity import (
    RULES,
    Ends,
    FixedProbability,
    FromList,
    OneToOne,
    connection_rule,
    listed_columns,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.groups import (
    SPIKELESS,
    Assembly,
    Cell,
    Group,
    RecordedPopulation,
    places_among,
    same_cells,
)
from pynn_portability.model.kernels import LOCAL_ONLY, KernelConnector
from pynn_portability.model.network import (
    Network,
    Projection,
    Value,
    recognise_drives,
)
from pynn_portability.model.projections import RecordedProjection, refuse_doubles
from pynn_portability.model.spatial import CONNECTORS, LikelyPairs, Spatial
from pynn_portability.model.values import (
    explained_class,
    given_value,
    receptor_of,
    shown,
    unused_label,
)

MAX_CELLS = 2**31 - 1
"""Largest population: cells are numbered in 32 bits."""

_SHARED = (
    pyNN.standardmodels.cells,
    pyNN.standardmodels.synapses,
    pyNN.connectors,
    pyNN.space,
    pyNN.parameters,
    pyNN.random,
)
"""Modules of PyNN that every simulator offers; what of them is not supported is refused where it is used."""

_POSITIONS = {
    "SpikeSourceArray": ("spike_times",),
    "SpikeSourcePoisson": ("rate", "start", "duration"),
}
"""Names of parameters that sPyNNaker takes without them."""


_CONNECTORS = f"supported are {', '.join((*RULES, *CONNECTORS, KernelConnector.__name__))}"


def _grid(size: Any) -> pyNN.space.BaseStructure:
    """The structure that PyNN gives to a population whose size is a tuple."""
    if len(size) == 1:
        return pyNN.space.Line()
    if len(size) == 2:
        return pyNN.space.Grid2D(size[0] / size[1])
    if len(size) == 3:
        return pyNN.space.Grid3D(size[0] / size[1], size[0] / size[2])
    raise RequestError(f"a population has size {shown(size)}; allowed are up to three dimensions")


def _group(cells: Any) -> Group:
    """What a projection connects."""
    group = cells.as_view() if isinstance(cells, Cell) else cells
    if not isinstance(group, Group):
        raise RequestError(
            f"a projection connects populations, views and assemblies made by sim, not {shown(cells)}"
        )
    return group


def _other_cells(pynn_class: Any) -> type:
    """A class of cells that are not supported, which is said even where the parameters are those of sPyNNaker."""

    def constructor(cells: Any, *args: Any, **kwargs: Any) -> None:
        try:
            pynn_class.__init__(cells, *args, **kwargs)
        except Exception as error:
            raise UnsupportedError(
                f"cell type {pynn_class.__name__} is not supported; supported are {', '.join(CELL_TYPES)}"
            ) from error

    return type(pynn_class.__name__, (pynn_class,), {"__init__": constructor})


class Drawing(Protocol):
    """What a network's random numbers are for some seed."""

    def synapses(self, projection: str) -> Pieces:
        """Synapses of a projection, piece by piece."""

    def parameter(self, population: str, name: str) -> NDArray[np.float64]:
        """A parameter of all cells."""


Pieces = Iterable[Any]
Drawn = Callable[[Network, float], Drawing]
"""Draws a network on a grid with a time step (ms)."""


class Recorder:
    """The ``sim`` that a model script is called with: the supported part of the PyNN API."""

    NumpyRNG = pyNN.random.NumpyRNG
    KernelConnector = KernelConnector
    simulated = False
    """Whether a script has called ``run``."""
    dialect = "PyNN"
    """Whose rules hold where sPyNNaker's differ from PyNN's."""

    def __init__(self, timestep: float, drawn: Drawn | None = None) -> None:
        """A script that reads what is drawn gets it from ``drawn``, otherwise it is refused."""
        self._drawn = drawn
        self._read: dict[str, None] = {}
        self._matrices: dict[bytes, NDArray[np.float64]] = {}
        self._timestep = self._min_delay = timestep
        self._populations: list[RecordedPopulation] = []
        self._projections: list[RecordedProjection] = []
        self._numbered: list[str] = []
        self._left_out: dict[str, None] = {}
        self._once: dict[str, None] = {}
        self._cells_made = self._seeds = 0
        recorder = self
        for name in CELL_TYPES:
            setattr(self, name, self._cells(name))
        for name in (*RULES, *CONNECTORS):
            setattr(self, name, explained_class(getattr(pyNN.connectors, name)))
        self.RandomDistribution = explained_class(pyNN.random.RandomDistribution)

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
            extra = [key for key in kwargs if key in SPIKELESS]
            self._leave_out(name, {key: kwargs.pop(key) for key in extra})
            initial = pynn_class.default_initial_values if self.dialect == "sPyNNaker" else ()
            cells.given_initial = {key: kwargs.pop(key) for key in initial if key in kwargs}
            pynn_class.__init__(cells, **kwargs)

        return type(name, (pynn_class,), {"__init__": constructor, "__doc__": pynn_class.__doc__})

    def _shared(self, found: Any) -> Any:
        """What PyNN has for all simulators; other synapses than static ones are refused when they are made."""
        if isinstance(found, type) and issubclass(found, pyNN.models.BaseSynapseType):
            return partial(self._refuse, f"synapse type {found.__name__}", "StaticSynapse")
        if isinstance(found, type) and issubclass(found, pyNN.models.BaseCellType):
            return _other_cells(found)
        return found

    def _refuse(self, what: str, supported: str, *_: object, **__: object) -> None:
        raise UnsupportedError(f"{what} is not supported; supported is {supported}")

    @property
    def also_recorded(self) -> tuple[str, ...]:
        """What sPyNNaker records of all cells."""
        return ("v", "gsyn_exc", "gsyn_inh") if self.dialect == "sPyNNaker" else ()

    def once(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same array for equal matrices, as a network may have many columns of one kind."""
        digest = hashlib.blake2b(np.ascontiguousarray(matrix).data).digest()
        return self._matrices.setdefault(digest + repr(matrix.shape).encode(), matrix)

    def numbers(self, size: int) -> int:
        """The number of the first of so many new cells."""
        first, self._cells_made = self._cells_made, self._cells_made + size
        return first

    def own_seed(self) -> int:
        """A seed for what a script draws without a generator of its own."""
        self._seeds += 1
        return self._seeds

    def drawing(self, projections: Iterable[Projection], what: str) -> Drawing:
        """The random numbers of the populations as they are, and of projections.

        Raises UnsupportedError, for ``what`` is asked for, where there is nobody who draws.
        """
        if self._drawn is None:
            raise UnsupportedError(
                f"{what} is drawn for each seed of a study, so that there is no number while the network is "
                "described"
            )
        self._read[what] = None
        populations = tuple(p.described() for p in self._populations)
        return self._drawn(Network(populations, tuple(projections)), self._timestep)

    def drawn_once(self, what: str) -> None:
        """Told that ``what`` is drawn while the network is described, not for each seed."""
        self._once[what] = None

    def _leave_out(self, call: str, keywords: Mapping[str, object]) -> None:
        """Take down that keywords change no spikes; raises RequestError for unknown ones."""
        for key in keywords:
            if key not in SPIKELESS:
                raise RequestError(f"{call} has no argument {key!r}")
            self._left_out[f"{call}({key}=)"] = None

    def leaving_out(self, call: str) -> Callable[..., None]:
        """A function that does nothing, which is taken down."""
        self._left_out[call] = None

        def nothing(*_: object, **__: object) -> None:
            pass

        return nothing

    def changing(self, what: str) -> None:
        """Told before ``what`` changes the network."""

    def absent(self, what: str, name: str, sentence: str) -> Any:
        """The answer when a script asks ``what`` for something that it does not have."""
        if name.startswith("__"):
            raise AttributeError(name)
        call = f"{what}.{name}"
        return self.leaving_out(call) if name in SPIKELESS else self.unknown(f"{call} {sentence}")

    def unknown(self, sentence: str) -> Any:
        """The answer to what is not supported, for which ``sentence`` has the words."""
        raise UnsupportedError(sentence)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in SPIKELESS:
            return self.leaving_out(f"sim.{name}")
        found = getattr(pyNN.standardmodels.electrodes, name, None)
        if isinstance(found, type) and issubclass(found, pyNN.standardmodels.StandardCurrentSource):
            spikes = "a constant current as i_offset of cells, and spikes as input"
            return partial(self._refuse, f"current source {name}", spikes)
        for module in _SHARED:
            if hasattr(module, name):
                return self._shared(getattr(module, name))
        if name in ("run", "run_for", "run_until", "reset", "end"):
            raise UnsupportedError(
                f"sim.{name} does not belong in a build function; the harness runs the simulation"
            )
        if name in LOCAL_ONLY:
            raise UnsupportedError(f"sim.{name} {LOCAL_ONLY[name]}")
        if name.endswith("Connector"):
            raise UnsupportedError(f"sim.{name} is not supported; {_CONNECTORS}")
        raise UnsupportedError(
            f"sim.{name} is not supported; supported are Population, PopulationView, Assembly, Projection, "
            "StaticSynapse, RandomDistribution, NumpyRNG, Space and structures, create, connect, initialize, set, "
            f"record, setup, get_time_step, get_min_delay, the cells {', '.join(CELL_TYPES)}, and connectors"
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
            shortest = given_value(min_delay, (), "setup: min_delay")
            if not isinstance(shortest, float) or not self._timestep <= shortest < np.inf:
                raise RequestError(
                    f"setup(min_delay={shown(min_delay)}): allowed is a number of ms from the time step, "
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
        size: Any,
        cellclass: Any,
        cellparams: Mapping[str, Any] | None = None,
        structure: Any = None,
        initial_values: Mapping[str, Any] | None = None,
        label: str | None = None,
        **placement: object,
    ) -> RecordedPopulation:
        self._leave_out("Population", placement)
        self.changing("another population")
        label = f"population{len(self._populations)}" if label is None else label
        taken = {p.label for p in self._populations}
        if label in taken:
            # results are told apart by label
            label = unused_label(label, taken)
            self._numbered.append(label)
        if not isinstance(label, str):
            raise RequestError(f"the label of a population is {label!r}; allowed is a string")
        if isinstance(size, tuple | list) and all(isinstance(n, int | np.integer) for n in size):
            # cells on a grid
            structure = structure or _grid(size)
            size = int(np.prod(size))
        if isinstance(size, float) and size.is_integer():
            size = int(size)
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not whole or not 1 <= size <= MAX_CELLS:
            raise RequestError(
                f"population {label!r} has size {shown(size)}; allowed is a whole number from 1 to "
                f"{MAX_CELLS}"
            )
        if structure is not None and not isinstance(structure, pyNN.space.BaseStructure):
            raise RequestError(
                f"the structure of population {label!r} is {shown(structure)}; allowed are Line, Grid2D, "
                "Grid3D and RandomStructure"
            )
        cells = cellclass(**(cellparams or {})) if isinstance(cellclass, type) else cellclass
        cell = CELL_TYPES.get(type(cells).__name__)
        if cell is None:
            raise UnsupportedError(
                f"cell type {type(cells).__name__} of population {label!r} is not supported; supported "
                f"are {', '.join(CELL_TYPES)}"
            )
        population = RecordedPopulation(self, label, int(size), cell, cells)
        population.structure = structure
        population.initialize(**{name: cells.default_initial_values[name] for name in cell.state})
        # sPyNNaker takes initial values as parameters, too
        given = {**getattr(cells, "given_initial", {}), **(initial_values or {})}
        population.initialize(**given)
        self._populations.append(population)
        return population

    def Projection(  # noqa: N802
        self,
        presynaptic_population: Group,
        postsynaptic_population: Group,
        connector: Any,
        synapse_type: Any = None,
        source: None = None,
        receptor_type: str | None = None,
        space: Any = None,
        label: str | None = None,
        **placement: object,
    ) -> RecordedProjection:
        self._leave_out("Projection", placement)
        self.changing("another projection")
        pre, post = _group(presynaptic_population), _group(postsynaptic_population)
        label = self._projection_label(label or f"{pre.label}->{post.label}")
        where = f"projection {label!r}"
        if source is not None:
            raise UnsupportedError(f"source of projection {label!r} is not supported; leave it out")
        if getattr(connector, "location_selector", None) is not None:
            raise UnsupportedError(
                f"location_selector of {where} is not supported, as neurons are points; leave it out"
            )
        spatial = Spatial(pre, post, space or pyNN.space.Space(), where)
        cells = {population.cell.name: population.cell for population in post.populations_in}
        if any(cell.source is not None for cell in cells.values()):
            raise RequestError(f"projection {label!r} targets spike sources, which take no input")
        if len({cell.conductance_based for cell in cells.values()}) > 1:
            raise RequestError(
                f"projection {label!r} targets currents and conductances, whose weights have other units"
            )
        synapse = synapse_type or self.StaticSynapse()
        if not isinstance(synapse, pyNN.standardmodels.synapses.StaticSynapse):
            raise UnsupportedError(
                f"synapse type {type(synapse).__name__} of projection {label!r} is not supported; "
                "supported is StaticSynapse"
            )
        ends = Ends(pre.size, post.size, same_cells(pre, post), places_among(pre, post))
        connector = spatial.listed(connector)
        if type(connector).__name__ not in (*RULES, *CONNECTORS):
            raise UnsupportedError(
                f"{type(connector).__name__} of {where} is not supported; {_CONNECTORS}"
            )
        rule = spatial.rule(connector) or connection_rule(connector, ends, where)
        columns = listed_columns(connector, where)
        shape = (pre.size, post.size)
        values: dict[str, Value] = dict(columns)
        for name in ("weight", "delay"):
            if name not in columns:
                given = spatial.evaluated(synapse.parameter_space[name], rule)
                own = given.shape if isinstance(given, np.ndarray) else shape
                if self.dialect == "sPyNNaker" and isinstance(rule, OneToOne | FromList):
                    # a list with a number for each synapse
                    count = min(shape) if isinstance(rule, OneToOne) else len(rule.source)
                    listed = getattr(getattr(given, "base_value", None), "shape", None)
                    own = (count,) if listed == (count,) else own
                values[name] = spatial.placed(given_value(given, own, f"{label!r}: {name}"), rule)
        if isinstance(rule, LikelyPairs):
            shape = (1, len(rule.source))
        for name, value in values.items():
            values[name] = self.once(value) if isinstance(value, np.ndarray) else value
        receptor = receptor_of(receptor_type, values["weight"], label)
        if self.dialect == "sPyNNaker" and next(iter(cells.values())).sign(receptor) < 0:
            values["weight"] = self._negative(values["weight"])
        projection = RecordedProjection(self, label, pre, post, receptor, rule, shape, values)
        refuse_doubles(projection)
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
        return unused_label(label, {p.label for p in self._projections})

    def create(
        self, cellclass: Any, cellparams: Mapping[str, Any] | None = None, n: int = 1
    ) -> RecordedPopulation:
        """A population without a label, as in PyNN's procedural interface."""
        return self.Population(n, cellclass, cellparams)

    def connect(
        self,
        pre: Group,
        post: Group,
        weight: Any = 0.0,
        delay: Any = None,
        receptor_type: str | None = None,
        p: float = 1,
        rng: object = None,
    ) -> RecordedProjection:
        """A projection with every pair at probability ``p``, as in PyNN's procedural interface."""
        given = {"weight": weight} if delay is None else {"weight": weight, "delay": delay}
        connector = getattr(self, FixedProbability.connector)(p)
        return self.Projection(
            pre, post, connector, self.StaticSynapse(**given), receptor_type=receptor_type
        )

    Assembly = Assembly

    def PopulationView(  # noqa: N802
        self, parent: Group, selector: Any, label: str | None = None
    ) -> Group:
        """Some cells of a group."""
        view = parent[selector] if not isinstance(selector, int) else parent[[selector]]
        view.label = label or view.label
        return view

    def initialize(self, cells: Group, **initial_values: Any) -> None:
        cells.initialize(**initial_values)

    def set(self, cells: Group, **parameters: Any) -> None:
        cells.set(**parameters)

    def record(
        self,
        variables: Any,
        source: Group,
        filename: object = None,
        sampling_interval: object = None,
        annotations: object = None,
    ) -> None:
        source.record(variables, filename, sampling_interval)

    def network(self) -> Network:
        """What was recorded, with Poisson drives recognised; RequestError if nothing can be compared."""
        notes = list(self._notes())
        if not any(p.recorded or p.recordings for p in self._populations):
            neurons = [p for p in self._populations if p.cell.source is None]
            if not neurons:
                raise RequestError(
                    "the model records no spikes and has no neurons; there is nothing to compare"
                )
            for population in neurons:
                population.recorded = True
            notes.append("the model records no spikes, so all populations of neurons are compared")
        populations = tuple(p.described() for p in self._populations)
        projections = tuple(part for p in self._projections for part in p.described())
        counts = Counter(p.label for p in projections)
        if twice := [label for label, count in counts.items() if count > 1]:
            raise RequestError(
                f"two projections would be called {twice[0]!r}, one of them as a part of an assembly's; give "
                "them other labels"
            )
        taken = [p.label for p in self._populations]
        recordings = tuple(r for p in self._populations for r in p.described_recordings(taken))
        return recognise_drives(Network(populations, projections, (), tuple(notes), recordings))

    def _notes(self) -> Iterator[str]:
        """What was left out or decided, a sentence each."""
        if self._numbered:
            labels = ", ".join(map(repr, self._numbered))
            yield f"populations with the same label are told apart by numbers: {labels}"
        names = sorted({name for p in self._populations for name in p.left_out})
        if names:
            yield f"only spikes are compared; recordings of {', '.join(names)} are left out"
        if self._read:
            yield f"the script reads what the study's first seed draws: {listing(list(self._read))}"
        if self._once:
            yield f"the same for every seed, as the script draws it: {listing(list(self._once))}"
        if self._left_out:
            yield f"what changes no spikes is left out: {', '.join(self._left_out)}"
