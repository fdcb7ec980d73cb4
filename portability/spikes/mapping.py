"""MAP.toml: what a user says about spikes from elsewhere, where files do not say it themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pynn_portability.spikes.readers import FORMATS
from pynn_portability.tables import Section, read_table


class Columns(Section):
    """``[columns]``: names of the columns of tables, or of the arrays of archives."""

    time: str | None = Field(default=None, description="the name of the column with spike times")
    neuron: str | None = Field(
        default=None, description="the name of the column with numbers of neurons"
    )
    population: str | None = Field(
        default=None, description="the name of the column with populations"
    )
    seed: str | None = Field(default=None, description="the name of the column with seeds")


class PopulationMap(Section):
    """``[populations.LABEL]``: what is known of the spikes of one population of the study."""

    files: str | None = Field(
        default=None,
        description='a pattern for names of files, such as "L23E*.dat"; * stands for anything',
    )
    called: str | None = Field(
        default=None, description="the name of the population in the files, if it is another one"
    )
    ids: list[int] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="two numbers, of the first and the last neuron in the files",
    )
    first_id: int | None = Field(
        default=None, description="the number of the first neuron in the files"
    )
    recorded: Literal["all"] | list[int] | None = Field(
        default=None,
        description='"all", or a list of the numbers (as in the files) of those neurons that were recorded',
    )

    @model_validator(mode="after")
    def _consistent(self) -> PopulationMap:
        if self.ids is not None:
            if self.ids[0] > self.ids[1]:
                raise ValueError("ids: the first number is above the last")
            if self.first_id is not None:
                raise ValueError("first_id: ids say it already")
        return self


class Map(Section):
    """A whole map; every key may be left out."""

    format: str | None = Field(
        default=None, description=f"the name of a format: {', '.join(FORMATS)}"
    )
    unit: Literal["ms", "s", "steps"] | None = Field(
        default=None, description='the unit of times: "ms", "s" or "steps" (of the study)'
    )
    begin: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="the time (ms) in the files at which the study's analysed duration begins",
    )
    label: Literal["begin", "end"] = Field(
        default="end",
        description='"end" or "begin": whether a spike has the time of the end or of the begin of its step',
    )
    grid: Literal["exact", "round"] = Field(
        default="exact",
        description='"exact", or "round" for times that lie between the steps of the study',
    )
    seed: str | None = Field(
        default=None, description='a pattern for paths with {seed} in it, such as "run{seed}/*"'
    )
    recorded: Literal["all"] | None = Field(
        default=None, description='"all" if all neurons of all populations were recorded'
    )
    columns: Columns = Field(default=Columns(), description="a table")
    populations: dict[str, PopulationMap] = Field(
        default={}, description="a table for each population of the study"
    )

    @field_validator("format")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in FORMATS:
            raise ValueError(f"unknown format {name!r} (allowed: {', '.join(FORMATS)})")
        return name

    @field_validator("seed")
    @classmethod
    def _has_a_place(cls, pattern: str | None) -> str | None:
        if pattern is not None and pattern.count("{seed}") != 1:
            raise ValueError(f"{pattern!r} must have {{seed}} in it, once")
        return pattern


def read_map(file: Path | None) -> Map:
    """The map in a file, or one that says nothing; RequestError for what is wrong in it."""
    return Map() if file is None else read_table(file, Map, "map")
