"""The step loop, compiled.

Every thread owns neurons and all synapses onto them, so that nothing is written by two. In step t,
from (t - 1) dt to t dt, a thread

1. updates its neurons and notes which of them reached the threshold: spikes labelled t;
2. waits for the other threads, and takes note of all spikes of the step, in the order of the
   sources' numbers;
3. delivers what arrives at the end of the step: the synapses with delay d of the sources with a
   spike labelled t - d (for SpiNNaker, of the neurons with a spike labelled t - d + 1). Everything
   is added to the input of this one step, which stays in the cache; a spike's synapses are sorted by
   delay, so each step takes the next few of them. They are first gathered into one array: copying a
   few at a time without asking how many are wanted keeps the processor from guessing, and lets it
   wait for many of them at once;
4. adds Poisson input.

A neuron's input is summed in an order that does not depend on the number of threads: by pathway,
batch of spikes (oldest first), value of the weight, spike, and order of drawing. So spikes are the
same for any number of threads.

All compiled code that takes part in a step is in this file (but the random generator, which is a
published algorithm): Numba keeps compiled code on disk for as long as the file of the outermost
function is unchanged.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from pynn_portability.backends.emulator.arithmetic import COEFFICIENTS
from pynn_portability.backends.emulator.loihi import Rules as CompartmentRules
from pynn_portability.backends.emulator.spinnaker import Rules
from pynn_portability.backends.emulator.synapses import READ_AHEAD
from pynn_portability.formats import loihi
from pynn_portability.formats.spinnaker import CONSTANTS, LARGEST_CELL
from pynn_portability.realize.streams import philox

Array = NDArray[Any]

P_M, P_E, P_I, P_0, D_E, D_I, THRESHOLD, RESET = range(len(COEFFICIENTS))
"""Rows of coefficients in floating and in fixed point."""
CORE_REST, CORE_RESISTANCE, CORE_DECAY, CORE_OFFSET, CORE_THRESHOLD, CORE_RESET = range(6)
CORE_DECAY_E, CORE_INIT_E, CORE_SHIFT_E, CORE_DECAY_I, CORE_INIT_I, CORE_SHIFT_I = range(
    6, len(CONSTANTS)
)
"""Rows of coefficients in the arithmetic of SpiNNaker's cores."""
DECAY_U, DECAY_V, BIAS, COMPARTMENT_THRESHOLD = range(len(loihi.CONSTANTS))
"""Rows of coefficients in the arithmetic of Loihi's compartments."""
DECAY_BITS = 12
"""Fraction bits of its decay constants."""

LEVELS = 2**16
"""Of uniform numbers of 16 bits."""

GROUP = 8
"""Neurons whose 16-bit numbers come from one call of the generator."""

NO_GROUP = 2**32 - 1
"""Stands for the rounding of a drive's probabilities, where others have the number of a group."""

CHUNK = 1024
"""Neurons that are updated together: their input and their spikes stay in the L1 cache."""

BATCH = 32
"""Spikes whose synapses are gathered before they are added."""

AHEAD = 8
"""Spikes after the present one whose synapses are asked for."""

COPIED = 32
"""Targets that are copied at once: most rows have fewer that act in one step."""

GATHERED = 2**13
"""Targets that there is room for."""


RUN = np.dtype(
    [
        *(("first", np.int64), ("last", np.int64)),
        ("drive", np.int64),
        ("number", np.int64),
        *(("tails_begin", np.int64), ("tails_end", np.int64)),
        ("receptor", np.int64),
        *(("start", np.int64), ("stop", np.int64)),
    ]
)
"""A sequence of neurons with the same Poisson drive: ``first`` to ``last`` (of the thread), which drive, the
``number`` of the first in its population, where its tail probabilities are, 0 or 1 for the receptor, and the steps
from and before which it acts."""

PART = np.dtype(
    [
        *(("first", np.int64), ("last", np.int64)),
        ("source", np.int64),
        ("column", np.int64),
        ("own", np.int64),
    ]
)
"""Neurons of one population: ``first`` to ``last`` (of the thread), source number of the first, first column of its
coefficients, and ``own`` 1 if every neuron has a column of its own, 0 if they share it."""

LINE = np.dtype(
    [
        ("pathway", np.int64),
        *(("row", np.int64), ("end", np.int64)),
        ("width", np.int64),
        ("receptor", np.int64),
        ("neuron", np.int64),
    ]
)
"""A pathway onto a block: its first row and first end, ends per row, receptor (0, 1), first neuron of the block."""

BOUNDS = np.dtype([("oldest", np.int64), ("waiting", np.int64), ("free", np.int64)])
"""Of a pathway's spikes: the oldest that is still due, the first whose shortest delay is not over yet, and the next
free place, counted from the begin of the simulation."""


class DriveTables(NamedTuple):
    """Poisson input of one thread's neurons.

    ``runs`` (`RUN`) are sorted by first neuron; ``weights`` has one item per run, ``keys`` are those of the
    drives' random streams, shape (drives, 4). ``tails`` are the runs' tail probabilities.
    """

    runs: Array
    weights: Array
    tails: NDArray[np.float64]
    keys: NDArray[np.uint32]


class Sources(NamedTuple):
    """Whatever can spike, numbered over all populations; the same for all threads.

    ``population`` (uint16) of each source, ``first_source`` of each population. A population's
    pathways are those from ``first_pathway[p]`` to ``first_pathway[p + 1]``; ``shortest`` and
    ``longest`` are delays per pathway. ``given_source`` and ``given_step`` are spikes known
    beforehand, by step.
    """

    population: NDArray[np.uint16]
    first_source: NDArray[np.int64]
    first_pathway: NDArray[np.int64]
    shortest: NDArray[np.int64]
    longest: NDArray[np.int64]
    given_source: NDArray[np.int32]
    given_step: NDArray[np.int64]


class Neurons(NamedTuple):
    """Neurons of one thread, by their number in the thread.

    ``currents`` has shape (2, n), by receptor; with ``joint`` 1, both are one, the first. ``arrived``,
    of the same shape, is the input of the last step, which is summed before it is added to the
    currents; in single precision it is added right away, and ``arrived`` has shape (2, 0).
    ``refractory`` counts the steps for which a neuron still is. ``parts`` are `PART`. ``coefficients`` has a
    row for each of the arithmetic's constants. ``saturated``, shape (2, parts), counts inputs beyond what
    SpiNNaker's cells hold, by receptor.
    """

    v: Array
    currents: Array
    arrived: Array
    refractory: Array
    parts: Array
    coefficients: Array
    refractory_steps: Array
    joint: int
    saturated: NDArray[np.int64]


class Lines(NamedTuple):
    """``table`` has the lines of one thread (`LINE`), ``books`` are those of `CompressedSynapses`. A pathway's
    lines are those from ``first_line[p]`` to ``first_line[p + 1]``."""

    table: Array
    books: Array
    first_line: NDArray[np.int64]


class Queue(NamedTuple):
    """Spikes on their way, in rings per pathway, for one thread.

    ``step`` has shape (pathways, room), ``bounds`` (`BOUNDS`) one item per pathway. ``row`` and ``end``, shape
    (lines, room), say where the spike's synapses are: those with value c that arrive in step t are, relative
    to ``row``, from ``ends[i]`` to ``ends[i + 1]``, where i = end + t * values + c.
    """

    step: NDArray[np.int64]
    bounds: Array
    row: NDArray[np.int64]
    end: NDArray[np.int64]


class Exchange(NamedTuple):
    """What threads tell each other: the spikes of a slice of steps.

    ``sources[i, ends[i, s] : ends[i, s + 1]]`` are those of thread i in step s of the slice;
    ``barrier`` is where threads wait for each other.
    """

    sources: NDArray[np.int32]
    ends: NDArray[np.int64]
    barrier: NDArray[np.int64]


@njit(cache=True, nogil=True)
def simulate(
    thread,
    first_step,
    n_steps,
    resume,
    sources,
    exchange,
    neurons,
    drives,
    lines,
    queue,
    synapses,
    values,
    rules,
):
    """Simulate the steps of a slice; returns how many were completed.

    Fewer are when the queue has too little room; then call again with a larger one and with
    ``resume`` as returned, otherwise -1. All threads of a simulation return the same. ``values`` is
    how many values of a weight are told by place.
    """
    n_threads = exchange.sources.shape[0]
    words = np.empty(2 * (CHUNK // GROUP + 1), np.uint64)
    counts = np.empty(CHUNK, np.uint16)
    spiking = np.zeros(CHUNK, np.uint8)
    gathered = np.empty((values, GATHERED + READ_AHEAD), np.uint16)
    collected = np.empty(exchange.sources.size + len(sources.given_step), np.int32)
    inputs = _inputs(neurons.currents, neurons.arrived)
    begin = max(resume, 0)
    given = np.searchsorted(sources.given_step, first_step + begin)
    for s in range(begin, n_steps):
        t = first_step + s
        if s != resume:
            _update(thread, s, neurons, rules, spiking, exchange)
            if n_threads > 1 and not _wait(exchange.barrier, n_threads):
                return s
        n, given_end = _collect(s, t, given, sources, exchange, collected)
        label = _acting_label(t, rules)
        if not _enqueue(label, collected[:n], sources, lines, queue, synapses, values):
            return s
        given = given_end
        _advance_bounds(t, sources, queue)
        _deliver(t, lines, queue, synapses, values, gathered, inputs)
        _add_poisson_input(t, drives, words, counts, inputs)
    return n_steps


# --- Threads ---

SPINS_BEFORE_YIELDING = 2000
"""A few microseconds: longer than a balanced partner needs, shorter than a time slice."""

_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def _add(context, array, amount):
    """Add to the first item of an int64 array, atomically."""

    def generate(context, builder, signature, arguments):
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(array, types.int64), generate


@intrinsic
def _load(context, array, index):
    """An item of an int64 array, as other threads have left it."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "seq_cst", 8)

    return types.int64(array, types.int64), generate


@intrinsic
def _prefetch(context, array, index):
    """Ask the processor to bring an item of an array into its cache, for reading."""

    def generate(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        integer = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, integer, integer, integer]),
            "llvm.prefetch.p0i8",
        )
        builder.call(function, [pointer, integer(0), integer(3), integer(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@intrinsic
def _copy(context, rows, row, at, source, begin):
    """Copy ``COPIED`` items of an array into a row of another, in a few instructions."""

    def generate(context, builder, signature, arguments):
        items = ir.VectorType(context.get_data_type(source.dtype), COPIED)
        target = context.make_array(rows)(context, builder, arguments[0])
        width = builder.extract_value(target.shape, 1)
        index = builder.add(builder.mul(arguments[1], width), arguments[2])
        to = builder.bitcast(builder.gep(target.data, [index]), items.as_pointer())
        data = context.make_array(source)(context, builder, arguments[3]).data
        place = builder.bitcast(builder.gep(data, [arguments[4]]), items.as_pointer())
        builder.store(builder.load(place, align=2), to, align=2)
        return context.get_dummy_value()

    return types.void(rows, types.int64, types.int64, source, types.int64), generate


@njit(cache=True, nogil=True)
def _wait(barrier, n_threads):
    """Wait until ``n_threads`` threads have come here; False if they will not.

    ``barrier`` is an int64 array of two zeros; the second becomes 1 when a thread fails to come.
    Spins, and gives way to others when that takes long, as it does on a busy machine.
    """
    arrived = _add(barrier, 1) + 1
    goal = (arrived + n_threads - 1) // n_threads * n_threads
    spins = 0
    while _load(barrier, 0) < goal:
        spins += 1
        if spins > SPINS_BEFORE_YIELDING:
            if _load(barrier, 1):
                return False
            _sched_yield()
    return True


# --- Synapses ---


@njit(cache=True, nogil=True)
def _advance_bounds(t, sources, queue):
    """Move on to the spikes that are due in step ``t``."""
    mask = queue.step.shape[1] - 1
    for p in range(len(queue.bounds)):
        bounds = queue.bounds[p]
        oldest, waiting, free = bounds.oldest, bounds.waiting, bounds.free
        while oldest < free and t - queue.step[p, oldest & mask] > sources.longest[p]:
            oldest += 1
        while waiting < free and t - queue.step[p, waiting & mask] >= sources.shortest[p]:
            waiting += 1
        bounds.oldest = oldest
        bounds.waiting = waiting


@njit(cache=True, nogil=True)
def _deliver(t, lines, queue, synapses, values, gathered, inputs):
    """Add the weights of all synapses that act in step ``t`` to their targets' input."""
    beside = len(synapses.numbers) + len(synapses.integers) + len(synapses.codes)
    counts = np.empty(values, np.int64)
    for line in range(len(lines.table)):
        described = lines.table[line]
        bounds = queue.bounds[described.pathway]
        due = bounds.oldest, bounds.waiting
        book, rows, ends = lines.books[line], queue.row[line], queue.end[line]
        target_input = inputs[described.receptor, described.neuron :]
        if beside:
            _add_numbers(t, due, rows, ends, synapses, book, target_input)
            continue
        # batches of a fixed size keep the order of summation the same for any number of threads
        for begin in range(due[0], due[1], BATCH):
            batch = begin, min(begin + BATCH, due[1]), due[1]
            _add_batch(
                t * values, batch, rows, ends, synapses, book, gathered, counts, target_input
            )


@njit(cache=True, nogil=True)
def _add_batch(t, batch, rows, row_ends, synapses, book, gathered, counts, target_input):
    """Deliver the synapses of a batch of spikes, value by value, spike by spike.

    ``batch`` is its begin and end in the queue, and the end of all that are due.
    """
    ends, targets = synapses.ends, synapses.targets
    mask = len(rows) - 1
    room = gathered.shape[1] - READ_AHEAD
    counts[:] = 0
    fits = True
    for e in range(batch[0], batch[1]):
        # memory is slow to answer: ask early
        if e + 2 * AHEAD < batch[2]:
            _prefetch(ends, row_ends[(e + 2 * AHEAD) & mask] + t)
            i = (e + AHEAD) & mask
            wanted = rows[i] + np.int64(ends[row_ends[i] + t])
            _prefetch(targets, wanted)
            _prefetch(targets, wanted + COPIED)
        i = e & mask
        at = row_ends[i] + t
        begin = rows[i] + np.int64(ends[at])
        for value in range(len(counts)):
            end = rows[i] + np.int64(ends[at + value + 1])
            n, size = counts[value], end - begin
            if n + size > room:
                fits = False
                break
            _copy(gathered, value, n, targets, begin)
            if size > COPIED:
                for k in range(COPIED, size, COPIED):
                    _copy(gathered, value, n + k, targets, begin + k)
            counts[value] = n + size
            begin = end
        # what comes next in this row is wanted in the next step
        _prefetch(targets, begin + COPIED)
        _prefetch(targets, begin + 2 * COPIED)
    for value in range(len(counts)):
        weight = book[value]
        if fits:
            for target in gathered[value, : counts[value]]:
                target_input[target] += weight
            continue
        for e in range(batch[0], batch[1]):
            i = e & mask
            at = row_ends[i] + t + value
            for target in targets[rows[i] + np.int64(ends[at]) : rows[i] + np.int64(ends[at + 1])]:
                target_input[target] += weight


@njit(cache=True, nogil=True)
def _add_numbers(t, due, rows, row_ends, synapses, book, target_input):
    """Deliver a line whose weights stand beside the targets."""
    ends, targets = synapses.ends, synapses.targets
    mask = len(rows) - 1
    n_synapses = len(targets) - READ_AHEAD
    for e in range(due[0], due[1]):
        i = e & mask
        at = row_ends[i] + t
        begin = np.uint64(rows[i] + np.int64(ends[at]))
        end = np.uint64(rows[i] + np.int64(ends[at + 1]))
        _prefetch(targets, np.int64(end) + COPIED)
        if len(synapses.numbers):
            _prefetch(synapses.numbers, np.int64(end) + COPIED // 2)
            for k in range(begin, end):
                target_input[targets[k]] += synapses.numbers[k]
        elif len(synapses.integers):
            for k in range(begin, end):
                target_input[targets[k]] += synapses.integers[k] * book[0]
        elif len(synapses.codes) == n_synapses:
            for k in range(begin, end):
                target_input[targets[k]] += book[synapses.codes[k]]
        else:
            for k in range(begin, end):
                pair = synapses.codes[k >> np.uint64(1)]
                code = (pair >> np.uint8((k & np.uint64(1)) << np.uint64(2))) & np.uint8(15)
                target_input[targets[k]] += book[code]


@njit(cache=True, nogil=True)
def _enqueue(t, spikes, sources, lines, queue, synapses, values):
    """Put the spikes of step ``t`` into the queue; False, and nothing is done, without room."""
    room = queue.step.shape[1]
    for p in range(len(queue.bounds)):
        if queue.bounds[p].free + len(spikes) - queue.bounds[p].oldest > room:
            return False
    for spike in spikes:
        population = sources.population[spike]
        row = spike - sources.first_source[population]
        for p in range(sources.first_pathway[population], sources.first_pathway[population + 1]):
            bounds = queue.bounds[p]
            i = bounds.free & (room - 1)
            bounds.free += 1
            queue.step[p, i] = t
            for line in range(lines.first_line[p], lines.first_line[p + 1]):
                at = lines.table[line]
                queue.row[line, i] = synapses.row_start[at.row + row]
                queue.end[line, i] = at.end + row * at.width - (sources.shortest[p] + t) * values
    return True


# --- Poisson input ---


@njit(cache=True, nogil=True)
def _draw(key, t, first_group, words):
    """Random words of groups of eight neurons in step ``t``, two for each group."""
    step, k0, k1 = np.uint64(t), np.uint64(key[0]), np.uint64(key[1])
    c2, c3 = np.uint64(key[2]), np.uint64(key[3])
    for g in range(len(words) // 2):
        words[2 * g], words[2 * g + 1] = philox(np.uint64(first_group + g), step, c2, c3, k0, k1)


@njit(cache=True, nogil=True)
def _add_poisson_input(t, tables, words, counts, inputs):
    """Add what arrives at the end of step ``t`` to ``inputs``, shape (2, neurons of the thread).

    ``words`` (uint64, room for a chunk of 16-bit numbers and one group more) and ``counts`` (uint16,
    as long as a chunk) are room to work.
    """
    numbers = words.view(np.uint16)
    chunk = len(counts)
    dither = np.empty(2, np.uint64)
    for r in range(len(tables.runs)):
        run = tables.runs[r]
        if t < run.start or t >= run.stop:
            continue
        key, weight = tables.keys[run.drive], tables.weights[r]
        _draw(key, t, NO_GROUP, dither)
        offset = (dither[0] >> np.uint64(11)) * 2.0**-53
        for low in range(run.first, run.last, chunk):
            size = min(chunk, run.last - low)
            group = (run.number + low - run.first) // GROUP
            skipped = (run.number + low - run.first) % GROUP
            _draw(key, t, group, words[: 2 * ((skipped + size + GROUP - 1) // GROUP)])
            u, n = numbers[skipped : skipped + size], counts[:size]
            n[:] = 0
            for k in range(run.tails_begin, run.tails_end):
                level = np.int64(tables.tails[k] * LEVELS + offset)
                if level == 0:
                    break
                if level >= LEVELS:
                    for j in range(size):
                        n[j] += np.uint16(1)
                else:
                    limit = np.uint16(level)
                    for j in range(size):
                        n[j] += np.uint16(u[j] < limit)
            row = inputs[run.receptor, low : low + size]
            for j in range(size):
                row[j] += weight * row.dtype.type(n[j])


# --- Neurons ---


@njit(cache=True, nogil=True, forceinline=True)
def _product(x, c, rules):
    """A fixed-point number times a propagator."""
    exact = np.int64(x) * np.int64(c)
    return (exact + rules.added + ((exact >> 63) & rules.added_if_negative)) >> rules.shift


@njit(cache=True, nogil=True, forceinline=True)
def _bounded(x, rules):
    """A fixed-point sum, saturated or wrapped."""
    # one of the two does nothing; without a branch the loop can be vectorised
    wrapped = (x << rules.surplus) >> rules.surplus
    return min(max(wrapped, rules.smallest), rules.largest)


# integers are fixed point; which variant is meant is decided by type, when code is compiled


def _advance(v, i_e, i_i, p_m, p_e, p_i, p_0, rules):
    """V after one step of a neuron that is not refractory."""
    raise NotImplementedError("compiled code only")


@overload(_advance, jit_options={"forceinline": True})
def _advance_overload(v, i_e, i_i, p_m, p_e, p_i, p_0, rules):
    if not isinstance(v, types.Integer):
        return lambda v, i_e, i_i, p_m, p_e, p_i, p_0, rules: v * p_m + i_e * p_e + i_i * p_i + p_0

    def fixed(v, i_e, i_i, p_m, p_e, p_i, p_0, rules):
        total = _product(v, p_m, rules) + _product(i_e, p_e, rules) + _product(i_i, p_i, rules)
        return _bounded(total + p_0, rules)

    return fixed


def _decay(i, d, rules):
    """A synaptic current after one step."""
    raise NotImplementedError("compiled code only")


@overload(_decay, jit_options={"forceinline": True})
def _decay_overload(i, d, rules):
    if not isinstance(i, types.Integer):
        return lambda i, d, rules: i * d

    def fixed(i, d, rules):
        return _product(i, d, rules)

    return fixed


def _take(i, arrived, j, rules):
    """A synaptic current with the input that has arrived at its neuron, which is then used up."""
    raise NotImplementedError("compiled code only")


@overload(_take, jit_options={"forceinline": True})
def _take_overload(i, arrived, j, rules):
    if i is types.float32:  # was added to the current itself
        return lambda i, arrived, j, rules: i

    if isinstance(i, types.Integer):

        def fixed(i, arrived, j, rules):
            total = _bounded(i + arrived[j], rules)
            arrived[j] = 0
            return total

        return fixed

    def double(i, arrived, j, rules):
        total = i + arrived[j]
        arrived[j] = 0
        return total

    return double


def _inputs(currents, arrived):
    """Where input is added."""
    raise NotImplementedError("compiled code only")


@overload(_inputs, jit_options={"forceinline": True})
def _inputs_overload(currents, arrived):
    if currents.dtype is types.float32:
        return lambda currents, arrived: currents
    return lambda currents, arrived: arrived


def _acting_label(t, rules):
    """The label with which a spike that was sent in step ``t`` acts."""
    raise NotImplementedError("compiled code only")


@overload(_acting_label, jit_options={"forceinline": True})
def _acting_label_overload(t, rules):
    if _is_spinnaker(rules):
        return lambda t, rules: t - 1
    return lambda t, rules: t


def _is_spinnaker(rules):
    return getattr(rules, "instance_class", None) is Rules


def _update_chunk(part, low, high, column, neurons, rules, spiking):
    """Neurons ``low`` to ``high`` of a part, whose coefficients begin at ``column``; how many spike."""
    raise NotImplementedError("compiled code only")


@overload(_update_chunk, jit_options={"forceinline": True})
def _update_chunk_overload(part, low, high, column, neurons, rules, spiking):
    if getattr(rules, "instance_class", None) is CompartmentRules:

        def compartments(part, low, high, column, neurons, rules, spiking):
            own = neurons.parts[part].own
            return _update_compartments(low, high, column, own, neurons, rules, spiking)

        return compartments

    if _is_spinnaker(rules):

        def spinnaker(part, low, high, column, neurons, rules, spiking):
            if neurons.parts[part].own:
                return _update_cores_varied(part, low, high, column, neurons, rules, spiking)
            return _update_cores_uniform(part, low, high, column, neurons, rules, spiking)

        return spinnaker

    def exact(part, low, high, column, neurons, rules, spiking):
        if neurons.parts[part].own:
            return _update_varied(low, high, column, neurons, rules, spiking)
        return _update_uniform(low, high, column, neurons, rules, spiking)

    return exact


@njit(cache=True, nogil=True)
def _update(thread, s, neurons, rules, spiking, exchange):
    """One step of all neurons of a thread, whose spikes are published as those of step ``s``."""
    published = exchange.ends[thread, s]
    for part in range(len(neurons.parts)):
        p = neurons.parts[part]
        for low in range(p.first, p.last, CHUNK):
            high = min(low + CHUNK, p.last)
            c = p.column + low - p.first if p.own else p.column
            n_spikes = _update_chunk(part, low, high, c, neurons, rules, spiking)
            j = 0
            while n_spikes:
                if spiking[j]:
                    exchange.sources[thread, published] = p.source + low - p.first + j
                    published += 1
                    n_spikes -= 1
                j += 1
    exchange.ends[thread, s + 1] = published


@njit(cache=True, nogil=True, forceinline=True)
def _views(low, high, neurons):
    """State and arrived input of neurons ``low`` to ``high``, as `_step` takes them."""
    # a current that is not used is always the same few, which stay in the cache
    low_i = 0 if neurons.joint else low
    return (
        neurons.v[low:high],
        neurons.currents[0, low:high],
        neurons.currents[1, low_i : low_i + high - low],
        neurons.arrived[0, low:high],
        neurons.arrived[1, low:high],
        neurons.refractory[low:high],
    )


@njit(cache=True, nogil=True, forceinline=True)
def _step(j, views, p_m, p_e, p_i, p_0, d_e, d_i, threshold, reset, held_steps, rules, spiking):
    """One step of one neuron; whether it spikes."""
    v, i_e, i_i, from_e, from_i, held = views
    e, i = _take(i_e[j], from_e, j, rules), _take(i_i[j], from_i, j, rules)
    moved = _advance(v[j], e, i, p_m, p_e, p_i, p_0, rules)
    free = held[j] == 0
    moved = moved if free else v[j]
    i_e[j], i_i[j] = _decay(e, d_e, rules), _decay(i, d_i, rules)
    # even one that is reset above its threshold: so many spikes there can be is what there is room for
    spike = free & (moved >= threshold)
    v[j] = reset if spike else moved
    held[j] = held_steps if spike else max(held[j] - 1, 0)
    spiking[j] = spike
    return spike


@njit(cache=True, nogil=True)
def _update_uniform(low, high, column, neurons, rules, spiking):
    """Neurons ``low`` to ``high``, which share their coefficients; how many spike."""
    views = _views(low, high, neurons)
    c = neurons.coefficients[:, column]
    p_m, p_e, p_i, p_0 = c[P_M], c[P_E], c[P_I], c[P_0]
    d_e, d_i, threshold, reset = c[D_E], c[D_I], c[THRESHOLD], c[RESET]
    held_steps = neurons.refractory_steps[column]
    n_spikes = 0
    for j in range(high - low):
        n_spikes += _step(
            j, views, p_m, p_e, p_i, p_0, d_e, d_i, threshold, reset, held_steps, rules, spiking
        )
    return n_spikes


@njit(cache=True, nogil=True)
def _update_varied(low, high, column, neurons, rules, spiking):
    """Neurons ``low`` to ``high``, each with a column of coefficients, from ``column`` on."""
    views = _views(low, high, neurons)
    c = neurons.coefficients[:, column : column + high - low]
    held_steps = neurons.refractory_steps[column : column + high - low]
    n_spikes = 0
    for j in range(high - low):
        n_spikes += _step(
            j,
            views,
            c[P_M, j],
            c[P_E, j],
            c[P_I, j],
            c[P_0, j],
            c[D_E, j],
            c[D_I, j],
            c[THRESHOLD, j],
            c[RESET, j],
            held_steps[j],
            rules,
            spiking,
        )
    return n_spikes


# --- Neurons on SpiNNaker ---


def _at(x, j):
    """A constant of neuron ``j``: an item of an array, or what all neurons share."""
    raise NotImplementedError("compiled code only")


@overload(_at, jit_options={"forceinline": True})
def _at_overload(x, j):
    if isinstance(x, types.Array):
        return lambda x, j: x[j]
    return lambda x, j: x


@njit(cache=True, nogil=True, forceinline=True)
def _scaled(x, c):
    """An s16.15 number times a u0.32 number, which stands as the int32 of the same bits."""
    # a factor of 2^32 more where the sign bit stands for 2^31
    return np.int32((np.int64(x) * np.int64(c)) >> 32) + (x & (c >> 31))


@njit(cache=True, nogil=True, forceinline=True)
def _times(x, y):
    """Product of two s16.15 numbers; bits beyond 32 are lost."""
    return np.int32((np.int64(x) * np.int64(y)) >> 15)


@njit(cache=True, nogil=True, forceinline=True)
def _take_cells(currents, cells, init, shift):
    """Empty ring-buffer cells into the currents; how many cells had saturated."""
    saturated = 0
    for j in range(len(currents)):
        saturated += cells[j] > LARGEST_CELL
        weight = np.int32(np.int32(min(cells[j], LARGEST_CELL)) << shift)
        currents[j] = np.int32(currents[j] + _scaled(weight, _at(init, j)))
        cells[j] = 0
    return saturated


@njit(cache=True, nogil=True, forceinline=True)
def _update_cores(part, low, high, constants, shifts, held_steps, neurons, rules, spiking):
    """A step of neurons ``low`` to ``high``; ``constants`` are numbers or arrays; how many spike."""
    rest, resistance, decay, offset, threshold, reset, d_e, init_e, d_i, init_i = constants
    v, i_e, i_i, from_e, from_i, held = _views(low, high, neurons)
    # several short loops are faster than one
    neurons.saturated[0, part] += _take_cells(i_e, from_e, init_e, shifts[0])
    neurons.saturated[1, part] += _take_cells(i_i, from_i, init_i, shifts[1])
    spiking[: high - low] = 0
    n_spikes = 0
    for _ in range(rules.substeps):
        for j in range(high - low):
            current = np.int32(i_e[j] - i_i[j] + _at(offset, j))
            target = np.int32(_times(current, _at(resistance, j)) + _at(rest, j))
            moved = np.int32(target - _times(_at(decay, j), np.int32(target - v[j])))
            free = held[j] == 0
            moved = moved if free else v[j]
            i_e[j], i_i[j] = _scaled(i_e[j], _at(d_e, j)), _scaled(i_i[j], _at(d_i, j))
            spike = free & (moved >= _at(threshold, j))
            v[j] = _at(reset, j) if spike else moved
            held[j] = _at(held_steps, j) if spike else max(held[j] - 1, 0)
            # a core sends one spike in a time step, whatever its sub-steps say
            n_spikes += spike & (spiking[j] == 0)
            spiking[j] |= spike
    return n_spikes


@njit(cache=True, nogil=True)
def _update_cores_uniform(part, low, high, column, neurons, rules, spiking):
    """Neurons ``low`` to ``high``, which share their constants; how many spike."""
    c = neurons.coefficients[:, column]
    constants = (
        *(c[CORE_REST], c[CORE_RESISTANCE], c[CORE_DECAY], c[CORE_OFFSET]),
        *(c[CORE_THRESHOLD], c[CORE_RESET]),
        *(c[CORE_DECAY_E], c[CORE_INIT_E], c[CORE_DECAY_I], c[CORE_INIT_I]),
    )
    held_steps = neurons.refractory_steps[column]
    return _update_cores(
        part,
        low,
        high,
        constants,
        (c[CORE_SHIFT_E], c[CORE_SHIFT_I]),
        held_steps,
        neurons,
        rules,
        spiking,
    )


@njit(cache=True, nogil=True)
def _update_cores_varied(part, low, high, column, neurons, rules, spiking):
    """Neurons ``low`` to ``high``, each with a column of constants, from ``column`` on."""
    c = neurons.coefficients[:, column : column + high - low]
    constants = (
        *(c[CORE_REST], c[CORE_RESISTANCE], c[CORE_DECAY], c[CORE_OFFSET]),
        *(c[CORE_THRESHOLD], c[CORE_RESET]),
        *(c[CORE_DECAY_E], c[CORE_INIT_E], c[CORE_DECAY_I], c[CORE_INIT_I]),
    )
    held_steps = neurons.refractory_steps[column : column + high - low]
    # ring buffers are those of the population
    shifts = c[CORE_SHIFT_E, 0], c[CORE_SHIFT_I, 0]
    return _update_cores(part, low, high, constants, shifts, held_steps, neurons, rules, spiking)


# --- Neurons on Loihi ---


@njit(cache=True, nogil=True, forceinline=True)
def _decayed(x, factor):
    """A whole number times ``factor`` / 2^12, towards zero."""
    product = np.int64(x) * np.int64(factor)
    return (product + ((product >> 63) & ((1 << DECAY_BITS) - 1))) >> DECAY_BITS


@njit(cache=True, nogil=True)
def _update_compartments(low, high, column, own, neurons, rules, spiking):
    """Neurons ``low`` to ``high``, whose constants begin at ``column``, one column each if ``own``."""
    v, u, _, arrived, _, held = _views(low, high, neurons)
    c, word = neurons.coefficients, np.int64(rules.word)
    n_spikes = 0
    for j in range(high - low):
        k = column + j if own else column
        total = _decayed(u[j], c[DECAY_U, k]) + arrived[j]
        arrived[j] = 0
        # the range has its largest number, but not its smallest
        u[j] = ((total + word - 1) & (2 * word - 1)) - word + 1
        moved = _decayed(v[j], c[DECAY_V, k]) + np.int64(u[j]) + np.int64(c[BIAS, k])
        moved = min(max(moved, 1 - word), word - 1)
        spike = held[j] == 0 and moved > c[COMPARTMENT_THRESHOLD, k]
        if spike or held[j]:
            moved = 0
        v[j] = moved
        held[j] = neurons.refractory_steps[k] if spike else max(held[j] - 1, 0)
        spiking[j] = spike
        n_spikes += spike
    return n_spikes


@njit(cache=True, nogil=True)
def _collect(s, t, given, sources, exchange, collected):
    """All spikes of a step, sorted by source, and the first of the given ones after it."""
    n = 0
    for thread in range(exchange.sources.shape[0]):
        for k in range(exchange.ends[thread, s], exchange.ends[thread, s + 1]):
            collected[n] = exchange.sources[thread, k]
            n += 1
    while given < len(sources.given_step) and sources.given_step[given] == t:
        collected[n] = sources.given_source[given]
        n += 1
        given += 1
    if n < 64:
        for k in range(1, n):
            item = collected[k]
            j = k
            while j and collected[j - 1] > item:
                collected[j] = collected[j - 1]
                j -= 1
            collected[j] = item
    else:
        collected[:n] = np.sort(collected[:n])
    return n, given
