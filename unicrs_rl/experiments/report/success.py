"""SR@t, with what is unsure about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from unicrs_rl.experiments.figures import Shown, add_band, colour, dash, empty_figure
from unicrs_rl.experiments.report.gist import Gist
from unicrs_rl.experiments.statistics import interval_of_arm, mean_over_seeds

_DECIMALS = 4


@dataclass(frozen=True)
class Rates:
    """SR@1, SR@2, ..., with the ends of their pointwise 95% intervals: ``[turns]`` each."""

    mean: list[float]
    low: list[float]
    high: list[float]


def rates(dialogues: Iterable[Gist], limit: int) -> Rates:
    """Shares of successes of one arm within 1, 2, ..., ``limit`` turns.

    The intervals are those of every other mean of an arm, cut at 0 and 1.
    """
    turns: dict[int, dict[int, float]] = defaultdict(dict)
    for one in dialogues:
        turns[one.seed][one.index] = np.inf if one.won is None else one.won
    indices = sorted(set().union(*turns.values()))
    table = np.array([[of.get(index, np.nan) for index in indices] for of in turns.values()])
    mean, low, high = [], [], []
    for turn in range(1, limit + 1):
        hits = np.where(np.isnan(table), np.nan, table <= turn)
        mean.append(round(float(np.nanmean(mean_over_seeds(hits))), _DECIMALS))
        ends = interval_of_arm(hits) or (mean[-1], mean[-1])
        low.append(round(max(0.0, ends[0]), _DECIMALS))
        high.append(round(min(1.0, ends[1]), _DECIMALS))
    return Rates(mean, low, high)


def success_figure(found: Mapping[str, Sequence[Gist]], limit: int) -> Shown:
    """The curve of each arm with its band."""
    figure = empty_figure("Success within t turns", "turn", "SR@t")
    turns = list(range(1, limit + 1))
    for place, (arm, dialogues) in enumerate(found.items()):
        one = rates(dialogues, limit)
        add_band(figure, turns, one.low, one.high, arm, colour(place))
        _add_curve(figure, turns, one.mean, arm, place)
    figure.update_yaxes(range=[0, 1.02])
    return Shown(
        figure,
        "Share of held-out dialogues with an accepted recommendation within t turns: higher and further left "
        "is better. Bands: pointwise 95% intervals over dialogues, and over training seeds where there are "
        "several; where bands overlap, the paired differences decide.",
    )


def curves_figure(curves: Mapping[str, Sequence[float]], limit: int) -> go.Figure:
    """SR@1, SR@2, ... of each curve, without bands; one that ends early stays where it is."""
    figure = empty_figure("Success within t turns", "turn", "SR@t")
    turns = list(range(1, limit + 1))
    for place, (name, curve) in enumerate(curves.items()):
        _add_curve(figure, turns, [*curve, *[curve[-1]] * (limit - len(curve))], name, place)
    figure.update_yaxes(range=[0, 1.02])
    return figure


def _add_curve(figure: go.Figure, x: Sequence[int], y: Sequence[float], name: str, place: int) -> None:
    line = {"color": colour(place), "dash": dash(place)}
    figure.add_scatter(x=x, y=y, name=name, legendgroup=name, mode="lines+markers", line=line)
