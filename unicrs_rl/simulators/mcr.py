"""The entity-level seeker of multi-round conversational recommendation (EAR, SCPR, UNICORN).

It volunteers one random attribute of its target, says yes to exactly the target's attributes, and
accepts a list exactly when the target is on it. Strategies mean nothing to it, and it never leaves.
With ``noise`` each answer to a question is flipped with that probability: always the same way for the
same attribute in the same conversation, as somebody does who is mistaken.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import Act
from unicrs_rl.simulators.seekers import (
    NOTHING,
    Actions,
    Answer,
    Replies,
    SeekerContext,
    Seekers,
    has_attributes,
    random_attributes,
    uniform,
)
from unicrs_rl.simulators.wording import Manner


class McrSeekers(Seekers):
    """Truthful, tireless and indifferent to tone."""

    strategic = False

    def __init__(self, context: SeekerContext, argument: str = "") -> None:
        super().__init__(context, argument)
        self.noise = context.noise

    @override
    def opening(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        draw = uniform(self.keys[rows], self.turns[rows], "opening")
        return random_attributes(self.world, self.targets[rows], draw)

    @override
    def respond(self, rows: NDArray[np.int64], actions: Actions) -> Replies:
        targets = self.targets[rows]
        asked = (actions.act == Act.ASK)[:, None] & (actions.attributes != NOTHING)
        yes = has_attributes(self.world, targets, actions.attributes)
        if self.noise:
            yes ^= self._mistaken(rows, actions.attributes)
        answers = np.where(asked, np.where(yes, Answer.YES, Answer.NO), Answer.NONE)
        hit = (actions.items == targets[:, None]) & (actions.act == Act.RECOMMEND)[:, None]
        place = np.where(hit.any(axis=1), hit.argmax(axis=1), NOTHING)
        taken_up = self.take_up(rows, actions)
        self.hear(rows, actions)
        self.turns[rows] += 1
        n = len(rows)
        return Replies(
            answers=answers.astype(np.int64),
            volunteered=np.full(n, NOTHING),
            place=place,
            left=np.zeros(n, dtype=bool),
            manner=np.full(n, Manner.PLAIN, dtype=np.int64),
            taken_up=taken_up,
        )

    def _mistaken(self, rows: NDArray[np.int64], attributes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which answers about the attributes (``[n, m]``) are flipped: ``[n, m]``."""
        columns = [draws.uniform(self.keys[rows], column, "mistake") for column in attributes.T]
        flipped: NDArray[np.bool_] = np.stack(columns, axis=1) < self.noise
        return flipped

    @override
    def latents(self, row: int) -> dict[str, float]:
        return {}
