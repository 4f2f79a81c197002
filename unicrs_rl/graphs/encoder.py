"""Graph encoder: node vectors that know their neighbourhood."""

from __future__ import annotations

import torch
from torch import nn
from torch_geometric.nn import GCNConv


class GraphEncoder(nn.Module):
    """Graph convolutions (Kipf and Welling, ICLR 2017) with residual connections.

    ``h' = h + ReLU(A h W)`` with the symmetrically normalised weighted adjacency ``A`` including
    self-loops, for each layer.

    Args:
        dim: width of a node vector.
        layers: number of convolutions.
    """

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(GCNConv(dim, dim) for _ in range(layers))

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Encode a block-diagonal batch of graphs.

        Args:
            nodes: ``[nodes, dim]``.
            edges: ``[2, edges]`` of (from, to), both directions listed.
            weights: ``[edges]``, not negative.

        Returns:
            ``[nodes, dim]``.
        """
        for convolution in self.convolutions:
            nodes = nodes + torch.relu(convolution(nodes, edges, weights))
        return nodes
