"""Conformance of a backend: what its single neurons and synapses do, against NEST's meaning of a step.

A network that deviates says that something differs; the probes of `pynn_portability.probe.probes` say what. All
those that a backend can represent are unconnected pieces of one network and run in one simulation, in a
process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from pynn_portability import backends
from pynn_portability.backends import Backend, Options, checked_options
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.formats.number_format import NumberFormat
from pynn_portability.model.network import Network
from pynn_portability.probe.probes import PROBES, Probe, Setup, Spikes
from pynn_portability.realize.realization import Realization
from pynn_portability.run.events import Advanced, Began, Ended, Listener, ignore
from pynn_portability.run.process import Report, ask, serve
from pynn_portability.spikes.data import PopulationSpikes

TIMESTEP = 0.1
"""Milliseconds, for a number format that has no time step of its own."""

SHORTEST, LONGEST = 0.01, 1.0
"""Time steps (ms) that the probes are made for."""

SEED = 1


@dataclass(frozen=True)
class Finding:
    """What came of a probe; ``measured`` is None and ``reason`` says why where it is not supported."""

    probe: Probe
    setup: Setup
    measured: Mapping[str, float] | None
    reason: str | None = None

    @property
    def tolerance(self) -> dict[str, float]:
        """By quantity."""
        values = np.broadcast_to(self.setup.tolerance, (len(self.setup.expected),)).tolist()
        return dict(zip(self.setup.expected, values, strict=True))

    @property
    def outcome(self) -> str:
        """``agrees``, ``differs`` or ``not supported``."""
        if self.measured is None:
            return "not supported"
        return "differs" if self.deviating else "agrees"

    @property
    def deviating(self) -> list[str]:
        """Quantities that are farther from what is expected than they may."""
        return [name for name in self.measured or {} if self._deviates(name)]

    def _deviates(self, name: str) -> bool:
        assert self.measured is not None
        measured, expected = self.measured[name], self.setup.expected[name]
        if math.isnan(measured) or math.isnan(expected):
            return math.isnan(measured) != math.isnan(expected)
        # a margin for quantities that are off by the tolerance but for rounding
        return abs(measured - expected) > self.tolerance[name] * (1 + 1e-9)


def measure(
    backend: Backend[Any],
    number: NumberFormat,
    options: Options,
    progress: Callable[[float], None] = lambda fraction: None,
    probes: Sequence[Probe] = PROBES,
) -> list[Finding]:
    """Run ``probes`` on a backend, in this process.

    Raises RequestError for a time step that the probes are not made for, and if the backend can
    represent none of them.
    """
    timestep = number.timestep or TIMESTEP
    if not SHORTEST <= timestep <= LONGEST:
        raise RequestError(
            f"number format {number.name!r}: a time step of {timestep:g} ms is not allowed for the "
            f"probes, which allow {SHORTEST:g} to {LONGEST:g} ms"
        )
    setups = {probe.name: probe.setup(timestep) for probe in probes}
    refused = {
        name: problems[0]
        for name, setup in setups.items()
        if (problems := backends.refusals(backend, setup.network, number, timestep))
    }
    run = {name: setup for name, setup in setups.items() if name not in refused}
    if not run:
        raise RequestError(next(iter(refused.values())))
    # a machine with one scale for all weights of a network would hold those of one probe as others need
    groups = [[name] for name in run] if number.weights.shared_by_network else [list(run)]
    spikes: dict[str, PopulationSpikes] = {}
    for done, group in enumerate(groups):
        network = _joined({name: run[name].network for name in group})
        held = number.on(Realization(network, SEED, timestep))
        simulation = backends.build(backend, held, options)
        spikes |= simulation.run(
            max(run[name].n_steps for name in group),
            lambda fraction, done=done: progress((done + fraction) / len(groups)),  # type: ignore[misc]
        ).populations
    findings = []
    for probe in probes:
        setup, measured = setups[probe.name], None
        if probe.name in run:
            values = setup.read(_until(_part(spikes, probe.name), setup.n_steps))
            measured = dict(zip(setup.expected, map(float, values), strict=True))
        findings.append(Finding(probe, setup, measured, refused.get(probe.name)))
    return findings


_SEPARATOR = " | "


def _joined(networks: Mapping[str, Network]) -> Network:
    """One network of unconnected parts, whose labels begin with the names of the parts."""
    populations, projections, drives = [], [], []
    for name, network in networks.items():
        prefix = name + _SEPARATOR
        populations += [replace(p, label=prefix + p.label) for p in network.populations]
        projections += [
            replace(p, label=prefix + p.label, source=prefix + p.source, target=prefix + p.target)
            for p in network.projections
        ]
        drives += [
            replace(d, label=prefix + d.label, target=prefix + d.target) for d in network.drives
        ]
    return Network(tuple(populations), tuple(projections), tuple(drives))


def _part(spikes: Spikes, name: str) -> Spikes:
    """What `_joined` networks spiked, for the network called ``name``."""
    prefix = name + _SEPARATOR
    return {
        label.removeprefix(prefix): found
        for label, found in spikes.items()
        if label.startswith(prefix)
    }


def _until(spikes: Spikes, n_steps: int) -> Spikes:
    return {
        label: PopulationSpikes(
            found.size, found.steps[found.steps <= n_steps], found.neurons[found.steps <= n_steps]
        )
        for label, found in spikes.items()
    }


def as_json(
    findings: Sequence[Finding], backend: str, number: NumberFormat, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Findings as plain JSON values; null stands for no spike. The keys are in docs/conformance.md."""

    def column(values: Mapping[str, float]) -> dict[str, float | None]:
        return {name: None if math.isnan(value) else value for name, value in values.items()}

    return {
        "schema": "portability-conformance/1",
        "backend": backend,
        "versions": dict(versions),
        "format": number.name,
        "timestep": number.timestep or TIMESTEP,
        "seed": SEED,
        "probes": [
            {
                "name": f.probe.name,
                "outcome": f.outcome,
                "unit": f.probe.unit,
                "measured": None if f.measured is None else column(f.measured),
                "expected": column(f.setup.expected),
                "tolerance": f.tolerance,
                "deviating": f.deviating,
                "measures": f.probe.measures,
                "tolerance_because": f.probe.because,
                "note": f.probe.note,
                "reason": f.reason,
            }
            for f in findings
        ],
    }


# --- In a process of its own ---


def conformance(
    backend: str,
    text: str,
    options: Mapping[str, Any] = MappingProxyType({}),
    listener: Listener = ignore,
) -> dict[str, Any]:
    """What all probes say of a backend (by name) with the number format ``text``, see `as_json`.

    The simulator gets a process of its own. ``options`` are those of the backend, defaults where
    missing. Raises RequestError, in one sentence, for what is wrong or missing and for a
    simulation that fails.
    """
    given = checked_options(backend, options, f"backend {backend!r}, option ")
    number_format(text)
    specification = {
        "backend": backend,
        "format": text,
        "base": str(Path.cwd()),  # which paths of formats are relative to
        "options": given.model_dump(),
    }

    def report(said: Mapping[str, Any]) -> None:
        listener(Advanced(backend, said.get("fraction"), said.get("phase", "simulating")))

    listener(Began(backend, 1.0))
    try:
        result: dict[str, Any] = ask(__name__, specification, report)
    finally:
        listener(Ended(backend))
    return result


def main() -> None:
    """Entry point of that process."""
    serve(_measure)


def _measure(specification: Mapping[str, Any], report: Report) -> None:
    name = specification["backend"]
    backend = backends.load(name)
    options = backend.options.model_validate(specification["options"])
    if reason := backend.available() or backend.skipped(options):
        raise RequestError(reason)
    number = number_format(specification["format"], Path(specification["base"]))
    report({"phase": backend.building()})
    findings = measure(
        backend,
        number,
        options,
        lambda fraction: report({"phase": "simulating", "fraction": fraction}),
    )
    report({"result": as_json(findings, name, number, backend.versions())})
