"""One self-contained HTML page from the results of a study; it computes no verdict of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portability.files import replacing
from portability.reports import figures
from portability.reports.figures import Picture, finite
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


def write_report(
    path: Path,
    results: Mapping[str, Any],
    statistics: Mapping[Key, Mapping[int, Statistics]],
    spikes: Mapping[Key, SpikeData],
    noise: Mapping[int, Statistics] | None = None,
) -> None:
    """Write the report of a study to ``path``: HTML without scripts, style and drawings inside.

    ``results`` is the content of results.json (schema ``portability-results/1``). ``statistics``
    holds the samples of every successful run by (backend, format) and seed, ``spikes`` one run of
    the reference and of each candidate, for rasters, ``noise`` the samples of the reference's null
    model by seed. What is missing, of a failed candidate for
    instance, is shown as missing. The same input gives the same file; an existing file is replaced
    whole or not at all. Raises ``OSError`` when ``path`` cannot be written.
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
    html = environment.get_template("report.html").render(
        **_context(results, statistics, spikes, noise or {})
    )
    with replacing(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")


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
    noise: Mapping[int, Statistics],
) -> dict[str, Any]:
    study, reference = results["study"], results["reference"]
    sizes = {p["label"]: p["size"] for p in results["populations"] if p.get("recorded", True)}
    labels = list(sizes)
    start = study["warmup"]
    stop = start + min(RASTER_MS, study["duration"])
    # One spike more changes a rate by this much (1/s).
    quanta = {"rate": 1000.0 / study["duration"]}
    baseline = reference.get("baseline") or []
    reference_samples = statistics.get(_key(reference), {})
    seeds = set(reference_samples)

    def raster(entry: Mapping[str, Any], role: str, shades: tuple[str, str]) -> Picture | None:
        data = spikes.get(_key(entry))
        if data is None:
            return None
        title = f"{role}: {entry['backend']} {entry['format']}"
        return figures.raster_picture(title, sizes, data, start, stop, shades)

    def distributions(
        samples: Mapping[int, Statistics] | None, scores: Sequence[figures.Score]
    ) -> list[Picture]:
        if not reference_samples or (samples is not None and samples.keys().isdisjoint(seeds)):
            return []
        return [
            figures.distribution_picture(
                s, labels, reference_samples, samples, scores, quanta.get(s, 0.0)
            )
            for s in STATISTICS
        ]

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
    null = reference.get("null") or []
    null_statistics = list(dict.fromkeys(n["statistic"] for n in null))
    null_pictures = [
        figures.distribution_picture(s, labels, reference_samples, noise, null, 0.0)
        for s in null_statistics
        if reference_samples and noise
    ]
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
        "sweeps": _sweeps(labels, baseline, results["candidates"]),
        "failures": _failures(everyone),
        "theory": _theory(results["candidates"]),
        "deployment": results.get("deployment"),
        "warnings": results.get("warnings") or [],
        "resolution": _resolution(reference),
        "adequacy": _adequacy(labels, reference, [reference, *results["candidates"]]),
        "null_statistics": null_statistics,
        "null_pictures": null_pictures,
        "selftest": results.get("selftest") or [],
        "unfold": len(candidates) <= OPEN_CANDIDATES,
        "verdicts": VERDICTS,
        "titles": {s: figures.TITLES[s] for s in STATISTICS},
        "units": figures.UNITS,
        "decimals": DECIMALS,
        "colours": {
            "ink": figures.INK,
            "grey": figures.GREY,
            "band": figures.BAND,
            "candidate": figures.CANDIDATE,
            "marks": figures.MARKS,
            "schemes": figures.SCHEMES,
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


EXPECTATIONS = {"pass": "passes", "deviates": "deviates", "open": "too close to call", None: DASH}


def _theory(candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
    return {
        "rows": rows,
        "means": figures.epsilon_pictures(errors),
        "matrices": [figures.epsilon_matrix_picture(*found) for found in errors.items()],
    }


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


def _sweeps(
    labels: Sequence[str],
    baseline: Sequence[figures.Score],
    candidates: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Pictures of KS against bins, for every backend with a scheme at enough numbers of bins."""
    found: dict[str, dict[str, dict[int, Sequence[figures.Score]]]] = {}
    for entry in candidates:
        match = re.fullmatch(r"(naive|moments)-([1-9]\d*)(/.*)?", entry["format"])
        if match and entry.get("scores"):
            # a sweep varies nothing but the weights
            where = " ".join((entry["backend"], (match[3] or "").removeprefix("/"))).rstrip()
            schemes = found.setdefault(where, {})
            schemes.setdefault(match[1], {})[int(match[2])] = entry["scores"]
    sweeps = []
    for backend, schemes in found.items():
        curves = {s: sorted(points.items()) for s, points in schemes.items()}
        curves = {s: points for s, points in curves.items() if len(points) >= SWEEP_BINS}
        if curves:
            pictures = [figures.sweep_picture(s, labels, baseline, curves) for s in STATISTICS]
            sweeps.append({"backend": backend, "schemes": list(curves), "pictures": pictures})
    return sweeps
