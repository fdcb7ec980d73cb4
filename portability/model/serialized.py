"""Networks as files: JSON and plain arrays in one ``.npz``, nothing that could be executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.files import replacing
from pynn_portability.model.connectivity import RULES
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import (
    Network,
    PoissonDrive,
    Population,
    Projection,
    Recording,
)
from pynn_portability.model.parts import Apart, Part
from pynn_portability.model.spatial import LikelyPairs, PairProbability

_DESCRIPTION = "network"
_KIND = "is"
_CLASSES: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (
        Network,
        Population,
        Projection,
        PoissonDrive,
        Recording,
        Distribution,
        Part,
        Apart,
        PairProbability,
        LikelyPairs,
        *RULES.values(),
    )
}


def write_network(path: Path, network: Network) -> None:
    """Write a network; the file appears whole or not at all."""
    arrays: dict[str, NDArray[Any]] = {}
    text = json.dumps(_plain(network, arrays, {}))
    arrays[_DESCRIPTION] = np.frombuffer(text.encode(), np.uint8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_network(path: Path) -> Network:
    """The network of a file that `write_network` wrote; RequestError if it is something else."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)  # each is read once, whoever shares it
            network = _object(json.loads(arrays[_DESCRIPTION].tobytes()), arrays)
    except OSError as error:
        raise RequestError(f"{path}: the network cannot be read: {error.strerror}") from None
    except Exception:  # a damaged archive fails in many ways
        network = None
    if not isinstance(network, Network):
        raise RequestError(f"{path}: is not a whole file of a network")
    return network


def _plain(value: Any, arrays: dict[str, NDArray[Any]], names: dict[int, str]) -> Any:
    """A value as JSON has it; arrays go into ``arrays`` and leave their names, by identity in ``names``."""

    def kept(array: NDArray[Any]) -> str:
        if id(array) not in names:
            names[id(array)] = name = f"array{len(arrays)}"
            arrays[name] = array
        return names[id(array)]

    if type(value).__name__ in _CLASSES:
        members = {f.name: _plain(getattr(value, f.name), arrays, names) for f in fields(value)}
        return {_KIND: type(value).__name__, **members}
    if isinstance(value, np.ndarray):
        return {_KIND: "array", "name": kept(value)}
    if isinstance(value, Mapping):
        return {_KIND: "mapping", "items": {k: _plain(v, arrays, names) for k, v in value.items()}}
    if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
        # one array for many, such as the spike times of every cell
        lengths = np.array([len(part) for part in value])
        return {
            _KIND: "arrays",
            "name": kept(np.concatenate(value)),
            "lengths": kept(lengths),
        }
    if isinstance(value, tuple):
        return {_KIND: "tuple", "items": [_plain(item, arrays, names) for item in value]}
    return value


def _object(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """What `_plain` made into ``value``."""
    if not isinstance(value, dict):
        return value
    kind = value[_KIND]
    if kind == "array":
        return arrays[value["name"]]
    if kind == "arrays":
        ends = np.cumsum(arrays[value["lengths"]])
        return tuple(part.copy() for part in np.split(arrays[value["name"]], ends[:-1]))
    if kind == "mapping":
        return {name: _object(item, arrays) for name, item in value["items"].items()}
    if kind == "tuple":
        return tuple(_object(item, arrays) for item in value["items"])
    members = {name: _object(item, arrays) for name, item in value.items() if name != _KIND}
    return _CLASSES[kind](**members)
