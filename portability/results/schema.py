"""The one description of ``results.json``: models that write it, read it and give its JSON Schema.

What JSON has no number for (a ratio may be infinite) is null. Lists that a failed or skipped candidate lacks
are empty. ``docs/results.md`` explains the fields in their context.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from pynn_portability.errors import RequestError
from pynn_portability.files import CHECKSUM, sealed, unsealed
from pynn_portability.run.record import IMPORTED, Cost, Part

SCHEMA = "portability-results/1"


def _finite(value: Any) -> Any:
    return value if value is None or math.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A number, null where it is missing, infinite or undefined."""

Verdict = Literal["pass", "deviates", "inconclusive", "failed", "not run", "reference"]


class StudyEntry(Part):
    """What was asked for."""

    name: str = Field(description="name of the study")
    file: str = Field(description="path of the study file, empty for a study without one")
    model: dict[str, Any] = Field(description="build function and its parameters")
    duration: float = Field(description="analysed model time, ms")
    warmup: float = Field(description="model time before it, ms")
    timestep: float = Field(description="the study's time step, ms")
    seeds: list[int] = Field(description="one realization of the network each")
    statistics: list[str] = Field(description="names of what runs are compared by")


class PopulationEntry(Part):
    """A population of the network."""

    label: str = Field(description="label in the model")
    size: int = Field(description="number of cells")
    cell_type: str = Field(description="PyNN cell type")
    recorded: bool = Field(default=True, description="whether spikes are recorded and judged")


class Mean(Part):
    """A statistic over the neurons (or pairs, or runs) of all seeds together; there is none of curves."""

    population: str = Field(description="label")
    statistic: str = Field(description="its name")
    mean: Number = Field(description="mean")
    sd: Number = Field(description="standard deviation")
    n: int = Field(description="number of neurons, pairs or runs")


class Sparse(Part):
    """Neurons with hardly a spike, means over seeds."""

    population: str = Field(description="label")
    silent: Number = Field(description="neurons without a spike")
    single: Number = Field(description="neurons with one spike")


class RunEntry(Part):
    """One run."""

    seed: int = Field(description="its seed")
    status: Literal["done", "failed", "not run"] = Field(description="what became of it")
    error: str | None = Field(default=None, description="why it failed, a sentence")
    log: str | None = Field(default=None, description="file with what it printed, if it failed")
    key: str = Field(description="name of its folder in runs/")
    reused: bool = Field(description="whether it was in the store before")
    cost: Cost | None = Field(default=None, description="what it took, null if it failed")
    observations: dict[str, dict[str, dict[str, int]]] = Field(
        default={}, description="counts by kind of event, population and receptor"
    )


class Score(Part):
    """One population and statistic of a candidate, or of something else judged like one.

    Distances are those of Kolmogorov and Smirnov between distributions, and relative differences between curves; see
    ``docs/verdict.md``.
    """

    population: str = Field(description="label")
    statistic: str = Field(description="its name")
    distance: Number = Field(
        description="mean distance from the reference's run of the same seed; unpaired, from all its runs"
    )
    distances: list[Number] = Field(description="that distance, by run of the candidate")
    baseline_mean: Number = Field(description="mean distance between runs of the reference")
    baseline_sd: Number = Field(description="its standard deviation over pairs of runs")
    ratio: Number = Field(description="distance over baseline_mean")
    ratio_low: Number = Field(description="lower bound, for all comparisons together")
    ratio_high: Number = Field(description="one-sided upper bound")
    verdict: Literal["pass", "deviates", "inconclusive"] = Field(description="of this comparison")

    @property
    def deviates(self) -> bool:
        """Whether this comparison deviates."""
        return self.verdict == "deviates"


class Baseline(Part):
    """Distances between runs of the reference, for one population and statistic."""

    population: str = Field(description="label")
    statistic: str = Field(description="its name")
    baseline: list[Number] = Field(description="one distance per pair of seeds")
    baseline_mean: Number = Field(description="their mean")
    baseline_sd: Number = Field(description="their standard deviation")


class PartOfRuns(Part):
    """What the verdict had been, had the runs ended earlier."""

    duration: float = Field(description="model time that is used, ms")
    verdict: Verdict = Field(description="of that part")
    largest: dict[str, Number] = Field(description="largest ratio by statistic")
    scores: list[Score] = Field(default=[], description="all comparisons")


class PopulationPrediction(Part):
    """Predicted rates of a population and their distances."""

    population: str = Field(description="label")
    rate: Number = Field(description="mean rate with weights as drawn, 1/s")
    rate_sd: Number = Field(description="its SD over neurons, 1/s")
    held_rate: Number = Field(description="mean rate with weights as held, 1/s")
    held_rate_sd: Number = Field(description="its SD over neurons, 1/s")
    ks_paired: Number = Field(description="distance in the same realization")
    ks_baseline: Number = Field(description="distance between realizations")
    ratio: Number = Field(description="their quotient")


class CovariancePrediction(Part):
    """Predicted pair-averaged cross-covariance within a population."""

    population: str = Field(description="label")
    whole: Number = Field(description="integral over all lags in the whole network, 1/s")
    smaller: Number = Field(description="in the smaller one, 1/s")
    whole_curve: list[float] = Field(
        default=[],
        description="at lags from 0 on, as the statistic covariance, in the whole network, 1/s²; "
        "empty where linear response calls a network unstable",
    )
    smaller_curve: list[float] = Field(default=[], description="likewise in the smaller one")
    size_factor: Number = Field(
        default=None,
        description="root mean square of the smaller network's curve over that of the whole one",
    )


class Epsilon(Part):
    """Discretisation errors of a projection's input: Dasbach et al. (2021), equation 25."""

    projection: str = Field(description="label")
    source: str = Field(description="label of the source population")
    target: str = Field(description="label of the target population")
    mu: Number = Field(description="of the mean input")
    sigma2: Number = Field(description="of its variance in time")
    dmu2: Number = Field(description="of the variance over neurons of the mean")
    dsigma2: Number = Field(description="of the variance over neurons of the variance")

    @property
    def measures(self) -> dict[str, float | None]:
        """The errors by the name of their field."""
        return {
            "mu": self.mu,
            "sigma2": self.sigma2,
            "dmu2": self.dmu2,
            "dsigma2": self.dsigma2,
        }


class Prediction(Part):
    """What theory expects of a number format."""

    verdict: Literal["pass", "deviates", "open"] | None = Field(
        description="null where the theory does not apply"
    )
    reason: str | None = Field(default=None, description="why it does not apply")
    shares: dict[str, float] = Field(default={}, description="of drawn studies, by verdict")
    population: str | None = Field(default=None, description="where the largest ratio is")
    ratio: Number = Field(default=None, description="the largest ratio")
    populations: list[PopulationPrediction] = Field(default=[], description="by population")
    epsilon: list[Epsilon] = Field(default=[], description="by projection")
    covariances: list[CovariancePrediction] = Field(
        default=[], description="by population, of smaller networks"
    )
    limits: list[str] = Field(default=[], description="what is not predicted, a sentence each")


class WeightsEntry(Part):
    """Mean and SD of the weights of a projection or drive, before and after a format has rounded them.

    They are those of 2^16 quantiles of the distribution, or of explicit weights.
    """

    label: str = Field(description="of the projection or drive")
    drive: bool = Field(description="whether it is a Poisson drive")
    unit: str = Field(description="of the four numbers, nA or uS")
    mean: Number = Field(description="before")
    sd: Number = Field(description="before")
    held_mean: Number = Field(description="after, null where finding it takes drawing all weights")
    held_sd: Number = Field(description="after, likewise")


class EnsembleEntry(Part):
    """An ensemble of runs: a backend and a number format."""

    backend: str = Field(description="name of the backend")
    format: str = Field(description="name of the number format")
    timestep: float | None = Field(default=None, description="of these runs, ms")
    means: list[Mean] = Field(default=[], description="of every population and statistic")
    sparse: list[Sparse] = Field(default=[], description="of every population")
    cost: Cost | None = Field(default=None, description="means over runs, null without any")
    runs: list[RunEntry] = Field(default=[], description="one per seed")
    weights: list[WeightsEntry] = Field(
        default=[], description="of every projection and drive, scales as of the first seed"
    )
    notes: list[str] = Field(
        default=[], description="what is not covered, and what was counted, a sentence each"
    )
    verdict: Verdict = Field(description="failed if a run failed")
    reasons: list[str] = Field(default=[], description="why, a sentence each")

    @property
    def name(self) -> str:
        """What it is called in sentences."""
        return (
            f"{self.format} (imported)"
            if self.backend == IMPORTED
            else f"{self.backend} {self.format}"
        )


class ReferenceEntry(EnsembleEntry):
    """The ensemble that candidates are compared with."""

    baseline: list[Baseline] = Field(default=[], description="distances between its runs")
    null: list[Score] = Field(default=[], description="of rate-matched noise, as a candidate")
    drift: list[Score] = Field(
        default=[], description="of its last quarter, as a candidate for its first"
    )
    noticed_rate_changes: dict[str, Number] = Field(
        default={}, description="smallest noticed loss of spikes by population, null if none is"
    )


class CandidateEntry(EnsembleEntry):
    """An ensemble that is judged."""

    pairing: Literal["paired", "unpaired"] = Field(
        default="paired",
        description="whether its runs have the realizations of the reference's runs of the same seeds",
    )
    scores: list[Score] = Field(default=[], description="all comparisons")
    diagnosis: list[str] = Field(default=[], description="where to look, a sentence each")
    parts: list[PartOfRuns] = Field(default=[], description="had the runs ended earlier")
    prediction: Prediction | None = Field(default=None, description="what theory expects")


class PlantedFault(Part):
    """A kind of planted fault, and the smallest that the study notices."""

    fault: str = Field(description="its name")
    description: str = Field(description="what its size means")
    simulated: bool = Field(description="whether it is planted into the model")
    tried: list[float] = Field(description="sizes, in the order tried")
    size: float | None = Field(description="the smallest that is noticed, null if none is")
    where: list[str] = Field(description="comparisons that deviate at that size")


class Rule(Part):
    """How verdicts are reached."""

    familywise_error: float = Field(description="false alarms of a candidate, at most")
    margin: float = Field(description="ratio that a passing candidate stays below")
    text: list[str] = Field(description="the rule in sentences")
    unpaired: list[str] = Field(
        default=[], description="the same for unpaired candidates, if there are any"
    )


class Provenance(Part):
    """Where and with what the results were made."""

    created: str = Field(description="ISO 8601, UTC")
    portability: str = Field(description="version of this package")
    python: str = Field(description="version of Python")
    platform: str = Field(description="operating system")
    cpu: str = Field(description="model of the processor")
    cores: int | None = Field(description="number of cores")
    versions: dict[str, dict[str, str]] = Field(description="of packages, by backend")
    network_fingerprint: str = Field(description="SHA-256 of the network")


class StudyResults(Part):
    """``results.json``"""

    schema_: Literal["portability-results/1"] = Field(alias="schema")
    study: StudyEntry
    populations: list[PopulationEntry]
    reference: ReferenceEntry
    candidates: list[CandidateEntry]
    selftest: list[PlantedFault] = Field(default=[], description="of this study as it is")
    warnings: list[str] = Field(default=[], description="on the data, a sentence each")
    notes: list[str] = Field(
        default=[],
        description="what of the network was moved, rounded, left out or taken from elsewhere",
    )
    missing: list[str] = Field(
        default=[], description="what of these results could not be made, and why, a sentence each"
    )
    rule: Rule
    deployment: dict[str, Any] | None = Field(
        default=None, description="the content of deployment.json, see docs/spinnaker.md"
    )
    provenance: Provenance
    sha256: str = Field(
        default="", description="SHA-256 of all other fields, as JSON with sorted keys"
    )

    def to_json(self) -> str:
        """The text of the file, fields that do not apply left out."""
        text = self.model_dump_json(by_alias=True, exclude_unset=True, exclude={CHECKSUM})
        return sealed(json.loads(text))

    @classmethod
    def read(cls, file: Path) -> StudyResults:
        """The results in a file; RequestError if it holds something else."""
        try:
            return cls.model_validate(unsealed(file))
        except OSError as error:
            raise RequestError(f"{file}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"{file}: is not the results of a study: {reason}") from None
