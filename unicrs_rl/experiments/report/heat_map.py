"""The ablation grid as a heat map: a cell for each point, with the interval of its mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import plotly.graph_objects as go

from unicrs_rl.experiments.figures import broken, empty_figure
from unicrs_rl.experiments.report.share_map import SCALE

_ROW_HEIGHT = 64
_LETTERS = 16
"""Of a line beside the map."""


@dataclass(frozen=True)
class GridCell:
    """A point of the grid.

    Attributes:
        row, column: where it stands, such as who decides what, and on which encoder with which learner.
        value: a mean over dialogues; ``None`` where it is missing.
        low, high: ends of its 95% interval; ``None`` where it has none.
    """

    row: str
    column: str
    value: float | None
    low: float | None = None
    high: float | None = None


def grid_heat_map(
    cells: Iterable[GridCell], title: str, unit: str, higher_is_better: bool = True, digits: int = 3
) -> go.Figure:
    """Rows and columns in the order in which they first come; darker is better, empty is not run.

    Args:
        unit: of the values.
    """
    found = list(cells)
    rows = list(dict.fromkeys(cell.row for cell in found))
    columns = list(dict.fromkeys(cell.column for cell in found))
    at = {(cell.row, cell.column): cell for cell in found}
    known = [cell.value for cell in found if cell.value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    table = [[at.get((row, column)) for column in columns] for row in rows]
    figure = empty_figure(title, "", "")
    figure.add_heatmap(
        z=[[cell.value if cell else None for cell in line] for line in table],
        x=[broken(column, _LETTERS) for column in columns],
        y=[broken(row, _LETTERS) for row in rows],
        zmin=low if high > low else low - 1.0,
        zmax=high if high > low else high + 1.0,
        colorscale=SCALE,
        reversescale=not higher_is_better,
        showscale=False,
        xgap=2,
        ygap=2,
        text=[[_text(cell, digits) for cell in line] for line in table],
        texttemplate="%{text}",
        textfont={"size": 12},
        hoverongaps=False,
        hovertemplate=f"%{{y}}, %{{x}}: %{{text}} {unit}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(showgrid=False, side="top", tickangle=0, ticks="")
    return figure.update_layout(height=110 + _ROW_HEIGHT * len(rows))


def _text(cell: GridCell | None, digits: int) -> str:
    if cell is None:
        return ""
    if cell.value is None:
        return "missing"
    span = (
        "" if cell.low is None or cell.high is None else f"<br>{cell.low:.{digits}f}–{cell.high:.{digits}f}"
    )
    return f"<b>{cell.value:.{digits}f}</b>{span}"
