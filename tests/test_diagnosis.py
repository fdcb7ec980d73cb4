"""What a candidate's statistics say about where to look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynn_portability.judge.diagnosis import Change, changes, sentences
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.verdict import Score, judge, judge_distances

SEEDS = range(1, 7)


def sample(seed: int, mean: float = 1.0, spread: float = 1.0, cc: float = 0.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shared = {}
    for population, rate in (("a", 4.0), ("b", 9.0)):
        rates = rng.normal(rate, 0.25 * rate, 400)
        shared[population] = {
            "rate": mean * (rate + spread * (rates - rate)),
            "cv": rng.normal(0.8, 0.05, 400),
            "cc": rng.normal(cc, 0.01, 3000),
        }
    return shared


def diagnosed(**fault: float) -> str:
    reference = {s: sample(s) for s in SEEDS}
    candidate = {s: sample(s, **fault) for s in SEEDS}
    before, after = Ensemble("reference", reference), Ensemble("candidate", candidate)
    scores = judge(before, after).scores
    return " ".join(sentences(scores, changes(before, after)))


def test_direction_and_size_of_a_change_of_means():
    text = diagnosed(mean=1.1)
    assert "a: rate mean +10.0% (± 0.0%), spread +10.0% (±" in text
    assert "Mean rates move together" in text


def test_a_change_of_spread_alone():
    text = diagnosed(spread=1.5)
    assert "rate spread +50.0%" in text
    assert "mean" not in text.split("Rates spread")[0].replace("means", "")
    assert "the variance of weights" in text


def test_a_change_of_spread_that_moves_the_mean_a_little():
    """As fixed in-degrees do in place of others: what nonlinear neurons make of it is no other drive."""
    text = diagnosed(spread=0.3, mean=1.03)
    assert "rate mean +" in text
    assert "around nearly the same mean: look at the variance of weights, at in-degrees" in text
    assert "Mean rates move" not in text


def test_a_curve_changes_in_size_or_in_shape():
    x = np.arange(50)

    def curves(size: float, frequency: float) -> Ensemble:
        noise = {s: np.random.default_rng([s, round(9 * frequency)]) for s in SEEDS}
        rate = {s: sample(s)["a"]["rate"] for s in SEEDS}
        runs = {
            s: {
                "a": {
                    "rate": rate[s],
                    "covariance": size * np.cos(frequency * x) + n.normal(0, 0.02, 50),
                }
            }
            for s, n in noise.items()
        }
        return Ensemble("", runs)

    def said(size: float, frequency: float) -> str:
        before, after = curves(1.0, 0.5), curves(size, frequency)
        return " ".join(sentences(judge(before, after).scores, changes(before, after)))

    assert "covariance size +100" in said(2.0, 0.5)
    assert "covariance of the same size and another shape" in said(1.0, 0.6)
    assert "Only correlations deviate" in said(2.0, 0.5)


def test_correlations_alone():
    text = diagnosed(cc=0.02)
    assert "cc mean" in text
    assert "rate unchanged" in text
    assert "look at delays" in text


def test_nothing_is_said_about_what_does_not_deviate():
    assert diagnosed() == ""


def test_the_change_is_that_of_the_mean_over_seeds():
    reference = {s: sample(s) for s in SEEDS}
    candidate = {s: sample(s, mean=0.9 + 0.04 * (s % 2)) for s in SEEDS}
    change = next(
        c
        for c in changes(Ensemble("a", reference), Ensemble("b", candidate))
        if c.statistic == "rate"
    )
    assert change.mean is not None
    expected = np.array([0.04 * (s % 2) - 0.1 for s in SEEDS])
    assert abs(change.mean[0] - expected.mean()) < 2e-3
    assert abs(change.mean[1] - expected.std(ddof=1) / np.sqrt(len(SEEDS))) < 2e-3


def test_silent_populations_have_no_relative_change():
    silent = {"a": {"rate": np.zeros(10), "cv": np.empty(0), "cc": np.empty(0)}}
    found = changes(Ensemble("a", {1: silent, 2: silent}), Ensemble("b", {1: silent, 2: silent}))
    assert [(c.mean, c.spread) for c in found] == [(None, None)] * 3


def deviating(*comparisons: tuple[str, str], factor: float = 5.0) -> list[Score]:
    """Scores of comparisons that deviate, each with a ratio larger than the one before."""
    rng = np.random.default_rng(1)
    paired, between = {}, {}
    for i, comparison in enumerate(comparisons):
        upper = np.triu(0.1 + 0.01 * rng.random((8, 8)), k=1)
        between[comparison] = upper + upper.T
        paired[comparison] = (factor + i) * (0.1 + 0.01 * rng.random(8))
    scores = judge_distances(paired, between).scores
    assert {s.verdict for s in scores} == {"deviates"}
    return scores


@pytest.mark.parametrize(
    ("mean", "told"),
    [
        # at least three standard errors
        ((0.05, 0.02), None),
        ((0.05, 0.017), None),
        ((0.05, 0.016), "mean +5.0% (± 1.6%)"),
        ((-0.05, 0.016), "mean -5.0% (± 1.6%)"),
        ((-0.05, 0.017), None),
        # and at least 1 %
        ((0.009, 0.0), None),
        ((-0.009, 0.0001), None),
        ((0.011, 0.0001), "mean +1.1% (± 0.0%)"),
    ],
)
def test_only_changes_that_are_certain_and_not_small_are_told(mean, told):
    scores = deviating(("a", "rate"))
    (line, *hints) = sentences(scores, [Change("a", "rate", mean, None)])
    assert line == f"a: rate {told or 'unchanged'}."
    # an uncertain change is no reason to look anywhere
    assert bool(hints) == (told is not None)


def test_a_change_relative_to_a_negative_mean_keeps_its_direction():
    before, after = {"cc": np.array([-0.2, -0.4])}, {"cc": np.array([-0.1, -0.2])}
    runs = [
        {s: {"a": {"rate": r["cc"], "cv": r["cc"], **r}} for s in (1, 2)} for r in (before, after)
    ]
    change = changed(*runs)[("a", "cc")]
    assert change.mean == pytest.approx((0.5, 0.0))


def test_one_neuron_has_no_spread():
    alone = {s: {"a": dict.fromkeys(("rate", "cv", "cc"), np.array([2.0]))} for s in (1, 2)}
    assert [(c.mean, c.spread) for c in changed(alone, alone).values()] == [(None, None)] * 3


def changed(reference: Any, candidate: Any) -> dict[tuple[str, str], Change]:
    """Changes by population and statistic, of runs by seed."""
    return {
        (c.population, c.statistic): c
        for c in changes(Ensemble("a", reference), Ensemble("b", candidate))
    }


def test_the_population_that_deviates_most_comes_first():
    scores = deviating(("a", "rate"), ("b", "rate"), ("c", "rate"))
    found = [Change(p, "rate", (0.1, 0.001), None) for p in "abc"]
    assert [line[0] for line in sentences(scores, found)[:3]] == ["c", "b", "a"]


def hints(*found: Change) -> str:
    scores = deviating(*((c.population, c.statistic) for c in found))
    return " ".join(sentences(scores, found)[len({c.population for c in found}) :])


def test_hints_follow_the_direction_of_mean_rates():
    up, down = (0.1, 0.001), (-0.1, 0.001)
    together = "Mean rates move together"
    assert together in hints(Change("a", "rate", up, None), Change("b", "rate", up, None))
    apart = hints(Change("a", "rate", up, None), Change("b", "rate", down, None))
    assert "Mean rates move in a, b" in apart
    assert together not in apart
    assert "Mean rates move in a:" in hints(Change("a", "rate", up, None))


def test_hints_on_correlations():
    cc = (0.5, 0.01)
    assert "Only correlations deviate" in hints(Change("a", "cc", cc, None))
    two = hints(
        Change("a", "cc", cc, None), Change("b", "cc", cc, None), Change("c", "rate", cc, None)
    )
    assert "Correlations deviate in a, b" in two
    one = hints(Change("a", "cc", cc, None), Change("b", "rate", cc, None))
    assert "orrelations" not in one


def test_the_error_of_a_change_is_that_of_a_mean_over_seeds():
    def run(mean: float) -> dict[str, Any]:
        return {"a": dict.fromkeys(("rate", "cv", "cc"), np.array([mean - 0.5, mean + 0.5]))}

    before = {s: run(10.0) for s in (1, 2, 3)}
    after = {s: run(10.0 + s) for s in (1, 2, 3)}
    # changes of 0.1, 0.2 and 0.3, whose sample standard deviation is 0.1
    assert changed(before, after)["a", "rate"].mean == pytest.approx((0.2, 0.1 / np.sqrt(3)))
