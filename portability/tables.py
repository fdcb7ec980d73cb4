"""TOML files that are checked key by key against a pydantic model.

Whatever is wrong with a file becomes one ``RequestError`` sentence that names the file, the key (or the
line) and what is allowed there, which is the ``description`` of the model's field.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from pynn_portability.errors import RequestError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MAX_BYTES = 2**20
"""Size of the largest file that is read."""

MAX_DEPTH = 16
"""Most levels of tables and lists within each other."""


class Section(BaseModel):
    """A table of a file; unknown keys are errors."""

    # strict: TOML has types, so a quoted number is a mistake and not a number
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Table = TypeVar("Table", bound=BaseModel)


def read_table(path: Path, model: type[Table], what: str) -> Table:
    """The file as ``model``; ``what`` is what such a file is called, such as "study file".

    A validator of a whole section begins its message with the key within the section.
    """
    if not path.exists():
        raise RequestError(f"{path}: there is no such {what}, give the path of a TOML file")
    if not path.is_file():
        raise RequestError(f"{path}: is not a file, give the path of a TOML file")
    try:
        with path.open("rb") as file:
            read = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    if len(read) > MAX_BYTES:
        raise RequestError(
            f"{path}: is larger than {MAX_BYTES // 2**20} MiB, a {what} is a short text"
        )
    try:
        content = tomllib.loads(read.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{path}: is not a text file in UTF-8 (byte {error.start}), a {what} is TOML"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path}: is not valid TOML: {str(error).rstrip('.')}") from None
    except ValueError:  # a whole number of thousands of digits
        raise RequestError(f"{path}: is not valid TOML: a number has too many digits") from None
    except RecursionError:
        raise RequestError(f"{path}: is not valid TOML: nested too deeply") from None
    if deep := _deeper(content, MAX_DEPTH):
        raise RequestError(f"{path}: {deep}: is nested more than {MAX_DEPTH} levels deep")
    return checked_table(content, model, str(path))


def checked_table(content: Mapping[str, Any], model: type[Table], where: str) -> Table:
    """The content of such a file as ``model``; ``where`` names it in the sentence of an error."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise RequestError(f"{where}: {_sentence(error, model)}") from None


def _deeper(content: Mapping[str, object], levels: int) -> str | None:
    """The key under which values are nested more than so many levels deep, None if none is."""

    def deeper(value: object, left: int) -> bool:
        inner = list(value.values()) if isinstance(value, Mapping) else value
        if not isinstance(inner, list):
            return False
        return left == 0 or any(deeper(item, left - 1) for item in inner)

    return next((key for key, value in content.items() if deeper(value, levels)), None)


def similar(name: str, allowed: Iterable[str]) -> str:
    """The most similar allowed name as the end of a sentence, empty when none is similar."""
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def choices(name: str, allowed: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the most similar known one, then all of them."""
    names = list(allowed)
    return f"{similar(name, names)} (allowed: {', '.join(names) or 'none'})"


def place(location: Iterable[int | str]) -> str:
    """``('candidate', 1, 'format', 0)`` becomes ``candidate.format (candidate 2, item 1)``."""
    names: list[str] = []
    numbers: list[str] = []
    for part in location:
        if isinstance(part, int):
            numbers.append(f"{'candidate' if names == ['candidate'] else 'item'} {part + 1}")
        else:
            names.append(part)
    return ".".join(names) + (f" ({', '.join(numbers)})" if numbers else "")


def shown(value: object) -> str:
    """A value as TOML and JSON write it, shortened."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """One of pydantic's findings, in the words of the file."""
    # a misspelt key is unknown and another one missing: the former says what to do
    finding = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    location, kind, value = finding["loc"], finding["type"], finding["input"]
    name = place(location)
    parts = [part for part in location if isinstance(part, str)]
    section = _section(model, parts[0]) if len(parts) > 1 else model
    if kind == "extra_forbidden":
        return f"{name}: unknown key{choices(parts[-1], section.model_fields)}"
    if kind == "value_error":
        of_section = len(location) == 1 and _section(model, parts[0]) is not model
        return f"{name}{'.' if of_section else ': '}{finding['ctx']['error']}"
    field = section.model_fields.get(parts[-1])
    allowed = (field.description if field else None) or "a table"
    if kind == "missing":
        return f"{name}: is missing, it must be {allowed}"
    return f"{name}: must be {allowed}, not {shown(value)}"


def _section(model: type[BaseModel], name: str) -> type[BaseModel]:
    """The model of a section, or of the entries of a list of them; else ``model`` itself."""
    field = model.model_fields.get(name)
    for annotation in (field.annotation, *get_args(field.annotation)) if field else ():
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return model
