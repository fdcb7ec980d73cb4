"""What nengo-loihi makes of weights: nengo_loihi_weights.py IN.npz OUT.npz, for Python 3.9 with nengo-loihi 1.1.0.

IN has the weights of groups onto one block as ``group/NAME`` (nengo's unit: the threshold is 1), ``tau_syn``,
``tau_m`` and ``dt`` in seconds. OUT has them as the chip's current counts them, in units of 64, and
``exponent/NAME``, ``unit`` (of one of these, in nengo's unit) and ``exponent``.
"""

import sys

import numpy as np
from nengo_loihi.block import LoihiBlock, Synapse
from nengo_loihi.builder.discretize import discretize_block

GROUP = "group/"


def main(given, found):
    """Discretise one block."""
    block = LoihiBlock(1)
    dt = float(given["dt"])
    block.compartment.configure_filter(float(given["tau_syn"]), dt=dt)
    block.compartment.configure_lif(tau_rc=float(given["tau_m"]), tau_ref=dt, vth=1.0, dt=dt)
    synapses = {}
    for name in sorted(given.files):
        if name.startswith(GROUP):
            weights = given[name]
            synapse = Synapse(len(weights))
            synapse.set_weights([np.array([w]) for w in weights])
            block.add_synapse(synapse)
            synapses[name[len(GROUP) :]] = synapse
    discretize_block(block)
    info = block.compartment.discretize_info
    out = {"unit": 1 / info["w_scale"], "exponent": info["w_exp"]}
    for name, synapse in synapses.items():
        current = np.concatenate([np.ravel(w) for w in synapse.weights])
        assert (current % 64 == 0).all()
        out[GROUP + name] = current // 64
        out["exponent/" + name] = synapse.synapse_cfg.weight_exp
    np.savez(found, **out)


main(np.load(sys.argv[1], allow_pickle=False), sys.argv[2])
