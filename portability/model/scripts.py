"""Model scripts: finding their build function, and recording the network that it makes."""

from __future__ import annotations

import importlib
import importlib.machinery
import inspect
import pkgutil
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pynn_portability.models
from pynn_portability.errors import RequestError
from pynn_portability.model.network import Network
from pynn_portability.model.recorder import Drawn, Recorder
from pynn_portability.tables import choices

Build = Callable[..., Any]


def shipped_models() -> tuple[str, ...]:
    """Names of the models that come with the harness."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(pynn_portability.models.__path__)))


def load_model(reference: str, base: Path) -> Build:
    """The build function that ``reference`` names: a shipped model, or ``path/script.py:function``.

    A relative path starts at ``base``. Loading a script runs it, as any PyNN script is run.
    """
    if ":" not in reference:
        if reference not in shipped_models():
            raise RequestError(
                f"unknown model {reference!r}; shipped models are {', '.join(shipped_models())}, "
                'and a script of your own is named "path/to/script.py:function"'
            )
        return importlib.import_module(f"pynn_portability.models.{reference}").build
    function = reference.rsplit(":", 1)[1]
    path = script_of(reference, base)
    assert path is not None
    if not path.is_file():
        raise RequestError(f"model script {path} does not exist")
    loader = _Uncached(path.stem, str(path))
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    sys.path.insert(0, str(path.parent))  # so that the script can import its neighbours
    try:
        loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # such as SystemExit: a script does not end the program
        raise RequestError(explained(error, path)) from error
    finally:
        sys.path.remove(str(path.parent))
    build = getattr(module, function, None)
    if not callable(build):
        raise RequestError(f"model script {path} has no function {function!r}")
    return build


class _Uncached(importlib.machinery.SourceFileLoader):
    """Compiles the script anew: nothing is written beside it, and an edit is never missed."""

    def get_code(self, fullname: str) -> types.CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def script_of(reference: str, base: Path) -> Path | None:
    """The file that a reference to a script names; None for a shipped model."""
    return (base / reference.rsplit(":", 1)[0]).resolve() if ":" in reference else None


def model_parameters(build: Build) -> dict[str, Any]:
    """Parameters of a build function besides ``sim``, with their defaults.

    ``inspect.Parameter.empty`` stands where a value must be given. ``rng`` is left out: it is for
    those who run the script on a stock backend, as the harness draws every number itself.
    """
    parameters = list(inspect.signature(build).parameters.values())[1:]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: p.default for p in parameters if p.kind not in variadic and p.name != "rng"}


def check_arguments(build: Build, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with arguments of a build function besides ``sim``: the study's key and a sentence."""
    known = model_parameters(build)
    for name in given:
        if name not in known:
            yield f"model.{name}", f"{build.__name__} has no such parameter{choices(name, known)}"
    for name, default in known.items():
        if default is inspect.Parameter.empty and name not in given:
            yield f"model.{name}", f"is missing, {build.__name__} has no default for it"


def capture(
    build: Build, parameters: Mapping[str, Any], timestep: float, drawn: Drawn | None = None
) -> Network:
    """The network that ``build(sim, **parameters)`` makes, on a grid of ``timestep`` ms.

    ``drawn`` answers if the script reads what is drawn.
    Raises ``RequestError`` when the script fails, uses something unsupported or records no spikes.
    """
    recorder = Recorder(timestep, drawn)
    try:
        build(recorder, **parameters)
    except RequestError as error:
        raise RequestError(f"{error}{_line(error, build)}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        path = Path(inspect.getsourcefile(build) or "the model script")
        raise RequestError(explained(error, path)) from error
    return recorder.network()


def explained(error: BaseException, path: Path) -> str:
    """An exception of a script as a sentence, with the line of the script."""
    at = error.lineno if isinstance(error, SyntaxError) else last_line(error, path)
    line = "" if at is None else f", line {at}"
    reason = str(error.msg if isinstance(error, SyntaxError) else error) or _statement(error)
    if isinstance(error, SystemExit):
        reason += ", a model script must not end the program"
    return f"{path}{line}: {type(error).__name__}: {reason}"


def last_line(error: BaseException, path: Path | str) -> int | None:
    """The last line of a script on the way to an error, None if it was not there."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == str(path)), None)


def _statement(error: BaseException) -> str:
    """The statement that raised an error without words, such as an assertion."""
    frames = traceback.extract_tb(error.__traceback__)
    return (frames[-1].line if frames else None) or "no message"


def _line(error: BaseException, build: Build) -> str:
    source = inspect.getsourcefile(build)
    line = None if source is None else last_line(error, source)
    return "" if line is None else f" ({source}, line {line})"
