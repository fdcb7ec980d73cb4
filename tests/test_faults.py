"""What goes wrong around a study costs what it must and no more: damaged files, links, full disks, a failing theory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import portability

from pynn_portability import cli
from pynn_portability.run.store import Store

MODEL = """
def build(sim):
    cells = sim.Population(5, sim.IF_curr_exp(i_offset=1.2), label="E")
    cells.initialize(v=sim.RandomDistribution("uniform", (-65.0, -50.0)))
    sim.Projection(cells, cells, sim.AllToAllConnector(), sim.StaticSynapse(weight=0.01, delay=1.0))
    cells.record("spikes")
"""
STUDY = """
[study]
name = "faults"
[model]
build = "model.py:build"
[simulation]
duration = 100.0
warmup = 0.0
seeds = [1, 2, 3]
[reference]
backend = "emulator"
format = "double"
[[candidate]]
backend = "emulator"
format = "float32"
"""
ARGUMENTS = ("study.toml", "--out", "out", "--exit-zero")


def write(folder: Path, study: str = STUDY) -> None:
    (folder / "model.py").write_text(MODEL)
    (folder / "study.toml").write_text(study)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study has been run. Tests use copies of it."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder)
    ended = portability(folder, "run", *ARGUMENTS)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    monkeypatch.chdir(copy)
    return copy


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["portability", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return run


# --- Damage ---


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    position = int(rng.integers(8 * len(content)))
    damaged[position // 8] ^= 1 << (position % 8)
    return bytes(damaged)


def test_a_record_is_what_was_written_or_missing(folder: Path) -> None:
    """Of 300 flipped bits, none is an exception or another provenance."""
    store = Store(folder / "out")
    file = next(store.runs.glob("*/run.json"))
    key, content = file.parent.name, file.read_bytes()
    whole = store.find(key)
    assert whole is not None
    rng = np.random.default_rng(1)
    missing = 0
    for _ in range(300):
        file.write_bytes(flipped(content, rng))
        found = Store(folder / "out").find(key)
        missing += found is None
        assert found in (None, whole)
    assert missing > 250
    for length in range(0, len(content) - 1, 37):
        file.write_bytes(content[:length])
        assert Store(folder / "out").find(key) is None


def test_damaged_spikes_are_missing_and_made_again(folder: Path, command: Command) -> None:
    rng = np.random.default_rng(2)
    file = next((folder / "out").glob("runs/*/spikes.h5"))
    file.write_bytes(flipped(file.read_bytes(), rng))
    code, _, err = command("report", "study.toml", "--out", "out")
    assert (code, "1 of 6 runs are missing" in err) == (2, True)
    code, out, _ = command("run", *ARGUMENTS)
    assert (code, "1 of 6 runs simulated, 5 reused" in out) == (0, True)


def test_damaged_statistics_are_computed_again(folder: Path, command: Command) -> None:
    results = json.loads((folder / "out" / "results.json").read_text())
    files = list((folder / "out").glob("runs/*/spikes-statistics-*.npz"))
    assert files
    rng = np.random.default_rng(4)
    for file in files:
        file.write_bytes(flipped(file.read_bytes(), rng))
    files[0].write_bytes(files[0].read_bytes()[:100])
    assert command("report", "study.toml", "--out", "out")[0] in (0, 1, 3)
    again = json.loads((folder / "out" / "results.json").read_text())
    assert again["candidates"][0]["scores"] == results["candidates"][0]["scores"]


# --- Folders from strangers ---


def test_links_are_not_followed(folder: Path, command: Command, tmp_path: Path) -> None:
    out, secret = folder / "out", tmp_path / "secret"
    secret.write_text("what nobody may touch")
    (out / ".lock").unlink()
    (out / ".lock").symlink_to(secret)
    code, _, err = command("run", *ARGUMENTS)
    assert code == 2
    assert err.startswith("error: out/.lock: is a symbolic link")
    (out / ".lock").unlink()
    for name in ("results.json", "report.html", "junit.xml"):
        (out / name).unlink()
        (out / name).symlink_to(secret)
    assert command("report", "study.toml", "--out", "out")[0] in (0, 1, 3)
    assert not (out / "report.html").is_symlink()
    assert secret.read_text() == "what nobody may touch"


@pytest.mark.parametrize("name", ["spikes.h5", "run.json", "."])
def test_runs_that_are_links_are_missing(
    name: str, folder: Path, command: Command, tmp_path: Path
) -> None:
    run = next((folder / "out" / "runs").iterdir())
    linked = (run / name).resolve()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(linked, elsewhere)
    linked.symlink_to(elsewhere)
    code, _, err = command("report", "study.toml", "--out", "out")
    assert (code, "1 of 6 runs are missing" in err) == (2, True)
    code, out, _ = command("run", *ARGUMENTS)
    assert (code, "1 of 6 runs simulated" in out) == (0, True)
    assert not linked.is_symlink()


def test_a_linked_folder_of_runs_is_refused(folder: Path, command: Command) -> None:
    inside, target = folder / "out" / "runs", folder / "elsewhere"
    inside.rename(target)
    inside.symlink_to(target)
    before = sorted(target.rglob("*"))
    code, _, err = command("run", *ARGUMENTS)
    assert (code, err.count("\n")) == (2, 1)
    assert "out/runs: is a symbolic link" in err
    assert sorted(target.rglob("*")) == before


@pytest.mark.parametrize("name", ["networks", "figures"])
def test_other_linked_folders_are_replaced(name: str, folder: Path, command: Command) -> None:
    inside, target = folder / "out" / name, folder / "elsewhere"
    target.mkdir()
    shutil.rmtree(inside, ignore_errors=True)
    inside.symlink_to(target)
    (folder / "out" / "runs").rename(folder / "aside")
    assert command("run", *ARGUMENTS)[0] == 0
    assert command("report", "study.toml", "--out", "out", "--figures")[0] in (0, 1, 3)
    assert not inside.is_symlink()
    assert list(target.iterdir()) == []


# --- What a shared folder tells ---


def test_shared_files_tell_no_places(finished: Path) -> None:
    host = os.uname().nodename
    for file in (finished / "out").rglob("*"):
        if file.suffix in (".json", ".html", ".xml", ".npz", ".h5"):
            content = file.read_bytes()
            assert str(finished).encode() not in content, file
            assert str(Path.home()).encode() + b"/" not in content, file
            if file.name == "run.json":
                assert json.loads(content)["host"]["name"] == ""
            elif len(host) > 5:
                assert host.encode() not in content, file


def test_the_host_is_kept_on_request(tmp_path: Path) -> None:
    write(tmp_path, STUDY.replace('name = "faults"', 'name = "faults"\nkeep_host = true'))
    assert portability(tmp_path, "run", *ARGUMENTS).returncode == 0
    record = json.loads(next((tmp_path / "out").glob("runs/*/run.json")).read_text())
    assert record["host"]["name"] == os.uname().nodename
