"""results.json and junit.xml: what is written is what its schema says, and what is read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from report_example import Key, example

from pynn_portability.errors import RequestError
from pynn_portability.results.assembling import exit_code
from pynn_portability.results.files import SCHEMAS, json_schema
from pynn_portability.results.junit import junit
from pynn_portability.results.schema import StudyResults

SMALL = {"L4E": 20}


def content(
    candidates: tuple[Key, ...] = (), failed: tuple[Key, ...] = (), size: int = 20
) -> dict[str, Any]:
    return example(candidates, failed, sizes={"L4E": size})[0]


def unjudged(verdict: str, **fields: Any) -> dict[str, Any]:
    """A candidate without runs."""
    given = {"backend": "spinnaker", "format": "double", "verdict": verdict}
    return given | {"reasons": ["because"]} | fields


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_described(name: str) -> None:
    schema = json_schema(name)
    for title, model in {**schema["$defs"], name: schema}.items():
        assert model["description"], title
        assert model["additionalProperties"] is False, title
        for field, property_ in model["properties"].items():
            described = property_.get("description") or "$ref" in property_ or field == "schema"
            assert described or "$ref" in property_.get("items", {}), f"{title}.{field}"


@pytest.mark.parametrize("candidates", [(), (("brian2", "double"), ("brian2", "float32"))])
def test_what_is_written_follows_the_schema_and_is_read_back(
    candidates: tuple[Key, ...], tmp_path: Path
) -> None:
    results = StudyResults.model_validate(content(candidates, candidates[1:]))
    jsonschema.validate(json.loads(results.to_json()), json_schema("results-1"))
    (tmp_path / "results.json").write_text(results.to_json(), encoding="utf-8")
    assert StudyResults.read(tmp_path / "results.json") == results


CHANGES: list[Callable[[dict[str, Any]], Any]] = [
    lambda c: c.update(surprise=1),
    lambda c: c["study"].pop("seeds"),
    lambda c: c.update(schema="portability-results/2"),
    lambda c: c["reference"].update(verdict="fine"),
    lambda c: c["reference"]["runs"][0].update(cost={"threads": "two"}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_other_content_is_refused(change: Callable[[dict[str, Any]], Any], tmp_path: Path) -> None:
    wrong = content()
    change(wrong)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json_schema("results-1"))
    (tmp_path / "results.json").write_text(json.dumps(wrong))
    with pytest.raises(
        RequestError, match=r"results\.json: is not the results of a study"
    ) as caught:
        StudyResults.read(tmp_path / "results.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="cannot be read"):
        StudyResults.read(tmp_path / "nowhere.json")


def test_numbers_that_json_lacks_are_null() -> None:
    given = content()
    given["reference"]["means"][0]["mean"] = float("inf")
    given["reference"]["noticed_rate_changes"] = {"L4E": float("nan")}
    text = StudyResults.model_validate(given).to_json()
    written = json.loads(text)
    assert written["reference"]["means"][0]["mean"] is None
    assert written["reference"]["noticed_rate_changes"] == {"L4E": None}


def test_fields_that_do_not_apply_are_left_out() -> None:
    unsaid = {"verdict": None, "reason": "outside the theory"}
    given = content() | {"candidates": [unjudged("not run", prediction=unsaid)]}
    (written,) = json.loads(StudyResults.model_validate(given).to_json())["candidates"]
    assert written == given["candidates"][0]


def test_exit_codes() -> None:
    def code(*verdicts: str, run: str = "done", ignore: bool = False) -> int:
        given = content() | {"candidates": [unjudged(v) for v in verdicts]}
        given["reference"]["runs"][0]["status"] = run
        return exit_code(StudyResults.model_validate(given), ignore)

    assert code() == code("pass", "not run") == 0
    assert code("pass", "deviates", "inconclusive") == 1
    assert code("pass", "inconclusive") == 3
    assert code("deviates", ignore=True) == 0
    assert code("deviates", run="failed") == code("pass", run="failed", ignore=True) == 4


def test_junit_has_a_case_for_everything(tmp_path: Path) -> None:
    given = content((("nest", "naive-2"), ("brian2", "float32")), (("brian2", "float32"),), 200)
    given["candidates"][0]["scores"][1]["verdict"] = "inconclusive"
    given["candidates"].append(unjudged("not run", reasons=["no\x00 board"]))
    file = tmp_path / "junit.xml"
    file.write_bytes(junit(StudyResults.model_validate(given)))
    (suite,) = JUnitXml.fromfile(str(file))
    kinds = [[type(found) for found in case.result] for case in suite]
    assert kinds[3:] == [[Error]] * 5 + [[Skipped]]
    assert kinds[1] == [Skipped]
    counts = [sum(kind in found for found in kinds) for kind in (Failure, Skipped, Error)]
    assert [suite.failures, suite.skipped, suite.errors] == counts
    assert (suite.name, suite.tests, len(kinds)) == ("quickstart", 9, 9)
    last = list(suite)[-1]
    assert (last.classname, last.name) == ("spinnaker double", "runs")
    assert last.result[0].message == "not run: no? board"
