"""Run a whole PyNN script, as it is, with a `Recorder` in place of its simulator.

Whatever simulator the script imports, it gets a module that records. ``setup`` gives the time step and ``run``
the duration. After the first ``run`` there is nothing to read, so that data are stand-ins that compute nothing;
the script is followed as long as it can go on with them, to learn how long it runs and whether it changes
something on the way. This is for a process of its own (`pynn_portability.run.guest`): it replaces modules,
and hooks that watch for written files stay for good.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import random
import re
import runpy
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.random.bit_generator
import pyNN
import pyNN.mock

from pynn_portability.errors import RequestError, UnsupportedError
from pynn_portability.model.network import Network
from pynn_portability.model.recorder import Drawn, Recorder
from pynn_portability.model.scripts import explained, last_line

SIMULATORS = (
    *("nest", "neuron", "brian", "brian2", "spiNNaker", "mock", "arbor", "moose", "pcsim"),
    *("neuroml", "nineml", "nemo", "genesis2", "hardware"),
)
"""Modules of ``pyNN`` that are simulators."""

DISTRIBUTIONS = ("spynnaker", "spynnaker7", "spynnaker8", "pynn_spinnaker", "pynn_genn")
"""Packages that are simulators with the PyNN API."""

SPYNNAKER = (
    *("Cuboid", "Grid2D", "Grid3D", "Line", "RandomStructure", "Sphere", "distance"),
    *("KernelConnector", "ConvolutionConnector", "PoolDenseConnector", "Convolution", "PoolDense"),
    *("StructuralMechanismStatic", "StructuralMechanismSTDP", "LastNeuronSelection"),
    *("RandomSelection", "DistanceDependentFormation", "RandomByWeightElimination"),
    *("external_devices", "extra_models", "set_number_of_neurons_per_core"),
    *("set_number_of_synapse_cores", "set_allow_delay_extensions"),
)
"""Names that sPyNNaker has besides those that all simulators have."""

_MOCK = pyNN.mock  # imports no simulator; it has the names that all have

WAY_OUT = "; `portability run --stock` runs the script on stock PyNN, without capturing it"
"""For scripts that use what a network cannot hold."""

MOST_FILES = 5
"""Written files that are named."""

_WRITING = frozenset("wax+")

_CACHED = re.compile(r"__pycache__|\.(pyc|nbi|nbc)(\.|$)")
"""In names of files, or of folders tried for them, that keep compiled code of Python and Numba."""


@dataclass(frozen=True)
class Protocol:
    """What a script simulates: ``duration`` in steps of ``timestep``, ms."""

    timestep: float
    duration: float


def record_script(
    path: Path,
    arguments: Sequence[str],
    timestep: float | None = None,
    until: float | None = None,
    drawn: Drawn | None = None,
    seed: int = 1,
) -> tuple[Network, Protocol]:
    """What the script at ``path`` builds and simulates when it gets ``arguments``.

    ``timestep`` (ms) takes the place of the script's own, and what happens after ``until`` ms is not looked at.
    ``drawn`` answers if the script reads what is drawn. ``seed`` is that of generators which the script itself
    leaves without one.
    Raises RequestError, with the line, when there is nothing to simulate or something is not supported.
    """
    if not path.is_file():
        raise RequestError(f"model script {path} does not exist")
    recorder = ScriptRecorder(path, timestep, until, drawn)
    with (
        started(path, arguments),
        _in_place_of_simulators(recorder),
        _watched(recorder),
        seeded(seed, recorder),
    ):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except KeyboardInterrupt:
            raise
        except _Finished:
            pass
        except BaseException as error:
            _after_failure(recorder, error, path, arguments)
        finally:
            recorder.watched = False
    if recorder.refusal:
        raise recorder.refusal
    if not recorder.elapsed:
        raise RequestError(
            f"{path}: never calls run(...), so that nothing says what to simulate; a function that only "
            f'builds a network is named by build = "{path.name}:function"'
        )
    network = recorder.network()
    notes = (*network.notes, *recorder.remarks)
    return replace(network, notes=notes), Protocol(recorder.timestep, recorder.elapsed)


def _after_failure(
    recorder: ScriptRecorder, error: BaseException, path: Path, arguments: Sequence[str]
) -> None:
    """What is left when the script failed: its model if it had run, otherwise an exception."""
    line = last_line(error, path)
    if isinstance(error, RequestError):
        way_out = WAY_OUT if isinstance(error, UnsupportedError) else ""
        raise RequestError(f"{error} ({path}, line {line}){way_out}") from error
    if recorder.elapsed:
        if not isinstance(error, SystemExit):
            recorder.remark(
                f"after its first run the script was followed to line {line} only, which wants data that "
                f"were not simulated ({type(error).__name__})"
            )
        return
    if isinstance(error, SystemExit):
        given = (
            f"the arguments {' '.join(arguments)!r}"
            if arguments
            else "no arguments (many want a simulator, such as nest)"
        )
        raise RequestError(
            f"{path}, line {line}: the script ends ({error}) before it runs; it was given {given}"
        ) from error
    if isinstance(error, EOFError):
        raise RequestError(
            f"{path}, line {line}: the script waits for input, which it does not get here"
        ) from error
    raise RequestError(explained(error, path)) from error


class _Finished(BaseException):
    """Nothing that follows in the script belongs to the model."""


class ScriptRecorder(Recorder):
    """The module that a whole script takes for its simulator.

    ``elapsed`` is the time (ms) that it has run, ``remarks`` say what of it was not followed, and ``refusal``
    is what it did that is not supported, even if it went on after that.
    """

    def __init__(
        self, path: Path, timestep: float | None, until: float | None, drawn: Drawn | None
    ) -> None:
        super().__init__(timestep or 0.1, drawn)
        self._path = path
        self._given_timestep = timestep
        self._until = until
        self.elapsed = 0.0
        self.remarks: list[str] = []
        self.refusal: RequestError | None = None
        self.watched = True
        self._written: dict[str, None] = {}
        self.notice_draws: Callable[[], None] = lambda: None

    @property
    def simulated(self) -> bool:  # type: ignore[override]
        """Whether the script has called ``run``."""
        return self.elapsed > 0

    @property
    def timestep(self) -> float:
        """The time step, ms."""
        return self._timestep

    def remark(self, sentence: str) -> None:
        """Take down what a person should know."""
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def here(self) -> int | str:
        """The line of the script that is being executed."""
        frame = sys._getframe()
        while frame is not None and frame.f_code.co_filename != str(self._path):
            frame = frame.f_back  # type: ignore[assignment]
        return "?" if frame is None else frame.f_lineno

    # --- running ---

    def setup(
        self, timestep: float | None = None, min_delay: float | str = "auto", *_: Any, **__: Any
    ) -> int:
        """The time step of the script, unless another one was asked for."""
        if self.elapsed:
            self._end("calls setup() again, for another simulation")
        if self._populations:
            raise UnsupportedError(
                "setup() is called when there is a network already, which it would forget; a script is to "
                "set up once before it builds"
            )
        step = 0.1 if timestep is None else timestep
        if self._given_timestep is None:
            if not isinstance(step, int | float) or not 0 < step < float("inf"):
                raise RequestError(
                    f"setup(timestep={step!r}): allowed is a positive number of milliseconds"
                )
            self._timestep = float(step)
        elif step != self._given_timestep:
            self.remark(
                f"the script's time step of {step} ms is replaced by {self._given_timestep} ms"
            )
        self._min_delay = self._timestep
        return super().setup(None, min_delay)

    def run(
        self, simtime: float, callbacks: Iterable[Callable[[float], float]] | None = None
    ) -> float:
        """Take down that ``simtime`` ms are simulated; callbacks are called as PyNN calls them."""
        return self.run_until(self.elapsed + simtime, callbacks)

    run_for = run

    def run_until(
        self, time_point: float, callbacks: Iterable[Callable[[float], float]] | None = None
    ) -> float:
        """As `run`, to a point in time (ms)."""
        if not self._populations:
            raise RequestError("run() is called when there are no populations")
        if not self.elapsed:
            self.notice_draws()
        if not self.elapsed < time_point < float("inf"):
            if time_point == self.elapsed:
                return self.elapsed
            raise RequestError(f"the script runs until {time_point} ms from {self.elapsed:g} ms on")
        called = list(callbacks or ())
        due = [0.0] * len(called)
        while called and self.elapsed < time_point:
            first = due.index(min(due))
            due[first] = max(float(called[first](self.elapsed)), due[first] + self._timestep)
            self.elapsed = min(*due, time_point)
        self.elapsed = float(time_point)
        if self._until is not None and self.elapsed >= self._until - 1e-9:
            raise _Finished
        return self.elapsed

    def reset(self, *_: object, **__: object) -> None:
        """Another trial begins; the model is the first one."""
        if self.elapsed:
            self._end("resets the simulation, for another trial")

    def end(self, *_: object, **__: object) -> None:
        """The simulation is over."""
        if self.elapsed:
            raise _Finished

    def _end(self, what: str) -> None:
        self.remark(
            f"after {self.elapsed:g} ms the script {what} (line {self.here()}); the model is the first one"
        )
        raise _Finished

    def get_current_time(self) -> float:
        """The time that was run, ms."""
        return self.elapsed

    def get_max_delay(self) -> float:
        """A delay that is long enough, ms."""
        return float("inf")

    def list_standard_models(self) -> list[str]:
        """Cell types that can be used."""
        return [n for n in dir(self) if n.startswith(("IF_", "SpikeSource"))]

    # --- what may change, and what is asked ---

    def changing(self, what: str) -> None:
        if self.elapsed:
            raise self._refused(
                UnsupportedError(
                    f"{what} after {self.elapsed:g} ms were run is not supported, as a network stays what "
                    "it is while it is simulated; [simulation] duration in a study file can end before it"
                )
            )

    def unknown(self, sentence: str) -> Any:
        if self.elapsed:
            return Unknown(self)
        raise self._refused(UnsupportedError(sentence))

    def _refused(self, refusal: RequestError) -> RequestError:
        """Keep a refusal, as the script may catch the exception and go on."""
        self.refusal = RequestError(f"{refusal} ({self._path}, line {self.here()}){WAY_OUT}")
        return refusal

    def undecided(self) -> None:
        """The script asks for the truth of something that was not simulated."""
        self.remark(
            f"line {self.here()} decides by what was simulated; the script was followed no further"
        )
        raise _Finished

    def writes(self, file: str) -> None:
        """The script opens a file to write it."""
        if self.elapsed:
            self.remark(
                f"the script was followed to line {self.here()} only, where it writes {Path(file).name}"
            )
            raise _Finished
        if file not in self._written and len(self._written) < MOST_FILES:
            self._written[file] = None
            self.remark(f"the script writes {Path(file).name} (line {self.here()})")

    def offered(self, name: str) -> Any:
        """What the module has under a name; what is not supported is refused when it is used."""
        if name in {"simulator", "state"}:
            return _Refused(self, UnsupportedError(f"sim.{name} is not supported"))
        try:
            return getattr(self, name)
        except UnsupportedError as refusal:
            other = getattr(_MOCK, name, None)
            if isinstance(other, types.ModuleType | np.ufunc | float):
                return other  # what stars import from a simulator besides PyNN
            if self.elapsed:
                return Unknown(self)
            return _Refused(self, refusal)


class _Refused:
    """Something that is not supported: importing it does no harm, using it does."""

    def __init__(self, recorder: ScriptRecorder, refusal: RequestError) -> None:
        self._recorder, self._refusal = recorder, refusal

    def _use(self, *_: object, **__: object) -> Any:
        if self._recorder.elapsed:
            return Unknown(self._recorder)
        raise self._recorder._refused(self._refusal)

    __call__ = __mro_entries__ = _use

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._use()


class Unknown:
    """What would have been simulated: has every attribute, is empty, and is no number."""

    def __init__(self, recorder: ScriptRecorder) -> None:
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def _same(self, *_: object, **__: object) -> Unknown:
        return self

    __call__ = __getitem__ = _same
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _same
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _same
    __neg__ = __abs__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _same  # type: ignore[assignment]
    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __float__(self) -> float:
        return float("nan")

    def __bool__(self) -> bool:
        self._recorder.undecided()
        return False

    def __enter__(self) -> Unknown:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __repr__(self) -> str:
        return "(not simulated)"

    def __format__(self, spec: str) -> str:
        return repr(self)


# --- Modules ---


class _Simulator(types.ModuleType):
    """A module that a script takes for a simulator."""

    def __init__(self, name: str, recorder: ScriptRecorder) -> None:
        super().__init__(name)
        self._recorder = recorder
        self.__path__: list[str] = []
        self.__all__ = _public_names(recorder)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._recorder.offered(name)


def _public_names(recorder: Recorder) -> list[str]:
    """What ``from pyNN.simulator import *`` gives."""
    own = [n for n in dir(recorder) if not n.startswith("_")]
    own += SPYNNAKER if recorder.dialect == "sPyNNaker" else ()
    return sorted({*own, *(n for n in dir(_MOCK) if not n.startswith("_"))})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds simulators, whether they are installed or not, and gives the module that records."""

    def __init__(self, recorder: ScriptRecorder) -> None:
        self._recorder = recorder

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        first, *rest = fullname.split(".")
        if first in DISTRIBUTIONS or (first == "pyNN" and rest and rest[0] in SIMULATORS):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        if spec.name.split(".")[0] in DISTRIBUTIONS or spec.name.startswith("pyNN.spiNNaker"):
            self._recorder.dialect = "sPyNNaker"
        return _Simulator(spec.name, self._recorder)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextmanager
def _in_place_of_simulators(recorder: ScriptRecorder) -> Iterator[None]:
    """With a module that records in place of every simulator; afterwards they are what they were."""
    simulators = {*DISTRIBUTIONS, *(f"pyNN.{name}" for name in SIMULATORS)}
    before = {
        name: module
        for name, module in sys.modules.items()
        if name in simulators or name.startswith(tuple(f"{simulator}." for simulator in simulators))
    }
    attributes = {n: vars(pyNN)[n] for n in SIMULATORS if n in vars(pyNN)}
    for name in before:
        del sys.modules[name]
    for name in attributes:
        delattr(pyNN, name)
    finder = _Finder(recorder)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n, m in sys.modules.items() if isinstance(m, _Simulator)]:
            del sys.modules[name]
        for name in SIMULATORS:
            vars(pyNN).pop(name, None)
        sys.modules.update(before)
        vars(pyNN).update(attributes)


@contextmanager
def started(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    """With what a script finds when Python starts it."""
    before = sys.argv, list(sys.path)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before


_LEGACY: Any = np.random.mtrand._rand
"""What the functions of `numpy.random` draw from."""


@contextmanager
def seeded(seed: int, recorder: ScriptRecorder | None = None) -> Iterator[None]:
    """With generators that have no seed of their own seeded, and what a script draws while it builds noticed.

    Two runs of the script then build the same network, and the recorder says that it is one for all seeds.
    """
    before = random.getstate(), _LEGACY.get_state(), np.random.bit_generator.randbits  # type: ignore[attr-defined]
    entropy = random.Random(seed)

    def randbits(bits: int) -> int:
        """What NumPy asks the operating system for when a generator gets no seed."""
        if recorder and not recorder.elapsed and _asked_by_script(sys._getframe(1)):
            recorder.drawn_once("numbers from a generator of NumPy")
        return entropy.getrandbits(bits)

    random.seed(seed)
    _LEGACY.seed(seed)
    begin = random.getstate(), _LEGACY.get_state(legacy=False)

    def notice() -> None:
        if recorder is None:
            return
        if random.getstate() != begin[0]:
            recorder.drawn_once("numbers from random")
        if not _same_state(_LEGACY.get_state(legacy=False), begin[1]):
            recorder.drawn_once("numbers from numpy.random")

    if recorder:
        recorder.notice_draws = notice
    np.random.bit_generator.randbits = randbits  # type: ignore[attr-defined]
    try:
        yield
    finally:
        random.setstate(before[0])
        _LEGACY.set_state(before[1])
        np.random.bit_generator.randbits = before[2]  # type: ignore[attr-defined]


def _asked_by_script(frame: types.FrameType | None) -> bool:
    """Whether a script or what it calls makes a generator.

    Libraries make some while they are imported. Those of PyNN decide nothing, as what they stand for is drawn
    from the seeds of the study.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(("<frozen importlib", _OWN)) or "pyNN" in Path(file).parts:
            return False
        if not file.startswith(_LIBRARIES):
            return True
        frame = frame.f_back
    return False


_OWN = str(Path(__file__).parents[1])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


def _same_state(one: Any, other: Any) -> bool:
    keys = one["state"], other["state"]
    return keys[0]["pos"] == keys[1]["pos"] and np.array_equal(keys[0]["key"], keys[1]["key"])


@contextmanager
def _watched(recorder: ScriptRecorder) -> Iterator[None]:
    """With written files noticed."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not recorder.watched:
            return
        file, mode, *_ = arguments
        writing = isinstance(file, str) and isinstance(mode, str) and _WRITING & set(mode)
        if writing and file != "/dev/null" and not _CACHED.search(file):
            recorder.writes(file)

    sys.addaudithook(hook)
    try:
        yield
    finally:
        recorder.watched = False
