"""Telling the lines of progress that slow work writes in a pipe from everything else on standard error."""

from __future__ import annotations

from pynn_portability.api import DRAWING, SOLVING
from pynn_portability.probe.selftest import PLANTED
from pynn_portability.results.assembling import JUDGING
from pynn_portability.run.executor import ALL_RUNS
from pynn_portability.spinnaker.deployment import MAPPING

WORK = (ALL_RUNS, DRAWING, JUDGING, MAPPING, PLANTED, SOLVING, "prediction", "statistics")


def without_progress(text: str) -> str:
    """Standard error without lines of progress: on a slow machine they come, on a fast one not."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not any(_tells(line, work) for work in WORK))


def _tells(line: str, work: str) -> bool:
    return line.rstrip("\n") == work or line.startswith((f"{work}: ", f"{work}; "))
