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
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Simulations at once at most.",
            show_default="as cores and memory allow",
        ),
    ] = None,
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
    print(f"formats {', '.join(names['formats'])}")


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
