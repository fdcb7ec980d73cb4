"""Plain, immutable description of a spiking network: what a PyNN script asks for, nothing drawn.

Nothing here knows a simulator, a seed or a number format. Units are those of PyNN: ms, mV, nF, nA
for currents and current-based weights, uS for conductance-based weights, Hz for rates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynn_portability.model.cells import CellType, Receptor, cell_type
from pynn_portability.model.connectivity import ConnectionRule, Ends, OneToOne
from pynn_portability.model.distribution import Distribution

Value = float | NDArray[np.float64] | Distribution
"""A parameter: one number for all, one each (shape ``(size,)``), or drawn for each."""


@dataclass(frozen=True)
class Population:
    """Neurons (or spike sources) of one PyNN standard cell type.

    ``parameters`` holds every parameter of the cell type, PyNN's defaults filled in, except
    ``spike_times`` of a ``SpikeSourceArray``, which is in ``spike_times``: one array (ms) per cell.
    """

    label: str
    size: int
    cell_type: str
    parameters: Mapping[str, Value]
    initial_values: Mapping[str, Value] = field(default_factory=dict)
    recorded: bool = False
    spike_times: tuple[NDArray[np.float64], ...] = ()

    @property
    def cell(self) -> CellType:
        """The record of the cell type; RequestError if there is none."""
        return cell_type(self.cell_type)

    @property
    def is_source(self) -> bool:
        """Whether spikes come from no input."""
        return self.cell.source is not None


@dataclass(frozen=True)
class Projection:
    """Static synapses from one population to another (labels), or onto itself.

    ``weight`` (nA or uS) and ``delay`` (ms) may be arrays only for ``FromList`` and ``OneToOne``
    (one value per synapse, in the order of the list). Signs follow PyNN: current-based inhibitory
    weights are negative, conductance-based weights never are.
    """

    label: str
    source: str
    target: str
    receptor: Receptor
    connector: ConnectionRule
    weight: Value
    delay: Value

    @property
    def dynamics(self) -> str:
        """How weights change while the network runs: they do not."""
        return "static"


@dataclass(frozen=True)
class PoissonDrive:
    """Independent Poisson input to each neuron of ``target``: rate in Hz, weight in nA or uS.

    It stands for a ``SpikeSourcePoisson`` population that is connected one-to-one to one
    population, feeds nothing else and is not recorded, so that each simulator can use its native
    drive. Active from ``start`` (ms) for ``duration`` (ms, infinite unless the model limits it).
    """

    label: str
    target: str
    receptor: Receptor
    rate: Value
    weight: Value
    delay: Value
    start: float = 0.0
    duration: float = float("inf")


@dataclass(frozen=True)
class Recording:
    """A part of a population that is compared under a ``label`` of its own.

    ``cells`` are indices in the ``population``, int64, ascending, shape ``(n,)``.
    """

    label: str
    population: str
    cells: NDArray[np.int64]


@dataclass(frozen=True)
class Network:
    """Populations, projections and drives, in the order of the script.

    Each of the three has labels of its own, which are unique among them; a projection may be called like
    a population. Looking up a label that does not exist raises KeyError. A recorded population of which there
    are ``recordings`` is compared in these parts instead of as a whole. ``notes`` say what of the script was
    left out or decided for it, a sentence each; they are no part of what the network is.
    """

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    drives: tuple[PoissonDrive, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    recordings: tuple[Recording, ...] = ()

    def population(self, label: str) -> Population:
        """The population called ``label``."""
        return self._populations[label]

    def projection(self, label: str) -> Projection:
        """The projection called ``label``."""
        return self._projections[label]

    def drive(self, label: str) -> PoissonDrive:
        """The drive called ``label``."""
        return self._drives[label]

    def ends(self, projection: Projection) -> Ends:
        """Sizes of the populations that a projection connects."""
        source, target = self.population(projection.source), self.population(projection.target)
        return Ends(source.size, target.size, source.label == target.label)

    @cached_property
    def _populations(self) -> Mapping[str, Population]:
        return {p.label: p for p in self.populations}

    @cached_property
    def _projections(self) -> Mapping[str, Projection]:
        return {p.label: p for p in self.projections}

    @cached_property
    def _drives(self) -> Mapping[str, PoissonDrive]:
        return {d.label: d for d in self.drives}

    @property
    def recorded(self) -> tuple[Population, ...]:
        """Populations whose spikes are needed."""
        return tuple(p for p in self.populations if p.recorded)

    @property
    def compared(self) -> tuple[Compared, ...]:
        """Populations and parts of them whose spikes are compared."""
        whole = [
            Compared(p.label, p.size, p.cell_type, p.label, None)
            for p in self.recorded
            if p.label not in {r.population for r in self.recordings}
        ]
        parts = [
            Compared(
                r.label,
                len(r.cells),
                self.population(r.population).cell_type,
                r.population,
                r.cells,
            )
            for r in self.recordings
        ]
        return (*whole, *parts)

    def overview(self) -> Iterator[dict[str, Any]]:
        """Populations, and parts of them that are compared, each with whether it is, as plain values."""
        compared = {c.label for c in self.compared}
        parts = [c for c in self.compared if c.cells is not None]
        entries: list[Population | Compared] = [*self.populations, *parts]
        for entry in entries:
            yield {
                "label": entry.label,
                "size": entry.size,
                "cell_type": entry.cell_type,
                "recorded": entry.label in compared,
            }

    def fingerprint(self) -> str:
        """SHA-256 over every number and name in the network: equal networks, equal fingerprints."""
        digest = hashlib.sha256()
        for token in _tokens(self):
            digest.update(len(token).to_bytes(8, "little"))
            digest.update(token)
        return digest.hexdigest()


class Compared(NamedTuple):
    """What is compared: all cells of ``population``, or those with the indices ``cells``."""

    label: str
    size: int
    cell_type: str
    population: str
    cells: NDArray[np.int64] | None


def recognise_drives(network: Network) -> Network:
    """The same network with independent Poisson input as drives instead of populations.

    A Poisson source is a drive when its only projection is one-to-one onto a population of the same
    size, and it is not recorded. The rest stays as the script made it.
    """
    drives = list(network.drives)
    sources, projections = set(), set()
    for source in network.populations:
        outgoing = [p for p in network.projections if p.source == source.label]
        if len(outgoing) == 1 and (drive := _as_drive(source, outgoing[0], network)) is not None:
            drives.append(drive)
            sources.add(source.label)
            projections.add(outgoing[0].label)
    return Network(
        tuple(p for p in network.populations if p.label not in sources),
        tuple(p for p in network.projections if p.label not in projections),
        tuple(drives),
        network.notes,
        network.recordings,
    )


def _as_drive(source: Population, projection: Projection, network: Network) -> PoissonDrive | None:
    """The drive that a source with a single projection amounts to, None if it is something else."""
    if source.cell.source != "poisson" or source.recorded:
        return None
    start, duration = source.parameters["start"], source.parameters["duration"]
    if (
        not isinstance(projection.connector, OneToOne)
        or network.population(projection.target).size != source.size
        or not isinstance(start, float)
        or not isinstance(duration, float)
        or isinstance(projection.weight, np.ndarray)
        or isinstance(projection.delay, np.ndarray)
    ):
        return None
    return PoissonDrive(
        projection.label,
        projection.target,
        projection.receptor,
        source.parameters["rate"],
        projection.weight,
        projection.delay,
        start,
        duration,
    )


def _tokens(value: Any) -> Iterator[bytes]:
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__.encode()
        for f in fields(value):
            if not f.compare or (isinstance(value, Network) and f.name == "recordings"):
                continue
            yield f.name.encode()
            yield from _tokens(getattr(value, f.name))
        if isinstance(value, Network):
            # only where there are any, as most networks have none and keep what they are known by
            for recording in value.recordings:
                yield from _tokens(recording)
    elif isinstance(value, Mapping):
        yield b"mapping %d" % len(value)
        for key in sorted(value):
            yield str(key).encode()
            yield from _tokens(value[key])
    elif isinstance(value, tuple):
        yield b"tuple %d" % len(value)
        for item in value:
            yield from _tokens(item)
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    else:
        yield repr(value).encode()
