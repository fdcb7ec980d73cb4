"""How a leaky integrate-and-fire neuron answers to input that changes, and the spectrum of its spike train.

The Fokker-Planck equation of its potential, linearised around the stationary state and integrated from the threshold
downwards: threshold integration (Richardson 2007, Phys. Rev. E 76:021919; for spectra 2008, Biol. Cybern. 99:381).
Noise is white; as in the stationary case, threshold and reset are shifted for the time constant of the synapses
(Schuecker, Diesmann and Helias 2015, Phys. Rev. E 92:052119).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynn_portability.predict.mean_field import (
    LARGEST_NORMAL,
    THRESHOLD_SHIFT,
    Array,
    Neurons,
    boundaries,
    noise_amplitude,
)

ComplexArray = NDArray[np.complex128]

STEPS = 2000
"""Of the potential, from the threshold to the lower bound."""
BELOW = 5.0
"""How far the lower bound is below reset and mean, in units of sqrt(2) SD of the free potential."""
SLOWEST = 1e-4
"""Angular frequency, per time constant of the membrane, that stands for zero, where equations are singular."""


class Response(NamedTuple):
    """What a neuron does around its stationary state, by frequency; shape ``(n,)`` each.

    ``by_mean``: change of its rate (1/s) per nA of mean current, complex; ``by_noise``: per nA² ms of the current's
    intensity; ``spectrum`` (1/s): that of its spike train if the input does not change, rate times CV² at zero.
    """

    by_mean: ComplexArray
    by_noise: ComplexArray
    spectrum: Array


def response(
    mean: float, noise: float, tau_syn: float, neurons: Neurons, frequencies: Array
) -> Response:
    """The response at ``frequencies`` (1/s), shape ``(n,)``, of a neuron with this current.

    ``mean`` (nA), ``noise`` (nA² ms) and ``tau_syn`` (ms) are those of `mean_field.stationary_rate`. Currents are those
    at the membrane: what synapses and delays do to them is not in here. Zeros for a neuron without noise, or one so far
    below threshold that it is silent.
    """
    low, high = (
        float(y) for y in boundaries(np.float64(mean), np.float64(noise), tau_syn, neurons)
    )
    count = np.shape(frequencies)
    if high > LARGEST_NORMAL or noise <= 0:
        return Response(np.zeros(count, complex), np.zeros(count, complex), np.zeros(count))
    tau = float(neurons.tau_m)
    omega = np.maximum(2e-3 * np.pi * tau * np.asarray(frequencies, np.float64), SLOWEST)
    refractory = float(neurons.tau_refrac) / tau
    late = np.exp(-1j * omega * refractory)
    end = min(low, 0.0) - BELOW
    above = math.ceil(STEPS * (high - low) / (high - end))
    step = (high - low) / above
    still, still_flux, total = 0.0, 1.0, 0.0
    # Solutions by row: with spikes that return, with spikes that do not, driven by the mean, driven by the noise,
    # and started at reset. Nothing may leave through the lower bound, which tells how they are combined.
    density = np.zeros((5, *count), complex)
    flux = np.zeros((5, *count), complex)
    flux[:2] = 1.0
    source = np.zeros((5, 1))
    for k in range(math.ceil((high - end) / step)):
        x = high - (k + 0.5) * step
        grow = math.exp(2 * x * step)
        push = math.expm1(2 * x * step) / x if x else 2 * step
        if k == above:
            still_flux -= 1.0
            flux[0] -= late
            flux[4] -= 1.0
        before, still = still, still * grow + push * still_flux
        middle = (before + still) / 2
        total += middle * step
        source[2, 0], source[3, 0] = -middle, -(still_flux + x * middle)
        # half of what the density takes from the flux comes before its step, half after it
        flux += 0.5j * step * omega * density
        density = density * grow + push * (flux + source)
        flux += 0.5j * step * omega * density
    rate = 1.0 / (total + refractory)
    resistance = tau / float(neurons.cm)
    sigma = float(noise_amplitude(np.float64(noise), neurons))
    per_second = 1e3 / tau
    by_mean = -flux[2] / flux[0] * rate * per_second * resistance / sigma
    # threshold and reset are shifted in proportion to sigma, which is as if the mean fell when the noise grows
    shift = THRESHOLD_SHIFT * math.sqrt(tau_syn / tau) * sigma / resistance
    interval = -flux[4] / flux[1] * late  # Fourier transform of the interval between spikes
    return Response(
        by_mean,
        -flux[3] / flux[0] * rate * per_second / noise - by_mean * shift / (2 * noise),
        per_second * rate * (1 - np.abs(interval) ** 2) / np.abs(1 - interval) ** 2,
    )
