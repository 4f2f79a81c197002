"""Paired differences of the first arm from the others, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from unicrs_rl.experiments.figures import Shown, colour, empty_figure, symbol
from unicrs_rl.judging.metrics import METRICS

_SHARES = "0 to 1"
_UNITS = {"share of dialogues": _SHARES, "distinct / all": _SHARES}
"""Units that are drawn on one axis."""
_GAP, _ROW, _REST = 18, 16, 110
"""Pixels: for each metric, for each arm beside it, and for legend and axis."""


def forests(found: Mapping[str, Any]) -> dict[str, Shown]:
    """A figure for each scale, by name; none where there is nothing to compare."""
    arms = list(found["arms"])
    rows = [row for row in found["comparisons"] if row["a"] == arms[0]]
    return {
        f"forest-{place}": _forest(arms, scale, some)
        for place, (scale, some) in enumerate(_panels(rows).items())
    }


def _forest(arms: Sequence[str], scale: str, rows: Sequence[Mapping[str, Any]]) -> Shown:
    figure = empty_figure(f"{arms[0]} minus the other arms ({scale})", f"difference ({scale})", "")
    others = [arm for arm in arms if any(row["b"] == arm for row in rows)]
    for other in others:
        _add(figure, [row for row in rows if row["b"] == other], other, arms.index(other))
    figure.add_vline(x=0, line_width=1, line_dash="dot")
    metrics = list(dict.fromkeys(_label(row) for row in rows))
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=metrics, ticks="")
    if scale == _SHARES and any(abs(end) > 1 for row in rows for end in row["ci95"]):
        figure.update_xaxes(range=[-1.05, 1.05])  # no share differs by more, however little is known
    figure.update_layout(
        scattermode="group", height=_REST + len(metrics) * (_GAP + _ROW * len(others)), showlegend=True
    )
    return Shown(figure, _caption(arms[0], rows))


def _panels(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by scale, those of shares first; in each the primary metrics first, else in their order."""
    by_scale: dict[str, list[Mapping[str, Any]]] = {_SHARES: []}
    for metric in METRICS:
        mine = [row for row in rows if row["metric"] == metric.name]
        by_scale.setdefault(_UNITS.get(metric.unit, metric.unit), []).extend(mine)
    return {
        scale: sorted(some, key=lambda row: not row.get("primary", False))
        for scale, some in by_scale.items()
        if some
    }


def _add(figure: go.Figure, rows: Sequence[Mapping[str, Any]], other: str, place: int) -> None:
    marks = symbol(place)
    figure.add_scatter(
        x=[row["difference"] for row in rows],
        y=[_label(row) for row in rows],
        name=other,
        mode="markers",
        orientation="h",
        marker={
            "color": colour(place),
            "size": 9,
            "symbol": [marks if row.get("covers_seeds") else f"{marks}-open" for row in rows],
        },
        error_x={
            "array": [row["ci95"][1] - row["difference"] for row in rows],
            "arrayminus": [row["difference"] - row["ci95"][0] for row in rows],
            "thickness": 1.5,
        },
    )


def _label(row: Mapping[str, Any]) -> str:
    """A metric, marked where it was declared primary, and which way is better where that is down."""
    metric = next(metric for metric in METRICS if metric.name == row["metric"])
    title = metric.title if metric.higher_is_better else f"{metric.title} (less is better)"
    return f"<b>◆ {title}</b>" if row.get("primary") else title


def _caption(first: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """How to read it."""
    covering = {bool(row.get("covers_seeds")) for row in rows}
    said = "Open marks: they speak of the training seeds that were run, not of others. "
    if covering == {True}:
        said = "They cover other training seeds, where an arm was trained. "
    elif len(covering) > 1:
        said = "Filled marks: they cover other training seeds; open ones: only those that were run. "
    marked = (
        "◆: declared primary, the only ones that the verdict rests on; p of those is corrected. "
        if any(row.get("primary") for row in rows)
        else ""
    )
    return (
        f"Right of the dotted line {first} has more, left of it less. Bars: 95% intervals of the mean paired "
        f"difference; where one crosses the line no difference is detected. {said}{marked}"
    ).strip()
