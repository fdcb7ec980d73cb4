"""Random networks, and what sPyNNaker makes of them on its virtual board.

Run as a script in a process of its own, with a home folder that holds an empty ``.spynnaker.cfg``:
sPyNNaker looks for one, and keeps global state.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynn_portability.formats.names import number_format
from pynn_portability.model.cells import Receptor
from pynn_portability.model.connectivity import (
    AllToAll,
    ConnectionRule,
    FixedNumberPost,
    FixedNumberPre,
    FixedProbability,
    FixedTotalNumber,
    FromList,
    OneToOne,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
    Value,
)
from pynn_portability.realize.realization import Realization, Synapses

PARAMETERS = {
    "v_rest": -65.0,
    "cm": 0.25,
    "tau_m": 10.0,
    "tau_refrac": 2.0,
    "tau_syn_E": 0.5,
    "tau_syn_I": 0.5,
    "i_offset": 0.0,
    "v_reset": -65.0,
    "v_thresh": -50.0,
}
RECEPTORS: tuple[Receptor, Receptor] = ("excitatory", "inhibitory")

spynnaker = pytest.mark.skipif(
    importlib.util.find_spec("spynnaker") is None, reason="sPyNNaker is not installed"
)


def random_realization(seed: int) -> Realization:
    """A network of two or three populations of neurons, realized as the format spinnaker says."""
    rng = np.random.default_rng(seed)
    timestep = float(rng.choice([0.1, 1.0]))
    conductance_based = rng.random() < 0.15
    strength = 10 ** rng.uniform(-3, 0.3) / (100 if conductance_based else 1)
    same_delays = rng.random() < 0.35
    populations, projections, drives = [], [], []
    for name in "ABC"[: rng.integers(2, 4)]:
        parameters: dict[str, Value] = dict(PARAMETERS)
        cell_type = "IF_curr_exp"
        if conductance_based:
            cell_type = "IF_cond_exp"
            parameters |= {"e_rev_E": 0.0, "e_rev_I": -80.0}
        size = int(rng.integers(2, 60))
        populations.append(Population(name, size, cell_type, parameters, {"v": -65.0}, True))
    neurons = list(populations)
    if rng.random() < 0.5:
        size = int(rng.integers(1, 40))
        times = tuple(np.sort(rng.uniform(1, 20, 3)) for _ in range(size))
        populations.append(Population("array", size, "SpikeSourceArray", {}, {}, False, times))
    if rng.random() < 0.5:
        poisson: dict[str, Value] = {
            "rate": float(rng.uniform(1, 5000)),
            "start": 0.0,
            "duration": 1e6,
        }
        size = int(rng.integers(1, 40))
        populations.append(Population("poisson", size, "SpikeSourcePoisson", poisson))
    for i in range(rng.integers(1, 7)):
        source = populations[rng.integers(len(populations))]
        target = neurons[rng.integers(len(neurons))]
        receptor = RECEPTORS[rng.integers(2)]
        connector = _connector(rng, source, target)
        n = len(connector.source) if isinstance(connector, FromList) else None
        negative = receptor == "inhibitory" and not conductance_based
        projections.append(
            Projection(
                f"p{i}",
                source.label,
                target.label,
                receptor,
                connector,
                _weight(rng, strength * rng.uniform(0.3, 3), negative, n),
                _delay(rng, same_delays, n),
            )
        )
    for target in neurons:
        if rng.random() < 0.5:
            receptor = RECEPTORS[rng.integers(2)]
            negative = receptor == "inhibitory" and not conductance_based
            drives.append(
                PoissonDrive(
                    f"drive of {target.label}",
                    target.label,
                    receptor,
                    float(10 ** rng.uniform(0, 4)),
                    _weight(rng, strength, negative, None),
                    _delay(rng, same_delays, None),
                )
            )
    network = Network(tuple(populations), tuple(projections), tuple(drives))
    return number_format("spinnaker").on(Realization(network, seed, timestep)).realization


def _connector(rng: np.random.Generator, source: Population, target: Population) -> ConnectionRule:
    m, n = source.size, target.size
    # sPyNNaker allows 256 synapses of one source onto one core
    most = min(40 * n, 100 * m)
    choice = rng.integers(7)
    if choice == 0:
        return AllToAll(self_connections=bool(rng.integers(2)))
    if choice == 1:
        return FixedProbability(float(rng.uniform(0.05, 1)))
    if choice == 2:
        return FixedNumberPre(int(rng.integers(1, 1 + most // n)), with_replacement=True)
    if choice == 3:
        return FixedNumberPost(int(rng.integers(1, 100)), with_replacement=True)
    if choice == 4:
        return OneToOne()
    if choice == 5:
        k = int(rng.integers(1, most))
        return FromList(rng.integers(0, m, k), rng.integers(0, n, k))
    return FixedTotalNumber(int(rng.integers(1, most)))


def _weight(rng: np.random.Generator, scale: float, negative: bool, n: int | None) -> Value:
    sign = -1.0 if negative else 1.0
    if n is not None and rng.random() < 0.5:
        return sign * scale * rng.gamma(2.0, 0.5, n)
    choice = rng.integers(5)
    if choice == 0:
        return sign * scale
    if choice == 1:
        # sums of such weights reach powers of two exactly
        return sign * 2.0 ** np.round(np.log2(scale))
    if choice == 2:
        low, high = sorted((0.2 * sign * scale, 2 * sign * scale))
        return Distribution("uniform", {"low": low, "high": high})
    low, high = (-np.inf, 0.0) if negative else (0.0, np.inf)
    sigma = scale * rng.uniform(0, 0.5)
    return Distribution(
        "normal_clipped", {"mu": sign * scale, "sigma": sigma, "low": low, "high": high}
    )


def _delay(rng: np.random.Generator, same: bool, n: int | None) -> Value:
    # halves of a step tell the ways of rounding apart
    constant = float(rng.integers(1, 60)) / 20
    if same or rng.random() < 0.4:
        return constant
    if n is not None:
        return rng.integers(1, 60, n) / 20
    return Distribution("uniform", {"low": 0.1, "high": float(rng.uniform(0.2, 3))})


# --- in a process of its own ---


def ask(folder: Path, seeds: list[int], mapped: bool) -> dict[int, Any]:
    """Shifts of ``random_realization`` by seed, and, if ``mapped``, synapses as they are read back."""
    home = folder / "home"
    home.mkdir()
    (home / ".spynnaker.cfg").write_text("")
    arguments = [str(int(mapped)), str(folder / "answer.npz"), *map(str, seeds)]
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        cwd=home,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("XDG_")} | {"HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "answer.npz") as stored:
        arrays = dict(stored)
    answers: dict[int, Any] = {seed: {"synapses": {}} for seed in seeds}
    for name, values in arrays.items():
        seed, kind, label = name.split("/", 2)
        if kind == "shifts":
            answers[int(seed)]["shifts"] = json.loads(str(values))
        else:
            answers[int(seed)]["synapses"][label] = Synapses(*values)
    return answers


def main(mapped: bool, out: Path, seeds: list[int]) -> None:
    """Write what sPyNNaker says to ``out``."""
    import pyNN.spiNNaker as sim  # noqa: N813, PLC0415
    from spinn_utilities.config_holder import set_config  # noqa: PLC0415

    answer: dict[str, Any] = {}
    for seed in seeds:
        realization = random_realization(seed)
        sim.setup(timestep=realization.timestep)
        set_config("Machine", "virtual_board", "True")
        set_config("Machine", "version", "5")
        populations, projections = lower(sim, realization)
        if mapped:
            sim.run(1.0)
            for label, projection in projections.items():
                answer[f"{seed}/synapses/{label}"] = _read(projection, realization.timestep)
        found = {
            label: [int(s) for s in population._vertex.get_ring_buffer_shifts()]
            for label, population in populations.items()
            if not realization.network.population(label).is_source
        }
        answer[f"{seed}/shifts/"] = np.array(json.dumps(found))
        sim.end()
    np.savez(out, **answer)


def lower(sim: Any, realization: Realization) -> tuple[dict[str, Any], dict[str, Any]]:
    """Populations and projections by label, drives included, in sPyNNaker."""
    populations, projections = {}, {}
    given: list[np.ndarray] = []

    def noted(milliseconds: np.ndarray, timestep: float) -> np.ndarray:
        given.append(milliseconds)
        return number_format("spinnaker").delay_steps(milliseconds, timestep)

    # sPyNNaker is to round the delays, so it gets them as they were drawn
    drawn = realization.with_delays(noted)
    for p in realization.network.populations:
        if p.cell_type == "SpikeSourceArray":
            cells = sim.SpikeSourceArray(spike_times=[t.tolist() for t in p.spike_times])
        else:
            cells = getattr(sim, p.cell_type)(**p.parameters)
        populations[p.label] = sim.Population(p.size, cells, label=p.label)
    for q in realization.network.projections:
        given.clear()
        synapses = Synapses.concatenate(list(drawn.synapses(q.label)))
        if len(synapses):
            delays = np.concatenate(given)
            ends = populations[q.source], populations[q.target]
            projections[q.label] = _connect(sim, *ends, synapses, delays, q.receptor)
    for d in realization.network.drives:
        given.clear()
        arrays = drawn.drive(d.label)
        index = np.arange(len(arrays.weight), dtype=np.int32)
        synapses = Synapses(index, index, arrays.weight, arrays.delay)
        source = sim.Population(
            len(index), sim.SpikeSourcePoisson(rate=d.rate), label=f"source of {d.label}"
        )
        ends = source, populations[d.target]
        projections[d.label] = _connect(sim, *ends, synapses, given[0], d.receptor)
    return populations, projections


def _connect(
    sim: Any, source: Any, target: Any, synapses: Synapses, delays: np.ndarray, receptor: str
) -> Any:
    """A list of synapses; ``delays`` (ms) that are all the same number of steps are one number."""
    order = np.lexsort((synapses.target, synapses.source))
    columns, names = [synapses.source, synapses.target, synapses.weight], ["weight"]
    static = sim.StaticSynapse(delay=float(delays[0]))
    if len(np.unique(synapses.delay)) > 1:
        columns, names = [*columns, delays], ["weight", "delay"]
        static = sim.StaticSynapse()
    rows = np.column_stack(columns)[order]
    connector = sim.FromListConnector(rows, column_names=names)
    return sim.Projection(source, target, connector, static, receptor_type=receptor)


def _read(projection: Any, timestep: float) -> np.ndarray:
    rows = np.concatenate(projection.get(["weight", "delay"], "list").connections)
    steps = np.rint(rows["delay"] / timestep)
    return np.array([rows["source"], rows["target"], rows["weight"], steps])


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        main(sys.argv[1] == "1", Path(sys.argv[2]), [int(s) for s in sys.argv[3:]])
