"""Rewards of a turn, from what the dialogue shows.

Task rewards are UNICORN's (Deng et al., SIGIR 2021). Both arms of a comparison are trained on the
same signal by default, so that what is compared is the architecture and not the objective; what the
papers trained on is a switch, :class:`Signal`.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import Act

RECOMMEND_SUCCESS = 1.0
RECOMMEND_FAILURE = -0.1
ASK_SUCCESS = 0.01
ASK_FAILURE = -0.1
OUT_OF_TURNS = -0.3


class Signal(StrEnum):
    """What a learner is rewarded with."""

    SHARED = "shared"
    """Task reward plus the weighted *change* of the judge's score: the same for every arm. A change
    telescopes to the final score, so that a longer dialogue earns nothing by being longer."""
    PUBLISHED = "published"
    """Each paper's own: the task reward for the unified arm (UNICORN); the judge's score of every
    turn, scaled to [0, 1], for the decomposed one (RSO), under which long dialogues pay."""
    SUCCESS = "success"
    """1 for an accepted recommendation, else 0: without discounting, a policy's value is its rate of
    success. For planted worlds, whose best value in these terms is known."""


def task_rewards(
    act: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    accepted: NDArray[np.bool_],
    ended: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """UNICORN's rewards of a batch of turns: ``[n]``.

    UNICORN has no chat; it is rewarded like a question, by whether it brought out a wish.

    Args:
        act: values of :class:`~unicrs_rl.dialogue.Act`, ``[n]``.
        wanted: the seeker affirmed a wish, ``[n]``.
        accepted: a recommended item was taken, ``[n]``.
        ended: out of turns, or the seeker left, ``[n]``.
    """
    failed = np.where(act == Act.RECOMMEND, RECOMMEND_FAILURE, np.where(wanted, ASK_SUCCESS, ASK_FAILURE))
    return np.where(accepted, RECOMMEND_SUCCESS, np.where(ended, OUT_OF_TURNS, failed))


def scaled(score: float) -> float:
    """A judge's 1 to 5 on the scale of [0, 1]."""
    return (score - 1.0) / 4.0
