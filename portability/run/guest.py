"""A model script is a guest: it runs in a process of its own, and only plain data comes back.

Whatever it does there, be it ending the interpreter, forking, printing without end or never returning, is
a sentence here. Both ends are in this module, as in `pynn_portability.run.process`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pynn_portability.errors import RequestError, printable
from pynn_portability.model.network import Network
from pynn_portability.model.scripts import capture, check_arguments, load_model
from pynn_portability.model.serialized import read_network, write_network
from pynn_portability.realize.realization import Realization
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
    steps: list[float | None] = list(timesteps)
    # a whole script imports modules that keep what they got the first time
    at_once = [[step] for step in steps] if study.model.script else [steps]
    networks = {}
    for some in at_once:
        if some:
            networks.update(_asked(study, some, listener, quiet)[0])
    return networks


def completed(study: Study, listener: Listener) -> tuple[Study, dict[float, Network]]:
    """The study with its times, and the network if the script had to run to tell them, by time step (ms).

    Raises RequestError as `captured` does.
    """
    if study.complete:
        return study, {}
    timestep = study.simulation.timestep if study.simulation.says("timestep") else None
    networks, duration = _asked(study, [timestep], listener, quiet=False)
    step = next(iter(networks))
    return study.completed(step, duration), networks


def _asked(
    study: Study, timesteps: list[float | None], listener: Listener, quiet: bool
) -> tuple[dict[float, Network], float]:
    """Networks by time step (ms), None being the script's own, and how long a whole script runs (ms)."""
    key = study.model.key
    simulation = study.simulation
    until = simulation.warmup * simulation.says("warmup") + simulation.duration
    listener(Began(CAPTURING))
    try:
        with tempfile.TemporaryDirectory(prefix="portability-") as folder:
            answer = ask(
                __name__,
                {
                    "model": study.model.build,
                    "script": study.model.script,
                    "arguments": study.model.arguments,
                    "until": until if simulation.says("duration") else None,
                    "stock": study.backend_names()[0] if study.model.stock else "",
                    "base": str(study.base.resolve()),
                    "parameters": study.model.parameters,
                    "timesteps": timesteps,
                    "seed": simulation.seeds[0],
                    "directory": str(Path.cwd()),
                    "folder": folder,
                },
                lambda said: None,
                simulation.timeout or SECONDS,
                # what a script prints of data that were not simulated would mislead
                _drop if quiet or study.model.stock else _pass_on,
            )
            built = answer.get("built") if isinstance(answer, dict) else None
            if not isinstance(built, list) or len(built) != len(timesteps):
                problem = answer.get("problem") if isinstance(answer, dict) else None
                raise RequestError(f"{study.file}: {problem or f'{key}: nothing was built'}")
            networks = {t: read_network(_file(folder, i)) for i, t in enumerate(built)}
            return networks, answer.get("duration", 0.0)
    except RequestError as error:
        known = str(error).startswith(f"{study.file}: ")
        raise RequestError(str(error) if known else f"{study.file}: {key}: {error}") from None
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
    key = "model.script" if specification["script"] else "model.build"
    try:
        # a script that reads files finds them where the user is
        os.chdir(specification["directory"])
        report({"result": (_record if specification["script"] else _build)(specification)})
    except RequestError as error:
        if os.environ.get("PORTABILITY_TRACEBACK") == "1":
            raise
        report({"result": {"problem": f"{key}: {error}"}})


def _build(specification: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for a build function."""
    build = load_model(specification["model"], Path(specification["base"]))
    for key, problem in check_arguments(build, specification["parameters"]):
        return {"problem": f"{key}: {problem}"}
    for index, timestep in enumerate(specification["timesteps"]):
        os.chdir(specification["directory"])
        network = capture(build, specification["parameters"], timestep, _drawn(specification))
        write_network(_file(specification["folder"], index), network)
    return {"built": specification["timesteps"]}


def _drawn(specification: Mapping[str, Any]) -> Callable[[Network, float], Realization]:
    return lambda network, timestep: Realization(network, specification["seed"], timestep)


def _record(specification: Mapping[str, Any]) -> dict[str, Any]:
    """The answer for a whole script."""
    from pynn_portability.model.whole_script import record_script  # noqa: PLC0415

    os.environ["MPLBACKEND"] = "Agg"  # no windows
    sys.dont_write_bytecode = True
    path = (Path(specification["base"]) / specification["script"]).resolve()
    (timestep,) = specification["timesteps"]
    if specification["stock"]:
        from pynn_portability.run import stock  # noqa: PLC0415

        network, protocol = stock.overview(
            path,
            specification["arguments"],
            specification["stock"],
            specification["seed"],
            specification["until"],
        )
        if timestep not in (None, protocol.timestep):
            raise RequestError(
                f"the script has steps of {protocol.timestep:g} ms, which a study cannot change where it runs on "
                f"stock PyNN (it says {timestep:g} ms)"
            )
        write_network(_file(specification["folder"], 0), network)
        return {"built": [protocol.timestep], "duration": protocol.duration}
    network, protocol = record_script(
        path,
        specification["arguments"],
        timestep,
        specification["until"],
        _drawn(specification),
        specification["seed"],
    )
    write_network(_file(specification["folder"], 0), network)
    return {"built": [protocol.timestep], "duration": protocol.duration}
