"""Spikes survive the way to disk and to Neo and back, step by step."""

from collections.abc import Callable
from pathlib import Path

import h5py
import neo
import numpy as np
import pytest

from pynn_portability.errors import RequestError
from pynn_portability.spikes.blocks import from_neo, to_neo
from pynn_portability.spikes.data import PopulationSpikes, SpikeData
from pynn_portability.spikes.sonata import read_sonata, write_sonata

Damage = Callable[[Path], None]


def spike_data(timestep: float = 0.1, n_steps: int = 9_000_000, seed: int = 3) -> SpikeData:
    """Three populations in an order that is not alphabetical, one of them silent."""
    rng = np.random.default_rng(seed)
    populations = {"silent": PopulationSpikes.from_unsorted(4, np.empty(0), np.empty(0))}
    for label, size in (("L4E", 70), ("L23/E 100%", 11)):
        n = 50 * size
        populations[label] = PopulationSpikes.from_unsorted(
            size, rng.integers(1, n_steps + 1, n), rng.integers(0, size, n)
        )
    return SpikeData(timestep, n_steps, populations)


def assert_equal(a: SpikeData, b: SpikeData) -> None:
    assert (a.timestep, a.n_steps, list(a.populations)) == (
        b.timestep,
        b.n_steps,
        list(b.populations),
    )
    for label, expected in b.populations.items():
        found = a.populations[label]
        assert found.size == expected.size
        assert (found.steps.dtype, found.neurons.dtype) == (np.int64, np.int32)
        np.testing.assert_array_equal(found.steps, expected.steps)
        np.testing.assert_array_equal(found.neurons, expected.neurons)


@pytest.mark.parametrize("timestep", [0.1, 0.025, 1 / 3, 1.0])
def test_sonata_round_trip_is_exact(tmp_path: Path, timestep: float) -> None:
    spikes = spike_data(timestep)
    write_sonata(tmp_path / "spikes.h5", spikes)
    assert_equal(read_sonata(tmp_path / "spikes.h5"), spikes)


@pytest.mark.parametrize("label", [".", "..", ".hidden", "a/b", "50%", "%2F", "L2/3 µ"])
def test_any_label_survives(tmp_path: Path, label: str) -> None:
    population = PopulationSpikes.from_unsorted(2, np.array([5]), np.array([1]))
    spikes = SpikeData(0.1, 10, {label: population})
    write_sonata(tmp_path / "spikes.h5", spikes)
    assert_equal(read_sonata(tmp_path / "spikes.h5"), spikes)


def test_layout_is_that_of_sonata(tmp_path: Path) -> None:
    spikes = spike_data()
    write_sonata(tmp_path / "spikes.h5", spikes)
    with h5py.File(tmp_path / "spikes.h5") as file:
        assert file.attrs["magic"] == 0x0A7A
        assert file.attrs["magic"].dtype == file.attrs["version"].dtype == np.uint32
        assert file.attrs["version"].shape == (2,)
        group = file["spikes/L4E"]
        kind = group.attrs.get_id("sorting").dtype
        assert h5py.check_enum_dtype(kind) == {"none": 0, "by_id": 1, "by_time": 2}
        assert group.attrs["sorting"] == 2
        times, nodes = group["timestamps"], group["node_ids"]
        assert (times.dtype, nodes.dtype) == (np.float64, np.uint64)
        assert times.attrs["units"] == "ms"
        assert (np.diff(times[()]) >= 0).all()
        np.testing.assert_allclose(times[()], spikes.populations["L4E"].steps * 0.1)


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "spikes.h5"
    write_sonata(path, spike_data())
    before = path.read_bytes()
    broken = PopulationSpikes(1, np.array([1]), np.array([[object()]]))
    with pytest.raises(TypeError):
        write_sonata(path, SpikeData(0.1, 10, {**spike_data().populations, "broken": broken}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def _text(path: Path) -> None:
    path.write_text("no spikes here")


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _edit(change: Callable[[h5py.File], None]) -> Damage:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return damage


def _without(*names: str) -> Damage:
    def change(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return _edit(change)


def _nodes_out_of_range(file: h5py.File) -> None:
    file["spikes/L4E"].attrs["size"] = 69  # of 70


def _off_grid(file: h5py.File) -> None:
    file["spikes/L4E/timestamps"][7] += 0.04


def _nan(file: h5py.File) -> None:
    file["spikes/L4E/timestamps"][7] = np.nan


def _zero_timestep(file: h5py.File) -> None:
    file["spikes"].attrs["timestep"] = 0.0


def _foreign(file: h5py.File) -> None:
    for name in ("timestep", "n_steps"):
        del file["spikes"].attrs[name]


def _no_magic(file: h5py.File) -> None:
    del file.attrs["magic"]


def _fewer_nodes(file: h5py.File) -> None:
    nodes = file["spikes/L4E/node_ids"][:-1]
    del file["spikes/L4E/node_ids"]
    file["spikes/L4E"]["node_ids"] = nodes


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (Path.unlink, "does not exist"),
        (_text, "signature"),
        (_half, "truncated"),
        (_without("spikes"), "spikes"),
        (_without("spikes/L4E/timestamps"), "timestamps"),
        (_edit(_nodes_out_of_range), "node_ids beyond its 69 neurons"),
        (_edit(_off_grid), "grid of 0.1 ms"),
        (_edit(_nan), "grid of 0.1 ms"),
        (_edit(_zero_timestep), "timestep must be positive"),
        (_edit(_foreign), "timestep"),
        (_edit(_no_magic), "magic"),
        (_edit(_fewer_nodes), "3500 timestamps for 3499 node_ids"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(
    tmp_path: Path, damage: Damage, named: str
) -> None:
    path = tmp_path / "spikes.h5"
    write_sonata(path, spike_data())
    damage(path)
    with pytest.raises(RequestError) as caught:
        read_sonata(path)
    message = str(caught.value)
    assert str(path) in message
    assert named in message
    assert "\n" not in message
    assert message.endswith(".")


def test_neo_round_trip_is_exact() -> None:
    spikes = spike_data(n_steps=20_000)
    block = to_neo(spikes)
    assert len(block.segments[0].spiketrains) == 4 + 70 + 11
    train = block.segments[0].spiketrains[4 + 5]
    assert train.annotations == {"source_population": "L4E", "source_index": 5}
    assert (float(train.t_start.rescale("ms")), float(train.t_stop.rescale("ms"))) == (0, 2000)
    population = spikes.populations["L4E"]
    np.testing.assert_array_equal(
        train.rescale("ms").magnitude, population.steps[population.neurons == 5] * 0.1
    )
    assert_equal(from_neo(block, 0.1), spikes)


def test_multiplexed_trains_as_pynn_makes_them() -> None:
    block, segment = neo.Block(), neo.Segment()
    block.segments.append(segment)
    segment.spiketrains = neo.spiketrainlist.SpikeTrainList.from_spike_time_array(
        np.array([0.3, 0.1, 0.3]),
        np.array([11, 12, 10]),
        np.array([10, 11, 12]),
        units="ms",
        t_stop=0.5,
        source_population="E",
        source_index=np.array([0, 1, 2]),
    )
    population = PopulationSpikes.from_unsorted(3, np.array([3, 1, 3]), np.array([1, 2, 0]))
    assert_equal(from_neo(block, 0.1), SpikeData(0.1, 5, {"E": population}))


def test_neo_that_cannot_be_used() -> None:
    spikes = spike_data(n_steps=2000)
    with pytest.raises(RequestError, match=r"grid of 0\.3 ms"):
        from_neo(to_neo(spikes), 0.3)
    block = to_neo(spikes)
    del block.segments[0].spiketrains[0].annotations["source_index"]
    with pytest.raises(RequestError, match="no annotation 'source_index'"):
        from_neo(block, 0.1)
    with pytest.raises(RequestError, match="0 segments"):
        from_neo(neo.Block(), 0.1)
