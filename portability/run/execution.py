"""From a study to finished runs: plan first (values), then execute the plan on this machine.

Every run is a subprocess (`pynn_portability.run.worker`), since simulators hold global state, crash and
print banners. A run that fails is a result like any other and never ends the study.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.model.network import Network
from pynn_portability.model.scripts import capture
from pynn_portability.realize.realization import Realization
from pynn_portability.run.store import Store, run_key
from pynn_portability.run.study import Run, Study

# project modules whose code decides the spikes, beside the backend's own; what capture does is in
# the network's fingerprint
_DECIDING_MODULES = (
    "pynn_portability.model.cells",
    "pynn_portability.model.connectivity",
    "pynn_portability.realize",
    "pynn_portability.formats",
    "pynn_portability.spikes.data",
)
_DECIDING_PACKAGES = ("numba", "numpy", "scipy")
_GRACE_SECONDS = 5.0  # between asking a worker to end and making it


@dataclass(frozen=True)
class Task:
    """A run with everything that is known about it before it starts.

    ``request`` holds, as plain JSON values, what determines its spikes apart from the software.
    """

    run: Run
    threads: int
    estimate: backends.Estimate
    request: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A study, the network that its model builds, and the runs it takes.

    ``networks`` has the network by time step (ms), as formats may have one of their own and a model
    may ask for it; ``network`` is that of the study's.
    """

    study: Study
    networks: Mapping[float, Network]
    tasks: tuple[Task, ...]

    @property
    def network(self) -> Network:
        return self.networks[self.study.simulation.timestep]

    def skipped(self, backend: str) -> str | None:
        """Why a backend's runs do not take place here though nothing is wrong, or None."""
        return backends.load(backend).skipped(self.study.options(backend))


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a ``record`` in the store, or an ``error`` sentence and a ``log``.

    A run that did not take place, though nothing is wrong, has neither, but says why in ``skipped``.
    """

    run: Run
    key: str
    record: Mapping[str, Any] | None
    error: str | None = None
    log: Path | None = None
    reused: bool = False
    skipped: str | None = None


# --- Planning ---


def plan(study: Study) -> Plan:
    """Capture the network and work out every run.

    Raises ``RequestError`` when the model cannot be built.
    """
    combinations = study.combinations()
    timesteps = {study.timestep(text) for _, _, text in combinations}
    networks = {}
    for timestep in {study.simulation.timestep} | timesteps:
        networks[timestep] = capture_model(study, timestep)
    fingerprints = {timestep: network.fingerprint() for timestep, network in networks.items()}
    options = {name: study.options(name) for name in study.backend_names()}
    some = networks[study.simulation.timestep]
    threads = {name: backends.load(name).threads(some, options[name]) for name in options}
    requests, estimates = {}, {}
    for _, name, text in combinations:
        number, timestep = study.number_format(text), study.timestep(text)
        n_steps = study.simulation.steps(timestep)
        estimates[name, text] = backends.load(name).estimate(
            networks[timestep], number, options[name], n_steps, timestep
        )
        requests[name, text] = {
            "network": fingerprints[timestep],
            "format": text,
            "timestep": timestep,
            "n_steps": n_steps,
            "backend": name,
            "options": options[name].model_dump(),
            "threads": threads[name],
        }
        if number.fingerprint:
            requests[name, text]["machine"] = number.fingerprint
    tasks = []
    for run in study.runs():
        combination = (run.backend, run.format)
        request = requests[combination] | {"seed": run.seed}
        tasks.append(Task(run, threads[run.backend], estimates[combination], request))
    return Plan(study, networks, tuple(tasks))


def capture_model(study: Study, timestep: float) -> Network:
    """The network that a study's model builds on a grid of ``timestep`` ms.

    Raises ``RequestError`` when the model cannot be built.
    """
    try:
        # what a script prints is not the command's output
        with contextlib.redirect_stdout(sys.stderr):
            return capture(study.build, study.model.parameters, timestep)
    except RequestError as error:
        raise RequestError(f"{study.file}: model.build: {error}") from error


def problems(plan: Plan) -> list[str]:
    """Why the plan cannot be executed here, a sentence each; empty when it can."""
    study, file = plan.study, plan.study.file
    found = []
    reference = study.reference.backend
    if reason := plan.skipped(reference):
        found.append(f"{file}: reference.backend {reference!r}: {reason}")
    for name in study.backend_names():
        if (reason := backends.load(name).available()) and not plan.skipped(name):
            found.append(f"{file}: backend {name!r}: {reason}")
    for _, name, text in study.combinations():
        timestep = study.timestep(text)
        number = study.number_format(text)
        for sentence in backends.refusals(
            backends.load(name), plan.networks[timestep], number, timestep
        ):
            found.append(f"{file}: backend {name!r} with format {text!r}: {sentence}")
    total = psutil.virtual_memory().total
    for name in (n for n in study.backend_names() if not plan.skipped(n)):
        need = max(t.estimate.memory_bytes for t in plan.tasks if t.run.backend == name)
        if need > total:
            found.append(
                f"{file}: a run on {name!r} needs about {need / 2**30:.1f} GiB of memory and this "
                f"machine has {total / 2**30:.1f} GiB, use a smaller network or a larger machine"
            )
    return list(dict.fromkeys(found))


def refuse_problems(plan: Plan) -> None:
    """Raise ``RequestError`` with the first of the `problems`."""
    found = problems(plan)
    if found:
        more = f" (and {len(found) - 1} more, see `portability describe`)" if found[1:] else ""
        raise RequestError(found[0] + more)


def refuse_unwritable(folder: Path) -> None:
    """Raise ``RequestError`` when ``folder`` cannot be made or written; nothing is created."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise RequestError(f"{folder}: cannot be the output folder, {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RequestError(f"{folder}: cannot be the output folder, {existing} is not writable")


def describe(plan: Plan) -> dict[str, Any]:
    """What a study would run, as plain JSON values; synapses are those of the first seed."""
    study, network = plan.study, plan.network
    realization = Realization(network, study.simulation.seeds[0], study.simulation.timestep)
    projections = []
    for p in network.projections:
        count = realization.synapse_count(p.label)
        projections.append(
            {
                "label": p.label,
                "source": p.source,
                "target": p.target,
                "receptor": p.receptor,
                "connector": type(p.connector).__name__,
                "synapses": count,
                "in_degree": count / network.population(p.target).size,
            }
        )
    drives = [
        {
            "label": d.label,
            "target": d.target,
            "receptor": d.receptor,
            "mean_rate": float(realization.drive(d.label).rate.mean()),
            "mean_weight": float(realization.drive(d.label).weight.mean()),
        }
        for d in network.drives
    ]
    runs = []
    for role, backend, text in study.combinations():
        same = [t for t in plan.tasks if (t.run.backend, t.run.format) == (backend, text)]
        estimate = same[0].estimate
        runs.append(
            {
                "role": role,
                "backend": backend,
                "format": text,
                "runs": len(same),
                "threads": same[0].threads,
                "memory_bytes": estimate.memory_bytes,
                "build_seconds": estimate.build_seconds,
                "simulate_seconds": estimate.simulate_seconds,
            }
        )
    cores = available_cores()
    core_seconds = sum(
        (t.estimate.build_seconds + t.estimate.simulate_seconds) * min(t.threads, cores)
        for t in plan.tasks
    )
    return {
        "study": study.name,
        "populations": [
            {
                "label": p.label,
                "size": p.size,
                "cell_type": p.cell_type,
                "recorded": p.recorded,
                "in_degree": sum(q["in_degree"] for q in projections if q["target"] == p.label),
            }
            for p in network.populations
        ],
        "projections": projections,
        "drives": drives,
        "neurons": sum(p.size for p in network.populations if not p.is_source),
        "synapses": sum(p["synapses"] for p in projections),
        "runs": runs,
        "total": {
            "runs": len(plan.tasks),
            "memory_bytes": max(t.estimate.memory_bytes for t in plan.tasks),
            "seconds": core_seconds / cores,
            "cores": cores,
        },
        "problems": problems(plan),
    }


# --- Environment ---


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def host() -> dict[str, Any]:
    """The machine and the interpreter."""
    return {
        "name": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
    }


def environment(backend: str) -> dict[str, Any]:
    """The software that decides the spikes of a run: package versions, a digest of our sources."""
    digest = hashlib.sha256()
    for module in (*_DECIDING_MODULES, backends.module(backend)):
        for source in _sources(module):
            digest.update(source.read_bytes())
    versions = {name: importlib.metadata.version(name) for name in _DECIDING_PACKAGES}
    return {
        "sources": digest.hexdigest(),
        "versions": versions | backends.load(backend).versions(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _sources(module: str) -> list[Path]:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the source of {module} was not found")
    if spec.submodule_search_locations:
        return sorted(Path(spec.origin).parent.rglob("*.py"))
    return [Path(spec.origin)]


# --- Executing ---


def stored(plan: Plan, store: Store) -> tuple[Outcome, ...]:
    """The plan's runs as the store has them, whatever software made them; simulates nothing.

    Raises ``RequestError`` when runs are missing.
    """
    outcomes = []
    missing: dict[str, list[str]] = {}
    for task in plan.tasks:
        if reason := plan.skipped(task.run.backend):
            outcomes.append(Outcome(task.run, "", None, skipped=reason))
        elif record := store.newest(task.request):
            outcomes.append(Outcome(task.run, record["key"], record, reused=True))
        else:
            missing.setdefault(f"{task.run.backend} {task.run.format}", []).append(
                str(task.run.seed)
            )
    if missing:
        names = "; ".join(f"{name} seed {', '.join(seeds)}" for name, seeds in missing.items())
        raise RequestError(
            f"{store.folder}: {len(plan.tasks) - len(outcomes)} of {len(plan.tasks)} runs are "
            f"missing ({names}), `portability run` makes them"
        )
    return tuple(outcomes)


def execute(
    plan: Plan, store: Store, progress: Progress, jobs: int | None = None
) -> tuple[Outcome, ...]:
    """Make every run that the (locked) store does not have; outcomes come in the plan's order.

    At most ``jobs`` simulations run at once. One takes as many cores as it has threads, because
    simulator threads spin at barriers and slow down several times over when they share a core; it
    waits until its cores and its memory are free. On ``KeyboardInterrupt`` running simulations are
    ended; finished runs stay in the store.
    """
    skipped = {name: plan.skipped(name) for name in plan.study.backend_names()}
    environments = {name: environment(name) for name in skipped if not skipped[name]}
    outcomes: dict[Run, Outcome] = {}
    pending: list[tuple[Task, str]] = []
    for task in plan.tasks:
        if reason := skipped[task.run.backend]:
            outcomes[task.run] = Outcome(task.run, "", None, skipped=reason)
            continue
        key = run_key(task.request, environments[task.run.backend])
        if record := store.find(key):
            outcomes[task.run] = Outcome(task.run, key, record, reused=True)
        else:
            pending.append((task, key))
    cores = available_cores()
    total = len(pending)
    overall = progress.add_task("all runs", total=total, phase="")
    running: list[_Worker] = []
    with selectors.DefaultSelector() as selector:
        try:
            while pending or running:
                while (position := _startable(pending, running, cores, jobs)) is not None:
                    task, key = pending.pop(position)
                    worker = _Worker(plan, task, key, environments[task.run.backend], store)
                    worker.line = progress.add_task(worker.label, total=1.0, phase=worker.phase)
                    running.append(worker)
                    selector.register(worker.process.pipe, selectors.EVENT_READ, worker)
                for selected, _ in selector.select():
                    worker = selected.data
                    if worker.read():
                        progress.update(worker.line, completed=worker.fraction, phase=worker.phase)
                    else:
                        selector.unregister(worker.process.pipe)
                        running.remove(worker)
                        outcomes[worker.task.run] = worker.outcome()
                        progress.remove_task(worker.line)
                done = total - len(pending) - len(running)
                partly = sum(worker.fraction for worker in running)
                progress.update(overall, completed=done + partly, phase=f"{done} of {total} done")
        finally:
            for worker in running:
                worker.end()
            progress.remove_task(overall)
    return tuple(outcomes[task.run] for task in plan.tasks)


def summary(outcomes: Sequence[Outcome], store: Store) -> str:
    """How many runs were simulated, reused and failed, in one line."""
    reused = sum(outcome.reused for outcome in outcomes)
    skipped = sum(outcome.skipped is not None for outcome in outcomes)
    failed = sum(outcome.error is not None for outcome in outcomes)
    rest = "".join(f", {n} {word}" for n, word in ((failed, "failed"), (skipped, "not run")) if n)
    if reused == len(outcomes) - skipped:
        what = f"all {reused} runs" if not skipped else f"{reused} runs{rest}"
        return f"nothing simulated: {store.folder} already has {what}"
    done = len(outcomes) - reused - failed - skipped
    return f"{store.folder}: {done} of {len(outcomes)} runs simulated, {reused} reused{rest}"


def progress_display(console: Console) -> Progress:
    """Progress of all runs and of each running one, on a terminal; nothing in a pipe."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[phase]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _startable(
    pending: Sequence[tuple[Task, str]], running: Sequence[_Worker], cores: int, jobs: int | None
) -> int | None:
    """Position of the first pending run that can start beside the running ones."""
    if not running:
        return 0 if pending else None
    if jobs is not None and len(running) >= jobs:
        return None
    free_cores = cores - sum(min(worker.task.threads, cores) for worker in running)
    # running simulations will still grow to what they were estimated to need
    free_memory = psutil.virtual_memory().available - sum(
        max(0.0, worker.task.estimate.memory_bytes - worker.process.memory()) for worker in running
    )
    for position, (task, _) in enumerate(pending):
        fits = min(task.threads, cores) <= free_cores
        if fits and task.estimate.memory_bytes <= free_memory:
            return position
    return None


class _Process:
    """A subprocess that runs ``main()`` of a module, which hands its work to `worker.serve`.

    It reports JSON lines on ``pipe`` (a file descriptor), a pipe of its own; whatever it prints goes
    to the file ``log``. ``variables`` are added to its environment.
    """

    def __init__(
        self,
        module: str,
        specification: Mapping[str, Any],
        scratch: Path,
        variables: Mapping[str, str],
    ) -> None:
        self.log = scratch / "log"
        self._unread = b""
        self.pipe, write_end = os.pipe()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                # python puts the working directory first on its path, so it must be an empty one
                [sys.executable, "-c", f"from {module} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=os.environ | variables,
                pass_fds=(write_end,),
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        os.close(write_end)
        assert self._process.stdin is not None
        # stays open: its end tells the subprocess that this process is gone
        with contextlib.suppress(BrokenPipeError):
            line = json.dumps({**specification, "pipe": write_end})
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def memory(self) -> int:
        """Resident memory in bytes."""
        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.Error:
            return 0

    def reports(self) -> list[Mapping[str, Any]] | None:
        """The next reports, as soon as something comes; None when it has closed its pipe."""
        block = os.read(self.pipe, 2**16)
        *lines, self._unread = (self._unread + block).split(b"\n")
        return [json.loads(line) for line in lines] if block else None

    def wait(self) -> int:
        """The exit code of a process that has closed its pipe, as `subprocess` gives it."""
        try:
            returncode = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            returncode = self._process.wait()
        os.close(self.pipe)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return returncode

    def end(self) -> None:
        """Stop it."""
        # the whole group: a simulator may have started a compiler
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self.wait()


class _Worker:
    """A run in a subprocess and what it has reported so far; its log is kept when it fails."""

    line: TaskID

    def __init__(
        self, plan: Plan, task: Task, key: str, environment: Mapping[str, Any], store: Store
    ) -> None:
        self.task = task
        self.label = f"{task.run.backend} {task.run.format} seed {task.run.seed}"
        self.phase = "starting"
        self.fraction = 0.0
        self._key = key
        self._store = store
        self._error: str | None = None
        self._scratch = store.make_scratch(key)
        model = plan.study.model
        specification = {
            "store": str(store.folder.resolve()),
            "key": key,
            "request": task.request,
            "environment": environment,
            "model": {
                "build": model.build,
                "base": str(plan.study.file.parent.resolve()),
                "parameters": model.parameters,
            },
            "directory": str(Path.cwd()),  # in which the model was captured
        }
        threads = {"OMP_NUM_THREADS": str(task.threads), "NUMBA_NUM_THREADS": str(task.threads)}
        self.process = _Process(
            "pynn_portability.run.worker", specification, self._scratch, threads
        )

    def read(self) -> bool:
        """Take in what was reported; False when the subprocess has closed its pipe."""
        reports = self.process.reports()
        for report in reports or ():
            self.phase = report.get("phase", self.phase)
            self.fraction = report.get("fraction", self.fraction)
            self._error = report.get("error", self._error)
        return reports is not None

    def outcome(self) -> Outcome:
        """What became of the run, once the pipe is closed."""
        returncode = self.process.wait()
        run = self.task.run
        logs = self._store.folder / "logs"
        log = logs / f"{self._key}.log"
        record = self._store.find(self._key)
        if record is not None:
            log.unlink(missing_ok=True)  # of an earlier attempt
            outcome = Outcome(run, self._key, record)
        else:
            error = self._error or _last_words(self.process.log, returncode)
            logs.mkdir(exist_ok=True)
            shutil.move(self.process.log, log)
            outcome = Outcome(run, self._key, None, error, log)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return outcome

    def end(self) -> None:
        """Stop the run and forget it."""
        self.process.end()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _last_words(log: Path, returncode: int) -> str:
    """One sentence on why a worker ended without saying so itself."""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"the simulation was ended by the signal {name}{hint}"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "it printed nothing")
    return f"the simulation ended with exit code {returncode}: {said[:300]}"


def ask(
    module: str,
    specification: Mapping[str, Any],
    progress: Callable[[Mapping[str, Any]], None],
) -> Any:
    """The ``result`` that ``main()`` of a module reports from a process of its own.

    The module hands `worker.serve` what to do with the specification (plain JSON values); ``progress``
    is given every report. Raises ``RequestError``, in one sentence, when there is no result.
    """
    result, error = None, None
    with tempfile.TemporaryDirectory(prefix="portability-") as scratch:
        process = _Process(module, specification, Path(scratch), {})
        try:
            while (reports := process.reports()) is not None:
                for report in reports:
                    result, error = report.get("result", result), report.get("error", error)
                    progress(report)
        except BaseException:
            process.end()
            raise
        returncode = process.wait()
        if result is None:
            raise RequestError(error or _last_words(process.log, returncode))
    return result
