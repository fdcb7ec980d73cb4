"""Entries of ``results.json`` on spikes from elsewhere, judged beside the simulated candidates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynn_portability.errors import RequestError, listing
from pynn_portability.judge import adequacy
from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.ensemble import Recording
from pynn_portability.judge.statistics import distance
from pynn_portability.judge.verdict import Pairing
from pynn_portability.results.judging import Combination, Yardstick
from pynn_portability.results.missing import Missing
from pynn_portability.run import imported
from pynn_portability.run.events import Advanced, Listener
from pynn_portability.run.imported import Imported
from pynn_portability.run.plan import Plan
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.store import Store
from pynn_portability.spikes.data import SpikeData
from pynn_portability.spikes.intake import fingerprints

CLOSER = 2 / 3
"""Spikes that are this much closer to another population than to their own look exchanged."""
CERTAIN = 3.0
"""Standard errors by which runs of the same seed are more alike than others, if they are paired."""


@dataclass(frozen=True)
class Elsewhere:
    """What was imported: an entry each, without means and silent neurons, and what is behind it."""

    entries: Mapping[Combination, dict[str, Any]]
    evidence: Mapping[Combination, Evidence]
    recordings: Mapping[Combination, Mapping[int, Recording]]


def judged(
    plan: Plan,
    store: Store,
    yardstick: Yardstick,
    reference: Mapping[int, Recording],
    simulated: Pairing,
    work: str,
    listener: Listener,
    missing: Missing,
) -> Elsewhere:
    """Entries of all imported ensembles of a study's folder, whose ``reference`` runs are given by seed.

    ``simulated`` is the `pairing` of simulated candidates.
    """
    entries, evidence, recordings = {}, {}, {}
    for record in imported.ensembles(store.folder):
        key = (IMPORTED, record.label)
        if is_reference(plan, record.label):
            continue
        # two ensembles are paired if both are realizations of the study
        paired = record.pairing == simulated == "paired"
        between: Pairing = "paired" if paired else "unpaired"
        problem = mismatch(record, plan)
        if problem or not reference:
            reason = (
                problem or "every run of the reference failed, there is nothing to compare with"
            )
            entries[key] = {
                **entry(record),
                "verdict": "not run",
                "reasons": [reason],
                "scores": [],
            }
            entries[key]["runs"] = [run | {"status": "not run"} for run in entries[key]["runs"]]
            continue
        listener(Advanced(work, phase=f"statistics of {record.label}"))
        own = {s: Recording(file) for s, file in imported.files(store.folder, record).items()}
        found = _gathered(record.label, own, plan)
        against = yardstick
        if record.recorded:
            cells = {label: tuple(indices) for label, indices in record.recorded.items()}
            part = _gathered("reference", reference, plan, cells)
            against = Yardstick(part, plan.study.simulation.duration, missing)
        result = against.judged(record.label, found, between)
        alike = missing.made(
            f"The comparison of {record.label} with other populations",
            lambda against=against, found=found, result=result: exchanged(  # type: ignore[misc]
                against.reference, found, result["scores"]
            ),
            [],
        )
        of_record = entry(record)
        entries[key] = {
            **of_record,
            **result,
            "pairing": between,
            "notes": [*of_record["notes"], *alike],
            "parts": missing.made(
                f"The verdicts of {record.label} had the runs ended earlier",
                lambda against=against, found=found, between=between: against.parts(  # type: ignore[misc]
                    found, between
                ),
                [],
            ),
        }
        evidence[key], recordings[key] = found, own
    return Elsewhere(entries, evidence, recordings)


def _gathered(
    label: str,
    recordings: Mapping[int, Recording],
    plan: Plan,
    neurons: Mapping[str, tuple[int, ...]] | None = None,
) -> Evidence:
    simulation = plan.study.simulation
    return adequacy.gather(
        label,
        recordings,
        simulation.warmup,
        simulation.duration,
        neurons=neurons or {},
        statistics=plan.study.statistics.use,
    )


def mismatch(record: Imported, plan: Plan) -> str:
    """Why spikes were imported for something else than the study, empty if they were not."""
    simulation = plan.study.simulation
    sizes = {p.label: p.size for p in plan.network.compared}
    sizes |= {label: len(cells) for label, cells in record.recorded.items() if label in sizes}
    times = (simulation.timestep, simulation.warmup, simulation.duration)
    if record.sizes != sizes:
        return "these spikes were imported for other populations than the study has now; import them again"
    if (record.timestep, record.warmup, record.duration) != times:
        return (
            f"these spikes were imported for {record.duration:g} ms after {record.warmup:g} ms in steps of "
            f"{record.timestep:g} ms, and the study has other times now; import them again"
        )
    return ""


def is_reference(plan: Plan, label: str) -> bool:
    """Whether the imported spikes with this label are the study's reference."""
    reference = plan.study.reference
    return (reference.backend, reference.format) == (IMPORTED, label)


def reference_recordings(plan: Plan, store: Store) -> dict[int, Recording]:
    """Runs of a reference from elsewhere, by seed; RequestError if they are not those of the study."""
    record = imported.find(store.folder, plan.study.reference.format)
    if problem := mismatch(record, plan):
        raise RequestError(f"{plan.study.file}: reference {record.label!r}: {problem}")
    if record.recorded:
        raise RequestError(
            f"{plan.study.file}: reference {record.label!r}: a part of its neurons was recorded only; a reference "
            "needs all"
        )
    return {seed: Recording(file) for seed, file in imported.files(store.folder, record).items()}


def pairing(plan: Plan, store: Store) -> Pairing:
    """Whether simulated candidates have the realizations of the reference's runs."""
    reference = plan.study.reference
    if plan.study.model.stock:
        return "unpaired"
    if reference.backend != IMPORTED:
        return "paired"
    return imported.find(store.folder, reference.format).pairing


def entry(record: Imported) -> dict[str, Any]:
    """What is known of an ensemble apart from its verdict."""
    parts = [
        f"only {len(cells)} neurons of {label} were recorded, and the reference is reduced to them"
        for label, cells in record.recorded.items()
    ]
    words = (
        "its seeds are said to be realizations of the study, so that runs are paired"
        if record.pairing == "paired"
        else "its seeds are no realizations of the study, so that every run is compared with every run of the "
        "reference"
    )
    origin = (
        f"imported on {record.created[:10]} from {len(record.files)} files "
        f"({listing(list(record.files), 3)}); {words}"
    )
    return {
        "backend": IMPORTED,
        "format": record.label,
        "pairing": record.pairing,
        "timestep": record.timestep,
        "runs": [
            {
                "seed": seed,
                "status": "done",
                "key": f"{imported.folder_name(record.label)}/seed-{seed}",
                "reused": True,
            }
            for seed in record.seeds
        ],
        "notes": [origin, *parts, *record.notes, *record.warnings],
    }


def checked_with_reference(
    runs: Mapping[int, SpikeData],
    reference: Mapping[int, Recording],
    warmup: float,
    pairing: Pairing,
    reduced: bool,
    given: Collection[str] = (),
) -> list[str]:
    """What looks odd of runs by seed beside those of the reference, a sentence each.

    They are ``reduced`` where a part of a population was recorded.

    Runs of one realization have neurons in common that fire fast, or slowly; which they are differs between
    realizations. So rates of a run of the same seed should be more alike, neuron by neuron, than those of another.
    Raises RequestError for spikes that are those of the reference, unless they are ``given`` to both.
    """
    own = {seed: recording.spikes for seed, recording in reference.items()}
    of_reference = {
        (label, found): seed
        for seed, spikes in own.items()
        for label, found in fingerprints(spikes, warmup).items()
        if found and label not in given
    }
    for seed, spikes in runs.items():
        for label, found in fingerprints(spikes, warmup).items():
            if (label, found) in of_reference:
                raise RequestError(
                    f"seed {seed}: the spikes of {label!r} are those of the reference's seed "
                    f"{of_reference[label, found]}; a reference is no candidate of its own"
                )
    common = sorted(set(own) & set(runs))
    if pairing == "unpaired" or len(common) < 3 or reduced:
        return []
    alike = [_alikeness(runs[s], own[s], warmup) for s in common]
    others = [_alikeness(runs[s], own[t], warmup) for s in common for t in common if s != t]
    if np.mean(alike) - np.mean(others) > CERTAIN * np.std(others) / np.sqrt(len(alike)):
        return []
    return [
        "Nothing shows that these runs are paired: neurons fire no more like those of the reference's run of the "
        "same seed than like those of other seeds. If they are other realizations, import them without --paired."
    ]


def _alikeness(one: SpikeData, other: SpikeData, warmup: float) -> float:
    """Mean correlation of rates, neuron by neuron, over populations in which rates differ."""
    found = []
    for label, population in one.populations.items():
        own, others = (
            np.bincount(p.neurons[p.steps > warmup / s.timestep], minlength=p.size)
            for s, p in ((one, population), (other, other.populations[label]))
        )
        if own.std() > 0 and others.std() > 0:
            found.append(float(np.corrcoef(own, others)[0, 1]))
    return float(np.mean(found)) if found else 1.0


def exchanged(reference: Evidence, candidate: Evidence, scores: list[dict[str, Any]]) -> list[str]:
    """A sentence for each population that deviates and is closer to another population of the reference.

    Means of the distances of all statistics over all pairs of runs are compared.
    """
    deviating = dict.fromkeys(s["population"] for s in scores if s["verdict"] == "deviates")
    before, after = reference.whole.runs.values(), candidate.whole.runs.values()

    def apart(of_candidate: str, of_reference: str) -> float:
        found = [
            distance(name, a[of_reference][name], b[of_candidate][name])
            for a in before
            for b in after
            for name in reference.whole.statistics
        ]
        return sum(found) / len(found)

    sentences = []
    for population in deviating:
        own = apart(population, population)
        others = {
            other: apart(population, other)
            for other in reference.whole.populations
            if other != population
        }
        nearest = min(others, key=lambda label: others[label], default=None)
        if nearest is not None and others[nearest] < CLOSER * own:
            sentences.append(
                f"Spikes of {population} are more like those of {nearest} in the reference than its own: are "
                "populations exchanged?"
            )
    return sentences
