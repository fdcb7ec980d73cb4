"""Cells as a script handles them: populations, views, assemblies and single cells.

They are descriptions that the script may still change. Whatever is done to some cells of a population is done to
the population's arrays; a view and an assembly own nothing but the indices of their cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyNN.random
import pyNN.space
import pyNN.standardmodels.cells
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, UnsupportedError
from pynn_portability.model.cells import CellType
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Population, Recording, Value
from pynn_portability.model.values import given_spike_times, given_value, shown, unused_label

if TYPE_CHECKING:
    from pynn_portability.model.recorder import Recorder

Indices = NDArray[np.int64]

SPIKELESS = frozenset(
    (
        "additional_parameters",
        "add_placement_constraint",
        "annotate",
        "describe",
        "get_machine",
        "in_partitions",
        "max_rate",
        "n_colour_bits",
        "n_synapse_cores",
        "printWeights",
        "save",
        "save_positions",
        "neurons_per_core",
        "seed",
        "set_allow_delay_extensions",
        "set_constraint",
        "set_mapping_constraint",
        "set_max_atoms_per_core",
        "set_number_of_neurons_per_core",
        "set_number_of_neurons_per_dimension_per_core",
        "set_number_of_synapse_cores",
        "splitter",
        "use_fixed_atoms_per_core",
        "SplitterPoissonDelegate",
        "SplitterPopulationVertexFixed",
        "SplitterAbstractPopulationVertexFixed",
        "SplitterAbstractPopulationVertexNeuronsSynapses",
        "SplitterPopulationVertexNeuronsSynapses",
    )
)
"""What decides no spikes, calls and keywords: it places cells on cores (sPyNNaker), or writes files."""


class Member(NamedTuple):
    """Cells of one population, by their indices in it."""

    population: RecordedPopulation
    cells: Indices


class Group:
    """Cells that a script connects, sets and records as one."""

    label: str
    recorder: Recorder

    @property
    def members(self) -> list[Member]:
        """Its cells by population, in order."""
        raise NotImplementedError

    @property
    def populations_in(self) -> list[RecordedPopulation]:
        """The populations that its cells are in."""
        return [member.population for member in self.members]

    @property
    def size(self) -> int:
        """Number of cells."""
        return sum(len(member.cells) for member in self.members)

    local_size = size

    def __len__(self) -> int:
        return self.size

    @property
    def ids(self) -> Indices:
        """Numbers of the cells, which differ over all populations."""
        return np.concatenate([m.population.first + m.cells for m in self.members])

    @property
    def all_cells(self) -> NDArray[np.object_]:
        """Its cells, one by one."""
        cells = [Cell(m.population, int(i)) for m in self.members for i in m.cells]
        array = np.empty(len(cells), object)
        array[:] = cells
        return array

    local_cells = all_cells

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.all_cells)

    def id_to_index(self, id: Any) -> Any:
        """Where a cell, or each of many, stands in this group."""
        ids = self.ids
        wanted = np.atleast_1d(np.asarray(id, dtype=np.int64))
        order = np.argsort(ids)
        found = order[np.minimum(np.searchsorted(ids[order], wanted), len(ids) - 1)]
        if (ids[found] != wanted).any():
            raise RequestError(f"{self.label!r} has no cell with this number")
        return int(found[0]) if np.ndim(id) == 0 else found

    id_to_local_index = id_to_index

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer) and not isinstance(index, bool):
            if not -self.size <= index < self.size:
                raise RequestError(
                    f"index {index} of {self.label!r} is out of range; allowed are 0 to {self.size - 1}"
                )
            return self.all_cells[index] if len(self.members) > 1 else self._cell(int(index))
        return self._part(index)

    def _cell(self, index: int) -> Cell:
        population, cells = self.members[0]
        return Cell(population, int(cells[index]))

    def _part(self, index: Any) -> Group:
        """The cells of a slice, a list of indices or a mask."""
        if not isinstance(index, slice):
            index = np.asarray(index)
            if index.ndim != 1 or index.dtype.kind not in "biu":
                raise RequestError(
                    f"{shown(index)} of {self.label!r}: allowed are an index, a slice, a list of indices and "
                    "a mask"
                )
            bad = (
                len(index) != self.size
                if index.dtype == bool
                else len(index) and not -self.size <= index.min() <= index.max() < self.size
            )
            if bad:
                raise RequestError(
                    f"a part of {self.label!r} reaches out of it; it has {self.size} cells, numbered from 0"
                )
        chosen = np.arange(self.size)[index]
        if not len(chosen):
            raise RequestError(f"a part of {self.label!r} has no cells")
        start, parts = 0, []
        for population, cells in self.members:
            own = chosen[(chosen >= start) & (chosen < start + len(cells))] - start
            if len(own):
                parts.append(View(population, cells[own], None))
            start += len(cells)
        return parts[0] if len(parts) == 1 else Assembly(*parts)

    def sample(self, n: int, rng: Any = None) -> Group:
        """So many cells, drawn once: they are the same for all seeds of a study."""
        if not isinstance(n, int | np.integer) or not 1 <= n <= self.size:
            raise RequestError(
                f"sample({shown(n)}) of {self.label!r}: allowed is a whole number from 1 to {self.size}"
            )
        self.recorder.drawn_once(f"the sample of {n} cells of {self.label!r}")
        generator = rng or pyNN.random.NumpyRNG(seed=self.recorder.own_seed())
        return self._part(np.sort(np.asarray(generator.permutation(np.arange(self.size)))[:n]))

    def __add__(self, other: Any) -> Assembly:
        if not isinstance(other, Group):
            return NotImplemented
        return Assembly(self, other)

    def _each(
        self, values: dict[str, Any]
    ) -> Iterator[tuple[RecordedPopulation, Indices | None, dict[str, Any]]]:
        """Cells by population, None for all of it, and what of ``values`` for the group is theirs."""
        start = 0
        for population, cells in self.members:
            yield population, cells, _slices(values, start, len(cells), self.size)
            start += len(cells)

    def set(self, **parameters: Any) -> None:
        """Change cell parameters."""
        for population, cells, own in self._each(parameters):
            population.set_part(cells, own)

    def tset(self, parameter: str, values: Any) -> None:
        """One value for each cell, as in older scripts."""
        self.set(**{parameter: values})

    rset = tset

    def initialize(self, **initial_values: Any) -> None:
        """Set initial values of state variables."""
        for population, cells, own in self._each(initial_values):
            population.initialize_part(cells, own)

    def get(self, names: Any, gather: object = True, simplify: bool = True) -> Any:
        """Cell parameters: a number, or one for each cell; a list of them for several names."""
        if not isinstance(names, str):
            return [self.get(name, gather, simplify) for name in names]
        values = np.concatenate([m.population.get_part(m.cells, names) for m in self.members])
        return float(values[0]) if simplify and (values == values[0]).all() else values

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
        for population, cells, _values in self._each({}):
            population.record_part(variables, cells, self.label)

    def can_record(self, variable: str) -> bool:
        """Whether all its cells have the variable."""
        return all(variable in m.population.recordable for m in self.members)

    def inject(self, current_source: Any) -> None:
        """Not supported."""
        raise UnsupportedError(
            f"injecting a current source into {self.label!r} is not supported; supported is a constant "
            "current as i_offset of cells"
        )

    @property
    def positions(self) -> NDArray[np.float64]:
        """Where its cells are, shape ``(3, size)``, in whatever unit the script has."""
        return np.concatenate([m.population.places[:, m.cells] for m in self.members], axis=1)

    @property
    def celltype(self) -> Any:
        """The cells as PyNN describes them."""
        return self.members[0].population.cells

    def is_local(self, id: object) -> bool:
        """Every cell is here."""
        return True

    def __getattr__(self, name: str) -> Any:
        if name in ("recorder", "label"):
            raise AttributeError(name)
        return self.recorder.absent(
            "Population",
            name,
            "is not supported; supported are size, label, all_cells, slices, sample, initialize, set, get "
            "and record",
        )


def _slices(values: dict[str, Any], start: int, size: int, total: int) -> dict[str, Any]:
    """What of values for all cells of a group is for some of them."""

    def part(value: Any) -> Any:
        if total == size or not isinstance(value, list | tuple | np.ndarray) or len(value) != total:
            return value
        return value[start : start + size]

    return {name: part(value) for name, value in values.items()}


class RecordedPopulation(Group):
    """What a script gets for ``sim.Population``."""

    def __init__(
        self, recorder: Recorder, label: str, size: int, cell: CellType, cells: Any
    ) -> None:
        """``cells`` are PyNN's object of the cell type; ``first`` is the number of the first cell."""
        self.recorder = recorder
        self.label = label
        self.cell = cell
        self.cells = cells
        self.first = recorder.numbers(size)
        self._size = size
        self.spike_times: tuple[NDArray[np.float64], ...] = ()
        if cell.source == "given":
            self.spike_times = given_spike_times(cells, size, repr(label))
        self.parameters: dict[str, Value] = {
            name: given_value(array, (size,), f"{label!r}: {name}")
            for name, array in cells.parameter_space.items()
            if name != "spike_times"
        }
        self.recordable = tuple(cells.recordable)
        self.initial_values: dict[str, Value] = {}
        self.recorded = False
        self.recordings: list[tuple[str, Indices]] = []
        self.left_out: dict[str, None] = {}
        self.structure: Any = None

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """Positions of all cells, shape ``(3, size)``; a line, as in PyNN, without a structure."""
        structure = self.structure or pyNN.space.Line()
        if isinstance(structure, pyNN.space.RandomStructure):
            self.recorder.drawn_once(f"positions in {self.label!r}")
            if getattr(structure.rng, "seed", None) is None:
                structure.rng = pyNN.random.NumpyRNG(seed=self.recorder.own_seed())
        try:
            return np.asarray(structure.generate_positions(self.size), np.float64)
        except Exception as error:
            raise RequestError(
                f"population {self.label!r}: {self.size} cells cannot be placed by {structure!r} ({error})"
            ) from error

    @property
    def positions(self) -> NDArray[np.float64]:
        return self.places

    @positions.setter
    def positions(self, positions: Any) -> None:
        places = np.asarray(positions, np.float64)
        if places.shape != (3, self.size):
            raise RequestError(
                f"positions of population {self.label!r} have shape {places.shape}; allowed is (3, {self.size})"
            )
        self.places = places

    @property
    def members(self) -> list[Member]:
        return [Member(self, self.indices)]

    @property
    def populations_in(self) -> list[RecordedPopulation]:
        return [self]

    @cached_property
    def indices(self) -> Indices:
        """0, 1, ...; only made for those who ask, as a population may be too large for it."""
        return np.arange(self._size)

    @property
    def size(self) -> int:
        return self._size

    local_size = size

    def _each(
        self, values: dict[str, Any]
    ) -> Iterator[tuple[RecordedPopulation, Indices | None, dict[str, Any]]]:
        yield self, None, values

    @property
    def first_id(self) -> Cell:
        """Its first cell."""
        return Cell(self, 0)

    @property
    def last_id(self) -> Cell:
        """Its last cell."""
        return Cell(self, self.size - 1)

    def _number_of(self, cells: Indices | None) -> int:
        return self.size if cells is None else len(cells)

    def initialize_part(self, cells: Indices | None, values: dict[str, Any]) -> None:
        """Initial values of some cells, or of all."""
        self.recorder.changing(f"initialize of population {self.label!r}")
        for name, value in values.items():
            if name not in self.cell.state:
                known = ", ".join(self.cell.state) or "nothing, as it has no state"
                if name in self.cells.default_initial_values and self.cell.source is None:
                    # what synapses and adaptation begin with
                    self.left_out_initial(name, value)
                    continue
                raise UnsupportedError(
                    f"initialize({name}=...) of population {self.label!r} is not supported; supported "
                    f"of {self.cell.name} is {known}"
                )
            where = f"{self.label!r}: initial {name}"
            given = given_value(value, (self._number_of(cells),), where)
            self.initial_values[name] = self._merged(
                self.initial_values.get(name), given, cells, where
            )

    def left_out_initial(self, name: str, value: Any) -> None:
        """An initial value that is what simulators have anyway; RequestError for another one."""
        if given_value(value, (self.size,), f"{self.label!r}: initial {name}") != 0.0:
            raise UnsupportedError(
                f"initialize({name}=...) of population {self.label!r} is not supported but for 0, which is "
                "what it is without it"
            )

    def set_part(self, cells: Indices | None, parameters: dict[str, Any]) -> None:
        """Parameters of some cells, or of all."""
        self.recorder.changing(f"set of population {self.label!r}")
        # sPyNNaker takes initial values here, too
        initial = {name: parameters.pop(name) for name in self.cell.state if name in parameters}
        if initial:
            self.initialize_part(cells, initial)
        known = [*self.parameters, *(["spike_times"] if self.cell.source == "given" else [])]
        for name, value in parameters.items():
            if name not in known:
                raise RequestError(
                    f"set({name}=...): {self.cell.name} of population {self.label!r} has no such "
                    f"parameter; it has {', '.join(known)}"
                )
            if name == "spike_times":
                given = pyNN.standardmodels.cells.SpikeSourceArray(spike_times=value)
                times = given_spike_times(given, self._number_of(cells), repr(self.label))
                merged = list(self.spike_times)
                for cell, own in zip(self.indices if cells is None else cells, times, strict=True):
                    merged[cell] = own
                self.spike_times = tuple(merged)
            else:
                where = f"{self.label!r}: {name}"
                given = given_value(value, (self._number_of(cells),), where)
                self.parameters[name] = self._merged(self.parameters[name], given, cells, where)

    def _merged(
        self, before: Value | None, given: Value, cells: Indices | None, where: str
    ) -> Value:
        """The values of all cells when some of them get new ones."""
        if cells is None or np.array_equal(cells, self.indices):
            return given
        before = self._drawn_once(before, self.size, where)
        own = self._drawn_once(given, len(cells), where)
        # arrays are copies of what the script gave, so that cells can be set one by one in place
        values = (
            before if isinstance(before, np.ndarray) else np.full(self.size, before, np.float64)
        )
        values[cells] = own
        return values

    def _drawn_once(self, value: Value | None, size: int, where: str) -> Any:
        """Numbers in place of a distribution, as a network has one for all cells of a population or none."""
        if not isinstance(value, Distribution):
            return value
        self.recorder.drawn_once(f"{where} of some cells")
        generator = pyNN.random.NumpyRNG(seed=self.recorder.own_seed())
        drawn = pyNN.random.RandomDistribution(value.name, rng=generator, **value.parameters)
        return np.asarray(drawn.next(size), np.float64)

    def get_part(self, cells: Indices, name: str) -> NDArray[Any]:
        """A parameter of some cells."""
        if name == "spike_times":
            times = np.empty(len(cells), object)
            times[:] = [self.spike_times[i] for i in cells]
            return times
        if name not in self.parameters:
            raise RequestError(f"get({name!r}): population {self.label!r} has no such parameter")
        value = self.parameters[name]
        if isinstance(value, Distribution):
            drawing = self.recorder.drawing((), f"{name} of population {self.label!r}")
            return drawing.parameter(self.label, name)[cells]
        return np.array(np.broadcast_to(np.asarray(value), (self.size,))[cells])

    def record_part(
        self, variables: str | list[str] | None, cells: Indices | None, label: str
    ) -> None:
        """Record some cells under a label of their own."""
        self.recorder.changing(f"record of population {self.label!r}")
        if variables is None:
            self.recorded, self.recordings, self.left_out = False, [], {}
            return
        names = [variables] if isinstance(variables, str) else list(variables)
        for name in names:
            if name == "all":
                names += [known for known in self.recordable if known not in names]
            elif name == "spikes" and (cells is None or len(np.unique(cells)) == self.size):
                self.recorded = True
            elif name == "spikes" and cells is not None:
                self.recordings.append((label, np.unique(cells)))
            elif name in self.recordable or name in self.recorder.also_recorded:
                self.left_out[name] = None
            else:
                raise RequestError(
                    f"record({shown(name)}) of population {self.label!r}: {self.cell.name} records "
                    f"{', '.join(self.recordable)}"
                )

    def described(self) -> Population:
        """As a network has it."""
        return Population(
            self.label,
            self.size,
            self.cell.name,
            dict(self.parameters),
            dict(self.initial_values),
            self.recorded or bool(self.recordings),
            self.spike_times,
        )

    def described_recordings(self, taken: list[str]) -> list[Recording]:
        """Its parts that are compared, with labels that are not ``taken``; none if it is as a whole."""
        if self.recorded:
            return []
        found = []
        # cells that are recorded one by one are one part
        single = [cells for _, cells in self.recordings if len(cells) == 1]
        parts = [(label, cells) for label, cells in self.recordings if len(cells) > 1]
        if single:
            parts.append((f"cells of {self.label}", np.unique(np.concatenate(single))))
        different: list[tuple[str, Indices]] = []
        for label, cells in parts:
            if not any(np.array_equal(cells, others) for _, others in different):
                different.append((label, cells))
        for label, cells in different:
            own = unused_label(label, taken)
            taken.append(own)
            found.append(Recording(own, self.label, cells))
        return found


def same_cells(one: Group, other: Group) -> bool:
    """Whether two groups are the same cells in the same order."""
    if isinstance(one, RecordedPopulation) and isinstance(other, RecordedPopulation):
        return one is other
    return np.array_equal(one.ids, other.ids)


def share_cells(one: Group, other: Group) -> bool:
    """Whether two groups have cells in common."""
    if isinstance(one, RecordedPopulation) and isinstance(other, RecordedPopulation):
        return one is other
    return bool(np.intersect1d(one.ids, other.ids).size)


def places_among(one: Group, other: Group) -> Indices | None:
    """For every cell of a group where it stands in another, -1 if it does not.

    None for groups that are the same cells or share none, to which nothing has to be said.
    """
    if same_cells(one, other) or not share_cells(one, other):
        return None
    order = np.argsort(other.ids)
    place = np.minimum(np.searchsorted(other.ids[order], one.ids), other.size - 1)
    return np.where(other.ids[order][place] == one.ids, order[place], -1)


class View(Group):
    """Some cells of one population."""

    def __init__(self, population: RecordedPopulation, cells: Indices, label: str | None) -> None:
        self.recorder = population.recorder
        self.label = label or f"view of {population.label} with size {len(cells)}"
        self.population = population
        self.indices = np.asarray(cells, np.int64)

    @property
    def members(self) -> list[Member]:
        return [Member(self.population, self.indices)]

    @property
    def parent(self) -> RecordedPopulation:
        """The population."""
        return self.population

    grandparent = parent

    @property
    def mask(self) -> Indices:
        """Indices of its cells in the population."""
        return self.indices


class Assembly(Group):
    """Populations, views and other assemblies as one."""

    def __init__(self, *groups: Any, label: str | None = None) -> None:
        if not groups or not all(isinstance(group, Group) for group in groups):
            raise RequestError("an Assembly is made of populations, views and assemblies")
        self.recorder = groups[0].recorder
        parts: list[Any] = [
            part for g in groups for part in (g.populations if isinstance(g, Assembly) else [g])
        ]
        self.populations: list[Any] = [p for i, p in enumerate(parts) if p not in parts[:i]]
        self.label = label or " + ".join(part.label for part in self.populations)

    @property
    def members(self) -> list[Member]:
        return [member for part in self.populations for member in part.members]

    def get_population(self, label: str) -> Any:
        """The part with this label."""
        for part in self.populations:
            if part.label == label:
                return part
        raise RequestError(f"assembly {self.label!r} has no population {label!r}")


class Cell(int):
    """One cell: the number that it has among all, and what PyNN's ids do."""

    population: RecordedPopulation
    index: int

    def __new__(cls, population: RecordedPopulation, index: int) -> Cell:
        cell = super().__new__(cls, population.first + index)
        object.__setattr__(cell, "population", population)
        object.__setattr__(cell, "index", index)
        return cell

    @property
    def position(self) -> NDArray[np.float64]:
        """Where the cell is."""
        return self.population.positions[:, self.index]

    def as_view(self) -> View:
        """A view of this cell."""
        return View(self.population, np.array([self.index]), None)

    @property
    def parent(self) -> RecordedPopulation:
        """The population that the cell is in."""
        return self.population

    local = True

    @property
    def celltype(self) -> Any:
        """The cell as PyNN describes it."""
        return self.population.cells

    def set_parameters(self, **parameters: Any) -> None:
        """Change parameters of the cell."""
        self.as_view().set(**parameters)

    def get_parameters(self) -> dict[str, float]:
        """Parameters of the cell."""
        return {name: self.as_view().get(name) for name in self.population.parameters}

    def set_initial_value(self, variable: str, value: float) -> None:
        """The initial value of a state variable."""
        self.as_view().initialize(**{variable: value})

    def initialize(self, **initial_values: Any) -> None:
        """Initial values of the cell."""
        self.as_view().initialize(**initial_values)

    def record(self, variables: Any, *args: object, **kwargs: object) -> None:
        """Record the cell."""
        self.as_view().record(variables)

    def inject(self, current_source: Any) -> None:
        """Not supported."""
        self.as_view().inject(current_source)

    def __add__(self, other: Any) -> Any:
        return Assembly(self.as_view(), other) if isinstance(other, Group) else int(self) + other

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.population.parameters:
            return self.as_view().get(name)
        return getattr(self.population, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.set_parameters(**{name: value})
