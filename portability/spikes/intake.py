"""From files of spikes to runs that a study can judge: what they mean, and what is wrong with them.

Nothing is guessed that could be guessed wrong, and nothing is repaired: what does not fit is refused in a
sentence (`RequestError`), and what fits but looks odd is a warning that stands in the report.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError, listing
from pynn_portability.files import file_hash
from pynn_portability.spikes.data import PopulationSpikes, SpikeData, whole_steps
from pynn_portability.spikes.mapping import Map, PopulationMap
from pynn_portability.spikes.readers import (
    NoSpikesError,
    Options,
    Piece,
    format_of,
    ranges_beside,
    read,
    seed_in,
    thread_of,
)

MOST_FILES = 100_000
IMPROBABLE = 1e-6
"""Patterns of silent neurons that are less likely than this by chance are told."""
MOST_STRIDE = 64
"""Longest stride that is looked for: threads of a simulator."""
FEW_SPIKES = 20
"""Fewer spikes than this say nothing about times."""
END = 0.1
"""First and last part of the window in which there should be spikes."""


LARGEST_SHIFT = 20
"""Steps by which spikes of a source may be early or late to be told so."""


@dataclass(frozen=True)
class Expected:
    """What a study asks of spikes: sizes by label, in the order of the network, and times in ms.

    ``sources`` are populations without neurons, which may spike twice in a step, and ``given`` has the spikes of those
    that the network is given beforehand.
    """

    sizes: Mapping[str, int]
    timestep: float
    warmup: float
    duration: float
    sources: frozenset[str] = frozenset()
    given: Mapping[str, PopulationSpikes] = field(default_factory=dict)

    @property
    def n_steps(self) -> int:
        """Steps of a run, the warm-up included."""
        return round((self.warmup + self.duration) / self.timestep)


@dataclass(frozen=True)
class Understood:
    """What a file was taken for: a line of the tally.

    ``population`` and ``seed`` are None where they are not known; ``ids`` and ``times`` are the smallest and the
    largest in the file, times in its ``unit``.
    """

    file: str
    population: str | None
    seed: int | None
    spikes: int
    ids: tuple[int, int] | None
    times: tuple[float, float] | None
    unit: str | None


@dataclass(frozen=True)
class Intake:
    """Runs by seed, ready to be judged, and what was understood on the way.

    ``runs`` have the analysed window where the study has it, after ``warmup`` ms. ``recorded`` has, for populations
    of which a part was recorded, the indices of those neurons; runs have these neurons only. ``notes`` say what
    was left out or rounded, ``warnings`` what looks odd, and ``files`` are SHA-256 by name.
    """

    runs: Mapping[int, SpikeData]
    recorded: Mapping[str, NDArray[np.int64]]
    tally: Sequence[Understood]
    notes: Sequence[str]
    warnings: Sequence[str]
    files: Mapping[str, str]


def explain(paths: Sequence[Path], given: Map, trust_pickle: bool) -> list[Understood]:
    """What files are taken for, without a study; raises RequestError as `take_in` does."""
    offered = _offered(paths, given)
    pieces, _ = _pieces(offered.names, given, trust_pickle)
    return [
        _understood(offered.names[file], piece, piece.population, _seed(piece, file, offered.seeds))
        for file, piece in pieces
    ]


def take_in(
    paths: Sequence[Path], given: Map, expected: Expected, trust_pickle: bool = False
) -> Intake:
    """Runs from files and folders.

    Raises RequestError for files that cannot be read, that say too little (with the key of the map that
    decides), and for spikes that cannot be those of the study.
    """
    _refuse_unknown(given, expected)
    offered = _offered(paths, given)
    hashes = {file: file_hash(file) for file in offered.names}
    pieces, ignored = _pieces(offered.names, given, trust_pickle)
    located = [
        (seed, label, piece, first)
        for file, piece in pieces
        for seed in [_seed(piece, file, offered.seeds)]
        for label, piece, first in _populations(piece, given, expected)
    ]
    drawn = {piece.file for _, label, piece, _ in located if label not in expected.given}
    _refuse_twice({file: digest for file, digest in hashes.items() if file in drawn})
    _refuse_missing_threads([(seed, piece.file) for seed, _, piece, _ in located])
    recorded = _recorded(given, expected, {label: first for _, label, _, first in located})
    notes = []
    if ignored:
        which = listing([offered.names[file] for file in ignored])
        notes.append(f"{len(ignored)} files hold no spikes and were left out: {which}")
    collected: dict[int, dict[str, list[tuple[NDArray, NDArray]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    outside = moved = 0
    tally = []
    for seed, label, piece, first in located:
        neurons = _neurons(piece, label, first, expected.sizes[label])
        steps, off_grid = _steps(piece, given, expected)
        inside = (steps >= 1) & (steps <= expected.n_steps)
        outside += int((~inside).sum())
        moved += off_grid
        collected[seed][label].append((steps[inside], neurons[inside]))
        if len(piece.times) or piece.size is not None:
            tally.append(_understood(offered.names[piece.file], piece, label, seed))
    if moved:
        notes.append(f"{moved} spike times were rounded to steps of {expected.timestep:g} ms")
    if outside:
        notes.append(f"{outside} spikes before or after the study's time were left out")
    runs = {seed: _run(of_seed, expected) for seed, of_seed in sorted(collected.items())}
    for seed, spikes in runs.items():
        _refuse_impossible(seed, spikes, located, given, expected)
    _refuse_partly_silent(runs)
    _refuse_equal_runs(runs, expected)
    _refuse_other_input(runs, expected)
    reduced = {seed: _reduced(spikes, recorded) for seed, spikes in runs.items()}
    _refuse_unsaid_silence(reduced, given, recorded, pieces)
    read_files = {offered.names[f]: digest for f, digest in hashes.items() if f not in ignored}
    return Intake(reduced, recorded, tally, notes, list(_warnings(reduced, expected)), read_files)


# --- Files ---


def digests(paths: Sequence[Path], given: Map) -> dict[str, str]:
    """SHA-256 of all files, by the names by which they are told; raises RequestError as `take_in` does."""
    return {name: file_hash(file) for file, name in _offered(paths, given).names.items()}


@dataclass(frozen=True)
class _Offered:
    """Files with the names by which they are told, and their seeds by path or by the order of arguments."""

    names: Mapping[Path, str]
    seeds: Mapping[Path, int]


def _offered(paths: Sequence[Path], given: Map) -> _Offered:
    if not paths:
        raise RequestError("there is no file of spikes")
    names: dict[Path, str] = {}
    of_argument: dict[Path, int] = {}
    seen: set[Path] = set()
    for number, path in enumerate(paths, start=1):
        if path.is_dir():
            own = [f for f in sorted(path.rglob("*")) if f.is_file() and _may_hold_spikes(f, given)]
            if not own:
                raise RequestError(f"{path}: this folder has no file whose name is that of spikes")
        elif path.is_file():
            own = [path]
        else:
            raise RequestError(f"{path}: there is no such file or folder")
        for file in own:
            if file.resolve() in seen:
                raise RequestError(f"{file}: is given twice")
            seen.add(file.resolve())
            of_argument[file] = number
            # folders above what was given tell of their user
            names[file] = file.relative_to(path.parent).as_posix()
        if len(names) > MOST_FILES:
            raise RequestError(f"{path}: more than {MOST_FILES:,} files")
    if len(set(names.values())) < len(names):
        names = {file: f"{of_argument[file]}/{name}" for file, name in names.items()}
    seeds = {file: _seed_of_path(file, given) for file in names}
    named = {file: seed for file, seed in seeds.items() if seed is not None}
    if named and len(named) < len(names):
        other = next(file for file in names if file not in named)
        raise RequestError(
            f'{other}: its path names no seed, and others do; say seed = "..." in the map, a pattern with '
            "{seed} in it"
        )
    # without names, what was given as one argument is one run
    return _Offered(names, named or of_argument)


def _may_hold_spikes(file: Path, given: Map) -> bool:
    if any(part.startswith(".") for part in file.parts[-2:]) or format_of(file) is None:
        return False
    if file.name == "population_nodeids.dat" or file.name.startswith("voltmeter"):
        return False
    patterns = [own.files for own in given.populations.values()]
    if not patterns or not all(patterns):
        return True
    return any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns if pattern)


def _seed_of_path(file: Path, given: Map) -> int | None:
    text = file.as_posix()
    if given.seed is None:
        return seed_in(text)
    before, after = given.seed.split("{seed}")
    pattern = rf"(?:.*/)?{_wild(before)}(\d+){_wild(after)}"
    found = re.fullmatch(pattern, text) or re.fullmatch(pattern + "(?:/.*)?", text)
    return int(found[1]) if found else None


def _wild(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _seed(piece: Piece, file: Path, seeds: Mapping[Path, int]) -> int:
    return seeds[file] if piece.seed is None else piece.seed


def _refuse_twice(digests: Mapping[Path, str]) -> None:
    """Raise RequestError for two files with the same content, but for empty ones."""
    seen: dict[str, Path] = {}
    for file, digest in digests.items():
        if digest in seen and file.stat().st_size and not _is_empty(file):
            raise RequestError(
                f"{file} and {seen[digest]} have the same content; no two runs or populations spike alike"
            )
        seen.setdefault(digest, file)


def _is_empty(file: Path) -> bool:
    """Whether a text file has a header only, as that of a silent thread does."""
    if file.stat().st_size > 4096:
        return False
    lines = file.read_bytes().splitlines()
    return not any(line[:1].isdigit() for line in lines)


def _pieces(
    files: Iterable[Path], given: Map, trust_pickle: bool
) -> tuple[list[tuple[Path, Piece]], list[Path]]:
    """What all files hold, and those that hold no spikes."""
    columns = {name: c for name, c in given.columns.model_dump().items() if c is not None}
    options = Options(given.format, columns, trust_pickle)
    found: list[tuple[Path, Piece]] = []
    ignored, reasons = [], []
    for file in files:
        try:
            found += [(file, piece) for piece in read(file, options)]
        except NoSpikesError as error:
            ignored.append(file)
            reasons.append(error)
    if not found:
        raise reasons[0] if reasons else RequestError("there are no spikes in these files")
    # a table that could be one of spikes is not left out in silence
    told = [e for e, file in zip(reasons, ignored, strict=True) if format_of(file) != "nest-ascii"]
    if told:
        raise told[0]
    return found, ignored


def _refuse_missing_threads(files: Iterable[tuple[int, Path]]) -> None:
    """Raise RequestError where a recorder of NEST lacks the file of a thread."""
    threads: dict[tuple[int, Path, str], set[int]] = defaultdict(set)
    for seed, file in files:
        if found := thread_of(file):
            threads[seed, file.parent, found[0]].add(found[1])
    everyone = set().union(*threads.values()) if threads else set()
    expected = set(range(max(everyone, default=-1) + 1))
    for (_, folder, recorder), own in threads.items():
        if missing := sorted(expected - own):
            raise RequestError(
                f"{folder / recorder}-*: the file of thread {listing([str(t) for t in missing])} is missing; NEST "
                f"writes one for each of {len(expected)} threads"
            )


# --- Populations and neurons ---


def _refuse_unknown(given: Map, expected: Expected) -> None:
    for label in given.populations:
        if label not in expected.sizes:
            raise RequestError(
                f"map: populations.{label}: the study compares no such population; it compares "
                f"{listing(list(expected.sizes), 12)}"
            )


def _populations(
    piece: Piece, given: Map, expected: Expected
) -> Iterator[tuple[str, Piece, int | None]]:
    """The population that spikes belong to, or several by ranges of numbers, and the first number of each."""
    maps = {label: given.populations.get(label, PopulationMap()) for label in expected.sizes}
    label = _named(piece, maps)
    if label is not None:
        own = maps[label]
        beside = _ranges(piece, expected)
        first = own.ids[0] if own.ids else own.first_id
        if first is None and piece.first is None and label in beside:
            first = beside[label][0]
        yield label, piece, piece.first if first is None else first
        return
    ranges = {label: own.ids for label, own in maps.items() if own.ids}
    found = {label: (ids[0], ids[1]) for label, ids in ranges.items()} or _ranges(piece, expected)
    if not found and len(expected.sizes) == 1:
        (only,) = expected.sizes
        yield only, piece, piece.first
        return
    if not found:
        raise RequestError(
            f"{piece.file}: which population these spikes belong to is unknown; say in the map, by "
            f"[populations.LABEL], which files, called or ids = [first, last] it has (LABEL: "
            f"{listing(list(expected.sizes), 12)})"
        )
    left = np.ones(len(piece.neurons), bool)
    for label, (first, last) in found.items():
        if last - first + 1 != expected.sizes[label]:
            raise RequestError(
                f"{piece.file}: population {label!r} has the numbers {first} to {last}, {last - first + 1} neurons, "
                f"and the study has {expected.sizes[label]}"
            )
        own_spikes = (piece.neurons >= first) & (piece.neurons <= last)
        left &= ~own_spikes
        times, neurons = piece.times[own_spikes], piece.neurons[own_spikes]
        yield label, Piece(piece.file, times, neurons, piece.unit), first
    if left.any():
        raise RequestError(
            f"{piece.file}: neuron {piece.neurons[left][0]} belongs to no population; known are "
            + ", ".join(f"{label} {first} to {last}" for label, (first, last) in found.items())
        )


def _named(piece: Piece, maps: Mapping[str, PopulationMap]) -> str | None:
    """The label that a file says, by its content or its name; None if it says none."""
    called = {own.called or label: label for label, own in maps.items()}
    if piece.population is not None:
        if piece.population in called:
            return called[piece.population]
        raise RequestError(
            f"{piece.file}: has spikes of {piece.population!r}, which the study does not compare; say called = "
            f'"{piece.population}" in the map, in [populations.LABEL] (LABEL: {listing(list(maps), 12)})'
        )
    by_pattern = [
        label
        for label, own in maps.items()
        if own.files and fnmatch.fnmatch(piece.file.name, own.files)
    ]
    by_name = by_pattern or [
        label
        for name, label in called.items()
        if re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", piece.file.stem)
    ]
    if len(by_name) > 1:
        raise RequestError(
            f"{piece.file}: its name fits several populations, {listing(by_name)}; say in the map, by files in "
            "[populations.LABEL], which it is"
        )
    return by_name[0] if by_name else None


def _ranges(piece: Piece, expected: Expected) -> dict[str, tuple[int, int]]:
    """Numbers of populations from a file beside the spikes."""
    beside = ranges_beside(piece.file.parent)
    if not beside:
        return {}
    labels = list(expected.sizes)
    if all(isinstance(key, int) for key in beside):
        if len(beside) != len(labels):
            raise RequestError(
                f"{piece.file.parent / 'population_nodeids.dat'}: has {len(beside)} populations, and the study "
                f"compares {len(labels)}; say ids = [first, last] in the map"
            )
        return {labels[int(key)]: found for key, found in beside.items()}
    return {str(label): found for label, found in beside.items() if label in expected.sizes}


def _neurons(piece: Piece, label: str, first: int | None, size: int) -> NDArray[np.int64]:
    """Indices in the population; RequestError where they are not in it, or where it cannot be known."""
    if piece.size is not None and piece.size > size:
        raise RequestError(
            f"{piece.file}: has {piece.size} neurons of {label!r}, and the study has {size}"
        )
    if not len(piece.neurons):
        return piece.neurons
    low, high = int(piece.neurons.min()), int(piece.neurons.max())
    if first is None:
        first = 0 if low == 0 else 1 if high == size else None
    if first is None:
        raise RequestError(
            f"{piece.file}: neurons of {label!r} have numbers from {low} to {high}, of {size}, so that the first "
            f"one's is unknown; say first_id in the map, in [populations.{label}]"
        )
    if low < first or high >= first + size:
        wrong = low if low < first else high
        raise RequestError(
            f"{piece.file}: neuron {wrong} is out of range; {label!r} has {size} neurons, numbered from {first} to "
            f"{first + size - 1}"
        )
    return piece.neurons - first


def _recorded(
    given: Map, expected: Expected, firsts: Mapping[str, int | None]
) -> dict[str, NDArray[np.int64]]:
    """Indices of recorded neurons, of populations that the map says were recorded in part."""
    found = {}
    for label, own in given.populations.items():
        if isinstance(own.recorded, list):
            indices = np.unique(np.asarray(own.recorded, np.int64)) - (firsts.get(label) or 0)
            size = expected.sizes[label]
            if not len(indices) or indices.min() < 0 or indices.max() >= size:
                raise RequestError(
                    f"map: populations.{label}.recorded: must be numbers of neurons as in the files; "
                    f"{label!r} has {size}"
                )
            found[label] = indices
    return found


# --- Times ---


def _steps(piece: Piece, given: Map, expected: Expected) -> tuple[NDArray[np.int64], int]:
    """Steps of the study's run, the warm-up included, and how many times were rounded."""
    unit = given.unit or piece.unit
    if unit is None:
        raise RequestError(
            f'{piece.file}: the unit of its times is unknown; say unit = "ms", "s" or "steps" in the map'
        )
    timestep = expected.timestep
    factor = {"ms": 1.0, "s": 1000.0, "steps": timestep}[unit]
    begin = expected.warmup if given.begin is None else given.begin
    times = piece.times * factor
    if not np.isfinite(times).all():
        raise RequestError(f"{piece.file}: has spike times that are no finite numbers")
    moved = 0
    if given.grid == "round":
        exact = times / timestep
        steps = np.rint(exact).astype(np.int64)
        moved = int((np.abs(exact - steps) >= 1e-3).sum())
    else:
        try:
            steps = whole_steps(times, timestep)
        except ValueError as error:
            raise RequestError(
                f'{piece.file}: {error}; say grid = "round" in the map if it may be moved to the nearest step'
            ) from None
    shift = round((expected.warmup - begin) / timestep) + (given.label == "begin")
    return steps + shift, moved


def _run(of_seed: Mapping[str, list[tuple[NDArray, NDArray]]], expected: Expected) -> SpikeData:
    populations = {}
    for label, size in expected.sizes.items():
        parts = of_seed.get(label, [])
        steps = np.concatenate([s for s, _ in parts] or [np.empty(0, np.int64)])
        neurons = np.concatenate([n for _, n in parts] or [np.empty(0, np.int64)])
        populations[label] = PopulationSpikes.from_unsorted(size, steps, neurons)
    return SpikeData(expected.timestep, expected.n_steps, populations)


def _reduced(spikes: SpikeData, recorded: Mapping[str, NDArray[np.int64]]) -> SpikeData:
    """The spikes of recorded neurons only; RequestError if others spike."""
    populations = spikes.populations
    for label, cells in recorded.items():
        others = np.setdiff1d(populations[label].neurons, cells)
        if len(others):
            raise RequestError(
                f"map: populations.{label}.recorded: neuron {int(others[0])} (counted from 0) spikes and is not "
                "among those that were recorded"
            )
    return spikes.reduced(recorded)


# --- What cannot be, and what looks odd ---


def _refuse_impossible(
    seed: int,
    spikes: SpikeData,
    located: Sequence[tuple[int, str, Piece, int | None]],
    given: Map,
    expected: Expected,
) -> None:
    """Raise RequestError for a run that cannot be one of the study."""
    missing = [label for label in expected.sizes if not _has(seed, label, located)]
    if missing:
        raise RequestError(
            f"seed {seed}: there are no spikes of {listing(missing)}; every population that the study compares must "
            "be there, an empty file for one that is silent"
        )
    skipped = round(expected.warmup / expected.timestep)
    length = expected.n_steps - skipped
    steps = np.concatenate([p.steps for p in spikes.populations.values()])
    window = steps[steps > skipped] - skipped
    for label, population in spikes.populations.items():
        pairs = population.steps * population.size + population.neurons
        if label not in expected.sources and len(np.unique(pairs)) < len(pairs):
            repeated = np.sort(pairs)
            first = int(repeated[np.flatnonzero(np.diff(repeated) == 0)[0]])
            raise RequestError(
                f"seed {seed}: neuron {first % population.size} of {label!r} (counted from 0) spikes twice at "
                f"{first // population.size * expected.timestep:g} ms; are files read twice, or coarser than the "
                f"study's time step of {expected.timestep:g} ms?"
            )
    if len(window) < FEW_SPIKES:
        if len(steps) >= FEW_SPIKES or any(len(p.times) >= FEW_SPIKES for _, _, p, _ in located):
            last = max(float(p.times.max()) for s, _, p, _ in located if s == seed and len(p.times))
            raise RequestError(
                f"seed {seed}: only {len(window)} spikes are in the study's analysed time, and the last one in the "
                f"files is at {last:g}; is the unit another one, or begin in the map another time?"
            )
        return
    for end, part in (("first", window <= END * length), ("last", window > (1 - END) * length)):
        # with so many spikes an empty tenth is not chance
        if not part.any():
            hint = (
                ' (times that look like seconds have unit = "s" in the map)'
                if end == "last"
                else ""
            )
            raise RequestError(
                f"seed {seed}: there is not one spike in the {end} tenth of the study's {expected.duration:g} ms; do "
                f"the files have all of it, and does begin in the map say where it begins?{hint}"
            )
    if given.label == "end" and any(
        len(p.times) and p.times.min() == 0 for s, _, p, _ in located if s == seed
    ):
        raise RequestError(
            f"seed {seed}: a spike at time 0 cannot have the time of the end of its step; say "
            'label = "begin" in the map, if spikes have the time of the begin of their step'
        )


def _refuse_partly_silent(runs: Mapping[int, SpikeData]) -> None:
    """Raise RequestError for a population that spikes for some seeds and not at all for others."""
    for label in next(iter(runs.values())).populations:
        silent = [seed for seed, s in runs.items() if not len(s.populations[label].steps)]
        if silent and len(silent) < len(runs):
            raise RequestError(
                f"seed {silent[0]}: there is not one spike of {label!r}, which spikes for other seeds; are all files "
                "there?"
            )


def _has(seed: int, label: str, located: Sequence[tuple[int, str, Piece, int | None]]) -> bool:
    """Whether there is a file, though it may be empty, or spikes of other populations by range."""
    return any(s == seed and own == label for s, own, _, _ in located)


def fingerprints(spikes: SpikeData, warmup: float) -> dict[str, bytes]:
    """What is analysed of each population, to see whether two runs are the same."""
    skipped = round(warmup / spikes.timestep)
    found = {}
    for label, population in spikes.populations.items():
        own = population.steps > skipped
        found[label] = (
            population.steps[own].astype(np.int64).tobytes()
            + population.neurons[own].astype(np.int32).tobytes()
        )
    return found


def _refuse_other_input(runs: Mapping[int, SpikeData], expected: Expected) -> None:
    """Raise RequestError where a source spikes otherwise than the network has it, and say if it is early or late."""
    # spikes that a shift moves into the analysed time or out of it do not count
    first = round(expected.warmup / expected.timestep) + LARGEST_SHIFT
    last = expected.n_steps - LARGEST_SHIFT

    def inside(spikes: PopulationSpikes, shift: int = 0) -> tuple[NDArray, NDArray]:
        steps = spikes.steps + shift
        kept = (steps > first) & (steps <= last)
        return steps[kept], spikes.neurons[kept]

    for seed, run in runs.items():
        for label, wanted in expected.given.items():
            found = run.populations[label]
            for shift in sorted(range(-LARGEST_SHIFT, LARGEST_SHIFT + 1), key=abs):
                if all(map(np.array_equal, inside(wanted), inside(found, shift))):
                    break
            else:
                raise RequestError(
                    f"seed {seed}: the spikes of {label!r} are not those that the study gives to it; these runs had "
                    "other input"
                )
            if shift:
                raise RequestError(
                    f"seed {seed}: the spikes of {label!r} are those that the study gives to it, {abs(shift)} steps "
                    f"{'early' if shift > 0 else 'late'}; are labels ends or begins of steps (label in the map), and "
                    "where does the analysed time begin (begin in the map)?"
                )


def _refuse_equal_runs(runs: Mapping[int, SpikeData], expected: Expected) -> None:
    seen: dict[tuple[str, bytes], int] = {}
    for seed, spikes in runs.items():
        for label, found in fingerprints(spikes, expected.warmup).items():
            if found and (label, found) in seen and label not in expected.given:
                raise RequestError(
                    f"seeds {seen[label, found]} and {seed} have the same spikes in {label!r}; a verdict needs "
                    "runs that differ by seed"
                )
            seen[label, found] = seed


def _refuse_unsaid_silence(
    runs: Mapping[int, SpikeData],
    given: Map,
    recorded: Mapping[str, NDArray[np.int64]],
    pieces: Sequence[tuple[Path, Piece]],
) -> None:
    """Raise RequestError where neurons are silent and nobody said that they were recorded."""
    if given.recorded == "all":
        return
    for label in next(iter(runs.values())).populations:
        own = given.populations.get(label, PopulationMap())
        if own.recorded is not None or label in recorded:
            continue
        sizes = [piece.size for _, piece in pieces]
        whole = all(size is not None for size in sizes) and _declared(pieces, label, own, runs)
        for seed, spikes in runs.items():
            population = spikes.populations[label]
            silent = population.size - len(np.unique(population.neurons))
            if silent and not whole:
                raise RequestError(
                    f"seed {seed}: {silent} of {population.size} neurons of {label!r} have no spike; say "
                    'recorded = "all" in the map (or --all-recorded) if all were recorded, or the numbers of '
                    "those that were"
                )


def _declared(
    pieces: Sequence[tuple[Path, Piece]],
    label: str,
    own: PopulationMap,
    runs: Mapping[int, SpikeData],
) -> bool:
    """Whether files themselves say that they have all neurons of a population."""
    size = next(iter(runs.values())).populations[label].size
    declared = [p.size for _, p in pieces if p.population in (label, own.called)]
    return bool(declared) and all(number == size for number in declared)


def _warnings(runs: Mapping[int, SpikeData], expected: Expected) -> Iterator[str]:
    """What looks odd, a sentence each."""
    for label in next(iter(runs.values())).populations:
        if not any(len(s.populations[label].steps) for s in runs.values()):
            yield f"There is not one spike of {label}: are all files there?"
    coarse = {grid for spikes in runs.values() if (grid := _coarser_grid(spikes))}
    if coarse:
        yield (
            f"All spike times are multiples of {min(coarse) * expected.timestep:g} ms, where the study has steps of "
            f"{expected.timestep:g} ms: they were rounded, or simulated in longer steps."
        )
    for label in next(iter(runs.values())).populations:
        found = [
            pattern
            for spikes in runs.values()
            if (pattern := silent_pattern(_silent(spikes.populations[label])))
        ]
        if found:
            yield f"Silent neurons of {label} are not spread by chance: {found[0]}."


def _coarser_grid(spikes: SpikeData) -> int:
    """The largest number of steps of which all spike times are multiples, 0 if that is one."""
    steps = np.concatenate([p.steps for p in spikes.populations.values()])
    if len(steps) < FEW_SPIKES:
        return 0
    grid = int(np.gcd.reduce(steps))
    return grid if grid > 1 else 0


def _silent(population: PopulationSpikes) -> NDArray[np.bool_]:
    silent = np.ones(population.size, bool)
    silent[population.neurons] = False
    return silent


def silent_pattern(silent: NDArray[np.bool_]) -> str | None:
    """What pattern silent neurons have that is less likely than `IMPROBABLE`, in words; None if they have none.

    Compared are all neurons of a class (those from some number on, or every k-th one) with the share of silent
    neurons among the others.
    """
    n = len(silent)
    if not silent.any() or silent.all():
        return None
    spiking = np.flatnonzero(~silent)
    blocks = [
        ("from number {} on", slice(spiking[-1] + 1, n)),
        ("up to number {}", slice(0, spiking[0])),
    ]
    for words, block in blocks:
        number = block.start if "from" in words else block.stop - 1
        if _improbable(silent, np.arange(n)[block]):
            return f"all neurons {words.format(number)} are silent (counted from 0)"
    for stride in range(2, min(MOST_STRIDE, n // 5) + 1):
        for first in range(stride):
            if _improbable(silent, np.arange(first, n, stride)):
                return f"every {_ordinal(stride)} neuron is silent, from number {first} on (counted from 0)"
    return None


def _improbable(silent: NDArray[np.bool_], members: NDArray[np.int64]) -> bool:
    if len(members) < 2 or not silent[members].all():
        return False
    others = np.delete(silent, members)
    if not len(others):
        return False
    # one silent neuron more than there are, so that few others do not make it certain
    share = (int(others.sum()) + 1) / (len(others) + 2)
    return bool(len(members) * np.log(share) < np.log(IMPROBABLE))


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")


def _understood(name: str, piece: Piece, label: str | None, seed: int | None) -> Understood:
    some = bool(len(piece.times))
    return Understood(
        name,
        label,
        seed,
        len(piece.times),
        (int(piece.neurons.min()), int(piece.neurons.max())) if some else None,
        (float(piece.times.min()), float(piece.times.max())) if some else None,
        piece.unit,
    )
