"""Synapses of a realized network in compressed form.

A synapse is the number of its target within a block of neurons, 16 bits. It stands where its source,
its receptor, its delay and, if the weights take few values, its weight say, so these need no room
of their own. The order of all synapses is: pathway, block, source neuron, delay, value of the
weight, and then the order in which they were drawn.

- A *pathway* is a set of projections from one population to one receptor that share the values of
  their weights, at most one projection onto each population.
- A *block* is a set of neurons owned by one thread, no more than 16 bits can tell apart.
- A *line* is a pathway onto a block, a *row* is what one source neuron has in a line.

Every population is divided evenly between the threads, so that they share the work however rates
and in-degrees differ between populations.

Up to four values of a weight are told by place. Up to 256 are codes of 4 or 8 bits beside the
targets. Other weights stand beside them as numbers.

The network is drawn twice, first to count the synapses of every row, delay and value, then to put
them in place: it never exists as a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pynn_portability.backends.emulator.arithmetic import Arithmetic
from pynn_portability.backends.emulator.loihi import Compartments
from pynn_portability.backends.emulator.spinnaker import Cores
from pynn_portability.errors import RequestError
from pynn_portability.formats.number_format import HeldRealization
from pynn_portability.model.cells import Receptor
from pynn_portability.model.network import Population, Projection
from pynn_portability.realize.realization import CHUNK_SIZE, Synapses
from pynn_portability.realize.streams import Levels

Array = NDArray[Any]

BLOCK_SIZE = 2**16
"""Neurons that 16 bits tell apart."""

ALIGNMENT = 64
"""Lines start at multiples of this many synapses, so that no two threads write to one byte."""

READ_AHEAD = 64
"""Targets after the last synapse, so that the engine can always read this many."""

Storage = Literal["auto", "float64", "float32", "int16"]
PLACED_VALUES = 4
"""Most values that are told by place: with more, there is too little to do at each place."""
CODE_BITS = (4, 8)
LARGEST_INT16 = 2**15 - 1


@dataclass(frozen=True)
class WeightStorage:
    """How weights are held: by place, as codes, or as numbers.

    ``values`` is how many values are told by place, 1 if none are; ``code_bits`` is 4 or 8 for
    codes beside the targets, otherwise 0; ``dtype`` is that of numbers, otherwise None. int16
    numbers count in units of a scale, one for each projection.
    """

    values: int = 1
    code_bits: int = 0
    dtype: np.dtype[Any] | None = None

    @property
    def bits_beside(self) -> int:
        """Bits per synapse beside the target."""
        return self.code_bits if self.dtype is None else self.dtype.itemsize * 8


def weight_storage(
    held: HeldRealization, arithmetic: Arithmetic | Cores | Compartments, asked: Storage
) -> WeightStorage:
    """How the weights of a realized network are held.

    ``auto`` takes places or codes where every projection has at most 256 values, and otherwise
    numbers of the state arithmetic: for fixed point 16 bits if no weight can need more, else 32, and
    16 for SpiNNaker. Raises RequestError for weights that the state cannot take.
    """
    if asked != "auto":
        if isinstance(arithmetic, Cores | Compartments):
            raise RequestError(
                f"[backends.emulator] weights = {asked!r} is not allowed with the state of format "
                f"{held.format.name!r}; allowed is 'auto'"
            )
        if arithmetic.fixed and asked != "int16":
            raise RequestError(
                f"[backends.emulator] weights = {asked!r} is not allowed with the fixed-point state "
                f"of format {held.format.name!r}; allowed are 'auto' and 'int16'"
            )
        return WeightStorage(dtype=np.dtype(asked))
    labels = [p.label for p in held.network.projections]
    counts = [held.weights(label).most_values() for label in labels]
    if None not in counts:
        values = max((count for count in counts if count), default=1)
        if values <= PLACED_VALUES:
            return WeightStorage(values=values)
        return WeightStorage(code_bits=next(b for b in CODE_BITS if 2**b >= values))
    if isinstance(arithmetic, Cores):
        return WeightStorage(dtype=np.dtype(np.uint16))
    if isinstance(arithmetic, Compartments):
        return WeightStorage(dtype=arithmetic.state)
    if arithmetic.fixed:
        largest = [largest_weight(held, label, arithmetic) for label in labels]
        if max(largest, default=0) <= LARGEST_INT16:
            return WeightStorage(dtype=np.dtype(np.int16))
    return WeightStorage(dtype=arithmetic.state)


def largest_weight(held: HeldRealization, projection: str, arithmetic: Arithmetic) -> Any:
    """The largest magnitude a weight of a projection can have here, in the unit of the arithmetic."""
    described = held.network.projection(projection)
    largest = np.array([held.weights(projection).largest()])
    return np.abs(arithmetic.weights(largest, described.target, described.receptor)).max()


@dataclass(frozen=True)
class Part:
    """Consecutive neurons of one population within a block: ``first`` to ``last`` (exclusive).

    ``offset`` is the number of the first of them within the block.
    """

    population: str
    first: int
    last: int
    offset: int

    @property
    def size(self) -> int:
        return self.last - self.first


@dataclass
class Block:
    """Neurons of one thread; ``offset`` counts from its first neuron."""

    thread: int
    offset: int
    parts: list[Part] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


@dataclass(frozen=True)
class Pathway:
    """Projections by target population, and their shortest and longest delay (steps)."""

    source: str
    inhibitory: bool
    projections: dict[str, Projection]
    shortest: int
    longest: int


@dataclass(frozen=True)
class Line:
    """A pathway onto a block, with where its rows and their ends begin in the tables."""

    pathway: int
    block: int
    row: int
    end: int


class SynapseTables(NamedTuple):
    """What the engine reads.

    A row's synapses with delay d and value c are, relative to ``row_start[row]``, those from
    ``ends[i]`` to ``ends[i + 1]``, where i counts from the row's first end and is (d - shortest) *
    values + c, ``shortest`` being the pathway's shortest delay. ``targets`` are numbers within the
    block; ``codes`` (packed), ``integers`` and ``numbers`` stand beside them, if they are used.
    """

    targets: NDArray[np.uint16]
    codes: NDArray[np.uint8]
    integers: NDArray[np.int16]
    numbers: Array
    row_start: NDArray[np.int64]
    ends: Array


class CompressedSynapses:
    """All synapses of a realization as a number format holds them, for a number of threads.

    ``books`` has shape (lines, values) and holds the values of codes, or the scale of int16 numbers,
    in the unit of the state arithmetic.
    """

    def __init__(
        self,
        held: HeldRealization,
        arithmetic: Arithmetic | Cores | Compartments,
        storage: WeightStorage,
        n_threads: int,
    ) -> None:
        self._held = held
        self._realization = held.realization
        self._network = held.network
        self._arithmetic = arithmetic
        self.storage = storage
        self.n_threads = n_threads
        self.count = self._realization.n_synapses
        self._interrupted = False
        self._levels: dict[str, tuple[Levels, Levels]] = {}
        with ThreadPoolExecutor(n_threads) as pool:
            self.pathways = self._find_pathways(pool)
            self.blocks = self._divide()
            self._place = {
                p.label: self._places(p) for p in self._network.populations if not p.is_source
            }
            self.lines = self._find_lines()

    # --- what goes where ---

    def _find_pathways(self, pool: ThreadPoolExecutor) -> list[Pathway]:
        groups: dict[tuple[str, bool, bytes, int], dict[str, Projection]] = {}
        connecting = [
            p for p in self._network.projections if self._realization.synapse_count(p.label)
        ]
        for projection in connecting:
            key = (
                projection.source,
                projection.receptor == "inhibitory",
                self._book(projection).tobytes(),
            )
            parallel = 0
            while projection.target in groups.setdefault((*key, parallel), {}):
                parallel += 1
            place = (*key, parallel)
            groups[place][projection.target] = projection
        ranges = pool.map(self._realization.delay_range, [p.label for p in connecting])
        delays = dict(zip([p.label for p in connecting], ranges, strict=True))
        pathways = []
        for (source, inhibitory, _, _), members in groups.items():
            bounds = [delays[p.label] for p in members.values()]
            shortest, longest = min(b[0] for b in bounds), max(b[1] for b in bounds)
            pathways.append(Pathway(source, inhibitory, members, shortest, longest))
        # by source, so that what a spike sets off is a range of pathways
        order = [p.label for p in self._network.populations]
        return sorted(pathways, key=lambda p: order.index(p.source))

    def _divide(self) -> list[Block]:
        """Blocks of all threads, thread after thread, as large as allowed."""
        blocks = []
        for thread in range(self.n_threads):
            block = Block(thread, 0)
            for population in self._network.populations:
                if population.is_source:
                    continue
                first, stop = (population.size * (thread + i) // self.n_threads for i in (0, 1))
                while first < stop:
                    if block.size == BLOCK_SIZE:
                        blocks.append(block)
                        block = Block(thread, block.offset + BLOCK_SIZE)
                    last = min(stop, first + BLOCK_SIZE - block.size)
                    block.parts.append(Part(population.label, first, last, block.size))
                    first = last
            if block.size:
                blocks.append(block)
        return blocks

    def _book(self, projection: Projection) -> Array:
        """Values of the projection's codes, the scale of its int16 numbers, or nothing."""
        if self.storage.dtype is None:
            book = self._held.weights(projection.label).code_book()
            assert book is not None
            return self._weights_of(projection)(book.values)
        if self.storage.dtype != np.int16:
            return np.empty(0, self._arithmetic.state)
        assert isinstance(self._arithmetic, Arithmetic)
        largest = largest_weight(self._held, projection.label, self._arithmetic)
        if self._arithmetic.fixed:
            return np.maximum(-(-np.atleast_1d(largest) // LARGEST_INT16), 1)
        scale = np.atleast_1d(largest) / largest.dtype.type(LARGEST_INT16)
        return np.where(scale > 0, scale, scale.dtype.type(1))

    def _weights_of(self, projection: Projection) -> Callable[[NDArray[np.float64]], Array]:
        """From weights (nA) of a projection to the unit of the state arithmetic."""
        to_weights, target, receptor = (
            self._arithmetic.weights,
            projection.target,
            projection.receptor,
        )
        return lambda weights: to_weights(weights, target, receptor)

    def _places(self, population: Population) -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
        """Block of each neuron of a population, and its number there."""
        block = np.empty(population.size, np.int32)
        number = np.empty(population.size, np.uint16)
        for i, b in enumerate(self.blocks):
            for part in b.parts:
                if part.population == population.label:
                    block[part.first : part.last] = i
                    number[part.first : part.last] = part.offset + np.arange(part.size)
        return block, number

    def _find_lines(self) -> list[Line]:
        lines, row, end = [], 0, 0
        for i, pathway in enumerate(self.pathways):
            n_sources = self._network.population(pathway.source).size
            for j, block in enumerate(self.blocks):
                if any(part.population in pathway.projections for part in block.parts):
                    lines.append(Line(i, j, row, end))
                    row += n_sources
                    end += n_sources * self.row_width(pathway)
        self._n_rows, self._n_ends = row, end
        return lines

    def books(self) -> Array:
        """Shape (lines, values): see the class."""
        books = [self._line_book(line) for line in self.lines]
        size = max((len(book) for book in books), default=0)
        table = np.zeros((len(books), max(size, 1)), self._arithmetic.accumulator)
        for row, book in zip(table, books, strict=True):
            row[: len(book)] = book
        return table

    def _line_book(self, line: Line) -> Array:
        # the members of a pathway agree
        return self._book(next(iter(self.pathways[line.pathway].projections.values())))

    # --- memory ---

    @property
    def planned_bytes(self) -> int:
        """Size of all tables, with 16-bit ends."""
        beside = (self.count * self.storage.bits_beside + 7) // 8
        return 2 * self.count + beside + 8 * self._n_rows + 2 * self._n_ends

    @property
    def allocated_bytes(self) -> int:
        """Size of all tables as they are."""
        return sum(array.nbytes for array in self.tables)

    # --- drawing ---

    def draw(self) -> None:
        """Draw the network into the tables."""
        # a row's number of synapses nearly always fits into 16 bits
        begins = self._begins(np.uint16) or self._begins(np.uint32)
        assert begins is not None
        total, row_start, ends = begins
        storage = self.storage
        integers = storage.dtype == np.int16
        numbers = storage.dtype is not None and not integers
        self.tables = SynapseTables(
            np.zeros(total + READ_AHEAD, np.uint16),
            np.zeros((total * storage.code_bits + 7) // 8, np.uint8),
            np.zeros(total if integers else 0, np.int16),
            np.zeros(total, storage.dtype) if numbers else np.zeros(0, np.float32),
            row_start,
            ends,
        )
        self._each_pathway(self._fill)

    def row_width(self, pathway: Pathway) -> int:
        """Ends of a row: one for every delay and value, and the begin of the first."""
        return (pathway.longest - pathway.shortest + 1) * self.storage.values + 1

    def _shape(self, line: Line) -> tuple[int, int]:
        """Rows of a line, and ends per row."""
        pathway = self.pathways[line.pathway]
        return self._network.population(pathway.source).size, self.row_width(pathway)

    def _begins(self, dtype: type[np.integer]) -> tuple[int, Array, Array] | None:
        """All synapses, where rows begin, and where each delay and value begins within its row.

        None if ``dtype`` cannot hold the latter.
        """
        ends: Array = np.zeros(self._n_ends, dtype)

        def count(index: int) -> bool:
            pathway = self.pathways[index]
            _, end_of = self._bases(index)
            place = self._place_rule(pathway)
            for projection, drawn, _ in self._drawn(pathway, numbers=False):
                block_of, _ = self._place[projection.target]
                if not _count(*drawn, place, block_of, end_of, ends):
                    return False
            return True

        if not all(self._each_pathway(count)):
            return None
        row_start = np.empty(self._n_rows, np.int64)
        total = 0
        for line in self.lines:
            n_rows, width = self._shape(line)
            total, largest = _set_starts(
                row_start[line.row : line.row + n_rows],
                ends[line.end : line.end + n_rows * width],
                width,
                -(-total // ALIGNMENT) * ALIGNMENT,
            )
            if largest > np.iinfo(dtype).max:
                return None
        return total, row_start, ends

    def _fill(self, index: int) -> None:
        pathway = self.pathways[index]
        row_of, end_of = self._bases(index)
        place = self._place_rule(pathway)
        for projection, drawn, beside in self._drawn(pathway, numbers=True):
            block_of, number_of = self._place[projection.target]
            _fill(*drawn, beside, place, block_of, number_of, row_of, end_of, self.tables)

    def _place_rule(self, pathway: Pathway) -> tuple[int, int, int]:
        """Ends of a row, shortest delay, and values that are told by place."""
        return self.row_width(pathway), pathway.shortest, self.storage.values

    def _drawn(
        self, pathway: Pathway, numbers: bool
    ) -> Iterator[tuple[Projection, tuple[Array, Array, Array, Array], Array]]:
        """A chunk's projection, its sources, targets, delays and codes, and what stands beside.

        The latter are codes or numbers, and need not be right unless ``numbers``. Always the same
        synapses in the same order.
        """
        for projection in pathway.projections.values():
            total = self._realization.synapse_count(projection.label)
            draw = self._drawing(projection, numbers)
            for start in range(0, total, CHUNK_SIZE):
                if self._interrupted:
                    return
                yield projection, *draw(start, min(start + CHUNK_SIZE, total))

    def _drawing(
        self, projection: Projection, numbers: bool
    ) -> Callable[[int, int], tuple[tuple[Array, Array, Array, Array], Array]]:
        """Draws a range of synapses, as `_drawn` gives them."""
        realization, label = self._realization, projection.label
        coded = self.storage.dtype is None
        encode = self._encoder(projection)
        given = isinstance(projection.weight, np.ndarray) or isinstance(
            projection.delay, np.ndarray
        )

        def draw(start: int, stop: int) -> tuple[tuple[Array, Array, Array, Array], Array]:
            drawn = realization.synapse_range(label, start, stop, weights=numbers or coded)
            beside = encode(drawn.weight, start)
            code = beside if coded else np.zeros(len(drawn), np.uint8)
            return (drawn.source, drawn.target, drawn.delay, code), beside

        if given or (numbers and not coded):
            return draw
        if label not in self._levels:  # the network is drawn twice
            self._levels[label] = (
                realization.weight_levels(
                    label,
                    # codes do not depend on where a weight stands
                    lambda w: encode(w, 0) if coded else np.zeros(len(w), np.int64),
                ),
                realization.delay_levels(label),
            )
        weights, delays = self._levels[label]

        def draw_coded(start: int, stop: int) -> tuple[tuple[Array, Array, Array, Array], Array]:
            source, target, code, delay = realization.coded_range(
                label, start, stop, weights, delays
            )
            return (source, target, delay, code), code

        return draw_coded

    def _encoder(self, projection: Projection) -> Callable[[NDArray[np.float64], int], Array]:
        """From weights (nA) to codes or to numbers, of the type of the table they go to.

        The second argument is the index of the first of them within the projection.
        """
        if self.storage.dtype is None:
            book = self._held.weights(projection.label).code_book()
            assert book is not None
            encode = book.encode
            return lambda weights, start: encode(weights).astype(np.uint8)
        held = self._held.weights(projection.label)
        number, dtype = self._weights_of(projection), self.storage.dtype
        if dtype != np.int16:
            return lambda weights, start: number(held(weights, start)).astype(dtype)
        scale = self._book(projection)[0]
        return lambda weights, start: np.rint(number(held(weights, start)) / scale).astype(np.int16)

    def _each_pathway(self, work: Callable[[int], Any]) -> list[Any]:
        """``work`` on every pathway, in as many threads as the simulation has.

        Pathways write to different rows, and each is drawn in order, so the result is always the
        same.
        """
        sizes = [
            sum(self._realization.synapse_count(p.label) for p in pathway.projections.values())
            for pathway in self.pathways
        ]
        largest_first = np.argsort(sizes, kind="stable")[::-1].tolist()
        with ThreadPoolExecutor(self.n_threads) as pool:
            try:
                return list(pool.map(work, largest_first))
            except BaseException:
                self._interrupted = True
                raise

    def _bases(self, pathway: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Per block, where the rows and the ends of the pathway's line begin."""
        row_of = np.full(len(self.blocks), -1)
        end_of = np.full(len(self.blocks), -1)
        for line in self.lines:
            if line.pathway == pathway:
                row_of[line.block] = line.row
                end_of[line.block] = line.end
        return row_of, end_of

    # --- reading back ---

    def connections(self, projection: str) -> Synapses:
        """Synapses as the tables hold them, weights in nA, sorted."""
        found = [Synapses.concatenate([])]
        for line in self.lines:
            described = self.pathways[line.pathway].projections
            target = next((t for t, p in described.items() if p.label == projection), None)
            if target is not None:
                found.append(self._line_synapses(line, target))
        return Synapses.concatenate(found).sorted()

    def _line_synapses(self, line: Line, population: str) -> Synapses:
        """A line's synapses onto one population."""
        pathway, tables, values = self.pathways[line.pathway], self.tables, self.storage.values
        n_rows, width = self._shape(line)
        ends = tables.ends[line.end : line.end + n_rows * width].reshape(n_rows, width)
        counts: Array = np.diff(ends.astype(np.int64), axis=1)
        starts = tables.row_start[line.row : line.row + n_rows]
        per_row = counts.sum(axis=1)
        source = np.repeat(np.arange(n_rows, dtype=np.int32), per_row)
        within = np.arange(len(source)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
        position = np.repeat(starts, per_row) + within
        place = np.repeat(np.tile(np.arange(width - 1), n_rows), counts.ravel())
        delay = (place // values + pathway.shortest).astype(np.int32)
        receptor: Receptor = "inhibitory" if pathway.inhibitory else "excitatory"
        held = self._weights(line, position, place % values)
        weight = self._arithmetic.nanoampere(held, population, receptor)
        number = tables.targets[position].astype(np.int64)
        chosen = []
        for part in self.blocks[line.block].parts:
            if part.population == population:
                inside = (number >= part.offset) & (number < part.offset + part.size)
                target = (number[inside] - part.offset + part.first).astype(np.int32)
                chosen.append(Synapses(source[inside], target, weight[inside], delay[inside]))
        return Synapses.concatenate(chosen)

    def _weights(self, line: Line, position: NDArray[np.int64], value: NDArray[np.int64]) -> Array:
        """Weights at positions of a line, in the unit of the state arithmetic."""
        storage, tables = self.storage, self.tables
        book = self._line_book(line)
        if storage.dtype == np.int16:
            return tables.integers[position] * book[0]
        if storage.dtype is not None:
            return tables.numbers[position]
        if storage.code_bits == 8:
            return book[tables.codes[position]]
        if storage.code_bits == 4:
            return book[tables.codes[position >> 1] >> ((position & 1) * 4) & 15]
        return book[value]


@njit(cache=True, nogil=True, inline="always")
def _at(source, delay, code, place):
    """Which end of its line a synapse belongs to."""
    width, shortest, values = place
    value = np.int64(code) if values > 1 else 0
    return np.int64(source) * width + (np.int64(delay) - shortest) * values + value + 1


@njit(cache=True, nogil=True)
def _count(source, target, delay, code, place, block_of, end_of, ends):
    """Count synapses per row and place; False if a count overflows."""
    for k in range(len(source)):
        at = end_of[block_of[target[k]]] + _at(source[k], delay[k], code[k], place)
        ends[at] += 1
        if ends[at] == 0:
            return False
    return True


@njit(cache=True, nogil=True)
def _set_starts(row_start, ends, width, total):
    """Turn counts into begins, the first row at ``total``.

    Returns where the last row ends, and the largest number of synapses in a row.
    """
    largest = 0
    for row in range(len(row_start)):
        row_start[row] = total
        position = 0
        for j in range(row * width + 1, (row + 1) * width):
            count = np.int64(ends[j])
            ends[j] = position
            position += count
        total += position
        largest = max(largest, position)
    return total, largest


@njit(cache=True, nogil=True)
def _fill(source, target, delay, code, beside, place, block_of, number_of, row_of, end_of, tables):
    """Put synapses in place; begins become ends."""
    for k in range(len(source)):
        block = block_of[target[k]]
        at = end_of[block] + _at(source[k], delay[k], code[k], place)
        position = tables.row_start[row_of[block] + source[k]] + np.int64(tables.ends[at])
        tables.ends[at] += 1
        tables.targets[position] = number_of[target[k]]
        if len(tables.integers):
            tables.integers[position] = beside[k]
        elif len(tables.numbers):
            tables.numbers[position] = beside[k]
        elif len(tables.codes) + READ_AHEAD == len(tables.targets):
            tables.codes[position] = beside[k]
        elif len(tables.codes):
            tables.codes[position >> 1] |= np.int64(beside[k]) << ((position & 1) * 4)
