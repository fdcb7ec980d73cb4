"""Scripts that cannot be captured, as they are on stock PyNN: a simulator draws and runs its own network.

The script gets a module that stands before the real one: it gives seeds to what draws, rounds weights to a number
format when a projection is made, and takes down the spikes. Nothing is shared between runs, so that they are
compared unpaired.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import runpy
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pyNN.common import procedural_api

from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.formats.number_format import NumberFormat
from pynn_portability.formats.schemes import BinnedWeights
from pynn_portability.formats.weights import ExactWeights
from pynn_portability.model import connectivity
from pynn_portability.model.groups import SPIKELESS
from pynn_portability.model.network import Network, Population, Projection
from pynn_portability.model.scripts import explained, last_line
from pynn_portability.model.values import unused_label
from pynn_portability.model.whole_script import (
    DISTRIBUTIONS,
    SIMULATORS,
    Protocol,
    seeded,
    started,
)
from pynn_portability.sources import source_files, syntax_digest
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

BACKENDS = ("nest", "brian2")
"""Backends whose simulator has a stock module of PyNN."""
MEMORY_BYTES, SECONDS = 2**30, 300.0
"""What a run is taken to need, as nothing is known of it beforehand."""
LARGEST_SEED = 2**31 - 1

NOTE = (
    "the script runs on stock PyNN, where every run draws a network of its own: runs are unpaired, and theory and "
    "realizations do not apply"
)
ROUNDED = "a number format rounds the weights that projections have when they are made, and none that change later"


def unsuitable(backend: str, number: NumberFormat) -> str | None:
    """Why a script cannot run on a stock simulator like this, None if it can."""
    if backend not in BACKENDS:
        return f"{backend} has no stock module of PyNN (allowed: {', '.join(BACKENDS)})"
    exact = isinstance(number.weights, ExactWeights)
    if (
        number.state != number_format("double").state
        or number.timestep
        or not (exact or isinstance(number.weights, BinnedWeights))
    ):
        return (
            f"stock simulators compute in double precision and their own time step, and cannot have {number.name!r} "
            "(allowed: double, naive-N, moments-N)"
        )
    if not exact and backend != "nest":
        return f"weights are rounded on stock NEST only, not on {backend}"
    return None


def identity(script: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """What determines the spikes of a run: digests of the script, of those beside it, and of this module."""
    beside = sorted(file for file in script.parent.glob("*.py") if file.is_file())
    digest = hashlib.sha256()
    for file in beside:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return {
        "script": script.name,
        "arguments": list(arguments),
        "sources": digest.hexdigest(),
        "code": syntax_digest(source_files(__name__)),
    }


def overview(
    script: Path, arguments: Sequence[str], simulator: str, seed: int, until: float | None
) -> tuple[Network, Protocol]:
    """Populations and times of a script, by building what it builds on a simulator without simulating it.

    Raises RequestError, with the line, if it cannot be built.
    """
    stand = _run(script, arguments, simulator, seed, until, None, dry=True)
    populations = tuple(
        Population(label, size, type(p.celltype).__name__, {}, {}, recorded=True)
        for label, p, size in stand.recorded()
    )
    notes = [NOTE, ROUNDED]
    if stand.chosen:
        notes.append("the script records no spikes, so all populations of neurons are compared")
    return Network(populations, (), (), tuple(notes)), Protocol(stand.timestep, stand.elapsed)


def simulate(request: Mapping[str, Any], base: Path, script: Path) -> tuple[SpikeData, int]:
    """The spikes of a run, and its number of synapses; RequestError, with the line, if it cannot run."""
    number = number_format(request["format"], base)
    until = request["n_steps"] * request["timestep"]
    stand = _run(
        script,
        request["stock"]["arguments"],
        request["backend"],
        request["seed"],
        until,
        None if isinstance(number.weights, ExactWeights) else number,
    )
    if stand.elapsed < until - 1e-6:
        raise RequestError(
            f"the script ends after {stand.elapsed:g} ms, and the study asks for {until:g} ms"
        )
    populations = {
        label: _spikes(p, size, request["timestep"], request["n_steps"])
        for label, p, size in stand.recorded()
    }
    spikes = SpikeData(request["timestep"], request["n_steps"], populations)
    return spikes, sum(len(p) for p in stand.projections)


def _spikes(population: Any, size: int, timestep: float, n_steps: int) -> PopulationSpikes:
    """What was recorded of a population, cells that were not recorded left out."""
    (segment, *_) = population.get_data("spikes").segments
    trains = sorted(segment.spiketrains, key=lambda train: int(train.annotations["source_index"]))
    steps = [np.rint(np.asarray(t.rescale("ms").magnitude) / timestep) for t in trains]
    neurons = [np.full(len(s), i) for i, s in enumerate(steps)]
    all_steps = np.concatenate([*steps, np.empty(0)]).astype(np.int64)
    all_neurons = np.concatenate([*neurons, np.empty(0)]).astype(np.int64)
    inside = (all_steps >= 1) & (all_steps <= n_steps)
    return PopulationSpikes.from_unsorted(size, all_steps[inside], all_neurons[inside])


_POPULATION = ("size", "cellclass", "cellparams", "structure", "initial_values", "label")
"""PyNN's arguments of a population, in order."""


class _Finished(BaseException):
    """Nothing that follows in the script belongs to the model."""


class _Stand:
    """What stands before a simulator: seeds, weights and spikes of a script."""

    def __init__(
        self,
        simulator: str,
        seed: int,
        until: float | None,
        number: NumberFormat | None,
        dry: bool,
    ) -> None:
        self.real = importlib.import_module(f"pyNN.{simulator}")
        self._simulator, self._seed, self._until, self._dry = simulator, seed, until, dry
        self.timestep, self.elapsed = 0.1, 0.0
        self.populations: list[Any] = []
        self.projections: list[Any] = []
        self.chosen = False
        stand = self

        class RecordedPopulation(self.real.Population):  # type: ignore[name-defined]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                kwargs = {k: v for k, v in kwargs.items() if k not in SPIKELESS}
                given = dict(zip(_POPULATION, args, strict=False)) | kwargs
                cells = given.get("cellclass")
                if isinstance(cells, type) and not given.get("cellparams"):
                    given["cellclass"] = cells()  # as sPyNNaker takes it, and PyNN does not
                super().__init__(**given)
                stand.populations.append(self)

        class RoundedProjection(self.real.Projection):  # type: ignore[name-defined]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                stand.projections.append(self)
                if number is not None:
                    _round(self, number)

        for made in (RecordedPopulation, RoundedProjection):
            made.__name__ = made.__bases__[0].__name__
        self.own: dict[str, Any] = {
            "Population": RecordedPopulation,
            "Projection": RoundedProjection,
            **{n: getattr(self, n) for n in ("setup", "run", "run_for", "run_until")},
            **{n: getattr(self, n) for n in ("reset", "end")},
            "create": procedural_api.build_create(RecordedPopulation),
            "connect": procedural_api.build_connect(
                RoundedProjection, self.real.FixedProbabilityConnector, self.real.StaticSynapse
            ),
            "get_current_time": lambda: self.elapsed,
        }

    def offered(self, name: str) -> Any:
        """What a script finds under a name."""
        if name in self.own:
            return self.own[name]
        if hasattr(self.real, name):
            return getattr(self.real, name)
        if name in SPIKELESS:
            return lambda *_, **__: None
        raise AttributeError(f"stock pyNN.{self._simulator} has no {name!r}")

    def setup(self, timestep: Any = 0.1, min_delay: Any = "auto", **extra: Any) -> Any:
        """The simulator's own, with the seed of this run, and spikes on the grid of time."""
        if self.elapsed:
            raise _Finished
        self.timestep = float(timestep)
        kept = {k: v for k, v in extra.items() if k == "max_delay"}
        if self._simulator == "nest":
            kept |= {"rng_seed": self._seed, "spike_precision": "on_grid", "verbosity": "error"}
        if self._simulator == "brian2":
            importlib.import_module("brian2").seed(self._seed)
        return self.real.setup(timestep, min_delay, **kept)

    def run(self, simtime: float, callbacks: Any = None) -> float:
        """The simulator's own, as far as the study goes."""
        return self.run_until(self.elapsed + simtime, callbacks)

    run_for = run

    def run_until(self, time_point: float, callbacks: Any = None) -> float:
        """As `run`, to a point in time (ms)."""
        if not self.elapsed:
            self._record()
        if self._until is not None:
            time_point = min(time_point, self._until)
        if time_point > self.elapsed:
            if not self._dry:
                self.real.run(time_point - self.elapsed, callbacks)
            self.elapsed = float(time_point)
        if self._until is not None and self.elapsed >= self._until - 1e-9:
            raise _Finished
        return self.elapsed

    def reset(self, *_: Any, **__: Any) -> None:
        """Another trial begins; the model is the first one."""
        if self.elapsed:
            raise _Finished

    end = reset

    def _record(self) -> None:
        """Without any recorded spikes, those of all neurons."""
        if any(_recorded(p) for p in self.populations):
            return
        self.chosen = True
        for population in self.populations:
            if getattr(population.celltype, "injectable", False):
                population.record("spikes")

    def recorded(self) -> Iterator[tuple[str, Any, int]]:
        """Labels, populations and numbers of recorded cells, of what is compared."""
        taken: list[str] = []
        for population in self.populations:
            label = unused_label(str(population.label), taken)
            taken.append(label)
            if size := _recorded(population):
                yield label, population, size


def _recorded(population: Any) -> int:
    """Number of cells whose spikes are recorded."""
    return sum(
        len(ids)
        for variable, ids in population.recorder.recorded.items()
        if variable.name == "spikes"
    )


def _round(projection: Any, number: NumberFormat) -> None:
    """Round the weights of a projection on NEST.

    Schemes go with the scale of weights, so that it does not matter that NEST's unit is pA.
    """
    connections = projection.nest_connections
    if not len(connections):
        return
    weights = np.atleast_1d(np.asarray(connections.weight, np.float64))
    item = Projection("rounded", "", "", "excitatory", connectivity.AllToAll(), weights, 0.1)
    held = number.weights.on(item, None, lambda values: values)  # type: ignore[arg-type]
    connections.weight = held(weights).tolist()


def _run(
    script: Path,
    arguments: Sequence[str],
    simulator: str,
    seed: int,
    until: float | None,
    number: NumberFormat | None,
    dry: bool = False,
) -> _Stand:
    """Execute a script before a simulator; ``dry``, without simulating."""
    os.environ["MPLBACKEND"] = "Agg"  # no windows
    sys.dont_write_bytecode = True
    if not script.is_file():
        raise RequestError(f"model script {script} does not exist")
    stand = _Stand(simulator, seed, until, number, dry)
    with started(script, arguments), _before(stand), seeded(seed), _generators(seed):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except KeyboardInterrupt:
            raise
        except _Finished:
            pass
        except BaseException as error:
            if not stand.elapsed or (until is not None and stand.elapsed < until - 1e-9):
                if isinstance(error, SystemExit):
                    line = last_line(error, script)
                    raise RequestError(
                        f"{script}, line {line}: the script ends ({error}) before it has run"
                    ) from error
                raise RequestError(explained(error, script)) from error
    if not stand.elapsed:
        raise RequestError(f"{script}: never calls run(...), so that there is nothing to simulate")
    return stand


class _Module(types.ModuleType):
    def __init__(self, name: str, stand: _Stand) -> None:
        super().__init__(name)
        self._stand = stand
        self.__path__: list[str] = []
        self.__all__ = sorted({*stand.own, *(n for n in vars(stand.real) if not n.startswith("_"))})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._stand.offered(name)


@contextmanager
def _before(stand: _Stand) -> Iterator[None]:
    """With the stand in place of every simulator; parts of the real one stay what they are."""
    import pyNN  # noqa: PLC0415

    names = [
        *(f"pyNN.{name}" for name in SIMULATORS),
        *DISTRIBUTIONS,
        *(f"{name}.pyNN" for name in DISTRIBUTIONS),
    ]
    before = {name: sys.modules.get(name) for name in names}
    attributes = {name: vars(pyNN).get(name) for name in SIMULATORS}
    for name in names:
        sys.modules[name] = _Module(name, stand)
    for name in SIMULATORS:
        setattr(pyNN, name, sys.modules[f"pyNN.{name}"])
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
        for name, module in attributes.items():
            if module is None:
                delattr(pyNN, name)
            else:
                setattr(pyNN, name, module)


@contextmanager
def _generators(seed: int) -> Iterator[None]:
    """With PyNN's generators that a script seeds seeded by the run as well, so that runs differ."""
    import pyNN.random  # noqa: PLC0415

    kind = pyNN.random.NumpyRNG
    own: Callable[..., None] = kind.__init__

    def seeded_by_run(self: Any, seed_of_script: Any = None, *args: Any, **kwargs: Any) -> None:
        given = kwargs.pop("seed", seed_of_script)
        text = json.dumps([seed, given], default=str).encode()
        number = int.from_bytes(hashlib.sha256(text).digest()[:4], "big") % LARGEST_SEED
        own(self, random.randrange(LARGEST_SEED) if given is None else number, *args, **kwargs)

    kind.__init__ = seeded_by_run
    try:
        yield
    finally:
        kind.__init__ = own
