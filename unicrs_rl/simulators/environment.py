"""Simulated seekers as Gymnasium environments, at the semantic surface.

The environment keeps the candidate items of each conversation, as the benchmark's protocol does: a
recommendation shows the ``slate`` best of them. Actions are

- ``mcr``: ``Discrete(2 + attributes)``: 0 chats, 1 recommends, ``2 + a`` asks about attribute ``a``;
- ``latent``: ``MultiDiscrete([2 + attributes, 14])``: the same and a strategy.

``info["action_mask"]`` marks what makes sense: attributes that some candidate has and that were not
asked about; for ``MultiDiscrete`` the masks of the dimensions are joined. Rewards are UNICORN's
(:func:`~unicrs_rl.judging.reward.task_rewards`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Strategy
from unicrs_rl.graphs.belief import (
    EXCLUDED,
    Belief,
    Reject,
    Scoring,
    attribute_mass,
    binary_entropy,
    top_items,
)
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Session, Split, World
from unicrs_rl.graphs.worlds import make_world
from unicrs_rl.judging.reward import task_rewards
from unicrs_rl.simulators.populations import make_seekers
from unicrs_rl.simulators.protocol import Protocol
from unicrs_rl.simulators.seekers import NOTHING, Actions, Answer, Replies, SeekerContext
from unicrs_rl.simulators.settings import SeekerConfig

CHAT, RECOMMEND, FIRST_QUESTION = 0, 1, 2
"""Action codes; ``FIRST_QUESTION + a`` asks about attribute ``a``."""


class ConversationVectorEnv(VectorEnv[dict[str, Any], NDArray[np.int64], NDArray[Any]]):
    """Many conversations stepped at once.

    Args:
        world: a world or its name.
        num_envs: conversations at once.
        user: kind of seeker, ``mcr`` or ``latent``.
        seekers: how they behave.
        split: which (seeker, target) pairs are asked for.
        protocol: how turns are counted.
        reject: what a "no" does to the candidates.
        scoring: how candidates are ranked; ``unicorn`` needs embeddings.
        embeddings: for ``unicorn`` scoring, ``penalty``, and ``log_prior``'s default.
        prior: scores of all items for a batch of sessions, ``[batch, items]``; default: ``u·v`` under
            ``unicorn`` scoring, else zero.
        limit: T, turns allowed.
        slate: items shown by a recommendation.

    Observations (all ``[num_envs, …]``): ``turn`` (share of T), ``attributes`` (0 unknown, 1 wanted,
    2 unwanted, 3 indifferent), ``candidates`` (share of the catalogue), ``confidence`` (posterior
    mass of the list that would be shown), ``entropy`` (largest weighted entropy of an open question, bits).
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(  # noqa: PLR0913  one keyword per switch
        self,
        world: World | str = "movies",
        num_envs: int = 1,
        *,
        user: str = "mcr",
        seekers: SeekerConfig | None = None,
        split: Split = Split.TRAIN,
        protocol: Protocol = Protocol.DEFAULT,
        reject: Reject = Reject.FILTER,
        scoring: Scoring = Scoring.POSTERIOR,
        embeddings: Embeddings | None = None,
        prior: Any = None,
        limit: int = 15,
        slate: int = 10,
    ) -> None:
        self.world = make_world(world) if isinstance(world, str) else world
        self.num_envs = num_envs
        self.seekers = make_seekers(user, SeekerContext(self.world, seekers or SeekerConfig()))
        self.split, self.protocol = Split(split), Protocol(protocol)
        self.reject, self.scoring = Reject(reject), Scoring(scoring)
        self.limit, self.slate = limit, slate
        self._embeddings = embeddings
        self._prior = prior
        self._actions_allowed = self.protocol.acting(limit)
        n_attributes = self.world.catalogue.n_attributes
        self._n_codes = FIRST_QUESTION + n_attributes
        self.single_action_space = (
            gym.spaces.MultiDiscrete([self._n_codes, len(STRATEGIES)])
            if self.seekers.strategic
            else gym.spaces.Discrete(self._n_codes)
        )
        unit = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.single_observation_space = gym.spaces.Dict(
            {
                "turn": unit,
                "attributes": gym.spaces.Box(0, 3, (n_attributes,), np.int8),
                "candidates": unit,
                "confidence": unit,
                "entropy": unit,
            }
        )
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._queue: list[Session] = []
        self._episode = 0
        self._over = np.zeros(num_envs, dtype=bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start all conversations.

        Args:
            seed: fixes the order of sessions and all random numbers; without one, the sessions go
                on where they were.
            options: ``{"sessions": [...]}`` fixes the sessions themselves, used in turn.
        """
        super().reset(seed=seed if isinstance(seed, int) else None)
        given: Sequence[Session] | None = (options or {}).get("sessions")
        if given is not None:
            self._queue, self._episode = list(given), 0
        elif seed is not None or not self._queue:
            number = seed if isinstance(seed, int) else self._number_of(seed)
            self._queue, self._episode = self.world.sessions(self.split, None, number), 0
        n_items, n_attributes = self.world.catalogue.n_items, self.world.catalogue.n_attributes
        self.seekers.sessions = [self._next_session() for _ in range(self.num_envs)]
        self._belief = Belief(
            self.world.catalogue,
            np.zeros((self.num_envs, n_items)),
            self.reject,
            self.scoring,
            self._embeddings,
        )
        self._status = np.zeros((self.num_envs, n_attributes), dtype=np.int8)
        self._struck = np.zeros((self.num_envs, n_items), dtype=bool)
        self._turn = np.zeros(self.num_envs, dtype=np.int64)
        self._weights = np.zeros((self.num_envs, n_items))
        self._mass = np.zeros((self.num_envs, n_attributes))
        self._begin(np.arange(self.num_envs))
        self._over[:] = False
        return self._observe(), self._info()

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """One turn in every conversation; those that were over start anew instead (reward 0)."""
        codes, strategies = self._decode(np.asarray(actions))
        live, again = np.flatnonzero(~self._over), np.flatnonzero(self._over)
        rewards = np.zeros(self.num_envs)
        success, left, late = (np.zeros(self.num_envs, dtype=bool) for _ in range(3))
        rank = np.zeros(self.num_envs, dtype=np.int64)
        if len(live):
            move = self.actions_of(live, codes[live], strategies[live])
            replies = self.act(live, move)
            beyond = self._turn[live] > self._actions_allowed
            success[live] = replies.accepted & ~beyond
            left[live] = replies.left
            used_up = beyond if self.protocol is Protocol.UNICORN_CODE else self._turn[live] >= self.limit
            late[live] = used_up & ~success[live]
            rank[live] = np.where(success[live], replies.place + 1, 0)
            wanted = (replies.answers == Answer.YES).any(axis=1) | (replies.volunteered != NOTHING)
            rewards[live] = task_rewards(move.act, wanted, success[live], (late | left)[live])
        if len(again):
            for row in again:
                self.seekers.sessions[row] = self._next_session()
            self._begin(again)
        self._over = success | left | late
        info = self._info() | {"success": success, "rank": rank, "system_turn": self._turn.copy()}
        return self._observe(), rewards, success | left, late & ~left, info

    def actions_of(
        self, rows: NDArray[np.int64], codes: NDArray[np.int64], strategies: NDArray[np.int64]
    ) -> Actions:
        """Action codes as actions: a recommendation shows the best candidates. All ``[n]``."""
        act = np.select([codes == CHAT, codes == RECOMMEND], [Act.CHAT, Act.RECOMMEND], Act.ASK)
        items = np.full((len(rows), self.slate), NOTHING, dtype=np.int64)
        listing = codes == RECOMMEND
        if listing.any():
            items[listing] = top_items(self._weights[rows[listing]], self.slate)
        asked = np.where(codes >= FIRST_QUESTION, codes - FIRST_QUESTION, NOTHING)[:, None]
        return Actions(act.astype(np.int64), strategies, asked, items, np.zeros(len(rows), dtype=np.int64))

    def act(self, rows: NDArray[np.int64], move: Actions) -> Replies:
        """Take actions in the conversations ``rows`` (``[n]``) and learn from the replies.

        Below :meth:`step`: lists are explicit, nothing ends, and there is no reward. For replaying
        recorded dialogues.
        """
        replies = self.seekers.respond(rows, move)
        self._turn[rows] += 1
        for index, row in enumerate(rows.tolist()):
            if replies.withdrawn and replies.withdrawn[index]:
                self._unlearn(row, replies.withdrawn[index])
            answers = zip(move.attributes[index].tolist(), replies.answers[index].tolist(), strict=True)
            for attribute, answer in answers:
                self._learn(row, attribute, answer)
            extra = int(replies.volunteered[index])
            if extra != NOTHING and self._status[row, extra] == 0:
                self._learn(row, extra, Answer.YES)
            if move.act[index] == Act.RECOMMEND and replies.place[index] == NOTHING:
                self._strike(row, move.items[index])
        self._refresh(rows)
        return replies

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weights of the candidates now: ``[num_envs, items]``, rows sum to one."""
        return self._weights

    @property
    def candidates(self) -> NDArray[np.bool_]:
        """Which items are candidates now: ``[num_envs, items]``."""
        return self._belief.candidates

    def question_entropies(self) -> NDArray[np.float64]:
        """Weighted entropy in bits of every open question: ``[num_envs, attributes]``, 0 if closed."""
        return np.where(self._status == 0, binary_entropy(self._mass), 0.0)

    def _next_session(self) -> Session:
        session = self._queue[self._episode % len(self._queue)]
        self._episode += 1
        return session

    def _begin(self, rows: NDArray[np.int64]) -> None:
        self.seekers.start(rows)
        volunteered = self.seekers.opening(rows)
        sessions = [self.seekers.sessions[row] for row in rows]
        self._belief.scores[rows] = self._first_scores(sessions)
        self._belief.candidates[rows] = self._belief.scores[rows] > EXCLUDED / 2
        self._status[rows] = 0
        self._struck[rows] = False
        self._turn[rows] = 0
        for row, attribute in zip(rows.tolist(), volunteered.tolist(), strict=True):
            self._belief.accept(row, attribute)
            self._status[row, attribute] = Answer.YES
        self._refresh(rows)

    def _first_scores(self, sessions: Sequence[Session]) -> NDArray[np.float64]:
        if self._prior is not None:
            scores: NDArray[np.float64] = self._prior(sessions)
            return scores
        if self.scoring is Scoring.UNICORN and self._embeddings is not None:
            folded = self._embeddings.fold_in([session.history for session in sessions])
            return (folded @ self._embeddings.items.T).astype(np.float64)
        return np.zeros((len(sessions), self.world.catalogue.n_items))

    def _learn(self, row: int, attribute: int, answer: int) -> None:
        if attribute == NOTHING or answer == Answer.NONE:
            return
        self._status[row, attribute] = answer
        if answer == Answer.YES:
            self._belief.accept(row, attribute)
        elif answer == Answer.NO:
            self._belief.decline(row, attribute)

    def _unlearn(self, row: int, wishes: tuple[int, ...]) -> None:
        """The seeker changed its mind: believe anew, from what still holds of all that was said."""
        self._belief.scores[row] = self._first_scores([self.seekers.sessions[row]])[0]
        self._belief.candidates[row] = (self._belief.scores[row] > EXCLUDED / 2) & ~self._struck[row]
        self._status[row, list(wishes)] = Answer.NO
        for attribute in np.flatnonzero(self._status[row]).tolist():
            self._learn(row, attribute, int(self._status[row, attribute]))

    def _strike(self, row: int, items: NDArray[np.int64]) -> None:
        """Remove a declined list from the candidates."""
        keeps = self.protocol is Protocol.UNICORN_CODE
        if keeps and self._belief.candidates[row].sum() <= self.slate:
            return
        declined = items[items != NOTHING].tolist()
        self._struck[row, declined] = True
        self._belief.remove(row, declined)

    def _refresh(self, rows: NDArray[np.int64]) -> None:
        self._weights[rows] = self._belief.weights(rows)
        self._mass[rows] = attribute_mass(self.world.catalogue, self._weights[rows])

    def _number_of(self, seeds: list[int | None] | None) -> int:
        """One seed for all conversations: of a full list, else drawn."""
        given = [seed for seed in seeds or () if seed is not None]
        if given and len(given) == self.num_envs:
            return draws.key("seeds", *given)
        return int(self.np_random.integers(2**31))

    def _decode(self, actions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Act codes and strategies: each ``[num_envs]``.

        Raises:
            ValueError: for an action outside the action space.
        """
        strategic = self.seekers.strategic
        plain = np.full(len(actions), Strategy.NO_STRATEGY.position)
        codes, strategies = (actions[:, 0], actions[:, 1]) if strategic else (actions, plain)
        wrong = (codes < 0) | (codes >= self._n_codes) | (strategies < 0) | (strategies >= len(STRATEGIES))
        if wrong.any():
            raise ValueError(f"action {actions[wrong][0].tolist()} is outside {self.single_action_space}")
        return codes.astype(np.int64), strategies.astype(np.int64)

    def _observe(self) -> dict[str, Any]:
        best = np.take_along_axis(self._weights, np.maximum(top_items(self._weights, self.slate), 0), axis=1)
        columns = {
            "turn": np.minimum(self._turn / self.limit, 1.0),
            "candidates": self._belief.candidates.mean(axis=1),
            "confidence": np.minimum(best.sum(axis=1), 1.0),
            "entropy": self.question_entropies().max(axis=1, initial=0.0),
        }
        observation: dict[str, Any] = {name: v.astype(np.float32)[:, None] for name, v in columns.items()}
        return observation | {"attributes": self._status.copy()}

    def _info(self) -> dict[str, Any]:
        """Masks: chatting is always possible, recommending while candidates are left."""
        open_ = (self._status == 0) & (self._mass > 0)
        chat = np.ones((self.num_envs, 1), dtype=bool)
        some = self._belief.candidates.any(axis=1, keepdims=True)
        parts = [chat, some, open_]
        if self.seekers.strategic:
            parts.append(np.ones((self.num_envs, len(STRATEGIES)), dtype=bool))
        return {
            "action_mask": np.concatenate(parts, axis=1),
            "_action_mask": np.ones(self.num_envs, dtype=bool),
        }


class ConversationEnv(gym.Env[dict[str, Any], Any]):
    """One conversation as a plain Gymnasium environment; takes the arguments of the vector one."""

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, world: World | str = "movies", **options: Any) -> None:
        self.batch = ConversationVectorEnv(world, 1, **options)
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        return self._single(*self.batch.reset(seed=seed, options=options))

    @override
    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        observation, rewards, over, late, info = self.batch.step(np.asarray(action)[None])
        one, details = self._single(observation, info)
        return one, float(rewards[0]), bool(over[0]), bool(late[0]), details

    def action_masks(self) -> NDArray[np.bool_]:
        """The current mask, under the name that sb3-contrib's MaskablePPO looks for."""
        mask: NDArray[np.bool_] = self.batch._info()["action_mask"][0]
        return mask

    @staticmethod
    def _single(observation: dict[str, Any], info: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        plain = {name: values[0] for name, values in info.items() if not name.startswith("_")}
        return {name: values[0] for name, values in observation.items()}, plain
