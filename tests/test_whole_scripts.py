"""Whole PyNN scripts as models: what they say is what is run."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from command_line import portability

from pynn_portability.errors import RequestError
from pynn_portability.model.whole_script import Protocol, record_script
from pynn_portability.run.study import load_study

CELLS = "cells = sim.Population(5, sim.IF_curr_exp(i_offset=1.0), label='cells')\n"
START = f"import pyNN.nest as sim\nsim.setup(timestep=0.5)\n{CELLS}cells.record('spikes')\n"


def recorded(tmp_path: Path, text: str, *arguments: str, **times: float):
    script = tmp_path / "script.py"
    script.write_text(text)
    return record_script(script, arguments, **times)


def refused(tmp_path: Path, text: str, *arguments: str) -> str:
    with pytest.raises(RequestError) as caught:
        recorded(tmp_path, text, *arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    "start",
    [
        "import pyNN.nest as sim\n",
        "import pyNN.spiNNaker as sim\n",
        "import spynnaker8 as sim\n",
        "import spynnaker.pyNN as sim\n",
        "from pyNN import neuron as sim\n",
        "import importlib\nsim = importlib.import_module('pyNN.brian2')\n",
        "from pyNN.utility import get_simulator\nsim, options = get_simulator()\n",
        "import sys\nexec('import pyNN.' + sys.argv[1] + ' as sim')\n",
    ],
)
def test_whatever_simulator_a_script_imports(tmp_path, start):
    modules = {name for name in sys.modules if name.startswith(("pyNN.", "spynnaker"))}
    text = start + f"sim.setup(0.5)\n{CELLS}cells.record('spikes')\nsim.run(20.0)\nsim.end()\n"
    network, protocol = recorded(tmp_path, text, "nest")
    assert [p.size for p in network.populations] == [5]
    assert protocol == Protocol(0.5, 20.0)
    assert modules <= {name for name in sys.modules if name.startswith(("pyNN.", "spynnaker"))}


def test_what_is_not_supported_has_a_way_out(tmp_path):
    assert "--stock" in refused(
        tmp_path, f"{START}sim.Population(1, sim.Izhikevich())\nsim.run(1.0)\n"
    )
    assert "--stock" in refused(
        tmp_path, f"{START}sim.run(1.0)\ncells.set(tau_m=9.0)\nsim.run(1.0)\n"
    )
    assert "--stock" not in refused(tmp_path, f"{START}cells.set(tau=9.0)\nsim.run(1.0)\n")


def test_a_simulator_that_is_loaded_already_is_not_used(tmp_path, monkeypatch):
    package, module = types.ModuleType("spynnaker"), types.ModuleType("spynnaker.pyNN")
    package.__path__, package.pyNN = [], module
    monkeypatch.setitem(sys.modules, "spynnaker", package)
    monkeypatch.setitem(sys.modules, "spynnaker.pyNN", module)
    text = f"import spynnaker.pyNN as sim\nsim.setup(1.0)\n{CELLS}cells.record('spikes')\nsim.run(5.0)\n"
    _, protocol = recorded(tmp_path, text)
    assert protocol.duration == 5.0
    assert sys.modules["spynnaker.pyNN"] is module


def test_names_imported_by_a_star(tmp_path):
    text = (
        "from pyNN.nest import *\nsetup(timestep=0.1, min_delay=1.5)\n"
        "a = Population(2, SpikeSourceArray(spike_times=[1.0]))\nb = Population(2, IF_curr_exp())\n"
        "p = Projection(a, b, OneToOneConnector(), StaticSynapse(weight=2.0))\n"
        "b.record('spikes')\nprint(get_min_delay(), num_processes(), rank())\nrun(5.0)\nend()\n"
    )
    network, protocol = recorded(tmp_path, text)
    assert network.projections[0].delay == 1.5
    assert protocol.duration == 5.0


def test_names_of_spynnaker_imported_by_a_star(tmp_path):
    start = "from pyNN.spiNNaker import *\nsetup(timestep=1.0)\n"
    cores = "set_number_of_neurons_per_core(IF_curr_exp, 10)\n"
    text = f"{start}{cores}a = Population(4, IF_curr_exp(), structure=Line())\nrun(5)\n"
    network, _ = recorded(tmp_path, text)
    assert any("sim.set_number_of_neurons_per_core" in note for note in network.notes)
    assert "extra_models is not supported" in refused(tmp_path, f"{start}extra_models.Cell()\n")
    # parameters that PyNN's cells of this name do not have
    for cells in ("Izhikevich(tau_syn_E=2.0)", "Izhikevich, {'tau_syn_E': 2.0}"):
        said = refused(tmp_path, f"{start}Population(1, {cells})\nrun(5)\n")
        assert "cell type Izhikevich is not supported" in said
        assert "--stock" in said


def test_cells_of_spynnaker_take_initial_values(tmp_path):
    text = (
        "import pyNN.spiNNaker as p\np.setup(1.0)\n"
        "p.Population(2, p.IF_curr_exp(v=-60.0, isyn_exc=0.0))\n"
        "p.Population(2, p.IF_cond_exp, {'v': -61.0}, initial_values={'v': -62.0})\np.run(5)\n"
    )
    populations = recorded(tmp_path, text)[0].populations
    assert [population.initial_values["v"] for population in populations] == [-60.0, -62.0]
    assert "NonExistentParameterError" in refused(tmp_path, text.replace("spiNNaker", "nest"))


def test_weights_of_spynnaker_are_listed_by_synapse(tmp_path):
    text = (
        "import pyNN.spiNNaker as p\np.setup(1.0)\n"
        "a = p.Population(6, p.IF_curr_exp(), label='a')\n"
        "synapse = p.StaticSynapse(weight=[0.1, 0.2, 0.3], delay=[1, 2, 3])\n"
        "p.Projection(a[2:5], a, p.OneToOneConnector(), synapse, label='p')\np.run(5)\n"
    )
    pairs = "FromListConnector([(0, 0), (1, 1), (2, 2)])"
    for script in (text, text.replace("OneToOneConnector()", pairs)):
        (projection,) = recorded(tmp_path, script)[0].projections
        assert projection.connector.source.tolist() == [2, 3, 4]
        assert projection.weight.tolist() == [0.1, 0.2, 0.3]
        assert projection.delay.tolist() == [1.0, 2.0, 3.0]
    # PyNN has matrices only
    assert "shape (3,)" in refused(tmp_path, text.replace("spiNNaker", "nest"))


def test_pieces_add_up_and_data_do_no_harm(tmp_path):
    text = START + (
        "for piece in range(3):\n    sim.run(10.0)\n"
        "    print(sim.get_current_time(), cells.get_spike_counts(), cells.mean_spike_count() / 0.2)\n"
        "sim.run_until(50.0)\n"
        "data = cells.get_data().segments[0]\n"
        "total = sum(len(train) for train in data.spiketrains)\n"
        "print(f'{total} {float(data.analogsignals[0][-1, 0]):g}')\n"
    )
    network, protocol = recorded(tmp_path, text)
    assert protocol.duration == 50.0
    assert network.notes == ()


def test_callbacks_are_called_as_time_goes_on(tmp_path):
    text = START + (
        "called = []\n"
        "def tick(t):\n    called.append(t)\n    return t + 10.0\n"
        "sim.run(35.0, callbacks=[tick])\nassert called == [0.0, 10.0, 20.0, 30.0], called\n"
    )
    assert recorded(tmp_path, text)[1].duration == 35.0


def test_changes_after_the_first_run_are_refused_with_their_line(tmp_path):
    for change in (
        "cells.set(tau_m=5.0)",
        "cells[0].i_offset = 3.0",
        "cells.initialize(v=-60.0)",
        "sim.Population(1, sim.IF_curr_exp())",
        "sim.Projection(cells, cells, sim.AllToAllConnector())",
    ):
        text = START + f"sim.run(10.0)\n{change}\nsim.run(10.0)\n"
        message = refused(tmp_path, text)
        assert "after 10 ms were run" in message
        assert "line 6" in message
        # even if the script goes on
        caught = f"try:\n    {change}\nexcept Exception:\n    pass\n"
        assert "line 7" in refused(tmp_path, START + "sim.run(10.0)\n" + caught + "sim.run(5)\n")
    # a study that ends before does not see it
    text = START + "sim.run(10.0)\ncells.set(tau_m=5.0)\nsim.run(10.0)\n"
    assert recorded(tmp_path, text, until=10.0)[1].duration == 10.0


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("sim.run(10.0)\nsim.reset()\nsim.run(5.0)\n", "resets the simulation"),
        ("sim.run(10.0)\nsim.end()\nsim.setup()\n", None),
        ("sim.run(10.0)\nsim.setup()\n", "for another simulation (line 6)"),
        ("sim.run(10.0)\nif cells.mean_spike_count() > 1:\n    sim.run(5.0)\n", "line 6 decides"),
        ("sim.run(10.0)\nopen('out.txt', 'w')\nsim.run(5.0)\n", "where it writes out.txt"),
        ("sim.run(10.0)\nraise ValueError\n", "to line 6 only"),
        ("sim.run(10.0)\nraise SystemExit(3)\n", None),
    ],
)
def test_where_a_script_is_followed_no_further_is_said(tmp_path, monkeypatch, rest, words):
    monkeypatch.chdir(tmp_path)
    network, protocol = recorded(tmp_path, START + rest)
    assert protocol.duration == 10.0
    assert any(words in note for note in network.notes) if words else network.notes == ()
    assert [file.name for file in tmp_path.iterdir()] == ["script.py"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (START, "never calls run"),
        ("import pyNN.nest as sim\nsim.setup()\nsim.run(5.0)\n", "no populations"),
        (START + "sim.setup()\nsim.run(5.0)\n", "set up once"),
        (START + "input()\nsim.run(5.0)\n", "waits for input"),
        (START + "raise SystemExit(2)\n", "line 5: the script ends (2) before it runs"),
        (START + "1 / 0\n", "line 5: ZeroDivisionError"),
        (START + "sim.DCSource(amplitude=1.0)\nsim.run(5.0)\n", "DCSource"),
        (START + "sim.nonsense(3)\nsim.run(5.0)\n", "sim.nonsense"),
        (START + "sim.run(-5.0)\n", "-5.0 ms from 0 ms"),
        ("import pyNN.nest as sim\nsim.setup(timestep=-1)\n", "setup(timestep=-1)"),
        ("import nonsense_that_is_not_here\n", "ModuleNotFoundError"),
        ("def f(:\n", "SyntaxError"),
    ],
)
def test_what_is_wrong_with_a_script(tmp_path, monkeypatch, text, words):
    monkeypatch.setattr("builtins.input", _no_input)
    message = refused(tmp_path, text)
    assert words in message
    assert "script.py" in message


def _no_input() -> str:
    raise EOFError


def test_the_dialect_of_spynnaker(tmp_path):
    text = (
        "import pyNN.spiNNaker as p\np.setup(1.0)\n"
        "p.set_number_of_neurons_per_core(p.IF_curr_exp, 64)\n"
        "source = p.Population(3, p.SpikeSourcePoisson(50.0, 0.0, 100.0), additional_parameters={'seed': 1})\n"
        "cells = p.Population(3, p.IF_curr_exp, {}, neurons_per_core=2)\n"
        "cells.set(v=-60.0)\ncells.record(['v', 'spikes'])\n"
        "p.Projection(source, cells, p.AllToAllConnector(), p.StaticSynapse(weight=0.5))\n"
        "p.run(100)\n"
    )
    network, _ = recorded(tmp_path, text)
    assert network.populations[1].initial_values["v"] == -60.0
    assert "set_number_of_neurons_per_core" in " ".join(network.notes)
    positive = (
        "import spynnaker.pyNN as p\np.setup(1.0)\n"
        "cells = p.Population(3, p.IF_curr_exp())\ncells.record(['spikes', 'gsyn_exc'])\n"
        "p.Projection(cells, cells, p.AllToAllConnector(), p.StaticSynapse(weight=0.5), "
        "receptor_type='inhibitory')\np.run(100)\n"
    )
    network, _ = recorded(tmp_path, positive)
    assert network.projections[0].weight == -0.5


def test_times_of_a_study_go_before_those_of_the_script(tmp_path):
    (tmp_path / "script.py").write_text(START + "sim.run(100.0)\n")

    def study(times: str):
        file = tmp_path / "study.toml"
        file.write_text(
            '[study]\nname = "s"\n[model]\nscript = "script.py"\n'
            f'[simulation]\n{times}seeds = [1, 2, 3]\n[reference]\nbackend = "emulator"\n'
        )
        return load_study(file)

    times = study("").completed(0.5, 100.0).simulation
    assert (times.duration, times.warmup, times.timestep) == (100.0, 0.0, 0.5)
    times = study("warmup = 20.0\n").completed(0.5, 100.0).simulation
    assert (times.duration, times.warmup) == (80.0, 20.0)
    times = study("duration = 500.0\ntimestep = 0.1\n").completed(0.1, 100.0).simulation
    assert (times.duration, times.warmup, times.timestep) == (500.0, 0.0, 0.1)
    with pytest.raises(RequestError, match="leave nothing"):
        study("warmup = 200.0\n").completed(0.5, 100.0)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ('script = "a.py"\nbuild = "microcircuit"', "beside build"),
        ('script = "a.py"\nscale = 0.1', "a script has no parameters"),
        ('build = "microcircuit"\narguments = ["x"]', "arguments"),
        ('build = "a.py"', "names no function"),
        ("", "must be given, or script"),
    ],
)
def test_wrong_sections_of_a_model(tmp_path, model, words):
    file = tmp_path / "study.toml"
    file.write_text(
        f'[study]\nname = "s"\n[model]\n{model}\n[simulation]\nduration = 100.0\nseeds = [1]\n'
        '[reference]\nbackend = "emulator"\n'
    )
    with pytest.raises(RequestError, match=words):
        load_study(file)


def test_caches_of_compiled_code_are_no_files_of_the_script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make = (
        "import os, tempfile\nos.mkdir('__pycache__')\ntempfile.TemporaryFile(dir='__pycache__')\n"
    )
    write = "open('f.nbi.tmp.1', 'wb')\nopen('real.txt', 'w')\n"
    network, _ = recorded(tmp_path, f"{make}{write}{START}sim.run(5.0)\n")
    assert network.notes == ("the script writes real.txt (line 5)",)


def test_the_command_captures_writes_and_runs_a_script(tmp_path):
    text = (
        START
        + "import sys\nprint('given', sys.argv[1:])\nsim.run(100.0)\nprint(cells.get_data())\n"
    )
    (tmp_path / "my script.py").write_text(text)
    done = portability(
        tmp_path, "capture", "my script.py", "one", "--flag", "--write", "my.toml", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert "given ['one', '--flag']" in done.stderr
    shown = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert shown["simulation"] == {"duration": 100.0, "warmup": 0.0, "timestep": 0.5}
    again = portability(tmp_path, "capture", "my script.py", "--write", "my.toml")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    written = load_study(tmp_path / "my.toml")
    assert written.model.arguments == ["one", "--flag"]
    assert written.reference.backend == "nest"
    # the reference is the emulator, so that this needs no simulator
    study = (tmp_path / "my.toml").read_text()
    head = study[: study.index("[[candidate]]")].replace('"nest"', '"emulator"')
    (tmp_path / "my.toml").write_text(head)
    done = portability(tmp_path, "run", "my.toml")
    assert done.returncode == 0, done.stderr
    (tmp_path / "my script.py").unlink()
    done = portability(tmp_path, "report", "my.toml", "--out", "results/my-script")
    assert done.returncode == 0, done.stderr
    assert "is not there" in done.stdout
    done = portability(tmp_path, "run", "my.toml", "--nonsense")
    assert done.returncode == 2
    assert "'--nonsense'" in done.stderr


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        ("np.random.uniform(-70.0, -60.0, 5)", "numbers from numpy.random"),
        ("np.random.default_rng().uniform(-70.0, -60.0, 5)", "numbers from a generator of NumPy"),
        ("np.random.RandomState().uniform(-70.0, -60.0, 5)", "numbers from a generator of NumPy"),
        ("[random.uniform(-70.0, -60.0) for _ in range(5)]", "numbers from random"),
    ],
)
def test_what_a_script_draws_without_a_seed_is_the_same_twice(tmp_path, draw, said):
    text = f"import random\nimport numpy as np\n{START}cells.initialize(v={draw})\nsim.run(5.0)\n"
    state = np.random.mtrand._rand.get_state()[1].copy()
    first, again, other = (recorded(tmp_path, text, seed=seed)[0] for seed in (3, 3, 4))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.notes == (f"the same for every seed, as the script draws it: {said}",)
    assert (np.random.mtrand._rand.get_state()[1] == state).all()


def test_generators_that_decide_nothing_are_not_mentioned(tmp_path):
    text = (
        f"import numpy as np\nfrom pyNN.random import NumpyRNG\n{START}"
        "rng = NumpyRNG()\ncells.initialize(v=sim.RandomDistribution('uniform', (-70, -60), rng=rng))\n"
        "sim.run(5.0)\nnp.random.rand()\n"
    )
    assert recorded(tmp_path, text)[0].notes == ()
