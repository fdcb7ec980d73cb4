"""Synthetic results of a study for tests of the report: results.json with made-up samples."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.reports import write_report
from pynn_portability.results.schema import StudyResults
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

SIZES = {
    "L23E": 2068, "L23I": 583, "L4E": 2191, "L4I": 547,
    "L5E": 485, "L5I": 106, "L6E": 1439, "L6I": 294,
}  # fmt: skip
RATES = {
    "L23E": 0.9, "L23I": 3.0, "L4E": 4.4, "L4I": 5.9,
    "L5E": 7.6, "L5I": 8.6, "L6E": 1.1, "L6I": 7.8,
}  # fmt: skip
DURATION, WARMUP, TIMESTEP = 10000.0, 1000.0, 0.1
# How much broader the rates of a format are than those of the reference.
SPREAD = {
    "double": 1.0, "float32": 1.0, "moments-2": 1.0, "moments-4": 1.0, "moments-16": 1.0,
    "naive-2": 1.35, "naive-4": 1.12, "naive-16": 1.0,
}  # fmt: skip

Key = tuple[str, str]


def example(
    candidates: tuple[Key, ...] = (
        ("brian2", "double"),
        ("nest", "moments-2"),
        ("nest", "naive-2"),
        ("brian2", "float32"),
    ),
    failed: tuple[Key, ...] = (("brian2", "float32"),),
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5),
    sizes: dict[str, int] | None = None,
) -> tuple[dict[str, Any], dict[Key, dict[int, Any]], dict[Key, SpikeData]]:
    """(results, statistics, spikes) of a study with reference ("nest", "double")."""
    sizes = SIZES if sizes is None else sizes
    reference = ("nest", "double")
    keys = (reference, *(c for c in candidates if c not in failed))
    statistics = {k: {s: _samples(sizes, k, s) for s in seeds} for k in keys}
    spikes = {k: _spikes(sizes, SPREAD[k[1].split("/")[0]], n) for n, k in enumerate(keys)}
    baseline = [
        _baseline(statistics[reference], population, statistic)
        for statistic in ("rate", "cv", "cc")
        for population in sizes
    ]
    results = {
        "schema": "portability-results/1",
        "study": {
            "name": "quickstart",
            "file": "studies/quickstart.toml",
            "model": {
                "build": "microcircuit",
                "parameters": {"scale": 0.1, "connectivity": "fixed_indegree", "k_scale": None},
            },
            "duration": DURATION,
            "warmup": WARMUP,
            "timestep": TIMESTEP,
            "seeds": list(seeds),
            "statistics": ["rate", "cv", "cc"],
        },
        "populations": [
            {"label": p, "size": n, "cell_type": "IF_curr_exp", "recorded": True}
            for p, n in sizes.items()
        ],
        "reference": {
            "backend": "nest",
            "format": "double",
            "verdict": "reference",
            "reasons": [],
            "means": _means(statistics[reference], sizes),
            "baseline": baseline,
            "cost": _cost(4.2),
            "runs": _runs(seeds, reused=True),
        },
        "candidates": [
            _failure(key, seeds)
            if key in failed
            else _candidate(key, statistics[key], statistics[reference], baseline, sizes)
            for key in candidates
        ],
        "rule": {
            "familywise_error": 0.05,
            "margin": 1.1,
            "text": [
                "The distance of the candidate from the reference run of the same seed is divided"
                " by the distance between reference runs of different seeds.",
                "The variance of this ratio is estimated by leaving out one seed at a time.",
                "A comparison deviates if the ratio is above 1, at an error of 5 % for all"
                " comparisons of a candidate together.",
            ],
        },
        "provenance": {
            "created": "2025-11-22T02:30:00+00:00",
            "portability": "0.1.0",
            "python": "3.11.2",
            "platform": "Linux-6.1.0-x86_64",
            "cpu": "AMD EPYC 7763",
            "cores": 2,
            "versions": {
                "nest": {"nest-simulator": "3.10.0", "PyNN": "0.13.0"},
                "brian2": {"brian2": "2.9.0", "PyNN": "0.13.0", "numpy": "2.3.5"},
            },
            "network_fingerprint": "9f0c1b7e" * 8,
        },
    }
    return results, statistics, spikes


def write(
    path: Path,
    results: dict[str, Any],
    statistics: Mapping[Key, Mapping[int, Any]],
    spikes: Mapping[Key, SpikeData],
    evidence: Mapping[Key, Evidence] | None = None,
    drawings: Path | None = None,
) -> None:
    """Write a report from what an example gives: plain values, and statistics of whole runs."""
    whole = {key: Evidence({1.0: Ensemble("runs", runs)}, {}) for key, runs in statistics.items()}
    content = StudyResults.model_validate(results)
    write_report(path, content, {**whole, **(evidence or {})}, spikes, drawings)


def _samples(sizes: dict[str, int], key: Key, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Reference samples of ``seed``, perturbed a little for anything but the reference."""
    same = np.random.default_rng(seed)
    own = np.random.default_rng([seed, *(ord(c) for c in "".join(key))])
    drawn = {}
    for population, size in sizes.items():
        mean = RATES.get(population, 4.0)
        gamma = same.gamma(5.0, mean / 5.0, size)
        cv = same.normal(0.9, 0.11, size)
        cc = same.normal(0.002, 0.008, min(size, 100) ** 2 // 2)
        if key != ("nest", "double"):
            gamma = (
                mean
                + SPREAD[key[1].split("/")[0]] * (gamma - mean)
                + own.normal(0, 0.06 * mean, size)
            )
            cv = cv + own.normal(0, 0.02, size)
            cc = cc + own.normal(0, 0.001, cc.size)
        rate = np.maximum(np.round(gamma * DURATION / 1000), 0) / (DURATION / 1000)
        drawn[population] = {"rate": rate, "cv": cv, "cc": cc}
    return drawn


def _spikes(sizes: dict[str, int], spread: float, seed: int) -> SpikeData:
    """Poisson spikes of 500 ms after the warm-up."""
    rng = np.random.default_rng([seed, 77])
    populations = {}
    for population, size in sizes.items():
        rates = rng.gamma(5.0 / spread, spread * RATES.get(population, 4.0) / 5.0, size)
        neurons = np.repeat(np.arange(size), rng.poisson(rates * 0.5))
        steps = rng.integers(
            round(WARMUP / TIMESTEP), round((WARMUP + 500) / TIMESTEP), neurons.size
        )
        populations[population] = PopulationSpikes.from_unsorted(size, steps, neurons)
    return SpikeData(TIMESTEP, round((WARMUP + DURATION) / TIMESTEP), populations)


def _ks(a: np.ndarray, b: np.ndarray) -> float:
    return float(ks_2samp(a, b, method="asymp").statistic)


def _baseline(runs: dict[int, Any], population: str, statistic: str) -> dict[str, Any]:
    values = [
        _ks(runs[a][population][statistic], runs[b][population][statistic])
        for a, b in combinations(runs, 2)
    ]
    return {
        "population": population,
        "statistic": statistic,
        "baseline": values,
        "baseline_mean": float(np.mean(values)) if values else None,
        "baseline_sd": float(np.std(values)) if values else None,
    }


def _candidate(
    key: Key, runs: dict[int, Any], reference: dict[int, Any], baseline: list, sizes: dict[str, int]
) -> dict[str, Any]:
    scores = []
    for base in baseline:
        population, statistic = base["population"], base["statistic"]
        paired = [
            _ks(runs[s][population][statistic], reference[s][population][statistic]) for s in runs
        ]
        mean, expected = float(np.mean(paired)), base["baseline_mean"]
        ratio = None if expected is None else mean / expected
        verdict = "inconclusive"
        if ratio is not None:
            verdict = "deviates" if ratio > 1.4 else "inconclusive" if ratio > 1.2 else "pass"
        scores.append(
            {
                "population": population,
                "statistic": statistic,
                "distance": mean,
                "distances": paired,
                "baseline_mean": expected,
                "baseline_sd": base["baseline_sd"],
                "ratio": ratio,
                "ratio_low": None if ratio is None else 0.8 * ratio,
                "ratio_high": None if ratio is None else 1.25 * ratio,
                "verdict": verdict,
            }
        )
    found = {s["verdict"] for s in scores}
    verdict = next((v for v in ("deviates", "inconclusive") if v in found), "pass")
    named = [f"{s['population']} ({s['statistic']})" for s in scores if s["verdict"] == verdict]
    reasons = {
        "deviates": [f"Deviates in {', '.join(named)}."],
        "inconclusive": [f"The seeds cannot say for {', '.join(named)}."],
        "pass": ["No deviation exceeds the variability between realizations of the reference."],
    }
    return {
        "backend": key[0],
        "format": key[1],
        "verdict": verdict,
        "reasons": reasons[verdict],
        "means": _means(runs, sizes),
        "scores": scores,
        "cost": _cost(4.2 if key[0] == "nest" else 31.0),
        "runs": _runs(tuple(runs), reused=False),
    }


def _failure(key: Key, seeds: tuple[int, ...]) -> dict[str, Any]:
    error = "brian2: the process ended with signal 9 (out of memory?)."
    runs = _runs(seeds, reused=False)
    for run in runs:
        run |= {"status": "failed", "error": error, "cost": None}
    return {
        "backend": key[0],
        "format": key[1],
        "verdict": "failed",
        "reasons": [f"{len(seeds)} of {len(seeds)} runs failed."],
        "means": [],
        "scores": [],
        "cost": None,
        "runs": runs,
    }


def _means(runs: dict[int, Any], sizes: dict[str, int]) -> list[dict[str, Any]]:
    means = []
    for statistic in ("rate", "cv", "cc"):
        for population in sizes:
            pooled = np.concatenate([r[population][statistic] for r in runs.values()])
            means.append(
                {
                    "population": population,
                    "statistic": statistic,
                    "mean": float(pooled.mean()) if pooled.size else None,
                    "sd": float(pooled.std()) if pooled.size else None,
                    "n": pooled.size,
                }
            )
    return means


def _cost(simulate: float) -> dict[str, Any]:
    return {
        "build_seconds": 6.31,
        "simulate_seconds": simulate * 11,
        "realtime_factor": simulate,
        "peak_rss_bytes": 1_430_000_000,
        "bytes_per_synapse": 48.2,
        "bytes_per_synapse_allocated": None,
        "threads": 2,
    }


def _runs(seeds: tuple[int, ...], reused: bool) -> list[dict[str, Any]]:
    return [
        {
            "seed": s,
            "status": "done",
            "error": None,
            "key": f"{s:064x}",
            "reused": reused,
            "cost": None,
        }
        for s in seeds
    ]
