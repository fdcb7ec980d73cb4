"""What Loihi's neurons compute, value by value: `pynn_portability.formats.loihi` has the equations and constants.

Input that arrives at the end of a step enters the current u in the next one, and with it the voltage: as in NEST,
a spike changes the voltage one step after it arrives. Both receptors feed the one current. While a neuron is
refractory, its voltage stays at 0 and its current goes on. Poisson input is drawn like that of all other
arithmetics of this emulator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pynn_portability.formats.loihi import (
    CONSTANTS,
    WEIGHT,
    WORD,
    constants,
    of_one_current,
    per_millivolt,
)
from pynn_portability.model.cells import Receptor

FloatArray = NDArray[np.float64]


class Rules(NamedTuple):
    """Tells compiled code what to compute: with words of ``word`` on either side of 0."""

    word: int


@dataclass(frozen=True)
class Compartments:
    """How compartments hold states and weights; ``units`` (nA) of weights and ``receptors`` that take input by
    label of the population.

    Has what `pynn_portability.backends.emulator.arithmetic.Arithmetic` has.
    """

    units: Mapping[str, float]
    receptors: Mapping[str, Collection[Receptor]]
    timestep: float

    state: ClassVar[np.dtype[Any]] = np.dtype(np.int32)
    accumulator: ClassVar[np.dtype[Any]] = np.dtype(np.int64)
    rows: ClassVar[int] = len(CONSTANTS)
    lead: ClassVar[int] = 0
    substeps: ClassVar[int] = 1
    rules: ClassVar[Rules] = Rules(WORD)

    def weights(
        self, nanoampere: FloatArray, population: str, receptor: Receptor
    ) -> NDArray[np.int64]:
        """What weights (nA) onto a population add to the current, shape kept."""
        unit = self.units[population]
        if unit == 0:
            return np.zeros(np.shape(nanoampere), np.int64)
        return np.rint(nanoampere / unit).astype(np.int64) * WEIGHT

    def nanoampere(self, weights: NDArray[Any], population: str, receptor: Receptor) -> FloatArray:
        """The inverse of `weights`."""
        return weights / WEIGHT * self.units[population]

    def initial_values(
        self, values: Mapping[str, FloatArray], parameters: dict[str, FloatArray], population: str
    ) -> dict[str, NDArray[np.int64]]:
        """Voltage (mV) and currents (nA) of a population as the chip holds them, shape ``(n,)`` each."""
        parameters = of_one_current(parameters, self.receptors[population])
        scale = per_millivolt(parameters, self.timestep, self.units[population])
        unit = self.units[population] or np.inf
        found = {}
        for name, given in values.items():
            held = (given - parameters["v_rest"]) * scale if name == "v" else given / unit * WEIGHT
            found[name] = np.clip(np.rint(held), 1 - WORD, WORD - 1).astype(np.int64)
        return found

    def columns(
        self, parameters: dict[str, FloatArray], timestep: float, population: str
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """`constants` of a population and refractory steps; one column where all are equal."""
        parameters = of_one_current(parameters, self.receptors[population])
        rows = constants(parameters, timestep, self.units[population], population)
        steps = np.rint(parameters["tau_refrac"] / timestep).astype(np.int32)
        if rows.size and (rows == rows[:, :1]).all() and (steps == steps[0]).all():
            return rows[:, :1], steps[:1]
        return rows, steps
