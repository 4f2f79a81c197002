"""Rules that read what a seeker does in its own words: the embedded model's side of drift detection.

What a reply says of attributes is read as the Preference Reasoner reads it. On top of that come the
things that only matter to whoever checks a seeker: whether it takes an offer, whether it says that it has
changed its mind, whether it has stopped to care, and whether it talks like the recommender.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from unicrs_rl.language import phrases
from unicrs_rl.language.lexicon import Entity, Lexicon, Mention
from unicrs_rl.language.reading import Polarity, clauses, polarity, read_reply
from unicrs_rl.language.titles import places

_CUES: dict[str, list[str]] = phrases.load(__package__, "seeker_cues.toml")
_KNOWN, _NEW, _ATTRIBUTE = "<known>", "<new>", "<attribute>"
"""What stands for a title that is being talked of, for another one, and for an attribute."""
_SPELLING = {short: long for line in _CUES["spelling"] for short, long in [line.split(" = ")]}
_SHORT = re.compile(
    rf"(?<![\w'<])(?<!\w\.)(?:{'|'.join(map(re.escape, sorted(_SPELLING, key=len, reverse=True)))})"
    r"(?![\w'>]|\.\w)",
    re.IGNORECASE,
)
_DRAWN_OUT = re.compile(r"([a-hj-vx-z])\1{2,}(\w?)", re.IGNORECASE)
"""A letter said long: "sooo", "coool"; not "III", not "www"."""
_PIECES = [line.split(" = ", 1) for line in _CUES["pieces"]]


def _any(section: str) -> re.Pattern[str]:
    """The alternatives of a section of the cue file as one expression."""
    either = "|".join(f"(?:{pattern})" for pattern in _CUES[section])
    for sign, piece in _PIECES:
        either = either.replace(sign, piece)
    return re.compile(either.replace("<item>", f"(?:{_KNOWN}|{_NEW})"))


_TAKES, _TAKES_IF_OFFERED, _NOT_YET = _any("takes"), _any("takes_if_offered"), _any("not_yet")
_INTENDS, _INTENDS_OFFERED, _REQUESTS = _any("intends"), _any("intends_offered"), _any("requests")
_HARMLESS, _PAST = _any("harmless"), _any("past")
_DECLINES, _CHANGES, _ANYTHING = _any("declines"), _any("changes"), _any("anything")
_SWAPS, _OWN_REQUEST = _any("swaps"), _any("own_request")
_TASTE, _NOT_TASTE, _ASKS = _any("taste"), _any("not_taste"), _any("asks")
_SYNONYMS = {
    genre: re.compile(rf"\b(?:{said})\b") for line in _CUES["synonyms"] for genre, said in [line.split(" = ")]
}
_PRIVATE = 0xF0000
"""Where characters begin that mean nothing and can stand for names."""
_NAME = f"[{chr(_PRIVATE)}-{chr(_PRIVATE + 0xFFFD)}]"
_IDIOMS = [
    (re.compile(said, re.IGNORECASE), plain)
    for line in _CUES["idioms"]
    for plain, said in [line.split(" = ", 1)]
]
_TITLE_BEFORE = re.compile(rf"(?:{'|'.join(_CUES['title_before'])})$")
_TITLE = re.compile(rf"(?!(?:{'|'.join(_CUES['no_title'])})\b).{{4,}}")
_FILLERS = re.compile("|".join(_CUES["fillers"]), re.IGNORECASE)
_UNMARKED = [
    (re.compile(said, re.IGNORECASE), plain)
    for line in _CUES["unmarked"]
    for plain, said in [line.split(" = ", 1)]
]
_CONTRAST = re.compile(
    rf"(?:, (?:and |but |yet |while )?| (?:and |but |yet |while ))(?="
    rf"(?:the )?{_NAME}s? (?:(?!n?or\b)\w+ ){{0,2}}(?:not\b|no\b|never\b|nope\b|nah\b|isn't\b|don't\b)"
    rf"|(?:but |just )(?:no|not|never) (?:the |any |a )?{_NAME}"
    r"|(?:the )?(?:others?|rest|everything else|anything else)\b)",
    re.IGNORECASE,
)
"""Where one name is set against another: "comedy for sure, horror not so much"."""
_ECHO = re.compile(
    rf"((?:^|[.!?] )(?:\w+[,!.]* )?(?:(?:a|an|some|more) )?{_NAME}s?)"
    rf"(?:(?: \w+)?\?+|[.!]+(?=[^.!?{chr(_PRIVATE)}-{chr(_PRIVATE + 0xFFFD)}]*"
    rf"\b(?:it|them|those|that (?:stuff|kind|sort)|these|this stuff)\b)) "
    rf"(?=[^.!?{chr(_PRIVATE)}-{chr(_PRIVATE + 0xFFFD)}]*(?:[.!]|$))",
    re.IGNORECASE,
)
"""A name said back, which the next sentence is about: "Romance? Can't stand that stuff."."""
_ABOUT_IT = re.compile(r"\W*(?:\w+[, ]+){0,2}?(?:is|was|are|were|isn't|how)\b", re.IGNORECASE)
_NO_THEN_WISH = re.compile(
    r"((?:^|[.!?] )(?:no|nope|nah|not)\b[^.!?,]*(?:, not [^.!?,]*)?), "
    r"(?=(?:i(?:'m| am|'d| would| want| need| prefer)|can|could|do you|give|show|please|maybe|something|"
    r"how about|let's)\b(?!(?: not|n't)))",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?]*[.!?]*")


@dataclass(frozen=True, slots=True)
class SeekerWords:
    """What a seeker's words say and do, by id.

    Attributes:
        liked, disliked, open: attributes affirmed, denied, and said not to matter.
        accepts: it takes an offer.
        accepted: the item that it names doing so.
        declines: it turns an offer down.
        changes: it says that it has changed its mind.
        anything: it says that anything will do, of nothing in particular.
        swaps: it talks like the recommender.
        named: all items that it names.
    """

    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()
    open: tuple[int, ...] = ()
    accepts: bool = False
    accepted: int | None = None
    declines: bool = False
    changes: bool = False
    anything: bool = False
    swaps: bool = False
    named: tuple[int, ...] = ()


@lru_cache(maxsize=65_536)  # the embedded seekers say the same things again and again
def read_words(
    lexicon: Lexicon,
    text: str,
    asked: tuple[int, ...] = (),
    offered: tuple[int, ...] = (),
    named: tuple[int, ...] = (),
) -> SeekerWords:
    """Read a reply in the light of the attributes asked about, the items offered, and those named before."""
    known = tuple(dict.fromkeys((*offered, *named)))
    text = _in_terms_of(lexicon, text, _mentions(lexicon, text, known))
    reading = read_reply(lexicon, text, asked, offered)
    mentions = _mentions(lexicon, text, known)
    items = tuple(dict.fromkeys(m.id for m in mentions if m.entity is Entity.ITEM))
    takes, taken, declines = False, None, False
    for clause, inside in _clauses(text, mentions, known):
        if _taking(clause, bool(offered)):
            takes = True
            taken = next((item for item in inside if item in items), taken)
        elif offered and (_DECLINES.search(clause) or polarity(clause) is Polarity.NO):
            declines = True
    whole = _blanked(text, mentions, known)
    return SeekerWords(
        liked=reading.liked,
        disliked=reading.disliked,
        open=reading.open,
        accepts=takes,
        accepted=taken,
        declines=declines and not takes,
        changes=bool(_CHANGES.search(whole)),
        anything=bool(_ANYTHING.search(whole)),
        swaps=_swaps(whole),
        named=items,
    )


def _in_terms_of(lexicon: Lexicon, text: str, mentions: Sequence[Mention]) -> str:
    """The text with genres by the names that the catalogue has for them, other than in "is it scary?".

    Idioms give way to plain words. A "no" ends where a wish begins ("no, not that one, I want a comedy"),
    a sentence where one name is set against another, and a name said back goes with what is said of it.
    Names stay as they are.
    """
    names = [text[mention.start : mention.end] for mention in mentions]
    for place, mention in reversed(list(enumerate(mentions))):
        text = f"{text[: mention.start]}{chr(_PRIVATE + place)}{text[mention.end :]}"
    text = _spelled_out(text.replace("’", "'"))
    for said, plain in _IDIOMS:
        text = said.sub(plain, text)
    text = _NO_THEN_WISH.sub(r"\1. ", text)
    text = _CONTRAST.sub(". ", text)
    text = _ECHO.sub(r"\1, ", text)
    sentences = []
    for sentence in _SENTENCE.findall(text):
        if not (sentence.rstrip().endswith("?") and _ABOUT_IT.match(sentence)):
            for genre, said in _SYNONYMS.items():
                if genre in lexicon.attributes:
                    sentence = said.sub(genre, sentence)  # noqa: PLW2901  one after the other
        sentences.append(sentence)
    return "".join(sentences).translate({_PRIVATE + place: name for place, name in enumerate(names)})


def _spelled_out(text: str) -> str:
    """The text without the spelling and the fillers of chats."""
    text = _DRAWN_OUT.sub(lambda drawn: drawn[1] * (2 if drawn[2] else 1) + drawn[2], text)
    text = _SHORT.sub(lambda match: _SPELLING[match[0].casefold()], _FILLERS.sub("", text))
    for said, plain in _UNMARKED:
        text = said.sub(plain, text)
    return text


def _swaps(text: str) -> bool:
    """Whether words are the recommender's, or ask for the other one's taste."""
    own = _OWN_REQUEST.sub(" ", text)
    questions = (sentence for sentence in _SENTENCE.findall(own) if _ASKS.search(sentence.strip()))
    return bool(_SWAPS.search(own)) or any(_TASTE.search(q) and not _NOT_TASTE.search(q) for q in questions)


def _mentions(lexicon: Lexicon, text: str, known: tuple[int, ...]) -> tuple[Mention, ...]:
    """Names in a text; of items that are being talked of, in any spelling."""
    found = list(lexicon.mentions(text, known))
    for item in known:
        for start, end in places(lexicon.items[item], text, expected=True):
            if all(end <= other.start or other.end <= start for other in found):
                found.append(Mention(Entity.ITEM, item, start, end))
    titled = text.title()
    if text == text.lower() and len(titled) == len(text):  # its writer has no capitals for titles either
        for other in lexicon.mentions(titled, known):
            taken = any(other.start < m.end and m.start < other.end for m in found)
            if other.entity is Entity.ITEM and not taken and _TITLE_BEFORE.search(text[: other.start]):
                found += [other] if _TITLE.fullmatch(text[other.start : other.end]) else []
    return tuple(sorted(found, key=lambda mention: mention.start))


def _taking(clause: str, offered: bool) -> bool:
    """Whether a clause takes an offer: plainly, by praise where something is on offer, or by its build, as
    a wish or request of the speaker's to get an item; not if it denies, doubts or asks.
    """
    asking = clause.rstrip().endswith("?") and not _REQUESTS.search(clause)
    clause = _REQUESTS.sub("i will ", _HARMLESS.sub("", clause))
    if asking or _NOT_YET.search(clause):
        return False
    if _TAKES.search(clause) or (offered and _TAKES_IF_OFFERED.search(clause)):
        return True
    intends = _INTENDS.search(clause) or (offered and _INTENDS_OFFERED.search(clause))
    return bool(intends) and not _PAST.search(clause)


def _blanked(text: str, mentions: Sequence[Mention], known: Sequence[int]) -> str:
    """The text in lower case with a sign for each name."""
    parts, end = [], 0
    for mention in mentions:
        parts += [text[end : mention.start], _sign(mention, known)]
        end = mention.end
    return " ".join("".join((*parts, text[end:])).casefold().replace("’", "'").split())


def _sign(mention: Mention, known: Sequence[int]) -> str:
    if mention.entity is Entity.ATTRIBUTE:
        return _ATTRIBUTE
    return _KNOWN if mention.id in known else _NEW


def _clauses(text: str, mentions: Sequence[Mention], known: Sequence[int]) -> list[tuple[str, list[int]]]:
    """The clauses of a text, blanked, each with the items that it names."""
    masked = text
    for mention in mentions:
        masked = masked[: mention.start] + "_" * (mention.end - mention.start) + masked[mention.end :]
    found = []
    for start, end in clauses(masked):
        inside = [mention for mention in mentions if start <= mention.start < end]
        shifted = [Mention(m.entity, m.id, m.start - start, m.end - start, m.namesake) for m in inside]
        items = [mention.id for mention in inside if mention.entity is Entity.ITEM]
        found.append((_blanked(text[start:end], shifted, known), items))
    return found
