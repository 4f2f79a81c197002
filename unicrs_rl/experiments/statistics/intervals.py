"""Bootstrap intervals where dialogues are all that varies: BCa (Efron, JASA 1987), by SciPy, seeded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import xlogy

RESAMPLES = 2_999
MANY = 2_000
"""Above so many values the mean is as good as normal, and resampling only costs."""
SEED = 20_200_219


def interval_of_mean(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """95% interval of a mean, missing values left out; ``None`` with fewer than two."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    if np.ptp(known) == 0.0:
        return float(known[0]), float(known[0])
    if len(known) > MANY:  # the t interval then agrees to three digits of its width
        many = stats.ttest_1samp(known, 0.0).confidence_interval()
        return float(many.low), float(many.high)
    return _bootstrap(known, np.mean)


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
                rng=np.random.default_rng(SEED),
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
