"""Ring-buffer shifts against sPyNNaker's own, and against cases worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from spinnaker_reference import ask, random_realization, spynnaker

from pynn_portability.formats.ring_buffers import (
    Input,
    RingBuffer,
    ring_buffer,
    ring_buffers,
    shifts,
)
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import AllToAll, FixedNumberPre, FixedTotalNumber, OneToOne
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Projection,
    Value,
)
from pynn_portability.probe.compliance import cells
from pynn_portability.realize.realization import Realization, Synapses

SPREAD = Distribution("uniform", {"low": 0.1, "high": 3.0})


def onto_b(
    weight: Value, delay: Value, in_degree: int = 10, receptor: Receptor = "excitatory"
) -> Projection:
    connector = FixedNumberPre(in_degree, with_replacement=True)
    return Projection("p", "A", "B", receptor, connector, weight, delay)


def realize(
    *projections: Projection, drives: tuple[PoissonDrive, ...] = (), timestep: float = 0.1
) -> Realization:
    return Realization(Network((cells("A", 50), cells("B", 20)), projections, drives), 1, timestep)


def excitatory(realization: Realization) -> RingBuffer:
    return ring_buffers(realization)["B", "excitatory"]


@spynnaker
def test_shifts_are_those_of_spynnaker(tmp_path: Path):
    seeds = list(range(1, 61))
    answers = ask(tmp_path, seeds, mapped=False)
    found = []
    for seed in seeds:
        ours = shifts(random_realization(seed))
        theirs = answers[seed]["shifts"]
        for label, (excitatory, inhibitory) in theirs.items():
            assert (
                ours[label, "excitatory"],
                ours[label, "inhibitory"],
            ) == (excitatory, inhibitory), (seed, label)
            found += [excitatory, inhibitory]
    # the networks reach both ends: 0 is the least shift there is
    assert min(found) == 0
    assert max(found) >= 8


@pytest.mark.parametrize(
    ("weight", "shift"),
    [
        (0.05, 0),
        (0.0999, 0),
        (0.125, 1),
        (0.15, 1),
        (0.2, 2),
        (0.4, 3),
        (0.8, 4),
        (1.6, 5),
        (0.0, 0),
    ],
)
def test_with_constant_delays_everything_may_arrive_at_once(weight, shift):
    # 10 synapses; a sum of 2^s exactly needs one bit more than s
    buffer = excitatory(realize(onto_b(weight, 1.5)))
    assert buffer.constant_delays
    assert buffer.bound == buffer.worst_case == pytest.approx(10 * weight)
    assert buffer.shift == shift
    assert buffer.unit == 2.0 ** (shift - 15)


def test_delays_of_the_same_number_of_steps_are_constant():
    almost = Distribution("uniform", {"low": 1.46, "high": 1.54})
    assert excitatory(realize(onto_b(0.1, almost))).constant_delays
    assert not excitatory(realize(onto_b(0.1, almost), timestep=0.01)).constant_delays


def test_varying_delays_allow_for_what_is_expected():
    constant = excitatory(realize(onto_b(0.1, 1.5, in_degree=1000)))
    varying = excitatory(realize(onto_b(0.1, SPREAD, in_degree=1000)))
    # 1000 synapses at 30 spikes/s: 3 spikes in a step of 0.1 ms, with a SD of their root
    assert varying.expected_mean == pytest.approx(0.3)
    assert varying.expected_sd == pytest.approx(0.1 * np.sqrt(3))
    assert varying.bound == pytest.approx(0.3 + 5 * 0.1 * np.sqrt(3))
    assert (constant.bound, constant.shift, varying.shift) == (pytest.approx(100), 7, 1)


def test_never_less_than_a_single_weight_nor_more_than_all():
    few = excitatory(realize(onto_b(3.0, SPREAD, in_degree=2), timestep=1.0))
    # 2 synapses at 30 spikes/s: 0.06 * 3 + 5 * 3 * sqrt(0.06)
    assert few.bound == pytest.approx(0.18 + 15 * np.sqrt(0.06))
    single = excitatory(realize(onto_b(3.0, SPREAD, in_degree=2)))
    assert single.bound == single.largest_weight == 3.0
    many = excitatory(realize(onto_b(0.1, SPREAD, in_degree=2), timestep=30.0))
    assert many.bound == many.worst_case == pytest.approx(0.2)


def test_a_one_to_one_drive_does_not_make_delays_vary():
    drive = PoissonDrive("d", "B", "excitatory", 8000.0, 0.3, SPREAD)
    buffer = excitatory(realize(onto_b(0.1, 1.5), drives=(drive,)))
    assert buffer.constant_delays
    # the rate has no part in it
    assert buffer.worst_case == pytest.approx(10 * 0.1 + 0.3)


def test_statistics_are_those_of_the_synapses():
    weight = Distribution("gamma", {"k": 2.0, "theta": 0.05})
    projection = Projection("p", "A", "B", "excitatory", FixedTotalNumber(3000), weight, SPREAD)
    realization = realize(projection)
    synapses = Synapses.concatenate(list(realization.synapses("p", chunk_size=3000)))
    (found,) = excitatory(realization).inputs
    assert found.in_degree == np.bincount(synapses.target).max()
    assert found.weight_mean == pytest.approx(synapses.weight.mean())
    assert found.weight_variance == pytest.approx(synapses.weight.var())
    assert found.weight_maximum == synapses.weight.max()
    assert not found.constant_delay


def test_every_receptor_has_a_shift():
    realization = realize(onto_b(-0.4, 1.0, receptor="inhibitory"))
    assert shifts(realization) == {
        ("A", "excitatory"): 0,
        ("A", "inhibitory"): 0,
        ("B", "excitatory"): 0,
        ("B", "inhibitory"): 3,
    }


def test_conductances_are_scaled():
    network = Network(
        (cells("A", 5), cells("B", 5, "IF_cond_exp")),
        (Projection("p", "A", "B", "excitatory", OneToOne(), 0.002, 1.0),),
    )
    buffer = ring_buffers(Realization(network, 1, 0.1))["B", "excitatory"]
    # 2.048 in units of 1/1024 uS
    assert (buffer.shift, buffer.unit) == (2, 2.0**-13 / 1024)


def test_projections_without_synapses_have_no_part():
    empty = Projection("e", "A", "B", "excitatory", FixedTotalNumber(0), 100.0, 1.0)
    assert excitatory(realize(empty, onto_b(0.05, 1.0))).shift == 0
    autapses = Projection("a", "A", "A", "excitatory", AllToAll(False), 0.1, 1.0)
    assert shifts(realize(autapses))["A", "excitatory"] == 3


# --- Numbers worked out by hand ---

RATES = [0.5, 3.0, 30.0, 200.0]
"""Mean spikes per step that are tried."""


def found(*inputs: Input, spikes: float) -> RingBuffer:
    """The rule at a rate that gives ``spikes`` per step of 1 ms."""
    count = sum(i.in_degree for i in inputs)
    return ring_buffer(inputs, False, 1.0, rate=1000 * spikes / count)


@pytest.mark.parametrize("spikes", RATES)
def test_variance_is_that_of_a_poisson_sum_cut_off_at_three_standard_deviations(spikes: float):
    weights = np.random.default_rng(1).uniform(0.5, 1.5, 40)
    own = Input("p", 40, float(weights.mean()), float(weights.var()), float(weights.max()), False)
    buffer = found(own, spikes=spikes)
    assert buffer.expected_mean == pytest.approx(spikes * weights.mean())
    most = round(spikes + 3 * np.sqrt(spikes))
    numbers = np.arange(1, most + 1)
    by_number = (numbers * stats.poisson.pmf(numbers, spikes)).sum() * weights.var()
    assert buffer.expected_sd == pytest.approx(np.sqrt(spikes * weights.mean() ** 2 + by_number))


def test_variances_of_projections_are_pooled():
    """Of 4 and 6 synapses: within projections 3 * 0.2 + 5 * 0.1, between them 4 * 0.36 + 6 * 0.16."""
    inputs = [Input("p", 4, 1.0, 0.2, 3.0, False), Input("q", 6, 2.0, 0.1, 3.0, False)]
    spikes = 30.0
    pooled = (3 * 0.2 + 5 * 0.1 + 4 * 0.36 + 6 * 0.16) / 9
    below = stats.poisson.cdf(round(spikes + 3 * np.sqrt(spikes)) - 1, spikes)
    expected = np.sqrt(spikes * 1.6**2 + spikes * pooled * below)
    assert found(*inputs, spikes=spikes).expected_sd == pytest.approx(expected)


@pytest.mark.parametrize(("spikes", "counts"), [(500.0, True), (900.0, False)])
def test_weights_vary_for_nothing_where_sums_of_spikes_overflow(spikes: float, counts: bool):
    own = Input("p", 2000, 1.0, 0.25, 2.0, False)
    without = np.sqrt(spikes)
    assert (found(own, spikes=spikes).expected_sd > 1.01 * without) == counts
