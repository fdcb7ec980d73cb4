"""What a study's verdict notices: the smallest planted fault of each kind that it calls a deviation.

Sizes of a fault are tried from the smallest to the largest, until one is noticed. Faults of spikes
are planted into the study's own reference runs. Faults of the model are simulated on the emulator
in double precision, and judged against an ensemble of the same seeds from there, because it is
the fastest way to the dynamics of the reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing
from pynn_portability.judge.statistics import Statistics, statistics
from pynn_portability.judge.verdict import Judgement, baseline_distances, judge
from pynn_portability.model.transforms import MODEL_FAULTS, ModelFault, plant
from pynn_portability.probe.faults import SPIKE_FAULTS, SpikeFault, faulty_spikes
from pynn_portability.run import execution
from pynn_portability.run.execution import Outcome, Plan, Task
from pynn_portability.run.store import Store
from pynn_portability.run.study import Candidate, Reference

FILE = "selftest.json"
SCHEMA = "portability-selftest/1"


@dataclass(frozen=True)
class Finding:
    """A kind of fault: ``size`` is the smallest that was noticed, None if none was.

    ``where`` lists the comparisons that deviate at that size, the largest ratio first.
    """

    fault: str
    description: str
    simulated: bool
    tried: tuple[float, ...]
    size: float | None
    where: tuple[str, ...]


def spike_faults(plan: Plan, store: Store, progress: Progress) -> list[Finding]:
    """Findings for all faults of spikes; RequestError when reference runs are missing."""
    warmup = plan.study.simulation.warmup
    tasks = tuple(t for t in plan.tasks if t.run.role == "reference")
    outcomes = execution.stored(replace(plan, tasks=tasks), store)
    runs = {o.run.seed: store.spikes(o.record["key"]) for o in outcomes if o.record}
    line = progress.add_task("reference", total=None, phase="")
    reference = {seed: statistics(spikes, warmup) for seed, spikes in runs.items()}
    baseline = baseline_distances(reference)

    def judged(name: str, size: float) -> Judgement:
        progress.update(line, description=name, phase=f"size {size:g}")
        fault = SPIKE_FAULTS[name]
        faulty = {
            seed: statistics(faulty_spikes(spikes, fault, size, warmup, seed), warmup)
            for seed, spikes in runs.items()
        }
        return judge(reference, faulty, baseline)

    findings = [_finding(name, fault, judged) for name, fault in SPIKE_FAULTS.items()]
    progress.remove_task(line)
    return findings


def model_faults(
    plan: Plan, store: Store, progress: Progress, jobs: int | None = None
) -> list[Finding]:
    """Findings for all faults of the model; simulates what the (locked) store does not have.

    Raises RequestError when the emulator cannot run the network, or a run fails.
    """
    study = plan.study.model_copy(
        update={
            "reference": Reference(backend="emulator", format="double"),
            "candidate": [
                Candidate(backend="emulator", format=[_format(fault.timestep)])
                for fault in MODEL_FAULTS.values()
                if fault.timestep
            ],
        }
    )
    emulated = execution.plan(study)
    execution.refuse_problems(emulated)
    sound = tuple(t for t in emulated.tasks if t.run.role == "reference")
    reference = _simulated(emulated, sound, store, progress, jobs)
    baseline = baseline_distances(reference)

    def judged(name: str, size: float) -> Judgement:
        text = _format(MODEL_FAULTS[name].timestep)
        tasks = [
            _with_fault(t, emulated, name, size) for t in emulated.tasks if t.run.format == text
        ]
        return judge(reference, _simulated(emulated, tasks, store, progress, jobs), baseline)

    return [_finding(name, fault, judged) for name, fault in MODEL_FAULTS.items()]


def write(findings: Sequence[Finding], plan: Plan, store: Store) -> Path:
    """Write the findings beside the store's runs, for the report; returns the file."""
    content = {
        "schema": SCHEMA,
        "study": _identity(plan),
        "findings": [asdict(finding) for finding in findings],
    }
    file = store.folder / FILE
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return file


def read(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Findings that were written for this study as it is now, otherwise none."""
    try:
        content = json.loads((store.folder / FILE).read_text(encoding="utf-8"))
        current = content["schema"] == SCHEMA and content["study"] == _identity(plan)
        return list(content["findings"]) if current else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _identity(plan: Plan) -> list[Mapping[str, Any]]:
    """What the findings depend on: the requests of the reference's runs."""
    return [dict(t.request) for t in plan.tasks if t.run.role == "reference"]


def _finding(
    name: str, fault: SpikeFault | ModelFault, judged: Callable[[str, float], Judgement]
) -> Finding:
    """Try the sizes of a fault until one deviates."""
    simulated = isinstance(fault, ModelFault)
    tried: list[float] = []
    for size in fault.sizes:
        tried.append(size)
        judgement = judged(name, size)
        if judgement.verdict == "deviates":
            found = [s for s in judgement.scores if s.verdict == "deviates"]
            found.sort(key=lambda s: s.ratio or 0.0, reverse=True)
            where = tuple(f"{s.statistic} in {s.population}" for s in found)
            return Finding(name, fault.description, simulated, tuple(tried), size, where)
    return Finding(name, fault.description, simulated, tuple(tried), None, ())


def _format(timestep: float | None) -> str:
    return f"double@{timestep:g}ms" if timestep else "double"


def _with_fault(task: Task, plan: Plan, name: str, size: float) -> Task:
    network = plant(plan.networks[task.request["timestep"]], name, size)
    request = {
        **task.request,
        "network": network.fingerprint(),
        "fault": [name, size],
        "options": {**task.request["options"], **MODEL_FAULTS[name].options},
    }
    return replace(task, request=request)


def _simulated(
    plan: Plan, tasks: Sequence[Task], store: Store, progress: Progress, jobs: int | None
) -> dict[int, Statistics]:
    """Statistics of runs by seed, simulated if they are not there yet."""
    outcomes: tuple[Outcome, ...] = execution.execute(
        replace(plan, tasks=tuple(tasks)), store, progress, jobs
    )
    samples: dict[int, Statistics] = {}
    for outcome in outcomes:
        if outcome.record is None:
            raise RequestError(
                f"{store.folder}: a run with a planted fault failed: {outcome.error} (log: "
                f"{outcome.log})"
            )
        spikes = store.spikes(outcome.record["key"])
        samples[outcome.run.seed] = statistics(spikes, plan.study.simulation.warmup)
    return samples
