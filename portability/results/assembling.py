"""From finished runs to verdicts on disk: ``results.json``, ``junit.xml`` and the report.

The fields of ``results.json`` are documented in ``docs/results.md``.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing
from pynn_portability.judge import adequacy, diagnosis, null_model
from pynn_portability.judge import verdict as validation
from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.statistics import STATISTICS, Statistics, statistics
from pynn_portability.predict import mean_field as theory
from pynn_portability.predict import prediction
from pynn_portability.probe import selftest
from pynn_portability.reports import write_report
from pynn_portability.run.execution import Outcome, Plan, host
from pynn_portability.run.store import Store
from pynn_portability.run.study import Simulation, Study
from pynn_portability.spikes.data import SpikeData

SCHEMA = "portability-results/1"

Combination = tuple[str, str]
"""(backend, format)"""


@dataclass(frozen=True)
class Results:
    """What ``results.json`` holds, and the samples behind it.

    ``samples`` has every successful run by combination and seed, ``spikes`` one run of each, and
    ``evidence`` what else the report draws.
    """

    content: dict[str, Any]
    samples: dict[Combination, dict[int, Statistics]]
    spikes: dict[Combination, SpikeData]
    evidence: Evidence


def judge(
    plan: Plan,
    outcomes: Sequence[Outcome],
    store: Store,
    progress: Callable[[str], None] = lambda phase: None,
    drawings: bool = False,
) -> tuple[dict[str, Any], Path]:
    """Judge the outcomes of a plan and write all files; the content of results.json, the report.

    With ``drawings``, those of the report are also written as SVG files, to ``figures``.
    """
    results = assemble(plan, outcomes, store, progress)
    progress("drawing the report")
    return results.content, write(results, store.folder, drawings)


def assemble(
    plan: Plan,
    outcomes: Sequence[Outcome],
    store: Store,
    progress: Callable[[str], None] = lambda phase: None,
) -> Results:
    """Statistics and verdicts from the outcomes of a plan."""
    study, simulation = plan.study, plan.study.simulation
    reference, *candidates = ((backend, name) for _, backend, name in study.combinations())
    samples: dict[Combination, dict[int, Statistics]] = {}
    evidence = Evidence()
    by_combination: dict[Combination, list[Outcome]] = {}
    first_spikes: dict[Combination, SpikeData] = {}
    for number, outcome in enumerate(outcomes, start=1):
        progress(f"statistics of run {number} of {len(outcomes)}")
        combination = (outcome.run.backend, outcome.run.format)
        by_combination.setdefault(combination, []).append(outcome)
        of_seed = samples.setdefault(combination, {})
        if outcome.record is None:
            continue
        spikes = _spikes(store, outcome, study)
        of_seed[outcome.run.seed] = statistics(spikes, simulation.warmup)
        single = study.number_format(combination[1]).weights.single_valued
        _add_evidence(
            evidence,
            combination,
            outcome.run.seed,
            spikes,
            of_seed[outcome.run.seed],
            simulation,
            noise=single or combination == reference,
            last=combination == reference,
        )
        first_spikes.setdefault(combination, spikes)

    progress("judging")
    populations = [p.label for p in plan.network.recorded]
    baselines = {
        fraction: validation.baseline_distances(of_part)
        for fraction, of_part in evidence.parts.get(reference, {}).items()
    }
    baseline = baselines.get(1.0, {})
    noise = evidence.noise.get(reference, {}).get(1.0, {})
    null_scores = adequacy.null_scores(samples[reference], noise, baseline) if noise else []
    drift: list[validation.Score] = []
    if evidence.last:
        first = evidence.parts[reference][adequacy.QUARTER]
        drift = validation.judge(first, evidence.last, baselines[adequacy.QUARTER]).scores

    predictions = prediction.of_study(
        plan, _measured_rates(samples[reference], simulation.duration)
    )

    def entry(combination: Combination) -> dict[str, Any]:
        number, timestep = study.number_format(combination[1]), study.timestep(combination[1])
        return {
            "backend": combination[0],
            "format": combination[1],
            "timestep": timestep,
            "means": _means(populations, samples[combination]),
            "sparse": _sparse(populations, samples[combination], simulation.duration),
            "cost": _mean_cost(by_combination[combination]),
            "runs": [_run_entry(outcome, store) for outcome in by_combination[combination]],
            "notes": [
                *number.notes,
                *number.restrictions(plan.networks[timestep], timestep),
                *_observations(by_combination[combination]),
            ],
        }

    content = {
        "schema": SCHEMA,
        "study": {
            "name": study.name,
            "file": str(study.file),
            "model": {"build": study.model.build, "parameters": study.model.parameters},
            "duration": simulation.duration,
            "warmup": simulation.warmup,
            "timestep": simulation.timestep,
            "seeds": simulation.seeds,
        },
        "populations": [
            {"label": p.label, "size": p.size, "cell_type": p.cell_type, "recorded": p.recorded}
            for p in plan.network.populations
        ],
        "reference": {
            **entry(reference),
            **_reference_verdict(baseline, by_combination[reference]),
            "null": [_score_entry(score) for score in null_scores],
            "drift": [_score_entry(score) for score in drift],
            "noticed_rate_changes": adequacy.noticed_rate_changes(
                samples[reference], simulation.duration, baseline
            ),
        },
        "candidates": [
            entry(c)
            | _verdict(samples[reference], samples[c], baseline, by_combination[c])
            | {
                "parts": _parts(evidence, reference, c, baselines, simulation.duration),
                "prediction": predicted,
            }
            for c, predicted in zip(candidates, predictions, strict=True)
        ],
        "selftest": selftest.read(plan, store),
        "warnings": [
            *adequacy.population_warnings(
                {p.label: p.size for p in plan.network.recorded}, samples[reference]
            ),
            *adequacy.warnings(null_scores, simulation.duration),
            *adequacy.drift_warnings(drift),
        ],
        "rule": {
            "familywise_error": validation.FAMILYWISE_ERROR,
            "margin": validation.MARGIN,
            "text": list(validation.RULE),
        },
        "deployment": deployment_sheet(store.folder, study),
        "provenance": _provenance(plan, outcomes),
    }
    return Results(_finite(content), samples, first_spikes, evidence)


def exit_code(content: Mapping[str, Any], ignore_verdicts: bool = False) -> int:
    """4: a run failed; otherwise, unless ignored, 1: one deviates, 3: one is inconclusive; or 0."""
    entries = [content["reference"], *content["candidates"]]
    if any(run["status"] == "failed" for entry in entries for run in entry["runs"]):
        return 4
    # what was not run, though nothing is wrong, says nothing against a port
    verdicts = {candidate["verdict"] for candidate in content["candidates"]}
    if ignore_verdicts:
        return 0
    return 1 if "deviates" in verdicts else 3 if "inconclusive" in verdicts else 0


def write(results: Results, folder: Path, drawings: bool = False) -> Path:
    """Write ``results.json``, ``junit.xml`` and ``report.html``; returns the report's path."""
    text = json.dumps(results.content, indent=1, allow_nan=False, ensure_ascii=False)
    with replacing(folder / "results.json") as temporary:
        temporary.write_bytes(text.encode() + b"\n")
    with replacing(folder / "junit.xml") as temporary:
        temporary.write_bytes(junit(results.content))
    report = folder / "report.html"
    figures = folder / "figures" if drawings else None
    if figures:
        figures.mkdir(exist_ok=True)
    write_report(
        report, results.content, results.samples, results.spikes, results.evidence, figures
    )
    return report


def junit(content: Mapping[str, Any]) -> bytes:
    """JUnit XML: a test case per candidate, population and statistic, and one per failed run.

    A statistic that deviates is a failure, one that is inconclusive and a candidate that was not run
    are skipped, a failed run is an error.
    """
    suite = ElementTree.Element("testsuite", name=content["study"]["name"])
    count = dict.fromkeys(("tests", "failures", "skipped", "errors"), 0)

    def case(entry: Mapping[str, Any], name: str) -> ElementTree.Element:
        count["tests"] += 1
        classname = f"{entry['backend']} {entry['format']}"
        return ElementTree.SubElement(suite, "testcase", classname=classname, name=_xml(name))

    for entry in (content["reference"], *content["candidates"]):
        for run in entry["runs"]:
            if run["status"] == "failed":
                count["errors"] += 1
                element = case(entry, f"run with seed {run['seed']}")
                ElementTree.SubElement(element, "error", message=_xml(run["error"]))
        if entry["verdict"] == "not run":
            count["skipped"] += 1
            message = f"not run: {entry['reasons'][0]}"
            ElementTree.SubElement(case(entry, "runs"), "skipped", message=_xml(message))
        for score in entry.get("scores", ()):
            element = case(entry, f"{score['population']} {score['statistic']}")
            message = (
                f"paired KS distance {_number(score['ks_paired'])}, between seeds of the reference "
                f"{_number(score['ks_baseline_mean'])}, ratio {_number(score['ratio'])} "
                f"({_number(score['ratio_low'])} to {_number(score['ratio_high'])})"
            )
            if score["verdict"] == "deviates":
                count["failures"] += 1
                ElementTree.SubElement(element, "failure", message=message)
            elif score["verdict"] == "inconclusive":
                count["skipped"] += 1
                ElementTree.SubElement(element, "skipped", message=f"inconclusive: {message}")
    for name, number in count.items():
        suite.set(name, str(number))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _verdict(
    reference: Mapping[int, Statistics],
    candidate: Mapping[int, Statistics],
    baseline: validation.Baseline,
    outcomes: Sequence[Outcome],
) -> dict[str, Any]:
    """Verdict, reasons and scores of a candidate; with a failed run there is no other verdict."""
    skipped = dict.fromkeys(o.skipped for o in outcomes if o.skipped)
    if skipped:
        return {"verdict": "not run", "reasons": list(skipped), "scores": []}
    failures = _failures(outcomes)
    if not set(reference) & set(candidate):
        reasons = failures or [
            "every run of the reference failed, there is nothing to compare with"
        ]
        return {"verdict": "failed", "reasons": reasons, "scores": []}
    judgement = validation.judge(reference, candidate, baseline)
    return {
        "verdict": "failed" if failures else judgement.verdict,
        "reasons": failures or list(judgement.reasons),
        "scores": [_score_entry(score) for score in judgement.scores],
        "diagnosis": diagnosis.sentences(judgement.scores, diagnosis.changes(reference, candidate)),
    }


def _score_entry(score: validation.Score) -> dict[str, Any]:
    return {
        "population": score.population,
        "statistic": score.statistic,
        "ks_paired": score.ks_paired_mean,
        "ks_paired_seeds": list(score.ks_paired),
        "ks_baseline_mean": score.ks_baseline_mean,
        "ks_baseline_sd": score.ks_baseline_sd,
        "ratio": score.ratio,
        "ratio_low": score.ratio_low,
        "ratio_high": score.ratio_high,
        "verdict": score.verdict,
    }


def _spikes(store: Store, outcome: Outcome, study: Study) -> SpikeData:
    """Spikes of a successful run; RequestError if it is not as long as the study says."""
    assert outcome.record is not None
    spikes = store.spikes(outcome.record["key"])
    timestep = study.timestep(outcome.run.format)
    if (spikes.n_steps, spikes.timestep) != (study.simulation.steps(timestep), timestep):
        raise RequestError(
            f"{store.runs / outcome.record['key']}: this run is {spikes.n_steps * spikes.timestep:g} ms"
            f" long in steps of {spikes.timestep:g} ms, and the study asks for"
            f" {study.simulation.steps(timestep) * timestep:g} ms in steps of {timestep:g} ms, warm-up"
            " included; delete it to have it simulated again"
        )
    return spikes


def _add_evidence(
    evidence: Evidence,
    combination: Combination,
    seed: int,
    spikes: SpikeData,
    whole: Statistics,
    simulation: Simulation,
    noise: bool,
    last: bool,
) -> None:
    """Add the parts of a run and, if asked for, its null model and its last quarter."""
    warmup = simulation.warmup
    parts = evidence.parts.setdefault(combination, {})
    fractions = adequacy.fractions(simulation.duration)
    for fraction in fractions:
        part = null_model.part(spikes, warmup, 0.0, fraction)
        parts.setdefault(fraction, {})[seed] = statistics(part, warmup)
    parts.setdefault(1.0, {})[seed] = whole
    if noise:
        nulls = evidence.noise.setdefault(combination, {})
        for fraction in {*fractions[:1], 1.0}:
            part = null_model.part(spikes, warmup, 0.0, fraction)
            null = null_model.rate_matched_noise(part, warmup, seed)
            nulls.setdefault(fraction, {})[seed] = statistics(null, warmup)
    if last and adequacy.QUARTER in fractions:
        part = null_model.part(spikes, warmup, 1.0 - adequacy.QUARTER, 1.0)
        evidence.last[seed] = statistics(part, warmup)


def _parts(
    evidence: Evidence,
    reference: Combination,
    candidate: Combination,
    baselines: Mapping[float, validation.Baseline],
    duration: float,
) -> list[dict[str, Any]]:
    """Verdict, largest ratios and scores, had the runs ended earlier, and of the whole runs."""
    entries = []
    for fraction, of_seed in sorted(evidence.parts.get(candidate, {}).items()):
        of_reference = evidence.parts.get(reference, {}).get(fraction, {})
        if not set(of_seed) & set(of_reference):
            continue
        judgement = validation.judge(of_reference, of_seed, baselines[fraction])
        largest: dict[str, float | None] = {}
        for score in judgement.scores:
            if score.ratio is not None:
                largest[score.statistic] = max(score.ratio, largest.get(score.statistic) or 0.0)
        entries.append(
            {
                "duration": fraction * duration,
                "verdict": judgement.verdict,
                "largest": largest,
                "scores": [_score_entry(score) for score in judgement.scores],
            }
        )
    return entries


def _sparse(
    populations: Sequence[str], samples: Mapping[int, Statistics], duration: float
) -> list[dict[str, Any]]:
    """Neurons without a spike and with a single one, means over seeds."""
    counts = [adequacy.sparse_neurons(sample, duration) for sample in samples.values()]
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
        for name, by_population in record.get("observations", {}).items():
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
    return [f"seed {o.run.seed} failed: {o.error} (log: {o.log})" for o in outcomes if o.error]


def _reference_verdict(
    baseline: validation.Baseline, outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    failures = _failures(outcomes)
    distances = {comparison: list(by_pair.values()) for comparison, by_pair in baseline.items()}
    return {
        "verdict": "failed" if failures else "reference",
        "reasons": failures,
        "baseline": [
            {
                "population": population,
                "statistic": statistic,
                "ks_baseline": values,
                "ks_baseline_mean": float(np.mean(values)) if values else None,
                "ks_baseline_sd": float(np.std(values)) if values else None,
            }
            for (population, statistic), values in distances.items()
        ],
    }


def _means(populations: Sequence[str], samples: Mapping[int, Statistics]) -> list[dict[str, Any]]:
    """Mean and SD of every statistic over the neurons (or pairs) of all seeds together."""
    means = []
    for population in populations:
        for statistic in STATISTICS:
            values = np.concatenate(
                [np.empty(0), *(s[population][statistic] for s in samples.values())]
            )
            means.append(
                {
                    "population": population,
                    "statistic": statistic,
                    "mean": float(values.mean()) if values.size else None,
                    "sd": float(values.std()) if values.size else None,
                    "n": values.size,
                }
            )
    return means


def _measured_rates(samples: Mapping[int, Statistics], duration: float) -> dict[str, theory.Rates]:
    """Mean and variance of the rates over neurons, without the noise of counting spikes."""
    rates = {}
    for population in next(iter(samples.values()), {}):
        rate, cv = (
            np.concatenate([s[population][statistic] for s in samples.values()])
            for statistic in ("rate", "cv")
        )
        if rate.size:
            variation = float(cv.mean()) if cv.size else None
            rates[population] = theory.measured_rates(
                float(rate.mean()), float(rate.std()), variation, duration
            )
    return rates


def _mean_cost(outcomes: Sequence[Outcome]) -> dict[str, Any] | None:
    """Costs averaged over the successful runs, the peak memory's maximum; None without any."""
    costs = [o.record["cost"] for o in outcomes if o.record is not None]
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
        "error": outcome.error,
        "log": str(outcome.log.relative_to(store.folder)) if outcome.log else None,
        "key": outcome.key,
        "reused": outcome.reused,
        "cost": None if record is None else record["cost"],
        "observations": {} if record is None else record.get("observations", {}),
    }


def _provenance(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Where and with what the results were made, listing all versions if runs differ in them."""
    versions: dict[str, dict[str, set[str]]] = {}
    for outcome in outcomes:
        if outcome.record is not None:
            of_backend = versions.setdefault(outcome.run.backend, {})
            for package, version in outcome.record["environment"]["versions"].items():
                of_backend.setdefault(package, set()).add(version)
    machine = host()
    return {
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "portability": importlib.metadata.version("pynn-portability"),
        "python": machine["python"],
        "platform": machine["platform"],
        "cpu": machine["cpu"],
        "cores": machine["cores"],
        "versions": {
            backend: {package: ", ".join(sorted(found)) for package, found in packages.items()}
            for backend, packages in versions.items()
        },
        "network_fingerprint": plan.network.fingerprint(),
    }


def deployment_sheet(folder: Path, study: Study) -> dict[str, Any] | None:
    """The sheet that `portability map` left in ``folder``, if it is of the study's model."""
    try:
        sheet = json.loads((folder / "deployment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    model = {"build": study.model.build, "parameters": study.model.parameters}
    return sheet if isinstance(sheet, dict) and sheet.get("model") == model else None


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not have (a ratio may be infinite)."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _xml(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
