"""Number formats: what a machine does to weights and to the arithmetic of the neurons' state.

A format is named by a short string: ``WEIGHTS``, ``STATE`` or ``WEIGHTS/STATE``.

Weights: ``naive-N`` and ``moments-N`` allow the weights of each projection only N different values,
the two schemes of Dasbach, Tetzlaff, Diesmann and Senk (2021), Front. Neurosci. 15:757790, section
2.2. The name of a machine, or of a TOML file that describes one, stands for weights and delays as that
machine holds them (`pynn_portability.formats.machines`). Without any of these, weights are only rounded to what the
state arithmetic can represent.

State: ``double``, the reference, is what a name without a state means. ``float32`` is single
precision. ``sI.F`` is fixed point with a sign, I integer bits and F fraction bits (the notation of
ISO/IEC TR 18037), see `FixedPoint`. It rounds to the nearest value and saturates; ``-floor`` or
``-zero`` after it rounds otherwise, and ``-wrap`` lets it overflow. ``-full`` after a machine is that
machine's own state arithmetic and time step; ``spinnaker-full-N`` has N sub-steps per time step.

``@Tms`` at the end is a time step of the format's own, T ms, instead of the study's.

The N values are the centres of N bins of equal width D = 2 a SD / N around the mean of the
projection's weight distribution. ``naive-N`` takes the half-width a = 5. ``moments-N`` takes the a
for which normally distributed weights keep their standard deviation, see `first_root`; the mean is
kept by symmetry.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import scipy  # loads its parts at first use; most runs need no optimisation
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.formats.machines import MAX_CODES, Machine, load_machine, shipped_machines
from pynn_portability.model.network import Network, Projection
from pynn_portability.realize.distributions import mean_and_sd
from pynn_portability.realize.realization import Realization, to_steps
from pynn_portability.tables import similar

Weights = NDArray[np.float64]
Scheme = Literal["exact", "naive", "moments", "machine"]
Rounding = Literal["nearest", "floor", "zero"]
Overflow = Literal["saturate", "wrap"]

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
MAX_BINS = 2**24
MAX_WORD = 32
NAIVE_HALF_WIDTH = 5.0
# from here on Dasbach et al. do not solve for the half-width: the naive interval is then as good
MOMENTS_BINS_LIMIT = 2**16


@dataclass(frozen=True)
class FixedPoint:
    """Two's complement numbers: a sign, ``integer_bits`` and ``fraction_bits``, at most 32 together.

    ``rounding`` is what happens to the bits of a product beyond the last fraction bit: ``nearest``
    (halves up), ``floor`` (the bits are dropped, as by a shift) or ``zero`` (towards zero).
    ``overflow`` is what happens to a sum out of range: ``saturate`` takes the nearest value,
    ``wrap`` drops the upper bits.
    """

    integer_bits: int
    fraction_bits: int
    rounding: Rounding = "nearest"
    overflow: Overflow = "saturate"

    @property
    def word(self) -> int:
        """Bits of a number."""
        return 1 + self.integer_bits + self.fraction_bits

    @property
    def largest(self) -> int:
        """The largest number, in units of the last fraction bit; the smallest is -largest - 1."""
        return 2 ** (self.word - 1) - 1

    def quantise(self, values: Weights) -> NDArray[np.int64]:
        """``values`` as integers in units of the last fraction bit: nearest, halves up, saturated.

        This is how a host loads parameters, whatever the machine's own rounding.
        """
        # whole halves first: the sum of 1/2 and the largest number below it is 1
        halves = np.floor(np.asarray(values, dtype=np.float64) * 2.0 ** (self.fraction_bits + 1))
        nearest = np.floor((halves + 1) / 2)
        return np.clip(nearest, -self.largest - 1, self.largest).astype(np.int64)


@dataclass(frozen=True)
class SpinnakerArithmetic:
    """What the cores of SpiNNaker compute, bit for bit, in ``substeps`` parts of a time step."""

    substeps: int = 1


State = Literal["float64", "float32"] | FixedPoint | SpinnakerArithmetic


@dataclass(frozen=True)
class CodeBook:
    """The few values that a projection's weights take, and the code of each weight.

    ``values`` has shape ``(n,)``, n <= 256, in the unit of the weights; ``encode`` turns weights of
    any shape into their codes, indices into ``values`` (int64).
    """

    values: Weights
    encode: Callable[[Weights], NDArray[np.int64]]


@dataclass(frozen=True)
class NumberFormat:
    """How weights and neuron state are represented; made by `number_format`.

    ``bins`` is the number of values per projection with the schemes ``naive`` and ``moments``, and
    ``machine`` what holds weights and delays with the scheme ``machine``; otherwise they are None.
    ``state`` is the arithmetic in which neurons are integrated. ``timestep`` (ms) is the format's
    own, None when a study decides.
    """

    name: str
    scheme: Scheme
    bins: int | None
    state: State
    timestep: float | None = None
    machine: Machine | None = None

    @property
    def fingerprint(self) -> str | None:
        """A hash of what the name does not say; None when it says everything."""
        return self.machine.fingerprint if self.machine else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a verdict on this format does not cover, a sentence each."""
        return tuple(self.machine.not_modelled) if self.machine else ()

    def restrictions(self, network: Network, timestep: float) -> list[str]:
        """What of a network this format cannot have and replaces, a sentence each."""
        return self.machine.restrictions(network, timestep) if self.machine else []

    def values(self, mean: float, sd: float) -> Weights:
        """The values a weight can take, ascending, shape ``(bins,)``, in the unit of ``mean``.

        Values whose sign opposes that of ``mean`` are 0 (Dale's rule). Raises ValueError for a
        format without bins.
        """
        if self.bins is None:
            raise ValueError(f"the number format {self.name} has no bins")
        width = 2 * half_width(self.scheme, self.bins) * sd / self.bins
        index = np.arange(self.bins, dtype=np.float64)
        return _dale(_centre(index, mean, width, self.bins), mean)

    def discretiser(
        self, projection: Projection, realization: Realization
    ) -> Callable[[Weights, int], Weights]:
        """A function from realized weights of ``projection`` to weights as this format holds them.

        Its second argument is the index of the first of the weights within the projection. It keeps
        shape and unit, treats each weight by itself (chunks of any size give the same result) and
        does not modify its argument.

        A machine's weights are described in `Machine.held`. Those of bins are:

        - The bins are centred on the mean of the projection's weight distribution, or on that of
          its explicit weights.
        - A weight belongs to the last bin whose lower edge it reaches, so that a tie goes to the
          larger value: for inhibitory weights, the weaker one. The inner edges are the
          double-precision results of ``mean + (k - N/2) * D``, and a bin found by division is
          corrected where rounding put it on the wrong side of such an edge.
        - Weights outside all bins get the first or the last value.
        - Dale's rule: values whose sign opposes that of the mean become 0. The mean tells the sign,
          not the receptor, because inhibitory weights are negative only on current-based targets.
        - Weights that are all equal (SD 0) need one value only and are not discretised.

        Afterwards weights are rounded to what the state arithmetic can represent.

        Raises RequestError for a weight distribution whose mean and SD are not known here.
        """
        represent = self._represent
        if self.machine is not None:
            hold = self.machine.held(projection.label, realization)
            return lambda weights, start: represent(hold(weights, start))
        if self.bins is None:
            return lambda weights, start: represent(weights)
        bins = self.bins
        mean, width = self._bin(projection)
        if width == 0:
            return lambda weights, start: represent(weights)

        def discretise(weights: Weights, start: int) -> Weights:
            index = _bin_index(weights, mean, width, bins)
            return represent(_dale(_centre(index, mean, width, bins), mean))

        return discretise

    def code_book(self, projection: Projection, realization: Realization) -> CodeBook | None:
        """The values of the projection's weights, None when there can be more than 256.

        ``book.values[book.encode(weights)]`` is what `discretiser` makes of the weights.
        """
        count = self.most_values(projection)
        if count is None:
            return None
        weight = projection.weight
        if isinstance(weight, float):
            return CodeBook(
                self.discretiser(projection, realization)(np.array([weight]), 0),
                lambda weights: np.zeros(np.shape(weights), np.int64),
            )
        if self.machine is not None:
            values = self.machine.values(projection.label, realization)
            hold = self.machine.held(projection.label, realization)
            return CodeBook(
                self._represent(values),
                lambda weights: np.searchsorted(values, hold(weights, 0)).astype(np.int64),
            )
        assert self.bins is not None
        bins = self.bins
        mean, width = self._bin(projection)
        if width == 0:
            return CodeBook(
                self._represent(np.array([mean])),
                lambda weights: np.zeros(np.shape(weights), np.int64),
            )
        centres = _centre(np.arange(bins, dtype=np.float64), mean, width, bins)
        return CodeBook(
            self._represent(_dale(centres, mean)),
            lambda weights: _bin_index(weights, mean, width, bins).astype(np.int64),
        )

    def most_values(self, projection: Projection) -> int | None:
        """How many values the projection's weights take at most, None when there is no code book."""
        if self.machine is not None and self.machine.weights.rounding == "stochastic":
            return None
        if isinstance(projection.weight, float):
            return 1
        if self.machine is not None:
            return self.machine.most_values()
        if self.bins is None or self.bins > MAX_CODES:
            return None
        return self.bins if self._bin(projection)[1] else 1

    def drive_weights(self, drive: str, realization: Realization) -> Weights:
        """Weights of a Poisson drive (label) as this format holds them, shape ``(size,)``."""
        weights = realization.drive(drive).weight
        if self.machine is not None:
            weights = self.machine.held(drive, realization)(weights, 0)
        return self._represent(weights)

    def delay_steps(self, milliseconds: Weights, timestep: float) -> NDArray[np.int32]:
        """Delays (ms) on the grid of ``timestep`` ms as this format holds them, in steps."""
        if self.machine is not None:
            return self.machine.delay_steps(milliseconds, timestep)
        return to_steps(milliseconds, timestep)

    def _bin(self, projection: Projection) -> tuple[float, float]:
        """Mean of the projection's weights and width of a bin."""
        assert self.bins is not None
        mean, sd = mean_and_sd(projection.weight)
        return mean, 2 * half_width(self.scheme, self.bins) * sd / self.bins

    @property
    def _represent(self) -> Callable[[Weights], Weights]:
        if isinstance(self.state, FixedPoint):
            fixed = self.state
            unit = np.float64(2.0**-fixed.fraction_bits)
            return lambda weights: fixed.quantise(weights) * unit
        return _as_float32 if self.state == "float32" else _unchanged


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
        return NumberFormat(text, "exact", None, arithmetic, timestep)
    arithmetic = _arithmetic(state) if state != "double" else None
    bins = re.fullmatch(r"(naive|moments)-([1-9][0-9]{0,8})", weights, re.ASCII)
    if bins is None or int(bins[2]) > MAX_BINS or (slash and arithmetic is None):
        raise _unknown(text)
    scheme: Scheme = "naive" if bins[1] == "naive" else "moments"
    return NumberFormat(text, scheme, int(bins[2]), arithmetic or "float64", timestep)


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
        if arithmetic == "float64" and machine.time.step is None:
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
            text, "machine", None, arithmetic, timestep or machine.time.step, machine
        )
    given = _arithmetic(state) if state and state != "double" else None
    if state and given is None:
        raise _unknown(text)
    return NumberFormat(text, "machine", None, given or "float64", timestep, machine)


def machine_arithmetic(machine: Machine) -> State:
    """The state arithmetic that a machine's file names; RequestError if there is none such."""
    name = machine.state.arithmetic
    if name == "spinnaker" and machine.weights.scale == "expected_sum":
        return SpinnakerArithmetic()
    arithmetic = _arithmetic(name)
    if arithmetic is None:
        raise RequestError(
            f"{machine.file}: state.arithmetic: must be 'double', 'float32' or 'sI.F' as in number "
            f"formats, or 'spinnaker' with weights.scale = 'expected_sum', not {name!r}"
        )
    return arithmetic


def machine_formats() -> dict[str, str]:
    """Titles of the shipped machines by the names of number formats, with and without ``-full``."""
    found = {}
    for name in shipped_machines():
        machine = load_machine(name)
        found[name] = machine.title
        own = []
        if machine_arithmetic(machine) != "float64":
            own.append(f"state {machine.state.arithmetic}")
        if machine.time.step is not None:
            own.append(f"time step {machine.time.step:g} ms")
        if own:
            found[f"{name}-full"] = f"{machine.title}, {', '.join(own)}"
    return found


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
        return "float64"
    if text == "float32":
        return "float32"
    number = "(0|[1-9][0-9]?)"
    match = re.fullmatch(rf"s{number}\.{number}(-floor|-zero)?(-wrap)?", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) + int(match[2]) < MAX_WORD:
        return None
    rounding: Rounding = "nearest"
    if match[3]:
        rounding = "floor" if match[3] == "-floor" else "zero"
    overflow: Overflow = "wrap" if match[4] else "saturate"
    return FixedPoint(int(match[1]), int(match[2]), rounding, overflow)


def half_width(scheme: Scheme, bins: int) -> float:
    """Half the width of the interval that ``bins`` bins cover, in SD of the weights.

    5 for ``naive``, and for ``moments`` with 1 bin (which has no SD to preserve) or with 2^16 and
    more; otherwise `first_root`. Dasbach et al. 2021, sections 2.2.1 and 2.2.2. Raises ValueError
    for ``exact``.
    """
    if scheme == "exact":
        raise ValueError("the scheme exact has no bins")
    if scheme == "naive" or bins == 1 or bins >= MOMENTS_BINS_LIMIT:
        return NAIVE_HALF_WIDTH
    return first_root(bins)


@cache
def first_root(bins: int) -> float:
    """Smallest half-width (in SD) at which ``bins`` >= 2 bins preserve the SD of a normal variable.

    Solves SD_N(a) = SD by Brent's method (Dasbach et al. 2021, section 2.2.2). Odd N have a second
    root farther out. Raises ValueError for fewer than 2 bins.
    """
    if bins < 2:
        raise ValueError(f"{bins} bins cannot preserve a standard deviation, at least 2 can")
    # no value lies beyond a, so SD_N(1) < 1; steps of 0.5 cannot jump over both roots, which are
    # 3 apart for N = 3 and farther for larger N
    upper = 1.5
    while discretised_sd(bins, upper) <= 1:
        upper += 0.5
    root = scipy.optimize.brentq(
        lambda a: discretised_sd(bins, a) - 1, upper - 0.5, upper, xtol=1e-14
    )
    return float(root)


def sd_ratio(scheme: Scheme, bins: int) -> float:
    """SD of normal weights after discretisation, relative to before; 2.5 for ``naive``, 2 bins."""
    return discretised_sd(bins, half_width(scheme, bins))


def discretised_sd(bins: int, half: float) -> float:
    """SD of a standard normal variable discretised to ``bins`` values in the interval +- ``half``.

    Dasbach et al. 2021, equations 8, 10 and 11. By symmetry only positive values are summed, with
    upper-tail probabilities, which keeps the relative precision of the rare outer values.
    """
    width = 2 * half / bins
    first_edge = 0.0 if bins % 2 == 0 else width / 2
    edges = first_edge + width * np.arange(bins // 2)
    tails = np.append(scipy.special.ndtr(-edges), 0.0)
    return float(np.sqrt(-2 * np.sum(np.diff(tails) * (edges + width / 2) ** 2)))


def _bin_index(weights: Weights, mean: float, width: float, bins: int) -> Weights:
    """The bin of each weight, as a float: exact up to 2^53, and one array less."""
    index = np.clip(np.floor((weights - mean) / width + bins / 2), 0, bins - 1)
    index += (weights >= _lower_edge(index + 1, mean, width, bins)) & (index < bins - 1)
    index -= (weights < _lower_edge(index, mean, width, bins)) & (index > 0)
    return index


def _lower_edge(index: Weights, mean: float, width: float, bins: int) -> Weights:
    return mean + (index - bins / 2) * width


def _centre(index: Weights, mean: float, width: float, bins: int) -> Weights:
    return mean + (index - (bins - 1) / 2) * width


def _dale(weights: Weights, mean: float) -> Weights:
    if mean > 0:
        return np.maximum(weights, 0.0)
    if mean < 0:
        return np.minimum(weights, 0.0)
    return weights


def _unchanged(weights: Weights) -> Weights:
    return weights


def _as_float32(weights: Weights) -> Weights:
    return weights.astype(np.float32).astype(np.float64)
