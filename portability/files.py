"""Files that appear whole or not at all, and checksums of them.

A folder may come from a stranger: what is written never goes through a link that lies there, and what is read
back shows by its checksum whether it is what was written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

CHECKSUM = "sha256"
"""The key of a table's checksum within the table."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``: what is written there replaces ``path`` at the end.

    After an exception an existing file is as it was, and nothing half-written is left.
    """
    # beside it, because a file is replaced in one step only within a file system; under a name that
    # nobody can have put a link in place of
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain JSON values with a checksum of them."""
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    text = json.dumps(rest, sort_keys=True, allow_nan=False)
    return {**rest, CHECKSUM: hashlib.sha256(text.encode()).hexdigest()}


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What `sealed` put into a JSON file; None if it is missing, damaged or a link."""
    if path.is_symlink():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(content, dict) and sealed(content) == content
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return {k: v for k, v in content.items() if k != CHECKSUM} if whole else None
