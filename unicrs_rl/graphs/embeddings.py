"""Node embeddings of items and attributes, pretrained with TransE on the training graph only.

TransE (Bordes et al., NeurIPS 2013), as implemented by PyG, is trained on the triples
(user, likes, item), (item, relation, attribute) and (user, friend, user). A seeker's own vector is
not looked up but folded in from the history, for seen and unseen seekers alike:
``u = mean over the history of v - r_likes``; with no history it is zero. Node vectors have length one,
which is how the model compares them.

Vectors that were released with a benchmark are read with :func:`read_released`, for the reference
environment only.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch_geometric.nn.kge import TransE

from unicrs_rl.errors import InputError
from unicrs_rl.graphs.readers.files import read_bytes
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
    nodes = nn.functional.normalize(model.node_emb.weight.detach(), dim=1).numpy()  # as the loss reads them
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


def read_released(path: Path, world: World) -> tuple[NDArray[np.float32], Embeddings]:
    """Read node vectors that were released for a world.

    The file is an ``.npz`` of two arrays, without pickle: ``user_item`` ``[users + items, dim]``, the users
    first, and ``attribute`` ``[attributes, dim]``.

    Returns:
        The users' vectors ``[users, dim]`` by seeker index, and the other nodes'. Nothing was released for
        the relation; it is zero, so that folding in averages the items.

    Raises:
        InputError: naming the file, and the array and the shapes where they do not fit the world.
    """
    arrays = _read_arrays(path, ("user_item", "attribute"))
    n_users, n_items, n_attributes = len(world.seekers), world.catalogue.n_items, world.catalogue.n_attributes
    nodes, attributes = arrays["user_item"], arrays["attribute"]
    expected = {
        "user_item": (n_users + n_items, f"{n_users} users and {n_items} items"),
        "attribute": (n_attributes, f"{n_attributes} attributes"),
    }
    for name, (rows, what) in expected.items():
        if len(arrays[name]) != rows:
            raise InputError(
                f"{path}: {name!r} has the shape {arrays[name].shape}; world {world.name!r} has {what}, "
                f"so it must be ({rows}, {nodes.shape[1]})"
            )
    if nodes.shape[1] != attributes.shape[1]:
        raise InputError(
            f"{path}: 'user_item' has the shape {nodes.shape} and 'attribute' {attributes.shape}; "
            "their widths must be the same"
        )
    relation = np.zeros(nodes.shape[1], dtype=np.float32)
    return nodes[:n_users].copy(), Embeddings(nodes[n_users:].copy(), attributes, relation)


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Tables of finite numbers out of an ``.npz``: ``[rows, dim]`` each.

    Raises:
        InputError: naming the file, and the array at fault.
    """
    found: dict[str, NDArray[np.float32]] = {}
    content = io.BytesIO(read_bytes(path))
    try:
        file = np.load(content, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise InputError(f"{path}: not a whole .npz file") from None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: not an .npz file of several arrays")
    for name in names:
        if name not in file:
            raise InputError(f"{path}: no array {name!r}; it has {', '.join(sorted(file)) or 'none'}")
        try:
            array = file[name]
        except (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error):
            raise InputError(f"{path}: {name!r} is damaged, or holds Python objects") from None
        found[name] = _table(path, name, array)
    return found


def _table(path: Path, name: str, array: NDArray[np.generic]) -> NDArray[np.float32]:
    """An array as a table of finite numbers."""
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{path}: {name!r} is no array of floating-point numbers")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{path}: {name!r} has the shape {array.shape}; rows and a width are needed")
    with np.errstate(over="ignore"):  # complained about below
        table = array.astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(broken):
        raise InputError(f"{path}: {name!r} {array.shape}: row {broken[0]} has a number that is not finite")
    return table
