"""The unified arm: one policy decides whether, what, when and how, in a single action.

An action is a pair (candidate, strategy): a candidate is one of the listed items (recommend it at the
head of the list), one of the listed attributes (ask about it), or chat. The value is a dueling sum

``Q(s, c, h) = V(s) + [A(s, c) - mean_c A] + [B(s, c, h) - mean_h B]``

over a state encoding shared by all three heads; the strategy head ``B`` sees the candidate, so the
value of a strategy depends on the act. The state encoding is a graph network over the conversation's
subgraph (:mod:`~unicrs_rl.policy.graph_state`), then a Transformer over past events and strategies.

Learning is double DQN (van Hasselt et al., AAAI 2016) with dueling heads (Wang et al., ICML 2016),
prioritised replay with importance weights, and soft target updates. After UNICORN (Deng et al.,
SIGIR 2021), without the faults of its code (switches: docs/architecture.md).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn
from typing_extensions import override

from unicrs_rl import draws
from unicrs_rl.dialogue import STRATEGIES, Act, Plan
from unicrs_rl.graphs.belief import States
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.encoder import GraphEncoder
from unicrs_rl.policy.base import (
    ArmContext,
    Learner,
    Tensors,
    load_optimizer,
    named,
    optimizer_tensors,
    under,
)
from unicrs_rl.policy.graph_state import (
    HISTORY,
    N_CONTEXT,
    N_FEATURES,
    ROLES,
    GraphBatch,
    Layout,
    build,
    join,
)
from unicrs_rl.policy.replay import Replay

_SURE = 0.95
"""A guide never waits for more certainty than this."""


class UnifiedConfig(BaseModel):
    """Hyper-parameters of the unified arm."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: int = Field(10, ge=1, description="candidate items and candidate attributes each")
    dim: int = Field(32, ge=4, multiple_of=4, description="width of node and state vectors")
    graph_layers: int = Field(2, ge=0, description="graph convolutions")
    heads: int = Field(4, ge=1, description="attention heads over past events")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam")
    discount: float = Field(0.9, ge=0, le=1, description="gamma, per turn")
    n_step: int = Field(3, ge=1, description="turns of reward summed before bootstrapping")
    batch_size: int = Field(64, ge=1, description="transitions per gradient step")
    steps_per_turn: float = Field(0.15, gt=0, description="gradient steps per turn played")
    warm_up_turns: int = Field(128, ge=1, description="turns played before learning starts")
    capacity: int = Field(10_000, ge=1, description="transitions kept")
    alpha: float = Field(0.6, ge=0, le=1, description="how much priorities count in sampling")
    beta: float = Field(0.4, ge=0, le=1, description="importance correction at first; 1 at the end")
    tau: float = Field(0.01, gt=0, le=1, description="share by which the target network follows, per step")
    explore_from: float = Field(1.0, ge=0, le=1, description="epsilon of the first turn")
    explore_to: float = Field(0.05, ge=0, le=1, description="epsilon from the last decay step on")
    explore_share: float = Field(
        0.5, gt=0, le=1, description="share of the conversations over which epsilon decays"
    )
    guided: float = Field(
        0.85, ge=0, le=1, description="share of exploring turns that follow the max-entropy rule"
    )
    guide_from: float = Field(
        0.6,
        gt=0,
        le=1,
        description="lowest threshold of that rule, drawn log-uniformly per conversation, "
        "as a multiple of the fitted one",
    )
    guide_to: float = Field(1.6, ge=1, description="highest threshold of that rule, likewise")
    margin: float = Field(0.05, ge=0, description="by which a guided candidate should lead the others (DQfD)")
    margin_weight: float = Field(0.3, ge=0, description="weight of that in the loss")
    clip: float = Field(5.0, gt=0, description="largest gradient norm")

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> UnifiedConfig:
        if self.dim % self.heads:
            raise ValueError(f"heads: {self.heads} must divide dim, {self.dim}")
        return self


class QNetwork(nn.Module):
    """Action values of graph states.

    Args:
        config: widths and depths.
        embeddings: pretrained node vectors; they stay fixed.
        layout: of the node axis.
    """

    table: torch.Tensor
    roles: torch.Tensor
    item_slots: torch.Tensor
    attribute_slots: torch.Tensor
    kinds: torch.Tensor

    def __init__(self, config: UnifiedConfig, embeddings: Embeddings, layout: Layout) -> None:
        super().__init__()
        dim = config.dim
        self.layout = layout
        table = torch.from_numpy(np.concatenate([embeddings.items, embeddings.attributes]))
        self.register_buffer("table", torch.cat([table, torch.zeros(1, table.shape[1])]), persistent=False)
        self.register_buffer("roles", torch.from_numpy(layout.roles()), persistent=False)
        self.register_buffer("item_slots", torch.from_numpy(layout.item_slots), persistent=False)
        self.register_buffer("attribute_slots", torch.from_numpy(layout.attribute_slots), persistent=False)
        self.project = nn.Linear(embeddings.dim, dim)
        self.role = nn.Embedding(len(ROLES), dim)
        self.graph = GraphEncoder(dim, config.graph_layers)
        self.strategy = nn.Embedding(len(STRATEGIES) + 2, dim)  # and "none", and padding
        self.place = nn.Embedding(HISTORY, dim)
        self.events = nn.TransformerEncoderLayer(dim, config.heads, 2 * dim, dropout=0.0, batch_first=True)
        self.state = nn.Sequential(nn.Linear(2 * dim + N_CONTEXT, dim), nn.ReLU())
        self.value = nn.Linear(dim, 1)
        joint = 2 * dim + N_FEATURES + 3
        self.candidate = nn.Sequential(nn.Linear(joint, dim), nn.ReLU(), nn.Linear(dim, 1))
        self.manner = nn.Sequential(nn.Linear(joint, dim), nn.ReLU(), nn.Linear(dim, len(STRATEGIES)))
        kinds = torch.cat([torch.full((layout.k,), 0), torch.full((layout.k,), 1), torch.tensor([2])])
        self.register_buffer("kinds", nn.functional.one_hot(kinds, 3).float(), persistent=False)

    def forward(self, batch: GraphBatch) -> torch.Tensor:
        """Values ``[b, candidates, strategies]``; masked candidates get a very low one."""
        nodes = self._encode_graph(batch)
        state = self.state(torch.cat([nodes[:, 0], self._encode_events(batch, nodes), batch.context], dim=1))
        listed = torch.cat([nodes[:, self.layout.items], nodes[:, self.layout.attributes]], dim=1)
        listed = torch.cat([listed, torch.zeros_like(listed[:, :1])], dim=1)
        n = listed.shape[1]
        shared = state[:, None].expand(-1, n, -1)
        kinds = self.kinds.expand(len(listed), -1, -1)
        joint = torch.cat([shared, listed, batch.features, kinds], dim=2)
        mask = batch.mask[:, :, None]
        chosen = self.candidate(joint)
        chosen = chosen - (chosen * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
        manner = self.manner(joint)
        values = self.value(state)[:, None] + chosen + manner - manner.mean(2, keepdim=True)
        masked: torch.Tensor = values.masked_fill(~mask, -1e4)
        return masked

    def _encode_graph(self, batch: GraphBatch) -> torch.Tensor:
        """Node vectors ``[b, n, dim]``; empty slots are zero. Only occupied slots are computed."""
        there = batch.nodes >= 0
        there[:, 0] = True  # the seeker, whose vector is the zero row at the table's end plus its role
        roles = self.roles.expand_as(batch.nodes)[there]
        nodes = self.project(self.table[batch.nodes[there]]) + self.role(roles)
        place = torch.cumsum(there.flatten(), 0) - 1  # slot -> row among the occupied
        edges, weights = self._edges(batch)
        encoded: torch.Tensor = self.graph(nodes, place[edges], weights.to(nodes.dtype))
        return encoded.new_zeros(*there.shape, encoded.shape[1]).masked_scatter(there[:, :, None], encoded)

    def _edges(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Edges between slots of the block-diagonal graph, both ways: ``[2, edges]`` and ``[edges]``."""
        size = self.layout.size
        b, row, column = batch.links.nonzero(as_tuple=True)
        pairs = [torch.stack([b * size + self.item_slots[row], b * size + self.attribute_slots[column]])]
        weights = [torch.ones(len(b))]
        b, place = (batch.nodes[:, self.layout.items] >= 0).nonzero(as_tuple=True)
        pairs.append(torch.stack([b * size, b * size + self.layout.items.start + place]))
        weights.append(batch.weights[b, place])
        b, place = (batch.nodes[:, self.layout.wanted] >= 0).nonzero(as_tuple=True)
        pairs.append(torch.stack([b * size, b * size + self.layout.wanted.start + place]))
        weights.append(torch.ones(len(b)))
        one_way, w = torch.cat(pairs, dim=1), torch.cat(weights)
        return torch.cat([one_way, one_way.flip(0)], dim=1), torch.cat([w, w])

    def _encode_events(self, batch: GraphBatch, nodes: torch.Tensor) -> torch.Tensor:
        """Past events and strategies as one vector: ``[b, dim]``."""
        there = batch.event_strategies >= 0
        about = nodes.gather(1, batch.event_slots.clamp(min=0)[:, :, None].expand(-1, -1, nodes.shape[2]))
        about = about * (batch.event_slots >= 0)[:, :, None]
        strategies = torch.where(there, batch.event_strategies, len(STRATEGIES) + 1)
        tokens = about + self.strategy(strategies) + self.place.weight
        padding = ~there
        padding[:, 0] = False  # a conversation without any event attends to one empty token
        encoded = self.events(tokens, src_key_padding_mask=padding)
        kept = (~padding)[:, :, None]
        pooled: torch.Tensor = (encoded * kept).sum(1) / kept.sum(1)
        return pooled


@dataclass(slots=True)
class _Step:
    """One turn as the learner remembers it: state (a batch of one), action, and what it earned."""

    graph: GraphBatch
    action: tuple[int, int]
    guided: bool
    reward: float = 0.0


class Unified(Learner):
    """Plays and learns; see the module's docstring.

    Args:
        context: of the arm; ``options`` are fields of :class:`UnifiedConfig`.
    """

    Config = UnifiedConfig

    def __init__(self, context: ArmContext) -> None:
        super().__init__(context)
        self.config = UnifiedConfig.model_validate(context.options or {})
        self.layout = Layout(self.config.k, context.catalogue.n_items)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(draws.key("unified", context.seed) % 2**31)
            self.network = QNetwork(self.config, context.embeddings, self.layout)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)
        self.replay = Replay(self.config.capacity, self.layout, self.config.alpha)
        self.rng = np.random.default_rng(draws.key("unified exploration", context.seed))
        self.played = 0
        self.turns = 0
        self.steps = 0
        self._paths: dict[int, list[_Step]] = {}
        self._exact: QNetwork | None = None

    def decide(self, states: States) -> list[Plan]:
        """Greedy on the target network, which is the online one smoothed over its last steps.

        In double precision, so that the batch a conversation is in cannot matter.
        """
        if self._exact is None:
            self._exact = copy.deepcopy(self.target if self.steps else self.network).double()
        graphs = build(states, self.layout)
        exact = GraphBatch(*(part.double() if part.is_floating_point() else part for part in graphs))
        with torch.inference_mode():
            values = torch.round(self._exact(exact), decimals=9).numpy()
        choice = values.reshape(len(values), -1).argmax(axis=1)
        return [
            self._plan(states, row, *divmod(int(choice[row]), len(STRATEGIES)), values[row])
            for row in range(len(states))
        ]

    @override
    def act(self, states: States) -> list[Plan]:
        graphs = build(states, self.layout)
        with torch.inference_mode():
            values = self.network(graphs).numpy()
        plans = []
        for row, state in enumerate(states.rows):
            candidate, strategy, guided = self._explore(states, row, values[row])
            step = _Step(graphs.rows(np.array([row])), (candidate, strategy), guided)
            self._paths.setdefault(state.key, []).append(step)
            plans.append(self._plan(states, row, candidate, strategy, values[row]))
        self.turns += len(states)
        return plans

    @override
    def observe(self, keys: Sequence[int], rewards: Sequence[float], over: Sequence[bool]) -> None:
        for key, reward, ended in zip(keys, rewards, over, strict=True):
            self._paths[key][-1].reward = reward
            if ended:
                self._store(self._paths.pop(key))
                self.played += 1

    @override
    def learn(self) -> dict[str, float]:
        due = int(self.turns * self.config.steps_per_turn) - self.steps
        if self.turns < self.config.warm_up_turns:
            self.steps += due
            return {}
        losses = [self._step() for _ in range(due)]
        self.steps += due
        self._exact = None
        return {"loss": float(np.mean(losses)) if losses else 0.0, "epsilon": self._epsilon()}

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
        self.rng.bit_generator.state = header["rng"]
        self._exact = None

    def _epsilon(self) -> float:
        total = max(1.0, self.config.explore_share * self.context.dialogues)
        left = max(0.0, 1 - self.played / total)
        return self.config.explore_to + left * (self.config.explore_from - self.config.explore_to)

    def _explore(self, states: States, row: int, values: NDArray[np.float32]) -> tuple[int, int, bool]:
        """(candidate, strategy, guided): mostly greedy later, mostly guided at first."""
        k, epsilon = self.config.k, self._epsilon()
        if self.rng.random() >= epsilon:
            return *divmod(int(values.argmax()), len(STRATEGIES)), False
        strategy = int(self.rng.integers(len(STRATEGIES)))
        listed = np.flatnonzero(states.items[row, :k] >= 0)
        questions = np.flatnonzero(states.attributes[row, :k] >= 0)
        if self.rng.random() < self.config.guided:
            span = self.config.guide_to / self.config.guide_from
            chance = draws.uniform(states.rows[row].key, purpose="guide")[0]
            threshold = self.context.recommend_above * self.config.guide_from * span**chance
            sure = states.confidence[row] > min(threshold, _SURE)
            recommend = len(listed) and (not len(questions) or sure)
            return 0 if recommend else k if len(questions) else 2 * k, strategy, True
        options = [[2 * k], listed.tolist(), (questions + k).tolist()]
        kinds = [option for option in options if option]
        kind = kinds[int(self.rng.integers(len(kinds)))]
        return int(kind[int(self.rng.integers(len(kind)))]), strategy, False

    def _plan(
        self, states: States, row: int, candidate: int, strategy: int, values: NDArray[np.floating[Any]]
    ) -> Plan:
        """The action as a plan, with the best value of each act for the trace."""
        k = self.config.k
        acts = {"recommend": values[:k], "ask": values[k : 2 * k], "chat": values[2 * k :]}
        scores = {
            f"q_{name}": round(float(part.max()), 4) for name, part in acts.items() if part.max() > -1e3
        }
        how = STRATEGIES[strategy]
        if candidate < k:
            head = int(states.items[row, candidate])
            rest = [item for item in states.items[row].tolist() if item not in (head, -1)]
            return Plan(how, Act.RECOMMEND, (), (head, *rest)[: self.context.slate], scores)
        if candidate < 2 * k:
            return Plan(how, Act.ASK, (int(states.attributes[row, candidate - k]),), (), scores)
        return Plan(how, Act.CHAT, (), (), scores)

    def _store(self, path: list[_Step]) -> None:
        """Turn a finished conversation into n-step transitions."""
        n, gamma = self.config.n_step, self.config.discount
        rewards, discounts, after = [], [], []
        for t in range(len(path)):
            ahead = path[t : t + n]
            rewards.append(sum(gamma**i * step.reward for i, step in enumerate(ahead)))
            more = t + n < len(path)
            discounts.append(gamma**n if more else 0.0)
            after.append(path[t + n].graph if more else path[-1].graph)
        self.replay.add(
            join([step.graph for step in path]),
            torch.tensor([step.action for step in path]),
            torch.tensor(rewards, dtype=torch.float32),
            join(after),
            torch.tensor(discounts, dtype=torch.float32),
            torch.tensor([step.guided for step in path]),
        )

    def _step(self) -> float:
        """One gradient step of double DQN; the loss."""
        config = self.config
        progress = min(1.0, self.played / max(1, self.context.dialogues))
        beta = config.beta + progress * (1 - config.beta)
        batch = self.replay.sample(config.batch_size, beta, self.rng)
        with torch.no_grad():
            ahead = self.network(batch.next_states).flatten(1).argmax(1, keepdim=True)
            later = self.target(batch.next_states).flatten(1).gather(1, ahead).squeeze(1)
            goal = batch.rewards + batch.discounts * later
        values = self.network(batch.states)
        flat = batch.actions[:, 0] * len(STRATEGIES) + batch.actions[:, 1]
        value = values.flatten(1).gather(1, flat[:, None]).squeeze(1)
        errors = nn.functional.smooth_l1_loss(value, goal, reduction="none")
        lag = self._lag(values.amax(2), batch.actions[:, 0]) * batch.guided
        loss = (batch.weights * (errors + config.margin_weight * lag)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self.optimizer.step()
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
