"""The arm ``example-arm``."""

from __future__ import annotations

from numpy import bool_
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from unicrs_rl.graphs.states import States
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.rules import MaxEntropy


class Settings(BaseModel):
    """What a user may set under ``[arm.example-arm]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    questions: int = Field(3, ge=0, description="asked before the first list")


class ThreeQuestions(MaxEntropy):
    """Asks a fixed number of the most informative questions, and then recommends whatever it knows."""

    Config = Settings

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.settings = Settings.model_validate(context.options or {})

    @override
    def sure(self, states: States) -> NDArray[bool_]:
        enough: NDArray[bool_] = states.past.turn >= self.settings.questions
        return enough
