"""An excitatory and an inhibitory population of leaky integrate-and-fire neurons, randomly connected.

The network of Brunel (2000), J. Comput. Neurosci. 8:183-208, in plain PyNN, with exponential postsynaptic currents.
Every neuron has as many inputs as every other, four fifths of them excitatory, and an independent Poisson drive. With
the default values the drive makes nine tenths of the variance of the input, so that the network is only weakly
correlated: what linear theory says of correlations should hold.
"""

from __future__ import annotations

from typing import Any

NEURON = {
    "cm": 0.25,
    "tau_m": 10.0,
    "tau_syn_E": 0.5,
    "tau_syn_I": 0.5,
    "tau_refrac": 2.0,
    "v_rest": -65.0,
    "v_reset": -65.0,
    "v_thresh": -50.0,
}
EXCITATORY = 0.8
"""Part of the neurons, and of the inputs of each."""


def build(
    sim: Any,
    neurons: int = 10_000,
    inputs: int = 500,
    weight: float = 0.02,
    inhibition: float = 6.0,
    delay: float = 1.5,
    drive_rate: float = 1800.0,
    drive_weight: float = 0.4,
) -> dict[str, Any]:
    """The populations by label, ``E`` and ``I``.

    ``neurons`` in all, with ``inputs`` each from them; ``weight`` (nA) of excitatory synapses, and ``inhibition``
    times as strong inhibitory ones; ``delay`` (ms) of all; rate (1/s) and weight (nA) of the drive.
    """
    excitatory = round(EXCITATORY * neurons)
    populations = {}
    for label, size in (("E", excitatory), ("I", neurons - excitatory)):
        population = sim.Population(size, sim.IF_curr_exp(**NEURON), label=label)
        population.initialize(v=sim.RandomDistribution("normal", mu=-58.0, sigma=5.0))
        population.record("spikes")
        populations[label] = population
    for target in populations.values():
        noise = sim.Population(
            target.size, sim.SpikeSourcePoisson(rate=drive_rate), label=f"noise {target.label}"
        )
        sim.Projection(
            noise,
            target,
            sim.OneToOneConnector(),
            sim.StaticSynapse(weight=drive_weight, delay=delay),
            label=f"noise->{target.label}",
        )
        for source in populations.values():
            is_excitatory = source.label == "E"
            part = EXCITATORY if is_excitatory else 1 - EXCITATORY
            sim.Projection(
                source,
                target,
                sim.FixedNumberPreConnector(round(part * inputs), with_replacement=True),
                sim.StaticSynapse(
                    weight=weight if is_excitatory else -inhibition * weight, delay=delay
                ),
                receptor_type="excitatory" if is_excitatory else "inhibitory",
                label=f"{source.label}->{target.label}",
            )
    return populations
