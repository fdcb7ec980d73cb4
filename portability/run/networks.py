"""Networks beside the runs that were made of them, found by what they are.

``DIR/networks/<fingerprint>.npz``: workers read them, so that the model script runs once for a study, and
reports and predictions can do without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pynn_portability.errors import RequestError
from pynn_portability.files import own_folder
from pynn_portability.model.network import Network
from pynn_portability.model.serialized import read_network, write_network
from pynn_portability.run.record import RunRecord
from pynn_portability.run.store import Store
from pynn_portability.run.study import Study, shareable


def keep(network: Network, folder: Path) -> None:
    """Write a network below ``folder`` unless it is there."""
    fingerprint = network.fingerprint()
    try:
        find(folder, fingerprint)
    except RequestError:
        file = _file(folder, fingerprint)
        own_folder(file.parent)
        write_network(file, network)


def find(folder: Path, fingerprint: str) -> Network:
    """The network with this fingerprint; RequestError if it is not there or not what it was."""
    file = _file(folder, fingerprint)
    if file.parent.is_symlink() or file.is_symlink() or not file.is_file():
        raise RequestError(f"{file}: there is no such network")
    network = read_network(file)
    if network.fingerprint() != fingerprint:
        raise RequestError(f"{file}: the network is not the one that was stored")
    return network


def completed(study: Study, store: Store) -> Study:
    """The study with the times that its newest reference run had; as it is if it has all, or none ran."""
    reference = (study.reference.backend, study.reference.format)
    records = [
        r
        for r in _records(study, store)
        if (r.request["backend"], r.request["format"]) == reference
    ]
    newest = max(records, key=lambda record: record.created, default=None)
    if study.complete or newest is None:
        return study
    timestep = newest.request["timestep"]
    return study.completed(timestep, newest.request["n_steps"] * timestep)


def _records(study: Study, store: Store) -> list[RunRecord]:
    """Runs of the study's model as it is."""
    return [
        record
        for record in store.records()
        if record.model.build == shareable(study.model.reference)
        and record.model.parameters == study.model.parameters
        and not {"fault", "scaling"} & set(record.request)
    ]


def of_model(study: Study, timesteps: Iterable[float], store: Store) -> dict[float, Network] | None:
    """The networks that a study's model built when its runs were made, by time step (ms).

    None when the store does not have all of them.
    """
    networks = {}
    for timestep in timesteps:
        records = [r for r in _records(study, store) if r.request["timestep"] == timestep]
        newest = max(records, key=lambda record: record.created, default=None)
        try:
            if newest is None:
                return None
            networks[timestep] = find(store.folder, newest.request["network"])
        except RequestError:
            return None
    return networks


def _file(folder: Path, fingerprint: str) -> Path:
    return folder / "networks" / f"{fingerprint}.npz"
