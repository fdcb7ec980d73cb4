"""The coarsest number format that a network tolerates: predicted first, then simulated.

The theory says where to look among the numbers of bins of a scheme, and simulations around that place
decide. Reference and candidates run on the same backend, so that nothing but the format differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pynn_portability.files import replacing
from pynn_portability.judge.ensemble import Ensemble, Excerpt, Recording
from pynn_portability.judge.verdict import Baseline, baseline_distances, judge
from pynn_portability.predict import prediction
from pynn_portability.run.events import Advanced, Began, Ended, Listener, ignore
from pynn_portability.run.executor import execute
from pynn_portability.run.plan import Plan, refuse_problems
from pynn_portability.run.plan import plan as plan_study
from pynn_portability.run.store import Store
from pynn_portability.run.study import Candidate, Reference, Study

FILE = "recommendation.json"
SCHEMA = "portability-recommendation/1"
SCHEMES = ("naive", "moments")
BINS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 256)
"""Numbers of bins that are tried, the coarsest first."""


@dataclass
class Trial:
    """A format: its largest predicted and simulated ratio, where, and the verdicts.

    What was not predicted (outside the theory) or not simulated is None.
    """

    format: str
    predicted: str | None = None
    predicted_ratio: float | None = None
    predicted_population: str | None = None
    simulated: str | None = None
    simulated_ratio: float | None = None
    simulated_comparison: str | None = None


@dataclass
class Recommendation:
    """Trials of one scheme, the coarsest first; ``format`` is the coarsest that passed, if any.

    ``failed`` says why there is no answer when a run failed.
    """

    scheme: str
    trials: list[Trial] = field(default_factory=list)
    format: str | None = None
    failed: str | None = None

    @property
    def answer(self) -> str:
        """The result in a sentence or two."""
        if self.failed:
            return f"{self.scheme}: no answer, since a run failed: {self.failed}"
        tried = [t for t in self.trials if t.simulated]
        if self.format is None:
            names = ", ".join(f"{t.format} {_verdict(t)}" for t in tried)
            return f"{self.scheme}: no format passes: {names}."
        index = [t.format for t in self.trials].index(self.format)
        text = f"{self.scheme}: {self.format} is the coarsest format that passes"
        coarser = [t for t in self.trials[:index] if t.simulated]
        if coarser:
            text += f"; {coarser[-1].format} {_verdict(coarser[-1])}"
        doubtful = [t.format for t in self.trials[index + 1 :] if t.predicted == "deviates"]
        if doubtful:
            text += f". More bins are not always better: {', '.join(doubtful)} should deviate"
        return text + "."

    @property
    def exit_code(self) -> int:
        """0: found; 1: every format that was simulated deviates; 3: undecided; 4: a run failed."""
        if self.failed:
            return 4
        if self.format:
            return 0
        return 1 if all(t.simulated in (None, "deviates") for t in self.trials) else 3


def _verdict(trial: Trial) -> str:
    text = "is inconclusive" if trial.simulated == "inconclusive" else str(trial.simulated)
    if trial.simulated_ratio is not None:
        text += f" ({trial.simulated_comparison} at {trial.simulated_ratio:.2f} times the baseline)"
    return text


def emulated(
    study: Study, backend: str, schemes: Sequence[str], listener: Listener = ignore
) -> Plan:
    """The study with a double-precision reference and every format of the ``schemes`` on ``backend``.

    Raises ``RequestError`` when the backend cannot run it here.
    """
    formats = [f"{scheme}-{bins}" for scheme in schemes for bins in BINS]
    plan = plan_study(
        study.model_copy(
            update={
                "reference": Reference(backend=backend, format="double"),
                "candidate": [Candidate(backend=backend, format=formats)],
            }
        ),
        listener,
    )
    refuse_problems(plan)
    return plan


def recommend(
    plan: Plan, schemes: Sequence[str], store: Store, listener: Listener, jobs: int | None = None
) -> list[Recommendation]:
    """A recommendation for each scheme; simulates what the (locked) store does not have.

    ``plan`` is made by `emulated`. Simulated are the coarsest format that is predicted to pass and
    the next coarser one, then, one by one, coarser formats while they pass or finer ones until one
    does.
    """
    listener(Began("prediction"))
    predictions = prediction.of_study(plan)
    listener(Ended("prediction"))
    _, *names = (name for _, _, name in plan.study.combinations())
    trials = {
        name: Trial(name, entry["verdict"], entry.get("ratio"), entry.get("population"))
        for name, entry in zip(names, predictions, strict=True)
    }
    judge_formats = _Judge(plan, store, listener, jobs)
    found = []
    for scheme in schemes:
        own = [trials[f"{scheme}-{bins}"] for bins in BINS]
        found.append(search(Recommendation(scheme, own), judge_formats))
    return found


def write(recommendations: Sequence[Recommendation], folder: Path) -> Path:
    """Write `FILE` into ``folder``; returns its path."""
    file = folder / FILE
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(content(recommendations), indent=1, allow_nan=False) + "\n")
    return file


def content(recommendations: Sequence[Recommendation]) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "schema": SCHEMA,
        "recommendations": [asdict(r) | {"answer": r.answer} for r in recommendations],
    }


def search(
    recommendation: Recommendation, judged: Callable[[Sequence[Trial]], str | None]
) -> Recommendation:
    """Have trials ``judged`` until the coarsest format that passes is known; returns its argument.

    ``judged`` fills in what trials find, and returns an error if it cannot.
    """
    trials = recommendation.trials
    # undecided formats are worth a look if none is expected to pass
    found = [[i for i, t in enumerate(trials) if t.predicted == v] for v in ("pass", "open")]
    start = next((indices[0] for indices in found if indices), len(trials) // 2)
    passing: list[int] = []
    wanted = [i for i in (start - 1, start) if i >= 0]
    while wanted:
        recommendation.failed = judged([trials[i] for i in wanted])
        if recommendation.failed:
            return recommendation
        passing = [i for i, t in enumerate(trials) if t.simulated == "pass"]
        tested = [i for i, t in enumerate(trials) if t.simulated]
        # the coarsest so far passes: is there a coarser one? none does: a finer one?
        following = min(tested) - 1 if min(tested) in passing else max(tested) + 1
        done = following < 0 or following >= len(trials) or (passing and following > min(passing))
        wanted = [] if done else [following]
    recommendation.format = trials[min(passing)].format if passing else None
    return recommendation


class _Judge:
    """Simulates formats and fills in what became of them; the reference is simulated once."""

    def __init__(self, plan: Plan, store: Store, listener: Listener, jobs: int | None) -> None:
        self._plan, self._store = plan, store
        self._listener, self._jobs = listener, jobs
        self._reference: Ensemble | None = None
        self._baseline: Baseline = {}

    def __call__(self, trials: Sequence[Trial]) -> str | None:
        """Judge the formats of ``trials``; the error of a run that failed, if any."""
        wanted = {t.format for t in trials}
        if self._reference is None:
            wanted.add("double")
        tasks = tuple(t for t in self._plan.tasks if t.run.format in wanted)
        outcomes = execute(
            replace(self._plan, tasks=tasks), self._store, self._listener, self._jobs
        )
        recordings: dict[str, dict[int, Recording]] = {name: {} for name in wanted}
        for outcome in outcomes:
            if outcome.record is None:
                return f"{outcome.error} (log: {outcome.log})"
            recording = Recording(self._store.spikes_file(outcome.record.key))
            recordings[outcome.run.format][outcome.run.seed] = recording
        study = self._plan.study
        excerpt = Excerpt(study.simulation.warmup, statistics=tuple(study.statistics.use))
        self._listener(Began("statistics", len(recordings)))
        ensembles = {}
        for number, (name, of_format) in enumerate(recordings.items(), start=1):
            ensembles[name] = Ensemble.of(name, of_format, excerpt)
            self._listener(Advanced("statistics", number))
        self._listener(Ended("statistics"))
        if self._reference is None:
            self._reference = ensembles["double"]
            self._baseline = baseline_distances(self._reference)
        for trial in trials:
            judgement = judge(self._reference, ensembles[trial.format], self._baseline)
            trial.simulated = judgement.verdict
            defined = [s for s in judgement.scores if s.ratio is not None]
            if defined:
                largest = max(defined, key=lambda s: s.ratio or 0.0)
                trial.simulated_ratio = largest.ratio
                trial.simulated_comparison = f"{largest.statistic} in {largest.population}"
        return None
