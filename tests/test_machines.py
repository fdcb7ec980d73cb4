"""Weights and delays as machines hold them: by hand, and SpiNNaker's against sPyNNaker's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spinnaker_reference import ask, random_realization, spynnaker

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import (
    DOUBLE,
    SINGLE,
    FixedPoint,
    FloatingPoint,
    SpinnakerArithmetic,
)
from pynn_portability.formats.machines import (
    EVIDENCE,
    SHIPPED,
    Machine,
    MachineWeights,
    load_machine,
    shipped_machines,
)
from pynn_portability.formats.names import number_format
from pynn_portability.formats.number_format import NumberFormat
from pynn_portability.formats.ring_buffers import ring_buffers
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import AllToAll, FixedTotalNumber, FromList
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
    Value,
)
from pynn_portability.probe.compliance import Simulator, cells
from pynn_portability.realize.realization import Realization, Synapses

HEAD = (
    'title = "A machine"\nsources = ["a data sheet"]\nnot_modelled = ["Noise is not modelled."]\n'
)


def machine(folder: Path, weights: str = "", rest: str = "") -> Machine:
    """A machine of one's own, ``weights`` being lines of that section."""
    (folder / "own.toml").write_text(f"{HEAD}[weights]\n{weights}\n{rest}")
    return load_machine("own.toml", folder)


def clipped(mean: float, sd: float) -> Distribution:
    low, high = (0.0, np.inf) if mean > 0 else (-np.inf, 0.0)
    return Distribution("normal_clipped", {"mu": mean, "sigma": sd, "low": low, "high": high})


def listed(
    label: str, ends: str, weights: list[float], receptor: Receptor = "excitatory"
) -> Projection:
    """Explicit weights from and to two cells."""
    index = np.arange(len(weights), dtype=np.int64) % 2
    connector = FromList(index, index[::-1].copy())
    return Projection(label, ends[0], ends[1], receptor, connector, np.array(weights), 1.0)


def of(*projections: Projection, drives: tuple[PoissonDrive, ...] = ()) -> Realization:
    """Projections between populations A and B of two cells each."""
    return Realization(Network((cells("A", 2), cells("B", 2)), projections, drives), 1, 0.1)


def small_network() -> Network:
    """Excitation four times weaker than inhibition, and a drive, as in cortical models."""
    delay = Distribution("uniform", {"low": 0.1, "high": 3.0})

    def connect(label: str, weight: Value, receptor: Receptor, n: int) -> Projection:
        return Projection(label, label[0], label[1], receptor, FixedTotalNumber(n), weight, delay)

    return Network(
        (cells("E", 60, i_offset=0.3), cells("I", 15, i_offset=0.3)),
        (
            connect("EE", clipped(0.0878, 0.00878), "excitatory", 1500),
            connect("EI", clipped(0.1756, 0.01756), "excitatory", 400),
            connect("IE", clipped(-0.3512, 0.03512), "inhibitory", 700),
        ),
        (PoissonDrive("drive", "E", "excitatory", 6000.0, 0.0878, 1.5),),
    )


def realized(number: NumberFormat, network: Network, seed: int = 1) -> Realization:
    return number.on(Realization(network, seed, number.timestep or 0.1)).realization


def held_by(own: Machine, realization: Realization, label: str = "p") -> Any:
    """What a machine does to the weights of a projection or drive."""
    network = realization.network
    item = next(i for i in (*network.projections, *network.drives) if i.label == label)
    return MachineWeights(own).on(item, realization, DOUBLE.represent)


def held(number: NumberFormat, realization: Realization, label: str) -> tuple[Synapses, Any]:
    """Synapses of a projection as drawn, and its weights as held."""
    synapses = Synapses.concatenate(list(realization.synapses(label)))
    return synapses, number.on(realization).weights(label)(synapses.weight)


# --- SpiNNaker ---


@spynnaker
def test_weights_and_delays_are_those_read_back_from_spynnaker(tmp_path: Path):
    seeds = [100, 101, 102, 103]
    answers = ask(tmp_path, seeds, mapped=True)
    number = number_format("spinnaker")
    compared = 0
    for seed in seeds:
        realization = random_realization(seed)
        for label, read in answers[seed]["synapses"].items():
            if label.startswith("drive"):
                drive = realization.drive(label)
                index = np.arange(len(drive.weight))
                weights = number.on(realization).drive(label).weight
                ours = Synapses(index, index, weights, drive.delay)
            else:
                drawn, weights = held(number, realization, label)
                ours = Synapses(drawn.source, drawn.target, weights, drawn.delay)
            # sPyNNaker reads back magnitudes
            ours = Synapses(ours.source, ours.target, np.abs(ours.weight), ours.delay).sorted()
            theirs = read.sorted()
            for name in ("source", "target", "weight", "delay"):
                np.testing.assert_array_equal(
                    getattr(ours, name), getattr(theirs, name), f"{seed} {label} {name}"
                )
            compared += len(theirs)
    assert compared > 5000


def test_spinnaker_has_the_unit_of_its_ring_buffers():
    number = number_format("spinnaker")
    realization = realized(number, small_network())
    for label, key in (("EE", ("E", "excitatory")), ("IE", ("E", "inhibitory"))):
        unit = ring_buffers(realization)[key].unit  # type: ignore[index]
        drawn, weights = held(number, realization, label)
        assert (weights / unit == np.rint(weights / unit)).all()
        assert (np.abs(weights - drawn.weight) <= unit / 2).all()
        assert (np.sign(weights) == np.sign(drawn.weight)).all()


@pytest.mark.parametrize(
    ("milliseconds", "timestep", "steps"),
    [
        (0.05, 0.1, 1), (0.15, 0.1, 2), (0.25, 0.1, 2), (0.35, 0.1, 4), (0.01, 0.1, 1),
        (0.5, 1.0, 1), (1.5, 1.0, 2), (2.5, 1.0, 2), (0.3, 1.0, 1), (12.34, 0.1, 123),
    ],
)  # fmt: skip
def test_spinnaker_rounds_half_steps_to_even(milliseconds, timestep, steps):
    number = number_format("spinnaker")
    assert number.delay_steps(np.array([milliseconds]), timestep).tolist() == [steps]


# --- scales ---


def test_largest_weight_of_a_scope_is_the_highest_level(tmp_path):
    realization = of(
        listed("strong", "AA", [0.8, 0.3]),
        listed("weak", "BA", [0.1, 0.02]),
        listed("inhibition", "BA", [-3.0, -1.0], "inhibitory"),
        listed("elsewhere", "AB", [1.6, 0.5]),
        drives=(PoissonDrive("drive", "A", "excitatory", 10.0, 0.9, 1.0),),
    )
    largest = {
        "projection": [0.8, 0.1, 3.0, 1.6, 0.9],
        "receptor": [0.9, 0.9, 3.0, 1.6, 0.9],
        "target": [3.0, 3.0, 3.0, 1.6, 3.0],
        "source": [1.6, 3.0, 3.0, 1.6, 0.9],
        "network": [3.0, 3.0, 3.0, 3.0, 3.0],
    }
    labels = ["strong", "weak", "inhibition", "elsewhere", "drive"]
    for scope, expected in largest.items():
        own = machine(tmp_path, f'bits = 3\nscale = "largest"\nscope = "{scope}"')
        units = [held_by(own, realization, label).unit for label in labels]
        assert units == pytest.approx([w / 7 for w in expected]), scope


def test_drawn_weights_set_the_scale_as_realized(tmp_path):
    network = Network(
        (cells("E", 30),),
        (Projection("p", "E", "E", "excitatory", AllToAll(), clipped(1.0, 0.3), 1.0),),
    )
    own = machine(tmp_path, 'bits = 5\nscale = "largest"')
    for seed in (1, 2):
        realization = Realization(network, seed, 0.1)
        drawn = Synapses.concatenate(list(realization.synapses("p"))).weight
        hold = held_by(own, realization)
        assert hold.unit == drawn.max() / 31
        weights = hold(drawn)
        assert weights.max() == pytest.approx(drawn.max())
        assert len(np.unique(weights)) <= 32


def test_projections_may_have_finer_powers_of_two(tmp_path):
    realization = of(
        listed("a", "AA", [1.0]), listed("b", "BA", [0.26]), listed("c", "BA", [0.001])
    )
    own = machine(tmp_path, 'bits = 4\nscale = "largest"\nscope = "target"\nrefinement = 2')
    # 1 / 0.26 is between 2 and 4, and 1000 allows no more than 2^2
    units = [held_by(own, realization, label).unit for label in "abc"]
    assert units == pytest.approx([1 / 15, 1 / 30, 1 / 60])


def test_each_neuron_may_have_a_scale(tmp_path):
    """The largest weight onto a neuron, of any projection or drive, is its highest level."""
    projections = (
        # onto cells 0, 1 and 0, and onto 1 and 0
        listed("a", "AA", [3.0, 0.7, 1.3]),
        listed("b", "BA", [1.5, -14.0], "inhibitory"),
    )
    drive = PoissonDrive("drive", "A", "excitatory", 10.0, 0.9, 1.0)
    realization = of(*projections, drives=(drive,))
    own = machine(tmp_path, 'bits = 3\nscale = "largest"\nscope = "neuron"\nsign = "synapse"')
    unit = np.array([14.0, 1.5]) / 7
    for label in "ab":
        drawn = Synapses.concatenate(list(realization.synapses(label)))
        step = unit[drawn.target]
        hold = held_by(own, realization, label)
        expected = np.rint(drawn.weight / step) * step
        assert hold(drawn.weight) == pytest.approx(expected)
        parts = [hold(drawn.weight[i : i + 1], i) for i in range(len(drawn))]
        assert np.concatenate(parts).tolist() == hold(drawn.weight).tolist()
        assert hold.largest() >= np.abs(expected).max()
        assert hold.code_book() is None
    weights = number_format("own.toml", tmp_path).on(realization).drive("drive").weight
    assert weights == pytest.approx(np.rint(0.9 / unit) * unit)
    assert np.unique(weights).size == 2
    for backend in ("emulator", "nest"):
        if backends.load(backend).available() is None:
            _runs(Simulator(backend), number_format("own.toml", tmp_path))


def test_the_largest_weight_may_be_between_two_levels(tmp_path):
    own = machine(tmp_path, 'bits = 3\nscale = "largest"\nfull_scale = 7.5')
    hold = held_by(own, of(listed("p", "AA", [15.0, 6.0])))
    assert hold.unit == 2.0
    # half to even, and no more than seven levels
    assert hold(np.array([15.0, 6.9, 5.0, 7.0, 1.0])).tolist() == [14, 6, 4, 8, 0]


def test_finer_scales_lose_what_is_no_whole_multiple(tmp_path):
    """A quarter of the unit is finer than the half that all values are multiples of."""
    own = machine(
        tmp_path,
        'bits = 4\nscale = "largest"\nscope = "target"\nrefinement = 2\nmultiple = 0.5',
    )
    realization = of(listed("a", "AA", [15.0, 3.0]), listed("b", "BA", [3.75, 1.0]))
    strong, weak = held_by(own, realization, "a"), held_by(own, realization, "b")
    assert (strong.unit, weak.unit) == (1.0, 0.25)
    assert strong(np.array([15.0, 3.4])).tolist() == [15, 3]
    # 5 quarters are rounded to 1 (2.5 halves, to even), 7 quarters to 2; 15 of them would be 4, but
    # no level is higher than 15, so the odd bit is dropped
    assert weak(np.array([1.25, 1.3, 1.75, 3.75, 0.5])).tolist() == [1, 1, 2, 3.5, 0.5]
    assert set(weak.values) == set(np.arange(8) / 2)
    # dropping a bit of a negative number is rounding down
    inhibition = of(listed("a", "AA", [15.0]), listed("b", "BA", [-3.75, -1.25], "inhibitory"))
    assert held_by(own, inhibition, "b")(np.array([-3.75, -1.25])).tolist() == [-4, -1]


def threshold_of(millivolt: float, weights: list[float]) -> Realization:
    population = Population(
        "A",
        2,
        "IF_curr_exp",
        {
            **{"cm": 0.25, "tau_m": 10.0, "tau_refrac": 2.0, "tau_syn_E": 0.5, "tau_syn_I": 0.5},
            **{"v_rest": -65.0, "v_reset": -65.0, "v_thresh": -65.0 + millivolt, "i_offset": 0.0},
        },
    )
    return Realization(Network((population,), (listed("p", "AA", weights),), ()), 1, 0.1)


def test_weights_shrink_until_the_threshold_fits(tmp_path):
    """15 mV need 41.37 nA: 0.25 nF 15 mV / (0.5 ms (1 - exp(-0.2)))."""
    weights = np.array([0.63, 0.31, 0.1])
    rule = 'bits = 6\nscale = "largest"\n'
    free = held_by(machine(tmp_path, rule), threshold_of(15, weights.tolist()))
    level = 0.01
    assert free.unit == pytest.approx(level)
    needed = 0.25 * 15 / (0.5 * -np.expm1(-0.2))
    assert needed == pytest.approx(41.37, abs=0.01)
    for limit, factor in ((5000, 1.0), (4138, 1.0), (2000, 4137 / 2000), (1000, 4.137)):
        own = machine(tmp_path, f"{rule}threshold_limit = {limit}")
        hold = held_by(own, threshold_of(15, weights.tolist()))
        step = level * factor
        assert hold(weights) == pytest.approx(np.rint(np.rint(weights / level) / factor) * step)
    for limit, factor in ((5000, 1.0), (2069, 2.0), (2068, 4.0), (100, 64.0)):
        own = machine(
            tmp_path, f'{rule}threshold_limit = {limit}\nthreshold_factor = "power_of_two"'
        )
        hold = held_by(own, threshold_of(15, weights.tolist()))
        step = level * factor
        # of the highest level, bits are dropped
        expected = np.minimum(np.rint(np.rint(weights / level) / factor), 63 // factor)
        assert hold(weights) == pytest.approx(expected * step)


@pytest.mark.parametrize(("largest", "unit"), [(15.0, 1.0), (15.1, 2.0), (0.9, 1 / 16)])
def test_smallest_power_of_two_that_reaches(tmp_path, largest, unit):
    own = machine(tmp_path, 'bits = 4\nscale = "power_of_two"')
    assert held_by(own, of(listed("p", "AA", [largest, 0.5]))).unit == unit


def test_two_weights_keep_mean_and_sd(tmp_path):
    own = machine(tmp_path, 'scale = "mean_and_sd"\nscope = "receptor"')
    # three weights of one projection and one of another share them: mean -3, SD 1.2247
    realization = of(
        listed("a", "AA", [-2.0, -4.0, -4.0], "inhibitory"),
        listed("b", "BA", [-2.0], "inhibitory"),
    )
    hold = held_by(own, realization, "a")
    assert hold(np.array([-9.0, -3.0, -2.9, 0.0]), 0) == pytest.approx([-4, -4, -2, -2])
    assert hold.values == pytest.approx([-4.0, -2.0])


def test_weights_that_are_all_zero_stay_so(tmp_path):
    own = machine(tmp_path, 'bits = 4\nscale = "largest"')
    assert held_by(own, of(listed("p", "AA", [0.0, 0.0])))(np.zeros(2)).tolist() == [0, 0]


# --- rounding ---


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("nearest_even", [0, 0, 2, 2, 3, -2, -1]),
        ("nearest", [0, 1, 2, 3, 3, -3, -1]),
        ("zero", [0, 0, 1, 2, 2, -2, 0]),
        ("floor", [0, 0, 1, 2, 2, -3, -1]),
    ],
)
def test_rounding(tmp_path, rounding, expected):
    own = machine(
        tmp_path,
        f'bits = 4\nscale = "fixed"\nunit = 0.125\nsign = "synapse"\nrounding = "{rounding}"',
    )
    weights = np.array([0.0, 0.5, 1.5, 2.5, 2.9, -2.5, -0.6])
    realization = of(listed("p", "AA", [1.0]))
    assert held_by(own, realization)(weights / 8) * 8 == pytest.approx(expected)


def test_whole_levels_are_kept_whatever_the_rounding(tmp_path):
    weights = np.arange(256) * 0.1
    for rounding in ("zero", "floor", "nearest"):
        own = machine(tmp_path, f'bits = 8\nscale = "fixed"\nunit = 0.1\nrounding = "{rounding}"')
        assert held_by(own, of(listed("p", "AA", [1.0])))(weights) == pytest.approx(weights)


@pytest.mark.parametrize(("overflow", "expected"), [("clip", [15, 15, 15]), ("wrap", [15, 0, 4])])
def test_overflow(tmp_path, overflow, expected):
    own = machine(tmp_path, f'bits = 4\nscale = "fixed"\nunit = 1.0\noverflow = "{overflow}"')
    realization = of(listed("p", "AA", [15.0, 20.0]))
    hold = held_by(own, realization)
    assert hold(np.array([15.0, 16.0, 20.0])).tolist() == expected
    assert hold.largest() == 15
    # whatever becomes of the extremes, a weight between them may have the highest level
    assert held_by(own, of(listed("p", "AA", [3.0, 20.0]))).largest() == 15


@pytest.mark.parametrize(
    ("sign", "expected"),
    [("receptor", [0, -2, -3]), ("absolute", [-1, -2, -3]), ("synapse", [1, -2, -3])],
)
def test_signs_on_an_inhibitory_receptor(tmp_path, sign, expected):
    own = machine(tmp_path, f'bits = 4\nscale = "fixed"\nunit = 1.0\nsign = "{sign}"')
    realization = of(listed("p", "AA", [-1.0], "inhibitory"))
    assert held_by(own, realization)(np.array([1.0, -2.0, -3.0])).tolist() == expected


def test_uneven_levels(tmp_path):
    own = machine(tmp_path, 'levels = [1, 2, 4]\nscale = "fixed"\nunit = 1.0')
    realization = of(listed("p", "AA", [1.0]))
    weights = np.array([0.0, 1.4, 1.6, 2.9, 3.1, 9.0])
    # the lowest level is not zero
    hold = held_by(own, realization)
    assert hold(weights).tolist() == [1, 1, 2, 2, 4, 4]
    assert hold.values.tolist() == [1, 2, 4]


def test_stochastic_rounding(tmp_path):
    own = machine(tmp_path, 'bits = 4\nscale = "fixed"\nunit = 1.0\nrounding = "stochastic"')
    realization = of(listed("p", "AA", [1.0]))
    hold = held_by(own, realization)
    weights = np.full(100_000, 2.3)
    rounded = hold(weights, 0)
    assert set(rounded) == {2.0, 3.0}
    # standard error of the mean: 0.0014
    assert rounded.mean() == pytest.approx(2.3, abs=0.007)
    # each weight has a fate of its own, wherever a chunk begins
    np.testing.assert_array_equal(hold(weights[:500], 700), rounded[700:1200])
    other = held_by(own, Realization(realization.network, 2, 0.1))(weights)
    assert (other != rounded).any()
    assert hold(np.array([5.0, 14.999, 17.0]), 0).tolist()[::2] == [5, 15]
    assert hold.most_values() is None


def test_brainscales1_has_no_zero():
    number = number_format("brainscales1")
    realization = of(listed("p", "AA", [0.0, 1.0]))
    _, weights = held(number, realization, "p")
    # 93.94 of 954.715, the default curve at weights 0 and 15
    assert weights == pytest.approx([0.098396, 1.0], abs=1e-6)


# --- delays ---


@pytest.mark.parametrize(
    ("name", "timestep", "expected"),
    [
        ("loihi", 0.1, [1, 2, 15, 62, 62]),
        ("spinnaker2", 0.1, [1, 2, 8, 8, 8]),
        ("truenorth", 0.1, [10, 10, 20, 60, 150]),
        ("truenorth", 1.0, [1, 1, 2, 6, 15]),
        ("brainscales2", 0.1, [1, 1, 1, 1, 1]),
        ("nest-gpu", 0.1, [1, 2, 15, 62, 800]),
    ],
)
def test_delays(name, timestep, expected):
    steps = number_format(name).delay_steps(np.array([0.01, 0.15, 1.5, 6.2, 80.0]), timestep)
    assert steps.dtype == np.int32
    assert steps.tolist() == expected


@pytest.mark.parametrize("name", shipped_machines())
@pytest.mark.parametrize("timestep", [0.1, 0.25, 1.0])
def test_delays_never_decrease_and_take_a_step(name, timestep):
    steps = number_format(name).delay_steps(np.linspace(0, 40, 4001), timestep)
    assert steps[0] >= 1
    assert (np.diff(steps) >= 0).all()


def test_delays_that_a_machine_cannot_have_are_told():
    network = Network(
        (cells("A", 2),),
        (
            Projection("short", "A", "A", "excitatory", AllToAll(), 0.1, 1.0),
            Projection("long", "A", "A", "excitatory", AllToAll(), 0.1, clipped(7.0, 1.0)),
        ),
    )
    (sentence,) = number_format("loihi").restrictions(network, 0.1)
    assert "'long'" in sentence
    assert "6.2 ms" in sentence
    (sentence,) = number_format("brainscales2").restrictions(network, 0.1)
    assert "'short', 'long' reach" in sentence
    assert number_format("spinnaker").restrictions(network, 0.1) == []
    assert number_format("double").restrictions(network, 0.1) == []


@pytest.mark.parametrize("unit", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("maximum", [4, 15])
def test_a_delay_is_told_where_a_machine_without_a_limit_would_have_a_longer_one(
    tmp_path, unit, maximum
):
    """Rounding to the longest delay is rounding; what rounds to a longer one is cut off, and told."""
    delays = f"[delays]\nunit = {unit}"
    free = MachineWeights(machine(tmp_path, 'number = "double"', delays))
    limited = MachineWeights(
        machine(tmp_path, 'number = "double"', f"{delays}\nmaximum = {maximum}")
    )
    told = []
    for units in (maximum - 0.6, maximum, maximum + 0.4, maximum + 0.6, maximum + 0.9):
        milliseconds = units * unit
        network = of(
            Projection("p", "A", "A", "excitatory", AllToAll(), 0.1, milliseconds),
            drives=(PoissonDrive("drive", "B", "excitatory", 10.0, 0.1, milliseconds),),
        ).network
        steps = [m.delay_steps(np.array([milliseconds]), 0.1).tolist() for m in (free, limited)]
        sentences = limited.restrictions(network, 0.1)
        assert bool(sentences) == (steps[0] != steps[1])
        # drives have delays as well
        assert all("'p', 'drive' reach" in sentence for sentence in sentences)
        told.append(bool(sentences))
    assert told == [False, False, False, True, True]


def test_no_delay_is_too_long_for_a_time_step_that_a_machine_cannot_do_without():
    """A machine without delays has one step, however long, so that a delay of one step is kept."""

    def network(milliseconds: float) -> Network:
        return of(Projection("p", "A", "A", "excitatory", AllToAll(), 0.1, milliseconds)).network

    number = number_format("brainscales2")
    assert number.delay_steps(np.array([1.0]), 1.0).tolist() == [1]
    assert number.restrictions(network(1.0), 1.0) == []
    (sentence,) = number.restrictions(network(2.0), 1.0)
    assert "2 ms" in sentence
    assert "longer than 1 ms" in sentence


# --- every shipped machine ---


@pytest.mark.parametrize("name", shipped_machines())
def test_shipped_machines_say_what_they_are(name):
    found = load_machine(name)
    assert found.sources
    assert found.not_modelled
    assert all(sentence.endswith(".") for sentence in found.not_modelled)
    assert found.evidence in EVIDENCE
    assert found.proof.endswith(".")
    evidence, *rest = number_format(name).notes
    assert evidence == f"Evidence for the numbers of this machine: {found.evidence}. {found.proof}"
    assert rest == found.not_modelled


@pytest.mark.parametrize("name", shipped_machines())
def test_held_weights_of_shipped_machines(name):
    number = number_format(name)
    realization = realized(number, small_network())
    for projection in realization.network.projections:
        drawn, weights = held(number, realization, projection.label)
        before = drawn.weight.copy()
        assert weights.shape == drawn.weight.shape
        # Dale's rule, and stronger weights are held stronger
        assert (weights * np.sign(projection.weight.parameters["mu"]) >= 0).all()
        assert np.corrcoef(weights, drawn.weight)[0, 1] > 0.5
        assert weights.mean() == pytest.approx(drawn.weight.mean(), rel=0.25)
        hold = number.on(realization).weights(projection.label)
        parts = [hold(drawn.weight[i : i + 97], i) for i in range(0, len(drawn), 97)]
        np.testing.assert_array_equal(np.concatenate(parts), weights)
        np.testing.assert_array_equal(drawn.weight, before)
        assert np.abs(weights).max() <= hold.largest()
        book, most = hold.code_book(), hold.most_values()
        assert (book is None) == (most is None)
        if book is not None:
            assert len(np.unique(weights)) <= len(book.values) <= most <= 256
            codes = book.encode(drawn.weight)
            np.testing.assert_array_equal(book.values[codes], weights)
            assert (np.diff(codes[np.argsort(drawn.weight)]) >= 0).all()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("brainscales1", 16), ("brainscales2", 64), ("dynapse2", 16), ("loihi", 128),
        ("odin", 8), ("spinnaker2", 16), ("truenorth", 2), ("xylo", 128),
    ],
)  # fmt: skip
def test_as_few_values_as_the_machine_has(name, values):
    number = number_format(name)
    index = np.arange(2000)
    network = Network(
        (cells("A", 40),),
        (
            Projection(
                "p",
                "A",
                "A",
                "excitatory",
                FromList(index % 40, index // 40 % 40),
                np.linspace(0, 2, 2000),
                1.0,
            ),
        ),
    )
    _, weights = held(number, realized(number, network), "p")
    assert len(np.unique(weights)) == values


@pytest.mark.parametrize("name", [*shipped_machines(), "loihi-full", "truenorth-full"])
def test_emulator_runs_every_machine(name):
    number = number_format(name)
    _runs(Simulator("emulator"), number)


@pytest.mark.parametrize("backend", ["nest", "brian2"])
@pytest.mark.parametrize("name", ["loihi", "brainscales1", "spinnaker"])
def test_other_simulators_run_machines_in_double_precision(backend, name):
    if reason := backends.load(backend).available():
        pytest.skip(reason)
    _runs(Simulator(backend), number_format(name))


def _runs(simulator: Simulator, number: NumberFormat) -> None:
    """The simulator holds what the format says, and the network is active."""
    timestep = number.timestep or 0.1
    realization = realized(number, small_network())
    simulation = backends.build(simulator.backend, number.on(realization), simulator.options)
    for projection in realization.network.projections:
        drawn, weights = held(number, realization, projection.label)
        expected = Synapses(drawn.source, drawn.target, weights, drawn.delay).sorted()
        found = simulation.connections(projection.label)
        np.testing.assert_array_equal(found.delay, expected.delay)
        assert found.weight == pytest.approx(expected.weight, rel=1e-6, abs=1e-5)
    spikes = simulation.run(round(60 / timestep), lambda fraction: None)
    assert all(len(p.steps) > 10 for p in spikes.populations.values())


# --- names ---


@pytest.mark.parametrize(
    ("name", "state", "timestep"),
    [
        ("loihi", "float64", None),
        ("loihi/float32", "float32", None),
        ("nest-gpu-full", "float32", None),
        ("truenorth-full", "float64", 1.0),
        ("truenorth-full@0.5ms", "float64", 0.5),
        ("truenorth", "float64", None),
        ("spinnaker", "float64", None),
        ("spinnaker@1ms", "float64", 1.0),
        ("spinnaker-full", SpinnakerArithmetic(1), None),
        ("spinnaker-full@1ms", SpinnakerArithmetic(1), 1.0),
        ("spinnaker-full-3@1ms", SpinnakerArithmetic(3), 1.0),
    ],
)
def test_names(name, state, timestep):
    number = number_format(name)
    if isinstance(state, str):
        state = FloatingPoint(state)
    assert isinstance(number.weights, MachineWeights)
    assert (number.name, number.state, number.timestep) == (name, state, timestep)


@pytest.mark.parametrize(
    "name",
    [
        "loihi-", "loihi-full-2", "loihi/double", "loihi/", "loihi-full/float32", "Loihi",
        "spinnaker-full-1", "spinnaker-full-0", "spinnaker-full-01", "brainscales1-full",
        "loihi@", "loihi@ms", "loihi@1ms@1ms", "naive-2/loihi", "ms",
    ],
)  # fmt: skip
def test_other_spellings_are_refused(name):
    with pytest.raises(RequestError, match="unknown number format") as caught:
        number_format(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("spinaker", "spinnaker"), ("loihi/flaot32", "loihi/float32"), ("loihi-ful", "loihi-full")],
)
def test_misspelt_machines(name, meant):
    with pytest.raises(RequestError, match=f"did you mean '{meant}'"):
        number_format(name)


# --- files ---


def test_a_machine_of_ones_own(tmp_path):
    (tmp_path / "chips").mkdir()
    machine(
        tmp_path,
        'bits = 2\nscale = "largest"',
        '[time]\nstep = 0.5\n[state]\narithmetic = "s8.7-floor"\n',
    )
    shutil.move(tmp_path / "own.toml", tmp_path / "chips" / "own.toml")
    number = number_format("chips/own.toml", tmp_path)
    assert (number.name, number.state, number.timestep) == ("chips/own.toml", DOUBLE, None)
    full = number_format("chips/own.toml-full@1ms", tmp_path)
    assert (full.state.rounding, full.timestep) == ("floor", 1.0)
    assert number_format("chips/own.toml-full", tmp_path).timestep == 0.5
    assert number_format("chips/own.toml/float32", tmp_path).state == SINGLE
    _, weights = held(number, of(listed("p", "AA", [3.0, 1.2])), "p")
    assert weights.tolist() == [3.0, 1.0]


def test_example_of_the_documentation(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "number-formats.md").read_text()
    (tmp_path / "mine.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    number = number_format("mine.toml-full", tmp_path)
    assert (number.state, number.timestep) == (FixedPoint(8, 15, "floor"), 0.5)
    for name in shipped_machines():
        assert f"`{name}`" in text


def test_a_copy_of_a_shipped_file_is_that_machine(tmp_path):
    for name in shipped_machines():
        shutil.copy(SHIPPED / f"{name}.toml", tmp_path / "copy.toml")
        copy, shipped = number_format("copy.toml", tmp_path), number_format(name)
        assert copy.fingerprint == shipped.fingerprint


def test_fingerprint_is_of_what_decides_a_simulation(tmp_path):
    prints = []
    for weights, rest in (
        ("bits = 4", ""),
        ("bits = 5", ""),
        ("bits = 4", "[delays]\nmaximum = 7"),
        ("bits = 4", '[state]\narithmetic = "float32"'),
    ):
        prints.append(machine(tmp_path, f'{weights}\nscale = "largest"', rest).fingerprint)
    assert len(set(prints)) == 4
    text = (tmp_path / "own.toml").read_text().replace("A machine", "Another title")
    (tmp_path / "own.toml").write_text(text)
    assert load_machine("own.toml", tmp_path).fingerprint == prints[3]
    assert number_format("double").fingerprint is None


PROBLEMS = {
    "unknown key": ("bit = 4", "", ["weights.bit", "'bits'"]),
    "unknown section": ("bits = 4", "[delay]\nmaximum = 3", ["delay", "'delays'"]),
    "type": ('bits = "4"', "", ["weights.bits", "from 1 to 16", '"4"']),
    "too many bits": ("bits = 17", "", ["weights.bits", "from 1 to 16", "17"]),
    "no scale": ("bits = 4", "", ["weights.scale", "missing"]),
    "no levels": ('scale = "largest"', "", ["weights.bits", "exactly one"]),
    "bits and levels": ('bits = 1\nlevels = [0, 1]\nscale = "largest"', "", ["exactly one"]),
    "descending": ('levels = [0, 2, 1]\nscale = "largest"', "", ["weights.levels", "larger"]),
    "negative": ('levels = [-1, 2]\nscale = "largest"', "", ["weights.levels", "strengths"]),
    "no unit": ('bits = 4\nscale = "fixed"', "", ["weights.unit", "fixed"]),
    "needless unit": ('bits = 4\nscale = "largest"\nunit = 1.0', "", ["weights.unit", "fixed"]),
    "scope": ('bits = 4\nscale = "largest"\nscope = "core"', "", ["weights.scope", '"target"']),
    "number and bits": ('number = "float32"\nbits = 4', "", ["weights.bits", "number"]),
    "rounding": ('bits = 4\nscale = "largest"\nrounding = "up"', "", ["weights.rounding", '"up"']),
    "two values": ('scale = "mean_and_sd"\nbits = 4', "", ["weights.bits", "two values"]),
    "full scale": (
        'bits = 4\nscale = "power_of_two"\nfull_scale = 3', "", ["weights.full_scale", "largest"]
    ),
    "neuron": (
        'bits = 4\nscale = "power_of_two"\nscope = "neuron"', "", ["weights.scope", "neuron"]
    ),
    "finer neuron": (
        'bits = 4\nscale = "largest"\nscope = "neuron"\nrefinement = 2', "", ["refinement"]
    ),
    "threshold": ('bits = 4\nscale = "fixed"\nunit = 1\nthreshold_limit = 9', "", ["threshold"]),
    "ring buffers": ('bits = 8\nscale = "expected_sum"', "", ["weights.scope", "receptor"]),
    "no delays": (
        'number = "double"', "[delays]\nminimum = 3\nmaximum = 2", ["delays.minimum", "maximum"]
    ),
    "delay": ('number = "double"', "[delays]\nmaximum = -1", ["delays.maximum", "zero or more"]),
    "step": ('number = "double"', "[time]\nstep = 0", ["time.step", "positive"]),
    "state": ('number = "double"', '[state]\narithmetic = "s9"', ["state.arithmetic", "'s9'"]),
    "state of SpiNNaker": (
        'number = "double"', '[state]\narithmetic = "spinnaker"', ["arithmetic", "expected_sum"]
    ),
    "syntax": ("bits = ", "", ["not valid TOML"]),
}  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, problem):
    weights, rest, expected = PROBLEMS[problem]
    with pytest.raises(RequestError) as caught:
        machine(tmp_path, weights, rest)
        number_format("own.toml", tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{tmp_path / 'own.toml'}: ")
    assert "\n" not in sentence
    for words in expected:
        assert words in sentence


def test_a_proof_says_what_it_is(tmp_path):
    text = f'{HEAD}evidence = "proven in part"\nPROOF[weights]\nnumber = "double"\n'
    (tmp_path / "own.toml").write_text(text.replace("PROOF", ""))
    with pytest.raises(RequestError, match=r"own\.toml: .*proof: is missing"):
        load_machine("own.toml", tmp_path)
    (tmp_path / "own.toml").write_text(
        text.replace("PROOF", 'proof = "Weights are those of it."\n')
    )
    first = "Evidence for the numbers of this machine: proven in part. Weights are those of it."
    assert number_format("own.toml", tmp_path).notes[0] == first
    (tmp_path / "own.toml").write_text(text.replace("PROOF", "").replace("in part", "somehow"))
    with pytest.raises(RequestError, match="from sources only"):
        load_machine("own.toml", tmp_path)
    # evidence decides no simulation
    assert machine(tmp_path, 'number = "double"').evidence == "from sources only"


def test_missing_file_and_missing_header(tmp_path):
    with pytest.raises(RequestError, match=r"nowhere\.toml: there is no such"):
        number_format("nowhere.toml", tmp_path)
    (tmp_path / "own.toml").write_text('title = "x"\n[weights]\nnumber = "double"\n')
    with pytest.raises(RequestError, match=r"own\.toml: sources: is missing"):
        number_format("own.toml", tmp_path)
    with pytest.raises(RequestError, match="unknown machine 'lohi', did you mean 'loihi'"):
        load_machine("lohi")


def test_a_file_that_is_called_like_spinnaker_is_not_taken_for_it(tmp_path):
    """A board holds weights in its own way; what a file says decides, not what it is called."""
    text = (SHIPPED / "spinnaker.toml").read_text()
    (tmp_path / "spinnaker-full-mine.toml").write_text(
        text.replace('arithmetic = "spinnaker"', 'arithmetic = "s16.15"')
    )
    (tmp_path / "mine.toml").write_text(text)
    (tmp_path / "clipping.toml").write_text(text.replace('"wrap"', '"clip"'))
    board, network = backends.load("spinnaker"), small_network()

    def refused(name: str) -> list[str]:
        return backends.refusals(board, network, number_format(name, tmp_path), 0.1)

    for name in ("spinnaker-full-mine.toml", "spinnaker-full-mine.toml-full"):
        (sentence,) = refused(name)
        assert repr(name) in sentence and "allowed is 'spinnaker-full'" in sentence
        assert number_format(name, tmp_path).state != SpinnakerArithmetic()
    (sentence,) = refused("clipping.toml-full")
    assert "holds weights and delays in its own way" in sentence
    assert refused("mine.toml-full") == refused("spinnaker-full") == []


def test_delays_that_hardly_ever_are_too_long_are_not_told(tmp_path):
    """One in a thousand draws decides."""
    limited = MachineWeights(
        machine(tmp_path, 'number = "double"', "[delays]\nunit = 0.1\nmaximum = 10")
    )

    def told(low: float, high: float) -> bool:
        delay = Distribution("uniform", {"low": low, "high": high})
        projection = Projection("p", "A", "A", "excitatory", AllToAll(), 0.1, delay)
        return bool(limited.restrictions(of(projection).network, 0.1))

    # one in 500 and one in 2,000 above 1.05 ms
    assert told(0.0, 1.05 / (1 - 1 / 500))
    assert not told(0.0, 1.05 / (1 - 1 / 2000))


@pytest.mark.parametrize(
    ("n", "names"), [(3, "'p0', 'p1', 'p2'"), (4, "'p0', 'p1', 'p2' and 1 more")]
)
def test_three_projections_are_named(tmp_path, n, names):
    limited = MachineWeights(
        machine(tmp_path, 'number = "double"', "[delays]\nunit = 0.1\nmaximum = 10")
    )
    projections = [
        Projection(f"p{i}", "A", "A", "excitatory", AllToAll(), 0.1, 2.0) for i in range(n)
    ]
    (sentence,) = limited.restrictions(of(*projections).network, 0.1)
    assert f"Delays of {names} reach 2 ms" in sentence


@pytest.mark.parametrize("with_zero", [True, False])
def test_a_sign_per_synapse_doubles_all_values_but_zero(tmp_path, with_zero):
    levels = [0, 1, 2, 3] if with_zero else [1, 2, 3]
    own = machine(tmp_path, f'levels = {levels}\nscale = "fixed"\nunit = 1.0\nsign = "synapse"')
    hold = held_by(own, of(listed("p", "AA", [1.0, 2.0])))
    assert hold.most_values() == hold.code_book().values.size == (7 if with_zero else 6)


def test_chunks_are_rounded_as_the_whole(tmp_path):
    """Stochastic rounding of a synapse depends on its place in the projection, not in a chunk."""
    own = machine(tmp_path, 'bits = 4\nscale = "fixed"\nunit = 1.0\nrounding = "stochastic"')
    machine_format = number_format(str(own.file))
    held = machine_format.on(of(listed("p", "AA", [2.5] * 1000)))
    (whole,) = (chunk.weight for chunk in held.synapses("p"))
    parts = [chunk.weight for chunk in held.synapses("p", chunk_size=100)]
    assert len(parts) == 10
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_largest_weight_of_inhibition_is_the_most_negative():
    weight = clipped(-1.0, 0.5)
    projection = Projection("p", "A", "A", "inhibitory", FixedTotalNumber(10_000), weight, 1.0)
    held = number_format("double").on(of(projection))
    drawn = np.concatenate([chunk.weight for chunk in held.synapses("p")])
    assert held.weights("p").largest() >= np.abs(drawn).max() > 2.0


@pytest.mark.parametrize("scope", ["network", "target", "projection"])
def test_only_a_scale_of_the_network_is_shared_by_all_of_it(tmp_path, scope):
    own = machine(tmp_path, f'bits = 4\nscale = "largest"\nscope = "{scope}"')
    one, other = listed("p", "AA", [1.0, 2.0]), listed("q", "AB", [3.0, 300.0])
    alone, together = (held_by(own, of(*projections)) for projections in ((one,), (one, other)))
    weights = np.array([1.0, 2.0])
    changed = (alone(weights) != together(weights)).any()
    assert changed == MachineWeights(own).shared_by_network == (scope == "network")
