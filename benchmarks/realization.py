"""Sample every synapse of the full-scale microcircuit once: time and memory, on one thread and on two.

Usage: python benchmarks/realization.py [scale]
"""

import sys

from sidebyside import measure, show

SAMPLE = """
import json, resource, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.realize.realization import CHUNK_SIZE, Realization

scale, threads = float(sys.argv[1]), int(sys.argv[2])
network = capture(load_model("microcircuit", Path()), {"scale": scale}, 0.1)
next(Realization(network, 0, 0.1).synapses(network.projections[0].label, 10))  # compile

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before, start = peak(), time.perf_counter()
realization = Realization(network, 1, 0.1)

def sample(label):
    return sum(len(chunk) for chunk in realization.synapses(label))

with ThreadPoolExecutor(threads) as pool:
    synapses = sum(pool.map(sample, [p.label for p in network.projections]))
seconds = time.perf_counter() - start
print(json.dumps({
    "synapses": synapses, "seconds": seconds, "ns per synapse": seconds / synapses * 1e9,
    "memory added [MiB]": peak() - before,
}))
"""

if __name__ == "__main__":
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    show(
        f"Realization of the microcircuit at scale {scale:g}",
        {f"{n} threads": measure(SAMPLE, scale, n) for n in (1, 2)},
    )
