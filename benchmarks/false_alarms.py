"""False alarms of the verdict, on studies resampled from real simulations.

    python benchmarks/false_alarms.py POOL [--realizations 64] [--duration 10] [--scale 0.1]
        [--connectivity fixed_total_number] [--studies 2000] [--random-seed 1] [--picture FILE.png]
        [--statistics rate,cv,cc] [--each]

Simulates a pool of realizations of the microcircuit on the emulator in double precision, each twice:
with the same synapses, delays and initial voltages, and independent drive. Statistics stay in the
folder POOL, so that a second call simulates nothing. Then it draws studies from the pool, each with
different realizations, and judges:

- *other seeds*: the candidate is the reference model with seeds of its own. Whatever deviates is a
  false alarm.
- *unpaired*: the same, judged by the rule for spikes from elsewhere.
- *other drive*: the candidate runs the reference's realizations with drive of its own, as a correct
  port on another simulator does.
- *last quarter*: reference and candidate are the first and the last quarter of the same runs, by
  which a report says whether the reference drifts. These do not.

It prints the share of each verdict by number of seeds, with the 95 % Clopper-Pearson interval for
``deviates``, and how much of the distance between realizations is due to the drive alone. Studies are judged by
``--statistics``, with ``--each`` by one of them at a time.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from pynn_portability.backends import emulator
from pynn_portability.formats.names import number_format
from pynn_portability.judge.adequacy import QUARTER
from pynn_portability.judge.null_model import part
from pynn_portability.judge.statistics import STATISTICS, Statistics, distance, statistics
from pynn_portability.judge.verdict import judge_distances
from pynn_portability.judge.window import Sample
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.realize.realization import Realization

WARMUP = 500.0
SEEDS = (4, 5, 6, 8, 10, 15, 20)
KEPT = (
    *STATISTICS,
    "lv",
    "synchrony",
    "spectrum",
    "covariance",
    "covariance-size",
    "covariance-shape",
    "epochs-500",
)
DRIVES = ("own", "other")
CANDIDATES = ("other seeds", "unpaired", "other drive", "last quarter")
DRAWN = CANDIDATES[:3]
PARTS = {"whole": (0.0, 1.0), "first": (0.0, QUARTER), "last": (1.0 - QUARTER, 1.0)}


def simulated(seed: int, drive: str, arguments: argparse.Namespace) -> dict[str, Statistics]:
    """Statistics of one run by part, from the pool if it is there."""
    file = arguments.pool / f"{drive}-{seed}.npz"
    if not file.exists():
        parameters = {"scale": arguments.scale, "connectivity": arguments.connectivity}
        network = capture(load_model("microcircuit", Path()), parameters, 0.1)
        # a drive's random stream is named by its label
        drives = [replace(d, label=f"{d.label} {drive}") for d in network.drives]
        realization = Realization(replace(network, drives=tuple(drives)), seed, 0.1)
        held = number_format("double").on(realization)
        simulation = emulator.BACKEND.simulation(held, emulator.EmulatorOptions())
        n_steps = round((WARMUP + 1000 * arguments.duration) / 0.1)
        spikes = simulation.run(n_steps, lambda fraction: None)
        arrays = {
            f"{name}/{p}/{s}": values.astype(np.float32)
            for name, limits in PARTS.items()
            for p, sample in statistics(part(spikes, WARMUP, *limits), WARMUP, KEPT).items()
            for s, values in sample.items()
        }
        np.savez(file, **arrays)
    samples: dict[str, dict[str, dict[str, Sample]]] = {}
    with np.load(file) as stored:
        for key in stored.files:
            name, population, statistic = key.split("/")
            of_part = samples.setdefault(name, {}).setdefault(population, {})
            of_part[statistic] = stored[key].astype(np.float64)
    return samples


def all_distances(name: str, samples: list[Sample]) -> NDArray[np.float64]:
    """Distances of all pairs, shape ``(n, n)``."""
    matrix = np.zeros((len(samples), len(samples)))
    for i, j in combinations(range(len(samples)), 2):
        matrix[i, j] = matrix[j, i] = distance(name, samples[i], samples[j])
    return matrix


def own_distances(name: str, samples: list[Sample], others: list[Sample]) -> NDArray[np.float64]:
    return np.array([distance(name, a, b) for a, b in zip(samples, others, strict=True)])


class Shares(NamedTuple):
    """Of verdicts, and the 95 % interval of ``deviates``."""

    deviates: float
    low: float
    high: float
    inconclusive: float
    passes: float

    @classmethod
    def of(cls, verdicts: list[str]) -> Shares:
        n = len(verdicts)
        interval = binomtest(verdicts.count("deviates"), n).proportion_ci()
        count = {v: verdicts.count(v) / n for v in ("deviates", "inconclusive", "pass")}
        return cls(
            count["deviates"], interval.low, interval.high, count["inconclusive"], count["pass"]
        )

    def __str__(self) -> str:
        return (
            f"{self.deviates:9.1%} ({self.low:5.1%}..{self.high:5.1%})"
            f"{self.inconclusive:14.1%}{self.passes:8.1%}"
        )


def draw(found: dict[tuple[str, int], Shares], file: Path) -> None:
    """Shares of verdicts against the number of seeds, a panel per kind of candidate."""
    figure, panels = plt.subplots(1, 3, figsize=(9.6, 2.8), sharey=True, layout="constrained")
    for panel, kind in zip(panels, DRAWN, strict=True):
        rows = [(seeds, shares) for (name, seeds), shares in found.items() if name == kind]
        x = [seeds for seeds, _ in rows]
        deviates = np.array([100 * s.deviates for _, s in rows])
        bars = [
            deviates - [100 * s.low for _, s in rows],
            [100 * s.high for _, s in rows] - deviates,
        ]
        panel.errorbar(x, deviates, bars, marker="D", ms=4, color="#d55e00", label="deviates")
        panel.plot(
            x,
            [100 * s.inconclusive for _, s in rows],
            "--s",
            ms=4,
            color="#8a6d00",
            label="inconclusive",
        )
        panel.axhline(5, color="0.6", lw=1, label="5 %")
        panel.set(xlabel="seeds", title=f"candidate: {kind}", ylim=(0, 20), xticks=x)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("share of studies (%)")
    panels[1].legend(frameon=False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pool", type=Path)
    parser.add_argument("--realizations", type=int, default=64)
    parser.add_argument("--duration", type=float, default=10.0, help="s")
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--connectivity", default="fixed_total_number")
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--random-seed", type=int, default=1)
    parser.add_argument("--statistics", default=",".join(STATISTICS))
    parser.add_argument("--each", action="store_true", help="judge by one statistic at a time")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.pool.mkdir(parents=True, exist_ok=True)
    names = arguments.statistics.split(",")
    n = arguments.realizations
    with ProcessPoolExecutor(arguments.jobs) as pool:
        samples = {
            drive: list(
                pool.map(partial(simulated, drive=drive, arguments=arguments), range(1, n + 1))
            )
            for drive in DRIVES
        }
        comparisons = [(p, s) for p in samples["own"][0]["whole"] for s in names]
        of_each = [s for _, s in comparisons]
        own, other, first, last = (
            [[run[name][p][s] for run in samples[drive]] for p, s in comparisons]
            for drive, name in (*((d, "whole") for d in DRIVES), ("own", "first"), ("own", "last"))
        )
        between, early = (
            dict(zip(comparisons, pool.map(all_distances, of_each, values), strict=True))
            for values in (own, first)
        )
        paired, drift = (
            dict(zip(comparisons, pool.map(own_distances, of_each, *pair), strict=True))
            for pair in ((own, other), (first, last))
        )
    print("distance with other drive over distance between realizations")
    for statistic in names:
        ratios = [
            f"{p} {paired[p, s].mean() / between[p, s][np.triu_indices(n, 1)].mean():.2f}"
            for p, s in comparisons
            if s == statistic
        ]
        print(f"  {statistic:17} " + "  ".join(ratios))
    for chosen in [[name] for name in names] if arguments.each else [names]:
        print(f"judged by {', '.join(chosen)}")
        of_chosen = [c for c in comparisons if c[1] in chosen]
        found = judged(of_chosen, between, paired, early, drift, n, arguments)
        if arguments.picture and not arguments.each:
            draw(found, arguments.picture)


Distances = dict[tuple[str, str], NDArray[np.float64]]


def judged(
    comparisons: list[tuple[str, str]],
    between: Distances,
    paired: Distances,
    early: Distances,
    drift: Distances,
    n: int,
    arguments: argparse.Namespace,
) -> dict[tuple[str, int], Shares]:
    """Shares of the verdicts on drawn studies, by candidate and number of seeds."""
    rng = np.random.default_rng(arguments.random_seed)
    found: dict[tuple[str, int], Shares] = {}
    print(f"{'candidate':14}{'seeds':>6}{'deviates':>23}{'inconclusive':>14}{'pass':>8}")
    for n_seeds in (s for s in SEEDS if 2 * s <= n):
        verdicts: dict[str, list[str]] = {name: [] for name in CANDIDATES}
        for _ in range(arguments.studies):
            drawn = rng.permutation(n)
            reference, candidate = drawn[:n_seeds], drawn[n_seeds : 2 * n_seeds]
            inside = {c: between[c][np.ix_(reference, reference)] for c in comparisons}
            across = {c: between[c][reference, candidate] for c in comparisons}
            all_across = {c: between[c][np.ix_(candidate, reference)] for c in comparisons}
            same = {c: paired[c][reference] for c in comparisons}
            verdicts["other seeds"].append(judge_distances(across, inside).verdict)
            verdicts["unpaired"].append(judge_distances(all_across, inside).verdict)
            verdicts["other drive"].append(judge_distances(same, inside).verdict)
            inside = {c: early[c][np.ix_(reference, reference)] for c in comparisons}
            later = {c: drift[c][reference] for c in comparisons}
            verdicts["last quarter"].append(judge_distances(later, inside).verdict)
        for name, of_name in verdicts.items():
            found[name, n_seeds] = Shares.of(of_name)
            print(f"{name:14}{n_seeds:6}{found[name, n_seeds]}", flush=True)
    return found


if __name__ == "__main__":
    main()
