"""``report.html``: one file that opens without network, made from a run folder alone.

There is one for a comparison, and one for a run that only trained.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import jinja2
import jsonschema
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from unicrs_rl.errors import InputError
from unicrs_rl.experiments import checkpoint
from unicrs_rl.experiments.checkpoint import write_atomically
from unicrs_rl.experiments.config import RunConfig, Selection, Surface
from unicrs_rl.experiments.costs import COSTS, by_task, with_timings
from unicrs_rl.experiments.curves import SMOOTHED, Curves, Points, over_seeds, read_curves, smoothed
from unicrs_rl.experiments.figures import colour, empty_figure, shade
from unicrs_rl.experiments.results import missing_dialogues, missing_scores, schema
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.seeker_figures import Course, courses, seeker_figures
from unicrs_rl.experiments.seeker_tables import SeekerTable, seeker_tables
from unicrs_rl.experiments.verdict import detected, p_text, seekers_named
from unicrs_rl.judging.metrics import JUDGED, METRICS, Metric

FOREST_METRICS = ("sr@5", "sr@10", "sr@15", "hdcg", "recall@1", "recall@5", "rec_sr", "conv_sr", "dist2")
"""Metrics on the scale of [0, 1] that the forest plot shows."""
SHOWN_DIALOGUES = 5
POPULATION = "population.json"
"""The numbers of a population that was met, in a folder of its own."""
_Name = tuple[str, int, int]
"""Arm, training seed and index of a conversation."""
_LEARNING = (
    ("episode/success", "Successful training conversations", "share"),
    ("episode/turns", "Length of training conversations", "mean turns"),
)
"""TensorBoard tags of the learning curves, each with the title of its figure and of its axis."""
_SELECTED = {
    Selection.VALID: "The best checkpoint (fewest mean turns)",
    Selection.TEST: "The best checkpoint (fewest mean turns)",
    Selection.LAST: "The last checkpoint",
}
_SPLITS = {"valid": "validation", "test": "test"}

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("unicrs_rl.experiments", "."),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_report(folder: RunFolder) -> None:
    """(Re)build the report of a comparison, or of what was trained, or of a population that was met.

    Raises:
        InputError: if the folder holds neither, or its files are broken.
    """
    if (folder.path / POPULATION).is_file():
        write_atomically(folder.report, _population(folder))
        return
    compared = folder.traces.is_file() or folder.results.is_file()
    write_atomically(folder.report, _comparison(folder) if compared else _training(folder))


def _comparison(folder: RunFolder) -> str:
    """The page of a finished comparison."""
    found = folder.read_json(folder.results)
    problem = next(jsonschema.Draft202012Validator(schema()).iter_errors(found), None)
    if problem is not None:
        raise InputError(f"{folder.results}: not the results of a run ({problem.message[:80]})")
    known = set.intersection(*(set(entry["metrics"]) for entry in found["arms"].values()))
    if missing := [metric.name for metric in METRICS if metric.name not in known]:
        raise InputError(f"{folder.results}: of an earlier version of unicrs-rl, without {missing[0]!r}")
    course = {arm: Course() for arm in found["arms"]}
    traces = []
    for line in folder.read_traces():
        course[line["arm"]].add(line)
        traces.append(_gist(line))
    config = RunFolder.read(folder.path)[1]
    limit = found["protocol"]["turns"]
    timings = folder.read_json(folder.timings)
    seekers = seekers_shown(config, found, course)
    figures = {
        "success": _success({arm: entry["success_by_turn"] for arm, entry in found["arms"].items()}, limit),
        "forest": _forest(found),
        "strategies": _strategies(found, traces),
        **(seekers.figures if seekers else {}),
    }
    return _page(
        "report.html.jinja",
        folder,
        config,
        figures,
        _Learned.read(folder, list(found["arms"])),
        found=found,
        seekers=seekers,
        missing=[
            said for say in (missing_dialogues, missing_scores) if (said := say(found["arms"])) is not None
        ],
        costs=COSTS,
        priced={arm: entry["cost"] for arm, entry in with_timings(found, timings)["arms"].items()},
        by_task=by_task(found, timings),
        judged=JUDGED,
        metrics=METRICS,
        detected=detected,
        timings=timings,
        tables=_difference_tables(found),
        p_text=p_text,
        pairs=_dialogues(folder, _most_different(found, traces)),
    )


@dataclass(frozen=True)
class SeekersShown:
    """The section on the seekers.

    Attributes:
        sentence: who they were set to be.
        verdict: what is found without dialogues that drifted, where any did.
    """

    sentence: str
    tables: Sequence[SeekerTable]
    figures: Mapping[str, go.Figure]
    verdict: str = ""


def seekers_shown(
    config: RunConfig, found: Mapping[str, Any], course: Mapping[str, Course]
) -> SeekersShown | None:
    """What is shown of the seekers; nothing of a run of a version that did not measure them.

    Args:
        found: with ``protocol``, ``arms`` and ``humans`` as in ``results.json``.
        course: what the traces say, by arm.
    """
    if "seekers" not in found["protocol"]:
        return None
    return SeekersShown(
        sentence=f"Simulated {seekers_named(config)}.",
        tables=seeker_tables(found["protocol"]["seekers"], found["arms"], found["humans"]),
        figures=seeker_figures(course),
        verdict=found.get("without_drift", {}).get("verdict", ""),
    )


def _population(folder: RunFolder) -> str:
    """The page of a population that was met."""
    config = RunFolder.read(folder.path)[1]
    found = folder.read_json(folder.path / POPULATION)
    seekers = seekers_shown(config, found, courses(folder.read_traces(), found["arms"]))
    assert seekers is not None
    figures = seekers.figures
    return _page(
        "population.html.jinja", folder, config, figures, _Learned([], {}, []), found=found, seekers=seekers
    )


def _training(folder: RunFolder) -> str:
    """The page of a training, finished or not."""
    config = RunFolder.read(folder.path)[1]
    learned = _Learned.read(folder, list(config.arms))
    jobs = [
        _Job(arm, seed, checkpoint.load(path)[1] if path.is_file() else None)
        for arm in config.arms
        for seed in config.seeds
        if (path := folder.checkpoint(arm, seed)).is_file() or seed in learned.curves.get(arm, {})
    ]
    if not jobs:
        raise InputError(
            f"{folder.path}: the run is not finished (there is neither a traces.jsonl nor a checkpoint in it)"
        )
    tried = [job for job in jobs if job.tried]
    metrics = [metric for metric in METRICS if tried and metric.name in tried[0].tried[0]]
    kept = {job: job.kept(config.select) for job in tried}
    figures = _trials(tried, metrics, list(config.arms)) if tried else {}
    if kept:
        rates = {f"{job.arm}, seed {job.seed}": row["success_by_turn"] for job, row in kept.items()}
        figures["success"] = _success(rates, config.limit)
    provenance = folder.read_json(folder.provenance)
    return _page(
        "training.html.jinja",
        folder,
        config,
        figures,
        learned,
        arms=list(dict.fromkeys(job.arm for job in jobs)),
        world=provenance["world"]["name"],
        settings=config.model_dump(mode="json"),
        jobs=jobs,
        kept=_kept_tables(kept, [metric.name for metric in metrics]),
        metrics=metrics,
        selection=_SELECTED[config.select],
        split=_SPLITS[next(iter(kept.values()))["split"]] if kept else "",
    )


def _page(
    template: str,
    folder: RunFolder,
    config: RunConfig,
    figures: Mapping[str, go.Figure],
    learned: _Learned,
    **more: Any,
) -> str:
    """A page with what all have: figures, learning curves, settings and provenance."""
    learning = learned.figures()
    return ENVIRONMENT.get_template(template).render(
        figures={name: figure.to_json() for name, figure in {**figures, **learning}.items()},
        learning=list(learning),
        unreadable=learned.unreadable,
        smoothed=SMOOTHED,
        selected_on_test=config.select is Selection.TEST and config.surface is Surface.SEMANTIC,
        provenance=folder.read_json(folder.provenance),
        config=folder.config_file.read_text("utf-8"),
        plotly=get_plotlyjs(),
        **more,
    )


@dataclass(frozen=True)
class _Learned:
    """The learning curves of a run.

    Attributes:
        arms: all arms of the run, in order; their places give the colours.
        curves: what the event files of those arms hold.
        unreadable: event files that hold nothing that can be read.
    """

    arms: list[str]
    curves: Curves
    unreadable: list[str]

    @classmethod
    def read(cls, folder: RunFolder, arms: list[str]) -> _Learned:
        curves, unreadable = read_curves(folder.curves)
        return cls(arms, {arm: curves[arm] for arm in arms if arm in curves}, unreadable)

    def figures(self) -> dict[str, go.Figure]:
        """Figures by name, of what there is."""
        made = {}
        for tag, title, y in _LEARNING:
            runs = {arm: [t[tag] for t in seeds.values() if tag in t] for arm, seeds in self.curves.items()}
            if any(runs.values()):
                figure = empty_figure(title, "training conversations", y)
                _add_bands(figure, {arm: smoothed(run) for arm, run in runs.items()}, self.arms)
                made[tag.replace("/", "-")] = figure
        if "episode-success" in made:
            made["episode-success"].update_yaxes(rangemode="tozero")
        return made


@dataclass(frozen=True, eq=False)
class _Job:
    """An arm trained with a seed.

    Attributes:
        header: of its checkpoint; ``None`` before the first.
    """

    arm: str
    seed: int
    header: Mapping[str, Any] | None

    @property
    def tried(self) -> list[Mapping[str, Any]]:
        """What each checkpoint found on held-out conversations, if it was tried on any."""
        return self.header.get("tried", []) if self.header else []

    def kept(self, select: Selection) -> Mapping[str, Any]:
        """The row of the checkpoint that is kept."""
        return self.tried[-1] if select is Selection.LAST else min(self.tried, key=lambda row: row["at"])


def _kept_tables(kept: Mapping[_Job, Mapping[str, Any]], metrics: list[str]) -> list[dict[str, Any]]:
    """For each arm what was kept of each seed, with the mean and, of several seeds, the spread."""
    tables = []
    for arm in dict.fromkeys(job.arm for job in kept):
        rows = {job.seed: row for job, row in kept.items() if job.arm == arm}
        columns = {name: [row[name] for row in rows.values()] for name in metrics}
        tables.append(
            {
                "arm": arm,
                "seeds": rows,
                "mean": {name: fmean(column) for name, column in columns.items()},
                "spread": {name: stdev(column) for name, column in columns.items()} if len(rows) > 1 else {},
            }
        )
    return tables


def _success(curves: Mapping[str, Sequence[float]], limit: int) -> go.Figure:
    """SR@1, SR@2, ... of each curve; one that ends early stays where it is."""
    figure = empty_figure("Success within t turns", "turn", "SR@t")
    for name, curve in curves.items():
        rates = [*curve, *[curve[-1]] * (limit - len(curve))]
        figure.add_scatter(x=list(range(1, limit + 1)), y=rates, name=name, mode="lines+markers")
    figure.update_yaxes(rangemode="tozero")
    return figure


def _trials(tried: Sequence[_Job], metrics: Iterable[Metric], arms: list[str]) -> dict[str, go.Figure]:
    """Each metric at each checkpoint."""
    figures = {}
    for metric in metrics:
        figure = empty_figure(metric.title, "training conversations", "")
        runs: dict[str, list[Points]] = defaultdict(list)
        for job in tried:
            runs[job.arm].append([(row["done"], row[metric.name]) for row in job.tried])
        _add_bands(figure, runs, arms, mode="lines+markers")
        figures[f"tried-{metric.name}"] = figure
    return figures


def _add_bands(
    figure: go.Figure, runs: Mapping[str, Sequence[Points]], arms: list[str], mode: str = "lines"
) -> None:
    """A line for each arm, the mean over its training seeds, with a band from the lowest to the highest."""
    figure.update_layout(showlegend=len(arms) > 1)
    for arm, several in runs.items():
        if not several:
            continue
        band = over_seeds(several)
        ink = colour(arms.index(arm))
        if len(several) > 1:
            outline = {"line_width": 0, "mode": "lines", "hoverinfo": "skip", "showlegend": False}
            figure.add_scatter(x=band.steps, y=band.low, legendgroup=arm, **outline)
            figure.add_scatter(
                x=band.steps, y=band.high, legendgroup=arm, fill="tonexty", fillcolor=shade(ink), **outline
            )
        figure.add_scatter(x=band.steps, y=band.mean, name=arm, legendgroup=arm, mode=mode, line_color=ink)


def _forest(found: Mapping[str, Any]) -> go.Figure:
    """Paired differences of the first arm from every other."""
    first = next(iter(found["arms"]))
    figure = empty_figure(
        f"{first} minus the other arms: paired differences, 95% intervals", "difference", ""
    )
    titles = {metric.name: metric.title for metric in METRICS}
    rows = [row for row in found["comparisons"] if row["a"] == first and row["metric"] in FOREST_METRICS]
    for other in dict.fromkeys(row["b"] for row in rows):
        mine = [row for row in rows if row["b"] == other]
        figure.add_scatter(
            x=[row["difference"] for row in mine],
            y=[titles[row["metric"]] for row in mine],
            name=other,
            mode="markers",
            marker_color=colour(list(found["arms"]).index(other)),
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
    figure = empty_figure("Strategies used", "share of turns", "")
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
