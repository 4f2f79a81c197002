"""The graph encoder: two backends, one set of weights, one result."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch_geometric.nn import GCNConv

from unicrs_rl.errors import InputError
from unicrs_rl.graphs.encoder import GraphBackend, GraphEncoder

Graph = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
DIM = 8


def needs_dgl(backend: GraphBackend) -> GraphBackend:
    """``backend``, if it can be had here."""
    if backend is GraphBackend.DGL and sys.version_info >= (3, 12):
        pytest.skip("DGL 1.1.3 has wheels up to Python 3.11")
    if backend is GraphBackend.DGL:
        try:
            GraphEncoder(1, 0, backend)
        except InputError as error:
            pytest.skip(str(error))
    return backend


@pytest.fixture(params=list(GraphBackend))
def backend(request: pytest.FixtureRequest) -> GraphBackend:
    return needs_dgl(request.param)


@pytest.fixture
def both() -> tuple[GraphEncoder, GraphEncoder]:
    """Encoders of either backend with the same weights, biases included."""
    needs_dgl(GraphBackend.DGL)
    pyg, dgl = GraphEncoder(DIM, 3, "pyg"), GraphEncoder(DIM, 3, "dgl")
    torch.manual_seed(1)
    for parameter in pyg.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    dgl.load_state_dict(pyg.state_dict())
    return pyg, dgl


def blocks(*sizes: tuple[int, int], seed: int = 0, dtype: torch.dtype = torch.float32) -> Graph:
    """A block-diagonal batch with ``(nodes, undirected edges)`` a graph, parallel edges included.

    The first node of every graph is isolated.
    """
    generator = torch.Generator().manual_seed(seed)
    one_way, first = [torch.empty(2, 0, dtype=torch.long)], 0
    for nodes, edges in sizes:
        start = 1 + torch.randint(max(1, nodes - 1), (edges,), generator=generator)
        hop = 1 + torch.randint(max(1, nodes - 2), (edges,), generator=generator)
        end = 1 + (start - 1 + hop) % max(1, nodes - 1)
        one_way.append(first + torch.stack([start, end]))
        first += nodes
    pairs = torch.cat(one_way, dim=1)
    weights = torch.rand(pairs.shape[1], generator=generator, dtype=dtype)
    nodes = torch.randn(first, DIM, generator=generator, dtype=dtype)
    return nodes, torch.cat([pairs, pairs.flip(0)], dim=1), weights.repeat(2)


GRAPHS = {
    "one graph": blocks((10, 20)),
    "a batch": blocks((10, 20), (3, 1), (40, 100), (25, 0), (1, 0), seed=1),
    "no edges": blocks((4, 0), (2, 0)),
    "one node": blocks((1, 0)),
    "nothing": blocks(),
    "large": blocks(*[(80, 120)] * 16, seed=2),
}


def gradients(encoder: GraphEncoder, graph: Graph) -> list[torch.Tensor]:
    """Of a smooth function of the result, by the parameters, the nodes and the weights."""
    nodes, edges, weights = graph
    nodes, weights = nodes.clone().requires_grad_(), weights.clone().requires_grad_()
    loss = encoder(nodes, edges, weights).square().sum() / max(1, len(nodes))
    return list(torch.autograd.grad(loss, [*encoder.parameters(), nodes, weights]))


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_backends_agree(both: tuple[GraphEncoder, GraphEncoder], graph: Graph, dtype: torch.dtype) -> None:
    pyg, dgl = (encoder.to(dtype) for encoder in both)
    graph = (graph[0].to(dtype), graph[1], graph[2].to(dtype))
    close = {"atol": 1e-5 if dtype == torch.float32 else 1e-12, "rtol": 0.0}
    result = dgl(*graph)
    assert result.dtype == dtype
    assert result.shape == graph[0].shape
    torch.testing.assert_close(result, pyg(*graph), **close)
    torch.testing.assert_close(gradients(dgl, graph), gradients(pyg, graph), **close)
    with torch.inference_mode():
        torch.testing.assert_close(dgl(*graph), result.detach(), atol=0.0, rtol=0.0)


def test_agrees_with_the_convolutions_of_pyg(backend: GraphBackend) -> None:
    """GCNConv with its own normalisation and self-loops is the reference."""
    torch.manual_seed(0)
    encoder = GraphEncoder(DIM, 2, backend)
    nodes, edges, weights = GRAPHS["a batch"]
    expected = nodes
    for layer in encoder.convolutions:
        reference = GCNConv(DIM, DIM)
        reference.load_state_dict(layer.state_dict())
        expected = expected + torch.relu(reference(expected, edges, weights))
    torch.testing.assert_close(encoder(nodes, edges, weights), expected, atol=1e-5, rtol=0.0)


def test_an_isolated_node_sees_itself_alone(backend: GraphBackend) -> None:
    torch.manual_seed(0)
    encoder = GraphEncoder(DIM, 1, backend)
    nodes, edges, weights = GRAPHS["one graph"]
    layer = encoder.convolutions[0]
    expected = nodes[0] + torch.relu(layer.lin(nodes[0]) + layer.bias)  # type: ignore[operator]
    torch.testing.assert_close(encoder(nodes, edges, weights)[0], expected)


def test_same_input_same_bits(backend: GraphBackend) -> None:
    torch.manual_seed(0)
    encoder = GraphEncoder(DIM, 2, backend)
    graph = GRAPHS["large"]
    assert torch.equal(encoder(*graph), encoder(*graph))
    for first, second in zip(gradients(encoder, graph), gradients(encoder, graph), strict=True):
        assert torch.equal(first, second)


def test_equal_seeds_give_equal_weights_and_names_do_not_tell_the_backend() -> None:
    needs_dgl(GraphBackend.DGL)
    states = []
    for backend in GraphBackend:
        torch.manual_seed(7)
        states.append(GraphEncoder(DIM, 2, backend).state_dict())
    pyg, dgl = states
    assert list(pyg) == list(dgl)
    assert {name.split(".", 2)[2] for name in pyg} == {"lin.weight", "bias"}
    assert all(torch.equal(pyg[name], dgl[name]) for name in pyg)


def test_loads_what_the_convolutions_of_pyg_saved() -> None:
    """Checkpoints from when the layers were plain GCNConv keep loading."""
    old = torch.nn.ModuleDict({"convolutions": torch.nn.ModuleList([GCNConv(DIM, DIM)])})
    GraphEncoder(DIM, 1).load_state_dict(old.state_dict(), strict=True)


def test_what_one_backend_learned_serves_the_other(backend: GraphBackend) -> None:
    needs_dgl(GraphBackend.DGL)
    torch.manual_seed(0)
    graph = GRAPHS["one graph"]
    teacher, learner = GraphEncoder(DIM, 2), GraphEncoder(DIM, 2, backend)
    goal = teacher(*graph).detach()
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        loss = (learner(*graph) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.05 * losses[0]
    heir = GraphEncoder(DIM, 2, next(other for other in GraphBackend if other is not backend))
    heir.load_state_dict(learner.state_dict())
    torch.testing.assert_close(heir(*graph), learner(*graph), atol=1e-5, rtol=0.0)


def test_can_be_copied_and_cast(backend: GraphBackend) -> None:
    """The target network and the double-precision one that decides are copies."""
    encoder = GraphEncoder(DIM, 2, backend)
    twin = copy.deepcopy(encoder).double()
    assert twin.backend is backend
    nodes, edges, weights = GRAPHS["a batch"]
    exact = twin(nodes.double(), edges, weights.double())
    torch.testing.assert_close(exact.float(), encoder(nodes, edges, weights), atol=1e-5, rtol=0.0)


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown graph backend 'dlg'; did you mean dgl\?"):
        GraphEncoder(DIM, 1, "dlg")


def test_without_dgl_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dgl", None)
    monkeypatch.setenv("DGLBACKEND", "mine")
    with pytest.raises(InputError, match=r'pip install "unicrs-rl\[dgl\]"') as caught:
        GraphEncoder(DIM, 1, "dgl")
    assert "\n" not in str(caught.value)
    assert os.environ["DGLBACKEND"] == "mine"
    GraphEncoder(DIM, 1)(*GRAPHS["one graph"])


@pytest.mark.parametrize("wanted", ["pyg", "dgl"])
def test_importing_dgl_is_late_and_quiet_and_leaves_the_home_folder_alone(
    wanted: str, tmp_path: Path
) -> None:
    needs_dgl(GraphBackend(wanted))
    code = (
        "import sys, os, unicrs_rl.graphs.encoder as e\n"
        "assert 'dgl' not in sys.modules\n"
        f"e.GraphEncoder(4, 1, {wanted!r})\n"
        f"assert ('dgl' in sys.modules) == ({wanted!r} == 'dgl')\n"
        "assert 'DGLBACKEND' not in os.environ\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DGL")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "DGL" not in done.stderr
    assert not (tmp_path / ".dgl").exists()
