"""What is believed about the target: a score for every item, updated by every answer.

Two readings of a score ``s``:

- *posterior* (default): ``s`` is a log-probability; weights are ``softmax(s)`` over the candidates,
  the exact posterior when answers are truthful and a "no" filters.
- *unicorn*: the reference code's arithmetic, ``s(v) = u·v + sum of v·p over accepted p - sum of
  sigmoid(v·p) over rejected p that v has``; weights are ``sigmoid(s)``, divided by their sum.

What a "no" does to the candidates is a switch, :class:`Reject`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from unicrs_rl.dialogue import Preferences
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
    NOISY = "noisy"
    """Answers may be wrong: a "no" weighs items that have it by the chance of a flipped answer, a "yes"
    those that have it not. Nothing is certain, so nothing is removed."""


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
        noise: chance that an answer is flipped, for ``noisy``.

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
        noise: float = 0.0,
    ) -> None:
        if embeddings is None and (scoring is Scoring.UNICORN or reject is Reject.PENALTY):
            raise ValueError("unicorn scoring and penalties need embeddings")
        if reject is Reject.NOISY and (scoring is Scoring.UNICORN or not 0.0 < noise < 0.5):
            raise ValueError("noisy answers need posterior scoring and a noise between 0 and one half")
        self.catalogue = catalogue
        self.scores = scores
        self.candidates = scores > EXCLUDED / 2
        self.reject = reject
        self.scoring = scoring
        self._embeddings = embeddings
        self._odds = np.log(noise) - np.log1p(-noise) if reject is Reject.NOISY else 0.0

    def __len__(self) -> int:
        return len(self.scores)

    def accept(self, row: int, attribute: int) -> None:
        """The seeker wants this attribute: only items that have it stay."""
        if self.reject is Reject.NOISY:
            self.scores[row] += self._odds
            self.scores[row, self.catalogue.items_with(attribute)] -= self._odds
        else:
            self._keep_owners(row, attribute)

    def decline(self, row: int, attribute: int) -> None:
        """The seeker does not want this attribute."""
        owners = self.catalogue.items_with(attribute)
        if self.reject is Reject.FILTER:
            self.candidates[row, owners] = False
        elif self.reject is Reject.PENALTY:
            self.scores[row, owners] -= expit(self._affinity(attribute)[owners])
        elif self.reject is Reject.NOISY:
            self.scores[row, owners] += self._odds

    def remove(self, row: int, items: Iterable[int]) -> None:
        """These items were recommended and turned down."""
        self.candidates[row, list(items)] = False

    def volunteer(self, row: int, attribute: int, weigh: bool) -> None:
        """The seeker began with this attribute, which is never a slip.

        Args:
            weigh: by the chance that the seeker of an item volunteers just this of its attributes.
        """
        self._keep_owners(row, attribute)
        if weigh:
            self.scores[row] -= np.log(np.maximum(np.diff(self.catalogue.item_attributes.indptr), 1))

    def update(self, row: int, known: Preferences, weigh: bool = False) -> None:
        """Apply all that is known of a conversation at once, the volunteered attribute first.

        Where the answers contradict each other (no candidate is left), the items that were not
        turned down are ranked by how many answers they agree with instead.
        """
        if known.liked:
            self.volunteer(row, known.liked[0], weigh)
        for attribute in known.liked[1:]:
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

    def _keep_owners(self, row: int, attribute: int) -> None:
        """Only items that have the attribute stay; UNICORN's scores rise by their affinity to it."""
        owners = self.catalogue.items_with(attribute)
        kept = np.zeros(self.catalogue.n_items, dtype=bool)
        kept[owners] = self.candidates[row, owners]
        self.candidates[row] = kept
        if self.scoring is Scoring.UNICORN:
            self.scores[row] += self._affinity(attribute)

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
    least = np.partition(weights, -k, axis=1)[:, -k, None]
    above, equal = weights > least, weights == least
    chosen = above | (equal & (np.cumsum(equal, axis=1) <= k - above.sum(axis=1, keepdims=True)))
    ids = np.nonzero(chosen)[1].reshape(len(weights), k)
    order = np.argsort(-np.take_along_axis(weights, ids, axis=1), axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1).astype(np.int64)


def attribute_mass(catalogue: Catalogue, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability that the target has each attribute: ``[batch, attributes]``, from ``[batch, items]``."""
    mass: NDArray[np.float64] = catalogue.attribute_items.dot(weights.T).T
    return np.clip(mass, 0.0, 1.0)


def binary_entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in bits of a yes/no answer with probability ``p`` of yes; 0 at 0 and 1."""
    inside = np.clip(p, 1e-12, 1.0 - 1e-12)
    entropy = -inside * np.log2(inside) - (1.0 - inside) * np.log2(1.0 - inside)
    return np.where((p <= 0.0) | (p >= 1.0), 0.0, entropy)
