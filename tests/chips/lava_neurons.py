"""What lava's bit-accurate neurons compute: lava_neurons.py IN.npz OUT.npz, for Python 3.10 with lava-nc 0.10.0.

IN has ``weights`` (neurons, inputs), integers; ``spikes`` (inputs, steps), 0 or 1; ``exponent``, ``du``, ``dv``,
``vth``, ``bias`` and ``bias_exponent``. OUT has ``v``, ``u`` and ``spikes``, (steps, neurons).
"""

import sys

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.source import RingBuffer
from lava.proc.lif.process import LIF
from lava.proc.monitor.process import Monitor


def main(given, found):
    """Run neurons in one group of synapses."""
    spikes, weights = given["spikes"].astype(int), given["weights"].astype(int)
    steps = spikes.shape[1]
    number = {n: int(given[n]) for n in ("exponent", "du", "dv", "vth", "bias", "bias_exponent")}
    source = RingBuffer(data=spikes)
    dense = Dense(weights=weights, weight_exp=number["exponent"], num_message_bits=0)
    neurons = LIF(
        shape=(len(weights),),
        du=number["du"],
        dv=number["dv"],
        vth=number["vth"],
        bias_mant=number["bias"],
        bias_exp=number["bias_exponent"],
    )
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(neurons.a_in)
    monitors = {}
    for name, port in (("v", neurons.v), ("u", neurons.u), ("spikes", neurons.s_out)):
        monitors[name] = Monitor()
        monitors[name].probe(port, steps)
    neurons.run(condition=RunSteps(steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    out = {}
    for name, monitor in monitors.items():
        (process,) = monitor.get_data().values()
        (values,) = process.values()
        out[name] = np.asarray(values).reshape(steps, -1).astype(np.int64)
    neurons.stop()
    np.savez(found, **out)


if __name__ == "__main__":
    main(np.load(sys.argv[1], allow_pickle=False), sys.argv[2])
