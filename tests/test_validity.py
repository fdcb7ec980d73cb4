"""Whatever is not finite or not physical is refused in a sentence, and what the time grid changes is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pynn_portability.errors import RequestError, printable
from pynn_portability.model.scripts import capture
from pynn_portability.realize.realization import MAX_STEPS, Realization, to_steps
from pynn_portability.realize.validity import MAX_DELAY_STEPS, adjustments, violations

TIMESTEP = 0.1
SEEDS = (1, 2, 3)

Build = Callable[..., Any]


def found(build: Build, seeds: tuple[int, ...] = SEEDS) -> list[str]:
    sentences = violations(capture(build, {}, TIMESTEP), seeds, TIMESTEP)
    assert not any("\n" in sentence for sentence in sentences)
    return sentences


def cells(kind: str = "IF_curr_exp", n: int = 50, **parameters: Any) -> Build:
    def build(sim: Any) -> None:
        sim.Population(n, getattr(sim, kind)(**parameters), label="E").record("spikes")

    return build


def drawn(name: str, **parameters: float) -> Callable[[Any], Any]:
    """A distribution, which only the simulator's object can make."""
    return lambda sim: sim.RandomDistribution(name, **parameters)


def test_ordinary_cells_are_valid() -> None:
    for kind in ("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha"):
        assert found(cells(kind, tau_refrac=0.0)) == []
    assert found(cells("SpikeSourcePoisson", rate=0.0, start=5.0, duration=10.0)) == []


@pytest.mark.parametrize("name", ["tau_m", "cm", "tau_syn_E", "tau_syn_I"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, [1.0] * 49 + [-2.0]])
@pytest.mark.parametrize("kind", ["IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha"])
def test_time_constants_and_capacitances_are_positive(kind: str, name: str, value: Any) -> None:
    (sentence,) = found(cells(kind, **{name: value}))
    assert sentence.startswith(f"population 'E': {name} ")
    assert f"{np.ravel(value)[-1]:g}" in sentence
    assert "positive numbers" in sentence


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("IF_curr_exp", "tau_refrac"),
        ("SpikeSourcePoisson", "rate"),
        ("SpikeSourcePoisson", "start"),
        ("SpikeSourcePoisson", "duration"),
    ],
)
def test_what_is_not_negative(kind: str, name: str) -> None:
    for value in (-0.5, math.nan, -math.inf):
        (sentence,) = found(cells(kind, **{name: value}))
        assert name in sentence
        assert f"{value:g}" in sentence


@pytest.mark.parametrize("name", ["v_rest", "i_offset", "v_thresh", "v_reset", "e_rev_E"])
def test_everything_is_finite(name: str) -> None:
    for value in (math.nan, math.inf, -math.inf):
        assert name in found(cells("IF_cond_exp", **{name: value}))[0]


def test_initial_values_are_finite() -> None:
    def build(sim: Any) -> None:
        population = sim.Population(3, sim.IF_curr_exp(), label="E")
        population.initialize(v=[-65.0, math.nan, -65.0])
        population.record("spikes")

    (sentence,) = found(build)
    assert sentence.startswith("population 'E': initial v of entry 1 is nan")


def test_reset_is_below_threshold() -> None:
    assert "v_reset must be below v_thresh" in found(cells(v_reset=-50.0, v_thresh=-50.0))[0]
    assert "cell 2 is -40" in found(cells(n=3, v_reset=[-70.0, -60.0, -40.0]))[0]


def test_drawn_parameters_are_those_of_the_seeds() -> None:
    """A sentence names a seed that really draws such a value, and is missing exactly if none does."""

    def build(sim: Any) -> None:
        tau_m = sim.RandomDistribution("normal", mu=10.0, sigma=4.0)
        sim.Population(20, sim.IF_curr_exp(tau_m=tau_m), label="E").record("spikes")

    network = capture(build, {}, TIMESTEP)
    outcomes = set()
    for seed in range(1, 200):
        values = Realization(network, seed, TIMESTEP).parameters("E")["tau_m"]
        sentences = violations(network, [seed], TIMESTEP)
        outcomes.add(bool(sentences))
        assert bool(sentences) == bool((values <= 0).any())
        if sentences:
            assert f"is {values[values <= 0][0]:g} with seed {seed};" in sentences[0]
            assert "normal(mu=10, sigma=4)" in sentences[0]
    assert outcomes == {True, False}


def projection(
    weight: Any = 0.1, delay: Any = 1.0, receptor: str | None = None, kind: str = "IF_curr_exp"
) -> Build:
    def build(sim: Any) -> None:
        e = sim.Population(30, getattr(sim, kind)(), label="E")
        e.record("spikes")
        values = {
            name: value(sim) if callable(value) else value
            for name, value in (("weight", weight), ("delay", delay))
        }
        sim.Projection(
            e,
            e,
            sim.AllToAllConnector(),
            sim.StaticSynapse(**values),
            receptor_type=receptor,
            label="E to E",
        )

    return build


@pytest.mark.parametrize(
    ("kind", "receptor", "right", "wrong"),
    [
        ("IF_curr_exp", "excitatory", 0.1, -0.1),
        ("IF_curr_alpha", "inhibitory", -0.1, 0.1),
        ("IF_cond_exp", "inhibitory", 0.1, -0.1),
        ("IF_cond_alpha", "excitatory", 0.1, -0.1),
    ],
)
def test_signs_of_weights(kind: str, receptor: str, right: float, wrong: float) -> None:
    for weight in (right, 0.0, drawn("normal", mu=right, sigma=0.001)):
        assert found(projection(weight, 1.0, receptor, kind)) == []
    for weight in (
        wrong,
        math.nan,
        np.where(np.eye(30), wrong, right),
        drawn("normal", mu=right, sigma=0.05),
    ):
        (sentence,) = found(projection(weight, 1.0, receptor, kind))
        assert sentence.startswith("projection 'E to E': weight ")
        assert receptor in sentence


def test_delays() -> None:
    longest = MAX_DELAY_STEPS * TIMESTEP
    for delay in (0.0, 1.0, longest, drawn("normal_clipped", mu=1.5, sigma=1.0, low=0.1, high=9.0)):
        assert found(projection(delay=delay)) == []
    for delay in (-1.0, math.inf, math.nan, 2.5e8, drawn("normal", mu=1.5, sigma=1.0)):
        (sentence,) = found(projection(delay=delay))
        assert sentence.startswith("projection 'E to E': delay ")
        assert f"0 to {longest:g} ms" in sentence


@pytest.mark.parametrize("column", [2, 3])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_lists_are_checked_row_by_row(column: int, value: float) -> None:
    rows = [[0, 0, 0.1, 1.0], [1, 1, 0.2, 1.0]]
    rows[1][column] = value

    def build(sim: Any) -> None:
        e = sim.Population(2, sim.IF_curr_exp(), label="E")
        e.record("spikes")
        sim.Projection(
            e, e, sim.FromListConnector(rows), receptor_type="excitatory", label="listed"
        )

    (sentence,) = found(build)
    assert sentence.startswith(
        f"projection 'listed': {('weight', 'delay')[column - 2]} of entry 1 is {value:g}"
    )


@pytest.mark.parametrize("changed", [{"rate": -1.0}, {"weight": -0.1}, {"delay": math.inf}])
def test_drives(changed: dict[str, float]) -> None:
    values = {"rate": 100.0, "weight": 0.1, "delay": 1.0} | changed

    def build(sim: Any) -> None:
        e = sim.Population(3, sim.IF_curr_exp(), label="E")
        e.record("spikes")
        noise = sim.Population(3, sim.SpikeSourcePoisson(rate=values["rate"]))
        synapse = sim.StaticSynapse(weight=values["weight"], delay=values["delay"])
        sim.Projection(
            noise, e, sim.OneToOneConnector(), synapse, receptor_type="excitatory", label="in"
        )

    (sentence,) = found(build)
    (name,) = changed
    assert sentence.startswith(f"Poisson drive 'in': {name} is {changed[name]:g}")


@pytest.mark.parametrize(
    ("name", "parameters", "word"),
    [
        ("normal", {"mu": 1.0, "sigma": -1.0}, "sigma"),
        ("normal", {"mu": math.nan, "sigma": 1.0}, "mu"),
        ("normal_clipped", {"mu": 1.0, "sigma": 1.0, "low": 2.0, "high": 1.0}, "low"),
        ("uniform", {"low": 2.0, "high": 1.0}, "low"),
        ("uniform", {"low": 0.0, "high": math.inf}, "high"),
        ("uniform_int", {"low": 1.0, "high": 1.0}, "whole"),
        ("exponential", {"beta": 0.0}, "beta"),
        ("gamma", {"k": -1.0, "theta": 1.0}, "k"),
        ("poisson", {"lambda_": -1.0}, "lambda_"),
        ("binomial", {"n": 10.0, "p": 1.5}, "p = 1.5"),
        ("lognormal", {"mu": 0.0, "sigma": math.inf}, "sigma"),
    ],
)
def test_distributions_that_nothing_can_be_drawn_from(
    name: str, parameters: dict[str, float], word: str
) -> None:
    (sentence,) = found(projection(drawn(name, **parameters), receptor="excitatory"))
    assert f"drawn from {name}(" in sentence
    assert word in sentence.split("which", 1)[1]


@pytest.mark.parametrize("label", ["", "a\0b", "half \ud800 pair"])
@pytest.mark.parametrize("kind", ["population", "projection"])
def test_labels_that_no_file_can_hold(kind: str, label: str) -> None:
    def build(sim: Any) -> None:
        e = sim.Population(2, sim.IF_curr_exp(), label=label if kind == "population" else "E")
        e.record("spikes")
        # PyNN takes an empty label of a projection for none
        name = label if kind == "projection" else "E to E"
        sim.Projection(e, e, sim.AllToAllConnector(), sim.StaticSynapse(weight=0.1), label=name)

    if (kind, label) == ("projection", ""):
        assert found(build) == []
        return
    (sentence, *_) = found(build)
    assert sentence.startswith("the label ")
    assert f"of a {kind} " in sentence


def test_all_violations_are_listed() -> None:
    sentences = found(cells(tau_m=-1.0, cm=0.0, tau_refrac=-2.0))
    assert [s.split()[2] for s in sentences] == ["cm", "tau_m", "tau_refrac"]


# --- Times ---


def spike_times(*times: Any) -> Build:
    def build(sim: Any) -> None:
        from pyNN.parameters import Sequence  # noqa: PLC0415

        each = [Sequence(t) for t in times]
        source = sim.Population(len(each), sim.SpikeSourceArray(spike_times=each), label="S")
        source.record("spikes")

    return build


def test_spike_times_are_finite_and_after_the_start() -> None:
    for wrong in (-5.0, -1e-9, math.nan, math.inf):
        (sentence,) = found(spike_times([1.0], [wrong, 1.0]))
        assert sentence.startswith("population 'S': spike_times of cell 1 ")
        assert f"{wrong:g}" in sentence


def test_spikes_that_no_run_reaches_are_left_out_and_said() -> None:
    network = capture(spike_times([10.0, 3e8, 1e300], [20.0]), {}, TIMESTEP)
    assert violations(network, SEEDS, TIMESTEP) == []
    neurons, steps = Realization(network, 1, TIMESTEP).spike_steps("S")
    assert (neurons.tolist(), steps.tolist()) == ([0, 1], [100, 200])
    assert adjustments(network, TIMESTEP, 2000) == [
        "spike times after the end of the run, 200 ms, are left out: 'S'"
    ]
    assert "left out" not in " ".join(adjustments(network, TIMESTEP, MAX_STEPS)[1:])


def test_what_the_grid_moves_is_said() -> None:
    def said(build: Build) -> list[str]:
        network = capture(build, {}, TIMESTEP)
        assert violations(network, SEEDS, TIMESTEP) == []
        return adjustments(network, TIMESTEP, 1000)

    assert said(spike_times([0.1, 5.0, 100.0])) == []
    assert said(spike_times([])) == []
    assert said(spike_times([0.0])) == [
        "spike times before the end of the first time step are moved there, 0.1 ms: 'S'"
    ]
    assert said(spike_times([5.03])) == ["spike times are rounded to steps of 0.1 ms: 'S'"]
    assert said(projection(delay=1.5)) == []
    assert said(projection(delay=0.0)) == [
        "delays shorter than half a time step become one, 0.1 ms: 'E to E'"
    ]
    assert said(projection(delay=0.25)) == ["delays are rounded to steps of 0.1 ms: 'E to E'"]
    assert said(cells(tau_refrac=0.0)) == []
    assert said(cells(tau_refrac=2.0)) == []
    assert said(cells(tau_refrac=0.33)) == [
        "tau_refrac is rounded to steps of 0.1 ms, at least one: 'E'"
    ]


def test_refractory_times_of_zero_stay_zero() -> None:
    network = capture(cells(n=4, tau_refrac=[0.0, 0.01, 0.05, 0.16]), {}, TIMESTEP)
    on_grid = Realization(network, 1, TIMESTEP).parameters("E")["tau_refrac"]
    np.testing.assert_allclose(on_grid, [0.0, 0.1, 0.1, 0.2])


def test_steps_never_overflow() -> None:
    assert to_steps(np.array([MAX_STEPS * TIMESTEP]), TIMESTEP).tolist() == [MAX_STEPS]
    for time in (3e8, 1e300, math.inf, math.nan):
        with pytest.raises(OverflowError, match="too many steps"):
            to_steps(np.array([1.0, time]), TIMESTEP)


# --- Text on terminals ---


def test_control_and_bidirectional_characters_are_escaped() -> None:
    assert printable("\x1b[31m\u202eabc\u2066") == "\\x1b[31m\\u202eabc\\u2066"
    assert printable("a\nb\tc\r", keep="\n") == "a\nb\\tc\\r"
    for text in ("Schicht 2/3 ä", "日本語", "\u0645\u06cc\u200c\u062e\u0648", "\N{GRINNING FACE}"):
        assert printable(text) == text
    assert printable("\ud800") == "\\ud800"


def test_network_files_are_whole_or_refused(tmp_path: Any) -> None:
    from pynn_portability.model.serialized import read_network, write_network  # noqa: PLC0415

    def build(sim: Any) -> None:
        spike_times([1.0, 2.0], [])(sim)
        projection(delay=drawn("normal_clipped", mu=1.0, sigma=1.0, low=0.1, high=math.inf))(sim)

    network = capture(build, {}, TIMESTEP)
    file = tmp_path / "network.npz"
    write_network(file, network)
    content = file.read_bytes()
    assert read_network(file).fingerprint() == network.fingerprint()
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        position = int(rng.integers(8 * len(content)))
        damaged[position // 8] ^= 1 << (position % 8)
        file.write_bytes(damaged)
        try:
            read_network(file).fingerprint()
        except RequestError:
            refused += 1
    assert refused > 100
    for length in range(0, len(content), 97):
        file.write_bytes(content[:length])
        with pytest.raises(RequestError, match=r"network\.npz"):
            read_network(file)
