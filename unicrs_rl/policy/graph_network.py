"""The network under every learner that decides everything: what it makes of a state, before any head.

A graph network over the conversation's subgraph (:mod:`~unicrs_rl.policy.graph_state`), whose nodes start
from pretrained vectors and the roles they play, gives the vectors of the seeker and of each candidate; a
Transformer over the past events (what each was about, with which strategy, when) gives the history:

``state = ReLU(W [seeker, history, context] + b)``, ``joint_c = [state, candidate_c, features_c, kind_c]``

That is the encoder ``graph``. With ``text`` (:mod:`~unicrs_rl.policy.text_network`) the summary of the words
takes the place of ``[seeker, history]``, and the words of its name that of the candidate's node. With
``both`` the summaries stand side by side, and a candidate's two vectors are projected to one. The context
and the features are the belief state's numbers, and the same in all three.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from unicrs_rl.dialogue import STRATEGIES
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.encoder import GraphBackend, GraphEncoder
from unicrs_rl.policy.control import Encoder
from unicrs_rl.policy.graph_state import HISTORY, N_CONTEXT, N_FEATURES, ROLES, GraphBatch, Layout
from unicrs_rl.policy.text_network import TextEncoder

_KINDS = 3
"""Of candidates: items, attributes, chat."""


class NodeVectors(StrEnum):
    """What the graph's nodes start from."""

    PRETRAINED = "pretrained"
    """The TransE vectors, kept fixed (the paper; default)."""
    RANDOM = "random"
    """Random vectors that learn: UNICORN's code drops the table it has loaded."""


class Attention(StrEnum):
    """What a past event attends to."""

    CONVERSATION = "conversation"
    """The other events of its conversation (the paper; default)."""
    BATCH = "batch"
    """The events at the same place in the *other conversations of the batch*: UNICORN's code feeds
    batch-first data to a Transformer that expects the sequence first. So it is when learning; when
    deciding its batches are of one conversation, in which every event attends to itself alone."""


class GraphTrunkConfig(BaseModel):
    """Widths and depths of a :class:`GraphTrunk`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(32, ge=4, multiple_of=4, description="width of node and state vectors")
    graph_layers: int = Field(2, ge=0, description="graph convolutions")
    heads: int = Field(4, ge=1, description="attention heads over past events, and over words")
    graph_backend: GraphBackend = Field(GraphBackend.PYG, description="library of the graph network")
    encoder: Encoder = Field(Encoder.GRAPH, description="what is seen of a conversation: graph, text or both")
    text_layers: int = Field(1, ge=1, description="Transformer layers over words")
    max_tokens: int = Field(64, ge=8, description="words of a dialogue that are read, the newest")
    vocabulary: int = Field(
        4000, ge=0, description="words of the catalogue's names told apart one by one, the most frequent"
    )
    interference_every: int = Field(
        20,
        ge=0,
        description="gradient steps between two looks at how acts and strategies pull the encoder; 0: none",
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads: {self.heads} must divide dim, {self.dim}")
        return self


class GraphTrunk(nn.Module):
    """What is known of a state, and of each candidate in it; a learner's network adds its heads.

    Args:
        config: widths and depths, and what is seen.
        embeddings: pretrained node vectors.
        layout: of the node axis; with the words, where they are read.
        node_vectors: what nodes start from.
        attention: what past events attend to.

    Attributes:
        width: of a candidate's vector.
        learning: whether the batch is one to learn from; attention across it depends on that.
    """

    table: torch.Tensor
    roles: torch.Tensor
    item_slots: torch.Tensor
    attribute_slots: torch.Tensor
    kinds: torch.Tensor

    def __init__(
        self,
        config: GraphTrunkConfig,
        embeddings: Embeddings,
        layout: Layout,
        node_vectors: NodeVectors = NodeVectors.PRETRAINED,
        attention: Attention = Attention.CONVERSATION,
    ) -> None:
        super().__init__()
        dim = config.dim
        self.layout = layout
        self.width = 2 * dim + N_FEATURES + _KINDS
        self.across = attention is Attention.BATCH
        self.learning = False
        kinds = torch.tensor([0] * layout.k + [1] * layout.k + [2])
        self.register_buffer("kinds", nn.functional.one_hot(kinds, _KINDS).float(), persistent=False)
        self.sees_graph = config.encoder is not Encoder.TEXT
        if self.sees_graph:
            self._make_graph(config, embeddings, node_vectors)
        self.text: TextEncoder | None = None
        if config.encoder is not Encoder.GRAPH:
            assert layout.words is not None
            self.text = TextEncoder(layout.words, dim, config.text_layers, config.heads)
        if self.sees_graph and self.text is not None:
            self.blend = nn.Linear(2 * dim, dim)
        summaries = (2 * dim if self.sees_graph else 0) + (dim if self.text is not None else 0)
        self.state = nn.Sequential(nn.Linear(summaries + N_CONTEXT, dim), nn.ReLU())
        self._shared = tuple(name for name, _ in self.named_parameters())

    @property
    def shared(self) -> list[nn.Parameter]:
        """The parameters under all heads."""
        return [self.get_parameter(name) for name in self._shared]

    def _make_graph(
        self, config: GraphTrunkConfig, embeddings: Embeddings, node_vectors: NodeVectors
    ) -> None:
        """The parts that see the graph."""
        dim, layout = config.dim, self.layout
        table = torch.from_numpy(np.concatenate([embeddings.items, embeddings.attributes]))
        table = torch.cat([table, torch.zeros(1, table.shape[1])]) * embeddings.dim**0.5 / 2
        if node_vectors is NodeVectors.RANDOM:
            self.table = nn.Parameter(torch.randn_like(table))
        else:
            self.register_buffer("table", table, persistent=False)
        self.register_buffer("roles", torch.from_numpy(layout.roles()), persistent=False)
        self.register_buffer("item_slots", torch.from_numpy(layout.item_slots), persistent=False)
        self.register_buffer("attribute_slots", torch.from_numpy(layout.attribute_slots), persistent=False)
        self.project = nn.Linear(embeddings.dim, dim)
        self.role = nn.Embedding(len(ROLES), dim)
        self.graph = GraphEncoder(dim, config.graph_layers, config.graph_backend)
        self.strategy = nn.Embedding(len(STRATEGIES) + 2, dim)  # and "none", and padding
        self.place = nn.Embedding(HISTORY, dim)
        self.events = nn.TransformerEncoderLayer(dim, config.heads, 2 * dim, dropout=0.0, batch_first=True)

    def encode(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """States ``[b, dim]``, and the candidates in their states ``[b, candidates, width]``."""
        views = [self._view_graph(batch)] if self.sees_graph else []
        if self.text is not None:
            views.append(self.text(batch.tokens, batch.nodes[:, self.layout.items.start :]))
        summaries, candidates = zip(*views, strict=True)
        state = self.state(torch.cat([*summaries, batch.context], dim=1))
        listed = self.blend(torch.cat(candidates, dim=2)) if len(views) > 1 else candidates[0]
        shared = state[:, None].expand(-1, listed.shape[1], -1)
        kinds = self.kinds.expand(len(listed), -1, -1)
        return state, torch.cat([shared, listed, batch.features, kinds], dim=2)

    def _view_graph(self, batch: GraphBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the graph says: of the conversation ``[b, 2 dim]``, of candidates ``[b, candidates, dim]``."""
        nodes = self._encode_graph(batch)
        listed = torch.cat([nodes[:, self.layout.items], nodes[:, self.layout.attributes]], dim=1)
        listed = torch.cat([listed, torch.zeros_like(listed[:, :1])], dim=1)  # chat has no node
        return torch.cat([nodes[:, 0], self._encode_events(batch, nodes)], dim=1), listed

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
        if not self.across:
            encoded = self.events(tokens, src_key_padding_mask=padding)
        elif self.learning:  # as UNICORN's code has it: the batch is taken for the sequence
            encoded = self.events(tokens.transpose(0, 1)).transpose(0, 1)
        else:  # deciding, it has batches of one, in which every event attends to itself alone
            encoded = self.events(tokens.flatten(0, 1)[:, None]).view_as(tokens)
        kept = (~padding)[:, :, None]
        pooled: torch.Tensor = (encoded * kept).sum(1) / kept.sum(1)
        return pooled


def in_double(batch: GraphBatch) -> GraphBatch:
    """The batch for a network in double precision."""
    return GraphBatch(*(part.double() if part.is_floating_point() else part for part in batch))
