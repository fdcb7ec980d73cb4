"""Weights that are all 0, or nearly, in every format: a scale made of them must not make something of nothing."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pynn_portability import backends
from pynn_portability.formats.machines import shipped_machines
from pynn_portability.formats.names import machine_formats, number_format
from pynn_portability.formats.number_format import HeldRealization, NumberFormat
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import AllToAll, FixedTotalNumber, FromList
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Projection,
    Value,
)
from pynn_portability.probe.compliance import Simulator, cells
from pynn_portability.realize.realization import Realization, Synapses

SCHEMES = (
    *("double", "float32", "s16.15", "s3.4-floor-wrap", "naive-1", "naive-2", "naive-256"),
    *("naive-300", "moments-1", "moments-2/float32", "moments-3/s16.15", "moments-65536"),
)
FORMATS = (*SCHEMES, *machine_formats(), *(f"{m}/s16.15" for m in shipped_machines()))
SCALES = {
    "bits": 'bits = 4\nscale = "largest"',
    "powers of two": 'bits = 4\nscale = "power_of_two"',
    "finer": 'bits = 8\nscale = "largest"\nrefinement = 6',
    "levels": 'levels = [1.0, 2.0, 3.5]\nscale = "largest"',
    "levels, powers of two": 'levels = [0.25, 2.0]\nscale = "power_of_two"',
    "fixed levels": 'levels = [1.0, 2.0]\nscale = "fixed"\nunit = 0.5',
}
ROUNDINGS = ("nearest_even", "nearest", "zero", "floor", "stochastic")
SCOPES = ("network", "target", "receptor", "source", "projection")
NEURON = ("bits", "levels")
"""Scales that may be those of a neuron."""
SIGNS = ("receptor", "synapse", "absolute")
SMALLEST = 5e-324

NOTHING: dict[str, Value] = {
    "one": 0.0,
    "list": np.zeros(4),
    "uniform": Distribution("uniform", {"low": 0.0, "high": 0.0}),
    "normal": Distribution("normal", {"mu": 0.0, "sigma": 0.0}),
    "clipped": Distribution(
        "normal_clipped", {"mu": 0.0, "sigma": 0.0, "low": 0.0, "high": np.inf}
    ),
    "poisson": Distribution("poisson", {"lambda_": 0.0}),
}


def connect(label: str, weight: Value, receptor: Receptor = "excitatory") -> Projection:
    index = np.arange(4)
    rule = FromList(index % 2, index // 2) if isinstance(weight, np.ndarray) else AllToAll()
    return Projection(label, "A", "B", receptor, rule, weight, 1.0)


def of(*projections: Projection, drives: tuple[PoissonDrive, ...] = ()) -> Realization:
    return Realization(Network((cells("A", 2), cells("B", 2)), projections, drives), 1, 0.1)


def without(amount: float, only_zero: bool) -> Realization:
    """Projections and a drive without weight, beside one of ``amount`` unless there is nothing else."""
    receptors: tuple[Receptor, ...] = ("excitatory", "inhibitory")
    empty = [
        connect(f"{name} {receptor}", weight, receptor)
        for receptor in receptors
        for name, weight in NOTHING.items()
    ]
    missing = FromList(np.empty(0, np.int64), np.empty(0, np.int64))
    empty.append(Projection("missing", "A", "B", "excitatory", missing, np.empty(0), 1.0))
    others = [
        connect("some", np.array([amount, amount / 2, 0.0, amount])),
        connect("same", -amount, "inhibitory"),
        Projection("drawn", "A", "A", "excitatory", FixedTotalNumber(5), amount, 1.0),
    ]
    drive = PoissonDrive("drive", "B", "excitatory", 10.0, 0.0, 1.0)
    return of(*empty, *(() if only_zero else others), drives=(drive,))


def all_held(held: HeldRealization) -> Iterator[tuple[str, np.ndarray]]:
    """Weights of all projections and drives, and those of their code books."""
    for projection in held.network.projections:
        label = projection.label
        synapses = Synapses.concatenate(list(held.synapses(label)))
        weights = held.weights(label)
        assert np.abs(synapses.weight).max(initial=0.0) <= weights.largest()
        if (book := weights.code_book()) is not None:
            drawn = Synapses.concatenate(list(held.realization.synapses(label))).weight
            np.testing.assert_array_equal(book.values[book.encode(drawn)], synapses.weight)
        yield label, synapses.weight
    for drive in held.network.drives:
        yield drive.label, held.drive(drive.label).weight


def check(number: NumberFormat, only_zero: bool, amount: float = 0.7) -> dict[str, np.ndarray]:
    """What has no weight has none as held, nothing else is asserted of what has."""
    with warnings.catch_warnings(), np.errstate(divide="raise", invalid="raise", over="raise"):
        warnings.simplefilter("error")
        found = dict(all_held(number.on(without(amount, only_zero))))
    for label, weights in found.items():
        assert np.isfinite(weights).all()
        if label not in ("some", "same", "drawn"):
            assert (weights == 0).all(), (number.name, label)
            assert not np.signbit(weights).any()
    return found


@pytest.mark.parametrize("only_zero", [True, False])
@pytest.mark.parametrize("name", FORMATS)
def test_no_weight_stays_none(name: str, only_zero: bool):
    found = check(number_format(name), only_zero)
    if not only_zero and name in shipped_machines():
        assert np.abs(found["some"]).max() > 0.3
        assert found["same"].max() < 0


@pytest.mark.parametrize("amount", [SMALLEST, 1e-310, 1e-200, 1e30])
@pytest.mark.parametrize("name", FORMATS)
def test_scales_of_the_smallest_and_largest_numbers(name: str, amount: float):
    found = check(number_format(name), False, amount)
    for weights in found.values():
        assert np.abs(weights).max(initial=0.0) <= max(5.1 * amount, 1.0)


@pytest.mark.parametrize(("scale", "rounding"), itertools.product(SCALES, ROUNDINGS))
def test_every_scale_of_nothing_is_nothing(tmp_path: Path, scale: str, rounding: str):
    scopes = (*SCOPES, "neuron") if scale in NEURON else SCOPES
    for scope, sign, only_zero in itertools.product(scopes, SIGNS, (True, False)):
        (tmp_path / "own.toml").write_text(
            'title = "A machine"\nsources = ["x"]\nnot_modelled = []\n[weights]\n'
            f'{SCALES[scale]}\nscope = "{scope}"\nsign = "{sign}"\nrounding = "{rounding}"\n'
        )
        check(number_format("own.toml", tmp_path), only_zero)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("only_zero", [True, False])
def test_two_values_of_nothing_are_nothing(tmp_path: Path, scope: str, only_zero: bool):
    (tmp_path / "own.toml").write_text(
        'title = "A machine"\nsources = ["x"]\nnot_modelled = []\n[weights]\n'
        f'scale = "mean_and_sd"\nscope = "{scope}"\n'
    )
    found = check(number_format("own.toml", tmp_path), only_zero)
    if not only_zero and scope == "projection":
        # 0.7, 0.35, 0 and 0.7, whatever is 0 beside them
        assert found["some"].mean() == pytest.approx(0.4375)


def test_a_projection_without_weight_delivers_nothing():
    """The membrane stays where it was: what arrived was 94 nA."""
    number = number_format("brainscales1")
    network = Network((cells("A", 2, i_offset=1.0), cells("B", 2)), (connect("nothing", 0.0),), ())
    simulator = Simulator("emulator")
    held = number.on(Realization(network, 1, 0.1))
    simulation = backends.build(simulator.backend, held, simulator.options)
    assert simulation.connections("nothing").weight.tolist() == [0.0] * 4
    spikes = simulation.run(1000, lambda fraction: None).populations
    assert len(spikes["A"].steps) > 0
    assert len(spikes["B"].steps) == 0
