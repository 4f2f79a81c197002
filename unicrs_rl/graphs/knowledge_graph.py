"""The world as a graph: for people (networkx) and for models (PyG)."""

from __future__ import annotations

import networkx as nx
import numpy as np
import torch
from torch_geometric.data import HeteroData

from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.world import World

LIKES = "likes"
"""Relation from a seeker to an item of the training graph."""
FRIEND = "friend"
CATEGORY = "category"
"""Node type of the first layer of a two-layer taxonomy."""
PART_OF = "part of"
"""Relation from an attribute to its category."""


def to_networkx(world: World) -> nx.MultiDiGraph[tuple[str, int]]:
    """The knowledge graph with the training graph's likes.

    Nodes are ``("item", id)``, ``(kind, attribute id)`` and ``("user", index)`` with a ``name``;
    edges point from items to attributes, keyed by relation, and from users to items. A two-layer
    taxonomy adds nodes ``("category", index)``, numbered in the order of ``catalogue.taxonomy``, and
    edges from attributes to them, keyed ``"part of"``.
    """
    catalogue = world.catalogue
    graph: nx.MultiDiGraph[tuple[str, int]] = nx.MultiDiGraph(name=world.name)
    graph.add_nodes_from((("item", i), {"name": name}) for i, name in enumerate(catalogue.items))
    for index, (kind, name) in enumerate(zip(catalogue.kinds, catalogue.attributes, strict=True)):
        graph.add_node((kind, index), name=name)
    for item, relation, attribute in catalogue.edges.tolist():
        tail = (catalogue.kinds[attribute], attribute)
        graph.add_edge(("item", item), tail, key=catalogue.relations[relation])
    for category, (name, members) in enumerate(catalogue.taxonomy.items()):
        graph.add_node((CATEGORY, category), name=name)
        for attribute in members:
            graph.add_edge((catalogue.kinds[attribute], attribute), (CATEGORY, category), key=PART_OF)
    for index, seeker in enumerate(world.seekers):
        graph.add_node(("user", index), name=seeker.id)
    for seeker_index, item in world.likes.tolist():
        graph.add_edge(("user", seeker_index), ("item", item), key=LIKES)
    for one, other in world.friends.tolist():
        graph.add_edge(("user", one), ("user", other), key=FRIEND)
        graph.add_edge(("user", other), ("user", one), key=FRIEND)
    return graph


def to_hetero(world: World) -> HeteroData:
    """The same graph as PyG data, every edge type with its reverse.

    Node types are ``user``, ``item`` and one per kind of attribute. Nodes of a kind are numbered
    from 0 in the order of their attribute ids, which ``data[kind].attribute`` holds (``[nodes]``).
    Edge types are ``(item, relation, kind)``, ``(user, likes, item)`` and ``(user, friend, user)``.
    A two-layer taxonomy adds the node type ``category``, numbered in the order of
    ``catalogue.taxonomy``, and the edge types ``(kind, part of, category)``.
    """
    catalogue = world.catalogue
    data = HeteroData()
    data["item"].num_nodes = catalogue.n_items
    data["user"].num_nodes = len(world.seekers)
    kinds = np.array(catalogue.kinds)
    place = np.zeros(catalogue.n_attributes, dtype=np.int64)
    for kind in sorted(set(catalogue.kinds)):
        members = np.flatnonzero(kinds == kind)
        place[members] = np.arange(len(members))
        data[kind].num_nodes = len(members)
        data[kind].attribute = torch.from_numpy(members)
    for relation, name in enumerate(catalogue.relations):
        rows = catalogue.edges[catalogue.edges[:, 1] == relation]
        for kind in sorted(set(kinds[rows[:, 2]])):
            part = rows[kinds[rows[:, 2]] == kind]
            _connect(data, "item", name, str(kind), np.stack([part[:, 0], place[part[:, 2]]]))
    if catalogue.taxonomy:
        _connect_categories(data, catalogue, kinds, place)
    _connect(data, "user", LIKES, "item", world.likes.T)
    if len(world.friends):
        both = np.concatenate([world.friends, world.friends[:, ::-1]])
        data["user", FRIEND, "user"].edge_index = torch.from_numpy(np.ascontiguousarray(both.T))
    return data


def _connect_categories(data: HeteroData, catalogue: Catalogue, kinds: np.ndarray, place: np.ndarray) -> None:
    """Add the first layer of the taxonomy; ``place`` is each attribute's number within its kind."""
    data[CATEGORY].num_nodes = len(catalogue.taxonomy)
    layers = enumerate(catalogue.taxonomy.values())
    pairs = [(attribute, category) for category, members in layers for attribute in members]
    rows = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    for kind in sorted(set(kinds[rows[:, 0]])):
        part = rows[kinds[rows[:, 0]] == kind]
        _connect(data, str(kind), PART_OF, CATEGORY, np.stack([place[part[:, 0]], part[:, 1]]))


def _connect(data: HeteroData, head: str, relation: str, tail: str, pairs: np.ndarray) -> None:
    """Add an edge type and its reverse; ``pairs`` is ``[2, edges]``."""
    edges = torch.from_numpy(np.ascontiguousarray(pairs))
    data[head, relation, tail].edge_index = edges
    data[tail, f"rev_{relation}", head].edge_index = edges.flip(0)
