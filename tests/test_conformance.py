"""Probes of single neurons and synapses: every backend agrees, and every probe notices faults.

What probes expect is checked against the direct integration of `compliance.reference_spikes`, an
independent derivation. Faults are planted by a backend that builds another network than it was given,
and, where that is not enough, returns other spikes. Random probes have a fixed seed; the test of their
tolerance, over 6 seeds, fails for correct backends once in 2,000 sets of seeds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynn_portability import backends, cli
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.formats.number_format import HeldRealization
from pynn_portability.model.connectivity import FromList, OneToOne
from pynn_portability.model.network import Network, PoissonDrive, Population, Projection
from pynn_portability.probe import conformance
from pynn_portability.probe.compliance import reference_spikes
from pynn_portability.probe.conformance import conformance as conform
from pynn_portability.probe.conformance import measure
from pynn_portability.probe.probes import PROBES, REST, STANDARD_ERRORS, Probe, Scan
from pynn_portability.realize.realization import Realization
from pynn_portability.run import events
from pynn_portability.run.events import Advanced, Began, Event
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

OPTIONS: dict[str, dict[str, Any]] = {"brian2": {"codegen": "numpy"}}
INSTALLED = [
    name
    for name in backends.names()
    if (backend := backends.load(name)).available() is None
    and backend.skipped(backend.options()) is None
]
RANDOM = tuple(probe for probe in PROBES if probe.name.startswith("Poisson"))
UNSUPPORTED = {
    "nest": set[str](),
    "brian2": {"Poisson source, 2 per step"},
    "emulator": {
        "PSP amplitude, alpha",
        "PSP amplitude, conductance",
        "sign of inhibition, conductance",
    },
}


def probe(name: str) -> Probe:
    (found,) = (p for p in PROBES if p.name == name)
    return found


def options(name: str) -> backends.Options:
    return backends.checked_options(name, OPTIONS.get(name, {}), "")


# --- What is expected ---


@pytest.mark.parametrize("timestep", [0.1, 1.0])
@pytest.mark.parametrize("p", [p for p in PROBES if p not in RANDOM], ids=lambda p: p.name)
def test_expected_values_are_those_of_direct_integration(p: Probe, timestep: float) -> None:
    """Closed forms, and how spikes are read, agree with integrating the network step by step."""
    setup = p.setup(timestep)
    spikes = reference_spikes(
        number_format("double").on(Realization(setup.network, 1, timestep)), setup.n_steps
    )
    populations = {}
    for population in setup.network.populations:
        step, neuron = np.array(spikes[population.label], np.int64).reshape(-1, 2).T
        populations[population.label] = PopulationSpikes.from_unsorted(
            population.size, step, neuron
        )
    measured = np.array(setup.read(populations))
    expected = np.array(list(setup.expected.values()))
    np.testing.assert_array_equal(np.isnan(measured), np.isnan(expected))
    assert np.all(np.nan_to_num(np.abs(measured - expected)) <= setup.tolerance)


def test_names_are_unique_and_everything_is_said() -> None:
    assert len({p.name for p in PROBES}) == len(PROBES)
    assert all(p.unit and p.measures and p.because for p in PROBES)


def test_a_scan_reads_a_potential() -> None:
    """Thresholds that are reached tell the potential to half their spacing, the others nothing."""
    scan = Scan([2.0, 5.0], [10, 20], 0.1, 20)
    assert scan.thresholds.shape == (40,)

    def spikes(potential: Callable[[int], float]) -> PopulationSpikes:
        times = [(k, j) for k in range(1, 21) for j in range(40)]
        found = [(k, j) for k, j in times if REST + potential(k) >= scan.thresholds[j]]
        step, neuron = np.array(found).T
        return PopulationSpikes.from_unsorted(40, step, neuron)

    read = scan.read(spikes(lambda k: 0.2337 * k))
    np.testing.assert_allclose(read, [2.337, 4.674], atol=0.05)
    assert np.isnan(scan.read(spikes(lambda k: 6.5))).all()
    assert scan.read(spikes(lambda k: 5.2 if k == 3 else 0.0), after=2)[1] == pytest.approx(
        5.2, abs=0.051
    )


# --- Backends ---


@pytest.mark.parametrize("name", backends.names())
def test_every_probe_agrees_in_double(name: str) -> None:
    if name not in INSTALLED:
        pytest.skip(f"{name} does not run here")
    findings = measure(backends.load(name), number_format("double"), options(name))
    assert [f"{f.probe.name}: {f.measured}" for f in findings if f.outcome == "differs"] == []
    refused = {f.probe.name for f in findings if f.outcome == "not supported"}
    assert refused == UNSUPPORTED.get(name, refused)


@pytest.mark.parametrize("name", INSTALLED)
def test_every_probe_agrees_in_steps_of_a_millisecond(name: str) -> None:
    if name == "brian2":
        pytest.skip("nothing but the number of steps changes, and this backend builds slowly")
    findings = measure(backends.load(name), number_format("double@1ms"), options(name))
    assert [f"{f.probe.name}: {f.measured}" for f in findings if f.outcome == "differs"] == []


@pytest.mark.parametrize(
    ("text", "differs"),
    [
        ("float32", set()),
        ("s16.15", set()),
        # 1/128 nA and 1/128 mV are too coarse for small inputs and slow changes, not for time
        (
            "s8.7",
            {
                "reset",
                "initial values",
                "DC response",
                "f-I curve",
                "PSP amplitude",
                "EPSP time course",
                "IPSP time course",
                "excitatory time constant",
                "inhibitory time constant",
                "input while refractory",
            },
        ),
        # delays are one step; the smaller of two weights onto a network has no level of its own
        (
            "odin",
            {
                "spike source latency",
                "loop latency",
                "delay",
                "delay rounding",
                "PSP amplitude",
                "multapses",
                "parallel projections",
                "autapses",
            },
        ),
    ],
)
def test_number_formats_differ_where_they_should(text: str, differs: set[str]) -> None:
    findings = measure(backends.load("emulator"), number_format(text), options("emulator"))
    assert {f.probe.name for f in findings if f.outcome == "differs"} == differs


def test_tolerances_of_random_quantities() -> None:
    """Deviations in standard errors have mean 0 and SD 1 over seeds."""
    backend, seed = backends.load("emulator"), conformance.SEED
    scores = []
    try:
        for conformance.SEED in range(100, 106):
            for f in measure(backend, number_format("double"), options("emulator"), probes=RANDOM):
                assert f.measured is not None
                for quantity, tolerance in f.tolerance.items():
                    if tolerance:
                        off = f.measured[quantity] - f.setup.expected[quantity]
                        scores.append(off / tolerance * STANDARD_ERRORS)
    finally:
        conformance.SEED = seed
    z = np.array(scores).reshape(6, -1)
    # mean and variance of a probe are correlated, so fewer than all are independent
    assert z.shape[1] == 8
    assert np.all(np.abs(z.mean(axis=0)) < 4 / np.sqrt(6))
    assert 0.6 < z.std() < 1.4


# --- Faults ---

Fault = Callable[[Network, float], Network]


@dataclass(frozen=True)
class Broken:
    """A backend that builds ``fault(network, timestep)`` and adds ``shift`` to the labels of spikes."""

    backend: Any
    fault: Fault
    shift: int = 0

    @property
    def capabilities(self) -> backends.Capabilities:
        found: backends.Capabilities = self.backend.capabilities
        return found

    def check(self, *arguments: Any) -> list[str]:
        problems: list[str] = self.backend.check(*arguments)
        return problems

    def simulation(self, held: HeldRealization, *arguments: Any) -> Any:
        network = self.fault(held.network, held.timestep)
        faulty = held.format.on(Realization(network, held.realization.seed, held.timestep))
        return _Shifted(self.backend.simulation(faulty, *arguments), self.shift)


@dataclass(frozen=True)
class _Shifted:
    simulation: backends.Simulation
    shift: int

    def run(self, n_steps: int, progress: Callable[[float], None]) -> SpikeData:
        data = self.simulation.run(n_steps, progress)
        populations = {
            label: PopulationSpikes(s.size, s.steps + self.shift, s.neurons)
            for label, s in data.populations.items()
        }
        return replace(data, populations=populations)


def unchanged(network: Network, timestep: float) -> Network:
    return network


def neurons(**changes: Callable[[Any], Any]) -> Fault:
    """Change parameters of all neurons; a callable gets the parameters by name."""

    def change(p: Population) -> Population:
        if p.is_source:
            return p
        return replace(
            p, parameters={**p.parameters, **{k: f(p.parameters) for k, f in changes.items()}}
        )

    return lambda network, timestep: replace(
        network, populations=tuple(map(change, network.populations))
    )


def synapses(change: Callable[[Projection, float], Projection | None]) -> Fault:
    """Change projections, or leave them out."""

    def fault(network: Network, timestep: float) -> Network:
        changed = (change(p, timestep) for p in network.projections)
        return replace(network, projections=tuple(p for p in changed if p is not None))

    return fault


def drives(**changes: Callable[[PoissonDrive, float], Any]) -> Fault:
    """Change attributes of drives."""
    return lambda network, timestep: replace(
        network,
        drives=tuple(
            replace(d, **{k: f(d, timestep) for k, f in changes.items()}) for d in network.drives
        ),
    )


def strict_threshold(network: Network, timestep: float) -> Network:
    return neurons(v_thresh=lambda p: np.nextafter(p["v_thresh"], np.inf))(network, timestep)


def refractory_short(network: Network, timestep: float) -> Network:
    return neurons(tau_refrac=lambda p: p["tau_refrac"] - timestep)(network, timestep)


def initial_values_ignored(network: Network, timestep: float) -> Network:
    populations = tuple(
        p if p.is_source else replace(p, initial_values={"v": REST}) for p in network.populations
    )
    return replace(network, populations=populations)


def source_late(network: Network, timestep: float) -> Network:
    populations = tuple(
        replace(p, spike_times=tuple(times + timestep for times in p.spike_times))
        for p in network.populations
    )
    return replace(network, populations=populations)


def neurons_late(network: Network, timestep: float) -> Network:
    """Spikes of neurons, unlike those of sources, act one step later."""

    def late(p: Projection, timestep: float) -> Projection:
        source = network.population(p.source)
        return p if source.is_source else replace(p, delay=p.delay + timestep)

    return synapses(late)(network, timestep)


def weights_times(factor: float, receptor: str = "") -> Fault:
    return synapses(
        lambda p, timestep: (
            replace(p, weight=p.weight * factor) if receptor in ("", p.receptor) else p
        )
    )


def delays(change: Callable[[Any, float], Any]) -> Fault:
    """Change all delays, in steps."""

    def changed(p: Projection, timestep: float) -> Projection:
        delay = change(np.asarray(p.delay) / timestep, timestep) * timestep
        return replace(p, delay=delay if np.ndim(delay) else float(delay))

    return synapses(changed)


def last_of_a_pair(p: Projection, timestep: float) -> Projection:
    """All synapses of a pair get the last weight and delay."""
    assert isinstance(p.connector, FromList)
    pairs = list(zip(p.connector.source.tolist(), p.connector.target.tolist(), strict=True))
    last = np.array([len(pairs) - 1 - pairs[::-1].index(pair) for pair in pairs])
    return replace(
        p,
        **{
            name: value[last] if isinstance(value, np.ndarray) else value
            for name, value in (("weight", p.weight), ("delay", p.delay))
        },
    )


def without_multapses(p: Projection, timestep: float) -> Projection:
    """Of the synapses of a pair, the first is there."""
    assert isinstance(p.connector, FromList)
    pairs = np.stack([p.connector.source, p.connector.target])
    first = np.sort(np.unique(pairs, axis=1, return_index=True)[1])
    return replace(
        p,
        connector=FromList(*pairs[:, first]),
        weight=np.broadcast_to(p.weight, pairs.shape[1:])[first],
        delay=np.broadcast_to(p.delay, pairs.shape[1:])[first],
    )


def without_autapses(p: Projection, timestep: float) -> Projection | None:
    assert isinstance(p.connector, FromList)
    if p.source == p.target and np.array_equal(p.connector.source, p.connector.target):
        return None
    return p


def inhibition_late(p: Projection, timestep: float) -> Projection:
    return replace(p, delay=p.delay + timestep) if p.receptor == "inhibitory" else p


def lost_while_refractory(network: Network, timestep: float) -> Network:
    """Input during the first 21 steps is lost."""
    populations = tuple(
        replace(p, spike_times=tuple(t[t > 20.5 * timestep] for t in p.spike_times))
        for p in network.populations
    )
    return replace(network, populations=populations)


def trains_instead(spikes_of_a_step: Callable[[float, np.random.Generator, int], Any]) -> Fault:
    """Spike trains of 300 steps instead of drives; (mean, generator, cells) to 0 or 1 by cell."""

    def fault(network: Network, timestep: float) -> Network:
        populations, projections = list(network.populations), list(network.projections)
        rng = np.random.default_rng(8)
        for d in network.drives:
            size = network.population(d.target).size
            mean = float(np.mean(d.rate)) * timestep / 1000
            counts = np.array([spikes_of_a_step(mean, rng, size) for _ in range(300)])
            trains = tuple((np.flatnonzero(c) + 1) * timestep for c in counts.T)
            populations.append(
                Population(f"for {d.label}", size, "SpikeSourceArray", {}, {}, False, trains)
            )
            projections.append(
                Projection(
                    d.label, f"for {d.label}", d.target, d.receptor, OneToOne(), d.weight, d.delay
                )
            )
        return Network(tuple(populations), tuple(projections))

    return fault


def at_most_one(mean: float, rng: np.random.Generator, size: int) -> Any:
    return rng.random(size) < mean


def the_same_for_all(mean: float, rng: np.random.Generator, size: int) -> Any:
    return np.full(size, rng.random() < mean)


def regular_source(network: Network, timestep: float) -> Network:
    """Each cell of a Poisson source emits the expected number of spikes, at most one per step."""

    def regular(p: Population) -> Population:
        mean = float(p.parameters["rate"]) * timestep / 1000
        n = round(min(mean, 1.0) * 100)
        times = (np.linspace(0, 99, n).astype(int) + 12) * timestep
        return Population(p.label, p.size, "SpikeSourceArray", {}, {}, True, (times,) * p.size)

    return replace(network, populations=tuple(map(regular, network.populations)))


def rate_of_source(factor: float) -> Fault:
    def change(p: Population) -> Population:
        return replace(p, parameters={**p.parameters, "rate": p.parameters["rate"] * factor})

    return lambda network, timestep: replace(
        network, populations=tuple(map(change, network.populations))
    )


FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "threshold": {"strict": strict_threshold},
    "reset": {
        "to rest": neurons(v_reset=lambda p: REST),
        "1 mV off": neurons(v_reset=lambda p: p["v_reset"] + 1.0 * (p["v_reset"] != REST)),
    },
    "refractory time": {"one step short": refractory_short},
    "initial values": {"ignored": initial_values_ignored},
    "DC response": {"2 % more": neurons(i_offset=lambda p: p["i_offset"] * 1.02)},
    "f-I curve": {
        "2 % more": neurons(i_offset=lambda p: p["i_offset"] * 1.02),
        "refractory time": refractory_short,
    },
    "spike source latency": {
        "late": source_late,
        "delays": delays(lambda d, timestep: d + 1),
    },
    "loop latency": {"late": neurons_late},
    "delay": {
        "at most 16": delays(lambda d, timestep: np.minimum(d, 16)),
        "at least 3": delays(lambda d, timestep: np.maximum(d, 3)),
    },
    "delay rounding": {
        "down": delays(lambda d, timestep: np.maximum(np.floor(d + 1e-9), 1)),
        "to even": delays(lambda d, timestep: np.rint(np.round(d, 6))),
    },
    "PSP amplitude": {
        "1 % more": weights_times(1.01),
        "1 % less": weights_times(0.99),
        "tau_m": neurons(tau_m=lambda p: p["tau_m"] * 1.1),
    },
    "PSP amplitude, alpha": {
        "1 % more": weights_times(1.01),
        "tau_syn": neurons(tau_syn_E=lambda p: p["tau_syn_E"] * 1.02),
    },
    "PSP amplitude, conductance": {
        "1 % more": weights_times(1.01),
        "potential": neurons(e_rev_E=lambda p: p["e_rev_E"] + 2.0),
    },
    "EPSP time course": {
        "tau_syn": neurons(tau_syn_E=lambda p: p["tau_syn_E"] * 1.05),
        "tau_m": neurons(tau_m=lambda p: p["tau_m"] * 1.1, i_offset=lambda p: p["i_offset"] / 1.1),
        "delay": delays(lambda d, timestep: d + 1),
        "sign": weights_times(-1.0),
        "2 % more": weights_times(1.02),
    },
    "IPSP time course": {
        "tau_syn": neurons(tau_syn_I=lambda p: p["tau_syn_E"]),
        "sign": weights_times(-1.0),
    },
    "excitatory time constant": {
        "5 % more": neurons(tau_syn_E=lambda p: p["tau_syn_E"] * 1.05),
        "exchanged": neurons(tau_syn_E=lambda p: p["tau_syn_I"]),
    },
    "inhibitory time constant": {
        "5 % less": neurons(tau_syn_I=lambda p: p["tau_syn_I"] * 0.95),
        "exchanged": neurons(tau_syn_I=lambda p: p["tau_syn_E"]),
    },
    "sign of inhibition": {
        "flipped": weights_times(-1.0, "inhibitory"),
        "missing": weights_times(0.0, "inhibitory"),
    },
    "sign of inhibition, conductance": {
        "flipped": neurons(e_rev_I=lambda p: p["e_rev_E"]),
        "missing": weights_times(0.0, "inhibitory"),
    },
    "multapses": {
        "last of a pair": synapses(last_of_a_pair),
        "one of a pair": synapses(without_multapses),
    },
    "parallel projections": {
        "same delay": delays(lambda d, timestep: np.full(np.shape(d), 4.0)),
        "one missing": synapses(lambda p, timestep: p if p.delay < 10 * timestep else None),
    },
    "autapses": {
        "missing": synapses(without_autapses),
        "late": neurons_late,
    },
    "order of arrival": {
        "inhibition late": synapses(inhibition_late),
        "strict": weights_times(0.0, "inhibitory"),
    },
    "input while refractory": {
        "lost": lost_while_refractory,
        "held": neurons(tau_syn_E=lambda p: p["tau_syn_E"] * 1.2),
        "refractory time": refractory_short,
    },
    "Poisson drive, 0.5 per step": {
        "at most one": trains_instead(at_most_one),
        "same for all": trains_instead(the_same_for_all),
        "8 % more": drives(rate=lambda d, timestep: d.rate * 1.08),
        "half, twice as strong": drives(
            rate=lambda d, timestep: d.rate / 2, weight=lambda d, timestep: d.weight * 2
        ),
    },
    "Poisson drive, 5 per step": {
        "at most one": trains_instead(at_most_one),
        "2 % less": drives(rate=lambda d, timestep: d.rate * 0.98),
    },
    "Poisson drive window": {
        "start": drives(start=lambda d, timestep: d.start + timestep),
        "duration": drives(duration=lambda d, timestep: d.duration - 2 * timestep),
        "delay": drives(delay=lambda d, timestep: d.delay + timestep),
    },
    "Poisson source, 0.05 per step": {
        "regular": regular_source,
        "7 % less": rate_of_source(0.93),
    },
    "Poisson source, 2 per step": {
        "at most one": regular_source,
        "3 % more": rate_of_source(1.03),
    },
}


def test_every_probe_has_a_fault() -> None:
    assert set(FAULTS) == {p.name for p in PROBES}


def _supporting(p: Probe) -> str:
    """The quickest backend that can represent a probe."""
    for name in ("emulator", "nest", "brian2"):
        backend = backends.load(name)
        if name in INSTALLED and not backends.refusals(
            backend, p.setup(0.1).network, number_format("double"), 0.1
        ):
            return name
    pytest.skip("no backend that is installed can represent this")


@pytest.mark.parametrize(
    ("name", "fault"), [(name, fault) for name, faults in FAULTS.items() for fault in faults]
)
def test_faults_are_noticed(name: str, fault: str) -> None:
    p = probe(name)
    quickest = _supporting(p)
    backend, given = backends.load(quickest), options(quickest)
    broken: Any = Broken(backend, FAULTS[name][fault])
    (sound,) = measure(backend, number_format("double"), given, probes=[p])
    (finding,) = measure(broken, number_format("double"), given, probes=[p])
    assert sound.outcome == "agrees"
    assert finding.outcome == "differs", finding.measured


@pytest.mark.parametrize(
    ("fault", "shift", "differs"),
    [
        pytest.param(strict_threshold, 0, {"threshold"}, id="threshold"),
        pytest.param(neurons_late, 0, {"loop latency", "autapses"}, id="latency"),
        pytest.param(
            unchanged,
            -1,
            {
                # whatever is a label and not a difference of labels
                "threshold",
                "initial values",
                "DC response",
                "spike source latency",
                "multapses",
                "parallel projections",
                "EPSP time course",
                "IPSP time course",
                "excitatory time constant",
                "inhibitory time constant",
                "Poisson drive window",
            },
            id="labels",
        ),
        pytest.param(
            weights_times(1.1),
            0,
            {"PSP amplitude", "EPSP time course", "IPSP time course", "input while refractory"},
            id="weights",
        ),
        pytest.param(
            weights_times(-1.0, "inhibitory"),
            0,
            {"IPSP time course", "inhibitory time constant", "sign of inhibition"}
            | {"order of arrival"},
            id="sign",
        ),
        pytest.param(
            synapses(last_of_a_pair),
            0,
            {"multapses"},
            id="multapses",
        ),
        pytest.param(
            drives(rate=lambda d, timestep: d.rate * 1.1),
            0,
            {"Poisson drive, 0.5 per step", "Poisson drive, 5 per step"},
            id="rates",
        ),
    ],
)
def test_causes_are_told_apart(fault: Fault, shift: int, differs: set[str]) -> None:
    """A fault shows in the probes of what is wrong, and in no others."""
    broken: Any = Broken(backends.load("emulator"), fault, shift)
    findings = measure(broken, number_format("double"), options("emulator"))
    assert {f.probe.name for f in findings if f.outcome == "differs"} == differs


# --- The command ---


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["portability", "conformance", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *capfd.readouterr())

    return run


def test_the_command_prints_a_table(command: Callable[..., Ended], tmp_path: Path) -> None:
    ended = command("emulator")
    assert (ended.code, ended.err) == (0, "")
    for p in PROBES:
        (row,) = (line for line in ended.out.splitlines() if line.startswith(f" {p.name}  "))
        outcome = "not supported" if p.name in UNSUPPORTED["emulator"] else "agrees"
        assert row.rstrip().endswith(outcome)
        assert (f"note: {p.name}: {p.note}" in ended.out) == bool(p.note)
    assert "not supported: PSP amplitude, alpha: " in ended.out
    assert ended.out.splitlines()[-1] == (
        f"emulator with format double at 0.1 ms: {len(PROBES) - 3} agree, 0 differ, 3 not supported"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_json(command: Callable[..., Ended]) -> None:
    ended = command("emulator", "--format", "s8.7@1ms", "--json")
    assert (ended.code, ended.err) == (1, "")
    content = json.loads(ended.out, parse_constant=pytest.fail)
    assert set(content) == {
        *("schema", "backend", "versions", "format", "timestep", "seed", "probes")
    }
    assert content["schema"] == "portability-conformance/1"
    assert (content["format"], content["timestep"]) == ("s8.7@1ms", 1.0)
    assert content["versions"] == backends.load("emulator").versions()
    assert [entry["name"] for entry in content["probes"]] == [p.name for p in PROBES]
    for entry in content["probes"]:
        assert set(entry["tolerance"]) == set(entry["expected"])
        if entry["outcome"] == "not supported":
            assert entry["measured"] is None and entry["reason"]
            continue
        assert entry["reason"] is None
        assert list(entry["measured"]) == list(entry["expected"])
        deviating = [
            name
            for name, value in entry["measured"].items()
            if (value is None) != (entry["expected"][name] is None)
            or (
                value is not None
                and abs(value - entry["expected"][name]) > entry["tolerance"][name] * (1 + 1e-9)
            )
        ]
        assert entry["deviating"] == deviating
        assert entry["outcome"] == ("differs" if deviating else "agrees")
    by_name = {entry["name"]: entry for entry in content["probes"]}
    assert by_name["threshold"]["measured"] == {"at the threshold": 1, "0.01 mV below": None}


NEEDS_NEST = pytest.mark.skipif("nest" not in INSTALLED, reason="NEST is not installed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("emulate",), ("'emulate'", "emulator")),
        (("emulator", "--format", "naive-0"), ("'naive-0'", "naive-N")),
        pytest.param(("nest", "--format", "s16.15"), ("s16.15", "NEST"), marks=NEEDS_NEST),
        (("emulator", "--format", "double@2ms"), ("'double@2ms'", "0.01 to 1 ms")),
    ],
)
def test_requests_that_are_wrong(
    command: Callable[..., Ended], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """One sentence, whether this process notices it or that of the simulator."""
    ended = command(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ") and ended.err.count("\n") == 1
    assert [word for word in words if word not in ended.err] == []


def test_a_simulator_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever a simulator does to its process, the request ends with a sentence."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'conformance' in ' '.join(sys.orig_argv):\n"
        "    print('the simulator gave up')\n"
        "    sys.stdout.flush()\n"
        "    os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RequestError, match="exit code 3: the simulator gave up"):
        conform("emulator", "double")


def test_progress_and_options() -> None:
    """Events arrive while it runs, and options reach the backend, whose spikes do not change."""
    told: list[Event] = []
    result = conform("emulator", "double", {"threads": 2}, told.append)
    assert all(entry["outcome"] != "differs" for entry in result["probes"])
    assert (told[0], told[-1]) == (Began("emulator", 1.0), events.Ended("emulator"))
    advanced = [event for event in told if isinstance(event, Advanced)]
    assert any(event.phase for event in advanced)
    fractions = [event.done for event in advanced if event.done is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    with pytest.raises(RequestError, match="codegen"):
        conform("emulator", "double", {"codegen": "numpy"})


def test_nothing_is_imported_for_help() -> None:
    code = (
        "import sys\nfrom pynn_portability import cli\n"
        "assert 'pynn_portability.probe.conformance' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parent, env={**os.environ}
    )
