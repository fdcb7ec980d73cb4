"""Where a candidate differs from the reference, in which direction, and how much.

A Kolmogorov-Smirnov distance says that two distributions differ; this says how: the change of their
mean and of their spread over neurons (or pairs), seed by seed, so that what a realization has more
of does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import statistic
from pynn_portability.judge.verdict import Pairing, Score

CERTAIN = 3.0
"""Changes of less than this many standard errors are called unchanged,"""
SMALLEST = 0.01
"""and so are relative changes of less than this, which hardly move a distribution."""
SEVERAL = 2
MUCH_MORE = 3.0
"""Times as large a relative change."""
CORRELATED = (
    "cc",
    "synchrony",
    "spectrum",
    "covariance",
    "covariance-size",
    "covariance-shape",
)
"""Statistics of what neurons have in common."""


@dataclass(frozen=True)
class Change:
    """Relative change of a statistic's mean and standard deviation over neurons, with the standard
    error of each over seeds; None where the reference has none or a seed has too few neurons.

    A number has a mean only, itself, and so has a curve: its root mean square over its points."""

    population: str
    statistic: str
    mean: tuple[float, float] | None
    spread: tuple[float, float] | None


def changes(reference: Ensemble, candidate: Ensemble, pairing: Pairing = "paired") -> list[Change]:
    """Changes of all statistics from the reference to the candidate, over the seeds of both.

    Unpaired, they are changes of the means over all runs.
    """
    before, after = reference.runs, candidate.runs
    if pairing == "paired":
        before, after = (
            {s: runs[s] for s in sorted(set(before) & set(after))} for runs in (before, after)
        )
    relative = _relative if pairing == "paired" else _relative_of_means
    result = []
    for population in reference.populations if before and after else ():
        for name in reference.statistics:
            own, other = (
                [run[population][name] for run in runs.values()] for runs in (before, after)
            )
            kind = statistic(name).kind
            usable = all(sample.size > (kind == "sample") for sample in (*own, *other))
            # the mean of a curve of both signs says little
            functions = (_root_mean_square if kind == "curve" else np.mean, np.std)
            measures = (
                ([float(f(sample)) for sample in samples] for samples in (own, other))
                for f in functions
            )
            mean, spread = (relative(*values) for values in measures) if usable else (None, None)
            if kind != "sample":
                spread = None
            result.append(Change(population, name, mean, spread))
    return result


def sentences(scores: Sequence[Score], found: Sequence[Change]) -> list[str]:
    """What changed in the populations that deviate, the most deviating first, and where to look."""
    deviating = [s for s in scores if s.verdict == "deviates"]
    if not deviating:
        return []
    order = sorted(deviating, key=lambda s: -(math.inf if s.ratio is None else s.ratio))
    lines = []
    for population in dict.fromkeys(s.population for s in order):
        own = [c for c in found if c.population == population]
        deviate = {s.statistic for s in deviating if s.population == population}
        words = "; ".join(_in_words(c, c.statistic in deviate) for c in own)
        lines.append(f"{population}: {words}.")
    return [*lines, *_hints(deviating, found)]


def _root_mean_square(curve: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(curve))))


def _relative_of_means(own: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """Relative change of the mean over runs, and its standard error, runs being independent."""
    before, after = np.array(own), np.array(other)
    if not abs(before.mean()) > 0 or not np.isfinite([*before, *after]).all():
        return None
    errors = [
        values.std(ddof=1) / math.sqrt(values.size) if values.size > 1 else 0.0
        for values in (before, after)
    ]
    scale = abs(before.mean())
    return float((after.mean() - before.mean()) / scale), float(math.hypot(*errors) / scale)


def _relative(own: Sequence[float], other: Sequence[float]) -> tuple[float, float] | None:
    """Mean relative change and its standard error over seeds."""
    before, after = np.array(own), np.array(other)
    if not abs(before.mean()) > 0 or not np.isfinite(before).all() or not np.isfinite(after).all():
        return None
    change = (after - before) / abs(before.mean())
    error = change.std(ddof=1) / math.sqrt(change.size) if change.size > 1 else 0.0
    return float(change.mean()), float(error)


def _widened(change: Change) -> bool:
    """Whether the spread over neurons changes, and the mean hardly does."""
    if change.spread is None or not _certain(change.spread):
        return False
    return (
        change.mean is None
        or not _certain(change.mean)
        or abs(change.spread[0]) > MUCH_MORE * abs(change.mean[0])
    )


def _certain(change: tuple[float, float] | None) -> bool:
    return change is not None and abs(change[0]) >= max(CERTAIN * change[1], SMALLEST)


def _in_words(change: Change, deviates: bool) -> str:
    kind = statistic(change.statistic).kind
    parts = [
        f"{name} {value[0]:+.1%} (± {value[1]:.1%})"
        for name, value in (
            ("size" if kind == "curve" else "mean", change.mean),
            ("spread", change.spread),
        )
        if value is not None and _certain(value)
    ]
    otherwise = "unchanged"
    if deviates and kind == "curve":
        otherwise = "of the same size and another shape"
    return f"{change.statistic} {', '.join(parts) or otherwise}"


def _hints(deviating: Sequence[Score], found: Sequence[Change]) -> list[str]:
    """Where such a pattern usually comes from."""
    by_key = {(c.population, c.statistic): c for c in found}
    correlated = list(dict.fromkeys(s.population for s in deviating if s.statistic in CORRELATED))
    others = [s for s in deviating if s.statistic not in CORRELATED]
    rates = [by_key[s.population, "rate"] for s in deviating if s.statistic == "rate"]
    widened = [c for c in rates if _widened(c)]
    shifted = [c for c in rates if _certain(c.mean) and c not in widened]
    everywhere = len({c.population for c in found})
    hints = []
    if len(correlated) >= SEVERAL or not others:
        which = (
            f"Correlations deviate in {', '.join(correlated)}"
            if others
            else "Only correlations deviate"
        )
        hints.append(
            f"{which}: look at delays, the time step, shared input, and at what the drive of one "
            "neuron has in common with that of others."
        )
    directions = {c.mean[0] > 0 for c in shifted if c.mean}
    if len(shifted) >= SEVERAL and len(directions) == 1:
        hints.append(
            "Mean rates move together: look at the drive, at neuron parameters (threshold, reset, "
            "refractory time, membrane and synaptic time constants) and at weights' means."
        )
    elif len(shifted) >= max(everywhere / 2, SEVERAL):
        names = ", ".join(c.population for c in shifted)
        hints.append(
            f"Mean rates move in {names}, up in some and down in others: look at neuron parameters (threshold, reset, "
            "refractory time, membrane and synaptic time constants), at the drive, and at weights' means."
        )
    elif shifted:
        names = ", ".join(c.population for c in shifted)
        hints.append(
            f"Mean rates move in {names}: look at the projections and the drive onto them."
        )
    if widened:
        names = ", ".join(c.population for c in widened)
        hints.append(
            f"Rates spread differently over neurons in {names}, around nearly the same mean: look at the "
            "variance of weights, at in-degrees and at initial values."
        )
    if hints:
        hints.append("`portability conformance BACKEND` tests neurons and synapses one by one.")
    return hints
