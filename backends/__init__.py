"""Simulators behind one small protocol; nothing else knows which one runs.

A backend is an object that satisfies `Backend`, found through an entry point of the group `GROUP`: ours
are in this package, and anybody can install more. ``docs/adding-a-backend.md`` says how.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import Kind
from pynn_portability.formats.number_format import HeldRealization, NumberFormat
from pynn_portability.model.network import Network
from pynn_portability.realize.realization import Synapses
from pynn_portability.spikes.data import SpikeData
from pynn_portability.tables import choices, shown

GROUP = "pynn_portability.backends"

Observations = Mapping[str, Mapping[str, Mapping[str, int]]]
"""What was noticed in a run beside spikes: counts by kind of event, population and receptor."""


class Options(BaseModel):
    """Keys of ``[backends.<name>]`` in a study file.

    Every field has a default and a description. Types are plain (int, float, str, bool) or a ``Literal``
    of what is allowed.
    """

    # strict: TOML has types, so a quoted number is a mistake and not a number
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True)
class Capabilities:
    """What a backend can run; whatever is not declared here is refused before anything runs.

    ``title`` names it in sentences. ``cells`` are names of `pynn_portability.model.cells.CELL_TYPES`,
    ``states`` kinds of arithmetic in which it can integrate neurons, ``dynamics`` those of synapses.
    ``advice`` says which formats are allowed, where that does not go without saying.
    """

    title: str
    cells: tuple[str, ...]
    states: tuple[Kind, ...]
    dynamics: tuple[str, ...] = ("static",)
    advice: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need, from coefficients measured on one machine: within 2x."""

    memory_bytes: float
    build_seconds: float
    simulate_seconds: float


class Simulation(Protocol):
    """A network built inside a simulator, ready to run once."""

    @property
    def synapse_bytes(self) -> int | None:
        """Memory allocated for synapses; None if the simulator does not tell."""

    @property
    def observations(self) -> Observations:
        """What was noticed, once it has run."""

    def connections(self, projection: str) -> Synapses:
        """Synapses as the simulator reports them, sorted as by ``Synapses.sorted``."""

    def run(self, n_steps: int, progress: Callable[[float], None]) -> SpikeData:
        """Simulate ``n_steps`` steps; ``progress`` is told the fraction done now and then."""


GivenOptions = TypeVar("GivenOptions", bound=Options)


class Backend(Protocol[GivenOptions]):
    """What a backend offers. Its simulator is imported only when it is used.

    Those who subclass it inherit answers that fit most simulators; nobody has to.
    """

    @property
    def options(self) -> type[GivenOptions]:
        """The class of its options."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can run."""

    def available(self) -> str | None:
        """None when it can run here, otherwise one sentence saying why not and what to do."""

    def versions(self) -> dict[str, str]:
        """Versions of the packages whose code decides the result."""

    def estimate(
        self,
        network: Network,
        number_format: NumberFormat,
        options: GivenOptions,
        n_steps: int,
        timestep: float,
    ) -> Estimate:
        """Memory and time of one run of ``n_steps`` steps of ``timestep`` ms."""

    def simulation(self, held: HeldRealization, options: GivenOptions) -> Simulation:
        """Build a realized network, as a number format holds it, in the simulator.

        It is called through `build`, for nothing that the backend does not declare or refuses. Raises
        RequestError for what cannot be known before.
        """

    def check(self, network: Network, number_format: NumberFormat, timestep: float) -> list[str]:
        """What of a network, format or time step (ms) it refuses, a sentence each.

        It is asked only for what it declares that it can run.
        """
        return []

    def skipped(self, options: GivenOptions) -> str | None:
        """One sentence on why runs do not take place here though nothing is wrong, or None."""
        return None

    def building(self) -> str:
        """What building a simulation does here, as a phase of a run."""
        return "building"

    def threads(self, network: Network, options: GivenOptions) -> int:
        """Number of threads a run will use."""
        return 1


@cache
def _entry_points() -> Mapping[str, importlib.metadata.EntryPoint]:
    found = importlib.metadata.entry_points(group=GROUP)
    return {entry.name: entry for entry in sorted(found, key=lambda entry: entry.name)}


def names() -> tuple[str, ...]:
    """Names of all installed backends, in alphabetical order."""
    return tuple(_entry_points())


def load(name: str) -> Backend[Any]:
    """The backend called ``name``.

    Raises RequestError, in one sentence, if there is none, or if what was installed under that name
    cannot be imported.
    """
    if name not in names():
        raise RequestError(f"unknown backend {name!r}{choices(name, names())}")
    entry = _entry_points()[name]
    try:
        return cast("Backend[Any]", entry.load())
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RequestError(
            f"backend {name!r} cannot be loaded from {entry.value}: {type(error).__name__}: {reason}"
        ) from error


def checked_options(name: str, given: Mapping[str, Any], where: str) -> Options:
    """Options of a backend (by name) as ``given`` and by default.

    Raises RequestError, beginning with ``where`` and the name of the option, for what is not allowed.
    """
    kind: type[Options] = load(name).options
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        finding = error.errors()[0]
    option, value = str(finding["loc"][0]), finding["input"]
    if option not in kind.model_fields:
        raise RequestError(f"{where}{option}: unknown option{choices(option, kind.model_fields)}")
    annotation = kind.model_fields[option].annotation
    allowed = finding["msg"]
    if finding["type"] == "literal_error":
        allowed = f"must be one of {', '.join(map(repr, get_args(annotation)))}"
    elif finding["type"] == "greater_than_equal":
        allowed = f"must be at least {finding['ctx']['ge']:g}"
    elif annotation in _TYPE_NAMES:
        allowed = f"must be {_TYPE_NAMES[annotation]}"
    raise RequestError(f"{where}{option}: {allowed}, not {shown(value)}")


_TYPE_NAMES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
}


def module(name: str) -> str:
    """The module or package that a backend is imported from."""
    return _entry_points()[name].module


def refusals(
    backend: Backend[Any], network: Network, number_format: NumberFormat, timestep: float
) -> list[str]:
    """Why a backend does not run a network in a number format on a grid of ``timestep`` ms.

    A sentence each: what it does not declare, otherwise what it refuses itself.
    """
    return _undeclared(backend.capabilities, network, number_format) or backend.check(
        network, number_format, timestep
    )


def build(backend: Backend[Any], held: HeldRealization, options: Options) -> Simulation:
    """Build a realized network in a simulator; RequestError for what it does not run."""
    refused = refusals(backend, held.network, held.format, held.timestep)
    if refused:
        raise RequestError(refused[0])
    return backend.simulation(held, options)


STATES: Mapping[Kind, str] = {
    "float64": "double precision",
    "float32": "single precision",
    "fixed-point": "fixed point",
    "spinnaker": "the arithmetic of SpiNNaker's cores",
    "loihi": "the arithmetic of Loihi's neurons",
}
"""State arithmetics in words."""


def _undeclared(
    capabilities: Capabilities, network: Network, number_format: NumberFormat
) -> list[str]:
    title = capabilities.title
    found = []
    if number_format.state.kind not in capabilities.states:
        known = " or ".join(STATES[kind] for kind in capabilities.states)
        found.append(
            f"{title} computes in {known} and cannot run the state arithmetic of format "
            f"{number_format.name!r}, which is {STATES[number_format.state.kind]}"
            + (f"; {capabilities.advice}" if capabilities.advice else "")
        )
    found += [
        f"population {p.label!r}: {title} has no {p.cell_type}; supported are "
        f"{', '.join(capabilities.cells)}"
        for p in network.populations
        if p.cell_type not in capabilities.cells
    ]
    found += [
        f"projection {p.label!r}: {title} has no {p.dynamics} synapses; supported are "
        f"{', '.join(capabilities.dynamics)}"
        for p in network.projections
        if p.dynamics not in capabilities.dynamics
    ]
    return found
