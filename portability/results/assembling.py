"""From finished runs to results: statistics, verdicts, and what a reader needs to trust them."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.files import unsealed
from pynn_portability.formats.number_format import changed_means
from pynn_portability.judge import adequacy, verdict
from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.ensemble import Ensemble, Recording
from pynn_portability.judge.statistics import statistic
from pynn_portability.predict import mean_field, prediction
from pynn_portability.probe import selftest
from pynn_portability.results import elsewhere as foreign
from pynn_portability.results import scaling
from pynn_portability.results.judging import Combination, Yardstick, score_entry
from pynn_portability.results.missing import Missing
from pynn_portability.results.schema import SCHEMA, StudyResults
from pynn_portability.run import imported
from pynn_portability.run.environment import host
from pynn_portability.run.events import Advanced, Began, Ended, Listener
from pynn_portability.run.outcome import Outcome
from pynn_portability.run.plan import Plan, weight_moments
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.store import Store
from pynn_portability.run.study import Study, shareable

JUDGING = "judging"


@dataclass(frozen=True)
class Assembled:
    """What ``results.json`` holds, and what is behind it, by combination.

    ``evidence`` has the ensembles of whole runs and of parts of them, ``recordings`` the runs by seed.
    """

    content: StudyResults
    evidence: Mapping[Combination, Evidence]
    recordings: Mapping[Combination, Mapping[int, Recording]]


def assemble(
    plan: Plan, outcomes: Sequence[Outcome], store: Store, listener: Listener
) -> Assembled:
    """Statistics and verdicts from the outcomes of a plan.

    What is beside the verdicts, such as predictions, is missing if it cannot be made. Raises RequestError
    for runs that are not those of the study, OSError if their files cannot be read.
    """
    listener(Began(JUDGING))
    study, missing = plan.study, Missing()
    reference, *candidates = [(backend, name) for _, backend, name in study.combinations()]
    by_combination: dict[Combination, list[Outcome]] = {}
    for outcome in outcomes:
        by_combination.setdefault((outcome.run.backend, outcome.run.format), []).append(outcome)
    recordings = {
        combination: _recordings(plan, of_combination, store)
        for combination, of_combination in by_combination.items()
    }
    if reference[0] == IMPORTED:
        recordings[reference] = foreign.reference_recordings(plan, store)
    evidence = {
        combination: _evidence(study, combination, found, listener, missing)
        for combination, found in recordings.items()
    }
    listener(Advanced(JUDGING, phase="judging"))
    yardstick = Yardstick(evidence[reference], study.simulation.duration, missing)
    pairing = foreign.pairing(plan, store)
    own = recordings[reference]
    smaller = _Smaller(plan, own, missing)
    judged = _Judged(plan, store, by_combination, evidence, yardstick, smaller, pairing, missing)
    elsewhere = foreign.judged(plan, store, yardstick, own, pairing, JUDGING, listener, missing)
    evidence = {**evidence, **elsewhere.evidence}
    of_seed = {**recordings, **elsewhere.recordings}
    predictions = _predictions(plan, evidence[reference].whole, missing)
    content = {
        "schema": SCHEMA,
        "study": _study_entry(study),
        "populations": list(plan.network.overview()),
        "reference": judged.reference_entry(reference),
        "candidates": [
            *(
                judged.candidate_entry(candidate, predicted)
                for candidate, predicted in zip(candidates, predictions, strict=True)
            ),
            *(
                entry | (judged.spread(evidence[key].whole) if key in evidence else {})
                for key, entry in elsewhere.entries.items()
            ),
        ],
        "selftest": missing.made("Planted faults", lambda: selftest.read(plan, store), []),
        "warnings": missing.made("Warnings on the data", judged.warnings, []),
        "notes": list(plan.notes),
        "rule": {
            "familywise_error": verdict.FAMILYWISE_ERROR,
            "margin": verdict.MARGIN,
            "text": list(verdict.rule("paired")),
            "unpaired": (
                list(verdict.rule("unpaired"))
                if elsewhere.entries or pairing == "unpaired" or plan.scaled
                else []
            ),
        },
        "deployment": deployment_sheet(store.folder, study),
        "provenance": _provenance(plan, outcomes),
        "missing": missing.sentences,
    }
    listener(Ended(JUDGING))
    return Assembled(StudyResults.model_validate(content), evidence, of_seed)


def _predictions(plan: Plan, reference: Ensemble, missing: Missing) -> list[dict[str, Any]]:
    """What theory expects of each simulated candidate."""
    _, *candidates = plan.study.combinations()
    if plan.study.model.stock:
        reason = "the theory does not cover scripts on stock PyNN, as they are not captured"
        return [{"verdict": None, "reason": reason} for _ in candidates]
    rates = _measured_rates(reference, plan.study.simulation.duration)
    found: list[dict[str, Any]] = missing.made(
        "The prediction",
        lambda: prediction.of_study(plan, rates),
        [{"verdict": None, "reason": "the prediction could not be made"} for _ in candidates],
    )
    return found


def exit_code(results: StudyResults, ignore_verdicts: bool = False) -> int:
    """4: a run failed; otherwise, unless ignored, 1: one deviates, 3: one is inconclusive; or 0."""
    entries = [results.reference, *results.candidates]
    if any(run.status == "failed" for entry in entries for run in entry.runs):
        return 4
    if ignore_verdicts:
        return 0
    # what was not run, though nothing is wrong, says nothing against a port
    verdicts = {candidate.verdict for candidate in results.candidates}
    return 1 if "deviates" in verdicts else 3 if "inconclusive" in verdicts else 0


def deployment_sheet(folder: Path, study: Study) -> dict[str, Any] | None:
    """The sheet that `portability map` left in ``folder``, if it is of the study's model."""
    try:
        sheet = unsealed(folder / "deployment.json")
    except (OSError, ValueError):
        return None
    model = {"build": shareable(study.model.reference), "parameters": study.model.parameters}
    return sheet if sheet.get("model") == model else None


def _recordings(plan: Plan, outcomes: Sequence[Outcome], store: Store) -> dict[int, Recording]:
    """Successful runs by seed; RequestError if one is not as long or as large as the study says."""
    recordings, study = {}, plan.study
    for outcome in outcomes:
        if outcome.record is None:
            continue
        sizes = {c.label: c.size for c in plan.network_of(outcome.run.format).compared}
        timestep = study.timestep(outcome.run.format)
        n_steps = study.simulation.steps(timestep)
        recording = Recording(store.spikes_file(outcome.record.key))
        found_steps, found_timestep = recording.extent
        if (found_steps, found_timestep) != (n_steps, timestep):
            raise RequestError(
                f"{store.runs / outcome.record.key}: this run is {found_steps * found_timestep:g} ms"
                f" long in steps of {found_timestep:g} ms, and the study asks for"
                f" {n_steps * timestep:g} ms in steps of {timestep:g} ms, warm-up included; delete it"
                " to have it simulated again"
            )
        if recording.sizes != sizes:
            raise RequestError(
                f"{store.runs / outcome.record.key}: this run has spikes of other populations, or of others "
                "in size, than the network; delete it to have it simulated again"
            )
        recordings[outcome.run.seed] = recording
    return recordings


def _evidence(
    study: Study,
    combination: Combination,
    recordings: Mapping[int, Recording],
    listener: Listener,
    missing: Missing,
) -> Evidence:
    backend, name = combination
    is_reference = combination == (study.reference.backend, study.reference.format)
    listener(Advanced(JUDGING, phase=f"statistics of {backend} {name}"))

    def gathered(noise: bool, last: bool) -> Evidence:
        return adequacy.gather(
            f"{backend} {name}",
            recordings,
            study.simulation.warmup,
            study.simulation.duration,
            noise=noise,
            last=last,
            origin={"backend": backend, "format": name},
            statistics=study.statistics.use,
        )

    noise = is_reference or study.number_format(name).weights.single_valued
    with_noise: Evidence | None = missing.made(
        f"The comparison of {backend} {name} with noise",
        lambda: gathered(noise, is_reference),
        None,
    )
    # verdicts need no noise; what they do need fails for good here
    return with_noise or gathered(noise=False, last=False)


class _Smaller:
    """Yardsticks for networks of fewer neurons: the reference's runs, of which as few neurons are measured."""

    def __init__(self, plan: Plan, reference: Mapping[int, Recording], missing: Missing) -> None:
        self._plan, self._reference, self._missing = plan, reference, missing
        self._made: dict[tuple[int, ...], Yardstick] = {}

    def yardstick(self, name: str) -> Yardstick | None:
        """That of a candidate; None where it has as many neurons as the reference."""
        cells = scaling.equal_cells(self._plan, name)
        if not cells or not self._reference:
            return None
        study = self._plan.study
        key = tuple(len(indices) for indices in cells.values())
        if key not in self._made:
            evidence = adequacy.gather(
                "reference",
                self._reference,
                study.simulation.warmup,
                study.simulation.duration,
                neurons=cells,
                statistics=study.statistics.use,
            )
            self._made[key] = Yardstick(evidence, study.simulation.duration, self._missing)
        return self._made[key]


class _Judged:
    """Entries of ``results.json`` on the reference and on candidates, as plain values."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        outcomes: Mapping[Combination, Sequence[Outcome]],
        evidence: Mapping[Combination, Evidence],
        yardstick: Yardstick,
        smaller: _Smaller,
        pairing: verdict.Pairing,
        missing: Missing,
    ) -> None:
        self._plan, self._store = plan, store
        self._smaller = smaller
        self._missing = missing
        self._outcomes, self._evidence = outcomes, evidence
        self._reference = yardstick.reference
        self._duration = plan.study.simulation.duration
        self._yardstick = yardstick
        self._pairing = pairing
        self._baselines = yardstick.baselines
        self._baseline = self._baselines[1.0]
        self._null = missing.made("The scores of noise", self._null_scores, [])
        self._drift = missing.made("The drift of the reference", self._drift_scores, [])

    def _null_scores(self) -> list[verdict.Score]:
        reference = self._reference
        if not reference.noise:
            return []
        return adequacy.null_scores(reference.whole, reference.noise[1.0], self._baseline)

    def _drift_scores(self) -> list[verdict.Score]:
        reference = self._reference
        if not reference.last:
            return []
        first = reference.parts[adequacy.QUARTER]
        return verdict.judge(first, reference.last, self._baselines[adequacy.QUARTER]).scores

    def reference_entry(self, combination: Combination) -> dict[str, Any]:
        """The entry of the reference."""
        failures = _failures(self._outcomes.get(combination, ()))
        return {
            **self._reference_entry(combination),
            "verdict": "failed" if failures else "reference",
            "reasons": failures,
            "baseline": [
                {
                    "population": population,
                    "statistic": statistic,
                    "baseline": list(by_pair.values()),
                    "baseline_mean": float(np.mean(list(by_pair.values()))) if by_pair else None,
                    "baseline_sd": float(np.std(list(by_pair.values()))) if by_pair else None,
                }
                for (population, statistic), by_pair in self._baseline.items()
            ],
            "null": [score_entry(score) for score in self._null],
            "drift": [score_entry(score) for score in self._drift],
            "noticed_rate_changes": self._missing.made(
                "The smallest noticed changes of rates",
                lambda: adequacy.noticed_rate_changes(
                    self._reference.whole, self._duration, self._baseline
                ),
                {},
            ),
        }

    def _reference_entry(self, combination: Combination) -> dict[str, Any]:
        """What a reference has in common with candidates."""
        if combination[0] != IMPORTED:
            return self._entry(combination)
        found = foreign.entry(imported.find(self._store.folder, combination[1]))
        del found["pairing"]  # that of candidates
        return found | self.spread(self._reference.whole)

    def candidate_entry(
        self, combination: Combination, predicted: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The entry of a candidate."""
        yardstick, pairing = self._measure(combination)
        return {
            **self._entry(combination),
            "pairing": pairing,
            **self._verdict(combination, yardstick, pairing),
            "parts": self._missing.made(
                f"The verdicts of {' '.join(combination)} had the runs ended earlier",
                lambda: yardstick.parts(self._evidence[combination], pairing),
                [],
            ),
            "prediction": predicted,
        }

    def _measure(self, combination: Combination) -> tuple[Yardstick, verdict.Pairing]:
        """What a candidate is measured with, and how."""
        if not self._plan.study.port(combination[1]).scaling:
            return self._yardstick, self._pairing
        # other neurons and synapses are no realizations of the reference's
        return self._smaller.yardstick(combination[1]) or self._yardstick, "unpaired"

    def warnings(self) -> list[str]:
        """What a reader should know of the data, a sentence each."""
        sizes = {p.label: p.size for p in self._plan.network.compared}
        return [
            *adequacy.population_warnings(sizes, self._reference.whole),
            *adequacy.warnings(self._null, self._duration),
            *adequacy.drift_warnings(self._drift),
        ]

    def _entry(self, combination: Combination) -> dict[str, Any]:
        """What reference and candidates have in common."""
        plan, outcomes = self._plan, self._outcomes[combination]
        number, timestep = (
            plan.study.number_format(combination[1]),
            plan.study.timestep(combination[1]),
        )
        weights = weight_moments(plan, combination[1])
        return {
            "backend": combination[0],
            "format": combination[1],
            "timestep": timestep,
            **self.spread(self._evidence[combination].whole),
            "cost": _mean_cost(outcomes),
            "runs": [_run_entry(outcome, self._store) for outcome in outcomes],
            "weights": [dataclasses.asdict(moments) for moments in weights],
            "notes": [
                *changed_means(weights),
                *number.notes,
                *number.restrictions(plan.network_of(combination[1]), timestep),
                *scaling.said(plan, combination[1]),
                *_observations(outcomes),
            ],
        }

    def spread(self, ensemble: Ensemble) -> dict[str, Any]:
        """Means of statistics, and neurons with hardly a spike."""
        populations = [p.label for p in self._plan.network.compared]
        return {
            "means": _means(populations, ensemble),
            "sparse": _sparse(populations, ensemble, self._duration),
        }

    def _verdict(
        self, combination: Combination, yardstick: Yardstick, pairing: verdict.Pairing
    ) -> dict[str, Any]:
        """Verdict, reasons and scores; with a failed run there is no other verdict."""
        outcomes = self._outcomes[combination]
        reference, candidate = self._reference.whole, self._evidence[combination].whole
        skipped = dict.fromkeys(o.skipped for o in outcomes if o.skipped)
        if skipped:
            return {"verdict": "not run", "reasons": list(skipped), "scores": []}
        failures = _failures(outcomes)
        common = set(reference.runs) & set(candidate.runs)
        if not (common if pairing == "paired" else reference.runs and candidate.runs):
            reasons = failures or [
                "every run of the reference failed, there is nothing to compare with"
            ]
            return {"verdict": "failed", "reasons": reasons, "scores": []}
        judged = yardstick.judged(" ".join(combination), self._evidence[combination], pairing)
        return judged | ({"verdict": "failed", "reasons": failures} if failures else {})


def _study_entry(study: Study) -> dict[str, Any]:
    simulation = study.simulation
    return {
        "name": study.name,
        "file": study.file.name,
        "model": {"build": shareable(study.model.reference), "parameters": study.model.parameters},
        "duration": simulation.duration,
        "warmup": simulation.warmup,
        "timestep": simulation.timestep,
        "seeds": simulation.seeds,
        "statistics": study.statistics.use,
    }


def _sparse(
    populations: Sequence[str], ensemble: Ensemble, duration: float
) -> list[dict[str, Any]]:
    """Neurons without a spike and with a single one, means over seeds."""
    counts = [adequacy.sparse_neurons(sample, duration) for sample in ensemble.runs.values()]
    return [
        {
            "population": p,
            "silent": sum(c[p][0] for c in counts) / len(counts),
            "single": sum(c[p][1] for c in counts) / len(counts),
        }
        for p in populations
        if counts
    ]


def _observations(outcomes: Sequence[Outcome]) -> list[str]:
    """What runs noticed, summed over seeds: a sentence for each count of events per population."""
    sums: dict[str, dict[str, int]] = {}
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    for record in records:
        for name, by_population in record.observations.items():
            for population, by_receptor in by_population.items():
                for receptor, count in by_receptor.items():
                    of_name = sums.setdefault(name, {})
                    key = f"{population} {receptor}"
                    of_name[key] = of_name.get(key, 0) + count
    runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
    return [
        f"{name.replace('_', ' ').capitalize()} in {runs}: "
        + (", ".join(f"{n:,} in {key}" for key, n in counts.items() if n) or "none")
        for name, counts in sums.items()
    ]


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    return [
        f"seed {o.run.seed} failed: {_without_folders(o.error)}"
        + (f" (log: {o.log})" if o.log and not o.log.is_absolute() else "")
        for o in outcomes
        if o.error
    ]


def _without_folders(sentence: str) -> str:
    """A sentence without the folders of this machine, which are nobody else's business."""
    for folder in (Path.cwd(), Path.home()):
        if folder != Path(folder.anchor):
            sentence = sentence.replace(f"{folder}/", "")
    return sentence


def _means(populations: Sequence[str], ensemble: Ensemble) -> list[dict[str, Any]]:
    """Mean and SD of every statistic over the neurons (or pairs, or runs) of all seeds together.

    Of curves there are none.
    """
    means = []
    for population in populations:
        for name in ensemble.statistics:
            if statistic(name).kind == "curve":
                continue
            values = np.concatenate(
                [np.empty(0), *(s[population][name] for s in ensemble.runs.values())]
            )
            means.append(
                {
                    "population": population,
                    "statistic": name,
                    "mean": float(values.mean()) if values.size else None,
                    "sd": float(values.std()) if values.size else None,
                    "n": values.size,
                }
            )
    return means


def _measured_rates(ensemble: Ensemble, duration: float) -> dict[str, mean_field.Rates]:
    """Mean and variance of the rates over neurons, without the noise of counting spikes."""
    rates = {}
    for population in ensemble.populations:
        rate, cv = (
            np.concatenate([s[population].get(name, ()) for s in ensemble.runs.values()])
            for name in ("rate", "cv")
        )
        if rate.size:
            variation = float(cv.mean()) if cv.size else None
            rates[population] = mean_field.measured_rates(
                float(rate.mean()), float(rate.std()), variation, duration
            )
    return rates


def _mean_cost(outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """Costs averaged over the successful runs, the peak memory's maximum; None without any."""
    costs = [o.record.cost.model_dump() for o in outcomes if o.record is not None]
    if not costs:
        return None
    known = {name: [c[name] for c in costs if c[name] is not None] for name in costs[0]}
    mean = {name: sum(v) / len(v) if v else None for name, v in known.items()}
    return mean | {
        "peak_rss_bytes": max(known["peak_rss_bytes"]),
        "threads": max(known["threads"]),
    }


def _run_entry(outcome: Outcome, store: Store) -> dict[str, Any]:
    record = outcome.record
    return {
        "seed": outcome.run.seed,
        "status": "not run" if outcome.skipped else "done" if record else "failed",
        "error": outcome.error and _without_folders(outcome.error),
        "log": str(outcome.log.relative_to(store.folder)) if outcome.log else None,
        "key": outcome.key,
        "reused": outcome.reused,
        "cost": None if record is None else record.cost.model_dump(),
        "observations": {} if record is None else record.observations,
    }


def _provenance(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Where and with what the results were made, listing all versions if runs differ in them."""
    versions: dict[str, dict[str, set[str]]] = {}
    for outcome in outcomes:
        if outcome.record is not None:
            of_backend = versions.setdefault(outcome.run.backend, {})
            for package, version in outcome.record.environment.versions.items():
                of_backend.setdefault(package, set()).add(version)
    machine = host()
    return {
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "portability": importlib.metadata.version("pynn-portability"),
        "python": machine.python,
        "platform": machine.platform,
        "cpu": machine.cpu,
        "cores": machine.cores,
        "versions": {
            backend: {package: ", ".join(sorted(found)) for package, found in packages.items()}
            for backend, packages in versions.items()
        },
        "network_fingerprint": plan.network.fingerprint(),
    }
