"""Ensembles: what is judged. Runs of one network that differ by seed, with their statistics.

Spikes come from files that anybody may have written; nothing here knows who. Statistics of a file are
computed once and kept beside it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.files import file_hash, regular_file, replacing
from pynn_portability.judge.null_model import part, rate_matched_noise
from pynn_portability.judge.statistics import STATISTICS, Statistics, statistics
from pynn_portability.sources import source_files, syntax_digest
from pynn_portability.spikes.data import SpikeData
from pynn_portability.spikes.sonata import read_extent, read_sizes, read_sonata

MOST_BYTES = 2**30
"""Of kept statistics, when they are unpacked."""


@dataclass(frozen=True)
class Excerpt:
    """What of a run is measured: the part from ``begin`` to ``end`` of its time after ``warmup`` (ms).

    Both are fractions of that time. With ``noise``, a seed, it is the null model of that part (see
    `pynn_portability.judge.null_model`) instead of the part itself. Of the populations in ``neurons``, only those
    cells (indices) are measured.
    """

    warmup: float
    begin: float = 0.0
    end: float = 1.0
    noise: int | None = None
    neurons: tuple[tuple[str, tuple[int, ...]], ...] = ()
    statistics: tuple[str, ...] = STATISTICS

    def of(self, spikes: SpikeData) -> Statistics:
        """Statistics of this part of a run, by population, then by statistic."""
        if self.neurons:
            cells = {label: np.asarray(indices, np.int64) for label, indices in self.neurons}
            spikes = spikes.reduced(cells)
        if (self.begin, self.end) != (0.0, 1.0):
            spikes = part(spikes, self.warmup, self.begin, self.end)
        if self.noise is not None:
            spikes = rate_matched_noise(spikes, self.warmup, self.noise)
        return statistics(spikes, self.warmup, self.statistics)


class Recording:
    """A SONATA file with the spikes of one run, and their statistics.

    Statistics are kept beside the file, with a checksum of their own, the hash of the spikes that they
    are of, and the version of their definition; whatever does not match is computed anew. A folder that
    cannot be written is no obstacle.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @property
    def spikes(self) -> SpikeData:
        """The spikes, read anew each time, since those of many runs would fill the memory.

        RequestError for a file that is not whole.
        """
        return read_sonata(self.file)

    @property
    def extent(self) -> tuple[int, float]:
        """Number of steps and time step (ms), without reading spikes; RequestError as `spikes`."""
        return read_extent(self.file)

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of neurons by population, without reading spikes; RequestError as `spikes`."""
        return read_sizes(self.file)

    @cached_property
    def _spikes_sha256(self) -> str:
        try:
            # whoever names a file here may name a link; runs in a store have been looked at before
            return file_hash(self.file.resolve())
        except OSError as error:
            raise RequestError(f"{self.file}: cannot be read: {error.strerror}") from None

    def statistics(self, excerpt: Excerpt) -> Statistics:
        """Statistics of a part of the run, from beside the file if they are there.

        RequestError for a file that is not whole, and when nothing is left of the run to analyse.
        """
        return self.all_statistics([excerpt])[0]

    def all_statistics(self, excerpts: Sequence[Excerpt]) -> list[Statistics]:
        """`statistics` of several parts, for which spikes are read once at most."""
        spikes: SpikeData | None = None
        result = []
        for excerpt in excerpts:
            file, origin = self._file(excerpt), self._origin(excerpt)
            found = _read(file, origin)
            if found is None:
                spikes = self.spikes if spikes is None else spikes
                found = excerpt.of(spikes)
                with suppress(OSError):
                    _write(file, origin, found)
            result.append(found)
        return result

    def _origin(self, excerpt: Excerpt) -> dict[str, Any]:
        return {
            "spikes_sha256": self._spikes_sha256,
            "definition": definition(),
            "excerpt": json.loads(_text(excerpt)),
        }

    def _file(self, excerpt: Excerpt) -> Path:
        text = _text(excerpt)
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        return self.file.with_name(f"{self.file.stem}-statistics-{name}.npz")


def _text(excerpt: Excerpt) -> str:
    return json.dumps(asdict(excerpt), sort_keys=True)


@dataclass(frozen=True)
class Ensemble:
    """Runs by seed, with their statistics; what is judged against what.

    ``label`` says what was run, in the words of a report, and ``origin`` where the spikes come from, as
    plain JSON values.
    """

    label: str
    runs: Mapping[int, Statistics]
    origin: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        label: str,
        recordings: Mapping[int, Recording],
        excerpt: Excerpt,
        origin: Mapping[str, Any] | None = None,
    ) -> Ensemble:
        """The ensemble of the same excerpt of several runs, given by seed."""
        runs = {seed: recording.statistics(excerpt) for seed, recording in recordings.items()}
        return cls(label, runs, dict(origin or {}))

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs, ascending."""
        return sorted(self.runs)

    @property
    def populations(self) -> list[str]:
        """Labels of the populations, in the order of the runs; empty without a run."""
        return list(next(iter(self.runs.values()), {}))

    @property
    def statistics(self) -> list[str]:
        """Names of the statistics, in the order of the runs; empty without a run."""
        run = next(iter(self.runs.values()), {})
        return list(next(iter(run.values()), {}))


@cache
def definition() -> str:
    """The version of what statistics are: a digest of the code that computes them."""
    modules = ("statistics", "neurons", "activity", "window", "null_model")
    files = [f for m in modules for f in source_files(f"pynn_portability.judge.{m}")]
    versions = [importlib.metadata.version(package) for package in ("elephant", "numpy", "scipy")]
    return hashlib.sha256("\0".join([syntax_digest(files), *versions]).encode()).hexdigest()


def _write(file: Path, origin: Mapping[str, Any], found: Statistics) -> None:
    populations = list(found)
    samples: dict[str, Any] = {
        f"{number} {name}": values
        for number, population in enumerate(populations)
        for name, values in found[population].items()
    }
    content = {**origin, "populations": populations, "samples_sha256": _digest(samples)}
    with replacing(file) as temporary, temporary.open("wb") as stream:
        text = np.frombuffer(json.dumps(content).encode(), np.uint8)
        np.savez_compressed(stream, content=text, **samples)


def _read(file: Path, origin: Mapping[str, Any]) -> Statistics | None:
    """Statistics of exactly this origin, None if the file has others, is damaged or is not there."""
    try:
        with regular_file(file) as stream, np.load(stream, allow_pickle=False) as archive:
            if sum(member.file_size for member in archive.zip.infolist()) > MOST_BYTES:
                return None
            content = json.loads(archive["content"].tobytes())
            samples = {name: archive[name] for name in archive.files if name != "content"}
        populations, checksum = content.pop("populations"), content.pop("samples_sha256")
        if content != origin or checksum != _digest(samples):
            return None
        if any(values.ndim != 1 or values.dtype.kind not in "fiu" for values in samples.values()):
            return None
        return {
            population: {
                name: samples[f"{number} {name}"] for name in origin["excerpt"]["statistics"]
            }
            for number, population in enumerate(populations)
        }
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, RecursionError):
        return None
    except (MemoryError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return None  # a header may declare any size, compression or encryption


def _digest(samples: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(samples):
        digest.update(f"{name} {samples[name].dtype.str} {samples[name].shape}".encode())
        digest.update(np.ascontiguousarray(samples[name]).tobytes())
    return digest.hexdigest()
