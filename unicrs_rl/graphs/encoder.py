"""Graph encoder: node vectors that know their neighbourhood.

For each layer, ``h' = h + ReLU(A h W + b)`` (graph convolutions of Kipf and Welling, ICLR 2017, with
residual connections), where ``A = D^-1/2 (S + I) D^-1/2`` is the symmetrically normalised weighted
adjacency with self-loops, ``S`` the weights of the edges, and ``D`` the row sums of ``S + I``.

PyTorch Geometric or DGL sums over the neighbours; the weights are the same, under the same names, so
that what was trained with one loads into the other. What does not differ between the layers is computed
once: the normalisation, and that self-loops need no edges, because they multiply each node's own vector.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import torch
from torch import nn
from torch_geometric.nn import GCNConv

from unicrs_rl.errors import InputError, unknown


class GraphBackend(StrEnum):
    """Which library passes messages along the edges. Results agree to 1e-5."""

    PYG = "pyg"
    """PyTorch Geometric (default)."""
    DGL = "dgl"
    """The Deep Graph Library, on the CPU; an extra: ``pip install "unicrs-rl[dgl]"``."""


class GraphEncoder(nn.Module):
    """Graph convolutions with residual connections; see the module's docstring.

    Args:
        dim: width of a node vector.
        layers: number of convolutions.
        backend: which library passes messages; no part of the state dict.

    Raises:
        InputError: if the backend is unknown or not installed.
    """

    def __init__(self, dim: int, layers: int, backend: GraphBackend | str = GraphBackend.PYG) -> None:
        super().__init__()
        if backend not in _PASSES:
            raise unknown("graph backend", backend, _PASSES)
        self.backend = GraphBackend(backend)
        if self.backend is GraphBackend.DGL:
            _import_dgl()
        self.convolutions = nn.ModuleList(GCNConv(dim, dim, normalize=False) for _ in range(layers))

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Encode a block-diagonal batch of graphs.

        Args:
            nodes: ``[nodes, dim]``.
            edges: ``[2, edges]`` of (from, to), both directions listed. An edge from a node to itself
                adds to its self-loop.
            weights: ``[edges]``, not negative.

        Returns:
            ``[nodes, dim]``.
        """
        scale = weights.new_ones(len(nodes)).index_add(0, edges[1], weights).rsqrt()
        loops = scale.square()[:, None]
        gather = _PASSES[self.backend](len(nodes), edges, scale[edges[0]] * weights * scale[edges[1]])
        convolution: GCNConv
        for convolution in self.convolutions:
            hidden = convolution.lin(nodes)
            around = gather(convolution, hidden) + loops * hidden
            nodes = nodes + torch.relu(around + convolution.bias)
        return nodes


_Gather = Callable[[GCNConv, torch.Tensor], torch.Tensor]
"""(convolution, vectors ``[nodes, dim]``) -> for each node its neighbours' weighted sum ``[nodes, dim]``."""


def _pass_by_pyg(_count: int, edges: torch.Tensor, weights: torch.Tensor) -> _Gather:
    def gather(convolution: GCNConv, hidden: torch.Tensor) -> torch.Tensor:
        around: torch.Tensor = convolution.propagate(edges, x=hidden, edge_weight=weights)
        return around

    return gather


def _pass_by_dgl(count: int, edges: torch.Tensor, weights: torch.Tensor) -> _Gather:
    dgl = _import_dgl()
    graph = dgl.graph((edges[0], edges[1]), num_nodes=count)
    graph.edata["weight"] = weights[:, None]
    message = dgl.function.u_mul_e("hidden", "weight", "message")
    total = dgl.function.sum("message", "around")

    def gather(_convolution: GCNConv, hidden: torch.Tensor) -> torch.Tensor:
        graph.ndata["hidden"] = hidden
        graph.update_all(message, total)
        around: torch.Tensor = graph.ndata["around"]
        return around

    return gather


_PASSES = {GraphBackend.PYG: _pass_by_pyg, GraphBackend.DGL: _pass_by_dgl}


def _import_dgl() -> Any:
    """The module ``dgl``.

    Without ``DGLBACKEND``, its first import writes a file into the home folder and prints.

    Raises:
        InputError: if it is missing or does not load.
    """
    before = os.environ.get("DGLBACKEND")
    os.environ["DGLBACKEND"] = "pytorch"
    try:
        import dgl
    except (ImportError, OSError) as error:
        raise InputError(
            f"the graph backend 'dgl' needs DGL 1.1.3, which cannot be imported ({error}); install it "
            "on Python 3.11 with: pip install \"unicrs-rl[dgl]\", or use the graph backend 'pyg'"
        ) from error
    finally:
        if before is None:
            del os.environ["DGLBACKEND"]
        else:
            os.environ["DGLBACKEND"] = before
    return dgl
