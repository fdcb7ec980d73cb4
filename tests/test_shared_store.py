"""Many processes and one folder: leases, runs that are made in pieces, job arrays with and without SLURM."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import CODE
from command_line import portability as in_folder
from test_store import record, spikes

import pynn_portability as pp
from pynn_portability.errors import RequestError
from pynn_portability.run import lease
from pynn_portability.run.lease import Lease
from pynn_portability.run.store import Store

# not the repository's folder, which would shadow the installed package
HERE = Path(__file__).parent

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
"""On which the command of these tests is found."""

STUDY = """
[study]
name = "pieces"
[model]
build = "balanced"
neurons = 200
inputs = 20
[simulation]
duration = 500.0
warmup = 50.0
seeds = [1, 2, 3]
[reference]
backend = "emulator"
[[candidate]]
backend = "emulator"
format = "naive-2"
"""
SMALLER = STUDY.replace('format = "naive-2"', 'scaling = "K=0.5:sqrt"')


def portability(*arguments: object) -> subprocess.CompletedProcess[str]:
    return in_folder(HERE, *map(str, arguments))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    return file


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


# --- Leases ---


def test_one_holds_it_until_it_is_released(runs: Path) -> None:
    first, second = Lease(runs, "k"), Lease(runs, "k")
    assert first.take()
    assert not second.take()
    assert second.holder() == f"process {os.getpid()} on {socket.gethostname()}"
    assert lease.alive(runs) == {"k"}
    first.release()
    assert list(runs.iterdir()) == []
    assert second.take()
    second.release()


def test_that_of_a_dead_process_is_free_at_once(runs: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pynn_portability.run.lease import Lease\n"
        "assert Lease(Path(sys.argv[1]), 'k').take(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(runs)], check=False, cwd=HERE)
    assert [f.name for f in runs.iterdir()] == [".making-k"]
    mine = Lease(runs, "k")
    assert mine.holder() is None
    assert mine.take()
    mine.release()
    assert list(runs.iterdir()) == []


ELSEWHERE = {"host": "node7", "machine": "another", "space": "", "process": 1, "since": 0.0}


@pytest.mark.parametrize(
    ("content", "holder"),
    [
        (json.dumps(ELSEWHERE), "process 1 on node7"),
        ("", "another process"),
        ("[]", "another process"),
        ('{"host": 1}', "another process"),
    ],
)
def test_that_of_another_machine_is_free_when_it_is_not_touched(
    runs: Path, content: str, holder: str
) -> None:
    file = runs / ".making-k"
    file.write_text(content)
    mine = Lease(runs, "k")
    assert mine.holder() == holder
    assert not mine.take()
    old = time.time() - lease.STALE - 5
    os.utime(file, (old, old))
    assert mine.take()
    mine.release()


def test_it_is_touched_while_it_is_held(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT", 0.05)
    mine = Lease(runs, "k")
    assert mine.take()
    os.utime(runs / ".making-k", (0.0, 0.0))
    limit = time.monotonic() + 30
    while (runs / ".making-k").stat().st_mtime == 0 and time.monotonic() < limit:
        time.sleep(0.01)
    assert (runs / ".making-k").stat().st_mtime > 0
    mine.release()


def test_one_that_was_taken_over_is_not_removed_by_its_former_holder(runs: Path) -> None:
    first = Lease(runs, "k")
    assert first.take()
    (runs / ".making-k").unlink()
    second = Lease(runs, "k")
    assert second.take()
    first.release()
    assert (runs / ".making-k").exists()
    second.release()


# --- One store, many writers ---


def test_of_runs_that_are_stored_at_once_one_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed: list[Exception] = []

    def add() -> None:
        try:
            Store(tmp_path).add(record("k1"), spikes(1))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert store.find("k1") is not None
    assert [p.name for p in store.runs.iterdir()] == ["k1"]


def test_what_is_being_made_is_not_cleared_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    made = store.lease("k1")
    assert made.take()
    scratch, left = store.make_scratch("k1"), store.make_scratch("k2")
    with store.locked():
        assert scratch.exists()
        assert not left.exists()
    made.release()
    with store.locked():
        assert not scratch.exists()


# --- Runs in pieces ---


def scores(folder: Path) -> list[Any]:
    return [c["scores"] for c in json.loads((folder / "results.json").read_text())["candidates"]]


def test_pieces_that_overlap_are_made_once_and_judged_as_a_whole(
    study: Path, tmp_path: Path
) -> None:
    whole = portability("run", study, "--out", tmp_path / "whole")
    command = [sys.executable, "-c", CODE, "run", str(study), "--jobs", "1"]
    pieces = [
        subprocess.Popen(
            [*command, "--out", str(tmp_path / "out"), "--only", only],
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        for only in ("0-3", "2-5")
    ]
    printed = "".join(piece.communicate()[0] for piece in pieces)
    assert [piece.returncode for piece in pieces] == [0, 0]
    assert printed.count(": simulated, ") == 6
    assert printed.count(": was there, ") == 2
    assert not (tmp_path / "out" / "results.json").exists()
    report = portability("report", study, "--out", tmp_path / "out")
    assert report.returncode == whole.returncode
    assert scores(tmp_path / "out") == scores(tmp_path / "whole")


def test_a_run_is_named_by_its_key(study: Path, tmp_path: Path) -> None:
    loaded = pp.Study.load(study)
    (first,) = loaded.simulate(["5"], tmp_path / "out", progress=False)
    (again,) = loaded.simulate([first.key[:10]], tmp_path / "out", progress=False)
    assert (again.key, again.reused, again.run.seed) == (first.key, True, 3)


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("6", "allowed are numbers from 0 to 5"),
        ("3-1", "allowed are numbers from 0 to 5"),
        ("abc", "no number of a run"),
        ("abcdefabcdef", "no key of one"),
        ("-1", "no number of a run"),
        ("", "no number of a run"),
    ],
)
def test_what_names_no_run(study: Path, tmp_path: Path, only: str, words: str) -> None:
    refused = portability("run", study, "--out", tmp_path / "out", f"--only={only}")
    assert refused.returncode == 2
    assert words in refused.stderr
    assert not (tmp_path / "out" / "runs").exists()


def test_smaller_networks_come_after_the_reference(study: Path, tmp_path: Path) -> None:
    study.write_text(SMALLER)
    loaded = pp.Study.load(study)
    with pytest.raises(RequestError, match="have to be made first"):
        loaded.simulate(["3"], tmp_path / "out", progress=False)
    loaded.simulate(["0-2"], tmp_path / "out", progress=False)
    outcomes = loaded.simulate(["3-5"], tmp_path / "out", progress=False)
    assert all(outcome.record for outcome in outcomes)


# --- Job arrays ---


def test_every_task_of_the_array_makes_a_run(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "with a space"
    made = portability("script", study, "--slurm", "--out", out)
    assert made.returncode == 0
    (tmp_path / "job.sh").write_text(made.stdout)
    assert "#SBATCH --array=0-5\n" in made.stdout
    assert re.search(r"^#SBATCH --mem=\d+M$", made.stdout, re.MULTILINE)
    assert "# 3-5: candidate, emulator naive-2\n" in made.stdout
    for task in range(6):
        done = subprocess.run(
            ["bash", str(tmp_path / "job.sh")],
            env={**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "PATH": PATH},
            capture_output=True,
            text=True,
            check=False,
            cwd=HERE,
        )
        assert done.returncode == 0, done.stderr
    assert "6 runs" in portability("run", study, "--out", out).stdout


def test_networks_that_wait_take_two_scripts(study: Path) -> None:
    study.write_text(SMALLER)
    refused = portability("script", study, "--slurm")
    assert refused.returncode == 2
    assert "--dependency=afterok" in refused.stderr
    first, second = (
        portability("script", study, "--slurm", "--part", part).stdout
        for part in ("reference", "candidates")
    )
    assert "#SBATCH --array=0-2\n" in first
    assert "#SBATCH --array=3-5\n" in second


def test_templates(study: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.sh"
    template.write_text("#$ -t @array@\nmodule load ${SITE} {x}\n@command@ # @cpus@\n")
    made = portability("script", study, "--slurm", "--template", template)
    assert made.returncode == 0
    assert "#$ -t 0-5\nmodule load ${SITE} {x}\n" in made.stdout
    for text, words in (
        ("@command@ @walltime@", "@walltime@ is not known; allowed are @name@"),
        ("echo", "has no @command@"),
    ):
        template.write_text(text)
        refused = portability("script", study, "--slurm", "--template", template)
        assert (refused.returncode, words in refused.stderr) == (2, True)
    missing = portability("script", study, "--slurm", "--template", tmp_path / "none")
    assert "cannot be read" in missing.stderr
    assert "there is --slurm" in portability("script", study).stderr


@pytest.mark.skipif(
    shutil.which("sbatch") is None
    or subprocess.run(["sinfo"], capture_output=True, check=False).returncode != 0,
    reason="there is no SLURM",
)
def test_slurm_makes_the_study(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = portability("script", study, "--slurm", "--out", out)
    (tmp_path / "job.sh").write_text(made.stdout)
    subprocess.run(
        ["sbatch", "--wait", str(tmp_path / "job.sh")],
        check=True,
        timeout=600,
        env={**os.environ, "PATH": PATH},
    )
    assert portability("report", study, "--out", out).returncode in (0, 1, 3)
    portability("run", study, "--out", tmp_path / "local")
    assert scores(out) == scores(tmp_path / "local")
