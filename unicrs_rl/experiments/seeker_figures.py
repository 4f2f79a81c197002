"""Figures of what seekers were like and what they came to believe, made from the traces of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from unicrs_rl.experiments.figures import GREY, colour, empty_figure, shade

_BINS = 17
_COLUMNS = 6
_ROW_HEIGHT = 190
_NORMAL_95 = 1.96


@dataclass(slots=True)
class Course:
    """What an arm's seekers were like and believed, over all of its dialogues.

    Attributes:
        first, last: values of each hidden variable, at first and at the end.
        beliefs: by turn, from 1: watching intentions for the recommended item, prior and posterior.
    """

    first: dict[str, list[float]] = field(default_factory=dict)
    last: dict[str, list[float]] = field(default_factory=dict)
    beliefs: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a trace."""
        end = line["turns"][-1]["latents"] if line["turns"] else line["latents"]
        for kept, latents in ((self.first, line["latents"]), (self.last, end)):
            for name, value in latents.items():
                kept.setdefault(name, []).append(value)
        for number, turn in enumerate(line["turns"], start=1):
            belief = turn.get("belief")
            if belief is not None and belief["item"] in turn["decision"]["items"]:
                pair = (belief["prior"], belief["posterior"])
                self.beliefs.setdefault(number, []).append(pair)


def courses(traces: Iterable[Mapping[str, Any]], arms: Iterable[str]) -> dict[str, Course]:
    """What the traces of each arm say of its seekers."""
    found = {arm: Course() for arm in arms}
    for line in traces:
        if line["arm"] in found:
            found[line["arm"]].add(line)
    return found


def seeker_figures(found: Mapping[str, Course]) -> dict[str, go.Figure]:
    """The figures there is something to show in, by name."""
    figures = {}
    if any(course.first for course in found.values()):
        figures["latents"] = _latents(found)
    if any(course.beliefs for course in found.values()):
        figures["belief"] = _belief(found)
    return figures


def _latents(found: Mapping[str, Course]) -> go.Figure:
    """A small histogram of each hidden variable: at first, and, where it moved, at the end with each arm."""
    names = list(dict.fromkeys(name for course in found.values() for name in course.first))
    rows = -(-len(names) // _COLUMNS)
    made = empty_figure("Hidden variables of the seekers, as they were", "", "")
    made.set_subplots(rows, _COLUMNS, subplot_titles=names, vertical_spacing=0.35 / rows)
    for place, name in enumerate(names):
        at = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        start = next(course.first[name] for course in found.values() if name in course.first)
        ends = {arm: course.last[name] for arm, course in found.items() if name in course.last}
        edges = np.histogram_bin_edges(np.concatenate([start, *ends.values()]), _BINS)
        style = {"marker_color": GREY, "opacity": 0.5, "showlegend": place == 0, "legendgroup": "at first"}
        made.add_bar(x=_middles(edges), y=_shares(start, edges), name="at first", **style, **at)
        for number, (arm, course) in enumerate(found.items()):
            if arm not in ends or course.first[name] == course.last[name]:
                continue
            named = not any(trace.legendgroup == arm for trace in made.data)
            line = {"color": colour(number), "shape": "hvh", "width": 1.5}
            made.add_scatter(
                x=_middles(edges),
                y=_shares(ends[arm], edges),
                name=f"at the end, {arm}",
                legendgroup=arm,
                showlegend=named,
                mode="lines",
                line=line,
                **at,
            )
    made.update_yaxes(showticklabels=False, rangemode="tozero")
    made.update_annotations(font_size=12)
    return made.update_layout(bargap=0, height=110 + _ROW_HEIGHT * rows, margin={"l": 10, "t": 70})


def _middles(edges: NDArray[np.float64]) -> list[float]:
    return [round(float(middle), 3) for middle in (edges[:-1] + edges[1:]) / 2]


def _shares(values: Sequence[float], edges: NDArray[np.float64]) -> list[float]:
    counts, _ = np.histogram(values, edges)
    return [round(float(share), 4) for share in counts / max(1, len(values))]


def _belief(found: Mapping[str, Course]) -> go.Figure:
    """Mean watching intention for the recommended item by turn: by its title alone, and after the turn."""
    made = empty_figure(
        "Belief over turns: intention to watch what is recommended",
        "turn",
        "watching intention, 1 to 5",
    )
    for number, (arm, course) in enumerate(found.items()):
        turns = sorted(turn for turn, pairs in course.beliefs.items() if len(pairs) > 1)
        pairs = [np.array(course.beliefs[turn]) for turn in turns]
        means = [table.mean(axis=0) for table in pairs]
        posterior = np.array([mean[1] for mean in means])
        error = np.array([_NORMAL_95 * table[:, 1].std(ddof=1) / len(table) ** 0.5 for table in pairs])
        own = {"x": turns, "legendgroup": arm}
        outline = {"line_width": 0, "mode": "lines", "hoverinfo": "skip", "showlegend": False}
        made.add_scatter(y=_short(posterior - error), **own, **outline)
        made.add_scatter(
            y=_short(posterior + error), fill="tonexty", fillcolor=shade(colour(number)), **own, **outline
        )
        line = {"color": colour(number)}
        prior = _short(np.array([mean[0] for mean in means]))
        made.add_scatter(
            y=prior, name=f"{arm}, title alone", mode="lines", line={**line, "dash": "dot"}, **own
        )
        made.add_scatter(
            y=_short(posterior),
            name=f"{arm}, after the turn",
            mode="lines+markers",
            line=line,
            text=[f"{len(table)} dialogues" for table in pairs],
            **own,
        )
    return made


def _short(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 4) for value in values]
