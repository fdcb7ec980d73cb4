"""What commands print on the terminal: progress, tables and sentences."""

# ruff: noqa: PLC0415

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynn_portability.errors import printable
from pynn_portability.run.events import Advanced, Began, Ended, Event

if TYPE_CHECKING:
    from pynn_portability.results.comparing import Comparison
    from pynn_portability.results.schema import StudyResults
    from pynn_portability.results.smallest import Smallest
    from pynn_portability.run.imported import FileEntry, Imported
    from pynn_portability.run.outcome import Outcome
    from pynn_portability.spikes.intake import Intake, Understood

SECONDS_BETWEEN_LINES = 10.0
"""In a pipe."""


class Display:
    """Draws events: bars on a terminal, and a plain line now and then in a pipe.

    A notebook gets bars if ipywidgets is installed, otherwise lines. A context manager; everything goes to
    standard error.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        # Rich draws bars in a notebook by ipywidgets, and without them warns at every step instead
        widgets = self._console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
        self._drawn = widgets or (self._console.is_terminal and not self._console.is_jupyter)
        self._lock = threading.Lock()
        self._lines: dict[str, Any] = {}
        self._phases: dict[str, str] = {}
        self._said = time.monotonic()

    def __enter__(self) -> Display:
        if self._drawn:
            from rich import progress

            self._progress = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.TaskProgressColumn(),
                progress.TextColumn("{task.fields[phase]}", markup=False),
                progress.TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Listen to an event."""
        with self._lock:
            if self._drawn:
                self._draw(event)
            else:
                self._say(event)

    def _draw(self, event: Event) -> None:
        match event:
            case Began(work, total):
                self._lines[work] = self._progress.add_task(
                    printable(work), total=total, phase="starting"
                )
            case Advanced(work, done, phase) if work in self._lines:
                self._progress.update(self._lines[work], completed=done, phase=printable(phase))
            case Ended(work) if work in self._lines:
                self._progress.remove_task(self._lines.pop(work))

    def _say(self, event: Event) -> None:
        if isinstance(event, Ended):
            self._phases.pop(event.work, None)
            return
        phase = event.phase if isinstance(event, Advanced) else "starting"
        self._phases[event.work] = phase
        if time.monotonic() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            said = (f"{work}: {phase}" if phase else work for work, phase in self._phases.items())
            print(printable("; ".join(said)), file=sys.stderr)


def say(sentence: str) -> None:
    """Print a sentence, in which names from models and files cannot steer the terminal."""
    print(printable(sentence, keep="\n"))


def verdicts(results: StudyResults, report: Path) -> None:
    """Verdicts of a study, and where its report is."""
    rows = [
        (entry.backend, entry.format, entry.verdict, next(iter(entry.reasons), ""))
        for entry in (results.reference, *results.candidates)
    ]
    table(("backend", "format", "verdict", "reason"), rows)
    for sentence in results.notes:
        say(f"note: {sentence}")
    if results.warnings:
        say(f"{_count(len(results.warnings), 'warning')} on the data, see the report")
    for sentence in results.missing:
        say(f"missing: {sentence}")
    say(f"report: {report}")


def comparison(found: Comparison) -> None:
    """What changed between two results."""
    rows = [
        (
            change.backend,
            change.format,
            change.before or "not there",
            (change.after or "not there") + (" (worse)" if change.worse else ""),
            " to ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in change.ratios),
        )
        for change in found.changes
    ]
    table(("backend", "format", "before", "now", "largest ratio"), rows)
    for change in found.changes:
        for detail in change.details:
            say(f"{change.backend} {change.format}: {detail}")
    for sentence in found.basis:
        say(f"differs: {sentence}")


def imported(found: Imported) -> None:
    """What was taken in, by population, and what is to be said about it."""
    understood(found)
    say(f"imported: {found.label}, {_count(len(found.seeds), 'run')}, {found.pairing}")


def understood(found: Intake | Imported) -> None:
    """What spikes were taken for, by population, and what is to be said about it."""
    tally([entry for entry in found.tally if entry.spikes or entry.population])
    for sentence in found.notes:
        say(f"note: {sentence}")
    for sentence in found.warnings:
        say(f"warning: {sentence}")


def tally(entries: Sequence[Understood | FileEntry]) -> None:
    """What files were taken for: a line for each population."""
    groups: dict[tuple[str, str], list[Understood | FileEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.population or "?", entry.unit or "?"), []).append(entry)
    rows = []
    for (population, unit), own in groups.items():
        ids = [entry.ids for entry in own if entry.ids]
        times = [entry.times for entry in own if entry.times]
        rows.append(
            (
                population,
                str(len({entry.file for entry in own})),
                str(len({entry.seed for entry in own})),
                str(sum(entry.spikes for entry in own)),
                f"{min(i for i, _ in ids)} to {max(i for _, i in ids)}" if ids else "",
                f"{min(t for t, _ in times):g} to {max(t for _, t in times):g}" if times else "",
                unit,
            )
        )
    table(("population", "files", "seeds", "spikes", "neurons", "times", "unit"), rows)


def ensembles(found: Sequence[Imported]) -> None:
    """Imported ensembles of a study."""
    if not found:
        say("no imported spikes")
        return
    rows = [
        (r.label, str(len(r.seeds)), r.pairing, str(len(r.files)), r.created[:10]) for r in found
    ]
    table(("label", "seeds", "pairing", "files", "imported"), rows)


EXPECTATIONS = {
    "pass": "expected to pass",
    "deviates": "expected to deviate",
    "open": "too close to call",
    None: "not predicted",
}


def predictions(predicted: Sequence[Mapping[str, Any]]) -> None:
    """What theory expects of candidates: backend, format and prediction of each."""
    table(
        ("backend", "format", "prediction", "largest ratio", "population", "not covered"),
        [
            (
                candidate["backend"],
                candidate["format"],
                EXPECTATIONS[entry["verdict"]],
                _decimal(entry.get("ratio")),
                entry.get("population") or "",
                entry["reason"] or " ".join(entry["limits"]),
            )
            for candidate in predicted
            for entry in (candidate["prediction"],)
        ],
    )
    say(
        "ratio: distance of firing rates from the reference over that between realizations; "
        "correlations and intervals are not predicted"
    )
    smaller = {
        candidate["format"]: candidate["prediction"]["covariances"]
        for candidate in predicted
        if candidate["prediction"].get("covariances")
    }
    if smaller:
        labels = [entry["population"] for entry in next(iter(smaller.values()))]
        say(
            "\nPair-averaged cross-covariances within populations of smaller networks, over those of the whole one: "
            "size (root mean square over lags up to 50 ms) / integral over all lags"
        )
        table(
            ("format", *labels),
            [
                (
                    name,
                    *(
                        f"{_decimal(e.get('size_factor')) or '-'} / {e['smaller'] / e['whole']:.2f}"
                        if e["whole"]
                        else ""
                        for e in entries
                    ),
                )
                for name, entries in smaller.items()
            ],
        )


def smallest(found: Sequence[Smallest]) -> None:
    """Trials of every method of downscaling, and the answers."""
    table(
        (
            *("scaling", "neurons", "synapses", "predicted covariance", "simulated"),
            *("largest ratio", "where"),
        ),
        [
            (
                t.scaling,
                f"{t.neurons:,}" if t.neurons else "",
                f"{t.synapses:,}" if t.synapses else "",
                f"x {t.covariance:.2f}" if t.covariance else "",
                t.verdict or "impossible",
                _decimal(t.ratio),
                t.comparison or t.reason,
            )
            for s in found
            for t in s.trials
        ],
    )
    say("predicted covariance: largest change of a pair-averaged covariance, up or down, by theory")
    for s in found:
        say(s.answer)


def recommendations(recommendations: Sequence[Any]) -> None:
    """Trials of every scheme, and the answers."""
    table(
        (
            *("format", "prediction", "largest ratio", "population"),
            *("simulated", "largest ratio", "where"),
        ),
        [
            (
                t.format,
                EXPECTATIONS[t.predicted],
                _decimal(t.predicted_ratio),
                t.predicted_population or "",
                t.simulated or "",
                _decimal(t.simulated_ratio),
                t.simulated_comparison or "",
            )
            for recommendation in recommendations
            for t in recommendation.trials
        ],
    )
    for recommendation in recommendations:
        say(recommendation.answer)


def _decimal(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def outcomes(found: Sequence[Outcome]) -> None:
    """What became of single runs, a line each."""
    for outcome in found:
        run = outcome.run
        if outcome.error:
            became = f"failed: {outcome.error}" + (f" (log: {outcome.log})" if outcome.log else "")
        elif outcome.skipped:
            became = f"not run: {outcome.skipped}"
        else:
            became = f"{'was there' if outcome.reused else 'simulated'}, {outcome.key}"
        say(f"{run.backend} {run.format} seed {run.seed}: {became}")


def selftest(findings: Sequence[Any]) -> None:
    """The smallest planted faults that a study notices."""
    table(
        ("planted fault", "smallest noticed", "tried up to", "first noticed in", "size is"),
        [
            (
                f.fault + (" (simulated)" if f.simulated else ""),
                "none" if f.size is None else f"{f.size:g}",
                f"{f.tried[-1]:g}",
                ", ".join(f.where[:3]) + (", ..." if f.where[3:] else ""),
                f.description,
            )
            for f in findings
        ],
    )


def _network(d: Mapping[str, Any]) -> None:
    """Populations, projections and drives."""
    table(
        ("population", "cells", "type", "recorded", "in-degree"),
        [
            (
                p["label"],
                f"{p['size']:,}",
                p["cell_type"],
                "yes" if p["recorded"] else "no",
                f"{p['in_degree']:,.1f}",
            )
            for p in d["populations"]
        ],
    )
    table(
        ("projection", "receptor", "connector", "synapses", "in-degree"),
        [
            (
                p["label"],
                p["receptor"],
                p["connector"],
                f"{p['synapses']:,}",
                f"{p['in_degree']:,.1f}",
            )
            for p in d["projections"]
        ],
    )
    if d["drives"]:
        table(
            ("Poisson drive", "target", "receptor", "mean rate (1/s)", "mean weight (nA or uS)"),
            [
                (
                    x["label"],
                    x["target"],
                    x["receptor"],
                    f"{x['mean_rate']:,.1f}",
                    f"{x['mean_weight']:.4g}",
                )
                for x in d["drives"]
            ],
        )


def _scaled(d: Mapping[str, Any], origin: str) -> None:
    """What becomes of the populations of a smaller network."""
    say(f"{d['name']}:")
    table(
        (
            *("population", "neurons", "inputs each", "added current (nA)", "weights"),
            *("of inhibitory synapses", "of drives", "rates of drives"),
        ),
        [
            (
                p["population"],
                f"{p['size']:,} -> {p['scaled_size']:,}",
                f"{p['inputs']:,.4g} -> {p['scaled_inputs']:,.4g}",
                f"{p['current']:+.4g}" if p["current"] else "",
                *(
                    f"x {p[name]:.4g}" if p[name] != 1 else ""
                    for name in ("excitatory", "inhibitory", "drive", "drive_rate")
                ),
            )
            for p in d["populations"]
        ],
    )
    if d["rates"]:
        rates = ", ".join(f"{label} {rate:g}" for label, rate in d["rates"].items())
        say(f"made with rates (1/s) that are {d['rates_from'] or origin}: {rates}")


def description(d: Mapping[str, Any]) -> None:
    """What a study would run, by `pynn_portability.run.plan.describe`."""
    _network(d)
    times = d["simulation"]
    say(
        f"{d['neurons']:,} neurons, {d['synapses']:,} synapses; {times['duration']:g} ms after "
        f"{times['warmup']:g} ms of warm-up, in steps of {times['timestep']:g} ms\n"
    )
    table(
        ("backend", "format", "role", "runs", "threads", "memory", "build", "simulate"),
        [
            (
                r["backend"],
                r["format"],
                r["role"],
                str(r["runs"]),
                str(r["threads"]),
                f"{r['memory_bytes'] / 2**30:.2f} GiB",
                f"{r['build_seconds']:.0f} s",
                f"{r['simulate_seconds']:.0f} s",
            )
            for r in d["runs"]
        ],
    )
    for scaled in d["scaled"]:
        _scaled(scaled, d["rates_from"])
    for text, changes in {r["format"]: r["changes"] for r in d["runs"]}.items():
        for sentence in changes:
            say(f"{text}: {sentence}")
    total = d["total"]
    say(
        f"{total['runs']} runs in all, about {total['seconds'] / 60:.1f} min on {total['cores']} cores "
        "(estimates per run, within a factor of two)"
    )
    for note in d["notes"]:
        say(f"note: {note}")
    for problem in d["problems"]:
        say(f"cannot run here: {problem}")


def sheet(sheet: Mapping[str, Any]) -> None:
    """A deployment sheet."""
    machine = sheet["machine"]
    say(
        f"dry run on sPyNNaker {sheet['software']['sPyNNaker']}: seed {sheet['seed']}, "
        f"{sheet['timestep']:g} ms steps, {sheet['synapses']:,} synapses"
    )
    say(
        f"{_count(machine['boards'], 'board')}, {_count(machine['chips'], 'chip')}, "
        f"{_count(machine['cores'], 'core')}, "
        f"{machine['sdram_total'] / 2**20:,.1f} MiB of SDRAM, "
        f"{machine['routing_entries']:,} routing entries (at most "
        f"{machine['routing_entries_per_chip']:,} on a chip)\n"
    )
    table(
        ("cores for", "number", "SDRAM", "per step"),
        [
            (
                kind["kind"],
                f"{kind['cores']:,}",
                f"{kind['sdram_fixed'] / 2**20:,.2f} MiB",
                f"{kind['sdram_per_step']:,} B",
            )
            for kind in machine["kinds"]
        ],
    )
    _sheet_tables(sheet)
    for finding in sheet["findings"]:
        say(f"{finding['severity']}: {finding['where']}: {finding['what']}")
        say(f"    {finding['advice']}")


def _sheet_tables(sheet: Mapping[str, Any]) -> None:
    """Populations and projections of a deployment sheet."""
    table(
        (
            *("population", "neurons per core", "synapse cores", "delay slots"),
            *("receptor", "shift", "scale (1/nA)", "step (nA)"),
        ),
        [
            (
                population["label"],
                f"{population['neurons_per_core']:,}",
                "combined"
                if population["layout"] == "combined"
                else f"{population['synapse_cores']:,}",
                f"{population['delay_slots_used']:,} of {population['delay_slots']:,}",
                receptor["receptor"],
                f"{receptor['shift']}",
                f"{receptor['scale']:,.4g}",
                f"{receptor['step']:.3g}",
            )
            for population in sheet["populations"]
            for receptor in population.get("receptors", ())
        ],
    )
    table(
        (
            *("projection", "synapses", "compared", "weight (nA)", "error (steps)"),
            *("delay error (ms)", "wrapped", "become 0", "lost"),
        ),
        [
            (
                row["label"],
                f"{row['synapses']:,}",
                f"{row['compared']:,}",
                f"{row['weight']['mean']:.4g} ± {row['weight']['sd']:.2g}",
                f"{row['weight_error']['mean'] / row['step']:+.2f} ± "
                f"{row['weight_error']['sd'] / row['step']:.2f}",
                f"{row['delay_error']['mean']:+.3f} ± {row['delay_error']['sd']:.3f}",
                f"{row['wrapped']:,}",
                f"{row['zero']:,}",
                f"{row['lost'] + row['misplaced']:,}",
            )
            for row in sheet["projections"]
            if row["synapses"]
        ],
    )


def conformance(result: Mapping[str, Any]) -> None:
    """Probes of a backend, measured beside expected."""

    def listed(values: Mapping[str, float | None] | None) -> str:
        if values is None:
            return ""
        return ", ".join("none" if v is None else f"{v:.4g}" for v in values.values())

    def tolerance(values: Mapping[str, float]) -> str:
        return listed(values) if len(set(values.values())) > 1 else f"{max(values.values()):.2g}"

    table(
        ("probe", "unit", "measured", "expected", "tolerance", "outcome"),
        [
            (
                p["name"],
                p["unit"],
                listed(p["measured"]),
                listed(p["expected"]),
                tolerance(p["tolerance"]),
                p["outcome"],
            )
            for p in result["probes"]
        ],
    )
    for p in result["probes"]:
        for name in p["deviating"]:
            measured, expected = (
                "none" if value is None else f"{value:.4g}"
                for value in (p["measured"][name], p["expected"][name])
            )
            say(f"differs: {p['name']}, {name}: {measured} instead of {expected} ({p['unit']})")
    for p in result["probes"]:
        if p["reason"]:
            say(f"not supported: {p['name']}: {p['reason']}")
    for p in result["probes"]:
        if p["note"]:
            say(f"note: {p['name']}: {p['note']}")
    outcomes = [p["outcome"] for p in result["probes"]]
    counts = ", ".join(
        f"{outcomes.count(outcome)} {word}"
        for outcome, word in (
            ("agrees", "agree"),
            ("differs", "differ"),
            ("not supported", "not supported"),
        )
    )
    say(
        f"{result['backend']} with format {result['format']} at {result['timestep']:g} ms: {counts}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def inventory(names: Mapping[str, Any]) -> None:
    """What a study file can name."""
    for model in names["models"]:
        say(f"model {model['name']}")
        for name, default in model["parameters"].items():
            say(f"    {name} = {json.dumps(default)}")
    for backend in names["backends"]:
        versions = ", ".join(f"{k} {v}" for k, v in backend["versions"].items())
        say(f"backend {backend['name']}: {backend['problem'] or versions}")
        for name, option in backend["options"].items():
            say(f"    {name} = {json.dumps(option['default'])}  ({option['meaning']})")
    say(f"formats {', '.join(names['formats'])}\n")
    evidence = names["evidence"]
    rows = []
    for name, title in names["machines"].items():
        known = evidence[name if name in evidence else name.removesuffix("-full")]
        rows.append((name, title, known["evidence"]))
    table(("machine", "", "evidence"), rows)
    table(("statistic", ""), list(names["statistics"].items()))
    say(f"references {', '.join(names['references'])}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table without frame; cells are plain text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # in a pipe nothing is folded, so that lines stay lines
    Console(width=None if sys.stdout.isatty() else 1000).print(table)
