"""What is known of a finished run: the content of ``run.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pynn_portability.files import content_hash

IMPORTED = "imported"
"""What stands for the backend of spikes from elsewhere, whose label stands where others have a number format."""


class Part(BaseModel):
    """A part of a file that the harness writes; nothing else may stand in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Environment(Part):
    """The software that decided the spikes."""

    sources: str = Field(
        description="SHA-256 of the syntax trees of the code of ours that decides spikes"
    )
    versions: dict[str, str] = Field(description="versions by package")


class ModelReference(Part):
    """The model that was built."""

    build: str = Field(description="a shipped model, or path/to/script.py:function")
    parameters: dict[str, Any] = Field(
        description="parameters of the build function that were given"
    )


class Host(Part):
    """The machine and the interpreter."""

    name: str = Field(description="network name, empty unless the study wants it to be kept")
    platform: str = Field(description="operating system")
    python: str = Field(description="version of Python")
    cpu: str = Field(description="model of the processor")
    cores: int | None = Field(description="number of cores")


class Cost(Part):
    """What a run cost, or runs on average (memory and threads: at most)."""

    build_seconds: float = Field(description="wall time of building the network, s")
    simulate_seconds: float = Field(description="wall time of simulating, s")
    realtime_factor: float = Field(description="wall time of simulating over model time")
    peak_rss_bytes: int = Field(description="largest resident memory, bytes")
    bytes_per_synapse: float | None = Field(
        description="growth of resident memory over number of synapses, bytes"
    )
    bytes_per_synapse_allocated: float | None = Field(
        description="memory allocated for synapses over their number, bytes, if the simulator tells"
    )
    threads: int = Field(description="threads of the simulation")


class RunRecord(Part):
    """A finished run: what was asked for, what answered, and what it took."""

    key: str = Field(description="name of the run: a hash of request and environment")
    schema_: Literal["portability-run/1"] = Field(default="portability-run/1", alias="schema")
    request: dict[str, Any] = Field(
        description="everything that determines the spikes, apart from the software"
    )
    environment: Environment
    model: ModelReference
    created: str = Field(description="ISO 8601, UTC")
    host: Host
    synapses: int = Field(description="number of synapses")
    cost: Cost
    observations: dict[str, dict[str, dict[str, int]]] = Field(
        default={}, description="counts by kind of event, population and receptor"
    )
    spikes_sha256: str = Field(default="", description="SHA-256 of spikes.h5")
    record_sha256: str = Field(
        default="", description="SHA-256 of all other fields, as JSON with sorted keys"
    )

    def sealed(self, spikes_sha256: str) -> RunRecord:
        """The record with the hash of its spikes and a checksum of its own."""
        complete = self.model_copy(update={"spikes_sha256": spikes_sha256})
        return complete.model_copy(update={"record_sha256": complete._checksum()})

    @property
    def intact(self) -> bool:
        """Whether this is what was once sealed."""
        return self.record_sha256 == self._checksum()

    def _checksum(self) -> str:
        return content_hash(self.model_dump(by_alias=True, exclude={"record_sha256"}))
