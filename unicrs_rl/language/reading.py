"""Rules that read a seeker's words: the embedded model's side of the Preference Reasoner.

A reply is cut into clauses. A clause that names an attribute or an item is judged by the cue words
in it; a reply that names nothing is judged as a whole, as an answer to what was asked or offered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Protocol

from unicrs_rl.language.lexicon import Entity, Lexicon, Mention
from unicrs_rl.language.opinions import Talk, blank
from unicrs_rl.language.tasks import (
    Exchange,
    LinkInput,
    LinkOutput,
    Mood,
    PreferenceInput,
    PreferenceOutput,
)


class Polarity(Enum):
    """Which way a clause points."""

    YES = "yes"
    NO = "no"
    OPEN = "open"
    UNSAID = "unsaid"


_CLAUSE_END = re.compile(r"[.!?;]+(?=\s|$)|,?\s+\b(?:(?<![Aa]nything )but|though|although|however)\b")
_OPEN = re.compile(
    r"\b(?:whatever|either way|any suggestion|no preference|open to any|not sure|up to you|indifferent|"
    r"no strong feelings?|makes no difference|all the same|"
    r"(?:do|does)(?:n'?t| not) (?:really )?(?:matter|care|mind either way))\b"
)
_DIRECT = re.compile(
    r"\s*(?:(?:oh|well|hm+|uh|um|haha|sorry|and|but|actually|honestly),? )*"
    r"(?:(?:no|nope|nah|never|neither|whatever|either way)(?=\s*(?:[,.!;]|$| thank| not\b))|not\b|"
    r"no preference)"
)
_NO = re.compile(
    r"\b(?:no|not|nope|nah|never|none|neither|nothing|without|hate|hated|dislike|avoid|skip|pass|"
    r"sick of|tired of|anything but|rather not|cannot|(?:is|do|did|does|ca|wo|would)n'?t)\b"
)
_YES = re.compile(
    r"\b(?:yes|yeah|yep|yup|sure|love|loved|loves|like|liked|enjoy|enjoyed|great|definitely|absolutely|"
    r"exactly|into|fan|perfect|good|favou?rite|please|want|wanted|looking for|mood for|craving|after|"
    r"hoping for|works for me|would be nice|fun)\b"
)
_ACCEPT = re.compile(
    r"\b(?:i'?ll (?:take|watch|try|go with|have|pick|check out|listen to)|let me (?:take|watch|try)|"
    r"sold|i'?m in|that'?s the one|going with)\b"
)
_IMPATIENT = re.compile(
    r"\b(?:hurry|taking (?:so )?long|too long|little time|running out of|get to the point|how many more|"
    r"enough questions|quickly|waste of time)\b"
)
_WARM = re.compile(
    r"\b(?:thanks|thank you|haha|nice talking|lovely|appreciate|you'?re (?:great|fun|kind)|fun chat|"
    r"right (?:track|direction)|getting (?:closer|to know me))\b"
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reply reveals, by id."""

    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    open: tuple[int, ...] = ()
    liked_items: tuple[int, ...] = ()
    """Items the seeker brought up, in their favour; those offered are accepted or rejected instead."""
    disliked_items: tuple[int, ...] = ()
    accepted: int | None = None
    rejected: tuple[int, ...] = ()
    mood: Mood = "neutral"


def polarity(clause: str) -> Polarity:
    """Which way a clause points; a negation outweighs praise, indifference outweighs both."""
    text = clause.casefold().replace("’", "'")
    if _OPEN.search(text):
        return Polarity.OPEN
    if _NO.search(text):
        return Polarity.NO
    return Polarity.YES if _YES.search(text) else Polarity.UNSAID


def accepts(clause: str) -> bool:
    """Whether a clause takes an offer."""
    return bool(_ACCEPT.search(clause.casefold().replace("’", "'")))


def mood_of(text: str) -> Mood:
    """The mood a text shows on its surface."""
    lowered = text.casefold().replace("’", "'")
    if _IMPATIENT.search(lowered):
        return "impatient"
    return "positive" if _WARM.search(lowered) else "neutral"


def clauses(text: str) -> list[tuple[int, int]]:
    """Spans ``[start, end)`` of the clauses of a text."""
    spans = []
    start = 0
    for match in _CLAUSE_END.finditer(text):
        spans.append((start, match.end()))
        start = match.end()
    spans.append((start, len(text)))
    return [(a, b) for a, b in spans if text[a:b].strip()]


@lru_cache(maxsize=65_536)  # a dialogue is read anew at every turn, by the reasoner and by the judge
def read_reply(
    lexicon: Lexicon, text: str, asked: tuple[int, ...] = (), offered: tuple[int, ...] = ()
) -> Reading:
    """Read one reply in the light of the attributes asked about and the items offered before it."""
    marks: dict[int, Polarity] = {}
    named_items: list[int] = []
    unnamed: set[Polarity] = set()
    answered = False  # an answer comes first: what is said in later sentences is about something else
    accepting = False
    mentions = lexicon.mentions(text, offered)
    masked = _mask_noun(blank(text, mentions), lexicon.noun)
    for start, end in clauses(masked):
        points = polarity(masked[start:end])
        taking = points is not Polarity.NO and accepts(masked[start:end])
        inside = [
            mention if taking and mention.id in offered else mention.as_attribute()
            for mention in mentions
            if start <= mention.start < end
        ]
        items = [mention.id for mention in inside if mention.entity is Entity.ITEM]
        for mention in inside:
            if mention.entity is Entity.ATTRIBUTE:
                marks[mention.id] = Polarity.YES if points is Polarity.UNSAID else points
        denied = answered and Polarity.NO in unnamed  # then only what is named can still be taken
        accepting = accepting or (taking and (not denied or any(item in offered for item in items)))
        if points is not Polarity.NO:
            named_items.extend(item for item in items if item in offered)
        if not inside and (not answered or _DIRECT.match(masked[start:end].casefold())):
            unnamed.add(points)
        answered = answered or (masked[end - 1] in ".!?;" and not unnamed <= {Polarity.UNSAID})
    talk = Talk()
    talk.read(text, _brought_up(mentions, offered))
    accepted = (*named_items, *offered)[0] if accepting and offered else None
    whole = next((p for p in (Polarity.OPEN, Polarity.NO, Polarity.YES) if p in unnamed), Polarity.UNSAID)
    if whole is not Polarity.UNSAID:  # else the question was left unanswered
        for attribute in asked:
            marks.setdefault(attribute, whole)
    return Reading(
        liked=tuple(a for a, mark in marks.items() if mark is Polarity.YES),
        disliked=tuple(a for a, mark in marks.items() if mark is Polarity.NO),
        open=tuple(a for a, mark in marks.items() if mark is Polarity.OPEN),
        liked_items=talk.liked,
        disliked_items=talk.disliked,
        accepted=accepted,
        rejected=() if accepted is not None else tuple(offered),
        mood=mood_of(masked),
    )


def _brought_up(mentions: Sequence[Mention], offered: tuple[int, ...] = ()) -> list[Mention]:
    """The items that are named without being on offer; of an attribute's namesake, the attribute is meant."""
    return [
        mention
        for mention in mentions
        if mention.entity is Entity.ITEM and mention.namesake is None and mention.id not in offered
    ]


@lru_cache
def _opinionated(noun: str) -> bool:
    """Whether a word for items looks like an opinion by itself."""
    return polarity(noun) is not Polarity.UNSAID or accepts(noun)


def _mask_noun(text: str, noun: str) -> str:
    """The text without what items are called, where that word looks like an opinion ("a ski pass")."""
    if not _opinionated(noun):
        return text
    return re.sub(rf"\b{re.escape(noun)}\b", "_" * len(noun), text)


class Answered(Protocol):
    """What one reply says of attributes: a :class:`Reading`, or the seeker's own acts."""

    @property
    def liked(self) -> tuple[int, ...]:
        """Wanted attributes."""

    @property
    def disliked(self) -> tuple[int, ...]:
        """Unwanted attributes."""

    @property
    def open(self) -> tuple[int, ...]:
        """Attributes that do not matter."""


def fold(replies: Iterable[Answered]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Wanted, unwanted and indifferent attributes after all replies.

    Later replies win, but indifference does not take back a wish or a refusal.
    """
    marks: dict[int, str] = {}
    for reply in replies:
        marks |= dict.fromkeys(reply.liked, "liked") | dict.fromkeys(reply.disliked, "disliked")
        marks |= {attribute: "open" for attribute in reply.open if attribute not in marks}
    liked, disliked, open_ = (
        tuple(attribute for attribute, mark in marks.items() if mark == label)
        for label in ("liked", "disliked", "open")
    )
    return liked, disliked, open_


def link_entities(lexicon: Lexicon, inputs: LinkInput) -> LinkOutput:
    """Answer the entity linker's task: every name in a message, each once."""
    names: dict[Entity, dict[str, None]] = {Entity.ITEM: {}, Entity.ATTRIBUTE: {}}
    for mention in lexicon.mentions(inputs.text):
        catalogue = lexicon.items if mention.entity is Entity.ITEM else lexicon.attributes
        names[mention.entity][catalogue[mention.id]] = None
    return LinkOutput(items=list(names[Entity.ITEM]), attributes=list(names[Entity.ATTRIBUTE]))


def read_dialogue(lexicon: Lexicon, inputs: PreferenceInput) -> PreferenceOutput:
    """Answer the Preference Reasoner's task: fold the readings of all replies, later ones winning."""
    readings: list[Reading] = []
    talk = Talk()
    rejected: dict[int, None] = {}
    mood: Mood = "neutral"
    for exchange in (Exchange(recommender="", seeker=inputs.opening), *inputs.exchanges):
        offered = _ids(lexicon.item_id, exchange.offered)
        reading = read_reply(lexicon, exchange.seeker, _ids(lexicon.attribute_id, exchange.asked), offered)
        readings.append(reading)
        if exchange.asked or exchange.offered:  # then it is known what the reply is about
            talk.focus = ()
        else:
            talk.hear(exchange.recommender, _brought_up(lexicon.mentions(exchange.recommender)))
        talk.read(exchange.seeker, _brought_up(lexicon.mentions(exchange.seeker, offered), offered))
        rejected.update(dict.fromkeys(reading.rejected))
        mood = reading.mood
    liked, disliked, open_ = ([lexicon.attributes[a] for a in marked] for marked in fold(readings))
    return PreferenceOutput(
        liked=liked,
        disliked=disliked,
        open=open_,
        liked_items=[lexicon.items[item] for item in talk.liked],
        disliked_items=[lexicon.items[item] for item in talk.disliked],
        rejected_items=[lexicon.items[item] for item in rejected],
        mood=mood,
        summary=_summary(liked, disliked),
    )


def _ids(resolve: Callable[[str], int | None], names: Sequence[str]) -> tuple[int, ...]:
    return tuple(found for name in names if (found := resolve(name)) is not None)


def _summary(liked: list[str], disliked: list[str]) -> str:
    wants = f"wants {', '.join(liked)}" if liked else "has named no wish yet"
    spurns = f" and does not want {', '.join(disliked)}" if disliked else ""
    return f"The seeker {wants}{spurns}."
