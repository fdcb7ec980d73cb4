"""Spikes in memory, as SONATA files on disk, and as Neo objects.

Inside the harness a spike time is an integer number of steps: a spike with step ``k`` happened at
the end of the ``k``-th step, at ``k * timestep`` ms, as NEST labels it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from portability.errors import RequestError
from portability.files import replacing

if TYPE_CHECKING:
    import h5py
    import neo

SONATA_MAGIC = 0x0A7A
SONATA_VERSION = (0, 1)
_SORTING = {"none": 0, "by_id": 1, "by_time": 2}


@dataclass(frozen=True)
class PopulationSpikes:
    """Spikes of one population of ``size`` neurons, sorted by step, then by neuron.

    ``steps`` is int64 and ``neurons`` int32, both of shape ``(n_spikes,)``; neurons count from 0.
    """

    size: int
    steps: NDArray[np.int64]
    neurons: NDArray[np.int32]

    @classmethod
    def from_unsorted(cls, size: int, steps: NDArray, neurons: NDArray) -> PopulationSpikes:
        order = np.lexsort((neurons, steps))
        return cls(size, steps[order].astype(np.int64), neurons[order].astype(np.int32))


@dataclass(frozen=True)
class SpikeData:
    """Spikes of the recorded populations in a run of ``n_steps`` steps of ``timestep`` ms."""

    timestep: float
    n_steps: int
    populations: Mapping[str, PopulationSpikes]


def write_sonata(path: Path, spikes: SpikeData) -> None:
    """Write a SONATA spike file; it appears whole or not at all.

    Layout and attributes are those of the SONATA Developer Guide, "Spike file" (timestamps in ms,
    sorted by time). What SONATA does not hold is added as attributes: ``timestep`` (ms) and
    ``n_steps`` of ``/spikes``, ``size`` of each population. Characters that HDF5 reserves are
    percent-encoded in population names.

    Raises ``OSError`` when the file cannot be written.
    """
    import h5py  # noqa: PLC0415

    # libsonata, the reference reader, understands "sorting" only as an HDF5 enumeration.
    sorting = h5py.enum_dtype(_SORTING, basetype="u1")
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["magic"] = np.uint32(SONATA_MAGIC)
        file.attrs["version"] = np.array(SONATA_VERSION, dtype=np.uint32)
        root = file.create_group("spikes", track_order=True)
        root.attrs["timestep"] = float(spikes.timestep)
        root.attrs["n_steps"] = np.int64(spikes.n_steps)
        for label, population in spikes.populations.items():
            group = root.create_group(_group_name(label))
            group.attrs.create("sorting", _SORTING["by_time"], dtype=sorting)
            group.attrs["size"] = np.int64(population.size)
            # Not compressed: builds of libsonata come without HDF5's compression filters.
            times = group.create_dataset(
                "timestamps", data=population.steps * float(spikes.timestep)
            )
            times.attrs["units"] = "ms"
            group.create_dataset("node_ids", data=population.neurons.astype(np.uint64))


def read_sonata(path: Path) -> SpikeData:
    """Read a file that ``write_sonata`` wrote: exactly the steps and neurons that were written.

    Raises ``RequestError`` when the file is missing, damaged or lacks what ``write_sonata`` adds
    to SONATA.
    """
    import h5py  # noqa: PLC0415

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("magic") != SONATA_MAGIC:
                raise ValueError("its attribute 'magic' is not that of SONATA")
            root = file["spikes"]
            timestep = float(root.attrs["timestep"])
            populations = {
                unquote(name): _read_population(group, timestep) for name, group in root.items()
            }
            return SpikeData(timestep, int(root.attrs["n_steps"]), populations)
    except FileNotFoundError:
        raise RequestError(f"The spike file {path} does not exist.") from None
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split()).strip("\"'. ")
        raise RequestError(
            f"{path} is not a whole SONATA spike file of this harness, "
            f"with 'timestep', 'n_steps' and 'size' as attributes ({reason})."
        ) from error


def _group_name(label: str) -> str:
    """The label as a name that HDF5 does not take for a path; ``unquote`` undoes it."""
    name = label.replace("%", "%25").replace("/", "%2F")
    return "%2E" + name[1:] if name.startswith(".") else name


def _read_population(group: h5py.Group, timestep: float) -> PopulationSpikes:
    size = int(group.attrs["size"])
    steps = _whole_steps(group["timestamps"][()], timestep)
    neurons = group["node_ids"][()]
    if steps.shape != neurons.shape:
        raise ValueError(f"{group.name} has {steps.size} timestamps for {neurons.size} node_ids")
    if neurons.size and neurons.max() >= size:
        raise ValueError(f"{group.name} has node_ids beyond its {size} neurons")
    return PopulationSpikes(size, steps, neurons.astype(np.int32))


def _whole_steps(times: NDArray[np.float64], timestep: float) -> NDArray[np.int64]:
    """Times (ms) as whole numbers of steps; ``ValueError`` when they are off the grid."""
    if not (np.isfinite(timestep) and timestep > 0):
        raise ValueError(f"the timestep must be positive and is {timestep:g} ms")
    exact = np.asarray(times, dtype=np.float64) / timestep
    steps = np.rint(exact)
    off_grid = ~(np.abs(exact - steps) < 1e-3)  # also true of NaN and infinity
    if off_grid.any():
        first = np.asarray(times)[off_grid][0]
        raise ValueError(f"a spike at {first:g} ms is not on the grid of {timestep:g} ms")
    return steps.astype(np.int64)


def to_neo(spikes: SpikeData) -> neo.Block:
    """A block of one segment with one spike train per neuron, silent neurons included.

    Times run from 0 to ``n_steps * timestep`` ms. Each train is annotated as PyNN annotates it:
    the label of its population as ``source_population``, the neuron's number as ``source_index``.
    """
    import neo  # noqa: PLC0415

    segment = neo.Segment()
    t_stop = spikes.n_steps * spikes.timestep
    for label, population in spikes.populations.items():
        order = np.argsort(population.neurons, kind="stable")
        times = population.steps[order] * spikes.timestep
        ends = np.cumsum(np.bincount(population.neurons, minlength=population.size))
        for index, train in enumerate(np.split(times, ends[:-1])):
            segment.spiketrains.append(
                neo.SpikeTrain(
                    train,
                    units="ms",
                    t_start=0.0,
                    t_stop=t_stop,
                    source_population=label,
                    source_index=index,
                )
            )
    block = neo.Block()
    block.segments.append(segment)
    return block


def from_neo(block: neo.Block, timestep: float) -> SpikeData:
    """Spikes of a block with one segment, as ``to_neo`` makes it or PyNN's ``get_data`` returns it.

    A population is as large as its largest ``source_index`` says; ``n_steps`` is the latest
    ``t_stop``.

    Raises ``RequestError`` when there is not exactly one segment, an annotation is missing, or a
    spike time is not a multiple of ``timestep`` (ms).
    """
    if len(block.segments) != 1:
        raise RequestError(
            f"The Neo block has {len(block.segments)} segments where exactly one is allowed."
        )
    collected: dict[str, list[tuple[int, NDArray[np.int64]]]] = {}
    n_steps = 0
    for train in block.segments[0].spiketrains:
        try:
            label = str(train.annotations["source_population"])
            index = int(train.annotations["source_index"])
        except KeyError as error:
            raise RequestError(
                f"A spike train of the Neo block has no annotation {error}; "
                "'source_population' and 'source_index' are needed."
            ) from None
        try:
            steps = _whole_steps(train.rescale("ms").magnitude, timestep)
        except ValueError as error:
            raise RequestError(f"The spikes of the Neo block cannot be used: {error}.") from None
        collected.setdefault(label, []).append((index, steps))
        n_steps = max(n_steps, round(float(train.t_stop.rescale("ms")) / timestep))
    populations = {
        label: PopulationSpikes.from_unsorted(
            max(index for index, _ in trains) + 1,
            np.concatenate([steps for _, steps in trains]),
            np.concatenate([np.full(steps.size, index) for index, steps in trains]),
        )
        for label, trains in collected.items()
    }
    return SpikeData(timestep, n_steps, populations)
