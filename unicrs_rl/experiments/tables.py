"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unicrs_rl.experiments.results import missing_scores
from unicrs_rl.experiments.verdict import detected, p_text
from unicrs_rl.judging.metrics import JUDGED, METRICS, Persuasion

if TYPE_CHECKING:  # what studies draw with takes a second to import
    from unicrs_rl.experiments.artifacts import Table as StudyTable

_COSTS = (
    ("lm_calls_per_dialogue", "LM calls / dialogue"),
    ("tokens_per_dialogue", "tokens / dialogue"),
    ("judge_calls_per_dialogue", "the judge's LM calls / dialogue"),
    ("judge_tokens_per_dialogue", "the judge's tokens / dialogue"),
    ("judge_seconds", "seconds to judge"),
    ("parameters", "parameters"),
    ("train_seconds", "seconds to train"),
    ("evaluate_seconds", "seconds to evaluate"),
)


def print_results(found: Mapping[str, Any], console: Console) -> None:
    """The arms, the paired differences of the first arm and of the second, and the verdict."""
    console.print(_arms(found))
    arms = list(found["arms"])
    for reference in arms[:2]:
        others = [row for row in found["comparisons"] if row["a"] == reference]
        if others:
            console.print(_differences(reference, others))
    console.print(f"\n[bold]{escape(found['verdict'])}[/bold]", highlight=False, soft_wrap=True)
    console.print(escape(found["rests_on"]), highlight=False, soft_wrap=True)
    missing = missing_scores(found["arms"])
    if missing:
        console.print(escape(f"{missing}."), highlight=False, soft_wrap=True)


def print_tables(tables: Iterable[StudyTable], console: Console) -> None:
    """The tables of a study."""
    for made in tables:
        table = Table(title=escape(made.title), title_justify="left", caption=escape(made.note))
        for title in made.head:
            table.add_column(escape(title))
        for row in made.body:
            cells = [escape(f"{cell.text}\n{cell.small}".strip()) for cell in row]
            marked = [cell.marked for cell in row]
            table.add_row(
                *(f"[bold]{text}[/bold]" if mark else text for text, mark in zip(cells, marked, strict=True))
            )
        console.print(table)


def _arms(found: Mapping[str, Any]) -> Table:
    table = Table(title=f"{escape(found['world'])}: means over held-out dialogues", title_justify="left")
    table.add_column("metric")
    for arm in found["arms"]:
        table.add_column(arm, justify="right")
    for metric in METRICS:
        cells = [_mean(arm, metric.name) for arm in found["arms"].values()]
        counts = {arm["counts"][metric.name] for arm in found["arms"].values()}
        partial = counts != {found["protocol"]["dialogues"]}
        notes = [f" ({arm['counts'][metric.name]})" if partial else "" for arm in found["arms"].values()]
        table.add_row(metric.title, *(cell + note for cell, note in zip(cells, notes, strict=True)))
    for case in (Persuasion.OVER_PERSUADED, Persuasion.NOTHING_TO_PERSUADE):
        table.add_row(
            f"  {case.value.replace('_', ' ')}", *(_share(arm, case) for arm in found["arms"].values())
        )
    table.add_section()
    for name, title in _COSTS:
        costs = [arm["cost"].get(name) for arm in found["arms"].values()]
        if any(costs) or not name.startswith("judge_"):
            table.add_row(title, *(_number(cost, 1) for cost in costs))
    table.caption = "In brackets: dialogues a mean rests on, where some have no value."
    return table


def _mean(arm: Mapping[str, Any], metric: str) -> str:
    """A metric's mean; "missing" where it rests on a judge that never scored."""
    unjudged = metric in JUDGED and not arm["counts"][metric]
    return "missing" if unjudged else _number(arm["metrics"][metric])


def _share(arm: Mapping[str, Any], case: Persuasion) -> str:
    """Share of an arm's dialogues of a case that PRS leaves out."""
    return f"{arm['persuasion'][case] / sum(arm['persuasion'].values()):.1%}"


def _differences(reference: str, rows: list[Mapping[str, Any]]) -> Table:
    """Differences of one arm from each other arm; those detected are marked."""
    others = list(dict.fromkeys(row["b"] for row in rows))
    table = Table(title=f"{reference} minus ... (95% interval, p)", title_justify="left")
    table.caption = (
        "* interval clear of zero and p below 0.05, not corrected for the number of comparisons;\n"
        "where not all dialogues have a value, those in which both arms have one are compared"
    )
    table.add_column("metric")
    for other in others:
        table.add_column(other, justify="right")
    by_place = {(row["metric"], row["b"]): row for row in rows}
    for metric in METRICS:
        cells = [by_place.get((metric.name, other)) for other in others]
        if any(cells):
            table.add_row(metric.title, *(_difference(row) for row in cells))
    return table


def _difference(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    low, high = row["ci95"]
    mark = "*" if detected(row) else " "
    return f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}] {p_text(row['p'])}{mark}".replace("[", "\\[")


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
