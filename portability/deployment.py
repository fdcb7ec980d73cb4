"""The deployment sheet: what a network takes on SpiNNaker, and what becomes of it there.

`make` maps a network to sPyNNaker's virtual machine, in a process and a home folder of its own, and
returns the sheet as plain JSON values. Its findings say, in words, which peculiarities of SpiNNaker
and sPyNNaker 7.4.1 the network meets, and what to do about each.

Up to `LISTED_SYNAPSES` synapses, the network is the one that a run on a board gets: every realized
synapse is listed, mapped, read back and compared. Larger networks cannot be listed. Their projections
are then mapped with the model's own connectors, as sPyNNaker would have the cores draw them, and
weights and delays are compared for `SAMPLED_SYNAPSES` realized synapses of each projection, rounded as
the cores round.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portability.backends import spinnaker
from portability.backends.emulator.spinnaker import (
    CONSTANTS,
    ONE,
    ULR_LARGEST,
    constants,
    encode,
    poisson_mean,
)
from portability.capture import capture
from portability.errors import RequestError
from portability.execution import ask
from portability.files import replacing
from portability.network import Distribution, FromList, Network, Value
from portability.precision import number_format
from portability.realization import Realization, Synapses
from portability.store import Store
from portability.study import Study
from portability.worker import Report, captured, peak_memory, serve

FORMAT = number_format("spinnaker-full")
SCHEMA = "portability-deployment/1"
LISTED_SYNAPSES = 4_000_000
SAMPLED_SYNAPSES = 20_000
SAMPLED_BLOCKS = 20
FINE_STEP_MS = 1e-6
"""Delays are compared with what was drawn on a grid of one nanosecond."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

SIGMA = 5.0
"""SD above the mean of the summed input that a cell should hold."""
EVENTS_PER_CORE = 13e6
"""Synaptic events per second that sPyNNaker plans one synapse core for."""
NOTABLE_DECAY = 1e-3
NOTABLE_RATE = 5e-3
"""Relative errors of a decay and of a Poisson source's rate that are worth a finding."""
COARSE = 0.1
"""Rounding error (SD) relative to the SD of weights from which resolution is a finding."""
FEWEST_NEURONS = 8
"""Fewer neurons on a core are no advice."""
SEVERITIES = ("error", "warning", "note")

Progress = Callable[[str], None]


# --- Making a sheet ---


def of_study(
    study: Study, seed: int | None, timestep: float | None, progress: Progress
) -> dict[str, Any]:
    """The sheet of a study's network, for its first seed and its time step (ms) unless given.

    Raises RequestError as `make` does, and when the model cannot be built or a time step is not
    allowed.
    """
    simulation = study.simulation
    timestep = simulation.timestep if timestep is None else timestep
    try:
        if not timestep > 0:
            raise ValueError("must be a positive number of milliseconds")
        n_steps = simulation.steps(timestep)
    except ValueError as error:
        raise RequestError(f"a timestep of {timestep:g} ms is not allowed: {error}") from None
    try:
        # what a script prints is not the command's output
        with contextlib.redirect_stdout(sys.stderr):
            network = capture(study.build, study.model.parameters, timestep)
    except RequestError as error:
        raise RequestError(f"{study.file}: model.build: {error}") from error
    model = {
        "build": study.model.build,
        "base": str(study.file.parent.resolve()),
        "parameters": study.model.parameters,
    }
    seed = simulation.seeds[0] if seed is None else seed
    return make(model, network, seed, timestep, n_steps, study.options("spinnaker"), progress)


def make(
    model: Mapping[str, Any],
    network: Network,
    seed: int,
    timestep: float,
    n_steps: int,
    options: Mapping[str, Any],
    progress: Progress = lambda phase: None,
) -> dict[str, Any]:
    """The deployment sheet of a network for ``seed`` on a grid of ``timestep`` ms.

    ``model`` names the build function again, as ``build``, ``base`` (a folder) and ``parameters``;
    SDRAM is that of a run of ``n_steps`` steps; ``options`` are those of the backend ``spinnaker``.
    Raises RequestError when the network cannot be mapped or sPyNNaker is missing.
    """
    problems = spinnaker.unmappable(network, timestep)
    if problems:
        raise RequestError(problems[0])
    request = {
        "network": network.fingerprint(),
        "seed": seed,
        "timestep": timestep,
        "n_steps": n_steps,
        "options": dict(options),
    }
    facts = ask(
        __name__,
        {"model": dict(model), "request": request, "directory": str(Path.cwd())},
        lambda report: progress(report["phase"]) if "phase" in report else None,
    )
    sheet = {
        "schema": SCHEMA,
        "model": {"build": model["build"], "parameters": model["parameters"]},
        "seed": seed,
        "timestep": timestep,
        "n_steps": n_steps,
        "options": dict(options),
        **facts,
    }
    return sheet | {"findings": findings(network, sheet)}


def write(sheet: Mapping[str, Any], study: Study, folder: Path) -> list[Path]:
    """Write ``deployment.json`` into ``folder``, and into its results and report if it has them.

    Returns what was written. Results whose runs are no longer those of the study stay as they are.
    """
    from portability import execution, results  # noqa: PLC0415 - heavy, and only for this

    store = Store(folder)
    with store.locked():
        path = folder / "deployment.json"
        text = json.dumps(sheet, indent=1, allow_nan=False, ensure_ascii=False)
        with replacing(path) as temporary:
            temporary.write_bytes(text.encode() + b"\n")
        if not (folder / "results.json").exists():
            return [path]
        plan = execution.plan(study)
        try:
            outcomes = execution.stored(plan, store)
        except RequestError:
            return [path]
        report = results.write(results.assemble(plan, outcomes, store), folder)
        return [path, folder / "results.json", report]


# --- In the subprocess ---


def main() -> None:
    """Entry point of the subprocess; its working directory becomes sPyNNaker's home."""
    spinnaker.own_home(Path.cwd())
    serve(_work)


def _work(specification: Mapping[str, Any], report: Report) -> None:
    if reason := spinnaker.available():
        raise RequestError(reason)
    request = specification["request"]
    network = captured(specification)
    realization = Realization(network, request["seed"], request["timestep"], FORMAT.delay_steps)
    report({"result": measure(realization, request["n_steps"], request["options"], report)})


def delay_steps_on_chip(milliseconds: NDArray[Any], timestep: float) -> NDArray[np.int32]:
    """Delays as cores round those that they draw themselves: s16.15 numbers, rounded down."""
    per_step = int(encode(1.0 / timestep, "steps per millisecond"))
    fixed = np.rint(np.asarray(milliseconds) * ONE).astype(np.int64)
    return np.maximum((fixed * per_step) >> (2 * 15), 1).astype(np.int32)


def measure(
    realization: Realization,
    n_steps: int,
    options: Mapping[str, Any],
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
    exact = Realization(network, realization.seed, FINE_STEP_MS)
    projections = []
    for p in network.projections:
        count = realization.synapse_count(p.label)
        row: dict[str, Any] = {
            "label": p.label,
            "kind": "projection",
            "source": p.source,
            "target": p.target,
            "receptor": p.receptor,
            "connector": type(p.connector).__name__,
            "synapses": count,
        }
        if count:
            step = steps[p.target, p.receptor]
            listed = not generated or not spinnaker.generated_on_chip(p)
            blocks = [(0, count)] if listed else _blocks(count)
            held = mapped.read(p.label) if listed else None
            given = Synapses.concatenate(
                [realization.synapse_range(p.label, *block) for block in blocks]
            )
            drawn = Synapses.concatenate([exact.synapse_range(p.label, *b) for b in blocks])
            size = network.population(p.target).size
            row |= _compared(given, drawn.delay * FINE_STEP_MS, held, step, realization.timestep)
            row["in_degree"] = (
                int(np.bincount(given.target, minlength=size).max()) if listed else count / size
            )
        projections.append(row)
    for d in network.drives:
        arrays, fine = realization.drive(d.label), exact.drive(d.label)
        index = np.arange(len(arrays.rate), dtype=np.int32)
        given = Synapses(index, index, arrays.weight, arrays.delay)
        row = {
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
        step = steps[d.target, d.receptor]
        # drives are lists, of any size
        held = mapped.read(d.label)
        row |= _compared(given, fine.delay * FINE_STEP_MS, held, step, realization.timestep)
        projections.append(row)
    return {
        "software": spinnaker.versions(),
        "mode": "generated" if generated else "listed",
        "synapses": realization.n_synapses,
        "machine": mapped.machine(n_steps),
        "populations": populations,
        "constants": _constants(realization),
        "delay_stages": mapped.delay_stages(),
        "projections": projections,
        "warnings": mapped.warnings,
        "cost": {"seconds": time.perf_counter() - start, "peak_rss_bytes": peak_memory()},
    }


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
            f"connectors or distributions of {_listing(list(lists))}; cores draw from "
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
        weight = np.fmod(stored, spinnaker.LARGEST_CELL + 1) * step
        delay = delay_steps_on_chip(drawn_delay, timestep)
    else:
        stored = np.rint(scaled)
        lost = len(given) - len(held)
        misplaced = len(held) - _in_common(given, held)
        if lost or misplaced:
            # what is left cannot be told apart: by sPyNNaker's rule, then
            weight, delay = np.fmod(stored, spinnaker.LARGEST_CELL + 1) * step, given.delay
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
        "wrapped": int(np.count_nonzero(stored > spinnaker.LARGEST_CELL)),
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


# --- Findings ---


def findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    """What of the sheet needs attention: ``kind``, ``severity``, ``where``, ``what``, ``advice``."""
    found: list[dict[str, str]] = []
    for part in (
        _synapse_findings,
        _scale_findings,
        _delay_findings,
        _saturation_findings,
        _core_findings,
        _poisson_findings,
        _on_chip_findings,
        _other_findings,
    ):
        found += part(network, sheet)
    return sorted(found, key=lambda finding: SEVERITIES.index(finding["severity"]))


def _finding(kind: str, severity: str, where: str, what: str, advice: str) -> dict[str, str]:
    return {"kind": kind, "severity": severity, "where": where, "what": what, "advice": advice}


def _listing(names: Sequence[str], most: int = 4) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _compared_rows(sheet: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in sheet["projections"] if row["synapses"]]


def _synapse_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for row in _compared_rows(sheet):
        if row["lost"] or row["misplaced"]:
            found.append(
                _finding(
                    "lost-synapses",
                    "error",
                    row["label"],
                    f"sPyNNaker loses {row['lost']:,} of {row['synapses']:,} synapses and gives "
                    f"{row['misplaced']:,} another source, target or delay",
                    "avoid two stages of delay extension for sources on several cores: take fewer "
                    "neurons per core (neurons_per_core) or shorter delays",
                )
            )
        if row["wrapped"]:
            limit = (spinnaker.LARGEST_CELL) * row["step"]
            found.append(
                _finding(
                    "wrapped-weights",
                    "error",
                    row["label"],
                    f"{row['wrapped']:,} of {row['compared']:,} weights are beyond {limit:.4g} nA, "
                    "the largest that 16 bits hold at this scale, and wrap around to small ones "
                    "without an error",
                    "raise the expected sum of weights (summed_excitatory, summed_inhibitory), or "
                    "leave the scale to sPyNNaker, whose own holds every single weight of a list",
                )
            )
        if row["zero"]:
            found.append(
                _finding(
                    "zero-weights",
                    "warning",
                    row["label"],
                    f"{row['zero']:,} of {row['compared']:,} weights are below half a step of "
                    f"{row['step']:.3g} nA and become 0",
                    "make the step finer: a smaller expected sum (summed_excitatory, "
                    "summed_inhibitory), or weights of more equal size onto this receptor",
                )
            )
    return found


def _scale_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for population, receptor, rows in _receptors(sheet):
        if not rows:
            continue
        where = f"{population['label']}, {receptor['receptor']}"
        step = receptor["step"]
        constant = all(row["delay"]["min"] == row["delay"]["max"] for row in rows)
        given = sheet["options"][f"summed_{receptor['receptor']}"]
        varied = _shift_with_varied_delays(rows, sheet)
        if constant and not given and varied < receptor["shift"]:
            found.append(
                _finding(
                    "constant-delays",
                    "warning",
                    where,
                    "no projection has delays that vary, so sPyNNaker expects all input at once and "
                    f"makes the step of weights {step:.3g} nA, {2 ** (receptor['shift'] - varied)} "
                    "times as coarse as with delays that vary",
                    "draw delays from a distribution, be it a narrow one, or set the expected sum of "
                    f"weights in one step (summed_{receptor['receptor']} here, "
                    "max_expected_summed_weight of a sPyNNaker population)",
                )
            )
        coarse = []
        for row in rows:
            sd, mean = row["weight"]["sd"], row["weight"]["mean"]
            rounding = step / math.sqrt(12)
            if sd > 0 and rounding > COARSE * sd:
                coarse.append(
                    f"{row['label']} (error of {rounding / sd:.0%} of the SD of its weights)"
                )
            elif sd == 0 and mean > 0 and abs(row["weight_error"]["mean"]) > 0.01 * mean:
                coarse.append(
                    f"{row['label']} (weight off by {row['weight_error']['mean'] / mean:+.1%})"
                )
        if coarse:
            found.append(
                _finding(
                    "coarse-weights",
                    "warning",
                    where,
                    f"the step of weights, {step:.3g} nA, is coarse for {_listing(coarse)}",
                    "make the step finer: delays that vary, a smaller expected sum, or fewer strong "
                    "weights onto this receptor",
                )
            )
    return found


def _receptors(
    sheet: Mapping[str, Any],
) -> list[tuple[Mapping[str, Any], Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Every population of neurons with each receptor and the projections and drives onto it."""
    rows = _compared_rows(sheet)
    return [
        (
            population,
            receptor,
            [
                row
                for row in rows
                if (row["target"], row["receptor"]) == (population["label"], receptor["receptor"])
            ],
        )
        for population in sheet["populations"]
        for receptor in population.get("receptors", ())
    ]


def _summed(
    rows: Sequence[Mapping[str, Any]], sheet: Mapping[str, Any], poisson: bool
) -> tuple[float, float]:
    """Mean and SD (nA) of the input of one step, at the rates that sPyNNaker plans with.

    A compound Poisson sum over the projections; with ``poisson`` drives have their own rates.
    """
    planned = sheet["options"]["spikes_per_second"]
    mean = variance = 0.0
    for row in rows:
        rate = row["rate"] if poisson and row["kind"] == "drive" else planned
        spikes = row["in_degree"] * rate * sheet["timestep"] / 1000
        w = row["weight"]
        mean += spikes * w["mean"]
        variance += spikes * (w["mean"] ** 2 + w["sd"] ** 2)
    return mean, math.sqrt(variance)


def _shift_with_varied_delays(rows: Sequence[Mapping[str, Any]], sheet: Mapping[str, Any]) -> int:
    """About the shift that sPyNNaker would choose if delays varied."""
    mean, sd = _summed(rows, sheet, poisson=False)
    largest = max(row["weight"]["max"] for row in rows)
    expected = max(mean + sheet["options"]["ring_buffer_sigma"] * sd, largest)
    if expected <= 0:
        return 0
    shift = math.ceil(max(0.0, math.log2(expected)))
    return shift + (2.0**shift <= expected)


def _saturation_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for population, receptor, rows in _receptors(sheet):
        if not rows:
            continue
        limit = spinnaker.LARGEST_CELL * receptor["step"]
        mean, sd = _summed(rows, sheet, poisson=True)
        if mean + SIGMA * sd > limit:
            found.append(
                _finding(
                    "saturation",
                    "warning",
                    f"{population['label']}, {receptor['receptor']}",
                    f"the input of one step is {mean:.3g} nA on average with an SD of {sd:.3g} nA "
                    f"(Poisson sources at their rates, neurons at "
                    f"{sheet['options']['spikes_per_second']:g} spikes/s), and a cell of the ring "
                    f"buffer saturates at {limit:.3g} nA, less than {SIGMA:g} SD above",
                    "raise the expected sum of weights in one step to "
                    f"{(mean + SIGMA * sd) / 2:.3g} nA or more (summed_{receptor['receptor']} here)",
                )
            )
    return found


def _delay_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of sources whose spikes a delay extension sends again, by the number of its stages."""
    found = []
    dt = sheet["timestep"]
    populations = {p["label"]: p for p in sheet["populations"]}
    beyond = [
        row
        for row in _compared_rows(sheet)
        if row["source"]
        and row["delay"]["max"] > populations[row["target"]]["delay_slots"] * dt * (1 + 1e-9)
    ]
    kinds = {kind["kind"]: kind["cores"] for kind in sheet["machine"]["kinds"]}
    for stages in sorted(set(sheet["delay_stages"].values())):
        sources = [label for label, n in sheet["delay_stages"].items() if n == stages]
        rows = [row for row in beyond if row["source"] in sources]
        if not rows:
            continue
        longest = max(row["delay"]["max"] for row in rows)
        slots = min(populations[row["target"]]["delay_slots"] for row in rows)
        fitting = 2 ** math.floor(math.log2(2**13 / math.ceil(longest / dt - 1e-9)))
        advice = f"with {fitting} neurons per core (neurons_per_core), no extension is needed"
        if fitting < FEWEST_NEURONS:
            advice = "shorten the delays, or take a longer time step"
        needed = (
            f"delays of up to {longest:g} ms ({_listing([row['label'] for row in rows])}) are longer "
            f"than the {slots} slots of {slots * dt:g} ms"
        )
        where = _listing(sources)
        if stages == 1:
            what = (
                f"{needed} and need a delay extension, which sends spikes a second time "
                f"({kinds['delay extensions']} cores for all populations)"
            )
            found.append(_finding("delay-extension", "note", where, what, advice))
            continue
        several = any(
            spinnaker.loses_synapses(
                network.population(label), stages, sheet["options"]["neurons_per_core"]
            )
            for label in sources
        )
        what = f"{needed} and need {stages} stages of delay extension"
        if several:
            what += ", with which sPyNNaker loses or misplaces synapses of sources on several cores"
        severity = "error" if several else "warning"
        found.append(_finding("delay-stages", severity, where, what, advice))
    return found


def _core_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    factor = sheet["options"]["time_scale_factor"]
    numbers = {p["label"]: p.get("synapse_cores", 0) for p in sheet["populations"]}
    several = {label: n for label, n in numbers.items() if n > 1}
    if several:
        low, high = min(several.values()), max(several.values())
        found.append(
            _finding(
                "synapse-cores",
                "warning",
                _listing(list(several)),
                f"{low if low == high else f'{low} to {high}'} synapse cores feed each neuron core; "
                "their input is summed without saturation, so that an overflow spills into the "
                "neighbouring neuron",
                "fewer neurons per core (neurons_per_core) or a larger time_scale_factor need fewer "
                "synapse cores; keep the summed input far below the largest cell",
            )
        )
    for population in sheet["populations"]:
        rows = [row for row in _compared_rows(sheet) if row["target"] == population["label"]]
        if not rows:
            continue
        planned = sheet["options"]["spikes_per_second"]
        events = sum(row["in_degree"] * row.get("rate", planned) for row in rows)
        events *= population["neurons_per_core"]
        load = events / max(1, population.get("synapse_cores", 0)) / factor
        if load > EVENTS_PER_CORE:
            found.append(
                _finding(
                    "event-load",
                    "warning",
                    population["label"],
                    f"a core has to process about {load:.2g} synaptic events per second of wall time, "
                    f"more than the {EVENTS_PER_CORE:.2g} that sPyNNaker plans a core for; it plans "
                    f"every source, Poisson sources too, at {planned:g} spikes/s",
                    "take fewer neurons per core (neurons_per_core), a larger time_scale_factor, or "
                    "more synapse cores (n_synapse_cores of a sPyNNaker population)",
                )
            )
    if sheet["timestep"] < 1 and factor == 1:
        found.append(
            _finding(
                "real-time",
                "note",
                "all populations",
                f"steps of {sheet['timestep']:g} ms are to be computed in {sheet['timestep']:g} ms of "
                "wall time, and no dry run can tell whether the cores keep up; late spikes are lost",
                "look at sPyNNaker's provenance after a run on a board, and raise time_scale_factor "
                "if it reports overruns",
            )
        )
    return found


def _poisson_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    rates: dict[str, Value] = {d.label: d.rate for d in network.drives}
    for p in network.populations:
        if p.cell_type == "SpikeSourcePoisson":
            rates[p.label] = p.parameters["rate"]
    for label, value in rates.items():
        if isinstance(value, Distribution):
            continue
        asked = np.unique(np.asarray(value, dtype=np.float64))
        for rate in (float(asked[0]), float(asked[-1])) if len(asked) > 1 else (float(asked[0]),):
            if not rate:
                continue
            mean, gaussian = poisson_mean(rate, sheet["timestep"], label)
            held = mean * 1000 / sheet["timestep"]
            if gaussian:
                found.append(
                    _finding(
                        "poisson-gaussian",
                        "warning",
                        label,
                        f"{rate:g} Hz are {rate * sheet['timestep'] / 1000:.3g} spikes per step, from "
                        "10 on a core draws them as the rounded square of a Gaussian variable",
                        "split the source into several of lower rate",
                    )
                )
            elif abs(held / rate - 1) >= NOTABLE_RATE:
                found.append(
                    _finding(
                        "poisson-rate",
                        "warning",
                        label,
                        f"the core's arithmetic makes {rate:g} Hz about {held:.6g} Hz "
                        f"({held / rate - 1:+.2%})",
                        "choose another rate, or split the source into several of lower rate",
                    )
                )
    return found


def _on_chip_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of what differs between this dry run and a script that lets the cores draw its synapses."""
    found = []
    dt = sheet["timestep"]
    unlike = "; a run here sends lists and is not affected" if sheet["mode"] == "listed" else ""
    drawn = [p for p in network.projections if not isinstance(p.connector, FromList)]
    short: dict[str, list[str]] = {}
    random = []
    given = [(p.label, p.delay) for p in drawn] + [(d.label, d.delay) for d in network.drives]
    for label, value in given:
        if isinstance(value, Distribution):
            random.append(label)
        elif isinstance(value, float):
            delay = np.array([value])
            host, core = (
                int(FORMAT.delay_steps(delay, dt)[0]),
                int(delay_steps_on_chip(delay, dt)[0]),
            )
            if core != host:
                key = f"{value:g} ms becomes {core} steps instead of {host}"
                short.setdefault(key, []).append(label)
    for what, labels in short.items():
        found.append(
            _finding(
                "on-chip-delays",
                "warning",
                _listing(labels),
                f"where cores generate the synapses, a delay of {what}, because they round down what "
                f"s16.15 numbers hold{unlike}",
                "in a script of your own, give the synapses as a FromListConnector or the delay half "
                "a step longer",
            )
        )
    if random:
        found.append(
            _finding(
                "on-chip-delays",
                "note",
                _listing(random),
                "where cores draw delays, they round down, which makes them half a step shorter on "
                f"average{unlike}",
                "in a script of your own, give the synapses as a FromListConnector or shift the "
                "distribution by half a step",
            )
        )
    if drawn:
        where = _listing([p.label for p in drawn])
        if sheet["mode"] == "generated":
            what = (
                f"{sheet['synapses']:,} synapses are too many to list, so the map is that of a script "
                "whose synapses the cores draw; connections, weights and delays will be others than "
                "in the simulations, and weights and delays were compared for a sample "
                f"({SAMPLED_SYNAPSES:,} of each projection) rounded as the cores round"
            )
            advice = "compare ensembles, not single runs; for a comparison synapse by synapse, scale down"
        else:
            what = (
                "a script of your own with these connectors lets the cores draw connections, weights "
                "and delays with their own generators, others than this map has; a run here sends "
                "lists of the same synapses as every other backend gets"
            )
            advice = (
                "compare ensembles, not single runs, or give the synapses as a FromListConnector"
            )
        found.append(_finding("on-chip-draws", "note", where, what, advice))
    return found


def _other_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    dt = sheet["timestep"]
    neural = [p.label for p in network.projections if not network.population(p.source).is_source]
    if neural:
        found.append(
            _finding(
                "short-loop",
                "note",
                _listing(neural),
                "a spike of a neuron acts one step earlier than in NEST after the same delay, so "
                f"every loop is {dt:g} ms shorter",
                "lengthen delays between neurons by one step if timing matters; here the port is "
                "judged as it is",
            )
        )
    drawn = [
        p.label
        for p in network.populations
        if any(isinstance(v, Distribution) for v in p.initial_values.values())
    ]
    if drawn:
        found.append(
            _finding(
                "initial-values",
                "note",
                _listing(drawn),
                "initial values given as a distribution are drawn by the cores and cannot be known; "
                "here they are the same arrays as every other backend gets",
                "in a script of your own, initialize with arrays",
            )
        )
    off: dict[str, list[str]] = {}
    for constant in sheet["constants"]:
        if abs(constant["error"]) >= NOTABLE_DECAY:
            error = f"{constant['name']} = {constant['value']:g} ms by {constant['error']:+.2%}"
            off.setdefault(error, []).append(constant["population"])
    for error, labels in off.items():
        found.append(
            _finding(
                "constants",
                "note",
                _listing(labels),
                f"in the arithmetic of the cores, rates of decay are off: that of {error} at this "
                "time step",
                "take a longer time step, or see what it does with the emulator's format "
                "spinnaker-full",
            )
        )
    for text in sheet["warnings"]:
        found.append(
            _finding("spynnaker", "note", "sPyNNaker", text, "see the documentation of sPyNNaker")
        )
    return found
