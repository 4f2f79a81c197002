"""What a finished dialogue is worth, number by number. All definitions are per dialogue.

A metric that a dialogue says nothing about (a watching intention where nothing was recommended, a
persuasion where there was nothing to persuade) is ``None`` and never averaged in; tables show how
many dialogues each mean rests on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from unicrs_rl.dialogue import Dialogue, Outcome
from unicrs_rl.language.lexicon import tokenize

SATISFIED_ABOVE = 4.0
"""Default of tau: a dialogue whose final judge score exceeds it counts for Conv-SR."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the results."""

    name: str
    title: str
    higher_is_better: bool
    about: str


METRICS: tuple[Metric, ...] = (
    Metric("sr@5", "SR@5", True, "share of dialogues with an accepted recommendation within 5 turns"),
    Metric("sr@10", "SR@10", True, "the same within 10 turns"),
    Metric("sr@15", "SR@15", True, "the same within 15 turns"),
    Metric("at", "AT", False, "mean number of turns; failures count the limit"),
    Metric("hdcg", "hDCG", True, "discounted by turn and by place in the list"),
    Metric("recall@1", "Recall@1", True, "target is first of the last list"),
    Metric("recall@5", "Recall@5", True, "target is among the first five of the last list"),
    Metric("rec_sr", "Rec-SR", True, "the target was recommended at some turn"),
    Metric("conv_sr", "Conv-SR", True, "the final judge score exceeds tau"),
    Metric("wi", "WI", True, "watching intention for the recommended item after the dialogue, 1 to 5"),
    Metric("prs", "PRS", True, "persuasion: how much of the justified rise of the intention was reached"),
    Metric("cred", "Cred", True, "agreement of factual utterances with the knowledge graph, 1 to 5"),
    Metric("dist2", "Dist-2", True, "distinct word pairs / all, per dialogue"),
    Metric("judge", "Judge", True, "final judge score, 1 to 5"),
    Metric(
        "judge_turn", "Judge/turn", True, "mean of the judge's scores after each turn (RSO's reward), 1 to 5"
    ),
)
JUDGED = frozenset({"judge", "judge_turn", "conv_sr"})
"""Metrics that rest on the judge, and are missing where it gives no score."""
METRIC_BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}


def outcome_of(dialogue: Dialogue) -> Outcome:
    """How a simulated dialogue ended: the first accepted recommendation, or none."""
    for number, turn in enumerate(dialogue.turns, start=1):
        item = turn.reply.accepted
        if item is not None:
            return Outcome(True, number, item, turn.decision.items.index(item) + 1)
    left = bool(dialogue.turns) and dialogue.turns[-1].reply.left
    return Outcome(False, len(dialogue.turns), left=left)


def hdcg(outcome: Outcome) -> float:
    """Hierarchical discounted cumulative gain of a success at turn ``t`` (from 0), place ``k`` (from 1).

    ``1/log2(t+3) + (1/log2(t+2) - 1/log2(t+3)) / log2(k+1)``; 0 for a failure (UNICORN's evaluation).
    """
    if not outcome.success or outcome.rank is None:
        return 0.0
    t = outcome.turn - 1
    later = 1 / math.log2(t + 3)
    return later + (1 / math.log2(t + 2) - later) / math.log2(outcome.rank + 1)


class Persuasion(StrEnum):
    """What a dialogue says about persuasion. Only the first has a PRS; the others are counted apart."""

    MEASURED = "measured"
    NOTHING_TO_PERSUADE = "nothing_to_persuade"
    """Facts would not raise the intention: ``informed <= before``."""
    OVER_PERSUADED = "over_persuaded"
    """The seeker wants it more than the facts justify: ``after > informed``."""
    NOTHING_RECOMMENDED = "nothing_recommended"


def persuasion_case(intentions: Sequence[float] | None) -> Persuasion:
    """Which case the intentions (before, after, informed) of a dialogue are."""
    if intentions is None:
        return Persuasion.NOTHING_RECOMMENDED
    before, after, informed = intentions
    if after > informed:
        return Persuasion.OVER_PERSUADED
    return Persuasion.MEASURED if before < informed else Persuasion.NOTHING_TO_PERSUADE


def persuasion(before: float, after: float, informed: float) -> float | None:
    """PRS = ``1 - (informed - after) / (informed - before)``, clipped to [0, 1].

    ``None`` unless the case is :attr:`Persuasion.MEASURED`.
    """
    if persuasion_case((before, after, informed)) is not Persuasion.MEASURED:
        return None
    return min(1.0, max(0.0, 1 - (informed - after) / (informed - before)))


def distinct(texts: Iterable[str], n: int = 2) -> float | None:
    """Distinct word n-grams / all n-grams of the texts taken together; ``None`` without any."""
    grams: list[tuple[str, ...]] = []
    for text in texts:
        words = tokenize(text)
        grams.extend(words[i : i + n] for i in range(len(words) - n + 1))
    return len(set(grams)) / len(grams) if grams else None


def credibility(claims_right: Sequence[Sequence[bool]]) -> float | None:
    """Cred: mean over the factual utterances of ``1 + 4 * share of right claims``; ``None`` without any."""
    shares = [sum(claims) / len(claims) for claims in claims_right if claims]
    return 1 + 4 * sum(shares) / len(shares) if shares else None


def measure(
    dialogue: Dialogue,
    target: int,
    limit: int,
    score: float | None,
    claims_right: Sequence[Sequence[bool]],
    intentions: tuple[float, float, float] | None,
    satisfied_above: float = SATISFIED_ABOVE,
) -> dict[str, float | None]:
    """All metrics of a finished simulated dialogue, by name.

    Args:
        target: the item the seeker came for.
        limit: T, turns allowed.
        score: final judge score.
        claims_right: of each utterance, for each claim in it, whether the knowledge graph agrees.
        intentions: watching intention (before, after, informed) for the last recommended item.
        satisfied_above: tau of Conv-SR.
    """
    outcome = dialogue.outcome or outcome_of(dialogue)
    lists = [turn.decision.items for turn in dialogue.turns if turn.decision.items]
    last = lists[-1] if lists else ()
    scores = [turn.score.value for turn in dialogue.turns if turn.score is not None]
    values: dict[str, float | None] = {
        f"sr@{t}": float(outcome.success and outcome.turn <= t) for t in (5, 10, 15)
    }
    values |= {
        "at": float(outcome.turn if outcome.success else limit),
        "hdcg": hdcg(outcome),
        "recall@1": float(target in last[:1]),
        "recall@5": float(target in last[:5]),
        "rec_sr": float(any(target in items for items in lists)),
        "conv_sr": None if score is None else float(score > satisfied_above),
        "wi": None if intentions is None else intentions[1],
        "prs": None if intentions is None else persuasion(*intentions),
        "cred": credibility(claims_right),
        "dist2": distinct(turn.utterance for turn in dialogue.turns),
        "judge": score,
        "judge_turn": sum(scores) / len(scores) if scores else None,
    }
    return values
