"""What decides how simulated seekers behave: the table ``[seekers]`` of a run's settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Effects(StrEnum):
    """How strongly conversational strategies move a seeker."""

    HUMAN = "human"
    """As strongly as in human dialogues (default)."""
    STRONG = "strong"
    """The same signs, five times as strong: for teaching."""
    NONE = "none"
    """Not at all: strategy is irrelevant."""


class Population(StrEnum):
    """How often seekers leave the path of question and answer."""

    PLAIN = "plain"
    """Only as their moods and traits make them (default)."""
    HOLISTIC = "holistic"
    """At the rates of human dialogues (ReDial and INSPIRED)."""


Rate = Annotated[float, Field(ge=0, le=1)]


class OffPath(_Closed):
    """How often seekers do what no questionnaire expects, per reply unless said otherwise."""

    indifferent: Rate = Field(0.0, description="anything will do, whatever was asked")
    changes_mind: Rate = Field(0.0, description="per dialogue: wants something else half-way")
    second_intent: Rate = Field(0.0, description="answers, and wants something else in the same utterance")
    off_topic: Rate = Field(0.0, description="talks of something else, and leaves the question unanswered")
    encouraging: Rate = Field(0.0, description="says that the direction is right")
    hedging: Rate = Field(0.0, description="is not sure of what it says")


Number = Annotated[float, Field(allow_inf_nan=False)]


class LatentSetting(_Closed):
    """What a hidden variable is: pinned, swept or sampled; a bare number pins it."""

    pin: Number | None = Field(None, description="this value, throughout")
    sweep: tuple[Number, ...] | None = Field(
        None, min_length=1, description="one value after the other, by conversation"
    )
    normal: tuple[Number, Annotated[float, Field(ge=0)]] | None = Field(
        None, description="drawn from a normal distribution: mean, standard deviation"
    )
    uniform: tuple[Number, Number] | None = Field(None, description="drawn evenly between two values")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        """A bare number pins."""
        return {"pin": value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one(self) -> LatentSetting:
        if sum(value is not None for value in (self.pin, self.sweep, self.normal, self.uniform)) != 1:
            raise ValueError("give exactly one of pin, sweep, normal and uniform")
        if self.uniform is not None and self.uniform[0] > self.uniform[1]:
            raise ValueError("uniform: the lower end comes first")
        return self

    @property
    def kind(self) -> Literal["pin", "sweep", "normal", "uniform"]:
        """Which of the four it is."""
        names: tuple[Literal["pin", "sweep", "normal", "uniform"], ...] = (
            "pin",
            "sweep",
            "normal",
            "uniform",
        )
        return next(name for name in names if getattr(self, name) is not None)


class SeekerConfig(_Closed):
    """How seekers behave, whatever their kind."""

    effects: Effects = Field(Effects.HUMAN, description="how strongly strategies move latent seekers")
    table: Path | None = Field(
        None, description="coefficients written by calibrate; default: the packaged ones"
    )
    population: Population = Field(Population.PLAIN, description="how often seekers leave the path")
    off_path: OffPath | None = Field(None, description="rates instead of those of the population")
    latents: Mapping[str, LatentSetting] = Field(
        default_factory=dict, description="hidden variables that are pinned, swept or sampled, by name"
    )
    tracking: bool = Field(True, description="check each reply, in words, against the seeker's goal")
    regenerate: int = Field(
        0, ge=0, le=5, description="how often a language-model seeker is asked again for a drifting reply"
    )
    takes_up: float = Field(
        0.5,
        ge=0,
        le=1,
        description="chance that mcr and latent seekers take up an attribute that they are told unasked, as "
        "if they had been asked about it (an assumption)",
    )
    satisfied_by: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of its wishes that an item has to meet for a reference-free seeker",
    )


_PAIRS = {"normal": "MEAN,SD", "uniform": "LOW,HIGH"}


def parse_latent(text: str) -> tuple[str, dict[str, Any]]:
    """``NAME=VALUE`` of the command line: ``1.5``, ``sweep:-1,0,1``, ``normal:0,2`` or ``uniform:-1,1``.

    Raises:
        ValueError: saying what is expected.
    """
    name, sign, value = text.partition("=")
    how, colon, numbers = value.partition(":")
    if not colon:
        how, numbers = "pin", value
    try:
        found = [float(number) for number in numbers.split(",")]
    except ValueError:
        found = []
    if not name.strip() or not sign or not found or how not in LatentSetting.model_fields:
        raise ValueError(
            f"{text!r}: NAME=VALUE is expected, where VALUE is a number, sweep:A,B,…, normal:MEAN,SD or "
            "uniform:LOW,HIGH"
        )
    if how == "pin" and len(found) != 1:
        raise ValueError(f"{text!r}: one number pins; several are sweep:A,B,…")
    if how in _PAIRS and len(found) != 2:
        raise ValueError(f"{text!r}: {how} needs two numbers, {how}:{_PAIRS[how]}")
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{text!r}: finite numbers are expected")
    return name.strip(), {how: found[0] if how == "pin" else found}
