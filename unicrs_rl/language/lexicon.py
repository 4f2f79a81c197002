"""Names of a catalogue's items and attributes: how they are written, and where a text mentions them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

from unicrs_rl.language.phrases import COMMON_WORDS

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_YEAR = re.compile(r"\s*\((\d{4})\)$")
_CLOSERS = {"“": "”", '"': '"'}
_OPENER = re.compile('[“"]')
_MARKS = frozenset('"“”„«»')
_SAID_OF = re.compile(r"\w+ (?:is|was|sounds|looks)\b")
_ODD_ENDS = re.compile(r"^[^\w('’]|[^\w.)'’]$|\w{4}\.$")  # "Jr." does not end a sentence, "luck." does
_ALIASES = {"sci-fi": ("science fiction", "scifi"), "romance": ("romantic",), "animation": ("animated",)}


_SAID_OF_ITEMS = """
actors box boys break checking conversation cool date edge end family film films girls help house kids
laugh man movie movies other others rock scary school star story superhero woman
"""
EVERYDAY = frozenset(_SAID_OF_ITEMS.split())
"""More words that talk about items is made of; unlike the common ones they need no quotation marks."""
_ACCIDENT = 3
"""Longest title, in words, that stands in a sentence by accident."""
_BEFORE_TITLES = """
about called enjoyed hated like liked love loved named recommend saw see seen suggest than titled try
watch watched watching
"""
GOVERNING = frozenset(_BEFORE_TITLES.split())
"""Words after which a capital is a title's ("I saw It"), not the next sentence's ("so funny It has ...")."""


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
    namesake: int | None = None
    """The attribute of the same name, where an item and an attribute share it."""

    def as_attribute(self) -> Mention:
        """The mention of the attribute, if an item and an attribute share the name."""
        if self.namesake is None:
            return self
        return Mention(Entity.ATTRIBUTE, self.namesake, self.start, self.end)


@dataclass(frozen=True, slots=True)
class _Entry:
    entity: Entity
    id: int
    form: str
    """The name as it is written."""
    lead: int
    """Signs before its first word."""
    full: bool
    """The display name itself, not an alias or a title without its year."""
    plain: bool
    """Needs no quotation marks."""
    cautious: bool
    """A common word: counts only where it is written as a title (capital, not opening a sentence)."""
    strict: bool
    """Made of common words: counts only where it is written exactly like this."""
    casual: bool
    """A title without its year that people say without meaning it ("the help", "a scary movie", "It")."""


def needs_quotes(name: str, noun: str) -> bool:
    """Whether a name would get lost in a sentence without quotation marks.

    So it is with names that have no Latin letter or another script's, contain quotation marks, begin
    or end with a sign, or are made of nothing but common words, single letters and what items are
    called here.
    """
    letters = [c for c in name if c.isalpha()]
    latin = all(c.isascii() or unicodedata.name(c, "").startswith("LATIN") for c in letters)
    odd = _MARKS.intersection(name) or _ODD_ENDS.search(name)
    return not letters or not latin or bool(odd) or _common(name, noun)


@lru_cache(maxsize=65_536)
def written(name: str, noun: str) -> str:
    """A name as the embedded templates utter it: in quotation marks where it :func:`needs_quotes`."""
    return f"“{name}”" if needs_quotes(name, noun) else name


def _common(name: str, noun: str) -> bool:
    """Whether a sentence may contain these words by accident."""
    called = tokenize(noun)
    return all(len(word) == 1 or word in COMMON_WORDS or word in called for word in tokenize(name))


class Lexicon:
    """Finds names in text: exact names in quotation marks first, then leftmost and longest.

    Of several names of the same words the one counts that is written as in the text.

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
        self._quoted = _by_name(self.items, self.attributes)
        self._longest = max((len(name) for name in self._quoted), default=0)
        self._entries: dict[tuple[str, ...], list[_Entry]] = {}
        self._said = (
            COMMON_WORDS
            | EVERYDAY
            | set("abcdefghijklmnopqrstuvwxyz")
            | {name for name in self.attributes if name.islower()}
        )
        self._lengths: dict[str, list[int]] = {}  # first word -> lengths of the names it opens, longest first
        for index, name in enumerate(self.attributes):
            self._enter_attribute(index, name)
        for index, name in enumerate(self.items):
            self._enter(name, Entity.ITEM, index, full=True)
        for index, name in enumerate(self.items):  # later, so that full names win over shortened ones
            if (short := _YEAR.sub("", name)) != name:
                self._enter(short, Entity.ITEM, index, full=False)
        for tokens in self._entries:
            self._lengths.setdefault(tokens[0], []).append(len(tokens))
        self._lengths = {word: sorted(set(sizes), reverse=True) for word, sizes in self._lengths.items()}
        self.mentions = lru_cache(maxsize=65_536)(self._mentions)

    def item_id(self, name: str) -> int | None:
        """The item of that exact name, or failing that the only one with that title in other spelling.

        An article more, the noun or a missing year makes no difference, a year one off neither; anything
        else more ("Heat 2", "Heat (2013)") is another item, and maybe none there is.
        """
        return self._resolve(name, self._item_ids, Entity.ITEM)

    def attribute_id(self, name: str) -> int | None:
        """The attribute of that exact name, or failing that the only one a text of it mentions."""
        return self._resolve(name, self._attribute_ids, Entity.ATTRIBUTE)

    def _resolve(self, name: str, exact: dict[str, int], entity: Entity) -> int | None:
        if name in exact:
            return exact[name]
        mentions = self.mentions(f'"{name}"')
        if entity is Entity.ITEM:
            mentions = tuple(mention for mention in mentions if self._whole(f'"{name}"', mention))
        found = {mention.id for mention in mentions if mention.entity is entity}
        if entity is Entity.ATTRIBUTE:
            found |= {mention.namesake for mention in mentions if mention.namesake is not None}
        return found.pop() if len(found) == 1 else None

    def _whole(self, text: str, mention: Mention) -> bool:
        """Whether a text is the mentioned title and nothing more."""
        rest = set(tokenize(text[: mention.start])) | set(tokenize(text[mention.end :]))
        year = _YEAR.search(self.items[mention.id]) if mention.entity is Entity.ITEM else None
        rest -= {"the", "a", "an", *tokenize(self.noun)}
        if year is None:
            return all(len(word) == 4 and word.isdecimal() for word in rest)
        return rest <= {str(int(year[1]) + off) for off in (-1, 0, 1)}

    def _enter_attribute(self, index: int, name: str) -> None:
        forms = {name, *_ALIASES.get(name.casefold(), ())}
        if len(name) > 3 and name.islower():
            forms.add(f"{name[:-1]}ies" if name.endswith("y") else f"{name}s")
        for form in sorted(forms):
            self._enter(form, Entity.ATTRIBUTE, index, full=form == name)

    def _enter(self, form: str, entity: Entity, index: int, full: bool) -> None:
        """Enter a form of a name, unless it would be found in sentences that do not mean it."""
        tokens = tokenize(form)
        common = _common(form, self.noun)
        title = entity is Entity.ITEM and sum(word[0].isupper() for word in _TOKEN.findall(form)) > 1
        shortened = entity is Entity.ITEM and not full
        if not tokens or (common and not (title or shortened)):
            return
        lead = form.index(_TOKEN.findall(form)[0])
        cautious = entity is Entity.ITEM and len(tokens) == 1
        plain = not needs_quotes(form, self.noun)
        strict = common and full
        casual = shortened and len(tokens) <= _ACCIDENT and self._said.issuperset(tokens)
        entry = _Entry(entity, index, form, lead, full, plain, cautious, strict, casual)
        self._entries.setdefault(tokens, []).append(entry)

    def _mentions(self, text: str, offered: tuple[int, ...] = ()) -> tuple[Mention, ...]:
        """Names in a text; of the items ``offered`` just before it, capitals are enough."""
        found = self._mentions_in_quotes(text)
        for mention in found:  # a word that no name has, so that no name reaches across the quotation
            inside = "0" * (mention.end - mention.start - 2)
            text = text[: mention.start + 1] + inside + text[mention.end - 1 :]
        quoted = {mention.start + 1 for mention in found}
        spans = [match.span() for match in _TOKEN.finditer(text)]
        tokens = tokenize(text)
        position = 0
        while position < len(tokens):
            if spans[position][0] in quoted:
                position += 1
                continue
            size, entries = self._match(text, spans, tokens, position, offered)
            if entries:
                found.append(_mention(entries, text, spans[position][0], spans[position + size - 1][1]))
            position += size
        return tuple(sorted(found, key=lambda mention: mention.start))

    def _mentions_in_quotes(self, text: str) -> list[Mention]:
        """The names that stand exactly so between quotation marks; the marks belong to the mention."""
        found: list[Mention] = []
        for match in _OPENER.finditer(text):
            start, closer = match.start(), _CLOSERS[match.group()]
            if found and start < found[-1].end:
                continue
            end = text.rfind(closer, start + 1, start + self._longest + 2)
            while end > start and text[start + 1 : end] not in self._quoted:
                end = text.rfind(closer, start + 1, end)
            if end > start:
                found.append(replace(self._quoted[text[start + 1 : end]], start=start, end=end + 1))
        return found

    def _match(
        self,
        text: str,
        spans: list[tuple[int, int]],
        tokens: tuple[str, ...],
        position: int,
        offered: tuple[int, ...],
    ) -> tuple[int, list[_Entry]]:
        """The longest name at a position: its length in words, and who bears it, the likeliest first."""
        for size in self._lengths.get(tokens[position], ()):
            entries = [
                entry
                for entry in self._entries.get(tokens[position : position + size], ())
                if _plausible(entry, text, spans[position : position + size], offered)
            ]
            if entries and position + size <= len(tokens):
                start = spans[position][0]
                entries.sort(key=lambda entry: _likelihood(entry, text, start, offered), reverse=True)
                return size, entries
        return 1, []


def _by_name(items: Sequence[str], attributes: Sequence[str]) -> dict[str, Mention]:
    """What a name in quotation marks stands for (its place is still to be filled in)."""
    found = {name: Mention(Entity.ATTRIBUTE, index, 0, 0) for index, name in enumerate(attributes)}
    for index, name in enumerate(items):
        namesake = found[name].id if name in found else None
        found[name] = Mention(Entity.ITEM, index, 0, 0, namesake)
    for name, mention in list(found.items()):  # for those who quote with less care
        found.setdefault(name.casefold(), mention)
    return found


def _mention(entries: Sequence[_Entry], text: str, start: int, end: int) -> Mention:
    """The mention of the first entry, and whether an attribute has the very same name."""
    best = entries[0]
    if best.entity is Entity.ATTRIBUTE:
        return Mention(Entity.ATTRIBUTE, best.id, start, end)
    rivals = (e.id for e in entries if e.entity is Entity.ATTRIBUTE and _exact(e, text, start))
    return Mention(Entity.ITEM, best.id, start, end, next(rivals, None))


def _exact(entry: _Entry, text: str, start: int) -> bool:
    """Whether the text has the name as it is written, with its first word at ``start``."""
    return start >= entry.lead and text.startswith(entry.form, start - entry.lead)


def _likelihood(
    entry: _Entry, text: str, start: int, offered: tuple[int, ...]
) -> tuple[bool, bool, bool, bool, bool]:
    """How much speaks for an entry among those of the same words."""
    item = entry.entity is Entity.ITEM
    return item and entry.id in offered, _exact(entry, text, start), entry.full, entry.plain, item


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

    "love Simon" is no title: a title that is capitalised at all begins with a capital, unless it is one
    that does not ("eXistenZ").
    """
    if entry.strict:
        return _exact(entry, text, spans[0][0])
    if entry.casual and entry.id not in offered:
        start = spans[0][0]
        return _exact(entry, text, start) and (not entry.cautious or _governed(text, start))
    if entry.cautious and entry.full and _exact(entry, text, spans[0][0]):
        before = text[: spans[0][0]].rstrip()
        if entry.form.islower() or before.endswith(":"):
            return True
    if entry.cautious:
        named_before = entry.id in offered and tokenize(entry.form)[0] not in COMMON_WORDS
        return text[spans[0][0]].isupper() if named_before else _looks_like_title(text, spans[0][0])
    if entry.entity is Entity.ATTRIBUTE or not text[spans[0][0]].islower():
        return True
    return _exact(entry, text, spans[0][0]) or not any(text[start].isupper() for start, _ in spans)


def _governed(text: str, start: int) -> bool:
    """Whether the word at ``start`` is quoted, or follows a word that titles follow."""
    before = tokenize(text[:start].rsplit(maxsplit=1)[-1]) if text[:start].strip() else ()
    return text[start - 1 : start] in {'"', "“", "'"} or (bool(before) and before[-1] in GOVERNING)


def _looks_like_title(text: str, start: int) -> bool:
    """Whether the word at ``start`` is quoted, or capitalised other than by opening a sentence.

    A sentence that says what a capitalised word is ("Jaws was great") says it of a title, too.
    """
    before = text[:start].rstrip()
    if text[start - 1 : start] in {'"', "“", "'"}:
        return True
    inside = bool(before) and before[-1] not in ".!?:"
    return text[start].isupper() and (inside or bool(_SAID_OF.match(text, start)))
