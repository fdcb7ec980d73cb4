"""Spikes as SONATA files on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing
from pynn_portability.spikes.data import PopulationSpikes, SpikeData, whole_steps

if TYPE_CHECKING:
    import h5py

SONATA_MAGIC = 0x0A7A
SONATA_VERSION = (0, 1)
_SORTING = {"none": 0, "by_id": 1, "by_time": 2}


def write_sonata(path: Path, spikes: SpikeData) -> None:
    """Write a SONATA spike file; it appears whole or not at all.

    Layout and attributes are those of the SONATA Developer Guide, "Spike file" (timestamps in ms,
    sorted by time). What SONATA does not hold is added as attributes: ``timestep`` (ms) and
    ``n_steps`` of ``/spikes``, ``size`` of each population. Characters that HDF5 reserves are
    percent-encoded in population names.

    Raises ``OSError`` when the file cannot be written.
    """
    try:
        _write(path, spikes)
    except (OSError, RuntimeError) as error:
        # HDF5 says a lot, in which the operating system's words stand
        reason = re.search(r"error message = '([^']*)'", str(error))
        raise OSError(f"{path.name} cannot be written: {reason[1] if reason else error}") from error


def _write(path: Path, spikes: SpikeData) -> None:
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
    with _opened(path) as root:
        n_steps, timestep = _extent(root)
        populations = {
            unquote(name): _read_population(_member(root, name), timestep) for name in root
        }
        return SpikeData(timestep, n_steps, populations)


def read_extent(path: Path) -> tuple[int, float]:
    """Number of steps and time step (ms) of such a file; raises as `read_sonata` does."""
    with _opened(path) as root:
        return _extent(root)


def _extent(root: h5py.Group) -> tuple[int, float]:
    return int(root.attrs["n_steps"]), float(root.attrs["timestep"])


@contextmanager
def _opened(path: Path) -> Iterator[h5py.Group]:
    """The group of spikes of a file; what goes wrong with it becomes a sentence."""
    import h5py  # noqa: PLC0415

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("magic") != SONATA_MAGIC:
                raise ValueError("its attribute 'magic' is not that of SONATA")
            yield _member(file, "spikes")
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


def _member(group: h5py.Group, name: str) -> Any:
    """A group or dataset that lies in this file itself.

    Raises ValueError for what a stranger could have put in its place: links, data in other files, and data
    that are larger in memory than in the file.
    """
    import h5py  # noqa: PLC0415

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link to elsewhere")
    member = group[name]
    if isinstance(member, h5py.Dataset) and (
        member.is_virtual
        or member.external
        or member.id.get_create_plist().get_nfilters()
        or member.id.get_storage_size() != member.nbytes
    ):
        raise ValueError(f"{name} does not lie plainly in the file")
    return member


def _read_population(group: h5py.Group, timestep: float) -> PopulationSpikes:
    size = int(group.attrs["size"])
    steps = whole_steps(_member(group, "timestamps")[()], timestep)
    neurons = _member(group, "node_ids")[()]
    if steps.shape != neurons.shape:
        raise ValueError(f"{group.name} has {steps.size} timestamps for {neurons.size} node_ids")
    if neurons.size and neurons.max() >= size:
        raise ValueError(f"{group.name} has node_ids beyond its {size} neurons")
    return PopulationSpikes(size, steps, neurons.astype(np.int32))
