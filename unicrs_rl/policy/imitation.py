"""How well a planner chooses as people did, and the two guesses it has to beat.

The baselines are the strategy that is commonest in training, and a logistic regression on TF-IDF of the
last words and the strategy used before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from unicrs_rl.dialogue import STRATEGIES
from unicrs_rl.policy.planner import PlannerInput, Sample

_SHORTLIST = 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement with people's choices.

    Attributes:
        accuracy: share of states whose likeliest strategy is the one a person chose.
        macro_f1: mean F1 over the strategies that occur, in truth or as guess.
        top3: share of states whose person's choice is among the three likeliest.
    """

    accuracy: float
    macro_f1: float
    top3: float


def agreement(logits: torch.Tensor, labels: torch.Tensor) -> Agreement:
    """Agreement of logits ``[n, strategies]`` with labels ``[n]``."""
    counts = confusion(logits, labels)
    top3 = in_shortlist(logits, labels).mean()
    return Agreement(float(accuracy(counts)), float(macro_f1(counts)), float(top3))


def confusion(logits: torch.Tensor, labels: torch.Tensor) -> NDArray[np.float64]:
    """How often each strategy (row) was taken for each (column): ``[strategies, strategies]``."""
    counts = np.zeros((len(STRATEGIES), len(STRATEGIES)))
    np.add.at(counts, (labels.numpy(), logits.argmax(1).numpy()), 1)
    return counts


def in_shortlist(logits: torch.Tensor, labels: torch.Tensor) -> NDArray[np.float64]:
    """1 where the label is among the three likeliest, else 0: ``[n]``."""
    hits: NDArray[np.float64] = (
        (logits.topk(_SHORTLIST, 1).indices == labels[:, None]).any(1).double().numpy()
    )
    return hits


def accuracy(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share on the diagonal of confusions ``[..., strategies, strategies]``: ``[...]``."""
    right: NDArray[np.float64] = np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))
    return right


def macro_f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean F1 over the strategies that occur in confusions ``[..., strategies, strategies]``: ``[...]``."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    both = counts.sum(axis=-1) + counts.sum(axis=-2)
    occurs = both > 0
    scores = np.divide(2 * hits, both, out=np.zeros_like(both), where=occurs)
    mean: NDArray[np.float64] = scores.sum(axis=-1) / occurs.sum(axis=-1)
    return mean


class Majority:
    """The strategies by how common they are, whatever the state.

    Args:
        counts: of each strategy in training, ``[strategies]``.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = torch.tensor(counts, dtype=torch.float32)

    def logits(self, inputs: Sequence[PlannerInput]) -> torch.Tensor:
        """Logits ``[inputs, strategies]``."""
        return self.counts.expand(len(inputs), -1)


class Lexical:
    """Logistic regression on TF-IDF of the last two lines and the strategy before.

    Words and pairs of words that occur in two states or more, with the speaker; scikit-learn.

    Args:
        terms: the vocabulary, in the order of the columns.
        idf: inverse document frequency of each, ``[terms]``.
        weights: ``[terms + strategies + 1, strategies]``; the last row is the bias.
    """

    def __init__(self, terms: Sequence[str], idf: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        self.terms, self.idf, self.weights = list(terms), idf, weights
        self.vectorizer = _vectorizer(vocabulary={term: column for column, term in enumerate(terms)})
        self.vectorizer.idf_ = idf

    @classmethod
    def fit(cls, samples: Sequence[Sample]) -> Lexical:
        """Fitted to labelled states; deterministic."""
        inputs, labels = [seen for seen, _ in samples], np.array([label for _, label in samples])
        vectorizer = _vectorizer()
        words = vectorizer.fit_transform([_last_lines(seen) for seen in inputs])
        model = LogisticRegression(C=1.0, max_iter=1000).fit(sparse.hstack([words, _before(inputs)]), labels)
        weights = np.full((model.coef_.shape[1] + 1, len(STRATEGIES)), 0.0)
        weights[-1] = _NEVER
        weights[:, model.classes_] = np.vstack([model.coef_.T, model.intercept_])
        return cls(vectorizer.get_feature_names_out().tolist(), vectorizer.idf_, weights)

    def logits(self, inputs: Sequence[PlannerInput]) -> torch.Tensor:
        """Logits ``[inputs, strategies]``."""
        words = self.vectorizer.transform([_last_lines(seen) for seen in inputs])
        features = sparse.hstack([words, _before(inputs)])
        return torch.from_numpy(features @ self.weights[:-1] + self.weights[-1])

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """What it is made of, for a checkpoint."""
        return {"idf": torch.tensor(self.idf), "weights": torch.tensor(self.weights)}, {"terms": self.terms}

    @classmethod
    def load(cls, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> Lexical:
        """Made from a :meth:`state`."""
        return cls(header["terms"], tensors["idf"].numpy(), tensors["weights"].numpy())


_NEVER = -1e9
"""Logit of a strategy that does not occur in training."""


def _vectorizer(vocabulary: Mapping[str, int] | None = None) -> TfidfVectorizer:
    return TfidfVectorizer(
        ngram_range=(1, 2), min_df=1 if vocabulary else 2, sublinear_tf=True, vocabulary=vocabulary
    )


def _last_lines(seen: PlannerInput) -> str:
    """The last two utterances, without the line on turn and strategies."""
    return "\n".join(seen.text.splitlines()[-3:-1])


def _before(inputs: Sequence[PlannerInput]) -> sparse.csr_array:
    """One-hot of the strategy before: ``[inputs, strategies]``; zeros at the first turn."""
    rows = [row for row, seen in enumerate(inputs) if seen.used]
    columns = [seen.used[-1] for seen in inputs if seen.used]
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(inputs), len(STRATEGIES)))
