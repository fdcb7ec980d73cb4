"""Small inputs after situations that users of simulators report, with the right answer.

Spike times are those that theory gives; where input makes no sense, the right answer is a sentence before
anything runs.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from command_line import portability

from pynn_portability import backends
from pynn_portability.model.scripts import capture
from pynn_portability.probe.compliance import Simulator
from pynn_portability.realize.validity import adjustments, violations
from pynn_portability.spikes.sonata import read_sonata

CELLS = """
def cells(sim, n, label, cell="IF_curr_exp", **parameters):
    population = sim.Population(n, getattr(sim, cell)(**parameters), label=label)
    population.record("spikes")
    return population

def static(sim, weight, delay=1.0):
    return sim.StaticSynapse(weight=weight, delay=delay)

def build(sim):
"""
STUDY = """
[study]
name = "case"
[model]
build = "model.py:build"
[simulation]
duration = {duration}
warmup = 0.0
timestep = 0.1
seeds = [1, 2, 3]
[reference]
backend = "emulator"
format = "double"
[[candidate]]
backend = "emulator"
format = "{candidate}"
"""

REFUSED: Mapping[str, tuple[str, list[str]]] = {
    "a negative probability": (
        """
    source = sim.Population(4, sim.SpikeSourceArray(spike_times=[1.0]), label="S")
    sim.Projection(source, cells(sim, 4, "E"), sim.FixedProbabilityConnector(-0.1), static(sim, 0.1))
""",
        ["FixedProbabilityConnector(-0.1)", "a probability from 0 to 1", "line "],
    ),
    "a delay beyond 32 bits": (
        """
    source = sim.Population(1, sim.SpikeSourceArray(spike_times=[1.0]), label="S")
    sim.Projection(source, cells(sim, 1, "E"), sim.AllToAllConnector(), static(sim, 160.0, 2.5e8))
""",
        ["projection 'S->E'", "delay is 2.5e+08", "0 to 100000 ms"],
    ),
    "an infinite delay in a list": (
        """
    source = sim.Population(2, sim.SpikeSourceArray(spike_times=[1.0]), label="S")
    synapses = [(0, 0, 100.0, float("inf")), (1, 1, 100.0, 1.0)]
    sim.Projection(source, cells(sim, 2, "E"), sim.FromListConnector(synapses))
""",
        ["projection 'S->E'", "delay of entry 0 is inf"],
    ),
    "a NaN among the weights of a list": (
        """
    e = cells(sim, 5, "E", i_offset=1.2)
    synapses = [(0, 1, float("nan"), 1.0), (1, 2, 0.5, 1.0)]
    sim.Projection(e, e, sim.FromListConnector(synapses))
""",
        ["projection 'E->E'", "weight of entry 0 is nan"],
    ),
    "an empty label": ("    cells(sim, 5, '', i_offset=1.2)\n", ["label ''", "is empty"]),
    "a spike before the start": (
        """
    source = sim.Population(1, sim.SpikeSourceArray(spike_times=[-5.0]), label="S")
    source.record("spikes")
""",
        ["population 'S'", "spike_times of cell 0", "-5 ms"],
    ),
    "time constants that are drawn negative": (
        """
    cells(sim, 50, "E", tau_m=sim.RandomDistribution("normal", mu=10.0, sigma=8.0), i_offset=1.0)
""",
        ["population 'E'", "tau_m is drawn from normal(mu=10, sigma=8)", "with seed ", "positive"],
    ),
    "weights that are drawn with both signs": (
        """
    e = cells(sim, 20, "E", i_offset=1.0)
    weight = sim.RandomDistribution("normal", mu=0.1, sigma=0.1)
    sim.Projection(e, e, sim.AllToAllConnector(), static(sim, weight), receptor_type="excitatory")
""",
        ["projection 'E->E'", "excitatory weights", "drawn from normal"],
    ),
    "a reset above the threshold": (
        "    cells(sim, 3, 'E', v_reset=-40.0, v_thresh=-50.0)\n",
        ["population 'E'", "v_reset must be below v_thresh"],
    ),
}


def write(folder: Path, build: str, duration: float = 200.0, candidate: str = "float32") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(CELLS + build)
    (folder / "study.toml").write_text(STUDY.format(duration=duration, candidate=candidate))


def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """All in one command, which names every file."""
    for number, (build, _) in enumerate(REFUSED.values()):
        write(tmp_path / str(number), build)
    files = [f"{number}/study.toml" for number in range(len(REFUSED))]
    ended = portability(tmp_path, "validate", *files)
    assert (ended.returncode, ended.stdout) == (2, "")
    sentences = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentences) == len(REFUSED)
    for file, sentence, (name, (_, words)) in zip(files, sentences, REFUSED.items(), strict=True):
        assert sentence.startswith(f"error: {file}: model.build: "), name
        assert [word for word in words if word not in sentence] == [], sentence
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("*/results"))
    # the command that runs refuses as well, and writes nothing
    ended = portability(tmp_path, "run", files[-1], "--out", "out")
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (2, sentences[-1])
    assert not (tmp_path / "out").exists()


def spikes(tmp_path: Path, build: str, *arguments: str) -> dict[str, dict[int, list[float]]]:
    """Spike times (ms) by population and cell of the reference's first run."""
    write(tmp_path, build)
    ended = portability(tmp_path, "run", "study.toml", "--out", "out", "--exit-zero", *arguments)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    data = read_sonata(
        tmp_path / "out" / "runs" / results["reference"]["runs"][0]["key"] / "spikes.h5"
    )
    return {
        label: {
            cell: (population.steps[population.neurons == cell] * data.timestep).tolist()
            for cell in range(population.size)
        }
        for label, population in data.populations.items()
    }


def test_a_network_without_synapses(tmp_path: Path) -> None:
    found = spikes(
        tmp_path,
        """
    e = cells(sim, 10, "E", tau_m=10.0)
    noise = sim.Population(10, sim.SpikeSourcePoisson(rate=8000.0))
    sim.Projection(noise, e, sim.OneToOneConnector(), static(sim, 0.1))
""",
    )
    assert len(found["E"]) == 10
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    cost = results["reference"]["cost"]
    assert cost.get("bytes_per_synapse") is None
    assert cost.get("bytes_per_synapse_allocated") is None


def test_a_network_that_is_silent_says_so(tmp_path: Path) -> None:
    """Every candidate passes by being silent as well, which must not go without a word."""
    found = spikes(
        tmp_path,
        """
    e = cells(sim, 1, "E")
    sim.Projection(e, e, sim.FromListConnector([]), static(sim, 0.1))
""",
    )
    assert found == {"E": {0: []}}
    report = (tmp_path / "out" / "report.html").read_text()
    header = report[: report.index("</header>")]
    assert "The reference is silent" in header


def test_recording_nothing_but_sources(tmp_path: Path) -> None:
    found = spikes(
        tmp_path,
        """
    source = sim.Population(2, sim.SpikeSourceArray(spike_times=[[10.0, 3e8], [20.0]]), label="S")
    source.record("spikes")
""",
    )
    assert found == {"S": {0: [pytest.approx(10.0)], 1: [pytest.approx(20.0)]}}
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["notes"] == ["spike times after the end of the run, 200 ms, are left out: 'S'"]
    assert "are left out" in (tmp_path / "out" / "report.html").read_text()


INSTALLED = [
    name
    for name in ("nest", "brian2", "emulator")
    if name == "emulator" or importlib.util.find_spec(name)
]


@pytest.mark.parametrize("backend", INSTALLED)
def test_times_that_stand_for_never(backend: str) -> None:
    """A time far beyond the end is no spike; the others make each cell fire once."""

    def build(sim) -> None:  # type: ignore[no-untyped-def]
        times = [[10.0, 3e8], [20.0]]
        source = sim.Population(2, sim.SpikeSourceArray(spike_times=times), label="S")
        source.record("spikes")
        cells = sim.Population(2, sim.IF_curr_exp(tau_refrac=50.0), label="E")
        cells.record("spikes")
        synapse = sim.StaticSynapse(weight=160.0, delay=1.0)
        sim.Projection(source, cells, sim.OneToOneConnector(), synapse)

    network = capture(build, {}, 0.1)
    assert violations(network, [1], 0.1) == []
    assert len(adjustments(network, 0.1, 2000)) == 1
    if reason := backends.load(backend).available():
        pytest.skip(reason)
    found = Simulator(backend).run(network, 2000).populations
    assert found["S"].steps.tolist() == [100, 200]
    assert sorted(found["E"].neurons.tolist()) == [0, 1]
    # label 100 and a delay of 10 steps; 160 nA move 1 nF by more than 15 mV in the next step
    assert np.sort(found["E"].steps).tolist() == [111, 211]


@pytest.mark.parametrize("backend", INSTALLED)
def test_no_refractory_time(backend: str) -> None:
    """A refractory time of 0 is none: with a strong input the cell spikes in every step."""

    def build(sim) -> None:  # type: ignore[no-untyped-def]
        parameters = {"i_offset": 1000.0, "tau_m": 10.0, "cm": 0.25}
        for tau_refrac in (0.0, 0.1, 0.2):
            cell = sim.IF_curr_exp(tau_refrac=tau_refrac, **parameters)
            sim.Population(1, cell, label=f"{tau_refrac}").record("spikes")

    network = capture(build, {}, 0.1)
    if reason := backends.load(backend).available():
        pytest.skip(reason)
    found = Simulator(backend).run(network, 20).populations
    assert found["0.0"].steps.tolist() == list(range(1, 21))
    assert found["0.1"].steps.tolist() == list(range(1, 21, 2))
    assert found["0.2"].steps.tolist() == list(range(1, 21, 3))


LABELS = ("a/b", ".", "..", "%2F", "a\nb", "\x1b[31mred\x07", "\u202eright", "日本", "x" * 300)


def test_any_other_text_is_a_label(tmp_path: Path) -> None:
    """It is found again in every file, and is harmless on a terminal and in the report."""
    build = "".join(f"    cells(sim, 2, {label!r}, i_offset=2.0)\n" for label in LABELS)
    found = spikes(tmp_path, build)
    assert tuple(found) == LABELS
    assert all(times[0] for times in found.values())
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert tuple(p["label"] for p in results["populations"]) == LABELS
    for command in ("describe", "validate"):
        ended = portability(tmp_path, command, "study.toml")
        assert ended.returncode == 0, ended.stderr
        assert not set("\x1b\x07\u202e") & set(ended.stdout + ended.stderr)
