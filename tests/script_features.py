"""What of a PyNN script is understood, and what runs where: the table of `docs/script-coverage.md`.

``python tests/script_features.py`` writes the page; `test_script_features.py` sees that it is what the code does.
"""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pyNN.standardmodels.cells
import pyNN.standardmodels.electrodes

from pynn_portability.backends import load, refusals
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.network import Network
from pynn_portability.model.whole_script import record_script
from pynn_portability.realize.realization import Realization

HEAD = """# What of a PyNN script is understood

This page is made from small scripts, each of which uses one feature, by `python tests/script_features.py`, and a test
compares it with what the code does. How scripts are read is told in [pynn-scripts.md](pynn-scripts.md).

*Captured*: the network is the script's. *Said*: captured, and the sentence is printed and stands in the report.
*Refused*: nothing runs, and the sentence comes with the file and the line. A backend has a dot where it takes the
network, SpiNNaker in its own number format and others in double precision; see [backends.md](backends.md)."""
PAGE = Path(__file__).parents[1] / "docs" / "script-coverage.md"
BACKENDS = ("nest", "brian2", "emulator", "spinnaker")
TIMESTEP = 1.0
FORMATS = ("double", "double", "double", "spinnaker-full")
"""A number format that each backend has."""

START = """import sys
import numpy as np
import pyNN.nest as sim
from pyNN.random import NumpyRNG, RandomDistribution
from pyNN.space import Grid2D, Grid3D, Line, RandomStructure, Space, Sphere
sim.setup(timestep=1.0, min_delay=1.0)
cell = sim.IF_curr_exp(i_offset=0.5)
a = sim.Population(20, cell, label="a")
b = sim.Population(20, cell, label="b")
source = sim.Population(20, sim.SpikeSourcePoisson(rate=10.0), label="source")
a.record("spikes")
synapse = sim.StaticSynapse(weight=0.01, delay=2.0)
"""
END = "sim.run(20.0)\nsim.end()\n"


class Feature(NamedTuple):
    """Lines of a script between `START` and `END`; ``after`` comes behind the first run."""

    name: str
    text: str
    after: str = ""


def connected(connector: str, synapse: str = "synapse") -> str:
    return f"p = sim.Projection(a, b, {connector}, {synapse})"


def weighted(values: str) -> str:
    return connected("sim.AllToAllConnector()", f"sim.StaticSynapse({values})")


RANDOM = connected("sim.FixedProbabilityConnector(0.1)")
ALL = connected("sim.AllToAllConnector()")


def _spikes_of(cell: str) -> str:
    return f"c = sim.Population(5, sim.{cell})\nc.record('spikes')"


_COMPOSED = ("PointNeuron", "MultiCompartmentNeuron")


def _named(module: object, base: type) -> list[str]:
    """Standard models of PyNN, by name."""
    found = [n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base)]
    return sorted(n for n in found if not n.startswith("Standard") and n not in _COMPOSED)


CELLS = _named(pyNN.standardmodels.cells, pyNN.standardmodels.StandardCellType)
CURRENTS = _named(pyNN.standardmodels.electrodes, pyNN.standardmodels.StandardCurrentSource)

FEATURES: dict[str, list[Feature]] = {
    "Cells": [
        *(Feature(f"`{name}`", _spikes_of(f"{name}()")) for name in CELLS),
        Feature("`PointNeuron`", _spikes_of("PointNeuron(sim.LIF(), AMPA=sim.AlphaPSR())")),
    ],
    "Populations": [
        Feature("a size as a tuple", "sim.Population((4, 5), cell)"),
        Feature("a size as a float", "sim.Population(20.0, cell)"),
        Feature("two populations with one label", "sim.Population(5, cell, label='a')"),
        Feature("`create`", "sim.create(sim.IF_curr_exp, {'tau_m': 15.0}, n=5)"),
        Feature("`set` with a number", "a.set(tau_m=15.0)"),
        Feature("`set` with an array", "a.set(tau_m=np.linspace(10.0, 20.0, 20))"),
        Feature("`set` with a distribution", "a.set(tau_m=RandomDistribution('uniform', (10, 20)))"),
        Feature("`set` with a function of the index", "a.set(i_offset=lambda i: 0.1 + 0.01 * i)"),
        Feature(
            "`Sequence`",
            "times = [sim.Sequence([1.0, 2.0]), sim.Sequence([])]\n"
            "sim.Population(2, sim.SpikeSourceArray(spike_times=times))",
        ),
        Feature("`tset`", "a.tset('i_offset', np.linspace(0.1, 0.5, 20))"),
        Feature("`get`", "assert a.get('tau_m') == 20.0"),
        Feature(
            "`get` of what is drawn",
            "a.set(tau_m=RandomDistribution('uniform', (10, 20)))\nassert len(a.get('tau_m')) == 20",
        ),
        Feature("`initialize(v=...)`", "a.initialize(v=RandomDistribution('uniform', (-65, -55)))"),
        Feature("`initialize(isyn_exc=0.0)`", "a.initialize(isyn_exc=0.0)"),
        Feature("`initialize(isyn_exc=...)`, not 0", "a.initialize(isyn_exc=0.1)"),
        Feature("annotations", "a.annotate(colour='red')"),
    ],
    "Views, assemblies, single cells": [
        Feature("slices, lists, masks", "a[:5].set(i_offset=0.1)\na[[7, 9]]\na[np.arange(20) > 3]"),
        Feature("`PopulationView`", "sim.PopulationView(a, [1, 2], label='some')"),
        Feature("`sample`", "a.sample(5, NumpyRNG(seed=3)).set(i_offset=0.1)"),
        Feature("`sample` without a generator", "a.sample(5).set(i_offset=0.1)"),
        Feature("a view as source and target", "sim.Projection(a[:5], b[::2], sim.AllToAllConnector(), synapse)"),
        Feature("a recorded view", "b[:5].record('spikes')"),
        Feature("values that are drawn for a view", "a[:5].initialize(v=RandomDistribution('uniform', (-65, -55)))"),
        Feature("single cells", "a[3].i_offset = 0.7\nfor c in a:\n    c.tau_m = 15.0"),
        Feature("`Assembly`, `a + b`", "sim.Projection(a + b, b, sim.FixedNumberPreConnector(10), synapse)"),
        Feature(
            "groups that share some cells, without self-connections",
            "sim.Projection(a[:10], a[5:], sim.FixedProbabilityConnector(0.1, allow_self_connections=False), synapse)",
        ),
        Feature(
            "the same with fixed numbers of synapses",
            "sim.Projection(a[:10], a[5:], sim.FixedNumberPreConnector(2, allow_self_connections=False), synapse)",
        ),
    ],
    "Recording": [
        Feature("other variables than spikes", "a.record(['spikes', 'v'])"),
        Feature("`to_file`, `sampling_interval`", "a.record('spikes', to_file='a.pkl', sampling_interval=1.0)"),
        Feature("no spikes recorded", "a.record(None)\na.record('v')"),
        Feature("sources", "source.record('spikes')"),
    ],
    "Connectors": [
        Feature("`AllToAllConnector`", ALL),
        Feature("`OneToOneConnector`", connected("sim.OneToOneConnector()")),
        Feature("`FixedProbabilityConnector`", RANDOM),
        Feature("`FixedTotalNumberConnector`", connected("sim.FixedTotalNumberConnector(50)")),
        Feature("`FixedNumberPreConnector`", connected("sim.FixedNumberPreConnector(4)")),
        Feature("`FixedNumberPostConnector`", connected("sim.FixedNumberPostConnector(4)")),
        Feature("a fixed number above that of the cells", connected("sim.FixedNumberPreConnector(30)")),
        Feature(
            "a number as a distribution",
            connected("sim.FixedNumberPreConnector(RandomDistribution('binomial', n=8, p=0.5))"),
        ),
        Feature(
            "a number that is no whole one",
            connected("sim.FixedNumberPreConnector(RandomDistribution('normal', (5, 1)))"),
        ),
        Feature("`FromListConnector`", connected("sim.FromListConnector([(0, 1, 0.02, 3.0)])")),
        Feature(
            "`FromListConnector` with columns of plastic synapses",
            connected("sim.FromListConnector([(0, 1, 0.5)], column_names=['U'])"),
        ),
        Feature(
            "`FromFileConnector`",
            "np.savetxt('pairs.txt', [[0, 1, 0.02, 3.0]])\n" + connected("sim.FromFileConnector('pairs.txt')"),
        ),
        Feature("`ArrayConnector`", connected("sim.ArrayConnector(np.eye(20, dtype=bool))")),
        Feature(
            "`DistanceDependentProbabilityConnector`",
            connected("sim.DistanceDependentProbabilityConnector('exp(-d)')"),
        ),
        Feature(
            "`IndexBasedProbabilityConnector`",
            "from pyNN.core import IndexBasedExpression\n"
            "class Near(IndexBasedExpression):\n    def __call__(self, i, j):\n        return abs(i - j) < 2\n"
            + connected("sim.IndexBasedProbabilityConnector(Near())"),
        ),
        Feature(
            "`DisplacementDependentProbabilityConnector`",
            connected("sim.DisplacementDependentProbabilityConnector(lambda d: d[0] > 0)"),
        ),
        Feature("`CloneConnector`", RANDOM + "\n" + connected("sim.CloneConnector(p)")),
        Feature("`SmallWorldConnector`", connected("sim.SmallWorldConnector(3, 0.1)")),
        Feature(
            '`allow_self_connections="NoMutual"`',
            "sim.Projection(a, a, sim.FixedProbabilityConnector(0.1, allow_self_connections='NoMutual'), synapse)",
        ),
        Feature("`location_selector`", connected("sim.FixedProbabilityConnector(0.1, location_selector='soma')")),
        Feature("`callback`", connected("sim.AllToAllConnector(callback=print)")),
        Feature("sPyNNaker's `KernelConnector`", connected("sim.KernelConnector((4, 5), (4, 5), (3, 3))")),
        Feature("sPyNNaker's `ConvolutionConnector`", connected("sim.ConvolutionConnector([[1.0]])")),
    ],
    "Weights, delays, space": [
        Feature("no delay", weighted("weight=0.01")),
        Feature(
            "distributions",
            weighted("weight=RandomDistribution('gamma', (2, 0.01)), delay=RandomDistribution('uniform', (1, 5))"),
        ),
        Feature(
            "arrays",
            weighted("weight=np.full((20, 20), 0.01), delay=2.0"),
        ),
        Feature("expressions of the distance", weighted("weight=0.01, delay='1 + 0.1*d'")),
        Feature(
            "functions of the distance",
            weighted("weight=lambda d: 0.01 * np.exp(-d), delay=2.0"),
        ),
        Feature(
            "structures",
            "c = sim.Population(20, cell, structure=Grid2D(aspect_ratio=0.8))\n"
            "sim.Population(27, cell, structure=Grid3D())\nsim.Population(5, cell, structure=Line(dx=2.0))",
        ),
        Feature(
            "random positions",
            "c = sim.Population(20, cell, structure=RandomStructure(Sphere(100.0)))\n"
            "sim.Projection(c, c, sim.DistanceDependentProbabilityConnector('d < 50'), synapse)",
        ),
        Feature(
            "`Space` with periodic boundaries",
            "sim.Projection(a, a, sim.DistanceDependentProbabilityConnector('d < 3'), synapse, "
            "space=Space(axes='x', periodic_boundaries=((0, 20), None, None)))",
        ),
        Feature("negative weights without a receptor", weighted("weight=-0.01")),
        Feature(
            "a named receptor that PyNN has",
            "sim.Projection(a, b, sim.AllToAllConnector(), receptor_type='excitatory')",
        ),
        Feature("another receptor", "sim.Projection(a, b, sim.AllToAllConnector(), synapse, receptor_type='AMPA')"),
    ],
    "Synapses": [
        Feature("`StaticSynapse`", ALL),
        Feature(
            "`TsodyksMarkramSynapse`",
            connected("sim.AllToAllConnector()", "sim.TsodyksMarkramSynapse(weight=0.01)"),
        ),
        Feature(
            "`SimpleStochasticSynapse`",
            connected("sim.AllToAllConnector()", "sim.SimpleStochasticSynapse(weight=0.01, p=0.5)"),
        ),
        Feature(
            "`STDPMechanism`",
            connected(
                "sim.AllToAllConnector()",
                "sim.STDPMechanism(timing_dependence=sim.SpikePairRule(),"
                " weight_dependence=sim.AdditiveWeightDependence())",
            ),
        ),
    ],
    "Currents": [Feature(f"`{name}`", f"a.inject(sim.{name}())") for name in CURRENTS],
    "Projections that are read": [
        Feature("`size`, `len`, `pre`, `post`", RANDOM + "\nprint(len(p), p.size(), p.pre.label)"),
        Feature("`get`", RANDOM + "\nassert len(p.get('weight', format='list')) == p.size()"),
        Feature("`set`", ALL + "\np.set(weight=0.02)"),
        Feature("`save`", ALL + "\np.save('all', 'weights.txt')"),
    ],
    "Running": [
        Feature("`run` in pieces", "", "sim.run(10.0)\nsim.run_until(50.0)"),
        Feature("callbacks", "", "sim.run(10.0, callbacks=[lambda t: t + 5.0])"),
        Feature(
            "data that are drawn or printed",
            "", "print(a.get_data().segments[0].spiketrains[0])\nprint(a.mean_spike_count())",
        ),
        Feature("data that decide", "", "if a.mean_spike_count() > 3:\n    sim.run(10.0)"),
        Feature("`reset`, another trial", "", "sim.reset()\nsim.run(20.0)"),
        Feature("another `setup`", "", "sim.setup(timestep=0.1)"),
        Feature("a change between pieces", "", "a.set(i_offset=0.0)\nsim.run(10.0)"),
        Feature("files that are written", "", "a.write_data('a.pkl')"),
        Feature("a window", "", "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"),
        Feature("input from a person", "input('go on?')"),
    ],
    "Random numbers of the script's own": [
        Feature("`numpy.random` without a seed", "a.initialize(v=np.random.uniform(-65, -55, 20))"),
        Feature("`numpy.random.default_rng()`", "a.initialize(v=np.random.default_rng().uniform(-65, -55, 20))"),
        Feature("`random` without a seed", "import random\na.set(i_offset=[random.random() for _ in a])"),
    ],
    "sPyNNaker's dialect": [
        Feature("numbers of neurons per core", "sim.set_number_of_neurons_per_core(sim.IF_curr_exp, 50)"),
        Feature("`additional_parameters`, `seed`", "sim.Population(5, cell, additional_parameters={'seed': 3})"),
        Feature("parameters by position", "sim.Population(5, sim.SpikeSourceArray([1.0, 2.0]))"),
        Feature("`set(v=...)`", "a.set(v=-60.0)"),
        Feature("`synapse.weight`", "assert synapse.weight == 0.01"),
    ],
}  # fmt: skip


class Understood(NamedTuple):
    """What becomes of a feature: a network and what is said of it, or a refusal."""

    network: Network | None
    notes: tuple[str, ...]
    refusal: str


def understood(feature: Feature, folder: Path) -> Understood:
    """Follow the script of a feature."""
    script = folder / "script.py"
    parts = [START, feature.text, END if not feature.after else f"sim.run(20.0)\n{feature.after}"]
    script.write_text("\n".join(parts) + "\n")
    nothing, typed = io.StringIO(), io.StringIO("")
    try:
        with redirect_stdout(nothing), patch("sys.stdin", typed):
            network, _ = record_script(
                script, (), drawn=lambda network, timestep: Realization(network, 1, timestep)
            )
    except RequestError as error:
        return Understood(None, (), _without_place(str(error), script))
    return Understood(network, tuple(note.replace("\n", " ") for note in network.notes), "")


def _without_place(sentence: str, script: Path) -> str:
    """A refusal without the file and the line, which are those of an example."""
    head, _, _ = sentence.partition(f" ({script}, line")
    if head.startswith(str(script)):
        head = head.partition(": ")[2]
    return head.split("\n")[0]


def runs_on(network: Network) -> list[bool]:
    """For every backend whether it takes the network in double precision."""
    formats = [number_format(name, Path()) for name in FORMATS]
    pairs = zip(BACKENDS, formats, strict=True)
    return [not refusals(load(name), network, number, TIMESTEP) for name, number in pairs]


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    with tempfile.TemporaryDirectory() as folder:
        for area, features in FEATURES.items():
            lines += [
                "",
                f"## {area}",
                "",
                "| feature | | | NEST | Brian2 | emulator | SpiNNaker |",
            ]
            lines += ["|---|---|---|:-:|:-:|:-:|:-:|"]
            lines += [_row(feature, understood(feature, Path(folder))) for feature in features]
    return "\n".join(lines) + "\n"


def _row(feature: Feature, found: Understood) -> str:
    sentence = found.refusal or "; ".join(found.notes)
    verdict = "refused" if found.network is None else "said" if found.notes else "captured"
    dots = ["•" if runs else "" for runs in runs_on(found.network)] if found.network else [""] * 4
    cells = [feature.name, verdict, sentence.replace("|", "\\|"), *dots]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    target = PAGE.resolve()
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(elsewhere)  # some features write files
        target.write_text(page())
