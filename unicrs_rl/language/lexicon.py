"""Names of a catalogue's items and attributes: from name to id, and where a text mentions them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_YEAR = re.compile(r"\s*\((\d{4})\)$")
_ALIASES = {"sci-fi": ("science fiction", "scifi"), "romance": ("romantic",), "animation": ("animated",)}


class Entity(StrEnum):
    """What a name stands for."""

    ITEM = "item"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, slots=True)
class Mention:
    """A name found in a text, with its place ``[start, end)`` in characters."""

    entity: Entity
    id: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Entry:
    entity: Entity
    id: int
    cautious: bool
    """A common word: counts only where it is written as a title (capital, not opening a sentence)."""


class Lexicon:
    """Finds names in text, leftmost and longest first.

    Titles are known with and without their year. A title of one word and no year ("It", "Up") is
    believed only where it is capitalised inside a sentence or quoted, or where it was just offered.

    Args:
        noun: what an item is called.
        items: display names by item id.
        attributes: display names by attribute id.
        kinds: kind of each attribute, by attribute id.
    """

    def __init__(
        self, noun: str, items: Sequence[str], attributes: Sequence[str], kinds: Sequence[str]
    ) -> None:
        self.noun = noun
        self.items = tuple(items)
        self.attributes = tuple(attributes)
        self.kinds = tuple(kinds)
        self._item_ids = {name: index for index, name in enumerate(self.items)}
        self._attribute_ids = {name: index for index, name in enumerate(self.attributes)}
        self._entries: dict[tuple[str, ...], list[_Entry]] = {}
        self._lengths: dict[str, list[int]] = {}  # first word -> lengths of the names it opens, longest first
        for index, name in enumerate(self.attributes):
            self._enter_attribute(index, name)
        for index, name in enumerate(self.items):
            self._enter_item(index, name)
        for index, name in enumerate(self.items):  # later, so that full names win over shortened ones
            self._enter_item(index, _YEAR.sub("", name))
        for tokens in self._entries:
            self._lengths.setdefault(tokens[0], []).append(len(tokens))
        self._lengths = {word: sorted(set(sizes), reverse=True) for word, sizes in self._lengths.items()}
        self.mentions = lru_cache(maxsize=65_536)(self._mentions)

    def item_id(self, name: str) -> int | None:
        """The item of that exact name, or failing that the only one a text of it mentions."""
        return self._resolve(name, self._item_ids, Entity.ITEM)

    def attribute_id(self, name: str) -> int | None:
        """The attribute of that exact name, or failing that the only one a text of it mentions."""
        return self._resolve(name, self._attribute_ids, Entity.ATTRIBUTE)

    def _resolve(self, name: str, exact: dict[str, int], entity: Entity) -> int | None:
        if name in exact:
            return exact[name]
        found = {mention.id for mention in self.mentions(f'"{name}"') if mention.entity is entity}
        return found.pop() if len(found) == 1 else None

    def _enter_attribute(self, index: int, name: str) -> None:
        forms = {name, *_ALIASES.get(name.casefold(), ())}
        if len(name) > 3 and name.islower():
            forms.add(f"{name[:-1]}ies" if name.endswith("y") else f"{name}s")
        for form in sorted(forms):
            self._enter(form, Entity.ATTRIBUTE, index, cautious=False)

    def _enter_item(self, index: int, name: str) -> None:
        self._enter(name, Entity.ITEM, index, cautious=len(tokenize(name)) == 1)

    def _enter(self, form: str, entity: Entity, index: int, cautious: bool) -> None:
        tokens = tokenize(form)
        if not tokens:
            return
        entries = self._entries.setdefault(tokens, [])
        if all(entry.entity is not entity for entry in entries):
            entries.append(_Entry(entity, index, cautious))

    def _mentions(self, text: str, offered: tuple[int, ...] = ()) -> tuple[Mention, ...]:
        """Names in a text; of the items ``offered`` just before it, capitals are enough."""
        spans = [match.span() for match in _TOKEN.finditer(text)]
        tokens = tokenize(text)
        found = []
        position = 0
        while position < len(tokens):
            entry, size = self._match(text, spans, tokens, position, offered)
            if entry is not None:
                end = spans[position + size - 1][1]
                found.append(Mention(entry.entity, entry.id, spans[position][0], end))
            position += size
        return tuple(found)

    def _match(
        self,
        text: str,
        spans: list[tuple[int, int]],
        tokens: tuple[str, ...],
        position: int,
        offered: tuple[int, ...],
    ) -> tuple[_Entry | None, int]:
        """The longest name at a position and its length in words; items before attributes."""
        for size in self._lengths.get(tokens[position], ()):
            entries = [
                entry
                for entry in self._entries.get(tokens[position : position + size], ())
                if _plausible(entry, text, spans[position : position + size], offered)
            ]
            if entries and position + size <= len(tokens):
                return next((e for e in entries if e.entity is Entity.ITEM), entries[0]), size
        return None, 1


def tokenize(text: str) -> tuple[str, ...]:
    """Lower-case words of a text, accents removed, punctuation dropped."""
    words = _TOKEN.findall(text)
    return tuple(_fold(word) for word in words)


@lru_cache(maxsize=65_536)
def _fold(word: str) -> str:
    folded = word.casefold().replace("’", "'")
    if folded.isascii():
        return folded
    return "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))


def _plausible(entry: _Entry, text: str, spans: list[tuple[int, int]], offered: tuple[int, ...]) -> bool:
    """Whether the way a name is written speaks for it.

    "love Simon" is no title: a title that is capitalised at all begins with a capital.
    """
    if entry.cautious and entry.id in offered and entry.entity is Entity.ITEM:
        return text[spans[0][0]].isupper()
    if entry.cautious:
        return _looks_like_title(text, spans[0][0])
    if entry.entity is Entity.ATTRIBUTE or not text[spans[0][0]].islower():
        return True
    return not any(text[start].isupper() for start, _ in spans)


def _looks_like_title(text: str, start: int) -> bool:
    """Whether the word at ``start`` is quoted, or capitalised other than by opening a sentence."""
    before = text[:start].rstrip()
    if text[start - 1 : start] in {'"', "“", "'"}:
        return True
    return text[start].isupper() and bool(before) and before[-1] not in ".!?:"
