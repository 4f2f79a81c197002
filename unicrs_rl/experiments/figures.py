"""What figures of reports have in common: made by plotly, coloured by the page they stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

COLOURS = ("#4269d0", "#d9730d", "#3ca951", "#a463f2", "#9c6b4e", "#5aa2d8", "#e0609a")
"""Of arms, by their place; each is told from a white page and from a black one."""
GREY = "#8c93a1"
"""Of what belongs to no arm."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
"""Of arms, by their place, so that they are told apart without colours."""
_CHARS = 20
"""Letters that fit on a line beside an axis on a narrow screen."""


@dataclass(frozen=True)
class Shown:
    """A figure as a page shows it.

    Attributes:
        figure: its title stands above it, as words of the page.
        caption: a sentence that says how to read it.
    """

    figure: go.Figure
    caption: str = ""


def colour(place: int) -> str:
    """The colour of an arm, by its place; the eighth has that of the first."""
    return COLOURS[place % len(COLOURS)]


def dash(place: int) -> str:
    """The line of an arm, by its place."""
    return DASHES[place % len(DASHES)]


def symbol(place: int) -> str:
    """The marker of an arm, by its place."""
    return SYMBOLS[place % len(SYMBOLS)]


def shade(colour: str, opacity: float = 0.2) -> str:
    """A colour to fill a band with."""
    return f"rgba({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))}, {opacity})"


def empty_figure(title: str, x: str, y: str) -> go.Figure:
    """An empty figure whose colours follow the page."""
    return go.Figure(
        layout={
            "template": "none",
            "title": {"text": title, "font": {"size": 15}},
            "xaxis": {"title": {"text": x, "standoff": 8, "font": {"size": 13}}, "automargin": True},
            "yaxis": {"title": {"text": y, "standoff": 8, "font": {"size": 13}}, "automargin": True},
            "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
            "legend": {"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": COLOURS,
            "font": {"family": "system-ui, sans-serif", "size": 12},
            "height": 380,
        }
    )


def add_band(
    figure: go.Figure, x: Sequence[float], low: Sequence[float], high: Sequence[float], name: str, ink: str
) -> None:
    """Fill between two lines; hidden and shown with what else is called ``name``."""
    edge = {"mode": "lines", "line_width": 0, "hoverinfo": "skip", "showlegend": False, "legendgroup": name}
    figure.add_scatter(x=x, y=low, **edge)
    figure.add_scatter(x=x, y=high, fill="tonexty", fillcolor=shade(ink), **edge)


def broken(text: str, letters: int = _CHARS) -> str:
    """A label in lines of about so many letters."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)
