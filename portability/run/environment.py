"""The machine, and the software that decides the spikes of a run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

from pynn_portability import backends
from pynn_portability.run.record import Environment, Host
from pynn_portability.sources import source_files, syntax_digest

# project code that decides the spikes, beside the backend's own; what recording a model does is in the
# network's fingerprint
_DECIDING_MODULES = (
    "pynn_portability.model.cells",
    "pynn_portability.model.connectivity",
    "pynn_portability.realize",
    "pynn_portability.formats",
    "pynn_portability.spikes.data",
)
_DECIDING_PACKAGES = ("numba", "numpy", "scipy")


def environment(backend: str) -> Environment:
    """Package versions, and a digest of the project's code that takes part in a backend's runs."""
    digest = hashlib.sha256()
    for module in (*_DECIDING_MODULES, backends.module(backend)):
        digest.update(syntax_digest(source_files(module)).encode())
    versions = {name: importlib.metadata.version(name) for name in _DECIDING_PACKAGES}
    return Environment(
        sources=digest.hexdigest(), versions=versions | backends.load(backend).versions()
    )


def host() -> Host:
    """The machine and the interpreter."""
    return Host(
        name=platform.node(),
        platform=platform.platform(),
        python=platform.python_version(),
        cpu=_cpu_model(),
        cores=os.cpu_count(),
    )


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
