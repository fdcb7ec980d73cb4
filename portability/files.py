"""Files that appear whole or not at all, files that say whether they are damaged, and checksums.

A folder of results may come from a stranger. What is read or written in it is therefore what lies there
itself, never what a symbolic link points to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

MOST_BYTES = 2**26
"""Of a file that is read as a whole."""

CHECKSUM = "sha256"
"""Key of the checksum in a sealed file."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``: what is written there replaces ``path`` at the end.

    After an exception an existing file is as it was, and nothing half-written is left. A link is replaced,
    not what it points to.
    """
    # beside it, because a file is replaced in one step only within a file system; nobody knows its name
    # beforehand, so that no link can lie there
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def regular_file(path: Path) -> Iterator[IO[bytes]]:
    """A file opened for reading; OSError for a link, and for what is no file, such as a pipe."""
    # without waiting: whoever opens a pipe would wait for a writer
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        yield file


def read_regular(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file; OSError as `regular_file`, and for more bytes than ``most``."""
    with regular_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"has more than {most} bytes", str(path))
    return content


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; OSError as `regular_file`."""
    digest = hashlib.sha256()
    with regular_file(path) as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def own_folder(path: Path) -> Path:
    """The folder ``path``, made if it is not there; a link in its place is removed."""
    if path.is_symlink():
        path.unlink()
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link, as far as that is possible."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def content_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, the same whatever the order of keys; ValueError for NaN and infinity."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> str:
    """The text of a JSON file that holds ``content`` and a checksum of it."""
    whole = {**content, CHECKSUM: content_hash(content)}
    return json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def unsealed(path: Path) -> dict[str, Any]:
    """The content of such a file; ValueError if it is damaged, OSError if it cannot be read."""
    try:
        content = json.loads(read_regular(path))
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("is not a table")
    checksum = content.pop(CHECKSUM, None)
    if checksum != content_hash(content):
        raise ValueError("does not have the content that was written")
    return content
