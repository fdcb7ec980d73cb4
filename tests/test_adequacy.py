"""Null models, parts of runs, and what a study would notice, on spikes with known properties."""

from __future__ import annotations

from typing import Any

import neo
import numpy as np
import pytest
import quantities as pq
from elephant.spike_train_surrogates import randomise_spikes
from scipy import stats

from pynn_portability.judge import adequacy
from pynn_portability.judge.adequacy import (
    RATE_CHANGES,
    drift_warnings,
    fractions,
    noticed_rate_changes,
    null_scores,
    population_warnings,
    sparse_neurons,
    warnings,
)
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.null_model import part, rate_matched_noise
from pynn_portability.judge.statistics import Statistics, statistics
from pynn_portability.judge.verdict import judge
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

STEP = 0.1
WARMUP = 100.0
DURATION = 4000.0
N_STEPS = round((WARMUP + DURATION) / STEP)


def gamma_trains(size: int, rate: float, shape: float, seed: int) -> SpikeData:
    """Independent renewal processes; intervals have a CV of ``1 / sqrt(shape)``."""
    rng = np.random.default_rng(seed)
    steps, neurons = [], []
    for neuron in range(size):
        mean = 1000.0 / rate / STEP
        n = round(3 * N_STEPS / mean) + 20
        times = np.cumsum(rng.gamma(shape, mean / shape, n)) - mean * rng.random() * 5
        own = np.rint(times[(times >= 1) & (times <= N_STEPS)]).astype(np.int64)
        steps.append(own)
        neurons.append(np.full(own.size, neuron))
    population = PopulationSpikes.from_unsorted(
        size, np.concatenate(steps), np.concatenate(neurons)
    )
    return SpikeData(STEP, N_STEPS, {"a": population})


def counts(spikes: SpikeData) -> np.ndarray:
    population = spikes.populations["a"]
    inside = population.steps > WARMUP / STEP
    return np.bincount(population.neurons[inside], minlength=population.size)


def test_noise_keeps_every_neurons_number_of_spikes_in_the_window():
    spikes = gamma_trains(50, 8.0, 4.0, 1)
    noise = rate_matched_noise(spikes, WARMUP, 3)
    np.testing.assert_array_equal(counts(noise), counts(spikes))
    steps = noise.populations["a"].steps
    assert steps.min() > WARMUP / STEP
    assert steps.max() <= N_STEPS
    again = rate_matched_noise(spikes, WARMUP, 3).populations["a"]
    np.testing.assert_array_equal(again.steps, steps)
    assert (rate_matched_noise(spikes, WARMUP, 4).populations["a"].steps != steps).any()


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_has_the_law_of_elephants_surrogates(seed: int):
    spikes = gamma_trains(50, 20.0, 4.0, seed)
    times = np.sort(rate_matched_noise(spikes, WARMUP, seed).populations["a"].steps * STEP)
    np.random.seed(seed)  # noqa: NPY002 - Elephant draws from the global generator
    train = neo.SpikeTrain(
        times * pq.ms, t_start=WARMUP * pq.ms, t_stop=(WARMUP + DURATION) * pq.ms
    )
    expected = randomise_spikes(train)[0].magnitude
    # false alarms: 1 in 1000 each
    assert stats.ks_2samp(times, expected).pvalue > 1e-3
    assert stats.kstest((times - WARMUP) / DURATION, "uniform").pvalue > 1e-3


def test_regular_spikes_are_told_from_noise_and_poisson_spikes_are_not():
    seeds = range(1, 6)
    for shape, told in ((4.0, True), (1.0, False)):
        runs = {s: gamma_trains(150, 10.0, shape, 10 * s) for s in seeds}
        reference = {s: statistics(r, WARMUP) for s, r in runs.items()}
        noise = {s: statistics(rate_matched_noise(r, WARMUP, s), WARMUP) for s, r in runs.items()}
        scores = null_scores(Ensemble("reference", reference), Ensemble("noise", noise))
        assert [s.statistic for s in scores] == ["cv", "cc"]
        assert (scores[0].verdict == "deviates") == told
        assert scores[1].verdict != "deviates"  # independent neurons
        found = warnings(scores, DURATION)
        assert any("CC in every population" in w for w in found)
        assert any(w.startswith("4 s is too short for CV") for w in found) == (not told)


def test_first_part_is_the_run_that_ended_earlier():
    spikes = gamma_trains(20, 10.0, 1.0, 5)
    first = part(spikes, WARMUP, 0.0, 0.25)
    assert first.n_steps == round((WARMUP + DURATION / 4) / STEP)
    whole, warmup = spikes.populations["a"], round(WARMUP / STEP)
    early = (whole.steps > warmup) & (whole.steps <= first.n_steps)
    np.testing.assert_array_equal(first.populations["a"].steps, whole.steps[early])
    np.testing.assert_array_equal(first.populations["a"].neurons, whole.neurons[early])


def test_every_step_of_the_window_is_in_one_part():
    """A spike at the last step of a part is in that part, and not in the next."""
    skipped, n_steps = 10, 30
    steps = np.arange(1, n_steps + 1)
    every = PopulationSpikes.from_unsorted(1, steps, np.zeros(n_steps, np.int32))
    spikes = SpikeData(1.0, n_steps, {"a": every})
    for begin, end in ((0.0, 0.25), (0.25, 0.5), (0.75, 1.0), (0.0, 1.0)):
        found = part(spikes, float(skipped), begin, end)
        length = round(20 * (end - begin))
        assert found.n_steps == skipped + length
        # what follows the warm-up is the part, moved to where the window begins
        np.testing.assert_array_equal(
            found.populations["a"].steps, skipped + np.arange(1, length + 1)
        )


def test_parts_make_up_the_whole():
    spikes = gamma_trains(20, 10.0, 1.0, 6)
    parts = [part(spikes, WARMUP, 0.25 * i, 0.25 * (i + 1)) for i in range(4)]
    assert len({p.n_steps for p in parts}) == 1
    np.testing.assert_array_equal(sum(counts(p) for p in parts), counts(spikes))
    intervals = [np.diff(p.populations["a"].steps).sum() for p in parts]
    assert min(intervals) > 0
    with_warmup = part(spikes, WARMUP, 0.0, 1.0)
    sample, expected = (statistics(run, WARMUP)["a"]["cv"] for run in (with_warmup, spikes))
    np.testing.assert_array_equal(sample, expected)


@pytest.mark.parametrize("shift", [0, 1000])
def test_a_reference_that_drifts_is_told(shift: int):
    """Other seeds would raise a false alarm in up to 5 % of cases: the quarters are independent."""

    def quarters(begin: float, gain: float) -> dict[int, Statistics]:
        """Independent runs whose rates grow by ``gain`` towards the last quarter."""
        return {
            s: statistics(
                part(
                    gamma_trains(200, 10.0 * gain, 4.0, 50 * s + shift + round(begin * 4)),
                    *(WARMUP, begin, begin + 0.25),
                ),
                WARMUP,
            )
            for s in range(1, 6)
        }

    steady = judge(
        Ensemble("first", quarters(0.0, 1.0)), Ensemble("last", quarters(0.75, 1.0))
    ).scores
    assert drift_warnings(steady) == []
    (warning,) = drift_warnings(
        judge(Ensemble("first", quarters(0.0, 1.0)), Ensemble("last", quarters(0.75, 1.5))).scores
    )
    assert "rate in a" in warning and warning.startswith("The reference drifts")


def test_parts_that_are_too_short_are_not_judged():
    assert fractions(10_000.0) == [0.125, 0.25, 0.5]
    assert fractions(1000.0) == [0.5]
    assert fractions(900.0) == []


def test_silent_neurons_and_single_spikes_are_counted():
    steps = np.array([1100, 1200, 1300, 900, 1500])  # one of them before the window
    population = PopulationSpikes.from_unsorted(5, steps, np.array([0, 1, 1, 2, 3]))
    sample = statistics(SpikeData(STEP, N_STEPS, {"a": population}), WARMUP)
    assert sparse_neurons(sample, DURATION) == {"a": (2, 2)}


def test_more_data_notice_smaller_changes():
    def noticed(rate: float) -> float | None:
        reference = {s: statistics(gamma_trains(200, rate, 4.0, 100 + s), WARMUP) for s in range(5)}
        return noticed_rate_changes(Ensemble("reference", reference), DURATION)["a"]

    slow, fast = noticed(2.0), noticed(40.0)
    assert slow is not None
    assert fast is not None
    assert fast < slow


def test_silence_notices_nothing():
    silent = PopulationSpikes.from_unsorted(5, np.empty(0, np.int64), np.empty(0, np.int32))
    sample = statistics(SpikeData(STEP, N_STEPS, {"a": silent}), WARMUP)
    assert noticed_rate_changes(
        Ensemble("silent", {1: sample, 2: sample, 3: sample}), DURATION
    ) == {"a": None}


def test_noise_is_in_every_step_of_the_window_and_in_no_other():
    """Each of three steps is missed by 2,000 spikes with a probability below 1e-350."""
    skipped, size = round(WARMUP / STEP), 2000
    before = PopulationSpikes.from_unsorted(size, np.full(size, skipped), np.arange(size))
    inside = PopulationSpikes.from_unsorted(size, np.full(size, skipped + 1), np.arange(size))
    run = SpikeData(STEP, skipped + 3, {"before": before, "inside": inside})
    noise = rate_matched_noise(run, WARMUP, 1).populations
    assert noise["before"].steps.size == 0
    assert np.unique(noise["inside"].steps).tolist() == [skipped + 1, skipped + 2, skipped + 3]


def sample_of(**rates: list[float]) -> Statistics:
    empty = np.empty(0)
    return {p: {"rate": np.array(r), "cv": empty, "cc": empty} for p, r in rates.items()}


def test_small_and_silent_populations_are_named():
    runs = {
        1: sample_of(large=[1.0], small=[1.0], once=[1.0], never=[0.0]),
        2: sample_of(large=[1.0], small=[1.0], once=[0.0], never=[0.0]),
    }
    sizes = {"large": 200, "small": 199, "once": 300, "never": 300}
    small, silent = population_warnings(sizes, Ensemble("reference", runs))
    assert "neurons in small (199):" in small
    assert "Not a single spike in never in any run" in silent
    assert population_warnings(sizes, Ensemble("reference", {})) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_change_that_is_noticed_is_that_of_the_rates(seed: int):
    """With a million spikes per neuron, losing some of them at random is losing this part of them."""
    rng = np.random.default_rng(seed)
    runs = {s: sample_of(a=list(250.0 * rng.uniform(1.0, 1.2, 400))) for s in range(5)}
    reference = Ensemble("reference", runs)

    def deviates(change: float) -> bool:
        fewer = {
            s: {"a": {**run["a"], "rate": run["a"]["rate"] * (1 - change)}}
            for s, run in runs.items()
        }
        return judge(reference, Ensemble("fewer", fewer)).scores[0].verdict == "deviates"

    smallest = next(change for change in RATE_CHANGES if deviates(change))
    assert smallest > RATE_CHANGES[0]
    assert noticed_rate_changes(reference, 4e6)["a"] == smallest


def test_runs_lose_spikes_independently(monkeypatch: pytest.MonkeyPatch):
    """What chance removes from one run must not be what it removes from the others, too."""
    given: list[Ensemble] = []

    def watched(reference: Ensemble, candidate: Ensemble, baseline: Any = None) -> Any:
        given.append(candidate)
        return judge(reference, candidate, baseline)

    monkeypatch.setattr(adequacy, "judge", watched)
    alike = {s: sample_of(a=[20.0] * 200) for s in range(3)}
    noticed_rate_changes(Ensemble("reference", alike), DURATION)
    assert len(given) == len(RATE_CHANGES)
    for change, ensemble in zip(RATE_CHANGES, given, strict=True):
        first, second, third = (run["a"]["rate"] for run in ensemble.runs.values())
        assert (first != second).any()
        assert (second != third).any()
        # 16,000 spikes a run: five standard deviations of a binomial number
        lost = 1 - np.mean([first, second, third]) / 20.0
        assert abs(lost - change) < 5 * np.sqrt(change * (1 - change) / 48_000)
