"""Deterministic scripts have the spikes here that they have when Python runs them on stock ``pyNN.nest``."""

import json
import subprocess
import sys

import pytest
from command_line import portability

from pynn_portability import Study

pytest.importorskip("nest")

SCRIPT = """
import json, sys
import pyNN.nest as sim
from pyNN.space import Grid2D

sim.setup(timestep=0.1, min_delay=0.5, max_delay=20.0, spike_precision="on_grid")
currents = sim.Population(20, sim.IF_curr_exp(tau_m=15.0, tau_refrac=3.0), label="currents")
for number, cell in enumerate(currents):
    cell.i_offset = 0.8 + 0.05 * number
currents[::2].set(tau_refrac=2.0)
currents[3].tau_m = 8.0
conductances = sim.Population((4, 4), sim.IF_cond_exp(i_offset=0.7), label="conductances")
conductances.initialize(v=-62.0)
conductances.initialize(v=[-62.0] * 4 + [-58.0] * 12)
sheet = sim.Population(9, sim.IF_curr_alpha(i_offset=0.9), structure=Grid2D(dx=2.0, dy=2.0), label="sheet")
clock = sim.Population(2, sim.SpikeSourceArray(spike_times=[[5.0, 25.0], [12.3, 60.0]]), label="clock")

one = sim.StaticSynapse(weight=0.3, delay=1.5)
sim.Projection(clock, currents[:10] + sheet, sim.AllToAllConnector(), one, receptor_type="excitatory")
sim.Projection(currents[5:15], currents[:10], sim.OneToOneConnector(), sim.StaticSynapse(weight=0.4))
sim.Projection(currents[10:], conductances[2:6], sim.AllToAllConnector(), sim.StaticSynapse(weight=0.004, delay=0.8))
pairs = [(0, 18, 0.5, 1.0), (9, 0, -0.3, 2.0), (3, 25, 0.6, 3.1)]
both = currents + sheet
listed = sim.FromListConnector(pairs[:1] + pairs[2:])
sim.Projection(both, both, listed, receptor_type="excitatory")
sim.Projection(both, both, sim.FromListConnector(pairs[1:2]), receptor_type="inhibitory")
near = sim.DistanceDependentProbabilityConnector("d < 3.0", allow_self_connections=False)
falling = sim.StaticSynapse(weight=lambda d: 0.5 / (1.0 + d), delay="0.5 + 0.5 * d")
sim.Projection(sheet, sheet, near, falling)
for population in (currents, conductances, sheet):
    population.record("spikes")

sim.run(120.0)
sim.run(80.0)

found = {
    p.label: [[round(float(t) / 0.1) for t in train] for train in p.get_data().segments[0].spiketrains]
    for p in (currents, conductances, sheet)
}
json.dump(found, open(sys.argv[1], "w"))
sim.end()
"""


def test_a_script_has_its_spikes(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    stock = tmp_path / "stock.json"
    subprocess.run(
        [sys.executable, "script.py", str(stock)], cwd=tmp_path, check=True, capture_output=True
    )
    expected = json.loads(stock.read_text())
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "s"\n[model]\nscript = "script.py"\narguments = ["again.json"]\n'
        '[simulation]\nseeds = [1]\n[reference]\nbackend = "nest"\n'
    )
    done = portability(tmp_path, "run", "study.toml", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "again.json").exists()
    results = Study.load(tmp_path / "study.toml").judge(tmp_path / "out", progress=False)
    trains = results.spikes("nest", "double", 1).segments[0].spiketrains
    steps = [[round(float(t) / 0.1) for t in train] for train in trains]
    labels = [p.label for p in results.content.populations if p.recorded]
    assert len(steps) == sum(len(expected[label]) for label in labels)
    assert sorted(steps) == sorted(train for label in labels for train in expected[label])
    assert min(sum(map(len, expected[label])) for label in labels) > 20
