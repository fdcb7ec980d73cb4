"""Cell types: one record each, which says all that the harness asks of a type.

A new type is a new record here, and what each simulator needs to run it, which its backend declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pynn_portability.errors import RequestError

Receptor = Literal["excitatory", "inhibitory"]
RECEPTORS: tuple[Receptor, Receptor] = ("excitatory", "inhibitory")


@dataclass(frozen=True)
class CellType:
    """A PyNN standard cell type.

    - ``name``: that of the PyNN class.
    - ``state``: units of the state variables that can be given initial values.
    - ``synaptic_time_constants``: name of the parameter by receptor; none for what takes no input.
    - ``synaptic_kernel``: time course of what one spike causes.
    - ``conductance_based``: weights are conductances (uS) instead of currents (nA).
    - ``source``: where spikes come from that no input causes: ``"given"`` beforehand as spike times, or
      ``"poisson"``, drawn at a rate. None for neurons.
    - ``on_grid``: parameters (ms) that become whole time steps.
    - ``positive``, ``not_negative``: parameters that are physical only above zero, or from zero on.
    - ``ascending``: pairs of parameters of which the first must be below the second.
    """

    name: str
    state: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    synaptic_time_constants: Mapping[Receptor, str] = field(
        default_factory=lambda: MappingProxyType({})
    )
    synaptic_kernel: Literal["none", "exponential", "alpha"] = "none"
    conductance_based: bool = False
    source: Literal["given", "poisson"] | None = None
    on_grid: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    not_negative: tuple[str, ...] = ()
    ascending: tuple[tuple[str, str], ...] = ()

    @property
    def weight_unit(self) -> str:
        """Unit of weights onto such cells, as in PyNN."""
        return "uS" if self.conductance_based else "nA"

    def sign(self, receptor: Receptor) -> float:
        """Sign that PyNN gives to weights: -1 for inhibitory currents, otherwise 1."""
        return -1.0 if receptor == "inhibitory" and not self.conductance_based else 1.0


def _integrate_and_fire(
    name: str, kernel: Literal["exponential", "alpha"], conductance_based: bool
) -> CellType:
    return CellType(
        name,
        state=MappingProxyType({"v": "mV"}),
        synaptic_time_constants=MappingProxyType(
            {"excitatory": "tau_syn_E", "inhibitory": "tau_syn_I"}
        ),
        synaptic_kernel=kernel,
        conductance_based=conductance_based,
        on_grid=("tau_refrac",),
        positive=("cm", "tau_m", "tau_syn_E", "tau_syn_I"),
        not_negative=("tau_refrac",),
        # a cell that is reset to its threshold would spike for ever
        ascending=(("v_reset", "v_thresh"),),
    )


CELL_TYPES: Mapping[str, CellType] = MappingProxyType(
    {
        cell.name: cell
        for cell in (
            _integrate_and_fire("IF_curr_exp", "exponential", conductance_based=False),
            _integrate_and_fire("IF_curr_alpha", "alpha", conductance_based=False),
            _integrate_and_fire("IF_cond_exp", "exponential", conductance_based=True),
            _integrate_and_fire("IF_cond_alpha", "alpha", conductance_based=True),
            CellType(
                "SpikeSourcePoisson",
                source="poisson",
                not_negative=("rate", "start", "duration"),
            ),
            CellType("SpikeSourceArray", source="given"),
        )
    }
)
"""Records by name, in the order in which they are listed to users."""


def cell_type(name: str) -> CellType:
    """The record of a cell type; RequestError, listing those that there are, for an unknown one."""
    if name not in CELL_TYPES:
        raise RequestError(
            f"cell type {name} is not supported; supported are {', '.join(CELL_TYPES)}"
        )
    return CELL_TYPES[name]
