"""The study file: what to run, checked key by key and expanded into single runs.

The shape of the file is documented in ``docs/study-file.md``. Whatever is wrong with a file becomes
one ``RequestError`` sentence that names the file, the key (or the line) and what is allowed there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)

from pynn_portability.errors import RequestError
from pynn_portability.run.record import IMPORTED
from pynn_portability.tables import (
    Section,
    checked_table,
    choices,
    place,
    read_table,
    shown,
    similar,
)

if TYPE_CHECKING:
    from pynn_portability.backends import Options
    from pynn_portability.formats.number_format import NumberFormat
    from pynn_portability.model.network import Network

MAX_SEED = 2**32 - 1  # the largest seed that every simulator's generator takes
MAX_SEEDS = 10_000
MAX_COMBINATIONS = 1000  # of a backend and formats
MAX_RUNS = 100_000
MAX_STEPS = 2**31 - 1  # steps are 32-bit integers inside some simulators

TIMES = ("duration", "warmup", "timestep")
"""Keys of ``[simulation]`` that a script answers when the file does not."""

Role = Literal["reference", "candidate"]


@dataclass(frozen=True)
class Run:
    """One simulation: one realization (seed) of the network on a backend in a number format."""

    role: Role
    backend: str
    format: str
    seed: int


class Header(Section):
    """``[study]``"""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        max_length=100,
        description="a name of letters, digits, '.', '_' and '-' (it names the output folder)",
    )
    keep_host: bool = Field(
        False, description="true or false: whether run.json keeps the machine's name"
    )


class Model(Section):
    """``[model]``: a function that builds a network, or a whole script.

    ``build`` names the function, every other key is a parameter of it. ``script`` names a file, and
    ``arguments`` are what it finds on its command line.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    build: str = Field("", description='a shipped model or "path/to/script.py:function"')
    script: str = Field("", description='"path/to/script.py", a whole PyNN script')
    arguments: list[str] = Field(
        default=[], description="a list of strings, the arguments of the script"
    )
    stock: bool = Field(
        False, description="true or false: whether the script runs on stock PyNN, uncaptured"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Model:
        if bool(self.build) == bool(self.script):
            raise ValueError(
                "build: must be given, or script in its place"
                if not self.build
                else "script: must not be given beside build"
            )
        if self.script and self.model_extra:
            key = next(iter(self.model_extra))
            raise ValueError(f"{key}: a script has no parameters, but arguments, a list of strings")
        if self.build and self.stock:
            raise ValueError("stock: belongs to a script")
        if self.build and self.arguments:
            raise ValueError("arguments: belong to a script, a build function has parameters")
        return self

    @property
    def reference(self) -> str:
        """What the file names as the model."""
        return self.build or self.script

    @property
    def key(self) -> str:
        """The key of it, for messages."""
        return "model.build" if self.build else "model.script"

    @property
    def parameters(self) -> dict[str, Any]:
        if self.script:
            given = {"arguments": list(self.arguments)} if self.arguments else {}
            return given | ({"stock": True} if self.stock else {})
        return dict(self.model_extra or {})


class Simulation(Section):
    """``[simulation]``: times in ms."""

    duration: float = Field(
        0.0, gt=0, allow_inf_nan=False, description="a positive number of milliseconds"
    )
    warmup: float = Field(
        1000.0, ge=0, allow_inf_nan=False, description="a number of milliseconds, zero or more"
    )
    timestep: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="a positive number of milliseconds"
    )
    timeout: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="a positive number of seconds"
    )
    seeds: list[int] = Field(
        min_length=1,
        description=f"a list of different integers from 1 to {MAX_SEED}, at most {MAX_SEEDS:,}",
    )

    @field_validator("seeds", mode="before")
    @classmethod
    def _few_seeds(cls, seeds: object) -> object:
        if isinstance(seeds, list) and len(seeds) > MAX_SEEDS:
            raise ValueError(f"has {len(seeds):,} seeds, at most {MAX_SEEDS:,} are allowed")
        return seeds

    @field_validator("seeds")
    @classmethod
    def _different_seeds(cls, seeds: list[int]) -> list[int]:
        seen: set[int] = set()
        for seed in seeds:
            if not 1 <= seed <= MAX_SEED:
                raise ValueError(f"seed {seed} is not an integer from 1 to {MAX_SEED}")
            if seed in seen:
                raise ValueError(f"seed {seed} appears more than once, seeds must be different")
            seen.add(seed)
        return seeds

    @model_validator(mode="after")
    def _on_the_grid(self) -> Simulation:
        self.steps(self.timestep)
        return self

    def says(self, key: str) -> bool:
        """Whether the study says it, so that no default holds."""
        return key in self.model_fields_set

    def steps(self, timestep: float) -> int:
        """Simulated steps of ``timestep`` ms: warm-up and analysed duration.

        Raises ValueError, with the key and what is allowed, when one is no whole number of them.
        """
        for key in ("duration", "warmup"):
            ratio = getattr(self, key) / timestep
            if not ratio <= MAX_STEPS / 2:
                raise ValueError(f"{key}: at most {MAX_STEPS // 2} steps are allowed")
            if abs(ratio - round(ratio)) > 1e-6:
                raise ValueError(
                    f"{key}: must be a whole multiple of the timestep, "
                    f"{getattr(self, key):g} ms is {ratio:g} steps of {timestep:g} ms"
                )
        return round(self.duration / timestep) + round(self.warmup / timestep)


class Reference(Section):
    """``[reference]``"""

    backend: str = Field(description="the name of a backend")
    format: str = Field("double", description="the name of a number format")


class Candidate(Section):
    """``[[candidate]]``: lists of formats and of scalings stand for one candidate each."""

    backend: str = Field(description="the name of a backend")
    format: list[str] = Field(
        default=["double"],
        min_length=1,
        description="the name of a number format or a list of names",
    )
    scaling: list[str] = Field(
        default=[""],
        min_length=1,
        description='a scaling of the network, such as "N=0.5" or "K=0.5:sqrt", or a list of them',
    )
    rates: dict[str, float] = Field(
        default={}, description="a table of rates (1/s) by population, such as {E = 5.0}"
    )
    rates_from: Literal["reference", "mean-field"] = Field(
        default="reference", description='"reference" or "mean-field"'
    )

    @field_validator("format", "scaling", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("scaling")
    @classmethod
    def _known(cls, texts: list[str]) -> list[str]:
        from pynn_portability.realize.downscaling import Scaling  # noqa: PLC0415 - keeps `--help` fast

        for text in texts:
            if text or len(texts) > 1:
                try:
                    Scaling.parse(text)
                except RequestError as error:
                    raise ValueError(str(error)) from None
        return texts

    @model_validator(mode="after")
    def _rates_of_something(self) -> Candidate:
        if self.scaling == [""]:
            for key in ("rates", "rates_from"):
                if key in self.model_fields_set and getattr(self, key):
                    raise ValueError(f"{key}: belongs to a scaling")
        if self.rates and "rates_from" in self.model_fields_set:
            raise ValueError(
                "rates_from: contradicts rates, which are given; leave out one of them"
            )
        return self

    def ports(self) -> list[Port]:
        """One for each candidate that it stands for."""
        from_theory = self.rates_from == "mean-field"
        return [
            Port(f"{name} {scaling}" if scaling else name, name, scaling, self.rates, from_theory)
            for scaling in self.scaling
            for name in self.format
        ]


@dataclass(frozen=True)
class Port:
    """What of a network a candidate has: its numbers in a ``format``, all of it or a ``scaling`` of it.

    ``name`` stands for both in a study; ``rates`` (1/s) are those that the study gives for the scaling. It may want
    those ``from_theory``; otherwise they are the reference's.
    """

    name: str
    format: str
    scaling: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    from_theory: bool = False


class SpikesCandidate(Section):
    """``[[candidate]]`` with spikes from elsewhere, see docs/foreign-spikes.md."""

    spikes: list[str] = Field(
        min_length=1,
        description="the path of a file or folder of spikes, a pattern with *, or a list of these",
    )
    label: str = Field(description="a name for these spikes")
    map: str | None = Field(None, description='the path of a map, such as "map.toml"')
    paired: bool = Field(
        False, description="true or false: whether its seeds are realizations of the study"
    )

    @field_validator("spikes", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    def files(self, base: Path) -> list[Path]:
        """What its paths and patterns stand for, relative to the folder ``base``; may be empty."""
        found: list[Path] = []
        for text in self.spikes:
            inside = Path(text)
            if "*" in text and not inside.is_absolute():
                found += sorted(base.glob(text))
            else:
                found.append(base / inside)
        return found


class SpikesReference(SpikesCandidate):
    """``[reference]`` with spikes from elsewhere, which candidates are then compared with."""

    @property
    def backend(self) -> str:
        return IMPORTED

    @property
    def format(self) -> str:
        return self.label


class BundleReference(Section):
    """``[reference]`` from a bundle, see docs/foreign-spikes.md."""

    bundle: str = Field(
        min_length=1,
        description='the path of a bundle, such as "reference.zip", or the name of a shipped one',
    )

    @property
    def backend(self) -> str:
        return IMPORTED

    @property
    def format(self) -> str:
        return Path(self.bundle).stem if self.bundle.endswith(".zip") else self.bundle


def _kind(value: object) -> str:
    given = value if isinstance(value, Mapping) else vars(value) if value else {}
    return "bundle" if "bundle" in given else "imported" if "spikes" in given else "simulated"


AnyCandidate = Annotated[
    Annotated[Candidate, Tag("simulated")] | Annotated[SpikesCandidate, Tag("imported")],
    Discriminator(_kind),
]
AnyReference = Annotated[
    Annotated[Reference, Tag("simulated")]
    | Annotated[SpikesReference, Tag("imported")]
    | Annotated[BundleReference, Tag("bundle")],
    Discriminator(_kind),
]


class Judged(Section):
    """``[statistics]``: what runs are compared by."""

    use: list[str] = Field(
        default=["rate", "cv", "cc"],
        min_length=1,
        max_length=20,
        description='a list of names of statistics, with "rate" among them',
    )

    @field_validator("use")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        from pynn_portability.judge.statistics import statistic  # noqa: PLC0415 - keeps `--help` fast

        for name in names:
            try:
                statistic(name)
            except RequestError as error:
                raise ValueError(str(error)) from None
            if names.count(name) > 1:
                raise ValueError(f"{name!r} appears more than once")
        if "rate" not in names:
            raise ValueError('must have "rate" among them, on which warnings and predictions rest')
        return names


class Study(Section):
    """A whole study file."""

    study: Header
    model: Model
    simulation: Simulation
    reference: AnyReference
    candidate: list[AnyCandidate] = Field(
        default=[], description="a list of tables, [[candidate]] with double brackets"
    )
    statistics: Judged = Field(default=Judged(), description="a table [statistics]")
    backends: dict[str, dict[str, Any]] = Field(
        default={}, description="one table per backend, such as [backends.nest]"
    )

    _file: Path = PrivateAttr(default=Path())
    _base: Path = PrivateAttr(default=Path())
    _formats: dict[str, NumberFormat] = PrivateAttr(default_factory=dict)
    _ports: tuple[object, dict[str, Port]] = PrivateAttr(default=(None, {}))
    _given: Network | None = PrivateAttr(default=None)

    @property
    def given_network(self) -> Network | None:
        """The network, where it came with the study, so that no model is needed."""
        return self._given

    @property
    def file(self) -> Path:
        """Where it is written, or for a study from values what stands for that in messages."""
        return self._file

    @property
    def base(self) -> Path:
        """The folder that its paths are relative to."""
        return self._base

    @property
    def name(self) -> str:
        return self.study.name

    @property
    def script(self) -> Path | None:
        """The file of the model; None for a shipped one."""
        from pynn_portability.model.scripts import script_of  # noqa: PLC0415

        if self.model.script:
            return (self.base / self.model.script).resolve()
        return script_of(self.model.build, self.base)

    @property
    def complete(self) -> bool:
        """Whether all times are known; otherwise the script gives those that the file does not say."""
        return not self.model.script or all(map(self.simulation.says, TIMES))

    def completed(self, timestep: float, duration: float) -> Study:
        """The study of a script that runs for ``duration`` in steps of ``timestep`` (ms).

        What the file says holds, and without a warm-up in it there is none. Raises RequestError when nothing
        is left to be analysed, and for formats with time steps that do not fit.
        """
        says = self.simulation.says
        warmup = self.simulation.warmup if says("warmup") else 0.0
        if not says("duration") and warmup >= duration:
            raise RequestError(
                f"{self.file}: simulation.warmup: {warmup:g} ms leave nothing of the {duration:g} ms that the "
                "script runs"
            )
        given = self.simulation.model_dump(exclude_unset=True)
        times = {"timestep": timestep, "warmup": warmup, "duration": duration - warmup} | given
        section = {"simulation": times}
        simulation = checked_table(section, _SimulationOnly, str(self.file)).simulation
        study = self.model_copy(update={"simulation": simulation})
        _check_formats(study)
        return study

    @property
    def simulated(self) -> list[tuple[int, Candidate]]:
        """Candidates that are simulated, with their place in the file."""
        return [(i, c) for i, c in enumerate(self.candidate) if isinstance(c, Candidate)]

    @property
    def imported(self) -> list[SpikesCandidate]:
        """What is spikes from elsewhere, the reference first."""
        everything = (self.reference, *self.candidate)
        return [c for c in everything if isinstance(c, SpikesCandidate)]

    def combinations(self) -> tuple[tuple[Role, str, str], ...]:
        """(role, backend, format), the reference first."""
        return (
            ("reference", self.reference.backend, self.reference.format),
            *(("candidate", c.backend, p.name) for _, c in self.simulated for p in c.ports()),
        )

    def simulations(self) -> tuple[tuple[Role, str, str], ...]:
        """(role, backend, format) of what is simulated."""
        return tuple(c for c in self.combinations() if c[1] != IMPORTED)

    def runs(self) -> tuple[Run, ...]:
        """Every simulation that the study asks for, the reference's first."""
        return tuple(
            Run(role, backend, number_format, seed)
            for role, backend, number_format in self.simulations()
            for seed in self.simulation.seeds
        )

    def backend_names(self) -> tuple[str, ...]:
        """Backends that take part, each once, in order of appearance."""
        return tuple(dict.fromkeys(backend for _, backend, _ in self.simulations()))

    def options(self, backend: str) -> Options:
        """The options of a backend: what the file says, otherwise defaults."""
        from pynn_portability.backends import checked_options  # noqa: PLC0415 - keeps `--help` fast

        where = f"{self.file}: backends.{backend}."
        return checked_options(backend, self.backends.get(backend, {}), where)

    def port(self, name: str) -> Port:
        """What the candidates called ``name`` have; anything else is a number format."""
        if self._ports[0] is not self.candidate:  # a copy may have others
            ports = {p.name: p for _, c in self.simulated for p in c.ports()}
            self._ports = (self.candidate, ports)
        return self._ports[1].get(name) or Port(name, name)

    def number_format(self, name: str) -> NumberFormat:
        """The number format that the file calls ``name``, or of the candidate that has this name."""
        from pynn_portability.formats.names import number_format  # noqa: PLC0415

        text = self.port(name).format
        if text not in self._formats:
            self._formats[text] = number_format(text, self.base)
        return self._formats[text]

    def timestep(self, format_name: str) -> float:
        """Time step (ms) of runs in a number format, or of a candidate: its own, otherwise the study's."""
        return self.number_format(format_name).timestep or self.simulation.timestep


class _SimulationOnly(Section):
    simulation: Simulation


def shareable(build: str) -> str:
    """A reference to a build function without the folder of an absolute path, which tells of its user."""
    return Path(build).name if Path(build).is_absolute() else build


def load_study(path: Path) -> Study:
    """Read and check a study file.

    Raises ``RequestError`` for everything that can be wrong before the model is built: unreadable
    file, TOML syntax, keys, types, values, and names of backends, formats, options and shipped models.
    """
    study = read_table(path, Study, "study file")
    return _checked(study, path, path.parent)


def study_of(
    values: Mapping[str, Any],
    base: Path,
    name: Path = Path("study"),
    network: Network | None = None,
) -> Study:
    """A study from what a study file would hold; paths in it are relative to ``base``.

    ``name`` stands for the file in messages. With its ``network``, the model is not built.

    Raises ``RequestError`` as `load_study` does.
    """
    study = checked_table(values, Study, str(name))
    study._given = network
    return _checked(study, name, base)


def _checked(study: Study, file: Path, base: Path) -> Study:
    study._file, study._base = file, base
    if not study.model.script and not study.simulation.says("duration"):
        raise RequestError(
            f"{file}: simulation.duration: is missing, it must be a positive number of milliseconds"
        )
    for i, candidate in study.simulated:
        if not {"format", "scaling"} & candidate.model_fields_set:
            raise RequestError(
                f"{file}: {place(('candidate', i, 'format'))}: is missing, it must be the name of a number format or "
                "a list of names"
            )
    _check_number_of_runs(study)
    if study.model.stock:
        _check_stock(study)
    _check_imported(study)
    _check_backends(study)
    if study.complete:
        _check_formats(study)
    _check_options(study)
    _check_model(study)
    return study


def _check_number_of_runs(study: Study) -> None:
    combinations = len(study.combinations())
    if combinations > MAX_COMBINATIONS:
        raise RequestError(
            f"{study.file}: candidate: stands for {combinations:,} combinations of backend and format, the "
            f"reference included, at most {MAX_COMBINATIONS:,} are allowed"
        )
    runs = combinations * len(study.simulation.seeds)
    if runs > MAX_RUNS:
        raise RequestError(
            f"{study.file}: simulation.seeds: {len(study.simulation.seeds):,} seeds make {runs:,} runs, at "
            f"most {MAX_RUNS:,} are allowed"
        )


def _check_stock(study: Study) -> None:
    """Simulators with stock modules, and formats that they can have."""
    from pynn_portability.run.stock import unsuitable  # noqa: PLC0415 - brings PyNN

    for _, backend, name in study.simulations():
        try:
            reason = unsuitable(backend, study.number_format(name))
        except RequestError:
            continue  # of the name itself, which is said elsewhere
        if reason:
            raise RequestError(f"{study.file}: model.stock: {reason}")


def _check_imported(study: Study) -> None:
    """Labels that can be names, each once."""
    from pynn_portability.run.imported import folder_name  # noqa: PLC0415

    key = "bundle" if isinstance(study.reference, BundleReference) else "label"
    given: list[tuple[str, Section]] = [(f"reference.{key}", study.reference)]
    given += [(place(("candidate", i, "label")), c) for i, c in enumerate(study.candidate)]
    seen: set[str] = set()
    for key, item in given:
        if isinstance(item, SpikesCandidate | BundleReference):
            label = item.format if isinstance(item, BundleReference) else item.label
            try:
                name = folder_name(label)
            except RequestError as error:
                raise RequestError(f"{study.file}: {key}: {error}") from None
            if name in seen:
                raise RequestError(
                    f"{study.file}: {key}: {label!r} is the label of other spikes, too"
                )
            seen.add(name)


def _check_backends(study: Study) -> None:
    from pynn_portability.backends import names  # noqa: PLC0415

    named = []
    if study.reference.backend != IMPORTED:
        named.append(("reference.backend", study.reference.backend))
    for i, candidate in study.simulated:
        named.append((place(("candidate", i, "backend")), candidate.backend))
    named += [(f"backends.{name}", name) for name in study.backends]
    for key, name in named:
        if name not in names():
            raise RequestError(
                f"{study.file}: {key}: unknown backend {name!r}{choices(name, names())}"
            )


def _check_statistics(study: Study, timestep: float) -> None:
    """Bins of whole steps, and enough of them."""
    from pynn_portability.judge.statistics import statistic  # noqa: PLC0415 - keeps `--help` fast

    for chosen in map(statistic, study.statistics.use):
        if chosen.width is None:
            continue
        steps = chosen.width / timestep
        if steps < 1 - 1e-9 or abs(steps - round(steps)) > 1e-6:
            raise RequestError(
                f"{study.file}: statistics.use: {chosen.name!r} counts in bins of {chosen.width:g} ms, which must be "
                f"a whole multiple of all time steps, and one of them is {timestep:g} ms"
            )
        if study.simulation.duration < chosen.shortest:
            raise RequestError(
                f"{study.file}: statistics.use: {chosen.name!r} needs a simulation.duration of at least "
                f"{chosen.shortest:g} ms"
            )


def _check_formats(study: Study) -> None:
    """Known names, time steps that fit the durations, and no combination twice."""

    def known(key: str, name: str) -> str:
        try:
            timestep = study.timestep(name)
        except RequestError as error:
            raise RequestError(f"{study.file}: {key}: {error}") from None
        try:
            study.simulation.steps(timestep)
        except ValueError as error:
            raise RequestError(
                f"{study.file}: {key}: {name!r} does not fit simulation.{error}"
            ) from None
        _check_statistics(study, timestep)
        return name

    reference = (study.reference.backend, study.reference.format)
    if study.reference.backend != IMPORTED:
        known("reference.format", study.reference.format)
    seen = {reference: "the reference"}
    for i, candidate in study.simulated:
        key = place(("candidate", i, "format"))
        if study.model.stock and candidate.scaling != [""]:
            where = place(("candidate", i, "scaling"))
            raise RequestError(
                f"{study.file}: {where}: a script on stock PyNN runs as it is, and cannot be scaled"
            )
        for name in (port.name for port in candidate.ports()):
            combination = (candidate.backend, known(key, name))
            if combination in seen:
                raise RequestError(
                    f"{study.file}: {key}: {candidate.backend} with {name!r} repeats "
                    f"{seen[combination]}, every combination of backend, format and scaling may appear once"
                )
            seen[combination] = f"candidate {i + 1}"


def _check_options(study: Study) -> None:
    for backend in study.backends:
        study.options(backend)


def _check_model(study: Study) -> None:
    """A shipped model that there is, and values that can be handed on; a script is not run here."""
    from pynn_portability.model.scripts import load_model, shipped_models  # noqa: PLC0415

    reference = study.model.build
    if reference.endswith(".py"):
        raise RequestError(
            f"{study.file}: model.build: {reference!r} names no function; a build function is named "
            f'"{reference}:function", and a whole script by the key script'
        )
    try:
        if reference and ":" not in reference and study.given_network is None:
            load_model(reference, study.base)
    except RequestError as error:
        hint = similar(reference, shipped_models())
        raise RequestError(f"{study.file}: model.build: {error}{hint}") from None
    for name, value in study.model.parameters.items():
        if not _is_plain(value):
            raise RequestError(
                f"{study.file}: model.{name}: must be a finite number, a string, true or false, "
                f"or a list or table of these, not {shown(value)}"
            )


def _is_plain(value: object) -> bool:
    """Whether JSON can hold the value (TOML also has dates, infinity and not-a-number)."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, (int, str))


def inventory() -> dict[str, Any]:
    """What a study file can name, as plain JSON values: models, backends, formats, machines and statistics."""
    from pynn_portability.backends import names  # noqa: PLC0415
    from pynn_portability.formats.names import (  # noqa: PLC0415
        FORMATS,
        machine_evidence,
        machine_formats,
    )
    from pynn_portability.judge.statistics import meanings  # noqa: PLC0415
    from pynn_portability.model.scripts import (  # noqa: PLC0415
        load_model,
        model_parameters,
        shipped_models,
    )
    from pynn_portability.run.bundle import shipped  # noqa: PLC0415

    models = [
        {"name": name, "parameters": model_parameters(load_model(name, Path()))}
        for name in shipped_models()
    ]
    return {
        "models": models,
        "backends": [_backend_entry(name) for name in names()],
        "formats": list(FORMATS),
        "machines": machine_formats(),
        "evidence": machine_evidence(),
        "statistics": meanings(),
        "references": sorted(shipped()),
    }


def _backend_entry(name: str) -> dict[str, Any]:
    """A backend's versions, or what is wrong with it, and its options."""
    from pynn_portability.backends import load  # noqa: PLC0415

    try:
        backend = load(name)
    except RequestError as error:
        return {"name": name, "problem": str(error), "versions": {}, "options": {}}
    problem = backend.available()
    options = {}
    for key, option in backend.options.model_fields.items():
        allowed = get_args(option.annotation)
        kind = type(allowed[0]) if allowed else option.annotation
        options[key] = {
            "type": getattr(kind, "__name__", str(kind)),
            "default": option.default,
            "allowed": list(allowed),
            "meaning": option.description,
        }
    versions = {} if problem else backend.versions()
    return {"name": name, "problem": problem, "versions": versions, "options": options}
