"""A table of shares as a heat map: columns that add up to one, the share written into each cell."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from unicrs_rl.experiments.figures import broken, empty_figure

SCALE = ((0.0, "rgba(66, 105, 208, 0.03)"), (1.0, "rgba(66, 105, 208, 0.6)"))
"""Clear enough that the ink of the page reads on every cell."""
_LEAST = 0.005
"""Share from which on it is written."""
_ROW_HEIGHT = 34
_LETTERS = 13
"""Of a line beside the map; longer names are broken."""
_DECIMALS = 4


def share_map(
    title: str, axis: str, rows: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float]]
) -> go.Figure:
    """The heat map.

    Args:
        axis: title below the columns.
        shares: ``[rows, columns]``.
    """
    figure = empty_figure(title, axis, "")
    figure.add_heatmap(
        z=[[round(share, _DECIMALS) for share in line] for line in shares],
        x=columns,
        y=[broken(row, _LETTERS) for row in rows],
        zmin=0.0,
        zmax=1.0,
        colorscale=SCALE,
        showscale=False,
        xgap=1,
        ygap=1,
        text=[[f"{share:.0%}" if share >= _LEAST else "" for share in line] for line in shares],
        texttemplate="%{text}",
        textfont={"size": 12},
        hovertemplate="%{y}, %{x}: %{z:.1%}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(showgrid=False, tickangle=0, ticks="")
    return figure.update_layout(height=110 + _ROW_HEIGHT * len(rows))
