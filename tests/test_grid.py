"""The arm of the grid: who decides what, on what, and that its parts are learners of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import catalogue_of
from pydantic import ValidationError

from unicrs_rl import draws
from unicrs_rl.cli import main
from unicrs_rl.dialogue import STRATEGIES, Act, Plan, Preferences, State, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.components import Components, build
from unicrs_rl.experiments.config import resolve
from unicrs_rl.experiments.conversation import Conversations, Episode
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.policy.base import ArmContext, Learner
from unicrs_rl.policy.control import COLUMNS, LEARNED, POINTS, Control, Controller, Encoder, Learning, Point
from unicrs_rl.policy.graph_actions import ActionLearner
from unicrs_rl.policy.grid import JOINT, Grid, GridConfig, opened, parts_of
from unicrs_rl.policy.rules import MaxEntropy, polite

WIDTHS = {"dim": 8, "heads": 2, "graph_layers": 1}
SMALL: dict[Learning, dict[str, Any]] = {
    Learning.DQN: WIDTHS | {"warm_up_turns": 16, "batch_size": 16, "capacity": 1000},
    Learning.PPO: WIDTHS | {"imitate_turns": 40, "rollout_turns": 48, "batch_size": 32, "epochs": 2},
    Learning.REINFORCE: WIDTHS | {"imitate_turns": 40, "update_every": 4, "imitate_steps": 2},
}
"""Settings with which a few conversations are enough to learn something."""
JOINTLY: dict[Learning, str] = {
    Learning.DQN: "unified",
    Learning.PPO: "unified-ppo",
    Learning.REINFORCE: "unified-reinforce",
}
ALONE = POINTS["four-isolated"].control


def point_of(control: Control, **switches: Any) -> dict[str, Any]:
    learning = switches.get("learner", Learning.DQN)
    return {
        "control": control.model_dump(),
        "settings": SMALL[learning],
        **{name: str(switch) for name, switch in switches.items()},
    }


def grid_of(components: Components, options: dict[str, Any], seed: int = 0, **changes: Any) -> Grid:
    context = ArmContext(
        components.world.catalogue, components.embeddings, seed=seed, dialogues=64, options=options
    )
    return Grid(replace(context, **changes))


def train(learner: Learner, components: Components, batches: Sequence[int]) -> dict[str, float]:
    """Lead some batches of conversations in words and learn from each."""
    held, curves = Conversations(components), {}
    for batch in batches:
        sessions = components.world.sessions(Split.TRAIN, 10, 100 + batch)
        held.hold(learner, sessions, learning=True)
        curves = learner.learn()
    return curves


def evaluate(learner: Learner, components: Components, count: int = 10) -> list[Episode]:
    return Conversations(components).hold(learner, components.world.sessions(Split.TEST, count, 0))


def plans_with_scores(episodes: Sequence[Episode]) -> list[Plan]:
    plans = [turn.plan for episode in episodes for turn in episode.dialogue.turns]
    return [plan for plan in plans if plan is not None]


def plans_of(episodes: Sequence[Episode]) -> list[Plan]:
    return [replace(plan, scores={}) for plan in plans_with_scores(episodes)]


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in learner.state()[0].items() if name.startswith("network.")}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def states_of(components: Components, count: int, seed: int = 0) -> States:
    """Opening states of conversations, no two of which share a key with those of another seed."""
    sessions = components.world.sessions(Split.TRAIN, count, seed)
    rows = []
    for session in sessions:
        owned = components.world.catalogue.attributes_of(session.target)
        known = Preferences(liked=(int(owned[0]),))
        rows.append(State(draws.key(seed, session.key), session.history, known, (), (), 15))
    return components.beliefs.states(rows, components.prior.log_scores(sessions))


class Watched(Grid):
    """Keeps what it saw and planned."""

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.seen: list[tuple[States, list[Plan]]] = []

    def decide(self, states: States) -> list[Plan]:
        plans = super().decide(states)
        self.seen.append((states, plans))
        return plans

    def act(self, states: States) -> list[Plan]:
        plans = super().act(states)
        self.seen.append((states, plans))
        return plans


def watched(components: Components, control: Control) -> Watched:
    """An arm that has learned a little and was then looked at: all its turns."""
    learner = Watched(grid_of(components, point_of(control)).context)
    train(learner, components, range(1))
    evaluate(learner, components)
    assert sum(len(states) for states, _ in learner.seen) > 40
    return learner


# --- what is open to whom


def test_a_part_sees_what_its_columns_have_in_common() -> None:
    """Three listed items, two of them open; three questions; chat. Chosen: an item, a question, chat."""
    table = np.array([[1, 1, 0, 1, 1, 1, 1]] * 3, dtype=bool)
    chosen = np.array([0, 4, 6])
    item, question, both, chat = "1000000", "0000100", "1001001", "0000001"
    items, questions = "1100000", "0001110"
    expected = {
        "when": [both] * 3,
        "ask": [chat, questions, chat],
        "recommend": [items, chat, chat],
        "strategy": [item, question, chat],
        "when ask": ["1001111"] * 3,
        "when recommend": ["1101001"] * 3,
        "when strategy": [both] * 3,
        "ask recommend": [items, questions, chat],
        "ask strategy": [item, questions, chat],
        "recommend strategy": [items, question, chat],
        "when ask recommend": ["1101111"] * 3,
        "when ask strategy": ["1001111"] * 3,
        "when recommend strategy": ["1101001"] * 3,
        "ask recommend strategy": [items, questions, chat],
        "when ask recommend strategy": ["1101111"] * 3,
    }
    assert len(expected) == 2 ** len(COLUMNS) - 1
    for columns, masks in expected.items():
        found = opened(frozenset(columns.split()), table, chosen)
        assert ["".join(map(str, row.astype(int))) for row in found] == masks, columns
    assert table.sum() == 18  # none of them has written into it


def test_parts_decide_in_an_order_in_which_each_knows_what_it_needs() -> None:
    for controllers in product(Controller, repeat=len(COLUMNS)):
        control = Control(**dict(zip(COLUMNS, controllers, strict=True)))
        parts = parts_of(control)
        flat = [column for _, columns in parts for column in columns]
        assert sorted(flat) == sorted(control.of(*LEARNED))  # each column once
        assert [name for name, _ in parts].count(JOINT) == bool(control.of(Controller.JOINT))
        for place, (_, columns) in enumerate(parts):
            if "when" in columns:
                assert place == 0
            elif "strategy" in columns:
                assert place == len(parts) - 1


# --- the joint policy


@pytest.mark.parametrize("learner", Learning)
def test_with_all_columns_joint_it_is_the_unified_arm(components: Components, learner: Learning) -> None:
    """The same weights, bit for bit, and the same decisions."""
    grid = grid_of(components, point_of(Control(), learner=learner), seed=5)
    part = grid.parts[JOINT].learner
    alone = type(part)(replace(grid.context, options=SMALL[learner]))
    assert isinstance(alone, type(components.policy(JOINTLY[learner], 0)))
    before = {name: tensor.clone() for name, tensor in weights_of(part).items()}
    for one in (grid, alone):
        train(one, components, range(3))
    assert not equal(before, weights_of(part))
    assert equal(weights_of(part), weights_of(alone))
    mine, theirs = evaluate(grid, components), evaluate(alone, components)
    assert plans_of(mine) == plans_of(theirs)
    first, second = mine[0].dialogue.turns[0].plan, theirs[0].dialogue.turns[0].plan
    assert first is not None
    assert second is not None
    assert first.scores == {f"joint/{name}": value for name, value in second.scores.items()}


def test_a_named_point_is_the_registered_arm_where_there_is_one() -> None:
    assert {name: point.arm for name, point in POINTS.items()} == {
        "unified": "unified",
        "rso": "rso",
        "without-strategy": "grid",
        "timing-by-rule": "grid",
        "four-isolated": "grid",
        "graph-planner": "grid",
        "unified-on-text": "grid",
    }


# --- policies of their own


@pytest.mark.parametrize("learner", Learning)
def test_parts_share_no_parameter_and_no_gradient(components: Components, learner: Learning) -> None:
    grid = grid_of(components, point_of(ALONE, learner=learner))
    assert list(grid.parts) == list(COLUMNS)
    learners = [part.learner for part in grid.parts.values()]
    places = [parameter.data_ptr() for one in learners for parameter in parameters_of(one)]
    assert len(set(places)) == len(places)
    train(grid, components, range(2))
    Conversations(components).hold(grid, components.world.sessions(Split.TRAIN, 16, 200), learning=True)
    for one in learners:
        for other in learners:
            for parameter in parameters_of(other):
                parameter.grad = None
        others = [weights_of(other) for other in learners if other is not one]
        kept = [{name: tensor.clone() for name, tensor in weights.items()} for weights in others]
        one.learn()
        with_gradient = [any(p.grad is not None for p in parameters_of(other)) for other in learners]
        assert with_gradient == [other is one for other in learners]
        assert all(equal(weights, before) for weights, before in zip(others, kept, strict=True))


def parameters_of(learner: ActionLearner) -> list[torch.nn.Parameter]:
    network = learner.network  # type: ignore[attr-defined]
    return list(network.parameters())


def test_parts_begin_apart_from_each_other(components: Components) -> None:
    grid = grid_of(components, point_of(ALONE))
    starts = [parameters_of(part.learner)[0] for part in grid.parts.values()]
    assert not any(torch.equal(one, other) for i, one in enumerate(starts) for other in starts[:i])


def test_only_who_decides_the_strategy_has_manners(components: Components) -> None:
    grid = grid_of(components, point_of(ALONE))
    assert {name: part.learner.space.n_manners for name, part in grid.parts.items()} == {
        "when": 1,
        "ask": 1,
        "recommend": 1,
        "strategy": len(STRATEGIES),
    }


def test_every_part_gets_every_turns_reward(components: Components) -> None:
    grid = grid_of(components, point_of(ALONE))
    Conversations(components).hold(grid, components.world.sessions(Split.TRAIN, 16, 3), learning=True)
    grid.learn()
    rewards = [part.learner.replay.rewards[:30].tolist() for part in grid.parts.values()]  # type: ignore[attr-defined]
    assert all(those == rewards[0] for those in rewards)
    assert any(rewards[0])


def learn_to(grid: Grid, components: Components, batches: int, earned: Any) -> None:
    """A bandit: conversations of one turn, rewarded by ``earned(states, plans)``."""
    for batch in range(batches):
        states = states_of(components, 16, seed=batch)
        plans = grid.act(states)
        grid.observe(states.past.keys.tolist(), earned(states, plans), [True] * len(states))
        grid.learn()


BANDIT = WIDTHS | {"warm_up_turns": 16, "learning_rate": 1e-2, "guided": 0.3, "k": 2, "batch_size": 32}
BANDIT |= {"steps_per_turn": 0.5, "explore_turns": 300, "tau": 0.05}


def test_a_part_learns_which_question_to_ask(components: Components) -> None:
    """Asking the second of two questions earns 1, the rule's own nothing."""
    control = Control(when="rule", ask="own", recommend="rule", strategy="rule")
    options = {"control": control.model_dump(), "settings": BANDIT}
    grid = grid_of(components, options, dialogues=16 * 20, recommend_above=0.99)

    def earned(states: States, plans: Sequence[Plan]) -> list[float]:
        second = states.attributes[:, 1].tolist()
        return [float(plan.attributes == (which,)) for plan, which in zip(plans, second, strict=True)]

    learn_to(grid, components, 20, earned)
    states = states_of(components, 64, seed=999)
    assert np.mean(earned(states, grid.decide(states))) >= 0.95


@pytest.mark.slow
def test_isolated_parts_learn_a_task_that_needs_two_of_them(components: Components) -> None:
    """Asking with Encouragement earns 1; nobody decides both."""
    control = Control(when="own", ask="rule", recommend="rule", strategy="own")
    options = {"control": control.model_dump(), "settings": BANDIT}
    grid = grid_of(components, options, dialogues=16 * 40)

    def earned(_states: States, plans: Sequence[Plan]) -> list[float]:
        return [float(p.act is Act.ASK and p.strategy is Strategy.ENCOURAGEMENT) for p in plans]

    learn_to(grid, components, 40, earned)
    states = states_of(components, 64, seed=999)
    assert np.mean(earned(states, grid.decide(states))) >= 0.95


def test_a_guide_leads_each_part_within_its_columns(components: Components) -> None:
    """Who only follows the rule decides as the rule does, at some threshold, whoever has the columns."""
    settings = {"explore_from": 1.0, "explore_to": 1.0, "guided": 1.0}
    states = states_of(components, 60)
    chosen = []
    for control in (Control(), ALONE, Control(when="own", ask="joint", recommend="own", strategy="joint")):
        plans = grid_of(components, {"control": control.model_dump(), "settings": settings}).act(states)
        chosen.append([(plan.act, plan.items, plan.attributes) for plan in plans])
        for row, plan in enumerate(plans):
            asked, first = states.attributes[row, 0], states.items[row, 0]
            assert (plan.attributes or plan.items or ())[0] == (asked if plan.act is Act.ASK else first)
    assert chosen[0] == chosen[1] == chosen[2]
    assert {act for act, _, _ in chosen[0]} == {Act.ASK, Act.RECOMMEND}


# --- columns by rule, columns of experts


def listed(states: States, row: int) -> tuple[int, ...]:
    """The likeliest items."""
    return tuple(item for item in states.items[row, :10].tolist() if item >= 0)


@pytest.mark.parametrize("other", [Controller.JOINT, Controller.OWN])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_by_rule_is_the_rules_choice_at_every_turn(
    components: Components, column: str, other: Controller
) -> None:
    control = Control(**{name: Controller.RULE if name == column else other for name in COLUMNS})
    learner = watched(components, control)
    rule = MaxEntropy(learner.context)
    differs = 0
    for states, plans in learner.seen:
        due, strategies = rule.decide(states), polite(states).tolist()
        for row, (plan, by_rule) in enumerate(zip(plans, due, strict=True)):
            decided = {
                "when": plan.act is by_rule.act,
                "ask": plan.attributes == (states.attributes[row, 0],) if plan.act is Act.ASK else True,
                "recommend": plan.items == listed(states, row) if plan.act is Act.RECOMMEND else True,
                "strategy": plan.strategy is STRATEGIES[strategies[row]],
            }
            assert decided.pop(column)
            differs += not all(decided.values())
    assert differs > 20  # the others are not the rule's


def test_expert_columns_are_left_open_and_only_those(components: Components) -> None:
    for column in COLUMNS[1:]:
        control = Control(**{name: "expert" if name == column else "joint" for name in COLUMNS})
        for _, plans in watched(components, control).seen:
            for plan in plans:
                assert plan.act is not None
                assert (plan.strategy is None) == (column == "strategy")
                assert (plan.attributes is None) == (column == "ask" and plan.act is Act.ASK)
                assert (plan.items is None) == (column == "recommend" and plan.act is Act.RECOMMEND)


@pytest.mark.parametrize("ask", [Controller.RULE, Controller.EXPERT])
@pytest.mark.parametrize("recommend", [Controller.RULE, Controller.EXPERT])
def test_where_an_expert_times_the_rules_targets_stand_ready(
    components: Components, ask: Controller, recommend: Controller
) -> None:
    control = Control(when="expert", ask=ask, recommend=recommend, strategy="own")
    for states, plans in watched(components, control).seen:
        for row, plan in enumerate(plans):
            assert plan.act is None
            assert plan.strategy is not None
            assert plan.items == (listed(states, row) if recommend is Controller.RULE else None)
            assert plan.attributes == ((states.attributes[row, 0],) if ask is Controller.RULE else None)


@pytest.mark.parametrize("words", [True, False])
def test_whatever_is_left_open_is_filled(components: Components, words: bool) -> None:
    """With words by the Actor, without them by its rule: acts with targets, and those planned as planned."""
    openings = [
        Control(when="joint", ask="expert", recommend="rule", strategy="rule"),
        Control(when="joint", ask="expert", recommend="expert", strategy="expert"),
        Control(when="expert", ask="rule", recommend="expert", strategy="joint"),
        Control(when="rule", ask="joint", recommend="expert", strategy="expert"),
    ]
    for control in openings:
        learner = grid_of(components, point_of(control))
        held = Conversations(components, words).hold(
            learner, components.world.sessions(Split.TEST, 20, 0), learning=True
        )
        turns = [turn for episode in held for turn in episode.dialogue.turns]
        assert {turn.decision.act for turn in turns} >= {Act.ASK, Act.RECOMMEND}
        for turn in turns:
            decision, plan = turn.decision, turn.plan
            assert plan is not None
            assert bool(decision.items) == (decision.act is Act.RECOMMEND)
            assert bool(decision.attributes) == (decision.act is Act.ASK)
            assert plan.act in (None, decision.act)
            assert plan.strategy in (None, decision.strategy)
            if decision.act is Act.RECOMMEND:
                assert plan.items in (None, decision.items)
            if decision.act is Act.ASK:
                assert plan.attributes in (None, decision.attributes)


# --- all points


@pytest.mark.parametrize("name", POINTS)
def test_every_named_point_trains_and_evaluates(components: Components, name: str) -> None:
    config = resolve(
        {"arms": f"grid@{name}", "arm": {f"grid@{name}": {"settings": SMALL[POINTS[name].learner]}}}
    )
    parts = replace(components, config=config)
    learner = parts.policy(f"grid@{name}", 0, 32)
    assert isinstance(learner, Grid)
    assert Point.model_validate(learner.config.model_dump(include=set(Point.model_fields))) == POINTS[name]
    before = {what: tensor.clone() for what, tensor in weights_of(learner).items()}
    curves = train(learner, parts, range(2))
    episodes = evaluate(learner, parts, 20)
    assert len(episodes) == 20
    assert all(np.isfinite(value) for value in curves.values())
    assert {curve.partition("/")[0] for curve in curves} <= set(learner.parts)
    if learner.gradient_steps:
        assert not equal(before, weights_of(learner))
    assert learner.gradient_steps == sum(part.learner.gradient_steps for part in learner.parts.values())


@pytest.mark.parametrize("user", ["mcr", "lm-latent"])
def test_it_works_before_other_seekers(components: Components, movies: World, user: str) -> None:
    settings = {"control": {"ask": "own", "when": "rule"}, "settings": SMALL[Learning.DQN]}
    config = resolve({"arms": "grid", "user": user, "arm": {"grid": settings}})
    parts = build(config, movies, components.embeddings)
    learner = parts.policy("grid", 0, 16)
    assert isinstance(learner, Grid)
    train(learner, parts, range(1))
    turns = [turn for episode in evaluate(learner, parts, 5) for turn in episode.dialogue.turns]
    assert learner.gradient_steps > 0
    if user == "mcr":
        assert {turn.decision.strategy for turn in turns} == {Strategy.NO_STRATEGY}
        assert learner.parts[JOINT].learner.space.n_manners == 1


@pytest.mark.parametrize("learner", Learning)
@pytest.mark.parametrize("encoder", Encoder)
def test_every_control_is_refused_with_a_reason_or_can_be_made(encoder: Encoder, learner: Learning) -> None:
    rng = np.random.default_rng(0)
    catalogue = catalogue_of(rng.random((4, 3)) < 0.5)
    items, attributes = (rng.normal(size=(count, 4)).astype(np.float32) for count in (4, 3))
    vectors = Embeddings(items, attributes, np.zeros(4, dtype=np.float32))
    settings = {"dim": 4, "heads": 1, "graph_layers": 0, "k": 2}
    settings |= {"capacity": 1} if learner is Learning.DQN else {}
    refused = 0
    for controllers in product(Controller, repeat=len(COLUMNS)):
        control = Control(**dict(zip(COLUMNS, controllers, strict=True)))
        options = {
            "control": control.model_dump(),
            "encoder": encoder.value,
            "learner": learner.value,
            "settings": settings,
        }
        learned = control.of(*LEARNED)
        blind = control.when is Controller.EXPERT and {"ask", "recommend"} & set(learned)
        if not learned or blind:
            with pytest.raises(ValidationError, match=r"nothing in it is learned|cannot be learned where"):
                GridConfig.model_validate(options)
            refused += 1
            continue
        for sociable in (True, False):
            context = ArmContext(catalogue, vectors, seed=0, sociable=sociable, options=options)
            if not sociable and (learned == ("strategy",) or control.strategy is Controller.OWN):
                with pytest.raises(InputError, match="heed no strategy"):
                    Grid(context)
            elif sociable or (encoder is Encoder.GRAPH and learner is Learning.DQN):
                grid = Grid(context)
                assert frozenset().union(*(part.columns for part in grid.parts.values())) == set(learned)
    assert refused == 16 + 48


# --- promises of a learner


@pytest.mark.parametrize("learner", Learning)
def test_resuming_from_a_checkpoint_changes_nothing(
    components: Components, tmp_path: Path, learner: Learning
) -> None:
    control = Control(when="own", ask="joint", recommend="rule", strategy="joint")
    through, first = (grid_of(components, point_of(control, learner=learner)) for _ in range(2))
    train(through, components, range(3))
    train(first, components, range(2))
    checkpoint.save(tmp_path / "half", *first.state())
    resumed = Grid(first.context)
    resumed.load(*checkpoint.load(tmp_path / "half"))
    assert resumed.gradient_steps == first.gradient_steps
    train(resumed, components, range(2, 3))
    assert through.gradient_steps == resumed.gradient_steps > first.gradient_steps > 0
    (tensors, header), (others, other) = through.state(), resumed.state()
    assert equal(tensors, others)
    assert header == other


def test_a_deciding_checkpoint_decides_the_same(components: Components) -> None:
    learner = grid_of(components, point_of(ALONE))
    train(learner, components, range(1))
    other = grid_of(components, point_of(ALONE), seed=1)
    states = states_of(components, 30, seed=7)
    assert other.decide(states) != learner.decide(states)
    other.load(*learner.state(resumable=False))
    assert other.decide(states) == learner.decide(states)


def test_decisions_do_not_depend_on_the_batch(components: Components) -> None:
    learner = grid_of(components, point_of(ALONE))
    train(learner, components, range(1))
    sessions = components.world.sessions(Split.TEST, 6, 0)
    together = Conversations(components).hold(learner, sessions)
    alone = [Conversations(components).hold(learner, [session])[0] for session in sessions]
    for one, other in zip(together, alone, strict=True):
        assert [turn.plan for turn in one.dialogue.turns] == [turn.plan for turn in other.dialogue.turns]


def test_the_trace_has_what_each_part_thought_where_it_had_a_choice(components: Components) -> None:
    learner = grid_of(components, point_of(ALONE))
    for plan in plans_with_scores(evaluate(learner, components, 5)):
        names = {name.partition("/")[0] for name in plan.scores}
        target = {Act.ASK: {"ask"}, Act.RECOMMEND: {"recommend"}, Act.CHAT: set()}[plan.act or Act.ASK]
        assert names == {"when", "strategy"} | target
        by_strategy = {strategy: plan.scores[f"strategy/{strategy}"] for strategy in STRATEGIES}
        assert by_strategy[plan.strategy or Strategy.NO_STRATEGY] == max(by_strategy.values())


def test_equal_seeds_give_equal_networks(components: Components) -> None:
    learners = [grid_of(components, point_of(ALONE), seed) for seed in (3, 3, 4)]
    for learner in learners:
        train(learner, components, range(1))
        assert learner.gradient_steps > 0
    one, same, other = (weights_of(learner) for learner in learners)
    assert equal(one, same)
    assert not equal(one, other)


def test_the_size_of_a_checkpoint_counts_networks_only(components: Components) -> None:
    """Names that cost tables go by: copies for learning come first in the name, the part after."""
    learner = grid_of(components, point_of(ALONE))
    names = list(learner.state(resumable=False)[0])
    assert {name.split(".")[0] for name in names} == {"network", "target"}
    assert {name.split(".")[1] for name in names} == set(COLUMNS)


def test_broken_conversations_teach_no_part_anything(components: Components) -> None:
    learner = grid_of(components, point_of(ALONE))
    states = states_of(components, 4)
    learner.act(states)
    keys = states.past.keys.tolist()
    learner.observe(keys, [1.0] * 4, [True] * 4)
    learner.forget(keys[:3])
    learner.learn()
    assert [len(part.learner.replay) for part in learner.parts.values()] == [1] * 4  # type: ignore[attr-defined]


# --- settings


def test_a_named_point_has_its_switches_by_itself_and_explicit_ones_win() -> None:
    settings = {"settings": {"dim": 16}, "control": {"when": "rule"}}
    config = resolve(
        {
            "arms": "grid,grid@four-isolated,grid@mine",
            "arm": {
                "grid": settings,
                "grid@four-isolated": {"control": {"ask": "rule"}},
                "grid@mine": {"encoder": "graph"},
            },
        }
    )
    made = {arm: GridConfig.model_validate(config.settings(arm)) for arm in config.arms}
    assert made["grid"].control == made["grid@mine"].control == Control(when="rule")
    assert made["grid@four-isolated"].control == ALONE.model_copy(update={"ask": Controller.RULE})
    assert {one.settings["dim"] for one in made.values()} == {16}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"arms": "grid@rso", "user": "mcr"}, "arm.grid@rso: nothing is left to learn: these seekers heed"),
        ({"arms": "grid@four-isolated", "user": "mcr"}, "arm.grid@four-isolated: these seekers heed no"),
        (
            {"arm": {"grid@x": {"control": dict.fromkeys(COLUMNS, "rule")}}},
            "arm.grid@x: nothing in it is learned; the arm max-entropy decides",
        ),
        (
            {"arm": {"grid@x": {"control": {"when": "expert", "recommend": "rule"}}}},
            "arm.grid@x: ask cannot be learned where an expert decides when",
        ),
        (
            {"arm": {"grid": {"control": {"when": "me"}}}},
            "arm.grid.control.when: must be 'joint', 'own', 'rule' or 'expert' (it is 'me')",
        ),
        ({"arm": {"grid": {"settings": {"dimm": 3}}}}, "arm.grid.settings: dimm: there is no such setting"),
        ({"arm": {"grid@x": {"control": "rule"}}}, "arm.grid@x.control: must be a table of settings (it is"),
        ({"arm": {"grid@x": {"wen": "rule"}}}, "arm.grid@x.wen: there is no such setting"),
        ({"arm": {"grid": {"settings": {"encoder": "text"}}}}, "encoder: stands beside control"),
        ({"arm": {"grid": {"settings": {"few_left": "recommend"}}}}, "few_left: is for unified alone"),
        (
            {"arms": "grid@unified-on-text", "user": "mcr", "surface": "semantic"},
            "'semantic' is without words, which arm 'grid@unified-on-text' needs",
        ),
        (
            {"arms": "grid@unified", "experts": {"planner": "off"}},
            "arm.grid@unified.experts.planner: 'off' is not for the grid; set control.strategy",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_run(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as refused:
        resolve(values)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arm", "tables", "says"),
    [
        ("grid@timing-by-rul", {}, "--arms: unknown point 'timing-by-rul'; did you mean timing-by-rule?"),
        ("grid@timing-by-rul", {"settings": {"dim": 16}}, "did you mean timing-by-rule?"),
        ("grid@timing-by-rul", {}, '(a point of your own needs a switch in [arm."grid@timing-by-rul"]'),
        ("grid@own-timin", {"grid@own-timing": {"control": {"when": "own"}}}, "did you mean own-timing"),
        ("grid@mine", {"grid": {"control": {"when": "rule"}}}, "unknown point 'mine'; known: four-isolated,"),
        ("grid", {}, "--arms: arm 'grid' is no point by itself; name one, as grid@four-isolated"),
        (
            "unified@graph-planer",
            {},
            "--arms: arm 'unified@graph-planer' has no settings, so that it is unified once more; "
            "did you mean grid@graph-planner?",
        ),
        ("unified@wid", {"unified@wide": {"dim": 32}}, "did you mean unified@wide?"),
    ],
)
def test_a_misspelt_point_is_not_silently_all_joint(arm: str, tables: dict[str, Any], says: str) -> None:
    tables = {arm: tables} if "settings" in tables else tables
    with pytest.raises(InputError) as refused:
        resolve({"arms": f"max-entropy,{arm}", "arm": tables})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_arm_may_be_compared_with_itself_and_others_left_out() -> None:
    tables = {"unified@wide": {"dim": 32}, "grid@mine": {"control": {"when": "rule"}}}
    assert resolve({"arms": "unified,unified@again,grid@mine", "arm": tables}).settings("unified@again") == {}
    assert resolve({"arms": "unified", "arm": tables}).settings("unified@wide") == {"dim": 32}


def test_the_command_line_says_why_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text('[arm."grid@mine".control]\nwhen = "expert"\n')
    folder = str(tmp_path / "run")
    code = main(["compare", "--out", folder, "--config", str(file), "--arms", "grid@mine"])
    said = capsys.readouterr().err
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "ask and recommend cannot be learned where an expert decides when" in said
    assert not (tmp_path / "run").exists()


def test_lists_are_as_long_as_the_longest_table(movies: World, components: Components) -> None:
    config = resolve({"arms": "grid@unified", "arm": {"grid": {"settings": {"k": 12}}}})
    parts = build(config, movies, components.embeddings)
    learner = parts.policy("grid@unified", 0)
    plans = learner.decide(states_of(parts, 3))
    assert parts.beliefs.k == 12
    assert all(len(plan.items or plan.attributes or (0,)) in (1, 10) for plan in plans)


def test_its_plans_are_for_conversations_in_words(components: Components) -> None:
    learner = grid_of(components, point_of(ALONE))
    with pytest.raises(TypeError, match="leaves columns to others"):
        learner.choose(states_of(components, 1))
    assert isinstance(learner.decide(states_of(components, 1))[0], Plan)
