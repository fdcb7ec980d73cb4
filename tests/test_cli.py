"""The command line with real parts: a small PyNN script, real simulators, real files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import disturbed_backend
import h5py
import psutil
import pytest
from progress_lines import without_progress

from pynn_portability import backends, cli
from pynn_portability.files import file_hash
from pynn_portability.run import plan
from pynn_portability.run.process import ask
from pynn_portability.run.store import Store
from pynn_portability.spikes.data import PopulationSpikes, SpikeData
from pynn_portability.spikes.sonata import read_sonata

SIMULATORS = [name for name in backends.names() if backends.load(name).available() is None]
# the emulator needs no installation, so there always is one
BACKEND = SIMULATORS[0]
MODEL = r"""
import os

def build(sim, n=12, weight=0.5, changing=False):
    exc = sim.Population(n, sim.IF_curr_exp(i_offset=0.9), label="E")
    inh = sim.Population(6, sim.IF_curr_exp(), label="I")
    noise = sim.Population(n, sim.SpikeSourcePoisson(rate=1500.0), label="noise")
    normal = sim.RandomDistribution("normal", mu=weight, sigma=0.1 * weight)
    sim.Projection(noise, exc, sim.OneToOneConnector(), sim.StaticSynapse(weight=weight, delay=1.0))
    sim.Projection(exc, inh, sim.FixedNumberPreConnector(5), sim.StaticSynapse(weight=normal, delay=1.5))
    sim.Projection(inh, exc, sim.FixedTotalNumberConnector(24),
                   sim.StaticSynapse(weight=-weight, delay=0.5), receptor_type="inhibitory")
    exc.record("spikes")
    inh.record("spikes")
    if changing:
        inh.set(i_offset=0.001 * os.getpid())
"""

STUDY = f"""\
[study]
name = "tiny"
[model]
build = "model.py:build"
[simulation]
duration = 40.0
warmup = 10.0
seeds = [1, 2, 3]
[reference]
backend = "{BACKEND}"
format = "double"
[[candidate]]
backend = "{BACKEND}"
format = "naive-1"
"""


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Command = Callable[..., Ended]


def write_study(folder: Path, *changes: tuple[str, str]) -> None:
    (folder / "model.py").write_text(MODEL)
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "study.toml").write_text(text)


def without_candidate(seeds: str) -> tuple[tuple[str, str], ...]:
    return (STUDY[STUDY.index("[[candidate]]") :], ""), ("[1, 2, 3]", seeds)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a study and its model."""
    write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["portability", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder in which the study has been run, and how that went. Tests use copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    write_study(folder)
    return folder, subprocess.run(
        [*CONSOLE_SCRIPT, "run", "study.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


CONSOLE_SCRIPT = [sys.executable, "-c", "from pynn_portability.cli import main; main()"]


def everything(folder: Path) -> dict[str, int]:
    """All files and folders with their times, except for Python's own cache of the model script."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts and path != folder
    }


def assert_refused(ended: Ended, *words: str) -> None:
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert [word for word in words if word not in ended.err] == [], ended.err


# --- A study from file to verdict ---


def test_run_writes_results_and_nothing_else(
    finished: tuple[Path, subprocess.CompletedProcess],
) -> None:
    folder, process = finished
    out = folder / "results" / "tiny"
    assert {p.name for p in out.iterdir()} == {
        ".lock", "networks", "runs", "results.json", "junit.xml", "report.html",
    }  # fmt: skip
    assert len(list(out.glob("runs/*/spikes.h5"))) == len(list(out.glob("runs/*"))) == 6
    # in a pipe, progress is a line now and then
    for line in process.stderr.splitlines():
        assert re.match(
            r"all runs: \d of 6 done|running the model|judging: |drawing the report", line
        ), line
    lines = process.stdout.strip().splitlines()
    assert lines[0] == "results/tiny: 6 of 6 runs simulated, 0 reused"
    assert lines[-1] == "report: results/tiny/report.html"
    assert len(lines) <= 9  # no banners, no progress bars


def test_results_follow_their_schema(finished: tuple[Path, subprocess.CompletedProcess]) -> None:
    folder, process = finished

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / "results" / "tiny" / "results.json").read_text()
    results = json.loads(text, parse_constant=refuse)
    assert results["schema"] == "portability-results/1"
    assert results["study"] == {
        "name": "tiny",
        "file": "study.toml",
        "model": {"build": "model.py:build", "parameters": {}},
        "duration": 40.0,
        "warmup": 10.0,
        "timestep": 0.1,
        "seeds": [1, 2, 3],
        "statistics": ["rate", "cv", "cc"],
    }
    assert [(p["label"], p["size"], p["recorded"]) for p in results["populations"]] == [
        ("E", 12, True),
        ("I", 6, True),
    ]
    reference, (candidate,) = results["reference"], results["candidates"]
    assert (reference["backend"], reference["format"]) == (BACKEND, "double")
    assert reference["verdict"] == "reference"
    assert (candidate["backend"], candidate["format"]) == (BACKEND, "naive-1")
    expected = {"pass": 0, "deviates": 1, "inconclusive": 3}
    assert process.returncode == expected[candidate["verdict"]]
    comparisons = [(p, s) for p in ("E", "I") for s in ("rate", "cv", "cc")]
    for rows in (reference["means"], reference["baseline"], candidate["scores"]):
        assert [(row["population"], row["statistic"]) for row in rows] == comparisons
    assert all(len(row["baseline"]) == 3 for row in reference["baseline"])
    assert all(len(row["distances"]) == 3 for row in candidate["scores"])
    rate = reference["means"][0]
    assert rate["n"] == 3 * 12
    assert 1.0 < rate["mean"] < 1000.0
    keys = set()
    for entry in (reference, candidate):
        assert [run["seed"] for run in entry["runs"]] == [1, 2, 3]
        assert {run["status"] for run in entry["runs"]} == {"done"}
        assert {run["reused"] for run in entry["runs"]} == {False}
        keys |= {run["key"] for run in entry["runs"]}
        cost = entry["cost"]
        peaks = [run["cost"]["peak_rss_bytes"] for run in entry["runs"]]
        assert cost["peak_rss_bytes"] == max(peaks) > 2**20
        seconds = [run["cost"]["simulate_seconds"] for run in entry["runs"]]
        assert cost["simulate_seconds"] == pytest.approx(sum(seconds) / 3)
        assert cost["realtime_factor"] == pytest.approx(cost["simulate_seconds"] / 0.05)
    assert len(keys) == 6
    assert results["rule"]["familywise_error"] == 0.05
    assert len(results["rule"]["text"]) == 3
    versions = results["provenance"]["versions"][BACKEND]
    assert versions.items() >= backends.load(BACKEND).versions().items()
    assert versions["numpy"]


def test_junit_agrees_with_results(finished: tuple[Path, subprocess.CompletedProcess]) -> None:
    out = finished[0] / "results" / "tiny"
    scores = json.loads((out / "results.json").read_text())["candidates"][0]["scores"]
    suite = ElementTree.parse(out / "junit.xml").getroot()[0]
    kinds = {"pass": [], "deviates": ["failure"], "inconclusive": ["skipped"]}
    assert [(case.get("name"), [child.tag for child in case]) for case in suite] == [
        (f"{score['population']} {score['statistic']}", kinds[score["verdict"]]) for score in scores
    ]
    assert suite.get("tests") == "6"
    deviating = [score for score in scores if score["verdict"] == "deviates"]
    assert suite.get("failures") == str(len(deviating))


def test_run_record_holds_everything_that_made_it(
    finished: tuple[Path, subprocess.CompletedProcess],
) -> None:
    records = [json.loads(p.read_text()) for p in finished[0].glob("results/tiny/runs/*/run.json")]
    assert {(r["request"]["seed"], r["request"]["format"]) for r in records} == {
        (seed, name) for seed in (1, 2, 3) for name in ("double", "naive-1")
    }
    for record in records:
        assert record["request"]["n_steps"] == 500
        assert record["request"]["timestep"] == 0.1
        assert record["request"]["backend"] == BACKEND
        assert record["environment"]["versions"]["numpy"]
        assert record["model"] == {"build": "model.py:build", "parameters": {}}
        assert record["synapses"] == 30 + 24
        assert record["host"]["python"] == "{}.{}.{}".format(*sys.version_info[:3])
        assert len(record["spikes_sha256"]) == 64


def test_each_format_has_its_time_step_and_its_memory(folder: Path, command: Command) -> None:
    names = ["double@0.5ms", "moments-2/float32", "naive-1@1ms"]
    write_study(folder, (f'"{BACKEND}"', '"emulator"'), ('"naive-1"', json.dumps(names)))
    ended = command("run", "study.toml", "--exit-zero")
    assert ended.code == 0, ended.err
    records = [json.loads(p.read_text()) for p in folder.glob("results/tiny/runs/*/run.json")]
    requests = {r["request"]["format"]: r["request"] for r in records}
    grids = {name: (r["timestep"], r["n_steps"]) for name, r in requests.items()}
    assert grids == {
        "double": (0.1, 500),
        "double@0.5ms": (0.5, 100),
        "moments-2/float32": (0.1, 500),
        "naive-1@1ms": (1.0, 50),
    }
    results = json.loads((folder / "results" / "tiny" / "results.json").read_text())
    entries = (results["reference"], *results["candidates"])
    assert {e["format"]: e["timestep"] for e in entries} == {k: g[0] for k, g in grids.items()}
    for entry in entries:
        # at least the number of the target, 16 bits
        assert entry["cost"]["bytes_per_synapse_allocated"] > 2
        assert entry["cost"]["bytes_per_synapse_allocated"] < 200


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    write_study(folder)
    code = "import sys; from pynn_portability.cli import main; sys.argv[0] = 'portability'; main()"
    command = f"{sys.executable} -c {shlex.quote(code)} list | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "model balanced\n"
    assert ended.stderr == ""


def test_durations_must_fit_the_time_step_of_every_format(folder: Path, command: Command) -> None:
    write_study(folder, ('"naive-1"', '"naive-1@0.3ms"'))
    ended = command("run", "study.toml")
    assert ended.code == 2
    assert "candidate.format (candidate 1): 'naive-1@0.3ms' does not fit" in ended.err
    assert "40 ms is 133.333 steps of 0.3 ms" in ended.err
    assert not (folder / "results").exists()


@pytest.fixture
def copy(
    finished: tuple[Path, subprocess.CompletedProcess], folder: Path
) -> tuple[Path, subprocess.CompletedProcess]:
    shutil.copytree(finished[0], folder, dirs_exist_ok=True)
    return folder, finished[1]


def test_second_run_simulates_nothing_and_says_so(
    copy: tuple[Path, subprocess.CompletedProcess], command: Command
) -> None:
    folder, first = copy
    before = everything(folder / "results" / "tiny" / "runs")
    again = command("run", "study.toml")
    assert again.code == first.returncode
    assert again.out.startswith("nothing simulated: results/tiny already has all 6 runs\n")
    assert again.out.splitlines()[1:] == first.stdout.splitlines()[1:]
    assert everything(folder / "results" / "tiny" / "runs") == before
    results = json.loads((folder / "results/tiny/results.json").read_text())
    assert all(run["reused"] for run in results["candidates"][0]["runs"])
    assert command("run", "study.toml", "--exit-zero").code == 0


def test_warmup_is_analysis(
    copy: tuple[Path, subprocess.CompletedProcess], command: Command
) -> None:
    write_study(copy[0], ("duration = 40.0", "duration = 30.0"), ("warmup = 10.0", "warmup = 20.0"))
    assert command("run", "study.toml").out.startswith("nothing simulated")
    means = json.loads((copy[0] / "results/tiny/results.json").read_text())["reference"]["means"]
    assert means[0]["mean"] * 0.03 * 36 == pytest.approx(round(means[0]["mean"] * 0.03 * 36))


def test_report_needs_no_simulator(
    copy: tuple[Path, subprocess.CompletedProcess],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, first = copy
    out = folder / "results" / "tiny"
    expected = json.loads((out / "results.json").read_text())
    for name in ("results.json", "report.html", "junit.xml"):
        (out / name).unlink()
    monkeypatch.setattr(backends.load(BACKEND), "available", lambda: "it is gone")
    monkeypatch.setattr(backends.load(BACKEND), "versions", lambda: 1 / 0)
    ended = command("report", "study.toml")
    assert ended.code == first.returncode
    assert ended.out.splitlines() == first.stdout.splitlines()[1:]
    results = json.loads((out / "results.json").read_text())
    assert results["candidates"][0]["scores"] == expected["candidates"][0]["scores"]
    assert results["provenance"]["versions"] == expected["provenance"]["versions"]
    assert (out / "report.html").stat().st_size > 1000


def test_report_names_missing_runs(
    copy: tuple[Path, subprocess.CompletedProcess], command: Command
) -> None:
    results = json.loads((copy[0] / "results/tiny/results.json").read_text())
    for run in results["candidates"][0]["runs"][1:]:
        shutil.rmtree(copy[0] / "results/tiny/runs" / run["key"])
    before = everything(copy[0] / "results")
    ended = command("report", "study.toml")
    assert_refused(ended, "2 of 6 runs are missing", f"{BACKEND} naive-1 seed 2, 3")
    assert everything(copy[0] / "results") == before
    assert_refused(command("report", "study.toml", "--out", "elsewhere"), "6 of 6")
    assert not (copy[0] / "elsewhere").exists()


# --- Poor data ---

POOR_MODEL = """
def build(sim, drive=0.0):
    drawn = sim.RandomDistribution("uniform", low=0.7, high=1.1)
    many = sim.Population(210, sim.IF_curr_exp(i_offset=drawn), label="many")
    few = sim.Population(12, sim.IF_curr_exp(i_offset=drawn), label="few")
    one = sim.Population(1, sim.IF_curr_exp(i_offset=0.9), label="one")
    quiet = sim.Population(220, sim.IF_curr_exp(), label="quiet")
    sim.Projection(many, few, sim.FixedNumberPreConnector(5), sim.StaticSynapse(weight=0.05, delay=1.0))
    for population in (many, few, one, quiet):
        population.record("spikes")
"""


@pytest.mark.parametrize("seeds", ["[1]", "[1, 2, 3]"])
def test_poor_data_are_told_in_words_and_give_no_nan(
    folder: Path, command: Command, seeds: str
) -> None:
    # spikes are what counts here, and the emulator is there at once
    write_study(
        folder,
        *(("[1, 2, 3]", seeds), ("duration = 40.0", "duration = 600.0")),
        (f'backend = "{BACKEND}"', 'backend = "emulator"'),
    )
    (folder / "model.py").write_text(POOR_MODEL)
    ended = command("run", "study.toml")
    out = folder / "results" / "tiny"
    text = (out / "results.json").read_text()
    results = json.loads(text)  # NaN is not JSON, but Python writes and reads it
    assert "NaN" not in text and "Infinity" not in text
    small, silent, *_ = results["warnings"]
    assert small.startswith("Fewer than 200 neurons in few (12), one (1): ")
    assert silent.startswith("Not a single spike in quiet in any run of the reference")
    report = (out / "report.html").read_text()
    assert small in report and silent in report
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r'src="[^"]*"', "", report))
    assert "nan" not in (out / "junit.xml").read_text().lower()
    (candidate,) = results["candidates"]
    if seeds == "[1, 2, 3]":
        assert ended.code in (0, 1, 3)
        verdicts = {s["verdict"] for s in candidate["scores"] if s["population"] == "quiet"}
        assert verdicts == {"pass"}
    else:
        assert (ended.code, candidate["verdict"]) == (3, "inconclusive")
        assert "at least 3" in candidate["reasons"][0]


def test_runs_of_another_length_are_refused(
    copy: tuple[Path, subprocess.CompletedProcess], command: Command
) -> None:
    store = Store(copy[0] / "results" / "tiny")
    key = sorted(path.name for path in store.runs.iterdir())[0]
    record, spikes = store.find(key), read_sonata(store.spikes_file(key))
    assert record is not None
    shorter = SpikeData(
        spikes.timestep,
        spikes.n_steps - 100,
        {
            label: PopulationSpikes(
                p.size, *(a[p.steps <= spikes.n_steps - 100] for a in (p.steps, p.neurons))
            )
            for label, p in spikes.populations.items()
        },
    )
    shutil.rmtree(store.runs / key)
    store.add(record, shorter)
    before = (store.folder / "results.json").read_bytes()
    words = (key, "40 ms long in steps of 0.1 ms", "asks for 50 ms", "delete it")
    assert_refused(command("report", "study.toml"), *words)
    assert (store.folder / "results.json").read_bytes() == before


def test_a_damaged_run_is_missing_and_made_again(
    finished: tuple[Path, subprocess.CompletedProcess], folder: Path, command: Command
) -> None:
    shutil.copytree(finished[0] / "results", folder / "results")
    record = next((folder / "results" / "tiny" / "runs").glob("*/run.json"))
    text = record.read_text()
    assert '"synapses": ' in text
    record.write_text(text.replace('"synapses": ', '"synapses": 1'))  # another provenance
    assert_refused(command("report", "study.toml"), "1 of 6 runs are missing")
    ended = command("run", "study.toml")
    assert ended.code == finished[1].returncode
    assert ended.out.startswith("results/tiny: 1 of 6 runs simulated, 5 reused\n")


def test_a_run_of_another_size_is_refused(
    finished: tuple[Path, subprocess.CompletedProcess], folder: Path, command: Command
) -> None:
    """Whoever can compute a checksum may still say that there are 2 thousand million neurons."""
    shutil.copytree(finished[0] / "results", folder / "results")
    store = Store(folder / "results" / "tiny")
    record = store.records()[0]
    file = store.spikes_file(record.key)
    with h5py.File(file, "r+") as opened:
        opened["spikes/E"].attrs["size"] = 2**31 - 1
    forged = record.sealed(file_hash(file))
    (file.parent / "run.json").write_text(forged.model_dump_json(by_alias=True))
    assert store.find(record.key) == forged
    assert_refused(command("report", "study.toml"), record.key, "other populations")


def test_links_in_the_folder_of_results_are_not_followed(
    finished: tuple[Path, subprocess.CompletedProcess], folder: Path, command: Command
) -> None:
    shutil.copytree(finished[0] / "results", folder / "results")
    out, elsewhere = folder / "results" / "tiny", folder / "elsewhere"
    elsewhere.mkdir()
    victims = []
    for name in ("results.json", "report.html", "junit.xml", "selftest.json"):
        victims.append(folder / f"victim {name}")
        victims[-1].write_text("precious")
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(victims[-1])
    (out / "figures").symlink_to(elsewhere)
    ended = command("report", "study.toml", "--figures")
    assert ended.code == finished[1].returncode
    assert [victim.read_text() for victim in victims] == ["precious"] * 4
    assert list(elsewhere.iterdir()) == []
    assert not any((out / name).is_symlink() for name in ("results.json", "report.html", "figures"))


# --- Failing runs and interruptions ---


@pytest.fixture
def disturbed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes a study whose runs are disturbed."""

    def write(disturbance: str, *changes: tuple[str, str]) -> None:
        options = f'[backends.disturbed]\ndisturb = "{disturbance}"\n'
        write_study(
            folder,
            *changes,
            (f'backend = "{BACKEND}"', 'backend = "disturbed"'),
            ("[simulation]", f"{options}[simulation]"),
        )

    with disturbed_backend.installed(folder, monkeypatch):
        yield write


def test_failed_runs_are_results(
    folder: Path, command: Command, disturbed: Callable[..., None]
) -> None:
    disturbed("fail", *without_candidate("[1, 2, 3]"))
    ended = command("run", "study.toml", "--exit-zero", "--jobs", "1")
    assert ended.code == 4
    assert "Traceback" not in ended.out + ended.err
    assert "said to nobody" not in ended.out + ended.err
    assert (folder / "times").read_text() == "+-+-+-"
    out = folder / "results" / "tiny"
    reference = json.loads((out / "results.json").read_text())["reference"]
    assert reference["verdict"] == "failed"
    failed, crashed, done = reference["runs"]
    assert failed["status"] == "failed"
    assert "RuntimeError: the chip is on fire" in failed["error"]
    log = (out / failed["log"]).read_text()
    assert "said to nobody but the log" in log
    assert "Traceback" in log
    assert crashed["status"] == "failed"
    assert "SIGKILL" in crashed["error"]
    assert done["status"] == "done"
    assert ended.out.startswith("results/tiny: 1 of 3 runs simulated, 0 reused, 2 failed\n")
    assert "the chip is on fire" in ended.out
    suite = ElementTree.parse(out / "junit.xml").getroot()[0]
    assert [(case.get("name"), case[0].tag) for case in suite] == [
        ("run with seed 1", "error"),
        ("run with seed 2", "error"),
    ]

    again = command("run", "study.toml")
    assert again.code == 0
    assert again.out.startswith("results/tiny: 2 of 3 runs simulated, 1 reused\n")
    assert list((out / "logs").iterdir()) == []


def test_a_run_over_its_time_limit_has_failed_and_is_made_again(
    folder: Path, command: Command, disturbed: Callable[..., None]
) -> None:
    limit = ("[simulation]\n", "[simulation]\ntimeout = 20.0\n")
    disturbed("oversleep", *without_candidate("[1, 2]"), limit)
    ended = command("run", "study.toml", "--jobs", "1")
    assert ended.code == 4
    out = folder / "results" / "tiny"
    slow, quick = json.loads((out / "results.json").read_text())["reference"]["runs"]
    assert "ended after 20 s" in slow["error"] and "simulation.timeout" in slow["error"]
    assert quick["status"] == "done"
    # another limit is no other run
    study = folder / "study.toml"
    study.write_text(study.read_text().replace("timeout = 20.0\n", ""))
    again = command("run", "study.toml")
    assert again.code == 0
    assert again.out.startswith("results/tiny: 1 of 2 runs simulated, 1 reused\n")


def test_a_full_disk_is_a_failed_run(folder: Path) -> None:
    write_study(folder, *without_candidate("[1, 2]"))
    largest = 8000  # bytes of a file: more than a network takes, less than spikes
    process = subprocess.run(
        [*CONSOLE_SCRIPT, "run", "study.toml"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )
    assert process.returncode == 4
    assert "Traceback" not in process.stderr + process.stdout
    out = folder / "results" / "tiny"
    if (out / "results.json").exists():
        runs = json.loads((out / "results.json").read_text())["reference"]["runs"]
        assert [run["status"] for run in runs] == ["failed", "failed"]
    assert "results" in process.stderr and "File too large" in process.stderr
    again = subprocess.run([*CONSOLE_SCRIPT, "run", "study.toml"], capture_output=True, check=False)
    assert again.returncode == 0


def test_a_store_that_is_removed_is_failed_runs(
    folder: Path, command: Command, disturbed: Callable[..., None]
) -> None:
    disturbed("remove", *without_candidate("[1, 2]"))
    ended = command("run", "study.toml", "--jobs", "1")
    assert ended.code == 4
    assert "Traceback" not in ended.err + ended.out
    assert "failed" in ended.out + ended.err


def test_a_report_that_cannot_be_written_after_runs(folder: Path, command: Command) -> None:
    write_study(folder, *without_candidate("[1, 2]"))
    out = folder / "results" / "tiny"
    (out / "report.html").mkdir(parents=True)
    ended = command("run", "study.toml")
    assert ended.code == 4
    said = without_progress(ended.err)
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "report.html" in said and "finished runs are kept in results/tiny" in said
    # what needs no report is there
    assert json.loads((out / "results.json").read_text())["reference"]["verdict"] == "reference"
    (out / "report.html").rmdir()
    again = command("run", "study.toml")
    assert (again.code, again.out.split(":")[0]) == (0, "nothing simulated")


def test_runs_go_on_when_nobody_hears_of_their_progress(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def closed(*_: object) -> None:
        raise BrokenPipeError

    write_study(folder, *without_candidate("[1, 2]"))
    monkeypatch.setattr("pynn_portability.terminal.Display.__call__", closed)
    ended = command("run", "study.toml")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("results/tiny: 2 of 2 runs simulated")


MISSING = {
    "pynn_portability.predict.prediction.of_study": "The prediction",
    "pynn_portability.judge.adequacy.noticed_rate_changes": "smallest noticed changes",
    "pynn_portability.judge.ensemble.rate_matched_noise": "with noise",
    "pynn_portability.judge.diagnosis.sentences": f"The diagnosis of {BACKEND} naive-1",
    "pynn_portability.probe.selftest.read": "Planted faults",
    "pynn_portability.reports.sections.theory": "The section on theory",
    "pynn_portability.reports.sections.nulls": "The drawings of noise",
    "pynn_portability.reports.figures.distance_picture": "The drawing of distances",
    "pynn_portability.reports.figures.raster_picture": "The drawing of spikes",
    "pynn_portability.reports.figures.distribution_picture": "The drawing of distributions",
    "pynn_portability.reports.page._matrix": "The report",
    "pynn_portability.reports.page._failures": "The report",
}


@pytest.mark.parametrize("culprit", MISSING)
def test_what_fails_beside_the_verdicts_is_missing(
    culprit: str,
    finished: tuple[Path, subprocess.CompletedProcess],
    folder: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(finished[0] / "results", folder / "results")
    out = folder / "results" / "tiny"
    before = json.loads((out / "results.json").read_text())
    assert before["missing"] == []
    for kept in out.rglob("spikes-statistics-*"):
        kept.unlink()

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by a silent population")

    monkeypatch.setattr(culprit, fail)
    ended = command("report", "study.toml")
    assert ended.code == finished[1].returncode
    assert "Traceback" not in ended.err
    after = json.loads((out / "results.json").read_text())
    for role, entry in (("reference", before["reference"]), ("now", before["candidates"][0])):
        now = after["reference"] if role == "reference" else after["candidates"][0]
        assert (now["verdict"], now.get("scores")) == (entry["verdict"], entry.get("scores"))
    reason = "could not be made: ZeroDivisionError: by a silent population"
    page = (out / "report.html").read_text()
    for text in (" ".join(after["missing"]), page, ended.out):
        assert MISSING[culprit] in text and reason in text
    assert "naive-1" in page


def test_a_model_must_build_the_same_network_every_time(folder: Path, command: Command) -> None:
    write_study(folder, ("[simulation]", "changing = true\n[simulation]"))
    before = everything(folder)
    assert_refused(command("run", "study.toml"), "model.build", "another network", "unseeded")
    assert everything(folder) == before


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_interruption_ends_the_simulations(
    folder: Path, how: str, disturbed: Callable[..., None]
) -> None:
    disturbed("sleep", *without_candidate("[1]"))
    process = subprocess.Popen(
        [*CONSOLE_SCRIPT, "run", "study.toml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a shell ignores signals, and so would its children
        preexec_fn=heed_signals,  # noqa: PLW1509
    )
    note = folder / "times"
    wait_until(lambda: process.poll() is not None or (note.exists() and bool(note.read_text())))
    worker = int(note.read_text())
    process.send_signal(signal.Signals[how])
    out, err = process.communicate(timeout=60)
    wait_until(lambda: not is_alive(worker))
    store = Store(folder / "results" / "tiny")
    if how != "SIGKILL":
        assert process.returncode == 128 + signal.Signals[how]
        assert out == ""
        word = "interrupted" if how == "SIGINT" else f"ended by {how}"
        assert without_progress(err) == f"{word}: finished runs are kept\n"
    else:
        left = sorted(path.name.partition("-")[0] for path in store.runs.iterdir())
        assert left == [".making", ".unfinished"]
        with store.locked():  # as the next command does
            pass
    assert list(store.runs.iterdir()) == []
    wait_until(lambda: not inside(folder))


def heed_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def inside(folder: Path) -> list[int]:
    """Processes, other than this one, that work in a folder or name it in their command."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                words = [process.cwd(), *process.cmdline()]
                found += [process.pid] if any(str(folder) in word for word in words) else []
    return found


def test_a_signal_that_is_ignored_ends_nothing(
    folder: Path, disturbed: Callable[..., None]
) -> None:
    """As ``nohup`` asks for."""
    disturbed("nap", *without_candidate("[1]"))
    process = subprocess.Popen(
        [*CONSOLE_SCRIPT, "run", "study.toml"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),  # noqa: PLW1509
    )
    wait_until(lambda: process.poll() is not None or (folder / "times").exists())
    process.send_signal(signal.SIGHUP)
    assert without_progress(process.communicate(timeout=120)[1]) == ""
    assert process.returncode == 0


QUESTION = """
import os, subprocess, sys, time
from pynn_portability.run.process import serve

def work(specification, report):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    report({"started": [os.getpid(), child.pid]})
    if specification.get("how") == "answer":
        os.fork() or time.sleep(1000)  # holds the pipe open
        report({"result": 42})
        report({"result": 43})
    time.sleep(1000)

def main():
    serve(work)
"""


def test_interruption_ends_a_subprocess_and_what_it_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "question.py").write_text(QUESTION)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    started: list[int] = []

    def interrupt(report: Mapping[str, Any]) -> None:
        started.extend(report["started"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask("question", {}, interrupt)
    assert len(started) == 2
    wait_until(lambda: not any(map(is_alive, started)))


def test_the_first_answer_counts_and_ends_a_subprocess_and_what_it_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "question.py").write_text(QUESTION)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    started: list[int] = []
    asked = time.monotonic()
    answer = ask("question", {"how": "answer"}, lambda r: started.extend(r.get("started", ())))
    assert answer == 42
    assert time.monotonic() - asked < 60  # it would sleep for longer
    wait_until(lambda: not any(map(is_alive, started)))


def test_a_subprocess_and_what_it_started_end_with_the_process_that_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "question.py").write_text(QUESTION)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    code = (
        "from pynn_portability.run.process import ask\n"
        "ask('question', {}, lambda said: print(*said['started'], flush=True))"
    )
    asking = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    started = [int(pid) for pid in asking.stdout.readline().split()]
    assert len(started) == 2
    asking.kill()
    asking.wait()
    wait_until(lambda: not any(map(is_alive, started)))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- Requests that are refused ---

BAD_STUDIES = {
    "misspelt key": ("duration", "duratoin", ["simulation.duratoin", "'duration'"]),
    "unknown backend": ('backend = "', 'backend = "x', ["reference.backend", "allowed: brian2"]),
    "unknown format": ("naive-1", "naif-1", ["candidate.format (candidate 1)", "'naive-1'"]),
    "unknown model": ("model.py:build", "macrocircuit", ["model.build", "'microcircuit'"]),
    "unknown parameter": ("[simulation]", "m = 3\n[simulation]", ["model.m", "weight"]),
    "bad parameter": ("[simulation]", "n = -3\n[simulation]", ["model.build", "-3", "model.py"]),
    "script that fails": ("[simulation]", 'weight = "a"\n[simulation]', ["model.build", "line"]),
    "negative duration": ("40.0", "-40.0", ["simulation.duration", "positive"]),
    "duplicate seeds": ("[1, 2, 3]", "[1, 2, 1]", ["simulation.seeds", "seed 1"]),
    "syntax": ("[study]", "[study", ["study.toml", "TOML", "line 1"]),
    "too large": ("[simulation]", "n = 1000000000\n[simulation]", ["GiB", "this machine"]),
}


@pytest.mark.parametrize("name", BAD_STUDIES)
def test_bad_studies_are_refused(name: str, folder: Path, command: Command) -> None:
    old, new, words = BAD_STUDIES[name]
    write_study(folder, (old, new))
    before = everything(folder)
    assert_refused(command("run", "study.toml", "--out", "new/folder"), "study.toml: ", *words)
    assert_refused(command("run", "study.toml"), *words)
    assert everything(folder) == before


def test_missing_study(folder: Path, command: Command) -> None:
    for name in ("run", "describe", "report"):
        assert_refused(command(name, "absent.toml"), "absent.toml", "no such study file")
        assert_refused(command(name, "."), "not a file")
    assert not (folder / "results").exists()


@pytest.mark.parametrize("name", ["nest", "brian2"])
def test_missing_backend(
    name: str, folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def find_all_but_one(module: str, package: str | None = None) -> Any:
        return None if module == name else find_spec(module, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_one)
    write_study(folder, (f'backend = "{BACKEND}"', f'backend = "{name}"'))
    before = everything(folder)
    ended = command("run", "study.toml")
    assert_refused(ended, f"{name!r}", f"pip install 'pynn-portability[{name}]'")
    assert everything(folder) == before
    described = command("describe", "study.toml")
    assert described.code == 0
    assert "cannot run here" in described.out


def test_what_a_backend_cannot_represent(folder: Path, command: Command) -> None:
    write_study(folder, (f'backend = "{BACKEND}"', 'backend = "nest"'), ("naive-1", "float32"))
    found = json.loads(command("describe", "study.toml", "--json").out)["problems"]
    assert [p for p in found if "'float32'" in p and "double precision" in p]
    assert_refused(command("run", "study.toml"), "nest")
    assert not (folder / "results").exists()


def test_unwritable_output_folders(folder: Path, command: Command) -> None:
    before = everything(folder)
    assert_refused(command("run", "study.toml", "--out", "model.py"), "model.py", "file")
    assert_refused(command("run", "study.toml", "--out", "model.py/x"), "model.py", "file")
    if Path("/proc/self").exists():
        assert_refused(command("run", "study.toml", "--out", "/proc/results"), "/proc/results")
    if os.geteuid() != 0:  # root may write everywhere
        (folder / "closed").mkdir(mode=0o555)
        before = everything(folder)
        assert_refused(command("run", "study.toml", "--out", "closed/x"), "not writable")
    assert everything(folder) == before


def test_output_folder_in_use(folder: Path, command: Command) -> None:
    with Store(folder / "out").locked():
        assert_refused(command("run", "study.toml", "--out", "out"), "another portability process")


def test_wrong_usage(command: Command) -> None:
    for arguments in (("run",), ("rum", "study.toml"), ("run", "study.toml", "--jobs", "0")):
        ended = command(*arguments)
        assert ended.code == 2
        assert ended.out == ""
        assert "Traceback" not in ended.err


def test_traceback_on_request(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTABILITY_TRACEBACK", "1")
    ended = command("run", "absent.toml")
    assert ended.code == 2
    assert "Traceback" in ended.err


def test_a_defect_is_no_verdict(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "describe", lambda planned: 1 / 0)
    ended = command("describe", "study.toml")
    assert ended.code not in range(5)
    assert "ZeroDivisionError" in ended.err


# --- Looking without running ---


def test_describe(folder: Path, command: Command) -> None:
    before = everything(folder)
    described = json.loads(command("describe", "study.toml", "--json").out)
    assert [(p["label"], p["size"], p["in_degree"]) for p in described["populations"]] == [
        ("E", 12, 2.0),
        ("I", 6, 5.0),
    ]
    assert [(p["source"], p["target"], p["synapses"]) for p in described["projections"]] == [
        ("E", "I", 30),
        ("I", "E", 24),
    ]
    assert (described["neurons"], described["synapses"]) == (18, 54)
    (drive,) = described["drives"]
    assert (drive["target"], drive["mean_rate"]) == ("E", 1500.0)
    assert [(r["role"], r["format"], r["runs"]) for r in described["runs"]] == [
        ("reference", "double", 3),
        ("candidate", "naive-1", 3),
    ]
    assert described["total"]["runs"] == 6
    assert described["total"]["memory_bytes"] > 0
    text = command("describe", "study.toml")
    assert text.code == 0
    assert "18 neurons, 54 synapses" in text.out
    assert "6 runs" in text.out
    assert everything(folder) == before


def test_validate(folder: Path, command: Command) -> None:
    (folder / "bad.toml").write_text(STUDY.replace("naive-1", "naive-0"))
    (folder / "worse.toml").write_text("[study")
    before = everything(folder)
    good = command("validate", "study.toml")
    assert (good.code, good.out, good.err) == (0, "study.toml: valid, 6 runs\n", "")
    mixed = command("validate", "bad.toml", "study.toml", "worse.toml", "missing.toml")
    assert (mixed.code, mixed.out) == (2, good.out)
    errors = mixed.err.splitlines()
    assert [line.partition(".toml")[0] for line in errors] == [
        "error: bad",
        "error: worse",
        "error: missing",
    ]
    assert "naive-0" in errors[0]
    assert everything(folder) == before


def test_validate_lists_every_problem(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends.load(BACKEND), "available", lambda: "it is gone")
    monkeypatch.setattr(backends.load(BACKEND), "check", lambda *_: ["it cannot hold this"])
    ended = command("validate", "study.toml")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("it is gone") == 1
    assert ended.err.count("it cannot hold this") == 2  # reference and candidate


def test_list(command: Command) -> None:
    listed = json.loads(command("list", "--json").out)
    assert [b["name"] for b in listed["backends"]] == list(backends.names())
    for backend in listed["backends"]:
        assert (backend["problem"] is None) == (backend["name"] in SIMULATORS)
        assert bool(backend["versions"]) == (backend["name"] in SIMULATORS)
    (model,) = (m for m in listed["models"] if m["name"] == "microcircuit")
    assert model["parameters"]["scale"] == 1.0
    assert {"double", "sI.F", "moments-N/sI.F"} <= set(listed["formats"])
    text = command("list")
    assert text.code == 0
    assert "model microcircuit" in text.out
    assert "covariance-shape" in text.out
    assert "covariance-shape" in listed["statistics"]


def test_version_and_help(command: Command) -> None:
    assert command("--version").out.startswith("pynn-portability ")
    assert "Exit codes" in command("--help").out


def test_help_is_quick() -> None:
    code = (
        "import sys\n"
        "from pynn_portability.cli import main\n"
        "sys.argv = ['portability', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'numpy', 'numba', 'scipy', 'pyNN', 'matplotlib', 'elephant', 'pydantic'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert ended.returncode == 0, ended.stderr
