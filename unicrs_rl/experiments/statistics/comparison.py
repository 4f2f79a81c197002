"""The difference between two arms that held the same dialogues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from unicrs_rl.experiments.statistics.intervals import SEED, interval_of_mean
from unicrs_rl.experiments.statistics.seeds import (
    SeedNoise,
    mean_over_seeds,
    p_of,
    spread,
    widened,
)

PERMUTATIONS = 4_999
_FEW = 12
"""Of so few pairs all sign flips are tried."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Mean of ``a - b`` over pairs of dialogues.

    Attributes:
        difference: in units of the metric.
        low, high: its 95% interval; that of a difference of shares stays within -1 and 1.
        p: two-sided; the one that decides.
        pairs: dialogues in which both arms have a value.
        missing: dialogues in which either has none.
        p_permutation: of the sign-flip test over dialogues, which takes the trainings as they are.
        dz: Cohen's d of paired samples, the mean over the standard deviation of the differences; ``None``
            where these do not vary.
        odds_ratio: of values that are all 0 or 1: odds that ``a`` and not ``b`` succeeds in a dialogue in
            which only one does, over trainings by Mantel and Haenszel; ``None`` of other values, and
            where ``b`` never succeeds alone.
        covers_seeds: whether interval and p hold for other trainings of these arms, too.
    """

    difference: float
    low: float
    high: float
    p: float
    pairs: int
    missing: int
    p_permutation: float
    dz: float | None
    odds_ratio: float | None
    covers_seeds: bool


def compare_arms(
    a: NDArray[np.float64], b: NDArray[np.float64], learned: tuple[bool, bool] = (True, True)
) -> Paired | None:
    """Compare two arms on a metric, over the same dialogues.

    With one training (or none to do) of each: a BCa interval over dialogues, and the permutation test's
    p. With more of either: interval and p of :mod:`~unicrs_rl.experiments.statistics.seeds`.

    Args:
        a, b: ``[seeds, dialogues]``, dialogues in the same order; NaN where a value is missing. The seeds
            of the arms have nothing to do with each other. A dialogue counts if some training of each
            arm has a value.
        learned: whether the arms are trained at all; a rule has one row, and none would be another.

    Returns:
        ``None`` with fewer than two complete pairs.
    """
    everything = mean_over_seeds(a) - mean_over_seeds(b)
    complete = ~np.isnan(everything)
    gaps = everything[complete]
    if len(gaps) < 2:
        return None
    mean = float(gaps.mean())
    ends = interval_of_mean(gaps)
    assert ends is not None  # there are two
    p = permuted = _permutation(gaps)
    found = [spread(table[:, complete]) for table in (a, b)]
    spreads = [one for one in found if one is not None]
    seeds = SeedNoise.of(spreads)
    if seeds is not None:
        p = p_of(mean, ends, len(gaps), seeds)
        ends = widened(mean, ends, len(gaps), seeds)
    if _shares(a[:, complete]) and _shares(b[:, complete]):
        ends = max(-1.0, ends[0]), min(1.0, ends[1])
    deviation = float(gaps.std(ddof=1))
    return Paired(
        difference=mean,
        low=ends[0],
        high=ends[1],
        p=p,
        pairs=len(gaps),
        missing=len(everything) - len(gaps),
        p_permutation=permuted,
        dz=mean / deviation if np.ptp(gaps) > 0 else None,
        odds_ratio=_odds_ratio(a[:, complete], b[:, complete]),
        covers_seeds=all(one is not None for one, trained in zip(found, learned, strict=True) if trained),
    )


def paired(a: NDArray[np.float64], b: NDArray[np.float64]) -> Paired | None:
    """Compare single values, ``[dialogues]`` each; pairs in which one is missing (NaN) are left out."""
    return compare_arms(a[None], b[None], learned=(False, False))


def interval_of_arm(table: NDArray[np.float64]) -> tuple[float, float] | None:
    """95% interval of the mean of an arm, ``[seeds, dialogues]``; ``None`` with fewer than two dialogues.

    That of a share stays within 0 and 1.
    """
    column = mean_over_seeds(table)
    ends = interval_of_mean(column)
    found = spread(table)
    if ends is None or found is None:
        return ends
    known = column[~np.isnan(column)]
    low, high = widened(float(known.mean()), ends, len(known), SeedNoise.of([found]))
    return (max(0.0, low), min(1.0, high)) if _shares(table) else (low, high)


def _shares(values: NDArray[np.float64]) -> bool:
    """Whether all values are 0 or 1, so that means of them are shares; missing ones (NaN) aside."""
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


def _permutation(gaps: NDArray[np.float64]) -> float:
    """Two-sided p of the paired (sign-flip) permutation test."""
    if np.ptp(gaps) == 0.0:  # of all flips only two are as extreme
        return 1.0 if gaps[0] == 0.0 else float(2.0 ** (1 - len(gaps)))
    if len(gaps) <= _FEW:
        exact = stats.permutation_test(
            (gaps,),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=PERMUTATIONS,
        )
        return float(exact.pvalue)
    rng = np.random.default_rng(SEED)
    drawn = stats.monte_carlo_test(  # the same test, without a call for each permutation
        gaps,
        lambda size: np.where(rng.integers(0, 2, size, dtype=np.int8), gaps, -gaps),
        lambda x, axis: x.mean(axis=axis),
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=500,
    )
    return float(drawn.pvalue)


def _odds_ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Conditional odds ratio of 0/1 values, each dialogue a stratum: that of discordant pairs."""
    from statsmodels.stats.contingency_tables import StratifiedTable

    if not (_shares(a) and _shares(b)):
        return None
    tables = np.array([[(arm == value).sum(axis=0) for value in (1.0, 0.0)] for arm in (a, b)])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(StratifiedTable(tables.astype(np.float64)).oddsratio_pooled)
    return found if np.isfinite(found) else None
