"""Smaller networks keep what their method promises, equal a calculation by hand, and are refused where they cannot."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import portability

import pynn_portability as pp
from pynn_portability.errors import RequestError
from pynn_portability.judge.statistics import ks_distance
from pynn_portability.model.connectivity import (
    AllToAll,
    ConnectionRule,
    FixedNumberPost,
    FixedNumberPre,
    FixedProbability,
    FixedTotalNumber,
    OneToOne,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, PoissonDrive, Population, Projection
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.predict.mean_field import mean_rates
from pynn_portability.realize.distributions import mean_and_sd
from pynn_portability.realize.downscaling import Scaling, downscale, sources_without_rate
from pynn_portability.realize.realization import Realization
from pynn_portability.results import smallest
from pynn_portability.run.store import Store

TAU_E, TAU_I = 0.5, 2.0  # ms
CELLS = {
    "cm": 0.25,
    "tau_m": 10.0,
    "tau_syn_E": TAU_E,
    "tau_syn_I": TAU_I,
    "tau_refrac": 2.0,
    "v_rest": -65.0,
    "v_reset": -65.0,
    "v_thresh": -50.0,
    "i_offset": 0.1,
}
RATES = {"E": 4.0, "I": 7.0}


def normal(mean: float, sd: float) -> Distribution:
    return Distribution("normal", {"mu": mean, "sigma": sd})


def network(**connectors: ConnectionRule) -> Network:
    """Excitatory and inhibitory cells, each with recurrent input and a drive."""
    rules = {
        "EE": FixedNumberPre(80, with_replacement=True),
        "IE": FixedTotalNumber(4000),
        "EI": FixedProbability(0.2),
        "II": FixedNumberPost(10),
        **connectors,
    }
    weights = {"E": normal(0.08, 0.008), "I": normal(-0.16, 0.02)}
    return Network(
        populations=tuple(
            Population(label, size, "IF_curr_exp", CELLS, {"v": normal(-58.0, 5.0)}, recorded=True)
            for label, size in (("E", 400), ("I", 100))
        ),
        projections=tuple(
            Projection(
                f"{source}->{target}",
                source,
                target,
                "excitatory" if source == "E" else "inhibitory",
                rules[target + source],
                weights[source],
                1.5,
            )
            for target in "EI"
            for source in "EI"
        ),
        drives=tuple(
            PoissonDrive(f"drive {label}", label, "excitatory", 8000.0, 0.09, 1.5) for label in "EI"
        ),
    )


def moments(found: Network, label: str, rates: dict[str, float]) -> tuple[float, float, float]:
    """Mean (nA) and variance (nA²) of the input current, and variance of its recurrent part, in plain sums.

    For exponential currents: sums over inputs of J K nu tau, and of (J² + SD²) K nu tau / 2.
    """
    mean, recurrent, outside = found.population(label).parameters["i_offset"], 0.0, 0.0
    for p in found.projections:
        if p.target == label:
            tau = 1e-3 * (TAU_E if p.receptor == "excitatory" else TAU_I)
            inputs = p.connector.indegrees(found.ends(p)).mean
            weight, sd = mean_and_sd(p.weight)
            mean += weight * inputs * rates[p.source] * tau
            recurrent += (weight**2 + sd**2) * inputs * rates[p.source] * tau / 2
    for d in found.drives:
        if d.target == label:
            tau = 1e-3 * (TAU_E if d.receptor == "excitatory" else TAU_I)
            mean += float(d.weight) * float(d.rate) * tau  # type: ignore[arg-type]
            outside += float(d.weight) ** 2 * float(d.rate) * tau / 2  # type: ignore[arg-type]
    return mean, recurrent + outside, recurrent


@pytest.mark.parametrize("text", ["N=1", "K=1:sqrt", "K=1:linear", "N=1.0,K=1.0:resolve"])
def test_at_full_scale_nothing_changes_to_the_last_bit(text: str) -> None:
    whole = network()
    found = downscale(whole, Scaling.parse(text), {})
    assert found.network is whole
    assert found.network.fingerprint() == whole.fingerprint()
    assert found.notes == ()


def test_fewer_neurons_have_as_many_inputs() -> None:
    whole = network()
    found = downscale(whole, Scaling.parse("N=0.5")).network
    assert [p.size for p in found.populations] == [200, 50]
    by_label = {p.label: p.connector for p in found.projections}
    assert by_label["E->E"] == FixedNumberPre(80, with_replacement=True)
    assert by_label["E->I"] == FixedTotalNumber(2000)
    assert by_label["I->E"] == FixedProbability(0.4)
    assert by_label["I->I"] == FixedNumberPost(10)
    for p in found.projections:
        before = whole.projection(p.label)
        inputs = p.connector.indegrees(found.ends(p)).mean
        assert inputs == pytest.approx(before.connector.indegrees(whole.ends(before)).mean)
        assert p.weight == before.weight
    assert found.drives == whole.drives
    for label in "EI":
        assert moments(found, label, RATES) == pytest.approx(moments(whole, label, RATES))


def test_more_inputs_than_sources_are_several_from_one_and_said() -> None:
    whole = network(EI=FixedProbability(0.8), EE=FixedNumberPre(300), II=FixedNumberPost(90))
    found = downscale(whole, Scaling.parse("N=0.5"))
    connectors = {p.label: p.connector for p in found.network.projections}
    assert connectors["I->E"] == FixedNumberPre(80, with_replacement=True)
    assert connectors["E->E"] == FixedNumberPre(300, with_replacement=True)
    assert connectors["I->I"] == FixedNumberPost(90, with_replacement=True)
    several = [n for n in found.notes if "a pair may have several synapses" in n]
    assert [n.partition(":")[0] for n in several] == ["E->E", "I->E", "I->I"]


@pytest.mark.parametrize("method", ["sqrt", "linear"])
def test_no_projection_vanishes(method: str) -> None:
    """A single input stays, and weights follow the in-degrees that there are."""
    whole = network(EE=FixedNumberPre(1), II=FixedNumberPost(1), IE=FixedTotalNumber(1))
    found = downscale(whole, Scaling.parse(f"K=0.9:{method}"), RATES).network
    assert found.projection("E->E").connector == FixedNumberPre(1)
    assert found.projection("I->I").connector == FixedNumberPost(1)
    assert found.projection("E->I").connector == FixedTotalNumber(1)
    for label in "EI":
        before, after = (moments(n, label, RATES) for n in (whole, found))
        assert after[:2] == pytest.approx(before[:2], rel=1e-9)


def test_square_root_by_hand() -> None:
    """One population of 100 neurons with 40 inputs from itself and one drive; f = 0.3."""
    whole = Network(
        (Population("E", 100, "IF_curr_exp", CELLS),),
        (Projection("p", "E", "E", "excitatory", FixedNumberPre(40), normal(0.1, 0.01), 1.5),),
        (PoissonDrive("d", "E", "excitatory", 9000.0, 0.05, 1.5),),
    )
    found = downscale(whole, Scaling.parse("K=0.3:sqrt"), {"E": 5.0})
    (projection,) = found.network.projections
    assert projection.connector == FixedNumberPre(12)
    factor = math.sqrt(40 / 12)  # 1.8257
    assert projection.weight.parameters["mu"] == pytest.approx(0.1 * factor)  # type: ignore[union-attr]
    assert projection.weight.parameters["sigma"] == pytest.approx(0.01 * factor)  # type: ignore[union-attr]
    # 40 inputs of 0.1 nA and 5/s through 0.5 ms make 0.01 nA, 12 of 0.18257 nA make 0.0054772 nA
    current = found.network.population("E").parameters["i_offset"]
    assert current == pytest.approx(0.1 + 0.01 - 0.0054772256, rel=1e-9)
    assert found.network.drives == whole.drives
    assert found.rows[0].current == pytest.approx(0.0045227744, rel=1e-8)
    assert found.notes == (
        "E: 40 -> 12 inputs each; a current of +0.004523 nA; weights times 1.826",
    )


def test_linear_by_hand() -> None:
    """The same network: J' = J 40 / 12, and the drive is quieter by what the recurrent input has become louder."""
    whole = Network(
        (Population("E", 100, "IF_curr_exp", CELLS),),
        (Projection("p", "E", "E", "excitatory", FixedNumberPre(40), normal(0.1, 0.01), 1.5),),
        (PoissonDrive("d", "E", "excitatory", 9000.0, 0.05, 1.5),),
    )
    found = downscale(whole, Scaling.parse("K=0.3:linear"), {"E": 5.0}).network
    (projection,), (drive,) = found.projections, found.drives
    assert projection.weight.parameters["mu"] == pytest.approx(0.1 * 40 / 12)  # type: ignore[union-attr]
    # times tau / 2: recurrent 40 * 0.0101 * 5 = 2.02, then 2.02 * 40 / 12 = 6.7333; drive 0.0025 * 9000 = 22.5
    s = (22.5 + 2.02 - 6.733333333) / 22.5
    assert drive.weight == pytest.approx(0.05 * s)
    assert drive.rate == pytest.approx(9000.0 / s)
    assert found.population("E").parameters["i_offset"] == 0.1


@pytest.mark.parametrize(
    ("method", "fraction"),
    [(m, f) for m in ("sqrt", "linear") for f in (0.9, 0.7, 0.55)]
    + [("resolve", 0.95), ("resolve", 0.85)],
)
@pytest.mark.parametrize("neurons", ["", "N=0.5,"])
def test_mean_and_variance_of_the_input_are_kept(
    fraction: float, method: str, neurons: str
) -> None:
    whole = network()
    found = downscale(whole, Scaling.parse(f"{neurons}K={fraction}:{method}"), RATES).network
    for label in "EI":
        before, after = (moments(n, label, RATES) for n in (whole, found))
        assert after[:2] == pytest.approx(before[:2], rel=1e-9)
        inputs = sum(
            p.connector.indegrees(found.ends(p)).mean
            for p in found.projections
            if p.target == label
        )
        all_inputs = sum(
            p.connector.indegrees(whole.ends(p)).mean
            for p in whole.projections
            if p.target == label
        )
        assert inputs == pytest.approx(fraction * all_inputs, rel=0.02)
        if method == "linear":  # the effective connectivity is that of the whole network
            for p in (p for p in found.projections if p.target == label):
                w = whole.projection(p.label)
                feedback, own = (
                    n.connector.indegrees(net.ends(n)).mean * mean_and_sd(n.weight)[0]
                    for n, net in ((w, whole), (p, found))
                )
                assert own == pytest.approx(feedback)
        if method == "resolve":
            parameters = found.population(label).parameters
            assert parameters["i_offset"] == 0.1


def test_the_order_of_neurons_and_inputs_does_not_matter() -> None:
    both = downscale(network(), Scaling.parse("N=0.5,K=0.5:sqrt"), RATES).network
    fewer = downscale(network(), Scaling.parse("N=0.5")).network
    after = downscale(fewer, Scaling.parse("K=0.5:sqrt"), RATES).network
    assert both.fingerprint() == after.fingerprint()


def test_the_smallest_scale_of_a_method_can_be_reached_and_no_smaller_one() -> None:
    whole = network(II=FixedProbability(0.1))
    for method in ("linear", "resolve"):
        with pytest.raises(RequestError, match="the smallest K") as refused:
            downscale(whole, Scaling.parse(f"K=0.02:{method}"), RATES)
        smallest = float(str(refused.value).rsplit(" ", 1)[1])
        assert 0.02 < smallest < 1
        # in-degrees are rounded, which moves the limit a little
        downscale(whole, Scaling.parse(f"K={smallest + 0.02:.3f}:{method}"), RATES)
        with pytest.raises(RequestError, match=f"smallest K .* is {smallest:g}"):
            downscale(whole, Scaling.parse(f"K={smallest - 0.02:.3f}:{method}"), RATES)


def test_the_microcircuit_at_full_scale_has_the_published_limits() -> None:
    """Methods' limits are functions of constants of the model: f >= V_int / (V_int + V_ext)."""
    whole = capture(load_model("microcircuit", Path()), {"scale": 1.0}, 0.1)
    labels = [p.label for p in whole.populations if not p.is_source]
    full = dict(zip(labels, [0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829], strict=True))
    with pytest.raises(RequestError, match=r"of 'L23E' cannot be kept .* is 0\.9"):
        downscale(whole, Scaling.parse("K=0.5:linear"), full)
    downscale(whole, Scaling.parse("K=0.91:linear"), full)
    downscale(whole, Scaling.parse("K=0.05:resolve"), full)
    with pytest.raises(RequestError, match="the smallest K"):
        downscale(whole, Scaling.parse("K=0.01:resolve"), full)
    # the model's own downscaling of inputs makes up for the same mean, at the same rates
    own = capture(load_model("microcircuit", Path()), {"scale": 1.0, "k_scale": 0.5}, 0.1)
    ours = downscale(whole, Scaling.parse("K=0.5:sqrt"), full).network
    for label in labels:
        external = sum(
            float(d.rate) * float(d.weight)  # type: ignore[arg-type]
            for d in whole.drives
            if d.target == label
        )
        # the model thins the drive as well
        drive = (1 - math.sqrt(0.5)) * external * 0.5e-3
        assert own.population(label).parameters["i_offset"] == pytest.approx(
            ours.population(label).parameters["i_offset"] + drive, rel=1e-3
        )


MISTAKES = {
    "": "is no scaling, allowed are N=0.5",
    "0.5": "is no scaling",
    "N=0.5K=0.5:sqrt": "is no scaling",
    "N=0.5,": "is no scaling",
    "K=0.5": "is no scaling",
    "N=0.5:sqrt": "is no scaling",
    "K=0.5:sqrt,N=0.5": "is no scaling",
    "N=.": "is no number",
    "N=0": "N must be above 0 and at most 1",
    "N=1.5": "N must be above 0 and at most 1",
    "K=0:sqrt": "K must be above 0 and at most 1",
    "N=-0.5": "is no scaling",
    "K=0.5:square": "'square' is no method, there are sqrt, resolve, linear",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_what_is_no_scaling_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=MISTAKES[text]):
        Scaling.parse(text)


def changed(name: str, **values: Any) -> Network:
    whole = network()
    populations = tuple(
        replace(p, **{k: v for k, v in values.items() if k in ("size", "cell_type")})
        if p.label == name
        else p
        for p in whole.populations
    )
    return replace(whole, populations=populations)


def with_parameter(name: str, value: Any) -> Network:
    whole = network()
    first, second = whole.populations
    return replace(
        whole,
        populations=(replace(first, parameters={**first.parameters, name: value}), second),
    )


IMPOSSIBLE: dict[str, tuple[Network, str, dict[str, float] | None, str]] = {
    "all to all": (network(EE=AllToAll()), "N=0.5", None, "'E->E': AllToAllConnector says who"),
    "one to one": (
        network(EE=OneToOne()),
        "K=0.5:sqrt",
        RATES,
        "'E->E': OneToOneConnector says who",
    ),
    "drawn numbers": (
        network(EE=FixedNumberPre(Distribution("poisson", {"lambda_": 5.0}))),
        "K=0.5:sqrt",
        RATES,
        "FixedNumberPreConnector draws its numbers",
    ),
    "one neuron left": (
        changed("I", size=3),
        "N=0.3",
        None,
        "'I' of 3 would have 1 neurons, at least 2",
    ),
    "conductances": (
        changed("E", cell_type="IF_cond_exp"),
        "K=0.5:sqrt",
        RATES,
        "'E' has conductance-based synapses, .* N alone is possible",
    ),
    "a value for each": (
        with_parameter("tau_m", np.linspace(9.0, 11.0, 400)),
        "N=0.5",
        None,
        "tau_m of population 'E' is given one by one",
    ),
    "different time constants": (
        with_parameter("tau_syn_E", normal(0.5, 0.1)),
        "K=0.5:sqrt",
        RATES,
        "synaptic time constants differ between neurons of 'E'",
    ),
    "drawn currents": (
        with_parameter("i_offset", normal(0.1, 0.1)),
        "K=0.5:sqrt",
        RATES,
        "i_offset of population 'E' is drawn",
    ),
    "no rate": (
        network(),
        "K=0.5:sqrt",
        {"E": 4.0},
        r"rate of 'I' is not known .* rates = \{I = 5.0\}",
    ),
    "rate of nobody": (
        network(),
        "K=0.5:sqrt",
        {**RATES, "X": 1.0},
        "no population 'X', allowed are E, I",
    ),
    "negative rate": (network(), "K=0.5:sqrt", {"E": -1.0, "I": 1.0}, "E = -1.0 is no rate"),
    "no drive": (
        replace(network(), drives=()),
        "K=0.9:linear",
        RATES,
        "lowers the variance of a Poisson drive, and 'E' has none",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_has_no_smaller_counterpart_is_refused_by_name(name: str) -> None:
    whole, text, rates, words = IMPOSSIBLE[name]
    with pytest.raises(RequestError, match=words) as refused:
        downscale(whole, Scaling.parse(text), rates)
    assert "\n" not in str(refused.value)


def test_conductances_may_have_fewer_neurons() -> None:
    found = downscale(changed("E", cell_type="IF_cond_exp"), Scaling.parse("N=0.5")).network
    assert [p.size for p in found.populations] == [200, 50]


def test_rates_of_poisson_sources_are_known() -> None:
    whole = network()
    source = Population(
        "S", 50, "SpikeSourcePoisson", {"rate": 10.0, "start": 0.0, "duration": 1e9}
    )
    projection = Projection("S->E", "S", "E", "excitatory", FixedNumberPre(20), 0.1, 1.5)
    larger = replace(
        whole,
        populations=(*whole.populations, source),
        projections=(*whole.projections, projection),
    )
    assert sources_without_rate(larger) == ["E", "I"]
    found = downscale(larger, Scaling.parse("N=0.5,K=0.5:sqrt"), RATES)
    assert found.network.population("S").size == 50
    assert found.network.projection("S->E").connector == FixedNumberPre(10)
    assert "spike sources are as many as they were: S" in found.notes
    before, after = (moments(n, "E", {**RATES, "S": 10.0}) for n in (larger, found.network))
    assert after[:2] == pytest.approx(before[:2])


VALUES: dict[str, Any] = {
    "parameters": {"neurons": 500, "inputs": 60, "weight": 0.05},
    "duration": 1000.0,
    "warmup": 100.0,
    "seeds": [1, 2, 3],
    "reference": ("emulator", "double"),
    "statistics": ["rate", "cv", "cc", "covariance"],
}
SCALINGS = ("N=0.5", "K=0.5:sqrt", "N=1", "N=0.5,K=0.8:linear")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downscaling") / "out"


@pytest.fixture(scope="module")
def study() -> pp.Study:
    candidates = [("emulator", "double", scaling) for scaling in SCALINGS]
    return pp.Study("smaller", "balanced", candidates=candidates, **VALUES)


@pytest.fixture(scope="module")
def results(study: pp.Study, folder: Path) -> pp.Results:
    return study.run(folder, progress=False)


def entries(results: pp.Results) -> dict[str, Any]:
    return {c.format.removeprefix("double "): c for c in results.content.candidates}


def test_smaller_networks_are_judged_unpaired_against_as_many_neurons(results: pp.Results) -> None:
    assert [c.format for c in results.content.candidates] == [f"double {s}" for s in SCALINGS]
    assert {c.pairing for c in results.content.candidates} == {"unpaired"}
    assert results.content.rule.unpaired
    sizes = {(m.format, m.population): m.n for m in _means(results)}
    assert sizes["double N=0.5", "E"] == 3 * 200
    assert sizes["double", "E"] == 3 * 400
    (rate,) = (
        s for s in entries(results)["N=0.5"].scores if (s.population, s.statistic) == ("E", "rate")
    )
    # of the reference, 200 of its 400 neurons are measured: every second one
    ensembles = results.ensembles
    reduced = {s: r["E"]["rate"][::2] for s, r in ensembles["emulator", "double"].runs.items()}
    own = ensembles["emulator", "double N=0.5"].runs
    between = [ks_distance(reduced[s], reduced[t]) for s, t in ((1, 2), (1, 3), (2, 3))]
    across = [ks_distance(r["E"]["rate"], reduced[s]) for r in own.values() for s in (1, 2, 3)]
    assert rate.baseline_mean == pytest.approx(np.mean(between))
    assert rate.distance == pytest.approx(np.mean(across))


def _means(results: pp.Results) -> list[Any]:
    found = []
    for entry in (results.content.reference, *results.content.candidates):
        for mean in entry.means:
            if mean.statistic == "rate":
                found.append(mean.model_copy(update={"statistic": "rate"}))
                object.__setattr__(found[-1], "format", entry.format)
    return found


def test_a_network_of_full_size_has_the_spikes_of_the_reference(results: pp.Results) -> None:
    ensembles = results.ensembles
    for seed in (1, 2, 3):
        before, after = (
            ensembles["emulator", name].runs[seed] for name in ("double", "double N=1")
        )
        for population in before:
            for name, values in before[population].items():
                np.testing.assert_array_equal(values, after[population][name])


def test_what_ran_is_what_the_transform_makes_at_the_reference_s_rates(
    results: pp.Results, folder: Path
) -> None:
    notes = entries(results)["K=0.5:sqrt"].notes
    (said,) = (n for n in notes if "made with these rates" in n)
    assert "those of the reference" in said
    rates = {
        word.split(" ")[0]: float(word.split(" ")[1])
        for word in said.partition("reference: ")[2].split(", ")
    }
    measured = {m.population: m.mean for m in _means(results) if m.format == "double"}
    assert rates == pytest.approx(measured, rel=0.0051)  # three digits of it
    assert all(rate == float(f"{rate:.3g}") for rate in rates.values())
    whole = capture(load_model("balanced", Path()), VALUES["parameters"], 0.1)
    expected = downscale(whole, Scaling.parse("K=0.5:sqrt"), rates).network.fingerprint()
    ran = {
        r.request["network"]
        for r in Store(folder).records()
        if r.request.get("scaling") == "K=0.5:sqrt"
    }
    assert ran == {expected}
    assert any(n.startswith("E: 60 -> 30 inputs each; a current of") for n in notes)


def test_a_second_run_simulates_nothing_and_the_report_takes_stored_runs(
    study: pp.Study, results: pp.Results, folder: Path
) -> None:
    again = study.run(folder, progress=False)
    assert all(outcome.reused for outcome in again.outcomes)
    judged = pp.Study(
        "smaller",
        "balanced",
        candidates=[("emulator", "double", scaling) for scaling in SCALINGS],
        **VALUES,
    ).judge(folder, progress=False)
    for found in (again, judged):
        assert [c.scores for c in found.content.candidates] == [
            c.scores for c in results.content.candidates
        ]
    page = (folder / "report.html").read_text()
    assert "What is kept, by statistic" in page
    assert "250 neurons" not in page
    assert "400 -&gt; 200 neurons" in page
    assert "Covariances by lag, predicted and simulated" in page
    for name in SCALINGS:
        assert f"covariances by lag of the whole network and of double {name}," in page


def test_predicted_covariances_are_beside_simulated_ones(results: pp.Results) -> None:
    factors = {
        name: {c.population: c.size_factor for c in entry.prediction.covariances}
        for name, entry in entries(results).items()
    }
    assert factors["N=0.5"]["E"] == pytest.approx(2.0, rel=0.02)
    assert factors["N=1"] == pytest.approx({"E": 1.0, "I": 1.0})
    (excitatory, _) = entries(results)["N=0.5"].prediction.covariances
    assert len(excitatory.whole_curve) == len(excitatory.smaller_curve) == 51


def test_a_network_without_a_calm_state_has_integrals_only() -> None:
    """Inhibition with a delay of 10 ms, as in the tests of linear response."""
    study = pp.Study(
        "restless",
        "balanced",
        parameters={"neurons": 1000, "inputs": 800, "weight": 0.1, "delay": 10.0},
        reference=("emulator", "double"),
        candidates=[("emulator", "double", "N=0.5")],
        duration=1000.0,
        seeds=[1],
    )
    ((entry,),) = ([p["prediction"] for p in study.predict()],)
    assert (
        "only integrals over lags, as linear response calls the whole network near"
        in entry["reason"]
    )
    assert all("size_factor" not in c and c["whole"] for c in entry["covariances"])


def test_description_before_anything_runs(
    study: pp.Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    described = study.describe(progress=False)
    assert described["rates_from"].startswith("those of mean-field theory")
    assert [s["name"] for s in described["scaled"]] == [f"double {s}" for s in SCALINGS]
    (excitatory, _) = described["scaled"][3]["populations"]
    assert (excitatory["size"], excitatory["scaled_size"]) == (400, 200)
    assert excitatory["excitatory"] == pytest.approx(1 / 0.8)
    assert 0 < excitatory["drive"] < 1 < excitatory["drive_rate"]


def test_given_rates_need_no_reference_and_are_checked(tmp_path: Path) -> None:
    text = """
[study]
name = "given"
[model]
build = "balanced"
neurons = 200
inputs = 20
[simulation]
duration = 300.0
warmup = 50.0
seeds = [1]
[reference]
backend = "emulator"
[[candidate]]
backend = "emulator"
scaling = "K=0.5:sqrt"
rates = { E = 20.0, I = 20.0 }
"""
    (tmp_path / "s.toml").write_text(text)
    study = pp.Study.load(tmp_path / "s.toml")
    assert not study.plan().waiting
    assert len(study.plan().tasks) == 2
    for old, new, words in (
        ("E = 20.0, ", "", "the rate of 'E' is not known"),
        ("E = 20.0", "X = 20.0", "there is no population 'X'"),
        ("E = 20.0", "E = -20.0", "E = -20.0 is no rate"),
    ):
        (tmp_path / "s.toml").write_text(text.replace(old, new))
        with pytest.raises(RequestError, match=words) as refused:
            pp.Study.load(tmp_path / "s.toml").plan()
        assert "candidate.scaling (candidate 1)" in str(refused.value)


def test_rates_of_theory_need_no_reference(tmp_path: Path) -> None:
    text = """
[study]
name = "theory"
[model]
build = "balanced"
neurons = 1000
inputs = 100
[simulation]
duration = 300.0
warmup = 50.0
seeds = [1]
[reference]
backend = "emulator"
[[candidate]]
backend = "emulator"
scaling = "K=0.5:sqrt"
rates_from = "mean-field"
"""
    (tmp_path / "s.toml").write_text(text)
    study = pp.Study.load(tmp_path / "s.toml")
    plan = study.plan()
    assert not plan.waiting
    theory = mean_rates(Realization(plan.network, 1, 0.1), 0.35)
    rounded = {label: float(f"{rate:.3g}") for label, rate in theory.items()}
    expected = downscale(plan.network, Scaling.parse("K=0.5:sqrt"), rounded).network
    assert plan.network_of("double K=0.5:sqrt").fingerprint() == expected.fingerprint()
    (described,) = study.describe(progress=False)["scaled"]
    assert described["rates_from"] == "mean-field theory's"
    entry = entries(study.run(tmp_path / "out", progress=False))["K=0.5:sqrt"]
    assert any("mean-field theory's: E" in note for note in entry.notes)
    (tmp_path / "s.toml").write_text(text.replace("mean-field", "meanfield"))
    with pytest.raises(RequestError, match=r'candidate.rates_from.*"mean-field"'):
        pp.Study.load(tmp_path / "s.toml")
    beyond = text.replace('"balanced"', '"beyond.py:build"').replace(
        "neurons = 1000\ninputs = 100\n", ""
    )
    (tmp_path / "s.toml").write_text(beyond)
    (tmp_path / "beyond.py").write_text(
        "def build(sim):\n"
        "    p = sim.Population(20, sim.IF_curr_alpha(), label='E')\n"
        "    p.record('spikes')\n"
        "    sim.Projection(p, p, sim.FixedNumberPreConnector(10), sim.StaticSynapse(weight=0.1, delay=1.0))\n"
    )
    with pytest.raises(RequestError, match=r"candidate.rates_from \(candidate 1\).*IF_curr_alpha"):
        pp.Study.load(tmp_path / "s.toml").plan()


def test_a_method_that_cannot_reach_the_scale_says_which_it_can(tmp_path: Path) -> None:
    study = pp.Study(
        "quiet",
        "balanced",
        candidates=[("emulator", "double", "K=0.5:linear")],
        **{**VALUES, "seeds": [1], "parameters": {**VALUES["parameters"], "weight": 0.2}},
    )
    with pytest.raises(RequestError, match=r"the smallest K .* is 0\.[6-9]"):
        study.run(tmp_path, progress=False)
    # the reference stays for another try
    assert len(list(Store(tmp_path).records())) == 1


@pytest.fixture
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smallest, "SCALES", (0.3, 0.6))
    forms = ("fewer neurons", "fewer neurons and inputs, resolve")
    monkeypatch.setattr(smallest, "METHODS", {name: smallest.METHODS[name] for name in forms})


@pytest.mark.usefixtures("few_trials")
def test_the_smallest_network_that_keeps_what_is_named(tmp_path: Path) -> None:
    """At inhibition this weak nothing makes up for fewer inputs without a current, at either scale."""
    parameters = {"neurons": 300, "inputs": 40, "weight": 0.05, "inhibition": 1.0}
    study = pp.Study("s", "balanced", **{**VALUES, "parameters": parameters})
    fewer, resolved = study.smallest(["rate"], tmp_path, progress=False)
    tried = [t for t in fewer.trials if t.verdict]
    assert tried[0].scaling == "N=0.3"
    assert (tried[0].neurons, tried[0].synapses) == (90, 90 * 40)
    assert tried[0].covariance == pytest.approx(1 / 0.3, rel=0.1)
    assert fewer.scaling == next((t.scaling for t in tried if t.verdict == "pass"), None)
    assert fewer.scaling is None or fewer.scaling in fewer.answer
    assert resolved.scaling is None
    assert {t.verdict for t in resolved.trials} == {None}
    assert all("the smallest K" in t.reason for t in resolved.trials)
    assert "impossible" in resolved.answer
    assert smallest.exit_code([fewer]) == (0 if fewer.scaling else 3)
    assert smallest.exit_code([resolved]) == 1
    written = json.loads((tmp_path / smallest.FILE).read_text())
    assert written == json.loads(json.dumps(smallest.content([fewer, resolved])))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--keep", "rate"), "--keep: belongs to --downscale"),
        (("--downscale", "--keep", "rat"), "'rat' is no statistic"),
        (("--downscale", "--keep", "rate,rate"), "each once"),
        (("--downscale", "--backend", "nist"), "unknown backend 'nist'"),
    ],
)
def test_wrong_requests_for_the_smallest_network(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    (tmp_path / "s.toml").write_text(
        '[study]\nname = "s"\n[model]\nbuild = "balanced"\n[simulation]\nduration = 100.0\nseeds = [1]\n'
        '[reference]\nbackend = "emulator"\n'
    )
    done = portability(tmp_path, "recommend", "s.toml", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
