"""The command line: reads arguments, calls the parts, prints what they return.

Heavy imports wait inside the commands, so that help comes at once.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

DEFECT = (
    70  # a defect of the program (EX_SOFTWARE); Python's 1 would claim that a candidate deviates
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Does a port of a PyNN network still have the dynamics of the NEST double-precision "
    "ensemble?",
    epilog="Exit codes: 0 every candidate passes, 1 one deviates, 2 the request is wrong, "
    "3 inconclusive, 4 a run failed.",
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Output folder.", show_default="results/<study name>"
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        metavar="N",
        help="Simulations at once at most.",
        show_default="as cores and memory allow",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """The console script ``portability``."""
    try:
        app()
    except Exception:
        traceback.print_exc()
        sys.exit(DEFECT)


@contextmanager
def _explained() -> Iterator[None]:
    """End with one sentence and the exit code that belongs to it."""
    from portability.errors import RequestError

    try:
        yield
    except (RequestError, OSError) as error:
        if os.environ.get("PORTABILITY_TRACEBACK") == "1":
            traceback.print_exc()
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept", file=sys.stderr)
        raise typer.Exit(130) from None


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pynn-portability {version('pynn-portability')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    study_file: StudyFile,
    out: Out = None,
    exit_zero: Annotated[
        bool,
        typer.Option(
            "--exit-zero", help="Exit with 0 whatever the verdicts, if every run succeeded."
        ),
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Simulate what is missing, judge, and write report.html, results.json and junit.xml."""
    with _explained():
        from rich.console import Console

        from portability import execution, results
        from portability.store import Store
        from portability.study import load_study

        plan = execution.plan(load_study(study_file))
        store = Store(out or Path("results") / plan.study.name)
        execution.refuse_problems(plan)
        execution.refuse_unwritable(store.folder)
        with store.locked():
            with execution.progress_display(Console(stderr=True)) as progress:
                outcomes = execution.execute(plan, store, progress, jobs)
            assembled = results.assemble(plan, outcomes, store)
            report = results.write(assembled, store.folder)
        print(execution.summary(outcomes, store))
        _print_verdicts(assembled.content, report)
        raise typer.Exit(results.exit_code(assembled.content, ignore_verdicts=exit_zero))


@app.command()
def report(study_file: StudyFile, out: Out = None) -> None:
    """Judge and report again from stored runs, without simulating."""
    with _explained():
        from portability import execution, results
        from portability.store import Store
        from portability.study import load_study

        plan = execution.plan(load_study(study_file))
        store = Store(out or Path("results") / plan.study.name)
        outcomes = execution.stored(plan, store)
        with store.locked():
            assembled = results.assemble(plan, outcomes, store)
            page = results.write(assembled, store.folder)
        _print_verdicts(assembled.content, page)
        raise typer.Exit(results.exit_code(assembled.content))


@app.command()
def selftest(
    study_file: StudyFile,
    out: Out = None,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Plant faults into the model, too (emulator).")
    ] = False,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Plant faults into the reference and show the smallest that the verdict notices."""
    with _explained():
        from rich.console import Console

        from portability import execution, selftest
        from portability.store import Store
        from portability.study import load_study

        plan = execution.plan(load_study(study_file))
        store = Store(out or Path("results") / plan.study.name)
        execution.refuse_unwritable(store.folder)
        with store.locked(), execution.progress_display(Console(stderr=True)) as progress:
            findings = selftest.spike_faults(plan, store, progress)
            if simulate:
                findings += selftest.model_faults(plan, store, progress, jobs)
            selftest.write(findings, plan, store)
        if as_json:
            print((store.folder / selftest.FILE).read_text(), end="")
            return
        _print_table(
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


@app.command()
def describe(study_file: StudyFile, as_json: Json = False) -> None:
    """Show populations, projections, runs and estimates of a study, without running it."""
    with _explained():
        from portability import execution
        from portability.study import load_study

        description = execution.describe(execution.plan(load_study(study_file)))
        if as_json:
            print(json.dumps(description, indent=1, allow_nan=False))
        else:
            _print_description(description)


@app.command()
def predict(study_file: StudyFile, as_json: Json = False) -> None:
    """Predict from theory, without simulating, which candidates should pass."""
    with _explained():
        from rich.console import Console

        from portability import execution, theory
        from portability.errors import RequestError
        from portability.study import load_study

        plan = execution.plan(load_study(study_file))
        if not plan.study.candidate:
            raise RequestError(
                f"{study_file}: there is no candidate to predict, add one or let `portability "
                "recommend` look for a format"
            )
        with Console(stderr=True).status("solving the mean field"):
            entries = theory.of_study(plan)
        _, *candidates = plan.study.combinations()
        if as_json:
            predictions = [
                {"backend": backend, "format": name, "prediction": entry}
                for (_, backend, name), entry in zip(candidates, entries, strict=True)
            ]
            content = {"study": plan.study.name, "candidates": predictions}
            print(json.dumps(content, indent=1, allow_nan=False))
        else:
            _print_predictions([(backend, name) for _, backend, name in candidates], entries)


@app.command()
def recommend(
    study_file: StudyFile,
    scheme: Annotated[
        str,
        typer.Option(
            "--scheme",
            metavar="SCHEME",
            help="How weight values are placed: naive, moments or both.",
        ),
    ] = "both",
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="Where to simulate.")
    ] = "emulator",
    out: Out = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Find the coarsest weights that pass: predict, then simulate around the predicted boundary."""
    with _explained():
        from rich.console import Console

        from portability import execution, recommendation
        from portability.backends import NAMES
        from portability.errors import RequestError
        from portability.store import Store
        from portability.study import load_study
        from portability.tables import choices

        allowed = (*recommendation.SCHEMES, "both")
        if scheme not in allowed:
            raise RequestError(f"--scheme: unknown scheme {scheme!r}{choices(scheme, allowed)}")
        if backend not in NAMES:
            raise RequestError(f"--backend: unknown backend {backend!r}{choices(backend, NAMES)}")
        schemes = recommendation.SCHEMES if scheme == "both" else (scheme,)
        plan = recommendation.emulated(load_study(study_file), backend, schemes)
        store = Store(out or Path("results") / plan.study.name)
        execution.refuse_unwritable(store.folder)
        with store.locked(), execution.progress_display(Console(stderr=True)) as progress:
            found = recommendation.recommend(plan, schemes, store, progress, jobs)
            recommendation.write(found, store.folder)
        if as_json:
            print(json.dumps(recommendation.content(found), indent=1, allow_nan=False))
        else:
            _print_recommendations(found)
        raise typer.Exit(max(r.exit_code for r in found))


@app.command("map")
def map_network(
    study_file: StudyFile,
    out: Out = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=1, metavar="N", help="Realization.", show_default="the study's first"
        ),
    ] = None,
    timestep: Annotated[
        float | None,
        typer.Option("--timestep", metavar="MS", help="Time step.", show_default="the study's"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Map the study's network to SpiNNaker without a board: what it takes, and what becomes of it."""
    with _explained():
        from rich.console import Console

        from portability import deployment, execution
        from portability.study import load_study

        study = load_study(study_file)
        folder = out or Path("results") / study.name
        execution.refuse_unwritable(folder)
        console = Console(stderr=True)
        with console.status("capturing the model") as status:
            sheet = deployment.of_study(study, seed, timestep, status.update)
        files = deployment.write(sheet, study, folder)
        if as_json:
            print(json.dumps(sheet, indent=1, allow_nan=False))
        else:
            _print_sheet(sheet)
            for file in files:
                print(f"sheet: {file}")


@app.command()
def conformance(
    backend: Annotated[str, typer.Argument(metavar="BACKEND", help="One that `list` shows.")],
    number_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Number format.")
    ] = "double",
    as_json: Json = False,
) -> None:
    """Measure single neurons and synapses of a backend, against what they do in NEST's time steps."""
    with _explained():
        from rich.console import Console

        from portability import conformance, execution

        with execution.progress_display(Console(stderr=True)) as progress:
            line = progress.add_task(backend, total=1.0, phase="starting")

            def show(report: Mapping[str, Any]) -> None:
                progress.update(
                    line,
                    completed=report.get("fraction"),
                    phase=report.get("phase", "simulating"),
                )

            result = conformance.conformance(backend, number_format, progress=show)
        if as_json:
            print(json.dumps(result, indent=1, allow_nan=False))
        else:
            _print_conformance(result)
        differs = any(probe["outcome"] == "differs" for probe in result["probes"])
        raise typer.Exit(1 if differs else 0)


@app.command("list")
def list_names(as_json: Json = False) -> None:
    """List models with their parameters, backends with their versions, and number formats."""
    with _explained():
        from portability.study import inventory

        names = inventory()
        if as_json:
            print(json.dumps(names, indent=1, allow_nan=False))
        else:
            _print_inventory(names)


def _print_verdicts(content: Mapping[str, Any], report: Path) -> None:
    rows = [
        (entry["backend"], entry["format"], entry["verdict"], next(iter(entry["reasons"]), ""))
        for entry in (content["reference"], *content["candidates"])
    ]
    _print_table(("backend", "format", "verdict", "reason"), rows)
    print(f"report: {report}")


EXPECTATIONS = {
    "pass": "expected to pass",
    "deviates": "expected to deviate",
    "open": "too close to call",
    None: "not predicted",
}


def _print_predictions(
    candidates: Sequence[tuple[str, str]], entries: Sequence[Mapping[str, Any]]
) -> None:
    _print_table(
        ("backend", "format", "prediction", "largest ratio", "population", "not covered"),
        [
            (
                backend,
                name,
                EXPECTATIONS[entry["verdict"]],
                _decimal(entry.get("ratio")),
                entry.get("population") or "",
                entry["reason"] or " ".join(entry["limits"]),
            )
            for (backend, name), entry in zip(candidates, entries, strict=True)
        ],
    )
    print(
        "ratio: distance of firing rates from the reference over that between realizations; "
        "correlations and intervals are not predicted"
    )


def _print_recommendations(recommendations: Sequence[Any]) -> None:
    _print_table(
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
        print(recommendation.answer)


def _decimal(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def _print_description(d: Mapping[str, Any]) -> None:
    _print_table(
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
    _print_table(
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
        _print_table(
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
    print(f"{d['neurons']:,} neurons, {d['synapses']:,} synapses\n")
    _print_table(
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
    total = d["total"]
    print(
        f"{total['runs']} runs in all, about {total['seconds'] / 60:.1f} min on {total['cores']} cores "
        "(estimates per run, within a factor of two)"
    )
    for problem in d["problems"]:
        print(f"cannot run here: {problem}")


def _print_sheet(sheet: Mapping[str, Any]) -> None:
    machine = sheet["machine"]
    print(
        f"dry run on sPyNNaker {sheet['software']['sPyNNaker']}: seed {sheet['seed']}, "
        f"{sheet['timestep']:g} ms steps, {sheet['synapses']:,} synapses"
    )
    print(
        f"{_count(machine['boards'], 'board')}, {_count(machine['chips'], 'chip')}, "
        f"{_count(machine['cores'], 'core')}, "
        f"{machine['sdram_total'] / 2**20:,.1f} MiB of SDRAM, "
        f"{machine['routing_entries']:,} routing entries (at most "
        f"{machine['routing_entries_per_chip']:,} on a chip)\n"
    )
    _print_table(
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
    _print_table(
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
    _print_table(
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
    for finding in sheet["findings"]:
        print(f"{finding['severity']}: {finding['where']}: {finding['what']}")
        print(f"    {finding['advice']}")


def _print_conformance(result: Mapping[str, Any]) -> None:
    def listed(values: Mapping[str, float | None] | None) -> str:
        if values is None:
            return ""
        return ", ".join("none" if v is None else f"{v:.4g}" for v in values.values())

    def tolerance(values: Mapping[str, float]) -> str:
        return listed(values) if len(set(values.values())) > 1 else f"{max(values.values()):.2g}"

    _print_table(
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
            print(f"differs: {p['name']}, {name}: {measured} instead of {expected} ({p['unit']})")
    for p in result["probes"]:
        if p["reason"]:
            print(f"not supported: {p['name']}: {p['reason']}")
    for p in result["probes"]:
        if p["note"]:
            print(f"note: {p['name']}: {p['note']}")
    outcomes = [p["outcome"] for p in result["probes"]]
    counts = ", ".join(
        f"{outcomes.count(outcome)} {word}"
        for outcome, word in (
            ("agrees", "agree"),
            ("differs", "differ"),
            ("not supported", "not supported"),
        )
    )
    print(
        f"{result['backend']} with format {result['format']} at {result['timestep']:g} ms: {counts}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _print_inventory(names: Mapping[str, Any]) -> None:
    for model in names["models"]:
        print(f"model {model['name']}")
        for name, default in model["parameters"].items():
            print(f"    {name} = {json.dumps(default)}")
    for backend in names["backends"]:
        versions = ", ".join(f"{k} {v}" for k, v in backend["versions"].items())
        print(f"backend {backend['name']}: {backend['problem'] or versions}")
        for name, option in backend["options"].items():
            print(f"    {name} = {json.dumps(option['default'])}  ({option['meaning']})")
    print(f"formats {', '.join(names['formats'])}\n")
    _print_table(("machine", ""), list(names["machines"].items()))


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # in a pipe nothing is folded, so that lines stay lines
    Console(width=None if sys.stdout.isatty() else 1000).print(table)
