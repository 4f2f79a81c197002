"""The page of a finished comparison: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unicrs_rl.experiments.budgets import budget_rows
from unicrs_rl.experiments.controls.shortcut import shortcut_rows
from unicrs_rl.experiments.costs import COSTS, by_task, with_timings
from unicrs_rl.experiments.figures import Shown
from unicrs_rl.experiments.report.dialogues import pairs
from unicrs_rl.experiments.report.forest import forests
from unicrs_rl.experiments.report.gist import Gist
from unicrs_rl.experiments.report.learned import Learned
from unicrs_rl.experiments.report.page import page
from unicrs_rl.experiments.report.pareto import pareto
from unicrs_rl.experiments.report.seekers import seekers_shown
from unicrs_rl.experiments.report.strategies import strategy_figures
from unicrs_rl.experiments.report.success import success_figure
from unicrs_rl.experiments.report.warnings import warnings
from unicrs_rl.experiments.report.why import why_figures
from unicrs_rl.experiments.results import check_results, check_whole
from unicrs_rl.experiments.run_folder import RunFolder
from unicrs_rl.experiments.seeker_figures import Course
from unicrs_rl.experiments.verdict import detected, p_text
from unicrs_rl.judging.metrics import JUDGED, METRICS


def comparison(folder: RunFolder) -> str:
    """The page.

    Raises:
        InputError: if results or traces are broken, or traces lack dialogues that the results counted.
    """
    found = folder.read_json(folder.results)
    check_results(folder.results, found)
    arms = list(found["arms"])
    course = {arm: Course() for arm in arms}
    gists: dict[str, list[Gist]] = {arm: [] for arm in arms}
    for line in folder.read_traces():
        course[line["arm"]].add(line)
        gists[line["arm"]].append(Gist.of(line))
    check_whole(folder.traces, {arm: len(told) for arm, told in gists.items()}, found)
    config = RunFolder.read(folder.path)[1]
    timings = folder.read_json(folder.timings)
    timed = with_timings(found, timings)
    seekers = seekers_shown(config, found, course)
    costly = pareto(timed["arms"])
    differences = forests(found)
    strategies = strategy_figures(gists)
    why = why_figures(found["why"]["arms"], arms) if "why" in found else {}
    figures: dict[str, Shown] = {
        **differences,
        "success": success_figure(gists, found["protocol"]["turns"]),
        **costly.figures,
        **strategies,
        **why,
        **(seekers.figures if seekers else {}),
    }
    return page(
        "report.html.jinja",
        folder,
        config,
        figures,
        Learned.read(folder, arms),
        found=found,
        warnings=warnings(found),
        differences=list(differences),
        costly=list(costly.figures),
        even=costly.even,
        strategies=list(strategies),
        why=list(why),
        seekers=seekers,
        costs=COSTS,
        priced={arm: entry["cost"] for arm, entry in timed["arms"].items()},
        by_task=by_task(found, timings),
        judged=JUDGED,
        metrics=[
            metric
            for metric in METRICS
            if any(metric.name in one["metrics"] for one in found["arms"].values())
        ],
        detected=detected,
        timings=timings,
        tables=_difference_tables(found),
        p_text=p_text,
        corrected=any(row.get("p_holm") is not None for row in found["comparisons"]),
        budgets=budget_rows(found),
        shortcuts=shortcut_rows(found),
        pairs=(shown := pairs(folder, config, found, gists)),
        seen=any(seen is not None for pair in shown for side in pair.sides for seen in side.seen),
    )


def _difference_tables(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table for each arm of its differences from the later ones: by metric, a cell for each of those."""
    tables = []
    arms = list(found["arms"])
    for place, arm in enumerate(arms[:-1]):
        others = arms[place + 1 :]
        cells = {(row["metric"], row["b"]): row for row in found["comparisons"] if row["a"] == arm}
        rows = {metric.name: [cells.get((metric.name, other)) for other in others] for metric in METRICS}
        tables.append({"arm": arm, "others": others, "rows": rows})
    return tables
