"""Sections of the report that are made of drawings: sweeps, theory, noise, length of the runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pynn_portability.formats.schemes import Scheme
from pynn_portability.judge.adequacy import QUARTER, Evidence
from pynn_portability.judge.statistics import STATISTICS, Statistics
from pynn_portability.reports import drawing, figures, theory_figures
from pynn_portability.reports.drawing import Picture
from pynn_portability.reports.figures import Curve
from pynn_portability.reports.text import DASH, duration

Key = tuple[str, str]
"""(backend, number format)."""

SWEEP_BINS = 3  # a curve through fewer points says nothing
COARSEST = (drawing.BLUE, drawing.YELLOW)  # of the two coarsest formats of a sweep
SWEPT = re.compile(r"(naive|moments)-([1-9]\d*)(/.*)?")
"""Scheme, number of values and state of a format whose weights are discretised."""
EXPECTATIONS = {"pass": "passes", "deviates": "deviates", "open": "too close to call", None: DASH}


def key_of(entry: Mapping[str, Any]) -> Key:
    return entry["backend"], entry["format"]


def sweeps(
    labels: Sequence[str],
    baseline: Sequence[figures.Score],
    candidates: Sequence[Mapping[str, Any]],
    statistics: Mapping[Key, Mapping[int, Statistics]],
    raster: Callable[[Mapping[str, Any], str, tuple[str, str]], Picture | None],
    study: Mapping[str, Any],
    reference: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Drawings for every backend with a scheme at enough numbers of bins.

    Rasters and distributions of the reference and the two coarsest formats, and KS distance against
    bins (Dasbach et al. 2021, figures 3 to 5).
    """
    found: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for entry in candidates:
        match = SWEPT.fullmatch(entry["format"])
        if match and entry.get("scores"):
            # a sweep varies nothing but the weights
            where = " ".join((entry["backend"], (match[3] or "").removeprefix("/"))).rstrip()
            schemes = found.setdefault(where, {})
            schemes.setdefault(match[1], {})[int(match[2])] = entry
    sweeps = []
    for backend, schemes in found.items():
        of_scheme = {
            scheme: sorted(points.items())
            for scheme, points in schemes.items()
            if len(points) >= SWEEP_BINS
        }
        if not of_scheme:
            continue
        curves = {
            scheme: [(n, entry["scores"]) for n, entry in points]
            for scheme, points in of_scheme.items()
        }
        coarsest = [
            {
                "scheme": scheme,
                "formats": [entry["format"] for _, entry in points[:2]],
                "rasters": [
                    picture
                    for role, entry, shades in (
                        ("reference", reference, figures.REFERENCE_SHADES),
                        *(("candidate", e, figures.CANDIDATE_SHADES) for _, e in points[:2]),
                    )
                    if (picture := raster(entry, role, shades))
                ],
                "distributions": distributions(
                    labels,
                    [
                        Curve(statistics.get(key_of(reference), {}), drawing.INK),
                        *(
                            Curve(statistics.get(key_of(entry), {}), colour)
                            for (_, entry), colour in zip(points, COARSEST, strict=False)
                        ),
                    ],
                    f"of the reference and the coarsest {scheme} formats",
                    study["duration"],
                ),
            }
            for scheme, points in of_scheme.items()
        ]
        sweeps.append(
            {
                "backend": backend,
                "schemes": list(curves),
                "pictures": [
                    figures.sweep_picture(s, labels, baseline, curves) for s in STATISTICS
                ],
                "coarsest": coarsest,
            }
        )
    return sweeps


def theory(
    baseline: Sequence[figures.Score], candidates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Predicted beside simulated ratios of firing rates, and drawings of discretisation errors."""
    rows: list[dict[str, Any]] = []
    errors: dict[str, Sequence[Mapping[str, Any]]] = {}
    for entry in candidates:
        prediction = entry.get("prediction")
        if not prediction:
            continue
        rows.append(
            {
                "backend": entry["backend"],
                "format": entry["format"],
                "verdict": entry["verdict"],
                "expectation": EXPECTATIONS[prediction["verdict"]],
                "reason": prediction["reason"],
                "predicted": {
                    p["population"]: p["ratio"] for p in prediction.get("populations", ())
                },
                "simulated": {
                    s["population"]: s["ratio"]
                    for s in entry.get("scores") or ()
                    if s["statistic"] == "rate"
                },
            }
        )
        if prediction.get("epsilon"):
            # what a format does to weights is the same on every backend
            errors.setdefault(entry["format"], prediction["epsilon"])
    scored = [e for e in candidates if e.get("scores") and e["format"] in errors]
    alike = len({e["format"] for e in scored}) < len(scored)  # on several backends
    scores = [
        (f"{e['backend']} {e['format']}" if alike else e["format"], e["scores"]) for e in scored
    ]
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


def distributions(
    labels: Sequence[str],
    curves: Sequence[Curve],
    title: str,
    duration: float,
    scores: Sequence[figures.Score] = (),
    statistics: Sequence[str] = STATISTICS,
) -> list[Picture]:
    """A picture per statistic, none if the curves have no seed in common.

    One spike more in ``duration`` ms is the step of a rate.
    """
    if not set.intersection(*(set(curve.runs) for curve in curves)):
        return []
    return [
        figures.distribution_picture(
            s, labels, curves, title, scores, 1000.0 / duration if s == "rate" else 0.0
        )
        for s in statistics
    ]


def nulls(
    labels: Sequence[str], results: Mapping[str, Any], evidence: Evidence
) -> dict[str, list[dict[str, Any]]]:
    """Distributions beside those of rate-matched noise: reference, and candidates that have it.

    Those of the reference are of the shortest part of the runs and of the whole (Dasbach et al. 2021,
    figure 2); of candidates, which hold every weight in a single value, only correlations are shown
    (supplementary figure 1).
    """
    whole, reference = results["study"]["duration"], results["reference"]

    def beside(key: Key, fraction: float, **options: Any) -> list[Picture]:
        curves = [
            Curve(evidence.parts[key].get(fraction, {}), drawing.INK),
            Curve(evidence.noise[key][fraction], drawing.BLUE),
        ]
        title = f"beside rate-matched noise, in {duration(fraction * whole)}"
        return distributions(labels, curves, title, fraction * whole, **options)

    key = key_of(reference)
    scores = reference.get("null") or []
    return {
        "reference": [
            {
                "duration": fraction * whole,
                "pictures": beside(key, fraction, scores=scores if fraction == 1.0 else []),
            }
            for fraction in sorted(evidence.noise.get(key, {}))
        ],
        "candidates": [
            {
                "backend": other["backend"],
                "format": other["format"],
                "pictures": beside(key_of(other), 1.0, statistics=("cc",)),
            }
            for other in results["candidates"]
            if evidence.noise.get(key_of(other))
        ],
    }


def durations(
    labels: Sequence[str], results: Mapping[str, Any], evidence: Evidence
) -> dict[str, Any]:
    """What the length of the runs does (Dasbach et al. 2021, figure 7); empty for short runs."""
    whole, key = results["study"]["duration"], key_of(results["reference"])
    parts = evidence.parts.get(key, {})
    earlier = [fraction for fraction in sorted(parts) if fraction < 1.0]
    if not earlier:
        return {}
    shades = dict(zip(earlier, figures.PART_SHADES[-len(earlier) :], strict=True))
    shades = {1.0: drawing.INK, **dict(reversed(shades.items()))}
    curves = [Curve(parts[fraction], colour) for fraction, colour in shades.items()]
    converging = distributions(labels, curves, "of the reference's first parts", earlier[0] * whole)
    drift: list[Picture] = []
    if evidence.last:
        quarters = [Curve(parts[QUARTER], drawing.INK), Curve(evidence.last, drawing.ORANGE)]
        title = "of the first and the last quarter of the reference"
        scores = results["reference"].get("drift") or []
        drift = distributions(labels, quarters, title, QUARTER * whole, scores)
    followed = _followed([c for c in results["candidates"] if len(c.get("parts") or ()) > 1])
    return {
        "shades": [(colour, fraction * whole) for fraction, colour in shades.items()],
        "converging": converging,
        "quarter": QUARTER * whole,
        "drift": drift,
        "followed": [
            (entry["backend"], entry["format"], *mark)
            for entry, mark in zip(followed, figures.FORMAT_MARKS, strict=False)
        ],
        "distances": [
            figures.part_picture(s, labels, [entry["parts"] for entry in followed])
            for s in STATISTICS
            if followed
        ],
    }


def _followed(candidates: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """As many candidates as fit into one panel: all, or the first and the last."""
    few = len(candidates) <= len(figures.FORMAT_MARKS)
    return candidates if few else [candidates[0], candidates[-1]]
