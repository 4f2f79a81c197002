"""Human dialogues with surveys as arrays: what the recommender did, and what the seeker made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import STRATEGIES, Dialogue
from unicrs_rl.experiments.calibration.ordinal import Matrix, Vector
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.readers.inspired import Corpus, Person
from unicrs_rl.language.reading import fold, read_reply
from unicrs_rl.simulators.effects import PERCEPTS, SURVEY_TRAITS

RATINGS = 5


@dataclass(frozen=True)
class Sample:
    """Rated dialogues with an outcome, ``n`` of them.

    Attributes:
        uses: ``[n, strategies]`` recommender utterances with each strategy.
        ratings: ``[n, percepts]``, 0 to 4.
        accepted: ``[n]``.
        traits: ``[n, traits]`` in standard deviations over seekers; 0 where not known.
        fit: ``[n]`` proxy for the fit of the item, see :func:`wish_fit`; NaN where it cannot be measured.
    """

    uses: NDArray[np.int64]
    ratings: NDArray[np.int64]
    accepted: NDArray[np.bool_]
    traits: Matrix
    fit: Vector

    def __len__(self) -> int:
        return len(self.accepted)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Sample:
        """Some of the dialogues."""
        return Sample(
            self.uses[rows], self.ratings[rows], self.accepted[rows], self.traits[rows], self.fit[rows]
        )


@dataclass(frozen=True)
class Personality:
    """The traits of a group of seekers.

    Attributes:
        mean: ``[traits]``, of the survey's column.
        sd: ``[traits]``.
        correlation: ``[traits, traits]``, of the traits, signs as in :data:`SURVEY_TRAITS`.
        seekers: how many answered.
    """

    mean: Vector
    sd: Vector
    correlation: Matrix
    seekers: int

    def standardised(self, person: Person | None) -> Vector:
        """A person's traits in standard deviations; 0 where not known: ``[traits]``."""
        if person is None or not person.personality:
            return np.zeros(len(SURVEY_TRAITS))
        answers = np.array([person.personality[column] for column, _ in SURVEY_TRAITS.values()])
        found: Vector = _SIGNS * (answers - self.mean) / self.sd
        return found


_SIGNS = np.array([sign for _, sign in SURVEY_TRAITS.values()], dtype=np.float64)


def personality(corpora: Sequence[Corpus]) -> Personality | None:
    """Of all seekers who answered, each counted once; ``None`` with fewer than two, or no variety."""
    people = {person.id: person for corpus in corpora for person in corpus.seekers.values()}
    answers = np.array(
        [
            [person.personality[column] for column, _ in SURVEY_TRAITS.values()]
            for person in people.values()
            if person.personality
        ]
    )
    if len(answers) < 2 or (answers.std(axis=0) == 0).any():
        return None
    correlation = np.asarray(np.corrcoef((answers * _SIGNS).T), dtype=np.float64)
    return Personality(answers.mean(axis=0), answers.std(axis=0), correlation, len(answers))


def rated(dialogue: Dialogue) -> bool:
    """Whether the outcome of a dialogue and all ratings that matter are known."""
    return dialogue.outcome is not None and all(question in dialogue.survey for question in PERCEPTS.values())


def sample(corpora: Sequence[Corpus], traits: Personality | None, catalogue: Catalogue) -> Sample:
    """The rated dialogues of a corpus.

    Args:
        corpora: its splits, linked to the catalogue.
        traits: of their seekers.
        catalogue: that items are looked up in.
    """
    kept = [(corpus, d) for corpus in corpora for d in corpus.dialogues if rated(d)]
    zeros = np.zeros(len(SURVEY_TRAITS))
    return Sample(
        uses=uses([d for _, d in kept]),
        ratings=np.array(
            [[round(d.survey[question]) - 1 for question in PERCEPTS.values()] for _, d in kept],
            dtype=np.int64,
        ).reshape(-1, len(PERCEPTS)),
        accepted=np.array([d.outcome is not None and d.outcome.success for _, d in kept], dtype=np.bool_),
        traits=np.array(
            [zeros if traits is None else traits.standardised(corpus.seekers.get(d.id)) for corpus, d in kept]
        ).reshape(-1, len(SURVEY_TRAITS)),
        fit=np.array([wish_fit(d, catalogue) for _, d in kept]),
    )


def uses(dialogues: Sequence[Dialogue]) -> NDArray[np.int64]:
    """How often each strategy is used: ``[dialogues, strategies]``."""
    found = np.zeros((len(dialogues), len(STRATEGIES)), dtype=np.int64)
    for row, dialogue in enumerate(dialogues):
        for turn in dialogue.turns:
            found[row, turn.decision.strategy.position] += 1
    return found


def wish_fit(dialogue: Dialogue, catalogue: Catalogue) -> float:
    """How well the item fits what the seeker asked for, as far as words show it.

    The share of the attributes wished for (genres, people and tags of the catalogue that the seeker's
    words name, read as the embedded Preference Reasoner reads them) that the item the recommender named
    last has. NaN where no item of the catalogue or no wish is named.
    """
    items = [item for turn in dialogue.turns for item in turn.decision.items]
    replies = [dialogue.opening, *(turn.reply for turn in dialogue.turns)]
    liked, _, _ = fold(read_reply(catalogue.lexicon, reply.text) for reply in replies)
    if not items or not liked:
        return float("nan")
    has = set(catalogue.attributes_of(items[-1]).tolist())
    return sum(attribute in has for attribute in liked) / len(liked)


def effective(counts: NDArray[np.int64], wear: float) -> Matrix:
    """Effective uses ``1 + wear + … + wear**(n - 1)`` of ``n`` uses, by element."""
    if wear == 1.0:
        return counts.astype(np.float64)
    found: Matrix = np.asarray((1 - wear**counts) / (1 - wear), dtype=np.float64)
    return found
