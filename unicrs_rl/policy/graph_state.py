"""The state of a conversation as a small weighted graph with a list of candidate actions.

Every conversation becomes fixed-width arrays, so that a batch is one block-diagonal graph and no
code loops over conversations when it learns. Slots of the node axis, in this order::

    seeker | wanted attributes | unwanted attributes | indifferent attributes | declined items |
    candidate items | candidate attributes

Edges as in UNICORN: the seeker to each candidate item with its weight (posterior relative to the
likeliest item), to each wanted attribute with weight 1, and every item to those of the listed
attributes it has with weight 1. Candidates are the listed items, the listed questions and chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unicrs_rl.graphs import kernels
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.states import PADDING, Past, States, latest
from unicrs_rl.policy.text_network import Words, tokens_of

WANTED, UNWANTED, INDIFFERENT, DECLINED = 8, 14, 6, 14
"""Slots for attributes by answer and for heads of declined lists; the latest are kept."""
ROLES = ("seeker", "wanted", "unwanted", "indifferent", "declined", "candidate item", "candidate attribute")
HISTORY = 16
"""Past events kept for the sequence encoder."""
N_FEATURES = 5
N_CONTEXT = 12


class GraphBatch(NamedTuple):
    """A batch of conversation states. ``b`` conversations, ``n`` node slots, ``k`` candidates of a kind.

    Attributes:
        nodes: ``[b, n]`` node ids: items, then attributes after them; -1 where a slot is empty.
        weights: ``[b, k]`` weight of the edge from the seeker to each candidate item.
        links: ``[b, item slots, attribute slots]`` of bool, the item has the attribute.
        features: ``[b, 2k + 1, N_FEATURES]`` numbers about each candidate: items, attributes, chat.
        mask: ``[b, 2k + 1]`` of bool, candidate can be chosen.
        context: ``[b, N_CONTEXT]`` numbers about the conversation.
        event_slots: ``[b, HISTORY]`` node slot that each past event was about, -1 if none.
        event_strategies: ``[b, HISTORY]`` strategy of the turn, ``len(STRATEGIES)`` for none, -1 padding.
        tokens: ``[b, L]`` last words of the dialogue, the newest in the last place, 0 before the first;
            L is 0 for learners that do not read.
    """

    nodes: torch.Tensor
    weights: torch.Tensor
    links: torch.Tensor
    features: torch.Tensor
    mask: torch.Tensor
    context: torch.Tensor
    event_slots: torch.Tensor
    event_strategies: torch.Tensor
    tokens: torch.Tensor

    def rows(self, index: torch.Tensor | NDArray[np.int64]) -> GraphBatch:
        """Some of the conversations."""
        return GraphBatch(*(part[index] for part in self))


@dataclass(frozen=True)
class Layout:
    """Where things are in the node axis, and how words become tokens.

    Args:
        k: candidates of each kind.
        n_items: items of the catalogue.
        words: that are told apart by learners that read; ``None`` for those that do not.
    """

    k: int
    n_items: int
    words: Words | None = None

    @property
    def wanted(self) -> slice:
        """Slots of wanted attributes."""
        return slice(1, 1 + WANTED)

    @property
    def unwanted(self) -> slice:
        """Slots of unwanted attributes."""
        return slice(self.wanted.stop, self.wanted.stop + UNWANTED)

    @property
    def indifferent(self) -> slice:
        """Slots of attributes that the seeker does not care about."""
        return slice(self.unwanted.stop, self.unwanted.stop + INDIFFERENT)

    @property
    def declined(self) -> slice:
        """Slots of declined items."""
        return slice(self.indifferent.stop, self.indifferent.stop + DECLINED)

    @property
    def items(self) -> slice:
        """Slots of candidate items."""
        return slice(self.declined.stop, self.declined.stop + self.k)

    @property
    def attributes(self) -> slice:
        """Slots of candidate attributes."""
        return slice(self.items.stop, self.items.stop + self.k)

    @property
    def size(self) -> int:
        """How many slots there are."""
        return int(self.attributes.stop)

    @property
    def item_slots(self) -> NDArray[np.int64]:
        """Slots that hold items, in the order of the rows of ``links``."""
        return _places(self.declined, self.items)

    @property
    def attribute_slots(self) -> NDArray[np.int64]:
        """Slots that hold attributes, in the order of the columns of ``links``."""
        return _places(self.wanted, self.unwanted, self.indifferent, self.attributes)

    def roles(self) -> NDArray[np.int64]:
        """Index into :data:`ROLES` of each slot: ``[n]``."""
        role = np.zeros(self.size, dtype=np.int64)
        for index, part in enumerate(
            (self.wanted, self.unwanted, self.indifferent, self.declined, self.items, self.attributes)
        ):
            role[part] = index + 1
        return role


def _places(*parts: slice) -> NDArray[np.int64]:
    """The places in several slices, one after the other."""
    return np.concatenate([np.arange(part.start, part.stop) for part in parts])


def build(states: States, layout: Layout) -> GraphBatch:
    """The graphs of a batch of states.

    Raises:
        InputError: if words are to be read where nothing is said.
    """
    k, past = layout.k, states.past
    nodes = np.full((len(states), layout.size), PADDING, dtype=np.int64)
    for part, attributes in (
        (layout.wanted, past.wanted),
        (layout.unwanted, past.unwanted),
        (layout.indifferent, past.indifferent),
    ):
        ids = latest(attributes, part.stop - part.start)
        nodes[:, part] = np.where(ids >= 0, ids + layout.n_items, PADDING)
    nodes[:, layout.declined] = latest(past.declined, DECLINED)
    nodes[:, layout.items] = states.items[:, :k]
    questions = states.attributes[:, :k]
    nodes[:, layout.attributes] = np.where(questions >= 0, questions + layout.n_items, PADDING)
    listed = states.item_weights[:, :k]
    open_ = np.concatenate([nodes[:, layout.items] >= 0, questions >= 0], axis=1)
    mask = np.concatenate([open_, np.ones((len(states), 1), bool)], axis=1)
    slots, strategies = _events(past, nodes)
    return GraphBatch(
        nodes=torch.from_numpy(nodes),
        weights=torch.from_numpy(listed / np.maximum(listed[:, :1], 1e-12)).float(),
        links=torch.from_numpy(_links(nodes, layout, states.catalogue)),
        features=torch.from_numpy(_features(states, k)).float(),
        mask=torch.from_numpy(mask),
        context=torch.from_numpy(_context(states)).float(),
        event_slots=torch.from_numpy(slots),
        event_strategies=torch.from_numpy(strategies),
        tokens=torch.from_numpy(tokens_of(layout.words, states.rows, len(states))),
    )


def _links(nodes: NDArray[np.int64], layout: Layout, catalogue: Catalogue) -> NDArray[np.bool_]:
    table = catalogue.item_attributes
    slots = layout.item_slots, layout.attribute_slots
    links: NDArray[np.bool_] = kernels.link(nodes, *slots, layout.n_items, table.indptr, table.indices)
    return links


def _features(states: States, k: int) -> NDArray[np.float64]:
    """What is known of each candidate; chat has zeros."""
    features = np.zeros((len(states), 2 * k + 1, N_FEATURES))
    weights = states.item_weights[:, :k]
    features[:, :k, 0] = weights
    features[:, :k, 1] = np.cumsum(weights, axis=1)
    features[:, k : 2 * k, 0] = states.masses[:, :k]
    features[:, k : 2 * k, 1] = states.entropies[:, :k]
    features[:, k : 2 * k, 2] = (
        np.log1p(states.catalogue.degrees[np.maximum(states.attributes[:, :k], 0)]) / 5
    )
    features[:, : 2 * k, 3] = np.tile(np.arange(k) / k, 2)
    features[:, k : 2 * k, 4] = states.hits[:, :k]
    return features


def _context(states: States) -> NDArray[np.float64]:
    """What the conversation as a whole looks like."""
    past = states.past
    columns = (
        past.turn / past.limit,
        (past.wanted >= 0).sum(axis=1) / 5,
        (past.unwanted >= 0).sum(axis=1) / 5,
        (past.indifferent >= 0).sum(axis=1) / 5,
        past.streak / 3,
        past.mood == 1,
        past.mood == 2,
        states.confidence,
        np.log1p(states.left) / 5,
        -np.log(np.maximum(states.concentration, 1e-12)) / 5,
        states.hits.max(axis=1, initial=0.0),
        past.turn + 1 >= past.limit,
    )
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _events(past: Past, nodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Past turns as (node slot, strategy), the volunteered attribute first: two ``[b, HISTORY]``."""
    there = past.strategies >= 0
    about, strategies = latest(past.events, HISTORY, there), latest(past.strategies, HISTORY, there)
    same = (about[:, :, None] == nodes[:, None, :]) & (about >= 0)[:, :, None]
    return np.where(same.any(axis=2), same.argmax(axis=2), PADDING), strategies


def join(batches: Sequence[GraphBatch]) -> GraphBatch:
    """Several batches as one."""
    return GraphBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def empty(capacity: int, layout: Layout) -> GraphBatch:
    """Storage for ``capacity`` states, all zero."""
    k = layout.k
    n_links = (len(layout.item_slots), len(layout.attribute_slots))
    return GraphBatch(
        nodes=torch.zeros((capacity, layout.size), dtype=torch.int64),
        weights=torch.zeros((capacity, k)),
        links=torch.zeros((capacity, *n_links), dtype=torch.bool),
        features=torch.zeros((capacity, 2 * k + 1, N_FEATURES)),
        mask=torch.zeros((capacity, 2 * k + 1), dtype=torch.bool),
        context=torch.zeros((capacity, N_CONTEXT)),
        event_slots=torch.zeros((capacity, HISTORY), dtype=torch.int64),
        event_strategies=torch.zeros((capacity, HISTORY), dtype=torch.int64),
        tokens=torch.zeros((capacity, layout.words.length if layout.words else 0), dtype=torch.int64),
    )
