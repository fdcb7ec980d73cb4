"""Covariances by linear response: against a closed form, against simulations, and what scaling does to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.judge.statistics import statistics
from pynn_portability.model.connectivity import FixedNumberPre
from pynn_portability.model.network import Network, PoissonDrive, Population, Projection
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.models.balanced import NEURON
from pynn_portability.predict.correlations import correlations
from pynn_portability.predict.mean_field import Neurons, interval_variation, stationary_rate
from pynn_portability.realize.downscaling import Scaling, downscale
from pynn_portability.realize.realization import Realization
from pynn_portability.spikes.data import SpikeData

CELLS = {**NEURON, "i_offset": 0.0}


def inhibitory(size: int, weight: float, inputs: int = 100) -> Network:
    """One population that inhibits itself, with a drive."""
    return Network(
        (Population("I", size, "IF_curr_exp", CELLS),),
        (Projection("p", "I", "I", "inhibitory", FixedNumberPre(inputs, True), weight, 1.5),),
        (PoissonDrive("d", "I", "excitatory", 2000.0, 0.4, 1.5),),
    )


def test_one_population_in_closed_form() -> None:
    """W is inputs times charge times gain, and the covariance r CV² / N (1 / (1 - W)² - 1) N / (N - 1)."""
    size, weight, inputs, rate = 200, -0.02, 100, 15.0
    network = inhibitory(size, weight, inputs)
    found = correlations(Realization(network, 1, 0.1), 10.0, {"I": rate})
    tau = 0.5
    mean = 1e-3 * tau * (2000.0 * 0.4 + inputs * weight * rate)
    noise = 1e-3 * tau**2 * (2000.0 * 0.4**2 + inputs * weight**2 * rate)
    neuron = Neurons(*(CELLS[name] for name in Neurons._fields))

    def response(m: float, s: float) -> float:
        return float(stationary_rate(np.array(m), np.array(s), tau, neuron))

    by_mean = (response(mean + 1e-5, noise) - response(mean - 1e-5, noise)) / 2e-5
    by_noise = (response(mean, noise + 1e-5) - response(mean, noise - 1e-5)) / 2e-5
    w = 1e-3 * inputs * (tau * weight * by_mean + tau**2 * weight**2 * by_noise)
    assert found.connectivity == pytest.approx(np.array([[w]]), rel=1e-3)
    assert w < -0.1
    alone = rate * interval_variation(mean, noise, tau, neuron) ** 2 / size
    expected = alone * (1 / (1 - w) ** 2 - 1) * size / (size - 1)
    assert found.covariance[0, 0] == pytest.approx(expected, rel=1e-3)
    assert expected < 0  # inhibition decorrelates


def test_what_scaling_does_to_covariances() -> None:
    """Fewer neurons: as much larger; J K kept: the same; J² K kept: that of another feedback."""
    whole = capture(load_model("balanced", Path()), {}, 0.1)
    rates = {"E": 19.0, "I": 19.0}

    def covariance(text: str) -> np.ndarray:
        network = downscale(whole, Scaling.parse(text), rates).network
        return correlations(Realization(network, 1, 0.1), 10.0, rates).covariance

    before = covariance("N=1")
    assert before[0, 0] > 0 > before[1, 1]
    np.testing.assert_allclose(covariance("N=0.5"), 2 * before, rtol=2e-3)  # N - 1 in the pairs
    # but for the part of the feedback that goes through the variance of the input, J² K
    np.testing.assert_allclose(covariance("K=0.5:linear"), before, rtol=0.08)
    assert covariance("K=0.5:sqrt")[0, 0] < 0.8 * before[0, 0]


@pytest.mark.parametrize("cell_type", ["IF_curr_alpha", "IF_cond_exp"])
def test_neurons_beyond_the_theory_are_refused_at_given_rates_too(cell_type: str) -> None:
    network = inhibitory(200, -0.02)
    (population,) = network.populations
    other = replace(network, populations=(replace(population, cell_type=cell_type),))
    with pytest.raises(RequestError, match=f"covers IF_curr_exp neurons, not {cell_type}"):
        correlations(Realization(other, 1, 0.1), 10.0, {"I": 15.0})


def test_an_excitatory_network_beyond_the_edge_is_refused() -> None:
    network = inhibitory(200, -0.02)
    (projection,) = network.projections
    excitatory = Projection("p", "I", "I", "excitatory", projection.connector, 0.3, 1.5)
    unstable = Network(network.populations, (excitatory,), network.drives)
    with pytest.raises(RequestError, match="unstable"):
        correlations(Realization(unstable, 1, 0.1), 10.0, {"I": 15.0})


@pytest.mark.parametrize("text", ["N=0.2", "N=0.2,K=0.4:sqrt", "N=0.2,K=0.4:linear"])
def test_simulated_covariances_are_those_of_linear_response(text: str) -> None:
    """Integrals over 50 ms to both sides, of 4 runs of 10 s: within four standard errors and a fifth.

    Four standard errors are exceeded by chance in fewer than 1 in 30 such tests of a true mean with three degrees of
    freedom, and the fifth is what the theory's approximations may cost; other random seeds passed as well.
    """
    whole = capture(load_model("balanced", Path()), {}, 0.1)
    network = downscale(whole, Scaling.parse(text), {"E": 19.0, "I": 19.0}).network
    expected = np.diag(correlations(Realization(network, 1, 0.1), 10.0).covariance)
    emulator = backends.load("emulator")
    found = []
    for seed in range(1, 5):
        held = number_format("float32").on(Realization(network, seed, 0.1))
        spikes = emulator.simulation(held, emulator.options()).run(102_500, lambda fraction: None)
        recorded = {label: spikes.populations[label] for label in "EI"}
        curves = statistics(SpikeData(0.1, 102_500, recorded), 250.0, ("covariance",))
        found.append(
            [1e-3 * (2 * c["covariance"].sum() - c["covariance"][0]) for c in curves.values()]
        )
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 2
    assert np.all(np.abs(mean - expected) < 4 * error + 0.2 * np.abs(expected)), (
        mean,
        error,
        expected,
    )
    assert np.all(4 * error < np.abs(expected))  # or the comparison would say nothing
