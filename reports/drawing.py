"""What all drawings of the report share: canvas, colours, type, places of panels, shortened names.

Drawings are Matplotlib SVGs that are narrow enough to be read on a telephone. The page sets them side
by side where there is room. The same input gives the same bytes.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, which stays distinguishable with any common colour blindness; the shape
# of a mark says the same as its colour.
INK, GREY, BAND = "#222222", "#8c8c8c", "#d9d9d9"
BLUE, ORANGE, YELLOW, GREEN, PINK = "#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7"

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
    """An SVG, its natural ``width`` in CSS pixels and ``alt``, a sentence on what it shows.

    ``name`` is short and says what kind of drawing it is.
    """

    name: str
    svg: bytes
    width: int
    alt: str

    @property
    def uri(self) -> str:
        """The SVG as a data URI: an image of its own, whose element ids clash with no other's."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")


class Canvas:
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

    def picture(self, name: str, alt: str) -> Picture:
        buffer = io.BytesIO()
        self.figure.savefig(
            buffer, format="svg", dpi=2.5 * PIXELS_PER_INCH, metadata={"Date": None}
        )
        return Picture(name, buffer.getvalue(), round(self.width), alt)


def style() -> Any:
    # A fixed salt makes the element ids, and with them the file, a function of the content.
    return mpl.rc_context({**_STYLE, "svg.hashsalt": "portability"})


def finite(value: Any) -> float:
    """``value`` as a float, with NaN for everything that is missing or infinite."""
    return float(value) if value is not None and math.isfinite(value) else math.nan


def ticks(intervals: int) -> MaxNLocator:
    return MaxNLocator(intervals, steps=[1, 2, 5, 10])


def short(label: str, length: int = 14) -> str:
    # XML, and so SVG, cannot hold control characters.
    printable = "".join(c if c.isprintable() else "\ufffd" for c in label)
    if len(printable) <= length:
        return printable
    return printable[: length - 6] + "…" + printable[-5:]  # names often differ at their ends


def names(labels: Sequence[str]) -> str:
    return ", ".join(labels) if labels else "none"


def power(exponent: int) -> str:
    superscript = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    return str(2**exponent) if exponent < 10 else "2" + str(exponent).translate(superscript)


@dataclass(frozen=True)
class Grid:
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


def lower(title: str) -> str:
    return title if title.startswith("CV") else title[0].lower() + title[1:]
