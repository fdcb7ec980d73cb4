"""Correlations from theory: integrals of pair-averaged cross-covariances in random networks.

Linear response around the stationary state (Tetzlaff et al. 2012, PLoS Comput Biol 8:e1002596; van Albada et al. 2015,
PLoS Comput Biol 11:e1004490): with the effective connectivity W between populations, the covariance of their mean
activities at frequency zero is ``(1 - W)^-1 D (1 - W)^-T``, D being what neurons would do on their own. Of a single one
that is rate times CV² (a renewal process), of the mean over a population so much over its size. So effective
connectivity and numbers of neurons decide on correlations, and numbers of inputs only through them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.model.cells import Receptor
from pynn_portability.predict.mean_field import (
    Array,
    Neurons,
    covered_parameters,
    interval_variation,
    mean_rates,
    stationary_rate,
)
from pynn_portability.realize.distributions import mean_and_sd
from pynn_portability.realize.realization import Realization

STEP = 1e-3
"""Relative step of the differences that stand for derivatives."""


class Correlations(NamedTuple):
    """What linear response says of a network's populations of neurons, in the order of ``labels``.

    ``rates`` (1/s); ``connectivity``: W, shape ``(n, n)``, by target and source: by how much (1/s) the rate of a target
    neuron changes if that of all its sources does by 1/s; ``covariance`` (1/s), shape ``(n, n)``: the integral over all
    lags of the pair-averaged cross-covariance of spike trains (1/s²).
    """

    labels: tuple[str, ...]
    rates: Array
    connectivity: Array
    covariance: Array


def correlations(
    realization: Realization, seconds: float, rates: Mapping[str, float] | None = None
) -> Correlations:
    """Linear response of a network at its mean-field rates, or at those that are given (1/s).

    All neurons of a population are taken as the typical one. Raises RequestError for neurons that the mean field does
    not cover, and for a network that linear theory calls unstable.
    """
    network = realization.network
    populations = [p for p in network.populations if not p.is_source]
    labels = tuple(p.label for p in populations)
    parameters = {label: covered_parameters(realization, label) for label in labels}

    def time_constant(label: str, receptor: Receptor) -> float:
        name = network.population(label).cell.synaptic_time_constants[receptor]
        return float(parameters[label][name].mean())

    known = dict(rates) if rates is not None else mean_rates(realization, seconds)
    for p in network.populations:
        if p.cell.source == "poisson":
            known[p.label] = mean_and_sd(p.parameters["rate"])[0]
    n = len(labels)
    gain, noisier = np.zeros((n, n)), np.zeros((n, n))
    mean, noise, weighted = np.zeros(n), np.zeros(n), np.zeros(n)

    def add(
        target: int, tau: float, weight: tuple[float, float], inputs: float, rate: float
    ) -> None:
        charge, square = tau * weight[0], tau**2 * (weight[0] ** 2 + weight[1] ** 2)
        mean[target] += 1e-3 * inputs * charge * rate
        noise[target] += 1e-3 * inputs * square * rate
        weighted[target] += 1e-3 * inputs * square * rate * tau

    for projection in network.projections:
        if projection.target not in labels:
            continue
        target = labels.index(projection.target)
        tau = time_constant(projection.target, projection.receptor)
        inputs = projection.connector.indegrees(network.ends(projection)).mean
        weight = mean_and_sd(projection.weight)
        if projection.source not in known:
            raise RequestError(f"the rate of {projection.source!r} is not known")
        add(target, tau, weight, inputs, known[projection.source])
        if projection.source in labels:
            source = labels.index(projection.source)
            gain[target, source] += 1e-3 * inputs * tau * weight[0]
            noisier[target, source] += 1e-3 * inputs * tau**2 * (weight[0] ** 2 + weight[1] ** 2)
    for drive in network.drives:
        tau = time_constant(drive.target, drive.receptor)
        add(
            labels.index(drive.target),
            tau,
            mean_and_sd(drive.weight),
            1.0,
            mean_and_sd(drive.rate)[0],
        )
    neurons = [
        Neurons(*(float(parameters[label][name].mean()) for name in Neurons._fields))
        for label in labels
    ]
    taus = np.where(noise > 0, weighted / np.where(noise > 0, noise, 1.0), 1.0)
    connectivity, alone = np.zeros((n, n)), np.zeros(n)
    for i, cell in enumerate(neurons):

        def rate(m: float, s: float, i: int = i, cell: Neurons = cell) -> float:
            return float(stationary_rate(np.array(m), np.array(s), float(taus[i]), cell))

        step = STEP * max(abs(mean[i]), np.sqrt(noise[i]), 1e-6)
        by_mean = (rate(mean[i] + step, noise[i]) - rate(mean[i] - step, noise[i])) / (2 * step)
        louder, quieter = (noise[i] * (1 + sign * STEP) for sign in (1, -1))
        by_noise = (
            (rate(mean[i], louder) - rate(mean[i], quieter)) / (louder - quieter)
            if noise[i] > 0
            else 0.0
        )
        connectivity[i] = by_mean * gain[i] + by_noise * noisier[i]
        variation = interval_variation(float(mean[i]), float(noise[i]), float(taus[i]), cell)
        alone[i] = known[labels[i]] * variation**2
    if np.linalg.eigvals(connectivity).real.max(initial=0.0) >= 1:
        raise RequestError("linear response calls this network unstable")
    sizes = np.array([p.size for p in populations], dtype=np.float64)
    response = np.linalg.inv(np.eye(n) - connectivity)
    of_means = response @ np.diag(alone / sizes) @ response.T
    # the mean over all pairs has those of a neuron with itself among them
    own = np.diag(alone / sizes)
    pairs = np.outer(sizes, sizes) - np.diag(sizes)
    covariance = (of_means - own) * np.outer(sizes, sizes) / np.maximum(pairs, 1.0)
    found = np.array([known[label] for label in labels])
    return Correlations(labels, found, connectivity, covariance)
