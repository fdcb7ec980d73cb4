"""The microcircuit on NEST: this harness against the native PyNEST package ``microcircuit``.

The same scale, Poisson drive, number of threads, model time and recorded spikes; one contender after the other.
Importing the simulator is not counted; making the synapses is. Repeated, the smallest figure of each is shown.

Usage: python benchmarks/microcircuit.py [scale [seconds of model time [threads [repetitions]]]]
"""

import sys

from sidebyside import measure, show

NATIVE = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import numpy, nest
from microcircuit import network, network_params, sim_params, stimulus_params

nest.set_verbosity("M_ERROR")
scale, seconds, threads = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
net = {**network_params.net_dict, "N_scaling": scale, "K_scaling": scale, "bg_input_type": "poisson"}
sim = {**sim_params.default_sim_dict, "local_num_threads": threads, "data_path": "data/",
       "print_time": False, "store_metadata": False}
start = time.perf_counter()
model = network.Network(sim, net, stimulus_params.default_stim_dict)
model.create()
model.connect()
built = time.perf_counter()
model.simulate(seconds * 1000)
done = time.perf_counter()
print(json.dumps({
    "build [s]": built - start, "simulate [s]": done - built,
    "realtime factor": (done - built) / seconds,
    "peak memory [MiB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""

OURS = """
import json, resource, sys, time
from pathlib import Path
from pynn_portability import backends
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.formats.names import number_format
from pynn_portability.realize.realization import Realization
import nest, pyNN.nest

scale, seconds, threads = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
start = time.perf_counter()
network = capture(load_model("microcircuit", Path()), {"scale": scale}, 0.1)
simulation = backends.build(
    backends.load("nest"),
    number_format("double").on(Realization(network, 1, 0.1)),
    backends.checked_options("nest", {"threads": threads}, ""),
)
built = time.perf_counter()
spikes = simulation.run(round(seconds * 10000), lambda fraction: None)
done = time.perf_counter()
print(json.dumps({
    "build [s]": built - start, "simulate [s]": done - built,
    "realtime factor": (done - built) / seconds,
    "peak memory [MiB]": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def best(program: str, arguments: list[object], threads: int, repetitions: int) -> dict[str, float]:
    runs = [measure(program, *arguments, threads=threads) for _ in range(repetitions)]
    return {figure: min(run[figure] for run in runs) for figure in runs[0]}


if __name__ == "__main__":
    given = [float(a) for a in sys.argv[1:]]
    scale, seconds, threads, repetitions = (*given, *(0.1, 5.0, 2, 2)[len(given) :])
    arguments: list[object] = [scale, seconds, int(threads)]
    contenders = {"microcircuit": NATIVE, "harness": OURS}
    show(
        f"Microcircuit at scale {scale:g}, {seconds:g} s, {threads:g} threads",
        {
            name: best(program, arguments, int(threads), int(repetitions))
            for name, program in contenders.items()
        },
        ratios_to="microcircuit",
    )
