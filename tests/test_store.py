"""The run store: found by content, whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynn_portability.errors import RequestError
from pynn_portability.run import store as store_module
from pynn_portability.run.record import RunRecord
from pynn_portability.run.store import Store, run_key
from pynn_portability.spikes.data import PopulationSpikes, SpikeData
from pynn_portability.spikes.sonata import read_sonata

REQUEST = {
    "network": "f00d",
    "seed": 1,
    "format": "double",
    "timestep": 0.1,
    "n_steps": 100,
    "backend": "nest",
    "options": {"threads": 1},
    "threads": 1,
}
ENVIRONMENT = {"sources": "abc", "versions": {"numpy": "2.0"}}


def spikes(seed: int = 0) -> SpikeData:
    rng = np.random.default_rng(seed)
    population = PopulationSpikes.from_unsorted(5, rng.integers(1, 101, 40), rng.integers(0, 5, 40))
    return SpikeData(0.1, 100, {"E": population})


def record(key: str, **changes: Any) -> RunRecord:
    cost = {
        "build_seconds": 1.0,
        "simulate_seconds": 2.0,
        "realtime_factor": 20.0,
        "peak_rss_bytes": 10**8,
        "bytes_per_synapse": None,
        "bytes_per_synapse_allocated": 6.0,
        "threads": 1,
    }
    content = {
        "key": key,
        "schema": "portability-run/1",
        "request": REQUEST,
        "environment": ENVIRONMENT,
        "model": {"build": "model.py:build", "parameters": {"size": 5}},
        "created": "2024-01-01T00:00:00.000+00:00",
        "host": {"name": "h", "platform": "Linux", "python": "3.11", "cpu": "a", "cores": 2},
        "synapses": 7,
        "cost": cost,
        **changes,
    }
    return RunRecord.model_validate(content)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "out")
    with made.locked():
        pass
    return made


def test_key_depends_on_everything_that_determines_the_result() -> None:
    keys = {run_key(REQUEST, ENVIRONMENT)}
    for name in REQUEST:
        keys.add(run_key(REQUEST | {name: "changed"}, ENVIRONMENT))
    keys.add(run_key(REQUEST, ENVIRONMENT | {"sources": "abd"}))
    keys.add(run_key(REQUEST, ENVIRONMENT | {"versions": {"numpy": "2.1"}}))
    keys.add(run_key(REQUEST | {"options": {"threads": 2}}, ENVIRONMENT))
    assert len(keys) == 1 + len(REQUEST) + 3


def test_key_does_not_depend_on_the_order_of_its_ingredients() -> None:
    backwards = dict(reversed(list(REQUEST.items())))
    assert run_key(backwards, ENVIRONMENT) == run_key(REQUEST, ENVIRONMENT)


def test_a_run_comes_back_as_it_went_in(store: Store) -> None:
    assert store.find("k1") is None
    added = store.add(record("k1"), spikes(3))
    assert store.find("k1") == added
    file = store.runs / "k1" / "run.json"
    assert json.loads(file.read_text()) == added.model_dump(by_alias=True)
    assert added.intact
    back, original = (
        read_sonata(store.spikes_file("k1")).populations["E"],
        spikes(3).populations["E"],
    )
    np.testing.assert_array_equal(back.steps, original.steps)
    np.testing.assert_array_equal(back.neurons, original.neurons)
    assert sorted(p.name for p in store.runs.iterdir()) == ["k1"]


def test_damaged_runs_are_not_found_and_can_be_replaced(store: Store) -> None:
    store.add(record("k1"), spikes(1))
    file = store.runs / "k1" / "spikes.h5"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert store.find("k1") is None
    store.add(record("k1"), spikes(2))
    assert store.find("k1") is not None
    np.testing.assert_array_equal(
        read_sonata(store.spikes_file("k1")).populations["E"].steps,
        spikes(2).populations["E"].steps,
    )
    for damage in ("", "[]", '{"key": "k1"}', "{"):
        (store.runs / "k1" / "run.json").write_text(damage)
        assert store.find("k1") is None


def test_a_run_under_another_key_is_not_found(store: Store) -> None:
    store.add(record("k1"), spikes())
    (store.runs / "k1").rename(store.runs / "k2")
    assert store.find("k2") is None


def test_newest_run_of_a_request_whatever_its_software(store: Store) -> None:
    store.add(record("old"), spikes(1))
    newer = record("new", created="2024-06-01", environment={"sources": "", "versions": {}})
    store.add(newer, spikes(2))
    other = record("other", created="2025-01-01", request=REQUEST | {"seed": 2})
    store.add(other, spikes(3))
    newest = store.newest(REQUEST)
    assert newest is not None
    assert newest.key == "new"
    (store.runs / "new" / "spikes.h5").unlink()
    newest = store.newest(REQUEST)
    assert newest is not None
    assert newest.key == "old"
    assert store.newest(REQUEST | {"seed": 3}) is None


def test_records_are_read_once_however_many_are_looked_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5):
        store.add(record(f"k{seed}", request=REQUEST | {"seed": seed}), spikes(seed))
    other = Store(store.folder)
    assert other.newest(REQUEST | {"seed": 0}) is not None
    monkeypatch.setattr(Path, "glob", lambda *_: pytest.fail("the store is read again"))
    for seed in range(5):
        newest = other.newest(REQUEST | {"seed": seed})
        assert newest is not None and newest.key == f"k{seed}"
    # its own runs, and those of workers that it has found
    other.add(record("own", request=REQUEST | {"seed": 8}), spikes())
    store.add(record("theirs", request=REQUEST | {"seed": 9}), spikes())
    assert other.newest(REQUEST | {"seed": 9}) is None
    assert other.find("theirs") is not None
    for seed, key in ((8, "own"), (9, "theirs")):
        newest = other.newest(REQUEST | {"seed": seed})
        assert newest is not None and newest.key == key


def test_damage_after_reading_is_noticed(store: Store) -> None:
    store.add(record("k1"), spikes())
    assert store.newest(REQUEST) is not None
    (store.runs / "k1" / "run.json").write_text("{")
    assert store.newest(REQUEST) is None


def test_cached_statistics_live_and_go_with_their_run(store: Store) -> None:
    added = store.add(record("k1"), spikes(1))
    cached = store.runs / "k1" / "spikes-statistics-0123456789ab.npz"
    cached.write_bytes(b"whatever")
    assert store.find("k1") == added
    assert store.newest(REQUEST) == added
    (store.runs / "k1" / "run.json").write_text("damaged")
    store.add(record("k1"), spikes(2))
    assert sorted(p.name for p in (store.runs / "k1").iterdir()) == ["run.json", "spikes.h5"]


@pytest.mark.parametrize("stage", ["write_sonata", "file_hash"])
def test_a_failure_on_the_way_leaves_nothing(
    store: Store, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store_module, stage, fail)
    with pytest.raises(OSError, match="disk full"):
        store.add(record("k1"), spikes())
    assert list(store.runs.iterdir()) == []


def test_values_that_json_does_not_have_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="JSON"):
        store.add(record("k1", request=REQUEST | {"timestep": float("nan")}), spikes())
    assert list(store.runs.iterdir()) == []


def test_the_lock_clears_what_a_crash_left_behind(store: Store) -> None:
    store.add(record("k1"), spikes())
    scratch = store.make_scratch("k2")
    (scratch / "half.h5").write_bytes(b"half")
    with store.locked():
        assert [p.name for p in store.runs.iterdir()] == ["k1"]
    assert store.find("k1") is not None


# not the repository's folder, which would shadow the installed package
HERE = Path(__file__).parent


def test_only_one_process_at_a_time(store: Store) -> None:
    code = (
        "import sys; from pathlib import Path; from pynn_portability.run.store import Store\n"
        "with Store(Path(sys.argv[1])).locked(): pass"
    )
    other = [sys.executable, "-c", code, str(store.folder)]
    with store.locked():
        refused = subprocess.run(other, capture_output=True, text=True, check=False, cwd=HERE)
    assert refused.returncode != 0
    assert "another portability process" in refused.stderr
    assert subprocess.run(other, check=False, cwd=HERE).returncode == 0


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be written"), Store(tmp_path / "file").locked():
        pass
