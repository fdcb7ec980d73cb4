"""What executors take and give: jobs and outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pynn_portability.run.plan import Task
from pynn_portability.run.record import RunRecord
from pynn_portability.run.study import Run


@dataclass(frozen=True, eq=False)
class Job:
    """A run to be made: ``specification`` has, as plain JSON values, all that a worker needs.

    After so many ``seconds`` it has failed.
    """

    task: Task
    key: str
    specification: Mapping[str, Any]
    seconds: float

    @property
    def name(self) -> str:
        """What is run, in words."""
        run = self.task.run
        return f"{run.backend} {run.format} seed {run.seed}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with a ``record`` in the store, or an ``error`` sentence and a ``log``.

    A run that did not take place, though nothing is wrong, has neither, but says why in ``skipped``.
    """

    run: Run
    key: str
    record: RunRecord | None
    error: str | None = None
    log: Path | None = None
    reused: bool = False
    skipped: str | None = None
