"""Simulators behind one small protocol: one module each; nothing else knows which one runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pynn_portability.formats.number_format import NumberFormat
from pynn_portability.model.network import Network
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.spikes.data import SpikeData

NAMES = ("nest", "brian2", "emulator", "spinnaker")

Observations = Mapping[str, Mapping[str, Mapping[str, int]]]
"""What was noticed in a run beside spikes: counts by kind of event, population and receptor."""


@dataclass(frozen=True)
class Option:
    """A key of ``[backends.<name>]`` in a study file: its type, default and meaning."""

    type: type
    default: Any
    meaning: str
    allowed: tuple[Any, ...] = ()
    minimum: float | None = None


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


class Backend(Protocol):
    """What a backend module offers."""

    OPTIONS: Mapping[str, Option]

    def available(self) -> str | None:
        """None when it can run here, otherwise one sentence saying why not and what to do."""

    def skipped(self, options: Mapping[str, Any]) -> str | None:
        """One sentence on why runs do not take place here though nothing is wrong, or None."""

    def versions(self) -> dict[str, str]:
        """Versions of the packages whose code decides the result."""

    def check(self, network: Network, number_format: NumberFormat, timestep: float) -> list[str]:
        """What of this network, format or time step (ms) it cannot represent, a sentence each."""

    def building(self) -> str:
        """What building a simulation does here, as a phase of a run."""

    def threads(self, network: Network, options: Mapping[str, Any]) -> int:
        """Number of threads a run will use."""

    def estimate(
        self,
        network: Network,
        number_format: NumberFormat,
        options: Mapping[str, Any],
        n_steps: int,
        timestep: float,
    ) -> Estimate:
        """Memory and time of one run."""

    def simulation(
        self, realization: Realization, number_format: NumberFormat, options: Mapping[str, Any]
    ) -> Simulation:
        """Build the realized network in the simulator."""


def load(name: str) -> Backend:
    """The backend module called ``name``; its simulator is imported only when it is used."""
    return cast(Backend, importlib.import_module(f"pynn_portability.backends.{name}"))
