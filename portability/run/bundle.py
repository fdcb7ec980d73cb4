"""References that travel: a reference's spikes, with its study and network, in one file.

Whoever has such a bundle judges spikes, or simulations, without simulating the reference. It holds the analysed
spikes rather than statistics of them, so that one can judge by any statistic, by any part of the neurons and of the
time, and with later versions.

A bundle is a ZIP archive: ``reference.json`` (`Contents`, with checksums of all other members), ``study.toml`` if there
was a study file, ``network.npz``, and ``seed-N.bin``, the spikes of a run as `_packed` describes. Nothing in it is
executed.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from pynn_portability.errors import RequestError, printable
from pynn_portability.files import content_hash, file_hash, replacing
from pynn_portability.model.network import Network
from pynn_portability.model.serialized import read_network, write_network
from pynn_portability.realize.realization import Realization
from pynn_portability.run.record import Part
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

CONTENTS, STUDY, NETWORK = "reference.json", "study.toml", "network.npz"
MOST_BYTES = 2**31
"""Of all members of a bundle together, when they are unpacked."""
SAMPLED_SYNAPSES = 1000
"""Of every projection, by which two realizations are seen to be the same."""


class Contents(Part):
    """What a bundle says of itself."""

    schema_: Literal["portability-reference/1"] = Field(
        default="portability-reference/1", alias="schema"
    )
    study: dict[str, Any] = Field(
        description="what a study file holds, without reference and candidates"
    )
    origin: str = Field(description="what the spikes are of, in words")
    versions: dict[str, str] = Field(description="versions of the software that made them")
    network: str = Field(description="fingerprint of the network")
    realization: str = Field(
        description="digest of a part of the realization of the first seed, empty if it is not known"
    )
    sizes: dict[str, NonNegativeInt] = Field(description="number of neurons by population")
    timestep: float = Field(gt=0, description="ms")
    duration: float = Field(gt=0, description="analysed time, ms")
    spikes: dict[str, dict[str, NonNegativeInt]] = Field(
        description="number of spikes by seed and population"
    )
    created: str = Field(description="ISO 8601, UTC")
    sha256: dict[str, str] = Field(description="checksums of the members")
    contents_sha256: str = Field(default="", description="checksum of all other fields")

    def checksum(self) -> str:
        """The hash of everything but itself."""
        fields = self.model_dump(by_alias=True, mode="json", exclude={"contents_sha256"})
        return content_hash(fields)


def write(
    path: Path,
    study: Mapping[str, Any],
    study_file: str | None,
    network: Network,
    runs: Mapping[int, SpikeData],
    warmup: float,
    origin: str,
    versions: Mapping[str, str],
    realization: str,
) -> Contents:
    """Write a bundle of runs by seed, of which the time after ``warmup`` ms is kept; whole or not at all."""
    some = next(iter(runs.values()))
    members = {NETWORK: _network_bytes(network)}
    if study_file is not None:
        members[STUDY] = study_file.encode()
    counts: dict[str, dict[str, int]] = {}
    skipped = round(warmup / some.timestep)
    for seed, spikes in sorted(runs.items()):
        counts[str(seed)], members[f"seed-{seed}.bin"] = _packed(spikes, skipped)
    contents = Contents(
        study=dict(study),
        origin=origin,
        versions=dict(versions),
        network=network.fingerprint(),
        realization=realization,
        sizes={label: p.size for label, p in some.populations.items()},
        timestep=some.timestep,
        duration=(some.n_steps - skipped) * some.timestep,
        spikes=counts,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    )
    contents = contents.model_copy(update={"contents_sha256": contents.checksum()})
    text = json.dumps(contents.model_dump(by_alias=True, mode="json"), indent=1, allow_nan=False)
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as archive,
    ):
        for name, content in {CONTENTS: text.encode(), **members}.items():
            # the time of a member is that of its archive, so that the same runs make the same members
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_LZMA)
    return contents


class Bundle:
    """A bundle that was found to be whole. Raises RequestError, with its path, for any other file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                    raise RequestError(
                        f"{path}: has more than {MOST_BYTES} bytes when it is unpacked"
                    )
                self.contents = Contents.model_validate_json(archive.read(CONTENTS))
                # archives name their members freely; only those that belong to a bundle are read
                self._members = {name: archive.read(name) for name in self.contents.sha256}
        except FileNotFoundError:
            raise RequestError(
                f"{path}: there is no such bundle of a reference{_shipped_words()}"
            ) from None
        except (OSError, ValueError, KeyError, RecursionError, EOFError) as error:
            raise self._damaged(error) from None
        except (zipfile.BadZipFile, lzma.LZMAError, zlib.error, NotImplementedError) as error:
            raise self._damaged(error) from None
        except (
            RuntimeError,
            MemoryError,
        ) as error:  # encrypted, or a header that promises too much
            raise self._damaged(error) from None
        expected = {NETWORK, *(f"seed-{seed}.bin" for seed in self.contents.spikes)}
        whole = (
            set(self._members) - {STUDY} == expected
            and bool(self.contents.spikes)
            and self.contents.contents_sha256 == self.contents.checksum()
            and all(
                hashlib.sha256(self._members[name]).hexdigest() == digest
                for name, digest in self.contents.sha256.items()
            )
        )
        if not whole:
            raise self._damaged(ValueError("it does not have the content that was written"))

    def _damaged(self, error: Exception) -> RequestError:
        reason = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
        return RequestError(f"{self.path}: is no bundle of a reference, or a damaged one: {reason}")

    @property
    def label(self) -> str:
        """What the reference is called: the name of the file."""
        return self.path.stem

    @property
    def seeds(self) -> list[int]:
        """Seeds of its runs, ascending."""
        return sorted(map(int, self.contents.spikes))

    def network(self) -> Network:
        """The network that it is of."""
        # NumPy wants a file, or something that can be searched
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / NETWORK
            file.write_bytes(self._members[NETWORK])
            network = read_network(file)
        if network.fingerprint() != self.contents.network:
            raise self._damaged(ValueError("its network is another one than it says"))
        return network

    def run(self, seed: int, warmup: float, duration: float) -> SpikeData:
        """The spikes of a run, of which ``duration`` ms are analysed after ``warmup`` ms."""
        contents = self.contents
        skipped, n_steps = (round(t / contents.timestep) for t in (warmup, duration))
        try:
            return _unpacked(
                self._members[f"seed-{seed}.bin"],
                contents.sizes,
                contents.spikes[str(seed)],
                contents.timestep,
                skipped,
                n_steps,
            )
        except (ValueError, KeyError) as error:
            raise self._damaged(error) from None

    def digest(self) -> str:
        """SHA-256 of the file."""
        return file_hash(self.path.resolve())


def realization_digest(network: Network, seed: int, timestep: float) -> str:
    """A digest of initial values, and of the first synapses of every projection, as ``seed`` draws them.

    Two programs for which it is the same draw the same realizations.
    """
    realization = Realization(network, seed, timestep)
    digest = hashlib.sha256()
    for population in network.populations:
        for name, values in sorted(realization.initial_values(population.label).items()):
            digest.update(f"{population.label} {name}".encode())
            digest.update(values[:SAMPLED_SYNAPSES].astype("<f4").tobytes())
    for projection in network.projections:
        count = realization.synapse_count(projection.label)
        digest.update(f"{projection.label} {count}".encode())
        found = realization.synapse_range(projection.label, 0, min(count, SAMPLED_SYNAPSES))
        for numbers in (found.source, found.target, found.delay):
            digest.update(numbers.astype("<i4").tobytes())
        digest.update(found.weight.astype("<f4").tobytes())
    return digest.hexdigest()


def shipped() -> dict[str, Path]:
    """Bundles that come with the package, by name."""
    folder = resources.files("pynn_portability.models") / "references"
    with resources.as_file(folder) as found:
        return {file.stem: file for file in sorted(found.glob("*.zip"))}


def find(name: str, base: Path) -> Path:
    """The file of a bundle: a path from ``base``, or the name of a shipped one."""
    path = base / name
    return shipped().get(name, path) if not path.exists() else path


def _shipped_words() -> str:
    known = ", ".join(repr(name) for name in shipped())
    return f" (those that come with the package: {known})" if known else ""


def _packed(spikes: SpikeData, skipped: int) -> tuple[dict[str, int], bytes]:
    """Numbers of spikes by population after ``skipped`` steps, and the spikes.

    By population, the steps from each spike to the next (the first from ``skipped`` on), then the neurons: unsigned
    32-bit integers, of which all lowest bytes come first, as those are packed best.
    """
    counts, parts = {}, []
    for label, population in spikes.populations.items():
        inside = population.steps > skipped
        steps = np.diff(population.steps[inside] - skipped, prepend=0)
        counts[label] = int(inside.sum())
        for values in (steps, population.neurons[inside]):
            parts.append(values.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes())
    return counts, b"".join(parts)


def _unpacked(
    content: bytes,
    sizes: Mapping[str, int],
    counts: Mapping[str, int],
    timestep: float,
    skipped: int,
    n_steps: int,
) -> SpikeData:
    """The inverse of `_packed`: spikes of the first ``n_steps`` steps, after ``skipped`` ones."""
    stream = io.BytesIO(content)

    def numbers(n: int) -> np.ndarray:
        found = np.frombuffer(stream.read(4 * n), np.uint8).reshape(4, n)
        return np.ascontiguousarray(found.T).view("<u4").ravel()

    populations = {}
    for label, size in sizes.items():
        steps = np.cumsum(numbers(counts[label]), dtype=np.int64)
        neurons = numbers(counts[label]).astype(np.int64)
        if neurons.size and (neurons.max() >= size or steps[0] < 1):
            raise ValueError(f"spikes of {label!r} are out of range")
        inside = steps <= n_steps
        populations[label] = PopulationSpikes(
            size, steps[inside] + skipped, neurons[inside].astype(np.int32)
        )
    if stream.read(1):
        raise ValueError("a run has more spikes than it says")
    return SpikeData(timestep, skipped + n_steps, populations)


def _network_bytes(network: Network) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / NETWORK
        write_network(file, network)
        return file.read_bytes()
