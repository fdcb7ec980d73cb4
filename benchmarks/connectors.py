"""Connecting in bulk against the stock connectors of pyNN.nest and pyNN.brian2.

100,000 synapses between 1,000 neurons, sources and targets drawn with replacement, weights and delays drawn.
Counted is what happens from the populations to a network with its synapses; each contender has a process of its
own and has compiled its code before.

Usage: python benchmarks/connectors.py [synapses]
"""

import sys

from sidebyside import measure, show

STOCK = """
import importlib, json, sys, time
from pyNN.random import RandomDistribution

n, backend = int(sys.argv[1]), sys.argv[2]
sim = importlib.import_module(f"pyNN.{backend}")
sim.setup(timestep=0.1, **({"spike_precision": "on_grid"} if backend == "nest" else {}))
cells = [sim.Population(1000, sim.IF_curr_exp()) for _ in range(2)]
synapse = sim.StaticSynapse(
    weight=RandomDistribution("normal_clipped", mu=0.0878, sigma=0.00878, low=0, high=1e9),
    delay=RandomDistribution("normal_clipped", mu=1.5, sigma=0.75, low=0.1, high=1e9))
start = time.perf_counter()
sim.Projection(*cells, sim.FixedTotalNumberConnector(n, with_replacement=True), synapse)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "us per synapse": seconds / n * 1e6}))
"""

OURS = """
import json, sys, time
from pynn_portability import backends
from pynn_portability.model.scripts import capture
from pynn_portability.formats.names import number_format
from pynn_portability.realize.realization import Realization

n, backend = int(sys.argv[1]), sys.argv[2]

def build(sim, synapses):
    cells = [sim.Population(1000, sim.IF_curr_exp(), label=label) for label in "AB"]
    cells[0].record("spikes")
    if synapses:
        synapse = sim.StaticSynapse(
            weight=sim.RandomDistribution("normal_clipped", mu=0.0878, sigma=0.00878, low=0, high=1e9),
            delay=sim.RandomDistribution("normal_clipped", mu=1.5, sigma=0.75, low=0.1, high=1e9))
        sim.Projection(*cells, sim.FixedTotalNumberConnector(synapses), synapse)

def seconds(synapses):
    # the whole build, of which making the populations is taken off below
    network = capture(build, {"synapses": synapses}, 0.1)
    module = backends.load(backend)
    start = time.perf_counter()
    backends.build(module, number_format("double").on(Realization(network, 1, 0.1)), module.options())
    return time.perf_counter() - start

seconds(10)  # imports and compilation
best = min(seconds(n) for _ in range(5)) - min(seconds(1) for _ in range(5))
print(json.dumps({"seconds": best, "us per synapse": best / n * 1e6}))
"""

if __name__ == "__main__":
    synapses = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for backend in ("nest", "brian2"):
        show(
            f"{synapses:,} synapses on {backend}",
            {
                "harness": measure(OURS, synapses, backend),
                "stock connector": measure(STOCK, synapses, backend),
            },
            ratios_to="harness",
        )
