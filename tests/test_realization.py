"""Realizations: the generator, the connectors, and that no array depends on how it is asked for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.stats

from pynn_portability.model.connectivity import (
    AllToAll,
    FixedNumberPost,
    FixedNumberPre,
    FixedProbability,
    FixedTotalNumber,
    FromList,
    OneToOne,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
)
from pynn_portability.realize.distributions import quantile
from pynn_portability.realize.realization import Realization, Synapses, to_steps
from pynn_portability.realize.streams import Levels, Stream, _uniform, philox

WEIGHT = Distribution("normal", {"mu": 0.0878, "sigma": 0.00878})
DELAY = Distribution("normal_clipped", {"mu": 1.5, "sigma": 0.75, "low": 0.05, "high": np.inf})
CONNECTORS = [
    AllToAll(),
    OneToOne(),
    FixedProbability(0.1),
    FixedTotalNumber(3000),
    FixedTotalNumber(3000, with_replacement=False),
    FixedNumberPre(17),
    FixedNumberPre(17, with_replacement=True),
    FixedNumberPost(23),
    FixedNumberPost(23, with_replacement=True),
    FixedNumberPre(250),
    FixedNumberPre(Distribution("binomial", {"n": 40.0, "p": 0.3})),
    FixedNumberPost(Distribution("uniform_int", {"low": 90.0, "high": 150.0})),
    FixedNumberPost(Distribution("poisson", {"lambda_": 5.0}), with_replacement=True),
    FromList(np.array([3, 3, 0]), np.array([1, 1, 119])),
]


def network(connector, n_sources=100, n_targets=120, label="A->B"):
    populations = (
        Population("A", n_sources, "IF_curr_exp", {"tau_refrac": 2.04}),
        Population("B", n_targets, "IF_curr_exp", {}),
    )
    projections = (
        Projection(label, "A", "B", "excitatory", connector, WEIGHT, DELAY),
        Projection("A->A", "A", "A", "excitatory", connector, WEIGHT, DELAY),
    )
    return Network(populations, projections)


def all_synapses(realization, label="A->B", **chunk):
    return Synapses.concatenate(list(realization.synapses(label, **chunk)))


def assert_equal(a: Synapses, b: Synapses):
    for name in ("source", "target", "weight", "delay"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_philox_known_answers():
    """The vectors that come with Random123 (Salmon et al. 2011) for philox4x32-10."""
    vectors = [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ]
    for counter, key, expected in vectors:
        words = philox(*(np.uint64(x) for x in (*counter, *key)))
        assert " ".join(f"{int(w):016x}"[i : i + 8] for w in words for i in (0, 8)) == expected


@pytest.mark.parametrize("connector", CONNECTORS, ids=repr)
def test_same_arrays_for_every_chunk_size(connector):
    reference = all_synapses(Realization(network(connector), 1, 0.1))
    for chunk_size in (1, 7, 1000):
        chunked = all_synapses(Realization(network(connector), 1, 0.1), chunk_size=chunk_size)
        assert_equal(reference, chunked)


@pytest.mark.parametrize("connector", CONNECTORS, ids=repr)
def test_same_arrays_for_every_thread_count_and_order(connector):
    reference = all_synapses(Realization(network(connector), 1, 0.1))
    realization = Realization(network(connector), 1, 0.1)
    bounds = [(start, min(start + 64, len(reference))) for start in range(0, len(reference), 64)]
    with ThreadPoolExecutor(4) as pool:  # later parts are asked for first
        parts = list(pool.map(lambda b: realization.synapse_range("A->B", *b), bounds[::-1]))
    assert_equal(reference, Synapses.concatenate(parts[::-1]))


@pytest.mark.parametrize("connector", CONNECTORS, ids=repr)
def test_pairs_and_delays_without_weights(connector):
    realization = Realization(network(connector), 1, 0.1)
    count = realization.synapse_count("A->B")
    for start, stop in ((0, count), (count // 3, count // 2), (count, count)):
        whole = realization.synapse_range("A->B", start, stop)
        bare = realization.synapse_range("A->B", start, stop, weights=False)
        assert bare.weight.shape == (0,)
        assert_equal(whole, Synapses(bare.source, bare.target, whole.weight, bare.delay))


def test_never_more_than_one_chunk():
    realization = Realization(network(FixedTotalNumber(10_000)), 1, 0.1)
    sizes = [len(chunk) for chunk in realization.synapses("A->B", chunk_size=3000)]
    assert sizes == [3000, 3000, 3000, 1000]


def test_count_matches_what_is_drawn():
    for connector in CONNECTORS:
        realization = Realization(network(connector), 3, 0.1)
        assert realization.synapse_count("A->B") == len(all_synapses(realization)), connector


def test_projection_names_and_seeds_are_independent():
    """Correlation of 20,000 independent uniform numbers: |r| > 0.03 has probability 2e-5."""
    streams = [
        Stream.named(seed, "synapse", label).uniforms(0, 20_000)
        for seed in (1, 2)
        for label in ("A->B", "A->C")
    ]
    numbers = [u for pair in streams for u in pair]
    correlation = np.corrcoef(numbers) - np.eye(len(numbers))
    assert np.abs(correlation).max() < 0.03


def test_connectivity_does_not_depend_on_other_projections():
    connector = FixedTotalNumber(500)
    alone = Network(network(connector).populations, network(connector).projections[:1])
    assert_equal(
        all_synapses(Realization(alone, 1, 0.1)),
        all_synapses(Realization(network(connector), 1, 0.1)),
    )


def degrees(indices, size):
    return np.bincount(indices, minlength=size)


def test_connector_definitions():
    def drawn(connector, label="A->B"):
        return all_synapses(Realization(network(connector), 5, 0.1), label)

    def pairs(s):
        return set(zip(s.source.tolist(), s.target.tolist(), strict=True))

    assert len(pairs(drawn(AllToAll()))) == 100 * 120
    s = drawn(AllToAll(self_connections=False), "A->A")
    assert len(s) == 100 * 99
    assert all(i != j for i, j in pairs(s))
    s = drawn(OneToOne())
    assert pairs(s) == {(i, i) for i in range(100)}
    more_sources = Realization(network(OneToOne(), n_sources=5, n_targets=3), 5, 0.1)
    assert pairs(all_synapses(more_sources)) == {(i, i) for i in range(3)}
    s = drawn(FixedNumberPre(17))
    assert (degrees(s.target, 120) == 17).all()
    assert len(pairs(s)) == len(s)
    s = drawn(FixedNumberPre(150, with_replacement=True))
    assert (degrees(s.target, 120) == 150).all()
    s = drawn(FixedNumberPost(23))
    assert (degrees(s.source, 100) == 23).all()
    assert len(pairs(s)) == len(s)
    s = drawn(FixedTotalNumber(11_000, with_replacement=False))
    assert len(s) == len(pairs(s)) == 11_000
    s = drawn(FixedTotalNumber(50_000))
    assert len(s) == 50_000
    s = drawn(FromList(np.array([3, 3, 0]), np.array([1, 1, 119])))
    assert s.source.tolist() == [3, 3, 0]
    assert s.target.tolist() == [1, 1, 119]


def test_nobody_is_chosen_again_before_everybody_was():
    s = all_synapses(Realization(network(FixedNumberPre(250)), 1, 0.1))
    times = np.zeros((100, 120), int)
    np.add.at(times, (s.source, s.target), 1)
    assert (times.sum(axis=0) == 250).all()
    assert set(times.flat) == {2, 3}
    own = all_synapses(
        Realization(network(FixedNumberPost(9, self_connections=False), 5), 1, 0.1), "A->A"
    )
    times = np.zeros((5, 5), int)
    np.add.at(times, (own.source, own.target), 1)
    assert (times.sum(axis=1) == 9).all()
    assert sorted(times.flat) == [0] * 5 + [2] * 15 + [3] * 5


@pytest.mark.parametrize(
    "connector",
    [rule for rule in CONNECTORS if isinstance(rule, FixedNumberPre | FixedNumberPost)],
    ids=repr,
)
def test_the_in_degree_law_of_fixed_numbers_is_that_of_their_draws(connector):
    """24,000 in-degrees: six standard errors of the mean are exceeded about once in 1e8 cases, and the relative
    SD of the variance is below 0.02, as their kurtosis is about 3 and those of one seed hardly depend on each other."""
    net = network(connector)
    law = connector.indegrees(net.ends(net.projections[0]))
    drawn = np.concatenate(
        [degrees(all_synapses(Realization(net, seed, 0.1)).target, 120) for seed in range(1, 201)]
    )
    assert abs(drawn.mean() - law.mean) <= 6 * drawn.std() / np.sqrt(len(drawn)) + 1e-9
    assert drawn.var() == pytest.approx(law.variance, rel=0.1, abs=1e-9)


@pytest.mark.parametrize(
    "connector",
    [
        FixedProbability(0.3, self_connections=False),
        FixedTotalNumber(10, with_replacement=False, self_connections=False),
        FixedTotalNumber(10, self_connections=False),
        FixedNumberPre(2, self_connections=False),
        FixedNumberPre(2, with_replacement=True, self_connections=False),
        FixedNumberPost(2, self_connections=False),
    ],
    ids=repr,
)
def test_every_pair_is_equally_likely(connector):
    """Mean number of synapses per pair over 2,000 seeds: each of 20 pairs within 5 standard errors
    of the mean of all (false-alarm rate about 1e-5 per connector), autapses never."""
    total = np.zeros((5, 5))
    n_seeds = 2000
    for seed in range(n_seeds):
        s = all_synapses(Realization(network(connector, 5, 4), seed, 0.1), "A->A")
        np.add.at(total, (s.source, s.target), 1)
    assert (np.diag(total) == 0).all()
    per_pair = total[~np.eye(5, dtype=bool)] / n_seeds
    mean = per_pair.mean()
    # a pair's count has variance at most its mean
    assert np.abs(per_pair - mean).max() < 5 * np.sqrt(mean / n_seeds)


def test_in_degree_statistics():
    """Fixed total number: in-degrees are binomial; Pearson's dispersion, two-sided 1e-6."""
    n = 2000
    s = all_synapses(Realization(network(FixedTotalNumber(100_000), n, n), 2, 0.1))
    k = degrees(s.target, n)
    dispersion = ((k - k.mean()) ** 2).sum() / (k.mean() * (1 - 1 / n))
    assert scipy.stats.chi2.ppf(5e-7, n - 1) < dispersion < scipy.stats.chi2.ppf(1 - 5e-7, n - 1)


def test_fixed_probability_is_binomial():
    s = all_synapses(Realization(network(FixedProbability(0.1), 2000, 500), 2, 0.1))
    k = degrees(s.source, 2000)
    dispersion = ((k - k.mean()) ** 2).sum() / (500 * 0.1 * 0.9)
    assert scipy.stats.chi2.ppf(5e-7, 1999) < dispersion < scipy.stats.chi2.ppf(1 - 5e-7, 1999)
    assert abs(len(s) - 100_000) < 5 * np.sqrt(2000 * 500 * 0.09)


@pytest.mark.parametrize(
    ("distribution", "reference"),
    [
        (Distribution("normal", {"mu": 1.0, "sigma": 2.0}), scipy.stats.norm(1, 2)),
        (DELAY, scipy.stats.truncnorm(-1.45 / 0.75, np.inf, 1.5, 0.75)),
        (
            Distribution("normal_clipped", {"mu": 0, "sigma": 1, "low": 6, "high": 7}),
            scipy.stats.truncnorm(6, 7),
        ),
        (
            Distribution("lognormal", {"mu": 0.5, "sigma": 0.4}),
            scipy.stats.lognorm(0.4, scale=np.exp(0.5)),
        ),
        (Distribution("uniform", {"low": -2, "high": 3}), scipy.stats.uniform(-2, 5)),
        (Distribution("exponential", {"beta": 3.0}), scipy.stats.expon(scale=3)),
        (Distribution("gamma", {"k": 3.0, "theta": 0.5}), scipy.stats.gamma(3, scale=0.5)),
        (Distribution("poisson", {"lambda_": 4.5}), scipy.stats.poisson(4.5)),
        (Distribution("binomial", {"n": 20, "p": 0.3}), scipy.stats.binom(20, 0.3)),
        (Distribution("vonmises", {"mu": 0.2, "kappa": 4.0}), scipy.stats.vonmises(4, 0.2)),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_quantiles_match_scipy(distribution, reference):
    u = np.linspace(0.0005, 0.9995, 999)
    np.testing.assert_allclose(quantile(distribution, u), reference.ppf(u), rtol=1e-9, atol=1e-9)


def test_other_distributions():
    u = np.linspace(0.0005, 0.9995, 999)
    values = quantile(Distribution("uniform_int", {"low": 2, "high": 5}), u)
    assert set(values) == {2, 3, 4}
    clipped = quantile(
        Distribution(
            "normal_clipped_to_boundary", {"mu": 0, "sigma": 1, "low": -1, "high": np.inf}
        ),
        u,
    )
    np.testing.assert_allclose(np.mean(clipped == -1), scipy.stats.norm.cdf(-1), atol=2e-3)


def test_delay_distribution_of_the_microcircuit():
    """Redrawn below half a step: mean 1.547 ms (INM-6 implementation), 5 standard errors."""
    s = all_synapses(Realization(network(FixedTotalNumber(200_000)), 1, 0.1))
    assert s.delay.min() == 1
    assert abs(s.delay.mean() * 0.1 - 1.547) < 5 * 0.71 / np.sqrt(200_000) + 5e-4


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "delay",
    [
        1.5,
        0.01,
        DELAY,
        Distribution("normal", {"mu": 3.0, "sigma": 0.5}),
        Distribution("normal_clipped", {"mu": 0, "sigma": 1, "low": 4, "high": 6}),
        Distribution(
            "normal_clipped_to_boundary", {"mu": 2, "sigma": 1, "low": 0.5, "high": np.inf}
        ),
        Distribution("lognormal", {"mu": 0.5, "sigma": 0.4}),
        Distribution("uniform", {"low": 0.2, "high": 20.0}),
        Distribution("uniform_int", {"low": 2, "high": 9}),
        Distribution("exponential", {"beta": 3.0}),
        Distribution("gamma", {"k": 3.0, "theta": 0.5}),
        Distribution("poisson", {"lambda_": 4.5}),
        Distribution("binomial", {"n": 20, "p": 0.3}),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_delay_range_is_that_of_all_synapses(delay, seed):
    populations = network(OneToOne()).populations
    connectors = (OneToOne(), FixedTotalNumber(1), FixedTotalNumber(3000), FixedProbability(0.05))
    projections = tuple(
        Projection(f"p{i}", "A", "B", "excitatory", connector, WEIGHT, delay)
        for i, connector in enumerate(connectors)
    )
    realization = Realization(Network(populations, projections), seed, 0.1)
    for projection in projections:
        delays = all_synapses(realization, projection.label).delay
        shortest_longest = realization.delay_range(projection.label)
        assert shortest_longest == (delays.min(), delays.max())
        assert [type(steps) for steps in shortest_longest] == [int, int]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "weight",
    [
        -0.3,
        WEIGHT,
        Distribution("normal", {"mu": -0.3, "sigma": 0.03}),
        Distribution("lognormal", {"mu": 0.5, "sigma": 0.4}),
        Distribution("uniform", {"low": -2.0, "high": -1.0}),
        np.linspace(0.2, 5.0, 3),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_weight_range_is_that_of_all_synapses(weight, seed):
    drawn = [FixedTotalNumber(1), FixedTotalNumber(3000), FixedProbability(0.05)]
    listed = FromList(np.array([3, 3, 0]), np.array([1, 1, 119]))
    connectors = [listed] if isinstance(weight, np.ndarray) else drawn
    projections = tuple(
        Projection(f"p{i}", "A", "B", "excitatory", connector, weight, DELAY)
        for i, connector in enumerate(connectors)
    )
    realization = Realization(Network(network(OneToOne()).populations, projections), seed, 0.1)
    for projection in projections:
        weights = all_synapses(realization, projection.label).weight
        # weights and delays have extremes of their own, in whichever order they are asked for
        assert realization.weight_range(projection.label) == (weights.min(), weights.max())
        delays = all_synapses(realization, projection.label).delay
        assert realization.delay_range(projection.label) == (delays.min(), delays.max())


def test_uniform_numbers_are_between_0_and_1():
    # about once in 10^16 draws a word has all its leading 53 bits equal
    for bits, expected in ((0, 2.0**-54), (2**53 - 1, 1 - 2.0**-53), (2**52 - 1, 0.5 - 2.0**-54)):
        assert _uniform(np.uint64(bits)) == expected
    given = []
    Levels.of(lambda u: given.append(u) or np.zeros(len(u), np.int64))
    assert 0 < min(u.min() for u in given if len(u)) < max(u.max() for u in given if len(u)) < 1


def test_delay_range_of_explicit_delays():
    populations = network(OneToOne()).populations
    connector = FromList(np.array([3, 3, 0]), np.array([1, 1, 119]))
    projections = (
        Projection("list", "A", "B", "excitatory", connector, 1.0, np.array([0.7, 0.25, 12.3])),
        Projection("each", "A", "B", "excitatory", OneToOne(), 1.0, np.linspace(9.96, 2.0, 100)),
    )
    realization = Realization(Network(populations, projections), 1, 0.1)
    assert realization.delay_range("list") == (3, 123)
    assert realization.delay_range("each") == (20, 100)
    assert all_synapses(realization, "each").delay.tolist()[::99] == [100, 20]


def test_times_are_rounded_once_halves_up_at_least_one_step():
    milliseconds = np.array([0.15, 0.25, 0.35, 0.75, 0.04, 0.0, 1.5, 0.14999])
    assert to_steps(milliseconds, 0.1).tolist() == [2, 3, 4, 8, 1, 1, 15, 1]
    assert to_steps(np.array([1.5, 0.3, 2.4]), 1.0).tolist() == [2, 1, 2]


def test_population_arrays():
    network_ = network(OneToOne())
    drawn = Distribution("normal", {"mu": -60.0, "sigma": 3.0})
    populations = (
        Population("A", 100, "IF_curr_exp", {"tau_refrac": 2.04, "tau_m": drawn}, {"v": drawn}),
        network_.populations[1],
        Population(
            "S", 2, "SpikeSourceArray", {}, spike_times=(np.array([2.0, 0.1]), np.array([0.1]))
        ),
    )
    drive = PoissonDrive("noise", "A", "excitatory", np.arange(100.0), 0.1, 0.26)
    realization = Realization(Network(populations, (), (drive,)), 1, 0.1)
    parameters = realization.parameters("A")
    np.testing.assert_array_equal(parameters["tau_refrac"], np.full(100, 20 * 0.1))
    v = realization.initial_values("A")["v"]
    assert v.shape == (100,)
    assert len(set(v)) == 100
    # the same distribution, but independent draws for different quantities
    assert not np.any(v == parameters["tau_m"])
    neurons, steps = realization.spike_steps("S")
    assert (neurons.tolist(), steps.tolist()) == ([0, 1, 0], [1, 1, 20])
    arrays = realization.drive("noise")
    np.testing.assert_array_equal(arrays.rate, np.arange(100.0))
    assert set(arrays.delay) == {3}


def test_weights_per_pair():
    weights = np.arange(12.0).reshape(3, 4)
    populations = (Population("A", 3, "IF_curr_exp", {}), Population("B", 4, "IF_curr_exp", {}))
    projection = Projection("p", "A", "B", "excitatory", FixedTotalNumber(50), weights, 1.0)
    s = all_synapses(Realization(Network(populations, (projection,)), 1, 0.1), "p")
    np.testing.assert_array_equal(s.weight, weights[s.source, s.target])
