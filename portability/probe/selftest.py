"""What a study's verdict notices: the smallest planted fault of each kind that it calls a deviation.

Sizes of a fault are tried from the smallest to the largest, until one is noticed. Faults of spikes
are planted into the study's own reference runs. Faults of the model are simulated on the emulator
in double precision, and judged against an ensemble of the same seeds from there, because it is
the fastest way to the dynamics of the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing, sealed, unsealed
from pynn_portability.judge.ensemble import Ensemble, Excerpt, Recording
from pynn_portability.judge.statistics import statistics
from pynn_portability.judge.verdict import Judgement, baseline_distances, judge
from pynn_portability.model.transforms import MODEL_FAULTS, ModelFault, plant
from pynn_portability.probe.faults import SPIKE_FAULTS, SpikeFault, faulty_spikes
from pynn_portability.run.events import Advanced, Began, Ended, Listener
from pynn_portability.run.executor import execute, stored
from pynn_portability.run.outcome import Outcome
from pynn_portability.run.plan import Plan, Task, refuse_problems
from pynn_portability.run.plan import plan as plan_study
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.store import Store
from pynn_portability.run.study import Candidate, Reference

PLANTED = "planted faults"
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


def spike_faults(plan: Plan, store: Store, listener: Listener) -> list[Finding]:
    """Findings for all faults of spikes; RequestError when reference runs are missing."""
    warmup = plan.study.simulation.warmup
    if plan.study.reference.backend == IMPORTED:
        raise RequestError(
            f"{plan.study.file}: reference: faults are planted into a simulated reference, and "
            f"{plan.study.reference.format!r} is imported"
        )
    outcomes = stored(plan.of_role("reference"), store)
    recordings = {
        o.run.seed: Recording(store.spikes_file(o.record.key)) for o in outcomes if o.record
    }
    listener(Began(PLANTED))
    excerpt = Excerpt(warmup, statistics=tuple(plan.study.statistics.use))
    reference = Ensemble.of("reference", recordings, excerpt)
    baseline = baseline_distances(reference)

    def judged(name: str, size: float) -> Judgement:
        listener(Advanced(PLANTED, phase=f"{name}, size {size:g}"))
        fault = SPIKE_FAULTS[name]
        faulty = {
            seed: statistics(
                faulty_spikes(recording.spikes, fault, size, warmup, seed),
                warmup,
                excerpt.statistics,
            )
            for seed, recording in recordings.items()
        }
        return judge(reference, Ensemble(name, faulty), baseline)

    findings = [_finding(name, fault, judged) for name, fault in SPIKE_FAULTS.items()]
    listener(Ended(PLANTED))
    return findings


def model_faults(
    plan: Plan, store: Store, listener: Listener, jobs: int | None = None
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
    emulated = plan_study(study, listener, store)
    refuse_problems(emulated)

    excerpt = Excerpt(study.simulation.warmup, statistics=tuple(plan.study.statistics.use))

    def simulated(label: str, tasks: Sequence[Task]) -> Ensemble:
        outcomes = execute(replace(emulated, tasks=tuple(tasks)), store, listener, jobs)
        return _ensemble(label, outcomes, store, excerpt)

    reference = simulated("emulator double", emulated.of_role("reference").tasks)
    baseline = baseline_distances(reference)

    def judged(name: str, size: float) -> Judgement:
        text = _format(MODEL_FAULTS[name].timestep)
        tasks = [
            _with_fault(t, emulated, name, size) for t in emulated.tasks if t.run.format == text
        ]
        return judge(reference, simulated(name, tasks), baseline)

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
        temporary.write_text(sealed(content), encoding="utf-8")
    return file


def read(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Findings that were written for this study as it is now, otherwise none."""
    try:
        content = unsealed(store.folder / FILE)
        current = content["schema"] == SCHEMA and content["study"] == _identity(plan)
        return list(content["findings"]) if current else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return list(content["findings"])


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
    return replace(task, network=network, request=request)


def _ensemble(label: str, outcomes: Sequence[Outcome], store: Store, excerpt: Excerpt) -> Ensemble:
    """The ensemble of runs that were made; RequestError if one failed."""
    recordings = {}
    for outcome in outcomes:
        if outcome.record is None:
            raise RequestError(
                f"{store.folder}: a run with a planted fault failed: {outcome.error} (log: "
                f"{outcome.log})"
            )
        recordings[outcome.run.seed] = Recording(store.spikes_file(outcome.record.key))
    return Ensemble.of(label, recordings, excerpt)
