"""The unified arm learned by plain policy gradient: REINFORCE with an entropy bonus.

State, actions and the network's trunk are those of :mod:`~unicrs_rl.policy.unified`; the policy is the
categorical distribution of :mod:`~unicrs_rl.policy.unified_ppo`,

``pi(c, h | s) = pi(c | s) pi(h | s, c)``, ``pi(c | s) = softmax over open c of A(s, c)``,
``pi(h | s, c) = softmax_h B(s, c, h)``

and the loss is that of RSO's learner (arXiv:2509.26093, eqs. 7 and 8), averaged over conversations:

``loss = - sum_t log pi(a_t | s_t) (R_t - b_t) - beta (1/T) sum_t H(pi(. | s_t))``,
``R_t = sum_i gamma^i r_(t+i)``

(Williams, Machine Learning 1992). The baseline ``b`` is ours; without it the step is the same on average,
and far noisier. There is no critic, no ratio and no second pass over a conversation: a conversation
teaches once, which makes this the simplest of the learners, and the hungriest. From scratch it needs many
conversations, so at first the max-entropy rule may lead and be imitated (``imitate_turns``), as for PPO.
At test the likeliest candidate is taken, and the likeliest strategy for it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES
from unicrs_rl.graphs.embeddings import Embeddings
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
from unicrs_rl.policy.graph_network import GraphTrunk, GraphTrunkConfig, in_double
from unicrs_rl.policy.graph_state import GraphBatch, Layout, join
from unicrs_rl.policy.interference import Interference

_IMITATED = 8192
"""Turns of the rule that are enough, however long the training is."""
_NEVER = -1e9
"""Log-probability of a candidate that cannot be chosen; finite, so that 0 times it is 0."""


class Baseline(StrEnum):
    """What is subtracted from the return."""

    BATCH = "batch"
    """The mean return at the same turn of the step's conversations (default)."""
    NONE = "none"
    """Nothing (the papers)."""


class UnifiedReinforceConfig(ActionConfig, GraphTrunkConfig):
    """Hyper-parameters of the unified arm learned by REINFORCE, beside those of its actions and trunk."""

    learning_rate: float = Field(4e-3, gt=0, description="of Adam, at first")
    anneal: bool = Field(True, description="let the learning rate fall linearly to 0 over the training")
    discount: float = Field(0.9, ge=0, le=1, description="gamma, per turn")
    update_every: int = Field(16, ge=1, description="conversations per gradient step")
    baseline: Baseline = Field(Baseline.BATCH, description="what is subtracted from the return")
    entropy: float = Field(0.01, ge=0, description="beta, weight of the entropy bonus")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    imitate_turns: int | None = Field(
        None,
        ge=0,
        description="turns, at least, that the max-entropy rule leads at first, while the policy is trained "
        "by cross-entropy on its candidates; 0: REINFORCE from scratch; None: two per training "
        "conversation, at most 8192",
    )
    imitate_steps: int = Field(6, ge=1, description="gradient steps on the same conversations meanwhile")
    interference_every: int = Field(
        5,
        ge=0,
        description="gradient steps between two looks at how acts and strategies pull the encoder; 0: none",
    )


class Chances(NamedTuple):
    """What the network makes of a batch of states.

    Attributes:
        candidates: ``[b, candidates]``, ``log pi(c | s)``; very low where masked.
        manners: ``[b, candidates, strategies]``, ``log pi(h | s, c)``.
    """

    candidates: torch.Tensor
    manners: torch.Tensor

    @property
    def log_probs(self) -> torch.Tensor:
        """``log pi(c, h | s)`` of all actions, flat: ``[b, candidates * strategies]``."""
        return (self.candidates[:, :, None] + self.manners).flatten(1)

    @property
    def entropy(self) -> torch.Tensor:
        """Of the distribution over open actions, in nats: ``[b]``."""
        total: torch.Tensor = -(self.log_probs.exp() * self.log_probs).sum(1)
        return total


class PolicyNetwork(GraphTrunk):
    """The policy: two heads on the trunk.

    Args:
        config: widths and depths.
        embeddings: pretrained node vectors.
        layout: of the node axis.
        strategies: how many there are to choose from.
    """

    def __init__(
        self,
        config: UnifiedReinforceConfig,
        embeddings: Embeddings,
        layout: Layout,
        strategies: int = len(STRATEGIES),
    ) -> None:
        super().__init__(config, embeddings, layout)
        dim = config.dim
        chosen, manner = nn.Linear(dim, 1), nn.Linear(dim, strategies)
        with torch.no_grad():
            for last in (chosen, manner):  # the first policy is nearly uniform
                last.weight.mul_(0.01)
                last.bias.zero_()
        self.candidate = nn.Sequential(nn.Linear(self.width, dim), nn.ReLU(), chosen)
        self.manner = nn.Sequential(nn.Linear(self.width, dim), nn.ReLU(), manner)

    def forward(self, batch: GraphBatch) -> Chances:
        """The chances of all actions in states of which each has a candidate that can be chosen."""
        _, joint = self.encode(batch)
        scores = self.candidate(joint).squeeze(2).masked_fill(~batch.mask, _NEVER)
        return Chances(scores.log_softmax(1), self.manner(joint).log_softmax(2))


class Turns(NamedTuple):
    """Turns that were played, ``n`` of them; those of a conversation side by side, in their order.

    Attributes:
        graphs: the states.
        actions: ``[n]``, candidate times the number of strategies plus strategy.
        rewards: ``[n]``, of the turn.
        over: ``[n]`` of bool, the conversation's last turn.
    """

    graphs: GraphBatch
    actions: torch.Tensor
    rewards: torch.Tensor
    over: torch.Tensor

    def rows(self, index: NDArray[np.int64]) -> Turns:
        """Some of the turns."""
        return Turns(self.graphs.rows(index), *(part[index] for part in self[1:]))


class UnifiedReinforce(ActionLearner):
    """Plays and learns; see the module's docstring.

    Args:
        context: of the arm; ``options`` are fields of :class:`UnifiedReinforceConfig`.
    """

    Config = UnifiedReinforceConfig

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.config = self.Config.model_validate(context.options or {})
        self.space = ActionSpace(self.config, context)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key("unified-reinforce", context.seed) % 2**31)
            self.network = PolicyNetwork(
                self.config, context.embeddings, self.space.layout, self.space.n_manners
            )
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)
        self.rng = np.random.default_rng(draws.key("unified-reinforce exploration", context.seed))
        self.interference = Interference(self.config.interference_every if self.space.n_manners > 1 else 0)
        self.played = 0
        """Conversations that have ended."""
        self.learned = 0
        """Turns that gradient steps have used."""
        self._turns: list[tuple[NDArray[np.uint64], Turns]] = []  # of the batch that is being played
        self._gathered: list[Turns] = []  # of earlier batches, not used yet
        self._exact: PolicyNetwork | None = None

    @override
    def best_among(self, graphs: GraphBatch) -> Choice:
        """The likeliest candidates with their likeliest strategies."""
        if self._exact is None:
            self._exact = copy.deepcopy(self.network).double()
        with torch.inference_mode():
            chances = Chances(*(torch.round(part, decimals=9) for part in self._exact(in_double(graphs))))
        candidate = chances.candidates.numpy().argmax(axis=1)
        manners = chances.manners.numpy()[np.arange(len(candidate)), candidate]
        actions = self.space.flat(candidate, manners.argmax(axis=1))
        return Choice(actions, np.exp(manners), lambda row: self._scores(chances, row))

    @override
    def try_among(
        self, keys: NDArray[np.uint64], graphs: GraphBatch, guide: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        if self._imitating:
            manner = self.rng.integers(self.space.n_manners, size=len(keys))
            actions = self.space.flat(guide, manner)
        else:
            with torch.inference_mode():
                log_probs = self.network(graphs).log_probs.numpy()
            actions = (log_probs + self.rng.gumbel(size=log_probs.shape)).argmax(axis=1)  # a draw from pi
        unpaid = torch.zeros(len(keys), dtype=torch.float64)
        turn = Turns(graphs, torch.from_numpy(actions), unpaid, torch.zeros(len(keys), dtype=torch.bool))
        self._turns.append((keys, turn))
        return actions

    @override
    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        acted, turn = self._turns[-1]
        check_same(acted, keys)
        earned = torch.from_numpy(np.array(rewards, dtype=np.float64))
        ended = torch.from_numpy(np.array(over, dtype=bool))
        self._turns[-1] = acted, turn._replace(rewards=earned, over=ended)
        self.played += int(ended.sum())

    @override
    def forget(self, keys: Collection[int]) -> None:
        broken = np.array(list(keys), dtype=np.uint64)
        kept = [(acted, turn, np.flatnonzero(~np.isin(acted, broken))) for acted, turn in self._turns]
        self._turns = [(acted[rows], turn.rows(rows)) for acted, turn, rows in kept if len(rows)]

    @override
    def learn(self) -> dict[str, float]:
        if self._turns:
            keys = np.concatenate([acted for acted, _ in self._turns])
            turns = _joined([turn for _, turn in self._turns])
            self._gathered.append(turns.rows(by_conversation(keys, turns.over.numpy())))
            self._turns = []
        if not self._gathered:
            return {}
        turns = _joined(self._gathered)
        ends = np.flatnonzero(turns.over.numpy()) + 1
        every = self.config.update_every
        bounds = [0, *ends[every - 1 :: every].tolist()]
        if self._imitating and bounds[-1] < ends[-1]:
            bounds.append(int(ends[-1]))  # so that nothing of the rule's is left when the policy leads
        parts = [turns.rows(np.arange(start, stop)) for start, stop in pairwise(bounds)]
        left = turns.rows(np.arange(bounds[-1], len(turns.actions)))
        self._gathered = [left] if len(left.actions) else []
        return self._update(parts) if parts else {}

    @override
    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        tensors = named("network.", self.network.state_dict())
        if resumable:
            tensors |= named("optimizer.", optimizer_tensors(self.optimizer))
            if self._gathered:
                gathered = _joined(self._gathered)
                tensors |= named("gathered.graphs.", gathered.graphs._asdict())
                tensors |= {f"gathered.{name}": getattr(gathered, name) for name in Turns._fields[1:]}
        header = {
            "played": self.played,
            "learned": self.learned,
            "stepped": self.stepped,
            "warm_up_steps": self.warm_up_steps,
            "interference": self.interference.series,
            "resumable": resumable,
            "rng": self.rng.bit_generator.state,
            "config": self.config.model_dump(mode="json"),
        }
        return tensors, header

    @override
    def load(self, tensors: Tensors, header: Mapping[str, Any]) -> None:
        self.network.load_state_dict(under("network.", tensors))
        self._turns, self._gathered = [], []
        if header["resumable"]:
            load_optimizer(self.optimizer, under("optimizer.", tensors))
            gathered = under("gathered.", tensors)
            if gathered:
                graphs = GraphBatch(**under("graphs.", gathered))
                self._gathered = [Turns(graphs, *(gathered[name] for name in Turns._fields[1:]))]
        self.played, self.learned = header["played"], header["learned"]
        self.stepped, self.warm_up_steps = header["stepped"], header["warm_up_steps"]
        self.interference.take_up(header["interference"])
        self.rng.bit_generator.state = header["rng"]
        self._exact = None

    @property
    def _imitating(self) -> bool:
        """Whether the rule leads. It changes with learning only, so that no batch is of two minds."""
        turns = self.config.imitate_turns
        return self.learned < (min(2 * self.context.dialogues, _IMITATED) if turns is None else turns)

    def _scores(self, chances: Chances, row: int) -> dict[str, float]:
        """The probability of each act, for the trace."""
        own = chances.candidates[row].exp()
        return {f"p_{name}": round(float(own[those].sum()), 4) for name, those in self.space.acts.items()}

    def _update(self, parts: Sequence[Turns]) -> dict[str, float]:
        """Gradient steps on conversations, part by part; what they were like, on average, for the curves."""
        config, imitating = self.config, self._imitating
        progress = min(1.0, self.played / self.context.dialogues) if self.context.dialogues else 0.0
        rate = config.learning_rate * (1 - progress if config.anneal else 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        steps: list[dict[str, float]] = []
        for turns in parts:
            for _ in range(config.imitate_steps if imitating else 1):
                loss, numbers = self._imitation(turns) if imitating else self._reinforcement(turns)
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
                self.optimizer.step()
                self.stepped += 1
                self.warm_up_steps += imitating
                steps.append(numbers)
            self.learned += len(turns.actions)
        self._exact = None
        means = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        return means | {"learning_rate": rate} | self.interference.news()

    def _reinforcement(self, turns: Turns) -> tuple[torch.Tensor, dict[str, float]]:
        """REINFORCE's loss, and its parts."""
        config, over = self.config, turns.over.numpy()
        returns = discounted(turns.rewards.numpy(), over, config.discount)
        gains = returns - mean_by_turn(returns, over) if config.baseline is Baseline.BATCH else returns
        chances = self.network(turns.graphs)
        log_probs = chances.log_probs.gather(1, turns.actions[:, None]).squeeze(1)
        entropy = chances.entropy
        conversations = int(over.sum())
        policy = -(log_probs * torch.from_numpy(gains).float()).sum() / conversations
        bonus = (entropy * torch.from_numpy(shares(over)).float()).sum() / conversations
        loss = policy - config.entropy * bonus
        heads = chances.candidates, chances.manners
        self.interference.look(self.stepped, loss, *heads, self.network.shared)
        return loss, {
            "policy_loss": float(policy.detach()),
            "entropy": float(entropy.detach().mean()),
            "gain": float(np.sqrt(np.mean(np.square(gains)))),
        }

    def _imitation(self, turns: Turns) -> tuple[torch.Tensor, dict[str, float]]:
        """Cross-entropy on the rule's candidates, and its parts; strategies are left to be explored."""
        chances = self.network(turns.graphs)
        candidates = self.space.candidates(turns.actions)
        imitation = -chances.candidates.gather(1, candidates[:, None]).mean()
        entropy = chances.entropy.mean()
        loss = imitation - self.config.entropy * entropy
        return loss, {"imitation_loss": float(imitation.detach()), "entropy": float(entropy.detach())}


def discounted(rewards: NDArray[np.float64], over: NDArray[np.bool_], discount: float) -> NDArray[np.float64]:
    """Returns ``R_t = sum_i gamma^i r_(t+i)`` of turns, conversation after conversation: ``[n]``."""
    returns = np.zeros(len(rewards))
    later = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        later = rewards[t] + (0.0 if over[t] else discount * later)
        returns[t] = later
    return returns


def mean_by_turn(returns: NDArray[np.float64], over: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of the returns at the same turn, over the conversations that reached it: ``[n]``."""
    starts = np.concatenate([[0], np.flatnonzero(over) + 1])[:-1]
    turn = np.arange(len(returns)) - np.repeat(starts, _lengths(over))
    means: NDArray[np.float64] = (np.bincount(turn, returns) / np.bincount(turn))[turn]
    return means


def shares(over: NDArray[np.bool_]) -> NDArray[np.float64]:
    """One over the number of turns of each turn's conversation: ``[n]``."""
    lengths = _lengths(over)
    return np.repeat(1 / lengths, lengths)


def _lengths(over: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Turns of each conversation: ``[conversations]``."""
    lengths: NDArray[np.int64] = np.diff(np.flatnonzero(over), prepend=-1)
    return lengths


def _joined(parts: Sequence[Turns]) -> Turns:
    """Several batches of turns as one."""
    _, *others = zip(*parts, strict=True)
    return Turns(join([one.graphs for one in parts]), *(torch.cat(part) for part in others))
