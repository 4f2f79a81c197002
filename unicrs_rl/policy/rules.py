"""Rules without learning: the reference arms that keep the learned ones honest.

Each decides every column. Their strategy is a rule too, the warmest ones in turn, so that they are not
handicapped before seekers on whom strategy works. All but ``random`` and ``greedy`` differ only in
what they ask and in when they recommend; all recommend in the last turn, when asking is too late.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Decisions, Plan
from unicrs_rl.graphs.states import PADDING, States
from unicrs_rl.language.wording import WARMEST
from unicrs_rl.policy.base import Policy

_WARMEST = np.array([strategy.position for strategy in WARMEST])

ENSEMBLE = 5
"""Members of the ensemble whose disagreement ``minicorn`` asks about."""


class Rule(Policy, ABC):
    """A policy that needs no learning."""

    @override
    def decide(self, states: States) -> list[Plan]:
        chosen = self.choose(states)
        return [
            chosen.plan(
                row,
                {"confidence": float(states.confidence[row])}
                if chosen.act[row] == Act.RECOMMEND
                else {"entropy": float(states.entropies[row].max(initial=0.0))},
            )
            for row in range(len(states))
        ]

    @override
    @abstractmethod
    def choose(self, states: States) -> Decisions: ...


class Random(Rule):
    """Any act, any listed question, any candidate items, any strategy, all equally likely."""

    @override
    def choose(self, states: States) -> Decisions:
        turn = states.past.turn

        def pick(purpose: str, options: Any) -> NDArray[np.int64]:
            draw = draws.uniform(states.past.keys, turn, f"random arm {self.context.seed} {purpose}")
            picked: NDArray[np.int64] = (draw * options).astype(np.int64)
            return picked

        asks, lists = states.attributes[:, 0] >= 0, states.items[:, 0] >= 0
        acts = np.stack([np.ones(len(states), bool), asks, lists], axis=1)
        order = np.argsort(~acts, axis=1, kind="stable")  # the possible ones first
        chosen = np.take_along_axis(order, pick("act", acts.sum(axis=1))[:, None], axis=1)[:, 0]
        act = np.array([Act.CHAT, Act.ASK, Act.RECOMMEND])[chosen]
        place = pick("question", np.maximum((states.attributes >= 0).sum(axis=1), 1))
        listed = np.full((len(states), self.context.slate), PADDING)
        for row in np.flatnonzero(act == Act.RECOMMEND):
            candidates = states.candidates[states.offsets[row] : states.offsets[row + 1]].astype(np.int64)
            key = int(states.past.keys[row])
            shuffled = draws.uniform(candidates, int(turn[row]), f"list {self.context.seed} {key}").argsort()
            some = candidates[shuffled[: self.context.slate]]
            listed[row, : len(some)] = some
        return decisions(states, act, pick("strategy", len(STRATEGIES)), place, listed)


class Greedy(Rule):
    """Always recommends the posterior's best items."""

    @override
    def choose(self, states: States) -> Decisions:
        act = np.where(states.items[:, 0] >= 0, Act.RECOMMEND, Act.CHAT)
        nothing = np.zeros(len(states), dtype=np.int64)
        return decisions(states, act, polite(states), nothing, states.items[:, : self.context.slate])


class AskThenRecommend(Rule, ABC):
    """Asks until the list is likely enough to hit, then recommends."""

    @override
    def choose(self, states: States) -> Decisions:
        act = ask_then_recommend(states, self.sure(states))
        place = self.question(states)
        return decisions(states, act, polite(states), place, states.items[:, : self.context.slate])

    def sure(self, states: States) -> NDArray[np.bool_]:
        """Whether it is time to recommend: ``[b]``. By default above a fitted posterior mass of the list."""
        return states.confidence > self.context.recommend_above

    @abstractmethod
    def question(self, states: States) -> NDArray[np.int64]:
        """Which of the listed questions to ask: ``[b]``."""


class MaxEntropy(AskThenRecommend):
    """Asks the question of highest entropy under the belief: weighted entropy with a mass threshold."""

    @override
    def question(self, states: States) -> NDArray[np.int64]:
        return np.zeros(len(states), dtype=np.int64)  # they are listed in that order


class FewLeft(MaxEntropy):
    """Max-entropy as the benchmark's baseline times it: recommends once all that is left fits the list."""

    @override
    def sure(self, states: States) -> NDArray[np.bool_]:
        few: NDArray[np.bool_] = states.left <= self.context.slate
        return few


class Halving(AskThenRecommend):
    """Looks one answer ahead: asks what makes the next list likeliest to hit, whatever the answer."""

    @override
    def question(self, states: States) -> NDArray[np.int64]:
        best: NDArray[np.int64] = np.round(states.hits, 9).argmax(axis=1)
        return best


class Minicorn(AskThenRecommend):
    """Asks what a small ensemble disagrees about most, in the spirit of MINICORN.

    The members are the belief under Bayesian bootstraps (Rubin, 1981) of the items: each weighs every
    item by its own exponential draw. Disagreement is the mutual information of answer and member.
    """

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        rng = np.random.default_rng(draws.key("minicorn", context.seed))
        self._doubts = rng.exponential(size=(context.catalogue.n_items, ENSEMBLE))

    @override
    def question(self, states: States) -> NDArray[np.int64]:
        best: NDArray[np.int64] = np.round(states.disagreement(self._doubts), 9).argmax(axis=1)
        return best


def ask_then_recommend(states: States, sure: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Acts of who asks until ``sure`` (``[b]``), out of questions or in the last turn: ``[b]``."""
    lists, asks = states.items[:, 0] >= 0, states.attributes[:, 0] >= 0
    last = states.past.turn + 1 >= states.past.limit
    recommends = lists & (~asks | last | sure)
    return np.select([recommends, asks], [int(Act.RECOMMEND), int(Act.ASK)], int(Act.CHAT))


def polite(states: States) -> NDArray[np.int64]:
    """The best simple rule known for the strategy: the warmest ones in turn, ``[b]``."""
    strategy: NDArray[np.int64] = _WARMEST[states.past.turn % len(WARMEST)]
    return strategy


def decisions(
    states: States,
    act: NDArray[np.int64],
    strategy: NDArray[np.int64],
    place: NDArray[np.int64],
    items: NDArray[np.int64],
) -> Decisions:
    """Acts with their targets: the question at ``place`` (``[b]``), or the items."""
    named = np.take_along_axis(states.named, place[:, None, None], axis=1)[:, 0]
    return Decisions(
        act=act.astype(np.int64),
        strategy=strategy,
        attributes=np.where((act == Act.ASK)[:, None], named, PADDING),
        items=np.where((act == Act.RECOMMEND)[:, None], items, PADDING),
    )
