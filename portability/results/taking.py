"""Taking in spikes from elsewhere: from files to an ensemble that stays with a study."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace as replace_fields
from pathlib import Path

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.judge.ensemble import Recording
from pynn_portability.judge.verdict import Pairing
from pynn_portability.realize.realization import Realization
from pynn_portability.results.elsewhere import (
    checked_with_reference,
    is_reference,
    mismatch,
)
from pynn_portability.results.scaling import recorded
from pynn_portability.run import imported
from pynn_portability.run.bundle import Bundle, find, realization_digest
from pynn_portability.run.events import Began, Ended, Listener
from pynn_portability.run.imported import Imported
from pynn_portability.run.plan import Plan
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.store import Store
from pynn_portability.run.study import BundleReference
from pynn_portability.spikes import intake
from pynn_portability.spikes.data import PopulationSpikes
from pynn_portability.spikes.mapping import Map, read_map

READING = "reading spikes"


def import_spikes(
    plan: Plan,
    store: Store,
    listener: Listener,
    paths: list[Path],
    label: str,
    given: Map,
    pairing: Pairing,
    trust_pickle: bool = False,
    replace: bool = False,
) -> Imported:
    """Check files of spikes against a study and its reference, and keep them in the (locked) store.

    Raises RequestError for spikes that cannot be those of the study, and for a label that is taken unless it is
    replaced.
    """
    simulation = plan.study.simulation
    listener(Began(READING))
    asked = expected(plan)
    taken = intake.take_in(paths, given, asked, trust_pickle)
    reference = {} if is_reference(plan, label) else _reference(plan, store)
    odd = checked_with_reference(
        taken.runs, reference, simulation.warmup, pairing, bool(taken.recorded), asked.given
    )
    taken = replace_fields(taken, warnings=[*taken.warnings, *odd])
    times = simulation.warmup, simulation.duration
    kept = imported.add(
        store.folder, label, taken, given.model_dump(exclude_unset=True), pairing, *times, replace
    )
    listener(Ended(READING))
    return kept


def _reference(plan: Plan, store: Store) -> dict[int, Recording]:
    """Runs of the reference that are there, by seed."""
    try:
        return recorded(plan, store)
    except RequestError:
        if plan.study.reference.backend != IMPORTED:
            raise
        return {}


def check_again(plan: Plan, store: Store) -> None:
    """Compare what was imported with runs of the reference that were made later.

    Raises RequestError, with the label, for spikes that are those of the reference.
    """
    records = list(imported.ensembles(store.folder))
    reference = _reference(plan, store) if records else {}
    for record in records:
        if mismatch(record, plan) or is_reference(plan, record.label):
            continue
        runs = {
            seed: Recording(imported.file_of(store.folder, record.label, seed)).spikes
            for seed in record.seeds
        }
        try:
            odd = checked_with_reference(
                runs,
                reference,
                record.warmup,
                record.pairing,
                bool(record.recorded),
                expected(plan).given,
            )
        except RequestError as error:
            raise RequestError(f"{record.label}: {error}") from None
        if new := [sentence for sentence in odd if sentence not in record.warnings]:
            imported.warn(store.folder, record, new)


def import_candidates(plan: Plan, store: Store, listener: Listener) -> None:
    """Import the spikes that a study names, unless they are imported as they are.

    Files that are not there any more are not missed if they were imported before. Raises RequestError for those
    that are neither, before anything is read.
    """
    known = {record.label: record for record in imported.ensembles(store.folder)}
    _refuse_missing(plan, known)
    take_reference(plan, store, listener)
    for candidate in plan.study.imported:
        record = known.get(candidate.label)
        paths = candidate.files(plan.study.base)
        here = bool(paths) and all(path.exists() for path in paths)
        given = read_map(plan.study.base / candidate.map if candidate.map and here else None)
        pairing: Pairing = "paired" if candidate.paired else "unpaired"
        if record and (not here or _same(record, plan, paths, given, pairing)):
            continue
        try:
            import_spikes(
                plan, store, listener, paths, candidate.label, given, pairing, replace=True
            )
        except RequestError as error:
            raise RequestError(f"{plan.study.file}: {candidate.label!r}: {error}") from None


def expected(plan: Plan) -> intake.Expected:
    """What the study asks of spikes."""
    simulation, network = plan.study.simulation, plan.network
    sources = [c for c in network.compared if plan.is_source(c.population)]
    given = {}
    for c in sources:
        if network.population(c.population).cell.source == "given":
            realization = Realization(network, simulation.seeds[0], simulation.timestep)
            neurons, steps = realization.spike_steps(c.population)
            size = network.population(c.population).size
            spikes = PopulationSpikes(size, steps, neurons.astype(np.int32))
            given[c.label] = spikes if c.cells is None else spikes.of(c.cells)
    return intake.Expected(
        {c.label: c.size for c in network.compared},
        simulation.timestep,
        simulation.warmup,
        simulation.duration,
        frozenset(c.label for c in sources),
        given,
    )


def explain(
    plan: Plan, paths: list[Path], given: Map, trust_pickle: bool, listener: Listener
) -> intake.Intake:
    """What files of spikes are taken for in a study; keeps nothing. RequestError as `import_spikes`."""
    listener(Began(READING))
    taken = intake.take_in(paths, given, expected(plan), trust_pickle)
    listener(Ended(READING))
    return taken


def take_reference(plan: Plan, store: Store, listener: Listener) -> None:
    """Keep the runs of the bundle that is a study's reference, unless they are there as they are, or it has none.

    Raises RequestError for a bundle that is damaged, or of something else than the study.
    """
    study, reference = plan.study, plan.study.reference
    if not isinstance(reference, BundleReference):
        return
    path = find(reference.bundle, study.base)
    known = {record.label: record for record in imported.ensembles(store.folder)}
    record = known.get(reference.format)
    if record and not mismatch(record, plan) and not path.exists():
        return
    listener(Began(READING))
    bundle = Bundle(path)
    contents, simulation = bundle.contents, study.simulation
    pairing: Pairing = "unpaired"
    if not study.model.stock and contents.sizes == _sizes(plan):
        own = realization_digest(plan.network, bundle.seeds[0], contents.timestep)
        pairing = "paired" if contents.realization == own else "unpaired"
    files = {path.name: bundle.digest()}
    same = record and (record.files, record.pairing) == (files, pairing)
    if record and same and not mismatch(record, plan):
        listener(Ended(READING))
        return
    _refuse_other(plan, bundle)
    runs = {seed: bundle.run(seed, simulation.warmup, simulation.duration) for seed in bundle.seeds}
    notes = [f"{contents.origin}, made on {contents.created[:10]}"]
    if contents.network != plan.network.fingerprint():
        notes.append("the network of this study is not in all numbers the one that it is of")
    if pairing == "unpaired" and study.simulated:
        notes.append(
            "simulated candidates are compared with it unpaired, as their realizations are others"
        )
    taken = intake.Intake(runs, {}, _tally(path.name, bundle), notes, [], files)
    times = simulation.warmup, simulation.duration
    imported.add(store.folder, reference.format, taken, {}, pairing, *times, replace=True)
    listener(Ended(READING))


def _refuse_other(plan: Plan, bundle: Bundle) -> None:
    """Raise RequestError for a bundle of other populations, another time step or too short a time."""
    contents, simulation = bundle.contents, plan.study.simulation
    sizes = _sizes(plan)
    where = f"{plan.study.file}: reference.bundle: {bundle.path}"
    if contents.sizes != sizes:
        labels = sorted(set(contents.sizes.items()) ^ set(sizes.items()))
        raise RequestError(
            f"{where}: is a reference for other populations than the study's network has, {labels[0][0]!r} among them"
        )
    if contents.timestep != simulation.timestep:
        raise RequestError(
            f"{where}: has a time step of {contents.timestep:g} ms, and the study one of {simulation.timestep:g} ms"
        )
    if simulation.duration > contents.duration + contents.timestep / 2:
        raise RequestError(
            f"{where}: has {contents.duration:g} ms, and the study analyses {simulation.duration:g} ms; at most "
            "as much is allowed"
        )


def _sizes(plan: Plan) -> dict[str, int]:
    return {p.label: p.size for p in plan.network.compared}


def _tally(name: str, bundle: Bundle) -> list[intake.Understood]:
    return [
        intake.Understood(name, label, seed, count, None, None, None)
        for seed in bundle.seeds
        for label, count in bundle.contents.spikes[str(seed)].items()
    ]


def _refuse_missing(plan: Plan, known: Collection[str]) -> None:
    """Raise RequestError for spikes that are neither in files nor ``known`` by their label."""
    for candidate in plan.study.imported:
        paths = candidate.files(plan.study.base)
        missing = [path for path in paths if not path.exists()]
        if candidate.label not in known and (missing or not paths):
            what = missing[0] if missing else ", ".join(candidate.spikes)
            key = "reference" if candidate is plan.study.reference else "candidate"
            raise RequestError(
                f"{plan.study.file}: {key}.spikes: {what}: there is no such file or folder of spikes"
            )


def _same(record: Imported, plan: Plan, paths: list[Path], given: Map, pairing: Pairing) -> bool:
    """Whether an ensemble is what importing these files would make."""
    said = given.model_dump(exclude_unset=True)
    if mismatch(record, plan) or (record.map, record.pairing) != (said, pairing):
        return False
    found = intake.digests(paths, given)
    return all(found.get(name) == digest for name, digest in record.files.items())
