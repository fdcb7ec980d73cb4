"""Capture: PyNN scripts become networks, and what cannot be carried over is named."""

from pathlib import Path

import numpy as np
import pyNN.standardmodels.cells
import pytest

from pynn_portability.errors import RequestError
from pynn_portability.model.cells import CELL_TYPES
from pynn_portability.model.connectivity import (
    AllToAll,
    FixedNumberPost,
    FixedNumberPre,
    FixedProbability,
    FixedTotalNumber,
    OneToOne,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.scripts import capture, load_model, model_parameters, shipped_models
from pynn_portability.realize.realization import Realization


def captured(build, **parameters):
    return capture(build, parameters, 0.1)


def two_populations(sim):
    a = sim.Population(10, sim.IF_curr_exp(tau_m=15.0), label="A")
    b = sim.Population(20, sim.IF_cond_exp(), label="B")
    b.record("spikes")
    return a, b


def test_populations():
    def build(sim):
        sim.setup(timestep=0.1)
        a = sim.Population(
            3,
            sim.IF_curr_exp,
            {"tau_m": [10.0, 20.0, 30.0]},
            initial_values={"v": -70.0},
            label="A",
        )
        b = sim.Population(4, sim.IF_cond_alpha(v_thresh=-51.0))
        b.set(tau_m=sim.RandomDistribution("uniform", (5.0, 15.0)))
        sim.initialize(b, v=sim.RandomDistribution("normal", mu=-65.0, sigma=2.0))
        sim.record("spikes", a)

    network = captured(build)
    a, b = network.populations
    assert (a.label, a.size, a.cell_type, a.recorded) == ("A", 3, "IF_curr_exp", True)
    np.testing.assert_array_equal(a.parameters["tau_m"], [10.0, 20.0, 30.0])
    assert a.parameters["cm"] == 1.0  # PyNN's default
    assert a.initial_values["v"] == -70.0
    assert (b.label, b.recorded) == ("population1", False)
    assert b.parameters["tau_m"] == Distribution("uniform", {"low": 5.0, "high": 15.0})
    assert b.initial_values["v"] == Distribution("normal", {"mu": -65.0, "sigma": 2.0})


def test_spike_sources():
    def build(sim):
        array = sim.Population(2, sim.SpikeSourceArray(spike_times=[1.0, 2.0]), label="array")
        array.record("spikes")
        each = [sim_sequence([1.0]), sim_sequence([])]
        sim.Population(2, sim.SpikeSourceArray(spike_times=each), label="each")
        sim.Population(2, sim.SpikeSourcePoisson(rate=[5.0, 8.0], start=3.0), label="poisson")

    from pyNN.parameters import Sequence as sim_sequence  # noqa: N813, PLC0415

    array, each, poisson = captured(build).populations
    assert [t.tolist() for t in array.spike_times] == [[1.0, 2.0], [1.0, 2.0]]
    assert [t.tolist() for t in each.spike_times] == [[1.0], []]
    np.testing.assert_array_equal(poisson.parameters["rate"], [5.0, 8.0])
    assert poisson.parameters["start"] == 3.0


@pytest.mark.parametrize("size", [1, 2])
def test_spike_times_of_one_cell_are_as_those_of_two(size):
    """PyNN evaluates a list that holds a single sequence to the numbers in it."""
    from pyNN.parameters import Sequence  # noqa: PLC0415

    def build(sim, times):
        sim.Population(size, sim.SpikeSourceArray(spike_times=times), label="S").record("spikes")

    def times(value):
        (source,) = captured(build, times=value).populations
        return [t.tolist() for t in source.spike_times]

    for each in ([1.0, 2.0, 3.0], []):
        assert times([Sequence(each)] * size) == [each] * size
        assert times([each] * size) == [each] * size
        assert times(each) == [each] * size
        assert times(Sequence(each)) == [each] * size
    assert times([np.float32(2.5)]) == [[2.5]] * size
    assert "for 3 cells" in fails(build, times=[[1.0]] * 3)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda sim: sim.AllToAllConnector(allow_self_connections=False), AllToAll(False)),
        (lambda sim: sim.OneToOneConnector(), OneToOne()),
        (lambda sim: sim.FixedProbabilityConnector(0.2), FixedProbability(0.2)),
        (lambda sim: sim.FixedTotalNumberConnector(7), FixedTotalNumber(7)),
        (
            lambda sim: sim.FixedTotalNumberConnector(n=7, with_replacement=False),
            FixedTotalNumber(7, with_replacement=False),
        ),
        (lambda sim: sim.FixedNumberPreConnector(4), FixedNumberPre(4)),
        (
            lambda sim: sim.FixedNumberPostConnector(4, with_replacement=True),
            FixedNumberPost(4, with_replacement=True),
        ),
        (lambda sim: sim.FixedNumberPreConnector(25), FixedNumberPre(25)),
        (
            lambda sim: sim.FixedNumberPreConnector(
                sim.RandomDistribution("binomial", n=8, p=0.5), with_replacement=True
            ),
            FixedNumberPre(Distribution("binomial", {"n": 8.0, "p": 0.5}), with_replacement=True),
        ),
    ],
)
def test_connectors(make, expected):
    def build(sim):
        a, b = two_populations(sim)
        sim.Projection(a, b, make(sim), sim.StaticSynapse(weight=0.004, delay=1.5))

    (projection,) = captured(build).projections
    assert projection.connector == expected
    assert (projection.label, projection.receptor) == ("A->B", "excitatory")
    assert (projection.weight, projection.delay) == (0.004, 1.5)


def test_lists_and_labels():
    def build(sim):
        a, b = two_populations(sim)
        full = sim.FromListConnector([(0, 1, 0.5, 1.0), (9, 19, 0.25, 2.0)])
        sim.Projection(a, b, full)
        weights = sim.FromListConnector([(0, 1, 0.5)], column_names=["weight"])
        sim.Projection(a, b, weights, sim.StaticSynapse(delay=3.0))
        sim.Projection(b, a, sim.AllToAllConnector(), sim.StaticSynapse(weight=-0.1))

    first, second, third = captured(build).projections
    assert first.connector.source.tolist() == [0, 9]
    assert first.connector.target.tolist() == [1, 19]
    assert first.weight.tolist() == [0.5, 0.25]
    assert first.delay.tolist() == [1.0, 2.0]
    assert (second.label, second.weight.tolist(), second.delay) == ("A->B #2", [0.5], 3.0)
    # PyNN's conventions: a negative weight means the inhibitory receptor, no delay the smallest one
    assert (third.receptor, third.delay) == ("inhibitory", 0.1)


def test_weight_values():
    def build(sim):
        a, b = two_populations(sim)
        pairs = np.full((10, 20), 0.5)
        sim.Projection(a, b, sim.AllToAllConnector(), sim.StaticSynapse(weight=pairs))
        drawn = sim.RandomDistribution("normal", mu=0.5, sigma=0.05, rng=sim.NumpyRNG(seed=1))
        sim.Projection(a, b, sim.AllToAllConnector(), sim.StaticSynapse(weight=drawn))

    pairs, drawn = captured(build).projections
    assert pairs.weight.shape == (10, 20)
    assert drawn.weight == Distribution("normal", {"mu": 0.5, "sigma": 0.05})


def poisson_input(sim, *, record=False, twice=False, connector=None, size=20):
    _, b = two_populations(sim)
    noise = sim.Population(size, sim.SpikeSourcePoisson(rate=8000.0), label="noise")
    if record:
        noise.record("spikes")
    for _ in range(2 if twice else 1):
        sim.Projection(
            noise,
            b,
            connector or sim.OneToOneConnector(),
            sim.StaticSynapse(weight=0.01, delay=1.5),
            label="input",
        )


def test_independent_poisson_input_becomes_a_drive():
    network = captured(poisson_input)
    assert [p.label for p in network.populations] == ["A", "B"]
    assert network.projections == ()
    (drive,) = network.drives
    assert (drive.label, drive.target, drive.receptor) == ("input", "B", "excitatory")
    assert (drive.rate, drive.weight, drive.delay, drive.start) == (8000.0, 0.01, 1.5, 0.0)


@pytest.mark.parametrize("change", [{"record": True}, {"twice": True}, {"size": 21}])
def test_shared_or_recorded_poisson_sources_stay_populations(change):
    network = captured(poisson_input, **change)
    assert network.drives == ()
    assert "noise" in [p.label for p in network.populations]


def fails(build, **parameters):
    with pytest.raises(RequestError) as caught:
        captured(build, **parameters)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unsupported_calls_are_named_with_what_is_supported():
    def with_populations(use):
        return fails(lambda sim: use(sim, *two_populations(sim)))

    assert "current source DCSource" in fails(lambda sim: sim.DCSource(amplitude=1))
    assert "sim.nonsense" in fails(lambda sim: sim.nonsense())
    assert "STDPMechanism" in fails(lambda sim: sim.STDPMechanism())
    assert "the harness runs" in fails(lambda sim: sim.run(100))
    assert "IF_cond_exp" in fails(lambda sim: sim.Population(1, sim.Izhikevich()))
    assert "gsyn_exc" in with_populations(lambda sim, a, b: b.record("isyn_exc"))
    assert "current source" in with_populations(lambda sim, a, b: a.inject(None))
    assert "isyn_exc" in with_populations(lambda sim, a, b: a.initialize(isyn_exc=0.1))
    message = with_populations(
        lambda sim, a, b: sim.Projection(a, b, sim.SmallWorldConnector(0.1, 0.1))
    )
    assert "SmallWorldConnector" in message
    assert "FromListConnector" in message
    assert "structure" in fails(
        lambda sim: sim.Population(1, sim.IF_curr_exp(), structure=object())
    )
    assert "weight" in with_populations(
        lambda sim, a, b: sim.Projection(
            a, b, sim.AllToAllConnector(), sim.StaticSynapse(weight="x")
        )
    )


def test_wrong_requests():
    def with_populations(use):
        return fails(lambda sim: use(sim, *two_populations(sim)))

    def project(connector, **synapse):
        return with_populations(
            lambda sim, a, b: sim.Projection(a, a, connector(sim), sim.StaticSynapse(**synapse))
        )

    assert "no neurons" in fails(lambda sim: sim.Population(1, sim.SpikeSourcePoisson()))
    assert "timestep" in fails(lambda sim: sim.setup(timestep=1.0))
    assert "no such parameter" in with_populations(lambda sim, a, b: a.set(tau=1.0))
    assert "shape (3,)" in with_populations(lambda sim, a, b: a.set(tau_m=[1.0, 2.0, 3.0]))
    assert "size 1000" in fails(lambda sim: sim.Population(10**30, sim.IF_curr_exp()))
    assert "size 4.5" in fails(lambda sim: sim.Population(4.5, sim.IF_curr_exp()))
    assert "size True" in fails(lambda sim: sim.Population(True, sim.IF_curr_exp()))
    assert "label" in fails(lambda sim: sim.Population(1, sim.IF_curr_exp(), label=3))
    assert "a number" in with_populations(lambda sim, a, b: a.initialize(v=10**400))
    assert "a number" in with_populations(lambda sim, a, b: a.initialize(v="-65"))
    assert "no cell to choose" in fails(
        lambda sim: sim.Projection(
            (one := sim.Population(1, sim.IF_curr_exp())),
            one,
            sim.FixedNumberPreConnector(1, allow_self_connections=False),
        )
    )
    assert "only 100" in project(
        lambda sim: sim.FixedTotalNumberConnector(101, with_replacement=False)
    )
    assert "drawn from normal(mu=5, sigma=1); allowed are uniform_int" in project(
        lambda sim: sim.FixedNumberPreConnector(sim.RandomDistribution("normal", (5.0, 1.0)))
    )
    assert "points" in project(lambda sim: sim.FixedNumberPreConnector(2, location_selector="soma"))
    assert "0 to 9" in project(lambda sim: sim.FromListConnector([(0, 10, 1.0, 1.0)]))


def test_what_else_is_recorded_is_left_out_and_said():
    def build(sim):
        a, b = two_populations(sim)
        a.record(["spikes", "v"], to_file="a.pkl", sampling_interval=1.0)
        b.record("gsyn_exc")
        sim.record("v", b, "b.pkl")

    network = captured(build)
    assert [p.recorded for p in network.populations] == [True, True]
    assert network.notes == ("only spikes are compared; recordings of gsyn_exc, v are left out",)


def test_a_model_that_records_no_spikes_is_compared_as_a_whole():
    def build(sim):
        noise = sim.Population(2, sim.SpikeSourcePoisson(rate=9.0), label="noise")
        cells = sim.Population(2, sim.IF_curr_exp(), label="cells")
        others = sim.Population(2, sim.IF_curr_exp(), label="others")
        sim.Projection(noise, cells, sim.AllToAllConnector(), sim.StaticSynapse(weight=1.0))
        others.record("spikes")
        others.record(None)  # ends recording, as in PyNN

    network = captured(build)
    assert {p.label: p.recorded for p in network.populations} == {
        "noise": False,
        "cells": True,
        "others": True,
    }
    assert network.notes == (
        "the model records no spikes, so all populations of neurons are compared",
    )


def test_populations_with_the_same_label_are_numbered():
    def build(sim):
        layers = [sim.Population(2, sim.IF_curr_exp(), label="layer") for _ in range(3)]
        sim.Population(2, sim.IF_curr_exp(), label="layer #3")
        sim.Projection(*layers[1:], sim.AllToAllConnector(), sim.StaticSynapse(weight=1.0))
        layers[2].record("spikes")

    network = captured(build)
    labels = ["layer", "layer #2", "layer #3", "layer #3 #2"]
    assert [p.label for p in network.populations] == labels
    assert [(p.source, p.target) for p in network.projections] == [("layer #2", "layer #3")]
    (note,) = network.notes
    assert note.endswith("told apart by numbers: 'layer #2', 'layer #3', 'layer #3 #2'")


def test_synapses_without_delay_have_the_shortest_of_setup():
    """The harness took the time step, which is another network."""

    def build(sim, min_delay=None, given=None):
        if min_delay is not None:
            sim.setup(timestep=0.1, min_delay=min_delay, max_delay=10.0)
        a = sim.Population(2, sim.IF_curr_exp(), label="A")
        a.record("spikes")
        delays = {} if given is None else {"delay": given}
        sim.Projection(a, a, sim.AllToAllConnector(), sim.StaticSynapse(weight=1.0, **delays))
        sim.Projection(
            a, a, sim.FromListConnector([(0, 1)]), sim.StaticSynapse(weight=1.0, **delays)
        )
        sim.Projection(a, a, sim.AllToAllConnector())
        assert sim.get_min_delay() == (0.1 if min_delay in (None, "auto") else min_delay)

    def delays(**parameters):
        return [p.delay for p in captured(build, **parameters).projections]

    assert delays() == [0.1] * 3
    assert delays(min_delay="auto") == [0.1] * 3
    assert delays(min_delay=1.5) == [1.5] * 3
    assert delays(min_delay=1.5, given=3.0) == [3.0, 3.0, 1.5]
    for wrong in (0.01, -1.0, float("nan"), float("inf"), "short"):
        assert "setup" in fails(build, min_delay=wrong)


def test_the_procedural_interface():
    def build(sim):
        cells = sim.create(sim.IF_cond_exp(tau_m=15.0), n=20)
        source = sim.create(sim.SpikeSourcePoisson, {"rate": 2000.0})
        sim.connect(source, cells, weight=0.01, delay=1.0, p=0.8)
        sim.connect(cells, cells)
        sim.record("spikes", cells, "cells.pkl")

    network = captured(build)
    assert [(p.size, p.cell_type) for p in network.populations] == [
        (20, "IF_cond_exp"),
        (1, "SpikeSourcePoisson"),
    ]
    first, second = network.projections
    assert (first.connector, first.weight, first.delay) == (FixedProbability(0.8), 0.01, 1.0)
    assert (second.connector, second.weight, second.delay) == (FixedProbability(1.0), 0.0, 0.1)


def test_projections_can_be_kept_and_changed():
    def build(sim, use=lambda prj, drawn: None):
        a, b = two_populations(sim)
        synapse = sim.StaticSynapse(weight=0.1, delay=1.0)
        prj = sim.Projection(a, b, sim.FixedNumberPreConnector(3), synapse, label="kept")
        drawn = sim.Projection(a, b, sim.FixedProbabilityConnector(0.5), synapse)
        assert (prj.pre, prj.post, prj.label) == (a, b, "kept")
        assert len(prj) == prj.size() == 60
        prj.set(weight=0.8)
        use(prj, drawn)

    kept, drawn = captured(build).projections
    assert (kept.weight, kept.delay) == (0.8, 1.0)
    assert drawn.weight == 0.1
    assert "drawn for each seed" in fails(build, use=lambda prj, drawn: len(drawn))
    assert "drawn for each seed" in fails(build, use=lambda prj, drawn: prj.get("weight", "list"))
    left_out = captured(build, use=lambda prj, drawn: prj.save("weight", "file")).notes
    assert left_out == ("what changes no spikes is left out: Projection.save",)
    assert "Projection.nonsense" in fails(build, use=lambda prj, drawn: prj.nonsense())
    assert "weight and delay" in fails(build, use=lambda prj, drawn: prj.set(U=0.5))


def test_receptors_of_drawn_weights():
    """A negative parameter of a distribution that is never negative says nothing of the sign."""

    def build(sim, name, **parameters):
        a, _ = two_populations(sim)
        weight = sim.RandomDistribution(name, **parameters)
        sim.Projection(a, a, sim.AllToAllConnector(), sim.StaticSynapse(weight=weight))

    def receptor(name, **parameters):
        (projection,) = captured(build, name=name, **parameters).projections
        return projection.receptor

    assert receptor("lognormal", mu=-4.0, sigma=1.0) == "excitatory"
    assert receptor("gamma", k=1.0, theta=0.1) == "excitatory"
    assert receptor("normal", mu=-0.1, sigma=0.01) == "inhibitory"
    assert receptor("normal", mu=0.1, sigma=0.01) == "excitatory"
    assert receptor("uniform", low=-0.3, high=-0.1) == "inhibitory"


def test_notes_are_no_part_of_a_network():
    def build(sim, more=False):
        a, _ = two_populations(sim)
        if more:
            a.record("v")

    plain, more = captured(build), captured(build, more=True)
    assert (plain.notes, len(more.notes)) == ((), 1)
    assert plain.fingerprint() == more.fingerprint()


CONNECTORS = {
    "FixedProbabilityConnector(-0.1)": "a probability from 0 to 1",
    "FixedProbabilityConnector(1.5)": "a probability from 0 to 1",
    "FixedProbabilityConnector(float('nan'))": "a probability from 0 to 1",
    "FixedProbabilityConnector(0.1, allow_self_connections='no')": "a probability",
    "FixedNumberPreConnector(-2)": "a whole number of sources",
    "FixedNumberPostConnector(-2)": "a whole number of targets",
    "FixedNumberPreConnector(2.5)": "a whole number of sources",
    "FixedTotalNumberConnector(-1)": "a whole number of synapses",
    "FixedTotalNumberConnector(10**30)": "a whole number of synapses",
    "FixedTotalNumberConnector('many')": "a whole number of synapses",
    "AllToAllConnector(allow_self_connections=3)": "allow_self_connections",
    "FromListConnector([(0, 0), (1, 1, 0.5, 1.0)])": "a list of (source, target)",
    "FromListConnector(3)": "a list of (source, target)",
}


@pytest.mark.parametrize("call", CONNECTORS)
def test_connectors_say_what_they_take(call):
    """PyNN asserts without words; the sentence has the call and what is allowed."""

    def build(sim):
        a, _ = two_populations(sim)
        sim.Projection(a, a, eval(f"sim.{call}", {"sim": sim}), sim.StaticSynapse(weight=0.1))

    message = fails(build)
    assert call.split("(")[0] in message
    assert CONNECTORS[call] in message
    assert "no message" not in message


def test_errors_without_words_show_the_statement(tmp_path: Path):
    (tmp_path / "model.py").write_text("def build(sim, n=-1):\n    assert n > 0\n")
    assert "line 2: AssertionError: assert n > 0" in fails(load_model("model.py:build", tmp_path))


def test_numpy_types_are_numbers():
    """A network of NumPy scalars is that of Python's numbers."""

    def build(sim, whole=int, real=float):
        a = sim.Population(whole(4), sim.IF_curr_exp(tau_m=real(12.5)), label="A")
        a.initialize(v=real(-60.0))
        a.record("spikes")
        synapse = sim.StaticSynapse(weight=real(0.5), delay=real(1.5))
        sim.Projection(a, a, sim.FixedProbabilityConnector(real(0.25)), synapse)
        sim.Projection(a, a, sim.FixedNumberPreConnector(whole(2)), synapse)

    expected = captured(build).fingerprint()
    for whole in (np.int64, np.uint8):
        assert captured(build, whole=whole, real=np.float64).fingerprint() == expected
    assert captured(build, whole=np.int16, real=np.float32).fingerprint() == expected


def test_lists_without_synapses():
    def build(sim):
        a, b = two_populations(sim)
        sim.Projection(a, b, sim.FromListConnector([]), sim.StaticSynapse(weight=0.1))

    assert Realization(captured(build), 1, 0.1).n_synapses == 0


def test_script_errors_name_file_and_line(tmp_path: Path):
    script = tmp_path / "model.py"
    script.write_text("def build(sim):\n    return 1 / 0\n")
    message = fails(load_model(f"{script}:build", tmp_path))
    assert f"{script}, line 2: ZeroDivisionError" in message
    script.write_text("def build(sim)\n    return\n")
    with pytest.raises(RequestError, match="line 1: SyntaxError"):
        load_model("model.py:build", tmp_path)
    script.write_text("def build(sim):\n    sim.nonsense()\n")
    assert "line 2" in fails(load_model("model.py:build", tmp_path))


def test_loading_models(tmp_path: Path):
    assert "microcircuit" in shipped_models()
    (tmp_path / "neighbour.py").write_text("SIZE = 3\n")
    (tmp_path / "model.py").write_text(
        "import neighbour\n"
        "def build(sim, size=neighbour.SIZE):\n"
        "    sim.Population(size, sim.IF_curr_exp(), label='A').record('spikes')\n"
    )
    build = load_model("model.py:build", tmp_path)
    assert model_parameters(build) == {"size": 3}
    assert captured(build).population("A").size == 3
    with pytest.raises(RequestError, match="shipped models are"):
        load_model("microcirciut", tmp_path)
    with pytest.raises(RequestError, match="no function 'make'"):
        load_model("model.py:make", tmp_path)
    with pytest.raises(RequestError, match="does not exist"):
        load_model("nothing.py:build", tmp_path)


def test_fingerprint_follows_the_network_and_nothing_else():
    def build(sim, size=10, weight=0.5):
        a = sim.Population(size, sim.IF_curr_exp(), label="A")
        a.record("spikes")
        sim.Projection(a, a, sim.FixedTotalNumberConnector(20), sim.StaticSynapse(weight=weight))

    same = captured(build).fingerprint()
    assert captured(build).fingerprint() == same
    assert captured(build, size=11).fingerprint() != same
    assert captured(build, weight=np.nextafter(0.5, 1)).fingerprint() != same


@pytest.mark.parametrize("name", ["noise", "E"])
def test_projections_and_drives_may_be_called_like_populations(name):
    """Populations, projections and drives have label spaces of their own: nothing disappears."""

    def build(sim):
        cells = sim.Population(4, sim.IF_curr_exp(), label="E")
        cells.record("spikes")
        noise = sim.Population(4, sim.SpikeSourcePoisson(rate=10.0), label="noise")
        synapse = sim.StaticSynapse(weight=0.1, delay=1.0)
        sim.Projection(noise, cells, sim.OneToOneConnector(), synapse, label="E")
        sim.Projection(cells, cells, sim.AllToAllConnector(), synapse, label="noise")
        sim.Projection(cells, cells, sim.FixedNumberPreConnector(2), synapse, label=name)

    network = captured(build)
    assert [p.label for p in network.populations] == ["E"]
    assert [d.label for d in network.drives] == ["E"]
    # the third label was taken by a projection, whichever became a drive
    assert [p.label for p in network.projections] == ["noise", f"{name} #2"]
    realization = Realization(network, 1, 0.1)
    assert realization.n_synapses == 16 + 8
    assert network.drive("E").rate == 10.0
    assert network.projection("noise").connector == AllToAll()
    for kind in (network.population, network.projection, network.drive):
        with pytest.raises(KeyError):
            kind("absent")


@pytest.mark.parametrize("cell", CELL_TYPES.values(), ids=lambda cell: cell.name)
def test_records_of_cells_are_true_of_pynn(cell):
    """State, receptors, time constants and signs stand in PyNN's own standard models, too."""
    model = getattr(pyNN.standardmodels.cells, cell.name)
    assert set(cell.state) <= set(model.default_initial_values)
    assert tuple(cell.synaptic_time_constants) == tuple(model.receptor_types)
    assert set(cell.synaptic_time_constants.values()) <= set(model.default_parameters)
    assert set(cell.on_grid) <= set(model.default_parameters)
    if cell.source is None:  # PyNN calls everything else conductance-based
        assert cell.conductance_based == model.conductance_based
