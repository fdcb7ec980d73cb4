"""The emulator against NEST on the microcircuit: time, memory, and what bounds the emulator.

One contender after the other, each in a process of its own, each with the same realization. The first run compiles
and is not counted. "ns per event" is the time of all steps per synaptic event and thread, "ns per neuron" the time per
neuron, step and thread of the same neurons with their Poisson input but without synapses.

Usage: python benchmarks/emulator.py [seconds of model time [NEST too at full scale, 0 or 1]]
"""

import sys

from sidebyside import measure, show

SIMULATE = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
from pynn_portability import backends
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.formats.names import number_format
from pynn_portability.realize.realization import Realization
from pynn_portability.run.process import peak_memory

name, scale, seconds, threads, text = sys.argv[1], *map(float, sys.argv[2:5]), sys.argv[5]
backend = backends.load(name)
assert backend.available() is None
parameters = {"scale": scale, "connectivity": "fixed_indegree"}
network = capture(load_model("microcircuit", Path()), parameters, 0.1)
options = backends.checked_options(name, {"threads": int(threads)}, "")

def simulate(network, n_steps):
    start = time.perf_counter()
    held = number_format(text).on(Realization(network, 1, 0.1))
    simulation = backends.build(backend, held, options)
    built = time.perf_counter()
    spikes = simulation.run(n_steps, lambda fraction: None)
    return built - start, time.perf_counter() - built, spikes

if name == "emulator":
    simulate(capture(load_model("microcircuit", Path()), {"scale": 0.01}, 0.1), 10)
n_steps = round(seconds * 10000)
build, run, spikes = simulate(network, n_steps)
figures = {"build [s]": build, "realtime factor": run / seconds, "peak [GB]": peak_memory() / 1e9}
if name == "emulator":
    realization = Realization(network, 1, 0.1)
    outdegree = {p.label: 0.0 for p in network.populations}
    for p in network.projections:
        outdegree[p.source] += realization.synapse_count(p.label) / network.population(p.source).size
    events = sum(len(p.steps) * outdegree[label] for label, p in spikes.populations.items())
    neurons = sum(p.size for p in network.populations)
    # quiet, because a spike without synapses costs time as well
    quiet = [replace(p, parameters={**p.parameters, "v_thresh": 1e3}) for p in network.populations]
    _, alone, _ = simulate(replace(network, projections=(), populations=tuple(quiet)), n_steps)
    figures["ns per event"] = (run - alone) * threads / events * 1e9
    figures["ns per neuron"] = alone * threads / neurons / n_steps * 1e9
print(json.dumps(figures))
"""

BANDWIDTH = """
import json, time
import numpy as np
array = np.ones(2**27)
array.sum()
start = time.perf_counter()
for _ in range(5):
    array.sum()
print(json.dumps({"GB/s": 5 * array.nbytes / (time.perf_counter() - start) / 1e9}))
"""


def figures(name: str, scale: float, seconds: float, threads: int, text: str) -> dict[str, float]:
    return measure(SIMULATE, name, scale, seconds, threads, text, threads=threads)


if __name__ == "__main__":
    given = [float(a) for a in sys.argv[1:]]
    seconds, with_nest = (*given, *(5.0, 1)[len(given) :])
    show("Reading memory, one thread", {"numpy.sum": measure(BANDWIDTH)})
    show(
        f"Scaling: emulator, moments-2/float32, {seconds:g} s",
        {
            f"scale {scale:g}, {threads} thread{'s' * (threads > 1)}": figures(
                "emulator", scale, seconds, threads, "moments-2/float32"
            )
            for scale in (0.1, 0.2, 0.5, 1.0)
            for threads in (1, 2)
        },
    )
    show(
        f"State arithmetic and weights: emulator, scale 0.5, two threads, {seconds:g} s",
        {
            text: figures("emulator", 0.5, seconds, 2, text)
            for text in (
                "moments-2/float32",
                "moments-2",
                "moments-2/s16.15",
                "moments-1/float32",
                "naive-16/float32",
                "naive-64/float32",
                "float32",
                "double",
                "spinnaker-full",
            )
        },
        ratios_to="moments-2/float32",
    )
    show(
        f"Scale 1: SpiNNaker's arithmetic beside single precision, two threads, {seconds:g} s",
        {
            text: figures("emulator", 1.0, seconds, 2, text)
            for text in ("float32", "spinnaker-full")
        },
        ratios_to="float32",
    )
    scale, threads = (1.0, 4) if with_nest else (0.1, 2)
    nest = figures("nest", scale, min(seconds, 1.0), threads, "double")
    emulator = figures("emulator", scale, seconds, 2, "moments-2/float32")
    show(
        f"Scale {scale:g}: NEST double, emulator moments-2/float32",
        {"emulator": {name: emulator[name] for name in nest}, "nest": nest},
        ratios_to="emulator",
    )
