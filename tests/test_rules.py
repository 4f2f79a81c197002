"""The rules: what each decides, and that they see nothing hidden."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import catalogue_of, past_of
from numpy.typing import NDArray

from unicrs_rl.dialogue import STRATEGIES, Act, Decisions, Plan
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.belief import binary_entropy
from unicrs_rl.graphs.candidates import Candidates, Question, Switches
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.arms import arms
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.rules import (
    WARMEST,
    AskThenRecommend,
    FewLeft,
    Greedy,
    Halving,
    MaxEntropy,
    Minicorn,
    Random,
    Rule,
)

RULES = ("random", "greedy", "max-entropy", "few-left", "halving", "minicorn")
ASKING = (MaxEntropy, FewLeft, Halving, Minicorn)


def watch(components: Components, arm: str) -> tuple[list[Plan], list[float]]:
    """All plans of an arm on some conversations, with the confidence of the state each was made in."""
    policy = components.policy(arm, 0)
    assert isinstance(policy, Rule)
    plans: list[Plan] = []
    confidences: list[float] = []
    decide = policy.decide

    def recording(states):  # type: ignore[no-untyped-def]
        made = decide(states)
        plans.extend(made)
        confidences.extend(states.confidence.tolist())
        return made

    policy.decide = recording  # type: ignore[method-assign]
    Conversations(components, words=False).hold(policy, components.world.sessions(Split.TEST, 60, 3))
    return plans, confidences


def test_greedy_always_recommends(components: Components) -> None:
    plans, _ = watch(components, "greedy")
    assert {plan.act for plan in plans} == {Act.RECOMMEND}


def test_greedy_lists_at_most_the_slate_without_repeats(components: Components) -> None:
    plans, _ = watch(components, "greedy")
    for plan in plans:
        assert plan.items is not None
        assert len(plan.items) == len(set(plan.items)) <= components.config.slate


@pytest.mark.parametrize("arm", ["max-entropy", "halving", "minicorn"])
def test_it_asks_only_while_it_is_not_confident(components: Components, arm: str) -> None:
    plans, confidences = watch(components, arm)
    for plan, confidence in zip(plans, confidences, strict=True):
        if plan.act is Act.ASK:
            assert confidence <= components.recommend_above


def test_max_entropy_asks_and_recommends(components: Components) -> None:
    plans, _ = watch(components, "max-entropy")
    acts = Counter(plan.act for plan in plans)
    assert acts[Act.ASK] > 20
    assert acts[Act.RECOMMEND] > 20


def test_random_uses_every_act_and_many_strategies(components: Components) -> None:
    plans, _ = watch(components, "random")
    assert {plan.act for plan in plans} == set(Act)
    assert len({plan.strategy for plan in plans}) >= 12


def test_random_depends_on_its_seed(components: Components) -> None:
    sessions = components.world.sessions(Split.TEST, 20, 0)
    runs = [
        [
            [turn.decision for turn in episode.dialogue.turns]
            for episode in Conversations(components, words=False).hold(
                components.policy("random", seed), sessions
            )
        ]
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("arm", RULES[1:])
def test_rules_speak_with_the_warmest_strategies_in_turn(components: Components, arm: str) -> None:
    plans, _ = watch(components, arm)
    assert {plan.strategy for plan in plans} == set(WARMEST)


def test_rules_decide_every_column(components: Components) -> None:
    for arm in RULES:
        assert issubclass(arms[arm](), Rule)
        plans, _ = watch(components, arm)
        assert all(None not in (plan.act, plan.items, plan.attributes) for plan in plans)


def test_max_entropy_has_a_second_name() -> None:
    assert arms["weighted-entropy"]() is arms["max-entropy"]() is MaxEntropy


# --- by hand


def context_of(catalogue: Catalogue, **changes: Any) -> ArmContext:
    vectors = np.zeros((catalogue.n_items + catalogue.n_attributes, 4), dtype=np.float32)
    nowhere = Embeddings(vectors[: catalogue.n_items], vectors[catalogue.n_items :], vectors[0])
    return ArmContext(catalogue, nowhere, **({"seed": 0} | changes))


OWNED = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 0], [1, 0, 0, 1]], dtype=bool)
WEIGHTS = np.array([0.3, 0.25, 0.15, 0.15, 0.15])
"""Five items with weights. All have attribute 0; yes to 1: 0.55 (a b); to 2: 0.6 (a c d); to 3: 0.3 (c e)."""


def five(
    turns: Sequence[int] = (0,), asked: Sequence[int] = (), slate: int = 1, limit: int = 15, **switches: Any
) -> States:
    """States of the five items, in one conversation for each of some turns."""
    b = len(turns)
    engine = Candidates(catalogue_of(OWNED), Switches(volunteered=False, **switches), None, k=5, slate=slate)
    engine.begin(np.zeros(b, dtype=np.int64), np.tile(np.log(WEIGHTS), (b, 1)))
    past = past_of([[0, *asked]] * b, limit=limit)
    return engine.states(replace(past, turn=np.array(turns)))


def decided(rule: type[Rule], states: States, **changes: Any) -> Decisions:
    changes = {"slate": states.slate, "recommend_above": 0.9} | changes
    return rule(context_of(states.catalogue, **changes)).choose(states)


def test_greedy_shows_the_heaviest_items() -> None:
    chosen = decided(Greedy, five((0, 14), slate=2))
    assert chosen.act.tolist() == [Act.RECOMMEND] * 2
    assert chosen.items.tolist() == [[0, 1]] * 2
    assert (chosen.attributes == -1).all()


def test_max_entropy_asks_what_halves_the_weight() -> None:
    """1, with 0.55; and next best 2, with 0.6."""
    assert decided(MaxEntropy, five()).attributes.tolist() == [[1]]
    assert decided(MaxEntropy, five(asked=[1])).attributes.tolist() == [[2]]


def test_halving_asks_what_makes_the_next_list_likeliest_to_hit() -> None:
    """Lists of one. After 1: a or c, 0.45. After 2: a or b, 0.55. After 3: c or a, 0.45."""
    states = five()
    assert dict(zip(states.attributes[0, :3].tolist(), states.hits[0], strict=False)) == pytest.approx(
        {1: 0.45, 2: 0.55, 3: 0.45}
    )
    assert decided(Halving, states).attributes.tolist() == [[2]]


def test_halving_asks_the_more_informative_of_what_hits_as_often() -> None:
    """Lists of five hit in any case."""
    assert decided(Halving, five(slate=5), recommend_above=1.0).attributes.tolist() == [[1]]


def test_minicorn_asks_what_its_members_disagree_about_most() -> None:
    """Each weighs the items by draws of its own."""
    rng = np.random.default_rng(0)
    asked, entropic = [], []
    for seed in range(40):
        owned = rng.random((12, 8)) < 0.4
        owned[:, 0] = True
        weights = rng.dirichlet(np.ones(12))
        engine = Candidates(catalogue_of(owned), Switches(volunteered=False), None, k=8, slate=1)
        engine.begin(np.array([0]), np.log(weights)[None])
        states = engine.states(past_of([[0]]))
        policy = Minicorn(context_of(states.catalogue, seed=seed, recommend_above=1.0))
        assert policy._doubts.shape == (12, 5)
        listed = states.attributes[0][states.attributes[0] >= 0].tolist()
        gains = {a: gain(weights, policy._doubts, owned[:, a]) for a in listed}
        chosen = policy.choose(states).attributes[0, 0]
        assert gains[chosen] == pytest.approx(max(gains.values()))
        asked.append(chosen)
        entropic.append(listed[0])
    assert asked != entropic


def gain(weights: NDArray[np.float64], doubts: NDArray[np.float64], has: NDArray[np.bool_]) -> float:
    members = weights[:, None] * doubts
    chances = members[has].sum(axis=0) / members.sum(axis=0)
    return float(binary_entropy(chances.mean(keepdims=True))[0] - binary_entropy(chances).mean())


def test_the_ensemble_depends_on_the_seed() -> None:
    catalogue = catalogue_of(OWNED)
    one, same, other = (Minicorn(context_of(catalogue, seed=seed))._doubts for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("rule", [MaxEntropy, Halving, Minicorn])
@pytest.mark.parametrize(("slate", "act"), [(1, Act.ASK), (2, Act.ASK), (3, Act.RECOMMEND)])
def test_lists_are_shown_above_a_confidence(rule: type[Rule], slate: int, act: Act) -> None:
    """The best three items have 0.7 of the weight."""
    chosen = decided(rule, five(slate=slate), recommend_above=0.6)
    assert chosen.act.tolist() == [act]
    assert chosen.items[0].tolist() == (list(range(slate)) if act is Act.RECOMMEND else [-1] * slate)


@pytest.mark.parametrize(
    ("slate", "act"), [(3, Act.ASK), (4, Act.ASK), (5, Act.RECOMMEND), (10, Act.RECOMMEND)]
)
def test_few_left_waits_until_all_that_is_left_fits(slate: int, act: Act) -> None:
    """Five are; confidence does not count."""
    assert decided(FewLeft, five(slate=slate), recommend_above=0.0).act.tolist() == [act]
    assert decided(FewLeft, five(slate=slate), recommend_above=1.0).act.tolist() == [act]


@pytest.mark.parametrize("rule", ASKING)
@pytest.mark.parametrize("limit", [14, 15])
def test_in_the_last_turn_asking_is_too_late(rule: type[Rule], limit: int) -> None:
    assert issubclass(rule, AskThenRecommend)
    turns = (0, limit - 2, limit - 1, limit)  # the released code has one more call
    chosen = decided(rule, five(turns, limit=limit))
    assert chosen.act.tolist() == [Act.ASK, Act.ASK, Act.RECOMMEND, Act.RECOMMEND]
    assert chosen.items.tolist() == [[-1], [-1], [0], [0]]


@pytest.mark.parametrize("rule", ASKING)
def test_without_a_question_it_recommends(rule: type[Rule]) -> None:
    chosen = decided(rule, five(asked=[1, 2, 3]))
    assert (chosen.act.tolist(), chosen.items.tolist()) == ([Act.RECOMMEND], [[0]])


@pytest.mark.parametrize("rule", [*ASKING, Greedy, Random])
def test_with_nothing_left_it_chats(rule: type[Rule]) -> None:
    engine = Candidates(catalogue_of(OWNED), Switches(), None, k=5, slate=5)
    engine.begin(np.array([0]), np.log(WEIGHTS)[None])
    engine.strike(np.arange(5)[None])
    chosen = decided(rule, engine.states(past_of([[0]], turn=14)))
    assert chosen.act.tolist() == [Act.CHAT]
    assert (chosen.items == -1).all()
    assert (chosen.attributes == -1).all()


@pytest.mark.parametrize("rule", ASKING)
def test_all_that_a_question_names_is_asked(rule: type[Rule]) -> None:
    chosen = decided(rule, five(question=Question.MULTI_CHOICE, choices=2))
    assert chosen.attributes.tolist() == [[1, 2]]


def test_random_takes_what_is_there() -> None:
    """Any act, any listed question, any candidates and any strategy, each as likely as the others."""
    n = 6000
    states = five(range(n), slate=2)
    chosen = decided(Random, states)
    for act in Act:
        assert (chosen.act == act).mean() == pytest.approx(1 / 3, abs=0.03)
    asked = chosen.attributes[chosen.act == Act.ASK, 0]
    assert [(asked == attribute).mean() for attribute in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.04)
    lists = chosen.items[chosen.act == Act.RECOMMEND]
    assert (lists[:, 0] != lists[:, 1]).all()
    assert [(lists == item).any(axis=1).mean() for item in range(5)] == pytest.approx([0.4] * 5, abs=0.04)
    counts = np.bincount(chosen.strategy, minlength=len(STRATEGIES)) / n
    assert counts == pytest.approx(np.full(len(STRATEGIES), 1 / len(STRATEGIES)), abs=0.02)


def test_random_does_only_what_is_possible() -> None:
    """Without a question it recommends or chats."""
    chosen = decided(Random, five(range(500), asked=[1, 2, 3]))
    assert set(chosen.act.tolist()) == {Act.RECOMMEND, Act.CHAT}


@pytest.mark.parametrize("arm", RULES)
def test_plans_and_decisions_say_the_same(components: Components, arm: str) -> None:
    policy = components.policy(arm, 0)
    assert isinstance(policy, Rule)
    decide, compared = policy.decide, 0

    def recording(states: States) -> list[Plan]:
        nonlocal compared
        plans, chosen = decide(states), policy.choose(states)
        assert [replace(plan, scores={}) for plan in plans] == [
            chosen.plan(row) for row in range(len(states))
        ]
        compared += len(plans)
        return plans

    policy.decide = recording  # type: ignore[method-assign]
    Conversations(components, words=False).hold(policy, components.world.sessions(Split.TEST, 20, 3))
    assert compared > 40


def test_a_plan_tells_what_the_rule_went_by(components: Components) -> None:
    plans, confidences = watch(components, "max-entropy")
    for plan, confidence in zip(plans, confidences, strict=True):
        if plan.act is Act.RECOMMEND:
            assert plan.scores == {"confidence": confidence}
        else:
            assert 0 <= plan.scores["entropy"] <= 1
