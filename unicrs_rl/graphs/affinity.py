"""How well every item suits a seeker, in several ways: the features of the prior over items.

Notation: ``H`` is what the seeker is known to like, ``X`` the known likes (seekers x items, 0/1), split
by time into *early* ones (the training graph and the conversations of training) and *late* ones (of
conversations held since); ``n_v`` counts the known likes of item ``v``, ``n_u`` those of seeker ``u``;
``c_v`` is the TF-IDF attribute vector of ``v``, of length one. Features of an item ``v``:

- early, late: ``log(1 + early likes of v)``, ``log(1 + late likes of v)``;
- no_early, no_late: 1 where that count is zero (an unknown item is not just a rare one);
- degree: ``log(number of attributes of v)``;
- content, content_squared: the cosine of ``sum of c_h over H`` and ``c_v``, and its square;
- content_nearest: ``max over h of c_h · c_v``;
- attributes: ``sum over attributes a of v of log(p(a | H) / p(a))``, over the root of their number, with
  ``p(a | H)`` shrunk to ``p(a)`` by five likes;
- item_knn, item_knn_late: ``log(1 + 10 sum over h of cos(X_h, X_v))`` over all of ``H``, over its late part;
- user_knn: ``log(1 + 10 sum over u of cos(H, X_u) X_uv)`` over late likes; the cosine weighs items by
  ``1/n_v``: two seekers who share a rare item are more alike;
- walk, walk_late: ``log(p_v + 0.02/items)``; ``p`` is where a random walk of three steps (from a random
  item of ``H`` to one of its seekers to one of their items, all or only late ones) ends;
- ease: ``log(1 + 10 max(0, s_v))``, ``s`` the scores of EASE (Steck, "Embarrassingly Shallow Autoencoders
  for Sparse Data", WWW 2019), see :class:`Ease`;
- friends: ``log(1 + friends of the seeker who like v)``; 0 for a seeker without a known id;
- embedding: ``u · v`` with the folded-in seeker (see :mod:`~unicrs_rl.graphs.embeddings`).

Logarithms, because a softmax adds up what it is given: with weight one they are shares, not scores.
Every number of a row is computed by the same operations whatever else is in the batch, which dense
matrix products would not promise: hence sparse ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg.lapack import dpotrf, dpotri

from unicrs_rl.graphs.catalogue import Catalogue
from unicrs_rl.graphs.embeddings import Embeddings

ITEM_FEATURES = ("early", "late", "no_early", "no_late", "degree")
"""Features that do not depend on the seeker."""

SEEKER_FEATURES = (
    "content",
    "content_squared",
    "content_nearest",
    "attributes",
    "item_knn",
    "item_knn_late",
    "user_knn",
    "walk",
    "walk_late",
    "ease",
    "friends",
    "embedding",
)
"""Features that do."""

FEATURES = ITEM_FEATURES + SEEKER_FEATURES

EASE_LARGEST = 6000
"""Seekers or items, whichever are fewer, above which EASE's matrix is not inverted: the feature is zero."""

EASE_REGULARISATION = 20.0
"""λ of EASE."""

_STRETCH = 10.0  # of sums of similarities within log(1 + x): most are well below one
_RESTART = 0.02  # share of the uniform distribution that a random walk is mixed with
_SHRINKAGE = 5.0  # likes that a profile is worth before it has any
_CHUNK = 512


class Ease:
    """EASE: a linear model of each item's likes by those of all others, in closed form.

    With ``P = (XᵀX + λI)⁻¹`` and ``B_ij = -P_ij / P_jj`` off a zero diagonal, the scores of a history
    ``h`` are ``h B``. Where seekers are fewer than items, ``P = (I - Xᵀ(XXᵀ + λI)⁻¹X) / λ`` (Woodbury)
    saves the inverse of an items x items matrix.

    Args:
        table: known likes ``X``, ``[seekers, items]`` of 0/1.
        regularisation: λ.
    """

    def __init__(self, table: sparse.csr_array, regularisation: float = EASE_REGULARISATION) -> None:
        n_seekers, n_items = table.shape
        self._dual = n_seekers < n_items
        self._table = table
        inverse = _inverse(table if self._dual else sparse.csr_array(table.T), regularisation)
        self._inverse = inverse.astype(np.float32)
        self._own = self._leverage(inverse) if self._dual else np.diag(inverse).copy()

    def _leverage(self, inverse: NDArray[np.float64]) -> NDArray[np.float64]:
        """``x_vᵀ (XXᵀ + λI)⁻¹ x_v`` of each item: ``[items]``; a chunk at a time, as ``X`` is wide."""
        columns = sparse.csr_array(self._table.T)
        parts = [columns[start : start + _CHUNK] for start in range(0, columns.shape[0], _CHUNK)]
        return np.concatenate(
            [np.asarray(part.multiply(part @ inverse).sum(axis=1)).ravel() for part in parts]
        )

    def scores(self, chosen: sparse.csr_array) -> NDArray[np.float64]:
        """Scores of all items, from rows of histories ``[batch, items]`` of 0/1: ``[batch, items]``."""
        if self._dual:
            inner = sparse.csr_array(chosen @ self._table.T) @ self._inverse
            reached = _spread(inner, self._table)
            reached -= chosen.multiply(self._own).toarray()
            scores: NDArray[np.float64] = reached / (1.0 - self._own)
        else:
            scores = chosen.toarray() - (chosen @ self._inverse) / self._own
        return scores


@dataclass(frozen=True)
class Evidence:
    """What the platform knows at some time, and what follows from it for a seeker.

    Args:
        catalogue: of the world.
        embeddings: of its nodes.
        early: likes of the training graph and of training, ``[seekers, items]`` of 0/1.
        late: likes found out since, ``[seekers, items]`` of 0/1, disjoint from ``early``.
        friends: ``[seekers, seekers]`` of 0/1, symmetric.
    """

    catalogue: Catalogue
    embeddings: Embeddings
    early: sparse.csr_array
    late: sparse.csr_array
    friends: sparse.csr_array

    @cached_property
    def likes(self) -> sparse.csr_array:
        """All known likes: ``[seekers, items]`` of 0/1."""
        table = sparse.csr_array(self.early + self.late)
        table.sort_indices()
        table.data[:] = 1.0
        return table

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """Known likes of each item: ``[items]``."""
        return _totals(self.likes, axis=0)

    def liked_by(self, seeker: int) -> tuple[int, ...]:
        """Items that a seeker is known to like, ascending; none for -1."""
        if seeker < 0:
            return ()
        table = self.likes
        return tuple(table.indices[table.indptr[seeker] : table.indptr[seeker + 1]].tolist())

    @cached_property
    def of_items(self) -> NDArray[np.float64]:
        """The features that do not depend on the seeker: ``[items, 5]``."""
        early, late = _totals(self.early, axis=0), _totals(self.late, axis=0)
        degrees = np.log(np.maximum(self._degrees, 1.0))
        return np.stack([np.log1p(early), np.log1p(late), early == 0, late == 0, degrees], axis=1)

    def features(
        self, seekers: Sequence[int], profiles: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float64]]:
        """One ``[items]`` or ``[batch, items]`` for each of :data:`FEATURES`, in their order.

        Args:
            seekers: index of each row's seeker, -1 if unknown.
            profiles: ``H``: items that each is known to like.
        """
        return [*self.of_items.T, *self.of_seekers(seekers, profiles)]

    def of_seekers(
        self, seekers: Sequence[int], profiles: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float64]]:
        """``[batch, items]`` for each of :data:`SEEKER_FEATURES`; arguments as above."""
        chosen = _indicator(profiles, self.catalogue.n_items)
        return [
            *self._by_content(chosen, profiles),
            *self._by_likes(chosen, seekers),
            self._by_friends(seekers),
            self.translation(profiles),
        ]

    def translation(self, profiles: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Feature embedding: ``[batch, items]``."""
        folded = self.embeddings.fold_in(profiles)
        product: NDArray[np.float64] = np.einsum("bd,id->bi", folded, self.embeddings.items)
        return product.astype(np.float64)

    def _by_content(
        self, chosen: sparse.csr_array, profiles: Sequence[Sequence[int]]
    ) -> list[NDArray[np.float64]]:
        """Features content, content_squared, content_nearest, attributes: each ``[batch, items]``."""
        content, transposed = self.catalogue.content, self._content_columns
        profile = sparse.csr_array(chosen @ content)
        norms = np.sqrt(_totals(profile.multiply(profile), axis=1))[:, None]
        cosine = (profile @ transposed).toarray() / np.maximum(norms, 1e-9)
        nearest = np.zeros_like(cosine)
        for row, items in enumerate(profiles):
            alike = sparse.csr_array(content[list(items)] @ transposed)
            np.maximum.at(nearest[row], alike.indices, alike.data)
        return [cosine, cosine**2, nearest, self._by_attributes(chosen)]

    def _by_attributes(self, chosen: sparse.csr_array) -> NDArray[np.float64]:
        """Feature attributes: ``[batch, items]``."""
        owned = self.catalogue.item_attributes
        usual = (self.counts + 1.0) @ owned / (self.counts + 1.0).sum()
        usual = np.maximum(usual, 1e-12)
        sizes = _totals(chosen, axis=1)[:, None]
        counts = (chosen @ owned).toarray()
        lift = np.log((counts + _SHRINKAGE * usual) / (sizes + _SHRINKAGE) / usual)
        return _spread(lift, self.catalogue.attribute_items) / np.sqrt(np.maximum(self._degrees, 1.0))

    def _by_likes(self, chosen: sparse.csr_array, seekers: Sequence[int]) -> list[NDArray[np.float64]]:
        """Features item_knn, item_knn_late, user_knn, walk, walk_late, ease: each ``[batch, items]``."""
        once, roots = 1.0 / np.maximum(self.counts, 1.0), 1.0 / np.sqrt(np.maximum(self.counts, 1.0))
        shared = sparse.csr_array(chosen.multiply(once)) @ self._columns
        alike = shared.toarray() * self._rarity
        alike /= np.maximum(np.sqrt(chosen @ once), 1e-9)[:, None]
        near = _spread(self._near(chosen, roots), self.likes) * roots
        near_late = _spread(self._near(_rows(self.late, seekers), roots), self.likes) * roots
        steps = shared.toarray() / np.maximum(_totals(self.likes, axis=1), 1.0)
        steps /= np.maximum(_totals(chosen, axis=1), 1.0)[:, None]
        floor = _RESTART / self.catalogue.n_items
        return [
            np.log1p(_STRETCH * near),
            np.log1p(_STRETCH * near_late),
            np.log1p(_STRETCH * _spread(alike, self.late)),
            np.log(floor + _spread(steps, self.likes)),
            np.log(floor + _spread(steps, self.late)),
            self._by_ease(chosen),
        ]

    def _near(self, chosen: sparse.csr_array, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """Items of each row counted by the seekers who like them: ``[batch, seekers]``."""
        dense: NDArray[np.float64] = (sparse.csr_array(chosen.multiply(scale)) @ self._columns).toarray()
        return dense

    def _by_ease(self, chosen: sparse.csr_array) -> NDArray[np.float64]:
        if self._ease is None:
            return np.zeros(chosen.shape)
        return np.log1p(_STRETCH * np.maximum(self._ease.scores(chosen), 0.0))

    def _by_friends(self, seekers: Sequence[int]) -> NDArray[np.float64]:
        votes: NDArray[np.float64] = np.log1p((_rows(self.friends, seekers) @ self.likes).toarray())
        return votes

    @cached_property
    def _ease(self) -> Ease | None:
        return Ease(self.likes) if min(self.likes.shape) <= EASE_LARGEST else None

    @cached_property
    def _columns(self) -> sparse.csr_array:
        """Who likes each item: ``[items, seekers]``."""
        return sparse.csr_array(self.likes.T)

    @cached_property
    def _rarity(self) -> NDArray[np.float64]:
        """One over the length of each seeker's row, its items weighted by ``1/n_v``: ``[seekers]``."""
        lengths: NDArray[np.float64] = self.likes @ (1.0 / np.maximum(self.counts, 1.0))
        return 1.0 / np.sqrt(np.maximum(lengths, 1e-9))

    @cached_property
    def _content_columns(self) -> sparse.csr_array:
        return sparse.csr_array(self.catalogue.content.T)

    @cached_property
    def _degrees(self) -> NDArray[np.float64]:
        """Number of attributes of each item: ``[items]``."""
        return np.diff(self.catalogue.item_attributes.indptr).astype(np.float64)


def _inverse(table: sparse.csr_array, regularisation: float) -> NDArray[np.float64]:
    """``(T Tᵀ + λI)⁻¹`` of a table ``T [n, m]``: ``[n, n]``, by Cholesky and in place: ``n`` may be large.

    Raises:
        numpy.linalg.LinAlgError: if λ is not positive and the product is singular.
    """
    n, columns = table.shape[0], sparse.csr_array(table.T)
    gram = np.zeros((n, n))
    for start in range(0, n, _CHUNK):
        gram[start : start + _CHUNK] = (table[start : start + _CHUNK] @ columns).toarray()
    gram[np.diag_indices(n)] += regularisation
    factor, failed = dpotrf(gram.T, lower=1, overwrite_a=1)  # LAPACK counts by columns: hence the transpose
    inverse, failed_too = dpotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise np.linalg.LinAlgError(f"the likes' products are singular with λ = {regularisation}")
    for start in range(0, n, _CHUNK):  # only the lower triangle is filled
        stop = min(start + _CHUNK, n)
        inverse[start:stop, stop:] = inverse[stop:, start:stop].T
        block = np.tril(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = block + np.tril(block, -1).T
    symmetric: NDArray[np.float64] = np.ascontiguousarray(inverse.T)
    return symmetric


def likes_table(pairs: NDArray[np.int64], shape: tuple[int, int]) -> sparse.csr_array:
    """``[seekers, items]`` of 0/1 from (seeker index, item id) pairs ``[n, 2]``, which may repeat."""
    table = sparse.csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=shape)
    table.sum_duplicates()
    table.sort_indices()
    table.data[:] = 1.0
    return table


def _indicator(profiles: Sequence[Sequence[int]], n_items: int) -> sparse.csr_array:
    """``[batch, items]`` of 0/1."""
    rows = np.repeat(np.arange(len(profiles)), [len(profile) for profile in profiles])
    items = np.concatenate([np.asarray(profile, dtype=np.int64) for profile in profiles])
    return likes_table(np.stack([rows, items], axis=1), (len(profiles), n_items))


def _rows(table: sparse.csr_array, seekers: Sequence[int]) -> sparse.csr_array:
    """The rows of seekers, empty for -1: ``[batch, columns]``."""
    index = np.asarray(seekers, dtype=np.int64)
    known = sparse.diags_array((index >= 0).astype(np.float64))
    return sparse.csr_array(known @ table[np.maximum(index, 0)])


def _spread(values: NDArray[np.floating], table: sparse.csr_array) -> NDArray[np.float64]:
    """The product of dense rows ``[batch, n]`` and a sparse table ``[n, items]``: ``[batch, items]``."""
    product: NDArray[np.float64] = (sparse.csr_array(values) @ table).toarray()
    return product


def _totals(table: sparse.csr_array, axis: int) -> NDArray[np.float64]:
    return np.asarray(table.sum(axis=axis), dtype=np.float64).ravel()
