"""Finished runs on disk, found by what determines their result.

``DIR/runs/<key>/`` holds ``spikes.h5`` (SONATA) and ``run.json`` (everything that made it). The key
is a hash of the request (what was asked for) and of the environment (the software that answered).
A run folder appears whole or not at all: it is filled beside its place and then renamed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pynn_portability.errors import RequestError
from pynn_portability.files import file_hash, read_regular, remove
from pynn_portability.run import lease
from pynn_portability.run.record import RunRecord
from pynn_portability.spikes.data import SpikeData
from pynn_portability.spikes.sonata import write_sonata

KEY_LENGTH = 24  # hexadecimal digits, 96 bits
SPIKES = "spikes.h5"
RECORD = "run.json"
_UNFINISHED = ".unfinished-"


def run_key(request: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """The name of a run: a hash of everything that determines its spikes."""
    text = json.dumps(
        {"request": request, "environment": environment}, sort_keys=True, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


class Store:
    """Runs below one output folder. Nothing is written before `locked` or `add`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self._by_request: dict[str, list[RunRecord]] | None = None

    def prepare(self) -> None:
        """Make the folder. Many processes may then add runs at once, each under a `lease` of its own.

        Raises ``RequestError`` when the folder cannot be written.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            # a link would have us write, and clear away, who knows where
            for name in ("runs", ".lock"):
                if (self.folder / name).is_symlink():
                    raise RequestError(
                        f"{self.folder / name}: is a symbolic link, which is not followed; remove it or "
                        "choose another folder with --out"
                    )
        except OSError as error:
            raise self._unwritable(error) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, keep other processes from judging in it, and remove what a crash left behind.

        Raises ``RequestError`` when the folder cannot be written or another process uses it.
        """
        self.prepare()
        try:
            descriptor = _opened_lock(self.folder / ".lock")
        except OSError as error:
            raise self._unwritable(error) from None
        with os.fdopen(descriptor, "wb") as lock:
            try:
                # released by the operating system when the process ends, however it ends
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RequestError(
                    f"{self.folder}: another portability process is writing to this output folder, "
                    "wait for it or choose another folder with --out"
                ) from None
            making = lease.alive(self.runs)
            for leftover in self.runs.glob(f"{_UNFINISHED}*"):
                if not any(key in leftover.name for key in making):
                    remove(leftover)
            yield

    def _unwritable(self, error: OSError) -> RequestError:
        return RequestError(f"{self.folder}: the output folder cannot be written: {error.strerror}")

    def lease(self, key: str) -> lease.Lease:
        """What says that a run is being made."""
        return lease.Lease(self.runs, key)

    def make_scratch(self, key: str) -> Path:
        """A folder for whatever a running simulator writes; the next lock removes what is left."""
        folder = self.runs / f"{_UNFINISHED}scratch-{key}-{secrets.token_hex(8)}"
        folder.mkdir()
        return folder

    def find(self, key: str) -> RunRecord | None:
        """The record of a run, or None when it is not there or its files are damaged.

        A link is damage, whatever it points to.
        """
        record = self._record(key)
        try:
            if record and record.spikes_sha256 == file_hash(self.runs / key / SPIKES):
                self._index(record)  # a worker may have added it since
                return record
        except OSError:
            pass
        return None

    def newest(self, request: Mapping[str, Any]) -> RunRecord | None:
        """The latest run of a request, whatever software made it.

        Records are read once, at the first call. Of runs that other processes add later, those are seen
        that `find` has found.
        """
        found = self._indexed().get(_identity(request), [])
        matching = sorted(found, key=lambda record: record.created, reverse=True)
        return next((record for record in matching if self.find(record.key)), None)

    def records(self) -> list[RunRecord]:
        """Records of all runs, as they were at the first look."""
        return [record for same in self._indexed().values() for record in same]

    def _indexed(self) -> dict[str, list[RunRecord]]:
        if self._by_request is None:
            self._by_request = {}
            for file in self.runs.glob(f"*/{RECORD}"):
                if record := self._record(file.parent.name):
                    self._index(record)
        return self._by_request

    def _index(self, record: RunRecord) -> None:
        if self._by_request is not None:
            same = self._by_request.setdefault(_identity(record.request), [])
            same[:] = [record, *(other for other in same if other.key != record.key)]

    def _record(self, key: str) -> RunRecord | None:
        folder = self.runs / key
        if self.runs.is_symlink() or folder.is_symlink():
            return None
        try:
            record = RunRecord.model_validate_json(read_regular(folder / RECORD))
            return record if record.key == key and record.intact else None
        except (OSError, ValueError, RecursionError):
            return None

    def spikes_file(self, key: str) -> Path:
        """The SONATA file of a run."""
        return self.runs / key / SPIKES

    def add(self, record: RunRecord, spikes: SpikeData) -> RunRecord:
        """Store a finished run; returns its record with the hash of its spikes.

        If another process has stored the same run meanwhile, that one stays.
        """
        key = record.key
        temporary = self.runs / f"{_UNFINISHED}{key}-{secrets.token_hex(8)}"
        temporary.mkdir(parents=True)
        try:
            write_sonata(temporary / SPIKES, spikes)
            complete = record.sealed(file_hash(temporary / SPIKES))
            text = json.dumps(complete.model_dump(by_alias=True), indent=1, allow_nan=False)
            (temporary / RECORD).write_text(text + "\n", encoding="utf-8")
            if found := self.find(key):
                return found
            # what is in the way is damaged
            remove(self.runs / key)
            try:
                temporary.replace(self.runs / key)
            except OSError:
                if found := self.find(key):
                    return found
                raise
        finally:
            remove(temporary)
        self._index(complete)
        return complete


def _opened_lock(file: Path) -> int:
    """A descriptor of the lock, which is made if it is not there and never emptied; OSError for a link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(file, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "its lock is not a regular file", str(file))
    return descriptor


def _identity(request: Mapping[str, Any]) -> str:
    return json.dumps(request, sort_keys=True)
