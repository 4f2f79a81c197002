"""The knowledge graph in its three shapes, its embeddings, and what must never be in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv

from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import EmbeddingConfig, Embeddings, pretrain
from unicrs_rl.graphs.encoder import GraphEncoder
from unicrs_rl.graphs.knowledge_graph import to_hetero, to_networkx
from unicrs_rl.graphs.world import Seeker, Split, World
from unicrs_rl.graphs.worlds import make_world

FACTS = [
    (0, "genre", "genre", "drama"),
    (0, "star", "person", "Ann"),
    (0, "director", "person", "Ann"),
    (1, "genre", "genre", "drama"),
    (1, "star", "person", "Bob"),
]


@pytest.fixture
def world() -> World:
    """Attributes are drama (0), Ann (1), Bob (2); seeker x likes a, y and z talk of a and b."""
    return World(
        name="small",
        catalogue=Catalogue.build("movie", ["a", "b"], FACTS),
        seekers=(Seeker("x", (0,)), Seeker("y", (0, 1)), Seeker("z", (1,))),
        likes=np.array([[0, 0]]),
        targets={Split.TRAIN: [(1, 0)], Split.VALID: [(1, 1)], Split.TEST: [(2, 1)]},
        friends=np.array([[0, 2]]),
    )


# --- networkx ---


def test_networkx_graph_has_typed_nodes_with_names(world: World) -> None:
    graph = to_networkx(world)
    assert isinstance(graph, nx.MultiDiGraph)
    assert dict(graph.nodes(data="name")) == {
        ("item", 0): "a",
        ("item", 1): "b",
        ("genre", 0): "drama",
        ("person", 1): "Ann",
        ("person", 2): "Bob",
        ("user", 0): "x",
        ("user", 1): "y",
        ("user", 2): "z",
    }


def test_networkx_edges_are_keyed_by_relation(world: World) -> None:
    assert set(to_networkx(world).edges(keys=True)) == {
        (("item", 0), ("genre", 0), "genre"),
        (("item", 0), ("person", 1), "star"),
        (("item", 0), ("person", 1), "director"),
        (("item", 1), ("genre", 0), "genre"),
        (("item", 1), ("person", 2), "star"),
        (("user", 0), ("item", 0), "likes"),
        (("user", 0), ("user", 2), "friend"),
        (("user", 2), ("user", 0), "friend"),
    }


def test_networkx_graph_of_movies_holds_every_fact(movies: World) -> None:
    graph = to_networkx(movies)
    catalogue = movies.catalogue
    assert graph.number_of_nodes() == catalogue.n_items + catalogue.n_attributes + len(movies.seekers)
    assert graph.number_of_edges() == len(catalogue.edges) + len(movies.likes)


@pytest.fixture
def layered(world: World) -> World:
    """The same world with a first layer: drama and Bob are 'calm', Ann is 'loud'."""
    taxonomy = {"calm": (0, 2), "loud": (1,)}
    return dataclasses.replace(world, catalogue=dataclasses.replace(world.catalogue, taxonomy=taxonomy))


def test_networkx_graph_has_the_categories_of_a_taxonomy(layered: World, world: World) -> None:
    graph = to_networkx(layered)
    assert (graph.nodes["category", 0]["name"], graph.nodes["category", 1]["name"]) == ("calm", "loud")
    assert set(graph.edges(keys=True)) - set(to_networkx(world).edges(keys=True)) == {
        (("genre", 0), ("category", 0), "part of"),
        (("person", 2), ("category", 0), "part of"),
        (("person", 1), ("category", 1), "part of"),
    }


def test_hetero_data_has_the_categories_of_a_taxonomy(layered: World, world: World) -> None:
    data = to_hetero(layered)
    assert data["category"].num_nodes == 2
    assert edges(data, "genre", "part of", "category") == {(0, 0)}
    assert edges(data, "person", "part of", "category") == {(0, 1), (1, 0)}
    assert edges(data, "category", "rev_part of", "person") == {(1, 0), (0, 1)}
    assert "category" not in to_hetero(world).node_types


def test_columns_of_a_catalogue_of_ones_own_are_node_types(bistros: Path) -> None:
    graph = to_networkx(make_world(str(bistros)))
    assert {kind for kind, _ in graph.nodes} == {"item", "user", "cuisine", "mood"}


# --- PyG ---


def edges(data: HeteroData, *kind: str) -> set[tuple[int, int]]:
    return set(map(tuple, data[kind].edge_index.T.tolist()))


def test_hetero_data_has_a_node_type_per_kind(world: World) -> None:
    data = to_hetero(world)
    assert {kind: data[kind].num_nodes for kind in data.node_types} == {
        "item": 2,
        "user": 3,
        "genre": 1,
        "person": 2,
    }
    assert data["person"].attribute.tolist() == [1, 2]
    assert data.validate()


def test_hetero_data_has_an_edge_type_per_relation(world: World) -> None:
    data = to_hetero(world)
    assert edges(data, "item", "genre", "genre") == {(0, 0), (1, 0)}
    assert edges(data, "item", "star", "person") == {(0, 0), (1, 1)}
    assert edges(data, "item", "director", "person") == {(0, 0)}
    assert edges(data, "user", "likes", "item") == {(0, 0)}
    assert edges(data, "user", "friend", "user") == {(0, 2), (2, 0)}


def test_every_edge_type_has_its_reverse(movies: World) -> None:
    data = to_hetero(movies)
    forward = [kind for kind in data.edge_types if not kind[1].startswith("rev_")]
    assert {relation for _, relation, _ in forward} == {"genre", "star", "director", "tag", "likes"}
    for head, relation, tail in forward:
        there, back = data[head, relation, tail].edge_index, data[tail, f"rev_{relation}", head].edge_index
        assert torch.equal(there.flip(0), back)
    assert len(data.edge_types) == 2 * len(forward)


def test_hetero_data_and_networkx_are_the_same_graph(movies: World) -> None:
    graph, data = to_networkx(movies), to_hetero(movies)
    found = set()
    for head, relation, tail in data.edge_types:
        if relation.startswith("rev_"):
            continue
        for a, b in data[head, relation, tail].edge_index.T.tolist():
            there = b if tail in {"item", "user"} else int(data[tail].attribute[b])
            found.add(((head, a), (tail, there), relation))
    assert found == set(graph.edges(keys=True))


def test_a_pyg_model_runs_on_the_hetero_data(world: World) -> None:
    data = to_hetero(world)
    nodes = {kind: torch.randn(int(data[kind].num_nodes), 4) for kind in data.node_types}
    layer = HeteroConv({kind: SAGEConv((4, 4), 5) for kind in data.edge_types})
    out = layer(nodes, data.edge_index_dict)
    assert {kind: tuple(vectors.shape) for kind, vectors in out.items()} == {
        "item": (2, 5),
        "user": (3, 5),
        "genre": (1, 5),
        "person": (2, 5),
    }


# --- what is not in the graph ---


def liked_pairs(world: World) -> set[tuple[int, int]]:
    graph = to_networkx(world)
    return {(user[1], item[1]) for user, item, relation in graph.edges(keys=True) if relation == "likes"}


def test_no_target_of_any_split_is_in_the_training_graph(movies: World) -> None:
    targets = {pair for split in Split for pair in movies.targets[split]}
    for pairs in (liked_pairs(movies), edges(to_hetero(movies), "user", "likes", "item")):
        assert pairs == set(map(tuple, movies.likes.tolist()))
        assert not pairs & targets


@pytest.mark.parametrize("name", ["redial", "lastfm"])
def test_no_target_of_a_real_world_is_in_its_training_graph(shared: Path, name: str) -> None:
    world = make_world(name, shared / "data" / name)
    graph = set(map(tuple, world.likes.tolist()))
    for split in Split:
        assert not graph & set(world.targets[split])


def test_embeddings_do_not_depend_on_targets(world: World) -> None:
    other = dataclasses.replace(world, targets={split: [(0, 1)] for split in Split})
    one, two = (pretrain(each, EmbeddingConfig(dim=4, epochs=3), 0) for each in (world, other))
    assert np.array_equal(one.items, two.items)


def test_embeddings_depend_on_the_training_graph(world: World) -> None:
    other = dataclasses.replace(world, likes=np.array([[0, 1]]))
    one, two = (pretrain(each, EmbeddingConfig(dim=4, epochs=3), 0) for each in (world, other))
    assert not np.array_equal(one.items, two.items)


# --- embeddings ---


def test_embeddings_have_the_shapes_of_the_world(movies: World, movies_embeddings: Embeddings) -> None:
    catalogue = movies.catalogue
    assert movies_embeddings.items.shape == (catalogue.n_items, 64)
    assert movies_embeddings.attributes.shape == (catalogue.n_attributes, 64)
    assert movies_embeddings.likes.shape == (64,)
    assert all(np.isfinite(part).all() for part in (movies_embeddings.items, movies_embeddings.attributes))


def test_embeddings_are_seeded_and_leave_global_randomness_alone(world: World) -> None:
    config = EmbeddingConfig(dim=4, epochs=2)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, again, other = (pretrain(world, config, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.items, again.items)
    assert not np.array_equal(one.items, other.items)
    assert torch.equal(before, torch.get_rng_state())


def test_training_brings_items_near_their_attributes(movies: World) -> None:
    """Against the attributes of other items; before training there is no difference."""
    facts = movies.catalogue.edges
    others = np.random.default_rng(0).permutation(facts[:, 2])

    def gap(epochs: int) -> float:
        found = pretrain(movies, EmbeddingConfig(dim=32, epochs=epochs), 0)
        items = found.items[facts[:, 0]]
        own, foreign = (
            np.linalg.norm(found.attributes[attributes] - items, axis=1)
            for attributes in (facts[:, 2], others)
        )
        return float((foreign - own).mean())

    assert abs(gap(0)) < 0.01
    assert gap(8) > 0.03  # of vectors of length one


def test_a_seeker_is_folded_in_from_the_history() -> None:
    """Mean of the items less the relation: ((1,0) + (3,2)) / 2 - (1,1) = (1,0)."""
    found = Embeddings(
        items=np.array([[1, 0], [3, 2]], dtype=np.float32),
        attributes=np.zeros((1, 2), dtype=np.float32),
        likes=np.ones(2, dtype=np.float32),
    )
    assert found.fold_in([(0, 1), (), (1,)]).tolist() == [[1, 0], [0, 0], [2, 1]]


def test_embeddings_survive_a_checkpoint(movies_embeddings: Embeddings) -> None:
    back = Embeddings.from_tensors(movies_embeddings.tensors())
    for name in ("items", "attributes", "likes"):
        assert np.array_equal(getattr(back, name), getattr(movies_embeddings, name))


def test_progress_of_the_embeddings_is_told(world: World) -> None:
    seen: list[tuple[int, int]] = []
    pretrain(world, EmbeddingConfig(dim=2, epochs=3), 0, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


# --- encoder ---


def test_encoder_is_the_formula_of_its_docstring() -> None:
    """h' = h + ReLU(A h W + b) with A = D^-1/2 (adjacency + I) D^-1/2, by hand for two weighted edges."""
    torch.manual_seed(0)
    encoder = GraphEncoder(dim=3, layers=2)
    nodes = torch.randn(3, 3)
    pairs = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    weights = torch.tensor([0.5, 0.5, 2.0, 2.0])
    adjacency = torch.eye(3)
    adjacency[pairs[1], pairs[0]] = weights
    scale = adjacency.sum(1).rsqrt()
    normal = scale[:, None] * adjacency * scale[None, :]
    expected = nodes
    for layer in encoder.convolutions:
        expected = expected + torch.relu(normal @ expected @ layer.lin.weight.T + layer.bias)
    assert torch.allclose(encoder(nodes, pairs, weights), expected, atol=1e-5)


def test_encoder_without_layers_changes_nothing() -> None:
    nodes = torch.randn(2, 4)
    encoder = GraphEncoder(4, 0)
    assert torch.equal(encoder(nodes, torch.tensor([[0], [1]]), torch.ones(1)), nodes)


def test_graphs_of_a_batch_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    encoder = GraphEncoder(4, 2)
    nodes, pairs, weights = torch.randn(3, 4), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.rand(4)
    alone = encoder(nodes, pairs, weights)
    both = encoder(
        torch.cat([nodes, torch.randn(3, 4)]), torch.cat([pairs, pairs + 3], dim=1), weights.repeat(2)
    )
    assert torch.allclose(both[:3], alone, atol=1e-6)


def test_information_travels_one_edge_a_layer() -> None:
    """On the path 0 - 1 - 2 the ends know of each other after two layers, not after one."""
    pairs, weights = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), torch.ones(4)
    for layers, reaches in ((1, False), (2, True)):
        torch.manual_seed(0)
        encoder = GraphEncoder(8, layers)
        nodes = torch.rand(3, 8, requires_grad=True)
        encoder(nodes, pairs, weights)[2].sum().backward()
        assert nodes.grad is not None
        assert bool(nodes.grad[0].abs().sum() > 0) is reaches
