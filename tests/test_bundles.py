"""Bundles of references: what they hold is what was simulated, and damaged or foreign ones are refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command_line import portability

import pynn_portability as pp
from pynn_portability.errors import RequestError
from pynn_portability.model.scripts import capture, load_model
from pynn_portability.run import bundle
from pynn_portability.run.bundle import Bundle
from pynn_portability.spikes.blocks import from_neo

MODEL = """
def build(sim, size=60, rate=9000.0, inputs=5):
    cells = sim.Population(size, sim.IF_curr_exp(), label="E")
    cells.record("spikes")
    noise = sim.Population(size, sim.SpikeSourcePoisson(rate=rate), label="noise")
    sim.Projection(noise, cells, sim.OneToOneConnector(), sim.StaticSynapse(weight=0.15, delay=1.5))
    weight = sim.RandomDistribution("normal", mu=0.05, sigma=0.01)
    sim.Projection(
        cells, cells, sim.FixedNumberPreConnector(inputs), sim.StaticSynapse(weight=weight, delay=1.5)
    )
"""
TIMES = "[simulation]\nduration = 600.0\nwarmup = 100.0\n"
STUDY = f"""
[study]
name = "own"
[model]
build = "model.py:build"
{TIMES}seeds = [1, 2, 3]
[reference]
backend = "emulator"
"""
CANDIDATES = '[[candidate]]\nbackend = "emulator"\nformat = "naive-2"\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles")
    (path / "model.py").write_text(MODEL)
    (path / "own.toml").write_text(STUDY + CANDIDATES)
    return path


@pytest.fixture(scope="module", autouse=True)
def own(folder: Path) -> pp.Results:
    """Results with a simulated reference, beside the bundle of it."""
    results = pp.Study.load(folder / "own.toml").run(folder / "own", progress=False)
    done = portability(
        folder, "reference", "export", "own.toml", "-o", "reference.zip", "--out", "own"
    )
    assert done.returncode == 0, done.stderr
    assert "emulator double, 3 runs of model.py:build, 600 ms each" in done.stdout
    return results


def with_bundle(folder: Path, more: str = CANDIDATES, **changes: str) -> pp.Study:
    """The study with the bundle as its reference."""
    text = STUDY.replace('backend = "emulator"', 'bundle = "reference.zip"') + more
    for old, new in changes.items():
        key = {
            "build": '"model.py:build"',
            "duration": "duration = 600.0",
            "warmup": "warmup = 100.0",
        }
        assert key[old] in text
        text = text.replace(key[old], new)
    (folder / "other.toml").write_text(text)
    return pp.Study.load(folder / "other.toml")


def scores(results: pp.Results, name: str) -> Any:
    (entry,) = (c for c in results.content.candidates if c.format == name)
    return [s.model_dump() for s in entry.scores]


def spikes_of(results: pp.Results, name: str, where: Path) -> list[Path]:
    """Runs of the study in a number format, as a script for another simulator would save them."""
    files = []
    for seed in (1, 2, 3):
        data = from_neo(results.spikes("emulator", name, seed), 0.1).populations["E"]
        files.append(where / f"E_seed-{seed}.csv")
        table = pd.DataFrame({"time_ms": data.steps * 0.1, "neuron": data.neurons})
        table.to_csv(files[-1], index=False)
    return files


def test_a_bundle_has_the_runs_of_the_reference(folder: Path, own: pp.Results) -> None:
    found = Bundle(folder / "reference.zip")
    assert found.seeds == [1, 2, 3]
    assert found.label == "reference"
    assert found.contents.versions["pynn-portability"]
    for seed in found.seeds:
        whole = from_neo(own.spikes("emulator", "double", seed), 0.1).populations["E"]
        kept = found.run(seed, 100.0, 600.0).populations["E"]
        analysed = whole.steps > 1000
        assert analysed.sum() > 50
        np.testing.assert_array_equal(kept.steps, whole.steps[analysed])
        np.testing.assert_array_equal(kept.neurons, whole.neurons[analysed])
    text = (folder / "reference.zip").read_bytes()
    assert str(folder).encode() not in text
    with zipfile.ZipFile(folder / "reference.zip") as archive:
        assert archive.read("study.toml").decode() == (folder / "own.toml").read_text()
        assert str(folder) not in archive.read("reference.json").decode()


def test_scores_are_those_with_a_simulated_reference(folder: Path, own: pp.Results) -> None:
    by_bundle = with_bundle(folder).run(folder / "other", progress=False)
    assert by_bundle.content.reference.name == "reference (imported)"
    assert [c.pairing for c in by_bundle.content.candidates] == ["paired"]
    assert scores(by_bundle, "naive-2") == scores(own, "naive-2")
    assert any(s["distance"] for s in scores(own, "naive-2"))
    # once it is in the folder of results, the file is not missed
    hidden = (folder / "reference.zip").rename(folder / "hidden.zip")
    try:
        again = with_bundle(folder).run(folder / "other", progress=False)
    finally:
        hidden.rename(folder / "reference.zip")
    assert scores(again, "naive-2") == scores(own, "naive-2")


def test_a_bundle_judges_foreign_spikes_without_a_study(
    folder: Path, own: pp.Results, tmp_path: Path
) -> None:
    files = spikes_of(own, "naive-2", tmp_path)
    (tmp_path / "reference.zip").write_bytes((folder / "reference.zip").read_bytes())
    done = portability(
        tmp_path,
        *("judge", "reference.zip", *(f.name for f in files)),
        *("--label", "board", "--all-recorded", "--paired", "--exit-zero"),
    )
    assert done.returncode == 0, done.stderr
    results = pp.Study.load(tmp_path / "reference.zip").judge(
        tmp_path / "results/own", progress=False
    )
    assert scores(results, "board") == scores(own, "naive-2")
    assert "reference" in (tmp_path / "results/own/report.html").read_text()


def test_the_references_own_spikes_are_refused(
    folder: Path, own: pp.Results, tmp_path: Path
) -> None:
    files = spikes_of(own, "double", tmp_path)
    done = portability(
        tmp_path,
        *("judge", str(folder / "reference.zip"), *(f.name for f in files)),
        *("--label", "copy", "--all-recorded"),
    )
    assert done.returncode == 2
    assert "are those of the reference's seed" in done.stderr


def test_a_shorter_time_is_a_part_of_the_bundle(folder: Path, tmp_path: Path) -> None:
    results = with_bundle(folder, "", duration="duration = 250.0", warmup="warmup = 30.0").run(
        tmp_path / "out", progress=False
    )
    (rate,) = (m for m in results.content.reference.means if m.statistic == "rate")
    counts = [
        Bundle(folder / "reference.zip").run(s, 0.0, 250.0).populations["E"] for s in (1, 2, 3)
    ]
    assert rate.mean == pytest.approx(sum(c.steps.size for c in counts) / 3 / 60 / 0.25)


@pytest.mark.parametrize(
    ("parameter", "pairing"), [("rate = 9100.0", "paired"), ("inputs = 6", "unpaired")]
)
def test_another_network_is_said_and_paired_only_if_it_is_wired_alike(
    folder: Path, tmp_path: Path, parameter: str, pairing: str
) -> None:
    build = f'"model.py:build"\n{parameter}'
    results = with_bundle(folder, build=build).run(tmp_path / "out", progress=False)
    assert {c.pairing for c in results.content.candidates} == {pairing}
    notes = "; ".join(results.content.reference.notes)
    assert "the network of this study is not in all numbers the one that it is of" in notes
    assert ("realizations are others" in notes) == (pairing == "unpaired")


def test_the_shipped_reference_is_of_the_shipped_model() -> None:
    found = Bundle(bundle.shipped()["microcircuit-0.1"])
    study = pp.Study.load("microcircuit-0.1")
    network = found.network()
    assert study.name == "microcircuit-0.1"
    assert (found.contents.duration, found.seeds) == (10_000.0, list(range(1, 11)))
    model = {k: v for k, v in found.contents.study["model"].items() if k != "build"}
    built = capture(load_model("microcircuit", Path()), model, 0.1)
    assert [(p.label, p.size) for p in built.populations] == [
        (p.label, p.size) for p in network.populations
    ]
    assert bundle.realization_digest(built, 1, 0.1) == found.contents.realization
    rates = [
        p.steps.size / p.size / 10 for p in found.run(10, 1000.0, 10_000.0).populations.values()
    ]
    # its rates on NEST (docs/microcircuit.md has those of other scales)
    assert rates == pytest.approx([0.48, 2.1, 4.0, 5.0, 6.7, 7.8, 0.82, 7.0], rel=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duration": "duration = 600.1"}, "has 600 ms, and the study analyses 600.1 ms"),
        ({"duration": "duration = 600.0\ntimestep = 0.2"}, "has a time step of 0.1 ms"),
        ({"build": '"model.py:build"\nsize = 61'}, "other populations .* 'E' among them"),
    ],
    ids=["too short", "another time step", "another size"],
)
def test_bundles_of_something_else_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(RequestError, match=words) as refused:
        with_bundle(folder, "", **changes).run(tmp_path / "out", progress=False)
    assert "reference.bundle: " in str(refused.value)
    assert not list(tmp_path.glob("out/imported/*"))


@pytest.mark.parametrize("what", ["nothing", "text", "another archive", "cut", "without a run"])
def test_what_is_no_bundle_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path, what: str
) -> None:
    path, content = tmp_path / "x.zip", (folder / "reference.zip").read_bytes()
    if what == "text":
        path.write_text("spikes")
    elif what == "another archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("reference.json", "{}")
    elif what == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif what == "without a run":
        with zipfile.ZipFile(folder / "reference.zip") as whole, zipfile.ZipFile(path, "w") as part:
            for name in whole.namelist():
                if name != "seed-2.bin":
                    part.writestr(name, whole.read(name))
    words = "there is no such bundle" if what == "nothing" else "is no bundle of a reference"
    with pytest.raises(RequestError, match=words) as refused:
        Bundle(path)
    assert "\n" not in str(refused.value)


def test_no_damage_passes(folder: Path, tmp_path: Path) -> None:
    """A byte of the archive is changed, at 200 places: the bundle is refused, or as it was."""
    content = (folder / "reference.zip").read_bytes()
    before = Bundle(folder / "reference.zip")
    runs = {seed: before.run(seed, 100.0, 600.0).populations["E"] for seed in before.seeds}
    rng, refused = np.random.default_rng(6), 0
    for place in rng.integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "d.zip").write_bytes(damaged)
        try:
            found = Bundle(tmp_path / "d.zip")
            again = {seed: found.run(seed, 100.0, 600.0).populations["E"] for seed in found.seeds}
        except RequestError:
            refused += 1
            continue
        assert found.contents == before.contents
        assert all(np.array_equal(again[s].steps, runs[s].steps) for s in runs)
        assert all(np.array_equal(again[s].neurons, runs[s].neurons) for s in runs)
    assert refused > 100


def test_an_archive_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("reference.json", bytes(2**21))
    with pytest.raises(RequestError, match="has more than 1048576 bytes"):
        Bundle(tmp_path / "x.zip")


def test_spikes_that_lie_are_refused(folder: Path) -> None:
    """Checksums only keep accidents away: whoever makes a bundle can make them fit."""
    found = Bundle(folder / "reference.zip")
    counts = found.contents.spikes["1"]
    for label, n in counts.items():
        sizes = {**found.contents.sizes, label: 1}
        with pytest.raises(ValueError, match="out of range"):
            bundle._unpacked(found._members["seed-1.bin"], sizes, counts, 0.1, 0, 6000)
        with pytest.raises(ValueError):
            more = {**counts, label: n + 1}
            bundle._unpacked(found._members["seed-1.bin"], found.contents.sizes, more, 0.1, 0, 6000)
        with pytest.raises(ValueError, match="more spikes than it says"):
            longer = found._members["seed-1.bin"] + bytes(8)
            bundle._unpacked(longer, found.contents.sizes, counts, 0.1, 0, 6000)
        with pytest.raises(ValueError):
            bundle.Contents.model_validate(
                found.contents.model_dump(by_alias=True) | {"spikes": {"1": {label: -1}}}
            )
