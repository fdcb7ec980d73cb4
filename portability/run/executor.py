"""Making the runs of a plan: what is missing in the store is submitted to an executor.

An executor takes jobs, which are plain JSON values, and gives an outcome for each. Whatever becomes of
a job, be it a crash, a hang or a full disk, is the outcome of that run and ends no other. The store is the
truth: a run has succeeded when it is there.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pynn_portability.errors import RequestError
from pynn_portability.run import networks
from pynn_portability.run.environment import environment
from pynn_portability.run.events import Advanced, Began, Ended, Event, Listener
from pynn_portability.run.local import LocalExecutor
from pynn_portability.run.outcome import Job, Outcome
from pynn_portability.run.plan import Plan, Task
from pynn_portability.run.record import Environment, RunRecord
from pynn_portability.run.store import Store, run_key
from pynn_portability.run.study import Run, shareable

ALL_RUNS = "all runs"

TIME_LIMIT_FACTOR, TIME_LIMIT_SECONDS = 20.0, 600.0
"""The time limit of a run is so many times its estimate, and so many seconds."""


class Executor(AbstractContextManager["Executor"], Protocol):
    """Where simulations run. Leaving its context ends what is still running."""

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a job, now or later; the future never raises but for cancellation."""


def stored(plan: Plan, store: Store) -> tuple[Outcome, ...]:
    """The plan's runs as the store has them, whatever software made them; simulates nothing.

    Raises ``RequestError`` when runs are missing.
    """
    outcomes = []
    missing: dict[str, list[str]] = {}
    for run in plan.waiting:
        missing.setdefault(f"{run.backend} {run.format}", []).append(str(run.seed))
    for task in plan.tasks:
        if reason := plan.skipped(task.run.backend):
            outcomes.append(Outcome(task.run, "", None, skipped=reason))
        elif record := store.newest(task.request):
            outcomes.append(Outcome(task.run, record.key, record, reused=True))
        else:
            missing.setdefault(f"{task.run.backend} {task.run.format}", []).append(
                str(task.run.seed)
            )
    if missing:
        names = "; ".join(f"{name} seed {', '.join(seeds)}" for name, seeds in missing.items())
        raise RequestError(
            f"{store.folder}: {sum(map(len, missing.values()))} of "
            f"{len(plan.tasks) + len(plan.waiting)} runs are "
            f"missing ({names}), `portability run` makes them"
        )
    return tuple(outcomes)


def stored_reference(plan: Plan, store: Store) -> dict[int, RunRecord]:
    """The runs of the reference that the store has, by seed."""
    found = {t.run.seed: store.newest(t.request) for t in plan.tasks if t.run.role == "reference"}
    return {seed: record for seed, record in found.items() if record}


def keys(plan: Plan) -> dict[Run, str]:
    """What the plan's runs are found by in a store, made with the software that is here."""
    environments = _environments(plan)
    return {
        task.run: _key(task, environments[task.run.backend])
        for task in plan.tasks
        if task.run.backend in environments
    }


def _environments(plan: Plan) -> dict[str, Environment]:
    """The software of every backend whose runs take place here."""
    names = plan.study.backend_names()
    return {name: environment(name) for name in names if not plan.skipped(name)}


def _key(task: Task, software: Environment) -> str:
    return run_key(task.request, software.model_dump())


def execute(
    plan: Plan,
    store: Store,
    listener: Listener,
    jobs: int | None = None,
    executor: Executor | None = None,
) -> tuple[Outcome, ...]:
    """Make every run that the (locked) store does not have; outcomes come in the plan's order.

    Runs take place on this machine, at most ``jobs`` at once, or where another ``executor`` has them. On
    any exception running simulations are ended; finished runs stay in the store.
    """
    environments = _environments(plan)
    outcomes: dict[Run, Outcome] = {}
    pending: list[Job] = []
    for task in plan.tasks:
        if task.run.backend not in environments:
            reason = plan.skipped(task.run.backend)
            outcomes[task.run] = Outcome(task.run, "", None, skipped=reason)
            continue
        software = environments[task.run.backend]
        key = _key(task, software)
        if record := store.find(key):
            outcomes[task.run] = Outcome(task.run, key, record, reused=True)
        else:
            specification = _specification(plan, store, task, key, software)
            pending.append(Job(task, key, specification, time_limit(plan, task)))
    # once each, as most runs have the same; workers read them from the store
    for network in {j.task.request["network"]: j.task.network for j in pending}.values():
        networks.keep(network, store.folder)
    progress = _Overall(len(pending), listener)
    with executor or LocalExecutor(store, progress, jobs) as chosen:
        for future in as_completed([chosen.submit(job) for job in pending]):
            outcome = future.result()
            outcomes[outcome.run] = outcome
            progress.finished()
    progress.end()
    return tuple(outcomes[task.run] for task in plan.tasks)


class _Overall:
    """Passes events of single runs on, and adds those of all runs together.

    Runs tell their events from threads of their own; the listener hears one at a time.
    """

    def __init__(self, total: int, listener: Listener) -> None:
        self._total, self._done = total, 0
        self._parts: dict[str, float] = {}
        self._listener = listener
        self._lock = threading.Lock()
        listener(Began(ALL_RUNS, total))

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._listener(event)
            if isinstance(event, Advanced) and event.done is not None:
                self._parts[event.work] = event.done
            elif isinstance(event, Ended):
                self._parts.pop(event.work, None)
            self._tell()

    def finished(self) -> None:
        """Another run has an outcome."""
        with self._lock:
            self._done += 1
            self._tell()

    def end(self) -> None:
        """There are no more."""
        self._listener(Ended(ALL_RUNS))

    def _tell(self) -> None:
        done = self._done + sum(self._parts.values())
        self._listener(Advanced(ALL_RUNS, done, f"{self._done} of {self._total} done"))


def time_limit(plan: Plan, task: Task) -> float:
    """Seconds after which a run has failed: the study's, otherwise far more than is expected."""
    expected = task.estimate.build_seconds + task.estimate.simulate_seconds
    return plan.study.simulation.timeout or TIME_LIMIT_FACTOR * expected + TIME_LIMIT_SECONDS


def _specification(
    plan: Plan, store: Store, task: Task, key: str, software: Environment
) -> dict[str, Any]:
    """All that a worker needs to know, as plain JSON values."""
    model = plan.study.model
    stock = {"script": str(plan.study.script), "directory": str(Path.cwd())} if model.stock else {}
    return {
        **stock,
        "store": str(store.folder.resolve()),
        "key": key,
        "request": dict(task.request),
        "environment": software.model_dump(),
        "keep_host": plan.study.study.keep_host,
        "model": {
            "build": shareable(model.reference),
            "base": str(plan.study.base.resolve()),
            "parameters": model.parameters,
        },
    }


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
