"""Node embeddings of items and attributes, pretrained with TransE on the training graph only.

TransE (Bordes et al., NeurIPS 2013), as implemented by PyG, is trained on the triples
(user, likes, item), (item, relation, attribute) and (user, friend, user). A seeker's own vector is
not looked up but folded in from the history, for seen and unseen seekers alike:
``u = mean over the history of v - r_likes``; with no history it is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch_geometric.nn.kge import TransE

from unicrs_rl.graphs.world import World


class EmbeddingConfig(BaseModel):
    """Hyper-parameters of the embeddings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(64, ge=2, description="width of a vector")
    epochs: int = Field(30, ge=0, description="passes over the triples")
    batch_size: int = Field(1024, ge=1, description="triples per step")
    learning_rate: float = Field(0.01, gt=0, description="of sparse Adam")
    margin: float = Field(1.0, gt=0, description="of the ranking loss")


@dataclass(frozen=True)
class Embeddings:
    """Vectors of a world's nodes.

    Attributes:
        items: ``[items, dim]``.
        attributes: ``[attributes, dim]``.
        likes: of the relation from a seeker to an item, ``[dim]``.
    """

    items: NDArray[np.float32]
    attributes: NDArray[np.float32]
    likes: NDArray[np.float32]

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.items.shape[1])

    def fold_in(self, histories: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Seekers' vectors from the items they are known to like: ``[batch, dim]``."""
        folded = np.zeros((len(histories), self.dim), dtype=np.float32)
        for row, history in enumerate(histories):
            if history:
                folded[row] = (self.items[list(history)] - self.likes).mean(axis=0)
        return folded

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        return {
            "items": torch.from_numpy(self.items),
            "attributes": torch.from_numpy(self.attributes),
            "likes": torch.from_numpy(self.likes),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, torch.Tensor]) -> Embeddings:
        """From a checkpoint."""
        return cls(*(tensors[name].numpy() for name in ("items", "attributes", "likes")))


def pretrain(
    world: World, config: EmbeddingConfig, seed: int, progress: Callable[[int, int], None] = lambda *_: None
) -> Embeddings:
    """Train TransE on the training graph.

    Args:
        progress: called with (epochs done, epochs).
    """
    catalogue = world.catalogue
    heads, relations, tails, n_relations = _triples(world)
    n_nodes = catalogue.n_items + catalogue.n_attributes + len(world.seekers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TransE(n_nodes, n_relations, config.dim, margin=config.margin, p_norm=2.0, sparse=True)
        optimizer = torch.optim.SparseAdam(model.parameters(), lr=config.learning_rate)
        for epoch in range(config.epochs):
            for batch in torch.randperm(len(heads)).split(config.batch_size):
                optimizer.zero_grad()
                model.loss(heads[batch], relations[batch], tails[batch]).backward()
                optimizer.step()
            progress(epoch + 1, config.epochs)
    nodes = model.node_emb.weight.detach().numpy().copy()
    end = catalogue.n_items + catalogue.n_attributes
    likes = model.rel_emb.weight.detach().numpy()[n_relations - 2].copy()
    return Embeddings(nodes[: catalogue.n_items].copy(), nodes[catalogue.n_items : end].copy(), likes)


def _triples(world: World) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Heads, relations, tails ``[triples]`` and the number of relations.

    Nodes are numbered items, attributes, users; the last two relations are likes and friend.
    """
    catalogue = world.catalogue
    first_user = catalogue.n_items + catalogue.n_attributes
    likes, friend = len(catalogue.relations), len(catalogue.relations) + 1
    facts = catalogue.edges + np.array([0, 0, catalogue.n_items])
    rows = [
        facts,
        np.stack(
            [world.likes[:, 0] + first_user, np.full(len(world.likes), likes), world.likes[:, 1]], axis=1
        ),
        np.stack(
            [
                world.friends[:, 0] + first_user,
                np.full(len(world.friends), friend),
                world.friends[:, 1] + first_user,
            ],
            axis=1,
        ),
    ]
    table = torch.from_numpy(np.concatenate(rows))
    return table[:, 0], table[:, 1], table[:, 2], friend + 1
