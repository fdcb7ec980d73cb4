"""From a study to a plan: the network, and every run with all that is known of it beforehand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.number_format import NumberFormat, WeightMoments, changed_means
from pynn_portability.model.network import Network, PoissonDrive, Projection
from pynn_portability.realize.downscaling import (
    Downscaled,
    Scaling,
    downscale,
    sources_without_rate,
)
from pynn_portability.realize.realization import Realization
from pynn_portability.realize.validity import adjustments, violations
from pynn_portability.run import networks as stored_networks
from pynn_portability.run.environment import available_cores
from pynn_portability.run.events import Listener, ignore
from pynn_portability.run.guest import captured, completed
from pynn_portability.run.record import IMPORTED
from pynn_portability.run.store import Store
from pynn_portability.run.study import TIMES, Role, Run, Study
from pynn_portability.tables import place

BYTES_PER_CELL, BYTES_PER_SYNAPSE = 100, 2
"""Less than the most economical simulator takes."""


@dataclass(frozen=True)
class Task:
    """A run with everything that is known about it before it starts.

    ``request`` holds, as plain JSON values, what determines its spikes apart from the software and the
    ``network``, of which it has the fingerprint.
    """

    run: Run
    network: Network
    threads: int
    estimate: backends.Estimate
    request: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A study, the network that its model builds, and the runs it takes.

    ``networks`` has the network by time step (ms), as formats may have one of their own and a model
    may ask for it; ``network`` is that of the study's. ``notes`` say what was moved, rounded, left out or
    taken from elsewhere, a sentence each. ``scaled`` has the smaller networks by the name of the candidate;
    those whose rates are not known yet, and their runs, are missing. ``theory`` has the rates (1/s) of those that want
    theory's.
    """

    study: Study
    networks: Mapping[float, Network]
    tasks: tuple[Task, ...]
    notes: tuple[str, ...] = ()
    scaled: Mapping[str, Downscaled] = field(default_factory=dict)
    theory: Mapping[str, float] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        return self.networks[self.study.simulation.timestep]

    def of_role(self, role: Role) -> Plan:
        """With the runs of the reference only, or those of candidates."""
        return replace(self, tasks=tuple(task for task in self.tasks if task.run.role == role))

    @property
    def known(self) -> list[tuple[Role, str, str]]:
        """(role, backend, name) of all simulations of which the network is known."""
        return [
            c
            for c in self.study.simulations()
            if not self.study.port(c[2]).scaling or c[2] in self.scaled
        ]

    def network_of(self, name: str) -> Network:
        """The network that runs of a candidate, or in a number format, have."""
        scaled = self.scaled.get(name)
        return scaled.network if scaled else self.networks[self.study.timestep(name)]

    def rates_from(self, name: str) -> str | None:
        """Where the rates of a smaller network are from, in words; None for those of the reference."""
        port = self.study.port(name)
        return "mean-field theory's" if port.from_theory else "the study's" if port.rates else None

    @property
    def waiting(self) -> tuple[Run, ...]:
        """Runs of smaller networks that wait for the rates of the reference."""
        planned = {task.run for task in self.tasks}
        smaller = (run for run in self.study.runs() if self.study.port(run.format).scaling)
        return tuple(run for run in smaller if run not in planned)

    def is_source(self, population: str) -> bool:
        """Whether a population has no neurons; not known of scripts on stock PyNN, and then no."""
        return not self.study.model.stock and self.network.population(population).is_source

    def skipped(self, backend: str) -> str | None:
        """Why a backend's runs do not take place here though nothing is wrong, or None."""
        return backends.load(backend).skipped(self.study.options(backend))


def plan(study: Study, listener: Listener = ignore, store: Store | None = None) -> Plan:
    """Capture the network and work out every run.

    If the model script is not there any more, the network is the one that the runs of ``store`` were made
    of. Raises ``RequestError`` when the model cannot be built, or no simulator may run it.
    """
    study, networks, notes = _networks(study, listener, store)
    for timestep, network in networks.items():
        told = list(network.notes)
        if not study.model.stock:
            refuse_invalid(study, network, timestep)
            told += adjustments(network, timestep, study.simulation.steps(timestep))
        notes += [sentence for sentence in told if sentence not in notes]
    refuse_unscalable(study, networks)
    planned = Plan(study, networks, (), tuple(notes), downscaled(study, networks, {}, {}))
    return replace(planned, tasks=_tasks(planned))


def with_rates(plan: Plan, rates: Mapping[str, float]) -> Plan:
    """The plan with runs of all smaller networks, at ``rates`` (1/s) of the whole one's populations.

    Raises RequestError for a method that cannot reach the wanted scale at these rates.
    """
    scaled = downscaled(plan.study, plan.networks, rates, plan.theory)
    complete = replace(plan, scaled=scaled)
    return replace(complete, tasks=_tasks(complete))


def with_theory(plan: Plan, rates: Mapping[str, float]) -> Plan:
    """The plan with runs of the smaller networks that the study wants at the ``rates`` (1/s) of theory."""
    return with_rates(replace(plan, theory=rates), {})


def downscaled(
    study: Study,
    networks: Mapping[float, Network],
    rates: Mapping[str, float],
    theory: Mapping[str, float],
) -> dict[str, Downscaled]:
    """The smaller networks of a study by the name of the candidate, as far as rates are known."""
    found, refused = {}, []
    for i, candidate in study.simulated:
        for port in candidate.ports():
            if not port.scaling:
                continue
            scaling = Scaling.parse(port.scaling)
            known = port.rates or (theory if port.from_theory else rates)
            network = networks[study.timestep(port.name)]
            if scaling.needs_rates and not known and sources_without_rate(network):
                continue
            try:
                found[port.name] = downscale(network, scaling, known)
            except RequestError as error:
                where = place(("candidate", i, "scaling"))
                refused.append(f"{study.file}: {where}: {error}")
    if refused:
        more = f" (and {len(refused) - 1} more of this kind)" if refused[1:] else ""
        raise RequestError(f"{refused[0]}{more}")
    return found


def refuse_unscalable(study: Study, networks: Mapping[float, Network]) -> None:
    """Raise RequestError for a scaling that is wrong at any rates, or whose rates nothing will tell."""
    for i, candidate in study.simulated:
        for port in candidate.ports():
            if not port.scaling or port.rates or port.from_theory:
                continue
            network = networks[study.timestep(port.name)]
            scaling = replace(Scaling.parse(port.scaling), method="sqrt")  # reaches every scale
            missing = sources_without_rate(network) if scaling.needs_rates else []
            told = {c.label for c in network.compared if c.cells is None}
            where = f"{study.file}: {place(('candidate', i, 'scaling'))}"
            unknown = [label for label in missing if label not in told]
            if unknown:
                raise RequestError(
                    f"{where}: {port.scaling}: the rate of {unknown[0]!r} is needed, which is not recorded as a whole; "
                    f"give all rates by the key rates, such as rates = {{{unknown[0]} = 5.0}}"
                )
            try:
                downscale(network, scaling, dict.fromkeys(missing, 1.0))
            except RequestError as error:
                raise RequestError(f"{where}: {error}") from None


def _tasks(plan: Plan) -> tuple[Task, ...]:
    """Every run of which the network is known."""
    study, networks = plan.study, plan.networks
    combinations = plan.known
    fingerprints = {name: plan.network_of(name).fingerprint() for _, _, name in combinations}
    options = {name: study.options(name) for name in study.backend_names()}
    some = networks[study.simulation.timestep]
    threads = {name: backends.load(name).threads(some, options[name]) for name in options}
    requests: dict[tuple[str, str], dict[str, Any]] = {}
    estimates: dict[tuple[str, str], backends.Estimate] = {}
    for _, name, text in combinations:
        number, timestep = study.number_format(text), study.timestep(text)
        n_steps = study.simulation.steps(timestep)
        if not study.model.stock:
            estimates[name, text] = backends.load(name).estimate(
                plan.network_of(text), number, options[name], n_steps, timestep
            )
        requests[name, text] = {
            "network": fingerprints[text],
            "format": study.port(text).format,
            "timestep": timestep,
            "n_steps": n_steps,
            "backend": name,
            "options": options[name].model_dump(),
            "threads": threads[name],
        }
        if number.fingerprint:
            requests[name, text]["machine"] = number.fingerprint
        if scaling := study.port(text).scaling:
            requests[name, text]["scaling"] = scaling
    if study.model.stock and study.script and combinations:
        from pynn_portability.run import stock  # noqa: PLC0415 - brings much of PyNN

        identity = stock.identity(study.script, study.model.arguments)
        for combination, request in requests.items():
            request["stock"] = identity
            estimates[combination] = backends.Estimate(stock.MEMORY_BYTES, 0.0, stock.SECONDS)
    tasks = []
    for run in study.runs():
        combination = (run.backend, run.format)
        if combination not in requests:
            continue
        request = requests[combination] | {"seed": run.seed}
        network = plan.network_of(run.format)
        tasks.append(Task(run, network, threads[run.backend], estimates[combination], request))
    return tuple(tasks)


def _networks(
    study: Study, listener: Listener, store: Store | None
) -> tuple[Study, dict[float, Network], list[str]]:
    """The study with its times, networks by time step, and what is to be said about where they come from."""
    script = study.script
    if study.given_network is not None:
        return study, {study.simulation.timestep: study.given_network}, []
    if store and script and not script.is_file():
        study = stored_networks.completed(study, store)
        if study.complete:
            networks = stored_networks.of_model(study, _timesteps(study), store)
            if networks:
                return (
                    study,
                    networks,
                    [
                        f"the model script {script.name} is not there; the network is the one that the runs "
                        "were made of"
                    ],
                )
    study, networks = completed(study, listener)
    missing = [t for t in _timesteps(study) if t not in networks]
    return study, networks | captured(study, missing, listener), []


def _timesteps(study: Study) -> list[float]:
    """Time steps (ms) for which a network is needed."""
    of_formats = {study.timestep(text) for _, _, text in study.simulations()}
    return sorted({study.simulation.timestep} | of_formats)


def refuse_invalid(study: Study, network: Network, timestep: float) -> None:
    """Raise ``RequestError`` for a network that no simulator may run on a grid of ``timestep`` ms."""
    found = _too_large(network) or violations(network, study.simulation.seeds, timestep)
    if found:
        more = f" (and {len(found) - 1} more of this kind)" if found[1:] else ""
        raise RequestError(f"{study.file}: {study.model.key}: {found[0]}{more}")


def refuse_changing(plan: Plan, listener: Listener = ignore) -> None:
    """Raise ``RequestError`` when the model script builds another network the second time."""
    study = plan.study
    if study.script is None or study.model.stock or study.given_network is not None:
        return
    again = captured(study, plan.networks, listener, quiet=True)
    if any(again[t].fingerprint() != plan.networks[t].fingerprint() for t in again):
        raise RequestError(
            f"{study.file}: {study.model.key}: {study.model.reference} built another network than a moment ago, a "
            "model must not depend on unseeded random numbers, the time or the machine"
        )


def _too_large(network: Network) -> list[str]:
    """Why a network cannot be held by this machine, whatever runs it."""
    total = psutil.virtual_memory().total
    cells = sum(p.size for p in network.populations)
    synapses = sum(p.connector.expected_count(network.ends(p)) for p in network.projections)
    need = BYTES_PER_CELL * cells + BYTES_PER_SYNAPSE * synapses
    if need <= total:
        return []
    return [
        f"{cells} cells and {synapses:.3g} synapses take at least {need / 2**30:.3g} GiB of memory and "
        f"this machine has {total / 2**30:.1f} GiB, use a smaller network or a larger machine"
    ]


def problems(plan: Plan) -> list[str]:
    """Why the plan cannot be executed here, a sentence each; empty when it can."""
    study, file = plan.study, plan.study.file
    found = []
    reference = study.reference.backend
    if reference != IMPORTED and (reason := plan.skipped(reference)):
        found.append(f"{file}: reference.backend {reference!r}: {reason}")
    for name in study.backend_names():
        if (reason := backends.load(name).available()) and not plan.skipped(name):
            found.append(f"{file}: backend {name!r}: {reason}")
    for _, name, text in study.simulations():
        timestep = study.timestep(text)
        number = study.number_format(text)
        for sentence in _refusals(plan, name, number, timestep, text):
            found.append(f"{file}: backend {name!r} with format {text!r}: {sentence}")
    total = psutil.virtual_memory().total
    for name in (n for n in study.backend_names() if not plan.skipped(n)):
        need = max(
            (t.estimate.memory_bytes for t in plan.tasks if t.run.backend == name), default=0.0
        )
        if need > total:
            found.append(
                f"{file}: a run on {name!r} needs about {need / 2**30:.1f} GiB of memory and this "
                f"machine has {total / 2**30:.1f} GiB, use a smaller network or a larger machine"
            )
    return list(dict.fromkeys(found))


def _refusals(
    plan: Plan, backend: str, number: NumberFormat, timestep: float, name: str | None = None
) -> list[str]:
    """Why a backend does not run the network, that of a candidate, or the script, in a number format."""
    if plan.study.model.stock:
        from pynn_portability.run import stock  # noqa: PLC0415 - brings much of PyNN

        reason = stock.unsuitable(backend, number)
        return [reason] if reason else []
    network = plan.networks[timestep] if name is None else plan.network_of(name)
    return backends.refusals(backends.load(backend), network, number, timestep)


def unable(plan: Plan, backend: str, text: str) -> str | None:
    """Why a backend cannot run the network in a number format here, None if it can."""
    timestep = plan.study.timestep(text)
    number = plan.study.number_format(text)
    reason = backends.load(backend).available()
    if reason:
        return reason
    refused = _refusals(plan, backend, number, timestep)
    return refused[0] if refused else None


def refuse_problems(plan: Plan) -> None:
    """Raise ``RequestError`` with the first of the `problems`."""
    found = problems(plan)
    if found:
        more = f" (and {len(found) - 1} more, see `portability describe`)" if found[1:] else ""
        raise RequestError(found[0] + more)


def refuse_unwritable(folder: Path) -> None:
    """Raise ``RequestError`` when ``folder`` cannot be made or written; nothing is created."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise RequestError(f"{folder}: cannot be the output folder, {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RequestError(f"{folder}: cannot be the output folder, {existing} is not writable")


def describe(plan: Plan) -> dict[str, Any]:
    """What a study would run, as plain JSON values; synapses are those of the first seed."""
    study, network = plan.study, plan.network
    realization = Realization(network, study.simulation.seeds[0], study.simulation.timestep)
    projections = [_described_projection(p, realization) for p in network.projections]
    cores = available_cores()
    core_seconds = sum(
        (t.estimate.build_seconds + t.estimate.simulate_seconds) * min(t.threads, cores)
        for t in plan.tasks
    )
    return {
        "study": study.name,
        "simulation": {name: getattr(study.simulation, name) for name in TIMES},
        "populations": [
            {
                "label": p.label,
                "size": p.size,
                "cell_type": p.cell_type,
                "recorded": p.recorded,
                "in_degree": sum(q["in_degree"] for q in projections if q["target"] == p.label),
            }
            for p in network.populations
        ],
        "projections": projections,
        "drives": [_described_drive(d, realization) for d in network.drives],
        "neurons": sum(p.size for p in network.populations if not p.is_source),
        "synapses": sum(p["synapses"] for p in projections),
        "runs": [_described_runs(plan, *combination) for combination in plan.known],
        "scaled": [
            {
                "name": name,
                "rates": dict(found.rates),
                "rates_from": plan.rates_from(name),
                "populations": [asdict(row) for row in found.rows],
                "notes": list(found.notes),
            }
            for name, found in plan.scaled.items()
        ],
        "total": {
            "runs": len(plan.tasks),
            "memory_bytes": max((t.estimate.memory_bytes for t in plan.tasks), default=0.0),
            "seconds": core_seconds / cores,
            "cores": cores,
        },
        "notes": list(plan.notes),
        "problems": problems(plan),
    }


def _described_projection(projection: Projection, realization: Realization) -> dict[str, Any]:
    count = realization.synapse_count(projection.label)
    return {
        "label": projection.label,
        "source": projection.source,
        "target": projection.target,
        "receptor": projection.receptor,
        "connector": type(projection.connector).__name__,
        "synapses": count,
        "in_degree": count / realization.network.population(projection.target).size,
    }


def _described_drive(drive: PoissonDrive, realization: Realization) -> dict[str, Any]:
    arrays = realization.drive(drive.label)
    return {
        "label": drive.label,
        "target": drive.target,
        "receptor": drive.receptor,
        "mean_rate": float(arrays.rate.mean()),
        "mean_weight": float(arrays.weight.mean()),
    }


def weight_moments(plan: Plan, name: str) -> list[WeightMoments]:
    """Mean and SD of all weights before and after a format, with the scales of the first seed.

    Empty where the format cannot hold the weights; its runs say why.
    """
    study = plan.study
    timestep, seed = study.timestep(name), study.simulation.seeds[0]
    try:
        return study.number_format(name).weight_moments(plan.network_of(name), seed, timestep)
    except RequestError:
        return []


def _described_runs(plan: Plan, role: str, backend: str, text: str) -> dict[str, Any]:
    same = [t for t in plan.tasks if (t.run.backend, t.run.format) == (backend, text)]
    estimate = same[0].estimate
    return {
        "role": role,
        "backend": backend,
        "format": text,
        "runs": len(same),
        "threads": same[0].threads,
        "memory_bytes": estimate.memory_bytes,
        "build_seconds": estimate.build_seconds,
        "simulate_seconds": estimate.simulate_seconds,
        "changes": changed_means(weight_moments(plan, text)),
    }
