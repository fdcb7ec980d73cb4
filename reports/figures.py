"""Drawings of what was simulated: distances, distributions of statistics, and spikes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from pynn_portability.judge.statistics import Statistic, Statistics, histogram_edges, statistic
from pynn_portability.judge.window import Sample
from pynn_portability.reports.drawing import (
    BAND,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PINK,
    YELLOW,
    Canvas,
    Grid,
    Picture,
    finite,
    lower,
    names,
    power,
    short,
    style,
    ticks,
)
from pynn_portability.results.schema import Baseline, PartOfRuns, Score
from pynn_portability.spikes.data import SpikeData

MARKS = {
    "pass": ("o", BLUE),
    "deviates": ("D", ORANGE),
    "inconclusive": ("^", YELLOW),
}
SCHEMES = {"naive": ("o", ORANGE), "moments": ("s", BLUE)}
REFERENCE_SHADES = ("#1a1a1a", "#9a9a9a")
CANDIDATE_SHADES = ("#004f7c", "#56aadb")

PART_SHADES = ("#9ecae1", "#4292c6", "#08519c")
"""From the shortest part of a run to the longest; the whole run is black."""
FORMAT_MARKS = (("o", BLUE), ("s", YELLOW), ("D", ORANGE), ("^", "#8a6d00"))
"""Of candidates that share a panel, in their order."""
STATISTIC_MARKS = (
    ("o", "●", INK),
    ("s", "■", "#8a6d00"),
    ("D", "◆", BLUE),
    ("^", "▲", ORANGE),
    ("v", "▼", GREEN),
    ("<", "◀", PINK),
    (">", "▶", GREY),
)
"""Mark, sign and colour of statistics that share a panel, in their order, again from the first."""

MAX_BINS = 40
RASTER_NEURONS = 1500


Comparison = TypeVar("Comparison", Score, Baseline)


def _values(distances: Sequence[float | None]) -> Sample:
    values = np.array([finite(v) for v in distances])
    return values[np.isfinite(values)]


def _of(entries: Sequence[Comparison], statistic: str) -> dict[str, Comparison]:
    return {e.population: e for e in entries if e.statistic == statistic}


def _between(entry: Score | Baseline | None) -> tuple[float, float]:
    """Mean and SD of the distances between seeds of the reference, NaN where unknown."""
    if entry is None:
        return math.nan, math.nan
    return finite(entry.baseline_mean), finite(entry.baseline_sd)


def _deviates(score: Score | None) -> bool:
    return score is not None and score.deviates


def measure(name: str) -> str:
    """What is measured between two runs in a statistic, as a title begins."""
    return "KS distance" if statistic(name).kind == "sample" else "Relative difference"


def distance_picture(
    name: str,
    populations: Sequence[str],
    baseline: Sequence[Baseline],
    scores: Sequence[Score],
) -> Picture:
    """Distance of each population between reference seeds and, if there are scores, paired.

    A grey band is the baseline's mean +- SD, small grey points its pairs of seeds; large marks are
    the mean over seeds of the candidate's paired distance and small ones its seeds.
    """
    base, paired = _of(baseline, name), _of(scores, name)
    labels = [short(p) for p in populations]
    longest = max((len(label) for label in labels), default=1)
    width = max(380, 60 + 24 * len(populations))
    inner = width - 56
    tilted = longest * 7 + 6 > inner / max(len(populations), 1)
    bottom = 30 + (longest * 5 if tilted else 0)
    height = 212 + bottom
    with style():
        canvas = Canvas(width, height)
        canvas.text(
            6, 14, f"{measure(name)}, {lower(statistic(name).title)}", weight="bold", size=9
        )
        axes = canvas.axes(46, 33, inner, height - 33 - bottom)
        top = 0.0
        for x, population in enumerate(populations):
            if population in base:
                top = max(top, _draw_baseline(axes, x, base[population]))
            if population in paired:
                top = max(top, _draw_paired(axes, x, paired[population]))
        axes.set_xlim(-0.6, len(populations) - 0.4)
        axes.set_ylim(0, 1.08 * top if top > 0 else 1)
        axes.yaxis.set_major_locator(ticks(5))
        axes.grid(axis="y", color="#eeeeee", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", length=0)
        axes.set_xticks(range(len(populations)), labels)
        for tick, population in zip(axes.get_xticklabels(), populations, strict=True):
            if tilted:
                tick.set(rotation=45, rotation_mode="anchor", ha="right", va="center")
            if _deviates(paired.get(population)):
                tick.set(color="#b34700", weight="bold")
        deviating = [p for p in populations if _deviates(paired.get(p))]
        alt = f"{measure(name)} of {lower(statistic(name).title)} in each population"
        if paired:
            alt += f", candidate against the baseline; deviating populations: {names(deviating)}."
        else:
            alt += ", between seeds of the reference."
        return canvas.picture(f"distance {name}", alt)


def _draw_baseline(axes: Axes, x: float, entry: Baseline) -> float:
    """Draw the baseline of one population at ``x``; the largest value drawn."""
    mean, sd = _between(entry)
    pairs = _values(entry.baseline)
    top = float(pairs.max()) if pairs.size else 0.0
    if math.isfinite(mean):
        spread = sd if math.isfinite(sd) else 0.0
        low = max(mean - spread, 0.0)
        axes.add_patch(Rectangle((x - 0.4, low), 0.8, mean + spread - low, color=BAND, lw=0))
        axes.plot([x - 0.4, x + 0.4], [mean, mean], color=INK, lw=1.3, solid_capstyle="butt")
        top = max(top, mean + spread)
    spread_x = x - 0.2 + np.linspace(-0.13, 0.13, pairs.size) if pairs.size > 1 else x - 0.2
    axes.plot(np.broadcast_to(spread_x, pairs.shape), pairs, ".", color=GREY, markersize=3, mew=0)
    return top


def _draw_paired(axes: Axes, x: float, score: Score) -> float:
    """Draw the candidate's distance of one population at ``x``; the largest value drawn."""
    marker, colour = MARKS[score.verdict]
    seeds = _values(score.distances)
    mean = finite(score.distance)
    spread_x = x + 0.2 + np.linspace(-0.13, 0.13, seeds.size) if seeds.size > 1 else x + 0.2
    axes.plot(
        np.broadcast_to(spread_x, seeds.shape), seeds, ".", color=colour, ms=4, mew=0, alpha=0.55
    )
    axes.plot([x + 0.2], [mean], marker, color=colour, markersize=6.5, mec="white", mew=0.8)
    return max([*seeds.tolist(), mean if math.isfinite(mean) else 0.0])


def _samples(
    runs: Mapping[int, Statistics], seeds: Sequence[int], population: str, statistic: str
) -> list[Sample]:
    found = (np.asarray(runs[s].get(population, {}).get(statistic, ()), float) for s in seeds)
    return [sample for raw in found if (sample := raw[np.isfinite(raw)]).size]


def _density(samples: Sequence[Sample], edges: Sample) -> Sample:
    """Density of each sample, shape ``(samples, bins)``, also over what is outside the edges."""
    width = edges[1] - edges[0]
    return np.array([np.histogram(s, edges)[0] / (s.size * width) for s in samples])


@dataclass(frozen=True)
class Curve:
    """An ensemble whose distributions are drawn: statistics by seed."""

    runs: Mapping[int, Statistics]
    colour: str


def distribution_picture(
    name: str,
    populations: Sequence[str],
    curves: Sequence[Curve],
    title: str,
    scores: Sequence[Score] = (),
    quantum: float = 0.0,
    timestep: float = 0.1,
) -> Picture:
    """One statistic, a panel per population, over the seeds that all curves have.

    Distributions are drawn of samples, a point per seed of numbers, and curves as they are, in steps of ``timestep``
    (ms). Curves are means over seeds; the first is drawn thicker, with the range over seeds in grey, and
    its first seed decides the bins. ``scores`` are written above the panels. ``quantum`` is the step
    of a statistic that counts (1/duration for rates), in its unit. ``title`` says what is drawn.
    """
    seeds = sorted(set.intersection(*(set(curve.runs) for curve in curves)))
    paired = _of(scores, name)
    grid = Grid(len(populations))
    drawn = statistic(name)
    unit = f" ({drawn.unit})" if drawn.unit else ""
    along = f" by {drawn.along}" if drawn.along else ""
    with style():
        canvas = Canvas(grid.width, grid.height)
        canvas.text(6, 14, drawn.title + unit + along, weight="bold", size=9)
        for index, population in enumerate(populations):
            left, top, width, height = grid.place(index, 4)
            axes = canvas.axes(left, top, width, height)
            canvas.text(left, top - 5, short(population, 18), size=8.5)
            score = paired.get(population)
            sign = "KS" if drawn.kind == "sample" else "diff."
            if score is not None and score.distance is not None:
                deviates = score.deviates
                canvas.text(
                    left + width,
                    top - 5,
                    ("◆ " if deviates else "") + f"{sign} {score.distance:.3f}",
                    size=8,
                    ha="right",
                    color="#b34700" if deviates else "#666666",
                    weight="bold" if deviates else "normal",
                )
            axes.spines["left"].set_visible(False)
            axes.set_yticks([])
            samples = [_samples(curve.runs, seeds, population, name) for curve in curves]
            colours = [curve.colour for curve in curves]
            if not _draw_samples(axes, drawn, samples, colours, quantum, timestep):
                axes.set_xticks([])
                axes.text(0.5, 0.5, "no data", ha="center", va="center", color="#666666")
                axes.set(xlim=(0, 1), ylim=(0, 1))
        return canvas.picture(
            f"distribution {name}",
            f"{_DRAWN[drawn.kind]} {lower(drawn.title)}, {title}, in {names(populations)}.",
        )


_DRAWN = {
    "sample": "Distribution of",
    "number": "Values by seed of",
    "curve": "Curve of",
}


def _draw_samples(
    axes: Axes,
    drawn: Statistic,
    curves: Sequence[list[Sample]],
    colours: Sequence[str],
    quantum: float,
    timestep: float,
) -> bool:
    """Draw one panel; False when there is nothing to draw."""
    if not any(curves):
        return False
    if drawn.kind == "sample":
        return _draw_distributions(axes, curves, colours, quantum)
    if drawn.kind == "number":
        for row, (samples, colour) in enumerate(zip(curves, colours, strict=True)):
            axes.plot([s[0] for s in samples], [-row] * len(samples), ".", color=colour, ms=7)
        axes.set_ylim(-len(curves) + 0.4, 0.6)
        axes.margins(x=0.1)
    else:
        _draw_lines(axes, drawn, curves, colours, timestep)
    axes.xaxis.set_major_locator(ticks(4))
    return True


def _draw_lines(
    axes: Axes,
    drawn: Statistic,
    curves: Sequence[list[Sample]],
    colours: Sequence[str],
    timestep: float,
) -> None:
    for index, (samples, colour) in enumerate(zip(curves, colours, strict=True)):
        if not samples:
            continue
        n = min(sample.size for sample in samples)
        values = np.array([sample[:n] for sample in samples])
        x = drawn.axis(n, timestep) if drawn.axis else np.arange(n)
        if index == 0 and len(samples) > 1:
            axes.fill_between(x, values.min(0), values.max(0), color=BAND, lw=0)
        axes.plot(x, values.mean(0), color=colour, lw=1.0 if index else 1.6)
    axes.margins(x=0)


def _draw_distributions(
    axes: Axes, curves: Sequence[list[Sample]], colours: Sequence[str], quantum: float
) -> bool:
    """Draw one panel; False when there is nothing to draw."""
    drawn = [samples for samples in curves if samples]
    if not drawn:
        return False
    # A few outliers would squeeze everything else into one bin.
    limits = [np.percentile(np.concatenate(samples), [0.2, 99.8]) for samples in drawn]
    low, high = min(x[0] for x in limits), max(x[1] for x in limits)
    edges = histogram_edges(drawn[0][0], float(low), float(high), quantum, max_bins=MAX_BINS)
    for index, (samples, colour) in enumerate(zip(curves, colours, strict=True)):
        if not samples:
            continue
        density = _density(samples, edges)
        if index == 0 and len(samples) > 1:
            axes.stairs(density.max(0), edges, baseline=density.min(0), fill=True, color=BAND, lw=0)
        axes.stairs(density.mean(0), edges, color=colour, lw=1.2 if index else 2.0, baseline=None)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, None)
    axes.xaxis.set_major_locator(ticks(4))
    return True


def sweep_picture(
    name: str,
    populations: Sequence[str],
    baseline: Sequence[Baseline],
    sweeps: Mapping[str, Sequence[tuple[int, Sequence[Score]]]],
) -> Picture:
    """Distance against the number of bins, a panel per population, a curve per scheme.

    ``sweeps`` maps a discretisation scheme to its (bins, scores), sorted by bins. Marks are means
    and bars SDs over seeds; filled marks deviate. Line and band are the baseline's mean +- SD
    (Dasbach et al. 2021, figure 3 G-I).
    """
    base = _of(baseline, name)
    bins = [n for points in sweeps.values() for n, _ in points]
    first, last = math.floor(math.log2(min(bins))), math.ceil(math.log2(max(bins)))
    step = max(math.ceil((last - first) / 5), 1)
    powers = list(range(first, last + 1, step))
    grid = Grid(len(populations), panel_height=82, row_height=134)
    with style():
        canvas = Canvas(grid.width, grid.height)
        canvas.text(
            6,
            14,
            f"{measure(name)}, {lower(statistic(name).title)}, by bins",
            weight="bold",
            size=9,
        )
        for index, population in enumerate(populations):
            left, top, width, height = grid.place(index, 40)
            axes = canvas.axes(left, top, width, height)
            canvas.text(left, top - 5, short(population, 18), size=8.5)
            upper = _draw_sweep_baseline(axes, base.get(population))
            for scheme, points in sweeps.items():
                scores = [_of(s, name).get(population) for _, s in points]
                x = np.log2([n for n, _ in points])
                upper = max(upper, _draw_curve(axes, x, scores, *SCHEMES[scheme]))
            axes.set_ylim(0, 1.1 * upper if upper > 0 else 1)
            axes.yaxis.set_major_locator(ticks(3))
            axes.set_xlim(first - 0.3, last + 0.3)
            axes.set_xticks(powers, [power(p) for p in powers])
        return canvas.picture(
            f"bins {name}",
            f"{measure(name)} of {lower(statistic(name).title)} against the number of bins,"
            f" for {names([f'{scheme} discretisation' for scheme in sweeps])}.",
        )


def duration_picture(
    parts: Sequence[PartOfRuns], margin: float, statistics: Sequence[str]
) -> Picture:
    """Largest ratio of each statistic against the part of the runs that is used.

    ``parts`` are those of a candidate in results.json. The dashed lines are the ratios 1, of the
    reference to itself, and ``margin``; filled marks belong to parts whose verdict is "deviates"
    (as Dasbach et al. 2021, figure 7 G-I, with ratios instead of distances).
    """
    legend = _legend_height(statistics)
    width, height = 380, 196 + legend
    seconds = [part.duration / 1000 for part in parts]
    with style():
        canvas = Canvas(width, height)
        canvas.text(6, 14, "Largest ratio, by model time used", weight="bold", size=9)
        axes = canvas.axes(46, 32 + legend, width - 56, 130)
        top = margin
        _statistic_legend(canvas, statistics)
        for i, name in enumerate(statistics):
            marker, _, colour = STATISTIC_MARKS[i % len(STATISTIC_MARKS)]
            ratios = np.array([finite(part.largest.get(name)) for part in parts])
            axes.plot(seconds, ratios, color=colour, lw=1.1)
            for x, y, part in zip(seconds, ratios, parts, strict=True):
                face = colour if part.verdict == "deviates" else "white"
                axes.plot([x], [y], marker, ms=5, mec=colour, mfc=face, mew=1.1)
            top = max(top, float(np.nanmax(ratios, initial=0.0)))
        for level in (1.0, margin):
            axes.axhline(level, color="#999999", lw=0.9, ls=(0, (4, 3)))
        axes.set_xscale("log", base=2)
        axes.set_xticks(seconds, [f"{x:g} s" for x in seconds])
        axes.set_ylim(0, 1.08 * top)
        axes.yaxis.set_major_locator(ticks(4))
        return canvas.picture(
            "ratios by time",
            "Largest ratio of each statistic against the model time used, with verdicts "
            + ", ".join(
                f"{part.verdict} at {x:g} s" for x, part in zip(seconds, parts, strict=True)
            )
            + ".",
        )


def part_picture(
    name: str, populations: Sequence[str], candidates: Sequence[Sequence[PartOfRuns]]
) -> Picture:
    """Distance against the model time used, a panel per population, a curve per candidate.

    ``candidates`` holds the ``parts`` of up to four candidates in results.json, drawn as in
    `FORMAT_MARKS`; marks and bars are means and SD over seeds, filled where they deviate. Black line
    and grey band are the baseline's mean +- SD (Dasbach et al. 2021, figure 7 G-I).
    """
    grid = Grid(len(populations), panel_height=82, row_height=134)
    with style():
        canvas = Canvas(grid.width, grid.height)
        title = f"{measure(name)}, {lower(statistic(name).title)}, by time (s)"
        canvas.text(6, 14, title, weight="bold", size=9)
        for index, population in enumerate(populations):
            left, top, width, height = grid.place(index, 40)
            axes = canvas.axes(left, top, width, height)
            canvas.text(left, top - 5, short(population, 18), size=8.5)
            upper = 0.0
            for number, parts in enumerate(candidates):
                seconds = np.array([part.duration / 1000 for part in parts])
                scores = [_of(part.scores, name).get(population) for part in parts]
                if number == 0:
                    upper = _draw_part_baseline(axes, seconds, scores)
                    axes.set_xscale("log", base=2)
                    axes.set_xticks(seconds, [f"{x:.3g}" for x in seconds])
                    axes.minorticks_off()
                upper = max(upper, _draw_curve(axes, seconds, scores, *FORMAT_MARKS[number]))
            axes.set_ylim(0, 1.1 * upper if upper > 0 else 1)
            axes.yaxis.set_major_locator(ticks(3))
        return canvas.picture(
            f"time {name}",
            f"{measure(name)} of {lower(statistic(name).title)} against the model time used, in"
            f" {names(populations)}.",
        )


def _draw_part_baseline(axes: Axes, seconds: Sample, scores: Sequence[Score | None]) -> float:
    mean, sd = np.array([_between(score) for score in scores]).T
    axes.fill_between(seconds, np.maximum(mean - sd, 0.0), mean + sd, color=BAND, lw=0)
    axes.plot(seconds, mean, color=INK, lw=1.1)
    return float(np.nanmax(mean + sd, initial=0.0))


def population_mean_pictures(
    baseline: Sequence[Baseline], candidates: Sequence[tuple[str, Sequence[Score]]]
) -> list[Picture]:
    """Distances averaged over populations by candidate (name and scores), three to a picture.

    Marks and bars are means and SD over seeds; black line and grey band those of the baseline over
    pairs of seeds (Dasbach et al. 2021, figure 6 A).
    """
    return [
        _population_mean_picture(baseline, candidates[i : i + 3])
        for i in range(0, len(candidates), 3)
    ]


def _population_mean_picture(
    baseline: Sequence[Baseline], candidates: Sequence[tuple[str, Sequence[Score]]]
) -> Picture:
    statistics = list(dict.fromkeys(b.statistic for b in baseline))
    legend = _legend_height(statistics)
    width, height = 380, 210 + legend
    step = 0.9 / max(len(statistics), 1)
    with style():
        canvas = Canvas(width, height)
        canvas.text(6, 14, "Distance, mean over populations", weight="bold", size=9)
        _statistic_legend(canvas, statistics)
        axes = canvas.axes(50, 30 + legend, width - 56, 150)
        upper = 0.0
        for i, name in enumerate(statistics):
            marker, _, colour = STATISTIC_MARKS[i % len(STATISTIC_MARKS)]
            between = _population_means([b.baseline for b in _of(baseline, name).values()])
            for x, (_, scores) in enumerate(candidates):
                place = x + (i - (len(statistics) - 1) / 2) * step
                half = 0.4 * step
                if between.size:
                    mean, sd = float(between.mean()), float(between.std())
                    box = (place - half, max(mean - sd, 0.0))
                    axes.add_patch(Rectangle(box, 2 * half, mean + sd - box[1], color=BAND, lw=0))
                    axes.plot([place - half, place + half], [mean, mean], color=INK, lw=1.3)
                    upper = max(upper, mean + sd)
                paired = _population_means([s.distances for s in _of(scores, name).values()])
                if paired.size:
                    mean, sd = float(paired.mean()), float(paired.std())
                    axes.errorbar(
                        [place], [mean], [sd], fmt=marker, color=colour, ms=5, elinewidth=0.9
                    )
                    upper = max(upper, mean + sd)
        axes.set_xlim(-0.55, 2.55)
        axes.set_ylim(0, 1.1 * upper if upper > 0 else 1)
        axes.yaxis.set_major_locator(ticks(4))
        axes.set_xticks(range(len(candidates)), [short(name, 16) for name, _ in candidates])
        axes.tick_params(axis="x", length=0)
        return canvas.picture(
            "population means",
            "Distances, means over populations, beside those between seeds of the"
            f" reference, for {names([name for name, _ in candidates])}.",
        )


def _population_means(distances: Sequence[Sequence[float | None]]) -> Sample:
    """Means over populations, one per seed or pair of seeds; empty when populations lack some."""
    rows = [_values(of_population) for of_population in distances]
    if not rows or len({row.size for row in rows}) > 1:
        return np.empty(0)
    return np.asarray(np.mean(rows, axis=0))


LEGEND_COLUMNS = 3


def _legend_height(statistics: Sequence[str]) -> int:
    return 16 * math.ceil(len(statistics) / LEGEND_COLUMNS)


def _statistic_legend(canvas: Canvas, statistics: Sequence[str]) -> None:
    for i, name in enumerate(statistics):
        row, column = divmod(i, LEGEND_COLUMNS)
        _, sign, colour = STATISTIC_MARKS[i % len(STATISTIC_MARKS)]
        words = f"{sign} {statistic(name).word}"
        canvas.text(54 + 108 * column, 34 + 16 * row, words, color=colour, size=8.5)


def _draw_sweep_baseline(axes: Axes, entry: Baseline | None) -> float:
    mean, sd = _between(entry)
    if not math.isfinite(mean):
        return 0.0
    spread = sd if math.isfinite(sd) else 0.0
    axes.axhspan(max(mean - spread, 0.0), mean + spread, color=BAND, lw=0)
    axes.axhline(mean, color=INK, lw=1.1)
    return mean + spread


def _draw_curve(
    axes: Axes, x: Sample, scores: Sequence[Score | None], marker: str, colour: str
) -> float:
    """Draw paired distances, mean +- SD over seeds, at ``x``; the largest value drawn."""
    # A failed candidate has no score: the curve has a gap there.
    mean = np.array([finite(score.distance if score else None) for score in scores])
    seeds = [_values(score.distances if score else ()) for score in scores]
    sd = np.array([np.std(v) if v.size else 0.0 for v in seeds])
    axes.errorbar(x, mean, sd, color=colour, lw=1.1, elinewidth=0.9)
    for xi, yi, score in zip(x, mean, scores, strict=True):
        face = colour if _deviates(score) else "white"
        axes.plot([xi], [yi], marker, ms=4.6, mec=colour, mfc=face, mew=1.1)
    return float(np.nanmax(mean + sd, initial=0.0))


def raster_picture(
    title: str,
    sizes: Mapping[str, int],
    spikes: SpikeData,
    start: float,
    stop: float,
    shades: tuple[str, str],
) -> Picture:
    """Spikes of a sample of neurons between ``start`` and ``stop`` (ms), first population on top.

    Populations are sampled in proportion to their ``sizes``, the same neurons in every run. The
    first of ``shades`` draws labels ending in E, the second those ending in I; others alternate.
    """
    fraction = min(1.0, RASTER_NEURONS / max(sum(sizes.values()), 1))
    shown = {p: min(n, max(round(fraction * n), 12)) for p, n in sizes.items()}
    gap = 0.008 * max(sum(shown.values()), 1)
    total = sum(shown.values()) + gap * max(len(shown) - 1, 0)
    with style():
        width, height = 420, max(350, 66 + 14 * len(sizes))
        canvas = Canvas(width, height)
        canvas.text(6, 14, title, weight="bold", size=9)
        longest = max((len(short(p)) for p in shown), default=4)
        left = 12 + 7.5 * max(longest, 4)
        axes = canvas.axes(left, 26, width - left - 20, height - 26 - 40)
        offset, count = 0.0, 0
        centres, colours = [], []
        for index, (population, rows) in enumerate(shown.items()):
            inhibitory = population.endswith("I") or (population[-1:] != "E" and index % 2 == 1)
            colour = shades[1] if inhibitory else shades[0]
            if population in spikes.populations:
                times, row = _raster_points(spikes, population, rows, start, stop)
                count += times.size
                axes.plot(times, offset + row, ".", color=colour, ms=2.3, mew=0, rasterized=True)
            centres.append(offset + rows / 2)
            colours.append(colour)
            offset += rows + gap
        axes.set_xlim(start, stop)
        axes.set_ylim(total + gap, -gap)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(ticks(5))
        axes.set_xlabel("time (ms)")
        places = _spread(centres, total * 13.5 / (height - 66), total)
        for y, population, colour in zip(places, shown, colours, strict=True):
            axes.text(
                -6 / (width - left - 20),
                y,
                short(population),
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                color=colour if colour != REFERENCE_SHADES[1] else "#6f6f6f",
            )
        return canvas.picture(
            "spikes",
            f"Spike raster of {title}: {count} spikes of {sum(shown.values())} neurons in"
            f" {names(list(shown))}, {start:g} to {stop:g} ms.",
        )


def _raster_points(
    spikes: SpikeData, population: str, rows: int, start: float, stop: float
) -> tuple[Sample, NDArray[np.int64]]:
    """Times (ms) and rows of the sampled neurons' spikes, shape ``(n,)`` each."""
    found = spikes.populations[population]
    # A spike carries the step at whose end it happened: the first of the window is start + 1.
    window = np.rint(np.array([start, stop]) / spikes.timestep)
    first, last = np.searchsorted(found.steps, window, side="right")
    row_of = np.full(found.size, -1, np.int64)
    sample = np.arange(min(rows, found.size), dtype=np.int64) * found.size // rows
    row_of[sample] = np.arange(sample.size)
    row = row_of[found.neurons[first:last]]
    times = found.steps[first:last].astype(np.float64) * spikes.timestep
    return times[row >= 0], row[row >= 0]


def _spread(places: Sequence[float], distance: float, end: float) -> list[float]:
    """Ascending ``places``, moved to lie at least ``distance`` apart and not beyond ``end``."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + distance) if moved else place)
    for i in range(len(moved) - 1, -1, -1):
        moved[i] = min(
            moved[i], (moved[i + 1] if i + 1 < len(moved) else end + distance) - distance
        )
    return moved
