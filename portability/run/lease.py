"""Leases: which runs of a store are being made, so that no other process makes them meanwhile.

A lease is a file beside the runs, which its holder touches now and then. It saves work and decides nothing: a run
appears whole or not at all, whoever makes it, so that a lease that is lost, or taken over, costs a second simulation
at most. No file has to be locked, and only the file system's clock is asked, as those of two machines may differ.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from pynn_portability.files import read_regular

PREFIX = ".making-"
HEARTBEAT = 15.0
"""Seconds between two touches."""
STALE = 150.0
"""Seconds after the last touch, after which its holder is taken for dead."""
_MOST_BYTES = 4096


class Lease:
    """That of the run ``key`` in the folder ``runs``, which exists."""

    def __init__(self, runs: Path, key: str) -> None:
        self._file = runs / f"{PREFIX}{key}"
        self._descriptor: int | None = None
        self._over = threading.Event()

    def take(self) -> bool:
        """Hold it from now on; False if another process does. One whose holder is dead is taken over."""
        if self.holder() is not None:
            return False
        # what is there is dead; of several that find it so one moves it away
        aside = self._file.with_name(f"{self._file.name}-{secrets.token_hex(8)}")
        with suppress(OSError):
            self._file.replace(aside)
            aside.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._file, flags, 0o666)
        except FileExistsError:
            return False
        os.write(self._descriptor, json.dumps(_self()).encode())
        threading.Thread(target=self._touch, daemon=True, name="lease").start()
        return True

    def release(self) -> None:
        """Hold it no longer."""
        self._over.set()
        if self._descriptor is None:
            return
        with suppress(OSError):
            # unless another process took it over
            if os.path.samestat(os.fstat(self._descriptor), self._file.lstat()):
                self._file.unlink()
        os.close(self._descriptor)
        self._descriptor = None

    def holder(self) -> str | None:
        """Who holds it, in words; None for nobody, or somebody who is dead."""
        try:
            touched = self._file.lstat().st_mtime
            holder = json.loads(read_regular(self._file, _MOST_BYTES))
            place = {name: str(holder[name]) for name in ("host", "machine", "space")}
            process, since = int(holder["process"]), float(holder["since"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            # it was made this moment, or it is damaged
            with suppress(OSError):
                return "another process" if _now(self._file) - touched < STALE else None
            return None
        here = _self()
        if all(place[name] == here[name] for name in place) and not _lives(process, since):
            return None
        if _now(self._file) - touched >= STALE:
            return None
        return f"process {process} on {place['host']}"

    def _touch(self) -> None:
        while not self._over.wait(HEARTBEAT):
            descriptor = self._descriptor
            if descriptor is None:
                return
            with suppress(OSError):
                os.utime(descriptor)


def alive(runs: Path) -> set[str]:
    """Keys of runs that are being made; leases whose holders are dead are removed."""
    found = set()
    for file in runs.glob(f"{PREFIX}*"):
        key = file.name.removeprefix(PREFIX)
        if Lease(runs, key).holder() is not None:
            found.add(key)
        else:
            with suppress(OSError):
                file.unlink()
    return found


def _self() -> dict[str, Any]:
    """What tells this process from all others, also in containers and after a reboot."""
    machine, space = "", ""
    with suppress(OSError):
        machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    return {
        "host": socket.gethostname(),
        "machine": machine,
        "space": space,
        "process": os.getpid(),
        "since": psutil.Process().create_time(),
    }


def _lives(process: int, since: float) -> bool:
    try:
        return abs(psutil.Process(process).create_time() - since) < 1.0
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True


def _now(beside: Path) -> float:
    """What the clock of a file's file system says."""
    probe = beside.with_name(f".clock-{secrets.token_hex(8)}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
