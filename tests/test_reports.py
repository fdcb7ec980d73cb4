"""The HTML report: what it says, what it must never do, and how it looks to a browser."""

from __future__ import annotations

import copy
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from chromium import EXECUTABLE, Page
from report_example import WARMUP, example, write

from pynn_portability.judge.adequacy import Evidence
from pynn_portability.judge.ensemble import Ensemble
from pynn_portability.reports.figures import population_mean_pictures
from pynn_portability.results.schema import Baseline, Score
from pynn_portability.spikes.data import PopulationSpikes, SpikeData

SMALL = {"L4E": 220, "L4I": 60}
# Three numbers of bins of one scheme, one of the other.
SWEEP = (("nest", "naive-2"), ("nest", "naive-4"), ("nest", "naive-16"), ("nest", "moments-2"))


class _Parsed(HTMLParser):
    """Text and tags of a page; text of scripts and styles is left out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def drawings(self) -> dict[str, ElementTree.Element]:
        """SVG root of every picture by its alternative text."""
        prefix = "data:image/svg+xml;base64,"
        return {
            str(image["alt"]): ElementTree.fromstring(
                b64decode(str(image["src"]).removeprefix(prefix))
            )
            for image in self.attributes("img")
        }


def _render(folder: Path, data: tuple) -> _Parsed:
    path = folder / "report.html"
    write(path, *data)
    return _Parsed(path.read_text(encoding="utf-8"))


def _labels(drawing: ElementTree.Element) -> list[str]:
    return ["".join(e.itertext()) for e in drawing.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(path, *example())
    return path


@pytest.fixture(scope="module")
def page(report: Path) -> _Parsed:
    return _Parsed(report.read_text(encoding="utf-8"))


def test_outcome_in_words(page: _Parsed) -> None:
    assert (
        "nest naive-2 deviates; brian2 float32 failed; brian2 double and nest moments-2 pass,"
        " judged against nest double." in page.text
    )


def test_matrix_gives_verdicts_in_words_and_leads_to_sections(page: _Parsed) -> None:
    every = [a for a in page.attributes("a") if "cell" in str(a.get("class"))]
    cells = [a for a in every if "aria-label" not in a]
    assert sorted(str(c["class"]) for c in cells) == [
        "cell deviates", "cell failed", "cell pass", "cell pass", "cell reference",
    ]  # fmt: skip
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert all(str(a["href"]).removeprefix("#") in ids for a in page.attributes("a"))
    for words in (
        "✓ passes all 24",
        "◆ deviates 8 of 24",
        "! failed 5 of 5 runs",
        "● reference 5 seeds",
    ):
        assert words in page.text


def test_what_is_kept_is_said_by_statistic(page: _Parsed) -> None:
    """Three candidates have scores, and three statistics each; a label says what a sign and a number show."""
    labels = [
        str(a["aria-label"])
        for a in page.attributes("a")
        if "cell" in str(a.get("class")) and a.get("aria-label")
    ]
    assert len(labels) % 3 == 0
    assert len(labels) >= 9
    assert all(
        re.fullmatch(r"(passes|deviates|inconclusive), [\d.]+ in \w+", label) for label in labels
    )
    assert any(label.startswith("deviates") for label in labels)
    assert "What is kept, by statistic" in page.text


def test_sections_state_rule_scores_means_cost_failures_and_provenance(page: _Parsed) -> None:
    for words in (
        "A comparison deviates if the ratio is above 1",
        "Deviates in L23E (rate)",
        "All 24 scores",
        "L23E 2,068 0.90",
        "Bytes per synapse",
        "1.33 GiB",
        "brian2 float32 1, 2, 3, 4, 5 brian2: the process ended with signal 9 (out of memory?).",
        "scale = 0.1, connectivity = fixed_indegree",
        "nest-simulator 3.10.0, PyNN 0.13.0",
        "9f0c1b7e" * 8,
        "portability-results/1",
    ):
        assert words in page.text, words


def test_score_table_shows_the_numbers_of_the_results(page: _Parsed) -> None:
    results, _, _ = example()
    score = results["candidates"][2]["scores"][0]
    row = (
        f"{score['population']} Firing rate {score['distance']:.3f}"
        f" {score['baseline_mean']:.3f} ± {score['baseline_sd']:.3f} {score['ratio']:.2f}"
        f" [{score['ratio_low']:.2f}, {score['ratio_high']:.2f}] ◆ deviates"
    )
    assert row in page.text


def test_pictures_have_words_and_name_what_deviates(page: _Parsed) -> None:
    drawings = page.drawings
    # Three KS pictures and three of distributions for each of three candidates; rasters of all.
    assert len(page.attributes("img")) == 3 * (3 + 3 + 2)
    naive = [
        a
        for a in drawings
        if a.endswith("deviating populations: L23E, L23I, L4E, L4I, L5E, L5I, L6E, L6I.")
    ]
    assert len(naive) == 1
    assert "firing rate" in naive[0]
    for drawing in drawings.values():
        assert {"L23E", "L6I"} <= set(_labels(drawing))


def test_missing_values_are_dashes(page: _Parsed) -> None:
    assert not re.search(r"\b(nan|NaN|None|null|Undefined)\b", page.text)
    assert re.search(r"brian2 float32 – – – – – – – 0 of 5", page.text)  # noqa: RUF001


def test_file_is_small_and_self_contained(report: Path, page: _Parsed) -> None:
    assert report.stat().st_size < 5e6
    names = [name for name, _ in page.tags]
    assert not {"script", "link", "iframe", "object"} & set(names)
    sources = [str(a[k]) for _, a in page.tags for k in ("src", "href", "srcset") if k in a]
    assert all(s.startswith(("data:", "#")) for s in sources)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_same_input_gives_the_same_file(tmp_path: Path) -> None:
    data = example((("nest", "naive-2"),), (), sizes=SMALL)
    for name in ("a.html", "b.html"):
        write(tmp_path / name, *data)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_drawings_as_files_are_those_of_the_page(tmp_path: Path) -> None:
    wild = "path/to the.toml"
    results, statistics, spikes = example(SWEEP, (), sizes=SMALL)
    results["candidates"][3]["format"] = wild
    key = ("nest", "moments-2")
    statistics["nest", wild], spikes["nest", wild] = statistics.pop(key), spikes.pop(key)
    folder = tmp_path / "figures"
    folder.mkdir()
    write(tmp_path / "report.html", results, statistics, spikes, None, folder)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    page = _Parsed((tmp_path / "report.html").read_text())
    sources = {str(image["src"]).partition(",")[2] for image in page.attributes("img")}
    assert {b64encode(content).decode() for content in files.values()} == sources
    assert {
        "nest-naive-2-distance-rate.svg",
        "nest-bins-cc.svg",
        "nest-naive-2-naive-4-distribution-cv.svg",
        "nest-naive-2-naive-4-spikes-3.svg",
        "nest-path-to-the.toml-spikes.svg",
    } <= set(files)


def test_a_failing_write_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    path = tmp_path / "report.html"
    path.write_text("old")
    monkeypatch.setattr("os.replace", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, *example((), (), sizes=SMALL))
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_names_are_escaped(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    formula = r"$\frac{$ & \"E'" + "\x1b\x00"
    results, statistics, spikes = example((("nest", "naive-2"),), (), sizes={bad: 200, formula: 50})
    results["study"]["name"] = f"{bad} study"
    results["study"]["model"]["parameters"]["path"] = bad
    results["candidates"][0]["reasons"] = [f"because {bad}"]
    results["candidates"][0]["runs"][0] |= {"status": "failed", "error": f"<img src=x> {bad}"}
    results["rule"]["text"][0] = bad
    parsed = _render(tmp_path, (results, statistics, spikes))
    assert not parsed.attributes("script")
    assert all(str(a["src"]).startswith("data:") for a in parsed.attributes("img"))
    assert f"because {bad}" in parsed.text
    drawn = {label for d in parsed.drawings.values() for label in _labels(d)}
    assert "<script>…ript>" in drawn  # shortened, literal, in well-formed SVG
    assert "$\\frac{$…\"E'\ufffd\ufffd" in drawn  # not taken for mathematics


def test_no_candidate_shows_the_reference_alone(tmp_path: Path) -> None:
    parsed = _render(tmp_path, example((), (), sizes=SMALL))
    assert "The reference alone: 5 realizations on nest double" in parsed.text
    assert "How a verdict is reached" not in parsed.text
    assert len(parsed.drawings) == 3 + 3 + 1
    assert any("between seeds of the reference" in alt for alt in parsed.drawings)


def test_one_seed_has_no_baseline(tmp_path: Path) -> None:
    alone = _render(tmp_path, example((), (), seeds=(7,), sizes=SMALL))
    assert len(alone.drawings) == 3 + 1
    judged = _render(tmp_path, example((("nest", "naive-2"),), (), seeds=(7,), sizes=SMALL))
    assert "– – [–, –] ? inconclusive" in judged.text  # noqa: RUF001
    assert "nest naive-2 is inconclusive, judged against nest double." in judged.text


def test_everything_passes(tmp_path: Path) -> None:
    results, statistics, spikes = example((("brian2", "double"),), (), sizes=SMALL)
    for score in [results["candidates"][0], *results["candidates"][0]["scores"]]:
        score["verdict"] = "pass"
    parsed = _render(tmp_path, (results, statistics, spikes))
    assert (
        "brian2 double passes: no deviation exceeds the variability between realizations"
        in parsed.text
    )


def test_failed_reference(tmp_path: Path) -> None:
    results, _, _ = example((("nest", "naive-2"),), (("nest", "naive-2"),), sizes=SMALL)
    results["reference"] |= {"verdict": "failed", "means": [], "baseline": [], "cost": None}
    results["reference"]["reasons"] = ["NEST is not installed."]
    for run in results["reference"]["runs"]:
        run |= {"status": "failed", "error": None, "log": f"logs/{run['seed']}.txt"}
    parsed = _render(tmp_path, (results, {}, {}))
    assert (
        "Every run of the reference, nest double, failed, so nothing can be judged." in parsed.text
    )
    assert "NEST is not installed." in parsed.text
    assert "nest double 1, 2, 3, 4, 5 – Log: logs/1.txt, logs/2.txt" in parsed.text  # noqa: RUF001
    assert not parsed.attributes("img")


def test_partly_failed_reference(tmp_path: Path) -> None:
    results, statistics, spikes = example((("brian2", "double"),), (), sizes=SMALL)
    results["reference"]["verdict"] = "failed"
    results["reference"]["runs"][0] |= {"status": "failed", "error": "out of memory"}
    results["candidates"][0]["verdict"] = "pass"
    del statistics["nest", "double"][1]
    parsed = _render(tmp_path, (results, statistics, spikes))
    assert (
        "1 of 5 runs of the reference failed; brian2 double passes, judged against nest double."
        in parsed.text
    )
    assert "! failed 1 of 5 runs" in parsed.text
    # Without a seed in common there is no distribution to compare.
    statistics["nest", "double"] = {9: statistics["nest", "double"][2]}
    alts = _render(tmp_path, (results, statistics, spikes)).drawings
    assert not any(alt.startswith("Distribution") for alt in alts)


def test_partly_failed_candidate_with_silent_and_missing_populations(tmp_path: Path) -> None:
    results, statistics, spikes = example((("nest", "naive-2"),), (), seeds=(1, 2), sizes=SMALL)
    key = ("nest", "naive-2")
    statistics = copy.deepcopy(statistics)
    del statistics[key][2]
    statistics[key][1]["L4E"] = {
        "rate": np.zeros(220),
        "cv": np.array([]),
        "cc": np.array([np.nan]),
    }
    del statistics[key][1]["L4I"]
    results["candidates"][0]["scores"][0] |= {
        "distance": None,
        "distances": [None, 0.4],
        "ratio": None,
    }
    results["candidates"][0]["means"][0]["mean"] = float("nan")
    silent = PopulationSpikes(220, np.array([], np.int64), np.array([], np.int32))
    spikes[key] = SpikeData(0.1, 110_000, {"L4E": silent})
    parsed = _render(tmp_path, (results, statistics, spikes))
    assert not re.search(r"\b(nan|None)\b", parsed.text)
    raster = next(alt for alt in parsed.drawings if alt.startswith("Spike raster of candidate"))
    assert "0 spikes of 280 neurons" in raster


def test_raster_shows_the_spikes_of_its_window(tmp_path: Path) -> None:
    results, statistics, _ = example((), (), seeds=(1,), sizes={"L4E": 10})
    # Two spikes at the end of the last discarded step, three in the window, one a step after it.
    times = WARMUP + np.array([0.0, 0.0, 0.1, 200.0, 400.0, 400.1])
    neurons = np.array([0, 1, 3, 9, 5, 2])
    spikes = PopulationSpikes.from_unsorted(10, np.rint(times / 0.1), neurons)
    data = {("nest", "double"): SpikeData(0.1, 110_000, {"L4E": spikes})}
    alts = _render(tmp_path, (results, statistics, data)).drawings
    raster = next(alt for alt in alts if alt.startswith("Spike raster"))
    assert (
        raster
        == "Spike raster of reference: nest double: 3 spikes of 10 neurons in L4E, 1000 to 1400 ms."
    )


@pytest.mark.parametrize("state", ["", "/float32", "/s16.15"])
def test_sweep_needs_three_numbers_of_bins(tmp_path: Path, state: str) -> None:
    varied = tuple((backend, name + state) for backend, name in SWEEP)
    parsed = _render(tmp_path, example(varied, (), sizes={"L4E": 900}))
    title = f"Distance against number of bins: nest {state[1:]}".rstrip()
    assert title in parsed.text
    sweeps = [d for alt, d in parsed.drawings.items() if "against the number of bins" in alt]
    assert len(sweeps) == 3
    assert {"2", "4", "8", "16"} <= set(_labels(sweeps[0]))
    styles = " ".join(str(e.get("style")) for e in sweeps[0].iter())
    assert "fill: #d55e00; stroke: #d55e00" in styles  # 2 bins deviate,
    assert "fill: #ffffff; stroke: #d55e00" in styles  # 16 do not
    assert "naive discretisation" in parsed.text
    assert "moments discretisation" not in parsed.text
    # The failed point is a gap, and two points are no sweep.
    fewer = _render(tmp_path, example(varied, (("nest", "naive-4" + state),), sizes={"L4E": 900}))
    assert "Distance against number of bins" not in fewer.text


def test_curves_of_different_states_stay_apart(tmp_path: Path) -> None:
    mixed = (SWEEP[0], SWEEP[1], ("nest", "naive-16/float32"), ("nest", "naive-2/float32"))
    parsed = _render(tmp_path, example(mixed, (), sizes={"L4E": 900}))
    assert "Distance against number of bins" not in parsed.text


def test_candidate_that_was_not_run(tmp_path: Path) -> None:
    results, statistics, spikes = example((("nest", "naive-2"),), ())
    reason = "no <board> is configured"
    results["candidates"].append(
        {
            "backend": "spinnaker",
            "format": "double",
            "verdict": "not run",
            "reasons": [reason],
            "notes": ["the machine's <b>clock</b> drifts"],
            "scores": [],
            "means": [],
            "cost": None,
            "runs": [
                {
                    "seed": 1,
                    "status": "not run",
                    "error": None,
                    "key": "",
                    "reused": False,
                    "cost": None,
                }
            ],
        }
    )
    parsed = _render(tmp_path, (results, statistics, spikes))
    assert reason in parsed.text
    assert "the machine's <b>clock</b> drifts" in parsed.text
    assert "spinnaker double was not run" in parsed.text
    assert "not run" in parsed.text
    # nothing failed
    assert "failed" not in parsed.text.split("How a verdict is reached")[0]


def test_what_the_data_can_show(tmp_path: Path) -> None:
    results, statistics, spikes = example((("nest", "naive-2"),), (), sizes=SMALL)
    labels = list(SMALL)
    reference, candidate = results["reference"], results["candidates"][0]
    null = {
        "distance": 0.1,
        "distances": [0.1],
        "baseline_mean": 0.1,
        "baseline_sd": 0.01,
        "ratio_low": 1.0,
        "ratio_high": 1.5,
    }
    reference["null"] = [
        null | {"population": p, "statistic": s, "ratio": 1.25, "verdict": verdict}
        for p in labels
        for s, verdict in (("cv", "deviates"), ("cc", "pass"))
    ]
    reference["noticed_rate_changes"] = dict.fromkeys(labels, 0.05) | {labels[0]: None}
    reference["sparse"] = [{"population": p, "silent": 7.5, "single": 3.0} for p in labels]
    scores = candidate["scores"]
    candidate["parts"] = [
        {
            "duration": 1250.0,
            "verdict": "inconclusive",
            "largest": {"rate": 1.75},
            "scores": scores[:3],
        },
        {
            "duration": 10_000.0,
            "verdict": "deviates",
            "largest": {"rate": 4.25, "cv": 1.5},
            "scores": scores,
        },
    ]
    candidate["diagnosis"] = ["L4E: rate <mean> +8 %."]
    results["warnings"] = ["10 s is too short for <CC>."]
    results["selftest"] = [
        {
            "fault": "threshold higher",
            "description": "by this many <mV>",
            "simulated": True,
            "tried": [0.1, 0.2],
            "size": 0.2,
            "where": ["rate in L4E"],
        },
        {
            "fault": "common spikes",
            "description": "from one train",
            "simulated": False,
            "tried": [0.01],
            "size": None,
            "where": [],
        },
    ]
    key = ("nest", "double")
    runs, other = (Ensemble("runs", statistics[k]) for k in (key, ("nest", "naive-2")))
    evidence = {
        key: Evidence({0.125: other, 0.25: runs, 1.0: runs}, {0.125: other, 1.0: other}, other)
    }
    path = tmp_path / "report.html"
    write(path, results, statistics, spikes, evidence)
    parsed = _Parsed(path.read_text())
    for words in (
        "This study would notice a loss of spikes of 5% in",
        f"no loss at all in {labels[0]}",
        "It notices 1 of 2 planted faults, but not common spikes (up to 0.01). All faults",
        "10 s is too short for <CC>.",
        "L4E: rate <mean> +8 %.",
        "Had the runs ended earlier",
        "4.25",
        "7.5, 3.0",
        "Planted faults",
        "by this many <mV>",
        "rate-matched noise, mean over the same seeds",
        "Reference, 1.25 s",
        "10 s first 2.5 s first 1.25 s",
        "first 2.5 s last 2.5 s",
        "nest naive-2, mean ± SD over seeds",
    ):
        assert words in parsed.text, words
    assert not re.search(r"\b(nan|None)\b", parsed.text)
    alts = list(parsed.drawings)
    (alt,) = [a for a in alts if a.startswith("Largest ratio")]
    assert "inconclusive at 1.25 s, deviates at 10 s" in alt
    for beginning in (
        "Distribution of firing rate, beside rate-matched noise, in 1.25 s",
        "Distribution of firing rate, beside rate-matched noise, in 10 s",
        "Distribution of correlation coefficient, of the reference's first parts",
        "Distribution of CV of interspike intervals, of the first and the last",
        "KS distance of firing rate against the model time used",
    ):
        assert sum(a.startswith(beginning) for a in alts) == 1, beginning


def test_correlations_of_single_valued_weights_beside_their_noise(tmp_path: Path) -> None:
    results, statistics, spikes = example((("nest", "naive-2"),), (), sizes=SMALL)
    key = ("nest", "naive-2")
    runs, noise = (Ensemble("runs", statistics[k]) for k in (key, ("nest", "double")))
    evidence = {key: Evidence({1.0: runs}, {1.0: noise})}
    results["reference"]["noticed_rate_changes"] = dict.fromkeys(SMALL, 0.05)
    write(tmp_path / "report.html", results, statistics, spikes, evidence)
    parsed = _Parsed((tmp_path / "report.html").read_text())
    beside = [alt for alt in parsed.drawings if "beside rate-matched noise" in alt]
    assert beside == [
        "Distribution of correlation coefficient, beside rate-matched noise, in 10 s, in L4E, L4I."
    ]
    assert 'id="durations"' not in (tmp_path / "report.html").read_text()


def test_coarsest_formats_of_a_sweep_share_panels_with_the_reference(tmp_path: Path) -> None:
    parsed = _render(tmp_path, example(SWEEP, (), sizes={"L4E": 900}))
    assert "The coarsest naive formats beside the reference" in parsed.text
    shared = [d for alt, d in parsed.drawings.items() if "the coarsest naive formats" in alt]
    assert len(shared) == 3
    drawn = " ".join(str(e.get("style")) for e in shared[0].iter())
    for colour in ("#222222", "#0072b2", "#e69f00"):
        assert f"stroke: {colour}" in drawn
    assert "naive-2 naive-4" in parsed.text


def test_means_over_populations_are_drawn_to_scale() -> None:
    def entries(mean: float, key: str, **others: Any) -> list[dict[str, Any]]:
        """Two populations, two seeds, whose mean over populations is ``mean`` for both seeds."""
        shared = {"baseline_mean": None, "baseline_sd": None, **others}
        return [
            {"population": p, "statistic": s, key: [mean + d, mean - d], **shared}
            for p, d in (("a", 0.05), ("b", -0.05))
            for s in ("rate", "cv", "cc")
        ]

    def scores(distance: float) -> list[Score]:
        others = dict.fromkeys(("distance", "ratio", "ratio_low", "ratio_high"))
        given = entries(distance, "distances", verdict="pass", **others)
        return [Score.model_validate(score) for score in given]

    (picture,) = population_mean_pictures(
        [Baseline.model_validate(b) for b in entries(0.1, "baseline")],
        [("naive-1", scores(0.3)), ("naive-2", scores(0.2))],
    )
    root = ElementTree.fromstring(picture.svg)
    marks = [
        float(str(e.get("y")))
        for e in root.iter("{http://www.w3.org/2000/svg}use")
        if "fill: #0072b2" in str(e.get("style"))
    ]
    labels = {
        "".join(e.itertext()): float(
            str(e.get("y") or re.search(r"([\d.]+)\)$", e.get("transform") or "")[1])
        )
        for e in root.iter("{http://www.w3.org/2000/svg}text")
    }
    assert {"naive-1", "naive-2", "0.0", "0.2"} <= set(labels)
    # labels stand beside their ticks, all as far below them
    per_unit = (labels["0.0"] - labels["0.2"]) / 0.2
    assert len(marks) == 2
    assert marks[1] - marks[0] == pytest.approx(0.1 * per_unit, rel=0.02)


browser = pytest.mark.skipif(
    EXECUTABLE is None, reason="no chromium found on the PATH (Debian: apt install chromium)"
)
OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.right > innerWidth + 0.5 && box.width > 0 && !e.closest('.scroll');
}).map(e => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@browser
@pytest.mark.parametrize("width", [1280, 400])
def test_browser_shows_it_without_sideways_scrolling(
    chromium: Page, report: Path, width: int
) -> None:
    chromium.open(report, width)
    assert chromium.evaluate("innerWidth") == width
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate(OVERFLOWING) == []
    # All pictures are decoded, and large enough to read.
    shown = "[...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth])"
    for complete, natural, drawn in chromium.evaluate(shown):
        assert complete and natural > 0
        assert drawn >= 0.8 * natural
    requests = [
        e["params"]["request"]["url"]
        for e in chromium.events
        if e["method"] == "Network.requestWillBeSent"
    ]
    assert report.resolve().as_uri() in requests
    assert all(url.startswith(("data:", report.resolve().as_uri())) for url in requests)
    complaints = [
        e for e in chromium.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
    ]
    assert complaints == []


@browser
def test_browser_with_wide_tables_and_long_names(chromium: Page, tmp_path: Path) -> None:
    sizes = {f"population_with_a_long_name_{i}" * 2: 30 for i in range(12)}
    failed = (*((f"backend{i}", "float32") for i in range(9)), ("brian2", "a-long-format-" * 4))
    data = example((("nest", "naive-2"), *failed), failed, seeds=(1, 2), sizes=sizes)
    data[0]["study"]["name"] = "x" * 120
    data[0]["candidates"][1]["runs"][0]["error"] = "y" * 300
    path = tmp_path / "wide.html"
    write(path, *data)
    for width in (1280, 400):
        chromium.open(path, width)
        chromium.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width
        assert chromium.evaluate(OVERFLOWING) == []


@browser
def test_browser_runs_no_script_from_names(chromium: Page, tmp_path: Path) -> None:
    bad = "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"
    data = example((("nest", "naive-2"),), (), seeds=(1, 2), sizes={bad: 40})
    data[0]["study"]["name"] = bad
    path = tmp_path / "bad.html"
    write(path, *data)
    chromium.open(path, 800)
    assert chromium.evaluate("document.title") == f"{bad}: portability report"
    assert chromium.evaluate("document.querySelector('h1').textContent") == bad
