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

from unicrs_rl.dialogue import STRATEGIES, Act, State
from unicrs_rl.graphs.belief import States
from unicrs_rl.graphs.catalogue import Catalogue

WANTED, UNWANTED, INDIFFERENT, DECLINED = 8, 12, 6, 18
"""Slots for attributes by answer and for declined items; the latest are kept, heads of lists first."""
ROLES = ("seeker", "wanted", "unwanted", "indifferent", "declined", "candidate item", "candidate attribute")
HISTORY = 16
"""Past events kept for the sequence encoder."""
N_FEATURES = 4
N_CONTEXT = 10


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
    """

    nodes: torch.Tensor
    weights: torch.Tensor
    links: torch.Tensor
    features: torch.Tensor
    mask: torch.Tensor
    context: torch.Tensor
    event_slots: torch.Tensor
    event_strategies: torch.Tensor

    def rows(self, index: torch.Tensor | NDArray[np.int64]) -> GraphBatch:
        """Some of the conversations."""
        return GraphBatch(*(part[index] for part in self))


@dataclass(frozen=True)
class Layout:
    """Where things are in the node axis.

    Args:
        k: candidates of each kind.
        n_items: items of the catalogue.
    """

    k: int
    n_items: int

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
    """The graphs of a batch of states."""
    nodes = np.full((len(states), layout.size), -1, dtype=np.int64)
    for row, state in enumerate(states.rows):
        _fill(nodes[row], layout.wanted, [a + layout.n_items for a in state.preferences.liked])
        _fill(nodes[row], layout.unwanted, [a + layout.n_items for a in state.preferences.disliked])
        _fill(nodes[row], layout.indifferent, [a + layout.n_items for a in state.preferences.open])
        _fill(nodes[row], layout.declined, _declined(state))
    k = layout.k
    nodes[:, layout.items] = states.items[:, :k]
    questions = states.attributes[:, :k]
    nodes[:, layout.attributes] = np.where(questions >= 0, questions + layout.n_items, -1)
    listed = states.item_weights[:, :k]
    mask = np.concatenate(
        [nodes[:, layout.items] >= 0, questions >= 0, np.ones((len(states), 1), bool)], axis=1
    )
    slots, strategies = _events(states.rows, nodes, layout)
    return GraphBatch(
        nodes=torch.from_numpy(nodes),
        weights=torch.from_numpy(listed / np.maximum(listed[:, :1], 1e-12)).float(),
        links=torch.from_numpy(_links(nodes, layout, states.catalogue)),
        features=torch.from_numpy(_features(states, k)).float(),
        mask=torch.from_numpy(mask),
        context=torch.from_numpy(_context(states)).float(),
        event_slots=torch.from_numpy(slots),
        event_strategies=torch.from_numpy(strategies),
    )


def _declined(state: State) -> list[int]:
    """Declined items, the heads of lists last, because of more than fit the last ones are kept."""
    heads = [decision.items[0] for decision in state.decisions if decision.items]
    declined = state.preferences.rejected_items
    return [item for item in declined if item not in heads] + [item for item in heads if item in declined]


def _fill(nodes: NDArray[np.int64], part: slice, ids: Sequence[int]) -> None:
    """Put the latest ids that fit into a part of the node axis."""
    latest = ids[-(part.stop - part.start) :]
    nodes[part.start : part.start + len(latest)] = latest


def _links(nodes: NDArray[np.int64], layout: Layout, catalogue: Catalogue) -> NDArray[np.bool_]:
    items, attributes = nodes[:, layout.item_slots], nodes[:, layout.attribute_slots]
    there = (items >= 0)[:, :, None] & (attributes >= 0)[:, None, :]
    batch, row, column = np.nonzero(there)
    links = np.zeros(there.shape, dtype=bool)
    owned = catalogue.item_attributes[items[batch, row], attributes[batch, column] - layout.n_items]
    links[batch, row, column] = np.asarray(owned).ravel() > 0
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
    return features


def _context(states: States) -> NDArray[np.float64]:
    """What the conversation as a whole looks like."""
    weights = states.weights
    left = (weights > 0).sum(axis=1)
    spread = -(weights * np.log(np.maximum(weights, 1e-12))).sum(axis=1)
    rows = [
        (
            state.turn / state.limit,
            len(state.preferences.liked) / 5,
            len(state.preferences.disliked) / 5,
            len(state.preferences.open) / 5,
            _trailing(state) / 3,
            state.preferences.mood == "positive",
            state.preferences.mood == "impatient",
        )
        for state in states.rows
    ]
    shown = np.array(rows, dtype=np.float64)
    beliefs = np.stack([states.confidence, np.log1p(left) / 5, spread / 5], axis=1)
    return np.concatenate([shown, beliefs], axis=1)


def _trailing(state: State) -> int:
    """Recommendations in a row just before now."""
    count = 0
    for decision in reversed(state.decisions):
        if decision.act is not Act.RECOMMEND:
            break
        count += 1
    return count


def _events(
    rows: Sequence[State], nodes: NDArray[np.int64], layout: Layout
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Past turns as (node slot, strategy), the volunteered attribute first: two ``[b, HISTORY]``."""
    slots = np.full((len(rows), HISTORY), -1, dtype=np.int64)
    strategies = np.full((len(rows), HISTORY), -1, dtype=np.int64)
    for row, state in enumerate(rows):
        place = {node: slot for slot, node in enumerate(nodes[row].tolist()) if node >= 0}
        volunteered = [a + layout.n_items for a in state.preferences.liked[:1]]
        events = [(place.get(node, -1), len(STRATEGIES)) for node in volunteered]
        for decision in state.decisions:
            about = [a + layout.n_items for a in decision.attributes] or list(decision.items)
            slot = place.get(about[0], -1) if about else -1
            events.append((slot, decision.strategy.position))
        for position, (slot, strategy) in enumerate(events[-HISTORY:]):
            slots[row, position], strategies[row, position] = slot, strategy
    return slots, strategies


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
    )
