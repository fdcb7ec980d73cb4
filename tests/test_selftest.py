"""Planted faults, one property each, and the command that looks for the smallest noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import portability

from pynn_portability.judge.statistics import statistics
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.model.transforms import MODEL_FAULTS, plant
from pynn_portability.probe.faults import SPIKE_FAULTS, faulty_spikes
from pynn_portability.realize.realization import Realization
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

STEP, WARMUP, N_STEPS = 0.1, 200.0, 22_000
DURATION = N_STEPS * STEP - WARMUP


@pytest.fixture(scope="module")
def spikes() -> SpikeData:
    rng = np.random.default_rng(5)
    rates = rng.gamma(4.0, 3.0, 200)
    counts = rng.poisson(rates * N_STEPS * STEP / 1000)
    neurons = np.repeat(np.arange(200), counts)
    steps = rng.integers(1, N_STEPS + 1, neurons.size)
    return SpikeData(STEP, N_STEPS, {"a": PopulationSpikes.from_unsorted(200, steps, neurons)})


def rates(run: SpikeData) -> np.ndarray:
    return statistics(run, WARMUP)["a"]["rate"]


@pytest.mark.parametrize("name", SPIKE_FAULTS)
def test_faults_stay_in_the_window_and_are_deterministic(spikes: SpikeData, name: str):
    fault = SPIKE_FAULTS[name]
    faulty = faulty_spikes(spikes, fault, fault.sizes[-1], WARMUP, 3).populations["a"]
    assert faulty.steps.min() > WARMUP / STEP
    assert faulty.steps.max() <= N_STEPS
    again = faulty_spikes(spikes, fault, fault.sizes[-1], WARMUP, 3).populations["a"]
    np.testing.assert_array_equal(again.steps, faulty.steps)
    other = faulty_spikes(spikes, fault, fault.sizes[-1], WARMUP, 4).populations["a"]
    assert other.steps.size != faulty.steps.size or (other.steps != faulty.steps).any()


def test_lost_spikes(spikes: SpikeData):
    faulty = faulty_spikes(spikes, SPIKE_FAULTS["spikes lost"], 0.2, WARMUP, 1)
    n = rates(spikes).sum() * DURATION / 1000
    kept = rates(faulty).sum() / rates(spikes).sum()
    # binomial, five standard deviations
    assert abs(kept - 0.8) < 5 * np.sqrt(0.16 / n)


def test_jitter_and_shuffling_keep_rates(spikes: SpikeData):
    for name, size in (("spikes jittered", 10.0), ("intervals shuffled", 1.0)):
        faulty = faulty_spikes(spikes, SPIKE_FAULTS[name], size, WARMUP, 1)
        np.testing.assert_array_equal(rates(faulty), rates(spikes))


@pytest.mark.parametrize("edge", ["first", "last"])
def test_jitter_is_reflected_at_the_edges_of_the_window(edge: str):
    """Spikes at an edge move inwards, with 1 of 2r + 1 moves to itself and 2 to every other step.

    Counts are binomial: any is five standard deviations off in fewer than 1 of 10,000 random seeds.
    """
    n, reach = 40_000, 20
    at = round(WARMUP / STEP) + 1 if edge == "first" else N_STEPS
    spikes = PopulationSpikes.from_unsorted(n, np.full(n, at), np.arange(n))
    run = SpikeData(STEP, N_STEPS, {"a": spikes})
    faulty = faulty_spikes(run, SPIKE_FAULTS["spikes jittered"], reach * STEP, WARMUP, 1)
    moved = np.abs(faulty.populations["a"].steps - at)
    found = np.bincount(moved, minlength=reach + 1)
    assert found.size == reach + 1
    probability = np.full(reach + 1, 2 / (2 * reach + 1))
    probability[0] /= 2
    error = np.sqrt(n * probability * (1 - probability))
    assert (np.abs(found - n * probability) < 5 * error).all()
    inside = faulty.populations["a"].steps
    assert (inside >= at).all() if edge == "first" else (inside <= at).all()


def test_jitter_moves_no_farther_than_its_size(spikes: SpikeData):
    faulty = faulty_spikes(spikes, SPIKE_FAULTS["spikes jittered"], 2.0, WARMUP, 1)
    for neuron in range(20):
        before, after = _trains(spikes, faulty, neuron)
        assert np.abs(before - after).max(initial=0) <= 20


def _trains(a: SpikeData, b: SpikeData, neuron: int) -> list[np.ndarray]:
    trains = []
    for run in (a, b):
        p = run.populations["a"]
        trains.append(p.steps[(p.neurons == neuron) & (p.steps > WARMUP / STEP)])
    return trains


def test_shuffling_keeps_intervals_and_changes_their_order(spikes: SpikeData):
    faulty = faulty_spikes(spikes, SPIKE_FAULTS["intervals shuffled"], 1.0, WARMUP, 1)
    changed = 0
    for neuron in range(50):
        before, after = (np.diff(train) for train in _trains(spikes, faulty, neuron))
        np.testing.assert_array_equal(np.sort(before), np.sort(after))
        changed += before.tolist() != after.tolist()
    assert changed > 40


def test_common_spikes_correlate_and_keep_rates_on_average(spikes: SpikeData):
    faulty = faulty_spikes(spikes, SPIKE_FAULTS["common spikes"], 0.1, WARMUP, 1)
    before, after = (statistics(run, WARMUP)["a"]["cc"].mean() for run in (spikes, faulty))
    assert after > before + 0.01
    assert abs(rates(faulty).mean() / rates(spikes).mean() - 1) < 0.05


@pytest.fixture(scope="module")
def network() -> Network:
    build = load_model("microcircuit", Path())
    return capture(build, {"scale": 0.01, "connectivity": "fixed_total_number"}, 0.1)


def first_weight(network: Network) -> dict[str, float]:
    weight = network.projections[0].weight
    assert isinstance(weight, Distribution)
    return dict(weight.parameters)


@pytest.mark.parametrize(
    "name", [n for n, fault in MODEL_FAULTS.items() if not (fault.timestep or fault.options)]
)
def test_every_fault_of_the_model_changes_the_network(network: Network, name: str):
    for size in MODEL_FAULTS[name].sizes:
        faulty = plant(network, name, size)
        assert faulty.fingerprint() != network.fingerprint()
        assert [p.label for p in faulty.recorded] == [p.label for p in network.recorded]


def test_weights(network: Network):
    sound = first_weight(network)
    stronger = first_weight(plant(network, "weights stronger", 0.1))
    assert stronger["mu"] == pytest.approx(1.1 * sound["mu"])
    assert stronger["sigma"] == pytest.approx(1.1 * sound["sigma"])
    spread = first_weight(plant(network, "weights spread", 2.0))
    assert spread["mu"] == sound["mu"]
    assert spread["sigma"] == pytest.approx(2 * sound["sigma"])


def test_neurons(network: Network):
    before = network.populations[0].parameters
    after = plant(network, "threshold higher", 0.5).populations[0].parameters
    assert after["v_thresh"] == before["v_thresh"] + 0.5
    after = plant(network, "synapses slower", 0.1).populations[0].parameters
    for name in ("tau_syn_E", "tau_syn_I"):
        assert after[name] == pytest.approx(1.1 * before[name])
    after = plant(network, "refractory time longer", 1.0).populations[0].parameters
    assert after["tau_refrac"] == before["tau_refrac"] + 1.0


def test_wiring(network: Network):
    assert len(plant(network, "projection missing", 0.5).projections) == (
        len(network.projections) - 1
    )
    largest = max(
        network.projections, key=lambda p: Realization(network, 1, 0.1).synapse_count(p.label)
    )
    left = plant(network, "projection missing", 1.0).projections
    assert largest.label not in {p.label for p in left}
    other = plant(network, "wrong connectivity rule", 1.0)
    assert {type(p.connector).__name__ for p in other.projections} == {"FixedNumberPre"}
    before, after = (Realization(n, 1, 0.1).n_synapses for n in (network, other))
    assert abs(after / before - 1) < 0.05


def test_drive_and_delays(network: Network):
    stronger = plant(network, "drive stronger", 0.02)
    assert stronger.drives[0].rate == pytest.approx(1.02 * network.drives[0].rate)
    swapped = plant(network, "delays swapped", 1.0)
    by_receptor = {p.receptor: p.delay for p in network.projections}
    other = {"excitatory": "inhibitory", "inhibitory": "excitatory"}
    for projection in swapped.projections:
        assert projection.delay == by_receptor[other[projection.receptor]]


STUDY = """
[study]
name = "planted"
[model]
build = "microcircuit"
scale = 0.01
[simulation]
duration = 600.0
warmup = 100.0
seeds = [1, 2, 3, 4]
[reference]
backend = "emulator"
"""


def test_command(tmp_path: Path):
    (tmp_path / "study.toml").write_text(STUDY)
    ended = portability(tmp_path, "selftest", "study.toml")
    assert ended.returncode == 2
    assert "`portability run` makes them" in ended.stderr
    assert portability(tmp_path, "run", "study.toml").returncode == 0
    ended = portability(tmp_path, "selftest", "study.toml", "--json")
    assert ended.returncode == 0, ended.stderr
    content = json.loads(ended.stdout)
    assert [f["fault"] for f in content["findings"]] == list(SPIKE_FAULTS)
    lost = content["findings"][0]
    # half of all spikes missing cannot go unnoticed
    assert lost["size"] is not None
    assert lost["tried"][-1] == lost["size"]
    assert any(where.startswith("rate in") for where in lost["where"])
    assert portability(tmp_path, "report", "study.toml").returncode == 0
    folder = tmp_path / "results" / "planted"
    results = json.loads((folder / "results.json").read_text())
    assert results["selftest"] == content["findings"]
    # another study has no findings yet
    (tmp_path / "study.toml").write_text(STUDY.replace("600.0", "700.0"))
    assert portability(tmp_path, "run", "study.toml").returncode == 0
    assert json.loads((folder / "results.json").read_text())["selftest"] == []


def test_populations_have_faults_of_their_own(spikes: SpikeData):
    population = spikes.populations["a"]
    twice = SpikeData(STEP, N_STEPS, {"a": population, "b": population})
    for name, fault in SPIKE_FAULTS.items():
        faulty = faulty_spikes(twice, fault, fault.sizes[-1], WARMUP, 1).populations
        a, b = faulty["a"].steps, faulty["b"].steps
        assert a.size != b.size or (a != b).any(), name


def test_common_spikes_keep_the_rate_of_fast_and_of_slow_neurons(spikes: SpikeData):
    """The sum over half of the neurons is off by less than five standard deviations."""
    before, after = (
        rates(run) * DURATION / 1000
        for run in (spikes, faulty_spikes(spikes, SPIKE_FAULTS["common spikes"], 0.5, WARMUP, 1))
    )
    fast = before >= np.median(before)
    for half in (fast, ~fast):
        # half of the spikes lost, as many others gained; that they are common adds to neither
        error = np.sqrt(0.25 * before[half].sum() + 0.5 * before[half].sum())
        assert abs(after[half].sum() - before[half].sum()) < 5 * error


def test_a_part_of_the_neurons_has_shuffled_intervals(spikes: SpikeData):
    """Binomial with probability 1/2, five standard deviations of 200 neurons."""
    faulty = faulty_spikes(spikes, SPIKE_FAULTS["intervals shuffled"], 0.5, WARMUP, 1)
    changed = sum(
        before.tolist() != after.tolist()
        for before, after in (_trains(spikes, faulty, neuron) for neuron in range(200))
    )
    assert abs(changed - 100) < 36
