"""Paired comparisons over the same (seeker, target, random seed) triples.

Conversations of one triple are averaged over training seeds first; the unit of analysis is the
triple. Intervals are BCa bootstrap intervals of the mean difference, p-values come from a paired
(sign-flip) permutation test, both by SciPy and seeded. They speak of the training seeds that were
run: the spread between seeds is reported beside them and is not part of the interval.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import xlogy

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
    return _bootstrap(values, np.mean)


def _bootstrap(values: NDArray[Any], statistic: Callable[..., Any]) -> tuple[float, float]:
    """BCa interval of a vectorised statistic; the percentile interval where BCa is not defined."""
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            found = stats.bootstrap(
                (values,),
                statistic,
                n_resamples=RESAMPLES,
                batch=500,
                method=method,
                rng=np.random.default_rng(_SEED),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return float(found.low), float(found.high)


def entropy(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy of the distributions that counts make, in nats: ``[..., options]`` to ``[...]``.

    ``-sum_i p_i ln p_i`` with ``p_i = counts_i / sum(counts)``, uncorrected; NaN where nothing was counted.
    """
    total = counts.sum(axis=-1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts, dtype=np.float64), where=total > 0)
    found: NDArray[np.float64] = -xlogy(shares, shares).sum(axis=-1)
    return np.where(total[..., 0] > 0, found + 0.0, np.nan)


def interval_of_total(
    rows: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> tuple[float, float] | None:
    """95% interval of a statistic of the sum of rows, such as the entropy of all counts.

    Args:
        rows: ``[units, ...]``; units are drawn with replacement.
        statistic: of sums ``[..., *shape of a row]``, giving ``[...]``.

    Returns:
        ``None`` with fewer than two units that have anything to count, or where draws of them may have
        nothing to count.
    """
    some = rows[rows.reshape(len(rows), -1).any(axis=1)]
    if len(some) < 2:
        return None
    axes = some.ndim - 1

    def of_draws(places: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        return statistic(some[places].sum(axis=axis - axes))

    everything = np.arange(len(some))
    if np.ptp(some, axis=0).max() == 0.0:
        value = float(of_draws(everything))
        return value, value
    low, high = _bootstrap(everything, of_draws)
    return None if np.isnan([low, high]).any() else (low, high)
