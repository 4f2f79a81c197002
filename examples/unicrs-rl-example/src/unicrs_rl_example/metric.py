"""The metric ``questions``."""

from __future__ import annotations

from unicrs_rl.dialogue import Act
from unicrs_rl.judging.metrics import FinishedDialogue, Metric


def _asked(finished: FinishedDialogue) -> float:
    return float(sum(turn.decision.act is Act.ASK for turn in finished.dialogue.turns))


QUESTIONS = Metric(
    name="questions",
    title="Questions",
    higher_is_better=False,
    about="questions asked in a dialogue",
    unit="questions",
    of=_asked,
)
