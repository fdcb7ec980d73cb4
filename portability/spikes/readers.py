"""Spikes as other programs write them, file by file.

A reader gives what a file says and nothing else: times in the file's unit, numbers of neurons as the file counts
them, and what is said of population, unit and first number. What that means for a study is worked out in
`pynn_portability.spikes.intake`. Files may come from a stranger: nothing here executes what they hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, listing
from pynn_portability.spikes.sonata import read_plain

Unit = Literal["ms", "s", "steps"]
FORMATS = ("nest-ascii", "table", "npz", "sonata", "neo")
"""Names of formats, as a user types them."""

MOST_BYTES = 2**34
"""Of a file."""

_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        ".dat": "nest-ascii",
        ".gdf": "nest-ascii",
        ".csv": "table",
        ".tsv": "table",
        ".txt": "table",
        ".parquet": "table",
        ".npz": "npz",
        ".h5": "sonata",
        ".hdf5": "sonata",
        ".sonata": "sonata",
        ".nix": "neo",
        ".nwb": "neo",
        ".pkl": "neo",
        ".pickle": "neo",
    }
)
PROGRAMS = (".pkl", ".pickle")
"""Files that Python executes when it reads them."""


@dataclass(frozen=True)
class Piece:
    """Spikes of a file, or of one population in it.

    ``times`` (float64) and ``neurons`` (int64) have shape ``(n_spikes,)``; ``neurons`` are numbered as the file
    does. The rest is None where the file does not say it: ``unit`` of the times, the name of the
    ``population``, the number of its ``first`` neuron, how many neurons were recorded (``size``), ``seed``.
    """

    file: Path
    times: NDArray[np.float64]
    neurons: NDArray[np.int64]
    unit: Unit | None = None
    population: str | None = None
    first: int | None = None
    size: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Options:
    """What a user says about reading: names of ``columns`` (or arrays) by what they hold, and whether files that
    are programs may be executed."""

    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    trust_pickle: bool = False


class NoSpikesError(RequestError):
    """A file that holds something else, such as membrane potentials."""


def format_of(file: Path) -> str | None:
    """The format that a file's name stands for, None if it stands for none."""
    return _SUFFIXES.get(file.suffix.lower())


def read(file: Path, options: Options) -> list[Piece]:
    """The spikes of a file; RequestError, with the file, if it cannot be read or says too little."""
    name = options.format or format_of(file)
    if name is None:
        raise RequestError(
            f'{file}: its format is unknown; say format = "..." in the map (allowed: {", ".join(FORMATS)})'
        )
    try:
        if not file.is_file():
            raise RequestError(f"{file}: there is no such file")
        if file.stat().st_size > MOST_BYTES:
            raise RequestError(f"{file}: is larger than {MOST_BYTES // 2**30} GiB")
        return _READERS[name](file, options)
    except OSError as error:
        raise RequestError(f"{file}: cannot be read: {error.strerror or error}") from None


# --- Text ---

_COMMENT = "#"
_NEST_COLUMNS = (("sender", "time_ms"), ("sender", "time_step", "time_offset"))


def _nest(file: Path, options: Options) -> list[Piece]:
    """A recording file of NEST 2 (no header) or 3 (`sender`, `time_ms` or `time_step`), or of NEST GPU."""
    header, skipped = _head(file)
    names = tuple(header.split()) if header else ("sender", "time_ms")
    if names not in _NEST_COLUMNS:
        raise NoSpikesError(
            f"{file}: has the columns {listing(names)}, and a file of spikes has sender and time_ms (or "
            "time_step and time_offset)"
        )
    rows = _numbers(file, skipped, len(names), exact=not header)
    if len(names) == 2:
        return [Piece(file, rows[:, 1], _whole(rows[:, 0], file), "ms")]
    if rows[:, 2].any():
        raise RequestError(
            f"{file}: spikes are between steps (time_offset is not 0 everywhere); record times in ms and say "
            'grid = "round" in the map'
        )
    return [Piece(file, rows[:, 1], _whole(rows[:, 0], file), "steps")]


def _head(file: Path) -> tuple[str, int]:
    """The line with the names of columns, empty without one, and how many lines go before the numbers."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        header, skipped = "", 0
        for line in lines:
            text = line.strip()
            if not text.startswith(_COMMENT) and not re.match(r"[A-Za-z\"]", text):
                break
            if not text.startswith(_COMMENT):
                header = text
            skipped += 1
    return header, skipped


def _numbers(file: Path, skipped: int, columns: int, exact: bool) -> NDArray[np.float64]:
    """Rows of numbers, shape ``(n, columns)``."""
    import pandas as pd  # noqa: PLC0415

    try:
        table = pd.read_csv(file, sep=r"\s+", header=None, skiprows=skipped, dtype=np.float64)
    except pd.errors.EmptyDataError:
        return np.empty((0, columns))
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{file}: is not a table of numbers: {' '.join(str(error).split())}"
        ) from None
    if table.shape[1] != columns and (exact or len(table)):
        raise NoSpikesError(
            f"{file}: has {table.shape[1]} columns of numbers, and a file of spikes has {columns}"
        )
    return table.to_numpy()


_UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "ms": "ms",
        "millisecond": "ms",
        "milliseconds": "ms",
        "s": "s",
        "second": "s",
        "seconds": "s",
        "sec": "s",
    }
)
_TIMES = ("time", "times", "t", "spike time", "spike times", "timestamp", "timestamps")
_NEURONS = (
    *("neuron", "neurons", "neuron id", "neuron ids", "id", "ids", "i", "index", "sender"),
    *("senders", "gid", "node id", "node ids", "neuron index", "source index", "unit", "cell"),
)
_POPULATIONS = ("population", "populations", "pop", "layer", "source population", "group")
_SEEDS = ("seed", "run", "trial", "realization")


def _column(names: list[str], meaning: str, words: tuple[str, ...], options: Options) -> str | None:
    """The one column of a table that holds something."""
    given = options.columns.get(meaning)
    if given is not None:
        return given if given in names else None
    found = [name for name in names if _plain(name)[0] in words]
    return found[0] if len(found) == 1 else None


def _plain(name: str) -> tuple[str, Unit | None]:
    """The words of a column's name, and its unit: ``Time [ms]`` and ``time_ms`` are times in ms."""
    words = re.sub(r"[^a-z]+", " ", name.lower()).split()
    if len(words) > 1 and words[-1] in _UNITS:
        return " ".join(words[:-1]), _UNITS[words[-1]]
    return " ".join(words), None


def _table(file: Path, options: Options) -> list[Piece]:
    """A table with named columns: CSV, TSV, text or Parquet; GeNN writes such files."""
    import pandas as pd  # noqa: PLC0415

    try:
        if file.suffix.lower() == ".parquet":
            table = pd.read_parquet(file)
        else:
            separator = {".tsv": "\t"}.get(file.suffix.lower())
            table = pd.read_csv(
                file, sep=separator, engine="python" if separator is None else "c", comment=_COMMENT
            )
    except ImportError as error:
        raise RequestError(
            f"{file}: Parquet files take pyarrow, which is not installed: pip install pyarrow"
        ) from error
    except pd.errors.EmptyDataError:
        raise RequestError(f"{file}: is empty, without names of columns") from None
    except Exception as error:
        raise RequestError(
            f"{file}: is not a table: {' '.join(str(error).split())[:200]}"
        ) from None
    table.columns = [str(name).strip() for name in table.columns]
    return _of_columns(file, {name: table[name].to_numpy() for name in table.columns}, options)


def _of_columns(file: Path, columns: Mapping[str, NDArray[Any]], options: Options) -> list[Piece]:
    names = list(columns)
    times = _column(names, "time", _TIMES, options)
    neurons = _column(names, "neuron", _NEURONS, options)
    if times is None or neurons is None:
        missing = "times" if times is None else "neurons"
        raise NoSpikesError(
            f"{file}: which of the columns {listing(names, 8)} holds {missing} is unknown; say "
            '[columns] time = "..." and neuron = "..." in the map'
        )
    values = _floats(columns[times], file, times)
    ids = _whole(_floats(columns[neurons], file, neurons), file)
    if values.shape != ids.shape:
        raise RequestError(f"{file}: {times} and {neurons} have different lengths")
    unit = _plain(times)[1]
    population = _column(names, "population", _POPULATIONS, options)
    seed = _column(names, "seed", _SEEDS, options)
    keys = [
        *([np.asarray(columns[population]).astype(str)] if population else []),
        *([_whole(_floats(columns[seed], file, seed), file)] if seed else []),
    ]
    if not keys:
        return [Piece(file, values, ids, unit)]
    found = []
    for group in sorted(set(zip(*(key.tolist() for key in keys), strict=True))):
        own = np.logical_and.reduce([key == g for key, g in zip(keys, group, strict=True)])
        name = group[0] if population else None
        number = group[-1] if seed else None
        found.append(Piece(file, values[own], ids[own], unit, name, seed=number))
    return found


def _floats(values: Any, file: Path, name: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim == 1 and not array.size:  # a table with a header only has columns of no type
        return np.empty(0)
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise RequestError(f"{file}: {name} is not a row of numbers")
    return array.astype(np.float64)


def _whole(values: NDArray[np.float64], file: Path) -> NDArray[np.int64]:
    if not np.isfinite(values).all() or (values != np.floor(values)).any():
        raise RequestError(f"{file}: numbers of neurons are not whole numbers")
    return values.astype(np.int64)


# --- Archives and libraries ---


def _npz(file: Path, options: Options) -> list[Piece]:
    """An archive of NumPy with arrays ``t`` and ``i``, as scripts for Brian2 write it."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            columns = {name: archive[name] for name in archive.files}
    except Exception as error:
        raise RequestError(
            f"{file}: is not an archive of plain NumPy arrays ({type(error).__name__}: {error})"
        ) from None
    rows = {name: values for name, values in columns.items() if np.ndim(values) == 1}
    return _of_columns(file, rows, options)


def _sonata(file: Path, options: Options) -> list[Piece]:
    """A SONATA file of spikes, whoever wrote it."""
    return [
        Piece(
            file,
            p.times,
            p.neurons,
            _UNITS.get(p.units.lower()),
            p.population or None,
            0 if p.population else None,
            p.size,
        )
        for p in read_plain(file)
    ]


def _neo(file: Path, options: Options) -> list[Piece]:
    """Any format that Neo reads; segments are runs if there are several."""
    import neo.io  # noqa: PLC0415

    if file.suffix.lower() in PROGRAMS and not options.trust_pickle:
        raise RequestError(
            f"{file}: is a pickle, a program that Python executes when it reads it; if you trust who wrote it, "
            "say --trust-pickle"
        )
    try:
        if file.suffix.lower() in PROGRAMS:
            blocks = neo.io.PickleIO(str(file)).read()
        else:
            blocks = neo.io.get_io(str(file), mode="r" if file.suffix != ".nix" else "ro").read()
    except Exception as error:
        raise RequestError(
            f"{file}: Neo cannot read it ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        ) from None
    segments = [segment for block in blocks for segment in block.segments]
    found = []
    for number, segment in enumerate(segments, start=1):
        seed = number if len(segments) > 1 else None
        found += list(_of_trains(file, segment.spiketrains, seed))
    if not found:
        raise NoSpikesError(f"{file}: holds no spike trains")
    return found


def _of_trains(file: Path, trains: Any, seed: int | None) -> Iterator[Piece]:
    """Trains by population; PyNN annotates each with ``source_population`` and ``source_index``."""
    by_population: dict[str | None, list[tuple[int, NDArray[np.float64]]]] = {}
    for place, train in enumerate(trains):
        population = train.annotations.get("source_population")
        index = train.annotations.get("source_index", place)
        times = np.asarray(train.rescale("ms").magnitude, np.float64)
        by_population.setdefault(population and str(population), []).append((int(index), times))
    for population, own in by_population.items():
        neurons = np.concatenate([np.full(len(times), index) for index, times in own])
        yield Piece(
            file,
            np.concatenate([times for _, times in own]),
            neurons.astype(np.int64),
            "ms",
            population,
            0,
            len(own),
            seed,
        )


_READERS: Mapping[str, Callable[[Path, Options], list[Piece]]] = MappingProxyType(
    {"nest-ascii": _nest, "table": _table, "npz": _npz, "sonata": _sonata, "neo": _neo}
)


# --- Names beside the spikes ---

_SEED = re.compile(r"(?:seed|realization|realisation)[-_=. ]?(\d+)", re.IGNORECASE)
_THREAD = re.compile(r"(?P<recorder>.+-\d+)-(?P<thread>\d+)\.(?:dat|gdf)")


def seed_in(name: str) -> int | None:
    """The seed that a path names, as in ``seed-3/spikes.dat``; None if there is none, or more than one."""
    found = set(_SEED.findall(name))
    return int(found.pop()) if len(found) == 1 else None


def thread_of(file: Path) -> tuple[str, int] | None:
    """The recorder and the thread that NEST names a file by, ``LABEL-NODE-THREAD.dat``."""
    found = _THREAD.fullmatch(file.name)
    return (found["recorder"], int(found["thread"])) if found else None


def ranges_beside(folder: Path) -> Mapping[str | int, tuple[int, int]]:
    """First and last number of each population, from a file beside the spikes, by label or by place.

    ``nodes.json`` (labels and their numbers) and ``population_nodeids.dat`` (a line for each population: first and
    last) are written by the PyNEST implementations of the cortical microcircuit. Empty without one.
    """
    import json  # noqa: PLC0415

    with suppress(OSError, ValueError, TypeError, AttributeError):
        nodes = json.loads((folder / "nodes.json").read_text(encoding="utf-8"))
        ranges: dict[str | int, tuple[int, int]] = {}
        for label, ids in nodes.items():
            numbers = np.asarray(ids)
            consecutive = numbers.size and (np.diff(np.sort(numbers)) == 1).all()
            if consecutive and numbers.dtype.kind in "iu" and "recorder" not in label:
                ranges[label] = int(numbers.min()), int(numbers.max())
        return ranges
    with suppress(OSError, ValueError):
        rows = np.loadtxt(folder / "population_nodeids.dat", dtype=np.int64, ndmin=2)
        if rows.shape[1] == 2:
            return {place: (int(first), int(last)) for place, (first, last) in enumerate(rows)}
    return {}
