"""Spikes of a simulation that the harness has no part in, judged by the bundle that comes with the package.

    python benchmarks/native_nest.py FOLDER [--seeds 10] [--faulty-seeds 5] [--jobs 2]

Simulates the cortical microcircuit at scale 0.1 with plain PyNEST, written to NEST's ASCII files as its users have
them: as published, and with a mistake each. Then ``portability judge microcircuit-0.1`` judges every ensemble, and its
verdict, largest ratio and hints are printed. Only constants are taken from the harness's model; numbers of synapses,
connecting, drawing and simulating are this script's and NEST's own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pynn_portability.models import microcircuit as model

SCALE, WARMUP, DURATION = 0.1, 1000.0, 10000.0
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "threshold +0.5 mV": {"threshold": 0.5},
    "tau_syn 0.6 ms": {"tau_syn": 0.6},
    "drive -3 %": {"drive": 0.97},
    "fixed in-degrees": {"rule": "fixed_indegree"},
}


def simulate(folder: Path, seed: int, variant: str) -> None:
    """One run; spikes go to ``spike_recorder-*.dat``, ids to ``population_nodeids.dat``."""
    import nest  # noqa: PLC0415 - in a process of its own

    change = VARIANTS[variant]
    folder.mkdir(parents=True, exist_ok=True)
    nest.set_verbosity("M_ERROR")
    nest.ResetKernel()
    nest.SetKernelStatus(
        {
            "resolution": 0.1,
            "rng_seed": 1000 + seed,
            "data_path": str(folder),
            "overwrite_files": True,
        }
    )
    sizes = [round(SCALE * n) for n in model.SIZES]
    weight_pa = 87.8085
    weights = np.where(model.EXCITATORY, weight_pa, model.INHIBITION * weight_pa)
    synapses = np.array(
        [
            [
                round(
                    np.log1p(-model.CONNECTION_PROBABILITIES[j, i])
                    / np.log1p(-1.0 / (float(model.SIZES[i]) * float(model.SIZES[j])))
                    * SCALE**2
                )
                for i in range(8)
            ]
            for j in range(8)
        ]
    )
    in_degrees = synapses / np.array(sizes)[:, None]
    weight_of = np.tile(weights, (8, 1))
    weight_of[0, 2] *= 2  # L4E to L23E
    # the mean input that fewer synapses lose, and half of the variance, go into weights and a current
    lost = (1 - np.sqrt(SCALE)) / SCALE * (in_degrees * weight_of) @ model.FULL_SCALE_RATES
    lost += (1 - np.sqrt(SCALE)) * weight_pa * model.BACKGROUND_INDEGREES * model.BACKGROUND_RATE
    current = 0.001 * model.TAU_SYN * lost
    weight_of = weight_of / np.sqrt(SCALE)
    tau_syn = change.get("tau_syn", model.TAU_SYN)
    cells = []
    means, sds = model.INITIAL_VOLTAGES["optimized"]
    for i, size in enumerate(sizes):
        population = nest.Create(
            "iaf_psc_exp",
            size,
            {
                "C_m": 250.0,
                "tau_m": 10.0,
                "tau_syn_ex": tau_syn,
                "tau_syn_in": tau_syn,
                "t_ref": 2.0,
                "E_L": -65.0,
                "V_reset": -65.0,
                "V_th": -50.0 + change.get("threshold", 0.0),
                "I_e": float(current[i]),
            },
        )
        population.V_m = nest.random.normal(means[i], sds[i])
        recorder = nest.Create("spike_recorder", 1, {"record_to": "ascii"})
        nest.Connect(population, recorder)
        rate = model.BACKGROUND_INDEGREES[i] * SCALE * model.BACKGROUND_RATE
        noise = nest.Create("poisson_generator", 1, {"rate": rate * change.get("drive", 1.0)})
        drive = {"weight": weight_pa / np.sqrt(SCALE), "delay": model.BACKGROUND_DELAY}
        nest.Connect(noise, population, "all_to_all", drive)
        cells.append(population)
    for j, target in enumerate(cells):
        for i, source in enumerate(cells):
            n = int(synapses[j, i])
            if not n:
                continue
            rule: dict[str, Any] = {"rule": "fixed_total_number", "N": n}
            if change.get("rule") == "fixed_indegree":
                rule = {"rule": "fixed_indegree", "indegree": round(n / sizes[j])}
            mean = float(weight_of[j, i])
            kind = "E" if model.EXCITATORY[i] else "I"
            delay = model.DELAYS[kind]
            bounds = {"min": 0.0} if mean > 0 else {"max": 0.0}
            nest.Connect(
                source,
                target,
                rule,
                {
                    "weight": nest.math.redraw(
                        nest.random.normal(mean, abs(0.1 * mean)),
                        min=bounds.get("min", -np.inf),
                        max=bounds.get("max", np.inf),
                    ),
                    "delay": nest.math.redraw(
                        nest.random.normal(delay, model.RELATIVE_DELAY_SD * delay),
                        min=0.05,
                        max=np.inf,
                    ),
                },
            )
    ids = [f"{population[0].global_id} {population[-1].global_id}\n" for population in cells]
    (folder / "population_nodeids.dat").write_text("".join(ids))
    nest.Simulate(WARMUP + DURATION)


def run_all(folder: Path, runs: Sequence[tuple[str, int]], jobs: int) -> None:
    """Simulate, each run in a process of its own; those that are there stay."""

    def one(run: tuple[str, int]) -> None:
        variant, seed = run
        place = folder / variant.replace(" ", "-") / f"seed-{seed}"
        if (place / "done").exists():
            return
        command = [sys.executable, __file__, str(place), "--one", variant, "--seeds", str(seed)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (place / "done").touch()
        print(f"simulated: {variant}, seed {seed}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--faulty-seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        simulate(arguments.folder, arguments.seeds, arguments.one)
        return
    folder = arguments.folder.resolve()
    runs = [
        (variant, seed)
        for variant in VARIANTS
        for seed in range(1, 1 + (arguments.faulty_seeds if VARIANTS[variant] else arguments.seeds))
    ]
    run_all(folder, runs, arguments.jobs)
    for variant in VARIANTS:
        place = folder / variant.replace(" ", "-")
        command = [
            *("portability", "judge", "microcircuit-0.1", str(place), "--label", variant),
            *("--all-recorded", "--replace", "--exit-zero", "--out", str(folder / "judged")),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = json.loads((folder / "judged" / "results.json").read_text())
    for candidate in results["candidates"]:
        largest = max(s["ratio"] for s in candidate["scores"] if s["ratio"] is not None)
        print(f"{candidate['format']}: {candidate['verdict']}, largest ratio {largest:.2f}")
        for sentence in candidate["diagnosis"][-3:]:
            print(f"    {sentence}")


if __name__ == "__main__":
    main()
