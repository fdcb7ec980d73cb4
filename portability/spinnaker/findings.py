"""Findings of a deployment sheet: which peculiarities of SpiNNaker a network meets, in words.

They are those of the machine and of sPyNNaker 7.4.1, each with what to do about it. The sheet is that
of `pynn_portability.spinnaker.deployment`; nothing here needs sPyNNaker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pynn_portability.backends import spinnaker
from pynn_portability.errors import listing
from pynn_portability.formats.names import number_format
from pynn_portability.formats.ring_buffers import Input, ring_buffer
from pynn_portability.formats.spinnaker import (
    LARGEST_CELL,
    SIGMA,
    delay_steps_on_chip,
    poisson_mean,
)
from pynn_portability.model.distribution import Distribution
from pynn_portability.model.network import Network, Projection, Value

FORMAT = number_format("spinnaker-full")
SAMPLED_SYNAPSES = 20_000
"""Synapses of a projection that are compared when there are too many to compare all."""
EVENTS_PER_CORE = 13e6
"""Synaptic events per second that sPyNNaker plans one synapse core for."""
NOTABLE_DECAY = 1e-3
NOTABLE_RATE = 5e-3
"""Relative errors of a decay and of a Poisson source's rate that are worth a finding."""
COARSE = 0.1
"""Rounding error (SD) relative to the SD of weights from which resolution is a finding."""
FEWEST_NEURONS = 8
"""Fewer neurons on a core are no advice."""
SEVERITIES = ("error", "warning", "note")


def findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    """What of the sheet needs attention: ``kind``, ``severity``, ``where``, ``what``, ``advice``."""
    found: list[dict[str, str]] = []
    for part in (
        _synapse_findings,
        _scale_findings,
        _delay_findings,
        _saturation_findings,
        _core_findings,
        _poisson_findings,
        _on_chip_delay_findings,
        _on_chip_draw_findings,
        _other_findings,
    ):
        found += part(network, sheet)
    return sorted(found, key=lambda finding: SEVERITIES.index(finding["severity"]))


def _finding(kind: str, severity: str, where: str, what: str, advice: str) -> dict[str, str]:
    return {"kind": kind, "severity": severity, "where": where, "what": what, "advice": advice}


def _compared_rows(sheet: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in sheet["projections"] if row["synapses"]]


def _synapse_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for row in _compared_rows(sheet):
        if row["lost"] or row["misplaced"]:
            found.append(
                _finding(
                    "lost-synapses",
                    "error",
                    row["label"],
                    f"sPyNNaker loses {row['lost']:,} of {row['synapses']:,} synapses and gives "
                    f"{row['misplaced']:,} another source, target or delay",
                    "avoid two stages of delay extension for sources on several cores: take fewer "
                    "neurons per core (neurons_per_core) or shorter delays",
                )
            )
        if row["wrapped"]:
            limit = LARGEST_CELL * row["step"]
            found.append(
                _finding(
                    "wrapped-weights",
                    "error",
                    row["label"],
                    f"{row['wrapped']:,} of {row['compared']:,} weights are beyond {limit:.4g} nA, "
                    "the largest that 16 bits hold at this scale, and wrap around to small ones "
                    "without an error",
                    "raise the expected sum of weights (summed_excitatory, summed_inhibitory), or "
                    "leave the scale to sPyNNaker, whose own holds every single weight of a list",
                )
            )
        if row["zero"]:
            found.append(
                _finding(
                    "zero-weights",
                    "warning",
                    row["label"],
                    f"{row['zero']:,} of {row['compared']:,} weights are below half a step of "
                    f"{row['step']:.3g} nA and become 0",
                    "make the step finer: a smaller expected sum (summed_excitatory, "
                    "summed_inhibitory), or weights of more equal size onto this receptor",
                )
            )
    return found


def _scale_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for population, receptor, rows in _receptors(sheet):
        if not rows:
            continue
        where = f"{population['label']}, {receptor['receptor']}"
        step = receptor["step"]
        constant = all(row["delay"]["min"] == row["delay"]["max"] for row in rows)
        given = sheet["options"][f"summed_{receptor['receptor']}"]
        varied = _shift_with_varied_delays(rows, sheet)
        if constant and not given and varied < receptor["shift"]:
            found.append(
                _finding(
                    "constant-delays",
                    "warning",
                    where,
                    "no projection has delays that vary, so sPyNNaker expects all input at once and "
                    f"makes the step of weights {step:.3g} nA, {2 ** (receptor['shift'] - varied)} "
                    "times as coarse as with delays that vary",
                    "draw delays from a distribution, be it a narrow one, or set the expected sum of "
                    f"weights in one step (summed_{receptor['receptor']} here, "
                    "max_expected_summed_weight of a sPyNNaker population)",
                )
            )
        coarse = []
        for row in rows:
            sd, mean = row["weight"]["sd"], row["weight"]["mean"]
            rounding = step / math.sqrt(12)
            if sd > 0 and rounding > COARSE * sd:
                coarse.append(
                    f"{row['label']} (error of {rounding / sd:.0%} of the SD of its weights)"
                )
            elif sd == 0 and mean > 0 and abs(row["weight_error"]["mean"]) > 0.01 * mean:
                coarse.append(
                    f"{row['label']} (weight off by {row['weight_error']['mean'] / mean:+.1%})"
                )
        if coarse:
            found.append(
                _finding(
                    "coarse-weights",
                    "warning",
                    where,
                    f"the step of weights, {step:.3g} nA, is coarse for {listing(coarse)}",
                    "make the step finer: delays that vary, a smaller expected sum, or fewer strong "
                    "weights onto this receptor",
                )
            )
    return found


def _receptors(
    sheet: Mapping[str, Any],
) -> list[tuple[Mapping[str, Any], Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Every population of neurons with each receptor and the projections and drives onto it."""
    rows = _compared_rows(sheet)
    return [
        (
            population,
            receptor,
            [
                row
                for row in rows
                if (row["target"], row["receptor"]) == (population["label"], receptor["receptor"])
            ],
        )
        for population in sheet["populations"]
        for receptor in population.get("receptors", ())
    ]


def _summed(rows: Sequence[Mapping[str, Any]], sheet: Mapping[str, Any]) -> tuple[float, float]:
    """Mean and SD (nA) of the input of one step: a compound Poisson sum over the projections.

    Drives have their own rates, and neurons the rate that sPyNNaker plans with.
    """
    planned = sheet["options"]["spikes_per_second"]
    mean = variance = 0.0
    for row in rows:
        rate = row["rate"] if row["kind"] == "drive" else planned
        spikes = row["in_degree"] * rate * sheet["timestep"] / 1000
        w = row["weight"]
        mean += spikes * w["mean"]
        variance += spikes * (w["mean"] ** 2 + w["sd"] ** 2)
    return mean, math.sqrt(variance)


def _shift_with_varied_delays(rows: Sequence[Mapping[str, Any]], sheet: Mapping[str, Any]) -> int:
    """The shift that sPyNNaker would choose if delays varied."""
    inputs = [
        Input(
            row["label"],
            math.ceil(row["in_degree"]),
            row["weight"]["mean"],
            row["weight"]["sd"] ** 2,
            row["weight"]["max"],
            constant_delay=False,
        )
        for row in rows
    ]
    options = sheet["options"]
    return ring_buffer(
        inputs,
        conductance_based=False,
        timestep=sheet["timestep"],
        rate=options["spikes_per_second"],
        sigma=options["ring_buffer_sigma"],
    ).shift


def _saturation_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    for population, receptor, rows in _receptors(sheet):
        if not rows:
            continue
        limit = LARGEST_CELL * receptor["step"]
        mean, sd = _summed(rows, sheet)
        if mean + SIGMA * sd > limit:
            found.append(
                _finding(
                    "saturation",
                    "warning",
                    f"{population['label']}, {receptor['receptor']}",
                    f"the input of one step is {mean:.3g} nA on average with an SD of {sd:.3g} nA "
                    f"(Poisson sources at their rates, neurons at "
                    f"{sheet['options']['spikes_per_second']:g} spikes/s), and a cell of the ring "
                    f"buffer saturates at {limit:.3g} nA, less than {SIGMA:g} SD above",
                    "raise the expected sum of weights in one step to "
                    f"{(mean + SIGMA * sd) / 2:.3g} nA or more (summed_{receptor['receptor']} here)",
                )
            )
    return found


def _delay_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of sources whose spikes a delay extension sends again, by the number of its stages."""
    found = []
    dt = sheet["timestep"]
    populations = {p["label"]: p for p in sheet["populations"]}
    beyond = [
        row
        for row in _compared_rows(sheet)
        if row["source"]
        and row["delay"]["max"] > populations[row["target"]]["delay_slots"] * dt * (1 + 1e-9)
    ]
    kinds = {kind["kind"]: kind["cores"] for kind in sheet["machine"]["kinds"]}
    for stages in sorted(set(sheet["delay_stages"].values())):
        sources = [label for label, n in sheet["delay_stages"].items() if n == stages]
        rows = [row for row in beyond if row["source"] in sources]
        if not rows:
            continue
        longest = max(row["delay"]["max"] for row in rows)
        slots = min(populations[row["target"]]["delay_slots"] for row in rows)
        fitting = 2 ** math.floor(math.log2(2**13 / math.ceil(longest / dt - 1e-9)))
        advice = f"with {fitting} neurons per core (neurons_per_core), no extension is needed"
        if fitting < FEWEST_NEURONS:
            advice = "shorten the delays, or take a longer time step"
        needed = (
            f"delays of up to {longest:g} ms ({listing([row['label'] for row in rows])}) are longer "
            f"than the {slots} slots of {slots * dt:g} ms"
        )
        where = listing(sources)
        if stages == 1:
            what = (
                f"{needed} and need a delay extension, which sends spikes a second time "
                f"({kinds['delay extensions']} cores for all populations)"
            )
            found.append(_finding("delay-extension", "note", where, what, advice))
            continue
        several = any(
            spinnaker.loses_synapses(
                network.population(label), stages, sheet["options"]["neurons_per_core"]
            )
            for label in sources
        )
        what = f"{needed} and need {stages} stages of delay extension"
        if several:
            what += ", with which sPyNNaker loses or misplaces synapses of sources on several cores"
        severity = "error" if several else "warning"
        found.append(_finding("delay-stages", severity, where, what, advice))
    return found


def _core_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    factor = sheet["options"]["time_scale_factor"]
    numbers = {p["label"]: p.get("synapse_cores", 0) for p in sheet["populations"]}
    several = {label: n for label, n in numbers.items() if n > 1}
    if several:
        low, high = min(several.values()), max(several.values())
        found.append(
            _finding(
                "synapse-cores",
                "warning",
                listing(list(several)),
                f"{low if low == high else f'{low} to {high}'} synapse cores feed each neuron core; "
                "their input is summed without saturation, so that an overflow spills into the "
                "neighbouring neuron",
                "fewer neurons per core (neurons_per_core) or a larger time_scale_factor need fewer "
                "synapse cores; keep the summed input far below the largest cell",
            )
        )
    for population in sheet["populations"]:
        rows = [row for row in _compared_rows(sheet) if row["target"] == population["label"]]
        if not rows:
            continue
        planned = sheet["options"]["spikes_per_second"]
        events = sum(row["in_degree"] * row.get("rate", planned) for row in rows)
        events *= population["neurons_per_core"]
        load = events / max(1, population.get("synapse_cores", 0)) / factor
        if load > EVENTS_PER_CORE:
            found.append(
                _finding(
                    "event-load",
                    "warning",
                    population["label"],
                    f"a core has to process about {load:.2g} synaptic events per second of wall time, "
                    f"more than the {EVENTS_PER_CORE:.2g} that sPyNNaker plans a core for; it plans "
                    f"every source, Poisson sources too, at {planned:g} spikes/s",
                    "take fewer neurons per core (neurons_per_core), a larger time_scale_factor, or "
                    "more synapse cores (n_synapse_cores of a sPyNNaker population)",
                )
            )
    if sheet["timestep"] < 1 and factor == 1:
        found.append(
            _finding(
                "real-time",
                "note",
                "all populations",
                f"steps of {sheet['timestep']:g} ms are to be computed in {sheet['timestep']:g} ms of "
                "wall time, and no dry run can tell whether the cores keep up; late spikes are lost",
                "look at sPyNNaker's provenance after a run on a board, and raise time_scale_factor "
                "if it reports overruns",
            )
        )
    return found


def _poisson_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    rates: dict[str, Value] = {d.label: d.rate for d in network.drives}
    for p in network.populations:
        if p.cell.source == "poisson":
            rates[p.label] = p.parameters["rate"]
    for label, value in rates.items():
        if isinstance(value, Distribution):
            continue
        asked = np.unique(np.asarray(value, dtype=np.float64))
        for rate in (float(asked[0]), float(asked[-1])) if len(asked) > 1 else (float(asked[0]),):
            if not rate:
                continue
            mean, gaussian = poisson_mean(rate, sheet["timestep"], label)
            held = mean * 1000 / sheet["timestep"]
            if gaussian:
                found.append(
                    _finding(
                        "poisson-gaussian",
                        "warning",
                        label,
                        f"{rate:g} Hz are {rate * sheet['timestep'] / 1000:.3g} spikes per step, from "
                        "10 on a core draws them as the rounded square of a Gaussian variable",
                        "split the source into several of lower rate",
                    )
                )
            elif abs(held / rate - 1) >= NOTABLE_RATE:
                found.append(
                    _finding(
                        "poisson-rate",
                        "warning",
                        label,
                        f"the core's arithmetic makes {rate:g} Hz about {held:.6g} Hz "
                        f"({held / rate - 1:+.2%})",
                        "choose another rate, or split the source into several of lower rate",
                    )
                )
    return found


def _on_chip_delay_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of what differs between this dry run and a script that lets the cores draw its synapses."""
    found = []
    dt = sheet["timestep"]
    unlike = "; a run here sends lists and is not affected" if sheet["mode"] == "listed" else ""
    short: dict[str, list[str]] = {}
    random = []
    given = [(p.label, p.delay) for p in _drawn(network)] + [
        (d.label, d.delay) for d in network.drives
    ]
    for label, value in given:
        if isinstance(value, Distribution):
            random.append(label)
        elif isinstance(value, float):
            delay = np.array([value])
            host, core = (
                int(FORMAT.delay_steps(delay, dt)[0]),
                int(delay_steps_on_chip(delay, dt)[0]),
            )
            if core != host:
                key = f"{value:g} ms becomes {core} steps instead of {host}"
                short.setdefault(key, []).append(label)
    for what, labels in short.items():
        found.append(
            _finding(
                "on-chip-delays",
                "warning",
                listing(labels),
                f"where cores generate the synapses, a delay of {what}, because they round down what "
                f"s16.15 numbers hold{unlike}",
                "in a script of your own, give the synapses as a FromListConnector or the delay half "
                "a step longer",
            )
        )
    if random:
        found.append(
            _finding(
                "on-chip-delays",
                "note",
                listing(random),
                "where cores draw delays, they round down, which makes them half a step shorter on "
                f"average{unlike}",
                "in a script of your own, give the synapses as a FromListConnector or shift the "
                "distribution by half a step",
            )
        )
    return found


def _on_chip_draw_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of synapses that cores would draw, where the harness hands over lists."""
    drawn = _drawn(network)
    if not drawn:
        return []
    where = listing([p.label for p in drawn])
    if sheet["mode"] == "generated":
        what = (
            f"{sheet['synapses']:,} synapses are too many to list, so the map is that of a script "
            "whose synapses the cores draw; connections, weights and delays will be others than "
            "in the simulations, and weights and delays were compared for a sample "
            f"({SAMPLED_SYNAPSES:,} of each projection) rounded as the cores round"
        )
        advice = (
            "compare ensembles, not single runs; for a comparison synapse by synapse, scale down"
        )
    else:
        what = (
            "a script of your own with these connectors lets the cores draw connections, weights "
            "and delays with their own generators, others than this map has; a run here sends "
            "lists of the same synapses as every other backend gets"
        )
        advice = "compare ensembles, not single runs, or give the synapses as a FromListConnector"
    return [_finding("on-chip-draws", "note", where, what, advice)]


def _drawn(network: Network) -> list[Projection]:
    """Projections whose pairs the model does not give one by one."""
    return [p for p in network.projections if not p.connector.listed]


def _other_findings(network: Network, sheet: Mapping[str, Any]) -> list[dict[str, str]]:
    found = []
    dt = sheet["timestep"]
    neural = [p.label for p in network.projections if not network.population(p.source).is_source]
    if neural:
        found.append(
            _finding(
                "short-loop",
                "note",
                listing(neural),
                "a spike of a neuron acts one step earlier than in NEST after the same delay, so "
                f"every loop is {dt:g} ms shorter",
                "lengthen delays between neurons by one step if timing matters; here the port is "
                "judged as it is",
            )
        )
    drawn = [
        p.label
        for p in network.populations
        if any(isinstance(v, Distribution) for v in p.initial_values.values())
    ]
    if drawn:
        found.append(
            _finding(
                "initial-values",
                "note",
                listing(drawn),
                "initial values given as a distribution are drawn by the cores and cannot be known; "
                "here they are the same arrays as every other backend gets",
                "in a script of your own, initialize with arrays",
            )
        )
    off: dict[str, list[str]] = {}
    for constant in sheet["constants"]:
        if abs(constant["error"]) >= NOTABLE_DECAY:
            error = f"{constant['name']} = {constant['value']:g} ms by {constant['error']:+.2%}"
            off.setdefault(error, []).append(constant["population"])
    for error, labels in off.items():
        found.append(
            _finding(
                "constants",
                "note",
                listing(labels),
                f"in the arithmetic of the cores, rates of decay are off: that of {error} at this "
                "time step",
                "take a longer time step, or see what it does with the emulator's format "
                "spinnaker-full",
            )
        )
    for text in sheet["warnings"]:
        found.append(
            _finding("spynnaker", "note", "sPyNNaker", text, "see the documentation of sPyNNaker")
        )
    return found
