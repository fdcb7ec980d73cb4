"""A backend of somebody else's for tests of what goes wrong: the emulator, and a disturbance before it builds.

Installed is what Python finds on its path with its metadata, in the tests' process and in those it starts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pynn_portability import backends

NAME = "disturbed"

_MODULE = '''
"""The emulator, disturbed."""
import atexit, os, shutil, sys, time
from pydantic import Field
from pynn_portability.backends import Options
from pynn_portability.backends.emulator import EmulatorBackend, EmulatorOptions

HERE = os.path.dirname(__file__)

class DisturbedOptions(EmulatorOptions):
    disturb: str = Field("", description="what to do first")

class DisturbedBackend(EmulatorBackend):
    options = DisturbedOptions
    def simulation(self, held, options):
        if options.disturb:
            globals()[options.disturb](held)
        return super().simulation(held, options)

def first(name):
    """Whether no other process has asked before."""
    try:
        os.close(os.open(os.path.join(HERE, name), os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

def note(what):
    with open(os.path.join(HERE, "times"), "a") as file:
        file.write(what)

def sleep(held):
    note(f"{os.getpid()}\\n")
    time.sleep(600)

def nap(held):
    note("+")
    time.sleep(3)

def remove(held):
    """Take away the folder that the run works in, and all that is beside it."""
    shutil.rmtree(os.path.dirname(os.path.dirname(os.getcwd())))

def oversleep(held):
    """The first process sleeps."""
    if first("slept"):
        time.sleep(600)

def fail(held):
    """The first process fails, the second crashes, all others do what they should."""
    note("+")
    if first("failed"):
        note("-")
        print("said to nobody but the log")
        raise RuntimeError("the chip is on fire")
    if first("crashed"):
        note("-")
        os.kill(os.getpid(), 9)
    atexit.register(note, "-")

BACKEND = DisturbedBackend()
'''


@contextmanager
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With the backend in ``folder``, where also its disturbances leave their notes."""
    (folder / f"{NAME}.py").write_text(_MODULE)
    metadata = folder / f"{NAME}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{backends.GROUP}]\n{NAME} = {NAME}:BACKEND\n")
    monkeypatch.syspath_prepend(str(folder))
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    backends._entry_points.cache_clear()
    yield
    backends._entry_points.cache_clear()
    sys.modules.pop(NAME, None)
