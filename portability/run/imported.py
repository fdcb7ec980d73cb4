"""Ensembles of spikes from elsewhere, kept beside the runs of a study.

``DIR/imported/<name>/`` holds ``ensemble.json`` (where the spikes come from, and what was said of them) and a SONATA
file for each seed, ``seed-<n>.h5``. A folder appears whole or not at all.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pynn_portability.errors import RequestError
from pynn_portability.files import (
    content_hash,
    file_hash,
    own_folder,
    read_regular,
    remove,
    replacing,
)
from pynn_portability.run.record import Part
from pynn_portability.spikes.intake import Intake
from pynn_portability.spikes.sonata import write_sonata

FOLDER = "imported"
RECORD = "ensemble.json"
LONGEST_LABEL = 60


class FileEntry(Part):
    """A line of the tally: what a file was taken for."""

    file: str = Field(description="name of the file")
    population: str | None = Field(description="label in the study")
    seed: int | None = Field(description="its seed")
    spikes: int = Field(description="number of spikes in the file")
    ids: tuple[int, int] | None = Field(description="smallest and largest number of a neuron")
    times: tuple[float, float] | None = Field(description="first and last spike, in its unit")
    unit: str | None = Field(description="unit of times that the file says")


class Imported(Part):
    """An ensemble from elsewhere: the content of ``ensemble.json``."""

    schema_: Literal["portability-imported/1"] = Field(
        default="portability-imported/1", alias="schema"
    )
    label: str = Field(description="what the user calls it")
    pairing: Literal["paired", "unpaired"] = Field(
        description="whether its seeds are realizations of the study"
    )
    sizes: dict[str, int] = Field(description="number of neurons by population")
    recorded: dict[str, list[int]] = Field(
        default={}, description="indices of neurons, where a part of a population was recorded"
    )
    timestep: float = Field(description="time step of the study, ms")
    warmup: float = Field(description="time before what is analysed, ms")
    duration: float = Field(description="analysed time, ms")
    map: dict[str, Any] = Field(description="what the map said")
    files: dict[str, str] = Field(description="SHA-256 of the files that were read, by name")
    tally: list[FileEntry] = Field(description="what each file was taken for")
    notes: list[str] = Field(default=[], description="what was left out or rounded")
    warnings: list[str] = Field(default=[], description="what looks odd")
    created: str = Field(description="ISO 8601, UTC")
    spikes_sha256: dict[str, str] = Field(description="SHA-256 of the SONATA files, by seed")
    record_sha256: str = Field(default="", description="SHA-256 of all other fields")

    @property
    def seeds(self) -> list[int]:
        """Seeds of its runs, ascending."""
        return sorted(map(int, self.spikes_sha256))

    def checksum(self) -> str:
        """The hash of everything but itself."""
        return content_hash(self.model_dump(by_alias=True, mode="json", exclude={"record_sha256"}))

    def sealed(self) -> Imported:
        """With its checksum."""
        return self.model_copy(update={"record_sha256": self.checksum()})

    def text(self) -> str:
        """The text of the file."""
        content = self.model_dump(by_alias=True, mode="json")
        return json.dumps(content, indent=1, allow_nan=False) + "\n"


def folder_name(label: str) -> str:
    """The folder of a label; RequestError for one that cannot be a name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.")
    if not name or len(label) > LONGEST_LABEL or not label.isprintable():
        raise RequestError(
            f"label {label!r}: allowed are at most {LONGEST_LABEL} printable characters, letters or digits among them"
        )
    return name


def file_of(folder: Path, label: str, seed: int) -> Path:
    """The SONATA file of a run."""
    return folder / FOLDER / folder_name(label) / f"seed-{seed}.h5"


def add(
    folder: Path,
    label: str,
    intake: Intake,
    given: Mapping[str, Any],
    pairing: Literal["paired", "unpaired"],
    warmup: float,
    duration: float,
    replace: bool,
) -> Imported:
    """Keep an ensemble below ``folder``; RequestError if there is one with this label, unless it is replaced."""
    place = folder / FOLDER / folder_name(label)
    if place.exists() and not replace:
        raise RequestError(
            f"{place}: there are spikes with the label {label!r} already; --replace replaces them, and --remove "
            "removes them"
        )
    own_folder(place.parent)
    temporary = place.with_name(f".unfinished-{place.name}")
    remove(temporary)
    temporary.mkdir()
    try:
        hashes = {}
        for seed, spikes in intake.runs.items():
            write_sonata(temporary / f"seed-{seed}.h5", spikes)
            hashes[str(seed)] = file_hash(temporary / f"seed-{seed}.h5")
        some = next(iter(intake.runs.values()))
        record = Imported(
            label=label,
            pairing=pairing,
            sizes={name: p.size for name, p in some.populations.items()},
            recorded={name: cells.tolist() for name, cells in intake.recorded.items()},
            timestep=some.timestep,
            warmup=warmup,
            duration=duration,
            map=dict(given),
            files=dict(intake.files),
            tally=[FileEntry.model_validate(vars(entry)) for entry in intake.tally],
            notes=list(intake.notes),
            warnings=list(intake.warnings),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            spikes_sha256=hashes,
        )
        record = record.sealed()
        (temporary / RECORD).write_text(record.text(), encoding="utf-8")
        remove(place)
        temporary.replace(place)
    finally:
        remove(temporary)
    return record


def warn(folder: Path, record: Imported, sentences: list[str]) -> None:
    """Add what looks odd of an ensemble that is kept."""
    complete = record.model_copy(update={"warnings": [*record.warnings, *sentences]}).sealed()
    with replacing(folder / FOLDER / folder_name(record.label) / RECORD) as temporary:
        temporary.write_text(complete.text(), encoding="utf-8")


def find(folder: Path, label: str) -> Imported:
    """The ensemble with a label; RequestError if there is none."""
    return _read(_place(folder, label))


def files(folder: Path, record: Imported) -> dict[int, Path]:
    """The SONATA files of an ensemble, by seed."""
    return {seed: file_of(folder, record.label, seed) for seed in record.seeds}


def drop(folder: Path, label: str) -> None:
    """Remove an ensemble; RequestError if there is none with this label."""
    remove(_place(folder, label))


def _place(folder: Path, label: str) -> Path:
    """The folder of the ensemble with a label; RequestError if there is none."""
    place = folder / FOLDER / folder_name(label)
    if (folder / FOLDER).is_symlink() or not place.is_dir() or place.is_symlink():
        known = ", ".join(repr(record.label) for record in ensembles(folder)) or "none"
        raise RequestError(
            f"{folder}: no imported spikes have the label {label!r} (there are: {known})"
        )
    return place


def ensembles(folder: Path) -> Iterator[Imported]:
    """All ensembles below ``folder`` that are whole, by label.

    Raises RequestError for one that is damaged, since a verdict of it would be missing in silence.
    """
    root = folder / FOLDER
    if root.is_symlink() or not root.is_dir():
        return
    for place in sorted(root.iterdir()):
        if not place.name.startswith(".") and place.is_dir() and not place.is_symlink():
            yield _read(place)


def _read(place: Path) -> Imported:
    try:
        record = Imported.model_validate_json(read_regular(place / RECORD))
        whole = record.record_sha256 == record.checksum() and all(
            file_hash(place / f"seed-{seed}.h5") == digest
            for seed, digest in record.spikes_sha256.items()
        )
    except (OSError, ValueError, RecursionError):
        whole = False
    if not whole or folder_name(record.label) != place.name:
        raise RequestError(
            f"{place}: these imported spikes are damaged; remove the folder and import them again"
        )
    return record
