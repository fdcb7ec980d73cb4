"""Ranges of time constants and weights in which simulators were measured to be right, and of delays.

``benchmarks/limits.py`` measures them; its table is in ``docs/backends.md``. Outside a simulator is wrong, or
nobody has looked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, PoissonDrive, Projection
from pynn_portability.realize.distributions import quantile
from pynn_portability.realize.realization import Realization
from pynn_portability.realize.streams import LARGEST_UNIFORM, SMALLEST_UNIFORM


def refuse_first(sentences: list[str]) -> None:
    """Raise RequestError with the first of the sentences, if there is one."""
    if sentences:
        raise RequestError(sentences[0])


def longest_delay(network: Network, timestep: float) -> int:
    """The longest delay that there can be, in steps of ``timestep`` ms; 0 without any."""
    longest = 0.0
    items: list[Projection | PoissonDrive] = [*network.projections, *network.drives]
    for item in items:
        delay = item.delay
        if isinstance(delay, Distribution):
            delay = quantile(delay, np.array([LARGEST_UNIFORM]))
        longest = max(longest, float(np.max(delay, initial=0.0)))
    return round(longest / timestep)


@dataclass(frozen=True)
class Range:
    """Where the cells of a simulator are right, dt being the time step.

    - ``currents``: largest dt (1 / tau_syn - 1 / tau_m) of cells with synaptic currents, if there is one.
    - ``conductances``: largest dt / tau_syn of cells with synaptic conductances, and largest weight times
      dt / C of their synapses.
    - ``slowest``: largest tau_m / dt of cells with alpha currents, if there is one.
    - ``fastest``: smallest tau_m / dt of cells with synaptic conductances.
    - ``smallest``: smallest weight (uS) of synaptic conductances with tau_syn below 2 dt, other than 0; a
      method with an absolute tolerance does not see less.
    """

    title: str
    currents: float | None
    conductances: float
    slowest: float | None = None
    fastest: float = 0.0
    smallest: float = 0.0

    def refusals(self, realization: Realization) -> list[str]:
        """What of a realization is outside, a sentence each."""
        found = [
            sentence
            for p in realization.network.populations
            for check in (self._cells, self._membranes)
            for sentence in check(p.label, realization)
        ]
        items: list[Projection | PoissonDrive] = [
            *realization.network.projections,
            *realization.network.drives,
        ]
        return found + [s for item in items for s in self._weights(item, realization)]

    def _cells(self, label: str, realization: Realization) -> Iterator[str]:
        cell = realization.network.population(label).cell
        if cell.source is not None:
            return
        timestep, parameters = realization.timestep, realization.parameters(label)
        for name in cell.synaptic_time_constants.values():
            ratio, most = timestep / parameters[name], self.conductances
            formula = f"dt / {name}"
            if not cell.conductance_based:
                if self.currents is None:
                    continue
                ratio, most = ratio - timestep / parameters["tau_m"], self.currents
                formula = f"dt (1 / {name} - 1 / tau_m)"
            worst = int(ratio.argmax())
            if ratio[worst] > most:
                yield (
                    f"population {label!r}: {name} is {parameters[name][worst]:g} ms, so short that "
                    f"{self.title} is wrong; allowed is {formula} up to {most:g}, and with steps of "
                    f"{timestep:g} ms it is {ratio[worst]:.3g}"
                )

    def _membranes(self, label: str, realization: Realization) -> Iterator[str]:
        cell = realization.network.population(label).cell
        if cell.source is not None:
            return
        tau_m = realization.parameters(label)["tau_m"]
        steps = tau_m / realization.timestep
        least, most = 0.0, float("inf")
        if cell.conductance_based:
            least = self.fastest
        elif cell.synaptic_kernel == "alpha" and self.slowest is not None:
            most = self.slowest
        wrong = np.flatnonzero((steps < least * (1 - 1e-9)) | (steps > most))
        if wrong.size:
            allowed = f"from {least:g} dt" if least else f"up to {most:g} dt"
            yield (
                f"population {label!r}: tau_m is {tau_m[wrong[0]]:g} ms, where {self.title} is wrong for "
                f"{cell.name}; allowed is {allowed}, with steps of {realization.timestep:g} ms"
            )

    def _weights(self, item: Projection | PoissonDrive, realization: Realization) -> Iterator[str]:
        if not realization.network.population(item.target).cell.conductance_based:
            return
        weight = item.weight
        if isinstance(weight, Distribution):
            weight = quantile(weight, np.array([SMALLEST_UNIFORM, LARGEST_UNIFORM]))
        kind = "Poisson drive" if isinstance(item, PoissonDrive) else "projection"
        cell = realization.network.population(item.target).cell
        time_constants = realization.parameters(item.target)[
            cell.synaptic_time_constants[item.receptor]
        ]
        strongest = float(np.abs(weight).max(initial=0.0))
        if 0 < strongest < self.smallest and time_constants.min() < 2 * realization.timestep:
            yield (
                f"{kind} {item.label!r}: weights reach {strongest:g} uS at most, which {self.title} "
                f"computes wrongly with time constants below two steps of {realization.timestep:g} ms; "
                f"allowed are weights from {self.smallest:g} uS, or smaller time steps"
            )
        capacitance = realization.parameters(item.target)["cm"].min()
        ratio = strongest * realization.timestep / capacitance
        if ratio > self.conductances:
            yield (
                f"{kind} {item.label!r}: weights reach {strongest:g} uS, where {self.title} was not "
                f"measured; allowed is weight dt / cm up to {self.conductances:g}, and with steps of "
                f"{realization.timestep:g} ms it is {ratio:.3g}"
            )
