"""The Python API: studies from files and from values, results as tables, spikes as Neo objects."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jsonschema
import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

import pynn_portability as pp
from pynn_portability.judge.statistics import statistic, statistics
from pynn_portability.results.files import SCHEMAS, json_schema, schema_text
from pynn_portability.results.schema import StudyResults
from pynn_portability.run.events import Advanced, Began, Ended, Event
from pynn_portability.run.executor import ALL_RUNS
from pynn_portability.run.guest import CAPTURING
from pynn_portability.run.local import LocalExecutor
from pynn_portability.run.outcome import Job, Outcome
from pynn_portability.run.store import Store
from pynn_portability.spikes.blocks import from_neo


def build(sim: Any, size: int = 40, rate: float = 9000.0) -> None:
    """Excitatory cells under Poisson input; a build function that stands in a file."""
    cells = sim.Population(size, sim.IF_curr_exp(tau_refrac=2.0), label="E & <I>")
    cells.initialize(v=sim.RandomDistribution("uniform", (-65.0, -50.0)))
    cells.record("spikes")
    noise = sim.Population(size, sim.SpikeSourcePoisson(rate=rate))
    sim.Projection(noise, cells, sim.OneToOneConnector(), sim.StaticSynapse(weight=0.15, delay=1.5))
    sim.Projection(
        cells,
        cells,
        sim.FixedNumberPreConnector(5),
        sim.StaticSynapse(weight=sim.RandomDistribution("normal", mu=0.05, sigma=0.01), delay=1.5),
    )


VALUES: dict[str, Any] = {
    "duration": 400.0,
    "warmup": 100.0,
    "seeds": [1, 2, 3],
    "reference": ("emulator", "double"),
    "candidates": [("emulator", "naive-2"), ("emulator", "float32")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def results(folder: Path, events: list[Event]) -> Iterator[pp.Results]:
    study = pp.Study("from-values", build, **VALUES)
    yield study.run(folder / "out", progress=events.append)


def test_other_statistics_only_repeat_the_analysis(folder: Path, results: pp.Results) -> None:
    chosen = [
        *("rate", "cv", "cc", "lv", "synchrony", "spectrum"),
        *("covariance", "covariance-size", "covariance-shape", "epochs-100"),
    ]
    copy = folder / "more"
    shutil.copytree(folder / "out", copy)
    found = pp.Study("from-values", build, **VALUES, statistics=chosen).run(copy)
    assert found.content.study.statistics == chosen
    assert all(run.reused for entry in found.content.candidates for run in entry.runs)
    default = {
        (s.population, s.statistic): s.distance for s in results.content.candidates[0].scores
    }
    for candidate in found.content.candidates:
        assert {s.statistic for s in candidate.scores} == set(chosen)
        assert all(s.distance is not None for s in candidate.scores)
        assert {m.statistic for m in candidate.means} == {
            name for name in chosen if statistic(name).kind != "curve"
        }
    # those that both studies have are the same to the last bit, though the bounds count more comparisons
    again = {(s.population, s.statistic): s.distance for s in found.content.candidates[0].scores}
    assert default.items() <= again.items()
    page = (copy / "report.html").read_text()
    for name in chosen:
        assert statistic(name).title in page
    judged = found.content.candidates[0]
    assert judged.scores[0].ratio_low < results.content.candidates[0].scores[0].ratio_low


def test_everything_in_all_is_there() -> None:
    for name in pp.__all__:
        assert getattr(pp, name) is not None
    assert set(pp.__all__) <= set(dir(pp))
    assert pp.__version__.count(".") >= 1
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = pp.absent  # type: ignore[attr-defined]


def test_importing_the_package_brings_nothing_heavy() -> None:
    code = "import sys, pynn_portability; print(sorted(m for m in sys.modules if 'numpy' in m or 'pyNN' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_verdicts_and_scores_are_tables(results: pp.Results) -> None:
    verdicts = results.verdicts
    assert isinstance(verdicts, pd.DataFrame)
    assert list(verdicts.columns) == ["backend", "format", "verdict", "reason"]
    assert list(verdicts["format"]) == ["double", "naive-2", "float32"]
    assert verdicts["verdict"][0] == "reference"
    scores = results.scores
    assert len(scores) == 2 * 3
    first = results.content.candidates[0].scores[0]
    row = scores[(scores["format"] == "naive-2") & (scores["statistic"] == first.statistic)]
    assert row["ratio"].item() == first.ratio
    assert results.exit_code in (0, 1, 3)


NOTEBOOK = """
import sys
import pynn_portability as pp
sys.modules["ipywidgets"] = None  # as if it were not installed

study = pp.Study("small", "model.py:build", duration=300.0, seeds=[1], warmup=100.0,
                 reference=("emulator", "double"), candidates=[("emulator", "naive-2")])
results = study.run("out")
results
"""


def test_in_a_real_notebook(tmp_path: Path) -> None:
    """A kernel without ipywidgets, which bars need, shows the table and no warnings."""
    (tmp_path / "model.py").write_text("from typing import Any\n\n" + inspect.getsource(build))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK)])
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    *before, shown = notebook.cells[0].outputs
    assert "<td>naive-2</td>" in shown.data["text/html"]
    # lines of progress, on a slow machine
    assert [output for output in before if output.output_type != "stream"] == []
    assert not any("Warning" in output.text for output in before)


def test_a_notebook_shows_the_verdicts(results: pp.Results) -> None:
    html = results._repr_html_()
    assert "<table" in html and "naive-2" in html
    # labels of a model reach the reasons
    assert "<I>" not in html


def test_ensembles_hold_the_statistics_of_the_spikes(results: pp.Results) -> None:
    ensemble = results.ensembles["emulator", "naive-2"]
    assert ensemble.seeds == [1, 2, 3]
    block = results.spikes("emulator", "naive-2", 2)
    assert len(block.segments[0].spiketrains) == 40
    own = statistics(from_neo(block, 0.1), 100.0)
    for name, sample in ensemble.runs[2]["E & <I>"].items():
        np.testing.assert_array_equal(sample, own["E & <I>"][name])
    with pytest.raises(pp.RequestError, match=r"with seed 9; seeds that there are: 1, 2, 3"):
        results.spikes("emulator", "naive-2", 9)


def test_files_are_those_of_the_command_line(results: pp.Results, folder: Path) -> None:
    names = {p.name for p in (folder / "out").iterdir()}
    assert names == {".lock", "networks", "runs", "results.json", "junit.xml", "report.html"}
    text = (folder / "out" / "results.json").read_text(encoding="utf-8")
    assert StudyResults.read(folder / "out" / "results.json") == results.content
    assert results.content.to_json() == text
    page = results.report(folder / "again.html", folder / "drawings")
    assert page.read_bytes() == (folder / "out" / "report.html").read_bytes()
    assert list((folder / "drawings").glob("*.svg"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_published_schemas_are_those_of_the_models(name: str) -> None:
    assert json.loads(schema_text(name)) == json_schema(name)
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


def test_real_files_follow_the_published_schemas(results: pp.Results, folder: Path) -> None:
    out = folder / "out"
    pairs = [("results-1", out / "results.json")]
    pairs += [("run-1", file) for file in out.glob("runs/*/run.json")]
    assert len(pairs) == 1 + 9
    for name, file in pairs:
        validator = jsonschema.Draft202012Validator(json_schema(name))
        content = json.loads(file.read_text(encoding="utf-8"))
        validator.validate(content)
        assert not validator.is_valid(content | {"something else": 1})


def test_events_tell_of_every_run(results: pp.Results, events: list[Event]) -> None:
    begun = [e.work for e in events if isinstance(e, Began)]
    assert begun[0] == CAPTURING
    assert ALL_RUNS in begun
    assert {"emulator double seed 1", "emulator float32 seed 3", "judging"} <= set(begun)
    assert sorted(begun) == sorted(e.work for e in events if isinstance(e, Ended))
    overall = [e.done for e in events if isinstance(e, Advanced) and e.work == ALL_RUNS]
    assert overall[-1] == 9


def test_judging_again_simulates_nothing(results: pp.Results, folder: Path) -> None:
    study = pp.Study("from-values", build, **VALUES)
    again = study.judge(folder / "out", progress=False)
    pd.testing.assert_frame_equal(again.scores, results.scores)
    assert again.summary.startswith("nothing simulated")


class Counting(LocalExecutor):
    """An executor of somebody else's."""

    submitted = 0

    def submit(self, job: Job) -> Future[Outcome]:
        Counting.submitted += 1
        return super().submit(job)


def test_runs_take_place_where_an_executor_has_them(folder: Path) -> None:
    study = pp.Study("from-values", build, **{**VALUES, "seeds": [7], "candidates": []})
    out = folder / "elsewhere"
    executor = Counting(Store(out), lambda event: None)
    found = study.run(out, progress=False, executor=executor)
    assert Counting.submitted == 1
    assert found.summary == f"{out}: 1 of 1 runs simulated, 0 reused"


def test_a_study_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "filed"\n[model]\nbuild = "microcircuit"\nscale = 0.002\n'
        "[simulation]\nduration = 10.0\nseeds = [1]\n"
        '[reference]\nbackend = "emulator"\n'
    )
    study = pp.Study.load(tmp_path / "study.toml")
    assert study.name == "filed"
    assert study.folder == Path("results/filed")
    assert [t.run.seed for t in study.plan().tasks] == [1]
    assert study.problems() == []
    assert len(study.describe()["populations"]) == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"duration": -1.0}, "simulation.duration: must be a positive number"),
        ({"seeds": [1, 1]}, "seeds: seed 1 appears more than once"),
        ({"candidates": [("nets", "double")]}, "unknown backend 'nets', did you mean 'nest'"),
        ({"candidates": [("nest", "naive")]}, "unknown number format 'naive'"),
        (
            {"backends": {"emulator": {"threads": 0}}},
            "backends.emulator.threads: must be at least 1",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(change: dict[str, Any], words: str) -> None:
    with pytest.raises(pp.RequestError, match=words) as caught:
        pp.Study("wrong", build, **{**VALUES, **change})
    assert "\n" not in str(caught.value)


def test_unknown_parameters_are_refused_when_the_script_has_run() -> None:
    study = pp.Study("wrong", build, **{**VALUES, "parameters": {"sizes": 3}})
    with pytest.raises(
        pp.RequestError, match=r"model\.sizes: .*no such parameter, did you mean 'size'"
    ):
        study.plan()


def test_a_function_that_no_run_could_find_is_refused() -> None:
    with pytest.raises(pp.RequestError, match="does not stand at the top of a file"):
        pp.Study("typed-in", lambda sim: None, **VALUES)
