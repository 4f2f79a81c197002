"""Factual claims in a recommender's words, checked against the knowledge graph.

A claim is a sentence that speaks of an item (named in it, or named last before it) with a relation
word ("directed by", "stars", "from 1994", "its cuisine:") and a name, year or other value. It is
right if the knowledge graph holds that fact, with that relation where the graph knows the relation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.language.lexicon import Entity, Lexicon

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_PUNCTUATION = re.compile(r"[.!?:]")
_YEAR = re.compile(r"\b(?:18|19|20)\d{2}\b")
_RELATION_WORDS = {
    "director": re.compile(r"\bdirect(?:ed|or)\b", re.I),
    "star": re.compile(r"\bstars?\b|\bstarring\b|\bcast\b|\bactor\b|\bactress\b|\bin it\b", re.I),
    "writer": re.compile(r"\bwritten by\b|\bwrote\b|\bwriter\b", re.I),
    "genre": re.compile(r"\bgenre\b|\bcounts as\b", re.I),
    "tag": re.compile(r"\bthemes?\b|\bhas to do with\b", re.I),
}
_SUBJECT = re.compile(r"\s*(?:(?:is|was|are|also|both|who|has|the|a)\s+)*")
_YEAR_WORDS = re.compile(r"\bis from\b|\bcame out\b|\breleased\b", re.I)
_OTHER_RELATION = re.compile(r"(?:its (.+?):|for (.+?) it has) ", re.I)


@dataclass(frozen=True, slots=True)
class Claim:
    """Something asserted of an item, and whether the knowledge graph agrees."""

    item: int
    text: str
    right: bool


class ClaimChecker:
    """Finds and checks claims.

    Args:
        catalogue: the knowledge graph.
        lexicon: the names it knows.
    """

    def __init__(self, catalogue: Catalogue, lexicon: Lexicon) -> None:
        self.catalogue = catalogue
        self.lexicon = lexicon
        self._words = dict(_RELATION_WORDS)
        if "year" in catalogue.relations:  # else years are details, found by their digits
            self._words["year"] = _YEAR_WORDS
        # a relation that looks like a sentence (a user's column) neither ends one nor names anything
        odd = [name for name in (*catalogue.relations, *catalogue.details) if _PUNCTUATION.search(name)]
        self._odd_relations = re.compile(
            "|".join(rf"(?<=\b[Ii]ts |\b[Ff]or ){re.escape(name)}" for name in odd) or r"(?!)"
        )
        self._relations = {name.casefold(): name for name in (*catalogue.relations, *catalogue.details)}
        self._facts = {
            (int(item), catalogue.relations[relation], int(attribute))
            for item, relation, attribute in catalogue.edges
        }
        self.claims = lru_cache(maxsize=65_536)(self._claims)

    def _claims(self, utterance: str) -> tuple[Claim, ...]:
        """The claims of one utterance."""
        return tuple(self._find(utterance))

    def _find(self, utterance: str) -> list[Claim]:
        found: list[Claim] = []
        focus: int | None = None
        odd = [match.span() for match in self._odd_relations.finditer(utterance)]
        mentions = [
            mention
            for mention in self.lexicon.mentions(utterance)
            if not any(start <= mention.start < end for start, end in odd)
        ]
        masked = utterance
        for start, end in odd:
            masked = masked[:start] + "_" * (end - start) + masked[end:]
        for mention in mentions:
            size = mention.end - mention.start
            masked = masked[: mention.start] + "_" * size + masked[mention.end :]
        start = 0
        for sentence in _SENTENCE.split(masked):
            start = masked.index(sentence, start)
            end = start + len(sentence)
            inside = [mention for mention in mentions if start <= mention.start < end]
            shared = any(mention.namesake is not None for mention in inside)
            if shared and self._tells(sentence, focus is not None):
                inside = [mention.as_attribute() for mention in inside]
            items = [mention.id for mention in inside if mention.entity is Entity.ITEM]
            focus = items[0] if items else focus
            if focus is not None and not sentence.endswith("?"):
                named = [
                    (mention.id, mention.start - start, mention.end - start)
                    for mention in inside
                    if mention.entity is Entity.ATTRIBUTE
                ]
                value = self._value(focus, sentence, utterance, start, named)
                text = utterance[start:end]
                found.extend(self._check(focus, sentence, text, named) if value is None else value)
            start = end
        return found

    def _tells(self, masked: str, focused: bool) -> bool:
        """Whether a sentence tells a fact of an item named before it, so that its names are values."""
        if _OTHER_RELATION.match(masked):
            return True
        return focused and any(pattern.search(masked) for pattern in self._words.values())

    def _value(
        self, item: int, masked: str, utterance: str, start: int, named: list[tuple[int, int, int]]
    ) -> list[Claim] | None:
        """The claims of a sentence that calls a relation by its own name ("Its cuisine: thai."), if it does.

        Args:
            start: where the sentence starts in the utterance.
        """
        match = _OTHER_RELATION.match(masked)
        if match is None:
            return None
        begin, end = match.span(match.lastindex or 0)
        relation = self._relations.get(utterance[start + begin : start + end].casefold())
        if relation is None:
            return None
        text = utterance[start : start + len(masked)]
        if relation in self.catalogue.relations:
            values = [attribute for attribute, place, _ in named if place >= match.end()]
            return [Claim(item, text, self._holds(item, relation, attribute)) for attribute in values]
        value = re.escape(self.catalogue.details[relation][item])
        right = re.match(rf"“?{value}(?!\w)", utterance[start + match.end() :]) is not None
        return [Claim(item, text, right)]

    def _check(self, item: int, masked: str, text: str, named: list[tuple[int, int, int]]) -> list[Claim]:
        """The claims of a sentence; ``named`` holds (attribute, start, end) of the names in it."""
        words = sorted(
            (match.start(), relation)
            for relation, pattern in self._words.items()
            for match in pattern.finditer(masked)
        )
        claims = []
        if words or _OTHER_RELATION.match(masked):
            claims = [
                Claim(item, text, self._holds(item, _relation_of(masked, words, start, end), attribute))
                for attribute, start, end in named
            ]
        years = self.catalogue.details.get("year")
        if years is not None:
            claims += [Claim(item, text, year == years[item]) for year in _YEAR.findall(masked)]
        return claims

    def _holds(self, item: int, relation: str | None, attribute: int) -> bool:
        if relation in self.catalogue.relations:
            return (item, relation, attribute) in self._facts
        return bool((self.catalogue.attributes_of(item) == attribute).any())


def _relation_of(masked: str, words: list[tuple[int, str]], start: int, end: int) -> str | None:
    """The relation word a name belongs to: the one it is the subject of, else the last one before it."""
    before, after = None, None
    for place, relation in words:
        if place < start:
            before = relation
        elif after is None and place >= end and _SUBJECT.fullmatch(masked, end, place):
            after = relation
    return after or before or (words[0][1] if words else None)
