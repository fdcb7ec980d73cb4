"""The smallest network that keeps what a user names: scales that a method can reach, simulated until one passes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing
from pynn_portability.judge.ensemble import Ensemble, Excerpt, Recording
from pynn_portability.judge.verdict import judge
from pynn_portability.predict.correlations import correlations
from pynn_portability.realize.downscaling import Scaling, downscale
from pynn_portability.realize.realization import Realization
from pynn_portability.results import scaling
from pynn_portability.run.events import Advanced, Began, Ended, Listener
from pynn_portability.run.executor import execute
from pynn_portability.run.plan import Plan, refuse_problems, with_rates
from pynn_portability.run.plan import plan as plan_study
from pynn_portability.run.store import Store
from pynn_portability.run.study import Candidate, Judged, Reference, Role, Study

FILE = "smallest.json"
SCHEMA = "portability-smallest/1"
SEARCHING = "looking for the smallest network"
METHODS: Mapping[str, str] = {
    "fewer neurons": "N={0:g}",
    "fewer neurons and inputs, sqrt": "N={0:g},K={0:g}:sqrt",
    "fewer neurons and inputs, linear": "N={0:g},K={0:g}:linear",
    "fewer neurons and inputs, resolve": "N={0:g},K={0:g}:resolve",
}
SCALES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass
class SmallerTrial:
    """A scaling: numbers of neurons and synapses, what is predicted, and what became of it.

    ``covariance`` is the largest factor by which linear response changes the size of a pair-averaged covariance
    within a population, either way: its root mean square over lags, or its integral where the theory has no more.
    ``verdict`` is None where it was not simulated; ``reason`` then says why it cannot be.
    """

    scaling: str
    neurons: int = 0
    synapses: int = 0
    covariance: float | None = None
    verdict: str | None = None
    ratio: float | None = None
    comparison: str = ""
    reason: str = ""


@dataclass
class Smallest:
    """Trials of one method from the smallest scale on, and the ``scaling`` that passed first, if any."""

    method: str
    trials: list[SmallerTrial] = field(default_factory=list)
    scaling: str | None = None

    @property
    def answer(self) -> str:
        """The result in a sentence."""
        tried = [t for t in self.trials if t.verdict]
        if self.scaling:
            passed = tried[-1]
            size = f"{passed.neurons:,} neurons and {passed.synapses:,} synapses"
            return f"{self.method}: {self.scaling} is the smallest that passes, {size}."
        if not tried:
            return f"{self.method}: impossible: {self.trials[-1].reason}."
        last = tried[-1]
        what = "is inconclusive" if last.verdict == "inconclusive" else last.verdict
        where = f" ({last.comparison} at {last.ratio:.2f} times the baseline)" if last.ratio else ""
        return f"{self.method}: no scale passes; {last.scaling} {what}{where}."


def exit_code(found: Sequence[Smallest]) -> int:
    """0: some method has an answer; 3: none, but one is undecided; 1: all deviate or are impossible."""
    if any(s.scaling for s in found):
        return 0
    undecided = any(t.verdict == "inconclusive" for s in found for t in s.trials)
    return 3 if undecided else 1


def smallest(
    study: Study,
    keep: Sequence[str],
    backend: str,
    store: Store,
    listener: Listener,
    jobs: int | None = None,
) -> list[Smallest]:
    """Trials of every method, judged by the statistics in ``keep``; simulates what the (locked) store lacks.

    Reference and smaller networks run on ``backend`` in double precision. Raises RequestError where it cannot run
    them, for unknown statistics, and for a run that fails.
    """
    own = study.model_copy(
        update={
            "reference": Reference(backend=backend, format="double"),
            "candidate": [],
            "statistics": Judged.model_validate({"use": list(dict.fromkeys(["rate", *keep]))}),
        }
    )
    plan = plan_study(own, listener, store)
    refuse_problems(plan)
    reference = _made(plan, store, listener, jobs)
    rates = scaling.rates(plan, reference)
    listener(Began(SEARCHING))
    found = []
    for method, form in METHODS.items():
        result = Smallest(method)
        found.append(result)
        for scale in SCALES:
            trial = SmallerTrial(form.format(scale))
            result.trials.append(trial)
            listener(Advanced(SEARCHING, phase=trial.scaling))
            try:
                _judge(plan, trial, keep, rates, reference, store, listener, jobs)
            except _ImpossibleError as error:
                trial.reason = str(error)
                continue
            if trial.verdict == "pass":
                result.scaling = trial.scaling
                break
    listener(Ended(SEARCHING))
    return found


class _ImpossibleError(Exception):
    """A method cannot reach a scale."""


def _judge(
    plan: Plan,
    trial: SmallerTrial,
    keep: Sequence[str],
    rates: Mapping[str, float],
    reference: Mapping[int, Recording],
    store: Store,
    listener: Listener,
    jobs: int | None,
) -> None:
    """Simulate a smaller network and fill in what becomes of it; raises _ImpossibleError."""
    simulation, backend = plan.study.simulation, plan.study.reference.backend
    try:
        smaller = downscale(plan.network, Scaling.parse(trial.scaling), rates).network
    except RequestError as error:
        raise _ImpossibleError(str(error)) from None
    realization = Realization(smaller, simulation.seeds[0], simulation.timestep)
    trial.neurons = sum(p.size for p in smaller.populations if not p.is_source)
    trial.synapses = realization.n_synapses
    trial.covariance = _covariance_factor(plan, realization, rates)
    candidate = Candidate(backend=backend, format=["double"], scaling=[trial.scaling])
    study = plan.study.model_copy(update={"candidate": [candidate]})
    complete = with_rates(replace(plan, study=study), rates)
    refuse_problems(complete)
    runs = _made(complete, store, listener, jobs, "candidate")
    name = f"double {trial.scaling}"
    cells = tuple(sorted(scaling.equal_cells(complete, name).items()))
    excerpt = Excerpt(simulation.warmup, statistics=tuple(keep))
    before = Ensemble.of("reference", reference, replace(excerpt, neurons=cells))
    judgement = judge(before, Ensemble.of(name, runs, excerpt), pairing="unpaired")
    trial.verdict = judgement.verdict
    defined = [s for s in judgement.scores if s.ratio is not None]
    if defined:
        largest = max(defined, key=lambda s: s.ratio or 0.0)
        trial.ratio = largest.ratio
        trial.comparison = f"{largest.statistic} in {largest.population}"


def _made(
    plan: Plan,
    store: Store,
    listener: Listener,
    jobs: int | None,
    role: Role = "reference",
) -> dict[int, Recording]:
    """Runs of a role by seed; RequestError for one that failed."""
    found = {}
    for outcome in execute(plan.of_role(role), store, listener, jobs):
        if outcome.record is None:
            raise RequestError(f"{outcome.error or outcome.skipped} (log: {outcome.log})")
        found[outcome.run.seed] = Recording(store.spikes_file(outcome.record.key))
    return found


def _covariance_factor(
    plan: Plan, smaller: Realization, rates: Mapping[str, float]
) -> float | None:
    """The largest factor, either way, by which a covariance is predicted to change; None if it is not predicted."""
    simulation = plan.study.simulation
    seconds = (simulation.warmup + simulation.duration) * 1e-3
    whole = Realization(plan.network, simulation.seeds[0], simulation.timestep)
    try:
        before, after = (correlations(r, seconds, rates) for r in (whole, smaller))
    except RequestError:
        return None
    if before.curves is None or after.curves is None:
        sizes = [np.diag(before.covariance), np.diag(after.covariance)]
    else:
        sizes = [np.sqrt((curves**2).mean(axis=1)) for curves in (before.curves, after.curves)]
    factors = [b / a for a, b in zip(*sizes, strict=True) if a]
    return max((max(f, 1 / f) for f in factors if f > 0), default=None)


def content(found: Sequence[Smallest]) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "schema": SCHEMA,
        "methods": [asdict(s) | {"answer": s.answer} for s in found],
    }


def write(found: Sequence[Smallest], folder: Path) -> Path:
    """Write `FILE` into ``folder``; returns its path."""
    file = folder / FILE
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content(found), indent=1, allow_nan=False) + "\n")
    return file
