"""What a learner that decides everything at once can do in a turn, as numbers.

A *candidate* is one of ``k`` listed items (recommend it at the head of the list), one of ``k`` listed
questions (ask it) or chat: ``2k + 1`` of them, in this order. An *action* is a candidate in a *manner*,
which is one of the strategies; flat, it is ``candidate * n_manners + manner``. An
:class:`ActionLearner` takes one action of the open ones in a turn.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Decisions, Plan, Strategy
from unicrs_rl.graphs.states import States
from unicrs_rl.policy.base import ArmContext, Learner
from unicrs_rl.policy.control import Encoder
from unicrs_rl.policy.graph_network import GraphTrunkConfig
from unicrs_rl.policy.graph_state import GraphBatch, Layout, build
from unicrs_rl.policy.rules import ask_then_recommend, decisions
from unicrs_rl.policy.text_network import Words

Integers = TypeVar("Integers", NDArray[np.int64], torch.Tensor)

_SURE = 0.95
"""The guide never waits for more certainty than this."""


class ActionConfig(GraphTrunkConfig):
    """What can be done, the rule that leads while a learner explores, and what is seen."""

    k: int = Field(10, ge=1, le=60, description="candidate items and candidate attributes each")
    item_actions: int | None = Field(
        None, ge=1, description="listed items that can be chosen as head of a recommendation; None: all k"
    )
    attribute_actions: int | None = Field(
        None, ge=1, description="listed attributes that can be asked about; None: all k"
    )
    guide_from: float = Field(
        0.6,
        gt=0,
        le=1,
        description="lowest threshold of the max-entropy rule where it guides, drawn log-uniformly per "
        "conversation, as a multiple of the fitted one",
    )
    guide_to: float = Field(1.6, ge=1, description="highest threshold of that rule, likewise")


@dataclass(frozen=True)
class ActionSpace:
    """The actions of an arm, and the states with their candidates.

    Args:
        config: of the learner.
        context: of the arm.
    """

    config: ActionConfig
    context: ArmContext

    @cached_property
    def layout(self) -> Layout:
        """Of the graph states' node axis; with the words, where they are read."""
        config, catalogue = self.config, self.context.catalogue
        reads = config.encoder is not Encoder.GRAPH
        words = Words(catalogue, config.vocabulary, config.max_tokens) if reads else None
        return Layout(config.k, catalogue.n_items, words)

    @cached_property
    def strategies(self) -> tuple[Strategy, ...]:
        """Those there are to choose from: all, or none for seekers on whom they are lost."""
        return STRATEGIES if self.context.sociable else (Strategy.NO_STRATEGY,)

    @property
    def n_manners(self) -> int:
        """How many strategies there are to choose from."""
        return len(self.strategies)

    @property
    def acts(self) -> dict[str, slice]:
        """Which candidates are of which act, by its name in the trace."""
        k = self.config.k
        return {"recommend": slice(0, k), "ask": slice(k, 2 * k), "chat": slice(2 * k, None)}

    def graphs(self, states: States) -> GraphBatch:
        """The graph states, with the candidates that the settings forbid masked."""
        graphs, k = build(states, self.layout), self.config.k
        graphs.mask[:, self.config.item_actions or k : k] = False
        graphs.mask[:, k + (self.config.attribute_actions or k) : 2 * k] = False
        if not self.context.sociable:  # small talk is lost on them
            graphs.mask[:, 2 * k] = ~graphs.mask[:, : 2 * k].any(dim=1)
        return graphs

    def flat(self, candidates: NDArray[np.int64], manners: NDArray[np.int64]) -> NDArray[np.int64]:
        """The actions ``[b]`` of these candidates and manners, ``[b]`` each."""
        return candidates * self.n_manners + manners

    def candidates(self, actions: Integers) -> Integers:
        """The candidates of actions, ``[b]``."""
        return actions // self.n_manners

    def guide(self, states: States) -> NDArray[np.int64]:
        """The max-entropy rule, with a threshold of each conversation's own: candidates ``[b]``.

        Who follows thresholds that differ explores when to recommend; who imitates them becomes unsure
        around them, and so explores it as well.
        """
        config, k = self.config, self.config.k
        chance = draws.uniform(states.past.keys, purpose="guide")
        span = config.guide_to / config.guide_from
        threshold = self.context.recommend_above * config.guide_from * span**chance
        act = ask_then_recommend(states, states.confidence > np.minimum(threshold, _SURE))
        return np.select([act == Act.RECOMMEND, act == Act.ASK], [0, k], 2 * k)

    def decisions(self, states: States, actions: NDArray[np.int64]) -> Decisions:
        """Actions ``[b]`` as decisions."""
        candidates, manners = np.divmod(actions, self.n_manners)
        return self.played(states, candidates, self.positions[manners])

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Of the strategies there are to choose from, in the order of all: ``[n_manners]``."""
        return np.array([strategy.position for strategy in self.strategies])

    def played(
        self, states: States, candidates: NDArray[np.int64], strategies: NDArray[np.int64]
    ) -> Decisions:
        """Candidates ``[b]`` with strategies ``[b]``, whoever chose either, as decisions.

        A recommendation shows the best items, the chosen one first.
        """
        k, slate = self.config.k, self.context.slate
        lists, asks = candidates < k, (candidates >= k) & (candidates < 2 * k)
        head = np.where(lists, candidates, 0)
        order = np.argsort(np.arange(states.items.shape[1]) != head[:, None], axis=1, kind="stable")
        items = np.take_along_axis(states.items, order, axis=1)[:, :slate]
        act = np.select([lists, asks], [int(Act.RECOMMEND), int(Act.ASK)], int(Act.CHAT))
        return decisions(states, act, strategies, np.where(asks, candidates - k, 0), items)


class Choice(NamedTuple):
    """What a learner prefers in ``b`` states.

    Attributes:
        actions: ``[b]``.
        manners: ``[b, n_manners]``, value or probability of each manner for the preferred candidate.
        scores: what it thought of the acts in a row's state, for the trace.
    """

    actions: NDArray[np.int64]
    manners: NDArray[np.float64]
    scores: Callable[[int], dict[str, float]]


class ActionLearner(Learner):
    """A learner whose part in a turn is one action of an action space.

    By itself it decides everything. It never asks which candidates there are but in the mask of the
    states it is given, so that somebody else (:mod:`~unicrs_rl.policy.grid`) can leave it fewer.

    Attributes:
        space: its actions.
    """

    space: ActionSpace

    @override
    def decide(self, states: States) -> list[Plan]:
        best = self.prefer(states)
        chosen = self.space.decisions(states, best.actions)
        return [chosen.plan(row, best.scores(row)) for row in range(len(states))]

    @override
    def choose(self, states: States) -> Decisions:
        return self.space.decisions(states, self.prefer(states).actions)

    @override
    def explore(self, states: States) -> Decisions:
        graphs, guide = self.space.graphs(states), self.space.guide(states)
        return self.space.decisions(states, self.try_among(states.past.keys, graphs, guide))

    def prefer(self, states: States) -> Choice:
        """The best of all actions."""
        return self.best_among(self.space.graphs(states))

    @abstractmethod
    def best_among(self, graphs: GraphBatch) -> Choice:
        """The best actions whose candidates are open in the states' mask.

        In double precision, so that the batch a conversation is in cannot matter.
        """

    @abstractmethod
    def try_among(
        self, keys: NDArray[np.uint64], graphs: GraphBatch, guide: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Actions while learning, among the open candidates: ``[b]``. The turn is kept to learn from.

        Args:
            keys: ``[b]`` of the conversations.
            graphs: the states.
            guide: ``[b]`` candidates of the rule that leads while the learner explores.
        """
