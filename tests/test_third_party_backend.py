"""A backend that somebody else has installed: the example of the documentation, found and run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import portability

GUIDE = Path(__file__).parents[1] / "docs" / "adding-a-backend.md"

MODEL = """
def build(sim, weight=12.0):
    source = sim.Population(2, sim.SpikeSourceArray(spike_times=[5.0, 12.0, 30.0]), label="in")
    cells = sim.Population(4, sim.IF_curr_exp(tau_refrac=2.0, i_offset=0.2), label="E")
    cells.initialize(v=sim.RandomDistribution("uniform", (-65.0, -51.0)))
    cells.record("spikes")
    synapse = sim.StaticSynapse(
        weight=sim.RandomDistribution("normal", mu=weight, sigma=weight / 10), delay=1.0)
    sim.Projection(source, cells, sim.AllToAllConnector(), synapse)
"""

STUDY = """
[study]
name = "third-party"
[model]
build = "model.py:build"
[simulation]
duration = 50.0
warmup = 0.0
timestep = 0.1
seeds = [1, 2, 3]
[reference]
backend = "emulator"
[[candidate]]
backend = "direct"
format = ["double", "naive-2"]
[backends.direct]
patience = 2
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package of the guide installed."""
    folder = tmp_path_factory.mktemp("direct")
    blocks = re.findall(r"```(python|toml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (_, module), (_, project), (_, rules) = blocks[:3]
    (folder / "direct.py").write_text(module)
    (folder / "pyproject.toml").write_text(project)
    target = tmp_path_factory.mktemp("site")
    (target / "test_direct.py").write_text(rules)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(target), str(folder)],
        check=True, capture_output=True, text=True, cwd=target,
    )  # fmt: skip
    return {**os.environ, "PYTHONPATH": str(target)}


def test_it_is_listed_with_its_options(installed: dict[str, str], tmp_path: Path) -> None:
    done = portability(tmp_path, "list", "--json", environment=installed)
    (entry,) = [b for b in json.loads(done.stdout)["backends"] if b["name"] == "direct"]
    assert entry["versions"] == {"direct": "0.1"}
    assert entry["options"]["patience"]["default"] == 1
    here = portability(tmp_path, "list", "--json")
    assert "direct" not in [b["name"] for b in json.loads(here.stdout)["backends"]]


def test_a_study_runs_on_it(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "study.toml").write_text(STUDY)
    done = portability(tmp_path, "run", "study.toml", "--exit-zero", environment=installed)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results" / "third-party" / "results.json").read_text())
    double, coarse = results["candidates"]
    # the same synapses and the same arithmetic: not one distance differs from 0
    assert double["verdict"] == "pass"
    assert {s["distance"] for s in double["scores"]} == {0.0}
    assert any(s["distance"] for s in coarse["scores"])
    # a second call simulates nothing
    again = portability(tmp_path, "run", "study.toml", "--exit-zero", environment=installed)
    assert again.stdout.startswith("nothing simulated")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"naive-2"', '"float32"'), ["'float32'", "direct integration computes in double"]),
        (("patience = 2", "patience = 0"), ["backends.direct.patience", "at least 1"]),
        (("patience = 2", "speed = 2"), ["backends.direct.speed", "unknown option"]),
    ],
)
def test_what_it_does_not_declare_is_refused(
    installed: dict[str, str], tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "study.toml").write_text(STUDY.replace(*change))
    done = portability(tmp_path, "run", "study.toml", environment=installed)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "results").exists()


def test_it_passes_the_compliance_tests(installed: dict[str, str]) -> None:
    """As the guide says: without the rules that need a drive."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_direct.py", "-k",
         "not poisson and not seed and not progress"],
        capture_output=True, text=True, check=False, cwd=installed["PYTHONPATH"], env=installed,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    info = tmp_path / "broken-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        "[pynn_portability.backends]\nbroken = nowhere:BACKEND\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    listed = portability(tmp_path, "list", environment=environment)
    assert listed.returncode == 0
    assert "backend broken: backend 'broken' cannot be loaded from nowhere:BACKEND" in listed.stdout
    refused = portability(tmp_path, "conformance", "broken", environment=environment)
    assert refused.returncode == 2
    assert "ModuleNotFoundError" in refused.stderr and "Traceback" not in refused.stderr
