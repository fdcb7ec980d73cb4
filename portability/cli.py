"""The command line: reads arguments, calls the Python API, prints what it returns.

Heavy imports wait inside the commands, so that help comes at once.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pynn_portability import terminal

if TYPE_CHECKING:
    from pynn_portability.api import Results, Study
    from pynn_portability.run.study import Role

DEFECT = (
    70  # a defect of the program (EX_SOFTWARE); Python's 1 would claim that a candidate deviates
)

FAILED = 4
"""A run failed."""

LONGEST_SENTENCE = 2000
"""Longer ones quote something of the size of a file."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Does a port of a PyNN network still have the dynamics of the NEST double-precision "
    "ensemble?",
    epilog="Exit codes: 0 every candidate passes, 1 one deviates, 2 the request is wrong, "
    "3 inconclusive, 4 a run failed, 128 + number ended by a signal.",
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
ExitZero = Annotated[
    bool,
    typer.Option("--exit-zero", help="Exit with 0 whatever the verdicts, if every run succeeded."),
]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ARGUMENT]...", help="Arguments of the script.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """The console script ``portability``."""
    try:
        with _ending_in_order():
            app()
    except _Ended as ended:
        sys.exit(ended.explained())
    except Exception as error:
        if os.environ.get("PORTABILITY_TRACEBACK") == "1":
            traceback.print_exc()
        _say_error(
            f"a defect of the program, {type(error).__name__}: {error} (with PORTABILITY_TRACEBACK=1 in "
            "the environment it shows where)"
        )
        sys.exit(DEFECT)


class _Ended(BaseException):
    """A signal asks the program to end. (Typer would turn a KeyboardInterrupt into exit code 1.)"""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)

    def explained(self) -> int:
        """Say what ended the program; returns the exit code that shells give to it."""
        what = "interrupted" if self.signal == signal.SIGINT else f"ended by {self.signal.name}"
        with suppress(OSError):
            print(f"{what}: finished runs are kept", file=sys.stderr, flush=True)
        # the terminal may be gone, and Python would complain that it cannot flush
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 128 + self.signal


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """With signals that end the program as an exception, so that it ends what it has started."""

    def end(number: int, frame: object) -> None:
        # once is enough: what follows ends the simulations that are running
        signal.signal(number, signal.SIG_IGN)
        raise _Ended(number)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # a program that is to outlive its terminal was told to ignore the signal
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _explained() -> Iterator[None]:
    """End with one sentence and the exit code that belongs to it."""
    from pynn_portability.errors import RequestError, UnfinishedError

    try:
        yield
    except BrokenPipeError:
        # whoever reads, `head` for instance, has seen enough; nothing is left to be flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
    except (RequestError, UnfinishedError, OSError) as error:
        if os.environ.get("PORTABILITY_TRACEBACK") == "1":
            traceback.print_exc()
        _say_error(str(error))
        raise typer.Exit(FAILED if isinstance(error, UnfinishedError) else 2) from None


def _say_error(sentence: str) -> None:
    from pynn_portability.errors import printable

    words = " ".join(sentence.split())
    if len(words) > LONGEST_SENTENCE:
        words = f"{words[: LONGEST_SENTENCE - 3]}..."
    print(f"error: {printable(words)}", file=sys.stderr)


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


@app.command(context_settings={"ignore_unknown_options": True})
def run(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY.toml|SCRIPT.py", help="The study file, or a PyNN script as it is."
        ),
    ],
    arguments: Arguments = None,
    stock: Annotated[
        bool,
        typer.Option(
            "--stock", help="Run a script that cannot be captured on stock PyNN, unpaired."
        ),
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="RUN",
            help="Make this run and judge nothing: a number from 0 on, a range (0-9), or a key. Many "
            "processes may do so in one folder; `portability report` judges then.",
        ),
    ] = None,
    out: Out = None,
    exit_zero: ExitZero = False,
    jobs: Jobs = None,
) -> None:
    """Simulate what is missing, judge, and write report.html, results.json and junit.xml."""
    with _explained():
        study = (
            _of_script(file, arguments or [], stock)
            if file.suffix == ".py"
            else _of_file(file, arguments, stock)
        )
        if only:
            outcomes = study.simulate(only, out, jobs=jobs)
            terminal.outcomes(outcomes)
            raise typer.Exit(FAILED if any(outcome.error for outcome in outcomes) else 0)
        results = study.run(out, jobs=jobs)
        terminal.say(results.summary)
        _end_with_verdicts(results, exit_zero)


def _end_with_verdicts(results: Results, exit_zero: bool) -> None:
    terminal.verdicts(results.content, results.report_file)
    failed = results.exit_code == FAILED
    raise typer.Exit(0 if exit_zero and not failed else results.exit_code)


def _of_file(file: Path, arguments: list[str] | None, stock: bool) -> Study:
    from pynn_portability.api import Study
    from pynn_portability.errors import RequestError

    if stock:
        raise RequestError(
            f"{file}: --stock belongs to SCRIPT.py; a study says stock = true in [model]"
        )
    if arguments:
        raise RequestError(
            f"{file}: a study file takes no {arguments[0]!r}; arguments and unknown options are passed to "
            "a PyNN script, SCRIPT.py"
        )
    return Study.load(file)


def _of_script(script: Path, arguments: list[str], stock: bool = False) -> Study:
    from pynn_portability.api import Study

    with terminal.Display() as display:
        study, remarks = Study.of_script(script, arguments, stock=stock, progress=display)
    for remark in remarks:
        terminal.say(f"note: {remark}")
    return study


@app.command(context_settings={"ignore_unknown_options": True})
def capture(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT.py", help="A PyNN script as it is.")],
    arguments: Arguments = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="STUDY.toml", help="Write the study of the script."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what of a PyNN script is understood, and what is left out; simulates nothing."""
    with _explained():
        study = _of_script(script, arguments or [])
        description = study.describe()
        if as_json:
            _print_json(description)
        else:
            terminal.description(description)
        if write:
            study.write_script_study(write)
            terminal.say(f"study: {write}")


Spikes = Annotated[
    list[Path],
    typer.Argument(metavar="SPIKES...", help="Files of spikes, or folders with them."),
]
Label = Annotated[str, typer.Option("--label", metavar="NAME", help="What the ensemble is called.")]
MapFile = Annotated[
    Path | None,
    typer.Option("--map", metavar="MAP.toml", help="What the files do not say themselves."),
]
Paired = Annotated[
    bool, typer.Option("--paired", help="Its seeds are realizations of the study's network.")
]
AllRecorded = Annotated[
    bool, typer.Option("--all-recorded", help="Neurons without a spike were recorded, too.")
]
TrustPickle = Annotated[
    bool,
    typer.Option("--trust-pickle", help="Read pickles, which are programs that Python executes."),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace spikes with this label.")]


@app.command()
def judge(
    study_file: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY.toml|REFERENCE.zip",
            help="The study file, or a bundle of a reference, or the name of one that comes along.",
        ),
    ],
    spikes: Spikes,
    label: Label,
    map_file: MapFile = None,
    paired: Paired = False,
    all_recorded: AllRecorded = False,
    trust_pickle: TrustPickle = False,
    replace: Replace = False,
    out: Out = None,
    exit_zero: ExitZero = False,
    jobs: Jobs = None,
) -> None:
    """Judge spikes from elsewhere: a board's, a colleague's, another simulator's. Simulates what is missing."""
    with _explained():
        from pynn_portability.api import Study

        study = Study.load(study_file)
        found = study.import_spikes(
            spikes,
            label,
            map=map_file,
            paired=paired,
            all_recorded=all_recorded,
            trust_pickle=trust_pickle,
            replace=replace,
            folder=out,
        )
        terminal.imported(found)
        results = study.run(out, jobs=jobs)
        _end_with_verdicts(results, exit_zero)


reference = typer.Typer(
    no_args_is_help=True, help="References that travel: judged by without simulating them."
)
app.add_typer(reference, name="reference")


@reference.command("export")
def export_reference(
    study_file: StudyFile,
    file: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.zip", help="The bundle to be written.")
    ],
    out: Out = None,
    jobs: Jobs = None,
) -> None:
    """Write a study's reference to one file, by which others judge their spikes. Simulates what is missing."""
    with _explained():
        from pynn_portability.api import Study

        contents = Study.load(study_file).export_reference(file, out, jobs=jobs)
        terminal.say(
            f"{file}: {contents.origin}, {contents.duration:g} ms each, {file.stat().st_size / 2**20:.1f} MiB"
        )


@app.command("import")
def import_spikes(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY.toml SPIKES...",
            help="The study file, and files of spikes or folders with them; --explain can do without the former.",
        ),
    ],
    label: Label = "",
    map_file: MapFile = None,
    paired: Paired = False,
    all_recorded: AllRecorded = False,
    trust_pickle: TrustPickle = False,
    replace: Replace = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the spikes with this label, and read none.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what files are taken for, and keep nothing.")
    ] = False,
    out: Out = None,
) -> None:
    """Check spikes from elsewhere, and keep them with a study; `run` and `report` judge them with the others."""
    with _explained():
        from pynn_portability.api import Study, explain_spikes
        from pynn_portability.errors import RequestError

        if explain and files[0].suffix != ".toml":
            terminal.tally(explain_spikes(files, map=map_file, trust_pickle=trust_pickle))
            return
        if explain:
            understood = Study.load(files[0]).explain_spikes(
                files[1:], map=map_file, all_recorded=all_recorded, trust_pickle=trust_pickle
            )
            terminal.understood(understood)
            return
        if not label:
            raise RequestError("--label: is missing, it must be a name for these spikes")
        study = Study.load(files[0])
        if remove:
            study.remove_spikes(label, out)
            terminal.say(f"removed: {label}")
            return
        found = study.import_spikes(
            files[1:],
            label,
            map=map_file,
            paired=paired,
            all_recorded=all_recorded,
            trust_pickle=trust_pickle,
            replace=replace,
            folder=out,
        )
        terminal.imported(found)


@app.command()
def script(
    study_file: StudyFile,
    slurm: Annotated[
        bool, typer.Option("--slurm", help="A job array of SLURM, the only kind there is.")
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            "--part", metavar="reference|candidates", help="Only these runs.", show_default=False
        ),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", metavar="FILE", help="A script to fill in, in place of ours."),
    ] = None,
    out: Out = None,
) -> None:
    """Print a script with which a cluster makes the runs, one per job; simulates nothing."""
    with _explained():
        from pynn_portability.api import Study
        from pynn_portability.errors import RequestError
        from pynn_portability.run import job_array

        if not slurm:
            raise RequestError("say for which scheduler the script is; there is --slurm")
        parts: dict[str | None, Role | None] = {
            None: None,
            "reference": "reference",
            "candidates": "candidate",
        }
        if part not in parts:
            raise RequestError(f"--part {part}: allowed are reference and candidates")
        text = job_array.SLURM if template is None else job_array.read_template(template)
        study = Study.load(study_file)
        print(study.slurm_script(out, part=parts[part], template=text, progress=True), end="")


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
        from pynn_portability.api import Study

        results = Study.load(study_file).judge(out, drawings=figures)
        terminal.verdicts(results.content, results.report_file)
        raise typer.Exit(results.exit_code)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="A/results.json", help="The earlier results.")],
    after: Annotated[Path, typer.Argument(metavar="B/results.json", help="The later results.")],
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Also write a summary for a pull request."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two results: what changed, and exit code 1 if a verdict got worse."""
    with _explained():
        import dataclasses

        from pynn_portability.files import replacing
        from pynn_portability.results import comparing
        from pynn_portability.results.schema import StudyResults

        comparison = comparing.compare(StudyResults.read(before), StudyResults.read(after))
        if markdown:
            with replacing(markdown) as temporary:
                temporary.write_text(comparing.markdown(comparison), encoding="utf-8")
        if as_json:
            _print_json({**dataclasses.asdict(comparison), "worse": comparison.worse})
        else:
            terminal.comparison(comparison)
        raise typer.Exit(1 if comparison.worse else 0)


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
        from pynn_portability.api import Study
        from pynn_portability.probe.selftest import FILE

        study = Study.load(study_file)
        findings = study.selftest(out, simulate=simulate, jobs=jobs)
        if as_json:
            print(((out or study.folder) / FILE).read_text(), end="")
        else:
            terminal.selftest(findings)


@app.command()
def validate(
    study_files: Annotated[list[Path], typer.Argument(metavar="STUDY.toml...")],
) -> None:
    """Check study files, their models, and that everything they ask for is here."""
    with _explained():
        from pynn_portability.errors import RequestError
        from pynn_portability.run.plan import plan, problems
        from pynn_portability.run.study import load_study

        wrong = False
        for study_file in study_files:
            try:
                with terminal.Display() as display:
                    planned = plan(load_study(study_file), display)
                found = problems(planned)
            except (RequestError, OSError) as error:
                found = [str(error)]
            for sentence in found:
                _say_error(sentence)
            if not found:
                terminal.say(f"{study_file}: valid, {len(planned.study.runs())} runs")
                for note in planned.notes:
                    terminal.say(f"{study_file}: note: {note}")
            wrong = wrong or bool(found)
        raise typer.Exit(2 if wrong else 0)


@app.command()
def describe(study_file: StudyFile, as_json: Json = False) -> None:
    """Show populations, projections, runs and estimates of a study, without running it."""
    with _explained():
        from pynn_portability.api import Study

        description = Study.load(study_file).describe()
        if as_json:
            _print_json(description)
        else:
            terminal.description(description)


@app.command()
def predict(study_file: StudyFile, out: Out = None, as_json: Json = False) -> None:
    """Predict from theory, without simulating, which candidates should pass."""
    with _explained():
        from pynn_portability.api import Study

        study = Study.load(study_file)
        predictions = study.predict(out)
        if as_json:
            _print_json({"study": study.name, "candidates": predictions})
        else:
            terminal.predictions(predictions)


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
    downscale: Annotated[
        bool,
        typer.Option(
            "--downscale", help="Find the smallest network instead of the coarsest weights."
        ),
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="NAMES",
            help="With --downscale: statistics that it must keep.",
            show_default="rate,cv,cc",
        ),
    ] = None,
    out: Out = None,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Find the coarsest weights, or the smallest network, that pass: predict, then simulate."""
    with _explained():
        from pynn_portability.api import Study
        from pynn_portability.errors import RequestError
        from pynn_portability.predict.recommendation import content

        study = Study.load(study_file)
        if keep is not None and not downscale:
            raise RequestError("--keep: belongs to --downscale")
        if downscale:
            from pynn_portability.results import smallest

            names = [name.strip() for name in (keep or "rate,cv,cc").split(",")]
            sizes = study.smallest(names, out, backend=backend, jobs=jobs)
            if as_json:
                _print_json(smallest.content(sizes))
            else:
                terminal.smallest(sizes)
            raise typer.Exit(smallest.exit_code(sizes))
        found = study.recommend(out, scheme=scheme, backend=backend, jobs=jobs)
        if as_json:
            _print_json(content(found))
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
        from pynn_portability.api import Study

        sheet, files = Study.load(study_file).map(out, seed=seed, timestep=timestep)
        if as_json:
            _print_json(sheet)
        else:
            terminal.sheet(sheet)
            for file in files:
                terminal.say(f"sheet: {file}")


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
        from pynn_portability.probe.conformance import conformance

        with terminal.Display() as display:
            result = conformance(backend, number_format, listener=display)
        if as_json:
            _print_json(result)
        else:
            terminal.conformance(result)
        differs = any(probe["outcome"] == "differs" for probe in result["probes"])
        raise typer.Exit(1 if differs else 0)


@app.command("list")
def list_names(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="A study's output folder: list imported spikes."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List models with their parameters, backends with their versions, number formats and statistics."""
    with _explained():
        if folder is not None:
            from pynn_portability.run.imported import ensembles

            found = list(ensembles(folder))
            if as_json:
                _print_json([record.model_dump(by_alias=True, mode="json") for record in found])
            else:
                terminal.ensembles(found)
            return
        from pynn_portability.run.study import inventory

        names = inventory()
        if as_json:
            _print_json(names)
        else:
            terminal.inventory(names)


def _print_json(content: Any) -> None:
    print(json.dumps(content, indent=1, allow_nan=False))
