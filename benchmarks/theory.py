"""Predicted against simulated: how many weight values are enough, by wiring, spread and scheme.

Simulates the microcircuit on the emulator with weights of several relative standard deviations, in
formats around the predicted boundary, and prints a Markdown table: the largest ratio of firing rates,
predicted and simulated, the predicted verdict, and that of the simulations from rates alone and from
all statistics. Statistics of runs are kept in a folder and reused.

    python benchmarks/theory.py FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pynn_portability import backends
from pynn_portability.formats.names import number_format
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.judge.statistics import Statistics, statistics
from pynn_portability.judge.verdict import Judgement, judge
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.predict import prediction
from pynn_portability.realize.realization import Realization

Runs = Mapping[int, Statistics]

WARMUP, TIMESTEP = 500.0, 0.1  # ms
FORMATS = {
    ("fixed_indegree", 0.1): "naive-1 naive-2 naive-3 naive-4 moments-2",
    ("fixed_indegree", 0.3): "naive-1 naive-3 naive-4 naive-6 naive-8 moments-2",
    ("fixed_indegree", 0.5): "naive-1 naive-3 naive-6 naive-8 naive-16 moments-2",
    ("fixed_total_number", 0.1): "naive-1 naive-2 naive-3",
    ("fixed_total_number", 0.3): "naive-1 naive-3 naive-4 naive-6 moments-2",
    ("fixed_total_number", 0.5): "naive-1 naive-3 naive-6 naive-8 moments-2",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--duration", type=float, default=10_000.0, help="ms")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print("| connectivity | SD | format | predicted | simulated | predicted | rates | all |")
    print("|---|---|---|---|---|---|---|---|")
    for (connectivity, sd), names in FORMATS.items():
        for row in compare(connectivity, sd, names.split(), arguments):
            print(f"| {connectivity} | {sd:g} | {row} |", flush=True)


def compare(
    connectivity: str, sd: float, names: list[str], arguments: argparse.Namespace
) -> list[str]:
    """Rows of the table, a format each."""
    network = capture(
        load_model("microcircuit", Path()),
        {"scale": arguments.scale, "connectivity": connectivity, "relative_weight_sd": sd},
        TIMESTEP,
    )
    realizations = {s: Realization(network, s, TIMESTEP) for s in range(1, arguments.seeds + 1)}
    prefix = f"{connectivity}-{sd}"
    reference, *candidates = (
        {
            seed: simulated(arguments.folder / f"{prefix}-{name}-{seed}.npz", r, name, arguments)
            for seed, r in realizations.items()
        }
        for name in ("double", *names)
    )
    predictions = prediction.predict(
        realizations[1],
        [number_format(name) for name in names],
        arguments.seeds,
        arguments.duration,
        WARMUP,
    )
    rows = []
    for name, candidate, predicted in zip(names, candidates, predictions, strict=True):
        of_rates = _judged(_rates(reference), _rates(candidate))
        largest = max(of_rates.scores, key=lambda s: s.ratio or 0.0)
        expected = predicted.largest
        assert expected is not None
        rows.append(
            f"`{name}` | {expected.ratio:.2f} {expected.population} | "
            f"{largest.ratio:.2f} {largest.population} | {predicted.verdict} | "
            f"{of_rates.verdict} | {_judged(reference, candidate).verdict}"
        )
    return rows


def _judged(reference: Runs, candidate: Runs) -> Judgement:
    return judge(Ensemble("reference", reference), Ensemble("candidate", candidate))


def simulated(
    file: Path, realization: Realization, name: str, arguments: argparse.Namespace
) -> dict[str, dict[str, np.ndarray]]:
    """Statistics of a run, made unless ``file`` has them."""
    if not file.exists():
        emulator = backends.load("emulator")
        held = number_format(name).on(realization)
        simulation = backends.build(emulator, held, emulator.options())
        spikes = simulation.run(
            round((arguments.duration + WARMUP) / TIMESTEP), lambda fraction: None
        )
        found = statistics(spikes, WARMUP)
        flat = {f"{p}|{s}": values for p, of_p in found.items() for s, values in of_p.items()}
        np.savez(file, **flat)
    samples: dict[str, dict[str, np.ndarray]] = {}
    with np.load(file) as stored:
        for key in stored.files:
            population, statistic = key.split("|")
            samples.setdefault(population, {})[statistic] = stored[key]
    return samples


def _rates(runs: dict) -> dict:
    return {
        seed: {population: {"rate": samples["rate"]} for population, samples in run.items()}
        for seed, run in runs.items()
    }


if __name__ == "__main__":
    main()
