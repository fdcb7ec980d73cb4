"""The command in a process of its own, as a user runs it, whatever environment the tests run in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CODE = "import sys; from pynn_portability.cli import main; sys.argv[0] = 'portability'; main()"


def portability(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``portability`` in a folder; environment variables are those of the tests unless given."""
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
