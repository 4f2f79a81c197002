"""The seekers of planted worlds (:mod:`~unicrs_rl.graphs.planted`): nothing about them is random.

They open with what all items have in common, say yes to exactly the target's attributes, volunteer nothing,
never leave, and take the target when it is recommended: the reserved ones only with certain strategies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl.dialogue import STRATEGIES, Act
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.planted import COMMON, PlantedWorld
from unicrs_rl.simulators.seekers import (
    NOTHING,
    Actions,
    Answer,
    Replies,
    SeekerContext,
    Seekers,
    has_attributes,
)
from unicrs_rl.simulators.wording import Manner


class PlantedSeekers(Seekers):
    """Truthful, and in some worlds reserved.

    Raises:
        InputError: if the world is not a planted one.
    """

    strategic = True

    def __init__(self, context: SeekerContext, argument: str = "") -> None:
        super().__init__(context, argument)
        if not isinstance(context.world, PlantedWorld):
            raise InputError(
                f"user 'planted': these seekers live in planted worlds only, not in {context.world.name!r}"
            )
        self._reserved = context.world.reserved
        self._convincing = np.array([s in context.world.problem.convincing for s in STRATEGIES])
        self._common = context.world.catalogue.attributes.index(COMMON)

    @override
    def opening(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.full(len(rows), self._common)

    @override
    def respond(self, rows: NDArray[np.int64], actions: Actions) -> Replies:
        targets = self.targets[rows]
        asked = (actions.act == Act.ASK)[:, None] & (actions.attributes != NOTHING)
        yes = has_attributes(self.world, targets, actions.attributes)
        answers = np.where(asked, np.where(yes, Answer.YES, Answer.NO), Answer.NONE)
        hit = (actions.items == targets[:, None]) & (actions.act == Act.RECOMMEND)[:, None]
        taken = hit.any(axis=1) & (self._convincing[actions.strategy] | ~self.reserved(rows))
        self.hear(rows, actions)
        self.turns[rows] += 1
        n = len(rows)
        return Replies(
            answers=answers.astype(np.int64),
            volunteered=np.full(n, NOTHING),
            place=np.where(taken, hit.argmax(axis=1), NOTHING),
            left=np.zeros(n, dtype=bool),
            manner=np.full(n, Manner.PLAIN, dtype=np.int64),
        )

    def reserved(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the seekers of these conversations are reserved: ``[n]``."""
        places = [self.world.places[self.sessions[row].seeker] for row in rows.tolist()]
        found: NDArray[np.bool_] = self._reserved[places]
        return found

    @override
    def latents(self, row: int) -> dict[str, float]:
        return {"reserved": float(self.reserved(np.array([row]))[0])}
