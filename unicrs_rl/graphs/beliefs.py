"""Forms a policy's states from what was read of a dialogue: the same for every arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.dialogue import State
from unicrs_rl.graphs.belief import Belief
from unicrs_rl.graphs.candidates import Lister, Switches
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.states import Past, States


@dataclass(frozen=True)
class Beliefs:
    """Forms the states of a batch from what is known.

    Args:
        catalogue: of the world.
        switches: how answers are believed and questions ranked.
        k: how many items and questions are listed, at least the slate.
        slate: how many items a recommendation shows.
        embeddings: for ``penalty``.
    """

    catalogue: Catalogue
    switches: Switches = field(default_factory=Switches)
    k: int = 10
    slate: int = 10
    embeddings: Embeddings | None = None

    def states(self, rows: Sequence[State], log_prior: NDArray[np.float64]) -> States:
        """The states of a batch, from the prior of each conversation, ``[batch, items]``."""
        switches = self.switches
        belief = Belief(
            self.catalogue,
            log_prior.copy(),
            switches.reject,
            embeddings=self.embeddings,
            noise=switches.noise,
        )
        for index, row in enumerate(rows):
            belief.update(index, row.preferences, switches.volunteered)
        weights = belief.weights()
        batch, items = np.nonzero(weights)
        offsets = np.searchsorted(batch, np.arange(len(rows) + 1))
        return self._lister.states(
            Past.of(rows, self.catalogue.n_items),
            offsets,
            items.astype(np.int32),
            weights[batch, items],
            linear=True,
            rows=tuple(rows),
        )

    @cached_property
    def _lister(self) -> Lister:
        return Lister(self.catalogue, self.switches, self.k, self.slate)
