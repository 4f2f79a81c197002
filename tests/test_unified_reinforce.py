"""The unified arm learned by REINFORCE: its arithmetic by hand, its promises, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from test_unified_ppo import LIMIT, SLATE, VECTORS, WORLD, engine, held_out, sessions, some_states

from unicrs_rl import draws
from unicrs_rl.dialogue import Act, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.world import Session
from unicrs_rl.policy.arms import arms, check_settings, learns
from unicrs_rl.policy.base import ArmContext
from unicrs_rl.policy.rules import MaxEntropy
from unicrs_rl.policy.unified_reinforce import UnifiedReinforce, discounted, mean_by_turn, shares

OVER = np.array([False, False, True, True, False, True])
"""Conversations of three turns, of one and of two."""


def learner_of(**options: Any) -> UnifiedReinforce:
    changes = {name: options.pop(name) for name in ("sociable", "dialogues", "seed") if name in options}
    defaults = {"dim": 16, "heads": 2, "imitate_turns": 0}
    context = ArmContext(
        WORLD.catalogue, VECTORS, seed=0, limit=LIMIT, slate=SLATE, sociable=False, dialogues=1000
    )
    return UnifiedReinforce(replace(context, **changes, options=MappingProxyType(defaults | options)))


def play(learner: UnifiedReinforce, batch: list[Session]) -> None:
    """Lead a batch of conversations to learn from."""
    held = engine()
    states = held.begin(batch)
    while len(states):
        keys, decisions = states.past.keys, learner.explore(states)
        turnout, states = held.step(decisions)
        learner.observe(keys.tolist(), turnout.rewards.tolist(), turnout.over.tolist())


def train(learner: UnifiedReinforce, batches: int, size: int = 16, first: int = 0) -> list[dict[str, float]]:
    curves = []
    for batch in range(first, first + batches):
        play(learner, sessions(size, seed=batch))
        curves.append(learner.learn())
    return curves


def bandit(learner: UnifiedReinforce, batches: int, size: int = 128) -> None:
    """Asking with Encouragement earns 1, everything else nothing; conversations have one turn."""
    for batch in range(batches):
        states = some_states(size, turns=0)
        keys = draws.bits(states.past.keys, batch)
        states = replace(states, past=replace(states.past, keys=keys))
        chosen = learner.explore(states)
        earned = (chosen.act == Act.ASK) & (chosen.strategy == Strategy.ENCOURAGEMENT.position)
        learner.observe(keys.tolist(), earned.astype(float).tolist(), [True] * len(earned))
        learner.learn()


# -- arithmetic ---------------------------------------------------------------------------------


def test_returns_by_hand() -> None:
    rewards = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    found = discounted(rewards, OVER, 0.5)
    np.testing.assert_allclose(found, [1 + 1 + 1, 2 + 2, 4, 8, 16 + 16, 32])


def test_the_baseline_is_the_mean_at_the_same_turn() -> None:
    returns = np.array([1.0, 2.0, 3.0, 5.0, 6.0, 8.0])
    first, second, third = (1 + 5 + 6) / 3, (2 + 8) / 2, 3.0
    np.testing.assert_allclose(mean_by_turn(returns, OVER), [first, second, third, first, first, second])


def test_every_conversation_has_the_same_share_of_the_entropy() -> None:
    np.testing.assert_allclose(shares(OVER), [1 / 3, 1 / 3, 1 / 3, 1, 1 / 2, 1 / 2])


@pytest.mark.parametrize("baseline", ["none", "batch"])
def test_the_loss_by_hand(baseline: str) -> None:
    """design.md, section 5, averaged over conversations."""
    learner = learner_of(sociable=True, update_every=100, baseline=baseline, discount=0.9, entropy=0.3, dim=8)
    train(learner, 1, size=6)
    (turns,) = learner._gathered
    loss, _ = learner._reinforcement(turns)
    with torch.no_grad():
        chances = learner.network(turns.graphs)
    ends = (np.flatnonzero(turns.over.numpy()) + 1).tolist()
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    returns = {
        t: sum(0.9 ** (i - t) * float(turns.rewards[i]) for i in range(t, stop))
        for start, stop in spans
        for t in range(start, stop)
    }
    expected = 0.0
    for start, stop in spans:
        for t in range(start, stop):
            same = [returns[a + t - start] for a, b in spans if a + t - start < b]
            gain = returns[t] - (np.mean(same) if baseline == "batch" else 0.0)
            expected -= float(chances.log_probs[t, turns.actions[t]]) * float(gain)
            expected -= 0.3 * float(chances.entropy[t]) / (stop - start)
    assert float(loss.detach()) == pytest.approx(expected / len(spans), rel=1e-4)


def test_a_masked_candidate_has_no_chance_and_no_gradient() -> None:
    learner = learner_of(sociable=True, attribute_actions=2, item_actions=1)
    graphs = learner.space.graphs(some_states())
    features = graphs.features.clone().requires_grad_()
    chances = learner.network(graphs._replace(features=features))
    assert not chances.candidates.exp()[~graphs.mask].any()
    (chances.entropy.sum() + chances.candidates[graphs.mask].sum()).backward()
    assert features.grad is not None
    assert not features.grad[~graphs.mask].any()
    actions = 4 * len(learner.space.strategies)  # an item, two questions, chat
    assert chances.entropy.detach().numpy() == pytest.approx(np.log(actions), abs=0.01)  # uniform at first


# -- promises -----------------------------------------------------------------------------------


@pytest.mark.parametrize("imitate_turns", [0, 100_000])
def test_equal_seeds_give_equal_networks(imitate_turns: int) -> None:
    one, other = learner_of(imitate_turns=imitate_turns), learner_of(imitate_turns=imitate_turns)
    assert train(one, 4) == train(other, 4)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)
    third = learner_of(imitate_turns=imitate_turns, seed=1)
    train(third, 4)
    pairs = zip(one.network.parameters(), third.network.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("imitate_turns", [0, 150])
def test_resuming_from_a_checkpoint_changes_nothing(imitate_turns: int) -> None:
    """The checkpoint holds conversations that wait for a step."""
    options = {"update_every": 24, "imitate_turns": imitate_turns}
    through = learner_of(**options)
    done = 0
    while done < 5 or not through._gathered:
        train(through, 1, first=done)
        done += 1
    tensors, header = through.state()
    assert any(name.startswith("gathered.") for name in tensors)
    resumed = learner_of(**options)
    train(resumed, 1, first=500)  # whatever it did before is forgotten
    resumed.load({name: tensor.clone() for name, tensor in tensors.items()}, header)
    assert train(through, 4, first=done) == train(resumed, 4, first=done)
    assert through.gradient_steps == resumed.gradient_steps > 0
    for a, b in zip(through.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_deciding_checkpoint_decides_the_same() -> None:
    learner = learner_of(sociable=True)
    train(learner, 3)
    tensors, header = learner.state(resumable=False)
    assert all(name.startswith("network.") for name in tensors)
    other = learner_of(sociable=True)
    other.load(tensors, header)
    plans = learner.decide(some_states())
    assert plans == other.decide(some_states())
    chosen = learner.choose(some_states())
    assert [replace(plan, scores={}) for plan in plans] == [chosen.plan(row) for row in range(len(plans))]
    assert [sum(plan.scores.values()) for plan in plans] == pytest.approx([1.0] * len(plans), abs=1e-3)


def test_decisions_do_not_depend_on_the_batch() -> None:
    learner = learner_of(sociable=True)
    train(learner, 4)
    held = engine()
    together = learner.decide(held.begin(sessions(24, seed=77)))
    alone = [learner.decide(held.begin([one]))[0] for one in sessions(24, seed=77)]
    assert together == alone


def test_a_step_takes_so_many_conversations_and_each_teaches_once() -> None:
    learner = learner_of(update_every=24)
    steps = []
    for batch in range(4):
        train(learner, 1, size=16, first=batch)
        steps.append(learner.gradient_steps)
        waiting = sum(int(part.over.sum()) for part in learner._gathered)
        assert 24 * learner.gradient_steps + waiting == 16 * (batch + 1)
    assert steps == [0, 1, 2, 2]


def test_the_rule_leaves_nothing_behind_when_it_stops_leading() -> None:
    learner = learner_of(update_every=24, imitate_turns=60, imitate_steps=3)
    curves = train(learner, 5)
    imitated = ["imitation_loss" in numbers for numbers in curves if numbers]
    assert imitated[0]
    assert not imitated[-1]
    assert imitated == sorted(imitated, reverse=True)
    assert learner.warm_up_steps == 3 * sum(imitated)
    assert learner.gradient_steps == learner.warm_up_steps + len(imitated) - sum(imitated)


def test_what_broke_off_is_forgotten() -> None:
    learner = learner_of(update_every=4)
    states = some_states(8)
    keys = states.past.keys.tolist()
    learner.explore(states)
    learner.observe(keys, [0.0] * 8, [True] * 7 + [False])
    learner.forget(keys[7:])
    learner.learn()
    assert learner.gradient_steps == 1
    assert sum(int(part.over.sum()) for part in learner._gathered) == 3


def test_conversations_have_to_end_before_learning() -> None:
    learner = learner_of()
    states = some_states(4)
    learner.explore(states)
    learner.observe(states.past.keys.tolist(), [0.0] * 4, [True, True, True, False])
    with pytest.raises(ValueError, match="has not ended"):
        learner.learn()


def test_the_arm_is_known_by_its_name() -> None:
    assert arms["unified-reinforce"]() is UnifiedReinforce
    assert learns("unified-reinforce")
    check_settings("unified-reinforce", {"baseline": "none"})
    with pytest.raises(InputError, match=r"arm\.unified-reinforce\.baseline"):
        check_settings("unified-reinforce", {"baseline": "value"})


# -- learning -----------------------------------------------------------------------------------


def test_learner_solves_a_bandit_over_acts_and_strategies() -> None:
    learner = learner_of(sociable=True, update_every=32, learning_rate=1e-2, dialogues=20_000)
    bandit(learner, 40)
    plans = learner.decide(some_states(64))
    solved = [plan.act is Act.ASK and plan.strategy is Strategy.ENCOURAGEMENT for plan in plans]
    assert np.mean(solved) >= 0.95


def test_the_baseline_makes_steps_less_noisy() -> None:
    """With it a learner that always earns the same learns nothing; without it, it takes chance for merit."""
    for baseline, moves in (("batch", False), ("none", True)):
        learner = learner_of(baseline=baseline, entropy=0.0, update_every=8)
        before = [parameter.detach().clone() for parameter in learner.network.parameters()]
        states = some_states(8, turns=0)
        learner.explore(states)
        learner.observe(states.past.keys.tolist(), [1.0] * 8, [True] * 8)
        learner.learn()
        assert learner.gradient_steps == 1
        pairs = zip(before, learner.network.parameters(), strict=True)
        assert moves != all(torch.equal(a, b) for a, b in pairs)


def test_learner_finds_out_to_ask_and_then_recommend() -> None:
    """As the test of PPO's: not to ask to the end matters, because the discount is low."""
    learner = learner_of(update_every=16, learning_rate=6e-3, discount=0.7, dialogues=40 * 64)
    assert held_out(learner)[0] < 0.85
    train(learner, 32, size=64)
    success, turns = held_out(learner)
    assert success >= 0.98
    assert turns <= 4.9  # 4.5 is the least there can be


def test_imitation_takes_up_the_rule() -> None:
    learner = learner_of(imitate_turns=100_000, guide_from=1.0, guide_to=1.0, learning_rate=4e-3)
    train(learner, 8, size=64)
    rule = MaxEntropy(learner.context)
    assert held_out(learner) == held_out(rule)
