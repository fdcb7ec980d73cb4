"""One self-contained HTML page from the results of a study; it computes no verdict of its own."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pynn_portability.files import replacing
from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.statistics import STATISTICS, Statistics
from pynn_portability.reports import drawing, figures, sections
from pynn_portability.reports.drawing import Picture, finite
from pynn_portability.reports.figures import Curve
from pynn_portability.reports.sections import COARSEST, Key, key_of
from pynn_portability.reports.text import (
    DASH,
    count,
    duration,
    fixed,
    listing,
    memory,
    moment,
    significant,
    value,
)
from pynn_portability.spikes.data import SpikeData

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
THEORY_DRAWINGS = ("distances", "means", "spread", "matrices")


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
    groups: list[tuple[str, Sequence[Picture]]] = [
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
    count_of: Counter[str] = Counter()
    for section, pictures in groups:
        for picture in pictures:
            stem = re.sub(r"[^\w.@]+", "-", f"{section} {picture.name}".lower()).strip("-")
            count_of[stem] += 1
            number = f"-{count_of[stem]}" if count_of[stem] > 1 else ""
            files[f"{stem}{number}.svg"] = picture
    return files


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
    reference_samples = statistics.get(key_of(reference), {})

    def raster(entry: Mapping[str, Any], role: str, shades: tuple[str, str]) -> Picture | None:
        data = spikes.get(key_of(entry))
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
        return sections.distributions(labels, curves, title, study["duration"], scores)

    reference_raster = raster(reference, "reference", figures.REFERENCE_SHADES)
    candidates = []
    for number, entry in enumerate(results["candidates"], start=1):
        shared = _shared(entry)
        scores, samples = shared["scores"], statistics.get(key_of(entry), {})
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
        "created": moment(results["provenance"].get("created")),
        "sizes": sizes,
        "reference": shown,
        "candidates": candidates,
        "everyone": everyone,
        "alone": alone,
        "matrix": _matrix(everyone),
        "sweeps": sections.sweeps(
            labels, baseline, results["candidates"], statistics, raster, study, reference
        ),
        "failures": _failures(everyone),
        "theory": sections.theory(baseline, results["candidates"]),
        "deployment": results.get("deployment"),
        "warnings": results.get("warnings") or [],
        "resolution": _resolution(reference),
        "unnoticed": _unnoticed(results.get("selftest") or []),
        "adequacy": _adequacy(labels, reference, [reference, *results["candidates"]]),
        "null_statistics": list(dict.fromkeys(n["statistic"] for n in reference.get("null") or ())),
        "nulls": sections.nulls(labels, results, evidence),
        "durations": sections.durations(labels, results, evidence),
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
    """By population, what the data can show: see `pynn_portability.judge.adequacy`."""
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


def _tally(verdict: str, runs: Sequence[Mapping[str, Any]], scores: Sequence[figures.Score]) -> str:
    """What a cell of the matrix says below the verdict."""
    if verdict == "failed":
        return f"{_failed(runs)} of {count(len(runs), 'run')}"
    if verdict in ("reference", "not run"):
        return count(len(runs), "seed")
    comparisons = count(len(scores), "comparison")
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


def _outcome(reference: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> str:
    """The result of the study in one sentence."""
    name = f"{reference['backend']} {reference['format']}"
    runs = reference.get("runs") or []
    failed = _failed(runs)
    if runs and failed == len(runs):
        return f"Every run of the reference, {name}, failed, so nothing can be judged."
    if not candidates and not failed:
        realizations = count(len(runs), "realization")
        return f"The reference alone: {realizations} on {name}, and no candidate to compare."
    if not failed and candidates and all(c["verdict"] == "pass" for c in candidates):
        who = listing(f"{c['backend']} {c['format']}" for c in candidates)
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
            parts.append(f"{listing(names)} {verb}")
    return "; ".join(parts) + f", judged against {name}."


def _matrix(everyone: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Backends and formats in order of appearance, and the entries at each crossing."""
    return {
        "backends": list(dict.fromkeys(e["backend"] for e in everyone)),
        "formats": list(dict.fromkeys(e["format"] for e in everyone)),
        "entries": {
            key: [e for e in everyone if key_of(e) == key] for key in {key_of(e) for e in everyone}
        },
    }
