"""Results as files: ``results.json``, ``junit.xml``, the report, and JSON Schemas of what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pynn_portability.files import replacing
from pynn_portability.results.junit import junit
from pynn_portability.results.schema import StudyResults
from pynn_portability.run.imported import Imported
from pynn_portability.run.record import RunRecord

SCHEMAS: dict[str, type[BaseModel]] = {
    "results-1": StudyResults,
    "run-1": RunRecord,
    "imported-1": Imported,
}
"""Models of published files by the name of their JSON Schema in the folder ``schemas``."""


def write_data(results: StudyResults, folder: Path) -> None:
    """Write ``results.json`` and ``junit.xml``."""
    with replacing(folder / "results.json") as temporary:
        temporary.write_text(results.to_json(), encoding="utf-8", errors="backslashreplace")
    with replacing(folder / "junit.xml") as temporary:
        temporary.write_bytes(junit(results))


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a file as the package publishes it; ``name`` is a key of `SCHEMAS`."""
    file = Path(__file__).parent / "schemas" / f"{name}.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def schema_text(name: str) -> str:
    """What that file has to be, from the model."""
    schema = SCHEMAS[name].model_json_schema()
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
