"""What rockpool makes of weights for Xylo: rockpool_weights.py IN.npz OUT.npz, for Python 3.11 with rockpool 3.1.0.

IN has ``weights`` (inputs, neurons) and ``threshold`` (neurons,), in one unit. OUT has, for each of rockpool's two
quantisers, ``global`` and ``channel``, its integers and its thresholds.
"""

import sys

import numpy as np
from rockpool.transform.quantize_methods import channel_quantize, global_quantize


def main(given, found):
    """Quantise with both scales."""
    weights, threshold = given["weights"], given["threshold"]
    n = weights.shape[1]
    out = {}
    for name, quantise in (("global", global_quantize), ("channel", channel_quantize)):
        zero = np.zeros(n)
        answer = quantise(
            weights_in=weights,
            weights_rec=np.zeros((n, n)),
            weights_out=np.ones((n, 1)),
            threshold=threshold,
            threshold_out=np.ones(1),
            dash_mem=zero,
            dash_mem_out=np.zeros(1),
            dash_syn=zero,
            dash_syn_2=zero,
            dash_syn_out=np.zeros(1),
            bias=np.zeros(n),
            bias_out=np.zeros(1),
        )
        out[name] = np.asarray(answer["weights_in"]).reshape(weights.shape)
        out[f"{name}/threshold"] = np.asarray(answer["threshold"])
    np.savez(found, **out)


main(np.load(sys.argv[1], allow_pickle=False), sys.argv[2])
