"""One self-contained HTML page from the results of a study; it computes no verdict of its own."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pynn_portability.files import replacing
from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.statistics import Statistics, statistic
from pynn_portability.reports import drawing, figures, sections
from pynn_portability.reports.drawing import Picture
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
from pynn_portability.results.missing import Missing
from pynn_portability.results.schema import (
    CandidateEntry,
    EnsembleEntry,
    PlantedFault,
    ReferenceEntry,
    RunEntry,
    Score,
    StudyResults,
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
DECIMALS = {"cc": 4}
"""Of means, where they are not 3."""
RASTER_MS = 400.0
OPEN_CANDIDATES = 4  # with more of them, distributions and rasters start folded
THEORY_DRAWINGS = ("distances", "means", "spread", "matrices")


def write_report(
    path: Path,
    results: StudyResults,
    evidence: Mapping[Key, Evidence],
    spikes: Mapping[Key, SpikeData],
    drawings: Path | None = None,
) -> list[str]:
    """Write the report of a study to ``path``: HTML without scripts, style and drawings inside.

    ``evidence`` has the ensembles of runs, of their parts and of null models, and ``spikes`` one run
    for rasters, by (backend, format). What is missing, of a failed candidate for instance, is shown as
    missing. The same input gives the same file; an existing file is replaced whole or not at all. With a
    folder ``drawings`` every drawing is also written there, as an SVG file.

    A section that cannot be made is missing; the page says so, and a sentence on each is returned. Raises
    ``OSError`` when a file cannot be written.
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
    missing = Missing()
    context: dict[str, Any] = missing.made(
        "The report", lambda: _Page(results, evidence, spikes, missing).context(), {}
    )
    html = ""
    if context:
        template = environment.get_template("report.html")
        if results.deployment:  # a sheet may be of another version, or of a stranger
            sheet = environment.get_template("deployment.html")
            shown = missing.made("The deployment sheet", lambda: sheet.render(**context), "")
            context["deployment"] = results.deployment if shown else None
            context["missing"] = [*results.missing, *missing.sentences]
        html = missing.made("The report", lambda: template.render(**context), "")
    if not html:
        bare = environment.get_template("bare.html")
        sentences = [*results.missing, *missing.sentences]
        html = bare.render(results=results, missing=sentences)
    with replacing(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    if context and drawings is not None:
        for name, picture in _drawings(context).items():
            with replacing(drawings / name) as temporary:
                temporary.write_bytes(picture.svg)
    return missing.sentences


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
        ("theory", context["covariances"]["pictures"]),
        *(
            (f"noise {duration(n['duration'])}", n["pictures"])
            for n in context["nulls"]["reference"]
        ),
        *(
            (f"noise {n['backend']} {n['format']}", n["pictures"])
            for n in context["nulls"]["candidates"]
        ),
        *(
            (f"length {kind}", context["durations"][kind] if context["durations"] else [])
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


class _Page:
    """What the templates show."""

    def __init__(
        self,
        results: StudyResults,
        evidence: Mapping[Key, Evidence],
        spikes: Mapping[Key, SpikeData],
        missing: Missing,
    ) -> None:
        self._results, self._evidence, self._spikes = results, evidence, spikes
        self._missing = missing
        self._study, self._reference = results.study, results.reference
        self._sizes = {p.label: p.size for p in results.populations if p.recorded}
        self._labels = list(self._sizes)

    def context(self) -> dict[str, Any]:
        """The variables of the templates."""
        results, reference, labels = self._results, self._reference, self._labels
        made, evidence = self._missing.made, self._evidence
        candidates = [
            self._candidate(number, entry)
            for number, entry in enumerate(results.candidates, start=1)
        ]
        shown = {**_shared(reference), "id": "reference", "scores": []}
        everyone = [shown, *candidates]
        variables = {
            "results": results,
            "study": self._study,
            "outcome": _outcome(reference, results.candidates),
            "created": moment(results.provenance.created),
            "sizes": self._sizes,
            "reference": shown,
            "candidates": candidates,
            "everyone": everyone,
            # with candidates, their sections show the reference, too
            "alone": _NOTHING if candidates else self._alone(),
            "matrix": _matrix(everyone),
            "kept": _kept(candidates, self._study.statistics),
            "sweeps": made(
                "The section on numbers of bins",
                lambda: sections.sweeps(labels, results, self._runs, self._raster),
                [],
            ),
            "failures": _failures(everyone),
            "theory": made(
                "The section on theory",
                lambda: sections.theory(reference.baseline, results.candidates),
                {"rows": [], **{kind: [] for kind in THEORY_DRAWINGS}},
            ),
            "covariances": made(
                "The section on covariances",
                lambda: sections.covariances(labels, results, self._runs),
                {"rows": [], "pictures": []},
            ),
            "deployment": results.deployment,
            "warnings": results.warnings,
            "notes": results.notes,
            "resolution": _resolution(reference),
            "unnoticed": _unnoticed(results.selftest),
            "adequacy": _adequacy(labels, reference, [reference, *results.candidates]),
            "null_statistics": list(dict.fromkeys(n.statistic for n in reference.null)),
            "nulls": made(
                "The drawings of noise",
                lambda: sections.nulls(labels, results, evidence),
                {"reference": [], "candidates": []},
            ),
            "durations": made(
                "The section on the length of the runs",
                lambda: sections.durations(labels, results, evidence),
                {},
            ),
            "selftest": results.selftest,
            "rules": _rules(results),
            "unfold": len(candidates) <= OPEN_CANDIDATES,
            "verdicts": VERDICTS,
            "titles": {s: statistic(s).title for s in results.study.statistics},
            "with_means": [s for s in results.study.statistics if statistic(s).kind != "curve"],
            "units": {s: statistic(s).unit for s in results.study.statistics},
            "decimals": {s: DECIMALS.get(s, 3) for s in results.study.statistics},
            "colours": _COLOURS,
            "dash": DASH,
        }
        return {**variables, "missing": [*results.missing, *self._missing.sentences]}

    def _runs(self, entry: EnsembleEntry) -> Mapping[int, Statistics]:
        """Statistics of an ensemble's whole runs by seed, nothing where there is none."""
        found = self._evidence.get(key_of(entry))
        return found.whole.runs if found else {}

    def _raster(self, entry: EnsembleEntry, role: str, shades: tuple[str, str]) -> Picture | None:
        data = self._spikes.get(key_of(entry))
        if data is None:
            return None
        start = self._study.warmup
        stop = start + min(RASTER_MS, self._study.duration)
        title = f"{role}: {entry.name}"
        return figures.raster_picture(title, self._sizes, data, start, stop, shades)

    def _distributions(
        self, candidate: Mapping[int, Statistics] | None, scores: Sequence[Score]
    ) -> list[Picture]:
        curves = [Curve(self._runs(self._reference), drawing.INK)]
        title = "of the reference"
        if candidate is not None:
            curves.append(Curve(candidate, drawing.BLUE))
            title = "of reference and candidate"
        return sections.distributions(self._labels, curves, title, self._study, scores)

    def _candidate(self, number: int, entry: CandidateEntry) -> dict[str, Any]:
        """A candidate's section."""
        baseline, scores = self._reference.baseline, entry.scores
        margin = self._results.rule.margin
        who = entry.name

        def rasters() -> list[Picture]:
            reference = self._raster(self._reference, "reference", figures.REFERENCE_SHADES)
            own = self._raster(entry, "candidate", figures.CANDIDATE_SHADES)
            return [p for p in (reference, own) if p] if own else []

        return {
            **_shared(entry),
            "id": f"candidate-{number}",
            "scores": scores,
            "diagnosis": entry.diagnosis,
            "parts": entry.parts,
            "ks": self._drawn(
                f"distances of {who}",
                lambda: [
                    figures.distance_picture(s, self._labels, baseline, scores)
                    for s in self._study.statistics
                    if scores
                ],
            ),
            "distributions": self._drawn(
                f"distributions of {who}", lambda: self._distributions(self._runs(entry), scores)
            ),
            "rasters": self._drawn(f"spikes of {who}", rasters),
            "durations": self._drawn(
                f"earlier verdicts of {who}",
                lambda: (
                    [figures.duration_picture(entry.parts, margin, self._study.statistics)]
                    if len(entry.parts) > 1
                    else []
                ),
            ),
        }

    def _drawn(self, what: str, draw: Callable[[], list[Picture]]) -> list[Picture]:
        return self._missing.made(f"The drawing of {what}", draw, [])

    def _alone(self) -> dict[str, list[Picture]]:
        """Drawings of a reference without candidates."""
        baseline = self._reference.baseline
        measured = any(b.baseline_mean is not None for b in baseline)

        def rasters() -> list[Picture]:
            raster = self._raster(self._reference, "reference", figures.REFERENCE_SHADES)
            return [raster] if raster else []

        return {
            "ks": self._drawn(
                "distances",
                lambda: [
                    figures.distance_picture(s, self._labels, baseline, [])
                    for s in self._study.statistics
                    if measured
                ],
            ),
            "distributions": self._drawn("distributions", lambda: self._distributions(None, [])),
            "rasters": self._drawn("spikes", rasters),
        }


def _kept(
    candidates: Sequence[Mapping[str, Any]], statistics: Sequence[str]
) -> list[dict[str, Any]]:
    """A row per candidate, a cell per statistic: its verdict over all populations, and the largest ratio and where.

    None with fewer than two candidates, whose section shows as much.
    """
    rows = []
    for entry in candidates:
        cells = []
        for name in statistics:
            scores: list[Score] = [s for s in entry["scores"] if s.statistic == name]
            ordered = sorted(scores, key=lambda s: math.inf if s.ratio is None else s.ratio)
            verdicts = [s.verdict for s in scores]
            worst = next((v for v in ("deviates", "inconclusive") if v in verdicts), "pass")
            largest = next((s for s in reversed(ordered) if s.verdict == worst), None)
            cells.append({"verdict": worst, "score": largest})
        if entry["scores"]:
            rows.append({"id": entry["id"], "name": entry["name"], "cells": cells})
    return rows if len(rows) > 1 else []


_NOTHING: Mapping[str, list[Picture]] = {"ks": [], "distributions": [], "rasters": []}

_COLOURS: Mapping[str, Any] = {
    "ink": drawing.INK,
    "grey": drawing.GREY,
    "band": drawing.BAND,
    "candidate": drawing.BLUE,
    "marks": figures.MARKS,
    "schemes": figures.SCHEMES,
    "coarsest": COARSEST,
    "later": drawing.ORANGE,
}


def _shared(entry: EnsembleEntry) -> dict[str, Any]:
    """What the page shows of the reference and of every candidate."""
    return {
        "name": entry.name,
        "backend": entry.backend,
        "format": entry.format,
        "verdict": entry.verdict,
        "reasons": entry.reasons,
        "runs": entry.runs,
        "notes": entry.notes,
        "weights": [w for w in entry.weights if (w.mean, w.sd) != (w.held_mean, w.held_sd)],
        "means": {(m.population, m.statistic): m.mean for m in entry.means},
        "cost": entry.cost,
        "tally": _tally(entry),
    }


def _resolution(reference: ReferenceEntry) -> str:
    """The smallest changes of rates that the study would notice, in a sentence; empty if unknown."""
    noticed = reference.noticed_rate_changes
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
    labels: Sequence[str], reference: ReferenceEntry, entries: Sequence[EnsembleEntry]
) -> list[dict[str, Any]]:
    """By population, what the data can show: see `pynn_portability.judge.adequacy`."""
    noticed = reference.noticed_rate_changes
    rows = []
    for population in labels if noticed else ():
        change = noticed.get(population)
        counts = [next((c for c in e.sparse if c.population == population), None) for e in entries]
        rows.append(
            {
                "population": population,
                "noticed": f"{change:.0%}" if change else "none",
                "null": [n for n in reference.null if n.population == population],
                "sparse": [
                    {
                        "silent": found.silent if found else None,
                        "single": found.single if found else None,
                    }
                    for found in counts
                ],
            }
        )
    return rows


def _unnoticed(findings: Sequence[PlantedFault]) -> str:
    """What of the planted faults a study notices, in a sentence; empty without any."""
    if not findings:
        return ""
    missed = [
        f"{found.fault} (up to {value(found.tried[-1])})"
        for found in findings
        if found.size is None
    ]
    noticed = f"It notices {len(findings) - len(missed)} of {len(findings)} planted faults"
    return f"{noticed}, but not {', '.join(missed)}." if missed else f"{noticed}."


def _tally(entry: EnsembleEntry) -> str:
    """What a cell of the matrix says below the verdict."""
    if entry.verdict == "failed":
        return f"{_failed(entry.runs)} of {count(len(entry.runs), 'run')}"
    if not isinstance(entry, CandidateEntry) or entry.verdict == "not run":
        return count(len(entry.runs), "seed")
    comparisons = count(len(entry.scores), "comparison")
    if entry.verdict == "pass":
        return f"all {comparisons}"
    return f"{sum(s.verdict == entry.verdict for s in entry.scores)} of {comparisons}"


def _failed(runs: Sequence[RunEntry]) -> int:
    return sum(run.status == "failed" for run in runs)


def _failures(everyone: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failed runs; seeds that failed in the same way share a row."""
    rows = []
    for entry in everyone:
        by_error: dict[str | None, list[RunEntry]] = {}
        for run in entry["runs"]:
            if run.status == "failed":
                by_error.setdefault(run.error, []).append(run)
        for error, runs in by_error.items():
            logs = [run.log for run in runs if run.log]
            seeds = [run.seed for run in runs]
            rows.append({"entry": entry, "error": error, "seeds": seeds, "logs": logs})
    return rows


def _outcome(reference: ReferenceEntry, candidates: Sequence[CandidateEntry]) -> str:
    """The result of the study in one sentence."""
    name = reference.name
    runs = reference.runs
    failed = _failed(runs)
    if runs and failed == len(runs):
        return f"Every run of the reference, {name}, failed, so nothing can be judged."
    if not candidates and not failed:
        realizations = count(len(runs), "realization")
        return f"The reference alone: {realizations} on {name}, and no candidate to compare."
    if not failed and candidates and all(c.verdict == "pass" for c in candidates):
        who = listing(c.name for c in candidates)
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
        names = [c.name for c in candidates if c.verdict == verdict]
        if names:
            verb = singular if len(names) == 1 else plural
            parts.append(f"{listing(names)} {verb}")
    return "; ".join(parts) + f", judged against {name}."


def _rules(results: StudyResults) -> list[str]:
    """How verdicts of this study are reached, a sentence each."""
    rule = results.rule
    pairings = {candidate.pairing for candidate in results.candidates}
    if pairings == {"unpaired"}:
        return rule.unpaired
    if "unpaired" in pairings:
        which = listing([c.name for c in results.candidates if c.pairing == "unpaired"])
        return [
            *rule.text,
            f"Runs of {which} are not paired with those of the reference. {rule.unpaired[0]}",
        ]
    return rule.text


def _matrix(everyone: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Backends and formats in order of appearance, and the entries at each crossing."""
    return {
        "backends": list(dict.fromkeys(e["backend"] for e in everyone)),
        "formats": list(dict.fromkeys(e["format"] for e in everyone)),
        "entries": {
            key: [e for e in everyone if (e["backend"], e["format"]) == key]
            for key in {(e["backend"], e["format"]) for e in everyone}
        },
    }
