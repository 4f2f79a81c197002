"""The truth about planted worlds: what can be reached in them, by dynamic programming.

All replies are certain given what the seeker wants and whether it is reserved, so a belief is the set of
items that are left: those that agree with every answer and have not been declined (what was declined is on
nobody's list again), in proportion to their weights. With ``V(L, n)`` the conversations won from items ``L``
with ``n`` turns to go, out of all pairs (item, kind of seeker) of the world's population,

- recommending item ``i`` with strategy ``h`` wins ``won(i, h) + V(L - {i}, n - 1)``, where ``won`` counts the
  pairs of ``i`` that accept it with ``h``,
- asking about tag ``a`` wins ``V(L and a, n - 1) + V(L without a, n - 1)``,

and ``V(L, 0) = 0``. Whether the seeker is reserved needs no place in the belief: a declined list says
something about it only together with the item that was declined. All numbers are whole: nothing is rounded.

A column under *joint* control, or of its *own*, takes whatever is best; policies of their own that are
trained apart can do no better than that together. A column by *rule* does what the rule of every arm does
(:mod:`~unicrs_rl.policy.rules`): asks the question of highest entropy, recommends the likeliest item once its
chance exceeds a threshold (and in the last turn), with the warmest strategies in turn. The threshold is the
best of all there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

from unicrs_rl.dialogue import STRATEGIES, Strategy
from unicrs_rl.errors import unknown
from unicrs_rl.graphs.planted import PROBLEMS, Problem
from unicrs_rl.language.wording import WARMEST
from unicrs_rl.policy.control import Control, Controller

Items = frozenset[int]

JOINT = Control()
"""Every column by the joint policy: the arm ``unified``."""
RULES = Control(
    when=Controller.RULE, ask=Controller.RULE, recommend=Controller.RULE, strategy=Controller.RULE
)
"""Every column by rule: the arm ``max-entropy``."""
DECOMPOSED = RULES.model_copy(update={"strategy": Controller.OWN})
"""Decomposed control: the strategy by a policy of its own, all else by rule."""
WITHOUT_STRATEGY = Control(strategy=Controller.RULE)
"""Joint control of all but the strategy."""


@dataclass(frozen=True)
class Solver:
    """What can be won from every belief of a problem under some control.

    Args:
        problem: it.
        control: who decides what.
        threshold: chance of the likeliest item above which the rule recommends.

    Raises:
        ValueError: if a column is an expert's, of whom nothing can be computed.
    """

    problem: Problem
    control: Control = JOINT
    threshold: float = 0.0
    _won: dict[tuple[Items, int], int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if experts := self.control.of(Controller.EXPERT):
            raise ValueError(f"{' and '.join(experts)}: nothing can be computed of what an expert decides")

    def value(self, left: Items, turns: int) -> int:
        """Conversations won from the items ``left`` with so many ``turns`` to go."""
        if not turns or not left:
            return 0
        if (left, turns) not in self._won:
            self._won[left, turns] = max(
                [self.recommended(left, turns, [item], h) for item, h in self._lists(left, turns)]
                + [self.asked(left, turns, tag) for tag in self._questions(left, turns)]
            )
        return self._won[left, turns]

    def recommended(self, left: Items, turns: int, items: Sequence[int], strategy: Strategy) -> int:
        """The same, if these items are recommended first."""
        shown = left.intersection(items)
        won = sum(self.problem.weights[item] for item in shown) * sum(
            self.problem.accepts(kind, strategy) for kind in self.problem.kinds
        )
        return won + self.value(left - shown, turns - 1)

    def asked(self, left: Items, turns: int, attribute: int) -> int:
        """The same, if an attribute is asked about first."""
        yes = left & self._owners[attribute]
        return self.value(yes, turns - 1) + self.value(left - yes, turns - 1)

    def chatted(self, left: Items, turns: int) -> int:
        """The same, if the first turn is spent on chat."""
        return self.value(left, turns - 1)

    def confidence(self, left: Items) -> Fraction:
        """Chance of the likeliest item."""
        weights = [self.problem.weights[item] for item in left]
        return Fraction(max(weights), sum(weights))

    def questions(self, left: Items) -> list[int]:
        """Attributes that some but not all of the items have, the most informative first, ties by id."""
        total, found = self._mass(left), []
        for attribute in self.problem.catalogue.askable.tolist():
            yes = left & self._owners[attribute]
            if yes and yes != left:
                found.append((abs(2 * self._mass(yes) - total), attribute))  # grows as the entropy falls
        return [attribute for _, attribute in sorted(found)]

    def likeliest(self, left: Items) -> int:
        """The heaviest item, ties by id."""
        return min(left, key=lambda item: (-self.problem.weights[item], item))

    def warmest(self, turns: int) -> Strategy:
        """The rule's strategy with so many turns to go."""
        return WARMEST[(self.problem.limit - turns) % len(WARMEST)]

    def recommends(self, left: Items, turns: int) -> bool:
        """Whether the rule recommends now."""
        return turns == 1 or not self.questions(left) or self.confidence(left) > self.threshold

    def _mass(self, items: Items) -> int:
        return sum(self.problem.weights[item] for item in items)

    def _lists(self, left: Items, turns: int) -> list[tuple[int, Strategy]]:
        """The recommendations that this control allows."""
        if self.control.when is Controller.RULE and not self.recommends(left, turns):
            return []
        items = [self.likeliest(left)] if self.control.recommend is Controller.RULE else sorted(left)
        by_rule = self.control.strategy is Controller.RULE
        return [(item, h) for item in items for h in ([self.warmest(turns)] if by_rule else self._manners)]

    def _questions(self, left: Items, turns: int) -> list[int]:
        """The questions that this control allows."""
        if self.control.when is Controller.RULE and self.recommends(left, turns):
            return []
        found = self.questions(left)
        return found[:1] if self.control.ask is Controller.RULE else found

    @cached_property
    def _manners(self) -> list[Strategy]:
        """A strategy of each kind: one that convinces and one that does not, if there is any."""
        first = {strategy in self.problem.convincing: strategy for strategy in reversed(STRATEGIES)}
        return list(first.values())

    @cached_property
    def _owners(self) -> Mapping[int, Items]:
        catalogue = self.problem.catalogue
        return {a: frozenset(catalogue.items_with(a).tolist()) for a in range(catalogue.n_attributes)}


@dataclass(frozen=True)
class Optimum:
    """The best that some control can reach.

    Attributes:
        control: who decides what.
        success: the best rate of success.
        threshold: for the rule that recommends, the middle of the highest range of thresholds that reach it.
    """

    control: Control
    success: Fraction
    threshold: float


def optimum(problem: Problem, control: Control) -> Optimum:
    """The best rate of success under some control, over all thresholds where the timing is by rule.

    Raises:
        ValueError: if a column is an expert's.
    """
    everything = frozenset(range(len(problem.items)))
    pairs = sum(problem.weights) * len(problem.kinds)
    found = [
        Optimum(control, Fraction(Solver(problem, control, t).value(everything, problem.limit), pairs), t)
        for t in (_thresholds(problem) if control.when is Controller.RULE else [0.5])
    ]
    return max(found, key=lambda one: (one.success, one.threshold))


@dataclass(frozen=True)
class Truth:
    """What can be reached in a planted world, as rates of success.

    Attributes:
        joint: under joint control of every column: the best that any policy can do.
        decomposed: with a strategy policy of its own, all else by rule (:data:`DECOMPOSED`).
        rules: with every column by rule (:data:`RULES`): the arm ``max-entropy``.
        without_strategy: under joint control of all but the strategy (:data:`WITHOUT_STRATEGY`).
        threshold: the best one for recommending by rule.
    """

    joint: float
    decomposed: float
    rules: float
    without_strategy: float
    threshold: float

    @property
    def margin(self) -> float:
        """By how much joint control beats decomposed control."""
        return self.joint - self.decomposed

    @property
    def strategy_margin(self) -> float:
        """By how much decomposed control beats rules: what control of the strategy alone is worth."""
        return self.decomposed - self.rules


@cache
def truth(world: str) -> Truth:
    """The truth about a planted world.

    Raises:
        InputError: if there is no planted world of that name.
    """
    return solve(planted_problem(world))


def solve(problem: Problem) -> Truth:
    """The truth about a problem."""
    rules = optimum(problem, RULES)
    rates = [optimum(problem, control).success for control in (JOINT, DECOMPOSED, WITHOUT_STRATEGY)]
    joint, decomposed, without_strategy = map(float, rates)
    return Truth(joint, decomposed, float(rules.success), without_strategy, rules.threshold)


def planted_problem(world: str) -> Problem:
    """The problem of a planted world.

    Raises:
        InputError: if there is no planted world of that name.
    """
    if world not in PROBLEMS:
        raise unknown("planted world", world, PROBLEMS)
    return PROBLEMS[world]


def learner(problem: Problem) -> dict[str, Any]:
    """Settings of double DQN for a problem this small.

    Without discounting, values are rates of success; without the rule to guide it, nothing but its own
    success tells it what to do. All turns are replayed alike, because rewards are coins tossed once a
    dialogue and the surprising ones are lucky ones; only the first turn bootstraps, so that few maxima over
    noisy values follow on one another. Chosen together, by trial on these worlds; none was tested by itself.
    """
    return {
        "k": 5,
        "dim": 16,
        "learning_rate": 1e-3,
        "batch_size": 128,
        "discount": 1.0,
        "n_step": max(1, problem.limit - 1),
        "steps_per_turn": 0.3,
        "tau": 0.02,
        "alpha": 0.0,
        "explore_to": 0.1,
        "explore_turns": 2400,
        "guided": 0.0,
        "margin_weight": 0.0,
    }


def settings(world: str) -> dict[str, Any]:
    """The settings that a planted world is meant for.

    Raises:
        InputError: if there is no planted world of that name.
    """
    return settings_of(planted_problem(world))


def settings_of(problem: Problem) -> dict[str, Any]:
    """The settings that the world of a problem is meant for.

    Beliefs are exact under them, rewards are successes, the rule's threshold is the best one, and one
    dialogue is held for every pair (item, kind of seeker), as often as it weighs.
    """
    return {
        "world": problem.name,
        "user": "planted",
        "limit": problem.limit,
        "slate": 1,
        "prior": "popularity",
        "exclude_history": False,
        "reward": {"signal": "success", "judge_weight": 0.0},
        "recommend_above": optimum(problem, RULES).threshold,
        "arms": ("unified", "grid@decomposed", "max-entropy"),
        "dialogues": sum(problem.weights) * len(problem.kinds),
        "train_dialogues": 1200,
        "embeddings": {"dim": 16, "epochs": 5},
        "arm": {
            "unified": learner(problem),
            "grid@decomposed": {"control": DECOMPOSED.model_dump(mode="json"), "settings": learner(problem)},
        },
        "statistics": {"primary": ("sr@15",)},
    }


@cache
def best(problem: Problem) -> Solver:
    """The solver under joint control, which remembers what it has computed."""
    return Solver(problem)


def regret(problem: Problem, dialogue: Mapping[str, Any]) -> list[float]:
    """By how much each turn of a dialogue fell short of the best action in its belief.

    In chances of success: the value of the best action less that of the one taken, in the belief under all
    that was said before. The mean over the population of a dialogue's sum is exactly what a policy that
    always does the same in the same belief loses against the optimum.

    Args:
        dialogue: a trace, with ``turns``.
    """
    solver = best(problem)
    left = frozenset(range(len(problem.items)))
    possible = {(item, kind) for item in left for kind in problem.kinds}
    lost = []
    for number, turn in enumerate(dialogue["turns"]):
        decision, reply, turns = turn["decision"], turn["reply"], problem.limit - number
        strategy, shown = Strategy(decision["strategy"]), frozenset(decision["items"])
        if decision["act"] == "ask" and decision["attributes"]:
            taken = solver.asked(left, turns, decision["attributes"][0])
        elif decision["act"] == "recommend":
            taken = solver.recommended(left, turns, sorted(shown), strategy)
        else:
            taken = solver.chatted(left, turns)
        mass = sum(problem.weights[item] for item, _ in possible)
        lost.append((solver.value(left, turns) - taken) / mass)
        left -= shown
        possible -= {(i, kind) for i, kind in possible if i in shown and problem.accepts(kind, strategy)}
        for attributes, wanted in ((reply["liked"], True), (reply["disliked"], False)):
            for attribute in attributes:
                having = frozenset(problem.catalogue.items_with(attribute).tolist())
                left = left & having if wanted else left - having
                possible = {(i, kind) for i, kind in possible if (i in having) is wanted}
    return lost


def expected_success(problem: Problem, dialogues: Sequence[Mapping[str, Any]]) -> float:
    """The optimum less the mean regret of dialogues that cover the population.

    The expected success of whoever held them. It is steadier than the share of successes where a policy
    reacts to how replies are worded: whether a guess happens to be right does not enter.

    Args:
        dialogues: traces, with ``turns``.
    """
    lost = sum(sum(regret(problem, dialogue)) for dialogue in dialogues) / len(dialogues)
    return float(optimum(problem, JOINT).success) - lost


def _thresholds(problem: Problem) -> list[float]:
    """A threshold between any two neighbouring values that the chance of the likeliest item can take."""
    solver, known = best(problem), {Fraction(0), Fraction(1)}
    beliefs = {frozenset(range(len(problem.items)))}
    for _ in range(problem.limit):
        known |= {solver.confidence(left) for left in beliefs}
        after = {left - {item} for left in beliefs for item in left}
        for left in beliefs:
            for attribute in solver.questions(left):
                yes = left & solver._owners[attribute]
                after |= {yes, left - yes}
        beliefs = {left for left in after if left}
    values = sorted(known)
    return [float(low + high) / 2 for low, high in pairwise(values)]
