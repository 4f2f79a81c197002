"""Titles that must not be named: every way of writing them is found in a text, and masked.

A title is compared letter by letter, without case, accents, spaces and signs, so that "the matrix", "The
Matrix (1999)", "Matrix, The", "The-Matrix" and "T h e  M a t r i x" are all the same. Known are the title
with and without its year, with its article in front, behind and gone, with numbers as digits and as Roman
numerals, with "&" and "and", and its main title and its subtitle, where these say something by themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from unicrs_rl.language.lexicon import EVERYDAY, GOVERNING
from unicrs_rl.language.phrases import COMMON_WORDS

PLACEHOLDERS = ("that one", "what I mean", "you know which", "something certain", "...")
"""What stands for a title that must not be named; the first that does not name it itself."""
NOTHING_SAID = "..."

_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
_COUNTER = re.compile(r" #\d+$")
_INSERTED = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]")
_ALSO = re.compile(r"^(?:a\.?k\.?a\.?|also known as|or)\s+", re.IGNORECASE)
_ARTICLE = re.compile(r"^(the|a|an|le|la|les|der|die|das|el|los|il)\s+(.+)$", re.IGNORECASE)
_ARTICLE_BEHIND = re.compile(r"^(.+),\s*(the|a|an|le|la|les|der|die|das|el|los|il)$", re.IGNORECASE)
_PARTS = re.compile(r"\s*:\s+|\s+[-–—]\s+")
_ROMAN = {
    "ii": "2",
    "iii": "3",
    "iv": "4",
    "v": "5",
    "vi": "6",
    "vii": "7",
    "viii": "8",
    "ix": "9",
    "x": "10",
}
_DIGITS = {digits: roman for roman, digits in _ROMAN.items()}
_TAILS = frozenset({"s", "t", "m", "d", "ll", "re", "ve"})
"""What stands behind the apostrophe of "it's", "don't", "I'm": no word of its own."""
_APOSTROPHES = frozenset({"'", "’", "ʼ", "＇"})
_SAYING = GOVERNING | frozenset({"find", "want", "get", "is", "mean", "of", "movie", "film", "play", "put"})
_ENOUGH = 6
"""Letters from which on a title is believed where its words are split or joined in another way."""
_QUOTES = "\"'“”‘’«»*_„`"


@dataclass(frozen=True, slots=True)
class _Title:
    """Ways of writing a title.

    Attributes:
        forms: words of each form, folded, by the letters that all spellings of it share.
        signs: the title itself, where it has neither letters nor digits.
        longest: letters of its longest form.
        initials: first letters of its forms.
    """

    forms: dict[str, tuple[str, ...]]
    signs: str
    longest: int
    initials: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Word:
    letters: str
    start: int
    end: int
    tail: bool


@lru_cache(maxsize=65_536)
def _title(name: str) -> _Title:
    whole = _COUNTER.sub("", name.strip())
    bare = _YEAR.sub("", whole)
    full = {whole, bare} - {""}
    partial: set[str] = set()
    for form in (whole, bare):
        partial.add(_INSERTED.sub("", form).strip())
        partial.update(_ALSO.sub("", inserted) for inserted in _INSERTED.findall(form))
    partial.update(_PARTS.split(_INSERTED.sub("", bare)))
    for form in [*full, *partial]:
        moved = _ARTICLE.match(form)
        behind = _ARTICLE_BEHIND.match(form)
        if moved:
            (full if form in full else partial).add(f"{moved[2]}, {moved[1]}")
            partial.add(moved[2])
        if behind:
            (full if form in full else partial).add(f"{behind[2]} {behind[1]}")
            partial.add(behind[1])
    forms: dict[str, tuple[str, ...]] = {}
    for form in sorted(full) + sorted(partial - full):
        words = tuple(word.letters for word in _words(form.replace("&", " and ")))
        if form in full or _telling(words):
            for variant in (words, tuple(word.letters for word in _words(form)), *_numbered(words)):
                if variant:
                    forms.setdefault("".join(variant), variant)
    signs = "" if forms else bare.strip()
    return _Title(forms, signs, max(map(len, forms), default=0), frozenset(form[0] for form in forms))


def _numbered(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The same with Roman numerals as digits, and the other way round; never in first place."""
    return [
        (*words[:1], *(table.get(word, word) for word in words[1:])) for table in (_ROMAN, _DIGITS) if words
    ]


def _telling(words: tuple[str, ...]) -> bool:
    """Whether a part of a title says which title it is."""
    known = COMMON_WORDS | EVERYDAY
    return not all(word in known or len(word) == 1 or word.isdecimal() for word in words)


@lru_cache(maxsize=4096)  # the same text is searched for many titles
def _words(text: str) -> tuple[_Word, ...]:
    """Runs of letters and digits, folded, with their places in the text."""
    found: list[_Word] = []
    letters, start, end, between = "", 0, 0, ""
    for place, sign in enumerate(text + " "):
        folded = _folded(sign)
        if folded is None:  # an accent or something unseen: belongs to what is around it
            continue
        if folded:
            start = start if letters else place
            letters, end = letters + folded, place + 1
        elif letters:
            tail = bool(found) and between in _APOSTROPHES and letters in _TAILS
            found.append(_Word(letters, start, end, tail))
            letters, between = "", sign
        else:
            between += sign
    return tuple(found)


@lru_cache(maxsize=8192)
def _folded(sign: str) -> str | None:
    """A sign's letters and digits in lower case; "" for a sign that parts words, ``None`` for one unseen."""
    if unicodedata.category(sign) in ("Mn", "Cf", "Me"):
        return None
    folded = unicodedata.normalize("NFKD", sign.casefold())
    return "".join(c for c in folded if c.isalnum())


def _found(name: str, text: str) -> list[tuple[int, int, tuple[str, ...]]]:
    """Places ``[start, end)`` where a title is written in any way, with the words there."""
    title = _title(name)
    if title.signs:
        return [(m.start(), m.end(), ()) for m in re.finditer(re.escape(title.signs), text)]
    words = _words(text)
    found, first = [], 0
    while first < len(words):
        letters, last, best = "", first, 0
        opens = words[first].letters[0] in title.initials and not words[first].tail
        while opens and last < len(words) and len(letters) < title.longest:
            letters, last = letters + words[last].letters, last + 1
            best = last if letters in title.forms else best
        if best:
            inside = tuple(word.letters for word in words[first:best])
            found.append((words[first].start, words[best - 1].end, inside))
        first = best or first + 1
    return found


def masked(text: str, names: Iterable[str], noun: str = "movie") -> str:
    """The text without these titles, however they are written; where one stood, "that one".

    Args:
        names: titles as the catalogue shows them.
        noun: what an item is called; "the movie X" becomes "that one" as a whole.
    """
    names = tuple(names)
    for placeholder in PLACEHOLDERS:
        if any(_found(name, placeholder) for name in names):
            continue
        hidden = text
        for _ in range(3):  # what is left beside a placeholder may name it once more
            for name in names:
                hidden = _mask(hidden, name, noun, placeholder)
            if not any(_found(name, hidden) for name in names):
                return hidden
    return NOTHING_SAID


def _mask(text: str, name: str, noun: str, placeholder: str) -> str:
    for start, end in reversed([_widened(text, name, noun, *place[:2]) for place in _found(name, text)]):
        opening = not text[:start].strip() or text[:start].rstrip()[-1] in ".!?"
        said = placeholder[:1].upper() + placeholder[1:] if opening else placeholder
        text = text[:start] + said + text[end:]
    return text


def _widened(text: str, name: str, noun: str, start: int, end: int) -> tuple[int, int]:
    """The place of a title with its year, its quotation marks and "the movie" before it."""
    year = _YEAR.search(name)
    if text[end : end + 1] in (")", "]") and "(" in text[start:end]:
        end += 1
    if year and (after := re.compile(rf"\s*[(\[,]?\s*{year[1]}\b[)\]]?").match(text, end)):
        end = after.end()
    while start and end < len(text) and text[start - 1] in _QUOTES and text[end] in _QUOTES:
        start, end = start - 1, end + 1
    called = rf"(?:\b(?:{re.escape(noun)}|movie|film)\s+(?:(?:called|titled|named)\s+)?)?"
    before = re.compile(rf"(?:\b(?:the|an?)\s+)?{called}$", re.IGNORECASE).search(text, 0, start)
    return (start if before is None else before.start()), end


@lru_cache(maxsize=65_536)
def places(name: str, text: str, expected: bool = False) -> tuple[tuple[int, int], ...]:
    """Places ``[start, end)`` where a text names a title on purpose.

    Args:
        expected: it is being talked of, so that it need not be written with care.
    """
    title = _title(name)
    return tuple(
        (start, end)
        for start, end, words in _found(name, text)
        if (expected and words and _telling(words)) or _meant(name, title, text, start, end, words)
    )


def _meant(name: str, title: _Title, text: str, start: int, end: int, words: tuple[str, ...]) -> bool:
    """Whether what is found there is meant as the title."""
    if not words or _dated(name, text, end) or _quoted(text, start, end):
        return True
    letters, written = "".join(words), text[start:end]
    if words != title.forms[letters] and len(letters) < _ENOUGH:
        return False
    inside = bool(text[:start].strip()) and text[:start].rstrip()[-1] not in ".!?:"
    governed = inside and (_words(text[:start]) or (_Word("", 0, 0, False),))[-1].letters in _SAYING
    capitals = sum(word[:1].isupper() for word in written.split())
    if _telling(words):
        return len(words) > 1 or governed or capitals > 0
    return (len(words) > 1 and capitals > 1) or (governed and capitals > 0 and written != "I")


def _dated(name: str, text: str, end: int) -> bool:
    year = _YEAR.search(name)
    return bool(year and re.match(rf"\s*[(\[]\s*{year[1]}", text[end:]))


def _quoted(text: str, start: int, end: int) -> bool:
    return start > 0 and end < len(text) and text[start - 1] in _QUOTES and text[end] in _QUOTES
