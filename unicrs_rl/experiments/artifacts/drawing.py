"""Figures of studies, drawn by matplotlib into PNG: no window, no network, the same bytes each time.

Everything is told apart by shape, line or place before colour, so that a grey print can be read.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Mark: TypeAlias = tuple[float, float, float] | None
"""A value with the ends of its interval (the value itself where it has none); ``None`` if it is missing."""
_DOTS_PER_INCH = 150
_INK, _SOFT = "#222222", "#666666"
_LINES = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"), ((0, (5, 1)), "v"), ((0, (1, 1)), "P"))
"""Line and marker of each series."""
_LETTERS_PER_INCH, _LINE_INCHES = 15, 0.165
_GREYS = ("#000000", "#4269d0", "#b35c00", "#2b7a37", "#7a3fb8", "#777777")


@dataclass(frozen=True)
class Panel:
    """One metric of a figure.

    Attributes:
        marks: one for each row, or for each place of each series.
    """

    title: str
    unit: str
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Matrix:
    """A table of values as a panel of a figure.

    Attributes:
        marks: row by row.
    """

    title: str
    marks: Sequence[Sequence[Mark]]


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in one style, whatever its user has set for other figures."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "text.color": _INK})
        yield


def drawing(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")


def png(figure: Figure, caption: str) -> bytes:
    """The bytes of a figure with its caption below it; nothing in them tells when they were made."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(caption.replace("$", r"\$"), int(_LETTERS_PER_INCH * width))
    strip = (len(lines) + 0.8) * _LINE_INCHES
    figure.set_size_inches(width, height + strip)
    share = strip / (height + strip)
    layout = figure.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        layout.set(rect=(0.0, share, 0.99, 1 - share))
    else:  # laid out by hand: what is there moves up
        for text in figure.texts:
            x, y = text.get_position()
            text.set_position((x, share + (1 - share) * y))
    figure.text(0.01, 0.25 * share, "\n".join(lines), va="bottom", fontsize=8, color=_SOFT)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def forest(
    rows: Sequence[str], panels: Sequence[Panel], title: str, caption: str, zero: bool = False
) -> bytes:
    """Values with their intervals: a panel for each metric, a line for each row.

    Args:
        zero: draw a line at zero, which intervals are clear of or not.
    """
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    figure = drawing(1.4 + 2.3 * columns, 0.6 + lines * (0.9 + 0.3 * len(rows)))
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        for row, mark in enumerate(panel.marks):
            if mark is None:
                axis.text(
                    0.5,
                    row,
                    "missing",
                    transform=axis.get_yaxis_transform(),
                    ha="center",
                    va="center",
                    color=_SOFT,
                    style="italic",
                )
                continue
            value, low, high = mark
            axis.errorbar(value, row, xerr=[[value - low], [high - value]], fmt="o", color=_INK, capsize=3)
        if zero:
            axis.axvline(0.0, color=_SOFT, linestyle=":", linewidth=1)
        axis.set_title(panel.title)
        axis.set_xlabel(panel.unit)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_yticks(range(len(rows)), rows)
        axis.tick_params(axis="y", length=0, labelleft=place % columns == 0)
        _frame(axis)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return png(figure, caption)


def trends(
    places: Sequence[str],
    x: str,
    series: Sequence[str],
    panels: Sequence[Panel],
    title: str,
    caption: str,
) -> bytes:
    """Values with their intervals over ordered places: a panel for each metric, a line for each series.

    Args:
        places: labels along the x-axis.
        panels: their marks are those of the first series at all places, then of the second, and so on.
    """
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = drawing(0.8 + 3.1 * columns, 1.2 + 2.5 * lines)
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        for row, name in enumerate(series):
            _line(axis, row, len(series), name, panel.marks[row * len(places) : (row + 1) * len(places)])
        axis.set_title(panel.title)
        axis.set_ylabel(panel.unit)
        axis.set_xticks(range(len(places)), ["\n".join(textwrap.wrap(name, 12)) for name in places])
        axis.set_xlim(-0.4, len(places) - 0.6)
        if place + columns >= len(panels):  # the lowest of its column
            axis.set_xlabel(textwrap.fill(x, 36))
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        _frame(axis)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return png(figure, caption)


def matrices(
    rows: Sequence[str],
    columns: Sequence[str],
    square: int,
    panels: Sequence[Matrix],
    title: str,
    caption: str,
) -> bytes:
    """Values with their intervals in heat maps of the same rows and columns.

    Args:
        square: the first columns are of the same things as the rows: one scale of grey, and a frame where
            a thing meets itself. Every later column has a scale of its own, and stands apart.
    """
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    width = 1.6 + across * (0.75 + 0.78 * len(columns))
    figure = drawing(width, 0.6 + down * (1.1 + 0.48 * len(rows)))
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    spans = [slice(0, square), *(slice(at, at + 1) for at in range(square, len(columns)))]
    scales = [_ends(panels, span) for span in spans for _ in range(*span.indices(len(columns)))]
    places = [at + (0.3 if at >= square else 0.0) for at in range(len(columns))]
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        for row, marks in enumerate(panel.marks):
            for column, (at, mark, ends) in enumerate(zip(places, marks, scales, strict=True)):
                _box(axis, row, at, mark, ends, framed=column == row < square)
        axis.set_title(panel.title)
        axis.set_xlim(-0.55, places[-1] + 0.55)
        axis.set_ylim(len(rows) - 0.45, -0.55)
        axis.set_xticks(places, ["\n".join(textwrap.wrap(name, 11)) for name in columns], fontsize=7)
        axis.set_yticks(range(len(rows)), rows)
        axis.tick_params(length=0, labelleft=place % across == 0)
        axis.set_xlabel("met")
        if place % across == 0:
            axis.set_ylabel("trained on")
        for spine in axis.spines.values():
            spine.set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return png(figure, caption)


def heat_maps(
    rows: Sequence[str], columns: Sequence[str], panels: Sequence[Matrix], title: str, caption: str
) -> bytes:
    """Values with their intervals in heat maps of the same rows and columns, each with a scale of its own."""
    across = 1 if len(columns) > 3 else min(3, len(panels))
    down = -(-len(panels) // across)
    width = 0.6 + 0.065 * max(map(len, rows)) + across * (0.5 + 0.86 * len(columns))
    figure = drawing(max(width, 5.0), 0.6 + down * (0.9 + 0.48 * len(rows)))
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    everything = slice(0, len(columns))
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        ends = _ends([panel], everything)
        for row, marks in enumerate(panel.marks):
            for at, mark in enumerate(marks):
                if mark is not None:
                    _box(axis, row, at, mark, ends, edge="#999999")
        axis.set_title(panel.title)
        axis.set_xlim(-0.55, len(columns) - 0.45)
        axis.set_ylim(len(rows) - 0.45, -0.55)
        axis.set_xticks(
            range(len(columns)), ["\n".join(textwrap.wrap(name, 11)) for name in columns], fontsize=7
        )
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
        axis.tick_params(length=0, labelleft=place % across == 0)
        for spine in axis.spines.values():
            spine.set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    return png(figure, caption)


@dataclass(frozen=True)
class Path:
    """Places of one thing in a plane, in their order.

    Attributes:
        places: (x, y) of each.
    """

    name: str
    places: Sequence[tuple[Mark, Mark]]


def paths(lines: Sequence[Path], x: str, y: str, title: str, caption: str) -> bytes:
    """One value against another, with intervals both ways: a line for each thing, its first place large."""
    figure = drawing(6.4, 4.2)
    figure.suptitle(title, fontsize=11)
    axis = figure.subplots()
    for row, line in enumerate(lines):
        known = [(at, up) for at, up in line.places if at is not None and up is not None]
        if not known:
            continue
        across, above = (np.array([place[side] for place in known], dtype=np.float64) for side in (0, 1))
        style, marker = _LINES[row % len(_LINES)]
        color = _GREYS[row % len(_GREYS)]
        axis.errorbar(
            across[:, 0],
            above[:, 0],
            xerr=[across[:, 0] - across[:, 1], across[:, 2] - across[:, 0]],
            yerr=[above[:, 0] - above[:, 1], above[:, 2] - above[:, 0]],
            label=line.name,
            linestyle=style,
            marker=marker,
            markersize=4,
            capsize=2,
            color=color,
            elinewidth=0.6,
        )
        axis.plot(across[0, 0], above[0, 0], marker=marker, markersize=9, color=color, linestyle="none")
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    _frame(axis)
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return png(figure, caption)


def _box(
    axis: Axes,
    row: int,
    at: float,
    mark: Mark,
    ends: tuple[float, float],
    framed: bool = False,
    edge: str = "white",
) -> None:
    """A value with its interval in a box, the darker the nearer to the greater end of its scale."""
    least, most = ends
    shade = 0.0 if mark is None else 0.75 * (mark[0] - least) / max(most - least, 1e-12)
    edge, line = (_INK, 2.0) if framed else (edge, 0.8)
    grey = str(round(1 - shade, 4))
    axis.add_patch(Rectangle((at - 0.48, row - 0.46), 0.96, 0.92, facecolor=grey, edgecolor=edge, lw=line))
    said = "missing" if mark is None else f"{mark[0]:.2f}\n{mark[1]:.2f}–{mark[2]:.2f}"
    ink = "white" if shade > 0.5 else _INK
    axis.text(at, row, said, ha="center", va="center", fontsize=7, color=ink)


def _ends(panels: Sequence[Matrix], columns: slice) -> tuple[float, float]:
    """The least and the greatest value in some columns."""
    known = [mark[0] for panel in panels for row in panel.marks for mark in row[columns] if mark is not None]
    return min(known, default=0.0), max(known, default=0.0)


def _line(axis: Axes, row: int, rows: int, name: str, marks: Sequence[Mark]) -> None:
    """One series, moved aside a little so that intervals do not cover each other; gaps where values miss."""
    aside = 0.06 * (row - (rows - 1) / 2)
    known = [mark or (np.nan, np.nan, np.nan) for mark in marks]
    values, lows, highs = np.array(known, dtype=np.float64).reshape(-1, 3).T
    style, marker = _LINES[row % len(_LINES)]
    axis.errorbar(
        np.arange(len(marks)) + aside,
        values,
        yerr=[values - lows, highs - values],
        label=name,
        linestyle=style,
        marker=marker,
        markersize=5,
        capsize=3,
        color=_GREYS[row % len(_GREYS)],
        elinewidth=0.9,
    )


def progressions(
    names: Sequence[str],
    shares: Mapping[str, NDArray[np.float64]],
    curves: Mapping[str, Sequence[Mark]],
    title: str,
    caption: str,
) -> bytes:
    """Distributions over the progress of a conversation, a map for each variant, and their entropies below.

    Args:
        names: of the options.
        shares: ``[bins, options]`` by variant; NaN where a bin is empty.
        curves: entropy in each bin, by variant.
    """
    bins = len(next(iter(shares.values())))
    ends = [f"{round(100 * i / bins)}–{round(100 * (i + 1) / bins)}" for i in range(bins)]
    columns = len(shares)
    figure = drawing(1.9 + 0.55 * max(4, bins) * columns, 1.1 + 0.24 * max(3, len(names)) + 2.6)
    figure.suptitle(title, fontsize=11)
    grid = figure.add_gridspec(2, columns, height_ratios=(0.24 * max(3, len(names)) + 0.4, 2.2))
    maps: list[Axes] = []
    for place, (variant, share) in enumerate(shares.items()):
        axis = figure.add_subplot(grid[0, place], sharey=maps[0] if maps else None)
        maps.append(axis)
        image = axis.imshow(share.T, cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto")
        for (column, row), value in np.ndenumerate(share):
            if value >= 0.005:
                ink = "white" if value > 0.5 else _INK
                axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7, color=ink)
        axis.set_title(variant)
        axis.set_yticks(range(len(names)), names)
        axis.set_xticks(range(bins), ends, fontsize=7)
        axis.set_xlabel("progress (% of turns)")
        axis.tick_params(length=0, labelleft=place == 0)
    figure.colorbar(image, ax=maps, label="share of turns", ticks=(0.0, 0.5, 1.0))
    below = figure.add_subplot(grid[1, :])
    for row, (variant, marks) in enumerate(curves.items()):
        _line(below, row, len(curves), variant, marks)
    below.set_xticks(range(bins), ends)
    below.set_xlim(-0.4, bins - 0.6)
    below.set_ylim(bottom=0.0)
    below.set_xlabel("progress (% of the dialogue's turns)")
    below.set_ylabel("entropy (nats)")
    below.grid(axis="y", color="#dddddd", linewidth=0.6)
    below.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(curves))
    _frame(below)
    return png(figure, caption)


@dataclass(frozen=True)
class Line:
    """What somebody says in a drawn conversation, and in small letters how."""

    speaker: str
    text: str
    how: str = ""


_LETTERS = 44


def talks(columns: Mapping[str, Sequence[Line]], title: str, caption: str) -> bytes:
    """Conversations side by side, as text."""
    wrapped = {name: [_wrapped(line) for line in lines] for name, lines in columns.items()}
    longest = max(sum(len(block) for block in blocks) + 0.5 * len(blocks) for blocks in wrapped.values())
    height = (longest + 3.5) * _LINE_INCHES
    figure = drawing(3.3 * len(columns), height)
    figure.set_layout_engine("none")
    step = _LINE_INCHES / height
    figure.text(0.5, 1 - 0.6 * step, title, ha="center", va="top", fontsize=11)
    for place, (name, blocks) in enumerate(wrapped.items()):
        left, y = (place + 0.04) / len(columns), 1 - 2.4 * step
        figure.text(left, y, name, va="top", weight="bold")
        y -= 1.3 * step
        for block in blocks:
            for text, look in block:
                figure.text(left, y, text, va="top", fontsize=8, **look)
                y -= step
            y -= 0.5 * step
    return png(figure, caption)


def _wrapped(line: Line) -> list[tuple[str, dict[str, Any]]]:
    """The lines of an utterance with their looks; dollar signs would start a formula."""
    is_seeker = line.speaker == "seeker"
    look: dict[str, Any] = {"color": _SOFT, "style": "italic"} if is_seeker else {"color": _INK}
    text = textwrap.wrap(f"{line.speaker}: {line.text}", _LETTERS)
    block = [(part.replace("$", r"\$"), look) for part in text]
    if line.how:
        block.append((f"[{line.how}]", {"color": _SOFT, "weight": "bold"}))
    return block


def _frame(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
