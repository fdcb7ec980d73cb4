"""What predictions are made of: noise of counting, shared sources, drawn studies and their verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pynn_portability.formats.names import number_format
from pynn_portability.judge.verdict import MINIMUM_SEEDS, judge
from pynn_portability.model.connectivity import FixedTotalNumber, Indegrees
from pynn_portability.model.network import Network, PoissonDrive, Population, Projection
from pynn_portability.predict import prediction
from pynn_portability.predict.mean_field import (
    Activity,
    Neurons,
    Rates,
    _multapses,
    input_moments,
    interval_variation,
    measured_rates,
)
from pynn_portability.predict.prediction import predict
from pynn_portability.realize.realization import Realization

NEURON = Neurons(10.0, 0.25, 2.0, -65.0, -65.0, -50.0)


# --- Mean field ---


@pytest.mark.parametrize("variation", [0.3, 0.7, 1.0, 1.5])
def test_counting_adds_noise_by_the_square_of_the_variation(variation: float) -> None:
    """Counts of a renewal process have the variance CV^2 times their mean, here 8 per second for 2 s."""
    noise = 8.0 * variation**2 / 2.0
    found = measured_rates(8.0, np.sqrt(5.0 + noise), variation, 2000.0)
    assert found.variance == pytest.approx(5.0)


@pytest.mark.parametrize("indegree", [1, 3, 5])
def test_sums_of_some_of_a_few_sources_vary_as_samples_without_replacement_do(
    indegree: int,
) -> None:
    """The variance of a sum of k of n numbers is k (n - k) / (n - 1) times theirs; 0 for all of them."""
    n, variance, weight, tau = 5, 4.0, 0.1, 0.5
    powers = [weight**a for a in (1, 2, 3, 4)]
    rates = Rates(6.0, variance)
    found = input_moments(Indegrees(indegree, 0.0, n, True), powers, rates, tau)
    sampled = indegree * (n - indegree) / (n - 1) * variance
    assert found.dmu2 == pytest.approx((1e-3 * tau * weight) ** 2 * sampled, abs=1e-15)


def test_two_synapses_of_one_source_act_as_one_of_twice_the_weight() -> None:
    """Each pair adds (2 c)^n - 2 c^n to cumulant n: 2 c^2 to the noise and 6 c^3 to the third."""
    c, rate = 0.04, 7.0
    indegree = Indegrees(30.0, 0.0, 100, False)
    powers = np.array([c, c**2, c**3])
    # contributions per rate (1/s) of the weights as drawn and as held, which are the same here
    contributions = 1e-3 * np.concatenate([powers, powers])
    added = _multapses(indegree, np.outer(contributions, contributions), np.full((6, 6), rate**2))
    # 435 pairs of 30 inputs, each from one of 100 sources with probability 1/100
    scatter = 435 * (1 / 100) * (1 - 1 / 100) * rate**2 * 1e-6
    per_pair = np.array([0.0, 2 * c**2, 6 * c**3] * 2)
    np.testing.assert_allclose(added, scatter * np.outer(per_pair, per_pair), rtol=1e-12)


def test_irregularity_falls_without_a_jump_from_below_to_above_threshold() -> None:
    current = np.linspace(-0.3, 0.6, 181)
    found = np.array([interval_variation(mean, 0.3, 0.5, NEURON) for mean in current])
    assert found[0] == pytest.approx(1.0, abs=1e-3)
    assert found[-1] < 0.5
    # steps of the current are a hundredth of what the whole change takes
    assert np.abs(np.diff(found)).max() < 0.02


# --- Drawn studies ---


def a_network() -> Realization:
    """Noisy neurons that inhibit each other, each with another number of inputs."""
    cells = {
        "cm": 0.25, "tau_m": 10.0, "tau_refrac": 2.0, "v_rest": -65.0, "v_reset": -65.0,
        "v_thresh": -50.0, "i_offset": 0.0, "tau_syn_E": 0.5, "tau_syn_I": 0.5,
    }  # fmt: skip
    population = Population("b", 200, "IF_curr_exp", cells, recorded=True)
    inhibition = Projection("p", "b", "b", "inhibitory", FixedTotalNumber(4000), -0.1, 1.0)
    drive = PoissonDrive("d", "b", "excitatory", 8000.0, 0.1, 1.0)
    return Realization(Network((population,), (inhibition,), (drive,)), 1, 0.1)


def test_runs_of_one_realization_share_its_neurons_but_not_the_noise() -> None:
    """A format that changes nothing is some distance away, but less than realizations in long runs."""
    (found,) = predict(a_network(), [number_format("double")], 5, 20_000.0, 100.0)
    (population,) = found.populations
    assert population.held_rate == pytest.approx(population.rate, rel=1e-4)
    assert 0.0 < population.ks_paired < 0.7 * population.ks_baseline
    assert found.verdict == "pass"


def test_five_seeds_are_drawn_where_there_are_too_few_for_a_verdict() -> None:
    realization, formats = a_network(), [number_format("s16.15")]
    usual = predict(realization, formats, 5, 2000.0, 100.0)
    for seeds in range(1, MINIMUM_SEEDS):
        assert predict(realization, formats, seeds, 2000.0, 100.0) == usual
    assert predict(realization, formats, MINIMUM_SEEDS, 2000.0, 100.0) != usual


@pytest.mark.parametrize("variation", [0.2, 0.5, 0.9])
def test_counts_vary_as_those_of_renewal_processes(variation: float) -> None:
    """The variance of 40,000 counts is CV^2 times their mean, within five of its standard errors."""
    n, duration = 40_000, 4000.0
    activity = {"a": Activity(np.full((1, 2), 10.0), variation)}
    chosen = [{"a": np.zeros(n, np.int64)}]
    rates = prediction._measured(activity, 1, chosen, duration, [3]).runs[0]["a"]["rate"]
    counts = rates * duration / 1000
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    assert counts.mean() == pytest.approx(40.0, abs=5 * variation * np.sqrt(40 / n))
    # a number of trials that is rounded at random adds at most (1 - CV^2)^2 / 4
    expected = 40.0 * variation**2
    assert expected * (1 - 5 * np.sqrt(2 / n)) < counts.var()
    assert counts.var() < (expected + 0.25) * (1 + 5 * np.sqrt(2 / n))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["pass"] * 8 + ["deviates"] * 2, "pass"),
        (["pass"] * 7 + ["deviates"] * 3, "open"),
        (["deviates"] * 8 + ["inconclusive"] * 2, "deviates"),
        (["deviates"] * 7 + ["pass"] * 3, "open"),
        (["inconclusive"] * 10, "open"),
    ],
)
def test_eight_of_ten_studies_make_a_prediction(verdicts: list[str], expected: str) -> None:
    found = prediction._prediction({}, number_format("double"), {}, verdicts, [])
    assert found.verdict == expected
    assert found.shares == {v: verdicts.count(v) / 10 for v in ("pass", "deviates", "inconclusive")}


def test_ten_studies_are_drawn_which_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """``docs/theory.md`` says "8 of 10 drawn studies"; a study that is drawn twice would say nothing."""
    judged = []

    def watched(reference: Any, candidate: Any, baseline: Any) -> Any:
        judged.append((reference, candidate))
        return judge(reference, candidate, baseline)

    monkeypatch.setattr(prediction.validation, "judge", watched)
    predict(a_network(), [number_format("double")], 3, 2000.0, 100.0)
    samples = {e.runs[0]["b"]["rate"].tobytes() for pair in judged for e in pair}
    assert len(judged) == 10
    assert len(samples) == 20
