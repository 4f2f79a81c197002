"""What a judge is (RSO's Rewarder): a dialogue in, a score from 1 to 5 out.

A judge sees the words, the recommender's own decisions, what became of its offers and the knowledge
graph, and never a seeker's hidden state nor which arm it is judging.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from unicrs_rl.dialogue import Call, Dialogue, Reply, Score


@dataclass(frozen=True, slots=True)
class Judgement:
    """A score, or ``None`` where none could be had (never a number instead), and the calls it took."""

    score: Score | None
    calls: tuple[Call, ...] = ()


class Judge(ABC):
    """Scores dialogues, finished or not."""

    name: str
    version: str | None = None
    """Of the prompt, where it judges by one."""

    @abstractmethod
    def judge(self, dialogues: Sequence[Dialogue]) -> list[Judgement]:
        """Judgements in order."""

    def score(self, dialogues: Sequence[Dialogue]) -> list[Score | None]:
        """The scores alone."""
        return [judgement.score for judgement in self.judge(dialogues)]


def took(reply: Reply) -> bool | None:
    """Whether the seeker took an item offered, by what it did; ``None`` where only its words can tell.

    Words alone could be made to say that it did.
    """
    if reply.accepted is not None:
        return True
    return False if reply.rejected else None
