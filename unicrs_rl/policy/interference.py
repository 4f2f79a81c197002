"""Whether acts and strategies pull a shared encoder the same way.

A joint policy has a head for candidates (whether and what) and one for strategies (how) on one trunk, and
one loss. What reaches the trunk's parameters ``theta`` is the sum of what comes back through each head,

``g_acts = (dL/dA)(dA/dtheta)``, ``g_strategies = (dL/dB)(dB/dtheta)``

with ``A`` and ``B`` the outputs of the heads; interference is the cosine of the two (as in Yu et al.,
"Gradient surgery for multi-task learning", NeurIPS 2020): below 0 they work against each other, at 0 each
has parameters of its own. What comes back through a value head is the state's, and left out of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

_DIGITS = 6


class Interference:
    """The cosines of a training, one every so many gradient steps.

    Measuring reads gradients and leaves none behind: training goes on as if it had not been done.

    Args:
        every: gradient steps between two measurements; 0: none is made.

    Attributes:
        series: of each measurement, the gradient steps before it and the cosine.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.series: list[tuple[int, float]] = []
        self._told = 0

    def look(
        self,
        step: int,
        loss: torch.Tensor,
        acts: torch.Tensor,
        manners: torch.Tensor,
        shared: Sequence[torch.Tensor],
    ) -> None:
        """Measure, if it is time.

        Args:
            step: gradient steps so far.
            loss: that is about to be descended on.
            acts, manners: outputs of the heads that the loss was computed from.
            shared: parameters under both heads.
        """
        if not self.every or step % self.every or (self.series and self.series[-1][0] == step):
            return
        found = cosine(loss, acts, manners, shared)
        if found is not None:
            self.series.append((step, round(found, _DIGITS)))

    def news(self) -> dict[str, float]:
        """For the learning curves: the mean of what was measured since the last call, if anything was."""
        found = [cosine for _, cosine in self.series[self._told :]]
        self._told = len(self.series)
        return {"interference": sum(found) / len(found)} if found else {}

    def take_up(self, series: Sequence[Sequence[float]]) -> None:
        """Go on from the series of a checkpoint."""
        self.series = [(int(step), cosine) for step, cosine in series]
        self._told = len(self.series)


def cosine(
    loss: torch.Tensor, acts: torch.Tensor, manners: torch.Tensor, shared: Sequence[torch.Tensor]
) -> float | None:
    """Cosine between what comes back to shared parameters through two heads; ``None`` where one is silent."""
    sides = []
    heads = acts, manners
    for head, pull in zip(heads, _pulls(loss, heads), strict=True):
        if pull is None:
            return None
        pairs = zip(_pulls(head, shared, pull), shared, strict=True)
        sides.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]))
    one, other = (side.double() for side in sides)
    norms = float(one.norm() * other.norm())
    return float(one @ other) / norms if norms > 0 else None


def _pulls(
    output: torch.Tensor, inputs: Sequence[torch.Tensor], pull: torch.Tensor | None = None
) -> Sequence[torch.Tensor | None]:
    """What comes back from an output to inputs, ``None`` where nothing does; the graph stays."""
    return torch.autograd.grad(output, inputs, pull, retain_graph=True, allow_unused=True)
