"""Progress as a stream of plain events; whoever listens decides what becomes of them.

A piece of work begins, advances and ends; several can be under way at once and are told apart by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Began:
    """Work called ``work`` has begun; ``total`` is how much there is of it, None if nobody knows."""

    work: str
    total: float | None = None


@dataclass(frozen=True)
class Advanced:
    """So much of the work is done (None: as much as before), and ``phase`` says what is going on."""

    work: str
    done: float | None = None
    phase: str = ""


@dataclass(frozen=True)
class Ended:
    """The work has ended, well or not."""

    work: str


Event = Began | Advanced | Ended
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does nothing."""
