"""The unified arm learned by PPO: its arithmetic by hand, its promises, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from unicrs_rl import draws
from unicrs_rl.dialogue import Act, Decisions, Strategy
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Seeker, Session, Split, World
from unicrs_rl.policy.arms import arms, check_settings, learns
from unicrs_rl.policy.base import ArmContext, Policy
from unicrs_rl.policy.rules import MaxEntropy
from unicrs_rl.policy.unified_ppo import UnifiedPpo, clipped_surrogate, gae, value_errors
from unicrs_rl.simulators.engine import Engine

BITS, LIMIT, SLATE = 5, 6, 1
"""A world of 32 items told apart by five properties of two values each; lists of one, six turns.

What is volunteered leaves 16. Who only guesses succeeds in 6 of 16 conversations. Asking halves what is
left, so that two to four questions, then guesses, always succeed; two or three are the fewest turns.
"""


def bits_world() -> World:
    values = list(product("01", repeat=BITS))
    facts = [
        (item, "is", f"property {place}", f"{place} is {value}")
        for item, those in enumerate(values)
        for place, value in enumerate(those)
    ]
    catalogue = Catalogue.build("thing", ["".join(those) for those in values], facts)
    targets = [(0, item) for item in range(len(values))]
    nobody = (Seeker("0", ()),)
    return World("bits", catalogue, nobody, np.zeros((0, 2), dtype=np.int64), dict.fromkeys(Split, targets))


WORLD = bits_world()


def embeddings_of(world: World) -> Embeddings:
    rng = np.random.default_rng(0)
    sizes = (world.catalogue.n_items, world.catalogue.n_attributes)
    items, attributes = (rng.normal(size=(size, 8)).astype(np.float32) for size in sizes)
    return Embeddings(items, attributes, np.zeros(8, dtype=np.float32))


VECTORS = embeddings_of(WORLD)


def engine() -> Engine:
    uniform = np.full(WORLD.catalogue.n_items, -np.log(WORLD.catalogue.n_items))
    return Engine(WORLD, lambda those: np.tile(uniform, (len(those), 1)), limit=LIMIT, slate=SLATE)


def sessions(count: int, seed: int = 0) -> list[Session]:
    return WORLD.sessions(Split.TRAIN, count, seed)


def learner_of(**options: Any) -> UnifiedPpo:
    changes = {
        name: options.pop(name) for name in ("sociable", "dialogues", "recommend_above") if name in options
    }
    defaults = {"dim": 16, "heads": 2, "imitate_turns": 0, "rollout_turns": 64, "batch_size": 64}
    context = ArmContext(
        WORLD.catalogue, VECTORS, seed=0, limit=LIMIT, slate=SLATE, sociable=False, dialogues=1000
    )
    return UnifiedPpo(replace(context, **changes, options=MappingProxyType(defaults | options)))


def play(learner: UnifiedPpo, batch: list[Session]) -> float:
    """Lead a batch of conversations to learn from; the share of successes."""
    held, successes = engine(), 0
    states = held.begin(batch)
    while len(states):
        keys, decisions = states.past.keys, learner.explore(states)
        turnout, states = held.step(decisions)
        learner.observe(keys.tolist(), turnout.rewards.tolist(), turnout.over.tolist())
        successes += int(turnout.success.sum())
    return successes / len(batch)


def train(learner: UnifiedPpo, batches: int, size: int = 16, first: int = 0) -> list[dict[str, float]]:
    curves = []
    for batch in range(first, first + batches):
        play(learner, sessions(size, seed=batch))
        curves.append(learner.learn())
    return curves


def held_out(policy: Policy, count: int = 256) -> tuple[float, float]:
    """Success and mean turns, failures counting all, on conversations of another seed."""
    held = engine()
    states = held.begin(sessions(count, seed=10_000))
    turns, success = np.zeros(count), np.zeros(count, dtype=bool)
    while len(states):
        turnout, states = held.step(policy.choose(states))
        turns[turnout.rows] += 1
        success[turnout.rows] = turnout.success
    return float(success.mean()), float(np.where(success, turns, LIMIT).mean())


def some_states(count: int = 24, turns: int = 2) -> States:
    """States after some turns of asking."""
    held = engine()
    states = held.begin(sessions(count, seed=77))
    for turn in range(turns):
        n = len(states)
        asks = Decisions(
            np.full(n, Act.ASK), np.full(n, turn), states.attributes[:, :1], np.full((n, SLATE), -1)
        )
        _, states = held.step(asks)
    return states


# -- arithmetic ---------------------------------------------------------------------------------


def test_gae_by_hand() -> None:
    """Two conversations of three turns and of one; gamma 0.5, lambda 0.5."""
    rewards, values = np.array([1.0, 0.0, 2.0, 4.0]), np.array([0.5, 1.0, 1.5, 3.0])
    over = np.array([False, False, True, True])
    # errors: 1 + .5*1 - .5 = 1; 0 + .5*1.5 - 1 = -.25; 2 - 1.5 = .5; and 4 - 3 = 1
    third = 0.5
    second = -0.25 + 0.25 * third
    first = 1.0 + 0.25 * second
    np.testing.assert_allclose(gae(rewards, values, over, 0.5, 0.5), [first, second, third, 1.0])


def test_gae_spans_from_one_step_errors_to_whole_returns() -> None:
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=6), rng.normal(size=6)
    over = np.array([False, False, True, False, False, True])
    ahead = np.where(over, 0.0, np.append(values[1:], 0.0))
    np.testing.assert_allclose(gae(rewards, values, over, 0.9, 0.0), rewards + 0.9 * ahead - values)
    returns = [rewards[t] + 0.9 * rewards[t + 1] + 0.81 * rewards[t + 2] for t in (0, 3)]
    np.testing.assert_allclose(gae(rewards, values, over, 0.9, 1.0)[[0, 3]], returns - values[[0, 3]])


def test_clipped_surrogate_by_hand() -> None:
    """The gain from moving on is cut off at 1 + e and 1 - e; a move for the worse counts in full."""
    ratios = torch.tensor([1.5, 0.5, 1.5, 0.5, 1.1], requires_grad=True)
    advantages = torch.tensor([2.0, 2.0, -2.0, -2.0, 2.0])
    losses = clipped_surrogate(ratios.log(), advantages, 0.2)
    torch.testing.assert_close(losses, torch.tensor([-2.4, -1.0, 3.0, 1.6, -2.2]))
    losses.sum().backward()
    torch.testing.assert_close(ratios.grad, torch.tensor([0.0, -2.0, 2.0, 0.0, -2.0]))


def test_value_errors_by_hand() -> None:
    values, before = torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.9])
    returns = torch.tensor([2.0, 2.0])
    torch.testing.assert_close(value_errors(values, before, returns, None), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(value_errors(values, before, returns, 0.2), torch.tensor([3.24, 1.0]))


def test_entropy_and_probabilities_are_over_open_actions_only() -> None:
    learner = learner_of(sociable=True, attribute_actions=2, item_actions=1)
    states = some_states()
    graphs = learner.space.graphs(states)
    assert graphs.mask.sum(dim=1).tolist() == [4] * len(states)  # an item, two questions, chat
    outlook = learner.network(graphs)
    chances = outlook.log_probs.exp().unflatten(1, (21, -1))
    torch.testing.assert_close(chances.sum((1, 2)), torch.ones(len(states)))
    assert not chances[~graphs.mask].any()
    actions = 4 * len(learner.space.strategies)
    assert outlook.entropy.detach().numpy() == pytest.approx(np.log(actions), abs=0.01)  # uniform at first
    open_ = torch.distributions.Categorical(chances[graphs.mask].reshape(len(states), -1))
    torch.testing.assert_close(outlook.entropy, open_.entropy())


def test_a_masked_candidate_gets_no_gradient() -> None:
    learner = learner_of()
    graphs = learner.space.graphs(some_states())
    features = graphs.features.clone().requires_grad_()
    outlook = learner.network(graphs._replace(features=features))
    (outlook.entropy.sum() + outlook.candidates[graphs.mask].sum()).backward()
    assert features.grad is not None
    assert not features.grad[~graphs.mask].any()
    assert all(torch.isfinite(p.grad).all() for p in learner.network.parameters() if p.grad is not None)


def test_the_policy_is_improved_from_where_it_acted() -> None:
    """Before the first step of an update the ratios are 1."""
    learner = learner_of(rollout_turns=10_000)
    train(learner, 2)
    (turns, _) = learner._gathered
    outlook = learner.network(turns.graphs)
    log_probs = outlook.log_probs.gather(1, turns.actions[:, None]).squeeze(1)
    torch.testing.assert_close(log_probs, turns.log_probs, atol=1e-5, rtol=0)
    torch.testing.assert_close(outlook.values, turns.values, atol=1e-5, rtol=0)


def test_exploring_draws_from_the_policy() -> None:
    learner = learner_of(sociable=True, item_actions=1, attribute_actions=1)
    with torch.no_grad():
        learner.network.candidate[2].weight.mul_(200.0)  # type: ignore[operator]
    states = some_states(256, turns=0)
    expected = learner.network(learner.space.graphs(states)).candidates.exp().detach().mean(0)
    counts = np.zeros(3)
    for _ in range(8):
        counts += np.bincount(learner.explore(states).act, minlength=3)
    places = {Act.RECOMMEND: 0, Act.ASK: 10, Act.CHAT: 20}
    np.testing.assert_allclose(
        counts / counts.sum(), expected[[places[act] for act in sorted(places)]], atol=0.03
    )


def test_turns_are_gathered_conversation_after_conversation() -> None:
    learner = learner_of(rollout_turns=10_000)
    train(learner, 1)
    (turns,) = learner._gathered
    passed = turns.graphs.context[:, 0].mul(LIMIT).round().long().tolist()
    expected = [0, *(0 if over else turn + 1 for turn, over in zip(passed, turns.over.tolist(), strict=True))]
    assert passed == expected[:-1]
    assert int(turns.over.sum()) == 16


# -- promises -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sociable", [True, False])
@pytest.mark.parametrize("options", [{}, {"item_actions": 1}, {"attribute_actions": 3}], ids=str)
def test_masks_are_never_violated(sociable: bool, options: dict[str, int]) -> None:
    learner = learner_of(sociable=sociable, rollout_turns=128, **options)
    held = engine()
    for batch in range(4):
        states = held.begin(sessions(32, seed=batch))
        while len(states):
            decisions = learner.explore(states) if batch < 3 else learner.choose(states)
            asks, lists = decisions.act == Act.ASK, decisions.act == Act.RECOMMEND
            questions = states.attributes[:, : options.get("attribute_actions", 10)]
            heads = states.items[:, : options.get("item_actions", 10)]
            assert (decisions.attributes[asks] >= 0).all()
            assert (decisions.attributes[asks, :1] == questions[asks]).any(axis=1).all()
            assert (decisions.items[lists, 0] >= 0).all()
            assert (decisions.items[lists, :1] == heads[lists]).any(axis=1).all()
            if not sociable:
                assert (decisions.strategy == Strategy.NO_STRATEGY.position).all()
                stuck = (states.items[:, 0] < 0) & (states.attributes[:, 0] < 0)
                assert np.array_equal(decisions.act == Act.CHAT, stuck)
            keys = states.past.keys
            turnout, states = held.step(decisions)
            if batch < 3:
                learner.observe(keys.tolist(), turnout.rewards.tolist(), turnout.over.tolist())
        learner.learn()


@pytest.mark.parametrize("imitate_turns", [0, 100_000])
def test_equal_seeds_give_equal_networks(imitate_turns: int) -> None:
    one, other = learner_of(imitate_turns=imitate_turns), learner_of(imitate_turns=imitate_turns)
    assert train(one, 4) == train(other, 4)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("imitate_turns", [0, 150])
def test_resuming_from_a_checkpoint_changes_nothing(imitate_turns: int) -> None:
    """The checkpoint holds turns that wait for an update."""
    options = {"rollout_turns": 150, "imitate_turns": imitate_turns}
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
    for a, b in zip(through.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_deciding_checkpoint_decides_the_same() -> None:
    learner = learner_of()
    train(learner, 3)
    tensors, header = learner.state(resumable=False)
    assert all(name.startswith("network.") for name in tensors)
    other = learner_of()
    other.load(tensors, header)
    assert learner.decide(some_states()) == other.decide(some_states())


def test_decisions_do_not_depend_on_the_batch() -> None:
    learner = learner_of(sociable=True)
    train(learner, 4)
    held = engine()
    together = learner.decide(held.begin(sessions(24, seed=77)))
    alone = [learner.decide(held.begin([one]))[0] for one in sessions(24, seed=77)]
    assert together == alone


def test_plans_and_decisions_say_the_same() -> None:
    learner = learner_of(sociable=True)
    states = some_states()
    chosen = learner.choose(states)
    plans = learner.decide(states)
    assert [replace(plan, scores={}) for plan in plans] == [chosen.plan(row) for row in range(len(states))]
    chances = [sum(value for name, value in plan.scores.items() if name.startswith("p_")) for plan in plans]
    assert chances == pytest.approx([1.0] * len(plans), abs=1e-3)


def test_no_update_before_enough_turns_are_gathered() -> None:
    learner = learner_of(rollout_turns=150)
    curves = train(learner, 6)
    updated = [bool(numbers) for numbers in curves]
    assert not updated[0]
    assert any(updated)
    assert learner.learned >= 150
    assert learner.learned + sum(len(part.actions) for part in learner._gathered) > 150


def test_an_update_ends_where_the_policy_has_moved_far() -> None:
    bold = learner_of(learning_rate=0.02, target_kl=None, epochs=8, rollout_turns=200)
    careful = learner_of(learning_rate=0.02, target_kl=0.01, epochs=8, rollout_turns=200)
    play(bold, sessions(64))
    play(careful, sessions(64))
    assert careful.learn()["steps"] < bold.learn()["steps"]


def test_rate_and_entropy_weight_fall_with_the_training() -> None:
    learner = learner_of(dialogues=64, entropy_from=0.02, entropy_to=0.01, learning_rate=0.004)
    rates, weights = [], []
    for batch in range(4):
        (curve,) = train(learner, 1, first=batch)
        rates.append(curve["learning_rate"])
        weights.append(learner._entropy_weight)
    np.testing.assert_allclose(rates, [0.003, 0.002, 0.001, 0.0])
    np.testing.assert_allclose(weights, [0.0175, 0.015, 0.0125, 0.01])


def test_conversations_have_to_end_before_learning() -> None:
    learner = learner_of()
    states = some_states(4)
    learner.explore(states)
    learner.observe(states.past.keys.tolist(), [0.0] * 4, [True, True, True, False])
    with pytest.raises(ValueError, match="has not ended"):
        learner.learn()


def test_rewards_have_to_be_for_the_conversations_that_acted() -> None:
    learner = learner_of()
    states = some_states(4)
    learner.explore(states)
    with pytest.raises(ValueError, match="other conversations"):
        learner.observe([1, 2, 3, 4], [0.0] * 4, [True] * 4)


def test_the_arm_is_known_by_its_name() -> None:
    assert arms["unified-ppo"]() is UnifiedPpo
    assert learns("unified-ppo")
    check_settings("unified-ppo", {"clip": 0.1})
    with pytest.raises(InputError, match=r"arm\.unified-ppo\.clip"):
        check_settings("unified-ppo", {"clip": 2})
    with pytest.raises(InputError, match="must divide dim"):
        check_settings("unified-ppo", {"heads": 5})


# -- learning -----------------------------------------------------------------------------------


def test_learner_solves_a_bandit_over_acts_and_strategies() -> None:
    """Asking with Encouragement earns 1, everything else nothing; conversations have one turn."""
    learner = learner_of(
        sociable=True, rollout_turns=128, batch_size=128, learning_rate=1e-2, dialogues=5000, target_kl=None
    )
    for batch in range(36):
        states = some_states(128, turns=0)
        keys = draws.bits(states.past.keys, batch)
        states = replace(states, past=replace(states.past, keys=keys))
        chosen = learner.explore(states)
        earned = (chosen.act == Act.ASK) & (chosen.strategy == Strategy.ENCOURAGEMENT.position)
        learner.observe(keys.tolist(), earned.astype(float).tolist(), [True] * len(earned))
        learner.learn()
    plans = learner.decide(some_states(64))
    solved = [plan.act is Act.ASK and plan.strategy is Strategy.ENCOURAGEMENT for plan in plans]
    assert np.mean(solved) >= 0.95


def test_learner_finds_out_to_ask_and_then_recommend() -> None:
    """A low discount makes it matter not to ask to the end, which succeeds as well but takes five turns."""
    learner = learner_of(
        rollout_turns=256, batch_size=128, learning_rate=3e-3, discount=0.7, dialogues=28 * 64
    )
    assert play(learner, sessions(256, seed=999)) < 0.85
    train(learner, 24, size=64)
    success, turns = held_out(learner)
    assert success >= 0.98
    assert turns <= 4.7  # 4.5 is the least there can be


def test_imitation_takes_up_the_rule() -> None:
    learner = learner_of(
        imitate_turns=100_000, rollout_turns=256, guide_from=1.0, guide_to=1.0, learning_rate=3e-3
    )
    train(learner, 24, size=64)
    rule = MaxEntropy(learner.context)
    assert held_out(learner) == held_out(rule)


def test_imitation_ends_with_an_update() -> None:
    learner = learner_of(imitate_turns=100, rollout_turns=64)
    curves = train(learner, 6)
    imitated = ["imitation_loss" in numbers for numbers in curves if numbers]
    assert imitated[0]
    assert not imitated[-1]
    assert imitated == sorted(imitated, reverse=True)


def test_imitation_takes_two_turns_a_conversation_by_default() -> None:
    learner = learner_of(imitate_turns=None, dialogues=40)
    assert learner._imitating
    train(learner, 1, size=16)
    learner.learned = 80
    assert not learner._imitating
    assert not learner_of(imitate_turns=0)._imitating


def test_imitation_leaves_strategies_to_be_explored() -> None:
    learner = learner_of(imitate_turns=100_000, sociable=True)
    train(learner, 6, size=32)
    outlook = learner.network(learner.space.graphs(some_states()))
    entropy = -(outlook.manners[:, 0].exp() * outlook.manners[:, 0]).sum(1)
    assert float(entropy.detach().min()) > 0.95 * np.log(14)
