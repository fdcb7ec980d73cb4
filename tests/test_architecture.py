"""Imports run in the direction that docs/architecture.md says; its table is what is checked."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "pynn_portability"
FOUNDATION = {"errors", "files", "tables", "sources"}
"""Modules that import nothing of ours and may be imported by all."""

Rules = Mapping[str, set[str] | None]
"""Wings that each wing may import, None for everything, in the order of the table."""


def rules(page: str) -> dict[str, set[str] | None]:
    """The rules that the table of wings states."""
    found: dict[str, set[str] | None] = {}
    for row in re.findall(r"^\| `(\w+)/?` \|.*\| ([^|]+) \|$", page, re.MULTILINE):
        wing, may_import = row
        if may_import == "everything":
            found[wing] = None
        else:
            names = set(re.findall(r"`(\w+)`", may_import))
            assert names or may_import == "nothing of ours", f"{wing}: {may_import!r}"
            found[wing] = names
    return found


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """Python files of the package, and the wing (or module at the top) that each belongs to."""
    for folder in ("models", "backends", "reports"):
        for file in (root / folder).rglob("*.py"):
            yield folder, file
    for file in (root / "portability").rglob("*.py"):
        inside = file.relative_to(root / "portability")
        yield (inside.parts[0] if len(inside.parts) > 1 else inside.stem), file


def imports(file: Path) -> set[str]:
    """Wings and top modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for parts in (module.split(".") for module in modules):
            if parts[0] == PACKAGE and len(parts) > 1:
                found.add(parts[1])
    return found


def violations(root: Path, allowed: Rules) -> list[str]:
    """Imports that the rules do not allow, and what the table does not know."""
    found = []
    for wing, file in sources(root):
        taken = imports(file) - {wing} - FOUNDATION
        if wing in FOUNDATION | {"__init__"}:
            # the package itself hands out names of the API when they are asked for
            taken -= {"api"} if wing == "__init__" else set()
            found += [f"{file.relative_to(root)} imports {other}" for other in sorted(taken)]
        elif wing not in allowed:
            found.append(f"{file.relative_to(root)}: {wing} is not in the table")
        else:
            may = allowed[wing]
            found += [
                f"{file.relative_to(root)} imports {other}"
                for other in sorted(taken)
                if may is not None and other not in may
            ]
    return sorted(found)


def test_imports_run_down_the_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    allowed = rules(page)
    assert violations(ROOT, allowed) == []
    assert set(allowed) == {wing for wing, _ in sources(ROOT)} - FOUNDATION - {"__init__"}
    above: set[str] = set()
    for wing, may in allowed.items():
        assert may is None or may <= above, f"{wing} may import what stands below it"
        above.add(wing)


TABLE = """
| wing | holds | may import |
|---|---|---|
| `models/` | scripts | nothing of ours |
| `model/` | networks | `models` |
| `run/` | runs | `model`, `models` |
| `cli` | commands | everything |
"""


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("portability/run/plan.py", "from pynn_portability.model import network", []),
        ("portability/run/plan.py", "def f():\n    import pynn_portability.errors", []),
        ("portability/cli.py", "from pynn_portability.run.plan import plan", []),
        (
            "portability/model/network.py",
            "def f():\n    from pynn_portability.run import plan",
            ["portability/model/network.py imports run"],
        ),
        (
            "models/cortex.py",
            "import pynn_portability.model.network",
            ["models/cortex.py imports model"],
        ),
        (
            "portability/errors.py",
            "from pynn_portability import cli",
            ["portability/errors.py imports cli"],
        ),
        ("portability/new/thing.py", "", ["portability/new/thing.py: new is not in the table"]),
    ],
)
def test_the_check_can_fail(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    allowed = rules(TABLE)
    assert allowed == {
        "models": set(),
        "model": {"models"},
        "run": {"model", "models"},
        "cli": None,
    }
    assert violations(tmp_path, allowed) == expected


def test_planning_does_not_load_what_scripts_on_stock_pynn_need():
    """PyNN's mock simulator brings seconds of imports, which every command would wait for."""
    code = "import sys, pynn_portability.api; print('pyNN.mock' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "False"
