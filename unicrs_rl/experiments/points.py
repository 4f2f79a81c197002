"""Points of the grid in study files: entries ``[[point]]``, each an arm of the study's runs.

A point is a named one of :data:`~unicrs_rl.policy.control.POINTS`, or has its own switches; hyper-parameters
may stand beside them. Where one of the systems is that point, the arm is a variant of the system; else it is
one of ``grid``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from unicrs_rl.errors import InputError, unknown
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.run_folder import FileName
from unicrs_rl.policy.arms import kind
from unicrs_rl.policy.control import COLUMNS, POINTS, Control, Controller, Encoder, Learning, Point

GRID = "grid"
"""The arm of points that no system is."""
_SWITCHES = ("control", "encoder", "learner")
_BY = {
    Controller.JOINT: "joint",
    Controller.OWN: "own",
    Controller.RULE: "rule",
    Controller.EXPERT: "expert",
}


class StudyPoint(BaseModel):
    """An entry ``[[point]]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: FileName = Field(description="of the arm's variant")
    label: str = Field("", description="what figures call it, if not by its name")
    point: str | None = Field(None, description="a named point; then no switch may be given")
    control: Control | None = Field(None, description="who decides what")
    encoder: Encoder | None = Field(None, description="what learned policies see")
    learner: Learning | None = Field(None, description="how they learn")
    settings: Mapping[str, Any] = Field(default={}, description="hyper-parameters of the arm's learner")

    @field_validator("point")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in POINTS:
            raise ValueError(str(unknown("point", value, POINTS)))
        return value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.point is not None and any(getattr(self, name) is not None for name in _SWITCHES):
            raise ValueError(
                f"{self.name!r} is a named point already: point and {_SWITCHES} exclude each other"
            )
        if self.where != POINTS.get(self.name, self.where):
            raise ValueError(
                f"{self.name!r} is the name of another point; choose another name, or point = {self.name!r}"
            )
        return self

    @property
    def where(self) -> Point:
        """The point."""
        if self.point is not None:
            return POINTS[self.point]
        given = {name: value for name in _SWITCHES if (value := getattr(self, name)) is not None}
        return Point(**given)

    @property
    def arm(self) -> str:
        """The arm that is this point: ``unified``, ``rso``, or one such as ``grid@four-isolated``."""
        system = self.where.arm
        return system if system == self.name else f"{system}@{self.name}"

    @property
    def table(self) -> dict[str, Any]:
        """The arm's settings."""
        if self.where.arm != GRID:
            return dict(self.settings)
        switches = self.where.model_dump(mode="json")
        return switches | ({"settings": dict(self.settings)} if self.settings else {})


def point_of(config: RunConfig, arm: str) -> Point | None:
    """Where on the grid an arm of a run stands; ``None`` where it is none of its points."""
    system, settings = kind(arm), config.settings(arm)
    if system in _LEARNING:
        return Point(encoder=settings.get("encoder", Encoder.GRAPH), learner=_LEARNING[system])
    if system != GRID:
        return _PLACES.get(system)
    return Point.model_validate({name: settings[name] for name in _SWITCHES if name in settings})


def check_stands(config: RunConfig, point: StudyPoint) -> None:
    """Whether a study's point is, in a run, the point that its entry says.

    Raises:
        InputError: if settings, of the entry or of the arm, change one of its switches.
    """
    there = point_of(config, point.arm)
    assert there is not None, f"{point.arm} is an arm of the grid"
    if changed := [name for name in _SWITCHES if getattr(there, name) != getattr(point.where, name)]:
        raise InputError(
            f"point {point.name!r}: settings of {point.arm} change its {' and '.join(changed)}; "
            "give a [[point]] of another name that switch"
        )


_LEARNING: Mapping[str, Learning] = {
    "unified": Learning.DQN,
    "unified-ppo": Learning.PPO,
    "unified-reinforce": Learning.REINFORCE,
}
_PLACES: Mapping[str, Point] = {
    "rso": POINTS["rso"],
    "rso-ppo": Point(control=POINTS["rso"].control, encoder=Encoder.TEXT, learner=Learning.PPO),
}
"""Arms that are points by themselves."""


def controlled(control: Control) -> str:
    """Who decides what, in words: ``joint``, or ``joint, strategy rule``.

    Who decides the most columns comes first, and then only those decided by others.
    """
    deciders = [getattr(control, name) for name in COLUMNS]
    most = max(_BY, key=deciders.count)
    others = [
        f"{name} {_BY[decider]}"
        for name, decider in zip(COLUMNS, deciders, strict=True)
        if decider is not most
    ]
    return ", ".join((_BY[most], *others))
