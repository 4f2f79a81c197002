"""What training seeds add: how far an arm's mean would move if it were trained again.

The value of an arm that was trained with seed s, in dialogue d, is modelled as

    y_sd = mean + training_s + dialogue_d + rest_sd

where ``training`` and ``dialogue`` are random effects. The variance between trainings is found by the
method of moments (Henderson's method 3; Searle, Casella and McCulloch, *Variance Components*, 1992, ch. 5),
which also holds where some cells are missing. It is the layout of many readers and many cases in diagnostic
radiology, with readers nested in modalities (Hillis, Statistics in Medicine 33:330, 2014).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

_RANK = 1e-9
"""Eigenvalues below this share of the largest are zero."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Variances of an arm that was trained several times, in squared units of the metric.

    Attributes:
        seeds: trainings.
        observed: between the means of trainings, over the same dialogues.
        noise: what ``observed`` would be, on average, if all trainings were alike.
        rest: of a value about its training and its dialogue.
    """

    seeds: int
    observed: float
    noise: float
    rest: float

    @property
    def between(self) -> float:
        """Between trainings as such: unbiased but for negative estimates, which are taken as zero."""
        return max(0.0, self.observed - self.noise)


class SeedNoise(NamedTuple):
    """What training seeds add to the variance of a difference (or mean); numbers, or arrays of one shape.

    Attributes:
        between: variance that comes from trainings as such.
        observed: the same with the noise of the dialogues still in it.
        freedom: its degrees of freedom (Satterthwaite, Biometrics 2:110, 1946).
    """

    between: NDArray[np.float64]
    observed: NDArray[np.float64]
    freedom: NDArray[np.float64]

    @classmethod
    def of(cls, spreads: Iterable[Spread]) -> SeedNoise | None:
        """Of the arms that were trained several times; ``None`` where these show no spread at all."""
        some = list(spreads)
        if not any(one.observed for one in some):
            return None
        return cls.added(
            np.array([one.between / one.seeds for one in some]),
            np.array([one.observed / one.seeds for one in some]),
            np.array([one.seeds - 1 for one in some]),
        )

    @classmethod
    def added(
        cls, between: NDArray[np.float64], observed: NDArray[np.float64], freedom: NDArray[np.int64]
    ) -> SeedNoise:
        """Of variances of arms' means, ``[arms, ...]``, with degrees of freedom ``[arms]``."""
        total = observed.sum(axis=0)
        each = (observed.T**2 / freedom).T.sum(axis=0)
        return cls(between.sum(axis=0), total, total**2 / each)


def mean_over_seeds(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[seeds, dialogues]`` to ``[dialogues]``, missing values left out; NaN where all are missing."""
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    sums = np.where(known, table, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def spread(table: NDArray[np.float64]) -> Spread | None:
    """Variance components of ``[seeds, dialogues]``; ``None`` with fewer than two trainings to compare.

    Trainings are compared within dialogues, so that a training with other dialogues missing is not
    taken for a better one; none can be compared that share no dialogues, not even by way of others.
    """
    known = ~np.isnan(table)
    known, table = known[known.any(axis=1)], table[known.any(axis=1)]
    known, table = known[:, known.any(axis=0)], table[:, known.any(axis=0)]
    seeds, dialogues = table.shape
    if seeds < 2 or dialogues < 2:
        return None
    within = np.where(known, table - mean_over_seeds(table), 0.0)
    information = np.diag(known.sum(axis=1)) - (known / known.sum(axis=0)) @ known.T
    # a common shift of all effects is not to be found: that eigenvalue is zero, but for rounding, which the
    # default tolerance can take for information and blow up
    if np.linalg.matrix_rank(information, rtol=_RANK, hermitian=True) < seeds - 1:
        return None
    inverse = np.linalg.pinv(information, rtol=_RANK, hermitian=True)
    effects = inverse @ within.sum(axis=1)
    left = float((within**2).sum() - effects @ within.sum(axis=1))
    freedom = int(known.sum()) - dialogues - (seeds - 1)
    rest = max(0.0, left) / freedom if freedom > 0 else 0.0
    observed = float(effects.var(ddof=1))
    if observed < 1e-20:  # nothing but rounding
        observed = 0.0
    return Spread(seeds, observed, rest * float(np.trace(inverse)) / (seeds - 1), rest)


def reach(
    alpha: float | NDArray[np.float64],
    dialogues: float | NDArray[np.float64],
    pairs: int,
    seeds: SeedNoise | None,
) -> NDArray[np.float64]:
    """Squared half-width of the ``1 - alpha`` interval of a mean over dialogues and trainings.

    ``max(t_n^2 D + t_f^2 B, t_f^2 O)``: with two to five trainings the variance between them is known so
    badly that one t quantile for the sum covers too little. So each part is widened by the quantile of
    its own degrees of freedom, and the squares are added, which covers at least what it says (Banerjee,
    Sankhya 22:357, 1960). The interval is never narrower than that of the trainings' means alone.

    Args:
        alpha: two-sided.
        dialogues: D, variance of the mean over dialogues with these trainings.
        pairs: n + 1, over which that was found.
        seeds: B, O and f of the trainings; ``None`` where there are none.
    """
    own = stats.t.isf(np.asarray(alpha) / 2, pairs - 1) ** 2 * dialogues
    if seeds is None:
        return np.asarray(own)
    among = stats.t.isf(np.asarray(alpha) / 2, seeds.freedom) ** 2
    return np.asarray(np.maximum(own + among * seeds.between, among * seeds.observed))


def widened(
    mean: float, ends: tuple[float, float], pairs: int, seeds: SeedNoise | None
) -> tuple[float, float]:
    """A 95% interval over dialogues, widened to cover trainings.

    :func:`reach` with each end's own distance for ``t_n^2 D``, so that the skewness that BCa found
    remains (MOVER; Zou and Donner, Statistics in Medicine 27:1693, 2008).
    """
    if seeds is None:
        return ends
    below, above = (
        float(np.sqrt(reach(0.05, _variance(abs(mean - end), pairs), pairs, seeds))) for end in ends
    )
    return mean - below, mean + above


def p_of(mean: float, ends: tuple[float, float], pairs: int, seeds: SeedNoise) -> float:
    """Two-sided p of a mean: the level at which :func:`reach` just gets to zero.

    Below 0.05 exactly where :func:`widened` is clear of zero.
    """
    facing = _variance(abs(mean - ends[0 if mean > 0 else 1]), pairs)

    def beyond(alpha: float) -> float:
        return float(reach(alpha, facing, pairs, seeds)) - mean**2

    least = 1e-12
    return least if beyond(least) < 0 else float(brentq(beyond, least, 1.0, xtol=1e-14))


def _variance(distance: float, pairs: int) -> float:
    """The variance of a mean whose 95% interval reaches so far."""
    return (distance / float(stats.t.isf(0.025, pairs - 1))) ** 2
