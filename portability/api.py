"""What Python users import; the command line is a thin shell over it.

A study is planned, run and judged::

    import pynn_portability as pp

    study = pp.Study.load("study.toml")
    results = study.run()
    results.verdicts

`Study` and `Results` hold everything; functions beside them need no study.
"""

from __future__ import annotations

import inspect
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pynn_portability.backends import names as backend_names
from pynn_portability.errors import RequestError, UnfinishedError
from pynn_portability.files import own_folder
from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import STATISTICS, statistic
from pynn_portability.judge.verdict import Pairing
from pynn_portability.predict import prediction, recommendation
from pynn_portability.probe import selftest
from pynn_portability.probe.conformance import conformance as probe_backend
from pynn_portability.reports import write_report
from pynn_portability.results import exporting, scaling, smallest, taking
from pynn_portability.results.assembling import Assembled, assemble, exit_code
from pynn_portability.results.files import write_data
from pynn_portability.results.schema import StudyResults
from pynn_portability.run import bundle, imported, job_array
from pynn_portability.run import plan as planning
from pynn_portability.run import study as study_module
from pynn_portability.run.events import Advanced, Began, Ended, Event, Listener, ignore
from pynn_portability.run.executor import Executor, execute, keys, stored, summary
from pynn_portability.run.outcome import Outcome
from pynn_portability.run.plan import Plan
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.script_study import script_values, write_script_study
from pynn_portability.run.store import Store
from pynn_portability.run.study import Role, inventory, load_study, study_of
from pynn_portability.spikes import intake
from pynn_portability.spikes.blocks import to_neo
from pynn_portability.spikes.mapping import Map, read_map
from pynn_portability.spinnaker import deployment
from pynn_portability.tables import choices

if TYPE_CHECKING:
    import neo
    import pandas as pd

__all__ = ["Results", "Study", "conformance", "explain_spikes", "inventory"]

DRAWING = "drawing the report"
SOLVING = "solving the mean field"


class Study:
    """A network, a reference and candidates: what to run, and what to compare with what.

    Everything that can be wrong before the network is built is refused when a study is made, in one
    sentence (`RequestError`).

    Arguments are what a study file holds (``docs/study-file.md``):

    - ``name``: of letters, digits, ``.``, ``_`` and ``-``; it names the output folder.
    - ``model``: a shipped model, ``"path/to/script.py:function"``, or a build function that stands in a
      file, as every run takes place in a process of its own that has to find it.
    - ``parameters``: of the build function.
    - ``duration``, ``warmup``, ``timestep``: ms.
    - ``seeds``: one realization of the network each; a verdict needs at least 3, usually 5.
    - ``reference``: (backend, number format).
    - ``candidates``: the same, each a port to be judged; a third value is a scaling of the network.
    - ``statistics``: names of what runs are compared by, ``"rate"`` among them.
    - ``backends``: options by the name of the backend.
    - ``base``: the folder that paths are relative to, by default the working directory.
    """

    def __init__(
        self,
        name: str,
        model: str | Callable[..., Any],
        *,
        duration: float,
        seeds: Sequence[int],
        candidates: Sequence[tuple[str, str] | tuple[str, str, str]] = (),
        reference: tuple[str, str] = ("nest", "double"),
        parameters: Mapping[str, Any] | None = None,
        warmup: float = 1000.0,
        timestep: float = 0.1,
        statistics: Sequence[str] = STATISTICS,
        backends: Mapping[str, Mapping[str, Any]] | None = None,
        base: Path | str = ".",
    ) -> None:
        values = {
            "study": {"name": name},
            "model": {"build": _reference_to(model), **(parameters or {})},
            "simulation": {
                "duration": float(duration),
                "warmup": float(warmup),
                "timestep": float(timestep),
                "seeds": list(seeds),
            },
            "statistics": {"use": list(statistics)},
            "reference": {"backend": reference[0], "format": reference[1]},
            "candidate": [
                dict(zip(("backend", "format", "scaling"), candidate, strict=False))
                for candidate in candidates
            ],
            "backends": {key: dict(options) for key, options in (backends or {}).items()},
        }
        self._description = study_of(values, Path(base))
        self._plan: Plan | None = None

    @classmethod
    def load(cls, file: Path | str) -> Study:
        """The study of a file.

        A bundle of a reference, or the name of one that comes with the package, stands for a study with this
        reference and without candidates, for spikes from elsewhere.
        """
        study = cls.__new__(cls)
        study._description, study._plan = _study_in(Path(file)), None
        return study

    @classmethod
    def of_script(
        cls,
        script: Path | str,
        arguments: Sequence[str] = (),
        *,
        stock: bool = False,
        progress: bool | Listener = False,
    ) -> tuple[Study, list[str]]:
        """A study of a whole PyNN script, and what is to be said about it, a sentence each.

        With ``stock``, the script is not captured but runs on stock PyNN, unpaired, whatever it uses.

        The script's time step and duration, five seeds, NEST in double precision as the reference, and as
        candidates those of `pynn_portability.run.script_study` that can run the network here. Raises
        RequestError, with the line of the script, when there is no network.
        """
        values = script_values(Path(script), arguments, stock)
        study = cls.__new__(cls)
        study._description, study._plan = study_of(values, Path(), Path(script)), None
        plan = study.plan(progress=progress)
        remarks = []
        for candidate in list(values["candidate"]):
            backend, number_format = candidate["backend"], candidate["format"]
            reason = planning.unable(plan, backend, number_format)
            if reason:
                values["candidate"].remove(candidate)
                remarks.append(f"{backend} with {number_format} is no candidate: {reason}")
        if remarks:
            study._description, study._plan = study_of(values, Path(), Path(script)), None
        return study, remarks

    def write_script_study(self, file: Path | str) -> None:
        """Write the study file of a study made by `of_script`."""
        simulation = self.plan().study.simulation
        values = self._description.model_dump(exclude_unset=True)
        values["candidate"] = [
            {"backend": backend, "format": text}
            for role, backend, text in self._description.combinations()
            if role == "candidate"
        ]
        write_script_study(Path(file), values, simulation.timestep, simulation.duration)

    @property
    def name(self) -> str:
        """Its name."""
        return self._description.name

    @property
    def folder(self) -> Path:
        """Where runs and results go unless another folder is given: ``results/<name>``."""
        return Path("results") / self.name

    def plan(self, *, progress: bool | Listener = False) -> Plan:
        """The network and every run, with memory and time; simulates nothing.

        The model script runs once for a study, in a process of its own. Raises RequestError when the
        model cannot be built, or no simulator may run the network.
        """
        with _listening(progress) as listener:
            return self._planned(listener)

    def _planned(self, listener: Listener, store: Store | None = None) -> Plan:
        if self._plan is None:
            plan = planning.plan(self._description, listener, store)
            self._plan = scaling.with_wanted_theory(plan)
        return self._plan

    def problems(self) -> list[str]:
        """Why the study cannot run here, a sentence each."""
        return planning.problems(self.plan())

    def describe(self, *, progress: bool | Listener = True) -> dict[str, Any]:
        """Populations, synapses, runs and estimates as plain JSON values.

        Smaller networks are made with the rates of the reference if it has run, otherwise with those of mean-field
        theory, which ``rates_from`` says.
        """
        plan = self.plan(progress=progress)
        notes = []
        origin = ""
        try:
            plan, origin = scaling.with_any_rates(plan, Store(self.folder))
        except RequestError as error:
            notes = [f"smaller networks are not shown, as their rates are not known: {error}"]
        described = planning.describe(plan)
        return described | {"rates_from": origin, "notes": [*described["notes"], *notes]}

    def run(
        self,
        folder: Path | str | None = None,
        *,
        jobs: int | None = None,
        progress: bool | Listener = True,
        executor: Executor | None = None,
    ) -> Results:
        """Simulate what is missing, judge, and write all files.

        ``folder`` receives ``results.json``, ``junit.xml``, ``report.html`` and the runs. At most
        ``jobs`` simulations run at once, as many as cores and memory allow by default; an ``executor``
        runs them elsewhere. ``progress`` is shown, or told to a listener of events.

        Raises RequestError for what is wrong or missing, and UnfinishedError if results cannot be written
        after runs were made; a run that fails is a result.
        """
        store = Store(Path(folder or self.folder))
        with _listening(progress) as listener:
            plan = self._planned(listener)
            planning.refuse_problems(plan)
            planning.refuse_unwritable(store.folder)
            planning.refuse_changing(plan, listener)
            with store.locked():
                taking.import_candidates(plan, store, listener)
                with _runs_kept(store, OSError):
                    plan, waited = _completed(plan, store, listener, jobs, executor)
                    outcomes = (*execute(plan, store, listener, jobs, executor), *waited)
                made = any(outcome.record and not outcome.reused for outcome in outcomes)
                if made:
                    taking.check_again(plan, store)
                with _runs_kept(store, (OSError, RequestError) if made else OSError):
                    return _judged(plan, outcomes, store, listener, drawings=False)

    def simulate(
        self,
        only: Sequence[str],
        folder: Path | str | None = None,
        *,
        jobs: int | None = None,
        progress: bool | Listener = True,
    ) -> tuple[Outcome, ...]:
        """Make some of the runs, and judge nothing; many processes may do so in one folder at once.

        ``only`` names runs by number from 0 on, the reference's first, ``"3"``, by ranges, ``"0-9"``, or by the
        begin of their keys. A run that another process is making is waited for. Raises RequestError for what
        names none, and for smaller networks whose rates no run of the reference tells yet.
        """
        store = Store(Path(folder or self.folder))
        with _listening(progress) as listener:
            plan = scaling.completed(self._planned(listener), store)
            runs = job_array.chosen(self._description.runs(), keys(plan), only)
            if waiting := [run for run in runs if run in plan.waiting]:
                raise RequestError(
                    f"{self._description.file}: {waiting[0].backend} {waiting[0].format} is made with the rates of "
                    "the reference, whose runs have to be made first"
                )
            wanted = replace_fields(plan, tasks=tuple(t for t in plan.tasks if t.run in runs))
            planning.refuse_problems(wanted)
            planning.refuse_unwritable(store.folder)
            planning.refuse_changing(wanted, listener)
            store.prepare()
            with _runs_kept(store, OSError):
                return execute(wanted, store, listener, jobs)

    def slurm_script(
        self,
        folder: Path | str | None = None,
        *,
        part: Role | None = None,
        template: str = job_array.SLURM,
        progress: bool | Listener = False,
    ) -> str:
        """A SLURM script whose tasks make a run each, see docs/clusters.md; simulates nothing.

        ``part``: of the reference or of candidates only; ``template``: another text with the same names, such as
        ``@array@``. Raises RequestError for a study without a file.
        """
        if not self._description.file.is_file():
            raise RequestError("the jobs of a cluster read a study file, and this study has none")
        store = Store(Path(folder or self.folder))
        plan = scaling.completed(self.plan(progress=progress), store)
        return job_array.script(plan, self._description.file, store.folder, part, template)

    def judge(
        self,
        folder: Path | str | None = None,
        *,
        drawings: bool = False,
        progress: bool | Listener = True,
    ) -> Results:
        """Judge again from stored runs and write all files, simulating nothing.

        With ``drawings``, those of the report are also written as SVG files. A model script that is not
        there any more is not missed. Raises RequestError when runs are missing.
        """
        store = Store(Path(folder or self.folder))
        with _listening(progress) as listener:
            plan = self._planned(listener, store)
            # what is missing is said before anything is written, unless it is to be imported first
            imported_first = bool(plan.waiting) and plan.study.reference.backend == IMPORTED
            if not imported_first:
                plan = scaling.completed(plan, store)
                stored(plan, store)
            with store.locked():
                taking.import_candidates(plan, store, listener)
                plan = scaling.completed(plan, store)
                return _judged(plan, stored(plan, store), store, listener, drawings)

    def import_spikes(
        self,
        files: Sequence[Path | str],
        label: str,
        *,
        map: Path | str | None = None,
        paired: bool = False,
        all_recorded: bool = False,
        trust_pickle: bool = False,
        replace: bool = False,
        folder: Path | str | None = None,
        progress: bool | Listener = True,
    ) -> imported.Imported:
        """Check spikes from elsewhere and keep them beside the runs; `run` and `judge` then judge them, too.

        ``files`` and folders are told apart by seed; ``label`` is the name of the ensemble. ``map`` says what files
        do not say (docs/foreign-spikes.md). ``paired``: its seeds are realizations of the study.
        ``all_recorded``: neurons without a spike are silent. ``trust_pickle``: pickles, which are programs, are
        read. ``replace``: what has this label already.

        Raises RequestError, in one sentence, for spikes that cannot be those of the study's network.
        """
        imported.folder_name(label)
        given = _map(map, all_recorded)
        pairing: Pairing = "paired" if paired else "unpaired"
        store = Store(Path(folder or self.folder))
        planning.refuse_unwritable(store.folder)
        with _listening(progress) as listener:
            plan = self._planned(listener, store)
            with store.locked():
                taking.take_reference(plan, store, listener)
                paths = [Path(file) for file in files]
                return taking.import_spikes(
                    plan, store, listener, paths, label, given, pairing, trust_pickle, replace
                )

    def explain_spikes(
        self,
        files: Sequence[Path | str],
        *,
        map: Path | str | None = None,
        all_recorded: bool = False,
        trust_pickle: bool = False,
        progress: bool | Listener = True,
    ) -> intake.Intake:
        """What `import_spikes` would take files for, and what it would say about them; keeps nothing."""
        given = _map(map, all_recorded)
        with _listening(progress) as listener:
            plan = self._planned(listener, Store(self.folder))
            paths = [Path(file) for file in files]
            return taking.explain(plan, paths, given, trust_pickle, listener)

    def export_reference(
        self,
        file: Path | str,
        folder: Path | str | None = None,
        *,
        jobs: int | None = None,
        progress: bool | Listener = True,
    ) -> bundle.Contents:
        """Write the reference to a bundle, by which others judge without simulating it (docs/foreign-spikes.md).

        What is missing of it is simulated. Raises RequestError as `run` does, and for a run that fails.
        """
        store, path = Store(Path(folder or self.folder)), Path(file)
        if not path.parent.is_dir() or path.is_dir():
            raise RequestError(f"{path}: cannot be written, its folder must be there")
        with _listening(progress) as listener:
            plan = self._planned(listener)
            own = plan.of_role("reference")
            planning.refuse_problems(plan)
            planning.refuse_unwritable(store.folder)
            planning.refuse_changing(plan, listener)
            with store.locked():
                taking.import_candidates(plan, store, listener)
                with _runs_kept(store, (OSError, RequestError)):
                    outcomes = execute(own, store, listener, jobs)
                    return exporting.export_reference(own, outcomes, store, path, listener)

    def remove_spikes(self, label: str, folder: Path | str | None = None) -> None:
        """Remove what was imported under a label; RequestError if there is no such thing."""
        store = Store(Path(folder or self.folder))
        with store.locked():
            imported.drop(store.folder, label)

    def predict(
        self, folder: Path | str | None = None, *, progress: bool | Listener = True
    ) -> list[dict[str, Any]]:
        """What theory expects of every candidate, as ``prediction`` in ``docs/results.md``.

        Backend and format stand beside it. If the model script is not there any more, the network is
        the one that the runs in ``folder`` were made of. Raises RequestError without a candidate.
        """
        if not self._description.simulated:
            raise RequestError(
                f"{self._description.file}: there is no candidate to predict, add one or let "
                "`portability recommend` look for a format"
            )
        with _listening(progress) as listener:
            store = Store(Path(folder or self.folder))
            plan = self._planned(listener, store)
            listener(Began(SOLVING))
            with suppress(RequestError):  # which the prediction of smaller networks then says
                plan, _ = scaling.with_any_rates(plan, store)
            entries = prediction.of_study(plan)
            listener(Ended(SOLVING))
        _, *candidates = self._description.combinations()
        return [
            {"backend": backend, "format": name, "prediction": entry}
            for (_, backend, name), entry in zip(candidates, entries, strict=True)
        ]

    def recommend(
        self,
        folder: Path | str | None = None,
        *,
        scheme: str = "both",
        backend: str = "emulator",
        jobs: int | None = None,
        progress: bool | Listener = True,
    ) -> list[recommendation.Recommendation]:
        """The coarsest weights that pass, for one ``scheme`` or both: predicted, then simulated.

        Raises RequestError for an unknown scheme or backend, and where the backend cannot run it.
        """
        allowed = (*recommendation.SCHEMES, "both")
        if scheme not in allowed:
            raise RequestError(f"unknown scheme {scheme!r}{choices(scheme, allowed)}")
        schemes = recommendation.SCHEMES if scheme == "both" else (scheme,)
        store = Store(Path(folder or self.folder))
        planning.refuse_unwritable(store.folder)
        with _listening(progress) as listener:
            plan = recommendation.emulated(self._description, backend, schemes, listener)
            with store.locked(), _runs_kept(store, OSError):
                found = recommendation.recommend(plan, schemes, store, listener, jobs)
                recommendation.write(found, store.folder)
        return found

    def smallest(
        self,
        keep: Sequence[str] = STATISTICS,
        folder: Path | str | None = None,
        *,
        backend: str = "emulator",
        jobs: int | None = None,
        progress: bool | Listener = True,
    ) -> list[smallest.Smallest]:
        """The smallest network that keeps the statistics named, for every method of downscaling (docs/downscaling.md).

        Raises RequestError for unknown statistics or backends, where the backend cannot run it, and for a failed run.
        """
        known = backend_names()
        if backend not in known:
            raise RequestError(f"unknown backend {backend!r}{choices(backend, known)}")
        if not keep or len(set(keep)) < len(keep):
            raise RequestError("keep: must be names of statistics, each once")
        for name in keep:
            statistic(name)
        store = Store(Path(folder or self.folder))
        planning.refuse_unwritable(store.folder)
        with _listening(progress) as listener, store.locked(), _runs_kept(store, OSError):
            found = smallest.smallest(self._description, keep, backend, store, listener, jobs)
            smallest.write(found, store.folder)
        return found

    def selftest(
        self,
        folder: Path | str | None = None,
        *,
        simulate: bool = False,
        jobs: int | None = None,
        progress: bool | Listener = True,
    ) -> list[selftest.Finding]:
        """The smallest planted faults that the verdict notices; with ``simulate``, of the model, too.

        Raises RequestError when reference runs are missing.
        """
        store = Store(Path(folder or self.folder))
        planning.refuse_unwritable(store.folder)
        with _listening(progress) as listener:
            plan = self._planned(listener, store)
            with store.locked():
                findings = selftest.spike_faults(plan, store, listener)
                if simulate:
                    with _runs_kept(store, OSError):
                        findings += selftest.model_faults(plan, store, listener, jobs)
                        selftest.write(findings, plan, store)
                else:
                    selftest.write(findings, plan, store)
        return findings

    def map(
        self,
        folder: Path | str | None = None,
        *,
        seed: int | None = None,
        timestep: float | None = None,
        progress: bool | Listener = True,
    ) -> tuple[dict[str, Any], list[Path]]:
        """The deployment sheet of a dry run on SpiNNaker's virtual machine, and the files written.

        For the study's first seed and its time step (ms) unless given. Results that are there are
        written again with the sheet, unless their runs are no longer those of the study.
        """
        store = Store(Path(folder or self.folder))
        planning.refuse_unwritable(store.folder)
        with _listening(progress) as listener:
            sheet = deployment.of_study(self._description, seed, timestep, listener)
            with store.locked():
                files = [deployment.write(sheet, store.folder)]
                if (store.folder / "results.json").exists():
                    try:
                        plan = scaling.completed(self._planned(listener, store), store)
                        outcomes = stored(plan, store)
                    except RequestError:
                        return sheet, files
                    results = _judged(plan, outcomes, store, listener, drawings=False)
                    files += [store.folder / "results.json", results.report_file]
        return sheet, files


class Results:
    """Verdicts of a study and the data behind them.

    ``content`` is what ``results.json`` holds, ``outcomes`` say what became of every run, and ``folder``
    has the files. A notebook shows the table of verdicts.
    """

    def __init__(self, assembled: Assembled, outcomes: Sequence[Outcome], store: Store) -> None:
        self._assembled = assembled
        self._store = store
        self.outcomes = tuple(outcomes)

    @property
    def content(self) -> StudyResults:
        """What ``results.json`` holds."""
        return self._assembled.content

    @property
    def folder(self) -> Path:
        """Where runs and files are."""
        return self._store.folder

    @property
    def report_file(self) -> Path:
        """The report that was written."""
        return self.folder / "report.html"

    @property
    def summary(self) -> str:
        """How many runs were simulated, reused and failed, in one line."""
        return summary(self.outcomes, self._store)

    @property
    def exit_code(self) -> int:
        """0: every candidate passes; 1: one deviates; 3: one is inconclusive; 4: a run failed."""
        return exit_code(self.content)

    @property
    def verdicts(self) -> pd.DataFrame:
        """A row per ensemble, the reference first: backend, format, verdict, reason."""
        import pandas as pd  # noqa: PLC0415 - takes long to import

        entries = (self.content.reference, *self.content.candidates)
        return pd.DataFrame(
            [(e.backend, e.format, e.verdict, next(iter(e.reasons), "")) for e in entries],
            columns=["backend", "format", "verdict", "reason"],
        )

    @property
    def scores(self) -> pd.DataFrame:
        """A row per candidate, population and statistic, with the fields of a score."""
        import pandas as pd  # noqa: PLC0415

        rows = [
            {"backend": e.backend, "format": e.format, **score.model_dump()}
            for e in self.content.candidates
            for score in e.scores
        ]
        return pd.DataFrame(rows)

    @property
    def ensembles(self) -> Mapping[tuple[str, str], Ensemble]:
        """Statistics of whole runs by (backend, format)."""
        return {key: found.whole for key, found in self._assembled.evidence.items()}

    @property
    def evidence(self) -> Mapping[tuple[str, str], Evidence]:
        """Ensembles of parts of the runs, and of null models, by (backend, format)."""
        return self._assembled.evidence

    def spikes(self, backend: str, number_format: str, seed: int) -> neo.Block:
        """The spikes of a run as a Neo block: one segment, a spike train per neuron.

        Raises RequestError for a run that there is not.
        """
        runs = self._assembled.recordings.get((backend, number_format), {})
        if seed not in runs:
            known = ", ".join(map(str, runs)) or "none"
            raise RequestError(
                f"there is no run of {backend} {number_format} with seed {seed}; seeds that there are: "
                f"{known}"
            )
        return to_neo(runs[seed].spikes)

    def report(self, path: Path | str, drawings: Path | str | None = None) -> Path:
        """Write the report to ``path``, one self-contained HTML file; returns it.

        With a folder ``drawings``, every drawing is also written there, as an SVG file.
        """
        self._report(Path(path), None if drawings is None else Path(drawings))
        return Path(path)

    def _report(self, file: Path, folder: Path | None) -> None:
        """Write the report, and take down what of it could not be made."""
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        first = {
            key: next(iter(runs.values())).spikes
            for key, runs in self._assembled.recordings.items()
            if runs
        }
        missing = write_report(file, self.content, self._assembled.evidence, first, folder)
        if missing:
            sentences = list(dict.fromkeys([*self.content.missing, *missing]))
            content = self.content.model_copy(update={"missing": sentences})
            self._assembled = replace_fields(self._assembled, content=content)

    def _repr_html_(self) -> str:
        return str(self.verdicts.to_html(index=False, escape=True))

    def __repr__(self) -> str:
        return f"<Results of {self.content.study.name}: {self.summary}>"


def _map(file: Path | str | None, all_recorded: bool) -> Map:
    """What a map says, and that all neurons were recorded."""
    given = read_map(None if file is None else Path(file))
    return given.model_copy(update={"recorded": "all"}) if all_recorded else given


def _study_in(file: Path) -> study_module.Study:
    """The study of a study file, or of a bundle."""
    path = bundle.find(str(file), Path())
    if not zipfile.is_zipfile(path):
        return load_study(file)
    found = bundle.Bundle(path)
    values = found.contents.study | {"reference": {"bundle": str(path)}}
    return study_of(values, Path(), path, found.network())


def conformance(
    backend: str,
    number_format: str = "double",
    options: Mapping[str, Any] | None = None,
    *,
    progress: bool | Listener = True,
) -> dict[str, Any]:
    """Single neurons and synapses of a backend, measured against expected (docs/conformance.md)."""
    with _listening(progress) as listener:
        return probe_backend(backend, number_format, options or {}, listener)


def explain_spikes(
    files: Sequence[Path | str],
    *,
    map: Path | str | None = None,
    trust_pickle: bool = False,
) -> list[intake.Understood]:
    """What files of spikes are taken for, without a study: populations, numbers of neurons, units, times."""
    given = read_map(None if map is None else Path(map))
    return intake.explain([Path(file) for file in files], given, trust_pickle)


def _completed(
    plan: Plan, store: Store, listener: Listener, jobs: int | None, executor: Executor | None
) -> tuple[Plan, list[Outcome]]:
    """The plan with all runs of smaller networks, and outcomes of those that no rates are known for.

    Simulates the reference first, where they wait for its rates.
    """
    if not plan.waiting:
        return plan, []
    execute(plan.of_role("reference"), store, listener, jobs, executor)
    recordings = scaling.recorded(plan, store)
    if not recordings:
        reason = "no run of the reference tells the rates that the smaller network is made with"
        return plan, [Outcome(run, "", None, skipped=reason) for run in plan.waiting]
    plan = planning.with_rates(plan, scaling.rates(plan, recordings))
    planning.refuse_problems(plan)
    return plan, []


def _judged(
    plan: Plan, outcomes: Sequence[Outcome], store: Store, listener: Listener, drawings: bool
) -> Results:
    results = Results(assemble(plan, outcomes, store, listener), outcomes, store)
    # verdicts first, whatever becomes of the report
    write_data(results.content, store.folder)
    listener(Began(DRAWING))
    listener(Advanced(DRAWING))
    complete = results.content
    figures = own_folder(store.folder / "figures") if drawings else None
    results._report(results.report_file, figures)
    if results.content is not complete:
        write_data(results.content, store.folder)
    listener(Ended(DRAWING))
    return results


@contextmanager
def _runs_kept(
    store: Store, errors: type[Exception] | tuple[type[Exception], ...]
) -> Iterator[None]:
    """Turn ``errors``, which come when runs have been made, into one that says that these are kept."""
    try:
        yield
    except errors as error:
        what = str(error)
        if isinstance(error, OSError) and error.strerror:
            what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise UnfinishedError(f"{what} (finished runs are kept in {store.folder})") from error


@contextmanager
def _listening(progress: bool | Listener) -> Iterator[Listener]:
    """Who listens to events: a display, nobody, or whoever was given."""
    if callable(progress):
        yield progress
    elif progress:
        from pynn_portability.terminal import Display  # noqa: PLC0415 - brings Rich

        with Display() as display:
            yield _untroubled(display)
    else:
        yield ignore


def _untroubled(listener: Listener) -> Listener:
    """A listener whose troubles, such as a closed terminal, are none of the work's."""

    def told(event: Event) -> None:
        with suppress(OSError):
            listener(event)

    return told


def _reference_to(model: str | Callable[..., Any]) -> str:
    """A build function as a study file names it."""
    if isinstance(model, str):
        return model
    file = inspect.getsourcefile(model)
    if file is None or not Path(file).is_file() or "<" in model.__qualname__:
        raise RequestError(
            f"the build function {model.__qualname__} does not stand at the top of a file, where every "
            'run could find it; write it into one and give "path/to/script.py:function"'
        )
    return f"{Path(file).resolve()}:{model.__qualname__}"
