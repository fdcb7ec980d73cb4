"""The rule's constants do what ``docs/verdict.md`` says that they do, on distances made up by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from pynn_portability.judge.verdict import (
    FAMILYWISE_ERROR,
    MARGIN,
    MINIMUM_SEEDS,
    PASS_ERROR,
    Judgement,
    Score,
    judge_distances,
)

DOCUMENTATION = (Path(__file__).parents[1] / "docs" / "verdict.md").read_text()

Array = NDArray[np.float64]


def distances(seed: int, n_seeds: int = 5, spread: float = 0.3) -> tuple[Array, Array]:
    """Paired distances of a mean ratio near 1, and symmetric ones between the reference's runs."""
    rng = np.random.default_rng(seed)
    paired = 0.1 * np.exp(spread * rng.normal(size=n_seeds))
    between = np.triu(0.1 * np.exp(spread * rng.normal(size=(n_seeds, n_seeds))), k=1)
    return paired, between + between.T


def one(paired: Array, between: Array) -> Score:
    """The score of a candidate with a single comparison."""
    (score,) = judge_distances({("a", "rate"): paired}, {("a", "rate"): between}).scores
    return score


def bounds(score: Score) -> tuple[float, float, float]:
    """Lower bound, ratio and upper bound, which are all defined."""
    assert score.ratio_low is not None
    assert score.ratio is not None
    assert score.ratio_high is not None
    return score.ratio_low, score.ratio, score.ratio_high


def scaled(paired: Array, between: Array, *, low: float = 0.0, high: float = 0.0) -> Score:
    """The score when paired distances are multiplied so that a bound becomes ``low`` or ``high``.

    Bounds are proportional to paired distances, so that any bound can be had exactly.
    """
    first, _, last = bounds(one(paired, between))
    return one(paired * (low / first if low else high / last), between)


WIDE = [seed for seed in range(40) if np.divide(*bounds(one(*distances(seed)))[::2]) < 1 / 2.6]
"""Distances whose interval is wider than the factor from 1 to the margin."""
NARROW = [seed for seed in range(40) if np.divide(*bounds(one(*distances(seed, 12)))[::2]) > 1 / 2]


def test_there_are_wide_and_narrow_intervals() -> None:
    assert len(WIDE) > 5
    assert len(NARROW) > 5


@pytest.mark.parametrize("seed", NARROW)
def test_a_comparison_deviates_as_soon_as_its_lower_bound_is_above_1(seed: int) -> None:
    narrow = distances(seed, 12)
    assert scaled(*narrow, low=1.001).verdict == "deviates"
    assert scaled(*narrow, low=0.999).verdict == "pass"


@pytest.mark.parametrize("seed", WIDE)
def test_a_comparison_passes_only_with_its_upper_bound_below_two_and_a_half(seed: int) -> None:
    """An interval from below 1 to 2.5 or more cannot tell a natural distance from one that matters."""
    wide = distances(seed)
    assert scaled(*wide, high=2.499).verdict == "pass"
    assert scaled(*wide, high=2.501).verdict == "inconclusive"


def test_constants_are_those_of_the_documentation() -> None:
    assert "| `deviates` | lower bound > 1 | `deviates` |" in DOCUMENTATION
    assert f"| `pass` | otherwise, upper bound < {MARGIN:g} |" in DOCUMENTATION
    assert f"t<sub>f</sub>({FAMILYWISE_ERROR:g}/m)" in DOCUMENTATION
    assert f"t<sub>f</sub>({PASS_ERROR:g}) E" in DOCUMENTATION
    assert MINIMUM_SEEDS == 3
    assert "With fewer than three seeds the verdict is `inconclusive`" in DOCUMENTATION


@pytest.mark.parametrize("distance", [0.1, 0.3, 1 / 3, 0.07, 0.29, 0.57])
@pytest.mark.parametrize("n_seeds", [3, 5, 6, 7, 10])
def test_distances_that_are_all_equal_pass(distance: float, n_seeds: int) -> None:
    """Their ratio is 1 and their spread 0, up to rounding in either direction."""
    between = np.full((n_seeds, n_seeds), distance)
    np.fill_diagonal(between, 0.0)
    assert one(np.full(n_seeds, distance), between).verdict == "pass"


def silent(n_seeds: int, populations: int) -> dict[tuple[str, str], Array]:
    return {(f"silent {i}", "rate"): np.zeros(n_seeds) for i in range(populations)}


def beside_silence(paired: Array, between: Array, populations: int) -> Judgement:
    """Judge one comparison beside those of populations that never spike, whose ratio is undefined."""
    n = paired.size
    pairs = {c: np.zeros((n, n)) for c in silent(n, populations)}
    return judge_distances(
        {("a", "rate"): paired} | silent(n, populations), {("a", "rate"): between} | pairs
    )


@pytest.mark.parametrize("populations", [0, 1, 7, 23])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_correction_counts_comparisons_without_a_ratio(seed: int, populations: int) -> None:
    """The level is 0.05 / m for all m comparisons, whether or not their ratio is defined."""
    low, ratio, high = bounds(beside_silence(*distances(seed), populations).scores[0])
    # the same standard error is in either bound; one population of five seeds has 4 degrees of freedom
    levels = [FAMILYWISE_ERROR / (1 + populations), PASS_ERROR]
    below, above = student.isf(levels, 4)
    assert np.log(ratio / low) / np.log(high / ratio) == pytest.approx(below / above)


def test_silent_populations_cost_power() -> None:
    """What deviates alone need not deviate as one of 24 comparisons, as each is an opportunity."""
    paired, between = distances(3)
    paired = paired * 1.02 / bounds(one(paired, between))[0]
    assert one(paired, between).verdict == "deviates"
    judgement = beside_silence(paired, between, 23)
    assert judgement.verdict == "inconclusive"
    assert {s.verdict for s in judgement.scores[1:]} == {"pass"}


def judgement_of(verdicts: Mapping[str, str]) -> Judgement:
    """A candidate with comparisons of given verdicts, by population."""
    n = 12
    changed = {
        "pass": lambda paired: 0.9 * paired,
        "deviates": lambda paired: 9.0 * paired,
        # spread over seeds makes it wide
        "inconclusive": lambda paired: paired * np.where(np.arange(n) < 1, 25.0, 0.3),
    }
    paired, between = {}, {}
    for i, (label, verdict) in enumerate(verdicts.items()):
        own, between[label, "rate"] = distances(i, n, 0.1)
        paired[label, "rate"] = changed[verdict](own)
    return judge_distances(paired, between)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({"a": "pass", "b": "pass"}, "pass"),
        ({"a": "pass", "b": "inconclusive"}, "inconclusive"),
        ({"a": "deviates", "b": "inconclusive", "c": "pass"}, "deviates"),
        ({"a": "inconclusive", "b": "deviates"}, "deviates"),
    ],
)
def test_one_comparison_that_deviates_decides(verdicts: Mapping[str, str], expected: str) -> None:
    judgement = judgement_of(verdicts)
    assert {s.population: s.verdict for s in judgement.scores} == verdicts
    assert judgement.verdict == expected


def test_reasons_are_those_of_the_verdict_the_largest_ratio_first() -> None:
    paired, between = {}, {}
    for i, factor in enumerate((5.0, 9.0, 7.0)):
        own, between["abc"[i], "rate"] = distances(i, 12, 0.1)
        paired["abc"[i], "rate"] = factor * own
    n = 12
    paired["d", "rate"], between["d", "rate"] = np.full(n, 0.2), np.zeros((n, n))
    judgement = judge_distances(paired, between)
    # without a baseline the ratio is infinite
    assert [reason[:9] for reason in judgement.reasons] == [f"rate in {p}" for p in "dbca"]


def test_two_seeds_decide_nothing_whatever_they_show() -> None:
    for n in (1, 2):
        between = 0.1 * (1 - np.eye(n))
        for paired in (np.zeros(n), np.full(n, 0.9)):
            score = one(paired, between)
            assert score.verdict == "inconclusive"
            assert (score.ratio_low, score.ratio_high) == (None, None)
    between = 0.1 * (1 - np.eye(3))
    assert one(np.full(3, 0.9), between).verdict == "deviates"


def test_the_baseline_has_the_spread_of_its_distances() -> None:
    between = np.array([[0.0, 0.1, 0.2], [0.1, 0.0, 0.6], [0.2, 0.6, 0.0]])
    score = one(np.array([0.1, 0.2, 0.3]), between)
    assert score.baseline == [0.1, 0.2, 0.6]
    assert score.baseline_mean == pytest.approx(0.3)
    assert score.baseline_sd == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 3))
    assert score.ratio == pytest.approx(0.2 / 0.3)
