"""The judge that is a language model: ``prompted`` (RSO's Rewarder, arXiv 2509.26093).

The run's language model is given the conversation, what the recommender did in each turn, and what the
knowledge graph says of the items spoken of; it answers with a score from 1 to 5 by the rubric in
``language/prompts/judge.jinja``. The score is the mean of k answers (k = 10 in the paper); an answer that
is still malformed after its retries is left out, and without any valid answer there is no score.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from statistics import fmean, pstdev
from typing import Annotated, ClassVar

from pydantic import Field

from unicrs_rl.dialogue import Dialogue, Score, by_relation
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.judging.judge import Judge, Judgement, took
from unicrs_rl.language.boundary import LanguageModel, Message, Task
from unicrs_rl.language.lexicon import Entity
from unicrs_rl.language.reading import Polarity, accepts, mood_of, polarity
from unicrs_rl.language.tasks import ACT_NAMES, ActName

ITEMS_CHECKED = 10
"""Items whose facts a judge is shown, at most: those spoken of last."""


class JudgedTurn(Message):
    """A turn as a judge is shown it."""

    recommender: str
    act: ActName
    asked: list[str] = []
    """Attributes the recommender asked about."""
    offered: list[str] = []
    """Items the recommender offered, best first."""
    seeker: str
    took: bool | None = None
    """Whether the seeker took one of them, by what it did; ``None`` where only its words can tell."""


class JudgeInput(Message):
    """A conversation, finished or not, and what the knowledge graph says of the items spoken of."""

    turns_in: ClassVar[str] = "turns"

    noun: str
    opening: str
    turns: list[JudgedTurn]
    facts: dict[str, dict[str, list[str]]]
    """Item -> relation -> values."""


class JudgeOutput(Message):
    """A score of the rubric; no other number counts."""

    score: Annotated[int, Field(ge=1, le=5, strict=True)]
    reason: str = ""


_MOODS = {"positive": 1.0, "neutral": 0.5, "impatient": 0.0}


def judge_by_words(inputs: JudgeInput) -> JudgeOutput:
    """The embedded model's answer: a rule that looks at the words and the list of acts alone.

    Half of it is whether an item was taken; a quarter is the mean mood of the replies; a quarter the
    share of utterances, questions and offers that are no repeats.
    """
    turns = inputs.turns
    if not turns:
        return JudgeOutput(score=1, reason="The recommender has not said anything yet.")
    taken = any(_taken(turn) for turn in turns)
    mood = fmean(_MOODS[mood_of(turn.seeker)] for turn in turns)
    pieces = [("said", turn.recommender) for turn in turns]
    pieces += [("asked", name) for turn in turns for name in turn.asked]
    pieces += [("offered", name) for turn in turns for name in turn.offered]
    fresh = len(set(pieces)) / len(pieces)
    score = 1 + round(4 * (0.5 * taken + 0.25 * mood + 0.25 * fresh))
    end = "An item was taken" if taken else "No item was taken"
    return JudgeOutput(
        score=score, reason=f"{end}; {1 - fresh:.0%} of what was said and offered are repeats."
    )


def _taken(turn: JudgedTurn) -> bool:
    """Whether an item was taken in a turn: what the seeker did counts, or, unknown, its words."""
    if not turn.offered or turn.took is not None:
        return bool(turn.offered and turn.took)
    return polarity(turn.seeker) is not Polarity.NO and accepts(turn.seeker)


JUDGE = Task("judge", JudgeInput, JudgeOutput, max_tokens=192, rule=judge_by_words)


@lru_cache(maxsize=1)
def prompt_version() -> str:
    """The version that the prompt file states in its first line."""
    text = resources.files("unicrs_rl.language").joinpath("prompts", "judge.jinja").read_text("utf-8")
    found = re.match(r"\{#- version: (\S+) -?#\}", text)
    assert found is not None, "judge.jinja has to start with its version"
    return found[1]


class PromptedJudge(Judge):
    """A language model that judges by the rubric of its prompt.

    A deterministic model is asked once: more answers would be the same answer.

    Args:
        catalogue: the knowledge graph.
        model: who judges.
        samples: k, answers that a score averages.
    """

    name = "prompted"

    def __init__(self, catalogue: Catalogue, model: LanguageModel, samples: int) -> None:
        self.catalogue = catalogue
        self.model = model
        self.samples = samples
        self.version = prompt_version()

    def judge(self, dialogues: Sequence[Dialogue]) -> list[Judgement]:
        """Means of the valid answers; a judgement without any has no score."""
        judgements = []
        for answers in self.model.sample(JUDGE, [self._inputs(d) for d in dialogues], self.samples):
            scores = [answer.output.score for answer in answers if answer.output is not None]
            calls = tuple(answer.call for answer in answers)
            judgements.append(Judgement(_score(scores, len(answers) - len(scores)), calls))
        return judgements

    def _inputs(self, dialogue: Dialogue) -> JudgeInput:
        items, attributes = self.catalogue.items, self.catalogue.attributes
        return JudgeInput(
            noun=self.catalogue.noun,
            opening=dialogue.opening.text,
            turns=[
                JudgedTurn(
                    recommender=turn.utterance,
                    act=ACT_NAMES[turn.decision.act],
                    asked=[attributes[attribute] for attribute in turn.decision.attributes],
                    offered=[items[item] for item in turn.decision.items],
                    seeker=turn.reply.text,
                    took=took(turn.reply),
                )
                for turn in dialogue.turns
            ],
            facts={items[item]: self._facts(item) for item in self._spoken_of(dialogue)},
        )

    def _spoken_of(self, dialogue: Dialogue) -> list[int]:
        """The items that the recommender named or offered first, those of the latest turns."""
        found: dict[int, None] = {}
        for turn in reversed(dialogue.turns):
            mentions = self.catalogue.lexicon.mentions(turn.utterance)
            named = [mention.id for mention in mentions if mention.entity is Entity.ITEM]
            found |= dict.fromkeys((*turn.decision.items[:1], *named))
        return list(found)[:ITEMS_CHECKED]

    def _facts(self, item: int) -> dict[str, list[str]]:
        return by_relation(fact for fact in self.catalogue.facts_about(item) if fact.value)


def _score(scores: Sequence[int], failed: int) -> Score | None:
    if not scores:
        return None
    return Score(round(fmean(scores), 6), {}, round(pstdev(scores), 6), len(scores), failed)
