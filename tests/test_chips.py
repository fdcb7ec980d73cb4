"""Machines against the simulators and tools of their makers, which need Pythons of their own.

Each comparison hands its numbers to a script in ``tests/chips``, run by the interpreter that an environment
variable names, and skips without it. ``tox run -e chips`` makes these environments.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_loihi import compiled

from pynn_portability.formats.machines import SHIPPED, Machine, MachineWeights, load_machine
from pynn_portability.model.connectivity import FixedTotalNumber
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, Population, Projection
from pynn_portability.realize.realization import Realization, Synapses

SCRIPTS = Path(__file__).parent / "chips"
ORACLES = {
    "nengo_loihi_weights": "PORTABILITY_NENGO_LOIHI",
    "lava_neurons": "PORTABILITY_LAVA",
    "rockpool_weights": "PORTABILITY_ROCKPOOL",
}
GROUPS = {"E": (0.0878, 0.00878), "F": (0.1756, 0.01756), "I": (-0.3512, 0.03512)}
"""Mean and SD (nA) of the microcircuit's weights."""

NEURON = {
    **{"cm": 0.25, "tau_m": 10.0, "tau_refrac": 2.0, "tau_syn_E": 0.5, "tau_syn_I": 0.5},
    **{"v_rest": -65.0, "v_reset": -65.0, "v_thresh": -50.0, "i_offset": 0.0},
}


def ask(folder: Path, script: str, **given: Any) -> dict[str, Any]:
    """The answer of a script in another Python."""
    variable = ORACLES[script]
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no interpreter with the maker's package")
    np.savez(folder / "in.npz", **given)
    subprocess.run(
        [os.environ[variable], SCRIPTS / f"{script}.py", folder / "in.npz", folder / "out.npz"],
        check=True,
        cwd=folder,
        timeout=300,
    )
    with np.load(folder / "out.npz", allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def weights_of(mean: float, sd: float) -> Distribution:
    low, high = (0.0, np.inf) if mean > 0 else (-np.inf, 0.0)
    return Distribution("normal_clipped", {"mu": mean, "sigma": sd, "low": low, "high": high})


def network(factors: dict[str, float], size: int = 10, **changed: float) -> Network:
    """1,000 synapses of each group onto one population, weights times a factor by group."""
    populations = [Population(n, 100, "IF_curr_exp", NEURON) for n in GROUPS]
    target = Population("T", size, "IF_curr_exp", NEURON | changed)
    projections = []
    for name, (mean, sd) in GROUPS.items():
        weight = weights_of(mean * factors.get(name, 1.0), sd * factors.get(name, 1.0))
        receptor = "excitatory" if mean > 0 else "inhibitory"
        rule = FixedTotalNumber(1000)
        projections.append(Projection(name, name, "T", receptor, rule, weight, 1.0))
    return Network((*populations, target), tuple(projections), ())


def drawn(realization: Realization) -> dict[str, Synapses]:
    return {n: Synapses.concatenate(list(realization.synapses(n))) for n in GROUPS}


def held(machine: Machine, realization: Realization) -> dict[str, np.ndarray]:
    found = {}
    for name, synapses in drawn(realization).items():
        item = realization.network.projection(name)
        hold = MachineWeights(machine).on(item, realization, lambda weights: weights)
        found[name] = hold(synapses.weight)
    return found


# --- Loihi ---


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("factors", "strength", "exponent"),
    [
        ({}, 1.0, 0),
        ({"E": 0.1, "F": 0.03}, 1.0, 0),
        ({"I": 0.2}, 1.0, 0),
        # a threshold that does not fit lowers all exponents
        ({}, 0.1, -1),
        ({"E": 0.3}, 0.05, -2),
    ],
)
def test_weights_of_loihi_are_those_of_nengo_loihi(tmp_path, seed, factors, strength, exponent):
    """``strength``: the threshold is so many times nearer than the microcircuit's, in weights."""
    machine = load_machine("loihi")
    realization = Realization(network(factors, v_thresh=-65.0 + 15.0 / strength), seed, 0.1)
    weights = {n: s.weight for n, s in drawn(realization).items()}
    gain = 0.5 / 0.25 / (15.0 / strength) * 10.0 / 0.1
    answer = ask(
        tmp_path,
        "nengo_loihi_weights",
        tau_syn=0.5e-3,
        tau_m=10e-3,
        dt=1e-4,
        **{f"group/{n}": w * gain for n, w in weights.items()},
    )
    assert answer["exponent"] == exponent
    largest = max(np.abs(w).max() for w in weights.values())
    compared = 0
    for name, ours in held(machine, realization).items():
        # one is 64 in the chip's current, whatever the exponent
        integers = ours / largest * 255 * 2.0**exponent
        assert integers == pytest.approx(np.rint(integers), abs=1e-9)
        item = realization.network.projection(name)
        unit = MachineWeights(machine).on(item, realization, lambda w: w).unit  # type: ignore[attr-defined]
        # nengo-loihi scales single-precision numbers: up to 128, with four roundings of 2^-24
        tie = np.abs(np.abs(weights[name]) / unit % 1 - 0.5) < 128 * 4 * 2.0**-24
        np.testing.assert_array_equal(np.rint(integers)[~tie], answer[f"group/{name}"][~tie])
        compared += (~tie).sum()
    assert compared >= 2990


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("mixed", [True, False])
def test_neurons_of_loihi_are_those_of_lava(tmp_path, seed, mixed):
    """Voltages, currents and spikes of 20 neurons over 500 steps, value by value."""
    rng = np.random.default_rng(seed)
    n, inputs, steps = 20, 15, 500
    # of a group of both signs, lava keeps even numbers
    weights = 2 * rng.integers(-70, 100, (n, inputs))
    if not mixed:
        weights = np.abs(weights)
    arriving = (rng.random((inputs, steps)) < 0.3).astype(np.int64)
    du, dv = int(rng.integers(0, 4096)), int(rng.integers(0, 1000))
    vth = int(rng.integers(100, 2_000))
    bias, exponent = int(rng.integers(-200, 200)), int(rng.integers(0, 4))
    answer = ask(
        tmp_path,
        "lava_neurons",
        weights=weights,
        spikes=arriving,
        exponent=0,
        du=du,
        dv=dv,
        vth=vth,
        bias=bias,
        bias_exponent=exponent,
    )
    columns = np.array([[4095 - du], [4096 - dv], [bias << exponent], [64 * vth]])
    # lava delivers a spike in the step after it
    arrived = np.vstack([np.zeros((1, n), np.int64), 64 * (weights @ arriving).T[:-1]])
    found = compiled(arrived, columns)
    assert answer["spikes"].sum() > 50
    for i, name in enumerate(("v", "u", "spikes")):
        np.testing.assert_array_equal(found[..., i], answer[name], name)


def test_overflow_on_loihi_is_that_of_lava(tmp_path):
    """Voltages saturate at 2^23 - 1, and currents wrap around."""
    weights = np.full((2, 200), 254)
    weights[1] = -254
    arriving = np.ones((200, 60), np.int64)
    setting = {"du": 0, "dv": 0, "vth": 131_071, "bias": 0, "bias_exponent": 0}
    answer = ask(tmp_path, "lava_neurons", weights=weights, spikes=arriving, exponent=0, **setting)
    columns = np.array([[4095], [4096], [0], [64 * 131_071]])
    arrived = np.vstack([np.zeros((1, 2), np.int64), 64 * (weights @ arriving).T[:-1]])
    found = compiled(arrived, columns)
    for i, name in enumerate(("v", "u", "spikes")):
        np.testing.assert_array_equal(found[..., i], answer[name], name)
    assert (np.diff(answer["u"][:, 0]) < 0).any()
    assert (answer["v"][:, 1] == 1 - 2**23).any()


# --- Xylo ---


def by_neuron(synapses: dict[str, Synapses]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets of all synapses, their places among those of the target, and a table (places, targets)."""
    target = np.concatenate([s.target for s in synapses.values()])
    weights = np.concatenate([s.weight for s in synapses.values()])
    table = np.zeros((np.bincount(target).max(), 10))
    place = np.empty(len(target), int)
    for t in range(10):
        mine = np.flatnonzero(target == t)
        place[mine] = np.arange(len(mine))
        table[: len(mine), t] = weights[mine]
    return target, place, table


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("timestep", "shrinks"), [(0.1, False), (0.025, True), (0.01, True)])
def test_weights_of_xylo_are_those_of_rockpool(tmp_path, seed, timestep, shrinks):
    realization = Realization(network({}), seed, timestep)
    target, place, table = by_neuron(drawn(realization))
    needed = 0.25 * 15.0 / (0.5 * -np.expm1(-timestep / 0.5))
    answer = ask(tmp_path, "rockpool_weights", weights=table, threshold=np.full(10, needed))
    limited = answer["global/threshold"].max() == 32767
    assert limited == shrinks
    ours = np.concatenate(list(held(load_machine("xylo"), realization).values()))
    unit = np.abs(table).max() / 127
    if shrinks:
        unit *= np.rint(needed / unit) / 32767
    np.testing.assert_array_equal(np.rint(ours / unit), answer["global"][place, target])
    assert ours == pytest.approx(np.rint(ours / unit) * unit)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("timestep", [0.1, 0.025, 0.01])
def test_a_scale_for_each_neuron_is_that_of_rockpool(tmp_path, seed, timestep):
    text = (SHIPPED / "xylo.toml").read_text()
    assert 'scope = "target"' in text
    (tmp_path / "own.toml").write_text(text.replace('scope = "target"', 'scope = "neuron"'))
    realization = Realization(network({}), seed, timestep)
    target, place, table = by_neuron(drawn(realization))
    needed = 0.25 * 15.0 / (0.5 * -np.expm1(-timestep / 0.5))
    answer = ask(tmp_path, "rockpool_weights", weights=table, threshold=np.full(10, needed))
    shrunk = answer["channel/threshold"] == 32767
    assert shrunk.any() == (timestep < 0.1)
    ours = np.concatenate(list(held(load_machine("own.toml", tmp_path), realization).values()))
    unit = np.where(shrunk, needed / 32767, np.abs(table).max(axis=0) / 127)[target]
    assert ours / unit == pytest.approx(np.rint(ours / unit))
    np.testing.assert_array_equal(np.rint(ours / unit), answer["channel"][place, target])
