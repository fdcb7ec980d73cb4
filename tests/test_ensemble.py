"""Statistics of stored runs: computed once, kept beside the spikes, and never believed blindly."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from pynn_portability.errors import RequestError
from pynn_portability.judge import ensemble
from pynn_portability.judge.adequacy import QUARTER, gather
from pynn_portability.judge.ensemble import Excerpt, Recording
from pynn_portability.judge.null_model import part, rate_matched_noise
from pynn_portability.judge.statistics import STATISTICS, Statistics, statistics
from pynn_portability.spikes.data import PopulationSpikes, SpikeData
from pynn_portability.spikes.sonata import read_extent, write_sonata

STEP, WARMUP, DURATION = 0.1, 100.0, 2000.0
N_STEPS = round((WARMUP + DURATION) / STEP)
WHOLE = Excerpt(WARMUP)
EXCERPTS = (WHOLE, Excerpt(WARMUP, 0.0, 0.5), Excerpt(WARMUP, 0.75, 1.0), Excerpt(WARMUP, noise=3))


def run(seed: int) -> SpikeData:
    """Poisson spikes of two populations, one of which has a name that no file could have."""
    rng = np.random.default_rng(seed)
    populations = {}
    for label, size in (("a", 12), ("b/../ %", 5)):
        neurons = np.repeat(np.arange(size), rng.poisson(20, size))
        steps = rng.integers(1, N_STEPS + 1, neurons.size)
        populations[label] = PopulationSpikes.from_unsorted(size, steps, neurons)
    return SpikeData(STEP, N_STEPS, populations)


def assert_equal(found: Statistics, expected: Statistics) -> None:
    """To the last bit."""
    assert list(found) == list(expected)
    for population, samples in expected.items():
        assert list(found[population]) == list(samples) == list(STATISTICS)
        for statistic, sample in samples.items():
            got = found[population][statistic]
            assert (got.dtype, got.shape) == (sample.dtype, sample.shape)
            assert got.tobytes() == sample.tobytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spikes.h5"
    write_sonata(path, run(1))
    return path


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Excerpt]:
    """Every computation of statistics from spikes, as it happens."""
    calls: list[Excerpt] = []
    compute = Excerpt.of

    def counted(self: Excerpt, spikes: SpikeData) -> Statistics:
        calls.append(self)
        return compute(self, spikes)

    monkeypatch.setattr(Excerpt, "of", counted)
    return calls


def kept(file: Path) -> list[Path]:
    return sorted(file.parent.glob("spikes-statistics-*.npz"))


def test_what_is_kept_is_what_was_computed(file: Path, computed: list[Excerpt]) -> None:
    expected = [
        statistics(run(1), WARMUP),
        statistics(part(run(1), WARMUP, 0.0, 0.5), WARMUP),
        statistics(part(run(1), WARMUP, 0.75, 1.0), WARMUP),
        statistics(rate_matched_noise(run(1), WARMUP, 3), WARMUP),
    ]
    first = Recording(file).all_statistics(EXCERPTS)
    assert computed == list(EXCERPTS)
    again = [Recording(file).statistics(excerpt) for excerpt in EXCERPTS]
    assert computed == list(EXCERPTS)  # nothing more
    for found in (first, again):
        for sample, right in zip(found, expected, strict=True):
            assert_equal(sample, right)
    assert len(kept(file)) == len(EXCERPTS)


def test_what_is_kept_needs_no_spikes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Recording(file).statistics(WHOLE)
    monkeypatch.setattr(ensemble, "read_sonata", lambda path: 1 / 0)
    assert_equal(Recording(file).statistics(WHOLE), expected)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "folder"])
def test_damaged_files_are_computed_anew(file: Path, computed: list[Excerpt], damage: str) -> None:
    expected = Recording(file).statistics(WHOLE)
    (cache,) = kept(file)
    content = cache.read_bytes()
    if damage == "folder":
        cache.unlink()
        cache.mkdir()
    else:
        middle = len(content) // 2
        cache.write_bytes(
            {
                "cut": content[:middle],
                "flipped": content[:middle]
                + bytes([content[middle] ^ 255])
                + content[middle + 1 :],
                "empty": b"",
                "text": b"not an archive",
            }[damage]
        )
    assert_equal(Recording(file).statistics(WHOLE), expected)
    assert computed == [WHOLE] * 2
    if damage != "folder":
        assert_equal(Recording(file).statistics(WHOLE), expected)
        assert computed == [WHOLE] * 2  # mended


def test_altered_values_do_not_pass_the_checksum(file: Path, computed: list[Excerpt]) -> None:
    expected = Recording(file).statistics(WHOLE)
    (cache,) = kept(file)
    with np.load(cache) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["0 rate"] = arrays["0 rate"] + 1.0
    np.savez_compressed(cache, **arrays)
    assert_equal(Recording(file).statistics(WHOLE), expected)
    assert computed == [WHOLE] * 2


def test_files_of_other_spikes_are_foreign(file: Path, tmp_path: Path) -> None:
    """Copied from another run, or left from before the spikes changed."""
    Recording(file).statistics(WHOLE)
    other = tmp_path / "other" / "spikes.h5"
    other.parent.mkdir()
    write_sonata(other, run(2))
    (cache,) = kept(file)
    (other.parent / cache.name).write_bytes(cache.read_bytes())
    assert_equal(Recording(other).statistics(WHOLE), statistics(run(2), WARMUP))
    write_sonata(file, run(3))
    assert_equal(Recording(file).statistics(WHOLE), statistics(run(3), WARMUP))


def test_files_of_other_excerpts_are_foreign(file: Path) -> None:
    first, second = (Recording(file).statistics(excerpt) for excerpt in EXCERPTS[:2])
    one, two = kept(file)
    swapped = one.read_bytes(), two.read_bytes()
    two.write_bytes(swapped[0])
    one.write_bytes(swapped[1])
    assert_equal(Recording(file).statistics(EXCERPTS[0]), first)
    assert_equal(Recording(file).statistics(EXCERPTS[1]), second)


def test_older_definitions_are_computed_anew(
    file: Path, computed: list[Excerpt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble, "definition", lambda: "an older one")
    Recording(file).statistics(WHOLE)
    monkeypatch.undo()
    assert_equal(Recording(file).statistics(WHOLE), statistics(run(1), WARMUP))
    (cache,) = kept(file)
    with np.load(cache, allow_pickle=False) as archive:
        assert ensemble.definition().encode() in archive["content"].tobytes()


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only file system")

    # permissions do not keep the superuser from writing
    monkeypatch.setattr(Path, "open", refuse)
    expected = statistics(run(1), WARMUP)
    recording = Recording(file)
    monkeypatch.setattr(ensemble, "file_hash", lambda path: "hash")
    assert_equal(recording.statistics(WHOLE), expected)
    assert kept(file) == []
    assert [path.name for path in file.parent.iterdir()] == ["spikes.h5"]


class Program:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("inside", ["archive", "file"])
def test_no_pickle_is_ever_loaded(file: Path, tmp_path: Path, inside: str) -> None:
    expected = Recording(file).statistics(WHOLE)
    (cache,) = kept(file)
    trap = tmp_path / "caught"
    if inside == "file":
        cache.write_bytes(pickle.dumps(Program(trap)))
    else:
        with np.load(cache) as archive:
            arrays = {name: archive[name] for name in archive.files}
        poison = np.array([Program(trap)], dtype=object)
        np.savez(cache, **(arrays | {"0 rate": poison}), allow_pickle=True)
    assert_equal(Recording(file).statistics(WHOLE), expected)
    assert not trap.exists()


def test_the_extent_is_read_without_spikes(file: Path, tmp_path: Path) -> None:
    assert Recording(file).extent == read_extent(file) == (N_STEPS, STEP)
    (tmp_path / "text.h5").write_text("no spikes")
    for recording in (Recording(tmp_path / "text.h5"), Recording(tmp_path / "missing.h5")):
        with pytest.raises(RequestError, match=recording.file.name):
            _ = recording.extent
        with pytest.raises(RequestError, match=recording.file.name):
            recording.statistics(WHOLE)


def test_evidence_is_made_of_excerpts(tmp_path: Path, computed: list[Excerpt]) -> None:
    recordings = {}
    for seed in (4, 2):
        file = tmp_path / str(seed) / "spikes.h5"
        file.parent.mkdir()
        write_sonata(file, run(seed))
        recordings[seed] = Recording(file)
    found = gather("runs", recordings, WARMUP, DURATION, noise=True, last=True, origin={"a": 1})
    assert found.whole.origin == {"a": 1}
    assert list(found.parts) == [0.25, 0.5, 1.0]  # an eighth is too short
    assert list(found.noise) == [0.25, 1.0]
    assert found.last is not None
    for seed, right in ((seed, run(seed)) for seed in recordings):
        assert_equal(found.whole.runs[seed], statistics(right, WARMUP))
        quarter = part(right, WARMUP, 0.0, QUARTER)
        assert_equal(found.parts[QUARTER].runs[seed], statistics(quarter, WARMUP))
        noise = rate_matched_noise(right, WARMUP, seed)
        assert_equal(found.noise[1.0].runs[seed], statistics(noise, WARMUP))
        last = part(right, WARMUP, 1.0 - QUARTER, 1.0)
        assert_equal(found.last.runs[seed], statistics(last, WARMUP))
    assert found.whole.seeds == [2, 4]
    assert found.whole.populations == ["a", "b/../ %"]
    before = len(computed)
    plain = gather("runs", recordings, WARMUP, DURATION)
    assert (list(plain.noise), plain.last, len(computed)) == ([], None, before)


def test_evidence_without_a_run_is_empty() -> None:
    found = gather("nothing", {}, WARMUP, DURATION, noise=True, last=True)
    assert (found.noise, found.last) == ({}, None)
    assert (found.whole.seeds, found.whole.populations) == ([], [])
