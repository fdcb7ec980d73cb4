"""A study's reference as a file that can be judged by elsewhere."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pynn_portability.errors import RequestError
from pynn_portability.results.elsewhere import reference_recordings
from pynn_portability.run import bundle
from pynn_portability.run.events import Advanced, Began, Ended, Listener
from pynn_portability.run.outcome import Outcome
from pynn_portability.run.plan import Plan
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.store import Store
from pynn_portability.run.study import shareable
from pynn_portability.spikes.sonata import read_sonata

PACKING = "packing the reference"


def export_reference(
    plan: Plan, outcomes: Sequence[Outcome], store: Store, path: Path, listener: Listener
) -> bundle.Contents:
    """Write the runs of a study's reference to a bundle; ``outcomes`` are those of the reference.

    Raises RequestError for a run that failed, and for a reference of which there is nothing.
    """
    study = plan.study
    warmup = study.simulation.warmup
    versions = {"pynn-portability": importlib.metadata.version("pynn-portability")}
    if study.reference.backend == IMPORTED:
        recordings = reference_recordings(plan, store)
        runs = {seed: recording.spikes for seed, recording in recordings.items()}
        origin = f"spikes from elsewhere, {study.reference.format!r}"
    else:
        runs = {}
        for outcome in outcomes:
            if outcome.record is None:
                reason = outcome.skipped or outcome.error
                raise RequestError(
                    f"{study.file}: the reference has no run of seed {outcome.run.seed}: {reason}"
                )
            versions |= outcome.record.environment.versions
            runs[outcome.run.seed] = read_sonata(store.spikes_file(outcome.record.key))
        origin = f"{study.reference.backend} {study.reference.format}"
    listener(Began(PACKING))
    listener(Advanced(PACKING))
    drawn = ""
    if study.reference.backend != IMPORTED and not study.model.stock:
        drawn = bundle.realization_digest(plan.network, min(runs), study.simulation.timestep)
    text = None
    if study.file.suffix == ".toml" and study.file.is_file():
        text = study.file.read_text(encoding="utf-8")
    contents = bundle.write(
        path,
        _values(plan),
        text,
        plan.network,
        runs,
        warmup,
        f"{origin}, {len(runs)} runs of {shareable(study.model.reference)}",
        versions,
        drawn,
    )
    listener(Ended(PACKING))
    return contents


def _values(plan: Plan) -> dict[str, Any]:
    """What a study file of the reference holds, without what tells of its user's machine."""
    study = plan.study
    model = study.model.model_dump(exclude_unset=True)
    for key in ("build", "script"):
        if model.get(key):
            model[key] = shareable(model[key])
    return {
        "study": {"name": study.name},
        "model": model,
        "simulation": study.simulation.model_dump(exclude_unset=True, exclude={"timeout"}),
        "statistics": study.statistics.model_dump(),
    }
