"""Smaller networks in a study: the rates that they are made with, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.judge.ensemble import Ensemble, Excerpt, Recording
from pynn_portability.predict.mean_field import mean_rates
from pynn_portability.realize.realization import Realization
from pynn_portability.results.elsewhere import reference_recordings
from pynn_portability.run.executor import stored_reference
from pynn_portability.run.plan import Plan, with_rates, with_theory
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.store import Store
from pynn_portability.tables import place

DIGITS = 3
"""Of a rate: what is left out is less than seeds differ by, so that one seed more seldom changes a network."""


def completed(plan: Plan, store: Store) -> Plan:
    """The plan with runs of all smaller networks, if the reference's runs in the store tell the rates."""
    if not plan.waiting:
        return plan
    recordings = recorded(plan, store)
    wanted = (
        set(recordings)
        if plan.study.reference.backend == IMPORTED
        else set(plan.study.simulation.seeds)
    )
    if not recordings or not wanted <= set(recordings):
        return plan
    return with_rates(plan, rates(plan, recordings))


def with_any_rates(plan: Plan, store: Store) -> tuple[Plan, str]:
    """The plan with runs of all smaller networks, and where their rates are from, in words.

    Those of theory, where the reference has not run; RequestError where theory has none.
    """
    complete = completed(plan, store)
    if not complete.waiting:
        return complete, "those of the reference" if plan.waiting else ""
    theory = _theory_rates(plan)
    return with_rates(plan, theory), "those of mean-field theory, as the reference has not run yet"


def with_wanted_theory(plan: Plan) -> Plan:
    """The plan with runs of the smaller networks that the study wants at the rates of mean-field theory.

    Raises RequestError for a network that the theory does not cover.
    """
    wanting = [
        i for i, c in plan.study.simulated if any(p.from_theory and p.scaling for p in c.ports())
    ]
    if not wanting:
        return plan
    try:
        return with_theory(plan, _theory_rates(plan))
    except RequestError as error:
        if str(error).startswith(f"{plan.study.file}:"):
            raise
        where = f"{plan.study.file}: {place(('candidate', wanting[0], 'rates_from'))}"
        raise RequestError(f"{where}: {error}") from None


def _theory_rates(plan: Plan) -> dict[str, float]:
    simulation = plan.study.simulation
    realization = Realization(plan.network, simulation.seeds[0], simulation.timestep)
    found = mean_rates(realization, (simulation.warmup + simulation.duration) * 1e-3)
    return {label: float(f"{rate:.{DIGITS}g}") for label, rate in found.items()}


def recorded(plan: Plan, store: Store) -> dict[int, Recording]:
    """Runs of the reference that are there, by seed."""
    if plan.study.reference.backend == IMPORTED:
        return reference_recordings(plan, store)
    return {
        seed: Recording(store.spikes_file(record.key))
        for seed, record in stored_reference(plan, store).items()
    }


def rates(plan: Plan, recordings: Mapping[int, Recording]) -> dict[str, float]:
    """Mean rates (1/s) of the populations that are recorded as a whole, over neurons and runs."""
    study = plan.study
    excerpt = Excerpt(study.simulation.warmup, statistics=tuple(study.statistics.use))
    runs = Ensemble.of("reference", recordings, excerpt).runs.values()
    whole = [c.label for c in plan.network.compared if c.cells is None]
    means = {label: np.mean([run[label]["rate"].mean() for run in runs]) for label in whole}
    return {label: float(f"{mean:.{DIGITS}g}") for label, mean in means.items()}


def said(plan: Plan, name: str) -> list[str]:
    """What is to be said of a smaller network, a sentence each."""
    found = plan.scaled.get(name)
    if found is None:
        return []
    sentences = list(found.notes)
    if found.rates:
        listed = ", ".join(f"{label} {rate:g}" for label, rate in found.rates.items())
        origin = plan.rates_from(name) or "those of the reference"
        sentences.append(f"it is made with these rates (1/s), {origin}: {listed}")
    return sentences


def equal_cells(plan: Plan, name: str) -> dict[str, tuple[int, ...]]:
    """As many neurons of each population as a smaller network has, evenly spaced, where it has fewer.

    Distances between samples depend on their sizes, and what is common to a population on how many neurons are counted.
    """
    smaller = {c.label: c.size for c in plan.network_of(name).compared}
    return {
        c.label: tuple((np.arange(smaller[c.label]) * c.size // smaller[c.label]).tolist())
        for c in plan.network.compared
        if smaller[c.label] < c.size
    }
