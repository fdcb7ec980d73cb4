"""The study file: what it expands to, and one clear sentence for everything that is wrong with it."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from pynn_portability.errors import RequestError
from pynn_portability.run.study import Run, Study, inventory, load_study

MODEL = """\
def build(sim, n=4, weight=0.5, profile=None):
    pass
"""

STUDY = """\
[study]
name = "tiny"
[model]
build = "model.py:build"
n = 5
[simulation]
duration = 200.0
warmup = 50.0
seeds = [3, 1]
[reference]
backend = "nest"
format = "double"
[[candidate]]
backend = "brian2"
format = ["double", "float32"]
[[candidate]]
backend = "nest"
format = "naive-2"
[backends.nest]
threads = 2
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


def test_expands_into_runs_in_order(study_file: Path) -> None:
    study = load_study(study_file)
    combinations = [("nest", "double"), ("brian2", "double"), ("brian2", "float32")]
    combinations.append(("nest", "naive-2"))
    assert [(r.backend, r.format, r.seed) for r in study.runs()] == [
        (backend, text, seed) for backend, text in combinations for seed in (3, 1)
    ]
    assert study.runs()[0] == Run("reference", "nest", "double", 3)
    assert {r.role for r in study.runs()[2:]} == {"candidate"}
    assert study.backend_names() == ("nest", "brian2")
    assert study.options("nest").model_dump() == {"threads": 2}
    assert study.model.parameters == {"n": 5}


def test_emulator_with_weights_and_state(study_file: Path) -> None:
    text = STUDY.replace('"brian2"', '"emulator"').replace("backends.nest", "backends.emulator")
    formats = ["double", "naive-2/float32", "moments-4/s16.15-floor-wrap"]
    text = text.replace('["double", "float32"]', str(formats))
    study_file.write_text(text.replace("threads = 2", 'threads = 2\nweights = "int16"'))
    study = load_study(study_file)
    assert [r.format for r in study.runs() if r.backend == "emulator" and r.seed == 1] == formats
    options = study.options("emulator").model_dump()
    assert options == {"threads": 2, "weights": "int16", "drive_limit": 0}


def steps(study: Study) -> int:
    return study.simulation.steps(study.simulation.timestep)


def test_defaults(study_file: Path) -> None:
    text = STUDY.replace("warmup = 50.0\n", "")
    study_file.write_text(text[: text.index("[[candidate]]")])
    study = load_study(study_file)
    assert study.simulation.warmup == 1000.0
    assert study.simulation.timestep == 0.1
    assert steps(study) == 12000
    assert [r.role for r in study.runs()] == ["reference", "reference"]
    assert study.options("nest").model_dump()["threads"] == 1


def test_whole_numbers_are_numbers(study_file: Path) -> None:
    study_file.write_text(STUDY.replace("duration = 200.0", "duration = 200"))
    assert load_study(study_file).simulation.duration == 200.0


def test_decimal_multiples_of_the_timestep_are_multiples(study_file: Path) -> None:
    # 0.3 / 0.1 and 4.35 / 0.05 are no whole numbers in binary
    study_file.write_text(STUDY.replace("warmup = 50.0", "warmup = 0.3"))
    assert steps(load_study(study_file)) == 2003
    study_file.write_text(STUDY.replace("warmup = 50.0", "warmup = 4.35\ntimestep = 0.05"))
    assert steps(load_study(study_file)) == 4087


def test_a_format_with_a_time_step_of_its_own(study_file: Path) -> None:
    study_file.write_text(STUDY.replace('format = "naive-2"', 'format = "double@0.5ms"'))
    study = load_study(study_file)
    assert study.timestep("double@0.5ms") == 0.5
    assert study.simulation.steps(0.5) == 500
    assert study.timestep("double") == 0.1


def test_no_script_runs_when_a_study_is_read(
    study_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study_file.parent / "model.py").write_text("raise SystemExit(0)")
    assert load_study(study_file).model.build == "model.py:build"
    assert capsys.readouterr() == ("", "")


# what to replace, by what, and words that the sentence must contain
MISTAKES = {
    "misspelt key": ("duration =", "duraton =", ["simulation.duraton", "'duration'", "warmup"]),
    "misspelt section": ("[simulation]", "[simulaton]", ["simulaton", "'simulation'"]),
    "missing section": ("[reference]\nbackend = ", "[model.x]\ny = ", ["reference", "missing"]),
    "missing key": ("duration = 200.0\n", "", ["simulation.duration", "missing"]),
    "no backend": ('backend = "brian2"\n', "", ["candidate.backend (candidate 1)", "missing"]),
    "unknown backend": ('"brian2"', '"brain2"', ["candidate 1", "'brain2'", "'brian2'", "nest"]),
    "unknown reference": ('"nest"\nformat = "double"', '"nst"', ["reference.backend", "'nest'"]),
    "unknown format": ('"naive-2"', '"naive-x"', ["candidate 2", "'naive-x'", "moments-N"]),
    "misspelt format": ('"naive-2"', '"niave-2"', ["'niave-2'", "did you mean 'naive-2'"]),
    "misspelt state": (
        '"naive-2"',
        '"naive-2/flaot32"',
        ["candidate 2", "did you mean 'naive-2/float32'"],
    ),
    "misspelt machine": ('"naive-2"', '"loihy"', ["candidate 2", "did you mean 'loihi'"]),
    "no such machine": ('"naive-2"', '"x/mine.toml"', ["candidate 2", "x/mine.toml: there is no"]),
    "machine's time step": (
        '"naive-2"',
        '"loihi@0.3ms"',
        ["candidate 2", "'loihi@0.3ms'", "simulation.duration"],
    ),
    "unknown state": ('"naive-2"', '"naive-2/s16.16"', ["'naive-2/s16.16'", "sI.F", "31"]),
    "state spelled out": ('"naive-2"', '"naive-2/double"', ["'naive-2/double'", "naive-N"]),
    "format of the reference": ('format = "double"', 'format = "dubble"', ["reference.format"]),
    "format of wrong type": ('"naive-2"', "2", ["candidate.format (candidate 2)", "not 2"]),
    "format in a list": ('"float32"]', "32]", ["candidate.format (candidate 1, item 2)", "32"]),
    "no format": ('["double", "float32"]', "[]", ["candidate.format (candidate 1)", "not []"]),
    "unknown model": ('"model.py:build"', '"microcircut"', ["model.build", "'microcircuit'"]),
    "date as parameter": ("n = 5", "n = 2020-01-01", ["model.n", "finite number"]),
    "infinite parameter": ("n = 5", "n = [1.0, inf]", ["model.n", "finite number"]),
    "unknown option": ("threads = 2", "treads = 2", ["backends.nest.treads", "'threads'"]),
    "option of wrong type": (
        "threads = 2",
        "threads = 2.5",
        ["backends.nest.threads", "whole number"],
    ),
    "true is no number": (
        "threads = 2",
        "threads = true",
        ["backends.nest.threads", "whole number"],
    ),
    "no threads": ("threads = 2", "threads = 0", ["backends.nest.threads", "at least 1"]),
    "unknown choice": (
        "[backends.nest]\nthreads = 2",
        '[backends.emulator]\nweights = "int8"',
        ["backends.emulator.weights", '"int8"', "auto", "int16"],
    ),
    "options of nobody": ("[backends.nest]", "[backends.nset]", ["backends.nset", "'nest'"]),
    "option outside": ("[backends.nest]", "[backends]", ["backends.threads", "table"]),
    "negative duration": ("duration = 200.0", "duration = -1.0", ["simulation.duration", "posit"]),
    "no duration": ("duration = 200.0", "duration = 0.0", ["simulation.duration", "positive"]),
    "infinite duration": (
        "duration = 200.0",
        "duration = inf",
        ["simulation.duration", "Infinity"],
    ),
    "undefined duration": ("duration = 200.0", "duration = nan", ["simulation.duration", "NaN"]),
    "endless duration": ("duration = 200.0", "duration = 1e300", ["simulation.duration", "steps"]),
    "text as duration": ("duration = 200.0", 'duration = "2"', ["simulation.duration", 'not "2"']),
    "true as duration": (
        "duration = 200.0",
        "duration = true",
        ["simulation.duration", "not true"],
    ),
    "negative warmup": ("warmup = 50.0", "warmup = -0.1", ["simulation.warmup", "zero or more"]),
    "zero timestep": ("warmup =", "timestep = 0.0\nwarmup =", ["simulation.timestep", "positive"]),
    "off the grid": ("duration = 200.0", "duration = 200.05", ["simulation.duration", "multiple"]),
    "warmup off the grid": ("warmup = 50.0", "warmup = 0.15", ["simulation.warmup", "multiple"]),
    "duplicate seeds": ("[3, 1]", "[3, 1, 3]", ["simulation.seeds", "seed 3", "more than once"]),
    "no seeds": ("[3, 1]", "[]", ["simulation.seeds", "[]"]),
    "one seed without list": ("[3, 1]", "3", ["simulation.seeds", "list"]),
    "fractional seed": ("[3, 1]", "[3, 1.5]", ["simulation.seeds (item 2)", "1.5", "integers"]),
    "true as seed": ("[3, 1]", "[true]", ["simulation.seeds (item 1)", "true"]),
    "seed zero": ("[3, 1]", "[0]", ["simulation.seeds", "from 1"]),
    "giant seed": ("[3, 1]", "[4294967296]", ["simulation.seeds", "4294967295"]),
    "repeats reference": ('"naive-2"', '"double"', ["candidate 2", "repeats the reference"]),
    "repeats candidate": ('["double", "float32"]', '["double", "double"]', ["repeats candidate 1"]),
    "single brackets": ("[[candidate]]", "[candidate]", ["TOML", "line 16"]),
    "name with slash": ('name = "tiny"', 'name = "../tiny"', ["study.name", '"../tiny"']),
    "syntax": ("seeds = [3, 1]", "seeds = [3, 1", ["TOML", "line 10, column"]),
    "no scaling": (
        'format = "naive-2"\n',
        'scaling = "half"\n',
        ["candidate.scaling (candidate 2)", "'half' is no scaling", "K=0.5:sqrt"],
    ),
    "scaling of nothing": (
        'format = "naive-2"\n',
        'scaling = "N=0"\n',
        ["candidate.scaling (candidate 2)", "N must be above 0 and at most 1"],
    ),
    "scaling twice": (
        'format = "naive-2"\n',
        'scaling = ["N=0.5", "N=0.5"]\n',
        ["candidate 2", "'double N=0.5' repeats candidate 2"],
    ),
    "rates without scaling": (
        'format = "naive-2"\n',
        'format = "naive-2"\nrates = { E = 5.0 }\n',
        ["candidate", "rates: belongs to a scaling"],
    ),
    "rates from theory without scaling": (
        'format = "naive-2"\n',
        'format = "naive-2"\nrates_from = "mean-field"\n',
        ["candidate", "rates_from: belongs to a scaling"],
    ),
    "rates given and from theory": (
        'format = "naive-2"\n',
        'scaling = "K=0.5:sqrt"\nrates = { E = 5.0 }\nrates_from = "mean-field"\n',
        ["candidate", "rates_from: contradicts rates"],
    ),
    "rates from elsewhere": (
        'format = "naive-2"\n',
        'scaling = "K=0.5:sqrt"\nrates_from = "meanfield"\n',
        ["candidate.rates_from (candidate 2)", '"reference" or "mean-field"'],
    ),
    "rate as text": (
        'format = "naive-2"\n',
        'scaling = "K=0.5:sqrt"\nrates = { E = "5" }\n',
        ["candidate.rates", '"5"'],
    ),
    "neither format nor scaling": (
        'format = "naive-2"\n',
        "",
        ["candidate.format (candidate 2)", "missing"],
    ),
    "unknown statistic": (
        "[backends.nest]",
        '[statistics]\nuse = ["rate", "fano"]\n[backends.nest]',
        ["statistics.use", "'fano' is no statistic", "synchrony"],
    ),
    "statistics without rates": (
        "[backends.nest]",
        '[statistics]\nuse = ["cv"]\n[backends.nest]',
        ["statistics.use", '"rate"'],
    ),
    "statistic twice": (
        "[backends.nest]",
        '[statistics]\nuse = ["rate", "lv", "lv"]\n[backends.nest]',
        ["statistics.use", "'lv' appears more than once"],
    ),
    "bins off the grid": (
        '"naive-2"\n',
        '"double@0.4ms"\n[statistics]\nuse = ["rate", "synchrony"]\n',
        ["statistics.use", "'synchrony'", "3 ms", "0.4 ms"],
    ),
    "steps longer than bins": (
        '"naive-2"\n',
        '"double@2ms"\n[statistics]\nuse = ["rate", "covariance"]\n',
        ["statistics.use", "'covariance'", "2 ms"],
    ),
    "epochs longer than runs": (
        "[backends.nest]",
        '[statistics]\nuse = ["rate", "epochs-500"]\n[backends.nest]',
        ["statistics.use", "'epochs-500'", "simulation.duration", "500 ms"],
    ),
    "key twice": ("n = 5", "n = 5\nn = 6", ["TOML", "line 6"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_sentence_for_every_mistake(name: str, study_file: Path) -> None:
    old, new, words = MISTAKES[name]
    assert old in STUDY
    study_file.write_text(STUDY.replace(old, new, 1))
    with pytest.raises(RequestError) as caught:
        load_study(study_file)
    sentence = str(caught.value)
    assert sentence.startswith(f"{study_file}: ")
    assert "\n" not in sentence
    assert "pydantic" not in sentence
    assert [word for word in words if word not in sentence] == [], sentence


def test_a_single_candidate_table_is_refused(study_file: Path) -> None:
    start = STUDY.index("[[candidate]]")
    study_file.write_text(STUDY[:start] + '[candidate]\nbackend = "nest"\nformat = "naive-2"\n')
    with pytest.raises(RequestError, match=r"candidate: must be .*\[\[candidate\]\]"):
        load_study(study_file)


def test_files_that_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no such study file"):
        load_study(tmp_path / "absent.toml")
    with pytest.raises(RequestError, match="is not a file"):
        load_study(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="UTF-8"):
        load_study(tmp_path / "binary.toml")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(RequestError, match="study: is missing"):
        load_study(tmp_path / "empty.toml")
    (tmp_path / "nested.toml").write_text("x = " + "[" * 10000)
    with pytest.raises(RequestError, match="TOML"):
        load_study(tmp_path / "nested.toml")


def test_inventory_names_machines() -> None:
    machines = inventory()["machines"]
    assert machines["loihi"] == "Loihi 1 and 2"
    assert machines["truenorth-full"] == "TrueNorth, time step 1 ms"
    assert "brainscales1-full" not in machines


# --- Extremes: refused at once, whatever they are ---

HANGS = 30.0
"""Seconds after which a file is taken to hang; the largest take one or two."""
MANY = 10**6
EXTREMES = {
    "thousands of digits": ("n = 5", f"n = {'9' * 5000}", "n: .*64 bits.*5000 digits"),
    "digits in a list": ("n = 5", f"n = [1,\n {'9' * 5000}]", "line 6: .*64 bits"),
    "a million digits": ("n = 5", f"n = {'1_' * (MANY // 2)}1", "n: .*64 bits"),
    "hexadecimal digits": ("n = 5", f"n = 0x{'f' * 8000}", "model.n: .*32000 bits"),
    "large": ("200.0", "1" + "0" * 400, "simulation.duration: .*64 bits"),
    "infinite": ("200.0", "1e400", "simulation.duration: .*not Infinity"),
    "infinite seed": ("[3, 1]", "[1e400]", "simulation.seeds"),
    "large option": ("threads = 2", "threads = 9" + "9" * 20, "backends.nest.threads: .*64 bits"),
    "date": ("200.0", "1979-05-27", 'simulation.duration: .*not "1979-05-27"'),
    "date of the model": ("n = 5", "n = 07:32:00", "model.n: must be a finite number"),
    "date of a backend": ("threads = 2", "threads = 1979-05-27", "backends.nest.threads"),
    "twice": ("n = 5", "n = 5\nn = 6", "TOML: .*line 6"),
    "NUL": ('"tiny"', '"ti\0ny"', "TOML: .*line 2"),
    "NUL escaped": ('"tiny"', '"ti\\u0000ny"', "study.name: must be a name"),
    "deep list": ("n = 5", f"n = {'[' * 300}{']' * 300}", "model.n .*nested"),
    "very deep list": ("n = 5", f"n = {'[' * 30000}{']' * 30000}", "nested"),
    "deep table": ("n = 5", f"n = {'{a=' * 300}1{'}' * 300}", "model.n.a.* nested"),
    "deep key": ("n = 5", f"{'a.' * (MANY // 2)}a = 5", "a.a.a.*nested .*line 5"),
    "deep quoted key": ("n = 5", f"{' . '.join(['a'] * 99999)} = 5", "nested .*line 5"),
    "deep header": ("[backends.nest]", f"[{'.'.join(['a'] * 9999)}]", "nested .*line 19"),
    "long key": ("n = 5", f"{'n' * 900_000} = 5", "nnn.*900000 characters"),
    "many seeds": ("[3, 1]", str(list(range(1, 90_000))), "simulation.seeds: .*89,999 seeds"),
    "many other seeds": ("[3, 1]", str([0] * 10**5), "simulation.seeds: .*100,000 seeds"),
    "many candidates": ("[[candidate]]\n", "[[candidate]]\n" * 30_000, "candidate.backend .candidate 1.: is missing"),
    "many formats": ('"naive-2"', str([f"naive-{i}" for i in range(1, 2000)]).replace("'", '"'),
                     "candidate: .*2,002 combinations"),
    "large file": ("n = 5", "#" * 2**20, "larger than 1024 KiB"),
}  # fmt: skip


@pytest.mark.parametrize("extreme", EXTREMES)
def test_extremes_are_refused_at_once(study_file: Path, extreme: str) -> None:
    old, new, words = EXTREMES[extreme]
    assert old in STUDY
    study_file.write_text(STUDY.replace(old, new))
    begun = time.monotonic()
    with pytest.raises(RequestError) as caught:
        load_study(study_file)
    assert time.monotonic() - begun < HANGS
    sentence = str(caught.value)
    assert sentence.startswith(f"{study_file}: ")
    assert re.search(words, sentence), sentence
    assert len(sentence) < 1000


def test_many_runs_are_refused(study_file: Path) -> None:
    formats = str([f"naive-{i}" for i in range(1, 501)]).replace("'", '"')
    seeds = str(list(range(1, 1001)))
    study_file.write_text(STUDY.replace('"naive-2"', formats).replace("[3, 1]", seeds))
    with pytest.raises(RequestError, match=r"simulation.seeds: 1,000 seeds make 503,000 runs"):
        load_study(study_file)


def test_as_many_seeds_as_are_allowed(study_file: Path) -> None:
    seeds = list(range(1, 10_001))
    study_file.write_text(STUDY.replace("[3, 1]", str(seeds)))
    assert load_study(study_file).simulation.seeds == seeds


def test_a_mark_of_the_order_of_bytes_says_nothing(study_file: Path) -> None:
    before = load_study(study_file)
    study_file.write_text("\ufeff" + STUDY, encoding="utf-8")
    assert load_study(study_file) == before


def test_a_linked_study_file_is_read(study_file: Path) -> None:
    """It is the user's own, unlike what lies in a folder of results."""
    link = study_file.with_name("link.toml")
    link.symlink_to(study_file)
    assert load_study(link).runs() == load_study(study_file).runs()


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    endless = Path("/dev/zero")
    for path in (pipe, endless, loop, tmp_path / ("n" * 5000)):
        with pytest.raises(RequestError) as caught:
            load_study(path)
        assert str(caught.value).startswith(f"{path}: ")
