"""Files of the harness that are damaged, and folders of results that come from a stranger.

Damage is missing, never a traceback and never silently another content; what a link points to is neither
read nor written.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from report_example import example
from test_run import job
from test_store import REQUEST, record, spikes

from pynn_portability.errors import RequestError
from pynn_portability.files import own_folder, read_regular, replacing, sealed, unsealed
from pynn_portability.judge.ensemble import Excerpt, Recording
from pynn_portability.model.network import Network, Population
from pynn_portability.probe import selftest
from pynn_portability.results.assembling import deployment_sheet
from pynn_portability.results.schema import StudyResults
from pynn_portability.run import networks
from pynn_portability.run.events import ignore
from pynn_portability.run.local import LocalExecutor
from pynn_portability.run.store import Store
from pynn_portability.spikes.sonata import read_extent, read_sizes, read_sonata, write_sonata

DAMAGED = 150
"""Copies of each kind of file that are damaged, most by one bit, some by their end."""
KEY = "0123456789abcdef01234567"
EXCERPT = Excerpt(1.0)


def damages(content: bytes) -> Iterator[bytes]:
    """Copies with one bit flipped, or with the end missing."""
    rng = np.random.default_rng(20)
    for place in rng.integers(0, 8 * len(content), DAMAGED - 30):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << (place % 8)
        yield bytes(damaged)
    for length in (0, 1, *rng.integers(0, len(content), 28)):
        yield content[:length]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one run."""
    made = Store(tmp_path / "out")
    with made.locked():
        made.add(record(KEY), spikes(1))
    return made


MODEL = {"build": "model.py:build", "parameters": {"size": 5}}
STUDY: Any = SimpleNamespace(model=SimpleNamespace(**MODEL, reference=MODEL["build"]))
PLAN: Any = SimpleNamespace(
    tasks=[SimpleNamespace(request=REQUEST, run=SimpleNamespace(role="reference"))]
)
FINDING = selftest.Finding("jitter", "ms", False, (0.1, 0.2), 0.2, ("rate in E",))
NETWORK = Network(
    (Population("E", 5, "IF_curr_exp", {"tau_m": np.linspace(10.0, 20.0, 5)}, recorded=True),), ()
)


def _statistics(store: Store) -> Any:
    found = Recording(store.spikes_file(KEY)).statistics(EXCERPT)
    return {p: {s: values.tolist() for s, values in by.items()} for p, by in found.items()}


def _results(store: Store) -> Any:
    return StudyResults.read(store.folder / "results.json")


def _network(store: Store) -> Any:
    return networks.find(store.folder, NETWORK.fingerprint()).fingerprint()


KINDS: dict[str, tuple[str, Callable[[Store], Any], Any]] = {
    "run": (f"runs/{KEY}/run.json", lambda store: store.find(KEY), None),
    "index": (f"runs/{KEY}/run.json", lambda store: Store(store.folder).newest(REQUEST), None),
    "spikes": (f"runs/{KEY}/spikes.h5", lambda store: store.find(KEY), None),
    "statistics": ("statistics", _statistics, None),
    "selftest": ("selftest.json", lambda store: selftest.read(PLAN, store), []),
    "deployment": ("deployment.json", lambda store: deployment_sheet(store.folder, STUDY), None),
    "results": ("results.json", _results, None),
    "network": (f"networks/{NETWORK.fingerprint()}.npz", _network, None),
}
"""File, what reads it, and what stands for it where it is missing (a RequestError does as well)."""


def prepare(store: Store, name: str) -> Path:
    """Have the harness write everything that it reads back; returns the file of this name."""
    selftest.write([FINDING], PLAN, store)
    sheet = {"model": MODEL, "machine": {"cores": 17, "µ": "ü"}, "findings": []}
    (store.folder / "deployment.json").write_text(sealed(sheet), encoding="utf-8")
    results = StudyResults.model_validate(example((("brian2", "double"),), (), sizes={"E": 20})[0])
    (store.folder / "results.json").write_text(results.to_json(), encoding="utf-8")
    networks.keep(NETWORK, store.folder)
    _statistics(store)
    if name == "statistics":
        (file,) = (store.runs / KEY).glob("spikes-statistics-*.npz")
        return file
    return store.folder / name


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_missing_and_never_another_content(store: Store, kind: str) -> None:
    name, read, nothing = KINDS[kind]
    file = prepare(store, name)
    whole, missed = read(store), 0
    assert whole
    for damaged in damages(file.read_bytes()):
        file.write_bytes(damaged)
        try:
            found = read(store)
        except RequestError as error:
            assert str(file) in str(error)
            found = nothing
        assert found in (whole, nothing)
        missed += found == nothing
    if kind == "statistics":  # computed again
        assert missed == 0
    else:
        assert missed > DAMAGED // 2


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"a":' * 10**5, "9" * 10**6, "NaN", "1e999", "\ufeff{}"]
)
def test_nonsense_is_damage(store: Store, text: str) -> None:
    for kind in ("run", "selftest", "deployment", "results"):
        name, read, nothing = KINDS[kind]
        prepare(store, name).write_text(text)
        try:
            assert read(store) == nothing
        except RequestError as error:
            assert name in str(error)


def test_a_sealed_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    content = {"b": 1.5, "a": [None, "ü"]}
    file.write_text(sealed(content), encoding="utf-8")
    assert unsealed(file) == content
    file.write_text(sealed(content).replace("1.5", "1.25"), encoding="utf-8")
    with pytest.raises(ValueError, match="content that was written"):
        unsealed(file)


# --- Folders from a stranger ---


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of somebody else's, which must stay as it is."""
    file = tmp_path / "victim"
    file.write_text("precious")
    return file


def test_a_linked_lock_is_not_followed(store: Store, victim: Path) -> None:
    lock = store.folder / ".lock"
    lock.unlink()
    lock.symlink_to(victim)
    with pytest.raises(RequestError, match="symbolic link"), store.locked():
        pass
    assert victim.read_text() == "precious"
    lock.unlink()
    lock.write_text("kept")  # an older lock, or somebody's file, is not emptied either
    with store.locked():
        assert lock.read_text() == "kept"


def test_a_lock_that_is_no_file_does_not_hang(store: Store) -> None:
    lock = store.folder / ".lock"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(RequestError, match="not a regular file"), store.locked():
        pass


def test_linked_runs_are_missing_and_replaced(store: Store, tmp_path: Path) -> None:
    own = record(KEY)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(store.runs / KEY, elsewhere)
    before = {file.name: file.read_bytes() for file in elsewhere.iterdir()}
    for name in ("spikes.h5", "run.json", ""):
        place = store.runs / KEY / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        place.symlink_to(elsewhere / name)
        assert store.find(KEY) is None
        assert Store(store.folder).newest(REQUEST) is None
        store.add(own, spikes(2))
        assert store.find(KEY) is not None
        assert not (store.runs / KEY).is_symlink()
        assert not any(file.is_symlink() for file in (store.runs / KEY).iterdir())
        assert {file.name: file.read_bytes() for file in elsewhere.iterdir()} == before


def test_a_linked_folder_of_runs_is_refused(store: Store, tmp_path: Path) -> None:
    store.runs.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".unfinished-precious").mkdir()
    store.runs.symlink_to(tmp_path / "elsewhere")
    assert store.find(KEY) is None
    with pytest.raises(RequestError, match="runs: is a symbolic link"), store.locked():
        pass
    assert (tmp_path / "elsewhere" / ".unfinished-precious").exists()


def test_what_a_crash_seems_to_have_left_may_be_a_link(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    for name in (f".unfinished-{KEY}", f".unfinished-scratch-{KEY}"):
        (store.runs / name).symlink_to(tmp_path / "elsewhere")
    store.add(record(KEY), spikes(2))
    with store.locked():
        assert [path.name for path in store.runs.iterdir()] == [KEY]
    assert (tmp_path / "elsewhere" / "file").exists()


def test_files_are_replaced_and_never_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "results.json").symlink_to(victim)
    # as a process with this number would have named it
    (tmp_path / f".results.json.{os.getpid()}.tmp").symlink_to(victim)
    with replacing(tmp_path / "results.json") as temporary:
        temporary.write_text("new")
    assert (victim.read_text(), (tmp_path / "results.json").read_text()) == ("precious", "new")
    assert not (tmp_path / "results.json").is_symlink()
    (tmp_path / "figures").symlink_to(tmp_path)
    assert own_folder(tmp_path / "figures").is_dir()
    assert not (tmp_path / "figures").is_symlink()


@pytest.mark.parametrize("place", ["logs", "logs/{key}.log"])
def test_logs_are_not_written_through_links(store: Store, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    failing = job("of no module")  # the worker cannot make sense of it
    (elsewhere / f"{failing.key}.log").write_text("precious")
    link = store.folder / place.format(key=failing.key)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with store.locked(), LocalExecutor(store, ignore) as executor:
        outcome = executor.submit(failing).result(100)
    assert outcome.log is not None and "Traceback" in outcome.log.read_text()
    assert not outcome.log.is_symlink() and not outcome.log.parent.is_symlink()
    assert [file.read_text() for file in elsewhere.iterdir()] == ["precious"]


def test_what_is_no_file_is_not_waited_for(store: Store) -> None:
    for kind in ("run", "spikes", "selftest", "deployment", "results", "statistics"):
        name, read, nothing = KINDS[kind]
        file = prepare(store, name)
        file.unlink()
        os.mkfifo(file)
        try:
            found = read(store)
            assert found == (_computed() if kind == "statistics" else nothing)
        except RequestError as error:
            assert str(file) in str(error)
        file.unlink()
        store.add(record(KEY), spikes(1))
    with pytest.raises(OSError, match="regular"):
        read_regular(Path("/dev/zero"))


def _computed() -> Any:
    found = EXCERPT.of(spikes(1))
    return {p: {s: values.tolist() for s, values in by.items()} for p, by in found.items()}


# --- Spikes from a stranger ---


def _linked_group(file: h5py.File, other: Path) -> None:
    del file["spikes/E"]
    file["spikes/E"] = h5py.ExternalLink(str(other), "/spikes/E")


def _linked_array(file: h5py.File, other: Path) -> None:
    del file["spikes/E/timestamps"]
    file["spikes/E/timestamps"] = h5py.ExternalLink(str(other), "/spikes/E/timestamps")


def _linked_root(file: h5py.File, other: Path) -> None:
    del file["spikes"]
    file["spikes"] = h5py.ExternalLink(str(other), "/spikes")


def _soft_link(file: h5py.File, other: Path) -> None:
    file.move("spikes/E/timestamps", "elsewhere")
    file["spikes/E/timestamps"] = h5py.SoftLink("/elsewhere")


def _external_storage(file: h5py.File, other: Path) -> None:
    n = file["spikes/E/node_ids"].shape[0]
    del file["spikes/E/node_ids"]
    file["spikes/E"].create_dataset("node_ids", (n,), "u8", external=[(str(other), 0, 8 * n)])


def _virtual(file: h5py.File, other: Path) -> None:
    n = file["spikes/E/node_ids"].shape[0]
    layout = h5py.VirtualLayout((n,), "u8")
    layout[:] = h5py.VirtualSource(str(other), "/spikes/E/node_ids", (n,))
    del file["spikes/E/node_ids"]
    file["spikes/E"].create_virtual_dataset("node_ids", layout)


def _compressed(file: h5py.File, other: Path) -> None:
    nodes = file["spikes/E/node_ids"][()]
    del file["spikes/E/node_ids"]
    file["spikes/E"].create_dataset("node_ids", data=nodes, compression="gzip")


def _bomb(file: h5py.File, other: Path) -> None:
    for name, kind in (("timestamps", "f8"), ("node_ids", "u8")):
        del file[f"spikes/E/{name}"]
        file["spikes/E"].create_dataset(name, (10**11,), kind)


def _chunked_bomb(file: h5py.File, other: Path) -> None:
    for name, kind in (("timestamps", "f8"), ("node_ids", "u8")):
        del file[f"spikes/E/{name}"]
        file["spikes/E"].create_dataset(name, (10**11,), kind, chunks=(1000,), fillvalue=1)


def _compressed_bomb(file: h5py.File, other: Path) -> None:
    del file["spikes/E/timestamps"]
    file["spikes/E"].create_dataset("timestamps", data=np.zeros(10**6), compression="gzip")


def _attribute(name: str, value: Any) -> Callable[[h5py.File, Path], None]:
    def change(file: h5py.File, other: Path) -> None:
        holder = file["spikes/E"] if name == "size" else file["spikes"]
        holder.attrs[name] = value

    return change


def _negative(file: h5py.File, other: Path) -> None:
    nodes = file["spikes/E/node_ids"][()].astype(np.int64)
    nodes[0] = -1
    del file["spikes/E/node_ids"]
    file["spikes/E/node_ids"] = nodes


def _beyond(file: h5py.File, other: Path) -> None:
    file["spikes/E/timestamps"][-1] = 1000.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_linked_group, "link"),
        (_linked_array, "link"),
        (_linked_root, "link"),
        (_soft_link, "link"),
        (_external_storage, "another file"),
        (_virtual, "another file"),
        (_compressed, "compressed"),
        (_compressed_bomb, "compressed"),
        (_bomb, "larger than the file"),
        (_chunked_bomb, "larger than the file"),
        (_attribute("size", 2**40), "neurons"),
        (_attribute("size", -1), "neurons"),
        (_attribute("size", "5"), "not a number"),
        (_attribute("size", np.zeros(1000)), "not a number"),
        (_attribute("n_steps", 2**62), "steps"),
        (_attribute("n_steps", np.nan), "NaN"),
        (_attribute("timestep", "0.1"), "not a number"),
        (_attribute("timestep", np.inf), "timestep"),
        (_negative, "node_ids"),
        (_beyond, "steps"),
    ],
)
def test_spikes_that_would_do_more_than_be_read_are_refused(
    tmp_path: Path, change: Callable[[h5py.File, Path], None], words: str
) -> None:
    file, other = tmp_path / "spikes.h5", tmp_path / "other.h5"
    write_sonata(file, spikes(1))
    write_sonata(other, spikes(1))
    assert read_sizes(file) == {"E": 5}
    with h5py.File(file, "r+") as opened:
        change(opened, other)
    with pytest.raises(RequestError, match=words) as caught:
        read_sonata(file)
    assert str(file) in str(caught.value)


def test_damaged_spikes_are_a_sentence_or_spikes(tmp_path: Path) -> None:
    """Nobody checks the hash here; HDF5 has no checksum of data, so that other spikes may come out."""
    file = tmp_path / "spikes.h5"
    write_sonata(file, spikes(1))
    content = file.read_bytes()
    paths = []
    for number, damaged in enumerate(damages(content)):
        paths.append(tmp_path / f"{number}.h5")
        paths[-1].write_bytes(damaged)
    # in a process of its own with little memory, since HDF5 is a large library
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from pynn_portability.errors import RequestError\n"
        "from pynn_portability.spikes.sonata import read_sonata\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n        read_sonata(Path(name))\n"
        "    except RequestError as error:\n        assert name in str(error)\n"
        "print('done')"
    )
    most = 4 * 2**30
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)),
    )
    assert process.stdout == "done\n", process.stderr


def test_extent_of_a_whole_file(tmp_path: Path) -> None:
    write_sonata(tmp_path / "spikes.h5", spikes(1))
    assert read_extent(tmp_path / "spikes.h5") == (100, 0.1)
    assert json.loads(json.dumps(read_sizes(tmp_path / "spikes.h5"))) == {"E": 5}
