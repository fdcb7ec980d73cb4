"""The command line: reads arguments, calls the parts, prints what they return.

Heavy imports wait inside the commands, so that help comes at once.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from pynn_portability import terminal

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
    from pynn_portability.errors import RequestError

    try:
        yield
    except BrokenPipeError:
        # whoever reads, `head` for instance, has seen enough; nothing is left to be flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
    except (RequestError, OSError) as error:
        if os.environ.get("PORTABILITY_TRACEBACK") == "1":
            traceback.print_exc()
        _say_error(str(error))
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept", file=sys.stderr)
        raise typer.Exit(130) from None


def _say_error(sentence: str) -> None:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)


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

        from pynn_portability.results import assembling as results
        from pynn_portability.run import execution
        from pynn_portability.run.store import Store
        from pynn_portability.run.study import load_study

        plan = execution.plan(load_study(study_file))
        store = Store(out or Path("results") / plan.study.name)
        execution.refuse_problems(plan)
        execution.refuse_unwritable(store.folder)
        with store.locked():
            console = Console(stderr=True)
            with execution.progress_display(console) as progress:
                outcomes = execution.execute(plan, store, progress, jobs)
            with console.status("judging") as status:
                content, report = results.judge(plan, outcomes, store, status.update)
        print(execution.summary(outcomes, store))
        terminal.verdicts(content, report)
        raise typer.Exit(results.exit_code(content, ignore_verdicts=exit_zero))


@app.command()
def report(
    study_file: StudyFile,
    out: Out = None,
    figures: Annotated[
        bool,
        typer.Option("--figures", help="Also write every drawing as an SVG file, to DIR/figures."),
    ] = False,
) -> None:
    """Judge and report again from stored runs, without simulating."""
    with _explained():
        from rich.console import Console

        from pynn_portability.results import assembling as results
        from pynn_portability.run import execution
        from pynn_portability.run.store import Store
        from pynn_portability.run.study import load_study

        plan = execution.plan(load_study(study_file))
        store = Store(out or Path("results") / plan.study.name)
        outcomes = execution.stored(plan, store)
        with store.locked(), Console(stderr=True).status("judging") as status:
            content, page = results.judge(plan, outcomes, store, status.update, figures)
        terminal.verdicts(content, page)
        raise typer.Exit(results.exit_code(content))


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

        from pynn_portability.probe import selftest
        from pynn_portability.run import execution
        from pynn_portability.run.store import Store
        from pynn_portability.run.study import load_study

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
        terminal.selftest(findings)


@app.command()
def validate(
    study_files: Annotated[list[Path], typer.Argument(metavar="STUDY.toml...")],
) -> None:
    """Check study files, their models, and that everything they ask for is here."""
    with _explained():
        from pynn_portability.errors import RequestError
        from pynn_portability.run import execution
        from pynn_portability.run.study import load_study

        wrong = False
        for study_file in study_files:
            try:
                plan = execution.plan(load_study(study_file))
                found = execution.problems(plan)
            except (RequestError, OSError) as error:
                found = [str(error)]
            for sentence in found:
                _say_error(sentence)
            if not found:
                print(f"{study_file}: valid, {len(plan.tasks)} runs")
            wrong = wrong or bool(found)
        raise typer.Exit(2 if wrong else 0)


@app.command()
def describe(study_file: StudyFile, as_json: Json = False) -> None:
    """Show populations, projections, runs and estimates of a study, without running it."""
    with _explained():
        from pynn_portability.run import execution
        from pynn_portability.run.study import load_study

        description = execution.describe(execution.plan(load_study(study_file)))
        if as_json:
            print(json.dumps(description, indent=1, allow_nan=False))
        else:
            terminal.description(description)


@app.command()
def predict(study_file: StudyFile, as_json: Json = False) -> None:
    """Predict from theory, without simulating, which candidates should pass."""
    with _explained():
        from rich.console import Console

        from pynn_portability.errors import RequestError
        from pynn_portability.predict import prediction
        from pynn_portability.run import execution
        from pynn_portability.run.study import load_study

        plan = execution.plan(load_study(study_file))
        if not plan.study.candidate:
            raise RequestError(
                f"{study_file}: there is no candidate to predict, add one or let `portability "
                "recommend` look for a format"
            )
        with Console(stderr=True).status("solving the mean field"):
            entries = prediction.of_study(plan)
        _, *candidates = plan.study.combinations()
        if as_json:
            predictions = [
                {"backend": backend, "format": name, "prediction": entry}
                for (_, backend, name), entry in zip(candidates, entries, strict=True)
            ]
            content = {"study": plan.study.name, "candidates": predictions}
            print(json.dumps(content, indent=1, allow_nan=False))
        else:
            terminal.predictions([(backend, name) for _, backend, name in candidates], entries)


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

        from pynn_portability.backends import load
        from pynn_portability.errors import RequestError
        from pynn_portability.predict import recommendation
        from pynn_portability.run import execution
        from pynn_portability.run.store import Store
        from pynn_portability.run.study import load_study
        from pynn_portability.tables import choices

        allowed = (*recommendation.SCHEMES, "both")
        if scheme not in allowed:
            raise RequestError(f"--scheme: unknown scheme {scheme!r}{choices(scheme, allowed)}")
        try:
            load(backend)
        except RequestError as error:
            raise RequestError(f"--backend: {error}") from None
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
            terminal.recommendations(found)
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

        from pynn_portability.run import execution
        from pynn_portability.run.study import load_study
        from pynn_portability.spinnaker import deployment

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
            terminal.sheet(sheet)
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

        from pynn_portability.probe import conformance
        from pynn_portability.run import execution

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
            terminal.conformance(result)
        differs = any(probe["outcome"] == "differs" for probe in result["probes"])
        raise typer.Exit(1 if differs else 0)


@app.command("list")
def list_names(as_json: Json = False) -> None:
    """List models with their parameters, backends with their versions, and number formats."""
    with _explained():
        from pynn_portability.run.study import inventory

        names = inventory()
        if as_json:
            print(json.dumps(names, indent=1, allow_nan=False))
        else:
            terminal.inventory(names)
