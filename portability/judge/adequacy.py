"""What the data of a study can show: null models, parts of the run, neurons with hardly a spike.

If a statistic of the reference cannot be told from that of its null model (see
`pynn_portability.judge.null_model`), it cannot tell a wrong port from a right one either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from pynn_portability.judge.ensemble import Ensemble, Excerpt, Recording
from pynn_portability.judge.neurons import CORRELATION_NEURONS
from pynn_portability.judge.statistics import STATISTICS, Statistics, statistic
from pynn_portability.judge.verdict import Baseline, Score, judge
from pynn_portability.judge.window import Sample

FRACTIONS = (0.125, 0.25, 0.5)
"""Parts of the analysed window at which a study is judged beside the whole."""
QUARTER = 0.25
"""First and last part of the reference's runs, between which it should not drift."""
SHORTEST_PART = 500.0
"""Shorter parts (ms) are not judged."""
RATE_CHANGES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5)
"""Losses of spikes that are tried to find the smallest that would be noticed."""


def fractions(duration: float) -> list[float]:
    """Parts of an analysed window of ``duration`` ms that are long enough to be judged."""
    return [fraction for fraction in FRACTIONS if fraction * duration >= SHORTEST_PART]


@dataclass(frozen=True)
class Evidence:
    """Ensembles of excerpts of the same runs, by which it is seen what their data can show.

    ``parts`` and ``noise`` are by the fraction of the runs that is used, from their beginning: the runs
    as they are, the whole (1.0) included, and their null model, which may be empty. ``last`` is the last
    quarter of the runs, if it was asked for and the runs are long enough.
    """

    parts: Mapping[float, Ensemble]
    noise: Mapping[float, Ensemble] = field(default_factory=dict)
    last: Ensemble | None = None

    @property
    def whole(self) -> Ensemble:
        """The ensemble of the whole runs."""
        return self.parts[1.0]


def gather(
    label: str,
    recordings: Mapping[int, Recording],
    warmup: float,
    duration: float,
    noise: bool = False,
    last: bool = False,
    origin: Mapping[str, Any] | None = None,
    neurons: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    statistics: Sequence[str] = STATISTICS,
) -> Evidence:
    """The excerpts of an ensemble of runs (by seed) of ``duration`` ms after ``warmup`` ms.

    With ``noise``, null models are among them, with ``last``, the last quarter. ``neurons`` are the cells that are
    measured, where they are not all of a population. Spikes of one run at a time are held in memory.
    """
    shorter = fractions(duration)
    parts = [*shorter, 1.0]
    nulls = [*shorter[:1], 1.0] if noise else []
    quarter = last and QUARTER in shorter
    runs: dict[tuple[str, float], dict[int, Statistics]] = {
        key: {}
        for key in (
            *(("part", fraction) for fraction in parts),
            *(("null", fraction) for fraction in nulls),
            *([("last", QUARTER)] if quarter else []),
        )
    }
    for seed, recording in recordings.items():
        excerpts = [
            *(Excerpt(warmup, 0.0, fraction) for fraction in parts),
            *(Excerpt(warmup, 0.0, fraction, seed) for fraction in nulls),
            *([Excerpt(warmup, 1.0 - QUARTER, 1.0)] if quarter else []),
        ]
        cells = tuple(sorted(neurons.items()))
        excerpts = [replace(e, neurons=cells, statistics=tuple(statistics)) for e in excerpts]
        found = recording.all_statistics(excerpts)
        for key, sample in zip(runs, found, strict=True):
            runs[key][seed] = sample

    def ensembles(kind: str) -> dict[float, Ensemble]:
        return {
            fraction: Ensemble(label, by_seed, dict(origin or {}))
            for (of_kind, fraction), by_seed in runs.items()
            if of_kind == kind and by_seed
        }

    found_parts = ensembles("part") or {fraction: Ensemble(label, {}) for fraction in parts}
    return Evidence(found_parts, ensembles("null"), ensembles("last").get(QUARTER))


def sparse_neurons(sample: Statistics, duration: float) -> dict[str, tuple[int, int]]:
    """Silent neurons and neurons with a single spike in ``duration`` ms, by population."""
    counts = {
        population: np.rint(statistics["rate"] * duration / 1000.0).astype(np.int64)
        for population, statistics in sample.items()
    }
    return {p: (int((n == 0).sum()), int((n == 1).sum())) for p, n in counts.items()}


def population_warnings(sizes: Mapping[str, int], reference: Ensemble) -> list[str]:
    """A sentence each on populations (label and size) of few neurons, and on silent ones.

    Without any run of the reference there is nothing to say.
    """
    if not reference.runs:
        return []
    sentences = []
    small = [f"{label} ({n})" for label, n in sizes.items() if n < CORRELATION_NEURONS]
    if small:
        sentences.append(
            f"Fewer than {CORRELATION_NEURONS} neurons in {', '.join(small)}: correlations there are "
            "those of all the pairs there are, if any, and scatter more than elsewhere."
        )
    silent = [
        label
        for label in sizes
        if not any(sample[label]["rate"].any() for sample in reference.runs.values())
    ]
    if silent and len(silent) == len(sizes):
        sentences.append(
            "The reference is silent: not a single spike in any population and run, so that a candidate "
            "passes by being silent as well, which says nothing about a port. Does the network get any "
            "input?"
        )
    elif silent:
        sentences.append(
            f"Not a single spike in {', '.join(silent)} in any run of the reference: there are no "
            "intervals and no correlations to compare, and a candidate deviates there as soon as it "
            "spikes in every run."
        )
    return sentences


def null_scores(
    reference: Ensemble, noise: Ensemble, baseline: Baseline | None = None
) -> list[Score]:
    """Scores of rate-matched noise as a candidate, for the statistics that rates do not determine.

    ``deviates`` means that the reference can be told from it.
    """
    scores = judge(reference, noise, baseline).scores
    return [score for score in scores if not statistic(score.statistic).of_rates]


def warnings(scores: Sequence[Score], duration: float) -> list[str]:
    """A sentence for each statistic that rate-matched noise has as well, by `null_scores`."""
    sentences = []
    for name in dict.fromkeys(score.statistic for score in scores):
        own = [score for score in scores if score.statistic == name]
        alike = [score.population for score in own if score.verdict != "deviates"]
        if alike:
            where = "every population" if len(alike) == len(own) else ", ".join(alike)
            sentences.append(
                f"{duration / 1000:g} s is too short for {statistic(name).word} in {where}: the reference "
                "cannot be told from rate-matched noise, so this statistic adds nothing there."
            )
    return sentences


def drift_warnings(scores: Sequence[Score]) -> list[str]:
    """A sentence if the last quarter of the reference's runs deviates from the first.

    ``scores`` are those of the last quarter, judged as a candidate for the first.
    """
    where = [f"{s.statistic} in {s.population}" for s in scores if s.verdict == "deviates"]
    if not where:
        return []
    return [
        f"The reference drifts: its last quarter differs from its first in {', '.join(where)}. "
        "It may need a longer warm-up."
    ]


def noticed_rate_changes(
    reference: Ensemble, duration: float, baseline: Baseline | None = None
) -> dict[str, float | None]:
    """By population, the smallest relative loss of spikes that the study would call a deviation.

    Every spike of the reference's own runs (of ``duration`` ms) is lost with this probability, and the
    rates that are left are judged as a candidate's. None if not even half of them would be missed.
    """
    noticed: dict[str, float | None] = dict.fromkeys(reference.populations)
    if not reference.runs:
        return noticed
    for change in RATE_CHANGES:
        thinned = {
            seed: {
                population: {
                    **of_population,
                    "rate": _thinned(of_population["rate"], duration, change, seed),
                }
                for population, of_population in sample.items()
            }
            for seed, sample in reference.runs.items()
        }
        for score in judge(reference, replace(reference, runs=thinned), baseline).scores:
            missing = noticed[score.population] is None
            if score.statistic == "rate" and score.verdict == "deviates" and missing:
                noticed[score.population] = change
    return noticed


def _thinned(rates: Sample, duration: float, loss: float, seed: int) -> Sample:
    counts = np.rint(rates * duration / 1000.0).astype(np.int64)
    generator = np.random.default_rng([seed, round(loss * 1000)])
    return np.asarray(generator.binomial(counts, 1.0 - loss), np.float64) * 1000.0 / duration
