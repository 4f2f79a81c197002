"""What a seeker with this history may want before a word is said: a prior over items.

The prior is a softmax over a weighted sum of four features of an item ``v`` for a history ``H``,
all computed from the training graph and the catalogue:

- popularity: ``log(1 + likes of v)``;
- neighbours: mean over ``h`` in ``H`` of the cosine of the columns of ``v`` and ``h`` in the likes;
- content: cosine of the summed TF-IDF attribute vectors of ``H`` with that of ``v``;
- embedding: dot product of the folded-in seeker and ``v`` (see :mod:`~unicrs_rl.graphs.embeddings`).

The four weights are fitted by maximum likelihood on the *valid* split, never on test. Items of the
history are excluded: nobody asks for what they already have.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

from unicrs_rl.graphs.belief import EXCLUDED
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Split, World

FEATURES = ("popularity", "neighbours", "content", "embedding")
_FIT_SESSIONS = 400
_RIDGE = 1e-2
_DECIMALS = 9  # matrix products differ in the last bits with the batch size; decisions must not


class PriorKind(StrEnum):
    """Where a conversation starts from."""

    FITTED = "fitted"
    """The blend of this module's docstring."""
    UNIFORM = "uniform"
    """Every item is equally likely."""


class Prior:
    """Scores all items for a batch of histories.

    Args:
        world: its training graph and catalogue are used.
        embeddings: for the embedding feature.
        kind: ``uniform`` sets all weights to zero.
    """

    def __init__(self, world: World, embeddings: Embeddings, kind: PriorKind = PriorKind.FITTED) -> None:
        self._embeddings = embeddings
        counts = np.asarray(world.interactions.sum(axis=0)).ravel()
        self._popularity = np.log1p(counts) / max(np.log1p(counts).std(), 1e-9)
        self._neighbours = _unit_columns(world.interactions)
        self._content = world.catalogue.content
        self._n_items = world.catalogue.n_items
        self.weights: NDArray[np.float64] = np.zeros(len(FEATURES))
        if kind is PriorKind.FITTED:
            self.weights = self._fit(world)

    def log_scores(self, histories: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Log-probabilities: ``[batch, items]``; history items get :data:`EXCLUDED`."""
        scores = self.features(histories) @ self.weights
        for row, history in enumerate(histories):
            scores[row, list(history)] = EXCLUDED
        normal: NDArray[np.float64] = np.round(log_softmax(scores, axis=1), _DECIMALS)
        return np.maximum(normal, EXCLUDED)

    def features(self, histories: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """``[batch, items, features]``, in the order of :data:`FEATURES`."""
        chosen = _indicator(histories, self._n_items)
        sizes = np.maximum(np.asarray(chosen.sum(axis=1)).ravel(), 1.0)[:, None]
        co_liked = (chosen @ self._neighbours.T) @ self._neighbours
        profile = chosen @ self._content
        norm = np.sqrt(np.asarray(profile.multiply(profile).sum(axis=1)).ravel())[:, None]
        folded = self._embeddings.fold_in(histories).astype(np.float64)
        features = np.empty((len(histories), self._n_items, len(FEATURES)))
        features[..., 0] = self._popularity
        features[..., 1] = 10.0 * co_liked.toarray() / sizes
        features[..., 2] = 5.0 * (profile @ self._content.T).toarray() / np.maximum(norm, 1e-9)
        features[..., 3] = folded @ self._embeddings.items.T.astype(np.float64)
        return features

    def _fit(self, world: World) -> NDArray[np.float64]:
        """Weights that make the targets of the valid split most likely."""
        available = len(world.targets[Split.VALID])
        if not available:
            return np.array([1.0, 0.0, 0.0, 0.0])
        sessions = world.sessions(Split.VALID, min(available, _FIT_SESSIONS), seed=0)
        histories = [session.history for session in sessions]
        features = self.features(histories).astype(np.float32)
        allowed = np.zeros(features.shape[:2])
        for row, history in enumerate(histories):
            allowed[row, list(history)] = EXCLUDED
        rows, targets = np.arange(len(sessions)), [session.target for session in sessions]

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            scores = features @ weights + allowed
            log_p = scores - logsumexp(scores, axis=1, keepdims=True)
            gap = np.exp(log_p)
            gap[rows, targets] -= 1.0
            gradient = np.einsum("bi,bif->f", gap, features) / len(rows)
            value = -log_p[rows, targets].mean() + _RIDGE * (weights**2).sum()
            return float(value), gradient + 2 * _RIDGE * weights

        start = np.array([0.5, 0.1, 0.1, 0.1])
        fitted: NDArray[np.float64] = minimize(loss, start, jac=True, method="L-BFGS-B").x
        return np.round(fitted, 6)


def _indicator(histories: Sequence[Sequence[int]], n_items: int) -> sparse.csr_array:
    """``[batch, items]`` of 0/1."""
    rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    items = np.concatenate([np.asarray(h, dtype=np.int64) for h in histories]) if len(rows) else rows
    return sparse.csr_array((np.ones(len(rows)), (rows, items)), shape=(len(histories), n_items))


def _unit_columns(table: sparse.csr_array) -> sparse.csr_array:
    """A table with every column scaled to length one (empty columns stay empty)."""
    norms = np.sqrt(np.asarray(table.multiply(table).sum(axis=0)).ravel())
    scale = sparse.diags_array(1.0 / np.maximum(norms, 1.0))
    return sparse.csr_array(table @ scale)
