"""The unified arm learned by policy gradient: proximal policy optimisation with masked actions.

State, actions and the network's trunk are those of :mod:`~unicrs_rl.policy.unified`
(:mod:`~unicrs_rl.policy.graph_state`, :mod:`~unicrs_rl.policy.graph_actions`,
:mod:`~unicrs_rl.policy.graph_network`); what differs is what is learned on top of it: not the value of
each action but the policy itself, and the value of the state,

``pi(c, h | s) = pi(c | s) pi(h | s, c)``, ``pi(c | s) = softmax over open c of A(s, c)``,
``pi(h | s, c) = softmax_h B(s, c, h)``

a categorical distribution over the pairs (candidate, strategy). Candidates that cannot be chosen have
probability 0 and no part in the entropy (Huang and Ontanon, FLAIRS 2022). At test the likeliest
candidate is taken, and the likeliest strategy for it.

Learning is PPO (Schulman et al., 2017): whole conversations are gathered until there are
``rollout_turns`` turns; advantages come from GAE (Schulman et al., ICLR 2016); then some epochs of
minibatches on the clipped surrogate, the squared error of the value and an entropy bonus, ended early
where the policy moves too far. From scratch that needs many conversations, so at first the max-entropy
rule may lead and be imitated (``imitate_turns``).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
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


class UnifiedPpoConfig(ActionConfig, GraphTrunkConfig):
    """Hyper-parameters of the unified arm learned by PPO, beside those of its actions and of its trunk."""

    learning_rate: float = Field(1e-3, gt=0, description="of Adam, at first")
    anneal: bool = Field(True, description="let the learning rate fall linearly to 0 over the training")
    adam_epsilon: float = Field(1e-5, gt=0, description="of Adam's denominator")
    discount: float = Field(0.9, ge=0, le=1, description="gamma, per turn")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="of GAE: 0 one-step errors, 1 whole returns")
    rollout_turns: int = Field(1024, ge=1, description="turns gathered, at least, before an update")
    epochs: int = Field(6, ge=1, description="passes of an update over the gathered turns")
    batch_size: int = Field(128, ge=1, description="turns per gradient step, at most")
    clip: float = Field(0.2, gt=0, lt=1, description="by how much a probability ratio may leave 1")
    value_clip: float | None = Field(
        None, gt=0, description="by how much a value may leave the one at acting; None: not clipped"
    )
    value_weight: float = Field(0.5, ge=0, description="weight of the value's squared error in the loss")
    normalise: bool = Field(True, description="scale an update's advantages to mean 0 and deviation 1")
    entropy_from: float = Field(0.003, ge=0, description="weight of the entropy bonus at first")
    entropy_to: float = Field(0.0, ge=0, description="weight of the entropy bonus at the end; falls linearly")
    target_kl: float | None = Field(
        0.03,
        gt=0,
        description="divergence from the policy that acted above which an update ends; None: never",
    )
    max_grad_norm: float = Field(0.5, gt=0, description="largest gradient norm")
    imitate_turns: int | None = Field(
        None,
        ge=0,
        description="turns, at least, that the max-entropy rule leads at first, while the policy is trained "
        "by cross-entropy on its candidates; 0: PPO from scratch; None: two per training conversation, "
        "at most 8192",
    )


class Outlook(NamedTuple):
    """What the network makes of a batch of states.

    Attributes:
        candidates: ``[b, candidates]``, ``log pi(c | s)``; very low where masked.
        manners: ``[b, candidates, strategies]``, ``log pi(h | s, c)``.
        values: ``[b]``, expected discounted return.
    """

    candidates: torch.Tensor
    manners: torch.Tensor
    values: torch.Tensor

    @property
    def log_probs(self) -> torch.Tensor:
        """``log pi(c, h | s)`` of all actions, flat: ``[b, candidates * strategies]``."""
        return (self.candidates[:, :, None] + self.manners).flatten(1)

    @property
    def entropy(self) -> torch.Tensor:
        """Of the distribution over open actions, in nats: ``[b]``."""
        total: torch.Tensor = -(self.log_probs.exp() * self.log_probs).sum(1)
        return total


class ActorCritic(GraphTrunk):
    """Policy and value: three heads on the trunk.

    Args:
        config: widths and depths.
        embeddings: pretrained node vectors.
        layout: of the node axis.
        strategies: how many there are to choose from.
    """

    def __init__(
        self,
        config: UnifiedPpoConfig,
        embeddings: Embeddings,
        layout: Layout,
        strategies: int = len(STRATEGIES),
    ) -> None:
        super().__init__(config, embeddings, layout)
        dim = config.dim
        self.candidate = nn.Sequential(nn.Linear(self.width, dim), nn.ReLU(), _calm(nn.Linear(dim, 1)))
        self.manner = nn.Sequential(nn.Linear(self.width, dim), nn.ReLU(), _calm(nn.Linear(dim, strategies)))
        self.value = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 1))

    def forward(self, batch: GraphBatch) -> Outlook:
        """The outlook of a batch of states, of which each has a candidate that can be chosen."""
        state, joint = self.encode(batch)
        scores = self.candidate(joint).squeeze(2).masked_fill(~batch.mask, _NEVER)
        return Outlook(scores.log_softmax(1), self.manner(joint).log_softmax(2), self.value(state).squeeze(1))


class Rollout(NamedTuple):
    """Turns that were played, ``n`` of them; those of a conversation side by side, in their order.

    Attributes:
        graphs: the states.
        actions: ``[n]``, candidate times the number of strategies plus strategy.
        log_probs: ``[n]``, of the actions under the policy at that time.
        values: ``[n]``, of the states at that time.
        rewards: ``[n]``, of the turn.
        over: ``[n]`` of bool, the conversation's last turn.
    """

    graphs: GraphBatch
    actions: torch.Tensor
    log_probs: torch.Tensor
    values: torch.Tensor
    rewards: torch.Tensor
    over: torch.Tensor

    def rows(self, index: NDArray[np.int64]) -> Rollout:
        """Some of the turns."""
        return Rollout(self.graphs.rows(index), *(part[index] for part in self[1:]))


class UnifiedPpo(ActionLearner):
    """Plays and learns; see the module's docstring.

    Args:
        context: of the arm; ``options`` are fields of :class:`UnifiedPpoConfig`.
    """

    Config = UnifiedPpoConfig

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.config = self.Config.model_validate(context.options or {})
        self.space = ActionSpace(self.config, context)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key("unified-ppo", context.seed) % 2**31)
            self.network = ActorCritic(
                self.config, context.embeddings, self.space.layout, self.space.n_manners
            )
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.config.learning_rate, eps=self.config.adam_epsilon
        )
        self.rng = np.random.default_rng(draws.key("unified-ppo exploration", context.seed))
        self.played = 0
        """Conversations that have ended."""
        self.learned = 0
        """Turns that updates have used."""
        self._turns: list[tuple[NDArray[np.uint64], Rollout]] = []  # of the batch that is being played
        self._gathered: list[Rollout] = []  # of earlier batches, not used yet
        self.interference = Interference(self.config.interference_every if self.space.n_manners > 1 else 0)
        self._exact: ActorCritic | None = None

    @override
    def best_among(self, graphs: GraphBatch) -> Choice:
        """The likeliest candidates with their likeliest strategies."""
        if self._exact is None:
            self._exact = copy.deepcopy(self.network).double()
        with torch.inference_mode():
            outlook = Outlook(*(torch.round(part, decimals=9) for part in self._exact(in_double(graphs))))
        candidate = outlook.candidates.numpy().argmax(axis=1)
        manners = outlook.manners.numpy()[np.arange(len(candidate)), candidate]
        actions = self.space.flat(candidate, manners.argmax(axis=1))
        return Choice(actions, np.exp(manners), lambda row: self._scores(outlook, row))

    @override
    def try_among(
        self, keys: NDArray[np.uint64], graphs: GraphBatch, guide: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        with torch.inference_mode():
            outlook = self.network(graphs)
        log_probs = outlook.log_probs.numpy()
        if self._imitating:
            manner = self.rng.integers(self.space.n_manners, size=len(keys))
            actions = self.space.flat(guide, manner)
        else:
            actions = (log_probs + self.rng.gumbel(size=log_probs.shape)).argmax(axis=1)  # a draw from pi
        taken = np.take_along_axis(log_probs, actions[:, None], axis=1)[:, 0]
        turn = Rollout(
            graphs,
            torch.from_numpy(actions),
            torch.from_numpy(taken),
            outlook.values.clone(),
            torch.zeros(len(keys), dtype=torch.float64),
            torch.zeros(len(keys), dtype=torch.bool),
        )
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
            self._gathered.append(_by_conversation(self._turns))
            self._turns = []
        if sum(len(part.actions) for part in self._gathered) < self.config.rollout_turns:
            return {}
        rollout = _one_after_another(self._gathered)
        self._gathered = []
        return self._update(rollout)

    @override
    def state(self, resumable: bool = True) -> tuple[Tensors, dict[str, Any]]:
        tensors = named("network.", self.network.state_dict())
        if resumable:
            tensors |= named("optimizer.", optimizer_tensors(self.optimizer))
            if self._gathered:
                gathered = _one_after_another(self._gathered)
                tensors |= named("gathered.graphs.", gathered.graphs._asdict())
                tensors |= {f"gathered.{name}": getattr(gathered, name) for name in Rollout._fields[1:]}
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
                self._gathered = [Rollout(graphs, *(gathered[name] for name in Rollout._fields[1:]))]
        self.played, self.learned = header["played"], header["learned"]
        self.stepped = header.get("stepped", 0)  # earlier versions did not count
        self.warm_up_steps = header.get("warm_up_steps", 0)
        self.interference.take_up(header.get("interference", ()))
        self.rng.bit_generator.state = header["rng"]
        self._exact = None

    @property
    def _imitating(self) -> bool:
        """Whether the rule leads. It changes with an update only, so that no update is of two minds."""
        turns = self.config.imitate_turns
        return self.learned < (min(2 * self.context.dialogues, _IMITATED) if turns is None else turns)

    @property
    def _progress(self) -> float:
        """Share of the training that is done, 0 where nobody has said how long it takes."""
        return min(1.0, self.played / self.context.dialogues) if self.context.dialogues else 0.0

    def _scores(self, outlook: Outlook, row: int) -> dict[str, float]:
        """The probability of each act and the value, for the trace."""
        chances = outlook.candidates[row].exp()
        acts = self.space.acts.items()
        scores = {f"p_{name}": round(float(chances[those].sum()), 4) for name, those in acts}
        return scores | {"value": round(float(outlook.values[row]), 4)}

    def _update(self, rollout: Rollout) -> dict[str, float]:
        """Some epochs of gradient steps on the turns; what they were like, on average, for the curves."""
        config, n = self.config, len(rollout.actions)
        rate = config.learning_rate * (1 - self._progress if config.anneal else 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        values = rollout.values.double().numpy()
        raw = gae(rollout.rewards.numpy(), values, rollout.over.numpy(), config.discount, config.gae_lambda)
        returns = torch.from_numpy(raw + values).float()
        advantages = torch.from_numpy(
            (raw - raw.mean()) / (raw.std() + 1e-8) if config.normalise else raw
        ).float()
        objective = self._imitation if self._imitating else self._proximal
        steps: list[dict[str, float]] = []
        for index in self._minibatches(n):
            loss, numbers = objective(rollout.rows(index), advantages[index], returns[index])
            steps.append(numbers)
            if config.target_kl is not None and numbers.get("kl", 0.0) > config.target_kl:
                break  # before the step: the policy has moved far enough
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), config.max_grad_norm)
            self.optimizer.step()
            self.stepped += 1
            self.warm_up_steps += self._imitating
        self.learned += n
        self._exact = None
        means = {name: float(np.mean([step[name] for step in steps])) for name in steps[0]}
        unexplained = float(np.var(raw) / max(np.var(raw + values), 1e-12))
        means |= {"explained_variance": 1 - unexplained, "learning_rate": rate, "steps": len(steps)}
        return means | self.interference.news()

    def _minibatches(self, n: int) -> Iterator[NDArray[np.int64]]:
        """All turns in a new order in every epoch, in parts of the same size, nearly."""
        parts = -(-n // self.config.batch_size)
        for _ in range(self.config.epochs):
            yield from np.array_split(self.rng.permutation(n), parts)

    def _proximal(
        self, turns: Rollout, advantages: torch.Tensor, returns: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """PPO's loss, and its parts."""
        config, outlook = self.config, self.network(turns.graphs)
        log_probs = outlook.log_probs.gather(1, turns.actions[:, None]).squeeze(1)
        log_ratios = log_probs - turns.log_probs
        policy = clipped_surrogate(log_ratios, advantages, config.clip).mean()
        value = value_errors(outlook.values, turns.values, returns, config.value_clip).mean()
        entropy = outlook.entropy.mean()
        loss = policy + config.value_weight * value - self._entropy_weight * entropy
        heads = outlook.candidates, outlook.manners
        self.interference.look(self.stepped, loss, *heads, self.network.shared)
        with torch.no_grad():
            ratios = log_ratios.exp()
            divergence = (ratios - 1 - log_ratios).mean()  # never negative, unlike the mean of -log_ratios
            clipped = ((ratios - 1).abs() > config.clip).float().mean()
        parts = {"policy_loss": policy, "value_loss": value, "entropy": entropy}
        numbers = {name: float(part.detach()) for name, part in parts.items()}
        return loss, numbers | {"kl": float(divergence), "clipped": float(clipped)}

    def _imitation(
        self, turns: Rollout, _advantages: torch.Tensor, returns: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Cross-entropy on the rule's candidates, and its parts; strategies are left to be explored."""
        config, outlook = self.config, self.network(turns.graphs)
        candidates = self.space.candidates(turns.actions)
        imitation = -outlook.candidates.gather(1, candidates[:, None]).mean()
        value = value_errors(outlook.values, turns.values, returns, config.value_clip).mean()
        entropy = outlook.entropy.mean()
        loss = imitation + config.value_weight * value - self._entropy_weight * entropy
        parts = {"imitation_loss": imitation, "value_loss": value, "entropy": entropy}
        return loss, {name: float(part.detach()) for name, part in parts.items()}

    @property
    def _entropy_weight(self) -> float:
        config = self.config
        return config.entropy_from + self._progress * (config.entropy_to - config.entropy_from)


def gae(
    rewards: NDArray[np.float64],
    values: NDArray[np.float64],
    over: NDArray[np.bool_],
    discount: float,
    gae_lambda: float,
) -> NDArray[np.float64]:
    """Generalised advantage estimates of turns, conversation after conversation: ``[n]``.

    ``A_t = d_t + gamma lambda A_(t+1)`` with ``d_t = r_t + gamma V_(t+1) - V_t`` (Schulman et al., ICLR
    2016, eqs. 11 to 16). Behind a conversation's last turn all is 0, out of turns too: how many are left
    is part of the state.
    """
    advantages = np.zeros(len(rewards))
    advantage = later = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if over[t]:
            advantage = later = 0.0
        advantage = rewards[t] + discount * later - values[t] + discount * gae_lambda * advantage
        later = values[t]
        advantages[t] = advantage
    return advantages


def clipped_surrogate(log_ratios: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    """PPO's loss of each turn, ``-min(r A, clip(r, 1 - e, 1 + e) A)`` (its eq. 7): ``[n]``."""
    ratios = log_ratios.exp()
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages)


def value_errors(
    values: torch.Tensor, before: torch.Tensor, returns: torch.Tensor, clip: float | None
) -> torch.Tensor:
    """Squared errors of values, the larger of clipped and unclipped where they are clipped: ``[n]``."""
    errors = (values - returns).square()
    if clip is None:
        return errors
    near = before + (values - before).clamp(-clip, clip)
    return torch.maximum(errors, (near - returns).square())


def _calm(layer: nn.Linear) -> nn.Linear:
    """The same layer with outputs near zero: the first policy is nearly uniform."""
    with torch.no_grad():
        layer.weight.mul_(0.01)
        layer.bias.zero_()
    return layer


def _by_conversation(turns: Sequence[tuple[NDArray[np.uint64], Rollout]]) -> Rollout:
    """The turns of a batch of conversations, given turn by turn, conversation after conversation."""
    rollout = _one_after_another([turn for _, turn in turns])
    return rollout.rows(by_conversation(np.concatenate([acted for acted, _ in turns]), rollout.over.numpy()))


def _one_after_another(rollouts: Sequence[Rollout]) -> Rollout:
    """Several rollouts as one."""
    _, *others = zip(*rollouts, strict=True)
    return Rollout(join([one.graphs for one in rollouts]), *(torch.cat(parts) for parts in others))
