"""One self-contained HTML page from the results of a study; it computes no verdict of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portability.adequacy import QUARTER, Evidence
from portability.files import replacing
from portability.reports import drawing, figures, theory_figures
from portability.reports.drawing import Picture, finite
from portability.reports.figures import Curve
from portability.spikes import SpikeData
from portability.statistics import STATISTICS, Statistics

Key = tuple[str, str]
"""(backend, number format)."""

DASH = "–"  # noqa: RUF001 - the typographic sign for "nothing here"
VERDICTS = {
    "pass": ("✓", "passes"),
    "deviates": ("◆", "deviates"),
    "inconclusive": ("?", "inconclusive"),
    "failed": ("!", "failed"),
    "not run": ("–", "not run"),  # noqa: RUF001
    "reference": ("●", "reference"),
}
"""Sign and word of each verdict."""
DECIMALS = {"rate": 3, "cv": 3, "cc": 4}
RASTER_MS = 400.0
OPEN_CANDIDATES = 4  # with more of them, distributions and rasters start folded
SWEEP_BINS = 3  # a curve through fewer points says nothing
THEORY_DRAWINGS = ("distances", "means", "spread", "matrices")
COARSEST = (drawing.BLUE, drawing.YELLOW)  # of the two coarsest formats of a sweep


def write_report(
    path: Path,
    results: Mapping[str, Any],
    statistics: Mapping[Key, Mapping[int, Statistics]],
    spikes: Mapping[Key, SpikeData],
    evidence: Evidence | None = None,
    drawings: Path | None = None,
) -> None:
    """Write the report of a study to ``path``: HTML without scripts, style and drawings inside.

    ``results`` is the content of results.json (schema ``portability-results/1``). ``statistics``
    holds the samples of every successful run by (backend, format) and seed, ``spikes`` one run of
    the reference and of each candidate, for rasters, ``evidence`` the samples of parts of the runs
    and of null models. What is missing, of a failed candidate for instance, is shown as missing. The
    same input gives the same file; an existing file is replaced whole or not at all. With a folder
    ``drawings`` every drawing is also written there, as an SVG file. Raises ``OSError`` when a file
    cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": fixed,
        "significant": significant,
        "memory": memory,
        "duration": duration,
        "value": value,
    }
    context = _context(results, statistics, spikes, evidence or Evidence())
    html = environment.get_template("report.html").render(**context)
    with replacing(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    if drawings is not None:
        for name, picture in _drawings(context).items():
            with replacing(drawings / name) as temporary:
                temporary.write_bytes(picture.svg)


def _drawings(context: Mapping[str, Any]) -> dict[str, Picture]:
    """All drawings of a page by file name: what they belong to, and their kind."""
    entries = context["candidates"]
    sections: list[tuple[str, Sequence[Picture]]] = [
        ("reference", [p for pictures in context["alone"].values() for p in pictures]),
        *(
            (f"{e['backend']} {e['format']}", e[kind])
            for e in entries
            for kind in ("ks", "distributions", "rasters", "durations")
        ),
        *((sweep["backend"], sweep["pictures"]) for sweep in context["sweeps"]),
        *(
            (f"{sweep['backend']} {', '.join(found['formats'])}", found[kind])
            for sweep in context["sweeps"]
            for found in sweep["coarsest"]
            for kind in ("rasters", "distributions")
        ),
        *(("theory", context["theory"][kind]) for kind in THEORY_DRAWINGS),
        *(
            (f"noise {duration(n['duration'])}", n["pictures"])
            for n in context["nulls"]["reference"]
        ),
        *(
            (f"noise {n['backend']} {n['format']}", n["pictures"])
            for n in context["nulls"]["candidates"]
        ),
        *(
            (f"length {kind}", context["durations"].get(kind, []))
            for kind in ("distances", "converging", "drift")
        ),
    ]
    files: dict[str, Picture] = {}
    for section, pictures in sections:
        for picture in pictures:
            stem = re.sub(r"[^\w.@]+", "-", f"{section} {picture.name}".lower()).strip("-")
            same = sum(
                re.fullmatch(rf"{re.escape(stem)}(-\d+)?\.svg", name) is not None for name in files
            )
            files[f"{stem}-{same + 1}.svg" if same else f"{stem}.svg"] = picture
    return files


def fixed(number: float | None, decimals: int) -> str:
    """``number`` with so many decimals, or an en dash when it is missing."""
    x = finite(number)
    return DASH if math.isnan(x) else f"{x:,.{decimals}f}".replace("-", "−")  # noqa: RUF001


def significant(number: float | None, digits: int = 3) -> str:
    """``number`` with at least so many significant digits and no exponent, or an en dash."""
    x = finite(number)
    if math.isnan(x) or x == 0:
        return fixed(number, 0)
    return fixed(x, min(max(digits - 1 - math.floor(math.log10(abs(x))), 0), 6))


def memory(n_bytes: float | None) -> str:
    """Bytes as MiB or GiB, or an en dash."""
    x = finite(n_bytes)
    if math.isnan(x):
        return DASH
    return f"{significant(x / 2**30)} GiB" if x >= 2**30 else f"{significant(x / 2**20)} MiB"


def duration(milliseconds: float | None) -> str:
    """Model time in ms below a second, else in s; or an en dash."""
    x = finite(milliseconds)
    if math.isnan(x):
        return DASH
    return f"{x / 1000:g} s" if x >= 1000 else f"{x:g} ms"


def value(item: Any) -> str:
    """A parameter as text: missing values as an en dash, mappings and lists spelled out."""
    if item is None or (isinstance(item, float) and math.isnan(item)):
        return DASH
    if isinstance(item, Mapping):
        return ", ".join(f"{k} = {value(v)}" for k, v in item.items()) or DASH
    if isinstance(item, list | tuple):
        return ", ".join(value(v) for v in item) or DASH
    return f"{item:g}" if isinstance(item, float) else str(item)


def _context(
    results: Mapping[str, Any],
    statistics: Mapping[Key, Mapping[int, Statistics]],
    spikes: Mapping[Key, SpikeData],
    evidence: Evidence,
) -> dict[str, Any]:
    study, reference = results["study"], results["reference"]
    sizes = {p["label"]: p["size"] for p in results["populations"] if p.get("recorded", True)}
    labels = list(sizes)
    start = study["warmup"]
    stop = start + min(RASTER_MS, study["duration"])
    baseline = reference.get("baseline") or []
    reference_samples = statistics.get(_key(reference), {})

    def raster(entry: Mapping[str, Any], role: str, shades: tuple[str, str]) -> Picture | None:
        data = spikes.get(_key(entry))
        if data is None:
            return None
        title = f"{role}: {entry['backend']} {entry['format']}"
        return figures.raster_picture(title, sizes, data, start, stop, shades)

    def distributions(
        samples: Mapping[int, Statistics] | None, scores: Sequence[figures.Score]
    ) -> list[Picture]:
        curves = [Curve(reference_samples, drawing.INK)]
        if samples is not None:
            curves.append(Curve(samples, drawing.BLUE))
        title = "of the reference" if samples is None else "of reference and candidate"
        return _distributions(labels, curves, title, study["duration"], scores)

    reference_raster = raster(reference, "reference", figures.REFERENCE_SHADES)
    candidates = []
    for number, entry in enumerate(results["candidates"], start=1):
        shared = _shared(entry)
        scores, samples = shared["scores"], statistics.get(_key(entry), {})
        own_raster = raster(entry, "candidate", figures.CANDIDATE_SHADES)
        candidates.append(
            {
                **shared,
                "id": f"candidate-{number}",
                "ks": [figures.ks_picture(s, labels, baseline, scores) for s in STATISTICS]
                if scores
                else [],
                "distributions": distributions(samples, scores),
                "rasters": [p for p in (reference_raster, own_raster) if p] if own_raster else [],
                "durations": [figures.duration_picture(shared["parts"], results["rule"]["margin"])]
                if len(shared["parts"]) > 1
                else [],
            }
        )
    # With candidates their sections show the reference too.
    alone: dict[str, list[Picture]] = {"ks": [], "distributions": [], "rasters": []}
    if not candidates:
        if any(finite(b.get("ks_baseline_mean")) >= 0 for b in baseline):
            alone["ks"] = [figures.ks_picture(s, labels, baseline, []) for s in STATISTICS]
        alone["distributions"] = distributions(None, [])
        alone["rasters"] = [reference_raster] if reference_raster else []
    shown = {**_shared(reference), "id": "reference"}
    everyone = [shown, *candidates]
    return {
        "results": results,
        "study": study,
        "outcome": _outcome(reference, results["candidates"]),
        "created": _moment(results["provenance"].get("created")),
        "sizes": sizes,
        "reference": shown,
        "candidates": candidates,
        "everyone": everyone,
        "alone": alone,
        "matrix": _matrix(everyone),
        "sweeps": _sweeps(
            labels, baseline, results["candidates"], statistics, raster, study, reference
        ),
        "failures": _failures(everyone),
        "theory": _theory(baseline, results["candidates"]),
        "deployment": results.get("deployment"),
        "warnings": results.get("warnings") or [],
        "resolution": _resolution(reference),
        "unnoticed": _unnoticed(results.get("selftest") or []),
        "adequacy": _adequacy(labels, reference, [reference, *results["candidates"]]),
        "null_statistics": list(dict.fromkeys(n["statistic"] for n in reference.get("null") or ())),
        "nulls": _nulls(labels, results, evidence),
        "durations": _durations(labels, results, evidence),
        "selftest": results.get("selftest") or [],
        "unfold": len(candidates) <= OPEN_CANDIDATES,
        "verdicts": VERDICTS,
        "titles": {s: figures.TITLES[s] for s in STATISTICS},
        "units": figures.UNITS,
        "decimals": DECIMALS,
        "colours": {
            "ink": drawing.INK,
            "grey": drawing.GREY,
            "band": drawing.BAND,
            "candidate": drawing.BLUE,
            "marks": figures.MARKS,
            "schemes": figures.SCHEMES,
            "coarsest": COARSEST,
            "later": drawing.ORANGE,
        },
        "dash": DASH,
    }


def _key(entry: Mapping[str, Any]) -> Key:
    return entry["backend"], entry["format"]


def _shared(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of the reference and of every candidate; a failed one may lack it."""
    lists = {
        key: entry.get(key) or []
        for key in ("reasons", "scores", "runs", "notes", "parts", "diagnosis")
    }
    means = {(m["population"], m["statistic"]): m["mean"] for m in entry.get("means") or []}
    return {
        "backend": entry["backend"],
        "format": entry["format"],
        "verdict": entry["verdict"],
        **lists,
        "means": means,
        "cost": entry.get("cost") or {},
        "tally": _tally(entry["verdict"], lists["runs"], lists["scores"]),
    }


def _resolution(reference: Mapping[str, Any]) -> str:
    """The smallest changes of rates that the study would notice, in a sentence; empty if unknown."""
    noticed = reference.get("noticed_rate_changes") or {}
    if not noticed:
        return ""
    by_change: dict[float, list[str]] = {}
    for population, change in noticed.items():
        by_change.setdefault(math.inf if change is None else change, []).append(population)
    parts = [
        f"{change:.0%} in {', '.join(populations)}"
        for change, populations in sorted(by_change.items())
        if math.isfinite(change)
    ]
    if not parts:
        return "This study would not notice even half of all spikes missing."
    missed = by_change.get(math.inf)
    end = f"; no loss at all in {', '.join(missed)}" if missed else ""
    return f"This study would notice a loss of spikes of {'; '.join(parts)}{end}."


def _adequacy(
    labels: Sequence[str], reference: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """By population, what the data can show: see `portability.adequacy`."""
    noticed = reference.get("noticed_rate_changes") or {}
    if not noticed:
        return []
    nothing = {"silent": None, "single": None}
    rows = []
    for population in labels:
        change = noticed.get(population)
        counts = [
            next((c for c in e.get("sparse") or [] if c["population"] == population), nothing)
            for e in entries
        ]
        rows.append(
            {
                "population": population,
                "noticed": f"{change:.0%}" if change else "none",
                "null": [n for n in reference.get("null") or [] if n["population"] == population],
                "sparse": counts,
            }
        )
    return rows


def _unnoticed(findings: Sequence[Mapping[str, Any]]) -> str:
    """What of the planted faults a study notices, in a sentence; empty without any."""
    if not findings:
        return ""
    missed = [
        f"{found['fault']} (up to {value(found['tried'][-1])})"
        for found in findings
        if found["size"] is None
    ]
    noticed = f"It notices {len(findings) - len(missed)} of {len(findings)} planted faults"
    return f"{noticed}, but not {', '.join(missed)}." if missed else f"{noticed}."


EXPECTATIONS = {"pass": "passes", "deviates": "deviates", "open": "too close to call", None: DASH}


def _theory(
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
    scores = [
        (entry["format"], entry["scores"])
        for entry in candidates
        if entry.get("scores") and entry["format"] in errors
    ]
    means = theory_figures.epsilon_pictures(errors)
    bins = sorted({int(match[2]) for name in errors if (match := SWEPT.fullmatch(name))})
    return {
        "rows": rows,
        # of the same formats, one above the other
        "distances": figures.population_mean_pictures(baseline, scores) if means else [],
        "means": means,
        "spread": theory_figures.spread_pictures(bins) if bins else [],
        "matrices": [theory_figures.epsilon_matrix_picture(*found) for found in errors.items()],
    }


def _distributions(
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


def _nulls(
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
        return _distributions(labels, curves, title, fraction * whole, **options)

    key = _key(reference)
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
                "pictures": beside(_key(other), 1.0, statistics=("cc",)),
            }
            for other in results["candidates"]
            if evidence.noise.get(_key(other))
        ],
    }


def _durations(
    labels: Sequence[str], results: Mapping[str, Any], evidence: Evidence
) -> dict[str, Any]:
    """What the length of the runs does (Dasbach et al. 2021, figure 7); empty for short runs."""
    whole, key = results["study"]["duration"], _key(results["reference"])
    parts = evidence.parts.get(key, {})
    earlier = [fraction for fraction in sorted(parts) if fraction < 1.0]
    if not earlier:
        return {}
    shades = [drawing.INK, *figures.PART_SHADES[-len(earlier) :][::-1]]
    curves = [
        Curve(parts[fraction], colour)
        for fraction, colour in zip([1.0, *earlier[::-1]], shades, strict=True)
    ]
    converging = _distributions(
        labels, curves, "of the reference's first parts", earlier[0] * whole
    )
    drift: list[Picture] = []
    if evidence.last:
        quarters = [Curve(parts[QUARTER], drawing.INK), Curve(evidence.last, drawing.ORANGE)]
        title = "of the first and the last quarter of the reference"
        scores = results["reference"].get("drift") or []
        drift = _distributions(labels, quarters, title, QUARTER * whole, scores)
    followed = _followed([c for c in results["candidates"] if len(c.get("parts") or ()) > 1])
    return {
        "shades": [
            (colour, fraction * whole)
            for fraction, colour in zip([1.0, *earlier[::-1]], shades, strict=True)
        ],
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


def _tally(verdict: str, runs: Sequence[Mapping[str, Any]], scores: Sequence[figures.Score]) -> str:
    """What a cell of the matrix says below the verdict."""
    if verdict == "failed":
        return f"{_failed(runs)} of {_count(len(runs), 'run')}"
    if verdict in ("reference", "not run"):
        return _count(len(runs), "seed")
    comparisons = _count(len(scores), "comparison")
    if verdict == "pass":
        return f"all {comparisons}"
    return f"{sum(s['verdict'] == verdict for s in scores)} of {comparisons}"


def _failed(runs: Sequence[Mapping[str, Any]]) -> int:
    return sum(run["status"] == "failed" for run in runs)


def _failures(everyone: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failed runs; seeds that failed in the same way share a row."""
    rows = []
    for entry in everyone:
        by_error: dict[str | None, list[Mapping[str, Any]]] = {}
        for run in entry["runs"]:
            if run["status"] == "failed":
                by_error.setdefault(run["error"], []).append(run)
        for error, runs in by_error.items():
            logs = [run["log"] for run in runs if run.get("log")]
            seeds = [run["seed"] for run in runs]
            rows.append({"entry": entry, "error": error, "seeds": seeds, "logs": logs})
    return rows


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _outcome(reference: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> str:
    """The result of the study in one sentence."""
    name = f"{reference['backend']} {reference['format']}"
    runs = reference.get("runs") or []
    failed = _failed(runs)
    if runs and failed == len(runs):
        return f"Every run of the reference, {name}, failed, so nothing can be judged."
    if not candidates and not failed:
        realizations = _count(len(runs), "realization")
        return f"The reference alone: {realizations} on {name}, and no candidate to compare."
    if not failed and candidates and all(c["verdict"] == "pass" for c in candidates):
        who = _listing(f"{c['backend']} {c['format']}" for c in candidates)
        verb = "passes" if len(candidates) == 1 else "pass"
        return f"{who} {verb}: no deviation exceeds the variability between realizations of {name}."
    parts = [f"{failed} of {len(runs)} runs of the reference failed"] if failed else []
    for verdict, singular, plural in (
        ("deviates", "deviates", "deviate"),
        ("failed", "failed", "failed"),
        ("inconclusive", "is inconclusive", "are inconclusive"),
        ("pass", "passes", "pass"),
        ("not run", "was not run", "were not run"),
    ):
        names = [f"{c['backend']} {c['format']}" for c in candidates if c["verdict"] == verdict]
        if names:
            verb = singular if len(names) == 1 else plural
            parts.append(f"{_listing(names)} {verb}")
    return "; ".join(parts) + f", judged against {name}."


def _listing(names: Iterable[str]) -> str:
    """At most three names joined by words, otherwise their number."""
    listed = list(names)
    if len(listed) > 3:
        return f"{len(listed)} candidates"
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def _moment(created: str | None) -> str:
    try:
        return datetime.fromisoformat(created or "").isoformat(" ", "minutes")
    except ValueError:
        return created or DASH


def _matrix(everyone: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Backends and formats in order of appearance, and the entries at each crossing."""
    return {
        "backends": list(dict.fromkeys(e["backend"] for e in everyone)),
        "formats": list(dict.fromkeys(e["format"] for e in everyone)),
        "entries": {
            key: [e for e in everyone if _key(e) == key] for key in {_key(e) for e in everyone}
        },
    }


SWEPT = re.compile(r"(naive|moments)-([1-9]\d*)(/.*)?")
"""Scheme, number of values and state of a format whose weights are discretised."""


def _sweeps(
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
                "distributions": _distributions(
                    labels,
                    [
                        Curve(statistics.get(_key(reference), {}), drawing.INK),
                        *(
                            Curve(statistics.get(_key(entry), {}), colour)
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
