"""A model script is a guest: it runs in a process of its own, and only plain data comes back.

Whatever it does there, be it ending the interpreter, forking, printing without end or never returning, is
a sentence here. Both ends are in this module, as in `pynn_portability.run.process`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pynn_portability.errors import RequestError, printable
from pynn_portability.model.network import Network
from pynn_portability.model.scripts import capture, check_arguments, load_model
from pynn_portability.model.serialized import read_network, write_network
from pynn_portability.run.events import Began, Ended, Listener
from pynn_portability.run.process import Report, ask, serve
from pynn_portability.run.study import Study

SECONDS = 600.0
"""Time limit of a model script unless the study has one."""

CAPTURING = "running the model script"

MOST_PRINTED = 20_000
"""Characters of what a script prints that are passed on."""


def captured(
    study: Study, timesteps: Iterable[float], listener: Listener, quiet: bool = False
) -> dict[float, Network]:
    """The networks that a study's model builds, by time step (ms).

    What the script prints is passed on to standard error, unless ``quiet``. Raises RequestError, which
    names the file and the key, when there is no network.
    """
    steps = list(timesteps)
    listener(Began(CAPTURING))
    try:
        with tempfile.TemporaryDirectory(prefix="portability-") as folder:
            answer = ask(
                __name__,
                {
                    "model": study.model.build,
                    "base": str(study.base.resolve()),
                    "parameters": study.model.parameters,
                    "timesteps": steps,
                    "directory": str(Path.cwd()),
                    "folder": folder,
                },
                lambda said: None,
                study.simulation.timeout or SECONDS,
                _drop if quiet else _pass_on,
            )
            if not isinstance(answer, dict) or answer.get("built") != len(steps):
                problem = answer.get("problem") if isinstance(answer, dict) else None
                raise RequestError(f"{study.file}: {problem or 'model.build: nothing was built'}")
            return {t: read_network(_file(folder, i)) for i, t in enumerate(steps)}
    except RequestError as error:
        known = str(error).startswith(f"{study.file}: ")
        raise RequestError(str(error) if known else f"{study.file}: model.build: {error}") from None
    finally:
        listener(Ended(CAPTURING))


def _file(folder: str, index: int) -> Path:
    return Path(folder) / f"{index}.npz"


def _drop(printed: str) -> None:
    pass


def _pass_on(printed: str) -> None:
    text = printable(printed[:MOST_PRINTED], keep="\n\t")
    sys.stderr.write(text if not text or text.endswith("\n") else text + "\n")
    if len(printed) > MOST_PRINTED:
        rest = len(printed) - MOST_PRINTED
        print(f"({rest} more characters of what the model script printed)", file=sys.stderr)


# --- In the subprocess ---


def main() -> None:
    """Entry point of the subprocess."""
    serve(_work)


def _work(specification: Mapping[str, Any], report: Report) -> None:
    try:
        # a script that reads files finds them where the user is
        os.chdir(specification["directory"])
        build = load_model(specification["model"], Path(specification["base"]))
        for key, problem in check_arguments(build, specification["parameters"]):
            report({"result": {"problem": f"{key}: {problem}"}})
            return
        for index, timestep in enumerate(specification["timesteps"]):
            os.chdir(specification["directory"])
            network = capture(build, specification["parameters"], timestep)
            write_network(_file(specification["folder"], index), network)
    except RequestError as error:
        if os.environ.get("PORTABILITY_TRACEBACK") == "1":
            raise
        report({"result": {"problem": f"model.build: {error}"}})
    else:
        report({"result": {"built": len(specification["timesteps"])}})
