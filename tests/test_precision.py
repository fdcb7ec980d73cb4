"""Number formats against Dasbach et al. 2021 (tables recomputed from their equations 8 to 11)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import FixedPoint, FloatingPoint
from pynn_portability.formats.fitting import fit
from pynn_portability.formats.names import number_format
from pynn_portability.formats.number_format import FloatArray, NumberFormat
from pynn_portability.formats.schemes import (
    MAX_BINS,
    BinnedWeights,
    first_root,
    half_width,
    sd_ratio,
)
from pynn_portability.formats.weights import CodeBook, ExactWeights
from pynn_portability.model.connectivity import AllToAll, FromList
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    Population,
    Projection,
    Value,
)
from pynn_portability.realize.distributions import mean_and_sd, quantile
from pynn_portability.realize.realization import Realization

HALF_WIDTHS = {
    2: 2.0, 3: 2.206991703, 4: 2.324588581, 5: 2.417163230, 6: 2.493398083, 7: 2.558316110,
    8: 2.614892678, 9: 2.665050162, 10: 2.710107303, 11: 2.751010166, 12: 2.788461560,
    13: 2.822998442, 14: 2.855040641, 15: 2.884922815, 16: 2.912916165, 32: 3.214859046,
    64: 3.515506132, 128: 3.810497389, 256: 4.097026144, 512: 4.373701988, 1024: 4.640136603,
    4096: 5.143454023, 16384: 5.611428348,
}  # fmt: skip
NAIVE_SD_RATIOS = {
    1: 0.0, 2: 2.5, 3: 1.030538, 4: 1.310626, 5: 1.140894, 6: 1.111298, 7: 1.081571, 8: 1.063116,
    9: 1.050178, 10: 1.040830, 11: 1.033859, 12: 1.028526, 13: 1.024356, 14: 1.021035,
    15: 1.018348, 16: 1.016144, 32: 1.004060, 64: 1.001016, 256: 1.000063, 1024: 1.000003,
}  # fmt: skip

# the three weight distributions of the microcircuit, pA
EXCITATORY = (87.8, 8.78)
INHIBITORY = (-351.2, 35.12)
DOUBLED = (175.6, 17.56)


def normal(mean: float, sd: float) -> Distribution:
    return Distribution("normal", {"mu": mean, "sigma": sd})


def projection(weight: Value, receptor: str = "excitatory") -> Projection:
    return Projection("p", "a", "b", receptor, AllToAll(), weight, 1.0)  # type: ignore[arg-type]


def realized(described: Projection) -> Realization:
    cells = tuple(Population(label, 10, "IF_curr_exp", {}) for label in "ab")
    return Realization(Network(cells, (described,)), 1, 0.1)


def discretiser(number: NumberFormat, described: Projection) -> Callable[[FloatArray], FloatArray]:
    return number.on(realized(described)).weights(described.label)


def code_book(number: NumberFormat, described: Projection) -> CodeBook | None:
    return number.on(realized(described)).weights(described.label).code_book()


def sample(mean: float, sd: float, n: int = 400_000, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, sd, n)


@pytest.mark.parametrize(("bins", "expected"), HALF_WIDTHS.items())
def test_moments_half_width_is_the_first_root(bins, expected):
    assert half_width("moments", bins) == pytest.approx(expected, abs=1e-9)


def test_first_root_exists_beyond_the_fallback_limit():
    # SD_N is flat here: rounding of the sum moves the root by some 1e-9
    assert first_root(2**16) == pytest.approx(6.049336829, abs=2e-8)


@pytest.mark.parametrize("bins", [1, 2**16, 2**20, 2**24])
def test_moments_falls_back_to_five_standard_deviations(bins):
    assert half_width("moments", bins) == 5.0
    expected = discretiser(number_format(f"naive-{bins}"), projection(normal(1.0, 0.1)))
    weights = sample(1.0, 0.1, 1000)
    actual = discretiser(number_format(f"moments-{bins}"), projection(normal(1.0, 0.1)))
    np.testing.assert_array_equal(actual(weights), expected(weights))


def test_one_bin_below_the_limit_still_solves():
    assert 5.8 < half_width("moments", 2**16 - 1) < 6.1


@pytest.mark.parametrize(("bins", "expected"), NAIVE_SD_RATIOS.items())
def test_naive_sd_ratio(bins, expected):
    assert sd_ratio("naive", bins) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("bins", [2, 3, 4, 7, 16, 255, 4096])
def test_moments_sd_ratio_is_one(bins):
    assert sd_ratio("moments", bins) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "distribution", "expected"),
    [
        ("moments-2", EXCITATORY, (79.0, 96.6)),
        ("moments-2", INHIBITORY, (-386.3, -316.1)),
        ("moments-2", DOUBLED, (158.0, 193.2)),
        ("naive-2", EXCITATORY, (65.85, 109.75)),
        ("naive-2", INHIBITORY, (-439.0, -263.4)),
        ("naive-2", DOUBLED, (131.7, 219.5)),
    ],
)
def test_two_bin_values_of_the_microcircuit(name, distribution, expected):
    assert number_format(name).weights.values(*distribution) == pytest.approx(expected, abs=0.05)


def test_three_and_four_moment_bins_of_a_standard_normal():
    # shifted by 100, because Dale's rule would act on values around 0
    assert number_format("moments-3").weights.values(100, 1) - 100 == pytest.approx(
        (-1.47133, 0, 1.47133), abs=1e-5
    )
    assert number_format("moments-4").weights.values(100, 1) - 100 == pytest.approx(
        (-1.74344, -0.58115, 0.58115, 1.74344), abs=1e-5
    )


def test_three_moment_bins_are_taken_with_their_probabilities():
    weights = sample(100.0, 1.0)
    held = discretiser(number_format("moments-3"), projection(normal(100.0, 1.0)))(weights)
    values, counts = np.unique(held, return_counts=True)
    np.testing.assert_array_equal(values, number_format("moments-3").weights.values(100.0, 1.0))
    # standard error of a fraction of 400,000: below 0.0008
    assert counts / weights.size == pytest.approx((0.23097, 0.53806, 0.23097), abs=0.004)


@pytest.mark.parametrize("distribution", [EXCITATORY, INHIBITORY])
def test_tie_goes_to_the_larger_value(distribution):
    mean, sd = distribution
    discretise = discretiser(number_format("moments-2"), projection(normal(mean, sd)))
    smaller, larger = number_format("moments-2").weights.values(mean, sd)
    below = np.nextafter(mean, -np.inf)
    assert discretise(np.array([mean, below])).tolist() == [larger, smaller]


@pytest.mark.parametrize("scheme", ["naive", "moments"])
@pytest.mark.parametrize("bins", [1, 2, 3, 4, 7, 10, 64, 1000, 2**16])
@pytest.mark.parametrize("distribution", [EXCITATORY, INHIBITORY])
def test_weights_on_and_next_to_every_inner_edge(scheme, bins, distribution):
    mean, sd = distribution
    width = 2 * half_width(scheme, bins) * sd / bins
    edges = mean + (np.arange(1, bins) - bins / 2) * width
    weights = np.concatenate(
        [edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf), sample(mean, sd, 5000)]
    )
    number = number_format(f"{scheme}-{bins}")
    # a search in the sorted edges knows nothing of divisions
    expected = number.weights.values(mean, sd)[np.searchsorted(edges, weights, side="right")]
    np.testing.assert_array_equal(
        discretiser(number, projection(normal(mean, sd)))(weights), expected
    )


def test_every_weight_gets_the_nearest_value():
    for name in ("naive-5", "moments-8"):
        values = number_format(name).weights.values(*EXCITATORY)
        weights = sample(*EXCITATORY, n=2000)
        held = discretiser(number_format(name), projection(normal(*EXCITATORY)))(weights)
        nearest = np.abs(weights[:, None] - values).min(axis=1)
        assert np.abs(held - weights) == pytest.approx(nearest, abs=1e-10)


def test_weights_outside_the_interval_get_the_outer_values():
    number = number_format("moments-4")
    values = number.weights.values(*INHIBITORY)
    held = discretiser(number, projection(normal(*INHIBITORY)))(np.array([-1e9, -1e3, 0.0, 1e9]))
    assert held.tolist() == [values[0], values[0], values[-1], values[-1]]


@pytest.mark.parametrize("sign", [1, -1])
def test_dale_sets_values_of_the_wrong_sign_to_zero(sign):
    # SD as large as the mean: the outermost of 5 naive values, mean - 4 SD, and the next oppose it
    receptor = "excitatory" if sign > 0 else "inhibitory"
    discretise = discretiser(
        number_format("naive-5"), projection(normal(sign * 1.0, 1.0), receptor)
    )
    held = discretise(sign * np.array([-3.5, -1.2, 1.0, 2.9, 5.5]))
    assert held.tolist() == [0, 0, sign * 1.0, sign * 3.0, sign * 5.0]
    values = number_format("naive-5").weights.values(sign * 1.0, 1.0)
    assert sorted(np.abs(values)) == [0, 0, 1, 3, 5]


def test_positive_weights_on_an_inhibitory_receptor_stay_positive():
    # conductances are positive whatever the receptor
    discretise = discretiser(
        number_format("moments-2"), projection(normal(0.004, 0.0004), "inhibitory")
    )
    assert discretise(np.array([0.003, 0.005])).tolist() == pytest.approx([0.0036, 0.0044])


@pytest.mark.parametrize("scheme", ["naive", "moments"])
@pytest.mark.parametrize("bins", [1, 2, 3, 8, 100])
def test_at_most_n_distinct_values(scheme, bins):
    number = number_format(f"{scheme}-{bins}")
    held = discretiser(number, projection(normal(*INHIBITORY)))(sample(*INHIBITORY))
    assert set(held) <= set(number.weights.values(*INHIBITORY))
    assert len(set(held)) <= bins


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("distribution", [EXCITATORY, INHIBITORY])
@pytest.mark.parametrize("bins", [2, 3, 4, 16])
def test_moments_preserve_mean_and_sd_of_a_sample(bins, distribution, seed):
    mean, sd = distribution
    weights = sample(mean, sd, seed=seed)
    discretise = discretiser(number_format(f"moments-{bins}"), projection(normal(mean, sd)))
    held = discretise(weights)
    # standard errors for 400,000 weights: SD/632 of the mean, less than SD/890 of the SD
    assert held.mean() == pytest.approx(weights.mean(), abs=5 * sd / 632)
    assert held.std() == pytest.approx(weights.std(), rel=5 / 890)


def test_naive_two_bins_preserve_the_mean_but_not_the_sd():
    weights = sample(*EXCITATORY)
    held = discretiser(number_format("naive-2"), projection(normal(*EXCITATORY)))(weights)
    assert held.mean() == pytest.approx(weights.mean(), abs=5 * 2.5 * 8.78 / 632)
    assert held.std() == pytest.approx(2.5 * weights.std(), rel=5 / 890)


def test_explicit_weights_use_their_own_mean_and_sd():
    weights = np.array([1.0, 2.0, 3.0, 6.0])
    explicit = Projection(
        "p", "a", "b", "excitatory", FromList(np.arange(4), np.arange(4)), weights, 1.0
    )
    discretise = discretiser(number_format("moments-2"), explicit)
    mean, sd = 3.0, np.sqrt(3.5)
    expected = [mean - sd, mean - sd, mean + sd, mean + sd]
    assert discretise(weights) == pytest.approx(expected)
    # chunk by chunk it is the same
    assert np.concatenate([discretise(weights[:1]), discretise(weights[1:])]).tolist() == (
        discretise(weights).tolist()
    )


@pytest.mark.parametrize("weight", [0.1, np.full(3, 0.1), np.array([])])
@pytest.mark.parametrize("name", ["naive-2", "moments-3", "naive-1", "double"])
def test_equal_weights_are_left_as_they_are(name, weight):
    weights = np.atleast_1d(np.asarray(weight))
    held = discretiser(number_format(name), projection(weight))(weights)
    np.testing.assert_array_equal(held, weights)


def distribution(name: str, **parameters: float) -> Distribution:
    return Distribution(name, parameters)


INFINITY = float("inf")
SKEWED: dict[str, Value] = {
    "lognormal": distribution("lognormal", mu=-3.0, sigma=1.0),
    "lognormal, wide": distribution("lognormal", mu=0.0, sigma=1.5),
    "lognormal, narrow": distribution("lognormal", mu=0.0, sigma=0.1),
    "uniform": distribution("uniform", low=0.0, high=0.3),
    "uniform, negative": distribution("uniform", low=-4.0, high=-1.0),
    "uniform_int": distribution("uniform_int", low=1, high=6),
    "exponential": distribution("exponential", beta=0.2),
    "gamma": distribution("gamma", k=2.0, theta=5.0),
    "gamma, steep": distribution("gamma", k=0.3, theta=2.0),
    "poisson": distribution("poisson", lambda_=3.0),
    "poisson, rare": distribution("poisson", lambda_=0.1),
    "binomial": distribution("binomial", n=10, p=0.05),
    "binomial, many": distribution("binomial", n=10, p=0.9),
    "clipped": distribution("normal_clipped", mu=1.0, sigma=1.0, low=0.0, high=INFINITY),
    "clipped, negative": distribution(
        "normal_clipped", mu=-1.0, sigma=0.5, low=-INFINITY, high=0.0
    ),
    "clipped, tail": distribution("normal_clipped", mu=-1.0, sigma=0.5, low=0.0, high=INFINITY),
    "to boundary": distribution("normal_clipped_to_boundary", mu=1.0, sigma=1.0, low=0.0, high=2.5),
    "to boundary, negative": distribution(
        "normal_clipped_to_boundary", mu=-1.0, sigma=1.0, low=-INFINITY, high=0.0
    ),
    "list": np.random.default_rng(5).lognormal(0.0, 1.0, 3000),
    "negative list": -np.random.default_rng(5).exponential(1.0, 3000),
    "one of ten": np.append(np.zeros(9), 1.0),
    "nine of ten": np.append(np.ones(9), 0.0),
}


def stratified(weight: Value, n: int = 200_000) -> np.ndarray:
    """The middle quantiles of ``n`` cells of equal probability, or all explicit weights."""
    if isinstance(weight, Distribution):
        return quantile(weight, (np.arange(n) + 0.5) / n)
    return np.asarray(weight)


@pytest.mark.parametrize("bins", [2, 3, 4, 7, 16, 100, 256, 1000])
@pytest.mark.parametrize("weight", SKEWED.values(), ids=SKEWED)
def test_moments_keep_mean_and_sd_of_any_distribution(bins, weight):
    """Up to what a sum over cells can differ from an integral: the range of its values in a cell."""
    receptor = "inhibitory" if np.mean(stratified(weight)) < 0 else "excitatory"
    held_weights = discretiser(number_format(f"moments-{bins}"), projection(weight, receptor))
    weights = stratified(weight)
    held = held_weights(weights)
    mean, sd = mean_and_sd(weight)
    assert len(np.unique(held)) <= bins
    # as the held weight never decreases with the quantile, cells differ by its whole range together
    ends = held_weights(np.array([weights.min(), weights.max()]))
    if isinstance(weight, Distribution):
        ends = held_weights(quantile(weight, np.array([2.0**-54, 1 - 2.0**-53])))
    low, high = ends.min() - mean, ends.max() - mean
    n = len(weights) if isinstance(weight, Distribution) else 1e12
    rounding = 1e-9 * (abs(mean) + sd)
    assert abs(held.mean() - mean) <= (high - low) / n + rounding
    second = (low**2 + high**2) / n + 1e-9 * (mean**2 + sd**2)
    assert abs(np.mean((held - mean) ** 2) - sd**2) <= second
    # Dale's rule takes nothing away, and stronger weights are held stronger
    assert (held * np.sign(mean) >= 0).all()
    assert (np.diff(held[np.argsort(weights)]) >= 0).all()
    assert np.corrcoef(held, weights)[0, 1] > 0.4


@pytest.mark.parametrize("bins", [2, 3, 16, 256])
@pytest.mark.parametrize(
    "weight",
    [
        normal(*EXCITATORY),
        normal(*INHIBITORY),
        normal(1.0, 1.0),
        distribution("normal_clipped", mu=87.8, sigma=8.78, low=0.0, high=INFINITY),
    ],
)
def test_values_of_normal_weights_are_those_of_the_paper(bins, weight):
    mean, sd = weight.parameters["mu"], weight.parameters["sigma"]
    values = code_book(number_format(f"moments-{bins}"), projection(weight)).values
    np.testing.assert_array_equal(values, number_format(f"moments-{bins}").weights.values(mean, sd))


@pytest.mark.parametrize("name", ["lognormal", "exponential", "gamma, steep", "list", "uniform"])
def test_more_values_are_closer_to_skewed_weights(name):
    weights = stratified(SKEWED[name])
    errors = []
    for bins in (2, 4, 16, 256, 4096):
        held = discretiser(number_format(f"moments-{bins}"), projection(SKEWED[name]))(weights)
        errors.append(np.sqrt(np.mean((held - weights) ** 2)) / weights.std())
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 0.02


def test_two_bins_of_uniform_weights_are_those_of_the_paper():
    mean, sd = 0.5, 1 / np.sqrt(12)
    book = code_book(
        number_format("moments-2"), projection(distribution("uniform", low=0.0, high=1.0))
    )
    assert book.values == pytest.approx([mean - sd, mean + sd])


def test_weights_on_and_next_to_fitted_edges():
    bins = fit(SKEWED["lognormal"], 16, half_width("moments", 16))
    edges = bins.lower_edge(np.arange(1.0, 16.0))
    weights = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
    expected = np.searchsorted(edges, weights, side="right")
    np.testing.assert_array_equal(bins.index(weights), expected)


def test_sixteen_million_values_of_lognormal_weights():
    weights = stratified(SKEWED["lognormal"], 1000)
    held = discretiser(number_format("moments-16777216"), projection(SKEWED["lognormal"]))(weights)
    assert held == pytest.approx(weights, rel=1e-3, abs=1e-5)


def test_double_is_exact_and_float32_rounds():
    weights = np.array([0.1, -0.3512, 1.0])
    assert discretiser(number_format("double"), projection(0.1))(weights).tolist() == [
        0.1,
        -0.3512,
        1.0,
    ]
    held = discretiser(number_format("float32"), projection(0.1))(weights)
    assert held.dtype == np.float64
    assert held.tolist() == [float(np.float32(w)) for w in weights]
    assert held[0] != 0.1


def test_the_argument_is_not_modified():
    weights = sample(*EXCITATORY, n=100)
    before = weights.copy()
    for name in ("double", "float32", "naive-2", "moments-3"):
        discretiser(number_format(name), projection(normal(*EXCITATORY)))(weights)
        np.testing.assert_array_equal(weights, before)


@pytest.mark.parametrize(
    ("name", "scheme", "bins", "state"),
    [
        ("double", "exact", None, "float64"),
        ("float32", "exact", None, "float32"),
        ("s16.15", "exact", None, FixedPoint(16, 15, "nearest", "saturate")),
        ("s8.7-floor", "exact", None, FixedPoint(8, 7, "floor", "saturate")),
        ("s8.7-zero", "exact", None, FixedPoint(8, 7, "zero", "saturate")),
        ("s8.7-wrap", "exact", None, FixedPoint(8, 7, "nearest", "wrap")),
        ("s8.7-floor-wrap", "exact", None, FixedPoint(8, 7, "floor", "wrap")),
        ("s8.7-zero-wrap", "exact", None, FixedPoint(8, 7, "zero", "wrap")),
        ("s0.31", "exact", None, FixedPoint(0, 31)),
        ("s31.0", "exact", None, FixedPoint(31, 0)),
        ("s0.1", "exact", None, FixedPoint(0, 1)),
        ("s1.0", "exact", None, FixedPoint(1, 0)),
        ("naive-1", "naive", 1, "float64"),
        ("naive-4", "naive", 4, "float64"),
        ("moments-16777216", "moments", 16777216, "float64"),
        ("naive-2/float32", "naive", 2, "float32"),
        ("moments-4/s16.15", "moments", 4, FixedPoint(16, 15)),
        ("naive-10/s5.10-zero-wrap", "naive", 10, FixedPoint(5, 10, "zero", "wrap")),
    ],
)
def test_names(name, scheme, bins, state):
    number = number_format(name)
    weights = BinnedWeights(scheme, bins) if bins else ExactWeights()
    if isinstance(state, str):
        state = FloatingPoint(state)
    assert number == NumberFormat(name, weights, state)


@pytest.mark.parametrize(
    "name",
    [
        "naive-0", "moments-x", "foo", "naive-", "double-3", "naive", "naive--2", "naive-2.0", "",
        "moments-04", "Naive-2", "naive-2\n", "naive-٣", "naive-16777217", "naive-" + "9" * 99,
        # a state needs I and F, in one spelling, and at least a bit but at most 31 besides the sign
        "s", "s.", "s16", "s16.", "s.15", "s16.15.1", "16.15", "S16.15", "s-1.5", "s 1.5", "s16,15",
        "s016.15", "s16.015", "s00.15", "s٣.1", "s0.0", "s16.16", "s32.0", "s0.32", "s99.99", "s1.100",
        # rounding before overflow, each at most once, and what is usual is not spelled out
        "s8.7-wrap-floor", "s8.7-floor-zero", "s8.7-wrap-wrap", "s8.7-nearest", "s8.7-saturate",
        "s8.7floor", "s8.7-", "s8.7-Floor", "s8.7-floor\n", "float32-floor", "naive-2-floor",
        # weights before state, and double only where nothing else is said
        "double/float32", "float32/double", "double/double", "float32/float32", "s16.15/float32",
        "naive-2/double", "naive-2/", "double/", "float32/", "s16.15/", "/", "/double", "/float32",
        "/naive-2", "float32/naive-2", "s16.15/naive-2", "naive-2/naive-2", "naive-2/s16.16",
        "naive-02/float32", "naive-2/float32/", "naive-2//float32", "naive-2/float32/float32",
        "naive-2 / float32", "naive-2/float64", "exact/float32",
    ],
)  # fmt: skip
def test_unknown_names_say_what_is_allowed(name):
    with pytest.raises(RequestError) as caught:
        number_format(name)
    message = str(caught.value)
    assert repr(name) in message
    assert "\n" not in message
    for allowed in (
        "double", "float32", "sI.F", "naive-N", "moments-N", "naive-N/float32", "moments-N/sI.F",
        str(MAX_BINS), "from 1 to 31", "-floor", "-zero", "-wrap",
    ):  # fmt: skip
        assert allowed in message


# --- Fixed point ---


def test_range_of_a_fixed_point_word():
    assert (FixedPoint(16, 15).word, FixedPoint(16, 15).largest) == (32, 2**31 - 1)
    assert (FixedPoint(3, 4).word, FixedPoint(3, 4).largest) == (8, 127)
    assert (FixedPoint(0, 1).word, FixedPoint(0, 1).largest) == (2, 1)


@pytest.mark.parametrize("rounding", ["nearest", "floor", "zero"])
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_parameters_are_loaded_to_nearest_whatever_the_machine_does(rounding, overflow):
    fixed = FixedPoint(3, 4, rounding, overflow)
    below_half = np.nextafter(0.5, 0)
    units = {
        0.0: 0, below_half: 0, 0.5: 1, 1.5: 2, 2.5: 3, 2.4999: 2, 126.49: 126,
        -below_half: 0, -0.5: 0, -0.5001: -1, -1.5: -1, -2.5: -2, -2.5001: -3,
        # both ends of 8 bits
        126.5: 127, 127.49: 127, 127.5: 127, 1e9: 127, np.inf: 127,
        -127.5: -127, -127.51: -128, -128.0: -128, -128.51: -128, -1e9: -128, -np.inf: -128,
    }  # fmt: skip
    held = fixed.quantise(np.array(list(units)) / 2**4)
    assert held.dtype == np.int64
    assert held.tolist() == list(units.values())


@pytest.mark.parametrize("fixed", [FixedPoint(16, 15), FixedPoint(0, 31), FixedPoint(31, 0)])
def test_ends_of_32_bits(fixed):
    unit = 2.0**-fixed.fraction_bits
    values = np.array([-(2.0**31) - 1, -(2.0**31), -(2.0**31) + 1, 2.0**31 - 1, 2.0**31]) * unit
    expected = [-(2**31), -(2**31), -(2**31) + 1, 2**31 - 1, 2**31 - 1]
    assert fixed.quantise(values).tolist() == expected


def test_fixed_point_rounds_weights_to_its_fraction_bits():
    weights = np.array([[0.0878, -0.3512], [1e6, -1e6]])
    for name in ("s16.15", "s16.15-floor-wrap"):
        held = discretiser(number_format(name), projection(normal(0.0878, 0.00878)))(weights)
        # 0.0878 * 2^15 is 2877.03 and 0.3512 * 2^15 is 11508.1; the others are out of range
        assert (held * 2**15).tolist() == [[2877, -11508], [2**31 - 1, -(2**31)]]


def test_values_are_rounded_after_discretisation():
    discretise = discretiser(number_format("moments-2/s0.7"), projection(normal(0.5, 0.1)))
    # 0.4 is 51.2 / 128 and 0.6 is 76.8 / 128
    assert (discretise(np.array([0.1, 0.499, 0.501])) * 128).tolist() == [51, 51, 77]


# --- Code books ---


@pytest.mark.parametrize("state", ["", "/float32", "/s16.15"])
@pytest.mark.parametrize("scheme", ["naive", "moments"])
@pytest.mark.parametrize("bins", [1, 2, 3, 4, 16, 256])
@pytest.mark.parametrize("distribution", [(0.0878, 0.00878), (-0.3512, 0.03512), (0.1, 0.1)])
def test_code_book_is_the_discretiser(scheme, bins, state, distribution):
    number = number_format(f"{scheme}-{bins}{state}")
    described = projection(normal(*distribution))
    book = code_book(number, described)
    assert book.values.shape == (bins,)
    weights = np.append(sample(*distribution, n=5000), [-10.0, 0.0, distribution[0], 10.0])
    codes = book.encode(weights)
    assert codes.dtype == np.int64
    assert (codes.min(), codes.max()) == (0, bins - 1)
    np.testing.assert_array_equal(book.values[codes], discretiser(number, described)(weights))


@pytest.mark.parametrize("name", ["naive-2", "moments-3/float32", "naive-4/s16.15"])
def test_code_book_of_explicit_weights(name):
    weights = sample(-0.3512, 0.03512, n=600).reshape(20, 30)
    described = projection(weights)
    number = number_format(name)
    book = code_book(number, described)
    codes = book.encode(weights)
    assert codes.shape == weights.shape
    np.testing.assert_array_equal(book.values[codes], discretiser(number, described)(weights))


@pytest.mark.parametrize(
    "name", ["double", "float32", "s16.15", "naive-257", "moments-257/s16.15", "moments-65536"]
)
def test_no_code_book_for_more_than_256_values(name):
    assert code_book(number_format(name), projection(normal(*EXCITATORY))) is None


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("double", 0.1),
        ("naive-2", 0.1),
        ("moments-1024", 0.1),
        ("float32", float(np.float32(0.1))),
        ("naive-2/float32", float(np.float32(0.1))),
        ("s16.15", 3277 / 2**15),
        ("moments-1024/s3.4-floor", 2 / 2**4),
    ],
)
def test_one_weight_for_all_is_a_book_of_one_value(name, held):
    book = code_book(number_format(name), projection(0.1))
    assert book.values.tolist() == [held]
    codes = book.encode(np.full((2, 3), 0.1))
    assert codes.dtype == np.int64
    assert codes.tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", ["naive-2", "moments-3/float32", "naive-1/s16.15"])
@pytest.mark.parametrize("weight", [normal(-0.3512, 0.0), np.full(3, -0.3512)], ids=["law", "list"])
def test_weights_without_spread_are_a_book_of_one_value(name, weight):
    described, number = projection(weight), number_format(name)
    book = code_book(number, described)
    weights = np.full(3, -0.3512)
    assert book.values.shape == (1,)
    np.testing.assert_array_equal(
        book.values[book.encode(weights)], discretiser(number, described)(weights)
    )


def test_the_finest_format_is_cheap_in_memory():
    weights = sample(*EXCITATORY, n=2**14)
    tracemalloc.start()
    discretise = discretiser(number_format(f"moments-{2**24}"), projection(normal(*EXCITATORY)))
    held = discretise(weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    inside = np.abs(weights - 87.8) < 43.9
    assert np.abs(held - weights)[inside].max() <= 1.000001 * 10 * 8.78 / 2**24 / 2
    # a table of 2^24 values would take 134 MB
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("name", "parameters", "draw"),
    [
        ("normal", {"mu": -2, "sigma": 0.5}, stats.norm(-2, 0.5)),
        ("lognormal", {"mu": -2, "sigma": 0.5}, stats.lognorm(0.5, scale=np.exp(-2))),
        ("uniform", {"low": 1, "high": 4}, stats.uniform(1, 3)),
        ("uniform_int", {"low": 1, "high": 4}, stats.randint(1, 4)),
        ("gamma", {"k": 2, "theta": 5}, stats.gamma(2, scale=5)),
        ("exponential", {"beta": 0.2}, stats.expon(scale=0.2)),
        ("poisson", {"lambda_": 3}, stats.poisson(3)),
        ("binomial", {"n": 10, "p": 0.2}, stats.binom(10, 0.2)),
    ],
)
def test_mean_and_sd_of_a_distribution(name, parameters, draw):
    numbers = draw.rvs(size=200_000, random_state=np.random.default_rng(3))
    mean, sd = mean_and_sd(Distribution(name, parameters))
    assert mean == pytest.approx(numbers.mean(), abs=5 * numbers.std() / 447)
    assert sd == pytest.approx(numbers.std(), rel=0.02)


@pytest.mark.parametrize(("low", "high"), [(0.0, INFINITY), (-INFINITY, 1.5), (0.5, 1.2)])
@pytest.mark.parametrize("rule", ["normal_clipped", "normal_clipped_to_boundary"])
def test_mean_and_sd_of_a_bounded_normal(rule, low, high):
    numbers = sample(1.0, 0.7, n=1_000_000)
    redrawn = numbers[(numbers >= low) & (numbers <= high)]
    numbers = redrawn if rule == "normal_clipped" else np.clip(numbers, low, high)
    mean, sd = mean_and_sd(Distribution(rule, {"mu": 1, "sigma": 0.7, "low": low, "high": high}))
    assert mean == pytest.approx(numbers.mean(), abs=0.005)
    assert sd == pytest.approx(numbers.std(), rel=0.01)


@pytest.mark.parametrize("rule", ["normal_clipped", "normal_clipped_to_boundary"])
def test_a_bound_ten_standard_deviations_away_changes_nothing(rule):
    far = Distribution(rule, {"mu": 87.8, "sigma": 8.78, "low": 0.0, "high": INFINITY})
    assert mean_and_sd(far) == (87.8, 8.78)


def test_a_bounded_normal_without_spread_sits_at_its_bound():
    point = Distribution("normal_clipped", {"mu": -1, "sigma": 0, "low": 0, "high": 1})
    assert mean_and_sd(point) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("normal", {"mu": 0.3, "sigma": 0}),
        ("normal_clipped", {"mu": 0.3, "sigma": 1, "low": 0.7, "high": 0.7}),
        ("normal_clipped_to_boundary", {"mu": 0.3, "sigma": 1, "low": 0.7, "high": 0.7}),
        ("lognormal", {"mu": 0.3, "sigma": 0}),
        ("uniform", {"low": 0.3, "high": 0.3}),
        ("uniform_int", {"low": 3, "high": 4}),
        ("gamma", {"k": 2, "theta": 0}),
        ("exponential", {"beta": 0}),
        ("poisson", {"lambda_": 0}),
        ("binomial", {"n": 3, "p": 1}),
    ],
)
def test_a_distribution_without_spread_is_left_as_it_is(name, parameters):
    distribution = Distribution(name, parameters)
    drawn = quantile(distribution, np.array([0.1, 0.9]))
    assert mean_and_sd(distribution) == (drawn[0], 0.0)
    held = discretiser(number_format("naive-2"), projection(distribution))(drawn)
    np.testing.assert_array_equal(held, drawn)


def test_unknown_distribution_is_refused():
    circular = projection(Distribution("vonmises", {"mu": 0, "kappa": 1}))
    with pytest.raises(RequestError, match=r"'vonmises'.*lognormal"):
        discretiser(number_format("naive-2"), circular)
    weights = np.array([0.5])
    assert discretiser(number_format("double"), circular)(weights) == weights


@pytest.mark.parametrize("low", [-3.5, -5.0, -7.0])
def test_a_bound_that_is_nearer_than_eight_standard_deviations_counts(low):
    bounded = Distribution(
        "normal_clipped", {"mu": 0.0, "sigma": 1.0, "low": low, "high": INFINITY}
    )
    mean, sd = mean_and_sd(bounded)
    exact = stats.truncnorm(low, np.inf)
    assert mean == pytest.approx(exact.mean(), rel=1e-6)
    assert 1 - sd == pytest.approx(1 - exact.std(), rel=1e-3)


@pytest.mark.parametrize("name", ["double", "float32", "naive-3"])
@pytest.mark.parametrize("mean", [0.2, -0.2])
def test_the_largest_weight_is_in_the_tail_away_from_zero(name, mean):
    """It bounds all weights that can be drawn, whichever sign they have, and is reached."""
    described = projection(normal(mean, 0.02), "excitatory" if mean > 0 else "inhibitory")
    held = number_format(name).on(realized(described)).weights("p")
    tails = quantile(described.weight, np.array([2.0**-54, 1 - 2.0**-53]))
    assert held.largest() == np.abs(held(tails)).max()
    assert held.largest() >= np.abs(held(sample(mean, 0.02))).max()
