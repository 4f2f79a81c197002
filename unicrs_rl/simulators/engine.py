"""Multi-round conversations with ``mcr`` seekers, thousands at once: the benchmark's protocol.

A batch begins together; each call of :meth:`Engine.step` is one turn of all conversations that are
still on, and finished ones are dropped. Everything is arrays: seekers
(:mod:`~unicrs_rl.simulators.mcr`), candidates (:mod:`~unicrs_rl.graphs.candidates`) and what a policy
sees (:mod:`~unicrs_rl.graphs.states`). Rewards are UNICORN's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import Act, Decisions
from unicrs_rl.graphs.candidates import AskScore, Candidates, Switches
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import OPENING, PADDING, Past, States
from unicrs_rl.graphs.world import Session, World
from unicrs_rl.judging.reward import task_rewards
from unicrs_rl.simulators.mcr import McrSeekers
from unicrs_rl.simulators.protocol import Protocol
from unicrs_rl.simulators.seekers import Actions, Answer, SeekerContext

Scores = Callable[[Sequence[Session]], NDArray[np.float64]]
"""Log-prior (or UNICORN's ``u·v``) of all items for a batch of sessions: ``[batch, items]``."""
SeekerVectors = Callable[[Sequence[Session]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Turnout:
    """What a turn brought to the ``n`` conversations it was taken in.

    Attributes:
        rows: ``[n]`` which conversations of the batch they are.
        rewards: ``[n]``.
        success: ``[n]`` of bool, the target was on the list.
        over: ``[n]`` of bool, the conversation has ended.
        rank: ``[n]`` place of the target on the list, from 1; 0 without success.
        yes: ``[n]`` of bool, an attribute asked about was wanted.
    """

    rows: NDArray[np.int64]
    rewards: NDArray[np.float64]
    success: NDArray[np.bool_]
    over: NDArray[np.bool_]
    rank: NDArray[np.int64]
    yes: NDArray[np.bool_]


class Engine:
    """Holds batches of conversations.

    Args:
        world: catalogue and seekers.
        prior: scores of all items for a batch of sessions.
        switches: how answers are believed and questions ranked.
        protocol: how turns are counted.
        limit: T.
        k: how many items and questions are listed.
        slate: items a recommendation shows.
        embeddings: for UNICORN's arithmetic.
        seeker_vectors: for ranking questions by similarity; default: folded in from the history.
    """

    def __init__(
        self,
        world: World,
        prior: Scores,
        switches: Switches | None = None,
        *,
        protocol: Protocol = Protocol.DEFAULT,
        limit: int = 15,
        k: int = 10,
        slate: int = 10,
        embeddings: Embeddings | None = None,
        seeker_vectors: SeekerVectors | None = None,
    ) -> None:
        self.world, self.prior = world, prior
        self.switches = switches or Switches()
        self.protocol, self.limit, self.slate = protocol, limit, slate
        self.seekers = McrSeekers(SeekerContext(world, noise=self.switches.noise))
        self.candidates = Candidates(world.catalogue, self.switches, embeddings, k, slate)
        self._embeddings = embeddings
        self._seeker_vectors = seeker_vectors or self._folded
        self._sizes = world.catalogue.n_items, world.catalogue.n_attributes

    def begin(self, sessions: Sequence[Session]) -> States:
        """Start a batch of conversations; what a policy sees of them."""
        volunteered = self.seekers.reset(sessions)
        vectors = None
        if self.switches.ask is AskScore.SIMILARITY:
            vectors = self._seeker_vectors(sessions)
        self.candidates.begin(volunteered, self.prior(sessions), vectors)
        self.rows = np.arange(len(sessions))
        self._log = _Log(
            volunteered, self.seekers.keys, self.limit, self.candidates.lister.width, *self._sizes
        )
        return self._states()

    def step(self, decisions: Decisions) -> tuple[Turnout, States]:
        """One turn of every conversation that is still on.

        Returns:
            What it brought, and the states of the conversations that go on.
        """
        replies = self.seekers.respond(self.rows, Actions.silent(decisions))
        log, listing = self._log, decisions.act == Act.RECOMMEND
        log.add(decisions, replies.answers)
        beyond = log.turn > self.protocol.acting(self.limit)
        success = replies.accepted & ~beyond
        over = success | (log.turn >= self.limit)
        yes = (replies.answers == Answer.YES).any(axis=1)
        turnout = Turnout(
            rows=self.rows,
            rewards=task_rewards(decisions.act, yes, success, over & ~success),
            success=success,
            over=over,
            rank=np.where(success, replies.place + 1, 0),
            yes=yes,
        )
        kept = ~over
        self._drop(kept)
        if kept.any():
            asking, shown = (decisions.act == Act.ASK)[kept], listing[kept]
            if asking.any():
                attributes = np.where(asking[:, None], decisions.attributes[kept], PADDING)
                self.candidates.answer(attributes, replies.answers[kept])
            if shown.any():
                at_least = self.slate if self.protocol is Protocol.UNICORN_CODE else 0
                declined = np.where(shown[:, None], decisions.items[kept], PADDING)
                self.candidates.strike(np.ascontiguousarray(declined), at_least)
        return turnout, self._states()

    def _drop(self, kept: NDArray[np.bool_]) -> None:
        if not kept.all():
            self.candidates.keep(kept)
            self._log.keep(kept)
            self.rows = self.rows[kept]

    def _states(self) -> States:
        return self.candidates.states(self._log.past(self.protocol.acting(self.limit)))

    def _folded(self, sessions: Sequence[Session]) -> NDArray[np.float32]:
        assert self._embeddings is not None
        return self._embeddings.fold_in([session.history for session in sessions])


class _Log:
    """What was said and done, as growing arrays: one row for each conversation that is on."""

    def __init__(
        self,
        volunteered: NDArray[np.int64],
        keys: NDArray[np.uint64],
        limit: int,
        width: int,
        n_items: int,
        n_attributes: int,
    ) -> None:
        b, most = len(volunteered), min(1 + limit * width, n_attributes + limit)  # few are asked twice
        self.n_items = n_items
        self.keys = keys.copy()
        self.turn = np.zeros(b, dtype=np.int64)
        self.streak = np.zeros(b, dtype=np.int64)
        self.wanted, self.unwanted, self.asked = (np.full((b, most), PADDING) for _ in range(3))
        self.declined = np.full((b, limit), PADDING)
        self.events, self.strategies = (np.full((b, limit + 1), PADDING) for _ in range(2))
        growing = ("wanted", "unwanted", "asked", "declined")
        self.counts = {name: np.zeros(b, dtype=np.int64) for name in growing}
        everybody = np.arange(b)
        self._append("wanted", everybody, volunteered)
        self._append("asked", everybody, volunteered)
        self.events[:, 0] = volunteered + n_items
        self.strategies[:, 0] = OPENING

    def add(self, decisions: Decisions, answers: NDArray[np.int64]) -> None:
        """A turn, before it is known who goes on."""
        self.turn = self.turn + 1
        asking, listing = decisions.act == Act.ASK, decisions.act == Act.RECOMMEND
        for column in range(decisions.attributes.shape[1]):
            attribute, answer = decisions.attributes[:, column], answers[:, column]
            named = asking & (attribute >= 0)
            for name, those in (
                ("asked", named),
                ("wanted", named & (answer == Answer.YES)),
                ("unwanted", named & (answer == Answer.NO)),
            ):
                rows = np.flatnonzero(those)
                self._append(name, rows, attribute[rows])
        rows = np.flatnonzero(listing & (decisions.items[:, 0] >= 0))
        self._append("declined", rows, decisions.items[rows, 0])
        about = np.where(asking, decisions.attributes[:, 0] + self.n_items, PADDING)
        self.events[np.arange(len(about)), self.turn] = np.where(listing, decisions.items[:, 0], about)
        self.strategies[np.arange(len(about)), self.turn] = decisions.strategy
        self.streak = np.where(listing, self.streak + 1, 0)

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Go on with some conversations only."""
        for name in ("keys", "turn", "streak", "events", "strategies", *self.counts):
            setattr(self, name, getattr(self, name)[kept])
        self.counts = {name: count[kept] for name, count in self.counts.items()}

    def past(self, acting: int) -> Past:
        """What a policy sees of it."""
        nothing = np.full((len(self.turn), 1), PADDING)
        return Past(
            keys=self.keys,
            turn=self.turn,
            limit=acting,
            wanted=self.wanted,
            unwanted=self.unwanted,
            indifferent=nothing,
            declined=self.declined,
            events=self.events,
            strategies=self.strategies,
            mood=np.zeros(len(self.turn), dtype=np.int64),
            streak=self.streak,
            asked=self.asked,
        )

    def _append(self, name: str, rows: NDArray[np.int64], values: NDArray[np.int64]) -> None:
        count: NDArray[np.int64] = self.counts[name]
        getattr(self, name)[rows, count[rows]] = values
        count[rows] += 1
