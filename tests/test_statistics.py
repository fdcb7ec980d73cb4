"""Statistics equal Elephant's on the same spikes, and stay defined where there is nothing to measure."""

import warnings

import elephant.conversion
import elephant.spectral
import elephant.spike_train_correlation
import elephant.statistics
import neo
import numpy as np
import pytest
import quantities as pq
import scipy.stats

from pynn_portability.errors import RequestError
from pynn_portability.judge.activity import frequencies, lags
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.neurons import correlation_neurons
from pynn_portability.judge.statistics import (
    CHOICES,
    distance,
    histogram_edges,
    ks_distance,
    meanings,
    relative_difference,
    statistic,
    statistics,
)
from pynn_portability.judge.verdict import judge
from pynn_portability.spikes.blocks import to_neo
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

TIMESTEP = 0.1


def run(size: int, rate: float, n_steps: int, seed: int = 11) -> SpikeData:
    """Neurons that fire at most once per step, each with its own rate (1/s); some are silent."""
    rng = np.random.default_rng(seed)
    probability = rng.gamma(1.0, rate, size) * TIMESTEP / 1000
    probability[:: max(size // 7, 1)] = 0
    steps, neurons = np.nonzero(rng.random((n_steps, size)) < probability)
    population = PopulationSpikes.from_unsorted(size, steps + 1, neurons)
    return SpikeData(TIMESTEP, n_steps, {"E": population})


def trains(spikes: SpikeData, warmup: float) -> list[neo.SpikeTrain]:
    """Elephant's input: the analysed window, all spikes half a step early, so off the bins' edges."""
    half, stop = 0.5 * spikes.timestep, spikes.n_steps * spikes.timestep
    times = [t.magnitude - half for t in to_neo(spikes).segments[0].spiketrains]
    return [neo.SpikeTrain(t[t > warmup] * pq.ms, t_start=warmup, t_stop=stop) for t in times]


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # Elephant uses numpy.matrix
@pytest.mark.parametrize(("size", "rate", "seed"), [(37, 8.0, 1), (150, 3.0, 2), (430, 40.0, 3)])
def test_equal_to_elephant(size: int, rate: float, seed: int) -> None:
    warmup, n_steps = 200.0, 12_000
    spikes = run(size, rate, n_steps, seed)
    found = statistics(spikes, warmup)["E"]
    neo_trains = trains(spikes, warmup)

    rates = [float(elephant.statistics.mean_firing_rate(t).rescale("1/s")) for t in neo_trains]
    np.testing.assert_allclose(found["rate"], rates, rtol=1e-12)

    cvs = [
        elephant.statistics.cv(elephant.statistics.isi(t).magnitude)
        for t in neo_trains
        if len(t) >= 3
    ]
    assert len(cvs) > 10
    np.testing.assert_allclose(found["cv"], cvs, rtol=1e-9)

    fired = [neo_trains[i] for i in correlation_neurons(size) if len(neo_trains[i])]
    binned = elephant.conversion.BinnedSpikeTrain(fired, bin_size=2 * pq.ms)
    expected = elephant.spike_train_correlation.correlation_coefficient(binned)
    assert len(fired) < min(size, 200)  # silent neurons are among the chosen
    np.testing.assert_allclose(found["cc"], expected[np.triu_indices(len(fired), 1)], atol=1e-11)


def test_window_is_half_open_and_counted_in_steps() -> None:
    steps = np.array([1, 100, 101, 200, 300])  # 100 ends the warmup, 101 begins the window
    population = PopulationSpikes.from_unsorted(2, steps, np.zeros(5, dtype=int))
    found = statistics(SpikeData(0.1, 300, {"E": population}), 10.0)["E"]
    assert found["rate"].tolist() == [3 / 0.02, 0.0]
    assert found["cv"] == pytest.approx([0.5 / 99.5])  # intervals of 99 and 100 steps


def test_grid_aligned_spikes_fall_into_the_bin_that_they_end() -> None:
    # Steps 20 and 40 end the first and second bin of 2 ms: neurons 0 and 1 share both bins, 2 neither.
    steps = np.array([1, 21, 20, 40, 41, 61])
    neurons = np.array([0, 0, 1, 1, 2, 2])
    population = PopulationSpikes.from_unsorted(3, steps, neurons)
    found = statistics(SpikeData(0.1, 80, {"E": population}), 0.0)["E"]
    np.testing.assert_allclose(found["cc"], [1, -1, -1])


def test_order_of_intervals_does_not_change_cv() -> None:
    rng = np.random.default_rng(5)
    intervals = rng.integers(20, 4000, 41)
    found = set()
    for _ in range(20):
        steps = 7 + np.append(0, np.cumsum(rng.permutation(intervals)))
        population = PopulationSpikes.from_unsorted(1, steps, np.zeros(42, dtype=int))
        found |= set(
            statistics(SpikeData(0.1, 200_000, {"E": population}), 0.0)["E"]["cv"].tolist()
        )
    assert len(found) == 1


@pytest.mark.parametrize(
    ("steps", "neurons", "n_cv"),
    [
        ([], [], 0),
        ([7], [1], 0),
        ([7, 9], [1, 1], 0),
        ([5, 5, 5], [2, 2, 2], 0),  # several spikes in one step have no interval
        ([5, 5, 5, 9], [2, 2, 2, 2], 1),
        (list(range(1, 101)) * 2, [0] * 100 + [1] * 100, 2),  # counts that never vary
    ],
)
def test_nothing_to_measure_gives_empty_samples(steps: list, neurons: list, n_cv: int) -> None:
    population = PopulationSpikes.from_unsorted(3, np.array(steps, int), np.array(neurons, int))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = statistics(SpikeData(0.1, 100, {"E": population}), 0.0)["E"]
    assert found["rate"].shape == (3,)
    assert found["rate"].sum() == pytest.approx(len(steps) / 0.01)
    assert found["cv"].shape == (n_cv,)
    assert found["cc"].shape == (0,)
    assert all(np.isfinite(sample).all() for sample in found.values())


def test_correlated_neurons_depend_on_size_alone() -> None:
    assert correlation_neurons(3).tolist() == [0, 1, 2]
    chosen = correlation_neurons(20_683)
    assert chosen.shape == np.unique(chosen).shape == (200,)
    assert chosen.max() < 20_683
    # Spikes of other neurons change nothing.
    few = run(450, 20.0, 5000)
    rng = np.random.default_rng(0)
    others = np.setdiff1d(np.arange(450), correlation_neurons(450))
    population = few.populations["E"]
    more = PopulationSpikes.from_unsorted(
        450,
        np.concatenate([population.steps, rng.integers(1, 5001, 400)]),
        np.concatenate([population.neurons, rng.choice(others, 400)]),
    )
    found = statistics(SpikeData(0.1, 5000, {"E": more}), 0.0)["E"]["cc"]
    np.testing.assert_array_equal(found, statistics(few, 0.0)["E"]["cc"])


@pytest.mark.parametrize(("timestep", "n_steps"), [(0.1, 10_005), (0.025, 40_000), (3.0, 400)])
def test_other_timesteps_and_incomplete_bins(timestep: float, n_steps: int) -> None:
    rng = np.random.default_rng(2)
    population = PopulationSpikes.from_unsorted(
        20, rng.integers(1, n_steps + 1, 900), rng.integers(0, 20, 900)
    )
    found = statistics(SpikeData(timestep, n_steps, {"E": population}), 0.0)["E"]["cc"]
    width = max(round(2 / timestep), 1)
    edges = np.arange(0, n_steps + 1, width) + 0.5
    counts = [np.histogram(population.steps[population.neurons == i], edges)[0] for i in range(20)]
    np.testing.assert_allclose(found, np.corrcoef(counts)[np.triu_indices(20, 1)], atol=1e-11)


@pytest.mark.parametrize("warmup", [30.0, 31.0])
def test_warmup_must_leave_something(warmup: float) -> None:
    with pytest.raises(RequestError, match=f"warmup of {warmup:g} ms .* run of 30 ms"):
        statistics(run(5, 10.0, 300), warmup)


@pytest.mark.parametrize("decimals", [0, 1, 15])
def test_ks_distance_is_scipys(decimals: int) -> None:
    rng = np.random.default_rng(8)
    for n, m in ((300, 200), (50, 4000), (3, 2), (70, 70)):
        a = np.round(rng.normal(size=n), decimals)
        b = np.round(rng.normal(0.3, 1, m), decimals)
        expected = scipy.stats.ks_2samp(a, b).statistic
        assert ks_distance(a, b) == pytest.approx(expected, abs=1e-14)
        assert ks_distance(b, a) == pytest.approx(expected, abs=1e-14)


def test_ks_distance_of_equal_and_empty_samples() -> None:
    a = np.random.default_rng(8).normal(size=30)
    assert ks_distance(np.array([1.0, 1, 2]), np.array([1.0, 2, 2])) == pytest.approx(1 / 3)
    empty = np.empty(0)
    assert ks_distance(a, a) == ks_distance(empty, empty) == 0
    assert ks_distance(a, empty) == ks_distance(empty, a) == 1


def test_histogram_edges() -> None:
    sample = np.random.default_rng(4).normal(5, 2, 1000)
    edges = histogram_edges(sample, -3.0, 14.0)
    width = 2 * scipy.stats.iqr(sample) / 10
    np.testing.assert_allclose(np.diff(edges), width)
    assert edges[0] <= -3 < edges[1]
    assert edges[-2] <= 14 <= edges[-1]
    # Multiples of a quantum lie at the same place in every bin, away from its edges.
    rates = np.random.default_rng(4).poisson(6, 1000) / 10
    edges = histogram_edges(rates, rates.min(), rates.max(), 0.1)
    quanta = np.histogram(np.arange(round(rates.max() * 10) + 1) / 10, edges)[0]
    assert set(quanta[:-1]) == {round((edges[1] - edges[0]) / 0.1)}
    assert np.histogram(rates, edges)[0].sum() == 1000
    # Samples without spread, or empty, still have edges, and never very many.
    for degenerate in (np.zeros(50), np.empty(0), np.full(9, 3.5)):
        edges = histogram_edges(degenerate, 0.0, 4.0)
        assert 2 <= edges.size <= 201
        assert edges[0] <= 0.0
        assert edges[-1] >= 4.0
    assert histogram_edges(np.append(sample, 1e6), -3.0, 1e6).size <= 202


@pytest.mark.parametrize("size", [201, 400, 1000, 4933])
def test_neurons_of_correlations_are_spread_over_the_population(size):
    chosen = correlation_neurons(size)
    assert chosen.size == 200
    assert chosen[0] == 0
    assert set(np.diff(chosen)) <= {size // 200, -(-size // 200)}
    assert size - chosen[-1] <= -(-size // 200)


FURTHER = (
    "lv",
    "synchrony",
    "spectrum",
    "covariance",
    "covariance-size",
    "covariance-shape",
    "epochs-100",
)


@pytest.mark.parametrize(("size", "rate", "seed"), [(37, 8.0, 1), (120, 40.0, 3)])
def test_further_statistics_equal_elephant(size: int, rate: float, seed: int) -> None:
    warmup, n_steps = 200.0, 12_000
    spikes = run(size, rate, n_steps, seed)
    found = statistics(spikes, warmup, FURTHER)["E"]
    neo_trains = trains(spikes, warmup)

    several = [t for t in neo_trains if len(t) >= 3]
    lvs = [elephant.statistics.lv(elephant.statistics.isi(t).magnitude) for t in several]
    np.testing.assert_allclose(found["lv"], lvs, rtol=1e-9)

    def counts(width: float) -> np.ndarray:
        n = int((n_steps * TIMESTEP - warmup) // width)
        stop = (warmup + n * width) * pq.ms
        inside = [t.time_slice(None, stop) for t in neo_trains]
        histogram = elephant.statistics.time_histogram(inside, width * pq.ms, t_stop=stop)
        return histogram.magnitude.ravel()

    threes = counts(3.0)
    np.testing.assert_allclose(found["synchrony"], [threes.var() / threes.mean()], rtol=1e-12)

    np.testing.assert_allclose(found["epochs-100"], counts(100.0) / size / 0.1, rtol=1e-12)

    rates = neo.AnalogSignal(counts(1.0) / size * 1000 / pq.s, sampling_rate=1 / pq.ms)
    hertz, power = elephant.spectral.welch_psd(rates, len_segment=256, overlap=0.5)
    np.testing.assert_allclose(
        frequencies(TIMESTEP), hertz.rescale("Hz").magnitude[1:129], rtol=1e-12
    )
    np.testing.assert_allclose(
        found["spectrum"], power.magnitude.ravel()[1:129], rtol=1e-9, atol=1e-12
    )


def test_covariance_equals_elephants_histograms_of_all_pairs() -> None:
    warmup, size = 100.0, 14
    spikes = run(size, 60.0, 6_000, seed=4)
    found = statistics(spikes, warmup, FURTHER)["E"]
    assert spikes.populations["E"].neurons.size > 100
    binned = elephant.conversion.BinnedSpikeTrain(trains(spikes, warmup), bin_size=1 * pq.ms)
    counts = binned.to_array().astype(float)
    n_bins = counts.shape[1]
    expected = np.zeros(51)
    for i in range(size):
        for j in range(size):
            if i == j:
                continue
            histogram, at = elephant.spike_train_correlation.cross_correlation_histogram(
                binned[i], binned[j], window=[-50, 50]
            )
            assert at.tolist() == list(range(-50, 51))
            for lag, pairs in enumerate(histogram.magnitude.ravel()[50:]):
                first, second = counts[i, : n_bins - lag], counts[j, lag:]
                m, n = counts[i].mean(), counts[j].mean()
                # the histogram counts coincidences; what is left of centring both trains
                centred = pairs - n * first.sum() - m * second.sum() + first.size * m * n
                expected[lag] += centred / (n_bins - lag)
    expected *= 1e6 / (size * (size - 1))
    np.testing.assert_allclose(found["covariance"], expected, rtol=1e-9, atol=1e-9)
    size_of = np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(found["covariance-size"], [size_of], rtol=1e-9)
    np.testing.assert_allclose(found["covariance-shape"], expected / size_of, rtol=1e-9, atol=1e-9)
    assert lags(TIMESTEP).tolist() == pytest.approx(list(range(51)))


def test_covariance_of_a_common_rhythm() -> None:
    """Neurons that double their chance to spike in the same 5 of 20 ms: the covariance of that wave.

    The chance is p (1 + [wave]) with the wave on for a quarter of the time, so that the covariance at lag 0 is
    p² / 4 * 3 / 4 in units of spikes per bin, and it repeats every 20 ms.
    """
    rng = np.random.default_rng(8)
    size, p, n_bins = 200, 0.01, 60_000
    wave = (np.arange(n_bins) % 20) < 5
    bins, neurons = np.nonzero(rng.random((n_bins, size)) < p * (1 + wave)[:, None])
    spikes = SpikeData(1.0, n_bins, {"E": PopulationSpikes.from_unsorted(size, bins + 1, neurons)})
    found = statistics(spikes, 0.0, FURTHER)["E"]
    expected = p**2 * 3 / 16 * 1e6
    # the standard error of a pair-averaged covariance is about p / sqrt(n_bins) / size, 4 % of this
    assert found["covariance"][[0, 20, 40]] == pytest.approx([expected] * 3, rel=0.2)
    assert found["covariance"][10] == pytest.approx(-(p**2) / 16 * 1e6, rel=0.6)
    peak = frequencies(1.0)[np.argmax(found["spectrum"])]
    assert peak == pytest.approx(50.0, abs=4.0)


@pytest.mark.parametrize(
    ("size", "steps", "neurons"),
    [(3, [], []), (1, [10], [0]), (2, [10, 10, 10, 10], [0, 0, 0, 0]), (4, [5, 5999], [0, 3])],
    ids=["silent", "one neuron", "four spikes in a step", "two spikes"],
)
def test_further_statistics_are_finite_where_there_is_little(
    size: int, steps: list[int], neurons: list[int]
) -> None:
    population = PopulationSpikes.from_unsorted(size, np.array(steps, int), np.array(neurons, int))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = statistics(SpikeData(0.1, 6000, {"E": population}), 0.0, FURTHER)["E"]
    assert list(found) == list(FURTHER)
    assert all(np.isfinite(values).all() for values in found.values())
    assert all(distance(name, found[name], found[name]) == 0.0 for name in found)
    assert found["epochs-100"].size == 6


def test_windows_shorter_than_a_curve_have_none() -> None:
    found = statistics(run(20, 50.0, 400), 0.0, FURTHER)["E"]
    assert not any(found[n].size for n in FURTHER if n not in ("lv", "synchrony"))


def test_relative_difference() -> None:
    a, b, empty = np.array([1.0, -2.0]), np.array([2.0, 2.0]), np.empty(0)
    assert relative_difference(a, b) == pytest.approx(5 / 7)
    assert relative_difference(b, a) == relative_difference(a, b)
    assert relative_difference(1e-300 * a, 1e-300 * b) == pytest.approx(5 / 7)
    assert relative_difference(a, np.zeros(2)) == 1.0
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0.0
    assert relative_difference(a, empty) == relative_difference(empty, a) == 1.0
    assert relative_difference(empty, empty) == 0.0
    assert relative_difference(a, np.append(a, 7.0)) == 0.0  # of the common part


@pytest.mark.parametrize(
    "name", ["", "Rate", "epochs", "epochs-0", "epochs--5", "epochs-1e3", "cv "]
)
def test_unknown_statistics_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match="is no statistic, there are rate, cv, cc, lv"):
        statistic(name)


def test_every_statistic_says_what_it_is() -> None:
    assert list(meanings()) == list(CHOICES)
    assert statistic("epochs-62.5").width == 62.5


def oscillating(hertz: float, seed: int, size: int = 100) -> SpikeData:
    """Neurons of 10/s whose chance to spike follows a common wave of this frequency."""
    rng = np.random.default_rng([seed, round(hertz)])
    chance = 0.01 * (1 + 0.9 * np.sin(2 * np.pi * hertz * np.arange(4000) / 1000 + rng.random()))
    bins, neurons = np.nonzero(rng.random((4000, size)) < chance[:, None])
    return SpikeData(1.0, 4000, {"E": PopulationSpikes.from_unsorted(size, bins + 1, neurons)})


def test_an_oscillation_of_another_frequency_is_noticed_by_those_that_can_see_it() -> None:
    names = ("rate", "cv", "spectrum", "covariance-shape", "epochs-500")
    reference, slower = (
        Ensemble(
            "", {s: statistics(oscillating(hertz, s), 0.0, names) for s in range(start, start + 5)}
        )
        for hertz, start in ((40.0, 1), (30.0, 11))
    )
    verdicts = {s.statistic: s.verdict for s in judge(reference, slower, pairing="unpaired").scores}
    assert verdicts.pop("spectrum") == verdicts.pop("covariance-shape") == "deviates"
    assert "deviates" not in verdicts.values()
    assert slower.statistics == list(names)
