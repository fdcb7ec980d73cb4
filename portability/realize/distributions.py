"""Quantiles, means and standard deviations of PyNN's random distributions (`network.Distribution`)."""

from __future__ import annotations

import numpy as np
import scipy  # loads its parts at first use; most networks need no scipy.stats
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Value

FloatArray = NDArray[np.float64]

# a bound farther away than this (in SD) cuts off less than 1e-15 of a normal distribution
NEGLIGIBLE_BOUND = 8.0


def quantile(distribution: Distribution, u: FloatArray) -> FloatArray:
    """Inverse cumulative distribution function at ``u``, float64; RequestError for an unknown name."""
    p = distribution.parameters
    match distribution.name:
        case "normal":
            return p["mu"] + p["sigma"] * scipy.special.ndtri(u)
        case "normal_clipped":
            return _truncated_normal(u, p["mu"], p["sigma"], p["low"], p["high"])
        case "normal_clipped_to_boundary":
            values = p["mu"] + p["sigma"] * scipy.special.ndtri(u)
            return np.clip(values, p["low"], p["high"])
        case "lognormal":
            return np.exp(p["mu"] + p["sigma"] * scipy.special.ndtri(u))
        case "uniform":
            return p["low"] + (p["high"] - p["low"]) * u
        case "uniform_int":
            return np.floor(p["low"] + (p["high"] - p["low"]) * u)
        case "exponential":
            return -p["beta"] * np.log1p(-u)
        case "gamma":
            return p["theta"] * scipy.special.gammaincinv(p["k"], u)
        case "poisson":
            return scipy.stats.poisson.ppf(u, p["lambda_"])
        case "binomial":
            return scipy.stats.binom.ppf(u, p["n"], p["p"])
        case "vonmises":
            return scipy.stats.vonmises.ppf(u, p["kappa"], loc=p["mu"])
    raise RequestError(f"random distribution {distribution.name!r} is unknown")


def malformed(distribution: Distribution) -> str | None:
    """Why nothing can be drawn from a distribution with these parameters, or None.

    The words follow the distribution in a sentence: "normal(mu=0, sigma=-1) ...".
    """
    p = distribution.parameters
    unbounded = {"low", "high"} if distribution.name.startswith("normal_clipped") else set()
    for name, value in p.items():
        if np.isnan(value) or (np.isinf(value) and name not in unbounded):
            return f"has {name} = {value:g}, which must be a finite number"
    if p.get("high", np.inf) < p.get("low", -np.inf):
        return f"has low = {p['low']:g} above high = {p['high']:g}"
    for name in _NOT_NEGATIVE & p.keys():
        if p[name] < 0:
            return f"has {name} = {p[name]:g}, which must not be negative"
    for name in _POSITIVE & p.keys():
        if p[name] <= 0:
            return f"has {name} = {p[name]:g}, which must be positive"
    if distribution.name == "binomial" and (p["p"] > 1 or p["n"] != np.floor(p["n"])):
        return f"has n = {p['n']:g} and p = {p['p']:g}, which must be whole and at most 1"
    if distribution.name == "uniform_int" and p["high"] - p["low"] < 1:
        return f"has no whole number from {p['low']:g} to below {p['high']:g}"
    return None


_NOT_NEGATIVE = {"sigma", "lambda_", "kappa", "n", "p"}
_POSITIVE = {"beta", "k", "theta"}


def _truncated_normal(
    u: FloatArray, mu: float, sigma: float, low: float, high: float
) -> FloatArray:
    if sigma == 0:
        return np.clip(np.full_like(u, mu), low, high)
    below, above = (low - mu) / sigma, (high - mu) / sigma
    # in the upper tail the distribution function saturates at 1, so mirror it
    sign = -1.0 if below > 0 else 1.0
    if sign < 0:
        below, above = -above, -below
    lower, upper = scipy.special.ndtr((below, above))
    position = upper - u * (upper - lower) if sign < 0 else lower + u * (upper - lower)
    values = mu + sign * sigma * scipy.special.ndtri(position)
    return np.clip(values, low, high)


def mean_and_sd(value: Value) -> tuple[float, float]:
    """Mean and SD of a number (SD 0), of an array (over its entries) or of a distribution.

    The SD is that of the whole population (divisor n). Raises RequestError for a distribution whose
    mean and SD are not known here.
    """
    if isinstance(value, Distribution):
        return _distribution_mean_and_sd(value)
    array = np.asarray(value, dtype=np.float64)
    if array.size == 0:
        return 0.0, 0.0
    # in floating point the SD of equal numbers need not be 0
    if array.min() == array.max():
        return float(array.flat[0]), 0.0
    # squares of the smallest and of the largest numbers are beyond the range of doubles; a power of
    # two changes no digit
    exponent = int(np.frexp(np.abs(array).max())[1])
    scaled = np.ldexp(array, -exponent)
    return float(np.ldexp(scaled.mean(), exponent)), float(np.ldexp(scaled.std(), exponent))


def _distribution_mean_and_sd(distribution: Distribution) -> tuple[float, float]:
    """Analytic mean and SD."""
    p = distribution.parameters
    match distribution.name:
        case "normal":
            return p["mu"], p["sigma"]
        case "normal_clipped":
            return _bounded_normal(p["mu"], p["sigma"], p["low"], p["high"], redrawn=True)
        case "normal_clipped_to_boundary":
            return _bounded_normal(p["mu"], p["sigma"], p["low"], p["high"], redrawn=False)
        case "lognormal":
            mean = np.exp(p["mu"] + p["sigma"] ** 2 / 2)
            sd = mean * np.sqrt(np.expm1(p["sigma"] ** 2))
        case "uniform":
            mean = (p["low"] + p["high"]) / 2
            sd = abs(p["high"] - p["low"]) / np.sqrt(12)
        case "uniform_int":  # from low to high - 1
            mean = (p["low"] + p["high"] - 1) / 2
            sd = np.sqrt(((p["high"] - p["low"]) ** 2 - 1) / 12)
        case "gamma":
            mean, sd = p["k"] * p["theta"], np.sqrt(p["k"]) * p["theta"]
        case "exponential":
            mean, sd = p["beta"], p["beta"]
        case "poisson":
            mean, sd = p["lambda_"], np.sqrt(p["lambda_"])
        case "binomial":
            mean, sd = p["n"] * p["p"], np.sqrt(p["n"] * p["p"] * (1 - p["p"]))
        case other:
            raise RequestError(
                f"weights drawn from {other!r} cannot be discretised: allowed are normal, "
                "normal_clipped, normal_clipped_to_boundary, lognormal, uniform, uniform_int, "
                "gamma, exponential, poisson and binomial"
            )
    return float(mean), float(sd)


def _bounded_normal(
    mu: float, sigma: float, low: float, high: float, redrawn: bool
) -> tuple[float, float]:
    """Mean and SD of a normal draw which, outside [low, high], is redrawn or moved to the bound."""
    if sigma == 0 or low == high:
        return float(np.clip(mu, low, high)), 0.0
    a, b = (low - mu) / sigma, (high - mu) / sigma
    if a <= -NEGLIGIBLE_BOUND and b >= NEGLIGIBLE_BOUND:
        return mu, sigma
    if redrawn:
        truncated = scipy.stats.truncnorm(a, b, loc=mu, scale=sigma)
        return float(truncated.mean()), float(truncated.std())
    density_a, density_b = np.exp(-np.square([a, b]) / 2) / np.sqrt(2 * np.pi)
    below, above = scipy.special.ndtr(a), scipy.special.ndtr(-b)
    # an infinite bound is never reached: its terms are 0, not infinity times 0
    a, b = (x if np.isfinite(x) else 0.0 for x in (a, b))
    first = a * below + b * above + density_a - density_b
    second = a**2 * below + b**2 * above + 1 - below - above + a * density_a - b * density_b
    return float(mu + sigma * first), float(sigma * np.sqrt(second - first**2))
