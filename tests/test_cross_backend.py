"""Backends against NEST on the same realizations of the microcircuit."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import Statistics, statistics
from pynn_portability.judge.verdict import judge
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.probe.compliance import Simulator

SEEDS = range(1, 7)


def ensemble(
    name: str, scale: float, connectivity: str, n_steps: int, warmup: float
) -> dict[int, Statistics]:
    """Statistics of the microcircuit in double precision, by seed."""
    simulator = Simulator(name)
    if reason := simulator.backend.available():
        pytest.skip(reason)
    parameters = {"scale": scale, "connectivity": connectivity}
    network = capture(load_model("microcircuit", Path()), parameters, 0.1)
    return {seed: statistics(simulator.run(network, n_steps, seed), warmup) for seed in SEEDS}


@cache
def mean_rates(name: str) -> dict[str, list[float]]:
    """Mean rate (1/s) of each population, one value per seed."""
    runs = ensemble(name, 0.02, "fixed_indegree", 12_000, 200.0).values()
    return {p: [float(run[p]["rate"].mean()) for run in runs] for p in next(iter(runs))}


@pytest.mark.parametrize("name", ["brian2", "emulator"])
def test_rates_agree_within_the_between_seed_spread(name: str) -> None:
    """Student's t of mean rates over seeds, 0.1 % for all eight populations together.

    The test takes the ensembles as independent. They share realizations, so its false-alarm rate is
    lower.
    """
    nest, other = mean_rates("nest"), mean_rates(name)
    p_values = {p: scipy.stats.ttest_ind(nest[p], other[p]).pvalue for p in nest}
    assert len(p_values) == 8
    assert min(p_values.values()) > 0.001 / 8, (nest, other)
    assert all(np.mean(rates) > 0 for rates in nest.values()), nest


@pytest.mark.parametrize("connectivity", ["fixed_indegree", "fixed_total_number"])
def test_the_emulator_keeps_the_dynamics_of_nest(connectivity: str) -> None:
    """The project's own verdict, six realizations of 3 s; its false-alarm rate is 5 %.

    At this size one comparison or the other may stay undecided, but few of 24.
    """
    nest, emulator = (
        ensemble(name, 0.03, connectivity, 33_000, 300.0) for name in ("nest", "emulator")
    )
    judgement = judge(Ensemble("nest", nest), Ensemble("emulator", emulator))
    assert judgement.verdict != "deviates", judgement.reasons
    assert len(judgement.scores) == 24
    assert sum(score.verdict == "pass" for score in judgement.scores) >= 20, judgement.reasons
