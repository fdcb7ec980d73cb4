"""Run contenders one after the other, each in a process of its own, and tabulate what they report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from rich.console import Console
from rich.table import Table


def measure(program: str, *arguments: object, threads: int = 1) -> dict[str, float]:
    """Run Python code in a fresh process; it prints one JSON object as its last line.

    The folder is a temporary one: the repository's own would shadow the installed package.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{done.stderr}\ncontender failed with exit code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def show(title: str, rows: dict[str, dict[str, float]], *, ratios_to: str | None = None) -> None:
    """One line per contender, one column per figure; then the ratios to one of them."""
    columns = list(next(iter(rows.values())))
    table = Table("", *columns, title=title)
    for name, figures in rows.items():
        table.add_row(name, *(f"{figures[c]:.3g}" for c in columns))
    if ratios_to:
        base = rows[ratios_to]
        for name, figures in rows.items():
            if name != ratios_to:
                ratios = (f"{figures[c] / base[c]:.3g} x" for c in columns)
                table.add_row(f"{name} / {ratios_to}", *ratios)
    Console(width=110).print(table)
