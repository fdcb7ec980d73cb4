"""Probes of single neurons and synapses: networks whose spikes answer a question.

Backends record spikes and nothing else. Membrane potentials are read from spikes with graded
thresholds: of many neurons with the same input, those spike by step k whose threshold the potential
has reached by then, so their number is the potential in units of the spacing of the thresholds, as
long as it has not been higher before. Where it falls, a constant current lets it rise on balance, and the
same neurons without synaptic input tell what to subtract (`Scan`).

What is expected comes from the formulas of NEST's models on the grid, which `docs/backends.md` states as
the common convention, never from a simulation. Quantities that must be whole steps are arranged so that
the threshold is passed by half a step's rise or by a wide margin: they hang neither on rounding nor on
small errors of another quantity.

A new probe is a function that makes a `Setup` for a time step, and an entry in `PROBES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads its parts at first use
from numpy.typing import NDArray

from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import FromList
from pynn_portability.model.network import Network, PoissonDrive, Population, Projection, Value
from pynn_portability.spikes.data import PopulationSpikes

FloatArray = NDArray[np.float64]
Spikes = Mapping[str, PopulationSpikes]
"""Spikes by population label."""

STANDARD_ERRORS = 4.5
"""Tolerance of random quantities."""
FALSE_ALARM = 7e-6
"""How often a normally distributed quantity is off by more than that."""

NOTHING = math.nan
"""Stands for a spike that does not come, or for a potential beyond the thresholds."""


# --- Networks ---

REST = -65.0
CURRENT_BASED = {
    "v_rest": REST,
    "cm": 0.25,
    "tau_m": 10.0,
    "tau_refrac": 2.0,
    "tau_syn_E": 0.5,
    "tau_syn_I": 0.5,
    "i_offset": 0.0,
    "v_reset": REST,
    "v_thresh": -50.0,
}
CONDUCTANCE_BASED = {**CURRENT_BASED, "e_rev_E": 0.0, "e_rev_I": -80.0}
RISE = CURRENT_BASED["v_thresh"] - REST
"""From rest to threshold (mV)."""


def cells(
    label: str,
    size: int,
    cell_type: str = "IF_curr_exp",
    v: Value = REST,
    recorded: bool = True,
    **parameters: float | NDArray,
) -> Population:
    """Integrate-and-fire cells at rest unless ``v`` (mV) says otherwise."""
    defaults = CONDUCTANCE_BASED if cell_type.startswith("IF_cond") else CURRENT_BASED
    return Population(label, size, cell_type, {**defaults, **parameters}, {"v": v}, recorded)


def sources(
    label: str, trains: Sequence[Sequence[float] | NDArray], recorded: bool = True
) -> Population:
    """A SpikeSourceArray with the spike times (ms) of each cell."""
    times = tuple(np.asarray(train, dtype=np.float64) for train in trains)
    return Population(label, len(times), "SpikeSourceArray", {}, {}, recorded, times)


def connection(
    label: str,
    ends: tuple[str, str],
    pairs: Sequence[tuple[int, int]],
    weight: float | NDArray,
    delay: float | NDArray,
    receptor: Receptor = "excitatory",
) -> Projection:
    """Explicit (source, target) ``pairs``; weights (nA or uS) and delays (ms) for all or one each."""
    source, target = np.array(pairs, dtype=np.int64).T
    return Projection(label, *ends, receptor, FromList(source, target), weight, delay)


def drive(
    label: str,
    target: str,
    rate: Value,
    weight: float,
    delay: Value = 0.1,
    start: float = 0.0,
    duration: float = math.inf,
    receptor: Receptor = "excitatory",
) -> PoissonDrive:
    """Poisson input of ``rate`` Hz, with ``delay``, ``start`` and ``duration`` in ms."""
    return PoissonDrive(label, target, receptor, rate, weight, delay, start, duration)


def steps(spikes: PopulationSpikes, neuron: int = 0) -> list[int]:
    """Steps at which one neuron spiked."""
    return spikes.steps[spikes.neurons == neuron].tolist()


# --- What neurons do ---


def response(
    time: float | FloatArray,
    tau_syn: float,
    tau_m: float = CURRENT_BASED["tau_m"],
    cm: float = CURRENT_BASED["cm"],
) -> Any:
    """Postsynaptic potential (mV per nA), ``time`` ms after the arrival of a current that decays.

    Rotter and Diesmann 1999, section 3.1.2; tau_syn and tau_m (ms) differ, cm in nF.
    """
    t = np.asarray(time)
    return (np.exp(-t / tau_m) - np.exp(-t / tau_syn)) / (1 / tau_syn - 1 / tau_m) / cm


def alpha_response(
    time: FloatArray,
    tau_syn: float,
    tau_m: float = CURRENT_BASED["tau_m"],
    cm: float = CURRENT_BASED["cm"],
) -> FloatArray:
    """As `response`, for a current (t e / tau_syn) exp(-t / tau_syn), whose peak is the weight."""
    excess = 1 / tau_syn - 1 / tau_m
    integral = np.exp(-time / tau_m) - np.exp(-time / tau_syn) * (1 + excess * time)
    return math.e / tau_syn * integral / excess**2 / cm


def conductance_response(times: FloatArray, weight: float, tau_syn: float) -> FloatArray:
    """Postsynaptic potential (mV) of a conductance of ``weight`` uS from rest; ascending ``times``."""
    p = CONDUCTANCE_BASED

    def change(t: float, v: FloatArray) -> FloatArray:
        current = weight * math.exp(-t / tau_syn) * (p["e_rev_E"] - REST - v)
        return current / p["cm"] - v / p["tau_m"]

    span = (0.0, float(times[-1]))
    solution = scipy.integrate.solve_ivp(change, span, [0.0], t_eval=times, rtol=1e-10, atol=1e-12)
    return solution.y[0]


def current_for(n_steps: int, timestep: float) -> float:
    """Constant current (nA) that takes a resting cell to its threshold half-way through a step.

    The first spike is labelled ``n_steps``.
    """
    part = -math.expm1(-(n_steps - 0.5) * timestep / CURRENT_BASED["tau_m"])
    return RISE / part * CURRENT_BASED["cm"] / CURRENT_BASED["tau_m"]


def start_for(n_steps: int, current: float, timestep: float) -> float:
    """Membrane potential (mV) from which ``current`` (nA) leads to the threshold, as above."""
    final = current * CURRENT_BASED["tau_m"] / CURRENT_BASED["cm"]
    distance = (final - RISE) * math.exp((n_steps - 0.5) * timestep / CURRENT_BASED["tau_m"])
    return REST + final - distance


@dataclass(frozen=True)
class Scan:
    """Neurons with graded thresholds, for reading a membrane potential from their spikes.

    For each of ``centres`` (mV above rest) and ``at`` (step), ``n`` neurons have thresholds around
    that centre, ``spacing`` (mV) apart.
    """

    centres: Sequence[float]
    at: Sequence[int]
    spacing: float
    n: int

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.n * len(self.centres)

    @property
    def thresholds(self) -> FloatArray:
        """Thresholds in mV, shape ``(size,)``."""
        grades = self.spacing * (np.arange(self.n) - (self.n - 1) / 2)
        return REST + np.add.outer(np.asarray(self.centres), grades).ravel()

    def read(self, spikes: PopulationSpikes, after: int = 0) -> FloatArray:
        """The largest potential above rest (mV) from step ``after`` + 1 to ``at``, for each centre.

        The error is at most half the spacing; `NOTHING` where no neuron spiked or all did.
        """
        voltages = np.full(len(self.centres), NOTHING)
        for k, (centre, at) in enumerate(zip(self.centres, self.at, strict=True)):
            chosen = (spikes.steps > after) & (spikes.steps <= at) & (spikes.neurons // self.n == k)
            reached = len(np.unique(spikes.neurons[chosen]))
            if 0 < reached < self.n:
                voltages[k] = centre + self.spacing * (reached - self.n / 2)
        return voltages


def _first(spikes: PopulationSpikes, neuron: int = 0, nth: int = 0) -> float:
    """The step of a neuron's first, or ``nth`` next, spike."""
    found = steps(spikes, neuron)
    return float(found[nth]) if len(found) > nth else NOTHING


def _interval(spikes: PopulationSpikes, neuron: int) -> float:
    """Steps from the first spike of a neuron to the second."""
    return _first(spikes, neuron, 1) - _first(spikes, neuron)


def _detectors(label: str, size: int, timestep: float, v: Value = REST) -> Population:
    """Cells whose threshold one input of `_strong` takes them to within a step, and beyond.

    They spike in the step after its arrival, are refractory for two steps and by then have forgotten
    it. Above their threshold at first, they spike in step 1.
    """
    return cells(
        label,
        size,
        v=v,
        v_thresh=REST + 1.0,
        tau_refrac=2 * timestep,
        tau_syn_E=timestep / 2,
        tau_syn_I=timestep / 2,
    )


def _strong(timestep: float) -> float:
    """A weight (nA) that takes `_detectors` four times as far as to their threshold."""
    return 4.0 / float(response(timestep, timestep / 2))


OVERSHOOTING = REST + 35.0
"""Initial potential (mV) far above the thresholds: a cell spikes in the first step."""


# --- Probes ---


@dataclass(frozen=True)
class Setup:
    """A probe on one time grid.

    ``expected`` has the quantities by name; `NOTHING` stands for a spike that must not come. ``read``
    takes them from spikes by population label, in the same order. ``tolerance`` is for all of them or
    for each.
    """

    network: Network
    n_steps: int
    expected: Mapping[str, float]
    read: Callable[[Spikes], Sequence[float] | FloatArray]
    tolerance: float | Sequence[float] = 0.0


@dataclass(frozen=True)
class Probe:
    """A question to a backend: ``setup(timestep)`` is the network and the answer, in ``unit``.

    ``measures`` says what is measured and how, ``because`` justifies the tolerance, ``note`` is about
    conventions that differ between simulators, empty where there are none.
    """

    name: str
    unit: str
    setup: Callable[[float], Setup]
    measures: str
    because: str
    note: str = ""


EXACT = (
    "none: whole steps, and the threshold is passed by half a step's rise or by a wide margin, so that "
    "rounding cannot move them"
)
GRADED = "the spacing of the thresholds: half of it is the resolution, half is for rounding"
DIFFERENCES = (
    "what errors of half the spacing of the thresholds in each potential amount to at worst"
)
RANDOM = (
    f"{STANDARD_ERRORS} standard errors of a Poisson process, which a correct backend exceeds with "
    f"probability {FALSE_ALARM:g} per quantity; the seed is fixed"
)


def _threshold(timestep: float) -> Setup:
    threshold = CURRENT_BASED["v_thresh"]
    rest = np.array([threshold, threshold - 0.01])
    return Setup(
        Network((cells("cells", 2, v=rest, v_rest=rest),), ()),
        20,
        {"at the threshold": 1, "0.01 mV below": NOTHING},
        lambda spikes: [_first(spikes["cells"], j) for j in range(2)],
    )


def _reset(timestep: float) -> Setup:
    n, shorter, longer = (round(time / timestep) for time in (10.0, 5.0, 15.0))
    current = current_for(n, timestep)
    resets = [start_for(steps_, current, timestep) for steps_ in (shorter, longer)]
    population = cells(
        "cells",
        3,
        # the first needs as long for its first spike as later from rest, which is where it is reset
        v=np.array([REST, OVERSHOOTING, OVERSHOOTING]),
        v_reset=np.array([REST, *resets]),
        i_offset=current,
    )

    def read(spikes: Spikes) -> list[float]:
        rise = _first(spikes["cells"], 0) - _first(spikes["cells"], 1) + 1
        held = _interval(spikes["cells"], 0) - rise
        return [_interval(spikes["cells"], j) - held for j in (1, 2)]

    return Setup(
        Network((population,), ()),
        2 * n + longer,
        {"to a value above rest": shorter, "to a value below rest": longer},
        read,
    )


def _refractory(timestep: float) -> Setup:
    n = max(2, round(3.0 / timestep))
    tau_refrac = {"1 step": 1.0, "2 steps": 2.0, "5 steps": 5.0, "20 steps": 20.0, "20.4": 20.4}
    size = len(tau_refrac)
    population = cells(
        "cells",
        size + 1,
        v=np.array([REST] * size + [OVERSHOOTING]),
        i_offset=current_for(n, timestep),
        tau_refrac=np.array([*tau_refrac.values(), 1.0]) * timestep,
    )

    def read(spikes: Spikes) -> list[float]:
        found = spikes["cells"]
        # the last cell spikes in the first step, whatever labels are
        rise = [_first(found, j) - _first(found, size) + 1 for j in range(size)]
        return [_interval(found, j) - rise[j] for j in range(size)]

    expected = {name: math.floor(held) for name, held in tau_refrac.items()}
    return Setup(Network((population,), ()), 2 * n + 21, expected, read)


def _initial(timestep: float) -> Setup:
    current = current_for(round(10.0 / timestep), timestep)
    expected = {f"{time:g} ms away": round(time / timestep) for time in (2.0, 5.0, 10.0, 15.0)}
    v = np.array([start_for(n, current, timestep) for n in expected.values()])
    return Setup(
        Network((cells("cells", len(v), v=v, i_offset=current),), ()),
        round(20.0 / timestep),
        expected,
        lambda spikes: [_first(spikes["cells"], j) for j in range(len(v))],
    )


RISE_TIMES = (2.0, 5.0, 10.0, 20.0)
"""Times (ms) that constant currents take from rest to the threshold."""
BELOW_RHEOBASE = 0.37


def _constant_current(timestep: float) -> Setup:
    n_steps = [round(time / timestep) for time in RISE_TIMES]
    currents = [*(current_for(n, timestep) for n in n_steps), BELOW_RHEOBASE]
    expected = {f"{i:.4g} nA": float(n) for i, n in zip(currents, n_steps, strict=False)}
    return Setup(
        Network((cells("cells", len(currents), i_offset=np.array(currents)),), ()),
        2 * n_steps[-1],
        expected | {f"{BELOW_RHEOBASE} nA": NOTHING},
        lambda spikes: [_first(spikes["cells"], j) for j in range(len(currents))],
    )


def _rates(timestep: float) -> Setup:
    n_steps = [round(time / timestep) for time in RISE_TIMES]
    currents = np.array([current_for(n, timestep) for n in n_steps])
    held = round(CURRENT_BASED["tau_refrac"] / timestep)

    def rate(interval: float) -> float:
        return 1000.0 / (interval * timestep)

    def read(spikes: Spikes) -> list[float]:
        trains = [steps(spikes["cells"], j) for j in range(len(currents))]
        return [
            rate((t[-1] - t[0]) / (len(t) - 1)) if len(t) > 1 and t[-1] > t[0] else NOTHING
            for t in trains
        ]

    return Setup(
        Network((cells("cells", len(currents), i_offset=currents),), ()),
        round(100.0 / timestep),
        {f"{i:.4g} nA": rate(n + held) for i, n in zip(currents, n_steps, strict=True)},
        read,
        1e-9,
    )


def _source_latency(timestep: float) -> Setup:
    label, delays = 10, (1, 3)
    network = Network(
        (
            sources("source", [[label * timestep]], recorded=False),
            _detectors("targets", len(delays), timestep),
        ),
        (
            connection(
                "synapses",
                ("source", "targets"),
                [(0, 0), (0, 1)],
                _strong(timestep),
                np.array(delays) * timestep,
            ),
        ),
    )
    return Setup(
        network,
        label + 10,
        {f"delay {d}": d + 1 for d in delays},
        lambda spikes: [_first(spikes["targets"], j) - label for j in range(len(delays))],
    )


def _loop(timestep: float) -> Setup:
    there, back = 3, 4
    network = Network(
        (_detectors("pair", 2, timestep, v=np.array([OVERSHOOTING, REST])),),
        (
            connection(
                "loop",
                ("pair", "pair"),
                [(0, 1), (1, 0)],
                _strong(timestep),
                np.array([there, back]) * timestep,
            ),
        ),
    )

    def read(spikes: Spikes) -> list[float]:
        start = _first(spikes["pair"], 0)
        return [_first(spikes["pair"], 1) - start, _first(spikes["pair"], 0, 1) - start]

    return Setup(
        network,
        2 * (there + back + 2),
        {f"there, delay {there}": there + 1, f"and back, delay {back}": there + back + 2},
        read,
    )


def _delays(timestep: float, given: Sequence[float]) -> Setup:
    """Delays (steps) as they differ from one of a single step."""
    delays = np.array([1.0, *given])
    network = Network(
        (
            _detectors("source", 1, timestep, v=OVERSHOOTING),
            _detectors("targets", len(delays), timestep),
        ),
        (
            connection(
                "synapses",
                ("source", "targets"),
                [(0, j) for j in range(len(delays))],
                _strong(timestep),
                delays * timestep,
            ),
        ),
    )

    def read(spikes: Spikes) -> list[float]:
        first = [_first(spikes["targets"], j) for j in range(len(delays))]
        return [step - first[0] + 1 for step in first[1:]]

    return Setup(
        network,
        math.ceil(max(given)) + 10,
        {f"{d:g} steps": math.floor(d + 0.5) for d in given},
        read,
    )


# of an external input and of a strong synapse
PSP_WEIGHTS = {
    "IF_curr_exp": (0.0878, 1.0),
    "IF_curr_alpha": (0.1, 1.0),
    "IF_cond_exp": (1e-3, 0.02),
}


def _amplitude(timestep: float, cell_type: str = "IF_curr_exp") -> Setup:
    tau_syn = 1.0
    times = np.arange(1, round(15.0 / timestep), dtype=np.float64) * timestep
    weights = PSP_WEIGHTS[cell_type]
    unit = "uS" if cell_type.startswith("IF_cond") else "nA"
    shapes = {
        "IF_curr_exp": lambda weight: weight * response(times, tau_syn),
        "IF_curr_alpha": lambda weight: weight * alpha_response(times, tau_syn),
        "IF_cond_exp": lambda weight: conductance_response(times, weight, tau_syn),
    }
    peaks = [float(shapes[cell_type](weight).max()) for weight in weights]
    names = [f"{weight:g} {unit}" for weight in weights]
    at = len(times) + 2
    scans = [Scan([1.5 * peak], [at], 0.005 * peak, 600) for peak in peaks]
    populations = [sources("source", [[timestep]], recorded=False)]
    projections = []
    for name, weight, scan in zip(names, weights, scans, strict=True):
        populations.append(
            cells(name, scan.size, cell_type, v_thresh=scan.thresholds, tau_syn_E=tau_syn)
        )
        all_of_them = [(0, j) for j in range(scan.size)]
        projections.append(connection(name, ("source", name), all_of_them, weight, timestep))

    def read(spikes: Spikes) -> list[float]:
        return [float(scan.read(spikes[name])[0]) for name, scan in zip(names, scans, strict=True)]

    return Setup(
        Network(tuple(populations), tuple(projections)),
        at,
        dict(zip(names, peaks, strict=True)),
        read,
        [0.005 * peak for peak in peaks],
    )


def _with_and_without(
    timestep: float,
    receptor: Receptor,
    weight: float,
    shape: Callable[[FloatArray], FloatArray],
    ramp: Callable[[FloatArray], FloatArray],
    after: Sequence[int],
    spacing: float,
    n: int,
    **parameters: Any,
) -> tuple[Network, int, Callable[[Spikes], FloatArray]]:
    """Neurons whose potential rises by a constant current, with and without one input spike.

    ``shape`` and ``ramp`` (mV at times in ms) are what the spike and the current do, ``after`` are steps
    after its arrival at which potentials are read with ``n`` thresholds, ``spacing`` mV apart. Returns the
    network, its number of steps, and how the difference (mV) is read.
    """
    # by then the potential is above rest and stays there
    arrival = round(2.5 / timestep)
    at = [arrival + step for step in after]
    alone = ramp(np.array(at) * timestep)
    sign = 1 if receptor == "excitatory" else -1
    together = alone + sign * weight * shape(np.array(after) * timestep)
    scans = {
        label: Scan(centres.tolist(), at, spacing, n)
        for label, centres in (("with", together), ("without", alone))
    }
    neurons = [
        cells(label, scan.size, v_thresh=scan.thresholds, **parameters)
        for label, scan in scans.items()
    ]
    network = Network(
        (sources("source", [[(arrival - 1) * timestep]], recorded=False), *neurons),
        (
            connection(
                "synapses",
                ("source", "with"),
                [(0, j) for j in range(scans["with"].size)],
                sign * weight,
                timestep,
                receptor,
            ),
        ),
    )

    def read(spikes: Spikes) -> FloatArray:
        return scans["with"].read(spikes["with"]) - scans["without"].read(spikes["without"])

    return network, at[-1], read


COURSE_TIMES = (1.0, 2.0, 4.0, 8.0, 16.0)


def _course(timestep: float, receptor: Receptor) -> Setup:
    tau_syn = {"excitatory": 2.0, "inhibitory": 3.0}[receptor]
    current, amplitude = 0.6, 2.0
    after = [round(time / timestep) for time in COURSE_TIMES]
    times = timestep * np.array(after)
    weight = amplitude / float(response(times, tau_syn).max())
    final = current * CURRENT_BASED["tau_m"] / CURRENT_BASED["cm"]
    network, n_steps, read = _with_and_without(
        timestep,
        receptor,
        weight,
        lambda t: response(t, tau_syn),
        lambda t: -final * np.expm1(-t / CURRENT_BASED["tau_m"]),
        after,
        spacing=0.005 * amplitude,
        n=400,
        i_offset=current,
        tau_syn_E=tau_syn if receptor == "excitatory" else 0.5,
        tau_syn_I=tau_syn if receptor == "inhibitory" else 0.5,
    )
    sign = 1 if receptor == "excitatory" else -1
    expected = sign * weight * response(times, tau_syn)
    names = [f"{time:g} ms" for time in COURSE_TIMES]
    return Setup(
        network, n_steps, dict(zip(names, expected.tolist(), strict=True)), read, 0.01 * amplitude
    )


def _time_constant(timestep: float, receptor: Receptor) -> Setup:
    """Two differences between three potentials of slow neurons have a ratio that tells tau_syn."""
    tau_m, slope, amplitude = 100.0, 0.6, 2.0
    tau_syn = {"excitatory": 2.0, "inhibitory": 4.0}
    name = "tau_syn_E" if receptor == "excitatory" else "tau_syn_I"
    tau = tau_syn[receptor]
    after = [round(part * tau / timestep) for part in (0.5, 1.5, 6.0)]
    times = timestep * np.array(after)
    weight = amplitude * CURRENT_BASED["cm"] / tau
    spacing = amplitude / 800
    network, n_steps, difference = _with_and_without(
        timestep,
        receptor,
        weight,
        lambda t: response(t, tau, tau_m),
        lambda t: -slope * tau_m * np.expm1(-t / tau_m),
        after,
        spacing=spacing,
        n=400,
        i_offset=slope * CURRENT_BASED["cm"],
        tau_m=tau_m,
        tau_syn_E=tau_syn["excitatory"],
        tau_syn_I=tau_syn["inhibitory"],
    )

    def ratio(voltage: FloatArray) -> float:
        return float((voltage[2] - voltage[1]) / (voltage[2] - voltage[0]))

    def expected(tau: float) -> float:
        return ratio(response(times, tau, tau_m))

    low, high = tau / 2, tau * 2

    def read(spikes: Spikes) -> list[float]:
        measured = ratio(difference(spikes))
        if not expected(low) < measured < expected(high):
            return [NOTHING]
        return [scipy.optimize.brentq(lambda x: expected(x) - measured, low, high)]

    first, _, last = weight * response(times, tau, tau_m)
    ratio_error = 2 * spacing / (last - first)
    change = (expected(1.01 * tau) - expected(0.99 * tau)) / (0.02 * tau)
    return Setup(network, n_steps, {name: tau}, read, ratio_error / change)


def _sign(timestep: float, cell_type: str = "IF_curr_exp") -> Setup:
    n = round(10.0 / timestep)
    excitatory, inhibitory = (0.05, 0.05) if cell_type == "IF_cond_exp" else (1.0, -1.0)
    network = Network(
        (
            sources("source", [[n // 2 * timestep]], recorded=False),
            cells("cells", 3, cell_type, i_offset=current_for(n, timestep)),
        ),
        (
            connection("e", ("source", "cells"), [(0, 0)], excitatory, timestep),
            connection("i", ("source", "cells"), [(0, 1)], inhibitory, timestep, "inhibitory"),
        ),
    )

    def read(spikes: Spikes) -> list[float]:
        undisturbed = _first(spikes["cells"], 2)
        return [float(np.sign(undisturbed - _first(spikes["cells"], j))) for j in (0, 1)]

    return Setup(network, 3 * n, {"excitatory": 1, "inhibitory": -1}, read)


def _multapses(timestep: float) -> Setup:
    strong = _strong(timestep)
    weak, third = strong / 100, 0.4 / 4 * strong
    pairs = [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 1)]
    network = Network(
        (sources("source", [[timestep]], recorded=False), _detectors("targets", 2, timestep)),
        (
            connection(
                "synapses",
                ("source", "targets"),
                pairs,
                np.array([strong, strong, weak, third, third, third]),
                np.array([3, 9, 15, 5, 5, 5]) * timestep,
            ),
        ),
    )

    def read(spikes: Spikes) -> list[float]:
        targets = spikes["targets"]
        return [*(_first(targets, 0, nth) - 2 for nth in range(3)), _first(targets, 1) - 2]

    expected = {"strong": 3.0, "strong, later": 9.0, "weak": NOTHING, "three thirds": 5.0}
    return Setup(network, 30, expected, read)


def _parallel(timestep: float) -> Setup:
    network = Network(
        (sources("source", [[timestep]], recorded=False), _detectors("target", 1, timestep)),
        tuple(
            connection(
                f"synapse {d}", ("source", "target"), [(0, 0)], _strong(timestep), d * timestep
            )
            for d in (12, 4)
        ),
    )
    return Setup(
        network,
        30,
        {"4 steps": 4.0, "12 steps": 12.0, "no more": NOTHING},
        lambda spikes: [_first(spikes["target"], 0, nth) - 2 for nth in range(3)],
    )


def _autapses(timestep: float) -> Setup:
    delay = 6
    network = Network(
        (_detectors("cells", 2, timestep, v=OVERSHOOTING),),
        (connection("autapse", ("cells", "cells"), [(0, 0)], _strong(timestep), delay * timestep),),
    )
    return Setup(
        network,
        3 * delay,
        {"with an autapse": delay + 1, "without": NOTHING},
        lambda spikes: [_interval(spikes["cells"], j) for j in (0, 1)],
    )


def _order(timestep: float) -> Setup:
    """Excitation arrives at 10; inhibition as strong arrives before, with, and after it."""
    arrival = 10
    names = ("inhibition a step before", "in the same step", "a step later")
    strong = _strong(timestep)
    network = Network(
        (
            sources("sources", [[(arrival - 2 + j) * timestep] for j in range(3)], recorded=False),
            _detectors("cells", 3, timestep),
        ),
        (
            connection("e", ("sources", "cells"), [(1, j) for j in range(3)], strong, timestep),
            connection(
                "i",
                ("sources", "cells"),
                [(j, j) for j in range(3)],
                -strong,
                timestep,
                "inhibitory",
            ),
        ),
    )
    return Setup(
        network,
        2 * arrival,
        dict(zip(names, (0, 0, 1), strict=True)),
        lambda spikes: [float(len(steps(spikes["cells"], j))) for j in range(3)],
    )


def _refractory_input(timestep: float) -> Setup:
    """Cells spike in step 1 and are held for 20 more; what remains of a current drives them then."""
    held, tau_syn, weight = 20, 5.0, 0.25
    last = 1 + held
    arrivals = {"15 steps before the end": last - 15, "in the last step": last, "after": last + 5}
    times = np.arange(1, round(30.0 / timestep), dtype=np.float64) * timestep
    peak = weight * float(response(times, tau_syn).max())
    expected = [
        peak * math.exp(-max(last - arrival, 0) * timestep / tau_syn)
        for arrival in arrivals.values()
    ]
    n_steps = last + 5 + len(times)
    scan = Scan([1.5 * peak], [n_steps], 0.005 * peak, 600)
    populations = [
        sources("sources", [[(a - 1) * timestep] for a in arrivals.values()], recorded=False)
    ]
    projections = []
    for j, name in enumerate(arrivals):
        populations.append(
            cells(
                name,
                scan.size,
                v=OVERSHOOTING,
                v_thresh=scan.thresholds,
                tau_refrac=held * timestep,
                tau_syn_E=tau_syn,
            )
        )
        pairs = [(j, i) for i in range(scan.size)]
        projections.append(connection(name, ("sources", name), pairs, weight, timestep))
    return Setup(
        Network(tuple(populations), tuple(projections)),
        n_steps,
        dict(zip(arrivals, expected, strict=True)),
        lambda spikes: [float(scan.read(spikes[name], after=3)[0]) for name in arrivals],
        0.005 * peak,
    )


def _counters(label: str, thresholds: NDArray[np.int64], held: int, timestep: float) -> Population:
    """Cells that spike when they have received ``thresholds`` spikes of weight `_counted`.

    They start above their threshold, so that they begin with a spike. The current of a spike has
    decayed after a step, the potential hardly decays in a few.
    """
    return cells(
        label,
        len(thresholds),
        v=REST + 0.25 * (thresholds.max() + 10),
        tau_m=100 * timestep,
        tau_refrac=held * timestep,
        tau_syn_E=timestep / 5,
        v_thresh=REST + 0.25 * (thresholds - 0.5),
    )


def _counted(timestep: float) -> float:
    """Weight (nA) that takes `_counters` up by 0.25 mV."""
    return 0.25 / float(response(timestep, timestep / 5, 100 * timestep))


def _moments(exceeded: FloatArray) -> tuple[float, float]:
    """Mean and variance of a count from the probabilities that it is at least 1, 2, ..."""
    k = np.arange(1, len(exceeded) + 1)
    mean = exceeded.sum()
    return float(mean), float(np.sum((2 * k - 1) * exceeded) - mean**2)


def _poisson_drive(timestep: float, mean: float, repeats: int) -> Setup:
    """Refractory cells have forgotten all but the input of one step, the last.

    So a cell with threshold j that spikes in step s spikes again in step s + held + 1 if and only if at
    least j spikes have arrived in one step. Otherwise it goes on counting, and spikes later.
    """
    held, n_steps, begin = 2, 300, 10
    law = scipy.stats.poisson(mean)
    thresholds = np.arange(1, int(law.isf(1e-6)) + 2)
    network = Network(
        (_counters("cells", np.repeat(thresholds, repeats), held, timestep),),
        (),
        (drive("drive", "cells", 1000 * mean / timestep, _counted(timestep), timestep),),
    )

    def read(spikes: Spikes) -> tuple[float, float]:
        order = np.lexsort((spikes["cells"].steps, spikes["cells"].neurons))
        step, neuron = spikes["cells"].steps[order], spikes["cells"].neurons[order]
        at_once = np.append((np.diff(step) == held + 1) & (np.diff(neuron) == 0), False)
        tried = (step >= begin) & (step + held + 1 <= n_steps)
        own = neuron // repeats
        trials = np.bincount(own[tried], minlength=len(thresholds))
        reached = np.bincount(own[tried & at_once], minlength=len(thresholds))
        if not trials.all():
            return NOTHING, NOTHING
        return _moments(reached / trials)

    p = law.sf(thresholds - 1)
    many = mean * np.arange(n_steps)
    waiting = [float(scipy.stats.poisson.cdf(j - 1, many).sum()) for j in thresholds]
    scatter = p * (1 - p) * (held + np.array(waiting)) / ((n_steps - begin) * repeats)
    variance_error = np.sqrt(np.sum((2 * thresholds - 1 - 2 * mean) ** 2 * scatter))
    return Setup(
        network,
        n_steps,
        {"mean": mean, "variance": mean},
        read,
        [
            STANDARD_ERRORS * float(math.sqrt(scatter.sum())),
            STANDARD_ERRORS * float(variance_error),
        ],
    )


def _poisson_window(timestep: float) -> Setup:
    start, length, delay, size = 30, 11, 1, 50
    many = 5.0  # per step: that there is none for any of the cells is impossible
    network = Network(
        (_counters("cells", np.ones(size, np.int64), 1, timestep),),
        (),
        (
            drive(
                "drive",
                "cells",
                1000 * many / timestep,
                _counted(timestep),
                delay * timestep,
                start * timestep,
                length * timestep,
            ),
        ),
    )

    def read(spikes: Spikes) -> list[float]:
        found = spikes["cells"].steps[spikes["cells"].steps > 1]
        return [found[0] - start, found[-1] - start] if len(found) else [NOTHING, NOTHING]

    first = 2 + delay + 1
    return Setup(
        network,
        start + length + 20,
        {"first effect": first, "last effect": first + length - 1},
        read,
    )


def _poisson_source(timestep: float, mean: float, size: int) -> Setup:
    start, length = 10, 100
    population = Population(
        "source",
        size,
        "SpikeSourcePoisson",
        {
            "rate": 1000 * mean / timestep,
            "start": start * timestep,
            "duration": length * timestep,
        },
        recorded=True,
    )

    def read(spikes: Spikes) -> list[float]:
        counts = np.bincount(spikes["source"].neurons, minlength=size)
        return [float(counts.mean()) / length, float(counts.var(ddof=1)) / length]

    # of counts with mean and variance m, those are m / size and m**2 (2 + 1/m) / size
    total = mean * length
    errors = math.sqrt(total / size), math.sqrt((2 * total**2 + total) / size)
    return Setup(
        Network((population,), ()),
        start + length + 10,
        {"mean": mean, "variance": mean},
        read,
        [STANDARD_ERRORS * error / length for error in errors],
    )


PROBES = (
    Probe(
        "threshold",
        "step of the first spike",
        _threshold,
        "cells that rest exactly at their threshold, and slightly below it",
        EXACT,
        "A potential that equals the threshold spikes. Stock pyNN.brian2 has a strict comparison.",
    ),
    Probe(
        "reset",
        "steps to the next spike, refractoriness not counted",
        _reset,
        "cells that overshoot their threshold by 20 mV are reset to values of their own, from which a "
        "constant current takes known times",
        EXACT,
    ),
    Probe(
        "refractory time",
        "steps",
        _refractory,
        "intervals between spikes at a constant current, less the time to the first spike",
        EXACT,
        "The potential is held for tau_refrac, rounded to steps, and integrated again in the step after; "
        "the shortest interval is tau_refrac + 1 step. Stock pyNN.brian2 holds it for a step less, "
        "sPyNNaker rounds up.",
    ),
    Probe(
        "initial values",
        "step of the first spike",
        _initial,
        "first spikes at a constant current from different initial membrane potentials",
        EXACT,
    ),
    Probe(
        "DC response",
        "step of the first spike",
        _constant_current,
        "first spikes at constant currents, one of them too small for any",
        EXACT,
        "A spike is labelled with the end of the step in which the threshold was reached. Stock "
        "pyNN.brian2 and sPyNNaker label it with the beginning.",
    ),
    Probe(
        "f-I curve",
        "spikes/s",
        _rates,
        "firing rates at constant currents",
        "rounding of a quotient: intervals are whole steps as above",
    ),
    Probe(
        "spike source latency",
        "steps from label to spike of the target",
        _source_latency,
        "a spike of a SpikeSourceArray makes a target spike through a strong synapse",
        EXACT,
        "A spike labelled k arrives at k + delay and acts on the potential in the step after: k + delay + "
        "1 is the earliest spike. In stock pyNN.brian2, spikes of sources act one step later.",
    ),
    Probe(
        "loop latency",
        "steps",
        _loop,
        "two neurons excite each other: from the first's spike to the second's, and to the first's next",
        EXACT,
        "A spike of a neuron labelled k acts as one of a source with this label. In sPyNNaker it acts one "
        "step earlier.",
    ),
    Probe(
        "delay",
        "steps",
        lambda timestep: _delays(timestep, (2, 3, 7, 15, 40)),
        "delays between neurons, as they differ from a delay of one step",
        EXACT,
    ),
    Probe(
        "delay rounding",
        "steps",
        lambda timestep: _delays(timestep, (1.5, 2.5, 3.5, 7.5)),
        "delays half-way between two steps",
        EXACT,
        "Halves are rounded up, as in NEST; other rules come with the number format of a machine.",
    ),
    Probe(
        "PSP amplitude",
        "mV",
        _amplitude,
        "peak of the membrane potential after one excitatory spike, by 600 thresholds from 0 to three "
        "times the expected value",
        GRADED,
    ),
    Probe(
        "PSP amplitude, alpha",
        "mV",
        lambda timestep: _amplitude(timestep, "IF_curr_alpha"),
        "the same with IF_curr_alpha",
        GRADED,
    ),
    Probe(
        "PSP amplitude, conductance",
        "mV",
        lambda timestep: _amplitude(timestep, "IF_cond_exp"),
        "the same with IF_cond_exp",
        GRADED,
    ),
    Probe(
        "EPSP time course",
        "mV",
        lambda timestep: _course(timestep, "excitatory"),
        "membrane potential at times after the arrival of an excitatory spike (tau_syn_E = 2 ms, "
        "tau_m = 10 ms), by 400 thresholds each with and without the spike",
        "twice the spacing of the thresholds, since two potentials are subtracted",
        "It begins with the arrival, so that a delay that is wrong shows here, too.",
    ),
    Probe(
        "IPSP time course",
        "mV",
        lambda timestep: _course(timestep, "inhibitory"),
        "the same for an inhibitory spike (tau_syn_I = 3 ms)",
        "twice the spacing of the thresholds, since two potentials are subtracted",
    ),
    Probe(
        "excitatory time constant",
        "ms",
        lambda timestep: _time_constant(timestep, "excitatory"),
        "decay of the excitatory current, from the ratio of two differences of potential of slow cells "
        "(tau_m = 100 ms), which does not depend on the weight",
        DIFFERENCES,
    ),
    Probe(
        "inhibitory time constant",
        "ms",
        lambda timestep: _time_constant(timestep, "inhibitory"),
        "the same for the inhibitory current",
        DIFFERENCES,
    ),
    Probe(
        "sign of inhibition",
        "+1 earlier, -1 later",
        _sign,
        "an input spike makes a cell at a constant current spike earlier or later",
        EXACT,
        "Weights of inhibitory current-based synapses are negative.",
    ),
    Probe(
        "sign of inhibition, conductance",
        "+1 earlier, -1 later",
        lambda timestep: _sign(timestep, "IF_cond_exp"),
        "the same with IF_cond_exp",
        EXACT,
        "Weights of conductance-based synapses are positive for both receptors.",
    ),
    Probe(
        "multapses",
        "steps from source to effect, less 1",
        _multapses,
        "synapses between the same two cells in one projection, each with its own weight and delay; three "
        "that only together reach the threshold",
        EXACT,
        "Stock pyNN.brian2 gives all of them the last weight and delay.",
    ),
    Probe(
        "parallel projections",
        "steps from source to effect, less 1",
        _parallel,
        "two projections between the same populations, with different delays",
        EXACT,
    ),
    Probe(
        "autapses",
        "steps to the next spike",
        _autapses,
        "a neuron that excites itself, beside one that does not",
        EXACT,
    ),
    Probe(
        "order of arrival",
        "spikes",
        _order,
        "inhibition that would cancel an excitation arrives a step before, with or after it",
        EXACT,
        "Input that arrives at k acts from step k + 1 on, whatever its sign; the spike of step k + 1 cannot "
        "be prevented by what arrives then.",
    ),
    Probe(
        "input while refractory",
        "mV",
        _refractory_input,
        "peak of the membrane potential after refractoriness, for a spike that arrived during it, in its "
        "last step, or after it",
        GRADED,
        "During refractoriness the synaptic current decays and takes input, the potential does not move.",
    ),
    Probe(
        "Poisson drive, 0.5 per step",
        "spikes per step",
        lambda timestep: _poisson_drive(timestep, 0.5, 400),
        "mean and variance of the number of spikes that a Poisson drive delivers in one step, from how often "
        "cells that need 1, 2, ... spikes are made to spike at the end of refractoriness",
        RANDOM,
    ),
    Probe(
        "Poisson drive, 5 per step",
        "spikes per step",
        lambda timestep: _poisson_drive(timestep, 5.0, 120),
        "the same above one spike per step",
        RANDOM,
        "Stock pyNN.brian2 delivers at most one spike per step.",
    ),
    Probe(
        "Poisson drive window",
        "steps from the start",
        _poisson_window,
        "first and last spike among 50 cells that a drive of 5 spikes per step, active for 11 steps, makes "
        "spike after a delay of one step",
        EXACT,
        "A drive that starts at s has labels from s + 2 steps on, as NEST's poisson_generator.",
    ),
    Probe(
        "Poisson source, 0.05 per step",
        "spikes per step",
        lambda timestep: _poisson_source(timestep, 0.05, 2000),
        "mean and variance of the number of spikes that cells of a recorded SpikeSourcePoisson emit in 100 "
        "steps, per step",
        RANDOM,
        "In Brian2 these emit at most one spike per step, which takes 5 % off the variance here, less than "
        "the tolerance.",
    ),
    Probe(
        "Poisson source, 2 per step",
        "spikes per step",
        lambda timestep: _poisson_source(timestep, 2.0, 500),
        "the same above one spike per step",
        RANDOM,
        "Brian2 cannot do this and the backend refuses it; Poisson drives have no such limit.",
    ),
)
