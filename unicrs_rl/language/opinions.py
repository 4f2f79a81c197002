"""Rules that read what a seeker thinks of items: those they name, and those they were just told of.

A text is cut into clauses. In a clause, *cues* (praise, blame, an intention to watch) are found and
negations turn them around; what says nothing about an item is taken out before: good wishes ("have a
great day"), ignorance ("I haven't seen it"), wishes ("looking for a good comedy"). An item takes the
opinion of the cue nearest to it in its clause. A clause that names no item speaks of what was talked of
last, if it points back ("it was great", "sounds fun"). Later words about an item win, but words that
point at it never overrule words that name it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from unicrs_rl.language import phrases
from unicrs_rl.language.lexicon import Mention

_CUES: dict[str, list[str]] = phrases.load(__package__, "opinion_cues.toml")


def _any(section: str) -> str:
    """The alternatives of a section of the phrase file as one expression."""
    patterns = "|".join(rf"\b(?:{pattern})" for pattern in _CUES[section])
    return patterns.replace("<not>", rf"\b{_NOT}").replace("<sight>", rf"\b{_SIGHT}")


_NOT = f"(?:{'|'.join(_CUES['not'])})"
_SIGHT = f"(?:{'|'.join(_CUES['sight'])})"
_CLAUSE_END = re.compile(
    r"[.!;\n]+|\?+|,?\s+\b(?P<contrast>but|though|although|however|except)\b|,\s*(?=(?:it|they|that|i|we)\b)"
    r"|(?<=_)\s+(?=(?:and )?(?:i|it|we)\b)"  # people often end a sentence with a title and no full stop
)
_BESIDE_THE_POINT = re.compile(_any("beside_the_point"))
_WISH = re.compile(rf"(?:{_any('wish')})(?:(?!\b(?:like|similar|such|along|called|i|we|it|{_NOT})\b)[^_,~])*")
_CUE = re.compile(
    "|".join(
        f"(?P<{kind}>{_any(kind)})" for kind in ("blame", "thanks", "intention", "example", "verb", "praise")
    )
)
_TURNED = re.compile(rf"\b{_NOT}(?: (?!(?:i|we|it|and|but|so)\b)[\w'~]+){{0,3}} $")
_WORD = re.compile(r"[^\s~]+")
_SHORT = 4
"""Words in which nothing else than what was just named can be meant ("so funny")."""
_OWN = re.compile(r"(?:i|we|ill|id)\b")  # a cue that is a sentence: what denies stands before it for another
_COPULA = re.compile(
    r"[\s,]*(?:is|was|are|were|isn'?t|wasn'?t|looks?|looked|seems?|seemed|sounds?|sounded)\b"
)
_SEEN = re.compile(rf"\b{_SIGHT}\b")
_UNSEEN = re.compile(r"\s*not\b[^_]{0,20}_")
_BACK = re.compile(
    r"\b(?:it|its|it's|that|that's|thats|this|they|they're|those|these|them|both|one|ones|either|all|"
    r"movies?|films?|flicks?|was|were)\b"
)
_OBJECT = re.compile(
    r"\s*(?:it|its|that|this|them|those|these|both|all|every|the|too|as well|a lot|$|,|~)(?:\b|$)"
)
_ASKING = re.compile(
    r"\s*(?:(?:and|so|oh|ok|okay|hmm|well|no|yes) )*(?:is|was|are|were|does|did|do|have|has|would|can|could|"
    r"what|who|which|how|any)\b(?!n't)(?! not\b)"
)
_WHOLE = re.compile(
    r"\b(?:all|them|those|these|both|suggestions?|recommendations?|movies|ideas|choices|options|picks|ones)\b"
)
_LIKE_QUESTION = re.compile(r"\b(?:do|did|would) (?:you|u)\b[^.!?_]{0,15}\b(?:like|love|enjoy)\b[^.!?]*_")
_YES = re.compile(
    r"\s*(?:oh |hell |why |um |well )?(?:yes|yeah|yep|yup|yea|sure|absolutely|definitely|of course|i did|"
    r"i do|i would)\b"
)
_NO = re.compile(r"\s*(?:oh |um |well )?(?:no|nope|nah|not really|i did not|i didn't|i don't|i do not)\b")


class _Weight(IntEnum):
    """What an opinion rests on; a weightier one is not overruled."""

    EXAMPLE = 0
    """The item was brought up, without a word for or against it."""
    POINTED = 1
    NAMED = 2


@dataclass(slots=True)
class Talk:
    """What a seeker thinks of the items in a conversation that is read along.

    Attributes:
        focus: what was talked of last, and a clause without a name may speak of.
        told: everything the recommender named.
    """

    focus: tuple[int, ...] = ()
    told: dict[int, None] = field(default_factory=dict)
    _liking: bool = False
    _marks: dict[int, tuple[_Weight, bool]] = field(default_factory=dict)

    @property
    def liked(self) -> tuple[int, ...]:
        """Items spoken for, in the order in which they came up."""
        return tuple(item for item, (_, liked) in self._marks.items() if liked)

    @property
    def disliked(self) -> tuple[int, ...]:
        """Items spoken against, in the order in which they came up."""
        return tuple(item for item, (_, liked) in self._marks.items() if not liked)

    def hear(self, text: str, mentions: Sequence[Mention]) -> None:
        """The recommender speaks, naming these items."""
        named = tuple(dict.fromkeys(mention.id for mention in mentions))
        if named:
            self.focus = named
            self.told.update(dict.fromkeys(named))
        self._liking = bool(named) and bool(_LIKE_QUESTION.search(blank(text, mentions).lower()))

    def read(self, text: str, mentions: Sequence[Mention]) -> None:
        """The seeker speaks, naming these items."""
        if not mentions and not self.focus:
            return
        words = _lowered(blank(text, mentions))
        told = self.focus
        if self._liking and (_NO.match(words) or _YES.match(words)):
            self._mark(told, bool(_YES.match(words)), _Weight.POINTED)
        start, contrast, sight = 0, False, False
        for match in (*_CLAUSE_END.finditer(words), None):
            end = len(words) if match is None else match.start()
            clause = words[start:end]
            inside = [item for item in mentions if start <= item.start < max(end, start + 1)]
            asking = match is not None and match[0].startswith("?")
            if inside:
                self._read_named(clause, inside, start, asking, contrast and sight)
                self.focus = tuple(item.id for item in inside)
            elif clause.strip():
                self._read_pointing(clause, told, asking, contrast)
            if match is not None:
                start, contrast = match.end(), match["contrast"] is not None
                sight = bool(_SEEN.search(clause))

    def _read_named(
        self, clause: str, items: Sequence[Mention], start: int, asking: bool, sight: bool
    ) -> None:
        """A clause with names in it; after ``sight``, "but not" means unseen ("I saw this but not that")."""
        words, unknown = _to_the_point(clause)
        cues = [cue for cue in _cues(words) if cue.kind != "thanks"]
        if sight and _UNSEEN.match(clause):
            cues, unknown = [], True
        asking = asking or bool(_ASKING.match(clause))
        if asking:
            cues = [cue for cue in cues if cue.kind == "example"]
        for item in items:
            first, last = item.start - start, item.end - start
            said_of_it = [cue for cue in cues if cue.start > last] if _COPULA.match(clause, last) else []
            if cues:
                nearest = min(said_of_it or cues, key=lambda cue: cue.distance(first, last))
                self._mark((item.id,), nearest.praising, _Weight.NAMED)
            elif not (asking or unknown or item.id in self.told):
                self._mark((item.id,), True, _Weight.EXAMPLE)

    def _read_pointing(self, clause: str, told: tuple[int, ...], asking: bool, contrast: bool) -> None:
        """A clause without names: about what it points back to, if it does."""
        if asking or _ASKING.match(clause):
            return
        words, _ = _to_the_point(clause)
        for cue in _cues(words):
            if cue.kind == "thanks":
                self._mark(self.told, True, _Weight.EXAMPLE)
                continue
            if cue.kind == "intention":
                self._mark(told, cue.praising, _Weight.POINTED)
                if _WHOLE.search(clause):
                    self._mark(self.told, cue.praising, _Weight.EXAMPLE)
                return
            if contrast or cue.points_back(words):
                self._mark(self.focus, cue.praising, _Weight.POINTED)
                return

    def _mark(self, items: Iterable[int], liked: bool, weight: _Weight) -> None:
        for item in items:
            known = self._marks.get(item)
            if known is None or weight >= known[0]:
                self._marks[item] = (weight, liked)


@dataclass(frozen=True, slots=True)
class _Cue:
    kind: str
    praising: bool
    start: int
    end: int

    def distance(self, start: int, end: int) -> int:
        """How many characters lie between it and ``[start, end)``."""
        return max(start - self.end, self.start - end)

    def points_back(self, clause: str) -> bool:
        """Whether a clause without names says it of something that was named before."""
        if self.kind == "verb":
            return bool(_OBJECT.match(clause[self.end :]))
        return bool(_BACK.search(clause)) or len(_WORD.findall(clause)) <= _SHORT


def _cues(clause: str) -> list[_Cue]:
    found = []
    for match in _CUE.finditer(clause):
        kind = match.lastgroup or ""
        turned = not _OWN.match(match[0]) and bool(_TURNED.search(clause[: match.start()]))
        found.append(_Cue(kind, (kind != "blame") != turned, match.start(), match.end()))
    return found


def _to_the_point(clause: str) -> tuple[str, bool]:
    """A clause without what says nothing of an item, and whether there was any such thing."""
    words = _BESIDE_THE_POINT.sub(_spaces, clause)
    return _WISH.sub(_spaces, words), words != clause


def _spaces(match: re.Match[str]) -> str:
    return _WORD.sub(lambda word: "~" * len(word[0]), match[0])


def _lowered(text: str) -> str:
    """Lower case of the same length."""
    lowered = text.lower().replace("’", "'")
    if len(lowered) == len(text):
        return lowered
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text).replace("’", "'")


def blank(text: str, mentions: Sequence[Mention]) -> str:
    """A text with its names blanked out, so that "Never Let Me Go." neither denies nor ends a clause."""
    for mention in mentions:
        text = text[: mention.start] + "_" * (mention.end - mention.start) + text[mention.end :]
    return text
