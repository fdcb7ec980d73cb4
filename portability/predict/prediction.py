"""Predicted verdicts: what a study should find for a number format, without simulating it.

Studies are drawn from the distribution of firing rates that `pynn_portability.predict.mean_field` finds, with the
weights as drawn and with the weights as a format holds them, and judged by the rule that judges
simulations. ``docs/theory.md`` has the method, its measured accuracy and its limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import DOUBLE
from pynn_portability.formats.number_format import NumberFormat
from pynn_portability.judge import verdict as validation
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import Sample
from pynn_portability.predict.correlations import Correlations, correlations
from pynn_portability.predict.mean_field import (
    NODES,
    Activity,
    MeanField,
    Rates,
    projection_epsilons,
)
from pynn_portability.realize.realization import Realization

if TYPE_CHECKING:
    from pynn_portability.run.plan import Plan

Expectation = Literal["pass", "deviates", "open"]

DRAWN_STUDIES = 10
CERTAIN = 0.8
"""Share of drawn studies with the same verdict that makes a prediction."""
USUAL_SEEDS = 5
SMALLEST_REGULARITY = 0.01  # 1 - CV^2 of spike counts, below which they are practically Poisson


@dataclass(frozen=True)
class PopulationPrediction:
    """Rates (1/s) of a population with drawn and held weights, and their distances.

    ``ks_paired``: mean Kolmogorov-Smirnov distance of the rates measured with drawn and with held
    weights in the same realization; ``ks_baseline``: in different realizations with drawn weights;
    ``ratio``: their quotient, None where realizations do not differ.
    """

    population: str
    rate: float
    rate_sd: float
    held_rate: float
    held_rate_sd: float
    ks_paired: float
    ks_baseline: float
    ratio: float | None


@dataclass(frozen=True)
class Prediction:
    """What a study should find for a number format, as far as firing rates tell.

    ``verdict`` is that of at least `CERTAIN` of the drawn studies, otherwise ``open``: too close to
    call. ``shares`` has the share of every verdict. ``rates`` are those of all populations with the
    weights as drawn. ``limits`` names, a sentence each, what the format does beside weights.
    """

    verdict: Expectation
    shares: Mapping[str, float]
    populations: tuple[PopulationPrediction, ...]
    rates: Mapping[str, Rates]
    limits: tuple[str, ...]

    @property
    def largest(self) -> PopulationPrediction | None:
        """The population with the largest ratio, None if no ratio is defined."""
        defined = [p for p in self.populations if p.ratio is not None]
        return max(defined, key=lambda p: p.ratio or 0.0, default=None)


def predict(
    realization: Realization,
    number_formats: Sequence[NumberFormat],
    seeds: int,
    duration: float,
    warmup: float,
) -> list[Prediction]:
    """What a study of ``seeds`` realizations of ``duration`` ms after ``warmup`` should find.

    Studies are drawn: neurons from the mean field's distribution of rates, as many as a recorded
    population has, and their spike counts with the variance of a renewal process. The rule that
    judges simulations judges them. Paired and baseline distances so have the noise of population
    size and duration; runs of one realization share its neurons, not the noise. With fewer seeds
    than a verdict needs, five are drawn.

    Raises ``RequestError`` where the theory does not apply.
    """
    field = MeanField(realization, (duration + warmup) * 1e-3)
    activities = [field.solve(number_format) for number_format in number_formats]
    sources = field.source_rates
    recorded = [p for p in realization.network.recorded if not p.is_source]
    if seeds < validation.MINIMUM_SEEDS:
        seeds = USUAL_SEEDS
    verdicts: list[list[str]] = [[] for _ in activities]
    scores: list[list[validation.Score]] = [[] for _ in activities]
    for study in range(DRAWN_STUDIES if activities else 0):
        rng = np.random.default_rng([study, 0])
        neurons = [
            {p.label: rng.integers(NODES, size=p.size) for p in recorded} for _ in range(seeds)
        ]

        reference = _measured(activities[0], 0, neurons, duration, [study, 1])
        baseline = validation.baseline_distances(reference)
        for i, activity in enumerate(activities):
            # the same noise for all formats, so that they differ by nothing else
            candidate = _measured(activity, 1, neurons, duration, [study, 2])
            judgement = validation.judge(reference, candidate, baseline)
            verdicts[i].append(judgement.verdict)
            scores[i].extend(judgement.scores)
    return [
        _prediction(sources, *found)
        for found in zip(number_formats, activities, verdicts, scores, strict=True)
    ]


def _measured(
    activity: Mapping[str, Activity],
    network: int,
    neurons: Sequence[Mapping[str, NDArray[np.int64]]],
    duration: float,
    seed: Sequence[int],
) -> Ensemble:
    """Rates (1/s) of the chosen ``neurons`` counted in ``duration`` ms, as an ensemble of runs."""
    rng = np.random.default_rng(seed)

    def counted(label: str, chosen: NDArray[np.int64]) -> dict[str, Sample]:
        # binomial counts have a variance of (1 - p) times their mean, as long renewal processes have
        # one of CV^2
        p = max(1 - activity[label].variation ** 2, SMALLEST_REGULARITY)
        expected = activity[label].rates[chosen, network] * (duration * 1e-3)
        trials = np.floor(expected / p + rng.random(chosen.size)).astype(np.int64)
        return {"rate": rng.binomial(trials, p) / (duration * 1e-3)}

    runs = {
        run: {label: counted(label, chosen) for label, chosen in of_run.items()}
        for run, of_run in enumerate(neurons)
    }
    return Ensemble("mean field", runs)


def _prediction(
    sources: Mapping[str, Rates],
    number_format: NumberFormat,
    activity: Mapping[str, Activity],
    verdicts: Sequence[str],
    scores: Sequence[validation.Score],
) -> Prediction:
    populations = []
    for label in dict.fromkeys(score.population for score in scores):
        own = [score for score in scores if score.population == label]
        paired = float(np.mean([score.distance_mean for score in own]))
        baseline = float(np.mean([score.baseline_mean for score in own]))
        (drawn, held), (drawn_sd, held_sd) = (
            f(activity[label].rates, axis=0).tolist() for f in (np.mean, np.std)
        )
        populations.append(
            PopulationPrediction(
                label,
                drawn,
                drawn_sd,
                held,
                held_sd,
                paired,
                baseline,
                paired / baseline if baseline else None,
            )
        )
    shares = {v: verdicts.count(v) / len(verdicts) for v in ("pass", "deviates", "inconclusive")}
    verdict: Expectation = "open"
    if shares["pass"] >= CERTAIN:
        verdict = "pass"
    elif shares["deviates"] >= CERTAIN:
        verdict = "deviates"
    return Prediction(
        verdict,
        shares,
        tuple(populations),
        {
            **sources,
            **{
                label: Rates(float(a.rates[:, 0].mean()), float(a.rates[:, 0].var()))
                for label, a in activity.items()
            },
        },
        _limits(number_format),
    )


def _limits(number_format: NumberFormat) -> tuple[str, ...]:
    limits = []
    if number_format.state != DOUBLE:
        limits.append("Of the arithmetic, only what it does to weights is predicted.")
    if number_format.timestep is not None:
        limits.append(f"The time step of {number_format.timestep:g} ms is not predicted.")
    if number_format.weights.changes_delays:
        limits.append("What the machine does to delays is not predicted.")
    return tuple(limits)


def of_study(plan: Plan, measured: Mapping[str, Rates] | None = None) -> list[dict[str, Any]]:
    """The prediction for every candidate of a study, in their order, as plain JSON values.

    Fields are those of ``prediction`` in ``docs/results.md``. Discretisation errors are computed with
    the ``measured`` rates of populations, or with predicted ones. Where the theory does not apply,
    ``verdict`` is None and ``reason`` says why.
    """
    study = plan.study
    _, *candidates = ((backend, name) for _, backend, name in study.combinations())
    names = list(dict.fromkeys(name for _, name in candidates if not study.port(name).scaling))
    linear = cache(partial(_linear_response, plan, measured))
    smaller = {
        name: _smaller_entry(plan, name, linear)
        for name in dict.fromkeys(name for _, name in candidates if study.port(name).scaling)
    }
    if not names:
        return [smaller[name] for _, name in candidates]
    simulation = study.simulation
    realization = Realization(plan.network, simulation.seeds[0], simulation.timestep)
    formats = [study.number_format(name) for name in names]
    try:
        predictions = predict(
            realization, formats, len(simulation.seeds), simulation.duration, simulation.warmup
        )
    except RequestError as error:
        return [{"verdict": None, "reason": str(error)} for _ in candidates]
    entries = {
        name: _entry(realization, number_format, prediction, measured or {})
        for name, number_format, prediction in zip(names, formats, predictions, strict=True)
    }
    return [
        smaller[name]
        if name in smaller
        else entries[name]
        | {
            "limits": [
                *entries[name]["limits"],
                *(
                    [
                        f"Differences between {backend} and {study.reference.backend} are not predicted."
                    ]
                    if backend != study.reference.backend
                    else []
                ),
            ]
        }
        for backend, name in candidates
    ]


def _linear_response(
    plan: Plan, measured: Mapping[str, Rates] | None, name: str | None, timestep: float
) -> Correlations:
    """Of the network of a candidate, or of the whole one, at the rates of the whole one."""
    simulation = plan.study.simulation
    network = plan.networks[timestep] if name is None else plan.network_of(name)
    rates = None if measured is None else {label: r.mean for label, r in measured.items()}
    realization = Realization(network, simulation.seeds[0], timestep)
    return correlations(realization, (simulation.warmup + simulation.duration) * 1e-3, rates)


def _smaller_entry(
    plan: Plan, name: str, linear: Callable[[str | None, float], Correlations]
) -> dict[str, Any]:
    """What ``linear`` response says of a smaller network beside the whole one."""
    entry: dict[str, Any] = {
        "verdict": None,
        "reason": "distances of a smaller network are not predicted, but covariances are",
    }
    if name not in plan.scaled:
        return entry
    timestep = plan.study.timestep(name)
    try:
        whole, smaller = linear(None, timestep), linear(name, timestep)
    except RequestError as error:
        return entry | {"reason": f"neither distances nor covariances are predicted: {error}"}
    restless = [
        f"{text} network near {found.unstable:.0f} Hz"
        for text, found in (("the whole", whole), ("the smaller", smaller))
        if found.unstable is not None
    ]
    if restless:
        entry["reason"] += (
            f"; of these only integrals over lags, as linear response calls {' and '.join(restless)} unstable"
        )
    curves = {
        name: found.curves
        for name, found in (("whole_curve", whole), ("smaller_curve", smaller))
        if found.curves is not None
    }
    sizes = {name: np.sqrt((curve**2).mean(axis=1)) for name, curve in curves.items()}
    return entry | {
        "covariances": [
            {
                "population": label,
                "whole": float(whole.covariance[i, i]),
                "smaller": float(smaller.covariance[i, i]),
            }
            | {name: curve[i].round(6).tolist() for name, curve in curves.items()}
            | (
                {"size_factor": float(sizes["smaller_curve"][i] / sizes["whole_curve"][i])}
                if len(sizes) == 2 and sizes["whole_curve"][i]
                else {}
            )
            for i, label in enumerate(whole.labels)
        ]
    }


def _entry(
    realization: Realization,
    number_format: NumberFormat,
    prediction: Prediction,
    measured: Mapping[str, Rates],
) -> dict[str, Any]:
    largest = prediction.largest
    errors = projection_epsilons(number_format.on(realization), {**prediction.rates, **measured})
    return {
        "verdict": prediction.verdict,
        "reason": None,
        "shares": dict(prediction.shares),
        "population": largest.population if largest else None,
        "ratio": largest.ratio if largest else None,
        "populations": [asdict(p) for p in prediction.populations],
        "epsilon": [
            {"projection": p.label, "source": p.source, "target": p.target}
            # a measure that the format leaves nothing of has no error in these terms
            | {k: v if math.isfinite(v) else None for k, v in errors[p.label]._asdict().items()}
            for p in realization.network.projections
            if p.label in errors
        ],
        "limits": list(prediction.limits),
    }
