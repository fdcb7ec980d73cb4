"""Numbers, times and lists as words of the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pynn_portability.reports.drawing import finite

DASH = "–"  # noqa: RUF001 - the typographic sign for "nothing here"


def fixed(number: float | None, decimals: int) -> str:
    """``number`` with so many decimals, or an en dash when it is missing."""
    x = finite(number)
    return DASH if math.isnan(x) else f"{x:,.{decimals}f}".replace("-", "−")  # noqa: RUF001


def significant(number: float | None, digits: int = 3) -> str:
    """``number`` with at least so many significant digits and no exponent, or an en dash."""
    x = finite(number)
    if math.isnan(x) or x == 0:
        return fixed(number, 0)
    return fixed(x, min(max(digits - 1 - math.floor(math.log10(abs(x))), 0), 6))


def memory(n_bytes: float | None) -> str:
    """Bytes as MiB or GiB, or an en dash."""
    x = finite(n_bytes)
    if math.isnan(x):
        return DASH
    return f"{significant(x / 2**30)} GiB" if x >= 2**30 else f"{significant(x / 2**20)} MiB"


def duration(milliseconds: float | None) -> str:
    """Model time in ms below a second, else in s; or an en dash."""
    x = finite(milliseconds)
    if math.isnan(x):
        return DASH
    return f"{x / 1000:g} s" if x >= 1000 else f"{x:g} ms"


def value(item: Any) -> str:
    """A parameter as text: missing values as an en dash, mappings and lists spelled out."""
    if item is None or (isinstance(item, float) and math.isnan(item)):
        return DASH
    if isinstance(item, Mapping):
        return ", ".join(f"{k} = {value(v)}" for k, v in item.items()) or DASH
    if isinstance(item, list | tuple):
        return ", ".join(value(v) for v in item) or DASH
    return f"{item:g}" if isinstance(item, float) else str(item)


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listing(names: Iterable[str]) -> str:
    """At most three names joined by words, otherwise their number."""
    listed = list(names)
    if len(listed) > 3:
        return f"{len(listed)} candidates"
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)


def moment(created: str | None) -> str:
    try:
        return datetime.fromisoformat(created or "").isoformat(" ", "minutes")
    except ValueError:
        return created or DASH
