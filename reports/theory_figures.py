"""Drawings of theory: the spread of discretised weights, and what it does to the synaptic input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from pynn_portability.formats.schemes import (
    NAIVE_HALF_WIDTH,
    Scheme,
    discretised_sd,
    first_root,
    half_width,
    sd_ratio,
)
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
    names,
    power,
    short,
    style,
    ticks,
)
from pynn_portability.results.schema import Epsilon

MEASURES = {
    "mu": ("⟨μ⟩", GREEN),
    "sigma2": ("⟨σ²⟩", YELLOW),
    "dmu2": ("⟨δμ²⟩", PINK),
    "dsigma2": ("⟨δ(σ²)²⟩", BLUE),
}
"""Ensemble measures of the synaptic input, as in Dasbach et al. (2021), figure 6."""
SMALLEST_ERROR, LARGEST_ERROR = 1e-4, 10.0  # of the colour scale


SPREAD_BINS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64)
HALF_WIDTHS = np.linspace(0.25, 8.0, 156)


def spread_pictures(formats: Sequence[tuple[Scheme, int]]) -> list[Picture]:
    """Standard deviation of normal weights that formats hold in few values, relative to before.

    ``formats`` are scheme and number of values. First with the values placed naively, by their number,
    filled where a format does so; then for each of up to six numbers of values by the half-width of
    the interval that they cover, where the curves cross 1 at the width that preserves the moments
    (Dasbach et al. 2021, figure 1).
    """
    bins = sorted({n for _, n in formats})
    naive = {n for scheme, n in formats if half_width(scheme, n) == NAIVE_HALF_WIDTH}
    few = [n for n in bins if n > 1][:6]
    with style():
        by_bins, axes = _spread_canvas("Spread of weights, values placed naively")
        shown = sorted({*SPREAD_BINS, *bins})
        ratios = [sd_ratio("naive", n) for n in shown]
        axes.plot(shown, ratios, color=BLUE, lw=1.1)
        for n, ratio in zip(shown, ratios, strict=True):
            face = BLUE if n in naive else "white"
            axes.plot([n], [ratio], "o", ms=4.6, mec=BLUE, mfc=face, mew=1.1)
        axes.set_xscale("log", base=2)
        powers = range(0, math.ceil(math.log2(shown[-1])) + 1, 1 if shown[-1] <= 64 else 4)
        axes.set_xticks([2**p for p in powers], [power(p) for p in powers])
        axes.minorticks_off()
        axes.set_xlabel("values that a weight can take")
        axes.set_ylim(0, 2.7)
        pictures = [
            by_bins.picture(
                "spread by bins",
                "Standard deviation of naively discretised normal weights relative to before, against"
                " the number of values: "
                + names([f"{r:.2f} with {n}" for n, r in zip(shown, ratios, strict=True) if n <= 4])
                + ".",
            )
        ]
        if few:
            by_width, axes = _spread_canvas("Spread of weights, by the interval's half-width")
            for n, colour in zip(few, (YELLOW, BLUE, PINK, GREEN, ORANGE, GREY), strict=False):
                spread = [discretised_sd(n, float(half)) for half in HALF_WIDTHS]
                axes.plot(HALF_WIDTHS, spread, color=colour, lw=1.2, label=f"{n}")
                axes.plot([first_root(n)], [1.0], "o", ms=4.6, color=colour)
            axes.legend(title="values", frameon=False, loc="upper left", ncols=2)
            axes.set_xlim(0, HALF_WIDTHS[-1])
            axes.set_ylim(0, 2.7)
            axes.set_xlabel("half-width (standard deviations of the weights)")
            pictures.append(
                by_width.picture(
                    "spread by width",
                    "Standard deviation of discretised normal weights relative to before, against half"
                    f" the width of the interval, for {names([f'{n}' for n in few])} values.",
                )
            )
        return pictures


def _spread_canvas(title: str) -> tuple[Canvas, Axes]:
    width, height = 380, 226
    canvas = Canvas(width, height)
    canvas.text(6, 14, title, weight="bold", size=9)
    axes = canvas.axes(46, 30, width - 60, height - 30 - 42)
    axes.axhline(1.0, color="#999999", lw=0.9, ls=(0, (4, 3)))
    axes.yaxis.set_major_locator(ticks(4))
    return canvas, axes


def epsilon_pictures(errors: Mapping[str, Sequence[Epsilon]]) -> list[Picture]:
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


def _epsilon_picture(errors: Mapping[str, Sequence[Epsilon]]) -> Picture:
    bottom, top = SMALLEST_ERROR / 10, LARGEST_ERROR * 10
    width, height = 380, 226
    with style():
        canvas = Canvas(width, height)
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
        axes.set_xticks(range(len(errors)), [short(name, 16) for name in errors])
        axes.tick_params(axis="x", length=0)
        return canvas.picture(
            "input errors",
            "Relative deviations of the ensemble statistics of the synaptic input, means over pairs"
            f" of populations, for {names(list(errors))}.",
        )


def epsilon_matrix_picture(name: str, entries: Sequence[Epsilon]) -> Picture:
    """Discretisation errors of every pair of source and target population, a panel per measure.

    ``entries`` are those of ``epsilon`` in results.json; of several projections between two
    populations the largest error is drawn (Dasbach et al. 2021, supplementary figure 2).
    """
    targets = list(dict.fromkeys(e.target for e in entries))
    sources = [s for s in dict.fromkeys(e.source for e in entries) if s not in targets]
    sources = [*targets, *sources]
    cell = 14
    panel_width, panel_height = cell * len(sources), cell * len(targets)
    margin = 10 + 5.5 * max(len(short(label, 8)) for label in [*sources, *targets])
    width = max(380, round(2 * (margin + panel_width + 14)))
    height = round(30 + 2 * (panel_height + 22 + margin) + 46)
    norm = mpl.colors.LogNorm(SMALLEST_ERROR, LARGEST_ERROR, clip=True)
    colours = mpl.colormaps["viridis_r"]
    with style():
        canvas = Canvas(width, height)
        canvas.text(6, 14, f"Discretisation errors, {short(name, 30)}", weight="bold", size=9)
        for i, (measure, (label, _)) in enumerate(MEASURES.items()):
            row, column = divmod(i, 2)
            left = column * width / 2 + margin
            top = 46 + row * (panel_height + 22 + margin)
            canvas.text(left, top - 5, label, size=8.5)
            axes = canvas.axes(left, top, panel_width, panel_height)
            cells = np.zeros((len(targets), len(sources), 4))  # transparent where nothing projects
            for target, source, value in _largest_errors(entries, measure):
                cells[targets.index(target), sources.index(source)] = (
                    colours(norm(value)) if value > 0 else mpl.colors.to_rgba("#eeeeee")
                )
            axes.pcolormesh(cells)
            axes.set_xlim(0, len(sources))
            axes.set_ylim(len(targets), 0)
            axes.set_xticks(
                np.arange(len(sources)) + 0.5, [short(s, 8) for s in sources], rotation=90
            )
            axes.set_yticks(np.arange(len(targets)) + 0.5, [short(t, 8) for t in targets])
            axes.tick_params(length=0, labelsize=7)
        bar = canvas.axes(margin, height - 32, width - margin - 30, 8)
        mappable = mpl.cm.ScalarMappable(norm, colours)
        canvas.figure.colorbar(mappable, cax=bar, orientation="horizontal", extend="both")
        bar.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        canvas.text(6, height - 24, "ε", size=9)
        return canvas.picture(
            f"input errors {name}",
            f"Discretisation errors of the synaptic input with {name}, targets in rows and sources in"
            " columns: average input, average variance, and their variances over neurons.",
        )


def covariance_picture(
    name: str,
    lags: Sample,
    curves: Mapping[str, tuple[Sample, Sample, Sequence[float], Sequence[float]]],
) -> Picture:
    """Covariances by lag (ms) within populations: simulated whole and smaller networks, and both as predicted.

    Simulated ones have shape ``(runs, lags)`` and are drawn as means; what is empty is left out.
    """
    grid = Grid(len(curves))
    with style():
        canvas = Canvas(grid.width, grid.height)
        canvas.text(
            6, 14, f"Covariance (1/s²) by lag (ms), {short(name, 22)}", weight="bold", size=9
        )
        for index, (population, (whole, smaller, *predicted)) in enumerate(curves.items()):
            left, top, width, height = grid.place(index, 30)
            axes = canvas.axes(left, top, width, height)
            canvas.text(left, top - 5, short(population, 18), size=8.5)
            axes.axhline(0.0, color=BAND, lw=0.8)
            for simulated, theory, colour in zip(
                (whole, smaller), predicted, (INK, BLUE), strict=True
            ):
                if len(simulated):
                    axes.plot(lags, simulated.mean(axis=0), color=colour, lw=1.1)
                if len(theory):
                    axes.plot(lags, theory, color=colour, lw=1.3, ls=(0, (2, 1.5)))
            axes.xaxis.set_major_locator(ticks(4))
            axes.yaxis.set_major_locator(ticks(3))
        return canvas.picture(
            f"covariances {name}",
            f"Pair-averaged covariances by lag of the whole network and of {name}, as simulated and as"
            f" predicted by linear response, in {names(list(curves))}.",
        )


def _largest_errors(entries: Sequence[Epsilon], measure: str) -> list[tuple[str, str, float]]:
    """Target, source and the largest error of the projections between them."""
    found: dict[tuple[str, str], float] = {}
    for entry in entries:
        pair = entry.target, entry.source
        error = entry.measures[measure]
        found[pair] = max(found.get(pair, 0.0), math.inf if error is None else error)
    return [(target, source, value) for (target, source), value in found.items()]


def _mean_error(entries: Sequence[Epsilon], measure: str) -> float:
    values = [value for _, _, value in _largest_errors(entries, measure)]
    return sum(values) / len(values) if values else math.nan


def _error(value: float) -> str:
    """A discretisation error as the label of its bar."""
    if not math.isfinite(value):
        return "∞"
    if value == 0 or value >= 0.005:
        return f"{value:.2f}" if value else "0"
    return f"{value:.0e}".replace("e-0", "e-")
