"""Verdicts: is a candidate as close to the reference as realizations of it are to each other?

The method, its assumptions and its measured error rates are described in ``docs/verdict.md``.
Distances and the paired design are those of Dasbach et al. (2021), section 2.3.1 and Figure 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import Statistics, distance

Verdict = Literal["pass", "deviates", "inconclusive"]

FAMILYWISE_ERROR = 0.05
"""Probability of at least one ``deviates`` for a candidate whose true ratios are all 1."""
PASS_ERROR = 0.05
"""Probability of calling one ratio below ``MARGIN`` when it is equal to it."""
MARGIN = 2.5
"""Ratio that a passing candidate must stay below: about the smallest that five seeds detect."""
MINIMUM_SEEDS = 3

Pairing = Literal["paired", "unpaired"]
"""Whether a candidate's run of a seed has the realization of the reference's run of this seed."""

_DISTANCES: dict[Pairing, str] = {
    "paired": "For every population and statistic, the distance between the candidate's"
    " and the reference's run of the same seed, averaged over seeds, is divided by the average"
    " distance between reference runs of different seeds.",
    "unpaired": "For every population and statistic, the distance between a run of the"
    " candidate and one of the reference, averaged over all such pairs, is divided by the average"
    " distance between reference runs of different seeds.",
}
_THEN = (
    "The variance of the logarithm of this ratio is estimated by leaving out one run at a time,"
    " and averaged with the mean such variance of all populations for the same statistic.",
    f"A comparison deviates if its ratio is above 1, at an error of {FAMILYWISE_ERROR:.0%} for all"
    f" comparisons of a candidate together, otherwise passes if its ratio is below {MARGIN:g}, at"
    f" an error of {PASS_ERROR:.0%}, and otherwise is inconclusive; the candidate deviates if any"
    " comparison does and passes if all do.",
)


def rule(pairing: Pairing) -> tuple[str, ...]:
    """The rule in three sentences, for reports."""
    return (_DISTANCES[pairing], *_THEN)


Comparison = tuple[str, str]
"""(population, statistic)"""
Baseline = Mapping[Comparison, Mapping[tuple[int, int], float]]
"""Distances between reference runs, by comparison and pair of seeds (smaller seed first)."""


@dataclass(frozen=True)
class Score:
    """One population and statistic of a candidate.

    ``distances``: distance of each of its runs from the reference, in the order of the seeds: from the run of the
    same seed, or unpaired, the average over all runs.
    ``baseline``: distance between two reference runs, one per pair of seeds; ``baseline_sd``
    is their population standard deviation. Means are None without values.
    ``ratio``: mean of ``distances`` over mean of ``baseline``, None when the latter is 0 or
    missing. ``ratio_low`` is its lower confidence bound, valid for all comparisons of the candidate
    together; ``ratio_high`` its one-sided 95 % upper bound. None when they are undefined.
    """

    population: str
    statistic: str
    distances: list[float]
    distance_mean: float | None
    baseline: list[float]
    baseline_mean: float | None
    baseline_sd: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Judgement:
    """The verdict on a candidate, the sentences that give its reasons, and its scores."""

    verdict: Verdict
    reasons: list[str]
    scores: list[Score]


def baseline_distances(reference: Ensemble) -> dict[Comparison, dict[tuple[int, int], float]]:
    """Distances between all pairs of reference runs."""
    runs = reference.runs
    return {
        comparison: {
            (s, t): _distance(runs[s], runs[t], comparison)
            for s, t in combinations(reference.seeds, 2)
        }
        for comparison in _comparisons([reference])
    }


def judge(
    reference: Ensemble,
    candidate: Ensemble,
    baseline: Baseline | None = None,
    pairing: Pairing = "paired",
) -> Judgement:
    """Judge a candidate: ``paired`` by the runs of seeds that both ensembles have, otherwise by all runs.

    ``baseline`` is ``baseline_distances(reference)``, for those who judge several candidates against one
    reference.

    Raises ``RequestError`` when runs differ in their populations or statistics.
    """
    comparisons = _comparisons([reference, candidate])
    seeds = reference.seeds
    if pairing == "paired":
        seeds = sorted(set(reference.runs) & set(candidate.runs))
    if baseline is None:
        baseline = baseline_distances(
            replace(reference, runs={s: reference.runs[s] for s in seeds})
        )
    before, after = reference.runs, candidate.runs
    if pairing == "paired":
        distances = {
            c: np.array([_distance(before[s], after[s], c) for s in seeds]) for c in comparisons
        }
    else:
        distances = {
            c: np.array(
                [[_distance(before[s], after[t], c) for s in seeds] for t in candidate.seeds]
            ).reshape(len(after), len(seeds))
            for c in comparisons
        }
    between = {c: _matrix(baseline.get(c, {}), seeds) for c in comparisons}
    return judge_distances(distances, between)


def judge_distances(
    candidate: Mapping[Comparison, NDArray[np.float64]],
    between: Mapping[Comparison, NDArray[np.float64]],
) -> Judgement:
    """Judge a candidate from distances between runs.

    ``between`` is symmetric, shape ``(n, n)``: between n runs of the reference. ``candidate`` has shape ``(n,)``
    where runs are paired: between the candidate's and the reference's run of each seed. Unpaired it has shape
    ``(m, n)``: between each of m runs of the candidate and each of the reference.
    """
    shape = next((distances.shape for distances in candidate.values()), (0,))
    enough = min(shape) >= MINIMUM_SEEDS
    bounds = _bounds(candidate, between) if enough else {}
    scores = [_score(c, candidate[c], between[c], bounds.get(c), enough) for c in candidate]
    if not enough:
        have = (
            f"{shape[0]} seeds have both a reference and a candidate run"
            if len(shape) == 1
            else f"The candidate has {shape[0]} runs and the reference {shape[1]}"
        )
        reason = f"{have}, where a verdict needs at least {MINIMUM_SEEDS} and usually 5."
        return Judgement("inconclusive", [reason], scores)
    verdicts = {score.verdict for score in scores}
    verdict: Verdict = "pass"
    if "deviates" in verdicts:
        verdict = "deviates"
    elif "inconclusive" in verdicts:
        verdict = "inconclusive"
    return Judgement(verdict, _reasons(verdict, scores), scores)


def _comparisons(ensembles: Sequence[Ensemble]) -> list[Comparison]:
    runs = [run for ensemble in ensembles for run in ensemble.runs.values()]
    found = [[(population, name) for population in run for name in run[population]] for run in runs]
    for other in found[1:]:
        if set(other) != set(found[0]):
            population, name = sorted(set(other) ^ set(found[0]))[0]
            raise RequestError(
                f"Runs to be compared must have the same populations and statistics, and {name!r}"
                f" of {population!r} is not in all of them."
            )
    return found[0] if found else []


def _distance(a: Statistics, b: Statistics, comparison: Comparison) -> float:
    population, statistic = comparison
    return distance(statistic, a[population][statistic], b[population][statistic])


def _matrix(
    distances: Mapping[tuple[int, int], float], seeds: Sequence[int]
) -> NDArray[np.float64]:
    """Symmetric matrix of the distances between the reference runs of ``seeds``."""
    result = np.zeros((len(seeds), len(seeds)))
    for (i, s), (j, t) in combinations(enumerate(seeds), 2):
        result[i, j] = result[j, i] = distances[s, t]
    return result


def _bounds(
    candidate: Mapping[Comparison, NDArray[np.float64]],
    between: Mapping[Comparison, NDArray[np.float64]],
) -> dict[Comparison, tuple[float, float]]:
    """Lower and upper confidence bound of every ratio that has a logarithm."""
    from scipy.stats import t as student  # noqa: PLC0415

    variances = {
        c: _jackknife_variance(candidate[c], between[c])
        for c in candidate
        if candidate[c].any() and between[c].any()
    }
    # runs that are left out one by one: pairs, or the fewer ones of the candidate's and the reference's
    left_out = min(next(iter(candidate.values())).shape)
    result = {}
    for c, own in variances.items():
        alike = [variance for (_, statistic), variance in variances.items() if statistic == c[1]]
        error = math.sqrt((own + float(np.mean(alike))) / 2)
        # Degrees of freedom of that average by Satterthwaite's approximation, for independent
        # populations of equal variance with n - 1 degrees of freedom each. Unpaired, the sum of two
        # variances has more, but no fewer false alarms than intended (docs/verdict.md).
        freedom = 4 * (left_out - 1) * len(alike) / (len(alike) + 3)
        # Bonferroni's correction counts every comparison, whether or not its ratio is defined.
        below, above = student.isf([FAMILYWISE_ERROR / len(candidate), PASS_ERROR], freedom) * error
        logarithm = math.log(_ratio(candidate[c], between[c]))
        result[c] = math.exp(logarithm - below), math.exp(logarithm + above)
    return result


def _ratio(candidate: NDArray[np.float64], between: NDArray[np.float64]) -> float:
    n = len(between)
    return float(candidate.mean() / (between.sum() / (n * (n - 1))))


def _jackknife_variance(candidate: NDArray[np.float64], between: NDArray[np.float64]) -> float:
    """Variance of the logarithm of the ratio, by leaving out one run at a time.

    Paired, a seed leaves with its paired distance and all distances between its reference run and others.
    Unpaired, variances of two samples add up (Arvesen 1969): a run of the candidate leaves with its distances,
    and so does one of the reference, which takes those to other runs of the reference with it. The logarithm is
    linearized at the full sample, since a mean over fewer runs may be 0.
    """
    n = len(between)
    total = between.sum()
    between_without = (total - 2 * between.sum(axis=1)) / ((n - 1) * (n - 2))
    of_reference = between_without / (total / (n * (n - 1)))
    if candidate.ndim == 1:
        return _spread(_means_without(candidate) - of_reference)
    of_candidate = _spread(_means_without(candidate.mean(axis=1)))
    return of_candidate + _spread(_means_without(candidate.mean(axis=0)) - of_reference)


def _means_without(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean without each value, relative to that of all."""
    return (values.sum() - values) / (values.size - 1) / values.mean()


def _spread(estimates: NDArray[np.float64]) -> float:
    """The jackknife's variance, from the estimates without each of so many runs."""
    return float((estimates.size - 1) * np.var(estimates))


def _score(
    comparison: Comparison,
    candidate: NDArray[np.float64],
    between: NDArray[np.float64],
    bounds: tuple[float, float] | None,
    enough: bool,
) -> Score:
    baseline = between[np.triu_indices_from(between, k=1)]
    ratio = _ratio(candidate, between) if baseline.any() and candidate.size else None
    if ratio == 0 and enough:
        bounds = (0.0, 0.0)
    verdict: Verdict = "inconclusive"
    if enough:
        if not candidate.any():
            verdict = "pass"
        elif bounds is None:  # reference runs that do not differ, a candidate that does
            verdict = "deviates" if candidate.all() else "inconclusive"
        elif bounds[0] > 1 + 1e-9:  # equal distances without spread may differ by rounding
            verdict = "deviates"
        elif bounds[1] < MARGIN:
            verdict = "pass"
    low, high = bounds or (None, None)
    by_run = candidate if candidate.ndim == 1 or not candidate.size else candidate.mean(axis=1)
    return Score(
        population=comparison[0],
        statistic=comparison[1],
        distances=by_run.ravel().tolist(),
        distance_mean=float(candidate.mean()) if candidate.size else None,
        baseline=baseline.tolist(),
        baseline_mean=float(baseline.mean()) if baseline.size else None,
        baseline_sd=float(baseline.std()) if baseline.size else None,
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        verdict=verdict,
    )


def _reasons(verdict: Verdict, scores: Sequence[Score]) -> list[str]:
    """Sentences with numbers, the largest ratio first."""
    ordered = sorted(scores, key=lambda s: math.inf if s.ratio is None else s.ratio, reverse=True)
    if verdict != "pass":
        return [_sentence(score) for score in ordered if score.verdict == verdict]
    measured = [score for score in ordered if score.ratio is not None]
    if not measured:
        return [
            "Neither the candidate nor any reference run differs from another in any statistic."
        ]
    largest = measured[0]
    return [
        f"All {len(scores)} comparisons are below {MARGIN:g} times the distance between reference "
        f"realizations, the largest, {largest.statistic} in {largest.population}, at "
        f"{largest.ratio:.2f} times (at most {largest.ratio_high:.2f})."
    ]


def _sentence(score: Score) -> str:
    what = f"{score.statistic} in {score.population}"
    if score.ratio is None:
        n = sum(distance > 0 for distance in score.distances)
        return (
            f"{what}: differs from the reference for {n} of {len(score.distances)} seeds, although"
            " the reference realizations do not differ from each other."
        )
    sentence = f"{what}: {score.ratio:.2f} times the distance between reference realizations"
    if score.verdict == "deviates":
        return f"{sentence} (at least {score.ratio_low:.2f})."
    return (
        f"{sentence}, and up to {score.ratio_high:.2f} times cannot be excluded; "
        "more seeds are needed."
    )
