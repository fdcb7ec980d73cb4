"""TOML files that are checked key by key against a pydantic model.

Whatever is wrong with a file becomes one ``RequestError`` sentence that names the file, the key (or the
line) and what is allowed there, which is the ``description`` of the model's field.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Tag, ValidationError

from pynn_portability.errors import RequestError
from pynn_portability.files import regular_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MOST_BYTES = 2**20
"""Of a file."""
MOST_DEPTH = 32
"""Of tables and lists within each other."""
LONGEST_KEY = 200
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
"""What TOML promises to hold."""

_KEY = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DEEP_KEY = re.compile(rf"(?<![\w.\"'-]){_KEY}(?:[ \t]*\.[ \t]*{_KEY}){{{MOST_DEPTH},}}")
_MANY_DIGITS = re.compile(r"(?<![\w])\d[\d_]{999,}")


class Section(BaseModel):
    """A table of a file; unknown keys are errors."""

    # strict: TOML has types, so a quoted number is a mistake and not a number
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Table = TypeVar("Table", bound=BaseModel)


def read_table(path: Path, model: type[Table], what: str) -> Table:
    """The file as ``model``; ``what`` is what such a file is called, such as "study file".

    A validator of a whole section begins its message with the key within the section.
    """
    text = _text(path, what)
    _refuse_deep_keys(text, path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RequestError(f"{path}: is not valid TOML: {str(error).rstrip('.')}") from None
    except RecursionError:
        raise RequestError(f"{path}: is not valid TOML: nested too deeply") from None
    except ValueError as error:  # of Python's int, which refuses thousands of digits
        raise RequestError(f"{path}: {_many_digits(text) or error}") from None
    return checked_table(content, model, str(path))


def _text(path: Path, what: str) -> str:
    """What is written in a file, of which no more is read than such a file may have."""
    try:
        if not path.exists():
            raise RequestError(f"{path}: there is no such {what}, give the path of a TOML file")
        if not path.is_file():
            raise RequestError(f"{path}: is not a file, give the path of a TOML file")
        with regular_file(path.resolve()) as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise RequestError(f"{path}: is larger than {MOST_BYTES // 1024} KiB, a {what} is small")
    try:
        # some editors begin a file with a mark of the order of bytes, which says nothing in UTF-8
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{path}: is not a text file in UTF-8 (byte {error.start}), a {what} is TOML"
        ) from None


def _refuse_deep_keys(text: str, path: Path) -> None:
    """Raise RequestError for dotted keys, such as ``a.b.c``, that are nested too deeply.

    Reading them would take a time proportional to the square of their depth.
    """
    if found := _DEEP_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise RequestError(
            f"{path}: {_shortened(found[0])}: is nested more than {MOST_DEPTH} tables deep (line {line})"
        )


def _many_digits(text: str) -> str:
    """A sentence on the first integer that is too long for Python to read."""
    found = _MANY_DIGITS.search(text)
    if not found:
        return ""
    before = text[: found.start()]
    key, equals, _ = before[before.rfind("\n") + 1 :].partition("=")
    where = _shortened(key.strip()) if equals else f"line {before.count(chr(10)) + 1}"
    digits = len(found[0].replace("_", ""))
    return f"{where}: must be an integer of at most 64 bits, not one of {digits} digits"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _refuse_extremes(content: Mapping[str, Any], where: str) -> None:
    """Raise RequestError for what no file needs and what would be costly to look at any further."""
    waiting: list[tuple[tuple[int | str, ...], object]] = [((), content)]
    while waiting:
        location, value = waiting.pop()
        if isinstance(value, int) and not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
            raise RequestError(
                f"{where}: {place(location)}: must be an integer of at most 64 bits, not one of "
                f"{value.bit_length()} bits"
            )
        if not isinstance(value, (Mapping, list, tuple)):
            continue
        if len(location) > MOST_DEPTH:
            raise RequestError(
                f"{where}: {_shortened(place(location))}: is nested more than {MOST_DEPTH} tables or lists "
                "deep"
            )
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            if isinstance(key, str) and len(key) > LONGEST_KEY:
                raise RequestError(
                    f"{where}: {_shortened(key)}: is a key of {len(key)} characters, at most "
                    f"{LONGEST_KEY} are allowed"
                )
            waiting.append(((*location, key), item))


def checked_table(content: Mapping[str, Any], model: type[Table], where: str) -> Table:
    """The content of such a file as ``model``; ``where`` names it in the sentence of an error."""
    _refuse_extremes(content, where)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise RequestError(f"{where}: {_sentence(error, model)}") from None


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
    return _shortened(json.dumps(value, default=str, ensure_ascii=False))


def _sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """One of pydantic's findings, in the words of the file."""
    # a misspelt key is unknown and another one missing: the former says what to do
    finding = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    kind, value = finding["type"], finding["input"]
    # of tables that may be of several kinds, the location has the kind behind the place in the list
    kinds = _kinds(model, finding["loc"])
    location = tuple(
        part
        for before, part in zip((None, *finding["loc"]), finding["loc"], strict=False)
        if part not in kinds or not (isinstance(before, int) or before == finding["loc"][0])
    )
    name = place(location)
    parts = [part for part in location if isinstance(part, str)]
    section = _section(model, parts[0]) if len(parts) > 1 else model
    for part in finding["loc"]:
        section = kinds.get(part, section) if len(parts) > 1 and isinstance(part, str) else section
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


def _kinds(model: type[BaseModel], location: Sequence[int | str]) -> dict[str, type[BaseModel]]:
    """Models of the entries of a list that may be of several kinds, by the name of the kind."""
    field = model.model_fields.get(str(location[0])) if location else None
    found: dict[str, type[BaseModel]] = {}
    waiting = [field.annotation] if field else []
    while waiting:
        annotation = waiting.pop()
        metadata = getattr(annotation, "__metadata__", ())
        for tag in (m.tag for m in metadata if isinstance(m, Tag)):
            (found[tag], *_) = get_args(annotation)
        waiting += get_args(annotation)
    return found


def _section(model: type[BaseModel], name: str) -> type[BaseModel]:
    """The model of a section, or of the entries of a list of them; else ``model`` itself."""
    field = model.model_fields.get(name)
    for annotation in (field.annotation, *get_args(field.annotation)) if field else ():
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return model
