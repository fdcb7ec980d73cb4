"""Random input ends in a network that runs or in one sentence: no traceback, no hang, no crash.

A fixed selection runs with the other tests. ``FUZZ=10000 pytest tests/fuzz`` tries so many of each kind, other
ones each time.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networks
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings

import studies
from pynn_portability import backends
from pynn_portability.errors import RequestError, printable
from pynn_portability.formats.names import number_format
from pynn_portability.model.scripts import capture
from pynn_portability.realize.realization import Realization
from pynn_portability.realize.validity import adjustments, violations
from pynn_portability.run.plan import refuse_invalid
from pynn_portability.run.study import load_study

NUMBER = int(os.environ.get("FUZZ", "0"))
HANGS = 120.0
"""Seconds after which one input is taken to hang."""

TIMESTEP, STEPS, SEEDS = 0.1, 50, (1, 2)
SMALL = 2**30
"""Memory (bytes) up to which a network is really run."""


def fuzzed(share: int) -> Any:
    """So many examples, the same ones each time unless many are asked for."""
    return settings(
        max_examples=NUMBER or share,
        derandomize=not NUMBER,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def not_hanging() -> Iterator[None]:
    faulthandler.dump_traceback_later(HANGS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def assert_sentence(sentence: str) -> None:
    assert sentence.strip()
    assert printable(" ".join(sentence.split())).isprintable()
    assert not re.search(r"Traceback|object at 0x|no message", sentence)


@fuzzed(200)
@given(studies.texts())
def test_study_files(text: str) -> None:
    """A file is a study, or the sentence names the file, and the key or the line."""
    file = Path(os.environ["PYTEST_FUZZ_FOLDER"]) / "study.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with not_hanging():
        try:
            study = load_study(file)
        except RequestError as error:
            sentence = str(error)
            assert_sentence(sentence)
            rest = sentence.removeprefix(f"{file}: ")
            assert rest != sentence
            assert re.match(
                r"[\w.\"' -]+( \([\w ,]+(\.\.\.|\)))?: |is not valid TOML|is not a text file", rest
            ), rest
        else:
            assert len(study.runs()) >= 1


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_FUZZ_FOLDER", str(tmp_path))


@fuzzed(100)
@given(studies.names)
def test_names_of_formats(text: str) -> None:
    with not_hanging():
        try:
            number = number_format(text, Path("/nowhere"))
        except RequestError as error:
            assert_sentence(str(error))
        else:
            assert number.name == text
            assert np.isfinite(number.state.represent(np.array([0.1, -3.0]))).all()


@fuzzed(200)
@given(networks.descriptions)
def test_networks(description: dict[str, Any]) -> None:
    """A network is refused, by a sentence that names what is wrong, or runs on the emulator."""
    with not_hanging():
        try:
            network = capture(networks.build, {"description": description}, TIMESTEP)
        except RequestError as error:
            assert_sentence(str(error))
            return
        if too_large(network):
            return
        found = violations(network, SEEDS, TIMESTEP)
        for sentence in (*found, *adjustments(network, TIMESTEP, STEPS)):
            assert_sentence(sentence)
        for sentence in found:
            assert re.search(r"population|projection|Poisson drive", sentence)
        if not found:
            runs_or_is_refused(network)


def too_large(network: Any) -> bool:
    cells = sum(p.size for p in network.populations)
    synapses = sum(p.connector.expected_count(network.ends(p)) for p in network.projections)
    return bool(100 * cells + 2 * synapses > min(SMALL, psutil.virtual_memory().total))


def runs_or_is_refused(network: Any) -> None:
    emulator = backends.load("emulator")
    options = emulator.options()
    for text in ("double", "moments-2", "s16.15"):
        number = number_format(text)
        refused = backends.refusals(emulator, network, number, TIMESTEP)
        for sentence in refused:
            assert_sentence(sentence)
        if refused:
            continue
        estimate = emulator.estimate(network, number, options, STEPS, TIMESTEP)
        if estimate.memory_bytes > SMALL:
            continue
        for seed in SEEDS:
            held = number.on(Realization(network, seed, TIMESTEP))
            try:
                spikes = backends.build(emulator, held, options).run(STEPS, lambda fraction: None)
            except RequestError as error:
                assert_sentence(str(error))
                continue
            for label, population in spikes.populations.items():
                assert population.size == network.population(label).size
                assert ((population.steps >= 1) & (population.steps <= STEPS)).all()


def test_networks_too_large_for_the_machine_are_refused() -> None:
    """What the random networks leave out."""

    def build(sim: Any) -> None:
        cells = sim.Population(2**31 - 1, sim.IF_curr_exp(), label="E")
        cells.record("spikes")
        sim.Projection(cells, cells, sim.AllToAllConnector(), sim.StaticSynapse(weight=0.1))

    file = Path(os.environ["PYTEST_FUZZ_FOLDER"]) / "study.toml"
    file.write_text("\n".join(studies.LINES))
    with not_hanging(), pytest.raises(RequestError, match="this machine has"):
        refuse_invalid(load_study(file), capture(build, {}, TIMESTEP), TIMESTEP)
