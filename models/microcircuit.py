"""The cortical microcircuit of Potjans & Diesmann (2014), Cereb. Cortex 24:785-806, in plain PyNN.

About 77,000 leaky integrate-and-fire neurons under one square millimetre of cortical surface: an
excitatory (E) and an inhibitory (I) population in each of the layers 2/3, 4, 5 and 6. ``build``
makes the populations and projections on any PyNN simulator::

    import pyNN.nest as sim
    from pynn_portability.models import microcircuit

    sim.setup(timestep=0.1, spike_precision="on_grid")
    populations = microcircuit.build(sim, scale=0.01)
    sim.run(1000.0)

Parameter values are those of the maintained reference implementation
(INM-6/microcircuit-PD14-model, ``network_params.py``), the connectivity variants those of Dasbach
et al. (2021), Front. Neurosci. 15:757790. Matrices have one row per target and one column per
source population, in the order of ``POPULATIONS``. ``docs/microcircuit.md`` explains the choices.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyNN.random import AbstractRNG, NumpyRNG, RandomDistribution

Array = NDArray[np.float64]

POPULATIONS = ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")
SIZES = np.array([20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948])
EXCITATORY = np.array([label.endswith("E") for label in POPULATIONS])

# probability that a pair of neurons is connected at least once
CONNECTION_PROBABILITIES = np.array(
    [
        [0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0000, 0.0076, 0.0000],
        [0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0000, 0.0042, 0.0000],
        [0.0077, 0.0059, 0.0497, 0.1350, 0.0067, 0.0003, 0.0453, 0.0000],
        [0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0000, 0.1057, 0.0000],
        [0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0000],
        [0.0548, 0.0269, 0.0257, 0.0022, 0.0600, 0.3158, 0.0086, 0.0000],
        [0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252],
        [0.0364, 0.0010, 0.0034, 0.0005, 0.0277, 0.0080, 0.0658, 0.1443],
    ]
)

# mean rates of the full-scale network (1/s), from which down-scaling computes the lost mean input
FULL_SCALE_RATES = np.array([0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829])

BACKGROUND_INDEGREES = np.array([1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100])
BACKGROUND_RATE = 8.0  # of each background source, 1/s
BACKGROUND_DELAY = 1.5  # ms

# PyNN units: nF, ms, mV
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
TAU_SYN = NEURON["tau_syn_E"]

PSP = 0.15  # peak excitatory postsynaptic potential, mV
INHIBITION = -4.0  # inhibitory weight, relative to the excitatory one
DELAYS = {"E": 1.5, "I": 0.75}  # mean by type of source, ms
RELATIVE_DELAY_SD = 0.5

# mean and SD of the membrane potential at time 0, mV
INITIAL_VOLTAGES = {
    "optimized": (
        (-68.28, -63.16, -63.33, -63.45, -63.11, -61.66, -66.72, -61.43),
        (5.36, 4.57, 4.74, 4.94, 4.94, 4.55, 5.46, 4.48),
    ),
    "original": ((-58.0,) * 8, (10.0,) * 8),
}

CONNECTIVITIES = ("fixed_total_number", "fixed_indegree")
DRIVES = ("poisson", "dc")
SMALLEST_SCALE = (
    0.002  # leaves two neurons in the smallest population, which one-to-one needs in PyNN
)


def build(
    sim: Any,
    scale: float = 1.0,
    k_scale: float | None = None,
    connectivity: str = "fixed_total_number",
    drive: str = "poisson",
    initial_voltages: str = "optimized",
    relative_weight_sd: float = 0.1,
    rng: AbstractRNG | None = None,
) -> dict[str, Any]:
    """Build the microcircuit with the PyNN simulator ``sim``, which must be set up already.

    Parameters
    ----------
    scale
        Numbers of neurons relative to the full model, 0.002 to 1.
    k_scale
        In-degrees relative to the full model, 0.002 to 1; None for the same as ``scale``. Weights
        grow by ``1 / sqrt(k_scale)`` and a direct current replaces the lost mean input, so that
        mean and variance of the input stay (model description of the reference implementation,
        remark on network scaling; see `direct_current`).
    connectivity
        ``"fixed_total_number"``: sources and targets of a given number of synapses are drawn with
        replacement; ``"fixed_indegree"``: every neuron has the same number of inputs, drawn with
        replacement (Dasbach et al. 2021, section 2.1).
    drive
        ``"poisson"``: every neuron receives its own Poisson input; ``"dc"``: a constant current
        with the same mean.
    initial_voltages
        ``"optimized"``: normal distributions per population that avoid an initial burst;
        ``"original"``: -58 +- 10 mV for all.
    relative_weight_sd
        SD of the recurrent weights relative to their mean, 0 to 1. Draws of the wrong sign are 0.
    rng
        Draws what PyNN draws: synapses, weights, delays and initial voltages. None for a generator
        seeded by the operating system.

    Returns the eight populations by label; their spikes are recorded.

    Raises ValueError for a parameter that is not allowed.
    """
    scale = _number("scale", scale, SMALLEST_SCALE)
    k_scale = scale if k_scale is None else _number("k_scale", k_scale, SMALLEST_SCALE)
    relative_weight_sd = _number("relative_weight_sd", relative_weight_sd, 0.0)
    _choice("connectivity", connectivity, CONNECTIVITIES)
    _choice("drive", drive, DRIVES)
    _choice("initial_voltages", initial_voltages, tuple(INITIAL_VOLTAGES))
    if rng is None:
        # one for all: connectors without a generator would all start from the same default seed
        rng = NumpyRNG()
    elif not isinstance(rng, AbstractRNG):
        raise ValueError(
            f"rng={rng!r} is not allowed, allowed are random generators of pyNN.random"
        )

    sizes = population_sizes(scale)
    currents = direct_current(k_scale, connectivity, drive)
    v_means, v_sds = INITIAL_VOLTAGES[initial_voltages]
    populations = {}
    for i, label in enumerate(POPULATIONS):
        cells = sim.IF_curr_exp(**NEURON, i_offset=float(currents[i]))
        population = sim.Population(int(sizes[i]), cells, label=label)
        population.initialize(
            v=RandomDistribution("normal", mu=v_means[i], sigma=v_sds[i], rng=rng)
        )
        population.record("spikes")
        populations[label] = population

    _connect(sim, populations, scale, k_scale, connectivity, relative_weight_sd, rng)
    if drive == "poisson":
        _drive(sim, populations, k_scale)
    return populations


def population_sizes(scale: float) -> NDArray[np.int64]:
    """Numbers of neurons, shape ``(8,)``."""
    return np.round(SIZES * scale).astype(np.int64)


def synapse_numbers(scale: float = 1.0, k_scale: float = 1.0) -> NDArray[np.int64]:
    """Total numbers of synapses per projection, shape ``(8, 8)``.

    At full scale the real-valued numbers are truncated, as by Dasbach et al. (2021), equation 1,
    which makes 298,880,941 in total; down-scaled ones are rounded, as in the reference
    implementation.
    """
    if scale == 1 and k_scale == 1:
        return _real_synapse_numbers().astype(np.int64)
    return np.round(_real_synapse_numbers() * scale * k_scale).astype(np.int64)


def indegrees(k_scale: float = 1.0) -> NDArray[np.int64]:
    """Inputs per neuron of ``"fixed_indegree"``, shape ``(8, 8)``.

    Full-scale synapses per target neuron, times ``k_scale``, rounded up (Dasbach et al. 2021,
    equation 2). They do not depend on the numbers of neurons.
    """
    return np.ceil(k_scale * _real_synapse_numbers() / SIZES[:, np.newaxis]).astype(np.int64)


def psc_per_psp() -> float:
    """Weight (nA) per peak of the postsynaptic potential (mV) for the model's neurons.

    The potential that an exponential current of amplitude J evokes peaks at
    tau_m tau_s / (tau_m - tau_s) ln(tau_m / tau_s) and is proportional to J (model description of
    the reference implementation, appendix).
    """
    tau_m, tau_s = NEURON["tau_m"], TAU_SYN
    resistance = tau_m / NEURON["cm"]
    ratio = tau_m / tau_s
    power = 1 / (tau_m - tau_s)
    peak = resistance * tau_s * power * (ratio ** (-tau_s * power) - ratio ** (-tau_m * power))
    return 1 / peak


def weights(k_scale: float = 1.0) -> Array:
    """Mean recurrent weights (nA), shape ``(8, 8)``; L4E->L23E is twice as strong as the rest."""
    matrix = np.where(EXCITATORY, 1.0, INHIBITION) * np.ones((8, 1))
    matrix[POPULATIONS.index("L23E"), POPULATIONS.index("L4E")] = 2.0
    return matrix * background_weight(k_scale)


def background_weight(k_scale: float = 1.0) -> float:
    """Weight of the Poisson input (nA), which is that of a recurrent excitatory synapse."""
    return PSP * psc_per_psp() / np.sqrt(k_scale)


def direct_current(k_scale: float, connectivity: str, drive: str) -> Array:
    """Constant current into each neuron (nA), shape ``(8,)``.

    It is the mean input of the full-scale network with the same connectivity, at the rates
    ``FULL_SCALE_RATES``, minus the mean input that synapses still deliver after down-scaling. With
    in-degrees proportional to ``k_scale`` this is ``(1 - sqrt(k_scale))`` times the mean input.
    In-degrees of ``"fixed_indegree"`` are taken as rounded, so that the mean is restored exactly.
    """
    if connectivity == "fixed_indegree":
        full, scaled = indegrees(), indegrees(k_scale)
    else:
        full = _real_synapse_numbers() / SIZES[:, np.newaxis]
        scaled = k_scale * full
    lost = (weights() * full - weights(k_scale) * scaled) @ FULL_SCALE_RATES
    background = background_weight() * BACKGROUND_INDEGREES * BACKGROUND_RATE
    lost += background * ((1 - np.sqrt(k_scale)) if drive == "poisson" else 1.0)
    return 1e-3 * TAU_SYN * lost  # ms * 1/s


def _real_synapse_numbers() -> Array:
    """Numbers of synapses that connect pairs with CONNECTION_PROBABILITIES, not yet integers.

    Dasbach et al. (2021), equation 1. The logarithm of 1 - 1e-9 loses digits in double precision;
    published totals contain this error, so it is part of the model.
    """
    pairs = np.outer(SIZES, SIZES)
    return np.log(1 - CONNECTION_PROBABILITIES) / np.log((pairs - 1) / pairs)


def _connect(
    sim: Any,
    populations: dict[str, Any],
    scale: float,
    k_scale: float,
    connectivity: str,
    relative_weight_sd: float,
    rng: AbstractRNG,
) -> None:
    if connectivity == "fixed_total_number":
        connector, numbers = sim.FixedTotalNumberConnector, synapse_numbers(scale, k_scale)
    else:
        connector, numbers = sim.FixedNumberPreConnector, indegrees(k_scale)
    means = weights(k_scale)
    for i, target in enumerate(POPULATIONS):
        for j, source in enumerate(POPULATIONS):
            if numbers[i, j] == 0:
                continue
            sim.Projection(
                populations[source],
                populations[target],
                connector(int(numbers[i, j]), with_replacement=True, rng=rng),
                sim.StaticSynapse(
                    weight=_weight(float(means[i, j]), relative_weight_sd, rng),
                    delay=_delay(DELAYS[source[-1]], sim.get_time_step(), rng),
                ),
                receptor_type="excitatory" if EXCITATORY[j] else "inhibitory",
                label=f"{source}->{target}",
            )


def _weight(mean: float, relative_sd: float, rng: AbstractRNG) -> float | RandomDistribution:
    if relative_sd == 0:
        return mean
    low, high = (0.0, np.inf) if mean > 0 else (-np.inf, 0.0)
    return RandomDistribution(
        "normal_clipped_to_boundary",
        mu=mean,
        sigma=relative_sd * abs(mean),
        low=low,
        high=high,
        rng=rng,
    )


def _delay(mean: float, timestep: float, rng: AbstractRNG) -> RandomDistribution:
    """Delays (ms), redrawn where rounding to the grid would leave less than one step."""
    return RandomDistribution(
        "normal_clipped",
        mu=mean,
        sigma=RELATIVE_DELAY_SD * mean,
        low=timestep / 2,
        high=np.inf,
        rng=rng,
    )


def _drive(sim: Any, populations: dict[str, Any], k_scale: float) -> None:
    """Independent Poisson input to every neuron."""
    synapse = sim.StaticSynapse(weight=float(background_weight(k_scale)), delay=BACKGROUND_DELAY)
    for label, indegree in zip(POPULATIONS, BACKGROUND_INDEGREES, strict=True):
        rate = float(k_scale * indegree * BACKGROUND_RATE)
        sources = sim.Population(
            populations[label].size,
            sim.SpikeSourcePoisson(rate=rate),
            label=f"background {label}",
        )
        sim.Projection(
            sources,
            populations[label],
            sim.OneToOneConnector(),
            synapse,
            receptor_type="excitatory",
            label=f"background->{label}",
        )


def _number(name: str, value: Any, low: float) -> float:
    # bool is a number in Python, but not one that a user means
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1:
        raise ValueError(f"{name}={value!r} is not allowed, allowed are numbers from {low:g} to 1")
    return float(value)


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        options = " and ".join(repr(option) for option in allowed)
        raise ValueError(f"{name}={value!r} is not allowed, allowed are {options}")
