"""What is believed about the target: a score for every item, updated by every answer.

Two readings of a score ``s``:

- *posterior* (default): ``s`` is a log-probability; weights are ``softmax(s)`` over the candidates,
  the exact posterior when answers are truthful and a "no" filters.
- *unicorn*: the reference code's arithmetic, ``s(v) = u·v + sum of v·p over accepted p - sum of
  sigmoid(v·p) over rejected p that v has``; weights are ``sigmoid(s)``, divided by their sum.

What a "no" does to the candidates is a switch, :class:`Reject`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from unicrs_rl.dialogue import Preferences, State
from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings

EXCLUDED = -1e9
"""Log-score of an item that is out of the question, such as one of the seeker's history."""


class Reject(StrEnum):
    """What a rejected attribute does to the candidate items."""

    FILTER = "filter"
    """Items that have it are no candidates any more (default; what a truthful "no" means)."""
    PENALTY = "penalty"
    """Nothing is removed; items that have it lose ``sigmoid(v·p)`` of score (UNICORN's code)."""
    NONE = "none"
    """Nothing happens; the question is merely not asked again (SCPR)."""


class Scoring(StrEnum):
    """How scores become weights; see the module's docstring."""

    POSTERIOR = "posterior"
    UNICORN = "unicorn"


class Belief:
    """Beliefs of a batch of conversations.

    Args:
        catalogue: of the world.
        scores: ``[batch, items]`` at the start; kept and changed in place.
        reject: what a "no" does.
        scoring: how scores become weights.
        embeddings: needed by ``unicorn`` scoring and by ``penalty``.

    Attributes:
        candidates: ``[batch, items]`` of bool.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        scores: NDArray[np.float64],
        reject: Reject = Reject.FILTER,
        scoring: Scoring = Scoring.POSTERIOR,
        embeddings: Embeddings | None = None,
    ) -> None:
        if embeddings is None and (scoring is Scoring.UNICORN or reject is Reject.PENALTY):
            raise ValueError("unicorn scoring and penalties need embeddings")
        self.catalogue = catalogue
        self.scores = scores
        self.candidates = scores > EXCLUDED / 2
        self.reject = reject
        self.scoring = scoring
        self._embeddings = embeddings

    def __len__(self) -> int:
        return len(self.scores)

    def accept(self, row: int, attribute: int) -> None:
        """The seeker wants this attribute: only items that have it stay."""
        owners = self.catalogue.items_with(attribute)
        kept = np.zeros(self.catalogue.n_items, dtype=bool)
        kept[owners] = self.candidates[row, owners]
        self.candidates[row] = kept
        if self.scoring is Scoring.UNICORN:
            self.scores[row] += self._affinity(attribute)

    def decline(self, row: int, attribute: int) -> None:
        """The seeker does not want this attribute."""
        owners = self.catalogue.items_with(attribute)
        if self.reject is Reject.FILTER:
            self.candidates[row, owners] = False
        elif self.reject is Reject.PENALTY:
            self.scores[row, owners] -= expit(self._affinity(attribute)[owners])

    def remove(self, row: int, items: Iterable[int]) -> None:
        """These items were recommended and turned down."""
        self.candidates[row, list(items)] = False

    def update(self, row: int, known: Preferences) -> None:
        """Apply all that is known of a conversation at once.

        Where the answers contradict each other (no candidate is left), the items that were not
        turned down are ranked by how many answers they agree with instead.
        """
        for attribute in known.liked:
            self.accept(row, attribute)
        for attribute in known.disliked:
            self.decline(row, attribute)
        self.remove(row, known.rejected_items)
        if not self.candidates[row].any():
            self._reconcile(row, known)

    def weights(self, rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Probabilities over the items: ``[rows, items]``; rows sum to one, or are all zero."""
        candidates, scores = self.candidates[rows], self.scores[rows]
        if self.scoring is Scoring.UNICORN:
            weights = np.where(candidates, expit(scores), 0.0)
        else:
            scores = np.where(candidates, scores, -np.inf)
            top = scores.max(axis=1, keepdims=True, initial=-1e300)
            weights = np.exp(scores - top)
        total = weights.sum(axis=1, keepdims=True)
        normal: NDArray[np.float64] = weights / np.where(total > 0, total, 1.0)
        return normal

    def _affinity(self, attribute: int) -> NDArray[np.float64]:
        """``v·p`` for every item ``v``: ``[items]``."""
        assert self._embeddings is not None
        product: NDArray[np.float64] = (
            self._embeddings.items @ self._embeddings.attributes[attribute]
        ).astype(np.float64)
        return product

    def _reconcile(self, row: int, known: Preferences) -> None:
        agreement = np.zeros(self.catalogue.n_items)
        for attribute in known.liked:
            agreement[self.catalogue.items_with(attribute)] += 1.0
        for attribute in known.disliked:
            agreement[self.catalogue.items_with(attribute)] -= 1.0
        self.candidates[row] = self.scores[row] > EXCLUDED / 2
        self.remove(row, known.rejected_items)
        self.scores[row] += _PER_ANSWER * agreement


_PER_ANSWER = 5.0  # log-odds by which one answer outweighs the prior when answers contradict


def top_items(weights: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The ``k`` heaviest items of each row, heaviest first, ties by id; -1 where none is left.

    Args:
        weights: ``[batch, items]``.

    Returns:
        ``[batch, k]``.
    """
    k_found = min(k, weights.shape[1])
    order = _partial_order(weights, k_found)
    order[np.take_along_axis(weights, order, axis=1) <= 0] = -1
    if k_found < k:
        order = np.pad(order, ((0, 0), (0, k - k_found)), constant_values=-1)
    return order


def _partial_order(weights: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Indices of the ``k`` largest of each row, ordered by (-weight, index)."""
    n = weights.shape[1]
    pool = min(n, 4 * k + 16)
    rough = np.sort(np.argpartition(-weights, pool - 1, axis=1)[:, :pool], axis=1)
    values = np.take_along_axis(weights, rough, axis=1)
    best = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(rough, best, axis=1).astype(np.int64)


def attribute_mass(catalogue: Catalogue, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that the target has each attribute: ``[batch, attributes]``, from ``[batch, items]``."""
    mass: NDArray[np.float64] = catalogue.attribute_items.dot(weights.T).T
    return np.clip(mass, 0.0, 1.0)


def binary_entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in bits of a yes/no answer with probability ``p`` of yes; 0 at 0 and 1."""
    inside = np.clip(p, 1e-12, 1.0 - 1e-12)
    entropy = -inside * np.log2(inside) - (1.0 - inside) * np.log2(1.0 - inside)
    return np.where((p <= 0.0) | (p >= 1.0), 0.0, entropy)


@dataclass(frozen=True)
class States:
    """The batch a policy decides on: what each conversation shows, and what it makes one believe.

    Attributes:
        rows: what is known of each conversation.
        weights: posterior over items, ``[batch, items]``.
        items: the heaviest items, ``[batch, K]``, -1 where none is left.
        item_weights: their posterior, ``[batch, K]``.
        attributes: the most informative open questions, ``[batch, K]``, -1 where none is left.
        entropies: their weighted entropies in bits, ``[batch, K]``.
        masses: probability of a yes to each, ``[batch, K]``.
        slate: how many of the items a recommendation shows.
    """

    rows: tuple[State, ...]
    catalogue: Catalogue
    weights: NDArray[np.float64]
    items: NDArray[np.int64]
    item_weights: NDArray[np.float64]
    attributes: NDArray[np.int64]
    entropies: NDArray[np.float64]
    masses: NDArray[np.float64]
    slate: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Posterior mass of the items that a recommendation would show: ``[batch]``."""
        mass: NDArray[np.float64] = np.minimum(self.item_weights[:, : self.slate].sum(axis=1), 1.0)
        return mass


@dataclass(frozen=True)
class Beliefs:
    """Forms the states of a batch from what is known: the same for every arm.

    Args:
        catalogue: of the world.
        reject: what a "no" does.
        k: how many items and questions are listed, at least the slate.
        slate: how many items a recommendation shows.
        embeddings: for ``penalty``.
    """

    catalogue: Catalogue
    reject: Reject = Reject.FILTER
    k: int = 10
    slate: int = 10
    embeddings: Embeddings | None = None

    def states(self, rows: Sequence[State], log_prior: NDArray[np.float64]) -> States:
        """The states of a batch, from the prior of each conversation, ``[batch, items]``."""
        belief = Belief(self.catalogue, log_prior.copy(), self.reject, embeddings=self.embeddings)
        for index, row in enumerate(rows):
            belief.update(index, row.preferences)
        weights = belief.weights()
        items = top_items(weights, self.k)
        attributes, masses = self._questions(rows, weights)
        return States(
            rows=tuple(rows),
            catalogue=self.catalogue,
            weights=weights,
            items=items,
            item_weights=_take(weights, items),
            attributes=attributes,
            entropies=binary_entropy(masses),
            masses=masses,
            slate=self.slate,
        )

    def _questions(
        self, rows: Sequence[State], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The open questions of highest entropy and the probability of a yes to each: two ``[batch, K]``.

        Entropy falls with the distance of that probability from one half, which is cheaper.
        """
        askable = self.catalogue.askable
        mass = np.round(np.clip(self.catalogue.askable_items.dot(weights.T).T, 0.0, 1.0), 12)
        promise = 0.5 - np.abs(mass - 0.5)
        place = np.full(self.catalogue.n_attributes, -1)
        place[askable] = np.arange(len(askable))
        for index, row in enumerate(rows):
            closed = place[list(row.asked)]
            promise[index, closed[closed >= 0]] = 0.0
        best = top_items(promise, self.k)
        return np.where(best >= 0, askable[np.maximum(best, 0)], -1), _take(mass, best)


def _take(values: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values at the listed columns of each row; 0 where the column is -1."""
    taken = np.take_along_axis(values, np.maximum(columns, 0), axis=1)
    return np.where(columns >= 0, taken, 0.0)
