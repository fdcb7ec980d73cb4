"""Make environments with the makers' packages, then run a command: environments.py FOLDER -- COMMAND...

Each package is installed into a virtual environment of its own below FOLDER, whose interpreter the command finds in
an environment variable. A variable that is set already is left alone; what cannot be installed is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = {
    # variable: Python, packages, packages without what they ask for (torch and more than is used here)
    "PORTABILITY_NENGO_LOIHI": ("python3.9", ["nengo-loihi==1.1.0", "nengo<4", "numpy<2"], []),
    "PORTABILITY_LAVA": ("python3.10", ["lava-nc==0.10.0"], []),
    "PORTABILITY_ROCKPOOL": ("python3.11", ["numpy", "scipy"], ["rockpool==3.1.0"]),
}


def made(folder: Path, python: str, packages: list[str], bare: list[str]) -> Path | None:
    """The interpreter of an environment, None if it cannot be made."""
    interpreter = folder / "bin" / "python"
    if (folder / "complete").exists():
        return interpreter
    found = shutil.which(python)
    if found is None:
        print(f"{python} is not installed; without it, {packages + bare} are left out")
        return None
    pip = [interpreter, "-m", "pip", "install", "--quiet"]
    steps = [[found, "-m", "venv", "--clear", folder], [*pip, *packages]]
    if bare:
        steps.append([*pip, "--no-deps", *bare])
    for step in steps:
        if subprocess.run(step, check=False).returncode:
            print(f"{packages + bare} cannot be installed and are left out")
            return None
    (folder / "complete").touch()
    return interpreter


def main() -> int:
    """Make what is missing and run the command."""
    folder, command = Path(sys.argv[1]), sys.argv[3:]
    for variable, (python, packages, bare) in ENVIRONMENTS.items():
        if not os.environ.get(variable):
            interpreter = made(folder / variable.lower(), python, packages, bare)
            if interpreter is not None:
                os.environ[variable] = str(interpreter)
    return subprocess.run(command, check=False).returncode


sys.exit(main())
