"""``report.html``: one file that opens without network, made from a run folder alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2
import jsonschema
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from unicrs_rl.errors import InputError
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.results import schema
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.verdict import detected, p_text
from unicrs_rl.judging.metrics import METRICS

FOREST_METRICS = ("sr@5", "sr@10", "sr@15", "hdcg", "recall@1", "recall@5", "rec_sr", "conv_sr", "dist2")
"""Metrics on the scale of [0, 1] that the forest plot shows."""
SHOWN_DIALOGUES = 5
_Name = tuple[str, int, int]
"""Arm, training seed and index of a conversation."""
_COLOURS = ("#4269d0", "#d9730d", "#3ca951", "#a463f2", "#9c6b4e", "#97bbf5", "#ff8ab7")

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.experiments", "."),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(folder: RunFolder) -> None:
    """(Re)build the report of a finished run.

    Raises:
        InputError: if the run is not finished, or its files are broken.
    """
    traces = [_gist(line) for line in folder.read_traces()]
    found = folder.read_json(folder.results)
    problem = next(jsonschema.Draft202012Validator(schema()).iter_errors(found), None)
    if problem is not None:
        raise InputError(f"{folder.results}: not the results of a run ({problem.message[:80]})")
    figures = {
        "success": _success(found),
        "forest": _forest(found),
        "strategies": _strategies(found, traces),
    }
    page = _ENVIRONMENT.get_template("report.html.jinja").render(
        found=found,
        metrics=METRICS,
        detected=detected,
        timings=folder.read_json(folder.timings),
        provenance=folder.read_json(folder.provenance),
        config=folder.config_file.read_text("utf-8"),
        figures={name: figure.to_json() for name, figure in figures.items()},
        plotly=get_plotlyjs(),
        tables=_difference_tables(found),
        p_text=p_text,
        pairs=_dialogues(folder, _most_different(found, traces)),
    )
    write_atomically(folder.report, page)


def _figure(title: str, x: str, y: str) -> go.Figure:
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
            "colorway": _COLOURS,
        }
    )


def _success(found: Mapping[str, Any]) -> go.Figure:
    figure = _figure("Success within t turns", "turn", "SR@t")
    for arm, entry in found["arms"].items():
        curve = entry["success_by_turn"]
        limit = found["protocol"]["turns"]
        curve = [*curve, *[curve[-1]] * (limit - len(curve))]
        figure.add_scatter(x=list(range(1, limit + 1)), y=curve, name=arm, mode="lines+markers")
    figure.update_yaxes(rangemode="tozero")
    return figure


def _forest(found: Mapping[str, Any]) -> go.Figure:
    """Paired differences of the first arm from every other."""
    first = next(iter(found["arms"]))
    figure = _figure(f"{first} minus the other arms: paired differences, 95% intervals", "difference", "")
    titles = {metric.name: metric.title for metric in METRICS}
    rows = [row for row in found["comparisons"] if row["a"] == first and row["metric"] in FOREST_METRICS]
    for other in dict.fromkeys(row["b"] for row in rows):
        mine = [row for row in rows if row["b"] == other]
        figure.add_scatter(
            x=[row["difference"] for row in mine],
            y=[titles[row["metric"]] for row in mine],
            name=other,
            mode="markers",
            marker_color=_COLOURS[list(found["arms"]).index(other) % len(_COLOURS)],
            error_x={
                "array": [row["ci95"][1] - row["difference"] for row in mine],
                "arrayminus": [row["difference"] - row["ci95"][0] for row in mine],
                "thickness": 1,
            },
        )
    figure.add_vline(x=0, line_width=1, line_dash="dot")
    figure.update_layout(scattermode="group")
    return figure


def _difference_tables(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table for each arm of its differences from the later ones: rows of metrics, columns of arms."""
    tables = []
    arms = list(found["arms"])
    for place, arm in enumerate(arms[:-1]):
        cells = {(row["metric"], row["b"]): row for row in found["comparisons"] if row["a"] == arm}
        tables.append({"arm": arm, "others": arms[place + 1 :], "cells": cells})
    return tables


def _strategies(found: Mapping[str, Any], traces: Iterable[Mapping[str, Any]]) -> go.Figure:
    figure = _figure("Strategies used", "share of turns", "")
    used: dict[str, Counter[str]] = defaultdict(Counter)
    for line in traces:
        used[line["arm"]].update(line["strategies"])
    names = sorted({name for counter in used.values() for name in counter}, reverse=True)
    for arm in found["arms"]:
        total = max(1, sum(used[arm].values()))
        figure.add_bar(x=[used[arm][name] / total for name in names], y=names, name=arm, orientation="h")
    figure.update_layout(barmode="group", height=120 + 34 * len(names))
    return figure


def _gist(line: Mapping[str, Any]) -> dict[str, Any]:
    """What the figures need of a trace."""
    return {
        "arm": line["arm"],
        "seed": line["seed"],
        "index": line["index"],
        "hdcg": line["metrics"]["hdcg"],
        "strategies": [turn["decision"]["strategy"] for turn in line["turns"]],
    }


def _dialogues(folder: RunFolder, pairs: list[tuple[_Name, _Name]]) -> list[list[dict[str, Any]]]:
    """The traces of a few conversations, pair by pair."""
    wanted = {name for pair in pairs for name in pair}
    traces = ((_name(line), line) for line in folder.read_traces())
    found = {name: line for name, line in traces if name in wanted}
    return [[found[name] for name in pair] for pair in pairs]


def _name(line: Mapping[str, Any]) -> _Name:
    return line["arm"], line["seed"], line["index"]


def _most_different(
    found: Mapping[str, Any], traces: Iterable[Mapping[str, Any]]
) -> list[tuple[_Name, _Name]]:
    """Conversations on the same triple in which the first two arms differ most."""
    arms = list(found["arms"])[:2]
    if len(arms) < 2:
        return []
    by_arm: dict[str, dict[int, Mapping[str, Any]]] = {arm: {} for arm in arms}
    for line in traces:
        if line["arm"] in by_arm:
            by_arm[line["arm"]].setdefault(line["index"], line)

    def gap(index: int) -> tuple[float, int]:
        one, other = (by_arm[arm][index] for arm in arms)
        return -abs(one["hdcg"] - other["hdcg"]), index

    shared = sorted(set(by_arm[arms[0]]) & set(by_arm[arms[1]]), key=gap)
    return [
        (_name(by_arm[arms[0]][index]), _name(by_arm[arms[1]][index])) for index in shared[:SHOWN_DIALOGUES]
    ]
