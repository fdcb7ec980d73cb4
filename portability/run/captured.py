"""The network of a study once more, in a process that was told what it must be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pynn_portability.errors import RequestError
from pynn_portability.model.network import Network
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.model.transforms import plant


def captured(specification: Mapping[str, Any]) -> Network:
    """The network of the model, captured again; RequestError if it is not what it was."""
    model, request = specification["model"], specification["request"]
    # a script that reads files finds them where it found them when it was captured for the plan
    scratch = Path.cwd()
    os.chdir(specification["directory"])
    build = load_model(model["build"], Path(model["base"]))
    network = capture(build, model["parameters"], request["timestep"])
    os.chdir(scratch)
    if fault := request.get("fault"):
        network = plant(network, *fault)
    if network.fingerprint() != request["network"]:
        raise RequestError(
            f"{model['build']} built another network than a moment ago, a model must not depend on "
            "unseeded random numbers, the time or the machine"
        )
    return network
