"""How well a language model reads people: entities and polarity in human dialogues.

The dialogues of ReDial (Li et al., NeurIPS 2018) are put before a language model as the Preference
Reasoner would see them, in text alone: no structured question or offer goes with an utterance. What it
reads is compared with what the release knows, under two conditions: titles written with their year,
"The Shining (1980)", and, as people write, without it.

**Entities.** Each message goes through the task ``entity_linker``. Gold items are the movies of the
catalogue that the message names by an ``@id``; gold attributes are the genres and people that the
release lists for the message (``entity``). Counted is (message, entity), each once. Recall is the share
of gold that was found. Precision is the share of what was found that is gold, and is a lower bound: a
movie that somebody typed out without linking it counts against it. Without years a movie counts as found
by its title, because the words do not tell two movies of one title apart.

**Polarity.** Each dialogue, whole, goes through the task ``preference_reasoner``. *Mentioned* movies are
those of the catalogue that any message, of either person, names by an ``@id``, and for which the seeker
answered the question ``liked`` of the form (``initiatorQuestions``) with yes (1) or no (0); others,
"did not say" (2) or not asked about, are left out and counted. The reading of a movie is *liked* if its
name is among ``liked_items`` only, *not liked* if it is among ``disliked_items`` or ``rejected_items``
only; else the movie is *unread*. A name that the catalogue does not know is dropped. Accuracy is given in
three ways:

- ``covered``: over the movies that were read at all; ``coverage`` is their share.
- ``all``: over all, an unread movie counting as liked, which is what a recommender that was told
  nothing against a movie would take it for.
- ``strict``: over all, an unread movie counting as wrong.

Most mentioned movies are liked, so each comes with its recall of liked and of not liked movies, their
mean (balanced accuracy: 0.5 for any constant answer) and, once, the accuracy of always saying *liked*.

Where a model gave no valid answer nothing is found and nothing read, which counts against recall and
coverage; ``failures`` says how often. Intervals are 95% bootstrap intervals over dialogues.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.errors import InputError, unknown
from unicrs_rl.experiments.config import RunConfig
from unicrs_rl.experiments.costs import open_ledger
from unicrs_rl.experiments.statistics import interval_of_total
from unicrs_rl.graphs.readers.redial import HumanDialogue, HumanMessage, read_human
from unicrs_rl.graphs.world import Split
from unicrs_rl.language.backends import language_models
from unicrs_rl.language.boundary import LanguageModel
from unicrs_rl.language.ledger import NO_LIMIT, Budget
from unicrs_rl.language.lexicon import Lexicon
from unicrs_rl.language.tasks import (
    ENTITY_LINKER,
    PREFERENCE_REASONER,
    Exchange,
    LinkInput,
    PreferenceInput,
    PreferenceOutput,
)

CORPORA = ("redial",)
"""Human dialogues with the seeker's own word on each movie."""
CONDITIONS = {"with years": True, "without years": False}
"""How titles are written, by the name of the condition."""
PARTS = {"all": slice(None), "even": slice(1, None, 2), "odd": slice(0, None, 2)}
"""All dialogues, and those of even and of odd number in the file, from 1. The embedded model's rules were
made by looking at even ones only."""
_YEAR = re.compile(r"\s*\(\d{4}\)$")
_ENTITIES = ("items, seeker's messages", "items, all messages", "attributes, all messages")
_LIKED, _NOT_LIKED = 1, 0

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Read:
    """What a model made of one dialogue, as counts.

    Attributes:
        entities: ``[3, 3]``: gold, found, and both, for each of the entity rows.
        polarity: ``[2, 3]``: movies by the form's answer (not liked, liked) and by reading (not liked,
            liked, unread).
        unsaid: mentioned movies for which the form gives no answer.
        failures: calls without a valid answer.
    """

    entities: Counts
    polarity: Counts
    unsaid: int
    failures: int


def read_people(
    config: RunConfig,
    split: str = Split.VALID,
    limit: int | None = None,
    budget: Budget = NO_LIMIT,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Measure the language model of a configuration on the human dialogues of its world.

    Args:
        split: which file of dialogues.
        limit: how many of them, from the first on; ``None`` for all.
        budget: what may be spent on the language model.

    Returns:
        As :func:`measure`, with ``corpus`` and ``split``.

    Raises:
        InputError: if the corpus is unknown, its files are missing or broken, or the model cannot be used.
        Stopped: if a budget is used up, or an endpoint is gone.
    """
    if config.world not in CORPORA:
        raise unknown("corpus", config.world, CORPORA)
    if limit is not None and limit < 1:
        raise InputError(f"--dialogues: at least 1 is needed (it is {limit})")
    catalogue, dialogues = read_human(config.data, Split(split))
    model = language_models[config.llm](config.language_model, catalogue.lexicon, None)
    model.ledger = open_ledger(config, budget)
    found = measure(model, catalogue.lexicon, dialogues[:limit], progress)
    return {"corpus": config.world, "split": str(split)} | found


def measure(
    model: LanguageModel,
    lexicon: Lexicon,
    dialogues: Sequence[HumanDialogue],
    progress: Callable[[str, int, int], None] = lambda *_: None,
    batch: int = 50,
) -> dict[str, Any]:
    """Read human dialogues with a model and say how well it did.

    Args:
        lexicon: links the names in a model's answers to ids.
        batch: dialogues put before the model at once.

    Returns:
        By condition, then by part: the measures of the module's description, each ratio as
        ``{"value", "ci95", "n"}`` with ``None`` where there is nothing to measure.

    Raises:
        InputError: if the model cannot be used at all.
    """
    if not dialogues:
        raise InputError("there is no dialogue to read")
    found: dict[str, Any] = {"model": model.name, "dialogues": len(dialogues), "conditions": {}}
    for condition, years in CONDITIONS.items():
        read: list[Read] = []
        for start in range(0, len(dialogues), batch):
            read.extend(_read(model, lexicon, dialogues[start : start + batch], years))
            progress(f"titles {condition}", len(read), len(dialogues))
        found["conditions"][condition] = {
            part: _measures(read[places]) for part, places in PARTS.items() if read[places]
        }
    return found


def preference_input(dialogue: HumanDialogue, noun: str, years: bool) -> PreferenceInput:
    """A human dialogue as the Preference Reasoner sees it; a person's messages in a row are its lines."""
    opening: list[str] = []
    exchanges: list[tuple[list[str], list[str]]] = []
    for message in dialogue.messages:
        text = _text(message, years)
        if not message.by_seeker:
            if not exchanges or exchanges[-1][1]:
                exchanges.append(([], []))
            exchanges[-1][0].append(text)
        elif exchanges:
            exchanges[-1][1].append(text)
        else:
            opening.append(text)
    return PreferenceInput(
        noun=noun,
        opening="\n".join(opening),
        exchanges=[
            Exchange(recommender="\n".join(said), seeker="\n".join(answer)) for said, answer in exchanges
        ],
    )


def _text(message: HumanMessage, years: bool) -> str:
    return message.text if years else message.yearless


def _read(
    model: LanguageModel, lexicon: Lexicon, dialogues: Sequence[HumanDialogue], years: bool
) -> list[Read]:
    """What the model makes of each dialogue."""
    messages = [message for dialogue in dialogues for message in dialogue.messages]
    links = iter(
        model.complete(ENTITY_LINKER, [LinkInput(noun=lexicon.noun, text=_text(m, years)) for m in messages])
    )
    readings = model.complete(
        PREFERENCE_REASONER, [preference_input(dialogue, lexicon.noun, years) for dialogue in dialogues]
    )

    def key(item: int) -> int | str:
        """What a movie is recognised by."""
        return item if years else _YEAR.sub("", lexicon.items[item]).casefold()

    def keys(names: Iterable[str]) -> set[int | str]:
        return {key(item) for name in names if (item := lexicon.item_id(name)) is not None}

    found = []
    for dialogue, reading in zip(dialogues, readings, strict=True):
        entities = np.zeros((len(_ENTITIES), 3))
        failures = int(reading.output is None)
        for message in dialogue.messages:
            output = next(links).output
            failures += output is None
            named = keys(output.items) if output else set()
            items = _overlap({key(item) for item in message.items}, named)
            entities[0] += items * message.by_seeker
            entities[1] += items
            attributes = (lexicon.attribute_id(name) for name in output.attributes) if output else ()
            entities[2] += _overlap(set(message.attributes), {a for a in attributes if a is not None})
        mentioned = dict.fromkeys(item for message in dialogue.messages for item in message.items)
        read = reading.output or PreferenceOutput()
        liked, not_liked = keys(read.liked_items), keys((*read.disliked_items, *read.rejected_items))
        polarity = np.zeros((2, 3))
        for item in mentioned:
            opinion = dialogue.opinions.get(item)
            if opinion is not None:
                polarity[int(opinion), _polarity(key(item) in liked, key(item) in not_liked)] += 1
        unsaid = len(mentioned) - int(polarity.sum())
        found.append(Read(entities, polarity, unsaid, failures))
    return found


def _overlap(gold: set[Any], named: set[Any]) -> Counts:
    return np.array([len(gold), len(named), len(gold & named)], dtype=np.float64)


def _polarity(liked: bool, not_liked: bool) -> int:
    """The column of a reading: one that says both says nothing."""
    if liked == not_liked:
        return 2
    return _LIKED if liked else _NOT_LIKED


def _measures(read: Sequence[Read]) -> dict[str, Any]:
    entities = np.stack([one.entities for one in read])
    polarity = np.stack([one.polarity for one in read])
    known = polarity.sum(axis=(0, 2))
    confusion = polarity.sum(axis=0)
    return {
        "dialogues": len(read),
        "failures": sum(one.failures for one in read),
        "entities": {
            name: {
                "recall": _ratio(entities[:, row], 2, 0),
                "precision": _ratio(entities[:, row], 2, 1),
            }
            for row, name in enumerate(_ENTITIES)
        },
        "polarity": {
            "movies": {"liked": int(known[_LIKED]), "not liked": int(known[_NOT_LIKED])},
            "did not say": sum(one.unsaid for one in read),
            "read as": {
                answer: dict(zip(("not liked", "liked", "unread"), map(int, row), strict=True))
                for answer, row in (("liked", confusion[_LIKED]), ("not liked", confusion[_NOT_LIKED]))
            },
            "always liked": _rounded(_divide(known[_LIKED], known.sum())),
            "coverage": _shares(polarity, lambda m: m[..., :2].sum(axis=(-1, -2)), _total),
            "covered": _accuracies(polarity[:, :, :2]),
            "all": _accuracies(polarity[:, :, :2] + polarity[:, :, 2:] * np.array([0.0, 1.0])),
            "strict": _accuracies(polarity),
        },
    }


def _total(counts: Counts) -> Counts:
    found: Counts = counts.sum(axis=(-1, -2))
    return found


def _accuracies(matrices: Counts) -> dict[str, Any]:
    """Accuracy, recall per class and balanced accuracy of ``[dialogues, 2, readings]``."""

    def recall(matrix: Counts, answer: int) -> Counts:
        return _divide(matrix[..., answer, answer], matrix[..., answer, :].sum(axis=-1))

    def hits(matrix: Counts) -> Counts:
        found: Counts = matrix[..., 0, 0] + matrix[..., 1, 1]
        return found

    return {
        "accuracy": _shares(matrices, hits, _total),
        "recall of liked": _estimate(matrices, lambda m: recall(m, _LIKED), matrices[:, _LIKED].sum()),
        "recall of not liked": _estimate(
            matrices, lambda m: recall(m, _NOT_LIKED), matrices[:, _NOT_LIKED].sum()
        ),
        "balanced accuracy": _estimate(
            matrices, lambda m: (recall(m, _LIKED) + recall(m, _NOT_LIKED)) / 2, matrices.sum()
        ),
    }


def _ratio(counts: Counts, part: int, whole: int) -> dict[str, Any]:
    return _estimate(counts, lambda c: _divide(c[..., part], c[..., whole]), counts[:, whole].sum())


def _shares(
    counts: Counts, part: Callable[[Counts], Counts], whole: Callable[[Counts], Counts]
) -> dict[str, Any]:
    return _estimate(counts, lambda c: _divide(part(c), whole(c)), whole(counts.sum(axis=0)))


def _estimate(counts: Counts, statistic: Callable[[Counts], Counts], n: Any) -> dict[str, Any]:
    """A statistic of the sum over dialogues with its interval and its denominator."""
    interval = interval_of_total(counts, statistic)
    return {
        "value": _rounded(statistic(counts.sum(axis=0))),
        "ci95": None if interval is None else [round(bound, 4) for bound in interval],
        "n": int(n),
    }


def _divide(part: Any, whole: Any) -> Counts:
    """A ratio, NaN of nothing."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    nothing: Counts = np.full(np.broadcast(part, whole).shape, np.nan)
    np.divide(part, whole, out=nothing, where=whole > 0)
    return nothing


def _rounded(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
