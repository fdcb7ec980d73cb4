"""What a candidate's statistics say about where to look."""

from __future__ import annotations

from typing import Any

import numpy as np

from pynn_portability.judge.diagnosis import changes, sentences
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.verdict import judge

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
