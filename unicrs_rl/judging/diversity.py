"""How varied the seekers of a population are: length, acts, words, and kinds of reply.

The same functions measure human and simulated dialogues, so that the two can be compared. A turn is one
utterance of the recommender (in human dialogues: a run of utterances) and the reply to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import numpy as np

from unicrs_rl.dialogue import Act, Dialogue, Reply, Strategy
from unicrs_rl.judging.metrics import distinct
from unicrs_rl.language.lexicon import tokenize
from unicrs_rl.language.reading import Polarity, polarity

N_GRAMS = 5_000
"""n-grams that Dist-n of a corpus is taken over: the share of distinct ones falls with their number."""


class ReplyKind(StrEnum):
    """What a reply does on its surface."""

    QUESTION = "question"
    """It asks back."""
    OPEN = "open"
    """It says that anything will do, or that it is not sure."""
    NO = "no"
    """It denies, declines or turns away."""
    YES = "yes"
    """It affirms, praises or wishes."""
    OTHER = "other"
    """None of these: greetings, titles, statements."""


_OF_POLARITY: Mapping[Polarity, ReplyKind] = {
    Polarity.OPEN: ReplyKind.OPEN,
    Polarity.NO: ReplyKind.NO,
    Polarity.YES: ReplyKind.YES,
    Polarity.UNSAID: ReplyKind.OTHER,
}


@dataclass(frozen=True, slots=True)
class Diversity:
    """Diversity of a population; what a population says nothing about is ``None``.

    Attributes:
        dialogues: how many.
        length: mean number of turns in a dialogue.
        length_sd: their standard deviation.
        dist4: :func:`dist_n` of all seekers' utterances, with ``n = 4``.
        dist4_dialogue: distinct 4-grams / all 4-grams in the seeker's utterances of a dialogue, mean.
        response_entropy: :func:`response_entropy`, in bits.
        act_mix: share of each act of the recommender.
        reply_mix: share of each :class:`ReplyKind`.
    """

    dialogues: int
    length: float
    length_sd: float
    dist4: float | None
    dist4_dialogue: float | None
    response_entropy: float | None
    act_mix: dict[str, float]
    reply_mix: dict[str, float]


def reply_kind(reply: Reply) -> ReplyKind | None:
    """The kind of a reply: from its words where it has any, else from its acts; ``None`` for silence."""
    if reply.text:
        return ReplyKind.QUESTION if "?" in reply.text else _OF_POLARITY[polarity(reply.text)]
    if reply.accepted is not None or reply.liked:
        return ReplyKind.YES
    if reply.rejected or reply.disliked or reply.left:
        return ReplyKind.NO
    return ReplyKind.OPEN if reply.open else None


def response_entropy(replies: Iterable[tuple[Strategy, ReplyKind]]) -> float | None:
    """Strategy response entropy ``H(kind | strategy) = -Σ_s p(s) Σ_k p(k|s) log2 p(k|s)``, in bits.

    Plug-in estimate over all replies: 0 where a strategy always meets the same kind of reply, at most
    ``log2`` of the number of kinds. ``None`` without replies.
    """
    kinds: dict[Strategy, Counter[ReplyKind]] = defaultdict(Counter)
    for strategy, kind in replies:
        kinds[strategy][kind] += 1
    total = sum(counts.total() for counts in kinds.values())
    if not total:
        return None
    return sum(counts.total() / total * _entropy(counts.values()) for counts in kinds.values())


def dist_n(texts: Iterable[str], n: int = 4, grams: int = N_GRAMS) -> float | None:
    """Distinct word n-grams / all, over the first ``grams`` n-grams of the texts; ``None`` without any."""
    found = (
        tuple(words[i : i + n])
        for text in texts
        for words in [tokenize(text)]
        for i in range(len(words) - n + 1)
    )
    first = list(islice(found, grams))
    return len(set(first)) / len(first) if first else None


def measure_diversity(dialogues: Sequence[Dialogue]) -> Diversity:
    """Diversity of the dialogues' seekers.

    Raises:
        ValueError: without dialogues.
    """
    if not dialogues:
        raise ValueError("no dialogues")
    lengths = [len(dialogue.turns) for dialogue in dialogues]
    spoken = [[text for who, text in dialogue.utterances() if who == "seeker"] for dialogue in dialogues]
    each = [value for texts in spoken if (value := distinct(texts, 4)) is not None]
    answers = [
        (turn.decision.strategy, kind)
        for dialogue in dialogues
        for turn in dialogue.turns
        if (kind := reply_kind(turn.reply)) is not None
    ]
    acts = Counter(turn.decision.act for dialogue in dialogues for turn in dialogue.turns)
    kinds = Counter(kind for _, kind in answers)
    return Diversity(
        dialogues=len(dialogues),
        length=float(np.mean(lengths)),
        length_sd=float(np.std(lengths)),
        dist4=dist_n(text for texts in spoken for text in texts),
        dist4_dialogue=float(np.mean(each)) if each else None,
        response_entropy=response_entropy(answers),
        act_mix={act.name.lower(): acts[act] / max(acts.total(), 1) for act in Act},
        reply_mix={kind.value: kinds[kind] / max(kinds.total(), 1) for kind in ReplyKind},
    )


def _entropy(counts: Iterable[int]) -> float:
    """In bits."""
    some = np.array([count for count in counts if count], dtype=np.float64)
    share = some / some.sum()
    return float(-(share * np.log2(share)).sum() + 0.0)
