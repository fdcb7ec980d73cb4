"""Statistics equal Elephant's on the same spikes, and stay defined where there is nothing to measure."""

import warnings

import elephant.conversion
import elephant.spike_train_correlation
import elephant.statistics
import neo
import numpy as np
import pytest
import quantities as pq
import scipy.stats

from pynn_portability.errors import RequestError
from pynn_portability.judge.statistics import (
    correlation_neurons,
    histogram_edges,
    ks_distance,
    statistics,
)
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
