"""Error rates of the verdict, measured on synthetic studies with known truth.

    python benchmarks/verdict_calibration.py [--studies 250] [--seeds 3 4 5 6 10] [--random-seed 1] [--unpaired]

Each synthetic study has a reference and a candidate ensemble of the eight populations of the
cortical microcircuit at scale 0.1, observed for 10 s. A realization gives every neuron a rate, an
irregularity and a loading on common input, and shifts all of them together by some amount per
population; a run adds the noise of finite observation: Poisson spike counts, a spread of the
coefficient of variation that falls with the number of intervals, a spread of correlation
coefficients that falls with the number of bins. ``pynn_portability.judge.verdict.judge`` judges it.

Prints, for each scenario and number of seeds, the share of studies with each verdict, that of
``deviates`` with its 95 % Clopper-Pearson interval, and the geometric mean of the ratios of the
rates in one population. With the default arguments it takes about half an hour on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import Statistics
from pynn_portability.judge.verdict import Judgement, Pairing, judge

LABELS = ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")
SIZES = (2068, 583, 2192, 548, 485, 106, 1440, 295)
RATES = (0.48, 2.18, 4.01, 5.02, 7.13, 7.79, 0.86, 7.03)  # 1/s
DURATION = 10.0  # s
CORRELATED_NEURONS = 60  # not 200: studies take a fifth of the time, and no ratio changes
REALISTIC = (1.5, 0.0, 0.0, 0.0, 3.0, 0.0, 1.5, 0.0)


@dataclass(frozen=True)
class Scenario:
    """Truth behind a synthetic study.

    ``shift``: standard deviation, per population, of the shift that all neurons of a realization
    share, in standard errors of the mean over neurons; ``common`` is the share of its variance that
    is the same for all populations and statistics. ``same_realization``: whether the candidate runs
    on the reference's realizations, or on ones of its own. ``effect``: what is wrong with the
    candidate, per population, added to the logarithm of its rates.
    """

    name: str
    same_realization: bool
    shift: Sequence[float] = REALISTIC
    common: float = 0.0
    effect: Sequence[float] = (0.0,) * len(SIZES)
    watched: str = "L23E"


SCENARIOS = (
    Scenario("correct, same realizations", same_realization=True),
    Scenario("correct, other realizations", same_realization=False),
    Scenario("  realizations dominate", same_realization=False, shift=(5.0,) * 8),
    Scenario("  and shift all together", same_realization=False, shift=(5.0,) * 8, common=0.9),
    Scenario(
        "one true ratio at the margin",
        same_realization=False,
        effect=(0.0, 0.0, 0.038, 0.0, 0.0, 0.0, 0.0, 0.0),
        watched="L4E",
    ),
    Scenario(
        # The ratios measured with two equidistant weights are 3.6 2.2 1.4 1.8 1.2 1.3 1.3 2.2.
        "rates as wrong as with naive-2",
        same_realization=True,
        effect=(0.117, 0.063, 0.017, 0.048, 0.062, 0.064, 0.028, 0.080),
    ),
)


def study(
    rng: np.random.Generator, scenario: Scenario, n_seeds: int
) -> tuple[dict[int, Statistics], dict[int, Statistics]]:
    """Reference and candidate ensemble, by seed."""
    reference, candidate = {}, {}
    for seed in range(1, n_seeds + 1):
        own, other = (realization(rng, scenario) for _ in range(2))
        reference[seed] = run(rng, own, (0.0,) * len(SIZES))
        candidate[seed] = run(rng, own if scenario.same_realization else other, scenario.effect)
    return reference, candidate


@dataclass(frozen=True)
class Neurons:
    """One population of a realization: arrays over neurons, and the shift of all correlations."""

    rate: np.ndarray
    cv: np.ndarray
    loading: np.ndarray
    cc_shift: float


def realization(rng: np.random.Generator, scenario: Scenario) -> list[Neurons]:
    together = rng.normal()
    result = []
    for size, rate, strength in zip(SIZES, RATES, scenario.shift, strict=True):
        shift = np.sqrt(scenario.common) * together
        shift = strength * (shift + np.sqrt(1 - scenario.common) * rng.normal(size=3))
        quenched = rng.gamma(16.0, 1 / 16.0, size)
        spread_of_rate = np.sqrt(1 / 16.0 + 1 / (rate * DURATION))
        spread_of_cv = np.sqrt(0.03**2 + 1 / (2 * max(rate * DURATION, 3.0)))
        result.append(
            Neurons(
                rate=rate * quenched * np.exp(shift[0] * spread_of_rate / np.sqrt(size)),
                cv=0.9 + 0.03 * rng.normal(size=size) + shift[1] * spread_of_cv / np.sqrt(size),
                loading=np.sqrt(0.004) * rng.gamma(4.0, 1 / 4.0, min(size, CORRELATED_NEURONS)),
                cc_shift=shift[2] / np.sqrt(DURATION / 0.002) / CORRELATED_NEURONS,
            )
        )
    return result


def run(rng: np.random.Generator, network: list[Neurons], effect: Sequence[float]) -> Statistics:
    result = {}
    for label, neurons, factor in zip(LABELS, network, np.exp(effect), strict=True):
        counts = rng.poisson(neurons.rate * factor * DURATION)
        enough = counts >= 3
        noise = rng.normal(size=counts.size) / np.sqrt(2.0 * np.maximum(counts - 1, 1))
        pairs = np.triu_indices(neurons.loading.size, k=1)
        cc = np.outer(neurons.loading, neurons.loading)[pairs] + neurons.cc_shift
        result[label] = {
            "rate": counts / DURATION,
            "cv": (neurons.cv * (1 + noise))[enough],
            "cc": cc + rng.normal(size=cc.size) / np.sqrt(DURATION / 0.002),
        }
    return result


def judgements(
    scenario: Scenario,
    n_seeds: int,
    n_studies: int,
    random_seed: int,
    pairing: Pairing = "paired",
) -> Iterator[Judgement]:
    """Judge ``n_studies`` independent studies."""
    rng = np.random.default_rng([random_seed, n_seeds])
    for _ in range(n_studies):
        reference, candidate = study(rng, scenario, n_seeds)
        ensembles = Ensemble("reference", reference), Ensemble("candidate", candidate)
        yield judge(*ensembles, pairing=pairing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=250)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5, 6, 10])
    parser.add_argument("--random-seed", type=int, default=1)
    parser.add_argument(
        "--unpaired", action="store_true", help="as spikes from elsewhere are judged"
    )
    arguments = parser.parse_args()
    print(
        f"{'scenario':32}{'seeds':>6}{'deviates':>23}{'inconclusive':>14}{'pass':>8}{'ratio':>14}"
    )
    for scenario in SCENARIOS:
        for n_seeds in arguments.seeds:
            pairing: Pairing = "unpaired" if arguments.unpaired else "paired"
            many = arguments.studies, arguments.random_seed
            found = list(judgements(scenario, n_seeds, *many, pairing))
            n = {
                v: sum(j.verdict == v for j in found) for v in ("deviates", "inconclusive", "pass")
            }
            interval = binomtest(n["deviates"], len(found)).proportion_ci()
            logarithms = [
                np.log(score.ratio)
                for judgement in found
                for score in judgement.scores
                if (score.population, score.statistic) == (scenario.watched, "rate") and score.ratio
            ]
            print(
                f"{scenario.name:32}{n_seeds:6}"
                f"{n['deviates'] / len(found):9.1%} ({interval.low:5.1%}..{interval.high:5.1%})"
                f"{n['inconclusive'] / len(found):12.1%}{n['pass'] / len(found):10.1%}"
                f"{np.exp(np.mean(logarithms)):9.2f} {scenario.watched}",
                flush=True,
            )


if __name__ == "__main__":
    main()
