"""One run in a process of its own: realize, build, simulate, store.

Reads its specification, which `pynn_portability.run.executor` writes, as one line of JSON from standard
input. Reports JSON lines on the pipe that the specification names: ``{"phase": ...}``,
``{"fraction": ...}`` and at the end ``{"error": ...}`` if it failed. Success is the run's appearance
in the store.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from pynn_portability import backends
from pynn_portability.backends import Observations
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.network import Network
from pynn_portability.realize.realization import Realization
from pynn_portability.run import networks
from pynn_portability.run.environment import host
from pynn_portability.run.process import Report, peak_memory, serve
from pynn_portability.run.record import Cost, Environment, ModelReference, RunRecord
from pynn_portability.run.store import Store
from pynn_portability.spikes.data import SpikeData


def main() -> None:
    """Entry point of the subprocess; exit code 1 when the run failed."""
    serve(simulate)


@dataclass(frozen=True)
class _Made:
    """A run that is over: its spikes, and what it took."""

    spikes: SpikeData
    synapses: int
    build_seconds: float
    simulate_seconds: float
    peak_bytes: int
    synapse_bytes: float | None = None
    allocated_bytes: int | None = None
    observations: Observations = field(default_factory=dict)


def simulate(specification: Mapping[str, Any], report: Report) -> None:
    """Make the specified run and store it with the cost it had."""
    request, model = specification["request"], specification["model"]
    made = (_on_stock if "stock" in request else _on_backend)(specification, report)
    seconds = request["n_steps"] * request["timestep"] * 1e-3
    record = RunRecord(
        key=specification["key"],
        request=request,
        environment=Environment.model_validate(specification["environment"]),
        model=ModelReference(build=model["build"], parameters=model["parameters"]),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        host=host() if specification["keep_host"] else host().model_copy(update={"name": ""}),
        synapses=made.synapses,
        cost=Cost(
            build_seconds=made.build_seconds,
            simulate_seconds=made.simulate_seconds,
            realtime_factor=made.simulate_seconds / seconds,
            peak_rss_bytes=made.peak_bytes,
            bytes_per_synapse=_each(made.synapse_bytes, made.synapses),
            bytes_per_synapse_allocated=_each(made.allocated_bytes, made.synapses),
            threads=request["threads"],
        ),
        observations={
            kind: {population: dict(counts) for population, counts in found.items()}
            for kind, found in made.observations.items()
        },
    )
    report({"phase": "storing", "fraction": 1.0})
    Store(Path(specification["store"])).add(record, made.spikes)


def _each(total: float | None, synapses: int) -> float | None:
    return total / synapses if total is not None and synapses else None


def _on_backend(specification: Mapping[str, Any], report: Report) -> _Made:
    """Realize, build and simulate a network."""
    request = specification["request"]
    backend = backends.load(request["backend"])
    timestep, n_steps = request["timestep"], request["n_steps"]
    network = networks.find(Path(specification["store"]), request["network"])

    # what a backend imports to answer this is not part of building the network
    if reason := backend.available():
        raise RequestError(reason)
    report({"phase": backend.building()})
    number = number_format(request["format"], Path(specification["model"]["base"]))
    if number.fingerprint != request.get("machine"):
        raise RequestError(f"number format {number.name!r} is not what it was a moment ago")
    held = number.on(Realization(network, request["seed"], timestep))
    synapses = held.realization.n_synapses
    resident_before = psutil.Process().memory_info().rss
    start = time.perf_counter()
    options = backend.options.model_validate(request["options"])
    simulation = backends.build(backend, held, options)
    built = time.perf_counter()

    report({"phase": "simulating"})
    spikes = simulation.run(n_steps, lambda fraction: report({"fraction": fraction}))
    simulated = time.perf_counter()
    peak = peak_memory()
    return _Made(
        compared_spikes(network, spikes),
        synapses,
        built - start,
        simulated - built,
        peak,
        max(0, peak - resident_before),
        simulation.synapse_bytes or None,
        simulation.observations,
    )


def _on_stock(specification: Mapping[str, Any], report: Report) -> _Made:
    """Run a script on stock PyNN, which builds and simulates in one."""
    from pynn_portability.run import stock  # noqa: PLC0415 - brings PyNN

    request = specification["request"]
    report({"phase": "running the script"})
    os.chdir(specification["directory"])
    start = time.perf_counter()
    base = Path(specification["model"]["base"])
    spikes, synapses = stock.simulate(request, base, Path(specification["script"]))
    return _Made(spikes, synapses, 0.0, time.perf_counter() - start, peak_memory())


def compared_spikes(network: Network, spikes: SpikeData) -> SpikeData:
    """Spikes of what is compared, from those of whole populations."""
    populations = {}
    for label, _, _, population, cells in network.compared:
        found = spikes.populations[population]
        if cells is not None:
            found = found.of(cells)
        populations[label] = found
    return replace(spikes, populations=populations)
