"""What a seeker may want before a word is said: a prior over items, from what the platform knows.

The default is a softmax over a weighted sum of the features of :mod:`~unicrs_rl.graphs.affinity`. The
weights are fitted by maximum likelihood on the *valid* split, never on test.

What is known depends on when a conversation is held. Where splits are by interaction, a test
conversation comes after all of valid, so what those were about is known by then: in LastFM the likes
of valid say far more about those of test than the likes of train do. To learn what they are worth, and
to be as honest in a valid conversation, the pairs of valid are dealt into folds: the conversation about
a pair of one fold knows the pairs of the others only. A training conversation knows the training graph
and valid, but not what training conversations are about. Where splits are by seeker, all
conversations know the training graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import log_softmax

from unicrs_rl import draws
from unicrs_rl.graphs.affinity import FEATURES, SEEKER_FEATURES, Evidence, likes_table
from unicrs_rl.graphs.belief import EXCLUDED
from unicrs_rl.graphs.embeddings import Embeddings
from unicrs_rl.graphs.world import Session, Split, World

__all__ = ["EXCLUDED", "FEATURES", "FOLDS", "Prior", "PriorKind"]

FOLDS = 3
"""Parts of the valid split, each scored without itself."""

_FIT_SESSIONS = 800
_FIT_BYTES = 100_000_000  # of features; a large catalogue is fitted on fewer sessions
_CACHE_BYTES = 100_000_000  # rows kept: on LastFM all seekers of one split and a sample of another
_NEWTON_STEPS = 30
_ENOUGH = 1e-4  # log-likelihood per session: a step that gains less is the last
_CHUNK = 16  # sessions whose features are held at once

_View = tuple[Split, int]
"""A time: the split, and the fold of valid that is left out (-1: none)."""

_Key = tuple[_View, int, tuple[int, ...]]
"""What a row depends on: the view, the seeker's index (-1: unknown) and the history."""


class PriorKind(StrEnum):
    """Where a conversation starts from."""

    FITTED = "fitted"
    """The blend of this module's docstring."""
    UNIFORM = "uniform"
    """Every item is equally likely."""
    POPULARITY = "popularity"
    """In proportion to one plus the known likes of an item."""
    TRANSE = "transe"
    """As in UNICORN: softmax of ``u · v`` with TransE's vectors, the seeker folded in from the history."""


class Prior:
    """Scores all items for a batch of conversations about to begin.

    Args:
        world: what is known of its seekers and items.
        embeddings: for the embedding feature and ``transe``.
        kind: what the scores are made of.
        exclude_history: whether what the seeker is known to like is out of the question.

    Attributes:
        weights: of each of :data:`FEATURES`; zero unless fitted.
    """

    def __init__(
        self,
        world: World,
        embeddings: Embeddings,
        kind: PriorKind = PriorKind.FITTED,
        exclude_history: bool = True,
    ) -> None:
        self._world = world
        self._embeddings = embeddings
        self._kind = kind
        self._exclude_history = exclude_history
        self._evidence: dict[_View, Evidence] = {}
        self._rows: dict[_Key, NDArray[np.float32]] = {}
        self._capacity = max(1, _CACHE_BYTES // (4 * world.catalogue.n_items))
        shape = (len(world.seekers), len(world.seekers))
        both = np.concatenate([world.friends, world.friends[:, ::-1]])
        self._friends = likes_table(both, shape)
        self.weights: NDArray[np.float64] = np.zeros(len(FEATURES))
        if kind is PriorKind.FITTED:
            self.weights = self._fit()

    def log_scores(self, sessions: Sequence[Session]) -> NDArray[np.float64]:
        """Log-probabilities: ``[batch, items]``; what is excluded gets :data:`EXCLUDED`.

        A row depends on the session alone, to the last bit. Rows are kept for the next call.
        """
        places = self._world.places
        keys = [
            (view, places.get(session.seeker, -1), session.history)
            for view, session in zip(self._views(sessions), sessions, strict=True)
        ]
        missing = list(dict.fromkeys(key for key in keys if key not in self._rows))
        fresh: dict[_Key, NDArray[np.float32]] = {}
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            for view in dict.fromkeys(key[0] for key in chunk):
                mine = [key for key in chunk if key[0] == view]
                rows = self._score(view, [key[1] for key in mine], [key[2] for key in mine])
                fresh.update(zip(mine, rows, strict=True))
        scores = np.empty((len(sessions), self._world.catalogue.n_items))
        for row, key in enumerate(keys):
            scores[row] = fresh[key] if key in fresh else self._rows[key]
        self._keep(fresh)
        return scores

    def remember(
        self, sessions: Sequence[Session], progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Compute the rows of these sessions ahead of time, as far as they can be kept together.

        Args:
            progress: told of (sessions done, sessions).
        """
        if len({(session.split, session.seeker, session.history) for session in sessions}) > self._capacity:
            return
        for start in range(0, len(sessions), _CHUNK):
            self.log_scores(sessions[start : start + _CHUNK])
            progress(min(start + _CHUNK, len(sessions)), len(sessions))

    def _keep(self, fresh: dict[_Key, NDArray[np.float32]]) -> None:
        """Remember rows, oldest out first."""
        for key, row in fresh.items():
            while len(self._rows) >= self._capacity:
                del self._rows[next(iter(self._rows))]
            self._rows[key] = row

    def _score(
        self, view: _View, seekers: Sequence[int], histories: Sequence[tuple[int, ...]]
    ) -> NDArray[np.float32]:
        """Rows of one view: ``[batch, items]``."""
        evidence = self._known(view)
        profiles = [_profile(evidence, *row) for row in zip(seekers, histories, strict=True)]
        scores = np.zeros((len(seekers), self._world.catalogue.n_items))
        if self._kind is PriorKind.FITTED:
            for weight, feature in zip(
                self.weights.tolist(), evidence.features(seekers, profiles), strict=True
            ):
                scores += weight * feature
        elif self._kind is PriorKind.POPULARITY:
            scores += np.log1p(evidence.counts)
        elif self._kind is PriorKind.TRANSE:
            scores += evidence.translation(profiles)
        if self._exclude_history:
            for row, profile in enumerate(profiles):
                scores[row, list(profile)] = EXCLUDED
        normal: NDArray[np.float64] = log_softmax(scores, axis=1)
        return np.maximum(normal, EXCLUDED).astype(np.float32)

    # --- what is known when ---

    def _views(self, sessions: Sequence[Session]) -> list[_View]:
        """The view of each session."""
        if not self._world.by_interaction:
            return [(Split.TEST, -1)] * len(sessions)
        places = self._world.places
        pairs = [(places.get(s.seeker, -1), s.target) for s in sessions if s.split is Split.VALID]
        folds = iter(self._folds(np.array(pairs, dtype=np.int64).reshape(-1, 2)).tolist())
        return [(s.split, next(folds) if s.split is Split.VALID else -1) for s in sessions]

    def _folds(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """The fold of each (seeker, item) pair, ``[n]`` from ``[n, 2]``: by the pair alone."""
        draw = draws.uniform((pairs[:, 0] + 1) * self._world.catalogue.n_items + pairs[:, 1], purpose="folds")
        return (draw * FOLDS).astype(np.int64)

    def _known(self, view: _View) -> Evidence:
        if view not in self._evidence:
            self._evidence[view] = self._gather(*view)
        return self._evidence[view]

    def _gather(self, split: Split, fold: int) -> Evidence:
        world = self._world
        early, late = world.likes, np.zeros((0, 2), dtype=np.int64)
        if world.by_interaction:
            late = np.array(world.targets[Split.VALID], dtype=np.int64).reshape(-1, 2)
            if fold >= 0:
                late = late[self._folds(late) != fold]
            if split is not Split.TRAIN:
                early = world.known(Split.VALID)
        shape = (len(world.seekers), world.catalogue.n_items)
        before = likes_table(early, shape)
        after = likes_table(late, shape)
        after = sparse.csr_array(after - after.multiply(before))
        after.eliminate_zeros()
        return Evidence(world.catalogue, self._embeddings, before, after, self._friends)

    # --- the weights ---

    def _fit(self) -> NDArray[np.float64]:
        """Weights that make the targets of the valid split most likely; without one, popularity only."""
        world = self._world
        available = len(world.targets[Split.VALID])
        if not available:
            return np.array([float(name == "early") for name in FEATURES])
        affordable = _FIT_BYTES // (2 * len(SEEKER_FEATURES) * world.catalogue.n_items)
        sessions = world.sessions(Split.VALID, min(available, _FIT_SESSIONS, max(affordable, 1)), seed=0)
        return np.round(_most_likely([*self._examples(sessions)]), 6)

    def _examples(self, sessions: Sequence[Session]) -> Iterator[_Examples]:
        """Features and targets, a chunk of one view after the other."""
        views = self._views(sessions)
        for view in sorted(set(views)):
            evidence = self._known(view)
            mine = [session for session, one in zip(sessions, views, strict=True) if one == view]
            for start in range(0, len(mine), _CHUNK):
                chunk = mine[start : start + _CHUNK]
                seekers = [self._world.places.get(session.seeker, -1) for session in chunk]
                profiles = [
                    _profile(evidence, seeker, session.history)
                    for seeker, session in zip(seekers, chunk, strict=True)
                ]
                own = np.empty((len(chunk), self._world.catalogue.n_items, len(SEEKER_FEATURES)), np.float16)
                for index, feature in enumerate(evidence.of_seekers(seekers, profiles)):
                    own[..., index] = feature
                targets = np.array([session.target for session in chunk])
                yield _Examples(evidence.of_items.astype(np.float32), own, profiles, targets)


class _Examples(NamedTuple):
    """Conversations to learn from.

    Attributes:
        shared: features that all have in common, ``[items, ITEM_FEATURES]``.
        own: the other features, ``[batch, items, SEEKER_FEATURES]``; half precision is enough to fit a
            dozen weights, and halves the memory.
        excluded: items of each that are out of the question.
        targets: ``[batch]``.
    """

    shared: NDArray[np.float32]
    own: NDArray[np.float16]
    excluded: Sequence[Sequence[int]]
    targets: NDArray[np.int64]

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums over batch and items of each feature and of its square: twice ``[features]``."""
        n, own = len(self.own), self.own.astype(np.float32).reshape(-1, self.own.shape[2])
        first = np.concatenate([n * self.shared.sum(axis=0), own.sum(axis=0)])
        second = np.concatenate([n * np.square(self.shared).sum(axis=0), np.square(own).sum(axis=0)])
        return first.astype(np.float64), second.astype(np.float64)

    def ascent(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Log-likelihood of the targets, summed; its gradient ``[features]``; minus its Hessian."""
        features = np.concatenate(
            [np.broadcast_to(self.shared, (len(self.own), *self.shared.shape)), self.own], axis=2
        )
        scores = features @ weights.astype(np.float32)
        for row, items in enumerate(self.excluded):
            scores[row, list(items)] = EXCLUDED
        log_p = log_softmax(scores, axis=1)
        p, rows = np.exp(log_p), np.arange(len(scores))
        mean = np.einsum("bi,bif->bf", p, features)
        gradient = (features[rows, self.targets] - mean).sum(axis=0, dtype=np.float64)
        flat = features.reshape(-1, features.shape[2])
        curvature = ((flat * p.reshape(-1, 1)).T @ flat - mean.T @ mean).astype(np.float64)
        return float(log_p[rows, self.targets].sum(dtype=np.float64)), gradient, curvature


def _most_likely(examples: Sequence[_Examples]) -> NDArray[np.float64]:
    """Weights of a conditional logit (McFadden, 1974), with a Gaussian prior: ``[features]``.

    The prior has unit variance once features have unit spread, so that few examples move the weights
    little. Newton's method, its steps halved where they overshoot: the objective is concave.
    """
    n_sessions = sum(len(chunk.targets) for chunk in examples)
    moments = np.sum([chunk.moments() for chunk in examples], axis=0)
    first, second = moments / (n_sessions * len(examples[0].shared))
    variance = np.maximum(second - first**2, 0.0)
    precision = np.where(variance > 1e-6, variance, 1.0)

    def ascent(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        parts = [chunk.ascent(weights) for chunk in examples]
        value = sum(part[0] for part in parts) - 0.5 * float(precision @ weights**2)
        gradient = np.sum([part[1] for part in parts], axis=0) - precision * weights
        return value, gradient, np.sum([part[2] for part in parts], axis=0) + np.diag(precision)

    weights = np.zeros(len(precision))
    value, gradient, curvature = ascent(weights)
    step = np.linalg.solve(curvature, gradient)
    for _ in range(_NEWTON_STEPS):
        found = ascent(weights + step)
        if found[0] <= value:
            step = step / 2
        else:
            gained, weights = found[0] - value, weights + step
            value, gradient, curvature = found
            step = np.linalg.solve(curvature, gradient)
            if gained < _ENOUGH * n_sessions:
                break
    return weights


def _profile(evidence: Evidence, seeker: int, history: tuple[int, ...]) -> tuple[int, ...]:
    """What a seeker is known to like: the history, and what the view holds beyond it, ascending."""
    return tuple(sorted({*history, *evidence.liked_by(seeker)}))
