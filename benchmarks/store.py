"""Look up every run of a store by its request: one reading of the records against one per look-up.

Usage: python benchmarks/store.py [runs ...]
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pynn_portability.run.record import RunRecord
from pynn_portability.run.store import Store
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

RECORD = {
    "key": "",
    "request": {},
    "environment": {"sources": "0" * 64, "versions": {"numpy": "2.0", "nest": "3.10"}},
    "model": {"build": "microcircuit", "parameters": {"scale": 0.1}},
    "created": "2024-01-01T00:00:00.000+00:00",
    "host": {"name": "host", "platform": "Linux", "python": "3.12", "cpu": "cpu", "cores": 2},
    "synapses": 1000,
    "cost": {
        "build_seconds": 1.0,
        "simulate_seconds": 1.0,
        "realtime_factor": 1.0,
        "peak_rss_bytes": 1,
        "bytes_per_synapse": 1.0,
        "bytes_per_synapse_allocated": None,
        "threads": 1,
    },
}


def filled(folder: Path, runs: int) -> Store:
    """A store with small runs."""
    store = Store(folder)
    with store.locked():
        pass
    steps = np.arange(1, 101)
    spikes = SpikeData(0.1, 100, {"E": PopulationSpikes(10, steps, steps % 10)})
    for seed in range(runs):
        content = RECORD | {"key": f"run{seed}", "request": {"seed": seed, "format": "double"}}
        store.add(RunRecord.model_validate(content), spikes)
    return store


def seconds(folder: Path, runs: int, fresh: bool) -> float:
    """Time to look up every run, with a store of its own for each look-up if ``fresh``."""
    store = Store(folder)
    start = time.perf_counter()
    for seed in range(runs):
        if fresh:
            store = Store(folder)
        assert store.newest({"seed": seed, "format": "double"})
    return time.perf_counter() - start


def main(sizes: list[int]) -> None:
    """Measure every size and print seconds and their ratio."""
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            filled(Path(folder), runs)
            indexed, each = (seconds(Path(folder), runs, fresh) for fresh in (False, True))
        row = {"runs": runs, "indexed [s]": indexed, "reading each time [s]": each}
        print(json.dumps({**row, "ratio": each / indexed}))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [50, 100, 200])
