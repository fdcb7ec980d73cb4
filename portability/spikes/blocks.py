"""Spikes to and from Neo blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pynn_portability.errors import RequestError
from pynn_portability.spikes.data import PopulationSpikes, SpikeData, whole_steps

if TYPE_CHECKING:
    import neo


def to_neo(spikes: SpikeData) -> neo.Block:
    """A block of one segment with one spike train per neuron, silent neurons included.

    Times run from 0 to ``n_steps * timestep`` ms. Each train is annotated as PyNN annotates it:
    the label of its population as ``source_population``, the neuron's number as ``source_index``.
    """
    import neo  # noqa: PLC0415

    segment = neo.Segment()
    t_stop = spikes.n_steps * spikes.timestep
    for label, population in spikes.populations.items():
        order = np.argsort(population.neurons, kind="stable")
        times = population.steps[order] * spikes.timestep
        ends = np.cumsum(np.bincount(population.neurons, minlength=population.size))
        for index, train in enumerate(np.split(times, ends[:-1])):
            segment.spiketrains.append(
                neo.SpikeTrain(
                    train,
                    units="ms",
                    t_start=0.0,
                    t_stop=t_stop,
                    source_population=label,
                    source_index=index,
                )
            )
    block = neo.Block()
    block.segments.append(segment)
    return block


def from_neo(block: neo.Block, timestep: float) -> SpikeData:
    """Spikes of a block with one segment, as ``to_neo`` makes it or PyNN's ``get_data`` returns it.

    A population is as large as its largest ``source_index`` says; ``n_steps`` is the latest
    ``t_stop``.

    Raises ``RequestError`` when there is not exactly one segment, an annotation is missing, or a
    spike time is not a multiple of ``timestep`` (ms).
    """
    if len(block.segments) != 1:
        raise RequestError(
            f"The Neo block has {len(block.segments)} segments where exactly one is allowed."
        )
    collected: dict[str, list[tuple[int, NDArray[np.int64]]]] = {}
    n_steps = 0
    for train in block.segments[0].spiketrains:
        try:
            label = str(train.annotations["source_population"])
            index = int(train.annotations["source_index"])
        except KeyError as error:
            raise RequestError(
                f"A spike train of the Neo block has no annotation {error}; "
                "'source_population' and 'source_index' are needed."
            ) from None
        try:
            steps = whole_steps(train.rescale("ms").magnitude, timestep)
        except ValueError as error:
            raise RequestError(f"The spikes of the Neo block cannot be used: {error}.") from None
        collected.setdefault(label, []).append((index, steps))
        n_steps = max(n_steps, round(float(train.t_stop.rescale("ms")) / timestep))
    populations = {
        label: PopulationSpikes.from_unsorted(
            max(index for index, _ in trains) + 1,
            np.concatenate([steps for _, steps in trains]),
            np.concatenate([np.full(steps.size, index) for index, steps in trains]),
        )
        for label, trains in collected.items()
    }
    return SpikeData(timestep, n_steps, populations)
