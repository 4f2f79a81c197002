"""Paired comparisons over the same (seeker, target, random seed) triples.

Conversations of one triple are averaged over training seeds first; the unit of analysis is the
triple. Intervals are BCa bootstrap intervals of the mean difference, p-values come from a paired
(sign-flip) permutation test, both by SciPy and seeded. They speak of the training seeds that were
run: the spread between seeds is reported beside them and is not part of the interval.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 4_999
MANY = 2_000
"""Above so many values the mean is as good as normal, and resampling only costs."""
_SEED = 20_200_219


@dataclass(frozen=True, slots=True)
class Paired:
    """Mean of ``a - b`` over pairs, with its 95% interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float
    pairs: int


def paired(a: NDArray[np.float64], b: NDArray[np.float64]) -> Paired | None:
    """Compare two arms on a metric; pairs in which either value is missing (NaN) are left out.

    Args:
        a, b: ``[triples]``, in the same order.

    Returns:
        ``None`` with fewer than two complete pairs.
    """
    gaps = (a - b)[~np.isnan(a - b)]
    if len(gaps) < 2:
        return None
    mean = float(gaps.mean())
    if np.ptp(gaps) == 0.0:
        return Paired(mean, mean, mean, 1.0 if mean == 0.0 else 2.0 ** (1 - len(gaps)), len(gaps))
    interval = _interval(gaps)
    test = stats.permutation_test(
        (gaps,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        rng=np.random.default_rng(_SEED),
    )
    return Paired(mean, *interval, float(test.pvalue), len(gaps))


def interval_of_mean(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """95% interval of a mean, missing values left out; ``None`` with fewer than two."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    if np.ptp(known) == 0.0:
        return float(known[0]), float(known[0])
    return _interval(known)


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """BCa interval of the mean; the percentile interval where BCa is not defined.

    Of more than :data:`MANY` values the t interval, which then agrees to three digits of its width.
    """
    if len(values) > MANY:
        many = stats.ttest_1samp(values, 0.0).confidence_interval()
        return float(many.low), float(many.high)
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            found = stats.bootstrap(
                (values,),
                np.mean,
                n_resamples=RESAMPLES,
                batch=500,
                method=method,
                rng=np.random.default_rng(_SEED),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return float(found.low), float(found.high)
