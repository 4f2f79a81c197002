"""The hierarchical bootstrap: training seeds and dialogues are drawn anew, each with replacement.

Dialogues are drawn once for both arms, which held the same ones; seeds of each arm apart. What comes out
is shown beside the interval that decides and decides nothing: of two to five trainings it covers too
little (``benchmarks/interval_coverage.py`` says how much), as resampling so few units must (Davison and
Hinkley, *Bootstrap Methods and their Application*, 1997, sec. 3.8).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.experiments.statistics.intervals import SEED

DRAWS = 2_000


def hierarchical_interval(
    a: NDArray[np.float64], b: NDArray[np.float64], draws: int = DRAWS, seed: int = SEED
) -> tuple[float, float] | None:
    """95% percentile interval of the difference of two arms' means.

    Args:
        a, b: ``[seeds, dialogues]``, dialogues in the same order; NaN where a value is missing.

    Returns:
        ``None`` where some draw has no value at all, as of a metric that hardly any dialogue has.
    """
    dialogues = _draws(a.shape[1], draws, seed)
    means = [
        _means(table, dialogues, _draws(len(table), draws, seed + 1 + place))
        for place, table in enumerate((a, b))
    ]
    found = means[0] - means[1]
    if not np.isfinite(found).all():
        return None
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def _means(
    table: NDArray[np.float64], dialogues: NDArray[np.float64], seeds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean of an arm in each draw: ``[draws]``."""
    known = ~np.isnan(table)
    sums = ((dialogues @ np.where(known, table, 0.0).T) * seeds).sum(axis=1)
    counts = ((dialogues @ known.T.astype(np.float64)) * seeds).sum(axis=1)
    found: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return found


@lru_cache(maxsize=16)
def _draws(units: int, draws: int, seed: int) -> NDArray[np.float64]:
    """How often each unit is in each draw: ``[draws, units]``. The same for all metrics and arms."""
    rng = np.random.default_rng((seed, units))
    return rng.multinomial(units, np.full(units, 1 / units), draws).astype(np.float64)
