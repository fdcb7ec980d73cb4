"""sPyNNaker for real, on its virtual machine: what is mapped, read back, reported and left alone.

The virtual machine simulates nothing, so of a run on a board only what surrounds the simulation is
tested here, with invented spikes in place of the board's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neo
import numpy as np
import pytest
from numpy.typing import NDArray
from progress_lines import without_progress

from pynn_portability import backends
from pynn_portability.backends import spinnaker
from pynn_portability.errors import RequestError
from pynn_portability.files import unsealed
from pynn_portability.formats.names import number_format
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import (
    AllToAll,
    ConnectionRule,
    FixedProbability,
    FixedTotalNumber,
    FromList,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, Projection, Value
from pynn_portability.probe.compliance import cells, connection, drive, recurrent, sources
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.spinnaker import deployment, findings

DEFAULTS = spinnaker.SpinnakerOptions()
OWN_FORMAT = number_format("spinnaker-full")


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """sPyNNaker in this process, with a home folder of its own and a virtual board."""
    if reason := spinnaker.BACKEND.available():
        pytest.skip(reason)
    kept = dict(os.environ)
    level, handlers = logging.getLogger().level, list(logging.getLogger().handlers)
    folder = tmp_path_factory.mktemp("home")
    spinnaker.own_home(folder)
    directory = Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(kept)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def realized(network: Network, timestep: float = 0.1, seed: int = 1) -> Realization:
    return OWN_FORMAT.on(Realization(network, seed, timestep)).realization


def sheet(network: Network, timestep: float = 0.1, **options: Any) -> dict[str, Any]:
    """The deployment sheet without the subprocess."""
    chosen = spinnaker.SpinnakerOptions(**options)
    facts = deployment.measure(realized(network, timestep), 1000, chosen)
    made = {"timestep": timestep, "options": chosen.model_dump(), **facts}
    made = json.loads(json.dumps(made, allow_nan=False))
    return made | {"findings": findings.findings(network, made)}


def kinds(made: dict[str, Any], severity: str | None = None) -> list[str]:
    return [f["kind"] for f in made["findings"] if severity in (None, f["severity"])]


def described(made: dict[str, Any], kind: str) -> dict[str, str]:
    (found,) = [f for f in made["findings"] if f["kind"] == kind]
    return found


def row(made: dict[str, Any], label: str) -> dict[str, Any]:
    return next(r for r in made["projections"] if r["label"] == label)


def listed(
    label: str,
    ends: tuple[str, str],
    sizes: tuple[int, int],
    n: int,
    weight: Value,
    delay: Value,
    receptor: Receptor = "excitatory",
    seed: int = 1,
) -> Projection:
    """``n`` random pairs."""
    rng = np.random.default_rng(seed)
    pairs = FromList(rng.integers(0, sizes[0], n), rng.integers(0, sizes[1], n))
    return Projection(label, *ends, receptor, pairs, weight, delay)


def drawn(
    connector: ConnectionRule, weight: Value = 0.1, delay: Value = 1.0, size: int = 40
) -> Network:
    """Two populations, connected by a connector that cores know."""
    return Network(
        (cells("a", size), cells("b", size)),
        (Projection("p", "a", "b", "excitatory", connector, weight, delay),),
    )


def delays(n: int, longest: float, seed: int = 2) -> NDArray[np.float64]:
    """Delays (ms) from 0.1 to ``longest``, which is reached."""
    values = np.random.default_rng(seed).integers(1, round(longest * 10) + 1, n) * 0.1
    values[0] = longest
    return values


# --- Lowering ---


@pytest.mark.parametrize("seed", [1, 7])
@pytest.mark.parametrize("timestep", [0.1, 1.0])
def test_synapses_are_held_as_whole_steps(virtual: None, timestep: float, seed: int) -> None:
    """Every synapse is there, its weight the nearest multiple of the step, its delay unchanged."""
    network = recurrent("IF_curr_exp", seed, size=300)
    realization = realized(network, timestep)
    mapped = spinnaker.DryRun(realization, DEFAULTS)
    for p in network.projections:
        (step,) = [
            r["step"] for r in mapped.neurons(p.target)["receptors"] if r["receptor"] == p.receptor
        ]
        given = Synapses.concatenate(list(realization.synapses(p.label))).sorted()
        held = mapped.connections(p.label)
        stored = held.weight / step
        assert np.array_equal(stored, np.rint(stored))
        expected = Synapses(
            given.source, given.target, np.rint(given.weight / step) * step, given.delay
        ).sorted()
        for name in ("source", "target", "weight", "delay"):
            assert np.array_equal(getattr(held, name), getattr(expected, name)), (p.label, name)
        # and what the number format predicts without sPyNNaker
        predicted = OWN_FORMAT.on(realization).weights(p.label)(given.weight)
        assert np.array_equal(np.sort(predicted), np.sort(held.weight))
        assert (held.weight < 0).any() == (p.receptor == "inhibitory")


def test_synapses_in_any_order_and_several_of_a_pair(virtual: None) -> None:
    """sPyNNaker loses synapses of unsorted lists, for it looks at the wrong ones for row lengths."""
    rng = np.random.default_rng(3)
    # each source has its targets on a core of its own
    pairs = [(s, 256 * s + t) for s in range(2) for t in range(200)]
    pairs += [(0, 5), (0, 5), (1, 455)]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    network = Network(
        (cells("a", 2), cells("b", 512)),
        (connection("p", ("a", "b"), pairs, rng.uniform(0.1, 0.2, 403), delays(403, 3.0)),),
    )
    held = spinnaker.DryRun(realized(network), DEFAULTS).connections("p")
    assert sorted(zip(held.source.tolist(), held.target.tolist(), strict=True)) == sorted(pairs)


def test_neurons_and_sources_have_their_own_values(virtual: None) -> None:
    network = Network(
        (
            cells("a", 3, v=np.array([-70.0, -60.5, -55.25]), tau_m=np.array([8.0, 10.0, 12.5])),
            sources("s", [[0.3, 0.7, 5.7], []]),
            sources("silent", [[], []]),
        ),
        (connection("p", ("s", "a"), [(0, 0), (1, 2)], 0.2, 1.0),),
        (drive("d", "a", np.array([100.0, 200.0, 300.0]), 0.1, start=5.0, duration=10.0),),
    )
    # only before it is mapped can sPyNNaker be asked without a board
    given = spinnaker.MappedNetwork(realized(network), DEFAULTS)
    neurons = given.populations["a"]
    assert neurons.get("tau_m") == [8.0, 10.0, 12.5]
    assert list(neurons.initial_values["v"]) == [-70.0, -60.5, -55.25]
    ticks = given.populations["s"]._vertex.send_buffer_times
    assert [np.asarray(t).tolist() for t in ticks] == [[3, 7, 57], []]
    poisson = given.drives["d"]._synapse_information.pre_population
    for name, values in {"rate": [100, 200, 300], "start": [5] * 3, "duration": [10] * 3}.items():
        assert [v.tolist() for v in poisson.get(name)] == [[v] for v in values]
    mapped = spinnaker.DryRun(realized(network), DEFAULTS)
    held = mapped.read_drive("d")
    assert held.source.tolist() == [0, 1, 2] == held.target.tolist()
    assert "SpikeSourceArray has no spike times" in mapped.warnings


def test_weights_of_both_signs_are_refused(virtual: None) -> None:
    weight = Distribution("normal", {"mu": 0.1, "sigma": 0.1})
    network = drawn(FixedProbability(0.5), weight)
    with pytest.raises(RequestError, match="projection 'p' has weights of both signs"):
        spinnaker.DryRun(realized(network), DEFAULTS)


def test_a_projection_without_synapses(virtual: None) -> None:
    made = sheet(drawn(FixedProbability(0.0)))
    assert row(made, "p")["synapses"] == 0
    assert "saturation" not in kinds(made)


# --- What a network takes ---


def test_combined_cores_at_one_millisecond(virtual: None) -> None:
    network = recurrent("IF_curr_exp", 1, size=300)
    split, combined = sheet(network, 0.1), sheet(network, 1.0)
    layouts = [
        [p["layout"] for p in made["populations"] if "layout" in p] for made in (split, combined)
    ]
    assert layouts == [["split", "split"], ["combined", "combined"]]
    numbers = [{k["kind"]: k["cores"] for k in m["machine"]["kinds"]} for m in (split, combined)]
    # 300 neurons are on two cores of up to 256, 75 on one
    assert numbers[0]["neurons"] == numbers[0]["synapses"] == 3
    assert numbers[1]["neurons and synapses"] == 3
    for made in (split, combined):
        machine = made["machine"]
        assert machine["boards"] == 1 and machine["chips"] >= 1
        assert machine["cores"] == sum(k["cores"] for k in machine["kinds"])
        assert machine["sdram_total"] == machine["sdram_fixed"] + 1000 * machine["sdram_per_step"]
        assert machine["routing_entries"] > 0


def test_fewer_neurons_on_a_core(virtual: None) -> None:
    made = sheet(recurrent("IF_curr_exp", 1, size=300), neurons_per_core=64)
    excitatory = next(p for p in made["populations"] if p["label"] == "E")
    # 64 neurons and two receptors leave 7 of 14 address bits
    assert excitatory["delay_slots"] == 2**7
    assert excitatory["neurons_per_core"] <= 64 and excitatory["cores"]["neurons"] == 5


# --- Findings: each is provoked, and goes away with what it advises ---


def test_constant_delays_make_the_step_coarse(virtual: None) -> None:
    def network(delay: Value) -> Network:
        weight = np.random.default_rng(1).gamma(4.0, 0.05, 8000)
        projection = listed("p", ("a", "a"), (400, 400), 8000, weight, delay)
        return Network((cells("a", 400),), (projection,))

    constant, varied = sheet(network(1.0)), sheet(network(delays(8000, 2.0)))
    assert "constant-delays" in kinds(constant, "warning")
    assert "constant-delays" not in kinds(varied)
    steps = [made["populations"][0]["receptors"][0]["step"] for made in (constant, varied)]
    assert steps[0] / steps[1] >= 8
    said = described(constant, "constant-delays")
    assert said["where"] == "a, excitatory"
    assert f"{steps[0] / steps[1]:.0f} times" in said["what"]
    # the other advice
    chosen = sheet(network(1.0), summed_excitatory=1.0, summed_inhibitory=1.0)
    assert "constant-delays" not in kinds(chosen)
    assert chosen["populations"][0]["receptors"][0]["step"] < steps[0]


def test_two_stages_of_delay_extension_lose_synapses(virtual: None) -> None:
    def network(longest: float) -> Network:
        projection = listed("p", ("a", "a"), (400, 400), 20000, 0.05, delays(20000, longest))
        return Network((cells("a", 400),), (projection,))

    twice, once = sheet(network(12.0)), sheet(network(6.4))
    assert "delay-stages" in kinds(twice, "error") and "lost-synapses" in kinds(twice, "error")
    assert row(twice, "p")["lost"] > 0
    assert f"{row(twice, 'p')['lost']:,} of 20,000" in described(twice, "lost-synapses")["what"]
    assert described(twice, "delay-stages")["advice"].startswith("with 64 neurons per core")
    assert "delay-extension" in kinds(once, "note")
    assert row(once, "p")["lost"] == row(once, "p")["misplaced"] == 0
    enough = sheet(network(12.0), neurons_per_core=64)
    assert not {"delay-stages", "delay-extension", "lost-synapses"} & set(kinds(enough))


def test_misplaced_synapses_are_noticed(virtual: None) -> None:
    """With as many sources as fill their cores none is lost, but other synapses come back."""
    projection = listed("p", ("a", "a"), (512, 512), 20000, 0.05, delays(20000, 12.0))
    made = sheet(Network((cells("a", 512),), (projection,)))
    assert row(made, "p")["lost"] == 0 and row(made, "p")["misplaced"] > 0
    assert "lost-synapses" in kinds(made, "error")


def test_weights_beyond_the_range_wrap(virtual: None) -> None:
    weight = np.array([3.0, 0.5, 1.5])
    network = Network(
        (cells("a", 3),), (connection("p", ("a", "a"), [(0, 1), (1, 2), (2, 0)], weight, 1.0),)
    )
    wrapped = sheet(network, summed_excitatory=0.5, summed_inhibitory=1.0)
    assert row(wrapped, "p")["wrapped"] == 1
    assert "1 of 3 weights are beyond 2 nA" in described(wrapped, "wrapped-weights")["what"]
    # 3 nA come back as 1 nA
    assert row(wrapped, "p")["weight_error"]["max"] == pytest.approx(2.0, abs=1e-4)
    assert "wrapped-weights" not in kinds(sheet(network))


def test_weights_that_become_zero(virtual: None) -> None:
    def network(small: float) -> Network:
        weight = np.array([100.0, small, small])
        pairs = [(0, 1), (1, 2), (2, 0)]
        return Network(
            (cells("a", 3),),
            (connection("p", ("a", "a"), pairs, weight, np.array([1.0, 1.5, 2.0])),),
        )

    zero, kept = sheet(network(1e-3)), sheet(network(1e-2))
    assert row(zero, "p")["zero"] == 2 and row(kept, "p")["zero"] == 0
    assert "2 of 3 weights" in described(zero, "zero-weights")["what"]
    assert "zero-weights" not in kinds(kept)


def test_coarse_weights(virtual: None) -> None:
    weight = np.random.default_rng(1).normal(0.05, 0.001, 400)
    network = Network(
        (cells("a", 20),),
        (
            listed("p", ("a", "a"), (20, 20), 400, weight, delays(400, 2.0)),
            listed("strong", ("a", "a"), (20, 20), 20, 200.0, 1.0),
        ),
    )
    made = sheet(network)
    assert "p (error of" in described(made, "coarse-weights")["what"]
    alone = Network(network.populations, network.projections[:1])
    assert "coarse-weights" not in kinds(sheet(alone))


@pytest.mark.parametrize(("delay", "short"), [(0.3, "2 steps instead of 3"), (0.5, None)])
def test_delays_that_cores_round_down(virtual: None, delay: float, short: str | None) -> None:
    made = sheet(drawn(AllToAll(), delay=delay))
    found = [f for f in made["findings"] if f["kind"] == "on-chip-delays"]
    assert [short in f["what"] for f in found] == ([True] if short else [])
    # the list that a run sends is right
    assert row(made, "p")["delay_error"]["max"] < 1e-9
    as_list = FromList(*(a.ravel().astype(np.int64) for a in np.mgrid[:40, :40]))
    assert "on-chip-delays" not in kinds(sheet(drawn(as_list, delay=delay)))


def test_connections_that_cores_draw(virtual: None) -> None:
    made = sheet(drawn(FixedTotalNumber(200)))
    assert "on-chip-draws" in kinds(made, "note")
    assert made["mode"] == "listed" and row(made, "p")["compared"] == 200


def test_saturation(virtual: None) -> None:
    """Few strong Poisson inputs at a high rate, which sPyNNaker does not plan with."""
    projection = listed("p", ("a", "a"), (100, 100), 20000, 0.001, delays(20000, 2.0))
    network = Network((cells("a", 100),), (projection,), (drive("d", "a", 20000.0, 0.5, 1.0),))
    made = sheet(network)
    said = described(made, "saturation")
    # 2 spikes of 0.5 nA per step with an SD of 0.5 sqrt(2) nA, against 2 nA
    assert "1 nA on average with an SD of 0.707 nA" in said["what"]
    assert "saturates at 2 nA" in said["what"]
    assert "saturation" not in kinds(sheet(network, summed_excitatory=2.5, summed_inhibitory=1.0))


def test_several_synapse_cores(virtual: None) -> None:
    def network(size: int) -> Network:
        return Network(
            (cells("a", size), cells("b", 256)),
            (Projection("p", "a", "b", "excitatory", AllToAll(), 0.01, 1.0),),
        )

    # 256 synapses of each of 100 sources, at 1000 spikes/s
    made = sheet(network(100), spikes_per_second=1000.0)
    assert made["populations"][1]["synapse_cores"] == 2
    assert "2 synapse cores" in described(made, "synapse-cores")["what"]
    slower = sheet(network(100), spikes_per_second=1000.0, time_scale_factor=2)
    assert "synapse-cores" not in kinds(slower)


def test_load_of_poisson_sources_is_not_planned(virtual: None) -> None:
    def network(rate: float) -> Network:
        return Network((cells("a", 256),), (), (drive("d", "a", rate, 0.01, 1.0),))

    made = sheet(network(60000.0))
    assert made["populations"][0]["synapse_cores"] == 1
    assert "1.5e+07 synaptic events" in described(made, "event-load")["what"]
    assert "event-load" not in kinds(sheet(network(40000.0)))


def test_sheet_of_a_network_too_large_to_list(
    virtual: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped with its own connectors; errors are those of cores that round for themselves."""
    weight = Distribution("normal", {"mu": 0.1, "sigma": 0.01})
    delay = Distribution("normal_clipped", {"mu": 1.5, "sigma": 0.7, "low": 0.1, "high": 3.0})
    network = drawn(FixedTotalNumber(30000), weight, delay, size=300)
    whole = sheet(network)
    monkeypatch.setattr(deployment, "LISTED_SYNAPSES", 1000)
    made = sheet(network)
    assert (made["mode"], whole["mode"]) == ("generated", "listed")
    assert row(made, "p")["compared"] == findings.SAMPLED_SYNAPSES
    assert made["machine"]["cores"] == whole["machine"]["cores"]
    assert made["populations"][1]["receptors"] == whole["populations"][1]["receptors"]
    assert row(whole, "p")["delay_error"]["mean"] == pytest.approx(0.0, abs=2e-3)
    assert row(made, "p")["delay_error"]["mean"] == pytest.approx(-0.05, abs=2e-3)
    assert "30,000 synapses are too many to list" in described(made, "on-chip-draws")["what"]


def test_lists_in_a_large_network(virtual: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cores cannot draw stays a list, as long as it is not too long itself."""
    monkeypatch.setattr(deployment, "LISTED_SYNAPSES", 1000)
    lognormal = Distribution("lognormal", {"mu": -2.0, "sigma": 0.3})

    def network(n: int) -> Network:
        own = Projection("own", "a", "b", "excitatory", FixedTotalNumber(n), lognormal, 2.0)
        large = drawn(FixedTotalNumber(3000), size=100)
        return Network(large.populations, (*large.projections, own))

    made = sheet(network(900))
    assert (made["mode"], made["synapses"]) == ("generated", 3900)
    step = row(made, "own")["step"]
    assert 0.49 * step < row(made, "own")["weight_error"]["max"] <= 0.5 * step
    with pytest.raises(RequestError, match=r"1,100 synapses can neither be listed.* of own; "):
        sheet(network(1100))


# --- What cannot be mapped ---


def test_more_than_256_synapses_in_a_row(virtual: None) -> None:
    def network(n: int) -> Network:
        return Network(
            (cells("a", 1), cells("b", 2)), (connection("p", ("a", "b"), [(0, 0)] * n, 0.1, 1.0),)
        )

    sheet(network(256))
    with pytest.raises(RequestError, match="more than 256 synapses onto the neurons of one core"):
        sheet(network(257))


@pytest.mark.parametrize("neurons_per_core", [256, 128])
def test_delays_beyond_the_limit(virtual: None, neurons_per_core: int) -> None:
    def network(longest: float) -> Network:
        projection = listed("p", ("a", "a"), (256, 256), 100, 0.1, delays(100, longest))
        return Network((cells("a", 256),), (projection,))

    limit = 28.8 * 256 / neurons_per_core
    sheet(network(limit), neurons_per_core=neurons_per_core)
    with pytest.raises(RequestError, match=rf"projection 'p': a delay .* limit of {limit:g} ms"):
        sheet(network(limit + 0.1), neurons_per_core=neurons_per_core)


def test_expected_sums_belong_together(virtual: None) -> None:
    """For sPyNNaker, an expected sum of 0 is one, and a scale too fine for any larger weight."""
    with pytest.raises(RequestError, match="give both or neither"):
        sheet(drawn(AllToAll()), summed_inhibitory=1.0)


def test_too_many_neurons_on_a_core(virtual: None) -> None:
    with pytest.raises(RequestError, match="neurons_per_core: at most 256"):
        sheet(drawn(AllToAll()), neurons_per_core=257)


# --- A dry run leaves everything as it was ---

MODEL = """
def build(sim, n=40):
    a = sim.Population(n, sim.IF_curr_exp(), label="a")
    a.record("spikes")
    sim.Projection(a, a, sim.FixedProbabilityConnector(0.2),
                   sim.StaticSynapse(weight=0.1, delay=1.0), label="p")
"""

STUDY = """\
[study]
name = "tiny"
[model]
build = "model.py:build"
[simulation]
duration = 10.0
warmup = 0.0
seeds = [3]
[reference]
backend = "emulator"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose configuration names a board that must not be asked for."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / ".spynnaker.cfg").write_text("[Machine]\nmachine_name = 192.0.2.1\nversion = 5\n")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file()
    }


def command(*arguments: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
    return subprocess.run(
        [sys.executable, "-c", "from pynn_portability.cli import main; main()", *arguments],
        cwd=cwd,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_map_leaves_home_and_working_directory_alone(tmp_path: Path, home: Path) -> None:
    if reason := spinnaker.BACKEND.available():
        pytest.skip(reason)
    work = tmp_path / "work"
    work.mkdir()
    (work / "model.py").write_text(MODEL)
    (work / "study.toml").write_text(STUDY)
    before = contents(home), contents(work)
    ended = command("map", "study.toml", "--out", str(tmp_path / "out"), cwd=work, home=home)
    assert ended.returncode == 0, ended.stderr
    assert without_progress(ended.stderr) == ""
    # PyNN's connectors import CSA, which imports Matplotlib, which caches where it found its fonts
    after = {f: digest for f, digest in contents(home).items() if "matplotlib/fontlist" not in f}
    assert (after, contents(work)) == before
    assert "1 board" in ended.stdout and "note: p: " in ended.stdout
    made = unsealed(tmp_path / "out" / "deployment.json")
    assert made["seed"] == 3 and made["model"]["build"] == "model.py:build"

    # in the results and the report, once there are any
    ended = command("run", "study.toml", "--out", str(tmp_path / "out"), cwd=work, home=home)
    assert ended.returncode == 0, ended.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["deployment"] == made
    assert "Deployment on SpiNNaker" in (tmp_path / "out" / "report.html").read_text()
    ended = command(
        *("map", "study.toml", "--out", str(tmp_path / "out"), "--seed", "5", "--timestep", "1"),
        "--json",
        cwd=work,
        home=home,
    )
    again = json.loads(ended.stdout)
    assert (again["seed"], again["timestep"], again["n_steps"]) == (5, 1.0, 10)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["deployment"] == again


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (MODEL.replace("delay=1.0", "delay=400.0"), "a delay of 400 ms is longer than SpiNNaker's"),
        (MODEL.replace("IF_curr_exp", "IF_cond_exp"), "SpiNNaker has no IF_cond_exp"),
    ],
)
def test_map_refuses_in_one_sentence(tmp_path: Path, home: Path, model: str, sentence: str) -> None:
    if reason := spinnaker.BACKEND.available():
        pytest.skip(reason)
    (tmp_path / "model.py").write_text(model)
    (tmp_path / "study.toml").write_text(STUDY)
    ended = command("map", "study.toml", cwd=tmp_path, home=home)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert sentence in ended.stderr and ended.stderr.count("\n") == 1
    assert not (tmp_path / "results" / "tiny" / "deployment.json").exists()


# --- The board ---


@pytest.fixture
def board(virtual: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that names a board, while sPyNNaker itself goes on with the virtual one."""
    monkeypatch.setattr(spinnaker.SpinnakerBackend, "skipped", lambda self, options: None)


def small() -> Network:
    return Network(
        (sources("s", [[0.4], [1.0]]), cells("a", 3)),
        (connection("p", ("s", "a"), [(0, 0), (1, 1), (0, 2)], 0.5, 1.0),),
    )


def test_spikes_of_a_board_get_the_label_of_the_end_of_their_step(
    board: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invented spikes in place of a board's."""
    simulation = spinnaker.BACKEND.simulation(OWN_FORMAT.on(realized(small())), DEFAULTS)

    block = neo.Block()
    block.segments.append(neo.Segment())
    for index, times in ((2, [0.0, 4.9]), (0, [1.2]), (1, [])):
        block.segments[0].spiketrains.append(
            neo.SpikeTrain(times, units="ms", t_stop=5.0, source_index=index)
        )
    population = simulation.populations["a"]
    monkeypatch.setattr(type(population), "get_data", lambda self, variable: block)
    progress: list[float] = []
    data = simulation.run(49, progress.append)
    assert (data.timestep, data.n_steps, progress) == (0.1, 49, [1.0])
    spikes = data.populations["a"]
    # the spike of step 50 is beyond the end
    assert list(zip(spikes.steps, spikes.neurons, strict=True)) == [(1, 2), (13, 0)]
    assert data.populations["s"].steps.tolist() == [4, 10]


def test_a_board_that_holds_too_few_synapses_is_an_error(
    board: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = spinnaker.BACKEND.simulation(OWN_FORMAT.on(realized(small())), DEFAULTS)
    whole = spinnaker.BoardSimulation.connections

    def fewer(self: Any, projection: str) -> Synapses:
        s = whole(self, projection)
        return Synapses(s.source[1:], s.target[1:], s.weight[1:], s.delay[1:])

    monkeypatch.setattr(spinnaker.BoardSimulation, "connections", fewer)
    with pytest.raises(RuntimeError, match="'p' has 2 synapses on the board and should have 3"):
        simulation.run(10, lambda fraction: None)


def test_two_delay_stages_are_refused_on_a_board(board: None) -> None:
    projection = listed("p", ("a", "a"), (400, 400), 2000, 0.05, delays(2000, 12.0))
    network = Network((cells("a", 400),), (projection,))
    with pytest.raises(RequestError, match=r"projection 'p': .* loses or misplaces synapses"):
        spinnaker.BACKEND.simulation(OWN_FORMAT.on(realized(network)), DEFAULTS)
    spinnaker.BACKEND.simulation(
        OWN_FORMAT.on(realized(network)), spinnaker.SpinnakerOptions(neurons_per_core=64)
    )


def test_an_unreachable_board_is_one_sentence(tmp_path: Path, home: Path) -> None:
    """192.0.2.1 is an address that nobody has (RFC 5737)."""
    if reason := spinnaker.BACKEND.available():
        pytest.skip(reason)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_spinnaker import DEFAULTS, OWN_FORMAT, realized, small, spinnaker\n"
        "try:\n"
        "    simulation = spinnaker.BACKEND.simulation(OWN_FORMAT.on(realized(small())), DEFAULTS)\n"
        "    simulation.run(10, lambda fraction: None)\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(home), "MPLCONFIGDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line for line in ended.stdout.splitlines() if line.startswith("RequestError")]
    assert len(said) == 1 and "the SpiNNaker board cannot be reached" in said[0]


def test_other_number_formats_are_refused() -> None:
    (problem,) = backends.refusals(spinnaker.BACKEND, small(), number_format("double"), 0.1)
    assert "allowed is 'spinnaker-full'" in problem
    assert backends.refusals(spinnaker.BACKEND, small(), OWN_FORMAT, 0.1) == []
