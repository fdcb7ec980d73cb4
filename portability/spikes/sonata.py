"""Spikes as SONATA files on disk.

A file may come from a stranger. What HDF5 could be made to do by one is not done: links and data are not
followed to other files, filters (which may be loaded from libraries) do not run, and nothing takes more
memory than the file's size accounts for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing
from pynn_portability.spikes.data import PopulationSpikes, SpikeData, whole_steps

if TYPE_CHECKING:
    import h5py

SONATA_MAGIC = 0x0A7A
SONATA_VERSION = (0, 1)
_H5PY_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What h5py raises for files that are not what they should be."""
_LARGEST = 2**31 - 1
"""Number of steps and of neurons, which are 32-bit integers in simulators."""
_BUILT_IN = {1, 2, 3}
"""Filters of HDF5 itself: deflate, shuffle, checksum."""
_MOST_DEFLATED = 1032
"""Bytes that a byte of deflated data can stand for."""
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
            unquote(name): _read_population(_group(root, name), n_steps, timestep) for name in root
        }
        return SpikeData(timestep, n_steps, populations)


class PlainPopulation(NamedTuple):
    """Spikes of a population in a file that anybody's program wrote; its name is empty in an earlier layout.

    ``times`` (float64) are in ``units``, ms unless the file says otherwise; ``neurons`` (int64) are ids.
    ``size`` is only known from files of this harness.
    """

    population: str
    times: np.ndarray
    neurons: np.ndarray
    units: str
    size: int | None


def read_plain(path: Path) -> list[PlainPopulation]:
    """Read any SONATA file of spikes; RequestError when it is missing, damaged or something else."""
    with _opened(path, ours=False) as root:
        # `in` would follow a link to another file
        if root.id.links.exists(b"timestamps"):  # PyNN's earlier layout: all populations in one
            return [_plain_population(root, "", "gids")]
        return [_plain_population(_group(root, name), name) for name in root]


def _plain_population(group: h5py.Group, name: str, ids: str = "node_ids") -> PlainPopulation:
    times, neurons = (_array(group, key, compressed=True) for key in ("timestamps", ids))
    if times.shape != neurons.shape:
        raise ValueError(f"{group.name} has {times.size} timestamps for {neurons.size} {ids}")
    units = group["timestamps"].attrs.get("units", "ms")
    size = int(_number(group, "size")) if "size" in group.attrs else None
    return PlainPopulation(
        unquote(name),
        times.astype(np.float64),
        neurons.astype(np.int64),
        units.decode() if isinstance(units, bytes) else str(units),
        size,
    )


def read_extent(path: Path) -> tuple[int, float]:
    """Number of steps and time step (ms) of such a file; raises as `read_sonata` does."""
    with _opened(path) as root:
        return _extent(root)


def read_sizes(path: Path) -> dict[str, int]:
    """Numbers of neurons by population, without reading spikes; raises as `read_sonata` does."""
    with _opened(path) as root:
        return {unquote(name): int(_number(_group(root, name), "size")) for name in root}


def _extent(root: h5py.Group) -> tuple[int, float]:
    n_steps, timestep = int(_number(root, "n_steps")), float(_number(root, "timestep"))
    if not 0 <= n_steps <= _LARGEST:
        raise ValueError(f"it has {n_steps} steps")
    return n_steps, timestep


def _number(holder: h5py.Group, name: str) -> Any:
    """An attribute that is a single number; others are not even read, however large they say they are."""
    kind = holder.attrs.get_id(name)
    if kind.shape not in ((), (1,)) or kind.dtype.kind not in "iuf":
        raise ValueError(f"its attribute {name!r} is not a number")
    return np.asarray(holder.attrs[name]).reshape(())[()]


def _linked(group: h5py.Group, name: str) -> Any:
    """What a group holds itself under a name, not what a link names."""
    import h5py  # noqa: PLC0415

    # of h5py's groups, `in` and `get` follow a link already to say what it is
    links, stored_name = group.id.links, name.encode("utf-8", "surrogateescape")
    if not links.exists(stored_name):
        raise KeyError(f"there is no {name!r} in {group.name!r}")
    if links.get_info(stored_name).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name!r} in {group.name!r} is a link to something else")
    return group[name]


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    import h5py  # noqa: PLC0415

    found = _linked(parent, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{name!r} in {parent.name!r} is not a group")
    return found


def _array(group: h5py.Group, name: str, compressed: bool = False) -> np.ndarray:
    """A row of numbers that the file itself holds, as they are or compressed by what is part of HDF5."""
    import h5py  # noqa: PLC0415

    found = _linked(group, name)
    if not isinstance(found, h5py.Dataset) or found.ndim != 1 or found.dtype.kind not in "iuf":
        raise ValueError(f"{found.name} is not a row of numbers")
    if found.external or found.is_virtual:
        raise ValueError(f"{found.name} is in another file")
    properties = found.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if filters - (_BUILT_IN if compressed else set()):
        raise ValueError(f"{found.name} is compressed, which these files are not")
    # what is declared and not stored would be made up, of any size
    stored = min(found.id.get_storage_size(), found.file.id.get_filesize())
    if found.nbytes > stored * (_MOST_DEFLATED if filters else 1):
        raise ValueError(f"{found.name} says that it is larger than the file")
    values: np.ndarray = found[()]
    return values


@contextmanager
def _opened(path: Path, ours: bool = True) -> Iterator[h5py.Group]:
    """The group of spikes of a file; what goes wrong with it becomes a sentence."""
    import h5py  # noqa: PLC0415

    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")  # a pipe would be waited for
        with h5py.File(path, "r") as file:
            if ours and ("magic" not in file.attrs or _number(file, "magic") != SONATA_MAGIC):
                raise ValueError("its attribute 'magic' is not that of SONATA")
            yield _group(file, "spikes")
    except FileNotFoundError:
        raise RequestError(f"The spike file {path} does not exist.") from None
    except _H5PY_ERRORS as error:
        reason = " ".join(str(error).split()).strip("\"'. ")
        attributes = " of this harness, with 'timestep', 'n_steps' and 'size' as attributes"
        what = f"SONATA spike file{attributes if ours else ''}"
        raise RequestError(f"{path} is not a whole {what} ({reason}).") from error


def _group_name(label: str) -> str:
    """The label as a name that HDF5 does not take for a path; ``unquote`` undoes it."""
    name = label.replace("%", "%25").replace("/", "%2F")
    return "%2E" + name[1:] if name.startswith(".") else name


def _read_population(group: h5py.Group, n_steps: int, timestep: float) -> PopulationSpikes:
    size = int(_number(group, "size"))
    if not 0 <= size <= _LARGEST:
        raise ValueError(f"{group.name} has {size} neurons")
    steps = whole_steps(_array(group, "timestamps"), timestep)
    neurons = _array(group, "node_ids")
    if steps.shape != neurons.shape:
        raise ValueError(f"{group.name} has {steps.size} timestamps for {neurons.size} node_ids")
    if neurons.size and (neurons.max() >= size or neurons.min() < 0):
        raise ValueError(f"{group.name} has node_ids beyond its {size} neurons")
    if steps.size and (steps.min() < 0 or steps.max() > n_steps):
        raise ValueError(f"{group.name} has spikes beyond its {n_steps} steps")
    return PopulationSpikes(size, steps, neurons.astype(np.int32))
