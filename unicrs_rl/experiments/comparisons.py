"""The rows of ``comparisons`` in ``results.json``: every pair of arms on every metric.

What a comparison is decided by was declared in ``[statistics]`` before it was run: the primary metrics, the
family of comparisons that are corrected for their number, the level, and how often the dialogues are looked
at. All else is shown beside it, uncorrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unicrs_rl.experiments.config import RunConfig, StatisticsConfig
from unicrs_rl.experiments.statistics import (
    Look,
    Paired,
    boundaries,
    compare_arms,
    components_of,
    detectable,
    hierarchical_interval,
    holm,
    look,
    sequential_p,
)
from unicrs_rl.judging.metrics import METRICS

_DECIMALS = 6
POWER = 0.8
"""Chance with which a difference is called detectable."""

Tables = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""Arm -> metric -> ``[seeds, triples]``; NaN where a dialogue has no value."""


def rounded(value: float) -> float:
    """As results hold it."""
    return round(value, _DECIMALS)


def comparisons(config: RunConfig, tables: Tables) -> list[dict[str, Any]]:
    """Every pair of arms on every metric for which both have values, corrected and decided."""
    rules, found = config.statistics, []
    for a, b in combinations(config.arms, 2):
        learned = config.trains(a), config.trains(b)
        for metric in METRICS:
            one, other = tables[a][metric.name], tables[b][metric.name]
            outcome = compare_arms(one, other, learned)
            if outcome is None:
                continue
            primary = metric.name in rules.primary and rules.family.has(config.arms, a, b)
            row = {"a": a, "b": b, "metric": metric.name, **_numbers(outcome), "primary": primary}
            if max(len(one), len(other)) > 1 and (ends := hierarchical_interval(one, other)) is not None:
                row["ci95_bootstrap"] = [rounded(end) for end in ends]
            if primary and rules.looks > 1:
                row["looks"] = _looks(one, other, learned, rules)
                row["p"] = row["looks"][-1]["p_so_far"]
            if primary:
                components = components_of(one, other, learned)
                alpha = alpha_of(rules, len(config.arms))
                least = detectable(components, config.dialogues, len(config.seeds), alpha, POWER)
                row["detectable"] = None if least is None else rounded(least)
            found.append(row)
    _correct(found, rules)
    return found


def alpha_of(rules: StatisticsConfig, arms: int) -> float:
    """The level of a single comparison of the family at Holm's first and strictest step."""
    return rules.level / max(1, len(rules.primary) * rules.family.size(arms))


def _numbers(outcome: Paired) -> dict[str, Any]:
    found: dict[str, Any] = {
        "difference": rounded(outcome.difference),
        "ci95": [rounded(outcome.low), rounded(outcome.high)],
        "p": rounded(outcome.p),
        "p_permutation": rounded(outcome.p_permutation),
        "dialogues": outcome.pairs,
        "effect": {"name": "cohen_dz", "value": None if outcome.dz is None else rounded(outcome.dz)},
        "covers_seeds": outcome.covers_seeds,
    }
    if outcome.odds_ratio is not None:
        found["odds_ratio"] = rounded(outcome.odds_ratio)
    return found


def _looks(
    a: NDArray[np.float64], b: NDArray[np.float64], learned: tuple[bool, bool], rules: StatisticsConfig
) -> list[dict[str, Any]]:
    """The looks at a comparison, each with the sequential p up to it."""
    dialogues, taken = a.shape[1], list[Look]()
    rows = []
    for number, boundary in enumerate(boundaries(rules.level, rules.looks), start=1):
        seen = dialogues * number // rules.looks
        outcome = compare_arms(a[:, :seen], b[:, :seen], learned)
        difference, p = (0.0, 1.0) if outcome is None else (outcome.difference, outcome.p)
        taken.append(look(seen, difference, p, boundary))
        so_far = sequential_p([one.z for one in taken], rules.looks)
        now = taken[-1]
        rows.append(
            {
                "dialogues": now.dialogues,
                "z": rounded(now.z),
                "p": rounded(now.p),
                "boundary": rounded(now.boundary),
                "p_so_far": rounded(so_far),
            }
        )
    return rows


def _correct(rows: Sequence[dict[str, Any]], rules: StatisticsConfig) -> None:
    """Correct the primary comparisons for their number, at each look, and say what was detected."""
    family = [row for row in rows if row["primary"]]
    for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
        row["p_holm"] = rounded(p)
    if rules.looks > 1:
        for place in range(rules.looks):
            then = holm([row["looks"][place]["p_so_far"] for row in family])
            for row, p in zip(family, then, strict=True):
                row["looks"][place]["p_holm"] = rounded(p)
    for row in rows:
        row.setdefault("p_holm", None)
        low, high = row["ci95"]
        decides = row["p"] if row["p_holm"] is None else row["p_holm"]
        row["detected"] = bool((low > 0 or high < 0) and decides < rules.level)
        if "looks" in row:
            deciding = (one["dialogues"] for one in row["looks"] if one["p_holm"] < rules.level)
            row["decided_at"] = next(deciding, None) if row["detected"] else None
