"""Verdicts: right on known truths, at the error rates they claim, and defined in every corner."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from pynn_portability.errors import RequestError
from pynn_portability.judge import verdict
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import Statistics, ks_distance
from pynn_portability.judge.verdict import (
    FAMILYWISE_ERROR,
    MARGIN,
    Judgement,
    Pairing,
    Score,
    rule,
)


def judge(
    reference: Mapping[int, Statistics],
    candidate: Mapping[int, Statistics],
    baseline: Any = None,
    pairing: Pairing = "paired",
) -> verdict.Judgement:
    """A verdict on runs that are given by seed."""
    return verdict.judge(
        Ensemble("reference", reference), Ensemble("candidate", candidate), baseline, pairing
    )


_path = Path(__file__).parents[1] / "benchmarks" / "verdict_calibration.py"
_spec = importlib.util.spec_from_file_location("verdict_calibration", _path)
assert _spec is not None
assert _spec.loader is not None
calibration = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = calibration  # where dataclasses look their annotations up
_spec.loader.exec_module(calibration)

Runs = dict[int, Statistics]


def ensemble(
    seeds: Iterable[int], offset: float = 0.0, stream: int = 0, sizes: tuple[int, ...] = (200, 100)
) -> Runs:
    """Independent normal samples, in which ``offset`` moves the first population's rates."""
    result: Runs = {}
    for seed in seeds:
        rng = np.random.default_rng([stream, seed])
        result[seed] = {
            f"P{i}": {
                name: rng.normal(size=size) + (offset if (i, name) == (0, "rate") else 0.0)
                for name in ("rate", "cv", "cc")
            }
            for i, size in enumerate(sizes)
        }
    return result


def score(judgement: Judgement, population: str, statistic: str) -> Score:
    (found,) = (
        s for s in judgement.scores if (s.population, s.statistic) == (population, statistic)
    )
    return found


def number(value: float | None) -> float:
    assert value is not None
    return value


def assert_serializable(judgement: Judgement) -> None:
    json.dumps(asdict(judgement), allow_nan=False)


def test_distances_are_those_of_the_right_pairs() -> None:
    reference, candidate = ensemble([4, 7, 9]), ensemble([9, 4, 7], stream=1)
    found = score(judge(reference, candidate), "P1", "cv")
    paired = [ks_distance(reference[s]["P1"]["cv"], candidate[s]["P1"]["cv"]) for s in (4, 7, 9)]
    between = [
        ks_distance(reference[s]["P1"]["cv"], reference[t]["P1"]["cv"])
        for s, t in ((4, 7), (4, 9), (7, 9))
    ]
    assert found.distances == paired
    assert found.baseline == between
    assert found.distance_mean == pytest.approx(np.mean(paired))
    assert found.baseline_mean == pytest.approx(np.mean(between))
    assert found.baseline_sd == pytest.approx(np.std(between))
    assert found.ratio == pytest.approx(np.mean(paired) / np.mean(between))
    assert number(found.ratio_low) < number(found.ratio) < number(found.ratio_high)


def test_bounds_agree_with_an_independent_computation() -> None:
    """Leave-one-seed-out by recomputing both means from scratch, for one population."""
    reference, candidate = (ensemble(range(5), stream=s, sizes=(150,)) for s in (0, 1))
    found = score(judge(reference, candidate), "P0", "cc")
    changes = []
    for left_out in range(5):
        rest = [s for s in range(5) if s != left_out]
        part = score(
            judge({s: reference[s] for s in rest}, {s: candidate[s] for s in rest}), "P0", "cc"
        )
        changes.append(
            number(part.distance_mean) / number(found.distance_mean)
            - number(part.baseline_mean) / number(found.baseline_mean)
        )
    error = np.sqrt(4 / 5 * np.sum((np.array(changes) - np.mean(changes)) ** 2))
    # One population: nothing to average with, so Student's t with 4 degrees of freedom, and three
    # comparisons for Bonferroni. Quantiles from a table: t(4) at 0.05 and at 0.05 / 3.
    ratio, low, high = number(found.ratio), number(found.ratio_low), number(found.ratio_high)
    assert np.log(high / ratio) / error == pytest.approx(2.1318, abs=1e-4)
    assert np.log(ratio / low) / error == pytest.approx(3.1863, abs=1e-2)


def test_unpaired_bounds_agree_with_an_independent_computation() -> None:
    """Leave-one-out by recomputing both means from scratch, of 5 reference and 4 candidate runs."""
    reference = ensemble(range(5), sizes=(150,))
    candidate = ensemble(range(20, 24), stream=1, sizes=(150,))
    found = score(judge(reference, candidate, pairing="unpaired"), "P0", "cc")
    between = [
        ks_distance(r["P0"]["cc"], c["P0"]["cc"])
        for r in reference.values()
        for c in candidate.values()
    ]
    assert found.distance_mean == pytest.approx(np.mean(between))
    assert len(found.distances) == 4
    variances = []
    for runs, other in ((candidate, reference), (reference, candidate)):
        changes = []
        for left_out in runs:
            rest = {s: run for s, run in runs.items() if s != left_out}
            both = (other, rest) if runs is candidate else (rest, other)
            part = score(judge(*both, pairing="unpaired"), "P0", "cc")
            changes.append(
                number(part.distance_mean) / number(found.distance_mean)
                - number(part.baseline_mean) / number(found.baseline_mean)
            )
        n = len(changes)
        variances.append((n - 1) / n * np.sum((np.array(changes) - np.mean(changes)) ** 2))
    error = np.sqrt(sum(variances))
    freedom = 3  # one less than the fewer runs
    ratio, low, high = number(found.ratio), number(found.ratio_low), number(found.ratio_high)
    assert np.log(high / ratio) / error == pytest.approx(student.isf(0.05, freedom))
    assert np.log(ratio / low) / error == pytest.approx(student.isf(0.05 / 3, freedom))


def test_an_unpaired_verdict_does_not_depend_on_which_seeds_are_called_alike() -> None:
    reference, candidate = ensemble(range(5)), ensemble(range(5), offset=0.3, stream=1)
    renamed = {(seed + 2) % 5: run for seed, run in candidate.items()}
    first, second = (judge(reference, c, pairing="unpaired") for c in (candidate, renamed))
    for a, b in zip(first.scores, second.scores, strict=True):
        assert (a.ratio_low, a.ratio, a.ratio_high) == pytest.approx(
            (b.ratio_low, b.ratio, b.ratio_high), rel=1e-9
        )
    paired = [judge(reference, c).scores[0].ratio for c in (candidate, renamed)]
    assert paired[0] != pytest.approx(paired[1])


def test_unpaired_special_cases() -> None:
    reference = ensemble(range(5))
    few = judge(reference, ensemble((1, 2), stream=1), pairing="unpaired")
    assert few.verdict == "inconclusive"
    assert few.reasons == [
        "The candidate has 2 runs and the reference 5, where a verdict needs at least 3 and usually 5."
    ]
    alike = dict.fromkeys(range(4), reference[0])
    assert judge(alike, alike, pairing="unpaired").verdict == "pass"
    assert judge(alike, ensemble(range(3), stream=1), pairing="unpaired").verdict == "deviates"
    none = judge(reference, {}, pairing="unpaired")
    assert none.verdict == "inconclusive"


def test_variance_is_averaged_over_populations_of_the_same_statistic() -> None:
    reference, candidate = (ensemble(range(5), stream=s, sizes=(150, 150, 80)) for s in (0, 1))

    def logarithm_of_upper_bound(populations: list[str]) -> list[float]:
        runs = [{s: {p: run[p] for p in populations} for s, run in e.items()} for e in ensembles]
        scores = [score(judge(runs[0], runs[1]), p, "rate") for p in populations]
        return [np.log(number(s.ratio_high) / number(s.ratio)) for s in scores]

    ensembles = (reference, candidate)
    labels = ["P0", "P1", "P2"]
    own = [(logarithm_of_upper_bound([p])[0] / student.isf(0.05, 4)) ** 2 for p in labels]
    expected = student.isf(0.05, 8) * np.sqrt((np.array(own) + np.mean(own)) / 2)
    np.testing.assert_allclose(logarithm_of_upper_bound(labels), expected)


def test_a_wrong_candidate_deviates_where_it_is_wrong() -> None:
    judgement = judge(ensemble(range(6)), ensemble(range(6), offset=1.0, stream=1))
    assert judgement.verdict == "deviates"
    assert [(s.population, s.statistic) for s in judgement.scores if s.verdict == "deviates"] == [
        ("P0", "rate")
    ]
    found = score(judgement, "P0", "rate")
    assert judgement.reasons == [
        f"rate in P0: {found.ratio:.2f} times the distance between reference realizations "
        f"(at least {found.ratio_low:.2f})."
    ]
    assert_serializable(judgement)


def test_more_seeds_find_smaller_deviations() -> None:
    def count(n_seeds: int) -> int:
        return sum(
            judge(
                ensemble(range(n_seeds), stream=10 + stream),
                ensemble(range(n_seeds), offset=0.2, stream=stream),
            ).verdict
            == "deviates"
            for stream in range(10)
        )

    assert count(4) <= 5
    assert count(24) == 10


def test_inconclusive_says_what_cannot_be_excluded() -> None:
    judgement = judge(ensemble(range(4), stream=10), ensemble(range(4), offset=0.2, stream=1))
    assert judgement.verdict == "inconclusive"
    found = [s for s in judgement.scores if s.verdict == "inconclusive"]
    assert len(judgement.reasons) == len(found) > 0
    assert all(s.ratio_high is not None and s.ratio_high >= MARGIN for s in found)
    assert all("cannot be excluded" in reason for reason in judgement.reasons)


def test_a_correct_candidate_passes_with_the_largest_ratio_named() -> None:
    judgement = judge(ensemble(range(8)), ensemble(range(8), stream=1))
    assert judgement.verdict == "pass"
    largest = max(judgement.scores, key=lambda s: s.ratio or 0)
    assert len(judgement.reasons) == 1
    assert (
        f"{largest.statistic} in {largest.population}, at {largest.ratio:.2f}"
        in judgement.reasons[0]
    )


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_spike_by_spike_equality_passes(n_seeds: int) -> None:
    reference = ensemble(range(n_seeds))
    judgement = judge(reference, reference)
    assert judgement.verdict == "pass"
    assert {(s.ratio, s.ratio_low, s.ratio_high) for s in judgement.scores} == {(0, 0, 0)}
    assert_serializable(judgement)


@pytest.mark.parametrize("n_common", [0, 1, 2])
def test_too_few_common_seeds(n_common: int) -> None:
    judgement = judge(ensemble(range(5)), ensemble(range(5 - n_common, 10 - n_common), stream=1))
    assert judgement.verdict == "inconclusive"
    (reason,) = judgement.reasons
    assert reason.startswith(f"{n_common} seeds")
    assert "at least 3" in reason
    assert {s.verdict for s in judgement.scores} == {"inconclusive"}
    assert all(len(s.distances) == n_common for s in judgement.scores)
    assert_serializable(judgement)


def test_nothing_ran() -> None:
    for judgement in (judge({}, {}), judge(ensemble([1]), {}), judge({}, ensemble([1]))):
        assert judgement.verdict == "inconclusive"
        assert_serializable(judgement)


def test_only_common_seeds_count_and_a_given_baseline_changes_nothing() -> None:
    reference, candidate = ensemble(range(7)), ensemble([1, 2, 4, 5, 40], stream=1)
    expected = judge({s: reference[s] for s in (1, 2, 4, 5)}, candidate)
    assert judge(reference, candidate) == expected
    baseline = verdict.baseline_distances(Ensemble("reference", reference))
    assert len(baseline["P0", "rate"]) == 21
    assert judge(reference, candidate, baseline) == expected


def _all(sample: list[float]) -> Callable[[int], np.ndarray]:
    return lambda seed: np.array(sample)


@pytest.mark.parametrize(
    ("reference", "candidate", "verdict"),
    [
        (_all([]), _all([]), "pass"),  # silent everywhere
        (_all([1, 2]), _all([1, 2]), "pass"),  # reference without variability, equal
        (_all([1, 2]), _all([1, 3]), "deviates"),  # and different
        (_all([]), _all([1]), "deviates"),  # silent in the reference alone
        (_all([]), lambda seed: np.ones(int(seed == 2)), "inconclusive"),  # different for one seed
        (_all([1]), _all([]), "deviates"),  # silent in the candidate alone
        # Every two runs equally far apart.
        (lambda seed: np.full(7, seed), lambda seed: np.full(7, seed + 0.5), "pass"),
        # One reference realization differs from the others, which are equal.
        (lambda seed: np.full(3, seed == 2), _all([0, 0, 0]), "pass"),
        (lambda seed: np.ones(int(seed == 2)), _all([]), "pass"),
        # Few realizations in which a neuron fires decide nothing.
        (lambda seed: np.ones(int(seed == 2)), lambda seed: np.ones(int(seed > 0)), "inconclusive"),
    ],
)
def test_degenerate_samples(
    reference: Callable[[int], np.ndarray], candidate: Callable[[int], np.ndarray], verdict: str
) -> None:
    ensembles = [
        {s: {"P": {"cv": f(s).astype(float)}} for s in range(5)} for f in (reference, candidate)
    ]
    with np.errstate(all="raise"):
        judgement = judge(ensembles[0], ensembles[1])
    assert judgement.verdict == judgement.scores[0].verdict == verdict
    assert len(judgement.reasons) == 1
    assert_serializable(judgement)


def test_different_populations_are_refused() -> None:
    reference, candidate = ensemble(range(4)), ensemble(range(4), stream=1)
    candidate[2] = {"P0": candidate[2]["P0"]}
    with pytest.raises(RequestError, match="'P1'"):
        judge(reference, candidate)


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
def test_rule_is_three_sentences_with_its_numbers(pairing: Pairing) -> None:
    assert len(rule(pairing)) == 3
    assert all(sentence.endswith(".") and sentence.count(". ") == 0 for sentence in rule(pairing))
    assert f"{FAMILYWISE_ERROR:.0%}" in rule(pairing)[2]
    assert f"below {MARGIN:g}" in rule(pairing)[2]


# Error rates, on smaller synthetic studies than the benchmark's.

N_STUDIES = 100


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four populations of at most 200 neurons, 30 of which are correlated."""
    for name, keep in (("LABELS", 4), ("RATES", 4)):
        monkeypatch.setattr(calibration, name, getattr(calibration, name)[:keep])
    monkeypatch.setattr(calibration, "SIZES", (200, 80, 200, 100))
    monkeypatch.setattr(calibration, "CORRELATED_NEURONS", 30)


def verdicts(scenario: Any, n_seeds: int, pairing: Pairing = "paired") -> list[str]:
    """The scenario for four populations."""
    scenario = replace(scenario, shift=scenario.shift[:4], effect=scenario.effect[:4])
    found = calibration.judgements(scenario, n_seeds, N_STUDIES, 1, pairing)
    return [j.verdict for j in found]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
@pytest.mark.parametrize("name", ["correct, other realizations", "  realizations dominate"])
def test_false_alarms_are_as_rare_as_claimed(name: str, pairing: Pairing) -> None:
    """The candidate is drawn as the reference is: at most 5 % of the studies may call it deviating.

    With a true rate of 5 % the bound fails in fewer than 1 of 1,000 choices of the random seed.
    """
    (scenario,) = (s for s in calibration.SCENARIOS if s.name == name)
    found = verdicts(scenario, 5, pairing)
    bound = binom.isf(1e-3, N_STUDIES, FAMILYWISE_ERROR)
    assert found.count("deviates") <= bound < N_STUDIES / 5


@pytest.mark.usefixtures("small")
def test_correct_candidates_pass_and_wrong_ones_deviate() -> None:
    """At least 85 % each. The benchmark measures more, so that 1 in 1,000 random seeds fails."""
    correct = next(s for s in calibration.SCENARIOS if s.name == "correct, same realizations")
    wrong = replace(correct, effect=(0.0, 0.0, 0.17, 0.0))
    assert verdicts(correct, 5).count("pass") >= 0.85 * N_STUDIES
    assert verdicts(wrong, 5).count("deviates") >= 0.85 * N_STUDIES


def test_the_margin_leaves_as_many_correct_ports_undecided_as_documented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four seeds leave a correct port undecided in one of seven studies, says ``docs/verdict.md``.

    Which share that is depends on the margin more than on anything else: 35 % with 2.25 instead of 2.5,
    and 1.4 % with 3. Correct rules fail for 2 of 1,000 choices of the random seed.
    """
    monkeypatch.setattr(calibration, "CORRELATED_NEURONS", 20)  # quicker, and no ratio changes
    scenario = next(s for s in calibration.SCENARIOS if s.name == "correct, same realizations")
    found = [j.verdict for j in calibration.judgements(scenario, 4, N_STUDIES, 1)]
    undecided = 1 / 7
    low, high = binom.ppf(1e-3, N_STUDIES, undecided), binom.isf(1e-3, N_STUDIES, undecided)
    assert low <= found.count("inconclusive") <= high
