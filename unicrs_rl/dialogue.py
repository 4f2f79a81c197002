"""The vocabulary every room shares: what is decided, said and shown in a conversation.

This is the ground floor of the house: it imports nothing of ours. Ids are indices into a
world's catalogue: an *item* id is a row of its items, an *attribute* id a row of its attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray


class Act(IntEnum):
    """What a recommender does in a turn."""

    ASK = 0
    RECOMMEND = 1
    CHAT = 2


class Category(StrEnum):
    """What a strategy is for, as INSPIRED divides them."""

    SOCIABLE = "sociable"
    """To build rapport, and to make what is recommended credible."""
    PREFERENCE_ELICITATION = "preference elicitation"
    """To ask the seeker for tastes or experiences."""
    NONE = "none"


class Strategy(StrEnum):
    """The fourteen strategies annotated in INSPIRED (Hayati et al., EMNLP 2020)."""

    PERSONAL_OPINION = "Personal Opinion"
    PERSONAL_EXPERIENCE = "Personal Experience"
    SIMILARITY = "Similarity"
    ENCOURAGEMENT = "Encouragement"
    OFFER_HELP = "Offer Help"
    PREFERENCE_CONFIRMATION = "Preference Confirmation"
    CREDIBILITY = "Credibility"
    SELF_MODELING = "Self Modeling"
    TRANSPARENCY = "Transparency"
    REPHRASE_PREFERENCE = "Rephrase Preference"
    ACKNOWLEDGMENT = "Acknowledgment"
    EXPERIENCE_INQUIRY = "Experience Inquiry"
    OPINION_INQUIRY = "Opinion Inquiry"
    NO_STRATEGY = "No Strategy"

    @property
    def position(self) -> int:
        """Place in the fixed order of :data:`STRATEGIES`; what networks and tables index by."""
        return _STRATEGY_INDEX[self]

    @property
    def category(self) -> Category:
        """INSPIRED's division. Its preference elicitation is the two inquiries alone: confirming or
        rephrasing a preference shows that one has listened, and counts as sociable there.
        """
        if self is Strategy.NO_STRATEGY:
            return Category.NONE
        inquiries = (Strategy.EXPERIENCE_INQUIRY, Strategy.OPINION_INQUIRY)
        return Category.PREFERENCE_ELICITATION if self in inquiries else Category.SOCIABLE

    @property
    def spelling(self) -> str:
        """How INSPIRED's tables write the label: ``personal_opinion``."""
        return self.value.replace(" ", "_").lower()

    @classmethod
    def parse(cls, label: str) -> Strategy:
        """Read a label in either spelling of the releases (``personal_opinion``, ``Personal Opinion``).

        Raises:
            ValueError: if the label is none of the fourteen.
        """
        key = " ".join(label.replace("_", " ").split()).casefold()
        try:
            return _STRATEGY_BY_SPELLING[key]
        except KeyError:
            raise ValueError(f"unknown strategy label {label!r}") from None


STRATEGIES: tuple[Strategy, ...] = tuple(Strategy)
_STRATEGY_INDEX = {strategy: index for index, strategy in enumerate(STRATEGIES)}
_STRATEGY_BY_SPELLING = {strategy.value.casefold(): strategy for strategy in STRATEGIES}

ELICITATION: frozenset[Strategy] = frozenset(
    {
        Strategy.EXPERIENCE_INQUIRY,
        Strategy.OPINION_INQUIRY,
        Strategy.PREFERENCE_CONFIRMATION,
        Strategy.REPHRASE_PREFERENCE,
    }
)
"""Strategies whose purpose is to learn what the seeker wants (INSPIRED's preference elicitation)."""


class LabelMap(StrEnum):
    """Which strategies a planner tells apart: INSPIRED's fourteen labels, or thirteen of them."""

    NONE = "none"
    """All fourteen (default)."""
    RSO = "rso"
    """Preference Confirmation counts as Transparency (RSO, Table I)."""
    INSPIRED = "inspired"
    """Transparency counts as Offer Help (INSPIRED's own models)."""

    def of(self, strategy: Strategy) -> Strategy:
        """The label that a strategy has under this map."""
        return _MERGED[self].get(strategy, strategy)

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The labels there are, in the order of :data:`STRATEGIES`."""
        return tuple(strategy for strategy in STRATEGIES if self.of(strategy) is strategy)


_MERGED: Mapping[LabelMap, Mapping[Strategy, Strategy]] = {
    LabelMap.NONE: {},
    LabelMap.RSO: {Strategy.PREFERENCE_CONFIRMATION: Strategy.TRANSPARENCY},
    LabelMap.INSPIRED: {Strategy.TRANSPARENCY: Strategy.OFFER_HELP},
}


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything a recommender decides in one turn, whoever decides it."""

    act: Act
    strategy: Strategy
    attributes: tuple[int, ...] = ()
    """Attribute ids asked about (ASK)."""
    items: tuple[int, ...] = ()
    """Ranked item ids (RECOMMEND), best first."""
    told: int | None = None
    """An attribute of the likeliest item that is told unasked (ASK, CHAT), where that is switched on."""

    @property
    def raised(self) -> tuple[int, ...]:
        """The attributes that a seeker may answer to: asked about, or told."""
        return self.attributes if self.told is None else (*self.attributes, self.told)


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions of ``n`` conversations as arrays, -1 where there is nothing.

    Attributes:
        act: ``[n]``, values of :class:`Act`.
        strategy: ``[n]``, index into :data:`STRATEGIES`.
        attributes: ``[n, m]`` asked about.
        items: ``[n, k]`` recommended, best first.
    """

    act: NDArray[np.int64]
    strategy: NDArray[np.int64]
    attributes: NDArray[np.int64]
    items: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.act)

    def plan(self, row: int, scores: Mapping[str, float] | None = None) -> Plan:
        """One of them as a plan with every column decided."""
        return Plan(
            STRATEGIES[self.strategy[row]],
            Act(int(self.act[row])),
            tuple(a for a in self.attributes[row].tolist() if a >= 0),
            tuple(i for i in self.items[row].tolist() if i >= 0),
            scores or {},
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy decided; ``None`` leaves that column to the Actor.

    The unified arm fills every column, the decomposed arm only ``strategy``, a prompted one nothing;
    points between them fill what they were given control of. The Actor turns a plan into a
    :class:`Decision`.
    """

    strategy: Strategy | None = None
    act: Act | None = None
    attributes: tuple[int, ...] | None = None
    items: tuple[int, ...] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """What the policy thought, for the trace: value or probability by option."""
    words: str | None = None
    """The utterance, of a policy that finds its own; only the ``verbatim`` Actor says it."""
    calls: tuple[Call, ...] = ()
    """What deciding took of a language model."""
    invented: tuple[str, ...] = ()
    """Names it wanted to offer or ask about that the catalogue does not have."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement of the knowledge graph about an item: (item, relation, value)."""

    item: int
    relation: str
    value: str


def by_relation(facts: Iterable[Fact]) -> dict[str, list[str]]:
    """The values of facts about one item, by relation, in their order."""
    values: dict[str, list[str]] = {}
    for fact in facts:
        values.setdefault(fact.relation, []).append(fact.value)
    return values


@dataclass(frozen=True, slots=True)
class Grounding:
    """What the Fact Retriever lays on the table for a turn."""

    items: tuple[int, ...]
    """Candidate items, best first."""
    attributes: tuple[int, ...]
    """Attributes worth asking about, best first."""
    confidence: float
    """Posterior probability that one of ``items`` is what the seeker wants."""
    facts: tuple[Fact, ...] | None
    """Statements worth telling; ``None`` where nothing was looked up."""
    call: Call | None = None
    unasked: tuple[Fact, ...] = ()
    """Statements about the likeliest item worth telling with a question or small talk, best first."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the seeker did in answer to a turn, and the words for it (empty at the semantic surface)."""

    text: str = ""
    liked: tuple[int, ...] = ()
    """Attributes affirmed."""
    disliked: tuple[int, ...] = ()
    """Attributes denied."""
    open: tuple[int, ...] = ()
    """Attributes asked about to which the seeker is indifferent."""
    accepted: int | None = None
    """The recommended item taken."""
    rejected: tuple[int, ...] = ()
    """Recommended items turned down."""
    left: bool = False
    """The seeker ended the conversation without an item."""
    withdrawn: tuple[int, ...] = ()
    """Attributes wished for before, and no longer."""
    behaviours: tuple[str, ...] = ()
    """What it did off the path of question and answer; hidden from the recommender."""
    drift: tuple[str, ...] = ()
    """How it strayed from the seeker's goal; hidden from the recommender."""
    calls: tuple[Call, ...] = ()
    """What it took of a language model; not the recommender's own."""


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a language model: what it was for and what it cost.

    Attributes:
        prompt: hash of the rendered prompt.
        seconds: wall-clock, from asking to the answer.
        retries: how often it was asked again because the answer was malformed.
        failure: why no valid answer was had in the end; empty on success.
        resent: how often it was sent again because the endpoint failed.
        cached: attempts that were answered from what had been answered before.
        dropped: oldest turns left out because the prompt did not fit into the model's context.
        lost: the endpoint gave no answer at all, so that the conversation cannot go on.
    """

    task: str
    prompt: str
    tokens_in: int
    tokens_out: int
    seconds: float
    retries: int = 0
    failure: str = ""
    resent: int = 0
    cached: int = 0
    dropped: int = 0
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the words so far reveal about the seeker, as the Preference Reasoner read them."""

    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    open: tuple[int, ...] = ()
    liked_items: tuple[int, ...] = ()
    rejected_items: tuple[int, ...] = ()
    """Items turned down when offered, or spoken against."""
    mood: str = "neutral"
    """``positive``, ``neutral`` or ``impatient``."""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """A judge's opinion of a dialogue: 1 (poor) to 5 (excellent), with its parts in [0, 1].

    Attributes:
        value: mean of the samples.
        spread: their standard deviation; 0 for one sample.
        samples: valid answers it is the mean of.
        failed: answers that were no score, and so are not in it.
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    spread: float = 0.0
    samples: int = 1
    failed: int = 0


@dataclass(frozen=True, slots=True)
class View:
    """What was believed when a turn was decided: the same for every arm, and nothing hidden.

    Attributes:
        entropy: of the posterior over items, in bits.
        left: candidate items.
        confidence: posterior mass of the list that a recommendation would show.
        items: the likeliest, as (item, weight).
        questions: the most informative, as (attribute, entropy in bits, probability of a yes); behind
            them what was asked, where it was none of them.
        wanted, unwanted: attributes affirmed and denied so far.
    """

    entropy: float
    left: int
    confidence: float
    items: tuple[tuple[int, float], ...]
    questions: tuple[tuple[int, float, float], ...]
    wanted: tuple[int, ...]
    unwanted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One system utterance and the reply to it."""

    decision: Decision
    utterance: str
    reply: Reply
    facts: tuple[Fact, ...] = ()
    plan: Plan | None = None
    score: Score | None = None
    reward: float = 0.0
    calls: tuple[Call, ...] = ()
    judge_calls: tuple[Call, ...] = ()
    """What judging took of a language model; not the recommender's own."""
    invented: tuple[str, ...] = ()
    """Names the recommender wanted to offer or ask about that the catalogue does not have; dropped."""
    view: View | None = None
    """What was believed before it was decided; noted in evaluation only."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a dialogue ended: ``turn`` counts system turns from 1, ``rank`` list places from 1."""

    success: bool
    turn: int
    item: int | None = None
    rank: int | None = None
    left: bool = False
    label: str = ""
    """A corpus' own word for the outcome (INSPIRED's ``fine_label``); empty in simulation."""


@dataclass(slots=True)
class Dialogue:
    """A conversation: the seeker's opening, then turns. Simulated or human."""

    id: str
    opening: Reply = Reply()
    turns: list[Turn] = field(default_factory=list)
    outcome: Outcome | None = None
    survey: Mapping[str, float] = field(default_factory=dict)
    """The seeker's ratings of the recommender after a human dialogue, 1 to 5 by question."""

    def utterances(self) -> list[tuple[str, str]]:
        """The dialogue as ``(speaker, text)`` pairs; silent replies are left out."""
        lines = [("seeker", self.opening.text)] if self.opening.text else []
        for turn in self.turns:
            lines.append(("recommender", turn.utterance))
            if turn.reply.text:
                lines.append(("seeker", turn.reply.text))
        return lines


@dataclass(frozen=True, slots=True)
class State:
    """All that a policy may see of one conversation when it decides. Nothing hidden is in it."""

    key: int
    """Identifies the conversation's random numbers; says nothing about the seeker's target."""
    history: tuple[int, ...]
    """Items the seeker is known to like from before."""
    preferences: Preferences
    utterances: Sequence[tuple[str, str]]
    decisions: tuple[Decision, ...]
    """The recommender's own decisions so far."""
    limit: int
    """System turns allowed."""
    copy: int = 0
    """Tells conversations apart that are held at once with the same key."""

    @property
    def turn(self) -> int:
        """Index of the turn about to be decided, from 0."""
        return len(self.decisions)

    @property
    def asked(self) -> frozenset[int]:
        """Attributes that need no question: asked, volunteered, or found indifferent.

        What was asked just now for the first time and left unanswered can be asked again; but where
        nothing is read at all, nothing is known to be unanswered.
        """
        known = self.preferences
        answered = frozenset((*known.liked, *known.disliked, *known.open))
        closed = self.decisions[:-1] if answered else self.decisions
        return answered.union(*(decision.attributes for decision in closed))
