"""What a policy decides on: a batch of conversations as arrays, whoever keeps them.

The same states come from the text surface (:class:`~unicrs_rl.graphs.belief.Beliefs`, out of what was
read) and from the batched engine (:class:`~unicrs_rl.graphs.candidates.Candidates`, step by step).
Arrays are padded with -1 behind their entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import STRATEGIES, Act, State
from unicrs_rl.graphs import kernels
from unicrs_rl.graphs.catalogue import Catalogue

PADDING = -1
MOODS = ("neutral", "positive", "impatient")
OPENING = len(STRATEGIES)
"""Stands for the strategy of the seeker's opening, which has none."""


@dataclass(frozen=True)
class Past:
    """What was said and done in each of ``b`` conversations so far.

    Attributes:
        keys: ``[b]`` of uint64, address the conversations' random numbers.
        turn: ``[b]`` index of the turn about to be decided, from 0.
        limit: turns in which the recommender may act.
        wanted, unwanted, indifferent: ``[b, *]`` attributes by answer, oldest first.
        declined: ``[b, *]`` heads of declined lists, oldest first.
        events: ``[b, *]`` what the opening and each turn were about: an item id, or the number of items
            plus an attribute id; -1 for nothing.
        strategies: ``[b, *]`` strategy of each event, :data:`OPENING` for the opening, -1 behind the last.
        mood: ``[b]`` index into :data:`MOODS`.
        streak: ``[b]`` recommendations in a row just before now.
        asked: ``[b, *]`` attributes that need no question any more.
    """

    keys: NDArray[np.uint64]
    turn: NDArray[np.int64]
    limit: int
    wanted: NDArray[np.int64]
    unwanted: NDArray[np.int64]
    indifferent: NDArray[np.int64]
    declined: NDArray[np.int64]
    events: NDArray[np.int64]
    strategies: NDArray[np.int64]
    mood: NDArray[np.int64]
    streak: NDArray[np.int64]
    asked: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[State], n_items: int) -> Past:
        """The past of states that were read from dialogues."""
        events = [_events(state, n_items) for state in rows]
        return cls(
            keys=np.array([state.key for state in rows], dtype=np.uint64),
            turn=np.array([state.turn for state in rows], dtype=np.int64),
            limit=rows[0].limit if rows else 1,
            wanted=padded([state.preferences.liked for state in rows]),
            unwanted=padded([state.preferences.disliked for state in rows]),
            indifferent=padded([state.preferences.open for state in rows]),
            declined=padded([_declined_heads(state) for state in rows]),
            events=padded([[about for about, _ in those] for those in events]),
            strategies=padded([[strategy for _, strategy in those] for those in events]),
            mood=np.array([_mood(state.preferences.mood) for state in rows], dtype=np.int64),
            streak=np.array([_streak(state) for state in rows], dtype=np.int64),
            asked=padded([sorted(state.asked) for state in rows]),
        )

    def __len__(self) -> int:
        return len(self.turn)


@dataclass(frozen=True)
class States:
    """The batch a policy decides on: what each conversation shows, and what it makes one believe.

    Attributes:
        past: of each conversation.
        catalogue: of the world.
        offsets: ``[b + 1]``, candidates of row ``r`` are ``offsets[r]:offsets[r + 1]`` of the next two.
        candidates: item ids, ascending within a row.
        values: their weights if ``linear``, else UNICORN's scores.
        linear: how to read ``values``.
        items: the heaviest items, ``[b, K]``, -1 where none is left.
        item_weights: their posterior, ``[b, K]``.
        attributes: the most informative open questions, ``[b, K]``, -1 where none is left; where a
            question names several attributes, the first of them.
        entropies: their weighted entropies in bits, ``[b, K]``.
        masses: probability of a yes to each, ``[b, K]``.
        named: ``[b, K, m]``, the attributes that each question names, the first one first.
        concentration: ``[b]``, sum of the squared posterior: one over the effective number of candidates.
        slate: how many of the items a recommendation shows.
        removes: whether a "no" removes the items that have the attribute (or as good as removes them).
        rows: the dialogues themselves, where there are any: arms that read words need them.
    """

    past: Past
    catalogue: Catalogue
    offsets: NDArray[np.int64]
    candidates: NDArray[np.int32]
    values: NDArray[np.float64]
    linear: bool
    items: NDArray[np.int64]
    item_weights: NDArray[np.float64]
    attributes: NDArray[np.int64]
    entropies: NDArray[np.float64]
    masses: NDArray[np.float64]
    named: NDArray[np.int64]
    concentration: NDArray[np.float64]
    slate: int
    removes: bool = True
    rows: tuple[State, ...] = ()

    def __len__(self) -> int:
        return len(self.past)

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Posterior mass of the items that a recommendation would show: ``[b]``."""
        mass: NDArray[np.float64] = np.minimum(self.item_weights[:, : self.slate].sum(axis=1), 1.0)
        return mass

    @cached_property
    def left(self) -> NDArray[np.int64]:
        """Candidate items: ``[b]``."""
        return np.diff(self.offsets)

    @cached_property
    def entropy(self) -> NDArray[np.float64]:
        """Entropy of the posterior over the items, in bits: ``[b]``.

        Read it before the conversations go on.
        """
        return kernels.posterior_entropy(self.offsets, self.values, self.linear)

    @cached_property
    def hits(self) -> NDArray[np.float64]:
        """Expected posterior mass of the best list after each question's answer: ``[b, K]``.

        Of the question's first attribute. Read it before the conversations go on.
        """
        table = self.catalogue.item_attributes
        hits = np.zeros(self.attributes.shape)
        kernels.hit_after_answer(
            self.offsets,
            self.candidates,
            self.values,
            self.linear,
            self.attributes,
            self.slate,
            self.items,
            self.item_weights,
            self.removes,
            table.indptr,
            table.indices,
            np.full(self.catalogue.n_attributes, PADDING, dtype=np.int32),
            hits,
        )
        return hits

    def disagreement(self, doubts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bits an ensemble disagrees by about each question: ``[b, K]``.

        Args:
            doubts: ``[items, members]``, factors on the weights.
        """
        table = self.catalogue.item_attributes
        gains = np.zeros(self.attributes.shape)
        kernels.disagreement(
            self.offsets,
            self.candidates,
            self.values,
            self.linear,
            self.attributes,
            doubts,
            table.indptr,
            table.indices,
            np.full(self.catalogue.n_attributes, PADDING, dtype=np.int32),
            gains,
        )
        return gains


def padded(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Rows of ids as one array, -1 behind the end of each: ``[rows, longest]``, at least one wide."""
    table = np.full((len(rows), max(1, max(map(len, rows), default=0))), PADDING, dtype=np.int64)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table


def latest(
    entries: NDArray[np.int64], width: int, there: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The last ``width`` entries of each row, in order: ``[rows, width]``.

    Args:
        there: which places hold an entry; default: all but -1.
    """
    counts = ((entries >= 0) if there is None else there).sum(axis=1)
    if entries.shape[1] < width:
        entries = np.pad(entries, ((0, 0), (0, width - entries.shape[1])), constant_values=PADDING)
    places = np.maximum(counts - width, 0)[:, None] + np.arange(width)
    found = np.take_along_axis(entries, places, axis=1)
    return np.where(places < counts[:, None], found, PADDING)


def _events(state: State, n_items: int) -> list[tuple[int, int]]:
    """(what it was about, strategy) of the opening and each turn."""
    opening = [(attribute + n_items, OPENING) for attribute in state.preferences.liked[:1]]
    turns = []
    for decision in state.decisions:
        about = [attribute + n_items for attribute in decision.attributes] or list(decision.items)
        turns.append((about[0] if about else PADDING, decision.strategy.position))
    return opening + turns


def _declined_heads(state: State) -> list[int]:
    declined = set(state.preferences.rejected_items)
    return [d.items[0] for d in state.decisions if d.items and d.items[0] in declined]


def _mood(mood: str) -> int:
    return MOODS.index(mood) if mood in MOODS else 0


def _streak(state: State) -> int:
    count = 0
    for decision in reversed(state.decisions):
        if decision.act is not Act.RECOMMEND:
            break
        count += 1
    return count
