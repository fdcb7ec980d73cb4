"""Mean and SD of weights before and after: what every format reports of every projection and drive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

import pynn_portability as pp
from pynn_portability.formats.names import machine_formats, number_format
from pynn_portability.formats.number_format import MOST_DRAWN, QUANTILES
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import AllToAll, FixedTotalNumber, FromList
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Projection,
    Value,
)
from pynn_portability.probe.compliance import cells
from pynn_portability.realize.realization import Realization, Synapses

SYNAPSES = 30_000
FORMATS = (
    *("double", "float32", "s3.4", "naive-2", "naive-16", "moments-2", "moments-16/s3.12"),
    *machine_formats(),
)


def normal(mean: float, sd: float) -> Distribution:
    low, high = (0.0, np.inf) if mean > 0 else (-np.inf, 0.0)
    return Distribution("normal_clipped", {"mu": mean, "sigma": sd, "low": low, "high": high})


def connect(label: str, weight: Value, receptor: Receptor, n: int = SYNAPSES) -> Projection:
    return Projection(label, "A", "B", receptor, FixedTotalNumber(n), weight, 1.0)


def network() -> Network:
    index = np.arange(400)
    explicit = np.linspace(0.01, 0.3, 400)
    return Network(
        (cells("A", 100), cells("B", 100)),
        (
            connect("exc", normal(0.0878, 0.00878), "excitatory"),
            connect("inh", normal(-0.3512, 0.03512), "inhibitory"),
            connect("skewed", Distribution("exponential", {"beta": 0.1}), "excitatory"),
            connect("same", 0.123, "excitatory"),
            Projection(
                "listed", "A", "B", "excitatory", FromList(index % 100, index // 4), explicit, 1.0
            ),
        ),
        (PoissonDrive("drive", "B", "excitatory", 100.0, normal(0.2, 0.05), 1.0),),
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", FORMATS)
def test_reported_moments_are_those_of_drawn_weights(name: str, seed: int):
    """Within five standard errors of what is drawn; explicit weights and equal ones exactly."""
    number = number_format(name)
    held = number.on(Realization(network(), seed, 0.1))
    found = {entry.label: entry for entry in held.weight_moments()}
    assert list(found) == ["exc", "inh", "skewed", "same", "listed", "drive"]
    assert [e.drive for e in found.values()] == [False] * 5 + [True]
    for projection in held.network.projections:
        label = projection.label
        entry = found[label]
        before = Synapses.concatenate(list(held.realization.synapses(label))).weight
        after = Synapses.concatenate(list(held.synapses(label))).weight
        assert entry.unit == "nA"
        for weights, mean, sd in (
            (before, entry.mean, entry.sd),
            (after, entry.held_mean, entry.held_sd),
        ):
            assert mean is not None and sd is not None
            if not isinstance(projection.weight, Distribution) and name != "brainscales1":
                assert (mean, sd) == pytest.approx((weights.mean(), weights.std()), abs=1e-12)
                continue
            # of a mean and of a variance, from the drawn weights; stochastic rounding is drawn twice
            error = 5 * weights.std() / np.sqrt(len(weights)) + 5 * weights.std() / QUANTILES**0.5
            assert abs(mean - weights.mean()) <= error + 1e-12
            fourth = np.mean((weights - weights.mean()) ** 4) - weights.var() ** 2
            error = 7 * np.sqrt(max(fourth, 0.0) / len(weights)) + weights.var() / 100
            assert abs(sd**2 - weights.var()) <= error + 1e-12
    drive = held.drive("drive").weight
    entry = found["drive"]
    # of 100 weights, with the SD of the distribution: they may all have become one value
    assert entry.held_sd is not None
    assert entry.held_mean == pytest.approx(drive.mean(), abs=7 * entry.held_sd / 10 + 1e-12)


def test_a_format_that_rounds_nothing_changes_nothing():
    for entry in number_format("double").weight_moments(network(), 1, 0.1):
        assert (entry.mean, entry.sd) == (entry.held_mean, entry.held_sd)


def test_moments_are_kept_by_the_scheme_that_is_named_after_them():
    for entry in number_format("moments-4").weight_moments(network(), 1, 0.1):
        assert entry.held_mean == pytest.approx(entry.mean, rel=1e-4)
        if not entry.drive:
            assert entry.held_sd == pytest.approx(entry.sd, rel=1e-3)


@pytest.mark.parametrize("name", ["naive-2", "loihi", "brainscales1", "xylo", "spinnaker"])
def test_no_synapse_of_a_large_network_is_drawn(name: str, monkeypatch: pytest.MonkeyPatch):
    size = 17_321
    weight = normal(0.0878, 0.00878)
    large = Network(
        (cells("A", size),),
        (Projection("p", "A", "A", "excitatory", AllToAll(), weight, 1.0),),
    )
    realization = Realization(large, 1, 0.1)
    assert realization.n_synapses > 3e8 - size > MOST_DRAWN

    def drawn(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("synapses are drawn")

    for method in ("synapse_range", "coded_range"):
        monkeypatch.setattr(Realization, method, drawn)
    monkeypatch.setattr("pynn_portability.realize.streams.Stream.extremes", drawn)
    (entry,) = number_format(name).on(realization).weight_moments()
    assert entry.mean == pytest.approx(0.0878, rel=1e-4)
    if name == "spinnaker":
        assert (entry.held_mean, entry.held_sd) == (None, None)
    else:
        assert entry.held_mean == pytest.approx(0.0878, rel=0.03)


def build(sim: Any) -> None:
    """A file of its own, so that a study may run it elsewhere."""
    cells = sim.Population(20, sim.IF_curr_exp(tau_refrac=2.0, i_offset=0.9), label="E & <I>")
    cells.record("spikes")
    weight = sim.RandomDistribution("lognormal", mu=-4.0, sigma=1.0)
    sim.Projection(
        cells, cells, sim.FixedNumberPreConnector(5), sim.StaticSynapse(weight=weight, delay=1.5)
    )


def test_results_and_report_show_them(tmp_path: Path):
    study = pp.Study(
        "moments",
        build,
        duration=200.0,
        warmup=0.0,
        seeds=[1, 2],
        reference=("emulator", "double"),
        candidates=[("emulator", "naive-2"), ("emulator", "moments-2")],
    )
    described = {r["format"]: r["changes"] for r in study.describe()["runs"]}
    study.run(tmp_path / "out", progress=False)
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    naive, moments = content["candidates"]
    (entry,) = naive["weights"]
    mean, sd = np.exp(-3.5), np.exp(-3.5) * np.sqrt(np.e - 1)
    assert entry["mean"] == pytest.approx(mean, rel=1e-3)
    assert entry["sd"] == pytest.approx(sd, rel=0.02)
    # two values at mean -+ 2.5 SD, of which the lower is 0, and the mean decides which
    share = norm.sf(0.5)
    assert entry["held_mean"] == pytest.approx(share * (mean + 2.5 * sd), rel=1e-3)
    change = entry["held_mean"] / entry["mean"] - 1
    sentence = f"The format changes mean weights: {entry['label']!r} ({change:+.1%})."
    assert naive["notes"][0] == sentence
    assert described == {"double": [], "naive-2": [sentence], "moments-2": []}
    assert not any("changes mean" in note for note in moments["notes"])
    assert content["reference"]["weights"][0]["held_mean"] == entry["mean"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("Mean and SD of weights, before and after") == 2
    assert f"{100 * change:+.2f} %" in page
