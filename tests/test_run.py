"""Executors, events and the environment of runs: what one run does to itself and never to others."""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from progress_lines import without_progress

import pynn_portability
from pynn_portability import terminal
from pynn_portability.backends import Estimate
from pynn_portability.model.network import Network
from pynn_portability.run import environment as environment_module
from pynn_portability.run import executor as executor_module
from pynn_portability.run import local
from pynn_portability.run.environment import environment
from pynn_portability.run.events import Advanced, Began, Ended, Event, ignore
from pynn_portability.run.local import LocalExecutor
from pynn_portability.run.outcome import Job
from pynn_portability.run.plan import Task
from pynn_portability.run.process import Process
from pynn_portability.run.store import Store
from pynn_portability.run.study import Run

WORK = """
import os, signal, sys, time
from pynn_portability.run.process import serve

def work(specification, report):
    how = specification["how"]
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        print("out of luck")
        sys.stdout.flush()
        os._exit(7)
    if how == "raise":
        raise OSError("disk full")
    if how == "leave":
        sys.exit(0)
    if how == "nonsense":
        os.write(specification["pipe"], b"\\xff\\x00 no report\\n")
        time.sleep(100)
    if how == "no table":
        os.write(specification["pipe"], b"[1, 2]\\n")
        time.sleep(100)
    if how == "without end":
        while True:
            os.write(specification["pipe"], b"9" * 2**16)
    if how == "deep":
        os.write(specification["pipe"], b"[" * 10**6 + b"\\n")
        time.sleep(100)
    if how == "closed pipe":
        os.close(specification["pipe"])
        time.sleep(100)
    if how == "hang":
        report({"phase": "thinking"})
        time.sleep(100)
    if how == "talk":
        while True:
            report({"phase": "talking"})
    if how == "print":
        for i in range(300):
            print("x" * 10**6)
        print("the last line", flush=True)
        os._exit(3)
    if how == "without scratch":
        import shutil
        shutil.rmtree(os.getcwd())
        raise OSError("my folder is gone")
    if how == "child":
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        report({"phase": f"child {child.pid}"})
        raise OSError("left alone")
    report({"phase": "simulating", "fraction": 0.5})
    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        report({"phase": "deaf"})
        time.sleep(100)

def main():
    serve(work)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A locked store; jobs on this machine do what their specification says instead of simulating."""
    (tmp_path / "scripted.py").write_text(WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def scripted(
        module: str, specification: Mapping[str, Any], scratch: Path, variables: Mapping[str, str]
    ) -> Process:
        return Process("scripted", specification, scratch, variables)

    monkeypatch.setattr(local, "Process", scripted)
    made = Store(tmp_path / "out")
    with made.locked():
        yield made


def job(how: str, seed: int = 1, memory: float = 0.0, seconds: float = 90.0) -> Job:
    run = Run("candidate", "emulator", "double", seed)
    task = Task(run, Network((), ()), 1, Estimate(memory, 0.0, 0.0), {})
    return Job(task, f"{how}-{seed}", {"how": how}, seconds)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("crash", "SIGSEGV"),
        ("exit", "exit code 7: out of luck"),
        ("raise", "OSError: disk full"),
        ("nothing", "exit code 0"),
        ("leave", "SystemExit: 0"),
        ("nonsense", "no report"),
        ("no table", "no report"),
        ("without end", "no report"),
        ("deep", "no report"),
        ("closed pipe", "SIGKILL"),
        ("print", "exit code 3: the last line"),
    ],
)
def test_a_run_that_fails_is_an_outcome_with_a_log(store: Store, how: str, words: str) -> None:
    with LocalExecutor(store, ignore) as executor:
        outcome = executor.submit(job(how)).result()
    assert outcome.record is None
    assert outcome.error is not None and words in outcome.error
    assert outcome.log is not None and outcome.log.exists()
    assert list(store.runs.iterdir()) == []


def test_a_log_keeps_the_beginning_and_the_end(store: Store) -> None:
    with LocalExecutor(store, ignore) as executor:
        outcome = executor.submit(job("print")).result()
    assert outcome.log is not None
    text = outcome.log.read_text()
    assert 2 * 2**20 < len(text) < 2.1 * 2**20
    assert text.endswith("the last line\n")
    left_out = 300 * (10**6 + 1) + len("the last line\n") - 2 * 2**20
    assert f"... ({left_out} bytes are left out)" in text


def test_a_run_has_a_time_limit(store: Store) -> None:
    with LocalExecutor(store, ignore, 2) as executor:
        slow, quick = (executor.submit(job(how, 1, 0.0, 4.0)) for how in ("hang", "raise"))
        assert "OSError" in str(quick.result().error)
        error = str(slow.result().error)
    assert "ended after 4 s, thinking" in error
    assert "simulation.timeout" in error


def test_a_run_that_never_stops_reporting_has_a_time_limit_too(store: Store) -> None:
    with LocalExecutor(store, ignore) as executor:
        outcome = executor.submit(job("talk", seconds=4.0)).result(60)
    assert "ended after 4 s, talking" in str(outcome.error)


def test_a_run_whose_folder_is_removed_is_an_outcome(store: Store) -> None:
    with LocalExecutor(store, ignore) as executor:
        outcome = executor.submit(job("without scratch")).result()
    assert (outcome.error, outcome.log) == ("OSError: my folder is gone", None)


def test_what_a_run_has_started_ends_with_it(store: Store) -> None:
    children: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, Advanced) and event.phase.startswith("child "):
            children.append(int(event.phase.split()[1]))

    with LocalExecutor(store, listener) as executor:
        assert "left alone" in str(executor.submit(job("child")).result().error)
    assert len(set(children)) == 1
    deadline = time.monotonic() + 60
    # nobody may be left to collect it, so that it stays as a zombie
    while psutil.pid_exists(children[0]) and (
        psutil.Process(children[0]).status() != psutil.STATUS_ZOMBIE
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_that_cannot_be_started_is_an_outcome(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes = store.make_scratch

    def make_scratch(key: str) -> Path:
        if key == "crash-1":
            raise FileExistsError("in the way")
        return makes(key)

    monkeypatch.setattr(store, "make_scratch", make_scratch)
    with LocalExecutor(store, ignore, 1) as executor:
        first, second = (executor.submit(job("crash", seed)) for seed in (1, 2))
        assert "FileExistsError" in str(first.result().error)
        assert "SIGSEGV" in str(second.result().error)


def test_a_log_that_cannot_be_kept_does_not_hide_the_error(store: Store) -> None:
    (store.folder / "logs").write_text("a file where the folder of logs should be")
    with LocalExecutor(store, ignore) as executor:
        outcome = executor.submit(job("raise")).result()
    assert (outcome.error, outcome.log) == ("OSError: disk full", None)


def test_trouble_of_the_listener_is_no_trouble_of_runs(store: Store) -> None:
    def broken(event: Event) -> None:
        raise BrokenPipeError

    with LocalExecutor(store, broken, 1) as executor:
        futures = [executor.submit(job("raise", seed)) for seed in (1, 2, 3)]
        errors = {future.result(60).error for future in futures}
    assert errors == {"OSError: disk full"}


def test_leaving_ends_a_simulation_that_does_not_listen(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pynn_portability.run.process._GRACE_SECONDS", 0.5)
    deaf = threading.Event()

    def listener(event: Event) -> None:
        if isinstance(event, Advanced) and event.phase == "deaf":
            deaf.set()

    with LocalExecutor(store, listener) as executor:
        future = executor.submit(job("deaf"))
        assert deaf.wait(60)
        left = time.monotonic()
    assert time.monotonic() - left < 30
    assert "SIGKILL" in str(future.result().error)
    assert list(store.runs.iterdir()) == []


def test_jobs_at_once_and_memory(store: Store) -> None:
    under_way: set[str] = set()
    most = 0

    def listener(event: Event) -> None:
        nonlocal most
        if isinstance(event, Began):
            under_way.add(event.work)
            most = max(most, len(under_way))
        elif isinstance(event, Ended):
            under_way.discard(event.work)

    # more memory than any machine has: such runs take place one by one
    for jobs, memory in ((1, 0.0), (None, 1e18)):
        with LocalExecutor(store, listener, jobs) as executor:
            futures = [executor.submit(job("raise", seed, memory)) for seed in (1, 2, 3)]
            assert all(future.result(60).error for future in futures)
        assert (most, under_way) == (1, set())


def test_runs_begin_in_the_order_they_came(store: Store) -> None:
    begun: list[str] = []

    def listener(event: Event) -> None:
        if isinstance(event, Began):
            begun.append(event.work)

    jobs = [job("raise", seed) for seed in range(1, 7)]
    with LocalExecutor(store, listener, 1) as executor:
        for future in [executor.submit(one) for one in jobs]:
            future.result(60)
    assert begun == [one.name for one in jobs]


def test_events_of_all_runs_from_many_threads() -> None:
    told: list[Event] = []
    overall = executor_module._Overall(8, told.append)

    def work(name: str) -> None:
        overall(Began(name, 1.0))
        for step in range(200):
            overall(Advanced(name, step / 200, "simulating"))
        overall(Ended(name))
        overall.finished()

    threads = [threading.Thread(target=work, args=(f"run {i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    overall.end()
    assert told[0] == Began(executor_module.ALL_RUNS, 8)
    assert told[-2:] == [
        Advanced(executor_module.ALL_RUNS, 8.0, "8 of 8 done"),
        Ended(executor_module.ALL_RUNS),
    ]


# --- What draws events ---


def test_lines_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    now = 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    with terminal.Display() as display:
        display(Began("all runs", 2))
        display(Advanced("all runs", 0.0, "0 of 2 done"))
        assert capsys.readouterr().err == ""  # short work says nothing
        now += terminal.SECONDS_BETWEEN_LINES
        display(Advanced("all runs", 1.0, "1 of 2 done"))
        assert capsys.readouterr().err == "all runs: 1 of 2 done\n"
        display(Advanced("all runs", 1.5, "1 of 2 done"))
        display(Ended("all runs"))
    assert capsys.readouterr() == ("", "")


def test_rich_is_imported_by_the_terminal_only() -> None:
    folder = Path(pynn_portability.__file__ or pynn_portability.__path__[0])
    importing = set()
    for file in (folder.parent if folder.is_file() else folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == "rich" for name in names):
                importing.add(file.name)
    assert importing == {"terminal.py"}


# --- The software that decides the spikes ---

DECIDING = '''"""A module."""


def scale(weight):
    """Weights as they are."""
    return 2.0 * weight
'''


def test_words_keep_the_key_and_code_changes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deciding_example.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = (*environment_module._DECIDING_MODULES, "deciding_example")
    monkeypatch.setattr(environment_module, "_DECIDING_MODULES", modules)

    def sources(text: str) -> str:
        file.write_text(text)
        return environment("emulator").sources

    before = sources(DECIDING)
    for old, new in (
        ("Weights as they are.", "Twice the weights."),
        ("    return", "    # twice\n\n    return"),
        ('"""A module."""\n', ""),
    ):
        assert sources(DECIDING.replace(old, new)) == before
    assert sources(DECIDING.replace("2.0", "2.5")) != before


def test_deciding_modules_are_there_and_hold_code() -> None:
    for module in environment_module._DECIDING_MODULES:
        assert environment_module.source_files(module)


def test_lines_of_progress_are_told_from_warnings() -> None:
    text = (
        "all runs: 1 of 2 done; nest double seed 1: simulating\nWarning: odd\njudging\njudging x\n"
    )
    assert without_progress(text) == "Warning: odd\njudging x\n"
