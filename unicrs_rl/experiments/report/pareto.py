"""What success costs: each arm as a point, and the front of those that no other arm beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from unicrs_rl.experiments.figures import GREY, Shown, colour, empty_figure, symbol

SUCCESS = "sr@15"
_DECADE = 10.0


@dataclass(frozen=True)
class Price:
    """An axis of costs.

    Attributes:
        name: of the figure.
        unit: on the axis.
    """

    name: str
    title: str
    unit: str


PRICES = (
    Price("turns", "turns", "mean turns (failures count the limit)"),
    Price("lm_calls_per_dialogue", "language-model calls", "calls / dialogue"),
    Price("tokens_per_dialogue", "tokens", "tokens / dialogue"),
    Price("train_seconds", "training seconds", "seconds to train"),
    Price("parameters", "parameters", "trainable parameters"),
)


@dataclass(frozen=True)
class Point:
    """An arm: its cost and its success with the ends of the 95% interval."""

    arm: str
    cost: float
    success: float
    low: float
    high: float


@dataclass(frozen=True)
class Pareto:
    """All plots.

    Attributes:
        figures: by name.
        even: titles of the costs that every arm has the same of, or nobody knows.
    """

    figures: Mapping[str, Shown]
    even: Sequence[str]


def pareto(arms: Mapping[str, Mapping[str, Any]]) -> Pareto:
    """Success against every cost that differs.

    Args:
        arms: as in ``results.json``, with timings filled in.
    """
    figures, even = {}, []
    for price in PRICES:
        points = [point for arm, entry in arms.items() if (point := _point(price, arm, entry)) is not None]
        if len({point.cost for point in points}) > 1:
            figures[f"pareto-{price.name}"] = _figure(price, points, list(arms))
        else:
            even.append(price.title)
    return Pareto(figures, even)


def _point(price: Price, arm: str, entry: Mapping[str, Any]) -> Point | None:
    cost = entry["metrics"]["at"] if price.name == "turns" else entry["cost"].get(price.name)
    success = entry["metrics"].get(SUCCESS)
    if cost is None or success is None:
        return None
    low, high = entry["ci95"].get(SUCCESS) or (success, success)
    return Point(arm, cost, success, low, high)


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other has less cost and as much success than, or more success at as much cost."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.success)):
        if not best or point.success > best[-1].success:
            best.append(point)
    return best


def _figure(price: Price, points: Sequence[Point], arms: Sequence[str]) -> Shown:
    figure = empty_figure(f"Success against {price.title}", price.unit, "SR@15")
    axis = _Axis.of([point.cost for point in points])
    line = front(points)
    figure.add_scatter(
        x=[axis.at(point.cost) for point in line],
        y=[point.success for point in line],
        mode="lines",
        line={"color": GREY, "width": 1.5, "dash": "dot", "shape": "hv"},
        name="front",
        hoverinfo="skip",
    )
    for point in points:
        place = arms.index(point.arm)
        figure.add_scatter(
            x=[axis.at(point.cost)],
            y=[point.success],
            name=point.arm,
            mode="markers",
            cliponaxis=False,
            marker={"color": colour(place), "symbol": symbol(place), "size": 11},
            error_y={
                "array": [point.high - point.success],
                "arrayminus": [point.success - point.low],
                "thickness": 1,
            },
            customdata=[f"{point.cost:,.6g}"],
            hovertemplate=f"%{{y:.3f}} at %{{customdata}} {price.unit}",
        )
    axis.lay(figure)
    figure.update_yaxes(range=[-0.03, 1.05])
    return Shown(
        figure,
        f"Up and to the left is better. Dotted: the front, arms that none beats in both; bars: 95% "
        f"intervals of success over dialogues.{axis.note}",
    )


@dataclass(frozen=True)
class _Axis:
    """Where costs are drawn: by logarithm where they span decades, with a place of its own for zero.

    Attributes:
        zero: what stands for zero; ``None`` where the axis is linear or there is none.
    """

    log: bool
    low: float
    high: float
    zero: float | None

    @classmethod
    def of(cls, costs: Sequence[float]) -> _Axis:
        positive = [cost for cost in costs if cost > 0]
        low, high = (min(positive), max(positive)) if positive else (1.0, 1.0)
        log = high >= _DECADE * low
        return cls(log, low, high, low / _DECADE if log and min(costs) <= 0 else None)

    def at(self, cost: float) -> float:
        return self.zero if self.zero is not None and cost <= 0 else cost

    @property
    def note(self) -> str:
        if not self.log:
            return ""
        return " The axis is logarithmic" + (
            "; arms without any cost stand at its left end." if self.zero else "."
        )

    def lay(self, figure: go.Figure) -> None:
        if not self.log:
            figure.update_xaxes(range=[-0.05 * self.high, 1.08 * self.high], nticks=6)
            return
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ticks = {10.0**power: f"{10.0**power:,.6g}" for power in powers}
        if self.zero is not None:
            ticks = {self.zero: "0"} | {at: text for at, text in ticks.items() if at >= 2 * self.zero}
        start = (self.zero or self.low) / 1.6
        figure.update_xaxes(
            type="log",
            tickvals=list(ticks),
            ticktext=list(ticks.values()),
            range=[math.log10(start), math.log10(self.high * 1.6)],
        )
