"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unicrs_rl.experiments.budgets import budget_warning, untrained_warning
from unicrs_rl.experiments.costs import COSTS
from unicrs_rl.experiments.results import missing_dialogues, missing_scores
from unicrs_rl.experiments.seeker_tables import seeker_tables
from unicrs_rl.experiments.verdict import deciding_p, detected, p_text
from unicrs_rl.judging.metrics import JUDGED, METRICS, Persuasion

if TYPE_CHECKING:  # what studies draw with takes a second to import
    from unicrs_rl.experiments.artifacts import Table as StudyTable


def print_results(found: Mapping[str, Any], console: Console) -> None:
    """The arms, the paired differences of the first arm and of the second, and the verdict."""
    console.print(_arms(found))
    arms = list(found["arms"])
    for reference in arms[:2]:
        others = [row for row in found["comparisons"] if row["a"] == reference]
        if others:
            console.print(_differences(reference, others, found["protocol"]["dialogues"]))
    console.print()
    for warning in (untrained_warning(found), budget_warning(found)):
        if warning is not None:
            console.print(escape(warning), style="red", highlight=False, soft_wrap=True)
    for missing in (missing_dialogues(found["arms"]), missing_scores(found["arms"])):
        if missing:
            console.print(escape(f"{missing}."), highlight=False, soft_wrap=True)
    if "without_drift" in found:
        steady = f"Without the dialogues in which a seeker drifted: {found['without_drift']['verdict']}"
        console.print(escape(steady), highlight=False, soft_wrap=True)
    console.print(escape(found["rests_on"]), highlight=False, soft_wrap=True)
    console.print(f"\n[bold]{escape(found['verdict'])}[/bold]", highlight=False, soft_wrap=True)


def print_reading(found: Mapping[str, Any], console: Console) -> None:
    """How well a model reads people: entities and polarity, by condition, of all dialogues and of halves."""
    console.print(
        f"{found['model']} on {found['dialogues']} human dialogues ({found['corpus']}, {found['split']})",
        highlight=False,
    )
    for condition, parts in found["conditions"].items():
        entities = Table(title=f"Entities, titles {condition}", title_justify="left")
        polarity = Table(title=f"Liked or not, titles {condition}", title_justify="left")
        entities.add_column("")
        polarity.add_column("")
        for part in parts:
            entities.add_column(f"{part} dialogues", justify="right")
            polarity.add_column(f"{part} dialogues", justify="right")
        some = next(iter(parts.values()))
        for name in some["entities"]:
            for measure in ("recall", "precision"):
                cells = (_estimate(part["entities"][name][measure]) for part in parts.values())
                entities.add_row(f"{measure}, {name}", *cells)
        entities.add_row("calls without a valid answer", *(str(part["failures"]) for part in parts.values()))
        for name, (among, measure) in _POLARITY.items():
            cells = (_estimate(part["polarity"][among][measure]) for part in parts.values())
            polarity.add_row(name, *cells)
        polarity.add_row("coverage", *(_estimate(part["polarity"]["coverage"]) for part in parts.values()))
        polarity.add_row(
            "always saying liked", *(_number(part["polarity"]["always liked"]) for part in parts.values())
        )
        polarity.add_row(
            "left out: did not say", *(str(part["polarity"]["did not say"]) for part in parts.values())
        )
        console.print(entities)
        console.print(polarity)


_POLARITY = {
    f"{measure}, {meaning}": (among, measure)
    for among, meaning in (
        ("covered", "of those read"),
        ("all", "unread as liked"),
        ("strict", "unread as wrong"),
    )
    for measure in ("accuracy", "balanced accuracy", "recall of not liked")
}


def _estimate(found: Mapping[str, Any]) -> str:
    """A value with its interval and how many it rests on."""
    if found["ci95"] is None:
        return f"{_number(found['value'])} (n {found['n']})"
    low, high = found["ci95"]
    return f"{_number(found['value'])} [{low:.3f}, {high:.3f}] (n {found['n']})"


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


def print_population(found: Mapping[str, Any], console: Console) -> None:
    """What the seekers of a population turned out to be."""
    print_seekers(found, console)
    console.print(escape(found["rests_on"]), highlight=False, soft_wrap=True)


def print_seekers(found: Mapping[str, Any], console: Console) -> None:
    """The tables of the seekers of ``results.json`` or ``population.json``."""
    for made in seeker_tables(found["protocol"]["seekers"], found["arms"], found["humans"]):
        table = Table(title=escape(made.title), title_justify="left", caption=escape(made.note))
        for place, title in enumerate(made.head):
            table.add_column(escape(title), justify="right" if place else "left")
        for row in made.rows:
            table.add_row(*map(escape, row))
        console.print(table)


def _arms(found: Mapping[str, Any]) -> Table:
    table = Table(title=f"{escape(found['world'])}: means over held-out dialogues", title_justify="left")
    table.add_column("metric")
    for arm in found["arms"]:
        table.add_column(arm, justify="right")
    for metric in METRICS:
        if not all(metric.name in arm["counts"] for arm in found["arms"].values()):
            continue  # of an earlier version, or of a package that was not there then
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
    for cost in COSTS:
        costs = [arm["cost"].get(cost.name) for arm in found["arms"].values()]
        if any(costs) or cost.always:
            table.add_row(cost.title, *map(cost.shown, costs))
    table.caption = "In brackets: dialogues a mean rests on, where some have no value."
    return table


def _mean(arm: Mapping[str, Any], metric: str) -> str:
    """A metric's mean; "missing" where it rests on a judge that never scored."""
    unjudged = metric in JUDGED and not arm["counts"][metric]
    return "missing" if unjudged else _number(arm["metrics"][metric])


def _share(arm: Mapping[str, Any], case: Persuasion) -> str:
    """Share of an arm's dialogues of a case that PRS leaves out."""
    return f"{arm['persuasion'][case] / sum(arm['persuasion'].values()):.1%}"


def _differences(reference: str, rows: list[Mapping[str, Any]], dialogues: int) -> Table:
    """Differences of one arm from each other arm; those detected are marked."""
    others = list(dict.fromkeys(row["b"] for row in rows))
    table = Table(title=f"{reference} minus ... (95% interval, p; effect size d_z)", title_justify="left")
    table.caption = (
        "* detected: interval clear of zero, and p below the level\n"
        "† primary: declared to decide, p corrected by Holm for the number of primary comparisons; "
        "all others are not corrected\n"
        "where not all dialogues have a value, those in which both arms have one are compared (n)"
    )
    table.add_column("metric")
    for other in others:
        table.add_column(other, justify="right")
    by_place = {(row["metric"], row["b"]): row for row in rows}
    for metric in METRICS:
        cells = [by_place.get((metric.name, other)) for other in others]
        if any(cells):
            table.add_row(metric.title, *(_difference(row, dialogues) for row in cells))
    return table


def _difference(row: Mapping[str, Any] | None, dialogues: int) -> str:
    if row is None:
        return "–"
    low, high = row["ci95"]
    mark = ("*" if detected(row) else "") + ("†" if row.get("primary") else "")
    size = row.get("effect", {}).get("value")
    effect = "" if size is None else f"; d {size:+.2f}"
    fewer = "" if row["dialogues"] == dialogues else f" (n {row['dialogues']})"
    return (
        f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}] {p_text(deciding_p(row))}{effect}{mark}{fewer}"
    ).replace("[", "\\[")


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"
