"""What source code says, as a digest that comments, docstrings and layout do not change."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path


def syntax_digest(files: Iterable[Path]) -> str:
    """SHA-256 (hexadecimal) over the syntax trees of Python files, in the order given.

    Comments, docstrings, blank lines and the place of a statement do not count; neither do the names of
    the files. The same in all versions of Python that read the files alike.
    """
    digest = hashlib.sha256()
    for file in files:
        for token in _tokens(ast.parse(file.read_bytes())):
            digest.update(token.encode() + b"\0")
        digest.update(b"\1")
    return digest.hexdigest()


def source_files(module: str) -> list[Path]:
    """Files of a module, or of a package with everything below it, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"the source of {module} was not found")
    if spec.submodule_search_locations:
        return sorted(Path(spec.origin).parent.rglob("*.py"))
    return [Path(spec.origin)]


def _tokens(node: ast.AST) -> Iterator[str]:
    """A node's type and its fields; those that are empty are left out, as versions add new ones."""
    yield type(node).__name__
    for name, value in ast.iter_fields(node):
        if _documented(node) and name == "body":
            value = value[1:]  # noqa: PLW2901
        if value is None or value == [] or name in ("kind", "type_comment"):
            continue
        yield name
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield from _tokens(item)
            else:
                yield f"{type(item).__name__} {item!r}"
    yield ")"


def _documented(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
