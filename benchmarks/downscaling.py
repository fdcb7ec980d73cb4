"""Which downscaling keeps which feature of the dynamics: the table of van Albada et al. (2013), from a study's results.

    python benchmarks/downscaling.py results/downscaling-balanced/results.json [--picture FILE.svg]

A row per smaller network, a column per statistic: its verdict over all populations, the largest ratio of its distance
to that between realizations of the reference, and the factor by which its mean over populations changes (curves have
none). Prints Markdown; the picture is green where a feature is kept within the reference's own variability.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt

SIGNS = {"pass": "kept", "inconclusive": "open", "deviates": "**changed**"}
COLOURS = {"pass": "#a6dba0", "inconclusive": "#f6e8a6", "deviates": "#f0b6a0"}


class Cell(NamedTuple):
    """Verdict, largest ratio, and mean factor of a statistic of a candidate."""

    verdict: str
    ratio: float
    factor: float | None


def cell(candidate: dict[str, Any], reference: dict[str, Any], statistic: str) -> Cell:
    """What becomes of a statistic over all populations."""
    scores = [s for s in candidate["scores"] if s["statistic"] == statistic]
    verdicts = {s["verdict"] for s in scores}
    worst = next((v for v in ("deviates", "inconclusive") if v in verdicts), "pass")
    ratio = max((s["ratio"] for s in scores if s["ratio"] is not None), default=math.nan)
    before, after = (
        {
            m["population"]: m["mean"]
            for m in e["means"]
            if m["statistic"] == statistic and m["mean"]
        }
        for e in (reference, candidate)
    )
    # in the geometric mean twice and half as much are as far from one
    factors = [after[p] / before[p] for p in before if p in after]
    usable = [math.log(f) for f in factors if f > 0]
    factor = math.exp(sum(usable) / len(usable)) if usable and len(usable) == len(factors) else None
    return Cell(worst, ratio, factor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    statistics, reference = results["study"]["statistics"], results["reference"]
    rows = {
        c["format"].removeprefix("double "): [cell(c, reference, s) for s in statistics]
        for c in results["candidates"]
        if c["scores"]
    }
    print("| | " + " | ".join(f"`{s}`" for s in statistics) + " |")
    print("|---" * (len(statistics) + 1) + "|")
    for name, cells in rows.items():
        texts = [
            f"{SIGNS[c.verdict]} {c.ratio:.1f}" + (f", x {c.factor:.2f}" if c.factor else "")
            for c in cells
        ]
        print(f"| `{name}` | " + " | ".join(texts) + " |")
    if arguments.picture:
        draw(rows, statistics, arguments.picture)


def draw(rows: dict[str, list[Cell]], statistics: list[str], file: Path) -> None:
    """The table in colours."""
    figure, axes = plt.subplots(
        figsize=(1.6 + 1.25 * len(statistics), 0.7 + 0.3 * len(rows)), layout="constrained"
    )
    for y, cells in enumerate(rows.values()):
        for x, found in enumerate(cells):
            axes.add_patch(plt.Rectangle((x, y), 0.96, 0.9, color=COLOURS[found.verdict], lw=0))
            text = f"{found.ratio:.1f}" + (f"  (x {found.factor:.2f})" if found.factor else "")
            axes.text(x + 0.48, y + 0.46, text, ha="center", va="center", fontsize=8)
    axes.set_xlim(0, len(statistics))
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([x + 0.48 for x in range(len(statistics))], statistics, fontsize=8)
    axes.set_yticks([y + 0.46 for y in range(len(rows))], list(rows), fontsize=8)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.savefig(file)


if __name__ == "__main__":
    main()
