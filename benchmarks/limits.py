"""How right a single postsynaptic potential is, over time constants, time steps and weights.

A cell of every threshold in a ladder around the exact peak receives one spike; those below the measured peak
spike. The exact peak (on the time grid, where thresholds are looked at) comes from matrix exponentials for
currents, and from an implicit Runge-Kutta method with tolerance 1e-11 for conductances. What is printed is the
relative error that the ladder leaves: the distance from 1 to the farther of the two thresholds around the peak.

    python benchmarks/limits.py [nest] [brian2] [emulator]
"""

from __future__ import annotations

import math
import sys
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.connectivity import AllToAll
from pynn_portability.model.network import Network, Population, Projection
from pynn_portability.realize.realization import Realization

NEURON = {
    "cm": 1.0,
    "tau_m": 20.0,
    "tau_refrac": 1e3,
    "v_rest": -65.0,
    "v_reset": -70.0,
    "i_offset": 0.0,
}
REVERSAL = {"e_rev_E": 0.0, "e_rev_I": -70.0}
CELLS = ("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha")
TAU_SYN = (1e-4, 1e-3, 2e-3, 0.01, 0.05, 0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0)
TIMESTEPS = (0.1, 1.0)
CHARGES = (1e-3, 0.1, 10.0)
"""Weight times time constant over capacitance: mV for currents, 1 for conductances (times 0.01)."""

ERRORS = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3)
LADDER = np.array(
    [*(1 - e for e in reversed(ERRORS)), *(1 + e for e in ERRORS), 2.0, 5.0, 10.0, 100.0, 1e3, 1e4]
)


@dataclass(frozen=True)
class Case:
    """One spike onto a cell: time constant and time step (ms), weight (nA or uS)."""

    cell: str
    tau_syn: float
    timestep: float
    charge: float

    @property
    def weight(self) -> float:
        """Such that the charge is that of the case."""
        shape = math.e if self.cell.endswith("alpha") else 1.0
        scale = 0.01 if "cond" in self.cell else 1.0
        return scale * self.charge * NEURON["cm"] / (self.tau_syn * shape)

    @property
    def steps(self) -> int:
        """Until well after the peak."""
        return math.ceil((12 * self.tau_syn + 30.0) / self.timestep) + 5


@cache
def exact_peak(case: Case) -> float:
    """Largest deflection (mV) at the ends of time steps after the spike has arrived."""
    n = case.steps
    if "curr" in case.cell:
        rate, leak = 1 / case.tau_syn, 1 / NEURON["tau_m"]
        # potential, current and, for alpha functions, what feeds it
        matrix = np.array([[-leak, 1 / NEURON["cm"], 0], [0, -rate, math.e * rate], [0, 0, -rate]])
        state = np.array([0.0, 0.0, case.weight])
        if case.cell.endswith("exp"):
            state = np.array([0.0, case.weight, 0.0])
        step, largest = expm(matrix * case.timestep), 0.0
        for _ in range(n):
            state = step @ state
            largest = max(largest, float(state[0]))
        return largest
    alpha = case.cell.endswith("alpha")

    def change(t: float, v: np.ndarray) -> list[float]:
        g = case.weight * math.exp(-t / case.tau_syn)
        if alpha:
            g *= math.e * t / case.tau_syn
        return [-v[0] / NEURON["tau_m"] + g * (-NEURON["v_rest"] - v[0]) / NEURON["cm"]]

    # the kernel first, in which everything happens when it is short
    times = np.arange(1, n + 1) * case.timestep
    kernel = min(40 * case.tau_syn, times[-1])
    found = solve_ivp(
        change,
        (0, times[-1]),
        [0.0],
        "Radau",
        times,
        rtol=1e-11,
        atol=1e-15,
        first_step=kernel * 1e-6,
    )
    return float(found.y[0].max())


def network(case: Case) -> Network:
    """A source, and cells with the thresholds of the ladder."""
    thresholds = NEURON["v_rest"] + LADDER * exact_peak(case)
    parameters = {
        **NEURON,
        **(REVERSAL if "cond" in case.cell else {}),
        "tau_syn_E": case.tau_syn,
        "tau_syn_I": case.tau_syn,
        "v_thresh": thresholds,
    }
    source = Population("S", 1, "SpikeSourceArray", {}, {}, False, (np.array([case.timestep]),))
    cells = Population("E", LADDER.size, case.cell, parameters, {"v": NEURON["v_rest"]}, True)
    synapses = Projection("S->E", "S", "E", "excitatory", AllToAll(), case.weight, case.timestep)
    return Network((source, cells), (synapses,))


def error(backend: str, case: Case) -> float | None:
    """Relative error of the peak, as far as the ladder tells; None if the backend refuses the case."""
    made = backends.load(backend)
    number = number_format("double")
    realization = Realization(network(case), 1, case.timestep)
    try:
        simulation = backends.build(made, number.on(realization), made.options())
    except RequestError:
        return None
    spikes = simulation.run(case.steps, lambda fraction: None).populations["E"]
    fired = np.zeros(LADDER.size, bool)
    fired[spikes.neurons] = True
    count = int(fired.sum())
    if not fired[:count].all():
        return math.inf
    below = LADDER[count - 1] if count else 0.0
    above = LADDER[count] if count < LADDER.size else math.inf
    return float(max(abs(1 - below), abs(above - 1)))


def main() -> None:
    names = sys.argv[1:] or ["nest", "brian2", "emulator"]
    warnings.filterwarnings("ignore")
    print("| backend | cell | dt (ms) | " + " | ".join(f"{t:g}" for t in TAU_SYN) + " |")
    print("|---" * (3 + len(TAU_SYN)) + "|")
    for name in names:
        supported = backends.load(name).capabilities.cells
        for cell in (c for c in CELLS if c in supported):
            for timestep in TIMESTEPS:
                row = []
                for tau_syn in TAU_SYN:
                    found = [error(name, Case(cell, tau_syn, timestep, c)) for c in CHARGES]
                    known = [e for e in found if e is not None]
                    row.append(f"{max(known):.0e}" if known else "refused")
                    if known and len(known) < len(found):
                        row[-1] += f" ({len(found) - len(known)} refused)"
                print(f"| {name} | {cell} | {timestep:g} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
