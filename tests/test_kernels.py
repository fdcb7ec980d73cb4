"""sPyNNaker's KernelConnector, against sPyNNaker's own class."""

import types

import numpy as np
import pytest
from test_capture import captured, fails
from test_groups import cells, synapses

from pynn_portability.model.kernels import KernelConnector
from pynn_portability.model.whole_script import record_script

STEPS = {
    "post_sample_steps_in_pre": (1, 3),
    "post_start_coords_in_pre": (0, 3),
    "pre_sample_steps_in_post": (1, 3),
    "pre_start_coords_in_post": (0, 3),
}
"""What places one sheet on another, and the smallest and largest number that is tried."""


def test_connections_are_those_of_spynnaker(monkeypatch):
    module = pytest.importorskip(
        "spynnaker.pyNN.models.neural_projections.connectors.kernel_connector"
    )
    from pacman.model.graphs.common import Slice  # noqa: PLC0415 - comes with sPyNNaker

    # its unsigned coordinates wrap around in NumPy 2 where a target stands before the first source
    monkeypatch.setattr(module, "uint32", np.int64)
    draw, connected = np.random.default_rng(1), 0
    for _ in range(100):
        pre, post, kernel = (tuple(draw.integers(1, 7, 2).tolist()) for _ in range(3))
        given = {
            name: tuple(draw.integers(low, high + 1, 2).tolist())
            for name, (low, high) in STEPS.items()
            if draw.random() < 0.7
        }
        weights, delays = draw.random(kernel), draw.integers(1, 9, kernel).astype(float)
        given |= {"weight_kernel": weights, "delay_kernel": delays}
        theirs = module.KernelConnector(pre, post, kernel, **given).create_synaptic_block(
            [],
            Slice(0, post[0] * post[1] - 1),
            0,
            types.SimpleNamespace(weights=1.0, delays=1.0, n_pre_neurons=pre[0] * pre[1]),
        )
        ours = KernelConnector(pre, post, kernel, **given)
        source, target, row, column = ours.connected(pre[0] * pre[1], post[0] * post[1])
        assert source.tolist() == theirs["source"].tolist(), (pre, post, kernel, given)
        assert target.tolist() == theirs["target"].tolist()
        assert weights[row, column] == pytest.approx(theirs["weight"])
        assert (delays[row, column] == theirs["delay"]).all()
        connected += len(source)
    assert connected > 1000


def test_a_kernel_gives_weights_and_delays_and_the_synapse_what_it_does_not():
    def build(sim):
        a, b = cells(sim, 12, "a"), cells(sim, 12, "b")
        sheet, synapse = (3, 4), sim.StaticSynapse(weight=0.5, delay=3.0)
        kernel = [[0.1, 0.2, 0.3]]
        given = sim.KernelConnector(sheet, sheet, (1, 3), weight_kernel=kernel)
        sim.Projection(a, b, given, synapse, label="weights")
        given = sim.KernelConnector(sheet, sheet, [3, 1], delay_kernel=2.0)
        sim.Projection(a, b, given, synapse, label="delays")
        drawn = sim.RandomDistribution("uniform", (0.0, 1.0))
        given = sim.KernelConnector(sheet, sheet, (3, 3), weight_kernel=drawn)
        sim.Projection(a, b, given, synapse, label="drawn")

    network = captured(build)
    s = synapses(network, "weights")
    # in a row of four, each target hears its neighbours and itself
    assert len(s) == 3 * (4 + 3 + 3)
    assert s.weight == pytest.approx(0.1 * (s.source - s.target + 2))
    assert (s.source // 4 == s.target // 4).all()
    assert set(s.delay) == {30}
    s = synapses(network, "delays")
    assert set(s.weight) == {0.5}
    assert set(s.delay) == {20}
    assert set((s.source - s.target).tolist()) == {-4, 0, 4}
    s = synapses(network, "drawn")
    assert len(set(s.weight)) == 9
    assert any("weight kernel of projection 'drawn'" in note for note in network.notes)
    assert network.fingerprint() == captured(build).fingerprint()


def test_a_script_for_spinnaker_connects_by_a_kernel(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import pyNN.spiNNaker as p\n"
        "p.setup(1.0)\n"
        "a = p.Population(16, p.IF_curr_exp(), label='a')\n"
        "a.record('spikes')\n"
        "edge = p.KernelConnector((4, 4), (4, 4), (3, 3), weight_kernel=[[1, 2, 1]] * 3)\n"
        "p.Projection(a, a, edge, p.StaticSynapse(delay=2), receptor_type='inhibitory', label='p')\n"
        "p.run(10)\n"
    )
    network, _ = record_script(script, ())
    s = synapses(network, "p")
    assert len(s) == 10 * 10  # neighbours in rows, times those in columns
    assert set(s.weight) == {-1.0, -2.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape_kernel": 3}, "shape_kernel=3"),
        ({"shape_pre": (0, 4)}, "from 1 on"),
        ({"pre_start_coords_in_post": (-1, 0)}, "from 0 on"),
        ({"weight_kernel": [[1.0, 2.0]]}, "3 rows and 3 columns"),
        ({"delay_kernel": "soon"}, "3 rows and 3 columns"),
        ({"space": "flat"}, "space"),
    ],
)
def test_what_is_no_kernel(arguments, words):
    def build(sim):
        a = cells(sim, 12, "a")
        shapes = {"shape_pre": (3, 4), "shape_post": (3, 4), "shape_kernel": (3, 3)}
        sim.Projection(a, a, sim.KernelConnector(**(shapes | arguments)))

    assert words in fails(build)


def test_convolutions_without_synapses_are_refused_with_the_way_out():
    for name in ("ConvolutionConnector", "PoolDenseConnector"):
        assert "KernelConnector connects" in fails(lambda sim, name=name: getattr(sim, name))
