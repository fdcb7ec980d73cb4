"""`portability compare`: what changed between two results, and whether a verdict got worse."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import portability
from report_example import example

from pynn_portability.results.schema import StudyResults


def written(file: Path, results: dict[str, Any]) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(StudyResults.model_validate(results).to_json())
    return file


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return example()[0]


def compared(folder: Path, before: dict[str, Any], after: dict[str, Any], *options: str) -> Any:
    written(folder / "a" / "results.json", before)
    written(folder / "b" / "results.json", after)
    return portability(folder, "compare", "a/results.json", "b/results.json", *options)


def test_the_same_results_are_not_worse(tmp_path: Path, results: dict[str, Any]) -> None:
    result = compared(tmp_path, results, results)
    assert result.returncode == 0, result.stderr
    assert "worse" not in result.stdout
    assert "differs" not in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "worse"),
    [
        ("pass", "inconclusive", True),
        ("pass", "deviates", True),
        ("inconclusive", "failed", True),
        ("deviates", "failed", True),
        ("deviates", "inconclusive", False),
        ("failed", "pass", False),
        ("not run", "deviates", False),
        ("pass", "not run", False),
        ("pass", None, True),
        (None, "deviates", False),
    ],
)
def test_what_is_worse(
    tmp_path: Path, results: dict[str, Any], old: str | None, new: str | None, worse: bool
) -> None:
    def with_verdict(verdict: str | None) -> dict[str, Any]:
        changed = copy.deepcopy(results)
        if verdict is None:
            del changed["candidates"][0]
        else:
            changed["candidates"][0]["verdict"] = verdict
        return changed

    result = compared(tmp_path, with_verdict(old), with_verdict(new), "--json")
    assert result.returncode == int(worse), result.stderr
    content = json.loads(result.stdout)
    assert content["worse"] is worse
    (change,) = (
        c for c in content["changes"] if (c["backend"], c["format"]) == ("brian2", "double")
    )
    assert (change["before"], change["after"]) == (old, new)


def test_comparisons_and_the_basis_are_told(tmp_path: Path, results: dict[str, Any]) -> None:
    after = copy.deepcopy(results)
    after["study"]["seeds"] = [1, 2, 3]
    after["provenance"]["network_fingerprint"] = "another"
    score = after["candidates"][0]["scores"][0]
    old, score["verdict"], score["ratio"] = score["verdict"], "deviates", 9.0
    assert old != "deviates"
    after["candidates"][0]["verdict"] = "deviates"
    result = compared(tmp_path, results, after, "--markdown", "summary.md")
    assert result.returncode == 1
    for words in ("deviates (ratio 9.00) now", "seeds: [1, 2, 3, 4, 5] before", "another one"):
        assert words in result.stdout
    summary = (tmp_path / "summary.md").read_text()
    assert summary.startswith("### Portability: 1 of 4 verdicts got worse\n")
    assert "| brian2 | double | pass | deviates ⬇ |" in summary


def test_a_label_does_no_harm_in_markdown(tmp_path: Path, results: dict[str, Any]) -> None:
    evil = copy.deepcopy(results)
    evil["candidates"][0]["format"] = "<img src=x>|[a](b)\n# title"
    compared(tmp_path, results, evil, "--markdown", "summary.md")
    summary = (tmp_path / "summary.md").read_text()
    assert "&lt;img src=x&gt;\\|\\[a\\](b) \\# title" in summary
    assert "<img" not in summary


def test_other_files_are_refused(tmp_path: Path, results: dict[str, Any]) -> None:
    file = written(tmp_path / "a" / "results.json", results)
    (tmp_path / "other.json").write_text("{}")
    for second in ("other.json", "nowhere.json"):
        result = portability(tmp_path, "compare", str(file), second)
        assert result.returncode == 2
        assert second in result.stderr
