"""A study in pieces: which of its runs are meant, and a script with which a cluster's scheduler makes them all.

Every task of the array makes one run and adds it to the same store, without any scheduler of our own; who submits the
script again makes what is missing.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pynn_portability.errors import RequestError
from pynn_portability.files import read_regular
from pynn_portability.run.executor import time_limit
from pynn_portability.run.plan import Plan
from pynn_portability.run.study import Role, Run

SHORTEST_KEY = 8
"""Digits of a run's key that are enough to name it."""
MEMORY_MARGIN, MEMORY_AT_LEAST = 1.5, 500.0
"""Memory of a job: so many times the estimate, and so many megabytes."""
MINUTES_MARGIN = 2
"""Minutes of a job beyond the time limit of its run."""

SLURM = """\
#!/bin/bash
#SBATCH --job-name=@name@
#SBATCH --array=@array@
#SBATCH --cpus-per-task=@cpus@
#SBATCH --mem=@memory@M
#SBATCH --time=@minutes@

@runs@
# load the environment here in which `portability` is installed
@command@
"""
"""Script of a SLURM job array; a template of a user has the same names, as shells have other uses for braces."""


def chosen(study_runs: Sequence[Run], keys: Mapping[Run, str], only: Sequence[str]) -> list[Run]:
    """Runs that are named by number from 0 on, by ranges of them, or by the begin of their keys, in the study's order.

    Raises RequestError for what names none.
    """
    found: set[Run] = set()
    for item in (part.strip() for text in only for part in text.split(",")):
        if match := re.fullmatch(r"(\d{1,7})(?:-(\d{1,7}))?", item):
            first, last = int(match[1]), int(match[2] or match[1])
            if not first <= last < len(study_runs):
                raise RequestError(
                    f"--only {item}: allowed are numbers from 0 to {len(study_runs) - 1}, of the study's runs"
                )
            found.update(study_runs[first : last + 1])
            continue
        named = [run for run, key in keys.items() if key.startswith(item)]
        if len(item) < SHORTEST_KEY or not named:
            raise RequestError(
                f"--only {item}: is no number of a run, such as 3 or 0-9, and no key of one with at least "
                f"{SHORTEST_KEY} digits"
            )
        found.update(named)
    return [run for run in study_runs if run in found]


def script(
    plan: Plan, file: Path, folder: Path, part: Role | None = None, template: str = SLURM
) -> str:
    """A job array that makes all runs of a study, or those of the reference or the candidates.

    Raises RequestError for a template with other names, or without its command, and for smaller networks that wait
    for the reference's rates if no ``part`` says which runs come first.
    """
    runs = plan.study.runs()
    if plan.waiting and part is None:
        raise RequestError(
            f"{file}: smaller networks are made with the rates of the reference; print two scripts, with "
            "--part reference and --part candidates, and submit the second after the first, with "
            "--dependency=afterok:JOB"
        )
    numbers = [i for i, run in enumerate(runs) if part is None or run.role == part]
    if not numbers:
        raise RequestError(f"{file}: has no runs to make")
    # of smaller networks that wait nothing is known but that they are smaller
    tasks = [t for t in plan.tasks if part is None or plan.waiting or t.run.role == part]
    memory = max(task.estimate.memory_bytes for task in tasks) * 1e-6
    command = shlex.join(
        ["portability", "run", str(file.resolve()), "--out", str(folder.resolve()), "--jobs", "1"]
    )
    variables = {
        "name": re.sub(r"[^\w.-]", "_", plan.study.study.name),
        "array": f"{numbers[0]}-{numbers[-1]}",
        "cpus": max(task.threads for task in tasks),
        "memory": math.ceil(max(MEMORY_MARGIN * memory, memory + MEMORY_AT_LEAST)),
        "minutes": math.ceil(max(time_limit(plan, t) for t in tasks) / 60) + MINUTES_MARGIN,
        "runs": "\n".join(_described(runs, numbers)),
        "command": f'{command} --only "$SLURM_ARRAY_TASK_ID"',
    }
    return _filled_in(template, variables)


def read_template(file: Path) -> str:
    """What is written in a template; RequestError if it is no text."""
    try:
        return read_regular(file.resolve()).decode()
    except OSError as error:
        raise RequestError(f"--template {file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RequestError(f"--template {file}: is not a text file in UTF-8") from None


def _filled_in(template: str, variables: Mapping[str, object]) -> str:
    known = ", ".join(f"@{name}@" for name in variables)
    unknown = [name for name in re.findall(r"@(\w+)@", template) if name not in variables]
    if unknown:
        raise RequestError(f"--template: @{unknown[0]}@ is not known; allowed are {known}")
    if "@command@" not in template:
        raise RequestError(f"--template: has no @command@, which makes a run; allowed are {known}")
    return re.sub(r"@(\w+)@", lambda match: str(variables[match[1]]), template)


def _described(runs: Sequence[Run], numbers: Sequence[int]) -> list[str]:
    """Comments that say which tasks make what."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i in numbers:
        groups.setdefault((runs[i].role, runs[i].backend, runs[i].format), []).append(i)
    return [
        f"# {found[0]}-{found[-1]}: {role}, {backend} {name}".replace("\n", " ")
        for (role, backend, name), found in groups.items()
    ]
