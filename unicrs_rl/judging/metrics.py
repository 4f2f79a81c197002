"""What a finished dialogue is worth, number by number. All definitions are per dialogue.

A metric that a dialogue says nothing about (a watching intention where nothing was recommended, a
persuasion where there was nothing to persuade) is ``None`` and never averaged in; tables show how
many dialogues each mean rests on.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from numbers import Real
from typing import overload

from unicrs_rl.dialogue import Dialogue, Outcome
from unicrs_rl.language.lexicon import tokenize
from unicrs_rl.registry import PlugIn, Registry, in_short

SATISFIED_ABOVE = 4.0
"""Default of tau: a dialogue whose final judge score exceeds it counts for Conv-SR."""
RESERVED = frozenset(
    {
        # columns of dialogues.csv
        *("world", "arm", "seed", "index", "seeker", "target"),
        *("success", "turns", "item", "rank", "left", "mentioned_before"),
        *("asks", "recommends", "chats", "strategies"),
        *("calls", "tokens", "failed_calls", "invented", "judge_calls", "judge_tokens"),
        *("seeker_calls", "seeker_tokens", "drifted", "behaviours"),
        # among the means of an arm in results.json
        "dist2_corpus",
        # of a checkpoint that was tried in training
        *("done", "seconds", "split", "success_by_turn"),
    }
)
"""What stands beside metrics, by name, in files: no metric of another package may be called so."""


@dataclass(frozen=True, slots=True)
class FinishedDialogue:
    """A finished simulated dialogue, and what is known of it afterwards: what a metric is made of.

    Attributes:
        dialogue: what was said and done.
        outcome: how it ended.
        target: the item the seeker came for.
        limit: T, turns allowed.
        score: final judge score; ``None`` where there is none.
        claims_right: of each utterance, for each claim in it, whether the knowledge graph agrees.
        intentions: watching intention (before, after, informed) for the last recommended item.
        satisfied_above: tau of Conv-SR.
        ratings: what the seeker thought of the recommender in the end, 1 to 5 by question; empty where
            its kind rates nothing.
    """

    dialogue: Dialogue
    outcome: Outcome
    target: int
    limit: int
    score: float | None
    claims_right: Sequence[Sequence[bool]]
    intentions: tuple[float, float, float] | None
    satisfied_above: float = SATISFIED_ABOVE
    ratings: Mapping[str, float] = field(default_factory=dict)

    @property
    def lists(self) -> list[tuple[int, ...]]:
        """Items of every recommendation, in order."""
        return [turn.decision.items for turn in self.dialogue.turns if turn.decision.items]


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the results.

    Attributes:
        name: in files; small letters, digits, ``@``, ``_``.
        title: in tables.
        about: one line on what it is.
        unit: what it counts in.
        of: its value in a dialogue; ``None`` where the dialogue says nothing about it.
        judged: it rests on the judge, and is missing where that gives no score.
    """

    name: str
    title: str
    higher_is_better: bool
    about: str
    unit: str
    of: Callable[[FinishedDialogue], float | None]
    judged: bool = False


def _plugged(plug: PlugIn) -> Metric:
    """A metric of another package."""
    found = plug.load()
    if not isinstance(found, Metric):
        raise plug.unfit("is no unicrs_rl.judging.metrics.Metric")
    if found.name != plug.name:
        raise plug.unfit(f"calls itself {found.name!r}")
    return replace(found, of=_checked(plug, found.of))


def _checked(
    plug: PlugIn, of: Callable[[FinishedDialogue], object]
) -> Callable[[FinishedDialogue], float | None]:
    """A metric of another package that gives finite numbers or ``None``, or else a complaint."""

    def value_of(finished: FinishedDialogue) -> float | None:
        try:
            value = of(finished)
            if value is None:
                return None
            number = float(value) if isinstance(value, Real) else math.nan
        except Exception as error:  # another package's code may raise anything
            raise plug.unfit(f"failed in a dialogue ({in_short(error)})") from error
        if not math.isfinite(number):
            shown = " ".join(reprlib.repr(value).split())
            raise plug.unfit(f"gave {shown}; it has to give a finite number, or None for no value")
        return number

    return value_of


METRIC_BY_NAME: Registry[Metric] = Registry("metric", _plugged, RESERVED)
"""Metrics, ours and those of other packages."""


class _Metrics(Sequence[Metric]):
    """All metrics, in the order of results and tables."""

    @overload
    def __getitem__(self, place: int) -> Metric: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Metric]: ...
    def __getitem__(self, place: int | slice) -> Metric | Sequence[Metric]:
        return tuple(METRIC_BY_NAME.values())[place]

    def __len__(self) -> int:
        return len(METRIC_BY_NAME)


METRICS: Sequence[Metric] = _Metrics()


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


def rapport(ratings: Mapping[str, float]) -> float | None:
    """What a seeker thinks of the recommender, from 0 to 1; ``None`` of one that rates nothing.

    ``((warm + trustworthy) / 2 - pressure + 4) / 8``: warmth and trust on one side, pressure felt on the
    other, each rated from 1 to 5 as in INSPIRED's survey.
    """
    if not ratings:
        return None
    warmth, trust, pressure = (ratings[name] for name in ("warm", "trustworthy", "pressure"))
    return ((warmth + trust) / 2 - pressure + 4) / 8


def measure(
    dialogue: Dialogue,
    target: int,
    limit: int,
    score: float | None,
    claims_right: Sequence[Sequence[bool]],
    intentions: tuple[float, float, float] | None,
    satisfied_above: float = SATISFIED_ABOVE,
    ratings: Mapping[str, float] | None = None,
) -> dict[str, float | None]:
    """All metrics of a finished dialogue, by name; for the arguments see :class:`FinishedDialogue`."""
    outcome = dialogue.outcome or outcome_of(dialogue)
    finished = FinishedDialogue(
        dialogue, outcome, target, limit, score, claims_right, intentions, satisfied_above, ratings or {}
    )
    return {name: metric.of(finished) for name, metric in METRIC_BY_NAME.items()}


def _success_within(turns: int) -> Callable[[FinishedDialogue], float]:
    return lambda found: float(found.outcome.success and found.outcome.turn <= turns)


def _recall(places: int) -> Callable[[FinishedDialogue], float]:
    return lambda found: float(bool(found.lists) and found.target in found.lists[-1][:places])


def _mean_score(found: FinishedDialogue) -> float | None:
    scores = [turn.score.value for turn in found.dialogue.turns if turn.score is not None]
    return sum(scores) / len(scores) if scores else None


_SHARE, _POINTS = "share of dialogues", "points, 1 to 5"
_OURS = (
    Metric(
        "sr@5",
        "SR@5",
        True,
        "share of dialogues with an accepted recommendation within 5 turns",
        _SHARE,
        _success_within(5),
    ),
    Metric("sr@10", "SR@10", True, "the same within 10 turns", _SHARE, _success_within(10)),
    Metric("sr@15", "SR@15", True, "the same within 15 turns", _SHARE, _success_within(15)),
    Metric(
        "at",
        "AT",
        False,
        "mean number of turns; failures count the limit",
        "turns",
        lambda found: float(found.outcome.turn if found.outcome.success else found.limit),
    ),
    Metric(
        "hdcg",
        "hDCG",
        True,
        "discounted by turn and by place in the list",
        "0 to 1",
        lambda found: hdcg(found.outcome),
    ),
    Metric("recall@1", "Recall@1", True, "target is first of the last list", _SHARE, _recall(1)),
    Metric(
        "recall@5", "Recall@5", True, "target is among the first five of the last list", _SHARE, _recall(5)
    ),
    Metric(
        "rec_sr",
        "Rec-SR",
        True,
        "the target was recommended at some turn",
        _SHARE,
        lambda found: float(any(found.target in items for items in found.lists)),
    ),
    Metric(
        "conv_sr",
        "Conv-SR",
        True,
        "the final judge score exceeds tau",
        _SHARE,
        lambda found: None if found.score is None else float(found.score > found.satisfied_above),
        judged=True,
    ),
    Metric(
        "wi",
        "WI",
        True,
        "watching intention for the recommended item after the dialogue, 1 to 5",
        _POINTS,
        lambda found: None if found.intentions is None else found.intentions[1],
    ),
    Metric(
        "prs",
        "PRS",
        True,
        "persuasion: how much of the justified rise of the intention was reached",
        "0 to 1",
        lambda found: None if found.intentions is None else persuasion(*found.intentions),
    ),
    Metric(
        "cred",
        "Cred",
        True,
        "agreement of factual utterances with the knowledge graph, 1 to 5",
        _POINTS,
        lambda found: credibility(found.claims_right),
    ),
    Metric(
        "dist2",
        "Dist-2",
        True,
        "distinct word pairs / all, per dialogue",
        "distinct / all",
        lambda found: distinct(turn.utterance for turn in found.dialogue.turns),
    ),
    Metric(
        "judge", "Judge", True, "final judge score, 1 to 5", _POINTS, lambda found: found.score, judged=True
    ),
    Metric(
        "judge_turn",
        "Judge/turn",
        True,
        "mean of the judge's scores after each turn (RSO's reward), 1 to 5",
        _POINTS,
        _mean_score,
        judged=True,
    ),
    Metric(
        "rapport",
        "Rapport",
        True,
        "the seeker's own rating in the end: warmth and trust less pressure, 0 to 1",
        "0 to 1",
        lambda found: rapport(found.ratings),
    ),
)
for _metric in _OURS:
    METRIC_BY_NAME.register(_metric.name)(_metric)
JUDGED = frozenset(metric.name for metric in _OURS if metric.judged)
"""Metrics that rest on the judge, and are missing where it gives no score."""
