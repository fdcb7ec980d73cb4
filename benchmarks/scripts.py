"""A large script with views and connections by distance, captured here and built by stock pyNN.nest.

Columns of 1,000 cells on a grid, cut into 800 and 200; within a column connections, weights and delays depend on
the distance, and neighbouring columns are connected by views. Counted is what happens from the first population to a
network with its synapses. Stock pyNN.nest gets two columns, as it takes minutes for more.

Usage: python benchmarks/scripts.py [columns]
"""

import sys

from sidebyside import measure, show

BUILD = """
import json, resource, sys, time
import numpy as np
from pyNN.space import Grid2D

columns = int(sys.argv[1])

def build(sim):
    structure = Grid2D(aspect_ratio=1.6)
    made = [sim.Population(1000, sim.IF_curr_exp(), structure=structure, label=f"column {i}") for i in range(columns)]
    near = sim.DistanceDependentProbabilityConnector("exp(-d/3.0)", allow_self_connections=False)
    for i, column in enumerate(made):
        falling = sim.StaticSynapse(weight=lambda d: 0.1 / (1.0 + d), delay="0.5 + 0.05 * d")
        sim.Projection(column, column, near, falling, receptor_type="excitatory")
        beside = sim.StaticSynapse(weight=0.1, delay=2.0)
        some = sim.FixedNumberPreConnector(20)
        sim.Projection(column[:800], made[(i + 1) % columns][800:], some, beside, receptor_type="excitatory")
        column[800:].set(tau_m=10.0)
        column.record("spikes")
"""

STOCK = (
    BUILD
    + """
import pyNN.nest as sim
sim.setup(timestep=0.1, min_delay=0.1, max_delay=10.0, spike_precision="on_grid")
start = time.perf_counter()
build(sim)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"ms per column": seconds / columns * 1e3, "peak MiB": peak}))
"""
)

OURS = (
    BUILD
    + """
from pynn_portability.model.scripts import capture
from pynn_portability.realize.realization import Realization

def whole():
    network = capture(build, {}, 0.1)
    realization = Realization(network, 1, 0.1)
    for projection in network.projections:
        for piece in realization.synapses(projection.label):
            pass

asked, columns = columns, 2
whole()  # compiles
columns = asked
start = time.perf_counter()
whole()
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"ms per column": seconds / columns * 1e3, "peak MiB": peak}))
"""
)

if __name__ == "__main__":
    columns = sys.argv[1] if len(sys.argv) > 1 else "100"
    show(
        "two columns",
        {"harness": measure(OURS, 2), "pyNN.nest": measure(STOCK, 2)},
        ratios_to="harness",
    )
    show(f"{columns} columns", {"harness": measure(OURS, columns)})
