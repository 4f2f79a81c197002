"""Rules without learning: the reference arms that keep the learned ones honest.

Each decides every column. Their strategy is a rule too, :func:`polite`, so that they are not
handicapped before seekers on whom strategy works.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Plan, State, Strategy
from unicrs_rl.graphs.belief import States
from unicrs_rl.policy.base import Policy

WARMEST = (
    Strategy.PERSONAL_OPINION,
    Strategy.ENCOURAGEMENT,
    Strategy.PERSONAL_EXPERIENCE,
    Strategy.SIMILARITY,
)
"""The strategies that human seekers found warmest (INSPIRED), in turn because one alone wears off."""


def polite(state: State) -> Strategy:
    """The best simple rule known for the strategy: take the warmest ones in turn."""
    return WARMEST[state.turn % len(WARMEST)]


def recommend(states: States, row: int, slate: int, strategy: Strategy) -> Plan:
    """Recommend the posterior's best items."""
    items = tuple(item for item in states.items[row].tolist() if item >= 0)[:slate]
    return Plan(strategy, Act.RECOMMEND, (), items, {"confidence": float(states.confidence[row])})


def ask(states: States, row: int, strategy: Strategy) -> Plan:
    """Ask the question of highest weighted entropy."""
    attribute = int(states.attributes[row, 0])
    return Plan(strategy, Act.ASK, (attribute,), (), {"entropy": float(states.entropies[row, 0])})


class Rule(Policy, ABC):
    """A policy that needs no learning."""

    @override
    def decide(self, states: States) -> list[Plan]:
        return [self.decide_one(states, row) for row in range(len(states))]

    @abstractmethod
    def decide_one(self, states: States, row: int) -> Plan:
        """The plan for one conversation."""


class Random(Rule):
    """Any act, any listed question, any candidate items, any strategy, all equally likely."""

    @override
    def decide_one(self, states: States, row: int) -> Plan:
        state = states.rows[row]
        key = draws.key("random arm", self.context.seed, state.key)

        def pick(purpose: str, options: int) -> int:
            return draws.pick(key, state.turn, purpose, options)

        strategy = STRATEGIES[pick("strategy", len(STRATEGIES))]
        questions = [a for a in states.attributes[row].tolist() if a >= 0]
        candidates = states.weights[row].nonzero()[0]
        acts = [Act.CHAT]
        acts += [Act.ASK] if questions else []
        acts += [Act.RECOMMEND] if len(candidates) else []
        act = acts[pick("act", len(acts))]
        if act is Act.ASK:
            return Plan(strategy, act, (questions[pick("question", len(questions))],), ())
        if act is Act.CHAT:
            return Plan(strategy, act, (), ())
        order = draws.uniform(candidates, state.turn, f"list {key}").argsort(kind="stable")
        return Plan(strategy, act, (), tuple(int(i) for i in candidates[order[: self.context.slate]]))


class Greedy(Rule):
    """Always recommends the posterior's best items."""

    @override
    def decide_one(self, states: States, row: int) -> Plan:
        strategy = polite(states.rows[row])
        if states.items[row, 0] < 0:
            return Plan(strategy, Act.CHAT, (), ())
        return recommend(states, row, self.context.slate, strategy)


class MaxEntropy(Rule):
    """Asks the question of highest weighted entropy until the list is likely to hit, then recommends."""

    @override
    def decide_one(self, states: States, row: int) -> Plan:
        strategy = polite(states.rows[row])
        listed, open_ = states.items[row, 0] >= 0, states.attributes[row, 0] >= 0
        if listed and (not open_ or states.confidence[row] > self.context.recommend_above):
            return recommend(states, row, self.context.slate, strategy)
        return ask(states, row, strategy) if open_ else Plan(strategy, Act.CHAT, (), ())
