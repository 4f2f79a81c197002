"""The unified arm: one policy decides whether, what, when and how, in a single action.

An action is a pair (candidate, strategy), :mod:`~unicrs_rl.policy.graph_actions`: a candidate is one of
the listed items (recommend it at the head of the list), one of the listed attributes (ask about it), or
chat. The value is a dueling sum

``Q(s, c, h) = V(s) + [A(s, c) - mean_c A] + [B(s, c, h) - mean_h B]``

over a state encoding shared by all three heads (:mod:`~unicrs_rl.policy.graph_network`); the strategy
head ``B`` sees the candidate, so the value of a strategy depends on the act.

Learning is double DQN (van Hasselt et al., AAAI 2016) with dueling heads (Wang et al., ICML 2016),
prioritised replay with importance weights, and soft target updates. After UNICORN (Deng et al.,
SIGIR 2021), without the faults of its code (switches: docs/architecture.md).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import States
from unicrs_rl.policy.base import (
    ArmContext,
    Tensors,
    by_conversation,
    check_same,
    load_optimizer,
    named,
    optimizer_tensors,
    under,
)
from unicrs_rl.policy.graph_actions import ActionConfig, ActionLearner, ActionSpace, Choice
from unicrs_rl.policy.graph_network import (
    Attention,
    GraphTrunk,
    GraphTrunkConfig,
    NodeVectors,
    in_double,
)
from unicrs_rl.policy.graph_state import GraphBatch, Layout, join
from unicrs_rl.policy.interference import Interference
from unicrs_rl.policy.replay import Replay


class Importance(StrEnum):
    """Where importance weights enter the loss."""

    SAMPLE = "sample"
    """Each transition's own error is weighed (Schaul et al.; default)."""
    MEAN = "mean"
    """They multiply an error that is averaged already, which leaves their mean only (UNICORN's code)."""


class Exploration(StrEnum):
    """How epsilon falls."""

    LINEAR = "linear"
    """From ``explore_from`` to ``explore_to`` over ``explore_turns`` environment steps (default)."""
    COLLAPSED = "collapsed"
    """To 0.1 at the second step, where it stays (UNICORN's code)."""


class FewLeft(StrEnum):
    """Who decides once all candidates fit on one list."""

    POLICY = "policy"
    """The policy, as always (default)."""
    RECOMMEND = "recommend"
    """Nobody: they are recommended, without asking the network (UNICORN's code, outside training)."""


class UnifiedConfig(ActionConfig, GraphTrunkConfig):
    """Hyper-parameters of the unified arm, beside those of its actions and of its trunk."""

    learning_rate: float = Field(1e-3, gt=0, description="of Adam")
    anneal: float = Field(
        0.95, ge=0, le=1, description="share of the learning rate lost, linearly, by the end of training"
    )
    discount: float = Field(0.95, ge=0, le=1, description="gamma, per turn")
    n_step: int = Field(5, ge=1, description="turns of reward summed before bootstrapping")
    batch_size: int = Field(64, ge=1, description="transitions per gradient step")
    steps_per_turn: float = Field(0.15, gt=0, description="gradient steps per turn played")
    warm_up_turns: int = Field(128, ge=1, description="turns played before learning starts")
    capacity: int = Field(10_000, ge=1, description="transitions kept")
    alpha: float = Field(0.6, ge=0, le=1, description="how much priorities count in sampling")
    beta: float = Field(0.4, ge=0, le=1, description="importance correction at first; 1 at the end")
    tau: float = Field(0.01, gt=0, le=1, description="share by which the target network follows, per step")
    explore_from: float = Field(1.0, ge=0, le=1, description="epsilon of the first turn")
    explore_to: float = Field(0.05, ge=0, le=1, description="epsilon from the last decay step on")
    explore_turns: int | None = Field(
        None, ge=1, description="turns over which epsilon decays; None: three per training conversation"
    )
    guided: float = Field(
        0.85, ge=0, le=1, description="share of exploring turns that follow the max-entropy rule"
    )
    margin: float = Field(0.05, ge=0, description="by which a guided candidate should lead the others (DQfD)")
    margin_weight: float = Field(0.3, ge=0, description="weight of that in the loss")
    clip: float = Field(5.0, gt=0, description="largest gradient norm")
    node_vectors: NodeVectors = Field(NodeVectors.PRETRAINED, description="what nodes start from")
    attention: Attention = Field(Attention.CONVERSATION, description="what past events attend to")
    importance: Importance = Field(Importance.SAMPLE, description="where importance weights enter")
    exploration: Exploration = Field(Exploration.LINEAR, description="how epsilon falls")
    few_left: FewLeft = Field(FewLeft.POLICY, description="who decides once candidates fit on one list")


class QNetwork(GraphTrunk):
    """Action values of graph states: three dueling heads on the trunk.

    Args:
        config: widths and depths.
        embeddings: pretrained node vectors.
        layout: of the node axis.
        strategies: how many there are to choose from.
    """

    def __init__(
        self, config: UnifiedConfig, embeddings: Embeddings, layout: Layout, strategies: int = len(STRATEGIES)
    ) -> None:
        super().__init__(config, embeddings, layout, config.node_vectors, config.attention)
        dim = config.dim
        self.value = nn.Linear(dim, 1)
        self.candidate = nn.Sequential(nn.Linear(self.width, dim), nn.ReLU(), nn.Linear(dim, 1))
        self.manner = nn.Sequential(nn.Linear(self.width, dim), nn.ReLU(), nn.Linear(dim, strategies))

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Values ``[b, candidates, strategies]``; masked candidates get a very low one."""
        return self.values(*self.heads(batch), batch.mask)

    def heads(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What each head says: ``[b, 1]``, ``[b, candidates, 1]`` and ``[b, candidates, strategies]``."""
        state, joint = self.encode(batch)
        return self.value(state), self.candidate(joint), self.manner(joint)

    def values(
        self, value: torch.Tensor, chosen: torch.Tensor, manner: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """The dueling sum of what the heads say; ``mask`` is ``[b, candidates]``."""
        mask = mask[:, :, None]
        chosen = chosen - (chosen * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        values = value[:, None] + chosen + manner - manner.mean(2, keepdim=True)
        masked: torch.Tensor = values.masked_fill(~mask, -1e4)
        return masked


@dataclass(slots=True)
class _Turn:
    """One turn of a batch as the learner remembers it: states, actions, and what they earned. All ``[b]``."""

    keys: NDArray[np.uint64]
    graphs: GraphBatch
    actions: NDArray[np.int64]
    guided: NDArray[np.bool_]
    rewards: NDArray[np.float64]
    over: NDArray[np.bool_]

    def rows(self, rows: NDArray[np.int64]) -> _Turn:
        """Some of the conversations."""
        return _Turn(
            self.keys[rows],
            self.graphs.rows(rows),
            self.actions[rows],
            self.guided[rows],
            self.rewards[rows],
            self.over[rows],
        )


class Unified(ActionLearner):
    """Plays and learns; see the module's docstring.

    Args:
        context: of the arm; ``options`` are fields of :class:`UnifiedConfig`.
    """

    Config = UnifiedConfig

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.config = self.Config.model_validate(context.options or {})
        self.space = ActionSpace(self.config, context)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key("unified", context.seed) % 2**31)
            self.network = QNetwork(self.config, context.embeddings, self.space.layout, self.space.n_manners)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)
        self.replay = Replay(self.config.capacity, self.space.layout, self.config.alpha)
        self.rng = np.random.default_rng(draws.key("unified exploration", context.seed))
        self.played = 0
        self.turns = 0
        self.steps = 0
        self._turns: list[_Turn] = []
        self.interference = Interference(self.config.interference_every if self.space.n_manners > 1 else 0)
        self._exact: QNetwork | None = None

    @override
    def prefer(self, states: States) -> Choice:
        best = super().prefer(states)
        if self.config.few_left is FewLeft.RECOMMEND:
            few = (states.left <= self.context.slate) & (states.items[:, 0] >= 0)
            best.actions[few] %= self.space.n_manners  # the first item, in the same manner
        return best

    @override
    def best_among(self, graphs: GraphBatch) -> Choice:
        """Greedy on the target network, which is the online one smoothed over its last steps."""
        if self._exact is None:
            self._exact = copy.deepcopy(self.target if self.steps else self.network).double()
        with torch.inference_mode():
            values = torch.round(self._exact(in_double(graphs)), decimals=9).numpy()
        actions = values.reshape(len(values), -1).argmax(axis=1)
        manners = values[np.arange(len(values)), self.space.candidates(actions)]
        return Choice(actions, manners, lambda row: self._scores(values[row]))

    @override
    def try_among(
        self, keys: NDArray[np.uint64], graphs: GraphBatch, guide: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        with torch.inference_mode():
            values = self.network(graphs).flatten(1).numpy()
        actions, guided = self._explored(graphs.mask.numpy(), values, guide)
        nothing = np.zeros(len(keys))
        self._turns.append(_Turn(keys, graphs, actions, guided, nothing, np.zeros(len(keys), dtype=bool)))
        self.turns += len(keys)
        return actions

    @override
    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        turn = self._turns[-1]
        check_same(turn.keys, keys)
        turn.rewards, turn.over = np.asarray(rewards, dtype=np.float64), np.asarray(over, dtype=bool)
        self.played += int(turn.over.sum())

    @override
    def forget(self, keys: Collection[int]) -> None:
        broken = np.array(list(keys), dtype=np.uint64)
        kept = [(turn, np.flatnonzero(~np.isin(turn.keys, broken))) for turn in self._turns]
        self._turns = [turn.rows(rows) for turn, rows in kept if len(rows)]

    @override
    def learn(self) -> dict[str, float]:
        if self._turns:
            self._store(self._turns)
            self._turns = []
        due = int(self.turns * self.config.steps_per_turn) - self.steps
        if self.turns < self.config.warm_up_turns or not len(self.replay):
            self.steps += due
            return {}
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (1 - self.config.anneal * self._progress())
        losses = [self._step() for _ in range(due)]
        self.steps += due
        self._exact = None
        curves = {"loss": float(np.mean(losses)) if losses else 0.0, "epsilon": self._epsilon()}
        return curves | self.interference.news()

    @override
    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        tensors = named("network.", self.network.state_dict()) | named("target.", self.target.state_dict())
        if resumable:
            tensors |= named("replay.", self.replay.tensors())
            tensors |= named("optimizer.", optimizer_tensors(self.optimizer))
        header = {
            "played": self.played,
            "turns": self.turns,
            "steps": self.steps,
            "stepped": self.stepped,
            "interference": self.interference.series,
            "added": self.replay.added,
            "resumable": resumable,
            "rng": self.rng.bit_generator.state,
            "config": self.config.model_dump(),
        }
        return tensors, header

    @override
    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        self.network.load_state_dict(under("network.", tensors))
        self.target.load_state_dict(under("target.", tensors))
        if header["resumable"]:
            self.replay.load(under("replay.", tensors), header["added"])
            load_optimizer(self.optimizer, under("optimizer.", tensors))
        self.played, self.turns, self.steps = header["played"], header["turns"], header["steps"]
        self.stepped = header.get("stepped", 0)  # earlier versions did not count
        self.interference.take_up(header.get("interference", ()))
        self.rng.bit_generator.state = header["rng"]
        self._exact = None

    def _progress(self) -> float:
        """Share of the training conversations that are over."""
        return min(1.0, self.played / max(1, self.context.dialogues))

    def _epsilon(self) -> float:
        config = self.config
        if config.exploration is Exploration.COLLAPSED:
            return 0.1 if self.turns else config.explore_from
        total = config.explore_turns or max(1, 3 * self.context.dialogues)
        left = max(0.0, 1 - self.turns / total)
        return config.explore_to + left * (config.explore_from - config.explore_to)

    def _explored(
        self, mask: NDArray[np.bool_], values: NDArray[np.float32], guide: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Actions ``[b]`` and whether the guide chose them: mostly guided at first, mostly greedy later."""
        dice = self.rng.random((3, len(guide)))
        exploring, guided = dice[0] < self._epsilon(), dice[1] < self.config.guided
        manner = (dice[2] * self.space.n_manners).astype(np.int64)
        candidate = np.where(guided, guide, self._any(mask))
        actions = np.where(exploring, self.space.flat(candidate, manner), values.argmax(axis=1))
        return actions, exploring & guided

    def _any(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Any kind of candidate that can be chosen, then any candidate of the kind: ``[b]``."""
        k = self.config.k
        kind = np.repeat([0, 1, 2], [k, k, 1])
        first = self.rng.random((len(mask), 3))[:, kind]  # one draw for each kind, shared by its candidates
        within = self.rng.random(mask.shape)
        best = np.where(mask, first, -1.0)
        top = best.max(axis=1, keepdims=True)
        chosen: NDArray[np.int64] = np.where(best == top, within, -1.0).argmax(axis=1)
        return chosen

    def _scores(self, values: NDArray[np.floating[Any]]) -> dict[str, float]:
        """The best value of each act, for the trace."""
        best = {name: float(values[those].max()) for name, those in self.space.acts.items()}
        return {f"q_{name}": round(value, 4) for name, value in best.items() if value > -1e3}

    def _store(self, turns: list[_Turn]) -> None:
        """Turn finished conversations into n-step transitions."""
        n, gamma = self.config.n_step, self.config.discount
        keys, over = (np.concatenate([getattr(turn, name) for turn in turns]) for name in ("keys", "over"))
        order = by_conversation(keys, over)
        over = over[order]
        graphs = join([turn.graphs for turn in turns]).rows(order)
        rewards, actions, guided = (
            np.concatenate([getattr(turn, name) for turn in turns])[order]
            for name in ("rewards", "actions", "guided")
        )
        place = np.arange(len(keys))
        returns, alive = np.zeros(len(keys)), np.ones(len(keys), dtype=bool)
        for ahead in range(n):
            at = np.minimum(place + ahead, len(keys) - 1)
            returns += np.where(alive, gamma**ahead * rewards[at], 0.0)
            alive &= ~over[at]
        after = np.where(alive, np.minimum(place + n, len(keys) - 1), place)
        self.replay.add(
            graphs,
            torch.from_numpy(actions),
            torch.from_numpy(returns).float(),
            graphs.rows(after),
            torch.from_numpy(np.where(alive, gamma**n, 0.0)).float(),
            torch.from_numpy(guided),
        )

    def _step(self) -> float:
        """One gradient step of double DQN; the loss."""
        config = self.config
        beta = config.beta + self._progress() * (1 - config.beta)
        batch = self.replay.sample(config.batch_size, beta, self.rng)
        self.network.learning = self.target.learning = True
        with torch.no_grad():
            ahead = self.network(batch.next_states).flatten(1).argmax(1, keepdim=True)
            later = self.target(batch.next_states).flatten(1).gather(1, ahead).squeeze(1)
            goal = batch.rewards + batch.discounts * later
        heads = self.network.heads(batch.states)
        values = self.network.values(*heads, batch.states.mask)
        self.network.learning = self.target.learning = False
        value = values.flatten(1).gather(1, batch.actions[:, None]).squeeze(1)
        errors = nn.functional.smooth_l1_loss(value, goal, reduction="none")
        lag = self._lag(values.amax(2), self.space.candidates(batch.actions)) * batch.guided
        losses = errors + config.margin_weight * lag
        if config.importance is Importance.SAMPLE:
            loss = (batch.weights * losses).mean()
        else:
            loss = (batch.weights * losses.mean()).mean()
        self.interference.look(self.stepped, loss, heads[1], heads[2], self.network.shared)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
        self.stepped += 1
        self.replay.reprioritise(batch.places, (goal - value).detach().numpy().astype(np.float64))
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(fast, config.tau)
        return float(loss.detach())

    def _lag(self, values: torch.Tensor, guided: torch.Tensor) -> torch.Tensor:
        """By how much guided candidates ``[b]`` miss leading the others by the margin: ``[b]``.

        The large-margin loss of DQfD (Hester et al., AAAI 2018), over ``values [b, candidates]``.
        """
        own = values.gather(1, guided[:, None])
        rivals = values + self.config.margin
        rivals = rivals.scatter(1, guided[:, None], own)
        lag: torch.Tensor = (rivals.amax(1) - own.squeeze(1)).clamp(max=1.0)
        return lag
