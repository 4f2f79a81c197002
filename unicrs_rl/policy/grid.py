"""The arm of the grid: each column of a decision by whoever its switches say.

The columns of the joint policy are one *part*; each column with a policy of its own is another. All
parts are learners of the same class on the same states and candidates
(:mod:`~unicrs_rl.policy.graph_actions`), each with a network, an optimizer and experience of its own:
no gradient passes between them. Every part is told of every turn and gets its whole reward. What a part
does not decide is closed to it:

::

    when        sees the likeliest item, the best question and chat
    ask         sees the open questions in a turn that asks, else can only pass (the chat candidate)
    recommend   sees the listed items in a turn that recommends, else can only pass
    strategy    sees the one chosen candidate, in all manners; others have a single manner

A part with several columns sees what these columns have in common: *when* with *recommend* all items,
the best question and chat; *ask* with *strategy* the open questions in all manners in a turn that asks,
and else the candidate that somebody else chose, in all manners. In a turn the part with *when* decides
first and the one with *strategy* last. Where the Actor will choose the act, chat stands in for what is
not known yet; where it will choose the target, the best question or the likeliest item does.

Columns by rule are decided as ``max-entropy`` decides them. An expert's columns are left open in the
plan, and so the arm has to be met in words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Plan
from unicrs_rl.errors import InputError, explain
from unicrs_rl.graphs.states import States
from unicrs_rl.policy.arms import policy_class
from unicrs_rl.policy.base import ArmContext, Learner, Tensors
from unicrs_rl.policy.control import COLUMNS, Control, Controller, Learning, Point
from unicrs_rl.policy.graph_actions import ActionConfig, ActionLearner, ActionSpace
from unicrs_rl.policy.graph_state import GraphBatch
from unicrs_rl.policy.rules import ask_then_recommend, polite

JOINT = "joint"
"""Name of the part that is the joint policy; the others are called after their columns."""

_ARMS: Mapping[Learning, str] = {
    Learning.DQN: "unified",
    Learning.PPO: "unified-ppo",
    Learning.REINFORCE: "unified-reinforce",
}
"""The arms whose learners are the parts."""


class GridConfig(Point):
    """The switches of an arm of the grid, and the hyper-parameters of its learners."""

    settings: Mapping[str, Any] = Field(
        default_factory=dict,
        description="of every part: those of unified (dqn), unified-ppo (ppo) or unified-reinforce "
        "(reinforce), without encoder",
    )

    @field_validator("settings")
    @classmethod
    def _of_the_learner(cls, settings: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if "encoder" in settings:
            raise ValueError("encoder: stands beside control and learner, not among the settings")
        if settings.get("few_left", "policy") != "policy":
            raise ValueError("few_left: is for unified alone; here control.when = 'rule' times by rule")
        if "learner" in info.data:
            try:
                _learner_class(info.data["learner"]).Config.model_validate(settings)
            except ValidationError as error:
                place = ".".join(map(str, error.errors()[0]["loc"]))
                said = explain(error)
                raise ValueError(f"{place}: {said}" if place else said) from None
        return settings

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if reason := self.impossible():
            raise ValueError(reason)
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The settings of each part."""
        return {**self.settings, "encoder": self.encoder.value}

    @property
    def hyper_parameters(self) -> Collection[str]:
        """What can be set of a part."""
        return _learner_class(self.learner).Config.model_fields


def _learner_class(learning: Learning) -> type[ActionLearner]:
    found = policy_class(_ARMS[learning])
    assert issubclass(found, ActionLearner)
    return found


@dataclass(frozen=True)
class Part:
    """A learner with the columns that it decides.

    Attributes:
        columns: of :data:`~unicrs_rl.policy.control.COLUMNS`.
        learner: who decides them.
    """

    columns: frozenset[str]
    learner: ActionLearner


class Grid(Learner):
    """Plays and learns; see the module's docstring.

    Args:
        context: of the arm; ``options`` are fields of :class:`GridConfig`.

    Raises:
        InputError: if these seekers make the point impossible.

    Attributes:
        parts: the learners, by name, in the order in which they decide.
    """

    Config = GridConfig
    complete = False

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.config = self.Config.model_validate(context.options or {})
        if reason := self.config.impossible(context.sociable):
            raise InputError(f"arm.grid: {reason}")
        self.control: Control = self.config.control
        learner = _learner_class(self.config.learner)
        settings = learner.Config.model_validate(self.config.options)
        assert isinstance(settings, ActionConfig)
        self.space = ActionSpace(settings, context)
        self.parts = {
            name: Part(columns, learner(self._context(name, columns)))
            for name, columns in parts_of(self.control)
        }

    def _context(self, name: str, columns: frozenset[str]) -> ArmContext:
        """Of a part. The joint policy has the arm's own seed: where it decides all, it is that learner."""
        seed, options = self.context.seed, self.config.options
        if columns == {"strategy"} and "imitate_turns" in self.config.hyper_parameters:
            options["imitate_turns"] = 0  # it would only wait: the rule that is imitated chooses no strategy
        return replace(
            self.context,
            seed=seed if name == JOINT else draws.key("grid", name, seed),
            sociable=self.context.sociable and "strategy" in columns,  # else there is one manner
            options=options,
        )

    @property
    @override
    def rollouts(self) -> int:
        return max(part.learner.rollouts for part in self.parts.values())

    @property
    @override
    def settled(self) -> bool:
        return all(part.learner.settled for part in self.parts.values())

    @override
    def prepare(self) -> None:
        for part in self.parts.values():
            part.learner.prepare()

    @override
    def decide(self, states: States) -> list[Plan]:
        scores: list[dict[str, float]] = [{} for _ in range(len(states))]

        def best(name: str, learner: ActionLearner, graphs: GraphBatch) -> NDArray[np.int64]:
            choice, options = learner.best_among(graphs), graphs.mask.sum(dim=1).tolist()
            for row, noted in enumerate(scores):
                if name == "strategy":  # which has no choice of acts
                    own = dict(zip(STRATEGIES, np.round(choice.manners[row], 4).tolist(), strict=True))
                elif options[row] * learner.space.n_manners > 1:
                    own = choice.scores(row)
                else:  # it can only pass
                    own = {}
                noted |= {f"{name}/{what}": value for what, value in own.items()}
            return choice.actions

        return self._plans(states, *self._turn(states, best), scores)

    @override
    def act(self, states: States) -> list[Plan]:
        guide, rows = self.space.guide(states), np.arange(len(states))

        def tried(_name: str, learner: ActionLearner, graphs: GraphBatch) -> NDArray[np.int64]:
            mask = graphs.mask.numpy()
            led = np.where(mask[rows, guide], guide, mask.argmax(axis=1))  # the rule, in these columns
            return learner.try_among(states.past.keys, graphs, led)

        return self._plans(states, *self._turn(states, tried), [{} for _ in rows])

    @override
    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        for part in self.parts.values():
            part.learner.observe(keys, rewards, over)

    @override
    def forget(self, keys: Collection[int]) -> None:
        for part in self.parts.values():
            part.learner.forget(keys)

    @override
    def learn(self) -> dict[str, float]:
        curves = {
            f"{name}/{what}": value
            for name, part in self.parts.items()
            for what, value in part.learner.learn().items()
        }
        self._count()
        return curves

    @override
    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        """Those of the parts; ``network.weight`` of the part ``ask`` is ``network.ask.weight``."""
        tensors, headers = {}, {}
        for name, part in self.parts.items():
            own, headers[name] = part.learner.state(resumable)
            for what, value in own.items():
                kind, _, rest = what.partition(".")
                tensors[f"{kind}.{name}.{rest}"] = value
        return tensors, {
            "resumable": resumable,
            "config": self.config.model_dump(mode="json"),
            "parts": headers,
            "interference": headers.get(JOINT, {}).get("interference", []),  # nobody else has two heads
        }

    @override
    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            own = {}
            for what, value in tensors.items():
                kind, whose, rest = what.split(".", 2)
                if whose == name:
                    own[f"{kind}.{rest}"] = value
            part.learner.load(own, header["parts"][name])
        self._count()

    def _count(self) -> None:
        """The gradient steps of all parts."""
        learners = [part.learner for part in self.parts.values()]
        self.stepped = sum(learner.stepped for learner in learners)
        self.warm_up_steps = sum(learner.warm_up_steps for learner in learners)

    def _turn(
        self, states: States, take: Callable[[str, ActionLearner, GraphBatch], NDArray[np.int64]]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Candidates and strategies ``[b]``, by the rules and by the parts one after the other.

        Args:
            take: the action of a part among the open candidates, by its name, learner and states.
        """
        graphs, chat = self.space.graphs(states), 2 * self.space.config.k
        table = graphs.mask.numpy()
        candidates, strategies = self._by_rule(states), polite(states)
        for name, part in self.parts.items():
            mask = torch.from_numpy(opened(part.columns, table, candidates))
            space = part.learner.space
            taken, manners = np.divmod(take(name, part.learner, graphs._replace(mask=mask)), space.n_manners)
            passes = (taken == chat) & ("when" not in part.columns)
            candidates = np.where(passes, candidates, taken)
            if "strategy" in part.columns:
                strategies = space.positions[manners]
        return candidates, strategies

    def _by_rule(self, states: States) -> NDArray[np.int64]:
        """The candidates of the rules, ``[b]``: the first of the act that is due; chat where it is open."""
        k = self.space.config.k
        if self.control.when is Controller.EXPERT:
            return np.full(len(states), 2 * k)
        act = ask_then_recommend(states, states.confidence > self.context.recommend_above)
        return np.select([act == Act.RECOMMEND, act == Act.ASK], [0, k], 2 * k)

    def _plans(
        self,
        states: States,
        candidates: NDArray[np.int64],
        strategies: NDArray[np.int64],
        scores: Sequence[Mapping[str, float]],
    ) -> list[Plan]:
        """The plans of these candidates and strategies, ``[b]`` each, without what experts decide."""
        chosen = self.space.played(states, candidates, strategies)
        plans = [chosen.plan(row, scores[row]) for row in range(len(states))]
        experts = self.control.of(Controller.EXPERT)
        if "when" in experts:
            plans = self._untimed(states, plans)
        elif "ask" in experts:
            plans = [replace(plan, attributes=None) if plan.act is Act.ASK else plan for plan in plans]
        if "when" not in experts and "recommend" in experts:
            plans = [replace(plan, items=None) if plan.act is Act.RECOMMEND else plan for plan in plans]
        if "strategy" in experts:
            plans = [replace(plan, strategy=None) for plan in plans]
        return plans

    def _untimed(self, states: States, plans: Sequence[Plan]) -> list[Plan]:
        """Plans that leave the act open, with the targets that a rule decides for either case."""
        zeros, experts = np.zeros(len(states), dtype=np.int64), self.control.of(Controller.EXPERT)
        lists = self.space.played(states, zeros, zeros)
        questions = self.space.played(states, zeros + self.space.config.k, zeros)
        return [
            replace(
                plan,
                act=None,
                items=None if "recommend" in experts else lists.plan(row).items or None,
                attributes=None if "ask" in experts else questions.plan(row).attributes or None,
            )
            for row, plan in enumerate(plans)
        ]


def opened(columns: frozenset[str], table: NDArray[np.bool_], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The candidates that are open to a part with these columns: ``[b, 2k + 1]``.

    Args:
        table: ``[b, 2k + 1]``, candidates that the state leaves open.
        chosen: ``[b]``, those chosen so far; of a target not chosen yet, the first of its kind.
    """
    chat = table.shape[1] - 1
    k = chat // 2
    if "when" in columns:
        mask = table.copy()
        mask[:, 1:k] &= "recommend" in columns
        mask[:, k + 1 : chat] &= "ask" in columns
        return mask
    mask = np.zeros_like(table)
    mask[np.arange(len(mask)), chosen if "strategy" in columns else chat] = True
    for column, first in (("recommend", 0), ("ask", k)):
        if column in columns:
            turns = (first <= chosen) & (chosen < first + k)
            mask[turns] = False
            mask[turns, first : first + k] = table[turns, first : first + k]
    return mask


def parts_of(control: Control) -> list[tuple[str, frozenset[str]]]:
    """The parts by name with their columns, in the order in which they decide."""
    joint = frozenset(control.of(Controller.JOINT))
    parts = [(JOINT, joint)] if joint else []
    parts += [(column, frozenset({column})) for column in COLUMNS if column in control.of(Controller.OWN)]

    def place(part: tuple[str, frozenset[str]]) -> int:
        _, columns = part
        return 0 if "when" in columns else 2 if "strategy" in columns else 1

    return sorted(parts, key=place)
