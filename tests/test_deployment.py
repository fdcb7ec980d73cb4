"""What the deployment sheet says of networks and facts, without sPyNNaker."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_example import example, write

from pynn_portability import backends
from pynn_portability.backends import spinnaker
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.connectivity import AllToAll
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, Population, Projection
from pynn_portability.probe.compliance import cells, connection, drive, sources
from pynn_portability.realize.realization import Realization
from pynn_portability.results import assembling as results
from pynn_portability.run.study import load_study
from pynn_portability.spinnaker import deployment
from pynn_portability.spinnaker.findings import FORMAT, delay_steps_on_chip
from pynn_portability.spinnaker.findings import findings as listed_findings

DEFAULTS = spinnaker.SpinnakerOptions()


def facts(**changes: Any) -> dict[str, Any]:
    """Facts of a mapped network of one population ``a``, onto which ``p`` and the drive ``d`` project."""
    moments = {"mean": 0.1, "sd": 0.01, "min": 0.05, "max": 0.15}
    errors = {"mean": 0.0, "sd": 1e-5, "max": 2e-5, "quantiles": [0.0] * 5}
    step = 2.0**-15
    common = {
        "target": "a",
        "receptor": "excitatory",
        "compared": 100,
        "step": step,
        "weight": moments,
        "weight_error": errors,
        "delay": {"mean": 1.5, "sd": 0.5, "min": 1.0, "max": 2.0},
        "delay_error": errors,
        **dict.fromkeys(("wrapped", "zero", "lost", "misplaced"), 0),
    }
    sheet: dict[str, Any] = {
        "software": {"sPyNNaker": "1!7.4.1"},
        "seed": 1,
        "timestep": 0.1,
        "n_steps": 1000,
        "options": DEFAULTS.model_dump(),
        "mode": "listed",
        "synapses": 100,
        "machine": {
            **dict.fromkeys(("boards", "chips", "cores", "routing_entries"), 1),
            "kinds": [{"kind": "neurons", "cores": 1, "sdram_fixed": 2**20, "sdram_per_step": 4}],
            "sdram_fixed": 2**20,
            "sdram_per_step": 4,
            "sdram_total": 2**20 + 4000,
            "routing_entries_per_chip": 1,
        },
        "populations": [
            {
                "label": "a",
                "size": 100,
                "cell_type": "IF_curr_exp",
                "neurons_per_core": 100,
                "cores": {"neurons": 1},
                "layout": "split",
                "synapse_cores": 1,
                "delay_slots": 64,
                "delay_slots_used": 32,
                "receptors": [
                    {"receptor": r, "shift": 0, "scale": 1 / step, "step": step}
                    for r in ("excitatory", "inhibitory")
                ],
            }
        ],
        "constants": [],
        "delay_stages": {},
        "projections": [
            {**common, "label": "p", "kind": "projection", "source": "a", "synapses": 100}
            | {"connector": "FromList", "in_degree": 10},
            {**common, "label": "d", "kind": "drive", "source": None, "synapses": 100}
            | {"connector": "OneToOne", "in_degree": 1, "rate": 100.0},
        ],
        "warnings": [],
    }
    return sheet | changes


def network(**parameters: Any) -> Network:
    return Network(
        (cells("a", 100, **parameters),),
        (connection("p", ("a", "a"), [(0, 1)], 0.1, 1.5),),
        (drive("d", "a", 100.0, 0.1, 1.5),),
    )


def findings(net: Network, sheet: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {f["kind"]: f for f in listed_findings(net, sheet)}


# --- Findings ---


def test_a_network_without_surprises() -> None:
    """What every network of neurons meets is a note; everything has its advice."""
    found = findings(network(), facts())
    assert {kind: f["severity"] for kind, f in found.items()} == {
        "real-time": "note",
        "short-loop": "note",
    }
    assert all(f["where"] and f["what"] and f["advice"] for f in found.values())


def test_errors_come_first() -> None:
    sheet = facts()
    sheet["projections"][0] |= {"lost": 5, "zero": 7}
    order = [f["severity"] for f in listed_findings(network(), sheet)]
    assert order == ["error", "warning", "note", "note"]


@pytest.mark.parametrize(
    ("timestep", "factor", "noted"), [(0.1, 1, True), (0.1, 10, False), (1.0, 1, False)]
)
def test_real_time(timestep: float, factor: int, noted: bool) -> None:
    sheet = facts(timestep=timestep, options=DEFAULTS.model_dump() | {"time_scale_factor": factor})
    assert ("real-time" in findings(network(), sheet)) == noted


def test_loops_need_neurons_that_send() -> None:
    net = Network(
        (sources("s", [[1.0]]), cells("a", 1)),
        (connection("p", ("s", "a"), [(0, 0)], 0.1, 1.0),),
    )
    assert "short-loop" not in findings(net, facts())
    assert "0.1 ms shorter" in findings(network(), facts())["short-loop"]["what"]


def test_initial_values_from_a_distribution() -> None:
    random = Distribution("normal", {"mu": -60.0, "sigma": 5.0})
    assert findings(network(v=random), facts())["initial-values"]["where"] == "a"
    assert "initial-values" not in findings(network(v=np.full(100, -60.0)), facts())


@pytest.mark.parametrize(
    ("rate", "timestep", "kind"),
    [
        (1600.0, 0.1, None),
        (99.0, 0.1, None),
        (65000.0, 0.1, None),
        # intervals of 100.9 steps are rounded down
        (9.91, 1.0, "poisson-rate"),
        # exp(-9.5) has few bits
        (9500.0, 1.0, "poisson-rate"),
        (9999.0, 1.0, "poisson-rate"),
        (10500.0, 1.0, "poisson-gaussian"),
    ],
)
def test_rates_of_poisson_sources(rate: float, timestep: float, kind: str | None) -> None:
    net = Network(network().populations, (), (drive("d", "a", rate, 0.1, 1.5),))
    found = findings(net, facts(timestep=timestep))
    assert [k for k in found if k.startswith("poisson")] == ([kind] if kind else [])
    free = Population(
        "free", 3, "SpikeSourcePoisson", {"rate": rate, "start": 0.0, "duration": 1e10}
    )
    found = findings(Network((free,), ()), facts(timestep=timestep))
    assert [k for k in found if k.startswith("poisson")] == ([kind] if kind else [])


def test_effective_rate_is_told() -> None:
    """exp(-9.999) is 1.49 in the 15 fraction bits of the machine, so -log(1 / 2^15) = 10.397."""
    net = Network(network().populations, (), (drive("d", "a", 9999.0, 0.1, 1.5),))
    said = findings(net, facts(timestep=1.0))["poisson-rate"]["what"]
    assert "9999 Hz about 10397.2 Hz (+3.98%)" in said


def test_saturation_follows_the_rates() -> None:
    """A compound Poisson sum: 2 spikes per step of 0.5 nA against cells of 2 nA."""
    sheet = facts()
    sheet["projections"][1] |= {"rate": 20000.0}
    sheet["projections"][1]["weight"] = {"mean": 0.5, "sd": 0.0, "min": 0.5, "max": 0.5}
    said = findings(network(), sheet)["saturation"]
    assert said["where"] == "a, excitatory"
    sheet["projections"][1] |= {"rate": 200.0}
    assert "saturation" not in findings(network(), sheet)


def test_delay_extension_says_how_many_neurons_need_none() -> None:
    sheet = facts(delay_stages={"a": 1})
    sheet["machine"]["kinds"].append({"kind": "delay extensions", "cores": 3})
    sheet["projections"][0]["delay"]["max"] = 12.8
    said = findings(network(), sheet)["delay-extension"]
    assert said["where"] == "a" and "64 slots of 6.4 ms" in said["what"]
    # 64 neurons and two receptors leave 7 of 14 bits: 128 slots
    assert said["advice"].startswith("with 64 neurons per core")
    sheet["projections"][0]["delay"]["max"] = 12.9
    assert findings(network(), sheet)["delay-extension"]["advice"].startswith("with 32 neurons")


def test_constants_are_told_where_they_are_off() -> None:
    off = [
        {"population": "a", "name": "tau_m", "value": 20.0, "error": -5.2e-3},
        {"population": "a", "name": "tau_syn_E", "value": 0.5, "error": 5e-5},
    ]
    found = [
        f for f in listed_findings(network(), facts(constants=off)) if f["kind"] == "constants"
    ]
    assert len(found) == 1 and "tau_m = 20 ms by -0.52%" in found[0]["what"]


def test_warnings_of_spynnaker_are_passed_on() -> None:
    assert (
        findings(network(), facts(warnings=["mind the gap"]))["spynnaker"]["what"] == "mind the gap"
    )


def test_delays_that_cores_round_down() -> None:
    """26 of the 64 multiples of 0.1 ms that the ring buffers hold come out one step short."""
    steps = np.arange(1, 65)
    on_chip = delay_steps_on_chip(steps * 0.1, 0.1)
    short = steps[on_chip != steps]
    assert len(short) == 26 and (on_chip[on_chip != steps] == short - 1).all()
    assert short[:8].tolist() == [3, 4, 8, 9, 13, 14, 18, 19]
    assert delay_steps_on_chip(steps * 1.0, 1.0).tolist() == steps.tolist()
    assert delay_steps_on_chip(np.array([0.01]), 0.1).tolist() == [1]


def test_drives_with_short_delays_are_told() -> None:
    net = Network(network().populations, (), (drive("d", "a", 100.0, 0.1, 0.3),))
    assert findings(net, facts())["on-chip-delays"]["where"] == "d"


# --- What SpiNNaker cannot have ---


@pytest.mark.parametrize(
    ("net", "timestep", "sentence"),
    [
        (network(), 0.0123, "whole microseconds"),
        (network(), 0.0001, "whole microseconds"),
        (
            Network((cells("c", 2, "IF_cond_exp"),), ()),
            0.1,
            "population 'c': SpiNNaker has no IF_cond_exp",
        ),
        (network(tau_m=1e5), 0.1, "tau_m = 100000 is not allowed"),
        (
            Network(network().populations, (), (drive("d", "a", 70000.0, 0.1),)),
            0.1,
            "'d': a rate of 70000 Hz is not allowed",
        ),
        (
            Network(
                (
                    Population(
                        "n", 2, "SpikeSourcePoisson", {"rate": 7e4, "start": 0.0, "duration": 1e10}
                    ),
                ),
                (),
            ),
            0.1,
            "population 'n': rate = 70000 is not allowed",
        ),
    ],
)
def test_what_cannot_be_mapped(net: Network, timestep: float, sentence: str) -> None:
    (problem,) = backends.refusals(spinnaker.BACKEND, net, FORMAT, timestep)
    assert sentence in problem
    assert backends.refusals(spinnaker.BACKEND, network(), FORMAT, 0.1) == []


def test_slots_of_delays() -> None:
    """14 address bits, shared by the neurons of a core, two receptors and the slots."""
    assert [spinnaker.delay_slots(n, 256) for n in (1, 2, 100, 128, 129, 256, 5000)] == [
        *(8192, 4096, 64, 64, 32, 32, 32),
    ]
    assert spinnaker.delay_slots(5000, 64) == 128


# --- Whether there is a board ---


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("configuration", "reason"),
    [
        (None, "there is no sPyNNaker configuration file"),
        ("", "has no machine_name, spalloc_server or remote_spinnaker_url"),
        ("[Machine]\nmachine_name = None\nversion = 5\n", "has no machine_name"),
        ("[Machine]\nvirtual_board = True\nversion = 5\n", "asks for a virtual board"),
        ("[Machine]\nmachineName = 192.168.240.1\nversion = 5\n", None),
        ("[Machine]\nspalloc_server = spinnaker.cs.man.ac.uk\n", None),
        ("[Machine]\nremote_spinnaker_url = https://example.org\n", None),
        ("[Machine]\nmachine_spec_file = {folder}/more.cfg\n", None),
    ],
)
def test_a_board_is_configured_or_not(
    home: Path, configuration: str | None, reason: str | None
) -> None:
    (home / "more.cfg").write_text("[Machine]\nmachine_name = spin5\n")
    if configuration is not None:
        (home / ".spynnaker.cfg").write_text(configuration.format(folder=home))
    said = spinnaker.BACKEND.skipped(DEFAULTS)
    assert (said is None) == (reason is None)
    assert reason is None or (said is not None and reason in said and "\n" not in said)
    # asking leaves nothing behind, where sPyNNaker itself would write a template
    assert {f.name for f in home.iterdir()} <= {".spynnaker.cfg", "more.cfg"}


def test_the_configuration_may_be_elsewhere(home: Path) -> None:
    (home / "elsewhere").mkdir()
    (home / "elsewhere" / ".spynnaker.cfg").write_text("[Machine]\nmachine_name = spin5\n")
    assert spinnaker.BACKEND.skipped(DEFAULTS) is None


def test_a_configuration_that_cannot_be_read(home: Path) -> None:
    (home / ".spynnaker.cfg").write_text("machine_name = spin5\n")
    with pytest.raises(RequestError, match=r"\.spynnaker\.cfg: cannot be read"):
        spinnaker.BACKEND.skipped(DEFAULTS)


def test_a_missing_spynnaker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = spinnaker.BACKEND.available()
    assert said is not None and "pip install 'pynn-portability[spinnaker]'" in said


# --- Commands and files ---

STUDY = """\
[study]
name = "tiny"
[model]
build = "microcircuit"
scale = 0.002
[simulation]
duration = 10.0
warmup = 0.0
seeds = [3]
[reference]
backend = "emulator"
[backends.spinnaker]
neurons_per_core = 128
"""


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pynn_portability.cli import main; main()", *arguments],
        cwd=cwd,
        env=os.environ | {"HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_map_without_spynnaker(tmp_path: Path) -> None:
    if spinnaker.BACKEND.available() is None:
        pytest.skip("sPyNNaker is installed")
    (tmp_path / "study.toml").write_text(STUDY)
    ended = command("map", "study.toml", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "pip install 'pynn-portability[spinnaker]'" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--timestep", "0"), "must be a positive number"),
        (("--timestep", "nan"), "must be a positive number"),
        (("--timestep", "0.7"), "duration: must be a whole multiple of the timestep"),
        (("--timestep", "0.0125"), "whole microseconds"),
        (("--out", "study.toml"), "cannot be the output folder"),
    ],
)
def test_map_refuses_before_it_maps(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    ended = command("map", "study.toml", *arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr and ended.stderr.count("\n") == 1


def test_options_of_the_study_are_used(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    study = load_study(tmp_path / "study.toml")
    assert study.options("spinnaker") == spinnaker.SpinnakerOptions(neurons_per_core=128)


def test_results_take_the_sheet_of_their_own_model(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    study = load_study(tmp_path / "study.toml")
    model = {"build": "microcircuit", "parameters": {"scale": 0.002}}
    sheet = facts(model=model)
    assert results.deployment_sheet(tmp_path, study) is None
    deployment.write(sheet, tmp_path)
    assert results.deployment_sheet(tmp_path, study) == sheet
    for other in (facts(model=model | {"parameters": {"scale": 0.01}}), {}):
        deployment.write(other, tmp_path)
        assert results.deployment_sheet(tmp_path, study) is None
    for damaged in (json.dumps(sheet), "[1]"):
        (tmp_path / "deployment.json").write_text(damaged)
        assert results.deployment_sheet(tmp_path, study) is None
    (tmp_path / "deployment.json").write_text("{")
    assert results.deployment_sheet(tmp_path, study) is None


def test_the_report_shows_the_sheet_and_escapes_it(tmp_path: Path) -> None:
    content, samples, spikes = example((("nest", "naive-2"),), ())
    write(tmp_path / "without.html", content, samples, spikes)
    assert "Deployment on SpiNNaker" not in (tmp_path / "without.html").read_text()
    # one that nobody can make sense of costs nothing else
    write(tmp_path / "strange.html", content | {"deployment": {"machine": 1}}, samples, spikes)
    strange = (tmp_path / "strange.html").read_text()
    assert "Deployment on SpiNNaker" not in strange and "Planted faults" not in strange
    assert "The deployment sheet could not be made" in strange and 'id="provenance"' in strange
    sheet = facts()
    bad = "<script>alert(1)</script>"
    sheet["projections"][0]["label"] = sheet["populations"][0]["label"] = bad
    sheet["machine"]["kinds"][0]["kind"] = bad
    sheet["findings"] = [
        {"kind": "x", "severity": "error", "where": bad, "what": f"what {bad}", "advice": bad}
    ]
    for mode in ("listed", "generated"):
        page = tmp_path / f"{mode}.html"
        write(page, content | {"deployment": sheet | {"mode": mode}}, samples, spikes)
        text = page.read_text()
        assert "Deployment on SpiNNaker" in text and "what &lt;script&gt;alert(1)" in text
        assert "<script" not in text
        assert ("too many to list" in text) == (mode == "generated")


def test_a_board_runs_at_its_own_pace() -> None:
    fine, slow = (
        spinnaker.BACKEND.estimate(
            network(),
            number_format("spinnaker-full"),
            spinnaker.SpinnakerOptions(time_scale_factor=factor),
            100_000,
            0.1,
        )
        for factor in (1, 10)
    )
    assert slow.simulate_seconds - fine.simulate_seconds == pytest.approx(90.0)
    assert math.isfinite(fine.memory_bytes)


def test_delays_of_a_fine_grid_are_exact() -> None:
    """What delays are compared with: the draws are those of every other time step."""
    delay = Distribution("normal_clipped", {"mu": 1.5, "sigma": 0.7, "low": 0.1, "high": 3.0})
    net = Network(
        (cells("a", 50),), (Projection("p", "a", "a", "excitatory", AllToAll(), 0.1, delay),)
    )
    coarse, fine = (
        np.concatenate([s.delay for s in Realization(net, 1, dt).synapses("p")])
        for dt in (0.1, deployment.FINE_STEP_MS)
    )
    difference = fine * deployment.FINE_STEP_MS - coarse * 0.1
    assert np.abs(difference).max() <= 0.05 + 1e-9 and np.abs(difference).max() > 0.045
