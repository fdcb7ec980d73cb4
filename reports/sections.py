"""Sections of the report that are made of drawings: sweeps, theory, noise, length of the runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pynn_portability.formats.schemes import Scheme
from pynn_portability.judge import activity
from pynn_portability.judge.adequacy import QUARTER, Evidence
from pynn_portability.judge.statistics import Statistics
from pynn_portability.judge.window import Sample
from pynn_portability.reports import drawing, figures, theory_figures
from pynn_portability.reports.drawing import Picture
from pynn_portability.reports.figures import Curve
from pynn_portability.reports.text import DASH, duration
from pynn_portability.results.schema import (
    Baseline,
    CandidateEntry,
    EnsembleEntry,
    Epsilon,
    Score,
    StudyEntry,
    StudyResults,
)

Key = tuple[str, str]
"""(backend, number format)."""

SWEEP_BINS = 3  # a curve through fewer points says nothing
COARSEST = (drawing.BLUE, drawing.YELLOW)  # of the two coarsest formats of a sweep
SWEPT = re.compile(r"(naive|moments)-([1-9]\d*)(/.*)?")
"""Scheme, number of values and state of a format whose weights are discretised."""
EXPECTATIONS = {"pass": "passes", "deviates": "deviates", "open": "too close to call", None: DASH}


def key_of(entry: EnsembleEntry) -> Key:
    return entry.backend, entry.format


def sweeps(
    labels: Sequence[str],
    results: StudyResults,
    runs: Callable[[EnsembleEntry], Mapping[int, Statistics]],
    raster: Callable[[EnsembleEntry, str, tuple[str, str]], Picture | None],
) -> list[dict[str, Any]]:
    """Drawings for every backend with a scheme at enough numbers of bins.

    Rasters and distributions of the reference and the two coarsest formats, and KS distance against
    bins (Dasbach et al. 2021, figures 3 to 5).
    """
    sweeps = []
    for backend, schemes in _swept(results.candidates).items():
        curves = {
            scheme: [(n, entry.scores) for n, entry in points] for scheme, points in schemes.items()
        }
        sweeps.append(
            {
                "backend": backend,
                "schemes": list(curves),
                "pictures": [
                    figures.sweep_picture(s, labels, results.reference.baseline, curves)
                    for s in results.study.statistics
                ],
                "coarsest": [
                    _coarsest(labels, results, scheme, [e for _, e in points[:2]], runs, raster)
                    for scheme, points in schemes.items()
                ],
            }
        )
    return sweeps


def _swept(
    candidates: Sequence[CandidateEntry],
) -> dict[str, dict[str, list[tuple[int, CandidateEntry]]]]:
    """Candidates by number of bins, ascending, of every backend and scheme with enough of them."""
    found: dict[str, dict[str, dict[int, CandidateEntry]]] = {}
    for entry in candidates:
        match = SWEPT.fullmatch(entry.format)
        if match and entry.scores:
            # a sweep varies nothing but the weights
            where = " ".join((entry.backend, (match[3] or "").removeprefix("/"))).rstrip()
            schemes = found.setdefault(where, {})
            schemes.setdefault(match[1], {})[int(match[2])] = entry
    enough = {
        where: {
            scheme: sorted(points.items(), key=lambda point: point[0])
            for scheme, points in schemes.items()
            if len(points) >= SWEEP_BINS
        }
        for where, schemes in found.items()
    }
    return {where: schemes for where, schemes in enough.items() if schemes}


def _coarsest(
    labels: Sequence[str],
    results: StudyResults,
    scheme: str,
    entries: Sequence[CandidateEntry],
    runs: Callable[[EnsembleEntry], Mapping[int, Statistics]],
    raster: Callable[[EnsembleEntry, str, tuple[str, str]], Picture | None],
) -> dict[str, Any]:
    """Rasters and distributions of the reference and the coarsest formats of a scheme."""
    reference = results.reference
    rasters = [
        raster(reference, "reference", figures.REFERENCE_SHADES),
        *(raster(entry, "candidate", figures.CANDIDATE_SHADES) for entry in entries),
    ]
    curves = [
        Curve(runs(reference), drawing.INK),
        *(Curve(runs(e), colour) for e, colour in zip(entries, COARSEST, strict=False)),
    ]
    title = f"of the reference and the coarsest {scheme} formats"
    return {
        "scheme": scheme,
        "formats": [entry.format for entry in entries],
        "rasters": [picture for picture in rasters if picture],
        "distributions": distributions(labels, curves, title, results.study),
    }


def theory(baseline: Sequence[Baseline], candidates: Sequence[CandidateEntry]) -> dict[str, Any]:
    """Predicted beside simulated ratios of firing rates, and drawings of discretisation errors."""
    rows: list[dict[str, Any]] = []
    errors: dict[str, Sequence[Epsilon]] = {}
    for entry in candidates:
        prediction = entry.prediction
        if prediction is None:
            continue
        rows.append(
            {
                "name": entry.name,
                "backend": entry.backend,
                "format": entry.format,
                "verdict": entry.verdict,
                "expectation": EXPECTATIONS[prediction.verdict],
                "reason": prediction.reason,
                "predicted": {p.population: p.ratio for p in prediction.populations},
                "simulated": {s.population: s.ratio for s in entry.scores if s.statistic == "rate"},
            }
        )
        if prediction.epsilon:
            # what a format does to weights is the same on every backend
            errors.setdefault(entry.format, prediction.epsilon)
    scored = [e for e in candidates if e.scores and e.format in errors]
    alike = len({e.format for e in scored}) < len(scored)  # on several backends
    scores = [(f"{e.backend} {e.format}" if alike else e.format, e.scores) for e in scored]
    means = theory_figures.epsilon_pictures(errors)
    formats: list[tuple[Scheme, int]] = [
        ("naive" if match[1] == "naive" else "moments", int(match[2]))
        for name in errors
        if (match := SWEPT.fullmatch(name))
    ]
    return {
        "rows": rows,
        "distances": figures.population_mean_pictures(baseline, scores) if means else [],
        "means": means,
        "spread": theory_figures.spread_pictures(formats) if formats else [],
        "matrices": [theory_figures.epsilon_matrix_picture(*found) for found in errors.items()],
    }


def covariances(
    labels: Sequence[str],
    results: StudyResults,
    runs: Callable[[EnsembleEntry], Mapping[int, Statistics]],
) -> dict[str, Any]:
    """Predicted covariances of smaller networks, beside the simulated ones where the study computes them."""
    rows: list[dict[str, Any]] = []
    pictures: list[Picture] = []
    reference = {label: _covariance(runs(results.reference), label) for label in labels}
    for entry in results.candidates:
        if not (entry.prediction and entry.prediction.covariances):
            continue
        of = {c.population: c for c in entry.prediction.covariances}
        simulated = {label: _covariance(runs(entry), label) for label in labels}
        rows.append(
            {
                "name": entry.name,
                "integrals": {
                    label: c.smaller / c.whole
                    for label, c in of.items()
                    if c.whole and c.smaller is not None
                },
                "predicted": {label: c.size_factor for label, c in of.items()},
                "simulated": {
                    label: _size(simulated[label]) / _size(reference[label])
                    for label in labels
                    if len(simulated[label]) and len(reference[label]) and reference[label].any()
                },
            }
        )
        lines = {
            label: (
                reference[label],
                simulated[label],
                of[label].whole_curve,
                of[label].smaller_curve,
            )
            for label in labels
            if label in of
        }
        if any(c.whole_curve or c.smaller_curve for c in of.values()):
            lags = activity.lags(results.study.timestep)
            pictures.append(theory_figures.covariance_picture(entry.format, lags, lines))
    return {"rows": rows, "pictures": pictures}


def _covariance(runs: Mapping[int, Statistics], label: str) -> Sample:
    """Covariances by run and lag, empty if the study has not computed them."""
    found = []
    for run in runs.values():
        of = run.get(label, {})
        if "covariance" in of:
            found.append(of["covariance"])
        elif "covariance-size" in of and "covariance-shape" in of:
            found.append(of["covariance-size"] * of["covariance-shape"])
    return np.array([curve for curve in found if curve.size])


def _size(curves: Sample) -> float:
    return float(np.sqrt((curves**2).mean(axis=1)).mean())


def distributions(
    labels: Sequence[str],
    curves: Sequence[Curve],
    title: str,
    study: StudyEntry,
    scores: Sequence[Score] = (),
    statistics: Sequence[str] | None = None,
    fraction: float = 1.0,
) -> list[Picture]:
    """A picture per statistic of a study, or of ``statistics``, none if the curves have no seed in common.

    Of such a ``fraction`` of the runs: one spike more in this time is the step of a rate.
    """
    if not set.intersection(*(set(curve.runs) for curve in curves)):
        return []
    return [
        figures.distribution_picture(
            s,
            labels,
            curves,
            title,
            scores,
            1000.0 / (fraction * study.duration) if s == "rate" else 0.0,
            study.timestep,
        )
        for s in (study.statistics if statistics is None else statistics)
    ]


def nulls(
    labels: Sequence[str], results: StudyResults, evidence: Mapping[Key, Evidence]
) -> dict[str, list[dict[str, Any]]]:
    """Distributions beside those of rate-matched noise: reference, and candidates that have it.

    Those of the reference are of the shortest part of the runs and of the whole (Dasbach et al. 2021,
    figure 2); of candidates, which hold every weight in a single value, only correlations are shown
    (supplementary figure 1).
    """
    whole, reference = results.study.duration, results.reference

    def beside(found: Evidence, fraction: float, **options: Any) -> list[Picture]:
        curves = [
            Curve(found.parts[fraction].runs, drawing.INK),
            Curve(found.noise[fraction].runs, drawing.BLUE),
        ]
        title = f"beside rate-matched noise, in {duration(fraction * whole)}"
        return distributions(labels, curves, title, results.study, fraction=fraction, **options)

    own = evidence.get(key_of(reference))
    return {
        "reference": [
            {
                "duration": fraction * whole,
                "pictures": beside(own, fraction, scores=reference.null if fraction == 1.0 else []),
            }
            for fraction in sorted(own.noise)
        ]
        if own
        else [],
        "candidates": [
            {
                "name": other.name,
                "backend": other.backend,
                "format": other.format,
                "pictures": beside(
                    found, 1.0, statistics=[s for s in results.study.statistics if s == "cc"]
                ),
            }
            for other in results.candidates
            if (found := evidence.get(key_of(other))) and found.noise
        ],
    }


def durations(
    labels: Sequence[str], results: StudyResults, evidence: Mapping[Key, Evidence]
) -> dict[str, Any]:
    """What the length of the runs does (Dasbach et al. 2021, figure 7); empty for short runs."""
    whole = results.study.duration
    own = evidence.get(key_of(results.reference))
    earlier = [fraction for fraction in sorted(own.parts) if fraction < 1.0] if own else []
    if own is None or not earlier or not own.whole.runs:
        return {}
    shades = dict(zip(earlier, figures.PART_SHADES[-len(earlier) :], strict=True))
    shades = {1.0: drawing.INK, **dict(reversed(shades.items()))}
    curves = [Curve(own.parts[fraction].runs, colour) for fraction, colour in shades.items()]
    converging = distributions(
        labels, curves, "of the reference's first parts", results.study, fraction=earlier[0]
    )
    drift: list[Picture] = []
    if own.last:
        quarters = [
            Curve(own.parts[QUARTER].runs, drawing.INK),
            Curve(own.last.runs, drawing.ORANGE),
        ]
        title = "of the first and the last quarter of the reference"
        drift = distributions(
            labels, quarters, title, results.study, results.reference.drift, fraction=QUARTER
        )
    followed = _followed([c for c in results.candidates if len(c.parts) > 1])
    return {
        "shades": [(colour, fraction * whole) for fraction, colour in shades.items()],
        "converging": converging,
        "quarter": QUARTER * whole,
        "drift": drift,
        "followed": [
            (entry.backend, entry.format, *mark)
            for entry, mark in zip(followed, figures.FORMAT_MARKS, strict=False)
        ],
        "distances": [
            figures.part_picture(s, labels, [entry.parts for entry in followed])
            for s in results.study.statistics
            if followed
        ],
    }


def _followed(candidates: Sequence[CandidateEntry]) -> Sequence[CandidateEntry]:
    """As many candidates as fit into one panel: all, or the first and the last."""
    few = len(candidates) <= len(figures.FORMAT_MARKS)
    return candidates if few else [candidates[0], candidates[-1]]
