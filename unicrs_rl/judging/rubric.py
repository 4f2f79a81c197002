"""The judge made of rules: ``rubric``. It needs no language model."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

from unicrs_rl.dialogue import Dialogue, Score, Strategy
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.judging.claims import ClaimChecker
from unicrs_rl.judging.judge import Judge, Judgement, took
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.opinions import blank
from unicrs_rl.language.reading import Reading, read_reply

PART_WEIGHTS = {"task": 0.30, "fit": 0.20, "facts": 0.10, "variety": 0.10, "strategy": 0.10, "reaction": 0.20}
"""Weight of each part of the rubric; they sum to one."""
UNFINISHED = 0.3
"""The most the task part can reach while no item was taken."""
ANSWERS_NEEDED = 5
"""Wishes and refusals that count as full progress."""
_MOODS = {"positive": 1.0, "neutral": 0.6, "impatient": 0.0}


class Rubric(Judge):
    """The default judge: six parts in [0, 1], ``score = 1 + 4 * weighted sum``.

    - task: 1 once an item was taken (by what the seeker did, or where that is unknown by its words);
      before that up to 0.3 for wishes and refusals learned;
    - fit: share of stated wishes that the last list's first item meets, times share of refusals it
      respects; 0.5 while nothing was recommended;
    - facts: share of factual claims that the knowledge graph confirms; 1 without claims;
    - variety: share of questions, list items and sentences that were not repeats;
    - strategy: share of turns whose words, names aside, show the strategy decided on;
    - reaction: mean of the moods that the seeker's replies show.

    Args:
        catalogue: the knowledge graph.
        lexicon: the names it knows.
    """

    name = "rubric"

    def __init__(self, catalogue: Catalogue, lexicon: Lexicon) -> None:
        self.catalogue = catalogue
        self.claims = ClaimChecker(catalogue, lexicon)
        self._lexicon = lexicon

    def judge(self, dialogues: Sequence[Dialogue]) -> list[Judgement]:
        """Scores by rule; every dialogue gets one."""
        return [Judgement(self._score(dialogue)) for dialogue in dialogues]

    def _score(self, dialogue: Dialogue) -> Score:
        readings = [read_reply(self._lexicon, dialogue.opening.text)]
        for turn in dialogue.turns:
            decision = turn.decision
            readings.append(read_reply(self._lexicon, turn.reply.text, decision.attributes, decision.items))
        parts = {
            "task": self._task(dialogue, readings),
            "fit": self._fit(dialogue, readings),
            "facts": self._facts(dialogue),
            "variety": _variety(dialogue),
            "strategy": self._strategy(dialogue),
            "reaction": _mean([_MOODS[reading.mood] for reading in readings[1:]], default=_MOODS["neutral"]),
        }
        total = sum(PART_WEIGHTS[name] * value for name, value in parts.items())
        return Score(round(1 + 4 * total, 6), {name: round(value, 6) for name, value in parts.items()})

    def _task(self, dialogue: Dialogue, readings: Sequence[Reading]) -> float:
        for turn, reading in zip(dialogue.turns, readings[1:], strict=True):
            taken = took(turn.reply)
            if reading.accepted is not None if taken is None else taken:
                return 1.0
        learned = len({a for reading in readings for a in (*reading.liked, *reading.disliked)})
        return UNFINISHED * min(1.0, learned / ANSWERS_NEEDED)

    def _strategy(self, dialogue: Dialogue) -> float:
        """Share of turns that show their strategy, by words of the recommender's own: names show nothing."""
        shown = [
            shows(turn.decision.strategy, blank(turn.utterance, self._lexicon.mentions(turn.utterance)))
            for turn in dialogue.turns
        ]
        return _mean(shown, default=1.0)

    def _fit(self, dialogue: Dialogue, readings: Sequence[Reading]) -> float:
        lists = [turn.decision.items for turn in dialogue.turns if turn.decision.items]
        if not lists:
            return 0.5
        owned = set(self.catalogue.attributes_of(lists[-1][0]).tolist())
        wanted = {attribute for reading in readings for attribute in reading.liked}
        unwanted = {attribute for reading in readings for attribute in reading.disliked} - wanted
        met = _mean([attribute in owned for attribute in wanted], default=1.0)
        respected = _mean([attribute not in owned for attribute in unwanted], default=1.0)
        return met * respected

    def _facts(self, dialogue: Dialogue) -> float:
        claims = [claim for turn in dialogue.turns for claim in self.claims.claims(turn.utterance)]
        return _mean([claim.right for claim in claims], default=1.0)


def _variety(dialogue: Dialogue) -> float:
    """Share of what was asked, listed and said that had not been before."""
    pieces: list[object] = []
    for turn in dialogue.turns:
        pieces.extend(("asked", attribute) for attribute in turn.decision.attributes)
        pieces.extend(("listed", item) for item in turn.decision.items)
        pieces.append(("said", turn.utterance))
    return len(set(pieces)) / len(pieces) if pieces else 1.0


@lru_cache(maxsize=65_536)
def shows(strategy: Strategy, utterance: str) -> bool:
    """Whether an utterance shows a strategy; to be plain ("No Strategy") always succeeds."""
    patterns = _cues()[strategy]
    return strategy is Strategy.NO_STRATEGY or any(pattern.search(utterance) for pattern in patterns)


@lru_cache(maxsize=1)
def _cues() -> dict[Strategy, list[re.Pattern[str]]]:
    text = resources.files(__package__).joinpath("strategy_cues.toml").read_text("utf-8")
    return {
        Strategy(name): [re.compile(pattern, re.I) for pattern in patterns]
        for name, patterns in tomllib.loads(text).items()
    }


def _mean(values: Sequence[float | bool], default: float) -> float:
    return sum(values) / len(values) if values else default
