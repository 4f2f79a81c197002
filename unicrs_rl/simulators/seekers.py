"""What every simulated seeker is: a batch of conversations that answers a batch of actions.

The semantic surface is arrays in, arrays out (:class:`Actions`, :class:`Replies`), thousands of
conversations at once. The text surface puts words to a reply (:mod:`~unicrs_rl.simulators.wording`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.dialogue import Decision, Decisions, Fact, Reply
from unicrs_rl.graphs import kernels
from unicrs_rl.graphs.states import padded
from unicrs_rl.graphs.world import Session, World
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.simulators.drift import DriftDetector
from unicrs_rl.simulators.goals import Goal
from unicrs_rl.simulators.intentions import Belief, Credence, Intentions, ItemBeliefs
from unicrs_rl.simulators.settings import SeekerConfig
from unicrs_rl.simulators.wording import Manner, word_opening, word_reply

NOTHING = -1
"""Padding in arrays of ids and places."""


class Answer(IntEnum):
    """A seeker's answer to a question about one attribute."""

    NONE = 0
    YES = 1
    NO = 2
    OPEN = 3
    """Indifferent, or unwilling to commit."""


@dataclass(frozen=True)
class Actions:
    """What recommenders did in a batch of ``n`` conversations.

    Attributes:
        act: ``[n]``, values of :class:`~unicrs_rl.dialogue.Act`.
        strategy: ``[n]``, index into ``STRATEGIES``.
        attributes: ``[n, m]`` asked about, :data:`NOTHING`-padded.
        items: ``[n, k]`` recommended, best first, :data:`NOTHING`-padded.
        facts_told: ``[n]``, how many facts were told about the first item.
        utterances: ``[n]``, the words; empty at the semantic surface.
        facts: ``[n]``, the facts that the words tell; empty at the semantic surface.
        told: ``[n]``, an attribute told unasked, or :data:`NOTHING`; empty where nobody tells any.
    """

    act: NDArray[np.int64]
    strategy: NDArray[np.int64]
    attributes: NDArray[np.int64]
    items: NDArray[np.int64]
    facts_told: NDArray[np.int64]
    utterances: tuple[str, ...] = ()
    facts: tuple[tuple[Fact, ...], ...] = ()
    told: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def silent(cls, decisions: Decisions) -> Actions:
        """From decisions in which nothing is told."""
        told = np.zeros(len(decisions), dtype=np.int64)
        return cls(decisions.act, decisions.strategy, decisions.attributes, decisions.items, told)

    @classmethod
    def of(
        cls,
        decisions: Sequence[Decision],
        facts: Sequence[Sequence[Fact]] = (),
        utterances: Sequence[str] = (),
    ) -> Actions:
        """From decision objects, with the words that go with them and the facts in these, if any."""
        told = (
            [_told(*pair) for pair in zip(decisions, facts, strict=True)] if facts else [0] * len(decisions)
        )
        return cls(
            act=np.array([decision.act for decision in decisions], dtype=np.int64),
            strategy=np.array([decision.strategy.position for decision in decisions], dtype=np.int64),
            attributes=padded([decision.attributes for decision in decisions]),
            items=padded([decision.items for decision in decisions]),
            facts_told=np.array(told, dtype=np.int64),
            utterances=tuple(utterances),
            facts=tuple(tuple(some) for some in facts),
            told=_unasked(decisions),
        )


@dataclass(frozen=True)
class Replies:
    """What seekers did in answer.

    Attributes:
        answers: ``[n, m]``, values of :class:`Answer` for the attributes asked about.
        volunteered: ``[n]``, an attribute the seeker mentioned unasked, or :data:`NOTHING`.
        place: ``[n]``, place (from 0) of the accepted item in the list, or :data:`NOTHING`.
        left: ``[n]`` of bool, the seeker gave up.
        manner: ``[n]``, values of :class:`~unicrs_rl.simulators.wording.Manner`.
        behaviours: ``[n]``, what was done off the path; empty where nobody left it.
        withdrawn: ``[n]``, wishes that are no longer any; empty where nobody changed its mind.
        taken_up: ``[n]``, values of :class:`Answer` to what was told unasked; empty where nothing was.
    """

    answers: NDArray[np.int64]
    volunteered: NDArray[np.int64]
    place: NDArray[np.int64]
    left: NDArray[np.bool_]
    manner: NDArray[np.int64]
    behaviours: tuple[tuple[str, ...], ...] = ()
    withdrawn: tuple[tuple[int, ...], ...] = ()
    taken_up: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """``[n]`` of bool."""
        accepted: NDArray[np.bool_] = self.place != NOTHING
        return accepted


@dataclass(frozen=True)
class SeekerContext:
    """What seekers are made from.

    Attributes:
        world: catalogue and population.
        settings: how they behave.
        noise: chance that an answer is flipped; only ``mcr`` seekers know it.
        model: through which some kinds speak; ``None`` where nothing is said.
    """

    world: World
    settings: SeekerConfig = field(default_factory=SeekerConfig)
    noise: float = 0.0
    model: LanguageModel | None = None


class Seekers(ABC):
    """A batch of simulated seekers, one per session.

    Args:
        context: what they are made from.
        argument: what stands after the colon of their kind's name, if it takes something.
    """

    strategic: ClassVar[bool]
    """Whether strategies mean anything to this kind of seeker."""
    spoken: ClassVar[bool] = False
    """Whether it can only be met in words."""
    rates: ClassVar[bool] = False
    """Whether it says in the end what it thinks of the recommender (:meth:`ratings`)."""
    hidden: ClassVar[tuple[str, ...]] = ()
    """Names of its hidden variables, which settings can pin, sweep or sample."""
    takes: ClassVar[str] = ""
    """What its argument is called, if it takes one."""

    def __init__(self, context: SeekerContext, argument: str = "") -> None:
        self.context, self.argument = context, argument
        self.world, self.settings = context.world, context.settings
        self.sessions: list[Session] = []
        self.targets = np.zeros(0, dtype=np.int64)
        self.keys = np.zeros(0, dtype=np.uint64)
        self.turns = np.zeros(0, dtype=np.int64)
        self.detector = DriftDetector(context.world.catalogue)
        credence = Credence()
        self.beliefs = ItemBeliefs(credence if self.strategic else replace(credence, opinion=0.0))
        self._fits: dict[int, NDArray[np.float64]] = {}
        self._goals: dict[int, Goal] = {}  # of conversations in words; nothing is tracked without

    @classmethod
    def files(cls, argument: str) -> tuple[Path, ...]:  # noqa: ARG003  for those that take one
        """Files that this kind of seeker is made from, for the provenance of a run."""
        return ()

    def reset(self, sessions: Sequence[Session]) -> NDArray[np.int64]:
        """Start a batch of conversations.

        Returns:
            The attribute each seeker volunteers at first: ``[batch]``.
        """
        self.sessions = list(sessions)
        self.start(np.arange(len(sessions)))
        return self.opening(np.arange(len(sessions)))

    def start(self, rows: NDArray[np.int64]) -> None:
        """(Re)start the conversations of these rows from ``self.sessions``."""
        if len(self.targets) != len(self.sessions):
            self.targets = np.zeros(len(self.sessions), dtype=np.int64)
            self.keys = np.zeros(len(self.sessions), dtype=np.uint64)
            self.turns = np.zeros(len(self.sessions), dtype=np.int64)
        self.targets[rows] = [self.sessions[row].target for row in rows]
        self.keys[rows] = [self.sessions[row].key for row in rows]
        self.turns[rows] = 0
        self.beliefs.start(rows, len(self.sessions))
        for memory in (self._goals, self._fits):
            for row in rows.tolist() if memory else ():
                memory.pop(row, None)

    @abstractmethod
    def opening(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The attribute volunteered at first: ``[n]``."""

    @abstractmethod
    def respond(self, rows: NDArray[np.int64], actions: Actions) -> Replies:
        """Answer the actions in the conversations ``rows`` (``[n]``) and move them one turn on."""

    @abstractmethod
    def latents(self, row: int) -> dict[str, float]:
        """Hidden variables of a conversation now, for the trace; no policy may see them."""

    def intentions(self, row: int, item: int) -> Intentions:
        """Watching intention for an item, as it follows from what is believed of it."""
        return self.beliefs.intentions(row, item, *self.fitting(row, item))

    def aim(self, row: int) -> Goal:
        """What it is after, before anything is said: its target, with all that this has."""
        target = int(self.targets[row])
        return Goal((target,), frozenset(self.world.catalogue.attributes_of(target).tolist()))

    def patience(self, row: int) -> float:  # noqa: ARG002  the tireless need not look
        """Share of its patience that is left: 1 at first, 0 when it leaves."""
        return 1.0

    def goal(self, row: int) -> Goal | None:
        """What it is after, and has said of it so far; ``None`` where it is not tracked."""
        goal = self._goals.get(row)
        return goal and replace(goal, patience=self.patience(row))

    def belief(self, row: int) -> Belief | None:
        """What it believes of the item considered last; ``None`` before there is one, or without words."""
        item = int(self.beliefs.considered[row])
        return None if item == NOTHING else self.beliefs.belief(row, item, *self.fitting(row, item))

    def fitting(self, row: int, item: int) -> tuple[float, float]:
        """How well an item fits what is wanted, and how well items do on average."""
        fits = self.fits(row)
        return float(fits[item]), float(fits.mean())

    def fits(self, row: int) -> NDArray[np.float64]:
        """How well each item fits what is wanted, in [0, 1]: ``[items]``.

        By likeness to the target; without a target, the share of the wishes that the item meets.
        """
        if row not in self._fits:
            goal, catalogue = self.aim(row), self.world.catalogue
            if goal.targets:
                likeness = (catalogue.content[list(goal.targets)] @ catalogue.content.T).toarray().max(axis=0)
                likeness[list(goal.targets)] = 1.0
            else:
                met = catalogue.item_attributes[:, sorted(goal.wants)]
                likeness = np.asarray(met.sum(axis=1)).ravel() / max(1, len(goal.wants))
            self._fits[row] = likeness.astype(np.float64)
        return self._fits[row]

    def hear(self, rows: NDArray[np.int64], actions: Actions) -> None:
        """Learn of the items on offer from the words of a turn; moods, where there are any, weigh more."""
        if not actions.utterances:
            return
        best = actions.items[:, 0].copy()
        for index in np.flatnonzero(best != NOTHING).tolist():
            offered = actions.items[index][actions.items[index] != NOTHING]
            best[index] = offered[self.fits(int(rows[index]))[offered].argmax()]
        neutral = np.zeros(len(rows))
        self.beliefs.hear(rows, actions, best, neutral, neutral)

    def take_up(self, rows: NDArray[np.int64], actions: Actions) -> NDArray[np.int64]:
        """Answers to what was told unasked, ``[n]``, of those who take it up; empty where nothing was."""
        if not len(actions.told):
            return actions.told
        told = actions.told[:, None]
        heard = (actions.told != NOTHING) & (actions.attributes != told).all(axis=1)
        heard &= uniform(self.keys[rows], self.turns[rows], "told") < self.settings.takes_up
        has = has_attributes(self.world, self.targets[rows], told)[:, 0]
        return np.where(heard, np.where(has, Answer.YES, Answer.NO), Answer.NONE).astype(np.int64)

    def ratings(self, row: int) -> Mapping[str, float] | None:  # noqa: ARG002  here nothing depends on it
        """What it thinks of the recommender now, 1 to 5 by question, where this kind rates."""
        return None

    def first_words(self, rows: NDArray[np.int64], volunteered: NDArray[np.int64]) -> list[Reply]:
        """The opening at the text surface."""
        return self._tracked(rows, [None] * len(rows), self._drafted_openings(rows, volunteered))

    def _drafted_openings(self, rows: NDArray[np.int64], volunteered: NDArray[np.int64]) -> list[Reply]:
        catalogue = self.world.catalogue
        return [
            Reply(
                text=word_opening(catalogue.noun, catalogue.attributes[attribute], int(self.keys[row])),
                liked=(attribute,),
            )
            for row, attribute in zip(rows.tolist(), volunteered.tolist(), strict=True)
        ]

    def replies(
        self, rows: NDArray[np.int64], decisions: Sequence[Decision], replies: Replies, words: bool
    ) -> list[Reply]:
        """Reply objects for arrays just returned by :meth:`respond`; without text unless ``words``."""
        drafts = self._drafted(rows, decisions, replies, words)
        return self._tracked(rows, decisions, drafts) if words else drafts

    def _drafted(
        self, rows: NDArray[np.int64], decisions: Sequence[Decision], replies: Replies, words: bool
    ) -> list[Reply]:
        """The same before anybody has checked them."""
        return [
            self._reply(int(row), index, decision, replies, words)
            for index, (row, decision) in enumerate(zip(rows, decisions, strict=True))
        ]

    def _tracked(
        self, rows: NDArray[np.int64], decisions: Sequence[Decision | None], replies: Sequence[Reply]
    ) -> list[Reply]:
        """The same replies with the drift found in them; the goals move on."""
        if not self.settings.tracking:
            return list(replies)
        goals = [self._goal_now(row) for row in rows.tolist()]
        checked = self.detector.check(goals, decisions, [""] * len(replies), replies)
        for row, goal, decision, reply in zip(rows.tolist(), goals, decisions, checked, strict=True):
            self._goals[row] = goal.after(reply, decision)
        return checked

    def _goal_now(self, row: int) -> Goal:
        """The goal before a reply, which may be the first with another target."""
        aim = self.aim(row)
        goal = self._goals.get(row, aim)
        return goal if goal.targets == aim.targets else goal.turned_to(aim.targets, aim.wants)

    def _reply(self, row: int, index: int, decision: Decision, replies: Replies, words: bool) -> Reply:
        answers = dict(zip(decision.attributes, replies.answers[index].tolist(), strict=False))
        place, extra = int(replies.place[index]), int(replies.volunteered[index])
        withdrawn = replies.withdrawn[index] if replies.withdrawn else ()
        if decision.told is not None and len(replies.taken_up):
            answers[decision.told] = int(replies.taken_up[index])
        liked = (*_answered(answers, Answer.YES), *((extra,) if extra != NOTHING else ()))
        reply = Reply(
            liked=tuple(dict.fromkeys(liked)),
            disliked=tuple(dict.fromkeys((*_answered(answers, Answer.NO), *withdrawn))),
            open=_answered(answers, Answer.OPEN),
            accepted=None if place == NOTHING else decision.items[place],
            rejected=decision.items if place == NOTHING else (),
            left=bool(replies.left[index]),
            withdrawn=withdrawn,
            behaviours=replies.behaviours[index] if replies.behaviours else (),
        )
        if not words:
            return reply
        return word_reply(
            self.world.catalogue,
            reply,
            decision,
            Manner(int(replies.manner[index])),
            int(self.keys[row]),
            int(self.turns[row]),
        )


def _unasked(decisions: Sequence[Decision]) -> NDArray[np.int64]:
    """The attributes told unasked, ``[n]``; empty where none is."""
    if all(decision.told is None for decision in decisions):
        return np.zeros(0, dtype=np.int64)
    return np.array([NOTHING if d.told is None else d.told for d in decisions], dtype=np.int64)


def _told(decision: Decision, facts: Sequence[Fact]) -> int:
    """Facts told about the first recommended item."""
    return sum(fact.item == decision.items[0] for fact in facts) if decision.items else 0


def _answered(answers: dict[int, int], answer: Answer) -> tuple[int, ...]:
    return tuple(attribute for attribute, given in answers.items() if given == answer)


def random_attributes(world: World, items: NDArray[np.int64], draw: NDArray[np.float64]) -> NDArray[np.int64]:
    """One random attribute of each item: ``[n]``, from draws in [0, 1)."""
    table = world.catalogue.item_attributes
    start, stop = table.indptr[items], table.indptr[items + 1]
    attribute: NDArray[np.int64] = table.indices[start + (draw * (stop - start)).astype(np.int64)].astype(
        np.int64
    )
    return attribute


def common_attributes(world: World, items: NDArray[np.int64], draw: NDArray[np.float64]) -> NDArray[np.int64]:
    """One attribute of each item, the likelier the more items have it: ``[n]``, from draws in [0, 1)."""
    table = world.catalogue.item_attributes
    edges = np.concatenate([[0.0], np.cumsum(world.catalogue.degrees[table.indices], dtype=np.float64)])
    start, stop = table.indptr[items], table.indptr[items + 1]
    aim = edges[start] + draw * (edges[stop] - edges[start])
    place = np.clip(np.searchsorted(edges, aim, side="right") - 1, start, stop - 1)
    attribute: NDArray[np.int64] = table.indices[place].astype(np.int64)
    return attribute


def has_attributes(
    world: World, items: NDArray[np.int64], attributes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether ``items`` (``[n]``) have ``attributes`` (``[n, m]``, padding gives False): ``[n, m]``."""
    table = world.catalogue.item_attributes
    found: NDArray[np.bool_] = kernels.owned(table.indptr, table.indices, items, attributes)
    return found


def uniform(keys: NDArray[np.uint64], turns: NDArray[np.int64], purpose: str) -> NDArray[np.float64]:
    """Common random numbers of these conversations at these turns."""
    return draws.uniform(keys, turns, purpose)
