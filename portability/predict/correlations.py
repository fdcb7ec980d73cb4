"""Correlations from theory: pair-averaged cross-covariances in random networks.

Linear response around the stationary state (Tetzlaff et al. 2012, PLoS Comput Biol 8:e1002596; van Albada et al. 2015,
PLoS Comput Biol 11:e1004490): with the effective connectivity W between populations, the covariance of their mean
activities is ``(1 - W)^-1 D (1 - W)^-H`` at every frequency, D being the spectrum of what neurons would do on their
own, for the mean over a population divided by its size. W is what a neuron answers to its input, filtered by synapses
and delays. So effective connectivity and numbers of neurons decide on correlations, and numbers of inputs only
through them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy  # loads its parts at first use

from pynn_portability.errors import RequestError
from pynn_portability.judge.activity import ACTIVITY_BIN, LARGEST_LAG
from pynn_portability.model.cells import Receptor
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Value
from pynn_portability.predict.mean_field import (
    Array,
    Neurons,
    covered_parameters,
    mean_rates,
    stationary_rate,
)
from pynn_portability.predict.response import ComplexArray, Response, response
from pynn_portability.realize.distributions import mean_and_sd, quantile
from pynn_portability.realize.realization import Realization, to_steps

HIGHEST = 2000.0
"""Frequency (1/s) up to which covariances are computed: bins of 1 ms leave little of what is above."""
FREQUENCIES = np.arange(0.0, HIGHEST + 1, 1.0)
RESPONSES = HIGHEST * np.sinh(np.linspace(0.0, 6.0, 160)) / math.sinh(6.0)
"""Frequencies at which the responses of neurons are computed; they are smooth between them."""
DELAYS = 256
"""Equally probable delays that stand for a distribution."""


class Correlations(NamedTuple):
    """What linear response says of a network's populations of neurons, in the order of ``labels``.

    ``rates`` (1/s); ``connectivity``: W at frequency zero, shape ``(n, n)``, by target and source: by how much (1/s)
    the rate of a target neuron changes if that of all its sources does by 1/s; ``covariance`` (1/s), shape ``(n, n)``:
    the integral over all lags of the pair-averaged cross-covariance of spike trains (1/s²); ``curves`` (1/s²), shape
    ``(n, 51)``: that within populations, in bins of 1 ms at lags from 0 to 50 ms, as `judge.activity.covariance`. None
    where the theory calls the network unstable, near the frequency ``unstable`` (1/s).
    """

    labels: tuple[str, ...]
    rates: Array
    connectivity: Array
    covariance: Array
    curves: Array | None
    unstable: float | None


class _Coupling(NamedTuple):
    """Input from a population of neurons: contributions to mean and noise of the current per 1/s of its rate."""

    target: int
    source: int
    mean: float
    noise: float
    tau: float
    delay: Array


class _Inputs(NamedTuple):
    """Mean (nA) and noise (nA² ms) of the current of each population, and its synaptic time constant (ms)."""

    mean: Array
    noise: Array
    tau: Array
    couplings: list[_Coupling]


def correlations(
    realization: Realization, seconds: float, rates: Mapping[str, float] | None = None
) -> Correlations:
    """Linear response of a network at its mean-field rates, or at those that are given (1/s).

    All neurons of a population are taken as the typical one. Raises RequestError for neurons that the mean field does
    not cover, and for a network whose activity slowly runs away by linear theory. One that is unstable at higher
    frequencies has integrals, but no curves: responses are those to white noise, which frequencies above 1 / (2 pi
    sqrt(tau_m tau_syn)), 70/s for 10 and 0.5 ms, show to be too slow (Schuecker et al. 2015).
    """
    network = realization.network
    populations = [p for p in network.populations if not p.is_source]
    labels = tuple(p.label for p in populations)
    parameters = {label: covered_parameters(realization, label) for label in labels}
    known = dict(rates) if rates is not None else mean_rates(realization, seconds)
    for p in network.populations:
        if p.cell.source == "poisson":
            known[p.label] = mean_and_sd(p.parameters["rate"])[0]
    inputs = _inputs(realization, labels, parameters, known)
    found = np.array([known[label] for label in labels])
    neurons = [
        Neurons(*(float(parameters[label][name].mean()) for name in Neurons._fields))
        for label in labels
    ]
    points = list(zip(inputs.mean, inputs.noise, inputs.tau, neurons, strict=True))
    answers = [
        _at_all_frequencies(response(mean, noise, tau, cell, RESPONSES))
        for mean, noise, tau, cell in points
    ]
    connectivity = _connectivity(inputs.couplings, answers)
    if np.linalg.eigvals(connectivity[0]).real.max(initial=0.0) >= 1:
        raise RequestError("linear response calls this network unstable")
    own_rates = [float(stationary_rate(*point)) for point in points]
    # of a rate that theory does not find the irregularity is kept; what theory calls silent is a Poisson process
    alone = np.array(
        [
            known_rate * (a.spectrum / own if a.spectrum.any() else 1.0)
            for known_rate, own, a in zip(found, own_rates, answers, strict=True)
        ]
    )
    sizes = np.array([p.size for p in populations], dtype=np.float64)
    spectra = _pair_spectra(connectivity, alone, sizes)
    unstable = _unstable(connectivity)
    curves = _in_bins(np.einsum("fii->if", spectra).real) if unstable is None else None
    return Correlations(
        labels, found, connectivity[0].real, spectra[0].real, curves, unstable=unstable
    )


def _inputs(
    realization: Realization,
    labels: tuple[str, ...],
    parameters: Mapping[str, Mapping[str, Array]],
    known: Mapping[str, float],
) -> _Inputs:
    """The input of a typical neuron of each population at these rates (1/s)."""
    network = realization.network
    n = len(labels)
    mean, noise, weighted = np.zeros(n), np.zeros(n), np.zeros(n)
    couplings = []

    def add(
        target: str, receptor: Receptor, weight: Value, inputs: float, rate: float
    ) -> tuple[int, float, float, float]:
        index = labels.index(target)
        name = network.population(target).cell.synaptic_time_constants[receptor]
        tau = float(parameters[target][name].mean())
        average, sd = mean_and_sd(weight)
        by_mean = 1e-3 * inputs * tau * average
        by_noise = 1e-3 * inputs * tau**2 * (average**2 + sd**2)
        mean[index] += by_mean * rate
        noise[index] += by_noise * rate
        weighted[index] += by_noise * rate * tau
        return index, by_mean, by_noise, tau

    for p in network.projections:
        if p.target not in labels:
            continue
        if p.source not in known:
            raise RequestError(f"the rate of {p.source!r} is not known")
        indegree = p.connector.indegrees(network.ends(p)).mean
        target, by_mean, by_noise, tau = add(
            p.target, p.receptor, p.weight, indegree, known[p.source]
        )
        if p.source in labels:
            delays = _delays(p.delay, realization.timestep)
            source = labels.index(p.source)
            couplings.append(_Coupling(target, source, by_mean, by_noise, tau, delays))
    for d in network.drives:
        add(d.target, d.receptor, d.weight, 1.0, mean_and_sd(d.rate)[0])
    taus = np.where(noise > 0, weighted / np.where(noise > 0, noise, 1.0), 1.0)
    return _Inputs(mean, noise, taus, couplings)


def _delays(delay: Value, timestep: float) -> Array:
    """Delays (ms) that stand for those of a projection, equally probable, on the grid."""
    shares = (np.arange(DELAYS) + 0.5) / DELAYS
    if isinstance(delay, Distribution):
        drawn = quantile(delay, shares)
    else:
        drawn = np.ravel(np.asarray(delay, np.float64))
        if drawn.size > DELAYS:
            drawn = np.asarray(np.quantile(drawn, shares))
    return np.asarray(to_steps(drawn, timestep) * timestep, np.float64)


def _at_all_frequencies(answer: Response) -> Response:
    return Response(*(scipy.interpolate.CubicSpline(RESPONSES, x)(FREQUENCIES) for x in answer))


def _connectivity(couplings: list[_Coupling], answers: list[Response]) -> ComplexArray:
    """W by frequency, target and source."""
    n = len(answers)
    omega = 2e-3 * np.pi * FREQUENCIES  # per ms
    result = np.zeros((omega.size, n, n), complex)
    for c in couplings:
        steps, counts = np.unique(c.delay, return_counts=True)
        late = np.exp(-1j * np.outer(omega, steps)) @ (counts / counts.sum())
        by_mean, by_noise, _ = answers[c.target]
        # the variance of an exponential current decays twice as fast as its mean
        through_mean = by_mean * c.mean / (1 + 1j * omega * c.tau)
        through_noise = by_noise * c.noise / (1 + 0.5j * omega * c.tau)
        result[:, c.target, c.source] += late * (through_mean + through_noise)
    return result


def _unstable(connectivity: ComplexArray) -> float | None:
    """Near which frequency (1/s) activity grows, None if it does not.

    Nyquist's criterion: how often det(1 - W) goes round zero. The frequency is that of the eigenvalue next to 1.
    """
    one = np.eye(connectivity.shape[1])
    phase = np.unwrap(np.angle(np.linalg.det(one - connectivity)))
    if abs(phase[-1] - phase[0]) < np.pi / 2:
        return None
    distance = np.abs(1 - np.linalg.eigvals(connectivity)).min(axis=1)
    return float(FREQUENCIES[distance.argmin()])


def _pair_spectra(connectivity: ComplexArray, alone: Array, sizes: Array) -> ComplexArray:
    """Pair-averaged cross-spectra (1/s) by frequency and two populations."""
    n = len(sizes)
    of_own = np.einsum("if,ij->fij", alone / sizes[:, np.newaxis], np.eye(n))
    spread = np.linalg.inv(np.eye(n) - connectivity)
    of_means = spread @ of_own @ np.conj(np.swapaxes(spread, 1, 2))
    # the mean over all pairs has those of a neuron with itself among them
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    return np.asarray((of_means - of_own) * np.outer(sizes, sizes) / np.maximum(pairs, 1.0))


def _in_bins(spectra: Array) -> Array:
    """Covariances (1/s²) of counts in bins, at lags of whole bins; ``spectra`` (1/s) has shape ``(n, frequencies)``."""
    width = 1e-3 * ACTIVITY_BIN
    lags = width * np.arange(LARGEST_LAG + 1)
    seen = spectra * np.sinc(FREQUENCIES * width) ** 2
    waves = np.cos(2 * np.pi * np.outer(FREQUENCIES, lags))
    return np.asarray(2 * scipy.integrate.trapezoid(seen[:, :, None] * waves, FREQUENCIES, axis=1))
