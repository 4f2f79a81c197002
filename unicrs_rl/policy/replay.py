"""Prioritised experience replay (Schaul et al., ICLR 2016) over graph states.

``P(i) ~ p_i^alpha`` with ``p_i = |TD error| + eps``; each sample carries the importance weight
``(N P(i))^-beta``, divided by the largest of the batch, to be multiplied into the *unreduced* loss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from unicrs_rl.policy.graph_state import GraphBatch, Layout, empty

_EPSILON = 1e-3


class Batch(NamedTuple):
    """Sampled transitions. ``b`` is the batch size.

    Attributes:
        states: where the decision was made.
        actions: ``[b]``, candidate times the number of strategies plus strategy.
        rewards: ``[b]``, discounted over the turns until ``next_states``.
        next_states: where it led; meaningless where the conversation ended.
        discounts: ``[b]``, of the value there; 0 where the conversation ended.
        guided: ``[b]`` of bool, the action was a guide's.
        weights: ``[b]`` importance weights, at most 1.
        places: ``[b]`` places in the replay, for :meth:`Replay.reprioritise`.
    """

    states: GraphBatch
    actions: torch.Tensor
    rewards: torch.Tensor
    next_states: GraphBatch
    discounts: torch.Tensor
    guided: torch.Tensor
    weights: torch.Tensor
    places: NDArray[np.int64]


class Replay:
    """A ring of transitions.

    Args:
        capacity: transitions kept.
        layout: of the graph states.
        alpha: how much priorities count; 0 samples uniformly.
    """

    def __init__(self, capacity: int, layout: Layout, alpha: float) -> None:
        self.capacity = capacity
        self.alpha = alpha
        self.states = empty(capacity, layout)
        self.next_states = empty(capacity, layout)
        self.actions = torch.zeros(capacity, dtype=torch.int64)
        self.rewards = torch.zeros(capacity)
        self.discounts = torch.zeros(capacity)
        self.guided = torch.zeros(capacity, dtype=torch.bool)
        self.priorities = np.zeros(capacity)
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(
        self,
        states: GraphBatch,
        actions: torch.Tensor,
        rewards: torch.Tensor,
        next_states: GraphBatch,
        discounts: torch.Tensor,
        guided: torch.Tensor,
    ) -> None:
        """Append transitions; they get the highest priority so far."""
        places = (self.added + np.arange(len(rewards))) % self.capacity
        for kept, new in zip((*self.states, *self.next_states), (*states, *next_states), strict=True):
            kept[places] = new
        self.actions[places], self.rewards[places] = actions, rewards
        self.discounts[places], self.guided[places] = discounts, guided
        self.priorities[places] = self.priorities.max(initial=1.0)
        self.added += len(rewards)

    def sample(self, size: int, beta: float, rng: np.random.Generator) -> Batch:
        """Draw transitions with replacement."""
        chances = self.priorities[: len(self)] ** self.alpha
        edges = np.cumsum(chances)
        index = np.minimum(np.searchsorted(edges, rng.random(size) * edges[-1], side="right"), len(self) - 1)
        weights = (len(self) * chances[index] / edges[-1]) ** -beta
        return Batch(
            self.states.rows(index),
            self.actions[index],
            self.rewards[index],
            self.next_states.rows(index),
            self.discounts[index],
            self.guided[index],
            torch.from_numpy(weights / weights.max()).float(),
            index.astype(np.int64),
        )

    def reprioritise(self, index: NDArray[np.int64], errors: NDArray[np.float64]) -> None:
        """Set priorities from the TD errors of sampled transitions."""
        self.priorities[index] = np.abs(errors) + _EPSILON

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that is stored, for a checkpoint."""
        n = len(self)
        named = {f"states.{name}": part[:n] for name, part in self.states._asdict().items()}
        named |= {f"next_states.{name}": part[:n] for name, part in self.next_states._asdict().items()}
        for name in ("actions", "rewards", "discounts", "guided"):
            named[name] = getattr(self, name)[:n]
        return named | {"priorities": torch.from_numpy(self.priorities[:n].copy())}

    def load(self, tensors: dict[str, torch.Tensor], added: int) -> None:
        """Take up :meth:`tensors`."""
        self.added = added
        n = len(self)
        for name, part in self.states._asdict().items():
            part[:n] = tensors[f"states.{name}"]
        for name, part in self.next_states._asdict().items():
            part[:n] = tensors[f"next_states.{name}"]
        for name in ("actions", "rewards", "discounts", "guided"):
            getattr(self, name)[:n] = tensors[name]
        self.priorities[:n] = tensors["priorities"].numpy()
