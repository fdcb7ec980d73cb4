"""Spikes from elsewhere: read, checked, refused or warned about when they are wrong, and judged."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import neo
import numpy as np
import pandas as pd
import pytest
from command_line import portability

import pynn_portability as pp
from pynn_portability import backends
from pynn_portability.errors import RequestError
from pynn_portability.formats.names import number_format
from pynn_portability.model.scripts import capture
from pynn_portability.realize.realization import Realization
from pynn_portability.spikes.blocks import to_neo
from pynn_portability.spikes.data import PopulationSpikes, SpikeData
from pynn_portability.spikes.intake import Expected, Intake, silent_pattern, take_in
from pynn_portability.spikes.mapping import Map, read_map
from pynn_portability.spikes.sonata import write_sonata

MODEL = """
def build(sim, drive=1.0, refractory=2.0):
    cell = {"tau_m": 10.0, "tau_syn_E": 0.5, "tau_syn_I": 0.5, "cm": 0.25, "v_rest": -65.0, "v_reset": -65.0,
            "v_thresh": -50.0, "tau_refrac": refractory}
    populations = [
        sim.Population(n, sim.IF_curr_exp(**cell), label=label) for n, label in ((80, "E"), (20, "I"))
    ]
    for p, rate in zip(populations, (8000.0, 7500.0)):
        source = sim.Population(p.size, sim.SpikeSourcePoisson(rate=rate * drive), label="input " + p.label)
        sim.Projection(source, p, sim.OneToOneConnector(), sim.StaticSynapse(weight=0.13, delay=0.1))
    for a, weight, delay in zip(populations, (0.2, -0.8), (1.5, 0.8)):
        for b in populations:
            sim.Projection(
                a, b, sim.FixedProbabilityConnector(0.1), sim.StaticSynapse(weight=weight, delay=delay)
            )
    for p in populations:
        p.record("spikes")
"""
STUDY = """
[study]
name = "foreign"
[model]
build = "model.py:build"
[simulation]
duration = 5000.0
warmup = 500.0
seeds = [1, 2, 3, 4, 5]
[reference]
backend = "emulator"
"""
SIZES = {"E": 80, "I": 20}
EXPECTED = Expected(SIZES, 0.1, 500.0, 5000.0)
ALL = Map(recorded="all")

Runs = dict[int, SpikeData]


def simulated(seeds: range, **parameters: float) -> Runs:
    """Runs of the model, which could be anybody's."""
    names: dict[str, Callable[..., None]] = {}
    exec(MODEL, names)
    network = capture(names["build"], parameters, 0.1)
    emulator = backends.load("emulator")
    found = {}
    for seed in seeds:
        held = number_format("double").on(Realization(network, seed, 0.1))
        run = emulator.simulation(held, emulator.options())
        found[seed] = run.run(EXPECTED.n_steps, lambda fraction: None)
    return found


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Five correct runs, of seeds that the study does not have."""
    return simulated(range(11, 16))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose reference has run."""
    place = tmp_path_factory.mktemp("study")
    (place / "model.py").write_text(MODEL)
    (place / "study.toml").write_text(STUDY)
    assert portability(place, "run", "study.toml").returncode == 0
    return place


@pytest.fixture
def study(folder: Path, tmp_path: Path) -> Path:
    """A study of its own, with the runs of the reference."""
    place = tmp_path / "study"
    shutil.copytree(folder, place)
    return place


# --- Files as other programs write them ---

FIRST = {"E": 1, "I": 81}


def nest_files(folder: Path, runs: Runs, threads: int = 4, header: bool = True) -> Path:
    """Recording files of NEST in the layout of the PyNEST microcircuit, node ids beside them."""
    for seed, spikes in runs.items():
        own = folder / f"seed-{seed}"
        own.mkdir(parents=True)
        nodes = [f"{FIRST[p]} {FIRST[p] + SIZES[p] - 1}" for p in SIZES]
        (own / "population_nodeids.dat").write_text("\n".join(nodes) + "\n")
        for number, (label, p) in enumerate(spikes.populations.items()):
            ids = p.neurons + FIRST[label]
            for thread in range(threads):
                rows = [
                    f"{i}\t{step * 0.1:.3f}\n"
                    for i, step in zip(ids, p.steps, strict=True)
                    if i % threads == thread
                ]
                top = (
                    "# NEST version: 3.10.0\n# RecordingBackendASCII version: 2\nsender\ttime_ms\n"
                )
                file = own / f"spike_recorder-{200 + number}-{thread}.dat"
                file.write_text((top if header else "") + "".join(rows))
    return folder


def table(spikes: SpikeData) -> pd.DataFrame:
    """All spikes of a run, with named columns."""
    return pd.concat(
        pd.DataFrame({"population": label, "neuron": p.neurons, "time_ms": p.steps * 0.1})
        for label, p in spikes.populations.items()
    )


def csv_files(folder: Path, runs: Runs, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """A table for each run."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, spikes in runs.items():
        change(table(spikes)).to_csv(folder / f"seed-{seed}.csv", index=False)
    return folder


def same(found: Intake, runs: Runs, seeds: Mapping[int, int] | None = None) -> None:
    """Assert that what was read is what was simulated."""
    assert sorted(found.runs) == sorted((seeds or {s: s for s in runs}).values())
    for seed, spikes in runs.items():
        own = found.runs[(seeds or {}).get(seed, seed)]
        for label, population in spikes.populations.items():
            inside = population.steps >= 1
            np.testing.assert_array_equal(own.populations[label].steps, population.steps[inside])
            np.testing.assert_array_equal(
                own.populations[label].neurons, population.neurons[inside]
            )


def two(runs: Runs) -> Runs:
    return {seed: runs[seed] for seed in (11, 12)}


@pytest.mark.parametrize(("threads", "header"), [(1, True), (4, True), (4, False)])
def test_nest_files(tmp_path: Path, runs: Runs, threads: int, header: bool) -> None:
    found = take_in([nest_files(tmp_path / "n", two(runs), threads, header)], ALL, EXPECTED)
    same(found, two(runs))
    assert len(found.files) == 2 * 2 * threads
    assert found.warnings == []


def test_nest_files_with_nodes_json(tmp_path: Path, runs: Runs) -> None:
    place = nest_files(tmp_path / "n", two(runs))
    for seed in place.iterdir():
        (seed / "population_nodeids.dat").unlink()
        nodes = {p: list(range(FIRST[p], FIRST[p] + SIZES[p])) for p in SIZES} | {
            "spike_recorder_E": [200]
        }
        (seed / "nodes.json").write_text(json.dumps(nodes))
    same(take_in([place], ALL, EXPECTED), two(runs))


def test_numbers_of_populations_in_the_map(tmp_path: Path, runs: Runs) -> None:
    place = nest_files(tmp_path / "n", two(runs))
    for seed in place.iterdir():
        (seed / "population_nodeids.dat").unlink()
    with pytest.raises(RequestError, match=r"which population .* ids = \[first, last\]"):
        take_in([place], ALL, EXPECTED)
    text = 'recorded = "all"\n[populations.E]\nids = [1, 80]\n[populations.I]\nids = [81, 100]\n'
    (tmp_path / "map.toml").write_text(text)
    same(take_in([place], read_map(tmp_path / "map.toml"), EXPECTED), two(runs))


def test_steps_of_nest(tmp_path: Path, runs: Runs) -> None:
    for seed, spikes in two(runs).items():
        for label, p in spikes.populations.items():
            rows = [f"{i}\t{s}\t0.0\n" for i, s in zip(p.neurons, p.steps, strict=True)]
            file = tmp_path / f"seed-{seed}" / f"{label}-7-0.dat"
            file.parent.mkdir(exist_ok=True)
            file.write_text("sender\ttime_step\ttime_offset\n" + "".join(rows))
    same(take_in([tmp_path], ALL, EXPECTED), two(runs))


def test_nest_gpu(tmp_path: Path, runs: Runs) -> None:
    for seed, spikes in two(runs).items():
        own = tmp_path / f"seed-{seed}"
        own.mkdir()
        (own / "population_nodeids.dat").write_text("1 80\n81 100\n")
        for number, (label, p) in enumerate(spikes.populations.items()):
            rows = np.column_stack([p.neurons + FIRST[label], p.steps * 0.1])
            np.savetxt(
                own / f"spike_times_{number}.dat",
                rows,
                fmt="%d\t%.3f",
                header="sender time_ms",
                comments="",
            )
    same(take_in([tmp_path], ALL, EXPECTED), two(runs))


def test_genn(tmp_path: Path, runs: Runs) -> None:
    """A file for each population, of the model's own names, and GeNN's names of columns."""
    for seed, spikes in two(runs).items():
        (tmp_path / f"seed{seed}").mkdir()
        for label, p in spikes.populations.items():
            rows = pd.DataFrame({"Time [ms]": p.steps * 0.1, "Neuron ID": p.neurons})
            rows.to_csv(tmp_path / f"seed{seed}" / f"4{label}_spikes.csv", index=False)
    text = (
        'recorded = "all"\n[populations.E]\ncalled = "4E"\nfirst_id = 0\n'
        '[populations.I]\nfiles = "4I*"\nfirst_id = 0\n'
    )
    (tmp_path / "map.toml").write_text(text)
    same(
        take_in(
            [tmp_path / "seed11", tmp_path / "seed12"], read_map(tmp_path / "map.toml"), EXPECTED
        ),
        two(runs),
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
def test_tables(tmp_path: Path, runs: Runs, suffix: str) -> None:
    for seed, spikes in two(runs).items():
        separator = "\t" if suffix == "tsv" else " " if suffix == "txt" else ","
        table(spikes).to_csv(tmp_path / f"seed_{seed}.{suffix}", index=False, sep=separator)
    same(take_in([tmp_path], ALL, EXPECTED), two(runs))


def test_a_table_of_all_runs(tmp_path: Path, runs: Runs) -> None:
    rows = pd.concat(table(spikes).assign(seed=seed) for seed, spikes in two(runs).items())
    rows.to_csv(tmp_path / "all.csv", index=False)
    same(take_in([tmp_path / "all.csv"], ALL, EXPECTED), two(runs))


def test_an_archive_of_a_brian2_script(tmp_path: Path, runs: Runs) -> None:
    """Times in seconds, which the names of the arrays do not say."""
    for seed, spikes in two(runs).items():
        for label, p in spikes.populations.items():
            np.savez(tmp_path / f"{label}_seed{seed}.npz", t=p.steps * 0.1 / 1000, i=p.neurons)
    with pytest.raises(RequestError, match='unit of its times is unknown; say unit = "ms", "s"'):
        take_in([tmp_path], ALL, EXPECTED)
    same(take_in([tmp_path], Map(recorded="all", unit="s"), EXPECTED), two(runs))


def test_a_neo_pickle_is_read_if_it_is_trusted(tmp_path: Path, runs: Runs) -> None:
    """What sPyNNaker and PyNN write."""
    for seed, spikes in two(runs).items():
        (tmp_path / f"seed-{seed}.pkl").write_bytes(pickle.dumps(to_neo(spikes)))
    with pytest.raises(RequestError, match="--trust-pickle"):
        take_in([tmp_path], Map(), EXPECTED)
    # a train for every neuron, silent ones included, says that all were recorded
    same(take_in([tmp_path], Map(), EXPECTED, trust_pickle=True), two(runs))


def test_a_pickle_is_not_executed_unless_it_is_trusted(tmp_path: Path) -> None:
    class Writes:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "seed-1.pkl").write_bytes(pickle.dumps(Writes()))
    with pytest.raises(RequestError, match="a program"):
        take_in([tmp_path / "seed-1.pkl"], Map(), EXPECTED)
    assert not (tmp_path / "executed").exists()


def test_segments_of_neo_are_runs(tmp_path: Path, runs: Runs) -> None:
    block = neo.Block()
    for spikes in two(runs).values():
        block.segments += to_neo(spikes).segments
    (tmp_path / "all.pkl").write_bytes(pickle.dumps(block))
    found = take_in([tmp_path / "all.pkl"], Map(), EXPECTED, trust_pickle=True)
    same(found, two(runs), {11: 1, 12: 2})


def test_sonata_of_this_harness_and_of_others(tmp_path: Path, runs: Runs) -> None:
    h5py = pytest.importorskip("h5py")
    for seed, spikes in two(runs).items():
        write_sonata(tmp_path / f"ours-seed-{seed}.h5", spikes)
        with h5py.File(tmp_path / f"plain-seed-{seed}.h5", "w") as file:
            # as bmtk writes it: compressed, and without what this harness adds
            file.attrs["magic"] = np.uint32(0x0A7A)
            for label, p in spikes.populations.items():
                group = file.create_group(f"spikes/{label}")
                times = group.create_dataset(
                    "timestamps", data=p.steps * 0.1, maxshape=(None,), compression="gzip"
                )
                times.attrs["units"] = "milliseconds"
                group.create_dataset(
                    "node_ids", data=p.neurons.astype(np.uint64), compression="gzip"
                )
    same(take_in(sorted(tmp_path.glob("ours*")), Map(), EXPECTED), two(runs))
    same(take_in(sorted(tmp_path.glob("plain*")), ALL, EXPECTED), two(runs))


def test_sonata_of_pynn(tmp_path: Path, runs: Runs) -> None:
    """An earlier layout: one list for all, with the simulator's numbers."""
    h5py = pytest.importorskip("h5py")
    for seed, spikes in two(runs).items():
        ids = [p.neurons + FIRST[label] for label, p in spikes.populations.items()]
        times = [p.steps * 0.1 for p in spikes.populations.values()]
        with h5py.File(tmp_path / f"seed-{seed}.h5", "w") as file:
            group = file.create_group("spikes")
            group.create_dataset("timestamps", data=np.concatenate(times))
            group.create_dataset("gids", data=np.concatenate(ids).astype(np.uint64))
    text = 'recorded = "all"\nunit = "ms"\n[populations.E]\nids = [1, 80]\n[populations.I]\nids = [81, 100]\n'
    (tmp_path / "map.toml").write_text(text)
    same(
        take_in(sorted(tmp_path.glob("*.h5")), read_map(tmp_path / "map.toml"), EXPECTED), two(runs)
    )


def test_links_to_other_files_are_not_followed(tmp_path: Path, runs: Runs) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.arange(5.0)
    for place in ("timestamps", "E/timestamps"):
        with h5py.File(tmp_path / "seed-1.h5", "w") as file:
            group = file.create_group("spikes")
            group[place] = h5py.ExternalLink(str(tmp_path / "other.h5"), "numbers")
            group[place.replace("timestamps", "gids")] = np.arange(5)
            group[place.replace("timestamps", "node_ids")] = np.arange(5)
        with pytest.raises(RequestError, match="is a link to something else"):
            take_in([tmp_path / "seed-1.h5"], ALL, EXPECTED)


def test_time_can_begin_elsewhere(tmp_path: Path, runs: Runs) -> None:
    """A recording that begins with what is analysed, of later times, with labels of the begin of steps."""

    def later(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows.time_ms > 500.05]
        return rows.assign(time_ms=rows.time_ms + 1500.0 - 0.1)

    place = csv_files(tmp_path / "c", two(runs), later)
    found = take_in([place], Map(recorded="all", begin=2000.0, label="begin"), EXPECTED)
    for seed, spikes in two(runs).items():
        p = spikes.populations["E"]
        np.testing.assert_array_equal(
            found.runs[seed].populations["E"].steps, p.steps[p.steps > 5000]
        )


def test_off_grid_times_are_rounded_on_request_and_counted(tmp_path: Path, runs: Runs) -> None:
    def shaken(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(time_ms=rows.time_ms + 0.02)

    place = csv_files(tmp_path / "c", two(runs), shaken)
    with pytest.raises(RequestError, match=r"not on the grid of 0\.1 ms; say grid = \"round\""):
        take_in([place], ALL, EXPECTED)
    found = take_in([place], Map(recorded="all", grid="round"), EXPECTED)
    same(found, two(runs))
    total = sum(len(table(spikes)) for spikes in two(runs).values())
    assert f"{total} spike times were rounded to steps of 0.1 ms" in found.notes


def test_files_without_spikes_are_left_out_and_said(tmp_path: Path, runs: Runs) -> None:
    place = nest_files(tmp_path / "n", two(runs))
    (place / "seed-11" / "rate0.dat").write_text("1.5\n2.5\n")
    (place / "seed-11" / "voltages-3-0.dat").write_text("sender\ttime_ms\tV_m\n1\t0.1\t-65.0\n")
    found = take_in([place], ALL, EXPECTED)
    same(found, two(runs))
    (note,) = found.notes
    assert note.startswith("2 files hold no spikes and were left out")


# --- Wrong imports of correct data: none passes in silence ---


def every_second(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows.neuron % 2 == 0]


def dense(rows: pd.DataFrame) -> pd.DataFrame:
    """Silent neurons dropped and the others renumbered; here a third of E is silent."""
    rows = rows[(rows.population == "I") | (rows.neuron % 3 > 0)].copy()
    own = rows.population == "E"
    renumbered = rows[own].neuron.rank(method="dense").astype(np.int32) - 1
    return rows.assign(neuron=rows.neuron.where(~own, renumbered).astype(int))


WRONG: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str, str]] = {
    # name: (what is done to a table, what is said when it is refused, what is warned of)
    "every second neuron": (every_second, "", "every second neuron is silent"),
    "numbers off by one": (lambda r: r.assign(neuron=r.neuron + 1), "out of range", ""),
    "silent neurons dropped": (dense, "", "all neurons from number 5"),
    "rounded to 1 ms": (
        lambda r: r.assign(time_ms=r.time_ms.round()).drop_duplicates(),
        "",
        "multiples of 1 ms",
    ),
    "rounded, and spikes fall together": (
        lambda r: pd.concat([r, r[:1]]),
        "spikes twice",
        "",
    ),
    "seconds called ms": (lambda r: r.assign(time_ms=r.time_ms / 1000), "grid|unit|tenth", ""),
    "steps called ms": (
        lambda r: r.assign(time_ms=(r.time_ms * 10).round()),
        "",
        "multiples of 1 ms",
    ),
    "the second half is missing": (lambda r: r[r.time_ms < 2500], "last tenth", ""),
    "the first half is missing": (lambda r: r[r.time_ms > 3000], "first tenth", ""),
    "labels of the begin of steps": (
        lambda r: pd.concat(
            [r.assign(time_ms=r.time_ms - 0.1), pd.DataFrame({"population": ["E"], "neuron": [79], "time_ms": [0.0]})]
        ),
        'label = "begin"',
        "",
    ),
    "a population is missing": (lambda r: r[r.population == "E"], "no spikes of I", ""),
    "an unknown population": (lambda r: r.replace("I", "J"), "called = \"J\"", ""),
    "fractions of neurons": (lambda r: r.assign(neuron=r.neuron + 0.5), "whole numbers", ""),
    "times that are none": (lambda r: r.assign(time_ms=np.nan), "finite|grid", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_imports_are_refused_or_warned_about(tmp_path: Path, runs: Runs, name: str) -> None:
    change, refusal, warning = WRONG[name]
    place = csv_files(tmp_path / "c", two(runs), change)
    given = Map(recorded="all", populations={p: {"first_id": 0} for p in SIZES})  # type: ignore[arg-type]
    if refusal:
        with pytest.raises(RequestError, match=refusal):
            take_in([place], given, EXPECTED)
    else:
        assert warning in " ".join(take_in([place], given, EXPECTED).warnings)


def test_silence_must_be_said(tmp_path: Path, runs: Runs) -> None:
    place = csv_files(tmp_path / "c", two(runs), lambda rows: rows[rows.neuron != 3])
    with pytest.raises(
        RequestError, match=r'1 of 80 neurons of .E. have no spike; say recorded = "all"'
    ):
        take_in([place], Map(), EXPECTED)
    assert take_in([place], ALL, EXPECTED).warnings == []


def test_files_given_twice_and_runs_that_are_the_same(tmp_path: Path, runs: Runs) -> None:
    place = csv_files(tmp_path / "c", two(runs), lambda rows: rows)
    with pytest.raises(RequestError, match="is given twice"):
        take_in([place, place / "seed-11.csv"], ALL, EXPECTED)
    shutil.copy(place / "seed-11.csv", place / "seed-13.csv")
    with pytest.raises(RequestError, match="same content"):
        take_in([place], ALL, EXPECTED)
    rows = pd.read_csv(place / "seed-11.csv")
    rows[::-1].to_csv(place / "seed-13.csv", index=False)
    with pytest.raises(RequestError, match="seeds 11 and 13 have the same spikes"):
        take_in([place], ALL, EXPECTED)


def test_a_missing_thread(tmp_path: Path, runs: Runs) -> None:
    place = nest_files(tmp_path / "n", two(runs))
    (place / "seed-12" / "spike_recorder-200-2.dat").unlink()
    with pytest.raises(RequestError, match="file of thread 2 is missing"):
        take_in([place], ALL, EXPECTED)
    # where every run lacks it, nothing but the silent neurons tells
    for file in place.glob("seed-*/*-3.dat"):
        file.unlink()
    for file in place.glob("seed-*/*-2.dat"):
        file.unlink()
    found = take_in([place], ALL, EXPECTED)
    assert any("silent" in warning for warning in found.warnings)


def test_sizes_come_from_the_study(tmp_path: Path, runs: Runs) -> None:
    place = nest_files(tmp_path / "n", two(runs))
    larger = Expected({"E": 90, "I": 20}, 0.1, 500.0, 5000.0)
    with pytest.raises(RequestError, match="80 neurons, and the study has 90"):
        take_in([place], ALL, larger)
    with pytest.raises(RequestError, match="has 2 populations"):
        take_in([place], ALL, Expected({"E": 80}, 0.1, 500.0, 5000.0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("formt = 'csv'", "did you mean 'format'"),
        ("format = 'csv'", "allowed: nest-ascii, table"),
        ("unit = 'minutes'", '"ms", "s" or "steps"'),
        ("seed = 'run'", "must have {seed} in it"),
        ("[populations.E]\nids = [5, 1]", "above the last"),
        ("[populations.E]\nids = [1]", "two numbers"),
        ("[populations.E]\nid = 1", "unknown key"),
        ("[populations.X]\nfirst_id = 1", "compares no such population"),
        ("[columns]\ntime = 'when'", "holds times is unknown"),
        ("[populations.E]\nrecorded = [100]", "numbers of neurons as in the files"),
    ],
)
def test_what_is_wrong_in_a_map_is_said(tmp_path: Path, runs: Runs, text: str, words: str) -> None:
    place = csv_files(tmp_path / "c", two(runs), lambda rows: rows)
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(RequestError, match=words.replace("[", r"\[").replace("{", r"\{")):
        take_in([place], read_map(tmp_path / "map.toml"), EXPECTED)


def test_patterns_of_silent_neurons() -> None:
    """Chance is not called a pattern: 1,000 populations in which a third is silent, at 1e-6 for each class."""
    rng = np.random.default_rng(1)
    assert not any(silent_pattern(rng.random(200) < 1 / 3) for _ in range(1000))
    silent = np.zeros(200, bool)
    silent[3::8] = True
    assert silent_pattern(silent) == "every 8th neuron is silent, from number 3 on (counted from 0)"
    silent = rng.random(200) < 0.1
    silent[150:] = True
    assert "from number" in str(silent_pattern(silent))
    assert silent_pattern(np.ones(10, bool)) is None


# --- Judged ---


def verdict_of(study: Path, label: str) -> dict[str, object]:
    results = json.loads((study / "results/foreign/results.json").read_text())
    (entry,) = (c for c in results["candidates"] if c["format"] == label)
    return dict(entry)


def test_a_correct_ensemble_passes_and_joins_the_report(study: Path, runs: Runs) -> None:
    nest_files(study / "spikes", runs)
    result = portability(
        study, "judge", "study.toml", "spikes", "--label", "colleague", "--all-recorded"
    )
    assert result.returncode == 0, result.stderr
    assert "colleague, 5 runs, unpaired" in result.stdout
    entry = verdict_of(study, "colleague")
    assert (entry["backend"], entry["verdict"], entry["pairing"]) == (
        "imported",
        "pass",
        "unpaired",
    )
    page = (study / "results/foreign/report.html").read_text()
    assert "colleague" in page
    assert "averaged over all such pairs" in page
    # it stays with the study
    assert portability(study, "report", "study.toml").returncode == 0
    listed = portability(study, "list", "results/foreign")
    assert "colleague" in listed.stdout
    again = portability(
        study, "import", "study.toml", "spikes", "--label", "colleague", "--all-recorded"
    )
    assert again.returncode == 2
    assert "--replace" in again.stderr
    assert (
        portability(study, "import", "study.toml", "--label", "colleague", "--remove").returncode
        == 0
    )
    assert "no imported spikes" in portability(study, "list", "results/foreign").stdout


def test_a_wrong_ensemble_deviates_and_it_is_said_where(study: Path) -> None:
    csv_files(study / "spikes", simulated(range(11, 16), drive=0.9), lambda rows: rows)
    result = portability(
        study, "judge", "study.toml", "spikes", "--label", "weak", "--all-recorded"
    )
    assert result.returncode == 1, result.stderr
    diagnosis = " ".join(verdict_of(study, "weak")["diagnosis"])  # type: ignore[arg-type]
    assert "rate mean -" in diagnosis


def test_exchanged_populations_are_named(study: Path, runs: Runs) -> None:
    def exchanged(rows: pd.DataFrame) -> pd.DataFrame:
        few = rows[rows.neuron < 20]
        return few.assign(population=few.population.map({"E": "I", "I": "E"}))

    csv_files(study / "spikes", runs, exchanged)
    (study / "map.toml").write_text(
        "[populations.E]\nfirst_id = 0\nrecorded = [" + ", ".join(map(str, range(20))) + "]\n"
        "[populations.I]\nfirst_id = 0\nrecorded = 'all'\n"
    )
    result = portability(
        study, "judge", "study.toml", "spikes", "--label", "x", "--map", "map.toml"
    )
    assert result.returncode == 1, result.stderr
    notes = " ".join(verdict_of(study, "x")["notes"])  # type: ignore[arg-type]
    assert "Spikes of E are more like those of I" in notes


def test_a_recorded_part_is_compared_with_the_same_neurons(study: Path, runs: Runs) -> None:
    cells = list(range(0, 80, 2))
    csv_files(study / "spikes", runs, lambda r: r[(r.population == "I") | r.neuron.isin(cells)])
    (study / "map.toml").write_text(
        f"[populations.E]\nrecorded = {cells}\n[populations.I]\nrecorded = 'all'\n"
    )
    found = pp.Study.load(study / "study.toml").import_spikes(
        [study / "spikes"],
        "half",
        map=study / "map.toml",
        folder=study / "results/foreign",
        progress=False,
    )
    assert found.sizes == {"E": 40, "I": 20}
    results = pp.Study.load(study / "study.toml").judge(study / "results/foreign", progress=False)
    assert results.verdicts.set_index("format").verdict["half"] == "pass"
    ensemble = results.ensembles["imported", "half"]
    assert {len(run["E"]["rate"]) for run in ensemble.runs.values()} == {40}
    assert "reduced to them" in " ".join(results.content.candidates[0].notes)


def test_the_reference_is_no_candidate_of_its_own(study: Path) -> None:
    own = simulated(range(1, 6))
    csv_files(study / "spikes", own, lambda rows: rows)
    result = portability(study, "import", "study.toml", "spikes", "--label", "x", "--all-recorded")
    assert result.returncode == 2
    assert "a reference is no candidate of its own" in result.stderr


def test_the_reference_is_no_candidate_even_if_it_runs_later(study: Path) -> None:
    csv_files(study / "spikes", simulated(range(1, 6)), lambda rows: rows)
    options = ("--label", "own", "--all-recorded", "--out", "elsewhere")
    result = portability(study, "judge", "study.toml", "spikes", *options)
    assert result.returncode == 2, result.stdout
    assert "own: seed 1: the spikes of 'E' are those of the reference's seed 1" in result.stderr


def test_runs_are_paired_only_if_they_are(study: Path, runs: Runs) -> None:
    """Realizations of the study with another refractory time are paired, and nothing shows it of other seeds."""
    csv_files(study / "own", simulated(range(1, 6), refractory=2.1), lambda rows: rows)
    options = ("--all-recorded", "--paired")
    result = portability(study, "import", "study.toml", "own", "--label", "own", *options)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stdout
    renamed = {seed - 10: spikes for seed, spikes in runs.items()}
    csv_files(study / "other", renamed, lambda rows: rows)
    result = portability(study, "import", "study.toml", "other", "--label", "other", *options)
    assert result.returncode == 0, result.stderr
    assert "Nothing shows that these runs are paired" in result.stdout


GIVEN_MODEL = """
def build(sim):
    times = [[20.0 * k + i for k in range(1, 40)] for i in range(10)]
    source = sim.Population(10, sim.SpikeSourceArray(spike_times=times), label="S")
    cells = sim.Population(60, sim.IF_curr_exp(tau_m=10.0, tau_refrac=2.0), label="E")
    noise = sim.Population(60, sim.SpikeSourcePoisson(rate=8500.0), label="noise")
    sim.Projection(noise, cells, sim.OneToOneConnector(), sim.StaticSynapse(weight=0.4, delay=1.0))
    sim.Projection(source, cells, sim.FixedNumberPreConnector(3), sim.StaticSynapse(weight=0.5, delay=1.0))
    for p in (source, cells):
        p.record("spikes")
"""


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (0.0, ""),
        (-0.1, "are those that the study gives to it, 1 steps early; are labels ends or begins"),
        (1.5, "are those that the study gives to it, 15 steps late"),
        (7.0, "are not those that the study gives to it; these runs had other input"),
    ],
)
def test_spikes_of_a_given_source_show_a_shift(tmp_path: Path, shift: float, words: str) -> None:
    """They are the same in all seeds and in the reference, which is no mistake, and must be on time."""
    (tmp_path / "model.py").write_text(GIVEN_MODEL)
    (tmp_path / "study.toml").write_text(
        STUDY.replace("5000.0", "600.0").replace("500.0", "100.0").replace("[1, 2, 3, 4, 5]", "[1]")
    )
    names: dict[str, Callable[..., None]] = {}
    exec(GIVEN_MODEL, names)
    network = capture(names["build"], {}, 0.1)
    emulator = backends.load("emulator")
    for seed in (21, 22, 23):
        held = number_format("double").on(Realization(network, seed, 0.1))
        spikes = emulator.simulation(held, emulator.options()).run(7000, lambda fraction: None)
        for label in ("S", "E"):
            found = spikes.populations[label]
            times = found.steps * 0.1 + shift
            table = pd.DataFrame({"time_ms": np.round(times, 1), "neuron": found.neurons})
            folder = tmp_path / "spikes" / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            table[table.time_ms > 0].to_csv(folder / f"{label}.csv", index=False)
    result = portability(
        tmp_path, "import", "study.toml", "spikes", "--label", "x", "--all-recorded"
    )
    assert result.returncode == (2 if words else 0), result.stderr
    assert words in result.stderr


def test_explain_with_a_study_names_populations_and_keeps_nothing(study: Path, runs: Runs) -> None:
    nest_files(study / "spikes", two(runs))
    (study / "map.toml").write_text(
        "[populations.E]\nids = [1, 80]\n[populations.I]\nids = [81, 100]\n"
    )
    options = ("--explain", "study.toml", "spikes", "--map", "map.toml", "--all-recorded")
    result = portability(study, "import", *options)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines if line[:1] in (["E"], ["I"])] == ["E", "I"]
    assert not (study / "results" / "foreign" / "imported").exists()


def test_a_table_with_a_header_only_has_no_spikes(tmp_path: Path) -> None:
    (tmp_path / "I_seed-1.csv").write_text("time_ms,neuron\n")
    (tmp_path / "E_seed-1.csv").write_text("time_ms,neuron\n510.0,0\n5400.0,4\n")
    found = take_in([tmp_path], ALL, EXPECTED)
    assert found.runs[1].populations["I"].steps.size == 0
    assert found.runs[1].populations["E"].neurons.tolist() == [0, 4]


def test_explain_needs_no_study(tmp_path: Path, runs: Runs) -> None:
    nest_files(tmp_path / "spikes", two(runs))
    result = portability(tmp_path, "import", "--explain", "spikes")
    assert result.returncode == 0, result.stderr
    assert "1 to 100" in result.stdout
    assert "ms" in result.stdout


def test_a_study_with_other_times_is_told(study: Path, runs: Runs) -> None:
    csv_files(study / "spikes", runs, lambda rows: rows)
    options = ("--label", "x", "--all-recorded")
    assert portability(study, "import", "study.toml", "spikes", *options).returncode == 0
    (study / "study.toml").write_text(STUDY.replace("5000.0", "4000.0"))
    assert portability(study, "run", "study.toml").returncode == 0
    entry = verdict_of(study, "x")
    assert entry["verdict"] == "not run"
    assert "import them again" in " ".join(entry["reasons"])  # type: ignore[arg-type]


def test_damaged_imports_are_refused(study: Path, runs: Runs) -> None:
    csv_files(study / "spikes", runs, lambda rows: rows)
    options = ("--label", "x", "--all-recorded")
    assert portability(study, "import", "study.toml", "spikes", *options).returncode == 0
    file = study / "results/foreign/imported/x/seed-12.h5"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    result = portability(study, "report", "study.toml")
    assert result.returncode == 2
    assert "damaged" in result.stderr


def test_files_that_nest_writes(tmp_path: Path) -> None:
    """Real recording files of two threads, against what NEST has in memory."""
    if reason := backends.load("nest").available():
        pytest.skip(reason)
    script = tmp_path / "run.py"
    script.write_text(
        "import nest, numpy as np\n"
        "nest.set_verbosity('M_ERROR')\n"
        "nest.SetKernelStatus({'local_num_threads': 2, 'resolution': 0.1, 'data_path': '.', 'rng_seed': 3})\n"
        "for n, label in ((30, 'E'), (10, 'I')):\n"
        "    cells = nest.Create('iaf_psc_delta', n)\n"
        "    drive = nest.Create('poisson_generator', params={'rate': 2000.0})\n"
        "    nest.Connect(drive, cells, syn_spec={'weight': 2.0, 'delay': 1.0})\n"
        "    files = nest.Create('spike_recorder', params={'record_to': 'ascii', 'label': label + '_seed1'})\n"
        "    memory = nest.Create('spike_recorder')\n"
        "    nest.Connect(cells, files)\n"
        "    nest.Connect(cells, memory)\n"
        "    exec(f'{label} = (cells, memory)')\n"
        "nest.Simulate(1000.0)\n"
        "for label, (cells, memory) in (('E', E), ('I', I)):\n"
        "    np.savez(label + '.memory', first=cells[0].global_id, **{\n"
        "        k: memory.events[k] for k in ('senders', 'times')})\n"
    )
    subprocess.run([sys.executable, "run.py"], cwd=tmp_path, check=True, capture_output=True)
    files = sorted(tmp_path.glob("*.dat"))
    assert len(files) == 4
    memory = {label: np.load(tmp_path / f"{label}.memory.npz") for label in "EI"}
    firsts = "".join(f"[populations.{p}]\nfirst_id = {int(memory[p]['first'])}\n" for p in "EI")
    (tmp_path / "map.toml").write_text('recorded = "all"\n' + firsts)
    expected = Expected({"E": 30, "I": 10}, 0.1, 0.0, 1000.0)
    found = take_in(files, read_map(tmp_path / "map.toml"), expected)
    for label in "EI":
        own = memory[label]
        spikes = PopulationSpikes.from_unsorted(
            30, np.rint(own["times"] / 0.1), own["senders"] - int(own["first"])
        )
        np.testing.assert_array_equal(found.runs[1].populations[label].steps, spikes.steps)
        np.testing.assert_array_equal(found.runs[1].populations[label].neurons, spikes.neurons)


def with_candidate(study: Path, text: str) -> None:
    (study / "study.toml").write_text(STUDY + f"\n[[candidate]]\n{text}\n")


def test_a_study_names_spikes(study: Path, runs: Runs) -> None:
    csv_files(study / "spikes", runs, lambda rows: rows)
    (study / "map.toml").write_text('recorded = "all"\n')
    with_candidate(study, 'spikes = "spikes/*.csv"\nlabel = "board"\nmap = "map.toml"')
    assert portability(study, "run", "study.toml").returncode == 0
    record = study / "results/foreign/imported/board/ensemble.json"
    created = record.read_text()
    assert verdict_of(study, "board")["verdict"] == "pass"
    # nothing changes, so nothing is read again; files that are gone are not missed
    assert portability(study, "run", "study.toml").returncode == 0
    shutil.move(study / "spikes", study / "away")
    assert portability(study, "report", "study.toml").returncode == 0
    assert record.read_text() == created
    shutil.move(study / "away", study / "spikes")
    rows = pd.read_csv(study / "spikes/seed-11.csv")
    rows[rows.time_ms > 5.0].iloc[1:].to_csv(study / "spikes/seed-11.csv", index=False)
    assert portability(study, "report", "study.toml").returncode == 0
    assert record.read_text() != created


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('spikes = "nowhere"\nlabel = "x"', "candidate.spikes: .*nowhere: there is no such file"),
        ('spikes = "*.csv"\nlabel = "x"', r"candidate.spikes: \*.csv: there is no such"),
        ('spikes = "model.py"\nlabel = "x"', "'x': .*model.py: its format is unknown"),
        ('spikes = "model.py"', r"candidate.label \(candidate 1\): is missing, it must be a name"),
        ('spikes = []\nlabel = "x"', r"candidate.spikes \(candidate 1\): must be the path"),
        ('spikes = "a"\nlabel = "x"\nformat = "double"', r"candidate.format \(candidate 1\): unknown key"),
        ('spikes = "a"\nlabel = "../"', r"candidate.label \(candidate 1\): label '../': allowed are"),
        (
            'spikes = "a"\nlabel = "x"\n[[candidate]]\nspikes = "b"\nlabel = "x"',
            r"candidate.label \(candidate 2\): 'x' is the label of other spikes",
        ),
        ('backend = "emulator"', r"candidate.format \(candidate 1\): is missing, it must be"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_such_a_candidate_is_said(study: Path, text: str, words: str) -> None:
    with_candidate(study, text)
    result = portability(study, "run", "study.toml")
    assert result.returncode == 2, result.stdout
    assert re.search(words, result.stderr), result.stderr


REFERENCE = STUDY.replace(
    'backend = "emulator"',
    'spikes = "colleague"\nlabel = "NEST of a colleague"\nmap = "map.toml"\n\n'
    '[[candidate]]\nbackend = "emulator"\nformat = "double"',
)


def test_spikes_from_elsewhere_as_the_reference(tmp_path: Path, runs: Runs) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "study.toml").write_text(REFERENCE)
    (tmp_path / "map.toml").write_text('recorded = "all"\n')
    csv_files(tmp_path / "colleague", runs, lambda rows: rows)
    result = portability(tmp_path, "run", "study.toml")
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "results/foreign/results.json").read_text())
    reference, (candidate,) = results["reference"], results["candidates"]
    assert (reference["backend"], reference["format"]) == ("imported", "NEST of a colleague")
    assert (reference["verdict"], len(reference["runs"])) == ("reference", 5)
    assert reference["baseline"]
    assert (candidate["verdict"], candidate["pairing"]) == ("pass", "unpaired")
    assert "NEST of a colleague" in (tmp_path / "results/foreign/report.html").read_text()
    # other spikes are compared with it, too, and must not be those of the reference
    csv_files(tmp_path / "weak", simulated(range(21, 25), drive=0.9), lambda rows: rows)
    options = ("--all-recorded", "--label")
    judged = portability(tmp_path, "judge", "study.toml", "weak", *options, "weak")
    assert judged.returncode == 1, judged.stderr
    again = portability(tmp_path, "judge", "study.toml", "colleague", *options, "again")
    assert again.returncode == 2
    assert "those of the reference's seed 11" in again.stderr
    told = portability(tmp_path, "selftest", "study.toml")
    assert (told.returncode, "is imported" in told.stderr) == (2, True)
    for command in ("describe", "validate", "report"):
        assert portability(tmp_path, command, "study.toml").returncode in (0, 1)


def test_what_is_wrong_with_such_a_reference_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "map.toml").write_text("")
    for text, words in (
        (REFERENCE, "reference.spikes: .*colleague: there is no such file"),
        (REFERENCE.replace('label = "NEST of a colleague"\n', ""), "reference.label: is missing"),
        (
            REFERENCE.replace('map = "map.toml"', 'backend = "nest"'),
            "reference.backend: unknown key",
        ),
        (
            STUDY.replace('backend = "emulator"', ""),
            "reference.backend: is missing, it must be the name",
        ),
    ):
        (tmp_path / "study.toml").write_text(text)
        result = portability(tmp_path, "run", "study.toml")
        assert result.returncode == 2, result.stdout
        assert re.search(words, result.stderr), result.stderr
