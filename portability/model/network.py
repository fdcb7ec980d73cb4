"""Plain, immutable description of a spiking network: what a PyNN script asks for, nothing drawn.

Nothing here knows a simulator, a seed or a number format. Units are those of PyNN: ms, mV, nF, nA
for currents and current-based weights, uS for conductance-based weights, Hz for rates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Receptor = Literal["excitatory", "inhibitory"]
SPIKE_SOURCES = ("SpikeSourcePoisson", "SpikeSourceArray")


@dataclass(frozen=True)
class Distribution:
    """A random quantity, named and parametrised as in ``pyNN.random.RandomDistribution``."""

    name: str
    parameters: Mapping[str, float]


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
    def is_source(self) -> bool:
        return self.cell_type in SPIKE_SOURCES

    @property
    def conductance_based(self) -> bool:
        return self.cell_type.startswith("IF_cond")


@dataclass(frozen=True)
class AllToAll:
    """Every pair once."""

    self_connections: bool = True


@dataclass(frozen=True)
class OneToOne:
    """Cell i to cell i, as far as the smaller population reaches."""


@dataclass(frozen=True)
class FixedProbability:
    """Every pair independently with probability ``probability``."""

    probability: float
    self_connections: bool = True


@dataclass(frozen=True)
class FixedTotalNumber:
    """Exactly ``n`` synapses, sources and targets drawn uniformly."""

    n: int
    with_replacement: bool = True
    self_connections: bool = True


@dataclass(frozen=True)
class FixedNumberPre:
    """Exactly ``n`` sources for every target (fixed in-degree)."""

    n: int
    with_replacement: bool = False
    self_connections: bool = True


@dataclass(frozen=True)
class FixedNumberPost:
    """Exactly ``n`` targets for every source (fixed out-degree)."""

    n: int
    with_replacement: bool = False
    self_connections: bool = True


@dataclass(frozen=True)
class FromList:
    """Explicit pairs: ``source`` and ``target`` indices, int64, shape ``(n,)`` each."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]


Connector = (
    AllToAll
    | OneToOne
    | FixedProbability
    | FixedTotalNumber
    | FixedNumberPre
    | FixedNumberPost
    | FromList
)


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
    connector: Connector
    weight: Value
    delay: Value


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
class Network:
    """Populations, projections and drives, in the order of the script; labels are unique."""

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    drives: tuple[PoissonDrive, ...] = ()

    def population(self, label: str) -> Population:
        for population in self.populations:
            if population.label == label:
                return population
        raise KeyError(label)

    @property
    def recorded(self) -> tuple[Population, ...]:
        return tuple(p for p in self.populations if p.recorded)

    def fingerprint(self) -> str:
        """SHA-256 over every number and name in the network: equal networks, equal fingerprints."""
        digest = hashlib.sha256()
        for token in _tokens(self):
            digest.update(len(token).to_bytes(8, "little"))
            digest.update(token)
        return digest.hexdigest()


def recognise_drives(network: Network) -> Network:
    """The same network with independent Poisson input as drives instead of populations.

    A ``SpikeSourcePoisson`` population is a drive when its only projection is one-to-one onto a
    population of the same size, and it is not recorded. The rest stays as the script made it.
    """
    drives, replaced = [], set()
    for source in network.populations:
        if source.cell_type != "SpikeSourcePoisson" or source.recorded:
            continue
        outgoing = [p for p in network.projections if p.source == source.label]
        start, duration = source.parameters["start"], source.parameters["duration"]
        if (
            len(outgoing) != 1
            or not isinstance(outgoing[0].connector, OneToOne)
            or network.population(outgoing[0].target).size != source.size
            or not isinstance(start, float)
            or not isinstance(duration, float)
            or isinstance(outgoing[0].weight, np.ndarray)
            or isinstance(outgoing[0].delay, np.ndarray)
        ):
            continue
        projection = outgoing[0]
        drives.append(
            PoissonDrive(
                projection.label,
                projection.target,
                projection.receptor,
                source.parameters["rate"],
                projection.weight,
                projection.delay,
                start,
                duration,
            )
        )
        replaced |= {source.label, projection.label}
    return Network(
        tuple(p for p in network.populations if p.label not in replaced),
        tuple(p for p in network.projections if p.label not in replaced),
        (*network.drives, *drives),
    )


def _tokens(value: Any) -> Iterator[bytes]:
    if is_dataclass(value) and not isinstance(value, type):
        yield type(value).__name__.encode()
        for f in fields(value):
            yield f.name.encode()
            yield from _tokens(getattr(value, f.name))
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
