"""The rules of `pynn_portability.probe.compliance` on our backends, and rules of their own.

A SpiNNaker board, which computes in no other arithmetic than its own and acts one step earlier, has others
(test_spinnaker.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import FixedNumberPre, FixedTotalNumber
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, Population, Projection
from pynn_portability.probe.compliance import (
    CELL_TYPES,
    CURRENT_BASED,
    STRONG,
    BackendCompliance,
    OptionsCompliance,
    Simulator,
    assert_as_reference,
    assert_connections,
    cells,
    drive,
    pairs,
    recurrent,
    sources,
    steps_to_threshold,
)

RECEPTORS: tuple[Receptor, Receptor] = ("excitatory", "inhibitory")

PACKAGED = ("nest", "brian2")
"""Backends that need a package of their name; they represent all cell types, in floating point."""


def _simulator(variant: tuple[str, dict[str, Any]]) -> Simulator:
    name, options = variant
    reason = backends.load(name).available()
    if reason is not None:
        pytest.skip(reason)
    return Simulator(name, **options)


class TestNest(BackendCompliance):
    backend = "nest"


class TestBrian2(BackendCompliance):
    backend = "brian2"
    # interpreted code starts sooner; what is compiled instead is tested where that makes a difference
    options: ClassVar = {"codegen": "numpy"}


class TestEmulator(BackendCompliance):
    backend = "emulator"


class TestBrian2Compiled(OptionsCompliance):
    backend = "brian2"
    options: ClassVar = {"codegen": "cython"}


class TestEmulatorWithThreads(OptionsCompliance):
    backend = "emulator"
    # some have no neuron of a small population
    options: ClassVar = {"threads": 3}


def test_compiled_code_spikes_in_the_same_steps() -> None:
    """As above, for Brian2's default way to run."""
    simulator = _simulator(("brian2", {"codegen": "cython"}))
    assert_as_reference(simulator, recurrent("IF_curr_exp", seed=6), 1200)


# --- What a backend says it can represent ---


@pytest.mark.parametrize("name", PACKAGED)
def test_nest_and_brian2_have_all_cell_types(name: str) -> None:
    """No test above is skipped for them because of a cell type."""
    backend = _simulator((name, {})).backend
    network = Network(tuple(cells(c, 2, c) for c in CELL_TYPES), ())
    assert backends.refusals(backend, network, number_format("moments-2"), 0.1) == []


@pytest.mark.parametrize("name", PACKAGED)
@pytest.mark.parametrize("text", ["s16.15", "naive-2/s8.7-floor-wrap"])
def test_nest_and_brian2_refuse_fixed_point(name: str, text: str) -> None:
    backend = _simulator((name, {})).backend
    (problem,) = backends.refusals(backend, Network((cells("a", 2),), ()), number_format(text), 0.1)
    assert repr(text) in problem


# --- Brian2 ---


@pytest.fixture
def brian2() -> Iterator[backends.Backend]:
    yield _simulator(("brian2", {"codegen": "numpy"})).backend


def test_brian2_names_what_it_cannot_represent(brian2: backends.Backend) -> None:
    fine = Network((cells("a", 2), cells("b", 2, "IF_cond_alpha")), ())
    assert backends.refusals(brian2, fine, number_format("moments-4"), 0.1) == []
    foreign = Network((Population("h", 2, "HH_cond_exp", {}),), ())
    (problem,) = backends.refusals(brian2, foreign, number_format("double"), 0.1)
    assert "'h'" in problem and "HH_cond_exp" in problem and "IF_curr_exp" in problem


def test_brian2_refuses_a_poisson_source_beyond_its_range(brian2: backends.Backend) -> None:
    """Beyond one spike in ten steps its source would lose too many spikes, silently."""
    allowed, refused = (
        Network(
            (
                Population(
                    "fast",
                    2,
                    "SpikeSourcePoisson",
                    {"rate": rate, "start": 0.0, "duration": 1e10},
                ),
            ),
            (),
        )
        for rate in (1000.0, 1010.0)
    )
    assert backends.refusals(brian2, allowed, number_format("double"), 0.1) == []
    assert backends.refusals(brian2, refused, number_format("double"), 0.05) == []
    (problem,) = backends.refusals(brian2, refused, number_format("double"), 0.1)
    assert "'fast'" in problem and "1010 Hz" in problem and "at most 1000 Hz" in problem
    with pytest.raises(RequestError, match="1010 Hz"):
        Simulator("brian2").build(refused)


def test_brian2_refuses_two_spikes_of_a_source_in_one_step(brian2: backends.Backend) -> None:
    network = Network((sources("input", [[1.0], [0.5, 2.0, 2.04]]),), ())
    assert backends.refusals(brian2, network, number_format("double"), 0.02) == []
    (problem,) = backends.refusals(brian2, network, number_format("double"), 0.1)
    assert "'input': cell 1 " in problem and " 2 ms" in problem and "0.1 ms" in problem


# --- The emulator ---


WEIGHTS = ("float64", "float32", "int16")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    "text",
    [
        "double",
        "moments-1",
        "moments-2",
        "naive-4",
        "moments-16/float32",
        "naive-100",
        "naive-2/s16.15",
    ],
)
def test_emulator_connections_for_every_code_and_thread(text: str, threads: int) -> None:
    """Codes of 0 to 8 bits, and blocks of neurons that differ by thread."""
    assert_connections(Simulator("emulator", threads=threads), text)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("text", ["double", "float32", "moments-2", "naive-300"])
def test_emulator_connections_for_every_number(text: str, weights: str, threads: int) -> None:
    """Weights held as numbers are rounded to them."""
    # int16 numbers count in units of the largest weight that can be drawn (1.5 nA here) / 32767
    error = {"float64": 0.0, "float32": 1.2e-7 * 1.5, "int16": 0.5 * 1.5 / 32767}
    simulator = Simulator("emulator", weights=weights, threads=threads)
    assert_connections(simulator, text, error[weights])


def _balanced_network() -> Network:
    """Recurrent networks whose neurons add up weights that have no exact sum."""
    normal = Distribution("normal", {"mu": 0.1, "sigma": 0.02})
    inhibitory = Distribution("normal", {"mu": -0.4, "sigma": 0.04})
    delay = Distribution("uniform", {"low": 0.1, "high": 3.0})
    return Network(
        (
            sources("input", [np.arange(1, 50) * 0.7] * 5),
            cells("E", 81, v=Distribution("uniform", {"low": -70.0, "high": -50.0})),
            cells("I", 20, tau_refrac=np.linspace(0.5, 3.0, 20)),
            # fewer neurons than threads
            cells("one", 1, i_offset=0.5),
        ),
        (
            Projection("input->E", "input", "E", "excitatory", FixedNumberPre(2), normal, delay),
            Projection("E->E", "E", "E", "excitatory", FixedTotalNumber(2000), normal, delay),
            Projection("E->I", "E", "I", "excitatory", FixedNumberPre(20), normal, delay),
            Projection("I->E", "I", "E", "inhibitory", FixedNumberPre(8), inhibitory, delay),
            Projection("I->I", "I", "I", "inhibitory", FixedNumberPre(5), inhibitory, delay),
            Projection("E->one", "E", "one", "excitatory", FixedNumberPre(80), normal, delay),
            Projection("one->E", "one", "E", "excitatory", FixedNumberPre(1), normal, 0.1),
        ),
        (drive("to E", "E", 8_000.0, 0.12, 1.5), drive("to I", "I", 8_000.0, 0.12, 1.5)),
    )


@pytest.mark.parametrize("text", ["double", "float32", "moments-2", "s8.12"])
def test_emulator_spikes_do_not_depend_on_threads(text: str) -> None:
    """Not one spike moves, whichever thread sums the input."""
    network = _balanced_network()
    alone, *shared = (
        Simulator("emulator", threads=n).run(network, 1000, text=text).populations
        for n in (1, 2, 3)
    )
    assert min(len(spikes.steps) for spikes in alone.values()) >= 5
    for spikes in shared:
        for label in alone:
            assert pairs(spikes[label]) == pairs(alone[label])


def test_emulator_spikes_do_not_depend_on_how_the_same_weights_are_held() -> None:
    """A code stands for exactly the number that would be there; integers add up in any order."""
    network = _balanced_network()
    codes, numbers = (
        Simulator("emulator", weights=w).run(network, 1000, text="moments-4/s8.12").populations
        for w in ("auto", "int16")
    )
    for label in codes:
        assert pairs(codes[label]) == pairs(numbers[label])


def test_emulator_names_what_it_cannot_represent() -> None:
    backend = backends.load("emulator")
    assert backend.available() is None
    fine = Network((cells("a", 2), sources("b", [[1.0]])), ())
    for text in ("double", "float32", "moments-4", "naive-2/s8.7-floor-wrap"):
        assert backends.refusals(backend, fine, number_format(text), 0.1) == []
    foreign = Network((cells("a", 2), cells("c", 2, "IF_cond_exp")), ())
    (problem,) = backends.refusals(backend, foreign, number_format("double"), 0.1)
    assert "'c'" in problem and "IF_cond_exp" in problem and "IF_curr_exp" in problem
    with pytest.raises(RequestError, match="IF_cond_exp"):
        Simulator("emulator").build(foreign)


# --- Importing and missing packages ---


_IMPORT = """
import sys
{before}
from pynn_portability import backends
backend = backends.load({name!r})
assert not any(m in sys.modules for m in ("brian2", "nest")), "imported before it is used"
reason = backend.available()
print("reason:", reason)
"""


@pytest.mark.parametrize("name", backends.names())
def test_importing_a_backend_prints_nothing(name: str) -> None:
    run = _import(name, before="")
    assert run.stdout.startswith("reason: ")
    assert (run.stdout.count("\n"), run.stderr) == (1, "")


@pytest.mark.parametrize("name", PACKAGED)
def test_a_missing_simulator_is_named(name: str) -> None:
    """The reason is one sentence with the command that helps."""
    before = f"""
import importlib.util as u
find = u.find_spec
u.find_spec = lambda n, *a: None if n == {name!r} else find(n, *a)
"""
    reason = _import(name, before).stdout
    assert "is not installed" in reason
    assert f"pip install 'pynn-portability[{name}]'" in reason


def test_numpy_that_is_too_new_for_brian2_is_named(brian2: backends.Backend) -> None:
    """NumPy 2.4 removed what Brian2 up to 2.9 needs; here Brian2 fails in the same words."""
    before = """
import builtins
real = builtins.__import__
def fake(name, *arguments, **keywords):
    if name == "brian2":
        raise AttributeError("type object 'numpy.ndarray' has no attribute 'ptp'")
    return real(name, *arguments, **keywords)
builtins.__import__ = fake
"""
    reason = _import("brian2", before).stdout
    assert "pip install 'numpy<2.4'" in reason
    assert "cannot be imported" in reason


def test_brian2_without_a_compiler(brian2: backends.Backend, tmp_path: Path) -> None:
    """The sentence names the option that does without."""
    code = """
from pynn_portability.probe.compliance import Simulator, cells
from pynn_portability.model.network import Network
Simulator("brian2").build(Network((cells("a", 2),), ()))
"""
    no_compiler = {name: "/nowhere/compiler" for name in ("CC", "CXX")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
        env=os.environ | no_compiler | {"CYTHON_CACHE_DIR": str(tmp_path)},
    )
    assert "RequestError: Brian2 found no working C++ compiler" in run.stderr
    assert 'codegen = "numpy"' in run.stderr


def _import(name: str, before: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _IMPORT.format(name=name, before=before)],
        cwd=Path(__file__).parent,  # the repository's folder would shadow the installed package
        capture_output=True,
        text=True,
        check=True,
    )


def test_constants_of_the_tests() -> None:
    """STRONG fires within a step of 0.05 ms, and 0.5 nA is above rheobase."""
    assert STRONG * 0.05 / CURRENT_BASED["cm"] > 15
    assert steps_to_threshold(0.5) == 139
