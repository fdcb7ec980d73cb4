"""The study of a whole PyNN script that comes without a study file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing

SEEDS = (1, 2, 3, 4, 5)
REFERENCE = ("nest", "double")
CANDIDATES = (("brian2", "double"), ("emulator", "double"), ("emulator", "spinnaker-full"))
"""(backend, number format) of those that are candidates if they can run the network."""


STOCK_CANDIDATES = (("brian2", "double"), ("nest", "moments-2"))
"""The same for a script that runs on stock PyNN."""


def script_values(script: Path, arguments: Sequence[str], stock: bool = False) -> dict[str, Any]:
    """What a study file of the script holds, with every candidate."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", script.stem).lstrip("._-")[:100] or "script"
    model: dict[str, Any] = {"script": str(script)}
    if arguments:
        model["arguments"] = list(arguments)
    if stock:
        model["stock"] = True
    return {
        "study": {"name": name},
        "model": model,
        "simulation": {"seeds": list(SEEDS)},
        "reference": {"backend": REFERENCE[0], "format": REFERENCE[1]},
        "candidate": [
            {"backend": b, "format": f} for b, f in (STOCK_CANDIDATES if stock else CANDIDATES)
        ],
    }


def write_script_study(
    file: Path, values: dict[str, Any], timestep: float, duration: float
) -> None:
    """Write a study file of `script_values`; it says what the script runs (ms) in a comment.

    Raises RequestError rather than to replace a file.
    """
    if file.exists():
        raise RequestError(f"{file}: exists already, and a study file is not replaced")
    folder = file.resolve().parent
    script = os.path.relpath(Path(values["model"]["script"]).resolve(), folder)
    model = {**values["model"], "script": script}
    lines = [
        "[study]",
        *_keys(values["study"]),
        "",
        "[model]",
        *_keys(model),
        "",
        "[simulation]",
        f"# the script runs {duration:g} ms in steps of {timestep:g} ms; a verdict needs more, usually 10 s:",
        f"# duration = {duration:g}",
        "# warmup = 0",
        *_keys(values["simulation"]),
        "",
        "[reference]",
        *_keys(values["reference"]),
    ]
    for candidate in values["candidate"]:
        lines += ["", "[[candidate]]", *_keys(candidate)]
    with replacing(file) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _keys(table: dict[str, Any]) -> list[str]:
    # strings, numbers and lists of them are written in TOML as in JSON
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
