"""What figures of reports have in common: made by plotly, coloured by the page they stand on."""

from __future__ import annotations

import plotly.graph_objects as go

COLOURS = ("#4269d0", "#d9730d", "#3ca951", "#a463f2", "#9c6b4e", "#97bbf5", "#ff8ab7")
"""Of arms, by their place."""
GREY = "#8c93a1"
"""Of what belongs to no arm."""


def colour(place: int) -> str:
    """The colour of an arm, by its place; the eighth has that of the first."""
    return COLOURS[place % len(COLOURS)]


def shade(colour: str, opacity: float = 0.2) -> str:
    """A colour to fill a band with."""
    return f"rgba({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))}, {opacity})"


def empty_figure(title: str, x: str, y: str) -> go.Figure:
    """An empty figure whose colours follow the page."""
    return go.Figure(
        layout={
            "title": {"text": title, "font": {"size": 15}},
            "xaxis": {"title": {"text": x}, "automargin": True},
            "yaxis": {"title": {"text": y}, "automargin": True},
            "margin": {"l": 10, "r": 10, "t": 50, "b": 80},
            "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": COLOURS,
        }
    )
