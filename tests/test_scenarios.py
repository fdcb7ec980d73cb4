"""One network on every simulator: scripts without chance, whose spikes are equal step by step.

The scenarios are those that PyNN's own system tests look at (currents that differ, chains of delays, lists and
arrays of weights, parts of populations, distances, several receptors), in words of ours. What no simulator
computes exactly, conductances, may differ by rounding; there the largest shift is stated and is one step.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pynn_portability import backends
from pynn_portability.model.network import Network
from pynn_portability.model.whole_script import Protocol, record_script
from pynn_portability.probe.compliance import Simulator
from pynn_portability.spikes.data import SpikeData


class Scenario(NamedTuple):
    """A script, the simulators beside NEST that can run it, and by how many steps a spike may differ."""

    script: str
    simulators: tuple[str, ...] = ("brian2", "emulator")
    shift: int = 0


START = """
import numpy as np
import pyNN.nest as sim
from pyNN.space import Grid2D
sim.setup(timestep=0.1, min_delay=0.1)
"""
END = "sim.run(300.0)\nsim.end()\n"

SCENARIOS = {
    "a current of its own for each cell": Scenario(
        """
cells = sim.Population(100, sim.IF_curr_exp(tau_m=20.0, tau_refrac=2.5), label="cells")
cells.set(i_offset=np.linspace(0.0, 2.0, 100))
cells.initialize(v=lambda i: -65.0 + 0.1 * i)
cells.record("spikes")
"""
    ),
    "a chain of delays": Scenario(
        """
clock = sim.Population(1, sim.SpikeSourceArray(spike_times=[10.0, 50.0, 51.3, 200.0]), label="clock")
chain = sim.Population(30, sim.IF_curr_exp(tau_syn_E=1.0, tau_refrac=5.0), label="chain")
sim.Projection(clock, chain[:1], sim.AllToAllConnector(), sim.StaticSynapse(weight=20.0, delay=3.3))
links = [(i, i + 1, 20.0, 0.1 * (i + 1)) for i in range(29)]
sim.Projection(chain, chain, sim.FromListConnector(links), receptor_type="excitatory")
chain.record("spikes")
"""
    ),
    "excitation and inhibition that balance": Scenario(
        """
rng = np.random.RandomState(7)
times = [np.sort(rng.choice(np.arange(10, 2990), 60, replace=False)) * 0.1 for _ in range(40)]
source = sim.Population(40, sim.SpikeSourceArray(spike_times=times), label="source")
exc = sim.Population(64, sim.IF_curr_exp(tau_syn_E=0.7, tau_syn_I=1.9), label="exc")
inh = sim.Population(16, sim.IF_curr_exp(tau_refrac=1.0), label="inh")
weights = rng.uniform(0.5, 3.0, (40, 80))
strong = sim.StaticSynapse(weight=weights * (weights > 2.0), delay=1.1)
sim.Projection(source, exc + inh, sim.AllToAllConnector(), strong)
every = [(i, (i * 7 + k) % 80, 0.6, 0.5 + 0.1 * k) for i in range(64) for k in range(8)]
sim.Projection(exc, exc + inh, sim.FromListConnector(every), receptor_type="excitatory")
back = [(i, (i * 5 + k) % 80, -2.0, 0.8) for i in range(16) for k in range(10)]
sim.Projection(inh, exc + inh, sim.FromListConnector(back), receptor_type="inhibitory")
exc.record("spikes")
inh.record("spikes")
"""
    ),
    "a sheet with distances": Scenario(
        """
source = sim.Population(25, sim.SpikeSourceArray(spike_times=lambda i: [
    sim.Sequence(np.arange(5.0 + k, 290.0, 11.0 + k)) for k in np.atleast_1d(i)]), structure=Grid2D(), label="source")
sheet = sim.Population(100, sim.IF_curr_exp(), structure=Grid2D(dx=0.5, dy=0.5), label="sheet")
near = sim.DistanceDependentProbabilityConnector("d < 1.5")
sim.Projection(source, sheet, near, sim.StaticSynapse(weight="1.5 / (1 + d)", delay="0.2 + 0.5*d"))
sheet.record("spikes")
"""
    ),
    "parts, single cells and refractory times": Scenario(
        """
cells = sim.Population(30, sim.IF_curr_exp(i_offset=0.9), label="cells")
cells[10:20].set(tau_refrac=[float(k) for k in range(10)])
for number, cell in enumerate(cells[20:]):
    cell.tau_m = 5.0 + number
cells[25].v_thresh = -52.0
sim.Projection(cells[:10], cells[20:], sim.OneToOneConnector(), sim.StaticSynapse(weight=2.0, delay=0.1))
cells.record("spikes")
"""
    ),
    "alpha functions": Scenario(
        """
source = sim.Population(20, sim.SpikeSourceArray(spike_times=np.arange(3.0, 290.0, 7.7)), label="source")
cells = sim.Population(20, sim.IF_curr_alpha(tau_syn_E=2.0, i_offset=0.7), label="cells")
sim.Projection(source, cells, sim.OneToOneConnector(), sim.StaticSynapse(weight=lambda d: 1.0 + 0.1 * d, delay=1.0))
everyone = sim.AllToAllConnector(allow_self_connections=False)
sim.Projection(cells, cells, everyone, sim.StaticSynapse(weight=0.02, delay=2.3))
cells.record("spikes")
""",
        ("brian2",),
    ),
    "conductances": Scenario(
        """
source = sim.Population(20, sim.SpikeSourceArray(spike_times=np.arange(3.0, 290.0, 4.1)), label="source")
cells = sim.Population(20, sim.IF_cond_exp(i_offset=0.3), label="cells")
growing = sim.StaticSynapse(weight=lambda d: 0.0005 * (1 + d / 20), delay=1.0)
sim.Projection(source, cells, sim.AllToAllConnector(), growing)
back = sim.StaticSynapse(weight=0.001, delay=1.5)
sim.Projection(cells, cells, sim.AllToAllConnector(), back, receptor_type="inhibitory")
cells.record("spikes")
""",
        ("brian2",),
        shift=1,
    ),
}  # fmt: skip


@cache
def recorded(name: str, folder: Path) -> tuple[Network, Protocol]:
    script = folder / "script.py"
    script.write_text(START + SCENARIOS[name].script + END)
    return record_script(script, ())


def trains(spikes: SpikeData) -> dict[tuple[str, int], list[int]]:
    """Steps by population and neuron."""
    found: dict[tuple[str, int], list[int]] = {}
    for label, p in spikes.populations.items():
        for neuron in range(p.size):
            found[label, neuron] = p.steps[p.neurons == neuron].tolist()
    return found


@pytest.mark.parametrize(
    ("name", "simulator"),
    [(n, s) for n, scenario in SCENARIOS.items() for s in scenario.simulators],
)
def test_spikes_are_those_of_nest(name: str, simulator: str, tmp_path: Path) -> None:
    for needed in ("nest", simulator):
        if reason := backends.load(needed).available():
            pytest.skip(reason)
    network, protocol = recorded(name, tmp_path)
    n_steps = round(protocol.duration / protocol.timestep)
    nest, other = (trains(Simulator(s).run(network, n_steps)) for s in ("nest", simulator))
    assert sum(map(len, nest.values())) > 80, "a scenario in which little happens shows little"
    assert {k: len(v) for k, v in other.items()} == {k: len(v) for k, v in nest.items()}
    shifts = [
        np.abs(np.subtract(other[cell], nest[cell])).max() for cell in nest if len(nest[cell])
    ]
    assert max(shifts) <= SCENARIOS[name].shift
