"""Many conversations with ``mcr`` seekers at once: held by the batched engine, without words.

What :mod:`~unicrs_rl.experiments.conversation` does for every kind of seeker and at both surfaces, this
does for one kind at the semantic surface, thousands of turns a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unicrs_rl import draws
from unicrs_rl.dialogue import Decisions
from unicrs_rl.experiments.components import Components
from unicrs_rl.experiments.config import Surface
from unicrs_rl.graphs.states import States
from unicrs_rl.graphs.world import Session, Split
from unicrs_rl.policy.base import Learner, Policy
from unicrs_rl.simulators.engine import Engine, Turnout

BATCH = 512
"""Conversations held at once in evaluation, at most; no effect on results."""
_PRIOR_BYTES = 64 * 2**20
"""What the priors of a batch may take, which have a number for each item."""
TRIED_ON = 1500
"""Held-out conversations that something is tried on before it is chosen, where there are so many."""


@dataclass(frozen=True)
class Outcomes:
    """How ``n`` conversations ended.

    Attributes:
        success: ``[n]`` of bool.
        turn: ``[n]`` system turns taken.
        rank: ``[n]`` place of the target on the accepted list, from 1; 0 without success.
        reward: ``[n]`` sum of rewards.
        limit: T.
        seconds: wall-clock, spent by engine and policy.
    """

    success: NDArray[np.bool_]
    turn: NDArray[np.int64]
    rank: NDArray[np.int64]
    reward: NDArray[np.float64]
    limit: int
    seconds: float = 0.0

    def metrics(self) -> dict[str, NDArray[np.float64]]:
        """Each metric of each conversation, ``[n]`` by name: see :mod:`~unicrs_rl.judging.metrics`."""
        t = np.maximum(self.turn - 1, 0)
        later = 1 / np.log2(t + 3)
        gain = later + (1 / np.log2(t + 2) - later) / np.log2(np.maximum(self.rank, 1) + 1)
        found = {f"sr@{limit}": self.success_by(limit).astype(np.float64) for limit in (5, 10, 15)}
        return found | {
            "at": np.where(self.success, self.turn, self.limit).astype(np.float64),
            "hdcg": np.where(self.success, gain, 0.0),
        }

    def success_by(self, turn: int) -> NDArray[np.bool_]:
        """Which conversations succeeded within so many turns: ``[n]``."""
        return self.success & (self.turn <= turn)


def _join(parts: Sequence[Outcomes]) -> Outcomes:
    """Several batches as one."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("success", "turn", "rank", "reward")
    }
    return Outcomes(**columns, limit=parts[0].limit, seconds=sum(part.seconds for part in parts))


def plays(policy: Policy, components: Components) -> bool:
    """Whether an arm's conversations are held by the engine: so configured, and it decides every column."""
    return components.config.surface is Surface.SEMANTIC and policy.complete


def hold(engine: Engine, policy: Policy, sessions: Sequence[Session], learning: bool = False) -> Outcomes:
    """Hold a batch of conversations to their ends.

    Args:
        learning: the policy is a learner that explores and is told its rewards.
    """
    started = time.perf_counter()
    n = len(sessions)
    success, turn, rank = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    reward = np.zeros(n)
    states = engine.begin(sessions)
    while len(states):
        decisions = _decide(policy, states, learning)
        keys = states.past.keys
        turnout, states = engine.step(decisions)
        if learning and isinstance(policy, Learner):
            policy.observe(keys.tolist(), turnout.rewards.tolist(), turnout.over.tolist())
        _note(turnout, success, turn, rank, reward)
    return Outcomes(success, turn, rank, reward, engine.limit, time.perf_counter() - started)


def evaluate(
    engine: Engine,
    policy: Policy,
    sessions: Sequence[Session],
    batch_size: int | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Outcomes:
    """Hold the conversations, a batch at a time.

    Args:
        progress: told of (conversations held, conversations).
    """
    affordable = max(1, _PRIOR_BYTES // (8 * engine.world.catalogue.n_items))
    batch_size = batch_size or min(BATCH, affordable)
    parts = []
    for start in range(0, len(sessions), batch_size):
        parts.append(hold(engine, policy, sessions[start : start + batch_size]))
        progress(min(start + batch_size, len(sessions)), len(sessions))
    return _join(parts)


def dreamed(components: Components, sessions: Sequence[Session]) -> list[Session]:
    """The same seekers, each wanting an item drawn from what the prior holds likely of them.

    What is known of them is what will be known in the test, because that sharp a belief is what a policy
    has to use; nothing of the test split has a part in it. The wishes are drawn from the prior flattened
    by ``wish_temperature``: a policy that only met what it believes would trust its belief too much.
    """
    sessions = [replace(session, split=Split.TEST) for session in sessions]
    scores = components.prior.log_scores(sessions) / components.config.wish_temperature
    edges = np.cumsum(np.exp(scores - scores.max(axis=1, keepdims=True)), axis=1)
    draw = draws.uniform([session.key for session in sessions], purpose="wish")
    wishes = [
        min(int(np.searchsorted(row, aim * row[-1], side="right")), len(row) - 1)
        for row, aim in zip(edges, draw, strict=True)
    ]
    return [replace(session, target=wish) for session, wish in zip(sessions, wishes, strict=True)]


def held_out(components: Components, split: Split, count: int | None) -> list[Session]:
    """Sessions of a split, at most as many as there are pairs in it."""
    available = len(components.world.targets[split])
    return components.world.sessions(
        split, None if count is None else min(count, available), components.config.evaluation_seed
    )


def _decide(policy: Policy, states: States, learning: bool) -> Decisions:
    if learning and isinstance(policy, Learner):
        return policy.explore(states)
    return policy.choose(states)


def _note(
    turnout: Turnout,
    success: NDArray[np.bool_],
    turn: NDArray[np.int64],
    rank: NDArray[np.int64],
    reward: NDArray[np.float64],
) -> None:
    success[turnout.rows] = turnout.success
    turn[turnout.rows] += 1
    rank[turnout.rows] = turnout.rank
    reward[turnout.rows] += turnout.rewards
