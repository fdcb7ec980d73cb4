"""Names of number formats: short strings that a user can type.

A name is ``WEIGHTS``, ``STATE`` or ``WEIGHTS/STATE``.

Weights: ``naive-N`` and ``moments-N`` allow the weights of each projection only N different values, see
`pynn_portability.formats.schemes`. The name of a machine, or of a TOML file that describes one, stands for
weights and delays as that machine holds them (`pynn_portability.formats.machines`). Without any of these,
weights are only rounded to what the state arithmetic can represent.

State: ``double``, the reference, is what a name without a state means. ``float32`` is single
precision. ``sI.F`` is fixed point with a sign, I integer bits and F fraction bits (the notation of
ISO/IEC TR 18037), see `FixedPoint`. It rounds to the nearest value and saturates; ``-floor`` or
``-zero`` after it rounds otherwise, and ``-wrap`` lets it overflow. ``-full`` after a machine is that
machine's own state arithmetic and time step; ``spinnaker-full-N`` has N sub-steps per time step.

``@Tms`` at the end is a time step of the format's own, T ms, instead of the study's.
"""

from __future__ import annotations

import re
from pathlib import Path

from pynn_portability.errors import RequestError
from pynn_portability.formats.arithmetic import (
    DOUBLE,
    SINGLE,
    FixedPoint,
    LoihiArithmetic,
    Overflow,
    Rounding,
    SpinnakerArithmetic,
    State,
)
from pynn_portability.formats.machines import (
    Machine,
    MachineWeights,
    load_machine,
    shipped_machines,
)
from pynn_portability.formats.number_format import NumberFormat
from pynn_portability.formats.schemes import MAX_BINS, BinnedWeights, Scheme
from pynn_portability.formats.weights import ExactWeights
from pynn_portability.tables import similar

FORMATS = (
    "double",
    "float32",
    "sI.F",
    "naive-N",
    "moments-N",
    "MACHINE",
    "MACHINE-full",
    "FILE.toml",
    "naive-N/float32",
    "moments-N/sI.F",
    "MACHINE/float32",
)
MAX_WORD = 32


def number_format(text: str, base: Path = Path()) -> NumberFormat:
    """The number format called ``text``; RequestError, listing what is allowed, if none is.

    ``base`` is the folder that paths in ``text`` are relative to.
    """
    # a format has one spelling, because its name is part of a run's identity
    numbers, timestep = text, None
    if at := re.fullmatch(r"(.*)@([^@/]*ms)", text):
        numbers, timestep = at[1], _timestep(at[2])
        if timestep is None:
            raise _unknown(text)
    machine = re.fullmatch(r"(.+?\.toml)((?:-full)?)(?:/([^/]+))?", numbers)
    if machine is None:
        names = "|".join(map(re.escape, shipped_machines()))
        machine = re.fullmatch(
            rf"({names})((?:-full(?:-[1-9][0-9]?)?)?)(?:/(.+))?", numbers, re.ASCII
        )
    if machine is not None:
        return _machine_format(text, base, machine[1], machine[2], machine[3], timestep)
    weights, slash, state = numbers.partition("/")
    if not slash and (arithmetic := _arithmetic(weights)) is not None:
        return NumberFormat(text, ExactWeights(), arithmetic, timestep)
    arithmetic = _arithmetic(state) if state != "double" else None
    bins = re.fullmatch(r"(naive|moments)-([1-9][0-9]{0,8})", weights, re.ASCII)
    if bins is None or int(bins[2]) > MAX_BINS or (slash and arithmetic is None):
        raise _unknown(text)
    scheme: Scheme = "naive" if bins[1] == "naive" else "moments"
    return NumberFormat(text, BinnedWeights(scheme, int(bins[2])), arithmetic or DOUBLE, timestep)


def _machine_format(
    text: str, base: Path, name: str, full: str, state: str | None, timestep: float | None
) -> NumberFormat:
    """The format of a machine, ``full`` being ``-full``, ``-full-N`` or empty."""
    machine = load_machine(name, base)
    arithmetic = machine_arithmetic(machine)
    if full:
        substeps = int(full.removeprefix("-full-") if full != "-full" else 1)
        if state or (full != "-full" and substeps == 1):
            raise _unknown(text)
        if arithmetic == DOUBLE and machine.time.step is None:
            raise RequestError(
                f"unknown number format {text!r}: {name} has no state arithmetic and no time step of "
                f"its own, so it is called {name!r}"
            )
        if substeps > 1:
            if not isinstance(arithmetic, SpinnakerArithmetic):
                raise RequestError(
                    f"unknown number format {text!r}: sub-steps are for the state arithmetic of "
                    f"SpiNNaker, which {name} does not have"
                )
            arithmetic = SpinnakerArithmetic(substeps)
        return NumberFormat(
            text, MachineWeights(machine), arithmetic, timestep or machine.time.step
        )
    given = _arithmetic(state) if state and state != "double" else None
    if state and given is None:
        raise _unknown(text)
    return NumberFormat(text, MachineWeights(machine), given or DOUBLE, timestep)


def machine_arithmetic(machine: Machine) -> State:
    """The state arithmetic that a machine's file names; RequestError if there is none such."""
    name = machine.state.arithmetic
    if name == "spinnaker" and machine.weights.scale == "expected_sum":
        return SpinnakerArithmetic()
    weights = machine.weights
    if name == "loihi" and weights.scope == "target" and weights.multiple:
        return LoihiArithmetic()
    arithmetic = _arithmetic(name)
    if arithmetic is None:
        raise RequestError(
            f"{machine.file}: state.arithmetic: must be 'double', 'float32' or 'sI.F' as in number "
            f"formats, or 'spinnaker' with weights.scale = 'expected_sum', or 'loihi' with weights.scope "
            f"= 'target' and weights.multiple, not {name!r}"
        )
    return arithmetic


def machine_formats() -> dict[str, str]:
    """Titles of the shipped machines by the names of number formats, with and without ``-full``."""
    found = {}
    for name in shipped_machines():
        machine = load_machine(name)
        found[name] = machine.title
        own = []
        if machine_arithmetic(machine) != DOUBLE:
            own.append(f"state {machine.state.arithmetic}")
        if machine.time.step is not None:
            own.append(f"time step {machine.time.step:g} ms")
        if own:
            found[f"{name}-full"] = f"{machine.title}, {', '.join(own)}"
    return found


def machine_evidence() -> dict[str, dict[str, str]]:
    """What the numbers of the shipped machines rest on, by their names: ``evidence`` and ``proof``."""
    machines = {name: load_machine(name) for name in shipped_machines()}
    return {n: {"evidence": m.evidence, "proof": m.proof} for n, m in machines.items()}


def _unknown(text: str) -> RequestError:
    numbers = text.partition("@")[0]
    bins = re.match(r"[a-z]*-?([0-9]+)", numbers)
    known = [f.replace("N", bins[1] if bins else "N") for f in FORMATS if f.islower() or "-N" in f]
    machines = machine_formats()
    with_state = [f"{name}/float32" for name in shipped_machines()]
    hint = similar(numbers, [*(f for f in known if "I.F" not in f), *machines, *with_state])
    return RequestError(
        f"unknown number format {text!r}: allowed are {', '.join(FORMATS)}, "
        f"where N is a number of bins from 1 to {MAX_BINS} and sI.F is fixed point with I "
        f"integer and F fraction bits, I + F from 1 to {MAX_WORD - 1}, and may end in -floor or "
        "-zero, then in -wrap; machines are "
        f"{', '.join(shipped_machines())}; @Tms may follow, a time step of T ms{hint}"
    )


def _timestep(text: str) -> float | None:
    """Milliseconds of ``1ms`` or ``0.5ms``, None if it is not written like that."""
    match = re.fullmatch(r"(0|[1-9][0-9]{0,3})(\.[0-9]{0,5}[1-9])?ms", text, re.ASCII)
    milliseconds = float(text[:-2]) if match else 0.0
    return milliseconds or None


def _arithmetic(text: str) -> State | None:
    if text == "double":
        return DOUBLE
    if text == "float32":
        return SINGLE
    number = "(0|[1-9][0-9]?)"
    match = re.fullmatch(rf"s{number}\.{number}(-floor|-zero)?(-wrap)?", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) + int(match[2]) < MAX_WORD:
        return None
    rounding: Rounding = "nearest"
    if match[3]:
        rounding = "floor" if match[3] == "-floor" else "zero"
    overflow: Overflow = "wrap" if match[4] else "saturate"
    return FixedPoint(int(match[1]), int(match[2]), rounding, overflow)
