"""Random calls of the PyNN API, sensible and senseless: strategies, and what becomes of them.

A description is a dictionary of plain values, so that a failing one can be read and typed in again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pyNN.parameters import Sequence

CELLS = ("IF_curr_exp", "IF_curr_alpha", "IF_cond_exp", "IF_cond_alpha")

usual_numbers = st.one_of(
    st.sampled_from([0.1, 0.5, 1.0, 2.0, 10.0, 20.0]),
    st.floats(0.1, 50.0),
)
odd_numbers = st.one_of(
    st.sampled_from(
        [
            0.0,
            -0.0,
            -1.0,
            math.nan,
            math.inf,
            -math.inf,
            1e-300,
            1e300,
            5e-324,
            2.5e8,
            2**31,
            10**400,
        ]
    ),
    st.floats(),
    st.integers(),
    st.sampled_from([None, True, "1.0", "", b"x", [], {}, 1j, np.float32(1.5), np.int64(3)]),
)
distributions = st.sampled_from(
    [
        ("normal", ("mu", "sigma")),
        ("normal_clipped", ("mu", "sigma", "low", "high")),
        ("normal_clipped_to_boundary", ("mu", "sigma", "low", "high")),
        ("lognormal", ("mu", "sigma")),
        ("uniform", ("low", "high")),
        ("uniform_int", ("low", "high")),
        ("exponential", ("beta",)),
        ("gamma", ("k", "theta")),
        ("poisson", ("lambda_",)),
        ("binomial", ("n", "p")),
        ("vonmises", ("mu", "kappa")),
        ("unknown", ("mu",)),
    ]
)


@st.composite
def drawn(draw: Any) -> Any:
    """A random distribution, as its name and parameters."""
    name, parameters = draw(distributions)
    values = {p: draw(mostly(usual_numbers, odd_numbers)) for p in parameters}
    return ("drawn", name, values)


def mostly(usual: Any, odd: Any) -> Any:
    """The usual four times out of five."""
    return st.integers(0, 4).flatmap(lambda n: odd if n == 0 else usual)


numbers = mostly(
    usual_numbers, st.one_of(odd_numbers, drawn(), st.lists(st.floats(-5, 50), max_size=6))
)
labels = mostly(
    st.sampled_from(
        ["E", "I", "noise", "Schicht 2/3", ".", "..", "a\nb", "%", "\u202e", "\x1b[2J"]
    ),
    st.one_of(st.text(max_size=8), st.sampled_from([None, 3, "", "\0", "\ud800", "x" * 300])),
)
sizes = mostly(st.integers(1, 6), st.one_of(odd_numbers, st.sampled_from([np.int32(4), 10**12])))
connectors = mostly(
    st.sampled_from(
        [
            ("AllToAllConnector", ()),
            ("OneToOneConnector", ()),
            ("FixedProbabilityConnector", (0.5,)),
            ("FixedTotalNumberConnector", (5,)),
            ("FixedNumberPreConnector", (1,)),
            ("FixedNumberPostConnector", (1,)),
            ("FromListConnector", ([(0, 0, 0.1, 1.0)],)),
            ("FromListConnector", ([],)),
        ]
    ),
    st.tuples(
        st.sampled_from(
            [
                "FixedProbabilityConnector",
                "FixedTotalNumberConnector",
                "FixedNumberPreConnector",
                "FixedNumberPostConnector",
                "FromListConnector",
                "AllToAllConnector",
            ]
        ),
        st.tuples(
            st.one_of(
                odd_numbers,
                st.lists(st.tuples(*(st.integers(-1, 3),) * 2, *(odd_numbers,) * 2), max_size=3),
            )
        ),
    ),
)

cells = st.fixed_dictionaries(
    {"size": sizes, "label": labels, "cell": st.sampled_from(CELLS)},
    optional={
        "parameters": st.dictionaries(
            mostly(
                st.sampled_from(
                    [
                        *("tau_m", "cm", "tau_syn_E", "tau_syn_I", "tau_refrac"),
                        *("v_rest", "v_reset", "v_thresh", "i_offset"),
                    ]
                ),
                st.sampled_from(["tau", "e_rev_E", ""]),
            ),
            numbers,
            max_size=3,
        ),
        "initial": numbers,
    },
)
sources = st.fixed_dictionaries(
    {"size": sizes, "label": labels, "cell": st.just("SpikeSourceArray")},
    optional={
        "parameters": st.fixed_dictionaries(
            {"spike_times": st.one_of(numbers, st.lists(numbers, max_size=4))}
        )
    },
) | st.fixed_dictionaries(
    {"size": sizes, "label": labels, "cell": st.just("SpikeSourcePoisson")},
    optional={
        "parameters": st.dictionaries(
            st.sampled_from(["rate", "start", "duration"]), numbers, max_size=2
        )
    },
)
projections = st.fixed_dictionaries(
    {
        "ends": st.tuples(st.integers(0, 3), st.integers(0, 3)),
        "connector": connectors,
        "weight": numbers,
        "delay": numbers,
    },
    optional={
        "receptor": st.sampled_from(["excitatory", "inhibitory", "default", "AMPA", 3]),
        "label": labels,
    },
)
descriptions = st.fixed_dictionaries(
    {
        "populations": st.lists(st.one_of(cells, sources), min_size=1, max_size=3),
        "projections": st.lists(projections, max_size=3),
        "recorded": mostly(st.just(True), st.booleans()),
    }
)


def build(sim: Any, description: dict[str, Any]) -> None:
    """The model script that a description stands for."""

    def value(described: Any) -> Any:
        if isinstance(described, tuple) and described[:1] == ("drawn",):
            return sim.RandomDistribution(described[1], **described[2])
        return described

    populations = []
    for entry in description["populations"]:
        parameters = {k: value(v) for k, v in entry.get("parameters", {}).items()}
        times = parameters.get("spike_times")
        if isinstance(times, list) and times and isinstance(times[0], list):
            parameters["spike_times"] = [Sequence(t) for t in times]
        cell = getattr(sim, entry["cell"])(**parameters)
        population = sim.Population(entry["size"], cell, label=entry["label"])
        if "initial" in entry and entry["cell"].startswith("IF"):
            population.initialize(v=value(entry["initial"]))
        if description["recorded"]:
            population.record("spikes")
        populations.append(population)
    for entry in description["projections"]:
        name, arguments = entry["connector"]
        source, target = (populations[i % len(populations)] for i in entry["ends"])
        sim.Projection(
            source,
            target,
            getattr(sim, name)(*arguments),
            sim.StaticSynapse(weight=value(entry["weight"]), delay=value(entry["delay"])),
            receptor_type=entry.get("receptor"),
            label=entry.get("label"),
        )
