"""Mean-field theory against published tables, Monte Carlo draws, realizations and simulations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import portability
from progress_lines import without_progress
from report_example import example, write
from scipy import integrate, special

from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.connectivity import (
    AllToAll,
    ConnectionRule,
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
    Value,
)
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.predict.mean_field import (
    Indegrees,
    InputMoments,
    MeanField,
    Neurons,
    Rates,
    epsilon,
    epsilon_from_symbols,
    input_moments,
    interval_variation,
    measured_rates,
    projection_epsilons,
    stationary_rate,
    weight_pairs,
)
from pynn_portability.predict.prediction import PopulationPrediction as PredictedRates
from pynn_portability.predict.prediction import Prediction, predict
from pynn_portability.predict.recommendation import Recommendation, Trial, search
from pynn_portability.realize.realization import Realization
from pynn_portability.reports.theory_figures import (
    epsilon_matrix_picture,
    epsilon_pictures,
    spread_pictures,
)
from pynn_portability.results.schema import Epsilon, PopulationPrediction

# Potjans and Diesmann (2014): PyNN units
LIF = {
    "cm": 0.25, "tau_m": 10.0, "tau_refrac": 2.0, "v_rest": -65.0, "v_reset": -65.0,
    "v_thresh": -50.0, "i_offset": 0.0, "tau_syn_E": 0.5, "tau_syn_I": 0.5,
}  # fmt: skip
NEURON = Neurons(*(LIF[name] for name in Neurons._fields))


def normal(mean: float, sd: float) -> Distribution:
    return Distribution("normal", {"mu": mean, "sigma": sd})


def pair(
    connector: ConnectionRule,
    weight: Value = 0.1,
    sizes: tuple[int, int] = (400, 300),
    source: str = "SpikeSourcePoisson",
    rate: float = 20.0,
    same: bool = False,
    drive: float = 0.08,
) -> Network:
    """A population of sources and one of LIF neurons with noise, or the latter onto itself."""
    target = Population("b", sizes[1], "IF_curr_exp", LIF, recorded=True)
    first = target if same else Population("a", sizes[0], source, {"rate": rate})
    inhibitory = not isinstance(weight, Distribution) and np.all(np.asarray(weight) < 0)
    projection = Projection(
        "p",
        first.label,
        "b",
        "inhibitory" if inhibitory else "excitatory",
        connector,
        weight,
        1.0,
    )
    noise = PoissonDrive("d", "b", "excitatory", 8000.0, drive, 1.0)
    return Network((target,) if same else (first, target), (projection,), (noise,))


def realized(network: Network, seed: int = 1) -> Realization:
    return Realization(network, seed, 0.1)


# --- Discretisation errors ---


def test_errors_of_one_and_two_bins_with_binomial_indegrees():
    for n in (0.001, 0.1, 1.0):
        assert epsilon_from_symbols(1, 0.01, n, 1.0) == pytest.approx((0, 0.01, 0.01, 0.0603))
        assert epsilon_from_symbols(2, 0.01, n, 1.0) == pytest.approx((0, 0, 0, 1.89e-4), rel=2e-3)


@pytest.mark.parametrize(
    ("n", "mean", "variance", "two_bins"),
    [
        (0.002, 5.01, 20.2, 0.0048),
        (0.005, 2.01, 8.10, 0.0044),
        (0.02, 0.51, 2.07, 0.0033),
        (0.1, 0.11, 0.462, 0.0015),
        (0.5, 0.03, 0.141, 0.0005),
        (1.0, 0.02, 0.101, 0.0004),
    ],
)
def test_errors_of_one_and_two_bins_with_fixed_indegrees(n, mean, variance, two_bins):
    errors = epsilon_from_symbols(1, 0.01, n, 0.0)
    assert errors == pytest.approx((0, 0.01, mean, variance), rel=5e-3)
    assert epsilon_from_symbols(2, 0.01, n, 0.0).dsigma2 == pytest.approx(two_bins, abs=6e-5)


def test_many_inputs_that_scatter_leave_an_error_of_the_noise_only():
    j = 0.04
    errors = epsilon_from_symbols(1, j, 0.3, 1e9)
    assert errors.dmu2 == pytest.approx(0, abs=1e-9)
    assert errors.dsigma2 == pytest.approx(j * (2 + j))


def test_table_has_one_and_two_bins_only():
    with pytest.raises(ValueError, match="3 bins"):
        epsilon_from_symbols(3, 0.01, 0.1, 1.0)


@pytest.mark.parametrize("mean", [0.0878, -0.3512])
@pytest.mark.parametrize("n", [0.003, 0.4])
@pytest.mark.parametrize("bins", [1, 2])
@pytest.mark.parametrize(
    ("connector", "k"),
    [(FixedTotalNumber(60000), 1 - 1 / 300), (FixedNumberPre(200, True), 0.0)],
    ids=["fixed total number", "fixed in-degree"],
)
def test_errors_of_a_projection_are_those_of_the_table(connector, k, bins, n, mean):
    network = pair(connector, normal(mean, 0.1 * abs(mean)))
    rates = {"a": Rates(5.0, n * 25.0)}
    errors = projection_epsilons(number_format(f"moments-{bins}").on(realized(network)), rates)["p"]
    assert errors == pytest.approx(epsilon_from_symbols(bins, 0.01, n, k), rel=1e-6, abs=1e-9)


def test_errors_of_two_naive_bins():
    for connector, expected in (
        (FixedTotalNumber(60000), 0.0494),
        (FixedNumberPre(200, True), 0.778),
    ):
        network = pair(connector, normal(0.0878, 0.00878), sizes=(400, 10**6))
        errors = projection_epsilons(
            number_format("naive-2").on(realized(network)), {"a": Rates(1.0, 0.005)}
        )["p"]
        assert errors.mu == 0
        assert errors.sigma2 == pytest.approx(0.0494, abs=5e-5)
        assert errors.dmu2 == pytest.approx(expected, rel=1e-3)


def test_a_format_that_leaves_nothing_of_a_measure():
    reference, held = InputMoments(1.0, 2.0, 0.5, 0.0), InputMoments(1.0, 1.0, 0.0, 0.0)
    assert epsilon(reference, held) == (0.0, 1.0, float("inf"), 0.0)


def test_projections_from_populations_without_rates_have_no_errors():
    assert not projection_epsilons(
        number_format("naive-1").on(realized(pair(AllToAll(), normal(1.0, 0.1)))), {}
    )


# --- Input statistics ---


def with_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance over neurons, and their standard errors, from batches of neurons."""
    batches = samples.reshape(40, -1)
    found = np.array([batches.mean(axis=1), batches.var(axis=1, ddof=1)])
    return found.mean(axis=1), found.std(axis=1) / np.sqrt(39)


@pytest.mark.parametrize("scatter", [False, True])
@pytest.mark.parametrize("bins", [None, 1, 2])
def test_moments_of_the_input_against_drawn_neurons(bins, scatter):
    rng = np.random.default_rng(7)
    size, mean, tau = 8000, 60.0, 0.5
    counts = rng.poisson(mean, size) if scatter else np.full(size, int(mean))
    number = number_format(f"moments-{bins}" if bins else "double")
    _, held, p = weight_pairs(number.on(realized(pair(AllToAll(), normal(0.2, 0.06)))), "p")
    weights = rng.normal(0.2, 0.06, counts.sum())
    if bins == 1:
        weights[:] = 0.2
    elif bins == 2:
        weights = np.where(weights >= 0.2, 0.26, 0.14)
    rates = rng.gamma(4.0, 2.0, weights.size)  # mean 8, variance 16
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    mu = np.add.reduceat(weights * rates, starts) * tau * 1e-3
    sigma2 = np.add.reduceat(weights**2 * rates, starts) * tau / 2 * 1e-3
    expected = input_moments(
        Indegrees(mean, mean if scatter else 0.0, 10**6, False),
        [float(p @ held**a) for a in (1, 2, 3, 4)],
        Rates(8.0, 16.0),
        tau,
    )
    (mean_mu, var_mu), (error_mu, error_var_mu) = with_error(mu)
    (mean_s2, var_s2), (error_s2, error_var_s2) = with_error(sigma2)
    assert abs(mean_mu - expected.mu) < 4 * error_mu
    assert abs(mean_s2 - expected.sigma2) < 4 * error_s2
    assert abs(var_mu - expected.dmu2) < 4 * error_var_mu
    assert abs(var_s2 - expected.dsigma2) < 4 * error_var_s2
    # the test can tell the variances from those with another spread of weights
    assert error_var_mu < 0.05 * expected.dmu2


def test_neurons_with_many_inputs_share_their_sources():
    rng = np.random.default_rng(3)
    rates = rng.gamma(2.0, 3.0, 80)
    chosen = np.array([rng.permutation(80)[:50] for _ in range(8000)])
    mu = 1e-3 * 0.5 * 0.1 * rates[chosen].sum(axis=1)
    own = Rates(rates.mean(), rates.var())
    powers = [0.1**a for a in (1, 2, 3, 4)]
    expected = input_moments(Indegrees(50, 0.0, 80, True), powers, own, 0.5)
    (_, variance), (_, error) = with_error(mu)
    assert abs(variance - expected.dmu2) < 4 * error
    independent = input_moments(Indegrees(50, 0.0, 80, False), powers, own, 0.5)
    assert independent.dmu2 > 2 * expected.dmu2


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(
    "connector",
    [
        FixedTotalNumber(9000),
        FixedTotalNumber(9000, with_replacement=False),
        FixedTotalNumber(9000, self_connections=False),
        FixedNumberPre(20),
        FixedNumberPost(25),
        FixedNumberPost(25, with_replacement=True),
        FixedProbability(0.1),
        FixedProbability(0.5, self_connections=False),
        AllToAll(),
        AllToAll(self_connections=False),
        OneToOne(),
        FromList(np.arange(50), np.arange(50) // 5),
    ],
    ids=str,
)
def test_indegrees_are_those_of_realizations(connector, same):
    network = pair(connector, sizes=(400, 300), same=same)
    found = connector.indegrees(network.ends(network.projections[0]))
    means, variances = [], []
    for seed in range(40):
        counts = np.zeros(300)
        for chunk in realized(network, seed).synapses("p"):
            counts += np.bincount(chunk.target, minlength=300)
        means.append(counts.mean())
        variances.append(counts.var())
    for values, expected in ((means, found.mean), (variances, found.variance)):
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - expected) <= 4 * error + 4e-3 * expected


@pytest.mark.parametrize("same", [True, False])
def test_indegrees_of_few_targets(same):
    """With two targets, what a source gives one of them is not given the other."""
    connector = FixedNumberPost(25, with_replacement=True, self_connections=not same)
    size = 3 if same else 2
    network = pair(connector, sizes=(3 if same else 50, size), same=same)
    found = connector.indegrees(network.ends(network.projections[0]))
    counts = np.array(
        [
            np.bincount(
                np.concatenate([c.target for c in realized(network, s).synapses("p")]),
                minlength=size,
            )
            for s in range(2000)
        ]
    )[:, 0]
    # five standard errors; that of a variance is sqrt(2 / n) of it
    assert abs(counts.mean() - found.mean) <= 5 * np.sqrt(found.variance / 2000)
    assert abs(counts.var() / found.variance - 1) <= 5 * np.sqrt(2 / 2000)


WEIGHTS: Sequence[Distribution] = (
    normal(0.0878, 0.00878),
    Distribution(
        "normal_clipped_to_boundary", {"mu": -0.35, "sigma": 0.175, "low": -np.inf, "high": 0.0}
    ),
    Distribution("lognormal", {"mu": -1.0, "sigma": 0.4}),
    Distribution("uniform", {"low": 0.1, "high": 0.3}),
    Distribution("exponential", {"beta": 0.2}),
)


@pytest.mark.parametrize("text", ["double", "naive-2", "moments-3", "moments-1000", "s4.6"])
@pytest.mark.parametrize("weight", WEIGHTS, ids=lambda w: w.name)
def test_moments_of_weights_are_those_of_realizations(weight, text):
    network = pair(FixedTotalNumber(200_000), weight)
    realization = realized(network)
    chosen = number_format(text)
    bound = chosen.on(realization)
    drawn, held, p = weight_pairs(bound, "p")
    assert p.sum() == pytest.approx(1)
    weights = realization.synapse_range("p", 0, 200_000).weight
    discretised = bound.weights("p")(weights)
    for a, b in ((1, 0), (2, 0), (4, 0), (0, 1), (0, 2), (0, 4), (1, 1), (1, 2), (2, 2)):
        values = weights**a * discretised**b
        error = values.std() / np.sqrt(values.size)
        assert abs(p @ (drawn**a * held**b) - values.mean()) < 4.5 * error + 1e-12


def test_moments_of_explicit_weights():
    weights = np.array([0.1, 0.2, 0.2, 0.5])
    connector = FromList(np.arange(4), np.arange(4))
    network = pair(connector, weights)
    drawn, held, p = weight_pairs(number_format("naive-1").on(realized(network)), "p")
    assert drawn.tolist() == weights.tolist()
    assert held == pytest.approx(0.25)
    assert p.tolist() == [0.25] * 4


# --- Neurons ---


@pytest.mark.parametrize(("mean", "noise"), [(-0.3, 0.3), (0.2, 0.2), (0.35, 0.05), (0.9, 0.1)])
def test_rate_is_that_of_the_integral_in_the_textbook(mean, noise):
    sigma = 40 * np.sqrt(noise / 10)
    shift = np.sqrt(2) * 1.4603545088095868 / 2 * 0.05**0.5
    low, high = (-40 * mean / sigma + shift, (15 - 40 * mean) / sigma + shift)
    integral, _ = integrate.quad(lambda u: special.erfcx(-u), low, high, epsrel=1e-11)
    expected = 1e3 / (2 + 10 * np.sqrt(np.pi) * integral)
    found = stationary_rate(np.array([mean]), np.array([noise]), 0.5, NEURON)
    assert found == pytest.approx([expected], rel=1e-8)


def test_rate_without_noise_is_that_of_the_deterministic_neuron():
    currents = np.array([0.3, 0.36, 0.45, 0.9])  # nA; the rheobase is 0.375
    found = stationary_rate(currents, np.zeros(4), 0.5, NEURON)
    assert found[:2] == pytest.approx([0, 0], abs=1e-6)
    expected = [1e3 / (2 + 10 * np.log(40 * i / (40 * i - 15))) for i in (0.45, 0.9)]
    assert found[2:] == pytest.approx(expected, rel=2e-3)


def test_rate_grows_with_the_current_and_never_fails():
    rates = stationary_rate(np.linspace(-50, 50, 400), np.full(400, 0.1), 0.5, NEURON)
    assert np.isfinite(rates).all()
    assert (np.diff(rates) >= 0).all()
    assert rates[0] == 0
    assert rates[-1] < 500


def test_rate_with_inputs_of_finite_size_is_that_of_a_simulated_neuron():
    rng = np.random.default_rng(9)
    neurons, step, tau_syn = 1000, 0.05, 0.5
    weights, events = (0.3, -1.2), (2200.0, 300.0)  # nA, 1/s: strong inhibition
    mean, noise, third = (
        np.array([1e-3 * sum(r * (w * tau_syn) ** k for w, r in zip(weights, events, strict=True))])
        for k in (1, 2, 3)
    )
    current, v, free, spikes = np.zeros(neurons), np.zeros(neurons), np.zeros(neurons), 0
    decay = np.exp(-step / tau_syn)
    average = (1 - decay) * tau_syn / step  # of a current over a step
    for i in range(40_000):
        for w, r in zip(weights, events, strict=True):
            current += w * rng.poisson(r * step * 1e-3, neurons)
        v += (free <= i) * step / 10 * (40 * average * current - v)
        current *= decay
        fired = v >= 15
        spikes += (i > 4000) * int(fired.sum())
        v[fired], free[fired] = 0.0, i + 2.0 / step
    found = spikes / neurons / (36_000 * step * 1e-3)
    gaussian = stationary_rate(mean, noise, tau_syn, NEURON)[0]
    skewed = stationary_rate(mean, noise, tau_syn, NEURON, third)[0]
    assert skewed == pytest.approx(found, rel=0.2)
    assert gaussian > found + 2 * abs(skewed - found)


def test_intervals_are_irregular_below_and_regular_above_threshold():
    values = [interval_variation(mean, 0.2, 0.5, NEURON) for mean in (-1.0, 0.1, 0.3, 0.6, 2.0)]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[1] > 0.9
    assert values[-1] < 0.1


def test_intervals_against_a_simulated_neuron():
    # potential driven by nearly white noise: time constant of the current far below the membrane's
    rng = np.random.default_rng(5)
    step, tau_syn, mean, noise = 0.02, 0.02, 0.3, 0.2
    neurons, v, free = 400, np.zeros(400), np.zeros(400)
    spikes: list[list[float]] = [[] for _ in range(neurons)]
    kick = 40 * np.sqrt(noise * step) / 10  # mV
    for i in range(50_000):
        active = free <= i
        v += active * (step * (40 * mean - v) / 10 + kick * rng.standard_normal(neurons))
        for k in np.flatnonzero(v >= 15):
            spikes[k].append(i * step)
            v[k], free[k] = 0.0, i + 2.0 / step
    intervals = np.concatenate([np.diff(s) for s in spikes])
    found = intervals.std() / intervals.mean()
    # Euler steps see the threshold only now and then, which is a shift like that of coloured noise
    assert interval_variation(mean, noise, tau_syn, NEURON) == pytest.approx(found, rel=0.03)


# --- Networks ---


def microcircuit(**parameters: object) -> Realization:
    build = load_model("microcircuit", Path())
    return realized(capture(build, parameters, 0.1))


def test_rates_of_the_full_microcircuit():
    field = MeanField(microcircuit(scale=1.0), 1.0, nodes=1, skewed=False)
    rates = [a.rates[0, 0] for a in field.solve(number_format("double")).values()]
    expected = [0.756, 2.80, 4.44, 5.83, 7.15, 8.48, 1.16, 7.77]
    assert rates == pytest.approx(expected, rel=2e-3)


def test_rates_cause_themselves():
    """The stationary state is one: rates of neurons that are drawn with it have its moments."""
    realization = microcircuit(scale=0.1, connectivity="fixed_total_number")
    activity = MeanField(realization, 1.0).solve(number_format("naive-2"))
    network = realization.network
    rng = np.random.default_rng(2)
    target = "L4E"
    size = 3000
    current, noise, third = np.zeros(size), np.zeros(size), np.zeros(size)
    for p in network.projections:
        if p.target != target:
            continue
        indegree = p.connector.indegrees(network.ends(p))
        counts = rng.binomial(round(indegree.mean / (1 - 0.999)), 1 - 0.999, size)
        weights = p.weight.parameters  # type: ignore[union-attr]
        rates = rng.choice(activity[p.source].rates[:, 0], counts.sum())
        drawn = 0.5 * rng.normal(weights["mu"], weights["sigma"], counts.sum())
        edges = np.concatenate([[0], np.cumsum(counts)])
        for k, total in ((1, current), (2, noise), (3, third)):
            sums = np.concatenate([[0], np.cumsum(drawn**k * rates)])[edges]
            np.add(total, 1e-3 * np.diff(sums), out=total)
    for drive in network.drives:
        if drive.target == target:
            current += 1e-3 * drive.rate * drive.weight * 0.5
            noise += 1e-3 * drive.rate * (drive.weight * 0.5) ** 2
            third += 1e-3 * drive.rate * (drive.weight * 0.5) ** 3
    offset = network.population(target).parameters["i_offset"]
    rates = stationary_rate(current, noise, 0.5, NEURON._replace(i_offset=offset), third)
    found = activity[target].rates[:, 0]
    error = rates.std() / np.sqrt(size)
    assert abs(rates.mean() - found.mean()) < 4 * error
    # synapses of one source act together, which independent ones here do not
    assert rates.std() == pytest.approx(found.std(), rel=0.08)


def test_multapses_make_neurons_differ():
    sizes, weight, rate, drive = (1000, 4000), -0.12, 30.0, 0.12

    def found(connector: ConnectionRule) -> tuple[Realization, np.ndarray]:
        realization = realized(pair(connector, weight, sizes, rate=rate, drive=drive))
        activity = MeanField(realization, 1.0).solve(number_format("double"))
        return realization, activity["b"].rates[:, 0]

    realization, rates = found(FixedNumberPre(100, True))
    synapses = np.zeros((4000, 1000))
    for chunk in realization.synapses("p"):
        np.add.at(synapses, (chunk.target, chunk.source), 1.0)
    inputs = []
    for k in (1, 2, 3):
        together = (synapses**k).sum(axis=1)
        together += 100 - together.mean()  # only the scatter
        inputs.append(1e-3 * 0.5**k * (rate * weight**k * together + 8000 * drive**k))
    expected = stationary_rate(inputs[0], inputs[1], 0.5, NEURON, inputs[2])
    assert rates.mean() == pytest.approx(expected.mean(), rel=1e-2)
    assert rates.std() == pytest.approx(expected.std(), rel=0.06)
    _, alike = found(FixedNumberPre(100))
    assert alike.std() < 1e-3 * rates.std()


def test_parameters_that_differ_make_neurons_differ():
    network = pair(AllToAll(), 0.01)
    thresholds = np.linspace(-52.0, -48.0, 300)
    parameters = LIF | {"v_thresh": thresholds}
    target = Population("b", 300, "IF_curr_exp", parameters, recorded=True)
    network = Network((network.populations[0], target), network.projections, network.drives)
    rates = MeanField(realized(network), 1.0).solve(number_format("double"))["b"].rates[:, 0]
    current, noise, third = (
        np.full(300, 1e-3 * 0.5**k * (20 * 0.01**k * 400 + 8000 * 0.08**k)) for k in (1, 2, 3)
    )
    expected = stationary_rate(current, noise, 0.5, NEURON._replace(v_thresh=thresholds), third)
    assert rates.mean() == pytest.approx(expected.mean(), rel=5e-3)
    assert rates.std() == pytest.approx(expected.std(), rel=1e-2)


def test_a_format_that_changes_nothing_changes_no_rate():
    field = MeanField(microcircuit(scale=0.05), 1.0)
    for activity in field.solve(number_format("double")).values():
        assert activity.rates[:, 1] == pytest.approx(activity.rates[:, 0], rel=1e-4)


def test_neurons_that_are_not_covered():
    target = Population("b", 10, "IF_cond_exp", {}, recorded=True)
    with pytest.raises(RequestError, match=r"IF_curr_exp neurons, not IF_cond_exp \('b'\)"):
        MeanField(realized(Network((target,), ())), 1.0)


def test_rates_without_the_noise_of_counting():
    rng = np.random.default_rng(8)
    rates = rng.gamma(16.0, 0.25, 20_000)
    counted = rng.poisson(rates * 5.0) / 5.0
    found = measured_rates(float(counted.mean()), float(counted.std()), 1.0, 5000.0)
    assert found.mean == pytest.approx(4.0, rel=0.02)
    assert found.variance == pytest.approx(1.0, rel=0.08)
    assert measured_rates(4.0, 0.1, None, 5000.0).variance == 0.0


# --- Predictions ---

# Mean over populations of the KS distances of firing rates, emulator, scale 0.1, 100 s, five seeds
# (docs/dasbach2021.md)
SIMULATED = {
    ("fixed_indegree", "naive-1"): 0.053,
    ("fixed_indegree", "naive-2"): 0.131,
    ("fixed_indegree", "moments-2"): 0.043,
    ("fixed_indegree", "moments-64"): 0.035,
    ("fixed_total_number", "moments-1"): 0.024,
    ("fixed_total_number", "moments-64"): 0.021,
}


@pytest.mark.parametrize("connectivity", ["fixed_indegree", "fixed_total_number"])
def test_distances_are_those_of_simulations(connectivity):
    simulated = {name: d for (rule, name), d in SIMULATED.items() if rule == connectivity}
    predictions = predict(
        microcircuit(scale=0.1, connectivity=connectivity),
        [number_format(name) for name in simulated],
        5,
        100_000.0,
        1000.0,
    )
    for prediction, distance in zip(predictions, simulated.values(), strict=True):
        predicted = np.mean([p.ks_paired for p in prediction.populations])
        assert predicted == pytest.approx(distance, rel=0.3)
    verdicts = dict(zip(simulated, (p.verdict for p in predictions), strict=True))
    if connectivity == "fixed_indegree":
        assert verdicts["naive-2"] == "deviates"
        assert verdicts["moments-2"] == verdicts["moments-64"] == "pass"
    else:
        assert set(verdicts.values()) == {"pass"}


def test_a_short_study_sees_less():
    realization = microcircuit(scale=0.1, connectivity="fixed_indegree")
    ratios = [
        predict(realization, [number_format("naive-2")], 5, duration, 100.0)[0].largest.ratio  # type: ignore[union-attr]
        for duration in (500.0, 20_000.0)
    ]
    assert ratios == sorted(ratios)


def test_predictions_repeat():
    realization = microcircuit(scale=0.02)
    formats = [number_format("naive-2/float32"), number_format("moments-2@1ms")]
    first, second = (predict(realization, formats, 3, 2000.0, 100.0) for _ in range(2))
    assert first == second
    assert first[0].limits == ("Of the arithmetic, only what it does to weights is predicted.",)
    assert first[1].limits == ("The time step of 1 ms is not predicted.",)
    # what else is asked for at the same time makes no difference
    assert predict(realization, formats[1:], 3, 2000.0, 100.0) == second[1:]


def test_silent_neurons_cannot_deviate():
    network = Network((Population("b", 50, "IF_curr_exp", LIF, recorded=True),), ())
    (prediction,) = predict(realized(network), [number_format("naive-1")], 5, 1000.0, 0.0)
    assert prediction.verdict == "pass"
    assert prediction.largest is None
    assert prediction.populations[0].ratio is None


# --- Commands ---

MODEL = """
def build(sim, neuron="IF_curr_exp"):
    cells = sim.Population(200, getattr(sim, neuron)(), label="E")
    noise = sim.Population(200, sim.SpikeSourcePoisson(rate=4000.0), label="noise")
    sim.Projection(noise, cells, sim.OneToOneConnector(), sim.StaticSynapse(weight=0.1, delay=1.0))
    if neuron == "IF_curr_exp":
        weight = sim.RandomDistribution("normal", mu=-0.1, sigma=0.012)
        sim.Projection(cells, cells, sim.FixedNumberPreConnector(20, with_replacement=True),
                       sim.StaticSynapse(weight=weight, delay=1.5), receptor_type="inhibitory")
    cells.record("spikes")
"""
STUDY = """
[study]
name = "small"
[model]
build = "model.py:build"
[simulation]
duration = 500.0
warmup = 50.0
seeds = [1, 2, 3]
[reference]
backend = "emulator"
[[candidate]]
backend = "emulator"
format = ["naive-2", "float32"]
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


def test_predict(study):
    done = portability(study.parent, "predict", "study.toml", "--json")
    assert (done.returncode, without_progress(done.stderr)) == (0, "")
    content = json.loads(done.stdout)
    assert [c["format"] for c in content["candidates"]] == ["naive-2", "float32"]
    prediction = content["candidates"][1]["prediction"]
    assert prediction["verdict"] in ("pass", "open")
    assert prediction["population"] == "E"
    assert [(e["source"], e["target"]) for e in prediction["epsilon"]] == [("E", "E")]
    table = portability(study.parent, "predict", "study.toml")
    assert "naive-2" in table.stdout
    assert "only what it does to weights" in table.stdout
    assert not (study.parent / "results").exists()


def test_predict_without_a_candidate(study):
    study.write_text(STUDY[: STUDY.index("[[candidate]]")])
    done = portability(study.parent, "predict", "study.toml")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no candidate" in done.stderr


def test_predict_outside_the_theory(study):
    study.write_text(
        STUDY.replace('"model.py:build"', '"model.py:build"\nneuron = "IF_cond_exp"').replace(
            "naive-2", "double@1ms"
        )
    )
    done = portability(study.parent, "predict", "study.toml", "--json")
    assert done.returncode == 0
    prediction = json.loads(done.stdout)["candidates"][0]["prediction"]
    assert prediction["verdict"] is None
    assert "IF_cond_exp" in prediction["reason"]


def test_recommend(study):
    # weights that are all equal need one value, and then all runs of a realization are equal
    model = study.parent / "model.py"
    model.write_text(MODEL.replace("sigma=0.012", "sigma=0.0"))
    done = portability(study.parent, "recommend", "study.toml", "--scheme", "moments")
    assert (done.returncode, without_progress(done.stderr)) == (0, "")
    last = done.stdout.rstrip().splitlines()[-1]
    assert last == "moments: moments-1 is the coarsest format that passes."
    content = json.loads((study.parent / "results/small/recommendation.json").read_text())
    (found,) = content["recommendations"]
    assert found["format"] == "moments-1"
    assert [t["format"] for t in found["trials"] if t["simulated"]] == ["moments-1"]
    runs = set((study.parent / "results/small/runs").iterdir())
    assert len(runs) == 2 * 3
    # a second time everything is there
    again = portability(study.parent, "recommend", "study.toml", "--scheme", "moments", "--json")
    assert json.loads(again.stdout) == content
    assert set((study.parent / "results/small/runs").iterdir()) == runs


@pytest.mark.parametrize(
    ("predicted", "simulated", "tried", "answer", "code"),
    [
        ("DDPPP", "DDPPP", "12", 2, 0),
        ("DDPPP", "DDDPP", "123", 3, 0),
        ("DDPPP", "PPPPP", "012", 0, 0),
        ("DDPPP", "DIPPP", "12", 2, 0),
        ("DDDDD", "DDDDD", "1234", None, 1),
        ("OOOOP", "DDDDI", "34", None, 3),
        ("OOOOO", "PPPPP", "0", 0, 0),
        ("DDOOO", "DDDPP", "123", 3, 0),
        ("PPPPP", "DDPPP", "012", 2, 0),
        ("-----", "DDDPP", "123", 3, 0),
    ],
)
def test_search_of_the_coarsest_format(predicted, simulated, tried, answer, code):
    words = {"P": "pass", "D": "deviates", "I": "inconclusive", "O": "open", "-": None}
    trials = [Trial(f"moments-{i}", words[c]) for i, c in enumerate(predicted)]

    def judged(wanted: Sequence[Trial]) -> str | None:
        for trial in wanted:
            assert trial.simulated is None
            trial.simulated = words[simulated[trials.index(trial)]]
        return None

    found = search(Recommendation("moments", trials), judged)
    assert "".join(str(i) for i, t in enumerate(trials) if t.simulated) == tried
    assert found.format == (None if answer is None else f"moments-{answer}")
    assert found.exit_code == code
    assert ("coarsest format that passes" in found.answer) == (code == 0)


def test_search_ends_with_a_run_that_fails():
    trials = [Trial("naive-1"), Trial("naive-2")]
    found = search(Recommendation("naive", trials), lambda wanted: "the chip is on fire")
    assert found.exit_code == 4
    assert "the chip is on fire" in found.answer


def test_finer_formats_that_are_worse_are_named():
    trials = [
        Trial("naive-2", "deviates", 2.0, "E", "deviates", 3.0, "rate in E"),
        Trial("naive-3", "pass", 0.8, "E", "pass", 0.9, "rate in E"),
        Trial("naive-4", "deviates", 1.8, "E"),
    ]
    answer = Recommendation("naive", trials, "naive-3").answer
    assert "naive-2 deviates (rate in E at 3.00 times the baseline)" in answer
    assert "naive-4 should deviate" in answer


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--scheme", "niave"], "did you mean 'naive'"), (["--backend", "nset"], "unknown backend")],
)
def test_recommend_with_unknown_names(study, arguments, expected):
    done = portability(study.parent, "recommend", "study.toml", *arguments)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_largest_ratio_of_a_prediction():
    def of(*ratios: float | None) -> Prediction:
        populations = tuple(
            PredictedRates(f"p{i}", 1.0, 0.5, 1.0, 0.5, 0.1, 0.1, ratio)
            for i, ratio in enumerate(ratios)
        )
        return Prediction("open", {}, populations, {}, ())

    largest = of(0.5, None, 2.0, 1.0).largest
    assert largest is not None
    assert largest.population == "p2"
    assert of(None).largest is None


# --- Drawings ---


def errors(sigma2: float | None) -> list[Epsilon]:
    return [
        Epsilon(
            projection=f"{source} to E",
            source=source,
            target="E",
            mu=0.0,
            sigma2=sigma2,
            dmu2=2.5,
            dsigma2=12.0,
        )
        for source in ("E", "in & <co")
    ]


def test_drawing_of_errors_by_format():
    of_formats = {f"moments-{n}": errors(0.03 if n < 4 else None) for n in (1, 2, 3, 4)}
    pictures = epsilon_pictures(of_formats)
    first, second = (picture.svg.decode() for picture in pictures)
    for label in (">0<", ">0.03<", ">2.50<", ">12.00<"):
        assert first.count(label) == 3
    assert ">∞<" in second
    assert "moments-4" in second
    assert pictures == epsilon_pictures(of_formats)


def test_drawing_of_errors_by_projection():
    picture = epsilon_matrix_picture("naive-1", errors(0.01))
    svg = picture.svg.decode()
    assert svg.count(">in &amp; &lt;co<") == 4
    assert "naive-1" in picture.alt


def test_drawing_of_the_spread_of_weights():
    formats = [("moments", 1), ("naive", 2), ("moments", 3), ("naive", 65536)]
    by_bins, by_width = spread_pictures(formats)
    # the published zigzag, and 65,536 values on the same axis
    assert "0.00 with 1, 2.50 with 2, 1.03 with 3, 1.31 with 4" in by_bins.alt
    assert ">2¹⁶<" in by_bins.svg.decode()
    assert ">65536<" in by_width.svg.decode()
    filled = by_bins.svg.decode().count("fill: #0072b2; stroke")
    assert filled == 3  # 3 values that keep the moments are not placed naively, 1 value is
    assert (
        len(spread_pictures([("naive", 1)])) == 1
    )  # a single value has no interval that keeps a spread


def test_report_shows_prediction_beside_simulation(tmp_path):
    results, statistics, spikes = example()
    predicted, outside, *_ = results["candidates"]
    predicted["prediction"] = {
        "verdict": "open",
        "reason": None,
        "populations": [
            dict.fromkeys(PopulationPrediction.model_fields) | {"population": "L4E", "ratio": 7.125}
        ],
        "epsilon": [e.model_dump() for e in errors(0.03)],
    }
    outside["prediction"] = {"verdict": None, "reason": "theory <knows> nothing"}
    write(tmp_path / "report.html", results, statistics, spikes)
    page = (tmp_path / "report.html").read_text()
    section = page[page.index('<section id="theory"') :]
    section = section[: section.index("</section>")]
    (score,) = (
        s for s in predicted["scores"] if (s["population"], s["statistic"]) == ("L4E", "rate")
    )
    assert "too close to call" in section
    assert f"<td>7.12 / {score['ratio']:.2f}</td>" in section
    assert "theory &lt;knows&gt; nothing" in section
    # distances, errors and errors by projection, and the spread of weights for formats with bins
    assert section.count("<img") == 3
    assert "Spread of discretised weights" not in section
    predicted["format"] = "naive-2"
    predicted["scores"] = outside["scores"]
    write(tmp_path / "report.html", results, statistics, spikes)
    assert "Spread of discretised weights" in (tmp_path / "report.html").read_text()
    # the same format on two backends is told apart
    outside["prediction"], outside["format"] = predicted["prediction"], "naive-2"
    outside["backend"] = "emulator"
    write(tmp_path / "report.html", results, statistics, spikes)
    assert "brian2 naive-2, emulator naive-2" in (tmp_path / "report.html").read_text()
    for entry in results["candidates"]:
        entry.pop("prediction", None)
    write(tmp_path / "report.html", results, statistics, spikes)
    assert 'id="theory"' not in (tmp_path / "report.html").read_text()
