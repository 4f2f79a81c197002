"""The Gymnasium side of the simulators: interfaces, masks, seeding, batches."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks

import unicrs_rl.simulators  # noqa: F401  importing it registers the environments
from unicrs_rl.dialogue import STRATEGIES
from unicrs_rl.errors import InputError
from unicrs_rl.graphs.belief import Reject, Scoring
from unicrs_rl.graphs.world import Split, World
from unicrs_rl.simulators.environment import (
    CHAT,
    FIRST_QUESTION,
    RECOMMEND,
    ConversationEnv,
    ConversationVectorEnv,
)

IDS = ["unicrs_rl/Mcr-v0", "unicrs_rl/Latent-v0"]
USERS = ["mcr", "latent"]


def batch_of(world: World, user: str, size: int, **options: Any) -> ConversationVectorEnv:
    return ConversationVectorEnv(world, size, user=user, **options)


def allowed(user: str, masks: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Random actions within the masks: ``[batch]`` or ``[batch, 2]``."""
    n_codes = masks.shape[1] - (len(STRATEGIES) if user == "latent" else 0)
    codes = [
        RECOMMEND if mask[RECOMMEND] and rng.random() < 0.3 else rng.choice(np.flatnonzero(mask[:n_codes]))
        for mask in masks
    ]
    if user == "mcr":
        return np.array(codes)
    return np.stack([codes, rng.integers(len(STRATEGIES), size=len(codes))], axis=1)


def rollout(env: ConversationVectorEnv, user: str, seed: int, steps: int = 25) -> list[Any]:
    """Everything that random allowed play shows after ``reset(seed=seed)``."""
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=seed)
    seen: list[Any] = [observation, info]
    for _ in range(steps):
        observation, *rest, info = env.step(allowed(user, info["action_mask"], rng))
        seen.extend([observation, *rest, info])
    return seen


def same(one: Any, other: Any) -> bool:
    """Whether two nested results are equal to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(one, other))


# --- single environments


@pytest.mark.parametrize("name", IDS)
def test_single_environments_pass_gymnasiums_checker_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_env(gym.make(name, disable_env_checker=True).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", IDS)
def test_registered_environments_end_within_fifteen_turns(name: str) -> None:
    env = gym.make(name)
    _, info = env.reset(seed=0)
    chat = env.action_space.sample() * 0
    for turn in range(1, 16):
        _, _, over, late, info = env.step(chat)
        assert info["system_turn"] == turn
        if over or late:
            break
    assert over or late


@pytest.mark.parametrize("user", USERS)
def test_action_spaces_have_chat_recommend_every_attribute_and_strategies(movies: World, user: str) -> None:
    codes = 2 + movies.catalogue.n_attributes
    expected = {
        "mcr": gym.spaces.Discrete(codes),
        "latent": gym.spaces.MultiDiscrete([codes, len(STRATEGIES)]),
    }
    assert ConversationEnv(movies, user=user).action_space == expected[user]


@pytest.mark.parametrize("name", IDS)
def test_maskable_ppo_learns_on_it_and_keeps_to_the_masks(name: str) -> None:
    class Watched(gym.Wrapper[Any, Any, Any, Any]):
        """Notes whether each action was within the mask."""

        kept: list[bool] = []

        def step(self, action: Any) -> Any:
            masks = self.get_wrapper_attr("action_masks")()
            codes = np.atleast_1d(action)
            offsets = [0, len(masks) - len(STRATEGIES)][: len(codes)]
            self.kept.append(all(masks[offset + code] for offset, code in zip(offsets, codes, strict=True)))
            return super().step(action)

    env = Watched(gym.make(name))
    model = MaskablePPO("MultiInputPolicy", env, n_steps=32, batch_size=16, n_epochs=1, seed=0, device="cpu")
    before = [parameter.detach().clone() for parameter in model.policy.parameters()]
    model.learn(64)
    assert len(env.kept) == 64
    assert all(env.kept)
    assert any((old != new).any() for old, new in zip(before, model.policy.parameters(), strict=True))
    observation, _ = env.reset(seed=1)
    chosen, _ = model.predict(observation, action_masks=get_action_masks(env))
    assert env.action_space.contains(chosen)


# --- vector environments


@pytest.mark.parametrize(("name", "width"), [(IDS[0], ()), (IDS[1], (2,))])
def test_make_vec_gives_batched_shapes(name: str, width: tuple[int, ...]) -> None:
    env = gym.make_vec(name, num_envs=5)
    assert isinstance(env, ConversationVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    actions = env.action_space.sample()
    assert actions.shape == (5, *width)
    observation, rewards, over, late, info = env.step(actions)
    assert env.observation_space.contains(observation)
    assert [part.shape for part in (rewards, over, late)] == [(5,)] * 3
    assert (over.dtype, late.dtype) == (np.bool_, np.bool_)
    n_codes = 2 + env.world.catalogue.n_attributes
    assert info["action_mask"].shape == (5, n_codes + (len(STRATEGIES) if width else 0))
    assert info["_action_mask"].tolist() == [True] * 5


@pytest.mark.parametrize("user", USERS)
def test_observations_stay_in_their_space_through_random_play(movies: World, user: str) -> None:
    env = batch_of(movies, user, 16)
    seen = rollout(env, user, 0)
    observations = [part for part in seen if isinstance(part, dict) and "turn" in part]
    assert len(observations) == 26
    assert all(env.observation_space.contains(observation) for observation in observations)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("reject", [Reject.FILTER, Reject.NONE])
def test_mask_is_chat_a_list_while_there_is_one_and_the_open_questions(
    movies: World, user: str, reject: Reject
) -> None:
    """Open: never answered, and some candidate has it. Worked out anew from the candidates."""
    env, rng = batch_of(movies, user, 8, reject=reject), np.random.default_rng(1)
    observation, info = env.reset(seed=2)
    n_codes = FIRST_QUESTION + movies.catalogue.n_attributes
    owned = movies.catalogue.item_attributes.toarray() > 0
    emptied = False
    for _ in range(40):
        mask = info["action_mask"]
        some = env.candidates.any(axis=1)
        had = np.stack([owned[row].any(axis=0) for row in env.candidates])
        np.testing.assert_array_equal(mask[:, CHAT], True)
        np.testing.assert_array_equal(mask[:, RECOMMEND], some)
        np.testing.assert_array_equal(mask[:, FIRST_QUESTION:n_codes], had & (observation["attributes"] == 0))
        np.testing.assert_array_equal(mask[:, n_codes:], True)
        emptied |= bool((~some).any())
        observation, *_, info = env.step(allowed(user, mask, rng))
    assert emptied == (user == "latent")  # only a latent seeker may decline all that fits its words


def test_autoreset_starts_anew_at_the_next_step_with_reward_zero(movies: World) -> None:
    env = batch_of(movies, "mcr", 3, limit=2)
    first, _ = env.reset(options={"sessions": movies.sessions(Split.TEST, 9, 0)})
    env.step(np.full(3, CHAT))
    final, rewards, over, late, _ = env.step(np.full(3, CHAT))
    assert late.all()
    assert not over.any()
    assert rewards.tolist() == [-0.3] * 3
    assert final["turn"].ravel().tolist() == [1.0] * 3
    fresh, rewards, over, late, info = env.step(np.full(3, RECOMMEND))
    assert rewards.tolist() == [0.0] * 3
    assert not (over | late).any()
    assert fresh["turn"].ravel().tolist() == [0.0] * 3
    assert info["system_turn"].tolist() == [0] * 3
    assert (fresh["attributes"] == 1).sum(axis=1).tolist() == [1] * 3
    assert not same(fresh, first)


def test_only_conversations_that_are_over_start_anew(movies: World) -> None:
    sessions = movies.sessions(Split.TEST, 4, 0)

    def know_the_first(those: Any) -> NDArray[np.float64]:
        scores = np.zeros((len(those), movies.catalogue.n_items))
        for row, one in enumerate(those):
            scores[row, one.target] = 50.0 if one is sessions[0] else -50.0
        return scores

    env = batch_of(movies, "mcr", 2, prior=know_the_first, slate=1)
    env.reset(options={"sessions": sessions})
    _, rewards, over, _, info = env.step(np.full(2, RECOMMEND))
    assert rewards.tolist() == [1.0, -0.1]
    assert over.tolist() == [True, False]
    assert info["rank"].tolist() == [1, 0]
    assert info["success"].tolist() == [True, False]
    _, rewards, _, _, info = env.step(np.full(2, CHAT))
    assert rewards.tolist() == [0.0, -0.1]
    assert info["system_turn"].tolist() == [0, 2]
    assert env.seekers.sessions == [sessions[2], sessions[1]]


def test_gymnasiums_episode_statistics_agree_with_the_rewards(movies: World) -> None:
    env, rng = RecordEpisodeStatistics(batch_of(movies, "mcr", 6, limit=5)), np.random.default_rng(0)
    _, info = env.reset(seed=0)
    total, length, finished = np.zeros(6), np.zeros(6), 0
    done = np.zeros(6, dtype=bool)
    for _ in range(20):
        total[done], length[done] = 0.0, -1  # the step that starts anew is no turn
        _, rewards, over, late, info = env.step(allowed("mcr", info["action_mask"], rng))
        total, length, done = total + rewards, length + 1, over | late
        if done.any():
            assert info["episode"]["r"][done] == pytest.approx(total[done])
            assert info["episode"]["l"][done].tolist() == length[done].tolist()
        finished += int(done.sum())
    assert finished > 12


def test_a_seeker_who_leaves_ends_the_conversation_at_the_out_of_turns_price(movies: World) -> None:
    env = batch_of(movies, "latent", 64)
    env.reset(seed=0)
    gone = 0
    alive = np.ones(64, dtype=bool)
    for turn in range(1, 16):
        _, rewards, over, late, info = env.step(np.tile([CHAT, 0], (64, 1)))
        assert (rewards[alive & over] == -0.3).all()
        assert not (over & late).any()
        gone += int((alive & over).sum())
        assert not info["success"].any()
        assert (late[alive & ~over] == (turn == 15)).all()
        alive &= ~(over | late)
    assert gone >= 3
    assert not alive.any()


# --- seeding and batches


@pytest.mark.parametrize("user", USERS)
def test_equal_seeds_give_equal_results_and_other_seeds_others(movies: World, user: str) -> None:
    env = batch_of(movies, user, 8)
    first, again, other = (rollout(env, user, seed) for seed in (5, 5, 6))
    assert same(first, again)
    assert same(first, rollout(batch_of(movies, user, 8), user, 5))
    assert not same(first, other)


def test_reset_without_a_seed_goes_on_to_the_next_sessions(movies: World) -> None:
    env = batch_of(movies, "mcr", 3)
    env.reset(seed=4)
    env.reset()
    assert env.seekers.sessions == movies.sessions(Split.TRAIN, 6, 4)[3:]


def test_sessions_of_the_split_are_used(movies: World) -> None:
    for split in Split:
        env = batch_of(movies, "mcr", 3, split=split)
        env.reset(seed=4)
        assert env.seekers.sessions == movies.sessions(split, 3, 4)


def test_a_list_of_seeds_fixes_the_conversations(movies: World) -> None:
    env = batch_of(movies, "mcr", 3)
    drawn = []
    for _ in range(2):
        env.reset(seed=[1, 2, 3])
        drawn.append(list(env.seekers.sessions))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("user", USERS)
def test_a_batch_goes_as_its_conversations_go_alone(movies: World, user: str) -> None:
    sessions = movies.sessions(Split.TEST, 12, 1)
    rng = np.random.default_rng(3)
    batch = batch_of(movies, user, 12)
    observation, info = batch.reset(options={"sessions": sessions})
    singles = [ConversationEnv(movies, user=user) for _ in sessions]
    started = [env.reset(options={"sessions": [one]}) for env, one in zip(singles, sessions, strict=True)]
    alive = list(range(12))
    for row in alive:
        assert same(started[row][0], {name: values[row] for name, values in observation.items()})
    while alive:
        actions = allowed(user, info["action_mask"], rng)
        observation, rewards, over, late, info = batch.step(actions)
        for row in list(alive):
            alone = singles[row].step(actions[row])
            assert same(alone[0], {name: values[row] for name, values in observation.items()})
            assert alone[1:4] == (rewards[row], over[row], late[row])
            assert same(alone[4], {name: values[row] for name, values in info.items() if name[0] != "_"})
            if alone[2] or alone[3]:
                alive.remove(row)


def test_the_single_mask_is_the_one_of_info(movies: World) -> None:
    env = ConversationEnv(movies, user="latent")
    _, info = env.reset(seed=0)
    np.testing.assert_array_equal(env.action_masks(), info["action_mask"])
    *_, info = env.step(np.array([FIRST_QUESTION, 3]))
    np.testing.assert_array_equal(env.action_masks(), info["action_mask"])


# --- wrong use


@pytest.mark.parametrize(
    ("user", "wrong"),
    [("mcr", -1), ("mcr", 99_999), ("latent", (99_999, 0)), ("latent", (0, 14)), ("latent", (0, -1))],
)
def test_an_action_outside_the_space_is_refused_with_a_clear_error(
    movies: World, user: str, wrong: Any
) -> None:
    env = ConversationEnv(movies, user=user)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        env.step(np.array(wrong))


def test_unknown_user_is_answered_with_a_suggestion(movies: World) -> None:
    with pytest.raises(InputError, match="latent"):
        batch_of(movies, "latnet", 1)


def test_unicorn_scoring_and_penalties_need_embeddings(movies: World) -> None:
    for options in ({"scoring": Scoring.UNICORN}, {"reject": Reject.PENALTY}):
        with pytest.raises(ValueError, match="embeddings"):
            batch_of(movies, "mcr", 1, **options).reset(seed=0)


def test_misspelt_switches_are_refused(movies: World) -> None:
    with pytest.raises(ValueError, match="unicorn_code"):
        batch_of(movies, "mcr", 1, protocol="unicorn_code")
