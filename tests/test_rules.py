"""The rules: what each decides, and that they see nothing hidden."""

from __future__ import annotations

from collections import Counter

import pytest

from unicrs_rl.dialogue import Act, Plan
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.conversation import Conversations
from unicrs_rl.graphs.world import Split
from unicrs_rl.policy.rules import WARMEST, MaxEntropy, Rule


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


def test_max_entropy_recommends_only_when_confident_or_out_of_questions(components: Components) -> None:
    plans, confidences = watch(components, "max-entropy")
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


@pytest.mark.parametrize("arm", ["greedy", "max-entropy"])
def test_rules_speak_with_the_warmest_strategies_in_turn(components: Components, arm: str) -> None:
    plans, _ = watch(components, arm)
    assert {plan.strategy for plan in plans} == set(WARMEST)


def test_rules_decide_every_column(components: Components) -> None:
    assert MaxEntropy.__mro__[1] is Rule
    for arm in ("random", "greedy", "max-entropy"):
        plans, _ = watch(components, arm)
        assert all(None not in (plan.act, plan.items, plan.attributes) for plan in plans)
