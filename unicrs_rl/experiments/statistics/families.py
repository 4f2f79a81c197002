"""Several comparisons at once: which decide together, and Holm's correction for their number."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Family(StrEnum):
    """Which comparisons are decided on together, on each primary metric."""

    FIRST = "first"
    """The first arm with every other."""
    PAIR = "pair"
    """The first two arms, of which the verdict speaks (default)."""
    ALL = "all"
    """Every pair of arms."""

    def has(self, arms: Sequence[str], a: str, b: str) -> bool:
        """Whether the comparison of two arms belongs to it."""
        if self is Family.ALL:
            return True
        return a == arms[0] and (self is Family.FIRST or b == arms[1])

    def size(self, arms: int) -> int:
        """How many comparisons it has on each metric."""
        return {Family.ALL: arms * (arms - 1) // 2, Family.FIRST: arms - 1, Family.PAIR: min(1, arms - 1)}[
            self
        ]


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 6:65, 1979)."""
    from statsmodels.stats.multitest import multipletests

    return [float(one) for one in multipletests(p, method="holm")[1]] if p else []
