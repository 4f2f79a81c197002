"""Seekers that speak for themselves: a language model commits to an action, then words it.

They can only be met in words. What they say is checked against their goal before anybody hears it: a
drifting reply is asked for again as often as the settings allow, and what is drift in the end is recorded.
Titles that a seeker must not name are masked last, whatever the model said.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Call, Decision, Fact, Reply
from unicrs_rl.errors import InputError
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.lexicon import Entity, Lexicon
from unicrs_rl.language.phrases import with_article
from unicrs_rl.language.titles import masked
from unicrs_rl.simulators.drift import DriftDetector, complaint
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.seekers import (
    NOTHING,
    Actions,
    Answer,
    Replies,
    SeekerContext,
    Seekers,
)
from unicrs_rl.simulators.wording import Manner

FEWEST_TURNS, MOST_TURNS = 6, 12
"""Turns that lead nowhere which a seeker bears, at least and at most."""
GOODBYE = "I will stop here, goodbye."
"""Added to the words of a seeker whose patience has run out."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a seeker answers to; the opening answers to nothing.

    Attributes:
        utterance: the recommender's words.
        decision: what the recommender did; ``None`` at the opening.
        facts: told in these words.
        complaint: what was wrong with the reply that the seeker gave before, if it is asked again.
    """

    utterance: str = ""
    decision: Decision | None = None
    facts: tuple[Fact, ...] = ()
    complaint: str = ""

    @property
    def asked(self) -> tuple[int, ...]:
        """Attributes asked about."""
        return () if self.decision is None else self.decision.attributes

    @property
    def offered(self) -> tuple[int, ...]:
        """Items recommended, best first."""
        return () if self.decision is None else self.decision.items


@dataclass(slots=True)
class Past:
    """What has happened in a conversation.

    Attributes:
        moments, replies: what the seeker answered to, and how; the opening is the first of each.
        fruitless: turns that led nowhere.
    """

    moments: list[Moment] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    fruitless: int = 0

    def transcript(self) -> list[tuple[str, str]]:
        """The conversation so far as (speaker, text) pairs; what was not said is left out."""
        lines = []
        for moment, reply in zip(self.moments, self.replies, strict=True):
            lines += [("recommender", moment.utterance)] * bool(moment.utterance)
            lines += [("seeker", reply.text)] * bool(reply.text)
        return lines


class SpokenSeekers(Seekers):
    """Seekers that answer in words, and only in words.

    A kind says in :meth:`speak` what its seekers do and say, in :meth:`aim` what they want and in
    :meth:`secrets` what they must not name; all else is the same for every kind.
    """

    strategic = True
    spoken = True

    def __init__(self, context: SeekerContext, argument: str = "") -> None:
        super().__init__(context, argument)
        self.detector = DriftDetector(context.world.catalogue, context.model)
        self.past: dict[int, Past] = {}
        self._latest: dict[int, Reply] = {}

    @property
    def model(self) -> LanguageModel:
        """The language model they speak through.

        Raises:
            InputError: if there is none, because nothing is said.
        """
        if self.context.model is None:
            raise InputError("these seekers need words: they cannot be met at the semantic surface")
        return self.context.model

    @abstractmethod
    def speak(self, rows: Sequence[int], moments: Sequence[Moment]) -> list[Reply]:
        """What the seekers of these rows do and say, each to what it is told now; the past is in ``past``.

        A reply holds what is answered, accepted and volunteered (``liked``), whether the seeker leaves,
        the words and the calls. Where the model gave no valid answer it is :func:`lost_for_words`.
        """

    def secrets(self, row: int) -> tuple[int, ...]:  # noqa: ARG002  most kinds have none
        """Items that this seeker must not name, because it knows that it wants them."""
        return ()

    @override
    def start(self, rows: NDArray[np.int64]) -> None:
        super().start(rows)
        for row in rows.tolist():
            self.past[row] = Past()
            self._goals[row] = self.aim(row)

    @override
    def opening(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The attribute that the first words hold, ``[n]``; :data:`NOTHING` where they hold none."""
        replies = self._answer(rows.tolist(), [Moment()] * len(rows))
        return np.array([reply.liked[0] if reply.liked else NOTHING for reply in replies], dtype=np.int64)

    @override
    def first_words(self, rows: NDArray[np.int64], volunteered: NDArray[np.int64]) -> list[Reply]:
        return [self._latest[row] for row in rows.tolist()]

    @override
    def respond(self, rows: NDArray[np.int64], actions: Actions) -> Replies:
        if not actions.utterances:
            raise InputError("these seekers need words: they cannot be met at the semantic surface")
        moments = [_moment(actions, index) for index in range(len(rows))]
        self.hear(rows, actions)
        replies = self._answer(rows.tolist(), moments)
        self.turns[rows] += 1
        return _arrays(actions, replies)

    @override
    def replies(
        self, rows: NDArray[np.int64], decisions: Sequence[Decision], replies: Replies, words: bool
    ) -> list[Reply]:
        found = [self._latest[row] for row in rows.tolist()]
        return found if words else [replace(reply, text="") for reply in found]

    @override
    def patience(self, row: int) -> float:
        bears = _bears(int(self.keys[row]))
        return max(0.0, 1 - self.past[row].fruitless / bears)

    @override
    def latents(self, row: int) -> dict[str, float]:
        return {"patience": round(self.patience(row), 4)}

    def turns_left(self, row: int) -> int:
        """Further turns that lead nowhere which the seeker bears."""
        return max(0, _bears(int(self.keys[row])) - self.past[row].fruitless)

    def _answer(self, rows: Sequence[int], moments: Sequence[Moment]) -> list[Reply]:
        """Say something, check it, say it again if need be, and keep it."""
        lexicon = self.world.catalogue.lexicon
        before = [
            self._goals[row].hearing((*moment.offered, *_titles(lexicon, moment)))
            for row, moment in zip(rows, moments, strict=True)
        ]
        replies = self._checked(before, moments, self.speak(rows, moments))
        for _ in range(self.settings.regenerate):
            again = [i for i, reply in enumerate(replies) if reply.drift and not failed(reply.calls)]
            if not again:
                break
            asked = [replace(moments[i], complaint=complaint(replies[i].drift)) for i in again]
            better = self._checked(
                [before[i] for i in again], asked, self.speak([rows[i] for i in again], asked)
            )
            for i, reply in zip(again, better, strict=True):
                replies[i] = replace(reply, calls=(*replies[i].calls, *reply.calls))
        return [self._kept(*row) for row in zip(rows, before, moments, replies, strict=True)]

    def _checked(
        self, goals: Sequence[Goal], moments: Sequence[Moment], replies: Sequence[Reply]
    ) -> list[Reply]:
        """The same replies with the drift found in them; a failure of the model is none of the seeker's."""
        checked = list(replies)
        valid = [i for i, reply in enumerate(replies) if not failed(reply.calls)]
        if self.settings.tracking and valid:
            found = self.detector.check(
                [goals[i] for i in valid],
                [moments[i].decision for i in valid],
                [moments[i].utterance for i in valid],
                [replies[i] for i in valid],
            )
            for i, reply in zip(valid, found, strict=True):
                checked[i] = reply
        return checked

    def _kept(self, row: int, goal: Goal, moment: Moment, reply: Reply) -> Reply:
        """The reply as it is heard: without what must not be named, and the last if patience is over."""
        past, catalogue = self.past[row], self.world.catalogue
        past.fruitless += moment.decision is not None and reply.accepted is None and not reply.liked
        text = masked(reply.text, [catalogue.items[item] for item in self.secrets(row)], catalogue.noun)
        if reply.accepted is None and not reply.left and self.turns_left(row) == 0:
            text, reply = f"{text} {GOODBYE}".strip(), replace(reply, left=True)
        reply = replace(reply, text=text)
        past.moments.append(moment)
        past.replies.append(reply)
        self._goals[row] = goal.after(reply, moment.decision)
        self._latest[row] = reply
        return reply


def lost_for_words(moment: Moment, noun: str, calls: Sequence[Call]) -> Reply:
    """The neutral reply of a seeker whose model gave no valid answer; the failure is in the calls."""
    if moment.decision is None:
        return Reply(text=f"Hello, I am looking for {with_article(noun)}.", calls=tuple(calls))
    return Reply(text="I am not sure.", open=moment.asked, calls=tuple(calls))


def _bears(key: int) -> int:
    """Turns that lead nowhere which the seeker of a conversation bears."""
    return FEWEST_TURNS + draws.pick(key, 0, "bears", MOST_TURNS - FEWEST_TURNS + 1)


def failed(calls: Sequence[Call]) -> bool:
    """Whether asking again is of no use: no answer was had at all."""
    return any(call.lost or call.failure for call in calls)


def _titles(lexicon: Lexicon, moment: Moment) -> tuple[int, ...]:
    """The items that the recommender's words name."""
    return tuple(m.id for m in lexicon.mentions(moment.utterance, moment.offered) if m.entity is Entity.ITEM)


def _moment(actions: Actions, index: int) -> Moment:
    """What one of the recommenders did and said."""
    decision = Decision(
        Act(int(actions.act[index])),
        STRATEGIES[int(actions.strategy[index])],
        attributes=_ids(actions.attributes, index),
        items=_ids(actions.items, index),
    )
    return Moment(actions.utterances[index], decision, actions.facts[index] if actions.facts else ())


def _ids(table: NDArray[np.int64], row: int) -> tuple[int, ...]:
    return tuple(index for index in table[row].tolist() if index != NOTHING)


def _arrays(actions: Actions, replies: Sequence[Reply]) -> Replies:
    """The replies at the semantic surface."""
    n = len(replies)
    answers = np.full(actions.attributes.shape, Answer.NONE, dtype=np.int64)
    volunteered, place = np.full(n, NOTHING), np.full(n, NOTHING)
    for row, reply in enumerate(replies):
        given = (
            dict.fromkeys(reply.open, Answer.OPEN)
            | dict.fromkeys(reply.disliked, Answer.NO)
            | dict.fromkeys(reply.liked, Answer.YES)
        )
        asked, items = actions.attributes[row].tolist(), actions.items[row].tolist()
        answers[row] = [given.get(attribute, Answer.NONE) for attribute in asked]
        volunteered[row] = next((a for a in reply.liked if a not in asked), NOTHING)
        place[row] = NOTHING if reply.accepted is None else items.index(reply.accepted)
    return Replies(
        answers=answers,
        volunteered=volunteered,
        place=place,
        left=np.array([reply.left for reply in replies], dtype=bool),
        manner=np.full(n, Manner.PLAIN, dtype=np.int64),
        behaviours=tuple(reply.behaviours for reply in replies),
        withdrawn=tuple(reply.withdrawn for reply in replies),
    )
