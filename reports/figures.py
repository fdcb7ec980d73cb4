"""Drawings of the report: Matplotlib SVGs that are narrow enough to be read on a telephone.

The page sets them side by side where there is room. The same input gives the same bytes.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from portability.spikes import SpikeData
from portability.statistics import Sample, Statistics, histogram_edges

Score = Mapping[str, Any]
"""An entry of ``scores`` or ``baseline`` in results.json."""

TITLES = {
    "rate": "Firing rate",
    "cv": "CV of interspike intervals",
    "cc": "Correlation coefficient",
}
UNITS = {"rate": "1/s", "cv": "", "cc": ""}

# Okabe and Ito's palette, which stays distinguishable with any common colour blindness; the shape
# of a mark says the same as its colour.
INK, GREY, BAND = "#222222", "#8c8c8c", "#d9d9d9"
CANDIDATE = "#0072b2"
MARKS = {
    "pass": ("o", CANDIDATE),
    "deviates": ("D", "#d55e00"),
    "inconclusive": ("^", "#e69f00"),
}
SCHEMES = {"naive": ("o", "#d55e00"), "moments": ("s", CANDIDATE)}
MEASURES = {
    "mu": ("⟨μ⟩", "#009e73"),
    "sigma2": ("⟨σ²⟩", "#e69f00"),
    "dmu2": ("⟨δμ²⟩", "#cc79a7"),
    "dsigma2": ("⟨δ(σ²)²⟩", CANDIDATE),
}
"""Ensemble measures of the synaptic input, as in Dasbach et al. (2021), figure 6."""
SMALLEST_ERROR, LARGEST_ERROR = 1e-4, 10.0  # of the colour scale
REFERENCE_SHADES = ("#1a1a1a", "#9a9a9a")
CANDIDATE_SHADES = ("#004f7c", "#56aadb")

DURATION_MARKS = {"rate": ("o", INK), "cv": ("s", "#8a6d00"), "cc": ("D", CANDIDATE)}
TITLES_SHORT = {"rate": "firing rate", "cv": "CV", "cc": "correlation"}

MAX_BINS = 40
RASTER_NEURONS = 1500
PIXELS_PER_INCH = 96  # of CSS, so that sizes below are pixels of the page

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # "system-ui" is for the browser; Matplotlib measures with DejaVu Sans, which is no narrower.
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "DejaVu Sans", "sans-serif"],
    "font.size": 8.5,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": "#777777",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.limits": (-5, 6),
    "axes.formatter.useoffset": False,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


@dataclass(frozen=True)
class Picture:
    """An SVG, its natural ``width`` in CSS pixels and ``alt``, a sentence on what it shows."""

    svg: bytes
    width: int
    alt: str

    @property
    def uri(self) -> str:
        """The SVG as a data URI: an image of its own, whose element ids clash with no other's."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


class _Canvas:
    """A figure measured in CSS pixels from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH))
        self.figure.patch.set_alpha(0.0)
        FigureCanvasSVG(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, text, **style)

    def picture(self, alt: str) -> Picture:
        buffer = io.BytesIO()
        self.figure.savefig(
            buffer, format="svg", dpi=2.5 * PIXELS_PER_INCH, metadata={"Date": None}
        )
        return Picture(buffer.getvalue(), round(self.width), alt)


def _style() -> Any:
    # A fixed salt makes the element ids, and with them the file, a function of the content.
    return mpl.rc_context({**_STYLE, "svg.hashsalt": "portability"})


def finite(value: Any) -> float:
    """``value`` as a float, with NaN for everything that is missing or infinite."""
    return float(value) if value is not None and math.isfinite(value) else math.nan


def _ticks(intervals: int) -> MaxNLocator:
    return MaxNLocator(intervals, steps=[1, 2, 5, 10])


def _values(entry: Score, key: str) -> Sample:
    values = np.array([finite(v) for v in entry.get(key) or ()])
    return values[np.isfinite(values)]


def _short(label: str, length: int = 14) -> str:
    # XML, and so SVG, cannot hold control characters.
    printable = "".join(c if c.isprintable() else "\ufffd" for c in label)
    if len(printable) <= length:
        return printable
    return printable[: length - 6] + "…" + printable[-5:]  # names often differ at their ends


def _of(entries: Sequence[Score], statistic: str) -> dict[str, Score]:
    return {e["population"]: e for e in entries if e["statistic"] == statistic}


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels) if labels else "none"


def ks_picture(
    statistic: str, populations: Sequence[str], baseline: Sequence[Score], scores: Sequence[Score]
) -> Picture:
    """KS distance of each population between reference seeds and, if there are scores, paired.

    A grey band is the baseline's mean +- SD, small grey points its pairs of seeds; large marks are
    the mean over seeds of the candidate's paired distance and small ones its seeds.
    """
    base, paired = _of(baseline, statistic), _of(scores, statistic)
    labels = [_short(p) for p in populations]
    longest = max((len(label) for label in labels), default=1)
    width = max(380, 60 + 24 * len(populations))
    inner = width - 56
    tilted = longest * 7 + 6 > inner / max(len(populations), 1)
    bottom = 30 + (longest * 5 if tilted else 0)
    height = 212 + bottom
    with _style():
        canvas = _Canvas(width, height)
        canvas.text(6, 14, f"KS distance, {_lower(TITLES[statistic])}", weight="bold", size=9)
        axes = canvas.axes(46, 33, inner, height - 33 - bottom)
        top = 0.0
        for x, population in enumerate(populations):
            if population in base:
                top = max(top, _draw_baseline(axes, x, base[population]))
            if population in paired:
                top = max(top, _draw_paired(axes, x, paired[population]))
        axes.set_xlim(-0.6, len(populations) - 0.4)
        axes.set_ylim(0, 1.08 * top if top > 0 else 1)
        axes.yaxis.set_major_locator(_ticks(5))
        axes.grid(axis="y", color="#eeeeee", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", length=0)
        axes.set_xticks(range(len(populations)), labels)
        for tick, population in zip(axes.get_xticklabels(), populations, strict=True):
            if tilted:
                tick.set(rotation=45, rotation_mode="anchor", ha="right", va="center")
            if paired.get(population, {}).get("verdict") == "deviates":
                tick.set(color="#b34700", weight="bold")
        deviating = [p for p in populations if paired.get(p, {}).get("verdict") == "deviates"]
        alt = f"Kolmogorov-Smirnov distance of {_lower(TITLES[statistic])} in each population"
        if paired:
            alt += f", candidate against the baseline; deviating populations: {_names(deviating)}."
        else:
            alt += ", between seeds of the reference."
        return canvas.picture(alt)


def _lower(title: str) -> str:
    return title if title.startswith("CV") else title[0].lower() + title[1:]


def _draw_baseline(axes: Axes, x: float, entry: Score) -> float:
    """Draw the baseline of one population at ``x``; the largest value drawn."""
    mean, sd = finite(entry.get("ks_baseline_mean")), finite(entry.get("ks_baseline_sd"))
    pairs = _values(entry, "ks_baseline")
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
    """Draw the candidate's paired KS of one population at ``x``; the largest value drawn."""
    marker, colour = MARKS.get(score.get("verdict", ""), MARKS["inconclusive"])
    seeds = _values(score, "ks_paired_seeds")
    mean = finite(score.get("ks_paired"))
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
class _Grid:
    """Places of small panels: two columns, so that E stands beside I, or one when they are few."""

    count: int
    panel_height: int = 62
    row_height: int = 106
    width: int = 380

    @property
    def columns(self) -> int:
        return 2 if self.count > 3 else 1

    @property
    def height(self) -> int:
        return 28 + self.row_height * math.ceil(self.count / self.columns)

    def place(self, index: int, margin: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of a panel that keeps ``margin`` pixels for its y axis."""
        row, column = divmod(index, self.columns)
        cell = (self.width - 4) / self.columns
        left = 4 + column * cell + margin
        return left, 28 + row * self.row_height + 20, cell - margin - 16, self.panel_height


def distribution_picture(
    statistic: str,
    populations: Sequence[str],
    reference: Mapping[int, Statistics],
    candidate: Mapping[int, Statistics] | None,
    scores: Sequence[Score],
    quantum: float = 0.0,
) -> Picture:
    """Distributions of one statistic, a panel per population, over the seeds that both sides have.

    Black is the mean over seeds of the reference and grey the range over them; the candidate is
    coloured. Bins are those of the reference's first seed. ``quantum`` is the step of a statistic
    that counts (1/duration for rates), in its unit.
    """
    seeds = sorted(set(reference) & set(candidate) if candidate else reference)
    paired = _of(scores, statistic)
    grid = _Grid(len(populations))
    unit = f" ({UNITS[statistic]})" if UNITS[statistic] else ""
    with _style():
        canvas = _Canvas(grid.width, grid.height)
        canvas.text(6, 14, TITLES[statistic] + unit, weight="bold", size=9)
        for index, population in enumerate(populations):
            left, top, width, height = grid.place(index, 4)
            axes = canvas.axes(left, top, width, height)
            canvas.text(left, top - 5, _short(population, 18), size=8.5)
            score = paired.get(population, {})
            if math.isfinite(finite(score.get("ks_paired"))):
                deviates = score.get("verdict") == "deviates"
                canvas.text(
                    left + width,
                    top - 5,
                    ("◆ " if deviates else "") + f"KS {score['ks_paired']:.3f}",
                    size=8,
                    ha="right",
                    color="#b34700" if deviates else "#666666",
                    weight="bold" if deviates else "normal",
                )
            axes.spines["left"].set_visible(False)
            axes.set_yticks([])
            drawn = _draw_distribution(
                axes,
                _samples(reference, seeds, population, statistic),
                _samples(candidate, seeds, population, statistic) if candidate else [],
                quantum,
            )
            if not drawn:
                axes.set_xticks([])
                axes.text(0.5, 0.5, "no data", ha="center", va="center", color="#666666")
                axes.set(xlim=(0, 1), ylim=(0, 1))
        versus = "of reference and candidate" if candidate else "of the reference"
        return canvas.picture(
            f"Distribution of {_lower(TITLES[statistic])} {versus} in {_names(populations)}."
        )


def _draw_distribution(
    axes: Axes, reference: list[Sample], candidate: list[Sample], quantum: float
) -> bool:
    """Draw one panel; False when there is nothing to draw."""
    if not reference and not candidate:
        return False
    # A few outliers would squeeze everything else into one bin.
    limits = [np.percentile(np.concatenate(s), [0.2, 99.8]) for s in (reference, candidate) if s]
    low, high = min(x[0] for x in limits), max(x[1] for x in limits)
    edges = histogram_edges(
        (reference or candidate)[0], float(low), float(high), quantum, max_bins=MAX_BINS
    )
    if reference:
        density = _density(reference, edges)
        if len(reference) > 1:
            axes.stairs(density.max(0), edges, baseline=density.min(0), fill=True, color=BAND, lw=0)
        axes.stairs(density.mean(0), edges, color=INK, lw=2.0, baseline=None)
    if candidate:
        mean = _density(candidate, edges).mean(0)
        axes.stairs(mean, edges, color=CANDIDATE, lw=1.2, baseline=None)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, None)
    axes.xaxis.set_major_locator(_ticks(4))
    return True


def sweep_picture(
    statistic: str,
    populations: Sequence[str],
    baseline: Sequence[Score],
    sweeps: Mapping[str, Sequence[tuple[int, Sequence[Score]]]],
) -> Picture:
    """Paired KS against the number of bins, a panel per population, a curve per scheme.

    ``sweeps`` maps a discretisation scheme to its (bins, scores), sorted by bins. Marks are means
    and bars SDs over seeds; filled marks deviate. Line and band are the baseline's mean +- SD
    (Dasbach et al. 2021, figure 3 G-I).
    """
    base = _of(baseline, statistic)
    bins = [n for points in sweeps.values() for n, _ in points]
    first, last = math.floor(math.log2(min(bins))), math.ceil(math.log2(max(bins)))
    step = max(math.ceil((last - first) / 5), 1)
    powers = list(range(first, last + 1, step))
    grid = _Grid(len(populations), panel_height=82, row_height=134)
    with _style():
        canvas = _Canvas(grid.width, grid.height)
        canvas.text(
            6, 14, f"KS distance, {_lower(TITLES[statistic])}, by bins", weight="bold", size=9
        )
        for index, population in enumerate(populations):
            left, top, width, height = grid.place(index, 40)
            axes = canvas.axes(left, top, width, height)
            canvas.text(left, top - 5, _short(population, 18), size=8.5)
            upper = _draw_sweep_baseline(axes, base.get(population, {}))
            for scheme, points in sweeps.items():
                scores = [(n, _of(s, statistic).get(population, {})) for n, s in points]
                upper = max(upper, _draw_sweep(axes, scores, *SCHEMES[scheme]))
            axes.set_ylim(0, 1.1 * upper if upper > 0 else 1)
            axes.yaxis.set_major_locator(_ticks(3))
            axes.set_xlim(first - 0.3, last + 0.3)
            axes.set_xticks(powers, [_power(p) for p in powers])
        return canvas.picture(
            f"Paired KS distance of {_lower(TITLES[statistic])} against the number of bins,"
            f" for {_names([f'{scheme} discretisation' for scheme in sweeps])}."
        )


def duration_picture(parts: Sequence[Mapping[str, Any]], margin: float) -> Picture:
    """Largest ratio of each statistic against the part of the runs that is used.

    ``parts`` are those of a candidate in results.json. The dashed lines are the ratios 1, of the
    reference to itself, and ``margin``; filled marks belong to parts whose verdict is "deviates"
    (as Dasbach et al. 2021, figure 7 G-I, with ratios instead of distances).
    """
    width, height = 380, 212
    seconds = [part["duration"] / 1000 for part in parts]
    with _style():
        canvas = _Canvas(width, height)
        canvas.text(6, 14, "Largest ratio, by model time used", weight="bold", size=9)
        axes = canvas.axes(46, 48, width - 56, height - 48 - 34)
        top = margin
        for i, (statistic, (marker, colour)) in enumerate(DURATION_MARKS.items()):
            canvas.text(54 + 84 * i, 34, TITLES_SHORT[statistic], color=colour, size=8.5)
            ratios = np.array([finite(part["largest"].get(statistic)) for part in parts])
            axes.plot(seconds, ratios, color=colour, lw=1.1)
            for x, y, part in zip(seconds, ratios, parts, strict=True):
                face = colour if part["verdict"] == "deviates" else "white"
                axes.plot([x], [y], marker, ms=5, mec=colour, mfc=face, mew=1.1)
            top = max(top, float(np.nanmax(ratios, initial=0.0)))
        for level in (1.0, margin):
            axes.axhline(level, color="#999999", lw=0.9, ls=(0, (4, 3)))
        axes.set_xscale("log", base=2)
        axes.set_xticks(seconds, [f"{x:g} s" for x in seconds])
        axes.set_ylim(0, 1.08 * top)
        axes.yaxis.set_major_locator(_ticks(4))
        return canvas.picture(
            "Largest ratio of each statistic against the model time used, with verdicts "
            + ", ".join(
                f"{part['verdict']} at {x:g} s" for x, part in zip(seconds, parts, strict=True)
            )
            + "."
        )


def _power(exponent: int) -> str:
    superscript = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    return str(2**exponent) if exponent < 10 else "2" + str(exponent).translate(superscript)


def _draw_sweep_baseline(axes: Axes, entry: Score) -> float:
    mean, sd = finite(entry.get("ks_baseline_mean")), finite(entry.get("ks_baseline_sd"))
    if not math.isfinite(mean):
        return 0.0
    spread = sd if math.isfinite(sd) else 0.0
    axes.axhspan(max(mean - spread, 0.0), mean + spread, color=BAND, lw=0)
    axes.axhline(mean, color=INK, lw=1.1)
    return mean + spread


def _draw_sweep(axes: Axes, scores: Sequence[tuple[int, Score]], marker: str, colour: str) -> float:
    # A failed candidate has no score: the curve has a gap there.
    x = np.log2([n for n, _ in scores])
    mean = np.array([finite(s.get("ks_paired")) for _, s in scores])
    seeds = [_values(s, "ks_paired_seeds") for _, s in scores]
    sd = np.array([np.std(v) if v.size else 0.0 for v in seeds])
    axes.errorbar(x, mean, sd, color=colour, lw=1.1, elinewidth=0.9)
    for xi, yi, (_, score) in zip(x, mean, scores, strict=True):
        face = colour if score.get("verdict") == "deviates" else "white"
        axes.plot([xi], [yi], marker, ms=4.6, mec=colour, mfc=face, mew=1.1)
    top = (mean + sd)[np.isfinite(mean)]
    return float(top.max()) if top.size else 0.0


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
    with _style():
        width, height = 420, max(350, 66 + 14 * len(sizes))
        canvas = _Canvas(width, height)
        canvas.text(6, 14, title, weight="bold", size=9)
        longest = max((len(_short(p)) for p in shown), default=4)
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
        axes.xaxis.set_major_locator(_ticks(5))
        axes.set_xlabel("time (ms)")
        places = _spread(centres, total * 13.5 / (height - 66), total)
        for y, population, colour in zip(places, shown, colours, strict=True):
            axes.text(
                -6 / (width - left - 20),
                y,
                _short(population),
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                color=colour if colour != REFERENCE_SHADES[1] else "#6f6f6f",
            )
        return canvas.picture(
            f"Spike raster of {title}: {count} spikes of {sum(shown.values())} neurons in"
            f" {_names(list(shown))}, {start:g} to {stop:g} ms."
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


def epsilon_pictures(errors: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Picture]:
    """Discretisation errors of the input by format, means over pairs of populations.

    ``errors`` maps a format to the entries of ``epsilon`` in results.json; three formats share a
    picture. The value stands above each bar, 0 where nothing deviates (Dasbach et al. 2021, figure
    6 B).
    """
    names = list(errors)
    return [
        _epsilon_picture({name: errors[name] for name in names[i : i + 3]})
        for i in range(0, len(names), 3)
    ]


def _epsilon_picture(errors: Mapping[str, Sequence[Mapping[str, Any]]]) -> Picture:
    bottom, top = SMALLEST_ERROR / 10, LARGEST_ERROR * 10
    width, height = 380, 226
    with _style():
        canvas = _Canvas(width, height)
        canvas.text(6, 14, "Discretisation errors of the input", weight="bold", size=9)
        for i, (label, colour) in enumerate(MEASURES.values()):
            canvas.text(54 + 72 * i, 34, "■", color=colour, size=9)
            canvas.text(66 + 72 * i, 34, label, size=8.5)
        axes = canvas.axes(50, 46, width - 56, height - 46 - 30)
        axes.set_yscale("log")
        axes.set_ylim(bottom, top)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        for x, entries in enumerate(errors.values()):
            for i, (measure, (_, colour)) in enumerate(MEASURES.items()):
                value = _mean_error(entries, measure)
                place, drawn = x + (i - 1.5) * 0.23, min(max(value, bottom), top)
                axes.bar([place], [drawn - bottom], 0.21, bottom=bottom, color=colour)
                axes.annotate(
                    _error(value),
                    (place, drawn),
                    (0, 1.5),
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    size=7.5,
                )
        axes.set_xlim(-0.55, 2.55)
        axes.set_xticks(range(len(errors)), [_short(name, 16) for name in errors])
        axes.tick_params(axis="x", length=0)
        return canvas.picture(
            "Relative deviations of the ensemble statistics of the synaptic input, means over pairs"
            f" of populations, for {_names(list(errors))}."
        )


def epsilon_matrix_picture(name: str, entries: Sequence[Mapping[str, Any]]) -> Picture:
    """Discretisation errors of every pair of source and target population, a panel per measure.

    ``entries`` are those of ``epsilon`` in results.json; of several projections between two
    populations the largest error is drawn (Dasbach et al. 2021, supplementary figure 2).
    """
    targets = list(dict.fromkeys(e["target"] for e in entries))
    sources = [s for s in dict.fromkeys(e["source"] for e in entries) if s not in targets]
    sources = [*targets, *sources]
    cell = 14
    panel_width, panel_height = cell * len(sources), cell * len(targets)
    margin = 10 + 5.5 * max(len(_short(label, 8)) for label in [*sources, *targets])
    width = max(380, round(2 * (margin + panel_width + 14)))
    height = round(30 + 2 * (panel_height + 22 + margin) + 46)
    norm = mpl.colors.LogNorm(SMALLEST_ERROR, LARGEST_ERROR, clip=True)
    colours = mpl.colormaps["viridis_r"]
    with _style():
        canvas = _Canvas(width, height)
        canvas.text(6, 14, f"Discretisation errors, {_short(name, 30)}", weight="bold", size=9)
        for i, (measure, (label, _)) in enumerate(MEASURES.items()):
            row, column = divmod(i, 2)
            left = column * width / 2 + margin
            top = 46 + row * (panel_height + 22 + margin)
            canvas.text(left, top - 5, label, size=8.5)
            axes = canvas.axes(left, top, panel_width, panel_height)
            for target, source, value in _largest_errors(entries, measure):
                place = (sources.index(source), targets.index(target))
                colour = colours(norm(value)) if value > 0 else "#eeeeee"
                axes.add_patch(Rectangle(place, 1, 1, color=colour, lw=0))
            axes.set_xlim(0, len(sources))
            axes.set_ylim(len(targets), 0)
            axes.set_xticks(
                np.arange(len(sources)) + 0.5, [_short(s, 8) for s in sources], rotation=90
            )
            axes.set_yticks(np.arange(len(targets)) + 0.5, [_short(t, 8) for t in targets])
            axes.tick_params(length=0, labelsize=7)
        bar = canvas.axes(margin, height - 32, width - margin - 30, 8)
        mappable = mpl.cm.ScalarMappable(norm, colours)
        canvas.figure.colorbar(mappable, cax=bar, orientation="horizontal", extend="both")
        bar.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        canvas.text(6, height - 24, "ε", size=9)
        return canvas.picture(
            f"Discretisation errors of the synaptic input with {name}, targets in rows and sources in"
            " columns: average input, average variance, and their variances over neurons."
        )


def _largest_errors(
    entries: Sequence[Mapping[str, Any]], measure: str
) -> list[tuple[str, str, float]]:
    """Target, source and the largest error of the projections between them."""
    found: dict[tuple[str, str], float] = {}
    for entry in entries:
        pair = entry["target"], entry["source"]
        value = math.inf if entry[measure] is None else entry[measure]
        found[pair] = max(found.get(pair, 0.0), value)
    return [(target, source, value) for (target, source), value in found.items()]


def _mean_error(entries: Sequence[Mapping[str, Any]], measure: str) -> float:
    values = [value for _, _, value in _largest_errors(entries, measure)]
    return sum(values) / len(values) if values else math.nan


def _error(value: float) -> str:
    """A discretisation error as the label of its bar."""
    if not math.isfinite(value):
        return "∞"
    if value == 0 or value >= 0.005:
        return f"{value:.2f}" if value else "0"
    return f"{value:.0e}".replace("e-0", "e-")
