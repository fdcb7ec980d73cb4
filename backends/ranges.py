"""Ranges of time constants and weights in which simulators were measured to be right, and of delays.

``benchmarks/limits.py`` measures them; its table is in ``docs/backends.md``. Outside a simulator is wrong, or
nobody has looked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.model.network import Distribution, Network, PoissonDrive, Projection
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
    """

    title: str
    currents: float | None
    conductances: float

    def refusals(self, realization: Realization) -> list[str]:
        """What of a realization is outside, a sentence each."""
        found = [
            s for p in realization.network.populations for s in self._cells(p.label, realization)
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

    def _weights(self, item: Projection | PoissonDrive, realization: Realization) -> Iterator[str]:
        if not realization.network.population(item.target).cell.conductance_based:
            return
        weight = item.weight
        if isinstance(weight, Distribution):
            weight = quantile(weight, np.array([SMALLEST_UNIFORM, LARGEST_UNIFORM]))
        capacitance = realization.parameters(item.target)["cm"].min()
        largest = float(np.abs(weight).max(initial=0.0))
        ratio = largest * realization.timestep / capacitance
        if ratio > self.conductances:
            kind = "Poisson drive" if isinstance(item, PoissonDrive) else "projection"
            yield (
                f"{kind} {item.label!r}: weights reach {largest:g} uS, where {self.title} was not "
                f"measured; allowed is weight dt / cm up to {self.conductances:g}, and with steps of "
                f"{realization.timestep:g} ms it is {ratio:.3g}"
            )
