"""The decomposed arm's second learner: proximal policy optimisation of the planner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_rso import context_of, play_bandit, states_of

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import resolve
from unicrs_rl.policy.arms import arms
from unicrs_rl.policy.rso_ppo import RsoPpo, advantages

OPTIONS = {"width": 32, "learning_rate": 1e-2, "entropy": 0.001}


def test_advantages_by_hand() -> None:
    """d = (1 + .5*2 - 1, 0 + 0 - 2) = (1, -2); A = (1 + .5*.5*(-2), -2)."""
    found = advantages(np.array([1.0, 0.0]), np.array([1.0, 2.0]), discount=0.5, smoothing=0.5)
    np.testing.assert_allclose(found, [0.5, -2.0])


def test_advantages_with_full_smoothing_are_returns_less_values() -> None:
    rewards, values = np.array([0.2, -0.1, 1.0]), np.array([0.3, 0.1, 0.4])
    expected = np.array([0.2 - 0.1 + 1.0, -0.1 + 1.0, 1.0]) - values
    np.testing.assert_allclose(advantages(rewards, values, 1.0, 1.0), expected)


def test_it_solves_a_bandit(components: Components) -> None:
    learner = RsoPpo(context_of(components, options=OPTIONS))
    play_bandit(learner, components, 60)
    plans = learner.decide(states_of(components, 20, seed=777))
    assert np.mean([plan.strategy == "Similarity" for plan in plans]) >= 0.95


def test_a_batch_is_left_once_the_policy_has_moved_far(components: Components) -> None:
    moved = {}
    for largest in (1e-6, 10.0):
        options = {**OPTIONS, "largest_drift": largest, "epochs": 6}
        learner = RsoPpo(context_of(components, options=options))
        play_bandit(learner, components, 1)
        assert learner.optimizer is not None
        moved[largest] = int(next(iter(learner.optimizer.state.values()))["step"])
    assert moved[1e-6] < moved[10.0] == 6


def test_equal_seeds_give_equal_planners_and_resuming_changes_nothing(components: Components) -> None:
    through, first = (RsoPpo(context_of(components, options=OPTIONS)) for _ in range(2))
    for learner in (through, first):
        play_bandit(learner, components, 2)
    resumed = RsoPpo(first.context)
    resumed.load(*first.state())
    assert play_bandit(through, components, 2) == play_bandit(resumed, components, 2)
    assert through.planner is not None
    assert resumed.planner is not None
    for a, b in zip(through.planner.parameters(), resumed.planner.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_is_an_arm_with_its_own_settings() -> None:
    assert arms["rso-ppo"]() is RsoPpo
    with pytest.raises(InputError, match=r"arm\.rso-ppo\.baseline"):
        resolve({"arm": {"rso-ppo": {"baseline": "group"}}})
