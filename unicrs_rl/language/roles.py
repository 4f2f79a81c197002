"""How two roles talk: what each is told, and the structured action that comes before its words.

After Interplay (Ramos et al., 2026, arXiv 2603.18573): two language models, one for each role, of which
neither is told of a target item. A conversation is a chat as each side sees it: ``system`` says what the
role wants, ``user`` is what the other said, and ``assistant`` is what it does and says itself::

    recommend | strategy: Personal Opinion | items: The Shining (1980)
    You will love @1!

The first line is the action, ``@1`` stands for the first item on offer. So what was done is never guessed
from prose, and words can be about nothing but what was done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from unicrs_rl.dialogue import Strategy

Chat: TypeAlias = list[dict[str, str]]
"""Messages in order, each with ``role`` and ``content``, as chat templates take them."""

SYSTEM, OTHER, OWN = "system", "user", "assistant"
_FIELD, _NAME = " | ", " ; "
_NO_NOTES = str.maketrans("[]", "()")
_PLACE = re.compile(r"@(\d+)")


class Role(StrEnum):
    """Which side of a conversation."""

    SEEKER = "seeker"
    RECOMMENDER = "recommender"


class SeekerAct(StrEnum):
    """What a seeker does in a turn."""

    INFORM = "inform"
    """Says what it wants or does not want."""
    ACCEPT = "accept"
    REJECT = "reject"
    CHAT = "chat"
    LEAVE = "leave"
    """Ends the conversation without an item."""


class RecommenderAct(StrEnum):
    """What a recommender does in a turn."""

    ASK = "ask"
    RECOMMEND = "recommend"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Wish:
    """All that a reference-free seeker knows of what it came for: names of attributes, never of an item.

    Attributes:
        taste: summary of what it has liked so far.
        wanted: attributes of what it looks for.
    """

    taste: tuple[str, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeekerMove:
    """What a seeker does and says.

    Attributes:
        place: of the item it accepts among those on offer, from 1.
        words: with ``@1`` for the first item on offer.
    """

    act: SeekerAct
    wants: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    place: int | None = None
    words: str = ""

    def text(self) -> str:
        """As a language model writes it; :meth:`read` reads it."""
        place = () if self.place is None else (str(self.place),)
        return _written(self.act, {"wants": self.wants, "unwanted": self.unwanted, "item": place}, self.words)

    @classmethod
    def read(cls, text: str) -> SeekerMove:
        """What a language model wrote.

        Raises:
            ValueError: saying what is wrong with it.
        """
        act, fields, words = _read(text, ("wants", "unwanted", "item"))
        if act not in tuple(SeekerAct):
            raise ValueError(f"unknown action {act!r:.40}")
        place = fields.get("item", ())
        if (act == SeekerAct.ACCEPT) != bool(place) or not all(number.isdecimal() for number in place):
            raise ValueError("accepting, and nothing else, names the place of an item")
        taken = int(place[0]) if place else None
        return cls(SeekerAct(act), fields.get("wants", ()), fields.get("unwanted", ()), taken, words)


@dataclass(frozen=True, slots=True)
class RecommenderMove:
    """What a recommender does and says.

    Attributes:
        strategy: ``None`` where nobody labelled it.
        about: attributes asked about.
        words: with ``@1`` for the first of ``items``.
    """

    act: RecommenderAct
    strategy: Strategy | None = None
    items: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    words: str = ""

    def text(self) -> str:
        """As a language model writes it; :meth:`read` reads it."""
        strategy = () if self.strategy is None else (self.strategy.value,)
        return _written(
            self.act, {"strategy": strategy, "items": self.items, "about": self.about}, self.words
        )

    @classmethod
    def read(cls, text: str) -> RecommenderMove:
        """What a language model wrote.

        Raises:
            ValueError: saying what is wrong with it.
        """
        act, fields, words = _read(text, ("strategy", "items", "about"))
        if act not in tuple(RecommenderAct):
            raise ValueError(f"unknown action {act!r:.40}")
        items = fields.get("items", ())
        if (act == RecommenderAct.RECOMMEND) != bool(items):
            raise ValueError("recommending, and nothing else, names items")
        if act != RecommenderAct.ASK and "about" in fields:
            raise ValueError("only a question is about an attribute")
        label = fields.get("strategy", ())
        strategy = Strategy.parse(label[0]) if label else None
        return cls(RecommenderAct(act), strategy, items, fields.get("about", ()), words)


def seeker_told(noun: str, wish: Wish) -> dict[str, str]:
    """The message that tells a seeker what it wants."""
    told = _written(f"looks for a {noun}", {"likes": wish.taste, "wants": wish.wanted}, "")
    return {"role": SYSTEM, "content": told.strip()}


def recommender_told(noun: str) -> dict[str, str]:
    """The message that tells a recommender what it is there for. It knows of no target."""
    return {"role": SYSTEM, "content": f"recommends a {noun}"}


def heard_by_seeker(
    words: str, met: Sequence[Sequence[str]], asked: Mapping[str, bool] | None = None
) -> dict[str, str]:
    """What the recommender said, and what the seeker makes of it by its wish alone.

    Args:
        met: of each item on offer, which of the seeker's wishes it meets.
        asked: of each attribute asked about, whether it is among the wishes.
    """
    notes = [f"@{place}: {_NAME.join(names)}" for place, names in enumerate(met, start=1)]
    notes += [f"{name}: {'wanted' if wanted else 'not wanted'}" for name, wanted in (asked or {}).items()]
    plain = words.translate(_NO_NOTES)  # nobody's words may look like a note
    return {"role": OTHER, "content": plain + "".join(f" [{note.strip()}]" for note in notes)}


def heard(words: str) -> dict[str, str]:
    """What the other side said."""
    return {"role": OTHER, "content": words}


def done(move: SeekerMove | RecommenderMove) -> dict[str, str]:
    """What the role itself did and said."""
    return {"role": OWN, "content": move.text()}


def placed(words: str, spans: Iterable[tuple[int, int, int]]) -> str:
    """Words with ``@place`` instead of the names at the spans ``(start, end, place)``, in their order."""
    parts, last = [], 0
    for start, end, place in spans:
        parts += [words[last:start], f"@{place}"]
        last = end
    return "".join((*parts, words[last:]))


def named(words: str, titles: Sequence[str], otherwise: str = "it") -> str:
    """Words with the titles instead of their places; a place that nothing is at becomes ``otherwise``."""

    def title(match: re.Match[str]) -> str:
        place = int(match[1])
        return titles[place - 1] if 0 < place <= len(titles) else otherwise

    return _PLACE.sub(title, words)


def unnamed(words: str, titles: Sequence[str]) -> str:
    """The inverse of :func:`named`: titles that stand in the words become their places."""
    longest_first = sorted(range(len(titles)), key=lambda index: -len(titles[index]))
    for index in longest_first:
        words = words.replace(titles[index], f"@{index + 1}")
    return words


def _written(head: str, fields: Mapping[str, Iterable[str]], words: str) -> str:
    """An action in one line, and the words in the next."""
    parts = [f"{name}: {_NAME.join(values)}" for name, values in fields.items() if tuple(values)]
    return f"{_FIELD.join((head, *parts))}\n{' '.join(words.split())}"


def _read(text: str, known: Sequence[str]) -> tuple[str, dict[str, tuple[str, ...]], str]:
    """The head of an action, its fields, and the words.

    Raises:
        ValueError: saying what is wrong.
    """
    line, newline, words = text.strip().partition("\n")
    if not newline or not words.strip():
        raise ValueError("an action and words are expected, each in a line")
    head, *parts = line.split(_FIELD)
    fields: dict[str, tuple[str, ...]] = {}
    for part in parts:
        name, colon, values = part.partition(": ")
        if name not in known or not colon or name in fields:
            raise ValueError(f"unknown field {part!r:.40}")
        fields[name] = tuple(value.strip() for value in values.split(_NAME) if value.strip())
    return head.strip(), fields, " ".join(words.split())
