"""The deployment sheet: what a network takes on SpiNNaker, and what becomes of it there.

`make` maps a network to sPyNNaker's virtual machine, in a process and a home folder of its own, and
returns the sheet as plain JSON values, with the findings of `pynn_portability.spinnaker.findings`.

Up to `LISTED_SYNAPSES` synapses, the network is the one that a run on a board gets: every realized
synapse is listed, mapped, read back and compared. Larger networks cannot be listed. Their projections
are then mapped with the model's own connectors, as sPyNNaker would have the cores draw them, and
weights and delays are compared for `SAMPLED_SYNAPSES` realized synapses of each projection, rounded as
the cores round.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynn_portability.backends import refusals, spinnaker
from pynn_portability.errors import RequestError, listing
from pynn_portability.files import replacing, sealed
from pynn_portability.formats.spinnaker import (
    CONSTANTS,
    LARGEST_CELL,
    ONE,
    ULR_LARGEST,
    constants,
    delay_steps_on_chip,
)
from pynn_portability.model.network import Network, PoissonDrive, Projection
from pynn_portability.model.serialized import read_network, write_network
from pynn_portability.realize.realization import Realization, Synapses
from pynn_portability.run.events import Advanced, Began, Ended, Listener, ignore
from pynn_portability.run.guest import captured, completed
from pynn_portability.run.plan import refuse_invalid
from pynn_portability.run.process import Report, ask, peak_memory, serve
from pynn_portability.run.study import Study, shareable
from pynn_portability.spinnaker.findings import (
    FORMAT,
    SAMPLED_SYNAPSES,
    findings,
)

SCHEMA = "portability-deployment/1"
LISTED_SYNAPSES = 4_000_000
SAMPLED_BLOCKS = 20
FINE_STEP_MS = 1e-6
"""Delays are compared with what was drawn on a grid of one nanosecond."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

MAPPING = "mapping to SpiNNaker"


# --- Making a sheet ---


def of_study(
    study: Study, seed: int | None, timestep: float | None, listener: Listener
) -> dict[str, Any]:
    """The sheet of a study's network, for its first seed and its time step (ms) unless given.

    Raises RequestError as `make` does, and when the model cannot be built or a time step is not
    allowed.
    """
    study, _ = completed(study, listener)
    simulation = study.simulation
    timestep = simulation.timestep if timestep is None else timestep
    try:
        if not timestep > 0:
            raise ValueError("must be a positive number of milliseconds")
        n_steps = simulation.steps(timestep)
    except ValueError as error:
        raise RequestError(f"a timestep of {timestep:g} ms is not allowed: {error}") from None
    network = captured(study, [timestep], listener)[timestep]
    refuse_invalid(study, network, timestep)
    model = {"build": shareable(study.model.reference), "parameters": study.model.parameters}
    seed = simulation.seeds[0] if seed is None else seed
    options = study.options("spinnaker")
    assert isinstance(options, spinnaker.SpinnakerOptions)
    return make(model, network, seed, timestep, n_steps, options, listener)


def make(
    model: Mapping[str, Any],
    network: Network,
    seed: int,
    timestep: float,
    n_steps: int,
    options: spinnaker.SpinnakerOptions,
    listener: Listener = ignore,
) -> dict[str, Any]:
    """The deployment sheet of a network for ``seed`` on a grid of ``timestep`` ms.

    ``model`` says where the network comes from: the build function, as ``build``, and its ``parameters``;
    SDRAM is that of a run of ``n_steps`` steps; ``options`` are those of the backend ``spinnaker``.
    Raises RequestError when the network cannot be mapped or sPyNNaker is missing.
    """
    problems = refusals(spinnaker.BACKEND, network, FORMAT, timestep)
    if problems:
        raise RequestError(problems[0])
    listener(Began(MAPPING))
    try:
        with tempfile.TemporaryDirectory(prefix="portability-") as folder:
            file = Path(folder) / "network.npz"
            write_network(file, network)
            specification = {
                "network": str(file),
                "seed": seed,
                "timestep": timestep,
                "n_steps": n_steps,
                "options": options.model_dump(),
            }
            facts = ask(
                __name__,
                specification,
                lambda said: listener(Advanced(MAPPING, phase=said.get("phase", ""))),
            )
    finally:
        listener(Ended(MAPPING))
    sheet = {
        "schema": SCHEMA,
        "model": dict(model),
        "seed": seed,
        "timestep": timestep,
        "n_steps": n_steps,
        "options": options.model_dump(),
        **facts,
    }
    return sheet | {"findings": findings(network, sheet)}


def write(sheet: Mapping[str, Any], folder: Path) -> Path:
    """Write ``deployment.json`` into ``folder``; returns its path."""
    path = folder / "deployment.json"
    with replacing(path) as temporary:
        temporary.write_text(sealed(sheet), encoding="utf-8")
    return path


# --- In the subprocess ---


def main() -> None:
    """Entry point of the subprocess; its working directory becomes sPyNNaker's home."""
    spinnaker.own_home(Path.cwd())
    serve(_work)


def _work(specification: Mapping[str, Any], report: Report) -> None:
    if reason := spinnaker.BACKEND.available():
        raise RequestError(reason)
    network = read_network(Path(specification["network"]))
    held = FORMAT.on(Realization(network, specification["seed"], specification["timestep"]))
    options = spinnaker.SpinnakerOptions.model_validate(specification["options"])
    report({"result": measure(held.realization, specification["n_steps"], options, report)})


def measure(
    realization: Realization,
    n_steps: int,
    options: spinnaker.SpinnakerOptions,
    report: Report = lambda message: None,
) -> dict[str, Any]:
    """Map a realization to the virtual machine and tell what it takes and what it changes.

    Only in a process that has called `spinnaker.own_home`. Raises RequestError as `make` does.
    """
    network = realization.network
    generated = realization.n_synapses > LISTED_SYNAPSES
    if generated:
        _refuse_long_lists(realization)
    start = time.perf_counter()
    report({"phase": f"mapping {realization.n_synapses:,} synapses"})
    mapped = spinnaker.DryRun(realization, options, generated)
    report({"phase": "comparing weights and delays"})
    populations = [
        {
            "label": p.label,
            "size": p.size,
            "cell_type": p.cell_type,
            **(mapped.sources(p.label) if p.is_source else mapped.neurons(p.label)),
        }
        for p in network.populations
    ]
    steps = {
        (p["label"], r["receptor"]): r["step"] for p in populations for r in p.get("receptors", ())
    }
    comparison = _Comparison(realization, mapped, steps, generated)
    return {
        "software": spinnaker.BACKEND.versions(),
        "mode": "generated" if generated else "listed",
        "synapses": realization.n_synapses,
        "machine": mapped.machine(n_steps),
        "populations": populations,
        "constants": _constants(realization),
        "delay_stages": mapped.delay_stages(),
        "projections": [
            *(comparison.projection(p) for p in network.projections),
            *(comparison.drive(d) for d in network.drives),
        ],
        "warnings": mapped.warnings,
        "cost": {"seconds": time.perf_counter() - start, "peak_rss_bytes": peak_memory()},
    }


class _Comparison:
    """Rows of the sheet on what became of the synapses of projections and drives.

    ``steps`` are those of weights (nA) by target population and receptor.
    """

    def __init__(
        self,
        realization: Realization,
        mapped: spinnaker.DryRun,
        steps: Mapping[tuple[str, str], float],
        generated: bool,
    ) -> None:
        self._realization, self._mapped = realization, mapped
        self._steps, self._generated = steps, generated
        self._exact = Realization(realization.network, realization.seed, FINE_STEP_MS)

    def projection(self, p: Projection) -> dict[str, Any]:
        """The row of a projection."""
        realization, label = self._realization, p.label
        count = realization.synapse_count(label)
        row: dict[str, Any] = {
            "label": label,
            "kind": "projection",
            "source": p.source,
            "target": p.target,
            "receptor": p.receptor,
            "connector": type(p.connector).__name__,
            "synapses": count,
        }
        if not count:
            return row
        listed = not self._generated or not spinnaker.generated_on_chip(p)
        blocks = [(0, count)] if listed else _blocks(count)
        given, drawn = (
            Synapses.concatenate([of.synapse_range(label, *block) for block in blocks])
            for of in (realization, self._exact)
        )
        row |= _compared(
            given,
            drawn.delay * FINE_STEP_MS,
            self._mapped.read(label) if listed else None,
            self._steps[p.target, p.receptor],
            realization.timestep,
        )
        size = realization.network.population(p.target).size
        row["in_degree"] = (
            int(np.bincount(given.target, minlength=size).max()) if listed else count / size
        )
        return row

    def drive(self, d: PoissonDrive) -> dict[str, Any]:
        """The row of a drive."""
        arrays, fine = self._realization.drive(d.label), self._exact.drive(d.label)
        index = np.arange(len(arrays.rate), dtype=np.int32)
        row: dict[str, Any] = {
            "label": d.label,
            "kind": "drive",
            "source": None,
            "target": d.target,
            "receptor": d.receptor,
            "connector": "OneToOne",
            "synapses": len(index),
            "rate": float(arrays.rate.max()),
            "in_degree": 1,
        }
        return row | _compared(
            Synapses(index, index, arrays.weight, arrays.delay),
            fine.delay * FINE_STEP_MS,
            # drives are lists, of any size
            self._mapped.read_drive(d.label),
            self._steps[d.target, d.receptor],
            self._realization.timestep,
        )


def _refuse_long_lists(realization: Realization) -> None:
    lists = {
        p.label: realization.synapse_count(p.label)
        for p in realization.network.projections
        if not spinnaker.generated_on_chip(p)
    }
    if sum(lists.values()) > LISTED_SYNAPSES:
        raise RequestError(
            f"{sum(lists.values()):,} synapses can neither be listed, of which at most "
            f"{LISTED_SYNAPSES:,} are allowed, nor be drawn by SpiNNaker's cores, because of the "
            f"connectors or distributions of {listing(list(lists))}; cores draw from "
            f"{', '.join(spinnaker.GENERATED_ON_CHIP)}"
        )


def _blocks(count: int) -> list[tuple[int, int]]:
    """Parts of a projection that are spread evenly over it."""
    if count <= SAMPLED_SYNAPSES:
        return [(0, count)]
    length = SAMPLED_SYNAPSES // SAMPLED_BLOCKS
    starts = np.linspace(0, count - length, SAMPLED_BLOCKS).astype(np.int64)
    return [(int(start), int(start) + length) for start in starts]


def _compared(
    given: Synapses,
    drawn_delay: NDArray[Any],
    held: Synapses | None,
    step: float,
    timestep: float,
) -> dict[str, Any]:
    """What became of weights and delays; ``held`` is None where cores would draw them.

    ``drawn_delay`` (ms) are the delays of ``given`` before they became steps.
    """
    magnitude = np.abs(given.weight)
    scaled = magnitude / step
    lost = misplaced = 0
    if held is None:
        stored = np.floor(scaled + 0.5)
        weight = np.fmod(stored, LARGEST_CELL + 1) * step
        delay = delay_steps_on_chip(drawn_delay, timestep)
    else:
        stored = np.rint(scaled)
        lost = len(given) - len(held)
        misplaced = len(held) - _in_common(given, held)
        if lost or misplaced:
            # what is left cannot be told apart: by sPyNNaker's rule, then
            weight, delay = np.fmod(stored, LARGEST_CELL + 1) * step, given.delay
        else:
            mine = np.lexsort((magnitude, given.delay, given.target, given.source))
            theirs = np.lexsort((held.weight, held.delay, held.target, held.source))
            weight, delay = np.empty(len(given)), np.empty(len(given), np.int32)
            weight[mine], delay[mine] = held.weight[theirs], held.delay[theirs]
    delays = delay * timestep
    return {
        "compared": len(given),
        "step": step,
        "weight": _moments(magnitude),
        "weight_error": _errors(weight - magnitude),
        "delay": _moments(delays),
        "delay_error": _errors(delays - drawn_delay),
        "wrapped": int(np.count_nonzero(stored > LARGEST_CELL)),
        "zero": int(np.count_nonzero((weight == 0) & (magnitude > 0) & (stored == 0))),
        "lost": lost,
        "misplaced": misplaced,
    }


def _in_common(a: Synapses, b: Synapses) -> int:
    """How many synapses (source, target, delay) are in both, each as often as in both."""
    shape = [
        int(max(x.max(), y.max(initial=0))) + 1
        for x, y in ((a.source, b.source), (a.target, b.target), (a.delay, b.delay))
    ]
    codes = [np.ravel_multi_index((s.source, s.target, s.delay), shape) for s in (a, b)]
    distinct, which = np.unique(np.concatenate(codes), return_inverse=True)
    counts = [np.bincount(w, minlength=len(distinct)) for w in np.split(which, [len(a)])]
    return int(np.minimum(*counts).sum())


def _moments(values: NDArray[Any]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()) if values.min() != values.max() else 0.0,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def _errors(errors: NDArray[Any]) -> dict[str, Any]:
    return {
        "mean": float(errors.mean()),
        "sd": float(errors.std()),
        "max": float(np.abs(errors).max()),
        "quantiles": [float(q) for q in np.quantile(errors, QUANTILES)],
    }


def _constants(realization: Realization) -> list[dict[str, Any]]:
    """Relative errors of the decay rates that cores compute, the largest of each population."""
    rows = []
    for p in realization.network.populations:
        if p.is_source:
            continue
        parameters = realization.parameters(p.label)
        table, _ = constants(parameters, realization.timestep, 1, (0, 0), p.label)
        held = dict(zip(CONSTANTS, table.astype(np.int64), strict=True))
        for name, decay in (
            ("tau_m", held["decay"] / ONE),
            ("tau_syn_E", (held["decay_e"] & ULR_LARGEST) / (ULR_LARGEST + 1)),
            ("tau_syn_I", (held["decay_i"] & ULR_LARGEST) / (ULR_LARGEST + 1)),
        ):
            tau = np.unique(parameters[name])
            if len(tau) != 1 or not np.all(decay > 0):
                continue
            errors = np.log(decay) / (-realization.timestep / tau[0]) - 1
            worst = float(errors[np.argmax(np.abs(errors))])
            rows.append(
                {"population": p.label, "name": name, "value": float(tau[0]), "error": worst}
            )
    return rows
