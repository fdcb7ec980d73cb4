"""Postsynaptic potentials are right in the whole range that a backend states, and refused beyond it.

The exact peaks are those of ``benchmarks/limits.py``, which prints the whole table; a part of it is measured here.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.realize.realization import Realization

_spec = importlib.util.spec_from_file_location(
    "limits", Path(__file__).parents[1] / "benchmarks" / "limits.py"
)
assert _spec is not None
assert _spec.loader is not None
limits = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = limits  # where dataclasses look their annotations up
_spec.loader.exec_module(limits)

SIMULATORS = [
    name for name in ("nest", "brian2", "emulator") if not backends.load(name).available()
]
STIFF = [
    # (cell, tau_syn (ms), time step (ms), charge)
    ("IF_curr_exp", 0.002, 1.0, 1.0),
    ("IF_curr_exp", 20.0, 0.1, 1.0),
    ("IF_curr_alpha", 0.002, 1.0, 1.0),
    ("IF_cond_exp", 0.3, 1.0, 10.0),
    ("IF_cond_exp", 1e-3, 0.1, 10.0),
    ("IF_cond_exp", 5.0, 1.0, 1e4),
    ("IF_cond_alpha", 0.4, 1.0, 10.0),
    ("IF_cond_alpha", 0.5, 1.0, 10.0),
    ("IF_cond_alpha", 0.01, 1.0, 10.0),
    ("IF_cond_alpha", 5.0, 0.1, 1e4),
]


@pytest.mark.parametrize("backend", SIMULATORS)
def test_peaks_are_right_to_a_thousandth(backend: str) -> None:
    """Stiff and ordinary cases; thresholds a thousandth below the peak are reached, those above are not."""
    found = {
        case: limits.error(backend, limits.Case(*case))
        for case in STIFF
        if case[0] in backends.load(backend).capabilities.cells
    }
    assert found
    # NEST's adaptive method for conductances is only as right as this at steps of 1 ms
    allowed = {
        case: 3.01e-3 if backend == "nest" and "cond" in case[0] else 1.01e-3 for case in found
    }
    wrong = {c: e for c, e in found.items() if e is None or e > allowed[c]}
    assert wrong == {}


@pytest.mark.skipif("nest" not in SIMULATORS, reason="NEST is not installed")
def test_time_constants_that_nest_computes_wrongly_are_refused() -> None:
    """Its propagators become infinite inside; the emulator computes the closed form."""
    for cell in ("IF_curr_exp", "IF_curr_alpha"):
        case = limits.Case(cell, 0.001, 1.0, 1.0)
        (sentence,) = refusals("nest", case)
        assert sentence.startswith(
            "population 'E': tau_syn_E is 0.001 ms, so short that NEST is wrong"
        )
        assert "up to 700" in sentence
    assert limits.error("emulator", limits.Case("IF_curr_exp", 0.001, 1.0, 1.0)) < 1.01e-4
    assert limits.error("emulator", limits.Case("IF_curr_exp", 1e-9, 1.0, 1.0)) < 1.01e-4


def refusals(backend: str, case: limits.Case) -> list[str]:  # type: ignore[name-defined]
    found = backends.load(backend).check(
        limits.network(case), number_format("double"), case.timestep
    )
    # both receptors have the same time constant
    return [s for s in found if "tau_syn_I" not in s]


@pytest.mark.skipif("nest" not in SIMULATORS, reason="NEST is not installed")
def test_membranes_and_weights_that_nest_computes_wrongly_are_refused() -> None:
    from dataclasses import replace  # noqa: PLC0415

    def refused(cell: str, charge: float, tau_m: float, tau_syn: float) -> list[str]:
        network = limits.network(limits.Case(cell, tau_syn, 1.0, charge))
        source, cells = network.populations
        cells = replace(cells, parameters={**cells.parameters, "tau_m": tau_m})
        network = replace(network, populations=(source, cells))
        return backends.load("nest").check(network, number_format("double"), 1.0)  # type: ignore[no-any-return]

    for cell, tau_m, words in (
        ("IF_curr_alpha", 1.1e6, "allowed is up to 1e+06 dt"),
        ("IF_cond_exp", 2.9, "allowed is from 3 dt"),
    ):
        (sentence,) = refused(cell, 10.0, tau_m, 2.0)
        assert sentence.startswith(f"population 'E': tau_m is {tau_m:g} ms")
        assert words in sentence
    assert refused("IF_curr_exp", 10.0, 1e9, 2.0) == []
    assert refused("IF_curr_alpha", 10.0, 1e6, 2.0) == []
    assert refused("IF_cond_exp", 10.0, 3.0, 2.0) == []
    # 0.01 charge / tau_syn is the weight
    (sentence,) = refused("IF_cond_exp", 0.09, 20.0, 1.0)
    assert sentence.startswith("projection 'S->E': weights reach 0.0009 uS at most")
    assert refused("IF_cond_exp", 0.11, 20.0, 1.0) == []
    assert refused("IF_cond_exp", 0.01, 20.0, 2.0) == []


@pytest.mark.skipif("brian2" not in SIMULATORS, reason="Brian2 is not installed")
def test_propagators_of_currents_are_those_of_matrix_exponentials() -> None:
    """Whichever of the two time constants is the shorter, equal ones and extremes included."""
    from pynn_portability.backends.brian2 import cells  # noqa: PLC0415

    constants = (1e-4, 1e-3, 0.01, 0.1, 1.0, 20.0, 20.0 * (1 + 1e-9), 1e3, 1e6)
    for tau_m in constants:
        for tau_syn in constants:
            a, b = 1 / tau_m, 1 / tau_syn
            found = [
                float(f(1.0, tau_syn, tau_m)) for f in (cells._from_current, cells._from_slope)
            ]
            if max(a, b) < 500:
                exact = expm(np.array([[-a, 1, 0], [0, -b, 1], [0, 0, -b]]))[0, 1:]
            else:  # where one of them is over long before the end of the step
                exact = np.array([1, 0]) * np.exp(-min(a, b)) / max(abs(a - b), 1.0)
                found[1] = 0.0
                if a == b:
                    continue
            np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize("backend", [name for name in SIMULATORS if name != "emulator"])
def test_conductances_beyond_what_was_measured_are_refused(backend: str) -> None:
    (sentence,) = refusals(backend, limits.Case("IF_cond_exp", 1e-6, 0.1, 1e-2))
    assert "allowed is dt / tau_syn_E up to 10000" in sentence
    (sentence,) = refusals(backend, limits.Case("IF_cond_exp", 5.0, 0.1, 1e9))
    assert sentence.startswith("projection 'S->E': weights reach 2e+06 uS")
    assert "allowed is weight dt / cm up to 10000" in sentence


@pytest.mark.skipif("nest" not in SIMULATORS, reason="NEST is not installed")
def test_drawn_time_constants_are_looked_at_when_they_are_drawn() -> None:
    from dataclasses import replace  # noqa: PLC0415

    from pynn_portability.model.distribution import Distribution  # noqa: PLC0415

    network = limits.network(limits.Case("IF_curr_exp", 0.5, 1.0, 1.0))
    source, cells = network.populations
    drawn = Distribution("uniform", {"low": 0.0, "high": 1e-3})
    cells = replace(cells, parameters={**cells.parameters, "tau_syn_E": drawn})
    network = replace(network, populations=(source, cells))
    nest = backends.load("nest")
    held = number_format("double").on(Realization(network, 7, 1.0))
    with pytest.raises(RequestError, match=r"tau_syn_E is .* so short that NEST is wrong"):
        nest.simulation(held, nest.options())


@pytest.mark.skipif("brian2" not in SIMULATORS, reason="Brian2 is not installed")
@pytest.mark.parametrize("alpha", [False, True])
def test_a_step_with_conductances_is_that_of_the_equation(alpha: bool) -> None:
    """NumPy's version, over 200 random steps against a Runge-Kutta method at 1e-11."""
    from pynn_portability.backends.brian2.conductances import membrane_step  # noqa: PLC0415

    rng = np.random.default_rng(5)
    v = rng.uniform(-0.08, -0.04, 200)
    ke, ki = 10 ** rng.uniform(-2, 2, (2, 200))
    xe, xi = 10 ** rng.uniform(-4, 1, (2, 200))
    be, bi = (10 ** rng.uniform(-3, 2, (2, 200))) if alpha else np.zeros((2, 200))
    leak, ee, ei = 10 ** rng.uniform(-3, 0, 200), 0.0, -0.08
    drive = leak * -0.065
    found = membrane_step(v, xe, be, ke, ee, xi, bi, ki, ei, leak, drive)
    for n in range(200):

        def change(t: float, y: np.ndarray, n: int = n) -> list[float]:
            e = (xe[n] + be[n] * t) * np.exp(-ke[n] * t)
            i = (xi[n] + bi[n] * t) * np.exp(-ki[n] * t)
            return [drive[n] - leak[n] * y[0] + e * (ee - y[0]) + i * (ei - y[0])]

        exact = solve_ivp(change, (0, 1), [v[n]], "DOP853", rtol=1e-11, atol=1e-15).y[0, -1]
        # what each kind of synapse does alone; together they may cancel
        e, i = ((x / k + b / k**2) for x, b, k in ((xe[n], be[n], ke[n]), (xi[n], bi[n], ki[n])))
        potential = min(1, e) * abs(ee - v[n]) + min(1, i) * abs(ei - v[n])
        assert abs(found[n] - exact) < 1e-6 * potential + 1e-13
