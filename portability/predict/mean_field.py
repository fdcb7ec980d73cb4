"""Mean-field theory: what a number format does to the input of neurons, and so to their firing rates.

Two parts, both without simulating. *Input statistics* compare, projection by projection, the moments
of the synaptic input before and after weights are discretised (Dasbach, Tetzlaff, Diesmann and Senk
2021, Front. Neurosci. 15:757790, section 3.4; equation numbers below are theirs). *Rates* solves for
the distribution of firing rates over the neurons of every population, with the weights as drawn and
with the weights as a format holds them. `pynn_portability.predict.prediction` makes verdicts of both.

The theory covers leaky integrate-and-fire neurons with exponential currents (``IF_curr_exp``) in the
diffusion approximation, corrected for the skewness that inputs of finite size leave: many weak,
independent inputs. Neurons of a population differ in the number of their inputs, in their weights and
in the rates of their sources; over neurons, mean, variance and third cumulant of the input are taken
as jointly normal (after Roxin et al. 2011, J. Neurosci. 31:16217, who neglect all but the mean).

It says nothing about correlations, irregularity, delays, time steps and the arithmetic of the
neurons' state. ``docs/theory.md`` has the method, its measured accuracy and its limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import scipy  # loads its parts at first use
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format as named_format
from pynn_portability.formats.number_format import HeldRealization, NumberFormat
from pynn_portability.model.connectivity import Indegrees
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.parts import Part
from pynn_portability.realize.distributions import quantile
from pynn_portability.realize.realization import Realization

Array = NDArray[np.float64]

EQUAL = 1e-12  # relative deviations below this are rounding errors
NOTHING = 1e-9  # and relative variances below this, after subtractions
LARGEST_NORMAL = 8.0  # beyond it lies 1e-15 of a normal distribution

# sqrt(2) |zeta(1/2)| / 2
THRESHOLD_SHIFT = 1.4603545088095868 / math.sqrt(2)
LEGENDRE_NODES = 24
NODES = 2048  # of the distribution over neurons, per population
COARSE_NODES = 128

RELAXATION, RELAXATION_STEPS = 0.05, 400
TOLERANCE, NEWTON_STEPS = 1e-6, 50  # relative, of rates and their variances
PRODUCT_STEPS = 8


class Rates(NamedTuple):
    """Mean (1/s) and variance (1/s^2) of the rates of a population's neurons."""

    mean: float
    variance: float


def measured_rates(mean: float, sd: float, variation: float | None, duration: float) -> Rates:
    """Rates without the noise of counting spikes for ``duration`` ms, from measured moments.

    Counting adds mean * CV^2 / duration to the variance over neurons, as renewal processes do;
    ``variation`` is the CV of the interspike intervals, None if unknown (then that of a Poisson
    process).
    """
    noise = mean * (1.0 if variation is None else variation) ** 2 / (duration * 1e-3)
    return Rates(mean, max(sd**2 - noise, 0.0))


class InputMoments(NamedTuple):
    """Ensemble statistics of the input from one projection, over the neurons of its target.

    Mean and variance over neurons of each neuron's mean input ``mu`` (nA) and of its input variance
    ``sigma2`` (nA^2): equations 21, 22, 23, 24. Microsiemens instead of nA for conductances.
    """

    mu: float
    sigma2: float
    dmu2: float
    dsigma2: float


# --- Input statistics ---


def weight_pairs(held: HeldRealization, projection: str) -> tuple[Array, Array, Array]:
    """Weights as drawn, as the format holds them, and their probabilities; shape ``(n,)`` each.

    A moment ``<w^a w'^b>`` is the sum over ``w**a * w_held**b * p``. For weights drawn from a
    distribution these are nodes of a Gauss-Legendre quadrature between the edges of the format's
    bins, which is exact to rounding for formats of up to 256 values, and 4096 nodes of equal
    spacing, in SD of a normal variable, for finer ones.
    """
    weight = held.network.projection(projection).weight
    hold = held.weights(projection)
    if not isinstance(weight, Distribution):
        weights = np.array(weight, dtype=np.float64).ravel()
        return weights, hold(weights), np.full(weights.size, 1 / max(weights.size, 1))
    book = hold.code_book()
    edges = np.linspace(-LARGEST_NORMAL, LARGEST_NORMAL, 17 if book else 513)
    if book:
        reached = held.realization.weight_levels(projection, book.encode).thresholds[:-1]
        edges = np.append(edges, scipy.special.ndtri((reached + 0.5) * 2.0**-53))
    if weight.name == "normal_clipped_to_boundary" and weight.parameters["sigma"] > 0:
        p = weight.parameters
        edges = np.append(edges, (np.array([p["low"], p["high"]]) - p["mu"]) / p["sigma"])
    edges = np.unique(np.clip(edges, -LARGEST_NORMAL, LARGEST_NORMAL))
    x, share = _legendre(16 if book else 8)
    half = np.diff(edges)[:, np.newaxis] / 2
    z = (edges[:-1, np.newaxis] + half * (1 + x)).ravel()
    probability = (half * share).ravel() * np.exp(-(z**2) / 2)
    weights = quantile(weight, scipy.special.ndtr(z))
    return weights, hold(weights), probability / probability.sum()


@cache
def _legendre(n: int) -> tuple[Array, Array]:
    """Nodes and weights of the Gauss-Legendre quadrature with ``n`` nodes from -1 to 1."""
    return np.polynomial.legendre.leggauss(n)


def input_moments(
    indegree: Indegrees, weight: Sequence[float], rate: Rates, tau_syn: float
) -> InputMoments:
    """Equations 21 to 24: ensemble statistics of the input from one projection.

    ``weight`` holds the raw moments <w>, <w^2>, <w^3>, <w^4> (nA and its powers), ``tau_syn`` is in
    ms. The prefactor of sigma^2 is tau_syn / 2, that of the variance of an exponential current's
    shot noise. Sources that are drawn without replacement add a term that the equations do not
    have: neurons with many inputs then share them, and differ less.
    """
    tau = 1e-3 * tau_syn  # ms * 1/s
    first, second, third, fourth = weight
    scale = np.array([tau, tau / 2])
    g = scale * (first, second)
    gh = np.outer(scale, scale) * ((second, third), (third, fourth))
    both = np.ones((2, 2))
    mean, covariance = _pooled(
        indegree, g, gh, rate.mean * np.ones(2), (rate.variance + rate.mean**2) * both
    )
    return InputMoments(mean[0], mean[1], covariance[0, 0], covariance[1, 1])


def _pooled(
    indegree: Indegrees, g: Array, gh: Array, rate: Array, rate_products: Array
) -> tuple[Array, Array]:
    """Mean and covariance over neurons of sums over inputs of ``g[a] * rate[a]``.

    ``g``, ``gh``: means of the synapses' contributions and of their products, shape ``(n,)`` and
    ``(n, n)``; ``rate``, ``rate_products``: means of the sources' rates and of their products. The
    variances of sums of a random number of terms are those of Blackwell and Girshick (1946), which
    hold for covariances alike.
    """
    mean = g * rate
    product = np.outer(mean, mean)
    covariance = indegree.mean * (gh * rate_products - product) + indegree.variance * product
    if indegree.distinct and indegree.sources > 1:
        # of two different cells of a finite population, one above the mean leaves the other below
        spread = rate_products - np.outer(rate, rate)
        covariance -= indegree.pairs / (indegree.sources - 1) * np.outer(g, g) * spread
    return indegree.mean * mean, covariance


def epsilon(reference: InputMoments, held: InputMoments) -> InputMoments:
    """Discretisation errors, equation 25: |x_reference - x_held| / x_held of each measure.

    The discretised measure is the denominator, as the paper's limit j (2 + j) for k to infinity
    requires. Infinite where only the reference has the measure.
    """
    return InputMoments(*(_relative(x, y) for x, y in zip(reference, held, strict=True)))


def _relative(reference: float, held: float) -> float:
    difference = abs(reference - held)
    if difference <= EQUAL * abs(reference):
        return 0.0
    return difference / abs(held) if held else math.inf


def epsilon_from_symbols(bins: int, j: float, n: float, k: float) -> InputMoments:
    """Table 5: discretisation errors of normal weights in 1 bin, or in 2 that preserve moments.

    ``j = <dw^2> / <w>^2``, ``n = <dnu^2> / <nu>^2`` of the sources' rates, ``k = <dK^2> / <K>`` (0
    for a fixed in-degree, 1 - 1/N for a fixed total number of synapses). Raises ValueError for other
    numbers of bins.
    """
    if bins == 1:
        spread = n + k
        return InputMoments(
            0.0,
            j,
            _ratio(j * (1 + n), spread),
            _ratio(j * (2 + j) * (2 + 3 * n + k), spread),
        )
    if bins == 2:
        spread = 4 * j + n * (1 + 6 * j + j**2) + k * (1 + j) ** 2
        return InputMoments(0.0, 0.0, 0.0, _ratio(2 * j**2 * (1 + n), spread))
    raise ValueError(f"{bins} bins are not in the table, which has 1 and 2")


def _ratio(numerator: float, denominator: float) -> float:
    if denominator:
        return numerator / denominator
    return math.inf if numerator else 0.0


def projection_epsilons(
    held: HeldRealization, rates: Mapping[str, Rates]
) -> dict[str, InputMoments]:
    """Discretisation errors (equation 25) of every projection, by label.

    ``rates`` has those of every source population, measured or predicted; projections from others,
    and those without synapses, are left out.
    """
    network = held.network
    result = {}
    for projection in network.projections:
        indegree = projection.connector.indegrees(network.ends(projection))
        if projection.source not in rates or indegree.mean == 0:
            continue
        drawn, rounded, p = weight_pairs(held, projection.label)
        both = [
            # the synaptic time constant is a factor of either side
            input_moments(
                indegree, [float(p @ w**a) for a in (1, 2, 3, 4)], rates[projection.source], 1.0
            )
            for w in (drawn, rounded)
        ]
        result[projection.label] = epsilon(*both)
    return result


# --- Neurons ---


class Neurons(NamedTuple):
    """Parameters of leaky integrate-and-fire neurons, numbers or arrays: ms, mV, nF, nA."""

    tau_m: Array | float
    cm: Array | float
    tau_refrac: Array | float
    v_rest: Array | float
    v_reset: Array | float
    v_thresh: Array | float
    i_offset: Array | float = 0.0


def stationary_rate(
    mean: Array,
    noise: Array,
    tau_syn: Array | float,
    neurons: Neurons,
    third: Array | float = 0.0,
) -> Array:
    """Rate (1/s) of LIF neurons with noisy exponential currents, elementwise.

    ``mean`` is the synaptic current (nA); ``noise`` its intensity, the sum of (w tau_syn)^2 nu (nA^2
    ms); ``third`` the sum of (w tau_syn)^3 nu (nA^3 ms^2); ``tau_syn`` (ms) the time constant.

    Mean first-passage time of Siegert (1951), with threshold and reset shifted by sigma
    sqrt(tau_syn / tau_m) |zeta(1/2)| / sqrt(2) for coloured noise (Fourcaud and Brunel 2002, Neural
    Comput. 14:2057): first order in sqrt(tau_syn / tau_m). Inputs of finite size leave the potential
    skewed, away from the threshold where inhibition is the stronger. Threshold and reset are then put
    where a normal distribution has the same tail, by the first term of Cornish and Fisher (1938).
    """
    reset, threshold = (
        y - _tail_shift(y, noise, third, neurons) for y in boundaries(mean, noise, tau_syn, neurons)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        passage = _siegert_integral(reset, threshold)
        rate = 1e3 / (neurons.tau_refrac + neurons.tau_m * math.sqrt(math.pi) * passage)
    return np.where(np.isfinite(passage), rate, 0.0)


def _tail_shift(y: Array, noise: Array, third: Array | float, neurons: Neurons) -> Array | float:
    """By how much a normal distribution reaches less far than the skewed one, in units of sigma.

    The free potential of a shot noise has the cumulants tau_m / n times the sum of J^n nu with jumps
    J = w tau_syn / C. Skewness and ``y`` are limited to where the expansion is monotonic.
    """
    if np.isscalar(third):
        return 0.0
    resistance = neurons.tau_m / neurons.cm
    variance = np.maximum(resistance**2 * noise / neurons.tau_m / 2, 1e-30)
    cumulant = resistance**3 * third / neurons.tau_m**2 / 3
    skewness = np.clip(cumulant / variance**1.5, -1.0, 1.0)
    x = np.clip(math.sqrt(2) * y, -3.0, 3.0)
    return skewness / 6 * (x**2 - 1) / math.sqrt(2)


def noise_amplitude(noise: Array, neurons: Neurons) -> Array:
    """Sigma (mV): sqrt(2) times the SD that the free potential has in white noise of this intensity."""
    distance = neurons.v_thresh - np.asarray(neurons.v_reset)
    # without any noise the formula has a limit, which this is close to
    amplitude = neurons.tau_m / neurons.cm * np.sqrt(noise / neurons.tau_m)
    return np.asarray(np.maximum(amplitude, 1e-3 * distance))


def boundaries(
    mean: Array, noise: Array, tau_syn: Array | float, neurons: Neurons
) -> tuple[Array, Array]:
    """Reset and threshold relative to the mean potential, in units of sigma, shifted."""
    rest = neurons.v_rest + neurons.tau_m / neurons.cm * (mean + neurons.i_offset)
    sigma = noise_amplitude(noise, neurons)
    shift = THRESHOLD_SHIFT * np.sqrt(tau_syn / neurons.tau_m)
    return (neurons.v_reset - rest) / sigma + shift, (neurons.v_thresh - rest) / sigma + shift


def _siegert_integral(low: Array, high: Array) -> Array:
    """Integral of exp(u^2) (1 + erf u) from ``low`` to ``high``, infinite where that overflows.

    The integrand is erfcx(-u), which is 2 exp(u^2) - erfcx(u) for u > 0: what grows is integrated by
    Dawson's function, the rest is smooth.
    """
    x, share = _legendre(LEGENDRE_NODES)
    a, b = np.abs(high), np.abs(low)
    half = (b - a) / 2
    smooth = half * (
        scipy.special.erfcx(a[..., np.newaxis] + half[..., np.newaxis] * (1 + x)) @ share
    )

    def grown(y: Array) -> Array:
        y = np.maximum(y, 0.0)
        return 2 * np.exp(y**2) * scipy.special.dawsn(y)

    return smooth + grown(high) - grown(low)


def interval_variation(mean: float, noise: float, tau_syn: float, neurons: Neurons) -> float:
    """Coefficient of variation of the interspike intervals, with the same shift of the threshold.

    Brunel (2000), J. Comput. Neurosci. 8:183, appendix A; 1 far below threshold.
    """
    low, high = (
        float(y) for y in boundaries(np.float64(mean), np.float64(noise), tau_syn, neurons)
    )
    if high > LARGEST_NORMAL / 2:
        return 1.0
    nodes, share = _legendre(64)
    x = low + (high - low) / 2 * (1 + nodes)
    begin = np.minimum(x, 0.0) - LARGEST_NORMAL
    u = begin[:, np.newaxis] + (x - begin)[:, np.newaxis] / 2 * (1 + nodes)
    inner = np.exp(x[:, np.newaxis] ** 2 - u**2) * scipy.special.erfcx(-u) ** 2
    integral = (high - low) / 2 * (share @ ((x - begin) / 2 * (inner @ share)))
    rate = float(stationary_rate(np.array(mean), np.array(noise), tau_syn, neurons))
    return math.sqrt(2 * math.pi * integral) * rate * 1e-3 * float(neurons.tau_m)


# --- Rates of a network ---


class Activity(NamedTuple):
    """Stationary rates over the neurons of a population.

    ``rates`` (1/s), shape ``(nodes, 2)``: equally probable neurons, each with the weights as drawn
    and with the weights as a format holds them. ``variation``: CV of the interspike intervals of a
    typical neuron with the weights as drawn.
    """

    rates: Array
    variation: float


def mean_rates(realization: Realization, seconds: float) -> dict[str, float]:
    """Mean stationary rate (1/s) of every population of neurons.

    Raises RequestError for a network that the theory does not cover, or without a stationary state.
    """
    found = MeanField(realization, seconds).solve(named_format("double"))
    return {label: float(activity.rates[:, 0].mean()) for label, activity in found.items()}


class _Input(NamedTuple):
    """Mean and covariance of a Poisson drive's input over neurons; order as in `_Coupling`."""

    target: int
    tau_syn: float
    mean: Array
    covariance: Array


class _Coupling(NamedTuple):
    """Contributions of a projection's synapses to the input, per rate of their source (1/s).

    ``g``: means over synapses of w tau_syn (to the current, nA), (w tau_syn)^2 (to its noise, nA^2
    ms) and (w tau_syn)^3 (to its third cumulant, nA^3 ms^2), with the weights as drawn and then as
    held; ``gh``: means of their products. Shapes ``(6,)`` and ``(6, 6)``.
    """

    target: int
    tau_syn: float
    source: str
    indegree: Indegrees
    g: Array
    gh: Array


class _State(NamedTuple):
    """Means over neurons of the rates in F networks, ``(P, F)``, and of products, ``(P, F, F)``."""

    mean: Array
    products: Array


class _Nodes(NamedTuple):
    """Neurons evenly spread over populations: normal variables ``(n, 6)``, parameters ``(P, n)``."""

    z: Array
    neurons: Neurons

    @classmethod
    def spread(cls, tables: Sequence[Mapping[str, Array]], n: int) -> _Nodes:
        """``n`` neurons of each population with the given parameters, a typical one if n is 1."""
        values = (
            [_at_nodes(t[name], n) if n > 1 else t[name].mean(keepdims=True) for t in tables]
            for name in Neurons._fields
        )
        return cls(_normal_nodes(n), Neurons(*map(np.array, values)))


class MeanField:
    """Self-consistent mean field of the LIF populations of a network, with drives and currents.

    Unknowns are mean and variance of the rates over the neurons of every population. Neurons of a
    population differ by in-degree, weights, rates of their sources, drive and parameters; with
    ``nodes=1`` they are all equal to their mean.

    Raises ``RequestError`` for neurons that the theory does not cover.
    """

    def __init__(
        self, realization: Realization, seconds: float, nodes: int = NODES, skewed: bool = True
    ) -> None:
        """Explicit spike times count by their number in ``seconds`` of simulated time.

        Without ``skewed``, single inputs are taken as infinitely small (diffusion approximation).
        """
        network = realization.network
        self.labels = [p.label for p in network.populations if not p.is_source]
        if not self.labels:
            raise RequestError("there are no neurons, but only sources, in the network")
        if network.recordings or any(isinstance(p.connector, Part) for p in network.projections):
            raise RequestError(
                "the theory covers whole populations, not parts of them that are connected or recorded"
            )
        self._realization = realization
        self.source_rates = {
            p.label: _source_rates(realization, p.label, seconds)
            for p in network.populations
            if p.is_source
        }
        self._skewed = skewed
        tables = [covered_parameters(realization, label) for label in self.labels]
        self._tau_syn = [
            {"excitatory": t["tau_syn_E"].mean(), "inhibitory": t["tau_syn_I"].mean()}
            for t in tables
        ]
        self._typical = [Neurons(*(float(t[n].mean()) for n in Neurons._fields)) for t in tables]
        self._fine, self._coarse = (
            _Nodes.spread(tables, n) for n in (nodes, min(nodes, COARSE_NODES))
        )
        self._reference: _State | None = None
        self._jacobian: Array | None = None
        self._variation: list[float] = []

    def solve(self, number_format: NumberFormat) -> dict[str, Activity]:
        """Rates of every population with drawn weights and as ``number_format`` holds them.

        Raises ``RequestError`` when no stationary state is found.
        """
        bound = number_format.on(self._realization)
        couplings, drives = self._couplings(bound), self._drives(bound)
        drawn, held, joint = [0, 1, 2], [3, 4, 5], [0, 1, 2, 3, 4, 5]
        if self._reference is None:
            start = self._relaxed(couplings, drives)
            self._reference, self._jacobian = self._stationary(
                couplings, drives, drawn, start, None
            )
            current, _, noise, tau = self._inputs(couplings, drives, drawn, self._reference)
            self._variation = [
                interval_variation(
                    current[p, 0],
                    noise[p],
                    tau[p],
                    self._typical[p],
                )
                for p in range(len(self.labels))
            ]
        reference = self._reference
        candidate, _ = self._stationary(couplings, drives, held, reference, self._jacobian)
        mean = np.concatenate([reference.mean, candidate.mean], axis=1)
        products = np.zeros((len(self.labels), 2, 2))
        products[:, 0, 0] = reference.products[:, 0, 0]
        products[:, 1, 1] = candidate.products[:, 0, 0]
        # how alike the rates of a neuron are in both networks depends on how alike its sources are
        variance = products[:, [0, 1], [0, 1]] - mean**2
        spread = np.sqrt(np.maximum(variance, 0.0).prod(axis=1))
        correlation = np.ones(len(self.labels))
        for _ in range(PRODUCT_STEPS):
            products[:, 0, 1] = products[:, 1, 0] = mean.prod(axis=1) + correlation * spread
            rates = self._rates(couplings, drives, joint, _State(mean, products), self._fine)
            deviations = rates - rates.mean(axis=2, keepdims=True)
            together = deviations.prod(axis=0).mean(axis=1)
            alone = np.sqrt((deviations**2).mean(axis=2).prod(axis=0))
            correlation = np.divide(together, alone, out=np.zeros_like(together), where=alone > 0)
        return {
            label: Activity(np.stack([rates[0][p], rates[1][p]], axis=1), self._variation[p])
            for p, label in enumerate(self.labels)
        }

    def _couplings(self, bound: HeldRealization) -> list[_Coupling]:
        network = self._realization.network
        couplings = []
        for p in network.projections:
            indegree = p.connector.indegrees(network.ends(p))
            if not indegree.mean or network.population(p.target).is_source:
                continue
            drawn, held, probability = weight_pairs(bound, p.label)
            index = self.labels.index(p.target)
            tau = self._tau_syn[index][p.receptor]
            terms = _contributions(drawn, held, tau)
            couplings.append(
                _Coupling(
                    index,
                    tau,
                    p.source,
                    indegree,
                    terms @ probability,
                    (terms * probability) @ terms.T,
                )
            )
        return couplings

    def _drives(self, bound: HeldRealization) -> list[_Input]:
        drives = []
        for d in self._realization.network.drives:
            index = self.labels.index(d.target)
            tau = self._tau_syn[index][d.receptor]
            drawn = self._realization.drive(d.label)
            held = bound.drive(d.label).weight
            inputs = _contributions(drawn.weight, held, tau) * drawn.rate
            deviations = inputs - inputs.mean(axis=1, keepdims=True)
            covariance = deviations @ deviations.T / deviations.shape[1]
            drives.append(_Input(index, tau, inputs.mean(axis=1), covariance))
        return drives

    def _inputs(
        self,
        couplings: Sequence[_Coupling],
        drives: Sequence[_Input],
        terms: Sequence[int],
        state: _State,
    ) -> tuple[Array, Array, Array, Array]:
        """Mean and covariance of the input over the neurons of each population.

        Returns them for the ``terms`` of couplings and drives, with shapes ``(P, T)`` and
        ``(P, T, T)``, the noise (nA^2 ms) of the first network and its synaptic time constant (ms),
        ``(P,)`` each: that of either receptor, weighted by its noise, where they differ.
        """
        pick = np.ix_(terms, terms)
        network = np.arange(len(terms)) // 3
        pairs = np.ix_(network, network)
        means = np.zeros((len(self.labels), len(terms)))
        covariances = np.zeros((len(self.labels), len(terms), len(terms)))
        weighted = np.zeros(len(self.labels))
        for drive in drives:
            means[drive.target] += drive.mean[terms]
            covariances[drive.target] += drive.covariance[pick]
            weighted[drive.target] += drive.tau_syn * drive.mean[terms][1]
        for c in couplings:
            if c.source in self.source_rates:
                known = self.source_rates[c.source]
                rate = np.full(len(terms), known.mean)
                products = np.full((len(terms), len(terms)), known.variance + known.mean**2)
            else:
                source = self.labels.index(c.source)
                rate = state.mean[source][network]
                products = state.products[source][pairs]
            mean, covariance = _pooled(c.indegree, c.g[terms], c.gh[pick], rate, products)
            if not c.indegree.distinct:
                covariance += _multapses(c.indegree, c.gh[pick], products)
            means[c.target] += mean
            covariances[c.target] += covariance
            weighted[c.target] += c.tau_syn * mean[1]
        noise = means[:, 1]
        some = noise > 0
        tau = np.array([t["excitatory"] for t in self._tau_syn])
        tau[some] = weighted[some] / noise[some]
        return means, covariances, noise, tau

    def _rates(
        self,
        couplings: Sequence[_Coupling],
        drives: Sequence[_Input],
        terms: Sequence[int],
        state: _State,
        nodes: _Nodes,
    ) -> Array:
        """Rates that the input at ``state`` causes, shape ``(F, P, nodes)``."""
        means, covariances, _, tau = self._inputs(couplings, drives, terms, state)
        factors = np.array([_factor(c) for c in covariances])
        inputs = means[:, np.newaxis] + nodes.z[:, : len(terms)] @ factors.transpose(0, 2, 1)
        of_network = (inputs[..., i : i + 3] for i in range(0, len(terms), 3))
        return np.array(
            [
                stationary_rate(
                    x[..., 0],
                    np.maximum(x[..., 1], 0.0),
                    tau[:, np.newaxis],
                    nodes.neurons,
                    x[..., 2] if self._skewed else 0.0,
                )
                for x in of_network
            ]
        )

    def _relaxed(self, couplings: Sequence[_Coupling], drives: Sequence[_Input]) -> _State:
        """The state that is reached from silence, from fewer nodes.

        d rate / dt = rate(input) - rate, integrated by Euler's method: of several stationary states
        this finds the one that a network at rest goes to.
        """
        x = np.zeros(2 * len(self.labels))
        for _ in range(RELAXATION_STEPS):
            change = self._moments(couplings, drives, [0, 1, 2], x, self._coarse) - x
            x = x + RELAXATION * change
            if np.abs(change).max(initial=0.0) < TOLERANCE * max(x.max(initial=0.0), 1.0):
                break
        return _state(x)

    def _moments(
        self,
        couplings: Sequence[_Coupling],
        drives: Sequence[_Input],
        terms: Sequence[int],
        x: Array,
        nodes: _Nodes,
    ) -> Array:
        """Means and variances of the rates that means and variances ``x`` cause, one network."""
        rates = self._rates(couplings, drives, terms, _state(x), nodes)[0]
        return np.concatenate([rates.mean(axis=1), rates.var(axis=1)])

    def _stationary(
        self,
        couplings: Sequence[_Coupling],
        drives: Sequence[_Input],
        terms: Sequence[int],
        start: _State,
        jacobian: Array | None,
    ) -> tuple[_State, Array | None]:
        """The state in which rates cause themselves, by Newton's method from a state nearby.

        ``jacobian``, that of a similar network if there is one, is used as long as it leads on;
        returns the last one, too.
        """

        def residual(x: Array) -> Array:
            return self._moments(couplings, drives, terms, x, self._fine) - x

        x = np.concatenate([start.mean[:, 0], start.products[:, 0, 0] - start.mean[:, 0] ** 2])
        error = residual(x)
        for _ in range(NEWTON_STEPS):
            largest = np.abs(error / np.maximum(x, 1e-3)).max(initial=0.0)
            if largest < TOLERANCE:
                return _state(x), jacobian
            if jacobian is None:
                jacobian = _jacobian(residual, x, error)
            step = np.linalg.lstsq(jacobian, error, rcond=None)[0]
            # rates and variances cannot become negative, nor can a far step be trusted
            x = np.maximum(x - step, x / 4)
            previous, error = largest, residual(x)
            if np.abs(error / np.maximum(x, 1e-3)).max(initial=0.0) > previous / 4:
                jacobian = None
        raise RequestError(
            "the mean field of this network has no stationary state near the one it relaxes to"
        )


def _state(x: Array) -> _State:
    """The state of one network from the means and the variances of its populations' rates."""
    mean, variance = np.split(x, 2)
    return _State(mean[:, np.newaxis], (variance + mean**2)[:, np.newaxis, np.newaxis])


def covered_parameters(realization: Realization, label: str) -> dict[str, Array]:
    """Parameters of a population of neurons, an array each; RequestError for cells that the theory does not cover."""
    population = realization.network.population(label)
    cell = population.cell
    if cell.conductance_based or cell.synaptic_kernel != "exponential":
        raise RequestError(
            f"the theory covers IF_curr_exp neurons, not {population.cell_type} ({label!r})"
        )
    return realization.parameters(label)


def _source_rates(realization: Realization, label: str, seconds: float) -> Rates:
    """Rates of a population of spike sources, which no input changes."""
    population = realization.network.population(label)
    if population.cell.source == "poisson":
        rates = realization.parameters(label)["rate"]
    else:
        rates = np.array([len(t) for t in population.spike_times]) / seconds
    return Rates(float(rates.mean()), float(rates.var()))


def _contributions(drawn: Array, held: Array, tau_syn: float) -> Array:
    """Contributions to mean, noise and third cumulant per rate (1/s), shape ``(6, n)``."""
    return 1e-3 * np.array([(w * tau_syn) ** k for w in (drawn, held) for k in (1, 2, 3)])


def _multapses(indegree: Indegrees, gh: Array, rate_products: Array) -> Array:
    """Covariance over neurons that synapses of one source with the same neuron add to its input.

    Two such synapses act together: the noise has (w1 + w2)^2 instead of w1^2 + w2^2, the third
    cumulant likewise. Their number scatters as that of independent pairs. Its mean is left out: it
    belongs to the fluctuation of the population's activity as a whole, which recurrent inhibition
    suppresses (Tetzlaff et al. 2012, PLoS Comput. Biol. 8:e1002596).
    """
    together = indegree.pairs / 2 / indegree.sources * (1 - 1 / indegree.sources)
    added = np.zeros_like(gh)
    for i in range(0, len(gh), 3):
        for j in range(0, len(gh), 3):
            # with c = w tau_syn: (1e-3)^2 <c^a c'^b>
            m = gh[i : i + 3, j : j + 3]
            # per pair, 2 c1 c2 of noise and 3 c1 c2 (c1 + c2) of the third cumulant
            added[i + 1, j + 1] = 4 * m[0, 0] ** 2
            added[i + 1, j + 2] = 12 * m[0, 0] * m[0, 1]
            added[i + 2, j + 1] = 12 * m[0, 0] * m[1, 0]
            added[i + 2, j + 2] = 18 * (m[0, 0] * m[1, 1] + m[1, 0] * m[0, 1])
            added[i : i + 3, j : j + 3] *= 1e6 * together * rate_products[i, j]
    return added


def _normal_nodes(n: int) -> Array:
    """``n`` points spread evenly under a normal distribution in six dimensions, shape ``(n, 6)``.

    Additive recurrence with the powers of the generalised golden ratio (Roberts 2018), made to have
    means, variances and covariances of 0, 1 and 0 exactly.
    """
    if n == 1:
        return np.zeros((1, 6))
    u = (0.5 + np.arange(1, n + 1)[:, np.newaxis] * _golden(7)[:6]) % 1.0
    z = scipy.special.ndtri(u)
    z -= z.mean(axis=0)
    return z @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T, bias=True))).T


def _at_nodes(values: Array, n: int) -> Array:
    """Parameters of neurons, shape ``(size,)``, at the nodes: the seventh dimension of the points."""
    u = (0.5 + np.arange(1, n + 1) * _golden(7)[6]) % 1.0
    return values[(u * values.size).astype(int)]


def _golden(dimensions: int) -> Array:
    ratio = scipy.optimize.brentq(lambda x: x ** (dimensions + 1) - x - 1, 1.0, 2.0)
    return ratio ** -np.arange(1.0, dimensions + 1)


def _factor(covariance: Array) -> Array:
    """Cholesky factor of a covariance, whose columns are 0 where nothing is left to explain."""
    n = len(covariance)
    factor = np.zeros((n, n))
    for i in range(n):
        rest = covariance[i:, i] - factor[i:, :i] @ factor[i, :i]
        if rest[0] > NOTHING * covariance[i, i]:
            factor[i:, i] = rest / math.sqrt(rest[0])
    return factor


def _jacobian(function: Callable[[Array], Array], x: Array, value: Array) -> Array:
    columns = []
    for i in range(len(x)):
        moved = x.copy()
        moved[i] += 1e-4 * max(x[i], 1e-2)
        columns.append((function(moved) - value) / (moved[i] - x[i]))
    return np.array(columns).T


# --- What a study would find ---
